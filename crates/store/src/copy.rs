//! Records of other nodes: what goes up of a record, and the read-only copy that comes of it.
//!
//! How far a record and each of its fields go, its register says ([`anlan_domain::register::Rules`]); the rules go with the copy, and every node on the way holds
//! back what goes no further. People are told as names, records as titles, files as what they are, never as bytes. What a copy says is kept as it was told and
//! passed on from that. A record that may no longer go is withdrawn, and the copy goes. Entries of records stay in the feed: they are what withdrawals are
//! known by. Start at [`Changed`]; what comes is [`Apply::record`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anlan_domain::register::{FieldType, IndexEntry, Kind, Owner, RETAINED_UNTIL, Rules, is_day};
use anlan_model::{EnterpriseId, NodeId, NodeLevel, RecordId, RegionCode, Scope, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use crate::audit::{Entry as AuditEntry, Holder};
use crate::db::{PIECE, Row, Tx, sql};
use crate::feed::{EnterpriseBody, Entry, OWNER, UP, among, entry, owner};
use crate::inbox::{Apply, Fault, texts};
use crate::record::RecordOwner;
use crate::{Store, StoreError};

/// Longest body of a record, in bytes: it may grow on its way by what an enterprise is called there, and is still taken.
const BODY_BYTES: usize = 48 * 1024;
/// Steps of a record that are told, the newest.
const ACTS_MAX: usize = 200;
/// Fields of a record, columns of a row, entries of its index.
const FIELDS_MAX: usize = 400;
/// Rows of a table, values of a list.
const ROWS_MAX: usize = 1_000;
/// Characters of a value.
const VALUE_CHARS: usize = 20_000;
/// Characters of what is searched.
const TEXT_CHARS: usize = 2_000;
/// Characters of a word or a value that lists are narrowed by.
const WORD_CHARS: usize = 100;
/// Characters of a number, title or name.
const NAME_CHARS: usize = 200;
/// Stands for the older steps among what was left out.
const ACTS: &str = "@acts";

/// The registers of this node, by their words.
pub(crate) type Registers = Arc<BTreeMap<String, Arc<Kind>>>;

/// A record as a body tells it, and as the row of a copy keeps it; `id` is that at its home, texts and names are as they are called there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RecordBody {
    pub(crate) id: i64,
    pub(crate) kind: String,
    pub(crate) number: String,
    pub(crate) title: String,
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) state_name: String,
    #[serde(default)]
    pub(crate) state_name_en: String,
    pub(crate) is_open: bool,
    pub(crate) due_on: Option<String>,
    pub(crate) enterprise: Option<EnterpriseBody>,
    /// Of a division's record.
    pub(crate) region: Option<String>,
    /// The subject of the record above.
    #[serde(default)]
    pub(crate) above: Option<String>,
    pub(crate) entered_on: String,
    /// As the API shows them, but people by their names, records by their titles, files as `{name, media_type, bytes, sha256}`.
    pub(crate) fields: Map<String, Json>,
    pub(crate) acts: Vec<ActBody>,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
    pub(crate) revision: i64,
    /// For whoever passes it on.
    pub(crate) rules: Rules,
    /// Plain text that a search looks into.
    #[serde(default)]
    pub(crate) text: String,
    /// What lists are narrowed by.
    #[serde(default)]
    pub(crate) index: Vec<IndexBody>,
    /// Fields that were too long to be told.
    #[serde(default)]
    pub(crate) left_out: Vec<String>,
}

/// A step; `by` is a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ActBody {
    pub(crate) transition: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) name_en: String,
    pub(crate) by: String,
    pub(crate) on: String,
}

/// A value that lists are narrowed by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct IndexBody {
    pub(crate) field: String,
    pub(crate) text: Option<String>,
    pub(crate) number: Option<f64>,
}

/// Instead of a body: the record goes no longer, and what there is of it goes away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WithdrawnBody {
    pub(crate) id: i64,
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) withdrawn: bool,
    /// It has another home now, under this subject: what there is of it goes on as that. A release before that knows this takes it for withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) moved_to: Option<String>,
}

pub(crate) type ChangedMark = (usize, BTreeMap<String, (i64, String)>, BTreeMap<String, (i64, String, String)>);

/// Records that changed in a transaction, for the parent.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    registers: Registers,
    /// In order of change.
    ids: Vec<RecordId>,
    /// Copies that are no longer here: kind by subject.
    gone: BTreeMap<String, (i64, String)>,
    /// Those that have another home: id, kind and where to, by their subject until now.
    moved: BTreeMap<String, (i64, String, String)>,
    every: bool,
}

