//! The engine: one thread that drains the shard queues, steps the shards, appends to the log, syncs once per group, then answers.
//!
//! Order is everything: decide, log, sync, publish, reply. Nothing leaves before the sync; a failed log refuses until restart.
//! Start at [`Engine::run`]; [`open`] is recovery.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use anlan_domain::combination::{CombinationRule, Combinations};
use anlan_domain::road::rules::DriftRules;
use anlan_history::{HistoryError, Lsn, Reader, Record, Writer};
use anlan_model::{AlarmChange, AlarmId, Clock, CombinationId, Effect, PointId, Reading, Refusal, Subject, Timestamp, VehicleId};
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

use super::linked::{self, Linked};
use super::pressure::{Class, Pressure};
use super::shard::{Bound, Lookup, Newest, Output, Shard, SubjectConfig, TimeBounds};
use super::{Latest, LogStatus};
use crate::registry::N_SHARDS;
use crate::settings::History;

/// Version byte in front of [`Notes`] in a log record.
const FORMAT: u8 = 1;
/// The same, with [`Notes::combinations`] behind them; written only where there are any.
const FORMAT_COMBINATIONS: u8 = 2;
/// Version byte in front of a checkpoint.
const CHECKPOINT_FORMAT: u8 = 4;
/// Domain time is looked at this often without input (real time).
const TICK: Duration = Duration::from_millis(20);
/// While many small batches come, a sync waits until this long after the one before (real time), so that it serves more of them.
const GATHER: Duration = Duration::from_millis(2);
/// A group of at least so many batches, of at most so many readings each, is such a time.
const SMALL_BATCHES: usize = 8;
const SMALL_BATCH: usize = 32;
/// Pause between looks for space on a full disk (real time).
const FULL_RETRY: Duration = Duration::from_millis(250);
/// [`LogStatus::failed`] while the disk is full.
const LOG_FULL: u64 = 2;
/// Batches taken from one shard per group, so that a busy enterprise cannot hold up the others.
const TAKE_PER_SHARD: usize = 256;
/// Sealing and releasing are looked at this often (real time).
const HOUSE_EVERY: Duration = Duration::from_secs(1);
/// A checkpoint of rule state is written after so much work, the cost of its replay; it bounds what a restart has to do again.
/// A record costs as much as some ten readings.
const CHECKPOINT_WORK: u64 = 2_000_000;
const RECORD_WORK: u64 = 10;
/// So many bytes of notes (rules of a point take some hundred) cost as much as a reading.
const NOTES_WORK_BYTES: usize = 32;

/// Batches of one shard share a record of at most so many readings and positions: a frame codes many readings in fewer bytes, and a link or a
/// reader takes it in one go.
const RECORD_READINGS: usize = 20_000;

/// Linked readings taken per group, or one batch of more: the look for what is known of them must not hold up the others for long.
const TAKE_LINKED: usize = 20_000;

/// What a record says beside readings and positions.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Notes {
    /// Rules and ranges that hold from this record on.
    pub configs: Vec<SubjectConfig>,
    /// Subjects that left this shard.
    pub forgotten: Vec<Subject>,
    /// The node started at this record, with these settings; silence before it was the node's own.
    pub started: Option<TimeBounds>,
    /// What happened.
    pub effects: Vec<Effect>,
    /// Combinations that hold from this record on, or are gone (`None`).
    #[serde(skip)]
    pub combinations: Vec<(CombinationId, Option<CombinationRule>)>,
}

impl Notes {
    /// Bytes for the log; empty if there is nothing to say.
    pub fn encode(&self) -> Vec<u8> {
        if !self.combinations.is_empty() {
            let notes = postcard::to_extend(self, vec![FORMAT_COMBINATIONS]).expect("plain data always encodes");
            return postcard::to_extend(&self.combinations, notes).expect("plain data always encodes");
        }
        if self.configs.is_empty() && self.forgotten.is_empty() && self.effects.is_empty() && self.started.is_none() {
            return Vec::new();
        }
        postcard::to_extend(self, vec![FORMAT]).expect("plain data always encodes")
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`EngineError::Notes`] for another version or damaged bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, EngineError> {
        match bytes.split_first() {
            None => Ok(Self::default()),
            Some((&FORMAT, rest)) => match postcard::take_from_bytes(rest) {
                Ok((notes, [])) => Ok(notes),
                _ => Err(EngineError::Notes),
            },
            Some((&FORMAT_COMBINATIONS, rest)) => {
                let (notes, rest) = postcard::take_from_bytes::<Self>(rest).map_err(|_| EngineError::Notes)?;
                match postcard::take_from_bytes(rest) {
                    Ok((combinations, [])) => Ok(Self { combinations, ..notes }),
                    _ => Err(EngineError::Notes),
                }
            }
            Some(_) => Err(EngineError::Notes),
        }
    }
}

/// Why the engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The log or its blocks.
    #[error("history")]
    History(#[from] HistoryError),
    /// A log record or checkpoint of an unknown version.
    #[error("a log record or checkpoint was written by another version of this program")]
    Notes,
}

