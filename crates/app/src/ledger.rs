//! The ledger (对账簿): what this node holds of each origin and civil day, as a count and a sum that other nodes can be compared with.
//!
//! A follower of the log: memory says what is counted, and every [`WRITE_EVERY`] goes to the database together with the log position it
//! stands for, so that after a crash counting goes on from there; the engine keeps the log behind that position. Only a node that is linked
//! has one. What it proves, and what not: ADR 0021. Start at [`Ledger::open`], then [`Ledger::run`] and [`Ledger::claim`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anlan_archive::{ArchiveError, Day as UtcDay, Whole};
use anlan_history::{HistoryError, Lsn, Reader, Tail};
use anlan_link::agreement::Readings;
use anlan_link::digest::Digest;
use anlan_link::message::{Claim, Day, DayDigest};
use anlan_link::session::Wanted;
use anlan_model::{Clock as _, NodeId, PointId, Reading};
use anlan_store::{LedgerRow, Store, StoreError};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::around::Agreed;
use crate::clock::{AppClock, date_of, day_bounds, day_number, number_of};
use crate::registry::Snapshot;
use crate::telemetry::engine::EngineHandle;
use crate::telemetry::piece::points_of;
use crate::thinned;

/// What is counted reaches the database this often (real time): what a crash makes to be counted again.
const WRITE_EVERY: Duration = Duration::from_secs(2);
/// The log is looked at this long after it grew (real time), so that one look serves many commits; whoever asks does not wait for it.
const GATHER: Duration = Duration::from_millis(250);
/// Readings counted between two looks at whether others want something.
const PER_TURN: usize = 500_000;
/// Pause after a failure (real time).
const RETRY: Duration = Duration::from_secs(5);

/// Says what is known of points now.
pub type Known = Arc<dyn Fn() -> Arc<Snapshot> + Send + Sync>;

/// What a ledger is kept of, and where.
pub struct Sources {
    /// This node.
    pub own: NodeId,
    /// History, and the log.
    pub whole: Whole,
    /// Where it is kept.
    pub store: Store,
    /// Whose log it holds.
    pub engine: EngineHandle,
    /// Last durable log position, as it grows.
    pub durable: watch::Receiver<u64>,
    /// What is known of points: whose a reading is.
    pub known: Known,
    /// Held while something is dropped.
    pub dropping: Arc<Mutex<()>>,
    /// Domain time.
    pub clock: Arc<AppClock>,
}

