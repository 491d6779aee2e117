//! What an archive of whole days asks: which days hold something, which subjects, and every revision of a point.
//! Start at [`Reader::days`].

use std::collections::BTreeSet;

use anlan_model::{PointId, Reading, Timestamp, VehicleId};

use crate::read::Walk;
use crate::{HistoryError, Lsn, Reader};

const DAY_US: i64 = 86_400_000_000;

impl Reader {
    /// Days since 1970 (UTC) that may hold readings or positions, in blocks or in memory, ascending.
    pub fn days(&self) -> Vec<i64> {
        let day = |us: i64| us.div_euclid(DAY_US);
        let state = self.shared().state();
        let mut days = BTreeSet::new();
        for windows in state.blocks.values() {
            // Windows are cut on clock boundaries and mostly no longer than a day.
            days.extend(windows.values().flatten().flat_map(|meta| day(meta.start)..=day(meta.end() - 1)));
        }
        let frozen = state.sealing.as_ref();
        let hot = state.points.iter().map(|(id, slot)| (id, &slot.head));
        for (id, head) in hot.chain(frozen.iter().flat_map(|f| f.points.iter())) {
            head.each_window(*id, DAY_US, |day| {
                days.insert(day);
            });
        }
        for head in state.vehicles.values().map(|s| &s.head).chain(frozen.iter().flat_map(|f| f.vehicles.values())) {
            days.extend(head.rows.keys().map(|at| day(*at)));
        }
        days.into_iter().collect()
    }

    /// Points that may have readings in `from <= event_at < to`, ascending: their oldest and newest reading leave room for one.
    pub fn points_in(&self, from: Timestamp, to: Timestamp) -> Vec<PointId> {
        let (from, to) = (from.micros(), to.micros());
        let state = self.shared().state();
        let inside = state.points.iter().filter(|(_, slot)| slot.first_at < to && slot.last.event_at.micros() >= from);
        let mut ids: Vec<PointId> = inside.map(|(id, _)| *id).collect();
        drop(state);
        ids.sort_unstable();
        ids
    }

    /// Vehicles that may have positions in `from <= event_at < to`, ascending.
    pub fn vehicles_in(&self, from: Timestamp, to: Timestamp) -> Vec<VehicleId> {
        let (from, to) = (from.micros(), to.micros());
        let state = self.shared().state();
        let inside = state.vehicles.iter().filter(|(_, slot)| slot.first_at < to && slot.last.event_at.micros() >= from);
        let mut ids: Vec<VehicleId> = inside.map(|(id, _)| *id).collect();
        drop(state);
        ids.sort_unstable();
        ids
    }

    /// Every revision of each instant in `from <= event_at < to`, by instant and revision.
    ///
    /// # Errors
    /// I/O, damage.
    pub fn every_revision(&self, point: PointId, from: Timestamp, to: Timestamp) -> Result<Vec<Reading>, HistoryError> {
        self.every_revision_at(point, from, to).map(|(_, rows)| rows)
    }

    /// The same, and the last record of which it holds what there is: nothing of a later one is in it.
    ///
    /// # Errors
    /// I/O, damage.
    pub fn every_revision_at(&self, point: PointId, from: Timestamp, to: Timestamp) -> Result<(Lsn, Vec<Reading>), HistoryError> {
        let (from, to) = (from.micros(), to.micros());
        let (at, memory, blocks) = self.view_at(point, from, to);
        let mut out = Vec::new();
        for (metas, memory) in Walk::new(&blocks, &memory) {
            out.append(&mut self.window(point, metas, memory, from, to)?);
        }
        Ok((at, out))
    }
}
