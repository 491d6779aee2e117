//! Working days (工作日) by the holiday notices of the State Council, read from a pack's `calendar.toml`.
//!
//! No holiday stands in Rust; each year of the pack names its notice, date and confidence. A year the pack does not have counts plain weeks,
//! Monday to Friday, and [`Calendar::covers`] says so. Pure: dates in, dates out, no clock. Start at [`Calendar::working_days_after`].

use std::collections::BTreeSet;

use jiff::Span;
use jiff::civil::{Date, Weekday};
use serde::Deserialize;

use crate::pack::CONFIDENCES;

/// A Monday from which days are counted; which one does not matter.
const MONDAY: Date = Date::constant(1970, 1, 5);

/// Which days are worked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calendar {
    /// In order of year.
    notices: Vec<Notice>,
    /// Days off that would be worked in a plain week, in order.
    off: Vec<Date>,
    /// Saturdays and Sundays that are worked, in order.
    make_up: Vec<Date>,
}

/// Where the days of a year come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The year whose days it arranges.
    pub year: i16,
    /// Number of the document.
    pub standard: String,
    /// Its title.
    pub title: String,
    /// Date of the notice.
    pub effective: Date,
    /// `verified`, `verified-secondary`, `product`, `unverified`.
    pub confidence: String,
    /// Remark.
    pub note: String,
}

