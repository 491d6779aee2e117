//! Readers: as many as you like, in any thread. They see what is durable, take what they need from memory under the lock, and open blocks
//! without it. Start at [`Reader::readings`]; the log is followed by [`Reader::tail`].

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use anlan_model::{PointId, Position, Reading, Timestamp, VehicleId};

use crate::block::{BlockMeta, Directory, PointEntry, section_positions};
use crate::columns::decode_series;
use crate::error::{At, Result};
use crate::frame::{self, Header};
use crate::head::settle;
use crate::state::{Shared, State, Windows};
use crate::{HistoryError, Lsn, Record, Stats, checkpoint};

/// Reads what is durable. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(crate) shared: Arc<Shared>,
}

/// A record's notes without its readings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The record.
    pub lsn: Lsn,
    /// Its shard.
    pub shard: u16,
    /// Its domain time.
    pub now: Timestamp,
    /// Its notes, never empty.
    pub notes: Vec<u8>,
}

/// Blocks whose windows overlap, lowest rank first, and the window that holds them all. Groups do not overlap.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) metas: Vec<Arc<BlockMeta>>,
}

/// The blocks of `windows` that may hold `from <= event_at < to`, in groups, oldest first. `span_max` is the widest window there is.
pub(crate) fn groups<'a>(windows: impl Iterator<Item = &'a Windows>, span_max: i64, from: i64, to: i64) -> Vec<Group> {
    let first = from.div_euclid(span_max).saturating_mul(span_max);
    let mut metas: Vec<Arc<BlockMeta>> = Vec::new();
    if first < to {
        for windows in windows {
            metas.extend(windows.range(first..to).flat_map(|(_, m)| m).filter(|m| m.end() > from).cloned());
        }
    }
    metas.sort_by_key(|m| m.start);
    let mut found: Vec<Group> = Vec::new();
    for meta in metas {
        match found.last_mut() {
            Some(group) if meta.start < group.end => {
                group.end = group.end.max(meta.end());
                group.metas.push(meta);
            }
            _ => found.push(Group { start: meta.start, end: meta.end(), metas: vec![meta] }),
        }
    }
    found.iter_mut().for_each(|g| g.metas.sort_by_key(|m| (m.rank, m.seq)));
    found
}

