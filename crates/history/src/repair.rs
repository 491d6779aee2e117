//! Repair of a stopped history: what is damaged is put aside, what is sound is kept, what the log still holds is written anew, and what is
//! lost is named. Nothing is ever deleted: every file that was replaced lies in `damaged/`.
//!
//! - A lost or damaged **manifest** is made again from the block files, which say everything about themselves.
//! - Of a damaged **block file** the sound blocks and the sound sections of the others are copied into a new file; what is missing then is
//!   looked for in the log.
//! - A damaged **table of last values** is put aside and computed by the next open; a damaged **checkpoint** is put aside if the other one
//!   is sound.
//! - Damage inside the **log** is left as it is and told: nobody can say what stood there. A backup can.
//!
//! Each change is one manifest row, as in a merge. Start at [`repair`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use anlan_model::{PointId, Position, Reading, Timestamp, VehicleId};

use crate::block::{self, BlockMeta, Content, Directory, FileIndex, FileWriter, section_positions};
use crate::columns::decode_series;
use crate::disk::{self, CHECKPOINT, CHECKPOINT_BEFORE, MANIFEST, block_path, crc, last_path, log_path};
use crate::error::{At, Result};
use crate::last::Table;
use crate::manifest::{self, Kind, Listed, Manifest, Row, Sealed};
use crate::rollup::Rollups;
use crate::squeeze::inflate;
use crate::state::State;
use crate::verify::{Finding, verify};
use crate::write::take_lock;
use crate::{HistoryError, Lsn, Options, checkpoint, log};

const DAMAGED: &str = "damaged";

/// Readings or positions that a repair could not find again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// `point 17`, `vehicle 4`, `shard 9`, `rollups of shard 9`.
    pub what: String,
    /// Start of the period that may be incomplete.
    pub from: Timestamp,
    /// Its end, exclusive.
    pub to: Timestamp,
    /// Readings or positions that stood there; hours for rollups are not counted.
    pub had: u64,
    /// Of them found in the log.
    pub found: u64,
}

/// What [`repair`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// Done, in order.
    pub done: Vec<String>,
    /// Left as it is.
    pub left: Vec<Finding>,
    /// What is gone, period by period; entries with `found == had` were recovered whole and are left out.
    pub lost: Vec<Lost>,
    /// Readings and positions written anew from the log.
    pub recovered: u64,
    /// First record of the log: what came before it cannot be found there.
    pub log_from: Option<Lsn>,
}

impl fmt::Display for RepairReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for done in &self.done {
            writeln!(f, "done: {done}")?;
        }
        for one in &self.left {
            writeln!(f, "left as it is: {} at byte {}: {}", one.file.display(), one.offset, one.what)?;
        }
        for lost in &self.lost {
            writeln!(f, "lost: {} from {} to {}: {} of {}", lost.what, lost.from, lost.to, lost.had - lost.found.min(lost.had), lost.had)?;
        }
        match (self.done.is_empty(), self.lost.is_empty() && self.left.is_empty()) {
            (true, true) => f.write_str("nothing to repair"),
            (_, true) => write!(f, "repaired, {} readings and positions written anew from the log, nothing lost", self.recovered),
            _ => write!(f, "{} readings and positions written anew from the log; NOT WHOLE, see above", self.recovered),
        }
    }
}

/// Something of a block that could not be read.
#[derive(Debug)]
struct Hole {
    shard: u16,
    start: i64,
    end: i64,
    had: u64,
    /// Of whom; everything of the block otherwise.
    who: Option<Who>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Point(PointId),
    Vehicle(VehicleId),
}

