//! The newest value of every point and vehicle, as durable; what screens and live streams read.

use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};

use anlan_model::{IdMap, PointId, Position, Reading, Timestamp, VehicleId};

/// Newest values with a sequence number each, so that a subscriber can ask "what changed since".
#[derive(Default)]
pub struct Latest {
    sequence: AtomicU64,
    points: RwLock<IdMap<PointId, (u64, Reading)>>,
    vehicles: RwLock<IdMap<VehicleId, (u64, Position)>>,
}

impl Latest {
    /// Takes what a commit made durable.
    pub fn publish<'a>(&self, readings: impl Iterator<Item = &'a Reading>, positions: impl Iterator<Item = &'a Position>) {
        let sequence = self.sequence.load(Ordering::Relaxed) + 1;
        {
            let mut points = self.points.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            for reading in readings {
                let held = points.entry(reading.point).or_insert((sequence, *reading));
                if (reading.event_at, reading.revision) >= (held.1.event_at, held.1.revision) {
                    *held = (sequence, *reading);
                }
            }
        }
        {
            let mut vehicles = self.vehicles.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            for position in positions {
                if vehicles.get(&position.vehicle).is_none_or(|(_, have)| position.event_at >= have.event_at) {
                    vehicles.insert(position.vehicle, (sequence, position.clone()));
                }
            }
        }
        // Published last: a reader that saw this number finds everything up to it.
        self.sequence.store(sequence, Ordering::Release);
    }

    /// Counts commits; everything with a number up to this one is visible.
    pub fn sequence(&self) -> u64 {
        self.sequence.load(Ordering::Acquire)
    }

    /// The newest reading of a point.
    pub fn point(&self, id: PointId) -> Option<Reading> {
        self.points.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(&id).map(|(_, r)| *r)
    }

    /// The newest readings of `ids` that changed after `since`.
    pub fn points_since(&self, ids: impl Iterator<Item = PointId>, since: u64) -> Vec<Reading> {
        let points = self.points.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        ids.filter_map(|id| points.get(&id)).filter(|(n, _)| *n > since).map(|(_, r)| *r).collect()
    }

    /// The newest position of a vehicle.
    pub fn vehicle(&self, id: VehicleId) -> Option<Position> {
        self.vehicles.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(&id).map(|(_, p)| p.clone())
    }

    /// The newest positions that changed after `since`.
    pub fn vehicles_since(&self, since: u64) -> Vec<Position> {
        let vehicles = self.vehicles.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        vehicles.values().filter(|(n, _)| *n > since).map(|(_, p)| p.clone()).collect()
    }

    /// How many points and vehicles were heard at or after `received_since`.
    pub fn heard_since(&self, received_since: Timestamp) -> (usize, usize) {
        let points = self.points.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let vehicles = self.vehicles.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        (
            points.values().filter(|(_, r)| r.received_at >= received_since).count(),
            vehicles.values().filter(|(_, p)| p.received_at >= received_since).count(),
        )
    }
}
