//! Submissions (报送): which targets are on, what waits for each, what was tried, and what we hold of a thing that goes.
//!
//! Queued is the newest state of each subject once: a transaction that changes a row notes it for every target that wants it ([`note`]), and whoever sends
//! reads the row as it is then. What is read of records is what may go to a node of the platform's level ([`crate::copy`]). Nothing here renders or sends.
//! Start at [`Store::put_submission_target`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anlan_domain::submission::Of;
use anlan_model::noun::Limits;
use anlan_model::{EnterpriseId, NodeId, NodeLevel, RecordId, Scope, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::audit::{Entry, Holder, and_equal};
use crate::db::{Db, PIECE, Row, Sql, Tx, sql};
use crate::feed::{Network, Told};
use crate::networking::NO_HEARTBEAT;
use crate::scope::Owner;
use crate::{Page, Paging, Store, StoreError, require_node_wide};

/// Alarms this old go to a target that is switched on even if they are over.
const FILL_ALARMS_US: i64 = 30 * 86_400_000_000;
/// Rows of one statement.
const ROWS: usize = 100;

/// An object of a submission, as far as a queue must know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmissionWant {
    /// Word of the object.
    pub object: String,
    /// What it is made of: a word of [`Of`].
    pub of: String,
    /// Of records: which register.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register: Option<String>,
}

/// What is wanted by the targets that are on; shared by every clone of a store.
pub(crate) type Wants = Arc<Vec<(String, SubmissionWant)>>;

/// A target that was ever switched on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmissionTargetRow {
    /// As in the configuration.
    pub name: String,
    /// Whether it is on.
    pub enabled: bool,
    /// Word, version and hash of the submission that it was filled for.
    pub submission: String,
    /// Its version.
    pub version: String,
    /// Hash of its text.
    pub hash: String,
    /// Attempts that failed one after the other.
    pub n_failures: i64,
    /// Since when.
    pub failing_since: Option<Timestamp>,
    /// Why; JSON.
    pub reason: Option<String>,
    /// Nothing is tried before.
    pub next_at: Timestamp,
    /// When something was last taken there.
    pub taken_at: Option<Timestamp>,
    /// By whom it was last switched.
    pub changed_by: String,
    /// When.
    pub changed_at: Timestamp,
}

/// How a target is to be.
#[derive(Clone, Debug)]
pub struct SubmissionPut<'a> {
    /// Which.
    pub name: &'a str,
    /// The submission.
    pub submission: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Hash of its text.
    pub hash: &'a str,
    /// Its objects; `None` = off.
    pub wants: Option<&'a [SubmissionWant]>,
}

/// How a subject stands with a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmissionItem {
    /// Object.
    pub object: String,
    /// Id here.
    pub subject: String,
    /// Counts its changes.
    pub revision: i64,
    /// `waiting`, `sent`, `aside`, `unwanted`, `gone`.
    pub state: String,
    /// Since when it waits; the beginning of time = nobody has looked yet.
    pub since: Timestamp,
    /// Not tried before.
    pub next_at: Timestamp,
    /// Tries that failed.
    pub n_tries: i64,
    /// Since when.
    pub failed_since: Option<Timestamp>,
    /// Goes without others.
    pub alone: bool,
    /// Why it is aside or failed; JSON.
    pub reason: Option<String>,
    /// Of what was last taken.
    pub digest: Option<String>,
    /// When.
    pub sent_at: Option<Timestamp>,
}

/// A thing as we hold it.
#[derive(Clone, Debug, PartialEq)]
pub struct SubmissionThing {
    /// By the paths of [`anlan_domain::submission::source`].
    pub thing: Json,
    /// Whose it is.
    pub holder: SubmissionHolder,
}

/// Whose a thing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubmissionHolder {
    /// Enterprise.
    pub enterprise: Option<EnterpriseId>,
    /// Division.
    pub region: Option<String>,
    /// Sector.
    pub sector: Option<String>,
}

/// What became of a subject.
#[derive(Clone, Debug)]
pub struct SubmissionSettled {
    /// Object.
    pub object: String,
    /// Subject.
    pub subject: String,
    /// The revision that was read.
    pub revision: i64,
    /// How it stands now.
    pub now: SubmissionNow,
    /// For the log.
    pub attempt: Option<NewSubmissionAttempt>,
}

/// How a subject stands after somebody looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubmissionNow {
    /// It was taken.
    Sent {
        /// Of what was taken.
        digest: String,
    },
    /// What would go was taken before.
    Unchanged,
    /// It is not one that goes.
    Unwanted,
    /// It is no longer here, or may not go.
    Gone,
    /// It stays here until a person says so, or it changes.
    Aside {
        /// JSON.
        reason: String,
    },
    /// It is tried again.
    Again {
        /// When.
        at: Timestamp,
        /// Without others.
        alone: bool,
        /// JSON.
        reason: String,
    },
}

/// An attempt, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSubmissionAttempt {
    /// Key at the platform.
    pub key: String,
    /// Of what was sent of it.
    pub digest: String,
    /// The same for all that went with it.
    pub batch: String,
    /// `sent`, `accepted`, `refused`, `failed`, `unfit`.
    pub outcome: &'static str,
    /// JSON.
    pub detail: String,
    /// Whose it is.
    pub holder: SubmissionHolder,
}

