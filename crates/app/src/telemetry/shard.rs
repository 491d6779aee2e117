//! One shard of the telemetry path: what a batch becomes. Readings get their event time, repeats are dropped, rules judge in event order.
//!
//! Plain and synchronous: batches + now in, one log record out. No sockets, no files, no clock; history is asked through [`Lookup`].
//! Start at [`Shard::step`]; recovery calls [`Shard::replay`] with logged records and only rebuilds state.
//!
//! Two halves. *Resolving* decides event time, identity and revision against history, and is done once, before logging.
//! *Applying* feeds resolved readings to the alarm machines, and is what replay repeats: it depends on logged records alone.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use anlan_domain::alarm::{Machine, MachineV1, Rule, Sample, Shelf};
use anlan_domain::combination::{CombinationRule, Combinations};
use anlan_domain::road::Drift;
use anlan_domain::road::drift::Seen;
use anlan_domain::road::rules::DriftRules;
use anlan_model::noun::CombinationMember;
use anlan_model::{
    AlarmChange, AlarmId, CombinationId, DataEvent, Effect, EnterpriseId, Flags, IdMap, Kept, PointId, Position, Quality, RawPosition,
    Reading, Reply, Subject, Timestamp, VehicleId, Wgs84, item,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

/// Bounds of a believable device time, relative to when it was received (ARCHITECTURE, "Event time").
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimeBounds {
    /// A device time older than this is only believed when marked as back-fill. Seconds, default 86,400.
    pub past_s: i64,
    /// A device time further ahead than this is never believed. Seconds, default 120.
    pub future_s: i64,
    /// How long rules wait for readings that overtook each other. Milliseconds, default 80, at most 1,000.
    pub reorder_ms: i64,
}

impl Default for TimeBounds {
    fn default() -> Self {
        Self { past_s: 86_400, future_s: 120, reorder_ms: 80 }
    }
}

impl TimeBounds {
    fn reorder_us(&self) -> i64 {
        self.reorder_ms.clamp(0, 1_000) * 1_000
    }
}

/// What history knows about an instant; asked only when a reading is not newer than the newest.
pub trait Lookup {
    /// Newest durable revision at exactly this instant.
    fn reading(&self, point: PointId, at: Timestamp) -> Option<Reading>;
    /// CRC of the durable position body at exactly this instant.
    fn position(&self, vehicle: VehicleId, at: Timestamp) -> Option<u32>;
}

pub use anlan_model::batch::BoundReading;

/// A batch bound to points and vehicles, ready for its shard.
pub struct Bound {
    /// Device code or phone, for data-quality events.
    pub source: String,
    /// Owner.
    pub enterprise: Option<EnterpriseId>,
    /// When it was received.
    pub received_at: Timestamp,
    /// Values.
    pub readings: Vec<BoundReading>,
    /// Positions.
    pub positions: Vec<(VehicleId, RawPosition)>,
    /// Effects that came with it: data events, answers to commands.
    pub effects: Vec<Effect>,
    /// Marked as back-fill as a whole.
    pub backfill: bool,
    /// Told when durable.
    pub reply: Reply,
}

impl Bound {
    /// Readings and positions: what it costs to hold.
    pub fn size(&self) -> usize {
        self.readings.len() + self.positions.len()
    }
}

/// Rules and range of one subject; logged whenever it changes, so that replay judges with what held at the time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubjectConfig {
    /// Point or vehicle.
    pub subject: Subject,
    /// Compiled rules; empty = heard, kept, not judged.
    pub rules: Arc<[Rule]>,
    /// Measuring range, for the flag.
    pub range: Option<(f64, f64)>,
    /// Newest instant history already holds, for a subject new to this shard.
    pub newest: Option<Newest>,
}

/// The newest kept value of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Newest {
    /// Its instant.
    pub at: Timestamp,
    /// Value bits and quality, or body CRC.
    pub key: (u64, u8),
    /// Its revision.
    pub revision: u16,
}

/// What one step decided; becomes one log record.
#[derive(Debug, Default)]
pub struct Output {
    /// Readings to keep.
    pub readings: Vec<Reading>,
    /// Positions to keep.
    pub positions: Vec<Position>,
    /// What SQL and live streams must learn.
    pub effects: Vec<Effect>,
    /// Counts for the reply of each batch; `None`: it names a subject that is not here.
    pub kept: Vec<Option<Kept>>,
}

