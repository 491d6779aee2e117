//! One view over an engine whose middle day is gone and its archive: every question is answered as by an engine that kept everything.

use std::sync::Arc;

use anlan_archive::{Archive, Day, Describe, Description, Place, Whole, run};
use anlan_history::{Options, Reader, Record, Rollup, Writer};
use anlan_model::{Flags, PointId, Position, Quality, Reading, Timestamp, VehicleId};

const DAY_US: i64 = 86_400_000_000;
const POINTS: i64 = 3;

struct Everywhere;

impl Describe for Everywhere {
    fn point(&self, id: i64, _: Day) -> Arc<Description> {
        let labels = [format!("P-{id}"), String::new(), String::new(), String::new(), String::new()];
        Arc::new(Description { region: "530402".to_owned(), labels: labels.into_iter().collect() })
    }
    fn vehicle(&self, id: i64, _: Day) -> Arc<Description> {
        let labels = [format!("{id}"), String::new(), String::new(), String::new()];
        Arc::new(Description { region: "unassigned".to_owned(), labels: labels.into_iter().collect() })
    }
}

fn reading(point: i64, at: i64, value: f64, revision: u16, received: i64) -> Reading {
    let event_at = Timestamp::from_micros(at);
    Reading {
        point: PointId::new(point),
        event_at,
        device_at: Some(event_at),
        received_at: Timestamp::from_micros(received),
        value,
        quality: if at % 7 == 0 { Quality::Bad } else { Quality::Good },
        flags: if revision > 0 { Flags::REVISED } else { Flags::empty() },
        revision,
    }
}

fn position(vehicle: i64, at: i64) -> Position {
    let event_at = Timestamp::from_micros(at);
    Position {
        vehicle: VehicleId::new(vehicle),
        event_at,
        device_at: Some(event_at),
        received_at: event_at.plus_us(400_000),
        lon_e6: 102_500_000 + (at / 1_000_000) as i32 % 1_000,
        lat_e6: 24_300_000,
        altitude_m: 1_650,
        speed_dkmh: 600,
        direction_deg: 90,
        alarm_bits: 0,
        status_bits: 3,
        body_crc: at as u32,
        flags: Flags::empty(),
        items: vec![1, 2, 3],
    }
}

fn put(writer: &mut Writer, readings: Vec<Reading>, positions: Vec<Position>) {
    let now = readings.last().map_or(Timestamp::EPOCH, |r| r.received_at);
    writer.append(&Record { shard: 1, now, readings, positions, notes: Vec::new() }).unwrap();
    writer.sync().unwrap();
}

/// The first phase of a day: a reading a minute per point, one corrected; a position every five minutes.
fn fill(writer: &mut Writer, day: i64) {
    let mut readings = Vec::new();
    for point in 0..POINTS {
        for minute in 0..1_440 {
            let at = day * DAY_US + minute * 60_000_000 + point;
            let value = ((point * 37 + minute * 11 + day) % 400) as f64 / 10.0;
            readings.push(reading(point, at, value, 0, at + 300_000));
            if minute == 700 {
                readings.push(reading(point, at, value + 1.0, 1, at + 900_000));
            }
        }
    }
    put(writer, readings, (0..288).map(|n| position(9, day * DAY_US + n * 300_000_000)).collect());
}

/// What comes for day 1 when it is over. `knows` = the engine still has the day, so it numbers a correction behind what it has.
fn late(writer: &mut Writer, knows: bool) {
    let revision = |n: u16| if knows { n } else { 0 };
    let base = DAY_US;
    let later = 40 * DAY_US;
    let mut readings = vec![
        reading(0, base + 500 * 60_000_000 + 17, 99.5, 0, later),
        reading(1, base + 3 * 60_000_000 + 1, 77.0, revision(1), later + 1),
        reading(2, base + 700 * 60_000_000 + 2, 11.0, revision(2), later + 2),
    ];
    if !knows {
        // The same value again: an engine that has the day drops it by itself.
        let again = 9.3;
        readings.push(reading(1, base + 5 * 60_000_000 + 1, again, 0, later + 3));
    }
    put(writer, readings, vec![position(9, base + 42)]);
}

