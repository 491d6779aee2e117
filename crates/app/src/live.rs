//! Live streams: the newest value per point and subscriber, every change of an alarm or of a record in order.
//!
//! A slow browser gets fewer updates, never a growing queue: values are looked up when it is ready for them, and changes of alarms and records
//! are numbers in bounded rings that all subscribers share. A value that comes after a quiet moment leaves at once; what follows is merged
//! to the newest per point, for a time that grows with what the subscriber asks to see. After a reconnect the token resumes in that ring; if it is too old (or from
//! before a restart) the answer is "take a snapshot". Start at [`Live::subscribe`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anlan_model::{Alarm, AlarmId, EnterpriseId, PointId, PointSet, Position, Reading, RecordId, Scope, VehicleId};
use anlan_store::{PointFilter, RecordRow, Store, StoreError};
use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::pack::Registers;
use crate::telemetry::Latest;

/// Changes of alarms, and of records, that can be resumed; older tokens are told to take a snapshot.
const RING: usize = 20_000;
/// Newest values are looked for again for one subscriber after this long at the earliest, and at the latest.
const VALUES_AFTER: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));
/// How much later for each point that was looked at, and for each value that was sent: it bounds what one subscriber costs.
const PER_POINT: Duration = Duration::from_micros(100);
const PER_VALUE: Duration = Duration::from_millis(1);
/// How often vehicles go to one subscriber (CONSOLE: 1/s for maps).
const VEHICLES_EVERY: Duration = Duration::from_secs(1);
/// Proof of life; the console shows "no heartbeat since" after 10 s.
const PING_EVERY: Duration = Duration::from_secs(5);
/// Topics of one subscriber.
const TOPICS_MAX: usize = 200;
/// Alarms or records in one message.
const PER_MESSAGE: usize = 200;
/// Changes of records wait this long for more of the same: an import is a few messages, and one person's page is not asked for at every line.
const RECORDS_EVERY: Duration = Duration::from_secs(1);

/// Shared by all subscribers.
#[derive(Clone)]
pub struct Live {
    store: Store,
    latest: Arc<Latest>,
    registers: Arc<ArcSwap<Registers>>,
    alarms: Arc<Mutex<Ring<AlarmId>>>,
    records: Arc<Mutex<Ring<RecordId>>>,
    /// One of the rings grew.
    grown: watch::Sender<()>,
    /// Log position up to which newest values are published, as it grows.
    durable: watch::Receiver<u64>,
    /// Counts renewals of the registry: who may see which point can change with any of them.
    renewed: Arc<AtomicU64>,
    /// Tells this run from the one before; part of every token.
    run: u64,
}

/// Changes by number. What was changed is read when somebody hears of it.
struct Ring<Id> {
    /// Number of the newest change; 0 = none yet.
    newest: u64,
    changes: VecDeque<Id>,
}

impl<Id> Default for Ring<Id> {
    fn default() -> Self {
        Self { newest: 0, changes: VecDeque::new() }
    }
}

impl<Id: Copy + PartialEq> Ring<Id> {
    fn push(&mut self, ids: &[Id]) {
        self.newest += ids.len() as u64;
        self.changes.extend(ids);
        let over = self.changes.len().saturating_sub(RING);
        self.changes.drain(..over);
    }

    /// Whether it reaches back to `at`.
    fn holds(&self, at: u64) -> bool {
        at <= self.newest && self.newest - at <= self.changes.len() as u64
    }

    /// The distinct ones changed after `at`, and the number reached; `None` if it no longer reaches back.
    fn after(&self, at: u64) -> Option<(Vec<Id>, u64)> {
        let n = usize::try_from(self.newest.checked_sub(at)?).ok()?;
        let skip = self.changes.len().checked_sub(n)?;
        let take = n.min(PER_MESSAGE);
        let mut ids = Vec::with_capacity(take);
        for id in self.changes.iter().skip(skip).take(take) {
            if !ids.contains(id) {
                ids.push(*id);
            }
        }
        Some((ids, at + take as u64))
    }
}

