//! Section `archive_day`: a civil day of W through the node into Parquet, and the same figures three times: from what was sent, from
//! `anlan archive verify`, and from DuckDB, which reads the files alone.
//!
//! Three rounds: the day; what came late for it and corrections of archived values; the merge of both parts. A difference fails the section.
//! Start at [`day`].

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anlan_sim::workload::{Sample, Shape, Workload};
use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::node::{City, Node, provision};
use crate::process::{Process, cpu_s, peak_rss};
use crate::report::{Goal, Line};
use crate::wave::{Target, send_all};
use crate::{Options, fresh_dir, now_ms};

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
/// The node archives what has been over for seven days (`archive.after_days`); this one is.
const DAYS_AGO: i64 = 9;
const STEPS_PER_BATCH: usize = 100;
/// The station whose line is down from 03:00 to 05:00: of the first hour nothing ever comes, the second one it had kept and sends later.
const SILENT: usize = 0;
/// One sample in so many comes when its day is archived.
const LATE: u64 = 1_000;
/// One in so many is corrected then.
const CORRECTED: u64 = 5_000;

/// What the archive must hold: rows, their exact sum in millionths, and the documented hash with quality and flags left out, as neither is
/// part of what was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Truth {
    rows: u64,
    millionths: i128,
    hash: u128,
    /// The same of the newest revisions.
    newest_rows: u64,
    newest_millionths: i128,
}

impl Truth {
    fn add(&mut self, point: i64, at_us: i64, millionths: i128, revision: i128) {
        let left = (i128::from(point) * 1_000_003 + i128::from(at_us)).rem_euclid(2_147_483_647);
        let right = (millionths + 31 * revision).rem_euclid(2_147_483_629);
        self.rows += 1;
        self.millionths += millionths;
        self.hash += (left * right).unsigned_abs();
    }
}

/// What a day's samples become.
enum Fate {
    /// Nothing: the line was down.
    Gone,
    /// Sent when the day is archived.
    Later,
    /// Sent at once, and once more with another value when the day is archived.
    Corrected,
    /// Sent at once.
    Now,
}

fn fate(sample: &Sample, n: u64, start_ms: i64, shape: &Shape) -> Fate {
    let hour = (sample.at_ms - start_ms) / HOUR_MS;
    match (sample.point as usize / shape.points_per_station, hour) {
        (SILENT, 3) => Fate::Gone,
        (SILENT, 4) => Fate::Later,
        _ if n.is_multiple_of(LATE) => Fate::Later,
        _ if n % CORRECTED == 7 => Fate::Corrected,
        _ => Fate::Now,
    }
}

/// What `anlan archive …` printed, and what it took.
struct Ran {
    said: Value,
    took: Duration,
    cpu_s: f64,
    peak_mb: f64,
}

/// Runs a subcommand of `anlan archive` to its end and watches it.
fn archive(anlan: &Path, data: &Path, root: &Path, words: &[&str], compact_parts: &str) -> anyhow::Result<Ran> {
    let mut command = Command::new(anlan);
    command.arg("archive").args(words).arg("--data").arg(data).env("ANLAN_LOG__FILTER", "error");
    command.env("ANLAN_ARCHIVE__URL", root).env("ANLAN_ARCHIVE__COMPACT_PARTS", compact_parts).stdout(Stdio::piped());
    let begun = Instant::now();
    let mut process = Process::start(&mut command)?;
    let mut stdout = process.stdout()?;
    let said = std::thread::spawn(move || std::io::read_to_string(&mut stdout));
    let (mut cpu, mut peak) = (0.0, 0);
    // A process that has ended keeps its CPU time until it is waited for; its memory is gone with it.
    while !said.is_finished() {
        std::thread::sleep(Duration::from_millis(20));
        cpu = cpu_s(process.pid()).unwrap_or(cpu);
        peak = peak_rss(process.pid()).unwrap_or(peak);
    }
    let took = begun.elapsed();
    let said = said.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
    let said: Value = serde_json::from_str(&said).with_context(|| format!("anlan archive {}: {said:?}", words.join(" ")))?;
    Ok(Ran { said, took, cpu_s: cpu, peak_mb: peak as f64 / 1_048_576.0 })
}

/// A Python with DuckDB.
fn duckdb() -> Result<PathBuf, String> {
    let named = std::env::var_os("ANLAN_PYTHON").map(PathBuf::from);
    let fits = |python: &PathBuf| Command::new(python).args(["-c", "import duckdb"]).output().is_ok_and(|o| o.status.success());
    let found = named.into_iter().chain([PathBuf::from("python3")]).find(fits);
    found.ok_or_else(|| "no python3 with duckdb; pip install duckdb, or name one that has it in ANLAN_PYTHON".to_owned())
}

