//! Repair keeps what is sound, writes anew what the log still holds, names what is lost, and deletes nothing.

mod common;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anlan_history::{Haste, Options, Reader, Record, repair, verify};
use anlan_model::{PointId, Position, Reading, Timestamp, VehicleId};
use common::{DAY, HOUR, file, position, reading, t};

const POINTS: i64 = 40;

/// A merged day, an unmerged morning after it, something unsealed; the log kept whole or released up to the last seal.
fn fill(dir: &Path, keep_log: bool) {
    let options = Options { segment_bytes: 2_000, keep_log_us: 0, ..Options::default() };
    let (mut writer, _) = anlan_history::open(dir, options).expect("opens");
    for step in 0..30i64 {
        let at = DAY + step * HOUR;
        let readings = (1..=POINTS).map(|p| reading(p, at + p, 20.0 + ((step * p) % 17) as f64)).collect();
        let record = Record { shard: 3, now: t(at), readings, positions: vec![position(1, at), position(2, at)], notes: vec![7; 9] };
        writer.append(&record).expect("appends");
        writer.sync().expect("syncs");
        if step % 10 == 9 && step < 29 {
            writer.checkpoint(b"state").expect("keeps");
            writer.seal_now(t(at)).expect("seals");
        }
    }
    let now = t(DAY + 26 * HOUR);
    let mut keeper = writer.keeper();
    while keeper.step(now, Haste::Eager).expect("merges").is_some() {}
    if !keep_log {
        let durable = writer.durable();
        writer.checkpoint(b"state").expect("keeps");
        assert!(writer.release_log(durable, t(DAY + 99 * HOUR)).expect("releases") > 0);
    }
}

fn ask(reader: &Reader) -> (Vec<Vec<Reading>>, Vec<Vec<Position>>) {
    let all = |p| reader.readings(PointId::new(p), Timestamp::MIN, Timestamp::MAX, None, usize::MAX).expect("reads");
    let track = |v| reader.positions(VehicleId::new(v), Timestamp::MIN, Timestamp::MAX, None, usize::MAX).expect("reads");
    ((1..=POINTS).map(all).collect(), (1..3).map(track).collect())
}

fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("opens");
    let mut byte = [0u8];
    file.read_exact_at(&mut byte, offset).expect("reads");
    file.write_all_at(&[byte[0] ^ 0x10], offset).expect("writes");
}

fn reader(dir: &Path) -> Reader {
    anlan_history::open(dir, Options::default()).expect("opens").1
}

#[test]
fn with_the_log_nothing_is_lost_wherever_a_block_file_or_the_manifest_is_hit() {
    let whole = tempfile::tempdir().expect("makes");
    fill(whole.path(), true);
    let want = ask(&reader(whole.path()));
    assert!(repair(whole.path()).expect("looks").done.is_empty());
    for (prefix, step) in [("block-", 41), ("manifest", 13)] {
        let len = fs::metadata(file(whole.path(), prefix)).expect("there").len();
        for offset in (0..len).step_by(usize::try_from(len / step).expect("small").max(1)) {
            let dir = tempfile::tempdir().expect("makes");
            for entry in fs::read_dir(whole.path()).expect("lists") {
                let path = entry.expect("entry").path();
                fs::copy(&path, dir.path().join(path.file_name().expect("a name"))).expect("copies");
            }
            flip(&file(dir.path(), prefix), offset);
            let report = repair(dir.path()).expect("repairs");
            let after = verify(dir.path()).expect("verifies");
            assert!(after.is_sound(), "{prefix} byte {offset}: {report}\n{after}");
            assert!(report.lost.iter().all(|l| l.what.starts_with("stored hours")), "{prefix} byte {offset}: {report}");
            assert!(ask(&reader(dir.path())) == want, "{prefix} byte {offset}: {report}");
        }
    }
}

