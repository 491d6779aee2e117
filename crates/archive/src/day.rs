//! A day of the archive, and what a day holds: the manifest that says which parts are visible.

use std::fmt;

use anlan_model::Timestamp;
use serde::{Deserialize, Serialize};

use crate::table::{Digest, Table, Written};

const DAY_US: i64 = 86_400_000_000;

/// A day in UTC, like the windows of blocks and rollups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i64);

impl Day {
    /// The day of an instant.
    pub fn of(at: Timestamp) -> Self {
        Self(at.micros().div_euclid(DAY_US))
    }
    /// From days since 1970.
    pub const fn new(days: i64) -> Self {
        Self(days)
    }
    /// Days since 1970.
    pub const fn number(self) -> i64 {
        self.0
    }
    /// Its first microsecond.
    pub fn start(self) -> Timestamp {
        Timestamp::from_micros(self.0.saturating_mul(DAY_US))
    }
    /// The first microsecond of the next.
    pub fn end(self) -> Timestamp {
        Timestamp::from_micros(self.0.saturating_add(1).saturating_mul(DAY_US))
    }
    /// From `2026-11-22`.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 10).then(|| Timestamp::parse(&format!("{text}T00:00:00Z")).ok().map(Self::of)).flatten()
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.start().to_string().get(..10).unwrap_or_default())
    }
}

/// One visible file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartMeta {
    /// `readings` or `positions`.
    pub table: String,
    /// Region code of that day; `unassigned` for subjects that belonged to nobody.
    pub region: String,
    /// File name.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// CRC-32 of its bytes.
    pub crc32: u32,
    /// Its rows.
    pub rows: u64,
    /// Order-independent hash of its rows, decimal (docs/reference/archive.md).
    pub hash: String,
    /// Least subject id.
    pub first: i64,
    /// Greatest subject id.
    pub last: i64,
}

impl PartMeta {
    pub(crate) fn new<T: Table>(region: &str, file: &str, written: &Written) -> Self {
        Self {
            table: T::NAME.to_owned(),
            region: region.to_owned(),
            file: file.to_owned(),
            bytes: written.bytes,
            crc32: written.crc,
            rows: written.digest.rows,
            hash: written.digest.hash.to_string(),
            first: written.first,
            last: written.last,
        }
    }
    /// Folder of the partition, without a slash at the end.
    pub(crate) fn folder(&self, day: Day) -> String {
        format!("{}/day={day}/region={}", self.table, self.region)
    }
    /// Path below the root of the archive.
    pub fn key(&self, day: Day) -> String {
        format!("{}/{}", self.folder(day), self.file)
    }
    pub(crate) fn same_rows(&self, found: &Digest) -> bool {
        self.rows == found.rows && self.hash == found.hash.to_string()
    }
}

/// A change of a day that was decided and must be finished, or undone where its files are lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// New parts and where their files wait, below the staging directory.
    pub(crate) add: Vec<(String, PartMeta)>,
    /// Names of the parts they replace.
    pub(crate) remove: Vec<PartMeta>,
}

/// What stands in `_manifest/day=….json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) version: u32,
    pub(crate) day: String,
    /// The hot blocks of the day are gone, or may be gone at any moment: readers must look here.
    pub(crate) released: bool,
    /// The visible parts.
    pub(crate) parts: Vec<PartMeta>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pending: Option<Pending>,
    /// Replaced, to be removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) garbage: Vec<PartMeta>,
}

impl Manifest {
    pub(crate) const VERSION: u32 = 1;

    pub(crate) fn new(day: Day) -> Self {
        Self { version: Self::VERSION, day: day.to_string(), released: false, parts: Vec::new(), pending: None, garbage: Vec::new() }
    }
    pub(crate) fn key(day: Day) -> String {
        format!("_manifest/day={day}.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_reads_back_what_it_prints() {
        for text in ["2026-11-22", "1969-12-31", "2000-02-29"] {
            assert_eq!(Day::parse(text).unwrap().to_string(), text);
        }
        assert!(Day::parse("2026-13-01").is_none());
        assert_eq!(Day::of(Timestamp::from_micros(-1)).to_string(), "1969-12-31");
    }
}
