//! The node as SensorThings entities: which there are, what they say of themselves, where their links lead.
//!
//! Thing and Location are an enterprise (id of the enterprise), Sensor is a device, Datastream and FeatureOfInterest are a point, ObservedProperty
//! is a kind of measurement, Observation is a reading. Everything comes from ids that `store` gave under the asker's scope; the registry only
//! names them. A device without an enterprise belongs to nobody and is not shown. Start at [`World::all`].

use std::cell::{Cell, OnceCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use anlan_domain::pack::RuleBook;
use anlan_model::noun::{Enterprise, Point};
use anlan_model::{DeviceId, EnterpriseId, PointId, PointSet, Reading, Timestamp, Wgs84};
use anlan_protocols::sensorthings::{Entity, Eval, Id, Link, Part, Refusal, Shape, Subject, Value};
use serde_json::{Map, Value as Json, json};

use crate::registry::Snapshot;
use crate::telemetry::Telemetry;

/// Kind of measurement of a point whose kind nobody said.
const NO_KIND: &str = "unknown";
const GEO_JSON: &str = "application/geo+json";

/// What one request sees and may spend.
pub(super) struct World {
    pub(super) known: Arc<Snapshot>,
    pub(super) seen: PointSet,
    /// In order.
    pub(super) enterprises: Vec<EnterpriseId>,
    /// In order.
    pub(super) devices: Vec<DeviceId>,
    pub(super) rules: Arc<RuleBook>,
    pub(super) telemetry: Telemetry,
    /// Address of the service, without a slash at the end.
    pub(super) base: String,
    pub(super) eval: Eval,
    pub(super) now: Timestamp,
    /// Readings that may still be looked at.
    pub(super) readings_left: Cell<u64>,
    /// Entities that may still be written.
    pub(super) entities_left: Cell<u64>,
    pub(super) index: OnceCell<Index>,
}

/// Points by what they belong to.
#[derive(Default)]
pub(super) struct Index {
    streams: Vec<PointId>,
    of_enterprise: HashMap<EnterpriseId, Vec<PointId>>,
    of_device: HashMap<DeviceId, Vec<PointId>>,
    of_kind: BTreeMap<String, Vec<PointId>>,
}

/// Which entity.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    Thing(EnterpriseId),
    Location(EnterpriseId),
    Sensor(DeviceId),
    Datastream(PointId),
    ObservedProperty(String),
    Observation(Reading),
    Feature(PointId),
}

/// An entity of the world.
#[derive(Clone)]
pub(super) struct Node<'w> {
    pub(super) world: &'w World,
    pub(super) what: What,
}

