//! What the public reads (公开): records of registers that say so, warnings as they stand, and a plan's evaluation that was published.
//!
//! Nobody is signed in here and no scope is asked: what there is is what [`anlan_store::Store::published`] gives out. What is made of a record with the
//! act that publishes it ([`publish`]) is kept with it: how a plan stood, what a message is called. Start at [`list`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anlan_domain::indicator::Indicators;
use anlan_domain::plan::{Reason, State, TargetStatus};
use anlan_domain::register::{Kind, Record, Value, minute_of, parse_minute};
use anlan_model::{Clock as _, RecordId, RegionCode, Scope, Timestamp};
use anlan_protocols::cap::national::Identifier;
use anlan_store::{Narrow, Note, PublishedRow, RecordChange};
use jiff::civil::{Date, DateTime};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use tracing::warn;

use crate::App;
use crate::clock::{civil, day_of};
use crate::error::{AppError, Kind as Refusal};
use crate::plan::{self, Reckoning};
use crate::point::off_thread;
use crate::record;
use crate::validate::{Page, Paging};

/// The register of notices.
pub const NOTICE: &str = "notice";
/// The register of warnings.
pub const WARNING: &str = "public_warning";
/// The register of listed supervision.
pub const LISTED: &str = "listed_supervision";
/// The register of licences.
pub const LICENCE: &str = "licence";
/// The register of publicity activities.
pub const ACTIVITY: &str = "publicity_activity";
/// Warnings that are over are shown with those in force for so many days: the product's choice.
pub const LATELY_DAYS: i64 = 7;
/// Most warnings in force that are told, the newest; [`Warnings::is_cut`] says when there are more.
pub const IN_FORCE_MAX: u32 = 500;
/// Most warnings that ended lately, of each way to end, and most that took another's place.
const ENDED_MAX: u32 = 200;
/// The state of a warning that nobody has ended.
const IN_FORCE: &str = "in_force";
/// The acts by which a warning becomes a message of CAP: field of its instant, and the word under which its identifier is kept.
const MESSAGES: [(&str, &str); 2] = [("issued_at", "issue"), ("cancelled_at", "cancel")];
/// How [`Evaluation`] is written; another number is another shape.
const EVALUATION_FORMAT: u32 = 1;

/// A record as the public reads it.
#[derive(Clone, Debug)]
pub struct Published {
    /// Its kind.
    pub kind: Arc<Kind>,
    /// What is read of it.
    pub row: PublishedRow,
    /// Its public fields.
    pub values: BTreeMap<String, Value>,
}

impl Published {
    fn new(kind: &Arc<Kind>, row: PublishedRow) -> Self {
        Self { kind: Arc::clone(kind), values: kind.stored_fields(&row.fields), row }
    }

    /// The text, choice or record in this field.
    pub fn text(&self, id: &str) -> Option<&str> {
        match self.values.get(id) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The date in this field.
    pub fn date(&self, id: &str) -> Option<Date> {
        match self.values.get(id) {
            Some(Value::Date(date)) => Some(*date),
            _ => None,
        }
    }

    /// The instant in this field, civil time in Beijing.
    pub fn instant(&self, id: &str) -> Option<DateTime> {
        match self.values.get(id) {
            Some(Value::DateTime(at)) => Some(*at),
            _ => None,
        }
    }

    /// Its title; empty once it was retracted.
    pub fn title(&self) -> &str {
        self.text(&self.kind.title).unwrap_or_default()
    }

    /// Why it was retracted.
    pub fn reason(&self) -> Option<&str> {
        self.text(self.kind.public.as_ref()?.reason.as_ref()?).filter(|_| self.row.is_retracted)
    }
}

/// How a warning stands now, whatever anybody has closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// In force.
    InForce,
    /// Another one took its place.
    Superseded,
    /// Cancelled before its time.
    Cancelled,
    /// Its time is over.
    Over,
}

/// A warning.
#[derive(Clone, Debug)]
pub struct Warning {
    /// What is read of it.
    pub published: Published,
    /// How it stands.
    pub standing: Standing,
    /// When it ended.
    pub ended_at: Option<DateTime>,
    /// The one whose place it took, if the public may read that.
    pub updates: Option<Box<Published>>,
    /// What its messages and those of the other are called, by record and act; of a message of before they were given out, nothing.
    pub identifiers: BTreeMap<(RecordId, String), String>,
}

/// Warnings as the public reads them.
#[derive(Clone, Debug)]
pub struct Warnings {
    /// Those in force, then those that ended within [`LATELY_DAYS`]; newest first each.
    pub all: Vec<Warning>,
    /// More than [`IN_FORCE_MAX`] are in force: the oldest are not among these.
    pub is_cut: bool,
}

