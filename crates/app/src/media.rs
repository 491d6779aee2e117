//! Files of terminals (多媒体: pictures, sounds, films): kept, listed, given out, dropped when their time is over.
//!
//! The bytes lie below `media/` of the data directory, one folder a vehicle, `NUMBER-SHA256.bin` with what is known of it beside it as
//! `.json`. Both are synced, then the folder, then the row is written, and only then the terminal hears that its file is kept. So a crash
//! leaves at most files without a row, and [`reconcile`] adopts those that are whole. They go the other way round: files first, then the row.
//! One task writes, so limits are exact. Start at [`run`] and [`content`].

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anlan_model::{Clock as _, MediaRefusal, MediaReply, Permission, RawMedia, Scope, VehicleId};
pub use anlan_store::{MediaRow, NewMedia};
use anlan_store::{Note, StoreError};
use sha2::{Digest as _, Sha256};
use tokio::sync::{RwLock, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::App;
use crate::error::{AppError, Kind};
use crate::point::off_thread;
use crate::retention;
use crate::validate::{Page, Paging};

/// The folder below the data directory.
pub(crate) const DIR: &str = "media";
/// Files that may wait for the disk; their bytes are bounded by the sockets (`limits.max_held_bytes`).
const QUEUE: usize = 256;
/// How often files whose time is over are looked for, real time; their age is counted in days.
const DROP_EVERY: Duration = Duration::from_secs(600);
/// Rows looked at in one step of that.
const DROP_STEP: i64 = 500;
/// Status bit 1 of a position: the receiver has a fix (JT/T 808, table 25).
const STATUS_FIX: u32 = 1 << 1;
const DAY_US: i64 = 86_400_000_000;
const MB: u64 = 1_000_000;

/// Where the files are.
pub struct Media {
    root: PathBuf,
    /// Written while files are dropped; read by a backup, which must find what the database names, and by who sets a hold.
    pub(crate) dropping: RwLock<()>,
}

impl Media {
    /// Of the data directory `data`.
    pub(crate) fn new(data: &Path) -> Self {
        Self { root: data.join(DIR), dropping: RwLock::default() }
    }
}

/// Why the files cannot be looked through at the start.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// A file or folder.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The database.
    #[error("the database")]
    Store(#[from] StoreError),
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> MediaError {
    move |source| MediaError::File { path: path.to_path_buf(), source }
}

/// `NUMBER-SHA256` in the vehicle's folder.
fn stem(root: &Path, vehicle: VehicleId, media_id: u32, sha256: &str) -> PathBuf {
    root.join(vehicle.to_string()).join(format!("{media_id}-{sha256}"))
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// Where sockets put files.
pub struct Desk(mpsc::Sender<(RawMedia, MediaReply)>);

/// What [`run`] takes them from.
pub struct Offered(mpsc::Receiver<(RawMedia, MediaReply)>);

/// A desk and its other side.
pub fn desk() -> (Desk, Offered) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Desk(sender), Offered(receiver))
}

impl Desk {
    /// Hands a file over; never waits.
    pub(crate) fn offer(&self, media: RawMedia, reply: MediaReply) {
        let (reply, refusal) = match self.0.try_send((media, reply)) {
            Ok(()) => return,
            Err(mpsc::error::TrySendError::Full((_, reply))) => (reply, MediaRefusal::Overloaded),
            Err(mpsc::error::TrySendError::Closed((_, reply))) => (reply, MediaRefusal::Stopping),
        };
        reply(Err(refusal));
    }
}

/// Bytes kept, and folders whose entry is known to be durable.
#[derive(Default)]
struct Usage {
    vehicles: Option<BTreeMap<VehicleId, u64>>,
    folders: HashSet<PathBuf>,
}

/// Keeps what is offered, and drops what is over its time, until `stop`. What still waits then is not answered: the terminal has it.
pub async fn run(app: Arc<App>, mut offered: Offered, stop: CancellationToken) {
    let mut usage = Usage::default();
    let mut drop_turn = tokio::time::interval(DROP_EVERY);
    drop_turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = drop_turn.tick() => {
                drop_old(&app).await;
                usage.vehicles = None;
            }
            taken = offered.0.recv() => {
                let Some((media, reply)) = taken else { return };
                let kept = keep(&app, &mut usage, media).await;
                let word = match &kept {
                    Ok(()) => "kept",
                    Err(MediaRefusal::TooLarge) => "too_large",
                    Err(MediaRefusal::Full) => "full",
                    Err(MediaRefusal::UnknownSource) => "unknown_source",
                    Err(MediaRefusal::Storage) => "storage",
                    Err(MediaRefusal::Overloaded | MediaRefusal::Stopping) => "not_now",
                };
                metrics::counter!("anlan_media_files_total", "outcome" => word).increment(1);
                reply(kept);
            }
        }
    }
}

