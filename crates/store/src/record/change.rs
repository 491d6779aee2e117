//! Writing records: everything that is read to decide, and everything that follows, in one transaction.

use std::collections::{BTreeMap, BTreeSet};

use anlan_domain::register::{IndexEntry, search};
use anlan_model::{EnterpriseId, RecordId, RegionCode, Role, Scope, Timestamp, UserId};
use serde_json::{Value as Json, json};

use super::{RecordRow, and_holding, canonical_of, one, read};
use crate::audit::{Change, Entry, Holder, check_revision};
use crate::db::{PIECE, Row, Sql, Tx, sql};
use crate::region::{MOVED_AT_ONCE, Redivision};
use crate::scope::Owner;
use crate::{Store, StoreError};

/// Rows of one INSERT; four arguments each stay far below what a statement takes.
const ROWS: usize = 100;
/// Notifications that are kept of one person; the oldest go first.
const NOTIFICATIONS_MAX: i64 = 1_000;

/// Whose a record is, with what a search finds it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordOwner {
    /// `None` = the division's own, or everybody's.
    pub enterprise: Option<EnterpriseId>,
    /// Where; `None` = everybody's.
    pub region: Option<RegionCode>,
    /// Sector of the enterprise.
    pub sector: Option<String>,
    /// Name and code of the enterprise; empty without one.
    pub names: Vec<String>,
}

/// A record as it is to be kept; owner and parent never change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecordPut {
    /// Number.
    pub number: String,
    /// Title.
    pub title: String,
    /// State.
    pub state: String,
    /// Whether something follows.
    pub is_open: bool,
    /// Last day on which it is in time, ISO.
    pub due_on: Option<String>,
    /// Day of the next word about that, ISO.
    pub remind_on: Option<String>,
    /// Steps of escalation that were told.
    pub escalated: usize,
    /// Unique within the kind.
    pub key: Option<String>,
    /// Roles on whose to-do list it stands.
    pub tasks: Vec<String>,
    /// From which day on, ISO; `None` = now.
    pub task_on: Option<String>,
    /// The one person whose task it is.
    pub task_user: Option<UserId>,
    /// What a search looks into, besides the owner's names.
    pub texts: Vec<String>,
    /// What lists are narrowed by.
    pub index: Vec<IndexEntry>,
    /// Fields and acts.
    pub body: Json,
}

/// A change of records under way; dropped without [`RecordChange::commit`] nothing has happened.
pub struct RecordChange<'a> {
    change: Change<'a>,
    /// What it left otherwise than it was.
    changed: Vec<RecordId>,
}

impl Store {
    /// Begins a change of records; what it reads cannot change before it commits.
    ///
    /// # Errors
    /// [`StoreError::Busy`], [`StoreError::Database`].
    pub async fn change_records<'a>(&self, scope: &'a Scope, now: Timestamp) -> Result<RecordChange<'a>, StoreError> {
        Ok(RecordChange { change: self.change(scope, now).await?, changed: Vec::new() })
    }
}

impl<'a> RecordChange<'a> {
    pub(crate) fn tx(&mut self) -> &mut Tx {
        &mut self.change.tx
    }

