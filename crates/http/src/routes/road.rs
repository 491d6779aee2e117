//! Road transport supervision: trips and findings of a vehicle, its track as a table, the five ratios.

use anlan_app::error::AppError;
use anlan_app::road::{self, RoadBy, RoadSums};
use anlan_domain::road::rules::{RatioDefinition, Sourced};
use anlan_domain::road::{Finding, Stop, Trip};
use anlan_model::{Flags, Position};
use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Answer;
use crate::csv::{self, Csv};
use crate::dto::{At, Place, at_option};
use crate::extract::{AppRef, Caller, PathId, Query};
use crate::problem::Failure;

/// A trip: from standing to standing.
#[derive(Serialize, ToSchema)]
#[schema(as = Trip)]
pub(crate) struct TripDto {
    from_at: At,
    to_at: At,
    from: Place,
    to: Place,
    distance_km: f64,
    /// Moving.
    driving_s: f64,
    /// Standing on the way with the ignition on.
    idle_s: f64,
    speed_max_kmh: f64,
    /// Still going on.
    open: bool,
}

impl From<Trip> for TripDto {
    fn from(t: Trip) -> Self {
        Self {
            from_at: t.from_at.into(),
            to_at: t.to_at.into(),
            from: t.from.into(),
            to: t.to.into(),
            distance_km: km(t.distance_m),
            driving_s: t.driving_s,
            idle_s: t.idle_s,
            speed_max_kmh: t.speed_max_kmh,
            open: t.open,
        }
    }
}

/// A stop between trips.
#[derive(Serialize, ToSchema)]
#[schema(as = Stop)]
pub(crate) struct StopDto {
    from_at: At,
    /// `null`: it stands still.
    to_at: Option<At>,
    place: Place,
    /// With the ignition on.
    idle_s: f64,
}

impl From<Stop> for StopDto {
    fn from(s: Stop) -> Self {
        Self { from_at: s.from_at.into(), to_at: s.to_at.map(Into::into), place: s.place.into(), idle_s: s.idle_s }
    }
}

/// Something a person should look at.
#[derive(Serialize, ToSchema)]
#[schema(as = RoadFinding)]
pub(crate) struct FindingDto {
    /// `overspeed`, `fatigue` (driven too long without a rest), `ban` (driven in forbidden hours).
    kind: &'static str,
    from_at: At,
    to_at: At,
    /// Greatest speed in km/h, or seconds.
    value: f64,
    /// In the same unit.
    limit: f64,
    /// Standard and clause of the limit; empty if it is the vehicle's own.
    source: String,
    /// `verified`, `verified-secondary`, `enterprise`, `product`, `unverified`.
    confidence: String,
}

impl From<Finding> for FindingDto {
    fn from(f: Finding) -> Self {
        Self {
            kind: f.kind.as_str(),
            from_at: f.from_at.into(),
            to_at: f.to_at.into(),
            value: f.value,
            limit: f.limit,
            source: f.source,
            confidence: f.confidence,
        }
    }
}

/// What a vehicle did in a stretch of time.
#[derive(Serialize, ToSchema)]
pub(crate) struct TripList {
    from: At,
    to: At,
    /// Oldest first; those that reach into the time.
    trips: Vec<TripDto>,
    /// Oldest first; those that reach into the time.
    stops: Vec<StopDto>,
    /// By when they began.
    findings: Vec<FindingDto>,
    /// Driven in this time.
    distance_km: f64,
    /// Of those, on complete track.
    complete_km: f64,
    driving_s: f64,
    idle_s: f64,
    /// Positions kept in this time.
    positions: u64,
    /// Marked as drift: kept, and left out of everything above.
    drift: u64,
    /// Without a satellite fix.
    no_fix: u64,
}

/// Which time.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct WindowQuery {
    /// RFC 3339, inclusive; left out = a day before `to`.
    from: Option<String>,
    /// RFC 3339, exclusive, at most 31 days after `from`; left out = now.
    to: Option<String>,
}

/// Trips, stops and findings of a vehicle.
#[utoipa::path(get, path = "/vehicles/{id}/trips", tag = "vehicle", params(("id" = String, Path), WindowQuery), responses((status = 200, body = TripList)))]
pub(crate) async fn trips(AppRef(app): AppRef, caller: Caller, id: PathId, Query(query): Query<WindowQuery>) -> Answer<TripList> {
    let (from, to) = (at_option("from", query.from.as_deref())?, at_option("to", query.to.as_deref())?);
    let found = road::trips(&app, &caller.scope, id.read()?, from, to).await?;
    let walk = found.walk;
    Ok(Json(TripList {
        from: found.from.into(),
        to: found.to.into(),
        trips: walk.trips.into_iter().map(Into::into).collect(),
        stops: walk.stops.into_iter().map(Into::into).collect(),
        findings: walk.findings.into_iter().map(Into::into).collect(),
        distance_km: km(walk.distance_m),
        complete_km: km(walk.complete_m),
        driving_s: walk.driving_s,
        idle_s: walk.idle_s,
        positions: walk.n,
        drift: walk.n_drift,
        no_fix: walk.n_no_fix,
    }))
}

