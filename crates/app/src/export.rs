//! Lists as files, made in the background (导出任务): asked for, made one after the other, fetched, forgotten after a day.
//!
//! A job is durable before its asker hears of it; after a restart it is begun anew. It is made with the grants that the asker had, and given out only
//! while they are the same: whoever was moved meanwhile asks again. Files lie below `exports/` of the data directory by job and part, each an XLSX
//! file of [`sheet`](crate::sheet); no backup has them. Start at [`ask`] and [`run`].

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anlan_model::{Clock as _, Permission, Scope};
pub use anlan_store::{ExportRow, ExportState};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::App;
use crate::error::{AppError, Kind};
use crate::point::off_thread;
use crate::record::RecordFilter;
use crate::sheet::{self, Language};
use crate::telemetry::pressure;

/// The folder below the data directory.
const DIR: &str = "exports";
/// Jobs of one person that may wait.
const WAITING_MAX: i64 = 5;
/// Files of one job: 25 million records in whole files.
const FILES_MAX: u64 = 500;
/// How often a job is tried that something else than its list stops; then it no longer holds up those behind it.
const TRIES: u32 = 5;
/// How long files are kept, domain time.
const KEPT_US: i64 = 86_400_000_000;
/// How often old ones are looked for, real time.
const TIDY_EVERY: Duration = Duration::from_secs(600);
/// When a job is tried again that the database or the disk stopped, real time.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Where the files are, and what wakes whoever makes them.
pub struct Exports {
    root: PathBuf,
    bell: Notify,
}

impl Exports {
    /// Of the data directory `data`.
    pub(crate) fn new(data: &Path) -> Self {
        Self { root: data.join(DIR), bell: Notify::new() }
    }

    fn folder(&self, job: i64) -> PathBuf {
        self.root.join(job.to_string())
    }
}

fn file_name(part: u64) -> String {
    format!("{part}.xlsx")
}

/// What was asked for.
#[derive(Serialize, Deserialize)]
struct Asked {
    filter: RecordFilter,
    language: Language,
    rows_per_file: usize,
}

/// Takes a job: the records of a list, in files of so many.
///
/// # Errors
/// As the list; too many of the asker's wait.
pub async fn ask(
    app: &App,
    scope: &Scope,
    kind: &str,
    filter: RecordFilter,
    language: Language,
    rows_per_file: usize,
) -> Result<ExportRow, AppError> {
    scope.with(Permission::View)?;
    let kind = app.registers.load().kind(kind)?;
    if !(1..=sheet::ROWS_MAX).contains(&rows_per_file) {
        return Err(AppError::invalid("number.range", "rows_per_file").with("min", 1).with("max", sheet::ROWS_MAX));
    }
    let asked = json!(Asked { filter, language, rows_per_file });
    let job = app.store.ask_export(scope, &kind.id, &asked, app.clock.now(), WAITING_MAX).await?;
    app.exports.bell.notify_one();
    job.ok_or_else(|| AppError::conflict("export.waiting").with("max", WAITING_MAX))
}

/// The asker's jobs, newest first.
///
/// # Errors
/// No permission to view.
pub async fn list(app: &App, scope: &Scope) -> Result<Vec<ExportRow>, AppError> {
    scope.with(Permission::View)?;
    Ok(app.store.exports(scope).await?)
}

/// One of the asker's jobs.
///
/// # Errors
/// Not there, or another's.
pub async fn get(app: &App, scope: &Scope, id: i64) -> Result<ExportRow, AppError> {
    scope.with(Permission::View)?;
    Ok(app.store.export(scope, id).await?)
}

/// A file of a job, from 1.
///
/// # Errors
/// Not there, another's, not made yet; asked for with other grants than the asker has now.
pub async fn open(app: &App, scope: &Scope, id: i64, part: u64) -> Result<(ExportRow, File), AppError> {
    let job = get(app, scope, id).await?;
    if job.grants != scope.grants {
        return Err(AppError::conflict("export.grants_changed"));
    }
    // Those of a job that is still being made may be of a run that broke off.
    if job.state != ExportState::Done || !(1..=job.files).contains(&part) {
        return Err(AppError::not_found());
    }
    let path = app.exports.folder(id).join(file_name(part));
    let file = off_thread(move || File::open(path)).await?;
    Ok((job, file.map_err(|e| AppError { source: Some(e.into()), ..AppError::conflict("export.gone") })?))
}

/// Takes back a job, with its files.
///
/// # Errors
/// Not there, or another's.
pub async fn forget(app: &App, scope: &Scope, id: i64) -> Result<(), AppError> {
    scope.with(Permission::View)?;
    app.store.forget_export(scope, id, app.clock.now()).await?;
    remove(app, id).await
}

