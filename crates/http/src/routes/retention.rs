//! Retention (数据保存期限): how long what is kept, and what went lately. Set in the configuration, not here.

use std::collections::BTreeMap;

use anlan_app::retention;
use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::Answer;
use crate::dto::At;
use crate::extract::{AppRef, Caller};

/// What retention does on this node.
#[derive(Serialize, ToSchema)]
pub(crate) struct Retention {
    /// Whole days that readings are kept; `null` = for ever.
    readings_days: Option<u32>,
    /// Days of kinds of measurement that have their own.
    kinds: BTreeMap<String, u32>,
    /// Whole days that positions are kept; `null` = for ever.
    positions_days: Option<u32>,
    /// Whole days that the statistics of hours are kept; `null` = for ever.
    rollups_days: Option<u32>,
    /// Whole days that files of terminals are kept; `null` = for ever.
    media_days: Option<u32>,
    /// While the data disk has fewer megabytes free, the oldest readings give way to their hours; 0 = never.
    thin_below_mb: u64,
    /// Whole days of which none does.
    thin_keep_days: u32,
    /// A day leaves only once the archive has it.
    archived: bool,
    /// The clock is doubted, so nothing is dropped now.
    paused: bool,
    /// Days that something was dropped of, newest first, at most 100.
    dropped: Vec<DroppedDay>,
}

/// A day that something was dropped of.
#[derive(Serialize, ToSchema)]
pub(crate) struct DroppedDay {
    /// Its begin (UTC).
    day: At,
    /// When readings of it were dropped last.
    readings_at: Option<At>,
    /// Likewise positions.
    positions_at: Option<At>,
    /// Likewise statistics of hours.
    rollups_at: Option<At>,
}

/// How long what is kept, and what was dropped lately; for administrators of the whole node.
#[utoipa::path(get, path = "/retention", tag = "hold", responses((status = 200, body = Retention)))]
pub(crate) async fn get(AppRef(app): AppRef, caller: Caller) -> Answer<Retention> {
    let state = retention::state(&app, &caller.scope).await?;
    let dropped = |d: retention::Dropped| DroppedDay {
        day: d.day.into(),
        readings_at: d.readings_at.map(Into::into),
        positions_at: d.positions_at.map(Into::into),
        rollups_at: d.rollups_at.map(Into::into),
    };
    Ok(Json(Retention {
        readings_days: state.settings.readings_days,
        kinds: state.settings.kinds,
        positions_days: state.settings.positions_days,
        rollups_days: state.settings.rollups_days,
        media_days: state.media_days,
        thin_below_mb: state.settings.thin_below_mb,
        thin_keep_days: state.settings.thin_keep_days.max(anlan_app::thinned::FLOOR_DAYS),
        archived: state.archived,
        paused: state.paused,
        dropped: state.dropped.into_iter().map(dropped).collect(),
    }))
}
