//! What is in memory: the readings that are durable in the log but not yet in a block.
//!
//! Per point one string of bytes that only grows: each reading as what differs from the one before it, six bytes mostly, in the order in which
//! they came. Late data is only a step back; reading sorts, and what came last wins for the same (instant, revision).

use std::collections::BTreeMap;

use anlan_model::{Flags, IdMap, PointId, Position, Quality, Reading, Timestamp, VehicleId};

use crate::bits::{Cursor, put_varint, unzigzag, zigzag};
use crate::columns::{scaled, unscaled};
use crate::state::Slots;

/// Readings in a chunk: what a look for one instant decodes at most, of those whose span holds it.
const CHUNK: u16 = 128;
/// Values are kept as decimal fractions up to so many places; others as they are.
const DECIMALS_MAX: u8 = 4;

/// A closed stretch of readings.
#[derive(Debug)]
struct Chunk {
    first: i64,
    last: i64,
    bytes: Box<[u8]>,
}

/// Bits of a reading's first byte; its high half holds the change of a scaled value, [`WIDE`] if it does not fit there.
const META: u8 = 1;
const STEP: u8 = 2;
const DELAY: u8 = 4;
const RAW: u8 = 8;
const WIDE: u64 = 15;

const DEVICE_NONE: u8 = 0;
const DEVICE_SAME: u8 = 1;
const DEVICE_OTHER: u8 = 2;

/// The reading before, as far as the next is told by it.
#[derive(Clone, Copy, Debug, Default)]
struct Before {
    at: i64,
    step: i64,
    delay: i64,
    /// In units of `10^-decimals`.
    value: i64,
    flags: u16,
    revision: u16,
    quality: u8,
    device: u8,
    decimals: u8,
}

/// The unsealed readings of one point.
#[derive(Debug, Default)]
pub(crate) struct PointHead {
    pub(crate) shard: u16,
    /// Readings in `open`.
    n: u16,
    chunks: Vec<Chunk>,
    open: Vec<u8>,
    /// Earliest and latest instant in `open`.
    span: (i64, i64),
    before: Before,
}

impl PointHead {
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.n == 0
    }

    pub(crate) fn insert(&mut self, r: &Reading) {
        let at = r.event_at.micros();
        if self.n == 0 {
            (self.before, self.span) = (Before::default(), (at, at));
        }
        self.span = (self.span.0.min(at), self.span.1.max(at));
        self.before.put(r, &mut self.open);
        self.n += 1;
        if self.n >= CHUNK {
            let bytes = std::mem::take(&mut self.open).into_boxed_slice();
            self.chunks.push(Chunk { first: self.span.0, last: self.span.1, bytes });
            self.n = 0;
        }
    }

    /// Closed chunks and the open one: their spans and bytes.
    fn parts(&self) -> impl Iterator<Item = (i64, i64, &[u8])> {
        let open = (self.n > 0).then_some((self.span.0, self.span.1, self.open.as_slice()));
        self.chunks.iter().map(|c| (c.first, c.last, &*c.bytes)).chain(open)
    }

    /// Tells the window of `width_us` that each reading lies in, neighbours of one window once.
    pub(crate) fn each_window(&self, point: PointId, width_us: i64, mut tell: impl FnMut(i64)) {
        let window = |us: i64| us.div_euclid(width_us);
        for (first, last, bytes) in self.parts() {
            if window(first) == window(last) {
                tell(window(first));
            } else {
                each(point, bytes, |r| tell(window(r.event_at.micros())));
            }
        }
    }

    /// Appends the readings with `from <= event_at < to`, what came later behind what came earlier for the same key; not sorted.
    pub(crate) fn collect(&self, point: PointId, from: i64, to: i64, out: &mut Vec<Reading>) {
        for (_, _, bytes) in self.parts().filter(|(first, last, _)| *first < to && *last >= from) {
            each(point, bytes, |r| {
                if (from..to).contains(&r.event_at.micros()) {
                    out.push(r);
                }
            });
        }
    }
}

impl Before {
    fn put(&mut self, r: &Reading, out: &mut Vec<u8>) {
        let at = r.event_at.micros();
        let step = at.wrapping_sub(self.at);
        let delay = r.received_at.micros().wrapping_sub(at);
        let device = match r.device_at {
            None => DEVICE_NONE,
            Some(d) if d == r.event_at => DEVICE_SAME,
            Some(_) => DEVICE_OTHER,
        };
        // As many decimals as before, or the fewest that do.
        let value = scaled(r.value, self.decimals)
            .map(|v| (v, self.decimals))
            .or_else(|| (0..=DECIMALS_MAX).find_map(|d| Some((scaled(r.value, d)?, d))));
        let decimals = value.map_or(self.decimals, |(_, decimals)| decimals);
        let meta = (r.flags.bits(), r.revision, r.quality.code(), device, decimals);
        let has_meta = meta != (self.flags, self.revision, self.quality, self.device, self.decimals);
        let change = value.map(|(v, d)| zigzag(v.wrapping_sub(if d == self.decimals { self.value } else { 0 })));
        let mut head = if has_meta { META } else { 0 };
        head |= if step != self.step { STEP } else { 0 };
        head |= if delay != self.delay { DELAY } else { 0 };
        head |= change.map_or(RAW, |change| (change.min(WIDE) as u8) << 4);
        out.push(head);
        if has_meta {
            out.push(r.quality.code() | device << 2 | decimals << 4);
            put_varint(out, u64::from(r.flags.bits()));
            put_varint(out, u64::from(r.revision));
        }
        if step != self.step {
            put_us(out, step.wrapping_sub(self.step));
        }
        if delay != self.delay {
            put_us(out, delay.wrapping_sub(self.delay));
        }
        match change {
            None => out.extend_from_slice(&r.value.to_bits().to_le_bytes()),
            Some(change) if change >= WIDE => put_varint(out, change - WIDE),
            Some(_) => {}
        }
        if let (DEVICE_OTHER, Some(d)) = (device, r.device_at) {
            put_us(out, d.since_us(r.event_at));
        }
        let value = value.map_or(self.value, |(v, _)| v);
        *self = Self { at, step, delay, value, flags: r.flags.bits(), revision: r.revision, quality: r.quality.code(), device, decimals };
    }

