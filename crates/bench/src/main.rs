//! `cargo xtask bench`: the built binary beside its peers, on the same machine in the same run.
//!
//! What is compared is **CPU seconds of the server process per million samples** and ratios, never a lone wall time: machines are shared and noisy.
//! Clients run on the same cores and are not counted. Sources of goals and workload: docs/performance.md. Start at [`SECTIONS`].

mod archive;
mod children;
mod engine;
mod history;
mod link;
mod live;
mod mqtt;
mod node;
mod peer;
mod process;
mod records;
mod report;
mod vehicles;
mod wave;
mod year;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use report::Line;

/// Measures everything and prints a table.
#[derive(Parser)]
pub struct Options {
    /// The server's binary.
    #[arg(long)]
    anlan: PathBuf,
    /// Also written here: `{"results":[…]}`.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Only sections whose name contains this.
    #[arg(long)]
    only: Vec<String>,
    /// Minutes of W1 (100,000 points at 10 s); up to 60.
    #[arg(long, default_value_t = 60)]
    w1_minutes: i64,
    /// Hours of W2 (200 points at 10 s); 168 is the week.
    #[arg(long, default_value_t = 168)]
    w2_hours: i64,
    /// Stations of 100 points whose day is archived; 1 to 100.
    #[arg(long, default_value_t = 10)]
    archive_stations: usize,
    /// Records of the register that is searched.
    #[arg(long, default_value_t = 100_000)]
    records: usize,
    /// Readings that wait for the parent while the link is cut.
    #[arg(long, default_value_t = 5_000_000)]
    backlog: usize,
    /// Idle children of one parent; up to 2,000.
    #[arg(long, default_value_t = 1_000)]
    children: usize,
    /// JT/T 808 connections.
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// Same seed, same samples.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Leave the peers out.
    #[arg(long)]
    alone: bool,
}

type Section = fn(&Options, &mut dyn FnMut(Line)) -> anyhow::Result<()>;

/// What there is to measure, in order.
const SECTIONS: &[(&str, Section)] = &[
    ("w1", history::w1),
    ("w2", history::w2),
    ("archive_day", archive::day),
    ("batches", engine::batches),
    ("rules", engine::rules_rate),
    ("jt808_decode", engine::jt808_decode),
    ("mqtt", mqtt::run),
    ("jt808_connections", vehicles::run),
    ("steady", live::run),
    ("year", year::run),
    ("records", records::run),
    ("link_backlog", link::backlog),
    ("link_children", children::run),
    ("link_levels", link::levels),
];

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("bench: {failure:#}");
            ExitCode::FAILURE
        }
    }
}

/// `false` if a section could not be measured.
fn run(options: &Options) -> anyhow::Result<bool> {
    anyhow::ensure!((1..=60).contains(&options.w1_minutes), "--w1-minutes is 1 to 60");
    anyhow::ensure!((1..=168).contains(&options.w2_hours), "--w2-hours is 1 to 168");
    anyhow::ensure!((1..=100).contains(&options.archive_stations), "--archive-stations is 1 to 100");
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|o| name.contains(o.as_str()));
    anyhow::ensure!(
        SECTIONS.iter().any(|(name, _)| wanted(name)),
        "nothing is named like that; there is: {}",
        SECTIONS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    );
    let (mut lines, mut whole) = (Vec::new(), true);
    println!("{}", report::HEADER);
    for (name, section) in SECTIONS.iter().filter(|(name, _)| wanted(name)) {
        let mut take = |line: Line| {
            println!("{}", report::row(&line));
            lines.push(line);
        };
        if let Err(failure) = section(options, &mut take) {
            whole = false;
            take(Line { name: (*name).to_owned(), skipped: Some(format!("failed: {failure:#}")), ..Line::default() });
        }
    }
    if let Some(file) = &options.json {
        let json = serde_json::to_vec_pretty(&serde_json::json!({ "results": lines }))?;
        std::fs::write(file, json).with_context(|| format!("write {}", file.display()))?;
    }
    let judged = |met: bool| lines.iter().filter(|l| l.met == Some(met)).count();
    println!("bench: {} lines, {} goals met, {} missed", lines.len(), judged(true), judged(false));
    Ok(whole)
}

/// A fresh directory on the disk of the temporary files; a memory disk would make every sync free.
fn fresh_dir() -> anyhow::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix("anlan-bench-").tempdir().context("make a directory")
}

/// Milliseconds since 1970.
fn now_ms() -> anyhow::Result<i64> {
    Ok(i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis())?)
}
