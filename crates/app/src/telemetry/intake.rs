//! Binds what sockets hear to points and vehicles, and hands it to the engine. What is unknown is created first, in order.
//!
//! The fast path is a look into the snapshot. A batch that names something unknown goes to one slow task, and so does everything of the
//! same source until that task has caught up: batches of one source never overtake each other. Start at [`AppIntake::offer`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use anlan_model::{
    Batch, Clock as _, DataEvent, DeviceId, Effect, EnterpriseId, Intake, MediaReply, PointId, Quarantined, RawMedia, Refusal, Source,
    SourceEvent, Trust,
};
use anlan_store::{Seen, StoreError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::engine::EngineHandle;
use super::pressure::Class;
use super::shard::{Bound, BoundReading};
use crate::App;
use crate::media::Desk;
use crate::registry::{Snapshot, Touched, shard_of_platform};

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
    desk: Desk,
}

impl AppIntake {
    /// The intake and the task that creates what is unknown; the caller awaits the task after `stop`.
    pub fn start(app: Arc<App>, engine: EngineHandle, desk: Desk, stop: CancellationToken) -> (Arc<Self>, impl Future<Output = ()>) {
        let (slow, slow_receiver) = mpsc::channel(SLOW_QUEUE);
        let (quarantine, quarantine_receiver) = mpsc::channel(QUARANTINE_QUEUE);
        let detours = Arc::default();
        let intake = Arc::new(Self { app: app.clone(), engine: engine.clone(), slow, detours: Arc::clone(&detours), quarantine, desk });
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
        Source::Platform { name } => format!("p{name}"),
    }
}

/// Whether an adopted terminal proved itself in another way (in the clear, over TLS) than its vehicle shows. A registration proves
/// nothing, so *open* changes nothing; what a platform says changes *open* alone, or a vehicle heard both ways would change with every message.
fn is_believed_anew(snapshot: &Snapshot, source: &Source) -> bool {
    let Source::Terminal { phone, trust } = source else { return false };
    let vehicle = snapshot.vehicle_by_phone.get(phone).and_then(|id| snapshot.vehicles.get(id));
    match trust {
        Trust::Open => false,
        Trust::Platform => vehicle.is_some_and(|v| v.trust == Trust::Open),
        Trust::Listed | Trust::Authenticated => vehicle.is_some_and(|v| v.adopted && v.trust != *trust),
    }
}

impl Intake for AppIntake {
    fn offer(&self, batch: Batch) {
        self.offer_all(vec![batch]);
    }

    fn offer_all(&self, batches: Vec<Batch>) {
        let mut detours = self.detours.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let snapshot = self.app.registry.look();
        let (mut ready, mut refused) = (Vec::with_capacity(batches.len()), Vec::new());
        for batch in batches {
            let on_detour = !detours.is_empty() && detours.contains_key(&source_key(&batch.source));
            let batch = if on_detour || is_believed_anew(&snapshot, &batch.source) {
                batch
            } else {
                let class = Class::of(&snapshot, &batch);
                match bind(&snapshot, batch) {
                    Ok((shard, bound)) => {
                        ready.push((shard, class, bound));
                        continue;
                    }
                    Err(batch) => batch,
                }
            };
            let key = source_key(&batch.source);
            match self.slow.try_send(batch) {
                Ok(()) => *detours.entry(key).or_default() += 1,
                Err(mpsc::error::TrySendError::Full(batch)) => refused.push((batch, Refusal::Overloaded)),
                Err(mpsc::error::TrySendError::Closed(batch)) => refused.push((batch, Refusal::Stopping)),
            }
        }
        drop(detours);
        if !ready.is_empty() {
            self.engine.offer_all(ready);
        }
        for (batch, refusal) in refused {
            (batch.reply)(Err(refusal));
        }
    }

    fn generation(&self) -> u64 {
        self.app.registry.look().generation
    }

    fn find(&self, device: DeviceId, code: &str) -> Option<PointId> {
        self.app.registry.look().point_by_code.get(&device)?.get(code).copied()
    }

