//! How many bytes a reading takes, on a small likeness of workload W2 (PERFORMANCE): printed, with a loose ceiling against accidents.
//!
//! `ANLAN_SIZE_HOURS=168 cargo nextest run -p anlan-history --test size --no-capture` makes it the whole week.

mod common;

use std::time::Instant;

use anlan_history::{Haste, Options};
use anlan_model::{PointId, Quality, Reading, Timestamp};
use common::{DAY, HOUR, reading, record, t};

/// Splitmix64: the same series on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// Uniform in [0, 1).
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
    /// Roughly normal, standard deviation 1.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

struct Series {
    mean: f64,
    value: f64,
    /// Per step of the walk, in quanta.
    sigma: f64,
    per_unit: f64,
    phase_us: i64,
    jitter: bool,
    bad: u32,
}

/// 200 points at 10 s: mean-reverting walks quantised to 0.1 or 0.01, half of them with ±30 ms jitter, bad bursts, 1 % missing, some late.
fn batches(hours: i64, stamp: impl Fn(&mut Random, i64, usize) -> i64) -> Vec<Vec<Reading>> {
    let mut random = Random(20_261_123);
    let mut points: Vec<Series> = (0..200u32)
        .map(|p| Series {
            mean: 20.0 + f64::from(p % 8) * 37.0,
            value: 20.0 + f64::from(p % 8) * 37.0,
            sigma: 0.6 + f64::from(p % 8) * 0.3,
            per_unit: if p % 2 == 0 { 10.0 } else { 100.0 },
            phase_us: (random.unit() * 10_000.0) as i64 * 1_000,
            jitter: p % 4 < 2,
            bad: 0,
        })
        .collect();
    let mut late: Vec<Reading> = Vec::new();
    let mut batches = Vec::new();
    for step in 0..hours * 360 {
        let at = DAY + step * 10_000_000;
        let mut batch = Vec::with_capacity(points.len());
        for (p, s) in points.iter_mut().enumerate() {
            s.value += (s.mean - s.value) * 0.02 + random.normal() * s.sigma / s.per_unit;
            let jitter = if s.jitter { (random.unit() * 61.0) as i64 * 1_000 - 30_000 } else { 0 };
            let fate = random.unit();
            let mut r = reading(p as i64 + 1, at + s.phase_us + jitter, ((s.value * s.per_unit).round()) / s.per_unit);
            r.received_at = t(stamp(&mut random, at, p));
            if fate < 0.0002 {
                s.bad = 20;
            }
            if s.bad > 0 {
                s.bad -= 1;
                r.quality = Quality::Bad;
            }
            if fate > 0.993 {
                continue;
            }
            if fate > 0.99 {
                late.push(r);
                continue;
            }
            batch.push(r);
        }
        if step % 30 == 29 {
            batch.append(&mut late);
        }
        batches.push(batch);
    }
    batches
}

fn measure(name: &str, hours: i64, stamp: impl Fn(&mut Random, i64, usize) -> i64) -> f64 {
    let dir = tempfile::tempdir().expect("makes");
    let (mut writer, reader) = anlan_history::open(dir.path(), Options::default()).expect("opens");
    let batches = batches(hours, stamp);
    let n: usize = batches.iter().map(Vec::len).sum();
    let begun = Instant::now();
    for (i, batch) in batches.into_iter().enumerate() {
        let now = DAY + i as i64 * 10_000_000;
        writer.append(&record(0, now, batch)).expect("appends");
        if i % 6 == 5 {
            writer.sync().expect("syncs");
            if (now + 10_000_000) % HOUR < 60_000_000 {
                writer.seal_now(t(now)).expect("seals");
            }
        }
    }
    writer.sync().expect("syncs");
    let ingest = begun.elapsed();
    writer.seal_now(t(DAY + hours * HOUR)).expect("seals");
    let stats = reader.stats();
    let each = |bytes: u64| bytes as f64 / n as f64;
    let begun = Instant::now();
    let rows: usize =
        (1..=200).map(|p| reader.readings(PointId::new(p), Timestamp::MIN, Timestamp::MAX, None, usize::MAX).expect("reads").len()).sum();
    let read = begun.elapsed();
    let begun = Instant::now();
    for p in 1..=200 {
        reader.rollup(PointId::new(p), 60_000_000, Timestamp::MIN, Timestamp::MAX).expect("rolls up");
    }
    let minutes = begun.elapsed();
    let begun = Instant::now();
    for p in 1..=200 {
        reader.rollup(PointId::new(p), HOUR, Timestamp::MIN, Timestamp::MAX).expect("rolls up");
    }
    let hourly = begun.elapsed();
    let begun = Instant::now();
    let mut keeper = writer.keeper();
    while keeper.step(t(DAY + (hours + 48) * HOUR), Haste::Eager).expect("merges").is_some() {}
    drop(keeper);
    let (merging, merged) = (begun.elapsed(), reader.stats());
    drop((writer, reader));
    let begun = Instant::now();
    anlan_history::open(dir.path(), Options::default()).expect("opens");
    println!(
        "{name}: {n} readings, blocks {:.3} B each, merged {:.3} in {merging:.0?}, log {:.3} B each, {} files; ingest {ingest:.0?}, read all {read:.0?}, minutes {minutes:.0?}, hours {hourly:.0?}, open {:.0?}",
        each(stats.block_bytes),
        each(merged.block_bytes),
        each(stats.log_bytes),
        stats.files,
        begun.elapsed()
    );
    assert_eq!(rows, n);
    assert_eq!(stats.head_readings, 0);
    each(stats.block_bytes)
}

#[test]
fn a_reading_takes_little_more_than_a_byte() {
    let hours = std::env::var("ANLAN_SIZE_HOURS").ok().and_then(|h| h.parse().ok()).unwrap_or(2);
    let gateway = measure("one arrival per batch", hours, |_, at, _| at + 10_400_000);
    let single = measure("one arrival per reading, to the ms", hours, |random, at, p| {
        at + 10_400_000 + p as i64 * 1_000 + (random.unit() * 9.0) as i64 * 1_000
    });
    assert!(gateway < 1.6, "{gateway}");
    assert!(single < 3.5, "{single}");
}
