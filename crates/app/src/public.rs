//! What the public reads (公开): records of registers that say so, warnings as they stand, and a plan's evaluation that was published.
//!
//! Nobody is signed in here and no scope is asked: what there is is what [`anlan_store::Store::published`] gives out. Start at [`list`].

use std::collections::BTreeMap;
use std::sync::Arc;

use anlan_domain::register::{Kind, Value, minute_of, parse_minute};
use anlan_model::{Clock as _, RecordId, RegionCode, Scope};
use anlan_store::PublishedRow;
use jiff::civil::{Date, DateTime};

use crate::App;
use crate::clock::civil;
use crate::error::AppError;
use crate::plan::{self, Reckoning};
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
/// Most warnings that are looked at.
const WARNINGS_MAX: u32 = 200;

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
    let page = app.store.published(&kind, &minute_of(now(app)), paging).await?;
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

/// Warnings in force, then those that ended within [`LATELY_DAYS`]; newest first each.
///
/// # Errors
/// The store's.
pub async fn warnings(app: &App) -> Result<Vec<Warning>, AppError> {
    let all = list(app, WARNING, &Paging { cursor: None, limit: WARNINGS_MAX }).await?.items;
    let now = now(app);
    let since = now.checked_sub(jiff::Span::new().days(LATELY_DAYS)).unwrap_or(now);
    let mut warnings: Vec<Warning> = all.iter().map(|one| stands(one, &all, now)).collect();
    warnings.retain(|warning| warning.standing == Standing::InForce || warning.ended_at.is_some_and(|at| at >= since));
    warnings.sort_by_key(|warning| warning.standing != Standing::InForce);
    Ok(warnings)
}

/// One warning, however long it is over.
///
/// # Errors
/// Not there or not public; the store's.
pub async fn warning(app: &App, id: RecordId) -> Result<Warning, AppError> {
    let one = one(app, WARNING, id).await?;
    let mut all = list(app, WARNING, &Paging { cursor: None, limit: WARNINGS_MAX }).await?.items;
    if let Some(id) = one.text("updates").and_then(|id| id.parse().ok())
        && all.iter().all(|other| other.row.id != id)
        && let Ok(other) = self::one(app, WARNING, id).await
    {
        all.push(other);
    }
    Ok(stands(&one, &all, now(app)))
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
        ("in_force", ..) => (Standing::InForce, None),
        (_, _, expires) => (Standing::Over, expires.or(entered)),
    };
    let updates = one.text("updates").and_then(|id| all.iter().find(|other| other.row.id.to_string() == id));
    Warning { published: one.clone(), standing, ended_at, updates: updates.cloned().map(Box::new) }
}

/// The plan that a published notice evaluates, as of the day that the notice names; `None` for any other notice.
///
/// # Errors
/// The store's.
pub async fn evaluation(app: &App, notice: &Published) -> Result<Option<(Reckoning, Date)>, AppError> {
    let (Some(plan), Some(day)) = (notice.text("plan"), notice.date("as_of")) else { return Ok(None) };
    // What was published is of a day that was over then.
    let day = day.min(app.today());
    // A county publishes no figures of its city.
    let Some(region) = app.registers.load().plan(plan).map(|plan| plan.plan.region.clone()) else { return Ok(None) };
    let region = RegionCode::new(&region);
    if !notice.row.region.as_ref().zip(region.as_ref()).is_some_and(|(own, of)| own.holds(of)) {
        return Ok(None);
    }
    plan::reckoning(app, &Scope::node(), plan).await.map(|reckoning| Some((reckoning, day)))
}

/// Minutes of a text as the store tells them, days too.
pub fn since_of(row: &PublishedRow) -> Option<DateTime> {
    let since = row.since.as_deref()?;
    parse_minute(since).or_else(|| since.parse::<Date>().ok().map(|day| day.at(0, 0, 0, 0)))
}
