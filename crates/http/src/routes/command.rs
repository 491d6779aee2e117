//! Commands to devices and vehicles: stored first, sent when the device is there, closed by its answer.

use anlan_app::command::{self, CommandFilter, CommandRow, Target};
use anlan_app::error::AppError;
use anlan_app::validate;
use anlan_model::CommandBody;
use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Answer;
use crate::dto::{At, Created, id, id_option};
use crate::extract::{AppRef, Body, Caller, Query};
use crate::problem::Failure;

/// A command and what became of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct Command {
    id: String,
    /// Device code or terminal phone.
    to: String,
    /// As given.
    body: serde_json::Value,
    /// `stored`, `sent`, `answered`, `failed`.
    state: &'static str,
    created_at: At,
    created_by: String,
    sent_at: Option<At>,
    answered_at: Option<At>,
    /// What the device said.
    answer: Option<serde_json::Value>,
}

impl From<CommandRow> for Command {
    fn from(row: CommandRow) -> Self {
        Self {
            id: row.command.id.to_string(),
            to: row.command.to,
            body: serde_json::to_value(&row.command.body).unwrap_or_default(),
            state: row.state.as_str(),
            created_at: row.created_at.into(),
            created_by: row.created_by,
            sent_at: row.sent_at.map(Into::into),
            answered_at: row.answered_at.map(Into::into),
            answer: row.answer.map(|a| serde_json::from_str(&a).unwrap_or(serde_json::Value::String(a))),
        }
    }
}

/// A page of commands, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct CommandList {
    commands: Vec<Command>,
    next: Option<String>,
}

/// Whose commands.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    vehicle: Option<String>,
    device: Option<String>,
    cursor: Option<String>,
    /// 1 to 1,000.
    limit: Option<u32>,
}

/// A new command; exactly one of `vehicle` and `device`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommandRequestBody {
    #[serde(default)]
    vehicle: Option<String>,
    #[serde(default)]
    device: Option<String>,
    body: CommandWish,
}

/// What to do.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum CommandWish {
    /// JSON text to an MQTT device's command topic.
    Mqtt { payload: String },
    /// Text to the driver (0x8300).
    Text {
        text: String,
        /// Flag bits of 0x8300; 8 = shown on the terminal.
        #[serde(default = "shown")]
        flags: u8,
    },
    /// Ask for parameters (0x8104, 0x8106); an empty list asks for all.
    QueryParameters {
        #[serde(default)]
        ids: Vec<u32>,
    },
    /// Ask for the position now (0x8201).
    QueryPosition,
    /// Temporary tracking (0x8202); an interval of 0 stops it.
    Track { interval_s: u16, validity_s: u32 },
}

/// 终端显示器显示 of JT/T 808-2019, 0x8300: bit 3 in the editions of 2011 and 2013.
fn shown() -> u8 {
    8
}

impl From<CommandWish> for CommandBody {
    fn from(wish: CommandWish) -> Self {
        match wish {
            CommandWish::Mqtt { payload } => Self::Mqtt { payload },
            CommandWish::Text { text, flags } => Self::Text { text, flags },
            CommandWish::QueryParameters { ids } => Self::QueryParameters { ids },
            CommandWish::QueryPosition => Self::QueryPosition,
            CommandWish::Track { interval_s, validity_s } => Self::Track { interval_s, validity_s },
        }
    }
}

/// Commands, newest first.
#[utoipa::path(get, path = "/commands", tag = "command", params(ListQuery), responses((status = 200, body = CommandList)))]
pub(crate) async fn list(AppRef(app): AppRef, caller: Caller, Query(query): Query<ListQuery>) -> Answer<CommandList> {
    let filter =
        CommandFilter { vehicle: id_option("vehicle", query.vehicle.as_deref())?, device: id_option("device", query.device.as_deref())? };
    let page = command::list(&app, &caller.scope, &filter, &validate::paging(query.cursor, query.limit)?).await?;
    Ok(Json(CommandList { commands: page.items.into_iter().map(Into::into).collect(), next: page.next }))
}

/// Stores a command; it is sent as soon as the device is connected.
#[utoipa::path(post, path = "/commands", tag = "command", request_body = CommandRequestBody, responses((status = 201, body = Created)))]
pub(crate) async fn create(
    AppRef(app): AppRef,
    caller: Caller,
    Body(body): Body<CommandRequestBody>,
) -> Result<(StatusCode, Json<Created>), Failure> {
    let target = match (body.vehicle, body.device) {
        (Some(vehicle), None) => Target::Vehicle(id("vehicle", &vehicle)?),
        (None, Some(device)) => Target::Device(id("device", &device)?),
        _ => return Err(AppError::invalid("command.target", "vehicle").into()),
    };
    let made = command::create(&app, &caller.scope, target, body.body.into()).await?;
    Ok((StatusCode::CREATED, Json(Created { id: made.to_string() })))
}
