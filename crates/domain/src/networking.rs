//! 建成率, 联网率, 在线率 and 完整率: who should be on the network (a pack's `networking.toml`), and what is missing of whom.
//!
//! Pure: facts in, figures and reasons out. Nothing is typed in as a result: a rate is counted anew each time it is asked for. Reads no file and no
//! clock. Start at [`Networking::parse`] for the tables, at [`missing`] for one enterprise and at [`Figures::add`] for many.

use std::collections::{BTreeMap, BTreeSet};

use anlan_model::{NodeId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::pack::{CONFIDENCES, PackError, is_word};
use crate::road::rules::Sourced;

const FILE: &str = "networking.toml";

/// One of the four figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    /// 建成率: has a monitoring system whose readings are known here.
    Built,
    /// 联网率: is heard at this level now.
    Networked,
    /// 在线率: points heard within their time, of those registered.
    Online,
    /// 完整率: readings that came on a civil day, of those that the periods promise.
    Complete,
}

impl Rate {
    /// All of them, in the order in which one follows from the other.
    pub const ALL: [Self; 4] = [Self::Built, Self::Networked, Self::Online, Self::Complete];
    /// The word on the API and in packs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Built => "built",
            Self::Networked => "networked",
            Self::Online => "online",
            Self::Complete => "complete",
        }
    }
    /// The rate named by `word`.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rate| rate.as_str() == word)
    }
}

/// When somebody counts as heard.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heard {
    /// A node that was not heard so long is silent.
    pub node_silent_s: i64,
    /// A point of which nobody knows the period is online so long after a reading.
    pub point_without_period_s: i64,
}

/// Whom 联网率 is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Everybody in the group.
    Group,
    /// Those of the group that have a monitoring system.
    Built,
}

/// One shape of a group; exactly one of the three is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Every enterprise.
    #[serde(default)]
    pub everyone: bool,
    /// Enterprises of these sectors.
    #[serde(default)]
    pub sectors: Vec<String>,
    /// Enterprises with a record of this register.
    #[serde(default)]
    pub register: Option<String>,
    /// In one of these states; empty = in any.
    #[serde(default)]
    pub states: Vec<String>,
}

/// Enterprises that should be on the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Its word.
    pub id: String,
    /// Chinese name.
    pub name: String,
    /// English name.
    pub name_en: String,
    /// Whom any of these holds.
    pub of: Vec<Part>,
    /// Whom 联网率 is measured by.
    pub networked_of: Basis,
}

/// What somebody asks of a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Of this group.
    pub group: String,
    /// Which figure.
    pub rate: Rate,
    /// From 0 to 1.
    pub at_least: f64,
    /// By this day, ISO; empty = always.
    #[serde(default)]
    pub by: String,
}

/// Everything `networking.toml` says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Networking {
    /// When somebody counts as heard; the built-in pack says it, another may say it otherwise.
    #[serde(default)]
    pub heard: Option<Sourced<Heard>>,
    /// Who should be on the network.
    #[serde(default, rename = "group")]
    pub groups: Vec<Sourced<Group>>,
    /// What is asked of them.
    #[serde(default, rename = "target")]
    pub targets: Vec<Sourced<Target>>,
}

impl Networking {
    /// Reads a pack's `networking.toml`.
    ///
    /// # Errors
    /// [`PackError`] naming row and field: an unknown word, a shape that says nothing or two things, a rate outside of 0 to 1, a row without a source.
    pub fn parse(text: &str) -> Result<Self, PackError> {
        let table: Self = toml::from_str(text).map_err(|e| PackError::Toml { file: FILE, message: e.to_string() })?;
        table.check()?;
        Ok(table)
    }

