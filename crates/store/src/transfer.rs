//! Transfer of home (主管移交): an enterprise and its records, handed over to a node below that stands for it from then on.
//!
//! What is handed over goes down in pieces, behind them a head; the target takes all of it in one commit and says under which ids it has it, with a grant for
//! each by which the giver knows its own word again even if it was set back to a backup. Which of the two may change it is decided by
//! [`anlan_domain::transfer`]. To those above, the giver says where to what it told of has gone. Start at [`Store::make_transfer`]; what comes is
//! `Apply::transfer` and `Apply::transferred`.

use std::collections::{BTreeMap, BTreeSet};

use anlan_domain::register::{Exchange, FieldType, Kind, Owner};
use anlan_domain::transfer::{Given, Heard, Said, on_hearing};
use anlan_model::{EnterpriseId, NodeId, NodeLevel, RecordId, RegionCode, Scope, Timestamp, TransferId, Wgs84};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::audit::{Change, Entry as AuditEntry, Holder, hex_of};
use crate::copy::Registers;
use crate::db::{Row, Sql, Tx, sql};
use crate::feed::{EnterpriseBody, Entry, among, entry};
use crate::inbox::{Apply, Fault, parse, texts};
use crate::node::NodeState;
use crate::offer::pieces;
use crate::record::RecordOwner;
use crate::{NewEnterprise, OrderProblem, RecordChange, RecordPut, Store, StoreError, require_node_wide};

/// Bytes of a piece; as JSON inside of JSON it is at most twice as long, and an entry of a feed takes 64 KiB.
const PIECE_BYTES: usize = 24 * 1024;
/// Pieces of one transfer: 12 MiB, some thousands of records.
const PIECES_MAX: u32 = 512;
/// Records that a target names in one entry.
const PAIRS: usize = 200;
/// Transfers that wait at a target.
const WAITING_MAX: i64 = 50;
/// Transfers that are listed, the newest.
const LISTED: i64 = 500;
/// Reasons against one.
const PROBLEMS_MAX: usize = 100;
/// The place of the head, behind the pieces.
const HEAD: &str = "head";
/// At a target: it has not had its say.
const RECEIVED: &str = "received";

/// What is shown of a transfer, and how much of it there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    n_pieces: u32,
    /// SHA-256 of the pieces one behind the other.
    hash: String,
    n_records: u32,
    /// Of the enterprise.
    code: String,
    name: String,
    made_by: String,
    made_at: i64,
    /// It must not be taken any more.
    #[serde(default)]
    is_back: bool,
    /// At the giver: registers whose records go; none of them is begun meanwhile.
    #[serde(default)]
    kinds: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Piece {
    data: String,
}

/// What is handed over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransferDoc {
    /// The enterprise.
    pub enterprise: GivenEnterprise,
    /// Its records, whatever is above one before it.
    pub records: Vec<GivenRecord>,
    /// What they name at the giver.
    pub named: Vec<Elsewhere>,
}

/// An enterprise as its home had it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GivenEnterprise {
    /// Id there.
    pub id: i64,
    /// Code.
    pub code: String,
    /// Name.
    pub name: String,
    /// Division.
    pub region: String,
    /// Sector.
    pub sector: String,
    /// Place of its gate.
    pub lon: Option<f64>,
    /// Place of its gate.
    pub lat: Option<f64>,
    grant: String,
}

/// A record as its home had it: in its body people are `NODE/ID`, records `NODE/record/ID`, files `NODE/file/ID`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GivenRecord {
    /// Id there.
    pub id: i64,
    /// Kind of register.
    pub kind: String,
    /// Number.
    pub number: String,
    /// State.
    pub state: String,
    /// The record above, which comes along.
    pub parent: Option<i64>,
    /// Steps of escalation that were told.
    pub escalated: i64,
    /// When it was made, µs.
    pub created_at: i64,
    /// Revision.
    pub revision: i64,
    /// Fields and acts.
    pub body: Json,
    grant: String,
}

/// A person, record or file at another node, by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Elsewhere {
    /// `person`, `record`, `file`.
    pub kind: String,
    /// As it stands in bodies.
    pub subject: String,
    /// What it is called.
    pub name: String,
    /// Of a file: `media_type`, `bytes`, `sha256`.
    #[serde(default)]
    pub detail: Json,
}

/// What a target says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Word {
    /// `taken`, `refused`, `withdrawn`; in every part of it.
    state: String,
    at: i64,
    /// In the first part.
    #[serde(default)]
    enterprise: Option<Taken>,
    #[serde(default)]
    mark: Option<String>,
    #[serde(default)]
    records: Vec<Taken>,
    #[serde(default)]
    problems: Vec<OrderProblem>,
}

/// Something that has another home: its id at the one before and at the new one, and what it is known by where its id has come to be another's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Taken {
    was: i64,
    is: i64,
    /// An enterprise's code; a record's kind, when it was made, and number.
    known_by: String,
    grant: String,
}

/// A transfer as it stands here.
#[derive(Clone, Debug, PartialEq)]
pub struct TransferRow {
    /// Id, the same at both nodes.
    pub id: TransferId,
    /// It was given here.
    pub is_ours: bool,
    /// The other node.
    pub node: NodeId,
    /// What that is called.
    pub node_name: Option<String>,
    /// The enterprise here.
    pub enterprise: Option<EnterpriseId>,
    /// Its name.
    pub enterprise_name: String,
    /// Its code.
    pub enterprise_code: String,
    /// Records that go.
    pub n_records: u32,
    /// By whom.
    pub made_by: String,
    /// When.
    pub made_at: Timestamp,
    /// `offered`, `withdrawing`, `received`, `taken`, `refused`, `withdrawn`.
    pub state: String,
    /// When the last word was said.
    pub ended_at: Option<Timestamp>,
    /// What stood against it.
    pub problems: Vec<OrderProblem>,
    /// The target is void for ever, or no child any more: no word of it is to be waited for.
    pub is_revoked: bool,
}

/// What a transfer would hand over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransferPreview {
    /// Records that go, by kind.
    pub goes: BTreeMap<String, u32>,
    /// Records of the enterprise whose home stays this node, by kind.
    pub stays: BTreeMap<String, u32>,
}

const SELECT: &str =
    "SELECT t.id, t.origin, t.target, t.enterprise_id, t.state, t.head, t.problems, t.made_at_us, t.ended_at_us, e.name AS enterprise_name,
  e.code AS enterprise_code, o.name AS origin_name, o.relation AS origin_relation, n.name AS target_name, n.state AS target_state
FROM transfer AS t
LEFT JOIN enterprise AS e ON e.id = t.enterprise_id
LEFT JOIN node AS o ON o.id = t.origin
LEFT JOIN node AS n ON n.id = t.target
WHERE 1 = 1";

