//! Zstd, with contexts that are made once per thread: sections and directories by [`deflate`], columns of small symbols by [`squeeze`].

use std::cell::RefCell;
use std::io;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, Strategy};

use crate::bits::{Cursor, put_varint};

/// What unpacks to more than this is damage.
const UNPACKED_MAX: usize = 1 << 30;
/// Repeats shorter than this are left to the entropy coder: among a dozen of symbols a short repeat is chance, and naming it costs more.
const REPEAT_MIN: u32 = 7;

thread_local! {
    /// A seal packs a section per point, and making a context costs more than packing one.
    static PACKER: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static SQUEEZER: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static UNPACKER: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Zstd level of directories, of sections of positions and of what is merged for years.
const LEVEL: i32 = 3;

fn with<C, R>(slot: &mut Option<C>, make: impl FnOnce() -> io::Result<C>, act: impl FnOnce(&mut C) -> io::Result<R>) -> io::Result<R> {
    let context = match slot {
        Some(context) => context,
        None => slot.insert(make()?),
    };
    act(context)
}

fn unpack(packed: &[u8], len: usize) -> Option<Vec<u8>> {
    let bytes = UNPACKER.with_borrow_mut(|slot| with(slot, Decompressor::new, |unpacker| unpacker.decompress(packed, len))).ok()?;
    (bytes.len() == len).then_some(bytes)
}

/// Zstd with the unpacked length in front.
pub(crate) fn deflate(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let packed = PACKER.with_borrow_mut(|slot| with(slot, || Compressor::new(LEVEL), |packer| packer.compress(bytes)))?;
    let mut out = Vec::with_capacity(packed.len() + 4);
    put_varint(&mut out, bytes.len() as u64);
    out.extend_from_slice(&packed);
    Ok(out)
}

pub(crate) fn inflate(packed: &[u8]) -> Option<Vec<u8>> {
    let mut c = Cursor::new(packed);
    let len = c.len(UNPACKED_MAX)?;
    unpack(c.take(c.left())?, len)
}

/// Appends symbols of which few are frequent, with the packed length in front. Their number is not stored.
pub(crate) fn squeeze(symbols: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let make = || {
        let mut squeezer = Compressor::new(1)?;
        squeezer.set_parameter(CParameter::Strategy(Strategy::ZSTD_fast))?;
        squeezer.set_parameter(CParameter::MinMatch(REPEAT_MIN))?;
        squeezer.set_parameter(CParameter::ChecksumFlag(false))?;
        squeezer.set_parameter(CParameter::ContentSizeFlag(false))?;
        Ok(squeezer)
    };
    let packed = SQUEEZER.with_borrow_mut(|slot| with(slot, make, |squeezer| squeezer.compress(symbols)))?;
    put_varint(out, packed.len() as u64);
    out.extend_from_slice(&packed);
    Ok(())
}

/// The `n` symbols that [`squeeze`] appended.
pub(crate) fn take_squeezed(cursor: &mut Cursor<'_>, n: usize) -> Option<Vec<u8>> {
    let len = cursor.len(cursor.left())?;
    unpack(cursor.take(len)?, n)
}
