//! Retention: readings and positions whose time is over leave, in whole days, unless somebody holds them or the archive lacks them.
//!
//! A day of a shard is one block; dropping everything of it takes the block away, dropping some of it writes the block anew with the other
//! sections byte for byte. The stored hours of the day stay, marked closed (`rollup.rs`), until their own time is over. The order is that of
//! a merge (`merge.rs`): synced file, manifest row, removal. Nothing here knows a kind of measurement: the caller says who keeps how long.
//! Start at [`Policy`] and [`Keeper::thin`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use anlan_model::{PointId, Reading, Timestamp, VehicleId};

use crate::block::{BlockId, BlockMeta, Content, FileWriter, Window};
use crate::disk::block_path;
use crate::error::{At, Result};
use crate::manifest::{Kind, Row};
use crate::merge::{Keeper, PerShard, STEP_BYTES, Thin, merge_shard};
use crate::rollup::HourSum;
use crate::{HistoryError, Lsn, Reader};

const DAY_US: i64 = 86_400_000_000;
/// Directories looked at in one step.
pub(crate) const LOOKS: usize = 256;
/// Blocks remembered as looked at; beyond, all are looked at again.
const LOOKED_AT_MAX: usize = 1 << 20;

/// A hold: what it names is kept whatever its age.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    /// Points.
    pub points: HashSet<PointId>,
    /// Vehicles.
    pub vehicles: HashSet<VehicleId>,
    /// Start of the period, inclusive, in µs.
    pub from: i64,
    /// End of the period, exclusive, in µs. Days that the period touches are kept whole.
    pub to: i64,
}

/// Says whether the archive holds everything of the day (its start) up to the rank ([`crate::Reader::day_rank`]).
pub type Archived = Arc<dyn Fn(Timestamp, u64) -> bool + Send + Sync>;

/// Whether the readings of a point may go with the day that begins then.
pub type Spares = Arc<dyn Fn(PointId, Timestamp) -> bool + Send + Sync>;

/// What a step is about to take, as it is read.
#[derive(Clone, Copy, Debug)]
pub enum Going<'a> {
    /// Readings of one point, every revision, by instant and revision.
    Readings(&'a [Reading]),
    /// An hour that stands for such readings from then on.
    Hour(PointId, HourSum),
}

/// Sees every reading that goes and every hour that stays in its place; a step that comes to nothing has shown them all the same.
pub type Watch = Arc<dyn Fn(Going<'_>) + Send + Sync>;

/// A block of which it can be asked whether it still counts; it never counts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Witness {
    seq: u64,
    dir_off: u64,
}

/// What a step is about to drop of one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropping {
    /// Counts until all that is named here has gone, in one write.
    pub witness: Witness,
    /// Start of the day (UTC).
    pub day: Timestamp,
    /// Readings, revisions counted.
    pub readings: u64,
    /// Positions.
    pub positions: u64,
    /// Blocks of stored hours.
    pub rollups: u64,
}

/// Hears of what goes before it goes, so that nothing leaves unwritten; with `false` it stays. A crash right after it drops the same again.
pub type Announce = Arc<dyn Fn(&Dropping) -> bool + Send + Sync>;

/// What is left of a point's day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Whatever it had.
    Everything,
    /// The statistics of its hours; readings that came after the others were dropped stand beside them.
    Hours,
    /// No stored hours of the day stand in the point's shards: its readings were dropped long ago, or there never were any.
    Unknown,
}

/// Who keeps how long. A day may go when it ended at least so many days ago.
#[derive(Clone, Default)]
pub struct Policy {
    /// Days that points keep which `point_days` does not name; `None` = for ever.
    pub default_days: Option<u32>,
    /// Days of single points; `None` = for ever.
    pub point_days: HashMap<PointId, Option<u32>>,
    /// Days that positions are kept; `None` = for ever.
    pub position_days: Option<u32>,
    /// Days that stored hours are kept; `None` = for ever.
    pub rollup_days: Option<u32>,
    /// Legal holds: they come before everything above.
    pub holds: Vec<Hold>,
    /// Set where there is an archive: a day leaves only once it says yes.
    pub archived: Option<Archived>,
    /// Readings it says yes to stay whatever their age.
    pub spares: Option<Spares>,
    /// Sees what goes.
    pub watch: Option<Watch>,
    /// Asked right before something is dropped.
    pub announce: Option<Announce>,
    /// Changes whenever anything above does: days already looked at are looked at again.
    pub version: u64,
    /// Tells policies that take turns apart: what was looked at for one was not for another.
    pub lane: u8,
}

/// What a step dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thinned {
    /// Readings dropped, revisions counted.
    pub readings: u64,
    /// Positions dropped.
    pub positions: u64,
    /// Bytes of blocks taken away less those written anew.
    pub bytes: i64,
    /// Rollup blocks dropped.
    pub rollups: u64,
}

/// What becomes of a shard's day.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    Stays,
    /// The archive does not have it yet.
    Waits,
    Goes,
}

