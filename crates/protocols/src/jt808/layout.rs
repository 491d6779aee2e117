//! Bodies described as tables: one list of fields reads the bytes, writes them and shows them.
//!
//! What the standard says in rows stands here in rows, so a message or item is added as data and its reader, writer and JSON
//! cannot disagree. Used for everything that the platform passes on or shows but does not judge; the messages it acts upon
//! have types of their own in [`super::message`]. It never guesses: which of several layouts is meant is decided by
//! [`Fits::exactly`], never by configuration. Start at [`Layout`], then [`read`] and [`write`].

use serde_json::{Map, Value as Json, json};

use super::decode::{Defect, POSITION_FIXED, position};
use super::encode::{EncodeError, len_u8, len_u16, put_position};
use super::frame::Version;
use super::message::{Position, time_from_bcd};
use crate::wire::{self, Reader, Truncated};

/// A named sequence of fields.
#[derive(Debug, PartialEq)]
pub struct Layout {
    /// Stable short name, shown in JSON.
    pub name: &'static str,
    /// Whose layout it is where several exist for one id; `None` for JT/T 808 itself.
    pub dialect: Option<&'static str>,
    /// In the order of the wire.
    pub fields: &'static [Field],
}

/// One field of a [`Layout`].
#[derive(Debug, PartialEq)]
pub struct Field {
    /// Stable short name with its unit last, unique within the layout.
    pub name: &'static str,
    /// How it stands on the wire.
    pub kind: Kind,
    /// When it stands there at all.
    pub when: When,
    /// Words for the values of a number, for people.
    pub codes: &'static [(u64, &'static str)],
}

/// How a field stands on the wire.
#[derive(Debug, PartialEq)]
pub enum Kind {
    /// Unsigned, big-endian, of this many bytes (1 to 8).
    Number(usize),
    /// Signed, two bytes.
    Signed16,
    /// Unsigned four bytes, 1e-6 degree.
    Degrees,
    /// Six BCD bytes of Beijing time.
    Time,
    /// The same, or nought for "no limit".
    TimeOrNone,
    /// BCD digits, this many bytes.
    Digits(usize),
    /// Text padded with NUL to this many bytes.
    Text(usize),
    /// The same where the bytes must come back as they were: what is not plain text with NUL behind it is kept as bytes.
    Padded(usize),
    /// Eight bytes, seconds since 1970 UTC.
    Seconds,
    /// Text after its length in this many bytes (1 or 2).
    TextAfter(usize),
    /// Text to the end.
    TextRest,
    /// This many bytes.
    Bytes(usize),
    /// All that is left.
    BytesRest,
    /// The 28 fixed bytes of 0x0200.
    Position,
    /// A 0x0200 body with its items, to the end.
    PositionRest,
    /// A 0x0200 body after its length in this many bytes; what cannot be read as one is kept as bytes.
    PositionAfter(usize),
    /// Another layout, once.
    Group(&'static Layout),
    /// Another layout in a wrapper: its length in one byte, then it.
    Wrapped(&'static Layout),
    /// Another layout, several times.
    List(Count, &'static Layout),
}

/// Where the number of elements of a list stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Count {
    /// In front of the list, in this many bytes.
    Before(usize),
    /// In an earlier field, which the writer fills from the list.
    In(&'static str),
    /// Nowhere: to the end.
    ToTheEnd,
}

/// When a field is on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// Always.
    Always,
    /// If this bit of that earlier field is set.
    Bit(&'static str, u32),
    /// If it is, and the layout is that of 2019.
    Bit2019(&'static str, u32),
    /// In the layout of 2019.
    Since2019,
    /// In the layouts before it.
    Before2019,
    /// If that earlier field has this value.
    Is(&'static str, u64),
    /// If anything is left; the writer puts it if the record has it.
    Left,
}

/// The values of a layout, in order. A field that is not on the wire is not in the record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record(pub Vec<(&'static str, Value)>);

/// One value of a [`Record`].
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Numbers and degrees (1e-6), unsigned as on the wire; a signed one as its 16 bits.
    Number(u64),
    /// Texts.
    Text(String),
    /// Bytes, digits and times as on the wire.
    Bytes(Vec<u8>),
    /// Positions.
    Position(Box<Position>),
    /// Groups.
    Record(Record),
    /// Lists.
    List(Vec<Record>),
}

impl Record {
    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }
    /// The value of a numeric field.
    pub fn number(&self, name: &str) -> Option<u64> {
        if let Some(Value::Number(n)) = self.get(name) { Some(*n) } else { None }
    }
    /// The value of a text field.
    pub fn text(&self, name: &str) -> Option<&str> {
        if let Some(Value::Text(text)) = self.get(name) { Some(text) } else { None }
    }
}

impl Layout {
    pub(crate) const fn new(name: &'static str, fields: &'static [Field]) -> Self {
        Self { name, dialect: None, fields }
    }
    pub(crate) const fn of(dialect: &'static str, name: &'static str, fields: &'static [Field]) -> Self {
        Self { name, dialect: Some(dialect), fields }
    }
}

impl Field {
    pub(crate) const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, when: When::Always, codes: &[] }
    }
    pub(crate) const fn when(self, when: When) -> Self {
        Self { when, ..self }
    }
    pub(crate) const fn codes(self, codes: &'static [(u64, &'static str)]) -> Self {
        Self { codes, ..self }
    }
}

