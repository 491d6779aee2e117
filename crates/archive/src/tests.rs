//! Days with late data and revisions, archived, merged and cut short at every step: what is visible equals what was accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anlan_model::{Flags, PointId, Position, Quality, Reading, Timestamp, VehicleId};
use proptest::prelude::*;

use crate::archive::{Archive, Describe, Description, Hot};
#[cfg(feature = "s3")]
use crate::bucket::Bucket;
use crate::day::Day;
use crate::error::{ArchiveError, Result};
use crate::table::{Digest, Key, Part, Table};
use crate::target::{Place, Target};

const DAYS: i64 = 2;
const POINTS: i64 = 4;

/// A shard that never forgets, beside the engine whose days are dropped.
#[derive(Default)]
struct World {
    truth: BTreeMap<Key, Reading>,
    hot: BTreeMap<Key, Reading>,
    positions: BTreeMap<Key, Position>,
    received: i64,
}

fn region(id: i64, day: Day) -> String {
    // A point belongs elsewhere on another day.
    format!("53040{}", (id + day.number()) % 2)
}

struct Book;

impl Describe for Book {
    fn point(&self, id: i64, day: Day) -> Arc<Description> {
        let text = |s: &str| s.to_owned();
        let labels = [format!("P-{id}"), text("企业"), text("D-1"), text("kPa"), text("pressure")];
        Arc::new(Description { region: region(id, day), labels: labels.into_iter().collect() })
    }
    fn vehicle(&self, id: i64, day: Day) -> Arc<Description> {
        let labels = [format!("1380000{id:04}"), "云F12345".to_owned(), String::new(), "hazmat".to_owned()];
        Arc::new(Description { region: region(id, day), labels: labels.into_iter().collect() })
    }
}

impl World {
    fn newest(rows: &BTreeMap<Key, Reading>, point: i64, at: i64) -> Option<&Reading> {
        rows.range((point, at, 0)..=(point, at, u16::MAX)).next_back().map(|(_, r)| r)
    }

    /// The shard's rule (same value again is a repeat, another is the next revision), over what it can see.
    fn accept(rows: &mut BTreeMap<Key, Reading>, mut reading: Reading) {
        let key = (reading.point.get(), reading.event_at.micros());
        match Self::newest(rows, key.0, key.1) {
            Some(newest) if newest.same_value(&reading) => return,
            Some(newest) => reading.revision = newest.revision + 1,
            None => {}
        }
        rows.insert(reading.key(), reading);
    }

    fn write(&mut self, point: i64, at: i64, value: i32) {
        self.received += 1;
        let event_at = Timestamp::from_micros(at);
        let reading = Reading {
            point: PointId::new(point),
            event_at,
            device_at: (value % 5 != 0).then_some(event_at.plus_us(i64::from(value % 2))),
            received_at: Timestamp::from_micros(DAYS * 86_400_000_000 + self.received),
            value: f64::from(value) / 10.0,
            quality: Quality::from_code((value % 3) as u8),
            flags: if value % 5 == 0 { Flags::TIME_SERVER } else { Flags::LATE },
            revision: 0,
        };
        Self::accept(&mut self.truth, reading);
        Self::accept(&mut self.hot, reading);
        let position = Position {
            vehicle: VehicleId::new(point),
            event_at,
            device_at: Some(event_at),
            received_at: reading.received_at,
            lon_e6: 102_540_000 + value,
            lat_e6: 24_350_000 - value,
            altitude_m: 1_630,
            speed_dkmh: 512,
            direction_deg: 359,
            alarm_bits: u32::MAX,
            status_bits: 3,
            body_crc: 0xfeed_beef,
            flags: Flags::NO_FIX,
            items: vec![1, 4, 0, 0, 0, value as u8],
        };
        self.positions.entry(position.key()).or_insert(position);
    }

    fn of_day<R: Clone>(rows: &BTreeMap<Key, R>, day: Day) -> BTreeMap<Key, R> {
        let (from, to) = (day.start().micros(), day.end().micros());
        rows.iter().filter(|((_, at, _), _)| (from..to).contains(at)).map(|(k, r)| (*k, r.clone())).collect()
    }
}

