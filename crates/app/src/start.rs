//! Starting and stopping a node's use cases, in order. Start at [`start`].

use std::path::Path;
use std::sync::Arc;
use std::thread;

use anlan_archive::{ArchiveError, Whole};
use anlan_domain::division::DivisionError;
use anlan_domain::pack::PackError;
use anlan_model::Clock as _;
use anlan_store::{Store, StoreError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use crate::archive::{self, Archiver};
use crate::clock::AppClock;
use crate::error::AppError;
use crate::keep::Housekeeping;
use crate::live::Live;
use crate::projector::{Ahead, Projector};
use crate::registry::{Registry, Snapshot};
use crate::telemetry::engine::{self, EngineError, EngineHandle};
use crate::telemetry::intake::AppIntake;
use crate::telemetry::pressure::{self, Pressure};
use crate::telemetry::{Latest, LogStatus, Telemetry};
use crate::{App, Settings, attachment, certificate, export, media, order, pack, record, region, rules};

/// INTERFACES: a node stops within 10 s; this is the database's part of it.
const STOP_WITHIN: std::time::Duration = std::time::Duration::from_secs(3);

/// Questions about many points worked on at once; others wait, as many as the API lets in.
const QUESTIONS: usize = 2;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database.
    #[error("the database does not start")]
    Store(#[from] StoreError),
    /// The telemetry log.
    #[error("the telemetry log does not start")]
    Engine(#[from] EngineError),
    /// Database and log do not belong together.
    #[error(transparent)]
    Ahead(#[from] Ahead),
    /// Files of terminals.
    #[error("the files of terminals")]
    Media(#[from] media::MediaError),
    /// What the data directory says about the archive.
    #[error("the archive")]
    Archive(#[from] ArchiveError),
    /// A built-in pack contradicts itself.
    #[error("the base pack is refused")]
    Pack(#[from] PackError),
    /// The built-in list of divisions contradicts itself.
    #[error("the region pack is refused")]
    Divisions(#[from] DivisionError),
    /// The registers or the calendar of a pack cannot be read.
    #[error("the registers")]
    Registers(#[from] AppError),
    /// The machine gives no thread or no randomness.
    #[error("the machine")]
    Machine(#[from] std::io::Error),
}

/// A running node without its sockets.
pub struct Running {
    /// For sockets and API.
    pub app: Arc<App>,
    /// For sockets.
    pub intake: Arc<AppIntake>,
    engine: EngineHandle,
    thread: thread::JoinHandle<()>,
    keeper: Housekeeping,
    intake_stop: CancellationToken,
    projector_stop: CancellationToken,
    tasks: TaskTracker,
}

/// Opens log and database in `dir`, rebuilds state, applies what the database lacks, and starts the engine.
///
/// # Errors
/// [`StartError`]; nothing runs then.
pub async fn start(dir: &Path, store: Store, clock: AppClock, settings: Settings) -> Result<Running, StartError> {
    let clock = Arc::new(clock);
    let book = Arc::new(rules::built_in()?);
    let road = Arc::new(rules::road()?);
    store.put_regions(rules::divisions()?.values()).await?;
    // Before anything is read: what is read is then where it belongs today.
    let divided_on = region::redivide(&store, clock.now()).await?.0;
    let status = Arc::new(LogStatus::default());
    let latest = Arc::new(Latest::default());
    let (projected, projected_receiver) = watch::channel(0);
    let pressure = Arc::new(Pressure::new(settings.shard_queue, settings.queue_readings));
    let disk_min_mb = settings.disk_free_min_mb;
    pressure::look_at_disk(dir, disk_min_mb, &pressure);
    let (history, time, files, drift) = (dir.join("history"), settings.time, settings.history, road.drift.is);
    let (pressed, at, newest, told) = (pressure.clone(), clock.clone(), latest.clone(), status.clone());
    let opening =
        tokio::task::spawn_blocking(move || engine::open(&history, time, drift, files, pressed, at, newest, told, projected_receiver));
    // The log is replayed and the tables are read at the same time: neither needs the other, and each takes seconds of a large node.
    let (opened, read) = tokio::join!(opening, Snapshot::read(&store));
    let (opened, reader) = opened.map_err(std::io::Error::other)??;
    let read = read?;
    opened.handle.has_archive(crate::archive::place(&settings.archive).is_some());
    // The engine shows the newest values of what it judges; other nodes' points it does not know.
    let mirrored: Vec<_> = read.mirrored.keys().copied().collect();
    latest.publish(reader.latest_of(&mirrored).iter().flatten(), [].iter());
    let released_to = anlan_archive::released_to(dir)?;
    let run = u64::try_from(clock.now().micros()).unwrap_or(0) ^ u64::from(std::process::id()).rotate_left(40);
    let (registers, calendar) = (pack::Registers::load(&store).await?, pack::calendar()?);
    registers.make_known(&store);
    let registers = Arc::new(arc_swap::ArcSwap::from_pointee(registers));
    let live = Live::new(store.clone(), registers.clone(), latest.clone(), opened.durable.clone(), run);
    let projector = Projector {
        reader: reader.clone(),
        store: store.clone(),
        live: live.clone(),
        status: status.clone(),
        durable: opened.durable.clone(),
        projected,
    };
    projector.begin().await??;

    certificate::look(&store, dir).await;
    let key = terminal_key(&store).await?;
    let registry = Registry::open(store.clone(), read, opened.handle.clone(), book.clone(), road.clone(), live.clone(), key).await?;
    let app = Arc::new(App {
        store,
        clock,
        registry,
        telemetry: Telemetry { whole: Whole::new(reader.clone(), released_to), reader, latest, status },
        live,
        rules: book,
        road,
        registers,
        calendar,
        sheets: tokio::sync::Semaphore::new(1),
        reminding: tokio::sync::Mutex::default(),
        divided_on: tokio::sync::Mutex::new(divided_on),
        switching: tokio::sync::Mutex::default(),
        road_refresh: tokio::sync::Mutex::default(),
        archiver: Archiver::new(settings.archive.clone(), dir),
        media: crate::media::Media::new(dir),
        attachments: attachment::Attachments::new(dir),
        exports: export::Exports::new(dir),
        certificates: certificate::Certificates::new(dir),
        whistleblow: crate::whistleblow::Whistleblow::default(),
        settings,
        links: std::sync::OnceLock::new(),
        network: std::sync::OnceLock::new(),
        typesetter: std::sync::OnceLock::new(),
        documents: crate::document::Documents::default(),
        access: crate::access::Access::default(),
        commands: Arc::new(tokio::sync::Notify::new()),
        orders: tokio::sync::Notify::new(),
        transfers: crate::transfer::Heard::default(),
        plans: crate::plan::Plans::default(),
        open_data: crate::open_data::State::default(),
        submitting: tokio::sync::Notify::new(),
        health: crate::health::Health::default(),
        many: tokio::sync::Semaphore::new(QUESTIONS),
        received: crate::networking::Received::default(),
        changes: TaskTracker::new(),
        keep: crate::keep::Bell::default(),
        dropping: Arc::default(),
        thinning: crate::thinned::Open::default(),
        backup: tokio::sync::Mutex::new(()),
        durable: opened.durable.clone(),
        engine: opened.handle.clone(),
    });
    let look_every = std::time::Duration::from_millis(app.settings.history.merge_look_ms);
    let keeper = Housekeeping::start(opened.keeper, app.clone(), look_every)?;
    let engine = opened.engine;
    let thread = thread::Builder::new().name("engine".to_owned()).spawn(move || engine.run())?;
    let (tasks, intake_stop, projector_stop) = (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
    tasks.spawn(projector.run(projector_stop.clone()));
    tasks.spawn(archive::run(app.clone(), intake_stop.clone()));
    tasks.spawn(attachment::run(app.clone(), intake_stop.clone()));
    tasks.spawn(export::run(app.clone(), intake_stop.clone()));
    tasks.spawn(record::run(app.clone(), intake_stop.clone()));
    tasks.spawn(order::run(app.clone(), intake_stop.clone()));
    tasks.spawn(crate::transfer::run(app.clone(), intake_stop.clone()));
    tasks.spawn(crate::submission::run(app.clone(), intake_stop.clone()));
    tasks.spawn(crate::roster::run(app.clone(), intake_stop.clone()));
    pack::begin_base(&app).await?;
    tasks.spawn(pack::renew_at_start(app.clone()));
    tasks.spawn(crate::public::keep_at_start(app.clone()));
    tasks.spawn(region::run(app.clone(), intake_stop.clone()));
    media::reconcile(&app).await?;
    let (desk, files) = media::desk();
    let (intake, binding) = AppIntake::start(app.clone(), opened.handle.clone(), desk, intake_stop.clone());
    tasks.spawn(binding);
    tasks.spawn(pressure::watch_disk(dir.to_owned(), disk_min_mb, pressure, intake_stop.clone()));
    tasks.spawn(media::run(app.clone(), files, intake_stop.clone()));
    tasks.close();
    Ok(Running { app, intake, engine: opened.handle, thread, keeper, intake_stop, projector_stop, tasks })
}

impl Running {
    /// Stops in order: no new batches, engine takes what it has and syncs, projector applies it. Sockets must be closed before.
    pub async fn stop(self) {
        self.app.changes.close();
        if tokio::time::timeout(STOP_WITHIN, self.app.changes.wait()).await.is_err() {
            warn!("a change did not end within {STOP_WITHIN:?}; the database rolls it back");
        }
        self.intake_stop.cancel();
        self.engine.stop();
        let (thread, keeper) = (self.thread, self.keeper);
        let kept = tokio::task::spawn_blocking(move || keeper.stop());
        if tokio::task::spawn_blocking(move || thread.join()).await.is_ok_and(|joined| joined.is_err()) {
            error!("the engine thread panicked; the log holds everything that was acknowledged");
        }
        // A merge under way is left to the next start: its file is not listed yet.
        if tokio::time::timeout(STOP_WITHIN, kept).await.is_err() {
            warn!("a merge of blocks did not end within {STOP_WITHIN:?}; the next start begins it again");
        }
        self.projector_stop.cancel();
        // What the projector does not manage now it applies at the next start: the log keeps it.
        if tokio::time::timeout(STOP_WITHIN, self.tasks.wait()).await.is_err() {
            warn!("effects were not all applied within {STOP_WITHIN:?}; the next start goes on");
        }
    }
}

impl App {
    /// Runs everything due by now and waits until it is in the database; how much was due. For the test clock.
    pub async fn settle(&self) -> usize {
        let Some((ran, position)) = self.engine.settle().await else { return 0 };
        while self.telemetry.status().projected < position && !self.telemetry.status().degraded() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        if self.archiver.is_on() {
            archive::round(self, &CancellationToken::new()).await;
        }
        self.keep.round().await;
        media::drop_old(self).await;
        if let Err(failure) = attachment::sweep(self).await {
            warn!(error = &failure as &dyn std::error::Error, "files of records could not be looked through");
        }
        if let Err(failure) = export::tidy(self).await {
            warn!(error = &failure as &dyn std::error::Error, "files of lists could not be looked through");
        }
        // A database that is away is told of elsewhere; the reconcilers try again.
        let ran = ran + region::keep_up(self).await.unwrap_or(0);
        ran + record::remind(self).await.unwrap_or(0)
    }
}

/// The key of the codes that terminals authenticate with; the first start makes it.
async fn terminal_key(store: &Store) -> Result<[u8; 32], StartError> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(std::io::Error::other)?;
    let text = store.setting_or_put("terminal_key", &serde_json::json!(key).to_string()).await?;
    serde_json::from_str(&text).map_err(|e| StartError::Store(StoreError::Corrupt(format!("setting terminal_key: {e}"))))
}
