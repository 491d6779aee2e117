//! 建成率, 联网率, 在线率 and 完整率 of this node's territory, reckoned from what is known at the moment somebody asks; and who is missing, and why.
//!
//! Who should be on the network is data of the packs (`domain::networking`); who is, follows from devices, points, newest readings and how the nodes
//! below stand. Nothing is kept: a cut link, a silent node, a new enterprise show at the next question. Completeness is counted of the last civil day
//! that is over, once a minute for the whole node. Start at [`get`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anlan_domain::networking::{
    Basis, Counted, Facts, Figures, Group, Heard, Missing, Networking, Rate, Standing, Target, Way, expected_of_day, missing,
};
use anlan_domain::road::rules::Sourced;
use anlan_history::Figure;
use anlan_model::noun::{Device, Enterprise, Point};
use anlan_model::{Clock as _, NodeId, Permission, PointId, RegionCode, Scope, Timestamp};
use anlan_store::{NetworkingFilter, NodeRow, NodeState, PointFilter, Relation, StoreError};
use tokio::sync::Mutex;

use crate::App;
use crate::clock::{date_of, day_bounds, day_number};
use crate::error::{AppError, Kind};
use crate::node::{Readings, agreed};
use crate::point::{POINT_HOURS_MAX, off_thread, stale_after_s};
use crate::registry::Snapshot;
use crate::validate::{Page, Paging};

/// Counts of a day are asked of the history this often at most, real time.
const FRESH: Duration = Duration::from_secs(60);
const DAY_HOURS: i64 = 25;
const SECOND_US: i64 = 1_000_000;

/// Readings of a day by point, as last counted.
#[derive(Default)]
pub struct Received(Mutex<Option<(i32, Instant, Counts)>>);
type Counts = Arc<HashMap<PointId, u64>>;

/// Which enterprises a question is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Word of the group; `None` = the first of the table.
    pub group: Option<String>,
    /// In this division.
    pub region: Option<RegionCode>,
    /// Of this sector.
    pub sector: Option<String>,
}

/// The figures.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Domain time of the figures.
    pub now: Timestamp,
    /// The civil day of completeness, ISO; `None` = there are more points than are counted.
    pub day: Option<String>,
    /// When somebody counts as heard.
    pub heard: Sourced<Heard>,
    /// Every group there is.
    pub groups: Vec<Sourced<Group>>,
    /// Word of the one that was counted.
    pub group: String,
    /// What is asked of it.
    pub targets: Vec<Sourced<Target>>,
    /// All together.
    pub total: Figures,
    /// By division, one step below the one that was asked for or this node's own: code and name.
    pub divisions: Vec<(RegionCode, String, Figures)>,
    /// By sector.
    pub sectors: Vec<(String, Figures)>,
}

/// An enterprise that is not counted, or not in full.
#[derive(Clone, Debug, PartialEq)]
pub struct MissingRow {
    /// Which.
    pub enterprise: Enterprise,
    /// Name of its division.
    pub region_name: Option<String>,
    /// Why.
    pub missing: Missing,
    /// Name of the node that it is about.
    pub node_name: Option<String>,
}

/// An enterprise, and whether it reports.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportingRow {
    /// Which.
    pub enterprise: Enterprise,
    /// Name of its division.
    pub region_name: Option<String>,
    /// Why it does not, or not in full; `None` = it does.
    pub missing: Option<Missing>,
    /// Name of the node that it is about.
    pub node_name: Option<String>,
}

/// Who is missing.
#[derive(Clone, Debug, PartialEq)]
pub struct MissingPage {
    /// Of all pages: reasons and how many enterprises each.
    pub reasons: BTreeMap<&'static str, u64>,
    /// In order of ids.
    pub page: Page<MissingRow>,
}

/// An enterprise of the group with what is known of it.
struct Known {
    enterprise: Enterprise,
    region_name: Option<String>,
    facts: Facts,
}

struct Reckoned {
    now: Timestamp,
    day: Option<i32>,
    tables: Networking,
    heard: Sourced<Heard>,
    group: Sourced<Group>,
    nodes: BTreeMap<NodeId, NodeRow>,
    known: Vec<Known>,
}