impl Hot<Reading> for World {
    fn subjects(&self, _: Day) -> Vec<i64> {
        (0..POINTS).collect()
    }
    fn rows(&self, subject: i64, day: Day) -> Result<Vec<Reading>> {
        Ok(Self::of_day(&self.hot, day).into_values().filter(|r| r.point.get() == subject).collect())
    }
}

impl Hot<Position> for World {
    fn subjects(&self, _: Day) -> Vec<i64> {
        (0..POINTS).collect()
    }
    fn rows(&self, subject: i64, day: Day) -> Result<Vec<Position>> {
        Ok(Self::of_day(&self.positions, day).into_values().filter(|p| p.vehicle.get() == subject).collect())
    }
}

/// What a plain glob finds: every row of every file in the folders of a table, with the folder it stands in.
fn glob<T: Table>(target: &Target, day: Day) -> Vec<(String, T)> {
    let mut found = Vec::new();
    for (key, len) in target.list(&format!("{}/day={day}", T::NAME)).unwrap() {
        let part = Arc::new(Part::open(key.clone(), target.source(&key, len).unwrap()).unwrap());
        for row in part.scan::<T>().unwrap() {
            let (row, labels) = row.unwrap();
            assert!(labels[0].ends_with(&row.key().0.to_string()), "{labels:?}");
            found.push((key.clone(), row));
        }
    }
    found
}

/// The rows a glob finds by key; `None` if one stands twice.
fn visible(target: &Target, day: Day) -> Option<BTreeMap<Key, Reading>> {
    let mut rows = BTreeMap::new();
    for (key, row) in glob::<Reading>(target, day) {
        assert!(key.contains(&format!("region={}/", region(row.point.get(), day))), "{key} holds point {}", row.point);
        if rows.insert(row.key(), row).is_some() {
            return None;
        }
    }
    Some(rows)
}

/// Values by instant in order of revision: what the truth says, whatever flags a renumbering adds.
fn values(rows: &BTreeMap<Key, Reading>) -> BTreeMap<Key, (u64, Quality, Timestamp, Option<Timestamp>)> {
    rows.iter().map(|(k, r)| (*k, (r.value.to_bits(), r.quality, r.received_at, r.device_at))).collect()
}

#[derive(Clone, Debug)]
enum Act {
    Write { point: i64, day: i64, slot: i64, value: i32 },
    Add(i64),
    Compact(i64),
    Drop(i64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..POINTS, 0..DAYS, 0..4_i64, 0..6_i32).prop_map(|(point, day, slot, value)| Act::Write { point, day, slot, value }),
        3 => (0..DAYS).prop_map(Act::Add),
        3 => (0..DAYS).prop_map(Act::Compact),
        1 => (0..DAYS).prop_map(Act::Drop),
    ]
}

