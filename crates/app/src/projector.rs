//! Applies the log's effects to the database, in log order, each position exactly once; then tells the live streams.
//!
//! Records without effects cost no transaction: the database hears once a second how far they reach, so what it says may lag, never lead.
//! The only writer of alarm conditions. Reads the log, not a queue: it can be any distance behind and catches up after an outage.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anlan_history::{Lsn, Reader};
use anlan_model::Effect;
use anlan_store::{Store, StoreError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::live::Live;
use crate::telemetry::LogStatus;
use crate::telemetry::engine::Notes;

/// Log records applied in one transaction.
const PER_TRANSACTION: usize = 500;
/// The database is told this often (real time) how far the log is without effects: each telling is a transaction with a sync of its own.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Pause after the database did not answer.
const RETRY: Duration = Duration::from_secs(1);

/// Carries effects from the log to the database.
pub struct Projector {
    /// The log.
    pub reader: Reader,
    /// Where effects go.
    pub store: Store,
    /// Told which alarms changed.
    pub live: Live,
    /// Told how far we are.
    pub status: Arc<LogStatus>,
    /// Grows with the log.
    pub durable: watch::Receiver<u64>,
    /// Grows with the position that stands in the database.
    pub projected: watch::Sender<u64>,
}

/// The database is ahead of the log: one of them was restored from a backup.
#[derive(Debug, thiserror::Error)]
#[error(
    "the database has applied log position {projected}, but the log ends at {durable}: restore both from the same backup (`anlan restore`)"
)]
pub struct Ahead {
    projected: u64,
    durable: u64,
}

impl Projector {
    /// Checks that database and log belong together, and starts from what the database has.
    ///
    /// # Errors
    /// The store's error, or [`Ahead`].
    pub async fn begin(&self) -> Result<Result<(), Ahead>, StoreError> {
        let projected = self.store.projected().await?;
        let durable = *self.durable.borrow();
        if projected > durable {
            return Ok(Err(Ahead { projected, durable }));
        }
        self.stands(projected);
        Ok(Ok(()))
    }

    /// The database has the position.
    fn stands(&self, position: u64) {
        self.applied(position);
        self.projected.send_replace(position);
    }

    /// The database has the effects up to the position, whichever it knows itself.
    fn applied(&self, position: u64) {
        self.status.projected.fetch_max(position, Ordering::Relaxed);
    }

    /// Runs until stopped, and then until everything durable is applied (or the database does not answer).
    pub async fn run(mut self, stop: CancellationToken) {
        let mut told = Instant::now();
        loop {
            let stopping = stop.is_cancelled();
            let tell = stopping || told.elapsed() >= TELL_EVERY;
            if tell {
                told = Instant::now();
            }
            match self.catch_up(tell).await {
                Ok(()) => self.status.store_down.store(0, Ordering::Relaxed),
                Err(failure) => {
                    self.status.store_down.store(1, Ordering::Relaxed);
                    // A commit whose answer was lost has happened all the same.
                    if let Ok(position) = self.store.projected().await {
                        self.stands(position);
                    }
                    warn!(
                        error = &failure as &dyn std::error::Error,
                        "alarms do not reach the database; the log keeps them, next try in {RETRY:?}"
                    );
                    if stopping {
                        return;
                    }
                    tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(RETRY) => {} }
                    continue;
                }
            }
            if stopping {
                return;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                grown = self.durable.changed() => if grown.is_err() { return },
                () = tokio::time::sleep_until((told + TELL_EVERY).into()), if self.lags() => {}
            }
        }
    }

    /// Whether the database does not know how far it has the effects.
    fn lags(&self) -> bool {
        *self.projected.borrow() < self.status.projected.load(Ordering::Relaxed)
    }

    /// Applies what is durable; `tell`: the database shall know how far, also where nothing was to apply.
    async fn catch_up(&mut self, tell: bool) -> Result<(), ProjectError> {
        loop {
            let from = self.status.projected.load(Ordering::Relaxed);
            let until = *self.durable.borrow_and_update();
            let done = from >= until;
            if done && !(tell && self.lags()) {
                return Ok(());
            }
            let noted = self.status.noted.load(Ordering::Acquire);
            let found = if done || noted <= from {
                Found { effects: Vec::new(), position: until.max(from), unreadable: None }
            } else {
                // Reading the log is file I/O; it stays off the async threads.
                let reader = self.reader.clone();
                let found = tokio::task::spawn_blocking(move || collect(&reader, from, until)).await;
                found.map_err(|_| ProjectError::Log("its reader panicked".to_owned()))?
            };
            let Found { effects, position, unreadable } = found;
            if !effects.is_empty() || (tell && position > *self.projected.borrow()) {
                let changed = self.store.project(position, &effects).await?;
                // Whoever sees the position finds the alarms announced.
                self.live.alarms_changed(&changed);
                self.stands(position);
            } else {
                self.applied(position);
            }
            if let Some(reason) = unreadable {
                return Err(ProjectError::Log(reason));
            }
        }
    }
}

/// Why effects do not reach the database now; tried again, and nothing is skipped meanwhile.
#[derive(Debug, thiserror::Error)]
enum ProjectError {
    #[error("the database does not take effects")]
    Store(#[from] StoreError),
    #[error("the log cannot be read on: {0}; run `anlan history verify`, or `anlan restore` if log and database are of different age")]
    Log(String),
}

/// Effects behind a position, how far they reach, and what stopped the reading before its end.
struct Found {
    effects: Vec<Effect>,
    position: u64,
    unreadable: Option<String>,
}

/// Effects behind `from` up to `until`, or less if there are many; never past a record that could not be read.
fn collect(reader: &Reader, from: u64, until: u64) -> Found {
    let mut found = Found { effects: Vec::new(), position: from, unreadable: None };
    let mut n_records = 0;
    for record in reader.tail_notes(Lsn(from)) {
        let read = record.map_err(|failure| failure.to_string()).and_then(|record| {
            let notes = Notes::decode(&record.notes).map_err(|failure| format!("record {}: {failure}", record.lsn))?;
            Ok((record.lsn.0, notes))
        });
        match read {
            Ok((lsn, _)) if lsn > until => break,
            Ok((lsn, notes)) => {
                found.effects.extend(notes.effects);
                found.position = lsn;
            }
            Err(reason) => {
                found.unreadable = Some(reason);
                return found;
            }
        }
        n_records += 1;
        if n_records == PER_TRANSACTION {
            return found;
        }
    }
    found.position = until;
    found
}
