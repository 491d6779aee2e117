//! Housekeeping of the history in a thread of its own: merging blocks of hours and days, and dropping days whose time is over, while the
//! engine goes on.
//!
//! What is due is decided by `history` from domain time, who keeps how long by [`crate::retention`]; this gives turns, and rests after each so
//! that it takes no more than a quarter of one core. Stopping waits for the step under way. Start at [`Housekeeping::start`].

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use anlan_history::{Haste, HistoryError, Keeper, Merged};
use anlan_model::Clock as _;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tracing::{error, info};

use crate::{App, retention, thinned};

/// Rest after a step, as a multiple of its length.
const REST: u32 = 3;

/// The thread, until it is told to stop.
pub struct Housekeeping {
    bell: Bell,
    thread: JoinHandle<()>,
}

/// Wakes the thread: to stop, or for those who wait until all that is due now is done.
#[derive(Clone, Default)]
pub struct Bell(Arc<(Mutex<Calls>, Condvar)>);

#[derive(Default)]
struct Calls {
    stop: bool,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Bell {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until everything due now was merged and dropped, as far as it goes; for the test clock.
    pub(crate) async fn round(&self) {
        let (done, wait) = oneshot::channel();
        {
            let mut calls = self.calls();
            if calls.stop {
                return;
            }
            calls.waiting.push(done);
        }
        self.0.1.notify_all();
        // The thread may end first: then there is nothing to wait for.
        let _ = wait.await;
    }

    /// Sleeps for `rest` or until somebody calls; `None` = stop.
    fn rest(&self, rest: Duration) -> Option<Vec<oneshot::Sender<()>>> {
        let idle = |calls: &mut Calls| !calls.stop && calls.waiting.is_empty();
        let (mut calls, _) = self.0.1.wait_timeout_while(self.calls(), rest, idle).unwrap_or_else(PoisonError::into_inner);
        let waiting = std::mem::take(&mut calls.waiting);
        (!calls.stop).then_some(waiting)
    }
}

impl Housekeeping {
    /// Starts it; when nothing is due it looks again after `look_every` (real time). To be called within the runtime of the database.
    ///
    /// # Errors
    /// The machine gives no thread.
    pub fn start(keeper: Keeper, app: Arc<App>, look_every: Duration) -> std::io::Result<Self> {
        let (runtime, bell) = (Handle::current(), app.keep.clone());
        let thread = Builder::new().name("history-keep".to_owned()).spawn(move || run(keeper, &app, &runtime, look_every))?;
        Ok(Self { bell, thread })
    }

    /// Tells it to stop and waits for the step under way.
    pub fn stop(self) {
        self.bell.calls().stop = true;
        self.bell.0.1.notify_all();
        if self.thread.join().is_err() {
            error!("the housekeeping thread panicked; blocks stay as they are until restart");
        }
    }
}

/// However the thread ends: nobody waits for it any longer.
struct Farewell<'a>(&'a Bell);

impl Drop for Farewell<'_> {
    fn drop(&mut self) {
        let mut calls = self.0.calls();
        calls.stop = true;
        calls.waiting.clear();
    }
}

fn run(mut keeper: Keeper, app: &Arc<App>, runtime: &Handle, look_every: Duration) {
    let _farewell = Farewell(&app.keep);
    let mut rest = look_every.min(Duration::from_secs(1));
    while let Some(waiting) = app.keep.rest(rest) {
        let begun = Instant::now();
        let mut turn = work(&mut keeper, app, runtime);
        while !waiting.is_empty() && turn.as_ref().is_ok_and(|more| *more) && !app.keep.calls().stop {
            turn = work(&mut keeper, app, runtime);
        }
        rest = match turn {
            Ok(true) => begun.elapsed().saturating_mul(REST).min(look_every),
            Ok(false) => look_every,
            Err(failure) => {
                metrics::counter!("anlan_history_keep_failed_total").increment(1);
                error!(
                    error = &failure as &dyn std::error::Error,
                    "blocks cannot be merged or thinned out, they stay as they are; run `anlan history verify` on the stopped node"
                );
                look_every.saturating_mul(15)
            }
        };
        for done in waiting {
            // Whoever asked may have gone.
            let _ = done.send(());
        }
        let stats = app.telemetry.reader.stats();
        metrics::gauge!("anlan_history_blocks").set(stats.blocks as f64);
        metrics::gauge!("anlan_history_files").set(stats.files as f64);
        metrics::gauge!("anlan_history_block_bytes").set(stats.block_bytes as f64);
        metrics::gauge!("anlan_history_sealed_readings").set(stats.sealed_readings as f64);
    }
}

/// The next piece; whether there was one.
fn work(keeper: &mut Keeper, app: &Arc<App>, runtime: &Handle) -> Result<bool, HistoryError> {
    if !thinned::is_settled(app, runtime) {
        return Ok(false);
    }
    if let Some(done) = keeper.step(app.clock.now(), Haste::Calm)? {
        count(&done);
        return Ok(true);
    }
    Ok(retention::thin(keeper, app, runtime)? || thinned::make_room(keeper, app, runtime)?)
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