/// How a target stands after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubmissionTargetAfter {
    /// As before.
    Same,
    /// Something was taken.
    Taken,
    /// It failed.
    Failed {
        /// Nothing is tried before.
        next_at: Timestamp,
        /// JSON.
        reason: String,
    },
}

/// An attempt of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmissionAttemptRow {
    /// In order of writing.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// To which target.
    pub target: String,
    /// Submission.
    pub submission: String,
    /// Its version.
    pub version: String,
    /// Object.
    pub object: String,
    /// Id here.
    pub subject: String,
    /// Key at the platform.
    pub key: String,
    /// Of what was sent of it.
    pub digest: String,
    /// The same for all that went with it.
    pub batch: String,
    /// `sent`, `accepted`, `refused`, `failed`, `unfit`.
    pub outcome: String,
    /// JSON.
    pub detail: String,
}

/// Which attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubmissionAttemptFilter {
    /// To this target.
    pub target: Option<String>,
    /// Of this object.
    pub object: Option<String>,
    /// Of this subject.
    pub subject: Option<String>,
    /// With this outcome.
    pub outcome: Option<String>,
}

/// What the targets that are on want.
pub(crate) async fn read_wants(db: &Db) -> Result<Wants, StoreError> {
    let rows = db.rows(sql("SELECT name, wants FROM submission_target WHERE enabled = 1 ORDER BY name")).await?;
    let mut wants = Vec::new();
    for row in &rows {
        let name: String = row.get("name")?;
        wants.extend(row.json::<Vec<SubmissionWant>>("wants")?.into_iter().map(|want| (name.clone(), want)));
    }
    Ok(Arc::new(wants))
}

/// Queues what changed in a transaction, for every target that wants it.
pub(crate) async fn note(tx: &mut Tx, network: &Network, told: &Told) -> Result<(), StoreError> {
    let wants = network.wants();
    if wants.is_empty() {
        return Ok(());
    }
    let records = told.records.noted();
    let mut registers: BTreeMap<RecordId, String> = BTreeMap::new();
    if !records.is_empty() && wants.iter().any(|(_, want)| want.register.is_some()) {
        for row in crate::feed::among(tx, "SELECT r.id, r.kind FROM record AS r WHERE 1 = 1", "r.id", records).await? {
            registers.insert(row.get("id")?, row.get("kind")?);
        }
    }
    for (target, want) in wants.iter() {
        let subjects: BTreeSet<String> = match Of::parse(&want.of) {
            Some(Of::Enterprise) => told.enterprise_ids().map(|id| id.to_string()).collect(),
            Some(Of::Device) => told.device_ids().map(|id| id.to_string()).collect(),
            Some(Of::Point) => told.point_ids().map(|id| id.to_string()).collect(),
            Some(Of::Vehicle) => told.vehicle_ids().map(|id| id.to_string()).collect(),
            Some(Of::Alarm) => told.alarm_ids().map(|id| id.to_string()).collect(),
            Some(Of::Record) => {
                registers.iter().filter(|(_, kind)| Some(*kind) == want.register.as_ref()).map(|(id, _)| id.to_string()).collect()
            }
            Some(Of::Latest) | None => BTreeSet::new(),
        };
        put(tx, target, &want.object, &Vec::from_iter(subjects)).await?;
    }
    Ok(())
}

async fn put(tx: &mut Tx, target: &str, object: &str, subjects: &[String]) -> Result<(), StoreError> {
    for piece in subjects.chunks(ROWS) {
        let mut q = sql("INSERT INTO submission_item (target, object, subject, revision, state) VALUES ");
        for (i, subject) in piece.iter().enumerate() {
            q.push(if i == 0 { "({}, {}, {}, 1, 'waiting')" } else { ", ({}, {}, {}, 1, 'waiting')" }, &[&target, &object, subject]);
        }
        q.push(CHANGED, &[]);
        tx.run(q).await?;
    }
    Ok(())
}

/// A row that changed waits anew, and is not held back by what failed of it before.
const CHANGED: &str = "
ON CONFLICT (target, object, subject) DO UPDATE SET revision = submission_item.revision + 1, state = 'waiting', next_at_us = 0, n_tries = 0,
  failed_since_us = NULL, reason = NULL, since_us = CASE WHEN submission_item.state = 'waiting' THEN submission_item.since_us ELSE 0 END";
/// The whole goes anew, and what was taken before says nothing.
const ANEW: &str = "
ON CONFLICT (target, object, subject) DO UPDATE SET revision = submission_item.revision + 1, state = 'waiting', next_at_us = 0, n_tries = 0,
  failed_since_us = NULL, reason = NULL, since_us = 0, alone = 0, digest = NULL";
/// Only what is not there.
const MISSING: &str = "
ON CONFLICT (target, object, subject) DO NOTHING";