/// Why the ledger says nothing now.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database.
    #[error("the database")]
    Store(#[from] StoreError),
    /// The log.
    #[error("the log")]
    History(#[from] HistoryError),
    /// History or archive.
    #[error("history")]
    Archive(#[from] ArchiveError),
    /// The counting panicked.
    #[error("the counting broke off")]
    Broken(#[from] tokio::task::JoinError),
}

type Key = (NodeId, i32);

/// A day as counted.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    digest: Digest,
    /// The last record that added to it, or the position it was read from the database at.
    changed_at: u64,
}

/// Everything counted up to a position.
#[derive(Debug, Default)]
struct Book {
    at: u64,
    days: BTreeMap<Key, Counted>,
    /// Not in the database yet.
    unwritten: BTreeSet<Key>,
    written_at: u64,
    /// The database holds something else altogether.
    anew: bool,
}

impl Book {
    fn take(&mut self, turn: Turn) {
        for (key, counted) in turn.days {
            let day = self.days.entry(key).or_default();
            day.digest.join(&counted.digest);
            day.changed_at = counted.changed_at;
            self.unwritten.insert(key);
        }
        self.at = turn.at;
    }

    /// Counts in what gave way before the book was made, but for days that the archive has: those were counted there.
    fn add(&mut self, gone: Vec<(NodeId, String, anlan_store::Counted)>, whole: &Whole) {
        for (origin, day, counted) in gone {
            let Ok(day) = day.parse().map(number_of) else { continue };
            // A civil day touches two of the archive's.
            let is_archived =
                whole.archive().is_some_and(|archive| [day - 1, day].iter().any(|utc| archive.holds(UtcDay::new(i64::from(*utc)))));
            if !is_archived {
                let held = self.days.entry((origin, day)).or_insert(Counted { changed_at: self.at, ..Counted::default() });
                held.digest.join(&Digest { n: counted.n, sum: counted.sum });
                self.unwritten.insert((origin, day));
            }
        }
    }

    fn claim(&self, wanted: &Wanted) -> Claim {
        let from = wanted.after.map_or(Bound::Unbounded, |after| Bound::Excluded((after.origin, after.day)));
        let days = self.days.range((from, Bound::Unbounded)).map(|((origin, day), counted)| (Day { origin: *origin, day: *day }, counted));
        let days = days.filter(|(day, counted)| wanted.has(*day, counted.changed_at)).take(wanted.limit);
        Claim { at: self.at, days: days.map(|(day, c)| DayDigest { origin: day.origin, day: day.day, digest: c.digest }).collect() }
    }
}

/// What a stretch of the log adds.
#[derive(Debug, Default)]
struct Turn {
    at: u64,
    n_readings: usize,
    days: BTreeMap<Key, Counted>,
}

/// The ledger of one node.
pub struct Ledger {
    sources: Sources,
    reader: Reader,
    book: Mutex<Book>,
    /// Held while the log is read; the place there.
    counting: tokio::sync::Mutex<Option<(u64, Tail)>>,
    /// Held while the database is written.
    writing: tokio::sync::Mutex<()>,
}

impl Ledger {
    /// Goes on from where the database stands. Where the log no longer reaches back to that, or never was followed and does not begin with the
    /// first record, everything that history holds is counted once. Best opened before the engine runs, which from here on keeps the log.
    ///
    /// # Errors
    /// [`LedgerError`]; nothing is kept then, and the engine may release its log.
    pub async fn open(sources: Sources) -> Result<Self, LedgerError> {
        let reader = sources.whole.hot().clone();
        let position = sources.store.ledger_position().await?;
        sources.engine.hold_log(position.unwrap_or(0));
        let ledger = Self {
            sources,
            reader,
            book: Mutex::default(),
            counting: tokio::sync::Mutex::default(),
            writing: tokio::sync::Mutex::default(),
        };
        let opened = ledger.begin(position).await;
        if opened.is_err() {
            ledger.sources.engine.hold_log(u64::MAX);
        }
        opened.map(|()| ledger)
    }

    async fn begin(&self, position: Option<u64>) -> Result<(), LedgerError> {
        let from = position.unwrap_or(0);
        let follows = from.saturating_add(1) >= self.reader.first_in_log().0 && from <= self.reader.durable().0;
        if follows {
            let mut book = Book { at: from, written_at: from, anew: position.is_none(), ..Book::default() };
            for row in if position.is_some() { self.sources.store.ledger().await? } else { Vec::new() } {
                let digest = Digest { n: row.n_readings, sum: u128::from_str_radix(&row.sum, 16).map_err(|_| corrupt(&row))? };
                let day = row.day.parse().map(number_of).map_err(|_| corrupt(&row))?;
                book.days.insert((row.origin, day), Counted { digest, changed_at: from });
            }
            *self.book() = book;
            return Ok(());
        }
        let (own, whole, known) = (self.sources.own, self.sources.whole.clone(), self.sources.known.clone());
        // What is durable now stays in the log until it is counted.
        let begin = self.reader.durable().0;
        self.sources.engine.hold_log(begin);
        info!(position = begin, "the ledger is made from history: it was not kept before, or the log no longer reaches back to it");
        let (store, dropping, clock, runtime) =
            (self.sources.store.clone(), self.sources.dropping.clone(), self.sources.clock.clone(), Handle::current());
        let counting = move || -> Result<Book, LedgerError> {
            // What gives way stays counted: nothing may go between reading what did and reading what is there.
            let _dropping = dropping.lock().unwrap_or_else(PoisonError::into_inner);
            let gone = runtime.block_on(async {
                thinned::settle(&store, whole.hot(), clock.now()).await?;
                store.all_thinned_here().await
            })?;
            let mut book = count_all(&whole, own, &known, begin)?;
            book.add(gone, &whole);
            Ok(book)
        };
        let book = tokio::task::spawn_blocking(counting).await??;
        info!(position = book.at, days = book.days.len(), "the ledger stands at {}", book.at);
        *self.book() = book;
        self.write().await
    }

    pub(crate) fn sources(&self) -> &Sources {
        &self.sources
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log position up to which everything is counted.
    pub fn at(&self) -> u64 {
        self.book().at
    }

    /// What is held of a day of an origin, counted up to [`Self::at`].
    pub fn day(&self, origin: NodeId, day: i32) -> Digest {
        self.book().days.get(&(origin, day)).map_or_else(Digest::default, |counted| counted.digest)
    }

    /// Counts everything that is durable now and returns the position it stands at.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn catch_up(&self) -> Result<u64, LedgerError> {
        let until = self.reader.durable().0;
        let mut place = self.counting.lock().await;
        loop {
            let at = self.at();
            if at >= until {
                return Ok(at);
            }
            let tail = place.take().filter(|(stands_at, _)| *stands_at == at).map(|(_, tail)| tail);
            let mut tail = tail.unwrap_or_else(|| self.reader.tail(Lsn(at)));
            let (own, known) = (self.sources.own, self.sources.known.clone());
            let work = move || {
                let mut turn = Turn { at, ..Turn::default() };
                let counted = count(&mut tail, until, own, &known, &mut turn, |_, _| true);
                counted.map(|()| (turn, tail))
            };
            let (turn, tail) = tokio::task::spawn_blocking(work).await??;
            *place = Some((turn.at, tail));
            metrics::counter!("anlan_ledger_readings_total").increment(turn.n_readings as u64);
            self.book().take(turn);
        }
    }

    /// Everything durable now of these days. One instant: position and digests belong together. After a restart a day counts as changed at the
    /// position the node began with.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn claim(&self, wanted: &Wanted) -> Result<Claim, LedgerError> {
        self.catch_up().await?;
        Ok(self.book().claim(wanted))
    }

    /// The same of these days, also of those of which nothing is held.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn verdict(&self, days: &[Day]) -> Result<Claim, LedgerError> {
        self.catch_up().await?;
        let book = self.book();
        let one = |d: &Day| DayDigest {
            origin: d.origin,
            day: d.day,
            digest: book.days.get(&(d.origin, d.day)).map_or_else(Digest::default, |counted| counted.digest),
        };
        Ok(Claim { at: book.at, days: days.iter().map(one).collect() })
    }

    /// What is held, or what is agreed of it, of each point of `origin` on that day, by the point's id there; from history, as it is now. Points with nothing are left out.
    ///
    /// # Errors
    /// History or archive cannot be read.
    pub async fn point_digests(&self, origin: NodeId, day: i32, agreed: Readings) -> Result<Vec<(i64, Digest)>, LedgerError> {
        let agreed = Agreed::of_day(&self.sources.store, agreed, day).await?;
        let (own, whole, known) = (self.sources.own, self.sources.whole.clone(), self.sources.known.clone());
        let work = move || -> Result<Vec<(i64, Digest)>, LedgerError> {
            let (from, to) = day_bounds(day);
            let mut found = Vec::new();
            for (here, there) in points_of(&known(), own, origin) {
                if agreed.is_nothing(here, from, to) {
                    continue;
                }
                let mut digest = Digest::default();
                agreed.part(here, whole.every_revision(here, from, to)?).iter().for_each(|r| add(&mut digest, there, r));
                if digest.n > 0 {
                    found.push((there.get(), digest));
                }
            }
            found.sort_by_key(|(point, _)| *point);
            Ok(found)
        };
        tokio::task::spawn_blocking(work).await?
    }

    /// Follows the log until stopped, then counts and writes what is durable by then.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut durable = self.sources.durable.clone();
        let mut write_at = Instant::now() + WRITE_EVERY;
        loop {
            let stopping = stop.is_cancelled();
            let is_due = stopping || Instant::now() >= write_at;
            let done = async {
                self.catch_up().await?;
                if is_due { self.write().await } else { Ok(()) }
            };
            if let Err(failure) = done.await {
                warn!(error = &failure as &dyn std::error::Error, "the ledger does not get on; the log is kept, next try in {RETRY:?}");
                write_at = Instant::now() + RETRY;
                if !stopping {
                    tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(RETRY) => {} }
                    continue;
                }
            }
            if stopping {
                return;
            }
            if is_due {
                write_at = Instant::now() + WRITE_EVERY;
            }
            let lags = {
                let book = self.book();
                book.written_at < book.at || !book.unwritten.is_empty()
            };
            tokio::select! {
                () = stop.cancelled() => {}
                grown = durable.changed() => {
                    if grown.is_err() {
                        // The engine has gone: nothing more comes.
                        stop.cancelled().await;
                    } else {
                        tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(GATHER) => {} }
                    }
                }
                () = tokio::time::sleep_until(write_at), if lags => {}
            }
        }
    }

    #[cfg(test)]
    pub(crate) async fn write_now(&self) {
        self.write().await.unwrap();
    }

    /// What is counted and not written goes to the database, with the position; then the log before it may go.
    async fn write(&self) -> Result<(), LedgerError> {
        let _guard = self.writing.lock().await;
        let (at, anew, keys, rows) = {
            let mut book = self.book();
            if book.at == book.written_at && book.unwritten.is_empty() && !book.anew {
                return Ok(());
            }
            let keys = std::mem::take(&mut book.unwritten);
            let rows: Vec<_> = keys.iter().filter_map(|key| Some((*key, book.days.get(key)?))).map(|(key, c)| row(key, c)).collect();
            (book.at, book.anew, keys, rows)
        };
        let written = self.sources.store.put_ledger(at, &rows, anew).await;
        let mut book = self.book();
        match written {
            Ok(()) => {
                (book.written_at, book.anew) = (at, false);
                drop(book);
                self.sources.engine.hold_log(at);
                metrics::gauge!("anlan_ledger_position").set(at as f64);
                Ok(())
            }
            Err(failure) => {
                book.unwritten.extend(keys);
                Err(failure.into())
            }
        }
    }
}

