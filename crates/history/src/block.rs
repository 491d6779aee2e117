//! What stays: block files, written once by a seal and never changed.
//!
//! ```text
//! head (magic "ANLB", version, directory id, crc)
//! block 1: sections of its points, sections of its vehicles, its directory       one block per (shard, window)
//! block 2 …
//! record up to which the log is covered, window; index of the blocks (the same bytes as in the manifest row); length, crc, magic "ANLE"
//! ```
//! A file tells everything about itself, so that a lost manifest can be made again from the files (`repair.rs`).
//! The directory holds per point where its section lies, its checksum, and minimum, maximum, sum, count, first and last: a query about one
//! point reads the directory and one section, and an hourly maximum reads no section at all. Late data makes further blocks for the same
//! window; readers merge them, the higher rank wins. `merge.rs` makes one block of several.
//! Start at [`build`], [`FileWriter`] and [`Directory`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anlan_model::{PointId, Position, Quality, Reading, VehicleId};

use crate::Lsn;
use crate::bits::{Cursor, pack, put_varint, put_zigzag, unpack};
use crate::columns::{
    Arrivals, Packing, ROWS_MAX, decode_positions, encode_positions, encode_series, put_scaled, put_times, scaled, take_scaled, take_times,
    unscaled,
};
use crate::disk::{self, block_path, crc};
use crate::error::{At, Result};
use crate::head::{Frozen, settle};
use crate::squeeze::{deflate, inflate};

const MAGIC: [u8; 4] = *b"ANLB";
const END_MAGIC: [u8; 4] = *b"ANLE";
const VERSION: u8 = 4;
pub(crate) const FILE_HEAD: usize = 16;
pub(crate) const FILE_END: usize = 12;
/// Shorter sections cannot win against the frame around them.
const ZSTD_FROM: usize = 96;
/// More different arrival instants than this are not worth an index.
const ARRIVALS_MAX: usize = 1 << 20;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Content {
    /// Readings and positions.
    Data,
    /// Hourly statistics of a day's readings (`rollup.rs`).
    Rollup,
}

/// Names a block for ever: no two blocks of one file begin their directory at the same byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BlockId {
    pub(crate) seq: u64,
    pub(crate) dir_off: u64,
}

/// Where a block lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockMeta {
    /// The file.
    pub(crate) seq: u64,
    pub(crate) shard: u16,
    pub(crate) content: Content,
    /// Start of its window in µs.
    pub(crate) start: i64,
    /// Width of its window in µs.
    pub(crate) span: i64,
    /// The newest seal that went into it: of two readings with the same instant and revision, the one of the higher rank counts.
    pub(crate) rank: u64,
    pub(crate) data_off: u64,
    pub(crate) dir_off: u64,
    pub(crate) dir_len: u32,
    pub(crate) dir_crc: u32,
    pub(crate) readings: u64,
    pub(crate) positions: u64,
}

impl BlockMeta {
    pub(crate) fn id(&self) -> BlockId {
        BlockId { seq: self.seq, dir_off: self.dir_off }
    }
    /// What it is of.
    pub(crate) fn window(&self) -> Window {
        Window { shard: self.shard, content: self.content, start: self.start, span: self.span, rank: self.rank }
    }
    /// What it takes of its file.
    pub(crate) fn bytes(&self) -> u64 {
        self.dir_off - self.data_off + u64::from(self.dir_len)
    }
    /// First instant behind its window.
    pub(crate) fn end(&self) -> i64 {
        self.start.saturating_add(self.span)
    }
}

pub(crate) fn put_index(blocks: &[BlockMeta], out: &mut Vec<u8>) {
    put_varint(out, blocks.len() as u64);
    let (mut end, mut start, mut rank) = (FILE_HEAD as u64, 0, 0);
    for b in blocks {
        out.push(match b.content {
            Content::Data => 0,
            Content::Rollup => 1,
        });
        put_varint(out, u64::from(b.shard));
        put_zigzag(out, b.start.wrapping_sub(start));
        put_varint(out, b.span.unsigned_abs());
        put_zigzag(out, b.rank.wrapping_sub(rank) as i64);
        put_varint(out, b.data_off - end);
        put_varint(out, b.dir_off - b.data_off);
        put_varint(out, u64::from(b.dir_len));
        out.extend_from_slice(&b.dir_crc.to_le_bytes());
        put_varint(out, b.readings);
        put_varint(out, b.positions);
        (end, start, rank) = (b.dir_off + u64::from(b.dir_len), b.start, b.rank);
    }
}

