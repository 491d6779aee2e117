//! Audit and outbox: what every change leaves behind, in the transaction of the change.
//!
//! An entry holds the SHA-256 of the row's canonical JSON after the change and of the entry before it, so that a row or an entry
//! that was altered behind the program's back shows. Nothing here edits or deletes an entry. Start at [`Change`].

use anlan_model::{EnterpriseId, RegionCode, Scope, Timestamp, UserId};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use crate::db::{Row, Sql, Tx, sql};
use crate::feed::{Network, Told, standing_in};
use crate::line::Turn;
use crate::scope::Owner;
use crate::sight::{Sight, StandingChange};
use crate::{Page, Paging, Store, StoreError};

/// Entries of the outbox that are kept; older ones are dropped when nobody fetched them.
const OUTBOX_MAX: i64 = 100_000;

/// One entry of the audit.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// In order of writing.
    pub id: i64,
    /// When, domain time.
    pub at: Timestamp,
    /// Who; `None` = the node itself.
    pub user: Option<UserId>,
    /// Shown name at that time.
    pub name: String,
    /// What was done, a word such as `create`, `update`, `acknowledge`.
    pub action: String,
    /// To what kind of row.
    pub noun: String,
    /// Its id.
    pub subject: String,
    /// What changed.
    pub detail: Json,
    /// Its hash: over its content and the hash of the entry before it, by which `anlan audit verify --head` finds it.
    pub hash: String,
}

/// Which entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only this kind of row.
    pub noun: Option<String>,
    /// Only this row.
    pub subject: Option<String>,
    /// Only by this person.
    pub user: Option<UserId>,
}

/// Something worth an entry that changes no row, such as a refused sign-in.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// What was done.
    pub action: &'static str,
    /// To what kind of row.
    pub noun: &'static str,
    /// Its id or name.
    pub subject: String,
    /// More.
    pub detail: Json,
}

/// What a look at the whole chain found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditCheck {
    /// Entries seen.
    pub entries: u64,
    /// First entry whose hash does not follow from its content and the entry before; `None` = the chain holds.
    pub broken_at: Option<i64>,
    /// Whether the newest entry is the one the head names: an entry cut off the end shows here.
    pub complete: bool,
    /// Hash of the newest entry that holds; empty = there is none.
    pub head: String,
    /// Whether the hash that was asked for is one of the chain's; true if none was.
    pub is_met: bool,
}

/// Something others must learn.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxEntry {
    /// In order of writing.
    pub id: i64,
    /// When, domain time.
    pub at: Timestamp,
    /// Word such as `alarm`, `device`.
    pub kind: String,
    /// JSON.
    pub body: Json,
}

impl Store {
    /// Entries under the scope, newest first.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`].
    pub async fn audit(&self, scope: &Scope, filter: &AuditFilter, paging: &Paging) -> Result<Page<AuditEntry>, StoreError> {
        let mut q =
            sql("SELECT x.id, x.at_us, x.user_id, x.name, x.action, x.noun, x.subject, x.detail, x.hash\nFROM audit AS x\nWHERE 1 = 1");
        q.and_visible(scope, Owner { enterprise: "x.enterprise_id", region: "x.region", sector: "x.sector" });
        if let Some(noun) = &filter.noun {
            q.push("\n  AND x.noun = {}", &[noun]);
        }
        if let Some(subject) = &filter.subject {
            q.push("\n  AND x.subject = {}", &[subject]);
        }
        if let Some(user) = filter.user {
            q.push("\n  AND x.user_id = {}", &[&user]);
        }
        if let Some(id) = paging.after_id()? {
            q.push("\n  AND x.id < {}", &[&id]);
        }
        q.push("\nORDER BY x.id DESC\nLIMIT {}", &[&paging.fetch()]);
        paging.page_by_id(self.db.rows(q).await?, |row| {
            Ok(AuditEntry {
                id: row.get("id")?,
                at: row.get("at_us")?,
                user: row.get("user_id")?,
                name: row.get("name")?,
                action: row.get("action")?,
                noun: row.get("noun")?,
                subject: row.get("subject")?,
                detail: row.json("detail")?,
                hash: row.get("hash")?,
            })
        })
    }

