//! The leaders' page: why something is red, in one answer.

use anlan_app::leaders::{self, Criterion, Division, Listed, Measure, Running};
use anlan_app::record::RecordRow;
use anlan_app::{App, plan, validate};
use anlan_domain::plan::State;
use anlan_domain::register::FieldType;
use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Answer;
use super::alarm::AlarmDto;
use super::networking::NetworkingMissing;
use super::plan::{AsOfQuery, PlanCounts, PlanTarget, as_of, target_dto};
use crate::dto::At;
use crate::extract::{AppRef, Caller, Query};

/// Of which territory and day.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct LeadersQuery {
    /// Code of a division; left out = the one that the caller's grants name, else the node's.
    region: Option<String>,
    /// The day on which targets are judged, Beijing; left out = today. Everything else is as of now.
    as_of: Option<String>,
}

/// Totals of the page.
#[derive(Serialize, ToSchema)]
pub(crate) struct LeadersCounts {
    /// Standing alarms of the highest level.
    red_alarms: u64,
    /// Enterprises with a major hazard.
    hazards: u64,
    /// Of these, not reporting in full.
    hazards_silent: u64,
    /// Accidents whose clock runs.
    accidents_running: u64,
    /// Listed hazards that are not delisted.
    listed: u64,
    /// Of these, past their limit.
    listed_over: u64,
    dangers_open: u64,
    dangers_overdue: u64,
    /// Deaths that count of this calendar year; `null` = there is no register of accidents.
    deaths: Option<u64>,
}

/// Targets of a plan that are off their path or missed.
#[derive(Serialize, ToSchema)]
pub(crate) struct LeadersPlan {
    id: String,
    name: String,
    name_en: String,
    /// Some of the rows are made up.
    demonstration: bool,
    counts: PlanCounts,
    /// Missed ones first, then those off their path, each in the order of the document.
    targets: Vec<PlanTarget>,
}

/// A record as far as a line about it needs.
#[derive(Serialize, ToSchema)]
pub(crate) struct LeadersRecord {
    id: String,
    kind: String,
    number: String,
    title: String,
    enterprise: Option<String>,
    enterprise_name: Option<String>,
    region: Option<String>,
    region_name: Option<String>,
    state: String,
    state_name: String,
    state_name_en: String,
    /// Last day of its step.
    due_on: Option<String>,
}

impl LeadersRecord {
    fn new(app: &App, row: RecordRow) -> Self {
        let kind = app.registers.load().kind(&row.kind).ok();
        let names = kind.as_ref().and_then(|kind| kind.state(&row.state)).map(|state| (state.name.clone(), state.name_en.clone()));
        let (state_name, state_name_en) = names.unwrap_or_else(|| (row.state.clone(), row.state.clone()));
        Self {
            id: row.id.to_string(),
            kind: row.kind,
            number: row.number,
            title: row.title,
            enterprise: row.enterprise.map(|id| id.to_string()),
            enterprise_name: row.enterprise_name,
            region: row.region.map(|region| region.as_str().to_owned()),
            region_name: row.region_name,
            state: row.state,
            state_name,
            state_name_en,
            due_on: row.due_on,
        }
    }
}

/// An accident whose clock runs.
#[derive(Serialize, ToSchema)]
pub(crate) struct LeadersAccident {
    record: LeadersRecord,
    /// Word of its class; empty = none yet.
    class: String,
    class_name: String,
    class_name_en: String,
    /// Until when the next level must be told, Beijing, to the minute; `null` = the last day of its step runs.
    tell_by: Option<String>,
    late: bool,
}

impl LeadersAccident {
    fn new(app: &App, one: Running) -> Self {
        let kind = app.registers.load().kind(&one.row.kind).ok();
        let choices = kind.as_ref().and_then(|kind| kind.field("class")).map(|field| &field.of);
        let class = match choices {
            Some(FieldType::Choice { choices, .. }) => choices.iter().find(|choice| choice.id == one.class),
            _ => None,
        };
        let (class_name, class_name_en) = class.map(|class| (class.name.clone(), class.name_en.clone())).unwrap_or_default();
        Self {
            record: LeadersRecord::new(app, one.row),
            class: one.class,
            class_name,
            class_name_en,
            tell_by: one.tell_by.map(|at| at.strftime("%Y-%m-%dT%H:%M").to_string()),
            late: one.is_late,
        }
    }
}

/// A listed hazard.
#[derive(Serialize, ToSchema)]
pub(crate) struct LeadersListed {
    record: LeadersRecord,
    /// The last day that was set for it, or given later.
    limit_on: Option<String>,
    /// Days past that day; below zero = days left.
    days_over: Option<i32>,
    /// As the enterprise reported.
    percent_done: Option<f64>,
}

impl LeadersListed {
    fn new(app: &App, one: Listed) -> Self {
        Self {
            record: LeadersRecord::new(app, one.row),
            limit_on: one.due_on.map(|day| day.to_string()),
            days_over: one.days_over,
            percent_done: one.percent_done,
        }
    }
}