/// A reading on its way through a step.
struct Heard {
    point: PointId,
    at: Timestamp,
    flags: Flags,
    slot: u32,
    /// Number of its batch, and its number in it.
    batch: u32,
    reading: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct SubjectState {
    subject: Subject,
    /// Measuring range, for the flag.
    range: Option<(f64, f64)>,
    live: Machine,
    /// Judges late data; made when there is some.
    historic: Option<Box<Machine>>,
    newest: Option<Newest>,
    /// Samples waiting for readings that they may have overtaken, in event order. Nearly always one, which has its place here.
    pending: SmallVec<[Sample; 1]>,
    /// Device times of readings whose clock was not believed, for finding repeats.
    distrusted: BTreeMap<Timestamp, (Timestamp, (u64, u8))>,
    /// When late data of this subject was last heard, while a stretch of it is open.
    late_heard_at: Option<Timestamp>,
    /// The time of its earliest entry in [`Shard::near`], if it has one.
    #[serde(skip)]
    near_at: Option<Timestamp>,
    /// Its entry in [`Shard::far`], if it has one.
    #[serde(skip)]
    far_at: Option<Timestamp>,
    /// The round of the engine in which it was last decided upon; see [`Shard::settled`].
    #[serde(skip)]
    round: u32,
}

impl SubjectState {
    /// When it wants to be looked at, apart from samples that wait.
    fn due_far(&self) -> Option<Timestamp> {
        let late = self.late_heard_at.map(|at| at.plus_us(STRETCH_IDLE_US));
        [self.live.next_due(), late].into_iter().flatten().min()
    }
    /// When the first of the samples that wait was heard; `None` if nobody needs to look for their sake: there is none, or there is one that
    /// will change nothing, and is judged before the next.
    fn due_near(&self) -> Option<Timestamp> {
        match self.pending.as_slice() {
            [] => None,
            [only] if self.live.last().is_some() && self.live.stays_quiet(only) => None,
            waiting => waiting.iter().map(|s| s.heard_at).min(),
        }
    }
    /// When it wants to be looked at.
    fn due(&self, reorder_us: i64) -> Option<Timestamp> {
        let near = self.due_near().map(|heard_at| heard_at.plus_us(reorder_us));
        [near, self.due_far()].into_iter().flatten().min()
    }
    /// Judges the samples that have waited long enough by `now`. A due sample takes along all that are earlier in event time.
    fn judge(&mut self, now: Timestamp, reorder_us: i64, new_id: &mut dyn FnMut(Timestamp) -> AlarmId, changes: &mut Vec<AlarmChange>) {
        let n_due = self.pending.iter().rposition(|s| s.heard_at.plus_us(reorder_us) <= now).map_or(0, |i| i + 1);
        for sample in self.pending.drain(..n_due) {
            self.live.sample(sample, now, new_id, changes);
        }
    }
    /// Runs what is due by `now`.
    fn look(&mut self, now: Timestamp, reorder_us: i64, new_id: &mut dyn FnMut(Timestamp) -> AlarmId, changes: &mut Vec<AlarmChange>) {
        self.judge(now, reorder_us, new_id, changes);
        self.live.tick(now, new_id, changes);
        if self.late_heard_at.is_some_and(|heard| heard.plus_us(STRETCH_IDLE_US) <= now) {
            self.late_heard_at = None;
            // The stretch is over; the next one begins with a fresh machine.
            if let Some(mut historic) = self.historic.take() {
                historic.finish(changes);
            }
        }
        if self.pending.is_empty() && self.pending.spilled() {
            self.pending = SmallVec::new();
        }
    }
}

/// A stretch of late or back-filled data of one source, summed up when it ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stretch {
    from: Timestamp,
    to: Timestamp,
    n_readings: u64,
    heard_at: Timestamp,
    enterprise: Option<EnterpriseId>,
    backfill: bool,
}

/// A stretch ends when its source sent nothing late for this long, domain time.
const STRETCH_IDLE_US: i64 = 30_000_000;
/// Unmarked late data that spans less than this is ordinary disorder, not a gap worth an event.
const STRETCH_WORTH_US: i64 = 60_000_000;
/// Samples of one subject that may wait; the oldest is judged early beyond it.
const PENDING_MAX: usize = 256;
/// Readings with a distrusted clock that are remembered per subject for finding repeats: 2.8 hours at one in 10 s.
/// ARCHITECTURE wishes for 24 h, but 10,000 points behind one wrong gateway clock would then cost gigabytes; beyond it: at least once.
const DISTRUSTED_MAX: usize = 1_024;
/// Steps to the next free microsecond before giving up and treating the value as a repeat.
const FREE_MICROSECOND_TRIES: i64 = 10_000;

/// State of one shard. Serializable for checkpoints.
#[derive(Debug)]
pub struct Shard {
    bounds: TimeBounds,
    /// Where a subject's state lies in `slots`.
    points: IdMap<PointId, u32>,
    vehicles: IdMap<VehicleId, u32>,
    /// A forgotten subject leaves a hole, which the next new one fills.
    slots: Vec<Option<SubjectState>>,
    holes: Vec<u32>,
    /// Slots with samples that wait, by when the first of them was heard; mostly appended to. A subject whose [`SubjectState::due_near`]
    /// says so has an entry no later than that.
    near: VecDeque<(Timestamp, u32)>,
    /// Slots that want to be looked at for another reason, at that time or later: a deadline that moves away is not moved here.
    far: BTreeSet<(Timestamp, u32)>,
    /// Offset of each source whose clock is off, µs (device minus ours).
    clocks: HashMap<String, i64>,
    stretches: BTreeMap<String, Stretch>,
    /// None of them ends before this.
    stretch_due: Timestamp,
    /// When a place cannot be true; `None`: nothing is marked. Of the pack, so it is set at every start.
    drift_rules: Option<DriftRules>,
    /// Where vehicles are believed to be.
    whereabouts: BTreeMap<VehicleId, Whereabouts>,
    /// What this round decided beside each subject's newest value, and history does not know yet: newest revision by instant.
    decided: HashMap<(PointId, Timestamp), ((u64, u8), u16)>,
    decided_positions: HashMap<(VehicleId, Timestamp), u32>,
    round: u32,
    due: Vec<(Timestamp, Subject, u32)>,
    /// Alarms that mean more together. Kept behind the shards in a checkpoint.
    combinations: Combinations,
}

/// A shard as it stands in a checkpoint: each set of rules once.
#[derive(Serialize, Deserialize)]
struct Image<Rules, State, Places> {
    bounds: TimeBounds,
    rules: Vec<Rules>,
    /// With the number of its rules.
    subjects: Vec<(u32, State)>,
    clocks: HashMap<String, i64>,
    stretches: BTreeMap<String, Stretch>,
    whereabouts: Places,
}

impl Serialize for Shard {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (mut rules, mut numbers) = (Vec::new(), HashMap::new());
        let mut subjects = Vec::with_capacity(self.slots.len());
        for state in self.slots.iter().flatten() {
            let own = state.live.rules();
            let number = *numbers.entry(Arc::as_ptr(own).cast::<()>()).or_insert_with(|| {
                rules.push(own.as_ref());
                rules.len() as u32 - 1
            });
            subjects.push((number, state));
        }
        let (clocks, stretches) = (self.clocks.clone(), self.stretches.clone());
        Image { bounds: self.bounds, rules, subjects, clocks, stretches, whereabouts: &self.whereabouts }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Shard {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let image = Image::<Vec<Rule>, SubjectState, BTreeMap<VehicleId, Whereabouts>>::deserialize(deserializer)?;
        let (clocks, stretches, whereabouts) = (image.clocks, image.stretches, image.whereabouts);
        let mut shard = Self { clocks, stretches, whereabouts, ..Self::new(image.bounds) };
        let mut shelf = Shelf::default();
        let sets: Vec<Arc<[Rule]>> = image.rules.into_iter().map(|rules| shelf.set(rules)).collect();
        for (number, mut state) in image.subjects {
            let rules = sets.get(number as usize).ok_or_else(|| serde::de::Error::custom("a subject without rules"))?;
            state.live.restore(Arc::clone(rules));
            if let Some(historic) = &mut state.historic {
                historic.restore(Arc::clone(rules));
            }
            shard.take_over(state);
        }
        Ok(shard)
    }
}

