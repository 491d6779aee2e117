//! Who is on duty above, and which desks the nodes below are told of.

use anlan_app::error::AppError;
use anlan_app::roster::{self, RosterRow};
use anlan_app::validate;
use anlan_domain::duty::Desk;
use anlan_model::Timestamp;
use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Answer;
use super::node::NodeLevel;
use crate::dto::At;
use crate::extract::{AppRef, Body, Caller};
use crate::problem::Failure;

/// A shift at a node above.
#[derive(Serialize, ToSchema)]
pub(crate) struct DutyAboveShift {
    region: String,
    region_name: String,
    /// `watch`, `leader`, `on_call`.
    desk: String,
    people: Vec<String>,
    /// May be empty.
    phone: String,
    from: At,
    to: At,
}

/// Who is on duty at a node above.
#[derive(Serialize, ToSchema)]
pub(crate) struct DutyAbove {
    node: String,
    name: String,
    level: Option<NodeLevel>,
    /// When it was heard here.
    at: At,
    /// On now or to come, in order of divisions, desks and beginnings.
    shifts: Vec<DutyAboveShift>,
}

impl From<RosterRow> for DutyAbove {
    fn from(row: RosterRow) -> Self {
        let at = |us: i64| Timestamp::from_micros(us).into();
        let shift = |shift: anlan_app::roster::RosterShift| DutyAboveShift {
            region: shift.region,
            region_name: shift.region_name,
            desk: shift.desk,
            people: shift.people,
            phone: shift.phone,
            from: at(shift.from),
            to: at(shift.to),
        };
        Self {
            node: row.origin.to_string(),
            name: row.name,
            level: row.level.map(Into::into),
            at: row.at.into(),
            shifts: row.shifts.into_iter().map(shift).collect(),
        }
    }
}

/// A desk of a division.
#[derive(Serialize, ToSchema)]
pub(crate) struct DutyToldDesk {
    region: String,
    desk: String,
}

/// What the nodes above say, and what those below are told.
#[derive(Serialize, ToSchema)]
pub(crate) struct DutyAboveList {
    /// The nearest first.
    above: Vec<DutyAbove>,
    /// Desks of the caller's divisions whose shifts the nodes below are told; empty for who makes no rotas.
    told: Vec<DutyToldDesk>,
}

/// Whether the nodes below are told who is on duty at a desk.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DutyToldBody {
    region: String,
    /// `watch`, `leader`, `on_call`.
    desk: String,
    told: bool,
}

/// Who is on duty above.
#[utoipa::path(get, path = "/duty/above", tag = "duty", operation_id = "list_duty_above", responses((status = 200, body = DutyAboveList)))]
pub(crate) async fn above(AppRef(app): AppRef, caller: Caller) -> Answer<DutyAboveList> {
    let above = roster::above(&app, &caller.scope).await?.into_iter().map(Into::into).collect();
    let told = roster::told(&app, &caller.scope).await?;
    let told = told.into_iter().map(|(region, desk)| DutyToldDesk { region: region.to_string(), desk }).collect();
    Ok(Json(DutyAboveList { above, told }))
}

/// Makes the shifts of a desk known to the nodes below, or no more.
#[utoipa::path(put, path = "/duty/told", tag = "duty", operation_id = "tell_duty_below", request_body = DutyToldBody, responses((status = 204)))]
pub(crate) async fn put_told(AppRef(app): AppRef, caller: Caller, Body(body): Body<DutyToldBody>) -> Result<StatusCode, Failure> {
    let region = validate::region_ever("region", &body.region, &app.registry.get().regions)?;
    let desk = Desk::parse(&body.desk).ok_or_else(|| AppError::invalid("word.unknown", "desk").with("word", &body.desk))?;
    roster::put_told(&app, &caller.scope, &region, desk, body.told).await?;
    Ok(StatusCode::NO_CONTENT)
}
