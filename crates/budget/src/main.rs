//! Instruction budgets of the hot path: how many instructions a frame, a reading or a line may take. Times depend on the machine and its neighbours,
//! instructions depend on the code.
//!
//! Without arguments it runs itself once per part under `valgrind --tool=callgrind`, collecting only inside [`measured_part`], and exits 1 if a part takes
//! more than its budget and [`SLACK`]. A part that became cheaper says so: lower its budget in the same commit. Built with the release profile, always
//! (`cargo xtask test` does). A crate of its own, so that CI compiles for it only what it counts. Start at [`PARTS`].

use std::process::{Command, ExitCode};

use anlan_app::telemetry::shard::{Bound, BoundReading, Lookup, Shard, SubjectConfig, TimeBounds};
use anlan_domain::alarm::{Rule, Terms};
use anlan_model::{AlarmId, Flags, Level, PointId, Quality, Reading, RuleKind, Subject, Timestamp, VehicleId};
use anlan_protocols::jt808::{Frames, Item, Message, Position, Version, encode};
use anlan_protocols::line::{self, Precision};

/// How far above its budget a part may be: hash maps are seeded at random, and compilers change a little between patch releases.
const SLACK: f64 = 0.05;

/// A part: its name, the instructions one item may take, what an item is, and the work; the work returns how many items it did.
type Part = (&'static str, f64, &'static str, fn() -> u64);

/// What is counted. Figures are measurements of the commit that set them (`cargo run --release -p anlan-budget`), never wishes.
const PARTS: &[Part] = &[
    ("decode_0200", 2456.0, "frame of 48 bytes, cut, unescaped, checked, decoded", decode_0200),
    ("shard_step", 935.0, "reading of a batch of 100, two limits each, in order", shard_step),
    ("block_encode", 366.0, "reading of an hour at 10 s, half with jitter", block_encode),
    ("block_decode", 168.0, "reading of the same", block_decode),
    ("line_parse", 9041.0, "line of 70 bytes, three tags, one field", line_parse),
];

/// The only place where instructions are counted: everything else prepares.
#[inline(never)]
fn measured_part<T>(work: impl FnOnce() -> T) -> T {
    std::hint::black_box(work())
}

/// 2026-11-23T00:00:00Z.
const DAY: i64 = 1_795_392_000_000_000;

fn at(us: i64) -> Timestamp {
    Timestamp::from_micros(DAY + us)
}

/// Splitmix64: the same numbers on every machine.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn decode_0200() -> u64 {
    const N: u64 = 2_000;
    let mut bytes = Vec::new();
    for i in 0..N as i32 {
        let mut position = Position::at(24_350_000 + i * 7, 102_540_000 - i * 5, at(0));
        position.status = 0b11;
        position.speed_tenth_kmh = 600;
        let message = Message::Position(position.with(Item::Odometer(123_456 + i as u32)).with(Item::RadioStrength(28)));
        bytes.extend(encode::frames(&format!("100{i:08}"), Version::V2013, i as u16, &message).expect("a short message").concat());
    }
    let whole = measured_part(|| {
        let (mut frames, mut whole) = (Frames::new(), 0);
        for read in bytes.chunks(4_096) {
            frames.push(read);
            for frame in frames.by_ref().flatten() {
                let (message, defects) = frame.decode();
                whole += u64::from(matches!(message, Message::Position(_)) && defects.is_empty());
            }
        }
        whole
    });
    assert_eq!(whole, N, "every frame is decoded without defects");
    whole
}

struct NoPast;
impl Lookup for NoPast {
    fn reading(&self, _: PointId, _: Timestamp) -> Option<Reading> {
        None
    }
    fn position(&self, _: VehicleId, _: Timestamp) -> Option<u32> {
        None
    }
}

fn limit(id: &str, kind: RuleKind, level: Level, threshold: f64) -> Rule {
    let terms = Terms {
        id: id.to_owned(),
        kind,
        level,
        bit: 0,
        deadband: 1.0,
        on_delay_us: 0,
        off_delay_us: 0,
        unit: "°C".to_owned(),
        source: "budget".to_owned(),
        confidence: "product".to_owned(),
    };
    Rule::new(threshold, None, terms)
}

fn shard_step() -> u64 {
    const POINTS: i64 = 100;
    const STEPS: i64 = 50;
    let mut shard = Shard::new(TimeBounds::default());
    let configs: Vec<SubjectConfig> = (1..=POINTS)
        .map(|p| SubjectConfig {
            subject: Subject::Point(PointId::new(p)),
            rules: vec![limit("hh", RuleKind::Hh, Level::Red, 90.0), limit("h", RuleKind::H, Level::Yellow, 80.0)].into(),
            range: Some((0.0, 100.0)),
            newest: None,
        })
        .collect();
    shard.configure(&configs, at(0), &mut Vec::new());
    let mut state = 1;
    let mut batches: Vec<(Bound, Timestamp)> = (0..STEPS)
        .map(|step| {
            let now = at(step * 10_000_000 + 10_000_000);
            let reading = |p: i64, state: &mut u64| BoundReading {
                point: PointId::new(p),
                device_at: Some(at(step * 10_000_000 + p * 1_000)),
                value: 40.0 + (random(state) % 300) as f64 / 10.0,
                quality: Quality::Good,
            };
            let bound = Bound {
                source: "D1".to_owned(),
                enterprise: None,
                received_at: now,
                readings: (1..=POINTS).map(|p| reading(p, &mut state)).collect(),
                positions: Vec::new(),
                effects: Vec::new(),
                backfill: false,
                reply: Box::new(|_| {}),
            };
            (bound, now)
        })
        .collect();
    let mut n_ids = 0;
    let mut new_id = |_: Timestamp| {
        n_ids += 1;
        AlarmId::new(n_ids)
    };
    // The first steps fill maps and buffers once for ever.
    let rest = batches.split_off(5);
    let mut step = |(bound, now): &(Bound, Timestamp)| {
        let output = shard.step(std::slice::from_ref(bound), *now, &NoPast, &mut new_id);
        // As after each sync.
        shard.settled();
        output.readings.len() as u64
    };
    batches.iter().for_each(|batch| _ = step(batch));
    let kept = measured_part(|| rest.iter().map(&mut step).sum::<u64>());
    assert_eq!(kept, rest.len() as u64 * POINTS as u64, "every reading is kept");
    kept
}