#[test]
fn without_the_log_the_loss_is_named_and_the_rest_kept() {
    let dir = tempfile::tempdir().expect("makes");
    fill(dir.path(), false);
    let want = ask(&reader(dir.path()));
    // The first section of the first block: point 1 of the merged day or of the morning.
    let block = file(dir.path(), "block-");
    flip(&block, 20);
    assert!(!verify(dir.path()).expect("verifies").is_sound());
    let report = repair(dir.path()).expect("repairs");
    assert_eq!(report.lost.len(), 1, "{report}");
    let lost = report.lost[0].clone();
    assert_eq!((lost.what.as_str(), lost.found), ("point 1", 0));
    assert!(report.to_string().contains("NOT WHOLE"), "{report}");
    assert!(verify(dir.path()).expect("verifies").is_sound());
    let got = ask(&reader(dir.path()));
    assert!(got.0[1..] == want.0[1..] && got.1 == want.1);
    let left: Vec<Reading> = want.0[0].iter().filter(|r| r.event_at < lost.from || r.event_at >= lost.to).copied().collect();
    assert_eq!((got.0[0].len() as u64 + lost.had, &got.0[0]), (want.0[0].len() as u64, &left));
    let aside = dir.path().join("damaged").join(block.file_name().expect("a name"));
    assert!(aside.exists() && !block.exists());
}

#[test]
fn a_lost_manifest_is_made_again() {
    let dir = tempfile::tempdir().expect("makes");
    fill(dir.path(), false);
    let want = ask(&reader(dir.path()));
    fs::remove_file(dir.path().join("manifest")).expect("removes");
    let report = repair(dir.path()).expect("repairs");
    assert!(report.lost.is_empty() && report.left.is_empty(), "{report}");
    let after = verify(dir.path()).expect("verifies");
    assert!(after.is_sound(), "{after}");
    assert!(ask(&reader(dir.path())) == want);
}

#[test]
fn tables_and_checkpoints_have_stand_ins_and_damage_in_the_log_is_told() {
    let whole = tempfile::tempdir().expect("makes");
    fill(whole.path(), true);
    let want = ask(&reader(whole.path()));
    let hit = |names: &[&str]| {
        let dir = tempfile::tempdir().expect("makes");
        for entry in fs::read_dir(whole.path()).expect("lists") {
            let path = entry.expect("entry").path();
            fs::copy(&path, dir.path().join(path.file_name().expect("a name"))).expect("copies");
        }
        let named = |n: &&str| Some(dir.path().join(n)).filter(|p| p.exists()).unwrap_or_else(|| file(dir.path(), n));
        let paths: Vec<_> = names.iter().map(named).collect();
        for path in &paths {
            flip(path, fs::metadata(path).expect("there").len() / 2);
        }
        assert!(!verify(dir.path()).expect("verifies").is_sound());
        let before: Vec<_> = paths.iter().map(|p| fs::read(p).expect("reads")).collect();
        let report = repair(dir.path()).expect("repairs");
        let aside = |path: &Path| dir.path().join("damaged").join(path.file_name().expect("a name"));
        for (path, bytes) in paths.iter().zip(before) {
            let found = if report.left.is_empty() { aside(path) } else { path.clone() };
            assert_eq!(fs::read(found).expect("kept"), bytes, "{report}");
        }
        (dir, report)
    };
    for name in ["last-", "checkpoint", "checkpoint.before"] {
        let (dir, report) = hit(&[name]);
        assert!(report.left.is_empty() && report.lost.is_empty() && report.done.len() == 1, "{report}");
        let after = verify(dir.path()).expect("verifies");
        assert!(after.is_sound(), "{after}");
        let reader = reader(dir.path());
        assert!(ask(&reader) == want && reader.last_checkpoint().expect("reads").is_some(), "{name}");
    }
    // Nobody else knows what stood in these.
    let (_dir, report) = hit(&["checkpoint", "checkpoint.before"]);
    assert_eq!((report.left.len(), report.done.len()), (2, 0), "{report}");
    let (_dir, report) = hit(&["log-0000000000000001.anl"]);
    assert!(report.left.iter().all(|f| f.file.to_string_lossy().contains("log-")) && report.done.is_empty(), "{report}");
    assert!(report.to_string().contains("NOT WHOLE"), "{report}");
}
