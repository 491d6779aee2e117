//! Records of registers (台账记录): lists, records, transitions, the to-do list and notifications.

use std::collections::BTreeMap;

use anlan_app::record::{self, NewRecord, NotificationRow, RecordFilter, RecordRow, RecordView};
use anlan_app::validate;
use anlan_app::{App, error::AppError};
use anlan_model::RecordId;
use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::Answer;
use super::attachment::Attachment;
use super::register::RegisterGuard;
use crate::dto::{At, flag, id, id_option};
use crate::extract::{AppRef, Body, Caller, Pairs, Path2, Path3, PathId, Query};
use crate::problem::Failure;

/// Who or what a record belongs to or stands below.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecordEnterprise {
    id: String,
    name: String,
}

/// The record above.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecordParent {
    id: String,
    kind: String,
    title: String,
}

/// The node whose record it is.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecordHome {
    id: String,
    name: String,
    /// When the copy here was last told anew.
    told_at: At,
    /// Its id there, by which it is ordered to be brought on; `null` = it is not known there any more.
    record: Option<String>,
    /// What its state is called there, for a register that is off here or of another version; may be empty.
    state_name: String,
    state_name_en: String,
}

/// A step of a record of another node.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecordAct {
    transition: String,
    /// What it is called at its home; may be empty.
    name: String,
    name_en: String,
    /// Name of who took it; may be empty.
    by: String,
    /// `YYYY-MM-DD`.
    on: String,
}

/// A record.
#[derive(Serialize, ToSchema)]
pub(crate) struct Record {
    id: String,
    kind: String,
    /// Empty = the register numbers nothing.
    number: String,
    title: String,
    /// `null` = a division's own, or everybody's.
    enterprise: Option<RecordEnterprise>,
    /// Empty = everybody's.
    region: String,
    region_name: String,
    /// A state of the register.
    state: String,
    /// The last day on which it is in time, `YYYY-MM-DD`.
    due_on: Option<String>,
    /// That day is over.
    overdue: bool,
    /// The last day on which it is to be kept, `YYYY-MM-DD`; `null` = something follows, or its register does not say.
    retained_until: Option<String>,
    /// That day is over; nothing is deleted by itself.
    retention_over: bool,
    parent: Option<RecordParent>,
    /// Value by field: text, choice, person and record (id) a string, number, date `YYYY-MM-DD`, place `{"lon","lat"}`, files a list of ids, table a list of objects. What is
    /// empty is left out.
    #[schema(value_type = BTreeMap<String, Value>)]
    fields: Map<String, Value>,
    /// Counts every change, at its home.
    revision: i64,
    created_at: At,
    updated_at: At,
    /// Of a read-only copy; `null` = it is this node's own. Fields of a copy say names of people and titles of records instead of ids, and files as
    /// `{"name", "media_type", "bytes", "sha256"}` each.
    home: Option<RecordHome>,
    /// It is being handed over to the node that is called so, and nobody changes it until it is known who keeps it; `null` = it is not.
    moving_to: Option<String>,
    /// It was handed over to this node by the one that is called so; `null` = it began here. In its fields people of that time are `NODE/ID`, records `NODE/record/ID`, files
    /// `NODE/file/ID`.
    former: Option<String>,
}

/// A person, record or file at a record's former home.
#[derive(Serialize, ToSchema)]
pub(crate) struct NamedElsewhere {
    /// `person`, `record`, `file`.
    kind: String,
    name: String,
    /// Of a file, whose bytes are there; `null` = it is none.
    media_type: Option<String>,
    bytes: Option<i64>,
    sha256: Option<String>,
}

fn people_of(all: &BTreeMap<String, record::Elsewhere>) -> impl Iterator<Item = (String, String)> {
    all.iter().filter(|(_, of)| of.kind == "person").map(|(subject, of)| (subject.clone(), of.name.clone()))
}

fn named_elsewhere(all: BTreeMap<String, record::Elsewhere>) -> BTreeMap<String, NamedElsewhere> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let one = |of: record::Elsewhere| NamedElsewhere {
        media_type: text(&of.detail["media_type"]),
        bytes: of.detail["bytes"].as_i64(),
        sha256: text(&of.detail["sha256"]),
        kind: of.kind,
        name: of.name,
    };
    all.into_iter().map(|(subject, of)| (subject, one(of))).collect()
}