pub(crate) fn take_index(c: &mut Cursor<'_>, seq: u64) -> Option<Vec<BlockMeta>> {
    let n = c.len(ROWS_MAX)?;
    let mut blocks = Vec::with_capacity(n.min(c.left() / 12));
    let (mut end, mut start, mut rank) = (FILE_HEAD as u64, 0i64, 0u64);
    for _ in 0..n {
        let content = match c.u8()? {
            0 => Content::Data,
            1 => Content::Rollup,
            _ => return None,
        };
        let shard = u16::try_from(c.varint()?).ok()?;
        start = start.wrapping_add(c.zigzag()?);
        let span = i64::try_from(c.varint()?).ok().filter(|span| *span > 0)?;
        rank = rank.wrapping_add(c.zigzag()? as u64);
        let data_off = end.checked_add(c.varint()?)?;
        let dir_off = data_off.checked_add(c.varint()?)?;
        let dir_len = u32::try_from(c.varint()?).ok()?;
        let dir_crc = c.u32()?;
        let (readings, positions) = (c.varint()?, c.varint()?);
        end = dir_off.checked_add(u64::from(dir_len))?;
        blocks.push(BlockMeta { seq, shard, content, start, span, rank, data_off, dir_off, dir_len, dir_crc, readings, positions });
    }
    Some(blocks)
}

/// The index of version 1: every block as wide as the window, ranked by its file.
pub(crate) fn take_index_v1(c: &mut Cursor<'_>, seq: u64, window_us: i64) -> Option<Vec<BlockMeta>> {
    let n = c.len(ROWS_MAX)?;
    let mut blocks = Vec::with_capacity(n.min(c.left() / 8));
    let mut end = FILE_HEAD as u64;
    for _ in 0..n {
        let shard = u16::try_from(c.varint()?).ok()?;
        let start = c.zigzag()?;
        let data_off = end.checked_add(c.varint()?)?;
        let dir_off = data_off.checked_add(c.varint()?)?;
        let dir_len = u32::try_from(c.varint()?).ok()?;
        let dir_crc = c.u32()?;
        let (readings, positions) = (c.varint()?, c.varint()?);
        end = dir_off.checked_add(u64::from(dir_len))?;
        let (content, span, rank) = (Content::Data, window_us, seq);
        blocks.push(BlockMeta { seq, shard, content, start, span, rank, data_off, dir_off, dir_len, dir_crc, readings, positions });
    }
    Some(blocks)
}

/// Where a section lies and what guards it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) len: u32,
    pub(crate) crc: u32,
    /// Whether the bytes are a zstd frame.
    pub(crate) zstd: bool,
}

/// A point in a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PointEntry {
    pub(crate) point: PointId,
    pub(crate) place: Place,
    pub(crate) count: u32,
    pub(crate) first_at: i64,
    pub(crate) last_at: i64,
    /// Nothing bad, no revisions: `stats` can stand for the readings.
    pub(crate) plain: bool,
    pub(crate) stats: SectionStats,
}

/// Over the readings that are not bad.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct SectionStats {
    pub(crate) first: f64,
    pub(crate) last: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) sum: f64,
}

/// A vehicle in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VehicleEntry {
    pub(crate) vehicle: VehicleId,
    pub(crate) place: Place,
    pub(crate) count: u32,
    pub(crate) first_at: i64,
    pub(crate) last_at: i64,
}

/// The directory of a block.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Directory {
    pub(crate) points: Vec<PointEntry>,
    pub(crate) vehicles: Vec<VehicleEntry>,
    pub(crate) arrivals: Option<Arrivals>,
}

const PLAIN: u8 = 1;
const ZSTD: u8 = 2;
/// The statistics are five doubles instead of scaled integers; the high half of the byte counts decimals otherwise.
const RAW: u8 = 4;

