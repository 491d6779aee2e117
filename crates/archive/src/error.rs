//! What can go wrong, told apart as far as a caller or an operator acts differently.

use std::path::{Path, PathBuf};

/// Why the archive refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The operating system failed a file operation.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The verb: `open`, `rename`, `sync` …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The object store failed.
    #[cfg(feature = "s3")]
    #[error("cannot {action} object {key}")]
    Object {
        /// The verb.
        action: &'static str,
        /// The object.
        key: String,
        /// What the store said.
        #[source]
        source: object_store::Error,
    },
    /// A Parquet file cannot be written or read.
    #[error("part {part}")]
    Parquet {
        /// The part.
        part: String,
        /// What is wrong with it.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// Stored bytes are not what was written.
    #[error("{key} is damaged: {what}")]
    Damaged {
        /// The object.
        key: String,
        /// What is wrong.
        what: String,
    },
    /// A newer release wrote it.
    #[error("{key} has format version {version}, this release reads up to {known}")]
    Version {
        /// The object.
        key: String,
        /// Its version.
        version: u32,
        /// The newest version known here.
        known: u32,
    },
    /// Two nodes must not write one archive.
    #[error("the archive belongs to node {theirs}, this node is {ours}; give each node a place of its own")]
    Owner {
        /// Who made it.
        theirs: String,
        /// Who asks.
        ours: String,
    },
    /// `archive.url` cannot be used.
    #[error("archive.url {url}: {what}")]
    Url {
        /// The value.
        url: String,
        /// What is wrong and what would do.
        what: String,
    },
    /// Readings of the period are in the archive alone, and the archive is not there.
    #[error("days up to {released_to} were released to the archive, which cannot be reached (archive.url)")]
    Unreachable {
        /// The last such day.
        released_to: String,
    },
    /// The archive was opened for reading only.
    #[error("the archive is open for reading only")]
    ReadOnly,
    /// The telemetry engine could not be read.
    #[error("cannot read the history")]
    History(#[from] anlan_history::HistoryError),
}

pub(crate) type Result<T, E = ArchiveError> = std::result::Result<T, E>;

/// Puts the action and the path to an I/O error.
pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| ArchiveError::Io { action, path: path.to_path_buf(), source })
    }
}
