//! Registers (台账) as data: what a kind of record has for fields, in which states it can be, who may bring it from one to the next and under
//! which conditions. One engine for all of them; a kind is a folder of a pack.
//!
//! [`Kind::parse`] reads and checks a kind: whatever cannot work (a state nobody reaches, one nobody leaves, a way around a step that must be
//! taken) is refused with file, line and field; [`check_together`] looks at what kinds say of each other. [`Kind::attempt`] is the only way a
//! record changes; `cases.toml` beside a kind says what must pass and what must be refused, and [`Kind::run_cases`] holds it to that.
//! [`graph`] draws it. Pure: no clock, no I/O.

pub mod accident;
mod cases;
pub mod certificate;
mod compute;
pub mod counted;
mod exchange;
pub mod flag;
mod grade;
pub mod graph;
mod kind;
pub mod public;
mod read;
pub mod schema;
pub mod search;
mod value;

use std::collections::{BTreeMap, BTreeSet};

pub use accident::Unmeant;
pub use cases::CaseFailure;
pub use exchange::{Exchange, Rules};
use jiff::civil::{Date, DateTime};
pub use kind::{
    AccidentShows, Block, Breach, Choice, Clock, ClockEach, ClockStep, Compute, Deadline, Each, Escalation, Field, FieldType, FileKind,
    Guard, Kind, Months, NumberPart, Opens, Owner, Retention, Running, Shows, State, TellingShows, Test, Transition, Turn, Words,
};
pub use public::Public;
pub use value::{IndexEntry, RETAINED_UNTIL, Value, begun_minute, is_day, minute_of, parse_minute};

use crate::calendar::Calendar;

/// How deep a step may open records below one another.
pub const OPENS_DEPTH_MAX: usize = 4;
/// How many records one act may open, those below them too: they are one transaction, and alarms wait for it.
pub const OPENED_MAX: usize = 500;

/// A step that was taken.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Act {
    /// Id of the transition.
    pub transition: String,
    /// Who took it.
    pub by: String,
    /// On which day.
    pub on: Date,
    /// In which state the record was; `None` = of a time when that was not noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// A record of a kind, as far as its life is concerned.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Id of its state.
    pub state: String,
    /// Since when it is in this state.
    pub entered_on: Date,
    /// Values by field id, computed ones too; an absent one is empty.
    pub fields: BTreeMap<String, Value>,
    /// What was done, oldest first.
    pub acts: Vec<Act>,
}

/// What somebody wants to do.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    /// Id of the transition.
    pub transition: &'a str,
    /// The person.
    pub by: &'a str,
    /// In which roles, as far as they hold the record's owner.
    pub roles: &'a [&'a str],
    /// In which minute, civil time in Beijing.
    pub at: DateTime,
    /// Fields that are filled in with it; `None` empties one.
    pub set: BTreeMap<String, Option<Value>>,
}

/// The records around one: state of the one above, kind and state of each below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Related {
    /// `None` = there is none above.
    pub parent: Option<String>,
    /// Below.
    pub children: Vec<(String, String)>,
}

/// Why it is not done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refused {
    /// The kind has no such transition.
    Unknown,
    /// Not from the state in which the record is.
    State,
    /// Not in this role.
    Role,
    /// This field must be filled, or holds what cannot be. In a table: `table[row].column`, rows from 0.
    Field(String, FieldFault),
    /// What stands here cannot be meant.
    Content(String, Content),
    /// The record that is named here: its title and why not; `None` = there is none that the actor sees.
    Reference(String, Option<(String, Unfit)>),
    /// The guard of this id says no.
    Guard(String),
}

/// What cannot be meant by what stands in a field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// It cannot be graded.
    MajorHazard(crate::major_hazard::Cause),
    /// It tells of no accident.
    Accident(Unmeant),
}

impl Content {
    /// In words, Chinese.
    pub fn in_chinese(&self) -> String {
        match self {
            Self::MajorHazard(cause) => cause.in_chinese(),
            Self::Accident(unmeant) => unmeant.in_chinese(),
        }
    }
}

impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MajorHazard(cause) => cause.fmt(f),
            Self::Accident(unmeant) => unmeant.fmt(f),
        }
    }
}

