//! Data-quality events: a clock that is off, a second connection, an unknown terminal. Written by [`crate::projection`].

use anlan_model::{EnterpriseId, Scope, Timestamp};

use crate::audit::and_equal;
use crate::db::sql;
use crate::scope::Owner;
use crate::{Page, Paging, Store, StoreError};

/// Events that are kept; older ones give way.
pub(crate) const MAX: i64 = 200_000;

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    /// In order of the log.
    pub id: i64,
    /// When, domain time.
    pub at: Timestamp,
    /// Kind word.
    pub kind: String,
    /// Device code or terminal phone.
    pub subject: String,
    /// More; a text that is no JSON is shown as `{"text": …}`.
    pub detail: serde_json::Value,
    /// Owner, if known.
    pub enterprise: Option<EnterpriseId>,
}

impl Store {
    /// A page of events under the scope, newest first, optionally of one kind.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`].
    pub async fn events(&self, scope: &Scope, kind: Option<&str>, paging: &Paging) -> Result<Page<EventRow>, StoreError> {
        let mut q = sql("SELECT x.id, x.at_us, x.kind, x.subject, x.detail, x.enterprise_id\nFROM event AS x\nWHERE 1 = 1");
        q.and_visible(scope, Owner { enterprise: "x.enterprise_id", region: "x.region", sector: "x.sector" });
        and_equal(&mut q, "x.kind", kind.as_ref());
        if let Some(id) = paging.after_id()? {
            q.push("\n  AND x.id < {}", &[&id]);
        }
        q.push("\nORDER BY x.id DESC\nLIMIT {}", &[&paging.fetch()]);
        paging.page_by_id(self.db.rows(q).await?, |row| {
            let detail: String = row.get("detail")?;
            Ok(EventRow {
                id: row.get("id")?,
                at: row.get("at_us")?,
                kind: row.get("kind")?,
                subject: row.get("subject")?,
                detail: serde_json::from_str(&detail).unwrap_or_else(|_| serde_json::json!({ "text": detail })),
                enterprise: row.get("enterprise_id")?,
            })
        })
    }
}
