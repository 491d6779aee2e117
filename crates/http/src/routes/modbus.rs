//! How a device is polled over Modbus TCP.

use anlan_app::modbus::{self, ForbiddenWish, MapWish, RegisterWish};
use anlan_model::modbus::ModbusMap;
use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Answer;
use crate::extract::{AppRef, Body, Caller, PathId};
use crate::problem::Failure;

/// One value of a device.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModbusRegister {
    /// Code of the point; it is made if the device has none of that code.
    code: String,
    /// `coil`, `discrete`, `holding` or `input`.
    table: String,
    /// From 0 as on the wire: what paper calls 40001 is holding 0.
    address: u32,
    /// `bool`, `u16`, `i16`, `u32`, `i32`, `f32`, `u64`, `i64` or `f64`.
    #[serde(rename = "type")]
    kind: String,
    /// Bit of a register, 0 = least significant; for a `bool` in `holding` or `input` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bit: Option<u8>,
    /// Byte order of two and four registers: `ABCD` (default), `CDAB`, `BADC`, `DCBA`.
    #[serde(default = "abcd")]
    order: String,
    /// The value is raw · `scale` + `offset`.
    #[serde(default = "one")]
    scale: f64,
    #[serde(default)]
    offset: f64,
    /// Unit symbol; empty = the point's.
    #[serde(default)]
    unit: String,
    /// Seconds between polls, 0.1 to 86,400; left out = the device's.
    #[serde(default)]
    interval_s: Option<f64>,
}

fn abcd() -> String {
    "ABCD".to_owned()
}

fn one() -> f64 {
    1.0
}

/// Addresses that are never read, not even between two that are.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModbusForbidden {
    table: String,
    from: u16,
    /// Inclusive.
    to: u16,
}

/// How a device is polled.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Modbus {
    /// `IP:port`, inside the networks of the configuration key `modbus.networks`. Names are not resolved.
    address: String,
    /// Unit id; several devices may share one address.
    unit: u8,
    /// Seconds between polls of registers that name none.
    #[serde(default)]
    interval_s: Option<f64>,
    /// What one request may take, 50 to 60,000; 3,000 if left out.
    #[serde(default)]
    timeout_ms: Option<u64>,
    /// Unnamed addresses in a row that one read may cover to save another, 0 to 255; 0 = read only what is named.
    #[serde(default)]
    gap: u16,
    #[serde(default)]
    forbidden: Vec<ModbusForbidden>,
    /// At most 1,000.
    registers: Vec<ModbusRegister>,
}

/// How a device is polled.
#[derive(Serialize, ToSchema)]
pub(crate) struct ModbusState {
    /// `null` = it is not.
    modbus: Option<Modbus>,
}

impl From<Modbus> for MapWish {
    fn from(body: Modbus) -> Self {
        Self {
            address: body.address,
            unit: body.unit,
            interval_s: body.interval_s,
            timeout_ms: body.timeout_ms,
            gap: body.gap,
            forbidden: body.forbidden.into_iter().map(|f| ForbiddenWish { table: f.table, from: f.from, to: f.to }).collect(),
            registers: body
                .registers
                .into_iter()
                .map(|r| RegisterWish {
                    code: r.code,
                    table: r.table,
                    address: r.address,
                    kind: r.kind,
                    bit: r.bit,
                    order: r.order,
                    scale: r.scale,
                    offset: r.offset,
                    unit: r.unit,
                    interval_s: r.interval_s,
                })
                .collect(),
        }
    }
}

impl From<ModbusMap> for Modbus {
    fn from(map: ModbusMap) -> Self {
        Self {
            address: map.address.to_string(),
            unit: map.unit,
            interval_s: None,
            timeout_ms: Some(map.timeout_ms),
            gap: map.gap,
            forbidden: map
                .forbidden
                .into_iter()
                .map(|f| ModbusForbidden { table: f.table.as_str().to_owned(), from: f.from, to: f.to })
                .collect(),
            registers: map
                .registers
                .into_iter()
                .map(|r| ModbusRegister {
                    code: r.code,
                    table: r.table.as_str().to_owned(),
                    address: u32::from(r.address),
                    kind: r.kind.as_str().to_owned(),
                    bit: r.bit,
                    order: r.order.as_str().to_owned(),
                    scale: r.scale,
                    offset: r.offset,
                    unit: r.unit,
                    interval_s: Some(r.interval_ms as f64 / 1_000.0),
                })
                .collect(),
        }
    }
}

/// How a device is polled.
#[utoipa::path(get, path = "/devices/{id}/modbus", tag = "device", params(("id" = String, Path)), responses((status = 200, body = ModbusState)))]
pub(crate) async fn get(AppRef(app): AppRef, caller: Caller, id: PathId) -> Answer<ModbusState> {
    Ok(Json(ModbusState { modbus: modbus::get(&app, &caller.scope, id.read()?).await?.map(Into::into) }))
}

/// Sets or replaces how a device of protocol `modbus` is polled. Its points are made, confirmed, and get the interval as their period.
#[utoipa::path(put, path = "/devices/{id}/modbus", tag = "device", params(("id" = String, Path)), request_body = Modbus, responses((status = 200, body = Modbus)))]
pub(crate) async fn put(AppRef(app): AppRef, caller: Caller, id: PathId, Body(body): Body<Modbus>) -> Answer<Modbus> {
    Ok(Json(modbus::put(&app, &caller.scope, id.read()?, body.into()).await?.into()))
}

/// Stops polling a device; its points and their history stay.
#[utoipa::path(delete, path = "/devices/{id}/modbus", tag = "device", params(("id" = String, Path)), responses((status = 204)))]
pub(crate) async fn delete(AppRef(app): AppRef, caller: Caller, id: PathId) -> Result<StatusCode, Failure> {
    modbus::delete(&app, &caller.scope, id.read()?).await?;
    Ok(StatusCode::NO_CONTENT)
}
