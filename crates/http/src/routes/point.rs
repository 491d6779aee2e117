//! Measuring points (测点): newest values, history, limits.

use anlan_app::App;
use anlan_app::error::AppError;
use anlan_app::point::{self, LatestView, PointChange, PointFilter, PointView, Rollup, TopPoint};
use anlan_app::retention::Gap;
use anlan_app::validate::{self, Page};
use anlan_domain::alarm::Rule;
use anlan_model::noun::{Limits, LimitsSource};
use anlan_model::{Quality, Reading, Scope};
use axum::Json;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Answer;
use crate::csv::{self, Csv};
use crate::dto::{At, Level, Place, at_option, flag, id_option, nullable};
use crate::extract::{AppRef, Body, Caller, PathId, Query};
use crate::json::Rows;
use crate::problem::Failure;

/// Most readings of one answer (INTERFACES).
const READINGS_MAX: u32 = 10_000;
/// Pages of that size in one CSV file, held in memory: some 20 MB of text.
const CSV_PAGES: u64 = 20;
/// Readings of an answer when the asker does not say (INTERFACES).
const READINGS: u32 = 1_000;

/// A point, its limits and its newest value.
#[derive(Serialize, ToSchema)]
#[schema(as = Point)]
pub(crate) struct PointDto {
    id: String,
    device: String,
    enterprise: Option<String>,
    enterprise_name: Option<String>,
    /// Unit of the plant (装置); empty = none.
    site: String,
    /// Within the device.
    code: String,
    name: String,
    unit: String,
    /// A word of `GET /kinds`; empty = unknown.
    kind: String,
    /// Expected seconds between readings; 0 = unknown.
    period_s: f64,
    range_low: Option<f64>,
    range_high: Option<f64>,
    limits: LimitsDto,
    limits_source: Option<LimitsSourceDto>,
    /// The limits it is judged by: its own, or else the pack's for its kind and unit.
    judged: Vec<JudgedDto>,
    /// `false`: seen, not yet confirmed; kept and charted, no rule.
    confirmed: bool,
    place: Option<Place>,
    revision: i64,
    latest: Option<Latest>,
}

/// A limit in force.
#[derive(Serialize, ToSchema)]
#[schema(as = JudgedLimit)]
pub(crate) struct JudgedDto {
    /// `hh`, `h`, `l`, `ll`.
    kind: &'static str,
    /// Level of the alarm it raises.
    level: Level,
    /// In the point's unit.
    threshold: f64,
    /// Standard and clause, or the enterprise's document; empty = not named.
    source: String,
    /// `verified`, `verified-secondary`, `enterprise`, `product`, `unverified`.
    confidence: String,
}

impl From<Rule> for JudgedDto {
    fn from(rule: Rule) -> Self {
        Self {
            kind: rule.kind.as_str(),
            level: rule.level.into(),
            threshold: rule.threshold,
            source: rule.source.clone(),
            confidence: rule.confidence.clone(),
        }
    }
}

/// Limits in the point's unit.
#[derive(Serialize, ToSchema)]
#[schema(as = Limits)]
pub(crate) struct LimitsDto {
    hh: Option<f64>,
    h: Option<f64>,
    l: Option<f64>,
    ll: Option<f64>,
    deadband: f64,
    on_delay_s: f64,
    off_delay_s: f64,
    rate_per_min: Option<f64>,
}

/// Limits to set; what is left out is not set.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LimitsBody {
    hh: Option<f64>,
    h: Option<f64>,
    l: Option<f64>,
    ll: Option<f64>,
    /// How far back inside the limit the value must come; ≥ 0.
    deadband: Option<f64>,
    /// 0 to 86,400.
    on_delay_s: Option<f64>,
    /// 0 to 86,400.
    off_delay_s: Option<f64>,
    rate_per_min: Option<f64>,
}