    /// Writes an entry that belongs to no change of a row.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn note(&self, scope: &Scope, note: Note, now: Timestamp) -> Result<(), StoreError> {
        let mut change = self.change(scope, now).await?;
        let row = note.detail.clone();
        change
            .record(Entry { action: note.action, noun: note.noun, subject: note.subject, detail: note.detail, row, holder: Holder::NONE })
            .await?;
        change.commit().await
    }

    /// Recomputes the whole chain; `wanted` is the hash of an entry that must be in it, as an earlier look or another node noted it.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn verify_audit(&self, wanted: Option<&str>) -> Result<AuditCheck, StoreError> {
        let mut is_met = wanted.is_none();
        let (mut after, mut prev, mut entries) = (0_i64, String::new(), 0_u64);
        loop {
            let page = sql(
                "SELECT id, at_us, user_id, name, action, noun, subject, detail, enterprise_id, region, sector, row_hash, prev_hash, hash
FROM audit WHERE id > $1 ORDER BY id LIMIT 1000",
            );
            let rows = self.db.rows(page.bind(after)).await?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                after = row.get("id")?;
                entries += 1;
                let stored: String = row.get("hash")?;
                if row.get::<String>("prev_hash")? != prev || entry_hash(&row)? != stored {
                    return Ok(AuditCheck { entries, broken_at: Some(after), complete: false, head: prev, is_met });
                }
                is_met |= wanted == Some(stored.as_str());
                prev = stored;
            }
        }
        let head = self.db.row(sql("SELECT n_entries, hash FROM audit_head WHERE id = 1")).await?.ok_or(StoreError::NotFound)?;
        let complete = head.get::<String>("hash")? == prev && u64::try_from(head.get::<i64>("n_entries")?) == Ok(entries);
        Ok(AuditCheck { entries, broken_at: None, complete, head: prev, is_met })
    }

    /// What others must learn, oldest first, after entry `after`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn outbox(&self, after: i64, limit: u32) -> Result<Vec<OutboxEntry>, StoreError> {
        let q = sql("SELECT id, at_us, kind, body FROM outbox WHERE id > $1 ORDER BY id LIMIT $2");
        let rows = self.db.rows(q.bind(after).bind(i64::from(limit.min(Paging::MAX)))).await?;
        rows.iter()
            .map(|r| Ok(OutboxEntry { id: r.get("id")?, at: r.get("at_us")?, kind: r.get("kind")?, body: r.json("body")? }))
            .collect()
    }

    /// Forgets entries up to and with `id`: the receiver has them.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn forget_outbox(&self, id: i64) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        tx.run(sql("DELETE FROM outbox WHERE id <= $1").bind(id)).await?;
        tx.commit().await
    }

    /// Begins a change by a person or by the node: row, audit and outbox in one transaction.
    pub(crate) async fn change<'a>(&self, scope: &'a Scope, now: Timestamp) -> Result<Change<'a>, StoreError> {
        // What the node does of itself does not queue up behind a crowd of people.
        let turn = if scope.user.is_some() { Some(self.line.enter().await?) } else { None };
        let mut tx = self.db.begin().await?;
        // Taking the head's row lock first makes changes one after another, so entries form a chain and nobody deadlocks.
        let head = tx.row(sql("UPDATE audit_head SET n_entries = n_entries + 0 WHERE id = 1 RETURNING n_entries, hash")).await?;
        let head = head.ok_or_else(|| StoreError::Corrupt("the audit has no head".to_owned()))?;
        let (n_entries, hash, sight) = (head.get("n_entries")?, head.get("hash")?, self.sight.clone());
        // In line: whoever set other registers meanwhile tells by them behind this change.
        let (network, told, standing) = (self.network.clone(), Told::by(self.network.registers()), Vec::new());
        Ok(Change { n_entries, hash, tx, scope, now, sight, moves: false, network, told, standing, renames: false, _turn: turn })
    }
}