impl Directory {
    pub(crate) fn point(&self, point: PointId) -> Option<&PointEntry> {
        self.points.binary_search_by_key(&point, |e| e.point).ok().map(|i| &self.points[i])
    }
    /// Entries, and one for itself: what it takes in memory.
    pub(crate) fn weight(&self) -> usize {
        self.points.len() + self.vehicles.len() + 1
    }
    pub(crate) fn vehicle(&self, vehicle: VehicleId) -> Option<&VehicleEntry> {
        self.vehicles.binary_search_by_key(&vehicle, |e| e.vehicle).ok().map(|i| &self.vehicles[i])
    }

    pub(crate) fn encode(&self, start: i64) -> Vec<u8> {
        let mut out = Vec::new();
        out.push(u8::from(self.arrivals.is_some()));
        if let Some(arrivals) = &self.arrivals {
            arrivals.put(&mut out);
        }
        put_varint(&mut out, self.points.len() as u64);
        put_times(self.points.iter().map(|e| e.point.get()), &mut out);
        put_places(self.points.iter().map(|e| &e.place), &mut out);
        put_spans(self.points.iter().map(|e| (e.count, e.first_at, e.last_at)), start, &mut out);
        let base = |e: &PointEntry| if e.plain { PLAIN } else { 0 } | if e.place.zstd { ZSTD } else { 0 };
        put_stats(self.points.iter().map(|e| (base(e), e.stats, e.count)), &mut out);
        put_varint(&mut out, self.vehicles.len() as u64);
        put_times(self.vehicles.iter().map(|e| e.vehicle.get()), &mut out);
        put_places(self.vehicles.iter().map(|e| &e.place), &mut out);
        put_spans(self.vehicles.iter().map(|e| (e.count, e.first_at, e.last_at)), start, &mut out);
        out
    }

    /// Reads a directory's checked bytes; `None` if they are not what `encode` writes.
    pub(crate) fn parse(packed: &[u8], meta: &BlockMeta) -> Option<Self> {
        let bytes = inflate(packed)?;
        let mut c = Cursor::new(&bytes);
        let arrivals = if c.u8()? == 0 { None } else { Some(Arrivals::take(&mut c)?) };
        let mut offset = meta.data_off;
        let n = c.len(ROWS_MAX)?;
        let ids = take_times(&mut c, n)?;
        let mut places = take_places(&mut c, n, &mut offset)?;
        let spans = take_spans(&mut c, n, meta.start)?;
        let stats = take_stats(&mut c, spans.iter().map(|s| s.0))?;
        let mut points = Vec::with_capacity(n);
        for i in 0..n {
            let (kind, stats) = stats[i];
            places[i].zstd = kind & ZSTD != 0;
            let (count, first_at, last_at) = spans[i];
            points.push(PointEntry {
                point: PointId::new(ids[i]),
                place: places[i],
                count,
                first_at,
                last_at,
                plain: kind & PLAIN != 0,
                stats,
            });
        }
        let n = c.len(ROWS_MAX)?;
        let ids = take_times(&mut c, n)?;
        let places = take_places(&mut c, n, &mut offset)?;
        let spans = take_spans(&mut c, n, meta.start)?;
        let mut vehicles = Vec::with_capacity(n);
        for i in 0..n {
            let (count, first_at, last_at) = spans[i];
            let place = Place { zstd: true, ..places[i] };
            vehicles.push(VehicleEntry { vehicle: VehicleId::new(ids[i]), place, count, first_at, last_at });
        }
        (c.left() == 0 && offset == meta.dir_off).then_some(Self { points, vehicles, arrivals })
    }
}