enum Control {
    /// Subjects with their shards and rules; `true` = there are no others.
    Configure(Vec<(u16, SubjectConfig)>, bool),
    /// Combinations with their shards, `None` = gone; `true` = there are no others.
    Combine(Vec<(u16, CombinationId, Option<CombinationRule>)>, bool),
    Settle(oneshot::Sender<(usize, u64)>),
    Stage(PathBuf, oneshot::Sender<Result<u64, HistoryError>>),
}

#[derive(Default)]
struct Queues {
    shards: Vec<VecDeque<Bound>>,
    linked: VecDeque<Linked>,
    n_batches: usize,
    n_readings: usize,
    control: VecDeque<Control>,
    stopping: bool,
    /// The engine waits for something to come: only then does waking it cost a system call.
    is_idle: bool,
}

struct Shared {
    queues: Mutex<Queues>,
    wake: Condvar,
    pressure: Arc<Pressure>,
    status: Arc<LogStatus>,
    /// Log position up to which the ledger is kept; segments beyond it stay.
    followed: AtomicU64,
    /// What leaves history is in an archive.
    has_archive: AtomicBool,
}

/// How others reach the engine.
#[derive(Clone)]
pub struct EngineHandle(Arc<Shared>);

impl EngineHandle {
    fn with<R>(&self, act: impl FnOnce(&mut Queues) -> R) -> R {
        let mut queues = self.0.queues.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let result = act(&mut queues);
        self.0.status.queued.store(queues.n_batches as u64, Ordering::Relaxed);
        let wakes = std::mem::take(&mut queues.is_idle);
        drop(queues);
        if wakes {
            self.0.wake.notify_one();
        }
        result
    }

    /// Queues a batch for its shard; a stopping engine, or too little room for its class, refuses at once through the batch's reply.
    pub fn offer(&self, shard: u16, class: Class, batch: Bound) {
        self.offer_all([(shard, class, batch)]);
    }

    /// The same for batches that were heard together and are best kept together.
    pub fn offer_all(&self, batches: impl IntoIterator<Item = (u16, Class, Bound)>) {
        let pressure = &self.0.pressure;
        let refused: Vec<_> = self.with(|queues| {
            let Queues { shards, n_batches, n_readings, stopping, .. } = queues;
            let mut admit = |(shard, class, batch): (u16, Class, Bound)| {
                let queue = shards.get_mut(usize::from(shard % N_SHARDS)).filter(|_| !*stopping);
                let Some(queue) = queue else { return Some((class, batch, Refusal::Stopping, None)) };
                let n = batch.size();
                if let Err(cause) = pressure.admits(class, n, queue.len(), *n_readings) {
                    return Some((class, batch, Refusal::Overloaded, Some(cause)));
                }
                queue.push_back(batch);
                *n_batches += 1;
                *n_readings += n;
                None
            };
            batches.into_iter().filter_map(&mut admit).collect()
        });
        for (class, batch, refusal, cause) in refused {
            metrics::counter!("telemetry_refused_total", "reason" => refusal_label(refusal)).increment(1);
            if let Some(cause) = cause {
                pressure.refused(class, cause);
            }
            (batch.reply)(Err(refusal));
        }
    }

    /// Queues readings that another node judged. They are refused first: their sender has them safe.
    pub fn offer_linked(&self, batch: Linked) {
        let pressure = &self.0.pressure;
        let refused = self.with(|queues| {
            if queues.stopping {
                return Some((batch, Refusal::Stopping));
            }
            let n = batch.size();
            if let Err(cause) = pressure.admits(Class::Backfill, n, queues.linked.len(), queues.n_readings) {
                pressure.refused(Class::Backfill, cause);
                return Some((batch, Refusal::Overloaded));
            }
            queues.linked.push_back(batch);
            queues.n_batches += 1;
            queues.n_readings += n;
            None
        });
        if let Some((batch, refusal)) = refused {
            metrics::counter!("telemetry_refused_total", "reason" => refusal_label(refusal)).increment(1);
            (batch.reply)(Err(refusal));
        }
    }

    /// From here on the log is kept from this position on, whoever else has done with it; `u64::MAX` = nobody follows.
    pub fn hold_log(&self, position: u64) {
        self.0.followed.store(position, Ordering::Relaxed);
    }

    /// Whether what leaves history is in an archive: then what is said of it later is told from it there (ADR 0005).
    pub fn has_archive(&self, has: bool) {
        self.0.has_archive.store(has, Ordering::Relaxed);
    }

    /// What it lets in, and how much it refused.
    pub fn pressure(&self) -> Arc<Pressure> {
        self.0.pressure.clone()
    }

    /// Tells the engine every subject with its shard and rules; it takes over what differs before any later batch.
    pub fn configure_all(&self, configs: Vec<(u16, SubjectConfig)>) {
        self.control(Control::Configure(configs, true));
    }

