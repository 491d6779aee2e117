//! Counts by division for the leaders' page, under the asker's scope: one statement per count, whatever the number of divisions.

use anlan_model::{Level, RegionCode, Scope};

use crate::alarm::OWNER as ALARM_OWNER;
use crate::db::{Row, sql};
use crate::record::OWNER as RECORD_OWNER;
use crate::{Store, StoreError};

/// Open records of a division.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRecords {
    /// So many digits of the code as were asked for, or the whole of a shorter one.
    pub division: Option<RegionCode>,
    /// Something follows.
    pub open: i64,
    /// Of those, due before the day.
    pub overdue: i64,
}

impl Store {
    /// Standing alarms of a level by division below `within`, cut to so many digits.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn alarms_by_division(
        &self,
        scope: &Scope,
        within: &RegionCode,
        digits: usize,
        level: Level,
    ) -> Result<Vec<(Option<RegionCode>, i64)>, StoreError> {
        let (from, to) = within.range();
        let mut q = sql(&format!(
            "SELECT SUBSTR(a.region, 1, {digits}) AS division, COUNT(*) AS n FROM alarm AS a
WHERE a.returned_at_us IS NULL AND a.historic = 0 AND a.level = $1 AND a.region >= $2 AND a.region < $3"
        ))
        .bind(level.as_str())
        .bind(from)
        .bind(to);
        q.and_visible(scope, ALARM_OWNER);
        q.push(&format!("\nGROUP BY SUBSTR(a.region, 1, {digits})"), &[]);
        self.db.rows(q).await?.iter().map(|row| Ok((row.get("division")?, row.get("n")?))).collect()
    }

    /// Open records of `kind` by division below `within`, cut to so many digits; `today` is an ISO date.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn open_by_division(
        &self,
        scope: &Scope,
        within: &RegionCode,
        digits: usize,
        kind: &str,
        today: &str,
    ) -> Result<Vec<OpenRecords>, StoreError> {
        let (from, to) = within.range();
        let mut q = sql(&format!(
            "SELECT SUBSTR(r.region, 1, {digits}) AS division, COUNT(*) AS n, SUM(CASE WHEN r.due_on < $1 THEN 1 ELSE 0 END) AS late
FROM record AS r
WHERE r.kind = $2 AND r.is_open = 1 AND r.region >= $3 AND r.region < $4"
        ))
        .bind(today)
        .bind(kind)
        .bind(from)
        .bind(to);
        q.and_visible(scope, RECORD_OWNER);
        q.push(&format!("\nGROUP BY SUBSTR(r.region, 1, {digits})"), &[]);
        let read = |row: &Row| Ok(OpenRecords { division: row.get("division")?, open: row.get("n")?, overdue: row.get("late")? });
        self.db.rows(q).await?.iter().map(read).collect()
    }
}
