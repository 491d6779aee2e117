//! A child's log, in pieces, through a parent's engine: both ledgers say the same whatever the order, and something else where something is missing.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use anlan_model::batch::BoundReading;
use anlan_model::noun::{Limits, Point};
use anlan_model::{DeviceId, Kept, Quality, Timestamp};

use super::*;
use crate::telemetry::linked::tests::Node;
use crate::telemetry::linked::{Linked, Unarchived, unarchived};
use crate::telemetry::piece::{self, LogPieces};
use crate::telemetry::shard::SubjectConfig;

pub(crate) const CHILD: NodeId = NodeId::new(0xa);
pub(crate) const PARENT: NodeId = NodeId::new(0xb);
/// How much higher ids of the child's points are at the parent.
pub(crate) const SHIFT: i64 = 1_000;
/// 2024-06-15 22:00 in Beijing: two hours before midnight.
const T0: i64 = 1_718_460_000;

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_secs(T0 + second)
}

/// A node with a ledger, in a directory of its own.
pub(crate) fn every_day() -> Wanted {
    Wanted { limit: usize::MAX, ..Wanted::default() }
}

pub(crate) struct Bench {
    pub(crate) node: Node,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) store: Store,
    pub(crate) known: Arc<Snapshot>,
    pub(crate) own: NodeId,
    pub(crate) whole: Whole,
    pub(crate) running: Option<(CancellationToken, tokio::task::JoinHandle<()>)>,
}

impl Bench {
    pub(crate) async fn open(dir: &Path, own: NodeId, known: Snapshot) -> Self {
        let files = crate::settings::History { seal_after_readings: 100, ..crate::settings::History::default() };
        let node = Node::open_with(&dir.join("history"), files, u64::MAX);
        let store = Store::open(&format!("sqlite:{}", dir.join("db.sqlite").display())).await.unwrap();
        let known = Arc::new(known);
        let shown = known.clone();
        let whole = Whole::new(node.reader.clone(), None);
        let sources = Sources {
            own,
            whole: whole.clone(),
            store: store.clone(),
            engine: node.handle.clone(),
            durable: node.durable.clone(),
            known: Arc::new(move || shown.clone()),
            dropping: Arc::default(),
            clock: Arc::new(crate::clock::AppClock::real()),
        };
        let ledger = Arc::new(Ledger::open(sources).await.unwrap());
        Self { node, ledger, store, known, own, whole, running: None }
    }

    /// Stops in order: engine, then the ledger, which counts and writes the rest.
    pub(crate) async fn stop(mut self) {
        let (stop, task) = self.running.take().unwrap_or_else(|| {
            let stop = CancellationToken::new();
            (stop.clone(), tokio::spawn(self.ledger.clone().run(stop)))
        });
        self.node.stop();
        stop.cancel();
        task.await.unwrap();
        self.store.close().await;
    }

    /// Hears readings of own points: (point, second, value).
    pub(crate) fn hear(&self, rows: &[(i64, i64, f64)]) {
        for rows in rows.chunks(50) {
            let one = |(p, s, value): &(i64, i64, f64)| BoundReading {
                point: PointId::new(*p),
                device_at: Some(at(*s)),
                value: *value,
                quality: Quality::Good,
            };
            self.node.hear(3, rows.iter().map(one).collect()).unwrap();
        }
    }

    /// Takes a piece as the glue will: map, link.
    pub(crate) fn take(&self, bytes: &[u8]) -> Kept {
        let mut readings = Vec::new();
        for (origin, rows) in piece::decode(bytes, at(100_000)).unwrap() {
            let here = |there| self.known.here(self.own, origin, there).unwrap();
            readings.extend(rows.into_iter().map(|r| Reading { point: here(r.point), ..r }));
        }
        let Unarchived { readings, n_known, days } = unarchived(&self.whole, readings).unwrap();
        let linked = Linked { archived: days, ..Linked::new(&self.known, readings, Box::new(|_| {})) };
        let kept = self.node.link_all(linked).unwrap();
        Kept { repeated: kept.repeated + n_known, ..kept }
    }

