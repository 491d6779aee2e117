//! Merging blocks changes how many files there are and how fast they answer, never what they say; and a power cut in the middle loses nothing.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anlan_history::{Figure, Haste, Options, Reader, Record, Rollup, verify};
use anlan_model::{Flags, PointId, Position, Quality, Reading, Timestamp, VehicleId};
use common::{DAY, HOUR, open, position, reading, t};

const MINUTE: i64 = 60_000_000;
const POINTS: i64 = 38;

/// Two days of two readings an hour of 38 points and two vehicles in two shards, sealed every three hours; bad ones and revisions in it.
fn fill(dir: &Path) {
    let (mut writer, _) = open(dir);
    for step in 0..48 * 2 {
        let at = DAY + step * 30 * MINUTE;
        for shard in 0..2 {
            let mut readings: Vec<Reading> =
                (1..=POINTS).filter(|p| p % 2 == shard).map(|p| reading(p, at + p, 20.0 + ((step * p) % 31) as f64 / 10.0)).collect();
            if step % 7 == 3 {
                readings[0].quality = Quality::Bad;
                readings.push(Reading { revision: 1, flags: Flags::REVISED, ..reading(6 - shard, at + 6 - shard, 77.5) });
            }
            let positions: Vec<Position> = vec![position(1 + shard, at)];
            writer.append(&Record { shard: shard as u16, now: t(at), readings, positions, notes: vec![] }).expect("appends");
        }
        if step % 6 == 5 {
            writer.sync().expect("syncs");
            writer.seal_now(t(at)).expect("seals");
        }
    }
}

/// Everything a reader says.
#[derive(Debug)]
struct Said {
    readings: Vec<Vec<Reading>>,
    revisions: Vec<Reading>,
    rollups: Vec<Vec<Rollup>>,
    county: Vec<Rollup>,
    top: Vec<(PointId, Rollup)>,
    positions: Vec<Vec<Position>>,
    latest: Vec<Option<Reading>>,
}

/// Means come from sums of sums: the last bits depend on the order of adding.
fn close(a: &Rollup, b: &Rollup) -> bool {
    Rollup { mean: 0.0, ..*a } == Rollup { mean: 0.0, ..*b } && (a.mean - b.mean).abs() < 1e-9
}

impl PartialEq for Said {
    fn eq(&self, other: &Self) -> bool {
        let rows = |a: &[Rollup], b: &[Rollup], what: &str| {
            let differs = a.iter().zip(b).find(|(a, b)| !close(a, b));
            if a.len() != b.len() || differs.is_some() {
                eprintln!("{what}: {} {} {differs:?}", a.len(), b.len());
            }
            a.len() == b.len() && differs.is_none()
        };
        let many = |a: &[Vec<Rollup>], b: &[Vec<Rollup>]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| rows(a, b, "a point"));
        let split = |top: &[(PointId, Rollup)]| -> (Vec<PointId>, Vec<Rollup>) { top.iter().copied().unzip() };
        let (top, theirs) = (split(&self.top), split(&other.top));
        (&self.readings, &self.revisions, &self.positions, &self.latest)
            == (&other.readings, &other.revisions, &other.positions, &other.latest)
            && many(&self.rollups, &other.rollups)
            && rows(&self.county, &other.county, "the county")
            && top.0 == theirs.0
            && rows(&top.1, &theirs.1, "the top")
    }
}

fn ask(reader: &Reader) -> Said {
    let ids: Vec<PointId> = (1..=POINTS).map(PointId::new).collect();
    // Of many points "first" is whichever point's.
    let of_all = |rows: Vec<Rollup>| rows.into_iter().map(|r| Rollup { first: 0.0, last: 0.0, ..r }).collect();
    let roll = |p: &PointId, step| reader.rollup(*p, step, Timestamp::MIN, Timestamp::MAX).expect("rolls up");
    Said {
        readings: ids.iter().map(|p| reader.readings(*p, Timestamp::MIN, Timestamp::MAX, None, usize::MAX).expect("reads")).collect(),
        revisions: reader.revisions(PointId::new(5), t(DAY + 3 * 30 * MINUTE + 5)).expect("reads"),
        rollups: ids.iter().flat_map(|p| [roll(p, HOUR), roll(p, 24 * HOUR)]).collect(),
        county: of_all(reader.rollup_many(&ids, HOUR, t(DAY + HOUR), t(DAY + 30 * HOUR)).expect("rolls up")),
        top: reader.top(&ids, Figure::Max, 5, t(DAY + 2 * HOUR), t(DAY + 40 * HOUR)).expect("finds"),
        positions: (1..3)
            .map(|v| reader.positions(VehicleId::new(v), Timestamp::MIN, Timestamp::MAX, None, usize::MAX).expect("reads"))
            .collect(),
        latest: reader.latest_of(&ids),
    }
}

