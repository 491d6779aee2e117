//! Nodes of the network (节点): this one, its parent, its children, and those behind them. Node-wide: nobody with a territory sees them.
//!
//! What people do here is audited; what a node says of itself every few seconds is not. Start at [`Store::nodes`].

use anlan_model::noun::{Limits, Point};
use anlan_model::{DeviceId, EnterpriseId, NodeId, NodeLevel, PointId, RegionCode, Scope, Timestamp};
use serde_json::{Value as Json, json};

use crate::audit::{Change, Entry, Holder, check_revision, difference};
use crate::db::{Row, sql};
use crate::{Store, StoreError, require_node_wide};

/// Where a node stands, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// This one.
    Own,
    /// The one above.
    Parent,
    /// One directly below.
    Child,
    /// One behind a neighbour: below a child, or above the parent.
    Behind,
}

impl Relation {
    const ALL: [Self; 4] = [Self::Own, Self::Parent, Self::Child, Self::Behind];
    /// The word on the API and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Own => "self",
            Self::Parent => "parent",
            Self::Child => "child",
            Self::Behind => "behind",
        }
    }
    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.as_str() == word)
    }
}

/// Whether a node may take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It may.
    Active,
    /// Nothing of it is taken until a person has said what happened.
    Frozen,
    /// Its certificate is void for ever.
    Revoked,
}

impl NodeState {
    const ALL: [Self; 3] = [Self::Active, Self::Frozen, Self::Revoked];
    /// The word on the API and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Frozen => "frozen",
            Self::Revoked => "revoked",
        }
    }
    /// The state named by `word`.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == word)
    }
}

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeRow {
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
    /// Its code.
    pub enterprise_code: Option<String>,
    /// Its name.
    pub enterprise_name: Option<String>,
    /// Where it stands.
    pub relation: Relation,
    /// The neighbour through which one behind it is heard.
    pub via: Option<NodeId>,
    /// Whether it may take part.
    pub state: NodeState,
    /// Why it may not.
    pub reason: Option<String>,
    /// Cut by a person.
    pub paused: bool,
    /// SHA-256 of its public key, hexadecimal.
    pub fingerprint: Option<String>,
    /// Serial number of its certificate.
    pub serial: Option<String>,
    /// End of its certificate, real time.
    pub not_after: Option<Timestamp>,
    /// Of the parent: host and port.
    pub address: Option<String>,
    /// What goes to it or comes from it.
    pub agreement: Json,
    /// How many times it had started when it was last heard.
    pub starts: i64,
    /// Which start that was.
    pub nonce: Option<String>,
    /// Its heartbeat here.
    pub point: Option<PointId>,
    /// What it last said of itself.
    pub said: Json,
    /// When it was last heard.
    pub seen_at: Option<Timestamp>,
    /// Counts changes by people.
    pub revision: i64,
}

/// A neighbour, as pairing and its own words describe it.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbour {
    /// Its id.
    pub id: NodeId,
    /// Name.
    pub name: String,
    /// Level.
    pub level: NodeLevel,
    /// Territory.
    pub region: Option<RegionCode>,
    /// Of a child that is an enterprise's node: which enterprise here.
    pub enterprise: Option<EnterpriseId>,
    /// SHA-256 of its public key, hexadecimal.
    pub fingerprint: String,
    /// Of the parent: host and port.
    pub address: Option<String>,
}

/// The certificate that lets a child in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// PEM chain.
    pub certificate: String,
    /// SHA-256 of the child's public key, hexadecimal.
    pub fingerprint: String,
    /// Serial number.
    pub serial: String,
    /// Its end, real time.
    pub not_after: Timestamp,
}

/// Fields to change; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeChange {
    /// The revision the change was made for.
    pub revision: i64,
    /// New name.
    pub name: Option<String>,
    /// Cut, or mended.
    pub paused: Option<bool>,
    /// New agreement.
    pub agreement: Option<Json>,
}

/// What happened to a frozen node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// It was set back to a backup.
    Restored,
    /// Another machine stands in its place.
    Replaced,
}

impl Resume {
    /// The word on the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restored => "restored",
            Self::Replaced => "replaced",
        }
    }
    /// What `word` means.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Restored, Self::Replaced].into_iter().find(|r| r.as_str() == word)
    }
}

