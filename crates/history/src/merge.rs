//! Merging in the background: a shard's blocks of an hour into one, the hours of a finished day into one with the day's rollup, and what
//! came late for it folded in. One [`Keeper::step`] is one new file of about [`STEP_BYTES`].
//!
//! The order that makes a power cut harmless: the new file is synced under its name, then one manifest row lists it and takes the old blocks
//! away, synced, then memory changes, and only then are the old files removed, once no reader holds a block of them. Cut before the row,
//! the new file is a stranger and is removed at the next open; cut after it, the old ones are.
//! Nothing here spawns, sleeps or reads a clock. Start at [`Keeper::step`].

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::sync::Arc;

use anlan_model::{PointId, Position, Reading, Timestamp, VehicleId};

use crate::block::{BlockId, BlockMeta, Content, Directory, FileWriter, Window, section_positions};
use crate::columns::{Arrivals, Packing, decode_series};
use crate::error::{At, Result};
use crate::head::settle;
use crate::manifest::{Kind, Row};
use crate::retention::{Going, LOOKS, Watch};
use crate::rollup::{Builder, Chunk, HourRow, Rollups, hours_of};
use crate::state::{Shared, State};
use crate::write::Writer;
use crate::{HistoryError, Lsn};

/// Bytes of blocks taken into one step; a single larger block is a step of its own.
pub(crate) const STEP_BYTES: u64 = 64 << 20;
/// How long after its end an hour may still be filling: the shards' reorder windows and slow gateways.
const HOUR_SETTLES_US: i64 = 10 * 60_000_000;
/// The same for a day.
const DAY_SETTLES_US: i64 = 60 * 60_000_000;
/// Blocks of one hour that are merged at once; fewer wait for [`LATE_WAITS_US`].
const HOUR_BLOCKS: usize = 4;
/// Late blocks of a merged day that are folded in at once; fewer wait for [`LATE_WAITS_US`], so that a trickle does not rewrite days.
const LATE_BLOCKS: usize = 16;
/// How long late blocks wait for company.
const LATE_WAITS_US: i64 = 6 * 60 * 60_000_000;

/// How eagerly [`Keeper::step`] merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// As in daily work: late data waits for company.
    Calm,
    /// Whatever can be merged, now.
    Eager,
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Blocks taken away.
    pub blocks_before: u64,
    /// Blocks written, rollups counted.
    pub blocks_after: u64,
    /// Bytes of the blocks taken away.
    pub bytes_before: u64,
    /// Bytes of the file written.
    pub bytes_after: u64,
    /// Readings written.
    pub readings: u64,
}

/// The hand that merges, thins out and tidies, beside the [`Writer`]. It keeps the directory owned while it lives.
#[derive(Debug)]
pub struct Keeper {
    pub(crate) shared: Arc<Shared>,
    /// Blocks of days that retention may reach, and in which version of the policy of that lane and at which age they were looked at last.
    pub(crate) looked_at: HashMap<(u8, BlockId), (u64, i64)>,
    /// Directories looked at in one step.
    pub(crate) looks: usize,
    _lock: Arc<File>,
}

impl Writer {
    /// A hand for the background work. There should be one, in a thread of its own.
    pub fn keeper(&self) -> Keeper {
        Keeper { shared: Arc::clone(&self.shared), looked_at: HashMap::new(), looks: LOOKS, _lock: Arc::clone(&self.lock) }
    }
}

/// Per shard, its blocks, lowest rank first.
pub(crate) type PerShard = Vec<(u16, Vec<Arc<BlockMeta>>)>;

/// Blocks of several shards that become one file.
#[derive(Debug)]
struct Job {
    start: i64,
    span: i64,
    shards: PerShard,
}

impl Keeper {
    /// Does the next piece of merging that is due at `now`; `None` if there is none. Files without a listed block are removed on the way,
    /// and the manifest is written anew when most of it is history.
    ///
    /// # Errors
    /// I/O, damage of a block to be merged: what is listed stays as it was.
    pub fn step(&mut self, now: Timestamp, haste: Haste) -> Result<Option<Merged>, HistoryError> {
        self.shared.remove_unheld()?;
        self.compact_manifest()?;
        let job = plan(&self.shared.state(), self.shared.window_us, self.shared.day_us(), now, haste);
        let done = match job {
            Some(job) => Some(self.merge(&job, now)?),
            None => self.gather(now)?,
        };
        self.shared.remove_unheld()?;
        Ok(done)
    }

