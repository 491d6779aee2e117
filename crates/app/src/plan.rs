//! Plans (规划) in the product: where each target stands on a day, from facts that people recorded and records tell, and what is decided beside the document.
//!
//! A plan is a pack's document; what is reckoned and how is said in `domain::{indicator, plan}`. The rows of the whole territory are read once and kept
//! until one changes. Whoever may see a plan's whole territory sees how it stands; who sees a part of it sees that part. Facts are recorded by
//! regulators and never changed; decisions are proposed by one person and approved by another. Start at [`reckoning`].

use std::sync::Arc;

use anlan_domain::accident::{self, Harm, Nature, Report};
use anlan_domain::decimal;
use anlan_domain::indicator::{self, Fact, Facts, Indicators, Mark};
use anlan_domain::pack::PackError;
use anlan_domain::plan::{FINDING, Plan, Supplement};
use anlan_model::{Clock as _, OrderId, Permission, RecordId, RegionCode, Scope};
pub use anlan_store::{DecisionRow, DecisionState, FactFilter, FactRow};
use anlan_store::{FactError, NewDecision};
use serde_json::{Map, Value as Json, json};
use tracing::warn;

use crate::App;
use crate::error::{AppError, Kind as Refusal};
use crate::pack::KnownPlan;
use crate::validate::{self, Page, Paging};

/// Facts of one request.
pub const FACTS_MAX: usize = 1_000;
/// The register that accidents stand in.
const ACCIDENT: &str = "accident";
/// What of a record makes its fact's id.
const OF_RECORD: &str = "record-";

/// What every plan is reckoned from, as last read.
#[derive(Default)]
pub struct Plans(tokio::sync::Mutex<Option<(Version, Arc<Vec<Fact>>)>>);

/// Tells whether anything has changed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    facts: (i64, i64),
    accidents: (i64, i64),
}

/// A plan with everything that it is reckoned from.
pub struct Reckoning {
    /// The document.
    pub known: KnownPlan,
    /// With what was decided beside it.
    pub plan: Plan,
    /// The rows.
    pub facts: Facts,
    /// Some of it is made up.
    pub is_demonstration: bool,
    /// The asker may see how the whole stands.
    pub sees_whole: bool,
    /// What the asker may do about it.
    pub may_manage: bool,
    /// And decide.
    pub may_decide: bool,
    scope: Scope,
}

impl Reckoning {
    /// Whether the asker may see figures of this territory.
    pub fn sees(&self, region: &str) -> bool {
        self.scope.holds(None, RegionCode::new(region).as_ref(), None)
    }
}

/// Which record a fact is told by, if a record tells it.
pub fn record_of(fact: &str) -> Option<RecordId> {
    let rest = fact.strip_prefix(OF_RECORD)?;
    Some(RecordId::new(rest.split('-').next()?.parse().ok()?))
}

/// The plans of packs that are on.
///
/// # Errors
/// No permission to view.
pub fn list(app: &App, scope: &Scope) -> Result<Vec<KnownPlan>, AppError> {
    scope.with(Permission::View)?;
    Ok(app.registers.load().plans().cloned().collect())
}

/// A plan and what it is reckoned from.
///
/// # Errors
/// No permission to view, no such plan, the store's.
pub async fn reckoning(app: &App, scope: &Scope, plan: &str) -> Result<Reckoning, AppError> {
    let view = scope.with(Permission::View)?;
    let known = known(app, plan)?;
    let decisions = app.store.plan_decisions(plan).await?;
    let approved = decisions.iter().filter(|decision| decision.state == DecisionState::Approved);
    let (mut plan, mut facts) = (known.plan.as_ref().clone(), rows(app, &known.indicators).await?);
    let mut is_demonstration = facts.iter().any(|fact| fact.mark == Mark::Invented);
    for decision in approved {
        // What was approved fitted then; under another release of the pack it may not, and the document goes on without it.
        match supplement(&decision.kind, &decision.body) {
            Ok(supplement) => {
                is_demonstration |= supplement.has_invented();
                if let Err(wrong) = plan.join(&supplement, &mut facts, &known.indicators) {
                    warn!(decision = decision.id, "the decision {} about {} is left out: {wrong}", decision.id, known.plan.id);
                }
            }
            Err(wrong) => warn!(decision = decision.id, "the decision {} about {} cannot be read: {wrong}", decision.id, known.plan.id),
        }
    }
    let region = RegionCode::new(&known.plan.region);
    let may = |permission| scope.with(permission).is_ok_and(|scope| scope.holds(None, region.as_ref(), None));
    Ok(Reckoning {
        sees_whole: view.holds(None, region.as_ref(), None),
        may_manage: may(Permission::ManagePlan),
        may_decide: may(Permission::DecidePlan),
        known,
        plan,
        facts,
        is_demonstration,
        scope: view,
    })
}

