//! Records of registers (台账): one set of use cases for every kind.
//!
//! What may be done is decided by the kind ([`anlan_domain::register`]), in the roles of those grants that hold the record's owner; what is read to
//! decide stands still until the change has committed. Days are civil days in Beijing, of domain time. Start at [`act`].

mod take_over;
mod taking;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anlan_domain::register::search::Search;
use anlan_domain::register::{
    Act, Attempt, Clock, Content, Deadline, Field, FieldFault, FieldType, FileKind, Guard, Kind, NumberPart, OPENED_MAX, OPENS_DEPTH_MAX,
    Owner, RETAINED_UNTIL, Record, Refused, Related, Running, Transition, Unfit, Value, minute_of, parse_minute,
};
use anlan_model::{AttachmentId, Clock as _, EnterpriseId, Permission, RecordId, RegionCode, Role, Scope, Timestamp, UserId, Wgs84};
use anlan_store::{AttachmentRow, AuditEntry, AuditFilter, RecordChange};
pub use anlan_store::{
    Elsewhere, FieldIs, Nameable, NotificationRow, RecordFilter, RecordHome, RecordOwner, RecordPut, RecordRow, TaskCounts,
};
use jiff::civil::{Date, DateTime};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use take_over::{Duties, Named, TakenOver, duties, take_over};
pub use taking::elsewhere_in;
pub(crate) use taking::take_all;

use crate::App;
use crate::clock::{self, day_of};
use crate::error::{AppError, Kind as Refusal, Problem};
use crate::validate::{Page, Paging};

/// Deadlines are looked at this often; with the test clock also when it is moved.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Words about deadlines that are read at once.
const PER_ROUND: u32 = 500;
/// Records that are kept in one transaction where there may be many: people and alarms get their turn between portions.
pub(crate) const PORTION: u32 = 200;

/// What a last day stands for where instants are compared as texts.
const LAST_MINUTE: &str = "T23:59";

/// So much against one act is told, about.
const PROBLEMS_MAX: usize = 100;

/// What of a record stands in its body.
#[derive(Debug, Serialize, Deserialize)]
struct Body {
    acts: Vec<Act>,
    entered_on: Date,
    fields: Map<String, Json>,
    /// What was told of its clocks, by their words; of a clock of rows by word and key of the row.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    clocks: BTreeMap<String, Clocked>,
}

/// How far a clock was told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Clocked {
    /// The instant that it ran to.
    until: String,
    /// Steps that were told.
    told: usize,
    /// What is computed says that it is over.
    #[serde(default)]
    is_over: bool,
}

/// A record to be made.
#[derive(Clone, Debug)]
pub struct NewRecord {
    /// Whose, for kinds of enterprises.
    pub enterprise: Option<EnterpriseId>,
    /// Whose, for kinds of divisions.
    pub region: Option<RegionCode>,
    /// The first transition.
    pub transition: String,
    /// What is filled in with it.
    pub fields: Map<String, Json>,
}

/// A register in the list of registers.
#[derive(Clone, Debug)]
pub struct RegisterView {
    /// Kind.
    pub kind: Arc<Kind>,
    /// Its pack.
    pub pack: String,
    /// Records that something follows.
    pub open: i64,
    /// Of those, late.
    pub overdue: i64,
}

/// A record with what stands around it.
#[derive(Clone, Debug)]
pub struct RecordView {
    /// The record.
    pub row: RecordRow,
    /// Transitions that the asker may take now, as far as that does not depend on what is filled in with them.
    pub possible: Vec<String>,
    /// Transitions that the asker's roles would allow, each with the guards that say no whatever is filled in.
    pub blocked: Vec<(String, Vec<Guard>)>,
    /// Below it.
    pub children: Vec<RecordRow>,
    /// Every file that an act bound to it, also those that a later act took out of its field.
    pub attachments: Vec<AttachmentRow>,
    /// Names of people in its fields and acts.
    pub people: BTreeMap<UserId, String>,
    /// Records that its fields name, as far as the asker sees them.
    pub references: References,
    /// People, records and files at its former home that it names.
    pub elsewhere: BTreeMap<String, Elsewhere>,
}

/// Records by their ids, as others name them.
pub type References = BTreeMap<RecordId, RecordRow>;

// ---- reading

/// Every register, with how much is open in it as far as the asker sees.
///
/// # Errors
/// No permission to view, the store's.
pub async fn registers(app: &App, scope: &Scope) -> Result<Vec<RegisterView>, AppError> {
    let scope = scope.with(Permission::View)?;
    let registers = app.registers.load();
    let is_shared = |(kind, _): &&(Arc<Kind>, String)| kind.owner == Owner::Everyone;
    let shared: Vec<String> = registers.kinds.values().filter(is_shared).map(|(kind, _)| kind.id.clone()).collect();
    let counts = app.store.record_counts(&scope, &app.today().to_string(), &shared).await?;
    let view = |(kind, pack): &(Arc<Kind>, String)| {
        let count = counts.iter().find(|count| count.kind == kind.id);
        let (open, overdue) = count.map_or((0, 0), |count| (count.open, count.overdue));
        RegisterView { kind: Arc::clone(kind), pack: pack.clone(), open, overdue }
    };
    Ok(registers.kinds.values().map(view).collect())
}

/// A page of records.
///
/// # Errors
/// No permission to view, no such register, a foreign cursor, the store's.
pub async fn list(app: &App, scope: &Scope, kind: &str, filter: &RecordFilter, paging: &Paging) -> Result<Page<RecordRow>, AppError> {
    let scope = scope.with(Permission::View)?;
    let kind = app.registers.load().kind(kind)?;
    Ok(app.store.records(&scope, &kind.id, &of_kind(&kind, filter), paging).await?)
}

/// The same filter, looked for as records of this kind are.
pub(crate) fn of_kind(kind: &Kind, filter: &RecordFilter) -> RecordFilter {
    RecordFilter { shared: kind.owner == Owner::Everyone, ..filter.clone() }
}

/// Records of `kind` that may be named today in `at`, written `register.field`.
///
/// # Errors
/// No such register or field, or one that names no record of this kind.
pub fn nameable(app: &App, kind: &Kind, at: &str) -> Result<Nameable, AppError> {
    let unknown = || AppError::invalid("word.unknown", "for").with("word", at);
    let (by, field) = at.split_once('.').ok_or_else(unknown)?;
    let by = app.registers.load().kind(by).map_err(|_| unknown())?;
    match by.field(field).map(|field| &field.of) {
        Some(FieldType::Record { of, states, from, until }) if *of == kind.id => {
            Ok(Nameable { states: states.clone(), from: from.clone(), until: until.clone(), on: app.today().to_string() })
        }
        _ => Err(unknown()),
    }
}

/// What a filter asks of records that are to be kept no longer.
pub fn retention_over(today: Date) -> (String, FieldIs) {
    let yesterday = today.yesterday().unwrap_or(today);
    (RETAINED_UNTIL.to_owned(), FieldIs::Texts(None, Some(yesterday.to_string())))
}

/// The last day on which a record is to be kept, if its register says so and nothing follows. A copy is kept as long as its home lets it be.
pub fn retained_until(app: &App, row: &RecordRow) -> Option<Date> {
    let registers = app.registers.load();
    let (kind, _) = registers.kinds.get(&row.kind).filter(|(kind, _)| kind.retention.is_some() && !row.is_open && row.home.is_none())?;
    kind.retained_until(&read(kind, row).ok()?)
}

/// Fields of a kind that name records, and the kinds of these.
fn reference_fields(kind: &Kind) -> Vec<(&str, &String)> {
    kind.fields
        .iter()
        .filter_map(|field| match &field.of {
            FieldType::Record { of, .. } => Some((field.id.as_str(), of)),
            _ => None,
        })
        .collect()
}

/// Those of these records, by kind, that the asker sees. What they do not see looks like what is not there.
async fn seen(app: &App, view: &Scope, kind: &Kind, ids: BTreeSet<RecordId>) -> Result<References, AppError> {
    let on = app.registers.load().kinds();
    let kinds: BTreeSet<String> = reference_fields(kind).into_iter().map(|(_, of)| of.clone()).filter(|of| on.contains(of)).collect();
    if ids.is_empty() || kinds.is_empty() {
        return Ok(References::new());
    }
    let ids: Vec<RecordId> = ids.into_iter().collect();
    let kinds: Vec<String> = kinds.into_iter().collect();
    Ok(app.store.record_ids_visible(view, &kinds, &ids).await?.into_iter().map(|row| (row.id, row)).collect())
}

