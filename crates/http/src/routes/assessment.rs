//! Assessments (考核) of a year: lines with the rows behind them, vetoes, ranks, and the snapshot that a leader freezes.

use anlan_app::assessment::{self, Evidence, Given, Line, NewScore, Now, UnitResult, VetoLine, View};
use anlan_app::error::AppError;
use anlan_app::{App, responsibility, validate};
use anlan_model::RecordId;
use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Answer;
use crate::dto::At;
use crate::extract::{AppRef, Body, Caller, Path2, Path3, PathId};
use crate::problem::Failure;

/// Where a row of the table comes from.
#[derive(Serialize, ToSchema)]
pub(crate) struct AssessmentSource {
    /// Standard and clause.
    source: String,
    /// In force since; may be empty.
    effective: String,
    /// `verified`, `verified-secondary`, `product`, `unverified`.
    confidence: String,
    note: String,
}

/// An item of the table.
#[derive(Serialize, ToSchema)]
pub(crate) struct AssessmentItem {
    id: String,
    name: String,
    name_en: String,
    /// At most; decimal as text. Empty of a veto.
    points: String,
    /// `indicator`, `records`, `letters`, `person`.
    way: &'static str,
    #[serde(flatten)]
    source: AssessmentSource,
}

/// A grade of the table.
#[derive(Serialize, ToSchema)]
pub(crate) struct AssessmentGrade {
    id: String,
    name: String,
    name_en: String,
    /// From so many points on; decimal as text.
    at_least: String,
}

/// The table by which it is scored.
#[derive(Serialize, ToSchema)]
pub(crate) struct AssessmentTable {
    id: String,
    name: String,
    name_en: String,
    #[serde(flatten)]
    source: AssessmentSource,
    /// From the best down.
    grades: Vec<AssessmentGrade>,
    items: Vec<AssessmentItem>,
    vetoes: Vec<AssessmentItem>,
}

/// Something behind a line.
#[derive(Serialize, ToSchema)]
pub(crate) struct AssessmentEvidence {
    /// `record` of the register `kind`, `fact` of the source `kind`, `unit` without a letter that is a `kind`.
    sort: String,
    kind: String,
    /// Of the record or fact; of a unit the code of its division, or the enterprise's id.
    id: String,
    title: String,
}

impl From<Evidence> for AssessmentEvidence {
    fn from(e: Evidence) -> Self {
        Self { sort: e.sort, kind: e.kind, id: e.id, title: e.title }
    }
}

/// What somebody gave.
#[derive(Serialize, ToSchema)]
pub(crate) struct AssessmentGiven {
    /// Decimal as text; of a veto `1` = it is met, `0` = it is not.
    points: String,
    reason: String,
    evidence: Vec<AssessmentEvidence>,
    by: String,
    /// Civil time in Beijing.
    at: String,
    /// `null` = nobody has confirmed it.
    confirmed_by: Option<String>,
    confirmed_at: Option<String>,
}

impl From<Given> for AssessmentGiven {
    fn from(g: Given) -> Self {
        Self {
            points: g.points,
            reason: g.reason,
            evidence: g.evidence.into_iter().map(Into::into).collect(),
            by: g.by,
            at: g.at,
            confirmed_by: g.confirmed_by,
            confirmed_at: g.confirmed_at,
        }
    }
}

/// A line: an item of a unit.
#[derive(Serialize, ToSchema)]
pub(crate) struct AssessmentLine {
    item: String,
    /// `indicator`, `records`, `letters`, `person`.
    way: String,
    /// Decimal as text; `null` = nobody has scored it.
    points: Option<String>,
    of: String,
    /// The figure that was reckoned, and what it is held against.
    value: Option<String>,
    allowed: Option<String>,
    /// Rows behind it; at most 500 are listed.
    n: Option<u64>,
    /// Why it could not be reckoned: `no_figure`, `no_part`, `no_register`. A person gives the points then.
    missing: Option<String>,
    evidence: Vec<AssessmentEvidence>,
    given: Option<AssessmentGiven>,
}

impl From<Line> for AssessmentLine {
    fn from(l: Line) -> Self {
        Self {
            item: l.item,
            way: l.way,
            points: l.points,
            of: l.of,
            value: l.value,
            allowed: l.allowed,
            n: l.n,
            missing: l.missing,
            evidence: l.evidence.into_iter().map(Into::into).collect(),
            given: l.given.map(Into::into),
        }
    }
}

/// A veto of a unit.
#[derive(Serialize, ToSchema)]
pub(crate) struct AssessmentVeto {
    veto: String,
    is_met: bool,
    evidence: Vec<AssessmentEvidence>,
    /// Counts once another person has confirmed it.
    given: Option<AssessmentGiven>,
}