/// Where one vehicle is believed to be, on the live track and on the late one.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Whereabouts {
    live: Drift,
    late: Drift,
    /// When drift was last told as an event. Not rebuilt by replay: at worst it is told once more after a restart.
    told_at: Option<Timestamp>,
}

impl Whereabouts {
    fn track(&mut self, flags: Flags) -> &mut Drift {
        if flags.has(Flags::LATE) || flags.has(Flags::BACKFILL) { &mut self.late } else { &mut self.live }
    }
}

/// Drift of one vehicle is told as an event this often at most, domain time; the mark itself stands on every position.
const DRIFT_TOLD_US: i64 = 600_000_000;
/// Item 0x31 of 0x0200: satellites used (JT/T 808-2013 table 27).
const ITEM_SATELLITES: u8 = 0x31;

impl Shard {
    /// A shard that has heard nothing.
    pub fn new(bounds: TimeBounds) -> Self {
        Self {
            bounds,
            points: IdMap::default(),
            vehicles: IdMap::default(),
            slots: Vec::new(),
            holes: Vec::new(),
            near: VecDeque::new(),
            far: BTreeSet::new(),
            clocks: HashMap::new(),
            stretches: BTreeMap::new(),
            stretch_due: Timestamp::MIN,
            decided: HashMap::new(),
            decided_positions: HashMap::new(),
            round: 1,
            due: Vec::new(),
            drift_rules: None,
            whereabouts: BTreeMap::new(),
            combinations: Combinations::default(),
        }
    }

    /// What it watches together.
    pub fn combinations(&self) -> &Combinations {
        &self.combinations
    }

    /// Gives a shard of a checkpoint its combinations back.
    pub(super) fn set_combinations(&mut self, combinations: Combinations) {
        self.combinations = combinations;
    }

    /// Takes over combinations, or forgets them (`None`); the next step or tick judges them.
    pub fn combine(&mut self, rules: &[(CombinationId, Option<CombinationRule>)], now: Timestamp, out: &mut Vec<Effect>) {
        let mut combinations = std::mem::take(&mut self.combinations);
        for (id, rule) in rules {
            let standing = |member: CombinationMember| {
                let live = &self.state(Subject::Point(member.point))?.live;
                // When it began is not kept; that it stood at the newest reading is known.
                Some((live.standing(member.kind)?, live.last()?.at.min(now)))
            };
            combinations.set(*id, rule.as_ref(), &standing, now, out);
        }
        self.combinations = combinations;
    }

    /// Takes over changed settings, after a restart.
    pub fn set_bounds(&mut self, bounds: TimeBounds) {
        self.bounds = bounds;
    }

    /// Says when a place cannot be true.
    pub fn set_drift_rules(&mut self, rules: DriftRules) {
        self.drift_rules = Some(rules);
    }

    /// Everything decided until now is durable: history knows it.
    pub fn settled(&mut self) {
        self.decided.clear();
        self.decided_positions.clear();
        self.round = self.round.wrapping_add(1).max(1);
    }

    fn slot(&self, subject: Subject) -> Option<u32> {
        match subject {
            Subject::Point(id) => self.points.get(&id).copied(),
            Subject::Vehicle(id) => self.vehicles.get(&id).copied(),
        }
    }

    fn state(&self, subject: Subject) -> Option<&SubjectState> {
        self.slots.get(self.slot(subject)? as usize)?.as_ref()
    }

