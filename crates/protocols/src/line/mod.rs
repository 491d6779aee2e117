//! InfluxDB line protocol: text to points of one number each.
//!
//! A good line is kept whatever its neighbours look like; what is refused is named by line and column. Never reads a clock: a
//! point without a time has none. Never writes line protocol. Start at [`parse`]; people start at [`decode_human`].
//!
//! Source: InfluxData, "Line protocol reference" for InfluxDB 1.8 and 2.7 (element order, escapes, number suffixes, precisions).
//! The mapping to point codes is ours (INTERFACES, HTTP ingest); what we leave out is in `protocol.toml`.

use std::fmt::Write as _;

use anlan_model::Timestamp;
use memchr::{memchr, memchr2};
use serde_json::json;

/// Longest line, bytes, line breaks inside quoted text included.
pub const LINE_MAX: usize = 64 * 1024;
/// Longest point code, characters.
pub const CODE_CHARS_MAX: usize = 200;
/// Points taken from one body; the rest of the body is refused line by line.
pub const POINTS_MAX: usize = 100_000;
/// Errors described from one body; the rest is only counted in [`Parsed::n_bad_lines`].
pub const ERRORS_MAX: usize = 100;
/// Tags on one line.
const TAGS_MAX: usize = 64;

/// The unit of the timestamps in a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // units of time need no more words
pub enum Precision {
    #[default]
    Nanoseconds,
    Microseconds,
    Milliseconds,
    Seconds,
    Minutes,
    Hours,
}

impl Precision {
    /// The word of the `precision` parameter, of either API version; empty is nanoseconds. `None` for any other word.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "" | "n" | "ns" => Self::Nanoseconds,
            // Both the micro sign and the Greek letter are in use.
            "u" | "us" | "\u{b5}" | "\u{b5}s" | "\u{3bc}" | "\u{3bc}s" => Self::Microseconds,
            "ms" => Self::Milliseconds,
            "s" => Self::Seconds,
            "m" => Self::Minutes,
            "h" => Self::Hours,
            _ => return None,
        })
    }
    /// `value` of this unit since 1970 as an instant; `None` outside what the model can hold. Nanoseconds are cut to microseconds.
    pub fn instant(self, value: i64) -> Option<Timestamp> {
        let us = match self {
            Self::Nanoseconds => value.div_euclid(1_000),
            Self::Microseconds => value,
            Self::Milliseconds => value.checked_mul(1_000)?,
            Self::Seconds => value.checked_mul(1_000_000)?,
            Self::Minutes => value.checked_mul(60_000_000)?,
            Self::Hours => value.checked_mul(3_600_000_000)?,
        };
        (Timestamp::MIN.micros()..=Timestamp::MAX.micros()).contains(&us).then(|| Timestamp::from_micros(us))
    }
}

/// One number of one field.
#[derive(Clone, Debug, PartialEq)]
pub struct LinePoint {
    /// `measurement[,tag=value … sorted, without device][.field]`, escapes removed; no `.field` if the field is `value`.
    pub code: String,
    /// The tag `device`, for gateway credentials.
    pub device_tag: Option<String>,
    /// The line's time; `None` if it has none.
    pub at: Option<Timestamp>,
    /// Finite. Integers beyond 2^53 are rounded to the nearest f64; true is 1, false is 0.
    pub value: f64,
    /// The line it stands on, from 1.
    pub line: usize,
}

/// What a body says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// In the order of the body.
    pub points: Vec<LinePoint>,
    /// Text fields, left out as Anlan keeps numbers.
    pub ignored: usize,
    /// Why lines were left out, at most [`ERRORS_MAX`].
    pub errors: Vec<LineError>,
    /// All lines left out.
    pub n_bad_lines: usize,
}

/// Why a line was left out; all of it, also its good fields.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct LineError {
    /// From 1; a line with breaks inside quoted text counts where it begins.
    pub line: usize,
    /// From 1, in bytes.
    pub column: usize,
    /// What is wrong.
    pub reason: LineFault,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[allow(missing_docs)] // the texts say it
