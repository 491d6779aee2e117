//! Transfer of home (主管移交): enterprises that a node below keeps itself from now on, with their records.

use std::collections::BTreeMap;

use anlan_app::App;
use anlan_app::transfer::{self, TransferRow};
use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Answer;
use super::order::OrderReason;
use crate::dto::{At, id, id_option};
use crate::extract::{AppRef, Body, Caller, PathId, Query, Spoken};
use crate::messages::{self, Language};
use crate::problem::Failure;

/// An enterprise that is handed over.
#[derive(Serialize, ToSchema)]
pub(crate) struct Transfer {
    id: String,
    /// `given`: from this node to one below; `received`: from the one above to this node.
    direction: &'static str,
    /// The other node, 32 hexadecimal digits.
    node: String,
    /// `null` = it is not known here any more.
    node_name: Option<String>,
    /// `null` = it is not this node's yet.
    enterprise: Option<String>,
    enterprise_code: String,
    enterprise_name: String,
    /// Records that go along.
    records: u32,
    made_by: String,
    made_at: At,
    /// `offered`, `received`: on its way, and nobody changes it; `withdrawing`: taken back, and the target has not said that it knows; `taken`: the node below keeps
    /// it; `refused`, `withdrawn`: the node above goes on keeping it.
    state: String,
    ended_at: Option<At>,
    /// What stood against it.
    reasons: Vec<OrderReason>,
    /// It may still be taken back.
    may_withdraw: bool,
}

fn dto(row: TransferRow, language: Language) -> Transfer {
    let reason = |p: anlan_app::order::OrderProblem| OrderReason {
        detail: messages::sentence(&p.code, language, &p.params),
        code: p.code,
        field: p.field,
    };
    Transfer {
        id: row.id.to_string(),
        direction: if row.is_ours { "given" } else { "received" },
        node: row.node.to_string(),
        node_name: row.node_name,
        enterprise: row.enterprise.map(|id| id.to_string()),
        enterprise_code: row.enterprise_code,
        enterprise_name: row.enterprise_name,
        records: row.n_records,
        made_by: row.made_by,
        made_at: row.made_at.into(),
        may_withdraw: row.is_ours && (row.state == "offered" || row.state == "withdrawing" && row.is_revoked),
        state: row.state,
        ended_at: row.ended_at.map(Into::into),
        reasons: row.problems.into_iter().map(reason).collect(),
    }
}

/// Every transfer.
#[derive(Serialize, ToSchema)]
pub(crate) struct TransferList {
    /// Newest first, the newest 500.
    transfers: Vec<Transfer>,
}

/// Lists what was handed over to nodes below and to this node.
#[utoipa::path(get, path = "/transfers", tag = "node", operation_id = "list_transfers", responses((status = 200, body = TransferList)))]
pub(crate) async fn list(AppRef(app): AppRef, caller: Caller, Spoken(language): Spoken) -> Answer<TransferList> {
    let rows = transfer::list(&app, &caller.scope).await?;
    Ok(Json(TransferList { transfers: rows.into_iter().map(|row| dto(row, language)).collect() }))
}

/// What is to be handed over, and to whom.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TransferBody {
    enterprise: String,
    /// A child that stands for it.
    node: String,
}

/// Hands an enterprise and its records over to a node below. Until that says that it has them nobody changes them here.
#[utoipa::path(post, path = "/transfers", tag = "node", operation_id = "make_transfer", request_body = TransferBody, responses((status = 201, body = Transfer), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn make(
    AppRef(app): AppRef,
    caller: Caller,
    Spoken(language): Spoken,
    Body(body): Body<TransferBody>,
) -> Result<(StatusCode, Json<Transfer>), Failure> {
    let row = transfer::make(&app, &caller.scope, id("enterprise", &body.enterprise)?, id("node", &body.node)?).await?;
    Ok((StatusCode::CREATED, Json(dto(row, language))))
}

/// Takes back what was handed over, unless it was taken meanwhile.
#[utoipa::path(post, path = "/transfers/{id}/withdraw", tag = "node", operation_id = "withdraw_transfer", params(("id" = String, Path)), responses((status = 200, body = Transfer), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn withdraw(AppRef(app): AppRef, caller: Caller, Spoken(language): Spoken, id: PathId) -> Answer<Transfer> {
    Ok(Json(dto(transfer::withdraw(&app, &caller.scope, id.read()?).await?, language)))
}

/// Of which enterprise.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct PreviewQuery {
    enterprise: String,
}

/// Records of one register.
#[derive(Serialize, ToSchema)]
pub(crate) struct TransferCount {
    register: String,
    name: String,
    name_en: String,
    records: u32,
}

/// What would be handed over.
#[derive(Serialize, ToSchema)]
#[schema(as = TransferPreview)]
pub(crate) struct PreviewDto {
    goes: Vec<TransferCount>,
    /// Records that this node goes on keeping.
    stays: Vec<TransferCount>,
}

/// Says what would be handed over of an enterprise.
#[utoipa::path(get, path = "/transfers/preview", tag = "node", operation_id = "preview_transfer", params(PreviewQuery), responses((status = 200, body = PreviewDto)))]
pub(crate) async fn preview(AppRef(app): AppRef, caller: Caller, Query(query): Query<PreviewQuery>) -> Answer<PreviewDto> {
    let enterprise = id_option("enterprise", Some(&query.enterprise))?
        .ok_or_else(|| anlan_app::error::AppError::invalid("field.missing", "enterprise"))?;
    let found = transfer::preview(&app, &caller.scope, enterprise).await?;
    Ok(Json(PreviewDto { goes: counts(&app, found.goes), stays: counts(&app, found.stays) }))
}

fn counts(app: &App, all: BTreeMap<String, u32>) -> Vec<TransferCount> {
    let registers = app.registers.load();
    let one = |(register, records): (String, u32)| {
        let names = registers.kind(&register).map(|kind| (kind.name.clone(), kind.name_en.clone()));
        let (name, name_en) = names.unwrap_or_else(|_| (register.clone(), register.clone()));
        TransferCount { register, name, name_en, records }
    };
    all.into_iter().map(one).collect()
}