impl SectionStats {
    pub(crate) fn of(rows: &[Reading]) -> Self {
        let mut good = rows.iter().filter(|r| r.quality != Quality::Bad).map(|r| r.value);
        let Some(first) = good.next() else { return Self::default() };
        let mut s = Self { first, last: first, min: first, max: first, sum: first };
        for v in good {
            s.last = v;
            s.min = s.min.min(v);
            s.max = s.max.max(v);
            s.sum += v;
        }
        s
    }
    /// The five as integers of `10^-decimals` around the first, if nothing but the last bits of the sum is lost.
    fn as_ints(&self, decimals: u8, count: u32) -> Option<[i64; 5]> {
        let [first, last, min, max] = [self.first, self.last, self.min, self.max].map(|v| scaled(v, decimals));
        let (first, last, min, max) = (first?, last?, min?, max?);
        // Adding doubles leaves dust behind the decimals; the sum of decimal fractions is the nearest one. Farther off than the dust
        // can be, other readings had more decimals than these four.
        let sum = (self.sum * 10f64.powi(i32::from(decimals))).round();
        let dust = f64::EPSILON * f64::from(count) * f64::from(count) * self.min.abs().max(self.max.abs());
        if sum.abs() >= 4e15 || (unscaled(sum as i64, decimals) - self.sum).abs() > dust {
            return None;
        }
        let around = first.checked_mul(i64::from(count))?;
        Some([first, last - first, min - first, max - first, (sum as i64).checked_sub(around)?])
    }
    fn from_ints(decimals: u8, [first, last, min, max, sum]: [i64; 5], count: u32) -> Option<Self> {
        if decimals > 9 {
            return None;
        }
        let v = |n: i64| unscaled(first.wrapping_add(n), decimals);
        let sum = unscaled(sum.wrapping_add(first.wrapping_mul(i64::from(count))), decimals);
        Some(Self { first: v(0), last: v(last), min: v(min), max: v(max), sum })
    }
}

/// Appends statistics over `count` readings each, with two bits of the caller's beside each.
pub(crate) fn put_stats(rows: impl Iterator<Item = (u8, SectionStats, u32)>, out: &mut Vec<u8>) {
    let mut kinds = Vec::new();
    let mut ints: [Vec<i64>; 5] = Default::default();
    let mut raws = Vec::new();
    for (base, s, count) in rows {
        match (0..10).find_map(|d| Some((d, s.as_ints(d, count)?))) {
            Some((decimals, five)) => {
                kinds.push(base | decimals << 4);
                ints.iter_mut().zip(five).for_each(|(column, v)| column.push(v));
            }
            None => {
                kinds.push(base | RAW);
                raws.extend([s.first, s.last, s.min, s.max, s.sum].map(f64::to_le_bytes).as_flattened());
            }
        }
    }
    out.extend_from_slice(&kinds);
    for column in &ints {
        pack(column, out);
    }
    out.extend_from_slice(&raws);
}

/// What [`put_stats`] wrote for these counts.
pub(crate) fn take_stats(c: &mut Cursor<'_>, counts: impl ExactSizeIterator<Item = u32>) -> Option<Vec<(u8, SectionStats)>> {
    let kinds = c.take(counts.len())?.to_vec();
    let n_ints = kinds.iter().filter(|k| **k & RAW == 0).count();
    let mut ints: [Vec<i64>; 5] = Default::default();
    for column in &mut ints {
        unpack(c, n_ints, column)?;
    }
    let mut at_int = 0;
    let mut out = Vec::with_capacity(kinds.len());
    for (kind, count) in kinds.into_iter().zip(counts) {
        let stats = if kind & RAW == 0 {
            let five = std::array::from_fn(|column| ints[column][at_int]);
            at_int += 1;
            SectionStats::from_ints(kind >> 4, five, count)?
        } else {
            let mut next = || c.u64().map(f64::from_bits);
            SectionStats { first: next()?, last: next()?, min: next()?, max: next()?, sum: next()? }
        };
        out.push((kind & (PLAIN | ZSTD), stats));
    }
    Some(out)
}

pub(crate) fn put_places<'a>(places: impl Iterator<Item = &'a Place> + Clone, out: &mut Vec<u8>) {
    pack(&places.clone().map(|p| i64::from(p.len)).collect::<Vec<_>>(), out);
    places.for_each(|p| out.extend_from_slice(&p.crc.to_le_bytes()));
}

