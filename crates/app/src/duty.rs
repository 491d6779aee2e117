//! Duty rotas (值班表): who is on duty where, when nobody is, and what one shift hands over to the next.
//!
//! A desk is manned round the clock as soon as it has a rota: hours without anybody are told two weeks before they come. Whoever is named must
//! hold the whole division and can be in one place at a time. What began already is changed with a reason alone. Start at [`now`].

use std::collections::{BTreeMap, BTreeSet};

use anlan_domain::duty::{self, Desk, Part, PatternFault, Span};
use anlan_model::{AlarmState, Clock as _, DutyShiftId, Permission, RegionCode, Role, Scope, Timestamp, UserId};
use anlan_store::{AlarmFilter, DutyChange, Paging};
pub use anlan_store::{DutyFilter, DutyHandoverRow, DutyShift, DutyShiftRow};
use jiff::civil::Date;
use serde_json::{Value as Json, json};

use crate::App;
use crate::error::AppError;
use crate::point::within;
use crate::record::of_region;
use crate::validate::{self, Page};

/// How far ahead hours without anybody are looked for; a desk with a shift that lately also has a rota.
const AHEAD_US: i64 = 14 * 86_400_000_000;
/// Longest shift.
const SHIFT_US_MAX: i64 = 31 * 86_400_000_000;
/// The next shift reads what the one before says up to this long before it begins.
const EARLY_US: i64 = 2 * 3_600_000_000;
/// Longest telephone number, with an extension and a second one.
const PHONE_CHARS: usize = 60;
/// Open alarms that a handover names; the rest is counted.
const NAMED_ALARMS: u32 = 20;

/// A desk of a division as it is now.
#[derive(Clone, Debug)]
pub struct DeskNow {
    /// Division.
    pub region: RegionCode,
    /// Its name.
    pub region_name: Option<String>,
    /// Word of the desk.
    pub desk: String,
    /// Shifts that are on.
    pub on: Vec<DutyShiftRow>,
    /// The next one.
    pub next: Option<DutyShiftRow>,
    /// Shifts whose handover nobody confirmed.
    pub unread: Vec<DutyShiftRow>,
    /// Hours to come that nobody covers.
    pub gaps: Vec<Span>,
}

/// Who is on duty.
#[derive(Clone, Debug)]
pub struct DutyNow {
    /// When that was.
    pub at: Timestamp,
    /// In order of divisions and desks.
    pub desks: Vec<DeskNow>,
}

/// A pattern of shifts.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// Where.
    pub region: RegionCode,
    /// What for.
    pub desk: Desk,
    /// In turn, each with a second person if there is one.
    pub people: Vec<(UserId, Option<UserId>)>,
    /// The shifts of a day.
    pub parts: Vec<Part>,
    /// First day.
    pub first: Date,
    /// Last day.
    pub last: Date,
    /// Telephone of every shift.
    pub phone: String,
    /// Note of every shift.
    pub note: String,
}

/// Fields to change; `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct ShiftChange {
    /// The revision the change was made for.
    pub revision: i64,
    /// Who instead.
    pub user: Option<UserId>,
    /// Who else; `Some(None)` = nobody.
    pub second: Option<Option<UserId>>,
    /// New beginning.
    pub from: Option<Timestamp>,
    /// New end.
    pub to: Option<Timestamp>,
    /// New telephone.
    pub phone: Option<String>,
    /// New note.
    pub note: Option<String>,
    /// Why, for what began already.
    pub reason: String,
}

/// A page of shifts, in order of their beginnings.
///
/// # Errors
/// No permission, a foreign cursor.
pub async fn list(app: &App, scope: &Scope, filter: &DutyFilter, paging: &Paging) -> Result<Page<DutyShiftRow>, AppError> {
    Ok(app.store.duty_shifts(&scope.with(Permission::View)?, filter, paging).await?)
}