/// Why a record cannot be named in a field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unfit {
    /// It is in this state: its names in Chinese and English.
    State(String, String),
    /// Not before this day.
    NotYet(Date),
    /// No longer, from this day on.
    Over(Date),
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FieldFault {
    /// The kind has no such field.
    Unknown,
    /// This transition does not set it.
    Locked,
    /// It must be filled.
    Missing,
    /// Not a value of its type.
    Type,
    /// Too long, too small, too large, too many, or none of its choices.
    Range,
    /// A file that is not there, that another person uploaded, or that is another record's.
    File,
}

/// A record that a step makes below the one it is taken on.
#[derive(Clone, Debug)]
pub struct Opened<'a> {
    /// Which.
    pub opens: &'a Opens,
    /// The row that it is made of, from 0.
    pub row: Option<usize>,
    /// What is copied into it, by its fields; an empty cell copies nothing.
    pub set: BTreeMap<String, Value>,
}

impl Opened<'_> {
    /// Where what stands in its field `id` is from: a field, a cell as `table[row].column`; where it is from nowhere, the row; `None` = it is of none.
    pub fn origin(&self, id: &str) -> Option<String> {
        let id = id.split_once('[').map_or(id, |(id, _)| id);
        let row = self.opens.each.as_ref().zip(self.row).map(|(each, row)| format!("{}[{row}]", each.table));
        match (self.opens.set.get(id).map(|from| (from, from.split_once('.'))), row) {
            (Some((_, Some((_, column)))), Some(row)) => Some(format!("{row}.{column}")),
            (Some((from, None)), _) => Some(from.clone()),
            (_, row) => row,
        }
    }
}

impl Refused {
    /// As cases name it: `state`, `role`, `field:ID`, `guard:ID`.
    pub fn code(&self) -> String {
        match self {
            Self::Unknown => "transition".to_owned(),
            Self::State => "state".to_owned(),
            Self::Role => "role".to_owned(),
            Self::Field(path, _) | Self::Content(path, _) | Self::Reference(path, _) => format!("field:{path}"),
            Self::Guard(id) => format!("guard:{id}"),
        }
    }
}

impl Record {
    /// The date in this field, or that of the instant in it.
    pub fn date(&self, id: &str) -> Option<Date> {
        match self.fields.get(id) {
            Some(Value::Date(date)) => Some(*date),
            Some(Value::DateTime(at)) => Some(at.date()),
            _ => None,
        }
    }

    /// The instant in this field.
    pub fn instant(&self, id: &str) -> Option<DateTime> {
        match self.fields.get(id) {
            Some(Value::DateTime(at)) => Some(*at),
            _ => None,
        }
    }

    /// The number in this field.
    pub fn number(&self, id: &str) -> Option<f64> {
        match self.fields.get(id) {
            Some(Value::Number(n)) => Some(*n),
            _ => None,
        }
    }

    /// The text, choice or person in this field.
    pub fn text(&self, id: &str) -> Option<&str> {
        match self.fields.get(id) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }
}

impl Field {
    /// Whether a record of the kind that it names may be named in it on this day.
    ///
    /// # Errors
    /// Why not.
    pub fn fits_record(&self, of: &Kind, named: &Record, on: Date) -> Result<(), Unfit> {
        let FieldType::Record { states, from, until, .. } = &self.of else { return Ok(()) };
        let day = |field: &Option<String>| field.as_ref().and_then(|id| named.date(id));
        if let Some(day) = day(until).filter(|day| *day <= on) {
            return Err(Unfit::Over(day));
        }
        if !states.is_empty() && !states.contains(&named.state) {
            let name = of.state(&named.state).map(|s| (s.name.clone(), s.name_en.clone()));
            let (name, name_en) = name.unwrap_or_else(|| (named.state.clone(), named.state.clone()));
            return Err(Unfit::State(name, name_en));
        }
        day(from).filter(|day| *day > on).map_or(Ok(()), |day| Err(Unfit::NotYet(day)))
    }
}

impl Kind {
    /// A new record: in the first state, with nothing in it. It is kept from its first transition on.
    pub fn begin(&self, on: Date) -> Record {
        Record { state: self.start.clone(), entered_on: on, fields: BTreeMap::new(), acts: Vec::new() }
    }

