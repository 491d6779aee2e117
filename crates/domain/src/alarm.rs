//! Alarm lifecycle of one subject: every rule of a point or vehicle, from normal over pending and standing back to normal.
//!
//! Pure: state + sample + time in, changes out. No clock, no database, no log; ids come from the caller.
//! Owns the *condition* only (raised, returned); acknowledging and closing are people's and live in `store` and `app`.
//! Start at [`Machine::sample`] and [`Machine::tick`]. Thresholds come from packs ([`crate::pack`]).

use std::sync::Arc;

use anlan_model::{AlarmChange, AlarmId, RaisedAlarm, RuleKind, Subject, Timestamp};
use serde::{Deserialize, Serialize};

mod rule;

pub use rule::{Rule, Shelf, Terms};

/// What a device said at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Event time.
    pub at: Timestamp,
    /// When it was received.
    pub heard_at: Timestamp,
    /// Value of the point; km/h of a vehicle.
    pub value: f64,
    /// JT/T 808 alarm word; 0 for points.
    pub bits: u32,
    /// `false` = bad quality: proves life and range, says nothing about limits.
    pub usable: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
enum Phase {
    #[default]
    Normal,
    Pending {
        since: Timestamp,
        heard_at: Timestamp,
        value: f64,
    },
    Standing {
        id: AlarmId,
    },
    Leaving {
        id: AlarmId,
        since: Timestamp,
        heard_at: Timestamp,
    },
}

/// All rules of one subject with their state. Serializable, as it is part of a shard's checkpoint, but for the rules: thousands of subjects
/// share them, so they are kept apart and given back by [`Machine::restore`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    subject: Subject,
    /// `true` = judges late and back-filled data: occurrences are marked historic, silence is not judged.
    historic: bool,
    #[serde(skip)]
    rules: Arc<[Rule]>,
    /// The shortest silence that a rule calls stale, microseconds; follows from the rules.
    #[serde(skip)]
    silence_us: Option<i64>,
    /// Follows from the rules.
    #[serde(skip)]
    calm: Calm,
    /// One per rule; none at all while every rule is normal, as nearly every subject is nearly always.
    phases: Vec<Phase>,
    last: Option<Sample>,
}

impl Machine {
    /// A machine with nothing heard yet.
    pub fn new(subject: Subject, rules: impl Into<Arc<[Rule]>>, historic: bool) -> Self {
        let rules = rules.into();
        Self { subject, historic, silence_us: silence_us(&rules), calm: Calm::of(&rules), rules, phases: Vec::new(), last: None }
    }

    /// Gives a deserialized machine its rules back, the same and in the same order.
    pub fn restore(&mut self, rules: Arc<[Rule]>) {
        (self.silence_us, self.calm) = (silence_us(&rules), Calm::of(&rules));
        self.rules = rules;
        if self.phases.len() != self.rules.len() {
            self.phases.clear();
        }
    }

    /// What it judges by.
    pub fn rules(&self) -> &Arc<[Rule]> {
        &self.rules
    }

    /// Newest sample judged.
    pub fn last(&self) -> Option<&Sample> {
        self.last.as_ref()
    }

    /// Whether no condition stands or is about to, and `sample`, the next in event order, would change nothing of that: whoever judges it
    /// later, or not before he judges the one behind it, says the same.
    pub fn stays_quiet(&self, sample: &Sample) -> bool {
        self.phases.is_empty() && self.calm.holds(sample, self.last.as_ref())
    }

    /// Whether a condition of `rule` stands now.
    pub fn stands(&self, rule: &str) -> bool {
        let standing = |phase: &Phase| matches!(phase, Phase::Standing { .. } | Phase::Leaving { .. });
        self.rules.iter().zip(&self.phases).any(|(r, phase)| r.id == rule && standing(phase))
    }

    /// The occurrence of a rule of `kind` that stands now.
    pub fn standing(&self, kind: RuleKind) -> Option<AlarmId> {
        self.rules.iter().zip(&self.phases).find_map(|(rule, phase)| match phase {
            Phase::Standing { id } | Phase::Leaving { id, .. } if rule.kind == kind => Some(*id),
            _ => None,
        })
    }