    fn keep_media(&self, media: RawMedia, reply: MediaReply) {
        self.desk.offer(media, reply);
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
#[allow(clippy::result_large_err, reason = "the batch itself comes back; boxing it would cost the fast path")]
fn bind(snapshot: &Snapshot, batch: Batch) -> Result<(u16, Bound), Batch> {
    let (shard, source, enterprise) = match &batch.source {
        Source::Device { device, .. } if snapshot.elsewhere.contains(device) => return Err(batch),
        Source::Device { device, .. } => match snapshot.devices.get(device) {
            Some(known) => (snapshot.shard_of_device(*device), known.code.clone(), known.enterprise),
            None => return Err(batch),
        },
        Source::Terminal { phone, .. } => match snapshot.vehicle_by_phone.get(phone).and_then(|id| snapshot.vehicles.get(id)) {
            Some(vehicle) => (snapshot.shard_of_vehicle(vehicle.id), phone.clone(), vehicle.enterprise),
            None => return Err(batch),
        },
        Source::Platform { name } => (shard_of_platform(name), name.clone(), None),
    };
    let mut readings = Vec::with_capacity(batch.readings.len());
    if let Source::Device { device, .. } = &batch.source
        && batch.bound.generation != snapshot.generation
    {
        let still = |r: &BoundReading| snapshot.points.get(&r.point).is_some_and(|p| p.device == *device);
        if !batch.bound.readings.iter().all(still) {
            return Err(batch);
        }
    }
    if let (Source::Device { device, .. }, false) = (&batch.source, batch.readings.is_empty()) {
        let codes = snapshot.point_by_code.get(device);
        for raw in &batch.readings {
            let Some(point) = codes.and_then(|codes| codes.get(&raw.code)) else { return Err(batch) };
            readings.push(BoundReading { point: *point, device_at: raw.device_at, value: raw.value, quality: raw.quality });
        }
    }
    if readings.is_empty() {
        readings = batch.bound.readings
    } else {
        readings.extend(batch.bound.readings)
    }
    let vehicle = match &batch.source {
        Source::Terminal { phone, .. } => snapshot.vehicle_by_phone.get(phone).copied(),
        Source::Device { .. } | Source::Platform { .. } => None,
    };
    let positions = vehicle.map(|id| batch.positions.into_iter().map(|p| (id, p)).collect()).unwrap_or_default();
    let effects = batch.events.into_iter().map(|event| effect(event, &source, enterprise, batch.received_at)).collect();
    Ok((
        shard,
        Bound {
            source,
            enterprise,
            received_at: batch.received_at,
            readings,
            positions,
            effects,
            backfill: batch.backfill,
            reply: batch.reply,
        },
    ))
}

fn effect(event: SourceEvent, source: &str, enterprise: Option<anlan_model::EnterpriseId>, at: anlan_model::Timestamp) -> Effect {
    let (kind, detail) = match event {
        SourceEvent::CommandAnswer { command, ok, detail } => {
            return Effect::CommandAnswer { command, from: source.to_owned(), ok, detail, at };
        }
        SourceEvent::TakenOver { from, by } => ("taken_over", serde_json::json!({ "from": from, "by": by })),
        SourceEvent::Registered { plate, plate_colour, terminal } => {
            ("registered", serde_json::json!({ "plate": plate, "plate_colour": plate_colour, "terminal": terminal }))
        }
        SourceEvent::Status { text, lost } => (if lost { "device_lost" } else { "device_status" }, serde_json::json!({ "text": text })),
        SourceEvent::PollFailed { address, reason, detail, codes } => {
            ("poll_failed", serde_json::json!({ "address": address, "reason": reason, "detail": detail, "codes": codes }))
        }
        SourceEvent::PollRestored { address } => ("poll_restored", serde_json::json!({ "address": address })),
        SourceEvent::Platform { kind, detail } => {
            return Effect::Event(DataEvent { at, kind: kind.to_owned(), subject: source.to_owned(), detail, enterprise });
        }
        SourceEvent::Driver { status, name } => ("driver", serde_json::json!({ "status": status, "name": name })),
    };
    Effect::Event(DataEvent { at, kind: kind.to_owned(), subject: source.to_owned(), detail: detail.to_string(), enterprise })
}

/// Batches that share one round of creating: a fleet that connects at once costs one look at the database, not one per vehicle.
const PER_ROUND: usize = 1_000;

/// Creates points and vehicles at first sight, then passes the batches on in the order they came.
async fn create_unknown(
    app: Arc<App>,
    engine: EngineHandle,
    mut batches: mpsc::Receiver<Batch>,
    detours: Arc<Mutex<HashMap<String, usize>>>,
    stop: CancellationToken,
) {
    let mut round = Vec::new();
    loop {
        let n = tokio::select! {
            biased;
            () = stop.cancelled() => {
                batches.close();
                while let Some(batch) = batches.recv().await {
                    (batch.reply)(Err(Refusal::Stopping));
                }
                return;
            }
            n = batches.recv_many(&mut round, PER_ROUND) => n,
        };
        if n == 0 {
            return;
        }
        if let Err(failure) = create(&app, &mut round).await {
            // What could not be created is refused below; its source may send again.
            warn!(error = &failure as &dyn std::error::Error, "cannot create what a source names");
        }
        for batch in round.drain(..) {
            let (key, snapshot) = (source_key(&batch.source), app.registry.get());
            let class = Class::of(&snapshot, &batch);
            match bind(&snapshot, batch) {
                Ok((shard, bound)) => engine.offer(shard, class, bound),
                Err(batch) => (batch.reply)(Err(Refusal::UnknownSource)),
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
}

/// Points made in one transaction: others wait for the database meanwhile.
const POINTS_AT_ONCE: usize = 2_000;

/// Creates what the batches name and nobody knows, and renews the registry once.
async fn create(app: &App, batches: &mut [Batch]) -> Result<(), StoreError> {
    let now = app.clock.now();
    let snapshot = app.registry.get();
    let mut codes: BTreeMap<DeviceId, BTreeSet<String>> = BTreeMap::new();
    let mut new_of: HashMap<Option<EnterpriseId>, usize> = HashMap::new();
    let mut phones: BTreeMap<String, Trust> = BTreeMap::new();
    let has_terminals = batches.iter().any(|batch| matches!(batch.source, Source::Terminal { .. }));
    let n_open = if has_terminals { snapshot.vehicles.values().filter(|v| !v.adopted).count() } else { 0 };
    for batch in batches.iter_mut() {
        match &batch.source {
            // Another node's: it is refused below.
            Source::Device { device, .. } if snapshot.elsewhere.contains(device) => {}
            Source::Device { device, .. } if snapshot.devices.contains_key(device) => {
                let known = snapshot.point_by_code.get(device);
                let is_known = |code: &str| known.is_some_and(|codes| codes.contains_key(code));
                // One credential must not fill the node with points: beyond the limit unknown codes are dropped and counted.
                let new = codes.entry(*device).or_default();
                let room = app.settings.points_per_device_max.saturating_sub(known.map_or(0, |codes| codes.len()));
                // Nor must the many devices of one enterprise.
                let owner = snapshot.devices.get(device).and_then(|d| d.enterprise);
                let has = owner.and_then(|e| snapshot.points_of.get(&e)).map_or(0, Vec::len);
                let new_of_owner = new_of.entry(owner).or_default();
                let room_of_owner = owner.map_or(usize::MAX, |_| app.settings.points_per_enterprise_max.saturating_sub(has));
                let before = batch.readings.len();
                batch.readings.retain(|r| {
                    if is_known(&r.code) || new.contains(&r.code) {
                        return true;
                    }
                    let limit = match (new.len() < room, *new_of_owner < room_of_owner) {
                        (true, true) if app.settings.points_create => {
                            *new_of_owner += 1;
                            return new.insert(r.code.clone());
                        }
                        (true, true) => "create",
                        (false, _) => "device",
                        (true, false) => "enterprise",
                    };
                    metrics::counter!("anlan_points_refused_total", "limit" => limit).increment(1);
                    false
                });
                metrics::counter!("telemetry_unknown_point_total").increment((before - batch.readings.len()) as u64);
            }
            // Registered a moment ago, perhaps; the renewed registry will tell.
            Source::Device { .. } | Source::Platform { .. } => {}
            Source::Terminal { phone, trust } => {
                let new = !snapshot.vehicle_by_phone.contains_key(phone) && n_open + phones.len() < app.settings.vehicles_open_max;
                if new || is_believed_anew(&snapshot, &batch.source) {
                    phones.insert(phone.clone(), *trust);
                }
            }
        }
    }
    // Only a person adopts; a terminal that authenticated was adopted before.
    let seen: Vec<_> = phones.iter().map(|(phone, trust)| Seen { phone, trust: *trust, adopted: *trust > Trust::Platform }).collect();
    let mut touched = Vec::new();
    let created = async {
        let (mut some, mut n) = (Vec::new(), 0);
        let mut wanted = codes.into_iter().filter(|(_, codes)| !codes.is_empty()).peekable();
        while let Some((device, codes)) = wanted.next() {
            n += codes.len();
            touched.push(Touched::PointsOf(device));
            some.push((device, codes.into_iter().collect()));
            if n >= POINTS_AT_ONCE || wanted.peek().is_none() {
                app.store.ensure_points_of(&some, now).await?;
                (some, n) = (Vec::new(), 0);
            }
        }
        if !seen.is_empty() {
            let vehicles = app.store.ensure_vehicles(&seen, now).await?;
            touched.extend(vehicles.iter().map(|v| Touched::Vehicle(v.id)));
        }
        Ok(())
    };
    let created: Result<(), StoreError> = created.await;
    app.registry.renew(touched).await.and(created)
}

async fn keep_quarantined(app: Arc<App>, mut entries: mpsc::Receiver<Quarantined>, stop: CancellationToken) {
    let mut taken = Vec::new();
    loop {
        let n = tokio::select! {
            biased;
            () = stop.cancelled() => {
                entries.close();
                entries.recv_many(&mut taken, QUARANTINE_QUEUE).await
            }
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