    fn check(&self) -> Result<(), PackError> {
        let wrong =
            |row: &str, field, reason: &str| Err(PackError::Row { file: FILE, row: row.to_owned(), field, reason: reason.to_owned() });
        fn sourced<T>(of: &Sourced<T>) -> Result<(), (&'static str, &'static str)> {
            if !CONFIDENCES.contains(&of.confidence.as_str()) {
                return Err(("confidence", "is not verified, verified-secondary, product or unverified"));
            }
            if of.standard.is_empty() { Err(("standard", "is missing: no source, no row")) } else { Ok(()) }
        }
        if let Some(heard) = &self.heard {
            if let Err((field, reason)) = sourced(heard) {
                return wrong("heard", field, reason);
            }
            if heard.is.node_silent_s < 1 || heard.is.point_without_period_s < 1 {
                return wrong("heard", "node_silent_s", "silence is at least one second");
            }
        }
        let mut ids = BTreeSet::new();
        for row in &self.groups {
            let group = &row.is;
            if let Err((field, reason)) = sourced(row) {
                return wrong(&group.id, field, reason);
            }
            if !is_word(&group.id, '_') || !ids.insert(&group.id) {
                return wrong(&group.id, "id", "is no word, or stands twice");
            }
            if group.name.is_empty() || group.name_en.is_empty() {
                return wrong(&group.id, "name", "is missing");
            }
            if group.of.is_empty() {
                return wrong(&group.id, "of", "is empty: nobody would be in it");
            }
            for part in &group.of {
                let shapes = [part.everyone, !part.sectors.is_empty(), part.register.is_some()];
                if shapes.into_iter().filter(|said| *said).count() != 1 {
                    return wrong(&group.id, "of", "says exactly one of everyone, sectors, register");
                }
                if !part.states.is_empty() && part.register.is_none() {
                    return wrong(&group.id, "of", "names states without a register");
                }
            }
        }
        for row in &self.targets {
            let target = &row.is;
            let name = format!("{} {}", target.group, target.rate.as_str());
            if let Err((field, reason)) = sourced(row) {
                return wrong(&name, field, reason);
            }
            if !(target.at_least > 0.0 && target.at_least <= 1.0) {
                return wrong(&name, "at_least", "is a share of more than 0 and at most 1");
            }
            if !target.by.is_empty() && target.by.parse::<jiff::civil::Date>().is_err() {
                return wrong(&name, "by", "is no day");
            }
        }
        Ok(())
    }

    /// Takes what another pack says: a group of the same id takes the place of the one before, targets of a group and figure likewise.
    pub fn join(&mut self, other: &Self) {
        if other.heard.is_some() {
            self.heard.clone_from(&other.heard);
        }
        for group in &other.groups {
            match self.groups.iter_mut().find(|known| known.is.id == group.is.id) {
                Some(known) => known.clone_from(group),
                None => self.groups.push(group.clone()),
            }
        }
        let is_same = |a: &Target, b: &Target| a.group == b.group && a.rate == b.rate;
        self.targets.retain(|known| !other.targets.iter().any(|target| is_same(&known.is, &target.is)));
        self.targets.extend(other.targets.iter().cloned());
    }

    /// Groups that targets name and nobody describes.
    pub fn unknown_groups(&self) -> Vec<String> {
        let known: BTreeSet<&String> = self.groups.iter().map(|group| &group.is.id).collect();
        self.targets.iter().map(|target| &target.is.group).filter(|group| !known.contains(group)).cloned().collect()
    }

    /// The group of this word.
    pub fn group(&self, id: &str) -> Option<&Sourced<Group>> {
        self.groups.iter().find(|group| group.is.id == id)
    }

    /// Words of the registers that groups are made by.
    pub fn registers(&self) -> BTreeSet<String> {
        self.groups.iter().flat_map(|group| &group.is.of).filter_map(|part| part.register.clone()).collect()
    }
}

impl Part {
    /// Whether an enterprise of this sector and with these records (register, state) is in it.
    pub fn holds<'a>(&self, sector: &str, records: impl IntoIterator<Item = (&'a str, &'a str)>) -> bool {
        match &self.register {
            Some(register) => {
                let is_so = |state: &str| self.states.is_empty() || self.states.iter().any(|wanted| wanted == state);
                records.into_iter().any(|(kind, state)| kind == register && is_so(state))
            }
            None => self.everyone || self.sectors.iter().any(|wanted| wanted == sector),
        }
    }
}

