//! Stored rollups: what every hour of a merged day said, kept after the day's readings are gone.
//!
//! A rollup block belongs to one shard and day and lies in the same file as the merged readings, so that both count from the same moment.
//! Its data are chunks of [`POINTS`] points in columns, its directory the points and where each chunk lies. A day is the sum of its hours,
//! wherever it begins: an hour counts from 1970 UTC, and so does every zone this is used in. The newest revision of each instant counts;
//! bad readings are counted apart.
//!
//! Rules that keep the numbers true: a rollup is made from the merged, settled readings of the whole day, again whenever the day is merged
//! again; once a point's readings of the day are dropped, its hours stay as they were, and only hours it had nothing in are added to.
//! Start at [`Builder`] and [`Rollups::hours`].

use anlan_model::{PointId, Quality, Reading, Timestamp};

use crate::bits::{Cursor, pack, put_varint, unpack};
use crate::block::{Place, SectionStats, put_places, put_stats, take_places, take_stats};
use crate::columns::{ROWS_MAX, put_times, take_times};
use crate::disk::crc;
use crate::read::newest_only;
use crate::squeeze::{deflate, inflate};

pub(crate) const HOUR_US: i64 = 3_600_000_000;
/// Points in a chunk: a question about one point unpacks a few kilobytes.
const POINTS: usize = 32;

/// Per point of a chunk: whether its readings of the day were dropped, and its hours.
pub(crate) type Chunk = Vec<(bool, Vec<HourRow>)>;

/// What an hour of a point said, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HourSum {
    /// Its begin.
    pub at: Timestamp,
    /// Readings that are not bad.
    pub count: u32,
    /// Bad ones.
    pub bad: u32,
    /// First, last, least, greatest value and their sum; meaningless without a reading that is not bad.
    pub stats: [f64; 5],
}

impl HourRow {
    pub(crate) fn sum(&self) -> HourSum {
        let SectionStats { first, last, min, max, sum } = self.stats;
        let stats = if self.count > 0 { [first, last, min, max, sum] } else { [0.0; 5] };
        HourSum { at: Timestamp::from_micros(self.at), count: self.count, bad: self.bad, stats }
    }
}

/// One hour of one point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct HourRow {
    /// Start of the hour in µs.
    pub(crate) at: i64,
    /// Readings that are not bad.
    pub(crate) count: u32,
    pub(crate) bad: u32,
    /// Over the readings that are not bad; meaningless without one.
    pub(crate) stats: SectionStats,
}

/// The hours of one point's settled readings, every revision.
pub(crate) fn hours_of(rows: &[Reading]) -> Vec<HourRow> {
    let mut newest = rows.to_vec();
    newest_only(&mut newest);
    let hour = |r: &Reading| r.event_at.floor_us(HOUR_US).micros();
    let of = |part: &[Reading]| {
        let bad = part.iter().filter(|r| r.quality == Quality::Bad).count();
        HourRow { at: hour(&part[0]), count: (part.len() - bad) as u32, bad: bad as u32, stats: SectionStats::of(part) }
    };
    newest.chunk_by(|a, b| hour(a) == hour(b)).map(of).collect()
}

/// Directory of a rollup block.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rollups {
    pub(crate) points: Vec<PointId>,
    pub(crate) places: Vec<Place>,
}

