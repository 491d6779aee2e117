//! Fields that show the grade of a major hazard installation: what stands in a table as a [`Unit`], and the figures of its [`Grade`] as values.

use std::collections::{BTreeMap, BTreeSet};

use super::kind::{Compute, Field, FieldType, Kind, Shows};
use super::{Content as Says, FieldFault, Record, Refused, Value};
use crate::major_hazard::{Cause, Content, Grade, Term, Unit, built_in};
use crate::pack::CONFIDENCES;

/// Level of a unit that is no major hazard.
pub(super) const NONE: &str = "none";
/// Words of [`Shows::Lacks`].
const LACKS: [&str; 3] = ["people", "beta", "people_and_beta"];
/// Columns of [`Shows::Terms`]: word and unit of a number, `None` = a text.
const COLUMNS: [(&str, Option<&str>); 7] = [
    ("substance", None),
    ("tonnes", Some("t")),
    ("threshold_t", Some("t")),
    ("threshold_from", None),
    ("ratio", Some("")),
    ("beta", Some("")),
    ("beta_from", None),
];
const CONFIDENCE: &str = "confidence";

/// The grade of what stands in the record; `None` while there is nothing to grade.
///
/// # Errors
/// Everything that cannot be meant, each at its field.
pub(super) fn of(contents: &str, people: &str, record: &Record) -> Result<Option<Grade>, Vec<Refused>> {
    let Some(Value::Table(rows)) = record.fields.get(contents) else { return Ok(None) };
    let mut refused = Vec::new();
    let missing = |i: usize, column: &str| Refused::Field(format!("{contents}[{i}].{column}"), FieldFault::Missing);
    let mut unit = Unit { contents: Vec::new(), people_within_500m: None };
    for (i, row) in rows.iter().enumerate() {
        let text = |column: &str| match row.get(column) {
            Some(Value::Text(text)) => Some(text.as_str()),
            _ => None,
        };
        let (substance, tonnes) = (text("substance"), row.get("tonnes"));
        if substance.is_none() {
            refused.push(missing(i, "substance"));
        }
        let Some(Value::Number(tonnes)) = tonnes else {
            refused.push(missing(i, "tonnes"));
            continue;
        };
        let symbols = text("categories").unwrap_or_default().split([' ', ',', ';', '，', '、', '；', '\u{3000}']);
        let categories = symbols.filter(|symbol| !symbol.is_empty()).map(str::to_owned).collect();
        unit.contents.push(Content { substance: substance.unwrap_or_default().to_owned(), tonnes: *tonnes, categories });
    }
    if let Some(n) = record.number(people) {
        if (0.0..=f64::from(u32::MAX)).contains(&n) && n.fract() == 0.0 {
            unit.people_within_500m = Some(n as u32);
        } else {
            refused.push(Refused::Content(people.to_owned(), Says::MajorHazard(Cause::People)));
        }
    }
    if !refused.is_empty() {
        return Err(refused);
    }
    let at = |field: &str| match field.strip_prefix("contents") {
        // A list of symbols is one cell here.
        Some(rest) => {
            format!("{contents}{}", rest.split_once("categories[").map_or(rest.to_owned(), |(row, _)| format!("{row}categories")))
        }
        None => people.to_owned(),
    };
    let refused = |faults: Vec<crate::major_hazard::Fault>| {
        faults.into_iter().map(|f| Refused::Content(at(&f.field), Says::MajorHazard(f.cause))).collect()
    };
    built_in().grade(&unit).map(Some).map_err(refused)
}

impl Kind {
    /// What cannot be graded, of what this act fills in.
    pub(super) fn ungraded(&self, next: &Record, set: &BTreeMap<String, Option<Value>>) -> BTreeSet<Refused> {
        let mut refused = BTreeSet::new();
        for compute in self.fields.iter().filter_map(|field| field.compute.as_ref()) {
            if let Compute::Grade { contents, people, .. } = compute
                && (set.contains_key(contents) || set.contains_key(people))
                && let Err(faults) = of(contents, people, next)
            {
                refused.extend(faults);
            }
        }
        refused
    }
}

