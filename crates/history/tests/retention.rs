//! Days whose time is over leave, what is held stays, and the stored hours go on saying what the readings said.

mod common;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use anlan_history::{Dropping, Going, Haste, Hold, HourSum, Keeper, Left, Policy, Reader, Record, Rollup, Thinned, verify};
use anlan_model::{Flags, PointId, Quality, Reading, Timestamp, VehicleId};
use common::{DAY, HOUR, open, position, reading, t};

const POINTS: i64 = 35;

/// Three days, a reading every 40 minutes of each point, positions of two vehicles; merged.
fn fill(dir: &Path) {
    let (mut writer, _) = open(dir);
    for step in 0..3 * 36 {
        let at = DAY + step * 40 * 60_000_000;
        let mut readings: Vec<Reading> = (1..=POINTS).map(|p| reading(p, at + p, 20.0 + ((step * p) % 31) as f64)).collect();
        readings[3].quality = if step % 5 == 2 { Quality::Bad } else { Quality::Good };
        let positions = vec![position(1, at), position(2, at)];
        writer.append(&Record { shard: (step % 2) as u16, now: t(at), readings, positions, notes: vec![] }).expect("appends");
    }
    writer.sync().expect("syncs");
    writer.seal_now(t(DAY + 72 * HOUR)).expect("seals");
    let mut keeper = writer.keeper();
    while keeper.step(t(DAY + 80 * HOUR), Haste::Eager).expect("merges").is_some() {}
}

fn thin_all(keeper: &mut Keeper, now: Timestamp, policy: &Policy) -> Thinned {
    let mut sum = Thinned::default();
    while let Some(done) = keeper.thin(now, policy).expect("thins") {
        sum.readings += done.readings;
        sum.positions += done.positions;
        sum.bytes += done.bytes;
        sum.rollups += done.rollups;
    }
    assert_eq!(keeper.thin(now, policy).expect("thins"), None);
    sum
}

/// Readings of a point in a day.
fn count(reader: &Reader, point: i64, day: i64) -> usize {
    let (from, to) = (t(DAY + day * 24 * HOUR), t(DAY + (day + 1) * 24 * HOUR));
    reader.readings(PointId::new(point), from, to, None, usize::MAX).expect("reads").len()
}

fn days(reader: &Reader, point: i64, step: i64) -> Vec<Rollup> {
    reader.rollup(PointId::new(point), step, Timestamp::MIN, Timestamp::MAX).expect("rolls up")
}

fn close(a: &[Rollup], b: &[Rollup]) -> bool {
    let same = |(a, b): (&Rollup, &Rollup)| Rollup { mean: 0.0, ..*a } == Rollup { mean: 0.0, ..*b } && (a.mean - b.mean).abs() < 1e-9;
    a.len() == b.len() && a.iter().zip(b).all(same)
}

