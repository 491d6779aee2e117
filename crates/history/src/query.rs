//! Questions about many readings at once: windows of one point or of a whole county, and the points that stand out.
//!
//! The cheapest source that is exact answers: the statistics in a block's directory, then the stored hours of a merged day (`rollup.rs`),
//! then the readings themselves. Start at [`Reader::rollup`], [`Reader::rollup_many`] and [`Reader::top`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anlan_model::{PointId, Quality, Reading, Timestamp};

use crate::HistoryError;
use crate::Rollup;
use crate::block::{BlockId, BlockMeta, Content, PointEntry};
use crate::columns::decode_plain;
use crate::error::Result;
use crate::head::settle;
use crate::read::{Group, Reader, Walk, groups, newest_only};
use crate::rollup::{Chunk, HOUR_US, HourRow, Rollups};

/// Points looked up under one hold of the lock: a question about a county must not keep the writer waiting.
const POINTS_AT_ONCE: usize = 256;

/// By which figure [`Reader::top`] orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Greatest maximum first.
    Max,
    /// Least minimum first.
    Min,
    /// Greatest mean first.
    Mean,
}

impl Reader {
    /// Windows of `step_us` (at least 1) that hold readings of `from <= event_at < to`, oldest first. The newest revision counts; an instant
    /// whose newest revision is bad is counted apart.
    ///
    /// Of a day whose readings were dropped the stored hours answer, as far as they begin in the range; a narrower step than an hour then
    /// gives hours.
    ///
    /// # Errors
    /// I/O, damage.
    pub fn rollup(&self, point: PointId, step_us: i64, from: Timestamp, to: Timestamp) -> Result<Vec<Rollup>, HistoryError> {
        self.rollup_many(&[point], step_us, from, to)
    }

    /// Like [`Reader::rollup`], all points taken together; `first` and `last` are those of any of them.
    ///
    /// # Errors
    /// I/O, damage.
    pub fn rollup_many(&self, points: &[PointId], step_us: i64, from: Timestamp, to: Timestamp) -> Result<Vec<Rollup>, HistoryError> {
        let mut sums = Sums::new(step_us.max(1), 0);
        self.each(points, from, to, |question, point, memory| question.roll(point, memory, &mut sums))?;
        Ok(sums.finish())
    }

