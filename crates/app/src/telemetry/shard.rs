//! One shard of the telemetry path: what a batch becomes. Readings get their event time, repeats are dropped, rules judge in event order.
//!
//! Plain and synchronous: batch + now in, one log record out. No sockets, no files, no clock; history is asked through [`Lookup`].
//! Start at [`Shard::step`]; recovery calls [`Shard::replay`] with logged records and only rebuilds state.
//!
//! Two halves. *Resolving* decides event time, identity and revision against history, and is done once, before logging.
//! *Applying* feeds resolved readings to the alarm machines, and is what replay repeats: it depends on logged records alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anlan_domain::alarm::{Machine, Rule, Sample};
use anlan_domain::road::Drift;
use anlan_domain::road::drift::Seen;
use anlan_domain::road::rules::DriftRules;
use anlan_model::{
    AlarmId, DataEvent, Effect, EnterpriseId, Flags, Kept, PointId, Position, Quality, RawPosition, Reading, Reply, Subject, Timestamp,
    VehicleId, Wgs84, item,
};
use serde::{Deserialize, Serialize};

/// Bounds of a believable device time, relative to when it was received (ARCHITECTURE, "Event time").
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimeBounds {
    /// A device time older than this is only believed when marked as back-fill. Seconds, default 86,400.
    pub past_s: i64,
    /// A device time further ahead than this is never believed. Seconds, default 120.
    pub future_s: i64,
    /// How long rules wait for readings that overtook each other. Milliseconds, default 400, at most 1,000.
    pub reorder_ms: i64,
}

impl Default for TimeBounds {
    fn default() -> Self {
        Self { past_s: 86_400, future_s: 120, reorder_ms: 400 }
    }
}

/// What history knows about an instant; asked only when a reading is not newer than the newest.
pub trait Lookup {
    /// Newest revision at exactly this instant.
    fn reading(&self, point: PointId, at: Timestamp) -> Option<Reading>;
    /// CRC of the position body at exactly this instant.
    fn position(&self, vehicle: VehicleId, at: Timestamp) -> Option<u32>;
}

/// History and what this batch has already decided: the values of one message can fall on each other too.
struct Past<'a> {
    history: &'a dyn Lookup,
    readings: HashMap<(PointId, Timestamp), Reading>,
    positions: HashMap<(VehicleId, Timestamp), u32>,
}

impl Lookup for Past<'_> {
    fn reading(&self, point: PointId, at: Timestamp) -> Option<Reading> {
        self.readings.get(&(point, at)).copied().or_else(|| self.history.reading(point, at))
    }
    fn position(&self, vehicle: VehicleId, at: Timestamp) -> Option<u32> {
        self.positions.get(&(vehicle, at)).copied().or_else(|| self.history.position(vehicle, at))
    }
}

/// One value bound to its point.
#[derive(Clone, Debug)]
pub struct BoundReading {
    /// Point.
    pub point: PointId,
    /// Device time, if any.
    pub device_at: Option<Timestamp>,
    /// Value.
    pub value: f64,
    /// Quality as sent.
    pub quality: Quality,
}

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
    pub rules: Vec<Rule>,
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
    /// Counts for the reply.
    pub kept: Kept,
}

#[derive(Debug, Serialize, Deserialize)]
struct SubjectState {
    config: SubjectConfig,
    live: Machine,
    historic: Machine,
    newest: Option<Newest>,
    /// Samples waiting for readings that they may have overtaken, in event order.
    pending: Vec<Sample>,
    /// Device times of readings whose clock was not believed, for finding repeats; 24 h deep.
    distrusted: BTreeMap<Timestamp, (Timestamp, (u64, u8))>,
    /// When late data of this subject was last heard, while a stretch of it is open.
    late_heard_at: Option<Timestamp>,
    /// When this subject wants to be looked at again; mirrors `Shard::wake`.
    wake_at: Option<Timestamp>,
}