/// The definitions of figures that people may ask for.
///
/// # Errors
/// No permission to view.
pub fn indicators(_: &App, scope: &Scope) -> Result<&'static Indicators, AppError> {
    scope.with(Permission::View)?;
    Ok(indicator::built_in())
}

/// What figures of a territory are reckoned from: under the plan that holds it, since figures may be of a plan's time.
///
/// # Errors
/// No permission to view that territory, no plan that holds it, the store's.
pub async fn of_indicators(app: &App, scope: &Scope, region: &str) -> Result<Reckoning, AppError> {
    let plans = list(app, scope)?;
    let plan =
        plans.iter().find(|known| region.starts_with(&known.plan.region)).ok_or_else(|| AppError::invalid("plan.elsewhere", "region"))?;
    let reckoning = reckoning(app, scope, &plan.plan.id).await?;
    if reckoning.sees(region) { Ok(reckoning) } else { Err(AppError::forbidden("scope.outside").on("region")) }
}

/// Whether the asker may approve what is proposed about a plan.
///
/// # Errors
/// No such plan.
pub fn may_decide(app: &App, scope: &Scope, plan: &str) -> Result<bool, AppError> {
    let region = RegionCode::new(&known(app, plan)?.plan.region);
    Ok(scope.with(Permission::DecidePlan).is_ok_and(|scope| scope.holds(None, region.as_ref(), None)))
}

fn new_id(app: &App) -> String {
    OrderId::new(crate::order::new_id(app.clock.now())).to_string()
}

fn known(app: &App, plan: &str) -> Result<KnownPlan, AppError> {
    app.registers.load().plan(plan).cloned().ok_or_else(|| AppError::new(Refusal::NotFound, "plan.unknown"))
}

async fn rows(app: &App, indicators: &Indicators) -> Result<Facts, AppError> {
    let version = Version { facts: app.store.facts_end().await?, accidents: app.store.records_end(ACCIDENT).await? };
    let mut kept = app.plans.0.lock().await;
    let all = match &*kept {
        Some((of, all)) if *of == version => all.clone(),
        _ => {
            let mut all: Vec<Fact> = app.store.all_facts().await?.into_iter().map(|row| row.fact).collect();
            for (id, region, body) in app.store.records_whole(ACCIDENT).await? {
                all.extend(of_accident(id, &region, &body, app.settings.demo));
            }
            let all = Arc::new(all);
            *kept = Some((version, all.clone()));
            all
        }
    };
    drop(kept);
    let mut facts = Facts::default();
    for fact in all.iter() {
        // A row of a source that these definitions do not know says nothing to them.
        let _ = facts.add(fact.clone(), indicators);
    }
    Ok(facts)
}

