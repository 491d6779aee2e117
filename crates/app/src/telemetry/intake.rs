//! Binds what sockets hear to points and vehicles, and hands it to the engine. What is unknown is created first, in order.
//!
//! The fast path is a look into the snapshot. A batch that names something unknown goes to one slow task, and so does everything of the
//! same source until that task has caught up: batches of one source never overtake each other. Start at [`AppIntake::offer`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use anlan_model::{Batch, DataEvent, Effect, Intake, Quarantined, Refusal, Source, SourceEvent, Trust};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::engine::EngineHandle;
use super::shard::{Bound, BoundReading};
use crate::App;
use crate::registry::Snapshot;

/// Batches that may wait for something to be created.
const SLOW_QUEUE: usize = 20_000;
/// Quarantined messages that may wait to be written.
const QUARANTINE_QUEUE: usize = 1_000;

/// The [`Intake`] of a node.
pub struct AppIntake {
    app: Arc<App>,
    engine: EngineHandle,
    slow: mpsc::Sender<Batch>,
    /// Batches of a source that are on the slow path.
    detours: Arc<Mutex<HashMap<String, usize>>>,
    quarantine: mpsc::Sender<Quarantined>,
}

impl AppIntake {
    /// The intake and the task that creates what is unknown; the caller awaits the task after `stop`.
    pub fn start(app: Arc<App>, engine: EngineHandle, stop: CancellationToken) -> (Arc<Self>, impl Future<Output = ()>) {
        let (slow, slow_receiver) = mpsc::channel(SLOW_QUEUE);
        let (quarantine, quarantine_receiver) = mpsc::channel(QUARANTINE_QUEUE);
        let detours = Arc::default();
        let intake = Arc::new(Self { app: app.clone(), engine: engine.clone(), slow, detours: Arc::clone(&detours), quarantine });
        let creating = create_unknown(app.clone(), engine, slow_receiver, detours, stop.clone());
        let keeping = keep_quarantined(app, quarantine_receiver, stop);
        (intake, async move {
            tokio::join!(creating, keeping);
        })
    }
}

fn source_key(source: &Source) -> String {
    match source {
        Source::Device { device, .. } => format!("d{device}"),
        Source::Terminal { phone, .. } => format!("t{phone}"),
    }
}

impl Intake for AppIntake {
    fn offer(&self, batch: Batch) {
        let key = source_key(&batch.source);
        let mut detours = self.detours.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let batch = if detours.contains_key(&key) {
            batch
        } else {
            match bind(&self.app.registry.get(), batch) {
                Ok((shard, bound)) => {
                    drop(detours);
                    return self.engine.offer(shard, bound);
                }
                Err(batch) => batch,
            }
        };
        match self.slow.try_send(batch) {
            Ok(()) => *detours.entry(key).or_default() += 1,
            Err(refused) => {
                drop(detours);
                let (batch, refusal) = match refused {
                    mpsc::error::TrySendError::Full(batch) => (batch, Refusal::Overloaded),
                    mpsc::error::TrySendError::Closed(batch) => (batch, Refusal::Stopping),
                };
                (batch.reply)(Err(refusal));
            }
        }
    }

    fn quarantine(&self, entry: Quarantined) {
        metrics::counter!("ingest_quarantined_total", "protocol" => entry.protocol).increment(1);
        if self.quarantine.try_send(entry).is_err() {
            // A flood of rubbish must not cost memory; the counter above still tells of it.
            metrics::counter!("ingest_quarantine_dropped_total").increment(1);
        }
    }
}

/// Binds a batch to points and vehicles of the snapshot; gives it back if something is unknown.
fn bind(snapshot: &Snapshot, batch: Batch) -> Result<(u16, Bound), Batch> {
    let (shard, source, enterprise) = match &batch.source {
        Source::Device { device, .. } => match snapshot.devices.get(device) {
            Some(known) => (snapshot.shard_of_device(*device), known.code.clone(), known.enterprise),
            None => return Err(batch),
        },
        Source::Terminal { phone, .. } => match snapshot.vehicle_by_phone.get(phone).and_then(|id| snapshot.vehicles.get(id)) {
            Some(vehicle) => (snapshot.shard_of_vehicle(vehicle.id), phone.clone(), vehicle.enterprise),
            None => return Err(batch),
        },
    };
    let mut readings = Vec::with_capacity(batch.readings.len());
    if let (Source::Device { device, .. }, false) = (&batch.source, batch.readings.is_empty()) {
        let codes = snapshot.point_by_code.get(device);
        for raw in &batch.readings {
            let Some(point) = codes.and_then(|codes| codes.get(&raw.code)) else { return Err(batch) };
            readings.push(BoundReading { point: *point, device_at: raw.device_at, value: raw.value, quality: raw.quality });
        }
    }
    let vehicle = match &batch.source {
        Source::Terminal { phone, .. } => snapshot.vehicle_by_phone.get(phone).copied(),
        Source::Device { .. } => None,
    };
    let positions = vehicle.map(|id| batch.positions.into_iter().map(|p| (id, p)).collect()).unwrap_or_default();
    let effects = batch.events.into_iter().map(|event| effect(event, &source, enterprise, batch.received_at)).collect();
    Ok((shard, Bound { source, enterprise, received_at: batch.received_at, readings, positions, effects, backfill: batch.backfill, reply: batch.reply }))
}

