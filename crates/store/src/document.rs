//! What stands in official documents (公文): content that is written once with its record, and the file that is made of it once.
//!
//! Who may see a document is asked of its record ([`Store::record`]); nothing here is given out without that. Start at [`RecordChange::put_document`].

use anlan_model::{RecordId, Scope, Timestamp};
use serde_json::{Value as Json, json};

use crate::audit::{Entry, Holder};
use crate::db::sql;
use crate::record::RecordChange;
use crate::{Store, StoreError};

/// Content of a document, as it was frozen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentRow {
    /// JSON; the digest is of these bytes.
    pub content: String,
    /// SHA-256 of them, hexadecimal.
    pub digest: String,
    /// What it was composed from.
    pub made_from: Json,
    /// SHA-256 of the file, once it was made.
    pub pdf_digest: Option<String>,
}

impl Store {
    /// What stands in a document.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Corrupt`], [`StoreError::Database`].
    pub async fn document(&self, record: RecordId) -> Result<DocumentRow, StoreError> {
        let q = sql("SELECT content, digest, made_from, pdf_digest FROM document WHERE record_id = $1").bind(record);
        let row = self.db.row(q).await?.ok_or(StoreError::NotFound)?;
        let made_from: String = row.get("made_from")?;
        let made_from = serde_json::from_str(&made_from).map_err(|e| StoreError::Corrupt(format!("document {record}: {e}")))?;
        Ok(DocumentRow { content: row.get("content")?, digest: row.get("digest")?, made_from, pdf_digest: row.get("pdf_digest")? })
    }

    /// The file of a document, if it was made.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn document_file(&self, record: RecordId) -> Result<Option<Vec<u8>>, StoreError> {
        let q = sql("SELECT pdf FROM document WHERE record_id = $1 AND pdf IS NOT NULL").bind(record);
        self.db.row(q).await?.map(|row| row.get("pdf")).transpose()
    }

    /// Keeps the file of a document; the first that comes stays.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn keep_document_file(&self, record: RecordId, file: &[u8], digest: &str, now: Timestamp) -> Result<(), StoreError> {
        let node = Scope::node();
        let mut change = self.change_records(&node, now).await?;
        let keep = sql("UPDATE document SET pdf = $1, pdf_digest = $2, pdf_made_at_us = $3 WHERE record_id = $4 AND pdf IS NULL");
        if change.tx().run(keep.bind(file).bind(digest).bind(now).bind(record)).await? == 0 {
            return Ok(());
        }
        let row = change.tx().row(sql("SELECT r.region FROM record AS r WHERE r.id = $1").bind(record)).await?;
        let region: Option<String> = row.ok_or(StoreError::NotFound)?.get("region")?;
        let holder = Holder { region: region.as_deref().and_then(anlan_model::RegionCode::new), ..Holder::NONE };
        let detail = json!({"pdf_sha256": digest, "bytes": file.len()});
        let row = json!({"digest": digest});
        change.change().record(Entry { action: "typeset", noun: "document", subject: record.to_string(), detail, row, holder }).await?;
        change.commit().await.map(drop)
    }
}

impl RecordChange<'_> {
    /// Writes what stands in a document that was just made a record.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn put_document(&mut self, record: RecordId, content: &str, digest: &str, made_from: &Json) -> Result<(), StoreError> {
        let insert = sql("INSERT INTO document (record_id, content, digest, made_from) VALUES ($1, $2, $3, $4)");
        self.tx().run(insert.bind(record).bind(content).bind(digest).bind(made_from.to_string())).await.map(drop)
    }
}
