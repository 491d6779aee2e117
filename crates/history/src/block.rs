//! What stays: block files, written once by a seal and never changed.
//!
//! ```text
//! head (magic "ANLB", version, directory id, crc)
//! block 1: sections of its points, sections of its vehicles, its directory       one block per (shard, window)
//! block 2 …
//! index of the blocks (the same bytes as in the manifest row), its length and crc, magic "ANLE"
//! ```
//! The directory holds per point where its section lies, its checksum, and minimum, maximum, sum, count, first and last: a query about one
//! point reads the directory and one section, and an hourly maximum reads no section at all. Late data makes further blocks for the same
//! window; readers merge them, later files win.
//! Start at [`build`] and [`Directory`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anlan_model::{PointId, Position, Quality, Reading, VehicleId};

use crate::bits::{Cursor, pack, put_varint, put_zigzag, unpack};
use crate::columns::{
    Arrivals, ROWS_MAX, decode_positions, encode_positions, encode_series, put_scaled, put_times, scaled, take_scaled, take_times, unscaled,
};
use crate::disk::{self, block_path, crc};
use crate::error::{At, Result};
use crate::head::{Frozen, settle};

const MAGIC: [u8; 4] = *b"ANLB";
const END_MAGIC: [u8; 4] = *b"ANLE";
const VERSION: u8 = 1;
pub(crate) const FILE_HEAD: usize = 16;
pub(crate) const FILE_END: usize = 12;
/// Zstd level of sections and directories: higher ones save under one per cent on packed bits.
const LEVEL: i32 = 3;
/// Shorter sections cannot win against the frame around them.
const ZSTD_FROM: usize = 96;
/// A directory or section that unpacks to more than this is damage.
const UNPACKED_MAX: usize = 1 << 30;
/// More different arrival instants than this are not worth an index.
const ARRIVALS_MAX: usize = 1 << 20;

/// Where a block lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockMeta {
    /// The file.
    pub(crate) seq: u64,
    pub(crate) shard: u16,
    /// Start of its window in µs.
    pub(crate) start: i64,
    pub(crate) data_off: u64,
    pub(crate) dir_off: u64,
    pub(crate) dir_len: u32,
    pub(crate) dir_crc: u32,
    pub(crate) readings: u64,
    pub(crate) positions: u64,
}

pub(crate) fn put_index(blocks: &[BlockMeta], out: &mut Vec<u8>) {
    put_varint(out, blocks.len() as u64);
    let mut end = FILE_HEAD as u64;
    for b in blocks {
        put_varint(out, u64::from(b.shard));
        put_zigzag(out, b.start);
        put_varint(out, b.data_off - end);
        put_varint(out, b.dir_off - b.data_off);
        put_varint(out, u64::from(b.dir_len));
        out.extend_from_slice(&b.dir_crc.to_le_bytes());
        put_varint(out, b.readings);
        put_varint(out, b.positions);
        end = b.dir_off + u64::from(b.dir_len);
    }
}

