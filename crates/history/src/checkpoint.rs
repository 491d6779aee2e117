//! The caller's state as of a record, so that recovery need not replay everything. Two are kept: a damaged one costs time, not data.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use crate::Lsn;
use crate::bits::Cursor;
use crate::disk::{self, CHECKPOINT, CHECKPOINT_BEFORE, crc};
use crate::error::{At, Result};

const MAGIC: [u8; 4] = *b"ANLC";
pub(crate) const VERSION: u8 = 1;
/// States beyond this are damage (and would not fit in memory beside the running ones).
const STATE_MAX: usize = 4 << 30;

/// Makes `state` the newest checkpoint; the one before it stays as `checkpoint.before`.
pub(crate) fn write(dir: &Path, seed: u32, lsn: Lsn, state: &[u8]) -> Result<()> {
    let path = dir.join(CHECKPOINT);
    // Piece by piece: in one, it would first take as much room again as the state itself.
    let pack = || {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1)?;
        encoder.write_all(state)?;
        encoder.finish()
    };
    let packed = pack().at("compress", &path)?;
    let mut bytes = Vec::with_capacity(packed.len() + 32);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[VERSION, 0, 0, 0]);
    bytes.extend_from_slice(&lsn.0.to_le_bytes());
    bytes.extend_from_slice(&(state.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&packed);
    let sum = crc(seed, &bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    disk::write_temporary(&path, &bytes)?;
    // Between the two renames only `checkpoint.before` exists, which is whole: a crash there loses nothing but replay time.
    match fs::rename(&path, dir.join(CHECKPOINT_BEFORE)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).at("rename", &path),
        _ => {}
    }
    disk::publish(&path)
}

/// The record and the state in a checkpoint file's bytes; `None` if they are damaged.
pub(crate) fn parse(bytes: &[u8], seed: u32) -> Option<(Lsn, Vec<u8>)> {
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    if crc(seed, body).to_le_bytes() != sum {
        return None;
    }
    let mut c = Cursor::new(body);
    if c.take(4)? != MAGIC || c.u8()? > VERSION {
        return None;
    }
    c.take(3)?;
    let lsn = Lsn(c.u64()?);
    let len = usize::try_from(c.u64()?).ok().filter(|n| *n <= STATE_MAX)?;
    let state = zstd::bulk::decompress(c.take(c.left())?, len).ok()?;
    (state.len() == len).then_some((lsn, state))
}

/// Both checkpoints, newest first: `None` where there is no file, `Some(None)` where it is damaged.
#[allow(clippy::type_complexity)]
pub(crate) fn read(dir: &Path, seed: u32) -> Result<[Option<Option<(Lsn, Vec<u8>)>>; 2]> {
    let one = |name| Ok(disk::read_if_there(&dir.join(name))?.map(|bytes| parse(&bytes, seed)));
    Ok([one(CHECKPOINT)?, one(CHECKPOINT_BEFORE)?])
}
