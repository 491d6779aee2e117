//! What is polled over Modbus TCP: a device's register map as an operator keeps it, and the snapshot that sockets follow.
//!
//! Shapes only: `app` checks them field by field, `protocols::modbus` plans reads and decodes, `ingest::poll` does the polling.
//! Addresses count from 0 as on the wire; what paper calls 40001 is holding register 0. Start at [`ModbusMap`].

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::DeviceId;

macro_rules! words {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $name:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $type { $($(#[$variant_doc])* #[serde(rename = $word)] $name),+ }
        impl $type {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),+];
            /// The word on the API and in the database.
            pub const fn as_str(self) -> &'static str { match self { $(Self::$name => $word),+ } }
            /// The one named by `word`.
            pub fn parse(word: &str) -> Option<Self> { Self::ALL.iter().copied().find(|v| v.as_str() == word) }
        }
    };
}

words! {
    /// One of the four tables of a Modbus server.
    Table {
        /// Read-write bits, function 1.
        Coil = "coil",
        /// Read-only bits, function 2.
        Discrete = "discrete",
        /// Read-write registers, function 3.
        Holding = "holding",
        /// Read-only registers, function 4.
        Input = "input",
    }
}

words! {
    /// What a value is made of. 64-bit integers beyond 2^53 lose their last digits: a value is an f64.
    ValueType {
        /// A coil, a discrete input, or one bit of a register; 0 or 1.
        Bool = "bool",
        /// One register.
        U16 = "u16",
        /// One register, two's complement.
        I16 = "i16",
        /// Two registers.
        U32 = "u32",
        /// Two registers, two's complement.
        I32 = "i32",
        /// Two registers, IEEE 754.
        F32 = "f32",
        /// Four registers.
        U64 = "u64",
        /// Four registers, two's complement.
        I64 = "i64",
        /// Four registers, IEEE 754.
        F64 = "f64",
    }
}

words! {
    /// Which byte comes first. The standard fixes it for one register (big-endian) and says nothing for two, so devices differ.
    WordOrder {
        /// High word first, high byte first: what the standard would suggest.
        Abcd = "ABCD",
        /// Low word first, high byte first.
        Cdab = "CDAB",
        /// High word first, low byte first.
        Badc = "BADC",
        /// Low word first, low byte first: all bytes reversed.
        Dcba = "DCBA",
    }
}

impl Table {
    /// Bits, not registers.
    pub const fn is_bits(self) -> bool {
        matches!(self, Self::Coil | Self::Discrete)
    }
}

impl ValueType {
    /// Registers (for a bool: bits or one register) it takes.
    pub const fn width(self) -> u16 {
        match self {
            Self::Bool | Self::U16 | Self::I16 => 1,
            Self::U32 | Self::I32 | Self::F32 => 2,
            Self::U64 | Self::I64 | Self::F64 => 4,
        }
    }
}

/// One value of a device: where it stands and what it means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// Code of the point within the device.
    pub code: String,
    /// Which table.
    pub table: Table,
    /// First address, from 0.
    pub address: u16,
    /// What it is made of.
    #[serde(rename = "type")]
    pub kind: ValueType,
    /// Which bit of a register, 0 = least significant; only for a bool in a register table.
    #[serde(default)]
    pub bit: Option<u8>,
    /// Byte order.
    pub order: WordOrder,
    /// The value is raw · `scale` + `offset`; finite and not 0.
    pub scale: f64,
    /// See `scale`; finite.
    pub offset: f64,
    /// Unit symbol of the value.
    pub unit: String,
    /// Milliseconds from one poll to the next.
    pub interval_ms: u64,
}

/// Addresses that must not be read, not even between two that are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forbidden {
    /// Which table.
    pub table: Table,
    /// First.
    pub from: u16,
    /// Last.
    pub to: u16,
}

/// How one device is polled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModbusMap {
    /// Where the device or its gateway listens. An address, never a name: what it points to must not change behind the check.
    pub address: SocketAddr,
    /// Unit id behind that address; several devices may share one address.
    pub unit: u8,
    /// Milliseconds a request may take.
    pub timeout_ms: u64,
    /// Unnamed addresses that one read may cover to save a second one; 0 = never read what is not named.
    pub gap: u16,
    /// Never read.
    pub forbidden: Vec<Forbidden>,
    /// Values.
    pub registers: Vec<Register>,
}

/// One device as the poller sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Polled {
    /// Whose readings they are.
    pub device: DeviceId,
    /// For logs.
    pub code: String,
    /// How.
    pub map: ModbusMap,
}

/// Everything to be polled; an immutable snapshot, replaced whole when a map or a device changes.
pub type Polls = Arc<Vec<Arc<Polled>>>;

/// A network in CIDR notation, such as `10.20.0.0/16`; a bare address is itself alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Network {
    base: IpAddr,
    prefix: u8,
}

/// The text is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no network such as 10.20.0.0/16")]
pub struct NetworkError(String);

impl Network {
    /// Whether `address` lies in it. An IPv4 address inside IPv6 (`::ffff:…`) counts as the IPv4 address it is.
    pub fn contains(self, address: IpAddr) -> bool {
        let bits = |ip: IpAddr| match ip.to_canonical() {
            IpAddr::V4(v4) => (32, u128::from(v4.to_bits())),
            IpAddr::V6(v6) => (128, v6.to_bits()),
        };
        let ((width, base), (other, asked)) = (bits(self.base), bits(address));
        let shift = width - u32::from(self.prefix).min(width);
        width == other && base.checked_shr(shift) == asked.checked_shr(shift)
    }
}

impl FromStr for Network {
    type Err = NetworkError;
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let wrong = || NetworkError(text.to_owned());
        let (base, prefix) = text.split_once('/').map_or((text, None), |(base, prefix)| (base, Some(prefix)));
        let base: IpAddr = base.trim().parse().map_err(|_| wrong())?;
        let width = if base.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(width), |p| p.trim().parse().map_err(|_| wrong()))?;
        if prefix > width { Err(wrong()) } else { Ok(Self { base, prefix }) }
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;
    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        format!("{}/{}", network.base, network.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        let check = |network: &str, address: &str, want| {
            assert_eq!(network.parse::<Network>().unwrap().contains(address.parse().unwrap()), want, "{network} {address}");
        };
        check("10.20.0.0/16", "10.20.255.1", true);
        check("10.20.0.0/16", "10.21.0.1", false);
        check("10.20.0.0/16", "::ffff:10.20.0.9", true);
        check("127.0.0.1", "127.0.0.1", true);
        check("127.0.0.1", "127.0.0.2", false);
        check("0.0.0.0/0", "203.0.113.9", true);
        check("0.0.0.0/0", "fd00::1", false);
        check("fd00::/8", "fd12::1", true);
        check("::/0", "fd12::1", true);
        check("fd00::/8", "fe80::1", false);
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "host", "10.0.0.0/-1", "::/129"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