async fn fill(tx: &mut Tx, target: &str, want: &SubmissionWant, otherwise: &str, now: Timestamp) -> Result<u64, StoreError> {
    let Some(of) = Of::parse(&want.of) else { return Ok(0) };
    if of == Of::Latest {
        // Who has a reading, telemetry says; what was taken before says nothing of another version.
        let forget = sql("UPDATE submission_item SET digest = NULL WHERE target = $1 AND object = $2");
        return tx.run(forget.bind(target).bind(want.object.as_str())).await;
    }
    let from = match of {
        Of::Enterprise => "enterprise AS x WHERE x.merged_into IS NULL".to_owned(),
        Of::Device => format!("device AS d WHERE {NO_HEARTBEAT}"),
        Of::Point => format!("point AS x INNER JOIN device AS d ON d.id = x.device_id WHERE {NO_HEARTBEAT}"),
        Of::Vehicle => "vehicle AS x WHERE 1 = 1".to_owned(),
        Of::Alarm => "alarm AS x WHERE (x.returned_at_us IS NULL OR x.raised_at_us >= $3)".to_owned(),
        Of::Record => "record AS x WHERE x.kind = $3".to_owned(),
        Of::Latest => return Ok(0),
    };
    let id = if of == Of::Device { "d.id" } else { "x.id" };
    let insert = format!(
        "INSERT INTO submission_item (target, object, subject, revision, state)
SELECT $1, $2, CAST({id} AS TEXT), 1, 'waiting' FROM {from}{otherwise}"
    );
    let insert = sql(&insert).bind(target).bind(want.object.as_str());
    tx.run(match of {
        Of::Alarm => insert.bind(now.plus_us(-FILL_ALARMS_US)),
        Of::Record => insert.bind(want.register.as_deref().unwrap_or_default()),
        _ => insert,
    })
    .await
}

const TARGET: &str = "SELECT name, enabled, submission, version, hash, n_failures, failing_since_us, reason, next_at_us, taken_at_us, changed_by, changed_at_us
FROM submission_target";

fn target(row: &Row) -> Result<SubmissionTargetRow, StoreError> {
    Ok(SubmissionTargetRow {
        name: row.get("name")?,
        enabled: row.get("enabled")?,
        submission: row.get("submission")?,
        version: row.get("version")?,
        hash: row.get("hash")?,
        n_failures: row.get("n_failures")?,
        failing_since: row.get("failing_since_us")?,
        reason: row.get("reason")?,
        next_at: row.get("next_at_us")?,
        taken_at: row.get("taken_at_us")?,
        changed_by: row.get("changed_by")?,
        changed_at: row.get("changed_at_us")?,
    })
}

const ITEM: &str = "SELECT i.object, i.subject, i.revision, i.state, i.since_us, i.next_at_us, i.n_tries, i.failed_since_us, i.alone, i.reason, i.digest, i.sent_at_us
FROM submission_item AS i
WHERE i.target = $1";

fn item(row: &Row) -> Result<SubmissionItem, StoreError> {
    Ok(SubmissionItem {
        object: row.get("object")?,
        subject: row.get("subject")?,
        revision: row.get("revision")?,
        state: row.get("state")?,
        since: row.get("since_us")?,
        next_at: row.get("next_at_us")?,
        n_tries: row.get("n_tries")?,
        failed_since: row.get("failed_since_us")?,
        alone: row.get("alone")?,
        reason: row.get("reason")?,
        digest: row.get("digest")?,
        sent_at: row.get("sent_at_us")?,
    })
}

