//! The invented city: counties of the map, enterprises, devices with points, vehicles. Equal for equal seed and scale.
//!
//! Holds what exists, not what happens ([`crate::script`]) and not how it is sent ([`crate::client`]). Every name says 演示.
//! Start at [`World::new`]. Figures come from `packs/demo` and `packs/base`, none from Rust.

use std::collections::{HashMap, HashSet};

use anlan_model::Wgs84;
use anlan_model::noun::{Limits, LimitsSource};
use serde::Deserialize;

use crate::county::{County, counties};
use crate::fleet::{self, Route, Vehicle};
use crate::plc::{self, Plc};
use crate::rng::Rng;

/// How large the city is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Enterprises.
    pub enterprises: usize,
    /// Measuring points, over all devices.
    pub points: usize,
    /// Vehicles.
    pub vehicles: usize,
}

impl Default for Scale {
    /// The city of the demo: 250 enterprises, 3,000 points, 1,000 vehicles.
    fn default() -> Self {
        Self { enterprises: 250, points: 3_000, vehicles: 1_000 }
    }
}

/// An invented enterprise.
#[derive(Clone, Debug)]
pub struct Enterprise {
    /// Unique code, `DEMO-E0001`.
    pub code: String,
    /// Name; begins with 演示.
    pub name: String,
    /// County code.
    pub region: String,
    /// Sector word.
    pub sector: String,
    /// The gate; inside the county.
    pub place: Wgs84,
}

/// An invented device.
#[derive(Clone, Debug)]
pub struct Device {
    /// Unique code, also the MQTT user: `demo-d0001`.
    pub code: String,
    /// Name.
    pub name: String,
    /// Index into [`World::enterprises`].
    pub enterprise: usize,
    /// What kind of plant: `tank_farm`, `gas_main`, `plant`.
    pub template: String,
    /// Seconds between messages; every message holds all points.
    pub period_s: f64,
    /// First message this long after the start, so that devices do not speak at once.
    pub phase_us: i64,
    /// Points.
    pub points: Vec<Point>,
}

/// An invented combination rule over points of one device.
#[derive(Clone, Debug)]
pub struct Combination {
    /// Name; begins with 演示.
    pub name: String,
    /// Index into [`World::devices`].
    pub device: usize,
    /// Indices of the points that must be high together.
    pub points: Vec<usize>,
    /// Within how many seconds.
    pub within_s: f64,
    /// Level word.
    pub level: String,
    /// Who set it.
    pub source: LimitsSource,
}

/// An invented measuring point.
#[derive(Clone, Debug)]
pub struct Point {
    /// Code within the device, such as `GT-101`.
    pub code: String,
    /// Name.
    pub name: String,
    /// Part of the plant.
    pub site: String,
    /// Kind word of the base pack.
    pub kind: String,
    /// Unit.
    pub unit: String,
    /// Measuring range.
    pub range: (f64, f64),
    /// Limits the enterprise sets; without any, the pack's default of the kind holds.
    pub limits: Limits,
    /// Their source; `None` if it sets none.
    pub limits_source: Option<LimitsSource>,
    /// The limits that hold in the end.
    pub effective: Limits,
    /// Mean of the quiet signal.
    pub mean: f64,
    /// Its greatest distance from the mean; reaches no limit.
    pub spread: f64,
    /// Decimals of the instrument.
    pub decimals: u8,
}

/// The invented city.
#[derive(Clone, Debug)]
pub struct World {
    /// Seed it was made from.
    pub seed: u64,
    /// Counties of the map.
    pub counties: Vec<County>,
    /// Enterprises.
    pub enterprises: Vec<Enterprise>,
    /// Devices of enterprises.
    pub devices: Vec<Device>,
    /// Controllers that are polled; their points come on top of the scale.
    pub plcs: Vec<Plc>,
    /// Combination rules: a leak that reaches two gas detectors of a tank farm.
    pub combinations: Vec<Combination>,
    /// Loops that vehicles drive.
    pub routes: Vec<Route>,
    /// Vehicles.
    pub vehicles: Vec<Vehicle>,
    /// Level of each kind of rule by the base pack.
    pub levels: Levels,
}

/// What the base pack says about levels: by kind of rule, and by terminal bit.
#[derive(Clone, Debug, Default)]
pub struct Levels {
    by_kind: HashMap<String, String>,
    by_bit: HashMap<u8, (String, String)>,
    /// Periods of silence after which a point is stale.
    pub stale_periods: f64,
    /// Kinds of measurement whose flat lines are told, after how many periods and at least how many seconds.
    flat: (Vec<String>, f64, f64),
}