impl Group {
    /// Whether an enterprise of this sector and with these records (register, state) is in it.
    pub fn holds<'a>(&self, sector: &str, records: impl IntoIterator<Item = (&'a str, &'a str)> + Clone) -> bool {
        self.of.iter().any(|part| part.holds(sector, records.clone()))
    }
}

/// How a node through which readings come stands now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is heard; this node itself always is.
    Heard,
    /// Not heard since.
    Silent(Timestamp),
    /// Let in, and never heard.
    Never,
    /// Cut by a person.
    Paused,
    /// Nothing of it is taken until a person has said what happened.
    Frozen,
    /// Its certificate is void.
    Revoked,
}

/// One way on which an enterprise can be heard at this level.
#[derive(Clone, Debug, PartialEq)]
pub struct Way {
    /// The node from which its readings come; `None` = its devices report here.
    pub node: Option<NodeId>,
    /// It is the enterprise's own node.
    pub is_own: bool,
    /// It was agreed that no readings come on it.
    pub withheld: bool,
    /// How the node stands.
    pub standing: Standing,
    /// Registered points on it.
    pub n_points: u64,
    /// Those that were ever heard.
    pub n_heard: u64,
    /// Those that are heard within their time.
    pub n_online: u64,
    /// The newest reading.
    pub newest: Option<Timestamp>,
}

/// What is known of an enterprise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Its devices, nodes not counted.
    pub n_devices: u64,
    /// On which ways it is heard, or should be.
    pub ways: Vec<Way>,
    /// Readings that the periods of its points promise for a day; `None` = not counted.
    pub expected: Option<u64>,
    /// Those that came, at most as many as were promised of each point.
    pub received: u64,
}

impl Facts {
    fn points(&self) -> (u64, u64, u64) {
        self.ways.iter().fold((0, 0, 0), |(n, heard, online), way| (n + way.n_points, heard + way.n_heard, online + way.n_online))
    }
    /// The newest reading on any way.
    fn newest(&self) -> Option<Timestamp> {
        self.ways.iter().filter_map(|way| way.newest).max()
    }
}

/// Why an enterprise is not counted, or not in full.
#[derive(Clone, Debug, PartialEq)]
pub enum Missing {
    /// It has no device.
    NoDevice,
    /// Its devices have no points.
    NoPoint,
    /// No reading ever came.
    NeverHeard,
    /// It was agreed with its node that no readings come.
    Withheld(NodeId),
    /// Its devices are silent; the newest reading.
    Silent(Timestamp),
    /// The node through which it is heard is silent since then.
    NodeSilent(NodeId, Timestamp),
    /// That node was let in and never heard.
    NodeNever(NodeId),
    /// That node was cut by a person.
    NodePaused(NodeId),
    /// That node is frozen.
    NodeFrozen(NodeId),
    /// That node's certificate is void.
    NodeRevoked(NodeId),
    /// So many points are silent, and the newest reading of any.
    PointsSilent(u64, Option<Timestamp>),
    /// So many readings of the day did not come.
    Readings(u64),
}