impl From<Limits> for LimitsDto {
    fn from(l: Limits) -> Self {
        Self {
            hh: l.hh,
            h: l.h,
            l: l.l,
            ll: l.ll,
            deadband: l.deadband,
            on_delay_s: l.on_delay_s,
            off_delay_s: l.off_delay_s,
            rate_per_min: l.rate_per_min,
        }
    }
}

impl From<LimitsBody> for Limits {
    fn from(l: LimitsBody) -> Self {
        Self {
            hh: l.hh,
            h: l.h,
            l: l.l,
            ll: l.ll,
            deadband: l.deadband.unwrap_or(0.0),
            on_delay_s: l.on_delay_s.unwrap_or(0.0),
            off_delay_s: l.off_delay_s.unwrap_or(0.0),
            rate_per_min: l.rate_per_min,
        }
    }
}

/// Who set the limits.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = LimitsSource)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitsSourceDto {
    /// Standard or document.
    document: String,
    /// Clause or page.
    #[serde(default)]
    clause: String,
}

impl From<LimitsSource> for LimitsSourceDto {
    fn from(s: LimitsSource) -> Self {
        Self { document: s.document, clause: s.clause }
    }
}

impl From<LimitsSourceDto> for LimitsSource {
    fn from(s: LimitsSourceDto) -> Self {
        Self { document: s.document, clause: s.clause }
    }
}

/// The newest reading of a point.
#[derive(Serialize, ToSchema)]
pub(crate) struct Latest {
    at: At,
    received_at: At,
    value: f64,
    /// `good`, `uncertain`, `bad`.
    quality: &'static str,
    flags: Vec<&'static str>,
    /// Silent for longer than its rule allows.
    stale: bool,
    /// Seconds since `at`.
    age_s: f64,
}

impl From<LatestView> for Latest {
    fn from(view: LatestView) -> Self {
        let r = view.reading;
        Self {
            at: r.event_at.into(),
            received_at: r.received_at.into(),
            value: r.value,
            quality: r.quality.as_str(),
            flags: r.flags.names(),
            stale: view.stale,
            age_s: view.age_s,
        }
    }
}

impl From<PointView> for PointDto {
    fn from(view: PointView) -> Self {
        let p = view.row.point;
        Self {
            id: p.id.to_string(),
            device: p.device.to_string(),
            enterprise: p.enterprise.map(|e| e.to_string()),
            enterprise_name: view.row.enterprise_name,
            site: p.site,
            code: p.code,
            name: p.name,
            unit: p.unit,
            kind: p.kind,
            period_s: p.period_s,
            range_low: p.range_low,
            range_high: p.range_high,
            limits: p.limits.into(),
            limits_source: p.limits_source.map(Into::into),
            judged: view.judged.into_iter().map(Into::into).collect(),
            confirmed: p.confirmed,
            place: p.place.map(Into::into),
            revision: p.revision,
            latest: view.latest.map(Into::into),
        }
    }
}

/// A page of points.
#[derive(Serialize, ToSchema)]
pub(crate) struct PointList {
    points: Vec<PointDto>,
    next: Option<String>,
}

/// A point's newest value, without its settings.
#[derive(Serialize, ToSchema)]
pub(crate) struct PointLatest {
    id: String,
    code: String,
    name: String,
    unit: String,
    site: String,
    device: String,
    latest: Option<Latest>,
    /// Worst of its standing alarms.
    level: Option<Level>,
}

/// Newest values.
#[derive(Serialize, ToSchema)]
pub(crate) struct PointLatestList {
    points: Vec<PointLatest>,
    next: Option<String>,
}

/// One kept value.
#[derive(Serialize, ToSchema)]
#[schema(as = Reading)]
pub(crate) struct ReadingDto {
    at: At,
    received_at: At,
    value: f64,
    quality: &'static str,
    /// Such as `late`, `clock_bad`.
    flags: Vec<&'static str>,
    /// 0 for the first value of the instant, then counting up; the newest is shown.
    revision: u16,
}

