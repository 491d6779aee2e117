//! What retention dropped, day by day: written before it goes, in one transaction with its audit.

use anlan_model::{Scope, Timestamp};
use serde_json::json;

use crate::audit::{Entry, Holder};
use crate::db::sql;
use crate::{Store, StoreError, Thinning};

/// What is about to be dropped of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionDrop {
    /// Start of the day (UTC).
    pub day: Timestamp,
    /// Readings.
    pub readings: u64,
    /// Positions of vehicles.
    pub positions: u64,
    /// Blocks of stored hours.
    pub rollups: u64,
}

/// A day that something was dropped of: since when, if ever. What was there then and is not held is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DroppedDay {
    /// Days from 1970-01-01 (UTC).
    pub day: i64,
    /// Readings.
    pub readings_at: Option<Timestamp>,
    /// Positions of vehicles.
    pub positions_at: Option<Timestamp>,
    /// Stored hours.
    pub rollups_at: Option<Timestamp>,
}

const DAY_US: i64 = 86_400_000_000;

impl Store {
    /// Writes down, with an audit entry of the node itself, that this goes now, and what of each origin's days that is. The caller drops it
    /// afterwards and says so ([`Store::end_thinning`]); a crash in between makes it write this down twice.
    ///
    /// # Errors
    /// [`StoreError::Database`]; nothing may be dropped then.
    pub async fn note_drop(&self, drop: &RetentionDrop, thinning: Option<&Thinning>, now: Timestamp) -> Result<(), StoreError> {
        let scope = Scope::node();
        let mut change = self.change(&scope, now).await?;
        let at = |n: u64| (n > 0).then_some(now);
        let put = sql("INSERT INTO dropped_day (day, readings_at_us, positions_at_us, rollups_at_us)
VALUES ($1, $2, $3, $4)
ON CONFLICT (day) DO UPDATE SET readings_at_us = COALESCE(dropped_day.readings_at_us, excluded.readings_at_us),
  positions_at_us = COALESCE(dropped_day.positions_at_us, excluded.positions_at_us),
  rollups_at_us = COALESCE(dropped_day.rollups_at_us, excluded.rollups_at_us)");
        let put = put.bind(drop.day.micros().div_euclid(DAY_US)).bind(at(drop.readings)).bind(at(drop.positions)).bind(at(drop.rollups));
        change.tx.run(put).await?;
        let day: String = drop.day.to_string().chars().take(10).collect();
        let row = json!({"day": day, "readings": drop.readings, "positions": drop.positions, "rollups": drop.rollups});
        let holder = Holder::NONE;
        if let Some(thinning) = thinning {
            crate::thinned::begin(&mut change.tx, thinning).await?;
        }
        change.record(Entry { action: "drop", noun: "history", subject: day, detail: row.clone(), row, holder }).await?;
        change.commit().await
    }

    /// Days that touch `from <= t < to` and that something was dropped of, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn dropped_days(&self, from: Timestamp, to: Timestamp) -> Result<Vec<DroppedDay>, StoreError> {
        let q = sql("SELECT d.day, d.readings_at_us, d.positions_at_us, d.rollups_at_us
FROM dropped_day AS d
WHERE d.day >= $1 AND d.day <= $2
ORDER BY d.day");
        if from >= to {
            return Ok(Vec::new());
        }
        let (first, last) = (from.micros().div_euclid(DAY_US), to.plus_us(-1).micros().div_euclid(DAY_US));
        let read = |row: &crate::db::Row| -> Result<DroppedDay, StoreError> {
            Ok(DroppedDay {
                day: row.get("day")?,
                readings_at: row.get("readings_at_us")?,
                positions_at: row.get("positions_at_us")?,
                rollups_at: row.get("rollups_at_us")?,
            })
        };
        self.db.rows(q.bind(first).bind(last)).await?.iter().map(read).collect()
    }
}