/// The figures under the asker's scope.
///
/// # Errors
/// No permission to view, a group that nobody describes, or the store's.
pub async fn get(app: &App, scope: &Scope, question: &Question) -> Result<View, AppError> {
    let reckoned = reckon(app, scope, question).await?;
    let snapshot = app.registry.get();
    let own = reckoned.nodes.values().find(|node| node.relation == Relation::Own).and_then(|node| node.region.clone());
    let whole = question.region.clone().or(own).or_else(|| RegionCode::new(&app.settings.region));
    let digits = below(whole.as_ref().map_or(0, |region| region.as_str().len()));
    let (mut divisions, mut sectors): (Counted<RegionCode>, Counted<String>) = Default::default();
    let basis = reckoned.group.is.networked_of;
    for Known { enterprise, facts, .. } in &reckoned.known {
        let division = enterprise.region.as_str().get(..digits).and_then(RegionCode::new);
        divisions.add(division.unwrap_or_else(|| enterprise.region.clone()), facts, basis);
        sectors.add(enterprise.sector.clone(), facts, basis);
    }
    let named = |code: &RegionCode| snapshot.regions.get(code).map_or_else(|| code.to_string(), |known| known.name.clone());
    Ok(View {
        now: reckoned.now,
        day: reckoned.day.map(|day| date_of(day).to_string()),
        heard: reckoned.heard,
        targets: reckoned.tables.targets.into_iter().filter(|target| target.is.group == reckoned.group.is.id).collect(),
        groups: reckoned.tables.groups,
        group: reckoned.group.is.id,
        total: divisions.total,
        divisions: divisions.by.into_iter().map(|(code, figures)| (code.clone(), named(&code), figures)).collect(),
        sectors: sectors.by.into_iter().collect(),
    })
}

/// Enterprises of the question that are missing from a figure, and why.
///
/// # Errors
/// As [`get`]; a foreign cursor.
pub async fn who(app: &App, scope: &Scope, question: &Question, rate: Rate, paging: &Paging) -> Result<MissingPage, AppError> {
    let after = paging.cursor.as_deref().map(|cursor| cursor.parse::<i64>().map_err(|_| StoreError::Cursor)).transpose()?;
    let reckoned = reckon(app, scope, question).await?;
    let basis = reckoned.group.is.networked_of;
    let counts = |facts: &Facts| rate != Rate::Networked || basis == Basis::Group || missing(Rate::Built, facts).is_none();
    let mut reasons = BTreeMap::new();
    let mut items = Vec::new();
    for Known { enterprise, region_name, facts } in reckoned.known {
        let Some(why) = Some(&facts).filter(|facts| counts(facts)).and_then(|facts| missing(rate, facts)) else { continue };
        *reasons.entry(why.as_str()).or_default() += 1;
        if after.is_some_and(|after| enterprise.id.get() <= after) {
            continue;
        }
        let node_name = why.node().and_then(|node| reckoned.nodes.get(&node)).map(|node| node.name.clone());
        items.push(MissingRow { enterprise, region_name, missing: why, node_name });
    }
    let size = if paging.limit == 0 { Paging::DEFAULT } else { paging.limit.min(Paging::MAX) } as usize;
    let more = items.len() > size;
    items.truncate(size);
    let next = if more { items.last().map(|last| last.enterprise.id.to_string()) } else { None };
    Ok(MissingPage { reasons, page: Page { items, next } })
}

/// Every enterprise of the question, and the first thing for which it does not report in full.
///
/// # Errors
/// As [`get`].
pub async fn reporting(app: &App, scope: &Scope, question: &Question) -> Result<Vec<ReportingRow>, AppError> {
    let reckoned = reckon(app, scope, question).await?;
    let row = |Known { enterprise, region_name, facts }: Known| {
        let missing = [Rate::Built, Rate::Networked, Rate::Online].into_iter().find_map(|rate| missing(rate, &facts));
        let node = missing.as_ref().and_then(Missing::node).and_then(|node| reckoned.nodes.get(&node));
        ReportingRow { enterprise, region_name, node_name: node.map(|node| node.name.clone()), missing }
    };
    Ok(reckoned.known.into_iter().map(row).collect())
}

/// Digits of a division one step below one of so many.
pub(crate) fn below(digits: usize) -> usize {
    [2, 4, 6, 9, 12].into_iter().find(|longer| *longer > digits).unwrap_or(12)
}

