//! What other platforms (JT/T 809) and this node's vehicles must know of each other: who a plate is here, and what was kept of where vehicles were.
//!
//! Start at [`Fleet`], which `app` implements and `ingest` asks.

use crate::{Position, RegionCode, Timestamp, VehicleId};

/// A vehicle as it is registered here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetVehicle {
    /// Which.
    pub id: VehicleId,
    /// Terminal phone number, digits without leading zeros.
    pub phone: String,
    /// Licence plate; empty until known.
    pub plate: String,
    /// Territory.
    pub region: Option<RegionCode>,
    /// A person adopted it.
    pub adopted: bool,
}

/// Positions of some records of the log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stretch {
    /// In the order in which they were kept.
    pub positions: Vec<Position>,
    /// The record up to which everything was looked at.
    pub upto: u64,
    /// Domain time of the last record with positions, if there was one.
    pub now: Option<Timestamp>,
}

/// Why there is no [`Stretch`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FleetError {
    /// The log no longer reaches back so far; history does.
    #[error("the log begins with record {first}")]
    Gone {
        /// The first that is still there.
        first: u64,
        /// Its domain time, if it is one with positions or any such follows.
        now: Option<Timestamp>,
    },
    /// Log or history cannot be read.
    #[error("the history cannot be read: {0}")]
    History(String),
}

/// Reads the log onwards from a place. Blocking.
pub trait Follow: Send {
    /// Positions behind where it stands, of records up to `upto`, some `most` of them or those of one record. Once it has come to `upto`, it has
    /// nothing more to give.
    ///
    /// # Errors
    /// [`FleetError`]; it must be opened anew then.
    fn next(&mut self, upto: u64, most: usize) -> Result<Stretch, FleetError>;
}

/// The vehicles of this node and where they were.
pub trait Fleet: Send + Sync {
    /// Counts up whenever a vehicle may have changed.
    fn generation(&self) -> u64;
    /// Vehicles with this plate, as [`plate_key`] compares.
    fn by_plate(&self, plate: &str) -> Vec<FleetVehicle>;
    /// The vehicle of a terminal's phone number.
    fn by_phone(&self, phone: &str) -> Option<FleetVehicle>;
    /// A vehicle.
    fn vehicle(&self, id: VehicleId) -> Option<FleetVehicle>;
    /// All of them, ids ascending.
    fn vehicles(&self) -> Vec<VehicleId>;
    /// The last durable record of the log.
    fn head(&self) -> u64;
    /// The log behind record `from`.
    fn follow(&self, from: u64) -> Box<dyn Follow>;
    /// Positions that hold for `from <= event_at < to`, oldest first, behind `after`, at most `most`. Blocking.
    ///
    /// # Errors
    /// [`FleetError::History`].
    fn positions(
        &self,
        vehicle: VehicleId,
        from: Timestamp,
        to: Timestamp,
        after: Option<Timestamp>,
        most: usize,
    ) -> Result<Vec<Position>, FleetError>;
}

/// A plate as it is compared: without blanks and separators, letters large.
pub fn plate_key(plate: &str) -> String {
    plate.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_uppercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plates_are_compared_without_what_people_put_between() {
        for plate in ["云F12345", "云f·12345", " 云F 12345 ", "云F-12345"] {
            assert_eq!(plate_key(plate), "云F12345", "{plate}");
        }
        assert_eq!(plate_key(""), "");
    }
}
