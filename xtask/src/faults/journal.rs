//! The other half of `shim/power.c`: builds it, sets its switches, and plays its journal back when the power fails.
//!
//! The journal is a file in shared memory; reading and writing it as a file sees what the killed process mapped. Never used while the node
//! runs, but for switches and counters. Start at [`Journal::cut`], which says what a disk may hold after the power failed.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::Random;
use crate::shell;

const SHIM: &str = include_str!("../../shim/power.c");
const MAGIC: u64 = 0x3154_4c55_414c_4e41;
const HEAD_BYTES: u64 = 4096;
/// Sparse: only what is used costs memory. Holds more than a node writes between two syncs of any of its files.
const ARENA_BYTES: u64 = 256 << 20;

/// The words of the journal's head that the harness reads or sets; `struct head` of `power.c`, in order.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
#[allow(missing_docs, reason = "named and explained in power.c")]
pub enum Word {
    Active = 1,
    Used = 2,
    ArenaBytes = 4,
    Writes = 6,
    Syncs = 8,
    Overflow = 9,
    Mapped = 10,
    Unseen = 11,
    Injected = 12,
    KillMask = 13,
    KillCountdown = 14,
    KillMode = 15,
    WriteErrno = 16,
    WriteClass = 17,
    WriteSkip = 18,
    SyncErrno = 19,
    SyncClass = 20,
    SyncSkip = 21,
    ShortMax = 22,
    ShortClass = 23,
    DelayUs = 24,
    DelayClass = 25,
    SwallowFdatasync = 26,
    SwallowFsync = 27,
}

/// Classes of files, as in `power.c`.
pub mod class {
    /// Segments of the telemetry log.
    pub const LOG: u64 = 1;
    /// Every other file of the history.
    pub const HISTORY: u64 = 2;
    /// The database, its journal and its write-ahead log.
    pub const SQLITE: u64 = 4;
    /// The history's directory.
    pub const HISTORY_DIR: u64 = 16;
    /// Everything.
    pub const ALL: u64 = 63;
}

/// Kinds of acts after which the shim may kill, as in `power.c`.
pub mod act {
    /// Bytes and lengths.
    pub const WRITE: u64 = 1;
    /// Names made, changed or removed.
    pub const NAME: u64 = 2;
    /// Syncs.
    pub const SYNC: u64 = 4;
}

/// What of the unsynced part the disk had written when the power failed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// Nothing.
    Everything,
    /// Any part of it, by sector, length and name.
    Part {
        /// Bytes that are written whole or not at all: 512 or 4096.
        sector: u64,
        /// Chance in 16 that a sector or a length was not written.
        bytes: u64,
        /// Chance in 16 that a name was not.
        names: u64,
        /// Names reach the disk in the order in which they were changed, as on a journaling file system.
        in_order: bool,
    },
}

impl Loss {
    /// A third of the cuts lose everything; the rest a part.
    pub fn any(random: &mut Random) -> Self {
        if random.below(3) == 0 {
            return Self::Everything;
        }
        let chance = |random: &mut Random| [0, 4, 8, 12, 16][random.below(5) as usize];
        Self::Part {
            sector: if random.below(2) == 0 { 512 } else { 4096 },
            bytes: chance(random),
            names: chance(random),
            in_order: random.below(2) == 0,
        }
    }
}

/// What a cut undid.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cut {
    /// Entries that were not synced.
    pub unsynced: u64,
    /// Sectors and lengths put back.
    pub bytes: u64,
    /// Names put back.
    pub names: u64,
}

#[derive(Debug)]
struct Entry {
    kind: u32,
    ino: u64,
    off: u64,
    old_size: u64,
    n_new: u64,
    payload: Vec<u8>,
}

/// Bytes are 1, lengths 2, names 10 and up.
const TRUNCATE: u32 = 2;
const CREATE: u32 = 10;
const UNLINK: u32 = 11;
const RENAME: u32 = 12;
const MKDIR: u32 = 13;
const RMDIR: u32 = 14;
const LINK: u32 = 15;
const EXCHANGE: u32 = 16;

