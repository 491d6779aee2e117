//! What is let in while there is little room: classes of batches, and how full a queue or a disk may be for each.
//!
//! Never drops what was let in: a batch is refused at the door, through its reply, so its sender knows and keeps it. Start at
//! [`Class::of`] and [`Pressure::admits`]; [`watch_disk`] is the one task. The figures are ours; none is a legal threshold.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use anlan_model::{Batch, Source};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::registry::Snapshot;

/// What a batch is worth when not all can be taken; the first is refused first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Marked as back-fill: its sender has it safe and nobody waits for it.
    Backfill,
    /// Of a device none of whose points has a rule.
    Plain,
    /// Of devices with rules and of vehicles: an alarm may be in it.
    Ruled,
    /// A position with an alarm bit, or of a vehicle that carries dangerous goods.
    Urgent,
}

impl Class {
    /// All, in the order in which they are refused.
    pub const ALL: [Self; 4] = [Self::Backfill, Self::Plain, Self::Ruled, Self::Urgent];

    /// The metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backfill => "backfill",
            Self::Plain => "plain",
            Self::Ruled => "ruled",
            Self::Urgent => "urgent",
        }
    }

    /// How full a queue may be, in percent, to still take this class.
    const fn room_percent(self) -> usize {
        match self {
            Self::Backfill => 50,
            Self::Plain => 75,
            Self::Ruled => 90,
            Self::Urgent => 100,
        }
    }

    /// The class of `batch`, by what is known of its source.
    pub fn of(snapshot: &Snapshot, batch: &Batch) -> Self {
        if batch.backfill || (!batch.positions.is_empty() && batch.positions.iter().all(|p| p.backfill)) {
            return Self::Backfill;
        }
        let has_readings = !batch.readings.is_empty() || !batch.bound.readings.is_empty();
        match &batch.source {
            Source::Device { device, .. } if has_readings && !snapshot.ruled.contains(device) => Self::Plain,
            Source::Device { .. } => Self::Ruled,
            // Duty checks and alarms that another platform reports.
            Source::Platform { .. } => Self::Urgent,
            Source::Terminal { phone, .. } => {
                let vehicle = snapshot.vehicle_by_phone.get(phone).and_then(|id| snapshot.vehicles.get(id));
                let is_dangerous = vehicle.is_some_and(|v| v.carries_dangerous_goods()) && !batch.positions.is_empty();
                let has_alarm = batch.positions.iter().any(|p| p.alarm_bits != 0 && !p.backfill);
                if is_dangerous || has_alarm { Self::Urgent } else { Self::Ruled }
            }
        }
    }
}

/// What made the engine refuse a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The queue of its shard is as full as it may be for its class.
    Queue,
    /// All queues together hold as many readings as they may for its class.
    Memory,
    /// The disk is as full as it may be for its class.
    Disk,
}

impl Cause {
    /// The metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Memory => "memory",
            Self::Disk => "disk",
        }
    }
}

/// The bounds of the engine's queues, and how short the disk is.
#[derive(Debug)]
pub struct Pressure {
    shard_queue: usize,
    queue_readings: usize,
    /// Classes below this number are refused for want of disk.
    disk_floor: AtomicU8,
    shed: [AtomicU64; Class::ALL.len()],
    /// Something was refused since the last line in the log about it.
    sheds: AtomicBool,
}

impl Pressure {
    /// So many batches in one shard, so many readings in all.
    pub fn new(shard_queue: usize, queue_readings: usize) -> Self {
        Self { shard_queue, queue_readings, disk_floor: AtomicU8::new(0), shed: Default::default(), sheds: AtomicBool::new(false) }
    }

    /// Whether a batch of `class` with `n` readings may join a queue of `n_batches` while all hold `n_readings`.
    ///
    /// # Errors
    /// What is too full.
    pub fn admits(&self, class: Class, n: usize, n_batches: usize, n_readings: usize) -> Result<(), Cause> {
        let room = |limit: usize| limit.saturating_mul(class.room_percent()) / 100;
        if (class as u8) < self.disk_floor.load(Ordering::Relaxed) {
            Err(Cause::Disk)
        } else if n_batches >= room(self.shard_queue) {
            Err(Cause::Queue)
        // An empty engine takes any single batch: its size has a limit of its own.
        } else if n_readings > 0 && n_readings.saturating_add(n) > room(self.queue_readings) {
            Err(Cause::Memory)
        } else {
            Ok(())
        }
    }

