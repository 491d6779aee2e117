//! Backup of a running node and its restoration elsewhere.
//!
//! A backup is one folder: the database, the history, the node's other files, and `backup.json` that names every file with its SHA-256.
//! It holds the node as of one log position: what the database had applied when it was copied. The order makes that true without
//! stopping anything: history files get a second name first, then the database is copied (it has applied at least what those files hold),
//! then the staged log is cut where the database stands. A folder under its final name is whole; an unfinished one ends in `.partial`.
//! Start at [`make`] and [`restore`].

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use anlan_history::{HistoryError, Lsn, VerifyReport};
use anlan_model::{Clock as _, Scope, Timestamp};
use anlan_store::{Note, Store, StoreError};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::App;
use crate::attachment::Verified;

/// Version of `backup.json`.
const FORMAT: u32 = 1;
const LIST: &str = "backup.json";
const DATABASE: &str = "anlan.sqlite";
const HISTORY: &str = "history";
/// In the data directory while a backup is made: second names of the history's files.
const STAGING: &str = "backup-staging";
/// The database may be this far behind the log before a backup gives up.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(60);

/// What `backup.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    format: u32,
    /// Release that made it.
    pub release: String,
    /// Domain time of its making.
    pub made_at: Timestamp,
    /// The log position it holds; everything acknowledged up to there is in it.
    pub position: u64,
    /// Every other file, by path.
    pub files: Vec<Listed>,
}

/// One file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Relative to the folder, `/` between names.
    pub path: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

impl Contents {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.bytes).sum()
    }
}

