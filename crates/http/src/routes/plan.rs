//! Plans (规划), indicators (指标) and facts (事实): where each target stands on a day, why, from which rows, and what is decided beside the document.

use anlan_app::error::AppError;
use anlan_app::plan::{self, DecisionRow, DecisionState, FactFilter, FactRow, NewFact, Reckoning};
use anlan_app::{App, validate};
use anlan_domain::control::Sample;
use anlan_domain::decimal::{Decimal, to_json};
use anlan_domain::indicator::{
    Fact, Figure, FromWhere, Indicator, Indicators, Keeps, Kind, Missing, Period, Query as Ask, Term, last_year_over, year_of,
};
use anlan_domain::pack::source::Source;
use anlan_domain::plan::{Adjustment, Goal, NodeKind, Origin, Reason, Shortfall, State, TargetStatus};
use axum::Json;
use axum::http::StatusCode;
use jiff::ToSpan as _;
use jiff::civil::Date;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{IntoParams, ToSchema};

use super::Answer;
use crate::dto::At;
use crate::extract::{AppRef, Body, Caller, Path2, PathId, Query};
use crate::key::{Indicators as Keyed, Reads};
use crate::problem::Failure;

/// Rows behind a figure that are told; how many there are is told too.
const ROWS_MAX: usize = 2_000;

/// A decimal, as a JSON number in its shortest form.
#[derive(Clone, Copy)]
pub(crate) struct Number(Decimal);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        to_json(self.0).serialize(serializer)
    }
}

impl utoipa::PartialSchema for Number {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::Number).description(Some("A decimal in its shortest form")).into()
    }
}

impl ToSchema for Number {
    fn name() -> std::borrow::Cow<'static, str> {
        std::borrow::Cow::Borrowed("Number")
    }
}

/// Where a row of a pack comes from.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlanSource {
    /// Document; `product` = a choice of this product.
    standard: String,
    clause: String,
    /// In force since; may be empty.
    effective: String,
    /// `verified`, `verified-secondary`, `product`, `unverified`.
    confidence: String,
    note: String,
}

impl From<&Source> for PlanSource {
    fn from(source: &Source) -> Self {
        Self {
            standard: source.standard.clone(),
            clause: source.clause.clone(),
            effective: source.effective.clone(),
            confidence: source.confidence.clone(),
            note: source.note.clone(),
        }
    }
}

/// A plan.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlanRow {
    id: String,
    name: String,
    name_en: String,
    /// Code of its territory.
    region: String,
    region_name: Option<String>,
    /// First and last day.
    start: String,
    end: String,
    /// The pack that brings it.
    pack: String,
    source: PlanSource,
}

/// Plans of packs that are on.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlanList {
    plans: Vec<PlanRow>,
}

/// A heading of the document.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlanNode {
    /// Its number in the document.
    id: String,
    /// The heading above; empty = the plan.
    parent: String,
    /// `chapter`, `task`, `project`.
    kind: &'static str,
    title: String,
}

/// Why a target stands as it does, or why there is no figure: a word, and what a sentence about it needs.
#[derive(Default, Serialize, ToSchema)]
pub(crate) struct PlanReason {
    /// `reached`, `reached_so_far`, `reached_late`, `not_reached`, `within_path`, `beyond_path`, `right_way`, `wrong_way`, `found`, `found_not`, `not_begun`,
    /// `not_due`, `no_baseline`, `base_is_zero`, `no_finding`, `not_recorded`, `no_data`, `no_denominator`, `days_differ`, `denominator_is_zero`,
    /// `part_above_whole`, `digits`.
    code: &'static str,
    /// What the path asks; of a contradiction the part.
    value: Option<Number>,
    /// Of a contradiction.
    whole: Option<Number>,
    /// By this day, or of it.
    on: Option<String>,
    from: Option<String>,
    to: Option<String>,
    year: Option<i16>,
    /// Word of a source.
    source: Option<String>,
    sector: Option<String>,
    /// Word of the source below the line, and its day.
    below: Option<String>,
    below_on: Option<String>,
    /// Word of the indicator that went the other way.
    indicator: Option<String>,
}

impl From<&Missing> for PlanReason {
    fn from(missing: &Missing) -> Self {
        let code = missing.as_str();
        let day = |day: &Date| Some(day.to_string());
        match missing {
            Missing::NotRecorded { source, from, to } => {
                Self { code, source: Some(source.clone()), from: day(from), to: day(to), ..Self::default() }
            }
            Missing::Numerator { source, sector, on } | Missing::Denominator { source, sector, on } => {
                Self { code, source: Some(source.clone()), sector: Some(sector.clone()), on: day(on), ..Self::default() }
            }
            Missing::DaysDiffer { source, on, below, below_on } => Self {
                code,
                source: Some(source.clone()),
                on: day(on),
                below: Some(below.clone()),
                below_on: day(below_on),
                ..Self::default()
            },
            Missing::DenominatorIsZero { source } => Self { code, source: Some(source.clone()), ..Self::default() },
            Missing::Base { source, year } => Self { code, source: Some(source.clone()), year: *year, ..Self::default() },
            Missing::BaseIsZero { year } => Self { code, year: Some(*year), ..Self::default() },
            Missing::AboveWhole { part, whole } => {
                Self { code, value: Some(Number(*part)), whole: Some(Number(*whole)), ..Self::default() }
            }
            Missing::Digits => Self { code, ..Self::default() },
        }
    }
}

impl From<&Reason> for PlanReason {
    fn from(reason: &Reason) -> Self {
        let code = reason.as_str();
        match reason {
            Reason::WithinPath(asked, on) | Reason::BeyondPath(asked, on) => {
                Self { code, value: Some(Number(*asked)), on: Some(on.to_string()), ..Self::default() }
            }
            Reason::WrongWay(indicator, year) => Self { code, indicator: Some(indicator.clone()), year: Some(*year), ..Self::default() },
            Reason::Missing(missing) => missing.into(),
            _ => Self { code, ..Self::default() },
        }
    }
}

/// A figure as it was said before.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlanSaid {
    /// Since when.
    on: String,
    value: Number,
}

/// A target, and where it stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlanTarget {
    id: String,
    /// Heading that it stands under.
    node: String,
    /// The words of the document.
    quote: String,
    name: String,
    name_en: String,
    sector: String,
    owner: String,
    /// Where the owner is from: `text`, `context`, `plan_end`, `assumed`.
    owner_from: &'static str,
    /// `<=`, `>=`, `increase`, `decreasing yearly`, `qualitative`, `process`.
    direction: &'static str,
    unit: Option<String>,
    unit_zh: Option<String>,
    /// Word; `null` = a person finds.
    indicator: Option<String>,
    /// Places of the figure as shown.
    decimals: u32,
    /// The number to reach, a cut worked out; `null` = none.
    target: Option<Number>,
    /// To the places of the definition.
    value: Option<Number>,
    deadline: String,
    /// Where it is from: `text`, `context`, `plan_end`, `assumed`.
    deadline_from: &'static str,
    confidence: String,
    note: String,
    /// `met`, `on_path`, `off_path`, `missed`, `cannot_be_computed`; `null`: the asker does not see the whole territory.
    state: Option<&'static str>,
    reason: Option<PlanReason>,
    /// So few events that the rate says little.
    is_small: bool,
    /// It asked something else before.
    is_adjusted: bool,
    /// The same figure before later rows changed it, the oldest first.
    said_before: Vec<PlanSaid>,
}