pub(crate) fn take_places(c: &mut Cursor<'_>, n: usize, offset: &mut u64) -> Option<Vec<Place>> {
    let mut lens = Vec::new();
    unpack(c, n, &mut lens)?;
    let mut places = Vec::with_capacity(lens.len());
    for len in lens {
        let len = u32::try_from(len).ok()?;
        places.push(Place { offset: *offset, len, crc: c.u32()?, zstd: false });
        *offset = offset.checked_add(u64::from(len))?;
    }
    Some(places)
}

fn put_spans(spans: impl Iterator<Item = (u32, i64, i64)> + Clone, start: i64, out: &mut Vec<u8>) {
    pack(&spans.clone().map(|s| i64::from(s.0)).collect::<Vec<_>>(), out);
    put_scaled(&mut spans.clone().map(|s| s.1 - start).collect::<Vec<_>>(), out);
    put_scaled(&mut spans.map(|s| s.2 - s.1).collect::<Vec<_>>(), out);
}

fn take_spans(c: &mut Cursor<'_>, n: usize, start: i64) -> Option<Vec<(u32, i64, i64)>> {
    let mut counts = Vec::new();
    unpack(c, n, &mut counts)?;
    let firsts = take_scaled(c, n)?;
    let lasts = take_scaled(c, n)?;
    let mut spans = Vec::with_capacity(counts.len());
    for i in 0..n {
        let first = start.checked_add(firsts[i])?;
        spans.push((u32::try_from(counts[i]).ok()?, first, first.checked_add(lasts[i])?));
    }
    Some(spans)
}

/// The positions in a section's checked bytes.
pub(crate) fn section_positions(packed: &[u8]) -> Option<Vec<Position>> {
    decode_positions(&inflate(packed)?)
}

// ---- writing -----------------------------------------------------------------------------------------------------------------------------

/// A block file being written; nobody sees it before [`FileWriter::finish`] and its manifest row.
pub(crate) struct FileWriter {
    path: PathBuf,
    temporary: Temporary,
    file: BufWriter<File>,
    seed: u32,
    seq: u64,
    end: u64,
    blocks: Vec<BlockMeta>,
}

/// What the caller knows of a block before it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) shard: u16,
    pub(crate) content: Content,
    pub(crate) start: i64,
    pub(crate) span: i64,
    pub(crate) rank: u64,
}

/// A file that goes with its writer, unless it got its own name: what a full disk stopped must not fill it for good.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl FileWriter {
    pub(crate) fn create(dir: &Path, seed: u32, seq: u64) -> Result<Self> {
        let path = block_path(dir, seq);
        let temporary = Temporary(disk::temporary(&path));
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&temporary.0).at("create", &temporary.0)?);
        let mut head = Vec::with_capacity(FILE_HEAD);
        head.extend_from_slice(&MAGIC);
        head.extend_from_slice(&[VERSION, 0, 0, 0]);
        head.extend_from_slice(&seed.to_le_bytes());
        let sum = crc(seed, &head);
        head.extend_from_slice(&sum.to_le_bytes());
        file.write_all(&head).at("write", &temporary.0)?;
        Ok(Self { path, temporary, file, seed, seq, end: FILE_HEAD as u64, blocks: Vec::new() })
    }

    /// A block whose sections go straight to the file.
    pub(crate) fn begin(&mut self, arrivals: Option<Arrivals>) -> Building<&mut BufWriter<File>> {
        Building::new(&mut self.file, arrivals)
    }

    /// Closes a block of which `data_len` bytes were written: adds its directory.
    pub(crate) fn close(&mut self, window: Window, data_len: u64, directory: &[u8], readings: u64, positions: u64) -> Result<()> {
        let packed = deflate(directory).at("compress", &self.temporary.0)?;
        self.file.write_all(&packed).at("write", &self.temporary.0)?;
        let Window { shard, content, start, span, rank } = window;
        let meta = BlockMeta {
            seq: self.seq,
            shard,
            content,
            start,
            span,
            rank,
            data_off: self.end,
            dir_off: self.end + data_len,
            dir_len: packed.len() as u32,
            dir_crc: crc(self.seed, &packed),
            readings,
            positions,
        };
        self.end = meta.dir_off + u64::from(meta.dir_len);
        self.blocks.push(meta);
        Ok(())
    }

    /// Adds a whole block as it stands in another file: data, then directory.
    pub(crate) fn copy(&mut self, meta: &BlockMeta, bytes: &[u8]) -> Result<()> {
        self.write(bytes)?;
        let (data_off, dir_off) = (self.end, self.end + (meta.dir_off - meta.data_off));
        self.blocks.push(BlockMeta { seq: self.seq, data_off, dir_off, ..meta.clone() });
        self.end = dir_off + u64::from(meta.dir_len);
        Ok(())
    }

    /// Writes bytes of the block being made.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).at("write", &self.temporary.0)
    }

    pub(crate) fn at<T>(&self, done: std::io::Result<T>) -> Result<T> {
        done.at("compress", &self.temporary.0)
    }

    /// Makes the file durable under its name; its length and blocks. A file without a block is not made: `None`.
    pub(crate) fn finish(mut self, covered: Lsn, window_us: i64) -> Result<Option<(u64, Vec<BlockMeta>)>> {
        if self.blocks.is_empty() {
            std::fs::remove_file(&self.temporary.0).at("remove", &self.temporary.0)?;
            return Ok(None);
        }
        let mut index = Vec::new();
        put_varint(&mut index, covered.0);
        put_varint(&mut index, window_us.unsigned_abs());
        put_index(&self.blocks, &mut index);
        let index_len = index.len() as u32;
        let sum = crc(self.seed, &index);
        index.extend_from_slice(&index_len.to_le_bytes());
        index.extend_from_slice(&sum.to_le_bytes());
        index.extend_from_slice(&END_MAGIC);
        self.file.write_all(&index).at("write", &self.temporary.0)?;
        let file = self.file.into_inner().map_err(std::io::IntoInnerError::into_error).at("write", &self.temporary.0)?;
        file.sync_all().at("sync", &self.temporary.0)?;
        disk::publish(&self.path)?;
        Ok(Some((self.end + index.len() as u64, self.blocks)))
    }
}