pub enum LineFault {
    #[error("not utf-8")]
    Utf8,
    #[error("line is longer than 65536 bytes")]
    TooLong,
    #[error("measurement is missing")]
    Measurement,
    #[error("tag needs key=value, neither empty")]
    Tag,
    #[error("tag is given twice")]
    TagRepeated,
    #[error("more than 64 tags")]
    TooManyTags,
    #[error("fields are missing")]
    NoFields,
    #[error("field needs key=value, neither empty")]
    Field,
    #[error("value is neither a number, nor true or false, nor quoted text")]
    Value,
    #[error("number is out of range")]
    Range,
    #[error("quoted text does not end")]
    Quote,
    #[error("timestamp is not a whole number")]
    Timestamp,
    #[error("timestamp is out of range; is the precision right?")]
    TimestampRange,
    #[error("something follows the timestamp")]
    Trailing,
    #[error("point code is longer than 200 characters")]
    CodeTooLong,
    #[error("point code has a control character")]
    CodeControl,
    #[error("more than 100000 points in one body")]
    TooManyPoints,
}

impl LineFault {
    /// A stable word for logs, metrics and `anlan decode`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Utf8 => "utf8",
            Self::TooLong => "line_too_long",
            Self::Measurement => "measurement",
            Self::Tag => "tag",
            Self::TagRepeated => "tag_repeated",
            Self::TooManyTags => "too_many_tags",
            Self::NoFields => "no_fields",
            Self::Field => "field",
            Self::Value => "value",
            Self::Range => "value_range",
            Self::Quote => "quote",
            Self::Timestamp => "timestamp",
            Self::TimestampRange => "timestamp_range",
            Self::Trailing => "trailing",
            Self::CodeTooLong => "code_too_long",
            Self::CodeControl => "code_control",
            Self::TooManyPoints => "too_many_points",
        }
    }
}

/// A line of numbers alone, without escapes or text, cut into its parts but not understood.
#[derive(Debug, Default)]
pub struct Plain<'a> {
    /// Measurement and tags as written.
    pub series: &'a [u8],
    /// The fields' names as written, with their values.
    pub fields: Vec<(&'a [u8], f64)>,
    /// As [`LinePoint::at`].
    pub at: Option<Timestamp>,
    /// The line, from 1.
    pub line: usize,
}

