//! Live streams: the newest value per point and subscriber, every change of an alarm in order.
//!
//! A slow browser gets fewer updates, never a growing queue: values are looked up when it is ready for them, and alarm changes are
//! numbers in one bounded ring that all subscribers share. A value that comes after a quiet moment leaves at once; what follows is merged
//! to the newest per point, for a time that grows with what the subscriber asks to see. After a reconnect the token resumes in that ring; if it is too old (or from
//! before a restart) the answer is "take a snapshot". Start at [`Live::subscribe`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anlan_model::{Alarm, AlarmId, EnterpriseId, PointId, PointSet, Position, Reading, Scope, VehicleId};
use anlan_store::{PointFilter, Store, StoreError};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::telemetry::Latest;

/// Alarm changes that can be resumed; older tokens are told to take a snapshot.
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
/// Alarms in one message.
const ALARMS_PER_MESSAGE: usize = 200;

/// Shared by all subscribers.
#[derive(Clone)]
pub struct Live {
    store: Store,
    latest: Arc<Latest>,
    ring: Arc<Mutex<Ring>>,
    grown: watch::Sender<u64>,
    /// Log position up to which newest values are published, as it grows.
    durable: watch::Receiver<u64>,
    /// Counts renewals of the registry: who may see which point can change with any of them.
    renewed: Arc<AtomicU64>,
    /// Tells this run from the one before; part of every token.
    run: u64,
}

