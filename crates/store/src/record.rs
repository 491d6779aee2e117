//! Records of registers (台账记录), whatever their kind: lists, searches, tasks, and who is told.
//!
//! Knows no kind: what a record's state means, who may bring it on and what is searched is decided above ([`anlan_domain::register`]) and handed
//! down as a [`RecordPut`]. Region and sector of an enterprise's record are copies that move with the enterprise. Start at [`Store::records`]
//! (`list`); writing is [`RecordChange`].

mod change;
mod list;
mod notification;

use anlan_domain::register::search::Search;
use anlan_model::{EnterpriseId, NodeId, RecordId, RegionCode, Role, Scope, Timestamp, UserId, Wgs84};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

pub use change::{RecordChange, RecordOwner, RecordPut, Related};
pub(crate) use change::{code_of, follow_enterprise, insert_grams, merge, read_owner, select_owner, texts};
pub(crate) use list::Bounds;
pub use notification::NotificationRow;

use crate::audit::hex_of;
use crate::db::{Row, Sql, Tx, sql};
use crate::scope::Owner;
use crate::{Paging, Store, StoreError};

/// A record.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordRow {
    /// Id.
    pub id: RecordId,
    /// Kind of register.
    pub kind: String,
    /// Number; empty = the kind numbers nothing.
    pub number: String,
    /// Title.
    pub title: String,
    /// Whose it is; `None` = a division's, or everybody's.
    pub enterprise: Option<EnterpriseId>,
    /// Name of that.
    pub enterprise_name: Option<String>,
    /// Where; `None` = everybody's.
    pub region: Option<RegionCode>,
    /// Name of that, if the region pack knows the code.
    pub region_name: Option<String>,
    /// Sector of the enterprise.
    pub sector: Option<String>,
    /// Place of the enterprise's gate.
    pub place: Option<Wgs84>,
    /// State.
    pub state: String,
    /// Whether something follows.
    pub is_open: bool,
    /// Last day on which it is in time, ISO.
    pub due_on: Option<String>,
    /// Steps of escalation that were told.
    pub escalated: i64,
    /// The record above: id, kind, title.
    pub parent: Option<(RecordId, String, String)>,
    /// Fields and acts.
    pub body: Json,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Counts every change.
    pub revision: i64,
    /// Of a copy: where it is kept. Here it is read-only, and its body says names instead of ids.
    pub home: Option<RecordHome>,
    /// It is being handed over to the node that is called so: nobody changes it until it is known who keeps it.
    pub moving_to: Option<String>,
    /// It was handed over to this node: what its home before is called, and how many of its steps are of that time.
    pub former: Option<(String, usize)>,
}

/// The node whose record it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordHome {
    /// Its id.
    pub id: NodeId,
    /// Its name, or its id while it has none here.
    pub name: String,
    /// When the copy was last told anew.
    pub told_at: Timestamp,
    /// Its id there; `None` = it is not known there any more.
    pub record: Option<i64>,
}

impl RecordRow {
    /// That it may be changed here.
    ///
    /// # Errors
    /// [`StoreError::Mirrored`] for a copy, [`StoreError::Moving`] while it is being handed over.
    pub fn must_be_own(&self) -> Result<(), StoreError> {
        match (&self.home, &self.moving_to) {
            (Some(home), _) => Err(StoreError::Mirrored { node: home.name.clone() }),
            (None, Some(node)) => Err(StoreError::Moving { node: node.clone() }),
            (None, None) => Ok(()),
        }
    }

    /// Whether its last day in time is before `today`, ISO.
    pub fn is_late(&self, today: &str) -> bool {
        self.is_open && self.due_on.as_deref().is_some_and(|day| day < today)
    }
}

/// A record as far as a flag of its enterprise looks at it.
#[derive(Clone, Debug, PartialEq)]
pub struct FlaggingRow {
    /// Which.
    pub id: RecordId,
    /// Of whom.
    pub enterprise: EnterpriseId,
    /// Its title.
    pub title: String,
    /// Its state.
    pub state: String,
    /// The last day in time, ISO.
    pub due_on: Option<String>,
    /// Its sort.
    pub sort: Option<String>,
}

/// What a field must be for a record to be listed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldIs {
    /// This choice, person or date.
    Text(String),
    /// This number.
    Number(f64),
    /// Dates from and to, ISO, both included.
    Texts(Option<String>, Option<String>),
    /// Numbers from and to, both included.
    Numbers(Option<f64>, Option<f64>),
}