impl From<Reading> for ReadingDto {
    fn from(r: Reading) -> Self {
        Self {
            at: r.event_at.into(),
            received_at: r.received_at.into(),
            value: r.value,
            quality: r.quality.as_str(),
            flags: r.flags.names(),
            revision: r.revision,
        }
    }
}

/// A page of history, oldest first. The shape of it: [`Rows`] writes the text.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReadingList {
    readings: Vec<ReadingDto>,
    next: Option<String>,
    /// What retention dropped of the range; on later pages, of what was left to show.
    dropped: Vec<Dropped>,
}

/// One window.
#[derive(Serialize, ToSchema)]
pub(crate) struct RollupRow {
    /// Start of the window.
    at: At,
    min: f64,
    max: f64,
    mean: f64,
    count: u64,
}

#[cfg(test)]
impl From<Rollup> for RollupRow {
    fn from(r: Rollup) -> Self {
        Self { at: r.at.into(), min: r.min, max: r.max, mean: r.mean, count: r.count }
    }
}

/// Windows, oldest first; those without a reading are left out. The shape of it: [`Rows`] writes the text.
#[derive(Serialize, ToSchema)]
pub(crate) struct RollupList {
    rollup: Vec<RollupRow>,
    next: Option<String>,
    /// What retention dropped of the range; of many points: of any. Where hours are left, they stand for narrower windows too.
    dropped: Vec<Dropped>,
}

/// The same page as [`ReadingList`] in a sixth of the text: entry `i` of each column is reading `i`. The shape of it: [`Rows`] writes the text.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReadingColumns {
    /// Instants, µs since 1970 UTC, ascending.
    at_us: Vec<i64>,
    value: Vec<f64>,
    /// Numbers (from 0) of the readings whose quality is bad.
    bad: Vec<i64>,
    /// Numbers of those whose quality is uncertain; all others are good.
    uncertain: Vec<i64>,
    next: Option<String>,
    dropped: Vec<Dropped>,
}

/// The same windows as [`RollupList`]: entry `i` of each column is window `i`. The shape of it: [`Rows`] writes the text.
#[derive(Serialize, ToSchema)]
pub(crate) struct RollupColumns {
    /// Starts of the windows, µs since 1970 UTC, ascending; windows without a reading are left out.
    at_us: Vec<i64>,
    min: Vec<f64>,
    max: Vec<f64>,
    mean: Vec<f64>,
    count: Vec<i64>,
    next: Option<String>,
    dropped: Vec<Dropped>,
}

/// Days that retention dropped: an empty answer there is not silence.
#[derive(Serialize, ToSchema)]
pub(crate) struct Dropped {
    from: At,
    /// Exclusive.
    to: At,
    /// `hours`: the statistics of its hours (`…/rollup?step=1h`); `nothing`: what there was is no longer known.
    left: &'static str,
}

impl From<Gap> for Dropped {
    fn from(gap: Gap) -> Self {
        Self { from: gap.from.into(), to: gap.to.into(), left: if gap.hours { "hours" } else { "nothing" } }
    }
}

fn dropped(gaps: Vec<Gap>) -> Vec<Dropped> {
    gaps.into_iter().map(Into::into).collect()
}

