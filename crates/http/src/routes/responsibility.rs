//! Responsibility letters (责任书): who has one for a year, who has none, which signature came late, which chain is broken.

use anlan_app::error::AppError;
use anlan_app::record::RecordRow;
use anlan_app::responsibility::{self, Counts, Finding, Stand, Takes, Unit, View};
use anlan_app::validate;
use anlan_domain::register::Kind;
use anlan_model::RegionCode;
use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Answer;
use crate::extract::{AppRef, Caller, Query};

/// Units of one page, unless another number is asked for.
const PAGE: usize = 200;
/// At most.
const PAGE_MAX: u32 = 1_000;

/// How many who must have a letter stand how.
#[derive(Serialize, ToSchema)]
#[schema(as = ResponsibilityCounts)]
pub(crate) struct CountsDto {
    /// Who must have one.
    units: u64,
    /// Of these, without one.
    orphans: u64,
    /// With one that not both have signed.
    under_way: u64,
    /// With one that binds.
    in_force: u64,
    /// Signed late, or late by now.
    late: u64,
    /// Whose letter above does not bind.
    parent_not_in_force: u64,
    /// Whose letter names none above, though somebody above must have one.
    no_parent: u64,
}

impl From<Counts> for CountsDto {
    fn from(c: Counts) -> Self {
        Self {
            units: c.units,
            orphans: c.orphans,
            under_way: c.under_way,
            in_force: c.in_force,
            late: c.late,
            parent_not_in_force: c.parent_not_in_force,
            no_parent: c.no_parent,
        }
    }
}

/// The same of one sort of unit.
#[derive(Serialize, ToSchema)]
pub(crate) struct ResponsibilityTaker {
    /// `government`, `department`, `enterprise`.
    takes: &'static str,
    counts: CountsDto,
}

/// A division with everything below it that the caller sees.
#[derive(Serialize, ToSchema)]
pub(crate) struct ResponsibilityDivision {
    code: String,
    name: String,
    name_en: String,
    /// Code of the division above in this list; `null` = the first.
    parent: Option<String>,
    counts: CountsDto,
}

/// A letter.
#[derive(Serialize, ToSchema)]
pub(crate) struct ResponsibilityLetter {
    /// Its record in the register `responsibility_letter`.
    id: String,
    number: String,
    title: String,
    state: String,
    state_name: String,
    state_name_en: String,
    /// `YYYY-MM-DD`.
    sign_by: Option<String>,
    signed_on: Option<String>,
}

/// Somebody who must have a letter.
#[derive(Serialize, ToSchema)]
pub(crate) struct ResponsibilityUnit {
    /// `government`, `department`, `enterprise`.
    takes: &'static str,
    region: String,
    region_name: String,
    /// Of a department or enterprise.
    name: Option<String>,
    /// Id of the enterprise.
    enterprise: Option<String>,
    letter: Option<ResponsibilityLetter>,
    /// The letter above, if the caller sees it.
    parent: Option<ResponsibilityLetter>,
    /// What is amiss, the gravest first: `orphan`, `parent_not_in_force`, `late`, `no_parent`, `under_way`.
    findings: Vec<&'static str>,
    /// Days that the signature came, or is by now, behind its last day; `null` = it is not late.
    days_late: Option<i32>,
}

/// Who must have one, as the pack says.
#[derive(Serialize, ToSchema)]
pub(crate) struct ResponsibilityRule {
    id: String,
    name: String,
    name_en: String,
    /// Standard and clause.
    source: String,
    /// `verified`, `verified-secondary`, `product`, `unverified`.
    confidence: String,
    note: String,
}

/// What the letters of a year cover.
#[derive(Serialize, ToSchema)]
pub(crate) struct ResponsibilityCoverage {
    year: i16,
    /// Beijing.
    as_of: String,
    division: String,
    /// Nobody in sight is without a letter.
    whole: bool,
    counts: CountsDto,
    by_taker: Vec<ResponsibilityTaker>,
    /// In order of codes: each behind the one that holds it.
    divisions: Vec<ResponsibilityDivision>,
    /// Orphans first, then whose chain is broken, then who is late, the latest first.
    units: Vec<ResponsibilityUnit>,
    next: Option<String>,
    rules: Vec<ResponsibilityRule>,
}

/// Which letters.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct CoverageQuery {
    /// Left out = the year of today, Beijing.
    year: Option<i16>,
    /// Code of a division with all below it; left out = this node's.
    division: Option<String>,
    /// `government`, `department`, `enterprise`: these units alone. Counts are of all.
    takes: Option<String>,
    /// `orphan`, `parent_not_in_force`, `late`, `no_parent`, `under_way`: units with this alone. Counts are of all.
    finding: Option<String>,
    cursor: Option<String>,
    /// 1 to 1,000.
    limit: Option<u32>,
}

const FINDINGS: [&str; 5] = ["orphan", "parent_not_in_force", "late", "no_parent", "under_way"];

fn word_of(finding: &Finding) -> &'static str {
    match finding {
        Finding::Orphan => "orphan",
        Finding::ParentNotInForce => "parent_not_in_force",
        Finding::Late(_) => "late",
        Finding::NoParent => "no_parent",
        Finding::UnderWay => "under_way",
    }
}

fn letter(kind: &Kind, row: &RecordRow) -> ResponsibilityLetter {
    let field = |id: &str| Some(row.body.get("fields")?.get(id)?.as_str()?.to_owned());
    let state = kind.state(&row.state);
    ResponsibilityLetter {
        id: row.id.to_string(),
        number: row.number.clone(),
        title: row.title.clone(),
        state_name: state.map_or_else(|| row.state.clone(), |state| state.name.clone()),
        state_name_en: state.map_or_else(|| row.state.clone(), |state| state.name_en.clone()),
        state: row.state.clone(),
        sign_by: field("sign_by"),
        signed_on: field("signed_on"),
    }
}

