//! Divisions and their outlines.

use anlan_app::rules;
use anlan_domain::division::Standing;
use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Answer;
use crate::extract::{AppRef, Caller};

/// A division (行政区划), of today or of before.
#[derive(Serialize, ToSchema)]
pub(crate) struct Region {
    code: String,
    name: String,
    name_en: String,
    /// `city`, `district`, `county`, `county_city`, `autonomous_county`, `subdistrict`, `town`, `township`, `ethnic_township`, `village`, …
    kind: String,
    /// Code of the division that it lies in, if the node knows that.
    parent: Option<String>,
    /// First day on which the code is in force (`YYYY-MM-DD`); `null` = as far back as is known.
    valid_from: Option<String>,
    /// Last day; `null` = until further notice.
    valid_to: Option<String>,
    /// The code that its territory has since then.
    became: Option<String>,
    /// New rows may carry it today.
    in_force: bool,
}

/// Divisions.
#[derive(Serialize, ToSchema)]
pub(crate) struct RegionList {
    regions: Vec<Region>,
    next: Option<String>,
}

/// Every division of the node in order of codes: each before those in it, also those whose codes are not in force any more.
#[utoipa::path(get, path = "/regions", tag = "region", responses((status = 200, body = RegionList)))]
pub(crate) async fn list(AppRef(app): AppRef, _caller: Caller) -> Answer<RegionList> {
    let (known, today) = (app.registry.get(), app.today());
    let regions = known.regions.values().map(|r| Region {
        code: r.code.to_string(),
        name: r.name.clone(),
        name_en: r.name_en.clone(),
        kind: r.kind.clone(),
        parent: known.regions.parent(&r.code).map(|parent| parent.code.to_string()),
        valid_from: r.valid_from.map(|day| day.to_string()),
        valid_to: r.valid_to.map(|day| day.to_string()),
        became: r.became.as_ref().map(ToString::to_string),
        in_force: known.regions.standing(&r.code, today) == Some(Standing::InForce),
    });
    Ok(Json(RegionList { regions: regions.collect(), next: None }))
}

/// Outlines of the counties as GeoJSON, with their provenance.
#[utoipa::path(get, path = "/map/counties", tag = "region", responses((status = 200, body = Object, content_type = "application/geo+json")))]
pub(crate) async fn counties(_caller: Caller) -> Response {
    ([(header::CONTENT_TYPE, "application/geo+json"), (header::CACHE_CONTROL, "private, max-age=3600")], rules::counties_geojson())
        .into_response()
}
