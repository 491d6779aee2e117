//! OGC SensorThings 1.1 over what this node has: a reading facade, nothing is kept for it (ADR 0031).
//!
//! `protocols::sensorthings` says what is asked; `world` says what there is, under ids that `store` gave for the asker's scope; `observation`
//! reads readings by time. This file puts both together: paths, pages, what is put inside. A question is worked on off the async threads, two at a
//! time, and may spend so many steps, entities and readings. Start at [`answer`].

mod observation;
mod world;

use std::cell::{Cell, OnceCell};
use std::cmp::Ordering;

use anlan_model::{Clock as _, Permission, Scope};
use anlan_protocols::sensorthings::{
    Entity, Eval, Expand, Link, Order, Part, Path, Query, Refusal, Selected, Subject as _, Tail, Value, sorted,
};
use anlan_store::PointFilter;
use serde_json::{Map, Value as Json, json};

use crate::App;
use crate::error::{AppError, Kind};
use crate::point::off_thread;
use observation::Stop;
use world::{Node, World};

/// Readings one request looks at.
pub const READINGS_MAX: u64 = 100_000;
/// Datastreams whose observations are asked for together.
pub const STREAMS_MAX: usize = 64;
/// Entities of one answer, those put inside included.
pub const ENTITIES_MAX: u64 = 10_000;
/// Properties looked at and entities met by the filters of one request.
const STEPS_MAX: u64 = 3_000_000;

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Entities.
    Json(Json),
    /// One property as text.
    Text(String),
    /// A property without a value.
    Nothing,
}

impl From<Refusal> for AppError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Syntax { at, expected } => Self::invalid("sta.syntax", "").with("at", at).with("expected", expected),
            Refusal::Unknown { entity, name } => Self::invalid("sta.unknown", "").with("entity", entity).with("name", name),
            Refusal::Unsupported { what } => Self::new(Kind::Unsupported, "sta.unsupported").with("what", what),
            Refusal::TooMuch { what, most } => Self::invalid("sta.too_much", "").with("most", most).with("what", what),
            Refusal::Type { function, given } => Self::invalid("sta.type", "").with("function", function).with("given", given),
            Refusal::Twice { option } => Self::invalid("sta.twice", "").with("option", option),
        }
    }
}

impl From<Stop> for AppError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Refused(refusal) => refusal.into(),
            Stop::Failed(error) => error.into(),
        }
    }
}

/// Answers a path behind the version and its options, escapes resolved; `base` is the address of the service as the asker knows it.
///
/// # Errors
/// No permission to view, what is not there or not visible, and whatever the grammar or the limits refuse.
pub async fn answer(app: &App, scope: &Scope, base: &str, path: &str, options: Vec<(String, String)>) -> Result<Answer, AppError> {
    let scope = scope.with(Permission::View)?;
    if path.trim_matches('/').is_empty() {
        if let Some((name, _)) = options.first() {
            return Err(Refusal::Unsupported { what: name.clone() }.into());
        }
        return Ok(Answer::Json(root(base)));
    }
    let path = Path::parse(path)?;
    let query = Query::read(path.entity(), options.iter().map(|(name, value)| (name.as_str(), value.as_str())))?;
    let turn = app.open_data.turns.clone().acquire_owned().await.map_err(|_| AppError::new(Kind::Internal, "internal"))?;
    let world = World {
        seen: app.store.point_set(&scope, &PointFilter::default()).await?,
        enterprises: app.store.enterprise_ids(&scope).await?,
        devices: app.store.device_ids(&scope).await?,
        known: app.registry.get(),
        rules: app.rules.clone(),
        telemetry: app.telemetry.clone(),
        base: base.trim_end_matches('/').to_owned(),
        eval: Eval::new(app.clock.now().micros(), STEPS_MAX),
        now: app.clock.now(),
        readings_left: Cell::new(READINGS_MAX),
        entities_left: Cell::new(ENTITIES_MAX),
        index: OnceCell::new(),
    };
    // Whoever hangs up leaves the work behind: it keeps the turn until it is done.
    off_thread(move || {
        let _turn = turn;
        look(&world, &path, &query)
    })
    .await?
}

/// The root: what there is, and what is claimed of the standard.
fn root(base: &str) -> Json {
    let base = base.trim_end_matches('/');
    let sets: Vec<_> = Entity::ALL.iter().map(|e| json!({"name": e.set(), "url": format!("{base}/{}", e.set())})).collect();
    let requirement = |name: &str| format!("http://www.opengis.net/spec/iot_sensing/1.1/req/{name}");
    // Not `built-in-query-functions`: relations of lines and areas are missing.
    let claimed = [
        "datamodel",
        "resource-path/resource-path-to-entities",
        "request-data/orderby",
        "request-data/expand",
        "request-data/select",
        "request-data/count",
        "request-data/skip",
        "request-data/top",
        "request-data/filter",
        "request-data/built-in-filter-operations",
        "request-data/pagination",
    ];
    json!({"value": sets, "serverSettings": {"conformance": claimed.map(requirement)}})
}