/// Somebody who remembers what a series means, so that its names need not be read again: the same bytes mean the same points.
pub trait Known {
    /// Takes the line, or says `false`: then it is read word by word.
    fn take(&mut self, line: &Plain<'_>) -> bool;
    /// What a line that was not taken means: one point per field, in the order of the fields.
    fn learn(&mut self, line: &Plain<'_>, points: &[LinePoint]);
}

struct Nobody;

impl Known for Nobody {
    fn take(&mut self, _: &Plain<'_>) -> bool {
        false
    }
    fn learn(&mut self, _: &Plain<'_>, _: &[LinePoint]) {}
}

/// Reads a whole body of line protocol. Never fails as a whole: see [`Parsed::errors`].
///
/// Cost: one pass, plus one more over a quoted text that does not end.
pub fn parse(body: impl AsRef<[u8]>, precision: Precision) -> Parsed {
    parse_with(body, precision, &mut Nobody)
}

/// Like [`parse`], but lines that `known` takes do not come out of it.
pub fn parse_with(body: impl AsRef<[u8]>, precision: Precision, known: &mut impl Known) -> Parsed {
    let body = body.as_ref();
    let mut parsed = Parsed::default();
    let mut plain = Plain::default();
    let (mut at, mut line_no) = (0_usize, 1_usize);
    while let Some(rest) = body.get(at..).filter(|rest| !rest.is_empty()) {
        let length = plain.read(rest, precision, line_no);
        if let Some(length) = length
            && known.take(&plain)
        {
            line_no = line_no.saturating_add(1);
            at = at.saturating_add(length).saturating_add(1);
            continue;
        }
        let before = parsed.points.len();
        let ignored = parsed.ignored;
        let mut line = Line { bytes: rest, at: 0 };
        let outcome = line.read(precision, line_no, &mut parsed);
        let used = match outcome {
            Ok(()) => {
                let points = parsed.points.get(before..).unwrap_or_default();
                if length.is_some() && points.len() == plain.fields.len() {
                    known.learn(&plain, points);
                }
                line.at
            }
            Err(reason) => {
                // Only up to the next line break: a quote that does not end must not take good lines with it.
                let column = line.at.saturating_add(1);
                parsed.points.truncate(before);
                parsed.ignored = ignored;
                parsed.n_bad_lines = parsed.n_bad_lines.saturating_add(1);
                if parsed.errors.len() < ERRORS_MAX {
                    parsed.errors.push(LineError { line: line_no, column, reason });
                }
                rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len())
            }
        };
        let breaks = rest.get(..used).unwrap_or_default().iter().filter(|b| **b == b'\n').count();
        line_no = line_no.saturating_add(breaks).saturating_add(1);
        // `used` stops before the line break.
        at = at.saturating_add(used).saturating_add(1);
    }
    parsed
}

impl<'a> Plain<'a> {
    /// Cuts the first line of `rest` and returns its length without the line break; `None` if it is not plain, good or not.
    fn read(&mut self, rest: &'a [u8], precision: Precision, line: usize) -> Option<usize> {
        let length = memchr(b'\n', rest).unwrap_or(rest.len());
        let text = rest.get(..length).filter(|text| text.len() <= LINE_MAX)?;
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if memchr2(b'\\', b'"', text).is_some() || matches!(text.first()?, b' ' | b'\t' | b'#') {
            return None;
        }
        let (series, rest) = text.split_at_checked(memchr(b' ', text)?)?;
        let rest = rest.get(1..)?;
        let (fields, at) = match memchr(b' ', rest).and_then(|gap| rest.split_at_checked(gap)) {
            None => (rest, None),
            Some((fields, time)) => (fields, Some(precision.instant(whole(time.get(1..)?)?)?)),
        };
        self.fields.clear();
        for field in fields.split(|b| *b == b',') {
            let (name, value) = field.split_at_checked(memchr(b'=', field)?)?;
            self.fields.push((name, quick_number(value.get(1..)?)?));
        }
        (self.series, self.at, self.line) = (series, at, line);
        Some(length)
    }
}

/// A whole number of at most 19 digits.
fn whole(text: &[u8]) -> Option<i64> {
    let (digits, negative) = text.strip_prefix(b"-").map_or((text, false), |digits| (digits, true));
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    let mut value = 0_i64;
    for byte in digits {
        let digit = byte.checked_sub(b'0').filter(|d| *d <= 9)?;
        value = value.checked_mul(10)?.checked_add(i64::from(digit))?;
    }
    Some(if negative { value.checked_neg()? } else { value })
}

/// [`number`], fast for short decimals.
///
/// Up to 15 digits are a whole number below 2^53 over a power of ten below 10^22: both exact, so their quotient is the nearest double
/// (Clinger, "How to read floating point numbers accurately", 1990).
fn quick_number(text: &[u8]) -> Option<f64> {
    const POW10: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    let (digits, negative) = text.strip_prefix(b"-").map_or((text, false), |digits| (digits, true));
    let (mut mantissa, mut n_digits, mut decimals, mut point) = (0_u64, 0_usize, 0_usize, false);
    for byte in digits {
        match byte {
            b'0'..=b'9' => {
                mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(*byte & 0x0f));
                n_digits = n_digits.saturating_add(1);
                decimals = decimals.saturating_add(usize::from(point));
            }
            b'.' if !point => point = true,
            _ => return number(std::str::from_utf8(text).ok()?).ok(),
        }
    }
    match POW10.get(decimals) {
        Some(by) if (1..=15).contains(&n_digits) => {
            let value = mantissa as f64 / by;
            Some(if negative { -value } else { value })
        }
        _ => number(std::str::from_utf8(text).ok()?).ok(),
    }
}

/// A cursor over one line (and what follows it). It stops at the line break, or where a line is wrong.
struct Line<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Line<'_> {
    fn read(&mut self, precision: Precision, line_no: usize, parsed: &mut Parsed) -> Result<(), LineFault> {
        self.skip_blanks();
        match self.peek() {
            None => return Ok(()),
            Some(b'#') => {
                self.at = self.bytes.iter().position(|b| *b == b'\n').unwrap_or(self.bytes.len());
                return Ok(());
            }
            Some(_) => {}
        }
        let measurement = self.text(b",", LineFault::Measurement)?;
        let (mut tags, mut device_tag) = (Vec::new(), None);
        while self.peek() == Some(b',') {
            let start = self.at;
            self.step();
            let key = self.text(b"=", LineFault::Tag)?;
            if self.peek() != Some(b'=') {
                return Err(LineFault::Tag);
            }
            self.step();
            let value = self.text(b",", LineFault::Tag)?;
            let repeated = tags.iter().any(|(have, _)| *have == key) || (key == "device" && device_tag.is_some());
            if repeated || tags.len() >= TAGS_MAX {
                self.at = start;
                return Err(if repeated { LineFault::TagRepeated } else { LineFault::TooManyTags });
            }
            if key == "device" {
                device_tag = Some(value);
            } else {
                tags.push((key, value));
            }
        }
        tags.sort();
        let mut stem = measurement;
        for (key, value) in &tags {
            let _ = write!(stem, ",{key}={value}");
        }
        self.skip_blanks();
        if self.peek().is_none() {
            return Err(LineFault::NoFields);
        }
        let first = parsed.points.len();
        loop {
            let start = self.at;
            let key = self.text(b"=", LineFault::Field)?;
            if self.peek() != Some(b'=') {
                return Err(LineFault::Field);
            }
            self.step();
            match self.value()? {
                None => parsed.ignored = parsed.ignored.saturating_add(1),
                Some(value) => {
                    let code = if key == "value" { stem.clone() } else { format!("{stem}.{key}") };
                    let fault = if code.chars().count() > CODE_CHARS_MAX {
                        Some(LineFault::CodeTooLong)
                    } else if code.chars().any(char::is_control) {
                        Some(LineFault::CodeControl)
                    } else if parsed.points.len() >= POINTS_MAX {
                        Some(LineFault::TooManyPoints)
                    } else {
                        None
                    };
                    if let Some(fault) = fault {
                        self.at = start;
                        return Err(fault);
                    }
                    parsed.points.push(LinePoint { code, device_tag: device_tag.clone(), at: None, value, line: line_no });
                }
            }
            if self.peek() != Some(b',') {
                break;
            }
            self.step();
        }
        let at = self.timestamp(precision)?;
        for point in parsed.points.iter_mut().skip(first) {
            point.at = at;
        }
        Ok(())
    }