/// Every position of a vehicle in a stretch of time as CSV; drift is marked, never left out.
#[utoipa::path(get, path = "/vehicles/{id}/track.csv", tag = "vehicle", params(("id" = String, Path), WindowQuery), responses((status = 200, body = String, content_type = "text/csv")))]
pub(crate) async fn track(AppRef(app): AppRef, caller: Caller, id: PathId, Query(query): Query<WindowQuery>) -> Result<Response, Failure> {
    let (from, to) = (at_option("from", query.from.as_deref())?, at_option("to", query.to.as_deref())?);
    let (row, positions) = road::track(&app, &caller.scope, id.read()?, from, to).await?;
    let header = [
        "at",
        "received_at",
        "device_at",
        "lon_wgs84",
        "lat_wgs84",
        "altitude_m",
        "speed_kmh",
        "direction_deg",
        "acc",
        "fix",
        "drift",
        "alarm_bits",
        "status_bits",
        "flags",
    ];
    let mut csv = Csv::new(&header);
    for p in &positions {
        csv.row(&track_row(p));
    }
    Ok(csv::file(csv, &format!("track-{}.csv", row.vehicle.phone)))
}

fn track_row(p: &Position) -> [String; 14] {
    let yes = |b: bool| if b { "1" } else { "0" }.to_owned();
    let place = p.place();
    [
        p.event_at.to_string(),
        p.received_at.to_string(),
        p.device_at.map(|t| t.to_string()).unwrap_or_default(),
        format!("{:.6}", place.lon),
        format!("{:.6}", place.lat),
        p.altitude_m.to_string(),
        p.speed_kmh().to_string(),
        p.direction_deg.to_string(),
        yes(p.status_bits & 1 == 1),
        yes(!p.flags.has(Flags::NO_FIX)),
        yes(p.flags.has(Flags::DRIFT)),
        p.alarm_bits.to_string(),
        p.status_bits.to_string(),
        p.flags.names().join(" "),
    ]
}

/// The five ratios of one operator or county, with what they are made of. A ratio of nothing is `null`.
#[derive(Serialize, ToSchema)]
pub(crate) struct RatioRow {
    /// Id of the operator or code of the county; `null`: vehicles without, or all of them.
    key: Option<String>,
    name: Option<String>,
    /// Registered.
    vehicles: u64,
    networked: u64,
    online: u64,
    drifting: u64,
    positions: u64,
    positions_qualified: u64,
    positions_drift: u64,
    distance_km: f64,
    complete_km: f64,
    trips: u64,
    overspeed: u64,
    fatigue: u64,
    ban: u64,
    /// 入网率.
    networked_ratio: Option<f64>,
    /// 上线率.
    online_ratio: Option<f64>,
    /// 轨迹完整率.
    complete_ratio: Option<f64>,
    /// 数据合格率.
    qualified_ratio: Option<f64>,
    /// 漂移率.
    drift_ratio: Option<f64>,
    /// Vehicles not reckoned yet; ask again.
    pending: u64,
    /// The oldest reckoning in it.
    computed_at: Option<At>,
}

impl From<RoadSums> for RatioRow {
    fn from(s: RoadSums) -> Self {
        let ratio = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
        let of = |part: u64, whole: u64| ratio(part as f64, whole as f64);
        Self {
            networked_ratio: of(s.networked, s.vehicles),
            online_ratio: of(s.online, s.networked),
            complete_ratio: ratio(s.complete_m, s.distance_m),
            qualified_ratio: of(s.n_qualified, s.n),
            drift_ratio: of(s.drifting, s.online),
            pending: s.vehicles.saturating_sub(s.computed),
            key: s.key,
            name: s.name,
            vehicles: s.vehicles,
            networked: s.networked,
            online: s.online,
            drifting: s.drifting,
            positions: s.n,
            positions_qualified: s.n_qualified,
            positions_drift: s.n_drift,
            distance_km: km(s.distance_m),
            complete_km: km(s.complete_m),
            trips: s.n_trips,
            overspeed: s.n_overspeed,
            fatigue: s.n_fatigue,
            ban: s.n_ban,
            computed_at: s.computed_at.map(Into::into),
        }
    }
}