/// A disk that can lose power: one node's data directory, its archive and backups, and what is not yet synced of them.
pub struct Journal {
    file: File,
    path: PathBuf,
    shim: PathBuf,
    /// Everything that the shim watches.
    pub root: PathBuf,
    /// The node's data directory, below it.
    pub data: PathBuf,
    grave: PathBuf,
}

impl Drop for Journal {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_dir_all(&self.grave);
    }
}

/// Compiles the shim; its path.
///
/// # Errors
/// There is no C compiler, or it refuses.
pub fn build_shim() -> anyhow::Result<PathBuf> {
    let dir = shell::target_dir().join("faults");
    fs::create_dir_all(&dir)?;
    let (source, shim) = (dir.join("power.c"), dir.join("power.so"));
    if fs::read_to_string(&source).is_ok_and(|text| text == SHIM) && shim.exists() {
        return Ok(shim);
    }
    // Under a name of its own first: another run may be using the present one.
    let fresh = dir.join(format!("power.{}.so", std::process::id()));
    let fresh_source = dir.join(format!("power.{}.c", std::process::id()));
    fs::write(&fresh_source, SHIM)?;
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&fresh).arg(&fresh_source).args(["-ldl", "-lpthread"]);
    shell::run(&mut cc)?;
    fs::rename(&fresh, &shim)?;
    fs::rename(&fresh_source, &source)?;
    Ok(shim)
}

impl Journal {
    /// An empty journal for a node below `root`, which must exist.
    ///
    /// # Errors
    /// Shared memory or the directory cannot be written.
    pub fn create(shim: &Path, root: &Path) -> anyhow::Result<Self> {
        let root = root.canonicalize().with_context(|| format!("{}", root.display()))?;
        // The shim knows the history by this name.
        let data = root.join("node");
        let grave = root.with_extension("grave");
        fs::create_dir_all(&data)?;
        fs::create_dir_all(&grave)?;
        let memory = if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
        let name = root.file_name().unwrap_or_default().to_string_lossy();
        let path = memory.join(format!("anlan-journal-{}-{name}", std::process::id()));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        file.set_len(HEAD_BYTES + 2 * ARENA_BYTES)?;
        file.write_all_at(&MAGIC.to_le_bytes(), 0)?;
        let journal = Self { file, path, shim: shim.to_owned(), root, data, grave };
        journal.set(Word::ArenaBytes, ARENA_BYTES)?;
        Ok(journal)
    }

