//! The list of block files that count, and the record up to which they cover the log.
//!
//! A head (magic "ANLM", version, directory id, window, crc), then rows only ever appended: magic "ANMR", crc, length, body. A row adds one
//! block file (or none) and takes blocks of older files away, both at once: a reader of the manifest sees the old blocks or the new one,
//! never both and never neither. A file none of whose blocks count is the remains of a crash or of a merge, and is removed.
//! Start at [`Row`] and [`append`]; [`compact`] writes the list anew when most of it is history.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use anlan_model::Timestamp;

use crate::bits::{Cursor, put_varint, put_zigzag};
use crate::block::{BlockId, BlockMeta, put_index, take_index, take_index_v1};
use crate::disk::{self, MANIFEST, crc};
use crate::error::{At, Result};
use crate::{HistoryError, Lsn};

const MAGIC: [u8; 4] = *b"ANLM";
const ROW_MAGIC: [u8; 4] = *b"ANMR";
pub(crate) const VERSION: u8 = 2;
const HEAD: usize = 24;
const ROW_HEAD: usize = 12;
/// Most blocks one row may take away; a longer count is damage.
const GONE_MAX: usize = 1 << 24;

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The head was sealed: the log is covered further, and a table of last values has this number.
    Seal,
    /// Blocks were merged, thinned out or listed anew.
    Change,
}

/// One seal or one change of blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) kind: Kind,
    /// Numbers the block file, and for a seal the table of last values.
    pub(crate) seq: u64,
    /// Everything up to here is in blocks.
    pub(crate) covered: Lsn,
    /// Domain time of the row.
    pub(crate) at: Timestamp,
    /// Length of the block file; 0 if there is none.
    pub(crate) file_len: u64,
    /// Its blocks.
    pub(crate) blocks: Vec<BlockMeta>,
    /// Blocks that no longer count.
    pub(crate) gone: Vec<BlockId>,
}

/// A block file that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) len: u64,
    pub(crate) at: Timestamp,
    pub(crate) blocks: Vec<BlockMeta>,
}

/// The newest seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) seq: u64,
    pub(crate) at: Timestamp,
}

/// The manifest as loaded.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) seed: u32,
    pub(crate) window_us: i64,
    /// As the file has it; an older one is written anew before anything is appended.
    pub(crate) version: u8,
    /// Everything up to here is in blocks.
    pub(crate) covered: Lsn,
    pub(crate) sealed: Option<Sealed>,
    /// Files with at least one block that counts, and only those blocks. Emptied once the shared state has them.
    pub(crate) files: BTreeMap<u64, Listed>,
    /// Bytes up to the last whole row.
    pub(crate) len: u64,
    /// Length after it was last written anew.
    pub(crate) compacted_len: u64,
    /// Whether bytes behind the last row are no row.
    pub(crate) torn: bool,
    /// Writing failed: what the disk holds behind the last row is unknown until the list was written anew ([`compact`]). Whatever it
    /// holds is a list that was true, so no file of either may be touched before.
    pub(crate) in_doubt: bool,
    /// Files of rows that failed: strangers once the doubt is over.
    pub(crate) strangers: Vec<u64>,
    next_seq: u64,
}