/// Which records.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordFilter {
    /// What somebody typed.
    pub search: Search,
    /// In this state.
    pub state: Option<String>,
    /// Of this enterprise.
    pub enterprise: Option<EnterpriseId>,
    /// In this division.
    pub region: Option<RegionCode>,
    /// Something follows, or nothing does.
    pub is_open: Option<bool>,
    /// Open and due before this day, ISO; in order of due days.
    pub due_before: Option<String>,
    /// Below this record.
    pub parent: Option<RecordId>,
    /// On the asker's to-do list on this day, ISO.
    pub task_on: Option<String>,
    /// All of these.
    pub fields: Vec<(String, FieldIs)>,
    /// May be named by others.
    pub nameable: Option<Nameable>,
    /// The kind's records are everybody's. It only says how they are looked for: a record that is not everybody's shows no more by it.
    pub shared: bool,
}

/// What makes a record one that others may name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Nameable {
    /// In one of these states; empty = any.
    pub states: Vec<String>,
    /// Its field of the first day, if it has one.
    pub from: Option<String>,
    /// Its field of the first day on which it may no longer, if it has one.
    pub until: Option<String>,
    /// On this day, ISO.
    pub on: String,
}

/// How many records of a kind something follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordCount {
    /// Kind.
    pub kind: String,
    /// Open ones.
    pub open: i64,
    /// Of those, due before today.
    pub overdue: i64,
}

/// How much there is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskCounts {
    /// All.
    pub open: i64,
    /// Due before today.
    pub overdue: i64,
    /// Due from today to the end of the week.
    pub this_week: i64,
}

/// Of a record; what is everybody's has the region `''`, which no bounded grant holds: see [`and_seen`].
pub(crate) const OWNER: Owner = Owner { enterprise: "r.enterprise_id", region: "r.region", sector: "r.sector" };

/// `AND (…)`: records that one grant holds, and everybody's. Grants alone are quicker where no record of theirs can be everybody's.
pub(crate) fn and_seen(q: &mut Sql, scope: &Scope) {
    if scope.node_wide() || scope.grants.is_empty() {
        q.and_visible(scope, OWNER);
        return;
    }
    q.push("\n  AND (r.region = ''", &[]);
    for grant in &scope.grants {
        q.push("\n    OR (", &[]);
        q.grant(grant, OWNER);
        q.push(")", &[]);
    }
    q.push(")", &[]);
}

const COLUMNS: &str =
    "r.id, r.kind, r.number, r.title, r.enterprise_id, e.name AS enterprise_name, e.lon, e.lat, r.region, n.name AS region_name, r.sector, r.state,
  r.is_open, r.due_on, r.escalated, r.parent_id, p.kind AS parent_kind, p.title AS parent_title, r.body, r.created_at_us, r.updated_at_us, r.revision,
  r.home, r.told_at_us, h.name AS home_name, m.remote_id AS home_record, r.transfer, w.name AS moving_name, r.former, f.name AS former_name,
  r.former_acts";
const JOINS: &str = "LEFT JOIN enterprise AS e ON e.id = r.enterprise_id
LEFT JOIN region AS n ON n.code = r.region
LEFT JOIN record AS p ON p.id = r.parent_id
LEFT JOIN node AS h ON h.id = r.home
LEFT JOIN mirror AS m ON m.kind = 'record' AND m.local_id = r.id
LEFT JOIN transfer AS t ON t.id = r.transfer
LEFT JOIN node AS w ON w.id = t.target
LEFT JOIN node AS f ON f.id = r.former";