/// A stretch of late or back-filled data of one source, summed up when it ends.
#[derive(Debug, Serialize, Deserialize)]
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
#[derive(Debug, Serialize, Deserialize)]
pub struct Shard {
    bounds: TimeBounds,
    subjects: BTreeMap<Subject, SubjectState>,
    wake: BTreeSet<(Timestamp, Subject)>,
    /// Offset of each source whose clock is off, µs (device minus ours).
    clocks: HashMap<String, i64>,
    stretches: BTreeMap<String, Stretch>,
    /// When a place cannot be true; `None`: nothing is marked. Of the pack, so it is set at every start.
    #[serde(skip)]
    drift_rules: Option<DriftRules>,
    /// Where vehicles are believed to be. Stands behind the shards in a checkpoint: those of the first format end before it.
    #[serde(skip)]
    whereabouts: BTreeMap<VehicleId, Whereabouts>,
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
            subjects: BTreeMap::new(),
            wake: BTreeSet::new(),
            clocks: HashMap::new(),
            stretches: BTreeMap::new(),
            drift_rules: None,
            whereabouts: BTreeMap::new(),
        }
    }

    /// Takes over changed settings, after a restart.
    pub fn set_bounds(&mut self, bounds: TimeBounds) {
        self.bounds = bounds;
    }

    /// Says when a place cannot be true.
    pub fn set_drift_rules(&mut self, rules: DriftRules) {
        self.drift_rules = Some(rules);
    }

    /// What a checkpoint keeps beside the shard.
    pub fn whereabouts(&self) -> &BTreeMap<VehicleId, Whereabouts> {
        &self.whereabouts
    }

    /// Takes over what a checkpoint kept.
    pub fn set_whereabouts(&mut self, whereabouts: BTreeMap<VehicleId, Whereabouts>) {
        self.whereabouts = whereabouts;
    }

    /// The configuration a subject has here.
    pub fn config(&self, subject: Subject) -> Option<&SubjectConfig> {
        self.subjects.get(&subject).map(|state| &state.config)
    }

    /// Every subject configured here, in order.
    pub fn subjects(&self) -> impl Iterator<Item = Subject> + '_ {
        self.subjects.keys().copied()
    }

    /// Takes over rules and ranges; an absent subject is created. Alarms of rules that went are returned at `now`.
    pub fn configure(&mut self, configs: &[SubjectConfig], now: Timestamp, out: &mut Vec<Effect>) {
        let mut changes = Vec::new();
        for config in configs {
            match self.subjects.get_mut(&config.subject) {
                Some(state) => {
                    state.config = config.clone();
                    state.live.set_rules(config.rules.clone(), now, &mut changes);
                    state.historic.set_rules(config.rules.clone(), now, &mut changes);
                }
                None => {
                    let mut state = SubjectState {
                        config: config.clone(),
                        live: Machine::new(config.subject, config.rules.clone(), false),
                        historic: Machine::new(config.subject, config.rules.clone(), true),
                        newest: config.newest,
                        pending: Vec::new(),
                        distrusted: BTreeMap::new(),
                        late_heard_at: None,
                        wake_at: None,
                    };
                    if let Some(newest) = config.newest {
                        let (key, quality) = newest.key;
                        let value = if let Subject::Point(_) = config.subject { f64::from_bits(key) } else { 0.0 };
                        state.live.seed(Sample {
                            at: newest.at,
                            heard_at: now,
                            value,
                            bits: 0,
                            usable: Quality::from_code(quality) != Quality::Bad,
                        });
                    }
                    self.subjects.insert(config.subject, state);
                }
            }
            self.reschedule(config.subject);
        }
        out.extend(changes.into_iter().map(Effect::Alarm));
    }

    /// Forgets subjects that moved away or were deleted; their standing alarms return at `now`.
    pub fn forget(&mut self, subjects: &[Subject], now: Timestamp, out: &mut Vec<Effect>) {
        for subject in subjects {
            if let Subject::Vehicle(id) = subject {
                self.whereabouts.remove(id);
            }
            if let Some(mut state) = self.subjects.remove(subject) {
                let mut changes = Vec::new();
                state.live.set_rules(Vec::new(), now, &mut changes);
                state.historic.set_rules(Vec::new(), now, &mut changes);
                out.extend(changes.into_iter().map(Effect::Alarm));
                if let Some(at) = state.wake_at {
                    self.wake.remove(&(at, *subject));
                }
            }
        }
    }

    /// The node was down until `now`: nobody is blamed for silence before it.
    pub fn wake_up(&mut self, now: Timestamp) {
        let subjects: Vec<Subject> = self.subjects.keys().copied().collect();
        for subject in subjects {
            if let Some(state) = self.subjects.get_mut(&subject) {
                state.live.excuse_silence(now);
            }
            self.reschedule(subject);
        }
    }

    /// Takes one batch: event times, repeats, revisions, rules. The caller logs the output and only then answers.
    pub fn step(&mut self, batch: &Bound, now: Timestamp, lookup: &dyn Lookup, new_id: &mut dyn FnMut(Timestamp) -> AlarmId) -> Output {
        let mut out = Output { effects: batch.effects.clone(), ..Output::default() };
        self.pass_time(now, new_id, &mut out.effects);
        let of_readings = batch.readings.iter().map(|r| (r.device_at, batch.backfill));
        let of_positions = batch.positions.iter().map(|(_, p)| (p.device_at, batch.backfill || p.backfill));
        let device_times: Vec<_> = of_readings.chain(of_positions).collect();
        let event_times = event_times(&device_times, batch.received_at, &self.bounds);
        self.note_clock(batch, &device_times, &event_times, &mut out.effects);
        let (for_readings, for_positions) = event_times.split_at(batch.readings.len());
        let mut past = Past { history: lookup, readings: HashMap::new(), positions: HashMap::new() };

        // Point by point and in event order, so that rules and revisions see time run forward; the log gives readings back in this order.
        let mut order: Vec<usize> = (0..batch.readings.len()).collect();
        order.sort_by_key(|&i| (batch.readings[i].point, for_readings[i].0));
        for i in order {
            match self.resolve_reading(&batch.readings[i], for_readings[i], batch.received_at, &past) {
                Some(reading) => {
                    past.readings.insert((reading.point, reading.event_at), reading);
                    self.note_late(batch, reading.event_at, reading.flags);
                    self.apply_reading(&reading, now, new_id, &mut out.effects);
                    out.readings.push(reading);
                    out.kept.stored += 1;
                }
                None => out.kept.repeated += 1,
            }
        }
        let mut order: Vec<usize> = (0..batch.positions.len()).collect();
        order.sort_by_key(|&i| for_positions[i].0);
        for i in order {
            let (vehicle, raw) = &batch.positions[i];
            match self.resolve_position(*vehicle, raw, for_positions[i], batch.received_at, &past) {
                Some(position) => {
                    past.positions.insert((*vehicle, position.event_at), position.body_crc);
                    self.note_late(batch, position.event_at, position.flags);
                    self.note_drift(batch, &position, &mut out.effects);
                    self.apply_position(&position, now, new_id, &mut out.effects);
                    out.positions.push(position);
                    out.kept.stored += 1;
                }
                None => out.kept.repeated += 1,
            }
        }
        self.pass_time(now, new_id, &mut out.effects);
        out
    }

    /// Lets time pass without input: reorder windows, delays, silence, ends of late stretches.
    pub fn tick(&mut self, now: Timestamp, new_id: &mut dyn FnMut(Timestamp) -> AlarmId) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.pass_time(now, new_id, &mut effects);
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
            self.apply_reading(reading, now, new_id, &mut effects);
        }
        for position in positions {
            self.apply_position(position, now, new_id, &mut effects);
        }
        self.pass_time(now, new_id, &mut effects);
        effects
    }

    fn resolve_reading(
        &self,
        raw: &BoundReading,
        (event_at, mut flags): (Timestamp, Flags),
        received_at: Timestamp,
        lookup: &dyn Lookup,
    ) -> Option<Reading> {
        let state = self.subjects.get(&Subject::Point(raw.point))?;
        let key = (raw.value.to_bits(), raw.quality.code());
        if state.config.range.is_some_and(|(low, high)| raw.value < low || raw.value > high) {
            flags = flags.with(Flags::OUT_OF_RANGE);
        }
        let kept = |at: Timestamp| -> Option<((u64, u8), u16)> {
            match state.newest {
                None => None,
                Some(newest) if at > newest.at => None,
                Some(newest) if at == newest.at => Some((newest.key, newest.revision)),
                Some(_) => lookup.reading(raw.point, at).map(|r| ((r.value.to_bits(), r.quality.code()), r.revision)),
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
        let state = self.subjects.get(&Subject::Vehicle(vehicle))?;
        let key = (u64::from(raw.body_crc), 0);
        let kept = |at: Timestamp| -> Option<((u64, u8), u16)> {
            match state.newest {
                None => None,
                Some(newest) if at > newest.at => None,
                Some(newest) if at == newest.at => Some((newest.key, 0)),
                Some(_) => lookup.position(vehicle, at).map(|crc| ((u64::from(crc), 0), 0)),
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

    fn apply_reading(&mut self, reading: &Reading, now: Timestamp, new_id: &mut dyn FnMut(Timestamp) -> AlarmId, out: &mut Vec<Effect>) {
        let sample = Sample {
            at: reading.event_at,
            heard_at: reading.received_at,
            value: reading.value,
            bits: 0,
            usable: reading.quality != Quality::Bad,
        };
        let newest = Newest { at: reading.event_at, key: (reading.value.to_bits(), reading.quality.code()), revision: reading.revision };
        self.apply(
            Subject::Point(reading.point),
            Resolved { sample, newest, device_at: reading.device_at, flags: reading.flags },
            now,
            new_id,
            out,
        );
    }

    fn apply_position(&mut self, position: &Position, now: Timestamp, new_id: &mut dyn FnMut(Timestamp) -> AlarmId, out: &mut Vec<Effect>) {
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
        self.apply(
            Subject::Vehicle(position.vehicle),
            Resolved { sample, newest, device_at: position.device_at, flags: position.flags },
            now,
            new_id,
            out,
        );
    }

    fn apply(
        &mut self,
        subject: Subject,
        kept: Resolved,
        now: Timestamp,
        new_id: &mut dyn FnMut(Timestamp) -> AlarmId,
        out: &mut Vec<Effect>,
    ) {
        let Some(state) = self.subjects.get_mut(&subject) else { return };
        let Resolved { sample, newest, device_at, flags } = kept;
        if let (true, Some(device_at)) = (flags.has(Flags::CLOCK_BAD), device_at) {
            state.distrusted.insert(device_at, (sample.at, newest.key));
            if state.distrusted.len() > DISTRUSTED_MAX {
                state.distrusted.pop_first();
            }
        }
        if state.newest.is_none_or(|have| (newest.at, newest.revision) >= (have.at, have.revision)) {
            state.newest = Some(newest);
        }
        let judged = state.live.last().map(|s| s.at);
        let live = !flags.has(Flags::BACKFILL) && !flags.has(Flags::REVISED) && judged.is_none_or(|at| sample.at > at);
        let mut changes = Vec::new();
        if !flags.has(Flags::BACKFILL) {
            // Heard is heard, also while the sample waits its turn and when the device's clock stepped back.
            state.live.hear(sample.heard_at, &mut changes);
        }
        if live {
            let at = state.pending.partition_point(|s| s.at < sample.at);
            state.pending.insert(at, sample);
        } else {
            // A straggler of a rule that stands live would only repeat it as a second alarm; other rules must still speak.
            let live = &state.live;
            let muted = |rule: &str| !flags.has(Flags::BACKFILL) && live.stands(rule);
            state.historic.sample_unless(&muted, sample, now, new_id, &mut changes);
            state.late_heard_at = Some(sample.heard_at);
        }
        out.extend(changes.into_iter().map(Effect::Alarm));
        if state.pending.len() > PENDING_MAX {
            let mut changes = Vec::new();
            let first = state.pending.remove(0);
            state.live.sample(first, now, new_id, &mut changes);
            out.extend(changes.into_iter().map(Effect::Alarm));
        }
        self.reschedule(subject);
    }

    /// Runs everything due by `now`, in order of its due time.
    fn pass_time(&mut self, now: Timestamp, new_id: &mut dyn FnMut(Timestamp) -> AlarmId, out: &mut Vec<Effect>) {
        let reorder_us = self.reorder_us();
        let mut changes = Vec::new();
        while let Some(&(at, subject)) = self.wake.first()
            && at <= now
        {
            self.wake.pop_first();
            let Some(state) = self.subjects.get_mut(&subject) else { continue };
            state.wake_at = None;
            // A due sample takes along all that are earlier in event time.
            let n_due = state.pending.iter().rposition(|s| s.heard_at.plus_us(reorder_us) <= now).map_or(0, |i| i + 1);
            for sample in state.pending.drain(..n_due) {
                state.live.sample(sample, now, new_id, &mut changes);
            }
            state.live.tick(now, new_id, &mut changes);
            if state.late_heard_at.is_some_and(|heard| heard.plus_us(STRETCH_IDLE_US) <= now) {
                state.late_heard_at = None;
                state.historic.finish(&mut changes);
            }
            self.reschedule_after(subject, now);
        }
        out.extend(changes.into_iter().map(Effect::Alarm));
        self.end_stretches(now, out);
    }

    fn reorder_us(&self) -> i64 {
        self.bounds.reorder_ms.clamp(0, 1_000) * 1_000
    }

    fn reschedule(&mut self, subject: Subject) {
        self.reschedule_after(subject, Timestamp::MIN);
    }

    /// Plans the next look at a subject, never at or before `after`: what could not be done by then waits for the next sample.
    fn reschedule_after(&mut self, subject: Subject, after: Timestamp) {
        let reorder_us = self.reorder_us();
        let Some(state) = self.subjects.get_mut(&subject) else { return };
        let pending = state.pending.iter().map(|s| s.heard_at.plus_us(reorder_us)).min();
        let late = state.late_heard_at.map(|at| at.plus_us(STRETCH_IDLE_US));
        let wake_at = [pending, state.live.next_due(), late].into_iter().flatten().min().map(|at| at.max(after.plus_us(1)));
        if wake_at != state.wake_at {
            if let Some(at) = state.wake_at.take() {
                self.wake.remove(&(at, subject));
            }
            if let Some(at) = wake_at {
                self.wake.insert((at, subject));
            }
            state.wake_at = wake_at;
        }
    }

    /// How many subjects want to be looked at by `now`.
    pub fn due(&self, now: Timestamp) -> usize {
        self.wake.iter().take_while(|(at, _)| *at <= now).count()
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
        let stretch = self.stretches.entry(batch.source.clone()).or_insert(Stretch {
            from: at,
            to: at,
            n_readings: 0,
            heard_at: batch.received_at,
            enterprise: batch.enterprise,
            backfill: false,
        });
        stretch.from = stretch.from.min(at);
        stretch.to = stretch.to.max(at);
        stretch.n_readings += 1;
        stretch.heard_at = stretch.heard_at.max(batch.received_at);
        stretch.backfill |= flags.has(Flags::BACKFILL);
    }

    fn end_stretches(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let ended = self.stretches.extract_if(.., |_, s| s.heard_at.plus_us(STRETCH_IDLE_US) <= now);
        for (subject, s) in ended.filter(|(_, s)| s.backfill || s.to.since_us(s.from) >= STRETCH_WORTH_US) {
            let detail =
                serde_json::json!({ "from": s.from.to_string(), "to": s.to.to_string(), "readings": s.n_readings, "backfill": s.backfill })
                    .to_string();
            out.push(Effect::Event(DataEvent { at: now, kind: "late_data".to_owned(), subject, detail, enterprise: s.enterprise }));
        }
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
