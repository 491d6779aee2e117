//! Days: adding what is new of one, merging its parts, and finishing what a crash interrupted.
//!
//! Every change is one transaction of one day:
//! 1. new files are written and synced in `_staging/`, which no reader looks at;
//! 2. the day's manifest says what is pending; from here on the change is finished even after a crash;
//! 3. files get their names. Adding is a rename per file (a bucket: an upload per file). Replacing exchanges the partition's whole directory
//!    in one step, so that even a plain glob never sees a row twice; a bucket cannot do that (docs/reference/archive.md says what a glob sees);
//! 4. the manifest names the new parts; this process' readers change over;
//! 5. what was replaced is removed.
//!
//! What is new of a day is computed against what its parts hold ([`crate::late`]), so doing a step twice does no harm.
//! Start at [`Archive::add_day`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use anlan_history::Lsn;
use anlan_model::{Position, Reading};
use serde::{Deserialize, Serialize};

use crate::day::{Day, Manifest, PartMeta, Pending};
use crate::error::{ArchiveError, At, Result};
use crate::late::fresh;
use crate::table::{Digest, Labels, Part, PartWriter, Table};
use crate::target::{Place, Target, make_dir, put_file, sync_dir};

const HEAD: &str = "_manifest/archive.json";
const HEAD_VERSION: u32 = 1;
/// In the node's data directory: the last released day.
const RELEASED: &str = "archive-released";
/// Open parts kept for the next query.
const OPEN_PARTS: usize = 64;
/// A reader that finds a part replaced under its hands looks again this often.
const LOOKS: usize = 3;

/// Where a subject belonged on a day, and the texts that describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Region code; `unassigned` if it belonged to nobody.
    pub region: String,
    /// In the order of the table's label columns: a point's code, enterprise, device, unit, kind; a vehicle's phone, plate, enterprise, kind.
    pub labels: Labels,
}

/// Who knows where a subject belonged on a day.
pub trait Describe {
    /// Of a point.
    fn point(&self, id: i64, day: Day) -> Arc<Description>;
    /// Of a vehicle.
    fn vehicle(&self, id: i64, day: Day) -> Arc<Description>;
}

/// Rows that are not only in the archive; implemented for [`anlan_history::Reader`].
pub trait Hot<T> {
    /// Ids of subjects that may have rows of the day, ascending.
    fn subjects(&self, day: Day) -> Vec<i64>;
    /// All rows of a subject in the day, all revisions, in key order.
    ///
    /// # Errors
    /// The files cannot be read.
    fn rows(&self, subject: i64, day: Day) -> Result<Vec<T>>;
}

/// Which subjects of a day got something new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Ids of points; `None` = any.
    pub points: Option<BTreeSet<i64>>,
    /// Ids of vehicles; `None` = any.
    pub vehicles: Option<BTreeSet<i64>>,
}

/// What a change of a day did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Rows added.
    pub rows: u64,
    /// Parts written.
    pub parts: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Values that came again after their day was released: dropped.
    pub repeats: u64,
    /// Values no place was left for (65,536 revisions of one instant): left out.
    pub refused: u64,
}

/// Sizes and counts, for metrics and the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Archived days.
    pub days: u64,
    /// The first of them.
    pub first: Option<String>,
    /// The last of them.
    pub last: Option<String>,
    /// Days whose hot blocks are released.
    pub released: u64,
    /// Visible files.
    pub parts: u64,
    /// Their rows.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Everything of archived days up to this log record is in the archive.
    pub through: Lsn,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Head {
    version: u32,
    owner: String,
    through: Lsn,
}

#[derive(Clone, Debug)]
pub(crate) struct Catalog {
    head: Option<Head>,
    pub(crate) days: BTreeMap<Day, Arc<Manifest>>,
}