    pub(crate) fn pieces(&self, most: usize) -> Vec<piece::Piece> {
        let mut log = LogPieces::new(self.whole.clone());
        let (mut from, mut all) = (0, Vec::new());
        loop {
            let piece = log.read(&|p| Some(self.known.origin(self.own, p)), from, u64::MAX, most, 1 << 20).unwrap();
            if piece.to == from {
                return all;
            }
            from = piece.to;
            all.extend(Some(piece).filter(|p| p.n_readings > 0));
        }
    }

    pub(crate) fn day_pieces(&self, origin: NodeId, day: i32) -> Vec<Vec<u8>> {
        let points = points_of(&self.known, self.own, origin);
        let (mut after, mut all) = (None, Vec::new());
        loop {
            let part = piece::read_day(&self.whole, &points, origin, day, &Agreed::plain(Readings::All), after, 37).unwrap();
            all.push(part.bytes);
            after = part.next;
            if after.is_none() {
                return all;
            }
        }
    }

    pub(crate) async fn days(&self) -> Vec<(NodeId, i32, Digest)> {
        let claim = self.ledger.claim(&every_day()).await.unwrap();
        assert_eq!(claim.at, self.node.reader.durable().0);
        claim.days.into_iter().map(|d| (d.origin, d.day, d.digest)).collect()
    }

    /// The days of a ledger that is made from history as it is now.
    pub(crate) async fn made_anew(&self) -> Vec<DayDigest> {
        let known = self.known.clone();
        let mut made = count_all(&self.whole, self.own, &(Arc::new(move || known.clone()) as Known), self.node.reader.durable().0).unwrap();
        made.add(self.store.all_thinned_here().await.unwrap(), &self.whole);
        made.claim(&every_day()).days
    }
}

fn point(id: i64) -> Arc<Point> {
    Arc::new(Point {
        id: PointId::new(id),
        device: DeviceId::new(1),
        enterprise: None,
        site: String::new(),
        code: id.to_string(),
        name: String::new(),
        unit: String::new(),
        kind: String::new(),
        period_s: 0.0,
        range_low: None,
        range_high: None,
        limits: Limits::default(),
        limits_source: None,
        confirmed: true,
        place: None,
        revision: 1,
    })
}

pub(crate) fn child_knows(n_points: i64) -> Snapshot {
    Snapshot { points: Arc::new((1..=n_points).map(|id| (PointId::new(id), point(id))).collect()), ..Snapshot::default() }
}

pub(crate) fn parent_knows(n_points: i64) -> Snapshot {
    let mirrored: HashMap<_, _> = (1..=n_points).map(|id| (PointId::new(id + SHIFT), (CHILD, PointId::new(id)))).collect();
    Snapshot {
        points: Arc::new((1..=n_points).map(|id| (PointId::new(id + SHIFT), point(id + SHIFT))).collect()),
        mirrored_as: Arc::new(mirrored.iter().map(|(here, there)| (*there, *here)).collect()),
        mirrored: Arc::new(mirrored),
        ..Snapshot::default()
    }
}

/// A child that has heard three points over midnight, with revisions.
pub(crate) async fn child(dir: &Path) -> Bench {
    let child = Bench::open(dir, CHILD, child_knows(3)).await;
    let configs = (1..=3).map(|id| {
        (3, SubjectConfig { subject: anlan_model::Subject::Point(PointId::new(id)), rules: Arc::new([]), range: None, newest: None })
    });
    child.node.handle.configure(configs.collect());
    let rows: Vec<_> = (0..300).map(|n| (n % 3 + 1, n * 60, (n % 17) as f64 / 10.0)).collect();
    child.hear(&rows);
    child.hear(&[(1, 0, 99.0), (2, 60 * 151, 98.0), (1, 0, 99.5)]);
    child
}