const SELECT: &str =
    "SELECT n.id, n.name, n.level, n.region, n.enterprise_id, n.relation, n.via, n.state, n.reason, n.paused, n.fingerprint, n.serial,
  n.not_after_us, n.address, n.agreement, n.starts, n.nonce, n.point_id, n.said, n.seen_at_us, n.revision,
  e.code AS enterprise_code, e.name AS enterprise_name, r.name AS region_name
FROM node AS n
LEFT JOIN enterprise AS e ON e.id = n.enterprise_id
LEFT JOIN region AS r ON r.code = n.region
WHERE 1 = 1";
/// This one, the parent, the children, then those behind.
const ORDER: &str = "\nORDER BY CASE n.relation WHEN 'self' THEN 0 WHEN 'parent' THEN 1 WHEN 'child' THEN 2 ELSE 3 END, n.id";

impl Store {
    /// Every node. Unscoped: for the node itself.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn all_nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        self.db.rows(sql(&format!("{SELECT}{ORDER}"))).await?.iter().map(read).collect()
    }

    /// Every node; empty for an asker who is not node-wide.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn nodes(&self, scope: &Scope) -> Result<Vec<NodeRow>, StoreError> {
        if scope.node_wide() { self.all_nodes().await } else { Ok(Vec::new()) }
    }

    /// One node.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], also for an asker who is not node-wide, [`StoreError::Database`].
    pub async fn node(&self, scope: &Scope, id: NodeId) -> Result<NodeRow, StoreError> {
        if !scope.node_wide() {
            return Err(StoreError::NotFound);
        }
        let mut q = sql(SELECT);
        q.push("\n  AND n.id = {}", &[&id]);
        read(&self.db.row(q).await?.ok_or(StoreError::NotFound)?)
    }

    /// This node's id, once it has one.
    pub fn own_node(&self) -> Option<NodeId> {
        self.network.get().own
    }

    /// The parent's id, if there is one.
    pub fn parent_node(&self) -> Option<NodeId> {
        self.network.get().parent
    }

    /// Notes who this node is, as its configuration says; at every start.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the database belongs to another node, [`StoreError::Database`].
    pub async fn put_self(
        &self,
        id: NodeId,
        name: &str,
        level: NodeLevel,
        region: Option<&RegionCode>,
        now: Timestamp,
    ) -> Result<NodeRow, StoreError> {
        let scope = Scope::node();
        let mut change = self.change(&scope, now).await?;
        let own = self.network.get().own;
        if own.is_some_and(|own| own != id) {
            return Err(StoreError::Corrupt(format!("the database is of another node than {id}")));
        }
        let before = if own.is_some() { Some(current(&mut change, id).await?) } else { None };
        if let Some(before) = before.filter(|b| b.name == name && b.level == level && b.region.as_ref() == region) {
            return Ok(before);
        }
        let put = sql("INSERT INTO node (id, name, level, region, relation, state, agreement, said) VALUES ($1, $2, $3, $4, 'self', 'active', '{}', '{}')
ON CONFLICT (id) DO UPDATE SET name = excluded.name, level = excluded.level, region = excluded.region, revision = node.revision + 1");
        change.tx.run(put.bind(id).bind(name).bind(level.as_str()).bind(region)).await?;
        change.told.above();
        finish(change, "update", id, json!({"name": name, "level": level, "region": region})).await
    }

    /// Notes the parent, and puts everything there is before it if it is a new one.
    ///
    /// # Errors
    /// [`StoreError::Taken`] for a node that stands below this one, [`StoreError::Database`].
    pub async fn put_parent(&self, scope: &Scope, new: &Neighbour, now: Timestamp) -> Result<NodeRow, StoreError> {
        require_node_wide(scope)?;
        let mut change = self.change(scope, now).await?;
        refuse_others(&mut change, new.id, Relation::Parent).await?;
        let before = self.network.get();
        // Alarms are projected beside changes: from here on they wait, and then tell the parent.
        change.tx.run(sql("UPDATE projection SET position = position + 0 WHERE shard = 0")).await?;
        let is_new = before.parent != Some(new.id);
        if is_new {
            forget_above(&mut change).await?;
        }
        put(&mut change, new, Relation::Parent).await?;
        let update = sql("UPDATE node SET address = $1 WHERE id = $2").bind(new.address.as_deref()).bind(new.id);
        change.tx.run(update).await?;
        if is_new {
            change.tx.run(sql("DELETE FROM link_inbox WHERE node = $1").bind(new.id)).await?;
            let standing = crate::feed::standing_in(&mut change.tx, self.network.get()).await?;
            crate::feed::fill(&mut change.tx, standing, &self.network.registers(), now).await?;
        }
        change.told.above();
        finish(
            change,
            "join",
            new.id,
            json!({"name": new.name, "level": new.level, "address": new.address, "fingerprint": new.fingerprint}),
        )
        .await
    }

    /// Leaves the parent: nothing is told to anybody above any more.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is none, [`StoreError::Database`].
    pub async fn leave_parent(&self, scope: &Scope, now: Timestamp) -> Result<(), StoreError> {
        require_node_wide(scope)?;
        let parent = self.network.get().parent.ok_or(StoreError::NotFound)?;
        let mut change = self.change(scope, now).await?;
        forget_above(&mut change).await?;
        change.tx.run(sql("DELETE FROM link_feed WHERE way = $1").bind(crate::feed::UP)).await?;
        change.renames = true;
        let row = json!({"id": parent.to_string()});
        change
            .record(Entry { action: "leave", noun: "node", subject: parent.to_string(), detail: json!({}), row, holder: Holder::NONE })
            .await?;
        change.commit().await
    }

    /// Changes a node: its name here, cut or mended, what is agreed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Stale`], [`StoreError::OutOfScope`], [`StoreError::Database`].
    pub async fn update_node(&self, scope: &Scope, id: NodeId, wanted: &NodeChange, now: Timestamp) -> Result<NodeRow, StoreError> {
        require_node_wide(scope)?;
        let mut change = self.change(scope, now).await?;
        let before = current(&mut change, id).await?;
        check_revision(before.revision, wanted.revision)?;
        let name = wanted.name.clone().unwrap_or_else(|| before.name.clone());
        let paused = wanted.paused.unwrap_or(before.paused);
        let agreement = wanted.agreement.clone().unwrap_or_else(|| before.agreement.clone());
        let update = sql("UPDATE node SET name = $1, paused = $2, agreement = $3, revision = revision + 1 WHERE id = $4");
        change.tx.run(update.bind(name).bind(paused).bind(agreement.to_string()).bind(id)).await?;
        let after = current(&mut change, id).await?;
        let action = match wanted.paused {
            Some(true) if !before.paused => "pause",
            Some(false) if before.paused => "mend",
            _ => "update",
        };
        finish(change, action, id, difference(&canonical(&before), &canonical(&after))).await
    }

    /// Voids the certificate of a child for ever; it comes back only by a new invitation.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for anything but a child, [`StoreError::OutOfScope`], [`StoreError::Database`].
    pub async fn revoke_node(&self, scope: &Scope, id: NodeId, reason: &str, now: Timestamp) -> Result<NodeRow, StoreError> {
        self.set_state(scope, id, NodeState::Revoked, reason, now).await
    }

    /// Takes nothing of a child until a person has said what happened.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for anything but a child, [`StoreError::Database`].
    pub async fn freeze_node(&self, id: NodeId, reason: &str, now: Timestamp) -> Result<NodeRow, StoreError> {
        self.set_state(&Scope::node(), id, NodeState::Frozen, reason, now).await
    }

    async fn set_state(&self, scope: &Scope, id: NodeId, state: NodeState, reason: &str, now: Timestamp) -> Result<NodeRow, StoreError> {
        require_node_wide(scope)?;
        let mut change = self.change(scope, now).await?;
        let before = current(&mut change, id).await?;
        if before.relation != Relation::Child {
            return Err(StoreError::NotFound);
        }
        // What is revoked stays so: only an invitation leads back.
        if before.state == state || before.state == NodeState::Revoked {
            return Ok(before);
        }
        let update = sql("UPDATE node SET state = $1, reason = $2, revision = revision + 1 WHERE id = $3");
        change.tx.run(update.bind(state.as_str()).bind(reason).bind(id)).await?;
        let action = if state == NodeState::Frozen { "freeze" } else { "revoke" };
        finish(change, action, id, json!({ "reason": reason })).await
    }

    /// Takes a frozen child again. Its start, its feed and its log are read anew: positions of a log that was set back mean something else.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for one that is not frozen, [`StoreError::OutOfScope`], [`StoreError::Database`].
    pub async fn resume_node(&self, scope: &Scope, id: NodeId, as_: Resume, now: Timestamp) -> Result<NodeRow, StoreError> {
        require_node_wide(scope)?;
        let mut change = self.change(scope, now).await?;
        let before = current(&mut change, id).await?;
        if before.relation != Relation::Child || before.state != NodeState::Frozen {
            return Err(StoreError::NotFound);
        }
        let update =
            sql("UPDATE node SET state = 'active', reason = NULL, starts = 0, nonce = NULL, revision = revision + 1 WHERE id = $1");
        change.tx.run(update.bind(id)).await?;
        change.tx.run(sql("DELETE FROM link_inbox WHERE node = $1").bind(id)).await?;
        finish(change, "resume", id, json!({ "as": as_.as_str() })).await
    }

    /// Notes the certificate that a child, or this node for its parent, holds now.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn note_certificate(&self, id: NodeId, admission: &Admission, now: Timestamp) -> Result<(), StoreError> {
        let scope = Scope::node();
        let mut change = self.change(&scope, now).await?;
        let update = sql("UPDATE node SET fingerprint = $1, serial = $2, not_after_us = $3 WHERE id = $4");
        let update = update.bind(admission.fingerprint.as_str()).bind(admission.serial.as_str()).bind(admission.not_after).bind(id);
        if change.tx.run(update).await? == 0 {
            return Err(StoreError::NotFound);
        }
        let detail = json!({"serial": admission.serial, "not_after_us": admission.not_after.micros()});
        finish(change, "renew", id, detail).await.map(drop)
    }

    /// Notes the start of a neighbour that speaks now, and that its feed is read on from `feed` at most.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn meet(&self, id: NodeId, starts: u64, nonce: u64, feed: i64) -> Result<(), StoreError> {
        let starts = i64::try_from(starts).map_err(|_| StoreError::Corrupt("a node started more often than 63 bits count".to_owned()))?;
        let mut tx = self.db.begin().await?;
        let update = sql("UPDATE node SET starts = $1, nonce = $2 WHERE id = $3").bind(starts).bind(nonce.to_string()).bind(id);
        if tx.run(update).await? == 0 {
            return Err(StoreError::NotFound);
        }
        let which = format!("{starts}:{nonce}");
        let anew = sql("INSERT INTO link_inbox (node, feed, feed_of, log) VALUES ($1, 0, $2, '')
ON CONFLICT (node) DO UPDATE SET feed = CASE WHEN link_inbox.feed < $3 THEN link_inbox.feed ELSE $4 END");
        tx.run(anew.bind(id).bind(which).bind(feed).bind(feed)).await?;
        tx.commit().await
    }

    /// Notes what a neighbour said of itself and when it was heard; no audit.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn note_said(&self, id: NodeId, said: &Json, seen_at: Timestamp) -> Result<(), StoreError> {
        self.note_all_said(&[(id, said.clone(), seen_at)]).await
    }

    /// Which readings a neighbour wants to travel, as it says.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn note_wish(&self, id: NodeId, word: &str) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        if let Some(row) = tx.row(sql("SELECT said FROM node WHERE id = $1").bind(id)).await? {
            let mut said: Json = row.json("said")?;
            said["readings"] = word.into();
            tx.run(sql("UPDATE node SET said = $1 WHERE id = $2").bind(said.to_string()).bind(id)).await?;
        }
        tx.commit().await
    }

    /// What several said of themselves and when, in one transaction: a parent may have a thousand children.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn note_all_said(&self, all: &[(NodeId, Json, Timestamp)]) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        for (id, said, seen_at) in all {
            let update = sql("UPDATE node SET said = $1, seen_at_us = $2 WHERE id = $3");
            tx.run(update.bind(said.to_string()).bind(*seen_at).bind(*id)).await?;
        }
        tx.commit().await
    }
}

