//! Values of filters: literals, what properties hold, and what operators make of both.

use jiff::civil;

/// A value. Instants are microseconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A number.
    Number(f64),
    /// Text.
    Text(String),
    /// An instant.
    Instant(i64),
    /// From, inclusive, to, exclusive.
    Interval(i64, i64),
    /// Calendar months, and microseconds; a day is 24 hours, all times are UTC.
    Duration {
        /// Years and months.
        months: i64,
        /// Weeks and smaller.
        us: i64,
    },
    /// A day.
    Date(civil::Date),
    /// A time of day.
    Time(civil::Time),
    /// A place.
    Shape(Shape),
    /// Of a JSON list.
    List(Vec<Value>),
    /// Of a JSON object: equal to nothing.
    Object,
}

/// A simple shape in WGS 84, longitude first.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// A point.
    Point([f64; 2]),
    /// At least two points.
    Line(Vec<[f64; 2]>),
    /// One ring without holes, closed.
    Polygon(Vec<[f64; 2]>),
}

impl Value {
    /// The kind of value, for refusals.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "truth",
            Self::Number(_) => "number",
            Self::Text(_) => "text",
            Self::Instant(_) => "instant",
            Self::Interval(..) => "interval",
            Self::Duration { .. } => "duration",
            Self::Date(_) => "date",
            Self::Time(_) => "time of day",
            Self::Shape(_) => "shape",
            Self::List(_) => "list",
            Self::Object => "object",
        }
    }
    /// What JSON holds.
    pub fn of_json(json: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match json {
            Json::Null => Self::Null,
            Json::Bool(b) => Self::Bool(*b),
            Json::Number(n) => n.as_f64().map_or(Self::Null, Self::Number),
            Json::String(s) => Self::Text(s.clone()),
            Json::Array(all) => Self::List(all.iter().map(Self::of_json).collect()),
            Json::Object(_) => Self::Object,
        }
    }
}

/// A literal that begins with a digit, a sign or a `P`: number, instant, day, time of day or interval.
pub(super) fn literal(word: &str) -> Option<Value> {
    if let Some((from, to)) = word.split_once('/') {
        return interval(from, to);
    }
    if word.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+' || c == '.')
        && let Ok(number) = word.parse::<f64>()
    {
        return number.is_finite().then_some(Value::Number(number));
    }
    if let Some(instant) = instant(word) {
        return Some(Value::Instant(instant));
    }
    // Neither `2015-10-14T01:02:03` without an offset nor anything longer: both would be read as something that was not meant.
    if word.len() == 10 {
        return word.parse().ok().map(Value::Date);
    }
    if word.len() <= 15 && word.as_bytes().get(2) == Some(&b':') {
        return word.parse().ok().map(Value::Time);
    }
    None
}

fn instant(word: &str) -> Option<i64> {
    let instant: jiff::Timestamp = word.parse().ok()?;
    Some(instant.as_microsecond())
}

/// `from/to`, either of them a duration.
fn interval(from: &str, to: &str) -> Option<Value> {
    let ends = match (instant(from), instant(to)) {
        (Some(from), Some(to)) => (from, to),
        (Some(from), None) => (from, shifted(from, &duration(to)?, 1)?),
        (None, Some(to)) => (shifted(to, &duration(from)?, -1)?, to),
        (None, None) => return None,
    };
    (ends.0 <= ends.1).then_some(Value::Interval(ends.0, ends.1))
}

/// ISO 8601, such as `P1Y2M3W4DT1H2M3S`.
pub(super) fn duration(text: &str) -> Option<Value> {
    if !text.trim_start_matches('-').starts_with('P') {
        return None;
    }
    let span: jiff::Span = text.parse().ok()?;
    let months = i64::from(span.get_years()).checked_mul(12)?.checked_add(i64::from(span.get_months()))?;
    let days = i64::from(span.get_weeks()).checked_mul(7)?.checked_add(i64::from(span.get_days()))?;
    let seconds = days
        .checked_mul(86_400)?
        .checked_add(i64::from(span.get_hours()).checked_mul(3_600)?)?
        .checked_add(span.get_minutes().checked_mul(60)?)?
        .checked_add(span.get_seconds())?;
    let us = seconds
        .checked_mul(1_000_000)?
        .checked_add(span.get_milliseconds().checked_mul(1_000)?)?
        .checked_add(span.get_microseconds())?
        .checked_add(span.get_nanoseconds() / 1_000)?;
    Some(Value::Duration { months, us })
}

/// An instant so much later, or earlier with `sign` −1.
pub(super) fn shifted(instant: i64, by: &Value, sign: i64) -> Option<i64> {
    let Value::Duration { months, us } = by else { return None };
    let mut instant = instant;
    if *months != 0 {
        let span = jiff::Span::new().try_months(months.checked_mul(sign)?).ok()?;
        let at = jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::from_microsecond(instant).ok()?);
        instant = jiff::tz::Offset::UTC.to_timestamp(at.checked_add(span).ok()?).ok()?.as_microsecond();
    }
    instant.checked_add(us.checked_mul(sign)?)
}

/// `POINT(8 54.1)`, `LINESTRING(…)`, `POLYGON((…))`.
pub(super) fn shape(text: &str) -> Option<Shape> {
    let (name, rest) = text.split_once('(')?;
    let inside = rest.trim_end().strip_suffix(')')?;
    let points = |inside: &str| {
        let point = |pair: &str| {
            let mut numbers = pair.split_whitespace().map(str::parse::<f64>);
            let (Some(Ok(x)), Some(Ok(y)), None) = (numbers.next(), numbers.next(), numbers.next()) else { return None };
            (x.is_finite() && y.is_finite()).then_some([x, y])
        };
        inside.split(',').map(point).collect::<Option<Vec<_>>>()
    };
    match name.trim().to_ascii_uppercase().as_str() {
        "POINT" => match points(inside)?.as_slice() {
            [point] => Some(Shape::Point(*point)),
            _ => None,
        },
        "LINESTRING" => points(inside).filter(|p| p.len() >= 2).map(Shape::Line),
        "POLYGON" => {
            let ring = points(inside.trim().strip_prefix('(')?.strip_suffix(')')?)?;
            (ring.len() >= 4 && ring.first() == ring.last()).then_some(Shape::Polygon(ring))
        }
        _ => None,
    }
}