/// What stands in the body of a copy beside its fields.
struct Copied {
    acts: Vec<RecordAct>,
    left_out: Vec<String>,
    state_name: String,
    state_name_en: String,
}

fn copied(body: &Value) -> Copied {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let act = |act: &Value| RecordAct {
        transition: text(&act["transition"]),
        name: text(&act["name"]),
        name_en: text(&act["name_en"]),
        by: text(&act["by"]),
        on: text(&act["on"]),
    };
    Copied {
        acts: body["acts"].as_array().into_iter().flatten().map(act).collect(),
        left_out: body["left_out"].as_array().into_iter().flatten().map(text).collect(),
        state_name: text(&body["state_name"]),
        state_name_en: text(&body["state_name_en"]),
    }
}

pub(crate) fn record(app: &App, row: RecordRow, with_fields: bool) -> Record {
    let today = app.today();
    let overdue = row.is_late(&today.to_string());
    let retained_until = record::retained_until(app, &row);
    let home = row.home.as_ref().map(|home| {
        let Copied { state_name, state_name_en, .. } = copied(&row.body);
        RecordHome {
            id: home.id.to_string(),
            name: home.name.clone(),
            told_at: home.told_at.into(),
            record: home.record.map(|id| id.to_string()),
            state_name,
            state_name_en,
        }
    });
    let fields = match row.body {
        Value::Object(mut body) if with_fields => match body.remove("fields") {
            Some(Value::Object(fields)) => fields,
            _ => Map::new(),
        },
        _ => Map::new(),
    };
    Record {
        id: row.id.to_string(),
        kind: row.kind,
        number: row.number,
        title: row.title,
        enterprise: row
            .enterprise
            .map(|id| RecordEnterprise { id: id.to_string(), name: row.enterprise_name.unwrap_or_else(|| id.to_string()) }),
        region_name: row.region_name.or_else(|| row.region.as_ref().map(ToString::to_string)).unwrap_or_default(),
        region: row.region.map(|region| region.to_string()).unwrap_or_default(),
        state: row.state,
        overdue,
        due_on: row.due_on,
        retention_over: retained_until.is_some_and(|day| day < today),
        retained_until: retained_until.map(|day| day.to_string()),
        parent: row.parent.map(|(id, kind, title)| RecordParent { id: id.to_string(), kind, title }),
        fields,
        revision: row.revision,
        created_at: row.created_at.into(),
        updated_at: row.updated_at.into(),
        home,
        moving_to: row.moving_to,
        former: row.former.map(|(name, _)| name),
    }
}

/// A record that others name.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecordReference {
    id: String,
    kind: String,
    title: String,
    /// As it is now.
    state: String,
}

/// By ids, as values name them.
fn references(found: record::References) -> BTreeMap<String, RecordReference> {
    let one = |row: RecordRow| {
        (row.id.to_string(), RecordReference { id: row.id.to_string(), kind: row.kind, title: row.title, state: row.state })
    };
    found.into_values().map(one).collect()
}

/// A transition that cannot be taken now, and why.
#[derive(Serialize, ToSchema)]
pub(crate) struct BlockedTransition {
    transition: String,
    /// Every guard that says no.
    guards: Vec<RegisterGuard>,
}

/// A record with what stands around it.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecordDetail {
    #[serde(flatten)]
    record: Record,
    /// Transitions that the asker may take now; guards that look at what is filled in are asked when they do.
    possible: Vec<String>,
    /// Transitions that the asker's roles would allow, but a guard does not, whatever is filled in.
    blocked: Vec<BlockedTransition>,
    /// Records below it, without their fields.
    children: Vec<Record>,
    /// Every file that an act bound to it, also those that its fields no longer name.
    attachments: Vec<Attachment>,
    /// Names of the people in its fields, acts and files, by id.
    people: BTreeMap<String, String>,
    /// Records that its fields name, by id, as far as the asker sees them.
    references: BTreeMap<String, RecordReference>,
    /// What its fields name at its former home, by how it stands in them.
    elsewhere: BTreeMap<String, NamedElsewhere>,
    /// Of a copy: its steps, oldest first; the newest ones, if `left_out` has `@acts`. Of a record that was handed over to this node: those of before.
    acts: Vec<RecordAct>,
    /// Of a copy: fields that were too long to be told.
    left_out: Vec<String>,
}