/// How many targets stand how.
#[derive(Default, Serialize, ToSchema)]
pub(crate) struct PlanCounts {
    met: usize,
    on_path: usize,
    off_path: usize,
    missed: usize,
    cannot_be_computed: usize,
}

impl PlanCounts {
    pub(super) fn of(statuses: &[TargetStatus<'_>]) -> Self {
        let mut counts = Self::default();
        for status in statuses {
            let count = match status.state {
                State::Met => &mut counts.met,
                State::OnPath => &mut counts.on_path,
                State::OffPath => &mut counts.off_path,
                State::Missed => &mut counts.missed,
                State::CannotBeComputed => &mut counts.cannot_be_computed,
            };
            *count += 1;
        }
        counts
    }
}

/// Parts that do not meet the whole.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlanShortfall {
    target: String,
    /// Of a rate: the territory that is to reach less.
    region: Option<String>,
    region_name: Option<String>,
    /// The part, or the sum of all.
    parts: Number,
    whole: Number,
}

/// Below which count a rate says little.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlanSmallCount {
    below: u32,
    source: PlanSource,
}

/// A plan on a day.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlanStatus {
    #[serde(flatten)]
    plan: PlanRow,
    /// The day, Beijing; what became known later is not in it.
    as_of: String,
    /// Some of the rows are made up.
    demonstration: bool,
    /// The asker sees the whole territory; without that no target has a state.
    sees_whole: bool,
    /// The asker may record facts and propose decisions about the whole.
    may_manage: bool,
    /// The asker may approve them.
    may_decide: bool,
    /// Records of accidents that do not say how many died: no figure has them.
    unread: Vec<String>,
    counts: PlanCounts,
    nodes: Vec<PlanNode>,
    targets: Vec<PlanTarget>,
    shortfalls: Vec<PlanShortfall>,
    small_count: PlanSmallCount,
}

/// Which day.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct AsOfQuery {
    /// A day, Beijing; left out = today.
    pub(super) as_of: Option<String>,
}

/// What a target asks, or asked.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlanGoal {
    value: Option<Number>,
    drop_percent: Option<Number>,
    baseline: Option<Number>,
    baseline_year: i16,
    deadline: String,
}

impl From<&Goal> for PlanGoal {
    fn from(goal: &Goal) -> Self {
        Self {
            value: goal.value.map(Number),
            drop_percent: goal.drop_percent.map(Number),
            baseline: goal.baseline.map(Number),
            baseline_year: goal.baseline_year,
            deadline: goal.deadline.to_string(),
        }
    }
}

/// What a target asked until it was adjusted.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlanFormer {
    goal: PlanGoal,
    /// In force from this day on is what followed.
    decided_on: String,
    by: String,
    document: String,
    reason: String,
    /// `reported`, `published`, `derived`, `invented`.
    mark: &'static str,
}

/// A row that figures are reckoned from.
#[derive(Serialize, ToSchema)]
#[schema(as = Fact)]
pub(crate) struct FactDto {
    id: String,
    source: String,
    /// The day it happened, the last day of its year, or the day of the state.
    on: String,
    region: String,
    region_name: Option<String>,
    /// Empty = of none in particular.
    sector: String,
    value: Number,
    /// Since when it is known.
    known_on: String,
    /// The row that it takes the place of; empty = none.
    revises: String,
    /// `reported`, `published`, `derived`, `invented`.
    mark: &'static str,
    note: String,
    /// The record that tells it; `null` = a person recorded it.
    record: Option<String>,
    /// Word of that record's register.
    register: Option<String>,
}

/// The register that rows of a source come from; whatever else a record tells is an accident's.
fn register_of(app: &App, source: &str) -> String {
    let registers = app.registers.load();
    let from = |indicators: &Indicators| Some(indicators.source(source)?.from.as_ref()?.register.clone());
    let of_plans = registers.plans().find_map(|known| from(&known.indicators));
    of_plans.or_else(|| from(anlan_domain::indicator::built_in())).unwrap_or_else(|| plan::ACCIDENT.to_owned())
}

fn fact_dto(app: &App, fact: &Fact) -> FactDto {
    FactDto {
        id: fact.id.clone(),
        source: fact.source.clone(),
        on: fact.on.to_string(),
        region: fact.region.clone(),
        region_name: name_of(app, &fact.region),
        sector: fact.sector.clone(),
        value: Number(fact.value),
        known_on: fact.known_on.to_string(),
        revises: fact.revises.clone(),
        mark: fact.mark.as_str(),
        note: fact.note.clone(),
        register: plan::record_of(&fact.id).map(|_| register_of(app, &fact.source)),
        record: plan::record_of(&fact.id).map(|id| id.to_string()),
    }
}

/// That a number was counted from a register.
#[derive(Serialize, ToSchema)]
pub(crate) struct FigureCounted {
    /// Word of the source.
    source: String,
    register: String,
    register_name: String,
    register_name_en: String,
    /// Since when a record stands in the territory: from then on the register is the number.
    since: String,
    /// Of which day the number is.
    on: String,
    /// What the count does not know.
    note: String,
    /// The newest row that people recorded there: it is not in the number.
    beside: Option<FactDto>,
}

fn figure_counted(app: &App, counted: &FromWhere<'_>) -> FigureCounted {
    let register = counted.from.register.clone();
    let kind = app.registers.load().kind(&register).ok();
    FigureCounted {
        source: counted.source.to_owned(),
        register_name: kind.as_ref().map_or_else(|| register.clone(), |kind| kind.name.clone()),
        register_name_en: kind.as_ref().map_or_else(|| register.clone(), |kind| kind.name_en.clone()),
        register,
        since: counted.since.to_string(),
        on: counted.on.to_string(),
        note: counted.from.note.clone(),
        beside: counted.beside.map(|fact| fact_dto(app, fact)),
    }
}

/// How a figure was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlanFigure {
    numerator: Number,
    denominator: Number,
    factor: Number,
    /// To the places of the definition, 四舍五入.
    value: Number,
    /// First and last day of what it is of.
    from: String,
    to: String,
    is_small: bool,
    /// Rows above the line, the first 2,000.
    rows: Vec<FactDto>,
    n_rows: usize,
    /// Rows below the line; of a change, of the base.
    rows_below: Vec<FactDto>,
    n_rows_below: usize,
    /// Rows that these took the place of, or that were in it until they were judged to be of elsewhere.
    revised: Vec<FactDto>,
    /// Which of its numbers were counted from registers; the others are what people recorded.
    counted: Vec<FigureCounted>,
}

