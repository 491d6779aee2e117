//! What of linked readings is new; and through a running engine, whatever the order, with repeats and a restart.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use anlan_domain::alarm::{Rule, Terms};
use anlan_model::{AlarmChange, Effect, Flags, Level, Quality, Refusal, RuleKind, Subject};
use proptest::prelude::*;
use tokio::sync::watch;

use super::super::engine::{self, EngineHandle, Notes};
use super::super::pressure::{Class, Pressure};
use super::super::shard::{Bound, BoundReading, Shard, SubjectConfig, TimeBounds};
use super::super::{Latest, LogStatus};
use super::*;

const T0: i64 = 1_795_996_800;

fn at(second: i64) -> Timestamp {
    Timestamp::from_secs(T0 + second)
}

fn reading(point: i64, second: i64, revision: u16, value: f64) -> Reading {
    Reading {
        point: PointId::new(point),
        event_at: at(second),
        device_at: Some(at(second)),
        received_at: at(second + 1_000),
        value,
        quality: Quality::Good,
        flags: if revision > 0 { Flags::REVISED } else { Flags::empty() },
        revision,
    }
}

/// A node's engine on its own thread.
pub(crate) struct Node {
    pub(crate) handle: EngineHandle,
    pub(crate) reader: Reader,
    pub(crate) latest: Arc<Latest>,
    pub(crate) durable: watch::Receiver<u64>,
    pub(crate) keeper: anlan_history::Keeper,
    thread: JoinHandle<()>,
    _projected: watch::Sender<u64>,
}

impl Node {
    pub(crate) fn open(dir: &Path) -> Self {
        Self::open_with(dir, crate::settings::History::default(), u64::MAX)
    }

    /// With other sizes, and a projection that stands at `projected`.
    pub(crate) fn open_with(dir: &Path, files: crate::settings::History, projected: u64) -> Self {
        let (projected, projected_receiver) = watch::channel(projected);
        let (latest, status) = (Arc::new(Latest::default()), Arc::new(LogStatus::default()));
        let pressure = Arc::new(Pressure::new(1_000, 1_000_000));
        let clock = Arc::new(crate::clock::AppClock::real());
        let drift = crate::rules::road().unwrap().drift.is;
        let opened =
            engine::open(dir, TimeBounds::default(), drift, files, pressure, clock, latest.clone(), status, projected_receiver).unwrap();
        let (opened, reader) = opened;
        let engine = opened.engine;
        let thread = std::thread::spawn(move || engine.run());
        Self { handle: opened.handle, reader, latest, durable: opened.durable, keeper: opened.keeper, thread, _projected: projected }
    }

    pub(crate) fn stop(self) {
        self.handle.stop();
        self.thread.join().unwrap();
        drop(self.keeper);
    }

    /// Gives a batch to the engine and waits for the answer.
    pub(crate) fn link(&self, readings: Vec<(u16, Vec<Reading>)>) -> Result<Kept, Refusal> {
        self.link_all(Linked { readings, archived: Default::default(), reply: Box::new(|_| {}) })
    }

    /// The same, with what else is said of them.
    pub(crate) fn link_all(&self, batch: Linked) -> Result<Kept, Refusal> {
        let (send, receive) = mpsc::channel();
        self.handle.offer_linked(Linked { reply: Box::new(move |answer| send.send(answer).unwrap()), ..batch });
        receive.recv().unwrap()
    }

    /// A batch of an own device.
    pub(crate) fn hear(&self, shard: u16, readings: Vec<BoundReading>) -> Result<Kept, Refusal> {
        let (send, receive) = mpsc::channel();
        // Old device times are believed of back-fill alone.
        let backfill = readings.iter().any(|r| r.device_at.is_some());
        let batch = Bound {
            source: "D".to_owned(),
            enterprise: None,
            received_at: anlan_model::Clock::now(&crate::clock::AppClock::real()),
            readings,
            positions: Vec::new(),
            effects: Vec::new(),
            backfill,
            reply: Box::new(move |answer| send.send(answer).unwrap()),
        };
        self.handle.offer(shard, Class::Ruled, batch);
        receive.recv().unwrap()
    }
}

/// Everything that history holds of the points, as (point, second, revision, value).
fn held(reader: &Reader) -> Vec<(i64, i64, u16, f64)> {
    let all = reader.points_in(Timestamp::MIN, Timestamp::MAX).into_iter();
    all.flat_map(|p| reader.every_revision(p, Timestamp::MIN, Timestamp::MAX).unwrap())
        .map(|r| (r.point.get(), r.event_at.micros() / 1_000_000 - T0, r.revision, r.value))
        .collect()
}