fn temporary() -> tempfile::TempDir {
    // Nothing here is about the disk: memory saves hundreds of syncs per case.
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Runs acts, each possibly cut after some steps and followed by a new start, and compares after each.
fn check(acts: &[(Act, Option<i64>, bool)], reopen: &dyn Fn() -> Archive, staging: &Path, atomic: bool) {
    let mut archive = reopen();
    let mut world = World::default();
    let mut expected: BTreeMap<Day, BTreeMap<Key, Reading>> = BTreeMap::new();
    for (act, cut, lose) in acts {
        archive.cut_after.store(cut.unwrap_or(i64::MAX), Ordering::Relaxed);
        let touched = match *act {
            Act::Write { point, day, slot, value } => {
                world.write(point, day * 86_400_000_000 + slot * 21_599_999_999, value);
                continue;
            }
            Act::Add(day) | Act::Compact(day) | Act::Drop(day) => Day::new(day),
        };
        let done: Result<(), ArchiveError> = match act {
            Act::Add(_) => archive.add_day(touched, &world, &Book, None).map(drop),
            Act::Compact(_) => archive.compact_day(touched).map(drop),
            _ => archive.add_day(touched, &world, &Book, None).and_then(|_| archive.release(touched)).map(drop),
        };
        let adds = !matches!(act, Act::Compact(_));
        let before = expected.get(&touched).cloned().unwrap_or_default();
        let after = if adds { World::of_day(&world.truth, touched) } else { before.clone() };
        if done.is_err() {
            // The moment of the cut, before anything tidies up.
            match visible(&archive_target(&archive), touched) {
                Some(found) if adds => {
                    let found = values(&found);
                    assert!(values(&before).keys().all(|k| found.contains_key(k)), "what was visible is gone");
                    assert!(found.iter().all(|(k, v)| values(&after).get(k) == Some(v)), "something untrue is visible");
                }
                Some(found) if atomic => assert_eq!(values(&found), values(&before), "a merge shows through"),
                Some(_) => {}
                None => assert!(!atomic, "a row is visible twice"),
            }
            if *lose && !atomic {
                let _ = std::fs::remove_dir_all(staging);
            }
            drop(archive);
            archive = reopen();
        }
        let found = values(&visible(&archive_target(&archive), touched).expect("a row stands twice after a start"));
        if done.is_ok() || found == values(&after) {
            assert_eq!(found, values(&after));
            if adds {
                expected.insert(touched, after);
            }
        } else {
            assert_eq!(found, values(&before), "neither before nor after");
        }
        if done.is_ok() && matches!(act, Act::Drop(_)) {
            let gone = World::of_day(&world.hot, touched);
            world.hot.retain(|key, _| !gone.contains_key(key));
        }
        let report = archive.verify(Some(touched)).unwrap();
        assert!(report.is_sound(), "{:?}", report.findings);
        // The same figures from the truth, without a file: counts, sums, and a hash that knows no order.
        if let Some(rows) = expected.get(&touched).filter(|rows| !rows.is_empty()) {
            let mut digest = Digest::default();
            let flags: BTreeMap<Key, Flags> =
                glob::<Reading>(&archive_target(&archive), touched).iter().map(|(_, r)| (r.key(), r.flags)).collect();
            rows.values().for_each(|r| digest.add(&Reading { flags: flags[&r.key()], ..*r }));
            let told = report.days.iter().find(|d| d.table == Reading::NAME).unwrap();
            assert_eq!((told.rows, &told.hash), (digest.rows, &digest.hash.to_string()));
            assert!((told.sum - digest.sum).abs() < 1e-6);
        }
        for point in 0..POINTS {
            let asked = archive.rows::<Reading>(touched, point, i64::MIN, i64::MAX).unwrap();
            let keys: Vec<Key> = asked.iter().map(Table::key).collect();
            let wanted: Vec<Key> = found.keys().filter(|k| k.0 == point).copied().collect();
            assert_eq!(keys, wanted);
        }
    }
    // Positions come back bit for bit.
    for day in (0..DAYS).map(Day::new) {
        archive.cut_after.store(i64::MAX, Ordering::Relaxed);
        archive.add_day(day, &world, &Book, None).unwrap();
        let found: BTreeMap<Key, Position> =
            glob::<Position>(&archive_target(&archive), day).into_iter().map(|(_, p)| (p.key(), p)).collect();
        assert_eq!(found, World::of_day(&world.positions, day));
    }
}

fn archive_target(archive: &Archive) -> Target {
    archive.target().clone()
}

fn story() -> impl Strategy<Value = Vec<(Act, Option<i64>, bool)>> {
    prop::collection::vec((act(), prop::option::weighted(0.4, 0..12_i64), any::<bool>()), 1..50)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_directory_shows_the_truth_whatever_was_cut_short(acts in story()) {
        let dir = temporary();
        let place = Place { url: dir.path().join("archive").display().to_string(), ..Place::default() };
        let reopen = || Archive::open(&place, dir.path(), "node-1", 2).unwrap();
        check(&acts, &reopen, dir.path(), true);
    }

    #[cfg(feature = "s3")]
    #[test]
    fn a_bucket_shows_the_truth_after_every_start(acts in story()) {
        let dir = temporary();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let target = Target::Bucket(Bucket {
            store: Arc::new(object_store::memory::InMemory::new()),
            prefix: "some/prefix".to_owned(),
            runtime: runtime.handle().clone(),
        });
        let reopen = || Archive::open_at(target.clone(), dir.path(), "node-1", 2).unwrap();
        check(&acts, &reopen, &dir.path().join("archive-staging"), false);
    }
}

/// Adds a second part to a day, or merges its two parts, cut after every possible step.
fn every_step(reopen: &dyn Fn() -> Archive, reset: &dyn Fn(), staging: &Path, atomic: bool) {
    let write = |world: &mut World, value: i32| {
        (0..POINTS).for_each(|p| (0..3).for_each(|slot| world.write(p, slot * 1_000_000, value + slot as i32)))
    };
    let day = Day::new(0);
    for (merge, lose) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut cuts = 0;
        loop {
            reset();
            let (mut archive, mut world) = (reopen(), World::default());
            write(&mut world, 1);
            archive.add_day(day, &world, &Book, None).unwrap();
            write(&mut world, 7);
            if merge {
                archive.add_day(day, &world, &Book, None).unwrap();
            }
            let before = values(&visible(&archive_target(&archive), day).unwrap());
            let truth = values(&World::of_day(&world.truth, day));
            archive.cut_after.store(cuts, Ordering::Relaxed);
            let done = if merge { archive.compact_day(day).map(drop) } else { archive.add_day(day, &world, &Book, None).map(drop) };
            match visible(&archive_target(&archive), day).map(|rows| values(&rows)) {
                Some(found) if merge && atomic => assert_eq!(found, truth, "cut after {cuts}: a merge shows through"),
                Some(found) => assert!(found.iter().all(|(k, v)| truth.get(k) == Some(v)) && found.len() >= before.len()),
                None => assert!(!atomic && merge, "cut after {cuts}: a row is visible twice"),
            }
            // The same process may try again without a start, when the place answers again.
            let asked = |archive: &Archive| -> usize {
                (0..POINTS).map(|p| archive.rows::<Reading>(day, p, i64::MIN, i64::MAX).unwrap().len()).sum()
            };
            if !merge || atomic || done.is_ok() {
                assert!(asked(&archive) >= before.len());
            }
            if lose && !atomic {
                let _ = std::fs::remove_dir_all(staging);
            }
            if cuts % 2 == 0 {
                archive = reopen();
            } else {
                archive.cut_after.store(i64::MAX, Ordering::Relaxed);
            }
            archive.add_day(day, &world, &Book, None).unwrap();
            archive.compact_day(day).unwrap();
            assert_eq!(values(&visible(&archive_target(&archive), day).expect("a row stands twice")), truth);
            assert_eq!(asked(&archive), truth.len());
            assert!(archive.verify(None).unwrap().is_sound());
            assert_eq!(archive.status().parts, 2 * 2, "one part of each table and region");
            if done.is_ok() {
                break;
            }
            cuts += 1;
        }
        assert!(cuts > 4, "{cuts} steps are too few to be all");
    }
}

