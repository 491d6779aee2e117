//! The figures of the first screen.

use anlan_app::summary;
use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::Answer;
use crate::dto::At;
use crate::extract::{AppRef, Caller};

/// Everything the first screen counts, as far as the caller may see.
#[derive(Serialize, ToSchema)]
#[schema(as = Summary)]
pub(crate) struct SummaryDto {
    /// Domain time of the figures.
    now: At,
    counts: Counts,
    regions: Vec<RegionCounts>,
    /// Raised alarms of the last 24 hours, oldest hour first.
    alarms_24h: Vec<HourCounts>,
    /// State of the listeners.
    links: Vec<LinkDto>,
    log: LogDto,
    /// Something is wrong that the operator must see; readings may still be kept.
    degraded: bool,
}

/// Totals.
#[derive(Serialize, ToSchema)]
pub(crate) struct Counts {
    enterprises: u64,
    devices: u64,
    points: u64,
    points_online: u64,
    points_stale: u64,
    vehicles: u64,
    vehicles_online: u64,
    /// Standing and not yet acknowledged.
    alarms_unacknowledged: u64,
    /// Standing.
    alarms_open: u64,
    red: u64,
    orange: u64,
    yellow: u64,
    blue: u64,
}

/// Totals of one division; levels count standing alarms.
#[derive(Serialize, ToSchema)]
pub(crate) struct RegionCounts {
    code: String,
    name: String,
    enterprises: u64,
    points: u64,
    points_online: u64,
    vehicles_online: u64,
    red: u64,
    orange: u64,
    yellow: u64,
    blue: u64,
}

/// Alarms raised in one hour.
#[derive(Serialize, ToSchema)]
pub(crate) struct HourCounts {
    /// Start of the hour.
    at: At,
    red: u64,
    orange: u64,
    yellow: u64,
    blue: u64,
}

/// One protocol's listener.
#[derive(Serialize, ToSchema)]
#[schema(as = Link)]
pub(crate) struct LinkDto {
    /// `mqtt`, `http`, `jt808`.
    name: String,
    connections: u64,
    messages_total: u64,
    readings_total: u64,
    refused_total: u64,
    last_at: Option<At>,
}

/// How far the log is kept and applied.
#[derive(Serialize, ToSchema)]
#[schema(as = Log)]
pub(crate) struct LogDto {
    position: u64,
    projected: u64,
    lag: u64,
}

/// The figures of the first screen.
#[utoipa::path(get, path = "/summary", tag = "summary", responses((status = 200, body = SummaryDto)))]
pub(crate) async fn summary(AppRef(app): AppRef, caller: Caller) -> Answer<SummaryDto> {
    let s = summary::get(&app, &caller.scope).await?;
    Ok(Json(SummaryDto {
        now: s.now.into(),
        counts: Counts {
            enterprises: s.enterprises,
            devices: s.devices,
            points: s.points,
            points_online: s.points_online,
            points_stale: s.points_stale,
            vehicles: s.vehicles,
            vehicles_online: s.vehicles_online,
            alarms_unacknowledged: s.alarms_unacknowledged,
            alarms_open: s.levels.total(),
            red: s.levels.red,
            orange: s.levels.orange,
            yellow: s.levels.yellow,
            blue: s.levels.blue,
        },
        regions: s
            .regions
            .into_iter()
            .map(|r| RegionCounts {
                code: r.code.to_string(),
                name: r.name,
                enterprises: r.enterprises,
                points: r.points,
                points_online: r.points_online,
                vehicles_online: r.vehicles_online,
                red: r.levels.red,
                orange: r.levels.orange,
                yellow: r.levels.yellow,
                blue: r.levels.blue,
            })
            .collect(),
        alarms_24h: s
            .hours
            .into_iter()
            .map(|(at, l)| HourCounts { at: at.into(), red: l.red, orange: l.orange, yellow: l.yellow, blue: l.blue })
            .collect(),
        links: s
            .links
            .into_iter()
            .map(|l| LinkDto {
                name: l.name,
                connections: l.connections,
                messages_total: l.messages_total,
                readings_total: l.readings_total,
                refused_total: l.refused_total,
                last_at: l.last_at.map(Into::into),
            })
            .collect(),
        log: LogDto { position: s.log.position, projected: s.log.projected, lag: s.log.position.saturating_sub(s.log.projected) },
        degraded: s.log.degraded(),
    }))
}