fn locked<T>(ring: &Mutex<T>) -> MutexGuard<'_, T> {
    ring.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How far a subscriber has heard each ring.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Heard {
    alarms: u64,
    records: u64,
}

/// What a subscriber hears.
#[derive(Clone, Debug, PartialEq)]
pub enum LiveMessage {
    /// Alarms that changed, whole.
    Alarms {
        /// Resume token.
        token: String,
        /// Newest state of each.
        alarms: Vec<Alarm>,
    },
    /// Newest readings of a `points:` or `enterprise:` topic.
    Readings {
        /// The topic asked for.
        topic: String,
        /// Resume token.
        token: String,
        /// One per point.
        readings: Vec<Reading>,
    },
    /// Newest positions.
    Vehicles {
        /// Resume token.
        token: String,
        /// One per vehicle.
        positions: Vec<Position>,
    },
    /// Records that changed, of registers that are on.
    Records {
        /// Resume token.
        token: String,
        /// Newest state of each.
        records: Vec<RecordRow>,
    },
    /// How much of what the person was told is unread, when that changed.
    Notifications {
        /// Resume token.
        token: String,
        /// How many.
        unread: i64,
    },
    /// The token was too old: fetch the lists again, then go on from here.
    Snapshot {
        /// Resume token.
        token: String,
    },
    /// Proof of life.
    Ping {
        /// Resume token.
        token: String,
    },
}

/// A topic is not one of ours, or there are too many.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a topic: use alarms, vehicles, records, notifications, points:<id>[,<id>…] or enterprise:<id>, at most {TOPICS_MAX}")]
pub struct TopicError(pub String);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Topic {
    Alarms,
    Vehicles,
    Records,
    Notifications,
    Points(Vec<PointId>),
    Enterprise(EnterpriseId),
}

impl Topic {
    fn parse(text: &str) -> Result<Self, TopicError> {
        let wrong = || TopicError(text.chars().take(80).collect());
        match text.split_once(':') {
            None if text == "alarms" => Ok(Self::Alarms),
            None if text == "vehicles" => Ok(Self::Vehicles),
            None if text == "records" => Ok(Self::Records),
            None if text == "notifications" => Ok(Self::Notifications),
            Some(("enterprise", id)) => id.parse().map(Self::Enterprise).map_err(|_| wrong()),
            Some(("points", ids)) => {
                let ids = ids.split(',').map(str::parse).collect::<Result<Vec<PointId>, _>>().map_err(|_| wrong())?;
                if ids.len() > 1_000 { Err(wrong()) } else { Ok(Self::Points(ids)) }
            }
            _ => Err(wrong()),
        }
    }
}

impl Live {
    pub(crate) fn new(
        store: Store,
        registers: Arc<ArcSwap<Registers>>,
        latest: Arc<Latest>,
        durable: watch::Receiver<u64>,
        run: u64,
    ) -> Self {
        let (alarms, records, grown) = (Arc::default(), Arc::default(), watch::channel(()).0);
        Self { store, latest, registers, alarms, records, grown, durable, renewed: Arc::default(), run }
    }

    /// Tells every stream that points, vehicles or their owners may have changed.
    pub(crate) fn renew(&self) {
        self.renewed.fetch_add(1, Ordering::Relaxed);
    }

    /// Announces alarms whose condition or handling changed and is committed.
    pub fn alarms_changed(&self, ids: &[AlarmId]) {
        if !ids.is_empty() {
            locked(&self.alarms).push(ids);
            self.grown.send_replace(());
        }
    }

    /// How many changes of alarms were announced.
    pub(crate) fn alarm_changes(&self) -> u64 {
        locked(&self.alarms).newest
    }

    /// Announces records that changed, or of whom somebody was told, and are committed.
    pub(crate) fn records_changed(&self, ids: &[RecordId]) {
        if !ids.is_empty() {
            locked(&self.records).push(ids);
            self.grown.send_replace(());
        }
    }

