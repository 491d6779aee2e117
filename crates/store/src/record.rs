//! Records of registers (台账记录), whatever their kind: lists, searches, tasks, and who is told.
//!
//! Knows no kind: what a record's state means, who may bring it on and what is searched is decided above ([`anlan_domain::register`]) and handed
//! down as a [`RecordPut`]. Region and sector of an enterprise's record are copies that move with the enterprise. Start at [`Store::records`];
//! writing is [`RecordChange`].

mod change;
mod notification;

use anlan_domain::register::search::Search;
use anlan_model::noun::Grant;
use anlan_model::{EnterpriseId, RecordId, RegionCode, Role, Scope, Timestamp, UserId, Wgs84};
use serde_json::{Value as Json, json};

pub(crate) use change::follow_enterprise;
pub use change::{RecordChange, RecordOwner, RecordPut};
pub use notification::NotificationRow;

use crate::audit::hex_of;
use crate::db::{Row, Sql, sql};
use crate::scope::Owner;
use crate::{Page, Paging, Store, StoreError};

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
    /// Whose it is; `None` = a division's.
    pub enterprise: Option<EnterpriseId>,
    /// Name of that.
    pub enterprise_name: Option<String>,
    /// Where.
    pub region: RegionCode,
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
}

/// What a field must be for a record to be listed.
#[derive(Clone, Debug, PartialEq)]
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
#[derive(Clone, Debug, Default, PartialEq)]
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

const OWNER: Owner = Owner { enterprise: "r.enterprise_id", region: "r.region", sector: "r.sector" };

const COLUMNS: &str =
    "r.id, r.kind, r.number, r.title, r.enterprise_id, e.name AS enterprise_name, e.lon, e.lat, r.region, n.name AS region_name, r.sector, r.state,
  r.is_open, r.due_on, r.escalated, r.parent_id, p.kind AS parent_kind, p.title AS parent_title, r.body, r.created_at_us, r.updated_at_us, r.revision";
const JOINS: &str = "LEFT JOIN enterprise AS e ON e.id = r.enterprise_id
LEFT JOIN region AS n ON n.code = r.region
LEFT JOIN record AS p ON p.id = r.parent_id";

/// A gram that more records have than this is as good as any other to begin with.
const RARE: i64 = 2_000;
/// Records without a due day come last.
const NO_DAY: &str = "~";

impl Store {
    /// A page of records of `kind` under the scope: newest first, or by due day if the filter asks for what is due.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`].
    pub async fn records(&self, scope: &Scope, kind: &str, filter: &RecordFilter, paging: &Paging) -> Result<Page<RecordRow>, StoreError> {
        let mut q = match self.rarest(kind, &filter.search).await? {
            // Records with the rarest gram, in order of ids: that is the order of the key.
            Some(gram) => {
                let mut q = sql(&format!("SELECT {COLUMNS}\nFROM record_gram AS g\nINNER JOIN record AS r ON r.id = g.record_id\n{JOINS}"));
                q.push("\nWHERE g.kind = {} AND g.gram = {}", &[&kind, &gram]);
                q
            }
            None => {
                let mut q = sql(&format!("SELECT {COLUMNS}\nFROM record AS r\n{JOINS}"));
                q.push("\nWHERE r.kind = {}", &[&kind]);
                q
            }
        };
        let by_gram = !filter.search.grams.is_empty();
        q.and_visible(scope, OWNER);
        and_found(&mut q, &filter.search, kind);
        if let Some(state) = &filter.state {
            q.push("\n  AND r.state = {}", &[state]);
        }
        if let Some(enterprise) = filter.enterprise {
            q.push("\n  AND r.enterprise_id = {}", &[&enterprise]);
        }
        if let Some(region) = &filter.region {
            let (from, to) = region.range();
            q.push("\n  AND r.region >= {} AND r.region < {}", &[&from, &to]);
        }
        if let Some(is_open) = filter.is_open {
            q.push("\n  AND r.is_open = {}", &[&is_open]);
        }
        if let Some(parent) = filter.parent {
            q.push("\n  AND r.parent_id = {}", &[&parent]);
        }
        if let Some(today) = &filter.task_on {
            and_task(&mut q, scope, today);
        }
        for (field, is) in &filter.fields {
            and_field(&mut q, kind, field, is);
        }
        if let Some(day) = &filter.due_before {
            q.push("\n  AND r.is_open = 1 AND r.due_on < {}", &[day]);
            return self.by_due_day(q, paging).await;
        }
        let id = if by_gram { "g.record_id" } else { "r.id" };
        if let Some(after) = paging.after_id()? {
            q.push(&format!("\n  AND {id} < {{}}"), &[&after]);
        }
        q.push(&format!("\nORDER BY {id} DESC\nLIMIT {{}}"), &[&paging.fetch()]);
        paging.page_by_id(self.db.rows(q).await?, read)
    }

