//! Notifications: what people are told about records, as long as they may see these.

use anlan_model::{RecordId, Scope, Timestamp};
use serde_json::Value as Json;

use super::and_seen;
use crate::db::sql;
use crate::{Page, Paging, Store, StoreError};

/// Something that somebody was told.
#[derive(Clone, Debug, PartialEq)]
pub struct NotificationRow {
    /// In order of telling.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// What about, a word such as `task`, `due_soon`, `overdue`.
    pub kind: String,
    /// More.
    pub detail: Json,
    /// The record.
    pub record: RecordId,
    /// Its kind.
    pub record_kind: String,
    /// Its title.
    pub title: String,
    /// Whether they said that they read it.
    pub read: bool,
}

impl Store {
    /// A page of what the asker was told, newest first. What is about records that they may no longer see, or of other kinds than
    /// these, does not show.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`].
    pub async fn notifications(&self, scope: &Scope, kinds: &[String], paging: &Paging) -> Result<Page<NotificationRow>, StoreError> {
        let Some(user) = scope.user else { return Ok(Page { items: Vec::new(), next: None }) };
        let mut q = sql("SELECT m.id, m.at_us, m.kind, m.detail, m.record_id, r.kind AS record_kind, r.title, m.read
FROM notification AS m
INNER JOIN record AS r ON r.id = m.record_id
WHERE m.user_id = $1")
        .bind(user);
        q.and_in("r.kind", kinds);
        and_seen(&mut q, scope);
        if let Some(id) = paging.after_id()? {
            q.push("\n  AND m.id < {}", &[&id]);
        }
        q.push("\nORDER BY m.id DESC\nLIMIT {}", &[&paging.fetch()]);
        paging.page_by_id(self.db.rows(q).await?, |row| {
            Ok(NotificationRow {
                id: row.get("id")?,
                at: row.get("at_us")?,
                kind: row.get("kind")?,
                detail: row.json("detail")?,
                record: row.get("record_id")?,
                record_kind: row.get("record_kind")?,
                title: row.get("title")?,
                read: row.get("read")?,
            })
        })
    }

    /// How many of these are unread.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn n_unread(&self, scope: &Scope, kinds: &[String]) -> Result<i64, StoreError> {
        let Some(user) = scope.user else { return Ok(0) };
        let mut q = sql("SELECT COUNT(*) AS n FROM notification AS m\nINNER JOIN record AS r ON r.id = m.record_id
WHERE m.user_id = $1 AND m.read = 0")
        .bind(user);
        q.and_in("r.kind", kinds);
        and_seen(&mut q, scope);
        self.db.row(q).await?.ok_or(StoreError::NotFound)?.get("n")
    }

    /// Notes that the asker read everything up to and with `id`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn read_notifications(&self, scope: &Scope, id: i64) -> Result<(), StoreError> {
        let Some(user) = scope.user else { return Ok(()) };
        let mut tx = self.db.begin().await?;
        tx.run(sql("UPDATE notification SET read = 1 WHERE user_id = $1 AND id <= $2 AND read = 0").bind(user).bind(id)).await?;
        tx.commit().await
    }
}