impl Levels {
    /// Reads the built-in base pack.
    pub fn of_base_pack() -> Self {
        Self::new(toml::from_str::<RulesFile>(RULES).expect("the built-in rules are TOML, see the test").rule)
    }
    fn new(rows: Vec<RuleRow>) -> Self {
        let mut levels = Self::default();
        for row in rows {
            match row.kind.as_str() {
                "stale" => levels.stale_periods = row.factor.unwrap_or(levels.stale_periods),
                "flat_line" => levels.flat = (row.applies_to, row.factor.unwrap_or_default(), row.threshold.unwrap_or_default()),
                _ => {}
            }
            match row.bit {
                Some(bit) => _ = levels.by_bit.insert(bit, (row.id, row.level)),
                None => _ = levels.by_kind.insert(row.kind, row.level),
            }
        }
        levels
    }
    /// The level of a kind of rule; empty if the pack has no such rule.
    pub fn of(&self, kind: &str) -> &str {
        self.by_kind.get(kind).map_or("", String::as_str)
    }
    /// After how many seconds without a move a point of this kind is told to be flat.
    pub fn flat_after_s(&self, kind: &str, period_s: f64) -> Option<f64> {
        let (kinds, factor, least_s) = &self.flat;
        kinds.iter().any(|k| k == kind || k == "*").then(|| (period_s * factor).max(*least_s))
    }
    /// Rule id and level of a terminal bit.
    pub fn bit(&self, bit: u8) -> Option<(&str, &str)> {
        self.by_bit.get(&bit).map(|(id, level)| (id.as_str(), level.as_str()))
    }
}

#[derive(Deserialize)]
struct RulesFile {
    rule: Vec<RuleRow>,
    limit: Vec<LimitRow>,
}

#[derive(Deserialize)]
struct RuleRow {
    id: String,
    kind: String,
    level: String,
    bit: Option<u8>,
    factor: Option<f64>,
    threshold: Option<f64>,
    applies_to: Vec<String>,
}

#[derive(Deserialize)]
struct LimitRow {
    kind: String,
    unit: String,
    hh: Option<f64>,
    h: Option<f64>,
    l: Option<f64>,
    ll: Option<f64>,
}

#[derive(Deserialize)]
struct PlantsFile {
    limits_document: String,
    combination: Vec<CombinationRow>,
    sector: Vec<SectorRow>,
    device: Vec<DeviceRow>,
}

#[derive(Deserialize)]
struct CombinationRow {
    template: String,
    kind: String,
    name: String,
    within_s: f64,
    level: String,
    clause: String,
}

#[derive(Deserialize)]
struct SectorRow {
    sector: String,
    share: usize,
    names: Vec<String>,
}

#[derive(Deserialize)]
struct DeviceRow {
    sector: String,
    template: String,
    name: String,
    site: String,
    period_s: f64,
    weight: usize,
    items: Vec<ItemRow>,
}

#[derive(Deserialize)]
struct ItemRow {
    prefix: String,
    kind: String,
    name: String,
    unit: String,
    mean: f64,
    spread: f64,
    decimals: u8,
    range_low: f64,
    range_high: f64,
    h: Option<f64>,
    hh: Option<f64>,
    l: Option<f64>,
    ll: Option<f64>,
    #[serde(default)]
    deadband: f64,
}

const PLANTS: &str = include_str!("../../../packs/demo/plants.toml");
const RULES: &str = include_str!("../../../packs/base/alarm_rules.toml");
/// Points per device that a large city aims at.
const POINTS_PER_DEVICE: usize = 10;
const TOWNS_PER_COUNTY: usize = 7;

impl World {
    /// Makes the city. Every device has at least one point, so a scale of fewer points than enterprises leaves some without a device.
    ///
    /// # Panics
    /// If a built-in pack file cannot be read; a test reads them all.
    pub fn new(seed: u64, scale: Scale) -> Self {
        let plants: PlantsFile = toml::from_str(PLANTS).expect("the built-in plants are TOML, see the test");
        let rules: RulesFile = toml::from_str(RULES).expect("the built-in rules are TOML, see the test");
        let counties = counties();
        let towns = towns(seed, &counties);
        let enterprises = enterprises(seed, scale.enterprises, &plants, &counties, &towns);
        let devices = devices(seed, scale.points, &plants, &rules, &enterprises);
        let plcs = plc::plcs(&enterprises);
        let combinations = combinations(&plants, &devices);
        let routes = fleet::routes(seed, &towns);
        let vehicles = fleet::vehicles(seed, scale.vehicles, &enterprises, &routes);
        let levels = Levels::new(rules.rule);
        Self { seed, counties, enterprises, devices, plcs, combinations, routes, vehicles, levels }
    }
}

