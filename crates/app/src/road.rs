//! Road transport supervision: trips and findings of a vehicle, its track, and the five ratios per operator and county and day.
//!
//! Everything is reckoned from kept positions by `domain::road` and can be reckoned again. A day of a vehicle is kept as a row
//! ([`refresh`]); ratios are sums over rows, under the asker's scope. Start at [`ratios`] and [`trips`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anlan_domain::road::{FindingKind, Walk, walk};
use anlan_model::noun::Vehicle;
use anlan_model::{Clock as _, Permission, Position, Scope, Timestamp, VehicleId};
pub use anlan_store::{RoadBy, RoadSums};
use anlan_store::{RoadDay, VehicleRow};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::App;
use crate::clock::day_of;
use crate::error::{AppError, Kind};
use crate::point::off_thread;
use crate::telemetry::Telemetry;

const SECOND_US: i64 = 1_000_000;
const DAY_US: i64 = 86_400 * SECOND_US;
/// A stretch of driving is looked for this far before the time asked for: the longest continuous driving allowed and a rest.
const LOOK_BACK_US: i64 = 6 * 3_600 * SECOND_US;
/// Longest time of one question.
const WINDOW_MAX_US: i64 = 31 * DAY_US;
/// Most positions of one question: a month at one in 13 s.
const POSITIONS_MAX: usize = 200_000;
/// A row younger than this is not reckoned again.
const FRESH_US: i64 = 60 * SECOND_US;
/// Late data may change a day for so long after its end.
const OPEN_US: i64 = 2 * DAY_US;
/// Who asks waits no longer than this for rows; the answer says how many are missing.
const PATIENCE: Duration = Duration::from_secs(5);
/// Positions of a vehicle among which the first qualified one is looked for.
const FIRST_MAX: usize = 1_000;
/// Rows of one transaction.
const CHUNK: usize = 50;
/// The day is reckoned this often though nobody asks (real time).
const EVERY: Duration = Duration::from_secs(600);

/// What a vehicle did.
#[derive(Clone, Debug, PartialEq)]
pub struct Trips {
    /// The vehicle.
    pub row: VehicleRow,
    /// From, inclusive.
    pub from: Timestamp,
    /// To, exclusive.
    pub to: Timestamp,
    /// Trips, stops and findings that reach into this time; sums of this time alone.
    pub walk: Walk,
}

/// Ratios of one day.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratios {
    /// Civil day in Beijing, ISO.
    pub day: String,
    /// Whether late data may still change it.
    pub open: bool,
    /// One per operator or county.
    pub rows: Vec<RoadSums>,
    /// All of them together.
    pub total: RoadSums,
}

fn window(app: &App, from: Option<Timestamp>, to: Option<Timestamp>) -> Result<(Timestamp, Timestamp), AppError> {
    let to = to.unwrap_or_else(|| app.clock.now());
    let from = from.unwrap_or_else(|| to.plus_us(-DAY_US));
    if from >= to {
        return Err(AppError::invalid("window.empty", "to"));
    }
    if to.since_us(from) > WINDOW_MAX_US {
        return Err(AppError::invalid("window.too_long", "to").with("days", WINDOW_MAX_US / DAY_US));
    }
    Ok((from, to))
}

fn read(telemetry: &Telemetry, vehicle: VehicleId, from: Timestamp, to: Timestamp) -> Result<Vec<Position>, AppError> {
    let found = telemetry.positions(&BTreeSet::from([vehicle]), vehicle, from, to, None, POSITIONS_MAX + 1)?;
    if found.len() > POSITIONS_MAX {
        return Err(AppError::new(Kind::TooLarge, "window.too_many").with("most", POSITIONS_MAX));
    }
    Ok(found)
}