    /// The record after a transition; its computed fields follow.
    ///
    /// # Errors
    /// Everything that stands against it, not only the first; the record is as it was.
    pub fn attempt(&self, record: &Record, attempt: &Attempt<'_>, related: &Related, calendar: &Calendar) -> Result<Record, Vec<Refused>> {
        let Some(transition) = self.transition(attempt.transition) else { return Err(vec![Refused::Unknown]) };
        let mut refused = Vec::new();
        if !transition.from.contains(&record.state) {
            refused.push(Refused::State);
        }
        if !transition.who.iter().any(|role| attempt.roles.contains(&role.as_str())) {
            refused.push(Refused::Role);
        }
        let mut next = record.clone();
        for (id, value) in &attempt.set {
            let Some(field) = self.field(id) else {
                refused.push(Refused::Field(id.clone(), FieldFault::Unknown));
                continue;
            };
            // A transition that could fill anything could also lift what its guards look at.
            if !transition.require.contains(id) && !transition.may.contains(id) {
                refused.push(Refused::Field(id.clone(), FieldFault::Locked));
                continue;
            }
            match value {
                None => drop(next.fields.remove(id)),
                Some(value) => match field.check(value) {
                    Ok(()) => drop(next.fields.insert(id.clone(), value.clone())),
                    Err(faults) => refused.extend(faults.into_iter().map(|(path, fault)| Refused::Field(path, fault))),
                },
            }
        }
        let is_set = |id: &String| attempt.set.get(id).is_some_and(Option::is_some);
        let is_there = |id: &String| is_set(id) || (next.fields.contains_key(id) && !transition.fresh.contains(id));
        let missing = transition.require.iter().filter(|id| !is_there(id));
        refused.extend(missing.map(|id| Refused::Field(id.clone(), FieldFault::Missing)));
        self.compute(&mut next, attempt.at);
        // What is not even of its type was told above.
        if !refused.iter().any(|r| matches!(r, Refused::Field(..))) {
            refused.extend(self.ungraded(&next, &attempt.set));
            refused.extend(self.unmeant(&next, &attempt.set, attempt.at.date()));
        }
        // Guards look at the record as it would be, and at who did what before.
        let view = View { before: record, after: &next, attempt, related, due_on: self.due_on(record, calendar), unsaid: BTreeSet::new() };
        let failed = transition.guards.iter().filter(|guard| guard.test.holds(&view) != Some(true));
        refused.extend(failed.map(|guard| Refused::Guard(guard.id.clone())));
        if !refused.is_empty() {
            return Err(refused);
        }
        let back = self.came_from(record).filter(|_| transition.is_back);
        let turned = transition.turns.iter().find(|turn| turn.when.holds(&view) == Some(true)).map(|turn| turn.to.as_str());
        let to = turned.or(back).unwrap_or(&transition.to);
        if !to.is_empty() && next.state != to {
            next.state = to.to_owned();
            next.entered_on = attempt.at.date();
        }
        if transition.mark(record, &mut next, attempt.at.date()) {
            self.compute(&mut next, attempt.at);
        }
        let (by, on, from) = (attempt.by.to_owned(), attempt.at.date(), Some(record.state.clone()));
        next.acts.push(Act { transition: transition.id.clone(), by, on, from });
        Ok(next)
    }