impl Changed {
    pub(crate) fn by(registers: Registers) -> Self {
        Self { registers, ..Self::default() }
    }
    pub(crate) fn noted(&self) -> &[RecordId] {
        &self.ids
    }
    pub(crate) fn note(&mut self, id: RecordId) {
        self.ids.push(id);
    }
    /// The parent is of another level now.
    pub(crate) fn note_every(&mut self) {
        self.every = true;
    }
    pub(crate) fn note_gone(&mut self, origin: NodeId, remote: i64, kind: &str) {
        self.gone.insert(format!("{origin}/{remote}"), (remote, kind.to_owned()));
    }
    /// How far it is; see [`Self::back_to`].
    pub(crate) fn mark(&self) -> ChangedMark {
        (self.ids.len(), self.gone.clone(), self.moved.clone())
    }
    /// Forgets what was noted since: the entry that it came of is refused.
    pub(crate) fn back_to(&mut self, (ids, gone, moved): ChangedMark) {
        self.ids.truncate(ids);
        (self.gone, self.moved) = (gone, moved);
    }
    pub(crate) fn note_moved(&mut self, subject: String, id: i64, kind: &str, to: &str) {
        self.moved.insert(subject, (id, kind.to_owned(), to.to_owned()));
    }

    /// What is to be told of them to a parent of this level: only what is not told already.
    pub(crate) async fn entries(self, tx: &mut Tx, own: NodeId, level: NodeLevel) -> Result<Vec<Entry>, StoreError> {
        let mut ids = self.ids;
        if self.every {
            for row in tx.rows(sql("SELECT r.id FROM record AS r ORDER BY r.id")).await? {
                ids.push(row.get("id")?);
            }
        }
        // Each once, where it last changed.
        let mut seen = BTreeSet::new();
        ids.reverse();
        ids.retain(|id| seen.insert(*id));
        ids.reverse();
        let mut out = Vec::new();
        // Before what the new home says of them.
        let subjects: Vec<String> = self.moved.keys().cloned().collect();
        let before = told(tx, &subjects).await?;
        for (subject, (id, kind, to)) in self.moved.iter().filter(|(subject, _)| before.contains_key(*subject)) {
            let body = WithdrawnBody { id: *id, kind: kind.clone(), withdrawn: true, moved_to: Some(to.clone()) };
            out.push(entry("record", origin_of(subject, own), *id, &body)?);
        }
        for piece in ids.chunks(PIECE) {
            let states = states(tx, own, level, &self.registers, piece).await?;
            let subjects: Vec<String> = states.iter().map(|state| state.subject.clone()).collect();
            let told = told(tx, &subjects).await?;
            for State { subject, id, kind, body } in states {
                let before = told.get(&subject);
                let entry = match body {
                    Some(body) => entry("record", origin_of(&subject, own), id, &body)?,
                    None if before.is_some() => withdrawal(&subject, own, id, &kind)?,
                    None => continue,
                };
                if before != Some(&entry.2) {
                    out.push(entry);
                }
            }
        }
        let subjects: Vec<String> = self.gone.keys().cloned().collect();
        let told = told(tx, &subjects).await?;
        for (subject, (id, kind)) in self.gone.iter().filter(|(subject, _)| told.contains_key(*subject)) {
            out.push(withdrawal(subject, own, *id, kind)?);
        }
        Ok(out)
    }
}

fn origin_of(subject: &str, own: NodeId) -> NodeId {
    subject.split_once('/').and_then(|(origin, _)| origin.parse().ok()).unwrap_or(own)
}

fn withdrawal(subject: &str, own: NodeId, id: i64, kind: &str) -> Result<Entry, StoreError> {
    entry("record", origin_of(subject, own), id, &WithdrawnBody { id, kind: kind.to_owned(), withdrawn: true, moved_to: None })
}

/// Bodies of these subjects as they stand in the feed.
async fn told(tx: &mut Tx, subjects: &[String]) -> Result<BTreeMap<String, String>, StoreError> {
    let select = format!("SELECT subject, body FROM link_feed WHERE way = '{UP}' AND kind = 'record'");
    let rows = among(tx, &select, "subject", subjects).await?;
    rows.iter().map(|row| Ok((row.get("subject")?, row.get("body")?))).collect()
}

/// How a record stands for a node of some level; without a body it does not go there.
struct State {
    subject: String,
    id: i64,
    kind: String,
    body: Option<RecordBody>,
}

const SELECT: &str =
    "SELECT r.id, r.kind, r.number, r.title, r.region, r.state, r.is_open, r.due_on, r.parent_id, r.own_text, r.body, r.created_at_us,
  r.updated_at_us, r.revision, r.home, m.node AS m_node, m.remote_id AS m_remote,
  me.remote_id AS e_remote, me.mark AS e_remote_mark";

/// Records with what is told of their owners.
fn select_told() -> String {
    format!(
        "{SELECT}, {OWNER}
FROM record AS r
LEFT JOIN enterprise AS e ON e.id = r.enterprise_id
LEFT JOIN mirror AS m ON m.kind = 'record' AND m.local_id = r.id
LEFT JOIN mirror AS me ON me.node = r.home AND me.kind = 'enterprise' AND me.remote_id = (
  SELECT MIN(x.remote_id) FROM mirror AS x WHERE x.node = r.home AND x.kind = 'enterprise' AND x.local_id = e.id)
WHERE 1 = 1"
    )
}

