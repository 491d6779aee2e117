//! Random histories against a `BTreeMap`: late data, revisions, back-fill, seals, crashes and reopening in any order.

mod common;

use std::collections::BTreeMap;

use anlan_history::{Haste, Options, Reader, Record, Rollup, Writer};
use anlan_model::{Flags, PointId, Position, Quality, Reading, Timestamp, VehicleId};
use common::{DAY, HOUR, position, same, t};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Append(Record),
    Sync,
    SealNow,
    SealIfDue,
    Checkpoint,
    /// The process dies: what was not synced is gone.
    Crash,
    Release,
    /// Merge what can be merged two hours, or two days later.
    Merge {
        days: bool,
        steps: usize,
    },
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => (-5_000i64..5_000).prop_map(|n| n as f64 / 10.0),
        1 => prop_oneof![Just(-0.0), Just(0.1 + 0.2), Just(5e-324), Just(std::f64::consts::PI), Just(1e12 + 0.1)],
        1 => (-1000f32..1000f32).prop_map(f64::from),
    ]
}

fn any_reading() -> impl Strategy<Value = Reading> {
    // Few instants, so that revisions and repeats happen; four hours, so that blocks are cut; an old year, so that back-fill does.
    let at =
        prop_oneof![8 => (0i64..240).prop_map(|m| DAY + m * 60_000_000), 1 => (0i64..50).prop_map(|s| s * HOUR / 7), 1 => 0i64..4 * HOUR];
    (1i64..5, at, value(), 0u8..8, 0u16..3, 0i64..5, -3i64..3).prop_map(|(point, at, value, q, revision, late, device)| Reading {
        point: PointId::new(point),
        event_at: t(at),
        device_at: (device < 2).then(|| t(at + device.max(0))),
        received_at: t(at + late * 777_777),
        value,
        quality: Quality::from_code(q.saturating_sub(5)),
        flags: if late > 3 { Flags::LATE } else { Flags::empty() },
        revision: revision.saturating_sub(1),
    })
}

/// Each shard has a point of its own; point 4 moves between all. Ranks are a shard's, so of a point that moves nobody may write an instant and
/// revision twice and mean different things: in the product revisions are numbered per point.
fn at_home(r: Reading, shard: u16) -> Reading {
    if r.point.get() < 4 {
        return Reading { point: PointId::new(i64::from(shard) + 1), ..r };
    }
    let value = (r.event_at.micros() % 977) as f64 / 10.0 + f64::from(r.revision);
    Reading { value, device_at: Some(r.event_at), received_at: r.event_at.plus_us(777), quality: Quality::Good, flags: Flags::empty(), ..r }
}

fn any_record() -> impl Strategy<Value = Record> {
    (
        0u16..3,
        0i64..1000,
        prop::collection::vec(any_reading(), 0..60),
        prop::collection::vec((1i64..3, 0i64..300), 0..6),
        prop::collection::vec(any::<u8>(), 0..4),
    )
        .prop_map(|(shard, now, readings, positions, notes)| Record {
            shard,
            now: t(DAY + now * 1_000_000),
            readings: readings.into_iter().map(|r| at_home(r, shard)).collect(),
            // Likewise vehicle 1 stays, and vehicle 2 says the same of an instant wherever it is.
            positions: positions
                .into_iter()
                .map(|(v, m)| match (v, shard) {
                    (1, 0) => Position { alarm_bits: now as u32, ..position(1, DAY + m * 60_000_000) },
                    _ => position(2, DAY + m * 60_000_000),
                })
                .collect(),
            notes,
        })
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => any_record().prop_map(Op::Append),
        4 => Just(Op::Sync),
        1 => Just(Op::SealNow),
        2 => Just(Op::SealIfDue),
        1 => Just(Op::Checkpoint),
        1 => Just(Op::Crash),
        1 => Just(Op::Release),
        3 => (any::<bool>(), 1usize..9).prop_map(|(days, steps)| Op::Merge { days, steps }),
    ]
}

#[derive(Default)]
struct Model {
    readings: BTreeMap<(PointId, Timestamp, u16), Reading>,
    positions: BTreeMap<(VehicleId, Timestamp), Position>,
    records: Vec<Record>,
    pending: Vec<Record>,
}

impl Model {
    fn sync(&mut self) {
        for record in self.pending.drain(..) {
            for r in &record.readings {
                self.readings.insert((r.point, r.event_at, r.revision), *r);
            }
            for p in &record.positions {
                self.positions.insert((p.vehicle, p.event_at), p.clone());
            }
            self.records.push(record);
        }
    }