/// A page of records.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecordList {
    records: Vec<Record>,
    /// Names of the people in their fields, by id.
    people: BTreeMap<String, String>,
    /// Records that their fields name, by id, as far as the asker sees them.
    references: BTreeMap<String, RecordReference>,
    /// What their fields name at former homes, by how it stands in them.
    elsewhere: BTreeMap<String, NamedElsewhere>,
    next: Option<String>,
}

/// Which records. Further parameters narrow by the register's `filter` fields: `f.FIELD=`, and for numbers and dates `f.FIELD.from=`, `f.FIELD.to=`.
#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// Words that must all be found in its title, number, searched fields or the enterprise's name and code; two characters suffice.
    q: Option<String>,
    /// In this state.
    state: Option<String>,
    enterprise: Option<String>,
    /// In this division.
    region: Option<String>,
    /// `true` = something follows.
    open: Option<String>,
    /// `true` = open and late; in order of due days.
    overdue: Option<String>,
    /// Open and due before this day, `YYYY-MM-DD`; in order of due days.
    due_before: Option<String>,
    /// Below this record.
    parent: Option<String>,
    /// `true` = on the asker's to-do list.
    mine: Option<String>,
    /// `true` = to be kept no longer by what its register says.
    retention_over: Option<String>,
    /// Those alone that may be named today in this field of another register: `REGISTER.FIELD`.
    r#for: Option<String>,
    cursor: Option<String>,
    /// 1 to 1,000.
    limit: Option<u32>,
}

/// The filter and page that a query string asks for.
pub(crate) fn asked(app: &App, kind: &str, pairs: Pairs) -> Result<(RecordFilter, validate::Paging), AppError> {
    let kind = app.registers.load().kind(kind)?;
    let (fields, rest): (Vec<_>, Vec<_>) = pairs.0.into_iter().partition(|(name, _)| name.starts_with("f."));
    let query: ListQuery = Pairs(rest).read()?;
    let known = app.registry.get();
    let today = app.today();
    let overdue = flag("overdue", query.overdue.as_deref())? == Some(true);
    let mut fields = record::field_filters(&kind, &fields)?;
    if flag("retention_over", query.retention_over.as_deref())? == Some(true) {
        fields.push(record::retention_over(today));
    }
    let due_before = query.due_before.filter(|d| !d.is_empty()).map(|d| validate::day("due_before", &d)).transpose()?;
    let filter = RecordFilter {
        search: record::search(query.q.as_deref()),
        state: query.state.filter(|s| !s.is_empty()),
        enterprise: id_option("enterprise", query.enterprise.as_deref())?,
        region: query.region.filter(|r| !r.is_empty()).map(|r| validate::region_ever("region", &r, &known.regions)).transpose()?,
        is_open: flag("open", query.open.as_deref())?,
        due_before: if overdue { Some(due_before.map_or(today, |d| d.min(today)).to_string()) } else { due_before.map(|d| d.to_string()) },
        parent: id_option("parent", query.parent.as_deref())?,
        task_on: (flag("mine", query.mine.as_deref())? == Some(true)).then(|| today.to_string()),
        fields,
        nameable: query.r#for.filter(|at| !at.is_empty()).map(|at| record::nameable(app, &kind, &at)).transpose()?,
        shared: false,
    };
    if let Some(state) = &filter.state
        && kind.state(state).is_none()
    {
        return Err(AppError::invalid("word.unknown", "state").with("word", state));
    }
    Ok((filter, validate::paging(query.cursor, query.limit)?))
}

/// Lists records, newest first; with `overdue` or `due_before` by due day.
#[utoipa::path(get, path = "/registers/{kind}/records", tag = "register", params(("kind" = String, Path), ListQuery), responses((status = 200, body = RecordList)))]
pub(crate) async fn list(AppRef(app): AppRef, caller: Caller, kind: PathId, pairs: Pairs) -> Answer<RecordList> {
    let (filter, paging) = asked(&app, &kind.0, pairs)?;
    let page = record::list(&app, &caller.scope, &kind.0, &filter, &paging).await?;
    let people = record::people_in(&app, &kind.0, &page.items).await?;
    let elsewhere = record::elsewhere_in(&app, &page.items).await?;
    let people = people.into_iter().map(|(id, name)| (id.to_string(), name)).chain(people_of(&elsewhere)).collect();
    let references = references(record::references_in(&app, &caller.scope, &kind.0, &page.items).await?);
    let elsewhere = named_elsewhere(elsewhere);
    let records = page.items.into_iter().map(|row| record(&app, row, true)).collect();
    Ok(Json(RecordList { records, people, references, elsewhere, next: page.next }))
}

