//! What a shard makes of batches: event times, repeats, revisions, order, clocks, and that replay rebuilds the same state.

use std::cell::RefCell;
use std::collections::VecDeque;

use anlan_domain::alarm::Terms;
use anlan_model::{AlarmChange, Level, RuleKind};
use proptest::prelude::*;

use super::*;

const T0: i64 = 1_700_000_000;
const POINT: PointId = PointId::new(1);

/// A shard with one point, a stand-in for history, and a log of what it decided.
struct Bench {
    shard: Shard,
    kept: RefCell<Vec<Reading>>,
    positions: Vec<Position>,
    n_ids: u128,
    log: Vec<(Timestamp, Output)>,
}

impl Lookup for Vec<Reading> {
    fn reading(&self, point: PointId, at: Timestamp) -> Option<Reading> {
        self.iter().filter(|r| r.point == point && r.event_at == at).max_by_key(|r| r.revision).copied()
    }
    fn position(&self, _: VehicleId, _: Timestamp) -> Option<u32> {
        None
    }
}

fn at(second: f64) -> Timestamp {
    Timestamp::from_micros(T0 * 1_000_000 + (second * 1e6) as i64)
}

fn high(threshold: f64) -> Rule {
    let terms = Terms {
        id: "h".into(),
        kind: RuleKind::H,
        level: Level::Yellow,
        bit: 0,
        deadband: 0.0,
        on_delay_us: 0,
        off_delay_us: 0,
        unit: "%LEL".into(),
        source: "test".into(),
        confidence: "enterprise".into(),
    };
    Rule::new(threshold, None, terms)
}

/// A rule of another kind.
fn of(id: &str, kind: RuleKind, on_delay_us: i64, threshold: f64) -> Rule {
    let terms = Terms { id: id.into(), kind, on_delay_us, ..(*high(threshold).terms).clone() };
    Rule::new(threshold, None, terms)
}

impl Bench {
    fn new() -> Self {
        Self::judging(vec![high(50.0)])
    }

    fn judging(rules: Vec<Rule>) -> Self {
        let mut shard = Shard::new(TimeBounds { reorder_ms: 400, ..TimeBounds::default() });
        let config = SubjectConfig { subject: Subject::Point(POINT), rules: rules.into(), range: Some((0.0, 100.0)), newest: None };
        shard.configure(&[config], at(0.0), &mut Vec::new());
        Self { shard, kept: RefCell::default(), positions: Vec::new(), n_ids: 0, log: Vec::new() }
    }

    fn batch(&mut self, received: f64, values: &[(Option<f64>, f64)], backfill: bool) -> Kept {
        let readings = values
            .iter()
            .map(|(t, value)| BoundReading { point: POINT, device_at: t.map(at), value: *value, quality: Quality::Good })
            .collect();
        let batch = Bound {
            source: "dev".into(),
            enterprise: None,
            received_at: at(received),
            readings,
            positions: Vec::new(),
            effects: Vec::new(),
            backfill,
            reply: Box::new(|_| {}),
        };
        let n = &mut self.n_ids;
        let output = self.shard.step(&[batch], at(received), &self.kept.borrow().clone(), &mut |_| {
            *n += 1;
            AlarmId::new(*n)
        });
        self.shard.settled();
        self.kept.borrow_mut().extend(&output.readings);
        let kept = output.kept[0].expect("the subject is configured");
        self.log.push((at(received), output));
        kept
    }

    fn tick(&mut self, now: f64) {
        let n = &mut self.n_ids;
        let effects = self.shard.tick(at(now), &mut |_| {
            *n += 1;
            AlarmId::new(*n)
        });
        self.log.push((at(now), Output { effects, ..Output::default() }));
    }

    fn newest(&self) -> Reading {
        *self.kept.borrow().iter().max_by_key(|r| (r.event_at, r.revision)).unwrap()
    }

    fn alarms(&self) -> String {
        let effects = self.log.iter().flat_map(|(_, o)| &o.effects);
        let word = |effect: &Effect| match effect {
            Effect::Alarm(AlarmChange::Raised(a)) => {
                Some(format!("{}{}", if a.historic { "~" } else { "+" }, (a.onset_at.micros() - T0 * 1_000_000) / 1_000_000))
            }
            Effect::Alarm(AlarmChange::Returned { at, .. }) => Some(format!("-{}", (at.micros() - T0 * 1_000_000) / 1_000_000)),
            Effect::Event(event) => Some(event.kind.clone()),
            Effect::CommandAnswer { .. } | Effect::Combined { .. } => None,
        };
        effects.filter_map(word).collect::<Vec<_>>().join(" ")
    }
}