    /// Counts a refusal.
    pub fn refused(&self, class: Class, cause: Cause) {
        self.shed[class as usize].fetch_add(1, Ordering::Relaxed);
        metrics::counter!("anlan_shed_total", "class" => class.as_str(), "cause" => cause.as_str()).increment(1);
        if !self.sheds.swap(true, Ordering::Relaxed) {
            warn!(
                class = class.as_str(),
                cause = cause.as_str(),
                "overloaded ({}): batches are refused, {} first",
                cause.as_str(),
                class.as_str()
            );
        }
    }

    /// Batches of `class` refused since the start.
    pub fn n_shed(&self, class: Class) -> u64 {
        self.shed[class as usize].load(Ordering::Relaxed)
    }

    /// Takes note of the free space: below `min_mb` back-fill is refused, below half of it telemetry, below a quarter everything.
    pub fn set_disk_free(&self, free_mb: u64, min_mb: u64) {
        let floor = match free_mb {
            free if free >= min_mb => 0,
            free if free >= min_mb / 2 => Class::Plain as u8,
            free if free >= min_mb / 4 => Class::Urgent as u8,
            _ => Class::Urgent as u8 + 1,
        };
        let before = self.disk_floor.swap(floor, Ordering::Relaxed);
        if floor > before {
            warn!(
                free_mb,
                min_mb,
                "only {free_mb} MB free on the data disk (limits.disk_free_min_mb = {min_mb}): {}",
                refused_words(floor)
            );
        } else if floor < before {
            warn!(free_mb, "{free_mb} MB free on the data disk again: {}", refused_words(floor));
        }
    }
}

fn refused_words(floor: u8) -> &'static str {
    match floor {
        0 => "everything is taken",
        1 => "back-fill is refused",
        2 | 3 => "back-fill and telemetry are refused, alarms and dangerous goods are taken",
        _ => "everything is refused; make room",
    }
}

/// Between looks at the disk: at 100 MB/s, half a gigabyte.
const DISK_EVERY: Duration = Duration::from_secs(5);

/// Looks at the free space of `dir` once, then until stopped. 0 = no guard.
pub async fn watch_disk(dir: PathBuf, min_mb: u64, pressure: Arc<Pressure>, stop: CancellationToken) {
    loop {
        look_at_disk(&dir, min_mb, &pressure);
        // So that the log names the beginning of each overload, not each refusal.
        pressure.sheds.store(false, Ordering::Relaxed);
        if tokio::time::timeout(DISK_EVERY, stop.cancelled()).await.is_ok() {
            return;
        }
    }
}

/// Free bytes of the disk that holds `dir` or, if it is not there yet, the folder above it; `None` = they cannot be read.
pub fn disk_free(dir: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(dir).or_else(|e| dir.parent().map_or(Err(e), rustix::fs::statvfs)).ok()?;
    Some(free_of(&disk))
}

/// Files are refused below so many times the free space at which readings are: those come first.
const FLOORS: u64 = 4;

/// Whether `bytes` of files that people can do without for a while may still be written to the disk that holds `dir`.
pub fn has_room_for_files(dir: &Path, disk_free_min_mb: u64, bytes: u64) -> bool {
    let floor = disk_free_min_mb.saturating_mul(FLOORS) << 20;
    disk_free(dir).is_none_or(|free| free >= floor.saturating_add(bytes))
}

fn free_of(disk: &rustix::fs::StatVfs) -> u64 {
    disk.f_bavail.saturating_mul(disk.f_frsize)
}

