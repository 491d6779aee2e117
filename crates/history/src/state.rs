//! What writer and readers share: last values, the head, the list of blocks and segments, behind one lock that is held shortly;
//! and small caches of directories and files, filled and read without it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use anlan_model::{PointId, Position, Reading, VehicleId};

use crate::block::{BlockMeta, Directory, Place, inflate};
use crate::disk::{block_path, crc};
use crate::error::{At, Result};
use crate::head::{Frozen, IdMap, PointHead, VehicleHead};
use crate::log::Segment;
use crate::{HistoryError, Lsn, Stats};

/// What is known of a point without opening a block.
#[derive(Debug)]
pub(crate) struct PointSlot {
    pub(crate) first_at: i64,
    pub(crate) last: Reading,
    /// Shards whose blocks may hold it: more than one after its device moved to another enterprise.
    pub(crate) shards: Vec<u16>,
    pub(crate) head: PointHead,
}

/// What is known of a vehicle without opening a block.
#[derive(Debug)]
pub(crate) struct VehicleSlot {
    pub(crate) first_at: i64,
    pub(crate) last: Position,
    pub(crate) shards: Vec<u16>,
    pub(crate) head: VehicleHead,
}

/// Blocks of a shard by the start of their window; several for a window where data came late, oldest file first.
pub(crate) type Windows = BTreeMap<i64, Vec<Arc<BlockMeta>>>;

/// Everything behind the lock.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) points: IdMap<PointId, PointSlot>,
    pub(crate) vehicles: IdMap<VehicleId, VehicleSlot>,
    pub(crate) sealing: Option<Arc<Frozen>>,
    pub(crate) blocks: BTreeMap<u16, Windows>,
    pub(crate) segments: Vec<Segment>,
    pub(crate) durable: Lsn,
    pub(crate) covered: Lsn,
    pub(crate) head_readings: u64,
    pub(crate) head_positions: u64,
    /// `block_bytes`, `files`, `blocks`, `sealed_readings` are kept here.
    pub(crate) sealed: Stats,
}

impl State {
    /// Takes a durable record's contents in.
    pub(crate) fn apply(&mut self, shard: u16, readings: &[Reading], positions: &[Position]) {
        for r in readings {
            let at = r.event_at.micros();
            let slot = self.points.entry(r.point).or_insert_with(|| PointSlot {
                first_at: at,
                last: *r,
                shards: Vec::new(),
                head: PointHead::default(),
            });
            slot.first_at = slot.first_at.min(at);
            if (r.event_at, r.revision) >= (slot.last.event_at, slot.last.revision) {
                slot.last = *r;
            }
            if slot.head.is_empty() {
                slot.head.shard = shard;
            }
            slot.head.insert(r);
        }
        self.head_readings += readings.len() as u64;
        for p in positions {
            let at = p.event_at.micros();
            let slot = self.vehicles.entry(p.vehicle).or_insert_with(|| VehicleSlot {
                first_at: at,
                last: p.clone(),
                shards: Vec::new(),
                head: VehicleHead::default(),
            });
            slot.first_at = slot.first_at.min(at);
            if p.event_at >= slot.last.event_at {
                slot.last = p.clone();
            }
            if slot.head.rows.is_empty() {
                slot.head.shard = shard;
            }
            slot.head.rows.insert(at, p.clone());
        }
        self.head_positions += positions.len() as u64;
    }

    /// Moves the head aside for sealing.
    pub(crate) fn freeze(&mut self) -> Arc<Frozen> {
        let mut frozen = Frozen { readings: self.head_readings, positions: self.head_positions, ..Frozen::default() };
        for (id, slot) in self.points.iter_mut().filter(|(_, s)| !s.head.is_empty()) {
            frozen.points.insert(*id, std::mem::take(&mut slot.head));
        }
        for (id, slot) in self.vehicles.iter_mut().filter(|(_, s)| !s.head.rows.is_empty()) {
            frozen.vehicles.insert(*id, std::mem::take(&mut slot.head));
        }
        (self.head_readings, self.head_positions) = (0, 0);
        let frozen = Arc::new(frozen);
        self.sealing = Some(Arc::clone(&frozen));
        frozen
    }

    /// Adds the blocks of one file.
    pub(crate) fn add_blocks(&mut self, file_len: u64, blocks: &[BlockMeta]) {
        if file_len > 0 {
            self.sealed.files += 1;
            self.sealed.block_bytes += file_len;
        }
        for meta in blocks {
            self.sealed.blocks += 1;
            self.sealed.sealed_readings += meta.readings;
            self.blocks.entry(meta.shard).or_default().entry(meta.start).or_default().push(Arc::new(meta.clone()));
        }
    }

    /// Puts the frozen head's blocks in its place and returns it, so that the caller can free it without the lock.
    #[must_use]
    pub(crate) fn publish(&mut self, covered: Lsn, file_len: u64, blocks: &[BlockMeta]) -> Option<Arc<Frozen>> {
        self.add_blocks(file_len, blocks);
        self.covered = covered;
        let frozen = self.sealing.take();
        if let Some(frozen) = &frozen {
            for (id, head) in &frozen.points {
                if let Some(slot) = self.points.get_mut(id) {
                    remember(&mut slot.shards, head.shard);
                }
            }
            for (id, head) in &frozen.vehicles {
                if let Some(slot) = self.vehicles.get_mut(id) {
                    remember(&mut slot.shards, head.shard);
                }
            }
        }
        frozen
    }
}

