//! One record as bytes: the unit of the log.
//!
//! ```text
//! offset  0 magic "ANF1" | 4 crc32 of all that follows | 8 length of the whole frame | 12 version | 13 kind | 14 shard
//!        16 record number | 24 now | 32 length of readings | 36 records since the first of its group | 40 length of notes
//!        44 readings, positions, notes
//! ```
//! A group is what one `fdatasync` made durable; all its frames lie in one segment. Version 1 has the length of positions at 36 and says
//! nothing of groups. All little-endian. The crc is seeded with the directory's id: a frame of another node inside somebody's notes is not one of ours.

use anlan_model::{Reading, Timestamp};

use crate::bits::Cursor;
use crate::columns::{decode_mixed, decode_positions, encode_mixed, encode_positions};
use crate::disk::crc;
use crate::{HistoryError, Lsn, Record};

pub(crate) const HEADER: usize = 44;
pub(crate) const MAGIC: [u8; 4] = *b"ANF1";
pub(crate) const VERSION: u8 = 2;
/// Longer frames are damage when read and refused when written.
pub(crate) const FRAME_MAX: usize = 256 << 20;
const KIND_RECORD: u8 = 1;

/// The fixed part of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) crc: u32,
    pub(crate) len: usize,
    pub(crate) version: u8,
    pub(crate) shard: u16,
    pub(crate) lsn: Lsn,
    pub(crate) now: Timestamp,
    /// First record of the group it was synced with; version 1: itself.
    pub(crate) group: Lsn,
    readings: usize,
    pub(crate) positions: usize,
    pub(crate) notes: usize,
}

impl Header {
    /// `None` if this cannot be a frame; the crc is not looked at.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut c = Cursor::new(bytes.get(..HEADER)?);
        if c.take(4)? != MAGIC {
            return None;
        }
        let crc = c.u32()?;
        let len = c.u32()? as usize;
        let (version, kind, shard) = (c.u8()?, c.u8()?, c.u16()?);
        let (lsn, now) = (Lsn(c.u64()?), Timestamp::from_micros(c.i64()?));
        let (readings, third, notes) = (c.u32()? as usize, c.u32()?, c.u32()? as usize);
        let left = len.checked_sub(HEADER + readings + notes)?;
        let (positions, group) = if version == 1 { (third as usize, lsn) } else { (left, Lsn(lsn.0.checked_sub(u64::from(third))?)) };
        let sound = kind == KIND_RECORD && len <= FRAME_MAX && positions == left;
        sound.then_some(Self { crc, len, version, shard, lsn, now, group, readings, positions, notes })
    }
    /// Whether `frame`, exactly this long, is undamaged.
    pub(crate) fn holds(&self, frame: &[u8], seed: u32) -> bool {
        frame.len() == self.len && crc(seed, &frame[8..]) == self.crc
    }
    /// The record in a frame that [`Header::holds`].
    pub(crate) fn decode(&self, frame: &[u8]) -> Option<Record> {
        let body = frame.get(HEADER..)?;
        let (readings, rest) = body.split_at_checked(self.readings)?;
        let (positions, notes) = rest.split_at_checked(self.positions)?;
        Some(Record {
            shard: self.shard,
            now: self.now,
            readings: if readings.is_empty() { Vec::new() } else { decode_mixed(readings)? },
            positions: if positions.is_empty() { Vec::new() } else { decode_positions(positions)? },
            notes: notes.to_vec(),
        })
    }
    /// The positions alone.
    pub(crate) fn positions(&self, frame: &[u8]) -> Option<Vec<anlan_model::Position>> {
        let (positions, _) = frame.get(HEADER..)?.get(self.readings..)?.split_at_checked(self.positions)?;
        if positions.is_empty() { Some(Vec::new()) } else { decode_positions(positions) }
    }
    /// The notes alone.
    pub(crate) fn notes<'a>(&self, frame: &'a [u8]) -> Option<&'a [u8]> {
        frame.get(frame.len().checked_sub(self.notes)?..)
    }
}

/// Appends the frame of `record`, to be synced together with `group` and all between, to `out` and returns its length.
pub(crate) fn encode(record: &Record, lsn: Lsn, group: Lsn, seed: u32, out: &mut Vec<u8>) -> Result<usize, HistoryError> {
    if !record.readings.iter().all(|r: &Reading| r.value.is_finite()) {
        return Err(HistoryError::Unstorable("a value is not finite"));
    }
    let start = out.len();
    out.resize(start + HEADER, 0);
    if !record.readings.is_empty() {
        encode_mixed(&record.readings, out);
    }
    let readings = out.len() - start - HEADER;
    if !record.positions.is_empty() {
        encode_positions(&record.positions, out);
    }
    out.extend_from_slice(&record.notes);
    let len = out.len() - start;
    if len > FRAME_MAX {
        out.truncate(start);
        return Err(HistoryError::Unstorable("it takes more than 256 MiB"));
    }
    let mut header = Vec::with_capacity(HEADER - 8);
    header.extend_from_slice(&(len as u32).to_le_bytes());
    header.extend_from_slice(&[VERSION, KIND_RECORD]);
    header.extend_from_slice(&record.shard.to_le_bytes());
    header.extend_from_slice(&lsn.0.to_le_bytes());
    header.extend_from_slice(&record.now.micros().to_le_bytes());
    for part in [readings, (lsn.0 - group.0) as usize, record.notes.len()] {
        header.extend_from_slice(&(part as u32).to_le_bytes());
    }
    let frame = &mut out[start..];
    frame[8..HEADER].copy_from_slice(&header);
    let sum = crc(seed, &frame[8..]);
    frame[..4].copy_from_slice(&MAGIC);
    frame[4..8].copy_from_slice(&sum.to_le_bytes());
    Ok(len)
}

/// The first whole, undamaged frame with a number above `above` at or after `from`, and its offset, if there is one.
pub(crate) fn find_whole(bytes: &[u8], from: usize, above: Lsn, seed: u32) -> Option<(usize, Header)> {
    let mut at = from;
    while at + HEADER <= bytes.len() {
        let found = at + bytes[at..].windows(4).position(|w| w == MAGIC)?;
        if let Some(header) = Header::parse(&bytes[found..])
            && header.lsn > above
            && let Some(frame) = bytes.get(found..found + header.len)
            && header.holds(frame, seed)
        {
            return Some((found, header));
        }
        at = found + 1;
    }
    None
}

/// Where a frame lies behind a bad one at `bad` that proves record `lsn` was durable once: one of a later group, as a group is begun
/// only when the one before is synced. Frames of the bad one's own group prove nothing: a power cut keeps any part of what was not synced.
pub(crate) fn find_later_group(bytes: &[u8], bad: usize, lsn: Lsn, seed: u32) -> Option<usize> {
    let mut from = bad + 1;
    while let Some((at, header)) = find_whole(bytes, from, lsn, seed) {
        if header.group > lsn {
            return Some(at);
        }
        from = at + header.len;
    }
    None
}