/// Free space of the disk that holds `dir`, told to `pressure` and as a metric.
pub fn look_at_disk(dir: &Path, min_mb: u64, pressure: &Pressure) {
    match rustix::fs::statvfs(dir) {
        Ok(disk) => {
            let free = free_of(&disk);
            metrics::gauge!("anlan_disk_free_bytes").set(free as f64);
            pressure.set_disk_free(free >> 20, min_mb);
        }
        Err(error) => warn!(%error, "the free space of {} cannot be read: {error}", dir.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fuller_the_disk_the_more_is_refused_and_alarms_last() {
        let pressure = Pressure::new(10, 10);
        let check = |free_mb, taken: &[Class]| {
            pressure.set_disk_free(free_mb, 100);
            let admitted: Vec<Class> = Class::ALL.into_iter().filter(|c| pressure.admits(*c, 1, 0, 0).is_ok()).collect();
            assert_eq!(admitted, taken, "{free_mb} MB");
        };
        check(100, &Class::ALL);
        check(99, &Class::ALL[1..]);
        check(50, &Class::ALL[1..]);
        check(49, &[Class::Urgent]);
        check(24, &[]);
        check(100, &Class::ALL);
        pressure.set_disk_free(0, 0);
        assert!(pressure.admits(Class::Backfill, 1, 0, 0).is_ok(), "0 = no guard");
    }

    #[test]
    fn a_device_without_rules_is_plain_whether_its_points_are_named_or_bound() {
        use anlan_model::batch::{BoundReading, Prebound};
        use anlan_model::{DeviceId, PointId, Quality, Timestamp};

        let device = DeviceId::new(1);
        let bound = Prebound {
            generation: 0,
            readings: vec![BoundReading { point: PointId::new(1), device_at: None, value: 1.0, quality: Quality::Good }],
        };
        let batch = Batch {
            source: Source::Device { device, protocol: "mqtt" },
            received_at: Timestamp::EPOCH,
            readings: Vec::new(),
            bound,
            positions: Vec::new(),
            events: Vec::new(),
            backfill: false,
            reply: Box::new(|_| {}),
        };
        assert_eq!(Class::of(&Snapshot::default(), &batch), Class::Plain);
        let ruled = Snapshot { ruled: Arc::new([device].into()), ..Snapshot::default() };
        assert_eq!(Class::of(&ruled, &batch), Class::Ruled);
    }

    #[test]
    fn readings_are_bounded_over_all_queues_and_one_batch_always_fits_an_empty_engine() {
        let pressure = Pressure::new(1_000, 100);
        let check = |class, n, n_readings, want| assert_eq!(pressure.admits(class, n, 0, n_readings), want, "{class:?} {n} {n_readings}");
        check(Class::Backfill, 500, 0, Ok(()));
        check(Class::Backfill, 1, 50, Err(Cause::Memory));
        check(Class::Plain, 1, 50, Ok(()));
        check(Class::Ruled, 10, 80, Ok(()));
        check(Class::Ruled, 11, 80, Err(Cause::Memory));
        check(Class::Urgent, 20, 80, Ok(()));
        check(Class::Urgent, 21, 80, Err(Cause::Memory));
    }

    /// An engine that nobody runs is the slowest shard there is.
    #[test]
    fn a_flood_on_a_slow_shard_sheds_back_fill_first_and_alarms_last_and_keeps_what_it_let_in() {
        use std::sync::atomic::AtomicUsize;

        use anlan_model::Timestamp;

        use super::super::shard::{Bound, TimeBounds};
        use super::super::{Latest, engine};

        let dir = tempfile::tempdir().unwrap();
        let pressure = Arc::new(Pressure::new(20, 1_000));
        let clock = Arc::new(crate::clock::AppClock::real());
        let (_projected, projected) = tokio::sync::watch::channel(0);
        let latest = Arc::new(Latest::default());
        let (opened, _reader) = engine::open(
            dir.path(),
            TimeBounds::default(),
            crate::rules::road().unwrap().drift.is,
            crate::settings::History::default(),
            pressure,
            clock,
            latest,
            Arc::default(),
            projected,
        )
        .unwrap();
        let answers: [[Arc<AtomicUsize>; 2]; 4] = Default::default();
        for class in (0..20).flat_map(|_| Class::ALL) {
            let [kept, refused] = answers[class as usize].clone();
            let batch = Bound {
                source: "D".to_owned(),
                enterprise: None,
                received_at: Timestamp::from_secs(1),
                readings: Vec::new(),
                positions: Vec::new(),
                effects: Vec::new(),
                backfill: false,
                reply: Box::new(move |result| {
                    let cell = if result.is_ok() { kept } else { refused };
                    cell.fetch_add(1, Ordering::SeqCst);
                }),
            };
            opened.handle.offer(7, class, batch);
        }
        let counts = |which: usize| Class::ALL.map(|c| answers[c as usize][which].load(Ordering::SeqCst));
        assert_eq!((counts(0), counts(1)), ([0; 4], [17, 16, 14, 13]), "refused at once, the first class first");
        assert_eq!(Class::ALL.map(|c| opened.handle.pressure().n_shed(c)), [17, 16, 14, 13]);
        opened.handle.stop();
        opened.engine.run();
        assert_eq!((counts(0), counts(1)), ([3, 4, 6, 7], [17, 16, 14, 13]), "whoever was let in is answered");
    }
}