/// Leaves the newest revision of each instant of settled rows.
pub(crate) fn newest_only(rows: &mut Vec<Reading>) {
    rows.dedup_by(|later, kept| {
        let same = later.event_at == kept.event_at;
        if same {
            *kept = *later;
        }
        same
    });
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The newest undamaged checkpoint and the record it stands after.
    ///
    /// # Errors
    /// I/O; [`HistoryError::Damaged`] if there are checkpoints but none can be read.
    pub fn last_checkpoint(&self) -> Result<Option<(Lsn, Vec<u8>)>, HistoryError> {
        let both = checkpoint::read(&self.shared.dir, self.shared.seed)?;
        let there = both.iter().any(Option::is_some);
        let newest = both.into_iter().flatten().flatten().next();
        if there && newest.is_none() {
            return Err(HistoryError::damaged(&self.shared.dir.join(crate::disk::CHECKPOINT), 0, "no checkpoint passes its checksum"));
        }
        Ok(newest)
    }

    /// Durable records after `after`. The first item is [`HistoryError::NotInLog`] if the log no longer reaches back that far.
    pub fn tail(&self, after: Lsn) -> Tail {
        Tail { follow: Follow::new(Arc::clone(&self.shared), after), tag: 0 }
    }
    /// Like [`Reader::tail`], only records with notes, readings not decoded.
    pub fn tail_notes(&self, after: Lsn) -> TailNotes {
        TailNotes { follow: Follow::new(Arc::clone(&self.shared), after) }
    }
    /// Like [`Reader::tail`], only records with positions, readings not decoded.
    pub fn tail_positions(&self, after: Lsn) -> TailPositions {
        TailPositions { follow: Follow::new(Arc::clone(&self.shared), after) }
    }

    /// What memory holds of the point in the range, settled, and the blocks that may hold more. Taken under one lock, so that a seal cannot
    /// hide readings between the two.
    pub(crate) fn view(&self, point: PointId, from: i64, to: i64) -> (Vec<Reading>, Vec<Group>) {
        let (_, rows, blocks) = self.view_at(point, from, to);
        (rows, blocks)
    }

    /// The same with the last record that is in it.
    pub(crate) fn view_at(&self, point: PointId, from: i64, to: i64) -> (Lsn, Vec<Reading>, Vec<Group>) {
        let state = self.shared.state();
        let durable = state.durable;
        let nothing = (durable, Vec::new(), Vec::new());
        let Some(slot) = state.points.get(&point) else { return nothing };
        if slot.last.event_at.micros() < from || slot.first_at >= to {
            return nothing;
        }
        let mut rows = Vec::new();
        if let Some(head) = state.sealing.as_ref().and_then(|f| f.points.get(&point)) {
            head.collect(point, from, to, &mut rows);
        }
        slot.head.collect(point, from, to, &mut rows);
        let blocks = if from > slot.sealed_to { Vec::new() } else { self.groups_of(&state, &slot.shards, from.max(slot.first_at), to) };
        drop(state);
        settle(&mut rows);
        (durable, rows, blocks)
    }

    fn groups_of(&self, state: &State, shards: &[u16], from: i64, to: i64) -> Vec<Group> {
        groups(shards.iter().filter_map(|s| state.blocks.get(s)), self.shared.day_us(), from, to)
    }

    /// All readings of a point in one window and range, settled: blocks first, memory wins.
    pub(crate) fn window(&self, point: PointId, metas: &[Arc<BlockMeta>], memory: &[Reading], from: i64, to: i64) -> Result<Vec<Reading>> {
        let mut rows = Vec::new();
        for meta in metas {
            let directory = self.shared.directory(meta)?;
            let Some(entry) = directory.point(point).filter(|e| e.first_at < to && e.last_at >= from) else { continue };
            if entry.first_at >= from && entry.last_at < to {
                self.decode(meta, &directory, entry, &mut rows)?;
            } else {
                let mut all = Vec::new();
                self.decode(meta, &directory, entry, &mut all)?;
                rows.extend(all.into_iter().filter(|r| (from..to).contains(&r.event_at.micros())));
            }
        }
        rows.extend_from_slice(memory);
        settle(&mut rows);
        Ok(rows)
    }

    fn decode(&self, meta: &BlockMeta, directory: &Directory, entry: &PointEntry, rows: &mut Vec<Reading>) -> Result<()> {
        let bytes = self.shared.section(meta, &entry.place)?;
        decode_series(&bytes, entry.point, directory.arrivals.as_ref(), rows).ok_or_else(|| self.shared.undecodable(meta, &entry.place))
    }

    /// The newest revision of each instant in `from <= event_at < to`, oldest first, at most `limit`, beginning behind `after`
    /// (`event_at` and revision of the last one seen).
    ///
    /// # Errors
    /// I/O, damage.
    pub fn readings(
        &self,
        point: PointId,
        from: Timestamp,
        to: Timestamp,
        after: Option<(Timestamp, u16)>,
        limit: usize,
    ) -> Result<Vec<Reading>, HistoryError> {
        let from = after.map_or(from, |(at, _)| at.max(from)).micros();
        let to = to.micros();
        let (memory, blocks) = self.view(point, from, to);
        let mut out = Vec::new();
        for (metas, memory) in Walk::new(&blocks, &memory) {
            if out.len() >= limit {
                break;
            }
            let mut rows = self.window(point, metas, memory, from, to)?;
            newest_only(&mut rows);
            rows.retain(|r| after.is_none_or(|seen| (r.event_at, r.revision) > seen));
            rows.truncate(limit - out.len());
            if out.is_empty() { out = rows } else { out.append(&mut rows) }
        }
        Ok(out)
    }

    /// Every revision of one instant, oldest first.
    ///
    /// # Errors
    /// I/O, damage.
    pub fn revisions(&self, point: PointId, event_at: Timestamp) -> Result<Vec<Reading>, HistoryError> {
        let at = event_at.micros();
        let (memory, blocks) = self.view(point, at, at + 1);
        let mut rows = Vec::new();
        for meta in blocks.iter().flat_map(|g| &g.metas) {
            let directory = self.shared.directory(meta)?;
            let Some(entry) = directory.point(point).filter(|e| e.first_at <= at && e.last_at >= at) else { continue };
            let section = self.shared.cached_section(meta, &entry.place, || {
                let mut all = Vec::new();
                self.decode(meta, &directory, entry, &mut all)?;
                Ok(all)
            })?;
            let (a, b) = (section.partition_point(|r| r.event_at < event_at), section.partition_point(|r| r.event_at <= event_at));
            rows.extend_from_slice(&section[a..b]);
        }
        rows.extend(memory);
        settle(&mut rows);
        Ok(rows)
    }

    /// The newest revision at exactly `event_at`. Costs nothing for an instant newer than the point's newest.
    ///
    /// # Errors
    /// I/O, damage.
    pub fn at(&self, point: PointId, event_at: Timestamp) -> Result<Option<Reading>, HistoryError> {
        {
            let state = self.shared.state();
            match state.points.get(&point) {
                None => return Ok(None),
                Some(slot) if slot.last.event_at < event_at => return Ok(None),
                Some(slot) if slot.last.event_at == event_at => return Ok(Some(slot.last)),
                Some(_) => {}
            }
        }
        Ok(self.revisions(point, event_at)?.pop())
    }

    /// The reading with the greatest `event_at`, its newest revision, from memory.
    pub fn latest(&self, point: PointId) -> Option<Reading> {
        self.shared.state().points.get(&point).map(|slot| slot.last)
    }

    /// [`Reader::latest`] of many points under one lock, in the order asked.
    pub fn latest_of(&self, points: &[PointId]) -> Vec<Option<Reading>> {
        let state = self.shared.state();
        points.iter().map(|p| state.points.get(p).map(|slot| slot.last)).collect()
    }

    /// Positions with `from <= event_at < to`, oldest first, at most `limit`, beginning behind `after`.
    ///
    /// # Errors
    /// I/O, damage.
    pub fn positions(
        &self,
        vehicle: VehicleId,
        from: Timestamp,
        to: Timestamp,
        after: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<Position>, HistoryError> {
        let from = after.map_or(from, |at| at.plus_us(1).max(from)).micros();
        let to = to.micros();
        if from >= to || after == Some(Timestamp::MAX) {
            return Ok(Vec::new());
        }
        let (memory, blocks) = {
            let state = self.shared.state();
            let Some(slot) = state.vehicles.get(&vehicle) else { return Ok(Vec::new()) };
            let mut memory: BTreeMap<i64, Position> = BTreeMap::new();
            let sealing = state.sealing.as_ref().and_then(|f| f.vehicles.get(&vehicle));
            // The page is cut from what memory and blocks hold together; neither adds more than `limit` of its oldest.
            for head in sealing.into_iter().chain([&slot.head]) {
                memory.extend(head.rows.range(from..to).take(limit).map(|(at, p)| (*at, p.clone())));
            }
            (memory, self.groups_of(&state, &slot.shards, from.max(slot.first_at), to))
        };
        let mut found: BTreeMap<i64, Position> = BTreeMap::new();
        for group in blocks {
            if found.len() >= limit {
                break;
            }
            for meta in group.metas {
                let directory = self.shared.directory(&meta)?;
                let Some(entry) = directory.vehicle(vehicle).filter(|e| e.first_at < to && e.last_at >= from) else { continue };
                let bytes = self.shared.raw_section(&meta, &entry.place)?;
                let rows = section_positions(&bytes).ok_or_else(|| self.shared.undecodable(&meta, &entry.place))?;
                found.extend(rows.into_iter().map(|p| (p.event_at.micros(), p)).filter(|(at, _)| (from..to).contains(at)));
            }
        }
        found.extend(memory);
        Ok(found.into_values().take(limit).collect())
    }

    /// The position at exactly `event_at`.
    ///
    /// # Errors
    /// I/O, damage.
    pub fn position_at(&self, vehicle: VehicleId, event_at: Timestamp) -> Result<Option<Position>, HistoryError> {
        {
            let state = self.shared.state();
            match state.vehicles.get(&vehicle) {
                None => return Ok(None),
                Some(slot) if slot.last.event_at < event_at => return Ok(None),
                Some(slot) if slot.last.event_at == event_at => return Ok(Some(slot.last.clone())),
                Some(_) => {}
            }
        }
        Ok(self.positions(vehicle, event_at, event_at.plus_us(1), None, 1)?.pop())
    }

    /// The position with the greatest `event_at`, from memory.
    pub fn latest_position(&self, vehicle: VehicleId) -> Option<Position> {
        self.shared.state().vehicles.get(&vehicle).map(|slot| slot.last.clone())
    }

    /// `event_at` of the oldest and the newest reading.
    pub fn range(&self, point: PointId) -> Option<(Timestamp, Timestamp)> {
        self.shared.state().points.get(&point).map(|slot| (Timestamp::from_micros(slot.first_at), slot.last.event_at))
    }

    /// `event_at` of the oldest and the newest position.
    pub fn position_range(&self, vehicle: VehicleId) -> Option<(Timestamp, Timestamp)> {
        self.shared.state().vehicles.get(&vehicle).map(|slot| (Timestamp::from_micros(slot.first_at), slot.last.event_at))
    }

    /// The first record that is still in the log; behind the last durable one if there is none.
    pub fn first_in_log(&self) -> Lsn {
        let state = self.shared.state();
        state.segments.first().map_or(state.durable.next(), |s| s.first)
    }

    /// Says what the record is: another record under this number, of another log or of this one after a restore, says something else.
    ///
    /// # Errors
    /// [`HistoryError::NotInLog`], I/O, damage.
    pub fn tag(&self, lsn: Lsn) -> Result<u64, HistoryError> {
        let mut follow = Follow::new(Arc::clone(&self.shared), Lsn(lsn.0.saturating_sub(1)));
        let found = follow.next_with(|_| true, |header, _| Some(header.crc)).transpose()?;
        match found {
            Some((at, crc)) if at == lsn => Ok(tag(self.shared.seed, crc)),
            _ => Err(HistoryError::NotInLog { wanted: lsn, first: self.first_in_log(), last: self.durable() }),
        }
    }

    /// The last durable record.
    pub fn durable(&self) -> Lsn {
        self.shared.state().durable
    }

    /// The newest seal whose readings of the day that begins at `day` are in blocks; 0 if there are none. Whoever has copied the day up to
    /// this rank has everything of it as long as the rank stays the same and nothing of the day is in memory.
    pub fn day_rank(&self, day: Timestamp) -> u64 {
        let (from, to) = (day.micros(), day.plus_us(self.shared.day_us()).micros());
        let state = self.shared.state();
        let groups = groups(state.blocks.values(), self.shared.day_us(), from, to);
        groups.iter().flat_map(|g| &g.metas).map(|m| m.rank).max().unwrap_or(0)
    }

    /// Sizes and counts.
    pub fn stats(&self) -> Stats {
        let state = self.shared.state();
        let frozen = state.sealing.as_ref();
        Stats {
            log_bytes: state.segments.iter().map(|s| s.len).sum(),
            head_readings: state.head_readings + frozen.map_or(0, |f| f.readings),
            head_positions: state.head_positions + frozen.map_or(0, |f| f.positions),
            points: state.points.len() as u64,
            vehicles: state.vehicles.len() as u64,
            segments: state.segments.len() as u64,
            lsn: state.durable,
            sealed_lsn: state.covered,
            ..state.sealed
        }
    }
}

/// What tells a record from any other: the directory's id and the checksum of its frame.
fn tag(seed: u32, crc: u32) -> u64 {
    u64::from(seed) << 32 | u64::from(crc)
}

/// Walks groups of blocks, and the rows in memory that lie in and between them, oldest first.
pub(crate) struct Walk<'a> {
    groups: &'a [Group],
    memory: &'a [Reading],
}

