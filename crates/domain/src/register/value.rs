//! What stands in a field, as JSON on the API and in the database.

use std::collections::{BTreeMap, BTreeSet};

use anlan_model::Wgs84;
use jiff::civil::{Date, DateTime};
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use super::kind::{Field, FieldType, Kind};
use super::{FieldFault, Record, search};

/// Longest text that is indexed for filters, in characters; filters know choices, dates, numbers, people and records only, all of them shorter.
const INDEXED_CHARS: usize = 100;

/// Under which a list finds the last day on which a record is to be kept; no field is called so.
pub const RETAINED_UNTIL: &str = "@retained_until";

/// What stands in a field.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// A calendar date.
    Date(Date),
    /// An instant to the minute, civil time in Beijing: `2026-03-01T09:05`.
    #[serde(serialize_with = "minute")]
    DateTime(DateTime),
    /// A number in the field's unit.
    Number(f64),
    /// Text, the id of a choice, of a person, of a record.
    Text(String),
    /// A place.
    Place(Wgs84),
    /// Ids of files.
    Files(Vec<String>),
    /// Rows; an empty cell is absent.
    Table(Vec<BTreeMap<String, Value>>),
}

/// A field of a record that lists are narrowed by.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexEntry {
    /// Field.
    pub field: String,
    /// Choice, person, ISO date.
    pub text: Option<String>,
    /// Number.
    pub number: Option<f64>,
}

impl Value {
    /// From JSON, as `field` would hold it; what is of another type stays what it is, so that [`Field::check`] refuses it. An unknown field is
    /// read by what it looks like. `None` for what no field holds: null, true, mixed lists.
    pub fn from_json(field: Option<&Field>, json: &Json) -> Option<Self> {
        let of = field.map(|field| &field.of);
        match json {
            Json::Number(n) => n.as_f64().map(Self::Number),
            Json::String(text) => match text.parse() {
                // jiff reads more than a date ("2026-03-01T10:00"); a date is ten characters.
                Ok(date) if matches!(of, Some(FieldType::Date)) && text.len() == 10 => Some(Self::Date(date)),
                _ if matches!(of, Some(FieldType::DateTime)) => {
                    Some(parse_minute(text).map_or_else(|| Self::Text(text.clone()), Self::DateTime))
                }
                _ => Some(Self::Text(text.clone())),
            },
            Json::Object(_) => serde_json::from_value::<Wgs84>(json.clone()).ok().map(Self::Place),
            Json::Array(ids) if is_files(of, ids) => {
                Some(Self::Files(ids.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect()))
            }
            Json::Array(rows) => {
                let columns = match of {
                    Some(FieldType::Table { columns, .. }) => columns.as_slice(),
                    _ => &[],
                };
                let cell = |id: &String, json: &Json| match json {
                    Json::Null => Some(None),
                    _ => Self::from_json(columns.iter().find(|c| c.id == *id), json).map(|value| Some((id.clone(), value))),
                };
                let row = |row: &Json| {
                    let cells = row.as_object()?.iter().map(|(id, json)| cell(id, json)).collect::<Option<Vec<_>>>()?;
                    Some(cells.into_iter().flatten().collect())
                };
                rows.iter().map(row).collect::<Option<_>>().map(Self::Table)
            }
            Json::Null | Json::Bool(_) => None,
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> Json {
        // Numbers are finite and keys are texts, so it always encodes.
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl FieldType {
    /// Whether every value of `other` is one of this type too.
    pub(super) fn takes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text { max }, Self::Text { max: other }) => other <= max,
            (Self::Choice { choices }, Self::Choice { choices: others }) => others.iter().all(|o| choices.iter().any(|c| c.id == o.id)),
            (Self::Number { unit, min, max }, Self::Number { unit: u, min: lo, max: hi }) => {
                unit == u && min.is_none_or(|m| lo.is_some_and(|l| l >= m)) && max.is_none_or(|m| hi.is_some_and(|h| h <= m))
            }
            (Self::Record { of, .. }, Self::Record { of: other, .. }) => of == other,
            (Self::Date, Self::Date) | (Self::DateTime, Self::DateTime) | (Self::Person, Self::Person) | (Self::Place, Self::Place) => true,
            _ => false,
        }
    }
}

impl Field {
    /// Whether `value` can stand in it.
    ///
    /// # Errors
    /// What is wrong, and where: the field's id, or `id[row].column`.
    pub fn check(&self, value: &Value) -> Result<(), Vec<(String, FieldFault)>> {
        let one = |fault| Err(vec![(self.id.clone(), fault)]);
        let fits = match (&self.of, value) {
            (FieldType::Text { max }, Value::Text(text)) => {
                !text.trim().is_empty() && text.chars().count() <= *max && !text.chars().any(is_unprintable)
            }
            // Ids of users and records are numbers; in cases, names.
            (FieldType::Person | FieldType::Record { .. }, Value::Text(text)) => {
                !text.trim().is_empty() && text.chars().count() <= INDEXED_CHARS
            }
            (FieldType::Choice { choices }, Value::Text(text)) => choices.iter().any(|choice| choice.id == *text),
            (FieldType::Number { min, max, .. }, Value::Number(n)) => {
                n.is_finite() && min.is_none_or(|min| *n >= min) && max.is_none_or(|max| *n <= max)
            }
            (FieldType::Date, Value::Date(_)) | (FieldType::DateTime, Value::DateTime(_)) => true,
            (FieldType::Place, Value::Place(place)) => Wgs84::new(place.lon, place.lat).is_some(),
            // Ids of attachments are numbers; in cases, names.
            (FieldType::File { max, .. }, Value::Files(ids)) => {
                let is_id = |id: &String| !id.trim().is_empty() && id.chars().count() <= INDEXED_CHARS;
                let each: BTreeSet<&String> = ids.iter().collect();
                (1..=*max).contains(&ids.len()) && each.len() == ids.len() && ids.iter().all(is_id)
            }
            (FieldType::Table { columns, rows_max }, Value::Table(rows)) => {
                if rows.is_empty() || rows.len() > *rows_max {
                    return one(FieldFault::Range);
                }
                let mut faults = Vec::new();
                for (i, row) in rows.iter().enumerate() {
                    let at = |column: &str| format!("{}[{i}].{column}", self.id);
                    if row.is_empty() {
                        faults.push((format!("{}[{i}]", self.id), FieldFault::Missing));
                    }
                    for (id, value) in row {
                        match columns.iter().find(|c| c.id == *id).map(|c| c.check(value)) {
                            None => faults.push((at(id), FieldFault::Unknown)),
                            Some(Err(inner)) => faults.extend(inner.into_iter().map(|(_, fault)| (at(id), fault))),
                            Some(Ok(())) => {}
                        }
                    }
                }
                return if faults.is_empty() { Ok(()) } else { Err(faults) };
            }
            _ => return one(FieldFault::Type),
        };
        if fits { Ok(()) } else { one(FieldFault::Range) }
    }
}

/// An instant as JSON writes it, `YYYY-MM-DDTHH:MM`.
pub fn minute_of(at: DateTime) -> String {
    format!("{}T{:02}:{:02}", at.date(), at.hour(), at.minute())
}

/// The instant of such a text; `None` for anything else, one with seconds or a zone too.
pub fn parse_minute(text: &str) -> Option<DateTime> {
    let at: DateTime = text.parse().ok()?;
    (text.len() == 16 && minute_of(at) == text).then_some(at)
}

fn minute<S: Serializer>(at: &DateTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&minute_of(*at))
}