#[test]
fn a_repeat_is_dropped_and_another_value_is_a_revision() {
    let mut bench = Bench::new();
    assert_eq!(bench.batch(1.0, &[(Some(0.0), 10.0)], false), Kept { stored: 1, repeated: 0 });
    assert_eq!(bench.batch(2.0, &[(Some(0.0), 10.0)], false), Kept { stored: 0, repeated: 1 });
    assert_eq!(bench.batch(3.0, &[(Some(0.0), 11.0)], false), Kept { stored: 1, repeated: 0 });
    assert_eq!((bench.newest().revision, bench.newest().value), (1, 11.0));
    assert!(bench.newest().flags.has(Flags::REVISED));
    bench.batch(4.0, &[(Some(5.0), 12.0)], false);
    assert_eq!(bench.batch(5.0, &[(Some(0.0), 11.0)], false), Kept { stored: 0, repeated: 1 }, "found in history too");
}

#[test]
fn the_alarm_waits_for_the_reorder_window_and_sees_event_order() {
    let mut bench = Bench::new();
    bench.batch(10.0, &[(Some(10.0), 60.0)], false);
    bench.batch(10.2, &[(Some(9.0), 55.0)], false);
    assert_eq!(bench.alarms(), "", "still waiting");
    bench.tick(10.5);
    assert_eq!(bench.alarms(), "+9", "the overtaken reading began it");
}

#[test]
fn a_clock_eight_hours_fast_neither_blinds_the_alarm_nor_hides_the_next_true_reading() {
    let mut bench = Bench::new();
    bench.batch(0.0, &[(Some(0.0), 10.0)], false);
    bench.batch(5.0, &[(Some(5.0 + 8.0 * 3600.0), 60.0)], false);
    assert_eq!(bench.newest().event_at, at(5.0));
    assert!(bench.newest().flags.has(Flags::CLOCK_BAD));
    assert_eq!(bench.newest().device_at, Some(at(5.0 + 8.0 * 3600.0)));
    bench.batch(5.2, &[(Some(5.0 + 8.0 * 3600.0), 60.0)], false);
    assert_eq!(bench.kept.borrow().len(), 2, "its repeat is found by the raw time");
    bench.tick(5.5);
    bench.batch(10.0, &[(Some(10.0), 20.0)], false);
    assert_eq!(bench.newest().event_at, at(10.0));
    bench.tick(11.0);
    assert_eq!(bench.alarms(), "clock_offset +5 clock_right -10");
}

#[test]
fn old_readings_of_a_wrong_clock_keep_their_distance() {
    let day = 86_400.0;
    let times = event_times(
        &[(Some(at(-400.0 * day)), false), (Some(at(-400.0 * day + 10.0)), false), (None, false), (Some(at(-1.0)), false)],
        at(0.0),
        &TimeBounds::default(),
    );
    let bad = |t: f64| (at(t), Flags::CLOCK_BAD);
    assert_eq!(times, [bad(-10.0), bad(0.0), (at(0.0), Flags::TIME_SERVER), (at(-1.0), Flags::empty())]);
    let marked = event_times(&[(Some(at(-400.0 * day)), true), (Some(at(121.0)), true)], at(0.0), &TimeBounds::default());
    assert_eq!(marked[0], (at(-400.0 * day), Flags::BACKFILL), "however old, if marked");
    assert_eq!(marked[1].1, Flags::BACKFILL.with(Flags::CLOCK_BAD), "never beyond two minutes ahead");
}

#[test]
fn readings_without_a_time_never_fall_on_each_other() {
    let mut bench = Bench::new();
    bench.batch(1.0, &[(None, 10.0), (None, 10.0)], false);
    let times: Vec<i64> = bench.kept.borrow().iter().map(|r| r.event_at.since_us(at(1.0))).collect();
    assert_eq!(times, [0, 1]);
}

