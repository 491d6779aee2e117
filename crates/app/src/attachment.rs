//! Files of records (附件): uploaded, bound by the act that names them, given out to whoever sees the record.
//!
//! The bytes lie below `attachments/` of the data directory, by their SHA-256: the original as it came, and of a picture two copies for the
//! screen. Files are synced, then their folder, then the row is written, and only then whoever uploaded hears of it; so a crash leaves at most
//! files that no row names, which [`sweep`] removes once they are old: after a database was put back that is older than they are, a newer one
//! may still name them. The act that names a file writes its hash into the audit ([`crate::record`]), and [`verify`]
//! compares. An upload that breaks off is begun again: it is one request. Start at [`upload`] and [`open`].

mod content;
mod picture;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use anlan_domain::register::FileKind;
use anlan_model::{AttachmentId, Clock as _, Permission, RecordId, Scope, Timestamp, UserId};
pub use anlan_store::AttachmentRow;
use anlan_store::{NewAttachment, Store, StoreError};
pub use content::{FileType, by_media_type};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, RwLock, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::App;
use crate::clock::AppClock;
use crate::error::{AppError, Kind};
use crate::point::off_thread;
use crate::telemetry::pressure;

/// The folder below the data directory.
const DIR: &str = "attachments";
/// How often files that nobody names are looked for, real time.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);
/// How long an upload waits for the act that names it, domain time.
const WAITS_US: i64 = 86_400_000_000;
/// How long a file that no row names is left alone, real time.
const UNNAMED_US: i64 = 30 * 86_400_000_000;
/// Uploads of one person that may wait.
const WAITING_MAX: u64 = 200;
const MB: u64 = 1_000_000;

/// Where the files are.
pub struct Attachments {
    root: PathBuf,
    /// From the look at the quota to the row, so that limits are exact and no file goes between its writing and its row.
    keeping: Mutex<()>,
    /// Written while files go; read by a backup, which must find what the database names.
    pub(crate) sweeping: RwLock<()>,
    /// A turn per picture: each takes a core for a second, and a quarter of a gigabyte at worst.
    pictures: Semaphore,
}

impl Attachments {
    /// The folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Of the data directory `data`.
    pub(crate) fn new(data: &Path) -> Self {
        Self { root: data.join(DIR), keeping: Mutex::default(), sweeping: RwLock::default(), pictures: Semaphore::new(1) }
    }
}

/// A copy for the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copy {
    /// In a list.
    Thumbnail,
    /// Fills a screen.
    View,
}

impl Copy {
    const fn ending(self) -> &'static str {
        match self {
            Self::Thumbnail => ".thumbnail.jpg",
            Self::View => ".view.jpg",
        }
    }
}

/// `ab/abcd…`, with what stands behind it.
fn path_of(root: &Path, sha256: &str, ending: &str) -> PathBuf {
    root.join(sha256.get(..2).unwrap_or("xx")).join(format!("{sha256}{ending}"))
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// SHA-256 of a file, piece by piece.
fn hash_of(file: &mut File) -> io::Result<String> {
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 18]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(hash)),
            n => hash.update(&buffer[..n]),
        }
    }
}

// ---- uploading

/// Takes a file; it is the asker's until an act names it, for a day.
///
/// # Errors
/// Too large, not of the list of types, a name that says something else, a picture that is none or too large, beyond the quota of the person or
/// of the node.
pub async fn upload(app: &App, scope: &Scope, name: &str, bytes: Vec<u8>) -> Result<AttachmentRow, AppError> {
    let by = uploader(app, scope)?;
    let limits = app.settings.attachments;
    let n_bytes = bytes.len() as u64;
    if n_bytes > limits.file_mb * MB {
        return Err(too_large(limits.file_mb));
    }
    // Before the work; what counts is the look below.
    has_room(app, by, n_bytes).await?;
    let bytes = Arc::new(bytes);
    let looked = Arc::clone(&bytes);
    let (found, sha256) = off_thread(move || {
        let mut hash = Sha256::new();
        hash.update(&*looked);
        content::of(&looked).map(|found| (found, hex(hash)))
    })
    .await??;
    let name = content::named(name, found)?;
    let copies = if found.kind == FileKind::Image {
        let turn = app.attachments.pictures.acquire().await.map_err(|_| AppError::new(Kind::Unavailable, "server.busy"))?;
        let looked = Arc::clone(&bytes);
        let copies = off_thread(move || picture::copies(&looked, found.media_type)).await??;
        drop(turn);
        Some(copies)
    } else {
        None
    };
    let new =
        NewAttachment { by, at: app.clock.now(), name, media_type: found.media_type.to_owned(), bytes: n_bytes, sha256: sha256.clone() };
    let _keeping = app.attachments.keeping.lock().await;
    has_room(app, by, n_bytes).await?;
    let root = app.attachments.root.clone();
    let written = off_thread(move || {
        let mut files: Vec<(&str, &[u8])> = vec![("", &bytes)];
        if let Some(copies) = &copies {
            files.extend([(Copy::Thumbnail.ending(), &*copies.thumbnail), (Copy::View.ending(), &*copies.view)]);
        }
        write(&root, &sha256, &files)
    });
    written.await?.map_err(|e| AppError { source: Some(e.into()), ..AppError::new(Kind::Unavailable, "attachment.disk") })?;
    // Without the row the files are nobody's, and go.
    Ok(app.store.put_attachment(&new).await?)
}