/// An own record as a copy of it would stand here, all of it, in whose stead that goes on from now; without its fields if its register is off.
pub(crate) async fn as_told(tx: &mut Tx, own: NodeId, registers: &Registers, id: RecordId) -> Result<String, StoreError> {
    let rows = among(tx, &select_told(), "r.id", &[id]).await?;
    let row = rows.first().ok_or(StoreError::NotFound)?;
    let body = match registers.get(&row.get::<String>("kind")?) {
        Some(register) => own_body(tx, row, own, None, register, rules_of(register, registers)).await?,
        None => bare_body(row)?,
    };
    serde_json::to_string(&body).map_err(|e| StoreError::Corrupt(format!("a record: {e}")))
}

/// In the order of `ids`. An own record whose register is off is left as it was told.
async fn states(tx: &mut Tx, own: NodeId, level: NodeLevel, registers: &Registers, ids: &[RecordId]) -> Result<Vec<State>, StoreError> {
    let mut found = BTreeMap::new();
    for row in among(tx, &select_told(), "r.id", ids).await? {
        let id: RecordId = row.get("id")?;
        let kind: String = row.get("kind")?;
        if row.get::<Option<NodeId>>("home")?.is_some() {
            let Some((node, remote)) = row.get::<Option<NodeId>>("m_node")?.zip(row.get::<Option<i64>>("m_remote")?) else { continue };
            let body = passed_on(&row, remote, level)?;
            found.insert(id, State { subject: format!("{node}/{remote}"), id: remote, kind, body });
        } else if let Some(register) = registers.get(&kind) {
            let rules = rules_of(register, registers);
            let goes = register.owner != Owner::Everyone && rules.up_to.reaches(level);
            let body = if goes { Some(own_body(tx, &row, own, Some(level), register, rules).await?) } else { None };
            found.insert(id, State { subject: format!("{own}/{id}"), id: id.get(), kind, body });
        }
    }
    Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
}

/// What may go of records of one register to somebody of this level, by their ids here; those that may not go are left out.
pub(crate) async fn told_by_id(
    tx: &mut Tx,
    own: NodeId,
    level: NodeLevel,
    registers: &Registers,
    register: &str,
    ids: &[RecordId],
) -> Result<BTreeMap<RecordId, RecordBody>, StoreError> {
    let mut told = BTreeMap::new();
    for id in ids {
        let states = states(tx, own, level, registers, std::slice::from_ref(id)).await?;
        told.extend(states.into_iter().filter(|state| state.kind == register).filter_map(|state| Some((*id, state.body?))));
    }
    Ok(told)
}

/// What a register says, and what follows from those that its fields name: the title of a record goes no further than the record. What is everybody's, such as
/// the text of a law, is told wherever it is cited.
fn rules_of(kind: &Kind, registers: &Registers) -> Rules {
    let mut rules = kind.rules();
    for field in &kind.fields {
        let FieldType::Record { of, .. } = &field.of else { continue };
        let named = registers.get(of);
        if named.is_some_and(|named| named.owner == Owner::Everyone) {
            continue;
        }
        let most = named.and_then(|named| named.exchange).unwrap_or_default();
        if most < rules.up_to {
            let known = rules.fields.entry(field.id.clone()).or_insert(most);
            *known = most.min(*known);
        }
    }
    rules
}

/// A copy for the next node above; `None` = it goes no further.
fn passed_on(row: &Row, remote: i64, level: NodeLevel) -> Result<Option<RecordBody>, StoreError> {
    let mut body: RecordBody =
        serde_json::from_str(&row.get::<String>("body")?).map_err(|e| StoreError::Corrupt(format!("a copy of a record: {e}")))?;
    if !body.rules.up_to.reaches(level) {
        return Ok(None);
    }
    body.id = remote;
    body.enterprise = owner(row, false)?;
    body.rules.narrow(&mut body.fields, level);
    body.index.retain(|entry| body.rules.lets(&entry.field, level));
    body.left_out.retain(|field| body.rules.lets(field, level));
    body.rules = body.rules.beyond(level);
    Ok(Some(fitting(body)?))
}

/// What is known of a record without its register.
fn bare_body(row: &Row) -> Result<RecordBody, StoreError> {
    let stored: Json = row.json("body")?;
    Ok(RecordBody {
        id: row.get("id")?,
        kind: row.get("kind")?,
        number: row.get("number")?,
        title: row.get("title")?,
        state: row.get("state")?,
        state_name: String::new(),
        state_name_en: String::new(),
        is_open: row.get("is_open")?,
        due_on: row.get("due_on")?,
        enterprise: owner(row, true)?,
        region: None,
        above: None,
        entered_on: stored["entered_on"].as_str().unwrap_or_default().to_owned(),
        fields: Map::new(),
        acts: Vec::new(),
        created_at: row.get("created_at_us")?,
        updated_at: row.get("updated_at_us")?,
        revision: row.get("revision")?,
        rules: Rules::default(),
        text: row.get("own_text")?,
        index: Vec::new(),
        left_out: stored["fields"].as_object().into_iter().flat_map(|fields| fields.keys().cloned()).collect(),
    })
}