    /// Forgets phases that say nothing.
    fn tidy(&mut self) {
        if self.phases.iter().all(|phase| *phase == Phase::Normal) {
            self.phases = Vec::new();
        }
    }

    /// Changes the rules. A rule that stays (same id) keeps its state and is judged anew at the next sample; one that goes returns its alarm at `now`.
    pub fn set_rules(&mut self, rules: impl Into<Arc<[Rule]>>, now: Timestamp, out: &mut Vec<AlarmChange>) {
        let old = std::mem::replace(self, Self::new(self.subject, rules, self.historic));
        self.last = old.last;
        let mut left: Vec<(&Rule, Phase)> = old.rules.iter().zip(old.phases).collect();
        if left.is_empty() {
            return;
        }
        let mut keep = |rule: &Rule| {
            let at = left.iter().position(|(was, _)| was.id == rule.id);
            at.map_or(Phase::Normal, |at| left.swap_remove(at).1)
        };
        self.phases = self.rules.iter().map(&mut keep).collect();
        for (_, phase) in left {
            if let Phase::Standing { id } | Phase::Leaving { id, .. } = phase {
                out.push(AlarmChange::Returned { id, at: now });
            }
        }
        self.tidy();
    }

    /// Judges one sample. Samples must come in event order; one that is not newer than the last is ignored.
    ///
    /// `new_id` is called once per raised alarm with its raising time.
    pub fn sample(&mut self, sample: Sample, now: Timestamp, new_id: &mut dyn FnMut(Timestamp) -> AlarmId, out: &mut Vec<AlarmChange>) {
        self.sample_unless(&|_| false, sample, now, new_id, out);
    }

    /// Like [`Self::sample`], but a rule for which `muted` says yes raises nothing: the same condition already stands elsewhere.
    pub fn sample_unless(
        &mut self,
        muted: &dyn Fn(&str) -> bool,
        sample: Sample,
        now: Timestamp,
        new_id: &mut dyn FnMut(Timestamp) -> AlarmId,
        out: &mut Vec<AlarmChange>,
    ) {
        if self.last.is_some_and(|last| sample.at <= last.at) {
            return;
        }
        let before = self.last.replace(sample);
        if self.phases.is_empty() {
            if self.calm.holds(&sample, before.as_ref()) {
                return;
            }
            let breached =
                |rule: &Rule| matches!(breaches(rule, &sample, before.as_ref(), false), Some((true, _))) && !is_deaf(self.historic, rule);
            if !self.rules.iter().any(breached) {
                return;
            }
            self.phases.resize(self.rules.len(), Phase::Normal);
        }
        let Self { subject, historic, rules, phases, .. } = self;
        for (rule, phase) in rules.iter().zip(phases) {
            let standing = matches!(phase, Phase::Standing { .. } | Phase::Leaving { .. });
            let Some((breach, value)) = breaches(rule, &sample, before.as_ref(), standing) else { continue };
            if breach && *phase == Phase::Normal && (muted(&rule.id) || is_deaf(*historic, rule)) {
                continue;
            }
            let is_flat = rule.kind == RuleKind::FlatLine;
            let raise = |onset: Timestamp, value: f64, id: AlarmId| raised(*subject, *historic, rule, onset, now, Some(value), id);
            let next = match (std::mem::take(phase), breach) {
                (Phase::Normal, false) | (Phase::Pending { .. }, false) => Phase::Normal,
                (Phase::Normal, true) if rule.on_delay_us <= 0 => {
                    let id = new_id(now);
                    out.push(raise(sample.at, value, id));
                    Phase::Standing { id }
                }
                (Phase::Normal, true) => {
                    // The first of two equal values is where the line began.
                    let since = before.filter(|_| is_flat).map_or(sample.at, |before| before.at);
                    Phase::Pending { since, heard_at: sample.heard_at, value }
                }
                (Phase::Pending { since, .. }, true) if sample.at.since_us(since) >= rule.on_delay_us => {
                    let id = new_id(now);
                    // In the unit of its limit: how long nothing moved, in seconds.
                    let value = if is_flat { sample.at.since_us(since) as f64 / 1e6 } else { value };
                    out.push(raise(since, value, id));
                    Phase::Standing { id }
                }
                (Phase::Pending { since, heard_at, .. }, true) => Phase::Pending { since, heard_at, value },
                (Phase::Standing { id } | Phase::Leaving { id, .. }, true) => Phase::Standing { id },
                (Phase::Standing { id }, false) if rule.off_delay_us <= 0 => {
                    out.push(AlarmChange::Returned { id, at: sample.at });
                    Phase::Normal
                }
                (Phase::Standing { id }, false) => Phase::Leaving { id, since: sample.at, heard_at: sample.heard_at },
                (Phase::Leaving { id, since, .. }, false) if sample.at.since_us(since) >= rule.off_delay_us => {
                    out.push(AlarmChange::Returned { id, at: since });
                    Phase::Normal
                }
                (leaving @ Phase::Leaving { .. }, false) => leaving,
            };
            *phase = next;
        }
        self.tidy();
    }

