//! One view of what is hot and what is archived: the readers of the application ask here, and need not know which day lies where.
//!
//! A day is looked up in the archive once it was released ([`Archive::release`]); what the engine still has of it (late data) is laid over
//! it by the rule that will add it ([`crate::late`]). Start at [`Whole`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use anlan_history::{HistoryError, Lsn, Reader, Rollup};
use anlan_model::{PointId, Position, Quality, Reading, Timestamp, VehicleId};

use crate::archive::{Archive, Hot, Touched};
use crate::day::Day;
use crate::error::{ArchiveError, Result};
use crate::late::fresh;
use crate::table::Table;

/// Subjects of a day that are remembered one by one while the log is looked through; beyond, the whole day counts as touched.
const TOUCHED_MAX: usize = 100_000;

impl Hot<Reading> for Reader {
    fn subjects(&self, day: Day) -> Vec<i64> {
        self.points_in(day.start(), day.end()).into_iter().map(PointId::get).collect()
    }
    fn rows(&self, subject: i64, day: Day) -> Result<Vec<Reading>> {
        Ok(self.every_revision(PointId::new(subject), day.start(), day.end())?)
    }
}

impl Hot<Position> for Reader {
    fn subjects(&self, day: Day) -> Vec<i64> {
        self.vehicles_in(day.start(), day.end()).into_iter().map(VehicleId::get).collect()
    }
    fn rows(&self, subject: i64, day: Day) -> Result<Vec<Position>> {
        Ok(self.positions(VehicleId::new(subject), day.start(), day.end(), None, usize::MAX)?)
    }
}

/// Hot and archived as one.
#[derive(Clone)]
pub struct Whole {
    hot: Reader,
    archive: Arc<OnceLock<Arc<Archive>>>,
    /// Days up to this one may be in the archive alone.
    released_to: Option<Day>,
}

/// A stretch of time that lies in one place.
enum Stretch {
    Hot(Timestamp, Timestamp),
    Cold(Day, Timestamp, Timestamp),
}

impl Whole {
    /// A view without an archive yet; `released_to` is what [`crate::released_to`] says of the data directory.
    pub fn new(hot: Reader, released_to: Option<Day>) -> Self {
        Self { hot, archive: Arc::default(), released_to }
    }

    /// Gives every clone of this view its archive; only the first counts.
    pub fn attach(&self, archive: Arc<Archive>) {
        let _ = self.archive.set(archive);
    }

    /// The archive, if there is one and it was reached.
    pub fn archive(&self) -> Option<&Arc<Archive>> {
        self.archive.get()
    }

    /// What is hot alone.
    pub fn hot(&self) -> &Reader {
        &self.hot
    }

    /// Asks whether the engine may drop what it holds of a day. `Some(record)`: from now on readers look in the archive for it, and every
    /// block of the day that holds nothing of later records may go. `None`: it is not archived, or there is no archive.
    ///
    /// # Errors
    /// The archive cannot be written; nothing may be dropped.
    pub fn release(&self, day: Day) -> Result<Option<Lsn>, ArchiveError> {
        let Some(archive) = self.archive.get() else { return Ok(None) };
        Ok(archive.release(day)?.then(|| archive.through()))
    }

    /// Cuts `from <= event_at < to` at released days, oldest first.
    fn stretches(&self, mut from: Timestamp, to: Timestamp) -> Result<Vec<Stretch>> {
        let mut found = Vec::new();
        if from >= to {
            return Ok(found);
        }
        let released = match (self.archive.get(), self.released_to) {
            (Some(archive), _) => archive.released(Day::of(from), Day::of(to.plus_us(-1))),
            // A hole that nobody was told of would pass for silence.
            (None, Some(last)) if Day::of(from) <= last => {
                return Err(ArchiveError::Unreachable { released_to: last.to_string() });
            }
            (None, _) => Vec::new(),
        };
        for day in released {
            let (start, end) = (day.start().max(from), day.end().min(to));
            if from < start {
                found.push(Stretch::Hot(from, start));
            }
            found.push(Stretch::Cold(day, start, end));
            from = end;
        }
        if from < to {
            found.push(Stretch::Hot(from, to));
        }
        Ok(found)
    }