fn figure_dto(app: &App, figure: &Figure<'_>) -> PlanFigure {
    let rows = |rows: &[&Fact]| rows.iter().take(ROWS_MAX).map(|fact| fact_dto(app, fact)).collect();
    PlanFigure {
        numerator: Number(figure.numerator),
        denominator: Number(figure.denominator),
        factor: Number(figure.factor),
        value: Number(figure.shown),
        from: figure.of.0.to_string(),
        to: figure.of.1.to_string(),
        is_small: figure.is_small,
        rows: rows(&figure.rows),
        n_rows: figure.rows.len(),
        rows_below: rows(&figure.rows_below),
        n_rows_below: figure.rows_below.len(),
        revised: rows(&figure.revised),
        counted: figure.counted.iter().map(|counted| figure_counted(app, counted)).collect(),
    }
}

/// A point of the path in force.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlanPoint {
    on: String,
    value: Number,
    mark: &'static str,
}

/// What a territory below is to reach, and where it stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlanPart {
    region: String,
    region_name: Option<String>,
    target: Number,
    mark: &'static str,
    value: Option<Number>,
    /// Why there is no figure.
    reason: Option<PlanReason>,
}

/// A figure of a year.
#[derive(Serialize, ToSchema)]
pub(crate) struct YearFigure {
    year: i16,
    /// The last day of what it is of.
    on: String,
    value: Option<Number>,
    /// Of a target: what its path asks by the end of that year.
    asked: Option<Number>,
    is_small: bool,
    /// What is above and below the line.
    numerator: Option<Number>,
    denominator: Option<Number>,
    n_rows: usize,
    /// Some of it was counted from a register.
    counted: bool,
    reason: Option<PlanReason>,
}

/// A target down to the rows behind its figure.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlanTargetDetail {
    as_of: String,
    demonstration: bool,
    sees_whole: bool,
    may_manage: bool,
    may_decide: bool,
    target: PlanTarget,
    goal: PlanGoal,
    former: Vec<PlanFormer>,
    figure: Option<PlanFigure>,
    /// What a person found, where the state is by that.
    finding: Option<FactDto>,
    path: Vec<PlanPoint>,
    /// Parts of territories that the asker sees.
    parts: Vec<PlanPart>,
    /// Its figure in each year from the baseline's on.
    series: Vec<YearFigure>,
    indicator: Option<IndicatorDto>,
}

/// Rows of a source.
#[derive(Serialize, ToSchema)]
pub(crate) struct IndicatorTerm {
    source: String,
    /// Empty = of those asked for, or of all.
    sectors: Vec<String>,
    /// The number of its rows instead of their sum.
    count: bool,
}

impl From<&Term> for IndicatorTerm {
    fn from(term: &Term) -> Self {
        Self { source: term.source.clone(), sectors: term.sectors.clone(), count: term.count }
    }
}

/// How a figure is made.
#[derive(Serialize, ToSchema)]
#[schema(as = Indicator)]
pub(crate) struct IndicatorDto {
    id: String,
    name: String,
    name_en: String,
    version: u32,
    /// `ratio`, `share`, `count`, `sum`, `change`, `drop`.
    kind: &'static str,
    numerator: IndicatorTerm,
    denominator: Option<IndicatorTerm>,
    factor: Number,
    decimals: u32,
    /// `year`, `plan`, `state`.
    period: &'static str,
    unit: String,
    unit_zh: String,
    source: PlanSource,
}

impl From<&Indicator> for IndicatorDto {
    fn from(indicator: &Indicator) -> Self {
        Self {
            id: indicator.id.clone(),
            name: indicator.name.clone(),
            name_en: indicator.name_en.clone(),
            version: indicator.version,
            kind: match indicator.kind {
                Kind::Ratio => "ratio",
                Kind::Share => "share",
                Kind::Count => "count",
                Kind::Sum => "sum",
                Kind::Change => "change",
                Kind::Drop => "drop",
            },
            numerator: (&indicator.numerator).into(),
            denominator: indicator.denominator.as_ref().map(Into::into),
            factor: Number(indicator.factor),
            decimals: indicator.decimals,
            period: match indicator.period {
                Period::Year => "year",
                Period::Plan => "plan",
                Period::State => "state",
            },
            unit: indicator.unit.clone(),
            unit_zh: indicator.unit_zh.clone(),
            source: (&indicator.source).into(),
        }
    }
}

/// Something that is counted or measured.
#[derive(Serialize, ToSchema)]
pub(crate) struct FactSource {
    id: String,
    name: String,
    name_en: String,
    unit: String,
    /// `event`, `year`, `state`.
    keeps: &'static str,
    /// Word of the register whose records are counted where it stands; `null` = people record it.
    register: Option<String>,
    /// What that count does not know.
    register_note: Option<String>,
}

/// What a row is about.
#[derive(Serialize, ToSchema)]
pub(crate) struct FactSector {
    id: String,
    name: String,
    name_en: String,
}

/// Definitions of figures, and of what they are made of.
#[derive(Serialize, ToSchema)]
pub(crate) struct IndicatorList {
    indicators: Vec<IndicatorDto>,
    sources: Vec<FactSource>,
    /// By which rows are told apart.
    sectors: Vec<FactSector>,
    small_count: PlanSmallCount,
}

/// A figure that the document prints, beside the one reckoned.
#[derive(Serialize, ToSchema)]
pub(crate) struct PublishedFigure {
    indicator: String,
    name: String,
    name_en: String,
    unit: String,
    unit_zh: String,
    decimals: u32,
    year: i16,
    published: Number,
    value: Option<Number>,
    clause: String,
}

/// A drop that the document prints, beside that of the figures reckoned.
#[derive(Serialize, ToSchema)]
pub(crate) struct PublishedDrop {
    indicator: String,
    name: String,
    name_en: String,
    from: i16,
    to: i16,
    published: Number,
    drop_percent: Option<Number>,
    clause: String,
}

/// What the document prints of the years before it.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlanHistory {
    demonstration: bool,
    figures: Vec<PublishedFigure>,
    drops: Vec<PublishedDrop>,
    /// All come out as printed.
    same: bool,
}

pub(super) fn name_of(app: &App, code: &str) -> Option<String> {
    let code = anlan_model::RegionCode::new(code)?;
    app.registry.get().regions.get(&code).map(|division| division.name.clone())
}

/// Codes that a division had before.
fn codes_before(app: &App, code: &str) -> Vec<String> {
    let Some(code) = anlan_model::RegionCode::new(code) else { return Vec::new() };
    app.registry.get().regions.before(&code).iter().map(|code| code.as_str().to_owned()).collect()
}

fn row(app: &App, known: &anlan_app::pack::KnownPlan) -> PlanRow {
    let plan = &known.plan;
    PlanRow {
        id: plan.id.clone(),
        name: plan.name.clone(),
        name_en: plan.name_en.clone(),
        region: plan.region.clone(),
        region_name: name_of(app, &plan.region),
        start: plan.start.to_string(),
        end: plan.end.to_string(),
        pack: known.pack.clone(),
        source: (&plan.source).into(),
    }
}

