//! Thinning: a node's oldest days give way to nothing but their digests, and what was proven of them stays proven.
//!
//! As the product does it: what the parent does not have goes only when room is short; nothing of a day that gave way is taken over a link
//! again, and what an own device says of it later bears a revision of its own.

use std::collections::BTreeSet;

use anlan_link::digest::Digest;
use anlan_link::message::{Claim, Day, DayDigest};

use super::{DAY, Durable, Reading, World, index};

/// As `anlan_app::thinned::LATE_REVISION`.
const LATE_REVISION: u16 = 0x8000;
/// Days that are over and of which nothing gives way.
const KEEP_DAYS: i32 = 0;

fn digest_of<'a>(readings: impl Iterator<Item = &'a Reading>) -> Digest {
    let mut digest = Digest::default();
    readings.for_each(|r| digest.add(r.point, r.at as i64, f64::from(r.value), 0, r.revision));
    digest
}

impl Durable {
    /// Readings that may be taken over a link.
    pub(super) fn takes(&self, readings: &[Reading]) -> Vec<Reading> {
        let takes = |r: &&Reading| !self.thinned.contains_key(&r.day()); // safety: a day that gave way is not counted twice
        readings.iter().filter(takes).copied().collect()
    }

    /// The lowest revision that a value of an own device may have.
    pub(super) fn least_revision(&self, day: (usize, i32)) -> u16 {
        if self.thinned.contains_key(&day) { LATE_REVISION } else { 0 }
    }

    /// Days of a claim of which all that is counted gave way.
    pub(super) fn gone(&self, claim: &Claim) -> BTreeSet<Day> {
        let is_gone =
            |key: &(usize, i32)| self.thinned.get(key).is_some_and(|gone| self.ledger.get(key).is_some_and(|(held, _)| held == gone));
        claim.days.iter().map(|d| Day { origin: d.origin, day: d.day }).filter(|d| is_gone(&(index(d.origin), d.day))).collect()
    }
}

impl World {
    /// A child hears what its parent holds.
    pub(super) fn note_told(&mut self, node: usize, claim: &Claim, theirs: &[DayDigest]) {
        for day in &claim.days {
            self.nodes[node].durable.left.remove(&Day { origin: day.origin, day: day.day });
        }
        for (ours, theirs) in claim.days.iter().zip(theirs).filter(|(ours, theirs)| ours.digest == theirs.digest) {
            self.nodes[node].durable.told.insert((index(ours.origin), ours.day), theirs.digest);
        }
    }

    /// The oldest days of a node that may go give way; `is_pressing`: also such as the parent does not have.
    pub(super) fn thin(&mut self, node: usize, is_pressing: bool) {
        let is_part = |n: &super::Node| n.parent.is_some() && n.wish.min(n.asked).is_part();
        let agrees = is_part(&self.nodes[node]) || self.nodes[node].children.iter().any(|child| is_part(&self.nodes[*child]));
        if agrees {
            return;
        }
        let newest = (self.now / DAY) as i32 - 1 - KEEP_DAYS;
        let has_parent = self.nodes[node].parent.is_some();
        let durable = &mut self.nodes[node].durable;
        let told = |durable: &Durable, key: &(usize, i32)| durable.told.get(key) == durable.ledger.get(key).map(|(held, _)| held);
        let days: Vec<_> = durable.rows.keys().filter(|(_, day)| *day <= newest).copied().collect();
        for key in days {
            let is_told = !has_parent || told(durable, &key); // safety: what the parent lacks stays
            if !is_told && !is_pressing {
                continue;
            }
            let Some(rows) = durable.rows.remove(&key) else { continue };
            for r in &rows {
                durable.kept.remove(&(r.origin, r.point, r.at, r.revision));
            }
            durable.thinned.entry(key).or_default().join(&digest_of(rows.iter()));
            // What is old enough to give way has left the log as well, but for what came late.
            let is_old = |record: &Vec<Reading>| record.iter().all(|r| r.day().1 <= key.1);
            let n_old = durable.log.iter().take_while(|record| is_old(record)).count() as u64;
            durable.released = durable.released.max(n_old);
            if !is_told {
                self.lost_days.insert((self.nodes[node].name, key));
                return;
            }
            self.report.thinned += rows.len() as u64;
        }
    }

    /// What is left of a day and what gave way are together what the ledger says, and that is what was ever kept, each once.
    pub(super) fn check_thinned(&mut self, node: usize) {
        let durable = self.nodes[node].durable.clone();
        for (key, (held, _)) in &durable.ledger {
            self.report.checks += 1;
            let mut sum = digest_of(durable.rows.get(key).into_iter().flatten());
            sum.join(durable.thinned.get(key).unwrap_or(&Digest::default()));
            let ever = digest_of(durable.log.iter().flatten().filter(|r| r.day() == *key));
            if sum != *held || ever != *held {
                self.wrong(format!("{key:?} at node {node}: the ledger says {held:?}, left and gone are {sum:?}, ever kept {ever:?}"));
            }
        }
    }

    /// Whether a reading of `below` may be missing at `above`: its day gave way there, or it went below before it was told.
    pub(super) fn gave_way(&self, below: usize, above: usize, reading: &Reading) -> bool {
        let key = reading.day();
        self.nodes[above].durable.thinned.contains_key(&key) || self.lost_days.contains(&(self.nodes[below].name, key))
    }

    /// A day that gave way above is what was proven when it did, and never more than below; one that gave way below as well as was agreed is whole above.
    pub(super) fn check_proof(&mut self, node: usize, parent: usize) {
        for (key, (held, _)) in self.nodes[node].durable.ledger.clone() {
            let above = self.nodes[parent].durable.ledger.get(&key).map(|(d, _)| *d).unwrap_or_default();
            let (is_thin_here, is_thin_above) =
                (self.nodes[node].durable.thinned.contains_key(&key), self.nodes[parent].durable.thinned.contains_key(&key));
            if self.forgot(key.0) || self.forgot(node) || self.forgot(parent) {
                continue;
            }
            self.report.checks += 1;
            if is_thin_above && above.n > held.n {
                self.wrong(format!("{key:?} gave way at {parent}, which now counts {} of {} readings of node {node}", above.n, held.n));
            }
            let is_lost = self.path_lost(node, key);
            if is_thin_here && !is_thin_above && !is_lost && above != held {
                self.wrong(format!("{key:?} gave way at node {node} though {parent} holds {above:?} and not {held:?}"));
            }
        }
    }

    /// Whether a day gave way untold at a node or at one below it.
    fn path_lost(&self, node: usize, key: (usize, i32)) -> bool {
        self.subtree(node).iter().any(|name| self.lost_days.contains(&(*name, key)))
    }
}
