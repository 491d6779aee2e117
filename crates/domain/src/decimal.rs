//! Figures that are compared by their digits: decimals of bounded length, written in packs as text.
//!
//! The bounds keep every product and comparison of [`crate::indicator`] and [`crate::plan`] inside the 28 digits in which [`Decimal`] is exact.

pub use rust_decimal::Decimal;
use rust_decimal::RoundingStrategy;
use serde::{Deserialize, Deserializer, Serializer};

/// Digits of a fact.
pub const FACT_DIGITS_MAX: u32 = 14;
/// Digits of a target, a baseline or a point of a path.
pub const TARGET_DIGITS_MAX: u32 = 8;

/// Reads a decimal such as `0.22`, `18.12` or `-0.15`: plain digits, at most `digits` of them. `None` for anything else.
pub fn parse(text: &str, digits: u32) -> Option<Decimal> {
    let bare = text.strip_prefix('-').unwrap_or(text);
    let (whole, part) = bare.split_once('.').unwrap_or((bare, "0"));
    let is_plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_plain(whole) || !is_plain(part) || bare.bytes().filter(u8::is_ascii_digit).count() > digits as usize {
        return None;
    }
    text.parse().ok()
}

/// 四舍五入 to `decimals` places.
pub fn rounded(value: Decimal, decimals: u32) -> Decimal {
    let mut rounded = value.round_dp_with_strategy(decimals, RoundingStrategy::MidpointAwayFromZero);
    rounded.rescale(decimals);
    rounded
}

/// As a JSON number in its shortest form; whole numbers without a point.
pub fn to_json(value: Decimal) -> serde_json::Value {
    let value = value.normalize();
    match i64::try_from(value) {
        Ok(whole) if value.is_integer() => whole.into(),
        // The text of a decimal is a number of JSON; its binary neighbour prints the same digits.
        _ => value.to_string().parse::<f64>().map_or(serde_json::Value::Null, Into::into),
    }
}

/// For `#[serde(serialize_with)]`.
pub(crate) fn as_number<S: Serializer>(value: &Option<Decimal>, to: S) -> Result<S::Ok, S::Error> {
    use serde::Serialize as _;
    value.map_or(serde_json::Value::Null, to_json).serialize(to)
}

/// The same where it is always there.
pub(crate) fn one_as_number<S: Serializer>(value: &Decimal, to: S) -> Result<S::Ok, S::Error> {
    as_number(&Some(*value), to)
}

/// For `#[serde(deserialize_with)]`: text of at most [`TARGET_DIGITS_MAX`] digits, so that the digits are those that were written.
pub(crate) fn from_text<'de, D: Deserializer<'de>>(from: D) -> Result<Decimal, D::Error> {
    let text = String::deserialize(from)?;
    parse(&text, TARGET_DIGITS_MAX)
        .ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no decimal such as \"0.22\" of at most {TARGET_DIGITS_MAX} digits")))
}

/// The same where it may be left out; with `#[serde(default)]`.
pub(crate) fn from_text_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Decimal>, D::Error> {
    from_text(from).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_digits_alone_are_decimals() {
        let check = |text: &str, expected: Option<&str>| assert_eq!(parse(text, 8).map(|d| d.to_string()).as_deref(), expected, "{text}");
        check("19.70", Some("19.70"));
        check("-0.15", Some("-0.15"));
        check("0", Some("0"));
        check("12345678", Some("12345678"));
        check("1234567.8", Some("1234567.8"));
        for text in ["", "-", ".5", "5.", "1e3", "+1", "1_000", " 1", "1,0", "0x1", "--1", "NaN", "123456789", "12345678.9"] {
            check(text, None);
        }
    }

    #[test]
    fn halves_go_away_from_zero_and_places_stay() {
        let check = |text: &str, decimals, expected: &str| assert_eq!(rounded(text.parse().unwrap(), decimals).to_string(), expected);
        check("0.125", 2, "0.13");
        check("-0.125", 2, "-0.13");
        check("19.7020", 2, "19.70");
        check("100", 2, "100.00");
        check("0.124999", 2, "0.12");
    }

    #[test]
    fn json_has_the_digits_and_no_more() {
        let check = |text: &str, expected: &str| assert_eq!(to_json(text.parse().unwrap()).to_string(), expected);
        check("0.1408", "0.1408");
        check("10.7670", "10.767");
        check("161.00", "161");
        check("-0.15", "-0.15");
        check("0", "0");
    }
}
