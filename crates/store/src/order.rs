//! Orders (交办): what a node above asks of one below, and what became of it.
//!
//! An order goes down the way to its target, an answer comes up the same way; each node between keeps what passed, word for word, so that it need not
//! understand it. Only the target takes it for its own. What came is checked as everything that others wrote: an order comes from the side of the
//! parent and from a node above, an answer from the child through which the target is heard. An order that is seen again is passed on and answered
//! again: whoever sends it once more has forgotten the answer. Start at [`Store::make_order`]; how one arrives is `Apply::order`.

use std::collections::{BTreeMap, BTreeSet};

use anlan_model::{EnterpriseId, NodeId, NodeLevel, OrderId, RegionCode, Role, Scope, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use crate::audit::{Change, Entry as AuditEntry, Holder};
use crate::db::{Row, Sql, Tx, sql};
use crate::feed::{Entry, among, entry};
use crate::inbox::{Apply, Fault, parse};
use crate::node::Relation;
use crate::scope::Owner;
use crate::{Page, Paging, RecordChange, Redivision, Store, StoreError};

/// Longest title, name or word, in characters.
const NAME_MAX: usize = 200;
/// Longest text of an order or an answer, in characters.
const TEXT_MAX: usize = 4_000;
/// Longest value of a reason against an order, in characters.
const PARAM_MAX: usize = 1_000;
/// Most roles of whoever ordered, and reasons against an order.
const ROLES_MAX: usize = 16;
const PROBLEMS_MAX: usize = 100;
/// Longest answer between nodes, in bytes: an entry of a feed takes 64 KiB.
const ANSWER_BYTES: usize = 48 * 1024;
/// Orders that are carried out in one round, and told again to one neighbour.
const AT_ONCE: i64 = 500;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OrderKind {
    /// A question that a person there replies to.
    Question,
    /// That a record be made there.
    Open,
    /// That a record there be brought on.
    Act,
}

impl OrderKind {
    const ALL: [Self; 3] = [Self::Question, Self::Open, Self::Act];
    /// The word on the API and between nodes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Question => "question",
            Self::Open => "open",
            Self::Act => "act",
        }
    }
    /// The kind named by `word`.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.as_str() == word)
    }
}

/// What became of an order, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OrderState {
    /// It was sent, and nothing was heard of it.
    Sent,
    /// It is at its target.
    Received,
    /// What was asked is done.
    Done,
    /// The target's registers say no; the answer says why.
    Refused,
    /// A person there replied.
    Answered,
    /// Whoever gave it took it back.
    Withdrawn,
}

impl OrderState {
    const ALL: [Self; 6] = [Self::Sent, Self::Received, Self::Done, Self::Refused, Self::Answered, Self::Withdrawn];
    /// The word on the API, in the database and between nodes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Answered => "answered",
            Self::Withdrawn => "withdrawn",
        }
    }
    /// The state named by `word`.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == word)
    }
    /// Whether something follows.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Sent | Self::Received)
    }
    /// Whether the target has said its last word.
    const fn is_settled(self) -> bool {
        matches!(self, Self::Done | Self::Refused | Self::Answered)
    }
    /// Whether a target can say this of an order of this kind.
    fn is_said_of(self, kind: &str) -> bool {
        match self {
            Self::Sent => false,
            Self::Received | Self::Withdrawn => true,
            Self::Answered => kind == OrderKind::Question.as_str(),
            Self::Done | Self::Refused => kind != OrderKind::Question.as_str(),
        }
    }
}

/// The enterprise that an order is about, as its origin calls it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderedEnterprise {
    /// By it the others know it.
    pub code: String,
    /// Name.
    pub name: String,
}

/// A record as its home calls it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderedRecord {
    /// Id there.
    pub id: i64,
    /// The revision that the orderer saw.
    pub revision: i64,
}

/// The step of a register that is to be taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderedStep {
    /// Kind of register.
    pub register: String,
    /// Transition.
    pub transition: String,
    /// What is filled in with it, value by field; nothing that has an id at the origin alone.
    pub fields: Map<String, Json>,
    /// On this record; `None` = a new one.
    #[serde(default)]
    pub record: Option<OrderedRecord>,
}

/// Somebody at the origin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderedBy {
    /// Who they are there, for ever the same; empty = the node itself.
    #[serde(default)]
    pub user: String,
    /// Shown name.
    pub name: String,
    /// The roles that they held there over what the order is about.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// Who took an order back, and when (µs).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderWithdrawal {
    /// Shown name.
    pub by: String,
    /// When.
    pub at: i64,
}