    async fn by_due_day(&self, mut q: Sql, paging: &Paging) -> Result<Page<RecordRow>, StoreError> {
        let day = format!("COALESCE(r.due_on, '{NO_DAY}')");
        if let Some(cursor) = &paging.cursor {
            let (due, id) = cursor.rsplit_once(' ').ok_or(StoreError::Cursor)?;
            let id: i64 = id.parse().map_err(|_| StoreError::Cursor)?;
            q.push(&format!("\n  AND ({day} > {{}} OR ({day} = {{}} AND r.id > {{}}))"), &[&due, &due, &id]);
        }
        q.push(&format!("\nORDER BY {day}, r.id\nLIMIT {{}}"), &[&paging.fetch()]);
        let cursor = |row: &Row| {
            let due: Option<String> = row.get("due_on")?;
            Ok(format!("{} {}", due.as_deref().unwrap_or(NO_DAY), row.get::<i64>("id")?))
        };
        paging.page(self.db.rows(q).await?, cursor, read)
    }

    /// The gram of the search that the fewest records have.
    async fn rarest(&self, kind: &str, search: &Search) -> Result<Option<String>, StoreError> {
        let mut rarest: Option<(i64, &String)> = None;
        for gram in &search.grams {
            if search.grams.len() == 1 {
                return Ok(Some(gram.clone()));
            }
            let q = sql(
                "SELECT COUNT(*) AS n FROM (SELECT g.record_id FROM record_gram AS g WHERE g.kind = $1 AND g.gram = $2 LIMIT $3) AS some",
            );
            let row = self.db.row(q.bind(kind).bind(gram).bind(RARE)).await?.ok_or(StoreError::NotFound)?;
            let n: i64 = row.get("n")?;
            if rarest.is_none_or(|(least, _)| n < least) {
                rarest = Some((n, gram));
            }
        }
        Ok(rarest.map(|(_, gram)| gram.clone()))
    }

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
        q.and_visible(scope, OWNER);
        q.push("\nORDER BY r.id\nLIMIT {}", &[&i64::from(Paging::MAX)]);
        self.db.rows(q).await?.iter().map(read).collect()
    }

    /// Open records per kind under the scope; `today` is an ISO date.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn record_counts(&self, scope: &Scope, today: &str) -> Result<Vec<RecordCount>, StoreError> {
        let mut q = sql("SELECT r.kind, COUNT(*) AS n, SUM(CASE WHEN r.due_on < $1 THEN 1 ELSE 0 END) AS late
FROM record AS r
WHERE r.is_open = 1")
        .bind(today);
        q.and_visible(scope, OWNER);
        q.push("\nGROUP BY r.kind\nORDER BY r.kind", &[]);
        let rows = self.db.rows(q).await?;
        rows.iter().map(|row| Ok(RecordCount { kind: row.get("kind")?, open: row.get("n")?, overdue: row.get("late")? })).collect()
    }

    /// A page of the asker's to-do list on this day (ISO): by due day, what has none last.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`].
    pub async fn tasks(&self, scope: &Scope, today: &str, paging: &Paging) -> Result<Page<RecordRow>, StoreError> {
        let mut q = sql(&format!("SELECT {COLUMNS}\nFROM record AS r\n{JOINS}\nWHERE r.is_open = 1"));
        and_task(&mut q, scope, today);
        self.by_due_day(q, paging).await
    }

    /// How much is on the asker's to-do list; days are ISO dates.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn task_counts(&self, scope: &Scope, today: &str, week_ends: &str) -> Result<TaskCounts, StoreError> {
        let mut q = sql("SELECT COUNT(*) AS n,
  COALESCE(SUM(CASE WHEN r.due_on < $1 THEN 1 ELSE 0 END), 0) AS late,
  COALESCE(SUM(CASE WHEN r.due_on >= $1 AND r.due_on <= $2 THEN 1 ELSE 0 END), 0) AS week
FROM record AS r
WHERE r.is_open = 1")
        .bind(today)
        .bind(week_ends);
        and_task(&mut q, scope, today);
        let row = self.db.row(q).await?.ok_or(StoreError::NotFound)?;
        Ok(TaskCounts { open: row.get("n")?, overdue: row.get("late")?, this_week: row.get("week")? })
    }

    /// States in which records of `kind` are.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn record_states(&self, kind: &str) -> Result<Vec<String>, StoreError> {
        let rows = self.db.rows(sql("SELECT DISTINCT r.state FROM record AS r WHERE r.kind = $1 ORDER BY r.state").bind(kind)).await?;
        rows.iter().map(|row| row.get("state")).collect()
    }

    /// Records whose day of the next word has come, oldest first; `today` is an ISO date.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn records_to_remind(&self, today: &str, limit: u32) -> Result<Vec<RecordId>, StoreError> {
        let q = sql("SELECT r.id FROM record AS r WHERE r.remind_on <= $1 ORDER BY r.remind_on, r.id LIMIT $2");
        let rows = self.db.rows(q.bind(today).bind(i64::from(limit))).await?;
        rows.iter().map(|row| row.get("id")).collect()
    }

    /// How many words are due; for the test clock.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn n_records_to_remind(&self, today: &str) -> Result<i64, StoreError> {
        let q = sql("SELECT COUNT(*) AS n FROM record AS r WHERE r.remind_on <= $1").bind(today);
        self.db.row(q).await?.ok_or(StoreError::NotFound)?.get("n")
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

    /// Visible owners by the codes of their enterprises.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn record_owners(&self, scope: &Scope, codes: &[String]) -> Result<Vec<(String, RecordOwner)>, StoreError> {
        let mut owners = Vec::new();
        for piece in codes.chunks(crate::db::PIECE) {
            let mut q = sql("SELECT e.id, e.region, e.sector, e.name, e.code FROM enterprise AS e WHERE 1 = 1");
            q.and_visible(scope, Owner::ENTERPRISE);
            q.and_in("e.code", piece);
            for row in self.db.rows(q).await? {
                owners.push((row.get("code")?, change::read_owner(&row)?));
            }
        }
        Ok(owners)
    }

    /// Records whose row is not what their newest audit entry says, or that have none: ids, in order.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn verify_records(&self) -> Result<(u64, Vec<RecordId>), StoreError> {
        let (mut after, mut n, mut wrong) = (0_i64, 0, Vec::new());
        loop {
            let rows = self.db.rows(sql(&format!("{CANONICAL}\nWHERE r.id > $1\nORDER BY r.id\nLIMIT 500")).bind(after)).await?;
            let Some(last) = rows.last() else { return Ok((n, wrong)) };
            after = last.get("id")?;
            n += rows.len() as u64;
            let ids = rows.iter().map(|row| Ok(row.get::<RecordId>("id")?.to_string())).collect::<Result<Vec<_>, StoreError>>()?;
            let mut q = sql("SELECT a.subject, a.row_hash FROM audit AS a WHERE a.noun = 'record'");
            q.and_in("a.subject", &ids);
            q.push("\nORDER BY a.id", &[]);
            let mut newest = std::collections::HashMap::new();
            for row in self.db.rows(q).await? {
                newest.insert(row.get::<String>("subject")?, row.get::<String>("row_hash")?);
            }
            for (row, id) in rows.iter().zip(ids) {
                if newest.get(&id) != Some(&hex_of(canonical(row)?.to_string().as_bytes())) {
                    wrong.push(row.get("id")?);
                }
            }
        }
    }
}