    /// Lets time pass: delays that end without a further sample, and silence.
    ///
    /// Delays run from when the sample was *heard*, so a device whose clock is hours slow is not judged at once.
    pub fn tick(&mut self, now: Timestamp, new_id: &mut dyn FnMut(Timestamp) -> AlarmId, out: &mut Vec<AlarmChange>) {
        if self.historic || self.next_due().is_none_or(|due| due > now) {
            return;
        }
        self.phases.resize(self.rules.len(), Phase::Normal);
        let Self { subject, rules, phases, last, .. } = self;
        for (rule, phase) in rules.iter().zip(phases) {
            match phase {
                // Time alone makes no line flat: it takes values that arrive and are the same.
                Phase::Pending { since, heard_at, value }
                    if now.since_us(*heard_at) >= rule.on_delay_us && rule.kind != RuleKind::FlatLine =>
                {
                    let id = new_id(now);
                    out.push(raised(*subject, false, rule, *since, now, Some(*value), id));
                    *phase = Phase::Standing { id };
                }
                Phase::Leaving { id, since, heard_at } if now.since_us(*heard_at) >= rule.off_delay_us => {
                    out.push(AlarmChange::Returned { id: *id, at: *since });
                    *phase = Phase::Normal;
                }
                Phase::Normal if rule.kind == RuleKind::Stale => {
                    let Some(last) = last else { continue };
                    let limit_us = (rule.threshold * 1e6) as i64;
                    if now.since_us(last.heard_at) > limit_us {
                        let id = new_id(now);
                        // The last event plus the limit, but never in the future of a device whose clock runs ahead.
                        let onset = last.at.plus_us(limit_us).min(now);
                        // In the unit of its limit: how long nothing was heard, in seconds.
                        let silence_s = now.since_us(last.heard_at) as f64 / 1e6;
                        out.push(raised(*subject, false, rule, onset, now, Some(silence_s), id));
                        *phase = Phase::Standing { id };
                    }
                }
                _ => {}
            }
        }
        self.tidy();
    }

    /// What was known before this machine was made: a subject that comes from another shard is not new, and can fall silent.
    pub fn seed(&mut self, last: Sample) {
        self.last = Some(last);
    }

    /// The device was heard at `heard_at`, whatever it said and whichever instant it spoke of: it is not silent.
    pub fn hear(&mut self, heard_at: Timestamp, out: &mut Vec<AlarmChange>) {
        let Some(last) = &mut self.last else { return };
        last.heard_at = last.heard_at.max(heard_at);
        if self.phases.is_empty() {
            return;
        }
        for (rule, phase) in self.rules.iter().zip(&mut self.phases) {
            if let (RuleKind::Stale, Phase::Standing { id }) = (rule.kind, &*phase) {
                out.push(AlarmChange::Returned { id: *id, at: heard_at });
                *phase = Phase::Normal;
            }
        }
        self.tidy();
    }

    /// Silence before `now` was ours, not the device's: the node was down. The clock of silence starts afresh.
    pub fn excuse_silence(&mut self, now: Timestamp) {
        if let Some(last) = &mut self.last {
            last.heard_at = last.heard_at.max(now);
        }
    }

