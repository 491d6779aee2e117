//! Measuring points (测点): settings and limits, newest values, history.
//!
//! Every reader goes through a [`PointSet`] that `store` made from the scope. History is file I/O and runs off the async threads.

use std::sync::Arc;

use anlan_domain::alarm::Rule;
pub use anlan_history::{Figure, Rollup};
use anlan_model::noun::Point;
use anlan_model::{Clock as _, DeviceId, Level, Permission, PointId, PointSet, Reading, RuleKind, Scope, Timestamp};
pub use anlan_store::{PointChange, PointFilter, PointPut, PointRow};

use tokio::sync::SemaphorePermit;

use crate::App;
use crate::error::{AppError, Faults, Kind};
use crate::registry::Touched;
use crate::retention::{self, Gap, Whose};
use crate::validate::{self, Page, Paging};

/// Most points of one request.
const PUT_MAX: usize = 1_000;
/// Most windows of one rollup answer: eight days of minutes, a year of hours and more.
const WINDOWS_MAX: i64 = 11_520;

/// Most points × hours that one question about many may cover where stored hours answer: 100,000 points for ten days, some seconds of a
/// core.
pub(crate) const POINT_HOURS_MAX: i64 = 24_000_000;
/// The same where every reading is looked at.
const POINT_HOURS_READ_MAX: i64 = 240_000;
/// Most points of one ranking.
const TOP_MAX: usize = 100;
const HOUR_US: i64 = 3_600_000_000;

/// A point of a ranking.
#[derive(Clone, Debug, PartialEq)]
pub struct TopPoint {
    /// The point.
    pub point: Arc<Point>,
    /// Name of its owner.
    pub enterprise_name: Option<String>,
}

/// A point with its newest value.
#[derive(Clone, Debug, PartialEq)]
pub struct PointView {
    /// The row.
    pub row: PointRow,
    /// Newest value, if one ever came.
    pub latest: Option<LatestView>,
    /// The limits it is judged by: its own, or the pack's for its kind.
    pub judged: Vec<Rule>,
}

/// A point's newest value beside what names it, without its settings.
#[derive(Clone, Debug, PartialEq)]
pub struct PointLatest {
    /// The point, as last committed.
    pub point: Arc<Point>,
    /// Newest value, if one ever came.
    pub latest: Option<LatestView>,
    /// Worst level of its standing alarms.
    pub worst_level: Option<Level>,
}

/// A newest value and how old it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatestView {
    /// The reading.
    pub reading: Reading,
    /// Silent for longer than the rule of its kind allows.
    pub stale: bool,
    /// Seconds since its event time.
    pub age_s: f64,
}

/// Which part of a history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Inclusive; `None` = from the first.
    pub from: Option<Timestamp>,
    /// Exclusive; `None` = to the newest.
    pub to: Option<Timestamp>,
    /// `next` of the page before.
    pub cursor: Option<String>,
    /// Most rows.
    pub limit: u32,
}

impl Window {
    /// The instant after which to go on.
    ///
    /// # Errors
    /// A cursor that no history gave.
    pub(crate) fn after(&self) -> Result<Option<Timestamp>, AppError> {
        let read = |text: &str| text.parse().map(Timestamp::from_micros).map_err(|_| AppError::invalid("cursor.malformed", "cursor"));
        self.cursor.as_deref().map(read).transpose()
    }

    /// The range that this page and those after it are to show.
    ///
    /// # Errors
    /// A cursor that no history gave.
    pub fn left(&self) -> Result<(Option<Timestamp>, Option<Timestamp>), AppError> {
        let next = self.after()?.map(|at| at.plus_us(1));
        Ok((next.max(self.from), self.to))
    }

    /// The page of `items`, of which one more than the limit was asked for.
    pub(crate) fn page<T>(&self, mut items: Vec<T>, at: impl Fn(&T) -> Timestamp) -> Page<T> {
        let limit = self.limit as usize;
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(|last| at(last).micros().to_string()) } else { None };
        Page { items, next }
    }
}

/// Seconds of silence after which a point counts as stale: its period times the factor of the pack's rule. `None` = never, because
/// the period is unknown or no rule speaks.
pub(crate) fn stale_after_s(app: &App, point: &Point) -> Option<f64> {
    let speaks = |word: &String| word == "*" || *word == point.kind;
    let rule = app.rules.rules.iter().find(|r| r.kind == RuleKind::Stale.as_str() && r.applies_to.iter().any(speaks))?;
    (point.period_s > 0.0).then(|| point.period_s * rule.factor.unwrap_or(1.0))
}