    /// The next reading of `cursor`; `None` if these are not bytes that [`Before::put`] wrote behind the same readings.
    fn take(&mut self, point: PointId, cursor: &mut Cursor<'_>) -> Option<Reading> {
        let head = cursor.u8()?;
        if head & META != 0 {
            let byte = cursor.u8()?;
            let decimals = byte >> 4;
            if decimals != self.decimals {
                (self.decimals, self.value) = (decimals, 0);
            }
            (self.quality, self.device) = (byte & 3, byte >> 2 & 3);
            self.flags = u16::try_from(cursor.varint()?).ok()?;
            self.revision = u16::try_from(cursor.varint()?).ok()?;
        }
        if head & STEP != 0 {
            self.step = self.step.wrapping_add(take_us(cursor)?);
        }
        if head & DELAY != 0 {
            self.delay = self.delay.wrapping_add(take_us(cursor)?);
        }
        let value = if head & RAW != 0 {
            f64::from_bits(cursor.u64()?)
        } else {
            let change = match u64::from(head >> 4) {
                WIDE => cursor.varint()?.checked_add(WIDE)?,
                change => change,
            };
            self.value = self.value.wrapping_add(unzigzag(change));
            unscaled(self.value, self.decimals)
        };
        self.at = self.at.wrapping_add(self.step);
        let event_at = Timestamp::from_micros(self.at);
        let device_at = match self.device {
            DEVICE_NONE => None,
            DEVICE_SAME => Some(event_at),
            _ => Some(event_at.plus_us(take_us(cursor)?)),
        };
        Some(Reading {
            point,
            event_at,
            device_at,
            received_at: Timestamp::from_micros(self.at.wrapping_add(self.delay)),
            value,
            quality: Quality::from_code(self.quality),
            flags: Flags::from_bits(self.flags),
            revision: self.revision,
        })
    }
}

/// Every reading in the bytes of a chunk.
fn each(point: PointId, bytes: &[u8], mut tell: impl FnMut(Reading)) {
    let (mut cursor, mut before) = (Cursor::new(bytes), Before::default());
    while cursor.left() > 0 {
        tell(before.take(point, &mut cursor).expect("the chunk was coded by this process"));
    }
}

/// A distance in µs, in ms if that is enough: devices and their jitter mostly count in those.
fn put_us(out: &mut Vec<u8>, us: i64) {
    // Twice a distance fits because instants end far below 2^62 µs; whatever does not is told in its wrapped form.
    let (n, unit) = if us % 1_000 == 0 { (us / 1_000, 0) } else { (us, 1) };
    put_varint(out, zigzag(n).wrapping_shl(1) | unit);
}

fn take_us(cursor: &mut Cursor<'_>) -> Option<i64> {
    let word = cursor.varint()?;
    let n = unzigzag(word >> 1);
    Some(if word & 1 == 0 { n.wrapping_mul(1_000) } else { n })
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
    pub(crate) points: Slots<PointId, PointHead>,
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::columns::tests::{any_reading, same};

    proptest! {
        #[test]
        fn what_was_inserted_comes_back_in_its_order(rows in prop::collection::vec(any_reading(1, 50_000_000), 0..400)) {
            let mut head = PointHead::default();
            rows.iter().for_each(|r| head.insert(r));
            let mut back = Vec::new();
            head.collect(PointId::new(1), i64::MIN, i64::MAX, &mut back);
            prop_assert_eq!(back.len(), rows.len());
            prop_assert!(rows.iter().zip(&back).all(|(a, b)| same(a, b)));
            let (from, to) = (10_000_000, 20_000_000);
            let mut some = Vec::new();
            head.collect(PointId::new(1), from, to, &mut some);
            prop_assert_eq!(some.len(), rows.iter().filter(|r| (from..to).contains(&r.event_at.micros())).count());
        }
    }

    #[test]
    fn instants_at_the_ends_of_time_come_back() {
        let mut head = PointHead::default();
        let ends = [Timestamp::MIN, Timestamp::MAX, Timestamp::EPOCH, Timestamp::MAX, Timestamp::MIN];
        let reading = |at: Timestamp| Reading {
            event_at: at,
            device_at: Some(Timestamp::from_micros(i64::from(at == Timestamp::EPOCH))),
            received_at: Timestamp::MAX,
            ..crate::columns::tests::reading(1, 0, 1.5)
        };
        ends.iter().for_each(|at| head.insert(&reading(*at)));
        let mut back = Vec::new();
        head.collect(PointId::new(1), i64::MIN, i64::MAX, &mut back);
        assert_eq!(back, ends.map(reading));
    }
}
