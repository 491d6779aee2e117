//! Files of records (附件): what they are, whose, and who uploaded them. The bytes are not here; `app::attachment` keeps them as files by hash.
//!
//! A file is uploaded before the act that names it, so a row without a record is its uploader's alone; from the act on it is the record's, seen by
//! whoever sees that, and stays. What the act bound stands in the record's audit with its hash. Start at [`Store::put_attachment`].

use std::collections::BTreeMap;

use anlan_model::{AttachmentId, RecordId, Scope, Timestamp, UserId};
use serde_json::Value as Json;

use crate::db::{PIECE, Row, sql};
use crate::record::{RecordChange, and_seen};
use crate::{Store, StoreError};

/// A file that is on the disk already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAttachment {
    /// Who uploaded it.
    pub by: UserId,
    /// Domain time.
    pub at: Timestamp,
    /// As the person calls it.
    pub name: String,
    /// By its bytes.
    pub media_type: String,
    /// Length.
    pub bytes: u64,
    /// Of the original, hexadecimal.
    pub sha256: String,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentRow {
    /// Id.
    pub id: AttachmentId,
    /// Whose; `None` = no act has named it.
    pub record: Option<RecordId>,
    /// The rest.
    pub file: NewAttachment,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttachmentUsage {
    /// Files of one person that no act has named.
    pub waiting: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Bytes of all files.
    pub all_bytes: u64,
}

/// A file as the audit vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VouchedFile {
    /// Its id.
    pub id: AttachmentId,
    /// The record that it was bound to.
    pub record: RecordId,
    /// SHA-256 of the original.
    pub sha256: String,
    /// Its row is there and says the same.
    pub has_row: bool,
}

const COLUMNS: &str = "a.id, a.record_id, a.uploaded_by, a.uploaded_at_us, a.name, a.media_type, a.bytes, a.sha256";

impl Store {
    /// Takes down a file whose bytes are durable already.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn put_attachment(&self, new: &NewAttachment) -> Result<AttachmentRow, StoreError> {
        let mut tx = self.db.begin().await?;
        let insert = sql("INSERT INTO attachment (uploaded_by, uploaded_at_us, name, media_type, bytes, sha256)
VALUES ($1, $2, $3, $4, $5, $6)
RETURNING id");
        let insert = insert.bind(new.by).bind(new.at).bind(new.name.as_str()).bind(new.media_type.as_str());
        let insert = insert.bind(i64::try_from(new.bytes).unwrap_or(i64::MAX)).bind(new.sha256.as_str());
        let id = tx.row(insert).await?.ok_or(StoreError::NotFound)?.get("id")?;
        tx.commit().await?;
        Ok(AttachmentRow { id, record: None, file: new.clone() })
    }