    /// Puts the node under the shim.
    pub fn apply(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.shim).env("ANLAN_FAULTS_JOURNAL", &self.path);
        command.env("ANLAN_FAULTS_DIR", &self.root).env("ANLAN_FAULTS_GRAVE", &self.grave);
    }

    /// Sets a switch; it holds from the node's next call on.
    ///
    /// # Errors
    /// I/O.
    pub fn set(&self, word: Word, value: u64) -> anyhow::Result<()> {
        Ok(self.file.write_all_at(&value.to_le_bytes(), word as u64 * 8)?)
    }

    /// Reads a switch or counter.
    ///
    /// # Errors
    /// I/O.
    pub fn get(&self, word: Word) -> anyhow::Result<u64> {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, word as u64 * 8)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Everything that the shim saw and could not keep would make a passing run worthless.
    ///
    /// # Errors
    /// What it was.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!(self.get(Word::Overflow)? == 0, "the undo journal overflowed");
        ensure!(self.get(Word::Mapped)? == 0, "a file below the data directory is mapped for writing");
        ensure!(self.get(Word::Unseen)? == 0, "a file below the data directory was changed round the journal");
        ensure!(
            self.get(Word::Writes)? > 0 && self.get(Word::Syncs)? > 0,
            "the shim saw no write and no sync: is the binary linked statically?"
        );
        Ok(())
    }

    /// What is not synced, oldest first.
    fn entries(&self) -> anyhow::Result<Vec<Entry>> {
        let active = self.get(Word::Active)?;
        let mut head = [0; 8];
        self.file.read_exact_at(&mut head, (Word::Used as u64 + active) * 8)?;
        let mut bytes = vec![0; usize::try_from(u64::from_le_bytes(head))?];
        self.file.read_exact_at(&mut bytes, HEAD_BYTES + active * ARENA_BYTES)?;
        let (mut entries, mut rest) = (Vec::new(), bytes.as_slice());
        while !rest.is_empty() {
            let u32_at = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap_or_default());
            let u64_at = |at: usize| u64::from_le_bytes(rest[at..at + 8].try_into().unwrap_or_default());
            ensure!(rest.len() >= 64, "the journal is torn");
            let (len, is_live) = (u32_at(0) as usize, u32_at(8) != 0);
            ensure!(len >= 64 && len <= rest.len(), "the journal is torn");
            if is_live {
                let n_old = usize::try_from(u64_at(40))?;
                let payload = rest[64..64 + n_old].to_vec();
                entries.push(Entry { kind: u32_at(4), ino: u64_at(24), off: u64_at(32), old_size: u64_at(48), n_new: u64_at(56), payload });
            }
            rest = &rest[len..];
        }
        Ok(entries)
    }

    /// The power fails: what was not synced is undone, newest first, all of it or a part. The node must be dead.
    ///
    /// # Errors
    /// I/O on the directory: the harness is at fault, not the node.
    pub fn cut(&self, loss: Loss, random: &mut Random) -> anyhow::Result<Cut> {
        let entries = self.entries()?;
        let mut cut = Cut { unsynced: entries.len() as u64, ..Cut::default() };
        let mut files = HashMap::new();
        for dir in [&self.root, &self.grave] {
            inodes(dir, &mut files)?;
        }
        let (bytes, names): (Vec<&Entry>, Vec<&Entry>) = entries.iter().rev().partition(|e| e.kind <= TRUNCATE);
        let mut kept = Kept::default();
        for entry in bytes {
            if let Some(path) = files.get(&entry.ino) {
                cut.bytes += undo_bytes(path, entry, loss, random, &mut kept)?;
            }
        }
        let first_kept = random.below(names.len() as u64 + 1) as usize;
        for (i, entry) in names.into_iter().enumerate() {
            let is_undone = match loss {
                Loss::Everything => true,
                Loss::Part { in_order: true, .. } => i < first_kept,
                Loss::Part { names, .. } => random.below(16) < names,
            };
            cut.names += u64::from(undo_name(entry, is_undone, &mut kept)?);
        }
        remove_wal_indexes(&self.data)?;
        self.forget()?;
        Ok(cut)
    }

    /// Everything as it is now counts as synced.
    fn forget(&self) -> anyhow::Result<()> {
        self.file.write_all_at(&[0; 24], Word::Active as u64 * 8)?;
        for file in fs::read_dir(&self.grave)? {
            fs::remove_file(file?.path())?;
        }
        Ok(())
    }
}

/// What has reached the disk: a sector holds one of the contents it had since the sync, so whatever was written to it before a content
/// that stays, stays too.
#[derive(Default)]
struct Kept {
    sectors: HashSet<(u64, u64)>,
    lengths: HashSet<u64>,
    names: HashSet<PathBuf>,
    /// Directories that keep their new name, newest first: what happened below them before was noted under the old one.
    moves: Vec<(PathBuf, PathBuf, bool)>,
}

impl Kept {
    /// Where the name stands now.
    fn now(&self, name: PathBuf) -> PathBuf {
        self.moves.iter().rev().fold(name, |name, (old, new, is_exchange)| {
            let moved = |from: &Path, to: &Path| {
                let rest = name.strip_prefix(from).ok()?;
                Some(if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) })
            };
            moved(old, new).or_else(|| is_exchange.then(|| moved(new, old)).flatten()).unwrap_or_else(|| name.clone())
        })
    }
}