impl Store {
    /// One record.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn record(&self, scope: &Scope, kind: &str, id: RecordId) -> Result<RecordRow, StoreError> {
        read(&self.db.row(one(scope, kind, id)).await?.ok_or(StoreError::NotFound)?)
    }

    /// The records below one that are visible too, in order of ids; at most [`Paging::MAX`].
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn records_below(&self, scope: &Scope, parent: RecordId) -> Result<Vec<RecordRow>, StoreError> {
        let mut q = sql(&format!("SELECT {COLUMNS}\nFROM record AS r\n{JOINS}\nWHERE r.parent_id = $1")).bind(parent);
        and_seen(&mut q, scope);
        q.push("\nORDER BY r.id\nLIMIT {}", &[&i64::from(Paging::MAX)]);
        self.db.rows(q).await?.iter().map(read).collect()
    }

    /// State of the record above one that was read, kind and state of each below: what guards look at, whoever asks.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the record above is gone, [`StoreError::Database`].
    pub async fn related(&self, row: &RecordRow) -> Result<Related, StoreError> {
        let parent = match &row.parent {
            None => None,
            Some((id, ..)) => Some(self.db.row(change::select_state(*id)).await?.ok_or(StoreError::NotFound)?.get("state")?),
        };
        Ok((parent, change::read_below(&self.db.rows(change::select_below(row.id)).await?)?))
    }

    /// Open records per kind under the scope, those of `shared` kinds also if they are everybody's; `today` is an ISO date.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn record_counts(&self, scope: &Scope, today: &str, shared: &[String]) -> Result<Vec<RecordCount>, StoreError> {
        let count = || {
            sql("SELECT r.kind, COUNT(*) AS n, SUM(CASE WHEN r.due_on < $1 THEN 1 ELSE 0 END) AS late
FROM record AS r
WHERE r.is_open = 1")
            .bind(today)
        };
        let order = "\nGROUP BY r.kind\nORDER BY r.kind";
        let mut q = count();
        q.and_visible(scope, OWNER);
        q.push(order, &[]);
        let mut rows = self.db.rows(q).await?;
        // Asked for apart, by kind: an OR would cost the grants their index.
        if !(shared.is_empty() || scope.node_wide() || scope.grants.is_empty()) {
            let mut q = count();
            q.and_in("r.kind", shared);
            q.push("\n  AND r.region = ''", &[]);
            q.push(order, &[]);
            rows.extend(self.db.rows(q).await?);
        }
        rows.iter().map(|row| Ok(RecordCount { kind: row.get("kind")?, open: row.get("n")?, overdue: row.get("late")? })).collect()
    }

    /// How much of these kinds is on the asker's to-do list; days are ISO dates.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn task_counts(&self, scope: &Scope, kinds: &[String], today: &str, week_ends: &str) -> Result<TaskCounts, StoreError> {
        let mut q = sql("SELECT COUNT(*) AS n,
  COALESCE(SUM(CASE WHEN r.due_on < $1 THEN 1 ELSE 0 END), 0) AS late,
  COALESCE(SUM(CASE WHEN r.due_on >= $1 AND r.due_on <= $2 THEN 1 ELSE 0 END), 0) AS week
FROM record AS r
WHERE r.is_open = 1")
        .bind(today)
        .bind(week_ends);
        q.and_in("r.kind", kinds);
        list::and_task(&mut q, scope, today);
        let row = self.db.row(q).await?.ok_or(StoreError::NotFound)?;
        Ok(TaskCounts { open: row.get("n")?, overdue: row.get("late")?, this_week: row.get("week")? })
    }

    /// Visible records of `kind` of these enterprises in one of these states, as far as a flag looks at them; `per` is the field of their sort.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn records_flagging(
        &self,
        scope: &Scope,
        kind: &str,
        states: &[String],
        per: &str,
        enterprises: &[EnterpriseId],
    ) -> Result<Vec<FlaggingRow>, StoreError> {
        let mut found = Vec::new();
        for piece in enterprises.chunks(crate::db::PIECE) {
            let mut q = sql("SELECT r.id, r.enterprise_id, r.title, r.state, r.due_on, i.text AS sort
FROM record AS r
LEFT JOIN record_index AS i ON i.record_id = r.id AND i.kind = r.kind AND i.field = $1
WHERE r.kind = $2")
            .bind(per)
            .bind(kind);
            q.and_in("r.enterprise_id", piece);
            q.and_in("r.state", states);
            q.and_visible(scope, OWNER);
            for row in self.db.rows(q).await? {
                found.push(FlaggingRow {
                    id: row.get("id")?,
                    enterprise: row.get("enterprise_id")?,
                    title: row.get("title")?,
                    state: row.get("state")?,
                    due_on: row.get("due_on")?,
                    sort: row.get("sort")?,
                });
            }
        }
        Ok(found)
    }

    /// States in which records of `kind` are; copies are in whatever state their home knows.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn record_states(&self, kind: &str) -> Result<Vec<String>, StoreError> {
        let rows = self
            .db
            .rows(sql("SELECT DISTINCT r.state FROM record AS r WHERE r.kind = $1 AND r.home IS NULL ORDER BY r.state").bind(kind))
            .await?;
        rows.iter().map(|row| row.get("state")).collect()
    }

    /// Records of these kinds whose day of the next word has come, oldest first; `today` is an ISO date.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn records_to_remind(&self, kinds: &[String], today: &str, limit: u32) -> Result<Vec<RecordId>, StoreError> {
        if kinds.is_empty() {
            return Ok(Vec::new());
        }
        let mut q = sql("SELECT r.id FROM record AS r WHERE r.remind_on <= $1 AND r.home IS NULL AND r.transfer IS NULL").bind(today);
        q.and_in("r.kind", kinds);
        q.push("\nORDER BY r.remind_on, r.id\nLIMIT {}", &[&i64::from(limit)]);
        self.db.rows(q).await?.iter().map(|row| row.get("id")).collect()
    }

    /// Who may be named for something of this owner: people with a grant that holds it, with their roles there, by name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn people_at(&self, owner: &RecordOwner) -> Result<Vec<(UserId, String, Vec<Role>)>, StoreError> {
        let mut q =
            sql("SELECT u.id, u.name, g.role\nFROM user_grant AS g\nINNER JOIN users AS u ON u.id = g.user_id\nWHERE u.disabled = 0");
        and_holding(&mut q, owner);
        q.push("\nORDER BY u.name, u.id, g.role", &[]);
        let mut people: Vec<(UserId, String, Vec<Role>)> = Vec::new();
        for row in self.db.rows(q).await? {
            let (id, role) = (row.get("id")?, row.word("role", Role::parse)?);
            match people.last_mut() {
                Some((last, _, roles)) if *last == id => {
                    if !roles.contains(&role) {
                        roles.push(role);
                    }
                }
                _ => people.push((id, row.get("name")?, vec![role])),
            }
        }
        Ok(people)
    }

    /// Shown names of these people, as far as they exist.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn names_of(&self, ids: &[UserId]) -> Result<Vec<(UserId, String)>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.db.rows_among("SELECT u.id, u.name FROM users AS u WHERE 1 = 1", "u.id", ids).await?;
        rows.iter().map(|row| Ok((row.get("id")?, row.get("name")?))).collect()
    }

    /// The visible owner of an enterprise's records.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if it is not there or not visible, [`StoreError::Database`].
    pub async fn record_owner(&self, scope: &Scope, enterprise: EnterpriseId) -> Result<RecordOwner, StoreError> {
        let row = self.db.row(change::select_owner(scope, enterprise)).await?;
        change::read_owner(&row.ok_or(StoreError::Missing { field: "enterprise" })?)
    }

    /// Visible open records of `kind` one of whose `fields` may name this person, in order of ids; the caller looks closer.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn open_records_naming(
        &self,
        scope: &Scope,
        kind: &str,
        fields: &[&str],
        user: UserId,
        after: RecordId,
        limit: u32,
    ) -> Result<Vec<RecordRow>, StoreError> {
        let mut q = sql(&format!(
            "SELECT {COLUMNS}\nFROM record AS r\n{JOINS}\nWHERE r.is_open = 1 AND r.home IS NULL AND r.transfer IS NULL AND r.kind = $1"
        ))
        .bind(kind);
        // A person field is in no index unless lists are narrowed by it; the body is JSON as serde writes it.
        for (i, field) in fields.iter().enumerate() {
            let pattern = format!("%\"{field}\":\"{user}\"%");
            q.push(if i == 0 { "\n  AND (r.body LIKE {}" } else { " OR r.body LIKE {}" }, &[&pattern]);
        }
        q.push(if fields.is_empty() { "\n  AND 1 = 0" } else { ")" }, &[]);
        q.and_visible(scope, OWNER);
        q.push("\n  AND r.id > {}\nORDER BY r.id\nLIMIT {}", &[&after, &i64::from(limit)]);
        self.db.rows(q).await?.iter().map(read).collect()
    }

    /// How many records there are, and which of them are not as the audit says, in order of ids: the row is not what its newest entry vouches
    /// for, or has no entry, or is gone, or stands elsewhere than its enterprise.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn verify_records(&self) -> Result<(u64, Vec<RecordId>), StoreError> {
        let (mut after, mut n, mut wrong) = (0_i64, 0, std::collections::BTreeSet::new());
        // A row and its entry in one statement, so as of one instant: people go on working meanwhile.
        let page = format!(
            "SELECT {CANONICAL}, r.sector, e.region AS enterprise_region, e.sector AS enterprise_sector,
  (SELECT a.row_hash FROM audit AS a WHERE a.noun = 'record' AND a.subject = CAST(r.id AS TEXT) ORDER BY a.id DESC LIMIT 1) AS row_hash
FROM record AS r
LEFT JOIN enterprise AS e ON e.id = r.enterprise_id
WHERE r.id > $1
ORDER BY r.id
LIMIT 500"
        );
        loop {
            let rows = self.db.rows(sql(&page).bind(after)).await?;
            let Some(last) = rows.last() else { break };
            after = last.get("id")?;
            n += rows.len() as u64;
            for row in &rows {
                let is_vouched = row.get::<Option<String>>("row_hash")? == Some(hex_of(canonical(row)?.to_string().as_bytes()));
                if !is_vouched || !stands_with_enterprise(row)? {
                    wrong.insert(row.get("id")?);
                }
            }
        }
        wrong.extend(self.records_gone().await?);
        Ok((n, wrong.into_iter().collect()))
    }

    /// Records that were made and are no longer there: nothing here deletes one, except a copy that was withdrawn.
    async fn records_gone(&self) -> Result<Vec<RecordId>, StoreError> {
        let (mut after, mut gone) = (0_i64, Vec::new());
        loop {
            let page =
                sql("SELECT a.id, a.subject FROM audit AS a WHERE a.id > $1 AND a.noun = 'record' AND a.action IN ('create', 'receive')
  AND NOT EXISTS (SELECT 1 FROM audit AS w WHERE w.noun = 'record' AND w.subject = a.subject AND w.action = 'withdraw')
ORDER BY a.id
LIMIT 500");
            let rows = self.db.rows(page.bind(after)).await?;
            let Some(last) = rows.last() else { return Ok(gone) };
            after = last.get("id")?;
            let made = rows.iter().map(|row| row.get::<String>("subject")).collect::<Result<Vec<_>, _>>()?;
            // A subject that is no id was altered, which the chain of the audit shows.
            let made: Vec<RecordId> = made.iter().filter_map(|id| id.parse().ok()).collect();
            let found = self.db.rows_among("SELECT r.id FROM record AS r WHERE 1 = 1", "r.id", &made).await?;
            let found = found.iter().map(|row| row.get("id")).collect::<Result<std::collections::BTreeSet<RecordId>, _>>()?;
            gone.extend(made.into_iter().filter(|id| !found.contains(id)));
        }
    }
}