impl World {
    pub(super) fn node(&self, what: What) -> Node<'_> {
        Node { world: self, what }
    }
    fn point(&self, id: PointId) -> Option<&Arc<Point>> {
        self.known.points.get(&id).filter(|_| self.seen.contains(id))
    }
    fn enterprise(&self, id: EnterpriseId) -> Option<&Arc<Enterprise>> {
        self.known.enterprises.get(&id).filter(|_| self.enterprises.binary_search(&id).is_ok())
    }
    fn index(&self) -> &Index {
        self.index.get_or_init(|| {
            let mut index = Index::default();
            for id in self.seen.iter() {
                let Some(point) = self.point(id) else { continue };
                let Some(enterprise) = point.enterprise.filter(|e| self.enterprise(*e).is_some()) else { continue };
                index.streams.push(id);
                index.of_enterprise.entry(enterprise).or_default().push(id);
                index.of_device.entry(point.device).or_default().push(id);
                index.of_kind.entry(kind_of(point).to_owned()).or_default().push(id);
            }
            index
        })
    }
    /// Points that are datastreams, in order.
    pub(super) fn streams(&self) -> &[PointId] {
        &self.index().streams
    }
    /// Every entity of a kind, in order of ids; observations are not listed here.
    pub(super) fn all(&self, entity: Entity) -> Vec<Node<'_>> {
        let nodes = |all: Vec<What>| all.into_iter().map(|what| self.node(what)).collect();
        match entity {
            Entity::Thing => {
                nodes(self.enterprises.iter().filter(|id| self.enterprise(**id).is_some()).map(|id| What::Thing(*id)).collect())
            }
            Entity::Location => nodes(self.enterprises.iter().filter(|id| self.is_placed(**id)).map(|id| What::Location(*id)).collect()),
            // An enterprise does not move; where it was before is not kept.
            Entity::HistoricalLocation | Entity::Observation => Vec::new(),
            Entity::Datastream => nodes(self.streams().iter().map(|id| What::Datastream(*id)).collect()),
            Entity::Sensor => {
                nodes(self.devices.iter().filter(|id| self.known.devices.contains_key(id)).map(|id| What::Sensor(*id)).collect())
            }
            Entity::ObservedProperty => nodes(self.index().of_kind.keys().map(|kind| What::ObservedProperty(kind.clone())).collect()),
            Entity::FeatureOfInterest => nodes(self.streams().iter().map(|id| What::Feature(*id)).collect()),
        }
    }
    /// The entity of this id, unless it is an observation.
    pub(super) fn find(&self, entity: Entity, id: &Id) -> Option<Node<'_>> {
        let what = match (entity, id) {
            (Entity::Thing, Id::Number(n)) => What::Thing(EnterpriseId::new(*n)),
            (Entity::Location, Id::Number(n)) => What::Location(EnterpriseId::new(*n)),
            (Entity::Sensor, Id::Number(n)) => What::Sensor(DeviceId::new(*n)),
            (Entity::Datastream, Id::Number(n)) => What::Datastream(PointId::new(*n)),
            (Entity::FeatureOfInterest, Id::Number(n)) => What::Feature(PointId::new(*n)),
            (Entity::ObservedProperty, Id::Text(word)) => What::ObservedProperty(word.clone()),
            _ => return None,
        };
        let is_there = match &what {
            What::Thing(id) => self.enterprise(*id).is_some(),
            What::Location(id) => self.is_placed(*id),
            What::Sensor(id) => self.devices.binary_search(id).is_ok() && self.known.devices.contains_key(id),
            What::Datastream(id) | What::Feature(id) => self.streams().binary_search(id).is_ok(),
            What::ObservedProperty(word) => self.index().of_kind.contains_key(word),
            What::Observation(_) => false,
        };
        is_there.then(|| self.node(what))
    }
    fn is_placed(&self, id: EnterpriseId) -> bool {
        self.enterprise(id).is_some_and(|e| e.place.is_some())
    }
    /// Place of a point, or else of its enterprise.
    fn place(&self, point: &Point) -> Option<Wgs84> {
        point.place.or_else(|| self.enterprise(point.enterprise?)?.place)
    }
}

fn kind_of(point: &Point) -> &str {
    if point.kind.is_empty() { NO_KIND } else { &point.kind }
}

/// Id of an observation: point and instant name it.
pub(super) fn observation_id(reading: &Reading) -> String {
    format!("{}-{}", reading.point, reading.event_at.micros())
}

/// The point and the instant of an id that [`observation_id`] wrote.
pub(super) fn observation_of(id: &Id) -> Option<(PointId, Timestamp)> {
    let Id::Text(text) = id else { return None };
    let (point, at) = text.split_once('-')?;
    let us: i64 = at.parse().ok()?;
    let at = Timestamp::from_micros(us);
    (at.micros() == us).then_some((PointId::new(point.parse().ok()?), at))
}

fn joined(parts: [Option<&str>; 2]) -> String {
    parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ")
}

fn geo_point(place: Wgs84) -> Json {
    json!({"type": "Point", "coordinates": [place.lon, place.lat]})
}