impl Missing {
    /// The word on the API.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::NoDevice => "no_device",
            Self::NoPoint => "no_point",
            Self::NeverHeard => "never_heard",
            Self::Withheld(_) => "withheld",
            Self::Silent(_) => "silent",
            Self::NodeSilent(..) => "node_silent",
            Self::NodeNever(_) => "node_never",
            Self::NodePaused(_) => "node_paused",
            Self::NodeFrozen(_) => "node_frozen",
            Self::NodeRevoked(_) => "node_revoked",
            Self::PointsSilent(..) => "points_silent",
            Self::Readings(_) => "readings",
        }
    }
    /// The node that it is about.
    pub const fn node(&self) -> Option<NodeId> {
        match self {
            Self::Withheld(node)
            | Self::NodeSilent(node, _)
            | Self::NodeNever(node)
            | Self::NodePaused(node)
            | Self::NodeFrozen(node)
            | Self::NodeRevoked(node) => Some(*node),
            _ => None,
        }
    }
    /// Since when.
    pub const fn since(&self) -> Option<Timestamp> {
        match self {
            Self::Silent(at) | Self::NodeSilent(_, at) => Some(*at),
            Self::PointsSilent(_, at) => *at,
            _ => None,
        }
    }
    /// How many points or readings.
    pub const fn n(&self) -> Option<u64> {
        match self {
            Self::PointsSilent(n, _) | Self::Readings(n) => Some(*n),
            _ => None,
        }
    }
}

/// What misses of an enterprise for one figure; `None` = nothing.
pub fn missing(rate: Rate, facts: &Facts) -> Option<Missing> {
    match rate {
        Rate::Built => not_built(facts),
        Rate::Networked => not_networked(facts),
        Rate::Online => {
            let (n, _, online) = facts.points();
            (online < n).then(|| Missing::PointsSilent(n - online, facts.newest()))
        }
        Rate::Complete => {
            let missing = facts.expected?.saturating_sub(facts.received);
            (missing > 0).then_some(Missing::Readings(missing))
        }
    }
}

fn not_built(facts: &Facts) -> Option<Missing> {
    let (n, heard, _) = facts.points();
    if heard > 0 {
        return None;
    }
    let withheld = facts.ways.iter().find(|way| way.withheld).and_then(|way| way.node);
    Some(match (facts.n_devices, n, withheld) {
        (0, _, None) => Missing::NoDevice,
        (_, 0, None) => Missing::NoPoint,
        (_, _, Some(node)) => Missing::Withheld(node),
        _ => Missing::NeverHeard,
    })
}

fn not_networked(facts: &Facts) -> Option<Missing> {
    // An own node that is heard is a way, whatever its devices do: their silence is another figure.
    let is_heard = |way: &Way| way.standing == Standing::Heard && (way.is_own || way.n_online > 0);
    if facts.ways.iter().any(is_heard) {
        return None;
    }
    // What is most worth mending first: its own node, then whatever way has points.
    let way = facts.ways.iter().find(|way| way.is_own).or_else(|| facts.ways.iter().max_by_key(|way| (way.n_heard, way.n_points)));
    let Some(way) = way else { return not_built(facts) };
    Some(match (way.standing, way.node) {
        (Standing::Silent(at), Some(node)) => Missing::NodeSilent(node, at),
        (Standing::Never, Some(node)) => Missing::NodeNever(node),
        (Standing::Paused, Some(node)) => Missing::NodePaused(node),
        (Standing::Frozen, Some(node)) => Missing::NodeFrozen(node),
        (Standing::Revoked, Some(node)) => Missing::NodeRevoked(node),
        // The way is open: it is the devices.
        _ => match facts.newest() {
            Some(at) => Missing::Silent(at),
            None => return not_built(facts),
        },
    })
}

/// So many of so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Of those, so many.
    pub n: u64,
    /// The denominator.
    pub of: u64,
}

impl Share {
    /// From 0 to 1; `None` of nothing: a rate of nobody is no rate.
    pub fn rate(self) -> Option<f64> {
        (self.of > 0).then(|| self.n as f64 / self.of as f64)
    }
    fn add(&mut self, n: u64, of: u64) {
        self.n = self.n.saturating_add(n);
        self.of = self.of.saturating_add(of);
    }
}

/// The four figures of a set of enterprises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Enterprises.
    pub enterprises: u64,
    /// Of the enterprises.
    pub built: Share,
    /// Of the enterprises, or of those built ([`Basis`]).
    pub networked: Share,
    /// Of points.
    pub online: Share,
    /// Of readings.
    pub complete: Share,
}