    /// The earliest instant at which [`Self::tick`] could change something.
    pub fn next_due(&self) -> Option<Timestamp> {
        if self.historic {
            return None;
        }
        if self.phases.is_empty() {
            return Some(self.last?.heard_at.plus_us(self.silence_us?));
        }
        let due = |(i, rule): (usize, &Rule)| match self.phases.get(i).unwrap_or(&Phase::Normal) {
            Phase::Pending { .. } if rule.kind == RuleKind::FlatLine => None,
            Phase::Pending { heard_at, .. } => Some(heard_at.plus_us(rule.on_delay_us)),
            Phase::Leaving { heard_at, .. } => Some(heard_at.plus_us(rule.off_delay_us)),
            Phase::Normal if rule.kind == RuleKind::Stale => self.last.map(|last| last.heard_at.plus_us(stale_after_us(rule))),
            Phase::Normal | Phase::Standing { .. } => None,
        };
        self.rules.iter().enumerate().filter_map(due).min()
    }

    /// Ends a stretch of historic data: what still stands returns at its last sample, and the state starts afresh.
    pub fn finish(&mut self, out: &mut Vec<AlarmChange>) {
        let at = self.last.map_or(Timestamp::EPOCH, |s| s.at);
        for phase in std::mem::take(&mut self.phases) {
            if let Phase::Standing { id } | Phase::Leaving { id, .. } = phase {
                out.push(AlarmChange::Returned { id, at });
            }
        }
        self.last = None;
    }
}

/// A machine as checkpoints held it when every machine carried its rules. Read only.
#[derive(Debug, Deserialize)]
pub struct MachineV1 {
    subject: Subject,
    historic: bool,
    rules: Vec<(Rule, Phase)>,
    last: Option<Sample>,
}

impl MachineV1 {
    /// The same state over `rules`, matched by id.
    pub fn restore(self, rules: &Arc<[Rule]>) -> Machine {
        let phase = |rule: &Rule| self.rules.iter().find(|(was, _)| was.id == rule.id).map(|(_, phase)| phase.clone()).unwrap_or_default();
        let phases = rules.iter().map(phase).collect();
        let mut machine = Machine { phases, last: self.last, ..Machine::new(self.subject, Arc::clone(rules), self.historic) };
        machine.tidy();
        machine
    }
}

fn stale_after_us(rule: &Rule) -> i64 {
    (rule.threshold * 1e6) as i64 + 1
}

fn silence_us(rules: &[Rule]) -> Option<i64> {
    rules.iter().filter(|rule| rule.kind == RuleKind::Stale).map(stale_after_us).min()
}

/// What a sample must keep to, so that none of the rules is broken: nearly every sample is told by a few comparisons, without a look at
/// the rules, which lie elsewhere. Errs on the side of looking.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Calm {
    above: f64,
    below: f64,
    /// Change per minute; infinite without such a rule.
    rate: f64,
    bits: u32,
    flat: bool,
}

impl Default for Calm {
    fn default() -> Self {
        Self { above: f64::NEG_INFINITY, below: f64::INFINITY, rate: f64::INFINITY, bits: 0, flat: false }
    }
}

impl Calm {
    fn of(rules: &[Rule]) -> Self {
        let mut calm = Self::default();
        for rule in rules {
            match rule.kind {
                // Any sample ends a silence; a combination is no rule of a sample.
                RuleKind::Stale | RuleKind::Combination => {}
                RuleKind::OutOfRange => {
                    calm.above = calm.above.max(rule.threshold);
                    calm.below = calm.below.min(rule.upper.unwrap_or(f64::INFINITY));
                }
                RuleKind::FlatLine => calm.flat = true,
                RuleKind::TerminalBit => calm.bits |= 1 << rule.bit.min(31),
                RuleKind::Hh | RuleKind::H | RuleKind::Overspeed => calm.below = calm.below.min(rule.threshold),
                RuleKind::L | RuleKind::Ll => calm.above = calm.above.max(rule.threshold),
                RuleKind::Rate => calm.rate = calm.rate.min(rule.threshold),
            }
        }
        calm
    }