    /// Rows of a released day: the archived ones, and over them what the engine still has.
    fn cold<T: Table>(&self, subject: i64, day: Day, from: Timestamp, to: Timestamp, hot: Vec<T>) -> Result<Vec<T>> {
        let Some(archive) = self.archive.get() else { return Ok(hot) };
        let mut rows = archive.rows::<T>(day, subject, from.micros(), to.micros())?;
        let late = fresh(&rows, hot, day.end().micros());
        rows.extend(late.rows);
        rows.sort_by_key(Table::key);
        Ok(rows)
    }

    fn cold_readings(&self, point: PointId, day: Day, from: Timestamp, to: Timestamp) -> Result<Vec<Reading>> {
        let mut rows = self.cold(point.get(), day, from, to, self.hot.every_revision(point, from, to)?)?;
        rows.dedup_by(|later, kept| {
            let same = later.event_at == kept.event_at;
            if same {
                *kept = *later;
            }
            same
        });
        Ok(rows)
    }

    /// The newest revision of each instant in `from <= event_at < to`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// The files cannot be read or are damaged.
    pub fn readings(&self, point: PointId, from: Timestamp, to: Timestamp, limit: usize) -> Result<Vec<Reading>, ArchiveError> {
        let mut out: Vec<Reading> = Vec::new();
        for stretch in self.stretches(from, to)? {
            if out.len() >= limit {
                break;
            }
            let left = limit - out.len();
            let mut rows = match stretch {
                Stretch::Hot(from, to) => self.hot.readings(point, from, to, None, left)?,
                Stretch::Cold(day, from, to) => self.cold_readings(point, day, from, to)?,
            };
            rows.truncate(left);
            out.append(&mut rows);
        }
        Ok(out)
    }

    /// Every revision of each instant in `from <= event_at < to`, by instant and revision.
    ///
    /// # Errors
    /// The files cannot be read or are damaged.
    pub fn every_revision(&self, point: PointId, from: Timestamp, to: Timestamp) -> Result<Vec<Reading>, ArchiveError> {
        let mut out: Vec<Reading> = Vec::new();
        for stretch in self.stretches(from, to)? {
            out.append(&mut match stretch {
                Stretch::Hot(from, to) => self.hot.every_revision(point, from, to)?,
                Stretch::Cold(day, from, to) => self.cold(point.get(), day, from, to, self.hot.every_revision(point, from, to)?)?,
            });
        }
        Ok(out)
    }

    /// Every revision of a point's day, and the last log record of which the day holds what there is.
    ///
    /// # Errors
    /// The files cannot be read or are damaged.
    pub fn day_at(&self, point: PointId, day: Day) -> Result<(Lsn, Vec<Reading>), ArchiveError> {
        let (from, to) = (day.start(), day.end());
        let (at, hot) = self.hot.every_revision_at(point, from, to)?;
        let is_cold = self.stretches(from, to)?.iter().any(|s| matches!(s, Stretch::Cold(..)));
        Ok((at, if is_cold { self.cold(point.get(), day, from, to, hot)? } else { hot }))
    }

    /// Whether what there is of a day may lie in the archive alone.
    ///
    /// # Errors
    /// [`ArchiveError::Unreachable`]: it may, and nobody can look.
    pub fn is_released(&self, day: Day) -> Result<bool, ArchiveError> {
        Ok(self.stretches(day.start(), day.end())?.iter().any(|s| matches!(s, Stretch::Cold(..))))
    }

    /// Days that may hold something, hot or archived, ascending.
    pub fn days(&self) -> Vec<Day> {
        let archived = self.archive.get().map(|archive| archive.days()).unwrap_or_default();
        let all: BTreeSet<Day> = self.hot.days().into_iter().map(Day::new).chain(archived).collect();
        all.into_iter().collect()
    }

    /// Windows of `step_us` that hold readings of `from <= event_at < to`, by the rules of [`Reader::rollup`].
    ///
    /// # Errors
    /// The files cannot be read or are damaged.
    pub fn rollup(&self, point: PointId, step_us: i64, from: Timestamp, to: Timestamp) -> Result<Vec<Rollup>, ArchiveError> {
        let mut out: Vec<Rollup> = Vec::new();
        for stretch in self.stretches(from, to)? {
            let windows = match stretch {
                Stretch::Hot(from, to) => self.hot.rollup(point, step_us, from, to)?,
                Stretch::Cold(day, from, to) => {
                    let rows = self.cold_readings(point, day, from, to)?;
                    let mut windows: Vec<Rollup> = Vec::new();
                    for r in &rows {
                        let (at, good) = (r.event_at.floor_us(step_us), r.quality != Quality::Bad);
                        let (v, count, bad) = (r.value, u64::from(good), u64::from(!good));
                        join(&mut windows, Rollup { at, min: v, max: v, mean: v, first: v, last: v, count, bad });
                    }
                    windows
                }
            };
            for next in windows {
                join(&mut out, next);
            }
        }
        // A window of nothing but bad readings says nothing; until here it may have been half of one.
        out.retain(|window| window.count > 0);
        Ok(out)
    }