/// As it goes to a node of this level; `None` = all of it.
async fn own_body(
    tx: &mut Tx,
    row: &Row,
    own: NodeId,
    level: Option<NodeLevel>,
    kind: &Kind,
    rules: Rules,
) -> Result<RecordBody, StoreError> {
    let id: i64 = row.get("id")?;
    let stored: Json = row.json("body")?;
    let mut fields = stored["fields"].as_object().cloned().unwrap_or_default();
    // What the register does not know, nobody has said how far it goes.
    fields.retain(|id, value| {
        let Some(field) = kind.field(id) else { return false };
        if let FieldType::Table { columns, .. } = &field.of {
            for row in value.as_array_mut().into_iter().flatten().filter_map(Json::as_object_mut) {
                row.retain(|cell, _| columns.iter().any(|column| column.id == *cell));
            }
        }
        true
    });
    if let Some(level) = level {
        rules.narrow(&mut fields, level);
    }
    let acts = stored["acts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut left_out = Vec::new();
    if acts.len() > ACTS_MAX {
        left_out.push(ACTS.to_owned());
    }
    let acts = &acts[acts.len().saturating_sub(ACTS_MAX)..];
    let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
    let people = people(tx, kind, &fields, acts.iter().filter_map(|act| act["by"].as_str())).await?;
    worded(tx, kind, &mut fields, &people).await?;
    let act = |act: &Json| {
        let transition = kind.transition(act["transition"].as_str().unwrap_or_default());
        let by = act["by"].as_str().unwrap_or_default();
        ActBody {
            transition: text(&act["transition"]),
            name: transition.map(|t| t.name.clone()).unwrap_or_default(),
            name_en: transition.map(|t| t.name_en.clone()).unwrap_or_default(),
            by: people.get(by).cloned().unwrap_or_default(),
            on: text(&act["on"]),
        }
    };
    let acts = acts.iter().map(act).collect();
    let is_told = |entry: &IndexEntry| {
        let field = kind.field(&entry.field);
        let by_id = field.is_none_or(|field| matches!(field.of, FieldType::Person | FieldType::Record { .. }));
        entry.field != RETAINED_UNTIL && !by_id && level.is_none_or(|level| rules.lets(&entry.field, level))
    };
    let mut index = Vec::new();
    for row in tx.rows(sql("SELECT i.field, i.text, i.num FROM record_index AS i WHERE i.record_id = $1 ORDER BY i.field").bind(id)).await?
    {
        let entry = IndexEntry { field: row.get("field")?, text: row.get("text")?, number: row.get("num")? };
        if is_told(&entry) {
            index.push(IndexBody { field: entry.field, text: entry.text, number: entry.number });
        }
    }
    let state: String = row.get("state")?;
    let enterprise = owner(row, true)?;
    let region: String = row.get("region")?;
    fitting(RecordBody {
        id,
        kind: kind.id.clone(),
        number: row.get("number")?,
        title: row.get("title")?,
        state_name: kind.state(&state).map(|s| s.name.clone()).unwrap_or_default(),
        state_name_en: kind.state(&state).map(|s| s.name_en.clone()).unwrap_or_default(),
        state,
        is_open: row.get("is_open")?,
        due_on: row.get("due_on")?,
        region: Some(region).filter(|region| enterprise.is_none() && !region.is_empty()),
        enterprise,
        above: row.get::<Option<i64>>("parent_id")?.map(|above| format!("{own}/{above}")),
        entered_on: text(&stored["entered_on"]),
        fields,
        acts,
        created_at: row.get("created_at_us")?,
        updated_at: row.get("updated_at_us")?,
        revision: row.get("revision")?,
        rules: level.map_or_else(|| rules.clone(), |level| rules.beyond(level)),
        text: row.get("own_text")?,
        index,
        left_out,
    })
}

/// Names of whom these fields and acts name, by id.
async fn people<'a>(
    tx: &mut Tx,
    kind: &Kind,
    fields: &'a Map<String, Json>,
    acted: impl Iterator<Item = &'a str>,
) -> Result<BTreeMap<String, String>, StoreError> {
    let is_person = |id: &&String| kind.field(id).is_some_and(|field| matches!(field.of, FieldType::Person));
    let named = fields.iter().filter(|(id, _)| is_person(id)).filter_map(|(_, value)| value.as_str());
    let all: BTreeSet<&str> = named.chain(acted).collect();
    let ids: BTreeSet<i64> = all.iter().filter_map(|id| id.parse().ok()).collect();
    let rows = among(tx, "SELECT u.id, u.name FROM users AS u WHERE 1 = 1", "u.id", &Vec::from_iter(ids)).await?;
    let mut people: BTreeMap<String, String> =
        rows.iter().map(|row| Ok((row.get::<i64>("id")?.to_string(), row.get("name")?))).collect::<Result<_, StoreError>>()?;
    for stranger in all.into_iter().filter(|id| id.contains('/')) {
        let named = match crate::transfer::elsewhere(tx, "person", stranger).await? {
            Some(known) => Some(known.name),
            None => crate::order::name_of(tx, stranger).await?,
        };
        people.extend(named.map(|name| (stranger.to_owned(), name)));
    }
    Ok(people)
}

