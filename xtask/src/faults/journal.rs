//! The other half of `shim/power.c`: builds it, sets its switches, and plays its journal back when the power fails.
//!
//! The journal is a file in shared memory; reading and writing it as a file sees what the killed process mapped. Never used while the node
//! runs, but for switches and counters. Start at [`Journal::cut`], which says what a disk may hold after the power failed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::{At as _, Random};
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

/// `struct entry` of `power.c`, which says what the fields mean for bytes and for names.
#[derive(Debug)]
struct Entry {
    kind: u32,
    ino: u64,
    off: u64,
    old_size: u64,
    n_new: u64,
    payload: Vec<u8>,
}

/// A word in a directory, by the directory's number.
type Place = (u64, OsString);

impl Entry {
    /// The places that a change of names touches: one, or of a rename and an exchange two.
    fn places(&self) -> (Place, Option<Place>) {
        let mut words = self.payload.split(|b| *b == 0).map(|word| OsString::from_vec(word.to_vec()));
        let mut word = || words.next().unwrap_or_default();
        let first = (self.off, word());
        (first, matches!(self.kind, RENAME | EXCHANGE).then(|| (self.old_size, word())))
    }
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
    fs::create_dir_all(&dir).at("make", &dir)?;
    let (source, shim) = (dir.join("power.c"), dir.join("power.so"));
    if fs::read_to_string(&source).is_ok_and(|text| text == SHIM) && shim.exists() {
        return Ok(shim);
    }
    // Under a name of its own first: another run may be using the present one.
    let fresh = dir.join(format!("power.{}.so", std::process::id()));
    let fresh_source = dir.join(format!("power.{}.c", std::process::id()));
    fs::write(&fresh_source, SHIM).at("write", &fresh_source)?;
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&fresh).arg(&fresh_source).args(["-ldl", "-lpthread"]);
    shell::run(&mut cc)?;
    fs::rename(&fresh, &shim).at("put in place", &fresh)?;
    fs::rename(&fresh_source, &source).at("put in place", &fresh_source)?;
    Ok(shim)
}

impl Journal {
    /// An empty journal for a node below `root`, which must exist.
    ///
    /// # Errors
    /// Shared memory or the directory cannot be written.
    pub fn create(shim: &Path, root: &Path) -> anyhow::Result<Self> {
        let root = root.canonicalize().at("find", root)?;
        // The shim knows the history by this name.
        let data = root.join("node");
        let grave = root.with_extension("grave");
        for dir in [&data, &grave] {
            fs::create_dir_all(dir).at("make", dir)?;
        }
        let memory = super::memory();
        let name = root.file_name().unwrap_or_default().to_string_lossy();
        let path = memory.join(format!("anlan-journal-{}-{name}", std::process::id()));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).at("make", &path)?;
        file.set_len(HEAD_BYTES + 2 * ARENA_BYTES).at("size", &path)?;
        file.write_all_at(&MAGIC.to_le_bytes(), 0).at("write", &path)?;
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
        self.file.write_all_at(&value.to_le_bytes(), word as u64 * 8).at("write", &self.path)
    }

    /// Reads a switch or counter.
    ///
    /// # Errors
    /// I/O.
    pub fn get(&self, word: Word) -> anyhow::Result<u64> {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, word as u64 * 8).at("read", &self.path)?;
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
        self.file.read_exact_at(&mut head, (Word::Used as u64 + active) * 8).at("read", &self.path)?;
        let mut bytes = vec![0; usize::try_from(u64::from_le_bytes(head))?];
        self.file.read_exact_at(&mut bytes, HEAD_BYTES + active * ARENA_BYTES).at("read", &self.path)?;
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
        let mut disk = Disk::default();
        let root = disk.read(&self.root)?;
        disk.read(&self.grave)?;
        let (bytes, names): (Vec<&Entry>, Vec<&Entry>) = entries.iter().rev().partition(|e| e.kind <= TRUNCATE);
        let mut kept = Kept::default();
        for entry in bytes {
            if let Some(path) = disk.paths.get(&entry.ino) {
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
            let (first, second) = entry.places();
            if is_undone && !kept.names.contains(&first) && second.as_ref().is_none_or(|place| !kept.names.contains(place)) {
                cut.names += u64::from(disk.undo(entry)?);
            } else {
                kept.names.extend([first].into_iter().chain(second));
            }
        }
        let (fresh, old) = (self.root.with_extension("fresh"), self.root.with_extension("old"));
        disk.write(root, &fresh)?;
        fs::rename(&self.root, &old).at("move away", &self.root)?;
        fs::rename(&fresh, &self.root).at("put in place", &fresh)?;
        fs::remove_dir_all(&old).at("remove", &old)?;
        self.forget()?;
        Ok(cut)
    }

    /// Everything as it is now counts as synced.
    fn forget(&self) -> anyhow::Result<()> {
        self.file.write_all_at(&[0; 24], Word::Active as u64 * 8).at("empty the journal", &self.path)?;
        fs::remove_dir_all(&self.grave).at("remove", &self.grave)?;
        fs::create_dir(&self.grave).at("make", &self.grave)
    }
}