/// An order as it goes down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// `question`, `open`, `act`.
    pub kind: String,
    /// Who is to do it.
    #[serde(with = "crate::feed::words")]
    pub target: NodeId,
    /// What the origin is called.
    pub origin_name: String,
    /// Title.
    pub title: String,
    /// Text; may be empty.
    #[serde(default)]
    pub text: String,
    /// The last day on which it is in time, ISO.
    #[serde(default)]
    pub due_on: Option<String>,
    /// Code of the division that it is about, or of the enterprise's.
    pub region: String,
    /// About which enterprise; `None` = the division itself.
    #[serde(default)]
    pub enterprise: Option<OrderedEnterprise>,
    /// Which step of which register; not of a question.
    #[serde(default)]
    pub step: Option<OrderedStep>,
    /// By whom.
    pub by: OrderedBy,
    /// When, µs.
    pub made_at: i64,
    /// That it was taken back.
    #[serde(default)]
    pub withdrawn: Option<OrderWithdrawal>,
}

/// The record that an order made or brought on, at its home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnsweredRecord {
    /// Kind of register.
    pub register: String,
    /// Id there.
    pub id: i64,
    /// Number; may be empty.
    #[serde(default)]
    pub number: String,
    /// Title.
    #[serde(default)]
    pub title: String,
}

/// One reason against an order: a code of refusals, the field, and the values of its sentence, words among them in both languages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderProblem {
    /// Stable word, such as `register.guard`.
    pub code: String,
    /// Path of the field.
    #[serde(default)]
    pub field: Option<String>,
    /// Values of the sentence.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
}

/// What the target says of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderAnswer {
    /// `received`, `done`, `refused`, `answered`, `withdrawn`.
    pub state: String,
    /// Since when, µs.
    pub at: i64,
    /// Shown name of who replied; empty = the node itself.
    #[serde(default)]
    pub by: String,
    /// What they replied.
    #[serde(default)]
    pub text: String,
    /// What came of it.
    #[serde(default)]
    pub record: Option<AnsweredRecord>,
    /// Everything that stood against it.
    #[serde(default)]
    pub problems: Vec<OrderProblem>,
}

/// Which way an order goes, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderDirection {
    /// Made here.
    Sent,
    /// To be done here.
    Received,
    /// It passes.
    Passing,
}

impl OrderDirection {
    /// The word on the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
            Self::Passing => "passing",
        }
    }
    /// The direction named by `word`.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Sent, Self::Received, Self::Passing].into_iter().find(|d| d.as_str() == word)
    }
}

/// An order as it stands here.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderRow {
    /// Id, the same everywhere.
    pub id: OrderId,
    /// Who gave it.
    pub origin: NodeId,
    /// What that is called.
    pub origin_name: String,
    /// What the target is called here; `None` = it is not known here any more.
    pub target_name: Option<String>,
    /// Which way it goes.
    pub direction: OrderDirection,
    /// The enterprise that it is about, if it is known here.
    pub enterprise: Option<EnterpriseId>,
    /// What that is called here.
    pub enterprise_name: Option<String>,
    /// Where.
    pub region: RegionCode,
    /// Name of that.
    pub region_name: Option<String>,
    /// Sector of the enterprise.
    pub sector: Option<String>,
    /// State.
    pub state: OrderState,
    /// Whether the target has said as much.
    pub is_confirmed: bool,
    /// What is asked.
    pub order: Order,
    /// What the target said.
    pub answer: Option<OrderAnswer>,
}

impl OrderRow {
    /// Whether its last day in time is before `today`, ISO, and nothing came of it.
    pub fn is_late(&self, today: &str) -> bool {
        self.state.is_open() && self.order.due_on.as_deref().is_some_and(|day| day < today)
    }
}

/// An order to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewOrder {
    /// Id.
    pub id: OrderId,
    /// About which enterprise here.
    pub enterprise: Option<EnterpriseId>,
    /// What goes down; name and instant are put in here.
    pub order: Order,
}

/// Which orders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderFilter {
    /// Which way.
    pub direction: Option<OrderDirection>,
    /// In this state.
    pub state: Option<OrderState>,
    /// Something follows, or nothing does.
    pub is_open: Option<bool>,
    /// Open and due before this day, ISO.
    pub due_before: Option<String>,
    /// About this enterprise.
    pub enterprise: Option<EnterpriseId>,
}

/// A node to which an order may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderTarget {
    /// Its id.
    pub id: NodeId,
    /// Name.
    pub name: String,
    /// Level.
    pub level: NodeLevel,
    /// Territory; `None` for an enterprise's node.
    pub region: Option<RegionCode>,
    /// Name of the territory.
    pub region_name: Option<String>,
    /// Of an enterprise's node: which enterprise here.
    pub enterprise: Option<EnterpriseId>,
    /// Its name.
    pub enterprise_name: Option<String>,
    /// Where that is.
    pub enterprise_region: Option<RegionCode>,
    /// Its sector.
    pub enterprise_sector: Option<String>,
}

/// An enterprise's orders are where it is, and of its sector.
const OWNER: Owner = Owner { enterprise: "o.enterprise_id", region: "COALESCE(e.region, o.region)", sector: "e.sector" };

const SELECT: &str =
    "SELECT o.id, o.origin, o.target, o.via, o.enterprise_id, o.state, o.said, o.body, o.answer, COALESCE(e.region, o.region) AS region, e.sector,
  e.name AS enterprise_name, r.name AS region_name, n.name AS origin_name, t.name AS target_name, t.relation AS target_relation
