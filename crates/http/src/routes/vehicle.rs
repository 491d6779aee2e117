//! Vehicles with a JT/T 808 terminal: where they are, where they were, who runs them.

use anlan_app::validate;
use anlan_app::vehicle::{self, VehicleChange, VehicleFilter, VehicleView};
use anlan_model::{Flags, Position};
use anlan_protocols::jt808::items_json;
use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Answer;
use super::node::Home;
use super::point::{Dropped, HistoryQuery};
use crate::dto::{At, Level, id, id_option, nullable};
use crate::extract::{AppRef, Body, Caller, PathId, Query};

/// Bit 0 of the status word: ignition on (JT/T 808-2019, table 25).
const STATUS_ACC: u32 = 1;

/// A vehicle and where it was last.
#[derive(Serialize, ToSchema)]
pub(crate) struct Vehicle {
    id: String,
    /// Number of its terminal, without leading zeros.
    phone: String,
    /// Empty until known.
    plate: String,
    /// Such as `coach`, `hazmat`; empty = unknown.
    kind: String,
    /// Operator.
    enterprise: Option<String>,
    enterprise_name: Option<String>,
    region: Option<String>,
    /// How its terminal is believed: `open`, `listed`, `authenticated`.
    trust: &'static str,
    /// `false`: heard, waiting for adoption.
    adopted: bool,
    speed_limit_kmh: Option<f64>,
    /// Heard within the offline limit.
    online: bool,
    revision: i64,
    latest: Option<PositionDto>,
    /// Of one that another node hears; `null` = its terminal speaks to this one.
    home: Option<Home>,
}

impl From<VehicleView> for Vehicle {
    fn from(view: VehicleView) -> Self {
        let v = view.row.vehicle;
        Self {
            id: v.id.to_string(),
            phone: v.phone,
            plate: v.plate,
            kind: v.kind,
            enterprise: v.enterprise.map(|e| e.to_string()),
            enterprise_name: view.row.enterprise_name,
            region: v.region.map(|r| r.to_string()),
            trust: v.trust.as_str(),
            adopted: v.adopted,
            speed_limit_kmh: v.speed_limit_kmh,
            online: view.online,
            revision: v.revision,
            home: view.row.home.map(Into::into),
            latest: view.latest.as_ref().map(Into::into),
        }
    }
}

/// A kept position.
#[derive(Serialize, ToSchema)]
#[schema(as = Position)]
pub(crate) struct PositionDto {
    /// The instant it holds for.
    at: At,
    received_at: At,
    /// As the terminal said; `null` if its time is no date.
    device_at: Option<At>,
    lon: f64,
    lat: f64,
    altitude_m: u16,
    speed_kmh: f64,
    /// From north, 0 to 359.
    direction_deg: u16,
    /// As sent.
    alarm_bits: u32,
    /// As sent.
    status_bits: u32,
    flags: Vec<&'static str>,
    /// Ignition on.
    acc: bool,
    /// Valid satellite fix.
    fix: bool,
    /// Additional items, decoded where we know them.
    items: serde_json::Value,
}

impl From<&Position> for PositionDto {
    fn from(p: &Position) -> Self {
        let place = p.place();
        Self {
            at: p.event_at.into(),
            received_at: p.received_at.into(),
            device_at: p.device_at.map(Into::into),
            lon: place.lon,
            lat: place.lat,
            altitude_m: p.altitude_m,
            speed_kmh: p.speed_kmh(),
            direction_deg: p.direction_deg,
            alarm_bits: p.alarm_bits,
            status_bits: p.status_bits,
            flags: p.flags.names(),
            acc: p.status_bits & STATUS_ACC != 0,
            fix: !p.flags.has(Flags::NO_FIX),
            items: items_json(&p.items),
        }
    }
}

/// A page of vehicles.
#[derive(Serialize, ToSchema)]
pub(crate) struct VehicleList {
    vehicles: Vec<Vehicle>,
    next: Option<String>,
}

/// A vehicle as the map draws it.
#[derive(Serialize, ToSchema)]
pub(crate) struct VehicleLatest {
    pub(super) id: String,
    pub(super) plate: String,
    pub(super) kind: String,
    pub(super) lon: f64,
    pub(super) lat: f64,
    pub(super) speed_kmh: f64,
    pub(super) direction_deg: u16,
    pub(super) at: At,
    pub(super) online: bool,
    /// Worst of its standing alarms.
    pub(super) level: Option<Level>,
}

/// Every visible vehicle that has a position.
#[derive(Serialize, ToSchema)]
pub(crate) struct VehicleLatestList {
    vehicles: Vec<VehicleLatest>,
    next: Option<String>,
}

/// A page of positions, oldest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct PositionList {
    positions: Vec<PositionDto>,
    next: Option<String>,
    /// What retention dropped of the range; on later pages, of what was left to show.
    dropped: Vec<Dropped>,
}

/// Which vehicles.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// Leading zeros do not matter.
    phone: Option<String>,
    /// Part of plate or phone.
    q: Option<String>,
    /// In this division.
    region: Option<String>,
    enterprise: Option<String>,
    cursor: Option<String>,
    /// 1 to 1,000.
    limit: Option<u32>,
}