impl Store {
    /// Every target that was ever switched on, in order of names; nothing for an asker who is not node-wide.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn submission_targets(&self, scope: &Scope) -> Result<Vec<SubmissionTargetRow>, StoreError> {
        if !scope.node_wide() {
            return Ok(Vec::new());
        }
        self.db.rows(sql(&format!("{TARGET}\nORDER BY name"))).await?.iter().map(target).collect()
    }

    /// Switches a target on, filling its queue with everything there is, or off, emptying it. One that is on already for another version is filled anew.
    ///
    /// # Errors
    /// [`StoreError::OutOfScope`] for an asker who is not node-wide, [`StoreError::Database`].
    pub async fn put_submission_target(&self, scope: &Scope, put: &SubmissionPut<'_>, now: Timestamp) -> Result<(), StoreError> {
        require_node_wide(scope)?;
        let mut change = self.change(scope, now).await?;
        let before = self.network.wants();
        let others = before.iter().filter(|(target, _)| target != put.name).cloned();
        let wants = others.chain(put.wants.into_iter().flatten().map(|want| (put.name.to_owned(), want.clone()))).collect();
        // Before anything is filled: whatever changes from here on notes itself, so that nothing falls between.
        self.network.set_wants(Arc::new(wants));
        let done = async {
            let text = serde_json::to_string(put.wants.unwrap_or_default()).unwrap_or_default();
            let upsert = sql(
                "INSERT INTO submission_target (name, enabled, submission, version, hash, wants, changed_by, changed_at_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (name) DO UPDATE SET enabled = excluded.enabled, submission = excluded.submission, version = excluded.version, hash = excluded.hash,
  wants = excluded.wants, n_failures = 0, failing_since_us = NULL, reason = NULL, next_at_us = 0, changed_by = excluded.changed_by,
  changed_at_us = excluded.changed_at_us",
            );
            let upsert = upsert.bind(put.name).bind(put.wants.is_some()).bind(put.submission).bind(put.version).bind(put.hash);
            change.tx.run(upsert.bind(text).bind(scope.name.as_str()).bind(now)).await?;
            let known: Vec<&str> = put.wants.into_iter().flatten().map(|want| want.object.as_str()).collect();
            let mut delete = sql("DELETE FROM submission_item WHERE target = $1").bind(put.name);
            for object in &known {
                delete.push(" AND object <> {}", &[object]);
            }
            change.tx.run(delete).await?;
            let mut n = 0;
            for want in put.wants.into_iter().flatten() {
                n += fill(&mut change.tx, put.name, want, ANEW, now).await?;
            }
            let action = if put.wants.is_some() { "enable" } else { "disable" };
            let row = json!({"name": put.name, "submission": put.submission, "version": put.version, "hash": put.hash, "enabled": put.wants.is_some()});
            let mut detail = row.clone();
            detail["subjects"] = n.into();
            change.tell("submission", &row).await?;
            change.record(Entry { action, noun: "submission", subject: put.name.to_owned(), detail, row, holder: Holder::NONE }).await?;
            change.commit().await
        };
        let done = done.await;
        if done.is_err() {
            self.network.set_wants(before);
        }
        done
    }

    /// Queues what is wanted by a target and was never queued, as after a backup; how many.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn top_up_submission(&self, name: &str, now: Timestamp) -> Result<u64, StoreError> {
        let wants = self.network.wants();
        let mut tx = self.db.begin().await?;
        let mut n = 0;
        for (_, want) in wants.iter().filter(|(target, want)| target == name && want.of != Of::Latest.as_str()) {
            n += fill(&mut tx, name, want, MISSING, now).await?;
        }
        tx.commit().await?;
        Ok(n)
    }

    /// Queues subjects of an object that changed without a transaction, such as newest readings.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn touch_submission(&self, name: &str, object: &str, subjects: &[String]) -> Result<(), StoreError> {
        // In pieces of their own: the newest readings of a city must not hold up its alarms.
        for piece in subjects.chunks(PIECE) {
            let mut tx = self.db.begin().await?;
            put(&mut tx, name, object, piece).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Stamps what nobody has looked at yet.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn stamp_submission(&self, name: &str, now: Timestamp) -> Result<(), StoreError> {
        let q = sql("SELECT 1 AS one FROM submission_item WHERE target = $1 AND state = 'waiting' AND since_us = 0 LIMIT 1").bind(name);
        if self.db.row(q).await?.is_none() {
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        let stamp = sql("UPDATE submission_item SET since_us = $1 WHERE target = $2 AND state = 'waiting' AND since_us = 0");
        tx.run(stamp.bind(now).bind(name)).await?;
        tx.commit().await
    }

    /// What is due of an object, the longest waiting first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn submission_due(&self, name: &str, object: &str, now: Timestamp, limit: u32) -> Result<Vec<SubmissionItem>, StoreError> {
        let q = format!(
            "{ITEM} AND i.object = $2 AND i.state = 'waiting' AND i.next_at_us <= $3 AND i.since_us > 0
ORDER BY i.since_us, i.subject
LIMIT $4"
        );
        self.db.rows(sql(&q).bind(name).bind(object).bind(now).bind(i64::from(limit))).await?.iter().map(item).collect()
    }

    /// How many subjects of a target are in which state, by object; nothing for an asker who is not node-wide.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn submission_counts(&self, scope: &Scope, name: &str) -> Result<Vec<(String, String, i64)>, StoreError> {
        if !scope.node_wide() {
            return Ok(Vec::new());
        }
        let q =
            sql("SELECT object, state, COUNT(*) AS n FROM submission_item WHERE target = $1 GROUP BY object, state ORDER BY object, state");
        let rows = self.db.rows(q.bind(name)).await?;
        rows.iter().map(|row| Ok((row.get("object")?, row.get("state")?, row.get("n")?))).collect()
    }

    /// Subjects of a target in a state, in order of objects and ids; nothing for an asker who is not node-wide.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`].
    pub async fn submission_items(
        &self,
        scope: &Scope,
        name: &str,
        state: &str,
        object: Option<&str>,
        paging: &Paging,
    ) -> Result<Page<SubmissionItem>, StoreError> {
        if !scope.node_wide() {
            return Ok(Page { items: Vec::new(), next: None });
        }
        let mut q = sql(&format!("{ITEM} AND i.state = $2")).bind(name).bind(state);
        if let Some(object) = object {
            q.push(" AND i.object = {}", &[&object]);
        }
        if let Some(cursor) = &paging.cursor {
            let (object, subject) = cursor.split_once('/').ok_or(StoreError::Cursor)?;
            q.push(" AND (i.object > {} OR (i.object = {} AND i.subject > {}))", &[&object, &object, &subject]);
        }
        q.push("\nORDER BY i.object, i.subject\nLIMIT {}", &[&paging.fetch()]);
        let cursor = |row: &Row| Ok(format!("{}/{}", row.get::<String>("object")?, row.get::<String>("subject")?));
        paging.page(self.db.rows(q).await?, cursor, item)
    }

    /// One subject of a target; `None` for an asker who is not node-wide.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn submission_item(
        &self,
        scope: &Scope,
        name: &str,
        object: &str,
        subject: &str,
    ) -> Result<Option<SubmissionItem>, StoreError> {
        if !scope.node_wide() {
            return Ok(None);
        }
        let q = format!("{ITEM} AND i.object = $2 AND i.subject = $3");
        self.db.row(sql(&q).bind(name).bind(object).bind(subject)).await?.as_ref().map(item).transpose()
    }

    /// The next number of a target's files.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn next_submission_seq(&self, name: &str) -> Result<i64, StoreError> {
        let mut tx = self.db.begin().await?;
        let row = tx.row(sql("UPDATE submission_target SET seq = seq + 1 WHERE name = $1 RETURNING seq").bind(name)).await?;
        let seq = row.ok_or(StoreError::NotFound)?.get("seq")?;
        tx.commit().await?;
        Ok(seq)
    }

    /// Writes what became of subjects, the log of it, and how the target stands; one transaction. A subject that changed meanwhile goes on waiting.
    ///
    /// # Errors
    /// [`StoreError::Database`]; then nothing was written, and what was sent goes again.
    pub async fn settle_submission(
        &self,
        put: &SubmissionPut<'_>,
        settled: &[SubmissionSettled],
        after: &SubmissionTargetAfter,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        for one in settled {
            tx.run(settle(put.name, one, now)).await?;
            let Some(attempt) = &one.attempt else { continue };
            let insert = sql("INSERT INTO submission_attempt (at_us, target, submission, version, object, subject, subject_key, digest, batch, outcome, detail, enterprise_id, region, sector)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)");
            let insert = insert.bind(now).bind(put.name).bind(put.submission).bind(put.version).bind(one.object.as_str());
            let insert =
                insert.bind(one.subject.as_str()).bind(attempt.key.as_str()).bind(attempt.digest.as_str()).bind(attempt.batch.as_str());
            let insert = insert.bind(attempt.outcome).bind(attempt.detail.as_str()).bind(attempt.holder.enterprise);
            tx.run(insert.bind(attempt.holder.region.clone()).bind(attempt.holder.sector.clone())).await?;
        }
        match after {
            SubmissionTargetAfter::Same => {}
            SubmissionTargetAfter::Taken => {
                let update = sql(
                    "UPDATE submission_target SET n_failures = 0, failing_since_us = NULL, reason = NULL, next_at_us = 0, taken_at_us = $1 WHERE name = $2",
                );
                tx.run(update.bind(now).bind(put.name)).await?;
            }
            SubmissionTargetAfter::Failed { next_at, reason } => {
                let update = sql("UPDATE submission_target SET n_failures = n_failures + 1, failing_since_us = COALESCE(failing_since_us, $1), reason = $2, next_at_us = $3
WHERE name = $4");
                tx.run(update.bind(now).bind(reason.as_str()).bind(*next_at).bind(put.name)).await?;
            }
        }
        tx.commit().await
    }

    /// Sends subjects once more, whatever became of them: one, or all of a target that are aside; how many.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for one that is not queued, [`StoreError::OutOfScope`], [`StoreError::Database`].
    pub async fn resend_submission(&self, scope: &Scope, name: &str, one: Option<(&str, &str)>, now: Timestamp) -> Result<u64, StoreError> {
        require_node_wide(scope)?;
        let mut change = self.change(scope, now).await?;
        let mut update = sql(
            "UPDATE submission_item SET revision = revision + 1, state = 'waiting', since_us = 0, next_at_us = 0, n_tries = 0, failed_since_us = NULL,
  reason = NULL, digest = NULL
WHERE target = $1",
        )
        .bind(name);
        match one {
            Some((object, subject)) => update.push(" AND object = {} AND subject = {}", &[&object, &subject]),
            None => update.push(" AND state = 'aside'", &[]),
        };
        let n = change.tx.run(update).await?;
        if n == 0 && one.is_some() {
            return Err(StoreError::NotFound);
        }
        // Somebody has looked: nothing waits for its pause any more.
        change
            .tx
            .run(sql("UPDATE submission_item SET next_at_us = 0 WHERE target = $1 AND state = 'waiting' AND next_at_us > 0").bind(name))
            .await?;
        change.tx.run(sql("UPDATE submission_target SET next_at_us = 0 WHERE name = $1").bind(name)).await?;
        let row = json!({"name": name, "object": one.map(|(object, _)| object), "subject": one.map(|(_, subject)| subject), "subjects": n});
        change.tell("submission", &row).await?;
        change
            .record(Entry {
                action: "resend",
                noun: "submission",
                subject: name.to_owned(),
                detail: row.clone(),
                row,
                holder: Holder::NONE,
            })
            .await?;
        change.commit().await?;
        Ok(n)
    }

    /// What was tried in vain is due at once.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn hurry_submission(&self, name: &str) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        tx.run(sql("UPDATE submission_item SET next_at_us = 0 WHERE target = $1 AND state = 'waiting' AND next_at_us > 0").bind(name))
            .await?;
        tx.commit().await
    }

    /// Attempts under the scope, newest first.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`].
    pub async fn submission_attempts(
        &self,
        scope: &Scope,
        filter: &SubmissionAttemptFilter,
        paging: &Paging,
    ) -> Result<Page<SubmissionAttemptRow>, StoreError> {
        let mut q = sql("SELECT x.id, x.at_us, x.target, x.submission, x.version, x.object, x.subject, x.subject_key, x.digest, x.batch, x.outcome, x.detail
FROM submission_attempt AS x
WHERE 1 = 1");
        q.and_visible(scope, Owner { enterprise: "x.enterprise_id", region: "x.region", sector: "x.sector" });
        and_equal(&mut q, "x.target", filter.target.as_ref());
        and_equal(&mut q, "x.object", filter.object.as_ref());
        and_equal(&mut q, "x.subject", filter.subject.as_ref());
        and_equal(&mut q, "x.outcome", filter.outcome.as_ref());
        if let Some(id) = paging.after_id()? {
            q.push("\n  AND x.id < {}", &[&id]);
        }
        q.push("\nORDER BY x.id DESC\nLIMIT {}", &[&paging.fetch()]);
        paging.page_by_id(self.db.rows(q).await?, |row| {
            Ok(SubmissionAttemptRow {
                id: row.get("id")?,
                at: row.get("at_us")?,
                target: row.get("target")?,
                submission: row.get("submission")?,
                version: row.get("version")?,
                object: row.get("object")?,
                subject: row.get("subject")?,
                key: row.get("subject_key")?,
                digest: row.get("digest")?,
                batch: row.get("batch")?,
                outcome: row.get("outcome")?,
                detail: row.get("detail")?,
            })
        })
    }

    /// Drops attempts made before then, and the oldest beyond so many of a target; how many. Alarms that ended before then leave the queues, if they do not wait.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn trim_submission_attempts(&self, before: Timestamp, most: i64) -> Result<u64, StoreError> {
        let mut tx = self.db.begin().await?;
        let over = sql(
            "DELETE FROM submission_item WHERE state IN ('sent', 'unwanted', 'gone') AND subject IN (SELECT a.id FROM alarm AS a WHERE a.returned_at_us < $1)",
        );
        tx.run(over.bind(before)).await?;
        let mut n = tx.run(sql("DELETE FROM submission_attempt WHERE at_us < $1").bind(before)).await?;
        for row in tx.rows(sql("SELECT name FROM submission_target ORDER BY name")).await? {
            let name: String = row.get("name")?;
            let q = sql("SELECT id FROM submission_attempt WHERE target = $1 ORDER BY id DESC LIMIT 1 OFFSET $2")
                .bind(name.as_str())
                .bind(most);
            let Some(oldest) = tx.row(q).await? else { continue };
            let delete = sql("DELETE FROM submission_attempt WHERE target = $1 AND id <= $2").bind(name.as_str());
            n += tx.run(delete.bind(oldest.get::<i64>("id")?)).await?;
        }
        tx.commit().await?;
        Ok(n)
    }

    /// Things as they are here, by id; of records, what may go to a node of this level. What is not there, or may not go, is left out.
    ///
    /// # Errors
    /// [`StoreError::OutOfScope`] for an asker who is not node-wide, [`StoreError::Database`].
    pub async fn submission_things(
        &self,
        scope: &Scope,
        of: Of,
        register: Option<&str>,
        level: NodeLevel,
        ids: &[String],
    ) -> Result<BTreeMap<String, SubmissionThing>, StoreError> {
        require_node_wide(scope)?;
        if of == Of::Record {
            return self.submitted_records(register.unwrap_or_default(), level, ids).await;
        }
        if of == Of::Alarm {
            return self.submitted_alarms(ids).await;
        }
        let (select, column) = match of {
            Of::Enterprise => (format!("SELECT {OWNED} FROM enterprise AS e {REGION}\nWHERE e.merged_into IS NULL"), "e.id"),
            Of::Device => (format!("SELECT {DEVICE}, {OWNED} FROM device AS d {DEVICE_JOINS}\nWHERE {NO_HEARTBEAT}"), "d.id"),
            Of::Vehicle => (format!("SELECT {VEHICLE}, {OWNED} FROM vehicle AS v {VEHICLE_JOINS}\nWHERE 1 = 1"), "v.id"),
            _ => (format!("SELECT {POINT}, {DEVICE}, {OWNED} FROM point AS p {POINT_JOINS}\nWHERE {NO_HEARTBEAT}"), "p.id"),
        };
        let ids: Vec<i64> = ids.iter().filter_map(|id| id.parse().ok()).collect();
        let mut things = BTreeMap::new();
        for row in self.db.rows_among(&select, column, &ids).await? {
            let (id, thing) = match of {
                Of::Enterprise => (row.get::<i64>("e_id")?, enterprise(&row)?),
                Of::Device => (row.get("d_id")?, with(device(&row)?, "enterprise", enterprise(&row)?)),
                Of::Vehicle => (row.get("v_id")?, with(vehicle(&row)?, "enterprise", enterprise(&row)?)),
                _ => {
                    let point = point(&row)?;
                    let point = if of == Of::Latest { json!({ "point": point }) } else { point };
                    (row.get("p_id")?, with(with(point, "device", device(&row)?), "enterprise", enterprise(&row)?))
                }
            };
            let mut holder = holder(&row)?;
            if of == Of::Vehicle && holder.enterprise.is_none() {
                holder.region = row.get("v_region")?;
            }
            things.insert(id.to_string(), SubmissionThing { thing, holder });
        }
        Ok(things)
    }

    async fn submitted_alarms(&self, ids: &[String]) -> Result<BTreeMap<String, SubmissionThing>, StoreError> {
        let select = format!(
            "SELECT a.id, a.rule, a.kind, COALESCE(a.name, {}) AS name, a.level, a.unit, a.value, a.threshold, a.source, a.confidence, a.onset_at_us,
  a.raised_at_us, a.returned_at_us, a.historic, a.point_id, a.vehicle_id, h.acknowledged_at_us, h.acknowledged_by, h.acknowledged_note, h.closed_at_us,
  h.closed_by, h.closed_reason, {POINT}, {DEVICE}, {VEHICLE}, {OWNED}
FROM alarm AS a
LEFT JOIN alarm_handling AS h ON h.alarm_id = a.id AND h.level = 'local'
LEFT JOIN point AS p ON p.id = a.point_id
LEFT JOIN device AS d ON d.id = p.device_id
LEFT JOIN vehicle AS v ON v.id = a.vehicle_id
LEFT JOIN enterprise AS e ON e.id = a.enterprise_id {REGION}
WHERE (d.id IS NULL OR {NO_HEARTBEAT})",
            crate::alarm::COMBINATION_NAME
        );
        let mut things = BTreeMap::new();
        for row in self.db.rows_among(&select, "a.id", ids).await? {
            let id: String = row.get("id")?;
            let returned: Option<Timestamp> = row.get("returned_at_us")?;
            let mut thing = json!({
                "id": id, "rule": text(&row, "rule")?, "kind": text(&row, "kind")?, "name": text(&row, "name")?, "level": text(&row, "level")?,
                "state": if returned.is_some() { "returned" } else { "standing" }, "unit": text(&row, "unit")?, "value": number(&row, "value")?,
                "threshold": number(&row, "threshold")?, "source": text(&row, "source")?, "confidence": text(&row, "confidence")?,
                "onset_at": time(&row, "onset_at_us")?, "raised_at": time(&row, "raised_at_us")?, "returned_at": time(&row, "returned_at_us")?,
                "historic": row.get::<bool>("historic")?, "acknowledged_at": time(&row, "acknowledged_at_us")?,
                "acknowledged_by": text(&row, "acknowledged_by")?, "acknowledged_note": text(&row, "acknowledged_note")?,
                "closed_at": time(&row, "closed_at_us")?, "closed_by": text(&row, "closed_by")?, "closed_reason": text(&row, "closed_reason")?,
            });
            if row.get::<Option<i64>>("point_id")?.is_some() && row.get::<Option<i64>>("p_id")?.is_some() {
                thing = with(with(thing, "point", point(&row)?), "device", device(&row)?);
            }
            if row.get::<Option<i64>>("v_id")?.is_some() {
                thing = with(thing, "vehicle", vehicle(&row)?);
            }
            things.insert(id, SubmissionThing { thing: with(thing, "enterprise", enterprise(&row)?), holder: holder(&row)? });
        }
        Ok(things)
    }

    async fn submitted_records(
        &self,
        register: &str,
        level: NodeLevel,
        ids: &[String],
    ) -> Result<BTreeMap<String, SubmissionThing>, StoreError> {
        let ids: Vec<RecordId> = ids.iter().filter_map(|id| id.parse().ok().map(RecordId::new)).collect();
        // Of a node in no network too: then nothing bears its id.
        let own = self.network.get().own.unwrap_or(NodeId::new(0));
        let mut tx = self.db.begin().await?;
        let mut told = crate::copy::told_by_id(&mut tx, own, level, &self.network.registers(), register, &ids).await?;
        let select = format!(
            "SELECT r.id, r.region AS r_region, r.sector AS r_sector, {OWNED} FROM record AS r LEFT JOIN enterprise AS e ON e.id = r.enterprise_id {REGION}\nWHERE 1 = 1"
        );
        let rows = crate::feed::among(&mut tx, &select, "r.id", &ids).await?;
        drop(tx);
        let mut things = BTreeMap::new();
        for row in &rows {
            let id: RecordId = row.get("id")?;
            let Some(told) = told.remove(&id) else { continue };
            let thing = json!({
                "id": id.to_string(), "register": register, "number": told.number, "title": told.title, "state": told.state, "state_name": told.state_name,
                "is_open": told.is_open, "due_on": told.due_on, "region": told.region, "entered_on": Some(told.entered_on).filter(|on| !on.is_empty()),
                "created_at": Timestamp::from_micros(told.created_at).to_string(), "updated_at": Timestamp::from_micros(told.updated_at).to_string(),
                "revision": told.revision, "fields": told.fields, "enterprise": enterprise(row)?,
            });
            let holder = SubmissionHolder { enterprise: row.get("e_id")?, region: row.get("r_region")?, sector: row.get("r_sector")? };
            things.insert(id.to_string(), SubmissionThing { thing, holder });
        }
        Ok(things)
    }
}

