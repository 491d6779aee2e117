//! Registers (台账) as data: what a kind of record has for fields, in which states it can be, who may bring it from one to the next and under
//! which conditions. One engine for all of them; a kind is a folder of a pack.
//!
//! [`Kind::parse`] reads and checks a kind: whatever cannot work (a state nobody reaches, one nobody leaves, a way around a step that must be
//! taken) is refused with file, line and field. [`Kind::attempt`] is the only way a record changes its state; `cases.toml` beside a kind says
//! what must pass and what must be refused, and [`Kind::run_cases`] holds it to that. [`graph`] draws it. Pure: no clock, no I/O.

mod cases;
pub mod graph;
mod kind;

use std::collections::BTreeMap;

pub use cases::CaseFailure;
use jiff::civil::Date;
pub use kind::{Breach, Choice, Field, FieldType, Guard, Kind, State, Test, Transition};

/// What stands in a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text, the id of a choice, the id of a person.
    Text(String),
    /// A number in the field's unit.
    Number(f64),
    /// A calendar date.
    Date(Date),
}

/// A step that was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Act {
    /// Id of the transition.
    pub transition: String,
    /// Who took it.
    pub by: String,
    /// On which day.
    pub on: Date,
}

/// A record of a kind, as far as its life is concerned.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Id of its state.
    pub state: String,
    /// Values by field id; an absent one is empty.
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
    /// In which role.
    pub role: &'a str,
    /// On which day.
    pub on: Date,
    /// Fields that are filled in with it.
    pub set: BTreeMap<String, Value>,
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
    /// This field must be filled, or holds what cannot be.
    Field(String, FieldFault),
    /// The guard of this id says no.
    Guard(String),
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FieldFault {
    /// The kind has no such field.
    Unknown,
    /// It must be filled.
    Missing,
    /// Not a value of its type.
    Type,
    /// Too long, too small, too large, or none of its choices.
    Range,
}

impl Refused {
    /// As cases name it: `state`, `role`, `field:ID`, `guard:ID`.
    pub fn code(&self) -> String {
        match self {
            Self::Unknown => "transition".to_owned(),
            Self::State => "state".to_owned(),
            Self::Role => "role".to_owned(),
            Self::Field(id, _) => format!("field:{id}"),
            Self::Guard(id) => format!("guard:{id}"),
        }
    }
}

impl Kind {
    /// A new record: in the first state, with nothing in it.
    pub fn begin(&self) -> Record {
        Record { state: self.start.clone(), fields: BTreeMap::new(), acts: Vec::new() }
    }

    /// The record after a transition.
    ///
    /// # Errors
    /// Everything that stands against it, not only the first; the record is as it was.
    pub fn attempt(&self, record: &Record, attempt: &Attempt<'_>) -> Result<Record, Vec<Refused>> {
        let Some(transition) = self.transition(attempt.transition) else { return Err(vec![Refused::Unknown]) };
        let mut refused = Vec::new();
        if !transition.from.contains(&record.state) {
            refused.push(Refused::State);
        }
        if !transition.who.iter().any(|role| role == attempt.role) {
            refused.push(Refused::Role);
        }
        let mut next = record.clone();
        for (id, value) in &attempt.set {
            match self.field(id).map(|field| field.check(value)) {
                None => refused.push(Refused::Field(id.clone(), FieldFault::Unknown)),
                Some(Err(fault)) => refused.push(Refused::Field(id.clone(), fault)),
                Some(Ok(())) => {
                    next.fields.insert(id.clone(), value.clone());
                }
            }
        }
        let missing = transition.require.iter().filter(|id| !next.fields.contains_key(*id) && !attempt.set.contains_key(*id));
        refused.extend(missing.map(|id| Refused::Field(id.clone(), FieldFault::Missing)));
        // Guards look at the record as it would be, and at who did what before.
        let failed = transition.guards.iter().filter(|guard| !guard.test.holds(&next, attempt));
        refused.extend(failed.map(|guard| Refused::Guard(guard.id.clone())));
        if !refused.is_empty() {
            return Err(refused);
        }
        next.state.clone_from(&transition.to);
        next.acts.push(Act { transition: transition.id.clone(), by: attempt.by.to_owned(), on: attempt.on });
        Ok(next)
    }
}

impl Field {
    /// Whether `value` can stand in it.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, value: &Value) -> Result<(), FieldFault> {
        let fits = match (&self.of, value) {
            (FieldType::Text { max }, Value::Text(text)) => !text.trim().is_empty() && text.chars().count() <= *max,
            (FieldType::Person, Value::Text(text)) => !text.trim().is_empty(),
            (FieldType::Choice { choices }, Value::Text(text)) => choices.iter().any(|choice| choice.id == *text),
            (FieldType::Number { min, max, .. }, Value::Number(n)) => {
                n.is_finite() && min.is_none_or(|min| *n >= min) && max.is_none_or(|max| *n <= max)
            }
            (FieldType::Date, Value::Date(_)) => true,
            _ => return Err(FieldFault::Type),
        };
        if fits { Ok(()) } else { Err(FieldFault::Range) }
    }
}

impl Test {
    /// Whether it holds for the record as it would be. What is empty satisfies nothing but `not` and `empty`.
    fn holds(&self, record: &Record, attempt: &Attempt<'_>) -> bool {
        match self {
            Self::All(tests) => tests.iter().all(|test| test.holds(record, attempt)),
            Self::Any(tests) => tests.iter().any(|test| test.holds(record, attempt)),
            Self::Not(test) => !test.holds(record, attempt),
            Self::Filled(id) => record.fields.contains_key(id),
            Self::Is(id, wanted) => matches!(record.fields.get(id), Some(Value::Text(text)) if text == wanted),
            Self::AtLeast(id, least) => matches!(record.fields.get(id), Some(Value::Number(n)) if n >= least),
            Self::AtMost(id, most) => matches!(record.fields.get(id), Some(Value::Number(n)) if n <= most),
            Self::DaysAtMost { from, to, days } => {
                let date = |id: &Option<String>| match id {
                    None => Some(attempt.on),
                    Some(id) => match record.fields.get(id) {
                        Some(Value::Date(date)) => Some(*date),
                        _ => None,
                    },
                };
                let between = date(from).zip(date(to)).and_then(|(from, to)| from.until(to).ok());
                between.is_some_and(|span| (0..=*days).contains(&span.get_days()))
            }
            Self::OtherPersonThan(transitions) => {
                record.acts.iter().filter(|act| transitions.contains(&act.transition)).all(|act| act.by != attempt.by)
            }
        }
    }
}

#[cfg(test)]
mod tests;