    fn insert(&mut self, state: SubjectState) -> u32 {
        let subject = state.subject;
        let slot = self.holes.pop().unwrap_or_else(|| {
            if self.slots.len() == self.slots.capacity() {
                // Doubling would leave a city's worth of slots empty.
                self.slots.reserve_exact((self.slots.len() / 8).max(64));
            }
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        self.slots[slot as usize] = Some(state);
        match subject {
            Subject::Point(id) => self.points.insert(id, slot),
            Subject::Vehicle(id) => self.vehicles.insert(id, slot),
        };
        slot
    }

    /// Whether a subject is configured here just like that; its rules are then the very ones of `config`, so that what a checkpoint brought and
    /// what the registry holds are not kept twice.
    pub fn has(&mut self, config: &SubjectConfig) -> bool {
        let Some(slot) = self.slot(config.subject) else { return false };
        let Some(state) = &mut self.slots[slot as usize] else { return false };
        let rules = state.live.rules();
        if state.range != config.range || !(Arc::ptr_eq(rules, &config.rules) || *rules == config.rules) {
            return false;
        }
        for machine in [Some(&mut state.live), state.historic.as_deref_mut()].into_iter().flatten() {
            machine.restore(Arc::clone(&config.rules));
        }
        true
    }

    /// Every subject configured here.
    pub fn subjects(&self) -> impl Iterator<Item = Subject> + '_ {
        self.slots.iter().flatten().map(|state| state.subject)
    }

    /// Takes over rules and ranges; an absent subject is created. Alarms of rules that went are returned at `now`.
    pub fn configure(&mut self, configs: &[SubjectConfig], now: Timestamp, out: &mut Vec<Effect>) {
        let mut changes = Vec::new();
        for config in configs {
            let known = self.slot(config.subject);
            let slot = known.unwrap_or_else(|| {
                let mut live = Machine::new(config.subject, Arc::clone(&config.rules), false);
                if let Some(newest) = config.newest {
                    let (key, quality) = newest.key;
                    let value = if let Subject::Point(_) = config.subject { f64::from_bits(key) } else { 0.0 };
                    let usable = Quality::from_code(quality) != Quality::Bad;
                    live.seed(Sample { at: newest.at, heard_at: now, value, bits: 0, usable });
                }
                self.insert(SubjectState {
                    subject: config.subject,
                    range: config.range,
                    live,
                    historic: None,
                    newest: config.newest,
                    pending: SmallVec::new(),
                    distrusted: BTreeMap::new(),
                    late_heard_at: None,
                    near_at: None,
                    far_at: None,
                    round: 0,
                })
            });
            if let (Some(_), Some(state)) = (known, &mut self.slots[slot as usize]) {
                state.range = config.range;
                state.live.set_rules(Arc::clone(&config.rules), now, &mut changes);
                if let Some(historic) = &mut state.historic {
                    historic.set_rules(Arc::clone(&config.rules), now, &mut changes);
                }
            }
            // What waited quietly may be something to say now.
            self.plan(slot, Timestamp::MIN);
        }
        let from = out.len();
        out.extend(changes.into_iter().map(Effect::Alarm));
        self.combinations.note(&out[from..], now);
    }

    /// Forgets subjects that moved away or were deleted; their standing alarms return at `now`.
    pub fn forget(&mut self, subjects: &[Subject], now: Timestamp, out: &mut Vec<Effect>) {
        let from = out.len();
        for subject in subjects {
            if let Subject::Vehicle(id) = subject {
                self.whereabouts.remove(id);
            }
            let slot = match subject {
                Subject::Point(id) => self.points.remove(id),
                Subject::Vehicle(id) => self.vehicles.remove(id),
            };
            let Some((slot, mut state)) = slot.and_then(|slot| Some((slot, self.slots[slot as usize].take()?))) else { continue };
            self.holes.push(slot);
            let mut changes = Vec::new();
            for machine in [Some(&mut state.live), state.historic.as_deref_mut()].into_iter().flatten() {
                machine.set_rules(Vec::new(), now, &mut changes);
            }
            out.extend(changes.into_iter().map(Effect::Alarm));
            if let Some(at) = state.far_at {
                self.far.remove(&(at, slot));
            }
            self.near.retain(|(_, of)| *of != slot);
        }
        self.combinations.note(&out[from..], now);
    }

    /// The node was down until `now`: nobody is blamed for silence before it.
    pub fn wake_up(&mut self, now: Timestamp) {
        for state in self.slots.iter_mut().flatten() {
            // Silence only begins later than planned: `far` finds out when it looks.
            state.live.excuse_silence(now);
        }
    }

    /// Takes batches that were heard one after the other: event times, repeats, revisions, rules. The caller logs the output as one record and
    /// only then answers.
    ///
    /// A batch that names a subject that is not configured here changes nothing and has `None` in [`Output::kept`].
    pub fn step(&mut self, batches: &[Bound], now: Timestamp, lookup: &dyn Lookup, new_id: &mut dyn FnMut(Timestamp) -> AlarmId) -> Output {
        let mut out = Output { kept: Vec::with_capacity(batches.len()), ..Output::default() };
        let mut heard: Vec<Heard> = Vec::with_capacity(batches.iter().map(|b| b.readings.len()).sum());
        let mut seen_positions: Vec<(usize, usize, u32, (Timestamp, Flags))> = Vec::new();
        for (batch, n) in batches.iter().zip(0u32..) {
            let (first, first_position) = (heard.len(), seen_positions.len());
            let Some(of_vehicles) = self.place(batch, n, &mut heard) else {
                heard.truncate(first);
                out.kept.push(None);
                continue;
            };
            out.kept.push(Some(Kept::default()));
            out.effects.extend_from_slice(&batch.effects);
            let of_readings = batch.readings.iter().map(|r| (r.device_at, batch.backfill));
            let of_positions = batch.positions.iter().map(|(_, p)| (p.device_at, batch.backfill || p.backfill));
            let device_times: Vec<_> = of_readings.chain(of_positions).collect();
            let event_times = event_times(&device_times, batch.received_at, &self.bounds);
            self.note_clock(batch, &device_times, &event_times, &mut out.effects);
            let (for_readings, for_positions) = event_times.split_at(batch.readings.len());
            for (heard, (at, flags)) in heard[first..].iter_mut().zip(for_readings) {
                (heard.at, heard.flags) = (*at, *flags);
            }
            let places = of_vehicles.into_iter().zip(for_positions).enumerate();
            seen_positions.extend(places.map(|(i, (slot, time))| (n as usize, i, slot, *time)));
            seen_positions[first_position..].sort_by_key(|(_, _, _, (at, _))| *at);
        }
        self.pass_time(now, new_id, &mut out.effects);

        // Point by point and in event order, so that rules and revisions see time run forward; the log gives readings back in this order.
        let order = |h: &Heard| (h.point, h.at, h.batch, h.reading);
        if !heard.is_sorted_by_key(order) {
            heard.sort_unstable_by_key(order);
        }
        out.readings.reserve_exact(heard.len());
        for h in heard {
            let batch = &batches[h.batch as usize];
            let resolved = self.resolve_reading(h.slot, &batch.readings[h.reading as usize], (h.at, h.flags), batch.received_at, lookup);
            let kept = out.kept[h.batch as usize].get_or_insert_default();
            match resolved {
                Some(reading) => {
                    self.note_late(batch, reading.event_at, reading.flags);
                    self.apply_reading(h.slot, &reading, now, new_id, &mut out.effects);
                    out.readings.push(reading);
                    kept.stored += 1;
                }
                None => kept.repeated += 1,
            }
        }
        for (n, i, slot, time) in seen_positions {
            let batch = &batches[n];
            let (vehicle, raw) = &batch.positions[i];
            let resolved = self.resolve_position(*vehicle, raw, time, batch.received_at, lookup);
            let kept = out.kept[n].get_or_insert_default();
            match resolved {
                Some(position) => {
                    self.decided_positions.insert((*vehicle, position.event_at), position.body_crc);
                    self.note_late(batch, position.event_at, position.flags);
                    self.note_drift(batch, &position, &mut out.effects);
                    self.apply_position(slot, &position, now, new_id, &mut out.effects);
                    out.positions.push(position);
                    kept.stored += 1;
                }
                None => kept.repeated += 1,
            }
        }
        self.pass_time(now, new_id, &mut out.effects);
        self.combinations.pass(0, now, new_id, &mut out.effects);
        out
    }

    /// Appends where the readings of the batch with number `n` lie and returns where its vehicles do; `None` if one of either is not configured
    /// here. Points that were made together are mostly heard together.
    fn place(&self, batch: &Bound, n: u32, heard: &mut Vec<Heard>) -> Option<Vec<u32>> {
        let mut next = 0;
        for (reading, i) in batch.readings.iter().zip(0u32..) {
            let slot = match self.slots.get(next as usize) {
                Some(Some(state)) if state.subject == Subject::Point(reading.point) => next,
                _ => *self.points.get(&reading.point)?,
            };
            next = slot + 1;
            heard.push(Heard { point: reading.point, at: Timestamp::EPOCH, flags: Flags::empty(), slot, batch: n, reading: i });
        }
        batch.positions.iter().map(|(id, _)| self.vehicles.get(id).copied()).collect()
    }

    /// Lets time pass without input: reorder windows, delays, silence, ends of late stretches.
    pub fn tick(&mut self, now: Timestamp, new_id: &mut dyn FnMut(Timestamp) -> AlarmId) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.pass_time(now, new_id, &mut effects);
        self.combinations.pass(0, now, new_id, &mut effects);
        effects
    }

