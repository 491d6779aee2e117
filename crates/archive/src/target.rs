//! Where the archive lies: a local directory, or a bucket. Objects are whole and durable, or not there.
//!
//! Local: written under `_staging/`, synced, renamed, directory synced. A bucket: an object appears when its upload is complete.
//! Blocking; never called on an async thread. Knows nothing of Parquet or days. Start at [`Target`].

use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

#[cfg(feature = "s3")]
use crate::bucket::Bucket;
use crate::error::{ArchiveError, At, Result};

/// Under a local archive: files that nobody should read yet.
const STAGING: &str = "_staging";
/// The same in the data directory of a node whose archive is elsewhere.
#[cfg(feature = "s3")]
const STAGING_HERE: &str = "archive-staging";
/// Bytes looked at once when a whole object is checked.
const CHECK_CHUNK: usize = 4 << 20;
/// What one read of a page header takes from an object.
const READ_AHEAD: usize = 64 << 10;

/// How to reach the place, from the configuration. Credentials come from the environment alone (`AWS_ACCESS_KEY_ID`,
/// `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// A directory, or `s3://bucket/prefix`.
    pub url: String,
    /// Address of the S3 service, if it is not Amazon's.
    pub endpoint: Option<String>,
    /// Region of the S3 service.
    pub region: Option<String>,
}

/// The place.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Local(PathBuf),
    #[cfg(feature = "s3")]
    Bucket(Bucket),
}

impl Target {
    pub(crate) fn open(place: &Place) -> Result<Self> {
        let wrong = |what: &str| ArchiveError::Url { url: place.url.clone(), what: what.to_owned() };
        #[cfg(feature = "s3")]
        if let Some(rest) = place.url.strip_prefix("s3://") {
            return Ok(Self::Bucket(Bucket::open(place, rest)?));
        }
        #[cfg(not(feature = "s3"))]
        if place.url.starts_with("s3://") {
            return Err(wrong("this build knows no buckets; build with the feature s3, or name a directory"));
        }
        if place.url.is_empty() || place.url.contains("://") {
            return Err(wrong("neither a directory nor s3://bucket/prefix"));
        }
        Ok(Self::Local(PathBuf::from(&place.url)))
    }

    /// Whether whole directories can be exchanged at once.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self, Self::Local(_))
    }

    /// Where files wait until they are published; on the target's file system if it has one.
    pub(crate) fn staging(&self, data: &Path) -> PathBuf {
        match self {
            Self::Local(root) => {
                let _ = data;
                root.join(STAGING)
            }
            #[cfg(feature = "s3")]
            Self::Bucket(_) => data.join(STAGING_HERE),
        }
    }

    /// The whole object; `None` if there is none.
    pub(crate) fn get(&self, key: &str) -> Result<Option<Bytes>> {
        match self {
            Self::Local(root) => match fs::read(root.join(key)) {
                Ok(bytes) => Ok(Some(bytes.into())),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(e).at("read", &root.join(key)),
            },
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => bucket.get(key),
        }
    }

    /// Many whole objects, in the order asked.
    pub(crate) fn get_all(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>> {
        match self {
            Self::Local(_) => keys.iter().map(|key| self.get(key)).collect(),
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => bucket.get_all(keys),
        }
    }

    /// Writes a small object, replacing the one before at once.
    pub(crate) fn put(&self, staging: &Path, key: &str, bytes: Vec<u8>) -> Result<()> {
        match self {
            Self::Local(_) => {
                let staged = write_synced(staging, "object.tmp", &bytes)?;
                self.publish(&staged, key)
            }
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => bucket.put(key, bytes),
        }
    }

    /// Gives a staged, synced file its name.
    pub(crate) fn publish(&self, staged: &Path, key: &str) -> Result<()> {
        match self {
            Self::Local(root) => {
                let path = root.join(key);
                let dir = path.parent().unwrap_or(root);
                make_dir(dir)?;
                fs::rename(staged, &path).at("rename", staged)?;
                self.settle(key)
            }
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => bucket.upload(staged, key),
        }
    }

    /// Makes durable that an object has its name, and its directories theirs, whoever gave them: a process that was killed may have renamed
    /// and not come to the sync, and the next one must not build on it.
    pub(crate) fn settle(&self, key: &str) -> Result<()> {
        match self {
            Self::Local(root) => {
                let path = root.join(key);
                path.ancestors().skip(1).take_while(|dir| dir.starts_with(root)).try_for_each(sync_dir)
            }
            #[cfg(feature = "s3")]
            Self::Bucket(_) => Ok(()),
        }
    }

    /// Exchanges a staged directory with a visible one in one step; `Ok(false)` if that cannot be done here.
    pub(crate) fn exchange(&self, staged: &Path, key: &str) -> Result<bool> {
        match self {
            Self::Local(root) => {
                let visible = root.join(key);
                match rustix::fs::renameat_with(rustix::fs::CWD, staged, rustix::fs::CWD, &visible, rustix::fs::RenameFlags::EXCHANGE) {
                    Ok(()) => {}
                    Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP) => return Ok(false),
                    Err(e) => return Err(std::io::Error::from(e)).at("exchange", &visible),
                }
                sync_dir(visible.parent().unwrap_or(root))?;
                sync_dir(staged.parent().unwrap_or(root))?;
                Ok(true)
            }
            #[cfg(feature = "s3")]
            Self::Bucket(_) => Ok(false),
        }
    }

    /// Length of an object; `None` if there is none.
    pub(crate) fn size(&self, key: &str) -> Result<Option<u64>> {
        match self {
            Self::Local(root) => match fs::metadata(root.join(key)) {
                Ok(found) => Ok(Some(found.len())),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(e).at("find", &root.join(key)),
            },
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => bucket.size(key),
        }
    }

    /// Removes an object; one that is not there is as good.
    pub(crate) fn remove(&self, key: &str) -> Result<()> {
        match self {
            Self::Local(root) => match fs::remove_file(root.join(key)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).at("remove", &root.join(key)),
                _ => Ok(()),
            },
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => bucket.remove(key),
        }
    }

    /// Keys below a folder, ascending, with their lengths.
    pub(crate) fn list(&self, folder: &str) -> Result<Vec<(String, u64)>> {
        let mut found = match self {
            Self::Local(root) => {
                let mut found = Vec::new();
                walk(root, &root.join(folder), &mut found)?;
                found
            }
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => bucket.list(folder)?,
        };
        found.sort();
        Ok(found)
    }

    /// Opens an object for reading pieces of it.
    pub(crate) fn source(&self, key: &str, len: u64) -> Result<Source> {
        let origin = match self {
            Self::Local(root) => {
                let path = root.join(key);
                Origin::File(File::open(&path).at("open", &path)?)
            }
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => Origin::Object(bucket.clone(), key.to_owned()),
        };
        Ok(Source(Arc::new(origin), len))
    }
}