/// Every desk that has a rota, in `region` and below or everywhere; with `near` the desks of that division, or of the next above it, where somebody
/// is on duty: whom to call.
///
/// # Errors
/// No permission, the store's.
pub async fn now(app: &App, scope: &Scope, region: Option<RegionCode>, near: Option<&RegionCode>) -> Result<DutyNow, AppError> {
    let scope = scope.with(Permission::View)?;
    let at = app.clock.now();
    let ahead = Span { from: at, to: at.plus_us(AHEAD_US) };
    let filter = DutyFilter { region, from: Some(at.plus_us(-AHEAD_US)), to: Some(ahead.to), ..DutyFilter::default() };
    let mut desks: Vec<DeskNow> = Vec::new();
    let mut covered: Vec<Vec<Span>> = Vec::new();
    for row in app.store.duty_look(&scope, &filter).await? {
        if !desks.last().is_some_and(|desk| desk.region == row.shift.region && desk.desk == row.shift.desk) {
            let (region, region_name, desk) = (row.shift.region.clone(), row.region_name.clone(), row.shift.desk.clone());
            desks.push(DeskNow { region, region_name, desk, on: Vec::new(), next: None, unread: Vec::new(), gaps: Vec::new() });
            covered.push(Vec::new());
        }
        let (Some(desk), Some(covered)) = (desks.last_mut(), covered.last_mut()) else { continue };
        covered.push(Span { from: row.shift.from, to: row.shift.to });
        if row.handover.as_ref().is_some_and(|h| h.confirmed_at.is_none()) {
            desk.unread.push(row.clone());
        }
        if row.shift.from <= at && at < row.shift.to {
            desk.on.push(row);
        } else if row.shift.from > at && desk.next.is_none() {
            desk.next = Some(row);
        }
    }
    for (desk, covered) in desks.iter_mut().zip(&covered) {
        desk.gaps = duty::gaps(covered, ahead);
    }
    if let Some(near) = near {
        let is_above = |desk: &DeskNow| !desk.on.is_empty() && near.as_str().starts_with(desk.region.as_str());
        let nearest = desks.iter().filter(|desk| is_above(desk)).map(|desk| desk.region.as_str().len()).max();
        desks.retain(|desk| is_above(desk) && Some(desk.region.as_str().len()) == nearest);
    }
    Ok(DutyNow { at, desks })
}

/// Enters one shift.
///
/// # Errors
/// No permission there, a field that cannot be accepted, a person who holds no grant there or is on duty elsewhere.
pub async fn create(app: &App, scope: &Scope, shift: DutyShift, reason: &str) -> Result<DutyShiftRow, AppError> {
    arrange(app, scope, vec![shift], reason).await?.1.ok_or_else(AppError::not_found)
}

/// Enters the shifts of a pattern, all or none; how many those are.
///
/// # Errors
/// As [`create`], and a pattern that means nothing or too much.
pub async fn repeat(app: &App, scope: &Scope, pattern: Pattern, reason: &str) -> Result<usize, AppError> {
    let Pattern { region, desk, people, parts, first, last, phone, note } = pattern;
    let made = duty::shifts(first, last, &parts, people.len()).map_err(|fault| match fault {
        PatternFault::Order => AppError::invalid("period.order", "last_day"),
        PatternFault::TooLong => AppError::invalid("duty.too_long", "last_day").with("max", duty::DAYS_MAX),
        PatternFault::Parts => AppError::invalid("list.length", "parts").with("max", duty::PARTS_MAX),
        PatternFault::Nobody => AppError::invalid("list.length", "people").with("max", PEOPLE_MAX),
    })?;
    if people.len() > PEOPLE_MAX {
        return Err(AppError::invalid("list.length", "people").with("max", PEOPLE_MAX));
    }
    let shift = |(turn, span): (usize, Span)| {
        let (user, second) = people.get(turn).copied()?;
        let (region, desk, phone, note) = (region.clone(), desk.as_str().to_owned(), phone.clone(), note.clone());
        Some(DutyShift { region, desk, user, second, from: span.from, to: span.to, phone, note })
    };
    let shifts: Vec<DutyShift> = made.into_iter().filter_map(shift).collect();
    Ok(arrange(app, scope, shifts, reason).await?.0)
}

/// Most people that take turns.
const PEOPLE_MAX: usize = 60;