fn latest_view(app: &App, point: &Point, reading: Reading, now: Timestamp) -> LatestView {
    let age_s = now.since_us(reading.event_at) as f64 / 1e6;
    // Late data of a device that speaks now is old, not silent: silence counts from whichever is newer.
    let silent_s = now.since_us(reading.event_at.max(reading.received_at)) as f64 / 1e6;
    LatestView { reading, stale: stale_after_s(app, point).is_some_and(|limit| silent_s > limit), age_s }
}

/// Whether a point was heard and is not silent; only for points the caller has been shown to own.
pub(crate) fn is_online(app: &App, point: &Point) -> bool {
    app.telemetry.latest.point(point.id).is_some_and(|reading| !latest_view(app, point, reading, app.clock.now()).stale)
}

fn view(app: &App, seen: &PointSet, row: PointRow, now: Timestamp) -> PointView {
    let latest = app.telemetry.latest(seen, row.point.id).map(|reading| latest_view(app, &row.point, reading, now));
    let is_limit = |rule: &Rule| matches!(rule.kind, RuleKind::Hh | RuleKind::H | RuleKind::L | RuleKind::Ll);
    let judged = app.rules.for_point(&row.point).into_iter().filter(is_limit).collect();
    PointView { row, latest, judged }
}

/// A page of points the asker may see.
///
/// # Errors
/// No permission to view, a foreign cursor, or the store's.
pub async fn list(app: &App, scope: &Scope, filter: &PointFilter, paging: &Paging) -> Result<Page<PointView>, AppError> {
    let scope = scope.with(Permission::View)?;
    let page = app.store.points(&scope, filter, paging).await?;
    // The rows passed the scope already; this set is a wider one of the same scope, which is remembered.
    let seen = app.store.point_set(&scope, &PointFilter { q: None, ..filter.clone() }).await?;
    let now = app.clock.now();
    Ok(Page { items: page.items.into_iter().map(|row| view(app, &seen, row, now)).collect(), next: page.next })
}

/// Newest values of every visible point that passes the filter; a point without one is listed too.
///
/// # Errors
/// No permission to view, or the store's.
pub async fn latest(app: &App, scope: &Scope, filter: &PointFilter) -> Result<Vec<PointLatest>, AppError> {
    let seen = app.store.point_set(&scope.with(Permission::View)?, filter).await?;
    let levels = app.store.worst_levels(&seen).await?;
    let (known, now) = (app.registry.get(), app.clock.now());
    let mut readings = app.telemetry.latest_all(&seen).into_iter().peekable();
    let mut all = Vec::with_capacity(seen.len());
    for (id, worst_level) in seen.iter().zip(levels) {
        let reading = readings.next_if(|reading| reading.point == id);
        // Whose ids came through the scope may be named.
        let Some(point) = known.points.get(&id) else { continue };
        let latest = reading.map(|reading| latest_view(app, point, reading, now));
        all.push(PointLatest { point: point.clone(), latest, worst_level });
    }
    Ok(all)
}

/// One point.
///
/// # Errors
/// Not there or not visible.
pub async fn get(app: &App, scope: &Scope, id: PointId) -> Result<PointView, AppError> {
    let scope = scope.with(Permission::View)?;
    let row = app.store.point(&scope, id).await?;
    let seen = app.store.point_set(&scope, &PointFilter { id: Some(id), ..PointFilter::default() }).await?;
    Ok(view(app, &seen, row, app.clock.now()))
}