    /// Positions with `from <= event_at < to`, oldest first, at most `limit`, beginning behind `after`.
    ///
    /// # Errors
    /// The files cannot be read or are damaged.
    pub fn positions(
        &self,
        vehicle: VehicleId,
        from: Timestamp,
        to: Timestamp,
        after: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<Position>, ArchiveError> {
        if after == Some(Timestamp::MAX) {
            return Ok(Vec::new());
        }
        let from = after.map_or(from, |at| at.plus_us(1).max(from));
        let mut out: Vec<Position> = Vec::new();
        for stretch in self.stretches(from, to)? {
            if out.len() >= limit {
                break;
            }
            let left = limit - out.len();
            let mut rows = match stretch {
                Stretch::Hot(from, to) => self.hot.positions(vehicle, from, to, None, left)?,
                Stretch::Cold(day, from, to) => {
                    let hot = self.hot.positions(vehicle, from, to, None, usize::MAX)?;
                    self.cold(vehicle.get(), day, from, to, hot)?
                }
            };
            rows.truncate(left);
            out.append(&mut rows);
        }
        Ok(out)
    }
}

/// Appends a window, or adds it to the last one if it is the same. Figures of one without good readings do not count.
fn join(windows: &mut Vec<Rollup>, next: Rollup) {
    match windows.last_mut() {
        Some(last) if last.at == next.at => {
            let bad = last.bad + next.bad;
            if last.count == 0 {
                *last = next;
            } else if next.count > 0 {
                let count = last.count + next.count;
                last.mean = (last.mean * last.count as f64 + next.mean * next.count as f64) / count as f64;
                (last.min, last.max, last.last, last.count) = (last.min.min(next.min), last.max.max(next.max), next.last, count);
            }
            last.bad = bad;
        }
        _ => windows.push(next),
    }
}

impl Archive {
    /// Which archived days got something new in log records after [`Archive::through`] up to `to`. A log that does not reach back that far,
    /// or not on that far, says nothing, so then every archived day that the engine has something of counts.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn touched(&self, hot: &Reader, to: Lsn) -> Result<BTreeMap<Day, Touched>, ArchiveError> {
        let mut found = BTreeMap::<Day, Touched>::new();
        let archived: BTreeSet<Day> = self.days().into_iter().collect();
        if archived.is_empty() || self.through() == to {
            return Ok(found);
        }
        let everything = || -> BTreeMap<Day, Touched> {
            let days = hot.days().into_iter().map(Day::new).filter(|day| archived.contains(day));
            days.map(|day| (day, Touched::default())).collect()
        };
        // A node that was restored from a backup gives the same numbers to other records.
        if self.through() > to {
            return Ok(everything());
        }
        let nobody = || Touched { points: Some(BTreeSet::new()), vehicles: Some(BTreeSet::new()) };
        let add = |ids: &mut Option<BTreeSet<i64>>, id: i64| {
            if let Some(set) = ids {
                set.insert(id);
                if set.len() > TOUCHED_MAX {
                    *ids = None;
                }
            }
        };
        for record in hot.tail(self.through()) {
            let (lsn, record) = match record {
                Ok(record) => record,
                Err(HistoryError::NotInLog { .. }) => return Ok(everything()),
                Err(e) => return Err(e.into()),
            };
            for r in &record.readings {
                let day = Day::of(r.event_at);
                if archived.contains(&day) {
                    add(&mut found.entry(day).or_insert_with(nobody).points, r.point.get());
                }
            }
            for p in &record.positions {
                let day = Day::of(p.event_at);
                if archived.contains(&day) {
                    add(&mut found.entry(day).or_insert_with(nobody).vehicles, p.vehicle.get());
                }
            }
            if lsn >= to {
                break;
            }
        }
        Ok(found)
    }
}