/// A change under way.
pub(crate) struct Change<'a> {
    pub(crate) tx: Tx,
    pub(crate) scope: &'a Scope,
    pub(crate) now: Timestamp,
    n_entries: i64,
    hash: String,
    sight: Sight,
    /// A row changed that decides which points a scope sees.
    pub(crate) moves: bool,
    network: Network,
    /// What other nodes must learn.
    pub(crate) told: Told,
    /// Alarms of other nodes that stand now, or no more.
    pub(crate) standing: Vec<StandingChange>,
    /// This node, its parent or its neighbours became others.
    pub(crate) renames: bool,
    // After the transaction: it must have ended when the next one begins.
    _turn: Option<Turn>,
}

/// Whose row it is, for the scope of the audit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holder {
    pub(crate) enterprise: Option<EnterpriseId>,
    pub(crate) region: Option<RegionCode>,
    pub(crate) sector: Option<String>,
}

impl Holder {
    pub(crate) const NONE: Self = Self { enterprise: None, region: None, sector: None };
}

/// What [`Change::record`] writes.
pub(crate) struct Entry {
    pub(crate) action: &'static str,
    pub(crate) noun: &'static str,
    pub(crate) subject: String,
    pub(crate) detail: Json,
    /// The row after the change.
    pub(crate) row: Json,
    pub(crate) holder: Holder,
}

impl Change<'_> {
    /// Writes the audit entry of what this transaction did.
    pub(crate) async fn record(&mut self, entry: Entry) -> Result<(), StoreError> {
        self.moves |= matches!(entry.noun, "point" | "device" | "enterprise");
        let row_hash = hex_of(entry.row.to_string().as_bytes());
        let insert = "INSERT INTO audit (at_us, user_id, name, action, noun, subject, detail, enterprise_id, region, sector, row_hash, prev_hash, hash)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, '')
RETURNING id, at_us, user_id, name, action, noun, subject, detail, enterprise_id, region, sector, row_hash, prev_hash";
        let insert = sql(insert)
            .bind(self.now)
            .bind(self.scope.user)
            .bind(self.scope.name.as_str())
            .bind(entry.action)
            .bind(entry.noun)
            .bind(entry.subject)
            .bind(entry.detail.to_string())
            .bind(entry.holder.enterprise)
            .bind(entry.holder.region)
            .bind(entry.holder.sector)
            .bind(row_hash)
            .bind(self.hash.as_str());
        let row = self.tx.row(insert).await?.ok_or(StoreError::NotFound)?;
        // The id is part of what is hashed, so the hash follows the insert.
        self.hash = entry_hash(&row)?;
        self.n_entries += 1;
        let id: i64 = row.get("id")?;
        self.tx.run(sql("UPDATE audit SET hash = $1 WHERE id = $2").bind(self.hash.as_str()).bind(id)).await?;
        Ok(())
    }

    /// Tells others: an outbox entry.
    pub(crate) async fn tell(&mut self, kind: &str, body: &Json) -> Result<(), StoreError> {
        let insert = sql("INSERT INTO outbox (at_us, kind, body) VALUES ($1, $2, $3) RETURNING id");
        let row = self.tx.row(insert.bind(self.now).bind(kind).bind(body.to_string())).await?.ok_or(StoreError::NotFound)?;
        let oldest = row.get::<i64>("id")? - OUTBOX_MAX;
        self.told.row(kind, body);
        if oldest > 0 {
            self.tx.run(sql("DELETE FROM outbox WHERE id <= $1").bind(oldest)).await?;
        }
        Ok(())
    }

    /// The registers of this node.
    pub(crate) fn registers(&self) -> crate::copy::Registers {
        self.network.registers()
    }

    /// This node's id, once it has one.
    pub(crate) fn own(&self) -> Option<anlan_model::NodeId> {
        self.network.get().own
    }

    /// Whose row a row of `enterprise` is.
    pub(crate) async fn holder(&mut self, enterprise: Option<EnterpriseId>) -> Result<Holder, StoreError> {
        let Some(id) = enterprise else { return Ok(Holder::NONE) };
        let row = self.tx.row(sql("SELECT region, sector FROM enterprise WHERE id = $1").bind(id)).await?.ok_or(StoreError::NotFound)?;
        Ok(Holder { enterprise, region: row.get("region")?, sector: row.get("sector")? })
    }

    /// That the asker may put a row under `enterprise`: it is visible, or there is none and the asker is node-wide.
    pub(crate) async fn may_own(&mut self, enterprise: Option<EnterpriseId>) -> Result<(), StoreError> {
        let Some(id) = enterprise else { return crate::require_node_wide(self.scope) };
        let mut q = sql("SELECT e.id FROM enterprise AS e WHERE e.id = $1 AND e.merged_into IS NULL").bind(id);
        q.and_visible(self.scope, Owner::ENTERPRISE);
        self.tx.row(q).await?.map(drop).ok_or(StoreError::Missing { field: "enterprise" })
    }

    /// Commits row, audit and outbox.
    pub(crate) async fn commit(mut self) -> Result<(), StoreError> {
        let head = sql("UPDATE audit_head SET n_entries = $1, hash = $2 WHERE id = 1");
        self.tx.run(head.bind(self.n_entries).bind(self.hash)).await?;
        let before = self.network.get();
        let now = if self.renames { standing_in(&mut self.tx, before).await? } else { before };
        crate::submission::note(&mut self.tx, &self.network, &self.told).await?;
        let put = self.told.put(&mut self.tx, now).await?;
        let moving = self.moves.then(|| self.sight.moving());
        let projecting = (!self.standing.is_empty()).then(|| self.sight.projecting());
        // Before the commit: who writes next tells the new parent. Should the commit fail, entries that nobody fetches do no harm.
        if self.renames {
            self.network.set(now);
        }
        let committed = self.tx.commit().await;
        if committed.is_err() && self.renames {
            self.network.set(before);
        }
        committed?;
        self.network.grew(put);
        if let Some(projecting) = projecting {
            projecting.over(self.standing);
        }
        if let Some(moving) = moving {
            moving.over();
        }
        Ok(())
    }
}

