//! The way of a reading: bound to its point ([`intake`]), judged in its shard ([`shard`]), logged and synced ([`engine`]), shown ([`latest`]).
//!
//! Start at [`engine`], which owns the order of these steps. Readers use [`Telemetry`], which asks for a [`PointSet`] everywhere.

pub mod engine;
pub mod intake;
pub mod latest;
pub mod linked;
pub mod piece;
pub mod pressure;
pub mod shard;
mod shard_v1;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anlan_archive::{ArchiveError, Whole};
use anlan_history::{Figure, HistoryError, Reader, Rollup};
use anlan_model::{PointId, PointSet, Position, Reading, Timestamp, VehicleId};

pub use latest::Latest;

use crate::health::{Pulse, SILENT};

/// Reading side of the telemetry engine. Every method takes what the caller may see.
#[derive(Clone)]
pub struct Telemetry {
    pub(crate) reader: Reader,
    /// Hot and archived as one: what every question about the past goes to.
    pub(crate) whole: Whole,
    pub(crate) latest: Arc<Latest>,
    pub(crate) status: Arc<LogStatus>,
}

/// How far the log and its projection are.
#[derive(Debug, Default)]
pub struct LogStatus {
    /// Last durable log position.
    pub durable: AtomicU64,
    /// No record behind this position has effects.
    pub noted: AtomicU64,
    /// Last position whose effects, and all before, are in the database; what is written there may lag behind it by records without any.
    pub projected: AtomicU64,
    /// Batches waiting in shard queues.
    pub queued: AtomicU64,
    /// 1 if the log refuses writes and only a restart mends that; 2 while the disk is full.
    pub failed: AtomicU64,
    /// 1 if the database does not answer.
    pub store_down: AtomicU64,
    /// The engine's last completed round.
    pub pulse: Pulse,
}

/// [`LogStatus`] at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Last durable log position.
    pub position: u64,
    /// Last position applied to the database.
    pub projected: u64,
    /// Batches waiting.
    pub queued: u64,
    /// The log takes nothing now: it failed, or the disk is full.
    pub log_failed: bool,
    /// The database does not answer.
    pub store_down: bool,
    /// Since the engine's last completed round.
    pub silence: Duration,
}

impl Status {
    /// Something is wrong that the operator must see.
    pub fn degraded(&self) -> bool {
        self.log_failed || self.store_down || self.silence > SILENT
    }
}

impl Telemetry {
    /// How far the log and its projection are.
    pub fn status(&self) -> Status {
        let get = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        Status {
            position: get(&self.status.durable),
            projected: get(&self.status.projected),
            queued: get(&self.status.queued),
            log_failed: get(&self.status.failed) != 0,
            store_down: get(&self.status.store_down) != 0,
            silence: self.status.pulse.silence(),
        }
    }

    /// Newest reading of one point.
    pub fn latest(&self, seen: &PointSet, point: PointId) -> Option<Reading> {
        seen.contains(point).then(|| self.latest.point(point)).flatten()
    }

    /// Newest reading of every point of the set that has one, in id order.
    pub fn latest_all(&self, seen: &PointSet) -> Vec<Reading> {
        self.latest.points_since(seen.iter(), 0)
    }

    /// Readings in `[from, to)`, oldest first, newest revision of each instant; after the last instant seen, at most `limit`.
    ///
    /// # Errors
    /// The files cannot be read or are damaged.
    pub fn readings(
        &self,
        seen: &PointSet,
        point: PointId,
        from: Timestamp,
        to: Timestamp,
        after: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<Reading>, ArchiveError> {
        if !seen.contains(point) {
            return Ok(Vec::new());
        }
        let from = after.map_or(from, |after| from.max(after.plus_us(1)));
        self.whole.readings(point, from, to, limit)
    }

    /// Rollups of `[from, to)` in windows of `step_us` that count from 1970; quality bad is left out.
    ///
    /// # Errors
    /// The files cannot be read or are damaged.
    pub fn rollup(
        &self,
        seen: &PointSet,
        point: PointId,
        step_us: i64,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Rollup>, ArchiveError> {
        if seen.contains(point) { self.whole.rollup(point, step_us, from, to) } else { Ok(Vec::new()) }
    }

    /// Rollups of all points of the set together; step and range as in [`Self::rollup`]. Of archived days the stored hours answer.
    ///
    /// # Errors
    /// The files cannot be read or are damaged.
    pub fn rollup_all(&self, seen: &PointSet, step_us: i64, from: Timestamp, to: Timestamp) -> Result<Vec<Rollup>, HistoryError> {
        self.reader.rollup_many(seen.ids(), step_us, from, to)
    }

    /// The `n` points of the set that stand out in `[from, to)`. Of archived days the stored hours answer.
    ///
    /// # Errors
    /// The files cannot be read or are damaged.
    pub fn top(
        &self,
        seen: &PointSet,
        figure: Figure,
        n: usize,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<(PointId, Rollup)>, HistoryError> {
        self.reader.top(seen.ids(), figure, n, from, to)
    }

    /// Newest position of one vehicle.
    pub fn latest_position(&self, seen: &BTreeSet<VehicleId>, vehicle: VehicleId) -> Option<Position> {
        seen.contains(&vehicle).then(|| self.latest.vehicle(vehicle)).flatten()
    }

    /// Newest position of every vehicle of the set that has one.
    pub fn latest_positions(&self, seen: &BTreeSet<VehicleId>) -> Vec<Position> {
        let mut all = self.latest.vehicles_since(0);
        all.retain(|p| seen.contains(&p.vehicle));
        all.sort_by_key(|p| p.vehicle);
        all
    }

    /// Positions in `[from, to)`, oldest first; after the last instant seen, at most `limit`.
    ///
    /// # Errors
    /// The files cannot be read or are damaged.
    pub fn positions(
        &self,
        seen: &BTreeSet<VehicleId>,
        vehicle: VehicleId,
        from: Timestamp,
        to: Timestamp,
        after: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<Position>, ArchiveError> {
        if !seen.contains(&vehicle) {
            return Ok(Vec::new());
        }
        self.whole.positions(vehicle, from, to, after, limit)
    }

    /// `event_at` of the oldest and the newest position of a vehicle, for reckonings over all of them.
    pub(crate) fn position_range(&self, vehicle: VehicleId) -> Option<(Timestamp, Timestamp)> {
        self.reader.position_range(vehicle)
    }

    /// Sizes and counts of the history, for operators.
    pub fn stats(&self) -> anlan_history::Stats {
        self.reader.stats()
    }
}