pub(super) fn as_of(app: &App, query: &AsOfQuery) -> Result<Date, AppError> {
    let today = app.today();
    let day = query.as_of.as_deref().filter(|day| !day.is_empty()).map_or(Ok(today), |day| validate::day("as_of", day))?;
    // Nobody knows yet how things will stand.
    if day > today { Err(AppError::invalid("fact.future", "as_of")) } else { Ok(day) }
}

const fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Text => "text",
        Origin::Context => "context",
        Origin::PlanEnd => "plan_end",
        Origin::Assumed => "assumed",
    }
}

pub(super) fn target_dto(indicators: &Indicators, status: &TargetStatus<'_>, sees: bool) -> PlanTarget {
    let target = status.target;
    let indicator = target.indicator.as_ref().and_then(|id| indicators.get(id));
    PlanTarget {
        id: target.id.clone(),
        node: target.node.clone(),
        quote: target.quote.clone(),
        name: target.name.clone(),
        name_en: target.name_en.clone(),
        sector: target.sector.clone(),
        owner: target.owner.clone(),
        owner_from: origin(target.owner_from),
        direction: target.direction.as_str(),
        unit: target.unit.clone(),
        unit_zh: indicator.map(|indicator| indicator.unit_zh.clone()),
        indicator: target.indicator.clone(),
        decimals: indicator.map_or(0, |indicator| indicator.decimals),
        target: status.goal_value.map(Number),
        value: status.figure.as_ref().filter(|_| sees).map(|figure| Number(figure.shown)),
        deadline: status.goal.deadline.to_string(),
        deadline_from: origin(target.deadline_from),
        confidence: target.confidence.clone(),
        note: target.note.clone(),
        state: sees.then(|| status.state.as_str()),
        reason: sees.then(|| (&status.reason).into()),
        is_small: sees && status.figure.as_ref().is_some_and(|figure| figure.is_small),
        is_adjusted: !status.former.is_empty(),
        said_before: status
            .said_before
            .iter()
            .filter(|_| sees)
            .map(|(on, value)| PlanSaid { on: on.to_string(), value: Number(*value) })
            .collect(),
    }
}

fn small_count(indicators: &Indicators) -> PlanSmallCount {
    let small = indicators.small_count();
    PlanSmallCount { below: small.below, source: (&small.source).into() }
}

/// Lists plans.
#[utoipa::path(get, path = "/plans", tag = "plan", operation_id = "list_plans", responses((status = 200, body = PlanList)))]
pub(crate) async fn list(AppRef(app): AppRef, caller: Reads<Keyed>) -> Answer<PlanList> {
    let plans = plan::list(&app, &caller.scope)?;
    Ok(Json(PlanList { plans: plans.iter().map(|known| row(&app, known)).collect() }))
}

/// Where every target of a plan stands at the end of a day.
#[utoipa::path(get, path = "/plans/{id}", tag = "plan", operation_id = "get_plan", params(("id" = String, Path), AsOfQuery), responses((status = 200, body = PlanStatus)))]
pub(crate) async fn get(AppRef(app): AppRef, caller: Reads<Keyed>, id: PathId, Query(query): Query<AsOfQuery>) -> Answer<PlanStatus> {
    let day = as_of(&app, &query)?;
    let reckoning = plan::reckoning(&app, &caller.scope, &id.0).await?;
    let indicators = &reckoning.known.indicators;
    let statuses = reckoning.plan.status(indicators, &reckoning.facts, day);
    let sees = reckoning.sees_whole;
    let counts = if sees { PlanCounts::of(&statuses) } else { PlanCounts::default() };
    let shortfall = |shortfall: &Shortfall| match shortfall {
        Shortfall::Sum { target, parts, whole } => {
            PlanShortfall { target: target.clone(), region: None, region_name: None, parts: Number(*parts), whole: Number(*whole) }
        }
        Shortfall::Weaker { target, region, part, whole } => PlanShortfall {
            target: target.clone(),
            region: Some(region.clone()),
            region_name: name_of(&app, region),
            parts: Number(*part),
            whole: Number(*whole),
        },
    };
    let node = |node: &anlan_domain::plan::Node| PlanNode {
        id: node.id.clone(),
        parent: node.parent.clone(),
        kind: match node.kind {
            NodeKind::Chapter => "chapter",
            NodeKind::Task => "task",
            NodeKind::Project => "project",
        },
        title: node.title.clone(),
    };
    Ok(Json(PlanStatus {
        plan: row(&app, &reckoning.known),
        as_of: day.to_string(),
        demonstration: reckoning.is_demonstration,
        sees_whole: sees,
        may_manage: reckoning.may_manage,
        may_decide: reckoning.may_decide,
        unread: reckoning.unread.iter().filter(|_| sees).map(ToString::to_string).collect(),
        counts,
        nodes: reckoning.plan.nodes.iter().map(node).collect(),
        targets: statuses.iter().map(|status| target_dto(indicators, status, sees)).collect(),
        shortfalls: reckoning.plan.shortfalls(indicators, day).iter().filter(|_| sees).map(shortfall).collect(),
        small_count: small_count(indicators),
    }))
}

/// One target down to the rows behind its figure, what it asked before, and what was said before a revision.
#[utoipa::path(get, path = "/plans/{id}/targets/{target}", tag = "plan", operation_id = "get_plan_target", params(("id" = String, Path), ("target" = String, Path), AsOfQuery), responses((status = 200, body = PlanTargetDetail)))]
pub(crate) async fn target(AppRef(app): AppRef, caller: Caller, path: Path2, Query(query): Query<AsOfQuery>) -> Answer<PlanTargetDetail> {
    let (id, target): (String, String) = path.read()?;
    let day = as_of(&app, &query)?;
    let reckoning = plan::reckoning(&app, &caller.scope, &id).await?;
    let indicators = &reckoning.known.indicators;
    let target = reckoning.plan.target(&target).ok_or_else(AppError::not_found)?;
    let status = reckoning.plan.status_of(target, indicators, &reckoning.facts, day);
    let sees = reckoning.sees_whole;
    let former = |(goal, adjustment): &(Goal, &Adjustment)| PlanFormer {
        goal: goal.into(),
        decided_on: adjustment.decided_on.to_string(),
        by: adjustment.by.clone(),
        document: adjustment.document.clone(),
        reason: adjustment.reason.clone(),
        mark: adjustment.mark.as_str(),
    };
    let parts = reckoning.plan.part_figures(target, indicators, &reckoning.facts, day, &|code| codes_before(&app, code)).into_iter();
    let parts = parts.filter(|(part, _)| reckoning.sees(&part.region)).map(|(part, figure)| PlanPart {
        region_name: name_of(&app, &part.region),
        region: part.region.clone(),
        target: Number(part.value),
        mark: part.mark.as_str(),
        value: figure.as_ref().ok().map(|figure| Number(figure.shown)),
        reason: figure.as_ref().err().map(Into::into),
    });
    let indicator = target.indicator.as_ref().and_then(|id| indicators.get(id));
    let series = match indicator {
        Some(indicator) if sees => {
            let from = status.goal.baseline_year.min(reckoning.plan.start.year());
            let ask = Ask {
                region: reckoning.plan.region.clone(),
                region_before: Vec::new(),
                sectors: target.sectors.clone(),
                on: day,
                since: reckoning.plan.start,
                known_on: day,
                base_year: Some(status.goal.baseline_year),
            };
            let mut years = series(&reckoning, indicator, &ask, from, day);
            for year in &mut years {
                year.asked = reckoning.plan.asked_in(target, indicators, year.year, day).map(Number);
            }
            years
        }
        _ => Vec::new(),
    };
    Ok(Json(PlanTargetDetail {
        as_of: day.to_string(),
        demonstration: reckoning.is_demonstration,
        sees_whole: sees,
        may_manage: reckoning.may_manage,
        may_decide: reckoning.may_decide,
        goal: (&status.goal).into(),
        former: status.former.iter().filter(|_| sees).map(former).collect(),
        figure: status.figure.as_ref().filter(|_| sees).map(|figure| figure_dto(&app, figure)),
        finding: status.finding.filter(|_| sees).map(|fact| fact_dto(&app, fact)),
        path: reckoning
            .plan
            .path_points(target, day)
            .into_iter()
            .filter(|_| sees)
            .map(|point| PlanPoint { on: point.on.to_string(), value: Number(point.value), mark: point.mark.as_str() })
            .collect(),
        parts: parts.collect(),
        series,
        indicator: indicator.map(Into::into),
        target: target_dto(indicators, &status, sees),
    }))
}