fn check(whole: &Whole, all: &Reader) {
    let (begin, end) = (Timestamp::MIN, Timestamp::MAX);
    let spans = [
        (begin, end),
        (Timestamp::from_micros(DAY_US / 2), Timestamp::from_micros(DAY_US + DAY_US / 3)),
        (Timestamp::from_micros(DAY_US), Timestamp::from_micros(2 * DAY_US)),
        (Timestamp::from_micros(DAY_US + 1), Timestamp::from_micros(DAY_US + 2)),
        (Timestamp::from_micros(5 * DAY_US), end),
    ];
    for point in (0..POINTS).map(PointId::new) {
        for (from, to) in spans {
            let expected = all.readings(point, from, to, None, usize::MAX).unwrap();
            let found = whole.readings(point, from, to, usize::MAX).unwrap();
            assert_eq!(found.len(), expected.len(), "{point} {from} {to}");
            for (a, b) in found.iter().zip(&expected) {
                assert_eq!(
                    (a.event_at, a.value, a.quality, a.revision, a.received_at),
                    (b.event_at, b.value, b.quality, b.revision, b.received_at)
                );
            }
            // In pages, as the API asks.
            let (mut pages, mut next) = (Vec::new(), from);
            loop {
                let page = whole.readings(point, next, to, 333).unwrap();
                let Some(last) = page.last() else { break };
                next = last.event_at.plus_us(1);
                pages.extend(page);
            }
            assert_eq!(pages, found);
            for step in [60_000_000, 3_600_000_000, DAY_US] {
                let (found, expected) = (whole.rollup(point, step, from, to).unwrap(), all.rollup(point, step, from, to).unwrap());
                let bare = |r: &Rollup| (r.at, r.min, r.max, r.first, r.last, r.count, r.bad, (r.mean * 1e6).round() as i64);
                assert_eq!(found.iter().map(bare).collect::<Vec<_>>(), expected.iter().map(bare).collect::<Vec<_>>());
            }
        }
    }
    let vehicle = VehicleId::new(9);
    for (from, to) in spans {
        let expected = all.positions(vehicle, from, to, None, usize::MAX).unwrap();
        assert_eq!(whole.positions(vehicle, from, to, None, usize::MAX).unwrap(), expected);
        let mut pages: Vec<Position> = Vec::new();
        loop {
            let page = whole.positions(vehicle, from, to, pages.last().map(|p| p.event_at), 100).unwrap();
            if page.is_empty() {
                break;
            }
            pages.extend(page);
        }
        assert_eq!(pages, expected);
    }
}

#[test]
fn a_released_day_is_read_as_if_it_were_hot() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let options = || Options { seal_after_readings: 3_000, ..Options::default() };
    // One engine keeps everything; one is archived; one is what is left of it when the day's blocks are gone.
    let (mut all, all_reader) = anlan_history::open(&path("all"), options()).unwrap();
    let (mut before, before_reader) = anlan_history::open(&path("before"), options()).unwrap();
    let (mut left, left_reader) = anlan_history::open(&path("left"), options()).unwrap();
    for day in 0..3 {
        fill(&mut all, day);
        fill(&mut before, day);
        if day != 1 {
            fill(&mut left, day);
        }
        all.seal_now(Timestamp::from_micros((day + 1) * DAY_US)).unwrap();
    }
    assert_eq!(before_reader.days(), [0, 1, 2]);
    assert_eq!(left_reader.days(), [0, 2]);

    let place = Place { url: path("archive").display().to_string(), ..Place::default() };
    let archive = Arc::new(Archive::open(&place, dir.path(), "node-1", 4).unwrap());
    let never = || false;
    let round = run(&archive, &before_reader, &Everywhere, Timestamp::from_micros(3 * DAY_US), 1, &never).unwrap();
    assert_eq!((round.days, round.rows), (2, 2 * (POINTS as u64 * 1_441 + 288)));
    assert!(archive.release(Day::new(1)).unwrap());
    assert!(!archive.release(Day::new(2)).unwrap(), "a day that is not archived is not released");

    let whole = Whole::new(left_reader.clone(), anlan_archive::released_to(dir.path()).unwrap());
    let blind = whole.readings(PointId::new(0), Timestamp::MIN, Timestamp::MAX, 10).unwrap_err();
    assert!(blind.to_string().contains("1970-01-02"), "{blind}");
    assert!(whole.readings(PointId::new(0), Timestamp::from_micros(2 * DAY_US), Timestamp::MAX, 10).is_ok());
    whole.attach(archive.clone());
    check(&whole, &all_reader);

    // Late data, a correction, a repeat: shown before the next round files them, and the same afterwards.
    late(&mut all, true);
    late(&mut left, false);
    check(&whole, &all_reader);
    // The log of `left` is not the one that was archived; records are looked through from its beginning.
    archive.set_through(anlan_history::Lsn::ZERO).unwrap();
    let round = run(&archive, &left_reader, &Everywhere, Timestamp::from_micros(3 * DAY_US), 1, &never).unwrap();
    assert_eq!((round.late_rows, round.repeats), (4, 1));
    check(&whole, &all_reader);
    let again = run(&archive, &left_reader, &Everywhere, Timestamp::from_micros(3 * DAY_US), 1, &never).unwrap();
    assert_eq!((again.rows, again.late_days), (0, 0));
    // A log that does not reach back far enough makes every archived day count; nothing is added twice.
    archive.set_through(anlan_history::Lsn(u64::MAX)).unwrap();
    let again = run(&archive, &left_reader, &Everywhere, Timestamp::from_micros(3 * DAY_US), 1, &never).unwrap();
    assert_eq!((again.rows, again.late_days), (0, 2));
    assert!(archive.verify(None).unwrap().is_sound());
}