impl From<VetoLine> for AssessmentVeto {
    fn from(l: VetoLine) -> Self {
        Self { veto: l.veto, is_met: l.is_met, evidence: l.evidence.into_iter().map(Into::into).collect(), given: l.given.map(Into::into) }
    }
}

/// What a frozen unit would come to now.
#[derive(Serialize, ToSchema)]
pub(crate) struct AssessmentNow {
    region: String,
    points: String,
    grade: Option<String>,
    rank: Option<u32>,
    /// Items and vetoes that came out otherwise.
    changed: Vec<String>,
}

impl From<Now> for AssessmentNow {
    fn from(n: Now) -> Self {
        Self { region: n.region, points: n.points, grade: n.grade, rank: n.rank, changed: n.changed }
    }
}

/// A unit with everything that it comes to.
#[derive(Serialize, ToSchema)]
pub(crate) struct AssessmentUnitResult {
    region: String,
    region_name: String,
    /// Why it is left out; empty = it is not.
    excluded: String,
    /// Decimal as text.
    points: String,
    /// Word of the grade; `null` while an item is open and nothing vetoes.
    grade: Option<String>,
    /// From 1, with ties; `null` = left out, or not done. The vetoed come behind all others.
    rank: Option<u32>,
    /// Items that nobody has scored.
    open: Vec<String>,
    /// Vetoes that are met.
    vetoes: Vec<String>,
    lines: Vec<AssessmentLine>,
    veto_lines: Vec<AssessmentVeto>,
}

impl From<UnitResult> for AssessmentUnitResult {
    fn from(u: UnitResult) -> Self {
        Self {
            region: u.region,
            region_name: u.region_name,
            excluded: u.excluded,
            points: u.points,
            grade: u.grade,
            rank: u.rank,
            open: u.open,
            vetoes: u.vetoes,
            lines: u.lines.into_iter().map(Into::into).collect(),
            veto_lines: u.veto_lines.into_iter().map(Into::into).collect(),
        }
    }
}

/// What a leader froze.
#[derive(Serialize, ToSchema)]
pub(crate) struct AssessmentFrozen {
    by: String,
    at: At,
    /// The node's signature over the content, Base64, and its key (docs/reference/responsibility.md).
    signature: String,
    public_key: String,
    /// The content still has its digest, and the signature is the key's.
    holds: bool,
}

/// An assessment in the list.
#[derive(Serialize, ToSchema)]
pub(crate) struct AssessmentSummary {
    id: String,
    name: String,
    name_en: String,
    year: i16,
    region: String,
    region_name: String,
    made_by: String,
    made_at: At,
    frozen_by: Option<String>,
    frozen_at: Option<At>,
    /// SHA-256 of the frozen content.
    digest: Option<String>,
    /// The caller sees all units.
    sees_whole: bool,
}

/// Assessments of which the caller sees a unit, newest year first.
#[derive(Serialize, ToSchema)]
pub(crate) struct AssessmentList {
    assessments: Vec<AssessmentSummary>,
}

/// An assessment with every line.
#[derive(Serialize, ToSchema)]
pub(crate) struct Assessment {
    id: String,
    year: i16,
    region: String,
    region_name: String,
    /// Counts every change.
    revision: i64,
    table: AssessmentTable,
    /// All points of the table; decimal as text.
    of: String,
    /// The day on which it was reckoned, Beijing.
    reckoned_on: String,
    /// In order of codes; a part, if the caller sees one, of a frozen one.
    units: Vec<AssessmentUnitResult>,
    /// SHA-256 of the content as it stands, to be said when it is frozen; empty for whoever sees a part.
    digest: String,
    frozen: Option<AssessmentFrozen>,
    /// Of a frozen one: units that would come out otherwise now.
    now: Vec<AssessmentNow>,
    sees_whole: bool,
    may_manage: bool,
    may_freeze: bool,
}

/// Which year of which divisions.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AssessmentBody {
    year: i16,
    /// Code of the division whose divisions below are assessed; left out = this node's.
    region: Option<String>,
}

/// Whether a unit is left out.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AssessmentUnitBody {
    revision: i64,
    /// Why; empty = it is not left out.
    excluded: String,
}

/// A record as evidence.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AssessmentEvidenceBody {
    /// Word of the register.
    kind: String,
    id: String,
}

/// What somebody gives.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AssessmentScoreBody {
    revision: i64,
    /// Decimal as text; of a veto `1` = it is met, `0` = it is not.
    points: String,
    reason: String,
    /// 1 to 50 records that the caller sees.
    evidence: Vec<AssessmentEvidenceBody>,
}

/// What was read.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AssessmentRevision {
    revision: i64,
}

