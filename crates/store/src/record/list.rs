//! Lists of records: how a page is found among a hundred thousand.
//!
//! A page is picked out of indexes first, as ids in the order of the list, and its rows are read then: bodies are long, and what is passed over is
//! never touched. What a pick begins with is decided by counting: the condition that the fewest records meet, if these are few; else the scope,
//! newest first, where a page fills soon because what is asked for is frequent. Start at [`Store::records`].

use std::collections::BTreeMap;

use anlan_domain::register::search::Search;
use anlan_model::{RecordId, Scope};

use super::{COLUMNS, FieldIs, JOINS, OWNER, RecordFilter, RecordRow, and_seen, read};
use crate::db::{Row, Sql, sql};
use crate::{Page, Paging, Store, StoreError};

/// What counts as few.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// So few records are looked at one by one; a condition that more of them meet is frequent.
    pub(crate) few: i64,
    /// So few that nobody need know how frequent the other conditions are.
    pub(crate) very_few: i64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { few: 10_000, very_few: 500 }
    }
}

/// Conditions that are counted; the others are asked of what is found.
const COUNTED: usize = 8;
/// Records without a due day come last.
const NO_DAY: &str = "~";

/// A condition that an index of its own answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Begin<'a> {
    /// A pair of characters.
    Gram(&'a str),
    /// A single character.
    Single(&'a str),
    /// A field.
    Field(&'a str, &'a FieldIs),
}

impl Begin<'_> {
    /// `FROM … AS d WHERE …`: rows of the index, one for a record except of a single character.
    fn push(self, q: &mut Sql, join: &str, kind: &str) {
        let table = if matches!(self, Self::Field(..)) { "record_index" } else { "record_gram" };
        q.push(&format!("\nFROM {table} AS d{join}\nWHERE d.kind = {{}}"), &[&kind]);
        match self {
            Self::Gram(gram) => drop(q.push(" AND d.gram = {}", &[&gram])),
            // Behind every pair that begins with it.
            Self::Single(one) => drop(q.push(" AND d.gram >= {} AND d.gram < {}", &[&one, &format!("{one}\u{10ffff}")])),
            Self::Field(field, is) => {
                q.push(" AND d.field = {}", &[&field]);
                and_value(q, "d", is);
            }
        }
    }

    /// Whether its index has them in the order of ids.
    fn is_in_order(self) -> bool {
        matches!(self, Self::Gram(_) | Self::Field(_, FieldIs::Text(_) | FieldIs::Number(_)))
    }
}

impl Store {
    /// A page of records of `kind` under the scope: newest first, or by due day if the filter asks for what is due.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`].
    pub async fn records(&self, scope: &Scope, kind: &str, filter: &RecordFilter, paging: &Paging) -> Result<Page<RecordRow>, StoreError> {
        let begin = self.beginning(scope, kind, filter).await?;
        let mut q = sql("SELECT r.id, r.due_on");
        match begin {
            None => drop(q.push("\nFROM record AS r\nWHERE r.kind = {}", &[&kind])),
            Some(begin @ Begin::Single(_)) => {
                q.push("\nFROM record AS r\nWHERE r.id IN (SELECT d.record_id", &[]);
                begin.push(&mut q, "", kind);
                q.push(")", &[]);
            }
            Some(begin) => begin.push(&mut q, "\nINNER JOIN record AS r ON r.id = d.record_id", kind),
        }
        if filter.shared {
            and_seen(&mut q, scope);
        } else {
            q.and_visible(scope, OWNER);
        }
        if let Some(enterprise) = filter.enterprise {
            q.push("\n  AND r.enterprise_id = {}", &[&enterprise]);
        }
        if let Some(region) = &filter.region {
            let (from, to) = region.range();
            q.push("\n  AND r.region >= {} AND r.region < {}", &[&from, &to]);
        }
        if let Some(state) = &filter.state {
            q.push("\n  AND r.state = {}", &[state]);
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
        for (field, is) in filter.fields.iter().filter(|(field, is)| begin != Some(Begin::Field(field, is))) {
            q.push(
                "\n  AND EXISTS (SELECT 1 FROM record_index AS i WHERE i.record_id = r.id AND i.kind = {} AND i.field = {}",
                &[&kind, field],
            );
            and_value(&mut q, "i", is);
            q.push(")", &[]);
        }
        if let Some(nameable) = &filter.nameable {
            // What may be withdrawn is not named.
            q.push("\n  AND r.home IS NULL", &[]);
            if !nameable.states.is_empty() {
                q.and_in("r.state", &nameable.states);
            }
            for (field, test) in [(&nameable.from, ">"), (&nameable.until, "<=")] {
                let Some(field) = field else { continue };
                let not = "\n  AND NOT EXISTS (SELECT 1 FROM record_index AS n WHERE n.record_id = r.id AND n.kind = {} AND n.field = {} AND n.text ";
                q.push(&format!("{not}{test} {{}})"), &[&kind, field, &nameable.on]);
            }
        }
        and_found(&mut q, &filter.search, kind, begin);
        if let Some(day) = &filter.due_before {
            q.push("\n  AND r.is_open = 1 AND r.due_on < {}", &[day]);
            return self.by_due_day(q, "r.due_on", paging).await;
        }
        let id = if begin.is_some_and(Begin::is_in_order) { "d.record_id" } else { "r.id" };
        if let Some(after) = paging.after_id()? {
            q.push(&format!("\n  AND {id} < {{}}"), &[&after]);
        }
        q.push(&format!("\nORDER BY {id} DESC\nLIMIT {{}}"), &[&paging.fetch()]);
        paging.page_by_id(self.db.rows(of_pick(q, "r.id DESC")).await?, read)
    }

    /// Those of these records, of these kinds, that are visible, in this order.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn record_ids_visible(&self, scope: &Scope, kinds: &[String], ids: &[RecordId]) -> Result<Vec<RecordRow>, StoreError> {
        let mut found = BTreeMap::new();
        for piece in ids.chunks(crate::db::PIECE) {
            let mut q = sql(&format!("SELECT {COLUMNS}\nFROM record AS r\n{JOINS}\nWHERE 1 = 1"));
            q.and_in("r.kind", kinds);
            q.and_in("r.id", piece);
            and_seen(&mut q, scope);
            for row in self.db.rows(q).await? {
                let row = read(&row)?;
                found.insert(row.id, row);
            }
        }
        Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
    }