/// Records that the fields of these records of a kind name, as far as the asker sees them.
///
/// # Errors
/// No permission to view, no such register, the store's.
pub async fn references_in(app: &App, scope: &Scope, kind: &str, rows: &[RecordRow]) -> Result<References, AppError> {
    let view = scope.with(Permission::View)?;
    let kind = app.registers.load().kind(kind)?;
    let fields = reference_fields(&kind);
    let named = |row: &RecordRow| -> Vec<RecordId> {
        fields.iter().filter_map(|(id, _)| row.body.get("fields")?.get(*id)?.as_str()?.parse().ok()).collect()
    };
    // A copy says titles and names, and a name of digits is no id.
    seen(app, &view, &kind, rows.iter().filter(|row| row.home.is_none()).flat_map(named).collect()).await
}

/// Names of the people in the fields of these records of a kind.
///
/// # Errors
/// No such register, the store's.
pub async fn people_in(app: &App, kind: &str, rows: &[RecordRow]) -> Result<BTreeMap<UserId, String>, AppError> {
    let kind = app.registers.load().kind(kind)?;
    let fields: Vec<&str> = kind.fields.iter().filter(|f| matches!(f.of, FieldType::Person)).map(|f| f.id.as_str()).collect();
    let named = |row: &RecordRow| -> Vec<UserId> {
        fields.iter().filter_map(|id| row.body.get("fields")?.get(*id)?.as_str()?.parse().ok()).collect()
    };
    let ids: BTreeSet<UserId> = rows.iter().filter(|row| row.home.is_none()).flat_map(named).collect();
    Ok(app.store.names_of(&ids.into_iter().collect::<Vec<_>>()).await?.into_iter().collect())
}

/// Records on the map.
#[derive(Clone, Debug)]
pub struct OnMap {
    /// Each with its place, and whether it is late.
    pub placed: Vec<(RecordRow, Wgs84, bool)>,
    /// Records without a place.
    pub placeless: usize,
    /// There are more than were looked at.
    pub more: bool,
}

/// The records of a list with their places: where a place field says, else at the gate of the enterprise.
///
/// # Errors
/// As [`list`].
pub async fn on_map(app: &App, scope: &Scope, kind: &str, filter: &RecordFilter) -> Result<OnMap, AppError> {
    let page = list(app, scope, kind, filter, &Paging::all()).await?;
    let kind = app.registers.load().kind(kind)?;
    let today = app.today().to_string();
    let mut map = OnMap { placed: Vec::new(), placeless: 0, more: page.next.is_some() };
    for row in page.items {
        let record = read(&kind, &row)?;
        let own = kind.fields.iter().find_map(|field| match record.fields.get(&field.id) {
            Some(Value::Place(place)) => Some(*place),
            _ => None,
        });
        match own.or(row.place) {
            Some(place) => {
                let is_late = row.is_late(&today);
                map.placed.push((row, place, is_late));
            }
            None => map.placeless += 1,
        }
    }
    Ok(map)
}

/// The filter that a query string asks for: `f.FIELD`, `f.FIELD.from`, `f.FIELD.to`.
///
/// # Errors
/// A field that the kind is not filtered by, a value that is none of its type.
pub fn field_filters(kind: &Kind, asked: &[(String, String)]) -> Result<Vec<(String, FieldIs)>, AppError> {
    let mut filters: BTreeMap<String, FieldIs> = BTreeMap::new();
    for (name, text) in asked.iter().filter(|(_, text)| !text.is_empty()) {
        let unknown = || AppError::invalid("query.unknown", name);
        let mut parts = name.strip_prefix("f.").ok_or_else(unknown)?.splitn(2, '.');
        let (id, end) = (parts.next().unwrap_or_default(), parts.next());
        let field = kind.field(id).filter(|_| kind.filter.iter().any(|f| f == id)).ok_or_else(unknown)?;
        let wrong = || {
            AppError::invalid("register.field_type", name).with("allowed", allowed(field, false)).with("allowed_en", allowed(field, true))
        };
        let is = match (&field.of, end) {
            (FieldType::Number { .. }, None) => FieldIs::Number(text.parse().map_err(|_| wrong())?),
            (FieldType::Number { .. }, Some(end)) => {
                let n: f64 = text.parse().map_err(|_| wrong())?;
                let (from, to) = match filters.remove(id) {
                    Some(FieldIs::Numbers(from, to)) => (from, to),
                    _ => (None, None),
                };
                match end {
                    "from" => FieldIs::Numbers(Some(n), to),
                    "to" => FieldIs::Numbers(from, Some(n)),
                    _ => return Err(unknown()),
                }
            }
            (FieldType::Date, None) => FieldIs::Text(text.parse::<Date>().map_err(|_| wrong())?.to_string()),
            (FieldType::DateTime, None) => FieldIs::Text(minute_of(parse_minute(text).ok_or_else(wrong)?)),
            (FieldType::Record { .. }, None) => FieldIs::Text(text.parse::<RecordId>().map_err(|_| wrong())?.to_string()),
            (FieldType::Person, None) => FieldIs::Text(text.parse::<UserId>().map_err(|_| wrong())?.to_string()),
            (_, None) => {
                let word = Value::Text(text.clone());
                field.check(&word).map_err(|_| wrong())?;
                FieldIs::Text(text.clone())
            }
            // A list asks for instants by their days.
            (FieldType::Date | FieldType::DateTime, Some(end)) => {
                let mut day = text.parse::<Date>().map_err(|_| wrong())?.to_string();
                if matches!(field.of, FieldType::DateTime) && end == "to" {
                    day.push_str(LAST_MINUTE);
                }
                let (from, to) = match filters.remove(id) {
                    Some(FieldIs::Texts(from, to)) => (from, to),
                    _ => (None, None),
                };
                match end {
                    "from" => FieldIs::Texts(Some(day), to),
                    "to" => FieldIs::Texts(from, Some(day)),
                    _ => return Err(unknown()),
                }
            }
            (_, Some(_)) => return Err(unknown()),
        };
        filters.insert(id.to_owned(), is);
    }
    Ok(filters.into_iter().collect())
}

/// The search that somebody typed.
pub fn search(text: Option<&str>) -> Search {
    Search::parse(text.unwrap_or_default())
}

/// One record with what stands around it.
///
/// # Errors
/// Not there or not visible.
pub async fn get(app: &App, scope: &Scope, kind: &str, id: RecordId) -> Result<RecordView, AppError> {
    let view = scope.with(Permission::View)?;
    let kind = app.registers.load().kind(kind)?;
    let row = app.store.record(&view, &kind.id, id).await?;
    let roles = scope.roles_at(row.enterprise, row.region.as_ref(), row.sector.as_deref());
    let children = app.store.records_below(&view, id).await?;
    let record = read(&kind, &row)?;
    let (parent, below) = app.store.related(&row).await?;
    let by = scope.user.map(|id| id.to_string()).unwrap_or_default();
    let related = Related { parent, children: below };
    let (mut possible, mut blocked) = (Vec::new(), Vec::new());
    // A copy is read-only: what its home may do is nobody's business here. So is what is being handed over.
    let roles = if row.must_be_own().is_err() { Vec::new() } else { roles };
    for (transition, failed) in kind.possible(&record, &by, &roles, clock::civil(app.clock.now()), &related, &app.calendar) {
        match failed.as_slice() {
            [] => possible.push(transition.id.clone()),
            failed => blocked.push((transition.id.clone(), failed.iter().copied().cloned().collect())),
        }
    }
    let named = kind.fields.iter().filter(|f| matches!(f.of, FieldType::Person)).filter_map(|f| record.text(&f.id));
    let named = named.chain(record.acts.iter().map(|act| act.by.as_str())).filter(|_| row.home.is_none());
    let mut ids: BTreeSet<UserId> = named.filter_map(|id| id.parse().ok()).collect();
    let attachments = app.store.attachments_of(id).await?;
    ids.extend(attachments.iter().map(|row| row.file.by));
    let people = app.store.names_of(&ids.into_iter().collect::<Vec<_>>()).await?.into_iter().collect();
    let references = references_in(app, scope, &kind.id, std::slice::from_ref(&row)).await?;
    let elsewhere = elsewhere_in(app, std::slice::from_ref(&row)).await?;
    Ok(RecordView { row, possible, blocked, children, attachments, people, references, elsewhere })
}