async fn keep(app: &App, usage: &mut Usage, raw: RawMedia) -> Result<(), MediaRefusal> {
    let failed = |failure: &(dyn std::error::Error + 'static)| {
        error!(error = failure, "a file of a terminal cannot be kept");
        MediaRefusal::Storage
    };
    let known = app.registry.get();
    let vehicle = known.vehicle_by_phone.get(&raw.phone).copied().ok_or(MediaRefusal::UnknownSource)?;
    let position = raw.position.as_ref();
    let mut new = NewMedia {
        vehicle,
        media_id: raw.media_id,
        kind: raw.kind,
        format: raw.format,
        event: raw.event,
        channel: raw.channel,
        received_at: raw.received_at,
        taken_at: position.and_then(|p| p.device_at),
        place_e6: position.filter(|p| p.status_bits & STATUS_FIX != 0).map(|p| (p.lon_e6, p.lat_e6)),
        sha256: String::new(),
        bytes: 0,
    };
    let Some(data) = raw.data else {
        return app.store.put_media(&new).await.map(drop).map_err(|e| failed(&e));
    };
    (new.sha256, new.bytes) = (sha256(&data), data.len() as u64);
    if app.store.has_media(vehicle, new.media_id, &new.sha256).await.map_err(|e| failed(&e))? {
        return Ok(());
    }
    let of = match &mut usage.vehicles {
        Some(of) => of,
        empty => empty.insert(app.store.media_bytes().await.map_err(|e| failed(&e))?),
    };
    let (own, all) = (of.get(&vehicle).copied().unwrap_or(0), of.values().sum::<u64>());
    let limits = app.settings.media;
    if own + new.bytes > limits.vehicle_mb * MB || all + new.bytes > limits.total_mb * MB {
        return Err(MediaRefusal::Full);
    }
    let path = stem(&app.media.root, vehicle, new.media_id, &new.sha256);
    let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let is_new = !usage.folders.contains(&folder);
    let about = new.clone();
    let written = off_thread(move || write(&path, &about, &data, is_new)).await;
    written.map_err(|e| failed(&e))?.map_err(|e| failed(&e))?;
    usage.folders.insert(folder);
    // Without the row the files stay: the terminal sends again, or the next start adopts them.
    app.store.put_media(&new).await.map_err(|e| failed(&e))?;
    *of.entry(vehicle).or_default() += new.bytes;
    metrics::gauge!("anlan_media_bytes").set((all + new.bytes) as f64);
    Ok(())
}

/// Writes a file and what is known of it, durably.
fn write(stem: &Path, about: &NewMedia, data: &[u8], is_new: bool) -> io::Result<()> {
    let folder = stem.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    if is_new {
        for dir in folder.ancestors().skip(1).take(2) {
            File::open(dir)?.sync_all()?;
        }
    }
    let json = serde_json::to_vec(about).map_err(io::Error::other)?;
    for (extension, bytes) in [("json", &json[..]), ("bin", data)] {
        let part = stem.with_extension(format!("{extension}.tmp"));
        let mut file = File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, stem.with_extension(extension))?;
    }
    File::open(folder)?.sync_all()
}

