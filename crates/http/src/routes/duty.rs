//! Duty rotas (值班表): shifts, who is on duty now, and handovers.

use anlan_app::duty::{self, DeskNow, DutyFilter, DutyHandoverRow, DutyShift, DutyShiftRow, Pattern, ShiftChange};
use anlan_app::error::AppError;
use anlan_app::validate;
use anlan_domain::duty::{Desk, Part, Span, time};
use anlan_model::{Timestamp, UserId};
use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::Answer;
use crate::dto::{At, at_option, id, id_option, nullable};
use crate::extract::{AppRef, Body, Caller, PathId, Query};
use crate::problem::Failure;

/// A shift.
#[derive(Serialize, ToSchema)]
#[schema(as = DutyShift)]
pub(crate) struct ShiftDto {
    id: String,
    region: String,
    region_name: String,
    /// `watch`, `leader`, `on_call`.
    desk: String,
    user: String,
    user_name: String,
    second: Option<String>,
    second_name: Option<String>,
    from: At,
    /// The first instant after it.
    to: At,
    phone: String,
    note: String,
    handover: Option<HandoverDto>,
    revision: i64,
}

/// What a shift hands over to the next.
#[derive(Serialize, ToSchema)]
#[schema(as = DutyHandover)]
pub(crate) struct HandoverDto {
    text: String,
    /// Alarms of the division that were open then, as the node counted them.
    open_alarms: i64,
    /// The newest of them: `id`, `level`, `name`, `enterprise_name`.
    alarms: Value,
    by: String,
    by_name: String,
    at: At,
    /// Whoever of a later shift read it; `null` = nobody yet.
    confirmed_by_name: Option<String>,
    confirmed_at: Option<At>,
    revision: i64,
}

impl From<DutyHandoverRow> for HandoverDto {
    fn from(row: DutyHandoverRow) -> Self {
        Self {
            text: row.text,
            open_alarms: row.n_alarms,
            alarms: row.alarms,
            by: row.by.to_string(),
            by_name: row.by_name,
            at: row.at.into(),
            confirmed_by_name: row.confirmed_by_name,
            confirmed_at: row.confirmed_at.map(Into::into),
            revision: row.revision,
        }
    }
}

impl From<DutyShiftRow> for ShiftDto {
    fn from(row: DutyShiftRow) -> Self {
        let shift = row.shift;
        Self {
            id: row.id.to_string(),
            region_name: row.region_name.unwrap_or_else(|| shift.region.to_string()),
            region: shift.region.to_string(),
            desk: shift.desk,
            user: shift.user.to_string(),
            user_name: row.user_name,
            second: shift.second.map(|id| id.to_string()),
            second_name: row.second_name,
            from: shift.from.into(),
            to: shift.to.into(),
            phone: shift.phone,
            note: shift.note,
            handover: row.handover.map(Into::into),
            revision: row.revision,
        }
    }
}

/// A page of shifts, in order of their beginnings.
#[derive(Serialize, ToSchema)]
pub(crate) struct DutyShiftList {
    shifts: Vec<ShiftDto>,
    next: Option<String>,
}

/// Hours.
#[derive(Serialize, ToSchema)]
pub(crate) struct DutyGap {
    from: At,
    to: At,
}

impl From<Span> for DutyGap {
    fn from(span: Span) -> Self {
        Self { from: span.from.into(), to: span.to.into() }
    }
}

/// A desk that has a rota, as it is now.
#[derive(Serialize, ToSchema)]
pub(crate) struct DutyDesk {
    region: String,
    region_name: String,
    /// `watch`, `leader`, `on_call`.
    desk: String,
    /// Shifts that are on.
    on: Vec<ShiftDto>,
    /// The next one.
    next: Option<ShiftDto>,
    /// Shifts whose handover nobody of a later shift confirmed.
    unread: Vec<ShiftDto>,
    /// Hours of the next 14 days that nobody covers.
    gaps: Vec<DutyGap>,
}