impl<'w> Node<'w> {
    pub(super) fn entity(&self) -> Entity {
        match self.what {
            What::Thing(_) => Entity::Thing,
            What::Location(_) => Entity::Location,
            What::Sensor(_) => Entity::Sensor,
            What::Datastream(_) => Entity::Datastream,
            What::ObservedProperty(_) => Entity::ObservedProperty,
            What::Observation(_) => Entity::Observation,
            What::Feature(_) => Entity::FeatureOfInterest,
        }
    }
    pub(super) fn id(&self) -> Id {
        match &self.what {
            What::Thing(id) | What::Location(id) => Id::Number(id.get()),
            What::Sensor(id) => Id::Number(id.get()),
            What::Datastream(id) | What::Feature(id) => Id::Number(id.get()),
            What::ObservedProperty(word) => Id::Text(word.clone()),
            What::Observation(reading) => Id::Text(observation_id(reading)),
        }
    }
    pub(super) fn json_id(&self) -> Json {
        match self.id() {
            Id::Number(n) => json!(n),
            Id::Text(text) => json!(text),
        }
    }
    /// Its address.
    pub(super) fn address(&self) -> String {
        format!("{}/{}({})", self.world.base, self.entity().set(), self.id())
    }
    /// Whether it is among what `link` of another leads to; without listing all of that.
    pub(super) fn child(&self, link: &'static Link, id: &Id) -> Option<Self> {
        let found = self.world.find(link.to, id)?;
        let all = self.linked(link).ok()?;
        all.into_iter().find(|node| node.what == found.what)
    }
    /// What it says of itself, without addresses.
    pub(super) fn body(&self) -> Map<String, Json> {
        let world = self.world;
        let body = match &self.what {
            What::Thing(id) => world.enterprise(*id).map(|e| {
                let region = world.known.regions.get(&e.region).map(|r| r.name.as_str());
                json!({
                    "name": e.name,
                    "description": joined([Some(e.code.as_str()), region]),
                    "properties": {"code": e.code, "region": e.region, "region_name": region, "sector": e.sector},
                })
            }),
            What::Location(id) => world.enterprise(*id).map(|e| {
                json!({
                    "name": e.name, "description": e.name, "encodingType": GEO_JSON, "location": e.place.map(geo_point),
                    "properties": {"region": e.region},
                })
            }),
            What::Sensor(id) => world.known.devices.get(id).map(|d| {
                json!({
                    "name": d.name, "description": d.code, "encodingType": "text/plain", "metadata": format!("protocol {}", d.protocol),
                    "properties": {"code": d.code, "protocol": d.protocol},
                })
            }),
            What::Datastream(id) => world.point(*id).map(|p| {
                let unit = (!p.unit.is_empty()).then_some(p.unit.as_str());
                let time = self.span().map(|(from, to)| format!("{from}/{to}"));
                let mut body = json!({
                    "name": p.name,
                    "description": joined([Some(p.site.as_str()), Some(p.code.as_str())]),
                    "observationType": "http://www.opengis.net/def/observationType/OGC-OM/2.0/OM_Measurement",
                    // What a symbol is defined by is not kept.
                    "unitOfMeasurement": {"name": unit, "symbol": unit, "definition": null},
                    "phenomenonTime": time, "resultTime": time,
                    "properties": {
                        "code": p.code, "site": p.site, "kind": p.kind, "period_s": (p.period_s > 0.0).then_some(p.period_s),
                        "range_low": p.range_low, "range_high": p.range_high, "confirmed": p.confirmed,
                    },
                });
                if let (Some(place), Some(body)) = (world.place(p), body.as_object_mut()) {
                    body.insert("observedArea".to_owned(), geo_point(place));
                }
                body
            }),
            What::ObservedProperty(word) => {
                let kind = world.rules.kinds.iter().find(|k| k.kind == *word);
                Some(json!({
                    "name": kind.map_or(word.as_str(), |k| k.name_zh.as_str()),
                    "definition": format!("urn:anlan:kind:{word}"),
                    "description": kind.map_or(word.as_str(), |k| k.name_en.as_str()),
                    "properties": {"kind": word, "unit": kind.map(|k| k.unit.as_str())},
                }))
            }
            What::Observation(r) => Some(json!({
                "phenomenonTime": r.event_at.to_string(),
                "resultTime": r.event_at.to_string(),
                "result": r.value,
                "resultQuality": r.quality.as_str(),
                "parameters": {
                    "received_at": r.received_at.to_string(), "device_at": r.device_at.map(|at| at.to_string()),
                    "flags": r.flags.names(), "revision": r.revision,
                },
            })),
            What::Feature(id) => world.point(*id).map(|p| {
                let feature = world.place(p).map_or_else(|| json!({"type": "Feature", "geometry": null, "properties": {}}), geo_point);
                json!({
                    "name": p.name, "description": p.name, "encodingType": GEO_JSON, "feature": feature, "properties": {"site": p.site},
                })
            }),
        };
        match body {
            Some(Json::Object(body)) => body,
            _ => Map::new(),
        }
    }
    /// Instants of the first and the newest reading on this machine; what is archived alone may lie before.
    fn span(&self) -> Option<(Timestamp, Timestamp)> {
        let What::Datastream(id) = self.what else { return None };
        self.world.telemetry.reader.range(id)
    }
    /// A property as JSON.
    pub(super) fn json(&self, path: &[Part]) -> Json {
        let Some((Part::Name(first), rest)) = path.split_first() else { return Json::Null };
        let whole = match first.as_str() {
            "id" | "@iot.id" => self.json_id(),
            "selfLink" | "@iot.selfLink" => json!(self.address()),
            name => self.body().remove(name).unwrap_or_default(),
        };
        let inside = rest.iter().try_fold(&whole, |json, part| match part {
            Part::Name(name) => json.get(name).or_else(|| json.get(name.parse::<usize>().ok()?)),
            Part::Index(index) => json.get(*index),
        });
        inside.cloned().unwrap_or_default()
    }
}

