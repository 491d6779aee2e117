//! Telemetry engine: the log of readings and their effects, compressed blocks, last values and rollups.
//!
//! One process owns one directory. [`Writer::append`] buffers a [`Record`], [`Writer::sync`] makes everything appended durable with one
//! `fdatasync` and only then shows it to every [`Reader`]. In the background the head is sealed into immutable blocks.
//! Nothing here knows rules, SQL or the network, reads a clock (time is an argument), maps files, or spawns anything but the sealing thread.
//!
//! Start at [`open`], then `log.rs` (what is on disk first), `head.rs` (what is in memory), `block.rs` (what stays).
//! The formats are versioned; `testdata/v1` holds an example of each that must be readable for ever.

pub mod batch;

mod backup;
mod bits;
mod block;
mod checkpoint;
mod columns;
mod disk;
mod error;
mod frame;
mod head;
mod last;
mod log;
mod manifest;
mod merge;
mod query;
mod read;
mod repair;
mod retention;
mod rollup;
mod squeeze;
mod state;
mod verify;
mod whole_days;
mod write;

use std::fmt;

use anlan_model::{Position, Reading, Timestamp};

pub use backup::cut_staged;
pub use error::HistoryError;
pub use merge::{Haste, Keeper, Merged};
pub use query::Figure;
pub use read::{Note, Reader, Tail, TailNotes, TailPositions};
pub use repair::{Lost, RepairReport, repair};
pub use retention::{Announce, Archived, Dropping, Going, Hold, Left, Policy, Spares, Thinned, Watch, Witness};
pub use rollup::HourSum;
pub use verify::{Finding, VerifyReport, verify};
pub use write::{Writer, open};

/// The number of a record in the log: 1 for the first, then counting up without gaps. `Lsn::ZERO` stands before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Before every record.
    pub const ZERO: Self = Self(0);
    /// The number of the record after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One entry of the log: what came in, and what it led to.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Record {
    /// The shard that took the step. Blocks are grouped by it.
    pub shard: u16,
    /// Domain time of the step.
    pub now: Timestamp,
    /// Kept readings. They come back grouped by point, points ascending; within a point in the order given.
    pub readings: Vec<Reading>,
    /// Kept positions, in the order given.
    pub positions: Vec<Position>,
    /// The application's own versioned payload: effects, configuration changes, ticks. Never read here.
    pub notes: Vec<u8>,
}

/// What the readings in one window said: least, greatest, mean, first, last and how many; readings of quality bad are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Rollup {
    /// Start of the window; windows count from 1970 UTC.
    pub at: Timestamp,
    /// Least value.
    pub min: f64,
    /// Greatest value.
    pub max: f64,
    /// Arithmetic mean.
    pub mean: f64,
    /// The oldest value.
    pub first: f64,
    /// The newest value.
    pub last: f64,
    /// Number of readings that are not bad, at least 1.
    pub count: u64,
    /// Number of bad readings.
    pub bad: u64,
}

/// Sizes and counts, for metrics and the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stats {
    /// Bytes of the block files.
    pub block_bytes: u64,
    /// Bytes of the log segments.
    pub log_bytes: u64,
    /// Block files.
    pub files: u64,
    /// Blocks (shard × window) in them.
    pub blocks: u64,
    /// Readings in blocks, revisions and repeats in overlapping blocks counted.
    pub sealed_readings: u64,
    /// Readings in memory, not yet in a block.
    pub head_readings: u64,
    /// Positions in memory, not yet in a block.
    pub head_positions: u64,
    /// Points with at least one reading.
    pub points: u64,
    /// Vehicles with at least one position.
    pub vehicles: u64,
    /// Log segments on disk.
    pub segments: u64,
    /// The last durable record.
    pub lsn: Lsn,
    /// Records up to here are in blocks.
    pub sealed_lsn: Lsn,
}

/// Sizes and times of the engine.
#[derive(Clone, Debug)]
pub struct Options {
    /// A log segment is closed when it has grown past this.
    pub segment_bytes: u64,
    /// The head is sealed when it holds this many readings, whatever the time.
    pub seal_after_readings: u64,
    /// Width of a block in µs; blocks are cut at its multiples since 1970. Fixed when the directory is made; later values are ignored.
    pub seal_window_us: i64,
    /// Log segments younger than this are kept even if nobody needs them, in µs.
    pub keep_log_us: i64,
    /// Most records' bytes that may wait for [`Writer::sync`]; `append` refuses beyond.
    pub unsynced_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            // Some 13 minutes of 100,000 points at 10 s; the process peaked at 157 MB with 8.9 M in the head (ADR 0002).
            seal_after_readings: 8_000_000,
            seal_window_us: 3_600_000_000,
            keep_log_us: 7 * 86_400_000_000,
            unsynced_bytes_max: 256 << 20,
        }
    }
}

/// Entry points for counting instructions (crates/budget); no part of the interface.
#[doc(hidden)]
pub mod measure {
    use anlan_model::{PointId, Reading};

    use crate::columns::{Packing, decode_series, encode_series};

    /// A point's section of a block, before zstd.
    pub fn encode(rows: &[Reading]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(rows.len() * 2 + 32);
        encode_series(rows, None, Packing::Quick, &mut bytes);
        bytes
    }

    /// Its readings; `None` for bytes that are none.
    pub fn decode(point: PointId, bytes: &[u8]) -> Option<Vec<Reading>> {
        let mut rows = Vec::new();
        decode_series(bytes, point, None, &mut rows).map(|()| rows)
    }
}