/// A data block being put together; its sections go to `data`.
pub(crate) struct Building<W> {
    data: W,
    len: u64,
    dir: Directory,
    readings: u64,
    positions: u64,
}

/// A data block of which only the directory is left to write.
pub(crate) struct Built {
    pub(crate) len: u64,
    pub(crate) dir: Directory,
    pub(crate) readings: u64,
    pub(crate) positions: u64,
}

impl<W: Write> Building<W> {
    pub(crate) fn new(data: W, arrivals: Option<Arrivals>) -> Self {
        Self { data, len: 0, dir: Directory { arrivals, ..Directory::default() }, readings: 0, positions: 0 }
    }
    fn place(&mut self, seed: u32, bytes: &[u8], zstd: bool) -> std::io::Result<Place> {
        // The offset is counted up again by the reader.
        let place = Place { offset: 0, len: bytes.len() as u32, crc: crc(seed, bytes), zstd };
        self.data.write_all(bytes)?;
        self.len += bytes.len() as u64;
        Ok(place)
    }
    /// Adds the settled rows of a point; points come in ascending order.
    pub(crate) fn add_point(&mut self, seed: u32, rows: &[Reading], packing: Packing) -> std::io::Result<()> {
        let mut bytes = Vec::with_capacity(rows.len() * 2 + 32);
        encode_series(rows, self.dir.arrivals.as_ref(), packing, &mut bytes);
        let mut zstd = false;
        if bytes.len() >= ZSTD_FROM && packing == Packing::Dense {
            let packed = deflate(&bytes)?;
            // Under two per cent is not worth the time of every later reader.
            if packed.len() * 50 < bytes.len() * 49 {
                (bytes, zstd) = (packed, true);
            }
        }
        let place = self.place(seed, &bytes, zstd)?;
        let unique = rows.windows(2).all(|w| w[0].event_at != w[1].event_at);
        self.dir.points.push(PointEntry {
            point: rows[0].point,
            place,
            count: rows.len() as u32,
            first_at: rows[0].event_at.micros(),
            last_at: rows[rows.len() - 1].event_at.micros(),
            plain: unique && rows.iter().all(|r| r.quality != Quality::Bad && r.revision == 0),
            stats: SectionStats::of(rows),
        });
        self.readings += rows.len() as u64;
        Ok(())
    }
    /// Adds a point's section as it stands in another block with the same arrival instants.
    pub(crate) fn copy_point(&mut self, seed: u32, entry: &PointEntry, bytes: &[u8]) -> std::io::Result<()> {
        let place = self.place(seed, bytes, entry.place.zstd)?;
        self.dir.points.push(PointEntry { place, ..*entry });
        self.readings += u64::from(entry.count);
        Ok(())
    }
    /// Adds the positions of a vehicle; vehicles come in ascending order, after every point.
    pub(crate) fn add_vehicle(&mut self, seed: u32, rows: &[Position]) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        encode_positions(rows, &mut bytes);
        let place = self.place(seed, &deflate(&bytes)?, true)?;
        self.dir.vehicles.push(VehicleEntry {
            vehicle: rows[0].vehicle,
            place,
            count: rows.len() as u32,
            first_at: rows[0].event_at.micros(),
            last_at: rows[rows.len() - 1].event_at.micros(),
        });
        self.positions += rows.len() as u64;
        Ok(())
    }
    pub(crate) fn built(self) -> (W, Built) {
        (self.data, Built { len: self.len, dir: self.dir, readings: self.readings, positions: self.positions })
    }
}