impl From<DeskNow> for DutyDesk {
    fn from(desk: DeskNow) -> Self {
        Self {
            region_name: desk.region_name.unwrap_or_else(|| desk.region.to_string()),
            region: desk.region.to_string(),
            desk: desk.desk,
            on: desk.on.into_iter().map(Into::into).collect(),
            next: desk.next.map(Into::into),
            unread: desk.unread.into_iter().map(Into::into).collect(),
            gaps: desk.gaps.into_iter().map(Into::into).collect(),
        }
    }
}

/// Who is on duty.
#[derive(Serialize, ToSchema)]
pub(crate) struct DutyNow {
    at: At,
    /// In order of divisions.
    desks: Vec<DutyDesk>,
}

/// Which shifts.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// Division, with those below it.
    region: Option<String>,
    /// `watch`, `leader`, `on_call`.
    desk: Option<String>,
    /// On duty themselves or as second person.
    user: Option<String>,
    /// Ending after this.
    from: Option<String>,
    /// Beginning before this.
    to: Option<String>,
    cursor: Option<String>,
    /// 1 to 1,000.
    limit: Option<u32>,
}

/// Which desks.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct NowQuery {
    /// Division, with those below it.
    region: Option<String>,
    /// Only whom to call for something in this division: its own desks, or those of the next above it, where somebody is on duty.
    near: Option<String>,
}

/// A shift to be entered.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DutyShiftBody {
    region: String,
    /// `watch`, `leader`, `on_call`.
    desk: String,
    /// Must hold the whole division.
    user: String,
    #[serde(default)]
    second: Option<String>,
    from: String,
    /// The first instant after it; at most 31 days after `from`.
    to: String,
    #[serde(default)]
    phone: String,
    #[serde(default)]
    note: String,
    /// Needed for what began already.
    #[serde(default)]
    reason: String,
}

/// Whose turn it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DutyTurn {
    user: String,
    #[serde(default)]
    second: Option<String>,
}

/// A shift of every day.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DutyPart {
    /// `HH:MM`, Beijing time.
    from: String,
    /// `HH:MM`; on the next day, unless later than `from`.
    to: String,
}

/// Shifts from day to day, people taking turns from shift to shift.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DutyPatternBody {
    region: String,
    /// `watch`, `leader`, `on_call`.
    desk: String,
    /// 1 to 60.
    people: Vec<DutyTurn>,
    /// 1 to 6.
    parts: Vec<DutyPart>,
    first_day: String,
    /// At most 366 days in all.
    last_day: String,
    #[serde(default)]
    phone: String,
    #[serde(default)]
    note: String,
    /// Needed for what began already.
    #[serde(default)]
    reason: String,
}

/// How many shifts were entered.
#[derive(Serialize, ToSchema)]
pub(crate) struct DutyMade {
    shifts: usize,
}

/// Fields to change; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DutyShiftPatch {
    revision: i64,
    #[serde(default)]
    user: Option<String>,
    /// `null` = nobody.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    second: Option<Option<String>>,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    phone: Option<String>,
    #[serde(default)]
    note: Option<String>,
    /// Needed for what began already.
    #[serde(default)]
    reason: String,
}

/// Two shifts whose people change places.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DutySwapBody {
    revision: i64,
    /// The other shift.
    with: String,
    with_revision: i64,
    #[serde(default)]
    reason: String,
}

/// Which state of the shift is taken away.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DutyRemoveBody {
    revision: i64,
    /// Needed for what began already.
    #[serde(default)]
    reason: String,
}

/// What is handed over.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DutyHandoverBody {
    text: String,
    /// Of the handover as last read; 0 = there was none.
    #[serde(default)]
    revision: i64,
}

/// What was read.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DutyConfirmBody {
    /// Of the handover.
    revision: i64,
}

fn desk(text: &str) -> Result<Desk, AppError> {
    Desk::parse(text).ok_or_else(|| AppError::invalid("word.unknown", "desk").with("word", text))
}

