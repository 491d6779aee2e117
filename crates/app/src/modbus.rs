//! How a device is polled over Modbus TCP: the register map, checked field by field.
//!
//! Nothing here opens a connection; the poller follows the registry's snapshot. Start at [`put`].

use std::collections::HashSet;
use std::net::SocketAddr;

use anlan_model::modbus::{Forbidden, ModbusMap, Register, Table, ValueType, WordOrder};
use anlan_model::{Clock as _, DeviceId, Permission, Scope};

use crate::App;
use crate::error::{AppError, Faults};
use crate::registry::Touched;
use crate::validate;

/// The protocol word of devices that are polled.
pub const PROTOCOL: &str = "modbus";
/// Most registers of one device: as many as points in one request.
const REGISTERS_MAX: usize = 1_000;
/// Most spans that must not be read.
const FORBIDDEN_MAX: usize = 100;
/// Shortest interval, seconds: ten polls a second are more than serial lines carry.
const INTERVAL_S_MIN: f64 = 0.1;
/// Longest interval, seconds: a day.
const INTERVAL_S_MAX: f64 = 86_400.0;
/// What a request may take, milliseconds.
const TIMEOUT_MS: (u64, u64) = (50, 60_000);
/// Unless told otherwise; long enough for a serial line of 9,600 baud behind a gateway.
const TIMEOUT_MS_DEFAULT: u64 = 3_000;

/// A register as somebody writes it.
#[derive(Clone, Debug, PartialEq)]
pub struct RegisterWish {
    /// Code of the point.
    pub code: String,
    /// `coil`, `discrete`, `holding`, `input`.
    pub table: String,
    /// From 0.
    pub address: u32,
    /// `bool`, `u16`, `f32` …
    pub kind: String,
    /// Bit of a register.
    pub bit: Option<u8>,
    /// `ABCD`, `CDAB`, `BADC`, `DCBA`.
    pub order: String,
    /// Factor.
    pub scale: f64,
    /// Added after the factor.
    pub offset: f64,
    /// Unit symbol; empty = the point's.
    pub unit: String,
    /// Seconds between polls; absent = the device's.
    pub interval_s: Option<f64>,
}

/// Addresses that must not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForbiddenWish {
    /// Which table.
    pub table: String,
    /// First.
    pub from: u16,
    /// Last.
    pub to: u16,
}

/// A map as somebody writes it.
#[derive(Clone, Debug, PartialEq)]
pub struct MapWish {
    /// `IP:port`.
    pub address: String,
    /// Unit id.
    pub unit: u8,
    /// Seconds between polls of registers that name none.
    pub interval_s: Option<f64>,
    /// Milliseconds a request may take.
    pub timeout_ms: Option<u64>,
    /// Unnamed addresses that a read may cover.
    pub gap: u16,
    /// Never read.
    pub forbidden: Vec<ForbiddenWish>,
    /// Values.
    pub registers: Vec<RegisterWish>,
}

/// The map of a device, if it is polled.
///
/// # Errors
/// Not visible.
pub async fn get(app: &App, scope: &Scope, device: DeviceId) -> Result<Option<ModbusMap>, AppError> {
    let scope = scope.with(Permission::View)?;
    Ok(app.store.modbus(&scope, device).await?)
}

/// Sets or replaces the map of a device of protocol `modbus`; polling follows within seconds.
///
/// # Errors
/// No permission there, an address outside the configured networks, every field that cannot be accepted.
pub async fn put(app: &App, scope: &Scope, device: DeviceId, wish: MapWish) -> Result<ModbusMap, AppError> {
    let scope = scope.with(Permission::ManageDevices)?;
    let row = app.store.device(&scope, device).await?;
    if row.device.protocol != PROTOCOL {
        return Err(AppError::conflict("modbus.protocol").on("protocol").with("protocol", row.device.protocol));
    }
    let n_others = app.registry.polls().borrow().iter().filter(|p| p.device != device).count();
    if n_others >= app.settings.modbus_devices_max {
        return Err(AppError::conflict("modbus.devices_max").with("max", app.settings.modbus_devices_max));
    }
    let map = check(&wish, |address| app.settings.modbus_networks.iter().any(|n| n.contains(address.ip())))?;
    let known = app.registry.get();
    let mut faults = Faults::default();
    for (i, register) in map.registers.iter().enumerate() {
        let point = known.point_by_code.get(&device).and_then(|codes| codes.get(&register.code)).and_then(|id| known.points.get(id));
        // Limits are set in the point's unit: another unit here would change what they mean.
        if let Some(point) = point.filter(|p| !p.unit.is_empty() && !register.unit.is_empty() && p.unit != register.unit) {
            let field = format!("registers[{i}].unit");
            faults.note::<()>(Err(AppError::invalid("modbus.unit", &field).with("unit", &point.unit)));
        }
    }
    faults.check()?;
    app.store.put_modbus(&scope, device, &map, app.clock.now()).await?;
    app.registry.renew([Touched::Device(device)]).await?;
    Ok(map)
}

