//! Certificates (证书) of records: what one says, as the lines that are signed (docs/reference/certificates.md).
//!
//! [`Certificate`] is what a kind says of it; [`Said::lines`] and [`Said::parse`] are the two ways between what is said and its bytes. Whose the
//! signature is, and where the record stands by now, is looked at elsewhere.

use anlan_model::Timestamp;
use jiff::civil::Date;

use super::kind::{Field, FieldType, Kind};
use super::{Record, Value};

/// Bytes of the lines: with 64 of a signature they make a text of at most 600 characters.
pub const BYTES_MAX: usize = 381;
/// Fields that a certificate may show.
pub const SHOWS_MAX: usize = 8;
/// Bytes of a name or text before it is cut, where there is room for all of it; where there is none, texts become shorter in steps down to the least.
const TEXT_BYTES: usize = 120;
/// Four Chinese characters; the loader sees to it that so much always has room.
const TEXT_BYTES_LEAST: usize = 12;
/// Longest code of an enterprise, in bytes; 18 in production.
const CODE_BYTES: usize = 40;
/// Longest figure with its unit, in bytes.
const NUMBER_BYTES: usize = 24;
/// Of everything in front of the fields that does not come from the register: key, id, instant, day, code, owner, and the ends of their lines.
const HEAD_BYTES: usize = 17 + 20 + 21 + 11 + CODE_BYTES + 1 + "owner=".len() + TEXT_BYTES_LEAST + 1;
/// The name of the line of whoever a record belongs to.
const OWNER: &str = "owner";

/// That the records of a kind carry a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// In these states.
    pub states: Vec<String>,
    /// It shows these fields, in this order.
    pub shows: Vec<String>,
    /// The date field that says how long it holds; `None` = as long as the record is in its states.
    pub until: Option<String>,
}

impl Certificate {
    /// Bytes that its lines need at least, whatever stands in a record.
    pub(super) fn bytes_least(&self, kind: &str, number_bytes: usize, field: impl Fn(&str) -> Option<FieldType>) -> usize {
        let value = |id: &str| match field(id) {
            Some(FieldType::Number { .. }) => NUMBER_BYTES,
            Some(FieldType::Date) => 10,
            Some(FieldType::DateTime) => 16,
            _ => TEXT_BYTES_LEAST,
        };
        let fields: usize = self.shows.iter().map(|id| id.len() + 1 + value(id) + 1).sum();
        HEAD_BYTES + kind.len() + 1 + number_bytes + 1 + fields
    }
}

/// A text that is whole, or of which only the beginning is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The text.
    pub text: String,
    /// It goes on in the record.
    pub is_cut: bool,
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Id of the key that signs: the first 8 bytes of the SHA-256 of the public key, in hexadecimal.
    pub key: String,
    /// Kind of register.
    pub kind: String,
    /// Id of the record at the node of that key.
    pub record: String,
    /// Number of the record; may be empty.
    pub number: String,
    /// When it was signed, in whole seconds.
    pub issued_at: Timestamp,
    /// The last day on which it holds.
    pub until: Option<Date>,
    /// Code of the enterprise; empty = the record is a division's.
    pub code: String,
    /// Name of the enterprise or division.
    pub owner: Text,
    /// What it shows: word of the field and value, in order; what is not filled is left out.
    pub fields: Vec<(String, Text)>,
}

/// These are no lines of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these are not the lines of a certificate")]
pub struct NoCertificate;

impl Said {
    /// What a record's certificate says. `None` = its kind has none, or not in its state.
    #[allow(clippy::too_many_arguments)]
    pub fn of(
        kind: &Kind,
        record: &Record,
        id: &str,
        number: &str,
        code: &str,
        owner: &str,
        key: &str,
        issued_at: Timestamp,
    ) -> Option<Self> {
        let certificate = kind.certificate.as_ref().filter(|c| c.states.contains(&record.state))?;
        let whole = |text: String| Text { text, is_cut: false };
        let shown = |id: &String| Some((id.clone(), whole(worded(kind.field(id)?, record.fields.get(id)?)?)));
        Some(Self {
            key: key.to_owned(),
            kind: kind.id.clone(),
            record: id.to_owned(),
            number: one_line(number),
            issued_at: Timestamp::from_micros(issued_at.micros().div_euclid(1_000_000) * 1_000_000),
            until: certificate.until.as_ref().and_then(|id| record.date(id)),
            code: cut(&one_line(code), CODE_BYTES).0.to_owned(),
            owner: whole(one_line(owner)),
            fields: certificate.shows.iter().filter_map(shown).collect(),
        })
    }