/// What was done to a record, newest first, and the people and records that it names.
///
/// # Errors
/// Not there or not visible, a foreign cursor.
pub async fn history(
    app: &App,
    scope: &Scope,
    kind: &str,
    id: RecordId,
    paging: &Paging,
) -> Result<(Page<AuditEntry>, BTreeMap<UserId, String>, References), AppError> {
    let view = scope.with(Permission::View)?;
    let kind = app.registers.load().kind(kind)?;
    app.store.record(&view, &kind.id, id).await?;
    // Who sees the record sees what was done to it, also by people of other territories.
    let filter = AuditFilter { noun: Some("record".to_owned()), subject: Some(id.to_string()), user: None };
    let page = app.store.audit(&Scope::node(), &filter, paging).await?;
    let fields: Vec<&str> = kind.fields.iter().filter(|f| matches!(f.of, FieldType::Person)).map(|f| f.id.as_str()).collect();
    let named = |entry: &AuditEntry| -> Vec<UserId> {
        let changed = fields.iter().filter_map(|id| entry.detail.get("changes")?.get(*id)?.as_array()).flatten();
        let told = entry.detail.get("steps").and_then(Json::as_array).into_iter().flatten().filter_map(|step| step.get("person"));
        changed.chain(told).filter_map(|id| id.as_str()?.parse().ok()).collect()
    };
    let ids: BTreeSet<UserId> = page.items.iter().flat_map(named).collect();
    let people = app.store.names_of(&ids.into_iter().collect::<Vec<_>>()).await?.into_iter().collect();
    let changed = |entry: &AuditEntry| -> Vec<RecordId> {
        let fields = reference_fields(&kind).into_iter();
        let values = fields.filter_map(|(id, _)| entry.detail.get("changes")?.get(id)?.as_array()).flatten();
        values.filter_map(|id| id.as_str()?.parse().ok()).collect()
    };
    let references = seen(app, &view, &kind, page.items.iter().flat_map(changed).collect()).await?;
    Ok((page, people, references))
}

/// A page of the asker's to-do list, and how long it is.
///
/// # Errors
/// No permission to view, a foreign cursor, the store's.
pub async fn tasks(app: &App, scope: &Scope, paging: &Paging) -> Result<(Page<RecordRow>, TaskCounts), AppError> {
    let scope = scope.with(Permission::View)?;
    let today = app.today();
    let left = 7 - i32::from(today.weekday().to_monday_one_offset());
    let week_ends = today.checked_add(jiff::Span::new().days(left)).unwrap_or(today);
    let kinds = app.registers.load().kinds();
    let counts = app.store.task_counts(&scope, &kinds, &today.to_string(), &week_ends.to_string()).await?;
    Ok((app.store.tasks(&scope, &kinds, &today.to_string(), paging).await?, counts))
}

/// What the asker was told, newest first, and how much of it is unread.
///
/// # Errors
/// No permission to view, a foreign cursor, the store's.
pub async fn notifications(app: &App, scope: &Scope, paging: &Paging) -> Result<(Page<NotificationRow>, i64), AppError> {
    let scope = scope.with(Permission::View)?;
    let kinds = app.registers.load().kinds();
    Ok((app.store.notifications(&scope, &kinds, paging).await?, app.store.n_unread(&scope, &kinds).await?))
}

/// Notes that the asker read everything up to and with `id`.
///
/// # Errors
/// The store's.
pub async fn read_notifications(app: &App, scope: &Scope, id: i64) -> Result<(), AppError> {
    Ok(app.store.read_notifications(scope, id).await?)
}

/// Who may be named in a record of this owner.
///
/// # Errors
/// No permission to view, an owner that is not visible, neither or both named.
pub async fn people(
    app: &App,
    scope: &Scope,
    enterprise: Option<EnterpriseId>,
    region: Option<RegionCode>,
) -> Result<Vec<(UserId, String, Vec<Role>)>, AppError> {
    let scope = scope.with(Permission::View)?;
    let owner = match (enterprise, region) {
        (Some(enterprise), None) => app.store.record_owner(&scope, enterprise).await?,
        (None, Some(region)) if scope.holds(None, Some(&region), None) => of_region(region),
        (None, Some(_)) => return Err(AppError::forbidden("scope.outside")),
        _ => return Err(AppError::invalid("register.owner", "enterprise")),
    };
    Ok(app.store.people_at(&owner).await?)
}

pub(crate) fn of_region(region: RegionCode) -> RecordOwner {
    RecordOwner { enterprise: None, region: Some(region), sector: None, names: Vec::new() }
}

/// Nobody: what everybody sees.
pub(crate) fn of_everyone() -> RecordOwner {
    RecordOwner { enterprise: None, region: None, sector: None, names: Vec::new() }
}

// ---- acting

/// Makes a record by its first transition.
///
/// # Errors
/// No such register, an owner that is not visible or of the wrong sort, everything that the kind says against it.
pub async fn create(app: &App, scope: &Scope, kind: &str, new: NewRecord) -> Result<RecordRow, AppError> {
    let act = scope.with(Permission::View)?;
    app.registers.load().kind(kind)?;
    let now = app.clock.now();
    let mut change = app.store.change_records(&act, now).await?;
    let row = create_in(app, &mut change, scope, actor(scope)?, kind, new, now).await?;
    app.live.records_changed(&change.commit().await?);
    Ok(row)
}

/// Whoever acts, as acts name them.
fn actor(scope: &Scope) -> Result<String, AppError> {
    Ok(scope.user.ok_or_else(|| AppError::forbidden("scope.outside"))?.to_string())
}

/// What the product takes on a page of its own nobody takes with a form.
fn must_be_by_form(app: &App, kind: &str, transition: &str) -> Result<(), AppError> {
    let kind = app.registers.load().kind(kind)?;
    match kind.transition(transition) {
        Some(step) if step.has_own_page => Err(AppError::conflict("register.own_page").on("transition")),
        _ => Ok(()),
    }
}

/// Makes a record inside a change, in the roles of `scope` over its owner; `by` is who does it.
pub(crate) async fn create_in(
    app: &App,
    change: &mut RecordChange<'_>,
    scope: &Scope,
    by: String,
    kind: &str,
    new: NewRecord,
    now: Timestamp,
) -> Result<RecordRow, AppError> {
    must_be_by_form(app, kind, &new.transition)?;
    create_by_product(app, change, scope, by, kind, new, now).await
}

/// [`create_in`], by a step that has a page of its own.
pub(crate) async fn create_by_product(
    app: &App,
    change: &mut RecordChange<'_>,
    scope: &Scope,
    by: String,
    kind: &str,
    new: NewRecord,
    now: Timestamp,
) -> Result<RecordRow, AppError> {
    let act = scope.with(Permission::View)?;
    // Behind the line: what was switched meanwhile holds.
    let kind = app.registers.load().kind(kind)?;
    let owner = match (kind.owner, new.enterprise, new.region) {
        (Owner::Enterprise | Owner::Either, Some(enterprise), None) => change.owner(enterprise).await?,
        (Owner::Region | Owner::Either, None, Some(region)) if act.holds(None, Some(&region), None) => of_region(region),
        (Owner::Everyone, None, None) if act.holds(None, None, None) => of_everyone(),
        (Owner::Region | Owner::Either, None, Some(_)) | (Owner::Everyone, None, None) => return Err(AppError::forbidden("scope.outside")),
        (Owner::Enterprise, ..) => return Err(AppError::invalid("register.owner_enterprise", "enterprise")),
        (Owner::Region, ..) => return Err(AppError::invalid("register.owner_region", "region")),
        (Owner::Either, ..) => return Err(AppError::invalid("register.owner", "enterprise")),
        (Owner::Everyone, enterprise, _) => {
            let field = if enterprise.is_some() { "enterprise" } else { "region" };
            return Err(AppError::invalid("register.owner_everyone", field));
        }
    };
    let people = named_people(app, &kind, &new.fields, &owner).await?;
    let mut doing = Doing::by(app, by, scope, &owner, people, now);
    let id = doing.create(change, &kind, None, &new.transition, fields_of(&kind, &new.fields)?, 0).await?;
    Ok(change.record(&kind.id, id).await?)
}