/// The figure of each year from `from` to the day; of the last, as far as it is known.
fn series(reckoning: &Reckoning, indicator: &Indicator, ask: &Ask, from: i16, day: Date) -> Vec<YearFigure> {
    let last = if indicator.period == Period::Year { last_year_over(day) } else { day.year() };
    // Before the plan's first day nothing is counted from it. A century at most: a baseline year is a person's word.
    let from = if indicator.period == Period::Plan { from.max(ask.since.year()) } else { from };
    let years = from.max(last.saturating_sub(100))..=last;
    let figure = |year: i16| {
        let on = year_of(year).1.min(day);
        let figure = reckoning.known.indicators.evaluate(indicator, &reckoning.facts, &Ask { on, ..ask.clone() });
        YearFigure {
            year,
            on: on.to_string(),
            value: figure.as_ref().ok().map(|figure| Number(figure.shown)),
            asked: None,
            is_small: figure.as_ref().is_ok_and(|figure| figure.is_small),
            numerator: figure.as_ref().ok().map(|figure| Number(figure.numerator)),
            denominator: figure.as_ref().ok().map(|figure| Number(figure.denominator)),
            n_rows: figure.as_ref().map_or(0, |figure| figure.rows.len()),
            counted: figure.as_ref().is_ok_and(|figure| !figure.counted.is_empty()),
            reason: figure.as_ref().err().map(Into::into),
        }
    };
    years.map(figure).collect()
}

/// What a plan prints of the years before it, beside what is reckoned from facts.
#[utoipa::path(get, path = "/plans/{id}/history", tag = "plan", operation_id = "get_plan_history", params(("id" = String, Path)), responses((status = 200, body = PlanHistory), (status = 403, body = crate::problem::Problems)))]
pub(crate) async fn history(AppRef(app): AppRef, caller: Caller, id: PathId) -> Answer<PlanHistory> {
    let reckoning = plan::reckoning(&app, &caller.scope, &id.0).await?;
    if !reckoning.sees_whole {
        return Err(AppError::forbidden("scope.outside").into());
    }
    let (plan, indicators) = (&reckoning.plan, &reckoning.known.indicators);
    let history = plan.history(indicators, &reckoning.facts, app.today().max(plan.end));
    let mut answer =
        PlanHistory { demonstration: reckoning.is_demonstration, figures: Vec::new(), drops: Vec::new(), same: history.is_same() };
    for (printed, value) in history.figures {
        let Some(indicator) = indicators.get(&printed.indicator) else { continue };
        answer.figures.push(PublishedFigure {
            indicator: indicator.id.clone(),
            name: indicator.name.clone(),
            name_en: indicator.name_en.clone(),
            unit: indicator.unit.clone(),
            unit_zh: indicator.unit_zh.clone(),
            decimals: indicator.decimals,
            year: printed.year,
            published: Number(printed.value),
            value: value.map(Number),
            clause: printed.clause.clone(),
        });
    }
    for (printed, percent) in history.drops {
        let Some(indicator) = indicators.get(&printed.indicator) else { continue };
        answer.drops.push(PublishedDrop {
            indicator: indicator.id.clone(),
            name: indicator.name.clone(),
            name_en: indicator.name_en.clone(),
            from: printed.from,
            to: printed.to,
            published: Number(printed.percent),
            drop_percent: percent.map(Number),
            clause: printed.clause.clone(),
        });
    }
    Ok(Json(answer))
}

// ---- decisions -----------------------------------------------------------------------------------------------------------------------------

/// Something decided, or to be decided, beside the document.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlanDecision {
    id: String,
    /// `path`, `part`, `adjustment`, `covered`.
    kind: String,
    /// Id of the target, or word of the source.
    subject: String,
    /// As in a `plan_supplement.toml`.
    body: Value,
    /// `proposed`, `approved`, `refused`.
    state: &'static str,
    proposed_by: String,
    proposed_at: At,
    decided_by: Option<String>,
    decided_at: Option<At>,
    /// Why it was refused.
    opinion: String,
    /// The asker may approve or refuse it.
    may_decide: bool,
}

impl PlanDecision {
    fn of(row: DecisionRow, scope: &anlan_model::Scope, may_decide: bool) -> Self {
        Self {
            may_decide: may_decide && row.state == DecisionState::Proposed && row.proposed_by != scope.user,
            id: row.id,
            kind: row.kind,
            subject: row.subject,
            body: row.body,
            state: row.state.as_str(),
            proposed_by: row.proposed_by_name,
            proposed_at: row.proposed_at.into(),
            decided_by: row.decided_by_name,
            decided_at: row.decided_at.map(Into::into),
            opinion: row.opinion,
        }
    }
}

/// Decisions about a plan, in the order of being proposed.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlanDecisionList {
    decisions: Vec<PlanDecision>,
}