/// Who uploads, if their roles take a step of some register: others, such as a screen on a wall, have nothing to name a file in.
///
/// # Errors
/// No permission to view, no such role.
pub fn uploader(app: &App, scope: &Scope) -> Result<UserId, AppError> {
    scope.with(Permission::View)?;
    let by = scope.user.ok_or_else(|| AppError::forbidden("scope.outside"))?;
    let acts =
        |role: &str| app.registers.load().kinds.values().any(|(k, _)| k.transitions.iter().any(|t| t.who.iter().any(|who| who == role)));
    if !scope.grants.iter().any(|grant| acts(grant.role.as_str())) {
        return Err(AppError::forbidden("attachment.role"));
    }
    Ok(by)
}

/// The refusal of a file that is longer than `file_mb`.
pub fn too_large(file_mb: u64) -> AppError {
    AppError::too_large("attachment.too_large").on("file").with("max_mb", file_mb)
}

async fn has_room(app: &App, by: UserId, bytes: u64) -> Result<(), AppError> {
    let limits = app.settings.attachments;
    let usage = app.store.attachment_usage(by).await?;
    if usage.waiting >= WAITING_MAX || usage.waiting_bytes + bytes > limits.person_mb * MB {
        return Err(AppError::conflict("attachment.waiting").with("max_mb", limits.person_mb).with("max", WAITING_MAX));
    }
    if !pressure::has_room_for_files(&app.attachments.root, app.settings.disk_free_min_mb, bytes) {
        return Err(AppError::new(Kind::Unavailable, "attachment.disk_low"));
    }
    if usage.all_bytes + bytes > limits.total_mb * MB {
        return Err(AppError::conflict("attachment.full").with("max_mb", limits.total_mb));
    }
    Ok(())
}

/// Writes files of one hash durably. What has the name already has these bytes, or was altered: it is written anew.
fn write(root: &Path, sha256: &str, files: &[(&str, &[u8])]) -> io::Result<()> {
    let path = path_of(root, sha256, "");
    let folder = path.parent().unwrap_or(root);
    if !folder.exists() {
        fs::create_dir_all(folder)?;
        for dir in folder.ancestors().skip(1).take(2) {
            File::open(dir)?.sync_all()?;
        }
    }
    for (ending, bytes) in files {
        let part = path_of(root, sha256, &format!("{ending}.tmp"));
        let mut file = File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path_of(root, sha256, ending))?;
    }
    File::open(folder)?.sync_all()
}

/// Takes back an upload of one's own that no act has named.
///
/// # Errors
/// Not there, another's, or a record's already: those stay.
pub async fn forget(app: &App, scope: &Scope, id: AttachmentId) -> Result<(), AppError> {
    scope.with(Permission::View)?;
    let _keeping = app.attachments.keeping.lock().await;
    let hash = app.store.forget_attachment(scope, id).await?;
    remove_unnamed(app, hash).await
}