    /// Copies the blocks that still count out of a file that is mostly taken away, byte for byte: a stray reading of the next hour must not
    /// keep the bytes of the last one.
    fn gather(&self, now: Timestamp) -> Result<Option<Merged>> {
        let shared = &*self.shared;
        let found = shared.state().files.iter().find_map(|(seq, file)| {
            let live: u64 = file.blocks.iter().map(|b| b.bytes()).sum();
            // Head and index are small beside any block worth copying.
            (live * 2 + 4_096 < file.len).then(|| (*seq, file.len, file.blocks.clone()))
        });
        let Some((_, len, mut blocks)) = found else { return Ok(None) };
        blocks.sort_by_key(|b| b.data_off);
        let seq = shared.manifest().reserve();
        let mut file = FileWriter::create(&shared.dir, shared.seed, seq)?;
        for meta in &blocks {
            file.copy(meta, &shared.block_bytes(meta)?)?;
        }
        let covered = shared.state().covered;
        let (file_len, written) = file.finish(covered, shared.window_us)?.unwrap_or_default();
        let n = blocks.len() as u64;
        let readings = blocks.iter().map(|b| b.readings).sum();
        let gone = blocks.iter().map(|b| b.id()).collect();
        shared.change(Row { kind: Kind::Change, seq, covered: Lsn::ZERO, at: now, file_len, blocks: written, gone })?;
        Ok(Some(Merged { blocks_before: n, blocks_after: n, bytes_before: len, bytes_after: file_len, readings }))
    }

    fn compact_manifest(&self) -> Result<()> {
        let mut manifest = self.shared.sure_manifest()?;
        if !manifest.is_mostly_history() {
            return Ok(());
        }
        self.shared.rewrite(&mut manifest)
    }

    fn merge(&self, job: &Job, now: Timestamp) -> Result<Merged> {
        let shared = &*self.shared;
        let seq = shared.manifest().reserve();
        let mut file = FileWriter::create(&shared.dir, shared.seed, seq)?;
        let mut gone: Vec<BlockId> = Vec::new();
        let mut done = Merged::default();
        for (shard, metas) in &job.shards {
            let rank = metas.iter().map(|m| m.rank).max().unwrap_or(seq);
            let window = Window { shard: *shard, content: Content::Data, start: job.start, span: job.span, rank };
            let rollups = (job.span > shared.window_us).then(|| shared.rollups_at(*shard, job.start));
            done.readings += merge_shard(shared, &mut file, window, metas, rollups.as_deref(), &Whole)?.readings;
            for meta in metas.iter().chain(rollups.iter().flatten()) {
                gone.push(meta.id());
                done.blocks_before += 1;
                done.bytes_before += meta.bytes();
            }
        }
        let covered = shared.state().covered;
        let (file_len, blocks) = file.finish(covered, shared.window_us)?.unwrap_or_default();
        (done.blocks_after, done.bytes_after) = (blocks.len() as u64, file_len);
        shared.change(Row { kind: Kind::Change, seq, covered: Lsn::ZERO, at: now, file_len, blocks, gone })?;
        Ok(done)
    }
}