fn read(row: &Row) -> Result<TransferRow, StoreError> {
    let head: Head = row.json("head")?;
    let is_ours = row.get::<Option<String>>("origin_relation")?.as_deref() == Some("self");
    let (node, node_name) = if is_ours { ("target", "target_name") } else { ("origin", "origin_name") };
    Ok(TransferRow {
        id: row.get("id")?,
        is_ours,
        node: row.get(node)?,
        node_name: row.get(node_name)?,
        enterprise: row.get("enterprise_id")?,
        enterprise_name: row.get::<Option<String>>("enterprise_name")?.unwrap_or(head.name),
        enterprise_code: row.get::<Option<String>>("enterprise_code")?.unwrap_or(head.code),
        n_records: head.n_records,
        made_by: head.made_by,
        made_at: row.get("made_at_us")?,
        state: row.get("state")?,
        ended_at: row.get("ended_at_us")?,
        problems: row.json("problems")?,
        is_revoked: is_ours && row.get::<Option<String>>("target_state")?.is_none_or(|state| state == NodeState::Revoked.as_str()),
    })
}

fn one(id: TransferId) -> Sql {
    let mut q = sql(SELECT);
    q.push("\n  AND t.id = {}", &[&id]);
    q
}

async fn current(tx: &mut Tx, id: TransferId) -> Result<TransferRow, StoreError> {
    read(&tx.row(one(id)).await?.ok_or(StoreError::NotFound)?)
}

async fn record(change: &mut Change<'_>, action: &'static str, id: TransferId, detail: Json) -> Result<TransferRow, StoreError> {
    let after = current(&mut change.tx, id).await?;
    let row = json!({"id": id.to_string(), "node": after.node.to_string(), "enterprise": after.enterprise, "code": after.enterprise_code,
        "state": after.state, "records": after.n_records});
    change.tell("transfer", &row).await?;
    change.record(AuditEntry { action, noun: "transfer", subject: id.to_string(), detail, row, holder: Holder::NONE }).await?;
    Ok(after)
}

/// Texts, numbers and words alone: it always encodes.
fn text_of(body: &impl Serialize) -> String {
    serde_json::to_string(body).unwrap_or_default()
}

/// By this the giver knows that it gave this to that node: nobody else can say so.
fn grant(secret: &str, what: &str, known_by: &str, target: NodeId, transfer: TransferId) -> String {
    let mut hash = hex_of(format!("{secret}\n{what}/{target}/{transfer}/{known_by}").as_bytes());
    hash.truncate(32);
    hash
}

/// Of a record.
fn known_by(kind: &str, created_at: i64, number: &str) -> String {
    format!("{kind}/{created_at}/{number}")
}

async fn secret(tx: &mut Tx) -> Result<String, StoreError> {
    tx.row(sql("SELECT secret FROM transfer_secret WHERE id = 1")).await?.ok_or(StoreError::NotFound)?.get("secret")
}

