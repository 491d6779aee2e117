//! Bytes that could not be read, kept for a person to look at; bounded, the oldest give way.

use anlan_model::{Quarantined, Scope, Timestamp};

use crate::db::sql;
use crate::{Page, Paging, Store, StoreError};

/// Entries that are kept.
pub const MAX: i64 = 10_000;
/// Bytes kept of one entry.
pub const BYTES_MAX: usize = 4_096;

/// What sockets hand over.
pub type NewQuarantined = Quarantined;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantineRow {
    /// In order of coming.
    pub id: i64,
    /// When, domain time.
    pub at: Timestamp,
    /// Device code, terminal phone or peer address.
    pub source: String,
    /// Protocol word.
    pub protocol: String,
    /// What was wrong.
    pub reason: String,
    /// The bytes, cut to [`BYTES_MAX`].
    pub bytes: Vec<u8>,
}

impl Store {
    /// Keeps entries, in one transaction; the oldest beyond [`MAX`] are dropped.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn put_quarantined(&self, entries: &[Quarantined]) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        let mut newest = 0_i64;
        for entry in entries {
            let insert = sql("INSERT INTO quarantine (at_us, source, protocol, reason, bytes) VALUES ($1, $2, $3, $4, $5) RETURNING id");
            let bytes = &entry.bytes[..entry.bytes.len().min(BYTES_MAX)];
            let insert = insert.bind(entry.at).bind(entry.source.as_str()).bind(entry.protocol).bind(entry.reason.as_str()).bind(bytes);
            newest = tx.row(insert).await?.ok_or(StoreError::NotFound)?.get("id")?;
        }
        // Ids leave no gaps worth counting, so the newest id tells what is too old without a scan.
        tx.run(sql("DELETE FROM quarantine WHERE id <= $1").bind(newest - MAX)).await?;
        tx.commit().await
    }

    /// A page of entries, newest first. They have no owner: empty for an asker who is not node-wide.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`].
    pub async fn quarantined(&self, scope: &Scope, paging: &Paging) -> Result<Page<QuarantineRow>, StoreError> {
        if !scope.node_wide() {
            return Ok(Page { items: Vec::new(), next: None });
        }
        let mut q = sql("SELECT x.id, x.at_us, x.source, x.protocol, x.reason, x.bytes\nFROM quarantine AS x\nWHERE 1 = 1");
        if let Some(id) = paging.after_id()? {
            q.push("\n  AND x.id < {}", &[&id]);
        }
        q.push("\nORDER BY x.id DESC\nLIMIT {}", &[&paging.fetch()]);
        paging.page_by_id(self.db.rows(q).await?, |row| {
            Ok(QuarantineRow {
                id: row.get("id")?,
                at: row.get("at_us")?,
                source: row.get("source")?,
                protocol: row.get("protocol")?,
                reason: row.get("reason")?,
                bytes: row.get("bytes")?,
            })
        })
    }
}