    fn newest(&self, point: PointId, from: Timestamp, to: Timestamp) -> Vec<Reading> {
        let mut out: Vec<Reading> = Vec::new();
        for (_, r) in self.readings.range((point, from, 0)..(point, to, 0)) {
            if out.last().is_some_and(|l| l.event_at == r.event_at) {
                out.pop();
            }
            out.push(*r);
        }
        out
    }

    fn rollup(&self, point: PointId, step: i64, from: Timestamp, to: Timestamp) -> Vec<Rollup> {
        let mut sums: BTreeMap<Timestamp, (Vec<f64>, u64)> = BTreeMap::new();
        for r in self.newest(point, from, to) {
            let (values, bad) = sums.entry(r.event_at.floor_us(step)).or_default();
            if r.quality == Quality::Bad { *bad += 1 } else { values.push(r.value) }
        }
        let of = |(at, (v, bad)): (Timestamp, (Vec<f64>, u64))| Rollup {
            at,
            min: v.iter().copied().fold(f64::INFINITY, f64::min),
            max: v.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            mean: v.iter().sum::<f64>() / v.len() as f64,
            first: v[0],
            last: v[v.len() - 1],
            count: v.len() as u64,
            bad,
        };
        sums.into_iter().filter(|(_, (v, _))| !v.is_empty()).map(of).collect()
    }

    fn check(&self, reader: &Reader) {
        for point in (1..5).map(PointId::new) {
            for (from, to) in
                [(Timestamp::MIN, Timestamp::MAX), (t(DAY + HOUR / 2), t(DAY + 2 * HOUR + 1)), (t(DAY), t(DAY + HOUR)), (t(5), t(5))]
            {
                let want = self.newest(point, from, to);
                let got = reader.readings(point, from, to, None, usize::MAX).expect("reads");
                assert_eq!(got, want);
                assert!(got.iter().zip(&want).all(|(a, b)| same(a, b)));
                let mut paged: Vec<Reading> = Vec::new();
                loop {
                    let after = paged.last().map(|r| (r.event_at, r.revision));
                    let page = reader.readings(point, from, to, after, 7).expect("reads");
                    assert!(page.len() <= 7);
                    if page.is_empty() {
                        break;
                    }
                    paged.extend(page);
                }
                assert_eq!(paged, want);
                for step in [60_000_000, 1_000_000 * 977, HOUR, 24 * HOUR] {
                    let (got, want) = (reader.rollup(point, step, from, to).expect("rolls up"), self.rollup(point, step, from, to));
                    assert_eq!(got.len(), want.len());
                    for (g, w) in got.iter().zip(&want) {
                        assert_eq!((g.at, g.min, g.max, g.first, g.last), (w.at, w.min, w.max, w.first, w.last));
                        assert_eq!((g.count, g.bad), (w.count, w.bad));
                        assert!((g.mean - w.mean).abs() <= 1e-9 * w.max.abs().max(w.min.abs()), "{g:?} {w:?}");
                    }
                }
            }
            let mine: Vec<&Reading> =
                self.readings.range((point, Timestamp::MIN, 0)..=(point, Timestamp::MAX, u16::MAX)).map(|(_, r)| r).collect();
            assert_eq!(reader.latest(point), mine.last().map(|r| **r));
            assert_eq!(reader.range(point), mine.first().zip(mine.last()).map(|(a, b)| (a.event_at, b.event_at)));
            for r in mine.iter().step_by(5) {
                let revisions = reader.revisions(point, r.event_at).expect("reads");
                let want: Vec<Reading> = mine.iter().filter(|o| o.event_at == r.event_at).map(|r| **r).collect();
                assert_eq!(revisions, want);
                assert_eq!(reader.at(point, r.event_at).expect("reads"), want.last().copied());
            }
            assert_eq!(
                reader.at(point, t(DAY + 1)).expect("reads").map(|r| r.event_at),
                self.readings.range((point, t(DAY + 1), 0)..(point, t(DAY + 2), 0)).next().map(|(k, _)| k.1)
            );
        }
        for vehicle in (1..3).map(VehicleId::new) {
            let want: Vec<&Position> =
                self.positions.range((vehicle, Timestamp::MIN)..=(vehicle, Timestamp::MAX)).map(|(_, p)| p).collect();
            let mut got: Vec<Position> = Vec::new();
            loop {
                let page = reader.positions(vehicle, Timestamp::MIN, Timestamp::MAX, got.last().map(|p| p.event_at), 5).expect("reads");
                if page.is_empty() {
                    break;
                }
                got.extend(page);
            }
            assert_eq!(got.iter().collect::<Vec<_>>(), want);
            assert_eq!(reader.latest_position(vehicle).as_ref(), want.last().copied());
            assert_eq!(reader.position_range(vehicle), want.first().zip(want.last()).map(|(a, b)| (a.event_at, b.event_at)));
            if let Some(p) = want.get(want.len() / 2) {
                assert_eq!(reader.position_at(vehicle, p.event_at).expect("reads").as_ref(), Some(*p));
            }
        }
    }