/// Repairs the stopped history in `dir`. Run [`crate::verify`] before and after.
///
/// # Errors
/// [`HistoryError::Locked`] if a process has it open; I/O; [`HistoryError::Version`] for files of a newer release.
pub fn repair(dir: &Path) -> Result<RepairReport, HistoryError> {
    let _lock = take_lock(dir)?;
    let mut report = RepairReport { log_from: disk::numbered(dir, "log")?.first().map(|first| Lsn(*first)), ..RepairReport::default() };
    let mut manifest = match manifest::load(dir) {
        Ok(Some(manifest)) => manifest,
        Ok(None) | Err(HistoryError::Damaged { .. }) => match make_manifest(dir, &mut report)? {
            Some(manifest) => manifest,
            None => return Ok(report),
        },
        Err(other) => return Err(other),
    };
    if manifest.version < manifest::VERSION || manifest.torn {
        let files = std::mem::take(&mut manifest.files);
        manifest::compact(dir, &mut manifest, &files)?;
        (manifest.files, manifest.torn) = (files, false);
    }
    let mut holes = Vec::new();
    for (seq, file) in manifest.files.clone() {
        mend_file(dir, &mut manifest, seq, &file, &mut holes, &mut report)?;
    }
    if !holes.is_empty() {
        fill(dir, &mut manifest, &holes, &mut report)?;
    }
    mend_rest(dir, &manifest, &mut report)?;
    for finding in verify(dir)?.damage {
        if !report.left.contains(&finding) {
            report.left.push(finding);
        }
    }
    Ok(report)
}

/// Tables and checkpoints that stand-ins exist for.
fn mend_rest(dir: &Path, manifest: &Manifest, report: &mut RepairReport) -> Result<()> {
    let mut away = |path: &Path, instead: &str| -> Result<()> {
        let to = put_aside(dir, path)?;
        fs::remove_file(path).at("remove", path)?;
        disk::sync_dir(dir)?;
        report.done.push(format!("put the damaged {} aside as {}, {instead}", path.display(), to.display()));
        Ok(())
    };
    if let Some(sealed) = manifest.sealed {
        let path = last_path(dir, sealed.seq);
        if disk::read_if_there(&path)?.is_some_and(|bytes| Table::parse(&bytes, manifest.seed).is_none()) {
            away(&path, "the next start computes it")?;
        }
    }
    let both = checkpoint::read(dir, manifest.seed)?;
    // Damaged ones are `Some(None)`; with no sound one left, it is not for us to say that the rules begin anew.
    if both.iter().any(|c| matches!(c, Some(Some(_)))) {
        for (name, found) in [CHECKPOINT, CHECKPOINT_BEFORE].iter().zip(&both) {
            if matches!(found, Some(None)) {
                away(&dir.join(name), "the other one counts")?;
            }
        }
    }
    Ok(())
}

/// A name in `damaged/` that is not taken.
fn aside(dir: &Path, path: &Path) -> Result<PathBuf> {
    let damaged = dir.join(DAMAGED);
    fs::create_dir_all(&damaged).at("create", &damaged)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let free = (0..u32::MAX).map(|n| damaged.join(if n == 0 { name.clone() } else { format!("{name}.{n}") })).find(|p| !p.exists());
    free.ok_or_else(|| std::io::Error::other("no free name")).at("name", &damaged)
}

/// Gives a file a second name in `damaged/`, durable; the first can go then.
fn put_aside(dir: &Path, path: &Path) -> Result<PathBuf> {
    let to = aside(dir, path)?;
    fs::hard_link(path, &to).at("link", path)?;
    disk::sync_dir(&dir.join(DAMAGED))?;
    disk::sync_dir(dir)?;
    Ok(to)
}