/// Now, civil time in Beijing.
pub fn now(app: &App) -> DateTime {
    civil(app.clock.now())
}

/// A page of what the public reads of a register, newest first.
///
/// # Errors
/// No such register is on, a foreign cursor, the store's.
pub async fn list(app: &App, kind: &str, paging: &Paging) -> Result<Page<Published>, AppError> {
    let kind = app.registers.load().kind(kind)?;
    let page = app.store.published(&kind, &minute_of(now(app)), &[], paging).await?;
    Ok(Page { items: page.items.into_iter().map(|row| Published::new(&kind, row)).collect(), next: page.next })
}

/// One of them.
///
/// # Errors
/// Not there, not public yet, not public any more: they look the same; the store's.
pub async fn one(app: &App, kind: &str, id: RecordId) -> Result<Published, AppError> {
    let kind = app.registers.load().kind(kind)?;
    Ok(Published::new(&kind, app.store.published_one(&kind, id, &minute_of(now(app))).await?))
}

/// Warnings in force, all of them up to [`IN_FORCE_MAX`], and those that ended within [`LATELY_DAYS`].
///
/// Cost: a few questions by index, however many warnings there were.
///
/// # Errors
/// The store's.
pub async fn warnings(app: &App) -> Result<Warnings, AppError> {
    let kind = app.registers.load().kind(WARNING)?;
    let now = now(app);
    let since = now.checked_sub(jiff::Span::new().days(LATELY_DAYS)).unwrap_or(now);
    let next = now.checked_add(jiff::Span::new().minutes(1)).unwrap_or(now);
    let (now_at, since_at, next_at) = (minute_of(now), minute_of(since), minute_of(next));
    let changed_since = app.clock.now().plus_us(-LATELY_DAYS * 24 * 3_600_000_000);
    let some = async |narrow: &[Narrow<'_>], limit: u32| -> Result<(Vec<Published>, bool), AppError> {
        let page = app.store.published(&kind, &now_at, narrow, &Paging { cursor: None, limit }).await?;
        Ok((page.items.into_iter().map(|row| Published::new(&kind, row)).collect(), page.next.is_some()))
    };
    let (mut all, is_cut) = some(&[Narrow::State(IN_FORCE), Narrow::Between("expires_at", Some(&next_at), None)], IN_FORCE_MAX).await?;
    for ended in [
        vec![Narrow::Between("expires_at", Some(&since_at), Some(&now_at))],
        vec![Narrow::Between("cancelled_at", Some(&since_at), None)],
        vec![Narrow::State("superseded"), Narrow::ChangedSince(changed_since)],
    ] {
        all.extend(some(&ended, ENDED_MAX).await?.0);
    }
    // Whose place was taken lately need not have been closed by anybody.
    let (lately, _) = some(&[Narrow::Between("issued_at", Some(&since_at), None)], ENDED_MAX).await?;
    for id in lately.iter().filter_map(|one| one.text("updates")).filter_map(|id| id.parse().ok()) {
        match self::one(app, WARNING, id).await {
            Ok(other) => all.push(other),
            Err(failure) if failure.kind == Refusal::NotFound => {}
            Err(failure) => return Err(failure),
        }
    }
    let mut seen = BTreeSet::new();
    all.retain(|one| seen.insert(one.row.id));
    let ids: Vec<String> = all.iter().map(|one| one.row.id.to_string()).collect();
    let mut others = Vec::new();
    for some_ids in ids.chunks(ENDED_MAX as usize) {
        others.extend(some(&[Narrow::Among("updates", some_ids.to_vec())], ENDED_MAX).await?.0);
    }
    let mut all: Vec<Warning> = all.iter().map(|one| stands(one, &others, now)).collect();
    all.retain(|warning| warning.standing == Standing::InForce || warning.ended_at.is_some_and(|at| at >= since));
    all.sort_by_key(|w| (w.standing != Standing::InForce, std::cmp::Reverse((w.published.instant("issued_at"), w.published.row.id))));
    Ok(Warnings { all, is_cut })
}