/// Which part of the city plays: enterprises with a node of their own play there, and the others at the city.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    #[default]
    All,
    /// One enterprise, and the division its own node says it lies in; no vehicles.
    Only {
        /// Its code.
        code: String,
        /// GB/T 2260 code or an extension of it.
        region: String,
    },
    /// All but these.
    Without(Vec<String>),
}

impl World {
    /// A part of this city; what is not in it is as if it had never been.
    #[must_use]
    pub fn part(mut self, part: &Part) -> Self {
        let keeps = |e: &Enterprise| match part {
            Part::All => true,
            Part::Only { code, .. } => e.code == *code,
            Part::Without(codes) => !codes.contains(&e.code),
        };
        // Indices move up.
        let places = |kept: &[bool]| -> Vec<Option<usize>> {
            let mut n = 0;
            let mut next = || {
                n += 1;
                n - 1
            };
            kept.iter().map(|kept| kept.then(&mut next)).collect()
        };
        let enterprises = places(&self.enterprises.iter().map(keeps).collect::<Vec<_>>());
        let devices = places(&self.devices.iter().map(|d| enterprises[d.enterprise].is_some()).collect::<Vec<_>>());
        self.enterprises.retain(keeps);
        if let Part::Only { region, .. } = part {
            self.enterprises.iter_mut().for_each(|e| e.region.clone_from(region));
            self.vehicles.clear();
        }
        let stay = |device: &mut Device| enterprises[device.enterprise].inspect(|place| device.enterprise = *place).is_some();
        self.devices.retain_mut(stay);
        self.plcs.retain_mut(|plc| stay(&mut plc.device));
        self.combinations.retain_mut(|c| devices[c.device].inspect(|place| c.device = *place).is_some());
        self.vehicles.iter_mut().for_each(|v| v.enterprise = v.enterprise.and_then(|e| enterprises[e]));
        self
    }
}

/// Places where firms and waypoints gather, some per county, in county order.
fn towns(seed: u64, counties: &[County]) -> Vec<Vec<Wgs84>> {
    let town = |county: &County| {
        let mut rng = Rng::named(seed, &format!("towns of {}", county.code));
        std::iter::once(county.label).chain((1..TOWNS_PER_COUNTY).map(|_| county.draw(&mut rng))).collect()
    };
    counties.iter().map(town).collect()
}

fn enterprises(seed: u64, n: usize, plants: &PlantsFile, counties: &[County], towns: &[Vec<Wgs84>]) -> Vec<Enterprise> {
    const FIRST: [&str; 12] = ["云", "青", "岚", "宏", "锦", "泰", "瑞", "兴", "鼎", "和", "盛", "远"];
    const SECOND: [&str; 12] = ["岭", "溪", "川", "峰", "泽", "桥", "原", "湖", "坪", "林", "石", "江"];
    let mut rng = Rng::named(seed, "enterprises");
    let total: usize = plants.sector.iter().map(|s| s.share).sum::<usize>().max(1);
    let mut given = vec![0_usize; plants.sector.len()];
    let mut list = Vec::with_capacity(n);
    for i in 0..n {
        // Always the sector that is furthest behind its share, so that a small city has every sector too.
        let behind = |s: usize| (plants.sector[s].share * (i + 1) * 1_000 / total) as i64 - (given[s] * 1_000) as i64;
        let Some(s) = (0..plants.sector.len()).max_by_key(|&s| (behind(s), std::cmp::Reverse(s))) else { break };
        given[s] += 1;
        let row = &plants.sector[s];
        let c = if i < counties.len() { i } else { rng.below(counties.len()) };
        let town = *rng.pick(&towns[c]);
        let near = Wgs84 { lon: round5(town.lon + 0.02 * rng.normal()), lat: round5(town.lat + 0.02 * rng.normal()) };
        let place = if counties[c].contains(near) { near } else { counties[c].draw(&mut rng) };
        let word = format!("{}{}", rng.pick(&FIRST), rng.pick(&SECOND));
        list.push(Enterprise {
            code: format!("DEMO-E{:04}", i + 1),
            name: format!("演示{:03}·{word}{}", i + 1, rng.pick(&row.names)),
            region: counties[c].code.clone(),
            sector: row.sector.clone(),
            place,
        });
    }
    list
}