/// The policy on one day.
struct Day<'a> {
    policy: &'a Policy,
    start: Timestamp,
    /// Whole days since its end.
    age: i64,
    points: HashSet<PointId>,
    vehicles: HashSet<VehicleId>,
}

fn over(days: Option<u32>, age: i64) -> bool {
    days.is_some_and(|days| i64::from(days) <= age)
}

impl Thin for Day<'_> {
    fn drops_point(&self, point: PointId) -> bool {
        let days = self.policy.point_days.get(&point).copied().unwrap_or(self.policy.default_days);
        over(days, self.age) && !self.points.contains(&point) && self.policy.spares.as_ref().is_none_or(|spares| !spares(point, self.start))
    }
    fn watch(&self) -> Option<&Watch> {
        self.policy.watch.as_ref()
    }
    fn drops_vehicle(&self, vehicle: VehicleId) -> bool {
        over(self.policy.position_days, self.age) && !self.vehicles.contains(&vehicle)
    }
}

impl Policy {
    fn day(&self, start: i64, now: Timestamp) -> Day<'_> {
        let touching = || self.holds.iter().filter(|h| h.from < start.saturating_add(DAY_US) && h.to > start);
        Day {
            policy: self,
            start: Timestamp::from_micros(start),
            age: now.micros().saturating_sub(start.saturating_add(DAY_US)).div_euclid(DAY_US),
            points: touching().flat_map(|h| h.points.iter().copied()).collect(),
            vehicles: touching().flat_map(|h| h.vehicles.iter().copied()).collect(),
        }
    }

    /// The shortest time anything is kept.
    fn shortest(&self) -> Option<u32> {
        let points = self.point_days.values().copied().chain([self.default_days]);
        points.chain([self.position_days, self.rollup_days]).flatten().min()
    }
}

impl Keeper {
    /// Looks at about so many directories in one step; for tests.
    #[doc(hidden)]
    pub fn look_at(&mut self, looks: usize) {
        self.looks = looks;
    }

    /// Drops the next part whose time is over at `now`; `None` if there is none (left), or if [`Policy::announce`] said no.
    ///
    /// # Errors
    /// I/O, damage of a block to be thinned out: what is listed stays as it was.
    pub fn thin(&mut self, now: Timestamp, policy: &Policy) -> Result<Option<Thinned>, HistoryError> {
        let Some(shortest) = policy.shortest() else { return Ok(None) };
        let day_us = self.shared.day_us();
        // The day that ended `shortest` days ago is the newest that may go.
        let until = now.micros().saturating_sub(i64::from(shortest).saturating_mul(DAY_US));
        let mut days: BTreeMap<i64, PerShard> = BTreeMap::new();
        {
            let state = self.shared.state();
            for content in [&state.blocks, &state.rollups] {
                for (shard, windows) in content {
                    for meta in
                        windows.range(..until).flat_map(|(_, m)| m).filter(|m| m.start.div_euclid(day_us) * day_us + day_us <= until)
                    {
                        let shards = days.entry(meta.start.div_euclid(day_us) * day_us).or_default();
                        match shards.iter_mut().find(|(s, _)| s == shard) {
                            Some((_, metas)) => metas.push(Arc::clone(meta)),
                            None => shards.push((*shard, vec![Arc::clone(meta)])),
                        }
                    }
                }
            }
        }
        let mut looks = 0;
        for (start, shards) in days {
            let day = policy.day(start, now);
            let mut chosen: PerShard = Vec::new();
            let mut bytes = 0;
            for (shard, mut metas) in shards {
                let sign = (policy.version, day.age);
                if metas.iter().all(|m| self.looked_at.get(&(policy.lane, m.id())) == Some(&sign)) {
                    continue;
                }
                metas.sort_by_key(|m| (m.rank, m.seq));
                let due = self.due(&day, start, &metas)?;
                if due == Due::Goes {
                    bytes += metas.iter().map(|m| m.bytes()).sum::<u64>();
                    chosen.push((shard, metas));
                    if bytes > STEP_BYTES {
                        break;
                    }
                } else if due == Due::Stays {
                    // Only what the next step need not look at again counts: otherwise what stays at the old end hides what is behind it.
                    looks += usize::from(metas.iter().any(|m| m.content == Content::Data));
                    for meta in &metas {
                        self.looked_at.insert((policy.lane, meta.id()), sign);
                    }
                }
                if looks > self.looks {
                    break;
                }
            }
            if !chosen.is_empty() {
                return self.thin_day(&day, start, &chosen, now);
            }
            if looks > self.looks {
                // The rest is looked at in the next step.
                return Ok(Some(Thinned::default()));
            }
        }
        Ok(None)
    }

