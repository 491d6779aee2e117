//! Sections `w1` and `w2`: ingest over HTTP, sizes, memory, queries q1 to q5, restart; VictoriaMetrics gets the same bytes and the same questions.

use std::path::Path;
use std::time::{Duration, Instant};

use anlan_history::Haste;
use anlan_model::Timestamp;
use anlan_sim::workload::{COUNTIES, Shape, Workload, station_code};
use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::node::{City, Node, provision};
use crate::peer::{VICTORIA, Victoria};
use crate::process::{cpu_s, peak_rss, tree_bytes};
use crate::report::{Goal, Line};
use crate::wave::{Sent, Target, send};
use crate::{Options, fresh_dir, now_ms};

const HOUR_MS: i64 = 3_600_000;
/// After the last request a server may still write and merge: that belongs to the samples. Below this share of a core it is idle.
const IDLE: f64 = 0.05;
const SETTLE: Duration = Duration::from_secs(60);
const MB: f64 = 1_048_576.0;

/// What one server did with a workload.
struct Ingested {
    sent: Sent,
    cpu_per_million: f64,
    peak_mb: f64,
}

/// Sends and measures.
fn ingest(target: &Target, process: &crate::process::Process, run: &Run) -> anyhow::Result<Ingested> {
    let before = process.cpu_s()?;
    let mut workload = Workload::new(run.seed, run.shape);
    let sent = send(target, &mut workload, run.start_ms, run.steps, run.steps_per_batch)?;
    process.settle(IDLE, SETTLE)?;
    let cpu = process.cpu_s()? - before;
    Ok(Ingested { sent, cpu_per_million: cpu / (sent.samples as f64 / 1e6), peak_mb: peak_rss(process.pid())? as f64 / MB })
}

/// A workload's extent.
struct Run {
    seed: u64,
    shape: Shape,
    start_ms: i64,
    steps: i64,
    steps_per_batch: i64,
    backfill: bool,
}

impl Run {
    fn end_ms(&self) -> i64 {
        self.start_ms + self.steps * self.shape.period_ms
    }
    fn target(&self, node: &Node, city: &City) -> Target {
        Target {
            address: node.http.trim_start_matches("http://").to_owned(),
            path: format!("/api/v2/write?precision=ms{}", if self.backfill { "&backfill=1" } else { "" }),
            authorization: city.gateways.iter().map(|(code, secret)| format!("Token {code}:{secret}")).collect(),
        }
    }
}

/// Bytes of what stays when everything is sealed: blocks, their indexes, last values. The log is not counted: it is freed once backed up.
fn kept_bytes(history: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(history)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("log-") && !name.starts_with("checkpoint") {
            bytes += if entry.metadata()?.is_dir() { tree_bytes(&entry.path())? } else { entry.metadata()?.len() };
        }
    }
    Ok(bytes)
}

