//! Where points and vehicles belonged on which day, for the archive. Written by the archiving job alone, which sees everything of the node.

use crate::db::sql;
use crate::{Store, StoreError};

/// What was true of a subject from a day on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveSubject {
    /// `point` or `vehicle`.
    pub kind: String,
    /// Its id.
    pub subject: i64,
    /// First day, counted from 1970 (UTC).
    pub from_day: i64,
    /// Region code, empty = nobody's.
    pub region: String,
    /// The texts that describe it, in the order of the archive's columns.
    pub labels: Vec<String>,
}

impl Store {
    /// Every row, by subject and day.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn archive_subjects(&self) -> Result<Vec<ArchiveSubject>, StoreError> {
        let text = "SELECT kind, subject_id, from_day, region, labels\nFROM archive_subject\nORDER BY kind, subject_id, from_day";
        let rows = self.db.rows(sql(text)).await?;
        rows.iter()
            .map(|row| {
                Ok(ArchiveSubject {
                    kind: row.get("kind")?,
                    subject: row.get("subject_id")?,
                    from_day: row.get("from_day")?,
                    region: row.get("region")?,
                    labels: row.json("labels")?,
                })
            })
            .collect()
    }

    /// Adds rows, in one transaction; a second change on the same day replaces the first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn put_archive_subjects(&self, rows: &[ArchiveSubject]) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        for row in rows {
            let text = "INSERT INTO archive_subject (kind, subject_id, from_day, region, labels)\nVALUES ($1, $2, $3, $4, $5)\n\
                ON CONFLICT (kind, subject_id, from_day) DO UPDATE SET region = excluded.region, labels = excluded.labels";
            let labels = serde_json::json!(row.labels).to_string();
            let put = sql(text).bind(row.kind.as_str()).bind(row.subject).bind(row.from_day);
            tx.run(put.bind(row.region.as_str()).bind(labels)).await?;
        }
        tx.commit().await
    }
}