/// A decision that is proposed. Which members it has, its kind says.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DecisionBody {
    /// `path`: what a target asks by a day; `part`: what a territory is to reach; `adjustment`: a target changes; `covered`: every event of a source was recorded.
    kind: String,
    /// Id of the target; not of `covered`.
    target: Option<String>,
    /// Number as text, such as `0.22`; of `path`, `part` and perhaps `adjustment`.
    value: Option<String>,
    /// Of `path`: by which day.
    on: Option<String>,
    /// Of `part`: the territory.
    region: Option<String>,
    /// Of `adjustment` and perhaps `path`: in force from this day on.
    decided_on: Option<String>,
    /// Of `adjustment`: who approved it, by which document, and why.
    by: Option<String>,
    document: Option<String>,
    reason: Option<String>,
    /// Of `adjustment`: another cut in percent, baseline, its year, deadline.
    drop_percent: Option<String>,
    baseline: Option<String>,
    baseline_year: Option<i16>,
    deadline: Option<String>,
    /// Of `covered`: the source, first and last day.
    source: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

/// What is said of a proposal.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DecideBody {
    /// `false` refuses.
    approve: bool,
    /// Why; needed to refuse.
    #[serde(default)]
    opinion: String,
}

/// Lists decisions about a plan.
#[utoipa::path(get, path = "/plans/{id}/decisions", tag = "plan", operation_id = "list_plan_decisions", params(("id" = String, Path)), responses((status = 200, body = PlanDecisionList)))]
pub(crate) async fn decisions(AppRef(app): AppRef, caller: Caller, id: PathId) -> Answer<PlanDecisionList> {
    let may = plan::may_decide(&app, &caller.scope, &id.0)?;
    let all = plan::decisions(&app, &caller.scope, &id.0).await?;
    Ok(Json(PlanDecisionList { decisions: all.into_iter().map(|row| PlanDecision::of(row, &caller.scope, may)).collect() }))
}

/// Proposes a decision about a plan; somebody else approves it.
#[utoipa::path(post, path = "/plans/{id}/decisions", tag = "plan", operation_id = "propose_plan_decision", params(("id" = String, Path)), request_body = DecisionBody, responses((status = 201, body = PlanDecision), (status = 403, body = crate::problem::Problems)))]
pub(crate) async fn propose(
    AppRef(app): AppRef,
    caller: Caller,
    id: PathId,
    Body(body): Body<DecisionBody>,
) -> Result<(StatusCode, Json<PlanDecision>), Failure> {
    let year = body.baseline_year.map(Value::from);
    let text = [
        ("target", body.target),
        ("value", body.value),
        ("on", body.on),
        ("region", body.region),
        ("decided_on", body.decided_on),
        ("by", body.by),
        ("document", body.document),
        ("reason", body.reason),
        ("drop_percent", body.drop_percent),
        ("baseline", body.baseline),
        ("deadline", body.deadline),
        ("source", body.source),
        ("from", body.from),
        ("to", body.to),
    ];
    let members = text.into_iter().filter_map(|(field, text)| Some((field.to_owned(), Value::from(text.filter(|text| !text.is_empty())?))));
    let members: Map<String, Value> = members.chain(year.map(|year| ("baseline_year".to_owned(), year))).collect();
    let row = plan::propose(&app, &caller.scope, &id.0, &body.kind, members).await?;
    let may = plan::may_decide(&app, &caller.scope, &id.0)?;
    Ok((StatusCode::CREATED, Json(PlanDecision::of(row, &caller.scope, may))))
}

/// Approves or refuses what somebody else proposed.
#[utoipa::path(post, path = "/plans/{id}/decisions/{decision}", tag = "plan", operation_id = "decide_plan_decision", params(("id" = String, Path), ("decision" = String, Path)), request_body = DecideBody, responses((status = 200, body = PlanDecision), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn decide(AppRef(app): AppRef, caller: Caller, path: Path2, Body(body): Body<DecideBody>) -> Answer<PlanDecision> {
    let (id, decision): (String, String) = path.read()?;
    let row = plan::decide(&app, &caller.scope, &id, &decision, body.approve, &body.opinion).await?;
    Ok(Json(PlanDecision::of(row, &caller.scope, true)))
}

// ---- indicators ----------------------------------------------------------------------------------------------------------------------------

/// Which figures.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct SeriesQuery {
    /// Code of a division.
    region: String,
    /// Words of sectors, with commas between; left out = all. A definition that names its own has those, whatever is asked.
    sectors: Option<String>,
    /// First year; left out = ten years before the day.
    from: Option<i16>,
    /// A day, Beijing; left out = today. With what was known by then.
    as_of: Option<String>,
}

/// Of what a figure is asked.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct FigureQuery {
    /// Code of a division.
    region: String,
    /// Words of sectors, with commas between; left out = all.
    sectors: Option<String>,
    /// A day, Beijing; left out = today.
    as_of: Option<String>,
}

/// The figure of a division below.
#[derive(Serialize, ToSchema)]
pub(crate) struct RegionFigure {
    region: String,
    region_name: String,
    value: Option<Number>,
    is_small: bool,
    n_rows: usize,
    /// Some of it was counted from a register.
    counted: bool,
    reason: Option<PlanReason>,
}

/// Events of a month.
#[derive(Serialize, ToSchema)]
pub(crate) struct MonthFigure {
    /// `2026-03`.
    month: String,
    /// What is above the line; `null` = nobody vouches that the events of this month were recorded.
    n: Option<Number>,
}

/// A year or month of a control chart.
#[derive(Serialize, ToSchema)]
pub(crate) struct ControlPoint {
    /// `2026` or `2026-03`.
    of: String,
    value: f64,
    lower: f64,
    upper: f64,
    /// Beyond a limit: worth asking why.
    outside: bool,
    /// So few are to be expected that the limits say little.
    is_few: bool,
}

/// A control chart of counts.
#[derive(Serialize, ToSchema)]
pub(crate) struct ControlChart {
    /// `u`: counts by what they are of; `c`: counts of times of equal length.
    kind: &'static str,
    centre: f64,
    /// Standard deviations from the centre to a limit.
    width: f64,
    /// From fewer samples than this limits are a trial.
    least_samples: usize,
    is_trial: bool,
    points: Vec<ControlPoint>,
    source: PlanSource,
}

/// A target of the plan that asks something of the indicator.
#[derive(Serialize, ToSchema)]
pub(crate) struct SeriesTarget {
    plan: String,
    id: String,
    name: String,
    name_en: String,
    /// `<=`, `>=`, `increase`, `decreasing yearly`.
    direction: &'static str,
    value: Option<Number>,
    deadline: String,
}

/// Months of a series at most.
const MONTHS: i32 = 60;

/// A chart of samples, each with the word that it is of. A time without a number is none of the samples: a gap is not a zero.
fn control(indicators: &Indicators, kind: &'static str, factor: f64, samples: Vec<(String, Sample)>) -> Option<ControlChart> {
    let rule = indicators.control()?;
    let only: Vec<Sample> = samples.iter().map(|(_, sample)| *sample).collect();
    let chart = anlan_domain::control::chart(&only, rule, indicators.small_count().below)?;
    let points = samples.into_iter().zip(chart.points).map(|((of, _), point)| ControlPoint {
        of,
        value: point.value * factor,
        lower: point.lower * factor,
        upper: point.upper * factor,
        outside: point.is_outside,
        is_few: point.is_few,
    });
    Some(ControlChart {
        kind,
        centre: chart.centre * factor,
        width: rule.width,
        least_samples: rule.least_samples,
        is_trial: chart.is_trial,
        points: points.collect(),
        source: (&rule.source).into(),
    })
}