/// The facts that the record of an accident tells: the deaths that count, and each time that number changed.
fn of_accident(id: RecordId, region: &str, body: &Json, is_demo: bool) -> Vec<Fact> {
    let fields = &body["fields"];
    let text = |field: &str| fields[field].as_str().unwrap_or_default();
    let Some(happened_on) = text("happened_at").get(..10).and_then(|day| day.parse().ok()) else { return Vec::new() };
    let nature = match text("nature") {
        "road" => Nature::Road,
        "fire" => Nature::Fire,
        _ => Nature::General,
    };
    let number = |row: &Json, column: &str| row[column].as_f64().filter(|n| *n >= 0.0).map_or(0, |n| n as u32);
    let reports: Vec<Report> = fields["toll"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|row| {
            let day = |column: &str| row[column].as_str().and_then(|day| day.get(..10)?.parse().ok());
            let told_on = day("told_on")?;
            let harm =
                Harm { deaths: number(row, "deaths"), serious_injuries: number(row, "serious_injuries"), direct_loss_wan_yuan: None };
            Some(Report { on: day("on").unwrap_or(told_on), told_on: Some(told_on), harm })
        })
        .collect();
    let Ok(steps) = accident::built_in().trace(happened_on, nature, &reports) else { return Vec::new() };
    let mark = if is_demo { Mark::Invented } else { Mark::Reported };
    indicator::of_accident(&format!("{OF_RECORD}{id}"), happened_on, region, text("sector"), mark, &steps)
}

// ---- facts ---------------------------------------------------------------------------------------------------------------------------------

/// A fact to be recorded.
#[derive(Clone, Debug, Default)]
pub struct NewFact {
    /// Word of the source.
    pub source: String,
    /// ISO day: of an event, of a state, or the last day of a year.
    pub on: String,
    /// Code of the division.
    pub region: String,
    /// Word of the sector; empty = of none in particular.
    pub sector: String,
    /// A decimal as text.
    pub value: String,
    /// Since when it is known; empty = today.
    pub known_on: String,
    /// Id of the row that it takes the place of; empty = none.
    pub revises: String,
    /// Where the number stands, or by what a finding was made.
    pub note: String,
}

/// A page of facts that people recorded, the newest first.
///
/// # Errors
/// No permission to view, a foreign cursor, the store's.
pub async fn facts(app: &App, scope: &Scope, filter: &FactFilter, paging: &Paging) -> Result<Page<FactRow>, AppError> {
    Ok(app.store.facts(&scope.with(Permission::View)?, filter, paging).await?)
}

/// Records facts, all or none; gives them as they were recorded.
///
/// # Errors
/// No permission, a field that cannot be meant, a row that does not fit those that are there: with the place and the field.
pub async fn record(app: &App, scope: &Scope, new: Vec<NewFact>) -> Result<Vec<Fact>, AppError> {
    let scope = scope.with(Permission::ManagePlan)?;
    if new.is_empty() || new.len() > FACTS_MAX {
        return Err(AppError::invalid("fact.count", "facts").with("max", FACTS_MAX));
    }
    let today = app.today();
    let facts = new.iter().enumerate().map(|(place, new)| read(app, place, new, today)).collect::<Result<Vec<_>, _>>()?;
    app.store.record_facts(&scope, &facts, &definitions(app, &facts), app.clock.now()).await.map_err(unfit)?;
    Ok(facts)
}

/// Of those who know every source of these rows, the built-in definitions first.
fn definitions(app: &App, facts: &[Fact]) -> Arc<Indicators> {
    let registers = app.registers.load();
    let knows = |indicators: &&Arc<Indicators>| facts.iter().all(|fact| indicators.source(&fact.source).is_some());
    let of_plans = registers.plans().map(|known| &known.indicators).find(knows).cloned();
    of_plans.unwrap_or_else(|| Arc::new(indicator::built_in().clone()))
}

fn read(app: &App, place: usize, new: &NewFact, today: jiff::civil::Date) -> Result<Fact, AppError> {
    let field = |name: &str| format!("facts[{place}].{name}");
    let source = validate::word(&field("source"), &new.source, false)?;
    let on = validate::day(&field("on"), &new.on)?;
    let known_on = if new.known_on.is_empty() { today } else { validate::day(&field("known_on"), &new.known_on)? };
    if on > today || known_on > today {
        return Err(AppError::invalid("fact.future", &field(if on > today { "on" } else { "known_on" })));
    }
    let region = validate::region_ever(&field("region"), &new.region, &app.registry.get().regions)?;
    let value = decimal::parse(&new.value, decimal::FACT_DIGITS_MAX);
    let value = value.ok_or_else(|| AppError::invalid("fact.value", &field("value")).with("digits", decimal::FACT_DIGITS_MAX))?;
    let is_finding = source == FINDING;
    if is_finding && ![decimal::Decimal::ZERO, decimal::Decimal::ONE].contains(&value) {
        return Err(AppError::invalid("fact.finding", &field("value")));
    }
    Ok(Fact {
        id: new_id(app),
        source,
        on,
        region: region.as_str().to_owned(),
        sector: validate::word(&field("sector"), &new.sector, true)?,
        value,
        known_on,
        revises: validate::optional(&field("revises"), &new.revises)?,
        mark: Mark::Reported,
        note: validate::note(&field("note"), &new.note, is_finding)?,
    })
}