#[test]
fn days_leave_by_kind_and_their_hours_stay() {
    let dir = tempfile::tempdir().expect("makes");
    fill(dir.path());
    let (mut writer, reader) = open(dir.path());
    let before: Vec<_> = (1..=POINTS).flat_map(|p| [days(&reader, p, HOUR), days(&reader, p, 24 * HOUR)]).collect();
    let latest = reader.latest(PointId::new(1));
    let mut keeper = writer.keeper();
    // Points 1 to 10 are of a kind kept two days, 11 to 20 for ever, the others one day; positions one day.
    let mut point_days: HashMap<PointId, Option<u32>> = (1..=10).map(|p| (PointId::new(p), Some(2))).collect();
    point_days.extend((11..=20).map(|p| (PointId::new(p), None)));
    let policy = Policy { default_days: Some(1), point_days, position_days: Some(1), version: 1, ..Policy::default() };
    let now = t(DAY + 73 * HOUR);
    let thinned = thin_all(&mut keeper, now, &policy);
    // Day 0 ended two days ago, day 1 one day ago.
    let kept = |p: i64, day: i64| match p {
        1..=10 => day > 0,
        11..=20 => true,
        _ => day > 1,
    };
    let check = |reader: &Reader| {
        for p in 1..=POINTS {
            for day in 0..3 {
                assert_eq!(count(reader, p, day), if kept(p, day) { 36 } else { 0 }, "point {p} day {day}");
                let left = if kept(p, day) { Left::Everything } else { Left::Hours };
                assert_eq!(reader.left_of(PointId::new(p), t(DAY + day * 24 * HOUR)).expect("reads"), left, "point {p} day {day}");
            }
        }
        let after: Vec<_> = (1..=POINTS).flat_map(|p| [days(reader, p, HOUR), days(reader, p, 24 * HOUR)]).collect();
        assert!(before.iter().zip(&after).all(|(a, b)| close(a, b)));
        let track = reader.positions(VehicleId::new(1), Timestamp::MIN, Timestamp::MAX, None, usize::MAX).expect("reads");
        assert_eq!(track.len(), 36);
        assert_eq!(reader.latest(PointId::new(1)), latest);
    };
    check(&reader);
    assert_eq!((thinned.readings, thinned.positions), ((10 + 2 * 15) * 36, 2 * 2 * 36));
    assert!(thinned.bytes > 0);
    drop((keeper, reader));

    // What comes late for a day already dropped changes no hour that stood, and leaves with the next look.
    let at = |hour: i64| DAY + hour * HOUR + 30;
    let late = |at| Reading { flags: Flags::BACKFILL, value: 999.0, ..reading(30, at, 0.0) };
    let old = Reading { value: 5.0, ..late(DAY - 30 * HOUR) };
    writer.append(&common::record(0, now.micros(), vec![late(at(3)), old])).expect("appends");
    writer.sync().expect("syncs");
    writer.seal_now(now).expect("seals");
    drop(writer);
    let (writer, reader) = open(dir.path());
    assert_eq!(count(&reader, 30, 0), 1);
    let mut keeper = writer.keeper();
    while keeper.step(now, Haste::Eager).expect("merges").is_some() {}
    thin_all(&mut keeper, now, &policy);
    assert_eq!(count(&reader, 30, 0), 0);
    let hours = days(&reader, 30, HOUR);
    assert_eq!((hours[0].at, hours[0].max, hours[0].count), (t(DAY - 30 * HOUR).floor_us(HOUR), 5.0, 1));
    assert!(hours[1..].iter().all(|h| h.max < 100.0));
    drop((writer, keeper));
    let report = verify(dir.path()).expect("verifies");
    assert!(report.is_sound(), "{report}");

    // Stored hours leave at their own time, where no readings are left.
    let (writer, reader) = open(dir.path());
    let policy = Policy { rollup_days: Some(1), point_days: HashMap::new(), version: 2, ..policy };
    let thinned = thin_all(&mut writer.keeper(), now, &policy);
    assert_eq!(thinned.readings, (10 + 10 * 2) * 36);
    assert!(thinned.rollups > 0);
    assert_eq!(days(&reader, 15, 24 * HOUR).len(), 1);
    assert_eq!(reader.left_of(PointId::new(15), t(DAY)).expect("reads"), Left::Unknown);
}