/// What to change; fields left out stay.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VehicleChangeBody {
    /// As read; an older one is refused.
    revision: i64,
    #[serde(default)]
    plate: Option<String>,
    #[serde(default)]
    kind: Option<String>,
    /// `null` = none.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    enterprise: Option<Option<String>>,
    /// Of a vehicle without operator; `null` = none.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    region: Option<Option<String>>,
    /// `null` = none.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<f64>)]
    speed_limit_kmh: Option<Option<f64>>,
}

/// Lists vehicles in order of ids.
#[utoipa::path(get, path = "/vehicles", tag = "vehicle", params(ListQuery), responses((status = 200, body = VehicleList)))]
pub(crate) async fn list(AppRef(app): AppRef, caller: Caller, Query(query): Query<ListQuery>) -> Answer<VehicleList> {
    let known = app.registry.get();
    let filter = VehicleFilter {
        phone: query.phone.filter(|p| !p.is_empty()),
        q: query.q,
        region: query.region.filter(|r| !r.is_empty()).map(|r| validate::region_ever("region", &r, &known.regions)).transpose()?,
        enterprise: id_option("enterprise", query.enterprise.as_deref())?,
    };
    let page = vehicle::list(&app, &caller.scope, &filter, &validate::paging(query.cursor, query.limit)?).await?;
    Ok(Json(VehicleList { vehicles: page.items.into_iter().map(Into::into).collect(), next: page.next }))
}

/// Every visible vehicle where it was last, for the map.
#[utoipa::path(get, path = "/vehicles/latest", tag = "vehicle", responses((status = 200, body = VehicleLatestList)))]
pub(crate) async fn latest(AppRef(app): AppRef, caller: Caller) -> Answer<VehicleLatestList> {
    let marks = vehicle::latest(&app, &caller.scope).await?;
    Ok(Json(VehicleLatestList { vehicles: marks.into_iter().map(Into::into).collect(), next: None }))
}

impl From<vehicle::Mark> for VehicleLatest {
    fn from(mark: vehicle::Mark) -> Self {
        let place = mark.position.place();
        Self {
            id: mark.position.vehicle.to_string(),
            plate: mark.plate,
            kind: mark.kind,
            lon: place.lon,
            lat: place.lat,
            speed_kmh: mark.position.speed_kmh(),
            direction_deg: mark.position.direction_deg,
            at: mark.position.event_at.into(),
            online: mark.online,
            level: mark.level.map(Into::into),
        }
    }
}

/// One vehicle.
#[utoipa::path(get, path = "/vehicles/{id}", tag = "vehicle", params(("id" = String, Path)), responses((status = 200, body = Vehicle)))]
pub(crate) async fn get(AppRef(app): AppRef, caller: Caller, id: PathId) -> Answer<Vehicle> {
    Ok(Json(vehicle::get(&app, &caller.scope, id.read()?).await?.into()))
}

/// Changes a vehicle.
#[utoipa::path(patch, path = "/vehicles/{id}", tag = "vehicle", params(("id" = String, Path)), request_body = VehicleChangeBody, responses((status = 200, body = Vehicle)))]
pub(crate) async fn update(AppRef(app): AppRef, caller: Caller, path: PathId, Body(body): Body<VehicleChangeBody>) -> Answer<Vehicle> {
    let known = app.registry.get();
    let change = VehicleChange {
        revision: body.revision,
        plate: body.plate,
        kind: body.kind,
        enterprise: body.enterprise.map(|e| e.map(|e| id("enterprise", &e)).transpose()).transpose()?,
        region: body.region.map(|r| r.map(|r| validate::region("region", &r, &known.regions, app.today())).transpose()).transpose()?,
        speed_limit_kmh: body.speed_limit_kmh,
    };
    Ok(Json(vehicle::update(&app, &caller.scope, path.read()?, change).await?.into()))
}

/// Adopts a vehicle that was only heard: from now on its terminal must authenticate.
#[utoipa::path(post, path = "/vehicles/{id}/adopt", tag = "vehicle", params(("id" = String, Path)), responses((status = 200, body = Vehicle)))]
pub(crate) async fn adopt(AppRef(app): AppRef, caller: Caller, id: PathId) -> Answer<Vehicle> {
    Ok(Json(vehicle::adopt(&app, &caller.scope, id.read()?).await?.into()))
}

/// Positions of a vehicle, oldest first.
#[utoipa::path(get, path = "/vehicles/{id}/positions", tag = "vehicle", params(("id" = String, Path), HistoryQuery), responses((status = 200, body = PositionList)))]
pub(crate) async fn positions(AppRef(app): AppRef, caller: Caller, id: PathId, Query(query): Query<HistoryQuery>) -> Answer<PositionList> {
    let (id, window) = (id.read()?, query.read()?);
    let (from, to) = window.left()?;
    let page = vehicle::positions(&app, &caller.scope, id, window).await?;
    let dropped = vehicle::gaps(&app, &caller.scope, id, from, to).await?.into_iter().map(Into::into).collect();
    Ok(Json(PositionList { positions: page.items.iter().map(Into::into).collect(), next: page.next, dropped }))
}