/// A count of a division, and its rank by that count alone.
#[derive(Serialize, ToSchema)]
pub(crate) struct LeadersMeasure {
    /// `deaths`, `red_alarms`, `silent_hazards`, `listed_over`, `dangers_overdue`.
    criterion: &'static str,
    n: u64,
    /// Of how many; `null` = it is a part of nothing.
    of: Option<u64>,
    /// 1 = the most; equal counts share a rank. `null` = there is none.
    rank: Option<usize>,
    tied: bool,
    /// So few that the difference to another division may be chance.
    is_small: bool,
}

impl LeadersMeasure {
    fn new(criterion: Criterion, measure: Measure) -> Self {
        let Measure { n, of, rank, is_tied, is_small } = measure;
        Self { criterion: criterion.as_str(), n, of, rank, tied: is_tied, is_small }
    }
}

/// A division directly below that the caller sees whole.
#[derive(Serialize, ToSchema)]
pub(crate) struct LeadersDivision {
    code: String,
    name: String,
    /// Those that are counted at this level.
    measures: Vec<LeadersMeasure>,
}

impl From<Division> for LeadersDivision {
    fn from(division: Division) -> Self {
        Self { code: division.code.as_str().to_owned(), name: division.name, measures: measures(division.measures) }
    }
}

fn measures(of: [Option<Measure>; 5]) -> Vec<LeadersMeasure> {
    Criterion::ALL.into_iter().zip(of).filter_map(|(criterion, measure)| Some(LeadersMeasure::new(criterion, measure?))).collect()
}

/// What presses in a territory. Lists hold 20 rows at most; `counts` says how many there are.
#[derive(Serialize, ToSchema)]
#[schema(as = Leaders)]
pub(crate) struct LeadersDto {
    /// Domain time of everything but targets.
    now: At,
    /// Its civil day, Beijing.
    today: String,
    /// The day on which targets are judged.
    as_of: String,
    region: String,
    region_name: String,
    counts: LeadersCounts,
    /// Plans whose whole territory the caller sees.
    plans: Vec<LeadersPlan>,
    /// Standing alarms of the highest level, the newest first.
    alarms: Vec<AlarmDto>,
    /// Enterprises with a major hazard that do not report in full, the longest silent first.
    silent: Vec<NetworkingMissing>,
    /// Those late first, then by their time.
    accidents: Vec<LeadersAccident>,
    /// The longest past their limit first.
    listed: Vec<LeadersListed>,
    divisions: Vec<LeadersDivision>,
    /// What is of none of the divisions below: the territory itself, or a code that is no more. Without ranks.
    rest: Vec<LeadersMeasure>,
    /// A count below this is marked as small.
    small_below: u32,
}

/// What presses: targets off their path, the greatest risks, listed hazards by days over, divisions by stated counts.
#[utoipa::path(get, path = "/leaders", tag = "summary", params(LeadersQuery), responses((status = 200, body = LeadersDto)))]
pub(crate) async fn leaders(AppRef(app): AppRef, caller: Caller, Query(query): Query<LeadersQuery>) -> Answer<LeadersDto> {
    let day = as_of(&app, &AsOfQuery { as_of: query.as_of })?;
    let regions = &app.registry.get().regions;
    let region = query.region.as_deref().filter(|code| !code.is_empty()).map(|code| validate::region_ever("region", code, regions));
    let found = leaders::get(&app, &caller.scope, region.transpose()?).await?;
    let mut plans = Vec::new();
    for known in plan::list(&app, &caller.scope)? {
        let reckoning = plan::reckoning(&app, &caller.scope, &known.plan.id).await?;
        if !reckoning.sees_whole {
            continue;
        }
        let indicators = &reckoning.known.indicators;
        let statuses = reckoning.plan.status(indicators, &reckoning.facts, day);
        let of_state = |state: State| statuses.iter().filter(move |status| status.state == state);
        let red = of_state(State::Missed).chain(of_state(State::OffPath));
        plans.push(LeadersPlan {
            id: known.plan.id.clone(),
            name: known.plan.name.clone(),
            name_en: known.plan.name_en.clone(),
            demonstration: reckoning.is_demonstration,
            counts: PlanCounts::of(&statuses),
            targets: red.map(|status| target_dto(indicators, status, true)).collect(),
        });
    }
    let snapshot = app.registry.get();
    Ok(Json(LeadersDto {
        now: found.now.into(),
        today: found.today.to_string(),
        as_of: day.to_string(),
        region: found.region.as_str().to_owned(),
        region_name: found.region_name,
        counts: LeadersCounts {
            red_alarms: found.red.n,
            hazards: found.hazards,
            hazards_silent: found.silent.n,
            accidents_running: found.running.n,
            listed: found.listed.n,
            listed_over: found.listed_over,
            dangers_open: found.dangers_open,
            dangers_overdue: found.dangers_overdue,
            deaths: found.deaths,
        },
        plans,
        alarms: found.red.rows.into_iter().map(|alarm| AlarmDto::new(alarm, &snapshot)).collect(),
        silent: found.silent.rows.into_iter().map(Into::into).collect(),
        accidents: found.running.rows.into_iter().map(|one| LeadersAccident::new(&app, one)).collect(),
        listed: found.listed.rows.into_iter().map(|one| LeadersListed::new(&app, one)).collect(),
        divisions: found.divisions.into_iter().map(Into::into).collect(),
        rest: measures(found.rest),
        small_below: found.small_below,
    }))
}