pub(crate) fn take_index(c: &mut Cursor<'_>, seq: u64) -> Option<Vec<BlockMeta>> {
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
        blocks.push(BlockMeta { seq, shard, start, data_off, dir_off, dir_len, dir_crc, readings, positions });
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
    pub(crate) fn vehicle(&self, vehicle: VehicleId) -> Option<&VehicleEntry> {
        self.vehicles.binary_search_by_key(&vehicle, |e| e.vehicle).ok().map(|i| &self.vehicles[i])
    }

    fn encode(&self, start: i64) -> Vec<u8> {
        let mut out = Vec::new();
        out.push(u8::from(self.arrivals.is_some()));
        if let Some(arrivals) = &self.arrivals {
            arrivals.put(&mut out);
        }
        put_varint(&mut out, self.points.len() as u64);
        put_times(self.points.iter().map(|e| e.point.get()), &mut out);
        put_places(self.points.iter().map(|e| &e.place), &mut out);
        put_spans(self.points.iter().map(|e| (e.count, e.first_at, e.last_at)), start, &mut out);
        let mut kinds = Vec::new();
        let mut ints: [Vec<i64>; 5] = Default::default();
        let mut raws = Vec::new();
        for e in &self.points {
            let base = if e.plain { PLAIN } else { 0 } | if e.place.zstd { ZSTD } else { 0 };
            match (0..10).find_map(|d| Some((d, e.stats.as_ints(d, e.count)?))) {
                Some((decimals, five)) => {
                    kinds.push(base | decimals << 4);
                    ints.iter_mut().zip(five).for_each(|(column, v)| column.push(v));
                }
                None => {
                    kinds.push(base | RAW);
                    let s = e.stats;
                    raws.extend([s.first, s.last, s.min, s.max, s.sum].map(f64::to_le_bytes).as_flattened());
                }
            }
        }
        out.extend_from_slice(&kinds);
        for column in &ints {
            pack(column, &mut out);
        }
        out.extend_from_slice(&raws);
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
        let kinds = c.take(n)?.to_vec();
        let n_ints = kinds.iter().filter(|k| **k & RAW == 0).count();
        let mut ints: [Vec<i64>; 5] = Default::default();
        for column in &mut ints {
            unpack(&mut c, n_ints, column)?;
        }
        let mut points = Vec::with_capacity(n);
        let mut at_int = 0;
        for i in 0..n {
            let kind = kinds[i];
            places[i].zstd = kind & ZSTD != 0;
            let (count, first_at, last_at) = spans[i];
            let stats = if kind & RAW == 0 {
                let five = std::array::from_fn(|column| ints[column][at_int]);
                at_int += 1;
                SectionStats::from_ints(kind >> 4, five, count)?
            } else {
                let mut next = || c.u64().map(f64::from_bits);
                SectionStats { first: next()?, last: next()?, min: next()?, max: next()?, sum: next()? }
            };
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
    fn of(rows: &[Reading]) -> Self {
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

fn put_places<'a>(places: impl Iterator<Item = &'a Place> + Clone, out: &mut Vec<u8>) {
    pack(&places.clone().map(|p| i64::from(p.len)).collect::<Vec<_>>(), out);
    places.for_each(|p| out.extend_from_slice(&p.crc.to_le_bytes()));
}

fn take_places(c: &mut Cursor<'_>, n: usize, offset: &mut u64) -> Option<Vec<Place>> {
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

/// Zstd with the unpacked length in front.
pub(crate) fn deflate(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let packed = zstd::bulk::compress(bytes, LEVEL)?;
    let mut out = Vec::with_capacity(packed.len() + 4);
    put_varint(&mut out, bytes.len() as u64);
    out.extend_from_slice(&packed);
    Ok(out)
}

pub(crate) fn inflate(packed: &[u8]) -> Option<Vec<u8>> {
    let mut c = Cursor::new(packed);
    let len = c.len(UNPACKED_MAX)?;
    let bytes = zstd::bulk::decompress(c.take(c.left())?, len).ok()?;
    (bytes.len() == len).then_some(bytes)
}

/// The positions in a section's checked bytes.
pub(crate) fn section_positions(packed: &[u8]) -> Option<Vec<Position>> {
    decode_positions(&inflate(packed)?)
}

// ---- writing -----------------------------------------------------------------------------------------------------------------------------

/// A block being put together.
struct Building {
    data: Vec<u8>,
    dir: Directory,
    readings: u64,
    positions: u64,
}

impl Building {
    fn new(arrivals: Option<Arrivals>) -> Self {
        Self { data: Vec::new(), dir: Directory { arrivals, ..Directory::default() }, readings: 0, positions: 0 }
    }
    fn place(&mut self, seed: u32, bytes: &[u8], zstd: bool) -> Place {
        // The offset is counted up again by the reader.
        let place = Place { offset: 0, len: bytes.len() as u32, crc: crc(seed, bytes), zstd };
        self.data.extend_from_slice(bytes);
        place
    }
    fn add_point(&mut self, seed: u32, rows: &[Reading]) -> std::io::Result<()> {
        let mut bytes = Vec::with_capacity(rows.len() * 2 + 32);
        encode_series(rows, self.dir.arrivals.as_ref(), &mut bytes);
        let mut zstd = false;
        if bytes.len() >= ZSTD_FROM {
            let packed = deflate(&bytes)?;
            // Under two per cent is not worth the time of every later reader.
            if packed.len() * 50 < bytes.len() * 49 {
                (bytes, zstd) = (packed, true);
            }
        }
        let place = self.place(seed, &bytes, zstd);
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
    fn add_vehicle(&mut self, seed: u32, rows: &[Position]) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        encode_positions(rows, &mut bytes);
        let place = self.place(seed, &deflate(&bytes)?, true);
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
pub(crate) fn build(dir: &Path, seed: u32, window_us: i64, seq: u64, frozen: &Frozen) -> Result<Option<(u64, Vec<BlockMeta>)>> {
    if frozen.readings == 0 && frozen.positions == 0 {
        return Ok(None);
    }
    let path = block_path(dir, seq);
    let temporary = disk::temporary(&path);
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&temporary).at("create", &temporary)?);
    let mut head = Vec::with_capacity(FILE_HEAD);
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&[VERSION, 0, 0, 0]);
    head.extend_from_slice(&seed.to_le_bytes());
    let sum = crc(seed, &head);
    head.extend_from_slice(&sum.to_le_bytes());
    file.write_all(&head).at("write", &temporary)?;
    let mut shards: BTreeMap<u16, (Vec<PointId>, Vec<VehicleId>)> = BTreeMap::new();
    for (id, point) in &frozen.points {
        shards.entry(point.shard).or_default().0.push(*id);
    }
    for (id, vehicle) in &frozen.vehicles {
        shards.entry(vehicle.shard).or_default().1.push(*id);
    }
    let (mut end, mut blocks) = (FILE_HEAD as u64, Vec::new());
    for (shard, (mut points, mut vehicles)) in shards {
        points.sort_unstable();
        vehicles.sort_unstable();
        for (start, building) in build_shard(seed, window_us, frozen, &points, &vehicles).at("compress", &temporary)? {
            let packed = deflate(&building.dir.encode(start)).at("compress", &temporary)?;
            let meta = BlockMeta {
                seq,
                shard,
                start,
                data_off: end,
                dir_off: end + building.data.len() as u64,
                dir_len: packed.len() as u32,
                dir_crc: crc(seed, &packed),
                readings: building.readings,
                positions: building.positions,
            };
            file.write_all(&building.data).and_then(|()| file.write_all(&packed)).at("write", &temporary)?;
            end = meta.dir_off + u64::from(meta.dir_len);
            blocks.push(meta);
        }
    }
    let mut index = Vec::new();
    put_index(&blocks, &mut index);
    let index_len = index.len() as u32;
    let sum = crc(seed, &index);
    index.extend_from_slice(&index_len.to_le_bytes());
    index.extend_from_slice(&sum.to_le_bytes());
    index.extend_from_slice(&END_MAGIC);
    file.write_all(&index).at("write", &temporary)?;
    let file = file.into_inner().map_err(std::io::IntoInnerError::into_error).at("write", &temporary)?;
    file.sync_all().at("sync", &temporary)?;
    disk::publish(&path)?;
    Ok(Some((end + index.len() as u64, blocks)))
}

/// All windows of one shard.
fn build_shard(
    seed: u32,
    window_us: i64,
    frozen: &Frozen,
    points: &[PointId],
    vehicles: &[VehicleId],
) -> std::io::Result<BTreeMap<i64, Building>> {
    let start_of = |us: i64| us.div_euclid(window_us) * window_us;
    let mut rows = Vec::new();
    let mut arrivals: BTreeMap<i64, ArrivalCount> = BTreeMap::new();
    for id in points {
        rows.clear();
        frozen.points[id].collect(*id, i64::MIN, i64::MAX, &mut rows);
        for r in &rows {
            arrivals.entry(start_of(r.event_at.micros())).or_default().add(r.received_at.micros());
        }
    }
    let mut windows: BTreeMap<i64, Building> = arrivals.into_iter().map(|(start, a)| (start, Building::new(a.build()))).collect();
    for id in points {
        rows.clear();
        frozen.points[id].collect(*id, i64::MIN, i64::MAX, &mut rows);
        settle(&mut rows);
        for part in rows.chunk_by(|a, b| start_of(a.event_at.micros()) == start_of(b.event_at.micros())) {
            windows.entry(start_of(part[0].event_at.micros())).or_insert_with(|| Building::new(None)).add_point(seed, part)?;
        }
    }
    for id in vehicles {
        let rows: Vec<Position> = frozen.vehicles[id].rows.values().cloned().collect();
        for part in rows.chunk_by(|a, b| start_of(a.event_at.micros()) == start_of(b.event_at.micros())) {
            windows.entry(start_of(part[0].event_at.micros())).or_insert_with(|| Building::new(None)).add_vehicle(seed, part)?;
        }
    }
    Ok(windows)
}

/// Checks the head and the index of a block file; what is wrong and where, if anything.
pub(crate) fn check_frame(bytes: &[u8], seed: u32, blocks: &[BlockMeta]) -> Option<(u64, &'static str)> {
    let head_ok =
        bytes.get(..FILE_HEAD).is_some_and(|h| h[..4] == MAGIC && h[4] <= VERSION && crc(seed, &h[..12]).to_le_bytes() == h[12..]);
    if !head_ok {
        return Some((0, "the head does not pass its checksum"));
    }
    let index_ok = (|| {
        let (rest, end) = bytes.split_last_chunk::<FILE_END>()?;
        let mut c = Cursor::new(end);
        let (len, sum, magic) = (c.u32()? as usize, c.u32()?, c.take(4)?);
        let index = rest.get(rest.len().checked_sub(len)?..)?;
        let found = take_index(&mut Cursor::new(index), blocks.first().map_or(0, |b| b.seq))?;
        Some(magic == END_MAGIC && crc(seed, index) == sum && found == blocks)
    })();
    (index_ok != Some(true)).then_some((bytes.len().saturating_sub(FILE_END) as u64, "the index does not pass its checksum"))
}