// Short constructors: the tables are read by people, row by row.
pub(crate) const fn u8(name: &'static str) -> Field {
    Field::new(name, Kind::Number(1))
}
pub(crate) const fn u16(name: &'static str) -> Field {
    Field::new(name, Kind::Number(2))
}
pub(crate) const fn u32(name: &'static str) -> Field {
    Field::new(name, Kind::Number(4))
}
pub(crate) const fn u64(name: &'static str) -> Field {
    Field::new(name, Kind::Number(8))
}
pub(crate) const fn time(name: &'static str) -> Field {
    Field::new(name, Kind::Time)
}
pub(crate) const fn time_or_none(name: &'static str) -> Field {
    Field::new(name, Kind::TimeOrNone)
}
pub(crate) const fn degrees(name: &'static str) -> Field {
    Field::new(name, Kind::Degrees)
}
pub(crate) const fn text(name: &'static str, n_bytes: usize) -> Field {
    Field::new(name, Kind::Text(n_bytes))
}
pub(crate) const fn padded(name: &'static str, n_bytes: usize) -> Field {
    Field::new(name, Kind::Padded(n_bytes))
}
pub(crate) const fn seconds(name: &'static str) -> Field {
    Field::new(name, Kind::Seconds)
}
pub(crate) const fn text_after(name: &'static str, width: usize) -> Field {
    Field::new(name, Kind::TextAfter(width))
}
pub(crate) const fn bytes(name: &'static str, n_bytes: usize) -> Field {
    Field::new(name, Kind::Bytes(n_bytes))
}
pub(crate) const fn list(name: &'static str, count: Count, of: &'static Layout) -> Field {
    Field::new(name, Kind::List(count, of))
}

/// Reads a layout. Every field that is not as it should be leaves a defect; `r.at()` is where the defects count from.
///
/// # Errors
/// [`Truncated`] if a field outside a list does not fit. A list that is cut keeps its whole elements and leaves a defect.
pub fn read(layout: &Layout, version: Version, r: &mut Reader<'_>, defects: &mut Vec<Defect>) -> Result<Record, Truncated> {
    let mut record = Record(Vec::with_capacity(layout.fields.len()));
    for field in layout.fields {
        if present(field.when, version, &record, !r.is_empty()) {
            let value = read_value(&field.kind, version, &record, r, defects)?;
            record.0.push((field.name, value));
        }
    }
    Ok(record)
}

pub(super) fn present(when: When, version: Version, record: &Record, left: bool) -> bool {
    let modern = version == Version::V2019;
    let bit = |name: &str, bit: u32| record.number(name).is_some_and(|n| n >> bit & 1 == 1);
    match when {
        When::Always => true,
        When::Bit(name, n) => bit(name, n),
        When::Bit2019(name, n) => modern && bit(name, n),
        When::Since2019 => modern,
        When::Before2019 => !modern,
        When::Is(name, value) => record.number(name) == Some(value),
        When::Left => left,
    }
}