/// The archive of one node.
pub struct Archive {
    target: Target,
    staging: PathBuf,
    /// The node's own directory.
    data: PathBuf,
    /// `None` = for reading only.
    owner: Option<String>,
    compact_parts: usize,
    catalog: RwLock<Arc<Catalog>>,
    /// Held while a day changes.
    commit: Mutex<()>,
    open: Mutex<VecDeque<(String, Arc<Part>)>>,
    /// Whether this file system exchanges directories; looked at once.
    exchanges: std::sync::OnceLock<bool>,
    #[cfg(test)]
    pub(crate) cut_after: std::sync::atomic::AtomicI64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn damaged(key: &str, what: impl Into<String>) -> ArchiveError {
    ArchiveError::Damaged { key: key.to_owned(), what: what.into() }
}

fn decode<'a, T: Deserialize<'a>>(key: &str, bytes: &'a [u8], known: u32) -> Result<T> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let version = serde_json::from_slice::<Versioned>(bytes).map_err(|e| damaged(key, e.to_string()))?.version;
    if version > known {
        return Err(ArchiveError::Version { key: key.to_owned(), version, known });
    }
    serde_json::from_slice(bytes).map_err(|e| damaged(key, e.to_string()))
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(value).map_err(|e| damaged("a manifest", e.to_string()))
}

/// The last day that was released, as the node's own directory says.
///
/// # Errors
/// The file cannot be read or understood.
pub fn released_to(data: &Path) -> Result<Option<Day>, ArchiveError> {
    let path = data.join(RELEASED);
    match fs::read_to_string(&path) {
        Ok(text) => Day::parse(text.trim()).map(Some).ok_or_else(|| damaged(RELEASED, "it is no day")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).at("read", &path),
    }
}

/// A name that no file had before.
fn unique() -> Result<String> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|e| ArchiveError::Io { action: "name", path: PathBuf::new(), source: std::io::Error::other(e) })?;
    Ok(format!("{:016x}", u64::from_be_bytes(bytes)))
}

impl Archive {
    /// Opens the archive for writing and finishes what a crash interrupted. One process per archive and owner: the data directory's lock
    /// sees to that. `data` is where files wait for a bucket.
    ///
    /// Blocking; for a bucket call it on a thread of the runtime's blocking pool.
    ///
    /// # Errors
    /// [`ArchiveError::Owner`] if another node writes here; the place cannot be reached; damage.
    pub fn open(place: &Place, data: &Path, owner: &str, compact_parts: usize) -> Result<Self, ArchiveError> {
        Self::open_at(Target::open(place)?, data, owner, compact_parts)
    }

    pub(crate) fn open_at(target: Target, data: &Path, owner: &str, compact_parts: usize) -> Result<Self> {
        let archive = Self::load(target, data, Some(owner.to_owned()), compact_parts)?;
        {
            let _guard = lock(&archive.commit);
            let catalog = archive.catalog();
            match &catalog.head {
                Some(head) if head.owner != owner => {
                    return Err(ArchiveError::Owner { theirs: head.owner.clone(), ours: owner.to_owned() });
                }
                Some(_) => {}
                None => archive.put_head(Lsn::ZERO)?,
            }
            for (day, manifest) in &catalog.days {
                if manifest.pending.is_some() || !manifest.garbage.is_empty() {
                    archive.recover(*day, manifest)?;
                }
            }
            archive.clear_staging()?;
        }
        Ok(archive)
    }

    /// Opens the archive for looking at it; changes nothing.
    ///
    /// # Errors
    /// The place cannot be reached; damage.
    pub fn open_read_only(place: &Place, data: &Path) -> Result<Self, ArchiveError> {
        Self::load(Target::open(place)?, data, None, usize::MAX)
    }