fn look(world: &World, path: &Path, query: &Query) -> Result<Answer, AppError> {
    // What the last step begins from, if it is a link.
    let mut here = match &path.key {
        Some(key) if path.root == Entity::Observation => Some(observation::find(world, key)?.ok_or_else(AppError::not_found)?),
        Some(key) => Some(world.find(path.root, key).ok_or_else(AppError::not_found)?),
        None => None,
    };
    let mut collection: Option<(Node<'_>, &'static Link)> = None;
    for hop in &path.hops {
        let Some(node) = here.take() else { break };
        match (&hop.key, hop.link.many) {
            (None, true) => collection = Some((node, hop.link)),
            (None, false) => here = Some(node.linked(hop.link)?.into_iter().next().ok_or_else(AppError::not_found)?),
            (Some(key), _) if hop.link.to == Entity::Observation => {
                let found = observation::find(world, key)?.filter(|found| match &found.what {
                    world::What::Observation(reading) => observation::of_node(&node).contains(&reading.point),
                    _ => false,
                });
                here = Some(found.ok_or_else(AppError::not_found)?);
            }
            (Some(key), _) => here = Some(node.child(hop.link, key).ok_or_else(AppError::not_found)?),
        }
    }
    if path.tail == Tail::Ref
        && let Some((name, _)) = query.raw.iter().find(|(name, _)| matches!(name.as_str(), "$select" | "$expand"))
    {
        return Err(Refusal::Unsupported { what: format!("{name} of addresses") }.into());
    }
    let Some(node) = here else {
        let address = match &collection {
            Some((node, link)) => format!("{}/{}", node.address(), link.name),
            None => format!("{}/{}", world.base, path.root.set()),
        };
        let refs = path.tail == Tail::Ref;
        let address = if refs { format!("{address}/$ref") } else { address };
        return Ok(Answer::Json(Json::Object(listed(world, path.entity(), collection, query, &address, refs)?.into_object("value", ""))));
    };
    // Of one entity nothing is left out, sorted or counted.
    if let Some((name, _)) = query.raw.iter().find(|(name, _)| !matches!(name.as_str(), "$select" | "$expand")) {
        return Err(Refusal::Unsupported { what: format!("{name} of one entity") }.into());
    }
    match &path.tail {
        Tail::Whole => Ok(Answer::Json(Json::Object(shown(&node, query)?))),
        Tail::Ref => Ok(Answer::Json(json!({"@iot.selfLink": node.address()}))),
        Tail::Property { path, value } => {
            if let Some((name, _)) = query.raw.first() {
                return Err(Refusal::Unsupported { what: format!("{name} of a property") }.into());
            }
            let found = node.json(path);
            let name = path.iter().rev().find_map(|part| match part {
                Part::Name(name) => Some(name.clone()),
                Part::Index(_) => None,
            });
            Ok(match (found, value) {
                (Json::Null, _) => Answer::Nothing,
                (Json::String(text), true) => Answer::Text(text),
                (found, true) => Answer::Text(found.to_string()),
                (found, false) => Answer::Json(Json::Object(Map::from_iter([(name.unwrap_or_default(), found)]))),
            })
        }
    }
}

/// A page of a collection.
struct Listed {
    items: Vec<Json>,
    count: Option<u64>,
    next: Option<String>,
}

impl Listed {
    /// With the name of what is listed in front where it is put inside another entity.
    fn into_object(self, list: &str, prefix: &str) -> Map<String, Json> {
        let mut out = Map::new();
        if let Some(count) = self.count {
            out.insert(format!("{prefix}@iot.count"), json!(count));
        }
        if let Some(next) = self.next {
            out.insert(format!("{prefix}@iot.nextLink"), json!(next));
        }
        out.insert(list.to_owned(), Json::Array(self.items));
        out
    }
}

fn by_keys(orderby: &[Order], a: &[Value], b: &[Value]) -> Ordering {
    let each = orderby.iter().zip(a.iter().zip(b)).map(|(order, (a, b))| if order.descending { sorted(b, a) } else { sorted(a, b) });
    each.fold(Ordering::Equal, Ordering::then)
}

