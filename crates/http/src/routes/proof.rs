//! Proofs (比对): whether everybody who holds the readings of an origin and day holds the same.

use anlan_app::node::{self, Difference, ProofDay};
use anlan_app::registry::Snapshot;
use anlan_app::validate;
use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Answer;
use super::node::NodeLevel;
use super::thinned::Thinned;
use crate::dto::{At, id_option};
use crate::extract::{AppRef, Caller, Path2, Query};
use crate::problem::Failure;

/// What one holder has.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProofHolder {
    node: String,
    /// Empty = unknown here.
    name: String,
    level: Option<NodeLevel>,
    /// Position in its log at which it said so; `null` for this node.
    position: Option<i64>,
    /// Readings.
    count: i64,
    /// Sum of the readings' hashes modulo 2^128, hexadecimal.
    sum: String,
    /// What the node above it had at that position; `null` = not compared, or this is the topmost.
    above: Option<Held>,
    /// When it was said.
    at: At,
    /// The agreement, if the comparison is of the agreed part of the day alone: `changes`, `minutes`, `alarms`.
    readings: Option<String>,
    /// What of the day gave way to its hours there; `null` = nothing.
    thinned: Option<Thinned>,
}

/// An origin and day with everybody who holds it.
#[derive(Serialize, ToSchema)]
pub(crate) struct Proof {
    /// Node whose readings they are.
    origin: String,
    /// Empty = unknown here.
    origin_name: String,
    /// Civil day of `event_at` in Beijing.
    day: String,
    /// `null` = it cannot be said yet.
    equal: Option<bool>,
    /// The origin first, this node last.
    holders: Vec<ProofHolder>,
}

impl From<ProofDay> for Proof {
    fn from(day: ProofDay) -> Self {
        let holder = |h: anlan_app::node::ProofHolder| ProofHolder {
            node: h.node.to_string(),
            name: h.name,
            level: h.level.map(Into::into),
            position: h.position,
            count: h.count,
            sum: h.sum,
            above: h.ours.map(|(count, sum)| Held { count: count.max(0).unsigned_abs(), sum }),
            at: h.at.into(),
            readings: h.readings,
            thinned: h.thinned.map(Into::into),
        };
        Self {
            origin: day.origin.to_string(),
            origin_name: day.origin_name,
            day: day.day,
            equal: day.equal,
            holders: day.holders.into_iter().map(holder).collect(),
        }
    }
}

/// A page of days, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProofList {
    proofs: Vec<Proof>,
    next: Option<String>,
}

/// Readings and the sum of their hashes.
#[derive(Serialize, ToSchema)]
pub(crate) struct Held {
    count: u64,
    /// Hexadecimal.
    sum: String,
}

/// A point of which two nodes do not have the same.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProofPoint {
    /// `null` = not known here.
    point: Option<String>,
    /// Of the point; the id at its origin if it is not known here.
    code: String,
    name: String,
    here: Held,
    there: Held,
}

impl ProofPoint {
    fn new(difference: Difference, known: &Snapshot) -> Self {
        let point = difference.point.and_then(|id| known.points.get(&id));
        let held = |(count, sum): (u64, u128)| Held { count, sum: format!("{sum:032x}") };
        Self {
            point: difference.point.map(|p| p.to_string()),
            code: point.map_or_else(|| format!("#{}", difference.remote), |p| p.code.clone()),
            name: point.map_or_else(String::new, |p| p.name.clone()),
            here: held(difference.here),
            there: held(difference.there),
        }
    }
}

/// One origin and day.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProofDetail {
    #[serde(flatten)]
    proof: Proof,
    /// Where this node and the origin differ; `null` until the origin has answered, or if nothing is known to differ.
    points: Option<Vec<ProofPoint>>,
}

/// Which days.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// Of this node.
    origin: Option<String>,
    /// First day, `YYYY-MM-DD`.
    from: Option<String>,
    /// Last day, inclusive.
    to: Option<String>,
    cursor: Option<String>,
    /// 1 to 1,000.
    limit: Option<u32>,
}

/// Lists days with what their holders have, newest first; empty for people with a territory.
#[utoipa::path(get, path = "/proofs", tag = "node", operation_id = "list_proofs", params(ListQuery), responses((status = 200, body = ProofList)))]
pub(crate) async fn list(AppRef(app): AppRef, caller: Caller, Query(query): Query<ListQuery>) -> Answer<ProofList> {
    let origin = id_option("origin", query.origin.as_deref())?;
    let day = |day: &Option<String>| day.clone().filter(|day| !day.is_empty());
    let (from, to) = (day(&query.from), day(&query.to));
    let paging = validate::paging(query.cursor, query.limit)?;
    let page = node::proofs(&app, &caller.scope, origin, from.as_deref(), to.as_deref(), &paging).await?;
    Ok(Json(ProofList { proofs: page.items.into_iter().map(Into::into).collect(), next: page.next }))
}

/// One origin and day, and the points that differ.
#[utoipa::path(get, path = "/proofs/{origin}/{day}", tag = "node", operation_id = "get_proof", params(("origin" = String, Path), ("day" = String, Path)), responses((status = 200, body = ProofDetail)))]
pub(crate) async fn get(AppRef(app): AppRef, caller: Caller, path: Path2) -> Answer<ProofDetail> {
    let (origin, day): (_, String) = path.read()?;
    let (found, differences) = node::proof(&app, &caller.scope, origin, &day).await?;
    let known = app.registry.get();
    let points = differences.map(|all| all.into_iter().map(|d| ProofPoint::new(d, &known)).collect());
    Ok(Json(ProofDetail { proof: found.into(), points }))
}

/// Asks for the day once more, whole; what is here already stays.
#[utoipa::path(post, path = "/proofs/{origin}/{day}/again", tag = "node", operation_id = "repeat_proof", params(("origin" = String, Path), ("day" = String, Path)), responses((status = 202), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn again(AppRef(app): AppRef, caller: Caller, path: Path2) -> Result<StatusCode, Failure> {
    let (origin, day): (_, String) = path.read()?;
    node::again(&app, &caller.scope, origin, &day).await?;
    Ok(StatusCode::ACCEPTED)
}