FROM link_order AS o
LEFT JOIN enterprise AS e ON e.id = o.enterprise_id
LEFT JOIN region AS r ON r.code = COALESCE(e.region, o.region)
LEFT JOIN node AS n ON n.id = o.origin
LEFT JOIN node AS t ON t.id = o.target
WHERE 1 = 1";

fn read(row: &Row) -> Result<OrderRow, StoreError> {
    let order: Order = row.json("body")?;
    let answer: Option<String> = row.get("answer")?;
    let state = row.word("state", OrderState::parse)?;
    let is_ours = row.get::<Option<NodeId>>("via")?.is_none();
    let is_for_us = row.get::<Option<String>>("target_relation")?.as_deref() == Some(Relation::Own.as_str());
    Ok(OrderRow {
        id: row.get("id")?,
        origin: row.get("origin")?,
        origin_name: row.get::<Option<String>>("origin_name")?.unwrap_or_else(|| order.origin_name.clone()),
        target_name: row.get("target_name")?,
        direction: match (is_ours, is_for_us) {
            (true, _) => OrderDirection::Sent,
            (_, true) => OrderDirection::Received,
            _ => OrderDirection::Passing,
        },
        enterprise: row.get("enterprise_id")?,
        enterprise_name: row.get("enterprise_name")?,
        region: row.get("region")?,
        region_name: row.get("region_name")?,
        sector: row.get("sector")?,
        is_confirmed: row.get::<Option<String>>("said")?.as_deref() == Some(state.as_str()),
        state,
        answer: answer
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|e| StoreError::Corrupt(format!("column answer: {e}")))?,
        order,
    })
}

/// `AND (…)`: orders that a grant holds. Who stands for an enterprise alone sees what it is asked here, not what authorities ask each other about it.
fn and_seen(q: &mut Sql, scope: &Scope) {
    if scope.node_wide() || scope.grants.is_empty() {
        q.and_visible(scope, OWNER);
        return;
    }
    for (i, grant) in scope.grants.iter().enumerate() {
        q.push(if i == 0 { "\n  AND ((" } else { " OR (" }, &[]);
        q.grant(grant, OWNER);
        if grant.enterprise.is_some() {
            q.push(" AND o.via IS NOT NULL AND t.relation = 'self'", &[]);
        }
        q.push(")", &[]);
    }
    q.push(")", &[]);
}

fn one(scope: &Scope, id: OrderId) -> Sql {
    let mut q = sql(SELECT);
    q.push("\n  AND o.id = {}", &[&id]);
    and_seen(&mut q, scope);
    q
}

impl Store {
    /// Orders under the scope, newest first.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`].
    pub async fn orders(&self, scope: &Scope, filter: &OrderFilter, paging: &Paging) -> Result<Page<OrderRow>, StoreError> {
        let mut q = sql(SELECT);
        and_seen(&mut q, scope);
        match filter.direction {
            None => {}
            Some(OrderDirection::Sent) => drop(q.push("\n  AND o.via IS NULL", &[])),
            Some(OrderDirection::Received) => drop(q.push("\n  AND o.via IS NOT NULL AND t.relation = 'self'", &[])),
            Some(OrderDirection::Passing) => drop(q.push("\n  AND o.via IS NOT NULL AND COALESCE(t.relation, '') <> 'self'", &[])),
        }
        if let Some(state) = filter.state {
            q.push("\n  AND o.state = {}", &[&state.as_str()]);
        }
        match filter.is_open {
            None => {}
            Some(true) => drop(q.push("\n  AND o.state IN ('sent', 'received')", &[])),
            Some(false) => drop(q.push("\n  AND o.state NOT IN ('sent', 'received')", &[])),
        }
        if let Some(day) = &filter.due_before {
            q.push("\n  AND o.state IN ('sent', 'received') AND o.due_on < {}", &[day]);
        }
        if let Some(enterprise) = filter.enterprise {
            q.push("\n  AND o.enterprise_id = {}", &[&enterprise]);
        }
        if let Some(cursor) = &paging.cursor {
            let after: OrderId = cursor.parse().map_err(|_| StoreError::Cursor)?;
            q.push("\n  AND o.id < {}", &[&after]);
        }
        // Ids begin with the instant at which they were made.
        q.push("\nORDER BY o.id DESC\nLIMIT {}", &[&paging.fetch()]);
        paging.page(self.db.rows(q).await?, |row| row.get("id"), read)
    }

    /// One order.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn order(&self, scope: &Scope, id: OrderId) -> Result<OrderRow, StoreError> {
        read(&self.db.row(one(scope, id)).await?.ok_or(StoreError::NotFound)?)
    }

    /// Nodes below, which orders can reach, by level and name. Unscoped: the caller shows those that somebody may order.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn order_targets(&self) -> Result<Vec<OrderTarget>, StoreError> {
        const TARGETS: &str =
            "SELECT n.id, n.name, n.level, n.region, r.name AS region_name, n.enterprise_id, e.name AS enterprise_name, e.region AS enterprise_region,
  e.sector AS enterprise_sector