fn rollups(rollups: &[Rollup], gaps: Vec<Gap>) -> Response {
    let mut rows = Rows::begin(r#"{"rollup":["#, rollups.len());
    rollups.iter().for_each(|r| rows.rollup(r));
    rows.end(None, &dropped(gaps))
}

fn reading_columns(readings: &[Reading], next: Option<&str>, gaps: Vec<Gap>) -> Response {
    let of = |quality: Quality| readings.iter().zip(0..).filter(move |(r, _)| r.quality == quality).map(|(_, i)| i);
    let mut columns = Rows::columns(2, readings.len());
    columns.integers("at_us", readings.iter().map(|r| r.event_at.micros()));
    columns.numbers("value", readings.iter().map(|r| r.value));
    columns.integers("bad", of(Quality::Bad));
    columns.integers("uncertain", of(Quality::Uncertain));
    columns.end(next, &dropped(gaps))
}

fn rollup_columns(rollups: &[Rollup], gaps: Vec<Gap>) -> Response {
    let mut columns = Rows::columns(5, rollups.len());
    columns.integers("at_us", rollups.iter().map(|r| r.at.micros()));
    columns.numbers("min", rollups.iter().map(|r| r.min));
    columns.numbers("max", rollups.iter().map(|r| r.max));
    columns.numbers("mean", rollups.iter().map(|r| r.mean));
    columns.integers("count", rollups.iter().map(|r| i64::try_from(r.count).unwrap_or(i64::MAX)));
    columns.end(None, &dropped(gaps))
}

/// Which points.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    device: Option<String>,
    enterprise: Option<String>,
    /// Part of code, name or site.
    q: Option<String>,
    /// `1`: only those nobody has confirmed.
    unconfirmed: Option<String>,
    cursor: Option<String>,
    /// 1 to 1,000.
    limit: Option<u32>,
}

/// Newest values of whom.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct LatestQuery {
    enterprise: Option<String>,
    device: Option<String>,
}

/// Which part of the history.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct HistoryQuery {
    /// RFC 3339, inclusive; left out = from the first.
    from: Option<String>,
    /// RFC 3339, exclusive; left out = to the newest.
    to: Option<String>,
    cursor: Option<String>,
    /// 1 to 10,000; 1,000 if left out.
    limit: Option<u32>,
}

impl HistoryQuery {
    /// Checked; readings and positions share it.
    pub(super) fn read(self) -> Result<point::Window, anlan_app::error::AppError> {
        Ok(point::Window {
            from: at_option("from", self.from.as_deref())?,
            to: at_option("to", self.to.as_deref())?,
            cursor: self.cursor.filter(|c| !c.is_empty()),
            limit: validate::rows(self.limit.unwrap_or(READINGS), READINGS_MAX)?,
        })
    }
}

/// Windows of which width.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct RollupQuery {
    /// `60s`, `1h` or `1d`; windows count from 1970 UTC.
    step: String,
    /// RFC 3339; left out = from the first.
    from: Option<String>,
    /// RFC 3339; left out = to the newest.
    to: Option<String>,
}

/// What to change; fields left out stay.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PointChangeBody {
    /// As read; an older one is refused.
    revision: i64,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    unit: Option<String>,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    site: Option<String>,
    #[serde(default)]
    period_s: Option<f64>,
    /// `null` removes it.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<f64>)]
    range_low: Option<Option<f64>>,
    /// `null` removes it.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<f64>)]
    range_high: Option<Option<f64>>,
    /// All of them.
    #[serde(default)]
    limits: Option<LimitsBody>,
    /// `null` removes it.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<LimitsSourceDto>)]
    limits_source: Option<Option<LimitsSourceDto>>,
    /// `null` removes it.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Place>)]
    place: Option<Option<Place>>,
    #[serde(default)]
    confirmed: Option<bool>,
}

/// Lists points in order of ids.
#[utoipa::path(get, path = "/points", tag = "point", params(ListQuery), responses((status = 200, body = PointList)))]
pub(crate) async fn list(AppRef(app): AppRef, caller: Caller, Query(query): Query<ListQuery>) -> Answer<PointList> {
    let filter = PointFilter {
        device: id_option("device", query.device.as_deref())?,
        enterprise: id_option("enterprise", query.enterprise.as_deref())?,
        q: query.q,
        unconfirmed: flag("unconfirmed", query.unconfirmed.as_deref())?.unwrap_or(false),
        ..PointFilter::default()
    };
    let page = point::list(&app, &caller.scope, &filter, &validate::paging(query.cursor, query.limit)?).await?;
    Ok(Json(PointList { points: page.items.into_iter().map(Into::into).collect(), next: page.next }))
}