/// Enters shifts, all or none; how many those are, and the first.
async fn arrange(app: &App, scope: &Scope, mut shifts: Vec<DutyShift>, reason: &str) -> Result<(usize, Option<DutyShiftRow>), AppError> {
    let act = scope.with(Permission::ManageDuty)?;
    let now = app.clock.now();
    for shift in &mut shifts {
        check(shift)?;
    }
    let reason = reason_for(reason, shifts.iter().any(|shift| shift.from < now))?;
    if !shifts.iter().all(|shift| act.holds(None, Some(&shift.region), None)) {
        return Err(AppError::forbidden("scope.outside"));
    }
    let mut change = app.store.change_duty(&act, now).await?;
    let wanted: Vec<(Option<DutyShiftId>, DutyShift)> = shifts.into_iter().map(|shift| (None, shift)).collect();
    admit(app, &mut change, &wanted).await?;
    let mut first = None;
    for (_, shift) in &wanted {
        let id = change.create(shift, reason.as_deref()).await?;
        if first.is_none() {
            first = Some(change.shift(id).await?);
        }
    }
    change.commit().await?;
    Ok((wanted.len(), first))
}

/// Changes a shift; its division and desk stay.
///
/// # Errors
/// As [`create`]; not visible, a stale revision, no reason for what began already.
pub async fn update(app: &App, scope: &Scope, id: DutyShiftId, wish: ShiftChange) -> Result<DutyShiftRow, AppError> {
    let act = scope.with(Permission::View)?;
    let now = app.clock.now();
    let mut change = app.store.change_duty(&act, now).await?;
    let row = editable(scope, &mut change, id).await?;
    let mut after = row.shift.clone();
    after.user = wish.user.unwrap_or(after.user);
    after.second = wish.second.unwrap_or(after.second);
    after.from = wish.from.unwrap_or(after.from);
    after.to = wish.to.unwrap_or(after.to);
    after.phone = wish.phone.unwrap_or(after.phone);
    after.note = wish.note.unwrap_or(after.note);
    check(&mut after)?;
    let reason = reason_for(&wish.reason, row.shift.from < now || after.from < now)?;
    admit(app, &mut change, &[(Some(id), after.clone())]).await?;
    change.update(&row, wish.revision, &after, reason.as_deref()).await?;
    let row = change.shift(id).await?;
    change.commit().await?;
    Ok(row)
}

/// Exchanges the people of two shifts.
///
/// # Errors
/// As [`update`].
pub async fn swap(
    app: &App,
    scope: &Scope,
    (one, revision): (DutyShiftId, i64),
    (other, other_revision): (DutyShiftId, i64),
    reason: &str,
) -> Result<(), AppError> {
    if one == other {
        return Err(AppError::invalid("duty.swap_itself", "with"));
    }
    let act = scope.with(Permission::View)?;
    let now = app.clock.now();
    let mut change = app.store.change_duty(&act, now).await?;
    let one = editable(scope, &mut change, one).await?;
    let other = match editable(scope, &mut change, other).await {
        Err(error) if error.code() == "row.not_found" => return Err(AppError::invalid("reference.unknown", "with")),
        found => found?,
    };
    let reason = reason_for(reason, one.shift.from < now || other.shift.from < now)?;
    let first = DutyShift { user: other.shift.user, second: other.shift.second, ..one.shift.clone() };
    let second = DutyShift { user: one.shift.user, second: one.shift.second, ..other.shift.clone() };
    admit(app, &mut change, &[(Some(one.id), first.clone()), (Some(other.id), second.clone())]).await?;
    change.update(&one, revision, &first, reason.as_deref()).await?;
    change.update(&other, other_revision, &second, reason.as_deref()).await?;
    Ok(change.commit().await?)
}

/// Takes a shift away.
///
/// # Errors
/// Not visible, no permission there, a stale revision, no reason for what began already.
pub async fn remove(app: &App, scope: &Scope, id: DutyShiftId, revision: i64, reason: &str) -> Result<(), AppError> {
    let act = scope.with(Permission::View)?;
    let now = app.clock.now();
    let mut change = app.store.change_duty(&act, now).await?;
    let row = editable(scope, &mut change, id).await?;
    let reason = reason_for(reason, row.shift.from < now)?;
    change.remove(&row, revision, reason.as_deref()).await?;
    Ok(change.commit().await?)
}