/// Makes the manifest again from the block files; `None` if there is nothing to make it from.
fn make_manifest(dir: &Path, report: &mut RepairReport) -> Result<Option<Manifest>> {
    let mut found: BTreeMap<u64, (u64, FileIndex)> = BTreeMap::new();
    let window_us = Options::default().seal_window_us;
    for seq in disk::numbered(dir, "block")? {
        let path = block_path(dir, seq);
        let bytes = fs::read(&path).at("read", &path)?;
        match block::read_frame(&bytes, seq, window_us) {
            Ok(index) => drop(found.insert(seq, (bytes.len() as u64, index))),
            Err((offset, what)) => {
                let to = put_aside(dir, &path)?;
                fs::remove_file(&path).at("remove", &path)?;
                let what = format!("{what}; which readings it held is not known, it lies in {}", to.display());
                report.left.push(Finding { file: path, offset, what });
            }
        }
    }
    let logs = disk::numbered(dir, "log")?;
    let of_log = logs.first().map(|first| log_path(dir, *first));
    let seed = match (found.values().next(), &of_log) {
        (Some((_, index)), _) => index.seed,
        (None, Some(path)) => match fs::read(path).at("read", path)?.get(8..12).and_then(|b| b.try_into().ok()) {
            Some(bytes) => u32::from_le_bytes(bytes),
            None => return Ok(None),
        },
        (None, None) => return Ok(None),
    };
    let path = dir.join(MANIFEST);
    if path.exists() {
        let to = put_aside(dir, &path)?;
        report.done.push(format!("put the damaged manifest aside as {}", to.display()));
    }
    let window_us = found.values().map(|(_, i)| i.window_us).find(|w| *w > 0).unwrap_or(window_us);
    let mut manifest = Manifest::new(seed, window_us);
    let before_log = logs.first().map_or(0, |first| first - 1);
    manifest.covered = Lsn(found.values().map(|(_, i)| i.covered.0).max().unwrap_or(0).max(before_log));
    // Rollups of one shard's day: only the newest counts. Of data the rank decides, so older blocks do no harm.
    let mut newest: BTreeMap<(u16, i64), (u64, u64)> = BTreeMap::new();
    for (seq, (_, index)) in &found {
        for b in index.blocks.iter().filter(|b| b.content == Content::Rollup) {
            let best = newest.entry((b.shard, b.start)).or_default();
            *best = (*best).max((b.rank, *seq));
        }
    }
    let n = found.len();
    for (seq, (len, index)) in found {
        let counts = |b: &BlockMeta| b.content == Content::Data || newest.get(&(b.shard, b.start)).is_some_and(|(_, best)| *best == seq);
        let blocks: Vec<BlockMeta> = index.blocks.into_iter().filter(counts).collect();
        manifest.sealed = Some(Sealed { seq, at: Timestamp::EPOCH });
        if !blocks.is_empty() {
            manifest.files.insert(seq, Listed { len, at: Timestamp::EPOCH, blocks });
        }
    }
    manifest.skip_to(disk::numbered(dir, "last")?.last().copied().unwrap_or(0).max(manifest.sealed.map_or(0, |s| s.seq)));
    let files = std::mem::take(&mut manifest.files);
    manifest::compact(dir, &mut manifest, &files)?;
    manifest.files = files;
    report.done.push(format!("made the manifest again from {n} block files, the log counts from record {}", manifest.covered.next()));
    Ok(Some(manifest))
}