    fn load(target: Target, data: &Path, owner: Option<String>, compact_parts: usize) -> Result<Self> {
        let head = target.get(HEAD)?.map(|bytes| decode::<Head>(HEAD, &bytes, HEAD_VERSION)).transpose()?;
        let named = |key: &str| Day::parse(key.strip_prefix("_manifest/day=")?.strip_suffix(".json")?);
        let keys: Vec<(Day, String)> = target.list("_manifest")?.into_iter().filter_map(|(key, _)| Some((named(&key)?, key))).collect();
        let names: Vec<String> = keys.iter().map(|(_, key)| key.clone()).collect();
        let mut days = BTreeMap::new();
        for ((day, key), bytes) in keys.iter().zip(target.get_all(&names)?) {
            let Some(bytes) = bytes else { continue };
            days.insert(*day, Arc::new(decode(key, &bytes, Manifest::VERSION)?));
        }
        Ok(Self {
            staging: target.staging(data),
            data: data.to_path_buf(),
            target,
            owner,
            compact_parts: compact_parts.max(2),
            catalog: RwLock::new(Arc::new(Catalog { head, days })),
            commit: Mutex::new(()),
            open: Mutex::default(),
            exchanges: std::sync::OnceLock::new(),
            #[cfg(test)]
            cut_after: std::sync::atomic::AtomicI64::new(i64::MAX),
        })
    }

    #[cfg(test)]
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change_catalog(&self, change: impl FnOnce(&mut Catalog)) {
        let mut held = self.catalog.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = (**held).clone();
        change(&mut next);
        *held = Arc::new(next);
    }