    /// A file: of a record that the scope holds, or the asker's own that no act has named.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn attachment(&self, scope: &Scope, id: AttachmentId) -> Result<AttachmentRow, StoreError> {
        let mut q =
            sql(&format!("SELECT {COLUMNS}\nFROM attachment AS a\nINNER JOIN record AS r ON r.id = a.record_id\nWHERE a.id = $1")).bind(id);
        and_seen(&mut q, scope);
        if let Some(row) = self.db.row(q).await? {
            return read(&row);
        }
        let own = sql(&format!("SELECT {COLUMNS}\nFROM attachment AS a\nWHERE a.id = $1 AND a.record_id IS NULL AND a.uploaded_by = $2"));
        read(&self.db.row(own.bind(id).bind(scope.user)).await?.ok_or(StoreError::NotFound)?)
    }

    /// Every file that acts bound to a record, in order of ids. Whoever asks has shown that they see the record.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn attachments_of(&self, record: RecordId) -> Result<Vec<AttachmentRow>, StoreError> {
        let q = sql(&format!("SELECT {COLUMNS}\nFROM attachment AS a\nWHERE a.record_id = $1\nORDER BY a.id")).bind(record);
        self.db.rows(q).await?.iter().map(read).collect()
    }

    /// How much this person has waiting, and how much is kept of all.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn attachment_usage(&self, by: UserId) -> Result<AttachmentUsage, StoreError> {
        // A sum over BIGINT is NUMERIC on PostgreSQL.
        let q = sql("SELECT COALESCE(CAST(SUM(a.bytes) AS BIGINT), 0) AS all_bytes,
  COALESCE(CAST(SUM(CASE WHEN a.record_id IS NULL AND a.uploaded_by = $1 THEN a.bytes ELSE 0 END) AS BIGINT), 0) AS waiting_bytes,
  COALESCE(CAST(SUM(CASE WHEN a.record_id IS NULL AND a.uploaded_by = $1 THEN 1 ELSE 0 END) AS BIGINT), 0) AS waiting
FROM attachment AS a");
        let row = self.db.row(q.bind(by)).await?.ok_or(StoreError::NotFound)?;
        let number = |name: &str| Ok::<u64, StoreError>(u64::try_from(row.get::<i64>(name)?).unwrap_or(0));
        Ok(AttachmentUsage { waiting: number("waiting")?, waiting_bytes: number("waiting_bytes")?, all_bytes: number("all_bytes")? })
    }

    /// Forgets the asker's own file that no act has named.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn forget_attachment(&self, scope: &Scope, id: AttachmentId) -> Result<String, StoreError> {
        let mut tx = self.db.begin().await?;
        let delete = sql("DELETE FROM attachment WHERE id = $1 AND record_id IS NULL AND uploaded_by = $2 RETURNING sha256");
        let hash = tx.row(delete.bind(id).bind(scope.user)).await?.ok_or(StoreError::NotFound)?.get("sha256")?;
        tx.commit().await?;
        Ok(hash)
    }

    /// Forgets files uploaded before `until` that no act has named; their hashes.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn forget_waiting_attachments(&self, until: Timestamp) -> Result<Vec<String>, StoreError> {
        let mut tx = self.db.begin().await?;
        let delete = sql("DELETE FROM attachment WHERE record_id IS NULL AND uploaded_at_us < $1 RETURNING sha256");
        let rows = tx.rows(delete.bind(until)).await?;
        tx.commit().await?;
        rows.iter().map(|row| row.get("sha256")).collect()
    }

    /// The hashes that rows name and that begin with `prefix`, each once, in order.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn attachment_hashes(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        // Hexadecimal digits are all below g.
        let q = sql("SELECT DISTINCT a.sha256 FROM attachment AS a WHERE a.sha256 >= $1 AND a.sha256 < $2 ORDER BY a.sha256");
        let rows = self.db.rows(q.bind(prefix).bind(format!("{prefix}g"))).await?;
        rows.iter().map(|row| row.get("sha256")).collect()
    }

    /// The files that the audit says acts bound, in order of its entries, and how they stand with their rows; and rows of files that a record
    /// has but no entry names.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn vouched_attachments(&self) -> Result<(Vec<VouchedFile>, Vec<AttachmentId>), StoreError> {
        let (mut rows, mut after) = (BTreeMap::new(), 0_i64);
        loop {
            let page = sql(&format!(
                "SELECT {COLUMNS}\nFROM attachment AS a\nWHERE a.record_id IS NOT NULL AND a.id > $1\nORDER BY a.id\nLIMIT 1000"
            ));
            let found = self.db.rows(page.bind(after)).await?;
            let Some(last) = found.last() else { break };
            after = last.get("id")?;
            for row in &found {
                let row = read(row)?;
                rows.insert(row.id, (row.record, row.file.sha256));
            }
        }
        let (mut vouched, mut after) = (Vec::new(), 0_i64);
        loop {
            // Text that people wrote may match too; it is looked at once more below.
            let page = sql("SELECT x.id, x.subject, x.detail FROM audit AS x
WHERE x.id > $1 AND x.noun = 'record' AND x.detail LIKE '%\"files\":{%'
ORDER BY x.id
LIMIT 500");
            let found = self.db.rows(page.bind(after)).await?;
            let Some(last) = found.last() else { break };
            after = last.get("id")?;
            for entry in &found {
                let detail: Json = entry.json("detail")?;
                let Ok(record) = entry.get::<String>("subject")?.parse::<RecordId>() else { continue };
                for (id, file) in detail["files"].as_object().into_iter().flatten() {
                    let (Ok(id), Some(sha256)) = (id.parse::<AttachmentId>(), file["sha256"].as_str()) else { continue };
                    let row = rows.remove(&id);
                    let has_row = row.is_some_and(|(of, hash)| of == Some(record) && hash == sha256);
                    vouched.push(VouchedFile { id, record, sha256: sha256.to_owned(), has_row });
                }
            }
        }
        Ok((vouched, rows.into_keys().collect()))
    }
}

impl RecordChange<'_> {
    /// Files by id, whoever they are of: who may name one is decided above.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn attachments(&mut self, ids: &[AttachmentId]) -> Result<Vec<AttachmentRow>, StoreError> {
        let mut found = Vec::new();
        for piece in ids.chunks(PIECE) {
            let mut q = sql(&format!("SELECT {COLUMNS}\nFROM attachment AS a\nWHERE 1 = 1"));
            q.and_in("a.id", piece);
            for row in self.tx().rows(q).await? {
                found.push(read(&row)?);
            }
        }
        Ok(found)
    }

    /// How many files a record has.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn n_attachments(&mut self, record: RecordId) -> Result<usize, StoreError> {
        let q = sql("SELECT COUNT(*) AS n FROM attachment AS a WHERE a.record_id = $1").bind(record);
        let row = self.tx().row(q).await?.ok_or(StoreError::NotFound)?;
        Ok(usize::try_from(row.get::<i64>("n")?).unwrap_or(0))
    }

    /// Makes files of the asker, which no act has named, the record's.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if one went meanwhile, [`StoreError::Database`].
    pub async fn bind_attachments(&mut self, record: RecordId, ids: &[AttachmentId]) -> Result<(), StoreError> {
        for id in ids {
            let user = self.user();
            let update = sql("UPDATE attachment SET record_id = $1 WHERE id = $2 AND record_id IS NULL AND uploaded_by = $3");
            if self.tx().run(update.bind(record).bind(*id).bind(user)).await? == 0 {
                return Err(StoreError::NotFound);
            }
        }
        Ok(())
    }
}

fn read(row: &Row) -> Result<AttachmentRow, StoreError> {
    let bytes: i64 = row.get("bytes")?;
    Ok(AttachmentRow {
        id: row.get("id")?,
        record: row.get("record_id")?,
        file: NewAttachment {
            by: row.get("uploaded_by")?,
            at: row.get("uploaded_at_us")?,
            name: row.get("name")?,
            media_type: row.get("media_type")?,
            bytes: u64::try_from(bytes).map_err(|_| StoreError::Corrupt(format!("attachment.bytes is {bytes}")))?,
            sha256: row.get("sha256")?,
        },
    })
}