impl Figures {
    /// Counts one more enterprise.
    pub fn add(&mut self, facts: &Facts, basis: Basis) {
        self.enterprises += 1;
        let is_built = missing(Rate::Built, facts).is_none();
        self.built.add(u64::from(is_built), 1);
        if basis == Basis::Group || is_built {
            self.networked.add(u64::from(missing(Rate::Networked, facts).is_none()), 1);
        }
        let (n, _, online) = facts.points();
        self.online.add(online, n);
        if let Some(expected) = facts.expected {
            self.complete.add(facts.received.min(expected), expected);
        }
    }

    /// The figure of this name.
    pub const fn share(&self, rate: Rate) -> Share {
        match rate {
            Rate::Built => self.built,
            Rate::Networked => self.networked,
            Rate::Online => self.online,
            Rate::Complete => self.complete,
        }
    }
}

/// Figures by a key, such as division or sector, and of all together.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted<K> {
    /// All of them.
    pub total: Figures,
    /// By key.
    pub by: BTreeMap<K, Figures>,
}

impl<K> Default for Counted<K> {
    fn default() -> Self {
        Self { total: Figures::default(), by: BTreeMap::new() }
    }
}

impl<K: Ord> Counted<K> {
    /// Counts one more enterprise under its key.
    pub fn add(&mut self, key: K, facts: &Facts, basis: Basis) {
        self.total.add(facts, basis);
        self.by.entry(key).or_default().add(facts, basis);
    }
}