    /// A page of the asker's to-do list of these kinds on this day (ISO): by due day, what has none last.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`].
    pub async fn tasks(&self, scope: &Scope, kinds: &[String], today: &str, paging: &Paging) -> Result<Page<RecordRow>, StoreError> {
        let mut q = sql("SELECT r.id, r.due_on\nFROM record AS r\nWHERE r.is_open = 1");
        q.and_in("r.kind", kinds);
        and_task(&mut q, scope, today);
        self.by_due_day(q, &format!("COALESCE(r.due_on, '{NO_DAY}')"), paging).await
    }

    /// `day` is the expression that the list is in order of.
    async fn by_due_day(&self, mut q: Sql, day: &str, paging: &Paging) -> Result<Page<RecordRow>, StoreError> {
        if let Some(cursor) = &paging.cursor {
            let (due, id) = cursor.rsplit_once(' ').filter(|(due, _)| *due == NO_DAY || is_day(due)).ok_or(StoreError::Cursor)?;
            let id: i64 = id.parse().map_err(|_| StoreError::Cursor)?;
            let after = format!("\n  AND {day} >= {{}} AND ({day} > {{}} OR r.id > {{}})");
            q.push(&after, &[&due, &due, &id]);
        }
        q.push(&format!("\nORDER BY {day}, r.id\nLIMIT {{}}"), &[&paging.fetch()]);
        let cursor = |row: &Row| {
            let due: Option<String> = row.get("due_on")?;
            Ok(format!("{} {}", due.as_deref().unwrap_or(NO_DAY), row.get::<i64>("id")?))
        };
        paging.page(self.db.rows(of_pick(q, &format!("{day}, r.id"))).await?, cursor, read)
    }

    /// The condition that a list begins with; `None` = the scope.
    async fn beginning<'a>(&self, scope: &Scope, kind: &str, filter: &'a RecordFilter) -> Result<Option<Begin<'a>>, StoreError> {
        // One owner has few records of a kind, and they lie together.
        let is_of_few = !filter.shared && scope.grants.iter().all(|grant| grant.enterprise.is_some());
        if filter.enterprise.is_some() || filter.parent.is_some() || is_of_few {
            return Ok(None);
        }
        let fields = filter.fields.iter().map(|(field, is)| Begin::Field(field, is));
        let grams = filter.search.grams.iter().map(|gram| Begin::Gram(gram));
        let singles = filter.search.singles.iter().map(|one| Begin::Single(one));
        let conditions: Vec<Begin<'a>> = fields.chain(grams).chain(singles).take(COUNTED).collect();
        // Who sees everything reads one condition newest first and has a page soon, however many meet it.
        if let ([only], true) = (&*conditions, scope.node_wide())
            && only.is_in_order()
        {
            return Ok(Some(*only));
        }
        // To a few hundred first: a search for a rare word need not count the frequent ones to their end.
        for most in [self.bounds.very_few, self.bounds.few] {
            let mut rarest: Option<(i64, Begin<'a>)> = None;
            for begin in &conditions {
                let mut q = sql("SELECT COUNT(*) AS n FROM (SELECT d.record_id");
                begin.push(&mut q, "", kind);
                q.push("\nLIMIT {}) AS found", &[&most]);
                let n: i64 = self.db.row(q).await?.ok_or(StoreError::NotFound)?.get("n")?;
                if n < most && rarest.is_none_or(|(least, _)| n < least) {
                    rarest = Some((n, *begin));
                }
            }
            if let Some((_, begin)) = rarest {
                return Ok(Some(begin));
            }
        }
        // All are frequent. For those who see little, the first may hold little of theirs: they begin with their scope.
        Ok(if scope.node_wide() || filter.shared { conditions.into_iter().find(|begin| begin.is_in_order()) } else { None })
    }
}