#[test]
fn policies_that_take_turns_get_past_what_stays_at_the_old_end() {
    let dir = tempfile::tempdir().expect("makes");
    fill(dir.path());
    let (writer, reader) = open(dir.path());
    let mut keeper = writer.keeper();
    keeper.look_at(0);
    let now = t(DAY + 73 * HOUR);
    // The first finds nothing, the second must leave the oldest day; the third waits for an archive there.
    let point_days = HashMap::from([(PointId::new(999), Some(1))]);
    let nothing = Policy { point_days, version: 1, ..Policy::default() };
    let spares: anlan_history::Spares = Arc::new(|point, day| day == t(DAY) || point.get() > 10);
    let second = Policy { default_days: Some(1), spares: Some(spares), version: 2, lane: 1, ..Policy::default() };
    let archived: anlan_history::Archived = Arc::new(|day, _| day != t(DAY));
    let third = Policy { default_days: Some(1), archived: Some(archived), version: 3, lane: 2, ..Policy::default() };
    // As housekeeping takes its turns: from the first, each time.
    let mut turns = 0;
    while [&nothing, &second, &third].iter().any(|policy| keeper.thin(now, policy).expect("thins").is_some()) {
        turns += 1;
        assert!(turns < 100, "it goes round in circles");
    }
    for p in 1..=POINTS {
        assert_eq!([0, 1, 2].map(|day| count(&reader, p, day)), [36, 0, 36], "point {p}");
    }
}

#[test]
fn what_goes_is_announced_first_and_stays_where_nobody_writes_it_down() {
    let dir = tempfile::tempdir().expect("makes");
    fill(dir.path());
    let (writer, reader) = open(dir.path());
    let mut keeper = writer.keeper();
    let (now, files) = (t(DAY + 73 * HOUR), || std::fs::read_dir(dir.path()).expect("lists").count());
    let before = files();
    let deaf: anlan_history::Announce = Arc::new(|_| false);
    let policy = Policy { default_days: Some(2), announce: Some(deaf), version: 1, ..Policy::default() };
    assert_eq!(keeper.thin(now, &policy).expect("looks"), None);
    assert_eq!((count(&reader, 1, 0), files()), (36, before));

    let heard: Arc<Mutex<Vec<Dropping>>> = Arc::default();
    let (book, watching) = (heard.clone(), reader.clone());
    let announce: anlan_history::Announce = Arc::new(move |dropping| {
        assert_eq!(count(&watching, 1, 0), 36, "it goes after it was announced");
        assert!(watching.counts(dropping.witness));
        book.lock().expect("whole").push(*dropping);
        true
    });
    let thinned = thin_all(&mut keeper, now, &Policy { announce: Some(announce), ..policy });
    let heard = heard.lock().expect("whole").clone();
    let [Dropping { day, readings, positions, rollups, witness }] = heard[..] else { panic!("{heard:?}") };
    assert_eq!((day, readings, positions, rollups), (t(DAY), POINTS as u64 * 36, 0, 0));
    assert!(!reader.counts(witness), "what it names has gone");
    assert_eq!((thinned.readings, count(&reader, 1, 0)), (heard[0].readings, 0));
}

#[test]
fn a_hold_comes_before_retention_and_the_archive_before_the_drop() {
    let dir = tempfile::tempdir().expect("makes");
    fill(dir.path());
    let (writer, reader) = open(dir.path());
    let mut keeper = writer.keeper();
    let now = t(DAY + 200 * HOUR);
    let never: anlan_history::Archived = Arc::new(|_, _| false);
    let policy = Policy { default_days: Some(1), position_days: Some(1), archived: Some(never), version: 1, ..Policy::default() };
    assert_eq!(thin_all(&mut keeper, now, &policy), Thinned::default());
    let hold = Hold {
        points: HashSet::from([PointId::new(7)]),
        vehicles: HashSet::from([VehicleId::new(2)]),
        // Touches the last instant of day 0 and all of day 1.
        from: DAY + 24 * HOUR - 1,
        to: DAY + 48 * HOUR,
    };
    // The archive holds everything but the last day.
    let ranks: Vec<u64> = (0..3).map(|d| reader.day_rank(t(DAY + d * 24 * HOUR))).collect();
    let archived: anlan_history::Archived = Arc::new(move |day, rank| day < t(DAY + 48 * HOUR) && rank <= ranks[0]);
    let policy = Policy { archived: Some(archived), holds: vec![hold], version: 2, ..policy };
    thin_all(&mut keeper, now, &policy);
    for p in 1..=POINTS {
        let want = if p == 7 { [36, 36, 36] } else { [0, 0, 36] };
        assert_eq!([count(&reader, p, 0), count(&reader, p, 1), count(&reader, p, 2)], want, "point {p}");
    }
    let track = |v| reader.positions(VehicleId::new(v), Timestamp::MIN, Timestamp::MAX, None, usize::MAX).expect("reads").len();
    assert_eq!((track(1), track(2)), (36, 3 * 36));
    // Released, it goes like everything else.
    let policy = Policy { holds: Vec::new(), version: 3, ..policy };
    thin_all(&mut keeper, now, &policy);
    assert_eq!((count(&reader, 7, 0), track(2)), (0, 36));
    drop((writer, keeper));
    assert!(verify(dir.path()).expect("verifies").is_sound());
}