/// One warning, however long it is over.
///
/// # Errors
/// Not there or not public; the store's.
pub async fn warning(app: &App, id: RecordId) -> Result<Warning, AppError> {
    let one = one(app, WARNING, id).await?;
    let narrow = [Narrow::Among("updates", vec![id.to_string()])];
    let page = app.store.published(&one.kind, &minute_of(now(app)), &narrow, &Paging { cursor: None, limit: ENDED_MAX }).await?;
    let mut all: Vec<Published> = page.items.into_iter().map(|row| Published::new(&one.kind, row)).collect();
    if let Some(other) = one.text("updates").and_then(|id| id.parse().ok()) {
        all.extend(self::one(app, WARNING, other).await.ok());
    }
    let mut warning = stands(&one, &all, now(app));
    let ids: Vec<RecordId> = std::iter::once(id).chain(warning.updates.iter().map(|other| other.row.id)).collect();
    let known = app.store.cap_identifiers(&ids).await?;
    warning.identifiers = known.into_iter().map(|(record, step, identifier)| ((record, step), identifier)).collect();
    Ok(warning)
}

fn stands(one: &Published, all: &[Published], now: DateTime) -> Warning {
    let id = one.row.id.to_string();
    // Whoever took its place may not have closed it yet.
    let after = all.iter().filter(|other| other.text("updates") == Some(&id)).filter_map(|other| other.instant("issued_at")).min();
    let expires = one.instant("expires_at");
    let entered = one.row.entered_on.parse::<Date>().ok().map(|day| day.at(23, 59, 0, 0));
    let (standing, ended_at) = match (one.row.state.as_str(), after, expires) {
        ("cancelled", ..) => (Standing::Cancelled, one.instant("cancelled_at").or(entered)),
        (_, Some(after), _) => (Standing::Superseded, Some(after)),
        ("superseded", ..) => (Standing::Superseded, entered),
        (_, _, Some(expires)) if expires <= now => (Standing::Over, Some(expires)),
        (IN_FORCE, ..) => (Standing::InForce, None),
        (_, _, expires) => (Standing::Over, expires.or(entered)),
    };
    let updates = one.text("updates").and_then(|id| all.iter().find(|other| other.row.id.to_string() == id));
    let updates = updates.cloned().map(Box::new);
    Warning { published: one.clone(), standing, ended_at, updates, identifiers: BTreeMap::new() }
}

// ---- what is made with the act that publishes

/// What an act by which a record becomes public, or another message, makes of it: to be kept with it in the same transaction, and what the audit says of
/// that. Nothing of a record of another register.
///
/// # Errors
/// The store's.
pub(crate) async fn publish(
    app: &App,
    change: &mut RecordChange<'_>,
    kind: &Kind,
    id: RecordId,
    region: Option<&RegionCode>,
    (before, after): (&Record, &Record),
    now: Timestamp,
) -> Result<Option<Json>, AppError> {
    let Some(public) = kind.public.as_ref().filter(|public| before.state != after.state && public.states.contains(&after.state)) else {
        return Ok(None);
    };
    match kind.id.as_str() {
        NOTICE if !public.states.contains(&before.state) => {
            let (Some(plan), Some(day)) = (after.text("plan"), after.date("as_of")) else { return Ok(None) };
            let Some(evaluation) = evaluate(app, plan, day, region, day_of(now)).await? else { return Ok(None) };
            let document = evaluation.document();
            change.put_evaluation(id, &document).await?;
            Ok(Some(json!({"evaluation": vouched(&evaluation, &document)})))
        }
        WARNING => {
            let said = |field: &str| before.fields.get(field) != after.fields.get(field);
            let Some((field, step)) = MESSAGES.into_iter().find(|(field, _)| said(field)) else { return Ok(None) };
            let Some(at) = after.instant(field) else { return Ok(None) };
            let wanted = identifiers(id, region, after.text("issuer_code"), at);
            let given = change.give_cap_identifier(id, step, &wanted).await?;
            Ok(given.map(|identifier| json!({"cap_identifier": identifier})))
        }
        _ => Ok(None),
    }
}

/// What a message of this minute may be called, in order of preference: the national form with each of its ten last digits, where the agency has a code,
/// the one of before identifiers were given out first; else a name of our own, which no other record and minute has.
fn identifiers(id: RecordId, region: Option<&RegionCode>, issuer_code: Option<&str>, at: DateTime) -> Vec<String> {
    let region = region.map(RegionCode::as_str).unwrap_or_default();
    let first = u8::try_from(id.get().rem_euclid(10)).unwrap_or(0);
    let national = region.get(..6).zip(issuer_code);
    let of = |n: u8| national.and_then(|(area, agency)| Identifier::new(area, agency, at, (first + n) % 10)).map(|id| id.to_string());
    (0..10).filter_map(of).chain([format!("anlan-{region}-{id}-{}", at.strftime("%Y%m%d%H%M%S"))]).collect()
}