#[derive(Default)]
struct Ring {
    /// Number of the newest change; 0 = none yet.
    newest: u64,
    changes: VecDeque<AlarmId>,
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
#[error("`{0}` is not a topic: use alarms, vehicles, points:<id>[,<id>…] or enterprise:<id>, at most {TOPICS_MAX}")]
pub struct TopicError(pub String);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Topic {
    Alarms,
    Vehicles,
    Points(Vec<PointId>),
    Enterprise(EnterpriseId),
}

impl Topic {
    fn parse(text: &str) -> Result<Self, TopicError> {
        let wrong = || TopicError(text.chars().take(80).collect());
        match text.split_once(':') {
            None if text == "alarms" => Ok(Self::Alarms),
            None if text == "vehicles" => Ok(Self::Vehicles),
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
    pub(crate) fn new(store: Store, latest: Arc<Latest>, durable: watch::Receiver<u64>, run: u64) -> Self {
        Self { store, latest, ring: Arc::default(), grown: watch::channel(0).0, durable, renewed: Arc::default(), run }
    }

    /// Tells every stream that points, vehicles or their owners may have changed.
    pub(crate) fn renew(&self) {
        self.renewed.fetch_add(1, Ordering::Relaxed);
    }

    /// Announces alarms whose condition or handling changed and is committed.
    pub fn alarms_changed(&self, ids: &[AlarmId]) {
        if ids.is_empty() {
            return;
        }
        let newest = {
            let mut ring = self.ring.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            ring.newest += ids.len() as u64;
            ring.changes.extend(ids);
            let over = ring.changes.len().saturating_sub(RING);
            ring.changes.drain(..over);
            ring.newest
        };
        self.grown.send_replace(newest);
    }

    /// Starts a stream for `scope` (already narrowed to viewing).
    ///
    /// # Errors
    /// [`TopicError`] for an unknown topic.
    pub fn subscribe(&self, scope: Scope, topics: &[String], resume: Option<&str>) -> Result<Subscription, TopicError> {
        let newest = self.ring.lock().unwrap_or_else(std::sync::PoisonError::into_inner).newest;
        let resumed = resume.map(|token| self.parse_token(token));
        let now = Instant::now();
        let mut subscription = Subscription {
            live: self.clone(),
            scope,
            topics: BTreeMap::new(),
            next_alarm: match resumed {
                Some(Some(at)) => at,
                _ => newest,
            },
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
            ping_at: now + PING_EVERY,
            grown: self.grown.subscribe(),
            durable: self.durable.clone(),
        };
        subscription.set_topics(topics)?;
        Ok(subscription)
    }

    fn token(&self, at: u64) -> String {
        format!("{:x}-{at}", self.run)
    }

    /// The change number of a token of this run that is still in the ring.
    fn parse_token(&self, token: &str) -> Option<u64> {
        let (run, at) = token.split_once('-')?;
        let at: u64 = at.parse().ok().filter(|_| u64::from_str_radix(run, 16) == Ok(self.run))?;
        let ring = self.ring.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        (at <= ring.newest && ring.newest - at <= ring.changes.len() as u64).then_some(at)
    }

    /// The distinct alarms changed after `at`, and the number reached; `None` if the ring no longer reaches back.
    fn changes_after(&self, at: u64) -> Option<(Vec<AlarmId>, u64)> {
        let ring = self.ring.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let n = usize::try_from(ring.newest.checked_sub(at)?).ok()?;
        let skip = ring.changes.len().checked_sub(n)?;
        let take = n.min(ALARMS_PER_MESSAGE);
        let mut ids = Vec::with_capacity(take);
        for id in ring.changes.iter().skip(skip).take(take) {
            if !ids.contains(id) {
                ids.push(*id);
            }
        }
        Some((ids, at + take as u64))
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
    next_alarm: u64,
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
    ping_at: Instant,
    grown: watch::Receiver<u64>,
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
        }
    }

    /// The next message. Cancel-safe: state advances only when a message is returned.
    ///
    /// # Errors
    /// The store's error when it does not answer; call again later.
    pub async fn next(&mut self) -> Result<LiveMessage, StoreError> {
        loop {
            if self.must_snapshot {
                self.must_snapshot = false;
                return Ok(LiveMessage::Snapshot { token: self.live.token(self.next_alarm) });
            }
            if let Some(message) = self.alarms().await? {
                return Ok(message);
            }
            if let Some(mut message) = self.outbox.pop_front() {
                // Alarms may have gone out since the round began; a token must never lead back behind them.
                if let LiveMessage::Readings { token, .. } | LiveMessage::Vehicles { token, .. } = &mut message {
                    *token = self.live.token(self.next_alarm);
                }
                return Ok(message);
            }
            let now = Instant::now();
            if now >= self.ping_at {
                self.ping_at = now + PING_EVERY;
                return Ok(LiveMessage::Ping { token: self.live.token(self.next_alarm) });
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
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                grown = self.grown.changed() => if grown.is_err() { tokio::time::sleep_until(until).await },
                grown = self.durable.changed(), if may_look => if grown.is_err() { tokio::time::sleep_until(until).await },
            }
        }
    }

    async fn alarms(&mut self) -> Result<Option<LiveMessage>, StoreError> {
        while self.topics.contains_key(&Topic::Alarms) {
            let Some((ids, reached)) = self.live.changes_after(self.next_alarm) else {
                self.next_alarm = self.live.ring.lock().unwrap_or_else(std::sync::PoisonError::into_inner).newest;
                return Ok(Some(LiveMessage::Snapshot { token: self.live.token(self.next_alarm) }));
            };
            if ids.is_empty() {
                return Ok(None);
            }
            let alarms = self.live.store.alarm_ids_visible(&self.scope, &ids).await?;
            self.next_alarm = reached;
            if !alarms.is_empty() {
                return Ok(Some(LiveMessage::Alarms { token: self.live.token(reached), alarms }));
            }
        }
        Ok(None)
    }

    /// Puts what is new of each topic into the outbox; how many points were looked at, and how many values are new.
    async fn readings(&mut self) -> Result<(u32, u32), StoreError> {
        let (mut n_points, mut n_values) = (0u32, 0u32);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let token = self.live.token(self.next_alarm);
        let renewed = self.live.renewed.load(Ordering::Relaxed);
        if renewed != self.renewed {
            self.renewed = renewed;
            self.topics.values_mut().for_each(|state| state.seen = None);
        }
        for (topic, state) in &mut self.topics {
            let filter = match topic {
                Topic::Alarms | Topic::Vehicles => continue,
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
        let token = self.live.token(self.next_alarm);
        Ok((!positions.is_empty()).then_some(LiveMessage::Vehicles { token, positions }))
    }
}
