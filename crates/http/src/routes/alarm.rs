//! Alarms: the list, one occurrence, and what people do about it.

use std::collections::BTreeSet;

use anlan_app::alarm::{self, AlarmFilter};
use anlan_app::registry::Snapshot;
use anlan_app::validate;
use anlan_model::{Alarm, AlarmHandling, AlarmMember, AlarmState, Level as ModelLevel, Subject};
use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Answer;
use super::node::{Home, NodeLevel};
use crate::dto::{At, Level, at_option, flag, id_option, words};
use crate::extract::{AppRef, Body, Caller, PathId, Query};

/// One occurrence of an alarm.
#[derive(Serialize, ToSchema)]
#[schema(as = Alarm)]
pub(crate) struct AlarmDto {
    /// UUIDv7.
    id: String,
    /// Rule id.
    rule: String,
    /// `hh`, `h`, `l`, `ll`, `rate`, `stale`, `out_of_range`, `terminal_bit`, `overspeed`, `flat_line`, `combination`.
    kind: &'static str,
    /// Of a combination: the point of its first member.
    point: Option<String>,
    vehicle: Option<String>,
    /// Name of the point or combination, or plate of the vehicle.
    name: String,
    /// Of value and threshold.
    unit: String,
    enterprise: Option<String>,
    enterprise_name: Option<String>,
    region: Option<String>,
    region_name: Option<String>,
    level: Level,
    state: State,
    /// Points the rule looks at.
    points: Vec<String>,
    /// The combination rule that raised it.
    combination: Option<String>,
    /// Of a combination: its members in this occurrence.
    members: Vec<AlarmMemberDto>,
    /// Of a combination: how many members came together; `threshold` = how many it takes.
    value: Option<f64>,
    threshold: Option<f64>,
    /// Standard and clause, or the enterprise's document.
    source: String,
    /// `verified`, `verified-secondary`, `product`, `enterprise`, `unverified`.
    confidence: String,
    onset_at: At,
    raised_at: At,
    acknowledged_at: Option<At>,
    acknowledged_by: Option<String>,
    acknowledged_note: Option<String>,
    returned_at: Option<At>,
    closed_at: Option<At>,
    closed_by: Option<String>,
    closed_reason: Option<String>,
    /// From late or back-filled data.
    historic: bool,
    /// How the vehicle's terminal is believed; `null` for points.
    trust: Option<&'static str>,
    /// The node that judged it; `null` = this one.
    home: Option<Home>,
    /// What the people of other nodes did about it, the lowest level first; what was done here stands above.
    handlings: Vec<AlarmHandlingDto>,
}

/// What the people of another node did about an alarm.
#[derive(Serialize, ToSchema)]
#[schema(as = AlarmHandling)]
pub(crate) struct AlarmHandlingDto {
    node: String,
    /// Empty = unknown here.
    name: String,
    level: Option<NodeLevel>,
    acknowledged_at: Option<At>,
    acknowledged_by: Option<String>,
    acknowledged_note: Option<String>,
    closed_at: Option<At>,
    closed_by: Option<String>,
    closed_reason: Option<String>,
}

impl From<AlarmHandling> for AlarmHandlingDto {
    fn from(h: AlarmHandling) -> Self {
        Self {
            node: h.node.to_string(),
            name: h.name,
            level: h.level.map(Into::into),
            acknowledged_at: h.acknowledged_at.map(Into::into),
            acknowledged_by: h.acknowledged_by,
            acknowledged_note: h.acknowledged_note,
            closed_at: h.closed_at.map(Into::into),
            closed_by: h.closed_by,
            closed_reason: h.closed_reason,
        }
    }
}

/// A member of a combination in one occurrence of its alarm.
#[derive(Serialize, ToSchema)]
#[schema(as = AlarmMember)]
pub(crate) struct AlarmMemberDto {
    point: String,
    /// Name of the point, as now.
    point_name: String,
    /// Which rule of the point.
    kind: &'static str,
    /// Its own newest alarm in this occurrence; `null`, as all below: it took no part.
    alarm: Option<String>,
    value: Option<f64>,
    threshold: Option<f64>,
    unit: Option<String>,
    onset_at: Option<At>,
    returned_at: Option<At>,
}