    /// The state in which the record was before the one in which it is, if that is known and it may be in it.
    fn came_from<'a>(&'a self, record: &Record) -> Option<&'a str> {
        let before = record.acts.iter().rev().filter_map(|act| act.from.as_ref()).find(|from| **from != record.state)?;
        self.state(before).map(|state| state.id.as_str()).filter(|id| *id != self.start)
    }

    /// The transitions from the record's state that these roles may take, each with the guards that say no whatever is filled in with it.
    pub fn possible<'a>(
        &'a self,
        record: &Record,
        by: &str,
        roles: &[&str],
        at: DateTime,
        related: &Related,
        calendar: &Calendar,
    ) -> Vec<(&'a Transition, Vec<&'a Guard>)> {
        let may = |t: &&Transition| t.from.contains(&record.state) && t.who.iter().any(|role| roles.contains(&role.as_str()));
        let due_on = self.due_on(record, calendar);
        let with_reasons = |transition: &'a Transition| {
            let attempt = Attempt { transition: &transition.id, by, roles, at, set: BTreeMap::new() };
            let unsaid = self.follow(transition.require.iter().chain(&transition.may));
            let view = View { before: record, after: record, attempt: &attempt, related, due_on, unsaid };
            let failed = transition.guards.iter().filter(|guard| guard.test.holds(&view) == Some(false));
            (transition, failed.collect())
        };
        self.transitions.iter().filter(may).map(with_reasons).collect()
    }

    /// What this transition makes below a record that has become `after` by it on this day: row by row, in the order in which they stand.
    pub fn opened(&self, transition: &str, before: &Record, after: &Record, on: Date) -> Vec<Opened<'_>> {
        let mut opened = Vec::new();
        for opens in self.transition(transition).map(|t| t.opens.as_slice()).unwrap_or_default() {
            let copied = |row: Option<&BTreeMap<String, Value>>| {
                let value = |from: &String| match from.split_once('.') {
                    None => after.fields.get(from),
                    Some((_, column)) => row?.get(column),
                };
                opens.set.iter().filter_map(|(to, from)| Some((to.clone(), value(from)?.clone()))).collect()
            };
            let Some(each) = &opens.each else {
                opened.push(Opened { opens, row: None, set: copied(None) });
                continue;
            };
            let Some(Value::Table(rows)) = after.fields.get(&each.table) else { continue };
            let chosen = rows.iter().enumerate().filter(|(i, row)| each.opens(before, *i, row, on));
            opened.extend(chosen.map(|(i, row)| Opened { opens, row: Some(i), set: copied(Some(row)) }));
        }
        opened
    }

    /// The step of a deadline that is due by `today` and the day of the next one; steps up to `done` were told already.
    pub fn escalation(&self, state: &str, due_on: Date, done: usize, today: Date) -> (Vec<&Escalation>, Option<Date>) {
        let steps = self.state(state).map(|s| s.escalate.as_slice()).unwrap_or_default();
        let mut told = Vec::new();
        for step in steps.iter().skip(done) {
            match due_on.checked_add(jiff::Span::new().days(step.after)) {
                Ok(on) if on <= today => told.push(step),
                Ok(on) => return (told, Some(on)),
                // Beyond the calendar: never.
                Err(_) => break,
            }
        }
        (told, None)
    }
}

impl Each {
    /// Whether a row is opened: the `i`th, of a record that was as `before`.
    fn opens(&self, before: &Record, i: usize, row: &BTreeMap<String, Value>, on: Date) -> bool {
        let was_opened = self.mark.as_ref().is_some_and(|mark| match before.fields.get(&self.table) {
            Some(Value::Table(rows)) => rows.get(i).is_some_and(|row| row.contains_key(mark)),
            _ => false,
        });
        !was_opened && self.when.as_ref().is_none_or(|when| when.holds_of(row, on))
    }
}

impl Transition {
    /// Notes in their column that rows are opened with this step; whether there were any.
    fn mark(&self, before: &Record, next: &mut Record, on: Date) -> bool {
        let mut any = false;
        for each in self.opens.iter().filter_map(|opens| opens.each.as_ref()) {
            let (Some(mark), Some(Value::Table(rows))) = (&each.mark, next.fields.get_mut(&each.table)) else { continue };
            for (i, row) in rows.iter_mut().enumerate() {
                if each.opens(before, i, row, on) {
                    row.insert(mark.clone(), Value::Date(on));
                    any = true;
                }
            }
        }
        any
    }
}

/// What a test looks at.
struct View<'a> {
    before: &'a Record,
    after: &'a Record,
    attempt: &'a Attempt<'a>,
    related: &'a Related,
    due_on: Option<Date>,
    /// Fields that nobody knows yet, since they may still be filled in.
    unsaid: BTreeSet<&'a str>,
}