impl Built {
    pub(crate) fn is_empty(&self) -> bool {
        self.readings == 0 && self.positions == 0
    }
}

/// The arrival instants of each window while they may still be worth an index.
#[derive(Default)]
struct ArrivalCount {
    instants: Vec<i64>,
    readings: usize,
    hopeless: bool,
}

impl ArrivalCount {
    fn add(&mut self, instant: i64) {
        self.readings += 1;
        if self.hopeless {
            return;
        }
        self.instants.push(instant);
        if self.instants.len() >= 4 * ARRIVALS_MAX {
            self.instants.sort_unstable();
            self.instants.dedup();
            if self.instants.len() > ARRIVALS_MAX {
                self.hopeless = true;
                self.instants = Vec::new();
            }
        }
    }
    fn build(self) -> Option<Arrivals> {
        if self.hopeless { None } else { Arrivals::build(self.instants, self.readings) }
    }
}

/// Writes everything in `frozen` as the block file `seq`, durable under its name. Returns its length and blocks; nothing to write: `None`.
pub(crate) fn build(
    dir: &Path,
    seed: u32,
    window_us: i64,
    seq: u64,
    covered: Lsn,
    frozen: &Frozen,
) -> Result<Option<(u64, Vec<BlockMeta>)>> {
    if frozen.readings == 0 && frozen.positions == 0 {
        return Ok(None);
    }
    let mut file = FileWriter::create(dir, seed, seq)?;
    let mut shards: BTreeMap<u16, (Vec<PointId>, Vec<VehicleId>)> = BTreeMap::new();
    for (id, point) in frozen.points.iter() {
        shards.entry(point.shard).or_default().0.push(*id);
    }
    for (id, vehicle) in &frozen.vehicles {
        shards.entry(vehicle.shard).or_default().1.push(*id);
    }
    for (shard, (mut points, mut vehicles)) in shards {
        points.sort_unstable();
        vehicles.sort_unstable();
        let windows = build_shard(seed, window_us, frozen, &points, &vehicles);
        for (start, building) in file.at(windows)? {
            let (data, built) = building.built();
            file.write(&data)?;
            let window = Window { shard, content: Content::Data, start, span: window_us, rank: seq };
            file.close(window, built.len, &built.dir.encode(start), built.readings, built.positions)?;
        }
    }
    file.finish(covered, window_us)
}