    /// The `n` points whose readings of `from <= event_at < to` stand out by `figure`, with what the whole time said of each; the rollup's
    /// `at` is `from`. Points without a good reading then are left out; of equals the lower id comes first.
    ///
    /// # Errors
    /// I/O, damage.
    pub fn top(
        &self,
        points: &[PointId],
        figure: Figure,
        n: usize,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<(PointId, Rollup)>, HistoryError> {
        let width = to.micros().saturating_sub(from.micros()).max(1);
        let mut found: Vec<(PointId, Rollup)> = Vec::new();
        let key = |r: &Rollup| match figure {
            Figure::Max => -r.max,
            Figure::Min => r.min,
            Figure::Mean => -r.mean,
        };
        let prune = |found: &mut Vec<(PointId, Rollup)>| {
            found.sort_by(|a, b| key(&a.1).total_cmp(&key(&b.1)).then(a.0.cmp(&b.0)));
            found.truncate(n);
        };
        self.each(points, from, to, |question, point, memory| {
            let mut sums = Sums::new(width, from.micros());
            question.roll(point, memory, &mut sums)?;
            found.extend(sums.finish().into_iter().map(|r| (point, r)));
            if found.len() >= n.saturating_mul(2).max(1_024) {
                prune(&mut found);
            }
            Ok(())
        })?;
        prune(&mut found);
        Ok(found)
    }

    /// Calls `roll` for each point that may have readings in the range, shard by shard, with what memory holds of it.
    fn each(
        &self,
        points: &[PointId],
        from: Timestamp,
        to: Timestamp,
        mut roll: impl FnMut(&mut Question<'_>, PointId, &[Reading]) -> Result<()>,
    ) -> Result<()> {
        let (from, to) = (from.micros(), to.micros());
        let mut by_shards: BTreeMap<Vec<u16>, Vec<PointId>> = BTreeMap::new();
        for part in points.chunks(POINTS_AT_ONCE) {
            let state = self.shared.state();
            for point in part {
                // A point without a slot has nothing in memory; of its blocks nothing but rollups may be left.
                let shards = state.points.get(point).map_or_else(|| state.rollups.keys().copied().collect(), |s| s.shards.clone());
                match by_shards.get_mut(&shards) {
                    Some(list) => list.push(*point),
                    None => drop(by_shards.insert(shards, vec![*point])),
                }
            }
        }
        for (shards, mut points) in by_shards {
            points.sort_unstable();
            points.dedup();
            let mut question = Question { reader: self, from, to, groups: Vec::new(), rollups: HashMap::new(), chunk: None };
            for part in points.chunks(POINTS_AT_ONCE) {
                let mut memory: Vec<(PointId, Vec<Reading>)> = Vec::with_capacity(part.len());
                {
                    let state = self.shared.state();
                    let windows = |s: &u16| state.blocks.get(s).into_iter().chain(state.rollups.get(s));
                    let mut oldest = i64::MAX;
                    for point in part {
                        let mut rows = Vec::new();
                        if let Some(slot) = state.points.get(point) {
                            if slot.last.event_at.micros() < from || slot.first_at >= to {
                                continue;
                            }
                            oldest = oldest.min(slot.first_at);
                            if let Some(head) = state.sealing.as_ref().and_then(|f| f.points.get(point)) {
                                head.collect(*point, from, to, &mut rows);
                            }
                            slot.head.collect(*point, from, to, &mut rows);
                        } else {
                            oldest = i64::MIN;
                        }
                        memory.push((*point, rows));
                    }
                    // Points that moved since the first look are found by the shards they had: a move seals nothing away.
                    question.groups = if memory.is_empty() {
                        Vec::new()
                    } else {
                        groups(shards.iter().flat_map(windows), self.shared.day_us(), from.max(oldest), to)
                    };
                }
                for (point, mut rows) in memory {
                    settle(&mut rows);
                    roll(&mut question, point, &rows)?;
                }
            }
        }
        Ok(())
    }
}

/// One range, and the blocks of some shards in it.
struct Question<'a> {
    reader: &'a Reader,
    from: i64,
    to: i64,
    groups: Vec<Group>,
    rollups: HashMap<BlockId, Arc<Rollups>>,
    /// The chunk of rollups looked at last: the next point mostly lies in it.
    chunk: Option<(BlockId, usize, Chunk)>,
}

impl Question<'_> {
    /// Adds what the point's readings in the range say.
    fn roll(&mut self, point: PointId, memory: &[Reading], sums: &mut Sums) -> Result<()> {
        let groups = std::mem::take(&mut self.groups);
        let mut walk = Walk::new(&groups, memory);
        let done = walk.try_for_each(|(metas, memory)| self.roll_group(point, metas, memory, sums));
        self.groups = groups;
        done
    }

    fn roll_group(&mut self, point: PointId, metas: &[Arc<BlockMeta>], memory: &[Reading], sums: &mut Sums) -> Result<()> {
        let (from, to) = (self.from, self.to);
        let mut parts: Vec<(&Arc<BlockMeta>, PointEntry)> = Vec::new();
        for meta in metas.iter().filter(|m| m.content == Content::Data) {
            parts.extend(self.reader.shared.directory(meta)?.point(point).map(|entry| (meta, *entry)));
        }
        if self.roll_hours(point, metas, &parts, memory, sums)? {
            return Ok(());
        }
        parts.retain(|(_, e)| e.first_at < to && e.last_at >= from);
        parts.sort_by_key(|(_, e)| e.first_at);
        let apart = parts.windows(2).all(|w| w[0].1.last_at < w[1].1.first_at)
            && parts.iter().all(|(_, e)| {
                let i = memory.partition_point(|r| r.event_at.micros() < e.first_at);
                memory.get(i).is_none_or(|r| r.event_at.micros() > e.last_at)
            });
        if !apart || parts.iter().any(|(_, e)| !e.plain) {
            let mut rows = self.data(point, metas, memory)?;
            newest_only(&mut rows);
            sums.add_rows(&rows);
            return Ok(());
        }
        for (meta, entry) in parts {
            let whole = entry.first_at >= from && entry.last_at < to;
            if whole && sums.window(entry.first_at) == sums.window(entry.last_at) {
                sums.add_stats(&entry);
                continue;
            }
            let shared = &self.reader.shared;
            let bytes = shared.section(meta, &entry.place)?;
            let (times, values) = decode_plain(&bytes).ok_or_else(|| shared.undecodable(meta, &entry.place))?;
            let (a, b) = (times.partition_point(|t| *t < from), times.partition_point(|t| *t < to));
            times[a..b].iter().zip(&values[a..b]).for_each(|(t, v)| sums.add(*t, *v));
        }
        let mut rows = memory.to_vec();
        newest_only(&mut rows);
        sums.add_rows(&rows);
        Ok(())
    }