fn number(r: &mut Reader<'_>, width: usize) -> Result<u64, Truncated> {
    Ok(r.take(width)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

fn read_value(kind: &Kind, version: Version, before: &Record, r: &mut Reader<'_>, defects: &mut Vec<Defect>) -> Result<Value, Truncated> {
    let at = r.at();
    Ok(match kind {
        Kind::Number(width) => Value::Number(number(r, *width)?),
        Kind::Signed16 => Value::Number(number(r, 2)?),
        Kind::Degrees => Value::Number(number(r, 4)?),
        Kind::Time | Kind::TimeOrNone => {
            let bcd = r.array()?;
            if time_from_bcd(bcd).is_none() && !(*kind == Kind::TimeOrNone && bcd == [0; 6]) {
                defects.push(Defect { code: "time", at });
            }
            Value::Bytes(bcd.to_vec())
        }
        Kind::Digits(n) | Kind::Bytes(n) => Value::Bytes(r.take(*n)?.to_vec()),
        Kind::Text(n) => Value::Text(r.text(*n)?),
        Kind::Padded(n) => {
            let bytes = r.take(*n)?;
            let text = wire::text(bytes);
            if wire::text_field(&text, *n) == bytes { Value::Text(text) } else { Value::Bytes(bytes.to_vec()) }
        }
        Kind::Seconds => Value::Number(number(r, 8)?),
        Kind::PositionAfter(width) => {
            let mut ahead = r.clone();
            let n = usize::try_from(number(&mut ahead, *width)?).unwrap_or(usize::MAX);
            let base = ahead.at();
            let bytes = ahead.take(n)?;
            *r = ahead;
            let mut found = Vec::new();
            let read = inner_position(bytes, base, &mut found);
            defects.extend(found);
            match read {
                Ok(position) if position_bytes(&position) == bytes => Value::Position(Box::new(position)),
                _ => {
                    defects.push(Defect { code: "position", at: base });
                    Value::Bytes(bytes.to_vec())
                }
            }
        }
        Kind::TextAfter(width) => {
            let mut ahead = r.clone();
            let n = usize::try_from(number(&mut ahead, *width)?).unwrap_or(usize::MAX);
            let text = ahead.text(n)?;
            *r = ahead;
            Value::Text(text)
        }
        Kind::TextRest => Value::Text(wire::text(r.rest())),
        Kind::BytesRest => Value::Bytes(r.rest().to_vec()),
        Kind::Position => {
            let fixed = r.take(POSITION_FIXED)?;
            Value::Position(Box::new(inner_position(fixed, at, defects)?))
        }
        Kind::PositionRest => Value::Position(Box::new(inner_position(r.rest(), at, defects)?)),
        Kind::Group(layout) => Value::Record(read(layout, version, r, defects)?),
        Kind::Wrapped(layout) => {
            let mut ahead = r.clone();
            let n = usize::from(ahead.u8()?);
            let mut inner = Reader::new(ahead.take(n)?);
            let mut found = Vec::new();
            let record = read(layout, version, &mut inner, &mut found)?;
            let base = at.saturating_add(1);
            if !inner.is_empty() {
                found.push(Defect { code: "item_length", at: inner.at() });
            }
            defects.extend(found.into_iter().map(|d| Defect { at: base.saturating_add(d.at), ..d }));
            *r = ahead;
            Value::Record(record)
        }
        Kind::List(count, layout) => {
            let n = match count {
                Count::Before(width) => Some(number(r, *width)?),
                Count::In(name) => before.number(name),
                Count::ToTheEnd => None,
            };
            Value::List(read_list(layout, n, version, r, defects))
        }
    })
}

fn position_bytes(position: &Position) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_position(&mut bytes, position);
    bytes
}

fn inner_position(bytes: &[u8], base: usize, defects: &mut Vec<Defect>) -> Result<Position, Truncated> {
    let mut found = Vec::new();
    let position = position(&mut Reader::new(bytes), &mut found)?;
    defects.extend(found.into_iter().map(|d| Defect { at: base.saturating_add(d.at), ..d }));
    Ok(position)
}

/// `n` elements, or all to the end. An announced number of millions costs no more than the bytes that are there.
fn read_list(layout: &Layout, n: Option<u64>, version: Version, r: &mut Reader<'_>, defects: &mut Vec<Defect>) -> Vec<Record> {
    let mut list = Vec::new();
    while n.is_none_or(|n| (list.len() as u64) < n) && !r.is_empty() {
        let at = r.at();
        let mut ahead = r.clone();
        match read(layout, version, &mut ahead, defects) {
            // An element of no bytes would never end.
            Ok(_) if ahead.at() == at => break,
            Ok(record) => list.push(record),
            Err(_) => {
                defects.push(Defect { code: "item_truncated", at });
                r.rest();
                return list;
            }
        }
        *r = ahead;
    }
    if n.is_some_and(|n| list.len() as u64 != n) {
        defects.push(Defect { code: "count", at: r.at() });
    }
    list
}

/// Whether bytes are of a layout.
pub(crate) struct Fits {
    /// What was read.
    pub record: Record,
    /// What was wrong.
    pub defects: Vec<Defect>,
    /// Nothing is left over and no length was wrong. A wrong time or coordinate may be the terminal's fault, not the layout's.
    pub exactly: bool,
}

/// The best of several layouts: one that fits exactly and holds real times, else one that fits exactly, else one that can be
/// read at all; of equals the first.
pub(crate) fn best<'a>(layouts: impl Iterator<Item = (&'a Layout, Version)>, bytes: &[u8]) -> Option<(&'a Layout, Fits)> {
    let mut best: Option<(u8, &Layout, Fits)> = None;
    for (layout, version) in layouts {
        let Some(fits) = fit(layout, version, bytes) else { continue };
        let rank = match (fits.exactly, fits.defects.iter().any(|d| d.code == "time")) {
            (true, false) => return Some((layout, fits)),
            (true, true) => 2,
            (false, _) => 1,
        };
        if best.as_ref().is_none_or(|(held, ..)| rank > *held) {
            best = Some((rank, layout, fits));
        }
    }
    best.map(|(_, layout, fits)| (layout, fits))
}