    /// The same for subjects that are new or changed; the others stay as they are.
    pub fn configure(&self, configs: Vec<(u16, SubjectConfig)>) {
        self.control(Control::Configure(configs, false));
    }

    /// Tells the engine every combination with its shard.
    pub fn combine_all(&self, combinations: Vec<(u16, CombinationRule)>) {
        self.control(Control::Combine(combinations.into_iter().map(|(shard, rule)| (shard, rule.id, Some(rule))).collect(), true));
    }

    /// The same for combinations that are new, changed or gone (`None`).
    pub fn combine(&self, combinations: Vec<(u16, CombinationId, Option<CombinationRule>)>) {
        self.control(Control::Combine(combinations, false));
    }

    fn control(&self, control: Control) {
        self.with(|queues| {
            if !queues.stopping {
                queues.control.push_back(control);
            }
        });
    }

    /// Runs everything due by now and returns how much that was and the log position that holds it; `None` if the engine has stopped.
    pub async fn settle(&self) -> Option<(usize, u64)> {
        let (send, receive) = oneshot::channel();
        self.control(Control::Settle(send));
        receive.await.ok()
    }

    /// Gives the history's files a second name in `into` (see [`Writer::stage`]); the last durable log position. `None` if the engine has
    /// stopped.
    pub async fn stage(&self, into: PathBuf) -> Option<Result<u64, HistoryError>> {
        let (send, receive) = oneshot::channel();
        self.control(Control::Stage(into, send));
        receive.await.ok()
    }

    /// Asks the engine to take what is queued, write a checkpoint and leave.
    pub fn stop(&self) {
        self.with(|queues| queues.stopping = true);
    }
}

fn refusal_label(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Overloaded => "overloaded",
        Refusal::UnknownSource => "unknown_source",
        Refusal::Storage => "storage",
        Refusal::Stopping => "stopping",
    }
}

/// The thread's own state.
pub struct Engine {
    shared: Arc<Shared>,
    writer: Writer,
    reader: Reader,
    shards: Vec<Shard>,
    home: HashMap<Subject, u16>,
    clock: Arc<dyn Clock>,
    bounds: TimeBounds,
    last_now: Timestamp,
    latest: Arc<Latest>,
    durable: watch::Sender<u64>,
    /// Log position up to which the database has applied effects; segments beyond it stay.
    projected: watch::Receiver<u64>,
    /// A checkpoint of rule state at least this often (real time) beside [`CHECKPOINT_WORK`], so that log segments can go.
    checkpoint_every: Duration,
    /// What replay would cost by now, see [`CHECKPOINT_WORK`].
    work: u64,
    /// When the last group of many small batches was synced; `None`: the last was none.
    crowded: Option<Instant>,
    /// What the next checkpoint will take, as far as the last one tells.
    checkpoint_bytes: usize,
}

/// What [`open`] returns.
pub struct Opened {
    /// To be run on its own thread.
    pub engine: Engine,
    /// For everybody else.
    pub handle: EngineHandle,
    /// Last durable log position, as it grows.
    pub durable: watch::Receiver<u64>,
    /// For the thread that looks after the blocks.
    pub keeper: anlan_history::Keeper,
}

/// Opens the history in `dir` and rebuilds the shards: last checkpoint, then the records behind it.
///
/// # Errors
/// [`EngineError`] if the log is damaged or of another version; nothing is changed then.
#[allow(clippy::too_many_arguments, reason = "the shared parts of one node, wired once")]
pub fn open(
    dir: &Path,
    bounds: TimeBounds,
    drift: DriftRules,
    files: History,
    pressure: Arc<Pressure>,
    clock: Arc<dyn Clock>,
    latest: Arc<Latest>,
    status: Arc<LogStatus>,
    projected: watch::Receiver<u64>,
) -> Result<(Opened, Reader), EngineError> {
    let (writer, reader) = anlan_history::open(dir, files.options())?;
    let fresh = || (Lsn::ZERO, (0..N_SHARDS).map(|_| Shard::new(bounds)).collect());
    let (from, mut shards) = match reader.last_checkpoint()? {
        Some((lsn, state)) => match state.split_first() {
            Some((version, rest)) => (lsn, read_checkpoint(*version, rest)?),
            None => return Err(EngineError::Notes),
        },
        None => fresh(),
    };
    for shard in &mut shards {
        shard.set_drift_rules(drift);
    }
    let (mut n_records, mut n_differing, mut last_now, mut work) = (0u64, 0u64, Timestamp::MIN, 0);
    for record in reader.tail(from) {
        let (_, record) = record?;
        n_records += 1;
        work += work_of(&record);
        last_now = last_now.max(record.now);
        let notes = Notes::decode(&record.notes)?;
        let Some(shard) = shards.get_mut(usize::from(record.shard)) else { continue };
        n_differing += u64::from(!replay(shard, &record, &notes));
    }
    if n_differing > 0 {
        // The log keeps what was decided then; only the rebuilt state may differ, and the next samples bring it in line.
        warn!(records = n_differing, "{n_differing} log records were judged differently on replay; the logged effects stand");
    }
    let home: HashMap<Subject, u16> =
        shards.iter().zip(0u16..).flat_map(|(shard, n)| shard.subjects().map(move |subject| (subject, n))).collect();
    let (readings, positions): (Vec<_>, Vec<_>) = home
        .keys()
        .map(|subject| match subject {
            Subject::Point(id) => (reader.latest(*id), None),
            Subject::Vehicle(id) => (None, reader.latest_position(*id)),
        })
        .unzip();
    latest.publish(readings.iter().flatten(), positions.iter().flatten());
    let at = writer.durable();
    info!(records = n_records, position = at.0, "history open at {}, {n_records} records replayed", at.0);
    status.durable.store(at.0, Ordering::Relaxed);
    status.noted.store(at.0, Ordering::Relaxed);
    status.pulse.beat();
    let queues = Queues { shards: (0..N_SHARDS).map(|_| VecDeque::new()).collect(), ..Queues::default() };
    let shared = Arc::new(Shared {
        queues: Mutex::new(queues),
        wake: Condvar::new(),
        pressure,
        status,
        followed: AtomicU64::new(u64::MAX),
        has_archive: AtomicBool::new(false),
    });
    let (durable, durable_receiver) = watch::channel(at.0);
    let keeper = writer.keeper();
    let engine = Engine {
        shared: shared.clone(),
        writer,
        reader: reader.clone(),
        shards,
        home,
        clock,
        bounds,
        last_now,
        latest,
        durable,
        projected,
        checkpoint_every: Duration::from_millis(files.checkpoint_ms),
        work,
        crowded: None,
        checkpoint_bytes: 0,
    };
    Ok((Opened { engine, handle: EngineHandle(shared), durable: durable_receiver, keeper }, reader))
}