/// Trips, stops and findings of a vehicle; the last 24 hours if no time is given.
///
/// # Errors
/// Not there or not visible, a window that is empty or too long.
pub async fn trips(
    app: &Arc<App>,
    scope: &Scope,
    id: VehicleId,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> Result<Trips, AppError> {
    let scope = scope.with(Permission::View)?;
    let row = app.store.vehicle(&scope, id).await?;
    let (from, to) = window(app, from, to)?;
    let (telemetry, rules, vehicle) = (app.telemetry.clone(), app.road.clone(), row.vehicle.clone());
    let walk = off_thread(move || -> Result<Walk, AppError> {
        let positions = read(&telemetry, id, from.plus_us(-LOOK_BACK_US), to)?;
        Ok(within(&positions, from, |p| walk(p, &rules, &vehicle.kind, vehicle.speed_limit_kmh)))
    })
    .await??;
    Ok(Trips { row, from, to, walk })
}

/// Walks over everything for what reaches back, and over what lies in the window for its sums.
fn within(positions: &[Position], from: Timestamp, walk: impl Fn(&[Position]) -> Walk) -> Walk {
    let inside = &positions[positions.partition_point(|p| p.event_at < from)..];
    let (long, sums) = (walk(positions), walk(inside));
    Walk {
        trips: long.trips.into_iter().filter(|t| t.to_at >= from).collect(),
        stops: long.stops.into_iter().filter(|s| s.to_at.is_none_or(|to| to > from)).collect(),
        findings: long.findings.into_iter().filter(|f| f.to_at >= from).collect(),
        ..sums
    }
}

/// Positions of a vehicle, all of a window; the last 24 hours if no time is given.
///
/// # Errors
/// Not there or not visible, a window that is empty, too long or holds too many positions.
pub async fn track(
    app: &App,
    scope: &Scope,
    id: VehicleId,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> Result<(VehicleRow, Vec<Position>), AppError> {
    let scope = scope.with(Permission::View)?;
    let row = app.store.vehicle(&scope, id).await?;
    let (from, to) = window(app, from, to)?;
    let telemetry = app.telemetry.clone();
    let positions = off_thread(move || read(&telemetry, id, from, to)).await??;
    Ok((row, positions))
}

/// Start of a civil day in Beijing.
fn day_start(day: &str) -> Option<Timestamp> {
    let is_date = day.len() == 10 && day.bytes().enumerate().all(|(i, b)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() });
    is_date.then(|| Timestamp::parse(&format!("{day}T00:00:00+08:00")).ok()).flatten()
}

/// The ratios of a day (today if none is named), by operator or county.
///
/// # Errors
/// No permission to view, a day that is no date or lies in the future.
pub async fn ratios(app: &Arc<App>, scope: &Scope, day: Option<&str>, by: RoadBy) -> Result<Ratios, AppError> {
    let scope = scope.with(Permission::View)?;
    let now = app.clock.now();
    let day = day.filter(|d| !d.is_empty()).map_or_else(|| day_of(now).to_string(), str::to_owned);
    let start = day_start(&day).ok_or_else(|| AppError::invalid("time.malformed", "day"))?;
    if start > now {
        return Err(AppError::invalid("day.future", "day"));
    }
    refresh(app, &day, start, Some(PATIENCE)).await?;
    let mut rows = app.store.road_sums(&scope, &day, by).await?;
    let known = app.registry.get();
    if by == RoadBy::Region {
        for row in &mut rows {
            let code = row.key.as_deref().and_then(anlan_model::RegionCode::new);
            row.name = code.map(|code| known.regions.get(&code).map_or_else(|| code.to_string(), |r| r.name.clone()));
        }
    }
    let total = rows.iter().fold(RoadSums::default(), |sum, row| RoadSums {
        key: None,
        name: None,
        vehicles: sum.vehicles + row.vehicles,
        computed: sum.computed + row.computed,
        networked: sum.networked + row.networked,
        online: sum.online + row.online,
        drifting: sum.drifting + row.drifting,
        n: sum.n + row.n,
        n_qualified: sum.n_qualified + row.n_qualified,
        n_drift: sum.n_drift + row.n_drift,
        distance_m: sum.distance_m + row.distance_m,
        complete_m: sum.complete_m + row.complete_m,
        n_trips: sum.n_trips + row.n_trips,
        n_overspeed: sum.n_overspeed + row.n_overspeed,
        n_fatigue: sum.n_fatigue + row.n_fatigue,
        n_ban: sum.n_ban + row.n_ban,
        computed_at: [sum.computed_at, row.computed_at].into_iter().flatten().min(),
    });
    Ok(Ratios { open: now < start.plus_us(DAY_US + OPEN_US), day, rows, total })
}

/// Reckons the rows of a day that are missing or old, oldest first, for at most `patience`. Running twice does no harm.
///
/// # Errors
/// The store's, or history that cannot be read.
async fn refresh(app: &Arc<App>, day: &str, start: Timestamp, patience: Option<Duration>) -> Result<(), AppError> {
    let begun = Instant::now();
    let _one = app.road_refresh.lock().await;
    let end = start.plus_us(DAY_US);
    // What was reckoned while the positions were there stands; without them it would come out as nothing.
    if crate::retention::are_positions_gone(app, start.plus_us(-LOOK_BACK_US), end).await? {
        return Ok(());
    }
    let computed = app.store.road_days_computed(day).await?;
    let before = app.store.road_networked_before(day).await?;
    let now = app.clock.now();
    let is_due = |at: Timestamp| now.since_us(at) > FRESH_US && at < end.plus_us(OPEN_US);
    let mut due: Vec<(Option<Timestamp>, VehicleId)> = app
        .store
        .registered_vehicles()
        .await?
        .into_iter()
        .map(|id| (computed.get(&id).copied(), id))
        .filter(|(at, _)| at.is_none_or(is_due))
        .collect();
    due.sort();
    metrics::gauge!("road_days_pending").set(due.len() as f64);
    let known = app.registry.get();
    for chunk in due.chunks(CHUNK) {
        if patience.is_some_and(|most| begun.elapsed() > most) {
            break;
        }
        let vehicles: Vec<(Arc<Vehicle>, bool)> =
            chunk.iter().filter_map(|(_, id)| Some((known.vehicles.get(id)?.clone(), before.contains(id)))).collect();
        let (telemetry, rules, day) = (app.telemetry.clone(), app.road.clone(), day.to_owned());
        let rows = off_thread(move || -> Result<Vec<RoadDay>, AppError> {
            vehicles.iter().map(|(v, networked)| reckon(&telemetry, &rules, v, *networked, &day, start, now)).collect()
        })
        .await??;
        app.store.put_road_days(&rows).await?;
    }
    Ok(())
}

fn reckon(
    telemetry: &Telemetry,
    rules: &anlan_domain::road::RoadRules,
    vehicle: &Vehicle,
    networked_before: bool,
    day: &str,
    start: Timestamp,
    now: Timestamp,
) -> Result<RoadDay, AppError> {
    let end = start.plus_us(DAY_US);
    let heard = telemetry.position_range(vehicle.id);
    // What was archived lies before the range that memory knows, so only the newest position says that there is nothing.
    let walked = if heard.is_some_and(|(_, last)| last >= start) {
        let positions = read(telemetry, vehicle.id, start.plus_us(-LOOK_BACK_US), end)?;
        within(&positions, start, |p| walk(p, rules, &vehicle.kind, vehicle.speed_limit_kmh))
    } else {
        Walk::default()
    };
    // Usually this day or one before says it; otherwise what the vehicle sent first does.
    let networked = networked_before || walked.n_qualified > 0 || {
        let earliest = match heard {
            Some((first, _)) => telemetry.positions(&BTreeSet::from([vehicle.id]), vehicle.id, first, end, None, FIRST_MAX)?,
            None => Vec::new(),
        };
        walk(&earliest, rules, "", None).n_qualified > 0
    };
    // Each is counted on the day it began.
    let found = |kind: FindingKind| walked.findings.iter().filter(|f| f.kind == kind && f.from_at >= start).count() as u64;
    Ok(RoadDay {
        vehicle: vehicle.id,
        day: day.to_owned(),
        networked,
        n: walked.n,
        n_qualified: walked.n_qualified,
        n_drift: walked.n_drift,
        n_no_fix: walked.n_no_fix,
        distance_m: walked.distance_m,
        complete_m: walked.complete_m,
        driving_s: walked.driving_s,
        idle_s: walked.idle_s,
        n_trips: walked.trips.iter().filter(|t| t.from_at >= start).count() as u64,
        n_overspeed: found(FindingKind::Overspeed),
        n_fatigue: found(FindingKind::Fatigue),
        n_ban: found(FindingKind::Ban),
        computed_at: now,
    })
}

/// Keeps today and yesterday reckoned until stopped, so that who asks finds them.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    loop {
        let today = app.today().to_string();
        let yesterday = day_of(app.clock.now().plus_us(-DAY_US)).to_string();
        for day in [yesterday, today] {
            let Some(start) = day_start(&day) else { continue };
            let refreshed = tokio::select! {
                refreshed = refresh(&app, &day, start, None) => refreshed,
                () = stop.cancelled() => return,
            };
            if let Err(failure) = refreshed {
                warn!(error = &failure as &dyn std::error::Error, "the road day {day} could not be reckoned; next try in {EVERY:?}");
            }
        }
        let oldest = day_of(app.clock.now().plus_us(-app.road.keep.is.days.saturating_mul(DAY_US))).to_string();
        if let Err(failure) = app.store.forget_road_days(&oldest).await {
            warn!(error = &failure as &dyn std::error::Error, "road days before {oldest} could not be forgotten; next try in {EVERY:?}");
        }
        tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(EVERY) => {} }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_in_beijing() {
        let at = |text: &str| Timestamp::parse(text).unwrap();
        assert_eq!(day_start("2026-11-24"), Some(at("2026-11-23T16:00:00Z")));
        for bad in ["2026-11-31", "2026-1-1", "", "2026-11-24T00:00:00Z", "20261124", "2026-11-2x"] {
            assert_eq!(day_start(bad), None, "{bad}");
        }
    }
}