/// The first answer and the median of the following `n`, in ms; the CPU of process `pid` for each of all, in ms; the last answer.
fn timed<T>(pid: u32, n: usize, mut ask: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<(f64, f64, f64, T)> {
    let cpu = cpu_s(pid)?;
    let mut times = Vec::with_capacity(n + 1);
    let mut answer = None;
    for _ in 0..=n {
        let begun = Instant::now();
        answer = Some(ask()?);
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let cpu_ms = (cpu_s(pid)? - cpu) * 1e3 / (n + 1) as f64;
    let first = times.remove(0);
    times.sort_by(f64::total_cmp);
    Ok((first, times[n / 2], cpu_ms, answer.context("an answer")?))
}

/// The peer on the same workload, kept running for the questions; `Err` says why it is not there.
type Peer = Result<(Victoria, Ingested, tempfile::TempDir), String>;

fn peer(options: &Options, run: &Run) -> anyhow::Result<Peer> {
    if options.alone {
        return Ok(Err("left out (--alone)".to_owned()));
    }
    if let Err(absent) = Victoria::installed() {
        return Ok(Err(absent));
    }
    let dir = fresh_dir()?;
    let victoria = Victoria::start(dir.path())?;
    let target = Target { address: victoria.address.clone(), path: "/write?precision=ms".to_owned(), authorization: Vec::new() };
    let ingested = ingest(&target, &victoria.process, run)?;
    victoria.merge()?;
    Ok(Ok((victoria, ingested, dir)))
}

/// `f` of the peer, or why there is none.
fn theirs<T>(peer: &Peer, f: impl FnOnce(&Victoria, &Ingested) -> anyhow::Result<T>) -> anyhow::Result<Result<T, String>> {
    match peer {
        Ok((victoria, ingested, _)) => f(victoria, ingested).map(Ok),
        Err(why) => Ok(Err(why.clone())),
    }
}

fn size_of_peer(dir: &Path) -> anyhow::Result<f64> {
    Ok((tree_bytes(&dir.join("data"))? + tree_bytes(&dir.join("indexdb"))?) as f64)
}

/// Lines that both workloads have: CPU, memory, size.
fn ingest_lines(name: &str, peer: &Peer, ours: &Ingested, kept: u64, emit: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let n = ours.sent.samples as f64;
    let text = format!("{n:.0} samples, {} requests repeated", ours.sent.again);
    emit(
        Line::new(&format!("{name}.ingest_line"), ours.cpu_per_million, "CPU s/M")
            .against(VICTORIA, theirs(peer, |_, i| Ok(i.cpu_per_million))?)
            .goal(Goal::Ratio(0.25))
            .note(text),
    );
    let size = match peer {
        Ok((_, i, dir)) => Ok(size_of_peer(dir.path())? / i.sent.samples as f64),
        Err(why) => Err(why.clone()),
    };
    emit(Line::new(&format!("{name}.bytes_per_sample"), kept as f64 / n, "B").against(VICTORIA, size).goal(Goal::Ratio(0.85)));
    Ok(())
}

/// Seals what the log still holds of a node that was stopped, merges whatever can be merged, and tells the bytes of the log.
fn sealed(history: &Path, at_ms: i64) -> anyhow::Result<u64> {
    let (mut writer, reader) = anlan_history::open(history, anlan_history::Options::default())?;
    let now = Timestamp::from_micros(at_ms * 1_000);
    writer.seal_now(now)?;
    let mut keeper = writer.keeper();
    while keeper.step(now, Haste::Eager)?.is_some() {}
    Ok(reader.stats().log_bytes)
}

/// 100,000 points at 10 s for up to an hour, sent as fast as the server takes it; then q1, q4, q5, size and restart.
pub fn w1(options: &Options, emit: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let dir = fresh_dir()?;
    let node = Node::start(&options.anlan, dir.path(), &[])?;
    let (begun, cpu) = (Instant::now(), node.process.cpu_s()?);
    let city = provision(&node, &Workload::new(options.seed, Shape::W1))?;
    emit(
        Line::new("w1.provision", begun.elapsed().as_secs_f64(), "s")
            .goal(Goal::AtMost(60.0))
            .note(format!("100,000 points with limits over the API; {:.1} CPU s", node.process.cpu_s()? - cpu)),
    );
    let run = Run {
        seed: options.seed,
        shape: Shape::W1,
        // A whole hour that is over, so that aligned windows exist: live data, an hour or two old.
        start_ms: (now_ms()? / HOUR_MS - 1) * HOUR_MS,
        steps: options.w1_minutes * 6,
        steps_per_batch: 1,
        backfill: false,
    };
    let ours = ingest(&run.target(&node, &city), &node.process, &run)?;
    let peer = peer(options, &run)?;

    let agent = ureq::agent();
    let end_s = run.end_ms() as f64 / 1e3;
    let station = 500;
    let path = format!("/api/v1/points/latest?device={}", city.devices[station]);
    let (first, median, _, answer) = timed(node.process.pid(), 50, || node.get(&agent, &path))?;
    let q1_theirs = theirs(&peer, |v, _| {
        let query = format!("{{device=\"{}\"}}", station_code(station));
        let (first, median, _, answer) = timed(v.process.pid(), 50, || v.instant(&query, end_s + 9.0))?;
        ensure!(answer.len() == 100, "q1: the peer knows {} of 100 points", answer.len());
        Ok((first, median))
    })?;
    let n = serde_json::from_slice::<Value>(&answer)?["points"].as_array().map_or(0, Vec::len);
    ensure!(n == 100, "q1: {n} of 100 points");
    emit(
        Line::new("q1.latest_of_100", median, "ms")
            .against(VICTORIA, q1_theirs.clone().map(|(_, m)| m))
            .goal(Goal::Ratio(1.0 / 3.0))
            .note(firsts(first, q1_theirs.ok().map(|(f, _)| f))),
    );

    // SIGKILL: what is not on disk is lost, and the whole way back is measured.
    node.process.kill()?;
    let begun = Instant::now();
    let again = Node::start(&options.anlan, dir.path(), &[])?;
    let took = begun.elapsed().as_secs_f64();
    let per_100m = took / (ours.sent.samples as f64 / 1e8);
    emit(
        Line::new("w1.restart", per_100m, "s/100M")
            .goal(Goal::AtMost(5.0))
            .note(format!("{took:.1} s to the ready line after SIGKILL; {:.1} CPU s", again.process.cpu_s()?)),
    );
    emit(Line::new("w1.rss_after_restart", peak_rss(again.process.pid())? as f64 / MB, "MB"));
    again.process.stop()?;

    let history = dir.path().join("history");
    let log = sealed(&history, run.end_ms())?;
    ingest_lines("w1", &peer, &ours, kept_bytes(&history)?, emit)?;
    emit(
        Line::new("w1.peak_rss", ours.peak_mb, "MB")
            .against(VICTORIA, theirs(&peer, |_, i| Ok(i.peak_mb))?)
            .goal(Goal::Ratio(0.5))
            .goal(Goal::AtMost(150.0)),
    );
    emit(Line::new("w1.log_bytes_per_sample", log as f64 / ours.sent.samples as f64, "B").note("segments not yet freed"));
    let node = Node::start(&options.anlan, dir.path(), &[])?;
    many_points(&node, &run, &peer, emit)
}

fn firsts(ours: f64, theirs: Option<f64>) -> String {
    theirs.map_or_else(|| format!("first {ours:.1}"), |theirs| format!("first {ours:.1}, peer's first {theirs:.1}"))
}

/// q4 and q5 over HTTP: by decoding every sample, and on aligned windows from the statistics of the blocks. CPU of both servers.
fn many_points(node: &Node, run: &Run, peer: &Peer, emit: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let agent = ureq::agent();
    let (from, to) = (run.start_ms, run.end_ms());
    let range = format!("[{}s]", (to - from) / 1_000);
    let at_s = to as f64 / 1e3 - 0.001;
    let q4 = theirs(peer, |v, _| {
        let query = format!("max(max_over_time({{county=\"{}\"}}{range}))", COUNTIES[0]);
        timed(v.process.pid(), 4, || v.instant(&query, at_s))
    })?;
    let q5 = theirs(peer, |v, _| {
        let query = format!("topk(10, max_over_time({{county=~\".+\"}}{range}))");
        timed(v.process.pid(), 2, || v.instant(&query, at_s))
    })?;
    let county = format!("/api/v1/points/rollup?step=1h&region={}", COUNTIES[0]);
    for (name, path, rows, theirs) in
        [("q4.hourly_max_of_county", county.as_str(), "rollup", &q4), ("q5.top10_of_all", "/api/v1/points/top?n=10", "points", &q5)]
    {
        let cpu = theirs.as_ref().map(|t| t.2).map_err(Clone::clone);
        // From a minute behind the hour no statistic fits: a point that has no sample before that is rare.
        for (way, from, goal, n) in [("decoded", from + 60_000, 0.2, 2), ("aligned", from, 0.02, 8)] {
            let joint = if path.contains('?') { '&' } else { '?' };
            let path = format!("{path}{joint}from={}&to={}", rfc(from), rfc(to));
            let (first, median, cpu_ms, answer) = timed(node.process.pid(), n, || node.get(&agent, &path))?;
            let answer: Value = serde_json::from_slice(&answer)?;
            let found = answer[rows].as_array().context("rows")?;
            let greatest = found.iter().filter_map(|row| row["max"].as_f64()).fold(f64::MIN, f64::max);
            let text = format!("{} rows, median {median:.1} ms, {}", found.len(), firsts(first, theirs.as_ref().ok().map(|t| t.0)));
            let agree =
                theirs.as_ref().ok().map(|t| t.3.iter().filter_map(|(_, v)| v.first()).map(|(_, max)| *max).fold(f64::MIN, f64::max));
            if let (Some(max), "aligned") = (agree, way) {
                ensure!((max - greatest).abs() < 1e-6, "{name}: the peer finds {max}, we find {greatest}");
            }
            emit(Line::new(&format!("{name}.{way}"), cpu_ms, "CPU ms").against(VICTORIA, cpu.clone()).goal(Goal::Ratio(goal)).note(text));
        }
    }
    Ok(())
}

fn rfc(ms: i64) -> String {
    Timestamp::from_micros(ms * 1_000).to_string()
}

/// 200 points at 10 s for up to a week, as back-fill; then q2 and q3.
pub fn w2(options: &Options, emit: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let dir = fresh_dir()?;
    let shape = Shape::W2;
    let node = Node::start(&options.anlan, dir.path(), &[])?;
    let city = provision(&node, &Workload::new(options.seed, shape))?;
    let run = Run {
        seed: options.seed,
        shape,
        start_ms: (now_ms()? / HOUR_MS - options.w2_hours) * HOUR_MS,
        steps: options.w2_hours * 360,
        steps_per_batch: 100,
        backfill: true,
    };
    let ours = ingest(&run.target(&node, &city), &node.process, &run)?;
    let peer = peer(options, &run)?;

    let agent = ureq::agent();
    let point = 42;
    let (from, to) = (run.start_ms + 24 * HOUR_MS.min((run.end_ms() - run.start_ms) / 48), run.end_ms());
    let day_end = (from + 24 * HOUR_MS).min(to);
    let head = format!("{{device=\"{}\",p=\"{point:02}\"}}", station_code(0));

    let path = format!("/api/v1/points/{}/readings/columns?from={}&to={}&limit=10000", city.points[point], rfc(from), rfc(day_end));
    let (first, median, _, answer) = timed(node.process.pid(), 30, || node.get(&agent, &path))?;
    let n = serde_json::from_slice::<Value>(&answer)?["value"].as_array().map_or(0, Vec::len);
    let q2 = theirs(&peer, |v, _| {
        let query = anlan_sim::api::percent(&head);
        let path = format!("/api/v1/export?match[]={query}&start={}&end={}", from as f64 / 1e3, (day_end - 1) as f64 / 1e3);
        let (first, median, _, answer) = timed(v.process.pid(), 30, || v.get(&path))?;
        let found = serde_json::from_slice::<Value>(&answer)?["values"].as_array().map_or(0, Vec::len);
        ensure!(found == n, "q2: the peer has {found} samples, we have {n}");
        Ok((first, median))
    })?;
    emit(
        Line::new("q2.raw_day", median, "ms")
            .against(VICTORIA, q2.clone().map(|(_, m)| m))
            .goal(Goal::Ratio(1.0 / 3.0))
            .note(format!("{n} readings, {}", firsts(first, q2.ok().map(|(f, _)| f)))),
    );

    let path = format!("/api/v1/points/{}/rollup/columns?step=60s&from={}&to={}", city.points[point], rfc(run.start_ms), rfc(to));
    let (first, median, _, answer) = timed(node.process.pid(), 20, || node.get(&agent, &path))?;
    let n = serde_json::from_slice::<Value>(&answer)?["at_us"].as_array().map_or(0, Vec::len);
    let q3 = theirs(&peer, |v, _| {
        let query = format!("avg_over_time({head}[1m])");
        let (first, median, _, answer) =
            timed(v.process.pid(), 20, || v.range(&query, run.start_ms as f64 / 1e3 + 60.0, to as f64 / 1e3, "60s"))?;
        let found = answer.first().map_or(0, |(_, values)| values.len());
        ensure!(found.abs_diff(n) <= 1, "q3: the peer finds {found} minutes, we find {n}");
        Ok((first, median))
    })?;
    emit(
        Line::new("q3.minute_means_of_week", median, "ms")
            .against(VICTORIA, q3.clone().map(|(_, m)| m))
            .goal(Goal::Ratio(1.0 / 3.0))
            .note(format!("{n} minutes, {}", firsts(first, q3.ok().map(|(f, _)| f)))),
    );

    node.process.stop()?;
    let history = dir.path().join("history");
    sealed(&history, run.end_ms())?;
    ingest_lines("w2", &peer, &ours, kept_bytes(&history)?, emit)
}

/// CPU seconds per million samples of the peer on the first `steps` periods of W1, or why there is none.
pub fn cpu_of_peer(options: &Options, start_ms: i64, steps: i64) -> anyhow::Result<Result<f64, String>> {
    let run = Run { seed: options.seed, shape: Shape::W1, start_ms, steps, steps_per_batch: 1, backfill: false };
    theirs(&peer(options, &run)?, |_, ingested| Ok(ingested.cpu_per_million))
}
