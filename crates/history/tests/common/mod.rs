//! Readings, positions and directories for the suites.
#![allow(dead_code, reason = "each suite uses its part")]

use anlan_history::{Options, Reader, Record, Writer};
use anlan_model::{Flags, PointId, Position, Quality, Reading, Timestamp, VehicleId};

pub const HOUR: i64 = 3_600_000_000;
/// 2026-11-23T00:00:00Z.
pub const DAY: i64 = 1_795_392_000_000_000;

pub fn t(us: i64) -> Timestamp {
    Timestamp::from_micros(us)
}

pub fn reading(point: i64, at: i64, value: f64) -> Reading {
    Reading {
        point: PointId::new(point),
        event_at: t(at),
        device_at: Some(t(at)),
        received_at: t(at + 250_000),
        value,
        quality: Quality::Good,
        flags: Flags::empty(),
        revision: 0,
    }
}

pub fn position(vehicle: i64, at: i64) -> Position {
    Position {
        vehicle: VehicleId::new(vehicle),
        event_at: t(at),
        device_at: Some(t(at)),
        received_at: t(at + 400_000),
        lon_e6: 102_546_000 + (at / 1_000_000 % 10_000) as i32,
        lat_e6: 24_352_000 - (at / 1_000_000 % 3_000) as i32,
        altitude_m: 1_630,
        speed_dkmh: 423,
        direction_deg: 271,
        alarm_bits: 0,
        status_bits: 3,
        body_crc: (at / 1_000) as u32,
        flags: Flags::empty(),
        items: vec![0x01, 0x04, 0, 0, 0x30, 0x39],
    }
}

pub fn record(shard: u16, now: i64, readings: Vec<Reading>) -> Record {
    Record { shard, now: t(now), readings, positions: Vec::new(), notes: Vec::new() }
}

pub fn open(dir: &std::path::Path) -> (Writer, Reader) {
    anlan_history::open(dir, Options::default()).expect("opens")
}

/// Equal in every bit, −0.0 told from 0.0.
pub fn same(a: &Reading, b: &Reading) -> bool {
    a == b && a.value.to_bits() == b.value.to_bits()
}

/// The only or last file with this prefix.
pub fn file(dir: &std::path::Path, prefix: &str) -> std::path::PathBuf {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .expect("lists")
        .map(|e| e.expect("entry").path())
        .filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(prefix)))
        .collect();
    names.sort();
    names.pop().unwrap_or_else(|| panic!("no file {prefix}*"))
}
