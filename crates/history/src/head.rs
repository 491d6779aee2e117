//! What is in memory: the readings that are durable in the log but not yet in a block.
//!
//! Per point a short sorted row buffer takes readings in any order; when it is full its oldest rows are coded into a chunk with the same
//! coding as blocks. Chunks may overlap when data came late; reading merges, and what came last wins for the same (instant, revision).

use std::collections::BTreeMap;

use anlan_model::{Flags, IdMap, PointId, Position, Quality, Reading, Timestamp, VehicleId};

use crate::columns::{decode_series, encode_series};

/// Rows of a point before the oldest [`CHUNK`] are coded.
const ROWS: usize = 28;
/// Rows in a chunk; the rest stay open for a little disorder.
const CHUNK: usize = 24;

/// A reading without its point and, mostly, without its device time.
#[derive(Clone, Copy, Debug)]
struct Row {
    at: i64,
    received: i64,
    value: f64,
    flags: u16,
    revision: u16,
    quality: u8,
    device: Device,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Device {
    None,
    Same,
    /// In [`PointHead::odd`].
    Other,
}

#[derive(Debug)]
struct Chunk {
    first: i64,
    last: i64,
    bytes: Box<[u8]>,
}

/// The unsealed readings of one point.
#[derive(Debug, Default)]
pub(crate) struct PointHead {
    pub(crate) shard: u16,
    chunks: Vec<Chunk>,
    rows: Vec<Row>,
    /// Device times that differ from `event_at`, of open rows.
    odd: BTreeMap<(i64, u16), i64>,
}

impl PointHead {
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.rows.is_empty()
    }

    pub(crate) fn insert(&mut self, r: &Reading) {
        let at = r.event_at.micros();
        let key = (at, r.revision);
        let device = match r.device_at {
            None => Device::None,
            Some(d) if d == r.event_at => Device::Same,
            Some(d) => {
                self.odd.insert(key, d.micros());
                Device::Other
            }
        };
        let row = Row {
            at,
            received: r.received_at.micros(),
            value: r.value,
            flags: r.flags.bits(),
            revision: r.revision,
            quality: r.quality.code(),
            device,
        };
        match self.rows.last() {
            Some(last) if (last.at, last.revision) >= key => match self.rows.binary_search_by_key(&key, |r| (r.at, r.revision)) {
                Ok(i) => self.rows[i] = row,
                Err(i) => self.rows.insert(i, row),
            },
            _ => {
                if self.rows.capacity() == self.rows.len() {
                    // Slow points stay small; Vec's own doubling would overshoot the chunk.
                    self.rows.reserve_exact(if self.rows.is_empty() { 4 } else { ROWS - self.rows.len() });
                }
                self.rows.push(row);
            }
        }
        if self.rows.len() >= ROWS {
            self.code_chunk(r.point);
        }
    }

    fn code_chunk(&mut self, point: PointId) {
        let rows: Vec<Reading> = self.rows[..CHUNK].iter().map(|row| self.reading(point, row)).collect();
        let mut bytes = Vec::with_capacity(160);
        encode_series(&rows, None, &mut bytes);
        self.chunks.push(Chunk { first: self.rows[0].at, last: self.rows[CHUNK - 1].at, bytes: bytes.into_boxed_slice() });
        self.rows.drain(..CHUNK);
        if !self.odd.is_empty() {
            // The device times of the coded rows are in the chunk now.
            let open: Vec<(i64, u16)> = self.rows.iter().filter(|r| r.device == Device::Other).map(|r| (r.at, r.revision)).collect();
            self.odd.retain(|key, _| open.contains(key));
        }
    }

    fn reading(&self, point: PointId, row: &Row) -> Reading {
        let event_at = Timestamp::from_micros(row.at);
        Reading {
            point,
            event_at,
            device_at: match row.device {
                Device::None => None,
                Device::Same => Some(event_at),
                Device::Other => self.odd.get(&(row.at, row.revision)).map(|us| Timestamp::from_micros(*us)),
            },
            received_at: Timestamp::from_micros(row.received),
            value: row.value,
            quality: Quality::from_code(row.quality),
            flags: Flags::from_bits(row.flags),
            revision: row.revision,
        }
    }

    /// Tells the window of `width_us` that each reading lies in, neighbours of one window once.
    pub(crate) fn each_window(&self, point: PointId, width_us: i64, mut tell: impl FnMut(i64)) {
        let window = |us: i64| us.div_euclid(width_us);
        for chunk in &self.chunks {
            if window(chunk.first) == window(chunk.last) {
                tell(window(chunk.first));
            } else {
                let mut rows = Vec::with_capacity(CHUNK);
                decode_series(&chunk.bytes, point, None, &mut rows).expect("the chunk was coded by this process");
                rows.iter().for_each(|r| tell(window(r.event_at.micros())));
            }
        }
        self.rows.iter().for_each(|row| tell(window(row.at)));
    }

    /// Appends the readings with `from <= event_at < to`, what came later behind what came earlier for the same key; not sorted.
    pub(crate) fn collect(&self, point: PointId, from: i64, to: i64, out: &mut Vec<Reading>) {
        for chunk in self.chunks.iter().filter(|c| c.first < to && c.last >= from) {
            let start = out.len();
            decode_series(&chunk.bytes, point, None, out).expect("the chunk was coded by this process");
            if chunk.first < from || chunk.last >= to {
                let mut kept = start;
                for i in start..out.len() {
                    if (from..to).contains(&out[i].event_at.micros()) {
                        out.swap(kept, i);
                        kept += 1;
                    }
                }
                out.truncate(kept);
            }
        }
        let (a, b) = (self.rows.partition_point(|r| r.at < from), self.rows.partition_point(|r| r.at < to));
        out.extend(self.rows[a..b].iter().map(|row| self.reading(point, row)));
    }
}

/// The unsealed positions of one vehicle.
#[derive(Debug, Default)]
pub(crate) struct VehicleHead {
    pub(crate) shard: u16,
    pub(crate) rows: BTreeMap<i64, Position>,
}

/// The head as it was when sealing began: read-only from then on.
#[derive(Debug, Default)]
pub(crate) struct Frozen {
    pub(crate) points: IdMap<PointId, PointHead>,
    pub(crate) vehicles: IdMap<VehicleId, VehicleHead>,
    pub(crate) readings: u64,
    pub(crate) positions: u64,
}

/// Sorts by (instant, revision) and drops all but the last of equal keys.
pub(crate) fn settle(rows: &mut Vec<Reading>) {
    if rows.is_sorted_by(|a, b| (a.event_at, a.revision) < (b.event_at, b.revision)) {
        return;
    }
    rows.sort_by_key(|r| (r.event_at, r.revision));
    rows.dedup_by(|later, kept| {
        let same = (later.event_at, later.revision) == (kept.event_at, kept.revision);
        if same {
            *kept = *later;
        }
        same
    });
}
