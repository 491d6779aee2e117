//! Questions about many readings at once: windows of one point or of a whole county, and the points that stand out.
//!
//! The cheapest source that is exact answers: the statistics in a block's directory, then the stored hours of a merged day (`rollup.rs`),
//! then the readings themselves. Start at [`Reader::rollup`], [`Reader::rollup_many`] and [`Reader::top`].

use std::collections::HashMap;
use std::sync::Arc;

use anlan_model::{PointId, Quality, Reading, Timestamp};

use crate::HistoryError;
use crate::Rollup;
use crate::block::{BlockId, BlockMeta, Content, Directory, PointEntry};
use crate::columns::decode_plain;
use crate::error::Result;
use crate::head::settle;
use crate::read::{Group, Reader, groups, newest_only};
use crate::rollup::{Chunk, HOUR_US, HourRow, Rollups};

/// Points looked up under one hold of the lock: a question about a county must not keep the writer waiting.
const POINTS_AT_ONCE: usize = 256;
/// Points taken through the blocks together, so that each directory is looked up once for all of them; fewer where memory holds more
/// readings of theirs than this.
const POINTS_TOGETHER: usize = 16_384;
const ROWS_TOGETHER: usize = 262_144;

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
        let mut sums = Into::All(Sums::new(step_us.max(1), 0));
        self.each(points, from, to, &mut sums, |_, _| {})?;
        let Into::All(sums) = sums else { return Ok(Vec::new()) };
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
        // The key that the last of `n` has already: whoever stands out less is not even noted.
        let mut bar = f64::INFINITY;
        let mut sums = Into::Each(Sums::new(width, from.micros()), Vec::new());
        self.each(points, from, to, &mut sums, |point, sums| {
            let Some(rollup) = sums.only().filter(|r| key(r).total_cmp(&bar).is_le()) else { return };
            found.push((point, rollup));
            if found.len() >= n.saturating_mul(2).max(1_024) {
                prune(&mut found);
                bar = found.last().map_or(bar, |(_, r)| key(r));
            }
        })?;
        prune(&mut found);
        Ok(found)
    }

    /// Sums up what each point's readings in the range say, and calls `done` once a point's are complete. Points go through the blocks
    /// shard by shard and many at a time.
    fn each(
        &self,
        points: &[PointId],
        from: Timestamp,
        to: Timestamp,
        sums: &mut Into,
        mut done: impl FnMut(PointId, &mut Sums),
    ) -> Result<()> {
        let (from, to) = (from.micros(), to.micros());
        let mut waiting = self.by_shards(points);
        while let Some((shards, mut points)) = waiting.pop() {
            points.sort_unstable();
            points.dedup();
            let mut question = Question { reader: self, from, to, rollups: HashMap::new(), chunk: None };
            let (mut left, mut strays) = (points.as_slice(), Vec::new());
            while !left.is_empty() {
                let (part, groups) = self.part(&shards, &mut left, &mut strays, from, to);
                sums.begin(part.len());
                question.roll(&part, &groups, sums)?;
                sums.end(part.iter().map(|(point, _)| *point), &mut done);
            }
            waiting.extend(self.by_shards(&strays));
        }
        Ok(())
    }

    /// The points by the shards whose blocks may hold them.
    fn by_shards(&self, points: &[PointId]) -> Vec<(Vec<u16>, Vec<PointId>)> {
        let mut found: Vec<(Vec<u16>, Vec<PointId>)> = Vec::new();
        let mut at = 0;
        for part in points.chunks(POINTS_AT_ONCE) {
            let state = self.shared.state();
            // A point without a slot has nothing in memory; of its blocks nothing but rollups may be left.
            let everywhere: Vec<u16> = state.rollups.keys().copied().collect();
            for point in part {
                let shards = state.points.get(point).map_or(&everywhere, |slot| &slot.shards);
                // Neighbours mostly lie together.
                if found.get(at).is_none_or(|(of, _)| of != shards) {
                    at = found.iter().position(|(of, _)| of == shards).unwrap_or_else(|| {
                        found.push((shards.clone(), Vec::new()));
                        found.len() - 1
                    });
                }
                found[at].1.push(*point);
            }
        }
        found
    }

    /// The next of `points` that may have readings in the range, with what memory holds of each, and the blocks behind them. `strays` gets
    /// those that a seal gave another shard since they were put together.
    fn part(
        &self,
        shards: &[u16],
        points: &mut &[PointId],
        strays: &mut Vec<PointId>,
        from: i64,
        to: i64,
    ) -> (Vec<(PointId, Vec<Reading>)>, Vec<Group>) {
        let mut part: Vec<(PointId, Vec<Reading>)> = Vec::new();
        let (mut found, mut covered, mut oldest, mut n_rows) = (Vec::new(), None, i64::MAX, 0);
        while part.len() < POINTS_TOGETHER && n_rows < ROWS_TOGETHER && !points.is_empty() {
            let state = self.shared.state();
            // What a seal moved from memory into blocks meanwhile would be seen twice or not at all: those points are the next part.
            if *covered.get_or_insert(state.covered) != state.covered {
                break;
            }
            let (now, later) = points.split_at(points.len().min(POINTS_AT_ONCE));
            *points = later;
            let before = oldest;
            for point in now {
                let mut rows = Vec::new();
                if let Some(slot) = state.points.get(point) {
                    if slot.last.event_at.micros() < from || slot.first_at >= to {
                        continue;
                    }
                    if slot.shards != shards {
                        strays.push(*point);
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
                n_rows += rows.len();
                part.push((*point, rows));
            }
            if oldest < before {
                let windows = |s: &u16| state.blocks.get(s).into_iter().chain(state.rollups.get(s));
                found = groups(shards.iter().flat_map(windows), self.shared.day_us(), from.max(oldest), to);
            }
        }
        part.iter_mut().for_each(|(_, rows)| settle(rows));
        (part, found)
    }
}

/// Where sums go: all points together, or each by itself.
enum Into {
    All(Sums),
    /// Empty sums, and those of the part in hand.
    Each(Sums, Vec<Sums>),
}

impl Into {
    fn begin(&mut self, n: usize) {
        if let Self::Each(empty, sums) = self {
            sums.resize(n, empty.clone());
        }
    }
    fn of(&mut self, i: usize) -> &mut Sums {
        match self {
            Self::All(sums) => sums,
            Self::Each(_, sums) => &mut sums[i],
        }
    }
    fn end(&mut self, points: impl Iterator<Item = PointId>, done: &mut impl FnMut(PointId, &mut Sums)) {
        if let Self::Each(_, sums) = self {
            points.zip(sums.iter_mut()).for_each(|(point, sums)| done(point, sums));
            sums.clear();
        }
    }
}

/// One range over the blocks of some shards.
struct Question<'a> {
    reader: &'a Reader,
    from: i64,
    to: i64,
    rollups: HashMap<BlockId, Arc<Rollups>>,
    /// The chunk of rollups looked at last: the next point mostly lies in it.
    chunk: Option<(BlockId, usize, Chunk)>,
}

