//! Settings that belong to the data and not to the configuration file: node id, terminal key, idle limit.

use anlan_model::{Scope, Timestamp};
use serde_json::json;

use crate::audit::{Entry, Holder, hex_of};
use crate::db::sql;
use crate::{Store, StoreError, require_node_wide};

impl Store {
    /// The value of a setting.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn setting(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.db.row(sql("SELECT value FROM setting WHERE key = $1").bind(key)).await?.map(|r| r.get("value")).transpose()
    }

    /// The value of a setting, `value` if it had none until now; of two callers at the same time both get the same.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn setting_or_put(&self, key: &str, value: &str) -> Result<String, StoreError> {
        let mut tx = self.db.begin().await?;
        let put =
            sql("INSERT INTO setting (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = setting.value RETURNING value");
        let kept = tx.row(put.bind(key).bind(value)).await?.ok_or(StoreError::NotFound)?.get("value")?;
        tx.commit().await?;
        Ok(kept)
    }

    /// Sets a value. The audit gets its hash only: a setting may be a key.
    ///
    /// # Errors
    /// [`StoreError::OutOfScope`] for an asker who is not node-wide, [`StoreError::Database`].
    pub async fn put_setting(&self, scope: &Scope, key: &str, value: &str, now: Timestamp) -> Result<(), StoreError> {
        require_node_wide(scope)?;
        let mut change = self.change(scope, now).await?;
        let put = sql("INSERT INTO setting (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value");
        change.tx.run(put.bind(key).bind(value)).await?;
        let detail = json!({"value_sha256": hex_of(value.as_bytes())});
        let row = json!({"key": key, "value": value});
        change.record(Entry { action: "update", noun: "setting", subject: key.to_owned(), detail, row, holder: Holder::NONE }).await?;
        change.commit().await
    }
}