    pub(crate) fn change(&mut self) -> &mut Change<'a> {
        &mut self.change
    }

    pub(crate) fn user(&self) -> Option<UserId> {
        self.change.scope.user
    }

    /// A visible record.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn record(&mut self, kind: &str, id: RecordId) -> Result<RecordRow, StoreError> {
        let q = one(self.change.scope, kind, id);
        read(&self.change.tx.row(q).await?.ok_or(StoreError::NotFound)?)
    }

    /// The record of this id, of whatever kind.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn kind_of(&mut self, id: RecordId) -> Result<String, StoreError> {
        let row = self.change.tx.row(sql("SELECT r.kind FROM record AS r WHERE r.id = $1").bind(id)).await?;
        row.ok_or(StoreError::NotFound)?.get("kind")
    }

    /// State of the record above, kind and state of those below.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn related(&mut self, row: &RecordRow) -> Result<Related, StoreError> {
        let parent = match &row.parent {
            None => None,
            Some((id, ..)) => Some(self.change.tx.row(select_state(*id)).await?.ok_or(StoreError::NotFound)?.get("state")?),
        };
        Ok((parent, read_below(&self.change.tx.rows(select_below(row.id)).await?)?))
    }

    /// The visible owner of an enterprise's records.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Database`].
    pub async fn owner(&mut self, enterprise: EnterpriseId) -> Result<RecordOwner, StoreError> {
        let row = self.change.tx.row(select_owner(self.change.scope, enterprise)).await?;
        read_owner(&row.ok_or(StoreError::Missing { field: "enterprise" })?)
    }

    /// Visible owners by the codes of their enterprises.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn owners(&mut self, codes: &[String]) -> Result<Vec<(String, RecordOwner)>, StoreError> {
        let mut owners = Vec::new();
        for piece in codes.chunks(PIECE) {
            // The code of one that was merged leads to the other.
            let mut q = sql("SELECT t.code AS asked, e.id, e.region, e.sector, e.name, e.code FROM enterprise AS t
INNER JOIN enterprise AS e ON e.id = COALESCE(t.merged_into, t.id)
WHERE 1 = 1");
            q.and_visible(self.change.scope, Owner::ENTERPRISE);
            q.and_in("t.code", piece);
            for row in self.change.tx.rows(q).await? {
                owners.push((row.get("asked")?, read_owner(&row)?));
            }
        }
        Ok(owners)
    }

    /// Whose the record of `kind` with this key is; `None` = there is none, `Some(None)` = a division's.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn key_holder(&mut self, kind: &str, key: &str) -> Result<Option<Option<EnterpriseId>>, StoreError> {
        let q = sql("SELECT r.enterprise_id FROM record AS r WHERE r.kind = $1 AND r.record_key = $2");
        self.change.tx.row(q.bind(kind).bind(key)).await?.map(|row| row.get("enterprise_id")).transpose()
    }

    /// Goes on behind `n` in what is counted under `name`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn count_from(&mut self, name: &str, n: i64) -> Result<(), StoreError> {
        let q = sql("INSERT INTO record_counter (name, n) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET n = CASE WHEN record_counter.n < excluded.n THEN excluded.n ELSE record_counter.n END");
        self.change.tx.run(q.bind(name).bind(n)).await.map(drop)
    }

    /// The next of the numbers that are counted under `name`, from 1.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn count(&mut self, name: &str) -> Result<i64, StoreError> {
        let q = sql("INSERT INTO record_counter (name, n) VALUES ($1, 1)
ON CONFLICT (name) DO UPDATE SET n = record_counter.n + 1 RETURNING n");
        self.change.tx.row(q.bind(name)).await?.ok_or(StoreError::NotFound)?.get("n")
    }

    /// Makes a record of a visible owner.
    ///
    /// # Errors
    /// [`StoreError::OutOfScope`], [`StoreError::Taken`] for a key that another has, [`StoreError::Database`].
    pub async fn create(
        &mut self,
        kind: &str,
        owner: &RecordOwner,
        parent: Option<RecordId>,
        put: &RecordPut,
        detail: Json,
    ) -> Result<RecordId, StoreError> {
        let id = self.insert(kind, owner, parent, put).await?;
        self.finish(id, "create", owner, detail).await?;
        Ok(id)
    }

    /// The rows of a record; its entry in the audit is still to be written.
    pub(crate) async fn insert(
        &mut self,
        kind: &str,
        owner: &RecordOwner,
        parent: Option<RecordId>,
        put: &RecordPut,
    ) -> Result<RecordId, StoreError> {
        if !self.change.scope.holds(owner.enterprise, owner.region.as_ref(), owner.sector.as_deref()) {
            return Err(StoreError::OutOfScope);
        }
        if let Some(enterprise) = owner.enterprise {
            crate::transfer::must_not_begin(&mut self.change.tx, enterprise, kind).await?;
        }
        if let Some(key) = &put.key
            && self.key_holder(kind, key).await?.is_some()
        {
            return Err(StoreError::Taken { field: "key" });
        }
        let (own, all, grams) = texts(&put.texts, &owner.names);
        let insert =
            sql("INSERT INTO record (kind, number, title, enterprise_id, region, sector, state, is_open, due_on, remind_on, escalated,
  record_key, parent_id, task_user, own_text, search_text, body, created_at_us, updated_at_us, revision, task_on)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $18, 1, $19) RETURNING id");
        let insert = insert
            .bind(kind)
            .bind(put.number.as_str())
            .bind(put.title.as_str())
            .bind(owner.enterprise)
            .bind(code_of(owner.region.as_ref()));
        let insert = insert.bind(owner.sector.as_ref()).bind(put.state.as_str()).bind(put.is_open).bind(put.due_on.as_ref());
        let insert = insert.bind(put.remind_on.as_ref()).bind(steps(put)).bind(put.key.as_ref()).bind(parent).bind(put.task_user);
        let insert = insert.bind(own).bind(all).bind(put.body.to_string()).bind(self.change.now).bind(put.task_on.as_ref());
        let id: RecordId = self.change.tx.row(insert).await?.ok_or(StoreError::NotFound)?.get("id")?;
        self.index(kind, id, put).await?;
        self.grams(kind, id, &grams).await?;
        Ok(id)
    }

    /// Changes the record that [`RecordChange::record`] brought.
    ///
    /// # Errors
    /// [`StoreError::Mirrored`] for a copy, [`StoreError::Stale`] unless its revision is `revision`, [`StoreError::Taken`] for a key that another has,
    /// [`StoreError::Database`].
    pub async fn update(&mut self, row: &RecordRow, revision: i64, put: &RecordPut, detail: Json) -> Result<(), StoreError> {
        self.update_as("update", row, revision, put, detail).await
    }

    /// [`RecordChange::update`] that the audit calls by another word than `update`.
    ///
    /// # Errors
    /// As [`RecordChange::update`].
    pub async fn update_as(
        &mut self,
        action: &'static str,
        row: &RecordRow,
        revision: i64,
        put: &RecordPut,
        detail: Json,
    ) -> Result<(), StoreError> {
        row.must_be_own()?;
        check_revision(row.revision, revision)?;
        let names = match row.enterprise {
            Some(enterprise) => self.owner(enterprise).await?.names,
            None => Vec::new(),
        };
        let owner = RecordOwner { enterprise: row.enterprise, region: row.region.clone(), sector: row.sector.clone(), names };
        let (own, all, grams) = texts(&put.texts, &owner.names);
        let old = self.change.tx.row(sql("SELECT r.search_text FROM record AS r WHERE r.id = $1").bind(row.id)).await?;
        let old: String = old.ok_or(StoreError::NotFound)?.get("search_text")?;
        let is_same_text = old == all;
        let update = sql("UPDATE record SET number = $1, title = $2, state = $3, is_open = $4, due_on = $5, remind_on = $6, escalated = $7,
  record_key = $8, task_user = $9, own_text = $10, search_text = $11, body = $12, updated_at_us = $13, task_on = $14, revision = revision + 1
WHERE id = $15");
        let update = update.bind(put.number.as_str()).bind(put.title.as_str()).bind(put.state.as_str()).bind(put.is_open);
        let update = update.bind(put.due_on.as_ref()).bind(put.remind_on.as_ref()).bind(steps(put)).bind(put.key.as_ref());
        let update = update
            .bind(put.task_user)
            .bind(own)
            .bind(all)
            .bind(put.body.to_string())
            .bind(self.change.now)
            .bind(put.task_on.as_ref())
            .bind(row.id);
        self.change.tx.run(update).await.map_err(|error| match error {
            StoreError::Taken { .. } => StoreError::Taken { field: "key" },
            other => other,
        })?;
        self.change.tx.run(sql("DELETE FROM record_index WHERE record_id = $1").bind(row.id)).await?;
        self.change.tx.run(sql("DELETE FROM record_task WHERE record_id = $1").bind(row.id)).await?;
        self.index(&row.kind, row.id, put).await?;
        if !is_same_text {
            self.change.tx.run(sql("DELETE FROM record_gram WHERE record_id = $1").bind(row.id)).await?;
            self.grams(&row.kind, row.id, &grams).await?;
        }
        self.finish(row.id, action, &owner, detail).await
    }

    /// Moves the own records of a division whose code was replaced, some at a time; how many those were. Their numbers stay as they are.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub(crate) async fn redivide(&mut self, redivision: &Redivision) -> Result<u64, StoreError> {
        let q = sql("SELECT r.id FROM record AS r WHERE r.region = $1 AND r.enterprise_id IS NULL ORDER BY r.id LIMIT $2");
        let rows = self.change.tx.rows(q.bind(&redivision.from).bind(MOVED_AT_ONCE)).await?;
        for row in &rows {
            let id: RecordId = row.get("id")?;
            // A copy stands where its division stands here; of what its home counts and says it changes nothing.
            let update = sql("UPDATE record SET region = $1, updated_at_us = CASE WHEN home IS NULL THEN $2 ELSE updated_at_us END,
  revision = CASE WHEN home IS NULL THEN revision + 1 ELSE revision END
WHERE id = $3");
            self.change.tx.run(update.bind(&redivision.to).bind(self.change.now).bind(id)).await?;
            let owner = RecordOwner { enterprise: None, region: Some(redivision.to.clone()), sector: None, names: Vec::new() };
            let detail = redivision.reason(json!({"region": [redivision.from, redivision.to]}));
            self.finish(id, "redivide", &owner, detail).await?;
        }
        Ok(rows.len() as u64)
    }

    /// Notes that steps of escalation were told; `remind_on` is the day of the next. The revision stays: who has the form open is not put off.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn escalated(&mut self, row: &RecordRow, done: usize, remind_on: Option<&str>, detail: Json) -> Result<(), StoreError> {
        row.must_be_own()?;
        let done = i64::try_from(done).unwrap_or(i64::MAX);
        let update = sql("UPDATE record SET escalated = $1, remind_on = $2 WHERE id = $3");
        self.change.tx.run(update.bind(done).bind(remind_on).bind(row.id)).await?;
        self.finish_escalated(row, detail).await
    }

    /// The same of a record that says something else by the time: what is computed as of now, and what was told of its clocks. Whoever has a copy is told.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn clocked(&mut self, row: &RecordRow, put: &RecordPut, detail: Json) -> Result<(), StoreError> {
        row.must_be_own()?;
        let update = sql("UPDATE record SET escalated = $1, remind_on = $2, body = $3 WHERE id = $4");
        let update = update.bind(steps(put)).bind(put.remind_on.as_ref()).bind(put.body.to_string()).bind(row.id);
        self.change.tx.run(update).await?;
        self.change.tx.run(sql("DELETE FROM record_index WHERE record_id = $1").bind(row.id)).await?;
        self.change.tx.run(sql("DELETE FROM record_task WHERE record_id = $1").bind(row.id)).await?;
        self.index(&row.kind, row.id, put).await?;
        let told = json!({"id": row.id, "kind": row.kind, "state": row.state, "revision": row.revision});
        self.change.tell("record", &told).await?;
        self.finish_escalated(row, detail).await
    }

    async fn finish_escalated(&mut self, row: &RecordRow, detail: Json) -> Result<(), StoreError> {
        let owner = RecordOwner { enterprise: row.enterprise, region: row.region.clone(), sector: row.sector.clone(), names: Vec::new() };
        self.finish(row.id, "escalate", &owner, detail).await
    }

    /// Tells everybody with one of `roles` at the owner, and `user` if they are still there; how many that are. Whoever acts is not told.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn notify(
        &mut self,
        id: RecordId,
        owner: &RecordOwner,
        roles: &[String],
        user: Option<UserId>,
        kind: &str,
        detail: &Json,
    ) -> Result<usize, StoreError> {
        let mut q = sql("SELECT DISTINCT u.id FROM user_grant AS g\nINNER JOIN users AS u ON u.id = g.user_id\nWHERE u.disabled = 0");
        and_holding(&mut q, owner);
        q.push("\n  AND (u.id = {}", &[&user]);
        for role in roles {
            q.push(" OR g.role = {}", &[role]);
        }
        q.push(")", &[]);
        if let Some(actor) = self.change.scope.user {
            q.push("\n  AND u.id <> {}", &[&actor]);
        }
        q.push("\nORDER BY u.id", &[]);
        let people = self.change.tx.rows(q).await?;
        for row in &people {
            let insert = sql("INSERT INTO notification (at_us, user_id, record_id, kind, detail, read) VALUES ($1, $2, $3, $4, $5, 0)");
            let insert = insert.bind(self.change.now).bind(row.get::<UserId>("id")?).bind(id).bind(kind).bind(detail.to_string());
            self.change.tx.run(insert).await?;
            // What somebody left unread for so long is found in the lists.
            let drop_old = sql("DELETE FROM notification WHERE user_id = $1 AND id <= (
  SELECT m.id FROM notification AS m WHERE m.user_id = $1 ORDER BY m.id DESC LIMIT 1 OFFSET $2)");
            self.change.tx.run(drop_old.bind(row.get::<UserId>("id")?).bind(NOTIFICATIONS_MAX)).await?;
        }
        Ok(people.len())
    }

    /// Commits everything.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn commit(self) -> Result<Vec<RecordId>, StoreError> {
        self.change.commit().await?;
        Ok(self.changed)
    }

    async fn index(&mut self, kind: &str, id: RecordId, put: &RecordPut) -> Result<(), StoreError> {
        if !put.index.is_empty() {
            let mut q = sql("INSERT INTO record_index (record_id, kind, field, text, num) VALUES ");
            for (i, entry) in put.index.iter().enumerate() {
                let text = if i == 0 { "({}, {}, {}, {}, {})" } else { ", ({}, {}, {}, {}, {})" };
                q.push(text, &[&id, &kind, &entry.field, &entry.text, &entry.number]);
            }
            self.change.tx.run(q).await?;
        }
        let tasks: BTreeSet<&String> = put.tasks.iter().filter(|role| Role::parse(role).is_some()).collect();
        for role in tasks {
            let insert = sql("INSERT INTO record_task (record_id, role) VALUES ($1, $2)");
            self.change.tx.run(insert.bind(id).bind(role)).await?;
        }
        Ok(())
    }

    async fn grams(&mut self, kind: &str, id: RecordId, grams: &BTreeSet<String>) -> Result<(), StoreError> {
        insert_grams(&mut self.change, kind, id, grams).await
    }

    /// The end of a change of a record that was made beside these.
    pub(crate) async fn end(&mut self, id: RecordId, action: &'static str, owner: &RecordOwner, detail: Json) -> Result<(), StoreError> {
        self.finish(id, action, owner, detail).await
    }

    async fn finish(&mut self, id: RecordId, action: &'static str, owner: &RecordOwner, detail: Json) -> Result<(), StoreError> {
        let row = canonical_of(&mut self.change.tx, id).await?;
        self.changed.push(id);
        let told = json!({"id": id, "kind": row["kind"], "state": row["state"], "revision": row["revision"]});
        if action != "escalate" {
            self.change.tell("record", &told).await?;
        }
        let holder = Holder { enterprise: owner.enterprise, region: owner.region.clone(), sector: owner.sector.clone() };
        self.change.record(Entry { action, noun: "record", subject: id.to_string(), detail, row, holder }).await
    }
}