impl From<AlarmMember> for AlarmMemberDto {
    fn from(member: AlarmMember) -> Self {
        let alarm = member.alarm.as_ref();
        Self {
            point: member.point.to_string(),
            kind: member.kind.as_str(),
            alarm: alarm.map(|a| a.id.to_string()),
            value: alarm.and_then(|a| a.value),
            threshold: alarm.and_then(|a| a.threshold),
            unit: alarm.map(|a| a.unit.clone()),
            onset_at: alarm.map(|a| a.onset_at.into()),
            returned_at: alarm.and_then(|a| a.returned_at).map(Into::into),
            point_name: member.point_name,
        }
    }
}

/// Shown state.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AlarmState)]
pub(crate) enum State {
    Raised,
    Acknowledged,
    Returned,
    Closed,
}

impl AlarmDto {
    /// The alarm with the names that the registry knows.
    pub(super) fn new(alarm: Alarm, known: &Snapshot) -> Self {
        let (point, vehicle) = match alarm.subject {
            Subject::Point(id) => (Some(id), None),
            Subject::Vehicle(id) => (None, Some(id)),
        };
        let state = match alarm.state() {
            AlarmState::Raised => State::Raised,
            AlarmState::Acknowledged => State::Acknowledged,
            AlarmState::Returned => State::Returned,
            AlarmState::Closed => State::Closed,
        };
        let region_name = alarm.region.as_ref().and_then(|code| known.regions.get(code)).map(|r| r.name.clone());
        Self {
            id: alarm.id.to_string(),
            rule: alarm.rule,
            kind: alarm.kind.as_str(),
            point: point.map(|p| p.to_string()),
            vehicle: vehicle.map(|v| v.to_string()),
            name: alarm.subject_name,
            unit: alarm.unit,
            enterprise: alarm.enterprise.map(|e| e.to_string()),
            enterprise_name: alarm.enterprise_name,
            region_name,
            region: alarm.region.map(|r| r.to_string()),
            level: alarm.level.into(),
            state,
            points: if alarm.members.is_empty() {
                point.map(|p| p.to_string()).into_iter().collect()
            } else {
                alarm.members.iter().map(|m| m.point).collect::<BTreeSet<_>>().iter().map(ToString::to_string).collect()
            },
            combination: alarm.combination.map(|c| c.to_string()),
            members: alarm.members.into_iter().map(Into::into).collect(),
            value: alarm.value,
            threshold: alarm.threshold,
            source: alarm.source,
            confidence: alarm.confidence,
            onset_at: alarm.onset_at.into(),
            raised_at: alarm.raised_at.into(),
            acknowledged_at: alarm.acknowledged_at.map(Into::into),
            acknowledged_by: alarm.acknowledged_by,
            acknowledged_note: alarm.acknowledged_note,
            returned_at: alarm.returned_at.map(Into::into),
            closed_at: alarm.closed_at.map(Into::into),
            closed_by: alarm.closed_by,
            closed_reason: alarm.closed_reason,
            historic: alarm.historic,
            home: alarm.home.map(Into::into),
            handlings: alarm.handlings.into_iter().map(Into::into).collect(),
            trust: vehicle.and_then(|v| known.vehicles.get(&v)).map(|v| v.trust.as_str()),
        }
    }
}

/// A page of alarms, newest raised first.
#[derive(Serialize, ToSchema)]
pub(crate) struct AlarmList {
    alarms: Vec<AlarmDto>,
    next: Option<String>,
    /// Of everything the filter matches, whatever its state.
    counts: AlarmCounts,
}

/// Alarms by state.
#[derive(Serialize, ToSchema)]
pub(crate) struct AlarmCounts {
    raised: u64,
    acknowledged: u64,
    returned: u64,
    closed: u64,
}

impl From<alarm::AlarmCounts> for AlarmCounts {
    fn from(counts: alarm::AlarmCounts) -> Self {
        // The database never counts below zero.
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        Self {
            raised: count(counts.raised),
            acknowledged: count(counts.acknowledged),
            returned: count(counts.returned),
            closed: count(counts.closed),
        }
    }
}