async fn remove(app: &App, id: i64) -> Result<(), AppError> {
    let folder = app.exports.folder(id);
    match off_thread(move || fs::remove_dir_all(folder)).await? {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(disk(e)),
        _ => Ok(()),
    }
}

fn disk(e: io::Error) -> AppError {
    AppError { source: Some(e.into()), ..AppError::new(Kind::Unavailable, "export.disk") }
}

/// Makes what waits and forgets what is old, until stopped.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    // The job that could not be made, and how often.
    let mut failing = (0, 0);
    loop {
        let work = async {
            tidy(&app).await?;
            while let Some(job) = app.store.next_export().await? {
                let Err(failure) = make(&app, &job).await else { continue };
                failing = if failing.0 == job.id { (job.id, failing.1 + 1) } else { (job.id, 1) };
                if failing.1 < TRIES {
                    return Err(failure);
                }
                give_up(&app, &job, &failure).await?;
            }
            Ok::<(), AppError>(())
        };
        let wait = tokio::select! {
            () = stop.cancelled() => return,
            done = work => match done {
                Ok(()) => TIDY_EVERY,
                Err(failure) => {
                    warn!(error = &failure as &dyn std::error::Error, "a list could not be made into a file; next try in {AGAIN_AFTER:?}");
                    AGAIN_AFTER
                }
            },
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = app.exports.bell.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Makes the files of a job, or notes why there are none.
///
/// # Errors
/// What another try may mend.
async fn make(app: &App, job: &ExportRow) -> Result<(), AppError> {
    let (mut rows, mut files) = (0, 0);
    let state = match parts(app, job, &mut rows, &mut files).await {
        Ok(()) => ExportState::Done,
        Err(again) if again.kind == Kind::Unavailable && again.code() != "export.disk_low" => return Err(again),
        Err(refused) => failed(&refused),
    };
    if state != ExportState::Done {
        remove(app, job.id).await?;
    }
    if !app.store.note_export(job.id, &state, rows, files, app.clock.now()).await? {
        // Taken back meanwhile.
        remove(app, job.id).await?;
    }
    info!(job = job.id, rows, files, "a list was made into files: {}", if state == ExportState::Done { "done" } else { "refused" });
    Ok(())
}

fn failed(refused: &AppError) -> ExportState {
    let problem = refused.problems.first().map(|p| json!({"code": p.code, "params": p.params}));
    ExportState::Failed(problem.unwrap_or_default())
}

async fn give_up(app: &App, job: &ExportRow, failure: &AppError) -> Result<(), AppError> {
    warn!(job = job.id, error = failure as &dyn std::error::Error, "a list is not made into a file after {TRIES} tries");
    remove(app, job.id).await?;
    app.store.note_export(job.id, &failed(failure), 0, 0, app.clock.now()).await?;
    Ok(())
}

async fn parts(app: &App, job: &ExportRow, rows: &mut u64, files: &mut u64) -> Result<(), AppError> {
    let unreadable = |e: serde_json::Error| AppError { source: Some(e.into()), ..AppError::new(Kind::Internal, "internal") };
    let asked: Asked = serde_json::from_value(job.asked.clone()).map_err(unreadable)?;
    let scope = Scope { user: Some(job.user), name: String::new(), grants: job.grants.clone() };
    let mut cursor = None;
    loop {
        if !pressure::has_room_for_files(&app.exports.root, app.settings.disk_free_min_mb, 0) {
            return Err(AppError::new(Kind::Unavailable, "export.disk_low"));
        }
        let part = sheet::part(app, &scope, &job.kind, &asked.filter, asked.language, cursor, asked.rows_per_file).await?;
        let (folder, name) = (app.exports.folder(job.id), file_name(*files + 1));
        off_thread(move || write(&folder, &name, &part.bytes)).await?.map_err(disk)?;
        *rows += part.rows as u64;
        *files += 1;
        let Some(next) = part.next else { return Ok(()) };
        if *files >= FILES_MAX {
            return Err(AppError::invalid("export.too_many_files", "").with("max", FILES_MAX));
        }
        cursor = Some(next);
        // Taken back meanwhile: whoever comes next finds nothing to do.
        if !app.store.note_export(job.id, &ExportState::Waiting, *rows, *files, app.clock.now()).await? {
            return Ok(());
        }
    }
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut file = File::create(folder.join(name))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Forgets jobs that are older than a day, and removes files of jobs that are not there.
///
/// # Errors
/// The store's, a folder that cannot be read.
pub(crate) async fn tidy(app: &App) -> Result<(), AppError> {
    let left = app.store.tidy_exports(app.clock.now().plus_us(-KEPT_US)).await?;
    let root = app.exports.root.clone();
    let removed = off_thread(move || {
        let entries = match fs::read_dir(&root) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_name().to_str().and_then(|name| name.parse().ok()).is_none_or(|id| !left.contains(&id)) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    });
    removed.await?.map_err(disk)
}
