//! What goes to other nodes: the newest state of each subject once, in the order in which it last changed.
//!
//! Rows that change in a transaction are noted in [`Told`]; as its last act the transaction reads them as they are now, turns them into entries and
//! numbers those, so that numbers are committed in their order. A body tells what it hangs on (a point its device, a device its enterprise) as far as
//! a receiver needs it to make that: the entry of the point may come before that of the device, which changed later. Start at [`Told`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use anlan_model::noun::{Limits, LimitsSource};
use anlan_model::{AlarmId, DeviceId, EnterpriseId, NodeId, NodeLevel, OrderId, PointId, RecordId, Timestamp, VehicleId};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tokio::sync::watch;

use crate::copy::{Changed, Registers};
use crate::db::{Db, PIECE, Row, Sql, ToValue, Tx, sql};
use crate::submission::Wants;
use crate::{Store, StoreError};

/// The way to the parent.
pub const UP: &str = "up";
/// Alarms this old are told to a new parent even if they are over.
const FILL_ALARMS_US: i64 = 30 * 86_400_000_000;
/// Every run numbers from a place of its own, so that what is put after a backup was restored comes behind what was put before. What a run that the backup
/// does not know of has told bears the numbers of a later one: then [`Store::number_anew`].
const PER_START: i64 = 1 << 40;
/// Rows of one statement; each takes five arguments.
const ROWS: usize = 100;

/// An entry of a feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedEntry {
    /// Its number on its way.
    pub seq: i64,
    /// `node`, `enterprise`, `device`, `point`, `vehicle`, `alarm`, `proof`, `record`, `handling`, `order`, `answer`, `pack`, `roster`,
    /// `transfer`, `transferred`, `thinned`.
    pub kind: String,
    /// Node of origin, a slash, its id there.
    pub subject: String,
    /// JSON text.
    pub body: String,
}

/// Who this node is to others, as last committed; shared by every clone of a store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Network(Arc<RwLock<Standing>>, Grown, Arc<RwLock<Registers>>, Arc<RwLock<Wants>>);

/// Tells that feeds have grown, and how far, as committed.
#[derive(Clone, Debug)]
struct Grown {
    ends: Arc<Mutex<HashMap<String, i64>>>,
    told: watch::Sender<u64>,
}

impl Default for Grown {
    fn default() -> Self {
        Self { ends: Arc::default(), told: watch::Sender::new(0) }
    }
}

/// Ways that an uncommitted transaction has put entries on, and their ends then.
#[derive(Debug, Default)]
#[must_use = "to be told of once committed"]
pub(crate) struct Put(Vec<(String, i64)>);

impl Put {
    /// One way has this end.
    pub(crate) fn to(way: &str, end: i64) -> Self {
        Self(vec![(way.to_owned(), end)])
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// This node, once it has an id.
    pub(crate) own: Option<NodeId>,
    /// Its parent.
    pub(crate) parent: Option<NodeId>,
    /// The level of that.
    pub(crate) parent_level: Option<NodeLevel>,
    /// Whether there is any other node.
    pub(crate) has_others: bool,
    /// Feeds number behind this: of this run alone.
    pub(crate) base: i64,
}

impl Network {
    pub(crate) fn get(&self) -> Standing {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
    pub(crate) fn set(&self, standing: Standing) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = standing;
    }
    pub(crate) fn registers(&self) -> Registers {
        self.2.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
    pub(crate) fn set_registers(&self, registers: Registers) {
        *self.2.write().unwrap_or_else(PoisonError::into_inner) = registers;
    }
    /// What the targets of submissions want.
    pub(crate) fn wants(&self) -> Wants {
        self.3.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
    pub(crate) fn set_wants(&self, wants: Wants) {
        *self.3.write().unwrap_or_else(PoisonError::into_inner) = wants;
    }
    /// What was put is committed.
    pub(crate) fn grew(&self, put: Put) {
        if put.0.is_empty() {
            return;
        }
        let mut ends = self.1.ends.lock().unwrap_or_else(PoisonError::into_inner);
        for (way, end) in put.0 {
            let known = ends.entry(way).or_default();
            *known = (*known).max(end);
        }
        drop(ends);
        self.1.told.send_modify(|n| *n += 1);
    }
    pub(crate) async fn read(db: &Db) -> Result<Self, StoreError> {
        let rows = db.rows(sql(STANDING)).await?;
        let network = Self::default();
        network.set(standing(&rows)?);
        network.set_wants(crate::submission::read_wants(db).await?);
        Ok(network)
    }
}

const STANDING: &str = "SELECT id, relation, level, starts FROM node WHERE relation IN ('self', 'parent')
UNION ALL SELECT id, relation, level, starts FROM (SELECT id, relation, level, starts FROM node WHERE relation NOT IN ('self', 'parent') LIMIT 1) AS other";

fn standing(rows: &[Row]) -> Result<Standing, StoreError> {
    let mut standing = Standing::default();
    for row in rows {
        let (id, relation): (NodeId, String) = (row.get("id")?, row.get("relation")?);
        standing.has_others |= relation != "self";
        match relation.as_str() {
            "self" => (standing.own, standing.base) = (Some(id), row.get::<i64>("starts")?.saturating_add(1).saturating_mul(PER_START)),
            "parent" => (standing.parent, standing.parent_level) = (Some(id), Some(row.word("level", NodeLevel::parse)?)),
            _ => {}
        }
    }
    Ok(standing)
}

/// As the transaction sees it, in the run of `before`.
pub(crate) async fn standing_in(tx: &mut Tx, before: Standing) -> Result<Standing, StoreError> {
    Ok(Standing { base: before.base.max(PER_START), ..standing(&tx.rows(sql(STANDING)).await?)? })
}

/// An enterprise as a body tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct EnterpriseBody {
    /// At the home of what it owns, if it is known there; by this it is known again when its code changes.
    pub(crate) id: Option<i64>,
    /// Made with it at home: where another bears its id by now, it is known by this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mark: Option<String>,
    pub(crate) code: String,
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) sector: String,
    pub(crate) lon: Option<f64>,
    pub(crate) lat: Option<f64>,
    /// Where its home has moved: node, a slash, its id there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) moved_to: Option<String>,
}

/// A device; `id` is that at its home.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DeviceBody {
    pub(crate) id: i64,
    pub(crate) code: String,
    pub(crate) name: String,
    pub(crate) protocol: String,
    pub(crate) enterprise: Option<EnterpriseBody>,
}