/// Reads all of `bytes`; `None` if they are too short.
pub(crate) fn fit(layout: &Layout, version: Version, bytes: &[u8]) -> Option<Fits> {
    let mut defects = Vec::new();
    let mut r = Reader::new(bytes);
    let record = read(layout, version, &mut r, &mut defects).ok()?;
    let exactly = r.is_empty() && !defects.iter().any(|d| matches!(d.code, "item_truncated" | "count" | "item_length"));
    if !r.is_empty() {
        defects.push(Defect { code: "trailing", at: r.at() });
    }
    Some(Fits { record, defects, exactly })
}

/// The bytes of a record.
///
/// # Errors
/// [`EncodeError::Field`] if a field of the layout is missing in the record or of another kind; [`EncodeError::Count`] if a
/// text or list is longer than its length field can say.
pub fn write(layout: &Layout, version: Version, record: &Record, b: &mut Vec<u8>) -> Result<(), EncodeError> {
    for field in layout.fields {
        let value = record.get(field.name);
        if field.when == When::Left && value.is_none() {
            continue;
        }
        if !present(field.when, version, record, true) {
            continue;
        }
        // A field that counts a list says what the list holds, whatever the record claims.
        let n_counted = layout.fields.iter().find_map(|f| match (&f.kind, record.get(f.name)) {
            (Kind::List(Count::In(name), _), Some(Value::List(list))) if *name == field.name => Some(list.len()),
            _ => None,
        });
        match (n_counted, &field.kind) {
            (Some(n), Kind::Number(width)) => put_number(b, field.name, n as u64, *width)?,
            _ => {
                let missing = EncodeError::Field { layout: layout.name, field: field.name };
                write_value(field, version, value.ok_or(missing)?, b, layout)?;
            }
        }
    }
    Ok(())
}

fn put_number(b: &mut Vec<u8>, what: &'static str, n: u64, width: usize) -> Result<(), EncodeError> {
    let bytes = n.to_be_bytes();
    let (high, low) = bytes.split_at(bytes.len().saturating_sub(width));
    if high.iter().any(|byte| *byte != 0) {
        let max = (1usize << (width.min(7).saturating_mul(8))).saturating_sub(1);
        return Err(EncodeError::Count { what, len: usize::try_from(n).unwrap_or(usize::MAX), max });
    }
    b.extend(low);
    Ok(())
}

fn write_value(field: &Field, version: Version, value: &Value, b: &mut Vec<u8>, layout: &Layout) -> Result<(), EncodeError> {
    let name = field.name;
    match (&field.kind, value) {
        (Kind::Number(width), Value::Number(n)) => put_number(b, name, *n, *width)?,
        (Kind::Signed16, Value::Number(n)) => put_number(b, name, *n, 2)?,
        (Kind::Degrees, Value::Number(n)) => put_number(b, name, *n, 4)?,
        (Kind::Time | Kind::TimeOrNone, Value::Bytes(bytes)) if bytes.len() == 6 => b.extend(bytes),
        (Kind::Digits(n) | Kind::Bytes(n), Value::Bytes(bytes)) if bytes.len() == *n => b.extend(bytes),
        (Kind::Text(n), Value::Text(text)) => b.extend(wire::text_field(text, *n)),
        (Kind::Padded(n), Value::Text(text)) => b.extend(wire::text_field(text, *n)),
        (Kind::Padded(n), Value::Bytes(bytes)) if bytes.len() == *n => b.extend(bytes),
        (Kind::Seconds, Value::Number(n)) => put_number(b, name, *n, 8)?,
        (Kind::PositionAfter(width), Value::Position(position)) => {
            let bytes = position_bytes(position);
            put_number(b, name, bytes.len() as u64, *width)?;
            b.extend(bytes);
        }
        (Kind::PositionAfter(width), Value::Bytes(bytes)) => {
            put_number(b, name, bytes.len() as u64, *width)?;
            b.extend(bytes);
        }
        (Kind::TextAfter(width), Value::Text(text)) => {
            let bytes = wire::text_bytes(text);
            put_number(b, name, bytes.len() as u64, *width)?;
            b.extend(bytes);
        }
        (Kind::TextRest, Value::Text(text)) => b.extend(wire::text_bytes(text)),
        (Kind::BytesRest, Value::Bytes(bytes)) => b.extend(bytes),
        (Kind::Position | Kind::PositionRest, Value::Position(position)) => put_position(b, position),
        (Kind::Group(of), Value::Record(record)) => write(of, version, record, b)?,
        (Kind::Wrapped(of), Value::Record(record)) => {
            let mut inner = Vec::new();
            write(of, version, record, &mut inner)?;
            b.push(len_u8(name, inner.len())?);
            b.extend(inner);
        }
        (Kind::List(count, of), Value::List(list)) => {
            match count {
                Count::Before(1) => b.push(len_u8(name, list.len())?),
                Count::Before(2) => b.extend(len_u16(name, list.len())?.to_be_bytes()),
                Count::Before(width) => put_number(b, name, list.len() as u64, *width)?,
                Count::In(_) | Count::ToTheEnd => {}
            }
            for record in list {
                write(of, version, record, b)?;
            }
        }
        _ => return Err(EncodeError::Field { layout: layout.name, field: name }),
    }
    Ok(())
}

