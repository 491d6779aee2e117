//! What a crash, a failing disk or a rotten bit does, and does not do.

mod common;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anlan_history::{Haste, HistoryError, Lsn, Options, Record, verify};
use anlan_model::{PointId, Timestamp, VehicleId};
use common::{DAY, HOUR, file, open, position, reading, record, t};

fn all(reader: &anlan_history::Reader, point: i64) -> Vec<f64> {
    let rows = reader.readings(PointId::new(point), Timestamp::MIN, Timestamp::MAX, None, usize::MAX).expect("reads");
    rows.iter().map(|r| r.value).collect()
}

/// Three records in the log, each a group of its own, nothing sealed.
fn three(dir: &Path) {
    let (mut writer, _) = open(dir);
    for i in 0..3i64 {
        let mut record = record(1, DAY + i, vec![reading(1, DAY + i * 1_000, i as f64), reading(2, DAY + i, 0.5)]);
        record.notes = vec![i as u8; 9];
        writer.append(&record).expect("appends");
        assert_eq!(writer.sync().expect("syncs"), Lsn(i as u64 + 1));
    }
}

fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("opens");
    let mut byte = [0u8];
    file.read_exact_at(&mut byte, offset).expect("reads");
    file.write_all_at(&[byte[0] ^ 0x10], offset).expect("writes");
}

#[test]
fn unsynced_records_are_neither_visible_nor_kept() {
    let dir = tempfile::tempdir().expect("makes");
    {
        let (mut writer, reader) = open(dir.path());
        writer.append(&record(1, DAY, vec![reading(1, DAY, 1.0)])).expect("appends");
        writer.sync().expect("syncs");
        writer.append(&record(1, DAY, vec![reading(1, DAY + 1, 2.0)])).expect("appends");
        assert_eq!(all(&reader, 1), [1.0]);
        assert_eq!(reader.tail(Lsn::ZERO).count(), 1);
    }
    let (mut writer, reader) = open(dir.path());
    assert_eq!(all(&reader, 1), [1.0]);
    assert_eq!(writer.append(&record(1, DAY, vec![reading(1, DAY + 2, 3.0)])).expect("appends"), Lsn(2));
    writer.sync().expect("syncs");
    assert_eq!(all(&reader, 1), [1.0, 3.0]);
}

#[test]
fn a_tail_cut_at_any_byte_loses_the_last_record_only() {
    let made = tempfile::tempdir().expect("makes");
    three(made.path());
    let log = file(made.path(), "log-");
    let bytes = fs::read(&log).expect("reads");
    let starts: Vec<usize> = (0..bytes.len()).filter(|i| bytes[*i..].starts_with(b"ANF1")).collect();
    assert_eq!(starts.len(), 3);
    for cut in starts[2]..=bytes.len() {
        fs::write(&log, &bytes[..cut]).expect("writes");
        let whole = if cut == bytes.len() { 3 } else { 2 };
        let report = verify(made.path()).expect("verifies");
        assert!(report.is_sound(), "{report}");
        assert_eq!(report.remains.len(), usize::from(cut != starts[2] && cut != bytes.len()));
        let (mut writer, reader) = open(made.path());
        assert_eq!(reader.durable(), Lsn(whole));
        assert_eq!(all(&reader, 1).len(), whole as usize);
        assert_eq!(reader.tail(Lsn::ZERO).filter_map(Result::ok).count(), whole as usize);
        writer.append(&record(1, DAY, vec![reading(1, DAY + 77, 7.0)])).expect("appends");
        assert_eq!(writer.sync().expect("syncs"), Lsn(whole + 1));
        drop(writer);
        let (_writer, reader) = open(made.path());
        assert_eq!(all(&reader, 1).len(), whole as usize + 1);
    }
}

#[test]
fn a_segment_whose_making_was_cut_short_is_made_again() {
    for len in 0..=31 {
        let dir = tempfile::tempdir().expect("makes");
        three(dir.path());
        let log = fs::read(file(dir.path(), "log-")).expect("reads");
        fs::write(dir.path().join("log-0000000000000004.anl"), &log[..len]).expect("writes");
        let (mut writer, reader) = open(dir.path());
        writer.append(&record(1, DAY, vec![reading(1, DAY + 77, 7.0)])).expect("appends");
        assert_eq!(writer.sync().expect("syncs"), Lsn(4));
        assert_eq!(all(&reader, 1), [0.0, 7.0, 1.0, 2.0]);
    }
}