/// A point; `id` is that at its home.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PointBody {
    pub(crate) id: i64,
    pub(crate) device: DeviceBody,
    pub(crate) code: String,
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) kind: String,
    pub(crate) site: String,
    pub(crate) period_s: f64,
    pub(crate) range_low: Option<f64>,
    pub(crate) range_high: Option<f64>,
    pub(crate) limits: Limits,
    pub(crate) limits_source: Option<LimitsSource>,
    pub(crate) confirmed: bool,
    pub(crate) lon: Option<f64>,
    pub(crate) lat: Option<f64>,
}

/// A vehicle; `id` is that at its home.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct VehicleBody {
    pub(crate) id: i64,
    /// Of its terminal.
    pub(crate) phone: String,
    pub(crate) plate: String,
    pub(crate) kind: String,
    pub(crate) enterprise: Option<EnterpriseBody>,
    /// Of one without an operator.
    pub(crate) region: Option<String>,
    /// How its terminal is believed there.
    pub(crate) trust: String,
    pub(crate) speed_limit_kmh: Option<f64>,
}

/// A point that a combination looks at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MemberBody {
    pub(crate) point: PointBody,
    pub(crate) kind: String,
    /// Its own alarm, if it took part.
    pub(crate) alarm: Option<String>,
}

/// An alarm; times in µs. What it stands at is told in full: what a receiver does not know of it yet it makes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AlarmBody {
    pub(crate) rule: String,
    pub(crate) kind: String,
    /// Of a combination.
    pub(crate) name: Option<String>,
    /// Either this or `vehicle`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) point: Option<PointBody>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) vehicle: Option<VehicleBody>,
    /// Of a combination, in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) members: Vec<MemberBody>,
    pub(crate) level: String,
    pub(crate) unit: String,
    pub(crate) value: Option<f64>,
    pub(crate) threshold: Option<f64>,
    pub(crate) source: String,
    pub(crate) confidence: String,
    pub(crate) onset_at: i64,
    pub(crate) raised_at: i64,
    pub(crate) returned_at: Option<i64>,
    pub(crate) historic: bool,
    /// Code of its owner when it was raised.
    pub(crate) enterprise: Option<String>,
    pub(crate) handlings: Vec<HandlingBody>,
}

/// What one node's people did about an alarm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HandlingBody {
    #[serde(with = "words")]
    pub(crate) node: NodeId,
    pub(crate) name: String,
    pub(crate) level: Option<NodeLevel>,
    pub(crate) acknowledged_at: Option<i64>,
    pub(crate) acknowledged_by: Option<String>,
    pub(crate) acknowledged_note: Option<String>,
    pub(crate) closed_at: Option<i64>,
    pub(crate) closed_by: Option<String>,
    pub(crate) closed_reason: Option<String>,
}

/// Down: what the levels above did about an alarm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HandlingsBody {
    pub(crate) alarm: String,
    pub(crate) handlings: Vec<HandlingBody>,
}

/// A node of the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NodeBody {
    #[serde(with = "words")]
    pub(crate) id: NodeId,
    pub(crate) name: String,
    pub(crate) level: NodeLevel,
    pub(crate) region: Option<String>,
    pub(crate) enterprise: Option<EnterpriseBody>,
    pub(crate) state: String,
    pub(crate) reason: Option<String>,
    pub(crate) paused: bool,
    pub(crate) said: Json,
    pub(crate) seen_at: Option<i64>,
}

/// What a holder has of an origin and day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ProofBody {
    #[serde(with = "words")]
    pub(crate) origin: NodeId,
    pub(crate) day: String,
    #[serde(with = "words")]
    pub(crate) holder: NodeId,
    pub(crate) position: i64,
    pub(crate) count: i64,
    pub(crate) sum: String,
    /// What the node above the holder had at that position.
    #[serde(default)]
    pub(crate) above: Option<(i64, String)>,
    /// The word of the agreement, if it is of a part of the day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) readings: Option<String>,
    pub(crate) at: i64,
}

