//! `cargo xtask test`: every test there is, one closing line `N passed, N failed, N skipped`.
//!
//! Order: what is missing (exit 2 before any test) → rules of the house → console → Rust on both databases → faults → network → browser, and beside
//! the last two instruction budgets → fuzz targets.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::faults::{self, Break};
use crate::{check, demo, netlab, shell, tools};

/// Everything is tested in the build that makes PDF: one graph of crates, so that none is built twice.
const PDF: &str = "anlan/pdf";
/// How long each fuzz target runs.
const FUZZ_S: u32 = 8;
const FUZZ_TARGETS: &[&str] = &["jt808", "jt809", "mqtt", "line", "telemetry", "modbus", "cap", "sensorthings"];
/// Coverage instrumentation for libFuzzer that the stable compiler takes; the same that cargo-fuzz sets without a sanitizer.
const FUZZ_FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=1 --cfg fuzzing";

#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// How long each part took, for who makes the whole shorter.
    took: Vec<(&'static str, Duration)>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.took.extend(other.took);
    }

    fn part<T>(&mut self, name: &'static str, run: impl FnOnce(&mut Self) -> T) -> T {
        let start = Instant::now();
        let result = run(self);
        self.took.push((name, start.elapsed()));
        result
    }

    fn one(&mut self, name: &str, result: anyhow::Result<()>) {
        match result {
            Ok(()) => self.passed += 1,
            Err(failure) => {
                self.failed += 1;
                eprintln!("FAILED {name}: {failure:#}");
            }
        }
    }
}

/// Runs everything.
pub fn run(install: bool) -> anyhow::Result<ExitCode> {
    let missing = tools::missing();
    if install {
        missing.install()?;
    } else if !missing.is_nothing() {
        eprintln!("xtask: something is missing; run:\n  {}\nor: cargo xtask test --install", missing.command());
        return Ok(ExitCode::from(2));
    }
    tools::require_node()?;
    if shell::in_ci() {
        // Cargo compares file times only: what another work tree left in a shared folder must go.
        shell::run(shell::command("cargo", ".").args(["clean", "--workspace", "--quiet"]))?;
    }
    let mut tally = Tally::default();
    tally.one("rules of the house", check::breaches().and_then(|b| if b.is_empty() { Ok(()) } else { anyhow::bail!("{}", b.join("\n")) }));
    tally.part("console", console)?;
    rust(&mut tally)?;
    // The binary that the Rust tests have just used.
    let binary = shell::target_dir().join("debug/anlan");
    tally.part("faults", |tally| {
        tally.one("faults", faults::short(binary.clone()));
        tally.one("without the log's sync power cuts lose data", faults::must_fail(binary.clone(), Break::Fsync));
        tally.one("without the directory's sync power cuts lose data", faults::must_fail(binary.clone(), Break::Dirsync));
    });
    // Who waits for nodes and pages leaves a core to who compiles and counts. Power cuts wait for a write, and want the machine for themselves.
    let beside = std::thread::spawn(|| {
        let mut tally = Tally::default();
        tally.part("budgets", budgets);
        tally.part("fuzz", fuzz);
        tally
    });
    tally.part("netlab", |tally| tally.one("a network in trouble", netlab::short(binary)));
    let opened = tally.part("browser", browser);
    tally.add(beside.join().map_err(|_| anyhow::anyhow!("budgets and fuzz targets ended in a panic"))?);
    opened?;
    let took: Vec<String> = tally.took.iter().map(|(name, took)| format!("{name} {} s", took.as_secs())).collect();
    eprintln!("took: {}", took.join(", "));
    println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped);
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn console(tally: &mut Tally) -> anyhow::Result<()> {
    demo::build_console()?;
    tally.one("console types", shell::run(shell::command("npm", "web").args(["run", "typecheck", "--silent"])));
    let (ok, text) = shell::capture(shell::command("npm", "web").args(["test", "--silent"]).env("NO_COLOR", "1"))?;
    // vitest closes with "      Tests  1 failed | 12 passed (13)".
    let line = text.lines().rev().find(|l| l.trim_start().starts_with("Tests ")).unwrap_or_default();
    let (passed, failed) = (number_before(line, "passed"), number_before(line, "failed"));
    tally.passed += passed;
    tally.failed += failed.max(u64::from(!ok));
    eprintln!("{}", if ok { line } else { &text });
    Ok(())
}

fn rust(tally: &mut Tally) -> anyhow::Result<()> {
    tally.part("clippy", |tally| {
        tally.one(
            "clippy",
            shell::run(shell::command("cargo", ".").args([
                "clippy",
                "--quiet",
                "--workspace",
                "--all-targets",
                "--features",
                PDF,
                "--",
                "-D",
                "warnings",
            ])),
        );
    });
    tally.one("formatting", shell::run(shell::command("cargo", ".").args(["fmt", "--all", "--check"])));
    let postgres = tools::Postgres::start().context("start PostgreSQL")?;
    let mut nextest = shell::command("cargo", ".");
    nextest.args([
        "nextest",
        "run",
        "--workspace",
        "--features",
        PDF,
        "--no-fail-fast",
        "--success-output",
        "final",
        "--status-level",
        "slow",
        "--color",
        "never",
    ]);
    nextest.env("ANLAN_TEST_POSTGRES", &postgres.url);
    let (ok, text) = tally.part("Rust tests with their build", |_| shell::capture(&mut nextest))?;
    // nextest closes with "     Summary [   1.2s] 120 tests run: 119 passed (1 slow), 1 failed, 0 skipped".
    let line = text.lines().rev().find(|l| l.trim_start().starts_with("Summary ")).unwrap_or_default();
    tally.passed += number_before(line, "passed");
    tally.failed += (number_before(line, "failed") + number_before(line, "timed out")).max(u64::from(!ok));
    // A test that could not run for want of data says "skipped: N" and passes.
    let skipped: u64 =
        text.lines().filter_map(|l| l.trim().strip_prefix("skipped: ")).filter_map(|n| n.split(' ').next()?.parse::<u64>().ok()).sum();
    tally.skipped += skipped + number_before(line, "skipped");
    for said in text.lines().filter(|l| l.trim_start().starts_with("figure: ")) {
        eprintln!("{}", said.trim_start());
    }
    eprintln!("{}", if ok { line } else { &text });
    Ok(())
}