FROM node AS n
INNER JOIN node AS w ON w.id = CASE n.relation WHEN 'child' THEN n.id ELSE n.via END AND w.relation = 'child'
LEFT JOIN region AS r ON r.code = n.region
LEFT JOIN enterprise AS e ON e.id = n.enterprise_id
WHERE n.relation IN ('child', 'behind') AND n.state <> 'revoked' AND w.state <> 'revoked'
ORDER BY n.region, n.name, n.id";
        let read = |row: &Row| {
            Ok(OrderTarget {
                id: row.get("id")?,
                name: row.get("name")?,
                level: row.word("level", NodeLevel::parse)?,
                region: row.get("region")?,
                region_name: row.get("region_name")?,
                enterprise: row.get("enterprise_id")?,
                enterprise_name: row.get("enterprise_name")?,
                enterprise_region: row.get("enterprise_region")?,
                enterprise_sector: row.get("enterprise_sector")?,
            })
        };
        self.db.rows(sql(TARGETS)).await?.iter().map(read).collect()
    }

    /// Makes an order and puts it on its way.
    ///
    /// # Errors
    /// [`StoreError::OutOfScope`], [`StoreError::Missing`] for a target that stands not below, [`StoreError::NotFound`] on a node without an id,
    /// [`StoreError::Database`].
    pub async fn make_order(&self, scope: &Scope, new: &NewOrder, now: Timestamp) -> Result<OrderRow, StoreError> {
        let mut change = self.change(scope, now).await?;
        let own = self.network.get().own.ok_or(StoreError::NotFound)?;
        if !stands_below(&mut change.tx, new.order.target).await? {
            return Err(StoreError::Missing { field: "target" });
        }
        let name = change.tx.row(sql("SELECT name FROM node WHERE id = $1").bind(own)).await?.ok_or(StoreError::NotFound)?.get("name")?;
        let order = Order { origin_name: name, made_at: now.micros(), withdrawn: None, ..new.order.clone() };
        let region = RegionCode::new(&order.region).ok_or(StoreError::Missing { field: "region" })?;
        let row = Kept { id: new.id, origin: own, via: None, enterprise: new.enterprise, region, state: OrderState::Sent, answer: None };
        insert(&mut change, &row, &order, &body_of(&order)).await?;
        change.told.order(new.id);
        // Also that it lies within the asker's territory.
        let made = current(&mut change, new.id).await?.ok_or(StoreError::OutOfScope)?;
        let detail = json!({"kind": order.kind, "title": order.title, "target": order.target.to_string(), "due_on": order.due_on});
        finish(change, "create", &made, detail).await?;
        Ok(made)
    }

    /// Takes an order back that was made here.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], also for one that was not made here; [`StoreError::Stale`] if nothing follows any more; [`StoreError::Database`].
    pub async fn withdraw_order(&self, scope: &Scope, id: OrderId, now: Timestamp) -> Result<OrderRow, StoreError> {
        let mut change = self.change(scope, now).await?;
        let before = current(&mut change, id).await?.filter(|row| row.direction == OrderDirection::Sent).ok_or(StoreError::NotFound)?;
        if !before.state.is_open() {
            return Err(StoreError::Stale);
        }
        let withdrawn = Some(OrderWithdrawal { by: scope.name.clone(), at: now.micros() });
        let order = Order { withdrawn, ..before.order };
        let update = sql("UPDATE link_order SET state = 'withdrawn', body = $1, ended_at_us = $2 WHERE id = $3");
        change.tx.run(update.bind(body_of(&order)).bind(now).bind(id)).await?;
        change.told.order(id);
        let after = current(&mut change, id).await?.ok_or(StoreError::NotFound)?;
        finish(change, "withdraw", &after, json!({"title": order.title})).await?;
        Ok(after)
    }

    /// Replies to a question that is to be replied to here.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], also for one that is another node's; [`StoreError::Stale`] if nothing follows any more; [`StoreError::Database`].
    pub async fn answer_order(&self, scope: &Scope, id: OrderId, text: &str, now: Timestamp) -> Result<OrderRow, StoreError> {
        let mut change = self.change(scope, now).await?;
        let before = current(&mut change, id).await?.filter(|row| row.direction == OrderDirection::Received).ok_or(StoreError::NotFound)?;
        if before.state != OrderState::Received || before.order.kind != OrderKind::Question.as_str() {
            return Err(StoreError::Stale);
        }
        let state = OrderState::Answered.as_str().to_owned();
        let answer = OrderAnswer { state, at: now.micros(), by: scope.name.clone(), text: text.to_owned(), ..OrderAnswer::default() };
        settle(&mut change, id, OrderState::Answered, &answer).await?;
        let after = current(&mut change, id).await?.ok_or(StoreError::NotFound)?;
        finish(change, "answer", &after, json!({"title": after.order.title})).await?;
        Ok(after)
    }

    /// Orders that this node is to carry out by itself, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn orders_to_do(&self) -> Result<Vec<OrderId>, StoreError> {
        let q = sql("SELECT o.id FROM link_order AS o
INNER JOIN node AS n ON n.id = o.target AND n.relation = 'self'
INNER JOIN node AS p ON p.id = o.via AND p.relation = 'parent'
WHERE o.state = 'received' AND o.kind IN ('open', 'act')
ORDER BY o.id
LIMIT $1");
        self.db.rows(q.bind(AT_ONCE)).await?.iter().map(|row| row.get("id")).collect()
    }

    /// Notes that what an order asks is not done, and why; `false` = it was settled meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn refuse_order(&self, id: OrderId, problems: Vec<OrderProblem>, now: Timestamp) -> Result<bool, StoreError> {
        let node = Scope::node();
        let mut change = self.change(&node, now).await?;
        if to_do(&mut change, id).await?.is_none() {
            return Ok(false);
        }
        let state = OrderState::Refused.as_str().to_owned();
        let mut answer = OrderAnswer { state, at: now.micros(), problems, ..OrderAnswer::default() };
        answer.problems.truncate(PROBLEMS_MAX);
        while body_of(&answer).len() > ANSWER_BYTES && answer.problems.pop().is_some() {}
        settle(&mut change, id, OrderState::Refused, &answer).await?;
        let after = current(&mut change, id).await?.ok_or(StoreError::NotFound)?;
        let codes: Vec<&str> = answer.problems.iter().map(|problem| problem.code.as_str()).collect();
        finish(change, "refuse", &after, json!({"title": after.order.title, "codes": codes})).await?;
        Ok(true)
    }

    /// Puts those orders on the way of a child once more of which their target has said nothing, or not that they were taken back: what a release
    /// refused that did not know of orders arrives once it is newer.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn tell_orders(&self, child: NodeId, now: Timestamp) -> Result<(), StoreError> {
        let node = Scope::node();
        // In line with every other change: what is read here is not older than what was told.
        let mut change = self.change(&node, now).await?;
        let q = sql("SELECT o.id FROM link_order AS o
INNER JOIN node AS n ON n.id = o.target
WHERE (o.said IS NULL OR (o.state = 'withdrawn' AND o.said <> o.state)) AND CASE n.relation WHEN 'child' THEN n.id ELSE n.via END = $1
ORDER BY o.id DESC
LIMIT $2");
        for row in change.tx.rows(q.bind(child).bind(AT_ONCE)).await? {
            change.told.order(row.get("id")?);
        }
        change.commit().await
    }
}