impl Manifest {
    pub(crate) fn new(seed: u32, window_us: i64) -> Self {
        Self {
            seed,
            window_us,
            version: VERSION,
            covered: Lsn::ZERO,
            sealed: None,
            files: BTreeMap::new(),
            len: HEAD as u64,
            compacted_len: HEAD as u64,
            torn: false,
            in_doubt: false,
            strangers: Vec::new(),
            next_seq: 1,
        }
    }
    /// A number no file has.
    pub(crate) fn reserve(&mut self) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        seq
    }
    /// Whether listing only what counts would save more than half of it.
    pub(crate) fn is_mostly_history(&self) -> bool {
        self.len > self.compacted_len.saturating_mul(2).max(256 << 10)
    }

    /// Gives no number up to `seq` again.
    pub(crate) fn skip_to(&mut self, seq: u64) {
        self.next_seq = self.next_seq.max(seq + 1);
    }

    pub(crate) fn take_in(&mut self, row: Row) -> Result<(), &'static str> {
        if self.files.contains_key(&row.seq) || row.covered < self.covered {
            return Err("a row is out of order");
        }
        self.next_seq = self.next_seq.max(row.seq + 1);
        self.covered = row.covered;
        if row.kind == Kind::Seal {
            self.sealed = Some(Sealed { seq: row.seq, at: row.at });
        }
        let mut gone: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        for id in row.gone {
            gone.entry(id.seq).or_default().insert(id.dir_off);
        }
        for (seq, offsets) in gone {
            let Some(file) = self.files.get_mut(&seq) else { return Err("a row takes away a file that is not listed") };
            file.blocks.retain(|b| !offsets.contains(&b.dir_off));
            if file.blocks.is_empty() {
                self.files.remove(&seq);
            }
        }
        if row.file_len > 0 {
            self.files.insert(row.seq, Listed { len: row.file_len, at: row.at, blocks: row.blocks });
        }
        Ok(())
    }
}

fn head_bytes(seed: u32, window_us: i64) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD);
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&[VERSION, 0, 0, 0]);
    head.extend_from_slice(&seed.to_le_bytes());
    head.extend_from_slice(&window_us.to_le_bytes());
    let sum = crc(seed, &head);
    head.extend_from_slice(&sum.to_le_bytes());
    head
}

/// Makes the manifest of an empty directory.
pub(crate) fn create(dir: &Path, seed: u32, window_us: i64) -> Result<Manifest> {
    disk::write_atomic(&dir.join(MANIFEST), &head_bytes(seed, window_us))?;
    Ok(Manifest::new(seed, window_us))
}

/// Writes the manifest anew with one row per file in `files`: after it the file is the whole new list, or still the old one, and nobody
/// knows which if it fails.
pub(crate) fn compact(dir: &Path, manifest: &mut Manifest, files: &BTreeMap<u64, Listed>) -> Result<()> {
    let mut bytes = head_bytes(manifest.seed, manifest.window_us);
    for (seq, file) in files {
        let row = Row {
            kind: Kind::Change,
            seq: *seq,
            covered: manifest.covered,
            at: file.at,
            file_len: file.len,
            blocks: file.blocks.clone(),
            gone: Vec::new(),
        };
        if manifest.sealed.is_none_or(|s| s.seq != *seq) {
            put_row(&row, manifest.seed, &mut bytes);
        }
    }
    if let Some(Sealed { seq, at }) = manifest.sealed {
        let (file_len, blocks) = files.get(&seq).map(|f| (f.len, f.blocks.clone())).unwrap_or_default();
        let row = Row { kind: Kind::Seal, seq, covered: manifest.covered, at, file_len, blocks, gone: Vec::new() };
        put_row(&row, manifest.seed, &mut bytes);
    }
    // The old file under the new length, or the new one under the old, would be torn by the next row.
    manifest.in_doubt = true;
    disk::write_atomic(&dir.join(MANIFEST), &bytes)?;
    (manifest.version, manifest.len, manifest.compacted_len) = (VERSION, bytes.len() as u64, bytes.len() as u64);
    manifest.in_doubt = false;
    Ok(())
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
    if manifest.version > VERSION {
        return Err((0, "a newer release wrote it", manifest.version));
    }
    let mut at = HEAD;
    while at < bytes.len() {
        let Some((row, len)) = parse_row(&bytes[at..], &manifest) else {
            let mut later = (at + 1..bytes.len()).filter(|i| bytes[*i..].starts_with(&ROW_MAGIC));
            if later.any(|i| parse_row(&bytes[i..], &manifest).is_some()) {
                return Err((at as u64, "a row does not pass its checksum, though whole rows follow", VERSION));
            }
            manifest.torn = true;
            break;
        };
        manifest.take_in(row).map_err(|what| (at as u64, what, VERSION))?;
        at += len;
        manifest.len = at as u64;
    }
    // What a list of only these files would take is not known; its next doubling is soon enough.
    manifest.compacted_len = manifest.len;
    Ok(manifest)
}

