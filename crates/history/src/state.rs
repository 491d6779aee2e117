//! What writer and readers share: last values, the head, the list of blocks and segments, behind one lock that is held shortly;
//! and small caches of directories and files, filled and read without it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use anlan_model::{IdMap, PointId, Position, Reading, Timestamp, VehicleId};

use crate::block::{BlockId, BlockMeta, Content, Directory, Place};
use crate::disk::{block_path, crc};
use crate::error::{At, Result};
use crate::head::{Frozen, PointHead, VehicleHead};
use crate::log::Segment;
use crate::manifest::{self, Listed, Manifest, Row};
use crate::rollup::{Chunk, Rollups};
use crate::squeeze::inflate;
use crate::{HistoryError, Lsn, Stats};

/// What is known of a point without opening a block.
#[derive(Debug)]
pub(crate) struct PointSlot {
    pub(crate) first_at: i64,
    pub(crate) last: Reading,
    /// No block holds anything later: what is newer than a seal is asked for often, and is then found without opening one.
    pub(crate) sealed_to: i64,
    /// Shards whose blocks may hold it: more than one after its device moved to another enterprise.
    pub(crate) shards: Vec<u16>,
    pub(crate) head: PointHead,
}

/// Values by id, side by side in the order in which they came: what is made together is mostly heard together, and is then found without a
/// search, one behind the other. Never forgets one.
#[derive(Debug)]
pub(crate) struct Slots<K, V> {
    places: IdMap<K, u32>,
    held: Vec<(K, V)>,
}

impl<K, V> Default for Slots<K, V> {
    fn default() -> Self {
        Self { places: IdMap::default(), held: Vec::new() }
    }
}

impl<K: Copy + Eq + std::hash::Hash, V> Slots<K, V> {
    pub(crate) fn get(&self, id: &K) -> Option<&V> {
        self.places.get(id).map(|at| &self.held[*at as usize].1)
    }
    pub(crate) fn get_mut(&mut self, id: &K) -> Option<&mut V> {
        self.places.get(id).map(|at| &mut self.held[*at as usize].1)
    }
    /// The place of `id`, which is made if it is new; `likely` is looked at first.
    pub(crate) fn place(&mut self, id: K, likely: usize, make: impl FnOnce() -> V) -> usize {
        if self.held.get(likely).is_some_and(|(held, _)| *held == id) {
            return likely;
        }
        match self.places.get(&id) {
            Some(at) => *at as usize,
            None => self.push(id, make()),
        }
    }
    fn push(&mut self, id: K, value: V) -> usize {
        let at = self.held.len();
        if at == self.held.capacity() {
            // Doubling would leave a city's worth of slots empty.
            self.held.reserve_exact((at / 8).max(64));
        }
        self.held.push((id, value));
        self.places.insert(id, at as u32);
        at
    }
    pub(crate) fn at(&mut self, place: usize) -> &mut V {
        &mut self.held[place].1
    }
    pub(crate) fn insert(&mut self, id: K, value: V) {
        match self.places.get(&id) {
            Some(at) => self.held[*at as usize].1 = value,
            None => _ = self.push(id, value),
        }
    }
    pub(crate) fn with_room(n: usize) -> Self {
        let mut places = IdMap::default();
        places.reserve(n);
        Self { places, held: Vec::with_capacity(n) }
    }
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.held.iter().map(|(id, value)| (id, value))
    }
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.held.iter_mut().map(|(id, value)| (&*id, value))
    }
}

/// What is known of a vehicle without opening a block.
#[derive(Debug)]
pub(crate) struct VehicleSlot {
    pub(crate) first_at: i64,
    pub(crate) last: Position,
    pub(crate) shards: Vec<u16>,
    pub(crate) head: VehicleHead,
}

/// Blocks of a shard by the start of their window; several for a window where data came late or blocks are not merged yet.
pub(crate) type Windows = BTreeMap<i64, Vec<Arc<BlockMeta>>>;