/// Ids of this node as what they mean: names, titles, files as they are called. What means nothing any more is left out.
async fn worded(tx: &mut Tx, kind: &Kind, fields: &mut Map<String, Json>, people: &BTreeMap<String, String>) -> Result<(), StoreError> {
    for field in &kind.fields {
        let Some(value) = fields.get(&field.id) else { continue };
        let said = match &field.of {
            FieldType::Person => value.as_str().and_then(|id| people.get(id)).map(|name| json!(name)),
            FieldType::Record { of, .. } => {
                let said = value.as_str().unwrap_or_default();
                match said.parse::<i64>() {
                    Ok(id) => {
                        let q = sql("SELECT r.title FROM record AS r WHERE r.id = $1 AND r.kind = $2").bind(id).bind(of.as_str());
                        tx.row(q).await?.map(|row| row.get::<String>("title")).transpose()?.map(|title| json!(title))
                    }
                    Err(_) => crate::transfer::elsewhere(tx, "record", said).await?.map(|known| json!(known.name)),
                }
            }
            FieldType::File { .. } => {
                let said: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Json::as_str).collect();
                let ids: Vec<i64> = said.iter().filter_map(|id| id.parse().ok()).collect();
                let select = "SELECT a.id, a.name, a.media_type, a.bytes, a.sha256 FROM attachment AS a WHERE 1 = 1";
                let mut files = BTreeMap::new();
                for row in among(tx, select, "a.id", &ids).await? {
                    let file = json!({"name": row.get::<String>("name")?, "media_type": row.get::<String>("media_type")?,
                        "bytes": row.get::<i64>("bytes")?, "sha256": row.get::<String>("sha256")?});
                    files.insert(row.get::<i64>("id")?.to_string(), file);
                }
                for id in said.iter().filter(|id| id.contains('/')) {
                    if let Some(mut known) = crate::transfer::elsewhere(tx, "file", id).await? {
                        known.detail["name"] = json!(known.name);
                        files.insert((*id).to_owned(), known.detail);
                    }
                }
                Some(Json::Array(said.iter().filter_map(|id| files.remove(*id)).collect()))
            }
            _ => continue,
        };
        match said {
            Some(said) => drop(fields.insert(field.id.clone(), said)),
            None => drop(fields.remove(&field.id)),
        }
    }
    Ok(())
}

/// The same in as many bytes as a receiver takes: without its longest fields, then without its older steps, and saying so.
fn fitting(mut body: RecordBody) -> Result<RecordBody, StoreError> {
    loop {
        let bytes = |value: &Json| value.to_string().len();
        let all = serde_json::to_string(&body).map_err(|e| StoreError::Corrupt(format!("a record: {e}")))?;
        if all.len() <= BODY_BYTES {
            return Ok(body);
        }
        let longest = body.fields.iter().map(|(id, value)| (bytes(value), id.clone())).max();
        match longest {
            Some((bytes, id)) if bytes > WORD_CHARS || body.acts.is_empty() => {
                body.fields.remove(&id);
                body.left_out.push(id);
            }
            None if body.acts.is_empty() => return Err(StoreError::Corrupt(format!("a record of {} bytes without a field", all.len()))),
            _ => {
                let half = body.acts.len().div_ceil(2);
                body.acts.drain(..half);
                if !body.left_out.iter().any(|left| left == ACTS) {
                    body.left_out.push(ACTS.to_owned());
                }
            }
        }
    }
}

// ---- what comes

impl RecordBody {
    /// That it is sound: everything in it was written elsewhere, and pages and lists show it.
    fn check(&self) -> Result<(), Fault> {
        let word = |text: &str| {
            let is_one = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            !text.is_empty() && text.len() <= WORD_CHARS && text.chars().all(is_one)
        };
        let short = |text: &String, most: usize| text.chars().count() <= most;
        let mut said = vec![(&self.number, false), (&self.title, false), (&self.state_name, false), (&self.state_name_en, false)];
        said.extend(self.acts.iter().flat_map(|act| [&act.name, &act.name_en, &act.by]).map(|text| (text, false)));
        texts(&said)?;
        let is_sound = word(&self.kind)
            && word(&self.state)
            && said.iter().all(|(text, _)| short(text, NAME_CHARS))
            && self.due_on.iter().chain([&self.entered_on]).all(|on| is_day(on))
            && self.acts.len() <= ACTS_MAX
            && self.acts.iter().all(|act| word(&act.transition) && is_day(&act.on))
            && self.revision >= 1
            && self.fields.len() <= FIELDS_MAX
            && self.fields.iter().all(|(id, value)| word(id) && is_value(value, 0))
            && short(&self.text, TEXT_CHARS)
            && !self.text.chars().any(char::is_control)
            && self.index.len() <= FIELDS_MAX
            && self.index.iter().all(|entry| {
                let fits = |text: &String| short(text, WORD_CHARS) && !text.chars().any(char::is_control);
                word(&entry.field) && entry.text.as_ref().is_none_or(fits) && entry.number.is_none_or(f64::is_finite)
            })
            && self.rules.fields.len() <= FIELDS_MAX
            && self.left_out.len() <= FIELDS_MAX;
        if is_sound { Ok(()) } else { Err(Fault::Refused("body")) }
    }
}

