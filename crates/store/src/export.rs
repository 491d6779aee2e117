//! Lists as files, made in the background: who asked for what, with which grants, and what has become of it. A job is its asker's alone.

use anlan_model::noun::Grant;
use anlan_model::{Scope, Timestamp, UserId};
use serde_json::{Value as Json, json};

use crate::audit::{Entry, Holder};
use crate::db::{Row, sql};
use crate::{Store, StoreError};

/// What has become of a job.
#[derive(Clone, Debug, PartialEq)]
pub enum ExportState {
    /// It is being made, or will be.
    Waiting,
    /// All of it is there.
    Done,
    /// It is not made; why, as JSON of whoever tried.
    Failed(Json),
}

/// A job.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportRow {
    /// Its id.
    pub id: i64,
    /// Who asked.
    pub user: UserId,
    /// Of which register.
    pub kind: String,
    /// Which records, in which language: the business of whoever makes it.
    pub asked: Json,
    /// What the asker held then.
    pub grants: Vec<Grant>,
    /// When, domain time.
    pub asked_at: Timestamp,
    /// What has become of it.
    pub state: ExportState,
    /// Records in its files so far.
    pub rows: u64,
    /// Files so far.
    pub files: u64,
    /// When it was done or failed.
    pub done_at: Option<Timestamp>,
}

const COLUMNS: &str = "j.id, j.user_id, j.kind, j.asked, j.grants, j.asked_at_us, j.state, j.reason, j.n_rows, j.n_files, j.done_at_us";

fn read(row: &Row) -> Result<ExportRow, StoreError> {
    let state: String = row.get("state")?;
    let grants = serde_json::from_value(row.json("grants")?).map_err(|e| StoreError::Corrupt(format!("export_job.grants: {e}")))?;
    let count = |name: &str| Ok::<u64, StoreError>(u64::try_from(row.get::<i64>(name)?).unwrap_or(0));
    Ok(ExportRow {
        id: row.get("id")?,
        user: row.get("user_id")?,
        kind: row.get("kind")?,
        asked: row.json("asked")?,
        grants,
        asked_at: row.get("asked_at_us")?,
        state: match state.as_str() {
            "waiting" => ExportState::Waiting,
            "done" => ExportState::Done,
            _ => ExportState::Failed(row.json("reason")?),
        },
        rows: count("n_rows")?,
        files: count("n_files")?,
        done_at: row.get("done_at_us")?,
    })
}

impl Store {
    /// Takes down what the asker wants; `None` if `waiting_max` of theirs wait already.
    ///
    /// # Errors
    /// [`StoreError::OutOfScope`] for the node itself, [`StoreError::Database`].
    pub async fn ask_export(
        &self,
        scope: &Scope,
        kind: &str,
        asked: &Json,
        now: Timestamp,
        waiting_max: i64,
    ) -> Result<Option<ExportRow>, StoreError> {
        let user = scope.user.ok_or(StoreError::OutOfScope)?;
        let mut change = self.change(scope, now).await?;
        let waiting = sql("SELECT COUNT(*) AS n FROM export_job AS j WHERE j.user_id = $1 AND j.state = 'waiting'").bind(user);
        if change.tx.row(waiting).await?.ok_or(StoreError::NotFound)?.get::<i64>("n")? >= waiting_max {
            return Ok(None);
        }
        let insert = sql("INSERT INTO export_job (user_id, kind, asked, grants, asked_at_us, state, n_rows, n_files)
VALUES ($1, $2, $3, $4, $5, 'waiting', 0, 0) RETURNING id");
        let insert = insert.bind(user).bind(kind).bind(asked.to_string()).bind(json!(scope.grants).to_string()).bind(now);
        let id: i64 = change.tx.row(insert).await?.ok_or(StoreError::NotFound)?.get("id")?;
        let row = json!({"id": id, "user": user, "kind": kind, "asked": asked});
        let entry = Entry { action: "create", noun: "export", subject: id.to_string(), detail: row.clone(), row, holder: Holder::NONE };
        change.record(entry).await?;
        change.commit().await?;
        self.export(scope, id).await.map(Some)
    }

    /// The asker's jobs, newest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn exports(&self, scope: &Scope) -> Result<Vec<ExportRow>, StoreError> {
        let q = sql(&format!("SELECT {COLUMNS}\nFROM export_job AS j\nWHERE j.user_id = $1\nORDER BY j.id DESC\nLIMIT 100"));
        self.db.rows(q.bind(scope.user)).await?.iter().map(read).collect()
    }

    /// One of the asker's jobs.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn export(&self, scope: &Scope, id: i64) -> Result<ExportRow, StoreError> {
        let q = sql(&format!("SELECT {COLUMNS}\nFROM export_job AS j\nWHERE j.id = $1 AND j.user_id = $2"));
        read(&self.db.row(q.bind(id).bind(scope.user)).await?.ok_or(StoreError::NotFound)?)
    }

    /// Whoever's job has waited longest.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn next_export(&self) -> Result<Option<ExportRow>, StoreError> {
        let q = sql(&format!("SELECT {COLUMNS}\nFROM export_job AS j\nWHERE j.state = 'waiting'\nORDER BY j.id\nLIMIT 1"));
        self.db.row(q).await?.as_ref().map(read).transpose()
    }

    /// Says how far a job is; false if it was taken back meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn note_export(&self, id: i64, state: &ExportState, rows: u64, files: u64, now: Timestamp) -> Result<bool, StoreError> {
        let (word, reason) = match state {
            ExportState::Waiting => ("waiting", None),
            ExportState::Done => ("done", None),
            ExportState::Failed(reason) => ("failed", Some(reason.to_string())),
        };
        let done_at = (*state != ExportState::Waiting).then_some(now);
        let mut tx = self.db.begin().await?;
        let update = sql("UPDATE export_job SET state = $2, reason = $3, n_rows = $4, n_files = $5, done_at_us = $6 WHERE id = $1");
        let update = update.bind(id).bind(word).bind(reason).bind(i64::try_from(rows).unwrap_or(i64::MAX));
        let n = tx.run(update.bind(i64::try_from(files).unwrap_or(i64::MAX)).bind(done_at)).await?;
        tx.commit().await?;
        Ok(n > 0)
    }

    /// Takes back a job of the asker; its files are nobody's then.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn forget_export(&self, scope: &Scope, id: i64, now: Timestamp) -> Result<(), StoreError> {
        let mut change = self.change(scope, now).await?;
        let n = change.tx.run(sql("DELETE FROM export_job WHERE id = $1 AND user_id = $2").bind(id).bind(scope.user)).await?;
        if n == 0 {
            return Err(StoreError::NotFound);
        }
        let row = json!({"id": id});
        let entry = Entry { action: "delete", noun: "export", subject: id.to_string(), detail: row.clone(), row, holder: Holder::NONE };
        change.record(entry).await?;
        change.commit().await
    }

    /// Forgets jobs that were asked for before `until`, and says which are left.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn tidy_exports(&self, until: Timestamp) -> Result<Vec<i64>, StoreError> {
        let mut tx = self.db.begin().await?;
        tx.run(sql("DELETE FROM export_job WHERE asked_at_us < $1").bind(until)).await?;
        let left = tx.rows(sql("SELECT j.id FROM export_job AS j ORDER BY j.id")).await?;
        tx.commit().await?;
        left.iter().map(|row| row.get("id")).collect()
    }
}