    /// Starts a stream for `scope` (already narrowed to viewing).
    ///
    /// # Errors
    /// [`TopicError`] for an unknown topic.
    pub fn subscribe(&self, scope: Scope, topics: &[String], resume: Option<&str>) -> Result<Subscription, TopicError> {
        let newest = self.newest();
        let resumed = resume.map(|token| self.parse_token(token));
        let now = Instant::now();
        let mut subscription = Subscription {
            live: self.clone(),
            scope,
            topics: BTreeMap::new(),
            heard: resumed.flatten().unwrap_or(newest),
            must_snapshot: resumed == Some(None),
            vehicles: BTreeSet::new(),
            vehicles_renewed: None,
            renewed: self.renewed.load(Ordering::Relaxed),
            outbox: VecDeque::new(),
            vehicles_sent: 0,
            wants_values: false,
            looked_at: None,
            values_at: now,
            vehicles_at: now,
            records_at: now,
            unread: None,
            unread_at: None,
            ping_at: now + PING_EVERY,
            grown: self.grown.subscribe(),
            durable: self.durable.clone(),
        };
        subscription.set_topics(topics)?;
        Ok(subscription)
    }

    fn newest(&self) -> Heard {
        Heard { alarms: locked(&self.alarms).newest, records: locked(&self.records).newest }
    }

    fn token(&self, heard: Heard) -> String {
        format!("{:x}-{}-{}", self.run, heard.alarms, heard.records)
    }

    /// How far a token of this run had heard, if the rings still reach back to it.
    fn parse_token(&self, token: &str) -> Option<Heard> {
        let (run, heard) = token.split_once('-')?;
        let (alarms, records) = heard.split_once('-').filter(|_| u64::from_str_radix(run, 16) == Ok(self.run))?;
        let heard = Heard { alarms: alarms.parse().ok()?, records: records.parse().ok()? };
        (locked(&self.alarms).holds(heard.alarms) && locked(&self.records).holds(heard.records)).then_some(heard)
    }
}

struct TopicState {
    text: String,
    seen: Option<PointSet>,
    sent: u64,
}

/// One subscriber's stream. Dropping it ends it.
pub struct Subscription {
    live: Live,
    scope: Scope,
    topics: BTreeMap<Topic, TopicState>,
    heard: Heard,
    must_snapshot: bool,
    vehicles: BTreeSet<VehicleId>,
    /// Renewal of the registry that the vehicles were read at.
    vehicles_renewed: Option<u64>,
    /// Renewal of the registry that the points were read at.
    renewed: u64,
    /// Messages of the round in hand, one per topic at most: every topic gets its turn however slow the reader is.
    outbox: VecDeque<LiveMessage>,
    vehicles_sent: u64,
    /// A topic of values is among the topics.
    wants_values: bool,
    /// Log position of the last look for newest values; `None`: topics came since.
    looked_at: Option<u64>,
    /// No look before this.
    values_at: Instant,
    vehicles_at: Instant,
    /// No look for records before this.
    records_at: Instant,
    /// What was said last of what is unread, and at which change of a record that was looked at.
    unread: Option<i64>,
    unread_at: Option<u64>,
    ping_at: Instant,
    grown: watch::Receiver<()>,
    durable: watch::Receiver<u64>,
}

impl Subscription {
    /// Replaces the topics; a topic that stays goes on where it was.
    ///
    /// # Errors
    /// [`TopicError`]; the topics before stay.
    pub fn set_topics(&mut self, topics: &[String]) -> Result<(), TopicError> {
        if topics.len() > TOPICS_MAX {
            return Err(TopicError(format!("{} topics", topics.len())));
        }
        let parsed = topics.iter().map(|text| Ok((Topic::parse(text)?, text))).collect::<Result<Vec<_>, TopicError>>()?;
        let mut next = BTreeMap::new();
        for (topic, text) in parsed {
            let state = self.topics.remove(&topic).unwrap_or_else(|| TopicState { text: text.clone(), seen: None, sent: 0 });
            next.insert(topic, state);
        }
        self.topics = next;
        self.wants_values = self.topics.keys().any(|topic| matches!(topic, Topic::Points(_) | Topic::Enterprise(_)));
        self.looked_at = None;
        Ok(())
    }