/// Removes the files of a hash unless a row still names it. Nothing may be kept meanwhile.
async fn remove_unnamed(app: &App, hash: String) -> Result<(), AppError> {
    if !app.store.attachment_hashes(&hash).await?.is_empty() {
        return Ok(());
    }
    let root = app.attachments.root.clone();
    let removed = off_thread(move || {
        for ending in ["", Copy::Thumbnail.ending(), Copy::View.ending()] {
            match fs::remove_file(path_of(&root, &hash, ending)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    });
    removed.await?.map_err(disk)
}

fn disk(e: io::Error) -> AppError {
    AppError { source: Some(e.into()), ..AppError::new(Kind::Unavailable, "attachment.disk") }
}

// ---- giving out

/// A file whose bytes were just compared with its hash, at its beginning.
///
/// # Errors
/// Not there or not visible; gone from the disk or altered there.
pub async fn open(app: &App, scope: &Scope, id: AttachmentId) -> Result<(AttachmentRow, File), AppError> {
    let scope = scope.with(Permission::View)?;
    let row = app.store.attachment(&scope, id).await?;
    let (path, wanted) = (path_of(&app.attachments.root, &row.file.sha256, ""), row.file.sha256.clone());
    let opened = off_thread(move || {
        let mut file = File::open(path)?;
        let is_whole = hash_of(&mut file)? == wanted;
        file.rewind()?;
        Ok::<_, io::Error>(is_whole.then_some(file))
    });
    let file = opened.await?.map_err(|e| damaged(Some(e)))?.ok_or_else(|| damaged(None))?;
    Ok((row, file))
}

/// A copy of a picture for the screen, JPEG.
///
/// # Errors
/// Not there, not visible or no picture; gone from the disk.
pub async fn copy(app: &App, scope: &Scope, id: AttachmentId, copy: Copy) -> Result<Vec<u8>, AppError> {
    let scope = scope.with(Permission::View)?;
    let row = app.store.attachment(&scope, id).await?;
    if by_media_type(&row.file.media_type).is_none_or(|t| t.kind != FileKind::Image) {
        return Err(AppError::not_found());
    }
    let path = path_of(&app.attachments.root, &row.file.sha256, copy.ending());
    off_thread(move || fs::read(path)).await?.map_err(|e| damaged(Some(e)))
}

fn damaged(source: Option<io::Error>) -> AppError {
    AppError { source: source.map(Into::into), ..AppError::new(Kind::Internal, "attachment.unreadable") }
}

// ---- keeping house

/// Removes what nobody names, at the start and then every hour, until stopped.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    loop {
        if let Err(failure) = sweep(&app).await {
            warn!(error = &failure as &dyn std::error::Error, "files of records could not be looked through; next try within the hour");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
    }
}

/// Forgets uploads that no act named for a day, then removes files that no row names. Running twice does no harm.
///
/// # Errors
/// The store's, a folder that cannot be read.
pub(crate) async fn sweep(app: &App) -> Result<(), AppError> {
    // Not while a backup reads them.
    let _sweeping = app.attachments.sweeping.write().await;
    let forgotten = app.store.forget_waiting_attachments(app.clock.now().plus_us(-WAITS_US)).await?;
    let n_forgotten = forgotten.len();
    for hash in forgotten {
        let _keeping = app.attachments.keeping.lock().await;
        remove_unnamed(app, hash).await?;
    }
    let old = AppClock::real().now().plus_us(-UNNAMED_US);
    let (mut n_removed, mut n_missing) = (0, 0);
    for byte in 0..=u8::MAX {
        let prefix = format!("{byte:02x}");
        let folder = app.attachments.root.join(&prefix);
        let _keeping = app.attachments.keeping.lock().await;
        let named: BTreeSet<String> = app.store.attachment_hashes(&prefix).await?.into_iter().collect();
        let (removed, missing) = off_thread(move || tidy(&folder, &named, old)).await?.map_err(disk)?;
        (n_removed, n_missing) = (n_removed + removed, n_missing + missing);
    }
    if n_missing > 0 {
        error!(n = n_missing, "{n_missing} files of records are gone from the disk; anlan audit verify says which");
    }
    metrics::gauge!("anlan_attachments_missing").set(n_missing as f64);
    if n_forgotten > 0 || n_removed > 0 {
        info!("{n_forgotten} uploads that no record named were forgotten, {n_removed} files that nobody names were removed");
    }
    Ok(())
}

/// Removes what is not named in one folder and was written before `old`; how many files that were, and how many named ones are not there.
fn tidy(folder: &Path, named: &BTreeSet<String>, old: Timestamp) -> io::Result<(usize, usize)> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((0, named.len())),
        entries => entries?,
    };
    let (mut removed, mut here) = (0, BTreeSet::new());
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let hash = name.split('.').next().unwrap_or_default();
        let is_ours = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_ours {
            continue;
        }
        let is_old = || {
            let written = entry.metadata()?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            Ok::<_, io::Error>(Timestamp::from_secs(i64::try_from(written.as_secs()).unwrap_or(i64::MAX / 1_000_000)) < old)
        };
        if name.ends_with(".tmp") || !named.contains(hash) && is_old()? {
            fs::remove_file(folder.join(&name))?;
            removed += 1;
        } else if name == hash {
            here.insert(name);
        }
    }
    if removed > 0 {
        File::open(folder)?.sync_all()?;
    }
    Ok((removed, named.len() - here.len()))
}

// ---- verifying

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFault {
    /// It is not on the disk.
    Gone,
    /// Its bytes have another hash.
    Altered,
    /// Its row is gone, or says something else than the audit.
    Row,
    /// Its record has it, but no entry of the audit says so.
    Unvouched,
}

/// The files of records as [`verify`] found them.
#[derive(Debug, Default)]
pub struct Verified {
    /// How many the audit vouches for.
    pub files: usize,
    /// What is wrong, with the record where one is known.
    pub wrong: Vec<(AttachmentId, Option<RecordId>, FileFault)>,
}

/// Compares every file that an act bound with the hash in the audit: its row, and the bytes below the data directory `data`.
///
/// # Errors
/// The store's.
pub async fn verify(store: &Store, data: &Path) -> Result<Verified, StoreError> {
    let (vouched, strays) = store.vouched_attachments().await?;
    let mut verified = Verified { files: vouched.len(), wrong: Vec::new() };
    let root = data.join(DIR);
    for file in vouched {
        let fault = match File::open(path_of(&root, &file.sha256, "")) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Some(FileFault::Gone),
            Err(_) => Some(FileFault::Altered),
            Ok(_) if !file.has_row => Some(FileFault::Row),
            Ok(mut opened) => {
                hash_of(&mut opened).map_or(Some(FileFault::Altered), |hash| (hash != file.sha256).then_some(FileFault::Altered))
            }
        };
        verified.wrong.extend(fault.map(|fault| (file.id, Some(file.record), fault)));
    }
    verified.wrong.extend(strays.into_iter().map(|id| (id, None, FileFault::Unvouched)));
    Ok(verified)
}