/// What the audit's hash of a record is of.
const CANONICAL: &str =
    "r.id, r.kind, r.number, r.title, r.enterprise_id, r.region, r.state, r.is_open, r.due_on, r.remind_on, r.escalated, r.record_key,
  r.parent_id, r.task_on, r.task_user, r.own_text, r.body, r.created_at_us, r.updated_at_us, r.revision, r.home,
  r.above, r.told_at_us";

/// A record as the audit's hash of it is made.
pub(crate) async fn canonical_of(tx: &mut Tx, id: RecordId) -> Result<Json, StoreError> {
    let q = sql(&format!("SELECT {CANONICAL} FROM record AS r WHERE r.id = $1")).bind(id);
    canonical(&tx.row(q).await?.ok_or(StoreError::NotFound)?)
}

fn canonical(row: &Row) -> Result<Json, StoreError> {
    let enterprise: Option<i64> = row.get("enterprise_id")?;
    let region: String = row.get("region")?;
    let home: Option<NodeId> = row.get("home")?;
    let parent: Option<i64> = row.get("parent_id")?;
    let mut json = json!({
        "id": row.get::<i64>("id")?,
        "kind": row.get::<String>("kind")?,
        "number": row.get::<String>("number")?,
        "title": row.get::<String>("title")?,
        "enterprise": enterprise,
        // An enterprise's record is where the enterprise is.
        "region": enterprise.is_none().then_some(region),
        "state": row.get::<String>("state")?,
        "is_open": row.get::<bool>("is_open")?,
        "due_on": row.get::<Option<String>>("due_on")?,
        "remind_on": row.get::<Option<String>>("remind_on")?,
        "escalated": row.get::<i64>("escalated")?,
        "key": row.get::<Option<String>>("record_key")?,
        "parent": parent.filter(|_| home.is_none()),
        "task_on": row.get::<Option<String>>("task_on")?,
        "task_user": row.get::<Option<i64>>("task_user")?,
        "own_text": row.get::<String>("own_text")?,
        "body": row.get::<String>("body")?,
        "created_at": row.get::<i64>("created_at_us")?,
        "updated_at": row.get::<i64>("updated_at_us")?,
        "revision": row.get::<i64>("revision")?,
    });
    if let Some(home) = home {
        json["home"] = json!(home.to_string());
        // The record above comes and goes by itself.
        json["above"] = json!(row.get::<Option<i64>>("above")?);
        json["told_at"] = json!(row.get::<Option<i64>>("told_at_us")?);
    }
    Ok(json)
}

