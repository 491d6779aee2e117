//! The one writer: opening and recovery, group commit, sealing, release.
//!
//! The order that makes a crash harmless: log frame, `fdatasync`, memory; and for a seal: block file, table of last values, manifest row,
//! only then may the log be released. Start at [`open`] and [`Writer::sync`].

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use anlan_model::{Position, Reading, Timestamp};

use crate::block::{self, BlockMeta};
use crate::disk::{self, LOCK, block_path, last_path, log_path};
use crate::error::{At, Result};
use crate::last::Table;
use crate::log::{End, Segment, scan};
use crate::manifest::{self, Kind, Listed, Manifest, Row};
use crate::state::{Shared, State};
use crate::{HistoryError, Lsn, Options, Reader, Record, checkpoint, frame, log};

/// Opens or creates the history in `dir` and takes its lock file, so that one process owns it.
///
/// Recovery: the manifest says what is in blocks; the log after that is replayed into memory. A torn last group was never acknowledged and
/// is cut off; files of an unfinished seal are removed. What is found counts as durable from here on, so it is made so first: the process
/// before may have been killed between a write and its sync, and a power cut to come would take back what this one builds upon.
///
/// # Errors
/// [`HistoryError::Locked`] if it is open elsewhere, [`HistoryError::Damaged`] if more than the torn end of the log is unreadable.
pub fn open(dir: &Path, options: Options) -> Result<(Writer, Reader), HistoryError> {
    disk::create_dir(dir)?;
    let lock = take_lock(dir)?;
    remove_temporaries(dir)?;
    let mut manifest = load_manifest(dir, &options)?;
    // The list of blocks lives in the shared state from here on.
    let files = std::mem::take(&mut manifest.files);
    let (covered, sealed) = (manifest.covered, manifest.sealed);
    let shared = Arc::new(Shared::new(dir.to_path_buf(), manifest, State { covered, ..State::default() }));
    load_blocks(&shared, files, sealed.map(|s| s.seq))?;
    let last_seal = sealed.map(|s| s.at);
    let (file, durable) = replay(&shared, last_seal)?;
    let checkpoints = checkpoint::read(dir, shared.seed)?.map(|c| c.flatten().map(|(lsn, _)| lsn));
    if let Some(beyond) = checkpoints.iter().flatten().find(|lsn| **lsn > durable) {
        let segments = &shared.state().segments;
        let last = segments.last().map_or_else(|| dir.to_path_buf(), |s| s.path.clone());
        let end = segments.last().map_or(0, |s| s.len);
        return Err(HistoryError::damaged(&last, end, format!("the log ends with record {durable}, a checkpoint names {beyond}")));
    }
    let reader = Reader::new(Arc::clone(&shared));
    let writer = Writer {
        shared,
        options,
        file,
        buffer: Vec::new(),
        pending: Vec::new(),
        next: durable.next(),
        broken: false,
        sealing: None,
        last_seal,
        checkpoints,
        lock: Arc::new(lock),
    };
    Ok((writer, reader))
}

pub(crate) fn take_lock(dir: &Path) -> Result<File> {
    let path = dir.join(LOCK);
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path).at("open", &path)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(HistoryError::Locked { dir: dir.to_path_buf() }),
        Err(TryLockError::Error(e)) => Err(e).at("lock", &path),
    }
}

fn remove_temporaries(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).at("list", dir)? {
        let path = entry.at("list", dir)?.path();
        if path.extension().is_some_and(|e| e == "tmp") {
            fs::remove_file(&path).at("remove", &path)?;
        }
    }
    Ok(())
}

