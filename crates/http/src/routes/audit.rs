//! The audit: who changed what, newest first.

use anlan_app::audit::{self, AuditEntry, AuditFilter};
use anlan_app::validate;
use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Answer;
use crate::dto::{At, id_option};
use crate::extract::{AppRef, Caller, Query};

/// One entry.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub(crate) struct AuditDto {
    id: String,
    at: At,
    /// `null` = the node itself.
    user: Option<String>,
    /// Shown name at that time.
    name: String,
    /// Such as `create`, `update`, `acknowledge`.
    action: String,
    /// Kind of row.
    noun: String,
    /// Its id.
    subject: String,
    /// What changed.
    detail: serde_json::Value,
}

impl From<AuditEntry> for AuditDto {
    fn from(e: AuditEntry) -> Self {
        Self {
            id: e.id.to_string(),
            at: e.at.into(),
            user: e.user.map(|u| u.to_string()),
            name: e.name,
            action: e.action,
            noun: e.noun,
            subject: e.subject,
            detail: e.detail,
        }
    }
}

/// A page of the audit.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditList {
    entries: Vec<AuditDto>,
    next: Option<String>,
}

/// Which entries.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// Kind of row, such as `alarm`.
    noun: Option<String>,
    /// Id of the row.
    subject: Option<String>,
    /// Id of the person.
    user: Option<String>,
    cursor: Option<String>,
    /// 1 to 1,000.
    limit: Option<u32>,
}

/// The audit, newest first.
#[utoipa::path(get, path = "/audit", tag = "audit", params(ListQuery), responses((status = 200, body = AuditList)))]
pub(crate) async fn list(AppRef(app): AppRef, caller: Caller, Query(query): Query<ListQuery>) -> Answer<AuditList> {
    let filled = |text: Option<String>| text.filter(|t| !t.is_empty());
    let filter = AuditFilter { noun: filled(query.noun), subject: filled(query.subject), user: id_option("user", query.user.as_deref())? };
    let page = audit::list(&app, &caller.scope, &filter, &validate::paging(query.cursor, query.limit)?).await?;
    Ok(Json(AuditList { entries: page.items.into_iter().map(Into::into).collect(), next: page.next }))
}