fn row((origin, day): Key, counted: &Counted) -> LedgerRow {
    LedgerRow { origin, day: date_of(day).to_string(), n_readings: counted.digest.n, sum: counted.digest.to_string() }
}

fn corrupt(row: &LedgerRow) -> StoreError {
    StoreError::Corrupt(format!("the ledger of {} on {}", row.origin, row.day))
}

fn add(digest: &mut Digest, there: PointId, r: &Reading) {
    digest.add(there.get(), r.event_at.micros(), r.value, r.quality.code(), r.revision);
}

/// Counts records of the log up to `until`, which is durable, or as many as one turn takes; of each those readings that `wants` their record.
fn count(
    tail: &mut Tail,
    until: u64,
    own: NodeId,
    known: &Known,
    turn: &mut Turn,
    wants: impl Fn(u64, &Reading) -> bool,
) -> Result<(), HistoryError> {
    // Whoever links readings of a point has it from a snapshot, which was there before they are in the log: so this one knows it too.
    let snapshot = known();
    while turn.at < until && turn.n_readings < PER_TURN {
        let Some(record) = tail.next() else { break };
        let (lsn, record) = record?;
        for of_point in record.readings.chunk_by(|a, b| a.point == b.point) {
            let (origin, there) = snapshot.origin(own, of_point[0].point);
            for r in of_point.iter().filter(|r| wants(lsn.0, r)) {
                let day = turn.days.entry((origin, day_number(r.event_at))).or_default();
                add(&mut day.digest, there, r);
                day.changed_at = lsn.0;
            }
        }
        turn.n_readings += record.readings.len();
        turn.at = lsn.0;
    }
    Ok(())
}

