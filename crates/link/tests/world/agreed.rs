//! Agreements: some links carry a part of the readings, and both ends find the same part of each day that is over.
//!
//! Where a part is agreed nothing gives way: a day that gave way keeps the digest it had, which is the product's to remember.

use std::collections::BTreeMap;

use anlan_link::agreement::{Around, Readings, Row, Sieve};
use anlan_link::digest::Digest;
use anlan_link::message::{Claim, DayDigest};
use anlan_link::session::Wanted;

use super::{Alarm, DAY, Durable, Reading, S, World, index};

/// Days are short here, and so is what lies around an alarm; while it stands it is more.
const AROUND: (u64, u64, u64) = (50 * S, 15 * S, 40 * S);

/// The number of an alarm says when and where it was raised, and of which point.
pub(super) fn alarm_number(now: u64, node: usize, random: u64) -> u64 {
    now << 20 | (node as u64) << 12 | (random % (1 << 12))
}

/// What lies around the alarms that a node knows, by origin and point.
pub(super) fn around(alarms: &BTreeMap<u64, Alarm>) -> BTreeMap<(usize, i64), Around> {
    let mut found: BTreeMap<_, Around> = BTreeMap::new();
    for (number, alarm) in alarms {
        let (at, origin, point) = (number >> 20, (number >> 12 & 0xff) as usize, 1 + (number % 3) as i64);
        let behind = if alarm.condition > 1 { AROUND.1 } else { AROUND.2 };
        found.entry((origin, point)).or_default().add(at as i64 - AROUND.0 as i64, (at + behind) as i64);
    }
    found
}

fn row(r: &Reading) -> Row {
    Row { at_us: r.at as i64, revision: r.revision, value: f64::from(r.value), quality: 0 }
}

/// What is agreed of the readings of a day, by the alarms that are known.
pub(super) fn part_of(agreed: Readings, rows: &[Reading], alarms: &BTreeMap<u64, Alarm>) -> Vec<Reading> {
    if !agreed.is_part() {
        return rows.to_vec();
    }
    let mut rows = rows.to_vec();
    rows.sort_unstable_by_key(|r| (r.point, r.at, r.revision));
    let (around, none) = (around(alarms), Around::default());
    let mut part = Vec::new();
    for of_point in rows.chunk_by(|a, b| a.point == b.point) {
        let keeps = agreed
            .part(&of_point.iter().map(row).collect::<Vec<_>>(), around.get(&(of_point[0].origin, of_point[0].point)).unwrap_or(&none));
        part.extend(of_point.iter().zip(keeps).filter(|(_, keeps)| *keeps).map(|(r, _)| *r));
    }
    part
}

/// What passes of a piece.
pub(super) fn passed(agreed: Readings, readings: Vec<Reading>, alarms: &BTreeMap<u64, Alarm>) -> Vec<Reading> {
    let (mut sieve, around, none) = (Sieve::default(), around(alarms), Around::default());
    let near = |r: &Reading| around.get(&(r.origin, r.point)).unwrap_or(&none);
    readings.into_iter().filter(|r| sieve.passes(agreed, (r.origin as i64) << 32 | r.point, row(r), near(r))).collect()
}

impl Durable {
    pub(super) fn agreed(&self, agreed: Readings, key: (usize, i32)) -> Digest {
        let mut digest = Digest::default();
        for r in part_of(agreed, self.rows.get(&key).map_or(&[], Vec::as_slice), &self.alarms) {
            digest.add(r.point, r.at as i64, f64::from(r.value), 0, r.revision);
        }
        digest
    }

    /// A claim of what is agreed of days before `today`; what else is wanted is claimed once it is over, and forgotten once it was compared.
    pub(super) fn claimed_of(&mut self, agreed: Readings, wanted: &Wanted, today: i32) -> Vec<DayDigest> {
        let mut wanted = wanted.clone();
        if agreed == Readings::Alarms {
            self.leave_changed();
        }
        wanted.also.extend(self.left.iter().copied());
        let all = self.claimed(&Wanted { limit: usize::MAX, ..wanted.clone() });
        let (over, open): (Vec<_>, Vec<_>) = all.into_iter().partition(|d| d.day < today);
        self.left.extend(open.iter().map(|d| anlan_link::message::Day { origin: d.origin, day: d.day }));
        over.into_iter().take(wanted.limit).map(|d| DayDigest { digest: self.agreed(agreed, (index(d.origin), d.day)), ..d }).collect()
    }

    /// Of a day around which alarms changed another part is agreed than was claimed.
    fn leave_changed(&mut self) {
        let (now, before) = (around(&self.alarms), around(&self.claimed_around));
        for (origin, day) in self.ledger.keys() {
            let (from, until) = (i64::from(*day) * DAY as i64, (i64::from(*day) + 1) * DAY as i64);
            let of = |all: &BTreeMap<(usize, i64), Around>, key| {
                all.get(key).map(|around: &Around| around.within(from, until)).unwrap_or_default()
            };
            if now.keys().any(|key| key.0 == *origin && of(&now, key) != of(&before, key)) {
                self.left.insert(anlan_link::message::Day { origin: super::id(*origin), day: *day });
            }
        }
        self.claimed_around = self.alarms.clone();
    }

    pub(super) fn verdict_of(&self, agreed: Readings, claim: &Claim) -> Vec<DayDigest> {
        claim.days.iter().map(|d| DayDigest { digest: self.agreed(agreed, (index(d.origin), d.day)), ..*d }).collect()
    }
}

impl World {
    /// What is agreed between a node and its parent: the lesser wish.
    pub(super) fn terms(&self, child: usize) -> Readings {
        self.nodes[child].wish.min(self.nodes[child].asked)
    }

    pub(super) fn today(&self) -> i32 {
        // The latest clock among the nodes is this far ahead.
        (self.now.saturating_sub(10_000_000) / DAY) as i32
    }

    /// The part of each day that is agreed stands at both ends.
    pub(super) fn check_agreed(&mut self, node: usize, parent: usize) {
        let agreed = self.terms(node);
        for (key, rows) in self.nodes[node].durable.rows.clone() {
            self.report.checks += 1;
            let (below, above) = (part_of(agreed, &rows, &self.nodes[node].durable.alarms), self.nodes[parent].durable.agreed(agreed, key));
            let ours = self.nodes[node].durable.agreed(agreed, key);
            let settled = !self.forgot(key.0) && !self.forgot(node) && !self.forgot(parent);
            if settled && ours != above {
                self.wrong(format!(
                    "{key:?}: of {} readings agreed as {agreed:?}, node {node} has {ours:?}, {parent} {above:?}",
                    below.len()
                ));
            }
            match self.nodes[parent].durable.verdicts.get(&key) {
                None => self.wrong(format!("{key:?} of node {node} was never compared at {parent}")),
                Some(said) if *said != (ours == above) => {
                    self.wrong(format!("{key:?}: {parent} says equal = {said} of {agreed:?}, node {node} has {ours:?}, it has {above:?}"));
                }
                Some(_) => {}
            }
        }
    }
}