/// What a ratio means and who says so.
#[derive(Serialize, ToSchema)]
pub(crate) struct RatioMeaning {
    /// `networked`, `online`, `complete`, `qualified`, `drift`.
    id: String,
    name_zh: String,
    name_en: String,
    definition_zh: String,
    definition_en: String,
    source: String,
    /// `unverified` is shown as 待核.
    confidence: String,
}

impl From<&Sourced<RatioDefinition>> for RatioMeaning {
    fn from(row: &Sourced<RatioDefinition>) -> Self {
        Self {
            id: row.is.id.clone(),
            name_zh: row.is.name_zh.clone(),
            name_en: row.is.name_en.clone(),
            definition_zh: row.is.definition_zh.clone(),
            definition_en: row.is.definition_en.clone(),
            source: row.source(),
            confidence: row.confidence.clone(),
        }
    }
}

/// Ratios of one day.
#[derive(Serialize, ToSchema)]
pub(crate) struct RatioList {
    /// Civil day in Beijing.
    day: String,
    /// Late data may still change it.
    open: bool,
    ratios: Vec<RatioRow>,
    total: RatioRow,
    meanings: Vec<RatioMeaning>,
    next: Option<String>,
}

/// Which day, by what.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct RatioQuery {
    /// `2026-11-23`, Beijing time; left out = today.
    day: Option<String>,
    /// `operator` (left out) or `region`.
    by: Option<String>,
    /// `json` (left out) or `csv`.
    format: Option<String>,
}

/// The five ratios per operator or county and day.
#[utoipa::path(get, path = "/road/ratios", tag = "road", params(RatioQuery), responses((status = 200, content((RatioList = "application/json"), (String = "text/csv")))))]
pub(crate) async fn ratios(AppRef(app): AppRef, caller: Caller, Query(query): Query<RatioQuery>) -> Result<Response, Failure> {
    let by = match query.by.as_deref() {
        None | Some("" | "operator") => RoadBy::Operator,
        Some("region") => RoadBy::Region,
        Some(other) => return Err(AppError::invalid("word.unknown", "by").with("word", other).into()),
    };
    let csv = match query.format.as_deref() {
        None | Some("" | "json") => false,
        Some("csv") => true,
        Some(other) => return Err(AppError::invalid("word.unknown", "format").with("word", other).into()),
    };
    let found = road::ratios(&app, &caller.scope, query.day.as_deref(), by).await?;
    let (rows, total): (Vec<RatioRow>, RatioRow) = (found.rows.into_iter().map(Into::into).collect(), found.total.into());
    if csv {
        return Ok(csv::file(ratio_csv(&found.day, &rows, &total), &format!("road-ratios-{}.csv", found.day)));
    }
    let meanings = app.road.ratio.iter().map(Into::into).collect();
    Ok(Json(RatioList { day: found.day, open: found.open, ratios: rows, total, meanings, next: None }).into_response())
}

fn ratio_csv(day: &str, rows: &[RatioRow], total: &RatioRow) -> Csv {
    let header = [
        "day",
        "key",
        "name",
        "vehicles",
        "networked",
        "online",
        "drifting",
        "positions",
        "positions_qualified",
        "positions_drift",
        "distance_km",
        "complete_km",
        "trips",
        "overspeed",
        "fatigue",
        "ban",
        "networked_ratio",
        "online_ratio",
        "complete_ratio",
        "qualified_ratio",
        "drift_ratio",
        "pending",
    ];
    let mut csv = Csv::new(&header);
    for (row, name) in rows.iter().map(|row| (row, row.name.as_deref().unwrap_or_default())).chain([(total, "*")]) {
        let ratio = |r: Option<f64>| r.map(|r| r.to_string()).unwrap_or_default();
        csv.row(&[
            day.to_owned(),
            row.key.clone().unwrap_or_default(),
            name.to_owned(),
            row.vehicles.to_string(),
            row.networked.to_string(),
            row.online.to_string(),
            row.drifting.to_string(),
            row.positions.to_string(),
            row.positions_qualified.to_string(),
            row.positions_drift.to_string(),
            row.distance_km.to_string(),
            row.complete_km.to_string(),
            row.trips.to_string(),
            row.overspeed.to_string(),
            row.fatigue.to_string(),
            row.ban.to_string(),
            ratio(row.networked_ratio),
            ratio(row.online_ratio),
            ratio(row.complete_ratio),
            ratio(row.qualified_ratio),
            ratio(row.drift_ratio),
            row.pending.to_string(),
        ]);
    }
    csv
}

/// Metres as kilometres, to the metre.
fn km(metres: f64) -> f64 {
    metres.round() / 1e3
}