/// The beginning of its minute: what is in time in a minute is so to its end.
pub fn begun_minute(at: DateTime) -> DateTime {
    at.date().at(at.hour(), at.minute(), 0, 0)
}

/// Whether it is a calendar date as JSON writes one, `YYYY-MM-DD`.
pub fn is_day(text: &str) -> bool {
    text.len() == 10 && text.parse::<Date>().is_ok()
}

/// Whether a list is one of files: texts alone, and where there is none, because the field holds files.
fn is_files(of: Option<&FieldType>, ids: &[Json]) -> bool {
    ids.iter().all(Json::is_string) && (!ids.is_empty() || matches!(of, Some(FieldType::File { .. })))
}

/// Control characters that are no line or tab: nothing a form can send by itself, and XML cannot hold them.
fn is_unprintable(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\r' | '\t')) || matches!(c, '\u{fffe}' | '\u{ffff}')
}

impl Kind {
    /// The fields of a stored record. A field that the kind no longer has is kept.
    pub fn stored_fields(&self, json: &serde_json::Map<String, Json>) -> BTreeMap<String, Value> {
        json.iter().filter_map(|(id, json)| Some((id.clone(), Value::from_json(self.field(id), json)?))).collect()
    }

    /// What lists are narrowed by, for this record.
    pub fn index(&self, record: &Record) -> Vec<IndexEntry> {
        let entry = |id: &String| {
            let (text, number) = match record.fields.get(id)? {
                Value::Text(text) => (Some(text.chars().take(INDEXED_CHARS).collect()), None),
                Value::Date(date) => (Some(date.to_string()), None),
                Value::DateTime(at) => (Some(minute_of(*at)), None),
                Value::Number(n) => (None, Some(*n)),
                Value::Place(_) | Value::Files(_) | Value::Table(_) => return None,
            };
            Some(IndexEntry { field: id.clone(), text, number })
        };
        let retained = self.retained_until(record).map(|day| IndexEntry {
            field: RETAINED_UNTIL.to_owned(),
            text: Some(day.to_string()),
            number: None,
        });
        self.filter.iter().filter_map(entry).chain(retained).collect()
    }

    /// What is unique within the kind, as one text; `None` if the kind has no key or a part of it is empty.
    pub fn key_of(&self, fields: &BTreeMap<String, Value>) -> Option<String> {
        if self.key.is_empty() {
            return None;
        }
        let part = |id: &String| match fields.get(id)? {
            Value::Text(text) => Some(search::plain(text)),
            Value::Date(date) => Some(date.to_string()),
            Value::DateTime(at) => Some(minute_of(*at)),
            Value::Number(n) => Some(n.to_string()),
            Value::Place(_) | Value::Files(_) | Value::Table(_) => None,
        };
        let parts = self.key.iter().map(part).collect::<Option<Vec<_>>>()?;
        Some(parts.join("\u{1f}"))
    }

    /// Its title and what a search looks into, title first.
    pub fn searched<'a>(&'a self, record: &'a Record) -> impl Iterator<Item = &'a str> {
        std::iter::once(&self.title).chain(self.search.iter().filter(|id| **id != self.title)).filter_map(|id| record.text(id))
    }
}