/// Counts all that history holds while it goes on growing, and what the log adds meanwhile, up to one position for all. `begin` is a
/// durable record.
///
/// Days are counted point by point; how far the log was in each when it was counted is remembered, and what the log says behind `begin`
/// counts where it is not in that yet.
fn count_all(whole: &Whole, own: NodeId, known: &Known, begin: u64) -> Result<Book, LedgerError> {
    let hot = whole.hot();
    // Whatever is not among these had nothing at `begin`, so all of it is in the log behind that.
    let (points, days) = {
        let (from, to) = (anlan_model::Timestamp::MIN, anlan_model::Timestamp::MAX);
        (hot.points_in(from, to), whole.days())
    };
    let snapshot = known();
    let mut book = Book { at: begin, anew: true, ..Book::default() };
    // (day, point) from which on the log was that far, in the order of counting.
    let mut steps: Vec<((i64, PointId), u64)> = Vec::new();
    for day in &days {
        for point in &points {
            let (at, rows) = whole.day_at(*point, *day)?;
            if steps.last().is_none_or(|(_, last)| *last != at.0) {
                steps.push(((day.number(), *point), at.0));
            }
            let (origin, there) = snapshot.origin(own, *point);
            for r in &rows {
                let counted = book.days.entry((origin, day_number(r.event_at))).or_default();
                add(&mut counted.digest, there, r);
                counted.changed_at = begin;
            }
        }
    }
    let end = steps.last().map_or(begin, |(_, at)| *at);
    let is_new = |lsn: u64, r: &Reading| {
        let day = UtcDay::of(r.event_at);
        if points.binary_search(&r.point).is_err() || days.binary_search(&day).is_err() {
            return true;
        }
        let i = steps.partition_point(|(from, _)| *from <= (day.number(), r.point));
        i.checked_sub(1).is_none_or(|i| lsn > steps[i].1)
    };
    let mut tail = hot.tail(Lsn(begin));
    while book.at < end {
        let mut turn = Turn { at: book.at, ..Turn::default() };
        count(&mut tail, end, own, known, &mut turn, is_new)?;
        if turn.at == book.at {
            break;
        }
        book.take(turn);
    }
    book.unwritten = book.days.keys().copied().collect();
    Ok(book)
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
pub(crate) mod tests;