/// The page of `of`'s link, or of every entity of the kind.
fn listed(
    world: &World,
    entity: Entity,
    of: Option<(Node<'_>, &'static Link)>,
    query: &Query,
    address: &str,
    refs: bool,
) -> Result<Listed, Stop> {
    let item = |node: &Node<'_>| -> Result<Json, Stop> {
        if refs { Ok(json!({"@iot.selfLink": node.address()})) } else { Ok(Json::Object(shown(node, query)?)) }
    };
    let next = |option: &str, value: &str| {
        let keep = query.raw.iter().filter(|(name, _)| !matches!(name.as_str(), "$skip" | "$skiptoken"));
        let mut text = form_urlencoded::Serializer::new(String::new());
        text.extend_pairs(keep.map(|(name, value)| (name.as_str(), value.as_str()))).append_pair(option, value);
        format!("{address}?{}", text.finish())
    };
    if entity == Entity::Observation {
        let points = of.map_or_else(|| world.streams().to_vec(), |(node, _)| observation::of_node(&node));
        let found = observation::list(world, points, query)?;
        let nodes = found.readings.into_iter().map(|reading| world.node(world::What::Observation(reading)));
        let items = nodes.map(|node| item(&node)).collect::<Result<_, _>>()?;
        return Ok(Listed { items, count: found.count, next: found.next.map(|(option, value)| next(option, &value)) });
    }
    if query.skiptoken.is_some() {
        return Err(Refusal::Unsupported { what: "$skiptoken of anything but Observations".to_owned() }.into());
    }
    let all = match &of {
        Some((node, link)) => node.linked(link)?,
        None => world.all(entity),
    };
    let mut kept = Vec::with_capacity(all.len());
    for node in all {
        world.eval.step()?;
        let fits = match &query.filter {
            Some(filter) => world.eval.fits(filter, &node)?,
            None => true,
        };
        if fits {
            let keys = query.orderby.iter().map(|o| world.eval.value(&o.by, &node)).collect::<Result<Vec<Value>, _>>()?;
            kept.push((keys, node));
        }
    }
    // Stable: what is equal stays in order of ids.
    kept.sort_by(|(a, _), (b, _)| by_keys(&query.orderby, a, b));
    let count = kept.len() as u64;
    let end = query.skip.saturating_add(query.size());
    let (skip, size) = (usize::try_from(query.skip).unwrap_or(usize::MAX), usize::try_from(query.size()).unwrap_or(usize::MAX));
    let items = kept.iter().skip(skip).take(size).map(|(_, node)| item(node)).collect::<Result<_, _>>()?;
    let next = (end < count && query.size() > 0).then(|| next("$skip", &end.to_string()));
    Ok(Listed { items, count: query.count.then_some(count), next })
}

/// One entity with its addresses, what is selected of it, and what is put inside.
fn shown(node: &Node<'_>, query: &Query) -> Result<Map<String, Json>, Stop> {
    let world = node.world;
    let left = world.entities_left.get().checked_sub(1);
    world.entities_left.set(
        left.ok_or(Refusal::TooMuch { what: "entities of one answer (expand less, or ask for fewer with $top)", most: ENTITIES_MAX })?,
    );
    let address = node.address();
    let link_name = |link: &Link| format!("{}@iot.navigationLink", link.name);
    let mut out = Map::new();
    if query.select.is_empty() {
        out.insert("@iot.id".to_owned(), node.json_id());
        out.insert("@iot.selfLink".to_owned(), json!(address));
        out.append(&mut node.body());
        for link in node.entity().links() {
            out.insert(link_name(link), json!(format!("{address}/{}", link.name)));
        }
    }
    for selected in &query.select {
        match selected {
            Selected::Link(link) => drop(out.insert(link_name(link), json!(format!("{address}/{}", link.name)))),
            Selected::Property(path) => select(node, path, &mut out),
        }
    }
    for Expand { link, query } in &query.expand {
        if link.many {
            let address = format!("{address}/{}", link.name);
            let found = listed(world, link.to, Some((node.clone(), link)), query, &address, false)?;
            out.append(&mut found.into_object(link.name, link.name));
        } else if let Some((name, _)) = query.raw.iter().find(|(name, _)| !matches!(name.as_str(), "$select" | "$expand")) {
            return Err(Refusal::Unsupported { what: format!("{name} of one entity") }.into());
        } else if let Some(one) = node.linked(link)?.first() {
            out.insert(link.name.to_owned(), Json::Object(shown(one, query)?));
        }
    }
    Ok(out)
}

/// A property, or a part of one in its place.
fn select(node: &Node<'_>, path: &[Part], out: &mut Map<String, Json>) {
    let Some(Part::Name(first)) = path.first() else { return };
    let name = match first.as_str() {
        "id" => "@iot.id",
        "selfLink" => "@iot.selfLink",
        other => other,
    };
    let found = node.json(path);
    let inner = path.iter().skip(1).rev().fold(found, |inside, part| {
        let name = match part {
            Part::Name(name) => name.clone(),
            Part::Index(index) => index.to_string(),
        };
        Json::Object(Map::from_iter([(name, inside)]))
    });
    match (out.get_mut(name), inner) {
        // Two parts of one property stand in it together.
        (Some(Json::Object(there)), Json::Object(mut more)) => there.append(&mut more),
        (_, inner) => drop(out.insert(name.to_owned(), inner)),
    }
}