    /// Rebuilds state from a logged record; its effects are returned only to be compared with the logged ones.
    pub fn replay(
        &mut self,
        now: Timestamp,
        readings: &[Reading],
        positions: &[Position],
        new_id: &mut dyn FnMut(Timestamp) -> AlarmId,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.pass_time(now, new_id, &mut effects);
        for reading in readings {
            if let Some(slot) = self.points.get(&reading.point).copied() {
                self.apply_reading(slot, reading, now, new_id, &mut effects);
            }
        }
        for position in positions {
            if let Some(slot) = self.vehicles.get(&position.vehicle).copied() {
                self.apply_position(slot, position, now, new_id, &mut effects);
            }
        }
        self.settled();
        self.pass_time(now, new_id, &mut effects);
        self.combinations.pass(0, now, new_id, &mut effects);
        effects
    }

    fn resolve_reading(
        &self,
        slot: u32,
        raw: &BoundReading,
        (event_at, mut flags): (Timestamp, Flags),
        received_at: Timestamp,
        lookup: &dyn Lookup,
    ) -> Option<Reading> {
        let state = self.slots[slot as usize].as_ref()?;
        let key = (raw.value.to_bits(), raw.quality.code());
        if state.range.is_some_and(|(low, high)| raw.value < low || raw.value > high) {
            flags = flags.with(Flags::OUT_OF_RANGE);
        }
        let kept = |at: Timestamp| -> Option<((u64, u8), u16)> {
            match state.newest {
                None => None,
                Some(newest) if at > newest.at => None,
                Some(newest) if at == newest.at => Some((newest.key, newest.revision)),
                Some(_) => {
                    let decided = (state.round == self.round).then(|| self.decided.get(&(raw.point, at)).copied()).flatten();
                    decided.or_else(|| lookup.reading(raw.point, at).map(|r| ((r.value.to_bits(), r.quality.code()), r.revision)))
                }
            }
        };
        let (event_at, revision) = resolve(state, raw.device_at, event_at, flags, key, &kept)?;
        if revision > 0 {
            flags = flags.with(Flags::REVISED);
        }
        if state.newest.is_some_and(|newest| event_at <= newest.at) {
            flags = flags.with(Flags::LATE);
        }
        Some(Reading {
            point: raw.point,
            event_at,
            device_at: raw.device_at,
            received_at,
            value: raw.value,
            quality: raw.quality,
            flags,
            revision,
        })
    }

    fn resolve_position(
        &self,
        vehicle: VehicleId,
        raw: &RawPosition,
        (event_at, mut flags): (Timestamp, Flags),
        received_at: Timestamp,
        lookup: &dyn Lookup,
    ) -> Option<Position> {
        let state = self.state(Subject::Vehicle(vehicle))?;
        let key = (u64::from(raw.body_crc), 0);
        let kept = |at: Timestamp| -> Option<((u64, u8), u16)> {
            match state.newest {
                None => None,
                Some(newest) if at > newest.at => None,
                Some(newest) if at == newest.at => Some((newest.key, 0)),
                Some(_) => {
                    let decided = self.decided_positions.get(&(vehicle, at)).copied();
                    decided.or_else(|| lookup.position(vehicle, at)).map(|crc| ((u64::from(crc), 0), 0))
                }
            }
        };
        // Another body at the same second is another position, not a revision: it moves to the next free microsecond.
        let mut at = event_at;
        let mut tries = 0;
        if flags.has(Flags::CLOCK_BAD) && raw.device_at.is_some_and(|d| state.distrusted.get(&d).is_some_and(|(_, have)| *have == key)) {
            return None;
        }
        while let Some((have, _)) = kept(at) {
            if have == key || tries == FREE_MICROSECOND_TRIES {
                return None;
            }
            at = at.plus_us(1);
            tries += 1;
        }
        // Bit 1 of the status word: positioned (JT/T 808-2013 table 25).
        if raw.status_bits >> 1 & 1 == 0 {
            flags = flags.with(Flags::NO_FIX);
        }
        if state.newest.is_some_and(|newest| at <= newest.at) {
            flags = flags.with(Flags::LATE);
        }
        if self.drifts(vehicle, raw, at, flags) {
            flags = flags.with(Flags::DRIFT);
        }
        Some(Position {
            vehicle,
            event_at: at,
            device_at: raw.device_at,
            received_at,
            lon_e6: raw.lon_e6,
            lat_e6: raw.lat_e6,
            altitude_m: raw.altitude_m,
            speed_dkmh: raw.speed_dkmh,
            direction_deg: raw.direction_deg,
            alarm_bits: raw.alarm_bits,
            status_bits: raw.status_bits,
            body_crc: raw.body_crc,
            flags,
            items: raw.items.clone(),
        })
    }