/// A group of blocks, taken apart once for many points.
struct Opened<'a> {
    /// Blocks of readings, lowest rank first, with their directories and how far these were walked.
    data: Vec<(&'a Arc<BlockMeta>, Arc<Directory>, usize)>,
    /// Blocks of hours: of each shard the newest.
    rollups: Vec<&'a Arc<BlockMeta>>,
    /// Whether the hours of the group can be exact: neither the range nor a window begins within one.
    aligned: bool,
}

impl Opened<'_> {
    /// The point's entries; points are asked for in order.
    fn entries<'p>(&mut self, point: PointId, parts: &'p mut Vec<(usize, PointEntry)>) -> &'p mut Vec<(usize, PointEntry)> {
        parts.clear();
        for (i, (_, directory, at)) in self.data.iter_mut().enumerate() {
            let entries = &directory.points[*at..];
            // The next one mostly, a few further where others were left out, anywhere at the beginning.
            let step = match entries.iter().take(8).position(|e| e.point >= point) {
                Some(step) => step,
                None => entries.partition_point(|e| e.point < point),
            };
            *at += step;
            parts.extend(entries.get(step).filter(|e| e.point == point).map(|e| (i, *e)));
        }
        parts
    }
    fn covered(&self, meta: &BlockMeta) -> bool {
        self.rollups.iter().any(|r| r.shard == meta.shard && meta.rank <= r.rank)
    }
}