fn settle(name: &str, one: &SubmissionSettled, now: Timestamp) -> Sql {
    const WHERE: &str = " WHERE target = {} AND object = {} AND subject = {}";
    let (object, subject, revision) = (one.object.as_str(), one.subject.as_str(), one.revision);
    let mut q = sql("UPDATE submission_item SET ");
    match &one.now {
        SubmissionNow::Sent { digest } => {
            // True whatever happened since; whether anything waits is another question.
            q.push("digest = {}, sent_at_us = {}, ", &[digest, &now]);
            q.push("n_tries = CASE WHEN revision = {} THEN 0 ELSE n_tries END, ", &[&revision]);
            q.push(
                "failed_since_us = NULL, alone = 0, reason = NULL, state = CASE WHEN revision = {} THEN 'sent' ELSE state END",
                &[&revision],
            );
            q.push(WHERE, &[&name, &object, &subject]);
        }
        SubmissionNow::Unchanged | SubmissionNow::Unwanted | SubmissionNow::Gone => {
            let state = match &one.now {
                SubmissionNow::Unchanged => "sent",
                SubmissionNow::Unwanted => "unwanted",
                _ => "gone",
            };
            q.push("n_tries = 0, failed_since_us = NULL, alone = 0, reason = NULL, state = {}", &[&state]);
            q.push(WHERE, &[&name, &object, &subject]);
            q.push(" AND revision = {}", &[&revision]);
        }
        SubmissionNow::Aside { reason } => {
            q.push("state = 'aside', reason = {}", &[reason]);
            q.push(WHERE, &[&name, &object, &subject]);
            q.push(" AND revision = {}", &[&revision]);
        }
        SubmissionNow::Again { at, alone, reason } => {
            q.push(
                "n_tries = n_tries + 1, failed_since_us = COALESCE(failed_since_us, {}), next_at_us = {}, alone = {}, reason = {}",
                &[&now, at, alone, reason],
            );
            q.push(WHERE, &[&name, &object, &subject]);
            q.push(" AND revision = {}", &[&revision]);
        }
    }
    q
}