/// Takes a child in, and gives it a heartbeat here; the device of that, if it is new.
pub(crate) async fn admit(change: &mut Change<'_>, new: &Neighbour, admission: &Admission) -> Result<Option<DeviceId>, StoreError> {
    refuse_strangers(change, new).await?;
    put(change, new, Relation::Child).await?;
    let update = sql("UPDATE node SET serial = $1, not_after_us = $2 WHERE id = $3");
    change.tx.run(update.bind(admission.serial.as_str()).bind(admission.not_after).bind(new.id)).await?;
    // It begins anew: what was known of an earlier life of it says nothing.
    change.tx.run(sql("DELETE FROM link_inbox WHERE node = $1").bind(new.id)).await?;
    change.told.above();
    change.told.newcomer(new.id);
    change.told.node_below(new.id);
    heartbeat(change, new).await
}

/// The device and point whose readings say how late the child is heard. Silence raises the ordinary alarm.
async fn heartbeat(change: &mut Change<'_>, new: &Neighbour) -> Result<Option<DeviceId>, StoreError> {
    let row = change.tx.row(sql("SELECT point_id FROM node WHERE id = $1").bind(new.id)).await?.ok_or(StoreError::NotFound)?;
    if row.get::<Option<PointId>>("point_id")?.is_some() {
        return Ok(None);
    }
    let code = format!("node-{}", &new.id.to_string()[..8]);
    let insert = sql("INSERT INTO device (code, name, enterprise_id, protocol, secret_hash) VALUES ($1, $2, $3, 'link', $4) RETURNING id");
    let insert = insert.bind(code.as_str()).bind(new.name.as_str()).bind(new.enterprise).bind(NO_SECRET);
    let device: DeviceId = change.tx.row(insert).await?.ok_or(StoreError::NotFound)?.get("id")?;
    let mut point = Point {
        id: PointId::new(0),
        device,
        enterprise: new.enterprise,
        site: String::new(),
        code: "heartbeat".to_owned(),
        name: "联网心跳".to_owned(),
        unit: "s".to_owned(),
        kind: String::new(),
        period_s: HEARTBEAT_S,
        range_low: None,
        range_high: None,
        limits: Limits::default(),
        limits_source: None,
        confirmed: true,
        place: None,
        revision: 1,
    };
    point.id = crate::point::insert(change, &point).await?;
    change.tx.run(sql("UPDATE node SET point_id = $1 WHERE id = $2").bind(point.id).bind(new.id)).await?;
    let holder = change.holder(new.enterprise).await?;
    let row = json!({"id": device, "code": code, "name": new.name, "enterprise": new.enterprise, "protocol": "link"});
    change.tell("device", &row).await?;
    change.tell("point", &crate::point::canonical(&point)).await?;
    change.record(Entry { action: "create", noun: "device", subject: device.to_string(), detail: row.clone(), row, holder }).await?;
    Ok(Some(device))
}