/// Whether a field, or a cell of a row, can hold it.
fn is_value(value: &Json, depth: usize) -> bool {
    match value {
        Json::Number(n) => n.as_f64().is_some_and(f64::is_finite),
        Json::String(text) => {
            text.chars().count() <= VALUE_CHARS && !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
        }
        Json::Array(all) => depth == 0 && all.len() <= ROWS_MAX && all.iter().all(|value| is_value(value, depth + 1)),
        Json::Object(all) => depth <= 1 && all.len() <= FIELDS_MAX && all.values().all(|value| is_value(value, depth + 2)),
        Json::Null | Json::Bool(_) => false,
    }
}

impl Apply<'_> {
    /// A record of a node below, or that there is none any more. What is told is newest: feeds go on in order, and whoever is read anew was set back, by a backup
    /// that was put back, and says how it stands since.
    pub(crate) async fn record(&mut self, origin: NodeId, remote: i64, body: &str) -> Result<(), Fault> {
        let WithdrawnBody { id, kind, withdrawn, moved_to } = crate::inbox::parse(body)?;
        if id != remote {
            return Err(Fault::Refused("subject"));
        }
        if let Some(to) = moved_to {
            return self.moved(origin, remote, &kind, &to).await;
        }
        if withdrawn {
            return self.withdrawn(origin, remote, &kind).await;
        }
        let body: RecordBody = crate::inbox::parse(body)?;
        body.check()?;
        let owner = self.owner_of_copy(origin, &body).await?;
        let above = match &body.above {
            None => None,
            Some(subject) => {
                let (node, above) = subject.split_once('/').ok_or(Fault::Refused("body"))?;
                let above: i64 = above.parse().map_err(|_| Fault::Refused("body"))?;
                // One of another node would be counted by guards that are not its own.
                (node == origin.to_string() && above != remote).then_some(above)
            }
        };
        let parent = match above {
            Some(above) => self.local(origin, "record", above).await?.map(RecordId::new),
            None => None,
        };
        let kept = serde_json::to_string(&body).map_err(|_| Fault::Refused("body"))?;
        if let Some((id, is_same)) = self.known(origin, remote, &body, &owner, &kept).await? {
            if !is_same {
                self.change_copy(id, &body, &owner, parent, above, &kept).await?;
            }
            return Ok(());
        }
        self.make_copy(origin, remote, &body, &owner, parent, above, &kept).await
    }

    /// Whose it is here, as far as the peer may speak of them.
    async fn owner_of_copy(&mut self, origin: NodeId, body: &RecordBody) -> Result<RecordOwner, Fault> {
        if let Some(enterprise) = &body.enterprise {
            let id: EnterpriseId = self.owner(origin, Some(enterprise)).await?.ok_or(Fault::Refused("body"))?;
            let row = self.change.tx.row(crate::record::select_owner(&Scope::node(), id)).await?.ok_or(StoreError::NotFound)?;
            return Ok(crate::record::read_owner(&row)?);
        }
        // What is nobody's no certificate vouches for.
        let region = body.region.as_deref().ok_or(Fault::Refused("territory"))?;
        let region = RegionCode::new(region).ok_or(Fault::Refused("body"))?;
        let may = self.peer.level != NodeLevel::Enterprise && self.peer.region.as_ref().is_some_and(|own| own.holds(&region));
        if !may {
            return Err(Fault::Refused("territory"));
        }
        Ok(RecordOwner { enterprise: None, region: Some(region), sector: None, names: Vec::new() })
    }

    /// The copy that is here, and whether it says all of this. A node that was restored from a backup may have given the id to another record since: that one is
    /// known by when it was made. What was called so before stays as it is, and nothing more is heard of it.
    async fn known(
        &mut self,
        origin: NodeId,
        remote: i64,
        body: &RecordBody,
        owner: &RecordOwner,
        kept: &str,
    ) -> Result<Option<(RecordId, bool)>, StoreError> {
        const SELECT: &str = "SELECT r.id, r.kind, r.created_at_us, r.enterprise_id, r.region, r.body FROM mirror AS m
INNER JOIN record AS r ON r.id = m.local_id
WHERE m.kind = 'record' AND m.node = $1";
        let read = |row: &Row| -> Result<(RecordId, bool), StoreError> {
            let is_same = row.get::<String>("body")? == kept
                && row.get::<Option<EnterpriseId>>("enterprise_id")? == owner.enterprise
                && (owner.enterprise.is_some() || row.get::<String>("region")? == crate::record::code_of(owner.region.as_ref()));
            Ok((row.get("id")?, is_same))
        };
        let by_id = sql(&format!("{SELECT} AND m.remote_id = $2")).bind(origin).bind(remote);
        if let Some(row) = self.change.tx.row(by_id).await? {
            if row.get::<String>("kind")? == body.kind && row.get::<i64>("created_at_us")? == body.created_at {
                return read(&row).map(Some);
            }
            self.unname(origin, "record", remote).await?;
        }
        let unnamed =
            sql(&format!("{SELECT} AND m.remote_id < 0 AND r.kind = $2 AND r.created_at_us = $3 AND r.number = $4 ORDER BY r.id"));
        let unnamed = unnamed.bind(origin).bind(body.kind.as_str()).bind(body.created_at).bind(body.number.as_str());
        let Some(row) = self.change.tx.row(unnamed).await? else { return Ok(None) };
        let (id, is_same) = read(&row)?;
        let update = sql("UPDATE mirror SET remote_id = $1 WHERE node = $2 AND kind = 'record' AND local_id = $3");
        self.change.tx.run(update.bind(remote).bind(origin).bind(id)).await?;
        Ok(Some((id, is_same)))
    }

    #[allow(clippy::too_many_arguments)]
    async fn make_copy(
        &mut self,
        origin: NodeId,
        remote: i64,
        body: &RecordBody,
        owner: &RecordOwner,
        parent: Option<RecordId>,
        above: Option<i64>,
        kept: &str,
    ) -> Result<(), Fault> {
        let (own, all, grams) = crate::record::texts(std::slice::from_ref(&body.text), &owner.names);
        let insert =
            sql("INSERT INTO record (kind, number, title, enterprise_id, region, sector, state, is_open, due_on, escalated, parent_id,
  own_text, search_text, body, created_at_us, updated_at_us, revision, home, above, told_at_us)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19) RETURNING id");
        let insert = insert.bind(body.kind.as_str()).bind(body.number.as_str()).bind(body.title.as_str()).bind(owner.enterprise);
        let insert = insert.bind(crate::record::code_of(owner.region.as_ref())).bind(owner.sector.as_ref()).bind(body.state.as_str());
        let insert = insert.bind(body.is_open).bind(body.due_on.as_ref()).bind(parent).bind(own).bind(all).bind(kept);
        let insert = insert.bind(body.created_at).bind(body.updated_at).bind(body.revision).bind(origin).bind(above).bind(self.change.now);
        let id: RecordId = self.change.tx.row(insert).await?.ok_or(StoreError::NotFound)?.get("id")?;
        self.mirror(origin, "record", remote, id.get(), None).await?;
        // Those below it may have come first.
        let below = sql("UPDATE record SET parent_id = $1 WHERE home = $2 AND above = $3 AND id <> $4");
        self.change.tx.run(below.bind(id).bind(origin).bind(remote).bind(id)).await?;
        self.index_copy(id, body).await?;
        crate::record::insert_grams(&mut self.change, &body.kind, id, &grams).await?;
        self.finish_copy(id, "receive", body, owner).await
    }

    async fn change_copy(
        &mut self,
        id: RecordId,
        body: &RecordBody,
        owner: &RecordOwner,
        parent: Option<RecordId>,
        above: Option<i64>,
        kept: &str,
    ) -> Result<(), Fault> {
        let (own, all, grams) = crate::record::texts(std::slice::from_ref(&body.text), &owner.names);
        let update = sql("UPDATE record SET number = $1, title = $2, enterprise_id = $3, region = $4, sector = $5, state = $6, is_open = $7, due_on = $8,
  parent_id = $9, own_text = $10, search_text = $11, body = $12, updated_at_us = $13, revision = $14, above = $15, told_at_us = $16
WHERE id = $17");
        let update = update.bind(body.number.as_str()).bind(body.title.as_str()).bind(owner.enterprise);
        let update = update.bind(crate::record::code_of(owner.region.as_ref())).bind(owner.sector.as_ref()).bind(body.state.as_str());
        let update = update.bind(body.is_open).bind(body.due_on.as_ref()).bind(parent).bind(own).bind(all).bind(kept);
        let update = update.bind(body.updated_at).bind(body.revision).bind(above).bind(self.change.now).bind(id);
        self.change.tx.run(update).await?;
        for table in ["record_index", "record_gram"] {
            self.change.tx.run(sql(&format!("DELETE FROM {table} WHERE record_id = $1")).bind(id)).await?;
        }
        self.index_copy(id, body).await?;
        crate::record::insert_grams(&mut self.change, &body.kind, id, &grams).await?;
        self.finish_copy(id, "receive", body, owner).await
    }

    async fn index_copy(&mut self, id: RecordId, body: &RecordBody) -> Result<(), StoreError> {
        let by_field: BTreeMap<&String, &IndexBody> = body.index.iter().map(|entry| (&entry.field, entry)).collect();
        for (field, entry) in by_field {
            let insert = sql("INSERT INTO record_index (record_id, kind, field, text, num) VALUES ($1, $2, $3, $4, $5)");
            let insert = insert.bind(id).bind(body.kind.as_str()).bind(field.as_str()).bind(entry.text.as_ref()).bind(entry.number);
            self.change.tx.run(insert).await?;
        }
        Ok(())
    }

    /// The last of an entry: nothing is refused behind what the audit says.
    async fn finish_copy(&mut self, id: RecordId, action: &'static str, body: &RecordBody, owner: &RecordOwner) -> Result<(), Fault> {
        let row = crate::record::canonical_of(&mut self.change.tx, id).await?;
        let holder = Holder { enterprise: owner.enterprise, region: owner.region.clone(), sector: owner.sector.clone() };
        let last = body.acts.last().map(|act| json!({"transition": act.transition, "by": act.by, "on": act.on}));
        let detail = json!({"from": self.peer.id.to_string(), "to": body.state, "revision": body.revision, "act": last});
        self.change.record(AuditEntry { action, noun: "record", subject: id.to_string(), detail, row, holder }).await?;
        self.change.told.records.note(id);
        self.done.records.push(id);
        self.count("record");
        Ok(())
    }

    /// Its home says that it is another's now: what stands here goes on as that.
    async fn moved(&mut self, origin: NodeId, remote: i64, kind: &str, to: &str) -> Result<(), Fault> {
        let (node, there) = crate::inbox::subject_of(to)?;
        self.may_speak_for(node)?;
        let Some(id) = self.local(origin, "record", remote).await?.map(RecordId::new) else { return Ok(()) };
        // It came from there before: of the two, that one goes on.
        if self.local(node, "record", there).await?.is_some() {
            return self.withdrawn(origin, remote, kind).await;
        }
        let q = sql("SELECT r.kind, r.enterprise_id, r.region, r.sector FROM record AS r WHERE r.id = $1").bind(id);
        let row = self.change.tx.row(q).await?.ok_or(StoreError::NotFound)?;
        if row.get::<String>("kind")? != kind {
            return Ok(());
        }
        self.change.tx.run(sql("UPDATE record SET home = $1, above = NULL WHERE id = $2").bind(node).bind(id)).await?;
        self.change.tx.run(sql("DELETE FROM mirror WHERE kind = 'record' AND local_id = $1").bind(id)).await?;
        self.mirror(node, "record", there, id.get(), None).await?;
        let region: String = row.get("region")?;
        let holder = Holder { enterprise: row.get("enterprise_id")?, region: RegionCode::new(&region), sector: row.get("sector")? };
        let detail = json!({"from": self.peer.id.to_string(), "home": node.to_string(), "record": there});
        let row = crate::record::canonical_of(&mut self.change.tx, id).await?;
        self.change.record(AuditEntry { action: "transfer", noun: "record", subject: id.to_string(), detail, row, holder }).await?;
        self.change.told.records.note_moved(format!("{origin}/{remote}"), remote, kind, to);
        self.change.told.records.note(id);
        self.done.records.push(id);
        self.count("record");
        Ok(())
    }

    async fn withdrawn(&mut self, origin: NodeId, remote: i64, kind: &str) -> Result<(), Fault> {
        let Some(id) = self.local(origin, "record", remote).await?.map(RecordId::new) else { return Ok(()) };
        let q = sql("SELECT r.kind, r.enterprise_id, r.region, r.sector FROM record AS r WHERE r.id = $1").bind(id);
        let row = self.change.tx.row(q).await?.ok_or(StoreError::NotFound)?;
        if row.get::<String>("kind")? != kind {
            // Of a record that bears the id since its home was restored, and never came.
            return Ok(());
        }
        let region: String = row.get("region")?;
        let holder = Holder { enterprise: row.get("enterprise_id")?, region: RegionCode::new(&region), sector: row.get("sector")? };
        self.change.tx.run(sql("UPDATE record SET parent_id = NULL WHERE parent_id = $1").bind(id)).await?;
        for table in ["record_index", "record_gram", "record_task", "notification"] {
            self.change.tx.run(sql(&format!("DELETE FROM {table} WHERE record_id = $1")).bind(id)).await?;
        }
        self.change.tx.run(sql("DELETE FROM mirror WHERE kind = 'record' AND local_id = $1").bind(id)).await?;
        self.change.tx.run(sql("DELETE FROM record WHERE id = $1").bind(id)).await?;
        let detail = json!({"from": self.peer.id.to_string(), "kind": kind});
        let row = json!({"id": id, "kind": kind, "withdrawn": true});
        self.change.record(AuditEntry { action: "withdraw", noun: "record", subject: id.to_string(), detail, row, holder }).await?;
        self.change.told.records.note_gone(origin, remote, kind);
        self.done.records.push(id);
        self.count("record");
        Ok(())
    }
}

