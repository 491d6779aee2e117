//! What may be written into a field; the same rules for every way in.
//!
//! Pure. Each function returns the cleaned value or the fault with its field.

use anlan_domain::division::{Divisions, Standing};
use anlan_model::noun::{Limits, LimitsSource};
use anlan_model::{RegionCode, Wgs84};
use jiff::civil::Date;

pub use anlan_store::{Page, Paging};

use crate::error::{AppError, Faults};

/// Longest code.
const CODE_CHARS: usize = 200;
/// Longest name, title, document.
const NAME_CHARS: usize = 200;
/// Longest note or reason.
const NOTE_CHARS: usize = 2_000;
/// Longest delay of a limit, seconds.
const DELAY_S_MAX: f64 = 86_400.0;
/// Longest expected period of a point, seconds: 31 days.
const PERIOD_S_MAX: f64 = 2_678_400.0;
/// Fewest characters of a password (NIST SP 800-63B-4 asks for at least 8 beside other factors; we have none yet).
const PASSWORD_CHARS_MIN: usize = 10;
/// Longest password, so that hashing it costs no more than any other.
const PASSWORD_CHARS_MAX: usize = 200;
/// Most rows of a list page.
const LIMIT_MAX: u32 = 1_000;

fn text(field: &str, value: &str, max: usize, empty: bool) -> Result<String, AppError> {
    let value = value.trim();
    if value.is_empty() && !empty {
        return Err(AppError::invalid("text.empty", field));
    }
    if value.chars().count() > max {
        return Err(AppError::invalid("text.too_long", field).with("max", max));
    }
    // Invisible characters make two codes look the same on every screen.
    if value
        .chars()
        .any(|c| c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}'))
    {
        return Err(AppError::invalid("text.invisible", field));
    }
    Ok(value.to_owned())
}

/// A code: 1 to 200 visible characters.
///
/// # Errors
/// Empty, too long, or with control or invisible characters.
pub fn code(field: &str, value: &str) -> Result<String, AppError> {
    text(field, value, CODE_CHARS, false)
}

/// A device code; also an MQTT topic level and user name, so without `/`, `+`, `#`, `:` and spaces.
///
/// # Errors
/// As [`code`], or `code.separator`.
pub fn device_code(field: &str, value: &str) -> Result<String, AppError> {
    let value = code(field, value)?;
    if value.chars().any(|c| matches!(c, '/' | '+' | '#' | ':' | ',') || c.is_whitespace()) {
        return Err(AppError::invalid("code.separator", field));
    }
    Ok(value)
}

/// A name of at most 200 characters.
///
/// # Errors
/// Empty, too long, or with control or invisible characters.
pub fn name(field: &str, value: &str) -> Result<String, AppError> {
    text(field, value, NAME_CHARS, false)
}

/// A short text that may be empty.
///
/// # Errors
/// Too long, or with control or invisible characters.
pub fn optional(field: &str, value: &str) -> Result<String, AppError> {
    text(field, value, NAME_CHARS, true)
}

/// A note or reason; line breaks are fine.
///
/// # Errors
/// Too long, empty where `required`, or with control characters other than line breaks.
pub fn note(field: &str, value: &str, required: bool) -> Result<String, AppError> {
    let value = value.trim();
    if required && value.is_empty() {
        return Err(AppError::invalid("text.empty", field));
    }
    if value.chars().count() > NOTE_CHARS {
        return Err(AppError::invalid("text.too_long", field).with("max", NOTE_CHARS));
    }
    if value.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(AppError::invalid("text.invisible", field));
    }
    Ok(value.to_owned())
}

/// A word of an open list, such as a sector or a kind: `[a-z0-9_]+`, starting with a letter.
///
/// # Errors
/// Anything else.
pub fn word(field: &str, value: &str, empty: bool) -> Result<String, AppError> {
    let fits = value.len() <= 64 && value.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit());
    let starts = value.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    if (fits && starts) || (empty && value.is_empty()) { Ok(value.to_owned()) } else { Err(AppError::invalid("word.malformed", field)) }
}

/// A calendar date, `YYYY-MM-DD`.
///
/// # Errors
/// Anything else.
pub fn day(field: &str, value: &str) -> Result<jiff::civil::Date, AppError> {
    let day = if value.len() == 10 { value.parse().ok() } else { None };
    day.ok_or_else(|| AppError::invalid("time.malformed", field))
}

/// A division that new rows may carry: known, and in force on `day`, the day of the act.
///
/// # Errors
/// Malformed, unknown, or not in force: replaced (by which, since when), gone, or not there yet.
pub fn region(field: &str, value: &str, known: &Divisions, day: Date) -> Result<RegionCode, AppError> {
    let code = region_ever(field, value, known)?;
    let fault = |name: &'static str, since: Date| AppError::invalid(name, field).with("region", value).with("since", since);
    match known.standing(&code, day) {
        None | Some(Standing::InForce) => Ok(code),
        Some(Standing::Replaced { by, since }) => Err(fault("region.replaced", since).with("became", by)),
        Some(Standing::Ended { since }) => Err(fault("region.ended", since)),
        Some(Standing::NotYet { since }) => Err(fault("region.not_yet", since)),
    }
}