fn undo_bytes(path: &Path, entry: &Entry, loss: Loss, random: &mut Random, kept: &mut Kept) -> anyhow::Result<u64> {
    let file = OpenOptions::new().write(true).read(true).open(path).with_context(|| format!("undo in {}", path.display()))?;
    let (sector, chance) = match loss {
        Loss::Everything => (4096, 16),
        Loss::Part { sector, bytes, .. } => (sector, bytes),
    };
    let mut undone = 0;
    let grows = entry.kind == TRUNCATE || entry.off + entry.n_new > entry.old_size;
    let mut length_back = false;
    if grows && !kept.lengths.contains(&entry.ino) {
        length_back = random.below(16) < chance;
        if length_back {
            file.set_len(entry.old_size)?;
            undone += 1;
        } else {
            kept.lengths.insert(entry.ino);
        }
    }
    if entry.kind == TRUNCATE {
        // What was cut off comes back with the length.
        if length_back {
            file.write_all_at(&entry.payload, entry.off)?;
        }
        return Ok(undone);
    }
    let (end, len) = (entry.off + entry.n_new, file.metadata()?.len());
    let mut at = entry.off;
    while at < end {
        let until = ((at / sector + 1) * sector).min(end);
        if !kept.sectors.contains(&(entry.ino, at / sector)) {
            if random.below(16) < chance {
                let old = |at: u64| usize::try_from(at - entry.off).map(|i| i.min(entry.payload.len()));
                let mut bytes = entry.payload[old(at)?..old(until)?].to_vec();
                // Never written and yet within the length: zeros.
                bytes.resize(usize::try_from(until.min(len).saturating_sub(at))?, 0);
                file.write_all_at(&bytes, at)?;
                undone += 1;
            } else {
                kept.sectors.insert((entry.ino, at / sector));
            }
        }
        at = until;
    }
    Ok(undone)
}

fn undo_name(entry: &Entry, is_undone: bool, kept: &mut Kept) -> anyhow::Result<bool> {
    let text = String::from_utf8_lossy(&entry.payload).into_owned();
    let mut parts = text.split('\0').map(PathBuf::from);
    let mut next = || kept.now(parts.next().unwrap_or_default());
    let (first, second, third) = (next(), next(), next());
    let touched: Vec<&PathBuf> = if matches!(entry.kind, RENAME | EXCHANGE) { vec![&first, &second] } else { vec![&first] };
    if !is_undone || touched.iter().any(|name| kept.names.contains(*name)) {
        for name in touched {
            // A name that is there has its directory.
            kept.names.extend(name.ancestors().map(Path::to_owned));
        }
        if matches!(entry.kind, RENAME | EXCHANGE) && second.is_dir() && has_happened(entry, &second) {
            kept.moves.push((first, second, entry.kind == EXCHANGE));
        }
        return Ok(false);
    }
    let settled = match entry.kind {
        CREATE | LINK => fs::remove_file(&first),
        UNLINK => fs::hard_link(&second, &first),
        RENAME if first.exists() || !second.exists() => Ok(()),
        RENAME => {
            fs::rename(&second, &first).and_then(|()| if third.as_os_str().is_empty() { Ok(()) } else { fs::hard_link(&third, &second) })
        }
        EXCHANGE if !has_happened(entry, &second) => Ok(()),
        EXCHANGE => {
            let aside = first.with_extension("aside");
            fs::rename(&first, &aside).and_then(|()| fs::rename(&second, &first)).and_then(|()| fs::rename(&aside, &second))
        }
        MKDIR => fs::remove_dir_all(&first),
        RMDIR => fs::create_dir(&first),
        other => anyhow::bail!("the journal holds an entry of kind {other}"),
    };
    match settled {
        // The kill came between the journal and the act.
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::AlreadyExists) => Ok(false),
        Err(e) => Err(e).with_context(|| format!("undo the name {}", first.display())),
        Ok(()) => Ok(true),
    }
}

/// Whether what was to get this name has it: the kill may have come between the journal and the act.
fn has_happened(entry: &Entry, new: &Path) -> bool {
    fs::metadata(new).is_ok_and(|meta| meta.ino() == entry.ino)
}

fn inodes(dir: &Path, found: &mut HashMap<u64, PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.is_dir() {
            inodes(&entry.path(), found)?;
        } else {
            found.insert(meta.ino(), entry.path());
        }
    }
    Ok(())
}

/// SQLite maps this file and builds it anew when nobody has it open; after a power cut it is whatever it is.
fn remove_wal_indexes(dir: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with("-shm") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