async fn reckon(app: &App, scope: &Scope, question: &Question) -> Result<Reckoned, AppError> {
    let scope = scope.with(Permission::View)?;
    let tables = app.registers.load().networking();
    let broken = || AppError::new(Kind::Internal, "internal");
    let heard = tables.heard.clone().ok_or_else(broken)?;
    let group = match question.group.as_deref() {
        None => tables.groups.first(),
        Some(id) => tables.group(id),
    };
    let unknown = || AppError::invalid("networking.group", "group").with("group", question.group.as_deref().unwrap_or_default());
    let group = group.cloned().ok_or_else(unknown)?;
    let filter = NetworkingFilter { region: question.region.clone(), sector: question.sector.clone() };
    let rows = app.store.networking(&scope, &filter, &tables.registers()).await?;
    let nodes: BTreeMap<NodeId, NodeRow> = app.store.all_nodes().await?.into_iter().map(|node| (node.id, node)).collect();
    let now = app.clock.now();
    let day = day_number(now) - 1;
    let received = received(app, day).await?;
    let snapshot = app.registry.get();
    let mut own: HashMap<_, Vec<&NodeRow>> = HashMap::new();
    for node in nodes.values().filter(|node| matches!(node.relation, Relation::Child | Relation::Behind)) {
        if let Some(enterprise) = node.enterprise {
            own.entry(enterprise).or_default().push(node);
        }
    }
    let eyes = Eyes { app, snapshot: &snapshot, nodes: &nodes, heard: heard.is, now };
    let mut known = Vec::new();
    for row in rows {
        let records = row.records.iter().map(|(kind, state)| (kind.as_str(), state.as_str()));
        if !group.is.holds(&row.enterprise.sector, records) {
            continue;
        }
        let mut facts = Facts { n_devices: row.devices.unsigned_abs(), ..Facts::default() };
        let mut ways: BTreeMap<Option<NodeId>, Way> = BTreeMap::new();
        for node in own.get(&row.enterprise.id).into_iter().flatten() {
            ways.insert(Some(node.id), Way { is_own: true, ..eyes.way(Some(node.id)) });
        }
        let mut expected = received.as_ref().map(|_| 0);
        for id in snapshot.points_of.get(&row.enterprise.id).into_iter().flatten() {
            let Some(point) = snapshot.points.get(id).filter(|point| eyes.counts(point)) else { continue };
            let from = snapshot.mirrored.get(id).map(|(origin, _)| *origin);
            eyes.look(point, from, ways.entry(from).or_insert_with(|| eyes.way(from)));
            // Where some are agreed to stay below nobody promises the rest here.
            let agreed = eyes.agreed(from);
            if agreed == Readings::All
                && let (Some(sum), Some(counts), Some(promised)) = (&mut expected, &received, expected_of_day(point.period_s))
            {
                *sum = promised.saturating_add(*sum);
                facts.received = facts.received.saturating_add(counts.get(id).copied().unwrap_or(0).min(promised));
            }
        }
        facts.ways = ways.into_values().collect();
        facts.expected = expected;
        known.push(Known { enterprise: row.enterprise, region_name: row.region_name, facts });
    }
    Ok(Reckoned { now, day: received.map(|_| day), tables, heard, group, nodes, known })
}

/// What can be seen of points and nodes now.
struct Eyes<'a> {
    app: &'a App,
    snapshot: &'a Snapshot,
    nodes: &'a BTreeMap<NodeId, NodeRow>,
    heard: Heard,
    now: Timestamp,
}

