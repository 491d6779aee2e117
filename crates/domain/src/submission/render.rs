//! From what we hold to the platform's text; everything that stands against it comes back at once.

use std::fmt;

use anlan_model::Timestamp;
use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::source::at;
use super::{As, Constant, Field, Format, From, Object, Submission, Turn, UnitOf, unit};

/// Longest value that is told of in a refusal.
const VALUE_CHARS: usize = 60;

/// Why a thing cannot go out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Field of the platform's layout; `key` stands for the key.
    pub field: String,
    /// `missing`, `too_long`, `type`, `code`, `unit`.
    pub code: String,
    /// The value or what else tells it from others.
    pub value: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.code)?;
        if self.value.is_empty() { Ok(()) } else { write!(f, " {:?}", self.value) }
    }
}

/// A thing as it goes out, among others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Its key at the platform.
    pub key: String,
    /// JSON, or a line of CSV without its end.
    pub text: String,
}

/// A value on its way out.
#[derive(Clone, Debug)]
enum Out {
    Text(String),
    /// As it is written.
    Number(String),
    Boolean(bool),
    Null,
    Members(Vec<(String, Out)>),
}

impl Submission {
    /// Whether a thing is one that this object submits; one that went once goes on going, whatever it becomes.
    pub fn wants(&self, object: &Object, thing: &Json) -> bool {
        let is_in = |path: &str, words: &[String]| word(at(thing, path)).is_some_and(|word| words.contains(&word));
        let in_state = object.register.as_ref().is_none_or(|(_, states)| states.is_empty() || is_in("state", states));
        in_state && object.only.iter().all(|(path, words)| is_in(path, words))
    }

    /// One thing in the platform's words.
    ///
    /// # Errors
    /// Everything that stands against it.
    pub fn render(&self, object: &Object, thing: &Json) -> Result<Rendered, Vec<Refusal>> {
        let mut refusals = Vec::new();
        let key = word(at(thing, &object.key)).filter(|key| !key.is_empty());
        if key.is_none() {
            refusals.push(Refusal { field: "key".to_owned(), code: "missing".to_owned(), value: object.key.clone() });
        }
        let mut values = Vec::new();
        for field in &object.fields {
            match value(field, thing) {
                Ok(out) => values.push((field.to.as_str(), out)),
                Err(refusal) => refusals.push(refusal),
            }
        }
        let Some(key) = key.filter(|_| refusals.is_empty()) else { return Err(refusals) };
        let text = match &self.format {
            Format::Json { omits } => {
                let mut members = Vec::new();
                values
                    .into_iter()
                    .filter(|(_, out)| !(*omits && matches!(out, Out::Null)))
                    .for_each(|(to, out)| put(&mut members, to, out));
                let mut text = String::new();
                Out::Members(members).write(&mut text);
                text
            }
            Format::Csv { separator, .. } => line(values.into_iter().map(|(_, out)| out.cell()), *separator),
        };
        Ok(Rendered { key, text })
    }

    /// The text that goes out with these in it, in their order.
    pub fn document<'a>(&self, object: &Object, things: impl IntoIterator<Item = &'a str>) -> String {
        match &self.format {
            Format::Json { .. } => {
                let all = things.into_iter().collect::<Vec<_>>();
                let list = || format!("[{}]", all.join(","));
                match &self.batch.list {
                    Some(name) => {
                        let mut text = String::from("{");
                        for (member, is) in &self.batch.constants {
                            quoted(member, &mut text);
                            text.push(':');
                            constant(is).write(&mut text);
                            text.push(',');
                        }
                        quoted(name, &mut text);
                        text + ":" + &list() + "}"
                    }
                    None if self.batch.max == 1 => all.concat(),
                    None => list(),
                }
            }
            Format::Csv { separator, crlf, bom } => {
                let end = if *crlf { "\r\n" } else { "\n" };
                let heads = line(object.fields.iter().map(|field| field.to.clone()), *separator);
                let mut text = String::from(if *bom { "\u{feff}" } else { "" });
                text = text + &heads + end;
                things.into_iter().for_each(|line| text = std::mem::take(&mut text) + line + end);
                text
            }
        }
    }
}