/// A figure of a grade as it stands in its field.
pub(super) fn value(shows: Shows, field: &Field, grade: &Grade) -> Option<Value> {
    let text = |text: &str| Some(Value::Text(text.to_owned()));
    match shows {
        Shows::S => Some(Value::Number(grade.s)),
        Shows::R => grade.r.map(Value::Number),
        Shows::Alpha => grade.alpha.map(Value::Number),
        Shows::Level if !grade.is_major_hazard => text(NONE),
        Shows::Level => grade.level.and_then(|level| text(&level.to_string())),
        Shows::Lacks => {
            let (people, beta) = (grade.alpha.is_none(), grade.terms.iter().any(|term| term.beta.is_none()));
            match (people, beta) {
                (true, true) => text("people_and_beta"),
                (true, false) => text("people"),
                (false, true) => text("beta"),
                (false, false) => None,
            }
        }
        Shows::Confidence => text(&grade.confidence),
        Shows::Terms => {
            let FieldType::Table { columns, .. } = &field.of else { return None };
            let row = |term: &Term| columns.iter().filter_map(|column| Some((column.id.clone(), cell(&column.id, term)?))).collect();
            Some(Value::Table(grade.terms.iter().map(row).collect()))
        }
    }
}

fn cell(column: &str, term: &Term) -> Option<Value> {
    let text = |text: &String| Some(Value::Text(text.clone()));
    match column {
        "substance" => text(&term.substance),
        "tonnes" => Some(Value::Number(term.tonnes)),
        "threshold_t" => Some(Value::Number(term.threshold_t)),
        "threshold_from" => text(&term.threshold_from),
        "ratio" => Some(Value::Number(term.ratio)),
        "beta" => term.beta.map(Value::Number),
        "beta_from" => term.beta_from.as_ref().and_then(text),
        CONFIDENCE => text(&term.confidence),
        _ => None,
    }
}

/// Whether a field of this type can show the figure; if not, what it should be.
pub(super) fn fits(shows: Shows, of: &FieldType) -> Result<(), String> {
    let has = |choices: &[super::Choice], words: &[&str]| {
        words.iter().find(|word| choices.iter().all(|c| c.id != **word)).copied().map(str::to_owned)
    };
    let lacking = |words: &[&str]| match of {
        FieldType::Choice { choices } => has(choices, words).map_or(Ok(()), |word| Err(format!("has no choice {word:?}"))),
        _ => Err(format!("shows a choice of {}, but the field is none", words.join(", "))),
    };
    match shows {
        Shows::S | Shows::R | Shows::Alpha => match of {
            FieldType::Number { .. } => Ok(()),
            _ => Err("shows a number, but the field is none".to_owned()),
        },
        Shows::Level => {
            let mut words: Vec<String> = built_in().levels().map(|level| level.to_string()).collect();
            words.push(NONE.to_owned());
            lacking(&words.iter().map(String::as_str).collect::<Vec<_>>())
        }
        Shows::Lacks => lacking(&LACKS),
        Shows::Confidence => lacking(&CONFIDENCES),
        Shows::Terms => {
            let FieldType::Table { columns, .. } = of else { return Err("shows a table, but the field is none".to_owned()) };
            for column in columns {
                let wanted = COLUMNS.iter().find(|(id, _)| *id == column.id).map(|(_, unit)| *unit);
                let is_right = match (&column.of, wanted) {
                    (FieldType::Choice { choices }, None) if column.id == CONFIDENCE => has(choices, &CONFIDENCES).is_none(),
                    (FieldType::Text { .. }, Some(None)) => true,
                    (FieldType::Number { unit, .. }, Some(Some(wanted))) => unit == wanted,
                    _ => false,
                };
                if !is_right {
                    let words: Vec<&str> = COLUMNS.iter().map(|(id, _)| *id).collect();
                    return Err(format!("the column {:?} is none of {} and {CONFIDENCE}, with their units", column.id, words.join(", ")));
                }
            }
            Ok(())
        }
    }
}