pub(crate) fn days_of(all: &[(NodeId, i32, Digest)], origin: NodeId) -> Vec<(i32, Digest)> {
    all.iter().filter(|(of, ..)| *of == origin).map(|(_, day, digest)| (*day, *digest)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_that_hold_the_same_say_the_same_and_others_do_not() {
    let (a_dir, b_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let a = child(a_dir.path()).await;
    let b = Bench::open(b_dir.path(), PARENT, parent_knows(3)).await;
    let ours = days_of(&a.days().await, CHILD);
    assert_eq!((ours.len(), ours[0].1.n + ours[1].1.n), (2, 303), "two civil days");
    assert_eq!(ours[0].0 + 1, ours[1].0);

    // The newest first, as live pieces overtake; then the backlog but for one piece.
    let pieces = a.pieces(40);
    assert!(pieces.len() > 5);
    let (lost, others) = pieces.split_first().unwrap();
    let stored: u32 = others.iter().rev().map(|p| b.take(&p.bytes).stored).sum();
    assert_eq!(stored as usize, 303 - lost.n_readings);
    let theirs = days_of(&b.days().await, CHILD);
    assert_eq!(theirs[1], ours[1], "the day that has arrived");
    assert_ne!(theirs[0], ours[0], "the day of which a piece is lost");
    let (at_home, here) = (
        a.ledger.point_digests(CHILD, ours[0].0, Readings::All).await.unwrap(),
        b.ledger.point_digests(CHILD, ours[0].0, Readings::All).await.unwrap(),
    );
    let differing: Vec<_> = at_home.iter().filter(|(p, d)| here.iter().all(|(q, e)| (p, d) != (q, e))).map(|(p, _)| *p).collect();
    let decoded = piece::decode(&lost.bytes, at(0)).unwrap();
    let mut want: Vec<_> = decoded[0].1.iter().map(|r| r.point.get()).collect();
    want.dedup();
    assert_eq!(differing, want, "the points of the piece that is lost");

    // The whole day again mends it; everything again changes nothing.
    let stored: u32 = a.day_pieces(CHILD, ours[0].0).iter().map(|p| b.take(p).stored).sum();
    assert_eq!(stored as usize, lost.n_readings);
    assert_eq!(days_of(&b.days().await, CHILD), ours);
    let again: u32 = pieces.iter().map(|p| b.take(&p.bytes).stored).sum();
    let day_again: u32 = a.day_pieces(CHILD, ours[1].0).iter().map(|p| b.take(p).stored).sum();
    assert_eq!((again, day_again, days_of(&b.days().await, CHILD)), (0, 0, ours.clone()));
    assert_eq!(
        a.ledger.point_digests(CHILD, ours[0].0, Readings::All).await.unwrap(),
        b.ledger.point_digests(CHILD, ours[0].0, Readings::All).await.unwrap()
    );

    // A node further up gets them from the parent, named as at home.
    let c_dir = tempfile::tempdir().unwrap();
    let c = Bench::open(c_dir.path(), NodeId::new(0xc), parent_knows(3)).await;
    b.pieces(70).iter().for_each(|p| _ = c.take(&p.bytes));
    assert_eq!(days_of(&c.days().await, CHILD), ours);
    for bench in [a, b, c] {
        bench.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_goes_on_where_the_database_stands_and_is_made_anew_where_there_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let a = child(dir.path()).await;
    let ours = a.days().await;
    let early = a.ledger.at();
    a.stop().await;

    // Goes on: position and days are there before anything is read.
    let a = Bench::open(dir.path(), CHILD, child_knows(3)).await;
    assert!(a.ledger.at() >= early);
    assert_eq!(a.ledger.day(CHILD, ours[0].1), ours[0].2);
    a.hear(&[(3, 500_000, 1.0)]);
    let more = a.ledger.claim(&Wanted { since: a.ledger.at(), ..every_day() }).await.unwrap();
    assert_eq!((more.days.len(), more.days[0].digest.n), (1, 1), "only the day that changed");
    let asked = Day { origin: CHILD, day: ours[0].1 };
    let none = Wanted { since: a.ledger.at(), ..every_day() };
    assert_eq!(a.ledger.claim(&none).await.unwrap().days.len(), 0);
    let also = a.ledger.claim(&Wanted { also: [asked].into(), ..none }).await.unwrap();
    assert_eq!((also.days.len(), also.days[0].digest), (1, a.ledger.day(CHILD, asked.day)), "and one that is asked for");
    let part = a.ledger.claim(&Wanted { limit: 1, ..every_day() }).await.unwrap();
    let behind = Day { origin: part.days[0].origin, day: part.days[0].day };
    let rest = a.ledger.claim(&Wanted { after: Some(behind), ..every_day() }).await.unwrap();
    let parts: Vec<_> = part.days.iter().chain(&rest.days).map(|d| (d.origin, d.day, d.digest)).collect();
    assert_eq!(parts, a.days().await, "in parts");
    let asked = [Day { origin: CHILD, day: ours[0].1 }, Day { origin: PARENT, day: 1 }];
    let verdict = a.ledger.verdict(&asked).await.unwrap();
    assert_eq!((verdict.days[0].digest, verdict.days[1].digest), (ours[0].2, Digest::default()));
    // As after a crash: what was counted is not written.
    let (all, position) = (a.days().await, a.store.ledger_position().await.unwrap());
    a.node.stop();
    a.store.close().await;
    let a = Bench::open(dir.path(), CHILD, child_knows(3)).await;
    assert_eq!(a.ledger.at(), position.unwrap());
    assert_eq!(a.days().await, all);

    // From history, while the engine goes on: the same, to the last reading.
    let (whole, known) = (Whole::new(a.node.reader.clone(), None), a.known.clone());
    let known: Known = Arc::new(move || known.clone());
    let begin = a.node.reader.durable().0;
    let counting = tokio::task::spawn_blocking({
        let (whole, known) = (whole.clone(), known.clone());
        move || (0..20).map(|_| count_all(&whole, CHILD, &known, begin).unwrap()).collect::<Vec<_>>()
    });
    for n in 0..40 {
        a.hear(&[(1, 1_000 + n, 5.0), (2, 30 + n, 6.0), (3, -90_000 * n, 7.0)]);
    }
    let books = counting.await.unwrap();
    for mut book in books {
        // Whatever it had seen by then: what follows in the log makes it equal.
        let mut turn = Turn { at: book.at, ..Turn::default() };
        let mut tail = a.node.reader.tail(Lsn(book.at));
        count(&mut tail, u64::MAX, CHILD, &known, &mut turn, |_, _| true).unwrap();
        book.take(turn);
        let want = a.ledger.claim(&every_day()).await.unwrap();
        assert_eq!(book.claim(&every_day()), want);
    }
    a.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_kept_for_the_ledger_and_followed_while_it_grows() {
    let dir = tempfile::tempdir().unwrap();
    let mut a = child(dir.path()).await;
    let stop = CancellationToken::new();
    a.running = Some((stop.clone(), tokio::spawn(a.ledger.clone().run(stop))));
    a.hear(&[(1, 700_000, 1.0)]);
    let until = Instant::now() + Duration::from_secs(20);
    while a.store.ledger_position().await.unwrap().is_none_or(|at| at < a.node.reader.durable().0) {
        assert!(Instant::now() < until, "the database never learns of it");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let rows = a.store.ledger().await.unwrap();
    let all = a.days().await;
    assert_eq!(rows.iter().map(|r| r.n_readings).sum::<u64>(), 304);
    assert_eq!(rows.len(), all.len());
    a.stop().await;
}

struct Nobodys;

impl anlan_archive::Describe for Nobodys {
    fn point(&self, id: i64, _: UtcDay) -> Arc<anlan_archive::Description> {
        let labels = [id.to_string(), String::new(), String::new(), String::new(), String::new()];
        Arc::new(anlan_archive::Description { region: "unassigned".to_owned(), labels: labels.into_iter().collect() })
    }
    fn vehicle(&self, id: i64, day: UtcDay) -> Arc<anlan_archive::Description> {
        self.point(id, day)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_archived_and_dropped_is_proven_and_sent_and_not_kept_again() {
    let (a_dir, b_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let a = child(a_dir.path()).await;
    let mut b = Bench::open(b_dir.path(), PARENT, parent_knows(3)).await;
    a.pieces(1_000).iter().for_each(|p| _ = b.take(&p.bytes));
    let ours = days_of(&a.days().await, CHILD);
    // The newest seal has all of it.
    let until = Instant::now() + Duration::from_secs(20);
    while b.node.reader.stats().head_readings > 0 {
        assert!(Instant::now() < until, "nothing is sealed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let now = at(86_400 * 30);
    let place = anlan_archive::Place { url: b_dir.path().join("archive").display().to_string(), endpoint: None, region: None };
    let archive = anlan_archive::Archive::open(&place, b_dir.path(), "b", 8).unwrap();
    let round = anlan_archive::run(&archive, &b.node.reader, &Nobodys, now, 1, &|| false).unwrap();
    assert_eq!(round.rows, 303);
    b.whole.attach(Arc::new(archive));
    let whole = b.whole.clone();
    let archived: anlan_history::Archived = Arc::new(move |day, _| whole.release(UtcDay::of(day)).unwrap().is_some());
    let policy = anlan_history::Policy { default_days: Some(1), archived: Some(archived), ..anlan_history::Policy::default() };
    let mut n_dropped = 0;
    while let Some(thinned) = b.node.keeper.thin(now, &policy).unwrap() {
        n_dropped += thinned.readings;
    }
    assert_eq!((n_dropped, b.node.reader.every_revision(PointId::new(1 + SHIFT), at(-1), at(99_999)).unwrap().len()), (303, 0));

    for (day, digest) in &ours {
        let here = b.ledger.point_digests(CHILD, *day, Readings::All).await.unwrap();
        assert_eq!(here, a.ledger.point_digests(CHILD, *day, Readings::All).await.unwrap());
        assert_eq!(here.iter().map(|(_, d)| d.n).sum::<u64>(), digest.n);
        let again: u32 = a.day_pieces(CHILD, *day).iter().map(|p| b.take(p).stored).sum();
        assert_eq!(again, 0);
        // And it goes on upwards from where it lies now.
        let sent = b.day_pieces(CHILD, *day).iter().flat_map(|p| piece::decode(p, at(0)).unwrap()).map(|(_, r)| r.len()).sum::<usize>();
        assert_eq!(sent as u64, digest.n);
    }
    assert_eq!(days_of(&b.days().await, CHILD), ours);
    // A ledger made anew finds it as well.
    let known = b.known.clone();
    let made = count_all(&b.whole, PARENT, &(Arc::new(move || known.clone()) as Known), b.node.reader.durable().0).unwrap();
    assert_eq!(made.claim(&every_day()).days, b.ledger.claim(&every_day()).await.unwrap().days);
    a.stop().await;
    b.stop().await;
}

/// How fast a receiver keeps and counts on this machine: prints; run it in release.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_is_fast_enough() {
    let n_steps = if cfg!(debug_assertions) { 20 } else { 500 };
    let dir = tempfile::tempdir().unwrap();
    let b = Bench::open(dir.path(), PARENT, parent_knows(1_000)).await;
    let piece = |first: i64| {
        let steps = (first..first + n_steps).flat_map(|n| {
            (1..=1_000).map(move |p| Reading {
                point: PointId::new(p),
                event_at: at(n * 10),
                device_at: Some(at(n * 10)),
                received_at: at(0),
                value: ((n * 37 + p * 101) % 17) as f64 / 10.0,
                quality: Quality::Good,
                flags: anlan_model::Flags::empty(),
                revision: 0,
            })
        });
        piece::encode(&std::collections::BTreeMap::from([(CHILD, steps.collect())]))
    };
    let n = n_steps as f64 * 1_000.0;
    for (name, bytes) in [("behind the newest", piece(n_steps)), ("before it", piece(0)), ("once more", piece(0))] {
        let start = std::time::Instant::now();
        let kept = b.take(&bytes);
        println!("{name}: {:.0}/s kept, {kept:?}", n / start.elapsed().as_secs_f64());
    }
    let start = std::time::Instant::now();
    b.ledger.catch_up().await.unwrap();
    println!("{:.0}/s counted", 2.0 * n / start.elapsed().as_secs_f64());
    assert_eq!(b.days().await.iter().map(|(_, _, d)| d.n).sum::<u64>(), 2_000 * n_steps as u64);
    b.stop().await;
}
