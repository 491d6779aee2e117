//! Typed ids. A row's id is a positive integer in the database and a decimal string outside.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(i64);

        impl $name {
            /// Wraps a database id; the caller vouches that it came from that table.
            pub const fn new(id: i64) -> Self { Self(id) }
            /// The database integer.
            pub const fn get(self) -> i64 { self.0 }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(f) }
        }
        impl FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> { text.parse().map(Self) }
        }
    )+};
}

ids! {
    /// An enterprise (生产经营单位).
    EnterpriseId,
    /// A site, unit or installation of an enterprise (装置、厂区).
    SiteId,
    /// A device or gateway with a credential of its own.
    DeviceId,
    /// A measuring point (测点).
    PointId,
    /// A vehicle with a JT/T 808 terminal.
    VehicleId,
    /// A person who signs in.
    UserId,
    /// A record of a register (台账记录).
    RecordId,
    /// A file of a record (附件), or one that waits for its record.
    AttachmentId,
    /// A combination rule (组合规则) of one enterprise.
    CombinationId,
    /// A key by which a program of others reads open data (接口密钥).
    ApiKeyId,
    /// A shift of a duty rota (值班班次).
    DutyShiftId,
}

/// A map keyed by database ids, which count up: neighbours stay neighbours in the table, and a frame in point order walks it in order
/// instead of missing the cache at every reading (a mixing hash took a quarter of all ingest time).
pub type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// See [`IdMap`]. Only for keys that we hand out: whoever chooses his own can make them collide.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }
    fn write_u64(&mut self, n: u64) {
        // The table places by the low bits and compares by the high seven: those come from 2^64 / golden ratio.
        let n = self.0 ^ n;
        self.0 = ((n ^ (n >> 20)) & (u64::MAX >> 7)) | (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) & !(u64::MAX >> 7));
    }
    fn write_i64(&mut self, n: i64) {
        self.write_u64(n as u64);
    }
    fn write_u16(&mut self, n: u16) {
        self.write_u64(u64::from(n));
    }
}

macro_rules! uuids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(u128);

        impl $name {
            /// Wraps the 128 bits of a UUID.
            pub const fn new(bits: u128) -> Self { Self(bits) }
            /// The 128 bits.
            pub const fn get(self) -> u128 { self.0 }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write_uuid(self.0, f) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write_uuid(self.0, f) }
        }
        impl FromStr for $name {
            type Err = UuidError;
            fn from_str(text: &str) -> Result<Self, Self::Err> { read_uuid(text).map(Self) }
        }
    )+};
}

uuids! {
    /// One occurrence of an alarm: a UUIDv7, made once when the condition is raised.
    AlarmId,
    /// An order (交办) to a node below: a UUIDv7, made once where it is given.
    OrderId,
    /// A transfer of home (主管移交) to a node below: a UUIDv7, made once where it is given.
    TransferId,
}

fn write_uuid(b: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let groups = [(b >> 80) & 0xffff, (b >> 64) & 0xffff, (b >> 48) & 0xffff];
    write!(f, "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", b >> 96, groups[0], groups[1], groups[2], b & 0xffff_ffff_ffff)
}

/// The text is not a hyphenated UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("such an id is a UUID such as 0199f3c2-7f00-7abc-8def-0123456789ab")]
pub struct UuidError;

fn read_uuid(text: &str) -> Result<u128, UuidError> {
    let hyphens = [8, 13, 18, 23];
    let shaped =
        text.len() == 36 && text.bytes().enumerate().all(|(i, b)| if hyphens.contains(&i) { b == b'-' } else { b.is_ascii_hexdigit() });
    if !shaped {
        return Err(UuidError);
    }
    u128::from_str_radix(&text.replace('-', ""), 16).map_err(|_| UuidError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarm_id_reads_back_what_it_prints() {
        let id = AlarmId::new(0x0199f3c2_7f00_7abc_8def_0123456789ab);
        assert_eq!(id.to_string(), "0199f3c2-7f00-7abc-8def-0123456789ab");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("0199f3c2".parse::<AlarmId>().is_err());
        assert!("+199f3c2-7f00-7abc-8def-0123456789ab".parse::<AlarmId>().is_err());
    }
}