/// Brings a record on by a transition.
///
/// # Errors
/// Not there or not visible, a stale revision, everything that the kind says against it.
pub async fn act(
    app: &App,
    scope: &Scope,
    kind: &str,
    id: RecordId,
    transition: &str,
    revision: i64,
    fields: &Map<String, Json>,
) -> Result<RecordRow, AppError> {
    let act = scope.with(Permission::View)?;
    app.registers.load().kind(kind)?;
    let now = app.clock.now();
    let mut change = app.store.change_records(&act, now).await?;
    let row = act_in(app, &mut change, scope, actor(scope)?, kind, id, transition, revision, fields, now).await?;
    app.live.records_changed(&change.commit().await?);
    Ok(row)
}

/// Brings a record on inside a change, in the roles of `scope` over its owner; `by` is who does it.
#[expect(clippy::too_many_arguments, reason = "the step as the API has it, in whose name, and when")]
pub(crate) async fn act_in(
    app: &App,
    change: &mut RecordChange<'_>,
    scope: &Scope,
    by: String,
    kind: &str,
    id: RecordId,
    transition: &str,
    revision: i64,
    fields: &Map<String, Json>,
    now: Timestamp,
) -> Result<RecordRow, AppError> {
    must_be_by_form(app, kind, transition)?;
    act_by_product(app, change, scope, by, kind, id, transition, revision, fields, now).await
}

/// [`act_in`], by a step that has a page of its own.
#[expect(clippy::too_many_arguments, reason = "as act_in")]
pub(crate) async fn act_by_product(
    app: &App,
    change: &mut RecordChange<'_>,
    scope: &Scope,
    by: String,
    kind: &str,
    id: RecordId,
    transition: &str,
    revision: i64,
    fields: &Map<String, Json>,
    now: Timestamp,
) -> Result<RecordRow, AppError> {
    let kind = app.registers.load().kind(kind)?;
    let row = change.record(&kind.id, id).await?;
    row.must_be_own()?;
    // Who is late learns that first: what else is wrong may be so only because somebody else went on.
    if row.revision != revision {
        return Err(AppError::conflict("revision.stale").on("revision"));
    }
    let owner = owner_of(change, &row).await?;
    let people = named_people(app, &kind, fields, &owner).await?;
    let mut doing = Doing::by(app, by, scope, &owner, people, now);
    doing.update(change, &kind, &row, transition, fields_of(&kind, fields)?).await?;
    Ok(change.record(&kind.id, id).await?)
}

async fn owner_of(change: &mut RecordChange<'_>, row: &RecordRow) -> Result<RecordOwner, AppError> {
    Ok(match row.enterprise {
        Some(enterprise) => change.owner(enterprise).await?,
        None => RecordOwner { region: row.region.clone(), ..of_everyone() },
    })
}

/// The people that person fields may name, if one is filled at all.
async fn named_people(app: &App, kind: &Kind, fields: &Map<String, Json>, owner: &RecordOwner) -> Result<Vec<UserId>, AppError> {
    let is_person = |id: &String| kind.field(id).is_some_and(|f| matches!(f.of, FieldType::Person));
    if !fields.keys().any(is_person) {
        return Ok(Vec::new());
    }
    Ok(app.store.people_at(owner).await?.into_iter().map(|(id, ..)| id).collect())
}

/// Values as the kind's fields would hold them; null empties one.
pub(crate) fn fields_of(kind: &Kind, fields: &Map<String, Json>) -> Result<BTreeMap<String, Option<Value>>, AppError> {
    let mut set = BTreeMap::new();
    let mut faults = BTreeSet::new();
    for (id, json) in fields {
        let value = match json {
            Json::Null => None,
            Json::String(text) => Some(Value::from_json(kind.field(id), &Json::String(text.trim().to_owned()))),
            json => Some(Value::from_json(kind.field(id), json)),
        };
        match value {
            None => drop(set.insert(id.clone(), None)),
            // An empty form field is an empty field.
            Some(Some(Value::Files(ids))) if ids.is_empty() => drop(set.insert(id.clone(), None)),
            Some(Some(Value::Text(text))) if text.is_empty() => drop(set.insert(id.clone(), None)),
            Some(Some(value)) => drop(set.insert(id.clone(), Some(value))),
            Some(None) => drop(faults.insert(Refused::Field(id.clone(), FieldFault::Type))),
        }
    }
    if faults.is_empty() { Ok(set) } else { Err(refusal(kind, "", faults)) }
}

/// That the kind has these fields, and that these values can stand in them.
pub(crate) fn check_fields(kind: &Kind, set: &BTreeMap<String, Option<Value>>) -> Result<(), AppError> {
    let mut faults = BTreeSet::new();
    for (id, value) in set {
        match (kind.field(id), value) {
            (None, _) => drop(faults.insert(Refused::Field(id.clone(), FieldFault::Unknown))),
            (Some(field), Some(value)) => {
                faults.extend(field.check(value).err().into_iter().flatten().map(|(path, fault)| Refused::Field(path, fault)));
            }
            (Some(_), None) => {}
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(refusal(kind, "", faults)) }
}

/// Somebody doing something for an owner.
pub(crate) struct Doing<'a> {
    app: &'a App,
    by: String,
    roles: Vec<&'static str>,
    owner: &'a RecordOwner,
    /// Who may be named; `None` = whoever is named was looked at before, in the record that this one comes from.
    people: Option<Vec<UserId>>,
    today: Date,
    /// The minute, civil time in Beijing.
    at: DateTime,
    now: Timestamp,
    /// Records that were opened until now.
    opened: usize,
}

impl<'a> Doing<'a> {
    pub(crate) fn new(app: &'a App, scope: &Scope, owner: &'a RecordOwner, people: Vec<UserId>, now: Timestamp) -> Result<Self, AppError> {
        Ok(Self::by(app, actor(scope)?, scope, owner, people, now))
    }

    /// In the roles of `scope`, in the name of somebody who need not be a person here.
    fn by(app: &'a App, by: String, scope: &Scope, owner: &'a RecordOwner, people: Vec<UserId>, now: Timestamp) -> Self {
        let roles = scope.roles_at(owner.enterprise, owner.region.as_ref(), owner.sector.as_deref());
        Self { app, by, roles, owner, people: Some(people), today: day_of(now), at: clock::civil(now), now, opened: 0 }
    }

    fn decide(
        &self,
        kind: &Kind,
        record: &Record,
        transition: &str,
        set: BTreeMap<String, Option<Value>>,
        related: &Related,
        beside: BTreeSet<Refused>,
    ) -> Result<Record, AppError> {
        let is_person = |id: &String| kind.field(id).is_some_and(|f| matches!(f.of, FieldType::Person));
        let is_known = |value: &Option<Value>| match value {
            Some(Value::Text(text)) => self.people.as_ref().is_none_or(|people| text.parse().is_ok_and(|id| people.contains(&id))),
            _ => true,
        };
        let strangers: Vec<String> = set.iter().filter(|(id, value)| is_person(id) && !is_known(value)).map(|(id, _)| id.clone()).collect();
        let attempt = Attempt { transition, by: &self.by, roles: &self.roles, at: self.at, set };
        let strangers = strangers.into_iter().map(|id| Refused::Field(id, FieldFault::Range));
        let (next, mut refused) = match kind.attempt(record, &attempt, related, &self.app.calendar) {
            Ok(next) => (Some(next), BTreeSet::new()),
            Err(refused) => (None, refused.into_iter().collect()),
        };
        refused.extend(strangers);
        refused.extend(beside);
        match next {
            Some(next) if refused.is_empty() => Ok(next),
            _ => Err(refusal(kind, transition, refused)),
        }
    }

