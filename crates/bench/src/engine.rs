//! Sections that need no server: `batches` (the engine fed in process), `rules`, `jt808_decode`. CPU is this process's own.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use anlan_app::clock::AppClock;
use anlan_app::settings::History;
use anlan_app::telemetry::engine;
use anlan_app::telemetry::pressure::{Class, Pressure};
use anlan_app::telemetry::shard::{Bound, BoundReading, SubjectConfig, TimeBounds};
use anlan_app::telemetry::{Latest, LogStatus};
use anlan_domain::alarm::{Machine, Rule, Sample, Terms};
use anlan_model::{AlarmId, Level, PointId, RuleKind, Subject, Timestamp};
use anlan_protocols::jt808::{Frames, Item, Message, Position, Version, encode};
use anlan_sim::workload::{Shape, Workload};
use anyhow::{Context as _, ensure};

use crate::peer::VICTORIA;
use crate::process::cpu_s;
use crate::report::{Goal, Line};
use crate::{Options, fresh_dir, history, now_ms};

/// Periods of W1 that the engine is fed: three million samples, which fit in memory before the clock starts.
const STEPS: i64 = 30;
/// Shards, as the engine has them.
const SHARDS: u16 = 64;

fn limit(id: &str, kind: RuleKind, level: Level, threshold: f64, deadband: f64) -> Rule {
    let terms = Terms {
        id: id.to_owned(),
        kind,
        level,
        bit: 0,
        deadband,
        on_delay_us: 0,
        off_delay_us: 0,
        unit: String::new(),
        source: "workload W (invented)".to_owned(),
        confidence: "product".to_owned(),
    };
    Rule::new(threshold, None, terms)
}

fn rules(workload: &Workload, point: usize) -> Vec<Rule> {
    let (hh, h, deadband) = workload.limits(point);
    vec![limit("hh", RuleKind::Hh, Level::Red, hh, deadband), limit("h", RuleKind::H, Level::Yellow, h, deadband)]
}

/// Batches of a station's 100 points straight into the engine: rules, log, sync, sealing; no HTTP and no text. What a gateway link costs behind its
/// codec.
pub fn batches(options: &Options, emit: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let shape = Shape::W1;
    let mut workload = Workload::new(options.seed, shape);
    let start_ms = now_ms()? - STEPS * shape.period_ms - 20_000;
    let shard_of = |station: usize| (station % usize::from(SHARDS)) as u16;
    let id = |point: usize| PointId::new(point as i64 + 1);
    let configs: Vec<(u16, SubjectConfig)> = (0..shape.points())
        .map(|point| {
            let config =
                SubjectConfig { subject: Subject::Point(id(point)), rules: rules(&workload, point).into(), range: None, newest: None };
            (shard_of(point / shape.points_per_station), config)
        })
        .collect();
    let (kept, answered) = mpsc::channel::<bool>();
    let mut all = Vec::new();
    let mut samples = Vec::new();
    let mut n_samples = 0;
    for step in 0..STEPS {
        samples.clear();
        workload.step(start_ms + step * shape.period_ms, &mut samples);
        samples.sort_by_key(|s| s.point as usize / shape.points_per_station);
        n_samples += samples.len();
        for part in samples.chunk_by(|a, b| a.point as usize / shape.points_per_station == b.point as usize / shape.points_per_station) {
            let station = part[0].point as usize / shape.points_per_station;
            let reading = |s: &anlan_sim::workload::Sample| BoundReading {
                point: id(s.point as usize),
                device_at: Some(Timestamp::from_micros(s.at_ms * 1_000)),
                value: workload.value(s),
                quality: s.quality,
            };
            let kept = kept.clone();
            let bound = Bound {
                source: anlan_sim::workload::station_code(station),
                enterprise: None,
                received_at: Timestamp::from_micros(now_ms()? * 1_000),
                readings: part.iter().map(reading).collect(),
                positions: Vec::new(),
                effects: Vec::new(),
                backfill: false,
                // The receiver lives until every answer is in.
                reply: Box::new(move |answer| _ = kept.send(answer.is_ok())),
            };
            all.push((shard_of(station), bound));
        }
    }
    let dir = fresh_dir()?;
    let (_projected, projected) = tokio::sync::watch::channel(0);
    let (opened, reader) = engine::open(
        dir.path(),
        TimeBounds::default(),
        anlan_app::rules::road().context("the built-in road rules")?.drift.is,
        History::default(),
        Arc::new(Pressure::new(usize::MAX, usize::MAX)),
        Arc::new(AppClock::real()),
        Arc::new(Latest::default()),
        Arc::new(LogStatus::default()),
        projected,
    )?;
    let handle = opened.handle.clone();
    let thread = std::thread::spawn(move || opened.engine.run());
    handle.configure(configs);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(handle.settle()).context("the engine runs")?;

    let own = std::process::id();
    let before = cpu_s(own)?;
    let n_batches = all.len();
    let mut waiting = 0;
    for (shard, bound) in all {
        handle.offer(shard, Class::Ruled, bound);
        waiting += 1;
        // As a link does: at most a few thousand batches without an answer.
        while waiting > 4_000 {
            ensure!(answered.recv_timeout(Duration::from_secs(60)).context("the engine answers")?, "a batch was refused");
            waiting -= 1;
        }
    }
    for _ in 0..waiting {
        ensure!(answered.recv_timeout(Duration::from_secs(60)).context("the engine answers")?, "a batch was refused");
    }
    let cpu = cpu_s(own)? - before;
    handle.stop();
    thread.join().map_err(|_| anyhow::anyhow!("the engine panicked"))?;
    let peer = history::cpu_of_peer(options, start_ms, STEPS)?;
    emit(
        Line::new("batches.in_process", cpu / (n_samples as f64 / 1e6), "CPU s/M")
            .against(VICTORIA, peer)
            .goal(Goal::Ratio(1.0 / 15.0))
            .note(format!("{n_batches} batches of 100, {} records", reader.stats().lsn.0)),
    );
    Ok(())
}