#[test]
fn a_directory_survives_a_cut_after_every_step() {
    let dir = temporary();
    let place = Place { url: dir.path().join("archive").display().to_string(), ..Place::default() };
    let reopen = || Archive::open(&place, dir.path(), "node-1", 2).unwrap();
    let reset = || drop(std::fs::remove_dir_all(dir.path().join("archive")));
    every_step(&reopen, &reset, dir.path(), true);
}

#[cfg(feature = "s3")]
#[test]
fn a_bucket_survives_a_cut_after_every_step() {
    let dir = temporary();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let store = || -> Arc<dyn object_store::ObjectStore> { Arc::new(object_store::memory::InMemory::new()) };
    let bucket = std::cell::RefCell::new(Bucket { store: store(), prefix: String::new(), runtime: runtime.handle().clone() });
    let reopen = || Archive::open_at(Target::Bucket(bucket.borrow().clone()), dir.path(), "node-1", 2).unwrap();
    let reset = || bucket.borrow_mut().store = store();
    every_step(&reopen, &reset, &dir.path().join("archive-staging"), false);
}

#[test]
fn another_node_is_refused() {
    let dir = temporary();
    let place = Place { url: dir.path().join("archive").display().to_string(), ..Place::default() };
    drop(Archive::open(&place, dir.path(), "node-1", 3).unwrap());
    assert!(matches!(Archive::open(&place, dir.path(), "node-2", 3), Err(ArchiveError::Owner { .. })));
}