/// Events of the last months that are over by the day, the oldest first.
fn months(reckoning: &Reckoning, indicator: &Indicator, ask: &Ask, day: Date) -> Vec<MonthFigure> {
    let last = if day == day.last_of_month() { day.first_of_month() } else { day.first_of_month().saturating_sub(1.month()) };
    let months = (0..MONTHS).rev().map(|back| last.saturating_sub(back.months()));
    let of = |first: Date| {
        let n = reckoning.known.indicators.of_month(indicator, &reckoning.facts, ask, first);
        let month = first.strftime("%Y-%m").to_string();
        match n {
            Ok(None) => None,
            Ok(Some(n)) => Some(MonthFigure { month, n: Some(Number(n)) }),
            Err(_) => Some(MonthFigure { month, n: None }),
        }
    };
    // Before the first month of which anything is known there is nothing to see.
    months.filter_map(of).skip_while(|month| month.n.is_none()).collect()
}

/// Figures of an indicator by years, and of the last of them by the divisions below.
#[derive(Serialize, ToSchema)]
pub(crate) struct IndicatorSeries {
    indicator: IndicatorDto,
    region: String,
    region_name: Option<String>,
    as_of: String,
    demonstration: bool,
    series: Vec<YearFigure>,
    regions: Vec<RegionFigure>,
    /// Events by month, at most 60 months; empty where none are counted.
    months: Vec<MonthFigure>,
    /// Of years; `null` where the indicator counts no events by years, or fewer than two have a figure.
    control: Option<ControlChart>,
    /// Of months.
    control_months: Option<ControlChart>,
    /// What the plan asks of it, where the territory and the sectors are those of a target.
    targets: Vec<SeriesTarget>,
}

/// Lists the definitions of figures.
#[utoipa::path(get, path = "/indicators", tag = "plan", operation_id = "list_indicators", responses((status = 200, body = IndicatorList)))]
pub(crate) async fn indicators(AppRef(app): AppRef, caller: Reads<Keyed>) -> Answer<IndicatorList> {
    let indicators = plan::indicators(&app, &caller.scope)?;
    let source = |source: &anlan_domain::indicator::FactSource| FactSource {
        id: source.id.clone(),
        name: source.name.clone(),
        name_en: source.name_en.clone(),
        unit: source.unit.clone(),
        keeps: match source.keeps {
            Keeps::Event => "event",
            Keeps::Year => "year",
            Keeps::State => "state",
        },
        register: source.from.as_ref().map(|from| from.register.clone()),
        register_note: source.from.as_ref().map(|from| from.note.clone()),
    };
    Ok(Json(IndicatorList {
        indicators: indicators.iter().map(Into::into).collect(),
        sources: indicators.sources().map(source).collect(),
        sectors: indicators
            .sectors()
            .iter()
            .map(|sector| FactSector { id: sector.id.clone(), name: sector.name.clone(), name_en: sector.name_en.clone() })
            .collect(),
        small_count: small_count(indicators),
    }))
}

/// Figures of an indicator by years and by divisions.
#[utoipa::path(get, path = "/indicators/{id}", tag = "plan", operation_id = "get_indicator", params(("id" = String, Path), SeriesQuery), responses((status = 200, body = IndicatorSeries), (status = 403, body = crate::problem::Problems)))]
pub(crate) async fn indicator(
    AppRef(app): AppRef,
    caller: Reads<Keyed>,
    id: PathId,
    Query(query): Query<SeriesQuery>,
) -> Answer<IndicatorSeries> {
    let day = as_of(&app, &AsOfQuery { as_of: query.as_of })?;
    let region = validate::region_ever("region", &query.region, &app.registry.get().regions)?;
    let reckoning = plan::of_indicators(&app, &caller.scope, region.as_str(), day).await?;
    let indicator = reckoning.known.indicators.get(&id.0).ok_or_else(AppError::not_found)?;
    let sectors = sectors_of(&reckoning, query.sectors.as_deref())?;
    let from = query.from.unwrap_or_else(|| day.year().saturating_sub(10));
    let ask = Ask {
        region: region.as_str().to_owned(),
        region_before: codes_before(&app, region.as_str()),
        sectors,
        on: day,
        since: reckoning.plan.start,
        known_on: day,
        base_year: Some(reckoning.plan.start.year() - 1),
    };
    let series = series(&reckoning, indicator, &ask, from, day);
    let months = months(&reckoning, indicator, &ask, day);
    let definitions = &reckoning.known.indicators;
    let is_events = definitions.source(&indicator.numerator.source).is_some_and(|source| source.keeps == Keeps::Event);
    let kind = match indicator.kind {
        Kind::Ratio => Some("u"),
        Kind::Count | Kind::Sum => Some("c"),
        Kind::Share | Kind::Change | Kind::Drop => None,
    };
    // What adds up over a plan is no sample of a year.
    let kind = kind.filter(|_| is_events && indicator.period == Period::Year);
    let of_year = |year: &YearFigure| {
        let sample = Sample { count: year.numerator?.0, area: year.denominator?.0 };
        Some((year.year.to_string(), sample))
    };
    let factor = decimal_f64(indicator.factor);
    let by_years = kind.and_then(|kind| control(definitions, kind, factor, series.iter().filter_map(of_year).collect()));
    let of_month = |month: &MonthFigure| Some((month.month.clone(), Sample { count: month.n?.0, area: Decimal::ONE }));
    let by_months = control(definitions, "c", 1.0, months.iter().filter_map(of_month).collect());
    let is_of = |target: &&anlan_domain::plan::Target| {
        target.indicator.as_deref() == Some(indicator.id.as_str()) && target.sectors == ask.sectors && reckoning.plan.region == ask.region
    };
    let targets = reckoning.plan.targets.iter().filter(is_of).map(|target| {
        let status = reckoning.plan.status_of(target, definitions, &reckoning.facts, day);
        SeriesTarget {
            plan: reckoning.plan.id.clone(),
            id: target.id.clone(),
            name: target.name.clone(),
            name_en: target.name_en.clone(),
            direction: target.direction.as_str(),
            value: status.goal_value.map(Number),
            deadline: status.goal.deadline.to_string(),
        }
    });
    let targets = targets.collect();
    let known = app.registry.get();
    let regions = known.regions.directly_below(&region, day).map(|below| {
        let code = below.code.as_str();
        let ask = Ask { region: code.to_owned(), region_before: codes_before(&app, code), ..ask.clone() };
        let figure = reckoning.known.indicators.evaluate(indicator, &reckoning.facts, &ask);
        RegionFigure {
            region: ask.region,
            region_name: below.name.clone(),
            value: figure.as_ref().ok().map(|figure| Number(figure.shown)),
            is_small: figure.as_ref().is_ok_and(|figure| figure.is_small),
            n_rows: figure.as_ref().map_or(0, |figure| figure.rows.len()),
            counted: figure.as_ref().is_ok_and(|figure| !figure.counted.is_empty()),
            reason: figure.as_ref().err().map(Into::into),
        }
    });
    Ok(Json(IndicatorSeries {
        region: region.as_str().to_owned(),
        region_name: name_of(&app, region.as_str()),
        as_of: day.to_string(),
        demonstration: reckoning.is_demonstration,
        series,
        regions: regions.collect(),
        months,
        control: by_years,
        control_months: by_months,
        targets,
        indicator: indicator.into(),
    }))
}