/// What whoever orders is called where their order is carried out.
fn orderer(order: &Order, origin_name: &str) -> String {
    format!("{}（{origin_name}）", order.by.name)
}

/// Name of a stranger `NODE/USER` who ordered something here; `None` for anybody else.
pub(crate) async fn name_of(tx: &mut Tx, by: &str) -> Result<Option<String>, StoreError> {
    let Some((node, user)) = by.split_once('/') else { return Ok(None) };
    let Ok(node) = node.parse::<NodeId>() else { return Ok(None) };
    let q = sql("SELECT o.body FROM link_order AS o WHERE o.origin = $1 AND o.body LIKE $2 ORDER BY o.id DESC LIMIT 1");
    let Some(row) = tx.row(q.bind(node).bind(format!("%\"user\":\"{user}\"%"))).await? else { return Ok(None) };
    let order: Order = row.json("body")?;
    Ok((order.by.user == user).then(|| orderer(&order, &order.origin_name)))
}

impl OrderRow {
    /// What whoever gave it is called here.
    pub fn orderer(&self) -> String {
        orderer(&self.order, &self.origin_name)
    }
}

impl RecordChange<'_> {
    /// An order that this node is to carry out; `None` = it was settled or taken back meanwhile. It stays so until the change commits.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn order(&mut self, id: OrderId) -> Result<Option<OrderRow>, StoreError> {
        to_do(self.change(), id).await
    }

    /// Notes, with the record that came of it, that an order is done.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn order_done(&mut self, id: OrderId, made: AnsweredRecord) -> Result<(), StoreError> {
        let change = self.change();
        let state = OrderState::Done.as_str().to_owned();
        let answer = OrderAnswer { state, at: change.now.micros(), record: Some(made), ..OrderAnswer::default() };
        settle(change, id, OrderState::Done, &answer).await?;
        let after = in_node(change, id).await?.ok_or(StoreError::NotFound)?;
        record(change, "carry_out", &after, json!({"title": after.order.title, "record": answer.record})).await
    }
}

/// An order as it is to be kept.
struct Kept {
    id: OrderId,
    origin: NodeId,
    via: Option<NodeId>,
    enterprise: Option<EnterpriseId>,
    region: RegionCode,
    state: OrderState,
    answer: Option<OrderAnswer>,
}