/// Adds `shard` to a list without repeats.
pub(crate) fn remember(shards: &mut Vec<u16>, shard: u16) {
    if !shards.contains(&shard) {
        shards.push(shard);
    }
}

/// Entries of directories kept in memory, about 120 bytes each.
const CACHED_ENTRIES: usize = 100_000;
/// Open block files.
const CACHED_FILES: usize = 128;
/// Decoded sections kept for repeated exact look-ups, and the readings in them.
const CACHED_SECTIONS: usize = 64;
const CACHED_READINGS: usize = 100_000;

#[derive(Debug, Default)]
struct DirectoryCache {
    held: HashMap<(u64, u64), Arc<Directory>>,
    order: VecDeque<(u64, u64)>,
    entries: usize,
}

/// File and offset.
type SectionKey = (u64, u64);

#[derive(Debug, Default)]
struct SectionCache {
    held: VecDeque<(SectionKey, Arc<Vec<Reading>>)>,
    readings: usize,
}

/// Shared by the writer and every reader.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    pub(crate) seed: u32,
    pub(crate) window_us: i64,
    state: RwLock<State>,
    directories: Mutex<DirectoryCache>,
    sections: Mutex<SectionCache>,
    files: Mutex<HashMap<u64, Arc<File>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(dir: PathBuf, seed: u32, window_us: i64, state: State) -> Self {
        Self {
            dir,
            seed,
            window_us,
            state: RwLock::new(state),
            directories: Mutex::default(),
            sections: Mutex::default(),
            files: Mutex::default(),
        }
    }
    /// The state for reading. A panic elsewhere poisons nothing: the writer changes it record by record.
    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
    pub(crate) fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, seq: u64, offset: u64, len: u32, sum: u32, what: &str) -> Result<Vec<u8>> {
        let path = block_path(&self.dir, seq);
        let held = lock(&self.files).get(&seq).cloned();
        let file = match held {
            Some(file) => file,
            None => {
                let file = Arc::new(File::open(&path).at("open", &path)?);
                let mut files = lock(&self.files);
                if files.len() >= CACHED_FILES {
                    files.clear();
                }
                files.insert(seq, Arc::clone(&file));
                file
            }
        };
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, offset).at("read", &path)?;
        if crc(self.seed, &bytes) != sum {
            return Err(HistoryError::damaged(&path, offset, format!("{what} does not pass its checksum")));
        }
        Ok(bytes)
    }

    /// The directory of a block.
    pub(crate) fn directory(&self, meta: &BlockMeta) -> Result<Arc<Directory>> {
        let key = (meta.seq, meta.dir_off);
        if let Some(found) = lock(&self.directories).held.get(&key) {
            return Ok(Arc::clone(found));
        }
        let bytes = self.read(meta.seq, meta.dir_off, meta.dir_len, meta.dir_crc, "a directory")?;
        let directory = Directory::parse(&bytes, meta)
            .ok_or_else(|| HistoryError::damaged(&block_path(&self.dir, meta.seq), meta.dir_off, "a directory cannot be decoded"))?;
        let directory = Arc::new(directory);
        let weight = |d: &Directory| d.points.len() + d.vehicles.len() + 1;
        let mut cache = lock(&self.directories);
        if cache.held.insert(key, Arc::clone(&directory)).is_none() {
            cache.order.push_back(key);
            cache.entries += weight(&directory);
        }
        while cache.entries > CACHED_ENTRIES
            && cache.order.len() > 1
            && let Some(oldest) = cache.order.pop_front()
        {
            if let Some(gone) = cache.held.remove(&oldest) {
                cache.entries -= weight(&gone);
            }
        }
        Ok(directory)
    }

    /// A section's bytes, checked and unpacked.
    pub(crate) fn section(&self, meta: &BlockMeta, place: &Place) -> Result<Vec<u8>> {
        let bytes = self.raw_section(meta, place)?;
        if !place.zstd {
            return Ok(bytes);
        }
        inflate(&bytes).ok_or_else(|| self.undecodable(meta, place))
    }
    /// A section's bytes, checked.
    pub(crate) fn raw_section(&self, meta: &BlockMeta, place: &Place) -> Result<Vec<u8>> {
        self.read(meta.seq, place.offset, place.len, place.crc, "a section")
    }
    pub(crate) fn undecodable(&self, meta: &BlockMeta, place: &Place) -> HistoryError {
        HistoryError::damaged(&block_path(&self.dir, meta.seq), place.offset, "a section cannot be decoded")
    }

    /// A decoded section, kept for the next look-up nearby: back-filled data asks for neighbours one by one.
    pub(crate) fn cached_section(
        &self,
        meta: &BlockMeta,
        place: &Place,
        decode: impl FnOnce() -> Result<Vec<Reading>>,
    ) -> Result<Arc<Vec<Reading>>> {
        let key = (meta.seq, place.offset);
        if let Some((_, found)) = lock(&self.sections).held.iter().find(|(k, _)| *k == key) {
            return Ok(Arc::clone(found));
        }
        let rows = Arc::new(decode()?);
        let mut cache = lock(&self.sections);
        cache.readings += rows.len();
        cache.held.push_back((key, Arc::clone(&rows)));
        while cache.held.len() > 1 && (cache.held.len() > CACHED_SECTIONS || cache.readings > CACHED_READINGS) {
            if let Some((_, gone)) = cache.held.pop_front() {
                cache.readings -= gone.len();
            }
        }
        Ok(rows)
    }
}