/// The next job, oldest window first.
fn plan(state: &State, window_us: i64, day_us: i64, now: Timestamp, haste: Haste) -> Option<Job> {
    let now = now.micros();
    let quiet = |metas: &[&Arc<BlockMeta>], many: usize| {
        let newest = metas.iter().filter_map(|m| state.files.get(&m.seq)).map(|f| f.at.micros()).max().unwrap_or(i64::MIN);
        haste == Haste::Eager || metas.len() >= many || newest.saturating_add(LATE_WAITS_US) <= now
    };
    let closed = |end: i64, settles: i64| end.saturating_add(if haste == Haste::Eager { 0 } else { settles }) <= now;
    let mut jobs: BTreeMap<(i64, i64), PerShard> = BTreeMap::new();
    for (shard, windows) in &state.blocks {
        let all: Vec<&Arc<BlockMeta>> = windows.values().flatten().collect();
        for day in all.chunk_by(|a, b| a.start.div_euclid(day_us) == b.start.div_euclid(day_us)) {
            let start = day[0].start.div_euclid(day_us) * day_us;
            let merged = day.iter().any(|m| m.span == day_us);
            let day_due = if merged { day.len() > 1 && quiet(day, LATE_BLOCKS + 1) } else { day_us > window_us };
            let mut add = |start: i64, span: i64, metas: &[&Arc<BlockMeta>]| {
                let mut metas: Vec<Arc<BlockMeta>> = metas.iter().map(|m| Arc::clone(m)).collect();
                metas.sort_by_key(|m| (m.rank, m.seq));
                jobs.entry((start, span)).or_default().push((*shard, metas));
            };
            if day_due && closed(start.saturating_add(day_us), DAY_SETTLES_US) {
                add(start, day_us, day);
            } else if !merged || day_us == window_us {
                for hour in day.chunk_by(|a, b| a.start == b.start) {
                    if hour.len() > 1 && closed(hour[0].end(), HOUR_SETTLES_US) && quiet(hour, HOUR_BLOCKS) {
                        add(hour[0].start, hour[0].span, hour);
                    }
                }
            }
        }
    }
    let ((start, span), mut shards) = jobs.pop_first()?;
    let mut bytes = 0;
    let fits = shards.iter().take_while(|(_, metas)| {
        let begun = bytes > 0;
        bytes += metas.iter().map(|m| m.bytes()).sum::<u64>();
        !begun || bytes <= STEP_BYTES
    });
    let n = fits.count();
    shards.truncate(n);
    Some(Job { start, span, shards })
}

/// Blocks with their directories, lowest rank first.
type Sources<'a> = Vec<(&'a BlockMeta, Directory)>;

/// What is left out of a block because its time is over.
pub(crate) trait Thin {
    fn drops_point(&self, point: PointId) -> bool;
    fn drops_vehicle(&self, vehicle: VehicleId) -> bool;
    /// Who wants to see what goes.
    fn watch(&self) -> Option<&Watch>;
}

/// Nothing is.
struct Whole;

impl Thin for Whole {
    fn drops_point(&self, _: PointId) -> bool {
        false
    }
    fn drops_vehicle(&self, _: VehicleId) -> bool {
        false
    }
    fn watch(&self) -> Option<&Watch> {
        None
    }
}

/// Readings and positions of one shard's window, kept and left out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) readings: u64,
    pub(crate) dropped_readings: u64,
    pub(crate) dropped_positions: u64,
}

