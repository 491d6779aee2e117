//! Writes an example of an archive in the current formats, and what must be read from it, into the directory named as argument.
//!
//! Run it once when a format is new, into `testdata/v<n>`; never again over a committed one:
//! `cargo run -p anlan-archive --example make_testdata -- crates/archive/testdata/v1`. `tests/formats.rs` reads the results for ever.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anlan_archive::{Archive, ArchiveError, Day, Describe, Description, Hot, Place};
use anlan_history::Lsn;
use anlan_model::{Flags, PointId, Position, Quality, Reading, Timestamp, VehicleId};
use serde_json::Value;

#[path = "../testdata/answers.rs"]
mod answers;

/// 2026-11-20.
const DAY: i64 = 20_777;

struct Book;

impl Describe for Book {
    fn point(&self, id: i64, _: Day) -> Arc<Description> {
        let region = ["530402", "530403", "unassigned"][id as usize % 3].to_owned();
        let labels = [format!("TI-{id}"), "E-1".to_owned(), "罐区".to_owned(), "℃".to_owned(), "temperature".to_owned()];
        Arc::new(Description { region, labels: labels.into_iter().collect() })
    }
    fn vehicle(&self, id: i64, _: Day) -> Arc<Description> {
        let labels = [format!("1380000{id:04}"), "云F12345".to_owned(), "E-2".to_owned(), "hazmat".to_owned()];
        Arc::new(Description { region: "530402".to_owned(), labels: labels.into_iter().collect() })
    }
}

struct Rows(Vec<Reading>, Vec<Position>);

impl Hot<Reading> for Rows {
    fn subjects(&self, _: Day) -> Vec<i64> {
        (0..10).collect()
    }
    fn rows(&self, subject: i64, day: Day) -> Result<Vec<Reading>, ArchiveError> {
        let mut rows: Vec<Reading> = self.0.iter().filter(|r| r.point.get() == subject && Day::of(r.event_at) == day).copied().collect();
        rows.sort_by_key(|r| (r.event_at, r.revision));
        Ok(rows)
    }
}

impl Hot<Position> for Rows {
    fn subjects(&self, _: Day) -> Vec<i64> {
        (0..10).collect()
    }
    fn rows(&self, subject: i64, day: Day) -> Result<Vec<Position>, ArchiveError> {
        Ok(self.1.iter().filter(|p| p.vehicle.get() == subject && Day::of(p.event_at) == day).cloned().collect())
    }
}

fn reading(point: i64, day: i64, second: i64, value: f64) -> Reading {
    let event_at = Timestamp::from_micros(day * 86_400_000_000 + second * 1_000_000);
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
    let event_at = Timestamp::from_micros(DAY * 86_400_000_000 + second * 1_000_000);
    Position {
        vehicle: VehicleId::new(vehicle),
        event_at,
        device_at: (second % 60 == 0).then_some(event_at.plus_us(7)),
        received_at: event_at.plus_us(1_250_000),
        lon_e6: 102_546_789 + second as i32,
        lat_e6: 24_352_001 - second as i32,
        altitude_m: 1_630,
        speed_dkmh: 423,
        direction_deg: 271,
        alarm_bits: 1 << 31,
        status_bits: 3,
        body_crc: 0xdead_beef,
        flags: if second > 100 { Flags::TIME_SERVER } else { Flags::NO_FIX },
        items: vec![0x01, 0x04, 0, 0, 0x30, second as u8],
    }
}

/// Every value and every kind of time once.
fn first() -> Rows {
    let awkward = [-0.0, 0.1 + 0.2, 5e-324, 1e12, -1e-9, 4_503_599_627.5];
    let mut rows: Vec<Reading> = (0..60).map(|i| reading(1, DAY, i * 30, 21.5 + (i * i % 23) as f64 / 10.0)).collect();
    rows.extend(awkward.iter().enumerate().map(|(i, value)| reading(2, DAY, i as i64 * 60, *value)));
    rows.push(Reading { quality: Quality::Bad, flags: Flags::TIME_SERVER, device_at: None, ..reading(3, DAY, 100, 999.9) });
    let other = reading(3, DAY, 200, 3.25);
    rows.push(Reading { quality: Quality::Uncertain, flags: Flags::CLOCK_BAD, device_at: Some(other.event_at.plus_us(-5)), ..other });
    rows.extend((0..20).map(|i| reading(1, DAY + 1, i * 30, 1.0 + i as f64 / 8.0)));
    Rows(rows, (0..12).map(|i| position(4, i * 15)).collect())
}

fn main() {
    let to = std::env::args().nth(1).expect("the directory to write into");
    let to = Path::new(&to);
    assert!(!to.exists(), "{} exists; an example is never written again", to.display());
    let data = tempfile::tempdir().expect("makes");
    let place = Place { url: to.join("archive").display().to_string(), ..Place::default() };
    let archive = Archive::open(&place, data.path(), "example", 4).expect("opens");
    let mut rows = first();
    let (day, next) = (Day::new(DAY), Day::new(DAY + 1));
    archive.add_day(day, &rows, &Book, None).expect("adds");
    archive.add_day(next, &rows, &Book, None).expect("adds");
    // Late, and a correction: a second part.
    rows.0.push(Reading { flags: Flags::LATE, ..reading(1, DAY, 5, 20.0) });
    rows.0.push(Reading { flags: Flags::REVISED, revision: 1, ..reading(1, DAY, 30, 22.75) });
    archive.add_day(day, &rows, &Book, None).expect("adds");
    archive.release(day).expect("releases");
    archive.set_through(Lsn(4_711)).expect("says how far");
    let expected = serde_json::to_string_pretty(&answers::answers(&archive)).expect("writes");
    fs::write(to.join("expected.json"), expected + "\n").expect("writes");
    drop(archive);

    // The next day as a cut leaves it between the second and the third step: decided, not yet visible.
    let path = to.join("archive/_manifest/day=2026-11-21.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).expect("reads")).expect("parses");
    let part = manifest["parts"][0].take();
    let file = part["file"].as_str().expect("a name").to_owned();
    let visible = to.join("archive/readings/day=2026-11-21");
    let staged = to.join("archive/_staging").join(&file);
    fs::create_dir_all(to.join("archive/_staging")).expect("makes");
    fs::rename(visible.join("region=530403").join(&file), &staged).expect("moves");
    fs::remove_dir_all(visible).expect("removes");
    manifest["parts"] = Value::Array(Vec::new());
    manifest["pending"] = serde_json::json!({ "add": [[file, part]], "remove": [] });
    fs::write(&path, serde_json::to_string_pretty(&manifest).expect("writes")).expect("writes");
}
