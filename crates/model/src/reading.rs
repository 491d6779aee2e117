//! What the engine keeps: readings of points and positions of vehicles.

use serde::{Deserialize, Serialize};

use crate::{PointId, Timestamp, VehicleId, Wgs84};

/// How far a value can be trusted, as the device or the range check says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    /// Nothing speaks against it.
    #[default]
    Good,
    /// Usable with care: calibration due, value substituted.
    Uncertain,
    /// Not to be used: fault, bypass, out of the measuring range.
    Bad,
}

impl Quality {
    /// The stored byte.
    pub const fn code(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Uncertain => 1,
            Self::Bad => 2,
        }
    }
    /// From the stored byte; an unknown byte is bad.
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Good,
            1 => Self::Uncertain,
            _ => Self::Bad,
        }
    }
    /// The word on the API: `good`, `uncertain`, `bad`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Uncertain => "uncertain",
            Self::Bad => "bad",
        }
    }
    /// The quality named by `word`, in any case.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Good, Self::Uncertain, Self::Bad].into_iter().find(|q| q.as_str().eq_ignore_ascii_case(word))
    }
}

/// What happened to a reading on its way in; a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Flags(u16);

impl Flags {
    /// Not newer than the point's newest reading when it came.
    pub const LATE: Self = Self(1);
    /// The device time was out of bounds; `event_at` is not the device's.
    pub const CLOCK_BAD: Self = Self(1 << 1);
    /// The device gave no time; it is ours.
    pub const TIME_SERVER: Self = Self(1 << 2);
    /// Sent as back-fill: kept, charted, never a live alarm.
    pub const BACKFILL: Self = Self(1 << 3);
    /// Outside the measuring range of the point.
    pub const OUT_OF_RANGE: Self = Self(1 << 4);
    /// A revision: the same instant had another value before.
    pub const REVISED: Self = Self(1 << 5);
    /// A position without a valid satellite fix.
    pub const NO_FIX: Self = Self(1 << 6);
    /// A position that cannot be reached from the one before; kept, left out of mileage and fences.
    pub const DRIFT: Self = Self(1 << 7);

    const NAMES: [(Self, &'static str); 8] = [
        (Self::LATE, "late"),
        (Self::CLOCK_BAD, "clock_bad"),
        (Self::TIME_SERVER, "time_server"),
        (Self::BACKFILL, "backfill"),
        (Self::OUT_OF_RANGE, "out_of_range"),
        (Self::REVISED, "revised"),
        (Self::NO_FIX, "no_fix"),
        (Self::DRIFT, "drift"),
    ];

    /// No bit set.
    pub const fn empty() -> Self {
        Self(0)
    }
    /// From the stored bits; unknown bits are kept.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }
    /// The stored bits.
    pub const fn bits(self) -> u16 {
        self.0
    }
    /// Whether all bits of `other` are set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    /// The words on the API, in bit order.
    pub fn names(self) -> Vec<&'static str> {
        Self::NAMES.iter().filter(|(bit, _)| self.has(*bit)).map(|(_, name)| *name).collect()
    }
}

/// One kept value of a point. Identity: (`point`, `device_at` or else `event_at`); the same instant with another value is a new revision.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The point.
    pub point: PointId,
    /// The instant the value holds for: what latest, alarms, rollups and charts use. Unique per point and revision.
    pub event_at: Timestamp,
    /// What the device said, if it said anything; differs from `event_at` only with [`Flags::CLOCK_BAD`].
    pub device_at: Option<Timestamp>,
    /// When this node received it.
    pub received_at: Timestamp,
    /// Finite; in the point's unit.
    pub value: f64,
    /// Trust in the value.
    pub quality: Quality,
    /// What happened on the way.
    pub flags: Flags,
    /// 0 for the first value of the instant, then counting up; the newest is shown.
    pub revision: u16,
}

/// One kept position of a vehicle (JT/T 808 0x0200). Identity: (`vehicle`, device time, `body_crc`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// The vehicle.
    pub vehicle: VehicleId,
    /// The instant it holds for; unique per vehicle.
    pub event_at: Timestamp,
    /// What the terminal said.
    pub device_at: Option<Timestamp>,
    /// When this node received it.
    pub received_at: Timestamp,
    /// Longitude in 1e-6 degrees, east positive.
    pub lon_e6: i32,
    /// Latitude in 1e-6 degrees, north positive.
    pub lat_e6: i32,
    /// Metres above sea level as sent (unsigned on the wire).
    pub altitude_m: u16,
    /// Tenths of a km/h.
    pub speed_dkmh: u16,
    /// Degrees from north, 0 to 359.
    pub direction_deg: u16,
    /// Alarm bits as sent.
    pub alarm_bits: u32,
    /// Status bits as sent.
    pub status_bits: u32,
    /// CRC-32 of the body, part of the identity.
    pub body_crc: u32,
    /// What happened on the way.
    pub flags: Flags,
    /// The additional items as sent (id, length, value …), kept raw.
    pub items: Vec<u8>,
}

impl Position {
    /// The place; positions on the wire cannot leave the globe once decoded.
    pub fn place(&self) -> Wgs84 {
        Wgs84 { lon: f64::from(self.lon_e6) / 1e6, lat: f64::from(self.lat_e6) / 1e6 }
    }
    /// The value of an additional item (JT/T 808 0x0200), if it was sent.
    pub fn item(&self, id: u8) -> Option<&[u8]> {
        item(&self.items, id)
    }
    /// Speed in km/h.
    pub fn speed_kmh(&self) -> f64 {
        f64::from(self.speed_dkmh) / 10.0
    }
}

/// The value of the first item `id` in a row of `id, length, value`; an item that is cut off is none.
pub fn item(mut items: &[u8], id: u8) -> Option<&[u8]> {
    while let [found, len, rest @ ..] = items {
        let (value, behind) = rest.split_at_checked(usize::from(*len))?;
        if *found == id {
            return Some(value);
        }
        items = behind;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_found_whole_or_not_at_all() {
        let items = [0x01, 4, 0, 0, 0, 9, 0x31, 1, 7, 0x30, 2, 5];
        assert_eq!(item(&items, 0x31), Some(&[7][..]));
        assert_eq!(item(&items, 0x30), None, "cut off");
        assert_eq!(item(&items, 0x02), None);
    }

    #[test]
    fn flags_name_themselves_in_bit_order() {
        assert_eq!(Flags::CLOCK_BAD.with(Flags::LATE).names(), ["late", "clock_bad"]);
        assert!(Flags::empty().names().is_empty());
    }
}