fn unfit(error: FactError) -> AppError {
    match error {
        FactError::Store(error) => error.into(),
        FactError::Outside(place) => AppError::forbidden("scope.outside").on(&format!("facts[{place}].region")),
        FactError::Unfit(place, wrong) => {
            let (field, _) = field_of(&wrong);
            let code = match field {
                "source" => "fact.source",
                "known_on" => "fact.known_on",
                "on" => "fact.year_end",
                "revises" => "fact.revises",
                "sector" => "word.malformed",
                _ => "fact.value",
            };
            AppError::invalid(code, &format!("facts[{place}].{field}")).with("digits", decimal::FACT_DIGITS_MAX)
        }
    }
}

fn field_of(error: &PackError) -> (&'static str, String) {
    match error {
        PackError::Row { field, reason, .. } => (field, reason.clone()),
        PackError::Toml { message, .. } => ("", message.clone()),
    }
}

// ---- decisions -----------------------------------------------------------------------------------------------------------------------------

/// What may be decided beside the document of a plan.
pub const DECISIONS: [&str; 4] = ["path", "part", "adjustment", "covered"];

fn supplement(kind: &str, body: &Json) -> Result<Supplement, serde_json::Error> {
    serde_json::from_value(json!({ kind: [body] }))
}

/// Decisions about a plan, in the order of being proposed.
///
/// # Errors
/// No permission to view, no such plan, the store's.
pub async fn decisions(app: &App, scope: &Scope, plan: &str) -> Result<Vec<DecisionRow>, AppError> {
    let view = scope.with(Permission::View)?;
    let known = known(app, plan)?;
    let mut all = app.store.plan_decisions(plan).await?;
    // A part is its own territory's; everything else is of the whole.
    all.retain(|decision| {
        let region = decision.body["region"].as_str().unwrap_or(&known.plan.region);
        view.holds(None, RegionCode::new(region).as_ref(), None)
    });
    Ok(all)
}

/// Proposes a decision: `body` as in a `plan_supplement.toml`, without its mark. Somebody else approves it.
///
/// # Errors
/// No permission over the plan's territory, something that does not fit the plan and what was decided already.
pub async fn propose(app: &App, scope: &Scope, plan: &str, kind: &str, body: Map<String, Json>) -> Result<DecisionRow, AppError> {
    let kind = DECISIONS.into_iter().find(|known| *known == kind);
    let kind = kind.ok_or_else(|| AppError::invalid("word.unknown", "kind"))?;
    let reckoning = reckoning(app, scope, plan).await?;
    must_hold(&scope.with(Permission::ManagePlan)?, &reckoning)?;
    let mut body = Json::Object(body);
    body["mark"] = json!(Mark::Reported);
    fits(reckoning, kind, &body)?;
    let known = known(app, plan)?;
    let subject = body[if kind == "covered" { "source" } else { "target" }].as_str().unwrap_or_default().to_owned();
    let id = new_id(app);
    let new = NewDecision { id: id.clone(), plan: plan.to_owned(), kind, subject, body, region: RegionCode::new(&known.plan.region) };
    app.store.propose_decisions(scope, &[new], false, app.clock.now()).await?;
    let all = app.store.plan_decisions(plan).await?;
    all.into_iter().find(|decision| decision.id == id).ok_or_else(AppError::not_found)
}