/// What is signed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AssessmentFreezeBody {
    revision: i64,
    /// Of the content that was read: another one is not signed.
    digest: String,
}

fn name_of(app: &App, code: &str) -> String {
    let known = app.registry.get();
    anlan_model::RegionCode::new(code)
        .and_then(|code| known.regions.get(&code).map(|region| region.name.clone()))
        .unwrap_or_else(|| code.to_owned())
}

fn source(source: String, effective: &str, confidence: &str, note: &str) -> AssessmentSource {
    AssessmentSource { source, effective: effective.to_owned(), confidence: confidence.to_owned(), note: note.to_owned() }
}

fn table_dto(table: &assessment::Table) -> AssessmentTable {
    let item = |row: &anlan_domain::road::rules::Sourced<assessment::Item>| AssessmentItem {
        id: row.is.id.clone(),
        name: row.is.name.clone(),
        name_en: row.is.name_en.clone(),
        points: row.is.points.normalize().to_string(),
        way: match (&row.is.indicator, &row.is.records, &row.is.letters) {
            (Some(_), ..) => "indicator",
            (_, Some(_), _) => "records",
            (.., Some(_)) => "letters",
            _ => "person",
        },
        source: source(row.source(), &row.effective, &row.confidence, &row.note),
    };
    let veto = |row: &anlan_domain::road::rules::Sourced<assessment::Veto>| AssessmentItem {
        id: row.is.id.clone(),
        name: row.is.name.clone(),
        name_en: row.is.name_en.clone(),
        points: String::new(),
        way: if row.is.person { "person" } else { "records" },
        source: source(row.source(), &row.effective, &row.confidence, &row.note),
    };
    let grade = |grade: &anlan_domain::assessment::Grade| AssessmentGrade {
        id: grade.id.clone(),
        name: grade.name.clone(),
        name_en: grade.name_en.clone(),
        at_least: grade.at_least.normalize().to_string(),
    };
    AssessmentTable {
        id: table.id.clone(),
        name: table.name.clone(),
        name_en: table.name_en.clone(),
        source: source(table.source(), &table.effective, &table.confidence, &table.note),
        grades: table.grades.iter().map(grade).collect(),
        items: table.items.iter().map(item).collect(),
        vetoes: table.vetoes.iter().map(veto).collect(),
    }
}

fn dto(app: &App, view: View) -> Assessment {
    Assessment {
        id: view.row.id,
        year: view.row.year,
        region_name: name_of(app, view.row.region.as_str()),
        region: view.row.region.to_string(),
        revision: view.row.revision,
        table: table_dto(&view.table),
        of: view.snapshot.of,
        reckoned_on: view.snapshot.reckoned_on,
        units: view.snapshot.units.into_iter().map(Into::into).collect(),
        digest: view.digest,
        frozen: view.frozen.map(|frozen| AssessmentFrozen {
            by: frozen.row.by,
            at: frozen.row.at.into(),
            signature: frozen.row.signature,
            public_key: frozen.row.public_key,
            holds: frozen.holds,
        }),
        now: view.now.into_iter().map(Into::into).collect(),
        sees_whole: view.sees_whole,
        may_manage: view.may_manage,
        may_freeze: view.may_freeze,
    }
}

async fn shown(app: &App, caller: &Caller, id: &str) -> Answer<Assessment> {
    Ok(Json(dto(app, assessment::view(app, &caller.scope, id).await?)))
}

/// Lists assessments.
#[utoipa::path(get, path = "/assessments", tag = "responsibility", operation_id = "list_assessments", responses((status = 200, body = AssessmentList)))]
pub(crate) async fn list(AppRef(app): AppRef, caller: Caller) -> Answer<AssessmentList> {
    let word = |row: &assessment::AssessmentRow, at: &str| row.table[at].as_str().unwrap_or_default().to_owned();
    let summary = |(row, sees_whole): (assessment::AssessmentRow, bool)| AssessmentSummary {
        name: word(&row, "name"),
        name_en: word(&row, "name_en"),
        region_name: name_of(&app, row.region.as_str()),
        region: row.region.to_string(),
        id: row.id,
        year: row.year,
        made_by: row.made_by,
        made_at: row.made_at.into(),
        frozen_by: row.frozen.as_ref().map(|frozen| frozen.by.clone()),
        frozen_at: row.frozen.as_ref().map(|frozen| frozen.at.into()),
        digest: row.frozen.map(|frozen| frozen.digest),
        sees_whole,
    };
    Ok(Json(AssessmentList { assessments: assessment::list(&app, &caller.scope).await?.into_iter().map(summary).collect() }))
}