fn value(field: &Field, thing: &Json) -> Result<Out, Refusal> {
    let refuse = |code: &str, value: &str| Refusal {
        field: field.to.clone(),
        code: code.to_owned(),
        value: value.chars().take(VALUE_CHARS).collect(),
    };
    let path = match &field.from {
        From::Constant(is) => return Ok(constant(is)),
        From::Source(path) => path,
    };
    let found = at(thing, path);
    let Some(mut text) = word(found).filter(|text| !text.is_empty()) else {
        return match (found, field.required) {
            (Json::Null | Json::String(_), false) => Ok(Out::Null),
            (Json::Null | Json::String(_), true) => Err(refuse("missing", path)),
            _ => Err(refuse("type", &found.to_string())),
        };
    };
    if let Some(codes) = &field.codes {
        text = match codes.map.get(&text).or(codes.other.as_ref()) {
            Some(code) => code.clone(),
            None => return Err(refuse("code", &text)),
        };
    }
    let number = || text.parse::<f64>().ok().filter(|n| n.is_finite()).ok_or_else(|| refuse("type", &text));
    let turned = |number: f64| match &field.unit {
        None => Ok(number),
        Some(Turn { from, to }) => {
            let from = match from {
                UnitOf::Source(path) => word(at(thing, path)).unwrap_or_default(),
                UnitOf::Is(unit) => unit.clone(),
            };
            unit::convert(number, &from, to).ok_or_else(|| refuse("unit", &from))
        }
    };
    Ok(match &field.as_ {
        As::Text { max, cut } => match max {
            Some(max) if text.chars().count() > *max && *cut => Out::Text(text.chars().take(*max).collect()),
            Some(max) if text.chars().count() > *max => return Err(refuse("too_long", &text)),
            _ => Out::Text(text),
        },
        As::Integer => {
            let number = turned(number()?)?;
            // Beyond 2^53 a stored number is no longer every whole number.
            if number.fract() != 0.0 || number.abs() > 9_007_199_254_740_992.0 {
                return Err(refuse("type", &text));
            }
            // Whole and within 2^53, as was seen to.
            Out::Number((number as i64).to_string())
        }
        As::Decimal(digits) => {
            let digits = *digits;
            let written = format!("{:.digits$}", turned(number()?)?);
            // Nothing is less than nothing.
            let is_zero = written.bytes().all(|b| matches!(b, b'-' | b'0' | b'.'));
            Out::Number(if is_zero { written.trim_start_matches('-').to_owned() } else { written })
        }
        As::Time { pattern, offset_s } => {
            let at = instant(&text, *offset_s).ok_or_else(|| refuse("type", &text))?;
            match pattern.as_str() {
                "epoch_s" => Out::Number(at.micros().div_euclid(1_000_000).to_string()),
                "epoch_ms" => Out::Number(at.micros().div_euclid(1_000).to_string()),
                pattern => Out::Text(stamp(at, pattern, *offset_s).ok_or_else(|| refuse("type", &text))?),
            }
        }
        As::Date { pattern, offset_s } => {
            let at = instant(&text, *offset_s).ok_or_else(|| refuse("type", &text))?;
            Out::Text(stamp(at, pattern, *offset_s).ok_or_else(|| refuse("type", &text))?)
        }
        As::Boolean { words } => {
            let is = match text.as_str() {
                "true" => true,
                "false" => false,
                _ => return Err(refuse("type", &text)),
            };
            match words {
                Some((yes, no)) => Out::Text(if is { yes.clone() } else { no.clone() }),
                None => Out::Boolean(is),
            }
        }
    })
}

fn constant(is: &Constant) -> Out {
    match is {
        Constant::Text(text) => Out::Text(text.clone()),
        Constant::Integer(n) => Out::Number(n.to_string()),
        Constant::Boolean(is) => Out::Boolean(*is),
    }
}

/// A scalar as text; `None` for nothing, and for what is no scalar.
pub(super) fn word(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(is) => Some(is.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

/// An instant, or the beginning of a day in the zone.
fn instant(text: &str, offset_s: i32) -> Option<Timestamp> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Some(Timestamp::from_micros(at.as_microsecond()));
    }
    let day: Date = text.parse().ok()?;
    let at = day.to_zoned_datetime(zone(offset_s)?).ok()?;
    Some(Timestamp::from_micros(at.timestamp().as_microsecond()))
}

fn zone(offset_s: i32) -> Option<TimeZone> {
    Offset::from_seconds(offset_s).ok().map(TimeZone::fixed)
}

/// An instant as a pattern writes it; `None` for a pattern that means nothing.
pub(super) fn stamp(at: Timestamp, pattern: &str, offset_s: i32) -> Option<String> {
    let at = jiff::Timestamp::from_microsecond(at.micros()).ok()?.to_zoned_datetime(zone(offset_s)?);
    jiff::fmt::strtime::format(pattern, &at).ok()
}

/// Puts a value at a path of members; the reader has seen to it that none is both a value and a holder of others.
fn put(members: &mut Vec<(String, Out)>, path: &str, out: Out) {
    let Some((first, rest)) = path.split_once('.') else { return members.push((path.to_owned(), out)) };
    let i = members.iter().position(|(name, _)| name == first).unwrap_or_else(|| {
        members.push((first.to_owned(), Out::Members(Vec::new())));
        members.len() - 1
    });
    if let Some((_, Out::Members(inner))) = members.get_mut(i) {
        put(inner, rest, out);
    }
}

impl Out {
    fn write(&self, text: &mut String) {
        match self {
            Self::Text(value) => quoted(value, text),
            Self::Number(number) => text.push_str(number),
            Self::Boolean(is) => text.push_str(if *is { "true" } else { "false" }),
            Self::Null => text.push_str("null"),
            Self::Members(members) => {
                text.push('{');
                for (i, (name, out)) in members.iter().enumerate() {
                    if i > 0 {
                        text.push(',');
                    }
                    quoted(name, text);
                    text.push(':');
                    out.write(text);
                }
                text.push('}');
            }
        }
    }

    fn cell(self) -> String {
        match self {
            Self::Text(text) | Self::Number(text) => text,
            Self::Boolean(is) => is.to_string(),
            Self::Null | Self::Members(_) => String::new(),
        }
    }
}

fn quoted(value: &str, text: &mut String) {
    text.push_str(&Json::from(value).to_string());
}

/// RFC 4180, 2.5 to 2.7: what has a separator, a quote or a line end in it stands in quotes, and a quote in it is doubled.
fn line(cells: impl Iterator<Item = String>, separator: char) -> String {
    let quote = |cell: String| {
        if cell.contains([separator, '"', '\r', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
    };
    cells.map(quote).collect::<Vec<_>>().join(&separator.to_string())
}