/// Sets points of a device by code, and confirms them.
///
/// # Errors
/// No permission there (limits need their own), more than 1,000 points, fields that cannot be accepted.
pub async fn put(app: &App, scope: &Scope, device: DeviceId, points: Vec<PointPut>) -> Result<Vec<PointView>, AppError> {
    let act = scope.with(Permission::ManageDevices)?;
    if points.is_empty() || points.len() > PUT_MAX {
        return Err(AppError::invalid("list.length", "points").with("max", PUT_MAX));
    }
    let (mut faults, mut clean, mut codes) = (Faults::default(), Vec::with_capacity(points.len()), std::collections::BTreeSet::new());
    let mut limits_set = false;
    for (i, p) in points.into_iter().enumerate() {
        let prefix = format!("points[{i}].");
        let field = |name: &str| format!("{prefix}{name}");
        let code = faults.note(validate::code(&field("code"), &p.code)).unwrap_or_default();
        if !code.is_empty() && !codes.insert(code.clone()) {
            faults.note::<()>(Err(AppError::invalid("list.twice", &field("code"))));
        }
        faults.note(validate::period_s(&field("period_s"), p.period_s));
        faults.note(validate::range(&prefix, p.range_low, p.range_high));
        faults.note(validate::limits(&prefix, &p.limits, p.limits_source.as_ref()));
        limits_set |= p.limits_source.is_some();
        clean.push(PointPut {
            code,
            name: faults.note(validate::name(&field("name"), &p.name)).unwrap_or_default(),
            unit: faults.note(validate::optional(&field("unit"), &p.unit)).unwrap_or_default(),
            kind: faults.note(validate::word(&field("kind"), &p.kind, true)).unwrap_or_default(),
            site: faults.note(validate::optional(&field("site"), &p.site)).unwrap_or_default(),
            place: faults.note(validate::place(&field("place"), p.place)).flatten(),
            ..p
        });
    }
    faults.check()?;
    if limits_set {
        let limits = scope.with(Permission::ManageLimits)?;
        // The permission must hold where the device is, not just somewhere.
        app.store.device(&limits, device).await.map_err(|e| within(e, Permission::ManageLimits))?;
    }
    let made = app.store.upsert_points(&act, device, &clean, app.clock.now()).await?;
    app.registry.renew([Touched::PointsOf(device)]).await?;
    let mut views = Vec::with_capacity(made.len());
    let now = app.clock.now();
    let filter = PointFilter { device: Some(device), ..PointFilter::default() };
    let (seen, name) = (app.store.point_set(&act, &filter).await?, app.store.device(&act, device).await?.enterprise_name);
    for point in made {
        views.push(view(app, &seen, PointRow { point, enterprise_name: name.clone(), worst_level: None }, now));
    }
    Ok(views)
}

/// What is not visible with a permission is not there; what is visible but not with this one is forbidden.
pub(crate) fn within(error: anlan_store::StoreError, permission: Permission) -> AppError {
    match error {
        anlan_store::StoreError::NotFound => AppError::from(anlan_model::scope::Forbidden(permission)),
        other => other.into(),
    }
}

/// The change without fields that would stay as they are: a form sends all it shows, and whoever may set limits only must be able to
/// send it.
fn really(change: PointChange, current: &Point) -> PointChange {
    PointChange {
        revision: change.revision,
        name: change.name.filter(|v| *v != current.name),
        unit: change.unit.filter(|v| *v != current.unit),
        kind: change.kind.filter(|v| *v != current.kind),
        site: change.site.filter(|v| *v != current.site),
        period_s: change.period_s.filter(|v| *v != current.period_s),
        range_low: change.range_low.filter(|v| *v != current.range_low),
        range_high: change.range_high.filter(|v| *v != current.range_high),
        limits: change.limits.filter(|v| *v != current.limits),
        limits_source: change.limits_source.filter(|v| *v != current.limits_source),
        place: change.place.filter(|v| *v != current.place),
        confirmed: change.confirmed.filter(|v| *v != current.confirmed),
    }
}

/// Changes a point. Limits and their source need the permission for limits, everything else the one for devices.
///
/// # Errors
/// No permission there, a stale revision, fields that cannot be accepted.
pub async fn update(app: &App, scope: &Scope, id: PointId, change: PointChange) -> Result<PointView, AppError> {
    let current = app.store.point(&scope.with(Permission::View)?, id).await?.point;
    let change = really(change, &current);
    let touches_limits = change.limits.is_some() || change.limits_source.is_some();
    let of_limits = PointChange {
        revision: change.revision,
        limits: change.limits.clone(),
        limits_source: change.limits_source.clone(),
        ..PointChange::default()
    };
    let needs: &[Permission] = match (of_limits == change, touches_limits) {
        (true, _) => &[Permission::ManageLimits],
        (false, true) => &[Permission::ManageLimits, Permission::ManageDevices],
        (false, false) => &[Permission::ManageDevices],
    };
    let mut act = scope.clone();
    for permission in needs {
        act = scope.with(*permission)?;
        app.store.point(&act, id).await.map_err(|e| within(e, *permission))?;
    }
    let mut faults = Faults::default();
    let change = PointChange {
        name: change.name.and_then(|v| faults.note(validate::name("name", &v))),
        unit: change.unit.and_then(|v| faults.note(validate::optional("unit", &v))),
        kind: change.kind.and_then(|v| faults.note(validate::word("kind", &v, true))),
        site: change.site.and_then(|v| faults.note(validate::optional("site", &v))),
        period_s: change.period_s.and_then(|v| faults.note(validate::period_s("period_s", v))),
        place: change.place.and_then(|v| faults.note(validate::place("place", v))),
        ..change
    };
    faults.note(validate::range("", change.range_low.unwrap_or(current.range_low), change.range_high.unwrap_or(current.range_high)));
    let source = change.limits_source.clone().unwrap_or(current.limits_source);
    faults.note(validate::limits("", change.limits.as_ref().unwrap_or(&current.limits), source.as_ref()));
    faults.check()?;
    app.store.update_point(&act, id, &change, app.clock.now()).await?;
    app.registry.renew([Touched::PointsOf(current.device)]).await?;
    get(app, scope, id).await
}