    /// `false` for a sample that may break a rule, or whose quality or neighbour makes it a case of its own.
    fn holds(&self, sample: &Sample, before: Option<&Sample>) -> bool {
        let value = sample.value;
        sample.usable
            && value > self.above
            && value < self.below
            && sample.bits & self.bits == 0
            && !(self.flat && before.is_some_and(|b| b.value.to_bits() == value.to_bits()))
            && (self.rate == f64::INFINITY || before.is_none_or(|b| rate_per_min(b, sample).abs() < self.rate))
    }
}

fn rate_per_min(before: &Sample, sample: &Sample) -> f64 {
    (sample.value - before.value) / (sample.at.since_us(before.at) as f64 / 60e6)
}

/// Whether a rule says nothing about late and back-filled data: stragglers are too few to tell a flat line from a gap.
fn is_deaf(historic: bool, rule: &Rule) -> bool {
    historic && rule.kind == RuleKind::FlatLine
}

/// Whether the sample breaks the rule, and the value that says so; `None` if it cannot tell.
fn breaches(rule: &Rule, sample: &Sample, before: Option<&Sample>, standing: bool) -> Option<(bool, f64)> {
    let slack = if standing { rule.deadband } else { 0.0 };
    let value = sample.value;
    match rule.kind {
        // Any sample ends a silence, a bad one too: the device lives.
        RuleKind::Stale => Some((false, value)),
        // A bad value out of range is exactly what this rule is for.
        RuleKind::OutOfRange => Some((value < rule.threshold || rule.upper.is_some_and(|upper| value > upper), value)),
        // A bad value ends it: what it means is told already. So does a silence as long as the limit: nobody saw whether it moved.
        RuleKind::FlatLine => {
            let same = |b: &Sample| b.usable && b.value.to_bits() == value.to_bits() && sample.at.since_us(b.at) < rule.on_delay_us;
            Some((sample.usable && before.is_some_and(same), value))
        }
        RuleKind::TerminalBit => Some((sample.bits >> rule.bit.min(31) & 1 == 1, 1.0)),
        // Made of alarms, not of samples: see `crate::combination`.
        RuleKind::Combination => None,
        _ if !sample.usable => None,
        // The set value itself alarms: a detector set to 25 %LEL alarms at 25 %LEL.
        RuleKind::Hh | RuleKind::H => Some((value >= rule.threshold - slack, value)),
        RuleKind::L | RuleKind::Ll => Some((value <= rule.threshold + slack, value)),
        RuleKind::Overspeed => Some((value > rule.threshold - slack, value)),
        RuleKind::Rate => {
            let rate = rate_per_min(before.filter(|b| b.usable)?, sample);
            Some((rate.abs() >= rule.threshold - slack, rate))
        }
    }
}

fn raised(
    subject: Subject,
    historic: bool,
    rule: &Rule,
    onset_at: Timestamp,
    now: Timestamp,
    value: Option<f64>,
    id: AlarmId,
) -> AlarmChange {
    let threshold = match (rule.kind, rule.upper, value) {
        (RuleKind::TerminalBit, ..) => None,
        (RuleKind::OutOfRange, Some(upper), Some(value)) if value > upper => Some(upper),
        _ => Some(rule.threshold),
    };
    AlarmChange::Raised(RaisedAlarm {
        id,
        rule: rule.id.clone(),
        kind: rule.kind,
        subject,
        level: rule.level,
        value,
        threshold,
        unit: rule.unit.clone(),
        source: rule.source.clone(),
        confidence: rule.confidence.clone(),
        onset_at,
        raised_at: now,
        historic,
    })
}

#[cfg(test)]
mod tests {
    use anlan_model::{Level, PointId};

    use super::*;

    fn rule(kind: RuleKind, threshold: f64) -> Rule {
        let terms = Terms {
            id: kind.as_str().into(),
            kind,
            level: Level::Red,
            bit: 0,
            deadband: 0.0,
            on_delay_us: 0,
            off_delay_us: 0,
            unit: "%LEL".into(),
            source: "GB/T 50493-2019 5.5.2".into(),
            confidence: "verified-secondary".into(),
        };
        Rule::new(threshold, None, terms)
    }

