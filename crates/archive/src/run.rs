//! One round of archiving: what came late for archived days, then the days that are due. Start at [`run`].

use anlan_history::Reader;
use anlan_model::Timestamp;

use crate::archive::{Archive, Describe, Outcome};
use crate::day::Day;
use crate::error::ArchiveError;

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Round {
    /// Days archived for the first time.
    pub days: u64,
    /// Archived days that were looked at because something came late.
    pub late_days: u64,
    /// Rows added, late ones included.
    pub rows: u64,
    /// Rows of days that were archived before.
    pub late_rows: u64,
    /// Parts written.
    pub parts: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Partitions whose parts were merged.
    pub merged: u64,
    /// Values that came again after their day was released: dropped.
    pub repeats: u64,
    /// Values left out because an instant had 65,536 revisions already.
    pub refused: u64,
    /// Days still due when the round was told to stop.
    pub left: u64,
}

impl Round {
    fn add(&mut self, outcome: &Outcome, late: bool) {
        self.rows += outcome.rows;
        self.parts += outcome.parts;
        self.bytes += outcome.bytes;
        self.repeats += outcome.repeats;
        self.refused += outcome.refused;
        self.late_rows += if late { outcome.rows } else { 0 };
    }
}

/// Days that are over for `after_days` whole days at `now` and hold something, oldest first, archived or not.
pub fn due(hot: &Reader, now: Timestamp, after_days: u32) -> Vec<Day> {
    // The day of `now` is not over; one that ended `after_days` midnights ago is due.
    let last = Day::of(now).number().saturating_sub(1).saturating_sub(i64::from(after_days));
    hot.days().into_iter().filter(|day| *day <= last).map(Day::new).collect()
}

/// Archives what is due. Every day is a transaction of its own; running twice does no harm. `stop` is asked between days.
///
/// # Errors
/// The engine or the place cannot be read or written; what was finished stays, the next round goes on.
pub fn run(
    archive: &Archive,
    hot: &Reader,
    describe: &dyn Describe,
    now: Timestamp,
    after_days: u32,
    stop: &dyn Fn() -> bool,
) -> Result<Round, ArchiveError> {
    let mut round = Round::default();
    // Taken before anything is read: what comes meanwhile is found by the next round.
    let to = hot.durable();
    for (day, touched) in archive.touched(hot, to)? {
        if stop() {
            return Ok(round);
        }
        let outcome = archive.add_day(day, hot, describe, Some(&touched))?;
        round.add(&outcome, true);
        round.late_days += 1;
    }
    for day in archive.fragmented() {
        if stop() {
            return Ok(round);
        }
        round.merged += archive.compact_day(day)?;
    }
    let days: Vec<Day> = due(hot, now, after_days).into_iter().filter(|day| !archive.holds(*day)).collect();
    for (i, day) in days.iter().enumerate() {
        if stop() {
            round.left = (days.len() - i) as u64;
            break;
        }
        let outcome = archive.add_day(*day, hot, describe, None)?;
        tracing::info!(%day, rows = outcome.rows, parts = outcome.parts, bytes = outcome.bytes, "archived {day}");
        round.add(&outcome, false);
        round.days += 1;
    }
    archive.set_through(to)?;
    Ok(round)
}