/// Whether the copies of territory and sector are the enterprise's: a record that stands elsewhere is out of its county's sight.
fn stands_with_enterprise(row: &Row) -> Result<bool, StoreError> {
    let copies: (String, Option<String>) = (row.get("region")?, row.get("sector")?);
    Ok(match row.get::<Option<i64>>("enterprise_id")? {
        Some(_) => (Some(copies.0), copies.1) == (row.get("enterprise_region")?, row.get("enterprise_sector")?),
        None => copies.1.is_none(),
    })
}

fn one(scope: &Scope, kind: &str, id: RecordId) -> Sql {
    let mut q = sql(&format!("SELECT {COLUMNS}\nFROM record AS r\n{JOINS}\nWHERE r.id = $1 AND r.kind = $2")).bind(id).bind(kind);
    and_seen(&mut q, scope);
    q
}

/// Grants `g` that hold this owner.
fn and_holding(q: &mut Sql, owner: &RecordOwner) {
    let code = change::code_of(owner.region.as_ref());
    q.push("\n  AND (g.region IS NULL OR g.region = SUBSTR({}, 1, LENGTH(g.region)))", &[&code]);
    q.push("\n  AND (g.sector IS NULL OR g.sector = {})", &[&owner.sector]);
    q.push("\n  AND (g.enterprise_id IS NULL OR g.enterprise_id = {})", &[&owner.enterprise]);
}