#[test]
fn damage_in_the_middle_of_the_log_is_refused_with_file_and_offset() {
    let dir = tempfile::tempdir().expect("makes");
    three(dir.path());
    let log = file(dir.path(), "log-");
    let bytes = fs::read(&log).expect("reads");
    let starts: Vec<usize> = (0..bytes.len()).filter(|i| bytes[*i..].starts_with(b"ANF1")).collect();
    for offset in 32..starts[2] as u64 {
        flip(&log, offset);
        let report = verify(dir.path()).expect("verifies");
        assert!(!report.is_sound(), "byte {offset}: {report}");
        match anlan_history::open(dir.path(), Options::default()) {
            Err(HistoryError::Damaged { file, offset: found, .. }) => {
                assert_eq!(file, log);
                assert!(starts.contains(&(found as usize)) && found <= offset);
            }
            other => panic!("byte {offset}: {other:?}"),
        }
        flip(&log, offset);
    }
    assert!(verify(dir.path()).expect("verifies").is_sound());
}

/// Two synced groups; then, if asked, a third. Returns the log's file and its bytes after the first group and after the last.
fn groups(dir: &Path, n: i64) -> (std::path::PathBuf, usize, Vec<u8>) {
    let (mut writer, _) = open(dir);
    let mut synced = Vec::new();
    for group in 0..n {
        for i in 0..if group == 1 { 9 } else { 2 } {
            let at = DAY + group * 1_000_000 + i;
            let mut record = record(1, at, (1..20).map(|p| reading(p, at, (p * i % 7) as f64 / 10.0)).collect());
            // What the page cache holds of a device's text is as hard to foresee as this.
            record.notes = (0..150).map(|k| ((k * k * (i + 3) * 31) >> 3) as u8).collect();
            writer.append(&record).expect("appends");
        }
        writer.sync().expect("syncs");
        synced.push(fs::metadata(file(dir, "log-")).expect("there").len() as usize);
    }
    let log = file(dir, "log-");
    let bytes = fs::read(&log).expect("reads");
    (log, synced[0], bytes)
}

/// A power cut keeps any subset of the pages that were not synced, and any length.
#[test]
fn any_part_of_an_unsynced_group_is_cut_off_and_nothing_before_it() {
    const PAGE: usize = 512;
    let (made, work) = (tempfile::tempdir().expect("makes"), tempfile::tempdir().expect("makes"));
    let (log, synced, full) = groups(made.path(), 2);
    fs::copy(made.path().join("manifest"), work.path().join("manifest")).expect("copies");
    let log = work.path().join(log.file_name().expect("a name"));
    let pages: Vec<std::ops::Range<usize>> =
        (synced / PAGE..full.len().div_ceil(PAGE)).map(|p| (p * PAGE).max(synced)..((p + 1) * PAGE).min(full.len())).collect();
    assert!((6..=9).contains(&pages.len()), "{} pages", pages.len());
    let starts: Vec<usize> = (0..full.len()).filter(|i| full[*i..].starts_with(b"ANF1")).chain([full.len()]).collect();
    let mut seen = std::collections::BTreeSet::new();
    for kept in 0u32..1 << pages.len() {
        let mut bytes = full.clone();
        let lost = |page: usize| kept >> page & 1 == 0;
        for (_, range) in pages.iter().enumerate().filter(|(i, _)| lost(*i)) {
            bytes[range.clone()].fill(0);
        }
        // The length may have reached the disk without the pages, or not.
        if kept % 3 == 0 {
            let end = (0..pages.len()).rev().find(|i| !lost(*i)).map_or(synced, |i| pages[i].end);
            bytes.truncate(end);
        }
        let whole = starts.windows(2).take_while(|w| bytes.get(w[0]..w[1]) == Some(&full[w[0]..w[1]])).count() as u64;
        fs::write(&log, &bytes).expect("writes");
        assert!(verify(work.path()).expect("verifies").is_sound(), "pages {kept:b}");
        {
            let (mut writer, reader) = open(work.path());
            assert_eq!(reader.durable(), Lsn(whole), "pages {kept:b}");
            assert_eq!(reader.tail(Lsn::ZERO).filter_map(Result::ok).count() as u64, whole);
            writer.append(&record(1, DAY, vec![reading(77, DAY, 7.0)])).expect("appends");
            assert_eq!(writer.sync().expect("syncs"), Lsn(whole + 1));
        }
        let (_writer, reader) = open(work.path());
        assert_eq!((reader.durable(), all(&reader, 77)), (Lsn(whole + 1), vec![7.0]), "pages {kept:b}");
        seen.insert(whole);
    }
    assert!(seen.len() >= 5 && seen.contains(&2) && seen.contains(&11), "cuts at many records: {seen:?}");
}