/// A checkpoint: version, the shards, then what each of them watches together (since version 4).
pub(super) fn write_checkpoint(shards: &[Shard], expected_bytes: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(expected_bytes);
    bytes.push(CHECKPOINT_FORMAT);
    let bytes = postcard::to_extend(shards, bytes).expect("plain data always encodes");
    let combinations: Vec<_> = shards.iter().map(Shard::combinations).collect();
    postcard::to_extend(&combinations, bytes).expect("plain data always encodes")
}

/// Reads what [`write_checkpoint`] wrote, now or ever.
pub(super) fn read_checkpoint(version: u8, bytes: &[u8]) -> Result<Vec<Shard>, EngineError> {
    match version {
        1 | 2 => super::shard_v1::read(version, bytes).ok_or(EngineError::Notes),
        3 => postcard::from_bytes(bytes).map_err(|_| EngineError::Notes),
        CHECKPOINT_FORMAT => {
            let (mut shards, rest) = postcard::take_from_bytes::<Vec<Shard>>(bytes).map_err(|_| EngineError::Notes)?;
            let combinations: Vec<Combinations> = postcard::from_bytes(rest).map_err(|_| EngineError::Notes)?;
            if shards.len() != combinations.len() {
                return Err(EngineError::Notes);
            }
            shards.iter_mut().zip(combinations).for_each(|(shard, all)| shard.set_combinations(all));
            Ok(shards)
        }
        _ => Err(EngineError::Notes),
    }
}

/// What replaying a record costs, in readings.
fn work_of(record: &Record) -> u64 {
    RECORD_WORK + (record.readings.len() + record.positions.len() + record.notes.len() / NOTES_WORK_BYTES) as u64
}

/// Applies one logged record; `false` if the rules said something else than what was logged.
pub(super) fn replay(shard: &mut Shard, record: &Record, notes: &Notes) -> bool {
    let logged = |effects: &[Effect]| -> Vec<AlarmChange> {
        effects.iter().filter_map(|e| if let Effect::Alarm(change) = e { Some(change.clone()) } else { None }).collect()
    };
    let changes = logged(&notes.effects);
    let mut ids: VecDeque<AlarmId> =
        changes.iter().filter_map(|c| if let AlarmChange::Raised(a) = c { Some(a.id) } else { None }).collect();
    let mut effects = Vec::new();
    if let Some(bounds) = notes.started {
        shard.set_bounds(bounds);
        shard.wake_up(record.now);
    }
    shard.configure(&notes.configs, record.now, &mut effects);
    shard.forget(&notes.forgotten, record.now, &mut effects);
    shard.combine(&notes.combinations, record.now, &mut effects);
    effects.extend(
        shard.replay(record.now, &record.readings, &record.positions, &mut |now| ids.pop_front().unwrap_or_else(|| new_alarm_id(now))),
    );
    logged(&effects) == changes
}

/// A UUIDv7 whose time is domain time.
fn new_alarm_id(now: Timestamp) -> AlarmId {
    let us = now.micros().max(0).unsigned_abs();
    let time = uuid::Timestamp::from_unix(uuid::NoContext, us / 1_000_000, u32::try_from(us % 1_000_000 * 1_000).unwrap_or(0));
    AlarmId::new(uuid::Uuid::new_v7(time).as_u128())
}