fn at(field: &str, text: &str) -> Result<Timestamp, AppError> {
    at_option(field, Some(text))?.ok_or_else(|| AppError::invalid("time.malformed", field))
}

fn turn(i: usize, turn: &DutyTurn) -> Result<(UserId, Option<UserId>), AppError> {
    Ok((id(&format!("people[{i}].user"), &turn.user)?, id_option(&format!("people[{i}].second"), turn.second.as_deref())?))
}

/// Lists shifts.
#[utoipa::path(get, path = "/duty/shifts", tag = "duty", params(ListQuery), responses((status = 200, body = DutyShiftList)))]
pub(crate) async fn list(AppRef(app): AppRef, caller: Caller, Query(query): Query<ListQuery>) -> Answer<DutyShiftList> {
    let known = app.registry.get();
    let text = |text: Option<String>| text.filter(|t| !t.is_empty());
    let filter = DutyFilter {
        region: text(query.region).map(|r| validate::region_ever("region", &r, &known.regions)).transpose()?,
        desk: text(query.desk).map(|d| desk(&d).map(|d| d.as_str().to_owned())).transpose()?,
        user: id_option("user", query.user.as_deref())?,
        from: at_option("from", query.from.as_deref())?,
        to: at_option("to", query.to.as_deref())?,
    };
    let page = duty::list(&app, &caller.scope, &filter, &validate::paging(query.cursor, query.limit)?).await?;
    Ok(Json(DutyShiftList { shifts: page.items.into_iter().map(Into::into).collect(), next: page.next }))
}

/// Who is on duty now at every desk that has a rota, and which hours of the next 14 days nobody covers.
#[utoipa::path(get, path = "/duty/now", tag = "duty", params(NowQuery), responses((status = 200, body = DutyNow)))]
pub(crate) async fn now(AppRef(app): AppRef, caller: Caller, Query(query): Query<NowQuery>) -> Answer<DutyNow> {
    let known = app.registry.get();
    let region = |field: &str, text: Option<String>| {
        text.filter(|t| !t.is_empty()).map(|r| validate::region_ever(field, &r, &known.regions)).transpose()
    };
    let (within, near) = (region("region", query.region)?, region("near", query.near)?);
    let now = duty::now(&app, &caller.scope, within, near.as_ref()).await?;
    Ok(Json(DutyNow { at: now.at.into(), desks: now.desks.into_iter().map(Into::into).collect() }))
}

/// Enters a shift.
#[utoipa::path(post, path = "/duty/shifts", tag = "duty", request_body = DutyShiftBody, responses((status = 201, body = ShiftDto), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn create(
    AppRef(app): AppRef,
    caller: Caller,
    Body(body): Body<DutyShiftBody>,
) -> Result<(StatusCode, Json<ShiftDto>), Failure> {
    let known = app.registry.get();
    let shift = DutyShift {
        region: validate::region("region", &body.region, &known.regions, app.today())?,
        desk: desk(&body.desk)?.as_str().to_owned(),
        user: id("user", &body.user)?,
        second: id_option("second", body.second.as_deref())?,
        from: at("from", &body.from)?,
        to: at("to", &body.to)?,
        phone: body.phone,
        note: body.note,
    };
    Ok((StatusCode::CREATED, Json(duty::create(&app, &caller.scope, shift, &body.reason).await?.into())))
}