/// All windows of one shard.
fn build_shard(
    seed: u32,
    window_us: i64,
    frozen: &Frozen,
    points: &[PointId],
    vehicles: &[VehicleId],
) -> std::io::Result<BTreeMap<i64, Building<Vec<u8>>>> {
    let start_of = |us: i64| us.div_euclid(window_us) * window_us;
    let mut rows = Vec::new();
    let mut arrivals: BTreeMap<i64, ArrivalCount> = BTreeMap::new();
    for id in points {
        rows.clear();
        if let Some(head) = frozen.points.get(id) {
            head.collect(*id, i64::MIN, i64::MAX, &mut rows);
        }
        for r in &rows {
            arrivals.entry(start_of(r.event_at.micros())).or_default().add(r.received_at.micros());
        }
    }
    let mut windows: BTreeMap<i64, Building<Vec<u8>>> =
        arrivals.into_iter().map(|(start, a)| (start, Building::new(Vec::new(), a.build()))).collect();
    for id in points {
        rows.clear();
        if let Some(head) = frozen.points.get(id) {
            head.collect(*id, i64::MIN, i64::MAX, &mut rows);
        }
        settle(&mut rows);
        for part in rows.chunk_by(|a, b| start_of(a.event_at.micros()) == start_of(b.event_at.micros())) {
            windows.entry(start_of(part[0].event_at.micros())).or_insert_with(|| Building::new(Vec::new(), None)).add_point(
                seed,
                part,
                Packing::Quick,
            )?;
        }
    }
    for id in vehicles {
        let rows: Vec<Position> = frozen.vehicles[id].rows.values().cloned().collect();
        for part in rows.chunk_by(|a, b| start_of(a.event_at.micros()) == start_of(b.event_at.micros())) {
            windows
                .entry(start_of(part[0].event_at.micros()))
                .or_insert_with(|| Building::new(Vec::new(), None))
                .add_vehicle(seed, part)?;
        }
    }
    Ok(windows)
}

/// What a block file says of itself.
#[derive(Clone, Debug)]
pub(crate) struct FileIndex {
    pub(crate) seed: u32,
    /// Zero in files of version 1, which did not say.
    pub(crate) covered: Lsn,
    pub(crate) window_us: i64,
    pub(crate) blocks: Vec<BlockMeta>,
}

/// Reads the head and the index of a block file, or says what is wrong and where. `window_us` is for files of version 1, which do not say.
pub(crate) fn read_frame(bytes: &[u8], seq: u64, window_us: i64) -> Result<FileIndex, (u64, &'static str)> {
    let head = (|| {
        let head = bytes.get(..FILE_HEAD)?;
        let seed = Cursor::new(&head[8..]).u32()?;
        (head[..4] == MAGIC && head[4] <= VERSION && crc(seed, &head[..12]).to_le_bytes() == head[12..]).then_some((head[4], seed))
    })();
    let (version, seed) = head.ok_or((0, "the head does not pass its checksum"))?;
    let index = (|| {
        let (rest, end) = bytes.split_last_chunk::<FILE_END>()?;
        let mut c = Cursor::new(end);
        let (len, sum, magic) = (c.u32()? as usize, c.u32()?, c.take(4)?);
        let index = rest.get(rest.len().checked_sub(len)?..)?;
        if magic != END_MAGIC || crc(seed, index) != sum {
            return None;
        }
        let mut c = Cursor::new(index);
        Some(if version == 1 {
            FileIndex { seed, covered: Lsn::ZERO, window_us, blocks: take_index_v1(&mut c, seq, window_us)? }
        } else {
            let (covered, window_us) = (Lsn(c.varint()?), i64::try_from(c.varint()?).ok()?);
            FileIndex { seed, covered, window_us, blocks: take_index(&mut c, seq)? }
        })
    })();
    index.ok_or((bytes.len().saturating_sub(FILE_END) as u64, "the index does not pass its checksum"))
}

/// Checks the head and the index of a block file of which `blocks` count; what is wrong and where, if anything.
pub(crate) fn check_frame(bytes: &[u8], seed: u32, seq: u64, window_us: i64, blocks: &[BlockMeta]) -> Option<(u64, &'static str)> {
    match read_frame(bytes, seq, window_us) {
        Err(wrong) => Some(wrong),
        Ok(index) if index.seed != seed => Some((0, "the file belongs to another directory")),
        Ok(index) if !blocks.iter().all(|b| index.blocks.contains(b)) => {
            Some((bytes.len().saturating_sub(FILE_END) as u64, "the index is not what the manifest says"))
        }
        Ok(_) => None,
    }
}