/// History as seen by a step: what is durable; and whether what left it is in an archive.
struct Known<'a>(&'a Reader, bool);

impl Lookup for Known<'_> {
    fn reading(&self, point: PointId, at: Timestamp) -> Option<Reading> {
        let known = read(self.0.at(point, at));
        // safety: of a day that gave way nobody knows what was said; what is said now must not pass for that
        known.or_else(|| (!self.1 && linked::gave_way(self.0, point, at)).then(|| unknown(point, at)))
    }
    fn position(&self, vehicle: VehicleId, at: Timestamp) -> Option<u32> {
        read(self.0.position_at(vehicle, at)).map(|p| p.body_crc)
    }
}

/// Stands for whatever had been said of an instant whose day gave way: equal to nothing, and of the revision before the first that comes after.
fn unknown(point: PointId, at: Timestamp) -> Reading {
    Reading {
        point,
        event_at: at,
        device_at: None,
        received_at: at,
        value: f64::NAN,
        quality: anlan_model::Quality::Bad,
        flags: anlan_model::Flags::empty(),
        revision: crate::thinned::LATE_REVISION - 1,
    }
}

/// What history says of an instant. If it cannot be read the value counts as new: kept twice is better than lost.
fn read<T>(found: Result<Option<T>, HistoryError>) -> Option<T> {
    found.unwrap_or_else(|failure| {
        error!(error = &failure as &dyn std::error::Error, "history cannot be read; run `anlan history verify`");
        None
    })
}

/// Batches as they were queued, by shard.
type PerShard = Vec<(u16, Vec<Bound>)>;

/// What one round of the engine has to do.
struct Taken {
    batches: PerShard,
    linked: Vec<Linked>,
    control: VecDeque<Control>,
    stopping: bool,
}

/// One group commit in the making.
#[derive(Default)]
struct Group {
    records: Vec<Record>,
    replies: Vec<(anlan_model::Reply, anlan_model::Kept)>,
}

impl Group {
    fn add(&mut self, shard: u16, now: Timestamp, output: Output, configs: Vec<SubjectConfig>, forgotten: Vec<Subject>) {
        let notes = Notes { configs, forgotten, effects: output.effects, ..Notes::default() }.encode();
        if !(output.readings.is_empty() && output.positions.is_empty() && notes.is_empty()) {
            self.records.push(Record { shard, now, readings: output.readings, positions: output.positions, notes });
        }
    }
}

impl Engine {
    /// Runs until stopped or until the log fails for good; to be called on a thread of its own.
    pub fn run(mut self) {
        let (mut ticked, mut looked, mut checkpointed) = (Instant::now(), Instant::now(), Instant::now());
        let farewell = Farewell(self.shared.clone());
        let woken = self.wake_up();
        if let Err(failure) = self.commit(woken) {
            error!(error = &failure as &dyn std::error::Error, "the log cannot be written; nothing is acknowledged until restart");
            return farewell.log_failed();
        }
        loop {
            let Taken { batches, linked, control, stopping } = self.take();
            let mut group = Group::default();
            let mut settled = Vec::new();
            for control in control {
                match control {
                    Control::Configure(configs, all) => self.configure(configs, all, &mut group),
                    Control::Combine(combinations, all) => self.combine(combinations, all, &mut group),
                    Control::Settle(reply) => settled.push(reply),
                    Control::Stage(into, reply) => {
                        let _ = reply.send(self.writer.stage(&into).map(|lsn| lsn.0));
                    }
                }
            }
            self.step(batches, &mut group);
            self.link(linked, &mut group);
            let mut n_due = 0;
            if ticked.elapsed() >= TICK || !settled.is_empty() || stopping {
                ticked = Instant::now();
                n_due = self.tick(!settled.is_empty(), &mut group);
            }
            if let Err(failure) = self.commit(group) {
                error!(error = &failure as &dyn std::error::Error, "the log cannot be written; nothing more is acknowledged until restart");
                return farewell.log_failed();
            }
            self.shared.status.pulse.beat();
            let position = self.writer.durable().0;
            for reply in settled {
                // The asker may have gone; what was due has run all the same.
                let _ = reply.send((n_due, position));
            }
            let due = self.work >= CHECKPOINT_WORK || (self.work > 0 && checkpointed.elapsed() >= self.checkpoint_every) || stopping;
            if due {
                // Also after a failure: the next try has its time.
                (checkpointed, self.work) = (Instant::now(), 0);
            }
            if due || looked.elapsed() >= HOUSE_EVERY.min(self.checkpoint_every) {
                looked = Instant::now();
                self.keep_house(due);
            }
            if stopping {
                return;
            }
        }
    }

    /// Domain time that never runs backwards: replay relies on it.
    fn now(&mut self) -> Timestamp {
        self.last_now = self.last_now.max(self.clock.now());
        self.last_now
    }