    /// The byte here; `None` at the end of the line, which a carriage return may announce.
    fn peek(&self) -> Option<u8> {
        match *self.bytes.get(self.at)? {
            b'\n' => None,
            b'\r' if matches!(self.bytes.get(self.at.saturating_add(1)), None | Some(b'\n')) => None,
            byte => Some(byte),
        }
    }
    fn step(&mut self) {
        self.at = self.at.saturating_add(1);
    }
    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.step();
        }
    }
    /// A name up to a blank, the end or one of `stops`, escapes removed. A backslash before anything else stands for itself.
    fn text(&mut self, stops: &[u8], empty: LineFault) -> Result<String, LineFault> {
        let start = self.at;
        let rest = self.bytes.get(start..).unwrap_or_default();
        let end = rest.iter().position(|b| matches!(b, b' ' | b'\n' | b'\r' | b'\\') || stops.contains(b)).unwrap_or(rest.len());
        // Bytes that can only stand for themselves.
        let mut text = rest.get(..end).unwrap_or_default().to_vec();
        self.at = start.saturating_add(end);
        while let Some(byte) = self.peek() {
            if byte == b' ' || stops.contains(&byte) {
                break;
            }
            self.step();
            match self.peek() {
                Some(next @ (b',' | b'=' | b' ')) if byte == b'\\' => {
                    text.push(next);
                    self.step();
                }
                _ => text.push(byte),
            }
        }
        if self.at > LINE_MAX {
            return Err(LineFault::TooLong);
        }
        if text.is_empty() {
            return Err(empty);
        }
        String::from_utf8(text).map_err(|_| {
            self.at = start;
            LineFault::Utf8
        })
    }
    /// A field's value; `None` for text.
    fn value(&mut self) -> Result<Option<f64>, LineFault> {
        if self.peek() == Some(b'"') {
            return self.quoted().map(|()| None);
        }
        let start = self.at;
        let word = self.word(b',')?;
        let value = number(word);
        if value.is_err() {
            self.at = start;
        }
        value.map(Some)
    }
    /// Skips quoted text, which may hold line breaks.
    fn quoted(&mut self) -> Result<(), LineFault> {
        let start = self.at;
        self.step();
        while let Some(byte) = self.bytes.get(self.at).filter(|_| self.at <= LINE_MAX) {
            self.step();
            match byte {
                b'"' => {
                    let text = self.bytes.get(start..self.at).unwrap_or_default();
                    return std::str::from_utf8(text).map(|_| ()).map_err(|_| {
                        self.at = start;
                        LineFault::Utf8
                    });
                }
                b'\\' => self.step(),
                _ => {}
            }
        }
        let fault = if self.at > LINE_MAX { LineFault::TooLong } else { LineFault::Quote };
        self.at = start;
        Err(fault)
    }
    /// The bytes up to a blank, the end or `stop`.
    fn word(&mut self, stop: u8) -> Result<&str, LineFault> {
        let start = self.at;
        while self.peek().is_some_and(|b| b != b' ' && b != b'\t' && b != stop) {
            self.step();
            if self.at > LINE_MAX {
                return Err(LineFault::TooLong);
            }
        }
        std::str::from_utf8(self.bytes.get(start..self.at).unwrap_or_default()).map_err(|_| LineFault::Utf8)
    }
    fn timestamp(&mut self, precision: Precision) -> Result<Option<Timestamp>, LineFault> {
        if !matches!(self.peek(), None | Some(b' ' | b'\t')) {
            return Err(LineFault::Value);
        }
        self.skip_blanks();
        if self.peek().is_none() {
            self.end();
            return Ok(None);
        }
        let start = self.at;
        let word = self.word(b' ')?;
        let digits = word.strip_prefix('-').unwrap_or(word);
        let at = if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            Err(LineFault::Timestamp)
        } else {
            word.parse().ok().and_then(|value| precision.instant(value)).ok_or(LineFault::TimestampRange)
        };
        let at = at.inspect_err(|_| self.at = start)?;
        self.skip_blanks();
        if self.peek().is_some() {
            return Err(LineFault::Trailing);
        }
        self.end();
        Ok(Some(at))
    }
    /// From the end of the line's text to its line break.
    fn end(&mut self) {
        if self.bytes.get(self.at) == Some(&b'\r') {
            self.step();
        }
    }
}