/// What has reached the disk: a sector holds one of the contents it had since the sync, so whatever was written to it before a content
/// that stays, stays too.
#[derive(Default)]
struct Kept {
    sectors: HashSet<(u64, u64)>,
    lengths: HashSet<u64>,
    names: HashSet<Place>,
}

/// The names of a tree as a file system keeps them: of each directory, by its number, which word leads to which number.
#[derive(Default)]
struct Disk {
    dirs: BTreeMap<u64, BTreeMap<OsString, u64>>,
    /// Where each number is found as long as nothing is written back.
    paths: HashMap<u64, PathBuf>,
}

impl Disk {
    /// Takes in everything below `dir`; the directory's number.
    fn read(&mut self, dir: &Path) -> anyhow::Result<u64> {
        let ino = fs::metadata(dir).at("look at", dir)?.ino();
        let mut words = BTreeMap::new();
        for entry in fs::read_dir(dir).at("list", dir)? {
            let entry = entry.at("list", dir)?;
            let path = entry.path();
            let meta = entry.metadata().at("look at", &path)?;
            let number = if meta.is_dir() { self.read(&path)? } else { meta.ino() };
            self.paths.entry(number).or_insert(path);
            words.insert(entry.file_name(), number);
        }
        self.paths.insert(ino, dir.to_owned());
        self.dirs.insert(ino, words);
        Ok(ino)
    }

    fn get(&self, (dir, word): &Place) -> Option<u64> {
        self.dirs.get(dir)?.get(word).copied()
    }

    fn put(&mut self, (dir, word): Place, number: u64) {
        self.dirs.entry(dir).or_default().insert(word, number);
    }

    fn take(&mut self, (dir, word): &Place) -> Option<u64> {
        self.dirs.get_mut(dir)?.remove(word)
    }

    /// Takes one change of names back; whether it had happened: the kill may have come between the journal and the act.
    fn undo(&mut self, entry: &Entry) -> anyhow::Result<bool> {
        Ok(match (entry.kind, entry.places()) {
            (CREATE | LINK | MKDIR, (place, _)) => self.take(&place).is_some(),
            (UNLINK | RMDIR, (place, _)) => {
                if entry.kind == RMDIR {
                    // It was empty when it went; what had left it before is put back into it.
                    self.dirs.entry(entry.ino).or_default();
                }
                let has_happened = self.get(&place).is_none();
                if has_happened {
                    self.put(place, entry.ino);
                }
                has_happened
            }
            (RENAME, (from, Some(to))) => {
                let has_happened = self.get(&to) == Some(entry.ino) && self.get(&from).is_none();
                if has_happened {
                    self.take(&to);
                    self.put(from, entry.ino);
                    if entry.n_new != 0 {
                        self.put(to, entry.n_new);
                    }
                }
                has_happened
            }
            (EXCHANGE, (from, Some(to))) => match (self.get(&from), self.get(&to)) {
                (Some(other), Some(moved)) if moved == entry.ino => {
                    self.put(from, moved);
                    self.put(to, other);
                    true
                }
                _ => false,
            },
            _ => anyhow::bail!("the journal holds an entry of kind {}", entry.kind),
        })
    }

    /// Makes the directory of this number anew under a name that is free; files get a second name there.
    fn write(&self, dir: u64, to: &Path) -> anyhow::Result<()> {
        fs::create_dir(to).at("make", to)?;
        for (word, number) in self.dirs.get(&dir).into_iter().flatten() {
            let path = to.join(word);
            if self.dirs.contains_key(number) {
                self.write(*number, &path)?;
            } else if !is_wal_index(word) {
                let found = self.paths.get(number).with_context(|| format!("nothing is left of {}", path.display()))?;
                fs::hard_link(found, &path).at("bring back", &path)?;
            }
        }
        match self.paths.get(&dir) {
            Some(was) => fs::set_permissions(to, fs::metadata(was).at("look at", was)?.permissions()).at("set the mode of", to),
            None => Ok(()),
        }
    }
}

