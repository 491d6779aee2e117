//! Computed fields: they follow from others after every act, in the order in which they stand.

use std::collections::BTreeSet;

use jiff::ToSpan as _;

use super::kind::{Compute, Field, FieldType, Kind, Months};
use super::{Record, Value, grade};

/// Months that are added to a date at most; 1,000 years.
const MONTHS_MAX: i32 = 12_000;

impl Kind {
    /// Brings every computed field up to date.
    pub fn compute(&self, record: &mut Record) {
        for field in &self.fields {
            let Some(compute) = &field.compute else { continue };
            match value(compute, field, record) {
                Some(value) => drop(record.fields.insert(field.id.clone(), value)),
                None => drop(record.fields.remove(&field.id)),
            }
        }
    }

    /// These fields and every computed one that follows from them.
    pub(super) fn follow<'a>(&'a self, ids: impl Iterator<Item = &'a String>) -> BTreeSet<&'a str> {
        let mut found: BTreeSet<&str> = ids.map(String::as_str).collect();
        // In the order in which they stand: each follows from what stands above it.
        for field in &self.fields {
            if field.compute.as_ref().is_some_and(|compute| compute.inputs().iter().any(|id| found.contains(id))) {
                found.insert(&field.id);
            }
        }
        found
    }
}

impl Compute {
    /// The fields that it follows from.
    pub(super) fn inputs(&self) -> Vec<&str> {
        match self {
            Self::Sum(id, _) | Self::Count(id) | Self::Steps(id, ..) | Self::PlusDays(id, _) | Self::PlusMonths(id, Months::Fixed(_)) => {
                vec![id]
            }
            Self::Grade { contents, people, .. } => vec![contents, people],
            Self::Join(ids) => ids.iter().map(String::as_str).collect(),
            Self::Difference(a, b) | Self::Percent(a, b) | Self::PlusMonths(a, Months::Field(b) | Months::By(b, _)) => vec![a, b],
        }
    }
}

fn value(compute: &Compute, field: &Field, record: &Record) -> Option<Value> {
    let table = |id: &str| match record.fields.get(id) {
        Some(Value::Table(rows)) => Some(rows),
        _ => None,
    };
    let finite = |n: f64| n.is_finite().then_some(Value::Number(n));
    match compute {
        Compute::Grade { contents, people, shows } => grade::value(*shows, field, &grade::of(contents, people, record).ok()??),
        Compute::PlusDays(date, days) => record.date(date)?.checked_add(days.days()).ok().map(Value::Date),
        Compute::Join(ids) => {
            let parts = ids.iter().map(|id| record.text(id)).collect::<Option<Vec<_>>>()?;
            let FieldType::Text { max } = field.of else { return None };
            Some(Value::Text(parts.join(" ").chars().take(max).collect()))
        }
        Compute::Sum(id, column) => {
            let cells = table(id)?.iter().filter_map(|row| match row.get(column) {
                Some(Value::Number(n)) => Some(*n),
                _ => None,
            });
            // Nothing at all adds up to -0.0 by itself.
            finite(cells.fold(0.0, |sum, n| sum + n))
        }
        Compute::Count(id) => finite(table(id)?.len() as f64),
        Compute::Difference(a, b) => finite(record.number(a)? - record.number(b)?),
        // Never by 0: the quotient is no number then.
        Compute::Percent(a, b) => finite(100.0 * record.number(a)? / record.number(b)?),
        Compute::Steps(of, steps, otherwise) => {
            let n = record.number(of)?;
            let word = steps.iter().find(|(from, _)| n >= *from).map_or(otherwise, |(_, word)| word);
            Some(Value::Text(word.clone()))
        }
        Compute::PlusMonths(date, months) => {
            let months = match months {
                Months::Fixed(months) => *months,
                // As many as the number says, rounded down; beyond the limit it is no date.
                Months::Field(id) => record.number(id).filter(|n| n.abs() <= f64::from(MONTHS_MAX))?.floor() as i32,
                Months::By(id, months) => *months.get(record.text(id)?)?,
            };
            record.date(date)?.checked_add(months.clamp(-MONTHS_MAX, MONTHS_MAX).months()).ok().map(Value::Date)
        }
    }
}
