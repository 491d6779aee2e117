//! 建成率, 联网率, 在线率 and 完整率: the figures, and who is missing and why.

use anlan_app::error::AppError;
use anlan_app::networking::{self, MissingRow as Row, Question};
use anlan_domain::networking::{Basis, Figures, Group, Rate as Which, Share};
use anlan_domain::road::rules::Sourced;
use anlan_model::RegionCode;
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::csv::{self, Csv};
use crate::dto::At;
use crate::extract::{AppRef, Caller, Query};
use crate::problem::Failure;

/// So many of so many.
#[derive(Serialize, ToSchema)]
#[schema(as = NetworkingRate)]
pub(crate) struct RateDto {
    /// `built`, `networked`, `online`, `complete`.
    rate: &'static str,
    /// Enterprises; points; readings.
    n: u64,
    of: u64,
    /// From 0 to 1; `null` of nothing.
    share: Option<f64>,
    /// What is asked; `null` = nobody asks.
    at_least: Option<f64>,
    /// Whether that is reached; `null` if nobody asks or there is nothing to count.
    met: Option<bool>,
}

/// The four figures of a division or sector, or of all.
#[derive(Serialize, ToSchema)]
pub(crate) struct NetworkingRow {
    /// Code of the division or word of the sector; `null` = all.
    key: Option<String>,
    /// Of the division.
    name: Option<String>,
    enterprises: u64,
    rates: Vec<RateDto>,
}

/// Where a row of a table comes from.
#[derive(Serialize, ToSchema)]
pub(crate) struct NetworkingSource {
    /// Standard and clause; `product` = a choice of this product.
    source: String,
    /// In force since; may be empty.
    effective: String,
    /// `verified`, `verified-secondary`, `product`, `unverified`.
    confidence: String,
    note: String,
}

impl<T> From<&Sourced<T>> for NetworkingSource {
    fn from(row: &Sourced<T>) -> Self {
        Self { source: row.source(), effective: row.effective.clone(), confidence: row.confidence.clone(), note: row.note.clone() }
    }
}

/// One shape of a group; exactly one of the three is said.
#[derive(Serialize, ToSchema)]
pub(crate) struct NetworkingPart {
    everyone: bool,
    sectors: Vec<String>,
    /// Whoever has a record of this register,
    register: Option<String>,
    /// in one of these states; empty = in any.
    states: Vec<String>,
}

/// Enterprises that should be on the network.
#[derive(Serialize, ToSchema)]
pub(crate) struct NetworkingGroup {
    id: String,
    name: String,
    name_en: String,
    /// Whom any of these holds.
    of: Vec<NetworkingPart>,
    /// `group`: the networked rate is of everybody in it; `built`: of those that have a monitoring system.
    networked_of: &'static str,
    #[serde(flatten)]
    source: NetworkingSource,
}

impl From<&Sourced<Group>> for NetworkingGroup {
    fn from(row: &Sourced<Group>) -> Self {
        let part = |part: &anlan_domain::networking::Part| NetworkingPart {
            everyone: part.everyone,
            sectors: part.sectors.clone(),
            register: part.register.clone(),
            states: part.states.clone(),
        };
        Self {
            id: row.is.id.clone(),
            name: row.is.name.clone(),
            name_en: row.is.name_en.clone(),
            of: row.is.of.iter().map(part).collect(),
            networked_of: match row.is.networked_of {
                Basis::Group => "group",
                Basis::Built => "built",
            },
            source: row.into(),
        }
    }
}

/// What is asked of the group.
#[derive(Serialize, ToSchema)]
pub(crate) struct NetworkingTarget {
    rate: &'static str,
    at_least: f64,
    /// ISO date; empty = always.
    by: String,
    #[serde(flatten)]
    source: NetworkingSource,
}

/// The figures of this node's territory, as far as the caller may see.
#[derive(Serialize, ToSchema)]
pub(crate) struct Networking {
    /// Domain time of the figures.
    as_of: At,
    /// Civil day of completeness in Beijing; `null` = there are more points than are counted, and the rate is of nothing.
    day: Option<String>,
    groups: Vec<NetworkingGroup>,
    /// The group that was counted.
    group: String,
    targets: Vec<NetworkingTarget>,
    /// A node that was not heard so many seconds is silent.
    node_silent_s: i64,
    /// A point without a period is online so long after a reading.
    point_without_period_s: i64,
    /// Where those two come from.
    heard: NetworkingSource,
    total: NetworkingRow,
    /// One step below the division that was asked for, or this node's own.
    divisions: Vec<NetworkingRow>,
    sectors: Vec<NetworkingRow>,
}