/// History of a point, oldest first, newest revision of each instant.
///
/// # Errors
/// Not there or not visible, a foreign cursor.
pub async fn readings(app: &App, scope: &Scope, id: PointId, window: Window) -> Result<Page<Reading>, AppError> {
    let seen = visible(app, scope, id).await?;
    let (from, to, after) = (window.from.unwrap_or(Timestamp::MIN), window.to.unwrap_or(Timestamp::MAX), window.after()?);
    let (telemetry, limit) = (app.telemetry.clone(), window.limit as usize + 1);
    let found = off_thread(move || telemetry.readings(&seen, id, from, to, after, limit)).await??;
    Ok(window.page(found, |r| r.event_at))
}

fn step_us(step: &str) -> Result<i64, AppError> {
    match step {
        "60s" => Ok(60_000_000),
        "1h" => Ok(HOUR_US),
        "1d" => Ok(24 * HOUR_US),
        other => Err(AppError::invalid("word.unknown", "step").with("word", other)),
    }
}

/// Which parts of a point's history retention dropped. Ask after the rows: what is dropped was taken down before it went, so nothing is
/// missing in between unsaid.
///
/// # Errors
/// Not there or not visible.
pub async fn gaps(app: &App, scope: &Scope, id: PointId, from: Option<Timestamp>, to: Option<Timestamp>) -> Result<Vec<Gap>, AppError> {
    visible(app, scope, id).await?;
    retention::gaps(app, Whose::Point(id), from.unwrap_or(Timestamp::MIN), to.unwrap_or(Timestamp::MAX)).await
}

