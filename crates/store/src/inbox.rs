//! What comes from other nodes: their feed, applied together with how far it reaches, and which part of their log is here.
//!
//! Everything in an entry was written elsewhere: it is checked against what the neighbour's certificate vouches for, entry by entry; what does not hold is
//! refused and counted, and the rest goes on. An entry that makes the database fail would come again for ever, so whatever could is looked for first.
//! Rows made here are the other node's (table `mirror`): here they are read-only. Start at [`Store::apply_feed`].

use std::collections::{BTreeMap, BTreeSet};

use anlan_model::noun::Point;
use anlan_model::{
    AlarmId, DeviceId, EnterpriseId, Level, NodeId, NodeLevel, PointId, RecordId, RegionCode, RuleKind, Scope, Subject, Timestamp,
    TransferId, Trust, VehicleId, Wgs84,
};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::audit::{Change, Entry, Holder};
use crate::db::{Row, Sql, Tx, sql};
use crate::feed::{
    AlarmBody, DeviceBody, EnterpriseBody, FeedEntry, HandlingBody, HandlingsBody, MemberBody, NodeBody, PointBody, ProofBody, VehicleBody,
};
use crate::node::{NO_SECRET, NodeState};
use crate::{Store, StoreError};

/// An alarm that had returned when it came, and was raised this long before, is history here: it wakes nobody.
const LATE_US: i64 = 5 * 60 * 1_000_000;
/// Longest body, in bytes.
const BODY_MAX: usize = 64 * 1024;
/// Longest text of a field, in characters.
const TEXT_MAX: usize = 1_000;
/// Levels that have handled one alarm, at most.
const HANDLINGS_MAX: usize = 16;
/// What entries can be about.
const KINDS: [&str; 16] = [
    "node",
    "enterprise",
    "device",
    "point",
    "vehicle",
    "alarm",
    "proof",
    "record",
    "handling",
    "order",
    "answer",
    "pack",
    "roster",
    "transfer",
    "transferred",
    "thinned",
];
/// Seconds between readings, as far as they are believed.
const PERIOD_S: std::ops::RangeInclusive<f64> = 0.001..=31.0 * 86_400.0;
/// Points that one combination looks at, at most.
const MEMBERS_MAX: usize = 64;
/// One event says this often that a neighbour's entries are refused.
const HOUR_US: i64 = 3_600_000_000;

/// The neighbour that sends, and what it is believed about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its id.
    pub id: NodeId,
    /// Its level.
    pub level: NodeLevel,
    /// Its territory: what it says about enterprises there is taken. Not asked of an enterprise's node.
    pub region: Option<RegionCode>,
    /// Of an enterprise's node: the only code it may speak of.
    pub enterprise: Option<String>,
}

/// What an application did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Whether anything was applied; false = the entries do not follow on what is here (a repeat).
    pub is_new: bool,
    /// How far the neighbour's feed is here now.
    pub feed: i64,
    /// Enterprises made or changed, for the registry.
    pub enterprises: Vec<EnterpriseId>,
    /// Devices made or changed, or with points that were.
    pub devices: Vec<DeviceId>,
    /// Vehicles made or changed.
    pub vehicles: Vec<VehicleId>,
    /// Alarms that changed, for the live streams.
    pub alarms: Vec<AlarmId>,
    /// Records of other nodes that changed or are gone, for the live streams.
    pub records: Vec<RecordId>,
    /// Nodes that changed.
    pub nodes: Vec<NodeId>,
    /// Orders for this node came, or were taken back.
    pub orders: bool,
    /// Enterprises that were handed over to this node, to be taken now.
    pub transfers: Vec<TransferId>,
    /// Entries that were refused.
    pub refused: Vec<Refused>,
}

/// An entry that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its kind.
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// `territory`: outside of what the certificate vouches for; `origin`, `home`: of another node than the neighbour may speak for; `body`, `subject`,
    /// `kind`, `size`: not understood; `taken`: its code is another's here; `unknown`: about an alarm or an order that is not here, for a node that is not
    /// below.
    pub reason: &'static str,
}

/// What of a neighbour is durable here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inbox {
    /// Its feed up to here.
    pub feed: i64,
    /// The start of it that told the last of that: how many times it had started, a colon, which start.
    pub feed_of: String,
    /// Positions of its log: JSON `{"ranges":[[first, last], …],"mark":[position, tag]}`; empty = none.
    pub log: String,
}

/// A point of another node and what it is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mirrored {
    /// Its home.
    pub origin: NodeId,
    /// Its id there.
    pub remote: i64,
    /// The point here.
    pub local: PointId,
}

/// Why an entry is not taken.
pub(crate) enum Fault {
    /// It is refused; the others go on.
    Refused(&'static str),
    /// Nothing can be applied now.
    Store(StoreError),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Store {
    /// What of a neighbour is durable here.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn inbox(&self, node: NodeId) -> Result<Inbox, StoreError> {
        let row = self.db.row(sql("SELECT feed, feed_of, log FROM link_inbox WHERE node = $1").bind(node)).await?;
        let Some(row) = row else { return Ok(Inbox { ..Inbox::default() }) };
        Ok(Inbox { feed: row.get("feed")?, feed_of: row.get("feed_of")?, log: row.get("log")? })
    }

    /// Notes which part of a neighbour's log is durable here.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn put_inbox_log(&self, node: NodeId, log: &str) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        let put = sql("INSERT INTO link_inbox (node, feed, feed_of, log) VALUES ($1, 0, '', $2)
ON CONFLICT (node) DO UPDATE SET log = excluded.log");
        tx.run(put.bind(node).bind(log)).await?;
        tx.commit().await
    }

    /// Forgets what of a neighbour is here, so that it sends everything again. Applying it again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn reset_inbox(&self, node: NodeId) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        tx.run(sql("DELETE FROM link_inbox WHERE node = $1").bind(node)).await?;
        tx.commit().await
    }

    /// Every point of other nodes.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn mirrored_points(&self) -> Result<Vec<Mirrored>, StoreError> {
        let rows = self.db.rows(sql("SELECT node, remote_id, local_id FROM mirror WHERE kind = 'point' ORDER BY node, remote_id")).await?;
        rows.iter().map(read_mirrored).collect()
    }

    /// Points of other nodes on these devices.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn mirrored_points_of(&self, devices: &[DeviceId]) -> Result<Vec<Mirrored>, StoreError> {
        let select = "SELECT m.node, m.remote_id, m.local_id FROM mirror AS m