/// What the audit's hash of a record is of.
const CANONICAL: &str =
    "SELECT r.id, r.kind, r.number, r.title, r.enterprise_id, r.region, r.state, r.is_open, r.due_on, r.record_key, r.parent_id,
  r.task_on, r.task_user, r.own_text, r.body, r.created_at_us, r.updated_at_us, r.revision
FROM record AS r";

fn canonical(row: &Row) -> Result<Json, StoreError> {
    let enterprise: Option<i64> = row.get("enterprise_id")?;
    let region: String = row.get("region")?;
    Ok(json!({
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
        "key": row.get::<Option<String>>("record_key")?,
        "parent": row.get::<Option<i64>>("parent_id")?,
        "task_on": row.get::<Option<String>>("task_on")?,
        "task_user": row.get::<Option<i64>>("task_user")?,
        "own_text": row.get::<String>("own_text")?,
        "body": row.get::<String>("body")?,
        "created_at": row.get::<i64>("created_at_us")?,
        "updated_at": row.get::<i64>("updated_at_us")?,
        "revision": row.get::<i64>("revision")?,
    }))
}

fn one(scope: &Scope, kind: &str, id: RecordId) -> Sql {
    let mut q = sql(&format!("SELECT {COLUMNS}\nFROM record AS r\n{JOINS}\nWHERE r.id = $1 AND r.kind = $2")).bind(id).bind(kind);
    q.and_visible(scope, OWNER);
    q
}