/// Why a calendar is refused.
#[derive(Debug, thiserror::Error)]
pub enum CalendarError {
    /// Not the expected TOML; the message names line and field.
    #[error("calendar.toml: {message}")]
    Toml {
        /// What toml says.
        message: String,
    },
    /// A row contradicts itself, another or the calendar.
    #[error("calendar.toml: year `{year}`, field `{field}`: {reason}")]
    Row {
        /// Which year's row.
        year: i16,
        /// Field.
        field: &'static str,
        /// Why, with the date.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    year: Vec<YearRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct YearRow {
    year: i16,
    standard: String,
    #[serde(default)]
    title: String,
    effective: String,
    confidence: String,
    #[serde(default)]
    note: String,
    holidays: Vec<HolidayRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HolidayRow {
    name: String,
    from: String,
    to: String,
    make_up: Vec<String>,
}

impl Calendar {
    /// Reads a pack's `calendar.toml`.
    ///
    /// # Errors
    /// [`CalendarError`] naming year and field: no source, an unknown confidence, a date that is none, stands twice or belongs to another year,
    /// a make-up day that is no Saturday or Sunday.
    pub fn parse(text: &str) -> Result<Self, CalendarError> {
        let file: File = toml::from_str(text).map_err(|e| CalendarError::Toml { message: e.to_string() })?;
        let (mut calendar, mut seen) = (Self::default(), BTreeSet::new());
        for row in file.year {
            calendar.add(row, &mut seen)?;
        }
        calendar.notices.sort_by_key(|notice| notice.year);
        calendar.off.sort();
        calendar.make_up.sort();
        Ok(calendar)
    }

    fn add(&mut self, row: YearRow, seen: &mut BTreeSet<Date>) -> Result<(), CalendarError> {
        let year = row.year;
        let wrong = |field, reason: String| CalendarError::Row { year, field, reason };
        let date = |field, text: &str| text.parse::<Date>().map_err(|_| wrong(field, format!("{text:?} is no date such as 2026-01-31")));
        if self.covers(year) {
            return Err(wrong("year", "has a row already".to_owned()));
        }
        if row.standard.trim().is_empty() {
            return Err(wrong("standard", "is missing: no source, no calendar".to_owned()));
        }
        if !CONFIDENCES.contains(&row.confidence.as_str()) {
            return Err(wrong("confidence", "is not verified, verified-secondary, product or unverified".to_owned()));
        }
        let effective = date("effective", &row.effective)?;
        let mut take = |field, day: Date| {
            if day.year() != year {
                return Err(wrong(field, format!("{day} belongs to another year")));
            }
            if !seen.insert(day) {
                return Err(wrong(field, format!("{day} stands twice")));
            }
            Ok(())
        };
        for holiday in row.holidays {
            if holiday.name.trim().is_empty() {
                return Err(wrong("name", format!("the holiday from {} has none", holiday.from)));
            }
            let (from, to) = (date("from", &holiday.from)?, date("to", &holiday.to)?);
            if to < from {
                return Err(wrong("to", format!("{to} is before {from}")));
            }
            let mut day = from;
            loop {
                take("from", day)?;
                if !is_weekend(day) {
                    self.off.push(day);
                }
                match day.tomorrow() {
                    Ok(next) if next <= to => day = next,
                    _ => break,
                }
            }
            for text in holiday.make_up {
                let day = date("make_up", &text)?;
                if !is_weekend(day) {
                    return Err(wrong("make_up", format!("{day} is neither Saturday nor Sunday")));
                }
                take("make_up", day)?;
                self.make_up.push(day);
            }
        }
        let (standard, title) = (row.standard, row.title);
        self.notices.push(Notice { year, standard, title, effective, confidence: row.confidence, note: row.note });
        Ok(())
    }

    /// Whether the holidays of `year` are known; without them its weeks are plain, Monday to Friday.
    pub fn covers(&self, year: i16) -> bool {
        self.notice(year).is_some()
    }

    /// The notice that arranges `year`.
    pub fn notice(&self, year: i16) -> Option<&Notice> {
        self.notices.iter().find(|notice| notice.year == year)
    }

    /// Every notice, in order of year.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// Whether `date` is worked.
    pub fn is_working(&self, date: Date) -> bool {
        if is_weekend(date) { self.make_up.binary_search(&date).is_ok() } else { self.off.binary_search(&date).is_err() }
    }

    /// The `n`-th working day after `date`, which itself does not count (民法典 art. 201: the day of the event is not counted); for 0 `date` itself,
    /// worked or not.
    ///
    /// Whether the way there leads through years without data is told by [`covers`](Self::covers). The greatest date there is instead of one beyond it.
    pub fn working_days_after(&self, date: Date, n: u32) -> Date {
        if n == 0 {
            return date;
        }
        let wanted = self.rank(date) + i64::from(n);
        // The first day whose rank is `wanted`: ranks never fall.
        let (mut low, mut high) = (day_number(date), day_number(Date::MAX));
        while low < high {
            let middle = low + (high - low) / 2;
            if self.rank(date_of(middle)) >= wanted {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        date_of(low)
    }

    /// Working days after `a` up to and with `b`; the same with a minus sign if `b` comes first.
    ///
    /// So `working_days_between(a, working_days_after(a, n)) == n`, and of three dates in any order the parts add up.
    pub fn working_days_between(&self, a: Date, b: Date) -> i64 {
        self.rank(b) - self.rank(a)
    }

    /// Working days up to and with `date`, counted from anywhere.
    fn rank(&self, date: Date) -> i64 {
        let until = |days: &[Date]| i64::try_from(days.partition_point(|day| *day <= date)).unwrap_or(i64::MAX);
        let n = day_number(date);
        let plain = n.div_euclid(7) * 5 + (n.rem_euclid(7) + 1).min(5);
        plain + until(&self.make_up) - until(&self.off)
    }
}

fn is_weekend(date: Date) -> bool {
    matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday)
}

fn day_number(date: Date) -> i64 {
    MONDAY.duration_until(date).as_hours() / 24
}

fn date_of(day_number: i64) -> Date {
    MONDAY.saturating_add(Span::new().days(day_number))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: &str = include_str!("../../../packs/base/calendar.toml");

    fn base() -> Calendar {
        Calendar::parse(BASE).unwrap()
    }

    fn date(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn check_after(from: &str, n: u32, expected: &str) {
        let calendar = base();
        assert_eq!(calendar.working_days_after(date(from), n), date(expected), "{n} after {from}");
        assert_eq!(calendar.working_days_between(date(from), date(expected)), i64::from(n), "between {from} and {expected}");
    }

    #[test]
    fn friday_plus_one_is_monday() {
        check_after("2026-03-13", 1, "2026-03-16");
        check_after("2026-03-14", 1, "2026-03-16");
        check_after("2026-03-13", 5, "2026-03-20");
    }

    #[test]
    fn zero_days_after_a_day_is_the_day_worked_or_not() {
        check_after("2026-03-13", 0, "2026-03-13");
        assert_eq!(base().working_days_after(date("2026-02-17"), 0), date("2026-02-17"));
    }

    #[test]
    fn spring_festival_is_stepped_over() {
        // The Saturday before is worked, then nine days are off.
        check_after("2026-02-13", 1, "2026-02-14");
        check_after("2026-02-13", 2, "2026-02-24");
        check_after("2026-02-14", 1, "2026-02-24");
        check_after("2025-01-27", 1, "2025-02-05");
        // 2024-02-09 (除夕) was no holiday by the notice.
        check_after("2024-02-08", 2, "2024-02-18");
    }

    #[test]
    fn a_make_up_saturday_is_worked() {
        for day in ["2026-02-14", "2026-02-28", "2026-05-09", "2026-10-10", "2024-05-11", "2025-02-08"] {
            assert!(base().is_working(date(day)), "{day}");
        }
        check_after("2026-05-08", 1, "2026-05-09");
        check_after("2026-05-08", 2, "2026-05-11");
        // A make-up Sunday.
        check_after("2026-09-18", 1, "2026-09-20");
    }

    #[test]
    fn national_day_and_the_turn_of_the_year() {
        check_after("2025-09-30", 1, "2025-10-09");
        check_after("2025-12-31", 1, "2026-01-04");
        check_after("2024-12-31", 1, "2025-01-02");
    }

    #[test]
    fn years_have_as_many_working_days_as_the_notices_leave() {
        // Days of the year less 104 of weekends less the eleven (from 2025 thirteen) holidays of 全国年节及纪念日放假办法: make-up days only swap.
        let in_year = |year: i16| base().working_days_between(Date::constant(year - 1, 12, 31), Date::constant(year, 12, 31));
        assert_eq!((in_year(2024), in_year(2025), in_year(2026)), (251, 248, 248));
    }

    #[test]
    fn a_year_without_data_counts_plain_weeks_and_says_so() {
        let calendar = base();
        assert!(calendar.covers(2024) && calendar.covers(2026) && !calendar.covers(2023) && !calendar.covers(2027));
        assert!(calendar.is_working(date("2027-01-01")));
        check_after("2026-12-31", 1, "2027-01-01");
        assert!(!Calendar::default().is_working(date("2026-05-09")));
        assert_eq!(calendar.notice(2026).unwrap().standard, "国办发明电〔2025〕7号");
    }

    #[test]
    fn the_greatest_date_stands_for_everything_beyond() {
        assert_eq!(base().working_days_after(Date::MAX, 1), Date::MAX);
        assert_eq!(base().working_days_after(date("2026-01-01"), u32::MAX), Date::MAX);
        // -9999-01-01 is a Monday.
        assert_eq!(base().working_days_after(Date::MIN, 1), Date::constant(-9999, 1, 2));
        assert_eq!(base().working_days_between(Date::MIN, Date::MAX), -base().working_days_between(Date::MAX, Date::MIN));
    }

    fn check_refused(from: &str, to: &str, expected: &str) {
        assert!(BASE.contains(from), "{from}");
        let error = Calendar::parse(&BASE.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_calendar_that_contradicts_itself_is_refused() {
        check_refused("year = 2025", "year = 2024", "year `2024`, field `year`: has a row already");
        check_refused("standard = \"国办发明电〔2023〕7号\"", "standard = \" \"", "field `standard`");
        check_refused("verified-secondary", "certain", "field `confidence`");
        check_refused("effective = \"2023-10-25\"", "effective = \"2023\"", "field `effective`: \"2023\" is no date");
        check_refused("\"2024-02-04\"", "\"2024-02-05\"", "2024-02-05 is neither Saturday nor Sunday");
        check_refused("\"2024-02-04\"", "\"2023-02-04\"", "2023-02-04 belongs to another year");
        check_refused("\"2024-02-04\"", "\"2024-02-18\"", "2024-02-18 stands twice");
        check_refused("\"2024-02-04\"", "\"2024-02-11\"", "2024-02-11 stands twice");
        check_refused("from = \"2024-04-04\"", "from = \"2024-02-17\"", "2024-02-17 stands twice");
        check_refused("from = \"2024-04-04\"", "from = \"2024-04-08\"", "field `to`: 2024-04-06 is before 2024-04-08");
        check_refused("from = \"2024-01-01\"", "from = \"2023-12-30\"", "2023-12-30 belongs to another year");
        check_refused("from = \"2024-01-01\"", "from = \"2024-13-01\"", "\"2024-13-01\" is no date");
        check_refused("name = \"元旦\"", "name = \"\"", "field `name`");
        check_refused("note = ", "notes = ", "unknown field");
    }

    /// Day by day, from the pack's words and nothing else.
    fn naive_is_working(off: &BTreeSet<Date>, make_up: &BTreeSet<Date>, day: Date) -> bool {
        make_up.contains(&day) || (!off.contains(&day) && !is_weekend(day))
    }

    proptest! {
        #[test]
        fn counting_agrees_with_a_walk_day_by_day(
            start in 0_i64..2_000,
            n in 0_u32..400,
            off in prop::collection::btree_set(0_i64..2_400, 0..300),
            make_up in prop::collection::btree_set(0_i64..2_400, 0..60),
        ) {
            // Any calendar, not only the real one: days from 2023 on, sorted into rows of their years.
            let origin = Date::constant(2023, 1, 1);
            let at = |n: i64| origin.saturating_add(Span::new().days(n));
            let off: BTreeSet<Date> = off.into_iter().map(at).collect();
            let make_up: BTreeSet<Date> = make_up.into_iter().map(at).filter(|d| is_weekend(*d) && !off.contains(d)).collect();
            let mut text = String::new();
            for year in 2023..=2029_i16 {
                text += &format!("[[year]]\nyear = {year}\nstandard = \"t\"\neffective = \"2020-01-01\"\nconfidence = \"unverified\"\nholidays = [\n");
                for day in off.iter().filter(|d| d.year() == year) {
                    text += &format!("{{ name = \"h\", from = \"{day}\", to = \"{day}\", make_up = [] }},\n");
                }
                if let Some(first) = (1..=31).map(|d| Date::constant(year, 12, d)).find(|d| !off.contains(d) && !make_up.contains(d) && is_weekend(*d)) {
                    let days: Vec<String> = make_up.iter().filter(|d| d.year() == year).map(|d| format!("\"{d}\"")).collect();
                    // A weekend day off changes nothing and carries the make-up days.
                    text += &format!("{{ name = \"h\", from = \"{first}\", to = \"{first}\", make_up = [{}] }},\n", days.join(", "));
                }
                text += "]\n";
            }
            let calendar = Calendar::parse(&text).unwrap();
            let start = at(start);
            let (mut day, mut left) = (start, n);
            while left > 0 {
                day = day.tomorrow().unwrap();
                prop_assert_eq!(calendar.is_working(day), naive_is_working(&off, &make_up, day), "{}", day);
                left -= u32::from(calendar.is_working(day));
            }
            prop_assert_eq!(calendar.working_days_after(start, n), day);
            prop_assert_eq!(calendar.working_days_between(start, day), i64::from(n));
            prop_assert_eq!(calendar.working_days_between(day, start), -i64::from(n));
        }

        #[test]
        fn the_real_calendar_agrees_with_a_walk_day_by_day(start in 0_i64..1_800, n in 0_u32..300) {
            let calendar = base();
            let start = Date::constant(2023, 6, 1).saturating_add(Span::new().days(start));
            let (mut day, mut left) = (start, n);
            while left > 0 {
                day = day.tomorrow().unwrap();
                left -= u32::from(calendar.is_working(day));
            }
            prop_assert_eq!(calendar.working_days_after(start, n), day);
            prop_assert_eq!(calendar.working_days_between(start, day), i64::from(n));
        }
    }
}