/// Newest value of every visible point.
#[utoipa::path(get, path = "/points/latest", tag = "point", params(LatestQuery), responses((status = 200, body = PointLatestList)))]
pub(crate) async fn latest(AppRef(app): AppRef, caller: Caller, Query(query): Query<LatestQuery>) -> Answer<PointLatestList> {
    let filter = PointFilter {
        enterprise: id_option("enterprise", query.enterprise.as_deref())?,
        device: id_option("device", query.device.as_deref())?,
        ..PointFilter::default()
    };
    let views = point::latest(&app, &caller.scope, &filter).await?;
    let points = views.into_iter().map(|view| PointLatest {
        id: view.point.id.to_string(),
        code: view.point.code.clone(),
        name: view.point.name.clone(),
        unit: view.point.unit.clone(),
        site: view.point.site.clone(),
        device: view.point.device.to_string(),
        latest: view.latest.map(Into::into),
        level: view.worst_level.map(Into::into),
    });
    Ok(Json(PointLatestList { points: points.collect(), next: None }))
}

/// One point.
#[utoipa::path(get, path = "/points/{id}", tag = "point", params(("id" = String, Path)), responses((status = 200, body = PointDto)))]
pub(crate) async fn get(AppRef(app): AppRef, caller: Caller, id: PathId) -> Answer<PointDto> {
    Ok(Json(point::get(&app, &caller.scope, id.read()?).await?.into()))
}

/// Changes a point; limits need the permission for limits only.
#[utoipa::path(patch, path = "/points/{id}", tag = "point", params(("id" = String, Path)), request_body = PointChangeBody, responses((status = 200, body = PointDto)))]
pub(crate) async fn update(AppRef(app): AppRef, caller: Caller, id: PathId, Body(body): Body<PointChangeBody>) -> Answer<PointDto> {
    let change = PointChange {
        revision: body.revision,
        name: body.name,
        unit: body.unit,
        kind: body.kind,
        site: body.site,
        period_s: body.period_s,
        range_low: body.range_low,
        range_high: body.range_high,
        limits: body.limits.map(Into::into),
        limits_source: body.limits_source.map(|s| s.map(Into::into)),
        place: body.place.map(|p| p.map(Place::read).transpose()).transpose()?,
        confirmed: body.confirmed,
    };
    Ok(Json(point::update(&app, &caller.scope, id.read()?, change).await?.into()))
}