fn and_found(q: &mut Sql, search: &Search, kind: &str) {
    // All grams, also the one that the list begins with: a second look at it costs less than a case of its own.
    for gram in search.grams.iter().skip(usize::from(search.grams.len() == 1)) {
        q.push("\n  AND EXISTS (SELECT 1 FROM record_gram AS s WHERE s.kind = {} AND s.gram = {} AND s.record_id = r.id)", &[&kind, gram]);
    }
    for one in &search.singles {
        q.push("\n  AND r.search_text LIKE {} ESCAPE '!'", &[&like(one)]);
    }
    for word in &search.words {
        q.push("\n  AND r.search_text LIKE {} ESCAPE '!'", &[&like(word)]);
    }
}

fn like(word: &str) -> String {
    let quiet = word.chars().flat_map(|c| matches!(c, '%' | '_' | '!').then_some('!').into_iter().chain([c]));
    format!("%{}%", quiet.collect::<String>())
}

/// On the to-do list of the asker: a grant holds it, and it is theirs alone or, if it is nobody's alone, a task of the grant's role.
fn and_task(q: &mut Sql, scope: &Scope, today: &str) {
    let Some(user) = scope.user.filter(|_| !scope.grants.is_empty()) else {
        q.push("\n  AND 1 = 0", &[]);
        return;
    };
    q.push("\n  AND r.is_open = 1 AND (r.task_on IS NULL OR r.task_on <= {})", &[&today]);
    q.push("\n  AND (", &[]);
    for (i, grant) in scope.grants.iter().enumerate() {
        q.push(if i == 0 { "(" } else { "\n    OR (" }, &[]);
        q.grant(grant, OWNER);
        let role = grant.role.as_str();
        q.push(" AND (r.task_user = {} OR (r.task_user IS NULL", &[&user]);
        q.push(" AND EXISTS (SELECT 1 FROM record_task AS t WHERE t.record_id = r.id AND t.role = {}))))", &[&role]);
    }
    q.push(")", &[]);
}

fn and_field(q: &mut Sql, kind: &str, field: &str, is: &FieldIs) {
    let open = "\n  AND EXISTS (SELECT 1 FROM record_index AS i WHERE i.record_id = r.id AND i.kind = {} AND i.field = {}";
    q.push(open, &[&kind, &field]);
    match is {
        FieldIs::Text(text) => drop(q.push(" AND i.text = {}", &[text])),
        FieldIs::Number(n) => drop(q.push(" AND i.num = {}", &[n])),
        FieldIs::Texts(from, to) => {
            if let Some(from) = from {
                q.push(" AND i.text >= {}", &[from]);
            }
            if let Some(to) = to {
                q.push(" AND i.text <= {}", &[to]);
            }
        }
        FieldIs::Numbers(from, to) => {
            if let Some(from) = from {
                q.push(" AND i.num >= {}", &[from]);
            }
            if let Some(to) = to {
                q.push(" AND i.num <= {}", &[to]);
            }
        }
    }
    q.push(")", &[]);
}

/// Grants `g` that hold this owner.
fn and_holding(q: &mut Sql, owner: &RecordOwner) {
    let code = owner.region.as_str();
    q.push("\n  AND (g.region IS NULL OR g.region = SUBSTR({}, 1, LENGTH(g.region)))", &[&code]);
    q.push("\n  AND (g.sector IS NULL OR g.sector = {})", &[&owner.sector]);
    q.push("\n  AND (g.enterprise_id IS NULL OR g.enterprise_id = {})", &[&owner.enterprise]);
}

/// Whether a grant holds the owner of a record.
pub fn holds(grant: &Grant, row: &RecordRow) -> bool {
    grant.region.as_ref().is_none_or(|region| region.holds(&row.region))
        && grant.sector.as_ref().is_none_or(|sector| row.sector.as_ref() == Some(sector))
        && grant.enterprise.is_none_or(|enterprise| row.enterprise == Some(enterprise))
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
        region: row.get("region")?,
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
    })
}