/// The enterprise and the name of its division.
const OWNED: &str = "e.id AS e_id, e.code AS e_code, e.name AS e_name, e.region AS e_region, e.sector AS e_sector, e.lon AS e_lon, e.lat AS e_lat, g.name AS e_region_name";
const REGION: &str = "LEFT JOIN region AS g ON g.code = e.region";
const DEVICE: &str = "d.id AS d_id, d.code AS d_code, d.name AS d_name, d.protocol AS d_protocol";
const DEVICE_JOINS: &str = "LEFT JOIN enterprise AS e ON e.id = d.enterprise_id LEFT JOIN region AS g ON g.code = e.region";
const POINT: &str = "p.id AS p_id, p.code AS p_code, p.name AS p_name, p.unit AS p_unit, p.kind AS p_kind, p.site AS p_site, p.period_s, p.range_low, p.range_high,
  p.limits, p.confirmed, p.lon AS p_lon, p.lat AS p_lat";
const POINT_JOINS: &str = "INNER JOIN device AS d ON d.id = p.device_id LEFT JOIN enterprise AS e ON e.id = d.enterprise_id LEFT JOIN region AS g ON g.code = e.region";
const VEHICLE: &str = "v.id AS v_id, v.phone AS v_phone, v.plate AS v_plate, v.kind AS v_kind, v.region AS v_region, v.speed_limit_kmh";
const VEHICLE_JOINS: &str = "LEFT JOIN enterprise AS e ON e.id = v.enterprise_id LEFT JOIN region AS g ON g.code = e.region";

