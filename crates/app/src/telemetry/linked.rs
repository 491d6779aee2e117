//! Readings that another node judged: kept as they are, once each, beside what this node judges itself.
//!
//! No rule, no event time, no revision is decided here: the origin did. What is new is told from what is known by identity (point,
//! `event_at`, revision), so a piece may come twice, late, or in any order. Start at [`fresh`].

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use anlan_archive::{ArchiveError, Day, Whole};
use anlan_history::{HistoryError, Left, Reader};
use anlan_model::{Kept, PointId, Reading, Reply, Timestamp};
use tracing::warn;

use crate::registry::Snapshot;

/// A gap between readings of a point that is not looked through in history, µs.
const GAP_US: i64 = 3_600_000_000;
const DAY_US: i64 = 86_400_000_000;

/// Readings of mirrored points, as their origin judged them, ready for the engine.
pub struct Linked {
    /// By shard; points as they are called here, finite values, `received_at` set.
    pub readings: Vec<(u16, Vec<Reading>)>,
    /// Days (UTC, from 1970) of which the archive knows everything that left history: what it knows was left out before.
    pub archived: BTreeSet<i64>,
    /// Told when durable; its counts say what was new.
    pub reply: Reply,
}

impl Linked {
    /// Sorts readings of mirrored points into the shards of their devices.
    pub fn new(snapshot: &Snapshot, readings: Vec<Reading>, reply: Reply) -> Self {
        let mut shards: BTreeMap<u16, Vec<Reading>> = BTreeMap::new();
        let mut last: Option<(PointId, u16)> = None;
        for reading in readings {
            let shard = match last {
                Some((point, shard)) if point == reading.point => shard,
                _ => snapshot.points.get(&reading.point).map_or(0, |p| snapshot.shard_of_device(p.device)),
            };
            last = Some((reading.point, shard));
            shards.entry(shard).or_default().push(reading);
        }
        Self { readings: shards.into_iter().collect(), archived: BTreeSet::new(), reply }
    }

    /// How many readings it brings.
    pub fn size(&self) -> usize {
        self.readings.iter().map(|(_, readings)| readings.len()).sum()
    }

    /// Its readings.
    pub(super) fn all(&self) -> impl Iterator<Item = &Reading> {
        self.readings.iter().flat_map(|(_, readings)| readings)
    }
}

/// What is left of readings when what the archive has is left out.
#[derive(Debug, Default)]
pub struct Unarchived {
    /// They.
    pub readings: Vec<Reading>,
    /// How many were left out.
    pub n_known: u32,
    /// For [`Linked::archived`].
    pub days: BTreeSet<i64>,
}

/// Leaves out what the archive has of days that were released, and says how much that was: the engine looks at what is hot alone, and would
/// keep it again. To be asked before [`Linked`] is offered; reads files, so it belongs on a thread of the runtime's blocking pool.
///
/// # Errors
/// The archive cannot be read; what is new is then not known.
pub fn unarchived(whole: &Whole, mut readings: Vec<Reading>) -> Result<Unarchived, ArchiveError> {
    let days: BTreeSet<Day> = readings.iter().map(|r| Day::of(r.event_at)).collect();
    let mut released = BTreeSet::new();
    for day in days {
        if whole.is_released(day)? {
            released.insert(day);
        }
    }
    if released.is_empty() {
        return Ok(Unarchived { readings, ..Unarchived::default() });
    }
    let mut known: HashMap<(PointId, Day), HashSet<(Timestamp, u16)>> = HashMap::new();
    for r in readings.iter().filter(|r| released.contains(&Day::of(r.event_at))) {
        if let Entry::Vacant(place) = known.entry((r.point, Day::of(r.event_at))) {
            let rows = whole.every_revision(r.point, place.key().1.start(), place.key().1.end())?;
            place.insert(rows.iter().map(identity).collect());
        }
    }
    let n = readings.len();
    readings.retain(|r| known.get(&(r.point, Day::of(r.event_at))).is_none_or(|rows| !rows.contains(&identity(r))));
    let n_known = n - readings.len();
    Ok(Unarchived { readings, n_known: n_known as u32, days: released.iter().map(|day| day.number()).collect() })
}

/// What history knows of a point.
pub(super) trait Past {
    /// Its newest instant.
    fn newest(&self, point: PointId) -> Option<Timestamp>;
    /// Every revision in `from <= event_at < to`, by instant and revision.
    fn revisions(&self, point: PointId, from: Timestamp, to: Timestamp) -> Result<Vec<Reading>, HistoryError>;
    /// Whether readings of its day (UTC) gave way to their hours.
    fn gave_way(&self, point: PointId, at: Timestamp) -> bool;
}