async fn insert(change: &mut Change<'_>, kept: &Kept, order: &Order, body: &str) -> Result<(), StoreError> {
    let insert = sql("INSERT INTO link_order (id, origin, target, via, kind, enterprise_id, region, due_on, state, said, body, answer, made_at_us, ended_at_us)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)");
    let insert = insert.bind(kept.id).bind(kept.origin).bind(order.target).bind(kept.via).bind(order.kind.as_str()).bind(kept.enterprise);
    let insert = insert.bind(&kept.region).bind(order.due_on.as_deref()).bind(kept.state.as_str());
    let insert = insert.bind(kept.answer.as_ref().map(|answer| answer.state.as_str())).bind(body).bind(kept.answer.as_ref().map(body_of));
    let ended_at = (!kept.state.is_open()).then_some(change.now);
    change.tx.run(insert.bind(Timestamp::from_micros(order.made_at)).bind(ended_at)).await.map(drop)
}

/// Texts, numbers and words alone: it always encodes.
fn body_of(body: &impl Serialize) -> String {
    serde_json::to_string(body).unwrap_or_default()
}

async fn current(change: &mut Change<'_>, id: OrderId) -> Result<Option<OrderRow>, StoreError> {
    let q = one(change.scope, id);
    change.tx.row(q).await?.as_ref().map(read).transpose()
}

/// Whoever asks: what the node itself looks at.
async fn in_node(change: &mut Change<'_>, id: OrderId) -> Result<Option<OrderRow>, StoreError> {
    change.tx.row(one(&Scope::node(), id)).await?.as_ref().map(read).transpose()
}

async fn to_do(change: &mut Change<'_>, id: OrderId) -> Result<Option<OrderRow>, StoreError> {
    // Whoever was left orders nothing here any more.
    let q = sql("SELECT o.id FROM link_order AS o INNER JOIN node AS p ON p.id = o.via AND p.relation = 'parent' WHERE o.id = $1").bind(id);
    if change.tx.row(q).await?.is_none() {
        return Ok(None);
    }
    let row = in_node(change, id).await?;
    Ok(row.filter(|row| row.direction == OrderDirection::Received && row.state == OrderState::Received))
}

/// The target's word, here at the target.
async fn settle(change: &mut Change<'_>, id: OrderId, state: OrderState, answer: &OrderAnswer) -> Result<(), StoreError> {
    let update = sql("UPDATE link_order SET state = $1, said = $2, answer = $3, ended_at_us = $4 WHERE id = $5");
    let ended_at = (!state.is_open()).then_some(change.now);
    let update = update.bind(state.as_str()).bind(state.as_str()).bind(body_of(answer)).bind(ended_at).bind(id);
    change.tx.run(update).await?;
    change.told.answer(id);
    Ok(())
}

async fn record(change: &mut Change<'_>, action: &'static str, after: &OrderRow, detail: Json) -> Result<(), StoreError> {
    let row = json!({
        "id": after.id.to_string(), "origin": after.origin.to_string(), "state": after.state.as_str(), "enterprise": after.enterprise,
        "region": after.region, "order": after.order, "answer": after.answer,
    });
    let holder = Holder { enterprise: after.enterprise, region: Some(after.region.clone()), sector: after.sector.clone() };
    change.tell("order", &json!({"id": after.id.to_string(), "state": after.state.as_str()})).await?;
    change.record(AuditEntry { action, noun: "order", subject: after.id.to_string(), detail, row, holder }).await
}

async fn finish(mut change: Change<'_>, action: &'static str, after: &OrderRow, detail: Json) -> Result<(), StoreError> {
    record(&mut change, action, after, detail).await?;
    change.commit().await
}

/// Whether a node is a child, or is heard of behind one.
async fn stands_below(tx: &mut Tx, id: NodeId) -> Result<bool, StoreError> {
    let q = sql("SELECT n.id FROM node AS n
INNER JOIN node AS w ON w.id = CASE n.relation WHEN 'child' THEN n.id ELSE n.via END AND w.relation = 'child'
WHERE n.id = $1 AND n.relation IN ('child', 'behind')");
    Ok(tx.row(q.bind(id)).await?.is_some())
}

/// Orders on the way to their targets, each with the child through which that is heard.
pub(crate) async fn down(tx: &mut Tx, ids: &BTreeSet<OrderId>) -> Result<Vec<(NodeId, Entry)>, StoreError> {
    const DOWN: &str = "SELECT o.id, o.origin, o.body, w.id AS way
FROM link_order AS o
INNER JOIN node AS n ON n.id = o.target AND n.relation IN ('child', 'behind')
INNER JOIN node AS w ON w.id = CASE n.relation WHEN 'child' THEN n.id ELSE n.via END AND w.relation = 'child'
WHERE 1 = 1";
    let rows = among(tx, DOWN, "o.id", &Vec::from_iter(ids)).await?;
    rows.iter().map(|row| Ok((row.get("way")?, passed("order", row, "body")?))).collect()
}

/// What targets said, for those above who gave the orders.
pub(crate) async fn up(tx: &mut Tx, ids: &BTreeSet<OrderId>) -> Result<Vec<Entry>, StoreError> {
    // To whoever it came from, not to one who stands above since.
    const UP: &str = "SELECT o.id, o.origin, o.answer FROM link_order AS o
INNER JOIN node AS p ON p.id = o.via AND p.relation = 'parent'
WHERE o.answer IS NOT NULL";
    among(tx, UP, "o.id", &Vec::from_iter(ids)).await?.iter().map(|row| passed("answer", row, "answer")).collect()
}

/// As it was told, with what a node between does not know of.
fn passed(kind: &'static str, row: &Row, column: &str) -> Result<Entry, StoreError> {
    let body: Json = row.json(column)?;
    entry(kind, row.get("origin")?, row.get::<OrderId>("id")?, &body)
}

/// Moves the orders about a division whose code was replaced; how many those were.
pub(crate) async fn redivide(store: &Store, redivision: &Redivision, now: Timestamp) -> Result<u64, StoreError> {
    let node = Scope::node();
    let mut change = store.change(&node, now).await?;
    let q = sql("UPDATE link_order SET region = $1 WHERE region = $2 RETURNING id").bind(&redivision.to).bind(&redivision.from);
    let rows = change.tx.rows(q).await?;
    for row in &rows {
        let after = in_node(&mut change, row.get("id")?).await?.ok_or(StoreError::NotFound)?;
        let detail = redivision.reason(json!({"region": [redivision.from, redivision.to]}));
        record(&mut change, "redivide", &after, detail).await?;
    }
    change.commit().await?;
    Ok(rows.len() as u64)
}

// ---- what comes from others

/// That a text is short and holds no control characters.
fn is_sound(text: &str, max: usize) -> bool {
    text.chars().count() <= max && !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
}

fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && is_sound(text, NAME_MAX)
}