fn copy(from: &Path, to: &Path, only: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(from).expect("lists") {
        let path = entry.expect("entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if only(&name) {
            fs::copy(&path, to.join(&name)).expect("copies");
        }
    }
}

fn block_files(dir: &Path) -> usize {
    fs::read_dir(dir).expect("lists").filter(|e| e.as_ref().expect("entry").file_name().to_string_lossy().starts_with("block-")).count()
}

#[test]
fn days_become_one_file_each_and_say_the_same() {
    let dir = tempfile::tempdir().expect("makes");
    fill(dir.path());
    let (writer, reader) = open(dir.path());
    let before = ask(&reader);
    assert_eq!(block_files(dir.path()), 16);
    let mut keeper = writer.keeper();
    let mut steps = 0;
    while let Some(done) = keeper.step(t(DAY + 49 * HOUR), Haste::Calm).expect("merges") {
        assert!(done.blocks_before > done.blocks_after && done.readings > 0, "{done:?}");
        assert!(ask(&reader) == before);
        steps += 1;
    }
    assert_eq!((steps, block_files(dir.path()), reader.stats().files), (2, 2, 2));
    // Late for the first day: it waits for company, reads right meanwhile, is folded in at last.
    drop((writer, keeper, reader));
    let (mut writer, reader) = open(dir.path());
    let late = Reading { flags: Flags::LATE, ..reading(7, DAY + 5 * HOUR + 1, -3.5) };
    let mut record = common::record(1, DAY + 50 * HOUR, vec![late]);
    record.positions = vec![position(2, DAY + 3)];
    writer.append(&record).expect("appends");
    writer.sync().expect("syncs");
    let with_late = ask(&reader);
    assert!(with_late != before);
    let hour = |reader: &Reader| reader.rollup(PointId::new(7), HOUR, t(DAY + 5 * HOUR), t(DAY + 6 * HOUR)).expect("rolls up")[0];
    assert_eq!((hour(&reader).min, hour(&reader).count), (-3.5, 3));
    writer.seal_now(t(DAY + 50 * HOUR)).expect("seals");
    assert!(ask(&reader) == with_late);
    let mut keeper = writer.keeper();
    assert_eq!(keeper.step(t(DAY + 51 * HOUR), Haste::Calm).expect("looks"), None);
    assert!(keeper.step(t(DAY + 57 * HOUR), Haste::Calm).expect("merges").is_some());
    assert_eq!(keeper.step(t(DAY + 99 * HOUR), Haste::Calm).expect("looks"), None);
    assert!(ask(&reader) == with_late);
    assert_eq!((hour(&reader).min, hour(&reader).count), (-3.5, 3));
    drop((writer, keeper));
    assert!(verify(dir.path()).expect("verifies").is_sound());
}

#[test]
fn a_power_cut_on_either_side_of_the_row_loses_nothing() {
    let dir = tempfile::tempdir().expect("makes");
    fill(dir.path());
    let mut before = tempfile::tempdir().expect("makes");
    copy(dir.path(), before.path(), |_| true);
    let said = ask(&open(before.path()).1);
    let mut cuts = 0;
    for _ in 0..9 {
        let (writer, _) = open(dir.path());
        let done = writer.keeper().step(t(DAY + 49 * HOUR), Haste::Eager).expect("merges");
        drop(writer);
        if done.is_none() {
            break;
        }
        // The row is not there: the new file is a stranger. The row is there: the old files still are too.
        for row_is_there in [false, true] {
            let cut = tempfile::tempdir().expect("makes");
            copy(dir.path(), cut.path(), |name| name.starts_with("block-"));
            copy(before.path(), cut.path(), |name| name.starts_with("block-") || !row_is_there);
            if row_is_there {
                copy(dir.path(), cut.path(), |name| !name.starts_with("block-"));
            }
            assert!(verify(cut.path()).expect("verifies").is_sound());
            let (_writer, reader) = open(cut.path());
            assert!(ask(&reader) == said);
            let left = if row_is_there { dir.path() } else { before.path() };
            assert_eq!(block_files(cut.path()), block_files(left));
            cuts += 1;
        }
        before = tempfile::tempdir().expect("makes");
        copy(dir.path(), before.path(), |_| true);
    }
    assert_eq!(cuts, 4);
}

