//! Drives the engine with many points and prints CPU, memory and sizes: `load [points] [minutes]`, default 100,000 points for 20 minutes at 10 s.
//!
//! The series are cheap stand-ins for workload W (PERFORMANCE): quantised walks with 1 % gaps, half of them with jitter. One sync per 10,000
//! readings, enterprises of 100 points, sealing in the background as in production.

use std::fs;
use std::time::Instant;

use anlan_history::{Options, Record, open};
use anlan_model::{Flags, PointId, Quality, Reading, Timestamp};

/// 2026-11-23T00:00:00Z.
const DAY: i64 = 1_795_392_000_000_000;

/// User and system CPU seconds of this process; the kernel counts in hundredths.
fn cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = stat.rsplit(')').next().unwrap_or("").split_whitespace().filter_map(|f| f.parse().ok()).collect();
    // After the name and the state letter: utime and stime are the 11th and 12th numbers.
    fields.get(10).zip(fields.get(11)).map_or(0.0, |(a, b)| (a + b) / 100.0)
}

/// Peak resident bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or("");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1).map(|a| a.parse::<i64>());
    let points = args.next().transpose()?.unwrap_or(100_000);
    let minutes = args.next().transpose()?.unwrap_or(20);
    let dir = std::env::temp_dir().join(format!("anlan-history-load-{}", std::process::id()));
    let (mut writer, reader) = open(&dir, Options::default())?;
    let mut random = 1u64;
    let mut values = vec![2_000i64; usize::try_from(points)?];
    let (mut n, mut making) = (0u64, 0.0);
    let begun = (Instant::now(), cpu());
    for step in 0..minutes * 6 {
        for (k, slice) in values.chunks_mut(10_000).enumerate() {
            let start = Instant::now();
            let mut records: Vec<Record> = Vec::with_capacity(100);
            let base = DAY + step * 10_000_000;
            let now = Timestamp::from_micros(base + 10_000_000 + k as i64 * 1_000_000);
            for (e, enterprise) in slice.chunks_mut(100).enumerate() {
                let mut readings = Vec::with_capacity(100);
                for (i, value) in enterprise.iter_mut().enumerate() {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let r = random >> 33;
                    if r.is_multiple_of(100) {
                        continue;
                    }
                    *value += (r / 128 % 5) as i64 - 2 + (2_000 - *value) / 64;
                    let point = k as i64 * 10_000 + e as i64 * 100 + i as i64;
                    let jitter = if i % 2 == 0 { (r / 1_024 % 61) as i64 * 1_000 - 30_000 } else { 0 };
                    let event_at = Timestamp::from_micros(base + point * 7_919 % 10_000 * 1_000 + jitter);
                    readings.push(Reading {
                        point: PointId::new(point + 1),
                        event_at,
                        device_at: Some(event_at),
                        received_at: now,
                        value: *value as f64 / if i % 2 == 0 { 10.0 } else { 100.0 },
                        quality: Quality::Good,
                        flags: Flags::empty(),
                        revision: 0,
                    });
                }
                n += readings.len() as u64;
                let shard = ((k * 100 + e) % 64) as u16;
                records.push(Record { shard, now, readings, positions: Vec::new(), notes: Vec::new() });
            }
            making += start.elapsed().as_secs_f64();
            for record in &records {
                writer.append(record)?;
            }
            writer.sync()?;
            writer.seal_if_due(now)?;
        }
    }
    let (wall, used) = (begun.0.elapsed().as_secs_f64(), cpu() - begun.1 - making);
    let head = reader.stats();
    let per_million = |s: f64| s / (n as f64 / 1e6);
    println!(
        "{n} readings of {points} points in {wall:.1} s: {:.3} CPU s per million with seals, peak {} MB, {head:?}",
        per_million(used),
        peak() >> 20
    );
    drop((writer, reader));
    let begun = (Instant::now(), cpu());
    let (mut writer, reader) = open(&dir, Options::default())?;
    let waiting = reader.stats().head_readings;
    println!("opened in {:.2} s with {waiting} readings to replay", begun.0.elapsed().as_secs_f64());
    let begun = (Instant::now(), cpu());
    writer.seal_now(Timestamp::from_micros(DAY + minutes * 60_000_000))?;
    println!(
        "sealed them in {:.2} s, {:.3} CPU s per million",
        begun.0.elapsed().as_secs_f64(),
        (cpu() - begun.1) / (waiting.max(1) as f64 / 1e6)
    );
    let stats = reader.stats();
    println!("{:.3} B per reading in blocks, {:.3} in the log", stats.block_bytes as f64 / n as f64, stats.log_bytes as f64 / n as f64);
    let begun = Instant::now();
    for point in 1..=points.min(1_000) {
        reader.rollup(PointId::new(point), 60_000_000, Timestamp::MIN, Timestamp::MAX)?;
    }
    println!("minute means of {} points: {:.1} ms", points.min(1_000), begun.elapsed().as_secs_f64() * 1e3);
    fs::remove_dir_all(&dir)?;
    Ok(())
}