fn unit(view: &View, kind: &Kind, stand: &Stand, name_of: &dyn Fn(&RegionCode) -> String) -> ResponsibilityUnit {
    let (name, enterprise) = match &stand.unit {
        Unit::Government(_) => (None, None),
        Unit::Department(_, name) => (Some(name.clone()), None),
        Unit::Enterprise(_, id) => (view.enterprises.get(id).map(|known| known.name.clone()), Some(id.to_string())),
    };
    let id = stand.letter.as_ref().map(|letter| letter.id);
    let late = |finding: &Finding| match finding {
        Finding::Late(days) => Some(*days),
        _ => None,
    };
    ResponsibilityUnit {
        takes: stand.unit.takes().as_str(),
        region: stand.unit.region().to_string(),
        region_name: name_of(stand.unit.region()),
        name,
        enterprise,
        letter: id.and_then(|id| view.letters.get(&id)).map(|row| letter(kind, row)),
        parent: id.and_then(|id| view.parent_of(id)).map(|row| letter(kind, row)),
        findings: stand.findings.iter().map(word_of).collect(),
        days_late: stand.findings.iter().find_map(late),
    }
}

/// Who must have a responsibility letter for a year and has one, or none: the divisions and enterprises that the caller sees.
#[utoipa::path(get, path = "/responsibility/coverage", tag = "responsibility", operation_id = "get_responsibility_coverage", params(CoverageQuery), responses((status = 200, body = ResponsibilityCoverage)))]
pub(crate) async fn coverage(AppRef(app): AppRef, caller: Caller, Query(query): Query<CoverageQuery>) -> Answer<ResponsibilityCoverage> {
    let known = app.registry.get();
    let division = match query.division.as_deref().filter(|code| !code.is_empty()) {
        Some(code) => validate::region_ever("division", code, &known.regions)?,
        None => responsibility::own_division(&app).await?,
    };
    let unknown = |field: &str, word: &str| AppError::invalid("word.unknown", field).with("word", word);
    let takes = query.takes.as_deref().filter(|word| !word.is_empty());
    let takes = takes.map(|word| Takes::parse(word).ok_or_else(|| unknown("takes", word))).transpose()?;
    let finding = query.finding.as_deref().filter(|word| !word.is_empty());
    if let Some(word) = finding.filter(|word| !FINDINGS.contains(word)) {
        return Err(unknown("finding", word).into());
    }
    let size = query.limit.map_or(Ok(PAGE), |limit| validate::rows(limit, PAGE_MAX).map(|n| n as usize))?;
    let from: usize = query.cursor.as_deref().map_or(Ok(0), str::parse).map_err(|_| AppError::invalid("cursor.malformed", "cursor"))?;
    let view = responsibility::coverage(&app, &caller.scope, query.year.unwrap_or_else(|| app.today().year()), division).await?;
    let kind = app.registers.load().kind(responsibility::REGISTER)?;
    let name_of = |code: &RegionCode| known.regions.get(code).map_or_else(|| code.to_string(), |region| region.name.clone());
    let is_asked = |stand: &&Stand| {
        takes.is_none_or(|takes| stand.unit.takes() == takes)
            && finding.is_none_or(|word| stand.findings.iter().any(|finding| word_of(finding) == word))
    };
    let asked: Vec<&Stand> = view.coverage.stands.iter().filter(is_asked).collect();
    let page = asked.iter().skip(from).take(size).map(|stand| unit(&view, &kind, stand, &name_of)).collect();
    let end = from.saturating_add(size);
    let by_division = &view.coverage.by_division;
    let above = |code: &RegionCode| {
        let shorter = [9, 6, 4].into_iter().filter(|n| *n < code.as_str().len());
        shorter.filter_map(|n| RegionCode::new(code.as_str().get(..n)?)).find(|code| by_division.contains_key(code))
    };
    // What holds the division that was asked for has the same counts, and is not what was asked for.
    let inside = by_division.iter().filter(|(code, _)| code.as_str().starts_with(view.division.as_str()));
    let divisions = inside.map(|(code, counts)| ResponsibilityDivision {
        code: code.to_string(),
        name: name_of(code),
        name_en: known.regions.get(code).map_or_else(|| code.to_string(), |region| region.name_en.clone()),
        parent: above(code).filter(|above| above.as_str().starts_with(view.division.as_str())).map(|code| code.to_string()),
        counts: (*counts).into(),
    });
    let rules = responsibility::rules().map_err(|_| AppError::new(anlan_app::error::Kind::Internal, "internal"))?;
    let rule = |row: &anlan_domain::road::rules::Sourced<responsibility::Must>| ResponsibilityRule {
        id: row.is.id.clone(),
        name: row.is.name.clone(),
        name_en: row.is.name_en.clone(),
        source: row.source(),
        confidence: row.confidence.clone(),
        note: row.note.clone(),
    };
    Ok(Json(ResponsibilityCoverage {
        year: view.year,
        as_of: view.today.to_string(),
        division: view.division.to_string(),
        whole: view.coverage.total.orphans == 0,
        counts: view.coverage.total.into(),
        by_taker: view
            .coverage
            .by_taker
            .iter()
            .map(|(takes, c)| ResponsibilityTaker { takes: takes.as_str(), counts: (*c).into() })
            .collect(),
        divisions: divisions.collect(),
        units: page,
        next: (asked.len() > end).then(|| end.to_string()),
        rules: rules.must.iter().map(rule).collect(),
    }))
}
