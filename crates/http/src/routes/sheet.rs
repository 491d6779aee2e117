//! Lists as XLSX files and files as records: registers of every kind, and enterprises.

use anlan_app::sheet::{self, Imported, RowFault, TableOf};
use anlan_app::{enterprise, error::AppError};
use axum::Json;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::record::{ListQuery, asked};
use crate::dto::flag;
use crate::extract::{AppRef, Body, Caller, Pairs, PathId, Query, Spoken, XlsxBody};
use crate::messages;
use crate::problem::Failure;

/// Type of an XLSX file.
pub(crate) const XLSX: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
/// Faults that are listed; the sheet of refused rows has them all.
const FAULTS_MAX: usize = 1_000;

/// What is wrong with a row.
#[derive(Serialize, ToSchema)]
pub(crate) struct ImportError {
    /// As Excel shows it.
    row: u32,
    /// Header of the column; empty = the row as a whole.
    column: String,
    /// Stable word for programs.
    code: &'static str,
    /// A sentence for people, in the accepted language.
    detail: String,
}

/// A column of a table that is written as a workbook.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TableColumnBody {
    /// Its name; no other of the table.
    name: String,
    /// Cells that are numbers stand as numbers.
    #[serde(default)]
    num: bool,
}

/// A table as the asker has it on the screen.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TableBody {
    /// Name of the sheet.
    name: String,
    /// At most 60.
    columns: Vec<TableColumnBody>,
    /// At most 5,000, each with a text for each column.
    rows: Vec<Vec<String>>,
}

/// What became of a file, or would.
#[derive(Serialize, ToSchema)]
pub(crate) struct ImportReport {
    /// Nothing was kept.
    dry_run: bool,
    /// Rows with something in them.
    rows: usize,
    made: usize,
    /// There already, and changed by the file; enterprises alone.
    merged: usize,
    /// There already.
    repeated: usize,
    /// Rows that were not taken; `answer=xlsx` gives them back.
    refused: usize,
    /// The first 1,000, in order of rows.
    errors: Vec<ImportError>,
}

/// How a file is imported.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImportQuery {
    /// `true` = say what would become of it and keep nothing.
    dry_run: Option<String>,
    /// `json` (default), or `xlsx`: the refused rows as a file, with what is wrong.
    answer: Option<String>,
}

impl ImportQuery {
    fn read(&self) -> Result<(bool, bool), AppError> {
        let dry_run = flag("dry_run", self.dry_run.as_deref())? == Some(true);
        match self.answer.as_deref() {
            None | Some("" | "json") => Ok((dry_run, false)),
            Some("xlsx") => Ok((dry_run, true)),
            Some(other) => Err(AppError::invalid("word.unknown", "answer").with("word", other)),
        }
    }
}

pub(crate) fn sheet_language(spoken: messages::Language) -> sheet::Language {
    match spoken {
        messages::Language::Chinese => sheet::Language::Chinese,
        messages::Language::English => sheet::Language::English,
    }
}

/// The file to keep; `name` is letters, digits, dots, underscores and dashes alone.
fn file(bytes: Vec<u8>, name: &str) -> Response {
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{name}.xlsx\""));
    let mut response = ([(header::CONTENT_TYPE, XLSX)], bytes).into_response();
    response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition.unwrap_or(HeaderValue::from_static("attachment")));
    response
}

async fn answer(
    app: &anlan_app::App,
    imported: Imported,
    dry_run: bool,
    as_sheet: bool,
    spoken: messages::Language,
) -> Result<Response, Failure> {
    let say = |fault: &RowFault| messages::sentence(fault.problem.code, spoken, &fault.problem.params);
    if as_sheet {
        return Ok(file(sheet::refused_sheet(app, &imported, sheet_language(spoken), say).await?, "refused"));
    }
    let error =
        |fault: &RowFault| ImportError { row: fault.row, column: fault.column.clone(), code: fault.problem.code, detail: say(fault) };
    Ok(Json(ImportReport {
        dry_run,
        rows: imported.rows,
        made: imported.made,
        merged: imported.merged,
        repeated: imported.repeated,
        refused: imported.refused,
        errors: imported.faults.iter().take(FAULTS_MAX).map(error).collect(),
    })
    .into_response())
}

/// The records of a list as an XLSX file: the filters of the list, at most 50,000 rows.
#[utoipa::path(get, path = "/registers/{kind}/export", tag = "register", params(("kind" = String, Path), ListQuery), responses((status = 200, content_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", body = Vec<u8>)))]
pub(crate) async fn export(
    AppRef(app): AppRef,
    caller: Caller,
    kind: PathId,
    Spoken(spoken): Spoken,
    pairs: Pairs,
) -> Result<Response, Failure> {
    let (filter, _) = asked(&app, &kind.0, pairs)?;
    Ok(file(sheet::export(&app, &caller.scope, &kind.0, &filter, sheet_language(spoken)).await?, &kind.0))
}

/// An empty sheet for the register, with a tab that says what may stand where.
#[utoipa::path(get, path = "/registers/{kind}/import", tag = "register", params(("kind" = String, Path)), responses((status = 200, content_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", body = Vec<u8>)))]
pub(crate) async fn template(AppRef(app): AppRef, caller: Caller, kind: PathId, Spoken(spoken): Spoken) -> Result<Response, Failure> {
    Ok(file(sheet::template(&app, &caller.scope, &kind.0, sheet_language(spoken)).await?, &kind.0))
}

