//! What this node holds of each origin and day, as the follower of the log counted it; and which devices are another node's.
//!
//! No scope: the link and the engine ask, who see everything of the node. Digests and the position they stand for are one transaction.

use anlan_model::{DeviceId, NodeId};

use crate::db::{Row, sql};
use crate::projection::position;
use crate::{Store, StoreError};

/// Readings of an origin and civil day: how many, and the sum of their hashes modulo 2^128.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRow {
    /// Whose readings.
    pub origin: NodeId,
    /// Civil day of `event_at` in Beijing, `2026-11-30`.
    pub day: String,
    /// How many.
    pub n_readings: u64,
    /// 32 hexadecimal digits.
    pub sum: String,
}

/// Rows told about in one statement.
const ROWS: usize = 200;

impl Store {
    /// The log position the ledger stands for; `None` if there is no ledger yet.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn ledger_position(&self) -> Result<Option<u64>, StoreError> {
        let row = self.db.row(sql("SELECT position FROM ledger_position WHERE id = 0")).await?;
        row.map(|row| position(Some(&row))).transpose()
    }

    /// The whole ledger, by origin and day.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn ledger(&self) -> Result<Vec<LedgerRow>, StoreError> {
        let rows = self.db.rows(sql("SELECT origin, day, n_readings, sum\nFROM ledger\nORDER BY origin, day")).await?;
        let one = |row: &Row| -> Result<LedgerRow, StoreError> {
            let n: i64 = row.get("n_readings")?;
            Ok(LedgerRow {
                origin: row.get("origin")?,
                day: row.get("day")?,
                n_readings: u64::try_from(n).map_err(|_| StoreError::Corrupt("a ledger counts below nothing".to_owned()))?,
                sum: row.get("sum")?,
            })
        };
        rows.iter().map(one).collect()
    }

    /// Puts changed rows and the position at which they, and all others, stand; with `anew` nothing else stays.
    ///
    /// # Errors
    /// [`StoreError::Database`]; then nothing was put.
    pub async fn put_ledger(&self, reached: u64, rows: &[LedgerRow], anew: bool) -> Result<(), StoreError> {
        let whole = |n: u64| i64::try_from(n).map_err(|_| StoreError::Corrupt("a number beyond 63 bits".to_owned()));
        let mut tx = self.db.begin().await?;
        if anew {
            tx.run(sql("DELETE FROM ledger")).await?;
        }
        for rows in rows.chunks(ROWS) {
            let mut put = sql("INSERT INTO ledger (origin, day, n_readings, sum)\nVALUES ");
            for (i, row) in rows.iter().enumerate() {
                let text = if i == 0 { "({}, {}, {}, {})" } else { ",\n({}, {}, {}, {})" };
                put.push(text, &[&row.origin, &row.day, &whole(row.n_readings)?, &row.sum]);
            }
            put.push("\nON CONFLICT (origin, day) DO UPDATE SET n_readings = excluded.n_readings, sum = excluded.sum", &[]);
            tx.run(put).await?;
        }
        let put = sql("INSERT INTO ledger_position (id, position)\nVALUES (0, $1)
ON CONFLICT (id) DO UPDATE SET position = excluded.position");
        tx.run(put.bind(whole(reached)?)).await?;
        tx.commit().await
    }

    /// Every device here that is another node's.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn all_mirrored_devices(&self) -> Result<Vec<DeviceId>, StoreError> {
        let select = "SELECT local_id, local_id AS id\nFROM mirror\nWHERE kind = 'device'";
        self.db.all_by_id(select, "local_id", |row| row.get("local_id")).await
    }

    /// Those among `devices`, in no order.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn mirrored_devices_among(&self, devices: &[DeviceId]) -> Result<Vec<DeviceId>, StoreError> {
        let select = "SELECT local_id\nFROM mirror\nWHERE kind = 'device'";
        self.db.rows_among(select, "local_id", devices).await?.iter().map(|row| row.get("local_id")).collect()
    }
}