    /// Settled rows of the data blocks and memory.
    fn data(&self, point: PointId, metas: &[Arc<BlockMeta>], memory: &[Reading]) -> Result<Vec<Reading>> {
        let data: Vec<Arc<BlockMeta>> = metas.iter().filter(|m| m.content == Content::Data).cloned().collect();
        self.reader.window(point, &data, memory, self.from, self.to)
    }

    /// Answers from the stored hours of a merged day, if they are exact here or all there is. `parts` are the point's entries in the group's
    /// data blocks.
    fn roll_hours(
        &mut self,
        point: PointId,
        metas: &[Arc<BlockMeta>],
        parts: &[(&Arc<BlockMeta>, PointEntry)],
        memory: &[Reading],
        sums: &mut Sums,
    ) -> Result<bool> {
        let rollups: Vec<&Arc<BlockMeta>> = metas.iter().filter(|m| m.content == Content::Rollup).collect();
        let covered = |meta: &BlockMeta| rollups.iter().any(|r| r.shard == meta.shard && meta.rank <= r.rank);
        let there = parts.iter().any(|(m, _)| covered(m));
        let (first, end) = metas.iter().fold((i64::MAX, i64::MIN), |(a, b), m| (a.min(m.start), b.max(m.end())));
        let cut = |at: i64| at > first && at < end && at % HOUR_US != 0;
        let exact = sums.fits_hours() && !cut(self.from) && !cut(self.to) && memory.is_empty() && parts.iter().all(|(m, _)| covered(m));
        // Whole sections with statistics of their own are cheaper still.
        let by_stats = |(_, e): &(&Arc<BlockMeta>, PointEntry)| e.plain && sums.window(e.first_at) == sums.window(e.last_at);
        if rollups.is_empty() || (there && (!exact || parts.iter().all(by_stats))) {
            return Ok(false);
        }
        let (mut hours, mut n_shards): (Vec<HourRow>, usize) = (Vec::new(), 0);
        for (i, meta) in rollups.iter().enumerate() {
            // Only the newest of a shard's counts.
            if rollups[i + 1..].iter().all(|later| later.shard != meta.shard) {
                let rows = self.hours(point, meta)?;
                n_shards += usize::from(!rows.is_empty());
                hours.extend(rows);
            }
        }
        if hours.is_empty() || (there && n_shards > 1) {
            return Ok(false);
        }
        let (from, to) = (self.from, self.to);
        hours.iter().filter(|h| (from..to).contains(&h.at)).for_each(|h| sums.add_hour(h));
        if !there {
            // The readings behind these hours are gone; what came since counts where nothing stood.
            let mut rows = self.data(point, metas, memory)?;
            newest_only(&mut rows);
            rows.retain(|r| hours.iter().all(|h| r.event_at.floor_us(HOUR_US).micros() != h.at));
            sums.add_rows(&rows);
        }
        Ok(true)
    }

    /// The point's hours in a rollup block.
    fn hours(&mut self, point: PointId, meta: &Arc<BlockMeta>) -> Result<Vec<HourRow>> {
        let shared = &self.reader.shared;
        let rollups = match self.rollups.get(&meta.id()) {
            Some(found) => Arc::clone(found),
            None => {
                let loaded = Arc::new(shared.load_rollups(meta)?);
                self.rollups.insert(meta.id(), Arc::clone(&loaded));
                loaded
            }
        };
        let Some((chunk, i)) = rollups.find(point) else { return Ok(Vec::new()) };
        if self.chunk.as_ref().is_none_or(|(id, held, _)| (*id, *held) != (meta.id(), chunk)) {
            self.chunk = Some((meta.id(), chunk, shared.rollup_chunk(meta, &rollups, chunk)?));
        }
        Ok(self.chunk.as_ref().and_then(|(_, _, rows)| rows.get(i)).map(|(_, hours)| hours.clone()).unwrap_or_default())
    }
}