/// Enters the shifts of a pattern, all or none.
#[utoipa::path(post, path = "/duty/patterns", tag = "duty", request_body = DutyPatternBody, responses((status = 201, body = DutyMade), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn repeat(
    AppRef(app): AppRef,
    caller: Caller,
    Body(body): Body<DutyPatternBody>,
) -> Result<(StatusCode, Json<DutyMade>), Failure> {
    let known = app.registry.get();
    let part = |(i, p): (usize, &DutyPart)| {
        let wrong = |end: &str| AppError::invalid("duty.time", &format!("parts[{i}].{end}"));
        Ok(Part { from: time(&p.from).ok_or_else(|| wrong("from"))?, to: time(&p.to).ok_or_else(|| wrong("to"))? })
    };
    let pattern = Pattern {
        region: validate::region("region", &body.region, &known.regions, app.today())?,
        desk: desk(&body.desk)?,
        people: body.people.iter().enumerate().map(|(i, t)| turn(i, t)).collect::<Result<_, _>>()?,
        parts: body.parts.iter().enumerate().map(part).collect::<Result<_, AppError>>()?,
        first: validate::day("first_day", &body.first_day)?,
        last: validate::day("last_day", &body.last_day)?,
        phone: body.phone,
        note: body.note,
    };
    let shifts = duty::repeat(&app, &caller.scope, pattern, &body.reason).await?;
    Ok((StatusCode::CREATED, Json(DutyMade { shifts })))
}

/// Changes a shift; its division and desk stay.
#[utoipa::path(patch, path = "/duty/shifts/{id}", tag = "duty", params(("id" = String, Path)), request_body = DutyShiftPatch, responses((status = 200, body = ShiftDto), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn update(AppRef(app): AppRef, caller: Caller, path: PathId, Body(body): Body<DutyShiftPatch>) -> Answer<ShiftDto> {
    let change = ShiftChange {
        revision: body.revision,
        user: id_option("user", body.user.as_deref())?,
        second: body.second.map(|second| id_option("second", second.as_deref())).transpose()?,
        from: at_option("from", body.from.as_deref())?,
        to: at_option("to", body.to.as_deref())?,
        phone: body.phone,
        note: body.note,
        reason: body.reason,
    };
    Ok(Json(duty::update(&app, &caller.scope, path.read()?, change).await?.into()))
}

/// Exchanges the people of two shifts.
#[utoipa::path(post, path = "/duty/shifts/{id}/swap", tag = "duty", params(("id" = String, Path)), request_body = DutySwapBody, responses((status = 204), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn swap(AppRef(app): AppRef, caller: Caller, path: PathId, Body(body): Body<DutySwapBody>) -> Result<StatusCode, Failure> {
    let with = (id("with", &body.with)?, body.with_revision);
    duty::swap(&app, &caller.scope, (path.read()?, body.revision), with, &body.reason).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a shift away.
#[utoipa::path(post, path = "/duty/shifts/{id}/remove", tag = "duty", params(("id" = String, Path)), request_body = DutyRemoveBody, responses((status = 204), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn remove(
    AppRef(app): AppRef,
    caller: Caller,
    path: PathId,
    Body(body): Body<DutyRemoveBody>,
) -> Result<StatusCode, Failure> {
    duty::remove(&app, &caller.scope, path.read()?, body.revision, &body.reason).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Writes what a shift hands over to the next; whoever is on duty in it.
#[utoipa::path(put, path = "/duty/shifts/{id}/handover", tag = "duty", params(("id" = String, Path)), request_body = DutyHandoverBody, responses((status = 200, body = ShiftDto), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn hand_over(AppRef(app): AppRef, caller: Caller, path: PathId, Body(body): Body<DutyHandoverBody>) -> Answer<ShiftDto> {
    Ok(Json(duty::hand_over(&app, &caller.scope, path.read()?, body.revision, &body.text).await?.into()))
}

/// Confirms having read it; whoever is on duty at the same desk in a later shift.
#[utoipa::path(post, path = "/duty/shifts/{id}/handover/confirm", tag = "duty", params(("id" = String, Path)), request_body = DutyConfirmBody, responses((status = 200, body = ShiftDto), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn confirm(AppRef(app): AppRef, caller: Caller, path: PathId, Body(body): Body<DutyConfirmBody>) -> Answer<ShiftDto> {
    Ok(Json(duty::confirm(&app, &caller.scope, path.read()?, body.revision).await?.into()))
}