fn text(row: &Row, column: &str) -> Result<Option<String>, StoreError> {
    Ok(row.get::<Option<String>>(column)?.filter(|text| !text.is_empty()))
}

fn number(row: &Row, column: &str) -> Result<Option<f64>, StoreError> {
    row.get(column)
}

fn time(row: &Row, column: &str) -> Result<Option<String>, StoreError> {
    Ok(row.get::<Option<Timestamp>>(column)?.map(|at| at.to_string()))
}

fn with(mut thing: Json, name: &str, inner: Json) -> Json {
    if !inner.is_null() {
        thing[name] = inner;
    }
    thing
}

fn enterprise(row: &Row) -> Result<Json, StoreError> {
    let Some(id) = row.get::<Option<i64>>("e_id")? else { return Ok(Json::Null) };
    Ok(json!({
        "id": id.to_string(), "code": text(row, "e_code")?, "name": text(row, "e_name")?, "region": text(row, "e_region")?,
        "region_name": text(row, "e_region_name")?, "sector": text(row, "e_sector")?, "lon": number(row, "e_lon")?, "lat": number(row, "e_lat")?,
    }))
}

fn device(row: &Row) -> Result<Json, StoreError> {
    let id: i64 = row.get("d_id")?;
    Ok(json!({"id": id.to_string(), "code": text(row, "d_code")?, "name": text(row, "d_name")?, "protocol": text(row, "d_protocol")?}))
}

