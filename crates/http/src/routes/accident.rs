//! Statistics of accidents (事故统计).

use anlan_app::accident::{self, Row};
use anlan_app::validate;
use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Answer;
use crate::extract::{AppRef, Caller, Query};

/// Counts of accidents in a span of days. Dismissed ones count nowhere.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccidentCounts {
    /// That happened in it.
    accidents: u64,
    deaths: u64,
    serious_injuries: u64,
    /// 万元.
    direct_loss_wan: f64,
    /// Told too late by somebody, or not told yet though the time is over.
    told_late: u64,
    /// Not told yet by somebody whose time is over.
    overdue: u64,
    reclassed: u64,
    /// Findings of late, omitted, false or concealed reports.
    breaches: u64,
    /// To be concluded in it (应结案), whenever they happened.
    to_conclude: u64,
    /// Of these, concluded by its end (实际结案).
    concluded: u64,
    /// Of these, in time.
    in_time: u64,
    /// 按期结案率, 0 to 1; `null` where none was to be concluded.
    in_time_rate: Option<f64>,
    /// People, of accidents that were approved in it (处分).
    disciplined: u64,
    /// The same, transferred to justice (移送).
    transferred: u64,
    /// The same, fined.
    penalized: u64,
}

impl From<Row> for AccidentCounts {
    fn from(row: Row) -> Self {
        Self {
            accidents: row.accidents,
            deaths: row.deaths,
            serious_injuries: row.serious_injuries,
            direct_loss_wan: row.direct_loss_wan,
            told_late: row.told_late,
            overdue: row.overdue,
            reclassed: row.reclassed,
            breaches: row.breaches,
            to_conclude: row.to_conclude,
            concluded: row.concluded,
            in_time: row.in_time,
            in_time_rate: row.in_time_rate(),
            disciplined: row.disciplined,
            transferred: row.transferred,
            penalized: row.penalized,
        }
    }
}

/// The same of a part.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccidentPart {
    /// Word of the class or sector, or code of the county.
    part: String,
    counts: AccidentCounts,
}

/// What the accidents that the caller sees say of a span.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccidentStatistics {
    counts: AccidentCounts,
    by_class: Vec<AccidentPart>,
    by_sector: Vec<AccidentPart>,
    by_region: Vec<AccidentPart>,
}

/// Which days, and where.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccidentQuery {
    /// First day, `YYYY-MM-DD`, Beijing.
    from: String,
    /// Last day, inclusive.
    to: String,
    /// Code of a division; all below it count.
    region: Option<String>,
}

/// Accidents, deaths, conclusions in time and what became of people, counted out of the records of the register `accident`.
#[utoipa::path(get, path = "/accidents/statistics", tag = "register", operation_id = "accident_statistics", params(AccidentQuery), responses((status = 200, body = AccidentStatistics)))]
pub(crate) async fn statistics(AppRef(app): AppRef, caller: Caller, Query(query): Query<AccidentQuery>) -> Answer<AccidentStatistics> {
    let known = app.registry.get();
    let region = query.region.filter(|r| !r.is_empty()).map(|r| validate::region_ever("region", &r, &known.regions)).transpose()?;
    let found = accident::of_days(&app, &caller.scope, region, &query.from, &query.to).await?;
    let parts = |rows: std::collections::BTreeMap<String, Row>| {
        rows.into_iter().map(|(part, row)| AccidentPart { part, counts: row.into() }).collect()
    };
    Ok(Json(AccidentStatistics {
        counts: found.total.into(),
        by_class: parts(found.by_class),
        by_sector: parts(found.by_sector),
        by_region: parts(found.by_region),
    }))
}
