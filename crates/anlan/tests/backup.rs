//! A node copied while it is loaded, started again elsewhere: what the copy says it holds is there, once, and both go on.

mod common;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::{Mqtt, Server, now_us, rfc3339};
use serde_json::{Value, json};

fn anlan(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_anlan")).args(arguments).env("ANLAN_LOG__FILTER", "error").output().expect("run anlan")
}

fn path(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// Publishes 0, 1, 2 … as fast as they are acknowledged; `kept` is how many were.
fn load(mqtt: &str, device: &str, secret: &str, kept: &AtomicU64, stop: &AtomicBool) {
    let mut mqtt = Mqtt::connect(mqtt, device, secret).expect("connect");
    let base = now_us();
    for n in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let at = rfc3339(base + i64::try_from(n).expect("small"));
        mqtt.publish(device, &json!({"at": at, "values": {"V": n}})).expect("kept");
        kept.store(n + 1, Ordering::Relaxed);
    }
}

fn values(server: &Server, device: &str) -> Vec<u64> {
    server.readings(device, "V").iter().map(|r| r["value"].as_f64().expect("a number") as u64).collect()
}

#[test]
fn a_backup_under_load_starts_elsewhere_with_all_it_names_and_both_nodes_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (data, copy, elsewhere) = (dir.path().join("data"), dir.path().join("copy"), dir.path().join("elsewhere"));
    let mut server = Server::start(&data, &[]);
    let (device, secret) = server.device("B-1", None);
    let (kept, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let loader = {
        let (mqtt, kept, stop) = (server.mqtt.clone(), kept.clone(), stop.clone());
        std::thread::spawn(move || load(&mqtt, "B-1", &secret, &kept, &stop))
    };
    server.wait("some load", |_| (kept.load(Ordering::Relaxed) > 200).then_some(()));
    let before = kept.load(Ordering::Relaxed);
    let made = anlan(&["backup", "--data", path(&data), path(&copy)]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let after = kept.load(Ordering::Relaxed);
    server.wait("more load", |_| (kept.load(Ordering::Relaxed) > after + 50).then_some(()));
    stop.store(true, Ordering::Relaxed);
    loader.join().unwrap();
    let all = values(&server, &device);
    assert_eq!(all, (0..all.len() as u64).collect::<Vec<_>>(), "the loaded node has everything");
    assert!(!data.join("backup-staging").exists());

    let restored = anlan(&["restore", path(&copy), "--data", path(&elsewhere)]);
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    let verified = anlan(&["history", "verify", "--data", path(&elsewhere)]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let mut second = Server::start(&elsewhere, &[]);
    let held = values(&second, &device);
    assert_eq!(held, (0..held.len() as u64).collect::<Vec<_>>(), "a prefix, each once");
    let n = held.len() as u64;
    assert!(n >= before && n <= all.len() as u64, "{before} were kept before the backup began, {n} are in it");
    println!("figure: backup under load: {before} kept before, {} after, {n} in the copy", all.len());
    let audit = second.get("/api/v1/audit?noun=node");
    assert_eq!(audit["entries"].as_array().expect("entries")[0]["action"], "restore", "{audit}");
    second.kill_and_restart();
    assert_eq!(values(&second, &device).len() as u64, n);

    // A stopped node is copied too, with everything; and what was made is never written over.
    assert_eq!(server.stop().0, Some(0));
    assert!(!anlan(&["backup", "--data", path(&data), path(&copy)]).status.success(), "an existing folder is refused");
    let cold = dir.path().join("cold");
    assert!(anlan(&["backup", "--data", path(&data), path(&cold)]).status.success());
    let third = dir.path().join("third");
    assert!(anlan(&["restore", path(&cold), "--data", path(&third)]).status.success());
    assert_eq!(values(&Server::start(&third, &[]), &device), all);
}

#[test]
fn a_backup_of_which_one_byte_changed_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (data, copy, elsewhere) = (dir.path().join("data"), dir.path().join("copy"), dir.path().join("elsewhere"));
    let mut server = Server::start(&data, &[]);
    assert_eq!(server.stop().0, Some(0));
    assert!(anlan(&["backup", "--data", path(&data), path(&copy)]).status.success());
    let list: Value = serde_json::from_slice(&std::fs::read(copy.join("backup.json")).unwrap()).unwrap();
    for file in list["files"].as_array().expect("files") {
        let path_of = copy.join(file["path"].as_str().expect("a path"));
        let sound = std::fs::read(&path_of).unwrap();
        let Some(middle) = sound.len().checked_div(2).filter(|_| !sound.is_empty()) else { continue };
        let mut damaged = sound.clone();
        damaged[middle] ^= 1;
        std::fs::write(&path_of, &damaged).unwrap();
        let refused = anlan(&["restore", path(&copy), "--data", path(&elsewhere)]);
        assert_eq!(refused.status.code(), Some(1), "{file}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("must not be used"), "{}", String::from_utf8_lossy(&refused.stderr));
        assert!(!elsewhere.exists() && !dir.path().join("elsewhere.partial").exists());
        std::fs::write(&path_of, sound).unwrap();
    }
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::write(elsewhere.join("mine"), "x").unwrap();
    let refused = anlan(&["restore", path(&copy), "--data", path(&elsewhere)]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("not empty"));
}

#[test]
fn the_doctor_finds_a_sound_node_sound_and_names_what_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut server = Server::start(&data, &[]);
    let look = |arguments: &[&str]| {
        let mut all = vec!["doctor", "--json", "--data", path(&data)];
        all.extend(arguments);
        let out = anlan(&all);
        (out.status.code(), serde_json::from_slice::<Value>(&out.stdout).expect("one JSON object"))
    };
    let verdict = |report: &Value, check: &str| {
        report["checks"].as_array().expect("checks").iter().find(|c| c["check"] == check).map(|c| c["verdict"].clone()).unwrap_or_default()
    };
    let (_, report) = look(&[]);
    assert_eq!(verdict(&report, "node"), "good", "{report}");
    assert_eq!(server.stop().0, Some(0));
    let (_, report) = look(&[]);
    for check in ["configuration", "directory", "history", "database", "audit"] {
        assert_eq!(verdict(&report, check), "good", "{check}: {report}");
    }
    let manifest = data.join("history/manifest");
    let mut bytes = std::fs::read(&manifest).unwrap();
    bytes[8] ^= 1;
    std::fs::write(&manifest, bytes).unwrap();
    let (code, report) = look(&[]);
    assert_eq!((code, verdict(&report, "history")), (Some(1), json!("bad")), "{report}");
}