impl Subject for Node<'_> {
    fn property(&self, path: &[Part]) -> Value {
        if let [Part::Name(name)] = path {
            match (&self.what, name.as_str()) {
                // Looked at a hundred thousand times in one question.
                (What::Observation(r), "result") => return Value::Number(r.value),
                (What::Observation(r), "phenomenonTime" | "resultTime") => return Value::Instant(r.event_at.micros()),
                (What::Observation(r), "resultQuality") => return Value::Text(r.quality.as_str().to_owned()),
                (What::Datastream(_), "phenomenonTime" | "resultTime") => {
                    return self.span().map_or(Value::Null, |(from, to)| Value::Interval(from.micros(), to.micros()));
                }
                (What::Location(id), "location") => {
                    let place = self.world.enterprise(*id).and_then(|e| e.place);
                    return place.map_or(Value::Null, |p| Value::Shape(Shape::Point([p.lon, p.lat])));
                }
                (What::Datastream(id), "observedArea") | (What::Feature(id), "feature") => {
                    let place = self.world.point(*id).and_then(|p| self.world.place(p));
                    return place.map_or(Value::Null, |p| Value::Shape(Shape::Point([p.lon, p.lat])));
                }
                _ => {}
            }
        }
        Value::of_json(&self.json(path))
    }

    fn linked(&self, link: &'static Link) -> Result<Vec<Self>, Refusal> {
        let world = self.world;
        let streams = |ids: Option<&Vec<PointId>>| -> Vec<What> { ids.into_iter().flatten().map(|id| What::Datastream(*id)).collect() };
        let of_point = |id: PointId, make: &dyn Fn(&Point) -> Option<What>| -> Vec<What> {
            world.point(id).and_then(|point| make(point)).into_iter().collect()
        };
        let found = match (&self.what, link.to) {
            (_, Entity::HistoricalLocation) => Vec::new(),
            (_, Entity::Observation) => {
                return Err(Refusal::Unsupported { what: format!("a way through {} in a filter or an order", link.name) });
            }
            (What::Thing(id), Entity::Location) => {
                if world.is_placed(*id) {
                    vec![What::Location(*id)]
                } else {
                    Vec::new()
                }
            }
            (What::Thing(id), Entity::Datastream) => streams(world.index().of_enterprise.get(id)),
            (What::Location(id), Entity::Thing) => vec![What::Thing(*id)],
            (What::Sensor(id), Entity::Datastream) => streams(world.index().of_device.get(id)),
            (What::ObservedProperty(word), Entity::Datastream) => streams(world.index().of_kind.get(word)),
            (What::Datastream(id), Entity::Thing) => of_point(*id, &|p| p.enterprise.map(What::Thing)),
            (What::Datastream(id), Entity::Sensor) => of_point(*id, &|p| Some(What::Sensor(p.device))),
            (What::Datastream(id), Entity::ObservedProperty) => of_point(*id, &|p| Some(What::ObservedProperty(kind_of(p).to_owned()))),
            (What::Observation(r), Entity::Datastream) => vec![What::Datastream(r.point)],
            (What::Observation(r), Entity::FeatureOfInterest) => vec![What::Feature(r.point)],
            _ => Vec::new(),
        };
        Ok(found.into_iter().map(|what| world.node(what)).collect())
    }
}

/// Distinct points of nodes that are datastreams or features.
pub(super) fn points(nodes: &[Node<'_>]) -> Vec<PointId> {
    let ids = nodes.iter().filter_map(|node| match node.what {
        What::Datastream(id) | What::Feature(id) => Some(id),
        _ => None,
    });
    ids.collect::<BTreeSet<_>>().into_iter().collect()
}