/// A block file at least one of whose blocks counts.
#[derive(Debug)]
pub(crate) struct BlockFile {
    pub(crate) len: u64,
    pub(crate) at: Timestamp,
    pub(crate) blocks: Vec<Arc<BlockMeta>>,
}

/// Everything behind the lock.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) points: Slots<PointId, PointSlot>,
    pub(crate) vehicles: IdMap<VehicleId, VehicleSlot>,
    pub(crate) sealing: Option<Arc<Frozen>>,
    pub(crate) blocks: BTreeMap<u16, Windows>,
    /// Blocks of hourly statistics.
    pub(crate) rollups: BTreeMap<u16, Windows>,
    pub(crate) files: BTreeMap<u64, BlockFile>,
    /// Blocks that no longer count, until no reader holds one of their file and the file can go.
    pub(crate) graves: Vec<(u64, Vec<Arc<BlockMeta>>)>,
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
        let mut place = 0;
        for r in readings {
            let at = r.event_at.micros();
            let make = || PointSlot { first_at: at, last: *r, sealed_to: i64::MIN, shards: Vec::new(), head: PointHead::default() };
            let is_same = self.points.held.get(place).is_some_and(|(held, _)| *held == r.point);
            place = self.points.place(r.point, if is_same { place } else { place + 1 }, make);
            let slot = self.points.at(place);
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
        frozen.points = Slots::with_room(self.points.iter().filter(|(_, s)| !s.head.is_empty()).count());
        for (id, slot) in self.points.iter_mut().filter(|(_, s)| !s.head.is_empty()) {
            slot.sealed_to = slot.last.event_at.micros();
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

    /// Adds the blocks of the file `seq`.
    pub(crate) fn add_blocks(&mut self, seq: u64, file_len: u64, at: Timestamp, blocks: &[BlockMeta]) {
        if file_len == 0 {
            return;
        }
        self.sealed.files += 1;
        self.sealed.block_bytes += file_len;
        let blocks: Vec<Arc<BlockMeta>> = blocks.iter().cloned().map(Arc::new).collect();
        for meta in &blocks {
            self.sealed.blocks += 1;
            self.sealed.sealed_readings += meta.readings;
            let map = if meta.content == Content::Data { &mut self.blocks } else { &mut self.rollups };
            let list = map.entry(meta.shard).or_default().entry(meta.start).or_default();
            list.insert(list.partition_point(|m| (m.rank, m.seq) < (meta.rank, meta.seq)), Arc::clone(meta));
        }
        self.files.insert(seq, BlockFile { len: file_len, at, blocks });
    }

    /// Takes blocks away; a file that loses its last one waits in `graves`.
    pub(crate) fn take_away(&mut self, gone: &[BlockId]) {
        for id in gone {
            let Some(file) = self.files.get_mut(&id.seq) else { continue };
            let Some(i) = file.blocks.iter().position(|b| b.id() == *id) else { continue };
            let meta = file.blocks.swap_remove(i);
            self.sealed.blocks -= 1;
            self.sealed.sealed_readings -= meta.readings;
            let map = if meta.content == Content::Data { &mut self.blocks } else { &mut self.rollups };
            if let Some(windows) = map.get_mut(&meta.shard)
                && let Some(list) = windows.get_mut(&meta.start)
            {
                list.retain(|m| m.id() != *id);
                if list.is_empty() {
                    windows.remove(&meta.start);
                }
            }
            let empty = file.blocks.is_empty();
            if empty && let Some(file) = self.files.remove(&id.seq) {
                self.sealed.files -= 1;
                self.sealed.block_bytes -= file.len;
            }
            match self.graves.iter_mut().find(|(seq, _)| *seq == id.seq) {
                Some((_, held)) => held.push(meta),
                None => self.graves.push((id.seq, vec![meta])),
            }
        }
    }

    /// Files that nobody lists and no reader holds.
    pub(crate) fn unheld_files(&mut self) -> Vec<u64> {
        let files = &self.files;
        let free = |(seq, held): &mut (u64, Vec<Arc<BlockMeta>>)| {
            held.retain(|m| Arc::strong_count(m) > 1);
            held.is_empty() && !files.contains_key(seq)
        };
        self.graves.extract_if(.., free).map(|(seq, _)| seq).collect()
    }

    /// Puts the frozen head's blocks in its place and returns it, so that the caller can free it without the lock.
    #[must_use]
    pub(crate) fn publish(&mut self, covered: Lsn, seq: u64, file_len: u64, at: Timestamp, blocks: &[BlockMeta]) -> Option<Arc<Frozen>> {
        self.add_blocks(seq, file_len, at, blocks);
        self.covered = covered;
        let frozen = self.sealing.take();
        if let Some(frozen) = &frozen {
            for (id, head) in frozen.points.iter() {
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

const DAY_US: i64 = 86_400_000_000;

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
    /// Taken before `state` where both are needed.
    manifest: Mutex<Manifest>,
    directories: Mutex<DirectoryCache>,
    sections: Mutex<SectionCache>,
    files: Mutex<HashMap<u64, Arc<File>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(dir: PathBuf, manifest: Manifest, state: State) -> Self {
        Self {
            dir,
            seed: manifest.seed,
            window_us: manifest.window_us,
            state: RwLock::new(state),
            manifest: Mutex::new(manifest),
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

    pub(crate) fn manifest(&self) -> MutexGuard<'_, Manifest> {
        lock(&self.manifest)
    }
    /// Width of a merged block: a day, unless blocks are cut at something that does not fill one.
    pub(crate) fn day_us(&self) -> i64 {
        if DAY_US % self.window_us == 0 { DAY_US } else { self.window_us }
    }

    /// The manifest, written anew if an earlier failure left it in doubt.
    pub(crate) fn sure_manifest(&self) -> Result<MutexGuard<'_, Manifest>> {
        let mut manifest = self.manifest();
        if manifest.in_doubt {
            self.rewrite(&mut manifest)?;
            tracing::info!("the list of blocks, in doubt since a write of it failed, was written anew");
            for seq in std::mem::take(&mut manifest.strangers) {
                // What stays is removed by the next open.
                let _ = std::fs::remove_file(block_path(&self.dir, seq));
            }
        }
        Ok(manifest)
    }

    /// Writes the manifest anew from what counts.
    pub(crate) fn rewrite(&self, manifest: &mut Manifest) -> Result<()> {
        let listed = |b: &BlockFile| {
            let mut blocks: Vec<BlockMeta> = b.blocks.iter().map(|m| BlockMeta::clone(m)).collect();
            // The index tells offsets by distance.
            blocks.sort_by_key(|b| b.data_off);
            Listed { len: b.len, at: b.at, blocks }
        };
        let files: BTreeMap<u64, Listed> = self.state().files.iter().map(|(seq, b)| (*seq, listed(b))).collect();
        manifest::compact(&self.dir, manifest, &files)
    }

    /// Makes a change of blocks count: manifest row, synced, then memory. The files left without a block go later (`remove_unheld`).
    pub(crate) fn change(&self, mut row: Row) -> Result<()> {
        let mut manifest = self.sure_manifest()?;
        // A seal may have been listed since the change was begun.
        row.covered = manifest.covered;
        if let Err(e) = manifest::append(&self.dir, &mut manifest, &row) {
            manifest.strangers.push(row.seq);
            return Err(e);
        }
        let mut state = self.state_mut();
        state.take_away(&row.gone);
        state.add_blocks(row.seq, row.file_len, row.at, &row.blocks);
        Ok(())
    }

    /// Removes files that nobody lists and no reader holds; returns how many.
    pub(crate) fn remove_unheld(&self) -> Result<usize> {
        // A backup being staged holds the manifest: its files stay.
        let _listing = self.manifest();
        let unheld = self.state_mut().unheld_files();
        for seq in &unheld {
            lock(&self.files).remove(seq);
            let path = block_path(&self.dir, *seq);
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).at("remove", &path),
                _ => {}
            }
        }
        Ok(unheld.len())
    }

    /// A block's bytes, checked by the caller's sum.
    pub(crate) fn read(&self, seq: u64, offset: u64, len: u32, sum: u32, what: &str) -> Result<Vec<u8>> {
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
        let directory = Arc::new(self.load_directory(meta)?);
        let mut cache = lock(&self.directories);
        if cache.held.insert(key, Arc::clone(&directory)).is_none() {
            cache.order.push_back(key);
            cache.entries += directory.weight();
        }
        while cache.entries > CACHED_ENTRIES
            && cache.order.len() > 1
            && let Some(oldest) = cache.order.pop_front()
        {
            if let Some(gone) = cache.held.remove(&oldest) {
                cache.entries -= gone.weight();
            }
        }
        Ok(directory)
    }

    /// The directory of a block for a question that goes through many: it pushes nobody out of the cache, or two such questions would
    /// leave nothing in it that the next one needs.
    pub(crate) fn directory_in_passing(&self, meta: &BlockMeta) -> Result<Arc<Directory>> {
        let key = (meta.seq, meta.dir_off);
        if let Some(found) = lock(&self.directories).held.get(&key) {
            return Ok(Arc::clone(found));
        }
        let directory = Arc::new(self.load_directory(meta)?);
        let mut cache = lock(&self.directories);
        if cache.entries + directory.weight() <= CACHED_ENTRIES && cache.held.insert(key, Arc::clone(&directory)).is_none() {
            cache.order.push_back(key);
            cache.entries += directory.weight();
        }
        Ok(directory)
    }

    /// The directory of a block, past the cache: for work that looks at each once.
    pub(crate) fn load_directory(&self, meta: &BlockMeta) -> Result<Directory> {
        let bytes = self.read(meta.seq, meta.dir_off, meta.dir_len, meta.dir_crc, "a directory")?;
        Directory::parse(&bytes, meta)
            .ok_or_else(|| HistoryError::damaged(&block_path(&self.dir, meta.seq), meta.dir_off, "a directory cannot be decoded"))
    }

    /// The rollup blocks of a shard's day, lowest rank first.
    pub(crate) fn rollups_at(&self, shard: u16, start: i64) -> Vec<Arc<BlockMeta>> {
        self.state().rollups.get(&shard).and_then(|w| w.get(&start)).cloned().unwrap_or_default()
    }

    /// The directory of a rollup block, past the cache.
    pub(crate) fn load_rollups(&self, meta: &BlockMeta) -> Result<Rollups> {
        let bytes = self.read(meta.seq, meta.dir_off, meta.dir_len, meta.dir_crc, "a directory of rollups")?;
        Rollups::parse(&bytes, meta.data_off, meta.dir_off).ok_or_else(|| {
            HistoryError::damaged(&block_path(&self.dir, meta.seq), meta.dir_off, "a directory of rollups cannot be decoded")
        })
    }

    /// The hours of every point of a chunk of a rollup block, and whether its readings were dropped.
    pub(crate) fn rollup_chunk(&self, meta: &BlockMeta, rollups: &Rollups, chunk: usize) -> Result<Chunk> {
        let place = rollups.places.get(chunk).ok_or_else(|| {
            HistoryError::damaged(&block_path(&self.dir, meta.seq), meta.dir_off, "a directory of rollups names no such chunk")
        })?;
        let bytes = self.raw_section(meta, place)?;
        Rollups::hours(&bytes, rollups.chunk(chunk).len(), meta.start).ok_or_else(|| self.undecodable(meta, place))
    }

    /// All bytes of a block, its directory checked: the sections carry their own checksums.
    pub(crate) fn block_bytes(&self, meta: &BlockMeta) -> Result<Vec<u8>> {
        self.read(meta.seq, meta.dir_off, meta.dir_len, meta.dir_crc, "a directory")?;
        let path = block_path(&self.dir, meta.seq);
        let mut bytes = vec![0; usize::try_from(meta.bytes()).unwrap_or(usize::MAX)];
        File::open(&path).at("open", &path)?.read_exact_at(&mut bytes, meta.data_off).at("read", &path)?;
        Ok(bytes)
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