fn load_manifest(dir: &Path, options: &Options) -> Result<Manifest> {
    let path = dir.join(disk::MANIFEST);
    let Some(mut manifest) = manifest::load(dir)? else {
        if let Some(first) = disk::numbered(dir, "log")?.first() {
            return Err(HistoryError::damaged(&log_path(dir, *first), 0, "there is a log but no manifest"));
        }
        // An id nobody else has: the hasher's keys are random.
        let seed = RandomState::new().hash_one(dir) as u32;
        return manifest::create(dir, seed, options.seal_window_us.max(1));
    };
    let file = OpenOptions::new().write(true).open(&path).at("open", &path)?;
    if manifest.torn {
        tracing::warn!(file = %path.display(), offset = manifest.len, "cut the torn last row of the manifest, its seal was not finished");
        file.set_len(manifest.len).at("cut", &path)?;
        manifest.torn = false;
    }
    file.sync_all().at("sync", &path)?;
    if manifest.version < manifest::VERSION {
        let files = std::mem::take(&mut manifest.files);
        manifest::compact(dir, &mut manifest, &files)?;
        manifest.files = files;
    }
    Ok(manifest)
}

/// Lists the blocks, loads or computes the last values, removes what the manifest does not name.
fn load_blocks(shared: &Shared, files: BTreeMap<u64, Listed>, newest: Option<u64>) -> Result<()> {
    let dir = &shared.dir;
    for (seq, file) in &files {
        let path = block_path(dir, *seq);
        let len = fs::metadata(&path).at("find", &path)?.len();
        if len != file.len {
            return Err(HistoryError::damaged(&path, len.min(file.len), format!("it is {len} bytes long instead of {}", file.len)));
        }
    }
    for seq in disk::numbered(dir, "block")?.into_iter().filter(|seq| !files.contains_key(seq)) {
        let path = block_path(dir, seq);
        fs::remove_file(&path).at("remove", &path)?;
        tracing::info!(file = %path.display(), "removed a block file that is not listed: its seal or merge was not finished, or it was merged");
    }
    for seq in disk::numbered(dir, "last")?.into_iter().filter(|seq| Some(*seq) != newest) {
        let path = last_path(dir, seq);
        fs::remove_file(&path).at("remove", &path)?;
    }
    {
        let mut state = shared.state_mut();
        for (seq, file) in &files {
            state.add_blocks(*seq, file.len, file.at, &file.blocks);
        }
    }
    let Some(seq) = newest else { return Ok(()) };
    let table = match disk::read_if_there(&last_path(dir, seq))?.and_then(|bytes| Table::parse(&bytes, shared.seed)) {
        Some(table) => table,
        None => {
            tracing::warn!(file = %last_path(dir, seq).display(), "the table of last values is missing or damaged, computing it from the blocks");
            let table = Table::rebuild(shared)?;
            table.clone().write(dir, shared.seed, seq)?;
            table
        }
    };
    table.load(&mut shared.state_mut());
    Ok(())
}