INNER JOIN point AS p ON p.id = m.local_id
WHERE m.kind = 'point'";
        self.db.rows_among(select, "p.device_id", devices).await?.iter().map(read_mirrored).collect()
    }

    /// Applies the entries of `peer` behind `after` and up to `upto`, all in one transaction with the cursor. If its feed is not at `after` here, nothing
    /// happens: it is a repeat, or something was left out. `entries` may be fewer than the numbers between: a subject stands once, at its newest.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a neighbour that may not take part, [`StoreError::Database`]; then nothing was applied.
    pub async fn apply_feed(
        &self,
        peer: &Peer,
        after: i64,
        upto: i64,
        entries: &[FeedEntry],
        now: Timestamp,
    ) -> Result<Applied, StoreError> {
        let scope = Scope::node();
        let mut change = self.change(&scope, now).await?;
        let (is_parent, own) = {
            let standing = self.network.get();
            (standing.parent == Some(peer.id), standing.own.ok_or(StoreError::NotFound)?)
        };
        let q = sql("SELECT state, relation, starts, nonce FROM node WHERE id = $1").bind(peer.id);
        let row = change.tx.row(q).await?.ok_or(StoreError::NotFound)?;
        let relation: String = row.get("relation")?;
        let told_by = match row.get::<Option<String>>("nonce")? {
            Some(nonce) => format!("{}:{nonce}", row.get::<i64>("starts")?),
            None => String::new(),
        };
        if row.word("state", NodeState::parse)? != NodeState::Active || !matches!(relation.as_str(), "parent" | "child") {
            return Err(StoreError::NotFound);
        }
        let open = sql("INSERT INTO link_inbox (node, feed, feed_of, log) VALUES ($1, 0, '', '')
ON CONFLICT (node) DO UPDATE SET feed = link_inbox.feed RETURNING feed");
        let feed: i64 = change.tx.row(open.bind(peer.id)).await?.ok_or(StoreError::NotFound)?.get("feed")?;
        if feed != after || upto < after {
            return Ok(Applied { feed, ..Applied::default() });
        }
        let mut apply = Apply { change, peer, own, is_parent, below: BTreeSet::new(), done: Applied::default(), counts: BTreeMap::new() };
        apply.read_below().await?;
        // Nodes first: what follows may come from one that is new.
        let (nodes, others): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| entry.kind == "node");
        for entry in nodes.into_iter().chain(others) {
            let mark = apply.mark().await?;
            match apply.entry(entry).await {
                Ok(()) => apply.change.tx.run(sql("RELEASE SAVEPOINT entry")).await.map(drop)?,
                Err(Fault::Refused(reason)) => {
                    apply.back_to(mark).await?;
                    apply.done.refused.push(Refused { kind: short(&entry.kind), subject: short(&entry.subject), reason });
                }
                Err(Fault::Store(error)) => return Err(error),
            }
        }
        let Apply { mut change, mut done, counts, .. } = apply;
        change.tx.run(sql("UPDATE link_inbox SET feed = $1, feed_of = $2 WHERE node = $3").bind(upto).bind(told_by).bind(peer.id)).await?;
        tell_refused(&mut change, peer.id, &done.refused).await?;
        if !counts.is_empty() {
            let detail = json!({"counts": counts, "upto": upto});
            let row =
                json!({"id": peer.id.to_string(), "enterprises": done.enterprises, "devices": done.devices, "vehicles": done.vehicles});
            let entry = Entry { action: "receive", noun: "node", subject: peer.id.to_string(), detail, row, holder: Holder::NONE };
            change.record(entry).await?;
        }
        change.moves |= !done.devices.is_empty() || !done.vehicles.is_empty() || !done.enterprises.is_empty();
        change.renames |= !done.nodes.is_empty();
        change.commit().await?;
        once(&mut done.enterprises);
        once(&mut done.devices);
        once(&mut done.vehicles);
        once(&mut done.alarms);
        once(&mut done.records);
        once(&mut done.nodes);
        Ok(Applied { is_new: true, feed: upto, ..done })
    }
}

fn once<T: Ord>(list: &mut Vec<T>) {
    list.sort_unstable();
    list.dedup();
}

fn read_mirrored(row: &Row) -> Result<Mirrored, StoreError> {
    Ok(Mirrored { origin: row.get("node")?, remote: row.get("remote_id")?, local: row.get("local_id")? })
}

/// That a row of this `kind` (`device`, `point`, `record`) is this node's own.
pub(crate) async fn must_be_own(tx: &mut Tx, kind: &'static str, id: i64) -> Result<(), StoreError> {
    let q = sql("SELECT m.node, n.name FROM mirror AS m LEFT JOIN node AS n ON n.id = m.node WHERE m.kind = $1 AND m.local_id = $2");
    let Some(row) = tx.row(q.bind(kind).bind(id)).await? else { return Ok(()) };
    let name: Option<String> = row.get("name")?;
    Err(StoreError::Mirrored { node: name.map_or_else(|| row.get("node"), Ok)? })
}

/// That an enterprise is this node's own.
pub(crate) async fn must_be_own_enterprise(tx: &mut Tx, id: EnterpriseId) -> Result<(), StoreError> {
    let q = sql("SELECT e.home, n.name FROM enterprise AS e INNER JOIN node AS n ON n.id = e.home WHERE e.id = $1");
    let Some(row) = tx.row(q.bind(id)).await? else { return crate::transfer::must_stand(tx, id).await };
    Err(StoreError::Mirrored { node: row.get("name")? })
}

/// Where an application stood before an entry.
struct Mark {
    done: [usize; 6],
    standing: usize,
    counts: BTreeMap<&'static str, u64>,
    transfers: usize,
    orders: bool,
    told: crate::feed::ToldMark,
}

/// An application under way.
pub(crate) struct Apply<'a> {
    pub(crate) change: Change<'a>,
    pub(crate) peer: &'a Peer,
    pub(crate) own: NodeId,
    pub(crate) is_parent: bool,
    /// Nodes heard through the peer.
    pub(crate) below: BTreeSet<NodeId>,
    pub(crate) done: Applied,
    /// Changed rows by noun, for the audit.
    counts: BTreeMap<&'static str, u64>,
}