/// History of a point, oldest first, newest revision of each instant.
#[utoipa::path(get, path = "/points/{id}/readings", tag = "point", params(("id" = String, Path), HistoryQuery), responses((status = 200, body = ReadingList)))]
pub(crate) async fn readings(
    AppRef(app): AppRef,
    caller: Caller,
    id: PathId,
    Query(query): Query<HistoryQuery>,
) -> Result<Response, Failure> {
    let (page, gaps) = history(&app, &caller.scope, id, query).await?;
    let mut rows = Rows::begin(r#"{"readings":["#, page.items.len());
    page.items.iter().for_each(|r| rows.reading(r));
    Ok(rows.end(page.next.as_deref(), &dropped(gaps)))
}

/// The same as columns: for charts and programs that want values alone.
#[utoipa::path(get, path = "/points/{id}/readings/columns", tag = "point", params(("id" = String, Path), HistoryQuery), responses((status = 200, body = ReadingColumns)))]
pub(crate) async fn readings_columns(
    AppRef(app): AppRef,
    caller: Caller,
    id: PathId,
    Query(query): Query<HistoryQuery>,
) -> Result<Response, Failure> {
    let (page, gaps) = history(&app, &caller.scope, id, query).await?;
    Ok(reading_columns(&page.items, page.next.as_deref(), gaps))
}

async fn history(app: &App, scope: &Scope, id: PathId, query: HistoryQuery) -> Result<(Page<Reading>, Vec<Gap>), Failure> {
    let (id, window) = (id.read()?, query.read()?);
    let (from, to) = window.left()?;
    let page = point::readings(app, scope, id, window).await?;
    // Rows first: a day that is dropped in between is named rather than missed.
    let gaps = point::gaps(app, scope, id, from, to).await?;
    Ok((page, gaps))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct SpanQuery {
    /// RFC 3339, inclusive; left out = from the first.
    from: Option<String>,
    /// RFC 3339, exclusive; left out = to the newest.
    to: Option<String>,
}

/// Readings as CSV, oldest first, at most 200,000 (two weeks at 6 s; 400 `csv.too_long` beyond): a file that a spreadsheet opens.
#[utoipa::path(get, path = "/points/{id}/readings.csv", tag = "point", params(("id" = String, Path), SpanQuery), responses((status = 200, body = String, content_type = "text/csv")))]
pub(crate) async fn readings_csv(
    AppRef(app): AppRef,
    caller: Caller,
    id: PathId,
    Query(query): Query<SpanQuery>,
) -> Result<Response, Failure> {
    let id = id.read()?;
    let view = point::get(&app, &caller.scope, id).await?;
    let mut window = point::Window {
        from: at_option("from", query.from.as_deref())?,
        to: at_option("to", query.to.as_deref())?,
        cursor: None,
        limit: READINGS_MAX,
    };
    let mut csv = Csv::new(&["point", "name", "at", "received_at", "value", "unit", "quality", "flags", "revision"]);
    for _ in 0..CSV_PAGES {
        let page = point::readings(&app, &caller.scope, id, window.clone()).await?;
        for r in &page.items {
            csv.row(&[
                view.row.point.code.as_str(),
                view.row.point.name.as_str(),
                &r.event_at.to_string(),
                &r.received_at.to_string(),
                &r.value.to_string(),
                view.row.point.unit.as_str(),
                r.quality.as_str(),
                &r.flags.names().join(" "),
                &r.revision.to_string(),
            ]);
        }
        match page.next {
            Some(next) => window.cursor = Some(next),
            None => return Ok(csv::file(csv, &format!("readings-{id}.csv"))),
        }
    }
    // A file that ends early looks whole.
    Err(AppError::invalid("csv.too_long", "from").with("most", u64::from(READINGS_MAX) * CSV_PAGES).into())
}

/// Least, greatest, mean and count of each window.
#[utoipa::path(get, path = "/points/{id}/rollup", tag = "point", params(("id" = String, Path), RollupQuery), responses((status = 200, body = RollupList)))]
pub(crate) async fn rollup(AppRef(app): AppRef, caller: Caller, id: PathId, Query(query): Query<RollupQuery>) -> Result<Response, Failure> {
    let (rows, gaps) = windows(&app, &caller.scope, id, query).await?;
    Ok(rollups(&rows, gaps))
}

/// The same as columns: for charts and programs.
#[utoipa::path(get, path = "/points/{id}/rollup/columns", tag = "point", params(("id" = String, Path), RollupQuery), responses((status = 200, body = RollupColumns)))]
pub(crate) async fn rollup_as_columns(
    AppRef(app): AppRef,
    caller: Caller,
    id: PathId,
    Query(query): Query<RollupQuery>,
) -> Result<Response, Failure> {
    let (rows, gaps) = windows(&app, &caller.scope, id, query).await?;
    Ok(rollup_columns(&rows, gaps))
}

async fn windows(app: &App, scope: &Scope, id: PathId, query: RollupQuery) -> Result<(Vec<Rollup>, Vec<Gap>), Failure> {
    let (from, to) = (at_option("from", query.from.as_deref())?, at_option("to", query.to.as_deref())?);
    let id = id.read()?;
    let rows = point::rollup(app, scope, id, &query.step, from, to).await?;
    let gaps = point::gaps(app, scope, id, from, to).await?;
    Ok((rows, gaps))
}

/// Which points a question is about.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ManyRollupQuery {
    /// `60s`, `1h` or `1d`; windows count from 1970 UTC. Of archived days only hours are left, which a narrower step gets.
    step: String,
    device: Option<String>,
    enterprise: Option<String>,
    /// A division and all below it.
    region: Option<String>,
    /// A word of `GET /kinds`; without it values of all kinds are taken together.
    kind: Option<String>,
    /// RFC 3339, inclusive; left out = 24 hours before `to`.
    from: Option<String>,
    /// RFC 3339, exclusive; left out = now.
    to: Option<String>,
}

/// Which points are ranked, and by what.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct TopQuery {
    /// `max` (greatest first, the default), `min` (least first) or `mean` (greatest first).
    figure: Option<String>,
    /// 1 to 100; 10 if left out.
    n: Option<usize>,
    device: Option<String>,
    enterprise: Option<String>,
    /// A division and all below it.
    region: Option<String>,
    /// A word of `GET /kinds`; without it values of all kinds are compared.
    kind: Option<String>,
    /// RFC 3339, inclusive; left out = 24 hours before `to`.
    from: Option<String>,
    /// RFC 3339, exclusive; left out = now.
    to: Option<String>,
}