/// Least, greatest, mean and count per window of `step` (`60s`, `1h`, `1d`).
///
/// # Errors
/// Not there or not visible, an unknown step, more windows than one answer holds.
pub async fn rollup(
    app: &App,
    scope: &Scope,
    id: PointId,
    step: &str,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> Result<Vec<Rollup>, AppError> {
    let seen = visible(app, scope, id).await?;
    let step_us = step_us(step)?;
    let to = to.unwrap_or_else(|| app.clock.now().plus_us(step_us)).floor_us(1);
    // Without a start: as many windows as one answer holds, the newest.
    let from = from.unwrap_or_else(|| to.plus_us(-step_us.saturating_mul(WINDOWS_MAX)));
    if to.since_us(from) / step_us > WINDOWS_MAX {
        return Err(AppError::invalid("rollup.too_long", "from").with("max", WINDOWS_MAX));
    }
    let telemetry = app.telemetry.clone();
    Ok(off_thread(move || telemetry.rollup(&seen, id, step_us, from, to)).await??)
}

/// Least, greatest, mean and count per window of every point that passes the filter, taken together. Without a time: the last 24 hours.
///
/// # Errors
/// No permission to view, an unknown step, more than one answer may cost.
pub async fn rollup_all(
    app: &App,
    scope: &Scope,
    filter: &PointFilter,
    step: &str,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> Result<Vec<Rollup>, AppError> {
    let step_us = step_us(step)?;
    let (from, to) = day_before(app, from, to)?;
    if to.since_us(from) / step_us > WINDOWS_MAX {
        return Err(AppError::invalid("rollup.too_long", "from").with("max", WINDOWS_MAX));
    }
    let most = if step_us < HOUR_US { POINT_HOURS_READ_MAX } else { POINT_HOURS_MAX };
    let (seen, _turn) = many(app, scope, filter, (from, to), most).await?;
    let telemetry = app.telemetry.clone();
    Ok(off_thread(move || telemetry.rollup_all(&seen, step_us, from, to)).await??)
}

/// Days of which retention dropped readings of some point of this node. Without a time: the last 24 hours.
///
/// # Errors
/// No permission to view.
pub async fn gaps_all(app: &App, scope: &Scope, from: Option<Timestamp>, to: Option<Timestamp>) -> Result<Vec<Gap>, AppError> {
    scope.with(Permission::View)?;
    let (from, to) = day_before(app, from, to)?;
    retention::gaps(app, Whose::Anybody, from, to).await
}

/// The `n` points that pass the filter and stand out by `figure` (`max`, `min`, `mean`), with what the whole time said of each. Without a
/// time: the last 24 hours.
///
/// # Errors
/// No permission to view, an unknown figure, `n` not 1 to 100, more than one answer may cost.
pub async fn top(
    app: &App,
    scope: &Scope,
    filter: &PointFilter,
    figure: &str,
    n: usize,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> Result<Vec<(TopPoint, Rollup)>, AppError> {
    let figure = match figure {
        "max" => Figure::Max,
        "min" => Figure::Min,
        "mean" => Figure::Mean,
        other => return Err(AppError::invalid("word.unknown", "figure").with("word", other)),
    };
    if n == 0 || n > TOP_MAX {
        return Err(AppError::invalid("number.range", "n").with("min", 1).with("max", TOP_MAX));
    }
    let (from, to) = day_before(app, from, to)?;
    let (seen, _turn) = many(app, scope, filter, (from, to), POINT_HOURS_MAX).await?;
    let telemetry = app.telemetry.clone();
    let found = off_thread(move || telemetry.top(&seen, figure, n, from, to)).await??;
    // Whose ids came through the scope may be named.
    let known = app.registry.get();
    let named = |(id, rollup): (PointId, Rollup)| {
        let point = known.points.get(&id)?.clone();
        let enterprise_name = point.enterprise.and_then(|e| known.enterprises.get(&e)).map(|e| e.name.clone());
        Some((TopPoint { point, enterprise_name }, rollup))
    };
    Ok(found.into_iter().filter_map(named).collect())
}

/// The time asked for; by default the 24 hours before `to`, and `to` is now.
fn day_before(app: &App, from: Option<Timestamp>, to: Option<Timestamp>) -> Result<(Timestamp, Timestamp), AppError> {
    let to = to.unwrap_or_else(|| app.clock.now());
    let from = from.unwrap_or_else(|| to.plus_us(-24 * HOUR_US));
    if from >= to {
        return Err(AppError::invalid("window.empty", "to"));
    }
    Ok((from, to))
}

/// The points that a question is about, if it does not cost too much, and its turn.
async fn many<'a>(
    app: &'a App,
    scope: &Scope,
    filter: &PointFilter,
    (from, to): (Timestamp, Timestamp),
    most: i64,
) -> Result<(PointSet, SemaphorePermit<'a>), AppError> {
    let scope = scope.with(Permission::View)?;
    let seen = app.store.point_set(&scope, filter).await?;
    let hours = to.since_us(from).div_euclid(HOUR_US).saturating_add(1);
    let cost = hours.saturating_mul(i64::try_from(seen.len()).unwrap_or(i64::MAX));
    if cost > most {
        let refusal = AppError::invalid("rollup.too_much", "from");
        return Err(refusal.with("points", seen.len()).with("max_hours", most / (seen.len() as i64).max(1)));
    }
    let turn = app.many.acquire().await.map_err(|_| AppError::new(Kind::Internal, "internal"))?;
    Ok((seen, turn))
}

/// The set of this one point.
///
/// # Errors
/// Not there or not visible.
async fn visible(app: &App, scope: &Scope, id: PointId) -> Result<PointSet, AppError> {
    let scope = scope.with(Permission::View)?;
    let seen = app.store.point_set(&scope, &PointFilter { id: Some(id), ..PointFilter::default() }).await?;
    if seen.is_empty() { Err(AppError::not_found()) } else { Ok(seen) }
}

/// Runs file I/O off the async threads.
pub(crate) async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, AppError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| AppError::new(Kind::Internal, "internal"))
}
