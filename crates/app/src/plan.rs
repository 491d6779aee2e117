//! Plans (规划) in the product: where each target stands on a day, from facts that people recorded and records tell, and what is decided beside the document.
//!
//! A plan is a pack's document; what is reckoned and how is said in `domain::{indicator, plan}`. The rows of the whole territory are read once and kept
//! until one changes. Whoever may see a plan's whole territory sees how it stands; who sees a part of it sees that part. Facts are recorded by
//! regulators and never changed; what a source says it counts of a register is counted of its records, as they were on the day; decisions are proposed by one person and approved by another. Start at [`reckoning`].

use std::collections::BTreeMap;
use std::sync::Arc;

use anlan_domain::decimal;
use anlan_domain::indicator::{self, Counted, CountedRow, Fact, Facts, FromRegister, Indicators, Mark, Per};
use anlan_domain::pack::PackError;
use anlan_domain::plan::{FINDING, Plan, Supplement};
use anlan_domain::register::accident;
use anlan_model::{Clock as _, EnterpriseId, OrderId, Permission, RecordId, RegionCode, Scope};
pub use anlan_store::{DecisionRow, DecisionState, FactFilter, FactRow};
use anlan_store::{FactError, NewDecision, RecordFilter};
use jiff::civil::Date;
use serde_json::{Map, Value as Json, json};
use tracing::warn;

use crate::App;
use crate::error::{AppError, Kind as Refusal};
use crate::pack::KnownPlan;
use crate::record;
use crate::validate::{self, Page, Paging};

/// Facts of one request.
pub const FACTS_MAX: usize = 1_000;
/// The register that accidents stand in.
pub const ACCIDENT: &str = "accident";
/// What of a record makes its fact's id.
const OF_RECORD: &str = "record-";
/// Proposals about a plan that nobody has decided yet.
const OPEN_MAX: usize = 500;

/// What every plan is reckoned from, as last read.
#[derive(Default)]
pub struct Plans {
    kept: tokio::sync::Mutex<Option<(Version, Arc<Told>)>>,
    /// What is counted of registers, by source: read again when a record of its register changes.
    counted: tokio::sync::Mutex<BTreeMap<(String, FromRegister), Kept>>,
    /// Sources whose register does not have what they count, as far as that was said.
    unfit: std::sync::Mutex<std::collections::BTreeSet<String>>,
    /// One decision at a time: each is held against those before it.
    deciding: tokio::sync::Mutex<()>,
}

/// As of a state of the register, what it tells.
type Kept = ([i64; 4], Arc<Counted>);

/// Facts, and records of accidents that tell none.
type Told = (Vec<Fact>, Vec<RecordId>);

/// Tells whether anything has changed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    facts: (i64, i64),
    accidents: [i64; 4],
}