/// Writes the block of one shard made of `metas`, and the rollup of its day if `rollups` (those so far) are given.
pub(crate) fn merge_shard(
    shared: &Shared,
    file: &mut FileWriter,
    window: Window,
    metas: &[Arc<BlockMeta>],
    rollups: Option<&[Arc<BlockMeta>]>,
    thin: &dyn Thin,
) -> Result<Kept> {
    let mut sources: Sources<'_> = Vec::with_capacity(metas.len());
    for meta in metas {
        sources.push((meta, shared.load_directory(meta)?));
    }
    // An hour is written once more with its day, which is read for years.
    let packing = if window.span > shared.window_us { Packing::Dense } else { Packing::Quick };
    // A block already merged that is only thinned out keeps its sections byte for byte.
    let as_is = matches!(sources.as_slice(), [(meta, _)] if meta.span == window.span);
    let arrivals = if as_is { sources[0].1.arrivals.clone() } else { arrivals(shared, &sources)? };
    let mut points: Vec<PointId> = sources.iter().flat_map(|(_, d)| d.points.iter().map(|e| e.point)).collect();
    points.sort_unstable();
    points.dedup();
    let mut vehicles: Vec<VehicleId> = sources.iter().flat_map(|(_, d)| d.vehicles.iter().map(|e| e.vehicle)).collect();
    vehicles.sort_unstable();
    vehicles.dedup();
    let mut before = Before::open(shared, rollups.unwrap_or_default())?;
    let mut builder = Builder::new(shared.seed, window.start);
    let mut kept = Kept::default();
    // The path for messages is borrowed with the file: what fails in between is told behind the loop.
    let mut failed: std::io::Result<()> = Ok(());
    let mut building = file.begin(arrivals);
    let mut rows: Vec<Reading> = Vec::new();
    for point in points {
        let drops = thin.drops_point(point);
        let stood = if rollups.is_some() { before.reach(shared, point, &mut builder)? } else { None };
        if as_is
            && let Some(entry) = sources[0].1.point(point)
            && (rollups.is_none() || stood.is_some())
        {
            if drops {
                kept.dropped_readings += u64::from(entry.count);
                if let Some(watch) = thin.watch() {
                    rows.clear();
                    let bytes = shared.section(sources[0].0, &entry.place)?;
                    decode_series(&bytes, point, sources[0].1.arrivals.as_ref(), &mut rows)
                        .ok_or_else(|| shared.undecodable(sources[0].0, &entry.place))?;
                    watch(Going::Readings(&rows));
                }
            } else {
                let bytes = shared.raw_section(sources[0].0, &entry.place)?;
                failed = failed.and_then(|()| building.copy_point(shared.seed, entry, &bytes));
            }
            if let Some(Stood { hours, closed }) = stood {
                show_hours(thin, point, &hours, drops && !closed);
                failed = failed.and_then(|()| builder.add(point, hours, closed || drops));
            }
            continue;
        }
        rows.clear();
        for (meta, directory) in &sources {
            let Some(entry) = directory.point(point) else { continue };
            let bytes = shared.section(meta, &entry.place)?;
            decode_series(&bytes, point, directory.arrivals.as_ref(), &mut rows).ok_or_else(|| shared.undecodable(meta, &entry.place))?;
        }
        settle(&mut rows);
        if rows.is_empty() {
            continue;
        }
        if drops {
            kept.dropped_readings += rows.len() as u64;
            if let Some(watch) = thin.watch() {
                watch(Going::Readings(&rows));
            }
        } else {
            failed = failed.and_then(|()| building.add_point(shared.seed, &rows, packing));
        }
        if rollups.is_some() {
            let mut hours = hours_of(&rows);
            let mut closed = false;
            if let Some(stood) = stood.filter(|s| s.closed) {
                // Its readings of the day were dropped before these came: what was said of an hour then stands.
                closed = true;
                hours.retain(|h| stood.hours.iter().all(|s| s.at != h.at));
                hours.extend(stood.hours);
                hours.sort_by_key(|h| h.at);
            }
            show_hours(thin, point, &hours, drops && !closed);
            failed = failed.and_then(|()| builder.add(point, hours, closed || drops));
        }
    }
    for vehicle in vehicles {
        let mut rows: BTreeMap<i64, Position> = BTreeMap::new();
        for (meta, directory) in &sources {
            let Some(entry) = directory.vehicle(vehicle) else { continue };
            let found =
                section_positions(&shared.raw_section(meta, &entry.place)?).ok_or_else(|| shared.undecodable(meta, &entry.place))?;
            rows.extend(found.into_iter().map(|p| (p.event_at.micros(), p)));
        }
        if thin.drops_vehicle(vehicle) {
            kept.dropped_positions += rows.len() as u64;
            continue;
        }
        let rows: Vec<Position> = rows.into_values().collect();
        if !rows.is_empty() {
            failed = failed.and_then(|()| building.add_vehicle(shared.seed, &rows));
        }
    }
    let (_, built) = building.built();
    file.at(failed)?;
    if !built.is_empty() {
        file.close(window, built.len, &built.dir.encode(window.start), built.readings, built.positions)?;
    }
    kept.readings = built.readings;
    if rollups.is_some() {
        before.rest(shared, &mut builder)?;
        let finished = builder.finish();
        if let Some((data, directory)) = file.at(finished)? {
            file.write(&data)?;
            file.close(Window { content: Content::Rollup, ..window }, data.len() as u64, &directory, 0, 0)?;
        }
    }
    Ok(kept)
}