/// No secret has this hash.
pub(crate) const NO_SECRET: [u8; 32] = [0; 32];
/// Seconds between readings of a heartbeat, domain time.
const HEARTBEAT_S: f64 = 10.0;

async fn put(change: &mut Change<'_>, new: &Neighbour, relation: Relation) -> Result<(), StoreError> {
    let put = sql("INSERT INTO node (id, name, level, region, enterprise_id, relation, state, fingerprint, agreement, said)
VALUES ($1, $2, $3, $4, $5, $6, 'active', $7, '{\"readings\":\"all\"}', '{}')
ON CONFLICT (id) DO UPDATE SET name = excluded.name, level = excluded.level, region = excluded.region, enterprise_id = excluded.enterprise_id,
  relation = excluded.relation, via = NULL, state = 'active', reason = NULL, fingerprint = excluded.fingerprint, starts = 0, nonce = NULL,
  revision = node.revision + 1");
    let put = put.bind(new.id).bind(new.name.as_str()).bind(new.level.as_str()).bind(new.region.as_ref()).bind(new.enterprise);
    change.tx.run(put.bind(relation.as_str()).bind(new.fingerprint.as_str())).await?;
    change.renames = true;
    Ok(())
}

/// A node chooses its own id when it asks. One that is a child here is the same node only with the same key, unless that child was revoked; one that is
/// heard of behind a child must first be gone there.
async fn refuse_strangers(change: &mut Change<'_>, new: &Neighbour) -> Result<(), StoreError> {
    let row = change.tx.row(sql("SELECT relation, state, fingerprint FROM node WHERE id = $1").bind(new.id)).await?;
    let Some(row) = row else { return Ok(()) };
    let is_same = row.get::<Option<String>>("fingerprint")?.as_deref() == Some(new.fingerprint.as_str());
    let is_revoked = row.word("state", NodeState::parse)? == NodeState::Revoked;
    let is_child = row.word("relation", Relation::parse)? == Relation::Child;
    if is_child && (is_same || is_revoked) { Ok(()) } else { Err(StoreError::Taken { field: "node" }) }
}

/// That the node does not stand elsewhere: it is unknown, or has this relation, or is heard of behind somebody.
async fn refuse_others(change: &mut Change<'_>, id: NodeId, relation: Relation) -> Result<(), StoreError> {
    let row = change.tx.row(sql("SELECT relation FROM node WHERE id = $1").bind(id)).await?;
    let known = row.map(|row| row.word("relation", Relation::parse)).transpose()?;
    if known.is_none_or(|known| known == relation || known == Relation::Behind) { Ok(()) } else { Err(StoreError::Taken { field: "node" }) }
}

/// Removes the parent and those above it, and what they offered and said.
async fn forget_above(change: &mut Change<'_>) -> Result<(), StoreError> {
    if let Some(own) = change.own() {
        crate::offer::forget_above(change, own).await?;
        crate::roster::forget_above(change, own).await?;
    }
    change
        .tx
        .run(sql("DELETE FROM node WHERE relation = 'behind' AND via IN (SELECT p.id FROM node AS p WHERE p.relation = 'parent')"))
        .await?;
    change.tx.run(sql("DELETE FROM node WHERE relation = 'parent'")).await.map(drop)
}

pub(crate) async fn current(change: &mut Change<'_>, id: NodeId) -> Result<NodeRow, StoreError> {
    let mut q = sql(SELECT);
    q.push("\n  AND n.id = {}", &[&id]);
    read(&change.tx.row(q).await?.ok_or(StoreError::NotFound)?)
}

async fn finish(mut change: Change<'_>, action: &'static str, id: NodeId, detail: Json) -> Result<NodeRow, StoreError> {
    let after = current(&mut change, id).await?;
    let row = canonical(&after);
    match after.relation {
        Relation::Own | Relation::Parent => change.told.above(),
        Relation::Child | Relation::Behind => change.told.node_below(id),
    }
    change.renames = true;
    change.record(Entry { action, noun: "node", subject: id.to_string(), detail, row, holder: Holder::NONE }).await?;
    change.commit().await?;
    Ok(after)
}

pub(crate) fn canonical(n: &NodeRow) -> Json {
    json!({
        "id": n.id.to_string(), "name": n.name, "level": n.level, "region": n.region, "enterprise": n.enterprise, "relation": n.relation.as_str(),
        "state": n.state.as_str(), "reason": n.reason, "paused": n.paused, "agreement": n.agreement, "fingerprint": n.fingerprint,
        "address": n.address, "revision": n.revision,
    })
}

fn read(row: &Row) -> Result<NodeRow, StoreError> {
    Ok(NodeRow {
        id: row.get("id")?,
        name: row.get("name")?,
        level: row.word("level", NodeLevel::parse)?,
        region: row.get("region")?,
        region_name: row.get("region_name")?,
        enterprise: row.get("enterprise_id")?,
        enterprise_code: row.get("enterprise_code")?,
        enterprise_name: row.get("enterprise_name")?,
        relation: row.word("relation", Relation::parse)?,
        via: row.get("via")?,
        state: row.word("state", NodeState::parse)?,
        reason: row.get("reason")?,
        paused: row.get("paused")?,
        fingerprint: row.get("fingerprint")?,
        serial: row.get("serial")?,
        not_after: row.get("not_after_us")?,
        address: row.get("address")?,
        agreement: row.json("agreement")?,
        starts: row.get("starts")?,
        nonce: row.get("nonce")?,
        point: row.get("point_id")?,
        said: row.json("said")?,
        seen_at: row.get("seen_at_us")?,
        revision: row.get("revision")?,
    })
}