/// Replays the log behind the blocks into memory; returns the last segment open for appending, and the last durable record.
fn replay(shared: &Shared, last_seal: Option<Timestamp>) -> Result<(File, Lsn)> {
    let (dir, seed, covered) = (&shared.dir, shared.seed, shared.state().covered);
    let mut firsts = disk::numbered(dir, "log")?;
    // The making of a segment may have been cut short: no head, no records.
    if let Some(last) = firsts.last().copied() {
        let path = log_path(dir, last);
        let bytes = fs::read(&path).at("read", &path)?;
        if log::parse_head(&bytes, seed).is_none() && bytes.len() <= log::SEGMENT_HEAD {
            fs::remove_file(&path).at("remove", &path)?;
            firsts.pop();
            tracing::warn!(file = %path.display(), "removed a log segment whose making was cut short");
        }
    }
    // Names come and go before this; from here on they are relied upon.
    disk::sync_dir(dir)?;
    let begin = firsts.partition_point(|first| *first <= covered.next().0).saturating_sub(1);
    if firsts.is_empty() {
        let begun = last_seal.unwrap_or(Timestamp::EPOCH);
        let (segment, file) = log::create(dir, seed, covered.next(), begun)?;
        let mut state = shared.state_mut();
        state.segments.push(segment);
        state.durable = covered;
        return Ok((file, covered));
    }
    if firsts[begin] > covered.next().0 {
        let what = format!("blocks hold records up to {covered} and the log begins with {}", firsts[begin]);
        return Err(HistoryError::damaged(&log_path(dir, firsts[begin]), 0, what));
    }
    let mut expected = Lsn(firsts[begin]);
    let mut last_file = None;
    for (i, first) in firsts.iter().enumerate() {
        let path = log_path(dir, *first);
        if i < begin {
            shared.state_mut().segments.push(log::glance(&path, seed)?);
            continue;
        }
        let bytes = fs::read(&path).at("read", &path)?;
        if *first != expected.0 {
            return Err(HistoryError::damaged(&path, 0, format!("the segment should begin with record {expected}")));
        }
        let is_last = i + 1 == firsts.len();
        let mut state = shared.state_mut();
        let (mut group, mut last_group) = (Lsn::ZERO, log::SEGMENT_HEAD);
        let (segment, next, end) = scan(&path, &bytes, seed, |header, offset, frame| {
            if header.group != group {
                (group, last_group) = (header.group, offset as usize);
            }
            if header.lsn > covered {
                let record = header
                    .decode(frame)
                    .ok_or_else(|| HistoryError::damaged(&path, offset, "a record passes its checksum but cannot be decoded"))?;
                state.apply(record.shard, &record.readings, &record.positions);
            }
            Ok(())
        })?;
        if let End::Torn(offset) = end {
            if !is_last {
                // A segment is begun only when everything before is synced.
                return Err(HistoryError::damaged(
                    &path,
                    offset,
                    format!("record {next} does not pass its checksum, though whole segments follow"),
                ));
            }
            tracing::warn!(file = %path.display(), offset, bytes = bytes.len() as u64 - offset, "cut the torn last group of the log, it was never acknowledged");
        }
        expected = next;
        if is_last {
            let mut file = OpenOptions::new().write(true).open(&path).at("open", &path)?;
            file.set_len(segment.len).at("cut", &path)?;
            // The last group may be in the page cache only, and a kernel that failed to sync it calls its pages clean: write it once more.
            let rewritten = file.write_all_at(&bytes[last_group..segment.len as usize], last_group as u64);
            rewritten.and_then(|()| file.sync_all()).at("sync", &path)?;
            file.seek(SeekFrom::End(0)).at("seek", &path)?;
            last_file = Some(file);
        }
        state.segments.push(segment);
    }
    let durable = Lsn(expected.0 - 1);
    if durable < covered {
        let path = log_path(dir, firsts[firsts.len() - 1]);
        return Err(HistoryError::damaged(&path, 0, format!("the log ends with record {durable}, blocks hold records up to {covered}")));
    }
    shared.state_mut().durable = durable;
    let file = last_file.expect("the loop ends with the last segment");
    Ok((file, durable))
}

/// A write or creation that found no space may be tried again; a sync that failed may not, whatever it says.
fn full(failure: HistoryError) -> HistoryError {
    match failure {
        HistoryError::Io { action: "create" | "write", path, source }
            if matches!(source.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) =>
        {
            HistoryError::Full { path }
        }
        other => other,
    }
}

/// What a record leaves to be done in memory once it is durable.
#[derive(Debug)]
struct Pending {
    lsn: Lsn,
    offset: u64,
    shard: u16,
    now: Timestamp,
    readings: Vec<Reading>,
    positions: Vec<Position>,
}

/// A finished block file, not yet in the manifest.
#[derive(Debug)]
struct Sealed {
    file_len: u64,
    blocks: Vec<BlockMeta>,
}

/// A seal under way.
#[derive(Debug)]
struct Sealing {
    /// Written, and not yet in the manifest: the row failed and is tried again. Its file stays untouched, for it may be listed.
    written: Option<Sealed>,
    seq: u64,
    covered: Lsn,
    sealed_at: Timestamp,
    /// `None` after it failed: the next call starts it again from the same frozen head.
    thread: Option<JoinHandle<Result<Sealed>>>,
}