/// Writes what a shift hands over; the node counts and names the open alarms of the division. Whoever is on duty in it, from its beginning until the
/// next one has confirmed.
///
/// # Errors
/// Not visible, not theirs, not begun, confirmed already, a stale revision.
pub async fn hand_over(app: &App, scope: &Scope, id: DutyShiftId, revision: i64, text: &str) -> Result<DutyShiftRow, AppError> {
    let act = scope.with(Permission::View)?;
    let text = validate::note("text", text, true)?;
    let now = app.clock.now();
    let mut change = app.store.change_duty(&act, now).await?;
    let row = change.shift(id).await?;
    if !row.shift.people().any(|person| Some(person) == scope.user) {
        return Err(AppError::forbidden("duty.not_yours"));
    }
    if now < row.shift.from {
        return Err(AppError::conflict("duty.not_begun").with("from", moment(row.shift.from)));
    }
    if row.handover.as_ref().is_some_and(|h| h.confirmed_at.is_some()) {
        return Err(AppError::conflict("duty.confirmed"));
    }
    let states = vec![AlarmState::Raised, AlarmState::Acknowledged, AlarmState::Returned];
    let filter = AlarmFilter { states, region: Some(row.shift.region.clone()), historic: Some(false), ..AlarmFilter::default() };
    let counts = app.store.alarm_counts(&act, &filter).await?;
    let named = app.store.alarms(&act, &filter, &Paging { cursor: None, limit: NAMED_ALARMS }).await?.items;
    let named: Vec<Json> = named
        .iter()
        .map(|a| json!({"id": a.id.to_string(), "level": a.level.as_str(), "name": a.subject_name, "enterprise_name": a.enterprise_name}))
        .collect();
    change.hand_over(&row, revision, &text, counts.raised + counts.acknowledged + counts.returned, &json!(named)).await?;
    let row = change.shift(id).await?;
    change.commit().await?;
    Ok(row)
}

/// Notes that the next shift read what this one handed over.
///
/// # Errors
/// Not visible, nothing handed over, confirmed already, not on duty next, a stale revision.
pub async fn confirm(app: &App, scope: &Scope, id: DutyShiftId, revision: i64) -> Result<DutyShiftRow, AppError> {
    let act = scope.with(Permission::View)?;
    let now = app.clock.now();
    let mut change = app.store.change_duty(&act, now).await?;
    let row = change.shift(id).await?;
    let is_writer = row.handover.as_ref().is_some_and(|h| Some(h.by) == scope.user);
    if is_writer || !change.is_next(&row, now.plus_us(EARLY_US)).await? {
        return Err(AppError::forbidden("duty.not_next"));
    }
    let handover = row.handover.as_ref().ok_or_else(|| AppError::conflict("duty.nothing_handed_over"))?;
    if handover.confirmed_at.is_some() {
        return Err(AppError::conflict("duty.confirmed"));
    }
    change.confirm(&row, revision).await?;
    let row = change.shift(id).await?;
    change.commit().await?;
    Ok(row)
}

/// A visible shift that the asker may change.
async fn editable(scope: &Scope, change: &mut DutyChange<'_>, id: DutyShiftId) -> Result<DutyShiftRow, AppError> {
    let row = change.shift(id).await?;
    let may = scope.with(Permission::ManageDuty)?;
    if may.holds(None, Some(&row.shift.region), None) {
        Ok(row)
    } else {
        Err(within(anlan_store::StoreError::NotFound, Permission::ManageDuty))
    }
}