/// An hour of 50 points at 10 s: quantised walks, every second one with ±30 ms of jitter.
fn series() -> Vec<Vec<Reading>> {
    let mut state = 7;
    (1..=50)
        .map(|p| {
            let mut value = 650i64;
            (0..360)
                .map(|step| {
                    let r = random(&mut state);
                    value += (r % 7) as i64 - 3;
                    let jitter_us = if p % 2 == 0 { ((r >> 8) % 61) as i64 * 1_000 - 30_000 } else { 0 };
                    let event_at = at(step * 10_000_000 + p * 7_000 + jitter_us + 30_000);
                    Reading {
                        point: PointId::new(p),
                        event_at,
                        device_at: Some(event_at),
                        received_at: at(step * 10_000_000 + 11_000_000),
                        value: value as f64 / 10.0,
                        quality: Quality::Good,
                        flags: Flags::empty(),
                        revision: 0,
                    }
                })
                .collect()
        })
        .collect()
}

fn block_encode() -> u64 {
    let series = series();
    let bytes = measured_part(|| series.iter().map(|rows| anlan_history::measure::encode(rows).len()).sum::<usize>());
    assert!(bytes > 0, "something was encoded");
    series.iter().map(|rows| rows.len() as u64).sum()
}

fn block_decode() -> u64 {
    let series = series();
    let encoded: Vec<(PointId, Vec<u8>)> = series.iter().map(|rows| (rows[0].point, anlan_history::measure::encode(rows))).collect();
    let decoded = measured_part(|| encoded.iter().map(|(point, bytes)| anlan_history::measure::decode(*point, bytes)).collect::<Vec<_>>());
    for (rows, back) in series.iter().zip(&decoded) {
        assert_eq!(Some(rows), back.as_ref(), "what was encoded comes back");
    }
    series.iter().map(|rows| rows.len() as u64).sum()
}

fn line_parse() -> u64 {
    const N: u64 = 2_000;
    let lines: Vec<String> = (0..N)
        .map(|i| {
            format!(
                "temperature,county=530402,device=W{i:04},p={:02} value={}.{} {}\n",
                i % 100,
                20 + i % 60,
                i % 10,
                1_795_392_000_000 + i
            )
        })
        .collect();
    let body = lines.concat();
    let parsed = measured_part(|| line::parse(body.as_bytes(), Precision::Milliseconds).points.len() as u64);
    assert_eq!(parsed, N, "every line is a point");
    parsed
}

/// Instructions that callgrind collected: its last words are `Collected : N`.
fn count(name: &str) -> Result<(f64, u64), String> {
    let me = std::env::current_exe().map_err(|e| e.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*measured_part*", "--callgrind-out-file=/dev/null"])
        .arg(me)
        .arg(name)
        .output()
        .map_err(|e| format!("valgrind: {e}"))?;
    let (said, items) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    if !output.status.success() {
        return Err(format!("{name} ended with {}: {said}", output.status));
    }
    let collected = said.lines().rev().find_map(|l| l.split("Collected :").nth(1)?.trim().parse::<f64>().ok());
    match (collected, items.trim().parse::<u64>()) {
        (Some(instructions), Ok(items)) if instructions > 0.0 && items > 0 => Ok((instructions / items as f64, items)),
        _ => Err(format!("{name}: nothing was collected: {said}")),
    }
}

fn main() -> ExitCode {
    if let Some(name) = std::env::args().nth(1) {
        let Some((_, _, _, work)) = PARTS.iter().find(|(part, ..)| *part == name) else {
            eprintln!("budget: no part is called {name}");
            return ExitCode::from(2);
        };
        println!("{}", work());
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, budget, item, _) in PARTS {
        match count(name) {
            Ok((took, items)) => {
                let verdict = match took / budget {
                    r if r > 1.0 + SLACK => {
                        failed += 1;
                        "OVER BUDGET"
                    }
                    r if r < 1.0 - SLACK => "cheaper: lower the budget",
                    _ => "within budget",
                };
                println!("{name:<14} {took:>9.1} instructions per {item} (budget {budget}, {items} items): {verdict}");
            }
            Err(reason) => {
                failed += 1;
                println!("{name:<14} not counted: {reason}");
            }
        }
    }
    println!("budgets: {} passed, {failed} failed", PARTS.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