#[test]
fn values_of_one_message_do_not_fall_on_each_other_either() {
    let mut bench = Bench::new();
    let kept = bench.batch(0.0, &[(None, 1.0), (None, 2.0), (None, 3.0), (None, 4.0)], false);
    let instants: std::collections::BTreeSet<_> = bench.kept.borrow().iter().map(|r| r.event_at).collect();
    assert_eq!((kept.stored, instants.len()), (4, 4));
    // Late, so that only the past can tell: a repeat and a revision within the message.
    let kept = bench.batch(60.0, &[(Some(-50.0), 7.0), (Some(-50.0), 7.0), (Some(-50.0), 8.0)], false);
    assert_eq!((kept.stored, kept.repeated), (2, 1));
    assert_eq!(bench.kept.borrow().last().map(|r| (r.value, r.revision)), Some((8.0, 1)));
}

#[test]
fn positions_of_one_message_at_one_second_are_kept_once_each() {
    let mut bench = Bench::new();
    let vehicle = VehicleId::new(1);
    let config = SubjectConfig { subject: Subject::Vehicle(vehicle), rules: Vec::new().into(), range: None, newest: None };
    bench.shard.configure(&[config], at(0.0), &mut Vec::new());
    let position = |body_crc| {
        let raw = RawPosition {
            device_at: Some(at(-5.0)),
            lon_e6: 102_540_000,
            lat_e6: 24_350_000,
            altitude_m: 0,
            speed_dkmh: 0,
            direction_deg: 0,
            alarm_bits: 0,
            status_bits: 2,
            body_crc,
            items: Vec::new(),
            backfill: true,
        };
        (vehicle, raw)
    };
    let batch = Bound {
        source: "13800138000".into(),
        enterprise: None,
        received_at: at(0.0),
        readings: Vec::new(),
        positions: vec![position(1), position(2), position(1), position(3), position(2)],
        effects: Vec::new(),
        backfill: false,
        reply: Box::new(|_| {}),
    };
    let output = bench.shard.step(&[batch], at(0.0), &Vec::new(), &mut |_| AlarmId::new(1));
    let kept: Vec<_> = output.positions.iter().map(|p| (p.event_at.since_us(at(-5.0)), p.body_crc)).collect();
    assert_eq!(kept, [(0, 1), (1, 2), (2, 3)]);
    assert_eq!(output.kept, [Some(Kept { stored: 3, repeated: 2 })]);
}

#[test]
fn back_fill_judges_apart_and_gives_one_summary() {
    let mut bench = Bench::new();
    bench.batch(1000.0, &[(Some(100.0), 60.0), (Some(200.0), 70.0), (Some(300.0), 10.0), (Some(400.0), 60.0)], true);
    bench.batch(1001.0, &[(Some(1001.0), 10.0)], false);
    bench.tick(1002.0);
    assert_eq!(bench.alarms(), "~100 -300 ~400");
    bench.tick(1040.0);
    assert_eq!(bench.alarms(), "~100 -300 ~400 -400 late_data");
    assert_eq!(bench.newest().event_at, at(1001.0));
}

#[test]
fn out_of_range_is_flagged_and_still_judged() {
    let mut bench = Bench::new();
    bench.batch(1.0, &[(Some(1.0), 120.0)], false);
    bench.tick(2.0);
    assert!(bench.newest().flags.has(Flags::OUT_OF_RANGE));
    assert_eq!(bench.alarms(), "+1");
}

#[test]
fn a_clock_that_steps_back_neither_falls_silent_nor_mutes_other_rules() {
    let mut bench = Bench::new();
    let stale = of("stale", RuleKind::Stale, 0, 30.0);
    let config = SubjectConfig { subject: Subject::Point(POINT), rules: vec![stale, high(50.0)].into(), range: None, newest: None };
    bench.shard.configure(&[config], at(0.0), &mut Vec::new());
    bench.batch(100.0, &[(Some(200.0), 10.0)], false);
    for second in [110.0, 120.0, 130.0, 140.0, 150.0] {
        bench.batch(second, &[(Some(second), if second > 125.0 { 60.0 } else { 10.0 })], false);
        bench.tick(second + 5.0);
    }
    assert_eq!(bench.alarms(), "~130", "late by the point's newest, yet heard and judged");
}

#[test]
fn a_point_that_comes_from_another_shard_can_fall_silent() {
    let mut bench = Bench::new();
    bench.shard.forget(&[Subject::Point(POINT)], at(0.0), &mut Vec::new());
    let stale = of("stale", RuleKind::Stale, 0, 30.0);
    let newest = Newest { at: at(-5.0), key: (10f64.to_bits(), 0), revision: 0 };
    let config = SubjectConfig { subject: Subject::Point(POINT), rules: vec![stale].into(), range: None, newest: Some(newest) };
    bench.shard.configure(&[config], at(0.0), &mut Vec::new());
    bench.tick(29.0);
    assert_eq!(bench.alarms(), "");
    bench.tick(31.0);
    assert_eq!(bench.alarms(), "+25");
}