    /// The record as its first transition would make it.
    pub(crate) fn begin(&self, kind: &Kind, transition: &str, set: BTreeMap<String, Option<Value>>) -> Result<Record, AppError> {
        self.decide(kind, &kind.begin(self.today), transition, set, &Related::default(), BTreeSet::new())
    }

    pub(crate) async fn create(
        &mut self,
        change: &mut RecordChange<'_>,
        kind: &Kind,
        parent: Option<&RecordRow>,
        transition: &str,
        set: BTreeMap<String, Option<Value>>,
        depth: usize,
    ) -> Result<RecordId, AppError> {
        let before = kind.begin(self.today);
        let related = Related { parent: parent.map(|row| row.state.clone()), children: Vec::new() };
        let (files, mut beside) = self.files(change, kind, &set, None).await?;
        beside.extend(self.references(change, kind, &set, &before, None).await?);
        let after = self.decide(kind, &before, transition, set, &related, beside)?;
        let number = self.number(change, kind).await?;
        let put = put(self.app, kind, &after, number, None);
        let detail = vouched(detail(transition, &before, &after), &files);
        let id = change.create(&kind.id, self.owner, parent.map(|row| row.id), &put, detail).await;
        let id = id.map_err(|error| taken(kind, error))?;
        change.bind_attachments(id, &files.iter().map(|file| file.id).collect::<Vec<_>>()).await?;
        self.tell(change, kind, id, &put, &before, &after).await?;
        self.open(change, kind, id, transition, &before, &after, depth).await?;
        Ok(id)
    }

    async fn update(
        &mut self,
        change: &mut RecordChange<'_>,
        kind: &Kind,
        row: &RecordRow,
        transition: &str,
        set: BTreeMap<String, Option<Value>>,
    ) -> Result<(), AppError> {
        let before = read(kind, row)?;
        let (parent, children) = change.related(row).await?;
        let (files, mut beside) = self.files(change, kind, &set, Some(row.id)).await?;
        beside.extend(self.references(change, kind, &set, &before, Some(row.id)).await?);
        let after = self.decide(kind, &before, transition, set, &Related { parent, children }, beside)?;
        let put = put(self.app, kind, &after, row.number.clone(), Some(row));
        let mut detail = vouched(detail(transition, &before, &after), &files);
        let now = self.now;
        if let Some(Json::Object(made)) =
            crate::public::publish(self.app, change, kind, row.id, row.region.as_ref(), (&before, &after), now).await?
            && let Json::Object(detail) = &mut detail
        {
            detail.extend(made);
        }
        change.update(row, row.revision, &put, detail).await.map_err(|error| taken(kind, error))?;
        change.bind_attachments(row.id, &files.iter().map(|file| file.id).collect::<Vec<_>>()).await?;
        self.tell(change, kind, row.id, &put, &before, &after).await?;
        self.open(change, kind, row.id, transition, &before, &after, 0).await
    }

    /// The files that an act names for the first time, and what stands against any that it names: only uploads of whoever acts and files of this
    /// very record may be named.
    async fn files(
        &self,
        change: &mut RecordChange<'_>,
        kind: &Kind,
        set: &BTreeMap<String, Option<Value>>,
        record: Option<RecordId>,
    ) -> Result<(Vec<AttachmentRow>, BTreeSet<Refused>), AppError> {
        let mut named: Vec<(&Field, &[FileKind], usize, &String)> = Vec::new();
        for (id, value) in set {
            let Some((field, Some(Value::Files(ids)))) = kind.field(id).map(|field| (field, value)) else { continue };
            // More than it takes is refused as that.
            if let FieldType::File { accept, .. } = &field.of
                && field.check(&Value::Files(ids.clone())).is_ok()
            {
                named.extend(ids.iter().enumerate().map(|(i, id)| (field, accept.as_slice(), i, id)));
            }
        }
        let ids: BTreeSet<AttachmentId> = named.iter().filter_map(|(.., id)| id.parse().ok()).collect();
        if named.is_empty() {
            return Ok((Vec::new(), BTreeSet::new()));
        }
        let rows = change.attachments(&ids.into_iter().collect::<Vec<_>>()).await?;
        let mut refused = BTreeSet::new();
        for (field, accept, i, id) in named {
            let row = id.parse().ok().and_then(|id: AttachmentId| rows.iter().find(|row| row.id == id));
            let is_theirs = |row: &&AttachmentRow| match row.record {
                Some(of) => Some(of) == record,
                None => row.file.by.to_string() == self.by,
            };
            let path = format!("{}[{i}]", field.id);
            match row.filter(is_theirs) {
                None => drop(refused.insert(Refused::Field(path, FieldFault::File))),
                Some(row) => {
                    let is = crate::attachment::by_media_type(&row.file.media_type).map(|t| t.kind);
                    if is.is_none_or(|is| !accept.contains(&is)) {
                        refused.insert(Refused::Field(path, FieldFault::Range));
                    }
                }
            }
        }
        let new: Vec<AttachmentRow> = rows.into_iter().filter(|row| row.record.is_none()).collect();
        let most = self.app.settings.attachments.record_files;
        let there = match record {
            Some(record) if !new.is_empty() => change.n_attachments(record).await?,
            _ => 0,
        };
        if there + new.len() > most {
            return Err(AppError::conflict("attachment.record_full").with("max", most));
        }
        Ok((new, refused))
    }

    /// What stands against the records that an act names. What was named before stays named, whatever became of it since.
    async fn references(
        &self,
        change: &mut RecordChange<'_>,
        kind: &Kind,
        set: &BTreeMap<String, Option<Value>>,
        before: &Record,
        own: Option<RecordId>,
    ) -> Result<BTreeSet<Refused>, AppError> {
        let mut refused = BTreeSet::new();
        // As with people: what is opened names what the record named that it comes from.
        if self.people.is_none() {
            return Ok(refused);
        }
        for (id, value) in set {
            let Some((field, Some(Value::Text(named)))) = kind.field(id).map(|field| (field, value)) else { continue };
            let FieldType::Record { of, .. } = &field.of else { continue };
            if before.fields.get(id) == value.as_ref() {
                continue;
            }
            let found = match named.parse::<RecordId>() {
                // Nothing is its own other record.
                Ok(named) if Some(named) == own => Err(anlan_store::StoreError::NotFound),
                Ok(named) => change.record(of, named).await,
                Err(_) => Err(anlan_store::StoreError::NotFound),
            };
            // A copy may be withdrawn: what is named stays.
            let found = found.and_then(|row| if row.home.is_some() { Err(anlan_store::StoreError::NotFound) } else { Ok(row) });
            let why = match (found, self.app.registers.load().kind(of)) {
                (Ok(row), Ok(other)) => match field.fits_record(&other, &read(&other, &row)?, self.today) {
                    Ok(()) => continue,
                    Err(unfit) => Some((row.title, unfit)),
                },
                (Err(anlan_store::StoreError::NotFound), _) | (Ok(_), Err(_)) => None,
                (Err(failure), _) => return Err(failure.into()),
            };
            refused.insert(Refused::Reference(id.clone(), why));
        }
        Ok(refused)
    }