/// Copies what is sound of a damaged block file into a new one.
fn mend_file(dir: &Path, manifest: &mut Manifest, seq: u64, file: &Listed, holes: &mut Vec<Hole>, report: &mut RepairReport) -> Result<()> {
    let (path, seed) = (block_path(dir, seq), manifest.seed);
    let bytes = disk::read_if_there(&path)?;
    let there = bytes.is_some();
    let bytes = bytes.unwrap_or_default();
    let part = |offset: u64, len: u64| {
        let start = usize::try_from(offset).ok()?;
        bytes.get(start..start.checked_add(usize::try_from(len).ok()?)?)
    };
    let checked = |offset: u64, len: u32, sum: u32| part(offset, u64::from(len)).filter(|b| crc(seed, b) == sum);
    let frame = block::check_frame(&bytes, seed, seq, manifest.window_us, &file.blocks);
    let mut sound = frame.is_none() && bytes.len() as u64 == file.len;
    // Looked at twice: most files are sound and nothing is written for them.
    for meta in &file.blocks {
        sound = sound && (holes_of(meta, &checked).is_empty());
    }
    if sound {
        return Ok(());
    }
    if there {
        let to = put_aside(dir, &path)?;
        report.done.push(format!("put the damaged {} aside as {}", path.display(), to.display()));
    } else {
        report.done.push(format!("{} is missing and no longer listed", path.display()));
    }
    let new_seq = manifest.reserve();
    let mut writer = FileWriter::create(dir, seed, new_seq)?;
    for meta in &file.blocks {
        let mut found = holes_of(meta, &checked);
        let whole = part(meta.data_off, meta.bytes());
        let directory = (meta.content == Content::Data)
            .then(|| checked(meta.dir_off, meta.dir_len, meta.dir_crc).and_then(|b| Directory::parse(b, meta)))
            .flatten();
        match (found.is_empty(), whole, directory) {
            (true, Some(whole), _) => writer.copy(meta, whole)?,
            (false, _, Some(directory)) => {
                let bad: BTreeSet<u64> = found.iter().filter_map(|h| h.who.map(|w| place_of(&directory, w))).collect();
                let mut building = writer.begin(directory.arrivals.clone());
                let mut failed = Ok(());
                for e in directory.points.iter().filter(|e| !bad.contains(&e.place.offset)) {
                    if let Some(bytes) = checked(e.place.offset, e.place.len, e.place.crc) {
                        failed = failed.and_then(|()| building.copy_point(seed, e, bytes));
                    }
                }
                for e in directory.vehicles.iter().filter(|e| !bad.contains(&e.place.offset)) {
                    if let Some(rows) = checked(e.place.offset, e.place.len, e.place.crc).and_then(section_positions) {
                        failed = failed.and_then(|()| building.add_vehicle(seed, &rows));
                    }
                }
                let (_, built) = building.built();
                writer.at(failed)?;
                if !built.is_empty() {
                    writer.close(meta.window(), built.len, &built.dir.encode(meta.start), built.readings, built.positions)?;
                }
            }
            _ => {}
        }
        holes.append(&mut found);
    }
    let (file_len, blocks) = writer.finish(manifest.covered, manifest.window_us)?.unwrap_or_default();
    let gone = file.blocks.iter().map(BlockMeta::id).collect();
    let kept: u64 = blocks.iter().map(|b| b.readings).sum();
    list(dir, manifest, Row { kind: Kind::Change, seq: new_seq, covered: manifest.covered, at: file.at, file_len, blocks, gone })?;
    report.done.push(format!("kept {kept} sound readings of it in {}", block_path(dir, new_seq).display()));
    if there {
        fs::remove_file(&path).at("remove", &path)?;
        disk::sync_dir(dir)?;
    }
    Ok(())
}

fn place_of(directory: &Directory, who: Who) -> u64 {
    match who {
        Who::Point(point) => directory.point(point).map_or(0, |e| e.place.offset),
        Who::Vehicle(vehicle) => directory.vehicle(vehicle).map_or(0, |e| e.place.offset),
    }
}

/// What cannot be read of a block.
fn holes_of<'a>(meta: &BlockMeta, checked: &impl Fn(u64, u32, u32) -> Option<&'a [u8]>) -> Vec<Hole> {
    let hole = |had, who| Hole { shard: meta.shard, start: meta.start, end: meta.end(), had, who };
    let directory = checked(meta.dir_off, meta.dir_len, meta.dir_crc);
    if meta.content == Content::Rollup {
        let rollups = directory.and_then(|b| Rollups::parse(b, meta.data_off, meta.dir_off));
        let sound = |(i, p): (usize, &crate::block::Place)| {
            let n = rollups.as_ref().map_or(0, |r| r.chunk(i).len());
            checked(p.offset, p.len, p.crc).is_some_and(|b| Rollups::hours(b, n, meta.start).is_some())
        };
        let whole = rollups.as_ref().is_some_and(|r| r.places.iter().enumerate().all(sound));
        return if whole { Vec::new() } else { vec![hole(0, None)] };
    }
    let Some(directory) = directory.and_then(|b| Directory::parse(b, meta)) else {
        return vec![hole(meta.readings + meta.positions, None)];
    };
    let mut holes = Vec::new();
    for e in &directory.points {
        let rows = checked(e.place.offset, e.place.len, e.place.crc).and_then(|b| {
            let mut rows = Vec::new();
            let bytes = if e.place.zstd { inflate(b)? } else { b.to_vec() };
            decode_series(&bytes, e.point, directory.arrivals.as_ref(), &mut rows)?;
            Some(rows.len())
        });
        if rows != Some(e.count as usize) {
            let hole = Hole { start: e.first_at, end: e.last_at + 1, ..hole(u64::from(e.count), Some(Who::Point(e.point))) };
            holes.push(hole);
        }
    }
    for e in &directory.vehicles {
        let rows = checked(e.place.offset, e.place.len, e.place.crc).and_then(section_positions);
        if rows.is_none_or(|rows| rows.len() != e.count as usize) {
            holes.push(Hole { start: e.first_at, end: e.last_at + 1, ..hole(u64::from(e.count), Some(Who::Vehicle(e.vehicle))) });
        }
    }
    holes
}