fn number(word: &str) -> Result<f64, LineFault> {
    match word {
        "t" | "T" | "true" | "True" | "TRUE" => return Ok(1.0),
        "f" | "F" | "false" | "False" | "FALSE" => return Ok(0.0),
        "" => return Err(LineFault::Field),
        _ => {}
    }
    let digits_only = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if let Some(whole) = word.strip_suffix('i') {
        if !digits_only(whole.strip_prefix('-').unwrap_or(whole)) {
            return Err(LineFault::Value);
        }
        // Going through i64 checks the range; `as` rounds to the nearest f64, ties to even.
        return whole.parse::<i64>().map(|n| n as f64).map_err(|_| LineFault::Range);
    }
    if let Some(whole) = word.strip_suffix('u') {
        if !digits_only(whole) {
            return Err(LineFault::Value);
        }
        return whole.parse::<u64>().map(|n| n as f64).map_err(|_| LineFault::Range);
    }
    // Rust would also read `inf`, `nan` and a leading plus, none of which is line protocol.
    if !word.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E')) || word.starts_with('+') {
        return Err(LineFault::Value);
    }
    let value: f64 = word.parse().map_err(|_| LineFault::Value)?;
    if value.is_finite() { Ok(value) } else { Err(LineFault::Range) }
}

/// Explains line protocol to people: each point, each refused line. Times are read as nanoseconds.
pub fn decode_human(text: &str) -> String {
    let parsed = parse(text, Precision::Nanoseconds);
    let mut out = String::new();
    for p in &parsed.points {
        let at = p.at.map_or_else(|| "no time".to_owned(), |at| at.to_string());
        let device = p.device_tag.as_deref().map(|d| format!(" (device {d})")).unwrap_or_default();
        let _ = writeln!(out, "line {}: {}{device} = {} at {at}", p.line, p.code, p.value);
    }
    for error in &parsed.errors {
        let _ = writeln!(out, "{error}");
    }
    let _ = writeln!(out, "{} points, {} text fields ignored, {} lines refused", parsed.points.len(), parsed.ignored, parsed.n_bad_lines);
    out
}

