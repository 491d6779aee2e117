//! Packs that an administrator switched on: their files as they were then.

use std::collections::BTreeMap;

use anlan_model::{Scope, Timestamp};
use serde_json::json;

use crate::audit::{Entry, Holder};
use crate::db::sql;
use crate::{Store, StoreError, require_node_wide};

/// A pack that was switched on or off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackRow {
    /// Its word.
    pub id: String,
    /// Hash of its files.
    pub hash: String,
    /// Whether it is on.
    pub enabled: bool,
    /// By whom, as shown then.
    pub changed_by: String,
    /// When.
    pub changed_at: Timestamp,
    /// Path and text of each of its files; empty when it is off.
    pub files: BTreeMap<String, String>,
}

impl Store {
    /// Every pack that was ever switched on, in order of ids.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn packs(&self) -> Result<Vec<PackRow>, StoreError> {
        let mut packs = Vec::new();
        let rows = self.db.rows(sql("SELECT id, hash, enabled, changed_by, changed_at_us FROM pack ORDER BY id")).await?;
        for row in &rows {
            let id: String = row.get("id")?;
            let files = self.db.rows(sql("SELECT path, text FROM pack_file WHERE pack_id = $1 ORDER BY path").bind(id.as_str())).await?;
            let files = files.iter().map(|row| Ok((row.get("path")?, row.get("text")?))).collect::<Result<_, StoreError>>()?;
            packs.push(PackRow {
                id,
                hash: row.get("hash")?,
                enabled: row.get("enabled")?,
                changed_by: row.get("changed_by")?,
                changed_at: row.get("changed_at_us")?,
                files,
            });
        }
        Ok(packs)
    }

    /// Switches a pack on, with these files and the key that signed them, or off.
    ///
    /// # Errors
    /// [`StoreError::OutOfScope`] for an asker who is not node-wide, [`StoreError::Database`].
    pub async fn put_pack(
        &self,
        scope: &Scope,
        id: &str,
        hash: &str,
        on: Option<(&BTreeMap<String, String>, Option<&str>)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        require_node_wide(scope)?;
        let files = on.map(|(files, _)| files);
        let mut change = self.change(scope, now).await?;
        let put = sql("INSERT INTO pack (id, hash, enabled, changed_by, changed_at_us) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (id) DO UPDATE SET hash = $2, enabled = $3, changed_by = $4, changed_at_us = $5");
        change.tx.run(put.bind(id).bind(hash).bind(files.is_some()).bind(scope.name.as_str()).bind(now)).await?;
        change.tx.run(sql("DELETE FROM pack_file WHERE pack_id = $1").bind(id)).await?;
        for (path, text) in files.into_iter().flatten() {
            let insert = sql("INSERT INTO pack_file (pack_id, path, text) VALUES ($1, $2, $3)");
            change.tx.run(insert.bind(id).bind(path).bind(text)).await?;
        }
        let action = if files.is_some() { "enable" } else { "disable" };
        let row = json!({"id": id, "hash": hash, "enabled": files.is_some()});
        let mut detail = row.clone();
        if let Some((_, signed_by)) = on {
            detail["signature"] = signed_by.unwrap_or("unsigned").into();
        }
        change.record(Entry { action, noun: "pack", subject: id.to_owned(), detail, row, holder: Holder::NONE }).await?;
        change.commit().await
    }
}
