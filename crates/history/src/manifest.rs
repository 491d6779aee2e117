//! The list of block files that count, and the record up to which they cover the log.
//!
//! A head (magic "ANLM", version, directory id, window, crc), then rows only ever appended: magic "ANMR", crc, length, body. A row makes
//! its block file part of the history; a file without a row is the remains of a crash.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use anlan_model::Timestamp;

use crate::bits::{Cursor, put_varint, put_zigzag};
use crate::block::{BlockMeta, put_index, take_index};
use crate::disk::{self, MANIFEST, crc};
use crate::error::{At, Result};
use crate::{HistoryError, Lsn};

const MAGIC: [u8; 4] = *b"ANLM";
const ROW_MAGIC: [u8; 4] = *b"ANMR";
const VERSION: u8 = 1;
const HEAD: usize = 24;
const ROW_HEAD: usize = 12;

/// One seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Numbers the block file and the table of last values.
    pub(crate) seq: u64,
    /// Everything up to here is in blocks.
    pub(crate) covered: Lsn,
    /// Domain time of the seal.
    pub(crate) sealed_at: Timestamp,
    /// Length of the block file; 0 if there was nothing to put in one.
    pub(crate) file_len: u64,
    /// Its blocks.
    pub(crate) blocks: Vec<BlockMeta>,
}

/// The manifest as loaded.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) seed: u32,
    pub(crate) window_us: i64,
    pub(crate) rows: Vec<Row>,
    /// Bytes up to the last whole row.
    pub(crate) len: u64,
    /// Whether bytes behind it are no row.
    pub(crate) torn: bool,
}

impl Manifest {
    pub(crate) fn covered(&self) -> Lsn {
        self.rows.last().map_or(Lsn::ZERO, |r| r.covered)
    }
    pub(crate) fn next_seq(&self) -> u64 {
        self.rows.last().map_or(1, |r| r.seq + 1)
    }
}

/// Makes the manifest of an empty directory.
pub(crate) fn create(dir: &Path, seed: u32, window_us: i64) -> Result<Manifest> {
    let mut head = Vec::with_capacity(HEAD);
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&[VERSION, 0, 0, 0]);
    head.extend_from_slice(&seed.to_le_bytes());
    head.extend_from_slice(&window_us.to_le_bytes());
    let sum = crc(seed, &head);
    head.extend_from_slice(&sum.to_le_bytes());
    disk::write_atomic(&dir.join(MANIFEST), &head)?;
    Ok(Manifest { seed, window_us, rows: Vec::new(), len: HEAD as u64, torn: false })
}

/// Reads the manifest; `None` if there is none.
///
/// # Errors
/// [`HistoryError::Damaged`] for a bad head or a bad row that whole ones follow.
pub(crate) fn load(dir: &Path) -> Result<Option<Manifest>> {
    let path = dir.join(MANIFEST);
    let Some(bytes) = disk::read_if_there(&path)? else { return Ok(None) };
    match parse(&bytes) {
        Ok(manifest) => Ok(Some(manifest)),
        Err((_, _, version)) if version > VERSION => Err(HistoryError::Version { file: path, version, known: VERSION }),
        Err((offset, what, _)) => Err(HistoryError::damaged(&path, offset, what)),
    }
}

/// The manifest in a file's bytes, or where and how it is damaged (and the version its head claims).
pub(crate) fn parse(bytes: &[u8]) -> Result<Manifest, (u64, &'static str, u8)> {
    let mut manifest = parse_head(bytes).ok_or((0, "the head does not pass its checksum", 0))?;
    if bytes[4] > VERSION {
        return Err((0, "a newer release wrote it", bytes[4]));
    }
    let mut at = HEAD;
    while at < bytes.len() {
        let Some((row, len)) = parse_row(&bytes[at..], manifest.seed) else {
            let mut later = (at + 1..bytes.len()).filter(|i| bytes[*i..].starts_with(&ROW_MAGIC));
            if later.any(|i| parse_row(&bytes[i..], manifest.seed).is_some()) {
                return Err((at as u64, "a row does not pass its checksum, though whole rows follow", VERSION));
            }
            manifest.torn = true;
            return Ok(manifest);
        };
        if row.seq != manifest.next_seq() || row.covered < manifest.covered() {
            return Err((at as u64, "a row is out of order", VERSION));
        }
        manifest.rows.push(row);
        at += len;
        manifest.len = at as u64;
    }
    Ok(manifest)
}

fn parse_head(bytes: &[u8]) -> Option<Manifest> {
    let head = bytes.get(..HEAD)?;
    let mut c = Cursor::new(head);
    if c.take(4)? != MAGIC {
        return None;
    }
    c.take(4)?;
    let (seed, window_us) = (c.u32()?, c.i64()?);
    let sound = window_us > 0 && c.u32()? == crc(seed, &head[..HEAD - 4]);
    sound.then_some(Manifest { seed, window_us, rows: Vec::new(), len: HEAD as u64, torn: false })
}

fn parse_row(bytes: &[u8], seed: u32) -> Option<(Row, usize)> {
    let mut c = Cursor::new(bytes);
    if c.take(4)? != ROW_MAGIC {
        return None;
    }
    let sum = c.u32()?;
    let len = c.u32()? as usize;
    let body = c.take(len)?;
    if crc(seed, body) != sum {
        return None;
    }
    let mut c = Cursor::new(body);
    let (seq, covered) = (c.varint()?, Lsn(c.varint()?));
    let sealed_at = Timestamp::from_micros(c.zigzag()?);
    let file_len = c.varint()?;
    let blocks = take_index(&mut c, seq)?;
    Some((Row { seq, covered, sealed_at, file_len, blocks }, ROW_HEAD + len))
}

/// Appends a row and syncs. On failure the row is taken back as far as the disk lets us; the caller stops writing.
pub(crate) fn append(dir: &Path, manifest: &mut Manifest, row: Row) -> Result<()> {
    let mut body = Vec::new();
    put_varint(&mut body, row.seq);
    put_varint(&mut body, row.covered.0);
    put_zigzag(&mut body, row.sealed_at.micros());
    put_varint(&mut body, row.file_len);
    put_index(&row.blocks, &mut body);
    let mut bytes = Vec::with_capacity(ROW_HEAD + body.len());
    bytes.extend_from_slice(&ROW_MAGIC);
    bytes.extend_from_slice(&crc(manifest.seed, &body).to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&body);
    let path = dir.join(MANIFEST);
    let mut file = OpenOptions::new().write(true).open(&path).at("open", &path)?;
    let done = file.seek(SeekFrom::Start(manifest.len)).and_then(|_| file.write_all(&bytes)).and_then(|()| file.sync_data());
    if let Err(e) = done {
        // What the disk holds behind the last row is unknown now; cutting it off is the best that can be tried.
        let _ = file.set_len(manifest.len);
        return Err(e).at("write", &path);
    }
    manifest.len += bytes.len() as u64;
    manifest.rows.push(row);
    Ok(())
}
