//! The rules of the house that no compiler knows: who may depend on whom, where SQL and axum may stand, what must not be written.
//!
//! Reads files as text; each rule names the invariant of ARCHITECTURE.md that it keeps.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::{coverage, shell};

/// Rooms and the rooms they may name in their manifest (ARCHITECTURE.md, "Dependencies point one way").
const MAY_USE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("protocols", &["model"]),
    ("domain", &["model"]),
    ("history", &["model"]),
    ("documents", &[]),
    ("typeset", &["documents"]),
    ("archive", &["model", "history"]),
    ("store", &["model", "domain"]),
    ("ingest", &["model", "protocols"]),
    ("link", &["model"]),
    ("app", &["model", "protocols", "domain", "store", "history", "archive", "documents", "link"]),
    ("http", &["model", "app", "domain", "protocols", "history"]),
    ("sim", &["model", "protocols"]),
];

/// Words that may stand only in the named places: (word, where allowed, why).
const WORDS: &[(&str, &[&str], &str)] = &[
    ("rust_xlsxwriter::", &["crates/documents/"], "invariant 2: XLSX only in documents"),
    ("typst::", &["crates/typeset/"], "invariant 2: typst only in typeset"),
    ("sqlx::", &["crates/store/"], "invariant 2: SQL only in store"),
    ("axum::", &["crates/http/", "crates/ingest/src/http", "crates/ingest/tests/"], "invariant 2: axum only in http and ingest::http"),
    (
        "SystemTime::now",
        &[
            "crates/app/src/clock.rs",
            "crates/http/src/problem.rs",
            "crates/store/src/",
            "crates/sim/",
            // Certificates run on real time.
            "crates/link/tests/",
            "crates/anlan/",
            "crates/bench/",
            "xtask/",
        ],
        "domain time comes from the clock",
    ),
    ("PointSet::granted_by_store", &["crates/store/", "crates/model/"], "only store makes a PointSet from a Scope"),
    ("anlan_store", &["crates/store/", "crates/app/", "crates/anlan/", "crates/bench/", "crates/http/tests/"], "http never touches store"),
];

/// In these rooms there is no I/O, no clock, nothing spawned (invariant 1).
const PURE: &[&str] = &["crates/protocols/src/", "crates/domain/src/"];
const IMPURE_WORDS: &[&str] = &["tokio::", "std::fs", "std::net", "std::thread", "Instant::now", "std::env"];

/// Prints every breach; exit code 1 if there is one.
pub fn run() -> anyhow::Result<ExitCode> {
    let breaches = breaches()?;
    let (_, summary) = coverage::run(&shell::root())?;
    for breach in &breaches {
        eprintln!("{breach}");
    }
    eprintln!("check: {} breaches; plan: {summary}", breaches.len());
    Ok(if breaches.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every breach as `file:line: what`.
pub fn breaches() -> anyhow::Result<Vec<String>> {
    let root = shell::root();
    let (mut breaches, _) = coverage::run(&root)?;
    for (room, may_use) in MAY_USE {
        let manifest = fs::read_to_string(root.join(format!("crates/{room}/Cargo.toml")))?;
        let dependencies = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        for line in dependencies.lines().filter_map(|l| l.strip_prefix("anlan-")) {
            let used = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if !may_use.contains(&used) {
                breaches.push(format!("crates/{room}/Cargo.toml: may not depend on {used}"));
            }
        }
    }
    let mut files = Vec::new();
    for dir in ["crates", "xtask"] {
        rust_files(&root.join(dir), &mut files)?;
    }
    for file in files {
        let name = file.strip_prefix(&root).unwrap_or(&file).to_string_lossy().into_owned();
        if name.ends_with("xtask/src/check.rs") {
            continue;
        }
        for (n, line) in fs::read_to_string(&file)?.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for (word, allowed, why) in WORDS {
                if code.contains(word) && !allowed.iter().any(|place| name.starts_with(place)) {
                    breaches.push(format!("{name}:{}: `{word}`: {why}", n + 1));
                }
            }
            if PURE.iter().any(|place| name.starts_with(place)) {
                breaches.extend(
                    IMPURE_WORDS.iter().filter(|w| code.contains(**w)).map(|w| format!("{name}:{}: `{w}`: invariant 1, sans-IO", n + 1)),
                );
            }
            if code.contains("todo!(") || code.contains("unimplemented!(") || code.contains("#[ignore") {
                breaches.push(format!("{name}:{}: unfinished", n + 1));
            }
        }
    }
    Ok(breaches)
}

fn rust_files(dir: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(())
}