    /// A record per shard that the node starts here, before anything is judged.
    fn wake_up(&mut self) -> Group {
        let now = self.now();
        let mut group = Group::default();
        for (shard, n) in self.shards.iter_mut().zip(0u16..).filter(|(shard, _)| shard.subjects().next().is_some()) {
            shard.set_bounds(self.bounds);
            shard.wake_up(now);
            // Replay lets time pass at every record, so what that brings must stand in this one.
            let effects = shard.tick(now, &mut new_alarm_id);
            let notes = Notes { started: Some(self.bounds), effects, ..Notes::default() }.encode();
            group.records.push(Record { shard: n, now, readings: Vec::new(), positions: Vec::new(), notes });
        }
        group
    }

    fn take(&mut self) -> Taken {
        let mut queues = self.shared.queues.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if queues.n_batches == 0 && queues.control.is_empty() && !queues.stopping {
            queues.is_idle = true;
            queues = self.shared.wake.wait_timeout(queues, TICK).map(|(guard, _)| guard).unwrap_or_else(|poisoned| poisoned.into_inner().0);
            queues.is_idle = false;
        }
        if let Some(rest) = self.crowded.take().and_then(|at| GATHER.checked_sub(at.elapsed()))
            && queues.n_batches > 0
            && !queues.stopping
        {
            drop(queues);
            std::thread::sleep(rest);
            queues = self.shared.queues.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        // On stopping everything accepted is still kept: no limit then.
        let (most, n_linked_max) = if queues.stopping { (usize::MAX, usize::MAX) } else { (TAKE_PER_SHARD, TAKE_LINKED) };
        let mut batches = PerShard::new();
        for (queue, shard) in queues.shards.iter_mut().zip(0u16..).filter(|(queue, _)| !queue.is_empty()) {
            let n = queue.len().min(most);
            batches.push((shard, queue.drain(..n).collect()));
        }
        let mut n_linked = 0;
        let mut linked = Vec::new();
        while let Some(batch) = queues.linked.pop_front_if(|batch| linked.is_empty() || n_linked + batch.size() <= n_linked_max) {
            n_linked += batch.size();
            linked.push(batch);
        }
        queues.n_batches -= batches.iter().map(|(_, batches)| batches.len()).sum::<usize>() + linked.len();
        queues.n_readings -= batches.iter().flat_map(|(_, batches)| batches).map(Bound::size).sum::<usize>() + n_linked;
        metrics::gauge!("anlan_queue_readings").set(queues.n_readings as f64);
        self.shared.status.queued.store(queues.n_batches as u64, Ordering::Relaxed);
        Taken { batches, linked, control: std::mem::take(&mut queues.control), stopping: queues.stopping }
    }

    /// What each shard was sent becomes one record, or a few if it is much.
    fn step(&mut self, batches: PerShard, group: &mut Group) {
        for (n, batches) in batches {
            let mut rest = batches;
            while !rest.is_empty() {
                let mut size = 0;
                let mut fits = |batch: &Bound| {
                    size += batch.size();
                    size <= RECORD_READINGS
                };
                let part = rest.iter().position(|batch| !fits(batch)).map_or(rest.len(), |at| at.max(1));
                let later = rest.split_off(part);
                let now = self.now();
                let output = self.shards[usize::from(n)].step(
                    &rest,
                    now,
                    &Known(&self.reader, self.shared.has_archive.load(Ordering::Relaxed)),
                    &mut new_alarm_id,
                );
                for (batch, kept) in rest.into_iter().zip(&output.kept) {
                    match kept {
                        Some(kept) => group.replies.push((batch.reply, *kept)),
                        None => {
                            // Bound before its subject moved to another shard or was deleted: not kept, so not acknowledged; it comes again.
                            metrics::counter!("telemetry_refused_total", "reason" => "moved").increment(1);
                            (batch.reply)(Err(Refusal::Overloaded));
                        }
                    }
                }
                group.add(n, now, output, Vec::new(), Vec::new());
                rest = later;
            }
        }
    }

    /// What other nodes judged becomes records without effects of their own.
    fn link(&mut self, batches: Vec<Linked>, group: &mut Group) {
        let refuse = |batch: Linked, refusal: Refusal| {
            metrics::counter!("telemetry_refused_total", "reason" => refusal_label(refusal)).increment(1);
            (batch.reply)(Err(refusal));
        };
        let mut taken = Vec::with_capacity(batches.len());
        for batch in batches {
            // A point that is judged here is judged at every replay as well; and the log takes finite values only.
            let is_judged = linked::points(batch.all()).into_iter().any(|point| self.home.contains_key(&Subject::Point(point)));
            let is_sound = batch.readings.iter().all(|(shard, _)| *shard < N_SHARDS) && batch.all().all(|r| r.value.is_finite());
            if is_judged || !is_sound { refuse(batch, Refusal::UnknownSource) } else { taken.push(batch) }
        }
        if taken.is_empty() {
            return;
        }
        let fresh = match linked::fresh(&taken, &self.reader) {
            Ok(fresh) => fresh,
            Err(failure) => {
                error!(error = &failure as &dyn std::error::Error, "history cannot be read; run `anlan history verify`");
                taken.into_iter().for_each(|batch| refuse(batch, Refusal::Storage));
                return;
            }
        };
        for (n, readings) in fresh.readings {
            for part in readings.chunks(RECORD_READINGS) {
                let now = self.now();
                // Replay lets time pass at every record, so what that brings must stand in this one.
                let effects = self.shards[usize::from(n)].tick(now, &mut new_alarm_id);
                group.add(n, now, Output { readings: part.to_vec(), effects, ..Output::default() }, Vec::new(), Vec::new());
            }
        }
        group.replies.extend(taken.into_iter().map(|batch| batch.reply).zip(fresh.kept));
    }

    /// Lets time pass in every shard; how many subjects were due, if that is asked.
    fn tick(&mut self, counts: bool, group: &mut Group) -> usize {
        let now = self.now();
        let mut n_due = 0;
        for (shard, n) in self.shards.iter_mut().zip(0u16..) {
            n_due += if counts { shard.due(now) } else { 0 };
            // A tick that changes nothing is not logged: replay reaches the same state at the next record.
            let effects = shard.tick(now, &mut new_alarm_id);
            group.add(n, now, Output { effects, ..Output::default() }, Vec::new(), Vec::new());
        }
        n_due
    }

    /// Takes over what differs: subjects that are new, changed, moved to another shard or (if `wanted` is `all`) gone.
    fn configure(&mut self, wanted: Vec<(u16, SubjectConfig)>, all: bool, group: &mut Group) {
        let now = self.now();
        let mut changed: BTreeMap<u16, (Vec<SubjectConfig>, Vec<Subject>)> = BTreeMap::new();
        let mut seen = HashSet::new();
        for (shard, mut config) in wanted {
            let was = self.home.insert(config.subject, shard);
            if all {
                seen.insert(config.subject);
            }
            if was == Some(shard) && self.shards[usize::from(shard)].has(&config) {
                continue;
            }
            if let Some(was) = was.filter(|was| *was != shard) {
                changed.entry(was).or_default().1.push(config.subject);
            }
            if was != Some(shard) {
                config.newest = self.newest(config.subject);
            }
            changed.entry(shard).or_default().0.push(config);
        }
        if all {
            self.home.retain(|subject, shard| {
                let stays = seen.contains(subject);
                if !stays {
                    changed.entry(*shard).or_default().1.push(*subject);
                }
                stays
            });
        }
        for (n, (configs, mut forgotten)) in changed {
            forgotten.sort_unstable();
            let shard = &mut self.shards[usize::from(n)];
            let mut effects = Vec::new();
            shard.configure(&configs, now, &mut effects);
            shard.forget(&forgotten, now, &mut effects);
            effects.extend(shard.tick(now, &mut new_alarm_id));
            group.add(n, now, Output { effects, ..Output::default() }, configs, forgotten);
        }
    }

    /// Takes over combinations that are new, changed or gone.
    fn combine(&mut self, wanted: Vec<(u16, CombinationId, Option<CombinationRule>)>, all: bool, group: &mut Group) {
        let now = self.now();
        let mut changed: BTreeMap<u16, BTreeMap<CombinationId, Option<CombinationRule>>> = BTreeMap::new();
        if all {
            let known: HashSet<_> = wanted.iter().map(|(shard, id, _)| (*shard, *id)).collect();
            for (shard, n) in self.shards.iter().zip(0u16..) {
                let gone: BTreeMap<_, _> =
                    shard.combinations().ids().filter(|id| !known.contains(&(n, *id))).map(|id| (id, None)).collect();
                if !gone.is_empty() {
                    changed.insert(n, gone);
                }
            }
        }
        for (n, id, rule) in wanted {
            let have = self.shards[usize::from(n)].combinations();
            if rule.as_ref().map_or(have.ids().all(|known| known != id), |rule| have.has(rule)) {
                continue;
            }
            changed.entry(n).or_default().insert(id, rule);
        }
        for (n, combinations) in changed {
            let combinations: Vec<_> = combinations.into_iter().collect();
            let shard = &mut self.shards[usize::from(n)];
            let mut effects = Vec::new();
            shard.combine(&combinations, now, &mut effects);
            effects.extend(shard.tick(now, &mut new_alarm_id));
            let notes = Notes { combinations, effects, ..Notes::default() }.encode();
            group.records.push(Record { shard: n, now, readings: Vec::new(), positions: Vec::new(), notes });
        }
    }

    fn newest(&self, subject: Subject) -> Option<Newest> {
        match subject {
            Subject::Point(id) => {
                self.reader.latest(id).map(|r| Newest { at: r.event_at, key: (r.value.to_bits(), r.quality.code()), revision: r.revision })
            }
            Subject::Vehicle(id) => {
                self.reader.latest_position(id).map(|p| Newest { at: p.event_at, key: (u64::from(p.body_crc), 0), revision: 0 })
            }
        }
    }

    /// Syncs what was appended. On a full disk it waits for space: replies wait with it, queues fill up and refuse, `/readyz` says so.
    fn sync(&mut self) -> Result<Lsn, HistoryError> {
        let failed = &self.shared.status.failed;
        loop {
            match self.writer.sync() {
                Err(full @ HistoryError::Full { .. }) => {
                    if failed.swap(LOG_FULL, Ordering::Relaxed) != LOG_FULL {
                        error!(error = &full as &dyn std::error::Error, "the disk is full; nothing is acknowledged until there is space");
                    }
                    let queues = self.shared.queues.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    if queues.stopping {
                        return Err(full);
                    }
                    drop(queues);
                    std::thread::sleep(FULL_RETRY);
                }
                synced => {
                    if synced.is_ok() && failed.swap(0, Ordering::Relaxed) == LOG_FULL {
                        warn!("the disk has space again; what waited is kept");
                    }
                    return synced;
                }
            }
        }
    }

    /// Log, sync, publish, reply, in this order.
    fn commit(&mut self, group: Group) -> Result<(), HistoryError> {
        let Group { records, replies, .. } = group;
        let written = records.iter().try_for_each(|record| match self.writer.append(record) {
            // A very large group is synced in parts; all its replies still come after the last one.
            Err(HistoryError::TooMuchUnsynced { .. }) => self.sync().and_then(|_| self.writer.append(record)).map(drop),
            appended => appended.map(drop),
        });
        let synced = match written {
            Ok(()) if records.is_empty() => Ok(self.writer.durable()),
            Ok(()) => self.sync(),
            Err(failure) => Err(failure),
        };
        match synced {
            Ok(lsn) => {
                if !records.is_empty() {
                    self.shards.iter_mut().for_each(Shard::settled);
                    self.work += records.iter().map(work_of).sum::<u64>();
                    self.latest.publish(records.iter().flat_map(|r| &r.readings), records.iter().flat_map(|r| &r.positions));
                    if records.iter().any(|r| !r.notes.is_empty()) {
                        self.shared.status.noted.store(lsn.0, Ordering::Release);
                    }
                    self.shared.status.durable.store(lsn.0, Ordering::Relaxed);
                    self.durable.send_replace(lsn.0);
                }
                let n_batches = replies.len();
                let n_readings: usize = records.iter().map(|r| r.readings.len()).sum();
                self.crowded = (n_batches >= SMALL_BATCHES && n_readings <= n_batches * SMALL_BATCH).then(Instant::now);
                let mut all = anlan_model::Kept::default();
                for (reply, kept) in replies {
                    all.stored += kept.stored;
                    all.repeated += kept.repeated;
                    reply(Ok(kept));
                }
                metrics::counter!("telemetry_stored_total").increment(u64::from(all.stored));
                metrics::counter!("telemetry_repeated_total").increment(u64::from(all.repeated));
                Ok(())
            }
            Err(failure) => {
                for (reply, _) in replies {
                    reply(Err(Refusal::Storage));
                }
                Err(failure)
            }
        }
    }

    /// Seal, checkpoint if it is time, release: bounds start-up time, memory and disk. A failure here loses nothing and is tried again.
    fn keep_house(&mut self, checkpoint: bool) {
        let now = self.now();
        let needed = Lsn((*self.projected.borrow()).min(self.shared.followed.load(Ordering::Relaxed)));
        let mut kept = self.writer.seal_if_due(now);
        if checkpoint {
            let state = write_checkpoint(&self.shards, self.checkpoint_bytes);
            // A little room, so that the next one does not double its buffer for the last few bytes.
            self.checkpoint_bytes = state.len() + state.len() / 16;
            kept = kept.and_then(|()| self.writer.checkpoint(&state));
        }
        if let Err(failure) = kept.and_then(|()| self.writer.release_log(needed, now).map(drop)) {
            warn!(error = &failure as &dyn std::error::Error, "checkpoint or sealing failed; the log keeps everything, it is tried again");
        }
    }
}

/// Whatever ends the engine, a panic too: nobody waits for it any longer, and `/readyz` says so.
struct Farewell(Arc<Shared>);

impl Farewell {
    fn log_failed(&self) {
        self.0.status.failed.store(1, Ordering::Relaxed);
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.log_failed();
        }
        let mut queues = self.0.queues.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        queues.stopping = true;
        queues.control.clear();
        (queues.n_batches, queues.n_readings) = (0, 0);
        let waiting = queues.shards.iter_mut().flat_map(|queue| queue.drain(..)).map(|batch| batch.reply);
        let waiting: Vec<anlan_model::Reply> = waiting.collect();
        let linked = std::mem::take(&mut queues.linked);
        drop(queues);
        let refusal = if self.0.status.failed.load(Ordering::Relaxed) == 0 { Refusal::Stopping } else { Refusal::Storage };
        for reply in waiting.into_iter().chain(linked.into_iter().map(|batch| batch.reply)) {
            reply(Err(refusal));
        }
    }
}