/// Hours that stand for readings from now on; what comes late for a day that went before changes none of them.
fn show_hours(thin: &dyn Thin, point: PointId, hours: &[HourRow], go_now: bool) {
    if let Some(watch) = thin.watch().filter(|_| go_now) {
        hours.iter().for_each(|hour| watch(Going::Hour(point, hour.sum())));
    }
}

/// The arrival instants of all sources, so that sections can go on naming them by index. Blocks without an index are those whose readings
/// arrived one by one; the few of a late block are taken in, so that they do not cost everybody else the index.
fn arrivals(shared: &Shared, sources: &Sources<'_>) -> Result<Option<Arrivals>> {
    let readings: u64 = sources.iter().map(|(m, _)| m.readings).sum();
    let mut instants: Vec<i64> = Vec::new();
    let mut without = 0;
    for (meta, directory) in sources {
        match &directory.arrivals {
            Some(arrivals) => instants.extend_from_slice(arrivals.instants()),
            None => without += meta.readings,
        }
    }
    if without * 8 > readings {
        return Ok(None);
    }
    for (meta, directory) in sources.iter().filter(|(_, d)| d.arrivals.is_none()) {
        for entry in &directory.points {
            let mut rows = Vec::new();
            decode_series(&shared.section(meta, &entry.place)?, entry.point, None, &mut rows)
                .ok_or_else(|| shared.undecodable(meta, &entry.place))?;
            instants.extend(rows.iter().map(|r| r.received_at.micros()));
        }
    }
    Ok(Arrivals::build(instants, usize::try_from(readings).unwrap_or(usize::MAX)))
}

/// What stood in the rollup so far.
struct Stood {
    hours: Vec<HourRow>,
    /// Its readings of the day were dropped since.
    closed: bool,
}

/// The rollup so far of the day being merged, read chunk by chunk in point order.
struct Before {
    /// The newest rollup of the day; there are others only after a repair.
    block: Option<(Arc<BlockMeta>, Rollups)>,
    next: usize,
    held: Option<(usize, Chunk)>,
}

impl Before {
    fn open(shared: &Shared, rollups: &[Arc<BlockMeta>]) -> Result<Self> {
        let block = match rollups.last() {
            Some(meta) => Some((Arc::clone(meta), shared.load_rollups(meta)?)),
            None => None,
        };
        Ok(Self { block, next: 0, held: None })
    }

    fn at_next(&mut self, shared: &Shared) -> Result<Option<(PointId, Stood)>> {
        let Some((meta, rollups)) = &self.block else { return Ok(None) };
        let Some(point) = rollups.points.get(self.next).copied() else { return Ok(None) };
        let Some((chunk, i)) = rollups.find(point) else { return Ok(None) };
        if self.held.as_ref().is_none_or(|(held, _)| *held != chunk) {
            self.held = Some((chunk, shared.rollup_chunk(meta, rollups, chunk)?));
        }
        let stood = self.held.as_mut().and_then(|(_, rows)| rows.get_mut(i)).map(std::mem::take).unwrap_or_default();
        Ok(Some((point, Stood { closed: stood.0, hours: stood.1 })))
    }

    /// Hands on what stands for points before `point`, and returns what stood for it.
    fn reach(&mut self, shared: &Shared, point: PointId, builder: &mut Builder) -> Result<Option<Stood>> {
        loop {
            let there = self.block.as_ref().and_then(|(_, r)| r.points.get(self.next)).copied();
            if there.is_none_or(|p| p > point) {
                return Ok(None);
            }
            let Some((at, stood)) = self.at_next(shared)? else { return Ok(None) };
            self.next += 1;
            if at == point {
                return Ok(Some(stood));
            }
            self.hand_on(shared, at, stood, builder)?;
        }
    }

    /// Hands on what stands for all points not reached yet.
    fn rest(&mut self, shared: &Shared, builder: &mut Builder) -> Result<()> {
        while let Some((at, stood)) = self.at_next(shared)? {
            self.next += 1;
            self.hand_on(shared, at, stood, builder)?;
        }
        Ok(())
    }

    fn hand_on(&self, shared: &Shared, point: PointId, stood: Stood, builder: &mut Builder) -> Result<()> {
        // No block of the day holds a reading of it any more.
        builder.add(point, stood.hours, true).at("compress", &shared.dir)
    }
}