/// That a row that is being handed over is changed by nobody.
pub(crate) async fn must_stand(tx: &mut Tx, id: EnterpriseId) -> Result<(), StoreError> {
    let q = sql("SELECT n.name FROM enterprise AS e
INNER JOIN transfer AS t ON t.id = e.transfer
LEFT JOIN node AS n ON n.id = t.target
WHERE e.id = $1");
    let Some(row) = tx.row(q.bind(id)).await? else { return Ok(()) };
    Err(StoreError::Moving { node: row.get::<Option<String>>("name")?.unwrap_or_default() })
}

/// That nothing of a register that goes along is begun meanwhile: it would stay behind.
pub(crate) async fn must_not_begin(tx: &mut Tx, id: EnterpriseId, kind: &str) -> Result<(), StoreError> {
    let q = sql("SELECT t.head, n.name FROM enterprise AS e
INNER JOIN transfer AS t ON t.id = e.transfer
LEFT JOIN node AS n ON n.id = t.target
WHERE e.id = $1");
    let Some(row) = tx.row(q.bind(id)).await? else { return Ok(()) };
    if row.json::<Head>("head")?.kinds.iter().any(|goes| goes == kind) {
        return Err(StoreError::Moving { node: row.get::<Option<String>>("name")?.unwrap_or_default() });
    }
    Ok(())
}

/// An own record of the enterprise as far as it matters here.
struct Standing {
    id: i64,
    kind: String,
    parent: Option<i64>,
}

/// Own records of an enterprise, and which of them go: whatever hangs together goes whole or not at all, and only if each of its kinds may.
async fn choose(tx: &mut Tx, enterprise: EnterpriseId, kinds: &[String]) -> Result<(Vec<Standing>, BTreeSet<i64>), StoreError> {
    let q = sql("SELECT r.id, r.kind, r.parent_id FROM record AS r WHERE r.enterprise_id = $1 AND r.home IS NULL ORDER BY r.id");
    let read = |row: &Row| Ok(Standing { id: row.get("id")?, kind: row.get("kind")?, parent: row.get("parent_id")? });
    let all: Vec<Standing> = tx.rows(q.bind(enterprise)).await?.iter().map(read).collect::<Result<_, StoreError>>()?;
    let (mut root, mut stays) = (BTreeMap::new(), BTreeSet::new());
    let known: BTreeSet<i64> = all.iter().map(|of| of.id).collect();
    for of in &all {
        // Ids ascend: whatever is above was seen before.
        let top = of.parent.map_or(of.id, |parent| root.get(&parent).copied().unwrap_or(parent));
        root.insert(of.id, top);
        if !kinds.contains(&of.kind) || !known.contains(&top) {
            stays.insert(top);
        }
    }
    let goes = all.iter().map(|of| of.id).filter(|id| root.get(id).is_some_and(|top| !stays.contains(top))).collect();
    Ok((all, goes))
}

/// Bodies as they mean something elsewhere too.
struct Naming<'a> {
    own: NodeId,
    registers: &'a Registers,
    goes: &'a BTreeSet<i64>,
    named: BTreeMap<(&'static str, String), Elsewhere>,
}

impl Naming<'_> {
    /// A person, record or file of this node, as others call it; what was another node's already stays so.
    async fn name(&mut self, tx: &mut Tx, kind: &'static str, id: &str) -> Result<String, StoreError> {
        let Ok(number) = id.parse::<i64>() else {
            if let Some(known) = elsewhere(tx, kind, id).await? {
                self.named.insert((kind, id.to_owned()), known);
            }
            return Ok(id.to_owned());
        };
        // A person is called so in orders too.
        let subject = if kind == "person" { format!("{}/{number}", self.own) } else { format!("{}/{kind}/{number}", self.own) };
        let key = (kind, subject.clone());
        if self.named.contains_key(&key) || (kind == "record" && self.goes.contains(&number)) {
            return Ok(subject);
        }
        let q = match kind {
            "person" => sql("SELECT u.name FROM users AS u WHERE u.id = $1"),
            "record" => sql("SELECT r.title AS name, r.kind FROM record AS r WHERE r.id = $1"),
            _ => sql("SELECT a.name, a.media_type, a.bytes, a.sha256 FROM attachment AS a WHERE a.id = $1"),
        };
        let Some(row) = tx.row(q.bind(number)).await? else { return Ok(subject) };
        // A title goes no way that its record does not.
        let tells = |register: &Kind| register.owner == Owner::Everyone || register.exchange.unwrap_or_default() != Exchange::None;
        if kind == "record" && !self.registers.get(&row.get::<String>("kind")?).is_some_and(|register| tells(register)) {
            return Ok(subject);
        }
        let detail = match kind {
            "file" => {
                json!({"media_type": row.get::<String>("media_type")?, "bytes": row.get::<i64>("bytes")?, "sha256": row.get::<String>("sha256")?})
            }
            _ => Json::Null,
        };
        self.named.insert(key, Elsewhere { kind: kind.to_owned(), subject: subject.clone(), name: row.get("name")?, detail });
        Ok(subject)
    }

    async fn body(&mut self, tx: &mut Tx, kind: &Kind, body: &mut Json) -> Result<(), StoreError> {
        // What the register does not know, nobody can name.
        if let Some(fields) = body["fields"].as_object_mut() {
            fields.retain(|id, _| kind.field(id).is_some());
        }
        for field in &kind.fields {
            let of = match &field.of {
                FieldType::Person => "person",
                FieldType::Record { .. } => "record",
                FieldType::File { .. } => "file",
                _ => continue,
            };
            match body["fields"].get_mut(&field.id) {
                Some(Json::String(id)) => *id = self.name(tx, of, id).await?,
                Some(Json::Array(ids)) => {
                    for id in ids {
                        if let Json::String(id) = id {
                            *id = self.name(tx, of, id).await?;
                        }
                    }
                }
                _ => {}
            }
        }
        for act in body["acts"].as_array_mut().into_iter().flatten() {
            if let Some(Json::String(by)) = act.get_mut("by") {
                *by = self.name(tx, "person", by).await?;
            }
        }
        Ok(())
    }
}

/// What a record that was taken names at another node.
pub(crate) async fn elsewhere(tx: &mut Tx, kind: &str, subject: &str) -> Result<Option<Elsewhere>, StoreError> {
    let q = sql("SELECT name, detail FROM elsewhere WHERE kind = $1 AND subject = $2").bind(kind).bind(subject);
    let row = tx.row(q).await?;
    let read = |row: Row| {
        Ok(Elsewhere { kind: kind.to_owned(), subject: subject.to_owned(), name: row.get("name")?, detail: row.json("detail")? })
    };
    row.map(read).transpose()
}

async fn document(
    tx: &mut Tx,
    own: NodeId,
    target: NodeId,
    id: TransferId,
    enterprise: EnterpriseId,
    goes: &BTreeSet<i64>,
    registers: &Registers,
) -> Result<TransferDoc, StoreError> {
    let secret = secret(tx).await?;
    let q = sql("SELECT e.code, e.name, e.region, e.sector, e.lon, e.lat FROM enterprise AS e WHERE e.id = $1").bind(enterprise);
    let row = tx.row(q).await?.ok_or(StoreError::NotFound)?;
    let code: String = row.get("code")?;
    let given = GivenEnterprise {
        id: enterprise.get(),
        name: row.get("name")?,
        region: row.get("region")?,
        sector: row.get("sector")?,
        lon: row.get("lon")?,
        lat: row.get("lat")?,
        grant: grant(&secret, "enterprise", &code, target, id),
        code,
    };
    const RECORDS: &str = "SELECT r.id, r.kind, r.number, r.state, r.parent_id, r.escalated, r.created_at_us, r.revision, r.body FROM record AS r WHERE 1 = 1";
    let mut naming = Naming { own, registers, goes, named: BTreeMap::new() };
    let mut records = Vec::new();
    for row in among(tx, RECORDS, "r.id", &Vec::from_iter(goes)).await? {
        let (record, kind, created_at): (i64, String, i64) = (row.get("id")?, row.get("kind")?, row.get("created_at_us")?);
        let register = registers.get(&kind).ok_or(StoreError::Missing { field: "register" })?;
        let mut body: Json = row.json("body")?;
        naming.body(tx, register, &mut body).await?;
        let number: String = row.get("number")?;
        let grant = grant(&secret, "record", &known_by(&kind, created_at, &number), target, id);
        records.push(GivenRecord {
            id: record,
            kind,
            number,
            state: row.get("state")?,
            parent: row.get("parent_id")?,
            escalated: row.get("escalated")?,
            created_at,
            revision: row.get("revision")?,
            body,
            grant,
        });
    }
    Ok(TransferDoc { enterprise: given, records, named: naming.named.into_values().collect() })
}

fn head_entry(origin: NodeId, id: TransferId, head: &Head) -> Result<Entry, StoreError> {
    entry("transfer", origin, format_args!("{id}/{HEAD}"), head)
}

impl Store {
    /// Transfers of this node and to it, newest first.
    ///
    /// # Errors
    /// [`StoreError::OutOfScope`] for an asker who is not node-wide, [`StoreError::Database`].
    pub async fn transfers(&self, scope: &Scope) -> Result<Vec<TransferRow>, StoreError> {
        require_node_wide(scope)?;
        let mut q = sql(SELECT);
        q.push("\nORDER BY t.id DESC\nLIMIT {}", &[&LISTED]);
        self.db.rows(q).await?.iter().map(read).collect()
    }

    /// What would be handed over of an enterprise whose home is here, if records of `kinds` may go.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::OutOfScope`], [`StoreError::Database`].
    pub async fn preview_transfer(&self, scope: &Scope, enterprise: EnterpriseId, kinds: &[String]) -> Result<TransferPreview, StoreError> {
        require_node_wide(scope)?;
        let mut tx = self.db.begin().await?;
        let (all, goes) = choose(&mut tx, enterprise, kinds).await?;
        let mut preview = TransferPreview::default();
        for of in all {
            let counted = if goes.contains(&of.id) { &mut preview.goes } else { &mut preview.stays };
            *counted.entry(of.kind).or_default() += 1;
        }
        Ok(preview)
    }

    /// Hands an enterprise over to a child that stands for it, with those of its records that are of `kinds`: from now on nobody changes them here.
    ///
    /// # Errors
    /// [`StoreError::OutOfScope`]; [`StoreError::NotFound`] for the enterprise; [`StoreError::Missing`] for a node that is no child, is revoked or frozen, or does
    /// not stand for it; [`StoreError::Mirrored`] or [`StoreError::Moving`] if its home is not here or it is under way already; [`StoreError::TooMany`] for more
    /// than travels at once; [`StoreError::Database`].
    pub async fn make_transfer(
        &self,
        scope: &Scope,
        id: TransferId,
        enterprise: EnterpriseId,
        target: NodeId,
        kinds: &[String],
        now: Timestamp,
    ) -> Result<TransferRow, StoreError> {
        require_node_wide(scope)?;
        let mut change = self.change(scope, now).await?;
        let own = self.network.get().own.ok_or(StoreError::NotFound)?;
        let standing = crate::enterprise::standing(&mut change, enterprise).await?.ok_or(StoreError::NotFound)?;
        crate::inbox::must_be_own_enterprise(&mut change.tx, enterprise).await?;
        let q = sql("SELECT level, region, enterprise_id, state FROM node WHERE id = $1 AND relation = 'child'").bind(target);
        let node = change.tx.row(q).await?.ok_or(StoreError::Missing { field: "node" })?;
        let stands_for = match node.word("level", NodeLevel::parse)? {
            NodeLevel::Enterprise => node.get::<Option<EnterpriseId>>("enterprise_id")? == Some(enterprise),
            _ => node.get::<Option<RegionCode>>("region")?.is_some_and(|of| of.holds(&standing.region)),
        };
        if !stands_for || node.word("state", NodeState::parse)? != NodeState::Active {
            return Err(StoreError::Missing { field: "node" });
        }
        let (_, goes) = choose(&mut change.tx, enterprise, kinds).await?;
        let mut bytes = 0_u64;
        for piece in Vec::from_iter(&goes).chunks(crate::db::PIECE) {
            let mut q = sql("SELECT CAST(COALESCE(SUM(LENGTH(r.body)), 0) AS BIGINT) AS n FROM record AS r WHERE 1 = 1");
            q.and_in("r.id", piece);
            bytes += change.tx.row(q).await?.ok_or(StoreError::NotFound)?.get::<i64>("n")?.unsigned_abs();
        }
        if bytes > PIECE_BYTES as u64 * u64::from(PIECES_MAX) {
            return Err(StoreError::TooMany { most: PIECES_MAX });
        }
        let registers = self.network.registers();
        let doc = document(&mut change.tx, own, target, id, enterprise, &goes, &registers).await?;
        let text = text_of(&doc);
        let parts = pieces(&text, PIECE_BYTES);
        let n_pieces = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        if n_pieces > PIECES_MAX {
            return Err(StoreError::TooMany { most: PIECES_MAX });
        }
        let head = Head {
            n_pieces,
            hash: hex_of(text.as_bytes()),
            n_records: u32::try_from(goes.len()).unwrap_or(u32::MAX),
            code: standing.code.clone(),
            name: standing.name.clone(),
            made_by: scope.name.clone(),
            made_at: now.micros(),
            is_back: false,
            kinds: kinds.to_vec(),
        };
        put(&mut change, id, (own, target), Some(enterprise), Given::Offered.as_str(), &head).await?;
        change.tx.run(sql("UPDATE enterprise SET transfer = $1 WHERE id = $2").bind(id).bind(enterprise)).await?;
        for piece in Vec::from_iter(&goes).chunks(crate::db::PIECE) {
            let mut lock = sql("UPDATE record SET transfer = $1 WHERE home IS NULL").bind(id);
            lock.and_in("id", piece);
            change.tx.run(lock).await?;
        }
        for (place, data) in parts.iter().enumerate() {
            let piece = Piece { data: (*data).to_owned() };
            change.told.direct(target.to_string(), entry("transfer", own, format_args!("{id}/{place}"), &piece)?);
        }
        change.told.direct(target.to_string(), head_entry(own, id, &head)?);
        let detail = json!({"node": target.to_string(), "enterprise": enterprise, "code": standing.code, "records": goes.len()});
        let made = record(&mut change, "create", id, detail).await?;
        change.commit().await?;
        Ok(made)
    }

    /// Takes a transfer back that was given here: it goes on being nobody's to change until its target has said that it did not take it.
    ///
    /// # Errors
    /// [`StoreError::OutOfScope`]; [`StoreError::NotFound`], also for one that was not given here; [`StoreError::Stale`] if it is over; [`StoreError::Database`].
    pub async fn withdraw_transfer(&self, scope: &Scope, id: TransferId, now: Timestamp) -> Result<TransferRow, StoreError> {
        require_node_wide(scope)?;
        let mut change = self.change(scope, now).await?;
        let before = current(&mut change.tx, id).await?;
        if !before.is_ours {
            return Err(StoreError::NotFound);
        }
        let state = Given::parse(&before.state).ok_or(StoreError::Stale)?;
        if before.is_revoked && state.is_open() {
            // It is never heard again.
            release(&mut change, id, Given::Withdrawn, &[]).await?;
        } else {
            let next = state.withdraw().ok_or(StoreError::Stale)?;
            change.tx.run(sql("UPDATE transfer SET state = $1 WHERE id = $2").bind(next.as_str()).bind(id)).await?;
        }
        tell_head(&mut change, id).await?;
        let after = record(&mut change, "withdraw", id, json!({"from": before.state})).await?;
        change.commit().await?;
        Ok(after)
    }

    /// Tells a child once more of what was handed over to it and of which it has said nothing: it takes on hearing, and may have been stopped meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn tell_transfers(&self, child: NodeId, now: Timestamp) -> Result<(), StoreError> {
        let node = Scope::node();
        let mut change = self.change(&node, now).await?;
        let q = sql("SELECT id FROM transfer WHERE target = $1 AND state IN ('offered', 'withdrawing') ORDER BY id").bind(child);
        let rows = change.tx.rows(q).await?;
        if rows.is_empty() {
            return Ok(());
        }
        for row in rows {
            tell_head(&mut change, row.get("id")?).await?;
        }
        change.commit().await
    }

    /// Notes that this node cannot take a transfer, and why; `false` = it was settled meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn refuse_transfer(&self, id: TransferId, mut problems: Vec<OrderProblem>, now: Timestamp) -> Result<bool, StoreError> {
        let node = Scope::node();
        let mut change = self.change(&node, now).await?;
        let q = sql("SELECT id FROM transfer WHERE id = $1 AND state = $2").bind(id).bind(RECEIVED);
        if change.tx.row(q).await?.is_none() {
            return Ok(false);
        }
        problems.truncate(PROBLEMS_MAX);
        let codes: Vec<String> = problems.iter().map(|problem| problem.code.clone()).collect();
        let word = Word { state: Said::Refused.as_str().to_owned(), at: now.micros(), problems, ..Word::default() };
        settle(&mut change, id, Said::Refused, &[word]).await?;
        record(&mut change, "refuse", id, json!({"codes": codes})).await?;
        change.commit().await?;
        Ok(true)
    }

    /// What is called so at other nodes, by kind and subject.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn elsewhere(&self, subjects: &[String]) -> Result<Vec<Elsewhere>, StoreError> {
        let select = "SELECT x.kind, x.subject, x.name, x.detail FROM elsewhere AS x WHERE 1 = 1";
        let read = |row: &Row| {
            Ok(Elsewhere { kind: row.get("kind")?, subject: row.get("subject")?, name: row.get("name")?, detail: row.json("detail")? })
        };
        self.db.rows_among(select, "x.subject", subjects).await?.iter().map(read).collect()
    }
}