#[test]
fn a_point_that_leaves_returns_its_alarm() {
    let mut bench = Bench::new();
    bench.batch(1.0, &[(Some(1.0), 60.0)], false);
    bench.tick(2.0);
    let mut out = Vec::new();
    bench.shard.forget(&[Subject::Point(POINT)], at(3.0), &mut out);
    assert_eq!(out, [Effect::Alarm(AlarmChange::Returned { id: AlarmId::new(1), at: at(3.0) })]);
    bench.tick(100.0);
}

fn loose(received: f64, values: &[(f64, f64)]) -> Bound {
    let reading = |&(t, value): &(f64, f64)| BoundReading { point: POINT, device_at: Some(at(t)), value, quality: Quality::Good };
    Bound {
        source: "dev".into(),
        enterprise: None,
        received_at: at(received),
        readings: values.iter().map(reading).collect(),
        positions: Vec::new(),
        effects: Vec::new(),
        backfill: false,
        reply: Box::new(|_| {}),
    }
}

#[test]
fn what_is_decided_but_not_yet_durable_is_known_to_the_next_batch() {
    let mut shard = Bench::new().shard;
    let mut kept = |values: &[(f64, f64)]| {
        let output = shard.step(&[loose(10.0, values)], at(10.0), &Vec::new(), &mut |_| AlarmId::new(1));
        let counts = output.kept[0].expect("configured");
        (counts.stored, counts.repeated, output.readings.iter().map(|r| r.revision).collect::<Vec<_>>())
    };
    // History knows nothing in this test: everything found again was remembered by the shard.
    assert_eq!(kept(&[(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]), (3, 0, vec![0, 0, 0]));
    assert_eq!(kept(&[(1.0, 1.0), (2.0, 2.5), (3.0, 3.0)]), (1, 2, vec![1]));
    assert_eq!(kept(&[(0.5, 9.0), (2.0, 2.5), (2.0, 2.6)]), (2, 1, vec![0, 2]));
    assert_eq!(kept(&[(0.5, 9.0), (2.0, 2.6), (4.0, 4.0), (3.0, 3.0)]), (1, 3, vec![0]));
}

#[test]
fn a_batch_with_a_subject_from_elsewhere_changes_nothing() {
    let mut shard = Bench::new().shard;
    let foreign = || {
        let mut batch = loose(10.0, &[(9.0, 60.0)]);
        batch.readings.push(BoundReading { point: PointId::new(2), device_at: None, value: 1.0, quality: Quality::Good });
        batch
    };
    let output = shard.step(&[foreign()], at(10.0), &Vec::new(), &mut |_| AlarmId::new(1));
    assert_eq!((output.kept, output.readings, output.effects), (vec![None], vec![], vec![]));
    assert_eq!(shard.state(Subject::Point(POINT)).expect("configured").newest, None);
    let output = shard.step(&[foreign(), loose(10.0, &[(9.0, 2.0)])], at(10.0), &Vec::new(), &mut |_| AlarmId::new(1));
    assert_eq!(output.kept, [None, Some(Kept { stored: 1, repeated: 0 })], "the batch beside it is kept");
    assert_eq!(output.readings.iter().map(|r| (r.value, r.revision)).collect::<Vec<_>>(), [(2.0, 0)], "as the first of its instant");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A restart from a checkpoint at any moment goes on as if there had been none.
    #[test]
    fn a_checkpoint_brings_everything_back(steps in prop::collection::vec((1u8..40, -30i64..30, 0u8..120, prop::bool::weighted(0.1), prop::bool::weighted(0.2)), 1..40), from in 0usize..40) {
        let (mut bench, mut again) = (Bench::new(), Bench::new());
        let mut now = 0.0;
        for (i, (wait, offset, value, backfill, only_tick)) in steps.into_iter().enumerate() {
            if i == from {
                let bytes = postcard::to_allocvec(&again.shard).expect("encodes");
                again.shard = postcard::from_bytes(&bytes).expect("decodes");
            }
            now += f64::from(wait) / 10.0;
            for bench in [&mut bench, &mut again] {
                if only_tick {
                    bench.tick(now);
                } else {
                    bench.batch(now, &[(Some(now + offset as f64 / 10.0), f64::from(value))], backfill);
                }
            }
            prop_assert_eq!(bench.shard.due(at(now + 1.0)), again.shard.due(at(now + 1.0)));
        }
        bench.tick(now + 100.0);
        again.tick(now + 100.0);
        prop_assert_eq!(bench.alarms(), again.alarms());
        prop_assert_eq!(bench.shard.due(Timestamp::MAX), 0);
    }

    /// Records that say something are replayed into a fresh shard; state, and so every later decision, is the same.
    #[test]
    fn replay_rebuilds_the_same_state(steps in prop::collection::vec((1u8..40, -30i64..30, 0u8..120, prop::bool::weighted(0.1), prop::bool::weighted(0.2)), 1..60)) {
        // Few values, so that lines are flat now and then.
        let flat = || of("flat_line", RuleKind::FlatLine, 3_000_000, 3.0);
        let mut bench = Bench::judging(vec![high(50.0), flat()]);
        let mut now = 0.0;
        for (wait, offset, value, backfill, only_tick) in steps {
            now += f64::from(wait) / 10.0;
            if only_tick {
                bench.tick(now);
            } else {
                bench.batch(now, &[(Some(now + offset as f64 / 10.0), f64::from(value / 40 * 40))], backfill);
            }
        }
        let mut again = Bench::judging(vec![high(50.0), flat()]);
        for (now, output) in &bench.log {
            if output.readings.is_empty() && output.effects.is_empty() {
                continue;
            }
            let changes = |effects: &[Effect]| effects.iter().filter(|e| matches!(e, Effect::Alarm(_))).cloned().collect::<Vec<_>>();
            let logged = changes(&output.effects);
            let mut ids: VecDeque<AlarmId> = logged.iter().filter_map(|e| match e { Effect::Alarm(AlarmChange::Raised(a)) => Some(a.id), _ => None }).collect();
            let effects = again.shard.replay(*now, &output.readings, &again.positions.clone(), &mut |_| ids.pop_front().unwrap());
            prop_assert_eq!(changes(&effects), logged);
        }
        again.n_ids = bench.n_ids;
        // What waits quietly is judged before the next reading.
        bench.batch(now + 50.0, &[(Some(now + 50.0), 1.0)], false);
        again.batch(now + 50.0, &[(Some(now + 50.0), 1.0)], false);
        // The last steps may have been silent ticks, which are not logged.
        bench.tick(now + 100.0);
        again.tick(now + 100.0);
        let of = |shard: &Shard| shard.state(Subject::Point(POINT)).map(|s| (s.live.clone(), s.historic.clone(), s.newest));
        prop_assert_eq!(of(&bench.shard), of(&again.shard));
    }
}

// --------------------------------------------------------------------------------------------------------- combinations

const PAIR: CombinationId = CombinationId::new(5);
const OTHER: PointId = PointId::new(2);

/// Both points high within some seconds.
fn pair(within_s: i64) -> CombinationRule {
    let members = [POINT, OTHER].map(|point| CombinationMember { point, kind: RuleKind::H });
    CombinationRule {
        id: PAIR,
        level: Level::Red,
        needed: 2,
        within_us: within_s * 1_000_000,
        members: members.into(),
        source: "test".into(),
    }
}

/// Two points that are watched together, and the log of what their shard decided.
struct Pair {
    shard: Shard,
    n_ids: u128,
    log: Vec<(Timestamp, Vec<Reading>, Vec<Effect>)>,
}

impl Pair {
    fn new() -> Self {
        let mut shard = Shard::new(TimeBounds { reorder_ms: 400, ..TimeBounds::default() });
        let config = |point| SubjectConfig { subject: Subject::Point(point), rules: vec![high(50.0)].into(), range: None, newest: None };
        shard.configure(&[config(POINT), config(OTHER)], at(0.0), &mut Vec::new());
        shard.combine(&[(PAIR, Some(pair(30)))], at(0.0), &mut Vec::new());
        Self { shard, n_ids: 0, log: Vec::new() }
    }

    fn hear(&mut self, now: f64, point: PointId, second: f64, value: f64) {
        let reading = BoundReading { point, device_at: Some(at(second)), value, quality: Quality::Good };
        let batch = Bound { readings: vec![reading], ..loose(now, &[]) };
        let n = &mut self.n_ids;
        let output = self.shard.step(&[batch], at(now), &Vec::new(), &mut |_| {
            *n += 1;
            AlarmId::new(*n)
        });
        assert_eq!(output.kept.len(), output.kept.iter().flatten().count(), "configured");
        self.shard.settled();
        self.log.push((at(now), output.readings, output.effects));
    }

    fn tick(&mut self, now: f64) {
        let n = &mut self.n_ids;
        let effects = self.shard.tick(at(now), &mut |_| {
            *n += 1;
            AlarmId::new(*n)
        });
        self.log.push((at(now), Vec::new(), effects));
    }

    /// What happened to the combination: `+onset` and the number of parts that stood, `-second`.
    fn said(&self) -> String {
        combination_words(self.log.iter().flat_map(|(_, _, effects)| effects))
    }
}

fn combination_words<'a>(effects: impl IntoIterator<Item = &'a Effect>) -> String {
    let seconds = |t: Timestamp| (t.micros() - T0 * 1_000_000) / 1_000_000;
    let (mut open, mut said) = (None, Vec::new());
    for effect in effects {
        match effect {
            Effect::Alarm(AlarmChange::Raised(a)) if a.kind == RuleKind::Combination => {
                open = Some(a.id);
                said.push(format!("+{}", seconds(a.onset_at)));
            }
            Effect::Alarm(AlarmChange::Returned { id, at }) if Some(*id) == open => said.push(format!("-{}", seconds(*at))),
            Effect::Combined { parts, .. } => said.push(format!("of{}", parts.iter().filter(|p| p.alarm.is_some()).count())),
            _ => {}
        }
    }
    said.join(" ")
}

