//! An example of every format version ever released must read as it did then.

#[path = "../testdata/answers.rs"]
mod answers;

use std::fs;
use std::path::Path;

use anlan_history::{Options, verify};
use serde_json::Value;

fn check(version: &str) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(version);
    let copy = tempfile::tempdir().expect("makes");
    for entry in fs::read_dir(&example).expect("lists") {
        let path = entry.expect("entry").path();
        fs::copy(&path, copy.path().join(path.file_name().expect("a name"))).expect("copies");
    }
    let expected: Value = serde_json::from_slice(&fs::read(example.join("expected.json")).expect("reads")).expect("parses");
    let report = verify(copy.path()).expect("verifies");
    assert!(report.is_sound() && report.remains.is_empty(), "{report}");
    assert!(report.frames > 0 && report.sections > 0);
    // With and without the table of last values, which is one of the files but only a convenience.
    for without_table in [false, true] {
        if without_table {
            let table = fs::read_dir(copy.path()).expect("lists").map(|e| e.expect("entry").path());
            let table = table.into_iter().find(|p| p.to_string_lossy().contains("last-")).expect("there is a table");
            fs::remove_file(table).expect("removes");
        }
        let (_writer, reader) = anlan_history::open(copy.path(), Options::default()).expect("opens");
        let found = answers::answers(&reader);
        for (key, want) in expected.as_object().expect("an object") {
            // Text, because −0.0 equals 0.0 as a number.
            assert_eq!(found[key].to_string(), want.to_string(), "{key}");
        }
    }
}

#[test]
fn version_1_reads_as_it_did() {
    check("v1");
}

#[test]
fn version_2_reads_as_it_did() {
    check("v2");
}

#[test]
fn version_3_reads_as_it_did() {
    check("v3");
}

#[test]
fn version_4_reads_as_it_did() {
    check("v4");
}

#[test]
fn version_5_reads_as_it_did() {
    check("v5");
}