    /// Whether anything in these blocks of a shard's day may go now.
    fn due(&self, day: &Day<'_>, start: i64, metas: &[Arc<BlockMeta>]) -> Result<Due> {
        let data: Vec<_> = metas.iter().filter(|m| m.content == Content::Data).collect();
        let mut any = data.is_empty() && self.drops_rollups(day);
        for meta in &data {
            let directory = self.shared.load_directory(meta)?;
            any = any
                || directory.points.iter().any(|e| day.drops_point(e.point))
                || directory.vehicles.iter().any(|e| day.drops_vehicle(e.vehicle));
        }
        // Only what would go is asked for: the archive may take the question for a promise.
        Ok(match (any, &day.policy.archived, data.iter().map(|m| m.rank).max()) {
            (false, ..) => Due::Stays,
            (true, Some(archived), Some(rank)) if !archived(Timestamp::from_micros(start), rank) => Due::Waits,
            (true, ..) => Due::Goes,
        })
    }

    /// Hours of a held day stay whole.
    fn drops_rollups(&self, day: &Day<'_>) -> bool {
        over(day.policy.rollup_days, day.age) && day.points.is_empty()
    }

    fn thin_day(&mut self, day: &Day<'_>, start: i64, shards: &PerShard, now: Timestamp) -> Result<Option<Thinned>> {
        let shared = Arc::clone(&self.shared);
        let (seq, span) = (shared.manifest().reserve(), shared.day_us());
        let mut file = FileWriter::create(&shared.dir, shared.seed, seq)?;
        let mut gone: Vec<BlockId> = Vec::new();
        let mut thinned = Thinned::default();
        for (shard, metas) in shards {
            let data: Vec<Arc<BlockMeta>> = metas.iter().filter(|m| m.content == Content::Data).cloned().collect();
            gone.extend(metas.iter().map(|m| m.id()));
            thinned.bytes += metas.iter().map(|m| m.bytes() as i64).sum::<i64>();
            if data.is_empty() {
                thinned.rollups += metas.len() as u64;
                continue;
            }
            let rank = data.iter().map(|m| m.rank).max().unwrap_or(seq);
            let window = Window { shard: *shard, content: Content::Data, start, span, rank };
            let rollups = (span > shared.window_us).then(|| shared.rollups_at(*shard, start));
            let kept = merge_shard(&shared, &mut file, window, &data, rollups.as_deref(), day)?;
            thinned.readings += kept.dropped_readings;
            thinned.positions += kept.dropped_positions;
        }
        let covered = shared.state().covered;
        let (file_len, blocks) = file.finish(covered, shared.window_us)?.unwrap_or_default();
        thinned.bytes -= file_len as i64;
        let Thinned { readings, positions, rollups, .. } = thinned;
        let witness = gone.first().map_or(Witness { seq: 0, dir_off: 0 }, |id| Witness { seq: id.seq, dir_off: id.dir_off });
        let dropping = Dropping { witness, day: Timestamp::from_micros(start), readings, positions, rollups };
        if readings + positions + rollups > 0 && day.policy.announce.as_ref().is_some_and(|announce| !announce(&dropping)) {
            // Nobody lists the new file: it may as well go at once.
            if file_len > 0 {
                let path = block_path(&shared.dir, seq);
                std::fs::remove_file(&path).at("remove", &path)?;
            }
            return Ok(None);
        }
        shared.change(Row { kind: Kind::Change, seq, covered: Lsn::ZERO, at: now, file_len, blocks, gone })?;
        // What was looked at and is gone is forgotten before it piles up.
        if self.looked_at.len() > LOOKED_AT_MAX {
            self.looked_at.clear();
        }
        shared.remove_unheld()?;
        Ok(Some(thinned))
    }
}

impl Reader {
    /// Where it reads.
    pub fn dir(&self) -> &std::path::Path {
        &self.shared().dir
    }

    /// Whether the block still counts.
    pub fn counts(&self, witness: Witness) -> bool {
        let state = self.shared().state();
        let file = state.files.get(&witness.seq);
        file.is_some_and(|file| file.blocks.iter().any(|meta| meta.id() == BlockId { seq: witness.seq, dir_off: witness.dir_off }))
    }

    /// What retention has left of the point's day that begins at `day` (UTC).
    ///
    /// # Errors
    /// I/O, damage.
    pub fn left_of(&self, point: PointId, day: Timestamp) -> Result<Left, HistoryError> {
        let shared = self.shared();
        let metas: Vec<Arc<BlockMeta>> = {
            let state = shared.state();
            let shards = state.points.get(&point).map_or_else(|| state.rollups.keys().copied().collect(), |slot| slot.shards.clone());
            shards.iter().filter_map(|s| state.rollups.get(s)?.get(&day.micros())?.last().cloned()).collect()
        };
        let mut left = if metas.is_empty() { Left::Unknown } else { Left::Everything };
        for meta in metas {
            let rollups = shared.load_rollups(&meta)?;
            let Some((chunk, i)) = rollups.find(point) else { continue };
            if shared.rollup_chunk(&meta, &rollups, chunk)?.get(i).is_some_and(|(closed, _)| *closed) {
                left = Left::Hours;
            }
        }
        Ok(left)
    }
}
