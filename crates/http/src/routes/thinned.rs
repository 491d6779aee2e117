//! Thinned days (已抽稀): of which days readings gave way to their hours, here and below.

use anlan_app::thinned::{self, ThinnedRow};
use anlan_app::validate;
use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Answer;
use super::node::NodeLevel;
use crate::dto::{At, id_option};
use crate::extract::{AppRef, Caller, Query};

/// Readings or hours: how many, and the sum of their hashes.
#[derive(Serialize, ToSchema)]
pub(crate) struct Counted {
    count: u64,
    /// Modulo 2^128, hexadecimal.
    sum: String,
}

impl From<anlan_app::thinned::Counted> for Counted {
    fn from(counted: anlan_app::thinned::Counted) -> Self {
        Self { count: counted.n, sum: format!("{:032x}", counted.sum) }
    }
}

/// What gave way of a day at a node.
#[derive(Serialize, ToSchema)]
pub(crate) struct Thinned {
    /// Readings that gave way.
    readings: Counted,
    /// Hours that stand for them.
    hours: Counted,
    /// What was held of the day when they did; `null` = the node had no ledger.
    held: Option<Counted>,
    /// `true`: all of it gave way.
    whole: bool,
    /// `disk`: for want of space; `age`: its time was over.
    why: String,
    /// The last time that any of it did.
    at: At,
}

impl From<ThinnedRow> for Thinned {
    fn from(row: ThinnedRow) -> Self {
        Self {
            whole: row.is_whole(),
            readings: row.readings.into(),
            hours: row.hours.into(),
            held: row.held.map(Into::into),
            why: row.why,
            at: row.at.into(),
        }
    }
}

/// A day of which readings gave way at a node.
#[derive(Serialize, ToSchema)]
pub(crate) struct ThinnedDay {
    /// Node whose readings they are.
    origin: String,
    /// Empty = unknown here.
    origin_name: String,
    /// Civil day of `event_at` in Beijing.
    day: String,
    /// Node at which they gave way.
    node: String,
    /// Empty = unknown here.
    name: String,
    level: Option<NodeLevel>,
    #[serde(flatten)]
    thinned: Thinned,
}

/// A page of days, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct ThinnedList {
    thinned: Vec<ThinnedDay>,
    next: Option<String>,
}

/// Which days.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// Of this node.
    origin: Option<String>,
    cursor: Option<String>,
    /// 1 to 1,000.
    limit: Option<u32>,
}

/// Lists days of which readings gave way to their hours, here and below, newest first; empty for people with a territory.
#[utoipa::path(get, path = "/thinned", tag = "node", operation_id = "list_thinned", params(ListQuery), responses((status = 200, body = ThinnedList)))]
pub(crate) async fn list(AppRef(app): AppRef, caller: Caller, Query(query): Query<ListQuery>) -> Answer<ThinnedList> {
    let origin = id_option("origin", query.origin.as_deref())?;
    let paging = validate::paging(query.cursor, query.limit)?;
    let page = thinned::list(&app, &caller.scope, origin, &paging).await?;
    let day = |row: ThinnedRow| ThinnedDay {
        origin: row.origin.to_string(),
        origin_name: row.origin_name.clone(),
        day: row.day.clone(),
        node: row.holder.to_string(),
        name: row.holder_name.clone(),
        level: row.level.map(Into::into),
        thinned: row.into(),
    };
    Ok(Json(ThinnedList { thinned: page.items.into_iter().map(day).collect(), next: page.next }))
}
