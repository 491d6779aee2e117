//! Computed fields: they follow from others after every act, in the order in which they stand.

use std::collections::BTreeSet;

use jiff::ToSpan as _;
use jiff::civil::DateTime;

use super::kind::{Compute, Field, FieldType, Kind, Months};
use super::{Record, Value, accident, grade};

/// Days that are added to a date at most.
const DAYS_MAX: f64 = 36_500.0;
/// Months that are added to a date at most; 1,000 years.
const MONTHS_MAX: i32 = 12_000;

impl Kind {
    /// Brings every computed field up to date, as of `now`, civil time in Beijing.
    pub fn compute(&self, record: &mut Record, now: DateTime) {
        for field in &self.fields {
            let Some(compute) = &field.compute else { continue };
            match value(compute, field, record, now) {
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
            Self::Sum(id, _)
            | Self::Count(id, _)
            | Self::Steps(id, ..)
            | Self::PlusDays(id, _)
            | Self::DayOf(id)
            | Self::PlusMonths(id, Months::Fixed(_)) => vec![id],
            Self::PlusDaysOf(id, days) => std::iter::once(id).chain(days).map(String::as_str).collect(),
            Self::Accident { toll, happened, nature, .. } => vec![toll, happened, nature],
            Self::Telling { toll, happened, nature, heard, .. } => {
                [toll, happened, nature].into_iter().chain(heard).map(String::as_str).collect()
            }
            Self::Grade { contents, people, .. } => vec![contents, people],
            Self::Join(ids) => ids.iter().map(String::as_str).collect(),
            Self::Difference(a, b)
            | Self::Percent(a, b)
            | Self::DaysBetween(a, b)
            | Self::PlusMonths(a, Months::Field(b) | Months::By(b, _)) => vec![a, b],
        }
    }
}

fn value(compute: &Compute, field: &Field, record: &Record, now: DateTime) -> Option<Value> {
    let table = |id: &str| match record.fields.get(id) {
        Some(Value::Table(rows)) => Some(rows),
        _ => None,
    };
    let finite = |n: f64| n.is_finite().then_some(Value::Number(n));
    match compute {
        Compute::Grade { contents, people, shows } => grade::value(*shows, field, &grade::of(contents, people, record).ok()??),
        Compute::Accident { toll, happened, nature, shows } => accident::value(*shows, field, toll, happened, nature, record),
        Compute::Telling { toll, happened, nature, heard, shows } => {
            accident::told(*shows, field, [toll, happened, nature], heard, record, now)
        }
        Compute::PlusDaysOf(date, days) => {
            let mut total = record.number(days.first()?)?;
            total += days[1..].iter().filter_map(|id| record.number(id)).sum::<f64>();
            if total.abs() > DAYS_MAX {
                return None;
            }
            record.date(date)?.checked_add((total.floor() as i64).days()).ok().map(Value::Date)
        }
        Compute::DaysBetween(from, to) => {
            let span = record.date(from)?.until(record.date(to)?).ok()?;
            finite(f64::from(span.get_days()))
        }
        Compute::DayOf(at) => record.date(at).map(Value::Date),
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
        Compute::Count(id, None) => finite(table(id)?.len() as f64),
        // The day does not matter: a test that looks at it is refused when the kind is read.
        Compute::Count(id, Some(when)) => finite(table(id)?.iter().filter(|row| when.holds_of(row, record.entered_on)).count() as f64),
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