fn read(row: &Row) -> Result<RecordRow, StoreError> {
    let parent: Option<RecordId> = row.get("parent_id")?;
    Ok(RecordRow {
        id: row.get("id")?,
        kind: row.get("kind")?,
        number: row.get("number")?,
        title: row.get("title")?,
        enterprise: row.get("enterprise_id")?,
        enterprise_name: row.get("enterprise_name")?,
        region: if row.get::<String>("region")?.is_empty() { None } else { Some(row.get("region")?) },
        region_name: row.get("region_name")?,
        sector: row.get("sector")?,
        place: crate::enterprise::read_place(row)?,
        state: row.get("state")?,
        is_open: row.get("is_open")?,
        due_on: row.get("due_on")?,
        escalated: row.get("escalated")?,
        parent: match parent {
            Some(id) => Some((id, row.get("parent_kind")?, row.get("parent_title")?)),
            None => None,
        },
        body: row.json("body")?,
        created_at: row.get("created_at_us")?,
        updated_at: row.get("updated_at_us")?,
        revision: row.get("revision")?,
        home: match row.get::<Option<NodeId>>("home")? {
            None => None,
            Some(id) => Some(RecordHome {
                id,
                name: row.get::<Option<String>>("home_name")?.unwrap_or_else(|| id.to_string()),
                told_at: row.get("told_at_us")?,
                record: row.get::<Option<i64>>("home_record")?.filter(|id| *id > 0),
            }),
        },
        moving_to: match row.get::<Option<String>>("transfer")? {
            None => None,
            Some(_) => Some(row.get::<Option<String>>("moving_name")?.unwrap_or_default()),
        },
        former: match row.get::<Option<String>>("former")? {
            None => None,
            Some(id) => {
                let acts = row.get::<Option<i64>>("former_acts")?.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
                Some((row.get::<Option<String>>("former_name")?.unwrap_or(id), acts))
            }
        },
    })
}