/// Instructions of the hot path (crates/budget), in the release profile: what debug builds take says nothing.
fn budgets(tally: &mut Tally) {
    if !tools::has_valgrind() {
        eprintln!("skipped: 1 instruction budgets, valgrind is not installed");
        tally.skipped += 1;
        return;
    }
    tally.one(
        "instruction budgets",
        shell::run(shell::command("cargo", ".").args(["run", "--quiet", "--release", "--package", "anlan-budget"])),
    );
}

fn fuzz(tally: &mut Tally) {
    let dir = shell::target_dir().join("fuzz");
    let build = || {
        let mut build = shell::command("cargo", "fuzz");
        build
            .args(["build", "--quiet", "--release", "--target", env!("XTASK_HOST")])
            .env("CARGO_TARGET_DIR", &dir)
            .env("RUSTFLAGS", FUZZ_FLAGS);
        shell::run(&mut build)
    };
    let built = build();
    let failed = built.is_err();
    tally.one("fuzz targets build", built);
    if failed {
        return;
    }
    for target in FUZZ_TARGETS {
        let corpus = shell::target_dir().join("fuzz-corpus").join(target);
        let run = || {
            std::fs::create_dir_all(&corpus)?;
            let mut run = Command::new(dir.join(env!("XTASK_HOST")).join("release").join(target));
            run.arg(&corpus)
                .arg(format!("-max_total_time={FUZZ_S}"))
                .args(["-max_len=4096", "-print_final_stats=0"])
                .current_dir(dir.as_path());
            let (ok, text) = shell::capture(&mut run)?;
            anyhow::ensure!(ok, "{}", text.lines().rev().take(30).collect::<Vec<_>>().join("\n"));
            Ok(())
        };
        tally.one(&format!("fuzz {target}"), run());
    }
}

/// A demo of the built binary, killed when dropped.
struct Demo {
    child: Child,
    data: std::path::PathBuf,
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

fn browser(tally: &mut Tally) -> anyhow::Result<()> {
    // The binary that the Rust tests have just used; building it alone would select other features and compile everything again.
    let data = std::env::temp_dir().join(format!("anlan-browser-{}", std::process::id()));
    let mut command = Command::new(shell::target_dir().join("debug/anlan"));
    command.arg("demo").arg("--data").arg(&data).env("ANLAN_HTTP__LISTEN", "127.0.0.1:0").env("ANLAN_MQTT__LISTEN", "127.0.0.1:0");
    command.env("ANLAN_PACKS__DIR", shell::root().join("packs"));
    command.env("ANLAN_JT808__LISTEN", "127.0.0.1:0").env("ANLAN_LOG__FILTER", "warn").stdout(Stdio::piped());
    let mut demo = Demo { child: command.spawn().context("start the demo")?, data };
    let stdout = demo.child.stdout.take().context("stdout of the demo")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let ready: serde_json::Value = serde_json::from_str(&line).context("the ready line of the demo")?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let user = |role: &str| ready["users"].as_array().into_iter().flatten().find(|u| u["role"] == role).cloned().unwrap_or_default();
    let (duty, admin, supervisor) = (user("duty_officer"), user("administrator"), user("supervisor"));
    std::thread::sleep(Duration::from_secs(5));
    let shots = shell::target_dir().join("screenshots");
    let mut run = shell::command("node", "web");
    run.args(["e2e/run.mjs", "--url", &text(&ready["http"]), "--user", &text(&duty["name"]), "--password", &text(&duty["password"])]);
    run.args([
        "--register",
        &text(&supervisor["name"]),
        "--register-password",
        &text(&supervisor["password"]),
        "--people",
        &ready["users"].to_string(),
    ]);
    run.args(["--admin", &text(&admin["name"]), "--admin-password", &text(&admin["password"]), "--shots"]).arg(shots);
    let (ok, output) = shell::capture(&mut run)?;
    let line = output.lines().rev().find(|l| l.contains(" passed, ")).unwrap_or_default();
    tally.passed += number_before(line, "passed");
    tally.failed += number_before(line, "failed").max(u64::from(!ok));
    eprintln!("{}", if ok { line } else { &output });
    Ok(())
}

/// The number that stands before `word` in `line`: 12 for `12 passed`.
fn number_before(line: &str, word: &str) -> u64 {
    let Some(at) = line.find(&format!(" {word}")) else { return 0 };
    line[..at].rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::number_before;

    #[test]
    fn counts_are_read_from_the_closing_lines_of_the_runners() {
        let nextest = "     Summary [  12.345s] 120 tests run: 118 passed (1 slow), 2 failed, 3 skipped";
        assert_eq!([number_before(nextest, "passed"), number_before(nextest, "failed"), number_before(nextest, "skipped")], [118, 2, 3]);
        assert_eq!(number_before("      Tests  1 failed | 12 passed (13)", "passed"), 12);
        assert_eq!(number_before("4 passed, 0 failed", "passed"), 4);
        assert_eq!(number_before("nothing", "passed"), 0);
    }
}