fn walk(root: &Path, dir: &Path, found: &mut Vec<(String, u64)>) -> Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.at("list", dir)?,
    };
    for entry in entries {
        let entry = entry.at("list", dir)?;
        let (path, meta) = (entry.path(), entry.metadata().at("find", &entry.path())?);
        if meta.is_dir() {
            walk(root, &path, found)?;
        } else if let Some(key) = path.strip_prefix(root).ok().and_then(Path::to_str) {
            found.push((key.to_owned(), meta.len()));
        }
    }
    Ok(())
}

/// Makes a directory and those above it, each durable in its parent.
pub(crate) fn make_dir(dir: &Path) -> Result<()> {
    if dir.as_os_str().is_empty() || dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().unwrap_or(Path::new("."));
    make_dir(parent)?;
    match fs::create_dir(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(e).at("make", dir),
        _ => {}
    }
    sync_dir(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
}

fn write_synced(dir: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf> {
    make_dir(dir)?;
    let path = dir.join(name);
    let mut file = File::create(&path).at("create", &path)?;
    file.write_all(bytes).at("write", &path)?;
    file.sync_all().at("sync", &path)?;
    Ok(path)
}

/// Writes a small local file; after it the file is whole and durable, or as it was.
pub(crate) fn put_file(dir: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let written = write_synced(dir, &format!("{name}.tmp"), bytes)?;
    fs::rename(&written, dir.join(name)).at("rename", &written)?;
    sync_dir(dir)
}

/// Makes created, renamed and removed names durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|d| d.sync_all()).at("sync", dir)
}

#[derive(Debug)]
enum Origin {
    File(File),
    #[cfg(feature = "s3")]
    Object(Bucket, String),
}

/// An open object of known length, read in pieces.
#[derive(Clone, Debug)]
pub(crate) struct Source(Arc<Origin>, u64);

impl Source {
    /// CRC-32 of everything.
    pub(crate) fn crc32(&self) -> Result<u32, ParquetError> {
        let mut crc = crc32fast::Hasher::new();
        let mut at = 0;
        while at < self.1 {
            let n = usize::try_from(self.1 - at).unwrap_or(usize::MAX).min(CHECK_CHUNK);
            crc.update(&self.range(at, n)?);
            at += n as u64;
        }
        Ok(crc.finalize())
    }

    fn range(&self, start: u64, len: usize) -> Result<Bytes, ParquetError> {
        match &*self.0 {
            Origin::File(file) => {
                let mut bytes = vec![0; len];
                file.read_exact_at(&mut bytes, start)?;
                Ok(bytes.into())
            }
            #[cfg(feature = "s3")]
            Origin::Object(bucket, key) => bucket.range(key, start, len),
        }
    }
}

impl Length for Source {
    fn len(&self) -> u64 {
        self.1
    }
}

impl ChunkReader for Source {
    type T = Ahead;
    fn get_read(&self, start: u64) -> Result<Ahead, ParquetError> {
        Ok(Ahead { source: self.clone(), at: start, held: Bytes::new() })
    }
    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        if start.checked_add(length as u64).is_none_or(|end| end > self.1) {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} of {}", self.1)));
        }
        self.range(start, length)
    }
}

/// Reads an object from some place on.
pub(crate) struct Ahead {
    source: Source,
    at: u64,
    held: Bytes,
}

impl Read for Ahead {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        if self.held.is_empty() {
            let left = usize::try_from(self.source.1.saturating_sub(self.at)).unwrap_or(usize::MAX);
            let n = left.min(READ_AHEAD.max(buf.len()));
            if n == 0 {
                return Ok(0);
            }
            self.held = self.source.range(self.at, n).map_err(std::io::Error::other)?;
            self.at += n as u64;
        }
        let n = buf.len().min(self.held.len());
        buf[..n].copy_from_slice(&self.held.split_to(n));
        Ok(n)
    }
}