impl Apply<'_> {
    async fn read_below(&mut self) -> Result<(), StoreError> {
        let q = sql("SELECT id FROM node WHERE relation = 'behind' AND via = $1").bind(self.peer.id);
        for row in self.change.tx.rows(q).await? {
            self.below.insert(row.get("id")?);
        }
        Ok(())
    }

    /// What is refused leaves nothing behind; what it would have told is read as it is in the end.
    async fn mark(&mut self) -> Result<Mark, StoreError> {
        self.change.tx.run(sql("SAVEPOINT entry")).await?;
        let Applied { enterprises, devices, vehicles, alarms, records, nodes, .. } = &self.done;
        let done = [enterprises.len(), devices.len(), vehicles.len(), alarms.len(), records.len(), nodes.len()];
        Ok(Mark {
            done,
            standing: self.change.standing.len(),
            counts: self.counts.clone(),
            transfers: self.done.transfers.len(),
            orders: self.done.orders,
            told: self.change.told.mark(),
        })
    }

    async fn back_to(&mut self, mark: Mark) -> Result<(), StoreError> {
        self.change.tx.run(sql("ROLLBACK TO SAVEPOINT entry")).await?;
        self.change.tx.run(sql("RELEASE SAVEPOINT entry")).await?;
        let [enterprises, devices, vehicles, alarms, records, nodes] = mark.done;
        self.done.enterprises.truncate(enterprises);
        self.done.devices.truncate(devices);
        self.done.vehicles.truncate(vehicles);
        self.done.alarms.truncate(alarms);
        self.done.records.truncate(records);
        for node in self.done.nodes.split_off(nodes) {
            self.below.remove(&node);
        }
        self.change.standing.truncate(mark.standing);
        self.counts = mark.counts;
        self.done.transfers.truncate(mark.transfers);
        self.done.orders = mark.orders;
        self.change.told.back_to(mark.told);
        Ok(())
    }

    async fn entry(&mut self, entry: &FeedEntry) -> Result<(), Fault> {
        if entry.body.len() > BODY_MAX {
            return Err(Fault::Refused("size"));
        }
        let (origin, id) = entry.subject.split_once('/').ok_or(Fault::Refused("subject"))?;
        let origin: NodeId = origin.parse().map_err(|_| Fault::Refused("subject"))?;
        let number = || id.parse::<i64>().map_err(|_| Fault::Refused("subject"));
        match (self.is_parent, entry.kind.as_str()) {
            (true, "node") => self.node_above(parse(&entry.body)?).await,
            (true, "handling") => self.handling(parse(&entry.body)?).await,
            // From the wrong side they are refused as what they are.
            (_, "order") => self.order(origin, id, &entry.body).await,
            (_, "answer") => self.answer(origin, id, &entry.body).await,
            (_, "transfer") => self.transfer(origin, id, &entry.body).await,
            (_, "transferred") => self.transferred(origin, id, &entry.body).await,
            (true, "pack") => self.pack(origin, id, parse(&entry.body)?).await,
            (true, "roster") => self.roster(origin, parse(&entry.body)?).await,
            (false, "node") => self.node_below(origin, parse(&entry.body)?).await,
            (false, "enterprise") => {
                self.may_speak_for(origin)?;
                let body: EnterpriseBody = parse(&entry.body)?;
                match &body.moved_to {
                    Some(to) => self.enterprise_moved(origin, number()?, &body, to).await,
                    None => self.enterprise(origin, number()?, &body).await,
                }
            }
            (false, "device") => {
                self.may_speak_for(origin)?;
                let body: DeviceBody = parse(&entry.body)?;
                if body.id != number()? {
                    return Err(Fault::Refused("subject"));
                }
                self.device(origin, &body, true).await.map(drop)
            }
            (false, "point") => {
                self.may_speak_for(origin)?;
                let body: PointBody = parse(&entry.body)?;
                if body.id != number()? {
                    return Err(Fault::Refused("subject"));
                }
                self.point(origin, &body, true).await.map(drop)
            }
            (false, "vehicle") => {
                self.may_speak_for(origin)?;
                let body: VehicleBody = parse(&entry.body)?;
                if body.id != number()? {
                    return Err(Fault::Refused("subject"));
                }
                self.vehicle(origin, &body, true).await.map(drop)
            }
            (false, "alarm") => {
                self.may_speak_for(origin)?;
                let id = id.parse().map_err(|_| Fault::Refused("subject"))?;
                self.alarm(origin, id, parse(&entry.body)?).await
            }
            (false, "record") => {
                self.may_speak_for(origin)?;
                self.record(origin, number()?, &entry.body).await
            }
            (false, "proof") => {
                self.may_speak_for(origin)?;
                self.proof(origin, parse(&entry.body)?).await
            }
            (false, "thinned") => {
                self.may_speak_for(origin)?;
                let body: crate::thinned::ThinnedBody = parse(&entry.body)?;
                self.may_speak_for(body.holder)?;
                if body.origin != origin || !crate::thinned::is_sound(&body) {
                    return Err(Fault::Refused("body"));
                }
                crate::thinned::keep(&mut self.change.tx, &body).await?;
                self.change.told.thinned(origin, &body.day, body.holder);
                Ok(())
            }
            _ => Err(Fault::Refused("kind")),
        }
    }

    /// That the peer may speak for this node: it is itself, or is heard through it.
    pub(crate) fn may_speak_for(&self, origin: NodeId) -> Result<(), Fault> {
        if origin == self.peer.id || self.below.contains(&origin) { Ok(()) } else { Err(Fault::Refused("origin")) }
    }

    /// That the peer may speak of this enterprise.
    fn vouches(&self, code: &str, region: &RegionCode) -> Result<(), Fault> {
        let may = match self.peer.level {
            NodeLevel::Enterprise => self.peer.enterprise.as_deref() == Some(code),
            _ => self.peer.region.as_ref().is_some_and(|own| own.holds(region)),
        };
        if may { Ok(()) } else { Err(Fault::Refused("territory")) }
    }

    pub(crate) fn count(&mut self, noun: &'static str) {
        *self.counts.entry(noun).or_default() += 1;
    }

    pub(crate) async fn local(&mut self, origin: NodeId, kind: &'static str, remote: i64) -> Result<Option<i64>, StoreError> {
        let q = sql("SELECT local_id FROM mirror WHERE node = $1 AND kind = $2 AND remote_id = $3");
        self.change.tx.row(q.bind(origin).bind(kind).bind(remote)).await?.map(|row| row.get("local_id")).transpose()
    }

    pub(crate) async fn mirror(
        &mut self,
        origin: NodeId,
        kind: &'static str,
        remote: i64,
        local: i64,
        mark: Option<&str>,
    ) -> Result<(), StoreError> {
        let put = sql("INSERT INTO mirror (node, kind, remote_id, local_id, mark) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (node, kind, remote_id) DO UPDATE SET local_id = excluded.local_id, mark = COALESCE(excluded.mark, mirror.mark)");
        self.change.tx.run(put.bind(origin).bind(kind).bind(remote).bind(local).bind(mark)).await.map(drop)
    }

    /// The enterprise here that its home means: what bears this id there, unless that is another's by now; else what bore its mark under another id.
    async fn enterprise_of(&mut self, origin: NodeId, remote: i64, mark: Option<&str>) -> Result<Option<i64>, StoreError> {
        let q = sql("SELECT local_id, mark FROM mirror WHERE node = $1 AND kind = 'enterprise' AND remote_id = $2");
        if let Some(row) = self.change.tx.row(q.bind(origin).bind(remote)).await? {
            let known: Option<String> = row.get("mark")?;
            if mark.is_none() || known.is_none() || known.as_deref() == mark {
                return Ok(Some(row.get("local_id")?));
            }
            self.unname(origin, "enterprise", remote).await?;
        }
        let q = sql("UPDATE mirror SET remote_id = $1 WHERE node = $2 AND kind = 'enterprise' AND remote_id = (
  SELECT MAX(m.remote_id) FROM mirror AS m WHERE m.node = $2 AND m.kind = 'enterprise' AND m.mark = $3)
RETURNING local_id");
        let row = self.change.tx.row(q.bind(remote).bind(origin).bind(mark)).await?;
        row.map(|row| row.get("local_id")).transpose()
    }

    /// The id has come to be another's at its home, which was restored from a backup: what bore it here stays the other node's, under a negative id, and
    /// nothing more is heard of it.
    pub(crate) async fn unname(&mut self, origin: NodeId, kind: &'static str, remote: i64) -> Result<(), StoreError> {
        const FREE: &str = "UPDATE mirror SET remote_id = (
  SELECT COALESCE(MIN(CASE WHEN m.remote_id < 0 THEN m.remote_id END), 0) - 1 FROM mirror AS m WHERE m.node = $1 AND m.kind = $2)