#[test]
fn a_reader_that_holds_blocks_keeps_their_file_until_it_is_done() {
    let dir = tempfile::tempdir().expect("makes");
    fill(dir.path());
    let (writer, reader) = open(dir.path());
    let said = ask(&reader);
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..2).map(|_| scope.spawn(|| (0..3).for_each(|_| assert!(ask(&reader) == said)))).collect();
        let mut keeper = writer.keeper();
        while keeper.step(t(DAY + 49 * HOUR), Haste::Eager).expect("merges").is_some() {}
        asking.into_iter().for_each(|a| a.join().expect("reads the same throughout"));
        assert_eq!(keeper.step(t(DAY + 49 * HOUR), Haste::Eager).expect("tidies"), None);
    });
    assert_eq!(block_files(dir.path()), 2);
}

#[test]
fn hours_of_a_busy_node_are_merged_before_the_day_is_over() {
    let dir = tempfile::tempdir().expect("makes");
    let (mut writer, reader) = anlan_history::open(dir.path(), Options::default()).expect("opens");
    for step in 0..8 {
        let at = DAY + step * 7 * MINUTE;
        writer.append(&common::record(3, at, vec![reading_at(at, step)])).expect("appends");
        writer.sync().expect("syncs");
        writer.seal_now(t(at)).expect("seals");
    }
    let rows = |reader: &Reader| reader.readings(PointId::new(9), Timestamp::MIN, Timestamp::MAX, None, 100).expect("reads");
    let before = rows(&reader);
    let mut keeper = writer.keeper();
    assert_eq!(keeper.step(t(DAY + HOUR), Haste::Calm).expect("waits"), None);
    let done = keeper.step(t(DAY + HOUR + 10 * MINUTE), Haste::Calm).expect("merges").expect("is due");
    assert_eq!((done.blocks_before, done.blocks_after, done.readings), (8, 1, 8));
    assert_eq!(rows(&reader), before);
    assert_eq!((reader.stats().blocks, reader.stats().sealed_readings), (1, 8));
}

fn reading_at(at: i64, step: i64) -> Reading {
    reading(9, at, step as f64)
}

#[test]
fn the_manifest_is_written_anew_when_it_is_mostly_history() {
    let dir = tempfile::tempdir().expect("makes");
    let options = || Options { seal_window_us: MINUTE, ..Options::default() };
    let (mut writer, reader) = anlan_history::open(dir.path(), options()).expect("opens");
    let mut keeper = writer.keeper();
    let mut longest = 0;
    let mut want: BTreeMap<i64, f64> = BTreeMap::new();
    // Each seal lists a thousand blocks; each merge takes them away again.
    for round in 0..14 {
        let readings: Vec<Reading> = (0..1_000).map(|m| reading(1, DAY + m * MINUTE + round, round as f64)).collect();
        want.extend(readings.iter().map(|r| (r.event_at.micros(), r.value)));
        writer.append(&common::record(1, DAY, readings)).expect("appends");
        writer.sync().expect("syncs");
        writer.seal_now(t(DAY)).expect("seals");
        while keeper.step(t(DAY + 25 * HOUR), Haste::Eager).expect("merges").is_some() {}
        longest = longest.max(fs::metadata(dir.path().join("manifest")).expect("there").len());
    }
    let now = fs::metadata(dir.path().join("manifest")).expect("there").len();
    assert!(longest > 200_000 && now < longest / 2, "{longest} {now}");
    let rows = |reader: &Reader| -> BTreeMap<i64, f64> {
        let rows = reader.readings(PointId::new(1), Timestamp::MIN, Timestamp::MAX, None, usize::MAX).expect("reads");
        rows.iter().map(|r| (r.event_at.micros(), r.value)).collect()
    };
    assert_eq!(rows(&reader), want);
    drop((writer, keeper));
    assert!(verify(dir.path()).expect("verifies").is_sound());
    let (_writer, reader) = anlan_history::open(dir.path(), options()).expect("opens");
    assert_eq!(rows(&reader), want);
}