    fn with(rule: Rule, change: impl FnOnce(&mut Terms)) -> Rule {
        let mut terms = (*rule.terms).clone();
        change(&mut terms);
        Rule { terms: terms.into(), ..rule }
    }

    /// Feeds `(second, value)` samples (a `None` only lets time pass) and writes what happened as `+second` / `-second` of onset and return.
    fn check(rules: Vec<Rule>, steps: &[(i64, Option<f64>)], expect: &str) {
        let mut machine = Machine::new(Subject::Point(PointId::new(1)), rules, false);
        let (mut out, mut n) = (Vec::new(), 0u128);
        let mut id = |_| {
            n += 1;
            AlarmId::new(n)
        };
        for &(second, value) in steps {
            let now = Timestamp::from_secs(second);
            match value {
                Some(value) => machine.sample(Sample { at: now, heard_at: now, value, bits: 0, usable: true }, now, &mut id, &mut out),
                None => machine.tick(now, &mut id, &mut out),
            }
        }
        let text: Vec<String> = out
            .iter()
            .map(|change| match change {
                AlarmChange::Raised(a) => format!("{}+{}@{}", a.rule, a.onset_at.micros() / 1_000_000, a.raised_at.micros() / 1_000_000),
                AlarmChange::Returned { at, .. } => format!("-{}", at.micros() / 1_000_000),
            })
            .collect();
        assert_eq!(text.join(" "), expect);
    }

    #[test]
    fn reaching_the_limit_alarms_and_leaving_it_returns() {
        check(vec![rule(RuleKind::Hh, 50.0)], &[(0, Some(49.9)), (1, Some(50.0)), (2, Some(80.0)), (3, Some(49.9))], "hh+1@1 -3");
        check(vec![rule(RuleKind::Ll, 10.0)], &[(0, Some(11.0)), (1, Some(10.0)), (2, Some(10.1))], "ll+1@1 -2");
    }

    #[test]
    fn the_deadband_keeps_an_alarm_that_hovers() {
        let band = with(rule(RuleKind::H, 25.0), |t| t.deadband = 5.0);
        check(vec![band], &[(0, Some(26.0)), (1, Some(24.0)), (2, Some(20.1)), (3, Some(19.9)), (4, Some(24.9))], "h+0@0 -3");
    }

    #[test]
    fn the_on_delay_counts_from_the_first_breach_and_forgets_a_spike() {
        let slow = with(rule(RuleKind::H, 25.0), |t| t.on_delay_us = 10_000_000);
        check(vec![slow.clone()], &[(0, Some(30.0)), (5, Some(20.0)), (6, Some(30.0)), (15, Some(30.0)), (16, Some(30.0))], "h+6@16");
        check(vec![slow], &[(0, Some(30.0)), (9, None), (10, None)], "h+0@10");
    }

    #[test]
    fn the_off_delay_returns_at_the_instant_the_condition_went() {
        let slow = with(rule(RuleKind::H, 25.0), |t| t.off_delay_us = 10_000_000);
        check(vec![slow], &[(0, Some(30.0)), (5, Some(20.0)), (8, Some(30.0)), (9, Some(20.0)), (18, None), (19, None)], "h+0@0 -9");
    }

    #[test]
    fn silence_alarms_once_and_any_sample_ends_it() {
        check(vec![rule(RuleKind::Stale, 30.0)], &[(0, Some(1.0)), (30, None), (31, None), (60, None), (61, Some(1.0))], "stale+30@31 -61");
    }

