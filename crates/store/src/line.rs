//! The line of people's changes: one at a time, first come first served, no longer than [`LINE_MAX`].
//!
//! Both databases take changes one after another (SQLite has one writer, PostgreSQL locks the head of the audit). A crowd of them would only
//! hold connections while it waits, and what the node writes for itself (effects of the log, sessions) would get none: so a crowd waits here,
//! and the node never behind more than one of it. Start at [`Line::enter`].

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::StoreError;

/// Changes that may wait beside the one in work; the next one is told to come back.
const LINE_MAX: usize = 128;
/// Longest wait: whoever asked has given up by then.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The line.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    places: Arc<Semaphore>,
    turn: Arc<Semaphore>,
}

/// The turn of a change; given back when dropped.
pub(crate) struct Turn {
    _turn: OwnedSemaphorePermit,
    _place: Place,
}

/// A place in the line, counted as long as it is held.
struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Default for Line {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(LINE_MAX + 1)), turn: Arc::new(Semaphore::new(1)) }
    }
}

impl Line {
    /// Waits for the turn.
    ///
    /// # Errors
    /// [`StoreError::Busy`] at once if the line is full, or when the turn did not come in time.
    pub(crate) async fn enter(&self) -> Result<Turn, StoreError> {
        let place = Place::take(self.places.clone().try_acquire_owned().map_err(|_| busy())?);
        // A semaphore of tokio serves in the order of asking.
        let turn = tokio::time::timeout(WAIT_MAX, self.turn.clone().acquire_owned()).await;
        let turn = turn.ok().and_then(Result::ok).ok_or_else(busy)?;
        Ok(Turn { _turn: turn, _place: place })
    }
}

impl Place {
    fn take(permit: OwnedSemaphorePermit) -> Self {
        metrics::gauge!("anlan_store_changes").increment(1.0);
        Self { _permit: permit }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        metrics::gauge!("anlan_store_changes").decrement(1.0);
    }
}

fn busy() -> StoreError {
    metrics::counter!("anlan_store_changes_refused_total").increment(1);
    StoreError::Busy
}