/// What a message of a warning is called: as it was given out, or, of before that was kept, by its own minute and number.
pub fn identifier(it: &Published, known: &BTreeMap<(RecordId, String), String>, is_cancel: bool) -> Option<String> {
    let (field, step) = MESSAGES[usize::from(is_cancel)];
    let at = it.instant(field)?;
    let given = known.get(&(it.row.id, step.to_owned())).cloned();
    given.or_else(|| identifiers(it.row.id, it.row.region.as_ref(), it.text("issuer_code"), at).into_iter().next())
}

/// How a plan stood when its evaluation was published: what the public reads of it, and nothing else. It does not change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    format: u32,
    /// Word of the plan.
    pub plan: String,
    /// Its name.
    pub name: String,
    /// The day that is evaluated.
    pub as_of: Date,
    /// The day on which that was reckoned.
    pub reckoned_on: Date,
    /// Some of it is made up.
    pub is_demonstration: bool,
    /// Targets that could not be evaluated.
    pub not_evaluated: usize,
    /// The others, in the order of the plan.
    pub targets: Vec<Evaluated>,
}

/// How a target stood.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluated {
    /// Chinese name.
    pub name: String,
    /// English name.
    pub name_en: String,
    /// How it stands.
    pub state: State,
    /// Word of the direction that is asked.
    pub direction: String,
    /// The number to reach, a decimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<String>,
    /// By when.
    pub deadline: Date,
    /// The figure, a decimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figure: Option<String>,
    /// Its unit, Chinese.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit_zh: String,
    /// Its unit, English.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// Word of the reason.
    pub reason: String,
    /// What the path asks, a decimal, and by when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<(String, Date)>,
    /// The year in which a figure went the wrong way, and which, Chinese and English.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong_way: Option<(i16, String, String)>,
}

impl Evaluation {
    fn of(reckoning: &Reckoning, as_of: Date, reckoned_on: Date) -> Self {
        let indicators = &reckoning.known.indicators;
        let statuses = reckoning.plan.status(indicators, &reckoning.facts, as_of);
        let (without, evaluated): (Vec<_>, Vec<_>) = statuses.iter().partition(|status| status.state == State::CannotBeComputed);
        Self {
            format: EVALUATION_FORMAT,
            plan: reckoning.known.plan.id.clone(),
            name: reckoning.plan.name.clone(),
            as_of,
            reckoned_on,
            is_demonstration: reckoning.is_demonstration,
            not_evaluated: without.len(),
            targets: evaluated.into_iter().map(|status| Evaluated::of(status, indicators)).collect(),
        }
    }