#[test]
fn what_goes_is_seen_once_with_the_hours_that_stay_and_what_is_spared_stays() {
    let dir = tempfile::tempdir().expect("makes");
    fill(dir.path());
    let (mut writer, reader) = open(dir.path());
    let mut keeper = writer.keeper();
    let now = t(DAY + 73 * HOUR);
    let of_day = |p: i64| reader.every_revision(PointId::new(p), t(DAY), t(DAY + 24 * HOUR)).expect("reads");
    let before: Vec<Reading> = (1..=POINTS).filter(|p| *p != 9).flat_map(of_day).collect();
    let hours: Vec<Rollup> = days(&reader, 1, HOUR).into_iter().take(24).collect();
    type Seen = Arc<Mutex<(Vec<Reading>, Vec<(PointId, HourSum)>)>>;
    let seen = Seen::default();
    let book = seen.clone();
    let watch: anlan_history::Watch = Arc::new(move |going| match going {
        Going::Readings(rows) => book.lock().expect("whole").0.extend_from_slice(rows),
        Going::Hour(point, hour) => book.lock().expect("whole").1.push((point, hour)),
    });
    let spares: anlan_history::Spares = Arc::new(|point, day| point == PointId::new(9) && day == t(DAY));
    let policy = Policy { default_days: Some(2), watch: Some(watch), spares: Some(spares), version: 1, ..Policy::default() };
    let thinned = thin_all(&mut keeper, now, &policy);
    assert_eq!((thinned.readings as usize, count(&reader, 9, 0), count(&reader, 8, 0)), (before.len(), 36, 0));
    let (mut rows, found) = std::mem::take(&mut *seen.lock().expect("whole"));
    rows.sort_by_key(|r| (r.point, r.event_at, r.revision));
    assert!(rows.len() == before.len() && rows.iter().zip(&before).all(|(a, b)| common::same(a, b)));
    let of_first: Vec<HourSum> = found.iter().filter(|(p, _)| p.get() == 1).map(|(_, hour)| *hour).collect();
    let same = |(sum, rollup): (&HourSum, &Rollup)| {
        let [first, last, min, max, _] = sum.stats;
        (sum.at, first, last, min, max, u64::from(sum.count))
            == (rollup.at, rollup.first, rollup.last, rollup.min, rollup.max, rollup.count)
    };
    assert!(of_first.len() == hours.len() && of_first.iter().zip(&hours).all(same), "{of_first:?}");
    assert!(found.iter().all(|(p, _)| p.get() != 9));

    // What comes late for it goes with the next look; its hours were seen before.
    let late = Reading { flags: Flags::BACKFILL, ..reading(30, DAY + 3 * HOUR + 30, 5.0) };
    writer.append(&common::record(0, now.micros(), vec![late])).expect("appends");
    writer.sync().expect("syncs");
    writer.seal_now(now).expect("seals");
    while keeper.step(now, Haste::Eager).expect("merges").is_some() {}
    thin_all(&mut keeper, now, &policy);
    let (rows, found) = std::mem::take(&mut *seen.lock().expect("whole"));
    assert_eq!((rows.len(), rows[0].value, found.len()), (1, 5.0, 0));
}
