//! Devices and gateways, their secrets, and the points they bring.

use anlan_app::device::{self, DeviceChange, DeviceFilter, DeviceView, DeviceWish};
use anlan_app::point::{self, PointPut};
use anlan_app::validate;
use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Answer;
use super::node::Home;
use super::point::{LimitsBody, LimitsSourceDto, PointDto};
use crate::dto::{At, Place, id, id_option, nullable};
use crate::extract::{AppRef, Body, Caller, PathId, Query};
use crate::problem::Failure;

/// A device.
#[derive(Serialize, ToSchema)]
pub(crate) struct Device {
    id: String,
    /// Also the MQTT user name.
    code: String,
    name: String,
    enterprise: Option<String>,
    enterprise_name: Option<String>,
    /// The usual one; the credential works on MQTT and HTTP alike.
    protocol: String,
    /// May name other devices of its enterprise.
    gateway: bool,
    may_backfill: bool,
    disabled: bool,
    /// At least one of its points is not silent.
    online: bool,
    /// When its newest reading came.
    last_at: Option<At>,
    points: u64,
    revision: i64,
    /// Of one that another node hears; `null` = it speaks to this one.
    home: Option<Home>,
}

impl From<DeviceView> for Device {
    fn from(view: DeviceView) -> Self {
        let DeviceView { row, online, last_at } = view;
        let d = row.device;
        Self {
            id: d.id.to_string(),
            code: d.code,
            name: d.name,
            enterprise: d.enterprise.map(|e| e.to_string()),
            enterprise_name: row.enterprise_name,
            protocol: d.protocol,
            gateway: d.gateway,
            may_backfill: d.may_backfill,
            disabled: d.disabled,
            online,
            last_at: last_at.map(Into::into),
            points: u64::try_from(row.points).unwrap_or(0),
            revision: d.revision,
            home: row.home.map(Into::into),
        }
    }
}

/// A page of devices.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeviceList {
    devices: Vec<Device>,
    next: Option<String>,
}

/// Which devices.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    enterprise: Option<String>,
    /// Part of code or name.
    q: Option<String>,
    cursor: Option<String>,
    /// 1 to 1,000.
    limit: Option<u32>,
}

/// A new device.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeviceBody {
    /// Unique; no spaces, `/`, `+`, `#`, `:` or `,`.
    code: String,
    name: String,
    /// `null` or left out: seen by node-wide roles only.
    #[serde(default)]
    enterprise: Option<String>,
    /// `mqtt`, `http` …
    protocol: String,
    #[serde(default)]
    gateway: bool,
    #[serde(default)]
    may_backfill: bool,
}

/// A new device and its secret, shown this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeviceCreated {
    id: String,
    code: String,
    secret: String,
}

/// What to change; fields left out stay.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeviceChangeBody {
    /// As read; an older one is refused.
    revision: i64,
    #[serde(default)]
    name: Option<String>,
    /// `null` = none.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    enterprise: Option<Option<String>>,
    #[serde(default)]
    protocol: Option<String>,
    #[serde(default)]
    gateway: Option<bool>,
    #[serde(default)]
    may_backfill: Option<bool>,
    #[serde(default)]
    disabled: Option<bool>,
}

/// A new secret, shown this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct Secret {
    secret: String,
}

/// Points of a device, known by their codes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PointsBody {
    /// At most 1,000.
    points: Vec<PointPutBody>,
}

/// One point as it should be; replaces what is known under its code.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PointPutBody {
    code: String,
    name: String,
    #[serde(default)]
    unit: String,
    /// A word of `GET /kinds`.
    #[serde(default)]
    kind: String,
    /// Unit of the plant (装置).
    #[serde(default)]
    site: String,
    /// Expected seconds between readings; 0 = unknown.
    #[serde(default)]
    period_s: f64,
    #[serde(default)]
    range_low: Option<f64>,
    #[serde(default)]
    range_high: Option<f64>,
    #[serde(default)]
    limits: LimitsBody,
    /// Needed as soon as a limit is set.
    #[serde(default)]
    limits_source: Option<LimitsSourceDto>,
    #[serde(default)]
    place: Option<Place>,
}

/// Points as they are now.
#[derive(Serialize, ToSchema)]
pub(crate) struct PointsPut {
    points: Vec<PointDto>,
}