    #[test]
    fn a_value_that_does_not_move_while_readings_come_is_told_once_until_it_moves() {
        let flat = || vec![with(rule(RuleKind::FlatLine, 30.0), |t| t.on_delay_us = 30_000_000)];
        let every_10_s = |from: i64, values: &[f64]| -> Vec<(i64, Option<f64>)> {
            values.iter().enumerate().map(|(i, value)| (from + 10 * i as i64, Some(*value))).collect()
        };
        check(flat(), &every_10_s(0, &[1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.1, 2.1]), "flat_line+10@40 -60");
        check(flat(), &every_10_s(0, &[1.0, 2.0, 2.0, 2.0, 2.5, 2.0, 2.0, 2.0]), "");
        // −0.0 is another value than 0.0: the instrument said something else.
        check(flat(), &every_10_s(0, &[0.0, -0.0, 0.0, -0.0, 0.0, -0.0]), "");
        // Silence is not flatness, and nobody knows what happened in it.
        check(flat(), &[(0, Some(1.0)), (10, Some(1.0)), (40, None), (100, None), (110, Some(1.0)), (120, Some(1.0))], "");
        check(flat(), &[every_10_s(0, &[1.0, 1.0]), every_10_s(110, &[1.0; 4])].concat(), "flat_line+110@140");
    }

    #[test]
    fn a_bad_value_and_late_data_are_no_flat_line() {
        let flat = || vec![with(rule(RuleKind::FlatLine, 30.0), |t| t.on_delay_us = 30_000_000)];
        for (historic, bad_at) in [(false, 2), (true, 9)] {
            let mut machine = Machine::new(Subject::Point(PointId::new(1)), flat(), historic);
            let mut out = Vec::new();
            for i in 0..5 {
                let at = Timestamp::from_secs(10 * i);
                let sample = Sample { at, heard_at: at, value: 7.0, bits: 0, usable: i != bad_at };
                machine.sample(sample, at, &mut |_| AlarmId::new(1), &mut out);
            }
            assert_eq!(out, [], "historic {historic}");
        }
    }

    #[test]
    fn silence_while_the_node_was_down_is_not_the_devices() {
        let mut machine = Machine::new(Subject::Point(PointId::new(1)), vec![rule(RuleKind::Stale, 30.0)], false);
        let (mut out, second) = (Vec::new(), Timestamp::from_secs);
        machine.sample(
            Sample { at: second(0), heard_at: second(0), value: 1.0, bits: 0, usable: true },
            second(0),
            &mut |_| AlarmId::new(1),
            &mut out,
        );
        machine.excuse_silence(second(1_000));
        machine.tick(second(1_030), &mut |_| AlarmId::new(1), &mut out);
        assert_eq!(out, []);
        machine.tick(second(1_031), &mut |_| AlarmId::new(1), &mut out);
        assert_eq!(out.len(), 1, "it had its time after the start and stayed silent");
    }

    #[test]
    fn a_jump_in_either_direction_breaks_the_rate() {
        check(vec![rule(RuleKind::Rate, 60.0)], &[(0, Some(0.0)), (1, Some(0.9)), (2, Some(-0.2)), (3, Some(-0.2))], "rate+2@2 -3");
    }

    #[test]
    fn a_value_out_of_range_still_breaks_its_limit() {
        let range = Rule { upper: Some(100.0), ..rule(RuleKind::OutOfRange, 0.0) };
        check(vec![range, rule(RuleKind::Hh, 50.0)], &[(0, Some(120.0)), (1, Some(60.0))], "out_of_range+0@0 hh+0@0 -1");
    }

    #[test]
    fn an_older_sample_changes_nothing() {
        check(vec![rule(RuleKind::H, 25.0)], &[(5, Some(30.0)), (4, Some(1.0)), (5, Some(1.0))], "h+5@5");
    }

    #[test]
    fn a_rule_that_goes_returns_its_alarm_and_one_that_stays_keeps_it() {
        let mut machine = Machine::new(Subject::Point(PointId::new(1)), vec![rule(RuleKind::H, 25.0), rule(RuleKind::Hh, 50.0)], false);
        let mut out = Vec::new();
        let mut n = 0;
        let now = Timestamp::from_secs(1);
        machine.sample(
            Sample { at: now, heard_at: now, value: 60.0, bits: 0, usable: true },
            now,
            &mut |_| {
                n += 1;
                AlarmId::new(n)
            },
            &mut out,
        );
        out.clear();
        machine.set_rules(vec![rule(RuleKind::Hh, 55.0)], Timestamp::from_secs(2), &mut out);
        assert_eq!(out, [AlarmChange::Returned { id: AlarmId::new(1), at: Timestamp::from_secs(2) }]);
        assert!(machine.stands("hh"));
    }
}