fn is_day(text: &str) -> bool {
    text.len() == 10 && text.bytes().enumerate().all(|(i, b)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() })
}

/// That no text in it holds what a database does not keep.
fn is_plain(json: &Json) -> bool {
    match json {
        Json::String(text) => is_sound(text, usize::MAX),
        Json::Array(all) => all.iter().all(is_plain),
        Json::Object(all) => all.iter().all(|(key, value)| is_name(key) && is_plain(value)),
        _ => true,
    }
}

/// That an order is one, as far as every node between looks at it.
fn check_order(order: &Order) -> Result<RegionCode, Fault> {
    let broken = Fault::Refused("body");
    let by = &order.by;
    let is_sound = is_name(&order.kind)
        && is_name(&order.origin_name)
        && is_name(&order.title)
        && is_sound(&order.text, TEXT_MAX)
        && order.due_on.as_deref().is_none_or(is_day)
        && order.enterprise.as_ref().is_none_or(|e| is_name(&e.code) && is_name(&e.name))
        && is_name(&by.name)
        && is_sound(&by.user, NAME_MAX)
        && by.roles.len() <= ROLES_MAX
        && by.roles.iter().all(|role| is_name(role))
        && order.withdrawn.as_ref().is_none_or(|word| is_name(&word.by))
        && order.step.as_ref().is_none_or(|step| {
            is_name(&step.register) && is_name(&step.transition) && step.fields.iter().all(|(id, value)| is_name(id) && is_plain(value))
        });
    match RegionCode::new(&order.region) {
        Some(region) if is_sound => Ok(region),
        _ => Err(broken),
    }
}

/// That its target can carry it out.
fn check_kind(order: &Order) -> Result<(), Fault> {
    let kind = OrderKind::parse(&order.kind).ok_or(Fault::Refused("kind"))?;
    let fits = match (kind, &order.step) {
        (OrderKind::Question, step) => step.is_none(),
        (_, None) => false,
        (OrderKind::Open, Some(step)) => step.record.is_none(),
        (OrderKind::Act, Some(step)) => step.record.is_some(),
    };
    if fits { Ok(()) } else { Err(Fault::Refused("body")) }
}

fn check_answer(answer: &OrderAnswer, kind: &str) -> Result<OrderState, Fault> {
    let state = OrderState::parse(&answer.state).filter(|state| state.is_said_of(kind));
    let is_param = |(name, value): (&String, &String)| is_name(name) && is_sound(value, PARAM_MAX);
    let is_problem = |p: &OrderProblem| {
        is_name(&p.code) && p.field.as_deref().is_none_or(|field| is_sound(field, NAME_MAX)) && p.params.iter().all(is_param)
    };
    let is_record = |r: &AnsweredRecord| is_name(&r.register) && is_sound(&r.number, NAME_MAX) && is_sound(&r.title, NAME_MAX);
    let is_sound = is_sound(&answer.by, NAME_MAX)
        && is_sound(&answer.text, TEXT_MAX)
        && answer.problems.len() <= PROBLEMS_MAX
        && answer.problems.iter().all(is_problem)
        && answer.record.as_ref().is_none_or(is_record);
    state.filter(|_| is_sound).ok_or(Fault::Refused("body"))
}

