//! What other platforms (JT/T 809) ask about this node's vehicles: who a plate is here, and where vehicles were, as the log keeps it.
//!
//! Start at [`AppFleet`].

use std::sync::Arc;

use anlan_history::{HistoryError, Lsn, Reader, TailPositions};
use anlan_model::noun::Vehicle;
use anlan_model::platform::{Fleet, FleetError, FleetVehicle, Follow, Stretch, plate_key};
use anlan_model::{Position, Timestamp, VehicleId};

use crate::App;

/// The [`Fleet`] of a node.
pub struct AppFleet(pub Arc<App>);

fn shown(v: &Vehicle) -> FleetVehicle {
    FleetVehicle { id: v.id, phone: v.phone.clone(), plate: v.plate.clone(), region: v.region.clone(), adopted: v.adopted }
}

impl Fleet for AppFleet {
    fn generation(&self) -> u64 {
        self.0.registry.look().generation
    }

    fn by_plate(&self, plate: &str) -> Vec<FleetVehicle> {
        let snapshot = self.0.registry.look();
        let ids = snapshot.vehicles_by_plate.get(&plate_key(plate)).map_or(&[][..], Vec::as_slice);
        ids.iter().filter_map(|id| snapshot.vehicles.get(id)).map(|v| shown(v)).collect()
    }

    fn by_phone(&self, phone: &str) -> Option<FleetVehicle> {
        let snapshot = self.0.registry.look();
        snapshot.vehicle_by_phone.get(phone).and_then(|id| snapshot.vehicles.get(id)).map(|v| shown(v))
    }

    fn vehicle(&self, id: VehicleId) -> Option<FleetVehicle> {
        self.0.registry.look().vehicles.get(&id).map(|v| shown(v))
    }

    fn vehicles(&self) -> Vec<VehicleId> {
        let snapshot = self.0.registry.look();
        let mut all: Vec<_> = snapshot.vehicles.values().filter(|v| !v.is_elsewhere()).map(|v| v.id).collect();
        all.sort_unstable();
        all
    }

    fn head(&self) -> u64 {
        self.0.telemetry.reader.durable().0
    }

    fn follow(&self, from: u64) -> Box<dyn Follow> {
        let reader = self.0.telemetry.reader.clone();
        Box::new(Following { tail: reader.tail_positions(Lsn(from)), reader })
    }

    fn positions(
        &self,
        vehicle: VehicleId,
        from: Timestamp,
        to: Timestamp,
        after: Option<Timestamp>,
        most: usize,
    ) -> Result<Vec<Position>, FleetError> {
        let reader = &self.0.telemetry.reader;
        reader.positions(vehicle, from, to, after, most).map_err(|e| FleetError::History(e.to_string()))
    }
}

struct Following {
    reader: Reader,
    tail: TailPositions,
}

impl Follow for Following {
    fn next(&mut self, upto: u64, most: usize) -> Result<Stretch, FleetError> {
        let mut found = Stretch { upto: self.tail.seen().0, ..Stretch::default() };
        while found.upto < upto && found.positions.len() < most.max(1) {
            match self.tail.next() {
                None => break,
                // It is behind the end of what was asked for: whoever follows on from there reads it.
                Some(Ok((lsn, ..))) if lsn.0 > upto => return Ok(Stretch { upto, ..found }),
                Some(Ok((_, now, positions))) => {
                    found.now = Some(now);
                    found.positions.extend(positions);
                }
                Some(Err(HistoryError::NotInLog { first, .. })) => {
                    let now = self.reader.tail_positions(Lsn(first.0.saturating_sub(1))).next().and_then(|r| r.ok()).map(|(_, now, _)| now);
                    return Err(FleetError::Gone { first: first.0, now });
                }
                Some(Err(failure)) => return Err(FleetError::History(failure.to_string())),
            }
            found.upto = self.tail.seen().0;
        }
        // Records without positions at the end were looked at, too.
        found.upto = found.upto.max(self.tail.seen().0);
        Ok(found)
    }
}