/// Imports a sheet into the register: every row goes the way of one that is typed in.
#[utoipa::path(post, path = "/registers/{kind}/import", tag = "register", params(("kind" = String, Path), ImportQuery), request_body(content = Vec<u8>, content_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"), responses((status = 200, body = ImportReport)))]
pub(crate) async fn import(
    AppRef(app): AppRef,
    caller: Caller,
    kind: PathId,
    Spoken(spoken): Spoken,
    Query(query): Query<ImportQuery>,
    XlsxBody(bytes): XlsxBody,
) -> Result<Response, Failure> {
    let (dry_run, as_sheet) = query.read()?;
    let imported = sheet::import(&app, &caller.scope, &kind.0, bytes, dry_run).await?;
    answer(&app, imported, dry_run, as_sheet, spoken).await
}

/// An empty sheet of enterprises.
#[utoipa::path(get, path = "/enterprises/import", tag = "enterprise", responses((status = 200, content_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", body = Vec<u8>)))]
pub(crate) async fn enterprise_template(AppRef(app): AppRef, caller: Caller, Spoken(spoken): Spoken) -> Result<Response, Failure> {
    Ok(file(enterprise::template(&app, &caller.scope, sheet_language(spoken)).await?, "enterprises"))
}

/// Imports a sheet of enterprises; a code that is there already is merged, with audit.
#[utoipa::path(post, path = "/enterprises/import", tag = "enterprise", params(ImportQuery), request_body(content = Vec<u8>, content_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"), responses((status = 200, body = ImportReport)))]
pub(crate) async fn enterprise_import(
    AppRef(app): AppRef,
    caller: Caller,
    Spoken(spoken): Spoken,
    Query(query): Query<ImportQuery>,
    XlsxBody(bytes): XlsxBody,
) -> Result<Response, Failure> {
    let (dry_run, as_sheet) = query.read()?;
    let imported = enterprise::import(&app, &caller.scope, bytes, dry_run).await?;
    answer(&app, imported, dry_run, as_sheet, spoken).await
}

/// A point on the map.
#[derive(Serialize, ToSchema)]
pub(crate) struct MapFeature {
    /// `Feature`.
    r#type: &'static str,
    geometry: MapPoint,
    properties: MapProperties,
}

/// GeoJSON geometry.
#[derive(Serialize, ToSchema)]
pub(crate) struct MapPoint {
    /// `Point`.
    r#type: &'static str,
    /// Longitude and latitude, WGS-84.
    coordinates: [f64; 2],
}

/// What the map says of a record.
#[derive(Serialize, ToSchema)]
pub(crate) struct MapProperties {
    id: String,
    title: String,
    state: String,
    /// The last day on which it is in time, `YYYY-MM-DD`.
    due_on: Option<String>,
    overdue: bool,
}

/// GeoJSON of records.
#[derive(Serialize, ToSchema)]
pub(crate) struct MapLayer {
    /// `FeatureCollection`.
    r#type: &'static str,
    features: Vec<MapFeature>,
    /// Records without a place, which are in the list alone.
    placeless: usize,
    /// There are more than the map shows: 5,000 records.
    more: bool,
}

/// The records of a list as a layer of the map: where the record says, else at the gate of its enterprise.
#[utoipa::path(get, path = "/registers/{kind}/map", tag = "register", params(("kind" = String, Path), ListQuery), responses((status = 200, body = MapLayer)))]
pub(crate) async fn map(AppRef(app): AppRef, caller: Caller, kind: PathId, pairs: Pairs) -> super::Answer<MapLayer> {
    let (filter, _) = asked(&app, &kind.0, pairs)?;
    let layer = anlan_app::record::on_map(&app, &caller.scope, &kind.0, &filter).await?;
    let feature = |(row, place, overdue): (anlan_app::record::RecordRow, anlan_model::Wgs84, bool)| MapFeature {
        r#type: "Feature",
        geometry: MapPoint { r#type: "Point", coordinates: [place.lon, place.lat] },
        properties: MapProperties { id: row.id.to_string(), title: row.title, state: row.state, due_on: row.due_on, overdue },
    };
    let features = layer.placed.into_iter().map(feature).collect();
    Ok(Json(MapLayer { r#type: "FeatureCollection", features, placeless: layer.placeless, more: layer.more }))
}

/// A table that the asker has on the screen, as an XLSX file: any list of the console becomes one with the rows that its reader sees. Nothing is kept.
#[utoipa::path(post, path = "/tables", tag = "register", request_body = TableBody, responses((status = 200, content_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", body = Vec<u8>)))]
pub(crate) async fn table(AppRef(app): AppRef, _: Caller, Body(body): Body<TableBody>) -> Result<Response, Failure> {
    let columns = body.columns.into_iter().map(|column| (column.name, column.num)).collect();
    let bytes = sheet::table(&app, TableOf { name: body.name, columns, rows: body.rows }).await?;
    Ok(([(header::CONTENT_TYPE, XLSX)], bytes).into_response())
}