WHERE node = $3 AND kind = $4 AND remote_id = $5";
        let q = sql(FREE).bind(origin).bind(kind).bind(origin).bind(kind).bind(remote);
        self.change.tx.run(q).await.map(drop)
    }

    /// What this `code` is of here, as `select` finds it by: of the same node it bears the new id from now on.
    async fn renamed(&mut self, select: Sql, origin: NodeId, kind: &'static str, remote: i64) -> Result<Option<i64>, Fault> {
        let Some(row) = self.change.tx.row(select).await? else { return Ok(None) };
        let id: i64 = row.get("id")?;
        let update = sql("UPDATE mirror SET remote_id = $1 WHERE node = $2 AND kind = $3 AND local_id = $4");
        match self.change.tx.run(update.bind(remote).bind(origin).bind(kind).bind(id)).await? {
            0 => Err(Fault::Refused("taken")),
            _ => Ok(Some(id)),
        }
    }

    /// An entry of an enterprise: it is known by what it was called before, or by its code, or is made. Only whoever told of it first changes it.
    async fn enterprise(&mut self, origin: NodeId, remote: i64, body: &EnterpriseBody) -> Result<(), Fault> {
        let (region, place) = checked_enterprise(body)?;
        self.vouches(&body.code, &region)?;
        const SELECT: &str = "SELECT e.id, e.code, e.name, e.region, e.sector, e.lon, e.lat, e.home, e.merged_into FROM enterprise AS e";
        let mark = body.mark.as_deref();
        let known = match self.enterprise_of(origin, remote, mark).await? {
            Some(local) => self.change.tx.row(sql(&format!("{SELECT} WHERE e.id = $1")).bind(local)).await?,
            None => None,
        };
        let by_code = self.change.tx.row(sql(&format!("{SELECT} WHERE e.code = $1")).bind(body.code.as_str())).await?;
        let Some(row) = known.as_ref().or(by_code.as_ref()) else {
            let local = self.make_enterprise(body, &region, place, &origin.to_string()).await?;
            return Ok(self.mirror(origin, "enterprise", remote, local.get(), mark).await?);
        };
        let id: EnterpriseId = row.get("id")?;
        let there: RegionCode = row.get("region")?;
        let merged: Option<EnterpriseId> = row.get("merged_into")?;
        let home: Option<String> = row.get("home")?;
        let is_mine = home.as_deref().is_some_and(|home| home.is_empty() || home == origin.to_string());
        if home.as_deref() != Some(origin.to_string().as_str()) {
            // Another's, or nobody's yet. Not one of a territory that the peer does not speak for.
            self.vouches(&body.code, &there)?;
        }
        if known.is_none() && is_mine && mark.is_some() {
            // Made again at its home under the same code: it goes on here as that.
            let drop_old = sql("DELETE FROM mirror WHERE node = $1 AND kind = 'enterprise' AND local_id = $2");
            self.change.tx.run(drop_old.bind(origin).bind(id)).await?;
        }
        self.mirror(origin, "enterprise", remote, merged.unwrap_or(id).get(), mark).await?;
        if !is_mine || merged.is_some() {
            return Ok(());
        }
        let (code, name): (String, String) = (row.get("code")?, row.get("name")?);
        if code != body.code && by_code.is_some() {
            return Err(Fault::Refused("taken"));
        }
        let is_same = code == body.code
            && name == body.name
            && there == region
            && row.get::<String>("sector")? == body.sector
            && crate::enterprise::read_place(row)? == place
            && home.as_deref().is_some_and(|home| !home.is_empty());
        if is_same {
            return Ok(());
        }
        let update = sql(
            "UPDATE enterprise SET code = $1, name = $2, region = $3, sector = $4, lon = $5, lat = $6, home = $7, revision = revision + 1
WHERE id = $8",
        );
        let update = update.bind(body.code.as_str()).bind(body.name.as_str()).bind(&region).bind(body.sector.as_str());
        let update = update.bind(place.map(|p| p.lon)).bind(place.map(|p| p.lat)).bind(origin).bind(id);
        self.change.tx.run(update).await?;
        crate::record::follow_enterprise(&mut self.change, id, name != body.name || code != body.code).await?;
        self.touched_enterprise(id);
        Ok(())
    }

    /// Its home says that it is another's now.
    async fn enterprise_moved(&mut self, origin: NodeId, remote: i64, body: &EnterpriseBody, to: &str) -> Result<(), Fault> {
        let (region, _) = checked_enterprise(body)?;
        self.vouches(&body.code, &region)?;
        let (node, there) = subject_of(to)?;
        self.may_speak_for(node)?;
        let known = self.enterprise_of(origin, remote, body.mark.as_deref()).await?;
        let q = match known {
            Some(local) => sql("SELECT e.id, e.home, e.region FROM enterprise AS e WHERE e.id = $1").bind(local),
            None => sql("SELECT e.id, e.home, e.region FROM enterprise AS e WHERE e.code = $1").bind(body.code.as_str()),
        };
        let Some(row) = self.change.tx.row(q).await? else { return Ok(()) };
        if row.get::<Option<String>>("home")?.as_deref() != Some(origin.to_string().as_str()) {
            return Ok(());
        }
        self.vouches(&body.code, &row.get("region")?)?;
        let id: EnterpriseId = row.get("id")?;
        self.change.tx.run(sql("UPDATE enterprise SET home = $1 WHERE id = $2").bind(node).bind(id)).await?;
        self.mirror(node, "enterprise", there, id.get(), None).await?;
        self.change.told.moved_enterprise(crate::feed::entry("enterprise", origin, remote, body)?);
        self.touched_enterprise(id);
        Ok(())
    }

    pub(crate) fn touched_enterprise(&mut self, id: EnterpriseId) {
        self.change.told.enterprise(id);
        self.done.enterprises.push(id);
        self.count("enterprise");
    }

    async fn make_enterprise(
        &mut self,
        body: &EnterpriseBody,
        region: &RegionCode,
        place: Option<Wgs84>,
        home: &str,
    ) -> Result<EnterpriseId, StoreError> {
        let insert =
            sql("INSERT INTO enterprise (code, name, region, sector, lon, lat, home) VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id");
        let insert = insert.bind(body.code.as_str()).bind(body.name.as_str()).bind(region).bind(body.sector.as_str());
        let insert = insert.bind(place.map(|p| p.lon)).bind(place.map(|p| p.lat)).bind(home);
        let id = self.change.tx.row(insert).await?.ok_or(StoreError::NotFound)?.get("id")?;
        self.touched_enterprise(id);
        Ok(id)
    }

    /// The enterprise that a device belongs to; made if nobody has told of it.
    pub(crate) async fn owner(&mut self, origin: NodeId, body: Option<&EnterpriseBody>) -> Result<Option<EnterpriseId>, Fault> {
        let Some(body) = body else { return Ok(None) };
        let (region, place) = checked_enterprise(body)?;
        const SELECT: &str = "SELECT id, code, region, merged_into FROM enterprise WHERE";
        let known = match body.id {
            Some(remote) => self.enterprise_of(origin, remote, body.mark.as_deref()).await?,
            None => None,
        };
        let q = match known {
            Some(local) => sql(&format!("{SELECT} id = $1")).bind(local),
            None => sql(&format!("{SELECT} code = $1")).bind(body.code.as_str()),
        };
        let Some(row) = self.change.tx.row(q).await? else {
            self.vouches(&body.code, &region)?;
            let id = self.make_enterprise(body, &region, place, "").await?;
            if let Some(remote) = body.id {
                self.mirror(origin, "enterprise", remote, id.get(), body.mark.as_deref()).await?;
            }
            return Ok(Some(id));
        };
        self.vouches(&row.get::<String>("code")?, &row.get("region")?)?;
        let merged: Option<EnterpriseId> = row.get("merged_into")?;
        Ok(Some(merged.map_or_else(|| row.get("id"), Ok)?))
    }

    /// A device, made if it is unknown; `newest`: what the body says is its newest state.
    async fn device(&mut self, origin: NodeId, body: &DeviceBody, newest: bool) -> Result<DeviceId, Fault> {
        let code = format!("{}:{}", &origin.to_string()[..8], body.code);
        let q = sql("SELECT d.id, d.code FROM mirror AS m INNER JOIN device AS d ON d.id = m.local_id
WHERE m.node = $1 AND m.kind = 'device' AND m.remote_id = $2");
        let mut known = None;
        if let Some(row) = self.change.tx.row(q.bind(origin).bind(body.id)).await? {
            let id: DeviceId = row.get("id")?;
            if row.get::<String>("code")? == code {
                known = Some(id);
            } else {
                self.unname(origin, "device", body.id).await?;
            }
        }
        if let Some(id) = known.filter(|_| !newest) {
            return Ok(id);
        }
        texts(&[(&body.code, true), (&body.name, false), (&body.protocol, false)])?;
        if known.is_none() {
            let q = sql("SELECT id FROM device WHERE code = $1").bind(code.as_str());
            known = self.renamed(q, origin, "device", body.id).await?.map(DeviceId::new);
        }
        let enterprise = self.owner(origin, body.enterprise.as_ref()).await?;
        if let Some(id) = known {
            let q = sql("SELECT name, enterprise_id FROM device WHERE id = $1").bind(id);
            let row = self.change.tx.row(q).await?.ok_or(StoreError::NotFound)?;
            if row.get::<String>("name")? != body.name || row.get::<Option<EnterpriseId>>("enterprise_id")? != enterprise {
                let update = sql("UPDATE device SET name = $1, enterprise_id = $2, revision = revision + 1 WHERE id = $3");
                self.change.tx.run(update.bind(body.name.as_str()).bind(enterprise).bind(id)).await?;
                self.touched_device(id);
                self.count("device");
            }
            return Ok(id);
        }
        let insert =
            sql("INSERT INTO device (code, name, enterprise_id, protocol, secret_hash) VALUES ($1, $2, $3, 'link', $4) RETURNING id");
        let insert = insert.bind(code).bind(body.name.as_str()).bind(enterprise).bind(NO_SECRET);
        let id: DeviceId = self.change.tx.row(insert).await?.ok_or(StoreError::NotFound)?.get("id")?;
        self.mirror(origin, "device", body.id, id.get(), None).await?;
        self.touched_device(id);
        self.count("device");
        Ok(id)
    }

    fn touched_device(&mut self, id: DeviceId) {
        self.change.told.device(id);
        self.done.devices.push(id);
    }

    /// A point, made if it is unknown: from its own entry as that says, from that of an alarm unconfirmed.
    async fn point(&mut self, origin: NodeId, body: &PointBody, newest: bool) -> Result<PointId, Fault> {
        let device = self.device(origin, &body.device, false).await?;
        let q = sql("SELECT p.id, p.code, p.device_id FROM mirror AS m INNER JOIN point AS p ON p.id = m.local_id
WHERE m.node = $1 AND m.kind = 'point' AND m.remote_id = $2");
        let mut known = None;
        if let Some(row) = self.change.tx.row(q.bind(origin).bind(body.id)).await? {
            let (id, of): (PointId, DeviceId) = (row.get("id")?, row.get("device_id")?);
            if row.get::<String>("code")? == body.code && of == device {
                known = Some(id);
            } else {
                self.unname(origin, "point", body.id).await?;
                self.done.devices.push(of);
            }
        }
        if let Some(id) = known.filter(|_| !newest) {
            return Ok(id);
        }
        texts(&[(&body.code, true), (&body.name, false), (&body.unit, false), (&body.kind, false), (&body.site, false)])?;
        let source = body.limits_source.clone();
        if let Some(source) = &source {
            texts(&[(&source.document, false), (&source.clause, false)])?;
        }
        let mut after = Point {
            id: PointId::new(0),
            device,
            enterprise: None,
            site: body.site.clone(),
            code: body.code.clone(),
            name: body.name.clone(),
            unit: body.unit.clone(),
            kind: body.kind.clone(),
            // 0 = unknown.
            period_s: Some(body.period_s).filter(|s| PERIOD_S.contains(s)).unwrap_or(0.0),
            range_low: body.range_low,
            range_high: body.range_high,
            limits: body.limits.clone(),
            limits_source: source,
            confirmed: newest && body.confirmed,
            place: place(body.lon, body.lat)?,
            revision: 1,
        };
        if known.is_none() {
            let q = sql("SELECT id FROM point WHERE device_id = $1 AND code = $2").bind(device).bind(body.code.as_str());
            known = self.renamed(q, origin, "point", body.id).await?.map(PointId::new);
            self.done.devices.extend(known.map(|_| device));
        }
        if let Some(id) = known {
            let before = crate::point::by_id(&mut self.change.tx, id).await?;
            after = Point {
                id,
                device: before.device,
                enterprise: before.enterprise,
                code: before.code.clone(),
                revision: before.revision,
                ..after
            };
            if before != after {
                after.revision += 1;
                crate::point::write(&mut self.change, &after).await?;
                self.touched_point(after.id, after.device);
            }
            return Ok(id);
        }
        after.id = crate::point::insert(&mut self.change, &after).await?;
        self.mirror(origin, "point", body.id, after.id.get(), None).await?;
        self.touched_point(after.id, device);
        Ok(after.id)
    }

    fn touched_point(&mut self, id: PointId, device: DeviceId) {
        self.change.told.point(id);
        self.done.devices.push(device);
        self.count("point");
    }

    /// A vehicle, made if it is unknown; `newest`: what the body says is its newest state.
    async fn vehicle(&mut self, origin: NodeId, body: &VehicleBody, newest: bool) -> Result<VehicleId, Fault> {
        let phone = format!("{}:{}", &origin.to_string()[..8], body.phone);
        let q = sql("SELECT v.id, v.phone FROM mirror AS m INNER JOIN vehicle AS v ON v.id = m.local_id
WHERE m.node = $1 AND m.kind = 'vehicle' AND m.remote_id = $2");
        let mut known = None;
        if let Some(row) = self.change.tx.row(q.bind(origin).bind(body.id)).await? {
            if row.get::<String>("phone")? == phone {
                known = Some(row.get("id")?);
            } else {
                self.unname(origin, "vehicle", body.id).await?;
            }
        }
        if let Some(id) = known.filter(|_| !newest) {
            return Ok(id);
        }
        texts(&[(&body.phone, true), (&body.plate, false), (&body.kind, false)])?;
        let trust = Trust::parse(&body.trust).ok_or(Fault::Refused("body"))?;
        let region = body.region.as_deref().map(|text| RegionCode::new(text).ok_or(Fault::Refused("body"))).transpose()?;
        let enterprise = self.owner(origin, body.enterprise.as_ref()).await?;
        let region = region.filter(|_| enterprise.is_none());
        if region.as_ref().is_some_and(|region| !self.peer.region.as_ref().is_some_and(|own| own.holds(region))) {
            return Err(Fault::Refused("territory"));
        }
        if known.is_none() {
            let q = sql("SELECT id FROM vehicle WHERE phone = $1").bind(phone.as_str());
            known = self.renamed(q, origin, "vehicle", body.id).await?.map(VehicleId::new);
        }
        if let Some(id) = known {
            let update = sql("UPDATE vehicle SET plate = $1, kind = $2, enterprise_id = $3, region = $4, trust = $5, speed_limit_kmh = $6,
  revision = revision + 1
WHERE id = $7 AND (plate <> $1 OR kind <> $2 OR COALESCE(enterprise_id, 0) <> COALESCE($3, 0) OR COALESCE(region, '') <> COALESCE($4, '')
  OR trust <> $5 OR COALESCE(speed_limit_kmh, -1.0) <> COALESCE($6, -1.0))");
            let update = update.bind(body.plate.as_str()).bind(body.kind.as_str()).bind(enterprise).bind(region).bind(trust.as_str());
            if self.change.tx.run(update.bind(body.speed_limit_kmh).bind(id)).await? > 0 {
                self.touched_vehicle(id);
            }
            return Ok(id);
        }
        let insert = sql("INSERT INTO vehicle (phone, plate, kind, enterprise_id, region, trust, adopted, speed_limit_kmh)
VALUES ($1, $2, $3, $4, $5, $6, 1, $7) RETURNING id");
        let insert = insert.bind(phone).bind(body.plate.as_str()).bind(body.kind.as_str()).bind(enterprise).bind(region);
        let row = self.change.tx.row(insert.bind(trust.as_str()).bind(body.speed_limit_kmh)).await?;
        let id: VehicleId = row.ok_or(StoreError::NotFound)?.get("id")?;
        self.mirror(origin, "vehicle", body.id, id.get(), None).await?;
        self.touched_vehicle(id);
        Ok(id)
    }

    fn touched_vehicle(&mut self, id: VehicleId) {
        self.change.told.vehicle(id);
        self.done.vehicles.push(id);
        self.count("vehicle");
    }

    async fn alarm(&mut self, origin: NodeId, id: AlarmId, body: AlarmBody) -> Result<(), Fault> {
        let level = Level::parse(&body.level).ok_or(Fault::Refused("body"))?;
        let kind = RuleKind::parse(&body.kind).ok_or(Fault::Refused("body"))?;
        texts(&[(&body.rule, true), (&body.unit, false), (&body.source, false), (&body.confidence, false)])?;
        texts(&body.name.iter().chain(&body.enterprise).map(|text| (text, false)).collect::<Vec<_>>())?;
        let time = Timestamp::from_micros;
        let (onset_at, raised_at) = (time(body.onset_at), time(body.raised_at));
        let mut returned_at = body.returned_at.map(time);
        let stands_at = match (&body.point, &body.vehicle) {
            (Some(point), None) => Subject::Point(self.point(origin, point, false).await?),
            (None, Some(vehicle)) => Subject::Vehicle(self.vehicle(origin, vehicle, false).await?),
            _ => return Err(Fault::Refused("body")),
        };
        let known = self.change.tx.row(sql("SELECT home, returned_at_us, historic FROM alarm WHERE id = $1").bind(id)).await?;
        let is_known = known.is_some();
        if let Some(row) = known {
            if row.get::<Option<NodeId>>("home")? != Some(origin) {
                return Err(Fault::Refused("home"));
            }
            // The condition is told once; only its end comes later, and what people do. An end that was only supposed here gives way to what its home says.
            let known_end: Option<Timestamp> = row.get("returned_at_us")?;
            if let Some(at) = returned_at.filter(|at| known_end != Some(*at)) {
                self.change.tx.run(sql("UPDATE alarm SET returned_at_us = $1 WHERE id = $2").bind(at).bind(id)).await?;
                self.change.standing.push((id, None));
                self.touched_alarm(id);
            }
        } else {
            let historic = body.historic || (returned_at.is_some() && self.change.now.since_us(raised_at) > LATE_US);
            let (subject, point, vehicle) = match stands_at {
                Subject::Point(id) => (format!("point:{id}"), Some(id), None),
                Subject::Vehicle(id) => (format!("vehicle:{id}"), None, Some(id)),
            };
            if returned_at.is_none() && !historic {
                returned_at = self.make_room(origin, &body.rule, &subject, raised_at).await?;
            }
            const OWNER: &str = "LEFT JOIN enterprise AS e ON e.id = COALESCE((SELECT COALESCE(o.merged_into, o.id) FROM enterprise AS o WHERE o.code = $1), x.owner)";
            let q = match stands_at {
                Subject::Point(id) => sql(&format!(
                    "SELECT e.id, e.code, e.region, e.sector, NULL AS own_region
FROM (SELECT d.enterprise_id AS owner FROM point AS p INNER JOIN device AS d ON d.id = p.device_id WHERE p.id = $2) AS x
{OWNER}"
                ))
                .bind(body.enterprise.clone().unwrap_or_default())
                .bind(id),
                Subject::Vehicle(id) => sql(&format!(
                    "SELECT e.id, e.code, e.region, e.sector, x.region AS own_region
FROM (SELECT v.enterprise_id AS owner, v.region FROM vehicle AS v WHERE v.id = $2) AS x
{OWNER}"
                ))
                .bind(body.enterprise.clone().unwrap_or_default())
                .bind(id),
            };
            let owner = self.change.tx.row(q).await?.ok_or(StoreError::NotFound)?;
            let (enterprise, region, sector): (Option<EnterpriseId>, Option<RegionCode>, Option<String>) =
                (owner.get("id")?, owner.get("region")?, owner.get("sector")?);
            if let Some((code, region)) = owner.get::<Option<String>>("code")?.zip(region.clone()) {
                self.vouches(&code, &region)?;
            }
            let region = region.map_or_else(|| owner.get("own_region"), |region| Ok(Some(region)))?;
            let insert = sql("INSERT INTO alarm (id, rule, kind, subject, point_id, unit, enterprise_id, region, sector, level, value, threshold, source,
  confidence, onset_at_us, raised_at_us, returned_at_us, historic, home, name, vehicle_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)");
            let insert = insert.bind(id).bind(body.rule.as_str()).bind(kind.as_str()).bind(subject).bind(point).bind(body.unit.as_str());
            let insert = insert.bind(enterprise).bind(region).bind(sector).bind(level.as_str()).bind(body.value).bind(body.threshold);
            let insert = insert.bind(body.source.as_str()).bind(body.confidence.as_str()).bind(onset_at).bind(raised_at).bind(returned_at);
            self.change.tx.run(insert.bind(historic).bind(origin).bind(body.name.as_deref()).bind(vehicle)).await?;
            let stands = point.filter(|_| returned_at.is_none() && !historic).map(|point| (point, level));
            self.change.standing.push((id, stands));
            self.touched_alarm(id);
        }
        self.members(origin, id, &body.members).await?;
        let below = &self.below;
        let may = |h: &HandlingBody| h.node == self.peer.id || below.contains(&h.node);
        let handlings: Vec<HandlingBody> = body.handlings.iter().filter(|h| may(h)).take(HANDLINGS_MAX).cloned().collect();
        if self.put_handlings(id, &handlings).await? {
            self.touched_alarm(id);
        }
        if is_known && self.is_lacking(id, &body.handlings).await? {
            self.change.told.handled(id);
        }
        Ok(())
    }

    /// Whether a child tells of an alarm without what was done about it here or above. One that was set back refuses what it hears of an alarm that it forgot,
    /// and is told of the alarm by its own child later: so it must be told once more.
    async fn is_lacking(&mut self, id: AlarmId, told: &[HandlingBody]) -> Result<bool, Fault> {
        let q = sql("SELECT level, acknowledged_at_us, closed_at_us FROM alarm_handling WHERE alarm_id = $1").bind(id);
        for row in self.change.tx.rows(q).await? {
            let level: String = row.get("level")?;
            let node: NodeId = level.parse().unwrap_or(self.own);
            if node == self.peer.id || self.below.contains(&node) {
                continue;
            }
            let done: (Option<i64>, Option<i64>) = (row.get("acknowledged_at_us")?, row.get("closed_at_us")?);
            if !told.iter().any(|h| h.node == node && (h.acknowledged_at, h.closed_at) == done) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What a combination looks at.
    async fn members(&mut self, origin: NodeId, alarm: AlarmId, members: &[MemberBody]) -> Result<(), Fault> {
        let mut is_new = false;
        for (place, member) in (0_i64..).zip(members.iter().take(MEMBERS_MAX)) {
            let kind = RuleKind::parse(&member.kind).ok_or(Fault::Refused("body"))?;
            let took_part = member.alarm.as_deref().map(|id| id.parse::<AlarmId>().map_err(|_| Fault::Refused("body"))).transpose()?;
            let point = self.point(origin, &member.point, false).await?;
            let put =
                sql("INSERT INTO alarm_member (alarm_id, point_id, kind, place, combination_id, member_id) VALUES ($1, $2, $3, $4, 0, $5)
ON CONFLICT (alarm_id, point_id, kind) DO UPDATE SET member_id = excluded.member_id
WHERE COALESCE(alarm_member.member_id, '') <> COALESCE(excluded.member_id, '')");
            let put = put.bind(alarm).bind(point).bind(kind.as_str()).bind(place).bind(took_part);
            is_new |= self.change.tx.run(put).await? > 0;
        }
        if is_new {
            self.touched_alarm(alarm);
        }
        Ok(())
    }

    fn touched_alarm(&mut self, id: AlarmId) {
        self.change.told.alarm(id);
        self.done.alarms.push(id);
    }

    /// One occurrence of a rule stands at a point: an older one ends where this one begins, and this one where a newer began; its end, then.
    async fn make_room(&mut self, origin: NodeId, rule: &str, subject: &str, raised_at: Timestamp) -> Result<Option<Timestamp>, Fault> {
        let q =
            sql("SELECT id, home, raised_at_us FROM alarm WHERE rule = $1 AND subject = $2 AND returned_at_us IS NULL AND historic = 0");
        let Some(row) = self.change.tx.row(q.bind(rule).bind(subject)).await? else { return Ok(None) };
        let (id, other): (AlarmId, Timestamp) = (row.get("id")?, row.get("raised_at_us")?);
        if row.get::<Option<NodeId>>("home")? != Some(origin) {
            return Err(Fault::Refused("home"));
        }
        if other > raised_at {
            return Ok(Some(other));
        }
        self.change.tx.run(sql("UPDATE alarm SET returned_at_us = $1 WHERE id = $2").bind(raised_at).bind(id)).await?;
        self.change.standing.push((id, None));
        self.touched_alarm(id);
        Ok(None)
    }

    /// What other levels did; whether anything was new.
    async fn put_handlings(&mut self, id: AlarmId, handlings: &[HandlingBody]) -> Result<bool, Fault> {
        let mut is_new = false;
        for h in handlings.iter().filter(|h| h.node != self.own) {
            let said = [&h.acknowledged_by, &h.acknowledged_note, &h.closed_by, &h.closed_reason];
            texts(&said.into_iter().flatten().map(|text| (text, false)).collect::<Vec<_>>())?;
            let time = |at: Option<i64>| at.map(Timestamp::from_micros);
            let put = sql("INSERT INTO alarm_handling (alarm_id, level, acknowledged_at_us, acknowledged_by, acknowledged_note, closed_at_us, closed_by, closed_reason)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (alarm_id, level) DO UPDATE SET acknowledged_at_us = excluded.acknowledged_at_us, acknowledged_by = excluded.acknowledged_by,
  acknowledged_note = excluded.acknowledged_note, closed_at_us = excluded.closed_at_us, closed_by = excluded.closed_by,
  closed_reason = excluded.closed_reason
WHERE COALESCE(alarm_handling.acknowledged_at_us, 0) <> COALESCE(excluded.acknowledged_at_us, 0)
  OR COALESCE(alarm_handling.closed_at_us, 0) <> COALESCE(excluded.closed_at_us, 0)");
            let put = put.bind(id).bind(h.node).bind(time(h.acknowledged_at)).bind(h.acknowledged_by.as_deref());
            let put = put.bind(h.acknowledged_note.as_deref()).bind(time(h.closed_at)).bind(h.closed_by.as_deref());
            is_new |= self.change.tx.run(put.bind(h.closed_reason.as_deref())).await? > 0;
        }
        Ok(is_new)
    }

    /// From above: what the levels there did about an alarm that is known here.
    async fn handling(&mut self, body: HandlingsBody) -> Result<(), Fault> {
        let id: AlarmId = body.alarm.parse().map_err(|_| Fault::Refused("body"))?;
        if self.change.tx.row(sql("SELECT id FROM alarm WHERE id = $1").bind(id)).await?.is_none() {
            return Err(Fault::Refused("unknown"));
        }
        // What the levels here and below did is told by themselves.
        let mut handlings = Vec::new();
        for h in body.handlings.into_iter().take(HANDLINGS_MAX) {
            if h.node == self.own {
                continue;
            }
            let is_above = h.node == self.peer.id || self.below.contains(&h.node);
            if is_above || self.heard_of_above(&h).await? {
                handlings.push(h);
            }
        }
        if self.put_handlings(id, &handlings).await? {
            self.done.alarms.push(id);
            self.change.told.handled(id);
        }
        Ok(())
    }

    /// A node above the parent that is not known yet is noted as such; one that is known elsewhere is not.
    async fn heard_of_above(&mut self, h: &HandlingBody) -> Result<bool, Fault> {
        if self.change.tx.row(sql("SELECT id FROM node WHERE id = $1").bind(h.node)).await?.is_some() {
            return Ok(false);
        }
        let Some(level) = h.level else { return Ok(false) };
        texts(&[(&h.name, true)])?;
        self.insert_behind(h.node, &h.name, level).await?;
        Ok(true)
    }

    async fn insert_behind(&mut self, id: NodeId, name: &str, level: NodeLevel) -> Result<(), StoreError> {
        let insert = sql(
            "INSERT INTO node (id, name, level, relation, via, state, agreement, said) VALUES ($1, $2, $3, 'behind', $4, 'active', '{}', '{}')",
        );
        self.change.tx.run(insert.bind(id).bind(name).bind(level.as_str()).bind(self.peer.id)).await?;
        self.below.insert(id);
        self.done.nodes.push(id);
        Ok(())
    }

    /// From a child: a node behind it.
    async fn node_below(&mut self, origin: NodeId, body: NodeBody) -> Result<(), Fault> {
        if body.id != origin || origin == self.own || origin == self.peer.id {
            return Err(Fault::Refused("subject"));
        }
        let region = body.region.as_deref().map(|text| RegionCode::new(text).ok_or(Fault::Refused("body"))).transpose()?;
        if let Some(region) = &region
            && !self.peer.region.as_ref().is_some_and(|own| own.holds(region))
        {
            return Err(Fault::Refused("territory"));
        }
        let enterprise = self.owner(origin, body.enterprise.as_ref()).await?;
        self.put_behind(body, region, enterprise).await?;
        self.change.told.node_below(origin);
        Ok(())
    }

    /// From the parent: itself, or one above it.
    async fn node_above(&mut self, body: NodeBody) -> Result<(), Fault> {
        let region = body.region.as_deref().map(|text| RegionCode::new(text).ok_or(Fault::Refused("body"))).transpose()?;
        if body.id == self.own {
            return Ok(());
        }
        if body.id == self.peer.id {
            texts(&[(&body.name, true)])?;
            let before =
                self.change.tx.row(sql("SELECT level FROM node WHERE id = $1").bind(body.id)).await?.ok_or(StoreError::NotFound)?;
            // What may go no further than a level goes to none that only says now that it is that: whoever is lower than was agreed joins anew.
            let before = before.word("level", NodeLevel::parse)?;
            let level = body.level.max(before);
            if level != before {
                self.change.told.records.note_every();
            }
            let update = sql("UPDATE node SET name = $1, level = $2, region = $3 WHERE id = $4");
            let update = update.bind(body.name.as_str()).bind(level.as_str()).bind(region).bind(body.id);
            self.change.tx.run(update).await?;
            self.done.nodes.push(body.id);
        } else {
            self.put_behind(body, region, None).await?;
        }
        self.change.told.above();
        Ok(())
    }

    async fn put_behind(&mut self, body: NodeBody, region: Option<RegionCode>, enterprise: Option<EnterpriseId>) -> Result<(), Fault> {
        texts(&[(&body.name, true)])?;
        texts(&body.reason.iter().map(|reason| (reason, false)).collect::<Vec<_>>())?;
        let state = NodeState::parse(&body.state).ok_or(Fault::Refused("body"))?;
        if !self.below.contains(&body.id) {
            // One that is heard through somebody else, or stands beside this node, is not taken over.
            if self.change.tx.row(sql("SELECT id FROM node WHERE id = $1").bind(body.id)).await?.is_some() {
                return Err(Fault::Refused("origin"));
            }
            self.insert_behind(body.id, &body.name, body.level).await?;
        }
        let update =
            sql("UPDATE node SET name = $1, level = $2, region = $3, enterprise_id = $4, state = $5, reason = $6, paused = $7, said = $8,
  seen_at_us = $9 WHERE id = $10");
        let update = update.bind(body.name.as_str()).bind(body.level.as_str()).bind(region).bind(enterprise).bind(state.as_str());
        let update = update.bind(body.reason.as_deref()).bind(body.paused).bind(body.said.to_string());
        self.change.tx.run(update.bind(body.seen_at.map(Timestamp::from_micros)).bind(body.id)).await?;
        self.done.nodes.push(body.id);
        Ok(())
    }

    /// What a holder behind the peer has; the peer's own word comes as a claim, not here.
    async fn proof(&mut self, origin: NodeId, body: ProofBody) -> Result<(), Fault> {
        let sound = body.origin == origin
            && body.day.len() == 10
            && body.day.bytes().enumerate().all(|(i, b)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() })
            && body.sum.len() == 32
            && body.sum.bytes().all(|b| b.is_ascii_hexdigit())
            && body.above.as_ref().is_none_or(|(n, sum)| *n >= 0 && sum.len() == 32 && sum.bytes().all(|b| b.is_ascii_hexdigit()))
            && body.readings.as_ref().is_none_or(|word| word.len() <= 16 && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
            && body.position >= 0
            && body.count >= 0;
        if !sound {
            return Err(Fault::Refused("body"));
        }
        if body.holder == self.peer.id {
            return Ok(());
        }
        self.may_speak_for(body.holder)?;
        let put = sql("INSERT INTO proof (origin, day, holder, position, n_readings, sum, our_n_readings, our_sum, readings, at_us)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (origin, day, holder) DO UPDATE SET position = excluded.position, n_readings = excluded.n_readings, sum = excluded.sum,
  our_n_readings = excluded.our_n_readings, our_sum = excluded.our_sum, readings = excluded.readings, at_us = excluded.at_us");
        let put = put.bind(origin).bind(body.day.as_str()).bind(body.holder).bind(body.position).bind(body.count).bind(body.sum.as_str());
        let put = put.bind(body.above.as_ref().map(|(n, _)| *n)).bind(body.above.map(|(_, sum)| sum));
        let put = put.bind(body.readings.as_deref());
        self.change.tx.run(put.bind(Timestamp::from_micros(body.at))).await?;
        self.change.told.proof(origin, &body.day, body.holder);
        Ok(())
    }
}

/// A subject: node of origin, a slash, its id there.
pub(crate) fn subject_of(text: &str) -> Result<(NodeId, i64), Fault> {
    let (node, id) = text.split_once('/').ok_or(Fault::Refused("body"))?;
    Ok((node.parse().map_err(|_| Fault::Refused("body"))?, id.parse().map_err(|_| Fault::Refused("body"))?))
}

pub(crate) fn parse<T: DeserializeOwned>(body: &str) -> Result<T, Fault> {
    serde_json::from_str(body).map_err(|_| Fault::Refused("body"))
}

/// That texts are short and hold no control characters (PostgreSQL keeps no NUL); `true` = and are not empty.
pub(crate) fn texts(texts: &[(&String, bool)]) -> Result<(), Fault> {
    let sound = |(text, required): &(&String, bool)| {
        text.chars().count() <= TEXT_MAX
            && !(*required && text.is_empty())
            && !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t')
    };
    if texts.iter().all(sound) { Ok(()) } else { Err(Fault::Refused("body")) }
}

fn place(lon: Option<f64>, lat: Option<f64>) -> Result<Option<Wgs84>, Fault> {
    lon.zip(lat).map(|(lon, lat)| Wgs84::new(lon, lat).ok_or(Fault::Refused("body"))).transpose()
}

fn checked_enterprise(body: &EnterpriseBody) -> Result<(RegionCode, Option<Wgs84>), Fault> {
    texts(&[(&body.code, true), (&body.name, true), (&body.sector, false)])?;
    texts(&body.mark.iter().map(|mark| (mark, true)).collect::<Vec<_>>())?;
    let region = RegionCode::new(&body.region).ok_or(Fault::Refused("body"))?;
    Ok((region, place(body.lon, body.lat)?))
}

fn short(subject: &str) -> String {
    subject.chars().filter(|c| !c.is_control()).take(100).collect()
}

/// One event per neighbour, kind and hour says that entries were refused, how many, and which was the first.
async fn tell_refused(change: &mut Change<'_>, peer: NodeId, refused: &[Refused]) -> Result<(), StoreError> {
    if refused.is_empty() {
        return Ok(());
    }
    let mut by_kind: BTreeMap<&str, (u64, &Refused)> = BTreeMap::new();
    for one in refused {
        // Words that nobody knows are one kind: a stranger must not make rows at will.
        let kind = KINDS.into_iter().find(|kind| *kind == one.kind).unwrap_or("unknown");
        by_kind.entry(kind).or_insert((0, one)).0 += 1;
    }
    let since = change.now.floor_us(HOUR_US);
    for (kind, (n, first)) in by_kind {
        let about = format!("{peer}/{kind}");
        let q = sql("SELECT id, detail FROM event WHERE kind = 'link_refused' AND subject = $1 AND at_us >= $2 ORDER BY id DESC LIMIT 1");
        if let Some(row) = change.tx.row(q.bind(about.as_str()).bind(since)).await? {
            let mut detail: serde_json::Value = row.json("detail")?;
            detail["n"] = json!(detail["n"].as_u64().unwrap_or(0).saturating_add(n));
            let id: i64 = row.get("id")?;
            change.tx.run(sql("UPDATE event SET detail = $1 WHERE id = $2").bind(detail.to_string()).bind(id)).await?;
            continue;
        }
        let detail = json!({"node": peer.to_string(), "kind": kind, "n": n, "first": first.subject, "reason": first.reason});
        let insert = sql("INSERT INTO event (at_us, kind, subject, detail) VALUES ($1, 'link_refused', $2, $3)");
        change.tx.run(insert.bind(change.now).bind(about).bind(detail.to_string())).await?;
    }
    Ok(())
}