#[test]
fn two_points_high_within_the_time_raise_an_alarm_of_their_own() {
    let mut both = Pair::new();
    both.hear(10.0, POINT, 10.0, 60.0);
    both.hear(15.0, POINT, 15.0, 10.0);
    both.tick(15.5);
    both.hear(40.0, OTHER, 40.0, 60.0);
    assert_eq!(both.said(), "", "the reorder window of the second");
    both.tick(40.5);
    assert_eq!(both.said(), "+40 of2");
    assert_eq!(both.shard.due(at(46.0)), 1, "the first was gone at 15.0, and that was known at 15.5");
    both.tick(46.0);
    assert_eq!(both.said(), "+40 of2 -45");
}

#[test]
fn a_reading_that_changes_no_condition_says_nothing_to_a_combination() {
    let mut both = Pair::new();
    for second in 0..100 {
        both.hear(f64::from(second), POINT, f64::from(second), 60.0);
    }
    assert!(both.log.iter().all(|(_, _, effects)| effects.len() <= 1));
    assert_eq!(both.shard.combinations().n_due(Timestamp::MAX), 0);
}

#[test]
fn a_combination_made_while_its_members_stand_is_judged_at_once_and_one_that_goes_returns() {
    let mut both = Pair::new();
    both.shard.combine(&[(PAIR, None)], at(0.0), &mut Vec::new());
    both.hear(10.0, POINT, 10.0, 60.0);
    both.hear(200.0, OTHER, 200.0, 60.0);
    both.tick(201.0);
    let mut effects = Vec::new();
    both.shard.combine(&[(PAIR, Some(pair(0)))], at(210.0), &mut effects);
    effects.extend(both.shard.tick(at(210.0), &mut |_| AlarmId::new(99)));
    both.shard.combine(&[(PAIR, None)], at(220.0), &mut effects);
    assert_eq!(combination_words(&effects), "+200 of2 -220");
}