/// How many readings the log holds: a repeat that was kept stands there twice, whatever history makes of it.
fn logged(reader: &Reader) -> usize {
    reader.tail(anlan_history::Lsn::ZERO).map(|r| r.unwrap().1.readings.len()).sum()
}

#[test]
fn a_piece_that_comes_twice_or_late_is_kept_once_and_shown_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path());
    let (old, new): (Vec<_>, Vec<_>) = (0..100).map(|s| reading(7, s, 0, s as f64)).partition(|r| r.event_at < at(50));
    let check = |readings: &[Reading], stored, repeated| {
        assert_eq!(node.link(vec![(3, readings.to_vec())]), Ok(Kept { stored, repeated }));
    };
    check(&new, 50, 0);
    assert_eq!(node.latest.point(PointId::new(7)).unwrap().value, 99.0);
    check(&old, 50, 0);
    assert_eq!(node.latest.point(PointId::new(7)).unwrap().value, 99.0, "the older piece does not become the newest");
    check(&new, 0, 50);
    let corrected = [reading(7, 60, 2, 62.0), reading(7, 60, 1, 61.0), reading(7, 60, 2, 62.0)];
    check(&corrected, 2, 1);
    let shown = node.reader.readings(PointId::new(7), at(0), at(1_000), None, 1_000).unwrap();
    assert_eq!((shown.len(), shown[60].value, shown[60].revision), (100, 62.0, 2), "the newest revision is shown");
    let hour = node.reader.rollup(PointId::new(7), 3_600_000_000, at(0), at(3_600)).unwrap();
    assert_eq!((hour[0].count, hour[0].last), (100, 99.0));
    assert_eq!(logged(&node.reader), 102);
    node.stop();
}

#[test]
fn a_point_that_is_judged_here_takes_no_linked_reading_and_neither_does_the_log_take_one_that_is_no_number() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path());
    let subject = Subject::Point(PointId::new(1));
    node.handle.configure(vec![(3, SubjectConfig { subject, rules: Arc::new([]), range: None, newest: None })]);
    assert_eq!(node.link(vec![(3, vec![reading(1, 0, 0, 1.0)])]), Err(Refusal::UnknownSource));
    assert_eq!(node.link(vec![(3, vec![reading(2, 0, 0, f64::NAN)])]), Err(Refusal::UnknownSource));
    assert_eq!(node.link(vec![(64, vec![reading(2, 0, 0, 1.0)])]), Err(Refusal::UnknownSource));
    assert_eq!(node.link(vec![(3, vec![reading(2, 0, 0, 1.0)])]), Ok(Kept { stored: 1, repeated: 0 }), "and the engine goes on");
    node.stop();
}

#[test]
fn a_full_engine_refuses_linked_readings_first_and_a_stopping_one_all() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path());
    node.handle.pressure().set_disk_free(90, 100);
    assert_eq!(node.link(vec![(3, vec![reading(2, 0, 0, 1.0)])]), Err(Refusal::Overloaded));
    assert_eq!(node.handle.pressure().n_shed(Class::Backfill), 1);
    node.handle.stop();
    assert_eq!(node.link(vec![(3, vec![reading(2, 0, 0, 1.0)])]), Err(Refusal::Stopping));
    node.stop();
}

/// Rules of own points are judged the same with other nodes' readings between them, and replay agrees.
#[test]
fn replay_passes_over_what_another_node_judged() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path());
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
    let (own, subject) = (PointId::new(1), Subject::Point(PointId::new(1)));
    let rules = Arc::new([Rule::new(50.0, None, terms)]);
    node.handle.configure(vec![(3, SubjectConfig { subject, rules, range: None, newest: None })]);
    for round in 0..6_i64 {
        // No time but ours, so that the alarm is a live one, and waits for the reorder window while linked readings come in.
        let value = if round % 2 == 0 { 90.0 } else { 10.0 };
        node.hear(3, vec![BoundReading { point: own, device_at: None, value, quality: Quality::Good }]).unwrap();
        // Longer than the window, so that the alarm is due at one of them.
        for piece in 0..50 {
            node.link(vec![(3, vec![reading(7, round * 100 + piece, 0, 99.0)])]).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(3));
        }
    }
    let changes = |reader: &Reader| {
        let records = reader.tail(anlan_history::Lsn::ZERO).map(|r| r.unwrap().1);
        let effects = records.flat_map(|r| Notes::decode(&r.notes).unwrap().effects);
        effects.filter(|e| matches!(e, Effect::Alarm(AlarmChange::Raised(_) | AlarmChange::Returned { .. }))).count()
    };
    assert!(changes(&node.reader) > 0);
    let mut shards: Vec<Shard> = (0..64).map(|_| Shard::new(TimeBounds::default())).collect();
    for record in node.reader.tail(anlan_history::Lsn::ZERO) {
        let (lsn, record) = record.unwrap();
        let notes = Notes::decode(&record.notes).unwrap();
        assert!(engine::replay(&mut shards[usize::from(record.shard)], &record, &notes), "record {lsn} is judged as it was");
    }
    node.stop();
}