    /// Makes the records that the transition opens: all of them, or none and everything that stands against them.
    #[expect(clippy::too_many_arguments, reason = "the record, the step, and what it was before and is after")]
    async fn open(
        &mut self,
        change: &mut RecordChange<'_>,
        kind: &Kind,
        id: RecordId,
        transition: &str,
        before: &Record,
        after: &Record,
        depth: usize,
    ) -> Result<(), AppError> {
        let all = kind.opened(transition, before, after, self.today);
        if all.is_empty() {
            return Ok(());
        }
        if depth >= OPENS_DEPTH_MAX {
            return Err(AppError::conflict("register.too_deep"));
        }
        let parent = change.record(&kind.id, id).await?;
        self.people = None;
        self.opened += all.len();
        // The loader counts by the tables of today; a stored one may be longer.
        if self.opened > OPENED_MAX {
            return Err(AppError::conflict("register.too_many").with("most", OPENED_MAX));
        }
        let mut refused: Option<AppError> = None;
        for opened in all {
            let opens = opened.opens;
            let other = self.app.registers.load().kind(&opens.kind)?;
            if other.owner == Owner::Enterprise && self.owner.enterprise.is_none() {
                // No people of an enterprise would be there to go on with it.
                let mut why =
                    AppError::invalid("register.opened_of_enterprise", "").with("kind", &other.name).with("kind_en", &other.name_en);
                for problem in &mut why.problems {
                    problem.field = opened.origin("").map(|path| format!("fields.{path}"));
                }
                return Err(why);
            }
            let copied = opened.set.iter().map(|(to, value)| (to.clone(), Some(value.clone())));
            let constant = |(to, text): (&String, &String)| (to.clone(), Value::from_json(other.field(to), &text.as_str().into()));
            let set = opens.with.iter().map(constant).chain(copied).collect();
            match Box::pin(self.create(change, &other, Some(&parent), &opens.by, set, depth + 1)).await {
                Ok(_) => {}
                // Whoever filled in the table learns of every row at once, at the cell that it is from.
                Err(mut why) if why.source.is_none() && why.problems.iter().any(|problem| problem.code.starts_with("register.")) => {
                    for problem in &mut why.problems {
                        let id = problem.field.as_deref().and_then(|field| field.strip_prefix("fields.")).unwrap_or_default();
                        problem.field = opened.origin(id).map(|path| format!("fields.{path}"));
                    }
                    match &mut refused {
                        None => refused = Some(why),
                        Some(refused) if refused.problems.len() < PROBLEMS_MAX => refused.problems.append(&mut why.problems),
                        Some(_) => break,
                    }
                }
                Err(failure) => return Err(failure),
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// Tells those whose task it is now.
    async fn tell(
        &self,
        change: &mut RecordChange<'_>,
        kind: &Kind,
        id: RecordId,
        put: &RecordPut,
        before: &Record,
        after: &Record,
    ) -> Result<(), AppError> {
        if before.state == after.state {
            return self.tell_of_clocks(change, kind, id, before, after).await;
        }
        let state = kind.state(&after.state);
        let detail = json!({"state": after.state, "state_name": state.map(|s| &s.name), "state_name_en": state.map(|s| &s.name_en), "due_on": put.due_on});
        let roles = if put.task_user.is_some() { &[] } else { put.tasks.as_slice() };
        change.notify(id, self.owner, roles, put.task_user, "task", &detail).await?;
        Ok(())
    }

    /// Tells those who owe something since this step, in a state that stays.
    async fn tell_of_clocks(
        &self,
        change: &mut RecordChange<'_>,
        kind: &Kind,
        id: RecordId,
        before: &Record,
        after: &Record,
    ) -> Result<(), AppError> {
        let owed: BTreeSet<(String, DateTime)> = kind.owed(before).map(|was| (was.key, was.until)).collect();
        for now in kind.running(after).filter(|now| !owed.contains(&(now.key.clone(), now.until))) {
            let detail = json!({
                "state": after.state, "state_name": now.names.0, "state_name_en": now.names.1, "due_on": now.until.date().to_string(),
                "clock": now.clock.id, "until": minute_of(now.until),
            });
            change.notify(id, self.owner, &now.clock.task, None, "task", &detail).await?;
        }
        Ok(())
    }

    async fn number(&self, change: &mut RecordChange<'_>, kind: &Kind) -> Result<String, AppError> {
        let mut number = String::new();
        for part in &kind.number {
            match part {
                NumberPart::Text(text) => number.push_str(text),
                NumberPart::Region => number.push_str(self.owner.region.as_ref().map_or("", RegionCode::as_str)),
                NumberPart::Year => number.push_str(&self.today.year().to_string()),
                NumberPart::Seq(digits) => {
                    let region = self.owner.region.as_ref().map_or("", RegionCode::as_str);
                    let name = format!("{}/{region}/{}", kind.id, self.today.year());
                    let n = change.count(&name).await?;
                    number.push_str(&format!("{n:0digits$}"));
                }
            }
        }
        Ok(number)
    }
}

/// A record as the kind reads it.
///
/// # Errors
/// A body that is no record's: a fault of ours or of whoever changed the database.
pub fn read(kind: &Kind, row: &RecordRow) -> Result<Record, AppError> {
    let body: Body = serde_json::from_value(row.body.clone())
        .map_err(|e| AppError { source: Some(e.into()), ..AppError::new(Refusal::Internal, "internal") })?;
    Ok(Record { state: row.state.clone(), entered_on: body.entered_on, fields: kind.stored_fields(&body.fields), acts: body.acts })
}

/// A record as the store keeps it; `before` is how it was kept until now.
fn put(app: &App, kind: &Kind, record: &Record, number: String, before: Option<&RecordRow>) -> RecordPut {
    let same_state = before.filter(|row| row.state == record.state);
    // Steps that were told stay told while state and deadline are the same.
    let told =
        same_state.filter(|row| read(kind, row).is_ok_and(|was| kind.due_on(&was, &app.calendar) == kind.due_on(record, &app.calendar)));
    let escalated = told.and_then(|row| usize::try_from(row.escalated).ok()).unwrap_or(0);
    let mut clocks = before.map(clocked).unwrap_or_default();
    let owed: BTreeMap<String, String> = kind.owed(record).map(|owed| (owed.key, minute_of(owed.until))).collect();
    clocks.retain(|key, clock| owed.get(key) == Some(&clock.until));
    put_told(app, kind, record, number, escalated, clocks)
}

/// The same with so many steps told, of its state and of its clocks.
fn put_told(app: &App, kind: &Kind, record: &Record, number: String, escalated: usize, clocks: BTreeMap<String, Clocked>) -> RecordPut {
    let state = kind.state(&record.state);
    let task_user = state.and_then(|s| record.text(s.task_person.as_ref()?)).and_then(|id| id.parse().ok());
    let fields: Map<String, Json> = record.fields.iter().map(|(id, value)| (id.clone(), value.to_json())).collect();
    let remind_on = remind_on(app, kind, record, escalated, &clocks);
    let body = Body { acts: record.acts.clone(), entered_on: record.entered_on, fields, clocks };
    let texts = std::iter::once(number.as_str()).chain(kind.searched(record)).filter(|text| !text.is_empty());
    RecordPut {
        title: record.text(&kind.title).unwrap_or_default().chars().take(200).collect(),
        state: record.state.clone(),
        is_open: state.is_some_and(|s| !s.is_end),
        due_on: kind.next_due_on(record, &app.calendar).map(|day| day.to_string()),
        remind_on,
        escalated,
        key: kind.key_of(&record.fields),
        tasks: kind.tasks(record),
        task_on: kind.task_on(record, &app.calendar).map(|day| day.to_string()),
        task_user,
        texts: texts.map(str::to_owned).collect(),
        index: kind.index(record),
        // Dates and texts alone: it always encodes.
        body: serde_json::to_value(body).unwrap_or_default(),
        number,
    }
}

/// What was told of a record's clocks; nothing of one that says none.
fn clocked(row: &RecordRow) -> BTreeMap<String, Clocked> {
    row.body.get("clocks").and_then(|told| serde_json::from_value(told.clone()).ok()).unwrap_or_default()
}

/// The instant of its deadline, where that has one.
fn due_at(kind: &Kind, record: &Record) -> Option<DateTime> {
    match kind.state(&record.state)?.deadline.as_ref()? {
        Deadline::Field(id) => record.instant(id),
        Deadline::Days(_) | Deadline::WorkingDays(_) => None,
    }
}

/// When the next word about it is due, as days and minutes are compared: as texts, a day before each of its minutes. Of its deadline the first step that
/// was not told; of each clock the same, and the minute in which it is over, when what is computed says so.
fn remind_on(app: &App, kind: &Kind, record: &Record, escalated: usize, clocks: &BTreeMap<String, Clocked>) -> Option<String> {
    let of_clocks = kind.running(record).flat_map(|running| {
        let told = told_of(clocks, &running.key, running.until);
        // The steps that are left, as if none were due yet.
        let next = running.clock.steps(running.until, told, DateTime::MIN).1;
        let over = running.until.checked_add(jiff::Span::new().minutes(1)).ok();
        let over = over.filter(|_| !clocks.get(&running.key).is_some_and(|c| c.is_over));
        [next, over]
    });
    let of_clocks = of_clocks.flatten().map(minute_of);
    of_state(app, kind, record, escalated).into_iter().chain(of_clocks).min()
}

fn told_of(clocks: &BTreeMap<String, Clocked>, key: &str, until: DateTime) -> usize {
    clocks.get(key).filter(|clock| clock.until == minute_of(until)).map_or(0, |clock| clock.told)
}

/// The day of the next word about the deadline of its state, or the minute, where that has one and the step is of its day.
fn of_state(app: &App, kind: &Kind, record: &Record, done: usize) -> Option<String> {
    let due_on = kind.due_on(record, &app.calendar)?;
    let step = kind.state(&record.state)?.escalate.get(done)?;
    if let Some(at) = due_at(kind, record).filter(|_| step.after == 0) {
        return Some(minute_of(at));
    }
    due_on.checked_add(jiff::Span::new().days(step.after)).ok().map(|day| day.to_string())
}

/// What the audit and the time line say of a step.
fn detail(transition: &str, before: &Record, after: &Record) -> Json {
    let json = |value: Option<&Value>| value.map_or(Json::Null, Value::to_json);
    let ids: BTreeSet<&String> = before.fields.keys().chain(after.fields.keys()).collect();
    let changed = ids.into_iter().filter(|id| before.fields.get(*id) != after.fields.get(*id));
    let changes: Map<String, Json> =
        changed.map(|id| (id.clone(), json!([json(before.fields.get(id)), json(after.fields.get(id))]))).collect();
    json!({"transition": transition, "from": before.state, "to": after.state, "changes": changes})
}

/// The same with the hashes of files that the act binds: by them the audit vouches for the bytes (`store::attachment`).
fn vouched(mut detail: Json, files: &[AttachmentRow]) -> Json {
    if !files.is_empty() {
        let file =
            |row: &AttachmentRow| (row.id.to_string(), json!({"name": row.file.name, "bytes": row.file.bytes, "sha256": row.file.sha256}));
        detail["files"] = files.iter().map(file).collect::<Map<String, Json>>().into();
    }
    detail
}

fn taken(kind: &Kind, error: anlan_store::StoreError) -> AppError {
    match error {
        anlan_store::StoreError::Taken { .. } => {
            let field = kind.key.first().map(|id| format!("fields.{id}")).unwrap_or_default();
            AppError::conflict("register.key_taken").on(&field)
        }
        other => other.into(),
    }
}

/// Every refusal as a fault of its own.
fn refusal(kind: &Kind, transition: &str, refused: BTreeSet<Refused>) -> AppError {
    let has = |test: fn(&Refused) -> bool| refused.iter().any(test);
    let sort = if has(|r| matches!(r, Refused::Unknown)) {
        Refusal::NotFound
    } else if has(|r| matches!(r, Refused::Role)) {
        Refusal::Forbidden
    } else if has(|r| matches!(r, Refused::State))
        || !has(|r| matches!(r, Refused::Field(..) | Refused::Content(..) | Refused::Reference(..)))
    {
        Refusal::Conflict
    } else {
        Refusal::Invalid
    };
    let transition = kind.transition(transition);
    let problems = refused.iter().map(|refused| problem(kind, transition, refused)).collect();
    AppError { kind: sort, problems, source: None }
}

fn problem(kind: &Kind, transition: Option<&Transition>, refused: &Refused) -> Problem {
    let (code, field) = match refused {
        Refused::Unknown => ("register.transition_unknown", None),
        Refused::State => ("register.state", None),
        Refused::Role => ("register.role", None),
        Refused::Guard(_) => ("register.guard", None),
        Refused::Content(path, Content::MajorHazard(_)) => ("register.content", Some(format!("fields.{path}"))),
        Refused::Content(path, Content::Accident(_)) => ("register.unmeant", Some(format!("fields.{path}"))),
        Refused::Reference(path, why) => {
            let code = match why {
                None => "register.reference",
                Some((_, Unfit::State(..))) => "register.reference_state",
                Some((_, Unfit::NotYet(_))) => "register.reference_not_yet",
                Some((_, Unfit::Over(_))) => "register.reference_over",
            };
            (code, Some(format!("fields.{path}")))
        }
        Refused::Field(path, fault) => {
            let code = match fault {
                FieldFault::Unknown => "register.field_unknown",
                FieldFault::Locked => "register.field_locked",
                FieldFault::Missing => "register.field_missing",
                FieldFault::Type => "register.field_type",
                FieldFault::Range => "register.field_range",
                FieldFault::File => "register.field_file",
            };
            (code, Some(format!("fields.{path}")))
        }
    };
    let mut params = BTreeMap::new();
    match refused {
        Refused::Guard(id) => {
            if let Some(guard) = transition.and_then(|t| t.guards.iter().find(|g| g.id == *id)) {
                params.extend([("guard", id.clone()), ("says", guard.says.clone()), ("says_en", guard.says_en.clone())]);
            }
        }
        Refused::Reference(_, Some((title, why))) => {
            params.insert("title", title.clone());
            match why {
                Unfit::State(name, name_en) => params.extend([("state", name.clone()), ("state_en", name_en.clone())]),
                Unfit::NotYet(day) | Unfit::Over(day) => drop(params.insert("day", day.to_string())),
            }
        }
        Refused::Content(_, cause) => params.extend([("says", cause.in_chinese()), ("says_en", cause.to_string())]),
        Refused::Field(path, FieldFault::Type | FieldFault::Range) => {
            if let Some(field) = field_at(kind, path) {
                params.extend([("allowed", allowed(field, false)), ("allowed_en", allowed(field, true))]);
            }
        }
        _ => {}
    }
    Problem { code, field, params }
}

/// The field at `id` or `id[row].column`.
fn field_at<'a>(kind: &'a Kind, path: &str) -> Option<&'a Field> {
    let (id, column) = match path.split_once('[') {
        None => return kind.field(path),
        Some((id, rest)) => (id, rest.split_once('.').map(|(_, column)| column)),
    };
    match (&kind.field(id)?.of, column) {
        (FieldType::Table { columns, .. }, Some(column)) => columns.iter().find(|c| c.id == column),
        _ => kind.field(id),
    }
}

/// What may stand in a field, in words.
pub(crate) fn allowed(field: &Field, in_english: bool) -> String {
    let say = |zh: String, en: String| if in_english { en } else { zh };
    match &field.of {
        FieldType::Text { max } => say(format!("1 至 {max} 个字"), format!("1 to {max} characters")),
        FieldType::Number { unit, min, max } => {
            let from = min.map(|n| say(format!("不小于 {n}"), format!("at least {n}")));
            let to = max.map(|n| say(format!("不大于 {n}"), format!("at most {n}")));
            let bounds: Vec<String> = from.into_iter().chain(to).collect();
            let bounds = if bounds.is_empty() {
                say("一个数".to_owned(), "a number".to_owned())
            } else {
                bounds.join(&say("、".into(), ", ".into()))
            };
            if unit.is_empty() { bounds } else { say(format!("{bounds}（{unit}）"), format!("{bounds} ({unit})")) }
        }
        FieldType::Date => say("日期，如 2026-03-01".to_owned(), "a date such as 2026-03-01".to_owned()),
        FieldType::DateTime => {
            say("日期和时间（北京时间），如 2026-03-01T09:05".to_owned(), "a date and time (Beijing) such as 2026-03-01T09:05".to_owned())
        }
        FieldType::Choice { choices } => {
            let names: Vec<&str> = choices.iter().map(|c| if in_english { c.name_en.as_str() } else { c.name.as_str() }).collect();
            names.join(&say("、".into(), ", ".into()))
        }
        FieldType::Person => say("在该单位有权限的人员".to_owned(), "somebody with a role at the owner".to_owned()),
        FieldType::Record { .. } => say("一条可选用的记录".to_owned(), "a record that may be named".to_owned()),
        FieldType::Place => say("经度和纬度".to_owned(), "a longitude and a latitude".to_owned()),
        FieldType::File { max, accept } => {
            let names: Vec<&str> = accept.iter().map(|kind| if in_english { kind_name(*kind).1 } else { kind_name(*kind).0 }).collect();
            let names = names.join(&say("、".into(), ", ".into()));
            say(format!("1 至 {max} 个文件：{names}"), format!("1 to {max} files: {names}"))
        }
        FieldType::Table { rows_max, .. } => say(format!("1 至 {rows_max} 行"), format!("1 to {rows_max} rows")),
    }
}

/// What a kind of file is called, in both languages.
fn kind_name(kind: FileKind) -> (&'static str, &'static str) {
    match kind {
        FileKind::Image => ("图像（JPEG、PNG、WebP）", "pictures (JPEG, PNG, WebP)"),
        FileKind::Pdf => ("PDF", "PDF"),
        FileKind::Document => ("文档（DOCX、XLSX）", "documents (DOCX, XLSX)"),
        FileKind::Video => ("视频（MP4）", "films (MP4)"),
        FileKind::Text => ("纯文本", "plain text"),
    }
}

/// Brings everything that follows from the register up to date for each of its records, after the register changed; in portions, so that people
/// get their turn between them.
///
/// # Errors
/// The store's; what was done until then stays done, and the next switch does the rest.
pub async fn renew(app: &App, kind: &str) -> Result<(), AppError> {
    let node = Scope::node();
    let mut paging = Paging { cursor: None, limit: PORTION };
    loop {
        let page = app.store.records(&node, kind, &RecordFilter::default(), &paging).await?;
        // Copies follow the register of their home, and what is being handed over that of whoever keeps it then.
        let ids: Vec<RecordId> = page.items.iter().filter(|row| row.must_be_own().is_ok()).map(|row| row.id).collect();
        // One that is broken, or whose key is another's by now, keeps none of the others waiting.
        let is_of_one = |failure: &AppError| matches!(failure.kind, Refusal::Internal | Refusal::Conflict | Refusal::NotFound);
        match renew_some(app, kind, &ids).await {
            Err(failure) if is_of_one(&failure) => {
                for id in &ids {
                    match renew_some(app, kind, &[*id]).await {
                        Err(failure) if is_of_one(&failure) => {
                            warn!(record.id = %id, error = &failure as &dyn std::error::Error, "record {id} is left as its register was before");
                        }
                        renewed => renewed?,
                    }
                }
            }
            renewed => renewed?,
        }
        let Some(next) = page.next else { return Ok(()) };
        paging.cursor = Some(next);
    }
}

async fn renew_some(app: &App, kind: &str, ids: &[RecordId]) -> Result<(), AppError> {
    let node = Scope::node();
    let mut change = app.store.change_records(&node, app.clock.now()).await?;
    let kind = app.registers.load().kind(kind)?;
    for id in ids {
        let row = change.record(&kind.id, *id).await?;
        let before = read(&kind, &row)?;
        let mut after = before.clone();
        kind.compute(&mut after, clock::civil(app.clock.now()));
        let put = put(app, &kind, &after, row.number.clone(), Some(&row));
        let changes = detail("", &before, &after)["changes"].clone();
        let detail = json!({"reason": "the register changed", "changes": changes});
        change.update(&row, row.revision, &put, detail).await.map_err(|error| taken(&kind, error))?;
    }
    app.live.records_changed(&change.commit().await?);
    Ok(())
}

// ---- deadlines

/// Tells what is due soon or late, until stopped.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    loop {
        if let Err(failure) = remind(&app).await {
            warn!(error = &failure as &dyn std::error::Error, "deadlines could not be looked at; next try within a minute");
        }
        if let Err(failure) = crate::whistleblow::forget_granted(&app).await {
            warn!(
                error = &failure as &dyn std::error::Error,
                "what was granted and is over could not be dropped; next try within a minute"
            );
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Tells every step of escalation whose day has come; how many records had one. Running twice does no harm. Records of a register that is off wait
/// for it to come back; one that cannot be read keeps none of the others waiting.
///
/// # Errors
/// The store's; what was told until then stays told.
pub async fn remind(app: &App) -> Result<usize, AppError> {
    let _turn = app.reminding.lock().await;
    let today = app.today();
    let now = minute_of(clock::civil(app.clock.now()));
    let kinds = app.registers.load().kinds();
    let mut n = 0;
    loop {
        let ids = app.store.records_to_remind(&kinds, &now, PER_ROUND).await?;
        let mut told = 0;
        for id in &ids {
            match remind_of(app, *id, today).await {
                Ok(()) => told += 1,
                Err(failure) if matches!(failure.kind, Refusal::Internal) => {
                    warn!(record.id = %id, error = &failure as &dyn std::error::Error, "record {id} is broken: nobody is told of its deadline");
                }
                Err(failure) => return Err(failure),
            }
        }
        n += told;
        if ids.len() < PER_ROUND as usize || told == 0 {
            return Ok(n);
        }
    }
}

async fn remind_of(app: &App, id: RecordId, today: Date) -> Result<(), AppError> {
    let node = Scope::node();
    let at = app.clock.now();
    let now = clock::civil(at);
    let mut change = app.store.change_records(&node, at).await?;
    let kind = app.registers.load().kind(&change.kind_of(id).await?)?;
    let row = change.record(&kind.id, id).await?;
    let record = read(&kind, &row)?;
    let done = usize::try_from(row.escalated).unwrap_or(0);
    let due_on = kind.due_on(&record, &app.calendar);
    let (clocks, running) = (clocked(&row), kind.running(&record).count());
    if due_on.is_none() && running == 0 {
        change.escalated(&row, done, None, json!({"reason": "no deadline"})).await?;
        change.commit().await?;
        return Ok(());
    }
    let owner = owner_of(&mut change, &row).await?;
    let mut told = Vec::new();
    // Whoever's task alone it is hears of it beside the roles.
    let person: Option<UserId> = kind.state(&row.state).and_then(|s| record.text(s.task_person.as_ref()?)).and_then(|id| id.parse().ok());
    let (steps, n_steps) = match due_on {
        Some(due_on) => {
            let steps = kind.escalation(&row.state, due_on, done, today).0;
            let n = steps.len();
            (steps, n)
        }
        None => (Vec::new(), 0),
    };
    let word = |is_over: bool| if is_over { "overdue" } else { "due_soon" };
    let is_over = due_on.is_some_and(|due_on| today > due_on) || due_at(&kind, &record).is_some_and(|at| at < now);
    for step in &steps {
        let detail = json!({"due_on": due_on.map(|day| day.to_string()), "after": step.after});
        let n = change.notify(id, &owner, &step.to, person, word(is_over), &detail).await?;
        told.push(json!({"after": step.after, "to": step.to, "person": person.map(|id| id.to_string()), "people": n}));
    }
    let mut clocks_now = BTreeMap::new();
    for Running { clock, key, until, names } in kind.running(&record) {
        let before = told_of(&clocks, &key, until);
        let (steps, _) = clock.steps(until, before, now);
        let is_over = Clock::is_over(until, now);
        // Of steps that are due at once, as where the node was off, everybody hears once.
        if let Some(step) = steps.last() {
            let to: BTreeSet<&String> = steps.iter().flat_map(|step| &step.to).collect();
            let to: Vec<String> = to.into_iter().cloned().collect();
            let detail = json!({
                "due_on": until.date().to_string(), "clock": clock.id, "state_name": names.0, "state_name_en": names.1,
                "until": minute_of(until), "after_min": step.after_min,
            });
            let n = change.notify(id, &owner, &to, None, word(is_over), &detail).await?;
            told.push(json!({"clock": key, "after_min": step.after_min, "to": to, "people": n}));
        }
        clocks_now.insert(key, Clocked { until: minute_of(until), told: before + steps.len(), is_over });
    }
    let detail = json!({"due_on": row.due_on, "steps": told});
    let escalated = done + n_steps;
    if running > 0 {
        // What is computed may say something else by now: who was not told in time.
        let mut after = record.clone();
        kind.compute(&mut after, now);
        let put = put_told(app, &kind, &after, row.number.clone(), escalated, clocks_now);
        let mut detail = detail;
        detail["changes"] = self::detail("", &record, &after)["changes"].clone();
        change.clocked(&row, &put, detail).await?;
    } else {
        let next = remind_on(app, &kind, &record, escalated, &BTreeMap::new());
        change.escalated(&row, escalated, next.as_deref(), detail).await?;
    }
    app.live.records_changed(&change.commit().await?);
    Ok(())
}