/// A new record, by its first transition.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordBody {
    /// Whose; for registers of enterprises.
    #[serde(default)]
    enterprise: Option<String>,
    /// Whose; for registers of divisions.
    #[serde(default)]
    region: Option<String>,
    /// A transition from the register's `start`.
    transition: String,
    /// Value by field, as records show them.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Value>)]
    fields: Map<String, Value>,
}

/// A transition.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TransitionBody {
    /// As read; an older one is refused.
    revision: i64,
    /// Value by field; `null` empties one.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Value>)]
    fields: Map<String, Value>,
}

/// Makes a record.
#[utoipa::path(post, path = "/registers/{kind}/records", tag = "register", params(("kind" = String, Path)), request_body = RecordBody, responses((status = 201, body = Record)))]
pub(crate) async fn create(
    AppRef(app): AppRef,
    caller: Caller,
    kind: PathId,
    Body(body): Body<RecordBody>,
) -> Result<(StatusCode, Json<Record>), Failure> {
    let known = app.registry.get();
    let region = body.region.filter(|r| !r.is_empty()).map(|r| validate::region("region", &r, &known.regions, app.today())).transpose()?;
    let enterprise = id_option("enterprise", body.enterprise.as_deref())?;
    let new = NewRecord { enterprise, region, transition: body.transition, fields: body.fields };
    let row = record::create(&app, &caller.scope, &kind.0, new).await?;
    Ok((StatusCode::CREATED, Json(record(&app, row, true))))
}

/// One record, with what may be done and what stands below it.
#[utoipa::path(get, path = "/registers/{kind}/records/{id}", tag = "register", params(("kind" = String, Path), ("id" = String, Path)), responses((status = 200, body = RecordDetail)))]
pub(crate) async fn get(AppRef(app): AppRef, caller: Caller, path: Path2) -> Answer<RecordDetail> {
    let (kind, id): (String, RecordId) = path.read()?;
    let RecordView { row, possible, blocked, children, attachments, people, references: named, elsewhere } =
        record::get(&app, &caller.scope, &kind, id).await?;
    let Copied { mut acts, left_out, .. } = copied(if row.home.is_some() { &row.body } else { &Value::Null });
    if let Some((_, n)) = row.former.as_ref().filter(|_| row.home.is_none()) {
        let kind = app.registers.load().kind(&kind)?;
        let of_before = record::read(&kind, &row)?.acts.into_iter().take(*n);
        acts.extend(of_before.map(|act| {
            let transition = kind.transition(&act.transition);
            RecordAct {
                name: transition.map(|t| t.name.clone()).unwrap_or_default(),
                name_en: transition.map(|t| t.name_en.clone()).unwrap_or_default(),
                by: elsewhere.get(&act.by).map(|of| of.name.clone()).unwrap_or_default(),
                on: act.on.to_string(),
                transition: act.transition,
            }
        }));
    }
    Ok(Json(RecordDetail {
        acts,
        left_out,
        record: record(&app, row, true),
        possible,
        blocked: blocked
            .into_iter()
            .map(|(transition, guards)| BlockedTransition { transition, guards: guards.iter().map(Into::into).collect() })
            .collect(),
        children: children.into_iter().map(|row| record(&app, row, false)).collect(),
        attachments: attachments.into_iter().map(Into::into).collect(),
        people: people.into_iter().map(|(id, name)| (id.to_string(), name)).chain(people_of(&elsewhere)).collect(),
        references: references(named),
        elsewhere: named_elsewhere(elsewhere),
    }))
}

/// Brings a record on. Every reason against it is told, each with its field or guard.
#[utoipa::path(post, path = "/registers/{kind}/records/{id}/transitions/{name}", tag = "register", params(("kind" = String, Path), ("id" = String, Path), ("name" = String, Path)), request_body = TransitionBody, responses((status = 200, body = Record)))]
pub(crate) async fn transition(AppRef(app): AppRef, caller: Caller, path: Path3, Body(body): Body<TransitionBody>) -> Answer<Record> {
    let (kind, id, name): (String, RecordId, String) = path.read()?;
    let row = record::act(&app, &caller.scope, &kind, id, &name, body.revision, &body.fields).await?;
    Ok(Json(record(&app, row, true)))
}