fn decimal_f64(value: Decimal) -> f64 {
    to_json(value).as_f64().unwrap_or(1.0)
}

/// The figure of an indicator in a territory down to its rows.
#[derive(Serialize, ToSchema)]
pub(crate) struct IndicatorFigure {
    as_of: String,
    region: String,
    region_name: Option<String>,
    figure: Option<PlanFigure>,
    /// Why there is none.
    reason: Option<PlanReason>,
}

/// The figure of an indicator on a day, with the rows that it is made of.
#[utoipa::path(get, path = "/indicators/{id}/figure", tag = "plan", operation_id = "get_indicator_figure", params(("id" = String, Path), FigureQuery), responses((status = 200, body = IndicatorFigure), (status = 403, body = crate::problem::Problems)))]
pub(crate) async fn indicator_figure(
    AppRef(app): AppRef,
    caller: Caller,
    id: PathId,
    Query(query): Query<FigureQuery>,
) -> Answer<IndicatorFigure> {
    let day = as_of(&app, &AsOfQuery { as_of: query.as_of })?;
    let region = validate::region_ever("region", &query.region, &app.registry.get().regions)?;
    let reckoning = plan::of_indicators(&app, &caller.scope, region.as_str(), day).await?;
    let indicator = reckoning.known.indicators.get(&id.0).ok_or_else(AppError::not_found)?;
    let ask = Ask {
        region: region.as_str().to_owned(),
        region_before: codes_before(&app, region.as_str()),
        sectors: sectors_of(&reckoning, query.sectors.as_deref())?,
        on: day,
        since: reckoning.plan.start,
        known_on: day,
        base_year: Some(reckoning.plan.start.year() - 1),
    };
    let figure = reckoning.known.indicators.evaluate(indicator, &reckoning.facts, &ask);
    Ok(Json(IndicatorFigure {
        as_of: day.to_string(),
        region: ask.region.clone(),
        region_name: name_of(&app, &ask.region),
        figure: figure.as_ref().ok().map(|figure| figure_dto(&app, figure)),
        reason: figure.as_ref().err().map(Into::into),
    }))
}

/// Sectors as they are asked for.
fn sectors_of(reckoning: &Reckoning, words: Option<&str>) -> Result<Vec<String>, AppError> {
    let sectors: Vec<String> = words.unwrap_or_default().split(',').filter(|w| !w.is_empty()).map(str::to_owned).collect();
    match sectors.iter().find(|sector| !reckoning.known.indicators.has_sector(sector)) {
        Some(unknown) => Err(AppError::invalid("word.unknown", "sectors").with("word", unknown)),
        None => Ok(sectors),
    }
}

// ---- facts ---------------------------------------------------------------------------------------------------------------------------------

/// Which facts.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct FactsQuery {
    /// Word of a source.
    source: Option<String>,
    /// Code of a division: its rows and those below it.
    region: Option<String>,
    /// Calendar year.
    year: Option<i16>,
    cursor: Option<String>,
    /// 1 to 1,000.
    limit: Option<u32>,
}

/// A fact that a person recorded.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecordedFact {
    #[serde(flatten)]
    fact: FactDto,
    /// The row that takes its place; `null` = it holds.
    revised_by: Option<String>,
    recorded_by: String,
    recorded_at: At,
}

/// Facts that people recorded, the newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct FactList {
    facts: Vec<RecordedFact>,
    next: Option<String>,
}

/// A fact to be recorded.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FactBody {
    /// Word of a source.
    source: String,
    /// ISO day, not after today; of a year its last.
    on: String,
    /// Code of a division.
    region: String,
    #[serde(default)]
    sector: String,
    /// A decimal as text, at most 14 digits; of a finding `1` (it is so) or `0`.
    value: String,
    /// Since when it is known, not after today; left out = today. A revision is known since today.
    #[serde(default)]
    known_on: String,
    /// Id of the row that it takes the place of.
    #[serde(default)]
    revises: String,
    /// Where the number stands; needed of a finding.
    #[serde(default)]
    note: String,
}

/// Facts to be recorded, all or none.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FactsBody {
    /// 1 to 1,000.
    facts: Vec<FactBody>,
}

/// Facts as they were recorded.
#[derive(Serialize, ToSchema)]
pub(crate) struct FactsRecorded {
    facts: Vec<FactDto>,
}

/// Lists facts that people recorded.
#[utoipa::path(get, path = "/facts", tag = "plan", operation_id = "list_facts", params(FactsQuery), responses((status = 200, body = FactList)))]
pub(crate) async fn facts(AppRef(app): AppRef, caller: Caller, Query(query): Query<FactsQuery>) -> Answer<FactList> {
    let regions = &app.registry.get().regions;
    let region =
        query.region.as_deref().filter(|code| !code.is_empty()).map(|code| validate::region_ever("region", code, regions)).transpose()?;
    let filter = FactFilter { source: query.source.filter(|word| !word.is_empty()), region, year: query.year };
    let page = plan::facts(&app, &caller.scope, &filter, &validate::paging(query.cursor, query.limit)?).await?;
    let fact = |row: FactRow| RecordedFact {
        fact: fact_dto(&app, &row.fact),
        revised_by: row.revised_by,
        recorded_by: row.recorded_by,
        recorded_at: row.recorded_at.into(),
    };
    Ok(Json(FactList { facts: page.items.into_iter().map(fact).collect(), next: page.next }))
}

/// Records facts. A fact is never changed: another revises it, and both stay to be seen.
#[utoipa::path(post, path = "/facts", tag = "plan", operation_id = "record_facts", request_body = FactsBody, responses((status = 201, body = FactsRecorded), (status = 403, body = crate::problem::Problems)))]
pub(crate) async fn record(
    AppRef(app): AppRef,
    caller: Caller,
    Body(body): Body<FactsBody>,
) -> Result<(StatusCode, Json<FactsRecorded>), Failure> {
    let new = body.facts.into_iter().map(|fact| NewFact {
        source: fact.source,
        on: fact.on,
        region: fact.region,
        sector: fact.sector,
        value: fact.value,
        known_on: fact.known_on,
        revises: fact.revises,
        note: fact.note,
    });
    let recorded = plan::record_facts(&app, &caller.scope, new.collect()).await?;
    Ok((StatusCode::CREATED, Json(FactsRecorded { facts: recorded.iter().map(|fact| fact_dto(&app, fact)).collect() })))
}