/// Refuses a change of a row that moved on. `found` is the revision in the database.
pub(crate) fn check_revision(found: i64, wanted: i64) -> Result<(), StoreError> {
    if found == wanted { Ok(()) } else { Err(StoreError::Stale) }
}

/// Fields of `after` that differ from `before`, as `{"field": [old, new]}`.
pub(crate) fn difference(before: &Json, after: &Json) -> Json {
    let empty = serde_json::Map::new();
    let (before, after) = (before.as_object().unwrap_or(&empty), after.as_object().unwrap_or(&empty));
    let changed = after.iter().filter(|(key, new)| key.as_str() != "revision" && before.get(*key) != Some(new));
    Json::Object(changed.map(|(key, new)| (key.clone(), json!([before.get(key).cloned().unwrap_or(Json::Null), new]))).collect())
}

fn entry_hash(row: &Row) -> Result<String, StoreError> {
    let canonical = json!({
        "id": row.get::<i64>("id")?,
        "at": row.get::<Timestamp>("at_us")?.micros(),
        "user": row.get::<Option<i64>>("user_id")?,
        "name": row.get::<String>("name")?,
        "action": row.get::<String>("action")?,
        "noun": row.get::<String>("noun")?,
        "subject": row.get::<String>("subject")?,
        "detail": row.get::<String>("detail")?,
        "enterprise": row.get::<Option<i64>>("enterprise_id")?,
        "region": row.get::<Option<String>>("region")?,
        "sector": row.get::<Option<String>>("sector")?,
        "row": row.get::<String>("row_hash")?,
        "prev": row.get::<String>("prev_hash")?,
    });
    Ok(hex_of(canonical.to_string().as_bytes()))
}

pub(crate) fn hex_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// `AND column = value` for a filter that may be absent.
pub(crate) fn and_equal<T: crate::db::ToValue>(q: &mut Sql, column: &str, value: Option<&T>) {
    if let Some(value) = value {
        q.push(&format!("\n  AND {column} = {{}}"), &[&value]);
    }
}