fn devices(seed: u64, n_points: usize, plants: &PlantsFile, rules: &RulesFile, enterprises: &[Enterprise]) -> Vec<Device> {
    let template = |e: usize| plants.device.iter().find(|row| row.sector == enterprises[e].sector);
    let owners: Vec<usize> = (0..enterprises.len()).filter(|&e| template(e).is_some()).collect();
    // Plants that need several loggers: those whose template is heavy.
    let large: Vec<usize> = owners.iter().copied().filter(|&e| template(e).is_some_and(|row| row.weight >= 14)).collect();
    let wanted = n_points.div_ceil(POINTS_PER_DEVICE).max(owners.len()).min(n_points);
    let mut homes: Vec<usize> = owners.iter().copied().take(wanted).collect();
    let more = if large.is_empty() { &owners } else { &large };
    homes.extend(more.iter().copied().cycle().take(wanted.saturating_sub(homes.len())));
    let weights: Vec<usize> = homes.iter().map(|&e| template(e).map_or(1, |row| row.weight)).collect();
    let counts = shares(n_points, &weights);
    homes
        .iter()
        .zip(counts)
        .enumerate()
        .filter_map(|(i, (&e, n))| {
            let row = template(e)?;
            let code = format!("demo-d{:04}", i + 1);
            let mut rng = Rng::named(seed, &code);
            let points = (0..n).map(|p| point(row, p, plants, rules, &mut rng)).collect();
            let phase_us = rng.between(0.0, row.period_s * 1e6) as i64;
            let name = format!("演示{}{}", row.name, i + 1);
            Some(Device { code, name, enterprise: e, template: row.template.clone(), period_s: row.period_s, phase_us, points })
        })
        .collect()
}

/// Of every enterprise one: the first two points of the kind, on its first device of the template that has two.
fn combinations(plants: &PlantsFile, devices: &[Device]) -> Vec<Combination> {
    let mut list = Vec::new();
    for row in &plants.combination {
        let mut served = HashSet::new();
        for (device, d) in devices.iter().enumerate().filter(|(_, d)| d.template == row.template) {
            let of_kind = d.points.iter().enumerate().filter(|(_, p)| p.kind == row.kind);
            let points: Vec<usize> = of_kind.map(|(i, _)| i).take(2).collect();
            if points.len() < 2 || !served.insert(d.enterprise) {
                continue;
            }
            let source = LimitsSource { document: plants.limits_document.clone(), clause: row.clause.clone() };
            let name = format!("演示{} {}", row.name, d.code);
            list.push(Combination { name, device, points, within_s: row.within_s, level: row.level.clone(), source });
        }
    }
    list
}

fn point(row: &DeviceRow, p: usize, plants: &PlantsFile, rules: &RulesFile, rng: &mut Rng) -> Point {
    let item = &row.items[p % row.items.len()];
    let unit_no = p / row.items.len() + 1;
    let own = Limits { hh: item.hh, h: item.h, l: item.l, ll: item.ll, deadband: item.deadband, ..Limits::default() };
    let has_own = own.hh.or(own.h).or(own.l).or(own.ll).is_some();
    let default = rules.limit.iter().find(|r| !has_own && r.kind == item.kind && r.unit == item.unit);
    let effective = default.map_or_else(|| own.clone(), |r| Limits { hh: r.hh, h: r.h, l: r.l, ll: r.ll, ..own.clone() });
    let source = || LimitsSource { document: plants.limits_document.clone(), clause: format!("{}-{unit_no}", item.prefix) };
    Point {
        code: format!("{}-{}01", item.prefix, unit_no),
        name: format!("{unit_no}{}{}", row.site, item.name),
        site: format!("{unit_no}{}", row.site),
        kind: item.kind.clone(),
        unit: item.unit.clone(),
        range: (item.range_low, item.range_high),
        limits_source: has_own.then(source),
        limits: own,
        effective,
        // Every instrument sits a little elsewhere in the band; a third of the spread is kept for it.
        mean: item.mean + item.spread * rng.between(-0.33, 0.33),
        spread: item.spread * 0.66,
        decimals: item.decimals,
    }
}

/// `n` in whole parts by weight, at least one each where `n` allows it, adding up to exactly `n`.
fn shares(n: usize, weights: &[usize]) -> Vec<usize> {
    let total: usize = weights.iter().sum::<usize>().max(1);
    let spare = n.saturating_sub(weights.len());
    let mut parts: Vec<usize> = weights.iter().map(|w| 1 + spare * w / total).collect();
    let mut left = n.saturating_sub(parts.iter().sum());
    for part in parts.iter_mut() {
        if left == 0 {
            break;
        }
        *part += 1;
        left -= 1;
    }
    parts
}