async fn put(
    change: &mut Change<'_>,
    id: TransferId,
    (origin, target): (NodeId, NodeId),
    enterprise: Option<EnterpriseId>,
    state: &str,
    head: &Head,
) -> Result<(), StoreError> {
    let put = sql("INSERT INTO transfer (id, origin, target, enterprise_id, state, head, problems, made_at_us) VALUES ($1, $2, $3, $4, $5, $6, '[]', $7)
ON CONFLICT (id) DO UPDATE SET head = excluded.head, made_at_us = excluded.made_at_us");
    let put = put.bind(id).bind(origin).bind(target).bind(enterprise).bind(state).bind(text_of(head));
    let made_at = if head.made_at == 0 { change.now } else { Timestamp::from_micros(head.made_at) };
    change.tx.run(put.bind(made_at)).await.map(drop)
}

/// It was not taken: this node goes on as home; the records that may be changed again.
async fn release(change: &mut Change<'_>, id: TransferId, state: Given, problems: &[OrderProblem]) -> Result<Vec<RecordId>, StoreError> {
    let update = sql("UPDATE transfer SET state = $1, problems = $2, ended_at_us = $3 WHERE id = $4");
    change.tx.run(update.bind(state.as_str()).bind(text_of(&problems)).bind(change.now).bind(id)).await?;
    change.tx.run(sql("UPDATE enterprise SET transfer = NULL WHERE transfer = $1").bind(id)).await?;
    let rows = change.tx.rows(sql("UPDATE record SET transfer = NULL WHERE transfer = $1 RETURNING id").bind(id)).await?;
    rows.iter().map(|row| row.get("id")).collect()
}

/// The head as it stands goes down anew, behind all that went before.
async fn tell_head(change: &mut Change<'_>, id: TransferId) -> Result<(), StoreError> {
    let q = sql("SELECT origin, target, state, head FROM transfer WHERE id = $1").bind(id);
    let row = change.tx.row(q).await?.ok_or(StoreError::NotFound)?;
    let head = Head { is_back: row.word("state", Given::parse)?.is_back(), ..row.json("head")? };
    let target: NodeId = row.get("target")?;
    change.told.direct(target.to_string(), head_entry(row.get("origin")?, id, &head)?);
    Ok(())
}

/// The target's last word.
async fn settle(change: &mut Change<'_>, id: TransferId, said: Said, words: &[Word]) -> Result<(), StoreError> {
    let problems = text_of(&words.first().map(|word| &word.problems));
    let update = sql("UPDATE transfer SET state = $1, problems = $2, ended_at_us = $3 WHERE id = $4");
    change.tx.run(update.bind(said.as_str()).bind(problems).bind(change.now).bind(id)).await?;
    change.tx.run(sql("DELETE FROM transfer_piece WHERE transfer_id = $1").bind(id)).await?;
    for (place, word) in (0_i64..).zip(words) {
        let insert = sql("INSERT INTO transfer_word (transfer_id, place, body) VALUES ($1, $2, $3)");
        change.tx.run(insert.bind(id).bind(place).bind(text_of(word))).await?;
    }
    say(change, id).await
}

/// It goes up, before everything that is told of what was taken.
async fn say(change: &mut Change<'_>, id: TransferId) -> Result<(), StoreError> {
    let q = sql("SELECT t.origin, w.transfer_id, w.place, w.body FROM transfer_word AS w
INNER JOIN transfer AS t ON t.id = w.transfer_id
WHERE w.transfer_id = $1
ORDER BY w.place");
    for row in change.tx.rows(q.bind(id)).await? {
        change.told.direct(crate::feed::UP.to_owned(), word(&row)?);
    }
    Ok(())
}

/// A part of a target's word.
pub(crate) fn word(row: &Row) -> Result<Entry, StoreError> {
    let (origin, id, place): (NodeId, TransferId, i64) = (row.get("origin")?, row.get("transfer_id")?, row.get("place")?);
    Ok(("transferred", format!("{origin}/{id}/{place}"), row.get("body")?))
}

impl RecordChange<'_> {
    /// What was handed over to this node, if it may still take it. It stays so until the change commits.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn transfer(&mut self, id: TransferId) -> Result<Option<(NodeId, TransferDoc)>, StoreError> {
        let q = sql("SELECT origin, head FROM transfer WHERE id = $1 AND state = $2").bind(id).bind(RECEIVED);
        let Some(row) = self.tx().row(q).await? else { return Ok(None) };
        let head: Head = row.json("head")?;
        if head.is_back {
            return Ok(None);
        }
        let Some(text) = whole(self.tx(), id, &head).await? else { return Ok(None) };
        let doc = serde_json::from_str(&text).map_err(|e| StoreError::Corrupt(format!("what was handed over: {e}")))?;
        Ok(Some((row.get("origin")?, doc)))
    }

    /// Makes the enterprise this node's own, as it was handed over; `None` = it is another node's here, was merged into another, or was handed
    /// on by a life of this node that it forgot.
    ///
    /// # Errors
    /// [`StoreError::Missing`] for a division that is none, [`StoreError::Database`].
    pub async fn take_enterprise(&mut self, given: &GivenEnterprise) -> Result<Option<EnterpriseId>, StoreError> {
        let region = RegionCode::new(&given.region).ok_or(StoreError::Missing { field: "region" })?;
        let place = given.lon.zip(given.lat).and_then(|(lon, lat)| Wgs84::new(lon, lat));
        let change = self.change();
        let q = sql("SELECT level, region FROM node WHERE relation = 'self'");
        let own = change.tx.row(q).await?.ok_or(StoreError::NotFound)?;
        let stands_for = own.get::<Option<RegionCode>>("region")?.is_some_and(|of| of.holds(&region));
        if own.word("level", NodeLevel::parse)? != NodeLevel::Enterprise && !stands_for {
            return Err(StoreError::Missing { field: "region" });
        }
        if is_handed_on(&mut change.tx, &given.code).await? {
            return Ok(None);
        }
        let q = sql("SELECT e.id, e.home, e.merged_into, e.transfer, e.revision FROM enterprise AS e WHERE e.code = $1")
            .bind(given.code.as_str());
        let Some(row) = change.tx.row(q).await? else {
            let (code, name, sector) = (given.code.clone(), given.name.clone(), given.sector.clone());
            return Ok(Some(crate::enterprise::insert(change, &NewEnterprise { code, name, region, sector, place }).await?.id));
        };
        // Heard of as an owner only, it is nobody's yet.
        let is_ours = row.get::<Option<String>>("home")?.is_none_or(|home| home.is_empty())
            && row.get::<Option<EnterpriseId>>("merged_into")?.is_none()
            && row.get::<Option<String>>("transfer")?.is_none();
        if !is_ours {
            return Ok(None);
        }
        let id: EnterpriseId = row.get("id")?;
        let before = crate::enterprise::standing(change, id).await?.ok_or(StoreError::NotFound)?;
        let wanted = crate::EnterpriseChange {
            revision: before.revision,
            name: Some(given.name.clone()),
            region: Some(region),
            sector: Some(given.sector.clone()),
            place: Some(place),
            ..crate::EnterpriseChange::default()
        };
        // Also if nothing of it is new: those above hear of it behind the word that it was taken.
        let heard_of = sql("UPDATE enterprise SET home = NULL, mark = COALESCE(mark, $1) WHERE id = $2 AND home = ''");
        change.tx.run(heard_of.bind(crate::enterprise::new_mark()?).bind(id)).await?;
        crate::enterprise::change_to(change, before, &wanted).await?;
        Ok(Some(id))
    }

    /// Notes what the records name at their former home.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn note_elsewhere(&mut self, named: &[Elsewhere]) -> Result<(), StoreError> {
        for of in named {
            let put = sql("INSERT INTO elsewhere (kind, subject, name, detail) VALUES ($1, $2, $3, $4)
ON CONFLICT (kind, subject) DO UPDATE SET name = excluded.name, detail = excluded.detail");
            let put = put.bind(of.kind.as_str()).bind(of.subject.as_str()).bind(of.name.as_str()).bind(of.detail.to_string());
            self.tx().run(put).await?;
        }
        Ok(())
    }

    /// Makes a record of this node of one that was handed over.
    ///
    /// # Errors
    /// As [`RecordChange::create`].
    pub async fn take_record(
        &mut self,
        from: NodeId,
        given: &GivenRecord,
        owner: &RecordOwner,
        parent: Option<RecordId>,
        put: &RecordPut,
    ) -> Result<RecordId, StoreError> {
        let acts = i64::try_from(given.body["acts"].as_array().map_or(0, Vec::len)).unwrap_or(0);
        let id = self.insert(&given.kind, owner, parent, put).await?;
        let update = sql("UPDATE record SET created_at_us = $1, revision = $2, former = $3, former_acts = $4 WHERE id = $5");
        let update = update.bind(given.created_at).bind(given.revision.max(1)).bind(from).bind(acts).bind(id);
        self.tx().run(update).await?;
        let detail = json!({"node": from.to_string(), "record": given.id, "acts": acts, "to": put.state});
        self.end(id, "take", owner, detail).await?;
        Ok(id)
    }

    /// Notes, with what came of it, that a transfer is taken: `records` by their ids at the giver.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn transfer_taken(
        &mut self,
        id: TransferId,
        enterprise: EnterpriseId,
        given: &TransferDoc,
        records: &BTreeMap<i64, RecordId>,
    ) -> Result<(), StoreError> {
        let change = self.change();
        let q = sql("SELECT e.mark FROM enterprise AS e WHERE e.id = $1").bind(enterprise);
        let mark = change.tx.row(q).await?.ok_or(StoreError::NotFound)?.get("mark")?;
        change.tx.run(sql("UPDATE transfer SET enterprise_id = $1 WHERE id = $2").bind(enterprise).bind(id)).await?;
        let said = || Word { state: Said::Taken.as_str().to_owned(), at: change.now.micros(), ..Word::default() };
        let of = &given.enterprise;
        let first = Word {
            enterprise: Some(Taken { was: of.id, is: enterprise.get(), known_by: of.code.clone(), grant: of.grant.clone() }),
            mark,
            ..said()
        };
        let taken = |of: &GivenRecord| {
            let known_by = known_by(&of.kind, of.created_at, &of.number);
            Some(Taken { was: of.id, is: records.get(&of.id)?.get(), known_by, grant: of.grant.clone() })
        };
        let taken: Vec<Taken> = given.records.iter().filter_map(taken).collect();
        let rest = taken.chunks(PAIRS).map(|records| Word { records: records.to_vec(), ..said() });
        let words: Vec<Word> = std::iter::once(first).chain(rest).collect();
        settle(change, id, Said::Taken, &words).await?;
        record(change, "take", id, json!({"enterprise": enterprise, "records": records.len()})).await.map(drop)
    }
}