impl View<'_> {
    /// A date field, or the day of the act.
    fn date(&self, id: Option<&String>) -> Option<Date> {
        id.map_or(Some(self.attempt.at.date()), |id| self.after.date(id))
    }

    fn instant(&self, id: Option<&String>) -> Option<DateTime> {
        self.after.instant(id?)
    }

    /// What `test` says of these fields; nothing while one of them is not known yet.
    fn said<'b>(&self, ids: impl IntoIterator<Item = &'b String>, test: impl FnOnce() -> bool) -> Option<bool> {
        let is_known = ids.into_iter().all(|id| !self.unsaid.contains(id.as_str()));
        is_known.then(test)
    }

    fn took_one_of(&self, transitions: &[String]) -> bool {
        self.before.acts.iter().any(|act| act.by == self.attempt.by && transitions.contains(&act.transition))
    }
}

impl Test {
    /// Whether it holds for the record as it would be; `None` = that depends on what is not said yet. What is empty satisfies nothing but `not`.
    fn holds(&self, view: &View<'_>) -> Option<bool> {
        match self {
            Self::All(tests) => all_hold(tests.iter().map(|test| test.holds(view))),
            Self::Any(tests) => all_hold(tests.iter().map(|test| test.holds(view).map(|holds| !holds))).map(|none| !none),
            Self::Not(test) => test.holds(view).map(|holds| !holds),
            Self::Filled(id) => view.said([id], || view.after.fields.contains_key(id)),
            Self::Is(id, wanted) => view.said([id], || view.after.text(id) == Some(wanted)),
            Self::Changed(ids) => view.said(ids, || ids.iter().any(|id| view.before.fields.get(id) != view.after.fields.get(id))),
            Self::Extends(id) => view.said([id], || match (view.before.fields.get(id), view.after.fields.get(id)) {
                (Some(Value::Table(before)), Some(Value::Table(after))) => after.starts_with(before),
                (before, _) => before.is_none(),
            }),
            Self::Fell(id) => view.said([id], || {
                let (before, after) = (view.before.number(id), view.after.number(id));
                before.is_some_and(|before| after.is_none_or(|after| after < before))
            }),
            Self::Keeps(ids) => view.said(ids, || {
                ids.iter().all(|id| view.before.fields.get(id).is_none_or(|before| view.after.fields.get(id) == Some(before)))
            }),
            Self::Was(test) => {
                let View { before, attempt, related, due_on, .. } = *view;
                test.holds(&View { before, after: before, attempt, related, due_on, unsaid: BTreeSet::new() })
            }
            Self::SameRows { table, of, but } => view.said([table], || {
                let rows = |record: &Record| match record.fields.get(table) {
                    Some(Value::Table(rows)) => {
                        let chosen = rows.iter().filter(|row| of.as_ref().is_none_or(|of| of.holds_of(row, view.attempt.at.date())));
                        let kept = |row: &BTreeMap<String, Value>| {
                            let cells = row.iter().filter(|(column, _)| !but.contains(column));
                            cells.map(|(column, cell)| (column.clone(), cell.clone())).collect::<BTreeMap<_, _>>()
                        };
                        chosen.map(kept).collect()
                    }
                    _ => Vec::new(),
                };
                rows(view.before) == rows(view.after)
            }),
            Self::AtLeast(id, least) => view.said([id], || view.after.number(id).is_some_and(|n| n >= *least)),
            Self::AtMost(id, most) => view.said([id], || view.after.number(id).is_some_and(|n| n <= *most)),
            Self::Above(id, bound) => view.said([id], || view.after.number(id).is_some_and(|n| n > *bound)),
            // Of two instants the minute decides, else the day.
            Self::After(later, earlier) => {
                view.said(later.iter().chain(earlier), || match view.instant(later.as_ref()).zip(view.instant(earlier.as_ref())) {
                    Some((later, earlier)) => later > earlier,
                    None => view.date(later.as_ref()).zip(view.date(earlier.as_ref())).is_some_and(|(later, earlier)| later > earlier),
                })
            }
            Self::DaysAtMost { from, to, days } => view.said(from.iter().chain(to), || {
                let between = view.date(from.as_ref()).zip(view.date(to.as_ref())).and_then(|(from, to)| from.until(to).ok());
                between.is_some_and(|span| (0..=*days).contains(&span.get_days()))
            }),
            Self::OtherPersonThan(transitions) => Some(!view.took_one_of(transitions)),
            Self::SamePersonAs(transitions) => Some(view.took_one_of(transitions)),
            Self::ActorIs(id) => view.said([id], || view.after.text(id) == Some(view.attempt.by)),
            Self::BeforeDeadline => Some(view.due_on.is_none_or(|due_on| view.attempt.at.date() <= due_on)),
            Self::ParentIn(states) => Some(view.related.parent.as_ref().is_some_and(|state| states.contains(state))),
            Self::Children { kind, states, at_least, at_most } => {
                let n = view.related.children.iter().filter(|(k, state)| k == kind && states.contains(state)).count();
                Some((*at_least..=*at_most).contains(&n))
            }
        }
    }
}

