//! Whether this node can be relied on right now, as everybody who depends on it must learn: the engine's pulse, log, database, clock,
//! and the proof of life that leaves the node. Silence is not safety.
//!
//! Only holds and answers; who measures the clock and sends the proof is wired in the binary. Start at [`Health`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anlan_model::Timestamp;

use crate::App;

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The engine's pulse: the instant of its last completed round (taken, judged, synced). A disk that hangs stops it.
#[derive(Debug, Default)]
pub struct Pulse(AtomicU64);

impl Pulse {
    /// A round is complete.
    pub fn beat(&self) {
        self.0.store(u64::try_from(STARTED.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
    /// How long ago that was.
    pub fn silence(&self) -> Duration {
        STARTED.elapsed().saturating_sub(Duration::from_millis(self.0.load(Ordering::Relaxed)))
    }
}

/// What is known of the machine's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockState {
    /// Whether something keeps it in step; `None` = nobody here can tell.
    pub synchronised: Option<bool>,
    /// Real time minus this machine's, in µs, as the configured time server says.
    pub offset_us: Option<i64>,
    /// The last jump against monotonic time, in µs, and when (domain time).
    pub stepped: Option<(Timestamp, i64)>,
}

/// How the proof of life fares that this node sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LifeState {
    /// A channel is configured.
    pub configured: bool,
    /// Newest one delivered, domain time.
    pub delivered_at: Option<Timestamp>,
    /// Deliveries have failed since then, domain time.
    pub failing_since: Option<Timestamp>,
}

/// What was measured last.
#[derive(Debug, Default)]
pub struct Health {
    clock: Mutex<ClockState>,
    life: Mutex<LifeState>,
}

fn held<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Health {
    /// The clock as last measured.
    pub fn clock(&self) -> ClockState {
        *held(&self.clock)
    }
    /// The proof of life as last sent.
    pub fn life(&self) -> LifeState {
        *held(&self.life)
    }
    /// Takes a measurement of the clock in.
    pub fn with_clock(&self, change: impl FnOnce(&mut ClockState)) {
        change(&mut held(&self.clock));
    }
    /// Takes the outcome of a delivery in.
    pub fn with_life(&self, change: impl FnOnce(&mut LifeState)) {
        change(&mut held(&self.life));
    }
}

/// An engine silent for longer than this has stopped or hangs. It completes a round every 0.02 s when idle; a sync of the slowest
/// disks we support takes less than a second.
pub const SILENT: Duration = Duration::from_secs(4);

/// Something that people at a screen must be told, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The log refuses writes: nothing is acknowledged any more.
    Log,
    /// The engine has completed no round for this long.
    Engine(Duration),
    /// The database does not answer.
    Database,
    /// The clock is off by so many µs.
    ClockOff(i64),
    /// Nothing keeps the clock in step.
    ClockLoose,
    /// The clock jumped by so many µs.
    ClockStepped(i64),
    /// The proof of life has not been delivered since then.
    Life(Timestamp),
}

impl Trouble {
    /// A word for programs and locale keys.
    pub fn word(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Engine(_) => "engine",
            Self::Database => "database",
            Self::ClockOff(_) => "clock_off",
            Self::ClockLoose => "clock_loose",
            Self::ClockStepped(_) => "clock_stepped",
            Self::Life(_) => "life",
        }
    }
    /// Its size in seconds, where it has one.
    pub fn seconds(self) -> Option<f64> {
        match self {
            Self::Engine(silence) => Some(silence.as_secs_f64()),
            Self::ClockOff(us) | Self::ClockStepped(us) => Some(us as f64 / 1e6),
            _ => None,
        }
    }
}

/// A jump of the clock is told for this long.
const STEP_TOLD_US: i64 = 600_000_000;

impl App {
    /// Everything that is wrong with the node now; empty = it can be relied on.
    pub fn troubles(&self, now: Timestamp) -> Vec<Trouble> {
        let status = self.telemetry.status();
        let (clock, life) = (self.health.clock(), self.health.life());
        let limit = self.settings.clock_offset_max_us;
        let found = [
            status.log_failed.then_some(Trouble::Log),
            (status.silence > SILENT && !status.log_failed).then_some(Trouble::Engine(status.silence)),
            status.store_down.then_some(Trouble::Database),
            clock.offset_us.filter(|us| us.abs() > limit).map(Trouble::ClockOff),
            (clock.synchronised == Some(false)).then_some(Trouble::ClockLoose),
            clock.stepped.filter(|(at, _)| now.micros() - at.micros() < STEP_TOLD_US).map(|(_, us)| Trouble::ClockStepped(us)),
            life.failing_since.map(Trouble::Life),
        ];
        found.into_iter().flatten().collect()
    }
}
