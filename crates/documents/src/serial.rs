//! Day numbers of Excel and the formats that make them dates.

use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, Span, Unit};

/// Day 0 of the 1900 system for days from 1900-03-01 on: the system counts a 1900-02-29 that never was.
const ZERO_1900: Date = Date::constant(1899, 12, 30);
const ZERO_1904: Date = Date::constant(1904, 1, 1);
/// Day of 1900-02-29, which never was.
const LEAP_1900: i64 = 60;
const SECONDS_PER_DAY: f64 = 86_400.0;
/// Above any day number there is (9999-12-31 is 2,958,465).
const DAY_MAX: f64 = 2_958_466.0;

/// What a number format makes of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// A number, also a time of day or a duration.
    Number,
    /// A date.
    Date,
    /// A date and a time.
    DateTime,
}

/// What a format code shows, by its first section.
pub(crate) fn shown_by(code: &str) -> Shown {
    let (mut date, mut time) = (false, false);
    // An `m` is a month unless it follows an hour or comes before a second.
    let (mut after_hour, mut open_month) = (false, false);
    let lower = code.to_lowercase();
    let mut rest = lower.as_str();
    while let Some(c) = rest.chars().next() {
        if let Some(tail) = ["am/pm", "a/p", "上午/下午"].iter().find_map(|word| rest.strip_prefix(word)) {
            (time, rest) = (true, tail);
            continue;
        }
        let run = rest.chars().take_while(|next| *next == c).count();
        let mut skip = c.len_utf8() * run;
        match c {
            ';' => break,
            '"' => skip = rest[1..].find('"').map_or(rest.len(), |end| end + 2),
            '\\' | '_' | '*' => skip = 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            '[' => {
                let inside = rest[1..].split(']').next().unwrap_or_default();
                // [h], [mm], [ss] are durations; [red], [$-804], [>0] say nothing about days.
                time |= !inside.is_empty() && ["h", "m", "s"].iter().any(|unit| inside.replace(unit, "").is_empty());
                after_hour |= inside.starts_with('h');
                skip = (inside.len() + 2).min(rest.len());
            }
            'y' | 'd' => date = true,
            'a' if run >= 3 => date = true,
            'h' => (time, after_hour) = (true, true),
            's' => (time, open_month, after_hour) = (true, false, false),
            'm' if after_hour => after_hour = false,
            'm' => {
                date |= open_month;
                open_month = true;
            }
            _ => {}
        }
        if matches!(c, 'y' | 'd' | 'h') {
            date |= std::mem::take(&mut open_month);
            after_hour = c == 'h';
        }
        rest = &rest[skip..];
    }
    match (date | open_month, time) {
        (true, true) => Shown::DateTime,
        (true, false) => Shown::Date,
        (false, _) => Shown::Number,
    }
}

/// What a built-in format shows (ECMA-376 part 1, 18.8.30, with the Chinese ones from 27 on).
pub(crate) const fn shown_by_id(id: u32) -> Shown {
    match id {
        14..=17 | 27..=31 | 36 | 50..=54 | 57 | 58 => Shown::Date,
        22 => Shown::DateTime,
        _ => Shown::Number,
    }
}

/// The date of a day number; `None` for none there is, 1900-02-29 among them.
pub(crate) fn date_of(serial: f64, is_1904: bool) -> Option<Date> {
    let day = serial.floor();
    // Not a number fails too.
    if !(0.0..DAY_MAX).contains(&day) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "a whole number below three million")]
    let day = day as i64;
    // No duration: jiff takes none of so many days.
    let days = |n: i64| Span::new().days(n);
    match (is_1904, day) {
        (true, _) => ZERO_1904.checked_add(days(day)).ok(),
        (false, 0 | LEAP_1900) => None,
        (false, 1..LEAP_1900) => ZERO_1900.checked_add(days(day + 1)).ok(),
        (false, _) => ZERO_1900.checked_add(days(day)).ok(),
    }
}

/// The date and time of a day number, to the nearest second.
pub(crate) fn date_time_of(serial: f64, is_1904: bool) -> Option<DateTime> {
    let date = date_of(serial, is_1904)?;
    let seconds = ((serial - serial.floor()) * SECONDS_PER_DAY).round();
    #[expect(clippy::cast_possible_truncation, reason = "0 to 86400")]
    let seconds = seconds as i64;
    date.to_datetime(jiff::civil::Time::midnight()).checked_add(SignedDuration::from_secs(seconds)).ok()
}