/// A point that stands out, and what the whole time said of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct TopRow {
    id: String,
    code: String,
    name: String,
    unit: String,
    kind: String,
    site: String,
    device: String,
    enterprise: Option<String>,
    enterprise_name: Option<String>,
    min: f64,
    max: f64,
    mean: f64,
    count: u64,
}

/// Points that stand out, the first one most.
#[derive(Serialize, ToSchema)]
pub(crate) struct TopList {
    points: Vec<TopRow>,
    next: Option<String>,
}

fn filter(
    app: &anlan_app::App,
    device: Option<&str>,
    enterprise: Option<&str>,
    region: Option<String>,
    kind: Option<String>,
) -> Result<PointFilter, AppError> {
    let known = app.registry.get();
    Ok(PointFilter {
        device: id_option("device", device)?,
        enterprise: id_option("enterprise", enterprise)?,
        region: region.filter(|r| !r.is_empty()).map(|r| validate::region_ever("region", &r, &known.regions)).transpose()?,
        kind: kind.filter(|k| !k.is_empty()),
        ..PointFilter::default()
    })
}

/// Least, greatest, mean and count of each window, all visible points that pass taken together.
#[utoipa::path(get, path = "/points/rollup", tag = "point", params(ManyRollupQuery), responses((status = 200, body = RollupList)))]
pub(crate) async fn rollup_all(AppRef(app): AppRef, caller: Caller, Query(query): Query<ManyRollupQuery>) -> Result<Response, Failure> {
    let (from, to) = (at_option("from", query.from.as_deref())?, at_option("to", query.to.as_deref())?);
    let filter = filter(&app, query.device.as_deref(), query.enterprise.as_deref(), query.region, query.kind)?;
    let rows = point::rollup_all(&app, &caller.scope, &filter, &query.step, from, to).await?;
    Ok(rollups(&rows, point::gaps_all(&app, &caller.scope, from, to).await?))
}

/// The visible points that stand out in a time: the highest gas, the lowest level.
#[utoipa::path(get, path = "/points/top", tag = "point", params(TopQuery), responses((status = 200, body = TopList)))]
pub(crate) async fn top(AppRef(app): AppRef, caller: Caller, Query(query): Query<TopQuery>) -> Answer<TopList> {
    let (from, to) = (at_option("from", query.from.as_deref())?, at_option("to", query.to.as_deref())?);
    let filter = filter(&app, query.device.as_deref(), query.enterprise.as_deref(), query.region, query.kind)?;
    let (figure, n) = (query.figure.as_deref().unwrap_or("max"), query.n.unwrap_or(10));
    let rows = point::top(&app, &caller.scope, &filter, figure, n, from, to).await?;
    let row = |(top, r): (TopPoint, Rollup)| TopRow {
        id: top.point.id.to_string(),
        code: top.point.code.clone(),
        name: top.point.name.clone(),
        unit: top.point.unit.clone(),
        kind: top.point.kind.clone(),
        site: top.point.site.clone(),
        device: top.point.device.to_string(),
        enterprise: top.point.enterprise.map(|e| e.to_string()),
        enterprise_name: top.enterprise_name,
        min: r.min,
        max: r.max,
        mean: r.mean,
        count: r.count,
    };
    Ok(Json(TopList { points: rows.into_iter().map(row).collect(), next: None }))
}