/// Which alarms.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// Comma list of `raised`, `acknowledged`, `returned`, `closed`.
    state: Option<String>,
    /// Comma list of `red`, `orange`, `yellow`, `blue`.
    level: Option<String>,
    enterprise: Option<String>,
    point: Option<String>,
    vehicle: Option<String>,
    /// In this division.
    region: Option<String>,
    /// Raised at or after, RFC 3339.
    from: Option<String>,
    /// Raised before, RFC 3339.
    to: Option<String>,
    /// `1`: only from late or back-filled data; `0`: none of them.
    historic: Option<String>,
    /// Part of the subject's or the enterprise's name.
    q: Option<String>,
    cursor: Option<String>,
    /// 1 to 1,000.
    limit: Option<u32>,
}

/// A word beside the acknowledgement.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AcknowledgeBody {
    note: String,
}

/// Why the alarm is closed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CloseBody {
    reason: String,
}

/// Lists alarms, newest raised first.
#[utoipa::path(get, path = "/alarms", tag = "alarm", params(ListQuery), responses((status = 200, body = AlarmList)))]
pub(crate) async fn list(AppRef(app): AppRef, caller: Caller, Query(query): Query<ListQuery>) -> Answer<AlarmList> {
    let known = app.registry.get();
    let filter = AlarmFilter {
        states: words("state", query.state.as_deref(), AlarmState::parse)?,
        levels: words("level", query.level.as_deref(), ModelLevel::parse)?,
        enterprise: id_option("enterprise", query.enterprise.as_deref())?,
        point: id_option("point", query.point.as_deref())?,
        vehicle: id_option("vehicle", query.vehicle.as_deref())?,
        region: query.region.filter(|r| !r.is_empty()).map(|r| validate::region_ever("region", &r, &known.regions)).transpose()?,
        from: at_option("from", query.from.as_deref())?,
        to: at_option("to", query.to.as_deref())?,
        historic: flag("historic", query.historic.as_deref())?,
        q: query.q,
    };
    let (page, counts) = alarm::list(&app, &caller.scope, &filter, &validate::paging(query.cursor, query.limit)?).await?;
    Ok(Json(AlarmList {
        alarms: page.items.into_iter().map(|a| AlarmDto::new(a, &known)).collect(),
        next: page.next,
        counts: counts.into(),
    }))
}

/// One alarm.
#[utoipa::path(get, path = "/alarms/{id}", tag = "alarm", params(("id" = String, Path)), responses((status = 200, body = AlarmDto)))]
pub(crate) async fn get(AppRef(app): AppRef, caller: Caller, id: PathId) -> Answer<AlarmDto> {
    let alarm = alarm::get(&app, &caller.scope, id.read()?).await?;
    Ok(Json(AlarmDto::new(alarm, &app.registry.get())))
}

/// Acknowledges an alarm; a second acknowledgement changes nothing.
#[utoipa::path(post, path = "/alarms/{id}/acknowledge", tag = "alarm", params(("id" = String, Path)), request_body = AcknowledgeBody, responses((status = 200, body = AlarmDto)))]
pub(crate) async fn acknowledge(AppRef(app): AppRef, caller: Caller, id: PathId, Body(body): Body<AcknowledgeBody>) -> Answer<AlarmDto> {
    let alarm = alarm::acknowledge(&app, &caller.scope, id.read()?, &body.note).await?;
    Ok(Json(AlarmDto::new(alarm, &app.registry.get())))
}

/// Closes an alarm whose condition is gone.
#[utoipa::path(post, path = "/alarms/{id}/close", tag = "alarm", params(("id" = String, Path)), request_body = CloseBody, responses((status = 200, body = AlarmDto), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn close(AppRef(app): AppRef, caller: Caller, id: PathId, Body(body): Body<CloseBody>) -> Answer<AlarmDto> {
    let alarm = alarm::close(&app, &caller.scope, id.read()?, &body.reason).await?;
    Ok(Json(AlarmDto::new(alarm, &app.registry.get())))
}