fn point(row: &Row) -> Result<Json, StoreError> {
    let (id, limits): (i64, Limits) = (row.get("p_id")?, row.json("limits")?);
    Ok(json!({
        "id": id.to_string(), "code": text(row, "p_code")?, "name": text(row, "p_name")?, "unit": text(row, "p_unit")?, "kind": text(row, "p_kind")?,
        "site": text(row, "p_site")?, "period_s": number(row, "period_s")?, "range_low": number(row, "range_low")?, "range_high": number(row, "range_high")?,
        "limit_hh": limits.hh, "limit_h": limits.h, "limit_l": limits.l, "limit_ll": limits.ll, "confirmed": row.get::<bool>("confirmed")?,
        "lon": number(row, "p_lon")?, "lat": number(row, "p_lat")?,
    }))
}

fn vehicle(row: &Row) -> Result<Json, StoreError> {
    let id: i64 = row.get("v_id")?;
    Ok(json!({
        "id": id.to_string(), "phone": text(row, "v_phone")?, "plate": text(row, "v_plate")?, "kind": text(row, "v_kind")?, "region": text(row, "v_region")?,
        "speed_limit_kmh": number(row, "speed_limit_kmh")?,
    }))
}

fn holder(row: &Row) -> Result<SubmissionHolder, StoreError> {
    Ok(SubmissionHolder { enterprise: row.get("e_id")?, region: row.get("e_region")?, sector: row.get("e_sector")? })
}
