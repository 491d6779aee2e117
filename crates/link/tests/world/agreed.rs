//! Agreements: some links carry a part of the readings, and both ends find the same part of each day that is over.
//!
//! Where a part is agreed nothing gives way: a day that gave way keeps the digest it had, which is the product's to remember.

use anlan_link::agreement::{Readings, Row, Sieve};
use anlan_link::digest::Digest;
use anlan_link::message::{Claim, DayDigest};
use anlan_link::session::Wanted;

use super::{DAY, Durable, Reading, World, index};

fn row(r: &Reading) -> Row {
    Row { at_us: r.at as i64, revision: r.revision, value: f64::from(r.value), quality: 0 }
}

/// What is agreed of the readings of a day.
pub(super) fn part_of(agreed: Readings, rows: &[Reading]) -> Vec<Reading> {
    if !agreed.is_part() {
        return rows.to_vec();
    }
    let mut rows = rows.to_vec();
    rows.sort_unstable_by_key(|r| (r.point, r.at, r.revision));
    let mut part = Vec::new();
    for of_point in rows.chunk_by(|a, b| a.point == b.point) {
        let keeps = agreed.part(&of_point.iter().map(row).collect::<Vec<_>>());
        part.extend(of_point.iter().zip(keeps).filter(|(_, keeps)| *keeps).map(|(r, _)| *r));
    }
    part
}

/// What passes of a piece.
pub(super) fn passed(agreed: Readings, readings: Vec<Reading>) -> Vec<Reading> {
    let mut sieve = Sieve::default();
    readings.into_iter().filter(|r| sieve.passes(agreed, (r.origin as i64) << 32 | r.point, row(r))).collect()
}

impl Durable {
    pub(super) fn agreed(&self, agreed: Readings, key: (usize, i32)) -> Digest {
        let mut digest = Digest::default();
        for r in part_of(agreed, self.rows.get(&key).map_or(&[], Vec::as_slice)) {
            digest.add(r.point, r.at as i64, f64::from(r.value), 0, r.revision);
        }
        digest
    }

    /// A claim of what is agreed of days before `today`; what else is wanted is claimed once it is over, and forgotten once it was compared.
    pub(super) fn claimed_of(&mut self, agreed: Readings, wanted: &Wanted, today: i32) -> Vec<DayDigest> {
        let mut wanted = wanted.clone();
        wanted.also.extend(self.left.iter().copied());
        let all = self.claimed(&Wanted { limit: usize::MAX, ..wanted.clone() });
        let (over, open): (Vec<_>, Vec<_>) = all.into_iter().partition(|d| d.day < today);
        self.left.extend(open.iter().map(|d| anlan_link::message::Day { origin: d.origin, day: d.day }));
        over.into_iter().take(wanted.limit).map(|d| DayDigest { digest: self.agreed(agreed, (index(d.origin), d.day)), ..d }).collect()
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
            let (below, above) = (part_of(agreed, &rows), self.nodes[parent].durable.agreed(agreed, key));
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