/// The same loss in a group that another one follows cannot come from a power cut: the sync between them was answered.
#[test]
fn a_hole_before_a_later_group_is_damage() {
    let dir = tempfile::tempdir().expect("makes");
    let (log, synced, full) = groups(dir.path(), 3);
    let starts: Vec<usize> = (0..full.len()).filter(|i| full[*i..].starts_with(b"ANF1")).collect();
    let second: Vec<usize> = starts[2..12].to_vec();
    assert_eq!(second[0], synced);
    for hole in second.windows(2) {
        let mut bytes = full.clone();
        bytes[hole[0]..hole[1]].fill(0);
        fs::write(&log, &bytes).expect("writes");
        let report = verify(dir.path()).expect("verifies");
        assert!(!report.is_sound(), "{report}");
        match anlan_history::open(dir.path(), Options::default()) {
            Err(HistoryError::Damaged { offset, .. }) => assert_eq!(offset, hole[0] as u64),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn frames_of_another_node_in_the_notes_are_not_taken_for_records() {
    let (ours, theirs) = (tempfile::tempdir().expect("makes"), tempfile::tempdir().expect("makes"));
    three(theirs.path());
    let foreign = fs::read(file(theirs.path(), "log-")).expect("reads");
    {
        let (mut writer, _) = open(ours.path());
        let relayed = Record { notes: foreign.clone(), ..record(1, DAY, vec![]) };
        writer.append(&relayed).expect("appends");
        writer.sync().expect("syncs");
    }
    let log = file(ours.path(), "log-");
    let len = fs::metadata(&log).expect("there").len();
    OpenOptions::new().write(true).open(&log).expect("opens").set_len(len - 1).expect("cuts");
    let (_writer, reader) = open(ours.path());
    assert_eq!(reader.durable(), Lsn::ZERO);
}

#[test]
fn one_process_owns_a_directory() {
    let dir = tempfile::tempdir().expect("makes");
    let first = open(dir.path());
    assert!(matches!(anlan_history::open(dir.path(), Options::default()), Err(HistoryError::Locked { .. })));
    drop(first);
    open(dir.path());
}

/// A directory with every kind of file: two seals, late data, positions, two checkpoints, several segments, an open log.
fn full(dir: &Path) {
    let options = Options { segment_bytes: 2_000, ..Options::default() };
    let (mut writer, _) = anlan_history::open(dir, options).expect("opens");
    for i in 0..40i64 {
        let at = DAY + i * 5 * 60_000_000;
        let readings = (1..30).map(|p| reading(p, at + p, 20.0 + (i * p % 17) as f64 / 10.0)).collect();
        let positions = (1..4).map(|v| position(v, at + v)).collect();
        writer.append(&Record { shard: 3, now: t(at), readings, positions, notes: vec![7; 30] }).expect("appends");
        writer.sync().expect("syncs");
        if i == 15 || i == 30 {
            writer.checkpoint(&[i as u8; 500]).expect("keeps");
            writer.seal_now(t(at)).expect("seals");
        }
    }
}

#[test]
fn verify_finds_a_flipped_byte_in_each_kind_of_file() {
    let dir = tempfile::tempdir().expect("makes");
    full(dir.path());
    let report = verify(dir.path()).expect("verifies");
    assert!(report.is_sound(), "{report}");
    assert!(report.segments > 2 && report.files == 2 && report.sections > 50 && report.frames == 40, "{report}");
    for prefix in ["log-0000000000000001", "block-", "last-", "manifest", "checkpoint", "checkpoint.before"] {
        let path = file(dir.path(), prefix);
        let len = fs::metadata(&path).expect("there").len();
        // The last row of the manifest cannot be told from a torn one by itself; the released log would tell (see below).
        let len = if prefix == "manifest" { len / 2 } else { len };
        for offset in (0..len).step_by(if len > 3_000 { 131 } else { 17 }) {
            flip(&path, offset);
            let report = verify(dir.path()).expect("verifies");
            let sound = report.is_sound() && (prefix != "manifest" || report.remains.is_empty());
            assert!(!sound, "{prefix} byte {offset}: {report}");
            flip(&path, offset);
        }
    }
    assert!(verify(dir.path()).expect("verifies").is_sound());
}

#[test]
fn a_lost_manifest_row_is_noticed_once_the_log_before_it_is_released() {
    let dir = tempfile::tempdir().expect("makes");
    full(dir.path());
    {
        let options = Options { segment_bytes: 2_000, keep_log_us: 0, ..Options::default() };
        let (mut writer, _) = anlan_history::open(dir.path(), options).expect("opens");
        let durable = writer.durable();
        assert!(writer.release_log(durable, t(DAY + 24 * HOUR)).expect("releases") > 0);
    }
    let manifest = file(dir.path(), "manifest");
    let bytes = fs::read(&manifest).expect("reads");
    fs::write(&manifest, &bytes[..24]).expect("writes");
    assert!(!verify(dir.path()).expect("verifies").is_sound());
    assert!(matches!(anlan_history::open(dir.path(), Options::default()), Err(HistoryError::Damaged { .. })));
}

#[test]
fn the_log_is_released_only_when_sealed_projected_and_behind_both_checkpoints() {
    let dir = tempfile::tempdir().expect("makes");
    let options = Options { segment_bytes: 200, keep_log_us: HOUR, ..Options::default() };
    let (mut writer, reader) = anlan_history::open(dir.path(), options).expect("opens");
    for i in 0..10i64 {
        writer.append(&record(1, DAY + i, vec![reading(1, DAY + i, 0.5); 40])).expect("appends");
        writer.sync().expect("syncs");
    }
    let later = t(DAY + 2 * HOUR);
    assert_eq!(writer.release_log(Lsn(10), later).expect("releases"), 0);
    writer.seal_now(later).expect("seals");
    writer.checkpoint(b"a").expect("keeps");
    assert_eq!(writer.release_log(Lsn(10), later).expect("releases"), 0, "one checkpoint is not two");
    writer.checkpoint(b"b").expect("keeps");
    assert_eq!(writer.release_log(Lsn(0), later).expect("releases"), 0, "nothing is projected");
    assert_eq!(writer.release_log(Lsn(10), t(DAY + HOUR / 2)).expect("releases"), 0, "too young");
    let before = reader.stats().segments;
    let released = writer.release_log(Lsn(5), later).expect("releases") as u64;
    assert!(released > 0 && released < before - 1);
    assert_eq!(reader.tail(Lsn(5)).filter_map(Result::ok).count(), 5);
    assert!(matches!(reader.tail(Lsn::ZERO).next(), Some(Err(HistoryError::NotInLog { .. }))));
}

#[test]
fn a_damaged_checkpoint_falls_back_to_the_one_before() {
    let dir = tempfile::tempdir().expect("makes");
    full(dir.path());
    let newest = dir.path().join("checkpoint");
    flip(&newest, 30);
    let (_writer, reader) = open(dir.path());
    assert_eq!(reader.last_checkpoint().expect("reads"), Some((Lsn(16), vec![15; 500])));
}

#[test]
fn a_damaged_section_is_an_error_and_not_a_gap() {
    let dir = tempfile::tempdir().expect("makes");
    full(dir.path());
    flip(&file(dir.path(), "block-"), 40);
    let (_writer, reader) = open(dir.path());
    let results = (1..30).map(|p| reader.readings(PointId::new(p), Timestamp::MIN, Timestamp::MAX, None, 1_000));
    assert!(results.filter(|r| matches!(r, Err(HistoryError::Damaged { .. }))).count() == 1);
}

#[test]
fn an_unfinished_seal_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("makes");
    full(dir.path());
    let orphan = dir.path().join("block-00000000000000aa.anl");
    let half = dir.path().join("block-00000000000000ab.anl.tmp");
    fs::write(&orphan, b"ANLB").expect("writes");
    fs::write(&half, b"AN").expect("writes");
    assert_eq!(verify(dir.path()).expect("verifies").remains.len(), 2);
    let (_writer, reader) = open(dir.path());
    assert!(!orphan.exists() && !half.exists());
    assert_eq!(all(&reader, 1).len(), 40);
    assert_eq!(reader.positions(VehicleId::new(1), Timestamp::MIN, Timestamp::MAX, None, 100).expect("reads").len(), 40);
}

#[test]
fn after_a_failed_write_nothing_is_visible_and_the_writer_refuses() {
    let dir = tempfile::tempdir().expect("makes");
    three(dir.path());
    let (mut writer, reader) = anlan_history::open(dir.path(), Options { segment_bytes: 1, ..Options::default() }).expect("opens");
    // The next segment's name is taken: making it fails as a full disk would.
    let blocked = dir.path().join("log-0000000000000004.anl");
    fs::create_dir(&blocked).expect("makes");
    writer.append(&record(1, DAY, vec![reading(1, DAY + 9, 9.0)])).expect("appends");
    assert!(matches!(writer.sync(), Err(HistoryError::Io { .. })));
    assert_eq!(all(&reader, 1).len(), 3);
    assert!(matches!(writer.sync(), Err(HistoryError::Broken)));
    assert!(matches!(writer.append(&record(1, DAY, vec![])), Err(HistoryError::Broken)));
    assert!(matches!(writer.checkpoint(b""), Err(HistoryError::Broken)));
    drop((writer, reader));
    fs::remove_dir(&blocked).expect("removes");
    let (mut writer, reader) = open(dir.path());
    assert_eq!(all(&reader, 1).len(), 3);
    writer.append(&record(1, DAY, vec![reading(1, DAY + 9, 9.0)])).expect("appends");
    assert_eq!(writer.sync().expect("syncs"), Lsn(4));
}

/// A list of blocks that cannot be written, as on a full disk, though it can be opened; what it was.
fn block_manifest(dir: &Path) -> Vec<u8> {
    let path = dir.join("manifest");
    let bytes = fs::read(&path).expect("reads");
    fs::remove_file(&path).expect("removes");
    std::os::unix::fs::symlink("/dev/full", &path).expect("links");
    // Writing it anew fails too.
    fs::create_dir(dir.join("manifest.tmp")).expect("makes");
    bytes
}

/// There is room again; of what failed, half a row may have reached the disk.
fn free_manifest(dir: &Path, bytes: &[u8], torn: &[u8]) {
    let path = dir.join("manifest");
    fs::remove_dir(dir.join("manifest.tmp")).expect("removes");
    fs::remove_file(&path).expect("removes");
    fs::write(&path, [bytes, torn].concat()).expect("writes");
}

#[test]
fn a_list_of_blocks_that_cannot_be_written_is_tried_again() {
    for (torn, seal_first) in [(&b""[..], true), (b"ANMR half a row", false)] {
        let dir = tempfile::tempdir().expect("makes");
        full(dir.path());
        let (mut writer, reader) = open(dir.path());
        let now = t(DAY + 30 * HOUR);
        writer.append(&record(1, DAY, vec![reading(1, DAY + 20 * HOUR, 9.0)])).expect("appends");
        writer.sync().expect("syncs");
        let bytes = block_manifest(dir.path());
        let whole = all(&reader, 1);
        for turn in 0..4 {
            if (turn % 2 == 0) == seal_first {
                assert!(matches!(writer.seal_now(now), Err(HistoryError::Io { .. })));
            } else {
                assert!(matches!(writer.keeper().step(now, Haste::Eager), Err(HistoryError::Io { .. })));
            }
            // Meanwhile everything is there, and the log goes on.
            assert_eq!(all(&reader, 1), whole);
            writer.sync().expect("goes on");
        }
        free_manifest(dir.path(), &bytes, torn);
        writer.append(&record(1, DAY, vec![reading(1, DAY + 21 * HOUR, 10.0)])).expect("appends");
        writer.sync().expect("syncs");
        writer.seal_now(now).expect("seals");
        let mut keeper = writer.keeper();
        while keeper.step(now, Haste::Eager).expect("merges").is_some() {}
        let whole: Vec<f64> = whole.into_iter().chain([10.0]).collect();
        assert_eq!(all(&reader, 1), whole);
        drop((writer, keeper, reader));
        let report = verify(dir.path()).expect("verifies");
        assert!(report.is_sound() && report.remains.is_empty(), "what failed leaves nothing behind: {report}");
        assert_eq!(all(&open(dir.path()).1, 1), whole);
    }
}

#[test]
fn what_cannot_be_stored_is_refused_and_the_writer_goes_on() {
    let dir = tempfile::tempdir().expect("makes");
    let (mut writer, reader) = anlan_history::open(dir.path(), Options { unsynced_bytes_max: 400, ..Options::default() }).expect("opens");
    assert!(matches!(writer.append(&record(1, DAY, vec![reading(1, DAY, f64::NAN)])), Err(HistoryError::Unstorable(_))));
    let full = (0..50).find_map(|i| writer.append(&record(1, DAY, vec![reading(1, DAY + i, 1.0)])).err());
    assert!(matches!(full, Some(HistoryError::TooMuchUnsynced { .. })));
    let lsn = writer.sync().expect("syncs");
    assert_eq!(all(&reader, 1).len() as u64, lsn.0);
    assert_eq!(reader.tail(Lsn::ZERO).filter_map(Result::ok).count() as u64, lsn.0);
}

#[test]
fn a_tail_goes_on_where_it_ended_across_segments() {
    let dir = tempfile::tempdir().expect("makes");
    let (mut writer, reader) = anlan_history::open(dir.path(), Options { segment_bytes: 300, ..Options::default() }).expect("opens");
    let (mut tail, mut notes) = (reader.tail(Lsn::ZERO), reader.tail_notes(Lsn::ZERO));
    for i in 1..40u64 {
        let note = if i % 3 == 0 { vec![i as u8] } else { Vec::new() };
        writer.append(&Record { notes: note, ..record(1, DAY, vec![reading(1, DAY + i as i64, 1.5)]) }).expect("appends");
        assert!(tail.next().is_none());
        writer.sync().expect("syncs");
        assert_eq!(tail.next().expect("one").expect("follows").0, Lsn(i));
        assert_eq!(notes.by_ref().map(|n| n.expect("follows").lsn).collect::<Vec<_>>(), if i % 3 == 0 { vec![Lsn(i)] } else { vec![] });
        assert_eq!(notes.seen(), Lsn(i));
    }
}

#[test]
fn readers_see_one_history_while_it_is_sealed() {
    let dir = tempfile::tempdir().expect("makes");
    let (mut writer, reader) = anlan_history::open(dir.path(), Options { seal_after_readings: 500, ..Options::default() }).expect("opens");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let rows = all(&reader, 1);
                assert!(rows.len() >= seen, "{} after {seen}", rows.len());
                assert!(rows.iter().enumerate().all(|(i, v)| *v == i as f64), "no hole");
                seen = rows.len();
            }
        });
        for i in 0..400i64 {
            let at = DAY + i * 10_000_000;
            let readings = (1..20).map(|p| reading(p, at, i as f64)).collect();
            writer.append(&record((i % 3) as u16, at, readings)).expect("appends");
            writer.sync().expect("syncs");
            writer.seal_if_due(t(at)).expect("seals");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        watcher.join().expect("saw one history");
    });
    assert!(reader.stats().files > 1);
}