impl<'a> Walk<'a> {
    pub(crate) fn new(groups: &'a [Group], memory: &'a [Reading]) -> Self {
        Self { groups, memory }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = (&'a [Arc<BlockMeta>], &'a [Reading]);
    fn next(&mut self) -> Option<Self::Item> {
        let first = self.memory.first().map(|r| r.event_at.micros());
        let (metas, end) = match self.groups.split_first() {
            Some((group, later)) if first.is_none_or(|at| at >= group.start) => {
                self.groups = later;
                (group.metas.as_slice(), group.end)
            }
            Some((group, _)) => (&[][..], group.start),
            None if first.is_some() => (&[][..], i64::MAX),
            None => return None,
        };
        let n = self.memory.partition_point(|r| r.event_at.micros() < end);
        let (now, later) = self.memory.split_at(n);
        self.memory = later;
        Some((metas, now))
    }
}

// ---- following the log -------------------------------------------------------------------------------------------------------------------

/// Bytes read from the log at once.
const READ_AHEAD: u64 = 256 << 10;

/// A place in the log.
#[derive(Debug)]
struct Follow {
    shared: Arc<Shared>,
    /// The last record handed out.
    after: Lsn,
    place: Option<Place>,
    failed: bool,
}

#[derive(Debug)]
struct Place {
    path: PathBuf,
    file: File,
    /// Durable bytes of the segment.
    len: u64,
    offset: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
}

impl Place {
    /// The `n` bytes at the current offset.
    fn bytes(&mut self, n: usize) -> Result<&[u8]> {
        let end = self.offset + n as u64;
        if end > self.len {
            return Err(HistoryError::damaged(&self.path, self.offset, "a record reaches beyond the durable end of the segment"));
        }
        if self.offset < self.buffer_at || end > self.buffer_at + self.buffer.len() as u64 {
            let want = (self.len - self.offset).min(READ_AHEAD.max(n as u64));
            self.buffer.resize(want as usize, 0);
            self.file.read_exact_at(&mut self.buffer, self.offset).at("read", &self.path)?;
            self.buffer_at = self.offset;
        }
        let start = (self.offset - self.buffer_at) as usize;
        Ok(&self.buffer[start..start + n])
    }
}

impl Follow {
    fn new(shared: Arc<Shared>, after: Lsn) -> Self {
        Self { shared, after, place: None, failed: false }
    }