fn parse_head(bytes: &[u8]) -> Option<Manifest> {
    let head = bytes.get(..HEAD)?;
    let mut c = Cursor::new(head);
    if c.take(4)? != MAGIC {
        return None;
    }
    let version = c.u8()?;
    c.take(3)?;
    let (seed, window_us) = (c.u32()?, c.i64()?);
    let sound = window_us > 0 && c.u32()? == crc(seed, &head[..HEAD - 4]);
    sound.then(|| Manifest { version, ..Manifest::new(seed, window_us) })
}

fn parse_row(bytes: &[u8], manifest: &Manifest) -> Option<(Row, usize)> {
    let mut c = Cursor::new(bytes);
    if c.take(4)? != ROW_MAGIC {
        return None;
    }
    let sum = c.u32()?;
    let len = c.u32()? as usize;
    let body = c.take(len)?;
    if crc(manifest.seed, body) != sum {
        return None;
    }
    let mut c = Cursor::new(body);
    let kind = match manifest.version {
        1 => Kind::Seal,
        _ => match c.u8()? {
            0 => Kind::Seal,
            1 => Kind::Change,
            _ => return None,
        },
    };
    let (seq, covered) = (c.varint()?, Lsn(c.varint()?));
    let at = Timestamp::from_micros(c.zigzag()?);
    let file_len = c.varint()?;
    let mut gone = Vec::new();
    let blocks = if manifest.version == 1 {
        take_index_v1(&mut c, seq, manifest.window_us)?
    } else {
        let n = c.len(GONE_MAX)?;
        gone.reserve(n.min(c.left() / 2));
        for _ in 0..n {
            gone.push(BlockId { seq: c.varint()?, dir_off: c.varint()? });
        }
        take_index(&mut c, seq)?
    };
    (seq < u64::MAX).then_some((Row { kind, seq, covered, at, file_len, blocks, gone }, ROW_HEAD + len))
}

fn put_row(row: &Row, seed: u32, out: &mut Vec<u8>) {
    let mut body = vec![match row.kind {
        Kind::Seal => 0,
        Kind::Change => 1,
    }];
    put_varint(&mut body, row.seq);
    put_varint(&mut body, row.covered.0);
    put_zigzag(&mut body, row.at.micros());
    put_varint(&mut body, row.file_len);
    put_varint(&mut body, row.gone.len() as u64);
    for id in &row.gone {
        put_varint(&mut body, id.seq);
        put_varint(&mut body, id.dir_off);
    }
    put_index(&row.blocks, &mut body);
    out.extend_from_slice(&ROW_MAGIC);
    out.extend_from_slice(&crc(seed, &body).to_le_bytes());
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&body);
}

/// Appends a row and syncs. A failure leaves the list in doubt: it must be written anew before the next row.
///
/// A sync that failed cannot be repeated, for the kernel may call pages clean that never reached the disk; a new file has no such pages.
pub(crate) fn append(dir: &Path, manifest: &mut Manifest, row: &Row) -> Result<()> {
    if manifest.in_doubt {
        return Err(HistoryError::Broken);
    }
    let mut bytes = Vec::new();
    put_row(row, manifest.seed, &mut bytes);
    let path = dir.join(MANIFEST);
    let mut file = OpenOptions::new().write(true).open(&path).at("open", &path)?;
    manifest.in_doubt = true;
    let done = file.seek(SeekFrom::Start(manifest.len)).and_then(|_| file.write_all(&bytes)).and_then(|()| file.sync_data());
    if let Err(e) = done {
        // What the disk holds behind the last row is unknown now; cutting it off is the best that can be tried.
        let _ = file.set_len(manifest.len);
        return Err(e).at("write", &path);
    }
    manifest.in_doubt = false;
    manifest.len += bytes.len() as u64;
    manifest.covered = manifest.covered.max(row.covered);
    if row.kind == Kind::Seal {
        manifest.sealed = Some(Sealed { seq: row.seq, at: row.at });
    }
    Ok(())
}