    fn apply_reading(
        &mut self,
        slot: u32,
        reading: &Reading,
        now: Timestamp,
        new_id: &mut dyn FnMut(Timestamp) -> AlarmId,
        out: &mut Vec<Effect>,
    ) {
        let sample = Sample {
            at: reading.event_at,
            heard_at: reading.received_at,
            value: reading.value,
            bits: 0,
            usable: reading.quality != Quality::Bad,
        };
        let newest = Newest { at: reading.event_at, key: (reading.value.to_bits(), reading.quality.code()), revision: reading.revision };
        if let Some(state) = &self.slots[slot as usize] {
            // What is not a subject's newest value any more, or never was, must be found until history has it.
            let known = state.newest.filter(|have| state.round == self.round && have.at < newest.at);
            let overtaken = state.newest.is_some_and(|have| have.at > newest.at).then_some(newest);
            for n in known.into_iter().chain(overtaken) {
                self.decided.insert((reading.point, n.at), (n.key, n.revision));
            }
        }
        self.apply(slot, Resolved { sample, newest, device_at: reading.device_at, flags: reading.flags }, now, new_id, out);
    }

    fn apply_position(
        &mut self,
        slot: u32,
        position: &Position,
        now: Timestamp,
        new_id: &mut dyn FnMut(Timestamp) -> AlarmId,
        out: &mut Vec<Effect>,
    ) {
        let sample = Sample {
            at: position.event_at,
            heard_at: position.received_at,
            value: position.speed_kmh(),
            bits: position.alarm_bits,
            // An untrue place takes nothing from the speed: receivers measure it by itself, and an alarm is not to be missed.
            usable: !position.flags.has(Flags::NO_FIX),
        };
        if let Some(rules) = self.drift_rules.filter(|_| can_drift(position.flags)) {
            let track = self.whereabouts.entry(position.vehicle).or_default().track(position.flags);
            track.advance(&rules, seen(position), position.flags.has(Flags::DRIFT));
        }
        let newest = Newest { at: position.event_at, key: (u64::from(position.body_crc), 0), revision: 0 };
        self.apply(slot, Resolved { sample, newest, device_at: position.device_at, flags: position.flags }, now, new_id, out);
    }

    fn apply(&mut self, slot: u32, kept: Resolved, now: Timestamp, new_id: &mut dyn FnMut(Timestamp) -> AlarmId, out: &mut Vec<Effect>) {
        let Some(state) = &mut self.slots[slot as usize] else { return };
        let Resolved { sample, newest, device_at, flags } = kept;
        state.round = self.round;
        if let (true, Some(device_at)) = (flags.has(Flags::CLOCK_BAD), device_at) {
            state.distrusted.insert(device_at, (sample.at, newest.key));
            if state.distrusted.len() > DISTRUSTED_MAX {
                state.distrusted.pop_first();
            }
        }
        if state.newest.is_none_or(|have| (newest.at, newest.revision) >= (have.at, have.revision)) {
            state.newest = Some(newest);
        }
        let mut changes = Vec::new();
        // What waited quietly until its time was over comes before.
        state.judge(now, self.bounds.reorder_us(), new_id, &mut changes);
        let judged = state.live.last().map(|s| s.at);
        let live = !flags.has(Flags::BACKFILL) && !flags.has(Flags::REVISED) && judged.is_none_or(|at| sample.at > at);
        if !flags.has(Flags::BACKFILL) {
            // Heard is heard, also while the sample waits its turn and when the device's clock stepped back.
            state.live.hear(sample.heard_at, &mut changes);
        }
        let quiet = live && state.pending.is_empty() && judged.is_some() && state.live.stays_quiet(&sample);
        if live {
            let at = state.pending.partition_point(|s| s.at < sample.at);
            state.pending.insert(at, sample);
        } else {
            // A straggler of a rule that stands live would only repeat it as a second alarm; other rules must still speak.
            let historic =
                state.historic.get_or_insert_with(|| Box::new(Machine::new(state.subject, Arc::clone(state.live.rules()), true)));
            let standing = &state.live;
            let muted = |rule: &str| !flags.has(Flags::BACKFILL) && standing.stands(rule);
            historic.sample_unless(&muted, sample, now, new_id, &mut changes);
            state.late_heard_at = Some(sample.heard_at);
        }
        if state.pending.len() > PENDING_MAX {
            let first = state.pending.remove(0);
            state.live.sample(first, now, new_id, &mut changes);
        }
        out.extend(changes.into_iter().map(Effect::Alarm));
        if !quiet {
            self.plan(slot, Timestamp::MIN);
        }
    }

    /// Runs everything due by `now`, in order of its due time.
    fn pass_time(&mut self, now: Timestamp, new_id: &mut dyn FnMut(Timestamp) -> AlarmId, out: &mut Vec<Effect>) {
        let reorder_us = self.bounds.reorder_us();
        let mut due = std::mem::take(&mut self.due);
        while let Some(&(heard_at, slot)) = self.near.front()
            && heard_at.plus_us(reorder_us) <= now
        {
            self.near.pop_front();
            if let Some(state) = &mut self.slots[slot as usize] {
                state.near_at = None;
                due.push((state.due(reorder_us).unwrap_or(Timestamp::MAX), state.subject, slot));
            }
        }
        while let Some(&(at, slot)) = self.far.first()
            && at <= now
        {
            self.far.pop_first();
            if let Some(state) = &mut self.slots[slot as usize] {
                state.far_at = None;
                due.push((state.due(reorder_us).unwrap_or(Timestamp::MAX), state.subject, slot));
            }
        }
        if !due.is_sorted() {
            due.sort_unstable();
        }
        due.dedup();
        let mut changes = Vec::new();
        for (at, _, slot) in due.drain(..) {
            if at <= now
                && let Some(state) = &mut self.slots[slot as usize]
            {
                state.look(now, reorder_us, new_id, &mut changes);
            }
            self.plan(slot, now);
        }
        self.due = due;
        out.extend(changes.into_iter().map(Effect::Alarm));
        self.end_stretches(now, out);
    }