    /// Stands before every step that a reader or a later start could see; tests cut here.
    fn step(&self) -> Result<()> {
        if self.owner.is_none() {
            return Err(ArchiveError::ReadOnly);
        }
        #[cfg(test)]
        if self.cut_after.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) <= 0 {
            return Err(damaged("test", "cut"));
        }
        Ok(())
    }

    fn put_head(&self, through: Lsn) -> Result<()> {
        self.step()?;
        let head = Head { version: HEAD_VERSION, owner: self.owner.clone().unwrap_or_default(), through };
        self.target.put(&self.staging, HEAD, encode(&head)?)?;
        self.change_catalog(|catalog| catalog.head = Some(head));
        Ok(())
    }

    fn put_manifest(&self, day: Day, manifest: &Manifest) -> Result<()> {
        self.step()?;
        self.target.put(&self.staging, &Manifest::key(day), encode(manifest)?)
    }

    fn clear_staging(&self) -> Result<()> {
        self.step()?;
        match fs::remove_dir_all(&self.staging) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).at("remove", &self.staging),
            _ => Ok(()),
        }
    }

    /// Archived days, ascending.
    pub fn days(&self) -> Vec<Day> {
        self.catalog().days.keys().copied().collect()
    }

    /// Whether the day is archived.
    pub fn holds(&self, day: Day) -> bool {
        self.catalog().days.contains_key(&day)
    }

    /// Everything of archived days that stands in log records up to this one is in the archive: hot blocks that hold nothing later may go,
    /// once [`Archive::release`] was called for their day.
    pub fn through(&self) -> Lsn {
        self.catalog().head.as_ref().map_or(Lsn::ZERO, |head| head.through)
    }

    /// Says how far the log has been looked at for archived days.
    ///
    /// # Errors
    /// The place cannot be written.
    pub fn set_through(&self, through: Lsn) -> Result<(), ArchiveError> {
        let _guard = lock(&self.commit);
        if self.through() == through { Ok(()) } else { self.put_head(through) }
    }

    /// From now on readers look for the day here as well: its hot blocks may be dropped. `false` if the day is not archived.
    ///
    /// # Errors
    /// The place cannot be written.
    pub fn release(&self, day: Day) -> Result<bool, ArchiveError> {
        let _guard = lock(&self.commit);
        let Some(manifest) = self.catalog().days.get(&day).cloned() else { return Ok(false) };
        if !manifest.released {
            // First of all in the node's own directory: a node that cannot reach its archive must know what it does not see.
            if released_to(&self.data)?.is_none_or(|last| last < day) {
                self.step()?;
                put_file(&self.data, RELEASED, day.to_string().as_bytes())?;
            }
            let manifest = Manifest { released: true, ..(*manifest).clone() };
            self.put_manifest(day, &manifest)?;
            self.change_catalog(|catalog| drop(catalog.days.insert(day, Arc::new(manifest))));
        }
        Ok(true)
    }

    /// Released days in `from..=to`.
    pub(crate) fn released(&self, from: Day, to: Day) -> Vec<Day> {
        if from > to {
            return Vec::new();
        }
        self.catalog().days.range(from..=to).filter(|(_, m)| m.released).map(|(day, _)| *day).collect()
    }

    /// Sizes and counts.
    pub fn status(&self) -> Status {
        let catalog = self.catalog();
        let mut status = Status {
            days: catalog.days.len() as u64,
            first: catalog.days.keys().next().map(ToString::to_string),
            last: catalog.days.keys().next_back().map(ToString::to_string),
            through: self.through(),
            ..Status::default()
        };
        for manifest in catalog.days.values() {
            status.released += u64::from(manifest.released);
            for part in &manifest.parts {
                status.parts += 1;
                status.rows += part.rows;
                status.bytes += part.bytes;
            }
        }
        status
    }

    /// Adds what `hot` has of the day and the archive has not: everything the first time, later what came late, as further
    /// parts. A day of which nothing is found does not become an archived one.
    /// `only` narrows the search to subjects known to have something new.
    ///
    /// # Errors
    /// `hot` or the place cannot be read or written; the day is as it was, or finished by the next [`Archive::open`].
    pub fn add_day(
        &self,
        day: Day,
        hot: &(impl Hot<Reading> + Hot<Position>),
        describe: &dyn Describe,
        only: Option<&Touched>,
    ) -> Result<Outcome, ArchiveError> {
        let _guard = lock(&self.commit);
        let manifest = self.settled(day)?;
        let (mut outcome, mut adds) = (Outcome::default(), Vec::new());
        let points = only.and_then(|o| o.points.as_ref());
        self.stage::<Reading>(day, &manifest, hot, &|id| describe.point(id, day), points, &mut adds, &mut outcome)?;
        let vehicles = only.and_then(|o| o.vehicles.as_ref());
        self.stage::<Position>(day, &manifest, hot, &|id| describe.vehicle(id, day), vehicles, &mut adds, &mut outcome)?;
        if !adds.is_empty() {
            self.commit(day, &manifest, Pending { add: adds, remove: Vec::new() })?;
        }
        Ok(outcome)
    }

    /// The day's manifest with nothing pending; a change that failed in this process is finished first.
    fn settled(&self, day: Day) -> Result<Manifest> {
        if self.owner.is_none() {
            return Err(ArchiveError::ReadOnly);
        }
        // What the place says counts: an earlier failure may have left more there than this process believes.
        let key = Manifest::key(day);
        let Some(bytes) = self.target.get(&key)? else { return Ok(Manifest::new(day)) };
        let manifest: Manifest = decode(&key, &bytes, Manifest::VERSION)?;
        if manifest.pending.is_some() || !manifest.garbage.is_empty() { self.recover(day, &manifest) } else { Ok(manifest) }
    }

    #[expect(clippy::too_many_arguments, reason = "one loop for two tables")]
    fn stage<T: Table>(
        &self,
        day: Day,
        manifest: &Manifest,
        hot: &impl Hot<T>,
        describe: &dyn Fn(i64) -> Arc<Description>,
        only: Option<&BTreeSet<i64>>,
        adds: &mut Vec<(String, PartMeta)>,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let mut regions: BTreeMap<String, Vec<(i64, Arc<Description>)>> = BTreeMap::new();
        for id in Hot::<T>::subjects(hot, day).into_iter().filter(|id| only.is_none_or(|only| only.contains(id))) {
            let description = describe(id);
            regions.entry(description.region.clone()).or_default().push((id, description));
        }
        for (region, subjects) in regions {
            let (mut writer, mut staged) = (None, String::new());
            for (id, description) in subjects {
                let rows = hot.rows(id, day)?;
                if rows.is_empty() {
                    continue;
                }
                let archived = self.rows_of::<T>(day, &manifest.parts, id, day.start().micros(), day.end().micros())?;
                let found = fresh(&archived, rows, day.end().micros());
                outcome.repeats += found.repeats;
                outcome.refused += found.refused;
                for row in &found.rows {
                    let writer = match &mut writer {
                        Some(writer) => writer,
                        None => {
                            self.step()?;
                            staged = format!("part-{}.parquet", unique()?);
                            make_dir(&self.staging)?;
                            writer.insert(PartWriter::<T>::create(&self.staging.join(&staged))?)
                        }
                    };
                    writer.push(row, &description.labels)?;
                }
            }
            let Some(writer) = writer else { continue };
            self.step()?;
            let written = writer.finish()?;
            outcome.rows += written.digest.rows;
            outcome.parts += 1;
            outcome.bytes += written.bytes;
            adds.push((staged.clone(), PartMeta::new::<T>(&region, &staged, &written)));
        }
        Ok(())
    }

    /// Carries a change out, from the second step on.
    fn commit(&self, day: Day, before: &Manifest, pending: Pending) -> Result<()> {
        sync_dir(&self.staging)?;
        let intent = Manifest { pending: Some(pending.clone()), ..before.clone() };
        self.put_manifest(day, &intent)?;
        self.finish(day, before, &pending).map(drop)
    }

    /// Steps three to five. Each of them may have been done before.
    fn finish(&self, day: Day, before: &Manifest, pending: &Pending) -> Result<Manifest> {
        for (staged, part) in &pending.add {
            self.step()?;
            let key = part.key(day);
            if self.target.size(&key)? == Some(part.bytes) {
                self.target.settle(&key)?;
                sync_dir(&self.staging)?;
                continue;
            }
            let waiting = self.staging.join(staged);
            if pending.remove.is_empty() || !self.target.is_local() {
                self.target.publish(&waiting, &key)?;
            } else if !self.target.exchange(waiting.parent().unwrap_or(&waiting), &part.folder(day))? {
                return Err(damaged(&key, "the file system cannot exchange directories"));
            }
        }
        let gone: BTreeSet<String> = pending.remove.iter().map(|part| part.key(day)).collect();
        let mut after = Manifest { pending: None, ..before.clone() };
        after.parts.retain(|part| !gone.contains(&part.key(day)));
        after.parts.extend(pending.add.iter().map(|(_, part)| part.clone()));
        after.parts.sort_by(|a, b| (&a.table, &a.region, &a.file).cmp(&(&b.table, &b.region, &b.file)));
        if !self.target.is_local() {
            after.garbage = pending.remove.clone();
        }
        self.put_manifest(day, &after)?;
        self.change_catalog(|catalog| drop(catalog.days.insert(day, Arc::new(after.clone()))));
        lock(&self.open).retain(|(key, _)| !gone.contains(key));
        self.clear_garbage(day, after)
    }

    fn clear_garbage(&self, day: Day, mut manifest: Manifest) -> Result<Manifest> {
        if !manifest.garbage.is_empty() {
            for part in &manifest.garbage {
                self.step()?;
                self.target.remove(&part.key(day))?;
            }
            manifest.garbage.clear();
            self.put_manifest(day, &manifest)?;
            self.change_catalog(|catalog| drop(catalog.days.insert(day, Arc::new(manifest.clone()))));
        }
        self.clear_staging()?;
        Ok(manifest)
    }

    /// Finishes what was pending, or undoes it if its files are not there any more (a bucket's staging may stand on another disk).
    fn recover(&self, day: Day, manifest: &Manifest) -> Result<Manifest> {
        let Some(pending) = &manifest.pending else { return self.clear_garbage(day, manifest.clone()) };
        let before = Manifest { pending: None, ..manifest.clone() };
        let mut whole = true;
        for (staged, part) in &pending.add {
            let waiting = fs::metadata(self.staging.join(staged)).is_ok_and(|m| m.len() == part.bytes);
            whole &= waiting || self.target.size(&part.key(day))? == Some(part.bytes);
        }
        if whole {
            tracing::info!(%day, "finished a change of an archived day that was interrupted");
            return self.finish(day, &before, pending);
        }
        tracing::warn!(%day, "undid a change of an archived day: its files are not there any more; the next run makes it again");
        for (_, part) in &pending.add {
            self.step()?;
            self.target.remove(&part.key(day))?;
        }
        self.put_manifest(day, &before)?;
        self.change_catalog(|catalog| drop(catalog.days.insert(day, Arc::new(before.clone()))));
        Ok(before)
    }

    /// Merges the parts of every partition of the day that has at least `compact_parts` of them into one; how many partitions that were.
    ///
    /// # Errors
    /// The place cannot be read or written; parts that do not hold the rows their manifest names are left as they are.
    pub fn compact_day(&self, day: Day) -> Result<u64, ArchiveError> {
        let _guard = lock(&self.commit);
        if !self.holds(day) {
            return Ok(0);
        }
        let mut manifest = self.settled(day)?;
        let mut partitions: BTreeMap<(String, String), Vec<PartMeta>> = BTreeMap::new();
        for part in &manifest.parts {
            partitions.entry((part.table.clone(), part.region.clone())).or_default().push(part.clone());
        }
        let mut merged = 0;
        for ((table, region), parts) in partitions.into_iter().filter(|(_, parts)| parts.len() >= self.compact_parts) {
            if !self.can_exchange()? {
                break;
            }
            let add = if table == Reading::NAME {
                self.merge::<Reading>(day, &region, &parts)?
            } else {
                self.merge::<Position>(day, &region, &parts)?
            };
            self.commit(day, &manifest, Pending { add: vec![add], remove: parts })?;
            manifest = self.settled(day)?;
            merged += 1;
        }
        Ok(merged)
    }

    /// Days with a partition that is worth merging.
    pub(crate) fn fragmented(&self) -> Vec<Day> {
        let catalog = self.catalog();
        let many = |manifest: &Manifest| {
            let mut parts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
            manifest.parts.iter().for_each(|part| *parts.entry((&part.table, &part.region)).or_default() += 1);
            parts.values().any(|n| *n >= self.compact_parts)
        };
        catalog.days.iter().filter(|(_, manifest)| many(manifest)).map(|(day, _)| *day).collect()
    }

    fn can_exchange(&self) -> Result<bool> {
        if !self.target.is_local() {
            return Ok(true);
        }
        if let Some(known) = self.exchanges.get() {
            return Ok(*known);
        }
        let (a, b) = (self.staging.join("probe-a"), self.staging.join("probe-b"));
        make_dir(&a)?;
        make_dir(&b)?;
        let can = rustix::fs::renameat_with(rustix::fs::CWD, &a, rustix::fs::CWD, &b, rustix::fs::RenameFlags::EXCHANGE).is_ok();
        if !can {
            tracing::warn!(dir = %self.staging.display(), "this file system cannot exchange directories: late parts of archived days stay unmerged");
        }
        Ok(*self.exchanges.get_or_init(|| can))
    }

    /// Writes the rows of some parts as one staged part, in bounded memory.
    fn merge<T: Table>(&self, day: Day, region: &str, parts: &[PartMeta]) -> Result<(String, PartMeta)> {
        self.step()?;
        let file = format!("part-{}.parquet", unique()?);
        let dir = self.staging.join(format!("{}-{}-{region}", T::NAME, unique()?));
        make_dir(&dir)?;
        let mut writer = PartWriter::<T>::create(&dir.join(&file))?;
        let mut expected = Digest::default();
        merged::<T>(&parts.iter().map(|part| self.part(day, part)).collect::<Result<Vec<_>>>()?, |row, labels| {
            expected.add(row);
            writer.push(row, labels)
        })?;
        let (rows, hash) = parts
            .iter()
            .fold((0, 0_u128), |(rows, hash), part| (rows + part.rows, hash.wrapping_add(part.hash.parse::<u128>().unwrap_or_default())));
        if (expected.rows, expected.hash) != (rows, hash) {
            return Err(damaged(&parts[0].folder(day), format!("its parts hold {} rows, their manifest says {rows}", expected.rows)));
        }
        self.step()?;
        let written = writer.finish()?;
        sync_dir(&dir)?;
        let staged = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        Ok((format!("{staged}/{file}"), PartMeta::new::<T>(region, &file, &written)))
    }

    /// An open part.
    pub(crate) fn part(&self, day: Day, part: &PartMeta) -> Result<Arc<Part>> {
        let key = part.key(day);
        {
            let mut open = lock(&self.open);
            if let Some(i) = open.iter().position(|(k, _)| *k == key)
                && let Some(found) = open.remove(i)
            {
                open.push_back(found.clone());
                return Ok(found.1);
            }
        }
        let found = Arc::new(Part::open(key.clone(), self.target.source(&key, part.bytes)?)?);
        let mut open = lock(&self.open);
        open.push_back((key, Arc::clone(&found)));
        if open.len() > OPEN_PARTS {
            open.pop_front();
        }
        Ok(found)
    }

    fn rows_of<T: Table>(&self, day: Day, parts: &[PartMeta], subject: i64, from: i64, to: i64) -> Result<Vec<T>> {
        let mut rows: Vec<T> = Vec::new();
        for part in parts.iter().filter(|p| p.table == T::NAME && (p.first..=p.last).contains(&subject)) {
            rows.extend(self.part(day, part)?.rows::<T>(subject, from, to)?);
        }
        rows.sort_by_key(Table::key);
        Ok(rows)
    }

    /// Archived rows of a subject with `from <= event_at < to` (µs) in the day, all revisions, in key order.
    ///
    /// # Errors
    /// The place cannot be read; damage.
    pub fn rows<T: Table>(&self, day: Day, subject: i64, from: i64, to: i64) -> Result<Vec<T>, ArchiveError> {
        let mut looks = 0;
        loop {
            let Some(manifest) = self.catalog().days.get(&day).cloned() else { return Ok(Vec::new()) };
            looks += 1;
            match self.rows_of(day, &manifest.parts, subject, from, to) {
                // A merge took the part away; once it is through, the catalog names the new one.
                Err(e) if looks < LOOKS && is_gone(&e) => drop(lock(&self.commit)),
                other => return other,
            }
        }
    }

    /// Reads every part and compares with the manifests: rows, hashes, order, and that no row stands twice.
    ///
    /// # Errors
    /// The place cannot be read.
    pub fn verify(&self, day: Option<Day>) -> Result<Report, ArchiveError> {
        let mut report = Report::default();
        let catalog = self.catalog();
        for (day, manifest) in catalog.days.iter().filter(|(d, _)| day.is_none_or(|day| day == **d)) {
            if manifest.pending.is_some() {
                report.findings.push(format!("day={day}: a change is pending; the next run finishes it"));
            }
            let mut named: BTreeSet<String> = manifest.parts.iter().chain(&manifest.garbage).map(|p| p.key(*day)).collect();
            named.extend(manifest.pending.iter().flat_map(|p| &p.add).map(|(_, part)| part.key(*day)));
            for table in [Reading::NAME, Position::NAME] {
                let visible = self.target.list(&format!("{table}/day={day}"))?;
                report
                    .findings
                    .extend(visible.iter().filter(|(key, _)| !named.contains(key)).map(|(key, _)| format!("{key}: no manifest names it")));
            }
            let mut tables: BTreeMap<(&str, &str), Vec<&PartMeta>> = BTreeMap::new();
            for part in &manifest.parts {
                tables.entry((&part.table, &part.region)).or_default().push(part);
            }
            let mut sums = BTreeMap::new();
            for ((table, _), parts) in tables {
                let sum = if table == Reading::NAME {
                    self.verify_partition::<Reading>(*day, &parts, &mut report)?
                } else {
                    self.verify_partition::<Position>(*day, &parts, &mut report)?
                };
                sums.entry(table.to_owned()).or_insert_with(Digest::default).merge(&sum);
            }
            report.days.extend(sums.into_iter().map(|(table, digest)| DayReport {
                day: day.to_string(),
                table,
                rows: digest.rows,
                sum: digest.sum,
                hash: digest.hash.to_string(),
            }));
        }
        Ok(report)
    }

    fn verify_partition<T: Table>(&self, day: Day, parts: &[&PartMeta], report: &mut Report) -> Result<Digest> {
        let mut open = Vec::new();
        for part in parts {
            let key = part.key(day);
            match self.target.size(&key)? {
                Some(bytes) if bytes == part.bytes => {}
                Some(bytes) => {
                    report.findings.push(format!("{key}: {bytes} bytes instead of {}", part.bytes));
                    continue;
                }
                None => {
                    report.findings.push(format!("{key}: missing"));
                    continue;
                }
            }
            let mut digest = Digest::default();
            match self.target.source(&key, part.bytes)?.crc32() {
                Ok(crc) if crc == part.crc32 => {}
                Ok(_) => {
                    report.findings.push(format!("{key}: its bytes are not those that were written (CRC-32)"));
                    continue;
                }
                Err(e) => {
                    report.findings.push(format!("{key}: {}", chain(&e)));
                    continue;
                }
            }
            let read = self.part(day, part).and_then(|found| {
                for row in found.scan::<T>()? {
                    digest.add(&row?.0);
                }
                Ok(found)
            });
            match read {
                Ok(_) if !part.same_rows(&digest) => {
                    report
                        .findings
                        .push(format!("{key}: {} rows, hash {}; the manifest says {}, {}", digest.rows, digest.hash, part.rows, part.hash));
                }
                Ok(found) => open.push(found),
                Err(e) => report.findings.push(format!("{key}: {}", chain(&e))),
            }
        }
        let (mut all, mut last, mut twice) = (Digest::default(), None, 0_u64);
        let read = merged::<T>(&open, |row, _| {
            twice += u64::from(last.is_some_and(|last| last >= row.key()));
            last = Some(row.key());
            all.add(row);
            Ok(())
        });
        if let Err(e) = read {
            report.findings.push(format!("{}: {}", parts[0].folder(day), chain(&e)));
        }
        if twice > 0 {
            report.findings.push(format!("{}: {twice} rows stand twice or out of order", parts[0].folder(day)));
        }
        Ok(all)
    }
}