/// Decodes one line of `anlan decode line --jsonl`: `{"id"?,"text"|"hex","precision"?}`, the text being a body of one or more lines.
///
/// Out: `{"id","line","ok","frames","defects"}`; a frame is `{"code","device","at","value","line"}`, a defect has its `line` and byte
/// `column` within the text, `at` counting from 0 like everywhere. `ok`: at least one line is good.
pub fn decode_jsonl_line(line: &str, line_no: u64) -> String {
    let input: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    let id = input.get("id").cloned().unwrap_or_default();
    let answer = |ok: bool, frames: Vec<serde_json::Value>, defects: Vec<serde_json::Value>, ignored: usize| {
        json!({"id": id, "line": line_no, "ok": ok, "frames": frames, "ignored": ignored, "defects": defects}).to_string()
    };
    let refuse = |code: &str| answer(false, Vec::new(), vec![json!({"code": code, "at": 0})], 0);
    if !input.is_object() {
        return refuse("invalid_json");
    }
    let word = |key: &str| input.get(key).and_then(serde_json::Value::as_str);
    let Some(precision) = Precision::parse(word("precision").unwrap_or("")) else { return refuse("precision") };
    let body = match (word("text"), word("hex").map(crate::wire::unhex)) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (None, Some(Ok((bytes, false)))) => bytes,
        (None, Some(_)) => return refuse("invalid_hex"),
        (None, None) => return refuse("no_bytes"),
    };
    let parsed = parse(&body, precision);
    let frame = |p: &LinePoint| json!({"code": p.code, "device": p.device_tag, "at": p.at.map(|at| at.to_string()), "value": p.value, "line": p.line});
    let defect = |e: &LineError| json!({"code": e.reason.code(), "at": e.column.saturating_sub(1), "line": e.line, "column": e.column, "reason": e.reason.to_string()});
    let ok = !parsed.points.is_empty() || parsed.ignored > 0;
    answer(ok, parsed.points.iter().map(frame).collect(), parsed.errors.iter().map(defect).collect(), parsed.ignored)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The points of `text` as `code@micros=value`, the errors as `line:column fault`.
    fn read(text: &str, precision: Precision) -> Vec<String> {
        let parsed = parse(text, precision);
        let points = parsed.points.iter().map(|p| {
            let at = p.at.map_or_else(|| "-".to_owned(), |at| at.micros().to_string());
            format!("{}@{at}={}", p.code, p.value)
        });
        let errors = parsed.errors.iter().map(|e| format!("{}:{} {}", e.line, e.column, e.reason.code()));
        points.chain(errors).collect()
    }
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(read(text, Precision::Nanoseconds), expected, "{text:?}");
    }

    /// Knows everything it has seen once, and writes down what it took.
    #[derive(Default)]
    struct Memory {
        codes: std::collections::HashMap<(Vec<u8>, Vec<u8>), LinePoint>,
        taken: Vec<LinePoint>,
    }

    impl Known for Memory {
        fn take(&mut self, line: &Plain<'_>) -> bool {
            let known = |(name, _): &(&[u8], f64)| self.codes.get(&(line.series.to_vec(), name.to_vec())).cloned();
            let Some(points) = line.fields.iter().map(known).collect::<Option<Vec<_>>>() else { return false };
            let values = line.fields.iter().map(|(_, value)| *value);
            self.taken.extend(points.into_iter().zip(values).map(|(p, value)| LinePoint { value, at: line.at, line: line.line, ..p }));
            true
        }
        fn learn(&mut self, line: &Plain<'_>, points: &[LinePoint]) {
            for ((name, _), point) in line.fields.iter().zip(points) {
                self.codes.insert((line.series.to_vec(), name.to_vec()), point.clone());
            }
        }
    }

    /// What is known is read as what is not: the same points, values bit for bit, and the same refusals.
    fn check_known(body: &[u8]) -> usize {
        let precision = Precision::Milliseconds;
        let mut memory = Memory::default();
        let plain = parse(body, precision);
        assert_eq!(parse_with(body, precision, &mut memory).errors, plain.errors);
        memory.taken.clear();
        let again = parse_with(body, precision, &mut memory);
        let n_taken = memory.taken.len();
        let mut all: Vec<_> = memory.taken.into_iter().chain(again.points).collect();
        all.sort_by_key(|p| p.line);
        let show = |points: &[LinePoint]| points.iter().map(|p| format!("{p:?} {:x}", p.value.to_bits())).collect::<Vec<_>>();
        assert_eq!(show(&all), show(&plain.points), "{}", String::from_utf8_lossy(body));
        assert_eq!((again.errors, again.ignored, again.n_bad_lines), (plain.errors, plain.ignored, plain.n_bad_lines));
        n_taken
    }

    #[test]
    fn a_known_series_is_read_without_its_names() {
        let body = "tank,device=GW-7,unit=1 t=1.25,p=-0 17\r\ntank,device=GW-7,unit=1 t=-17.3,p=2i 18\nb value=t\nb value=0.1 -5\n";
        assert_eq!(check_known(body.as_bytes()), 6);
        for odd in [
            "a value=1  5",
            " a value=1",
            "a  value=1",
            "a value=1\t5",
            "a value=1 5 ",
            "a value=1 5 6",
            "a,=1 value=1",
            "a value",
            "a =1",
            "a value=1,",
            "a value=1 x",
            "a value=",
            "a value=1 ",
            "# a value=1",
            "a\\ b value=1",
            "a value=1,s=\"x y=1\"",
            "a,b value=1",
            "a value=1e400",
            "a value=1 9999999999999999999",
            "a value=1 99999999999999999999",
            "a value=1 -",
            ",a=1 value=1",
            "a,b=1,b=2 value=1",
            "a value=1 1\r\r",
            "a value=123456789012345678 1",
            "a value=. 1",
            "a value=1.2.3 1",
            "a value=0.000000000000001 1",
        ] {
            let text = format!("a value=1 1\na,b=1 value=2 1\n{odd}\na value=3 2\n{odd}");
            check_known(text.as_bytes());
        }
        // The nearest double, with and without the short way.
        for value in ["0.3", "-123456.789", "999999999999999", "0.00000000000001", "4.35", "2.675", "-0.0", "00012.50"] {
            let bits = |text: &str| parse_with(text, Precision::default(), &mut Nobody).points[0].value.to_bits();
            let quick = quick_number(value.as_bytes()).map(f64::to_bits);
            assert_eq!(quick, Some(bits(&format!("a value={value}"))), "{value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn known_or_not_makes_no_difference(lines in proptest::collection::vec("(a|b,t=1|a\\\\,|)( |,|=|\t|)(value|t|\"|=)(=)?(-?[0-9]{0,17}(\\.[0-9]{0,4})?|t|1i)( |,t=5 |)([0-9]{0,20})(\r)?", 0..6)) {
            check_known(lines.join("\n").as_bytes());
        }
    }

    #[test]
    fn the_code_is_made_of_measurement_sorted_tags_and_field() {
        check("TI-101 value=12.3 1700000000000000000", &["TI-101@1700000000000000=12.3"]);
        check("tank,site=b,area=a level=1,value=2", &["tank,area=a,site=b.level@-=1", "tank,area=a,site=b@-=2"]);
        check("tank,device=GW-7,unit=1 t=1", &["tank,unit=1.t@-=1"]);
        assert_eq!(parse("tank,device=GW-7 t=1", Precision::default()).points[0].device_tag.as_deref(), Some("GW-7"));
        check(r"my\ tank\,2,t\ a\=g=v\,1 f\=x=1", &[r"my tank,2,t a=g=v,1.f=x@-=1"]);
        check(r"c:\temp value=1", &[r"c:\temp@-=1"]);
        check("罐区,单元=一 液位=3.5", &["罐区,单元=一.液位@-=3.5"]);
    }

    #[test]
    fn numbers_integers_and_booleans_are_values() {
        check(
            "a value=5i,b=7u,c=t,d=FALSE,e=-1.5e3,f=1.,g=.5",
            &["a@-=5", "a.b@-=7", "a.c@-=1", "a.d@-=0", "a.e@-=-1500", "a.f@-=1", "a.g@-=0.5"],
        );
        check("a value=9223372036854775807i", &["a@-=9223372036854776000"]);
        for (bad, column) in [("nan", 9), ("inf", 9), ("+1", 9), ("0x10", 9), ("1e", 9), ("-", 9), ("1i2", 9), ("-1u", 9), ("i", 9)] {
            check(&format!("a value={bad}"), &[&format!("1:{column} value")]);
        }
        for bad in ["1e400", "9223372036854775808i", "18446744073709551616u"] {
            check(&format!("a value={bad}"), &["1:9 value_range"]);
        }
        // The digits of 2^53 + 1 lie exactly between two doubles; the tie goes to the even one.
        assert_eq!(parse("a value=9007199254740993", Precision::default()).points[0].value.to_bits(), 9_007_199_254_740_992_f64.to_bits());
    }

    #[test]
    fn text_is_counted_and_ignored_even_with_line_breaks() {
        let parsed = parse("a s=\"x, y=1 \\\" \n more\",value=2 5\nb value=3", Precision::Microseconds);
        assert_eq!((parsed.points.len(), parsed.ignored, parsed.errors.len()), (2, 1, 0));
        assert_eq!((parsed.points[0].line, parsed.points[1].line), (1, 3));
        assert_eq!(parsed.points[0].at, Some(Timestamp::from_micros(5)));
    }

    #[test]
    fn good_lines_stay_when_others_are_bad() {
        check(
            "a value=1\nb\n\n# comment, x=\"\nc value=2\r\nd value=x\n  e value=3  \n",
            &["a@-=1", "c@-=2", "e@-=3", "2:2 no_fields", "6:9 value"],
        );
        check("a s=\"open\nb value=1\nc value=2", &["b@-=1", "c@-=2", "1:5 quote"]);
        check("a value=1,s=\"open\nb value=1", &["b@-=1", "1:13 quote"]);
        let mut body = b"a value=1\n".to_vec();
        body.extend_from_slice(b"\xff\xfe value=1\nc value=3");
        let parsed = parse(&body, Precision::default());
        assert_eq!((parsed.points.len(), parsed.errors[0].reason), (2, LineFault::Utf8));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        check(",a=1 value=1", &["1:1 measurement"]);
        check("a,b value=1", &["1:4 tag"]);
        check("a,b= value=1", &["1:5 tag"]);
        check("a,=b value=1", &["1:3 tag"]);
        check("a,b=1,b=2 value=1", &["1:6 tag_repeated"]);
        check("a,device=1,device=2 value=1", &["1:11 tag_repeated"]);
        check("a value", &["1:8 field"]);
        check("a =1", &["1:3 field"]);
        check("a value=", &["1:9 field"]);
        check("a value=1,", &["1:11 field"]);
        check("a value=1 12x", &["1:11 timestamp"]);
        check("a value=1 12 13", &["1:14 trailing"]);
        check("a s=\"x\"y", &["1:8 value"]);
        check(&format!("{} value=1", "长".repeat(200)), &[&format!("{}@-=1", "长".repeat(200))]);
        check(&format!("{} value=1", "长".repeat(201)), &["1:605 code_too_long"]);
        check("a\u{7} value=1", &["1:4 code_control"]);
    }

    #[test]
    fn every_precision_is_read_and_out_of_range_is_refused() {
        for (word, us) in [
            ("n", 0_i64),
            ("ns", 0),
            ("u", 7),
            ("us", 7),
            ("µ", 7),
            ("ms", 7_000),
            ("s", 7_000_000),
            ("m", 420_000_000),
            ("h", 25_200_000_000_i64),
        ] {
            assert_eq!(read("a value=1 7", Precision::parse(word).unwrap()), [format!("a@{us}=1")], "{word}");
        }
        assert_eq!(Precision::parse("d"), None);
        check("a value=1 -1", &["a@-1=1"]);
        for (text, precision) in [
            ("9223372036854775807", Precision::Seconds),
            ("253402128000000", Precision::Milliseconds),
            ("99999999999999999999", Precision::Nanoseconds),
        ] {
            assert_eq!(read(&format!("a value=1 {text}"), precision), ["1:11 timestamp_range"]);
        }
    }

    #[test]
    fn limits_hold() {
        let long = format!("a s=\"{}\"\nb value=1", "x".repeat(LINE_MAX));
        let parsed = parse(&long, Precision::default());
        assert_eq!((parsed.points.len(), parsed.errors[0].reason), (1, LineFault::TooLong));
        let many = "a\n".repeat(500);
        let parsed = parse(&many, Precision::default());
        assert_eq!((parsed.errors.len(), parsed.n_bad_lines), (ERRORS_MAX, 500));
    }
}
