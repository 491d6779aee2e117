//! Proof that two nodes hold the same readings: a count and a sum that do not depend on order (ADR 0021).

use std::fmt;

use sha2::{Digest as _, Sha256};

/// How many readings, and the sum of their hashes modulo 2^128.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Digest {
    /// How many.
    pub n: u64,
    /// Sum of the hashes.
    pub sum: u128,
}

impl Digest {
    /// Counts one reading in. `point` is its id at the origin, `quality` the stored code.
    ///
    /// Its hash is the first 16 bytes of SHA-256 over, all big-endian: point (i64), `event_at` in µs (i64), bits of the value (u64),
    /// quality (u8), revision (u16).
    pub fn add(&mut self, point: i64, event_at_us: i64, value: f64, quality: u8, revision: u16) {
        let mut bytes = [0; 27];
        bytes[..8].copy_from_slice(&point.to_be_bytes());
        bytes[8..16].copy_from_slice(&event_at_us.to_be_bytes());
        bytes[16..24].copy_from_slice(&value.to_bits().to_be_bytes());
        bytes[24] = quality;
        bytes[25..].copy_from_slice(&revision.to_be_bytes());
        let mut first = [0; 16];
        first.copy_from_slice(&Sha256::digest(bytes)[..16]);
        self.n += 1;
        self.sum = self.sum.wrapping_add(u128::from_be_bytes(first));
    }
    /// Counts in what another digest holds.
    pub fn join(&mut self, other: &Self) {
        self.n += other.n;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

/// The sum, 32 hexadecimal digits.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `hashlib.sha256(struct.pack(">qqdBH", 7, 1764460800000000, 1.25, 0, 0)).hexdigest()[:32]`, added to the same with revision 1.
    #[test]
    fn strangers_can_recompute_it() {
        let mut digest = Digest::default();
        digest.add(7, 1_764_460_800_000_000, 1.25, 0, 0);
        assert_eq!(digest.to_string(), "05a3a5aa4b170db64af97b946c66f5b6");
        digest.add(7, 1_764_460_800_000_000, 1.25, 0, 1);
        assert_eq!((digest.n, digest.to_string().as_str()), (2, "5b7cdbc001914bed523b6b14b4d33668"));
    }

    #[test]
    fn order_does_not_matter() {
        let rows = [(1, 10, 1.0), (2, 10, -0.0), (1, 11, 3.5)];
        let of = |rows: &mut dyn Iterator<Item = &(i64, i64, f64)>| {
            let mut digest = Digest::default();
            rows.for_each(|(point, at, value)| digest.add(*point, *at, *value, 0, 0));
            digest
        };
        assert_eq!(of(&mut rows.iter()), of(&mut rows.iter().rev()));
        let mut joined = of(&mut rows[..1].iter());
        joined.join(&of(&mut rows[1..].iter()));
        assert_eq!(joined, of(&mut rows.iter()));
        assert_ne!(of(&mut rows[..2].iter()).sum, of(&mut rows.iter()).sum);
    }
}