/// Which enterprises.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct FiguresQuery {
    /// Word of a group; left out = the first.
    group: Option<String>,
    /// In this division.
    region: Option<String>,
    /// Of this sector.
    sector: Option<String>,
    /// `json` (left out) or `csv`.
    format: Option<String>,
}

/// Which enterprises are missing from which figure.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct MissingQuery {
    /// `built`, `networked`, `online`, `complete`.
    rate: String,
    /// Word of a group; left out = the first.
    group: Option<String>,
    /// In this division.
    region: Option<String>,
    /// Of this sector.
    sector: Option<String>,
    /// `json` (left out) or `csv`: a file of at most 5,000 rows.
    format: Option<String>,
    cursor: Option<String>,
    /// 1 to 1,000.
    limit: Option<u32>,
}

/// An enterprise that is not counted, or not in full.
#[derive(Serialize, ToSchema)]
pub(crate) struct NetworkingMissing {
    /// Of the enterprise.
    id: String,
    code: String,
    name: String,
    region: String,
    region_name: Option<String>,
    sector: String,
    /// `no_device`, `no_point`, `never_heard`, `withheld`, `silent`, `node_silent`, `node_never`, `node_paused`, `node_frozen`, `node_revoked`,
    /// `points_silent`, `readings`.
    reason: &'static str,
    /// The node that it is about.
    node: Option<String>,
    node_name: Option<String>,
    /// The newest reading, or when the node was last heard.
    since: Option<At>,
    /// So many points are silent, or readings did not come.
    n: Option<u64>,
}

impl From<Row> for NetworkingMissing {
    fn from(row: Row) -> Self {
        Self {
            id: row.enterprise.id.to_string(),
            code: row.enterprise.code,
            name: row.enterprise.name,
            region: row.enterprise.region.to_string(),
            region_name: row.region_name,
            sector: row.enterprise.sector,
            reason: row.missing.as_str(),
            node: row.missing.node().map(|node| node.to_string()),
            node_name: row.node_name,
            since: row.missing.since().map(Into::into),
            n: row.missing.n(),
        }
    }
}

/// How many enterprises for a reason.
#[derive(Serialize, ToSchema)]
pub(crate) struct NetworkingReason {
    reason: &'static str,
    n: u64,
}

/// Who is missing, in order of ids.
#[derive(Serialize, ToSchema)]
pub(crate) struct NetworkingMissingList {
    /// Of all pages.
    reasons: Vec<NetworkingReason>,
    missing: Vec<NetworkingMissing>,
    next: Option<String>,
}

fn question(group: Option<String>, region: Option<String>, sector: Option<String>) -> Result<Question, AppError> {
    let said = |text: Option<String>| text.filter(|text| !text.is_empty());
    let code = |text: String| RegionCode::new(&text).ok_or_else(|| AppError::invalid("region.unknown", "region").with("region", text));
    Ok(Question { group: said(group), region: said(region).map(code).transpose()?, sector: said(sector) })
}

fn is_csv(format: Option<&str>) -> Result<bool, AppError> {
    match format {
        None | Some("" | "json") => Ok(false),
        Some("csv") => Ok(true),
        Some(other) => Err(AppError::invalid("word.unknown", "format").with("word", other)),
    }
}

fn row(key: Option<String>, name: Option<String>, figures: &Figures, view: &networking::View) -> NetworkingRow {
    let rate = |rate: Which| {
        let share: Share = figures.share(rate);
        let at_least = view.targets.iter().find(|target| target.is.rate == rate).map(|target| target.is.at_least);
        let met = share.rate().zip(at_least).map(|(rate, at_least)| rate >= at_least);
        RateDto { rate: rate.as_str(), n: share.n, of: share.of, share: share.rate(), at_least, met }
    };
    NetworkingRow { key, name, enterprises: figures.enterprises, rates: Which::ALL.map(rate).into() }
}