impl Test {
    /// Whether it holds of a row of a table, on this day.
    fn holds_of(&self, row: &BTreeMap<String, Value>, on: Date) -> bool {
        let cells = Record { state: String::new(), entered_on: on, fields: row.clone(), acts: Vec::new() };
        let attempt = Attempt { transition: "", by: "", roles: &[], at: on.at(0, 0, 0, 0), set: BTreeMap::new() };
        let view =
            View { before: &cells, after: &cells, attempt: &attempt, related: &Related::default(), due_on: None, unsaid: BTreeSet::new() };
        self.holds(&view) == Some(true)
    }

    /// Whether it looks at nothing but fields and the day.
    fn is_of_fields(&self) -> bool {
        !matches!(
            self,
            Self::Changed(_)
                | Self::Extends(_)
                | Self::Fell(_)
                | Self::Keeps(_)
                | Self::Was(_)
                | Self::SameRows { .. }
                | Self::OtherPersonThan(_)
                | Self::SamePersonAs(_)
                | Self::ActorIs(_)
                | Self::BeforeDeadline
                | Self::ParentIn(_)
                | Self::Children { .. }
        )
    }
}

/// Whether all do; one that does not settles it, whatever is not known yet.
fn all_hold(each: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut all = Some(true);
    for holds in each {
        match holds {
            Some(false) => return Some(false),
            Some(true) => {}
            None => all = None,
        }
    }
    all
}

