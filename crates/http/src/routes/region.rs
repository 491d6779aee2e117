//! Divisions and their outlines.

use anlan_app::rules;
use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Answer;
use crate::extract::{AppRef, Caller};

/// A division (行政区划).
#[derive(Serialize, ToSchema)]
pub(crate) struct Region {
    code: String,
    name: String,
    name_en: String,
}

/// Divisions.
#[derive(Serialize, ToSchema)]
pub(crate) struct RegionList {
    regions: Vec<Region>,
    next: Option<String>,
}

/// Every division of the node, in order of codes.
#[utoipa::path(get, path = "/regions", tag = "region", responses((status = 200, body = RegionList)))]
pub(crate) async fn list(AppRef(app): AppRef, _caller: Caller) -> Answer<RegionList> {
    let known = app.registry.get();
    let regions = known.regions.values().map(|r| Region { code: r.code.to_string(), name: r.name.clone(), name_en: r.name_en.clone() });
    Ok(Json(RegionList { regions: regions.collect(), next: None }))
}

/// Outlines of the counties as GeoJSON, with their provenance.
#[utoipa::path(get, path = "/map/counties", tag = "region", responses((status = 200, body = Object, content_type = "application/geo+json")))]
pub(crate) async fn counties(_caller: Caller) -> Response {
    ([(header::CONTENT_TYPE, "application/geo+json"), (header::CACHE_CONTROL, "private, max-age=3600")], rules::counties_geojson())
        .into_response()
}