/// A division that this node knows, also one of before: for questions about what happened.
///
/// # Errors
/// Malformed or unknown.
pub fn region_ever(field: &str, value: &str, known: &Divisions) -> Result<RegionCode, AppError> {
    let code = RegionCode::new(value).ok_or_else(|| AppError::invalid("region.malformed", field))?;
    if known.get(&code).is_some() { Ok(code) } else { Err(AppError::invalid("region.unknown", field).with("region", value)) }
}

/// A finite number, if there is one.
///
/// # Errors
/// NaN and the infinities.
pub fn finite(field: &str, value: Option<f64>) -> Result<Option<f64>, AppError> {
    if value.is_none_or(f64::is_finite) { Ok(value) } else { Err(AppError::invalid("number.not_finite", field)) }
}

pub(crate) fn between(field: &str, value: f64, max: f64) -> Result<f64, AppError> {
    if (0.0..=max).contains(&value) { Ok(value) } else { Err(AppError::invalid("number.range", field).with("min", 0).with("max", max)) }
}

/// Expected seconds between readings; 0 = unknown.
///
/// # Errors
/// Negative, not finite or above 31 days.
pub fn period_s(field: &str, value: f64) -> Result<f64, AppError> {
    between(field, value, PERIOD_S_MAX)
}

/// A vehicle's limit in km/h.
///
/// # Errors
/// Not above 0, or above 200.
pub fn speed_limit_kmh(field: &str, value: Option<f64>) -> Result<Option<f64>, AppError> {
    match value {
        Some(v) if !(v > 0.0 && v <= 200.0) => Err(AppError::invalid("number.range", field).with("min", 1).with("max", 200)),
        other => Ok(other),
    }
}

/// A measuring range: `low` below `high`.
///
/// # Errors
/// Not finite or not rising.
pub fn range(prefix: &str, low: Option<f64>, high: Option<f64>) -> Result<(), AppError> {
    finite(&format!("{prefix}range_low"), low)?;
    finite(&format!("{prefix}range_high"), high)?;
    if let (Some(low), Some(high)) = (low, high)
        && low >= high
    {
        return Err(AppError::invalid("range.order", &format!("{prefix}range_high")));
    }
    Ok(())
}

/// Limits: finite, rising from ll to hh, delays within a day, with a source as soon as one is set.
///
/// # Errors
/// Every fault at once, fields below `prefix`.
pub fn limits(prefix: &str, limits: &Limits, source: Option<&LimitsSource>) -> Result<(), AppError> {
    let mut faults = Faults::default();
    let mut at =
        |name: &str, result: &mut dyn FnMut(&str) -> Result<(), AppError>| faults.note(result(&format!("{prefix}limits.{name}"))).is_some();
    let levels = [("ll", limits.ll), ("l", limits.l), ("h", limits.h), ("hh", limits.hh)];
    let mut whole = true;
    for (name, value) in levels {
        whole &= at(name, &mut |field| finite(field, value).map(drop));
    }
    let set: Vec<(&str, f64)> = levels.iter().filter_map(|(name, value)| value.map(|v| (*name, v))).collect();
    if whole {
        for pair in set.windows(2) {
            if pair[0].1 >= pair[1].1 {
                at(pair[1].0, &mut |field| Err(AppError::invalid("limits.order", field).with("below", pair[0].0)));
            }
        }
    }
    for (name, value, max) in [
        ("deadband", limits.deadband, f64::MAX),
        ("on_delay_s", limits.on_delay_s, DELAY_S_MAX),
        ("off_delay_s", limits.off_delay_s, DELAY_S_MAX),
    ] {
        at(name, &mut |field| between(field, value, max).map(drop));
    }
    if let Some(rate) = limits.rate_per_min {
        at("rate_per_min", &mut |field| {
            if rate.is_finite() && rate > 0.0 { Ok(()) } else { Err(AppError::invalid("number.positive", field)) }
        });
    }
    let any = !set.is_empty() || limits.rate_per_min.is_some();
    let field = format!("{prefix}limits_source");
    match source {
        // No source, no number: a limit nobody answers for cannot be judged later.
        None if any => {
            faults.note::<()>(Err(AppError::invalid("limits.source_missing", &field)));
        }
        None => {}
        Some(named) => {
            faults.note(source_named(&field, named));
        }
    }
    faults.check()
}

