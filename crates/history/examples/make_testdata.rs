//! Writes an example of every file of the current format version, and what must be read from it, into the directory named as argument.
//!
//! Run it once when a format version is new, into `testdata/v<n>`; never again over a committed one:
//! `cargo run -p anlan-history --example make_testdata -- crates/history/testdata/v2`. `tests/formats.rs` reads the results for ever.

use std::path::Path;

use anlan_history::{Haste, Options, Record, open};
use anlan_model::{Flags, PointId, Position, Quality, Reading, Timestamp, VehicleId};

#[path = "../testdata/answers.rs"]
mod answers;

use answers::DAY;

fn reading(point: i64, second: i64, value: f64) -> Reading {
    let event_at = Timestamp::from_micros(DAY + second * 1_000_000);
    Reading {
        point: PointId::new(point),
        event_at,
        device_at: Some(event_at),
        received_at: event_at.plus_us(431_000),
        value,
        quality: Quality::Good,
        flags: Flags::empty(),
        revision: 0,
    }
}

fn position(vehicle: i64, second: i64) -> Position {
    let event_at = Timestamp::from_micros(DAY + second * 1_000_000);
    Position {
        vehicle: VehicleId::new(vehicle),
        event_at,
        device_at: (second % 60 == 0).then_some(event_at),
        received_at: event_at.plus_us(1_250_000),
        lon_e6: 102_546_789 + second as i32,
        lat_e6: 24_352_001 - second as i32,
        altitude_m: 1_630,
        speed_dkmh: 423,
        direction_deg: 271,
        alarm_bits: 1 << 31,
        status_bits: 3,
        body_crc: 0xdead_beef,
        flags: if second > 100 { Flags::DRIFT } else { Flags::empty() },
        items: vec![0x01, 0x04, 0, 0, 0x30, second as u8],
    }
}

/// The same, up to 30 ms beside its time, as of a sensor that wavers around its period.
fn wavering(point: i64, second: i64, value: f64) -> Reading {
    let event_at = Timestamp::from_micros(DAY + second * 1_000_000 + if second > 300 { (second * second % 61 - 30) * 1_000 } else { 0 });
    Reading { event_at, device_at: Some(event_at), ..reading(point, second, value) }
}

/// Every coding once: decimals, −0.0, subnormals, full doubles, gaps, steps along a grid, a walk long enough for the
/// entropy coder, bad and uncertain, all device-time kinds, revisions, late data, two hours.
fn records() -> Vec<Record> {
    let series = |from: i64, to: i64| (from..to).filter(|i| i % 37 != 5).map(|i| wavering(7, i * 30, 21.5 + (i * i % 23) as f64 / 10.0));
    let awkward = [-0.0, 0.1 + 0.2, 5e-324, f64::MAX, -1e-9, 4_503_599_627_370_497.5];
    let mut first: Vec<Reading> = series(0, 100).collect();
    first.extend(awkward.iter().enumerate().map(|(i, v)| reading(8, i as i64 * 60, *v)));
    first.extend((0..600).map(|i| reading(9, 3 + i * 4, 5.0 + ((i * i % 7 + i * i % 5) / 3) as f64 / 10.0)));
    let mut second: Vec<Reading> = series(100, 140).collect();
    second.push(Reading { quality: Quality::Bad, flags: Flags::OUT_OF_RANGE, device_at: None, ..reading(9, 100, 999.9) });
    second.push(Reading {
        quality: Quality::Uncertain,
        flags: Flags::CLOCK_BAD,
        device_at: Some(Timestamp::from_micros(17)),
        ..reading(9, 200, 1.25)
    });
    let late = vec![
        Reading { revision: 1, flags: Flags::REVISED.with(Flags::LATE), ..reading(7, 90, 30.0) },
        Reading { flags: Flags::BACKFILL, ..reading(7, 55, 22.2) },
        reading(7, 5_000, 23.0),
    ];
    let at = |second: i64| Timestamp::from_micros(DAY + second * 1_000_000);
    vec![
        Record {
            shard: 5,
            now: at(3_000),
            readings: first,
            positions: vec![position(3, 60), position(3, 90)],
            notes: b"effects v1".to_vec(),
        },
        Record { shard: 5, now: at(4_200), readings: second, positions: vec![position(4, 3_700)], notes: Vec::new() },
        Record { shard: 6, now: at(4_300), readings: Vec::new(), positions: Vec::new(), notes: b"tick".to_vec() },
        Record { shard: 5, now: at(5_001), readings: late, positions: vec![position(3, 4_000)], notes: vec![0, 255] },
    ]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).ok_or("name the directory to write")?;
    let dir = Path::new(&dir);
    if dir.exists() {
        return Err("the directory exists; a committed example is never written again".into());
    }
    let (mut writer, reader) = open(dir, Options::default())?;
    for (i, record) in records().iter().enumerate() {
        writer.append(record)?;
        writer.sync()?;
        if i > 0 {
            writer.checkpoint(format!("state after {}", i + 1).as_bytes())?;
        }
        if i == 2 {
            writer.seal_now(record.now)?;
        }
    }
    let mut keeper = writer.keeper();
    while keeper.step(Timestamp::from_micros(DAY + 3 * 86_400_000_000), Haste::Eager)?.is_some() {}
    drop(keeper);
    std::fs::write(dir.join("expected.json"), serde_json::to_string(&answers::answers(&reader))? + "\n")?;
    drop((writer, reader));
    std::fs::remove_file(dir.join("lock"))?;
    Ok(())
}
