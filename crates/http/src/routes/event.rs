//! Data-quality events (clocks that are off, second connections, unknown terminals) and the quarantine of unreadable bytes.

use anlan_app::event;
use anlan_app::validate;
use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Answer;
use crate::dto::At;
use crate::extract::{AppRef, Caller, Query};

/// Bytes of a quarantined message that the list shows.
const PREVIEW_BYTES: usize = 64;

/// Something about data quality that a person should know.
#[derive(Serialize, ToSchema)]
pub(crate) struct Event {
    id: String,
    at: At,
    /// `clock_offset`, `taken_over`, `unknown_terminal`, `registered`, `driver` …
    kind: String,
    /// Device code or terminal phone.
    subject: String,
    detail: serde_json::Value,
}

/// A page of events, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventList {
    events: Vec<Event>,
    next: Option<String>,
}

/// Which events.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    kind: Option<String>,
    cursor: Option<String>,
    /// 1 to 1,000.
    limit: Option<u32>,
}

/// Bytes that could not be read.
#[derive(Serialize, ToSchema)]
pub(crate) struct QuarantineEntry {
    id: String,
    at: At,
    /// Device code, terminal phone or peer address.
    source: String,
    protocol: String,
    /// What was wrong.
    reason: String,
    /// Bytes kept.
    size: u64,
    /// The first 64 bytes.
    preview_hex: String,
}

/// A page of the quarantine, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct QuarantineList {
    entries: Vec<QuarantineEntry>,
    next: Option<String>,
}

/// Which page.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    cursor: Option<String>,
    /// 1 to 1,000.
    limit: Option<u32>,
}

/// Data-quality events, newest first.
#[utoipa::path(get, path = "/events", tag = "event", params(ListQuery), responses((status = 200, body = EventList)))]
pub(crate) async fn list(AppRef(app): AppRef, caller: Caller, Query(query): Query<ListQuery>) -> Answer<EventList> {
    let kind = query.kind.filter(|k| !k.is_empty());
    let page = event::list(&app, &caller.scope, kind.as_deref(), &validate::paging(query.cursor, query.limit)?).await?;
    let events =
        page.items.into_iter().map(|e| Event { id: e.id.to_string(), at: e.at.into(), kind: e.kind, subject: e.subject, detail: e.detail });
    Ok(Json(EventList { events: events.collect(), next: page.next }))
}

/// Bytes that could not be read, newest first.
#[utoipa::path(get, path = "/quarantine", tag = "event", params(PageQuery), responses((status = 200, body = QuarantineList)))]
pub(crate) async fn quarantine(AppRef(app): AppRef, caller: Caller, Query(query): Query<PageQuery>) -> Answer<QuarantineList> {
    let page = event::quarantine(&app, &caller.scope, &validate::paging(query.cursor, query.limit)?).await?;
    let entries = page.items.into_iter().map(|e| QuarantineEntry {
        id: e.id.to_string(),
        at: e.at.into(),
        source: e.source,
        protocol: e.protocol,
        reason: e.reason,
        size: e.bytes.len() as u64,
        preview_hex: e.bytes.iter().take(PREVIEW_BYTES).map(|b| format!("{b:02x}")).collect(),
    });
    Ok(Json(QuarantineList { entries: entries.collect(), next: page.next }))
}
