//! What is agreed between two nodes, and what lies around alarms where that is what is agreed (告警前后).
//!
//! Both ends find the same part of a day by the alarms they know: the child tells them before it claims a day. Start at [`Agreed::between`];
//! [`Near`] holds what is around the alarms of the days that the log reaches back to.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anlan_link::agreement::{Around, Readings};
use anlan_link::digest::Digest;
use anlan_link::message::Day;
use anlan_model::{Clock as _, NodeId, PointId, Reading, Timestamp};
use anlan_store::{Store, StoreError};

use crate::App;
use crate::clock::{day_bounds, day_number};
use crate::registry::Snapshot;
use crate::telemetry::piece::row_of;

/// So far back the log reaches, and a day more.
const NEAR_DAYS: i32 = 8;
/// Days that are compared by their alarms: those of the last 30 days are told to a node that has just joined (`store::feed`).
pub(crate) const COMPARED_DAYS: i32 = 28;
/// Alarms are asked for again so often at most, and the more seldom the longer that takes.
const FRESH: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
const SHARE: u32 = 20;

/// Which readings are agreed, and around which alarms.
#[derive(Clone, Debug)]
pub struct Agreed {
    /// The agreement.
    pub readings: Readings,
    around: Arc<HashMap<PointId, Around>>,
}

static NOTHING: Around = Around::nothing();

impl Agreed {
    /// For whoever needs no alarms.
    pub fn plain(readings: Readings) -> Self {
        Self { readings, around: Arc::default() }
    }

    /// What is agreed of the time between two instants.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn between(store: &Store, readings: Readings, from: Timestamp, to: Timestamp) -> Result<Self, StoreError> {
        if readings != Readings::Alarms {
            return Ok(Self::plain(readings));
        }
        let margin = Around::MARGIN_US;
        let mut alarms: HashMap<PointId, Vec<(i64, Option<i64>)>> = HashMap::new();
        for alarm in store.alarm_spans(from.plus_us(-margin), to.plus_us(margin)).await? {
            alarms.entry(alarm.point).or_default().push((alarm.onset_at.micros(), alarm.ended_at.map(Timestamp::micros)));
        }
        let around = alarms.into_iter().map(|(point, alarms)| (point, Around::alarms(alarms))).collect();
        Ok(Self { readings, around: Arc::new(around) })
    }

    /// What is agreed of a civil day.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn of_day(store: &Store, readings: Readings, day: i32) -> Result<Self, StoreError> {
        let (from, to) = day_bounds(day);
        Self::between(store, readings, from, to).await
    }

    /// Around the alarms of a point, as it is called here.
    pub fn around(&self, point: PointId) -> &Around {
        self.around.get(&point).unwrap_or(&NOTHING)
    }

    /// Points of each origin with alarms that reach into a civil day: as they are called here, and there.
    pub fn points_of(&self, known: &Snapshot, own: NodeId, origin: NodeId, day: i32) -> Vec<(PointId, PointId)> {
        let (from, to) = day_bounds(day);
        let mut points: Vec<_> = self
            .points()
            .filter_map(|(here, around)| {
                let (of, there) = known.mirrored.get(&here).copied().unwrap_or((own, here));
                let is_known = known.points.contains_key(&here) && of == origin;
                (is_known && !around.within(from.micros(), to.micros()).is_empty()).then_some((here, there))
            })
            .collect();
        points.sort_unstable();
        points
    }

    /// Points with alarms.
    pub fn points(&self) -> impl Iterator<Item = (PointId, &Around)> {
        self.around.iter().map(|(point, around)| (*point, around))
    }

    /// Whether nothing of a point between two instants is agreed, whatever is held.
    pub fn is_nothing(&self, point: PointId, from: Timestamp, to: Timestamp) -> bool {
        self.readings == Readings::Alarms && self.around(point).within(from.micros(), to.micros()).is_empty()
    }

    /// Which of a point's readings of one civil day are agreed.
    pub fn part(&self, point: PointId, mut rows: Vec<Reading>) -> Vec<Reading> {
        if self.readings != Readings::All {
            let keeps = self.readings.part(&rows.iter().map(row_of).collect::<Vec<_>>(), self.around(point));
            let mut keeps = keeps.into_iter();
            rows.retain(|_| keeps.next().unwrap_or(false));
        }
        rows
    }

    /// Tells one set of alarms of these points on a civil day from another; 0 without any.
    pub fn mark(&self, points: &[(PointId, PointId)], day: i32) -> u128 {
        let (from, to) = day_bounds(day);
        let mut mark = Digest::default();
        for (here, there) in points.iter().filter(|(here, _)| self.around.contains_key(here)) {
            for (from, until) in self.around(*here).within(from.micros(), to.micros()).spans() {
                mark.add(there.get(), *from, f64::from_bits(until.unsigned_abs()), 0, 0);
            }
        }
        mark.sum
    }

    /// Whether both are around the same alarms.
    pub fn is_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.around, &other.around)
    }

    /// Days that are over of which these alarms make another part than those did.
    pub fn changed(&self, before: &Self, known: &Snapshot, own: NodeId, now: Timestamp) -> BTreeSet<Day> {
        let today = day_number(now);
        let mut days = BTreeSet::new();
        let points: BTreeSet<PointId> = self.around.keys().chain(before.around.keys()).copied().collect();
        for point in points.into_iter().filter(|point| self.around(*point) != before.around(*point)) {
            let origin = known.mirrored.get(&point).map_or(own, |(origin, _)| *origin);
            for day in today - NEAR_DAYS..today {
                let (from, to) = day_bounds(day);
                let of = |agreed: &Self| agreed.around(point).within(from.micros(), to.micros());
                if of(self) != of(before) {
                    days.insert(Day { origin, day });
                }
            }
        }
        days
    }
}

/// Around the alarms of the last days, as long as none changed.
#[derive(Default)]
pub(crate) struct Near(tokio::sync::Mutex<Option<Held>>);

struct Held {
    /// Changes of alarms until then.
    version: u64,
    at: Instant,
    /// How long they may be kept though others came.
    fresh: Duration,
    agreed: Agreed,
}

impl Near {
    /// What is agreed of the last days, by the alarms there are now. If they changed just before, that takes up to a few seconds.
    pub(crate) async fn get(&self, app: &App, readings: Readings) -> Result<Agreed, StoreError> {
        if readings != Readings::Alarms {
            return Ok(Agreed::plain(readings));
        }
        let mut held = self.0.lock().await;
        if let Some(held) = held.as_ref() {
            if held.version == app.live.alarm_changes() {
                return Ok(held.agreed.clone());
            }
            tokio::time::sleep(held.fresh.saturating_sub(held.at.elapsed())).await;
        }
        // Before they are read: what changes meanwhile is read the next time.
        let (version, began) = (app.live.alarm_changes(), Instant::now());
        let now = app.clock.now();
        let (from, _) = day_bounds(day_number(now) - NEAR_DAYS);
        let agreed = Agreed::between(&app.store, readings, from, Timestamp::MAX).await?;
        let fresh = began.elapsed().saturating_mul(SHARE).clamp(FRESH.0, FRESH.1);
        *held = Some(Held { version, at: Instant::now(), fresh, agreed: agreed.clone() });
        Ok(agreed)
    }
}