fn is_gone(error: &ArchiveError) -> bool {
    match error {
        ArchiveError::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        #[cfg(feature = "s3")]
        ArchiveError::Object { source, .. } => matches!(source, object_store::Error::NotFound { .. }),
        #[cfg(feature = "s3")]
        ArchiveError::Parquet { source: parquet::errors::ParquetError::External(e), .. } => {
            matches!(e.downcast_ref(), Some(object_store::Error::NotFound { .. }))
        }
        _ => false,
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Hands every row of some parts over in key order.
fn merged<T: Table>(parts: &[Arc<Part>], mut take: impl FnMut(&T, &Labels) -> Result<()>) -> Result<()> {
    let mut scans = parts.iter().map(Part::scan::<T>).collect::<Result<Vec<_>>>()?;
    let mut heads = Vec::with_capacity(scans.len());
    for scan in &mut scans {
        heads.push(scan.next().transpose()?);
    }
    loop {
        let least = heads.iter().enumerate().filter_map(|(i, head)| Some((head.as_ref()?.0.key(), i))).min();
        let Some((_, i)) = least else { return Ok(()) };
        let next = scans[i].next().transpose()?;
        if let Some((row, labels)) = std::mem::replace(&mut heads[i], next) {
            take(&row, &labels)?;
        }
    }
}

/// What [`Archive::verify`] saw.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Figures of each day and table, to be compared with those of SQL.
    pub days: Vec<DayReport>,
    /// Everything that is not as the manifests say.
    pub findings: Vec<String>,
}

/// Figures of one table of one day.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DayReport {
    /// The day.
    pub day: String,
    /// `readings` or `positions`.
    pub table: String,
    /// Rows, all revisions.
    pub rows: u64,
    /// Sum of the values (positions: of the speeds in km/h).
    pub sum: f64,
    /// Order-independent hash, decimal.
    pub hash: String,
}

impl Report {
    /// Whether everything is as the manifests say.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}