/// Approves or refuses what somebody else proposed.
///
/// # Errors
/// No permission over the plan's territory, by the proposer, decided already, what no longer fits, refused without an opinion.
pub async fn decide(app: &App, scope: &Scope, plan: &str, id: &str, approve: bool, opinion: &str) -> Result<DecisionRow, AppError> {
    let opinion = validate::note("opinion", opinion, !approve)?;
    let reckoning = reckoning(app, scope, plan).await?;
    let decide = scope.with(Permission::DecidePlan)?;
    must_hold(&decide, &reckoning)?;
    let find = |all: Vec<DecisionRow>| all.into_iter().find(|decision| decision.id == id).ok_or_else(AppError::not_found);
    let row = find(app.store.plan_decisions(plan).await?)?;
    if row.state != DecisionState::Proposed {
        return Err(AppError::conflict("decision.decided"));
    }
    if row.proposed_by == scope.user {
        return Err(AppError::conflict("decision.own"));
    }
    let kind = DECISIONS.into_iter().find(|known| *known == row.kind).ok_or_else(AppError::not_found)?;
    let region = RegionCode::new(&reckoning.known.plan.region);
    if approve {
        fits(reckoning, kind, &row.body)?;
    }
    let new = NewDecision { id: row.id, plan: row.plan, kind, subject: row.subject, body: row.body, region };
    app.store.decide_plan(&decide, &new, approve, &opinion, app.clock.now()).await?;
    find(app.store.plan_decisions(plan).await?)
}

fn must_hold(scope: &Scope, reckoning: &Reckoning) -> Result<(), AppError> {
    let region = RegionCode::new(&reckoning.known.plan.region);
    if scope.holds(None, region.as_ref(), None) { Ok(()) } else { Err(AppError::forbidden("scope.outside")) }
}

/// That a decision fits the plan as it stands.
fn fits(mut reckoning: Reckoning, kind: &str, body: &Json) -> Result<(), AppError> {
    let supplement = supplement(kind, body).map_err(|e| AppError::invalid("decision.malformed", "").with("reason", e))?;
    let joined = reckoning.plan.join(&supplement, &mut reckoning.facts, &reckoning.known.indicators);
    joined.map_err(|wrong| {
        let (field, _) = field_of(&wrong);
        let code = match field {
            "target" => "decision.target",
            "region" => "decision.region",
            "by" => "decision.by",
            "decided_on" => "decision.decided_on",
            "on" => "decision.on",
            "source" => "fact.source",
            "to" => "decision.to",
            "drop_percent" => "decision.drop_percent",
            _ => "decision.value",
        };
        AppError::invalid(code, field)
    })
}

// ---- demonstration -------------------------------------------------------------------------------------------------------------------------

/// Records the invented facts and decisions of a demonstration, once.
///
/// # Errors
/// The store's; a pack that is not sound is a fault of the build.
pub async fn demonstrate(app: &App, plan: &str, facts: &str, supplement: &str) -> Result<(), AppError> {
    let broken = |e: PackError| AppError { source: Some(e.into()), ..AppError::new(Refusal::Internal, "internal") };
    let known = known(app, plan)?;
    if app.store.facts_end().await?.0 > 0 {
        return Ok(());
    }
    let facts: Vec<Fact> = Facts::parse(facts, &known.indicators).map_err(broken)?.iter().cloned().collect();
    let node = Scope::node();
    app.store.record_facts(&node, &facts, &known.indicators, app.clock.now()).await.map_err(unfit)?;
    let rows: toml::Table =
        toml::from_str(supplement).map_err(|e| AppError { source: Some(e.into()), ..AppError::new(Refusal::Internal, "internal") })?;
    let mut decisions = Vec::new();
    for (kind, rows) in rows {
        let Some(kind) = DECISIONS.into_iter().find(|known| *known == kind) else { continue };
        for body in serde_json::to_value(rows).unwrap_or_default().as_array().into_iter().flatten() {
            decisions.push(NewDecision {
                id: new_id(app),
                plan: plan.to_owned(),
                kind,
                subject: body[if kind == "covered" { "source" } else { "target" }].as_str().unwrap_or_default().to_owned(),
                body: body.clone(),
                region: RegionCode::new(&known.plan.region),
            });
        }
    }
    Ok(app.store.propose_decisions(&node, &decisions, true, app.clock.now()).await?)
}