/// The day number of a date in the 1900 system; `None` before 1900-01-01, which Excel has no number for.
pub(crate) fn serial_of(date: Date) -> Option<i64> {
    let days = ZERO_1900.duration_until(date).as_hours() / 24;
    match days {
        2..=LEAP_1900 => Some(days - 1),
        61.. => Some(days),
        _ => None,
    }
}

/// The same with the time as part of the day, to the second.
pub(crate) fn serial_of_time(at: DateTime) -> Option<f64> {
    let at = at.round(Unit::Second).ok()?;
    let seconds = f64::from(at.hour()) * 3_600.0 + f64::from(at.minute()) * 60.0 + f64::from(at.second());
    #[expect(clippy::cast_precision_loss, reason = "below three million")]
    let day = serial_of(at.date())? as f64;
    Some(day + seconds / SECONDS_PER_DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(serial: f64, is_1904: bool, expected: Option<&str>) {
        let date = date_of(serial, is_1904);
        assert_eq!(date, expected.map(|text| text.parse().unwrap()), "{serial}");
        if let (Some(date), false) = (date, is_1904) {
            assert_eq!(serial_of(date), Some(serial.floor() as i64), "{date}");
        }
    }

    #[test]
    fn day_numbers_are_dates() {
        check(1.0, false, Some("1900-01-01"));
        check(59.0, false, Some("1900-02-28"));
        check(60.0, false, None);
        check(61.0, false, Some("1900-03-01"));
        check(46_355.0, false, Some("2026-11-29"));
        check(46_355.99, false, Some("2026-11-29"));
        check(2_958_465.0, false, Some("9999-12-31"));
        for none in [0.0, -1.0, 2_958_466.0, 1e300, f64::NAN, f64::INFINITY] {
            check(none, false, None);
        }
        check(0.0, true, Some("1904-01-01"));
        check(44_893.0, true, Some("2026-11-29"));
        check(2_957_004.0, true, None);
        assert_eq!(serial_of(Date::constant(1899, 12, 31)), None);
    }

    #[test]
    fn times_round_to_the_second() {
        let at = |serial| date_time_of(serial, false).unwrap().to_string();
        assert_eq!(at(46_355.5), "2026-11-29T12:00:00");
        assert_eq!(at(46_355.999_999_9), "2026-11-30T00:00:00");
        assert_eq!(date_time_of(2_958_465.999_999_9, false), None);
        assert_eq!(serial_of_time("2026-11-29T18:00:00".parse().unwrap()), Some(46_355.75));
    }

    #[test]
    fn formats_show_dates_times_and_numbers() {
        use Shown::{Date, DateTime, Number};
        for (code, shown) in [
            ("General", Number),
            ("0.00", Number),
            ("0.00E+00", Number),
            ("@", Number),
            ("#,##0;[Red]-#,##0", Number),
            ("yyyy-mm-dd", Date),
            ("yyyy/m/d;@", Date),
            ("[$-804]yyyy\"年\"m\"月\"d\"日\"", Date),
            ("m\"月\"", Date),
            ("mmm-yy", Date),
            ("aaaa", Date),
            ("[$-F800]dddd\\,\\ mmmm\\ dd\\,\\ yyyy", Date),
            ("[DBNum1][$-804]yyyy\"年\"m\"月\";@", Date),
            ("yyyy-mm-dd hh:mm:ss", DateTime),
            ("m/d/yy h:mm", DateTime),
            ("yyyy/m/d h:mm AM/PM", DateTime),
            ("yyyy\"年\"m\"月\"d\"日\" 上午/下午h\"时\"", DateTime),
            ("h:mm", Number),
            ("mm:ss", Number),
            ("[h]:mm:ss", Number),
            ("[mm]:ss.0", Number),
            ("上午/下午h\"时\"mm\"分\"", Number),
            ("h:mm:ss a/p", Number),
            ("0\"days\"", Number),
            ("0\\d", Number),
            ("0_d", Number),
            ("0;yyyy", Number),
            ("\"unclosed yyyy", Number),
            ("[unclosed", Number),
            ("\\", Number),
            ("", Number),
        ] {
            assert_eq!(shown_by(code), shown, "{code}");
        }
    }
}