/// What kinds say of each other: kinds and transitions that are opened, states of the records around. Each with the kind that says it.
pub fn check_together<'a>(kinds: impl IntoIterator<Item = &'a Kind>) -> Vec<(String, Breach)> {
    let kinds: BTreeMap<&str, &Kind> = kinds.into_iter().map(|kind| (kind.id.as_str(), kind)).collect();
    let mut wrong = Vec::new();
    let parents_of = |id: &str| -> Vec<&Kind> {
        let opens = |k: &&Kind| k.transitions.iter().any(|t| t.opens.iter().any(|o| o.kind == id));
        kinds.values().copied().filter(opens).collect()
    };
    for kind in kinds.values() {
        for field in &kind.fields {
            let FieldType::Record { of, states, from, until } = &field.of else { continue };
            let mut say = |what: &str, reason: String| {
                wrong.push((kind.id.clone(), Breach { line: 0, field: format!("field.{}.{what}", field.id), reason }));
            };
            let Some(other) = kinds.get(of.as_str()) else {
                say("of", format!("there is no register {of:?}"));
                continue;
            };
            if let Some(unknown) = states.iter().find(|id| other.state(id).is_none()) {
                say("states", format!("{of:?} has no state {unknown:?}"));
            }
            for (what, id) in [("from", from), ("until", until)].into_iter().filter_map(|(what, id)| Some((what, id.as_ref()?))) {
                // What may be named is looked for by its index.
                if !other.field(id).is_some_and(|f| matches!(f.of, FieldType::Date)) || !other.filter.contains(id) {
                    say(what, format!("{id:?} is no date among the fields of filter of {of:?}"));
                }
            }
        }
        for transition in &kind.transitions {
            for opens in &transition.opens {
                let mut say = |field: String, reason: String| wrong.push((kind.id.clone(), Breach { line: opens.line, field, reason }));
                let field = format!("transition.{}.opens", transition.id);
                let Some(other) = kinds.get(opens.kind.as_str()) else {
                    say(field, format!("there is no register {:?}", opens.kind));
                    continue;
                };
                // What is opened belongs to whom the record belongs to: to the enterprise, where there is one.
                if other.owner != kind.owner && !(kind.owner == Owner::Either && other.owner == Owner::Enterprise) {
                    say(field.clone(), format!("{:?} belongs to another sort of owner", other.id));
                }
                let Some(by) = other.transition(&opens.by).filter(|by| by.from.contains(&other.start)) else {
                    say(field, format!("{:?} has no transition {:?} from its start", other.id, opens.by));
                    continue;
                };
                // Whoever takes the step opens the other record too, in the roles in which they take it.
                if let Some(role) = transition.who.iter().find(|role| !by.who.contains(role)) {
                    say(field.clone(), format!("{role:?} takes it, but does not take {:?} of {:?}: it would be refused", by.id, other.id));
                }
                for guard in &by.guards {
                    if let Test::ParentIn(states) = &guard.test
                        && !stays_or_leads(transition).any(|to| states.iter().any(|state| state == to))
                    {
                        let reason = format!("leads to {:?}, where the guard {:?} of {:?} says no", transition.to, guard.id, other.id);
                        say(field.clone(), reason);
                    }
                }
                match opened_below(&kinds, kind, transition) {
                    Some(way) if way.ends_with(&format!(" → {}", step_of(kind, transition))) => {
                        say(field.clone(), format!("opens itself again ({way}): it would be refused"));
                    }
                    Some(way) => say(
                        field.clone(),
                        format!("opens more than {OPENS_DEPTH_MAX} records below one another ({way}): it would be refused"),
                    ),
                    None => {}
                }
                if let Some(missing) = by.require.iter().find(|id| !opens.set.contains_key(*id) && !opens.with.contains_key(*id)) {
                    say(field.clone(), format!("does not set {missing:?}, which {:?} of {:?} requires", by.id, other.id));
                }
                for (to, constant) in &opens.with {
                    let fits = other.field(to).is_some_and(|field| {
                        let value = Value::from_json(Some(field), &constant.as_str().into());
                        value.is_some_and(|value| field.check(&value).is_ok())
                    });
                    if !fits || !(by.require.contains(to) || by.may.contains(to)) {
                        say(field.clone(), format!("{to:?} of {:?} cannot be set by {:?} to {constant:?}", other.id, by.id));
                    }
                }
                for (to, from) in &opens.set {
                    let column = |(table, column): (&str, &str)| match &kind.field(table)?.of {
                        FieldType::Table { columns, .. } => columns.iter().find(|c| c.id == column),
                        _ => None,
                    };
                    let (theirs, ours) = (other.field(to), from.split_once('.').map_or_else(|| kind.field(from), column));
                    // What says itself how far it goes goes no further under another name.
                    if let Some((theirs, most)) = theirs.zip(kind.said_at(from))
                        && other.reach(theirs) > most
                    {
                        let reason = format!("{to:?} of {:?} goes further between nodes than {from:?}", other.id);
                        say(field.clone(), reason);
                    }
                    let fits = theirs.zip(ours).is_some_and(|(a, b)| a.of.takes(&b.of));
                    if !fits || !(by.require.contains(to) || by.may.contains(to)) {
                        say(field.clone(), format!("{to:?} of {:?} cannot be set by {:?} from {from:?}", other.id, by.id));
                    }
                }
            }
            if let Some(opens) = transition.opens.first() {
                let n = most_opened(&kinds, kind, transition, 0);
                if n > OPENED_MAX {
                    let reason = format!("may open {n} records in one act, more than {OPENED_MAX}: fewer rows_max, or fewer of them");
                    let breach = Breach { line: opens.line, field: format!("transition.{}.opens", transition.id), reason };
                    wrong.push((kind.id.clone(), breach));
                }
            }
            let guards =
                transition.guards.iter().map(|guard| (format!("transition.{}.guard.{}.test", transition.id, guard.id), &guard.test));
            let turns = transition.turns.iter().map(|turn| (format!("transition.{}.turns.{}.when", transition.id, turn.to), &turn.when));
            let mut say = |field: String, reason: String| wrong.push((kind.id.clone(), Breach { line: 0, field, reason }));
            for (field, test) in guards.chain(turns) {
                test.visit(&mut |test| match test {
                    Test::Children { kind: other, states, .. } => match kinds.get(other.as_str()) {
                        None => say(field.clone(), format!("there is no register {other:?}")),
                        Some(other) => {
                            if let Some(unknown) = states.iter().find(|s| other.state(s).is_none()) {
                                say(field.clone(), format!("{:?} has no state {unknown:?}", other.id));
                            }
                        }
                    },
                    Test::ParentIn(states) => {
                        let parents = parents_of(&kind.id);
                        if let Some(unknown) = states.iter().find(|s| parents.iter().all(|p| p.state(s).is_none())) {
                            say(field.clone(), format!("no register that opens this one has the state {unknown:?}"));
                        }
                    }
                    _ => {}
                });
            }
        }
    }
    wrong
}