/// Whether readings of a point gave way to their hours on the day (UTC) of an instant. If that cannot be read they did: nothing is then taken for new.
pub(super) fn gave_way(reader: &Reader, point: PointId, at: Timestamp) -> bool {
    reader.left_of(point, at.floor_us(DAY_US)).map_or(true, |left| left == Left::Hours)
}

impl Past for Reader {
    fn newest(&self, point: PointId) -> Option<Timestamp> {
        self.latest(point).map(|r| r.event_at)
    }
    fn revisions(&self, point: PointId, from: Timestamp, to: Timestamp) -> Result<Vec<Reading>, HistoryError> {
        self.every_revision(point, from, to)
    }
    fn gave_way(&self, point: PointId, at: Timestamp) -> bool {
        gave_way(self, point, at)
    }
}

/// What is to be kept.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    /// By shard, points ascending, each by instant and revision.
    pub(super) readings: BTreeMap<u16, Vec<Reading>>,
    /// Counts for the reply of each batch.
    pub(super) kept: Vec<Kept>,
}

fn identity(r: &Reading) -> (Timestamp, u16) {
    (r.event_at, r.revision)
}

/// Leaves out what `past` knows, what came twice in `batches`, and what is of a day that gave way to its hours. A point is looked up once for a stretch of its readings, not once for each,
/// and not at all for those behind its newest.
///
/// # Errors
/// History cannot be read; what is new is then not known.
pub(super) fn fresh(batches: &[Linked], past: &dyn Past) -> Result<Fresh, HistoryError> {
    let mut rows: Vec<(&Reading, u16, usize)> = Vec::with_capacity(batches.iter().map(Linked::size).sum());
    for (n, batch) in batches.iter().enumerate() {
        rows.extend(batch.readings.iter().flat_map(|(shard, readings)| readings.iter().map(move |r| (r, *shard, n))));
    }
    // Stable: of two that say the same the one that came first is kept.
    rows.sort_by_key(|(r, ..)| (r.point, identity(r)));
    let mut found = Fresh { readings: BTreeMap::new(), kept: vec![Kept::default(); batches.len()] };
    let (mut n_differing, mut n_late) = (0_u64, 0_u64);
    // To be looked up behind what is known of a day: what gave way in between is then seen to have gone.
    let mut gone: HashMap<(PointId, i64), bool> = HashMap::new();
    for of_point in rows.chunk_by(|(a, ..), (b, ..)| a.point == b.point) {
        let point = of_point[0].0.point;
        let newest = past.newest(point);
        let n_old = newest.map_or(0, |newest| of_point.partition_point(|(r, ..)| r.event_at <= newest));
        let (old, new) = of_point.split_at(n_old);
        let mut kept_before: Option<Reading> = None;
        let mut take = |known: &[Reading], rows: &[(&Reading, u16, usize)]| {
            let mut at = 0;
            for (reading, shard, n) in rows {
                at += known[at..].iter().take_while(|k| identity(k) < identity(reading)).count();
                if let Some(held) = known.get(at).copied().into_iter().chain(kept_before).find(|k| identity(k) == identity(reading)) {
                    n_differing += u64::from((held.value.to_bits(), held.quality) != (reading.value.to_bits(), reading.quality));
                    found.kept[*n].repeated += 1;
                    continue;
                }
                let day = reading.event_at.micros().div_euclid(DAY_US);
                let is_old = newest.is_some_and(|newest| reading.event_at <= newest);
                if is_old
                    && !batches[*n].archived.contains(&day)
                    && *gone.entry((point, day)).or_insert_with(|| past.gave_way(point, reading.event_at))
                {
                    // safety: it cannot be told from what gave way, so it is not counted twice
                    n_late += 1;
                    continue;
                }
                kept_before = Some(**reading);
                found.kept[*n].stored += 1;
                found.readings.entry(*shard).or_default().push(**reading);
            }
        };
        for stretch in old.chunk_by(|(a, ..), (b, ..)| b.event_at.since_us(a.event_at) < GAP_US) {
            let (from, to) = (stretch[0].0.event_at, stretch[stretch.len() - 1].0.event_at.plus_us(1));
            take(&past.revisions(point, from, to)?, stretch);
        }
        take(&[], new);
    }
    if n_late > 0 {
        metrics::counter!("anlan_thinned_late_total").increment(n_late);
    }
    if n_differing > 0 {
        metrics::counter!("anlan_linked_differing_total").increment(n_differing);
        warn!(
            readings = n_differing,
            "{n_differing} readings of another node say something else than what is kept under their identity; what is kept stays"
        );
    }
    Ok(found)
}

/// Points named by a batch, each once while they follow each other.
pub(super) fn points<'a>(readings: impl Iterator<Item = &'a Reading>) -> HashSet<PointId> {
    let mut last = None;
    readings.map(|r| r.point).filter(|p| last.replace(*p) != Some(*p)).collect()
}

#[cfg(test)]
#[path = "linked_tests.rs"]
pub(crate) mod tests;