/// SQLite maps this file and builds it anew when nobody has it open; after a power cut it is whatever it is.
fn is_wal_index(word: &OsStr) -> bool {
    word.as_bytes().ends_with(b"-shm")
}

fn undo_bytes(path: &Path, entry: &Entry, loss: Loss, random: &mut Random, kept: &mut Kept) -> anyhow::Result<u64> {
    let file = OpenOptions::new().write(true).read(true).open(path).at("open for undoing", path)?;
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
            file.set_len(entry.old_size).at("set the length of", path)?;
            undone += 1;
        } else {
            kept.lengths.insert(entry.ino);
        }
    }
    if entry.kind == TRUNCATE {
        // What was cut off comes back with the length.
        if length_back {
            file.write_all_at(&entry.payload, entry.off).at("undo in", path)?;
        }
        return Ok(undone);
    }
    let len = file.metadata().at("look at", path)?.len();
    // A copy that was cut off had announced a gigabyte.
    let (mut at, end) = (entry.off, (entry.off + entry.n_new).min(len));
    while at < end {
        let until = ((at / sector + 1) * sector).min(end);
        if !kept.sectors.contains(&(entry.ino, at / sector)) {
            if random.below(16) < chance {
                let old = |at: u64| usize::try_from(at - entry.off).map(|i| i.min(entry.payload.len()));
                let mut bytes = entry.payload[old(at)?..old(until)?].to_vec();
                // Never written and yet within the length: zeros.
                bytes.resize(usize::try_from(until - at)?, 0);
                file.write_all_at(&bytes, at).at("undo in", path)?;
                undone += 1;
            } else {
                kept.sectors.insert((entry.ino, at / sector));
            }
        }
        at = until;
    }
    Ok(undone)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    /// Every file and directory below `dir` by path, files with what they hold.
    fn seen(dir: &Path) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut below = vec![dir.to_owned()];
        while let Some(folder) = below.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(dir).unwrap().display().to_string();
                if path.is_dir() {
                    found.insert(name + "/", String::new());
                    below.push(path);
                } else {
                    found.insert(name, fs::read_to_string(&path).unwrap());
                }
            }
        }
        found
    }

    fn bench(name: &str) -> Journal {
        let root = super::super::memory().join(format!("anlan-power-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).unwrap();
        static SHIM: LazyLock<PathBuf> = LazyLock::new(|| build_shim().unwrap());
        Journal::create(&SHIM, &root).unwrap()
    }

    /// A shell script in the data directory under the shim; its commands stand for the node.
    fn play(journal: &Journal, script: &str) {
        let mut sh = Command::new("sh");
        sh.args(["-ec", script]).current_dir(&journal.data);
        journal.apply(&mut sh);
        assert!(sh.status().unwrap().success(), "{script}");
    }

    /// What is left when the power fails after `script` in a directory that `before` made: everything that is not synced is lost.
    fn check(name: &str, before: &str, script: &str, left: &[(&str, &str)]) {
        let journal = bench(name);
        play(&journal, before);
        journal.forget().unwrap();
        play(&journal, script);
        journal.cut(Loss::Everything, &mut Random(1)).unwrap();
        let left = left.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        assert_eq!(seen(&journal.data), left, "after {script}");
        fs::remove_dir_all(&journal.root).unwrap();
    }

    #[test]
    fn names_and_bytes_that_nobody_synced_are_undone() {
        let before = "mkdir d d/e; printf 1 > d/e/f; printf 2 > g";
        let whole = [("d/", ""), ("d/e/", ""), ("d/e/f", "1"), ("g", "2")];
        check("write", before, "printf 34 > g; printf 5 >> d/e/f", &whole);
        check("create", before, "mkdir h; printf 6 > h/i; printf 7 > d/j", &whole);
        check("replace", before, "mv d/e/f g", &whole);
        check("remove", before, "rm -r d g", &whole);
        check("again", before, "rm -r d; mkdir d d/e; printf 8 > d/e/f", &whole);
        check("move", before, "mv d k; mv k/e l; printf 9 > l/f; rm -r k l", &whole);
        check("there", before, "mkdir -p d/e; mkdir d || true", &whole);
    }

    #[test]
    fn what_was_synced_stays_wherever_its_directory_has_gone_since() {
        let before = "mkdir d; printf 1 > d/f";
        check("file", before, "printf 2 > d/g; sync d/g d", &[("d/", ""), ("d/f", "1"), ("d/g", "2")]);
        check("name-only", before, "printf 2 > d/g; sync d", &[("d/", ""), ("d/f", "1"), ("d/g", "")]);
        check("bytes-only", before, "printf 2 > d/g; sync d/g", &[("d/", ""), ("d/f", "1")]);
        check("moved", before, "printf 2 > d/g; sync d/g; mv d e; sync e", &[("d/", ""), ("d/f", "1"), ("d/g", "2")]);
        check("moved-for-good", before, "printf 2 > d/g; sync d/g; mv d e; sync .", &[("e/", ""), ("e/f", "1")]);
        check("removed-for-good", before, "rm d/f; sync d; printf 3 > d/f", &[("d/", "")]);
        check("in-nothing", before, "mkdir e; printf 2 > e/g; sync e/g e", &[("d/", ""), ("d/f", "1")]);
    }

    /// Exchanges as a journal tells of them, for `mv` of many machines cannot: `from` and `to` are below the data directory.
    fn exchange(journal: &Journal, from: &str, to: &str) -> Entry {
        let (a, b, aside) = (journal.data.join(from), journal.data.join(to), journal.data.join("aside"));
        let number = |path: &Path| fs::metadata(path).unwrap().ino();
        let (dir, word) = (|path: &Path| number(path.parent().unwrap()), |path: &Path| path.file_name().unwrap().as_bytes().to_vec());
        let payload = [word(&a), vec![0], word(&b), vec![0]].concat();
        let entry = Entry { kind: EXCHANGE, ino: number(&a), off: dir(&a), old_size: dir(&b), n_new: 0, payload };
        for (from, to) in [(&a, &aside), (&b, &a), (&aside, &b)] {
            fs::rename(from, to).unwrap();
        }
        entry
    }

    #[test]
    fn folders_exchanged_twice_come_back_in_turn() {
        let journal = bench("exchange");
        play(&journal, "mkdir day s s/1 s/2; printf 0 > day/f; printf 1 > s/1/f; printf 2 > s/2/f");
        let before = seen(&journal.data);
        let first = exchange(&journal, "s/1", "day");
        let second = exchange(&journal, "s/2", "day");
        assert_eq!(seen(&journal.data)["day/f"], "2");
        let mut disk = Disk::default();
        let data = disk.read(&journal.data).unwrap();
        let copy = journal.root.join("copy");
        for (entry, day) in [(second, "1"), (first, "0")] {
            assert!(disk.undo(&entry).unwrap());
            disk.write(data, &copy).unwrap();
            assert_eq!(seen(&copy)["day/f"], day);
            let after = seen(&copy);
            fs::remove_dir_all(&copy).unwrap();
            assert_eq!(after == before, day == "0");
            // Killed before the act: nothing to undo.
            assert!(!disk.undo(&entry).unwrap());
        }
        fs::remove_dir_all(&journal.root).unwrap();
    }

    #[test]
    fn a_part_of_what_is_lost_is_a_state_some_disk_could_have() {
        let journal = bench("part");
        for seed in 0..40 {
            let mut random = Random(seed);
            play(&journal, "rm -rf *; mkdir d; printf 0 > d/f");
            journal.forget().unwrap();
            play(&journal, "for i in 1 2 3; do printf $i > d/t; mv d/t d/f; mv d e; mkdir -p x/d; mv e d; rm -r x; done");
            journal.cut(Loss::any(&mut random), &mut random).unwrap();
            let left = seen(&journal.data);
            // One of the values, or the zeros or the emptiness of bytes that did not get there.
            let one = |text: &str| matches!(text, "" | "0" | "1" | "2" | "3" | "\0");
            assert!(left.values().all(|text| one(text)), "seed {seed}: {left:?}");
            assert_eq!(left.keys().filter(|path| path.ends_with("/f")).count(), 1, "seed {seed}: {left:?}");
        }
        fs::remove_dir_all(&journal.root).unwrap();
    }
}