/// One rule machine per point with two limits, samples in order, as the shard calls it.
pub fn rules_rate(options: &Options, emit: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let shape = Shape { stations: 9, ..Shape::W1 };
    let mut workload = Workload::new(options.seed, shape);
    let mut machines: Vec<Machine> =
        (0..shape.points()).map(|p| Machine::new(Subject::Point(PointId::new(p as i64 + 1)), rules(&workload, p), false)).collect();
    let mut raw = Vec::new();
    (0..400).for_each(|step| workload.step(1_795_392_000_000 + step * shape.period_ms, &mut raw));
    let samples: Vec<(usize, Sample)> = raw
        .iter()
        .map(|s| {
            let at = Timestamp::from_micros(s.at_ms * 1_000);
            let usable = s.quality != anlan_model::Quality::Bad;
            (s.point as usize, Sample { at, heard_at: at, value: workload.value(s), bits: 0, usable })
        })
        .collect();
    let (mut out, mut n_ids, mut n) = (Vec::new(), 0u128, 0u64);
    let mut new_id = |_: Timestamp| {
        n_ids += 1;
        AlarmId::new(n_ids)
    };
    let before = cpu_s(std::process::id())?;
    // Each round is later than the one before, or the machines would rightly ignore it.
    for round in 0..20i64 {
        let later = round * 400 * shape.period_ms * 1_000;
        for (point, sample) in &samples {
            let at = sample.at.plus_us(later);
            machines[*point].sample(Sample { at, heard_at: at, ..*sample }, at, &mut new_id, &mut out);
            n += 1;
        }
    }
    let cpu = cpu_s(std::process::id())? - before;
    ensure!(!out.is_empty(), "some limit is broken in W");
    emit(Line::new("rules.samples_per_core_s", n as f64 / cpu, "1/s").note(format!("two limits each, {} changes", out.len())));
    Ok(())
}

/// The product's decoder on 0x0200 with four items: cutting, unescaping, checksum, body, validation.
pub fn jt808_decode(_: &Options, emit: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let mut stream = Vec::new();
    const FRAMES: usize = 10_000;
    for i in 0..FRAMES {
        let mut position =
            Position::at(24_350_000 + i as i32 * 7, 102_540_000 - i as i32 * 5, Timestamp::from_micros(1_795_392_000_000_000));
        position.status = 0b11;
        position.speed_tenth_kmh = 600;
        let position = position.with(Item::Odometer(123_456 + i as u32)).with(Item::RadioStrength(28));
        let phone = format!("100{i:08}");
        stream.push(encode::frames(&phone, Version::V2013, i as u16, &Message::Position(position))?.concat());
    }
    let bytes = stream.concat();
    let (rounds, mut whole) = (200, 0usize);
    let before = cpu_s(std::process::id())?;
    for _ in 0..rounds {
        let mut frames = Frames::new();
        // As a socket gives them.
        for read in bytes.chunks(4_096) {
            frames.push(read);
            for frame in frames.by_ref() {
                let (message, defects) = frame.map_err(|e| anyhow::anyhow!("{e}"))?.decode();
                whole += usize::from(matches!(message, Message::Position(_)) && defects.is_empty());
            }
        }
    }
    let cpu = cpu_s(std::process::id())? - before;
    ensure!(whole == rounds * FRAMES, "{whole} of {} frames were decoded without defects", rounds * FRAMES);
    emit(
        Line::new("jt808.decode_0200", whole as f64 / cpu, "frames/core s")
            .goal(Goal::AtLeast(5e6))
            .note(format!("{} bytes a frame", bytes.len() / FRAMES)),
    );
    Ok(())
}