/// A record for people: numbers with their words, degrees as decimals, times in UTC, bytes as hex.
pub(crate) fn record_json(layout: &Layout, record: &Record, position_json: &dyn Fn(&Position) -> Json) -> Map<String, Json> {
    let mut object = Map::new();
    for field in layout.fields {
        let Some(value) = record.get(field.name) else { continue };
        let shown = match (&field.kind, value) {
            (Kind::Degrees, Value::Number(n)) => json!(f64::from(u32::try_from(*n).unwrap_or(u32::MAX)) / 1e6),
            (Kind::Signed16, Value::Number(n)) => json!(u16::try_from(*n).unwrap_or(u16::MAX).cast_signed()),
            (Kind::Seconds, Value::Number(n)) => seconds_json(*n),
            (_, Value::Number(n)) => json!(n),
            (_, Value::Text(text)) => json!(text),
            (Kind::Time | Kind::TimeOrNone, Value::Bytes(bytes)) => {
                let time = <[u8; 6]>::try_from(bytes.as_slice()).ok().and_then(time_from_bcd);
                time.map_or_else(|| json!(wire::hex(bytes)), |t| json!(t.to_string()))
            }
            (Kind::Padded(_), Value::Bytes(bytes)) => padded_json(bytes),
            (_, Value::Bytes(bytes)) => json!(wire::hex(bytes)),
            (_, Value::Position(position)) => position_json(position),
            (Kind::Group(of) | Kind::Wrapped(of), Value::Record(inner)) => Json::Object(record_json(of, inner, position_json)),
            (Kind::List(_, of), Value::List(list)) => list.iter().map(|r| element_json(of, r, position_json)).collect(),
            (_, Value::Record(_) | Value::List(_)) => Json::Null,
        };
        let word = record.number(field.name).and_then(|n| field.codes.iter().find(|(code, _)| *code == n));
        if let Some((_, word)) = word {
            object.insert(format!("{}_name", field.name), json!(word));
        }
        object.insert(field.name.to_owned(), shown);
    }
    object
}

/// Seconds as an instant; beyond the years that exist, the number.
pub(crate) fn seconds_json(seconds: u64) -> Json {
    let micros = i64::try_from(seconds).ok().and_then(|s| s.checked_mul(1_000_000));
    let known = micros.filter(|m| jiff::Timestamp::from_microsecond(*m).is_ok());
    known.map_or_else(|| json!(seconds), |m| json!(anlan_model::Timestamp::from_micros(m).to_string()))
}

/// Text with NUL in front or more behind is shown as the text it holds, other bytes as hex.
fn padded_json(bytes: &[u8]) -> Json {
    let text = wire::text(bytes);
    if text.contains(['\u{fffd}', '\0']) || text.chars().any(char::is_control) { json!(wire::hex(bytes)) } else { json!(text) }
}

/// A list of single values is shown as such, not as objects of one field each.
fn element_json(layout: &Layout, record: &Record, position_json: &dyn Fn(&Position) -> Json) -> Json {
    let mut object = record_json(layout, record, position_json);
    match layout.fields {
        [only] => object.remove(only.name).unwrap_or(Json::Null),
        _ => Json::Object(object),
    }
}