/// The only hand that writes. Dropping it releases the directory; what was not synced is lost, as it was never acknowledged.
#[derive(Debug)]
pub struct Writer {
    pub(crate) shared: Arc<Shared>,
    options: Options,
    /// The last segment, positioned at its durable end.
    file: File,
    buffer: Vec<u8>,
    pending: Vec<Pending>,
    next: Lsn,
    broken: bool,
    sealing: Option<Sealing>,
    /// Domain time of the last seal begun.
    last_seal: Option<Timestamp>,
    /// Records named by the newest checkpoint and the one before.
    checkpoints: [Option<Lsn>; 2],
    pub(crate) lock: Arc<File>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        // The thread must not write into a directory that somebody else owns by then. Its file is an orphan the next open removes.
        if let Some(thread) = self.sealing.take().and_then(|s| s.thread) {
            let _ = thread.join();
        }
    }
}

impl Writer {
    /// Buffers one record and returns its number. It is neither durable nor visible before [`Writer::sync`].
    ///
    /// # Errors
    /// [`HistoryError::Broken`] after an earlier failure; [`HistoryError::TooMuchUnsynced`]; [`HistoryError::Unstorable`] for a value that
    /// is not finite. After the last two the writer goes on as if the call had not been made.
    pub fn append(&mut self, record: &Record) -> Result<Lsn, HistoryError> {
        self.check()?;
        let start = self.buffer.len();
        let group = self.pending.first().map_or(self.next, |p| p.lsn);
        frame::encode(record, self.next, group, self.shared.seed, &mut self.buffer)?;
        if start > 0 && self.buffer.len() > self.options.unsynced_bytes_max {
            let bytes = self.buffer.len();
            self.buffer.truncate(start);
            return Err(HistoryError::TooMuchUnsynced { bytes, limit: self.options.unsynced_bytes_max });
        }
        self.pending.push(Pending {
            lsn: self.next,
            offset: start as u64,
            shard: record.shard,
            now: record.now,
            readings: record.readings.clone(),
            positions: record.positions.clone(),
        });
        let lsn = self.next;
        self.next = lsn.next();
        Ok(lsn)
    }

    /// Makes everything appended durable with one `fdatasync`, then visible; returns the last durable record.
    ///
    /// # Errors
    /// [`HistoryError::Full`]: everything appended still waits, call again. Any other: nothing unsynced becomes visible and every later
    /// call answers [`HistoryError::Broken`], for a failed sync cannot be retried.
    pub fn sync(&mut self) -> Result<Lsn, HistoryError> {
        self.check()?;
        if self.pending.is_empty() {
            return Ok(self.durable());
        }
        let written = self.write_buffer();
        if matches!(written, Err(HistoryError::Full { .. })) {
            return Err(HistoryError::Full { path: self.tail().0 });
        }
        if written.is_err() {
            self.broken = true;
            self.pending.clear();
            self.buffer = Vec::new();
        }
        written?;
        let pending = std::mem::take(&mut self.pending);
        let durable = Lsn(self.next.0 - 1);
        {
            let mut state = self.shared.state_mut();
            if let Some(segment) = state.segments.last_mut() {
                let start = segment.len;
                for p in &pending {
                    segment.mark(p.lsn, start + p.offset);
                }
                segment.len += self.buffer.len() as u64;
            }
            for p in &pending {
                state.apply(p.shard, &p.readings, &p.positions);
            }
            state.durable = durable;
        }
        self.buffer.clear();
        // A burst must not stay in memory for ever.
        self.buffer.shrink_to(4 << 20);
        Ok(durable)
    }

    /// Writes and syncs the buffer, in a new segment if the last one is full or of an older version.
    fn write_buffer(&mut self) -> Result<()> {
        let old = self.shared.state().segments.last().is_some_and(|s| s.version < log::VERSION);
        if old || self.tail().1 >= self.options.segment_bytes {
            let (first, now) = self.pending.first().map_or((self.next, Timestamp::EPOCH), |p| (p.lsn, p.now));
            let (segment, file) = log::create(&self.shared.dir, self.shared.seed, first, now).map_err(full)?;
            self.shared.state_mut().segments.push(segment);
            self.file = file;
        }
        let (path, len) = self.tail();
        self.write_to_end().inspect_err(|_| {
            // What the disk holds behind the durable end is unknown; cutting it off keeps it from being taken for good later.
            if let Err(e) = self.file.set_len(len) {
                tracing::error!(file = %path.display(), error = %e, "cannot cut off the records that could not be synced");
            }
        })
    }