/// A step of a record's life.
#[derive(Serialize, ToSchema)]
pub(crate) struct HistoryEntry {
    at: At,
    /// `null` = the node itself.
    user: Option<String>,
    /// Shown name at that time.
    name: String,
    /// `create`, `update`, `escalate` (somebody was told of the deadline), `take_over`, `merge` (of two enterprises), `redivide`, `receive` (its home told
    /// of it).
    action: String,
    /// Transition; `null` for what the node did.
    transition: Option<String>,
    from: Option<String>,
    to: Option<String>,
    /// Old and new value by field.
    #[schema(value_type = BTreeMap<String, Vec<Value>>)]
    changes: Map<String, Value>,
    /// What the node did: steps of a deadline that were told.
    steps: Vec<Value>,
    /// Names of the people in its changes and steps, by id.
    people: BTreeMap<String, String>,
    /// Of its audit entry: `anlan audit verify --head HASH` finds it in the chain.
    hash: String,
    /// Records that its changes name, by id, as far as the asker sees them.
    references: BTreeMap<String, RecordReference>,
}

/// A page of a record's life.
#[derive(Serialize, ToSchema)]
pub(crate) struct HistoryList {
    entries: Vec<HistoryEntry>,
    next: Option<String>,
}

/// Which page.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    cursor: Option<String>,
    /// 1 to 1,000.
    limit: Option<u32>,
}

/// What was done to a record, newest first: out of the audit.
#[utoipa::path(get, path = "/registers/{kind}/records/{id}/history", tag = "register", params(("kind" = String, Path), ("id" = String, Path), PageQuery), responses((status = 200, body = HistoryList)))]
pub(crate) async fn history(AppRef(app): AppRef, caller: Caller, path: Path2, Query(query): Query<PageQuery>) -> Answer<HistoryList> {
    let (kind, id): (String, RecordId) = path.read()?;
    let (page, names, records) = record::history(&app, &caller.scope, &kind, id, &validate::paging(query.cursor, query.limit)?).await?;
    let entry = |entry: anlan_app::audit::AuditEntry| {
        let text = |name: &str| entry.detail.get(name).and_then(Value::as_str).map(str::to_owned);
        let (transition, from, to) = (text("transition"), text("from"), text("to"));
        let changes = entry.detail.get("changes").and_then(Value::as_object).cloned().unwrap_or_default();
        let steps = entry.detail.get("steps").and_then(Value::as_array).cloned().unwrap_or_default();
        let user = entry.user.map(|id| id.to_string());
        let said = entry.detail.to_string();
        let named = names.iter().map(|(id, name)| (id.to_string(), name.clone()));
        let is_said = |id: &str| said.contains(&format!("\"{id}\""));
        let people = named.filter(|(id, _)| is_said(id)).collect();
        let references =
            references(records.iter().filter(|(id, _)| is_said(&id.to_string())).map(|(id, row)| (*id, row.clone())).collect());
        let (at, name, action, hash) = (entry.at.into(), entry.name, entry.action, entry.hash);
        HistoryEntry { at, user, name, action, transition, from, to, changes, steps, people, hash, references }
    };
    Ok(Json(HistoryList { entries: page.items.into_iter().map(entry).collect(), next: page.next }))
}

/// A record on somebody's to-do list.
#[derive(Serialize, ToSchema)]
pub(crate) struct Task {
    /// Without its fields.
    record: Record,
    register_name: String,
    register_name_en: String,
    state_name: String,
    state_name_en: String,
}

/// A page of the to-do list.
#[derive(Serialize, ToSchema)]
pub(crate) struct TaskList {
    tasks: Vec<Task>,
    next: Option<String>,
    /// On the whole list.
    open: i64,
    /// Of those, late.
    overdue: i64,
    /// Of those, due from today to Sunday.
    this_week: i64,
}