/// Rollups being summed. Readings mostly come window by window; the map catches those that do not.
struct Sums {
    step_us: i64,
    /// A window begins here.
    origin: i64,
    current: Option<(i64, Sum)>,
    done: BTreeMap<i64, Sum>,
}

#[derive(Clone, Copy)]
struct Sum {
    min: f64,
    max: f64,
    sum: f64,
    first: (i64, f64),
    last: (i64, f64),
    count: u64,
    bad: u64,
}

impl Sum {
    fn merge(&mut self, other: &Self) {
        if other.count > 0 {
            if self.count == 0 {
                *self = Self { bad: self.bad, ..*other };
                self.bad += other.bad;
                return;
            }
            self.min = self.min.min(other.min);
            self.max = self.max.max(other.max);
            self.sum += other.sum;
            self.first = if other.first.0 < self.first.0 { other.first } else { self.first };
            self.last = if other.last.0 >= self.last.0 { other.last } else { self.last };
            self.count += other.count;
        }
        self.bad += other.bad;
    }
}

impl Sums {
    fn new(step_us: i64, origin: i64) -> Self {
        Self { step_us, origin, current: None, done: BTreeMap::new() }
    }
    fn window(&self, us: i64) -> i64 {
        us.saturating_sub(self.origin).div_euclid(self.step_us).saturating_mul(self.step_us).saturating_add(self.origin)
    }
    /// Whether no window begins within an hour.
    fn fits_hours(&self) -> bool {
        self.step_us % HOUR_US == 0 && self.origin % HOUR_US == 0
    }
    fn put(&mut self, at: i64, sum: Sum) {
        match &mut self.current {
            Some((start, current)) if at >= *start && at - *start < self.step_us => current.merge(&sum),
            _ => {
                let start = self.window(at);
                if let Some((before, full)) = self.current.replace((start, sum)) {
                    self.done.entry(before).and_modify(|s| s.merge(&full)).or_insert(full);
                }
            }
        }
    }
    fn add(&mut self, at: i64, value: f64) {
        self.put(at, Sum { min: value, max: value, sum: value, first: (at, value), last: (at, value), count: 1, bad: 0 });
    }
    fn add_rows(&mut self, rows: &[Reading]) {
        for r in rows {
            let (at, value) = (r.event_at.micros(), r.value);
            if r.quality == Quality::Bad {
                self.put(at, Sum { min: value, max: value, sum: 0.0, first: (at, value), last: (at, value), count: 0, bad: 1 });
            } else {
                self.add(at, value);
            }
        }
    }
    fn add_stats(&mut self, e: &PointEntry) {
        let s = e.stats;
        let (first, last) = ((e.first_at, s.first), (e.last_at, s.last));
        self.put(e.first_at, Sum { min: s.min, max: s.max, sum: s.sum, first, last, count: u64::from(e.count), bad: 0 });
    }
    fn add_hour(&mut self, h: &HourRow) {
        let s = h.stats;
        let (first, last) = ((h.at, s.first), (h.at, s.last));
        self.put(h.at, Sum { min: s.min, max: s.max, sum: s.sum, first, last, count: u64::from(h.count), bad: u64::from(h.bad) });
    }
    fn finish(mut self) -> Vec<Rollup> {
        if let Some((start, last)) = self.current.take() {
            self.done.entry(start).and_modify(|s| s.merge(&last)).or_insert(last);
        }
        let whole = |(start, s): (i64, Sum)| Rollup {
            at: Timestamp::from_micros(start),
            min: s.min,
            max: s.max,
            mean: s.sum / s.count as f64,
            first: s.first.1,
            last: s.last.1,
            count: s.count,
            bad: s.bad,
        };
        self.done.into_iter().filter(|(_, s)| s.count > 0).map(whole).collect()
    }
}