    /// The lines that are signed: long texts cut, and marked so, until all of them have room.
    pub fn lines(&self) -> String {
        let mut most = TEXT_BYTES;
        loop {
            let lines = self.cut_to(most);
            if lines.len() <= BYTES_MAX || most <= TEXT_BYTES_LEAST {
                return lines;
            }
            most = (most - 6).max(TEXT_BYTES_LEAST);
        }
    }

    fn cut_to(&self, most: usize) -> String {
        let until = self.until.map(|day| day.to_string()).unwrap_or_default();
        let head = [&self.key, &self.kind, &self.record, &self.number, &seconds(self.issued_at), &until, &self.code];
        let line = |name: &str, value: &Text| {
            let (text, is_cut) = cut(&value.text, most);
            format!("{name}{}{text}", if is_cut || value.is_cut { '~' } else { '=' })
        };
        let named = std::iter::once(line(OWNER, &self.owner)).chain(self.fields.iter().map(|(id, value)| line(id, value)));
        head.into_iter().cloned().chain(named).collect::<Vec<_>>().join("\n")
    }

    /// What these lines say.
    ///
    /// # Errors
    /// [`NoCertificate`] for anything that [`Said::lines`] does not write.
    pub fn parse(lines: &str) -> Result<Self, NoCertificate> {
        let mut rest = lines.split('\n');
        let mut next = || rest.next().ok_or(NoCertificate);
        let (key, kind, record, number) = (next()?, next()?, next()?, next()?);
        let issued_at = Timestamp::parse(next()?).map_err(|_| NoCertificate)?;
        let until = match next()? {
            "" => None,
            day => Some(day.parse::<Date>().map_err(|_| NoCertificate)?),
        };
        let code = next()?;
        let named = |line: &str| {
            let at = line.find(['=', '~'])?;
            let value = Text { text: line[at + 1..].to_owned(), is_cut: line[at..].starts_with('~') };
            (at > 0).then(|| (line[..at].to_owned(), value))
        };
        let (name, owner) = named(next()?).ok_or(NoCertificate)?;
        let fields = rest.map(named).collect::<Option<Vec<_>>>().ok_or(NoCertificate)?;
        let is_id = key.len() == 16 && key.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_id || name != OWNER || kind.is_empty() || record.is_empty() || fields.len() > SHOWS_MAX {
            return Err(NoCertificate);
        }
        let [key, kind, record, number, code] = [key, kind, record, number, code].map(str::to_owned);
        Ok(Self { key, kind, record, number, issued_at, until, code, owner, fields })
    }
}

/// RFC 3339 in UTC without fractions.
fn seconds(at: Timestamp) -> String {
    let text = at.to_string();
    match text.get(..19) {
        Some(whole) => format!("{whole}Z"),
        None => text,
    }
}

/// A value as people read it on paper; Chinese names of choices. `None` for what a certificate does not show.
fn worded(field: &Field, value: &Value) -> Option<String> {
    match (&field.of, value) {
        (FieldType::Choice { choices }, Value::Text(id)) => {
            Some(choices.iter().find(|c| c.id == *id).map_or_else(|| one_line(id), |c| one_line(&c.name)))
        }
        (FieldType::Text { .. }, Value::Text(text)) => Some(one_line(text)),
        (FieldType::Date, Value::Date(date)) => Some(date.to_string()),
        (FieldType::DateTime, Value::DateTime(at)) => Some(super::minute_of(*at).replace('T', " ")),
        (FieldType::Number { unit, .. }, Value::Number(n)) => {
            let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
            let plain = format!("{n}{unit}");
            Some(if plain.len() <= NUMBER_BYTES { plain } else { cut(&format!("{n:e}{unit}"), NUMBER_BYTES).0.to_owned() })
        }
        _ => None,
    }
}

/// Without ends of lines and other characters that cannot be seen.
fn one_line(text: &str) -> String {
    let seen = text.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty());
    seen.collect::<Vec<_>>().join(" ")
}

/// At most so many bytes, no character halved; whether something is gone.
fn cut(text: &str, most: usize) -> (&str, bool) {
    match text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= most).last() {
        Some(end) => (&text[..end], end < text.len()),
        None => ("", !text.is_empty()),
    }
}
