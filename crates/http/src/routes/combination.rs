//! Combination rules (组合规则): alarms of several points of one enterprise that raise an alarm of their own.

use anlan_app::combination::{self, CombinationChange, CombinationView, NewCombination};
use anlan_app::error::AppError;
use anlan_app::validate;
use anlan_model::noun::CombinationMember;
use anlan_model::{Level as ModelLevel, RuleKind};
use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Answer;
use super::point::LimitsSourceDto;
use crate::dto::{Level, id, id_option};
use crate::extract::{AppRef, Body, Caller, PathId, Query};
use crate::problem::Failure;

/// A combination rule. Its alarm stands while at least `needed` members stand or stood at most `within_s` ago.
#[derive(Serialize, ToSchema)]
#[schema(as = Combination)]
pub(crate) struct CombinationDto {
    id: String,
    enterprise: String,
    enterprise_name: String,
    name: String,
    level: Level,
    /// Members that must come together.
    needed: u32,
    /// Seconds; 0 = at the same time.
    within_s: f64,
    members: Vec<MemberDto>,
    source: LimitsSourceDto,
    revision: i64,
}

/// A member of a combination.
#[derive(Serialize, ToSchema)]
#[schema(as = CombinationMember)]
pub(crate) struct MemberDto {
    point: String,
    point_name: String,
    /// `hh`, `h`, `l`, `ll`, `rate`, `stale`, `out_of_range`, `flat_line`.
    kind: &'static str,
    /// `false`: the point has no such rule now, so the member never stands.
    judged: bool,
}

impl From<CombinationView> for CombinationDto {
    fn from(view: CombinationView) -> Self {
        let c = view.row.combination;
        Self {
            id: c.id.to_string(),
            enterprise: c.enterprise.to_string(),
            enterprise_name: view.row.enterprise_name,
            name: c.name,
            level: c.level.into(),
            needed: c.needed,
            within_s: c.within_s,
            members: view
                .members
                .into_iter()
                .map(|m| MemberDto {
                    point: m.member.point.to_string(),
                    point_name: m.point_name,
                    kind: m.member.kind.as_str(),
                    judged: m.judged,
                })
                .collect(),
            source: c.source.into(),
            revision: c.revision,
        }
    }
}

/// A page of combinations, in order of ids.
#[derive(Serialize, ToSchema)]
pub(crate) struct CombinationList {
    combinations: Vec<CombinationDto>,
    next: Option<String>,
}

/// Which combinations.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    enterprise: Option<String>,
    cursor: Option<String>,
    /// 1 to 1,000.
    limit: Option<u32>,
}

/// Which state of the rule is deleted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeleteQuery {
    /// As last read.
    revision: i64,
}

/// What must stand.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemberBody {
    /// A point of the enterprise.
    point: String,
    /// `hh`, `h`, `l`, `ll`, `rate`, `stale`, `out_of_range`, `flat_line`; the point must be judged by such a rule.
    kind: String,
}

/// A combination to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CombinationBody {
    enterprise: String,
    name: String,
    /// `red`, `orange`, `yellow`, `blue`.
    level: String,
    /// Members that must come together, 2 to their number; left out = all.
    #[serde(default)]
    needed: Option<u32>,
    /// 0 to 3,600; 0 = at the same time.
    within_s: f64,
    /// 2 to 16; the alarm stands at the point of the first.
    members: Vec<MemberBody>,
    source: LimitsSourceDto,
}

/// Fields to change; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CombinationPatch {
    revision: i64,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    level: Option<String>,
    #[serde(default)]
    needed: Option<u32>,
    #[serde(default)]
    within_s: Option<f64>,
    /// All of them.
    #[serde(default)]
    members: Option<Vec<MemberBody>>,
    #[serde(default)]
    source: Option<LimitsSourceDto>,
}

fn level(text: &str) -> Result<ModelLevel, AppError> {
    ModelLevel::parse(text).ok_or_else(|| AppError::invalid("word.unknown", "level").with("word", text))
}

fn members(bodies: &[MemberBody]) -> Result<Vec<CombinationMember>, AppError> {
    let member = |(i, m): (usize, &MemberBody)| {
        let unknown = || AppError::invalid("word.unknown", &format!("members[{i}].kind")).with("word", &m.kind);
        Ok(CombinationMember { point: id(&format!("members[{i}].point"), &m.point)?, kind: RuleKind::parse(&m.kind).ok_or_else(unknown)? })
    };
    bodies.iter().enumerate().map(member).collect()
}

/// Lists combination rules.
#[utoipa::path(get, path = "/combinations", tag = "combination", params(ListQuery), responses((status = 200, body = CombinationList)))]
pub(crate) async fn list(AppRef(app): AppRef, caller: Caller, Query(query): Query<ListQuery>) -> Answer<CombinationList> {
    let enterprise = id_option("enterprise", query.enterprise.as_deref())?;
    let page = combination::list(&app, &caller.scope, enterprise, &validate::paging(query.cursor, query.limit)?).await?;
    Ok(Json(CombinationList { combinations: page.items.into_iter().map(Into::into).collect(), next: page.next }))
}

/// One combination rule.
#[utoipa::path(get, path = "/combinations/{id}", tag = "combination", params(("id" = String, Path)), responses((status = 200, body = CombinationDto)))]
pub(crate) async fn get(AppRef(app): AppRef, caller: Caller, id: PathId) -> Answer<CombinationDto> {
    Ok(Json(combination::get(&app, &caller.scope, id.read()?).await?.into()))
}

/// Makes a combination rule; an enterprise has at most 100.
#[utoipa::path(post, path = "/combinations", tag = "combination", request_body = CombinationBody, responses((status = 201, body = CombinationDto), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn create(
    AppRef(app): AppRef,
    caller: Caller,
    Body(body): Body<CombinationBody>,
) -> Result<(StatusCode, Json<CombinationDto>), Failure> {
    let members = members(&body.members)?;
    let new = NewCombination {
        enterprise: id("enterprise", &body.enterprise)?,
        name: body.name,
        level: level(&body.level)?,
        needed: body.needed.unwrap_or_else(|| u32::try_from(members.len()).unwrap_or(u32::MAX)),
        within_s: body.within_s,
        members,
        source: body.source.into(),
    };
    let made = combination::create(&app, &caller.scope, new).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// Changes a combination rule; an alarm of it that stands is judged anew.
#[utoipa::path(patch, path = "/combinations/{id}", tag = "combination", params(("id" = String, Path)), request_body = CombinationPatch, responses((status = 200, body = CombinationDto), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn update(AppRef(app): AppRef, caller: Caller, id: PathId, Body(body): Body<CombinationPatch>) -> Answer<CombinationDto> {
    let change = CombinationChange {
        revision: body.revision,
        name: body.name,
        level: body.level.as_deref().map(level).transpose()?,
        needed: body.needed,
        within_s: body.within_s,
        members: body.members.as_deref().map(members).transpose()?,
        source: body.source.map(Into::into),
    };
    Ok(Json(combination::update(&app, &caller.scope, id.read()?, change).await?.into()))
}

/// Deletes a combination rule; an alarm of it that stands returns.
#[utoipa::path(delete, path = "/combinations/{id}", tag = "combination", params(("id" = String, Path), DeleteQuery), responses((status = 204), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn delete(
    AppRef(app): AppRef,
    caller: Caller,
    id: PathId,
    Query(query): Query<DeleteQuery>,
) -> Result<StatusCode, Failure> {
    combination::delete(&app, &caller.scope, id.read()?, query.revision).await?;
    Ok(StatusCode::NO_CONTENT)
}
