//! The log on disk: segments of frames, one after the other.
//!
//! A segment `log-<first record>.anl` begins with a 32-byte head (magic "ANLG", version, directory id, first record, domain time of its
//! making, crc) and holds whole frames only, except that a power cut may leave any part of the last group at the end of the last segment.
//! Start at [`scan`]; writing is in `write.rs`, following in `read.rs`.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anlan_model::Timestamp;

use crate::bits::Cursor;
use crate::disk::{crc, log_path, sync_dir};
use crate::error::{At, Result};
use crate::frame::{Header, find_later_group};
use crate::{HistoryError, Lsn, frame};

pub(crate) const SEGMENT_HEAD: usize = 32;
const MAGIC: [u8; 4] = *b"ANLG";
/// 2: frames name their group. A segment of version 1 is never appended to: an older release would take the new frames for torn ones.
pub(crate) const VERSION: u8 = 2;
/// A record is remembered by offset every so many bytes, so that following the log does not start at the head of a segment.
const MARK_EVERY: u64 = 256 << 10;

/// One log file, as far as it is durable.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) version: u8,
    pub(crate) first: Lsn,
    /// Domain time when it was begun: not before the last record of the segment before it.
    pub(crate) begun: Timestamp,
    pub(crate) len: u64,
    /// (record, offset), ascending; some of them.
    marks: Vec<(Lsn, u64)>,
}

impl Segment {
    pub(crate) fn mark(&mut self, lsn: Lsn, offset: u64) {
        if self.marks.last().is_none_or(|(_, o)| offset >= o + MARK_EVERY) {
            self.marks.push((lsn, offset));
        }
    }
    /// A place at or before record `lsn` to begin reading.
    pub(crate) fn near(&self, lsn: Lsn) -> (Lsn, u64) {
        let i = self.marks.partition_point(|(l, _)| *l <= lsn);
        if i == 0 { (self.first, SEGMENT_HEAD as u64) } else { self.marks[i - 1] }
    }
}

fn head_bytes(seed: u32, first: Lsn, begun: Timestamp) -> Vec<u8> {
    let mut head = Vec::with_capacity(SEGMENT_HEAD);
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&[VERSION, 0, 0, 0]);
    head.extend_from_slice(&seed.to_le_bytes());
    head.extend_from_slice(&first.0.to_le_bytes());
    head.extend_from_slice(&begun.micros().to_le_bytes());
    let sum = crc(seed, &head);
    head.extend_from_slice(&sum.to_le_bytes());
    head
}

/// What the head of a segment says: `None` if it is torn or damaged.
pub(crate) fn parse_head(bytes: &[u8], seed: u32) -> Option<(u8, Lsn, Timestamp)> {
    let head = bytes.get(..SEGMENT_HEAD)?;
    let mut c = Cursor::new(head);
    if c.take(4)? != MAGIC {
        return None;
    }
    let version = c.u8()?;
    c.take(3)?;
    if c.u32()? != seed {
        return None;
    }
    let (first, begun) = (Lsn(c.u64()?), Timestamp::from_micros(c.i64()?));
    (c.u32()? == crc(seed, &head[..SEGMENT_HEAD - 4])).then_some((version, first, begun))
}

/// Makes an empty segment, durable under its name, and returns it open for appending.
pub(crate) fn create(dir: &Path, seed: u32, first: Lsn, begun: Timestamp) -> Result<(Segment, File)> {
    let path = log_path(dir, first.0);
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path).at("create", &path)?;
    if let Err(e) = file.write_all(&head_bytes(seed, first, begun)) {
        // Half a head is no segment; its name must be free for the next try.
        let _ = std::fs::remove_file(&path);
        return Err(e).at("write", &path);
    }
    file.sync_all().at("sync", &path)?;
    sync_dir(dir)?;
    Ok((Segment { path, version: VERSION, first, begun, len: SEGMENT_HEAD as u64, marks: Vec::new() }, file))
}

/// A segment of which only the head is read, because blocks hold all of it.
pub(crate) fn glance(path: &Path, seed: u32) -> Result<Segment> {
    let mut head = [0u8; SEGMENT_HEAD];
    let mut file = File::open(path).at("open", path)?;
    file.read_exact(&mut head).at("read", path)?;
    let Some((version, first, begun)) = parse_head(&head, seed) else {
        return Err(HistoryError::damaged(path, 0, "the head of the segment does not pass its checksum"));
    };
    if version > VERSION {
        return Err(HistoryError::Version { file: path.to_path_buf(), version, known: VERSION });
    }
    let len = file.metadata().at("find", path)?.len();
    Ok(Segment { path: path.to_path_buf(), version, first, begun, len, marks: Vec::new() })
}

/// How a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With a whole frame (or none).
    Clean,
    /// With a group that was not synced: from this offset on its frames are missing or follow a missing one.
    Torn(u64),
}

/// Reads the frames of a segment in order and hands each to `each(header, offset, frame)`.
///
/// Returns the segment up to its last whole frame, the next record's number, and how it ends.
///
/// # Errors
/// [`HistoryError::Damaged`] if a frame of a later group follows a bad one, if numbers are not consecutive, or if `each` says so.
pub(crate) fn scan(
    path: &Path,
    bytes: &[u8],
    seed: u32,
    mut each: impl FnMut(&Header, u64, &[u8]) -> Result<()>,
) -> Result<(Segment, Lsn, End)> {
    let Some((version, first, begun)) = parse_head(bytes, seed) else {
        return Err(HistoryError::damaged(path, 0, "the head of the segment does not pass its checksum"));
    };
    if version > VERSION {
        return Err(HistoryError::Version { file: path.to_path_buf(), version, known: VERSION });
    }
    let mut segment = Segment { path: path.to_path_buf(), version, first, begun, len: SEGMENT_HEAD as u64, marks: Vec::new() };
    let (mut at, mut expected) = (SEGMENT_HEAD, first);
    while at < bytes.len() {
        let whole =
            Header::parse(&bytes[at..]).and_then(|h| Some((h, bytes.get(at..at + h.len)?))).filter(|(h, frame)| h.holds(frame, seed));
        let Some((header, frame)) = whole else {
            if let Some(after) = find_later_group(bytes, at, expected, seed) {
                let what = format!("record {expected} does not pass its checksum, though records synced after it follow at byte {after}");
                return Err(HistoryError::damaged(path, at as u64, what));
            }
            return Ok((segment, expected, End::Torn(at as u64)));
        };
        if header.lsn != expected {
            return Err(HistoryError::damaged(path, at as u64, format!("record {} stands where {expected} should", header.lsn)));
        }
        if header.version > frame::VERSION {
            return Err(HistoryError::Version { file: path.to_path_buf(), version: header.version, known: frame::VERSION });
        }
        each(&header, at as u64, frame)?;
        segment.mark(expected, at as u64);
        at += header.len;
        segment.len = at as u64;
        expected = expected.next();
    }
    Ok((segment, expected, End::Clean))
}
