//! A copy of the history while it is being written: a moment's work for the writer, the rest for whoever copies.
//!
//! [`Writer::stage`] gives every file that counts a second name in a folder beside (a hard link costs nothing and outlives releases,
//! merges and seals); [`cut_staged`] then lets the staged log end with a named record, so that the copy agrees with a database that was
//! copied meanwhile. Start at [`Writer::stage`].

use std::fs;
use std::path::Path;

use crate::disk::{self, LOCK, MANIFEST, log_path, numbered};
use crate::error::{At, Result};
use crate::{HistoryError, Lsn, Writer, log, manifest};

/// Files that are never written again under their name, or only grow: a second name is as good as a copy.
const LINKED: [&str; 4] = ["block-", "last-", "log-", "checkpoint"];

impl Writer {
    /// Gives everything durable a second name in `into`, an absent folder on the same file system; the last durable record.
    ///
    /// Blocks, tables and checkpoints in `into` need no later record than that one.
    ///
    /// # Errors
    /// I/O; `into` may hold a part then.
    pub fn stage(&mut self, into: &Path) -> Result<Lsn, HistoryError> {
        let durable = self.durable();
        // No merge lists or removes files meanwhile.
        let _still = self.shared.sure_manifest()?;
        fs::create_dir(into).at("create", into)?;
        let dir = self.dir().to_path_buf();
        for entry in fs::read_dir(&dir).at("list", &dir)? {
            let entry = entry.at("list", &dir)?;
            let (path, name) = (entry.path(), entry.file_name());
            let text = name.to_string_lossy();
            if text == LOCK || text.ends_with(".tmp") || !entry.file_type().at("find", &path)?.is_file() {
                continue;
            }
            if LINKED.iter().any(|prefix| text.starts_with(prefix)) {
                fs::hard_link(&path, into.join(&name)).at("link", &path)?;
            } else {
                fs::copy(&path, into.join(&name)).at("copy", &path)?;
            }
        }
        Ok(durable)
    }
}

/// Adds the log segments begun in `dir` since [`Writer::stage`], then lets the staged log end with record `until`.
///
/// `dir` may be in use. `until` lies at or behind the record that `stage` named and is durable.
///
/// # Errors
/// I/O, [`HistoryError::Damaged`] if the log does not reach `until` or is unreadable before it.
pub fn cut_staged(dir: &Path, staged: &Path, until: Lsn) -> Result<(), HistoryError> {
    for first in numbered(dir, "log")? {
        let (from, to) = (log_path(dir, first), log_path(staged, first));
        if !to.exists() {
            match fs::hard_link(&from, &to) {
                // Released meanwhile: then it was not needed when the rest was staged either.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                linked => linked.at("link", &from)?,
            }
        }
    }
    let Some(manifest) = manifest::load(staged)? else {
        return Err(HistoryError::damaged(&staged.join(MANIFEST), 0, "there is no manifest"));
    };
    let mut firsts = numbered(staged, "log")?;
    while let [.., _, last] = firsts.as_slice()
        && *last > until.0
    {
        let path = log_path(staged, *last);
        fs::remove_file(&path).at("remove", &path)?;
        firsts.pop();
    }
    let Some(last) = firsts.last() else { return Ok(()) };
    let path = log_path(staged, *last);
    let bytes = fs::read(&path).at("read", &path)?;
    let (mut end, mut reached) = (log::SEGMENT_HEAD, Lsn(last - 1));
    // The live log grows while it is read, so its last frame may be half there; what counts is that `until` is.
    log::scan(&path, &bytes, manifest.seed, |header, offset, frame| {
        if header.lsn <= until {
            (end, reached) = (offset as usize + frame.len(), header.lsn);
        }
        Ok(())
    })?;
    if reached < until {
        return Err(HistoryError::damaged(&path, end as u64, format!("the log ends with record {reached}, {until} is wanted")));
    }
    let whole = disk::temporary(&path);
    fs::write(&whole, &bytes[..end]).at("write", &whole)?;
    fs::rename(&whole, &path).at("rename", &whole)
}