impl Store {
    /// The registers of this node, whenever they are loaded: they say how far records go. What they say of records that are there already is told by
    /// [`Store::tell_records`].
    pub fn set_registers(&self, registers: impl IntoIterator<Item = Arc<Kind>>) {
        self.network.set_registers(Arc::new(registers.into_iter().map(|kind| (kind.id.clone(), kind)).collect()));
    }

    /// Tells the parent how every record of `kind` stands by what its register says now: as much as may go, or that it goes no longer. What is told already is
    /// not told again.
    ///
    /// # Errors
    /// [`StoreError::Database`]; what was told until then stays told.
    pub async fn tell_records(&self, kind: &str, now: Timestamp) -> Result<(), StoreError> {
        if self.network.get().parent.is_none() {
            return Ok(());
        }
        let scope = Scope::node();
        let mut after = RecordId::new(0);
        loop {
            // In line with every other change: one that began under the register of before is told before.
            let mut change = self.change(&scope, now).await?;
            let q = sql("SELECT r.id FROM record AS r WHERE r.kind = $1 AND r.id > $2 ORDER BY r.id LIMIT $3");
            let rows = change.tx.rows(q.bind(kind).bind(after).bind(i64::try_from(PIECE).unwrap_or(i64::MAX))).await?;
            for row in &rows {
                after = row.get("id")?;
                change.told.records.note(after);
            }
            change.commit().await?;
            if rows.len() < PIECE {
                return Ok(());
            }
        }
    }
}
