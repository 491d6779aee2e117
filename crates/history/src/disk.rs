//! Small file habits: names, atomic replacement, syncing a directory after a change of names.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{At, Result};

pub(crate) const LOCK: &str = "lock";
pub(crate) const MANIFEST: &str = "manifest";
pub(crate) const CHECKPOINT: &str = "checkpoint";
pub(crate) const CHECKPOINT_BEFORE: &str = "checkpoint.before";

/// `log-<first record>.anl`
pub(crate) fn log_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("log-{first:016x}.anl"))
}

/// `block-<sequence>.anl`
pub(crate) fn block_path(dir: &Path, seq: u64) -> PathBuf {
    dir.join(format!("block-{seq:016x}.anl"))
}

/// `last-<sequence>.anl`
pub(crate) fn last_path(dir: &Path, seq: u64) -> PathBuf {
    dir.join(format!("last-{seq:016x}.anl"))
}

/// The numbers of all files named `<prefix>-<hex>.anl`, ascending.
pub(crate) fn numbered(dir: &Path, prefix: &str) -> Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).at("list", dir)? {
        let name = entry.at("list", dir)?.file_name();
        let number = name
            .to_str()
            .and_then(|n| n.strip_prefix(prefix)?.strip_prefix('-')?.strip_suffix(".anl"))
            .filter(|hex| hex.len() == 16)
            .and_then(|hex| u64::from_str_radix(hex, 16).ok());
        found.extend(number);
    }
    found.sort_unstable();
    Ok(found)
}

/// Makes created, renamed and removed names durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|d| d.sync_all()).at("sync", dir)
}

/// Makes `dir` and what is missing above it, each durable in its parent: a directory whose name is lost takes everything in it along.
pub(crate) fn create_dir(dir: &Path) -> Result<()> {
    let dir = std::path::absolute(dir).at("find", dir)?;
    let missing: Vec<_> = dir.ancestors().take_while(|d| !d.exists()).collect();
    fs::create_dir_all(&dir).at("create", &dir)?;
    // Also when nothing was missing: a process before this one may have been killed between making it and this sync.
    for made in missing.into_iter().chain([dir.as_path()]) {
        if let Some(parent) = made.parent() {
            sync_dir(parent)?;
        }
    }
    Ok(())
}

/// The name under which a file is written before it gets its own.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

/// Writes and syncs a temporary file beside `path`; [`publish`] gives it its name.
pub(crate) fn write_temporary(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = temporary(path);
    let mut file = File::create(&temporary).at("create", &temporary)?;
    file.write_all(bytes).at("write", &temporary)?;
    file.sync_all().at("sync", &temporary)
}

/// Renames the temporary file to `path` and syncs the directory.
pub(crate) fn publish(path: &Path) -> Result<()> {
    let temporary = temporary(path);
    fs::rename(&temporary, path).at("rename", &temporary)?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Both in one: after it the file is whole and durable, or not there.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    write_temporary(path, bytes)?;
    publish(path)
}

/// The whole file, `None` if there is none.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).at("read", path),
    }
}

/// CRC-32 seeded with the directory's id, so that bytes of another directory never pass.
pub(crate) fn crc(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}