/// A ledger that lags keeps the log, and only that.
#[test]
fn the_log_is_kept_for_whoever_follows_it() {
    let dir = tempfile::tempdir().unwrap();
    let files = crate::settings::History {
        segment_bytes: 64,
        seal_after_readings: 1,
        keep_log_s: 0,
        checkpoint_ms: 20,
        ..crate::settings::History::default()
    };
    let node = Node::open_with(dir.path(), files, u64::MAX);
    node.handle.hold_log(4);
    let mut second = 0;
    let mut grow = |until: &dyn Fn(u64) -> bool| {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !until(node.reader.first_in_log().0) {
            assert!(std::time::Instant::now() < end, "the log begins with {}", node.reader.first_in_log());
            node.link(vec![(3, vec![reading(7, second, 0, 1.0)])]).unwrap();
            second += 1;
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    };
    grow(&|first| first > 1);
    for _ in 0..20 {
        grow(&|first| {
            assert!(first <= 5, "record 5 is still to be counted, the log begins with {first}");
            true
        });
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    node.handle.hold_log(u64::MAX);
    grow(&|first| first > 5);
    node.stop();
}

/// A history of a few points with revisions, and pieces of it in any order.
fn any_pieces() -> impl Strategy<Value = (Vec<Reading>, Vec<Vec<prop::sample::Index>>)> {
    let row = (0i64..3, prop_oneof![0i64..30, 0i64..200_000], 0u16..3);
    let rows = prop::collection::btree_set(row, 1..60).prop_map(|rows| {
        rows.into_iter().map(|(p, s, revision)| reading(p + 10, s, revision, (p * 1_000 + s) as f64 + f64::from(revision) / 4.0)).collect()
    });
    (rows, prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..40), 1..8))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_order_history_holds_each_identity_once((rows, pieces) in any_pieces(), restart in any::<prop::sample::Index>()) {
        let dir = tempfile::tempdir().unwrap();
        let mut node = Node::open(dir.path());
        let restart = restart.index(pieces.len());
        let (mut stored, mut sent) = (0, 0);
        for (i, piece) in pieces.iter().enumerate() {
            if i == restart {
                node.stop();
                node = Node::open(dir.path());
            }
            let piece: Vec<Reading> = piece.iter().map(|i| rows[i.index(rows.len())]).collect();
            sent += piece.len();
            let kept = node.link(vec![(piece.len() as u16 % 64, piece)]).unwrap();
            stored += kept.stored as usize;
            sent -= (kept.stored + kept.repeated) as usize;
        }
        // At last everything, so that what is held does not depend on what was left out.
        stored += node.link(vec![(1, rows.clone())]).unwrap().stored as usize;
        prop_assert_eq!(sent, 0, "every reading is answered for");
        prop_assert_eq!(node.link(vec![(2, rows.clone())]), Ok(Kept { stored: 0, repeated: rows.len() as u32 }));
        prop_assert_eq!(stored, rows.len());
        prop_assert_eq!(logged(&node.reader), rows.len());
        let want: Vec<_> = rows.iter().map(|r| (r.point.get(), r.event_at.micros() / 1_000_000 - T0, r.revision, r.value)).collect();
        prop_assert_eq!(held(&node.reader), want);
        for point in node.reader.points_in(Timestamp::MIN, Timestamp::MAX) {
            let newest = rows.iter().filter(|r| r.point == point).max_by_key(|r| identity(r)).copied();
            prop_assert_eq!(node.reader.latest(point), newest);
        }
        node.stop();
    }
}