/// Whether a node below has said that it took what this node forgot, see [`Apply::note_given`].
async fn is_handed_on(tx: &mut Tx, code: &str) -> Result<bool, StoreError> {
    let q = sql("SELECT t.head FROM transfer AS t
INNER JOIN node AS n ON n.id = t.origin AND n.relation = 'self'
WHERE t.state = $1 AND t.enterprise_id IS NULL");
    for row in tx.rows(q.bind(Given::Taken.as_str())).await? {
        if row.json::<Head>("head")?.code == code {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The pieces one behind the other, if they are what the head says.
async fn whole(tx: &mut Tx, id: TransferId, head: &Head) -> Result<Option<String>, StoreError> {
    let q = sql("SELECT data FROM transfer_piece WHERE transfer_id = $1 AND place < $2 ORDER BY place");
    let rows = tx.rows(q.bind(id).bind(i64::from(head.n_pieces))).await?;
    if rows.len() != head.n_pieces as usize || rows.is_empty() {
        return Ok(None);
    }
    let mut text = String::new();
    for row in &rows {
        text.push_str(&row.get::<String>("data")?);
    }
    Ok(Some(text).filter(|text| hex_of(text.as_bytes()) == head.hash))
}

impl Apply<'_> {
    /// From the parent: a piece of what it hands over, or the head of it.
    pub(crate) async fn transfer(&mut self, origin: NodeId, id: &str, text: &str) -> Result<(), Fault> {
        // Only whoever stands directly above: a level between would be passed by.
        if !self.is_parent || origin != self.peer.id {
            return Err(Fault::Refused("origin"));
        }
        let (id, place) = id.split_once('/').ok_or(Fault::Refused("subject"))?;
        let id: TransferId = id.parse().map_err(|_| Fault::Refused("subject"))?;
        let known = self.change.tx.row(sql("SELECT origin, target, state FROM transfer WHERE id = $1").bind(id)).await?;
        let mut said = None;
        if let Some(row) = &known {
            if row.get::<NodeId>("origin")? != origin || row.get::<NodeId>("target")? != self.own {
                return Err(Fault::Refused("home"));
            }
            said = Said::parse(&row.get::<String>("state")?);
        }
        if place != HEAD {
            let place: u32 = place.parse().map_err(|_| Fault::Refused("subject"))?;
            let piece: Piece = parse(text)?;
            if place >= PIECES_MAX || piece.data.contains('\0') {
                return Err(Fault::Refused("body"));
            }
            if said.is_some() {
                return Ok(());
            }
            if known.is_none() {
                self.make_room_for_transfer().await?;
                put(&mut self.change, id, (origin, self.own), None, RECEIVED, &Head::default()).await?;
            }
            let put = sql("INSERT INTO transfer_piece (transfer_id, place, data) VALUES ($1, $2, $3)
ON CONFLICT (transfer_id, place) DO UPDATE SET data = excluded.data");
            self.change.tx.run(put.bind(id).bind(i64::from(place)).bind(piece.data)).await?;
            self.count("transfer");
            return Ok(());
        }
        let head: Head = parse(text)?;
        texts(&[(&head.code, true), (&head.name, true), (&head.made_by, false)])?;
        if head.n_pieces > PIECES_MAX || head.hash.len() != 64 {
            return Err(Fault::Refused("body"));
        }
        if known.is_none() {
            self.make_room_for_transfer().await?;
        }
        put(&mut self.change, id, (origin, self.own), None, RECEIVED, &head).await?;
        let is_whole = said.is_none() && whole(&mut self.change.tx, id, &head).await?.is_some();
        match on_hearing(said, head.is_back, is_whole) {
            Heard::Said => {}
            Heard::Lacks => {
                let problem = OrderProblem { code: "transfer.incomplete".to_owned(), field: None, params: BTreeMap::new() };
                let at = self.change.now.micros();
                let word = Word { state: Said::Refused.as_str().to_owned(), at, problems: vec![problem], ..Word::default() };
                settle(&mut self.change, id, Said::Refused, &[word]).await?;
                record(&mut self.change, "refuse", id, json!({"codes": ["transfer.incomplete"]})).await?;
            }
            Heard::GiveUp => {
                let word = Word { state: Said::Withdrawn.as_str().to_owned(), at: self.change.now.micros(), ..Word::default() };
                settle(&mut self.change, id, Said::Withdrawn, &[word]).await?;
                record(&mut self.change, "withdraw", id, json!({"from": origin.to_string()})).await?;
            }
            Heard::Take => self.done.transfers.push(id),
        }
        if said.is_none() {
            self.count("transfer");
        }
        Ok(())
    }

    async fn make_room_for_transfer(&mut self) -> Result<(), Fault> {
        let q = sql("SELECT COUNT(*) AS n FROM transfer WHERE state = $1").bind(RECEIVED);
        let n: i64 = self.change.tx.row(q).await?.ok_or(StoreError::NotFound)?.get("n")?;
        if n < WAITING_MAX { Ok(()) } else { Err(Fault::Refused("size")) }
    }

    /// From a child: what it says of something that was handed over to it.
    pub(crate) async fn transferred(&mut self, origin: NodeId, id: &str, text: &str) -> Result<(), Fault> {
        if self.is_parent || origin != self.own {
            return Err(Fault::Refused("origin"));
        }
        let (id, _) = id.split_once('/').ok_or(Fault::Refused("subject"))?;
        let id: TransferId = id.parse().map_err(|_| Fault::Refused("subject"))?;
        let word: Word = parse(text)?;
        let said = Said::parse(&word.state).ok_or(Fault::Refused("body"))?;
        if word.problems.len() > PROBLEMS_MAX || word.records.len() > PAIRS {
            return Err(Fault::Refused("body"));
        }
        let things: Vec<&Taken> = word.enterprise.iter().chain(&word.records).collect();
        texts(&things.iter().flat_map(|of| [(&of.known_by, true), (&of.grant, true)]).collect::<Vec<_>>())?;
        texts(&word.mark.iter().map(|mark| (mark, true)).collect::<Vec<_>>())?;
        let known = self.change.tx.row(sql("SELECT target, state, head FROM transfer WHERE id = $1").bind(id)).await?;
        let before = match &known {
            Some(row) if row.get::<NodeId>("target")? != self.peer.id => return Err(Fault::Refused("origin")),
            Some(row) => Some(row.word("state", Given::parse)?),
            None => None,
        };
        if said != Said::Taken {
            let Some(before) = before else { return Ok(()) };
            let after = before.hear(said);
            if after != before {
                self.go_on(id, after, &word.problems).await?;
            }
            return Ok(());
        }
        if before.is_some_and(|before| before.hear(said) != Given::Taken) {
            // It said before that it did not take it.
            return Err(Fault::Refused("home"));
        }
        // All of it is this node's own word, or none is believed.
        let secret = secret(&mut self.change.tx).await?;
        let is_given = |what: &str, of: &Taken| grant(&secret, what, &of.known_by, self.peer.id, id) == of.grant;
        if !(word.enterprise.iter().all(|of| is_given("enterprise", of)) && word.records.iter().all(|of| is_given("record", of))) {
            return Err(Fault::Refused("unknown"));
        }
        if let Some(of) = &word.enterprise {
            self.give_enterprise(id, of, word.mark.as_deref(), before).await?;
        }
        for of in &word.records {
            self.give_record(id, of).await?;
        }
        Ok(())
    }

    /// It was not taken: this node goes on as home.
    async fn go_on(&mut self, id: TransferId, state: Given, problems: &[OrderProblem]) -> Result<(), Fault> {
        let change = &mut self.change;
        self.done.records.extend(release(change, id, state, problems).await?);
        // A target that was set back to a backup must not take what is changed here again.
        tell_head(change, id).await?;
        let codes: Vec<&str> = problems.iter().map(|problem| problem.code.as_str()).collect();
        record(
            change,
            if state == Given::Refused { "refuse" } else { "withdraw" },
            id,
            json!({"from": self.peer.id.to_string(), "codes": codes}),
        )
        .await?;
        Ok(())
    }

    /// The enterprise has its home below now.
    async fn give_enterprise(&mut self, id: TransferId, of: &Taken, mark: Option<&str>, before: Option<Given>) -> Result<(), Fault> {
        // By its code: a giver that was set back may have given the id to another since.
        let q = sql("SELECT e.id, e.mark, e.code, e.name, e.region, e.sector, e.lon, e.lat, e.home FROM enterprise AS e
WHERE e.code = $1 AND e.merged_into IS NULL");
        let row = self.change.tx.row(q.bind(of.known_by.as_str())).await?;
        let Some(row) = row else {
            return match before {
                None => self.note_given(id, of).await,
                Some(Given::Taken) => Ok(()),
                _ => Err(Fault::Refused("unknown")),
            };
        };
        let home: Option<String> = row.get("home")?;
        if home.as_deref().is_some_and(|home| !home.is_empty() && home != self.peer.id.to_string()) {
            // It went on to yet another.
            return Err(Fault::Refused("home"));
        }
        let local: EnterpriseId = row.get("id")?;
        let region: RegionCode = row.get("region")?;
        if before != Some(Given::Taken) {
            let head = Head { code: row.get("code")?, name: row.get("name")?, ..Head::default() };
            if before.is_none() {
                put(&mut self.change, id, (self.own, self.peer.id), Some(local), Given::Taken.as_str(), &head).await?;
            }
            let update = sql("UPDATE transfer SET state = $1, problems = '[]', ended_at_us = $2 WHERE id = $3");
            self.change.tx.run(update.bind(Given::Taken.as_str()).bind(self.change.now).bind(id)).await?;
            record(&mut self.change, "take", id, json!({"from": self.peer.id.to_string(), "enterprise": local})).await?;
        }
        let gone = sql("DELETE FROM mirror WHERE node = $1 AND kind = 'enterprise' AND local_id = $2").bind(self.peer.id).bind(local);
        self.change.tx.run(gone).await?;
        self.mirror(self.peer.id, "enterprise", of.is, local.get(), mark).await?;
        if home.as_deref() == Some(self.peer.id.to_string().as_str()) {
            return Ok(());
        }
        let update = sql("UPDATE enterprise SET home = $1, transfer = NULL, revision = revision + 1 WHERE id = $2");
        self.change.tx.run(update.bind(self.peer.id).bind(local)).await?;
        self.count("transfer");
        let body = EnterpriseBody {
            id: Some(local.get()),
            mark: row.get("mark")?,
            code: row.get("code")?,
            name: row.get("name")?,
            region: row.get("region")?,
            sector: row.get("sector")?,
            lon: row.get("lon")?,
            lat: row.get("lat")?,
            moved_to: Some(format!("{}/{}", self.peer.id, of.is)),
        };
        self.change.told.moved_enterprise(entry("enterprise", self.own, local, &body)?);
        self.touched_enterprise(local);
        let row = json!({"id": local, "code": body.code, "home": self.peer.id.to_string()});
        let holder = Holder { enterprise: Some(local), region: Some(region), sector: Some(body.sector) };
        let detail = json!({"transfer": id.to_string(), "home": self.peer.id.to_string()});
        let entry = AuditEntry { action: "transfer", noun: "enterprise", subject: local.to_string(), detail, row, holder };
        self.change.record(entry).await?;
        Ok(())
    }

    /// This node was set back to before it had the enterprise, and handed it on in the life that it forgot. Whoever gave it to this node may still offer it:
    /// so the word is kept, and it is not taken before its home has told of it.
    async fn note_given(&mut self, id: TransferId, of: &Taken) -> Result<(), Fault> {
        let head = Head { code: of.known_by.clone(), ..Head::default() };
        put(&mut self.change, id, (self.own, self.peer.id), None, Given::Taken.as_str(), &head).await?;
        self.change.tx.run(sql("UPDATE transfer SET ended_at_us = $1 WHERE id = $2").bind(self.change.now).bind(id)).await?;
        record(&mut self.change, "take", id, json!({"from": self.peer.id.to_string(), "code": of.known_by})).await?;
        Ok(())
    }

    /// What was given: under its id, unless another bears that since this node was set back; or under another, if it was given to this node once more.
    async fn given_record(&mut self, of: &Taken) -> Result<Option<Row>, Fault> {
        const SELECT: &str =
            "SELECT r.id, r.kind, r.number, r.created_at_us, r.home, r.enterprise_id, r.region, r.sector, m.node, m.remote_id
FROM record AS r
LEFT JOIN mirror AS m ON m.kind = 'record' AND m.local_id = r.id";
        if let Some(row) = self.change.tx.row(sql(&format!("{SELECT} WHERE r.id = $1")).bind(of.was)).await?
            && known_by(&row.get::<String>("kind")?, row.get("created_at_us")?, &row.get::<String>("number")?) == of.known_by
        {
            return Ok(Some(row));
        }
        let mut parts = of.known_by.splitn(3, '/');
        let (kind, made, number) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let made: i64 = made.parse().map_err(|_| Fault::Refused("body"))?;
        let q = sql(&format!("{SELECT} WHERE r.kind = $1 AND r.created_at_us = $2 AND r.number = $3 AND r.home IS NULL"));
        Ok(self.change.tx.row(q.bind(kind).bind(made).bind(number)).await?)
    }

    /// A record has its home below now, and what stands here is a copy. Of one that this node no longer knows, or that another bears the id of, the new home
    /// tells all the same.
    async fn give_record(&mut self, id: TransferId, of: &Taken) -> Result<(), Fault> {
        let Some(row) = self.given_record(of).await? else { return Ok(()) };
        let local: RecordId = row.get("id")?;
        let peer = self.peer.id;
        let is_there = row.get::<Option<NodeId>>("home")? == Some(peer);
        if !is_there && row.get::<Option<NodeId>>("home")?.is_some() {
            // It went on to yet another.
            return Ok(());
        }
        if is_there && row.get::<Option<i64>>("remote_id")? == Some(of.is) {
            return Ok(());
        }
        // Under this id it may have come before its giver was set back and forgot.
        if self.local(peer, "record", of.is).await?.is_some() {
            self.unname(peer, "record", of.is).await?;
        }
        if !is_there {
            let registers = self.change.registers();
            let body = crate::copy::as_told(&mut self.change.tx, self.own, &registers, local).await?;
            let update = sql("UPDATE record SET home = $1, transfer = NULL, told_at_us = $2, record_key = NULL, remind_on = NULL, task_on = NULL, task_user = NULL,
  above = NULL, body = $3 WHERE id = $4");
            self.change.tx.run(update.bind(peer).bind(self.change.now).bind(body).bind(local)).await?;
            self.change.tx.run(sql("DELETE FROM record_task WHERE record_id = $1").bind(local)).await?;
            let to = format!("{peer}/{}", of.is);
            self.change.told.records.note_moved(format!("{}/{local}", self.own), local.get(), &row.get::<String>("kind")?, &to);
        }
        self.change.tx.run(sql("DELETE FROM mirror WHERE kind = 'record' AND local_id = $1").bind(local)).await?;
        self.mirror(peer, "record", of.is, local.get(), None).await?;
        self.change.told.records.note(local);
        let region: String = row.get("region")?;
        let holder = Holder { enterprise: row.get("enterprise_id")?, region: RegionCode::new(&region), sector: row.get("sector")? };
        let detail = json!({"transfer": id.to_string(), "home": peer.to_string(), "record": of.is});
        let row = crate::record::canonical_of(&mut self.change.tx, local).await?;
        let entry = AuditEntry { action: "transfer", noun: "record", subject: local.to_string(), detail, row, holder };
        self.change.record(entry).await?;
        self.done.records.push(local);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_of_one_thing_one_node_and_one_transfer() {
        let (node, id) = (NodeId::new(7), TransferId::new(9));
        let one = grant("s", "record", "5", node, id);
        assert_eq!(one.len(), 32);
        let others = [
            grant("t", "record", "5", node, id),
            grant("s", "enterprise", "5", node, id),
            grant("s", "record", "6", node, id),
            grant("s", "record", "5", NodeId::new(8), id),
            grant("s", "record", "5", node, TransferId::new(10)),
        ];
        assert!(others.iter().all(|other| *other != one));
    }
}