/// Removes a file and what is known of it, durably; what is gone already is no fault.
fn remove(stem: &Path) -> io::Result<()> {
    for extension in ["json", "bin"] {
        match fs::remove_file(stem.with_extension(extension)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    match stem.parent().map(File::open) {
        Some(Ok(folder)) => folder.sync_all(),
        _ => Ok(()),
    }
}

/// What lies in the folder that is no half of a pair.
struct Found {
    pairs: Vec<PathBuf>,
    rest: Vec<PathBuf>,
}

fn look(root: &Path) -> Result<Found, MediaError> {
    let mut found = Found { pairs: Vec::new(), rest: Vec::new() };
    let folders = match fs::read_dir(root) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(found),
        folders => folders.map_err(at(root))?,
    };
    for folder in folders {
        let folder = folder.map_err(at(root))?.path();
        let names: HashSet<PathBuf> = match fs::read_dir(&folder) {
            Ok(entries) => entries.map(|e| e.map(|e| e.path())).collect::<io::Result<_>>().map_err(at(&folder))?,
            // Nothing of ours.
            Err(_) => continue,
        };
        for name in &names {
            let is = |extension: &str| name.extension().is_some_and(|e| e == extension);
            let partner = name.with_extension(if is("bin") { "json" } else { "bin" });
            if is("bin") && names.contains(&partner) {
                found.pairs.push(name.with_extension(""));
            } else if is("tmp") || ((is("bin") || is("json")) && !names.contains(&partner)) {
                found.rest.push(name.clone());
            }
        }
    }
    Ok(found)
}

/// Brings files and rows together after a crash: whole files without a row get one, halves go, rows without a file are told.
///
/// # Errors
/// [`MediaError`].
pub(crate) async fn reconcile(app: &App) -> Result<(), MediaError> {
    let mut rows = app.store.all_media().await?;
    let (root, known) = (app.media.root.clone(), rows.clone());
    let task = tokio::task::spawn_blocking(move || {
        let found = look(&root)?;
        let mut orphans = Vec::new();
        let mut here = HashSet::new();
        for stem in found.pairs {
            let json = stem.with_extension("json");
            let about = fs::read(&json).ok().and_then(|text| serde_json::from_slice::<NewMedia>(&text).ok());
            let named = about.filter(|a| self::stem(&root, a.vehicle, a.media_id, &a.sha256) == stem);
            let Some(about) = named else {
                warn!(path = %json.display(), "{} does not say what the file beside it is; both are left alone", json.display());
                continue;
            };
            let key = (about.vehicle, about.media_id, about.sha256.clone());
            if !known.contains(&key) {
                let bytes = fs::read(stem.with_extension("bin")).map_err(at(&stem))?;
                if sha256(&bytes) != about.sha256 {
                    warn!(path = %stem.display(), "{} is not what its name says; it is left alone", stem.display());
                    continue;
                }
                orphans.push(about);
            }
            here.insert(key);
        }
        for half in &found.rest {
            fs::remove_file(half).map_err(at(half))?;
        }
        Ok::<_, MediaError>((orphans, here, found.rest.len()))
    });
    let stopped = |e| MediaError::File { path: PathBuf::from(DIR), source: io::Error::other(e) };
    let (orphans, here, n_halves) = task.await.map_err(stopped)??;
    rows.retain(|key| !here.contains(key));
    if !rows.is_empty() {
        error!(n = rows.len(), "{} files of terminals are gone from the disk; their rows stay", rows.len());
    }
    metrics::gauge!("anlan_media_missing").set(rows.len() as f64);
    let vehicles = &app.registry.get().vehicles;
    let mut n_adopted = 0;
    for about in &orphans {
        if vehicles.contains_key(&about.vehicle) {
            app.store.put_media(about).await?;
            n_adopted += 1;
        }
    }
    if n_adopted + n_halves > 0 {
        info!("{n_adopted} files of terminals had no row and got one, {n_halves} unfinished ones were removed");
    }
    Ok(())
}

/// Drops files whose time is over and that no hold names. Nothing goes that the audit does not know of first.
pub(crate) async fn drop_old(app: &App) {
    let days = app.settings.media.days;
    if days == 0 || !retention::may_drop(app) {
        return;
    }
    let _dropping = app.media.dropping.write().await;
    if let Err(failure) = drop_before(app, i64::from(days)).await {
        metrics::counter!("anlan_media_keep_failed_total").increment(1);
        error!(error = &failure as &dyn std::error::Error, "files of terminals whose time is over stay for now");
    }
}

async fn drop_before(app: &App, days: i64) -> Result<(), AppError> {
    let until = app.clock.now().plus_us(-days.saturating_mul(DAY_US));
    let known = app.registry.get();
    let holds: Vec<_> = app.store.standing_holds().await?.iter().map(|h| retention::hold(&known, h)).collect();
    let held = |row: &MediaRow| {
        // Days that a period touches are kept whole, as everywhere.
        let day = |us: i64| us.div_euclid(DAY_US);
        let is_in = |us: i64, from: i64, to: i64| (day(from)..=day(to - 1)).contains(&day(us));
        let times = [Some(row.media.received_at), row.media.taken_at];
        let mut times = times.into_iter().flatten().map(|t| t.micros());
        holds.iter().any(|h| h.vehicles.contains(&row.media.vehicle) && times.any(|us| is_in(us, h.from, h.to)))
    };
    let mut after = 0;
    loop {
        let rows = app.store.media_before(until, after, DROP_STEP).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.id;
        let over: Vec<MediaRow> = rows.into_iter().filter(|row| !held(row)).collect();
        if over.is_empty() {
            continue;
        }
        let bytes: u64 = over.iter().map(|r| r.media.bytes).sum();
        let ids: Vec<i64> = over.iter().map(|r| r.id).collect();
        let detail = serde_json::json!({ "files": ids.len(), "bytes": bytes, "received_before": until, "ids": ids });
        let note = Note { action: "drop", noun: "media", subject: until.to_string(), detail };
        app.store.note(&Scope::node(), note, app.clock.now()).await?;
        let root = app.media.root.clone();
        let stems: Vec<PathBuf> = over
            .iter()
            .filter(|r| !r.media.sha256.is_empty())
            .map(|r| stem(&root, r.media.vehicle, r.media.media_id, &r.media.sha256))
            .collect();
        let removed = off_thread(move || stems.iter().try_for_each(|stem| remove(stem))).await?;
        removed.map_err(|e| AppError { source: Some(e.into()), ..AppError::new(Kind::Unavailable, "media.unreadable") })?;
        app.store.forget_media(&ids).await?;
        metrics::counter!("anlan_media_dropped_total").increment(ids.len() as u64);
        info!(files = ids.len(), bytes, "retention dropped {} files of terminals, {bytes} bytes", ids.len());
    }
}

/// A page of a vehicle's files and announcements, newest first.
///
/// # Errors
/// Not there or not visible, a foreign cursor.
pub async fn list(app: &App, scope: &Scope, vehicle: VehicleId, paging: &Paging) -> Result<Page<MediaRow>, AppError> {
    let scope = scope.with(Permission::View)?;
    app.store.vehicle(&scope, vehicle).await?;
    Ok(app.store.media(&scope, vehicle, paging).await?)
}

/// A file as it is given out.
pub struct Content {
    /// Its row.
    pub row: MediaRow,
    /// Its bytes, as the hash says.
    pub bytes: Vec<u8>,
    /// By its first bytes, whatever the terminal said.
    pub media_type: &'static str,
    /// A name ending that fits.
    pub extension: &'static str,
}

/// The bytes of a file; that somebody looked stands in the audit first.
///
/// # Errors
/// Not there or not visible, announced only, gone from the disk or changed there.
pub async fn content(app: &App, scope: &Scope, vehicle: VehicleId, id: i64) -> Result<Content, AppError> {
    let scope = scope.with(Permission::View)?;
    let row = app.store.one_media(&scope, vehicle, id).await?;
    if row.media.sha256.is_empty() {
        return Err(AppError::not_found());
    }
    let path = stem(&app.media.root, vehicle, row.media.media_id, &row.media.sha256).with_extension("bin");
    let wanted = row.media.sha256.clone();
    let read = off_thread(move || fs::read(path).map(|bytes| (sha256(&bytes) == wanted).then_some(bytes))).await?;
    let damaged =
        |source: Option<io::Error>| AppError { source: source.map(Into::into), ..AppError::new(Kind::Internal, "media.unreadable") };
    let bytes = read.map_err(|e| damaged(Some(e)))?.ok_or_else(|| damaged(None))?;
    app.store.note_media_read(&scope, &row, app.clock.now()).await?;
    let (media_type, extension) = type_of(&bytes);
    Ok(Content { row, bytes, media_type, extension })
}

/// Media type and name ending by the first bytes; anything unknown is just bytes.
fn type_of(bytes: &[u8]) -> (&'static str, &'static str) {
    /// The GUID that a WMV or WMA file begins with (ASF header object).
    const ASF: [u8; 16] = [0x30, 0x26, 0xb2, 0x75, 0x8e, 0x66, 0xcf, 0x11, 0xa6, 0xd9, 0x00, 0xaa, 0x00, 0x62, 0xce, 0x6c];
    match bytes {
        [0xff, 0xd8, 0xff, ..] => ("image/jpeg", "jpg"),
        [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => ("image/png", "png"),
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => ("image/tiff", "tif"),
        [b'I', b'D', b'3', ..] | [0xff, 0xfb | 0xf3 | 0xf2, ..] => ("audio/mpeg", "mp3"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => ("audio/wav", "wav"),
        _ if bytes.starts_with(&ASF) => ("video/x-ms-asf", "wmv"),
        _ => ("application/octet-stream", "bin"),
    }
}

/// How many files of `data` the database names, and how many of them are not there as named: for who restored a backup.
///
/// # Errors
/// The database.
pub(crate) async fn verify(store: &anlan_store::Store, data: &Path) -> Result<(usize, usize), StoreError> {
    let rows = store.all_media().await?;
    let root = data.join(DIR);
    let is_whole = |(vehicle, media_id, hash): &(VehicleId, u32, String)| {
        fs::read(stem(&root, *vehicle, *media_id, hash).with_extension("bin")).is_ok_and(|bytes| sha256(&bytes) == *hash)
    };
    Ok((rows.len(), rows.iter().filter(|row| !is_whole(row)).count()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_name_the_type_and_html_is_never_served() {
        let check = |bytes: &[u8], want| assert_eq!(type_of(bytes).0, want, "{bytes:x?}");
        check(&[0xff, 0xd8, 0xff, 0xe0], "image/jpeg");
        check(b"RIFF\x01\x02\x03\x04WAVEfmt ", "audio/wav");
        check(b"II*\0", "image/tiff");
        check(b"ID3", "audio/mpeg");
        check(b"<html><script>", "application/octet-stream");
        check(b"<svg xmlns", "application/octet-stream");
        check(b"", "application/octet-stream");
    }

    #[test]
    fn halves_are_found_and_pairs_are_pairs() {
        let dir = tempfile::tempdir().unwrap();
        assert!(look(&dir.path().join("absent")).unwrap().pairs.is_empty());
        let about = NewMedia {
            vehicle: VehicleId::new(7),
            media_id: 3,
            kind: 0,
            format: 0,
            event: 1,
            channel: 1,
            received_at: anlan_model::Timestamp::EPOCH,
            taken_at: None,
            place_e6: Some((102_000_000, 24_000_000)),
            sha256: sha256(b"x"),
            bytes: 1,
        };
        let path = stem(dir.path(), about.vehicle, about.media_id, &about.sha256);
        write(&path, &about, b"x", true).unwrap();
        write(&path, &about, b"x", false).unwrap();
        let lonely = path.with_file_name("4-ff.json");
        fs::write(&lonely, b"{}").unwrap();
        let part = path.with_file_name("5-ff.bin.tmp");
        fs::write(&part, b"").unwrap();
        let mut found = look(dir.path()).unwrap();
        found.rest.sort();
        assert_eq!((found.pairs, found.rest), (vec![path.clone()], vec![lonely, part]));
        let read: NewMedia = serde_json::from_slice(&fs::read(path.with_extension("json")).unwrap()).unwrap();
        assert_eq!(read, about);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(look(dir.path()).unwrap().pairs.is_empty());
    }
}