    /// Replaces the scope after a grant changed; what may no longer be seen stops at once.
    pub fn set_scope(&mut self, scope: Scope) {
        if self.scope != scope {
            self.scope = scope;
            self.topics.values_mut().for_each(|state| state.seen = None);
            self.vehicles_renewed = None;
            self.vehicles_sent = 0;
            self.unread_at = None;
        }
    }

    /// The next message. Cancel-safe: state advances only when a message is returned.
    ///
    /// # Errors
    /// The store's error when it does not answer; call again later.
    pub async fn next(&mut self) -> Result<LiveMessage, StoreError> {
        loop {
            // What is not listened to is not missed either: a token must not grow old by it.
            let newest = self.live.newest();
            if !self.topics.contains_key(&Topic::Alarms) {
                self.heard.alarms = newest.alarms;
            }
            if !self.topics.contains_key(&Topic::Records) {
                self.heard.records = newest.records;
            }
            if self.must_snapshot {
                self.must_snapshot = false;
                return Ok(LiveMessage::Snapshot { token: self.live.token(self.heard) });
            }
            if let Some(message) = self.alarms().await? {
                return Ok(message);
            }
            let now = Instant::now();
            if now >= self.records_at
                && let Some(message) = self.records().await?
            {
                return Ok(message);
            }
            if let Some(mut message) = self.outbox.pop_front() {
                // Others may have gone out since the round began; a token must never lead back behind them.
                if let LiveMessage::Readings { token, .. } | LiveMessage::Vehicles { token, .. } = &mut message {
                    *token = self.live.token(self.heard);
                }
                return Ok(message);
            }
            if now >= self.ping_at {
                self.ping_at = now + PING_EVERY;
                return Ok(LiveMessage::Ping { token: self.live.token(self.heard) });
            }
            let may_look = self.wants_values && now >= self.values_at;
            let position = *self.durable.borrow_and_update();
            if may_look && self.looked_at != Some(position) {
                let (n_points, n_values) = self.readings().await?;
                self.looked_at = Some(position);
                let wait = PER_POINT.saturating_mul(n_points).saturating_add(PER_VALUE.saturating_mul(n_values));
                self.values_at = now + wait.clamp(VALUES_AFTER.0, VALUES_AFTER.1);
                continue;
            }
            if now >= self.vehicles_at {
                let vehicles = self.vehicles().await?;
                self.outbox.extend(vehicles);
                self.vehicles_at = now + VEHICLES_EVERY;
            }
            if !self.outbox.is_empty() {
                continue;
            }
            let until = self.vehicles_at.min(self.ping_at);
            let until = if self.wants_values && !may_look { until.min(self.values_at) } else { until };
            let until = if self.has_records() { until.min(self.records_at) } else { until };
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                grown = self.grown.changed() => if grown.is_err() { tokio::time::sleep_until(until).await },
                grown = self.durable.changed(), if may_look => if grown.is_err() { tokio::time::sleep_until(until).await },
            }
        }
    }

    async fn alarms(&mut self) -> Result<Option<LiveMessage>, StoreError> {
        while self.topics.contains_key(&Topic::Alarms) {
            let Some((ids, reached)) = locked(&self.live.alarms).after(self.heard.alarms) else { return Ok(Some(self.snapshot())) };
            if ids.is_empty() {
                return Ok(None);
            }
            let alarms = self.live.store.alarm_ids_visible(&self.scope, &ids).await?;
            self.heard.alarms = reached;
            if !alarms.is_empty() {
                return Ok(Some(LiveMessage::Alarms { token: self.live.token(self.heard), alarms }));
            }
        }
        Ok(None)
    }

    /// Whether a record changed that was not looked at for one of the topics.
    fn has_records(&self) -> bool {
        let newest = locked(&self.live.records).newest;
        let wants_records = self.topics.contains_key(&Topic::Records) && self.heard.records != newest;
        wants_records || self.topics.contains_key(&Topic::Notifications) && self.unread_at != Some(newest)
    }

    /// What is new of records and of what the person was told about them; then nothing more for a while.
    async fn records(&mut self) -> Result<Option<LiveMessage>, StoreError> {
        if !self.has_records() {
            return Ok(None);
        }
        if self.topics.contains_key(&Topic::Records) {
            loop {
                let Some((ids, reached)) = locked(&self.live.records).after(self.heard.records) else { return Ok(Some(self.snapshot())) };
                if ids.is_empty() {
                    break;
                }
                let kinds = self.live.registers.load().kinds();
                let records = self.live.store.record_ids_visible(&self.scope, &kinds, &ids).await?;
                self.heard.records = reached;
                if !records.is_empty() {
                    if reached == locked(&self.live.records).newest {
                        self.records_at = Instant::now() + RECORDS_EVERY;
                    }
                    return Ok(Some(LiveMessage::Records { token: self.live.token(self.heard), records }));
                }
            }
        }
        let newest = locked(&self.live.records).newest;
        if self.topics.contains_key(&Topic::Notifications) && self.unread_at != Some(newest) {
            let unread = self.live.store.n_unread(&self.scope, &self.live.registers.load().kinds()).await?;
            self.unread_at = Some(newest);
            if self.unread.replace(unread) != Some(unread) {
                self.records_at = Instant::now() + RECORDS_EVERY;
                return Ok(Some(LiveMessage::Notifications { token: self.live.token(self.heard), unread }));
            }
        }
        self.records_at = Instant::now() + RECORDS_EVERY;
        Ok(None)
    }

    /// Goes on from now; what was between is for the lists.
    fn snapshot(&mut self) -> LiveMessage {
        self.heard = self.live.newest();
        LiveMessage::Snapshot { token: self.live.token(self.heard) }
    }

    /// Puts what is new of each topic into the outbox; how many points were looked at, and how many values are new.
    async fn readings(&mut self) -> Result<(u32, u32), StoreError> {
        let (mut n_points, mut n_values) = (0u32, 0u32);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let token = self.live.token(self.heard);
        let renewed = self.live.renewed.load(Ordering::Relaxed);
        if renewed != self.renewed {
            self.renewed = renewed;
            self.topics.values_mut().for_each(|state| state.seen = None);
        }
        for (topic, state) in &mut self.topics {
            let filter = match topic {
                Topic::Alarms | Topic::Vehicles | Topic::Records | Topic::Notifications => continue,
                Topic::Points(_) => PointFilter::default(),
                Topic::Enterprise(id) => PointFilter { enterprise: Some(*id), ..PointFilter::default() },
            };
            let sequence = self.live.latest.sequence();
            if state.seen.is_none() {
                let seen = self.live.store.point_set(&self.scope, &filter).await?;
                state.seen = Some(if let Topic::Points(ids) = topic { seen.narrowed(ids) } else { seen });
            }
            let Some(seen) = &state.seen else { continue };
            let readings = self.live.latest.points_since(seen.iter(), state.sent);
            state.sent = sequence;
            n_points = n_points.saturating_add(count(seen.len()));
            n_values = n_values.saturating_add(count(readings.len()));
            if !readings.is_empty() {
                self.outbox.push_back(LiveMessage::Readings { topic: state.text.clone(), token: token.clone(), readings });
            }
        }
        Ok((n_points, n_values))
    }

    async fn vehicles(&mut self) -> Result<Option<LiveMessage>, StoreError> {
        if !self.topics.contains_key(&Topic::Vehicles) {
            return Ok(None);
        }
        let sequence = self.live.latest.sequence();
        let mut positions = self.live.latest.vehicles_since(self.vehicles_sent);
        let renewed = self.live.renewed.load(Ordering::Relaxed);
        if self.vehicles_renewed != Some(renewed) {
            self.vehicles = self.live.store.vehicle_set(&self.scope).await?;
            self.vehicles_renewed = Some(renewed);
        }
        self.vehicles_sent = sequence;
        positions.retain(|p| self.vehicles.contains(&p.vehicle));
        let token = self.live.token(self.heard);
        Ok((!positions.is_empty()).then_some(LiveMessage::Vehicles { token, positions }))
    }
}