/// Who set something: a document and, if need be, a clause of it.
///
/// # Errors
/// Every fault at once, fields below `field`.
pub fn source_named(field: &str, source: &LimitsSource) -> Result<LimitsSource, AppError> {
    let mut faults = Faults::default();
    let document = faults.note(text(&format!("{field}.document"), &source.document, NAME_CHARS, false)).unwrap_or_default();
    let clause = faults.note(text(&format!("{field}.clause"), &source.clause, NAME_CHARS, true)).unwrap_or_default();
    faults.check().map(|()| LimitsSource { document, clause })
}

/// A place on the globe, if there is one.
///
/// # Errors
/// Off the globe.
pub fn place(field: &str, value: Option<Wgs84>) -> Result<Option<Wgs84>, AppError> {
    match value {
        Some(p) => Wgs84::new(p.lon, p.lat).map(Some).ok_or_else(|| AppError::invalid("place.off_globe", field)),
        None => Ok(None),
    }
}

/// A new password of `username`.
///
/// # Errors
/// Shorter than 10 or longer than 200 characters, or the user name.
pub fn password(field: &str, value: &str, username: &str) -> Result<(), AppError> {
    let n = value.chars().count();
    if n < PASSWORD_CHARS_MIN {
        return Err(AppError::invalid("password.too_short", field).with("min", PASSWORD_CHARS_MIN));
    }
    if n > PASSWORD_CHARS_MAX {
        return Err(AppError::invalid("password.too_long", field).with("max", PASSWORD_CHARS_MAX));
    }
    if value.to_lowercase() == username.to_lowercase() {
        return Err(AppError::invalid("password.is_username", field));
    }
    Ok(())
}

/// A user name: 2 to 64 visible characters without spaces.
///
/// # Errors
/// Anything else.
pub fn username(field: &str, value: &str) -> Result<String, AppError> {
    let value = text(field, value, 64, false)?;
    if value.chars().count() < 2 || value.chars().any(char::is_whitespace) {
        return Err(AppError::invalid("username.malformed", field));
    }
    Ok(value)
}

/// The page of a list.
///
/// # Errors
/// A limit of 0 or above 1,000.
pub fn paging(cursor: Option<String>, limit: Option<u32>) -> Result<Paging, AppError> {
    Ok(Paging { cursor: cursor.filter(|c| !c.is_empty()), limit: limit.map_or(Ok(0), |l| rows(l, LIMIT_MAX))? })
}

/// A number of rows, 1 to `max`.
///
/// # Errors
/// Outside.
pub fn rows(limit: u32, max: u32) -> Result<u32, AppError> {
    if (1..=max).contains(&limit) { Ok(limit) } else { Err(AppError::invalid("number.range", "limit").with("min", 1).with("max", max)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(limits: &Limits, source: Option<&LimitsSource>) -> Vec<(String, &'static str)> {
        let problems = super::limits("", limits, source).err().map(|e| e.problems).unwrap_or_default();
        problems.into_iter().map(|p| (p.field.unwrap_or_default(), p.code)).collect()
    }

    #[test]
    fn limits_rise_from_ll_to_hh_and_need_a_source() {
        let source = LimitsSource { document: "设计文件".into(), clause: String::new() };
        let good = Limits { ll: Some(1.0), h: Some(2.0), hh: Some(3.0), ..Limits::default() };
        assert!(codes(&good, Some(&source)).is_empty());
        assert_eq!(codes(&good, None), [("limits_source".to_owned(), "limits.source_missing")]);
        let crossed =
            Limits { l: Some(5.0), h: Some(2.0), on_delay_s: -1.0, off_delay_s: 86_401.0, deadband: f64::NAN, ..Limits::default() };
        let want = ["limits.h", "limits.deadband", "limits.on_delay_s", "limits.off_delay_s"];
        assert_eq!(codes(&crossed, Some(&source)).iter().map(|(f, _)| f.as_str()).collect::<Vec<_>>(), want);
        let endless = Limits { hh: Some(f64::INFINITY), ..Limits::default() };
        assert_eq!(codes(&endless, Some(&source)), [("limits.hh".to_owned(), "number.not_finite")]);
        assert!(codes(&Limits::default(), None).is_empty(), "no limit needs no source");
    }

    #[test]
    fn codes_are_visible_and_not_too_long() {
        assert_eq!(code("code", " 甲-01 ").unwrap(), "甲-01");
        for bad in ["", "   ", "a\u{0}b", "a\u{200b}b", &"x".repeat(201)] {
            assert!(code("code", bad).is_err(), "{bad:?}");
        }
        for bad in ["a/b", "a+", "#", "a:b", "a b"] {
            assert_eq!(device_code("code", bad).unwrap_err().code(), "code.separator", "{bad}");
        }
    }

    #[test]
    fn a_password_is_long_and_not_the_name() {
        assert!(password("password", "correct horse", "a").is_ok());
        assert_eq!(password("password", "short", "a").unwrap_err().code(), "password.too_short");
        assert_eq!(password("password", "Administrator", "administrator").unwrap_err().code(), "password.is_username");
    }
}