/// Lists devices in order of ids.
#[utoipa::path(get, path = "/devices", tag = "device", params(ListQuery), responses((status = 200, body = DeviceList)))]
pub(crate) async fn list(AppRef(app): AppRef, caller: Caller, Query(query): Query<ListQuery>) -> Answer<DeviceList> {
    let filter = DeviceFilter { enterprise: id_option("enterprise", query.enterprise.as_deref())?, q: query.q };
    let page = device::list(&app, &caller.scope, &filter, &validate::paging(query.cursor, query.limit)?).await?;
    Ok(Json(DeviceList { devices: page.items.into_iter().map(Into::into).collect(), next: page.next }))
}

/// One device.
#[utoipa::path(get, path = "/devices/{id}", tag = "device", params(("id" = String, Path)), responses((status = 200, body = Device)))]
pub(crate) async fn get(AppRef(app): AppRef, caller: Caller, id: PathId) -> Answer<Device> {
    Ok(Json(device::get(&app, &caller.scope, id.read()?).await?.into()))
}

/// Registers a device and makes its secret.
#[utoipa::path(post, path = "/devices", tag = "device", request_body = DeviceBody, responses((status = 201, body = DeviceCreated)))]
pub(crate) async fn create(
    AppRef(app): AppRef,
    caller: Caller,
    Body(body): Body<DeviceBody>,
) -> Result<(StatusCode, Json<DeviceCreated>), Failure> {
    let wish = DeviceWish {
        code: body.code,
        name: body.name,
        enterprise: id_option("enterprise", body.enterprise.as_deref())?,
        protocol: body.protocol,
        gateway: body.gateway,
        may_backfill: body.may_backfill,
    };
    let (device, secret) = device::create(&app, &caller.scope, wish).await?;
    Ok((StatusCode::CREATED, Json(DeviceCreated { id: device.id.to_string(), code: device.code, secret })))
}

/// Changes a device.
#[utoipa::path(patch, path = "/devices/{id}", tag = "device", params(("id" = String, Path)), request_body = DeviceChangeBody, responses((status = 200, body = Device)))]
pub(crate) async fn update(AppRef(app): AppRef, caller: Caller, path: PathId, Body(body): Body<DeviceChangeBody>) -> Answer<Device> {
    let change = DeviceChange {
        revision: body.revision,
        name: body.name,
        enterprise: body.enterprise.map(|e| e.map(|e| id("enterprise", &e)).transpose()).transpose()?,
        protocol: body.protocol,
        gateway: body.gateway,
        may_backfill: body.may_backfill,
        disabled: body.disabled,
    };
    Ok(Json(device::update(&app, &caller.scope, path.read()?, change).await?.into()))
}

/// Replaces the secret; the old one is refused from now on.
#[utoipa::path(post, path = "/devices/{id}/secret", tag = "device", params(("id" = String, Path)), responses((status = 200, body = Secret)))]
pub(crate) async fn replace_secret(AppRef(app): AppRef, caller: Caller, id: PathId) -> Answer<Secret> {
    Ok(Json(Secret { secret: device::replace_secret(&app, &caller.scope, id.read()?).await? }))
}

/// Sets points of a device by code and confirms them.
#[utoipa::path(put, path = "/devices/{id}/points", tag = "device", params(("id" = String, Path)), request_body = PointsBody, responses((status = 200, body = PointsPut)))]
pub(crate) async fn put_points(AppRef(app): AppRef, caller: Caller, id: PathId, Body(body): Body<PointsBody>) -> Answer<PointsPut> {
    let mut points = Vec::with_capacity(body.points.len());
    for (i, p) in body.points.into_iter().enumerate() {
        points.push(PointPut {
            code: p.code,
            name: p.name,
            unit: p.unit,
            kind: p.kind,
            site: p.site,
            period_s: p.period_s,
            range_low: p.range_low,
            range_high: p.range_high,
            limits: p.limits.into(),
            limits_source: p.limits_source.map(Into::into),
            place: p.place.map(|place| place.read().map_err(|e| e.on(&format!("points[{i}].place")))).transpose()?,
        });
    }
    let views = point::put(&app, &caller.scope, id.read()?, points).await?;
    Ok(Json(PointsPut { points: views.into_iter().map(Into::into).collect() }))
}
