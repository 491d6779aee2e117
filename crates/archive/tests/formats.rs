//! An example of every format version ever released must read as it did then, and a change that stood half done must be finished.

#[path = "../testdata/answers.rs"]
mod answers;

use std::fs;
use std::path::Path;

use anlan_archive::{Archive, Place};
use serde_json::Value;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

fn check(version: &str) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(version);
    let dir = tempfile::tempdir().unwrap();
    copy(&example, dir.path());
    let place = Place { url: dir.path().join("archive").display().to_string(), ..Place::default() };
    let expected: Value = serde_json::from_slice(&fs::read(example.join("expected.json")).unwrap()).unwrap();
    let before = Archive::open_read_only(&place, dir.path()).unwrap();
    assert!(before.verify(None).unwrap().findings[0].contains("pending"));
    let archive = Archive::open(&place, dir.path(), "example", 4).unwrap();
    let found = answers::answers(&archive);
    for (key, want) in expected.as_object().unwrap() {
        assert_eq!(&found[key], want, "{key}");
    }
    assert!(expected["readings"].as_array().unwrap().len() > 80);
    // Merged by today's writer, it says the same.
    let merging = Archive::open(&place, dir.path(), "example", 2).unwrap();
    let merged: u64 = merging.days().into_iter().map(|day| merging.compact_day(day).unwrap()).sum();
    let after = answers::answers(&merging);
    assert_eq!((merged, &after["readings"], &after["report"]), (1, &found["readings"], &found["report"]));
}

#[test]
fn version_1_reads_as_it_did() {
    check("v1");
}