/// Stops polling a device; its points stay.
///
/// # Errors
/// No permission there, or not visible.
pub async fn delete(app: &App, scope: &Scope, device: DeviceId) -> Result<(), AppError> {
    let scope = scope.with(Permission::ManageDevices)?;
    app.store.delete_modbus(&scope, device, app.clock.now()).await?;
    Ok(app.registry.renew([Touched::Device(device)]).await?)
}

fn word<T>(field: &str, value: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, AppError> {
    parse(value).ok_or_else(|| AppError::invalid("word.unknown", field).with("word", value))
}

fn interval_ms(field: &str, own: Option<f64>, common: Option<f64>) -> Result<u64, AppError> {
    match own.or(common) {
        None => Err(AppError::invalid("field.missing", field)),
        Some(s) if !(INTERVAL_S_MIN..=INTERVAL_S_MAX).contains(&s) => {
            Err(AppError::invalid("number.range", field).with("min", INTERVAL_S_MIN).with("max", INTERVAL_S_MAX))
        }
        Some(s) => Ok((s * 1_000.0).round() as u64),
    }
}

fn check(wish: &MapWish, allowed: impl Fn(SocketAddr) -> bool) -> Result<ModbusMap, AppError> {
    let mut faults = Faults::default();
    let address = faults.note(match wish.address.trim().parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => Err(AppError::invalid("modbus.address", "address")),
        Ok(address) if !allowed(address) => Err(AppError::invalid("modbus.network", "address").with("address", address)),
        Ok(address) => Ok(address),
        Err(_) => Err(AppError::invalid("modbus.address", "address")),
    });
    let timeout_ms = wish.timeout_ms.unwrap_or(TIMEOUT_MS_DEFAULT);
    if !(TIMEOUT_MS.0..=TIMEOUT_MS.1).contains(&timeout_ms) {
        let wrong = AppError::invalid("number.range", "timeout_ms").with("min", TIMEOUT_MS.0).with("max", TIMEOUT_MS.1);
        faults.note::<()>(Err(wrong));
    }
    let most = u16::from(u8::MAX);
    if wish.gap > most {
        faults.note::<()>(Err(AppError::invalid("number.range", "gap").with("min", 0).with("max", most)));
    }
    if wish.registers.is_empty() || wish.registers.len() > REGISTERS_MAX {
        faults.note::<()>(Err(AppError::invalid("list.length", "registers").with("max", REGISTERS_MAX)));
    }
    if wish.forbidden.len() > FORBIDDEN_MAX {
        faults.note::<()>(Err(AppError::invalid("list.length", "forbidden").with("max", FORBIDDEN_MAX)));
    }
    // A list that is too long is not looked into.
    let Some(address) = address.filter(|_| wish.registers.len() <= REGISTERS_MAX && wish.forbidden.len() <= FORBIDDEN_MAX) else {
        faults.check()?;
        return Err(AppError::invalid("modbus.address", "address"));
    };
    let mut forbidden = Vec::new();
    for (i, span) in wish.forbidden.iter().enumerate() {
        let table = faults.note(word(&format!("forbidden[{i}].table"), &span.table, Table::parse));
        if span.from > span.to {
            faults.note::<()>(Err(AppError::invalid("range.order", &format!("forbidden[{i}].to"))));
        }
        forbidden.extend(table.map(|table| Forbidden { table, from: span.from, to: span.to }));
    }
    let (mut registers, mut seen) = (Vec::new(), HashSet::new());
    for (i, r) in wish.registers.iter().enumerate() {
        let field = |name: &str| format!("registers[{i}].{name}");
        let code = faults.note(validate::code(&field("code"), &r.code));
        if !seen.insert(r.code.trim().to_owned()) {
            faults.note::<()>(Err(AppError::invalid("list.twice", &field("code"))));
        }
        let table = faults.note(word(&field("table"), &r.table, Table::parse));
        let kind = faults.note(word(&field("type"), &r.kind, ValueType::parse));
        let order = faults.note(word(&field("order"), &r.order, WordOrder::parse));
        let interval_ms = faults.note(interval_ms(&field("interval_s"), r.interval_s, wish.interval_s));
        let unit = faults.note(validate::optional(&field("unit"), &r.unit));
        faults.note(validate::finite(&field("offset"), Some(r.offset)));
        if !r.scale.is_finite() || r.scale == 0.0 {
            faults.note::<()>(Err(AppError::invalid("modbus.scale", &field("scale"))));
        }
        let (Some(table), Some(kind)) = (table, kind) else { continue };
        if table.is_bits() && kind != ValueType::Bool {
            faults.note::<()>(Err(AppError::invalid("modbus.bits", &field("type")).with("table", table.as_str())));
        }
        let wants_bit = kind == ValueType::Bool && !table.is_bits();
        if wants_bit != r.bit.is_some() || r.bit.is_some_and(|b| b > 15) {
            faults.note::<()>(Err(AppError::invalid("modbus.bit", &field("bit"))));
        }
        let last = r.address.saturating_add(u32::from(kind.width()) - 1);
        let (Ok(first), Ok(last)) = (u16::try_from(r.address), u16::try_from(last)) else {
            faults.note::<()>(Err(AppError::invalid("modbus.register", &field("address"))));
            continue;
        };
        if forbidden.iter().any(|f| f.table == table && f.from <= last && f.to >= first) {
            faults.note::<()>(Err(AppError::invalid("modbus.forbidden", &field("address"))));
        }
        if let (Some(code), Some(order), Some(interval_ms), Some(unit)) = (code, order, interval_ms, unit) {
            let (scale, offset) = (r.scale, r.offset);
            registers.push(Register { code, table, address: first, kind, bit: r.bit, order, scale, offset, unit, interval_ms });
        }
    }
    faults.check()?;
    Ok(ModbusMap { address, unit: wish.unit, timeout_ms, gap: wish.gap, forbidden, registers })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register() -> RegisterWish {
        RegisterWish {
            code: "PI-101".into(),
            table: "holding".into(),
            address: 0,
            kind: "f32".into(),
            bit: None,
            order: "CDAB".into(),
            scale: 1.0,
            offset: 0.0,
            unit: "kPa".into(),
            interval_s: None,
        }
    }

    fn map() -> MapWish {
        MapWish {
            address: "127.0.0.1:502".into(),
            unit: 1,
            interval_s: Some(5.0),
            timeout_ms: None,
            gap: 0,
            forbidden: vec![],
            registers: vec![register()],
        }
    }

    /// The faults as `field code`.
    fn faults(change: impl FnOnce(&mut MapWish)) -> Vec<String> {
        let mut wish = map();
        change(&mut wish);
        let problems = super::check(&wish, |a| a.ip().is_loopback()).err().map(|e| e.problems).unwrap_or_default();
        problems.into_iter().map(|p| format!("{} {}", p.field.unwrap_or_default(), p.code)).collect()
    }

    fn one(change: impl FnOnce(&mut RegisterWish), want: &str) {
        assert_eq!(faults(|m| change(&mut m.registers[0])), [format!("registers[0].{want}")]);
    }

    #[test]
    fn a_good_map_is_taken_as_it_is() {
        let taken = super::check(&map(), |_| true).unwrap();
        assert_eq!((taken.timeout_ms, taken.registers[0].interval_ms, taken.registers[0].order), (3_000, 5_000, WordOrder::Cdab));
    }

    #[test]
    fn each_fault_names_its_field() {
        assert_eq!(faults(|m| m.address = "plc.local:502".into()), ["address modbus.address"]);
        assert_eq!(faults(|m| m.address = "127.0.0.1:0".into()), ["address modbus.address"]);
        assert_eq!(faults(|m| m.address = "10.0.0.1:502".into()), ["address modbus.network"]);
        assert_eq!(faults(|m| m.timeout_ms = Some(1)), ["timeout_ms number.range"]);
        assert_eq!(faults(|m| m.registers.clear()), ["registers list.length"]);
        assert_eq!(faults(|m| m.interval_s = None), ["registers[0].interval_s field.missing"]);
        assert_eq!(faults(|m| m.registers.push(register())), ["registers[1].code list.twice"]);
        one(|r| r.table = "4x".into(), "table word.unknown");
        one(|r| r.kind = "float".into(), "type word.unknown");
        one(|r| r.order = "abcd".into(), "order word.unknown");
        one(|r| r.interval_s = Some(0.01), "interval_s number.range");
        one(|r| r.interval_s = Some(f64::NAN), "interval_s number.range");
        one(|r| r.scale = 0.0, "scale modbus.scale");
        one(|r| r.offset = f64::NAN, "offset number.not_finite");
        one(|r| r.address = 40_001 + 30_000, "address modbus.register");
        one(|r| r.address = 65_535, "address modbus.register");
        one(|r| r.bit = Some(3), "bit modbus.bit");
        one(|r| (r.kind, r.bit) = ("bool".into(), None), "bit modbus.bit");
        one(|r| (r.kind, r.bit) = ("bool".into(), Some(16)), "bit modbus.bit");
        one(|r| r.table = "coil".into(), "type modbus.bits");
        let wall = ForbiddenWish { table: "holding".into(), from: 1, to: 1 };
        assert_eq!(faults(|m| m.forbidden.push(wall)), ["registers[0].address modbus.forbidden"]);
        assert_eq!(faults(|m| m.forbidden.push(ForbiddenWish { table: "input".into(), from: 9, to: 1 })), ["forbidden[0].to range.order"]);
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let many = faults(|m| {
            m.gap = 300;
            m.registers[0].scale = 0.0;
            m.registers.push(RegisterWish { table: "x".into(), ..register() });
        });
        assert_eq!(
            many,
            ["gap number.range", "registers[0].scale modbus.scale", "registers[1].code list.twice", "registers[1].table word.unknown"]
        );
    }
}