    /// Sees to it that a slot is looked at in time, but never at or before `after`: what could not be done by then waits.
    fn plan(&mut self, slot: u32, after: Timestamp) {
        let Some(state) = &mut self.slots[slot as usize] else { return };
        if let Some(heard_at) = state.due_near()
            && state.near_at.is_none_or(|have| heard_at < have)
        {
            state.near_at = Some(heard_at);
            let is_last = self.near.back().is_none_or(|(last, _)| *last <= heard_at);
            let at = if is_last { self.near.len() } else { self.near.partition_point(|(have, _)| *have <= heard_at) };
            self.near.insert(at, (heard_at, slot));
        }
        let Some(at) = state.due_far().map(|at| at.max(after.plus_us(1))) else { return };
        if state.far_at.is_none_or(|have| at < have) {
            if let Some(have) = state.far_at.replace(at) {
                self.far.remove(&(have, slot));
            }
            self.far.insert((at, slot));
        }
    }

    /// Takes a subject in that comes from a checkpoint.
    fn take_over(&mut self, state: SubjectState) {
        let slot = self.insert(state);
        self.plan(slot, Timestamp::MIN);
    }

    /// How many subjects want to be looked at by `now`.
    pub fn due(&self, now: Timestamp) -> usize {
        let reorder_us = self.bounds.reorder_us();
        let near = self.near.iter().take_while(|(heard_at, _)| heard_at.plus_us(reorder_us) <= now).map(|(_, slot)| *slot);
        let far = self.far.iter().take_while(|(at, _)| *at <= now).map(|(_, slot)| *slot);
        let slots: BTreeSet<u32> = near.chain(far).collect();
        let is_due = |slot: &u32| self.slots[*slot as usize].as_ref().and_then(|s| s.due(reorder_us)).is_some_and(|at| at <= now);
        slots.iter().filter(|slot| is_due(slot)).count() + self.combinations.n_due(now)
    }

    /// One event when a source's clock is found off, and one when it is right again; nothing is corrected silently.
    fn note_clock(
        &mut self,
        batch: &Bound,
        device_times: &[(Option<Timestamp>, bool)],
        event_times: &[(Timestamp, Flags)],
        out: &mut Vec<Effect>,
    ) {
        let newest = device_times
            .iter()
            .zip(event_times)
            .filter_map(|((device, _), (_, flags))| device.map(|d| (d, flags.has(Flags::CLOCK_BAD))))
            .max_by_key(|(d, _)| *d);
        let Some((device_at, bad)) = newest else { return };
        let mut event = |kind: &str, offset_us: i64| {
            let detail = serde_json::json!({ "offset_s": offset_us as f64 / 1e6, "device_at": device_at.to_string() }).to_string();
            out.push(Effect::Event(DataEvent {
                at: batch.received_at,
                kind: kind.to_owned(),
                subject: batch.source.clone(),
                detail,
                enterprise: batch.enterprise,
            }));
        };
        let offset = device_at.since_us(batch.received_at);
        match (bad, self.clocks.contains_key(&batch.source)) {
            (true, false) => {
                event("clock_offset", offset);
                self.clocks.insert(batch.source.clone(), offset);
            }
            (false, true) => {
                event("clock_right", offset);
                self.clocks.remove(&batch.source);
            }
            _ => {}
        }
    }

    /// Whether the place of a position with these flags cannot be true.
    fn drifts(&self, vehicle: VehicleId, raw: &RawPosition, at: Timestamp, flags: Flags) -> bool {
        let (Some(rules), Some(held)) = (&self.drift_rules, self.whereabouts.get(&vehicle)) else { return false };
        if !can_drift(flags) {
            return false;
        }
        let late = flags.has(Flags::LATE) || flags.has(Flags::BACKFILL);
        let place = Wgs84 { lon: f64::from(raw.lon_e6) / 1e6, lat: f64::from(raw.lat_e6) / 1e6 };
        let satellites = item(&raw.items, ITEM_SATELLITES).and_then(|value| value.first().copied());
        (if late { &held.late } else { &held.live }).judge(rules, Seen { at, place }, satellites)
    }

    /// One event when a vehicle's place begins to be untrue.
    fn note_drift(&mut self, batch: &Bound, position: &Position, out: &mut Vec<Effect>) {
        if !position.flags.has(Flags::DRIFT) {
            return;
        }
        let held = self.whereabouts.entry(position.vehicle).or_default();
        let fresh = held.told_at.is_none_or(|told| batch.received_at.since_us(told) >= DRIFT_TOLD_US);
        let track = held.track(position.flags);
        let Some((metres, kmh)) = track.jump(seen(position)).filter(|_| fresh && !track.is_drifting()) else { return };
        held.told_at = Some(batch.received_at);
        let detail = serde_json::json!({ "distance_m": metres.round(), "implied_kmh": kmh.round(), "at": position.event_at.to_string() });
        out.push(Effect::Event(DataEvent {
            at: batch.received_at,
            kind: "drift".to_owned(),
            subject: batch.source.clone(),
            detail: detail.to_string(),
            enterprise: batch.enterprise,
        }));
    }

    fn note_late(&mut self, batch: &Bound, at: Timestamp, flags: Flags) {
        if !flags.has(Flags::LATE) && !flags.has(Flags::BACKFILL) {
            return;
        }
        if !self.stretches.contains_key(&batch.source) {
            let new =
                Stretch { from: at, to: at, n_readings: 0, heard_at: batch.received_at, enterprise: batch.enterprise, backfill: false };
            self.stretches.insert(batch.source.clone(), new);
            self.stretch_due = self.stretch_due.min(batch.received_at.plus_us(STRETCH_IDLE_US));
        }
        let Some(stretch) = self.stretches.get_mut(&batch.source) else { return };
        stretch.from = stretch.from.min(at);
        stretch.to = stretch.to.max(at);
        stretch.n_readings += 1;
        stretch.heard_at = stretch.heard_at.max(batch.received_at);
        stretch.backfill |= flags.has(Flags::BACKFILL);
    }

