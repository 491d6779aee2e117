//! Enterprises (生产经营单位).

use anlan_app::enterprise::{self, EnterpriseChange, EnterpriseFilter, EnterpriseView, MergeConflict, MergeWish, Merged, NewEnterprise};
use anlan_app::validate;
use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Answer;
use crate::dto::{Created, Level, Place, id, nullable};
use crate::extract::{AppRef, Body, Caller, PathId, Query};
use crate::problem::Failure;

/// An enterprise with its figures.
#[derive(Serialize, ToSchema)]
pub(crate) struct Enterprise {
    id: String,
    code: String,
    name: String,
    region: String,
    region_name: String,
    /// Such as `hazchem`, `gas`, `mine`.
    sector: String,
    place: Option<Place>,
    points: u64,
    points_online: u64,
    /// Of its standing alarms.
    worst_level: Option<Level>,
    /// What its records say of it, such as that no licence of a sort is good.
    flags: Vec<EnterpriseFlag>,
    /// It was merged: everything of it is at this one, and no list has it any more.
    merged_into: Option<String>,
    revision: i64,
}

impl From<EnterpriseView> for Enterprise {
    fn from(view: EnterpriseView) -> Self {
        let EnterpriseView { row, points_online, flags } = view;
        let e = row.enterprise;
        Self {
            id: e.id.to_string(),
            code: e.code,
            name: e.name,
            region_name: row.region_name.unwrap_or_else(|| e.region.to_string()),
            region: e.region.to_string(),
            sector: e.sector,
            place: e.place.map(Into::into),
            points: u64::try_from(row.points).unwrap_or(0),
            points_online,
            worst_level: row.worst_level.map(Into::into),
            flags: flags.into_iter().filter_map(EnterpriseFlag::new).collect(),
            merged_into: row.merged_into.map(|id| id.to_string()),
            revision: e.revision,
        }
    }
}

/// What a register says of an enterprise.
#[derive(Serialize, ToSchema)]
pub(crate) struct EnterpriseFlag {
    name: String,
    name_en: String,
    /// The register.
    kind: String,
    /// The record by which it says so.
    record: String,
    title: String,
}

impl EnterpriseFlag {
    fn new(flag: enterprise::EnterpriseFlag) -> Option<Self> {
        let said = flag.kind.flag.as_ref()?;
        let (name, name_en) = (said.name.clone(), said.name_en.clone());
        Some(Self { name, name_en, kind: flag.kind.id.clone(), record: flag.record.to_string(), title: flag.title })
    }
}

/// A page of enterprises.
#[derive(Serialize, ToSchema)]
pub(crate) struct EnterpriseList {
    enterprises: Vec<Enterprise>,
    next: Option<String>,
}

/// Which enterprises.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// Part of code or name.
    q: Option<String>,
    /// In this division.
    region: Option<String>,
    sector: Option<String>,
    cursor: Option<String>,
    /// 1 to 1,000.
    limit: Option<u32>,
}

/// A new enterprise.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnterpriseBody {
    /// Unique; 统一社会信用代码 in production.
    code: String,
    name: String,
    /// A division of `GET /regions`.
    region: String,
    /// `[a-z_]+`.
    sector: String,
    #[serde(default)]
    place: Option<Place>,
}

/// What to change; fields left out stay.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnterpriseChangeBody {
    /// As read; an older one is refused.
    revision: i64,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    sector: Option<String>,
    /// `null` removes it.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Place>)]
    place: Option<Option<Place>>,
}

/// Lists enterprises in order of ids.
#[utoipa::path(get, path = "/enterprises", tag = "enterprise", params(ListQuery), responses((status = 200, body = EnterpriseList)))]
pub(crate) async fn list(AppRef(app): AppRef, caller: Caller, Query(query): Query<ListQuery>) -> Answer<EnterpriseList> {
    let known = app.registry.get();
    let region = query.region.filter(|r| !r.is_empty()).map(|r| validate::region_ever("region", &r, &known.regions)).transpose()?;
    let filter = EnterpriseFilter { q: query.q, region, sector: query.sector.filter(|s| !s.is_empty()) };
    let page = enterprise::list(&app, &caller.scope, &filter, &validate::paging(query.cursor, query.limit)?).await?;
    Ok(Json(EnterpriseList { enterprises: page.items.into_iter().map(Into::into).collect(), next: page.next }))
}

/// One enterprise.
#[utoipa::path(get, path = "/enterprises/{id}", tag = "enterprise", params(("id" = String, Path)), responses((status = 200, body = Enterprise)))]
pub(crate) async fn get(AppRef(app): AppRef, caller: Caller, id: PathId) -> Answer<Enterprise> {
    Ok(Json(enterprise::get(&app, &caller.scope, id.read()?).await?.into()))
}

