//! Digests of what is agreed of a day, as read from history. No scope: the link asks.

use std::collections::HashMap;

use anlan_model::{NodeId, PointId, Timestamp};

use crate::db::{Row, sql};
use crate::thinned::{counted, whole};
use crate::{Counted, Store, StoreError};

/// What is agreed of a day, read when the ledger said `of` of all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgreedDay {
    /// All that was held then.
    pub of: Counted,
    /// The agreed part.
    pub part: Counted,
}

/// When an alarm of a point stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlarmSpan {
    /// The point here.
    pub point: PointId,
    /// When its condition began.
    pub onset_at: Timestamp,
    /// When it was over; `None` = it stands.
    pub ended_at: Option<Timestamp>,
}

impl Store {
    /// Alarms of points, own or told, that stood at any time between two instants.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn alarm_spans(&self, from: Timestamp, to: Timestamp) -> Result<Vec<AlarmSpan>, StoreError> {
        // A historic one without an end is over, and nothing says when.
        let q = sql("SELECT point_id, onset_at_us, returned_at_us AS ended_at_us FROM alarm
WHERE returned_at_us >= $1 AND onset_at_us <= $2 AND point_id IS NOT NULL
UNION ALL
SELECT point_id, onset_at_us, CASE WHEN historic = 1 THEN raised_at_us END AS ended_at_us FROM alarm
WHERE returned_at_us IS NULL AND onset_at_us <= $2 AND point_id IS NOT NULL AND (historic = 0 OR raised_at_us >= $1)");
        let rows = self.db.rows(q.bind(from).bind(to)).await?;
        let one =
            |row: &Row| Ok(AlarmSpan { point: row.get("point_id")?, onset_at: row.get("onset_at_us")?, ended_at: row.get("ended_at_us")? });
        rows.iter().map(one).collect()
    }

    /// What was read last of a day under the word of an agreement.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn agreed_day(&self, origin: NodeId, day: &str, readings: &str) -> Result<Option<AgreedDay>, StoreError> {
        let q = sql("SELECT of_n_readings, of_sum, n_readings, sum FROM agreed_day WHERE origin = $1 AND day = $2 AND readings = $3");
        let Some(row) = self.db.row(q.bind(origin).bind(day).bind(readings)).await? else { return Ok(None) };
        Ok(Some(AgreedDay {
            of: counted(row.get("of_n_readings")?, &row.get::<String>("of_sum")?)?,
            part: counted(row.get("n_readings")?, &row.get::<String>("sum")?)?,
        }))
    }

    /// The same of all days between two, inclusive.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn agreed_days(&self, first: &str, last: &str, readings: &str) -> Result<HashMap<(NodeId, String), AgreedDay>, StoreError> {
        let q = sql(
            "SELECT origin, day, of_n_readings, of_sum, n_readings, sum FROM agreed_day WHERE day >= $1 AND day <= $2 AND readings = $3",
        );
        let rows = self.db.rows(q.bind(first).bind(last).bind(readings)).await?;
        let one = |row: &Row| {
            let of = counted(row.get("of_n_readings")?, &row.get::<String>("of_sum")?)?;
            let part = counted(row.get("n_readings")?, &row.get::<String>("sum")?)?;
            Ok(((row.get("origin")?, row.get("day")?), AgreedDay { of, part }))
        };
        rows.iter().map(one).collect()
    }

    /// Remembers what was read.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn put_agreed_day(&self, origin: NodeId, day: &str, readings: &str, read: &AgreedDay) -> Result<(), StoreError> {
        let put = sql(
            "INSERT INTO agreed_day (origin, day, readings, of_n_readings, of_sum, n_readings, sum) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (origin, day, readings) DO UPDATE SET of_n_readings = excluded.of_n_readings, of_sum = excluded.of_sum,
  n_readings = excluded.n_readings, sum = excluded.sum",
        );
        let put = put.bind(origin).bind(day).bind(readings).bind(whole(read.of.n)?).bind(format!("{:032x}", read.of.sum));
        let mut tx = self.db.begin().await?;
        tx.run(put.bind(whole(read.part.n)?).bind(format!("{:032x}", read.part.sum))).await?;
        tx.commit().await
    }
}