/// Ids of nodes as text: 128 bits are no number of JSON.
pub(crate) mod words {
    use anlan_model::NodeId;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(id: &NodeId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<NodeId, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

pub(crate) type ToldMark = (usize, usize, crate::copy::ChangedMark);

/// Rows that changed in a transaction, for whoever must learn of it.
#[derive(Debug, Default)]
pub(crate) struct Told {
    enterprises: BTreeSet<EnterpriseId>,
    devices: BTreeSet<DeviceId>,
    points: BTreeSet<PointId>,
    vehicles: BTreeSet<VehicleId>,
    /// In order of change: an alarm that ended goes before the one that began at the same point.
    alarms: Vec<AlarmId>,
    handled_here_or_above: Vec<AlarmId>,
    nodes_below: BTreeSet<NodeId>,
    above_changed: bool,
    proofs: BTreeSet<(NodeId, String, NodeId)>,
    thinned: BTreeSet<(NodeId, String, NodeId)>,
    pub(crate) records: Changed,
    orders: BTreeSet<OrderId>,
    answers: BTreeSet<OrderId>,
    pieces: BTreeSet<String>,
    rosters: BTreeSet<NodeId>,
    newcomers: BTreeSet<NodeId>,
    /// On which way; before all others.
    direct: Vec<(String, Entry)>,
    moved_enterprises: Vec<Entry>,
}

impl Told {
    /// Of a node that has these registers.
    pub(crate) fn by(registers: Registers) -> Self {
        Self { records: Changed::by(registers), ..Self::default() }
    }
    pub(crate) fn enterprise(&mut self, id: EnterpriseId) {
        self.enterprises.insert(id);
    }
    pub(crate) fn device(&mut self, id: DeviceId) {
        self.devices.insert(id);
    }
    pub(crate) fn point(&mut self, id: PointId) {
        self.points.insert(id);
    }
    pub(crate) fn vehicle(&mut self, id: VehicleId) {
        self.vehicles.insert(id);
    }
    /// Its condition changed, or what is known of its handling.
    pub(crate) fn alarm(&mut self, id: AlarmId) {
        self.alarms.push(id);
    }
    /// It was handled here, or above: its home must learn of it.
    pub(crate) fn handled(&mut self, id: AlarmId) {
        self.handled_here_or_above.push(id);
    }
    pub(crate) fn enterprise_ids(&self) -> impl Iterator<Item = &EnterpriseId> {
        self.enterprises.iter()
    }
    pub(crate) fn device_ids(&self) -> impl Iterator<Item = &DeviceId> {
        self.devices.iter()
    }
    pub(crate) fn point_ids(&self) -> impl Iterator<Item = &PointId> {
        self.points.iter()
    }
    pub(crate) fn vehicle_ids(&self) -> impl Iterator<Item = &VehicleId> {
        self.vehicles.iter()
    }
    pub(crate) fn alarm_ids(&self) -> impl Iterator<Item = &AlarmId> {
        self.alarms.iter()
    }
    /// A child, or one behind a child.
    pub(crate) fn node_below(&mut self, id: NodeId) {
        self.nodes_below.insert(id);
    }
    /// This node, its parent or one above that; or there is a new child, who knows none of them.
    pub(crate) fn above(&mut self) {
        self.above_changed = true;
    }
    pub(crate) fn proof(&mut self, origin: NodeId, day: &str, holder: NodeId) {
        self.proofs.insert((origin, day.to_owned(), holder));
    }
    pub(crate) fn thinned(&mut self, origin: NodeId, day: &str, holder: NodeId) {
        self.thinned.insert((origin, day.to_owned(), holder));
    }
    /// It is to go on to its target, if that is below.
    pub(crate) fn order(&mut self, id: OrderId) {
        self.orders.insert(id);
    }
    /// Its target said something; whoever gave it, above, must learn of it.
    pub(crate) fn answer(&mut self, id: OrderId) {
        self.answers.insert(id);
    }
    /// A piece of a pack that is offered, or that it is offered no more.
    pub(crate) fn piece(&mut self, subject: String) {
        self.pieces.insert(subject);
    }
    /// Who is on duty changed.
    pub(crate) fn roster(&mut self, origin: NodeId) {
        self.rosters.insert(origin);
    }
    /// A child that knows nothing yet: it is told what every child was.
    pub(crate) fn newcomer(&mut self, id: NodeId) {
        self.newcomers.insert(id);
    }
    /// How far it is in what is told as it is; see [`Self::back_to`].
    pub(crate) fn mark(&self) -> ToldMark {
        (self.direct.len(), self.moved_enterprises.len(), self.records.mark())
    }
    /// Forgets what would be told as it is since: the entry that it came of is refused. All else is read as it is in the end.
    pub(crate) fn back_to(&mut self, (direct, moved, records): ToldMark) {
        self.direct.truncate(direct);
        self.moved_enterprises.truncate(moved);
        self.records.back_to(records);
    }
    /// Put as it is.
    pub(crate) fn direct(&mut self, way: String, entry: Entry) {
        self.direct.push((way, entry));
    }
    /// To those above: it has another home now. Before what that says of it.
    pub(crate) fn moved_enterprise(&mut self, entry: Entry) {
        self.moved_enterprises.push(entry);
    }
    /// Notes the row of an outbox entry.
    pub(crate) fn row(&mut self, kind: &str, body: &Json) {
        let id = body["id"].as_i64();
        match (kind, id) {
            ("enterprise", Some(id)) => self.enterprise(EnterpriseId::new(id)),
            ("device", Some(id)) => self.device(DeviceId::new(id)),
            ("point", Some(id)) => self.point(PointId::new(id)),
            ("vehicle", Some(id)) => self.vehicle(VehicleId::new(id)),
            ("record", Some(id)) => self.records.note(RecordId::new(id)),
            ("alarm_handling", _) => {
                if let Some(id) = body["alarm"].as_str().and_then(|id| id.parse().ok()) {
                    self.alarm(id);
                    self.handled(id);
                }
            }
            _ => {}
        }
    }

    /// Writes the entries; the last statements of the transaction. What it answers is for [`Network::grew`].
    pub(crate) async fn put(self, tx: &mut Tx, standing: Standing) -> Result<Put, StoreError> {
        let Some(own) = standing.own.filter(|_| standing.has_others) else { return Ok(Put::default()) };
        let mut out = Entries::default();
        for (way, entry) in self.direct.into_iter().filter(|(way, _)| way != UP || standing.parent.is_some()) {
            out.put_all(&way, vec![entry]);
        }
        if let Some(level) = standing.parent_level {
            out.put_all(UP, nodes(tx, &Vec::from_iter(self.nodes_below)).await?);
            out.put_all(UP, self.moved_enterprises);
            out.put_all(UP, enterprises(tx, own, &Vec::from_iter(self.enterprises)).await?);
            out.put_all(UP, devices(tx, own, &Vec::from_iter(self.devices)).await?);
            out.put_all(UP, points(tx, own, &Vec::from_iter(self.points)).await?);
            out.put_all(UP, vehicles(tx, own, &Vec::from_iter(self.vehicles)).await?);
            out.put_all(UP, alarms(tx, own, &self.alarms).await?);
            out.put_all(UP, proofs(tx, self.proofs).await?);
            out.put_all(UP, crate::thinned::entries(tx, self.thinned).await?);
            out.put_all(UP, self.records.entries(tx, own, level).await?);
            out.put_all(UP, crate::order::up(tx, &self.answers).await?);
        }
        for (way, order) in crate::order::down(tx, &self.orders).await? {
            out.put_all(&way.to_string(), vec![order]);
        }
        if !self.handled_here_or_above.is_empty() {
            down(tx, own, &self.handled_here_or_above, &mut out).await?;
        }
        if self.above_changed {
            let chain = above(tx).await?;
            for child in children(tx).await? {
                out.put_all(&child.to_string(), chain.clone());
            }
        }
        if !self.pieces.is_empty() || !self.rosters.is_empty() {
            let (pieces, rosters) = (Vec::from_iter(self.pieces), Vec::from_iter(self.rosters));
            let mut down = if pieces.is_empty() { Vec::new() } else { packs(tx, &pieces).await? };
            down.extend(if rosters.is_empty() { Vec::new() } else { duties(tx, &rosters).await? });
            for child in children(tx).await? {
                out.put_all(&child.to_string(), down.clone());
            }
        }
        for child in &self.newcomers {
            out.put_all(&child.to_string(), packs(tx, &[]).await?);
            out.put_all(&child.to_string(), duties(tx, &[]).await?);
        }
        out.write(tx, standing.base).await
    }
}

/// Kind, subject, body.
pub(crate) type Entry = (&'static str, String, String);

/// Entries by way, each subject once and where it last changed.
#[derive(Default)]
struct Entries(BTreeMap<String, Vec<Entry>>);

impl Entries {
    fn put_all(&mut self, way: &str, entries: Vec<Entry>) {
        if !entries.is_empty() {
            self.0.entry(way.to_owned()).or_default().extend(entries);
        }
    }
    async fn write(self, tx: &mut Tx, base: i64) -> Result<Put, StoreError> {
        let mut written = Put::default();
        for (way, mut entries) in self.0 {
            // Each once, where it last changed: one statement must not meet a row twice.
            let mut seen = BTreeSet::new();
            entries.reverse();
            entries.retain(|(kind, subject, _)| seen.insert((*kind, subject.clone())));
            entries.reverse();
            let n = i64::try_from(entries.len()).unwrap_or(i64::MAX);
            let take = sql("INSERT INTO link_way (way, seq) VALUES ($1, $2)
ON CONFLICT (way) DO UPDATE SET seq = CASE WHEN link_way.seq < $3 THEN excluded.seq ELSE link_way.seq + $4 END
RETURNING seq");
            let take = take.bind(way.as_str()).bind(base + n).bind(base).bind(n);
            let row = tx.row(take).await?.ok_or(StoreError::NotFound)?;
            let mut seq = row.get::<i64>("seq")? - n;
            for piece in entries.chunks(ROWS) {
                let mut put = sql("INSERT INTO link_feed (way, kind, subject, seq, body) VALUES ");
                for (i, (kind, subject, body)) in piece.iter().enumerate() {
                    seq += 1;
                    put.push(if i == 0 { "({}, {}, {}, {}, {})" } else { ", ({}, {}, {}, {}, {})" }, &[&way, kind, subject, &seq, body]);
                }
                put.push("\nON CONFLICT (way, kind, subject) DO UPDATE SET seq = excluded.seq, body = excluded.body", &[]);
                tx.run(put).await?;
            }
            written.0.push((way, seq));
        }
        Ok(written)
    }
}

pub(crate) fn entry(kind: &'static str, origin: NodeId, id: impl std::fmt::Display, body: &impl Serialize) -> Result<Entry, StoreError> {
    let body = serde_json::to_string(body).map_err(|e| StoreError::Corrupt(format!("a body of {kind}: {e}")))?;
    Ok((kind, format!("{origin}/{id}"), body))
}

/// Rows of `select` whose `column` is one of `ids`, in their order within a piece.
pub(crate) async fn among<T: ToValue>(tx: &mut Tx, select: &str, column: &str, ids: &[T]) -> Result<Vec<Row>, StoreError> {
    let mut found = Vec::new();
    for piece in ids.chunks(PIECE) {
        let mut q = sql(select);
        q.and_in(column, piece);
        q.push(&format!("\nORDER BY {column}"), &[]);
        found.extend(tx.rows(q).await?);
    }
    Ok(found)
}

pub(crate) const OWNER: &str = "e.id AS e_id, e.mark AS e_mark, e.home AS e_home, e.code AS e_code, e.name AS e_name, e.region AS e_region, e.sector AS e_sector, e.lon AS e_lon, e.lat AS e_lat";
const DEVICE: &str =
    "d.id AS d_id, d.code AS d_code, d.name AS d_name, d.protocol AS d_protocol, md.node AS d_node, md.remote_id AS d_remote,
  me.remote_id AS e_remote, me.mark AS e_remote_mark";
const POINT: &str =
    "p.id AS p_id, p.code AS p_code, p.name AS p_name, p.unit AS p_unit, p.kind AS p_kind, p.site AS p_site, p.period_s, p.range_low, p.range_high, p.limits,
  p.limits_source, p.confirmed, p.lon AS p_lon, p.lat AS p_lat, mp.node AS p_node, mp.remote_id AS p_remote";
const DEVICE_JOINS: &str = "LEFT JOIN enterprise AS e ON e.id = d.enterprise_id
LEFT JOIN mirror AS md ON md.kind = 'device' AND md.local_id = d.id
LEFT JOIN mirror AS me ON me.node = md.node AND me.kind = 'enterprise' AND me.remote_id = (
  SELECT MIN(m.remote_id) FROM mirror AS m WHERE m.node = md.node AND m.kind = 'enterprise' AND m.local_id = e.id)";
const POINT_JOINS: &str = "INNER JOIN device AS d ON d.id = p.device_id
LEFT JOIN mirror AS mp ON mp.kind = 'point' AND mp.local_id = p.id";

const VEHICLE: &str =
    "v.id AS v_id, v.phone AS v_phone, v.plate AS v_plate, v.kind AS v_kind, v.region AS v_region, v.trust AS v_trust, v.speed_limit_kmh,
  mv.node AS v_node, mv.remote_id AS v_remote, me.remote_id AS e_remote, me.mark AS e_remote_mark";
const VEHICLE_JOINS: &str = "LEFT JOIN enterprise AS e ON e.id = v.enterprise_id
LEFT JOIN mirror AS mv ON mv.kind = 'vehicle' AND mv.local_id = v.id
LEFT JOIN mirror AS me ON me.node = mv.node AND me.kind = 'enterprise' AND me.remote_id = (
  SELECT MIN(m.remote_id) FROM mirror AS m WHERE m.node = mv.node AND m.kind = 'enterprise' AND m.local_id = e.id)";

async fn enterprises(tx: &mut Tx, own: NodeId, ids: &[EnterpriseId]) -> Result<Vec<Entry>, StoreError> {
    let select = format!(
        "SELECT {OWNER}, me.remote_id AS e_remote, me.mark AS e_remote_mark
FROM enterprise AS e
LEFT JOIN mirror AS me ON me.node = e.home AND me.kind = 'enterprise' AND me.remote_id = (
  SELECT MIN(m.remote_id) FROM mirror AS m WHERE m.node = e.home AND m.kind = 'enterprise' AND m.local_id = e.id)
WHERE e.merged_into IS NULL"
    );
    let mut out = Vec::new();
    for row in among(tx, &select, "e.id", ids).await? {
        let home: Option<String> = row.get("e_home")?;
        let origin = match home {
            None => own,
            // Heard of as an owner only: its devices tell of it.
            Some(home) => match home.parse() {
                Ok(home) => home,
                Err(_) => continue,
            },
        };
        if let Some(body) = owner(&row, origin == own)?
            && let Some(id) = body.id
        {
            out.push(entry("enterprise", origin, id, &body)?);
        }
    }
    Ok(out)
}

async fn devices(tx: &mut Tx, own: NodeId, ids: &[DeviceId]) -> Result<Vec<Entry>, StoreError> {
    let select = format!("SELECT {DEVICE}, {OWNER} FROM device AS d\n{DEVICE_JOINS}\nWHERE 1 = 1");
    let rows = among(tx, &select, "d.id", ids).await?;
    rows.iter()
        .map(|row| {
            let (origin, body) = device(row, own)?;
            entry("device", origin, body.id, &body)
        })
        .collect()
}

async fn points(tx: &mut Tx, own: NodeId, ids: &[PointId]) -> Result<Vec<Entry>, StoreError> {
    let select = format!("SELECT {POINT}, {DEVICE}, {OWNER} FROM point AS p\n{POINT_JOINS}\n{DEVICE_JOINS}\nWHERE 1 = 1");
    let rows = among(tx, &select, "p.id", ids).await?;
    rows.iter()
        .map(|row| {
            let (origin, body) = point(row, own)?;
            entry("point", origin, body.id, &body)
        })
        .collect()
}

/// The enterprise; `is_own`: what it owns, or itself, has its home here.
pub(crate) fn owner(row: &Row, is_own: bool) -> Result<Option<EnterpriseBody>, StoreError> {
    let Some(code) = row.get("e_code")? else { return Ok(None) };
    let is_ours = row.get::<Option<String>>("e_home")?.is_none();
    let (id, mark): (Option<i64>, Option<String>) = match (is_own, is_ours) {
        (true, true) => (row.get("e_id")?, row.get("e_mark")?),
        (true, false) => (None, None),
        (false, _) => (row.get("e_remote")?, row.get("e_remote_mark")?),
    };
    Ok(Some(EnterpriseBody {
        id,
        mark,
        code,
        name: row.get("e_name")?,
        region: row.get("e_region")?,
        sector: row.get("e_sector")?,
        lon: row.get("e_lon")?,
        lat: row.get("e_lat")?,
        moved_to: None,
    }))
}

/// The device as its home calls it, and that home.
fn device(row: &Row, own: NodeId) -> Result<(NodeId, DeviceBody), StoreError> {
    let (node, remote): (Option<NodeId>, Option<i64>) = (row.get("d_node")?, row.get("d_remote")?);
    let code: String = row.get("d_code")?;
    let (origin, id, code) = match node.zip(remote) {
        Some((node, id)) => (node, id, at_home(&code).to_owned()),
        None => (own, row.get("d_id")?, code),
    };
    Ok((
        origin,
        DeviceBody { id, code, name: row.get("d_name")?, protocol: row.get("d_protocol")?, enterprise: owner(row, origin == own)? },
    ))
}

/// The point as its home calls it, and that home.
fn point(row: &Row, own: NodeId) -> Result<(NodeId, PointBody), StoreError> {
    let (node, remote): (Option<NodeId>, Option<i64>) = (row.get("p_node")?, row.get("p_remote")?);
    let (origin, id) = match node.zip(remote) {
        Some(there) => there,
        None => (own, row.get("p_id")?),
    };
    let source: Option<String> = row.get("limits_source")?;
    let body = PointBody {
        id,
        device: device(row, own)?.1,
        code: row.get("p_code")?,
        name: row.get("p_name")?,
        unit: row.get("p_unit")?,
        kind: row.get("p_kind")?,
        site: row.get("p_site")?,
        period_s: row.get("period_s")?,
        range_low: row.get("range_low")?,
        range_high: row.get("range_high")?,
        limits: row.json("limits")?,
        limits_source: source.and_then(|text| serde_json::from_str(&text).ok()),
        confirmed: row.get("confirmed")?,
        lon: row.get("p_lon")?,
        lat: row.get("p_lat")?,
    };
    Ok((origin, body))
}

async fn vehicles(tx: &mut Tx, own: NodeId, ids: &[VehicleId]) -> Result<Vec<Entry>, StoreError> {
    let select = format!("SELECT {VEHICLE}, {OWNER} FROM vehicle AS v\n{VEHICLE_JOINS}\nWHERE 1 = 1");
    let rows = among(tx, &select, "v.id", ids).await?;
    rows.iter()
        .map(|row| {
            let (origin, body) = vehicle(row, own)?;
            entry("vehicle", origin, body.id, &body)
        })
        .collect()
}

/// The vehicle as its home calls it, and that home.
fn vehicle(row: &Row, own: NodeId) -> Result<(NodeId, VehicleBody), StoreError> {
    let (node, remote): (Option<NodeId>, Option<i64>) = (row.get("v_node")?, row.get("v_remote")?);
    let phone: String = row.get("v_phone")?;
    let (origin, id, phone) = match node.zip(remote) {
        Some((node, id)) => (node, id, at_home(&phone).to_owned()),
        None => (own, row.get("v_id")?, phone),
    };
    let body = VehicleBody {
        id,
        phone,
        plate: row.get("v_plate")?,
        kind: row.get("v_kind")?,
        enterprise: owner(row, origin == own)?,
        region: row.get("v_region")?,
        trust: row.get("v_trust")?,
        speed_limit_kmh: row.get("speed_limit_kmh")?,
    };
    Ok((origin, body))
}

/// What is known here as `origin:code`, as its home calls it.
fn at_home(code: &str) -> &str {
    code.split_once(':').map_or(code, |(_, there)| there)
}

async fn alarms(tx: &mut Tx, own: NodeId, ids: &[AlarmId]) -> Result<Vec<Entry>, StoreError> {
    const ALARM: &str =
        "a.id, a.rule, a.kind, a.level, a.unit, a.value, a.threshold, a.source, a.confidence, a.onset_at_us, a.raised_at_us,
  a.returned_at_us, a.historic, a.home, ae.code AS owner";
    // Each once, where it last changed.
    let mut seen = BTreeSet::new();
    let mut order: Vec<AlarmId> = ids.iter().rev().copied().filter(|id| seen.insert(*id)).collect();
    order.reverse();
    let at_points = format!(
        "SELECT {ALARM}, COALESCE(a.name, {}) AS name, {POINT}, {DEVICE}, {OWNER}
FROM alarm AS a
INNER JOIN point AS p ON p.id = a.point_id
{POINT_JOINS}
{DEVICE_JOINS}
LEFT JOIN enterprise AS ae ON ae.id = a.enterprise_id
WHERE 1 = 1",
        crate::alarm::COMBINATION_NAME
    );
    let of_vehicles = format!(
        "SELECT {ALARM}, a.name, {VEHICLE}, {OWNER}
FROM alarm AS a
INNER JOIN vehicle AS v ON v.id = a.vehicle_id
{VEHICLE_JOINS}
LEFT JOIN enterprise AS ae ON ae.id = a.enterprise_id
WHERE 1 = 1"
    );
    let mut told = Vec::new();
    for row in among(tx, &at_points, "a.id", &order).await? {
        let (home, point) = point(&row, own)?;
        told.push((row, home, Some(point), None));
    }
    for row in among(tx, &of_vehicles, "a.id", &order).await? {
        let (home, vehicle) = vehicle(&row, own)?;
        told.push((row, home, None, Some(vehicle)));
    }
    let (mut handled, mut members) = (handlings(tx, own, &order).await?, members(tx, own, &order).await?);
    let mut found = BTreeMap::new();
    for (row, home, point, vehicle) in told {
        let id: AlarmId = row.get("id")?;
        let origin = row.get::<Option<NodeId>>("home")?.unwrap_or(own);
        if home != origin {
            continue;
        }
        let body = AlarmBody {
            rule: row.get("rule")?,
            kind: row.get("kind")?,
            name: row.get("name")?,
            point,
            vehicle,
            members: members.remove(&id).unwrap_or_default(),
            level: row.get("level")?,
            unit: row.get("unit")?,
            value: row.get("value")?,
            threshold: row.get("threshold")?,
            source: row.get("source")?,
            confidence: row.get("confidence")?,
            onset_at: row.get("onset_at_us")?,
            raised_at: row.get("raised_at_us")?,
            returned_at: row.get("returned_at_us")?,
            historic: row.get("historic")?,
            enterprise: row.get("owner")?,
            handlings: handled.remove(&id).unwrap_or_default(),
        };
        found.insert(id, entry("alarm", origin, id, &body)?);
    }
    Ok(order.iter().filter_map(|id| found.remove(id)).collect())
}

/// The points that combinations look at.
async fn members(tx: &mut Tx, own: NodeId, ids: &[AlarmId]) -> Result<BTreeMap<AlarmId, Vec<MemberBody>>, StoreError> {
    let select = format!(
        "SELECT a.alarm_id, a.place, a.kind, a.member_id, {POINT}, {DEVICE}, {OWNER}
FROM alarm_member AS a
INNER JOIN point AS p ON p.id = a.point_id
{POINT_JOINS}
{DEVICE_JOINS}
WHERE 1 = 1"
    );
    let mut all: BTreeMap<AlarmId, Vec<(i64, MemberBody)>> = BTreeMap::new();
    for row in among(tx, &select, "a.alarm_id", ids).await? {
        let body = MemberBody { point: point(&row, own)?.1, kind: row.get("kind")?, alarm: row.get("member_id")? };
        all.entry(row.get("alarm_id")?).or_default().push((row.get("place")?, body));
    }
    let in_order = |mut of: Vec<(i64, MemberBody)>| {
        of.sort_by_key(|(place, _)| *place);
        of.into_iter().map(|(_, body)| body).collect()
    };
    Ok(all.into_iter().map(|(id, of)| (id, in_order(of))).collect())
}

/// What every level did about these alarms, as far as it is known here.
async fn handlings(tx: &mut Tx, own: NodeId, ids: &[AlarmId]) -> Result<BTreeMap<AlarmId, Vec<HandlingBody>>, StoreError> {
    const SELECT: &str =
        "SELECT h.alarm_id, h.level AS node, h.acknowledged_at_us, h.acknowledged_by, h.acknowledged_note, h.closed_at_us, h.closed_by,
  h.closed_reason, n.name, n.level
FROM alarm_handling AS h
LEFT JOIN node AS n ON n.id = h.level OR (h.level = 'local' AND n.relation = 'self')
WHERE 1 = 1";
    let mut all: BTreeMap<AlarmId, Vec<HandlingBody>> = BTreeMap::new();
    for row in among(tx, SELECT, "h.alarm_id", ids).await? {
        let node: String = row.get("node")?;
        let name: Option<String> = row.get("name")?;
        let level: Option<String> = row.get("level")?;
        let body = HandlingBody {
            node: node.parse().unwrap_or(own),
            name: name.unwrap_or_default(),
            level: level.as_deref().and_then(NodeLevel::parse),
            acknowledged_at: row.get("acknowledged_at_us")?,
            acknowledged_by: row.get("acknowledged_by")?,
            acknowledged_note: row.get("acknowledged_note")?,
            closed_at: row.get("closed_at_us")?,
            closed_by: row.get("closed_by")?,
            closed_reason: row.get("closed_reason")?,
        };
        all.entry(row.get("alarm_id")?).or_default().push(body);
    }
    all.values_mut().for_each(|of| of.sort_by_key(|h| h.node));
    Ok(all)
}

/// What is known of these alarms' handling goes to the child through which their home is heard.
async fn down(tx: &mut Tx, own: NodeId, ids: &[AlarmId], out: &mut Entries) -> Result<(), StoreError> {
    const SELECT: &str = "SELECT a.id, a.home, CASE n.relation WHEN 'child' THEN n.id ELSE n.via END AS way
FROM alarm AS a
INNER JOIN node AS n ON n.id = a.home AND (n.relation = 'child' OR n.relation = 'behind')
WHERE 1 = 1";
    let mut handled = handlings(tx, own, ids).await?;
    for row in among(tx, SELECT, "a.id", ids).await? {
        let (id, home): (AlarmId, NodeId) = (row.get("id")?, row.get("home")?);
        let (Some(way), Some(handlings)) = (row.get::<Option<String>>("way")?, handled.remove(&id)) else { continue };
        let body = HandlingsBody { alarm: id.to_string(), handlings };
        out.put_all(&way, vec![entry("handling", home, id, &body)?]);
    }
    Ok(())
}

const NODE: &str =
    "SELECT n.id, n.name, n.level, n.region, n.state, n.reason, n.paused, n.said, n.seen_at_us, n.relation,
  e.id AS e_id, e.mark AS e_mark, e.home AS e_home, e.code AS e_code, e.name AS e_name, e.region AS e_region, e.sector AS e_sector, e.lon AS e_lon,
  e.lat AS e_lat, me.remote_id AS e_remote, me.mark AS e_remote_mark
FROM node AS n
LEFT JOIN enterprise AS e ON e.id = n.enterprise_id
LEFT JOIN mirror AS me ON me.node = n.id AND me.kind = 'enterprise' AND me.remote_id = (
  SELECT MIN(m.remote_id) FROM mirror AS m WHERE m.node = n.id AND m.kind = 'enterprise' AND m.local_id = e.id)
WHERE 1 = 1";

fn node(row: &Row) -> Result<Entry, StoreError> {
    let body = NodeBody {
        id: row.get("id")?,
        name: row.get("name")?,
        level: row.word("level", NodeLevel::parse)?,
        region: row.get("region")?,
        enterprise: owner(row, false)?,
        state: row.get("state")?,
        reason: row.get("reason")?,
        paused: row.get("paused")?,
        said: row.json("said")?,
        seen_at: row.get("seen_at_us")?,
    };
    entry("node", body.id, "self", &body)
}

async fn nodes(tx: &mut Tx, ids: &[NodeId]) -> Result<Vec<Entry>, StoreError> {
    among(tx, NODE, "n.id", ids).await?.iter().map(node).collect()
}

/// This node and those above it.
async fn above(tx: &mut Tx) -> Result<Vec<Entry>, StoreError> {
    let q = format!(
        "{NODE}
  AND (n.relation IN ('self', 'parent') OR (n.relation = 'behind' AND n.via IN (SELECT p.id FROM node AS p WHERE p.relation = 'parent')))
ORDER BY n.id"
    );
    tx.rows(sql(&q)).await?.iter().map(node).collect()
}

async fn children(tx: &mut Tx) -> Result<Vec<NodeId>, StoreError> {
    let rows = tx.rows(sql("SELECT id FROM node WHERE relation = 'child' ORDER BY id")).await?;
    rows.iter().map(|row| row.get("id")).collect()
}

/// These pieces of packs, or all there are; what they say is looked up when they are sent.
async fn packs(tx: &mut Tx, subjects: &[String]) -> Result<Vec<Entry>, StoreError> {
    const SELECT: &str = "SELECT p.subject FROM pack_piece AS p WHERE 1 = 1";
    let rows = match subjects {
        [] => tx.rows(sql(&format!("{SELECT}\nORDER BY p.origin, p.pack, p.place"))).await?,
        some => among(tx, SELECT, "p.subject", some).await?,
    };
    rows.iter().map(|row| Ok(("pack", row.get("subject")?, String::new()))).collect()
}

/// These rosters, or all there are.
async fn duties(tx: &mut Tx, origins: &[NodeId]) -> Result<Vec<Entry>, StoreError> {
    let mut q = sql("SELECT origin, body FROM roster WHERE 1 = 1");
    q.and_in("origin", origins);
    q.push("\nORDER BY origin", &[]);
    tx.rows(q).await?.iter().map(|row| Ok(("roster", format!("{}/roster", row.get::<NodeId>("origin")?), row.get("body")?))).collect()
}

async fn proofs(tx: &mut Tx, keys: BTreeSet<(NodeId, String, NodeId)>) -> Result<Vec<Entry>, StoreError> {
    let mut out = Vec::new();
    for (origin, day, holder) in keys {
        let q = sql(
            "SELECT position, n_readings, sum, our_n_readings, our_sum, readings, at_us FROM proof WHERE origin = $1 AND day = $2 AND holder = $3",
        );
        let Some(row) = tx.row(q.bind(origin).bind(day.as_str()).bind(holder)).await? else { continue };
        let body = ProofBody {
            origin,
            holder,
            position: row.get("position")?,
            count: row.get("n_readings")?,
            sum: row.get("sum")?,
            above: row.get::<Option<i64>>("our_n_readings")?.zip(row.get("our_sum")?),
            readings: row.get("readings")?,
            at: row.get("at_us")?,
            day,
        };
        out.push(entry("proof", origin, format_args!("{}/{holder}", body.day), &body)?);
    }
    Ok(out)
}

/// Everything there is, for a parent that knows nothing yet.
pub(crate) async fn fill(tx: &mut Tx, standing: Standing, registers: &Registers, now: Timestamp) -> Result<(), StoreError> {
    async fn pieces(
        tx: &mut Tx,
        standing: Standing,
        registers: &Registers,
        q: Sql,
        mut note: impl FnMut(&mut Told, &Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let rows = tx.rows(q).await?;
        for piece in rows.chunks(PIECE) {
            let mut told = Told::by(registers.clone());
            for row in piece {
                note(&mut told, row)?;
            }
            // The parent hears how far at the greeting.
            drop(told.put(tx, standing).await?);
        }
        Ok(())
    }
    tx.run(sql("DELETE FROM link_feed WHERE way = $1").bind(UP)).await?;
    let below = "SELECT n.id FROM node AS n
WHERE n.relation = 'child' OR (n.relation = 'behind' AND n.via NOT IN (SELECT p.id FROM node AS p WHERE p.relation = 'parent'))";
    pieces(tx, standing, registers, sql(below), |told, row| {
        told.node_below(row.get("id")?);
        Ok(())
    })
    .await?;
    // Before all that follows from it.
    let words = sql("SELECT t.origin, w.transfer_id, w.place, w.body FROM transfer_word AS w
INNER JOIN transfer AS t ON t.id = w.transfer_id
ORDER BY w.transfer_id, w.place");
    pieces(tx, standing, registers, words, |told, row| {
        told.direct(UP.to_owned(), crate::transfer::word(row)?);
        Ok(())
    })
    .await?;
    pieces(tx, standing, registers, sql("SELECT id FROM enterprise ORDER BY id"), |told, row| {
        told.enterprise(row.get("id")?);
        Ok(())
    })
    .await?;
    pieces(tx, standing, registers, sql("SELECT id FROM device ORDER BY id"), |told, row| {
        told.device(row.get("id")?);
        Ok(())
    })
    .await?;
    pieces(tx, standing, registers, sql("SELECT id FROM point ORDER BY id"), |told, row| {
        told.point(row.get("id")?);
        Ok(())
    })
    .await?;
    pieces(tx, standing, registers, sql("SELECT id FROM vehicle ORDER BY id"), |told, row| {
        told.vehicle(row.get("id")?);
        Ok(())
    })
    .await?;
    pieces(tx, standing, registers, sql("SELECT id FROM record ORDER BY id"), |told, row| {
        told.records.note(row.get("id")?);
        Ok(())
    })
    .await?;
    let alarms =
        sql("SELECT id FROM alarm WHERE returned_at_us IS NULL OR raised_at_us >= $1 OR returned_at_us >= $1 ORDER BY raised_at_us, id");
    pieces(tx, standing, registers, alarms.bind(now.plus_us(-FILL_ALARMS_US)), |told, row| {
        told.alarm(row.get("id")?);
        Ok(())
    })
    .await?;
    let proofs = sql("SELECT origin, day, holder FROM proof ORDER BY day, origin, holder");
    pieces(tx, standing, registers, proofs, |told, row| {
        told.proof(row.get("origin")?, &row.get::<String>("day")?, row.get("holder")?);
        Ok(())
    })
    .await?;
    let thinned = sql("SELECT origin, day, holder FROM thinned_day ORDER BY day, origin, holder");
    pieces(tx, standing, registers, thinned, |told, row| {
        told.thinned(row.get("origin")?, &row.get::<String>("day")?, row.get("holder")?);
        Ok(())
    })
    .await?;
    let answers = sql("SELECT o.id FROM link_order AS o INNER JOIN node AS p ON p.id = o.via AND p.relation = 'parent' ORDER BY o.id");
    pieces(tx, standing, registers, answers, |told, row| {
        told.answer(row.get("id")?);
        Ok(())
    })
    .await
}

impl Store {
    /// Entries of a way behind `after`, in order, at most `limit` of them.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn feed(&self, way: &str, after: i64, limit: u32) -> Result<Vec<FeedEntry>, StoreError> {
        // A pack is as large as it is: every way names its pieces, and they are kept once.
        let q = sql("SELECT f.seq, f.kind, f.subject, COALESCE(p.body, f.body) AS body FROM link_feed AS f
LEFT JOIN pack_piece AS p ON f.kind = 'pack' AND p.subject = f.subject
WHERE f.way = $1 AND f.seq > $2
ORDER BY f.seq
LIMIT $3");
        let rows = self.db.rows(q.bind(way).bind(after).bind(i64::from(limit))).await?;
        rows.iter()
            .map(|row| Ok(FeedEntry { seq: row.get("seq")?, kind: row.get("kind")?, subject: row.get("subject")?, body: row.get("body")? }))
            .collect()
    }

    /// The newest number of a way; 0 = nothing was ever put.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn feed_end(&self, way: &str) -> Result<i64, StoreError> {
        let row = self.db.row(sql("SELECT seq FROM link_way WHERE way = $1").bind(way)).await?;
        row.map_or(Ok(0), |row| row.get("seq"))
    }

    /// How many entries of a way there are behind a number.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn feed_waits(&self, way: &str, behind: i64) -> Result<u64, StoreError> {
        let q = sql("SELECT COUNT(*) AS n FROM link_feed WHERE way = $1 AND seq > $2").bind(way).bind(behind);
        let row = self.db.row(q).await?.ok_or(StoreError::NotFound)?;
        Ok(row.get::<i64>("n")?.unsigned_abs())
    }

    /// Drops from a way what is over and was told, up to this number: alarms that ended, comparisons that were made, orders that were settled and what was handed
    /// over before then, and what was done about those alarms. They stay what they are here and there; a neighbour restored from an older backup would not hear of them again. Records
    /// stay in it: by what was told of one it is known that it must be withdrawn.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn trim_feed(&self, way: &str, told: i64, before: Timestamp) -> Result<u64, StoreError> {
        const TRIM: &str = "DELETE FROM link_feed WHERE way = $1 AND seq <= $2 AND (
  (kind IN ('alarm', 'handling') AND subject IN (
    SELECT COALESCE(a.home, n.id) || '/' || a.id FROM alarm AS a INNER JOIN node AS n ON n.relation = 'self' WHERE a.returned_at_us < $3))
  OR (kind = 'proof' AND subject IN (SELECT p.origin || '/' || p.day || '/' || p.holder FROM proof AS p WHERE p.at_us < $4))
  OR (kind IN ('order', 'answer') AND subject IN (
    SELECT o.origin || '/' || o.id FROM link_order AS o WHERE o.said = o.state AND o.ended_at_us < $5))
  OR (kind = 'transfer' AND EXISTS (
    SELECT 1 FROM transfer AS t WHERE t.ended_at_us < $6 AND link_feed.subject LIKE t.origin || '/' || t.id || '/%')))";
        let mut tx = self.db.begin().await?;
        let n = tx.run(sql(TRIM).bind(way).bind(told).bind(before).bind(before).bind(before).bind(before)).await?;
        tx.commit().await?;
        Ok(n)
    }

    /// Tells the parent how these nodes below stand now, for what changes too often to be told each time.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn tell_nodes(&self, ids: &[NodeId]) -> Result<(), StoreError> {
        let standing = self.network.get();
        if standing.parent.is_none() || ids.is_empty() {
            return Ok(());
        }
        let mut told = Told::default();
        ids.iter().for_each(|id| told.node_below(*id));
        let mut tx = self.db.begin().await?;
        let put = told.put(&mut tx, standing).await?;
        tx.commit().await?;
        self.network.grew(put);
        Ok(())
    }

    /// Changes whenever a feed has grown; [`Store::feed_end_known`] says how far.
    pub fn feed_grown(&self) -> watch::Receiver<u64> {
        self.network.1.told.subscribe()
    }

    /// The newest number of a way that this process has committed; 0 = none since it started.
    pub fn feed_end_known(&self, way: &str) -> i64 {
        self.network.1.ends.lock().unwrap_or_else(PoisonError::into_inner).get(way).copied().unwrap_or(0)
    }
}
