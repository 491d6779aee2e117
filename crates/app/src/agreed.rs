//! What is agreed of a day (约定): the ledger counts all that is held; of what is agreed, days that are over are read from history and remembered.
//!
//! A digest of a part stands for as long as the ledger says the same of the whole day as when it was read. A day that gave way since keeps
//! the one it had. Which part: [`anlan_link::agreement`]. Start at [`Ledger::claim_of`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use anlan_link::agreement::Readings;
use anlan_link::digest::Digest;
use anlan_link::message::{Claim, Day, DayDigest};
use anlan_link::session::Wanted;
use anlan_model::NodeId;
use anlan_store::{AgreedDay, Counted};

use crate::around::{Agreed, COMPARED_DAYS};
use crate::clock::{date_of, day_bounds};
use crate::ledger::{Ledger, LedgerError};
use crate::telemetry::piece::points_of;

/// Days read from history for one claim; readings wait meanwhile, so the others come with the next.
const READS: usize = 4;

/// A claim of a part, and what belongs to it.
#[derive(Debug, Default)]
pub(crate) struct Part {
    /// What is claimed.
    pub(crate) claim: Claim,
    /// What the ledger says of those days.
    pub(crate) whole: BTreeMap<Day, Digest>,
    /// Days that are wanted and cannot be said now: not over, just changing, or too many at once.
    pub(crate) left: BTreeSet<Day>,
}

/// What the database says of some days.
struct Remembered {
    /// What is agreed of them.
    agreed: Agreed,
    /// Of which a part was read.
    read: HashMap<(NodeId, String), AgreedDay>,
    /// Of which something gave way.
    thinned: HashSet<(NodeId, String)>,
}

impl Ledger {
    /// As [`Ledger::claim`], of what is agreed, and only days before `today`.
    ///
    /// # Errors
    /// The log, history or the database cannot be read.
    pub(crate) async fn claim_of(&self, agreed: Readings, wanted: &Wanted, today: i32) -> Result<Part, LedgerError> {
        let full = self.claim(&Wanted { limit: usize::MAX, ..wanted.clone() }).await?;
        let mut part = Part { claim: Claim { at: full.at, days: Vec::new() }, ..Part::default() };
        let (over, early): (Vec<_>, Vec<_>) = full.days.into_iter().partition(|held| held.day < today);
        let over = over
            .into_iter()
            .filter(|held| agreed != Readings::Alarms || held.day >= today.saturating_sub(COMPARED_DAYS))
            .collect::<Vec<_>>();
        part.left.extend(early.iter().map(|held| Day { origin: held.origin, day: held.day }));
        let (known, mut n_read) = (self.remembered(agreed, &over).await?, 0);
        for held in over {
            let day = Day { origin: held.origin, day: held.day };
            if part.claim.days.len() >= wanted.limit {
                break;
            }
            let may_read = n_read < READS;
            match self.part_of(held, &known, may_read, &mut n_read).await? {
                Some((digest, true)) => {
                    part.claim.days.push(DayDigest { digest, ..held });
                    part.whole.insert(day, held.digest);
                }
                Some((_, false)) => _ = part.left.insert(day),
                // It gave way before it was ever compared so: nobody knows.
                None => {}
            }
        }
        Ok(part)
    }

    /// As [`Ledger::verdict`], of what is agreed; days of which nobody knows it any more, as they gave way, are named.
    ///
    /// # Errors
    /// The log, history or the database cannot be read.
    pub(crate) async fn verdict_of(&self, agreed: Readings, days: &[Day]) -> Result<(Vec<DayDigest>, BTreeSet<Day>), LedgerError> {
        let full = self.verdict(days).await?;
        let (mut ours, mut unknown) = (Vec::with_capacity(days.len()), BTreeSet::new());
        let known = self.remembered(agreed, &full.days).await?;
        for held in full.days {
            let part = self.part_of(held, &known, true, &mut 0).await?;
            if part.is_none() {
                unknown.insert(Day { origin: held.origin, day: held.day });
            }
            ours.push(DayDigest { digest: part.map_or_else(Digest::default, |(digest, _)| digest), ..held });
        }
        Ok((ours, unknown))
    }

    async fn remembered(&self, agreed: Readings, days: &[DayDigest]) -> Result<Remembered, LedgerError> {
        let (first, last) = (days.iter().map(|d| d.day).min(), days.iter().map(|d| d.day).max());
        let Some((first, last)) = first.zip(last) else {
            return Ok(Remembered { agreed: Agreed::plain(agreed), read: HashMap::new(), thinned: HashSet::new() });
        };
        let (from, to) = (day_bounds(first).0, day_bounds(last).1);
        let around = Agreed::between(&self.sources().store, agreed, from, to).await?;
        let (store, first, last) = (&self.sources().store, date_of(first).to_string(), date_of(last).to_string());
        Ok(Remembered {
            agreed: around,
            read: store.agreed_days(&first, &last, agreed.as_str()).await?,
            thinned: store.days_thinned_here(&first, &last).await?,
        })
    }

    /// The digest of what is agreed of a day, and whether it can be relied on: the day still is as it was when reading it was begun, or had been read. `None`
    /// = it cannot be said any more.
    async fn part_of(
        &self,
        held: DayDigest,
        known: &Remembered,
        may_read: bool,
        n_read: &mut usize,
    ) -> Result<Option<(Digest, bool)>, LedgerError> {
        let (store, key) = (&self.sources().store, (held.origin, date_of(held.day).to_string()));
        let (own, agreed) = (self.sources().own, known.agreed.clone());
        let points = if agreed.readings == Readings::Alarms {
            let points = agreed.points_of(&(self.sources().known)(), own, held.origin, held.day);
            if points.is_empty() {
                return Ok(Some((Digest::default(), true)));
            }
            Some(points)
        } else {
            None
        };
        // Around other alarms another part is agreed of the same readings.
        let mark = points.as_ref().map_or(0, |points| agreed.mark(points, held.day));
        let basis = Counted { n: held.digest.n, sum: held.digest.sum.wrapping_add(mark) };
        if let Some(read) = known.read.get(&key).filter(|read| read.of == basis) {
            return Ok(Some((Digest { n: read.part.n, sum: read.part.sum }, true)));
        }
        if known.thinned.contains(&key) {
            return Ok(None);
        }
        if !may_read {
            return Ok(Some((Digest::default(), false)));
        }
        *n_read += 1;
        let (whole, of, word) = (self.sources().whole.clone(), self.sources().known.clone(), agreed.readings.as_str());
        let read = move || -> Result<Digest, LedgerError> {
            let (from, to) = day_bounds(held.day);
            let mut digest = Digest::default();
            for (here, there) in points.unwrap_or_else(|| points_of(&of(), own, held.origin)) {
                for r in agreed.part(here, whole.every_revision(here, from, to)?) {
                    digest.add(there.get(), r.event_at.micros(), r.value, r.quality.code(), r.revision);
                }
            }
            Ok(digest)
        };
        let digest = tokio::task::spawn_blocking(read).await??;
        let (origin, day) = key;
        // It may have given way since that was asked.
        if store.thinned_here(origin, &day).await?.is_some() {
            return Ok(None);
        }
        // What was read may be newer than what was counted: then it is said the next time.
        self.catch_up().await?;
        let still = self.day(held.origin, held.day) == held.digest;
        if still {
            let part = Counted { n: digest.n, sum: digest.sum };
            store.put_agreed_day(origin, &day, word, &AgreedDay { of: basis, part }).await?;
        }
        Ok(Some((digest, still)))
    }
}

#[cfg(test)]
#[path = "agreed_tests.rs"]
mod tests;