impl Rollups {
    /// The chunk that holds the point, and the point's place in it.
    pub(crate) fn find(&self, point: PointId) -> Option<(usize, usize)> {
        self.points.binary_search(&point).ok().map(|i| (i / POINTS, i % POINTS))
    }
    /// The points of a chunk.
    pub(crate) fn chunk(&self, chunk: usize) -> &[PointId] {
        self.points.chunks(POINTS).nth(chunk).unwrap_or_default()
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, self.points.len() as u64);
        put_times(self.points.iter().map(|p| p.get()), &mut out);
        put_places(self.places.iter(), &mut out);
        out
    }

    /// Reads a directory's checked bytes; `None` if they are not what `encode` writes.
    pub(crate) fn parse(packed: &[u8], data_off: u64, dir_off: u64) -> Option<Self> {
        let bytes = inflate(packed)?;
        let mut c = Cursor::new(&bytes);
        let n = c.len(ROWS_MAX)?;
        let points: Vec<PointId> = take_times(&mut c, n)?.into_iter().map(PointId::new).collect();
        let mut offset = data_off;
        let mut places = take_places(&mut c, n.div_ceil(POINTS), &mut offset)?;
        places.iter_mut().for_each(|p| p.zstd = true);
        (c.left() == 0 && offset == dir_off).then_some(Self { points, places })
    }

    /// A chunk from its checked bytes.
    pub(crate) fn hours(packed: &[u8], n_points: usize, start: i64) -> Option<Chunk> {
        let bytes = inflate(packed)?;
        let mut c = Cursor::new(&bytes);
        let mut lens = Vec::new();
        unpack(&mut c, n_points, &mut lens)?;
        let mut n = 0usize;
        for len in &lens {
            n = n.checked_add(usize::try_from(*len >> 1).ok()?).filter(|n| *n <= ROWS_MAX)?;
        }
        let mut columns: [Vec<i64>; 3] = Default::default();
        for column in &mut columns {
            unpack(&mut c, n, column)?;
        }
        let [hours, counts, bad] = columns;
        let counts = counts.into_iter().map(|n| u32::try_from(n).ok()).collect::<Option<Vec<_>>>()?;
        let stats = take_stats(&mut c, counts.iter().copied())?;
        let mut rows = Vec::with_capacity(n);
        for i in 0..n {
            let at = start.checked_add(hours[i].checked_mul(HOUR_US)?)?;
            rows.push(HourRow { at, count: counts[i], bad: u32::try_from(bad[i]).ok()?, stats: stats[i].1 });
        }
        let mut rows = rows.into_iter();
        let out = lens.into_iter().map(|len| (len & 1 == 1, rows.by_ref().take((len >> 1) as usize).collect())).collect();
        (c.left() == 0).then_some(out)
    }
}

/// A rollup block being put together, points ascending.
#[derive(Debug)]
pub(crate) struct Builder {
    seed: u32,
    start: i64,
    directory: Rollups,
    waiting: Chunk,
    data: Vec<u8>,
}

impl Builder {
    pub(crate) fn new(seed: u32, start: i64) -> Self {
        Self { seed, start, directory: Rollups::default(), waiting: Vec::new(), data: Vec::new() }
    }

    /// Adds a point; `closed` says that its readings of the day are dropped.
    pub(crate) fn add(&mut self, point: PointId, hours: Vec<HourRow>, closed: bool) -> std::io::Result<()> {
        if hours.is_empty() {
            return Ok(());
        }
        self.directory.points.push(point);
        self.waiting.push((closed, hours));
        if self.waiting.len() == POINTS { self.code() } else { Ok(()) }
    }

    fn code(&mut self) -> std::io::Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let rows = || waiting.iter().flat_map(|(_, hours)| hours);
        let mut out = Vec::new();
        pack(&waiting.iter().map(|(closed, hours)| (hours.len() as i64) << 1 | i64::from(*closed)).collect::<Vec<_>>(), &mut out);
        pack(&rows().map(|h| (h.at - self.start) / HOUR_US).collect::<Vec<_>>(), &mut out);
        pack(&rows().map(|h| i64::from(h.count)).collect::<Vec<_>>(), &mut out);
        pack(&rows().map(|h| i64::from(h.bad)).collect::<Vec<_>>(), &mut out);
        put_stats(rows().map(|h| (0, h.stats, h.count)), &mut out);
        let packed = deflate(&out)?;
        self.directory.places.push(Place { offset: 0, len: packed.len() as u32, crc: crc(self.seed, &packed), zstd: true });
        self.data.extend_from_slice(&packed);
        Ok(())
    }

    /// Data and directory of the block; `None` if no point came.
    pub(crate) fn finish(mut self) -> std::io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        if !self.waiting.is_empty() {
            self.code()?;
        }
        let directory = (!self.directory.points.is_empty()).then(|| self.directory.encode());
        Ok(directory.map(|d| (self.data, d)))
    }
}