/// Why there is no backup, or nothing restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The folder cannot take it.
    #[error("{}: {why}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What to do about it.
        why: &'static str,
    },
    /// Another one is being made.
    #[error("another backup is being made")]
    Busy,
    /// The engine has stopped.
    #[error("the node is stopping, or its log has failed")]
    Stopped,
    /// The database does not follow the log.
    #[error("the database is at log position {at} and does not reach {wanted}; a backup needs it to follow (see /readyz)")]
    Behind {
        /// Where it is.
        at: u64,
        /// Where the history stands.
        wanted: u64,
    },
    /// A file.
    #[error("cannot {act} {}", path.display())]
    File {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The backup is not what it was.
    #[error("{}: {what}; this backup must not be used", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The history.
    #[error("history")]
    History(#[from] HistoryError),
    /// The database.
    #[error("database")]
    Store(#[from] StoreError),
}

trait At<T> {
    fn at(self, act: &'static str, path: &Path) -> Result<T, BackupError>;
}
impl<T> At<T> for io::Result<T> {
    fn at(self, act: &'static str, path: &Path) -> Result<T, BackupError> {
        self.map_err(|source| BackupError::File { act, path: path.to_path_buf(), source })
    }
}

/// Copies the running node in `data` into the absent folder `to`; what was copied. Nothing is held up meanwhile.
///
/// # Errors
/// [`BackupError`]; `to` does not exist then.
pub async fn make(app: &App, data: &Path, to: &Path) -> Result<Contents, BackupError> {
    let Ok(_alone) = app.backup.try_lock() else { return Err(BackupError::Busy) };
    let _nothing_goes = crate::thinned::pause(app).await;
    let (data, to) = (data.canonicalize().at("find", data)?, target(to)?);
    if to.starts_with(&data) {
        return Err(BackupError::Folder { path: to, why: "lies inside the data directory; a backup belongs on another disk" });
    }
    let partial = with_suffix(&to, ".partial");
    let staging = data.join(STAGING);
    let made = assemble(app, &data, &staging, &partial).await;
    // Links of released segments would keep their space.
    let tidied = fs::remove_dir_all(&staging).at("remove", &staging);
    let contents = match made.and_then(|contents| tidied.map(|()| contents)) {
        Ok(contents) => contents,
        Err(failure) => {
            let _ = fs::remove_dir_all(&partial);
            return Err(failure);
        }
    };
    fs::rename(&partial, &to).at("rename", &partial)?;
    sync_dir(to.parent().unwrap_or(Path::new("/")))?;
    let detail = serde_json::json!({"to": to.to_string_lossy(), "position": contents.position, "bytes": contents.bytes()});
    let note = Note { action: "backup", noun: "node", subject: contents.position.to_string(), detail };
    app.store.note(&Scope::node(), note, app.clock.now()).await?;
    Ok(contents)
}

async fn assemble(app: &App, data: &Path, staging: &Path, partial: &Path) -> Result<Contents, BackupError> {
    // What the copied database names must still be there when files are copied.
    let _whole = (app.media.dropping.read().await, app.attachments.sweeping.read().await);
    remove_if_there(staging)?;
    remove_if_there(partial)?;
    fs::create_dir(staging).at("create", staging)?;
    fs::create_dir(partial).at("create", partial)?;
    let staged = staging.join(HISTORY);
    let wanted = app.engine.stage(staged.clone()).await.ok_or(BackupError::Stopped)??;
    let began = Instant::now();
    // The log is cut to what stands in the database, which lags behind what is applied.
    loop {
        let at = app.store.projected().await?;
        if at >= wanted {
            break;
        }
        if began.elapsed() > CATCH_UP_WITHIN {
            return Err(BackupError::Behind { at, wanted });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let position = app.store.copy_into(&partial.join(DATABASE)).await?;
    let made_at = app.clock.now();
    let (data, partial) = (data.to_path_buf(), partial.to_path_buf());
    let copy = move || {
        anlan_history::cut_staged(&data.join(HISTORY), &staged, Lsn(position))?;
        let mut files = vec![listed(&partial, DATABASE)?];
        copy_tree(&staged, &partial, HISTORY, &mut files)?;
        copy_others(&data, &partial, &mut files)?;
        let contents = Contents { format: FORMAT, release: env!("CARGO_PKG_VERSION").to_owned(), made_at, position, files };
        let path = partial.join(LIST);
        let text = serde_json::to_vec_pretty(&contents).map_err(io::Error::other).at("write", &path)?;
        let mut file = File::create(&path).at("create", &path)?;
        file.write_all(&text).and_then(|()| file.sync_all()).at("write", &path)?;
        sync_dir(&partial)?;
        Ok(contents)
    };
    tokio::task::spawn_blocking(copy).await.map_err(|e| BackupError::File {
        act: "finish",
        path: PathBuf::from(LIST),
        source: io::Error::other(e),
    })?
}

/// Everything in the data directory that is neither history nor database nor made anew at every start.
fn copy_others(data: &Path, partial: &Path, files: &mut Vec<Listed>) -> Result<(), BackupError> {
    for entry in fs::read_dir(data).at("list", data)? {
        let entry = entry.at("list", data)?;
        let (name, kind) = (entry.file_name(), entry.file_type().at("find", &entry.path())?);
        let name = name.to_string_lossy().into_owned();
        if [HISTORY, STAGING].contains(&name.as_str()) || name.starts_with(DATABASE) || name.ends_with(".tmp") {
            continue;
        }
        if kind.is_dir() {
            copy_tree(&entry.path(), partial, &name, files)?;
        } else if kind.is_file() {
            files.push(copy_file(&entry.path(), partial, &name, None)?);
        }
    }
    Ok(())
}

/// Copies the folder `from` as `under` of `root`. What vanishes meanwhile was about to be replaced; half-written files have other names.
fn copy_tree(from: &Path, root: &Path, under: &str, files: &mut Vec<Listed>) -> Result<(), BackupError> {
    let dir = root.join(under);
    fs::create_dir_all(&dir).at("create", &dir)?;
    let mut entries: Vec<_> = fs::read_dir(from).at("list", from)?.collect::<io::Result<_>>().at("list", from)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".tmp") || name.starts_with("_staging") {
            continue;
        }
        let path = format!("{under}/{name}");
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => copy_tree(&entry.path(), root, &path, files)?,
            Ok(kind) if kind.is_file() => match copy_file(&entry.path(), root, &path, None) {
                Err(BackupError::File { act: "open", source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                copied => files.push(copied?),
            },
            _ => {}
        }
    }
    sync_dir(&dir)
}

/// Copies one file durably and returns what it is; with `expected`, refuses a file that is something else.
fn copy_file(from: &Path, root: &Path, path: &str, expected: Option<&Listed>) -> Result<Listed, BackupError> {
    let to = root.join(path);
    let mut source = File::open(from).at("open", from)?;
    // A key that only its owner reads stays so, whatever the disk between made of its mode.
    let mode = if path.ends_with(".key") { 0o600 } else { 0o666 };
    let mut target = File::options().write(true).create(true).truncate(true).mode(mode).open(&to).at("create", &to)?;
    let found = drain(&mut source, from, path, |bytes| target.write_all(bytes).at("write", &to))?;
    target.sync_all().at("sync", &to)?;
    match expected {
        Some(expected) if *expected != found => Err(BackupError::Damaged {
            path: from.to_path_buf(),
            what: format!("has {} bytes and hash {}, the list says {} and {}", found.bytes, found.sha256, expected.bytes, expected.sha256),
        }),
        _ => Ok(found),
    }
}

/// What a file is that stands already; made durable.
fn listed(root: &Path, path: &str) -> Result<Listed, BackupError> {
    let full = root.join(path);
    let mut file = File::open(&full).at("open", &full)?;
    let found = drain(&mut file, &full, path, |_| Ok(()))?;
    file.sync_all().at("sync", &full)?;
    Ok(found)
}

fn drain(
    source: &mut File,
    from: &Path,
    path: &str,
    mut each: impl FnMut(&[u8]) -> Result<(), BackupError>,
) -> Result<Listed, BackupError> {
    let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        let n = source.read(&mut buffer).at("read", from)?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
        bytes += n as u64;
        each(&buffer[..n])?;
    }
    let sha256 = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    Ok(Listed { path: path.to_owned(), bytes, sha256 })
}

/// What [`restore`] did.
#[derive(Debug)]
pub struct Restored {
    /// The backup.
    pub contents: Contents,
    /// The restored history, every checksum read.
    pub history: VerifyReport,
    /// Files of terminals that the database names.
    pub media: usize,
    /// Of those, not in the backup, or not as their hash says: they were lost or damaged before it was made.
    pub media_lost: usize,
    /// Files of records that the audit vouches for.
    pub attachments: usize,
    /// Of those, not as it says: lost or altered before the backup was made.
    pub attachments_lost: usize,
}

/// Makes the data directory `data`, absent or empty, from the backup `from`. Every file is checked against its hash on the way, then the
/// history against its own checksums.
///
/// # Errors
/// [`BackupError`]; `data` is as before then.
pub async fn restore(from: &Path, data: &Path) -> Result<Restored, BackupError> {
    let list = from.join(LIST);
    let text = fs::read(&list).at("read", &list)?;
    let damaged = |what: String| BackupError::Damaged { path: list.clone(), what };
    let contents: Contents = serde_json::from_slice(&text).map_err(|e| damaged(format!("is no list of a backup: {e}")))?;
    if contents.format != FORMAT {
        return Err(damaged(format!("has format {}, this release knows {FORMAT}", contents.format)));
    }
    let inside = |path: &str| Path::new(path).components().all(|c| matches!(c, Component::Normal(_))) && !path.is_empty();
    if let Some(outside) = contents.files.iter().find(|f| !inside(&f.path)) {
        return Err(damaged(format!("names a file outside the folder: {}", outside.path)));
    }
    if fs::read_dir(data).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(BackupError::Folder { path: data.to_path_buf(), why: "is not empty; restore into a new directory and move it" });
    }
    let data = target_or_empty(data)?;
    let partial = with_suffix(&data, ".partial");
    remove_if_there(&partial)?;
    let restored = refill(from, &partial, &contents).await;
    let restored = match restored {
        Ok((history, media, media_lost, files)) => {
            let (attachments, attachments_lost) = (files.files, files.wrong.len());
            Restored { contents, history, media, media_lost, attachments, attachments_lost }
        }
        Err(failure) => {
            let _ = fs::remove_dir_all(&partial);
            return Err(failure);
        }
    };
    let _ = fs::remove_dir(&data);
    fs::rename(&partial, &data).at("rename", &partial)?;
    sync_dir(data.parent().unwrap_or(Path::new("/")))?;
    Ok(restored)
}

async fn refill(from: &Path, partial: &Path, contents: &Contents) -> Result<(VerifyReport, usize, usize, Verified), BackupError> {
    fs::create_dir(partial).at("create", partial)?;
    for file in &contents.files {
        let to = partial.join(&file.path);
        let dir = to.parent().unwrap_or(partial);
        fs::create_dir_all(dir).at("create", dir)?;
        copy_file(&from.join(&file.path), partial, &file.path, Some(file))?;
        sync_dir(dir)?;
    }
    sync_dir(partial)?;
    let history = anlan_history::verify(&partial.join(HISTORY))?;
    if let Some(damage) = history.damage.first() {
        return Err(BackupError::Damaged { path: damage.file.clone(), what: damage.what.clone() });
    }
    let store = Store::open(&format!("sqlite:{}", partial.join(DATABASE).display())).await?;
    let detail = serde_json::json!({"from": from.to_string_lossy(), "made_at": contents.made_at, "position": contents.position});
    let note = Note { action: "restore", noun: "node", subject: contents.position.to_string(), detail };
    store.note(&Scope::node(), note, crate::clock::AppClock::real().now()).await?;
    let (media, media_lost) = crate::media::verify(&store, partial).await?;
    let files = crate::attachment::verify(&store, partial).await?;
    store.close().await;
    Ok((history, media, media_lost, files))
}

/// An absent path whose parent exists, absolute.
fn target(to: &Path) -> Result<PathBuf, BackupError> {
    let absolute = target_or_empty(to)?;
    if absolute.exists() {
        return Err(BackupError::Folder { path: absolute, why: "exists; name a new folder" });
    }
    Ok(absolute)
}

fn target_or_empty(to: &Path) -> Result<PathBuf, BackupError> {
    let absolute = std::path::absolute(to).at("find", to)?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(BackupError::Folder { path: absolute, why: "is no folder that could be made" });
    };
    Ok(parent.canonicalize().at("find", parent)?.join(name))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn remove_if_there(dir: &Path) -> Result<(), BackupError> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).at("remove", dir),
        _ => Ok(()),
    }
}

fn sync_dir(dir: &Path) -> Result<(), BackupError> {
    File::open(dir).and_then(|d| d.sync_all()).at("sync", dir)
}