/// Registers an enterprise.
#[utoipa::path(post, path = "/enterprises", tag = "enterprise", request_body = EnterpriseBody, responses((status = 201, body = Created)))]
pub(crate) async fn create(
    AppRef(app): AppRef,
    caller: Caller,
    Body(body): Body<EnterpriseBody>,
) -> Result<(StatusCode, Json<Created>), Failure> {
    let known = app.registry.get();
    let new = NewEnterprise {
        code: body.code,
        name: body.name,
        region: validate::region("region", &body.region, &known.regions, app.today())?,
        sector: body.sector,
        place: body.place.map(Place::read).transpose()?,
    };
    let id = enterprise::create(&app, &caller.scope, new).await?.id;
    Ok((StatusCode::CREATED, Json(Created { id: id.to_string() })))
}

/// Changes an enterprise.
#[utoipa::path(patch, path = "/enterprises/{id}", tag = "enterprise", params(("id" = String, Path)), request_body = EnterpriseChangeBody, responses((status = 200, body = Enterprise)))]
pub(crate) async fn update(AppRef(app): AppRef, caller: Caller, id: PathId, Body(body): Body<EnterpriseChangeBody>) -> Answer<Enterprise> {
    let known = app.registry.get();
    let change = EnterpriseChange {
        revision: body.revision,
        code: body.code,
        name: body.name,
        region: body.region.map(|r| validate::region("region", &r, &known.regions, app.today())).transpose()?,
        sector: body.sector,
        place: body.place.map(|p| p.map(Place::read).transpose()).transpose()?,
    };
    Ok(Json(enterprise::update(&app, &caller.scope, id.read()?, change).await?.into()))
}

/// Into which one it is merged.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MergeBody {
    /// The one that stays.
    into: String,
    /// Of the one that goes, as last read.
    revision: i64,
    /// Of the one that stays, as last read.
    into_revision: i64,
    /// Say what would move and keep nothing.
    dry_run: bool,
}

/// What moved, or would.
#[derive(Serialize, ToSchema)]
pub(crate) struct MergeReport {
    dry_run: bool,
    moved: Vec<MovedCount>,
    /// Records by kind of register.
    records: Vec<MovedCount>,
    /// Open records that would have one key: nothing is merged before they are solved.
    conflicts: Vec<MergeConflictDto>,
}

/// How many of one sort.
#[derive(Serialize, ToSchema)]
pub(crate) struct MovedCount {
    /// `device`, `point`, `vehicle`, `combination`, `record`, `attachment`, `user`, `hold`, `alarm`, `event`; or the kind of a register.
    noun: String,
    n: u64,
}

/// Two records with one key.
#[derive(Serialize, ToSchema)]
#[schema(as = MergeConflict)]
pub(crate) struct MergeConflictDto {
    /// Register.
    kind: String,
    key: String,
    /// Of the one that goes.
    record: String,
    title: String,
    /// Of the one that stays.
    other: String,
    other_title: String,
}

impl From<MergeConflict> for MergeConflictDto {
    fn from(conflict: MergeConflict) -> Self {
        let shown = |number: String, title: String| if number.is_empty() { title } else { format!("{number} {title}") };
        let ((record, number, title), (other, other_number, other_title)) = (conflict.from, conflict.into);
        Self {
            kind: conflict.kind,
            key: conflict.key,
            record: record.to_string(),
            title: shown(number, title),
            other: other.to_string(),
            other_title: shown(other_number, other_title),
        }
    }
}

/// Merges an enterprise into another: everything of it goes there, and its id leads there from then on.
#[utoipa::path(post, path = "/enterprises/{id}/merge", tag = "enterprise", params(("id" = String, Path)), request_body = MergeBody, responses((status = 200, body = MergeReport), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn merge(AppRef(app): AppRef, caller: Caller, path: PathId, Body(body): Body<MergeBody>) -> Answer<MergeReport> {
    let (from_revision, into_revision) = (body.revision, body.into_revision);
    let wish = MergeWish { from: path.read()?, from_revision, into: id("into", &body.into)?, into_revision };
    let Merged { counts, records, conflicts, .. } = enterprise::merge(&app, &caller.scope, &wish, body.dry_run).await?;
    let count = |(noun, n)| MovedCount { noun, n };
    Ok(Json(MergeReport {
        dry_run: body.dry_run,
        moved: counts.into_iter().map(count).collect(),
        records: records.into_iter().map(count).collect(),
        conflicts: conflicts.into_iter().map(Into::into).collect(),
    }))
}