    fn document(&self) -> String {
        // Texts, numbers and dates alone: it always encodes.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// As it was kept; `None` for a document that is none, or of a later release.
    pub fn read(document: &str) -> Option<Self> {
        serde_json::from_str(document).ok().filter(|one: &Self| one.format == EVALUATION_FORMAT)
    }

    /// How many targets are in this state.
    pub fn count(&self, state: State) -> usize {
        match state {
            State::CannotBeComputed => self.not_evaluated,
            state => self.targets.iter().filter(|target| target.state == state).count(),
        }
    }
}

impl Evaluated {
    fn of(status: &TargetStatus<'_>, indicators: &Indicators) -> Self {
        let indicator = status.target.indicator.as_ref().and_then(|id| indicators.get(id));
        let asked = match &status.reason {
            Reason::WithinPath(value, on) | Reason::BeyondPath(value, on) => Some((value.normalize().to_string(), *on)),
            _ => None,
        };
        let wrong_way = match &status.reason {
            Reason::WrongWay(id, year) => {
                let names = indicators.get(id).map(|one| (one.name.clone(), one.name_en.clone()));
                let (zh, en) = names.unwrap_or_else(|| (id.clone(), id.clone()));
                Some((*year, zh, en))
            }
            _ => None,
        };
        Self {
            name: status.target.name.clone(),
            name_en: status.target.name_en.clone(),
            state: status.state,
            direction: status.target.direction.as_str().to_owned(),
            goal: status.goal_value.map(|goal| goal.normalize().to_string()),
            deadline: status.goal.deadline,
            figure: status.figure.as_ref().map(|figure| figure.shown.to_string()),
            unit_zh: indicator.map(|one| one.unit_zh.clone()).unwrap_or_default(),
            unit: indicator.map(|one| one.unit.clone()).unwrap_or_default(),
            reason: status.reason.as_str().to_owned(),
            asked,
            wrong_way,
        }
    }
}

/// How a plan stands, as a notice of this division may publish it. `None` for a plan that is not on, and of a territory that is not the division's own
/// or below it: a county publishes no figures of its city.
async fn evaluate(app: &App, plan: &str, day: Date, region: Option<&RegionCode>, today: Date) -> Result<Option<Evaluation>, AppError> {
    let Some(of) = app.registers.load().plan(plan).map(|known| known.plan.region.clone()) else { return Ok(None) };
    if !region.zip(RegionCode::new(&of).as_ref()).is_some_and(|(own, of)| own.holds(of)) {
        return Ok(None);
    }
    let reckoning = plan::reckoning(app, &Scope::node(), plan).await?;
    // What is published is of a day that is over.
    let day = day.min(today);
    Ok(Some(off_thread(move || Evaluation::of(&reckoning, day, today)).await?))
}

/// What the audit says of an evaluation that is kept.
fn vouched(evaluation: &Evaluation, document: &str) -> Json {
    let sha256: String = Sha256::digest(document.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
    json!({"plan": evaluation.plan, "as_of": evaluation.as_of, "targets": evaluation.targets.len(), "sha256": sha256})
}

/// The evaluation that a notice published, as it was then; `None` for a notice that published none.
///
/// # Errors
/// The store's; a document that cannot be read.
pub async fn evaluation(app: &App, notice: &Published) -> Result<Option<Evaluation>, AppError> {
    if notice.row.is_retracted {
        return Ok(None);
    }
    let Some(document) = app.store.published_evaluation(notice.row.id).await? else { return Ok(None) };
    Evaluation::read(&document).map(Some).ok_or_else(|| AppError::new(Refusal::Internal, "internal"))
}

/// A page of notices that published an evaluation, newest first.
///
/// # Errors
/// No such register is on, a foreign cursor, the store's.
pub async fn evaluations(app: &App, paging: &Paging) -> Result<Page<Published>, AppError> {
    let kind = app.registers.load().kind(NOTICE)?;
    let page = app.store.published(&kind, &minute_of(now(app)), &[Narrow::WithEvaluation], paging).await?;
    Ok(Page { items: page.items.into_iter().map(|row| Published::new(&kind, row)).collect(), next: page.next })
}

/// Reckons and keeps what notices of before evaluations were kept had published, once; how many. One whose plan is off waits for a start with it on.
///
/// # Errors
/// The store's.
pub async fn keep_evaluations(app: &App) -> Result<usize, AppError> {
    let mut n = 0;
    let Ok(kind) = app.registers.load().kind(NOTICE) else { return Ok(n) };
    let node = Scope::node();
    for id in app.store.notices_to_evaluate().await? {
        let now = app.clock.now();
        let row = match app.store.record(&node, NOTICE, id).await {
            Ok(row) => row,
            Err(anlan_store::StoreError::NotFound) => {
                app.store.evaluate_notice(id, None, now).await?;
                continue;
            }
            Err(failure) => return Err(failure.into()),
        };
        // One that cannot be read does not keep the others back.
        let notice = match record::read(&kind, &row) {
            Ok(notice) => notice,
            Err(failure) => {
                warn!(error = &failure as &dyn std::error::Error, "the evaluation of notice {id} cannot be kept");
                continue;
            }
        };
        let (Some(plan), Some(day)) = (notice.text("plan"), notice.date("as_of")) else {
            app.store.evaluate_notice(id, None, now).await?;
            continue;
        };
        let is_on = app.registers.load().plan(plan).is_some();
        match evaluate(app, plan, day, row.region.as_ref(), day_of(now)).await? {
            Some(evaluation) => {
                let document = evaluation.document();
                app.store.evaluate_notice(id, Some(&document), now).await?;
                let detail = json!({"reason": "published before evaluations were kept", "evaluation": vouched(&evaluation, &document)});
                app.store.note(&node, Note { action: "update", noun: "record", subject: id.to_string(), detail }, now).await?;
                n += 1;
            }
            None if is_on => app.store.evaluate_notice(id, None, now).await?,
            None => {}
        }
    }
    Ok(n)
}

/// The same at the start, beside everything else.
pub(crate) async fn keep_at_start(app: Arc<App>) {
    if let Err(failure) = keep_evaluations(&app).await {
        warn!(
            error = &failure as &dyn std::error::Error,
            "evaluations that were published before this release could not be kept; next try at the next start"
        );
    }
}

/// Minutes of a text as the store tells them, days too.
pub fn since_of(row: &PublishedRow) -> Option<DateTime> {
    let since = row.since.as_deref()?;
    parse_minute(since).or_else(|| since.parse::<Date>().ok().map(|day| day.at(0, 0, 0, 0)))
}