impl Question<'_> {
    /// Adds what the readings of these points say, group by group: a directory is looked up once for all of them.
    fn roll(&mut self, part: &[(PointId, Vec<Reading>)], groups: &[Group], sums: &mut Into) -> Result<()> {
        if part.is_empty() {
            return Ok(());
        }
        // How far each point's rows in memory were taken.
        let mut taken: Vec<usize> = vec![0; part.len()];
        let mut parts = Vec::new();
        for group in groups {
            let mut opened = self.open(&group.metas, sums.of(0).fits_hours())?;
            for (i, (point, memory)) in part.iter().enumerate() {
                let (sums, taken) = (sums.of(i), &mut taken[i]);
                let rows = &memory[*taken..];
                let (early, end) = match rows.first() {
                    None => (0, 0),
                    Some(_) => {
                        let before = |us: i64| rows.partition_point(|r| r.event_at.micros() < us);
                        (before(group.start), before(group.end))
                    }
                };
                if early > 0 {
                    sums.add_newest(&rows[..early]);
                }
                *taken += end;
                self.roll_group(*point, &mut opened, &rows[early..end], &mut parts, sums)?;
            }
        }
        for (i, (_, memory)) in part.iter().enumerate() {
            if taken[i] < memory.len() {
                sums.of(i).add_newest(&memory[taken[i]..]);
            }
        }
        Ok(())
    }

    fn open<'g>(&self, metas: &'g [Arc<BlockMeta>], fits_hours: bool) -> Result<Opened<'g>> {
        let (mut data, mut rollups): (Vec<_>, Vec<&Arc<BlockMeta>>) = (Vec::new(), Vec::new());
        for meta in metas {
            match meta.content {
                Content::Data => data.push((meta, self.reader.shared.directory_in_passing(meta)?, 0)),
                Content::Rollup => {
                    rollups.retain(|r| r.shard != meta.shard);
                    rollups.push(meta);
                }
            }
        }
        let (first, end) = metas.iter().fold((i64::MAX, i64::MIN), |(a, b), m| (a.min(m.start), b.max(m.end())));
        let cut = |at: i64| at > first && at < end && at % HOUR_US != 0;
        Ok(Opened { data, rollups, aligned: fits_hours && !cut(self.from) && !cut(self.to) })
    }

    fn roll_group(
        &mut self,
        point: PointId,
        opened: &mut Opened<'_>,
        memory: &[Reading],
        parts: &mut Vec<(usize, PointEntry)>,
        sums: &mut Sums,
    ) -> Result<()> {
        let (from, to) = (self.from, self.to);
        let parts = opened.entries(point, parts);
        if !opened.rollups.is_empty() && self.roll_hours(point, opened, parts, memory, sums)? {
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
            sums.add_newest(&self.data(point, opened, memory)?);
            return Ok(());
        }
        for (i, entry) in parts.iter() {
            let whole = entry.first_at >= from && entry.last_at < to;
            if whole && sums.window(entry.first_at) == sums.window(entry.last_at) {
                sums.add_stats(entry);
                continue;
            }
            let (shared, meta) = (&self.reader.shared, opened.data[*i].0);
            let bytes = shared.section(meta, &entry.place)?;
            let (times, values) = decode_plain(&bytes).ok_or_else(|| shared.undecodable(meta, &entry.place))?;
            let (a, b) = (times.partition_point(|t| *t < from), times.partition_point(|t| *t < to));
            sums.add_all(&times[a..b], &values[a..b]);
        }
        if !memory.is_empty() {
            sums.add_newest(memory);
        }
        Ok(())
    }

    /// Settled rows of the data blocks and memory.
    fn data(&self, point: PointId, opened: &Opened<'_>, memory: &[Reading]) -> Result<Vec<Reading>> {
        let data: Vec<Arc<BlockMeta>> = opened.data.iter().map(|(meta, ..)| Arc::clone(meta)).collect();
        self.reader.window(point, &data, memory, self.from, self.to)
    }

    /// Answers from the stored hours of a merged day, if they are exact here or all there is. `parts` are the point's entries in the group's
    /// data blocks.
    fn roll_hours(
        &mut self,
        point: PointId,
        opened: &Opened<'_>,
        parts: &[(usize, PointEntry)],
        memory: &[Reading],
        sums: &mut Sums,
    ) -> Result<bool> {
        let covered = |i: usize| opened.covered(opened.data[i].0);
        let there = parts.iter().any(|(i, _)| covered(*i));
        let exact = opened.aligned && memory.is_empty() && parts.iter().all(|(i, _)| covered(*i));
        // Whole sections with statistics of their own are cheaper still.
        let by_stats = |(_, e): &(usize, PointEntry)| e.plain && sums.window(e.first_at) == sums.window(e.last_at);
        if there && (!exact || parts.iter().all(by_stats)) {
            return Ok(false);
        }
        let (mut hours, mut n_shards): (Vec<HourRow>, usize) = (Vec::new(), 0);
        for meta in &opened.rollups {
            let rows = self.hours(point, meta)?;
            n_shards += usize::from(!rows.is_empty());
            hours.extend(rows);
        }
        if hours.is_empty() || (there && n_shards > 1) {
            return Ok(false);
        }
        let (from, to) = (self.from, self.to);
        hours.iter().filter(|h| (from..to).contains(&h.at)).for_each(|h| sums.add_hour(h));
        if !there {
            // The readings behind these hours are gone; what came since counts where nothing stood.
            let mut rows = self.data(point, opened, memory)?;
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

/// Rollups being summed. Readings mostly come window by window, oldest first; those that do not find their place by search.
#[derive(Clone)]
struct Sums {
    step_us: i64,
    /// A window begins here.
    origin: i64,
    current: Option<(i64, Sum)>,
    /// In order of starts, each once; without the current one, unless it came back.
    done: Vec<(i64, Sum)>,
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
    fn rollup(&self, start: i64) -> Rollup {
        Rollup {
            at: Timestamp::from_micros(start),
            min: self.min,
            max: self.max,
            mean: self.sum / self.count as f64,
            first: self.first.1,
            last: self.last.1,
            count: self.count,
            bad: self.bad,
        }
    }
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
        Self { step_us, origin, current: None, done: Vec::new() }
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
            _ => self.put_at(self.window(at), sum),
        }
    }
    /// Adds to the window that begins at `start`.
    fn put_at(&mut self, start: i64, sum: Sum) {
        match &mut self.current {
            Some((current, of)) if *current == start => of.merge(&sum),
            _ => {
                if let Some((before, full)) = self.current.replace((start, sum)) {
                    self.put_away(before, full);
                }
            }
        }
    }
    fn put_away(&mut self, start: i64, sum: Sum) {
        if self.done.last().is_none_or(|(last, _)| *last < start) {
            return self.done.push((start, sum));
        }
        match self.done.binary_search_by_key(&start, |(of, _)| *of) {
            Ok(i) => self.done[i].1.merge(&sum),
            Err(i) => self.done.insert(i, (start, sum)),
        }
    }
    fn add(&mut self, at: i64, value: f64) {
        self.put(at, Sum { min: value, max: value, sum: value, first: (at, value), last: (at, value), count: 1, bad: 0 });
    }
    /// Adds good first revisions, oldest first.
    fn add_all(&mut self, times: &[i64], values: &[f64]) {
        let mut at = 0;
        while at < times.len() {
            let start = self.window(times[at]);
            let n = times[at..].iter().take_while(|t| **t - start < self.step_us).count();
            let (times, values) = (&times[at..at + n], &values[at..at + n]);
            let ends = ((times[0], values[0]), (times[n - 1], values[n - 1]));
            let mut sum = Sum { min: values[0], max: values[0], sum: 0.0, first: ends.0, last: ends.1, count: n as u64, bad: 0 };
            for value in values {
                sum.min = sum.min.min(*value);
                sum.max = sum.max.max(*value);
                sum.sum += value;
            }
            self.put_at(start, sum);
            at += n;
        }
    }
    /// The newest revisions of settled rows.
    fn add_newest(&mut self, rows: &[Reading]) {
        let mut rows = rows.to_vec();
        newest_only(&mut rows);
        self.add_rows(&rows);
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
            self.put_away(start, last);
        }
        self.done.into_iter().filter(|(_, s)| s.count > 0).map(|(start, sum)| sum.rollup(start)).collect()
    }
    /// The only window there is, if it holds a reading that is not bad; of sums as wide as the range.
    fn only(&self) -> Option<Rollup> {
        self.current.filter(|(_, sum)| sum.count > 0).map(|(start, sum)| sum.rollup(start))
    }
}