    /// The log gives back every record it still holds.
    fn check_tail(&self, reader: &Reader, after: u64) {
        let got: Vec<Record> = reader.tail(anlan_history::Lsn(after)).map(|r| r.expect("follows").1).collect();
        assert_eq!(got.len(), self.records.len() - after as usize);
        for (got, want) in got.iter().zip(&self.records[after as usize..]) {
            let mut want = want.clone();
            want.readings.sort_by_key(|r| r.point);
            assert_eq!(*got, want);
        }
        let notes: Vec<Vec<u8>> = reader.tail_notes(anlan_history::Lsn(after)).map(|n| n.expect("follows").notes).collect();
        let want: Vec<Vec<u8>> = self.records[after as usize..].iter().map(|r| r.notes.clone()).filter(|n| !n.is_empty()).collect();
        assert_eq!(notes, want);
        let mut tail = reader.tail_positions(anlan_history::Lsn(after));
        let got: Vec<_> = tail.by_ref().map(|p| p.expect("follows")).map(|(lsn, now, positions)| (lsn.0, now, positions)).collect();
        let numbered = (after + 1..).zip(&self.records[after as usize..]).filter(|(_, r)| !r.positions.is_empty());
        assert_eq!(got, numbered.map(|(n, r)| (n, r.now, r.positions.clone())).collect::<Vec<_>>());
        assert_eq!(tail.seen(), reader.durable());
    }
}

fn options() -> Options {
    Options { segment_bytes: 3_000, seal_after_readings: 150, keep_log_us: 0, ..Options::default() }
}

fn run(ops: Vec<Op>) {
    let dir = tempfile::tempdir().expect("makes");
    let mut model = Model::default();
    let open = || -> (Writer, Reader) { anlan_history::open(dir.path(), options()).expect("opens") };
    let mut both = Some(open());
    let (mut released, mut checkpointed) = (0u64, None);
    for op in ops {
        let (writer, reader) = both.as_mut().expect("always open here");
        match op {
            Op::Append(record) => {
                writer.append(&record).expect("appends");
                model.pending.push(record);
            }
            Op::Sync => {
                let lsn = writer.sync().expect("syncs");
                model.sync();
                assert_eq!(lsn.0, model.records.len() as u64);
                assert_eq!(reader.durable(), lsn);
            }
            Op::SealNow => writer.seal_now(t(DAY)).expect("seals"),
            Op::SealIfDue => writer.seal_if_due(t(DAY)).expect("seals"),
            Op::Checkpoint => {
                if model.pending.is_empty() {
                    let lsn = writer.durable();
                    writer.checkpoint(format!("state {lsn}").as_bytes()).expect("keeps");
                    checkpointed = Some(lsn);
                } else {
                    assert!(writer.checkpoint(b"").is_err());
                }
            }
            Op::Crash => {
                drop(both.take());
                model.pending.clear();
                both = Some(open());
            }
            Op::Merge { days, steps } => {
                let now = t(DAY + if days { 48 * HOUR } else { 2 * HOUR });
                let mut keeper = writer.keeper();
                for _ in 0..steps {
                    if keeper.step(now, Haste::Eager).expect("merges").is_none() {
                        break;
                    }
                }
            }
            Op::Release => {
                let durable = writer.durable();
                writer.release_log(durable, t(DAY + 24 * HOUR)).expect("releases");
                if let Some(Err(anlan_history::HistoryError::NotInLog { first, .. })) = reader.tail(anlan_history::Lsn(released)).next() {
                    released = first.0 - 1;
                }
            }
        }
        let reader = &both.as_ref().expect("always open here").1;
        assert_eq!(reader.last_checkpoint().expect("reads"), checkpointed.map(|lsn| (lsn, format!("state {lsn}").into_bytes())),);
    }
    model.check(&both.as_ref().expect("open").1);
    model.check_tail(&both.as_ref().expect("open").1, released);
    drop(both);
    model.pending.clear();
    let report = anlan_history::verify(dir.path()).expect("verifies");
    assert!(report.is_sound(), "{report}");
    // Once more without the table of last values: it must be computed to the same.
    if let Some(last) =
        std::fs::read_dir(dir.path()).expect("lists").map(|e| e.expect("entry").path()).find(|p| p.to_string_lossy().contains("last-"))
    {
        std::fs::remove_file(last).expect("removes");
    }
    let (_writer, reader) = open();
    model.check(&reader);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn any_history_reads_like_a_map(ops in prop::collection::vec(any_op(), 1..40)) {
        run(ops);
    }
}