pub(crate) async fn insert_grams(change: &mut Change<'_>, kind: &str, id: RecordId, grams: &BTreeSet<String>) -> Result<(), StoreError> {
    let grams: Vec<&String> = grams.iter().collect();
    for piece in grams.chunks(ROWS) {
        let mut q = sql("INSERT INTO record_gram (kind, gram, record_id) VALUES ");
        for (i, gram) in piece.iter().enumerate() {
            q.push(if i == 0 { "({}, {}, {})" } else { ", ({}, {}, {})" }, &[&kind, gram, &id]);
        }
        change.tx.run(q).await?;
    }
    Ok(())
}

/// Brings what records copy of their enterprise up to date, after a change of it in the same transaction.
pub(crate) async fn follow_enterprise(change: &mut Change<'_>, enterprise: EnterpriseId, is_renamed: bool) -> Result<(), StoreError> {
    let update = sql("UPDATE record SET region = (SELECT e.region FROM enterprise AS e WHERE e.id = $1),
  sector = (SELECT e.sector FROM enterprise AS e WHERE e.id = $1) WHERE enterprise_id = $1");
    if change.tx.run(update.bind(enterprise)).await? == 0 || !is_renamed {
        return Ok(());
    }
    let node = Scope::node();
    let row = change.tx.row(select_owner(&node, enterprise)).await?.ok_or(StoreError::NotFound)?;
    let names = read_owner(&row)?.names;
    let records =
        change.tx.rows(sql("SELECT r.id, r.kind, r.own_text FROM record AS r WHERE r.enterprise_id = $1").bind(enterprise)).await?;
    for row in records {
        let id: RecordId = row.get("id")?;
        let (_, all, grams) = texts(&[row.get("own_text")?], &names);
        change.tx.run(sql("UPDATE record SET search_text = $1 WHERE id = $2").bind(all).bind(id)).await?;
        change.tx.run(sql("DELETE FROM record_gram WHERE record_id = $1").bind(id)).await?;
        insert_grams(change, &row.get::<String>("kind")?, id, &grams).await?;
    }
    Ok(())
}

/// Moves the records of an enterprise to another, each with an entry in the audit; the change again, which those were, and how many of each kind.
pub(crate) async fn merge<'a>(
    change: Change<'a>,
    from: EnterpriseId,
    into: EnterpriseId,
) -> Result<(Change<'a>, Vec<RecordId>, BTreeMap<String, u64>), StoreError> {
    let mut all = RecordChange { change, changed: Vec::new() };
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    let owner = all.owner(into).await?;
    let q = sql("SELECT r.id, r.kind, r.own_text FROM record AS r WHERE r.enterprise_id = $1 ORDER BY r.id").bind(from);
    for row in all.change.tx.rows(q).await? {
        let (id, kind): (RecordId, String) = (row.get("id")?, row.get("kind")?);
        let (_, text, grams) = texts(&[row.get("own_text")?], &owner.names);
        let update = sql("UPDATE record SET enterprise_id = $1, region = $2, sector = $3, search_text = $4,
  updated_at_us = CASE WHEN home IS NULL THEN $5 ELSE updated_at_us END, revision = CASE WHEN home IS NULL THEN revision + 1 ELSE revision END
WHERE id = $6");
        let update = update.bind(into).bind(&owner.region).bind(owner.sector.as_ref()).bind(text).bind(all.change.now).bind(id);
        all.change.tx.run(update).await?;
        all.change.tx.run(sql("DELETE FROM record_gram WHERE record_id = $1").bind(id)).await?;
        all.grams(&kind, id, &grams).await?;
        all.finish(id, "merge", &owner, crate::merge::moved(from, into)).await?;
        *kinds.entry(kind).or_default() += 1;
    }
    Ok((all.change, all.changed, kinds))
}

/// Its own plain text, that with the owner's names, and the grams of all.
pub(crate) fn texts(own: &[String], names: &[String]) -> (String, String, BTreeSet<String>) {
    let (own, mut grams) = search::kept(own.iter().map(String::as_str));
    let (names, more) = search::kept(names.iter().map(String::as_str));
    grams.extend(more);
    let all = [own.as_str(), names.as_str()].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ");
    (own, all, grams)
}

/// As the column has it: what is everybody's stands in no division.
pub(crate) fn code_of(region: Option<&RegionCode>) -> &str {
    region.map_or("", RegionCode::as_str)
}

fn steps(put: &RecordPut) -> i64 {
    i64::try_from(put.escalated).unwrap_or(i64::MAX)
}

/// State of the record above; kind and state of those below.
pub type Related = (Option<String>, Vec<(String, String)>);

pub(super) fn select_state(id: RecordId) -> Sql {
    sql("SELECT r.state FROM record AS r WHERE r.id = $1").bind(id)
}

pub(super) fn select_below(id: RecordId) -> Sql {
    sql("SELECT r.kind, r.state FROM record AS r WHERE r.parent_id = $1").bind(id)
}

pub(super) fn read_below(rows: &[Row]) -> Result<Vec<(String, String)>, StoreError> {
    rows.iter().map(|row| Ok((row.get("kind")?, row.get("state")?))).collect()
}

pub(crate) fn select_owner(scope: &Scope, enterprise: EnterpriseId) -> Sql {
    let mut q = sql("SELECT e.id, e.region, e.sector, e.name, e.code FROM enterprise AS e WHERE e.id = $1 AND e.merged_into IS NULL");
    q = q.bind(enterprise);
    q.and_visible(scope, Owner::ENTERPRISE);
    q
}

pub(crate) fn read_owner(row: &Row) -> Result<RecordOwner, StoreError> {
    Ok(RecordOwner {
        enterprise: row.get("id")?,
        region: Some(row.get("region")?),
        sector: row.get("sector")?,
        names: vec![row.get("name")?, row.get("code")?],
    })
}