/// The four figures of this node's territory, reckoned now.
#[utoipa::path(get, path = "/networking", tag = "node", operation_id = "get_networking", params(FiguresQuery), responses((status = 200, content((Networking = "application/json"), (String = "text/csv")))))]
pub(crate) async fn get(AppRef(app): AppRef, caller: Caller, Query(query): Query<FiguresQuery>) -> Result<Response, Failure> {
    let csv = is_csv(query.format.as_deref())?;
    let view = networking::get(&app, &caller.scope, &question(query.group, query.region, query.sector)?).await?;
    let divisions: Vec<_> =
        view.divisions.iter().map(|(code, name, figures)| row(Some(code.to_string()), Some(name.clone()), figures, &view)).collect();
    let total = row(None, None, &view.total, &view);
    if csv {
        return Ok(csv::file(
            figures_csv(&view, divisions.iter().chain([&total])),
            &format!("networking-{}.csv", view.now.micros() / 1_000_000),
        ));
    }
    let targets = view.targets.iter().map(|target| NetworkingTarget {
        rate: target.is.rate.as_str(),
        at_least: target.is.at_least,
        by: target.is.by.clone(),
        source: target.into(),
    });
    let answer = Networking {
        as_of: view.now.into(),
        day: view.day.clone(),
        groups: view.groups.iter().map(Into::into).collect(),
        group: view.group.clone(),
        targets: targets.collect(),
        node_silent_s: view.heard.is.node_silent_s,
        point_without_period_s: view.heard.is.point_without_period_s,
        heard: (&view.heard).into(),
        total,
        divisions,
        sectors: view.sectors.iter().map(|(sector, figures)| row(Some(sector.clone()), None, figures, &view)).collect(),
    };
    Ok(Json(answer).into_response())
}

fn figures_csv<'a>(view: &networking::View, rows: impl Iterator<Item = &'a NetworkingRow>) -> Csv {
    let mut header = vec!["as_of".to_owned(), "group".to_owned(), "region".to_owned(), "name".to_owned(), "enterprises".to_owned()];
    header.extend(Which::ALL.iter().flat_map(|rate| ["", "_of", "_rate"].map(|part| format!("{}{part}", rate.as_str()))));
    let mut csv = Csv::new(&header.iter().map(String::as_str).collect::<Vec<_>>());
    for row in rows {
        let key = row.key.clone().unwrap_or_else(|| "*".to_owned());
        let mut cells =
            vec![view.now.to_string(), view.group.clone(), key, row.name.clone().unwrap_or_default(), row.enterprises.to_string()];
        let share = |rate: &RateDto| rate.share.map(|share| share.to_string()).unwrap_or_default();
        cells.extend(row.rates.iter().flat_map(|rate| [rate.n.to_string(), rate.of.to_string(), share(rate)]));
        csv.row(&cells);
    }
    csv
}

/// Enterprises that are missing from a figure, and why.
#[utoipa::path(get, path = "/networking/missing", tag = "node", operation_id = "list_networking_missing", params(MissingQuery), responses((status = 200, content((NetworkingMissingList = "application/json"), (String = "text/csv")))))]
pub(crate) async fn missing(AppRef(app): AppRef, caller: Caller, Query(query): Query<MissingQuery>) -> Result<Response, Failure> {
    let csv = is_csv(query.format.as_deref())?;
    let rate = Which::parse(&query.rate).ok_or_else(|| AppError::invalid("word.unknown", "rate").with("word", &query.rate))?;
    let paging = match csv {
        true => anlan_app::validate::Paging::all(),
        false => anlan_app::validate::paging(query.cursor, query.limit)?,
    };
    let found = networking::who(&app, &caller.scope, &question(query.group, query.region, query.sector)?, rate, &paging).await?;
    if csv {
        return Ok(csv::file(missing_csv(found.page.items), &format!("networking-missing-{}.csv", rate.as_str())));
    }
    let answer = NetworkingMissingList {
        reasons: found.reasons.into_iter().map(|(reason, n)| NetworkingReason { reason, n }).collect(),
        missing: found.page.items.into_iter().map(Into::into).collect(),
        next: found.page.next,
    };
    Ok(Json(answer).into_response())
}

fn missing_csv(rows: Vec<Row>) -> Csv {
    let mut csv = Csv::new(&["code", "name", "region", "region_name", "sector", "reason", "node", "since", "n"]);
    for row in rows {
        csv.row(&[
            row.enterprise.code.clone(),
            row.enterprise.name.clone(),
            row.enterprise.region.to_string(),
            row.region_name.unwrap_or_default(),
            row.enterprise.sector.clone(),
            row.missing.as_str().to_owned(),
            row.node_name.unwrap_or_default(),
            row.missing.since().map(|at| at.to_string()).unwrap_or_default(),
            row.missing.n().map(|n| n.to_string()).unwrap_or_default(),
        ]);
    }
    csv
}