    fn end_stretches(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if now < self.stretch_due {
            return;
        }
        let ended = self.stretches.extract_if(.., |_, s| s.heard_at.plus_us(STRETCH_IDLE_US) <= now);
        for (subject, s) in ended.filter(|(_, s)| s.backfill || s.to.since_us(s.from) >= STRETCH_WORTH_US) {
            let detail =
                serde_json::json!({ "from": s.from.to_string(), "to": s.to.to_string(), "readings": s.n_readings, "backfill": s.backfill })
                    .to_string();
            out.push(Effect::Event(DataEvent { at: now, kind: "late_data".to_owned(), subject, detail, enterprise: s.enterprise }));
        }
        let first = self.stretches.values().map(|s| s.heard_at).min();
        self.stretch_due = first.map_or(Timestamp::MAX, |heard_at| heard_at.plus_us(STRETCH_IDLE_US));
    }
}

/// Whether place and time of a position are the terminal's own: a speed cannot be told from an instant that we chose.
fn can_drift(flags: Flags) -> bool {
    !(flags.has(Flags::NO_FIX) || flags.has(Flags::CLOCK_BAD) || flags.has(Flags::TIME_SERVER))
}

/// When and where a position was.
fn seen(position: &Position) -> Seen {
    Seen { at: position.event_at, place: position.place() }
}

/// A subject of a checkpoint before version 3; see [`super::shard_v1`].
#[derive(Deserialize)]
pub(super) struct SubjectV1 {
    config: SubjectConfig,
    live: MachineV1,
    historic: MachineV1,
    newest: Option<Newest>,
    pending: SmallVec<[Sample; 1]>,
    distrusted: BTreeMap<Timestamp, (Timestamp, (u64, u8))>,
    late_heard_at: Option<Timestamp>,
    _wake_at: Option<Timestamp>,
}

/// A shard of such a checkpoint.
#[derive(Deserialize)]
pub(super) struct ShardV1 {
    bounds: TimeBounds,
    subjects: BTreeMap<Subject, SubjectV1>,
    _wake: BTreeSet<(Timestamp, Subject)>,
    clocks: HashMap<String, i64>,
    stretches: BTreeMap<String, Stretch>,
}

impl ShardV1 {
    /// The same state in today's form.
    pub(super) fn into_shard(self, whereabouts: BTreeMap<VehicleId, Whereabouts>) -> Shard {
        let mut shard = Shard { clocks: self.clocks, stretches: self.stretches, whereabouts, ..Shard::new(self.bounds) };
        for (subject, old) in self.subjects {
            let rules = &old.config.rules;
            shard.take_over(SubjectState {
                subject,
                range: old.config.range,
                live: old.live.restore(rules),
                historic: old.late_heard_at.map(|_| Box::new(old.historic.restore(rules))),
                newest: old.newest,
                pending: old.pending,
                distrusted: old.distrusted,
                late_heard_at: old.late_heard_at,
                near_at: None,
                far_at: None,
                round: 0,
            });
        }
        shard
    }
}

/// One resolved value on its way to the machines.
struct Resolved {
    sample: Sample,
    newest: Newest,
    device_at: Option<Timestamp>,
    flags: Flags,
}

/// Identity: the instant and revision this value gets, or `None` if it is a repeat of what is kept.
fn resolve(
    state: &SubjectState,
    device_at: Option<Timestamp>,
    event_at: Timestamp,
    flags: Flags,
    key: (u64, u8),
    kept: &dyn Fn(Timestamp) -> Option<((u64, u8), u16)>,
) -> Option<(Timestamp, u16)> {
    let ours = flags.has(Flags::CLOCK_BAD) || flags.has(Flags::TIME_SERVER);
    if !ours {
        return match kept(event_at) {
            None => Some((event_at, 0)),
            Some((have, _)) if have == key => None,
            Some((_, revision)) => Some((event_at, revision.saturating_add(1))),
        };
    }
    // The instant is our choice, so it says nothing about identity; a distrusted device time does.
    if device_at.is_some_and(|device_at| state.distrusted.get(&device_at).is_some_and(|(_, have)| *have == key)) {
        return None;
    }
    (0..FREE_MICROSECOND_TRIES).map(|us| event_at.plus_us(us)).find(|at| kept(*at).is_none()).map(|at| (at, 0))
}

/// The event time of each value of one message (ARCHITECTURE, "Event time").
///
/// Input: device time, if any, and whether the value is marked as back-fill. Output in the same order.
pub fn event_times(device_times: &[(Option<Timestamp>, bool)], received_at: Timestamp, bounds: &TimeBounds) -> Vec<(Timestamp, Flags)> {
    let oldest = received_at.plus_us(-bounds.past_s.saturating_mul(1_000_000));
    let latest = received_at.plus_us(bounds.future_s.saturating_mul(1_000_000));
    let believed = |at: Timestamp, backfill: bool| at <= latest && (backfill || at >= oldest);
    let newest_distrusted = device_times.iter().filter_map(|&(at, backfill)| at.filter(|at| !believed(*at, backfill))).max();
    let one = |&(device_at, backfill): &(Option<Timestamp>, bool)| {
        let mark = if backfill { Flags::BACKFILL } else { Flags::empty() };
        match device_at {
            None => (received_at, mark.with(Flags::TIME_SERVER)),
            Some(at) if believed(at, backfill) => (at, mark),
            // The newest one happened now; the others keep their distance to it, within what we believe.
            Some(at) => (received_at.plus_us(at.since_us(newest_distrusted.unwrap_or(at))).max(oldest), mark.with(Flags::CLOCK_BAD)),
        }
    };
    device_times.iter().map(one).collect()
}

#[cfg(test)]
#[path = "shard_tests.rs"]
mod tests;