    fn write_to_end(&mut self) -> Result<()> {
        let (path, len) = self.tail();
        if let Err(e) = self.file.write_all(&self.buffer).at("write", &path) {
            // No sync was tried, so nothing is in doubt once the part that found room is cut off again.
            let is_back = self.file.set_len(len).and_then(|()| self.file.seek(SeekFrom::Start(len))).is_ok();
            return Err(if is_back { full(e) } else { e });
        }
        self.file.sync_data().at("sync", &path)
    }

    fn tail(&self) -> (PathBuf, u64) {
        let state = self.shared.state();
        state.segments.last().map_or_else(|| (self.shared.dir.clone(), 0), |s: &Segment| (s.path.clone(), s.len))
    }

    fn check(&self) -> Result<()> {
        if self.broken { Err(HistoryError::Broken) } else { Ok(()) }
    }

    /// Keeps `state`, the caller's state as of the last synced record, and the one before it.
    ///
    /// # Errors
    /// [`HistoryError::Unsynced`] if records wait for sync; I/O, after which the checkpoints before are still there.
    pub fn checkpoint(&mut self, state: &[u8]) -> Result<(), HistoryError> {
        self.check()?;
        if !self.pending.is_empty() {
            return Err(HistoryError::Unsynced);
        }
        let lsn = self.durable();
        checkpoint::write(&self.shared.dir, self.shared.seed, lsn, state)?;
        self.checkpoints = [Some(lsn), self.checkpoints[0]];
        Ok(())
    }

    /// Starts sealing the head in a thread of its own if it is due, and takes over a finished seal. Cheap when neither; call it every second.
    ///
    /// Due is a head of [`Options::seal_after_readings`], and the first call in a new window of [`Options::seal_window_us`].
    ///
    /// # Errors
    /// I/O, also that of the sealing thread. Nothing is lost: the readings stay in memory and in the log, the next call tries again.
    pub fn seal_if_due(&mut self, now: Timestamp) -> Result<(), HistoryError> {
        self.check()?;
        let (readings, uncovered) = {
            let state = self.shared.state();
            (state.head_readings, state.durable > state.covered)
        };
        let limit = self.options.seal_after_readings;
        if self.sealing.is_some() {
            // A disk too slow for its seals must not become memory without end: past twice the limit, wait.
            return self.take_over(readings >= limit.saturating_mul(2));
        }
        let window = self.shared.window_us;
        // A history that was never sealed counts from the first call: its first block is as wide as the others.
        let last = *self.last_seal.get_or_insert(now);
        let new_window = now.floor_us(window) > last.floor_us(window);
        if readings >= limit || (uncovered && new_window) {
            self.start(now);
        }
        Ok(())
    }

    /// Seals everything synced and waits for it.
    ///
    /// # Errors
    /// I/O.
    pub fn seal_now(&mut self, now: Timestamp) -> Result<(), HistoryError> {
        self.check()?;
        if self.sealing.is_some() {
            self.take_over(true)?;
        }
        let uncovered = {
            let state = self.shared.state();
            state.durable > state.covered
        };
        if uncovered {
            self.start(now);
            self.take_over(true)?;
        }
        Ok(())
    }

    fn start(&mut self, now: Timestamp) {
        let covered = self.durable();
        self.shared.state_mut().freeze();
        self.last_seal = Some(now);
        let seq = self.shared.manifest().reserve();
        self.sealing = Some(Sealing { seq, covered, sealed_at: now, thread: None, written: None });
        self.spawn();
    }