/// Whether it is of the form of an ISO date; what is not may hold what PostgreSQL takes for no text at all.
fn is_day(text: &str) -> bool {
    text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-')
}

/// The rows of the ids that a statement picks.
fn of_pick(pick: Sql, order: &str) -> Sql {
    let rows = format!(") AS pick\nINNER JOIN record AS r ON r.id = pick.id\n{JOINS}\nORDER BY {order}");
    pick.within(&format!("SELECT {COLUMNS}\nFROM ("), &rows).planned_anew()
}

/// What is not answered by the index that the list begins with.
fn and_found(q: &mut Sql, search: &Search, kind: &str, begin: Option<Begin<'_>>) {
    // A longer word is looked for as it stands, which says more than its pairs.
    let is_told = |gram: &&String| begin == Some(Begin::Gram(gram)) || search.words.iter().any(|word| word.contains(gram.as_str()));
    for gram in search.grams.iter().filter(|gram| !is_told(gram)) {
        q.push("\n  AND EXISTS (SELECT 1 FROM record_gram AS s WHERE s.kind = {} AND s.gram = {} AND s.record_id = r.id)", &[&kind, gram]);
    }
    let singles = search.singles.iter().filter(|one| begin != Some(Begin::Single(one)));
    for text in singles.chain(&search.words) {
        q.push("\n  AND r.search_text LIKE {} ESCAPE '!'", &[&like(text)]);
    }
}

fn like(word: &str) -> String {
    let quiet = word.chars().flat_map(|c| matches!(c, '%' | '_' | '!').then_some('!').into_iter().chain([c]));
    format!("%{}%", quiet.collect::<String>())
}

/// Somebody who may sign in and still has a grant that holds the record.
const STILL_THERE: &str = "SELECT 1 FROM user_grant AS h INNER JOIN users AS w ON w.id = h.user_id
      WHERE h.user_id = r.task_user AND w.disabled = 0
        AND (h.region IS NULL OR h.region = SUBSTR(r.region, 1, LENGTH(h.region)))
        AND (h.sector IS NULL OR h.sector = r.sector)
        AND (h.enterprise_id IS NULL OR h.enterprise_id = r.enterprise_id)";

/// On the to-do list of the asker: a grant holds it, and it is theirs alone or, if it is nobody's alone, a task of the grant's role. What was
/// the task of somebody who has left is the roles' again: it must be on somebody's list.
pub(super) fn and_task(q: &mut Sql, scope: &Scope, today: &str) {
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
        q.push(" AND (r.task_user = {} OR ((r.task_user IS NULL OR NOT EXISTS (", &[&user]);
        q.push(STILL_THERE, &[]);
        q.push("))", &[]);
        q.push(" AND EXISTS (SELECT 1 FROM record_task AS t WHERE t.record_id = r.id AND t.role = {}))))", &[&role]);
    }
    q.push(")", &[]);
}

/// The value of a row of `record_index`.
fn and_value(q: &mut Sql, row: &str, is: &FieldIs) {
    let mut and = |column: &str, test: &str, value: &dyn crate::db::DynValue| {
        q.push(&format!(" AND {row}.{column} {test} {{}}"), &[value]);
    };
    match is {
        FieldIs::Text(text) => and("text", "=", text),
        FieldIs::Number(n) => and("num", "=", n),
        FieldIs::Texts(from, to) => {
            from.iter().for_each(|from| and("text", ">=", from));
            to.iter().for_each(|to| and("text", "<=", to));
        }
        FieldIs::Numbers(from, to) => {
            from.iter().for_each(|from| and("num", ">=", from));
            to.iter().for_each(|to| and("num", "<=", to));
        }
    }
}