/// The asker's to-do list: by due day, what has none last.
#[utoipa::path(get, path = "/tasks", tag = "register", params(PageQuery), responses((status = 200, body = TaskList)))]
pub(crate) async fn tasks(AppRef(app): AppRef, caller: Caller, Query(query): Query<PageQuery>) -> Answer<TaskList> {
    let (page, counts) = record::tasks(&app, &caller.scope, &validate::paging(query.cursor, query.limit)?).await?;
    let registers = app.registers.load();
    let task = |row: RecordRow| {
        let kind = registers.kinds.get(&row.kind).map(|(kind, _)| kind);
        let state = kind.and_then(|kind| kind.state(&row.state));
        Task {
            register_name: kind.map_or_else(|| row.kind.clone(), |k| k.name.clone()),
            register_name_en: kind.map_or_else(|| row.kind.clone(), |k| k.name_en.clone()),
            state_name: state.map_or_else(|| row.state.clone(), |s| s.name.clone()),
            state_name_en: state.map_or_else(|| row.state.clone(), |s| s.name_en.clone()),
            record: record(&app, row, false),
        }
    };
    let (open, overdue, this_week) = (counts.open, counts.overdue, counts.this_week);
    Ok(Json(TaskList { tasks: page.items.into_iter().map(task).collect(), next: page.next, open, overdue, this_week }))
}

/// Something that somebody was told.
#[derive(Serialize, ToSchema)]
pub(crate) struct Notification {
    id: String,
    at: At,
    /// `task`, `due_soon`, `overdue`.
    kind: String,
    record: RecordParent,
    /// More: state, due day.
    #[schema(value_type = BTreeMap<String, Value>)]
    detail: Value,
    read: bool,
}

impl From<NotificationRow> for Notification {
    fn from(row: NotificationRow) -> Self {
        Self {
            id: row.id.to_string(),
            at: row.at.into(),
            kind: row.kind,
            record: RecordParent { id: row.record.to_string(), kind: row.record_kind, title: row.title },
            detail: row.detail,
            read: row.read,
        }
    }
}

/// A page of notifications.
#[derive(Serialize, ToSchema)]
pub(crate) struct NotificationList {
    notifications: Vec<Notification>,
    next: Option<String>,
    /// Of all.
    unread: i64,
    /// What the asker owes beside records, until it is done: `holder_key` (make a key as a holder of reports), `holder_confirm` (vouch for a new holder).
    owed: Vec<&'static str>,
}

/// What the asker was told, newest first.
#[utoipa::path(get, path = "/notifications", tag = "register", params(PageQuery), responses((status = 200, body = NotificationList)))]
pub(crate) async fn notifications(AppRef(app): AppRef, caller: Caller, Query(query): Query<PageQuery>) -> Answer<NotificationList> {
    let (page, unread) = record::notifications(&app, &caller.scope, &validate::paging(query.cursor, query.limit)?).await?;
    let owed = anlan_app::whistleblow::owed(&app, &caller.scope).await?;
    Ok(Json(NotificationList { notifications: page.items.into_iter().map(Into::into).collect(), next: page.next, unread, owed }))
}

/// What was read.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadBody {
    /// Everything up to and with this notification.
    up_to: String,
}

/// Notes what the asker read.
#[utoipa::path(post, path = "/notifications/read", tag = "register", request_body = ReadBody, responses((status = 204)))]
pub(crate) async fn read_notifications(AppRef(app): AppRef, caller: Caller, Body(body): Body<ReadBody>) -> Result<StatusCode, Failure> {
    record::read_notifications(&app, &caller.scope, id("up_to", &body.up_to)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Somebody who may be named in a record.
#[derive(Serialize, ToSchema)]
pub(crate) struct Person {
    id: String,
    name: String,
    /// At the owner asked about.
    roles: Vec<String>,
}

/// People.
#[derive(Serialize, ToSchema)]
pub(crate) struct PersonList {
    people: Vec<Person>,
}

/// Of which owner; exactly one.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct PeopleQuery {
    enterprise: Option<String>,
    region: Option<String>,
}

/// Who may be named in a record of an enterprise or division: people with a role there, by name.
#[utoipa::path(get, path = "/people", tag = "register", params(PeopleQuery), responses((status = 200, body = PersonList)))]
pub(crate) async fn people(AppRef(app): AppRef, caller: Caller, Query(query): Query<PeopleQuery>) -> Answer<PersonList> {
    let known = app.registry.get();
    let region = query.region.filter(|r| !r.is_empty()).map(|r| validate::region_ever("region", &r, &known.regions)).transpose()?;
    let people = record::people(&app, &caller.scope, id_option("enterprise", query.enterprise.as_deref())?, region).await?;
    let person = |(id, name, roles): (anlan_model::UserId, String, Vec<anlan_model::Role>)| Person {
        id: id.to_string(),
        name,
        roles: roles.into_iter().map(|role| role.as_str().to_owned()).collect(),
    };
    Ok(Json(PersonList { people: people.into_iter().map(person).collect() }))
}