/// The states in which a record can be behind a step.
fn stays_or_leads(transition: &Transition) -> impl Iterator<Item = &str> {
    let stays = transition.from.iter().filter(|_| transition.to.is_empty() || transition.is_back).map(String::as_str);
    stays.chain(transition.targets())
}

/// How many records a step can open in all, counting no deeper than may be.
fn most_opened(kinds: &BTreeMap<&str, &Kind>, kind: &Kind, transition: &Transition, depth: usize) -> usize {
    if depth >= OPENS_DEPTH_MAX {
        return 0;
    }
    let of = |opens: &Opens| {
        let rows = match opens.each.as_ref().and_then(|each| kind.field(&each.table)).map(|f| &f.of) {
            Some(FieldType::Table { rows_max, .. }) => *rows_max,
            _ => 1,
        };
        let below = kinds.get(opens.kind.as_str()).and_then(|other| {
            let by = other.transition(&opens.by)?;
            Some(most_opened(kinds, other, by, depth + 1))
        });
        rows.saturating_mul(1 + below.unwrap_or(0))
    };
    transition.opens.iter().map(of).fold(0, usize::saturating_add)
}

fn step_of(kind: &Kind, transition: &Transition) -> String {
    format!("{}.{}", kind.id, transition.id)
}

/// The way on which a step opens itself again, or more records below one another than may be; `None` = neither.
fn opened_below(kinds: &BTreeMap<&str, &Kind>, kind: &Kind, transition: &Transition) -> Option<String> {
    // Breadth by breadth: every way is followed as far as may be, and no further.
    let from = step_of(kind, transition);
    let mut ways = BTreeMap::from([(from.clone(), (from.clone(), transition))]);
    for depth in 1.. {
        // One way to each step is enough to tell.
        let mut next = BTreeMap::new();
        for (way, step) in ways.into_values() {
            for opens in &step.opens {
                let Some(other) = kinds.get(opens.kind.as_str()) else { continue };
                let Some(by) = other.transition(&opens.by) else { continue };
                let way = format!("{way} → {}", step_of(other, by));
                if step_of(other, by) == from || depth > OPENS_DEPTH_MAX {
                    return Some(way);
                }
                next.insert(step_of(other, by), (way, by));
            }
        }
        if next.is_empty() {
            return None;
        }
        ways = next;
    }
    None
}

impl Test {
    /// The fields that it looks at itself.
    fn of(&self) -> Vec<&String> {
        match self {
            Self::Filled(id)
            | Self::Is(id, _)
            | Self::AtLeast(id, _)
            | Self::AtMost(id, _)
            | Self::Above(id, _)
            | Self::Extends(id)
            | Self::Fell(id) => {
                vec![id]
            }
            Self::SameRows { table, .. } => vec![table],
            Self::Changed(ids) | Self::Keeps(ids) => ids.iter().collect(),
            Self::After(a, b) | Self::DaysAtMost { from: a, to: b, .. } => a.iter().chain(b).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether it looks at the day of the act.
    fn is_of_the_day(&self) -> bool {
        matches!(self, Self::After(a, b) | Self::DaysAtMost { from: a, to: b, .. } if a.is_none() || b.is_none())
    }

    /// Shows itself and every test inside to `look`.
    fn visit(&self, look: &mut impl FnMut(&Self)) {
        look(self);
        match self {
            Self::All(tests) | Self::Any(tests) => tests.iter().for_each(|test| test.visit(look)),
            Self::Not(test) | Self::Was(test) => test.visit(look),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