/// Appends a row and keeps the list in step.
fn list(dir: &Path, manifest: &mut Manifest, row: Row) -> Result<()> {
    manifest::append(dir, manifest, &row)?;
    manifest.take_in(row).map_err(|what| HistoryError::damaged(&dir.join(MANIFEST), 0, what))
}

/// Looks in the log for what the holes held, and writes it as a block file of its own.
fn fill(dir: &Path, manifest: &mut Manifest, holes: &[Hole], report: &mut RepairReport) -> Result<()> {
    let mut state = State::default();
    let mut found = vec![BTreeSet::new(); holes.len()];
    for first in disk::numbered(dir, "log")? {
        let path = log_path(dir, first);
        let bytes = fs::read(&path).at("read", &path)?;
        let scanned = log::scan(&path, &bytes, manifest.seed, |header, offset, frame| {
            if header.lsn > manifest.covered {
                return Ok(());
            }
            let record = header.decode(frame).ok_or_else(|| HistoryError::damaged(&path, offset, "a record cannot be decoded"))?;
            let inside = |h: &Hole, at: Timestamp| h.shard == record.shard && (h.start..h.end).contains(&at.micros());
            let mut readings: Vec<Reading> = Vec::new();
            for r in &record.readings {
                let mut wanted = false;
                for (hole, found) in holes.iter().zip(&mut found) {
                    if inside(hole, r.event_at) && hole.who.is_none_or(|w| w == Who::Point(r.point)) {
                        found.insert((0, r.point.get(), r.event_at, r.revision));
                        wanted = true;
                    }
                }
                readings.extend(wanted.then_some(*r));
            }
            let mut positions: Vec<Position> = Vec::new();
            for p in &record.positions {
                let mut wanted = false;
                for (hole, found) in holes.iter().zip(&mut found) {
                    if inside(hole, p.event_at) && hole.who.is_none_or(|w| w == Who::Vehicle(p.vehicle)) {
                        found.insert((1, p.vehicle.get(), p.event_at, 0));
                        wanted = true;
                    }
                }
                positions.extend(wanted.then(|| p.clone()));
            }
            state.apply(record.shard, &readings, &positions);
            Ok(())
        });
        match scanned {
            Ok(_) => {}
            Err(HistoryError::Damaged { file, offset, what }) => report.left.push(Finding { file, offset, what }),
            Err(other) => return Err(other),
        }
    }
    let frozen = state.freeze();
    let seq = manifest.reserve();
    let covered = manifest.covered;
    if let Some((file_len, blocks)) = block::build(dir, manifest.seed, manifest.window_us, seq, covered, &frozen)? {
        report.recovered = blocks.iter().map(|b| b.readings + b.positions).sum();
        let at = manifest.sealed.map_or(Timestamp::EPOCH, |s| s.at);
        list(dir, manifest, Row { kind: Kind::Change, seq, covered, at, file_len, blocks, gone: Vec::new() })?;
        report.done.push(format!("wrote {} readings and positions of the log to {}", report.recovered, block_path(dir, seq).display()));
    }
    for (hole, found) in holes.iter().zip(found) {
        let found = found.len() as u64;
        if hole.had > 0 && found >= hole.had {
            continue;
        }
        let what = match hole.who {
            Some(Who::Point(point)) => format!("point {point}"),
            Some(Who::Vehicle(vehicle)) => format!("vehicle {vehicle}"),
            None if hole.had == 0 => format!("stored hours of shard {} (made again where the day's readings are there)", hole.shard),
            None => format!("shard {}", hole.shard),
        };
        let at = Timestamp::from_micros;
        report.lost.push(Lost { what, from: at(hole.start), to: at(hole.end), had: hole.had, found });
    }
    Ok(())
}