/// A plan with everything that it is reckoned from.
pub struct Reckoning {
    /// The document.
    pub known: KnownPlan,
    /// With what was decided beside it.
    pub plan: Plan,
    /// The rows.
    pub facts: Facts,
    /// Records of accidents that do not say how many died: no figure has them.
    pub unread: Vec<RecordId>,
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
    let mut plan = known.plan.as_ref().clone();
    let (mut facts, unread) = rows(app, &known.indicators).await?;
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
        unread,
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
pub async fn of_indicators(app: &App, scope: &Scope, region: &str, day: Date) -> Result<Reckoning, AppError> {
    let plans = list(app, scope)?;
    let holds = plans.iter().filter(|known| region.starts_with(&known.plan.region));
    // Of the nearest territory, and of that day; else the newest.
    let rank = |known: &&KnownPlan| (known.plan.region.len(), (known.plan.start..=known.plan.end).contains(&day), known.plan.start);
    let plan = holds.max_by_key(rank).ok_or_else(|| AppError::invalid("plan.elsewhere", "region"))?;
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

/// Facts with the accidents that could not be read.
async fn rows(app: &App, indicators: &Indicators) -> Result<(Facts, Vec<RecordId>), AppError> {
    let version = Version { facts: app.store.facts_end().await?, accidents: app.store.records_end(ACCIDENT).await? };
    let mut kept = app.plans.kept.lock().await;
    let all = match &*kept {
        Some((of, all)) if *of == version => all.clone(),
        _ => {
            let facts = app.store.all_facts().await?.into_iter().map(|row| row.fact);
            let (of_accidents, unread) = accidents(app).await?;
            let all = Arc::new((facts.chain(of_accidents).collect(), unread));
            *kept = Some((version, all.clone()));
            all
        }
    };
    drop(kept);
    let mut facts = Facts::default();
    for fact in &all.0 {
        // A row of a source that these definitions do not know says nothing to them.
        let _ = facts.add(fact.clone(), indicators);
    }
    for counted in counted(app, indicators).await? {
        facts.count(counted);
    }
    Ok((facts, all.1.clone()))
}

/// What registers tell of the sources that count them, copies of nodes below among the records. Registers that are not on, or do not have what is
/// counted, tell nothing, and what people recorded is the number.
async fn counted(app: &App, indicators: &Indicators) -> Result<Vec<Arc<Counted>>, AppError> {
    let registers = app.registers.load();
    let asked = indicators.sources().filter_map(|source| Some((source, source.from.as_ref()?)));
    let mut by_kind: BTreeMap<String, Vec<(String, &FromRegister)>> = BTreeMap::new();
    for (source, from) in asked {
        let Ok(kind) = registers.kind(&from.register) else { continue };
        match kind.cannot_count(from) {
            None => by_kind.entry(from.register.clone()).or_default().push((source.id.clone(), from)),
            Some(why) => {
                // Said once: figures are asked for all day.
                if app.plans.unfit.lock().is_ok_and(|mut said| said.insert(source.id.clone())) {
                    warn!(source = source.id, "the source {} is not counted of its register: {why}", source.id);
                }
            }
        }
    }
    let kinds: Vec<String> = by_kind.keys().cloned().collect();
    let ends = app.store.records_ends(&kinds).await?;
    let mut kept = app.plans.counted.lock().await;
    let mut told = Vec::new();
    for (kind, sources) in by_kind {
        // Without a record it does not stand.
        let Some(end) = ends.get(&kind).copied() else { continue };
        let is_kept =
            |(source, from): &(String, &FromRegister)| kept.get(&(source.clone(), (*from).clone())).is_some_and(|(of, _)| *of == end);
        if !sources.iter().all(is_kept) {
            // One reading of the register for all that count it.
            for (source, counted) in count_of(app, &kind, &sources).await? {
                kept.insert((source, counted.from.clone()), (end, Arc::new(counted)));
            }
        }
        for (source, from) in sources {
            if let Some((_, counted)) = kept.get(&(source.clone(), from.clone())) {
                told.push(counted.clone());
            }
        }
    }
    Ok(told)
}

async fn count_of(app: &App, kind: &str, sources: &[(String, &FromRegister)]) -> Result<BTreeMap<String, Counted>, AppError> {
    let kind = app.registers.load().kind(kind)?;
    let filter = record::of_kind(&kind, &RecordFilter::default());
    let mark = if app.settings.demo { Mark::Invented } else { Mark::Reported };
    let empty = |(source, from): &(String, &FromRegister)| {
        (source.clone(), Counted { source: source.clone(), from: (*from).clone(), since: BTreeMap::new(), rows: Vec::new() })
    };
    let mut counted: BTreeMap<String, Counted> = sources.iter().map(empty).collect();
    // By source and enterprise, of those that count an enterprise once.
    let mut of_enterprise: BTreeMap<(String, EnterpriseId), Vec<CountedRow>> = BTreeMap::new();
    let mut paging = Paging::all();
    loop {
        let page = app.store.records(&Scope::node(), &kind.id, &filter, &paging).await?;
        for row in &page.items {
            let Some(region) = row.region.as_ref().filter(|region| !region.as_str().is_empty()) else { continue };
            let Ok(record) = record::read(&kind, row) else { continue };
            let Some(began) = kind.began(&record) else { continue };
            for (source, from) in sources {
                let Some(counted) = counted.get_mut(source) else { continue };
                let since = counted.since.entry(region.as_str().to_owned()).or_insert(began);
                *since = began.min(*since);
                let rows = kind.stays(&record, from).into_iter().enumerate().map(|(i, stay)| CountedRow {
                    fact: Fact {
                        id: if i == 0 { format!("{OF_RECORD}{}", row.id) } else { format!("{OF_RECORD}{}-{i}", row.id) },
                        source: source.clone(),
                        on: stay.since,
                        region: region.as_str().to_owned(),
                        sector: from.sector.clone(),
                        value: decimal::Decimal::ONE,
                        known_on: stay.known_on,
                        revises: String::new(),
                        mark,
                        note: row.title.clone(),
                    },
                    until: stay.until,
                });
                match row.enterprise.filter(|_| from.per == Per::Enterprise) {
                    Some(enterprise) => of_enterprise.entry((source.clone(), enterprise)).or_default().extend(rows),
                    None => counted.rows.extend(rows),
                }
            }
        }
        let Some(next) = page.next else { break };
        paging.cursor = Some(next);
    }
    for ((source, _), rows) in of_enterprise {
        if let Some(counted) = counted.get_mut(&source) {
            counted.rows.extend(indicator::each_day_once(rows));
        }
    }
    for counted in counted.values_mut() {
        counted.rows.sort_by(|a, b| (a.fact.on, &a.fact.id).cmp(&(b.fact.on, &b.fact.id)));
    }
    Ok(counted)
}

/// What the records of accidents tell, copies from below among them, and which of them say nothing.
async fn accidents(app: &App) -> Result<Told, AppError> {
    // Without the register there is nothing to read.
    let Ok(kind) = app.registers.load().kind(ACCIDENT) else { return Ok(Default::default()) };
    let filter = record::of_kind(&kind, &RecordFilter::default());
    let mark = if app.settings.demo { Mark::Invented } else { Mark::Reported };
    let (mut facts, mut unread) = (Vec::new(), Vec::new());
    let mut paging = Paging::all();
    loop {
        let page = app.store.records(&Scope::node(), ACCIDENT, &filter, &paging).await?;
        for row in &page.items {
            let Some(region) = &row.region else { continue };
            let told = record::read(&kind, row)
                .ok()
                .and_then(|record| accident::facts(&record, &format!("{OF_RECORD}{}", row.id), region.as_str(), mark).ok());
            match told {
                Some(told) => facts.extend(told),
                None => unread.push(row.id),
            }
        }
        let Some(next) = page.next else { break };
        paging.cursor = Some(next);
    }
    // A row that revises another comes behind it.
    facts.sort_by_key(|fact: &Fact| fact.known_on);
    Ok((facts, unread))
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
pub async fn record_facts(app: &App, scope: &Scope, new: Vec<NewFact>) -> Result<Vec<Fact>, AppError> {
    let scope = scope.with(Permission::ManagePlan)?;
    if new.is_empty() || new.len() > FACTS_MAX {
        return Err(AppError::invalid("fact.count", "facts").with("max", FACTS_MAX));
    }
    let today = app.today();
    let facts = new.iter().enumerate().map(|(place, new)| read(app, place, new, today)).collect::<Result<Vec<_>, _>>()?;
    let registers = app.registers.load();
    let knows = |indicators: &Indicators| facts.iter().all(|fact| indicators.source(&fact.source).is_some());
    let of_plan = || registers.plans().map(|known| known.indicators.clone()).find(|indicators| knows(indicators));
    // The built-in definitions first: no pack says what their sources keep.
    let of_plan = if knows(indicator::built_in()) { None } else { of_plan() };
    let indicators = of_plan.as_deref().unwrap_or_else(|| indicator::built_in());
    app.store.record_facts(&scope, &facts, indicators, app.clock.now()).await.map_err(unfit)?;
    Ok(facts)
}

fn read(app: &App, place: usize, new: &NewFact, today: Date) -> Result<Fact, AppError> {
    let field = |name: &str| format!("facts[{place}].{name}");
    let source = validate::word(&field("source"), &new.source, false)?;
    let on = validate::day(&field("on"), &new.on)?;
    // A revision is known since it is made: nobody takes back what was said of before.
    let is_said = !new.known_on.is_empty() && new.revises.is_empty();
    let known_on = if is_said { validate::day(&field("known_on"), &new.known_on)? } else { today };
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
    let sector = validate::word(&field("sector"), &new.sector, true)?;
    if is_finding && !is_found_by_people(app, region.as_str(), &sector, on) {
        return Err(AppError::invalid("fact.finding_of", &field("sector")));
    }
    Ok(Fact {
        id: new_id(app),
        source,
        on,
        region: region.as_str().to_owned(),
        sector,
        value,
        known_on,
        revises: validate::optional(&field("revises"), &new.revises)?,
        mark: Mark::Reported,
        note: validate::note(&field("note"), &new.note, is_finding)?,
    })
}

/// Whether a plan of the territory has a target of this id that a person finds, and had begun.
fn is_found_by_people(app: &App, region: &str, sector: &str, on: Date) -> bool {
    app.registers.load().plans().filter(|known| known.plan.region == region && known.plan.start <= on).any(|known| {
        let mut targets = known.plan.targets.iter();
        targets.any(|target| target.indicator.is_none() && target.id.eq_ignore_ascii_case(sector))
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
                "sector" => "fact.sector",
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

/// What a decision is about: the target, or the source that is vouched for.
fn subject_of(kind: &str, body: &Json) -> String {
    body[if kind == "covered" { "source" } else { "target" }].as_str().unwrap_or_default().to_owned()
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
    for (field, value) in &body {
        well_formed(field, value)?;
    }
    let _deciding = app.plans.deciding.lock().await;
    let reckoning = reckoning(app, scope, plan).await?;
    must_hold(&scope.with(Permission::ManagePlan)?, &reckoning)?;
    let open = app.store.plan_decisions(plan).await?.iter().filter(|decision| decision.state == DecisionState::Proposed).count();
    if open >= OPEN_MAX {
        return Err(AppError::conflict("decision.too_many").with("max", OPEN_MAX));
    }
    let mut body = Json::Object(body);
    body["mark"] = json!(Mark::Reported);
    fits(reckoning, kind, &body, app.today())?;
    let known = known(app, plan)?;
    let subject = subject_of(kind, &body);
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
    let _deciding = app.plans.deciding.lock().await;
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
        fits(reckoning, kind, &row.body, app.today())?;
    }
    let new = NewDecision { id: row.id, plan: row.plan, kind, subject: row.subject, body: row.body, region };
    app.store.decide_plan(&decide, &new, approve, &opinion, app.clock.now()).await?;
    find(app.store.plan_decisions(plan).await?)
}

fn must_hold(scope: &Scope, reckoning: &Reckoning) -> Result<(), AppError> {
    let region = RegionCode::new(&reckoning.known.plan.region);
    if scope.holds(None, region.as_ref(), None) { Ok(()) } else { Err(AppError::forbidden("scope.outside")) }
}

/// That a member can be meant at all.
fn well_formed(field: &str, value: &Json) -> Result<(), AppError> {
    let text = value.as_str().unwrap_or_default();
    match field {
        "on" | "decided_on" | "deadline" | "from" | "to" => validate::day(field, text).map(drop),
        "value" | "drop_percent" | "baseline" => {
            let number = decimal::parse(text, decimal::TARGET_DIGITS_MAX);
            number.map(drop).ok_or_else(|| AppError::invalid("decision.number", field).with("digits", decimal::TARGET_DIGITS_MAX))
        }
        "baseline_year" => Ok(()),
        "reason" => validate::note(field, text, true).map(drop),
        _ => validate::name(field, text).map(drop),
    }
}

/// That a decision fits the plan as it stands.
fn fits(mut reckoning: Reckoning, kind: &str, body: &Json, today: Date) -> Result<(), AppError> {
    // Nobody vouches for what has not been.
    if kind == "covered" && body["to"].as_str().and_then(|day| day.parse::<Date>().ok()).is_none_or(|day| day > today) {
        return Err(AppError::invalid("decision.to", "to"));
    }
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
                subject: subject_of(kind, body),
                body: body.clone(),
                region: RegionCode::new(&known.plan.region),
            });
        }
    }
    Ok(app.store.propose_decisions(&node, &decisions, true, app.clock.now()).await?)
}