    fn spawn(&mut self) {
        let Some(&Sealing { seq, covered, .. }) = self.sealing.as_ref() else { return };
        let shared = Arc::clone(&self.shared);
        let table = Table::of(&self.shared.state());
        let work = move || {
            let Some(frozen) = shared.state().sealing.clone() else { return Ok(Sealed { file_len: 0, blocks: Vec::new() }) };
            let built = block::build(&shared.dir, shared.seed, shared.window_us, seq, covered, &frozen)?;
            table.write(&shared.dir, shared.seed, seq)?;
            let (file_len, blocks) = built.unwrap_or_default();
            Ok(Sealed { file_len, blocks })
        };
        let thread = std::thread::Builder::new().name("history-seal".into()).spawn(work);
        if let Some(sealing) = &mut self.sealing {
            match thread {
                Ok(thread) => sealing.thread = Some(thread),
                Err(e) => tracing::error!(error = %e, "cannot start the sealing thread, the next call tries again"),
            }
        }
    }

    /// Takes over the seal under way if it is finished (or waits for it), and starts a failed one again.
    fn take_over(&mut self, wait: bool) -> Result<()> {
        let Some(sealing) = &mut self.sealing else { return Ok(()) };
        if sealing.thread.is_none() && sealing.written.is_none() {
            self.spawn();
        }
        let Some(sealing) = &mut self.sealing else { return Ok(()) };
        if !wait && sealing.thread.as_ref().is_some_and(|t| !t.is_finished()) {
            return Ok(());
        }
        let sealed = match (sealing.written.take(), sealing.thread.take()) {
            (Some(sealed), _) => sealed,
            (None, Some(thread)) => {
                thread.join().map_err(|_| std::io::Error::other("the sealing thread panicked")).at("seal", &self.shared.dir)??
            }
            (None, None) => return Err(std::io::Error::other("no sealing thread")).at("seal", &self.shared.dir),
        };
        let (seq, covered, at) = (sealing.seq, sealing.covered, sealing.sealed_at);
        let row = Row { kind: Kind::Seal, seq, covered, at, file_len: sealed.file_len, blocks: sealed.blocks, gone: Vec::new() };
        let listed = self.shared.sure_manifest().and_then(|mut manifest| {
            let before = manifest.sealed.map(|s| s.seq);
            manifest::append(&self.shared.dir, &mut manifest, &row)?;
            Ok((manifest, before))
        });
        let (manifest, before) = match listed {
            Ok(listed) => listed,
            Err(e) => {
                sealing.written = Some(Sealed { file_len: row.file_len, blocks: row.blocks });
                return Err(e);
            }
        };
        let frozen = self.shared.state_mut().publish(covered, seq, row.file_len, at, &row.blocks);
        drop(manifest);
        drop(frozen);
        self.sealing = None;
        // Only the newest table is ever read.
        if let Some(before) = before {
            let _ = fs::remove_file(last_path(&self.shared.dir, before));
        }
        Ok(())
    }

    /// Removes log segments that nobody needs: sealed, projected (`projected` = last record the projection has committed), older than
    /// both checkpoints and older than [`Options::keep_log_us`]. Returns how many. While there are not two checkpoints, nothing is released.
    ///
    /// # Errors
    /// I/O.
    pub fn release_log(&mut self, projected: Lsn, now: Timestamp) -> Result<usize, HistoryError> {
        self.check()?;
        let checkpoint = self.checkpoints[1].unwrap_or(Lsn::ZERO);
        let oldest_kept = now.plus_us(-self.options.keep_log_us);
        let mut state = self.shared.state_mut();
        let needed = state.covered.min(projected).min(checkpoint);
        let mut released = 0;
        // A segment ends where the next begins; the last one is always kept.
        while let [segment, next, ..] = state.segments.as_slice()
            && next.first <= needed.next()
            && next.begun < oldest_kept
        {
            fs::remove_file(&segment.path).at("remove", &segment.path)?;
            state.segments.remove(0);
            released += 1;
        }
        drop(state);
        if released > 0 {
            disk::sync_dir(&self.shared.dir)?;
        }
        Ok(released)
    }

    /// The directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// The last durable record.
    pub fn durable(&self) -> Lsn {
        self.shared.state().durable
    }
}