fn effect(event: SourceEvent, source: &str, enterprise: Option<anlan_model::EnterpriseId>, at: anlan_model::Timestamp) -> Effect {
    let (kind, detail) = match event {
        SourceEvent::CommandAnswer { command, ok, detail } => return Effect::CommandAnswer { command, from: source.to_owned(), ok, detail, at },
        SourceEvent::TakenOver { from, by } => ("taken_over", serde_json::json!({ "from": from, "by": by })),
        SourceEvent::Registered { plate, plate_colour, terminal } => {
            ("registered", serde_json::json!({ "plate": plate, "plate_colour": plate_colour, "terminal": terminal }))
        }
        SourceEvent::Driver { status, name } => ("driver", serde_json::json!({ "status": status, "name": name })),
    };
    Effect::Event(DataEvent { at, kind: kind.to_owned(), subject: source.to_owned(), detail: detail.to_string(), enterprise })
}

/// Creates points and vehicles at first sight, one batch at a time, and passes the batch on.
async fn create_unknown(
    app: Arc<App>,
    engine: EngineHandle,
    mut batches: mpsc::Receiver<Batch>,
    detours: Arc<Mutex<HashMap<String, usize>>>,
    stop: CancellationToken,
) {
    loop {
        let batch = tokio::select! {
            biased;
            () = stop.cancelled() => {
                batches.close();
                while let Some(batch) = batches.recv().await {
                    (batch.reply)(Err(Refusal::Stopping));
                }
                return;
            }
            batch = batches.recv() => match batch {
                Some(batch) => batch,
                None => return,
            },
        };
        let key = source_key(&batch.source);
        match bind(&app.registry.get(), batch) {
            Ok((shard, bound)) => engine.offer(shard, bound),
            Err(batch) => create_and_offer(&app, &engine, batch).await,
        }
        let mut detours = detours.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(n) = detours.get_mut(&key) {
            *n -= 1;
            if *n == 0 {
                detours.remove(&key);
            }
        }
    }
}

async fn create_and_offer(app: &App, engine: &EngineHandle, mut batch: Batch) {
    use anlan_model::Clock as _;
    let now = app.clock.now();
    let created = match &batch.source {
        Source::Device { device, .. } => {
            let snapshot = app.registry.get();
            let known = snapshot.point_by_code.get(device);
            let is_known = |code: &String| known.is_some_and(|codes| codes.contains_key(code));
            let mut unknown: Vec<String> = batch.readings.iter().map(|r| r.code.clone()).filter(|code| !is_known(code)).collect();
            unknown.sort_unstable();
            unknown.dedup();
            if app.settings.points_create || unknown.is_empty() {
                app.store.ensure_points(*device, &unknown, now).await.map(drop)
            } else {
                metrics::counter!("telemetry_unknown_point_total").increment(unknown.len() as u64);
                batch.readings.retain(|r| is_known(&r.code));
                Ok(())
            }
        }
        Source::Terminal { phone, trust } => {
            // Only a person adopts; a terminal that authenticated was adopted before.
            app.store.ensure_vehicle(phone, *trust, *trust > Trust::Open, now).await.map(drop)
        }
    };
    let refreshed = match created {
        Ok(()) => app.registry.refresh().await,
        Err(failure) => Err(failure),
    };
    if let Err(failure) = refreshed {
        warn!(error = &failure as &dyn std::error::Error, "cannot create what a source names; it may send again");
        return (batch.reply)(Err(Refusal::Storage));
    }
    match bind(&app.registry.get(), batch) {
        Ok((shard, bound)) => engine.offer(shard, bound),
        // Deleted meanwhile.
        Err(batch) => (batch.reply)(Err(Refusal::UnknownSource)),
    }
}

async fn keep_quarantined(app: Arc<App>, mut entries: mpsc::Receiver<Quarantined>, stop: CancellationToken) {
    let mut taken = Vec::new();
    loop {
        let n = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            n = entries.recv_many(&mut taken, QUARANTINE_QUEUE) => n,
        };
        if n == 0 {
            return;
        }
        if let Err(failure) = app.store.put_quarantined(&taken).await {
            warn!(error = &failure as &dyn std::error::Error, entries = n, "{n} quarantined messages could not be kept");
        }
        taken.clear();
    }
}