/// Readings that a period promises for a day: how many fit in it, at least one of a point that speaks less often.
pub fn expected_of_day(period_s: f64) -> Option<u64> {
    const DAY_S: f64 = 86_400.0;
    // Truncated on purpose: the reading at the end belongs to the next day.
    (period_s.is_finite() && period_s > 0.0).then(|| ((DAY_S / period_s) as u64).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = include_str!("../../../packs/base/networking.toml");
    const YUXI: &str = include_str!("../../../packs/region-yuxi/networking.toml");
    const NODE: NodeId = NodeId::new(7);

    fn tables() -> Networking {
        let mut tables = Networking::parse(BASE).unwrap();
        tables.join(&Networking::parse(YUXI).unwrap());
        tables
    }

    fn way(standing: Standing, points: (u64, u64, u64)) -> Way {
        let (n_points, n_heard, n_online) = points;
        let newest = (n_heard > 0).then(|| Timestamp::from_secs(50));
        Way { node: None, is_own: false, withheld: false, standing, n_points, n_heard, n_online, newest }
    }

    fn own(standing: Standing, points: (u64, u64, u64)) -> Way {
        Way { node: Some(NODE), is_own: true, ..way(standing, points) }
    }

    fn facts(n_devices: u64, ways: Vec<Way>) -> Facts {
        Facts { n_devices, ways, expected: None, received: 0 }
    }

    #[test]
    fn the_tables_that_ship_fit_together_and_name_their_sources() {
        let tables = tables();
        assert!(tables.heard.is_some());
        assert_eq!(tables.unknown_groups(), [""; 0]);
        assert_eq!(tables.registers(), BTreeSet::from(["major_hazard".to_owned()]));
        let asked: Vec<_> = tables.targets.iter().map(|t| (t.is.group.as_str(), t.is.rate, t.is.at_least)).collect();
        let built = ("high_risk", Rate::Built, 0.95);
        assert_eq!(asked, [built, ("high_risk", Rate::Networked, 0.90), ("major_hazard", Rate::Built, 1.0)]);
    }

    #[test]
    fn a_group_is_the_union_of_its_parts() {
        let tables = tables();
        let holds = |id: &str, sector: &str, records: &[(&str, &str)]| tables.group(id).unwrap().is.holds(sector, records.to_vec());
        assert!(holds("all", "anything", &[]));
        assert!(holds("high_risk", "mine", &[]) && !holds("high_risk", "gas", &[]));
        assert!(holds("major_hazard", "gas", &[("licence", "valid"), ("major_hazard", "filed")]));
        assert!(!holds("major_hazard", "gas", &[("major_hazard", "listed"), ("licence", "filed")]), "another state, another register");
        let any = Part { register: Some("licence".into()), ..Part::default() };
        let group = Group { id: "x".into(), name: "x".into(), name_en: "x".into(), of: vec![any], networked_of: Basis::Group };
        assert!(group.holds("gas", [("licence", "lapsed")]) && !group.holds("gas", []));
    }

    #[test]
    fn a_table_that_says_nothing_or_two_things_is_refused() {
        let check = |from: &str, to: &str, field: &str| {
            assert!(BASE.contains(from) || YUXI.contains(from), "{from}");
            let text = if BASE.contains(from) { BASE } else { YUXI };
            let error = Networking::parse(&text.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(field), "{error}");
        };
        check("of = [{ everyone = true }]", "of = []", "`of`");
        check("of = [{ everyone = true }]", "of = [{ }]", "`of`");
        check("of = [{ everyone = true }]", "of = [{ everyone = true, sectors = [\"gas\"] }]", "`of`");
        check("of = [{ everyone = true }]", "of = [{ everyone = true, states = [\"x\"] }]", "`of`");
        check("id = \"all\"", "id = \"high_risk\"", "`id`");
        check("id = \"all\"", "id = \"All\"", "`id`");
        check("node_silent_s = 60", "node_silent_s = 0", "`node_silent_s`");
        check("standard = \"product\"", "standard = \"\"", "`standard`");
        check("confidence = \"product\"", "confidence = \"sure\"", "`confidence`");
        check("at_least = 0.95", "at_least = 95", "`at_least`");
        check("by = \"2015-12-31\"", "by = \"2015\"", "`by`");
        check("rate = \"built\"", "rate = \"felt\"", "felt");
        check("[{ everyone = true }]", "[{ script = \"x\" }]", "script");
    }

    #[test]
    fn another_pack_takes_the_place_of_a_group_and_a_target() {
        let mut tables = tables();
        let text = "[[target]]\ngroup = \"high_risk\"\nrate = \"networked\"\nat_least = 0.5\nstandard = \"x\"\nconfidence = \"product\"\n
[[target]]\ngroup = \"nobody\"\nrate = \"built\"\nat_least = 0.5\nstandard = \"x\"\nconfidence = \"product\"\n";
        tables.join(&Networking::parse(text).unwrap());
        let of = |group: &str, rate| tables.targets.iter().filter(|t| t.is.group == group && t.is.rate == rate).collect::<Vec<_>>();
        assert_eq!(of("high_risk", Rate::Networked).iter().map(|t| t.is.at_least).collect::<Vec<_>>(), [0.5]);
        assert_eq!(of("high_risk", Rate::Built).len(), 1);
        assert_eq!(tables.unknown_groups(), ["nobody"]);
        assert!(tables.heard.is_some(), "what the other does not say stays");
    }

    #[test]
    fn what_misses_is_named() {
        let at = Timestamp::from_secs(40);
        let check = |facts: Facts, built: Option<Missing>, networked: Option<Missing>| {
            assert_eq!(missing(Rate::Built, &facts), built, "{facts:?}");
            assert_eq!(missing(Rate::Networked, &facts), networked, "{facts:?}");
        };
        check(facts(0, vec![]), Some(Missing::NoDevice), Some(Missing::NoDevice));
        check(facts(1, vec![]), Some(Missing::NoPoint), Some(Missing::NoPoint));
        let mute = || vec![way(Standing::Heard, (2, 0, 0))];
        check(facts(1, mute()), Some(Missing::NeverHeard), Some(Missing::NeverHeard));
        check(facts(1, vec![way(Standing::Heard, (2, 1, 1))]), None, None);
        check(facts(1, vec![way(Standing::Heard, (2, 1, 0))]), None, Some(Missing::Silent(Timestamp::from_secs(50))));
        // Its own node speaks, and its devices do not: it is on the network.
        check(facts(1, vec![own(Standing::Heard, (2, 2, 0))]), None, None);
        check(facts(0, vec![own(Standing::Heard, (0, 0, 0))]), Some(Missing::NoDevice), None);
        for (standing, why) in [
            (Standing::Silent(at), Missing::NodeSilent(NODE, at)),
            (Standing::Never, Missing::NodeNever(NODE)),
            (Standing::Paused, Missing::NodePaused(NODE)),
            (Standing::Frozen, Missing::NodeFrozen(NODE)),
            (Standing::Revoked, Missing::NodeRevoked(NODE)),
        ] {
            // Points that still look fresh do not open a way that is shut.
            check(facts(1, vec![own(standing, (2, 2, 2))]), None, Some(why.clone()));
            let county = Way { is_own: false, ..own(standing, (2, 2, 2)) };
            check(facts(1, vec![county]), None, Some(why));
            // A second way counts.
            check(facts(2, vec![own(standing, (2, 2, 2)), way(Standing::Heard, (1, 1, 1))]), None, None);
        }
        let withheld = Way { withheld: true, ..own(Standing::Heard, (2, 0, 0)) };
        check(facts(1, vec![withheld]), Some(Missing::Withheld(NODE)), None);
        let partly = facts(1, vec![way(Standing::Heard, (5, 4, 3))]);
        assert_eq!(missing(Rate::Online, &partly), Some(Missing::PointsSilent(2, Some(Timestamp::from_secs(50)))));
        assert_eq!(missing(Rate::Online, &facts(0, vec![])), None, "without points nothing is silent");
        let day = Facts { expected: Some(100), received: 97, ..Facts::default() };
        assert_eq!(missing(Rate::Complete, &day), Some(Missing::Readings(3)));
        assert_eq!(missing(Rate::Complete, &Facts::default()), None, "not counted");
    }

    #[test]
    fn figures_as_reckoned_by_hand() {
        let all = [
            // Built and networked: 4 of 5 points, 90 of 100 readings.
            Facts { expected: Some(100), received: 90, ..facts(1, vec![way(Standing::Heard, (5, 5, 4))]) },
            // Built, cut: its points were fresh a moment ago.
            Facts { expected: Some(50), received: 60, ..facts(1, vec![own(Standing::Paused, (3, 3, 3))]) },
            // Registered, and nothing else.
            facts(0, vec![]),
        ];
        let count = |basis| {
            let mut counted = Counted::default();
            for (key, facts) in ["a", "b", "a"].into_iter().zip(&all) {
                counted.add(key, facts, basis);
            }
            counted
        };
        let counted = count(Basis::Group);
        let share = |n, of| Share { n, of };
        let total = Figures { enterprises: 3, built: share(2, 3), networked: share(1, 3), online: share(7, 8), complete: share(140, 150) };
        assert_eq!(counted.total, total);
        assert_eq!(counted.by["b"].networked.rate(), Some(0.0));
        assert_eq!(counted.by["a"].complete.rate(), Some(0.9));
        // The parts are the whole.
        for rate in Rate::ALL {
            let (n, of) = counted.by.values().map(|f| f.share(rate)).fold((0, 0), |(n, of), s| (n + s.n, of + s.of));
            assert_eq!(share(n, of), counted.total.share(rate), "{rate:?}");
        }
        assert_eq!(count(Basis::Built).total.networked, share(1, 2), "of those that have a system");
        assert_eq!(Figures::default().built.rate(), None);
    }

    #[test]
    fn a_day_promises_what_fits_in_it() {
        let check = |period, n| assert_eq!(expected_of_day(period), n, "{period}");
        check(10.0, Some(8_640));
        check(7.0, Some(12_342));
        check(86_400.0, Some(1));
        check(1e9, Some(1));
        check(0.0, None);
        check(-1.0, None);
        check(f64::NAN, None);
        check(f64::INFINITY, None);
    }
}
