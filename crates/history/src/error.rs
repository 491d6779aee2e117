//! What can go wrong, told apart as far as a caller or an operator acts differently.

use std::path::{Path, PathBuf};

use crate::Lsn;

/// Why the engine refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The operating system failed a file operation.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The verb: `open`, `write`, `sync` …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Another process (or another `open` of this one) owns the directory.
    #[error("{} is in use by another process", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// Stored bytes are not what was written.
    #[error("{} is damaged at byte {offset}: {what}; see `anlan history verify`", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// The file was written by a newer release.
    #[error("{} has format version {version}, this release reads up to {known}", file.display())]
    Version {
        /// The file.
        file: PathBuf,
        /// Its version.
        version: u8,
        /// The newest version known here.
        known: u8,
    },
    /// The log no longer holds (or does not yet hold) what was asked for.
    #[error("the log holds records {first} to {last}, not {wanted}")]
    NotInLog {
        /// What was asked for.
        wanted: Lsn,
        /// The first record held.
        first: Lsn,
        /// The last record held.
        last: Lsn,
    },
    /// A write or sync failed earlier; what is on disk is unknown until the directory is opened again.
    #[error("an earlier write failed, open the history again")]
    Broken,
    /// The disk is full. Nothing of the group is on it, and the same call may be made again once there is space.
    #[error("no space for {}; the records wait, free some space", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// More is waiting for `sync` than `Options::unsynced_bytes_max` allows.
    #[error("{bytes} bytes wait for sync, the limit is {limit}")]
    TooMuchUnsynced {
        /// Waiting, this record included.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A checkpoint was asked for while appended records wait for `sync`: no state could be named as of the last synced record.
    #[error("records wait for sync, a checkpoint would name the wrong state")]
    Unsynced,
    /// The record cannot be stored as it is.
    #[error("cannot store the record: {0}")]
    Unstorable(&'static str),
}

impl HistoryError {
    pub(crate) fn damaged(file: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Damaged { file: file.to_path_buf(), offset, what: what.into() }
    }
}

pub(crate) type Result<T, E = HistoryError> = std::result::Result<T, E>;

/// Puts the action and the path to an I/O error.
pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| HistoryError::Io { action, path: path.to_path_buf(), source })
    }
}
