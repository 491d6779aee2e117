//! Housekeeping of the history in a thread of its own: merging blocks of hours and days while the engine goes on.
//!
//! What is due is decided by `history` from domain time; this only gives it turns, and rests after each so that it takes no more than a
//! quarter of one core. Stopping waits for the step under way. Start at [`Housekeeping::start`].

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use anlan_history::{Haste, Keeper, Merged, Reader};
use anlan_model::Clock;
use tracing::{error, info};

/// Rest after a step, as a multiple of its length.
const REST: u32 = 3;

/// The thread, until it is told to stop.
pub struct Housekeeping {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: JoinHandle<()>,
}

impl Housekeeping {
    /// Starts it; when nothing is due it looks again after `look_every` (real time).
    ///
    /// # Errors
    /// The machine gives no thread.
    pub fn start(keeper: Keeper, reader: Reader, clock: Arc<dyn Clock>, look_every: Duration) -> std::io::Result<Self> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let told = stop.clone();
        let thread =
            Builder::new().name("history-keep".to_owned()).spawn(move || run(keeper, &reader, clock.as_ref(), look_every, &told))?;
        Ok(Self { stop, thread })
    }

    /// Tells it to stop and waits for the step under way.
    pub fn stop(self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
        if self.thread.join().is_err() {
            error!("the housekeeping thread panicked; blocks stay as they are until restart");
        }
    }
}

fn run(mut keeper: Keeper, reader: &Reader, clock: &dyn Clock, look_every: Duration, told: &(Mutex<bool>, Condvar)) {
    let mut rest = look_every.min(Duration::from_secs(1));
    loop {
        let stop = told.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (stop, _) = told.1.wait_timeout_while(stop, rest, |stop| !*stop).unwrap_or_else(PoisonError::into_inner);
        if *stop {
            return;
        }
        drop(stop);
        let begun = Instant::now();
        rest = match keeper.step(clock.now(), Haste::Calm) {
            Ok(Some(done)) => {
                count(&done);
                begun.elapsed().saturating_mul(REST).min(look_every)
            }
            Ok(None) => look_every,
            Err(failure) => {
                metrics::counter!("anlan_history_merge_failed_total").increment(1);
                error!(
                    error = &failure as &dyn std::error::Error,
                    "blocks cannot be merged, they stay as they are; run `anlan history verify` on the stopped node"
                );
                look_every.saturating_mul(15)
            }
        };
        let stats = reader.stats();
        metrics::gauge!("anlan_history_blocks").set(stats.blocks as f64);
        metrics::gauge!("anlan_history_files").set(stats.files as f64);
        metrics::gauge!("anlan_history_block_bytes").set(stats.block_bytes as f64);
        metrics::gauge!("anlan_history_sealed_readings").set(stats.sealed_readings as f64);
    }
}

fn count(done: &Merged) {
    metrics::counter!("anlan_history_merged_readings_total").increment(done.readings);
    metrics::counter!("anlan_history_merged_bytes_total").increment(done.bytes_after);
    info!(
        readings = done.readings,
        blocks = done.blocks_before,
        bytes = done.bytes_after,
        "merged {} blocks of {} readings: {} bytes became {}",
        done.blocks_before,
        done.readings,
        done.bytes_before,
        done.bytes_after
    );
}