impl Eyes<'_> {
    /// Registered by a person, and no heartbeat of a node.
    fn counts(&self, point: &Point) -> bool {
        point.confirmed && self.snapshot.devices.get(&point.device).is_none_or(|device| !is_heartbeat(device))
    }

    /// A way without points yet.
    fn way(&self, node: Option<NodeId>) -> Way {
        let (node, standing) = node.map_or((None, Standing::Heard), |id| {
            let (by, standing) = self.standing(id);
            (Some(by), standing)
        });
        let child = node.and_then(|id| self.nodes.get(&id)).map(|row| self.child(row));
        let withheld = child.is_some_and(|row| matches!(agreed(row), Readings::None | Readings::Alarms));
        Way { node, is_own: false, withheld, standing, n_points: 0, n_heard: 0, n_online: 0, newest: None }
    }

    /// The child through which a node is heard; itself, if it is one.
    fn child<'b>(&'b self, row: &'b NodeRow) -> &'b NodeRow {
        row.via.and_then(|via| self.nodes.get(&via)).unwrap_or(row)
    }

    /// How the way to a node stands, and the node on it that is the reason.
    fn standing(&self, id: NodeId) -> (NodeId, Standing) {
        let Some(row) = self.nodes.get(&id) else { return (id, Standing::Never) };
        let child = self.child(row);
        let of_child = self.stands(child);
        if child.id != id && of_child == Standing::Heard { (id, self.stands(row)) } else { (child.id, of_child) }
    }

    fn stands(&self, row: &NodeRow) -> Standing {
        let is_connected =
            || row.relation == Relation::Child && self.app.network.get().is_some_and(|network| network.heard(row.id).connected);
        let limit_us = self.heard.node_silent_s.saturating_mul(SECOND_US);
        match (row.state, row.paused, row.seen_at) {
            (NodeState::Revoked, _, _) => Standing::Revoked,
            (NodeState::Frozen, _, _) => Standing::Frozen,
            (NodeState::Active, true, _) => Standing::Paused,
            (NodeState::Active, false, _) if is_connected() => Standing::Heard,
            (NodeState::Active, false, None) => Standing::Never,
            (NodeState::Active, false, Some(at)) if self.now.since_us(at) > limit_us => Standing::Silent(at),
            (NodeState::Active, false, Some(_)) => Standing::Heard,
        }
    }

    /// Which readings come from a node, by the child through which it is heard.
    fn agreed(&self, from: Option<NodeId>) -> Readings {
        from.and_then(|id| self.nodes.get(&id)).map_or(Readings::All, |row| agreed(self.child(row)))
    }

    fn look(&self, point: &Point, from: Option<NodeId>, way: &mut Way) {
        way.n_points += 1;
        let Some(reading) = self.app.telemetry.latest.point(point.id) else { return };
        way.n_heard += 1;
        // Late data of a device that speaks now is old, not silent.
        let at = reading.event_at.max(reading.received_at);
        way.newest = way.newest.max(Some(at));
        let limit_s = stale_after_s(self.app, point).unwrap_or(self.heard.point_without_period_s as f64);
        // What goes for certain is the first of each day, or of each minute.
        let limit_s = limit_s
            + match self.agreed(from) {
                Readings::Changes => 86_400.0,
                Readings::Minutes => 60.0,
                Readings::All | Readings::Alarms | Readings::None => 0.0,
            };
        way.n_online += u64::from(self.now.since_us(at) as f64 / 1e6 <= limit_s);
    }
}

/// The device that stands for a node: `node-` and eight digits, behind the node's own sign where it is another's.
fn is_heartbeat(device: &Device) -> bool {
    let bare = device.code.split_once(':').map_or(device.code.as_str(), |(_, bare)| bare);
    device.protocol == "link" && bare.strip_prefix("node-").is_some_and(|sign| sign.len() == 8)
}

/// Readings of a civil day by point of this node; `None` = more points than one question may cover.
async fn received(app: &App, day: i32) -> Result<Option<Counts>, AppError> {
    let mut held = app.received.0.lock().await;
    if let Some((of, at, counts)) = held.as_ref()
        && *of == day
        && at.elapsed() < FRESH
    {
        return Ok(Some(counts.clone()));
    }
    let points = app.store.point_set(&Scope::node(), &PointFilter::default()).await?;
    if DAY_HOURS.saturating_mul(i64::try_from(points.len()).unwrap_or(i64::MAX)) > POINT_HOURS_MAX {
        return Ok(None);
    }
    let _turn = app.many.acquire().await.map_err(|_| AppError::new(Kind::Internal, "internal"))?;
    let (telemetry, (from, to)) = (app.telemetry.clone(), day_bounds(day));
    let found = off_thread(move || telemetry.top(&points, Figure::Max, usize::MAX, from, to)).await??;
    let counts: Counts = Arc::new(found.into_iter().map(|(point, rollup)| (point, rollup.count + rollup.bad)).collect());
    *held = Some((day, Instant::now(), counts.clone()));
    Ok(Some(counts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_division_below() {
        assert_eq!([0, 2, 4, 6, 9, 12].map(below), [2, 4, 6, 9, 12, 12]);
    }

    #[test]
    fn a_heartbeat_is_known_by_its_code_here_and_above() {
        let check = |protocol: &str, code: &str, is: bool| {
            let device = Device {
                id: anlan_model::DeviceId::new(1),
                code: code.into(),
                name: String::new(),
                enterprise: None,
                protocol: protocol.into(),
                gateway: false,
                may_backfill: false,
                disabled: false,
                secret_hash: [0; 32],
                revision: 1,
            };
            assert_eq!(is_heartbeat(&device), is, "{protocol} {code}");
        };
        check("link", "node-bbbbbbbb", true);
        check("link", "aaaaaaaa:node-bbbbbbbb", true);
        check("link", "aaaaaaaa:node-1", false);
        check("link", "aaaaaaaa:GT-101", false);
        check("mqtt", "node-bbbbbbbb", false);
    }
}