    /// Goes to the segment that holds `wanted`; stays where it is if it is there already.
    fn seek(&mut self, wanted: Lsn) -> Result<()> {
        let state = self.shared.state();
        let i = state.segments.partition_point(|s| s.first <= wanted);
        let Some(segment) = i.checked_sub(1).map(|i| &state.segments[i]) else {
            let first = state.segments.first().map_or(state.durable.next(), |s| s.first);
            return Err(HistoryError::NotInLog { wanted, first, last: state.durable });
        };
        if let Some(place) = &mut self.place
            && place.path == segment.path
        {
            place.len = segment.len;
            return Ok(());
        }
        let (path, len, (_, offset)) = (segment.path.clone(), segment.len, segment.near(wanted));
        drop(state);
        let file = File::open(&path).at("open", &path)?;
        self.place = Some(Place { path, file, len, offset, buffer: Vec::new(), buffer_at: 0 });
        Ok(())
    }

    /// The next durable record's header and what `take` makes of its frame; `None` at the end. `wants` steps over records unread.
    fn next_with<T>(&mut self, wants: impl Fn(&Header) -> bool, take: impl Fn(&Header, &[u8]) -> Option<T>) -> Option<Result<(Lsn, T)>> {
        if self.failed {
            return None;
        }
        let mut step = || -> Result<Option<(Lsn, T)>> {
            let durable = self.shared.state().durable;
            while self.after < durable {
                let wanted = self.after.next();
                if self.place.as_ref().is_none_or(|p| p.offset >= p.len) {
                    self.seek(wanted)?;
                }
                let seed = self.shared.seed;
                let Some(place) = &mut self.place else { return Ok(None) };
                let (path, offset) = (place.path.clone(), place.offset);
                let damaged = |what: &str| HistoryError::damaged(&path, offset, what);
                let header = Header::parse(place.bytes(frame::HEADER)?).ok_or_else(|| damaged("a record does not begin here"))?;
                if header.lsn > wanted {
                    return Err(damaged("a record is missing"));
                }
                if header.lsn < wanted || !wants(&header) {
                    place.offset += header.len as u64;
                    self.after = self.after.max(header.lsn);
                    continue;
                }
                let bytes = place.bytes(header.len)?;
                if !header.holds(bytes, seed) {
                    return Err(damaged("a record does not pass its checksum"));
                }
                let taken = take(&header, bytes).ok_or_else(|| damaged("a record cannot be decoded"))?;
                place.offset += header.len as u64;
                self.after = wanted;
                return Ok(Some((wanted, taken)));
            }
            Ok(None)
        };
        let result = step();
        self.failed = result.is_err();
        result.transpose()
    }
}

/// Durable records in log order. Ends at the last durable one; a later `next` goes on from there. After an error it stays ended.
#[derive(Debug)]
pub struct Tail {
    follow: Follow,
    tag: u64,
}

impl Tail {
    /// [`Reader::tag`] of the record handed out last; 0 before the first.
    pub fn tag(&self) -> u64 {
        self.tag
    }
}

impl Iterator for Tail {
    type Item = Result<(Lsn, Record), HistoryError>;
    fn next(&mut self) -> Option<Self::Item> {
        let found = self.follow.next_with(|_| true, |header, bytes| Some((header.crc, header.decode(bytes)?)))?;
        Some(found.map(|(lsn, (crc, record))| {
            self.tag = tag(self.follow.shared.seed, crc);
            (lsn, record)
        }))
    }
}

/// Durable records that carry notes, in log order; readings are stepped over by length. Otherwise like [`Tail`].
#[derive(Debug)]
pub struct TailNotes {
    follow: Follow,
}

impl TailNotes {
    /// The record up to which everything has been looked at: what a projection may call done once it has applied what came out.
    pub fn seen(&self) -> Lsn {
        self.follow.after
    }
}

impl Iterator for TailNotes {
    type Item = Result<Note, HistoryError>;
    fn next(&mut self) -> Option<Self::Item> {
        let found =
            self.follow.next_with(|h| h.notes > 0, |header, bytes| Some((header.shard, header.now, header.notes(bytes)?.to_vec())))?;
        Some(found.map(|(lsn, (shard, now, notes))| Note { lsn, shard, now, notes }))
    }
}

/// Durable records that carry positions, in log order: number, domain time and positions of each. Otherwise like [`TailNotes`].
#[derive(Debug)]
pub struct TailPositions {
    follow: Follow,
}

impl TailPositions {
    /// The record up to which everything has been looked at.
    pub fn seen(&self) -> Lsn {
        self.follow.after
    }
}

impl Iterator for TailPositions {
    type Item = Result<(Lsn, Timestamp, Vec<Position>), HistoryError>;
    fn next(&mut self) -> Option<Self::Item> {
        let found = self.follow.next_with(|h| h.positions > 0, |header, bytes| Some((header.now, header.positions(bytes)?)))?;
        Some(found.map(|(lsn, (now, positions))| (lsn, now, positions)))
    }
}