#[test]
fn notes_without_combinations_are_written_as_ever_and_those_with_read_back() {
    use super::super::engine::Notes;
    let plain = Notes { forgotten: vec![Subject::Point(POINT)], ..Notes::default() };
    assert_eq!((plain.encode()[0], Notes::decode(&plain.encode()).unwrap().forgotten), (1, plain.forgotten.clone()));
    let both = Notes { combinations: vec![(PAIR, Some(pair(30))), (CombinationId::new(6), None)], ..plain };
    let bytes = both.encode();
    let again = Notes::decode(&bytes).unwrap();
    assert_eq!((bytes[0], again.combinations, again.forgotten), (2, both.combinations, both.forgotten));
    assert!(Notes::decode(&bytes[..bytes.len() - 1]).is_err() && Notes::decode(&[&bytes[..], &[0]].concat()).is_err());
}

#[test]
fn a_member_that_moves_away_or_loses_its_rule_returns_the_combination() {
    for moves in [true, false] {
        let mut both = Pair::new();
        both.hear(10.0, POINT, 10.0, 60.0);
        both.hear(11.0, OTHER, 11.0, 60.0);
        both.tick(12.0);
        let mut effects = Vec::new();
        if moves {
            both.shard.forget(&[Subject::Point(OTHER)], at(20.0), &mut effects);
        } else {
            let bare = SubjectConfig { subject: Subject::Point(OTHER), rules: Vec::new().into(), range: None, newest: None };
            both.shard.configure(&[bare], at(20.0), &mut effects);
        }
        both.log.push((at(20.0), Vec::new(), effects));
        both.tick(49.0);
        assert_eq!(both.said(), "+11 of2", "its time is not up");
        both.tick(50.1);
        assert_eq!(both.said(), "+11 of2 -50", "moves: {moves}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Replayed into a fresh shard, or gone on from a checkpoint at any moment: combinations say the same.
    #[test]
    fn replay_and_checkpoints_rebuild_combinations(steps in prop::collection::vec((1u16..200, -30i64..30, prop::bool::ANY, prop::bool::ANY, prop::bool::weighted(0.2)), 1..60), from in 0usize..60) {
        let (mut both, mut kept) = (Pair::new(), Pair::new());
        let mut now = 0.0;
        for (i, (wait, offset, other, high, only_tick)) in steps.into_iter().enumerate() {
            if i == from {
                let bytes = super::super::engine::write_checkpoint(&[std::mem::replace(&mut kept.shard, road())], 0);
                kept.shard = super::super::engine::read_checkpoint(bytes[0], &bytes[1..]).unwrap().remove(0);
            }
            now += f64::from(wait) / 10.0;
            for pair in [&mut both, &mut kept] {
                if only_tick {
                    pair.tick(now);
                } else {
                    pair.hear(now, if other { OTHER } else { POINT }, now + offset as f64 / 10.0, if high { 60.0 } else { 10.0 });
                }
            }
        }
        for later in [100.0, 200.0] {
            both.tick(now + later);
            kept.tick(now + later);
        }
        prop_assert_eq!(&both.log, &kept.log);
        prop_assert_eq!(both.shard.due(Timestamp::MAX), 0);
        let mut again = Pair::new();
        for (now, readings, effects) in &both.log {
            // A step that says nothing and keeps nothing is not logged.
            if readings.is_empty() && effects.is_empty() {
                continue;
            }
            let changes = |effects: &[Effect]| effects.iter().filter(|e| matches!(e, Effect::Alarm(_) | Effect::Combined { .. })).cloned().collect::<Vec<_>>();
            let mut ids: VecDeque<AlarmId> = effects.iter().filter_map(|e| match e { Effect::Alarm(AlarmChange::Raised(a)) => Some(a.id), _ => None }).collect();
            let replayed = again.shard.replay(*now, readings, &[], &mut |_| ids.pop_front().unwrap());
            prop_assert_eq!(changes(&replayed), changes(effects));
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------- drift

const VEHICLE: VehicleId = VehicleId::new(7);

/// A shard with one vehicle that knows when a place cannot be true.
fn road() -> Shard {
    let mut shard = Shard::new(TimeBounds::default());
    shard.set_drift_rules(DriftRules { speed_max_kmh: 180.0, jump_min_m: 500.0, agree: 3, satellites_min: 4 });
    let config = SubjectConfig { subject: Subject::Vehicle(VEHICLE), rules: Vec::new().into(), range: None, newest: None };
    shard.configure(&[config], at(0.0), &mut Vec::new());
    shard
}

/// One position at `second`, `metres` east of 102°.
fn heard(shard: &mut Shard, received: f64, second: f64, metres: f64, backfill: bool) -> Output {
    let raw = RawPosition {
        device_at: Some(at(second)),
        lon_e6: 102_000_000 + (metres / 101_600.0 * 1e6) as i32,
        lat_e6: 24_000_000,
        altitude_m: 0,
        speed_dkmh: 600,
        direction_deg: 90,
        alarm_bits: 0,
        status_bits: 3,
        body_crc: (second * 10.0) as u32,
        items: vec![0x31, 1, 9],
        backfill,
    };
    let batch = Bound {
        source: "13900000007".into(),
        enterprise: None,
        received_at: at(received),
        readings: vec![],
        positions: vec![(VEHICLE, raw)],
        effects: vec![],
        backfill: false,
        reply: Box::new(|_| {}),
    };
    let output = shard.step(&[batch], at(received), &Vec::<Reading>::new(), &mut |_| AlarmId::new(1));
    assert!(output.kept[0].is_some(), "the vehicle is configured");
    output
}

#[test]
fn an_untrue_place_is_kept_marked_and_told_once() {
    let mut shard = road();
    let mut told = 0;
    let mut marks = String::new();
    for (second, metres) in [(0.0, 0.0), (30.0, 500.0), (60.0, 90_000.0), (90.0, 40_000.0), (120.0, 2_000.0)] {
        let out = heard(&mut shard, second, second, metres, false);
        told += out.effects.iter().filter(|e| matches!(e, Effect::Event(e) if e.kind == "drift")).count();
        marks.push(if out.positions[0].flags.has(Flags::DRIFT) { 'D' } else { '.' });
    }
    assert_eq!((marks.as_str(), told), ("..DD.", 1));
    // Back-filled data is a track of its own: it neither moves the live one nor is judged by it.
    let out = heard(&mut shard, 130.0, -3_600.0, 700_000.0, true);
    assert!(!out.positions[0].flags.has(Flags::DRIFT));
    let out = heard(&mut shard, 131.0, -3_570.0, 300_000.0, true);
    assert!(out.positions[0].flags.has(Flags::DRIFT));
    assert!(!heard(&mut shard, 150.0, 150.0, 2_500.0, false).positions[0].flags.has(Flags::DRIFT));
    // Where the time is ours no speed can be told.
    let fast_clock = heard(&mut shard, 160.0, 160.0 + 28_800.0, 300_000.0, false).positions.remove(0).flags;
    assert!(fast_clock.has(Flags::CLOCK_BAD) && !fast_clock.has(Flags::DRIFT));
    assert!(!heard(&mut shard, 170.0, 170.0, 3_000.0, false).positions[0].flags.has(Flags::DRIFT));
}

#[test]
fn replay_and_checkpoints_know_where_a_vehicle_is_believed_to_be() {
    let (mut shard, mut again) = (road(), road());
    for (second, metres) in [(0.0, 0.0), (30.0, 500.0), (60.0, 90_000.0)] {
        let out = heard(&mut shard, second, second, metres, false);
        again.replay(at(second), &[], &out.positions, &mut |_| AlarmId::new(1));
    }
    let bytes = super::super::engine::write_checkpoint(&[shard], 0);
    let mut kept = super::super::engine::read_checkpoint(bytes[0], &bytes[1..]).unwrap().remove(0);
    kept.set_drift_rules(DriftRules { speed_max_kmh: 180.0, jump_min_m: 500.0, agree: 3, satellites_min: 4 });
    for shard in [&mut again, &mut kept] {
        assert!(heard(shard, 90.0, 90.0, 40_000.0, false).positions[0].flags.has(Flags::DRIFT));
        assert!(!heard(shard, 120.0, 120.0, 2_000.0, false).positions[0].flags.has(Flags::DRIFT));
    }
}

/// `UPDATE_TESTDATA=1` writes the file of the newest format; those of before are never written again.
#[test]
fn checkpoints_of_every_version_are_read_for_ever() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut shard = road();
    heard(&mut shard, 0.0, 0.0, 0.0, false);
    heard(&mut shard, 30.0, 30.0, 90_000.0, false);
    shard.combine(&[(PAIR, Some(pair(30)))], at(40.0), &mut Vec::new());
    let newest = super::super::engine::write_checkpoint(&[shard], 0);
    if std::env::var_os("UPDATE_TESTDATA").is_some() {
        std::fs::write(dir.join("checkpoint-4.bin"), &newest).unwrap();
    }
    for version in [1, 2, 3, 4] {
        let bytes = std::fs::read(dir.join(format!("checkpoint-{version}.bin"))).unwrap();
        assert_eq!(bytes[0], version);
        let shards = super::super::engine::read_checkpoint(bytes[0], &bytes[1..]).unwrap();
        assert_eq!(shards[0].subjects().collect::<Vec<_>>(), [Subject::Vehicle(VEHICLE)], "version {version}");
        assert_eq!(shards[0].combinations().ids().count(), usize::from(version >= 4), "version {version}");
    }
    assert!(super::super::engine::read_checkpoint(9, &newest[1..]).is_err());
    assert!(super::super::engine::read_checkpoint(4, &newest[1..newest.len() - 1]).is_err());
}