impl Apply<'_> {
    /// From the parent: an order, for this node or for one below.
    pub(crate) async fn order(&mut self, origin: NodeId, id: &str, text: &str) -> Result<(), Fault> {
        let id: OrderId = id.parse().map_err(|_| Fault::Refused("subject"))?;
        let is_above = origin != self.own && (origin == self.peer.id || self.below.contains(&origin));
        if !self.is_parent || !is_above {
            return Err(Fault::Refused("origin"));
        }
        let order: Order = parse(text)?;
        let region = check_order(&order)?;
        let is_ours = order.target == self.own;
        if is_ours {
            check_kind(&order)?;
        } else if !stands_below(&mut self.change.tx, order.target).await? {
            return Err(Fault::Refused("unknown"));
        }
        let now = self.change.now;
        let withdrawn = || OrderAnswer { state: OrderState::Withdrawn.as_str().to_owned(), at: now.micros(), ..OrderAnswer::default() };
        if let Some(before) = in_node(&mut self.change, id).await? {
            if before.origin != origin || before.order.target != order.target || before.direction == OrderDirection::Sent {
                return Err(Fault::Refused("home"));
            }
            if order.withdrawn.is_some() && before.state.is_open() {
                if is_ours {
                    settle(&mut self.change, id, OrderState::Withdrawn, &withdrawn()).await?;
                }
                let update = sql("UPDATE link_order SET state = 'withdrawn', body = $1, ended_at_us = $2 WHERE id = $3");
                self.change.tx.run(update.bind(text).bind(now).bind(id)).await?;
                self.count("order");
            }
        } else {
            let (state, answer) = match (is_ours, order.withdrawn.is_some()) {
                (true, true) => (OrderState::Withdrawn, Some(withdrawn())),
                (true, false) => {
                    let state = OrderState::Received.as_str().to_owned();
                    (OrderState::Received, Some(OrderAnswer { state, at: now.micros(), ..OrderAnswer::default() }))
                }
                (false, true) => (OrderState::Withdrawn, None),
                (false, false) => (OrderState::Sent, None),
            };
            let enterprise = self.ordered_enterprise(&order).await?;
            let kept = Kept { id, origin, via: Some(self.peer.id), enterprise, region, state, answer };
            insert(&mut self.change, &kept, &order, text).await?;
            self.count("order");
        }
        self.change.told.order(id);
        self.change.told.answer(id);
        self.done.orders |= is_ours;
        Ok(())
    }

    /// What it is about, as it is called here. Its code says which: an id may be another's after a backup.
    async fn ordered_enterprise(&mut self, order: &Order) -> Result<Option<EnterpriseId>, StoreError> {
        let Some(enterprise) = &order.enterprise else { return Ok(None) };
        let q = sql("SELECT COALESCE(e.merged_into, e.id) AS id FROM enterprise AS e WHERE e.code = $1").bind(enterprise.code.as_str());
        self.change.tx.row(q).await?.map(|row| row.get("id")).transpose()
    }

    /// From a child: what the target of an order says of it.
    pub(crate) async fn answer(&mut self, origin: NodeId, id: &str, text: &str) -> Result<(), Fault> {
        let id: OrderId = id.parse().map_err(|_| Fault::Refused("subject"))?;
        let answer: OrderAnswer = parse(text)?;
        let before = in_node(&mut self.change, id).await?.filter(|row| row.origin == origin).ok_or(Fault::Refused("unknown"))?;
        let target = before.order.target;
        if self.is_parent || !(target == self.peer.id || self.below.contains(&target)) {
            return Err(Fault::Refused("origin"));
        }
        let said = check_answer(&answer, &before.order.kind)?;
        if said == OrderState::Withdrawn && before.order.withdrawn.is_none() {
            return Err(Fault::Refused("body"));
        }
        // One that was restored from a backup begins anew; what it said last stays said until it says as much again.
        if before.answer.as_ref() == Some(&answer) || (before.state.is_settled() && !said.is_settled()) {
            return Ok(());
        }
        let state = if before.state == OrderState::Withdrawn && said == OrderState::Received { before.state } else { said };
        let update = sql("UPDATE link_order SET state = $1, said = $2, answer = $3, ended_at_us = $4 WHERE id = $5");
        let ended_at = (!state.is_open()).then_some(self.change.now);
        let update = update.bind(state.as_str()).bind(said.as_str()).bind(text).bind(ended_at).bind(id);
        self.change.tx.run(update).await?;
        self.change.told.answer(id);
        self.count("order");
        if said.is_settled() {
            // A last word is kept as it was said, also one that another follows, of a target that was restored.
            let after = in_node(&mut self.change, id).await?.ok_or(StoreError::NotFound)?;
            let detail = json!({"from": self.peer.id.to_string(), "state": answer.state, "by": answer.by, "text": answer.text});
            record(&mut self.change, "answer", &after, detail).await?;
        }
        Ok(())
    }
}

/// The roles of whoever ordered that count where it is carried out: what a regulator may do, never what an enterprise does for itself.
pub fn regulators(roles: &[String]) -> Vec<Role> {
    const COUNT: [Role; 3] = [Role::Supervisor, Role::Inspector, Role::Leader];
    COUNT.into_iter().filter(|role| roles.iter().any(|word| word == role.as_str())).collect()
}