#[cfg(test)]
mod tests {
    use anlan_model::{Flags, PointId, Quality, Timestamp};
    use axum::body::to_bytes;

    use super::*;

    async fn text(response: Response) -> String {
        assert_eq!(response.headers()["content-type"], "application/json");
        String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn long_lists_read_as_serde_writes_their_shape() {
        let reading = |i: i64| Reading {
            point: PointId::new(1),
            event_at: Timestamp::from_micros(1_795_392_000_000_123 * (i % 3 - 1) + i),
            device_at: None,
            received_at: Timestamp::from_micros(1_795_392_000_000_000 + i * 1_000_003),
            value: i as f64 / 7.0,
            quality: Quality::from_code((i % 3) as u8),
            flags: Flags::from_bits((i * 37) as u16),
            revision: (i % 4 * 1_000) as u16,
        };
        let rollup = |i: i64| Rollup {
            at: Timestamp::from_micros(i * 60_000_000),
            min: i as f64 / 10.0,
            max: -0.0,
            mean: i as f64 / 3.0,
            first: 0.0,
            last: 0.0,
            count: i.unsigned_abs() * 1_000_003,
            bad: 1,
        };
        let gaps = vec![
            Gap { from: Timestamp::EPOCH, to: Timestamp::MAX, hours: true },
            Gap { from: Timestamp::MIN, to: Timestamp::EPOCH, hours: false },
        ];
        for n in [0, 1, 2, 300] {
            let readings: Vec<Reading> = (0..n).map(reading).collect();
            let next = (n > 1).then(|| "12\"3".to_owned());
            let mut rows = Rows::begin(r#"{"readings":["#, readings.len());
            readings.iter().for_each(|r| rows.reading(r));
            let shape = ReadingList {
                readings: readings.iter().copied().map(Into::into).collect(),
                next: next.clone(),
                dropped: dropped(gaps.clone()),
            };
            assert_eq!(text(rows.end(next.as_deref(), &dropped(gaps.clone()))).await, serde_json::to_string(&shape).unwrap());

            let windows: Vec<Rollup> = (0..n).map(rollup).collect();
            let shape = RollupList { rollup: windows.iter().copied().map(Into::into).collect(), next: None, dropped: Vec::new() };
            assert_eq!(text(rollups(&windows, Vec::new())).await, serde_json::to_string(&shape).unwrap());

            let of = |quality| (0..n).filter(|i| readings[*i as usize].quality == quality).collect();
            let shape = ReadingColumns {
                at_us: readings.iter().map(|r| r.event_at.micros()).collect(),
                value: readings.iter().map(|r| r.value).collect(),
                bad: of(Quality::Bad),
                uncertain: of(Quality::Uncertain),
                next: next.clone(),
                dropped: dropped(gaps.clone()),
            };
            assert_eq!(text(reading_columns(&readings, next.as_deref(), gaps.clone())).await, serde_json::to_string(&shape).unwrap());
            let shape = RollupColumns {
                at_us: windows.iter().map(|r| r.at.micros()).collect(),
                min: windows.iter().map(|r| r.min).collect(),
                max: windows.iter().map(|r| r.max).collect(),
                mean: windows.iter().map(|r| r.mean).collect(),
                count: windows.iter().map(|r| r.count as i64).collect(),
                next: None,
                dropped: Vec::new(),
            };
            assert_eq!(text(rollup_columns(&windows, Vec::new())).await, serde_json::to_string(&shape).unwrap());
        }
    }
}