fn check(shift: &mut DutyShift) -> Result<(), AppError> {
    shift.phone = validate::optional("phone", &shift.phone)?;
    if shift.phone.chars().count() > PHONE_CHARS {
        return Err(AppError::invalid("text.too_long", "phone").with("max", PHONE_CHARS));
    }
    shift.note = validate::note("note", &shift.note, false)?;
    if shift.second == Some(shift.user) {
        return Err(AppError::invalid("duty.twice", "second"));
    }
    if shift.to <= shift.from {
        return Err(AppError::invalid("period.order", "to"));
    }
    if shift.to.since_us(shift.from) > SHIFT_US_MAX {
        return Err(AppError::invalid("duty.shift_too_long", "to").with("max", SHIFT_US_MAX / 86_400_000_000));
    }
    Ok(())
}

fn reason_for(reason: &str, is_past: bool) -> Result<Option<String>, AppError> {
    let reason = validate::note("reason", reason, false)?;
    match (reason.is_empty(), is_past) {
        (true, true) => Err(AppError::invalid("duty.past", "reason")),
        (true, false) => Ok(None),
        (false, _) => Ok(Some(reason)),
    }
}

/// That these shifts may stand beside all others: everybody in them holds the division, and nobody is in two places at once.
async fn admit(app: &App, change: &mut DutyChange<'_>, wanted: &[(Option<DutyShiftId>, DutyShift)]) -> Result<(), AppError> {
    let people: BTreeSet<UserId> = wanted.iter().flat_map(|(_, shift)| shift.people()).collect();
    let people: Vec<UserId> = people.into_iter().collect();
    let names: BTreeMap<UserId, String> = app.store.names_of(&people).await?.into_iter().collect();
    let name = |person: UserId| names.get(&person).cloned().unwrap_or_default();
    let mut holding: BTreeMap<&RegionCode, BTreeSet<UserId>> = BTreeMap::new();
    for (_, shift) in wanted {
        if !holding.contains_key(&shift.region) {
            // A screen is no person.
            let people = app.store.people_at(&of_region(shift.region.clone())).await?.into_iter();
            let people = people.filter(|(.., roles)| roles.iter().any(|role| *role != Role::Screen)).map(|(id, ..)| id).collect();
            holding.insert(&shift.region, people);
        }
        for (field, person) in [("user", Some(shift.user)), ("second", shift.second)] {
            let Some(person) = person else { continue };
            // Somebody who is not there looks the same: whose names there are elsewhere is nobody's business here.
            if !holding[&shift.region].contains(&person) {
                return Err(AppError::invalid("duty.no_grant", field).with("shift", hours(shift)));
            }
        }
    }
    let from = wanted.iter().map(|(_, shift)| shift.from).min().unwrap_or(Timestamp::MIN);
    let to = wanted.iter().map(|(_, shift)| shift.to).max().unwrap_or(Timestamp::MAX);
    let replaced: BTreeSet<DutyShiftId> = wanted.iter().filter_map(|(id, _)| *id).collect();
    let others = change.with_people(&people, from, to).await?.into_iter().filter(|row| !replaced.contains(&row.id)).map(|row| row.shift);
    let all: Vec<DutyShift> = wanted.iter().map(|(_, shift)| shift.clone()).chain(others).collect();
    let at = |shift: &DutyShift| Span { from: shift.from, to: shift.to };
    let spans: Vec<(UserId, Span, usize)> =
        all.iter().enumerate().flat_map(|(i, shift)| shift.people().map(move |person| (person, at(shift), i))).collect();
    match duty::clash(&spans) {
        Some([a, b]) => {
            let shift = |i: usize| all.get(i).map(hours).unwrap_or_default();
            // The one that is to be made comes first.
            let (new, there) = if a.2 <= b.2 { (a.2, b.2) } else { (b.2, a.2) };
            Err(AppError::conflict("duty.overlap")
                .on("user")
                .with("person", name(a.0))
                .with("shift", shift(new))
                .with("other", shift(there)))
        }
        None => Ok(()),
    }
}

/// Civil time in Beijing, to the minute.
fn moment(at: Timestamp) -> String {
    let civil = jiff::tz::offset(8).to_datetime(jiff::Timestamp::from_microsecond(at.micros()).unwrap_or_default());
    civil.strftime("%Y-%m-%d %H:%M").to_string()
}

fn hours(shift: &DutyShift) -> String {
    format!("{} – {}", moment(shift.from), moment(shift.to))
}