pub(crate) fn round5(x: f64) -> f64 {
    (x * 1e5).round() / 1e5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_city_has_the_promised_size() {
        let world = World::new(1, Scale::default());
        assert_eq!(world.enterprises.len(), 250);
        assert_eq!(world.devices.iter().map(|d| d.points.len()).sum::<usize>(), 3_000);
        assert_eq!(world.vehicles.len(), 1_000);
        assert!((290..=310).contains(&world.devices.len()), "{}", world.devices.len());
        let in_use: std::collections::HashSet<_> = world.enterprises.iter().map(|e| e.region.as_str()).collect();
        assert_eq!(in_use.len(), 9);
    }

    #[test]
    fn every_enterprise_lies_inside_its_county_and_says_that_it_is_invented() {
        let world = World::new(2, Scale::default());
        for e in &world.enterprises {
            let county = world.counties.iter().find(|c| c.code == e.region).unwrap();
            assert!(county.contains(e.place), "{} lies outside {}", e.name, county.name);
            assert!(e.name.starts_with("演示"));
        }
    }

    #[test]
    fn parts_make_up_the_city() {
        let city = || World::new(1, Scale { enterprises: 30, points: 200, vehicles: 20 });
        let whole = city();
        let own = whole.enterprises[0].code.clone();
        let gateway = city().part(&Part::Only { code: own.clone(), region: "530402001".to_owned() });
        let rest = city().part(&Part::Without(vec![own]));
        assert_eq!((gateway.enterprises.len(), rest.enterprises.len()), (1, 29));
        assert!(!gateway.devices.is_empty() && gateway.devices.iter().all(|d| d.enterprise == 0));
        assert_eq!(gateway.devices.len() + rest.devices.len(), whole.devices.len());
        assert_eq!(gateway.combinations.len() + rest.combinations.len(), whole.combinations.len());
        let owner = |world: &World, d: &Device| world.enterprises[d.enterprise].name.clone();
        for device in gateway.devices.iter().map(|d| (&gateway, d)).chain(rest.devices.iter().map(|d| (&rest, d))) {
            let before = whole.devices.iter().find(|d| d.code == device.1.code).unwrap();
            assert_eq!(owner(device.0, device.1), owner(&whole, before));
        }
    }

    #[test]
    fn codes_are_unique_and_points_know_their_limits() {
        let world = World::new(3, Scale::default());
        let codes: std::collections::HashSet<_> = world.devices.iter().map(|d| &d.code).collect();
        assert_eq!(codes.len(), world.devices.len());
        for d in &world.devices {
            let codes: std::collections::HashSet<_> = d.points.iter().map(|p| &p.code).collect();
            assert_eq!(codes.len(), d.points.len(), "{}", d.code);
            for p in &d.points {
                let l = &p.effective;
                assert!([l.ll, l.l, l.h, l.hh].into_iter().flatten().is_sorted());
                assert!(l.h.is_none_or(|h| p.mean + p.spread < h - l.deadband), "{} touches its limit", p.code);
                assert!(l.l.is_none_or(|l_| p.mean - p.spread > l_ + l.deadband), "{} touches its limit", p.code);
                assert!(p.mean - p.spread >= p.range.0 && p.mean + p.spread <= p.range.1, "{} leaves its range", p.code);
            }
        }
        let gas = world.devices.iter().flat_map(|d| &d.points).find(|p| p.kind == "gas_combustible").unwrap();
        assert_eq!((gas.effective.h, gas.effective.hh, gas.limits.h), (Some(25.0), Some(50.0), None), "the pack's default");
    }

    #[test]
    fn equal_seeds_make_equal_cities() {
        let print = |seed| format!("{:?}", World::new(seed, Scale { enterprises: 30, points: 200, vehicles: 20 }).devices);
        assert_eq!(print(5), print(5));
        assert_ne!(print(5), print(6));
    }

    #[test]
    fn a_small_city_stands_too() {
        for (enterprises, points, vehicles) in [(0, 0, 0), (1, 1, 1), (10, 4, 3), (5, 60, 12)] {
            let world = World::new(1, Scale { enterprises, points, vehicles });
            assert_eq!(world.vehicles.len(), vehicles);
            assert!(world.devices.iter().map(|d| d.points.len()).sum::<usize>() == points || enterprises == 0);
        }
    }
}