/// A whole node, so that registry, engine, intake and history agree on whose a point is.
#[tokio::test(flavor = "multi_thread")]
async fn a_point_of_another_node_is_shown_here_and_nobody_sends_or_combines_in_its_name() {
    use anlan_model::noun::{CombinationMember, LimitsSource};
    use anlan_model::{Batch, Intake as _, NodeId, RawReading, RegionCode, Scope, Source};
    use anlan_store::{NewCombination, NewDevice, NewEnterprise, Store};

    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("db.sqlite").display());
    let start = async || {
        let store = Store::open(&url).await.unwrap();
        let settings = crate::Settings { disk_free_min_mb: 0, ..crate::Settings::default() };
        crate::start(dir.path(), store, crate::clock::AppClock::real(), settings).await.unwrap()
    };
    let node = start().await;
    let (app, scope, now) = (node.app.clone(), Scope::node(), at(0));
    let enterprise = NewEnterprise {
        code: "E1".into(),
        name: "E1".into(),
        region: RegionCode::new("530402").unwrap(),
        sector: "hazchem".into(),
        place: None,
    };
    let enterprise = app.store.create_enterprise(&scope, &enterprise, now).await.unwrap().id;
    let device = NewDevice {
        code: "M1".into(),
        name: "M1".into(),
        enterprise: Some(enterprise),
        protocol: "mqtt".into(),
        gateway: false,
        may_backfill: false,
        secret_hash: [0; 32],
    };
    let device = app.store.create_device(&scope, &device, now).await.unwrap().id;
    app.store.ensure_points_of(&[(device, vec!["p".to_owned(), "q".to_owned()])], now).await.unwrap();
    anlan_store::testing::tamper(
        &url,
        "INSERT INTO mirror (node, kind, remote_id, local_id) SELECT '0000000000000000000000000000000a', 'point', 77, id FROM point WHERE code = 'p';
INSERT INTO mirror (node, kind, remote_id, local_id) SELECT '0000000000000000000000000000000a', 'device', 5, id FROM device WHERE code = 'M1';",
    )
    .await;
    app.registry.renew([crate::registry::Touched::Device(device)]).await.unwrap();
    let known = app.registry.get();
    let (own, child) = (NodeId::new(0xb), NodeId::new(0xa));
    let here = known.here(own, child, PointId::new(77)).unwrap();
    let beside = known.point_by_code[&device]["q"];
    assert_eq!((known.origin(own, here), known.origin(own, beside)), ((child, PointId::new(77)), (own, beside)));
    assert_eq!(known.here(own, own, here), None, "it is not this node's own");

    let link = async |app: &crate::App, point: PointId| {
        let (send, receive) = tokio::sync::oneshot::channel();
        let reply = Box::new(move |answer| send.send(answer).unwrap());
        app.engine.offer_linked(Linked::new(&app.registry.get(), vec![reading(point.get(), 0, 0, 42.5)], reply));
        receive.await.unwrap()
    };
    assert_eq!(link(&app, here).await, Ok(Kept { stored: 1, repeated: 0 }));
    assert_eq!(link(&app, beside).await, Err(Refusal::UnknownSource), "a point of this node is judged here");

    let (send, receive) = tokio::sync::oneshot::channel();
    let batch = Batch {
        source: Source::Device { device, protocol: "mqtt" },
        received_at: at(1),
        readings: vec![RawReading { code: "p".into(), device_at: None, value: 1.0, quality: Quality::Good }],
        bound: Default::default(),
        positions: Vec::new(),
        events: Vec::new(),
        backfill: false,
        reply: Box::new(move |answer| send.send(answer).unwrap()),
    };
    node.intake.offer(batch);
    assert_eq!(receive.await.unwrap(), Err(Refusal::UnknownSource), "its device speaks at home");

    let member = |kind| CombinationMember { point: here, kind };
    let wish = NewCombination {
        enterprise,
        name: "c".into(),
        level: Level::Yellow,
        needed: 2,
        within_s: 10.0,
        members: vec![member(RuleKind::H), member(RuleKind::L)],
        source: LimitsSource { document: "t".into(), clause: String::new() },
    };
    let refused = crate::combination::create(&app, &scope, wish).await.unwrap_err();
    assert!(refused.problems.iter().all(|p| p.code == "combination.mirrored"), "{refused:?}");

    drop((app, known));
    node.stop().await;
    let node = start().await;
    let seen = node.app.store.point_set(&scope, &anlan_store::PointFilter::default()).await.unwrap();
    assert_eq!(node.app.telemetry.latest(&seen, here).map(|r| r.value), Some(42.5), "also after a restart");
    let shown = node.app.telemetry.readings(&seen, here, at(-10), at(10), None, 10).unwrap();
    assert_eq!(shown.len(), 1);
    assert_eq!(link(&node.app, here).await, Ok(Kept { stored: 0, repeated: 1 }));
    node.stop().await;
}