/// What DuckDB finds in the files of the day: the documented hash, and the rest.
fn from_outside(python: &Path, root: &Path, day: &str) -> anyhow::Result<(String, Truth, Duration)> {
    const SCRIPT: &str = r"
import sys, duckdb
root, day = sys.argv[1], sys.argv[2]
db = duckdb.connect()
db.execute('SET enable_progress_bar = false')
db.execute(f'''
CREATE VIEW stored AS
SELECT *, round(value * 1e6)::HUGEINT AS millionths,
       ((point::HUGEINT * 1000003 + epoch_us(event_at)) % 2147483647 + 2147483647) % 2147483647 AS place
FROM read_parquet('{root}/readings/day={day}/region=*/*.parquet')''')
rows = db.execute('''
SELECT count(*), sum(millionths),
       sum(place * (((millionths + 31 * revision + 1009 * (65536 * quality + flags)) % 2147483629 + 2147483629) % 2147483629)),
       sum(place * (((millionths + 31 * revision) % 2147483629 + 2147483629) % 2147483629))
FROM stored''').fetchone()
newest = db.execute('''
SELECT count(*), sum(millionths)
FROM (SELECT millionths FROM stored QUALIFY row_number() OVER (PARTITION BY point, event_at ORDER BY revision DESC) = 1)''').fetchone()
print(*rows, *newest)
";
    let begun = Instant::now();
    let output = Command::new(python).args(["-c", SCRIPT]).arg(root).arg(day).output()?;
    ensure!(output.status.success(), "DuckDB: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let words: Vec<&str> = text.split_whitespace().collect();
    let [rows, sum, documented, hash, newest_rows, newest_sum] = words[..] else { anyhow::bail!("DuckDB says {text:?}") };
    let truth = Truth {
        rows: rows.parse()?,
        millionths: sum.parse()?,
        hash: hash.parse()?,
        newest_rows: newest_rows.parse()?,
        newest_millionths: newest_sum.parse()?,
    };
    Ok((documented.to_owned(), truth, begun.elapsed()))
}

/// The three figures agree; how long the check and DuckDB took.
fn agree(options: &Options, data: &Path, root: &Path, day: &str, truth: &Truth) -> anyhow::Result<(Ran, Result<Duration, String>)> {
    let verified = archive(&options.anlan, data, root, &["verify", "--day", day], "4")?;
    ensure!(verified.said["findings"].as_array().is_some_and(Vec::is_empty), "verify: {}", verified.said);
    let told = verified.said["days"].as_array().into_iter().flatten().find(|d| d["table"] == "readings").context("the day's readings")?;
    ensure!(told["rows"] == truth.rows, "sent {} rows, the archive says {}", truth.rows, told["rows"]);
    let (sum, exact) = (told["sum"].as_f64().context("a sum")?, truth.millionths as f64 / 1e6);
    // A sum of ten million doubles in file order; the exact one is compared with DuckDB's.
    ensure!((sum - exact).abs() <= exact.abs() * 1e-9, "sent a sum of {exact}, the archive says {sum}");
    let outside = match duckdb() {
        Ok(python) => {
            let (documented, found, took) = from_outside(&python, root, day)?;
            ensure!(found == *truth, "DuckDB finds {found:?}, sent was {truth:?}");
            ensure!(told["hash"] == documented.as_str(), "DuckDB's hash is {documented}, the archive says {}", told["hash"]);
            Ok(took)
        }
        Err(why) => Err(why),
    };
    Ok((verified, outside))
}

fn target(node: &Node, city: &City) -> Target {
    Target {
        address: node.http.trim_start_matches("http://").to_owned(),
        path: "/api/v2/write?precision=ms&backfill=1".to_owned(),
        authorization: city.gateways.iter().map(|(code, secret)| format!("Token {code}:{secret}")).collect(),
    }
}

/// See the module.
pub fn day(options: &Options, emit: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let dir = fresh_dir()?;
    let (data, root) = (dir.path().join("node"), dir.path().join("archive"));
    std::fs::create_dir(&data)?;
    let shape = Shape { stations: options.archive_stations, ..Shape::W2 };
    let mut workload = Workload::new(options.seed, shape);
    let node = Node::start(&options.anlan, &data, &[])?;
    let city = provision(&node, &workload)?;
    let ids = city.points.iter().map(|id| id.parse()).collect::<Result<Vec<i64>, _>>()?;
    let start_ms = (now_ms()? / DAY_MS - DAYS_AGO) * DAY_MS;
    let end_ms = start_ms + DAY_MS;
    let day = anlan_model::Timestamp::from_micros(start_ms * 1_000).to_string()[..10].to_owned();

    let (mut truth, mut later, mut corrections) = (Truth::default(), Vec::new(), Vec::new());
    let millionths = |workload: &Workload, s: &Sample| (workload.value(s) * 1e6).round() as i128;
    let (mut steps, mut n, mut made) = (0..DAY_MS / shape.period_ms, 0_u64, Vec::new());
    send_all(&target(&node, &city), &mut workload, |workload, samples| {
        for step in steps.by_ref().take(STEPS_PER_BATCH) {
            workload.step(start_ms + step * shape.period_ms, &mut made);
        }
        // A point's jitter may take it out of the day.
        for sample in made.drain(..).filter(|s| (start_ms..end_ms).contains(&s.at_ms)) {
            n += 1;
            match fate(&sample, n, start_ms, &shape) {
                Fate::Gone => continue,
                Fate::Later => {
                    later.push(sample);
                    continue;
                }
                Fate::Corrected => corrections.push(sample),
                Fate::Now => {}
            }
            truth.add(ids[sample.point as usize], sample.at_ms * 1_000, millionths(workload, &sample), 0);
            samples.push(sample);
        }
        !steps.is_empty()
    })?;
    (truth.newest_rows, truth.newest_millionths) = (truth.rows, truth.millionths);
    node.process.stop()?;

    let first = archive(&options.anlan, &data, &root, &["run"], "4")?;
    let bytes = first.said["bytes"].as_u64().context("bytes")?;
    let (_, outside) = agree(options, &data, &root, &day, &truth)?;
    let million = truth.rows as f64 / 1e6;
    emit(Line::new("archive.day", first.cpu_s / million, "CPU s/M").note(format!(
        "{} rows of {} points in {:.1} s",
        truth.rows,
        shape.points(),
        first.took.as_secs_f64()
    )));
    emit(
        Line::new("archive.bytes_per_reading", bytes as f64 / truth.rows as f64, "B").note("Parquet, labels and times of receipt included"),
    );
    emit(Line::new("archive.peak_rss", first.peak_mb, "MB"));

    // The day is archived: what the line had kept comes, and values are corrected.
    let node = Node::start(&options.anlan, &data, &[])?;
    let mut all = later.clone();
    let corrected: Vec<Sample> = corrections.iter().map(|s| Sample { digits: s.digits + 1, ..*s }).collect();
    all.extend(&corrected);
    send_all(&target(&node, &city), &mut workload, |_, samples| {
        samples.append(&mut all);
        false
    })?;
    node.process.stop()?;
    for s in &later {
        let value = millionths(&workload, s);
        truth.add(ids[s.point as usize], s.at_ms * 1_000, value, 0);
        truth.newest_rows += 1;
        truth.newest_millionths += value;
    }
    for (old, new) in corrections.iter().zip(&corrected) {
        let (old, value) = (millionths(&workload, old), millionths(&workload, new));
        truth.add(ids[new.point as usize], new.at_ms * 1_000, value, 1);
        truth.newest_millionths += value - old;
    }
    let second = archive(&options.anlan, &data, &root, &["run"], "4")?;
    let added = (later.len() + corrected.len()) as u64;
    ensure!(second.said["late_rows"] == added, "{added} rows came late, the round says {}", second.said);
    let _ = agree(options, &data, &root, &day, &truth)?;
    emit(Line::new("archive.late", second.took.as_secs_f64(), "s").note(format!(
        "{} late rows and {} corrections of the archived day",
        later.len(),
        corrected.len()
    )));

    let third = archive(&options.anlan, &data, &root, &["run"], "2")?;
    ensure!(third.said["merged"].as_u64().is_some_and(|n| n > 0), "nothing was merged: {}", third.said);
    let (verified, _) = agree(options, &data, &root, &day, &truth)?;
    emit(Line::new("archive.merge", third.cpu_s / million, "CPU s/M").note(format!("{:.1} s", third.took.as_secs_f64())));
    emit(Line::new("archive.verify", verified.cpu_s / million, "CPU s/M").note(format!("{:.1} s", verified.took.as_secs_f64())));
    // Zero, or the section has failed above.
    let line = Line::new("archive.rows_that_differ", 0.0, "rows").goal(Goal::AtMost(0.0));
    emit(match outside {
        Ok(took) => line.note(format!(
            "counts, exact sums and hashes of {} rows equal to what was sent, in three rounds; DuckDB took {:.1} s",
            truth.rows,
            took.as_secs_f64()
        )),
        Err(why) => Line { skipped: Some(why), ..line.note("counts and sums equal to what was sent; not looked at by DuckDB") },
    });
    Ok(())
}