/// Begins the assessment of a year: one per year and division.
#[utoipa::path(post, path = "/assessments", tag = "responsibility", operation_id = "begin_assessment", request_body = AssessmentBody, responses((status = 201, body = Assessment), (status = 403, body = crate::problem::Problems), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn begin(
    AppRef(app): AppRef,
    caller: Caller,
    Body(body): Body<AssessmentBody>,
) -> Result<(StatusCode, Json<Assessment>), Failure> {
    let region = match body.region.as_deref().filter(|code| !code.is_empty()) {
        Some(code) => validate::region_ever("region", code, &app.registry.get().regions)?,
        None => responsibility::own_division(&app).await?,
    };
    let row = assessment::begin(&app, &caller.scope, body.year, region).await?;
    Ok((StatusCode::CREATED, shown(&app, &caller, &row.id).await?))
}

/// An assessment, reckoned now or as it was frozen, down to the rows behind each line.
#[utoipa::path(get, path = "/assessments/{id}", tag = "responsibility", operation_id = "get_assessment", params(("id" = String, Path)), responses((status = 200, body = Assessment)))]
pub(crate) async fn get(AppRef(app): AppRef, caller: Caller, id: PathId) -> Answer<Assessment> {
    shown(&app, &caller, &id.0).await
}

/// The frozen content, byte for byte: what digest and signature are of.
#[utoipa::path(get, path = "/assessments/{id}/content", tag = "responsibility", operation_id = "get_assessment_content", params(("id" = String, Path)), responses((status = 200, body = Object), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn content(AppRef(app): AppRef, caller: Caller, id: PathId) -> Result<Response, Failure> {
    let frozen = assessment::content(&app, &caller.scope, &id.0).await?;
    Ok(([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "private, no-store")], frozen.content).into_response())
}

/// Leaves a unit out, or takes it in again.
#[utoipa::path(put, path = "/assessments/{id}/units/{region}", tag = "responsibility", operation_id = "exclude_assessment_unit", params(("id" = String, Path), ("region" = String, Path)), request_body = AssessmentUnitBody, responses((status = 200, body = Assessment), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn exclude(AppRef(app): AppRef, caller: Caller, path: Path2, Body(body): Body<AssessmentUnitBody>) -> Answer<Assessment> {
    let (id, region): (String, String) = path.read()?;
    assessment::exclude(&app, &caller.scope, &id, body.revision, &region, &body.excluded).await?;
    shown(&app, &caller, &id).await
}

/// Gives points to an item that is not reckoned, or says whether a veto is met that people decide.
#[utoipa::path(put, path = "/assessments/{id}/units/{region}/scores/{item}", tag = "responsibility", operation_id = "score_assessment_item", params(("id" = String, Path), ("region" = String, Path), ("item" = String, Path)), request_body = AssessmentScoreBody, responses((status = 200, body = Assessment), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn score(AppRef(app): AppRef, caller: Caller, path: Path3, Body(body): Body<AssessmentScoreBody>) -> Answer<Assessment> {
    let (id, region, item): (String, String, String) = path.read()?;
    let mut evidence = Vec::new();
    for named in body.evidence {
        let record: RecordId = named.id.parse().map_err(|_| AppError::invalid("register.reference", "evidence"))?;
        evidence.push((named.kind, record));
    }
    let new = NewScore { points: body.points, reason: body.reason, evidence };
    assessment::score(&app, &caller.scope, &id, body.revision, &region, &item, new).await?;
    shown(&app, &caller, &id).await
}

/// Confirms what somebody else gave.
#[utoipa::path(post, path = "/assessments/{id}/units/{region}/scores/{item}/confirm", tag = "responsibility", operation_id = "confirm_assessment_score", params(("id" = String, Path), ("region" = String, Path), ("item" = String, Path)), request_body = AssessmentRevision, responses((status = 200, body = Assessment), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn confirm(AppRef(app): AppRef, caller: Caller, path: Path3, Body(body): Body<AssessmentRevision>) -> Answer<Assessment> {
    let (id, region, item): (String, String, String) = path.read()?;
    assessment::confirm(&app, &caller.scope, &id, body.revision, &region, &item).await?;
    shown(&app, &caller, &id).await
}

/// Freezes and signs an assessment as it was read; nothing changes it afterwards.
#[utoipa::path(post, path = "/assessments/{id}/freeze", tag = "responsibility", operation_id = "freeze_assessment", params(("id" = String, Path)), request_body = AssessmentFreezeBody, responses((status = 200, body = Assessment), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn freeze(AppRef(app): AppRef, caller: Caller, id: PathId, Body(body): Body<AssessmentFreezeBody>) -> Answer<Assessment> {
    assessment::freeze(&app, &caller.scope, &id.0, body.revision, &body.digest).await?;
    shown(&app, &caller, &id.0).await
}