#[test]
fn a_point_is_found_among_many_row_groups_and_a_flipped_byte_is_told() {
    let dir = temporary();
    let place = Place { url: dir.path().join("archive").display().to_string(), ..Place::default() };
    let archive = Archive::open(&place, dir.path(), "node-1", 3).unwrap();
    struct Many;
    impl Hot<Reading> for Many {
        fn subjects(&self, _: Day) -> Vec<i64> {
            (0..16).map(|i| i * 3).collect()
        }
        fn rows(&self, subject: i64, _: Day) -> Result<Vec<Reading>> {
            let one = |i: i64| Reading {
                point: PointId::new(subject),
                event_at: Timestamp::from_micros(i * 10_000_000),
                device_at: Some(Timestamp::from_micros(i * 10_000_000)),
                received_at: Timestamp::from_micros(i * 10_000_000 + 300_000),
                value: ((subject * 31 + i) % 977) as f64 / 10.0,
                quality: Quality::Good,
                flags: Flags::empty(),
                revision: 0,
            };
            Ok((0..8_640).map(one).collect())
        }
    }
    impl Hot<Position> for Many {
        fn subjects(&self, _: Day) -> Vec<i64> {
            Vec::new()
        }
        fn rows(&self, _: i64, _: Day) -> Result<Vec<Position>> {
            Ok(Vec::new())
        }
    }
    let day = Day::new(0);
    let outcome = archive.add_day(day, &Many, &Book, None).unwrap();
    assert_eq!(outcome.rows, 16 * 8_640);
    for subject in [0, 15, 42, 45] {
        let hot = Hot::<Reading>::rows(&Many, subject, day).unwrap();
        assert_eq!(archive.rows::<Reading>(day, subject, i64::MIN, i64::MAX).unwrap(), hot);
        let (from, to) = (hot[4_000].event_at.micros(), hot[4_010].event_at.micros());
        assert_eq!(archive.rows::<Reading>(day, subject, from, to).unwrap(), hot[4_000..4_010]);
    }
    assert!(archive.rows::<Reading>(day, 1, i64::MIN, i64::MAX).unwrap().is_empty());
    // Nothing new, nothing written.
    assert_eq!(archive.add_day(day, &Many, &Book, None).unwrap().parts, 0);
    assert_eq!(archive.compact_day(day).unwrap(), 0);

    let (key, _) = archive_target(&archive).list("readings").unwrap().swap_remove(0);
    let path = dir.path().join("archive").join(key);
    let sound = std::fs::read(&path).unwrap();
    let noticed: BTreeSet<bool> = (1..8)
        .map(|i| {
            let mut bytes = sound.clone();
            let at = bytes.len() * i / 8;
            bytes[at] ^= 0x55;
            std::fs::write(&path, bytes).unwrap();
            let again = Archive::open_read_only(&place, dir.path()).unwrap();
            let report = again.verify(None).unwrap();
            report.is_sound()
        })
        .collect();
    assert_eq!(noticed, BTreeSet::from([false]));
    std::fs::remove_file(&path).unwrap();
    let report = Archive::open_read_only(&place, dir.path()).unwrap().verify(None).unwrap();
    assert!(report.findings[0].contains("missing"), "{:?}", report.findings);
}
