//! Duty rotas (值班表): the shifts that a pattern makes, who would be in two places at once, and hours that nobody covers.
//!
//! Days and hours are civil time in Beijing, which has had no summer time since 1992. Knows no names and no permissions. Start at [`shifts`].

use anlan_model::{Timestamp, UserId};
use jiff::civil::{Date, Time};

/// What somebody is on duty for: a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Desk {
    /// 值班: sits at the desk and takes calls.
    Watch,
    /// 带班领导: decides.
    Leader,
    /// 应急待命: leaves when called.
    OnCall,
}

impl Desk {
    /// All desks.
    pub const ALL: [Self; 3] = [Self::Watch, Self::Leader, Self::OnCall];
    /// The word on the API and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Leader => "leader",
            Self::OnCall => "on_call",
        }
    }
    /// The desk named by `word`.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|desk| desk.as_str() == word)
    }
}

/// From one instant to before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first instant.
    pub from: Timestamp,
    /// The first instant after it.
    pub to: Timestamp,
}

impl Span {
    /// Whether they have an instant in common: one that ends when the other begins has none.
    pub fn meets(&self, other: &Self) -> bool {
        self.from < other.to && other.from < self.to
    }
}

/// One shift of every day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// When it begins.
    pub from: Time,
    /// When it ends: on the next day, unless it is later than `from`.
    pub to: Time,
}

/// Most days of one pattern.
pub const DAYS_MAX: usize = 366;
/// Most shifts of one day.
pub const PARTS_MAX: usize = 6;

/// Why a pattern makes no shifts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternFault {
    /// The last day is before the first.
    Order,
    /// More than [`DAYS_MAX`] days.
    TooLong,
    /// No shift a day, or more than [`PARTS_MAX`].
    Parts,
    /// Nobody to take turns.
    Nobody,
}

/// The shifts of the days `first` to `last`, in order, each with the place of whoever's turn it is among `people`: they take turns from shift
/// to shift, not from day to day.
///
/// # Errors
/// A pattern that means nothing or too much.
pub fn shifts(first: Date, last: Date, parts: &[Part], people: usize) -> Result<Vec<(usize, Span)>, PatternFault> {
    if last < first {
        return Err(PatternFault::Order);
    }
    if parts.is_empty() || parts.len() > PARTS_MAX {
        return Err(PatternFault::Parts);
    }
    if people == 0 {
        return Err(PatternFault::Nobody);
    }
    let mut made = Vec::new();
    for (n, day) in first.series(jiff::Span::new().days(1)).take_while(|day| *day <= last).enumerate() {
        if n == DAYS_MAX {
            return Err(PatternFault::TooLong);
        }
        for part in parts {
            let from = instant(day, part.from);
            let to = instant(day, part.to);
            let to = if part.to > part.from { to } else { to.plus_us(DAY_US) };
            made.push((made.len() % people, Span { from, to }));
        }
    }
    Ok(made)
}

/// The time of day written `HH:MM`.
pub fn time(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let number = |part: &str| part.parse::<i8>().ok().filter(|_| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit()));
    Time::new(number(hour)?, number(minute)?, 0, 0).ok()
}

const DAY_US: i64 = 86_400_000_000;

/// The instant of a civil time in Beijing.
fn instant(day: Date, time: Time) -> Timestamp {
    let at = jiff::tz::offset(8).to_timestamp(day.to_datetime(time));
    // A day that no instant can write is the end of time.
    at.map_or(Timestamp::MAX, |at| Timestamp::from_micros(at.as_microsecond()))
}

/// Somebody's time in a shift, and what names the shift.
pub type Taken<T> = (UserId, Span, T);

/// The first two shifts, by time, in which one person would be at once; they may lie in any order.
pub fn clash<T: Clone>(shifts: &[Taken<T>]) -> Option<[Taken<T>; 2]> {
    let mut order: Vec<&Taken<T>> = shifts.iter().collect();
    order.sort_by_key(|(person, span, _)| (*person, *span));
    let mut found: Option<[&Taken<T>; 2]> = None;
    let mut longest: Option<&Taken<T>> = None;
    for next in order {
        match longest {
            Some(before) if before.0 == next.0 => {
                if before.1.meets(&next.1) && found.is_none_or(|[_, first]| next.1.from < first.1.from) {
                    found = Some([before, next]);
                }
                if next.1.to > before.1.to {
                    longest = Some(next);
                }
            }
            _ => longest = Some(next),
        }
    }
    found.map(|pair| pair.map(Clone::clone))
}

/// What of `within` none of `covered` holds, in order; these may lie in any order and on one another.
pub fn gaps(covered: &[Span], within: Span) -> Vec<Span> {
    let mut order = covered.to_vec();
    order.sort_unstable();
    let (mut gaps, mut at) = (Vec::new(), within.from);
    for span in order {
        if span.from >= within.to {
            break;
        }
        if span.from > at {
            gaps.push(Span { from: at, to: span.from });
        }
        at = at.max(span.to);
    }
    if at < within.to {
        gaps.push(Span { from: at, to: within.to });
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::{date, time};
    use proptest::prelude::*;

    fn span(from: i64, to: i64) -> Span {
        Span { from: Timestamp::from_secs(from), to: Timestamp::from_secs(to) }
    }

    const HALVES: [Part; 2] =
        [Part { from: time(8, 0, 0, 0), to: time(20, 0, 0, 0) }, Part { from: time(20, 0, 0, 0), to: time(8, 0, 0, 0) }];

    #[test]
    fn three_people_take_turns_through_days_and_nights() {
        let made = shifts(date(2026, 12, 31), date(2027, 1, 1), &HALVES, 3).unwrap();
        let text: Vec<String> =
            made.iter().map(|(who, s)| format!("{who} {} {}", &s.from.to_string()[..16], &s.to.to_string()[..16])).collect();
        assert_eq!(
            text,
            [
                "0 2026-12-31T00:00 2026-12-31T12:00",
                "1 2026-12-31T12:00 2027-01-01T00:00",
                "2 2027-01-01T00:00 2027-01-01T12:00",
                "0 2027-01-01T12:00 2027-01-02T00:00",
            ]
        );
    }

    #[test]
    fn a_pattern_that_means_nothing_makes_nothing() {
        let day = date(2026, 12, 1);
        let check = |last: Date, parts: &[Part], people: usize, want| assert_eq!(shifts(day, last, parts, people), Err(want));
        check(date(2026, 11, 30), &HALVES, 1, PatternFault::Order);
        check(day, &[], 1, PatternFault::Parts);
        check(day, &[HALVES[0]; 7], 1, PatternFault::Parts);
        check(day, &HALVES, 0, PatternFault::Nobody);
        check(date(2027, 12, 2), &HALVES, 1, PatternFault::TooLong);
        assert_eq!(shifts(day, date(2027, 12, 1), &HALVES, 1).unwrap().len(), 2 * 366);
        // From eight to eight is a whole day, not nothing.
        let whole = Part { from: time(8, 0, 0, 0), to: time(8, 0, 0, 0) };
        assert_eq!(shifts(day, day, &[whole], 1).unwrap()[0].1.to.since_us(shifts(day, day, &[whole], 1).unwrap()[0].1.from), DAY_US);
        assert!(shifts(Date::MAX, Date::MAX, &HALVES, 1).is_ok(), "the end of time breaks nothing");
    }

    #[test]
    fn a_time_of_day_is_two_digits_twice() {
        assert_eq!(super::time("08:05"), Some(time(8, 5, 0, 0)));
        for text in ["8:05", "24:00", "08:60", "-1:00", "+8:00", "0805", "", "08:00:00"] {
            assert_eq!(super::time(text), None, "{text}");
        }
    }

    #[test]
    fn nobody_is_in_two_places_at_once() {
        let (a, b) = (UserId::new(1), UserId::new(2));
        assert_eq!(clash(&[(a, span(0, 10), "x"), (a, span(10, 20), "y"), (b, span(5, 15), "z")]), None);
        assert_eq!(clash(&[(a, span(9, 20), "y"), (a, span(0, 10), "x")]).map(|[x, y]| (x.2, y.2)), Some(("x", "y")));
        // A long one covers several: the one after next meets it too.
        assert_eq!(clash(&[(a, span(0, 100), "x"), (b, span(0, 1), "z"), (a, span(90, 95), "y")]).map(|[_, y]| y.2), Some("y"));
    }

    #[test]
    fn hours_without_anybody_are_found_to_the_second() {
        assert_eq!(gaps(&[], span(0, 10)), [span(0, 10)]);
        assert_eq!(gaps(&[span(5, 8), span(0, 3), span(2, 4)], span(1, 10)), [span(4, 5), span(8, 10)]);
        assert_eq!(gaps(&[span(-5, 50)], span(0, 10)), []);
        assert_eq!(gaps(&[span(-9, -5), span(20, 30)], span(0, 10)), [span(0, 10)]);
    }

    proptest! {
        #[test]
        fn every_second_is_either_covered_or_in_a_gap(raw in proptest::collection::vec((0_i64..60, 1_i64..20), 0..12)) {
            let covered: Vec<Span> = raw.iter().map(|(from, n)| span(*from, from + n)).collect();
            let gaps = gaps(&covered, span(10, 50));
            for second in 10..50 {
                let at = span(second, second + 1);
                let held = |spans: &[Span]| spans.iter().any(|s| s.meets(&at));
                prop_assert_ne!(held(&covered), held(&gaps), "second {}", second);
            }
            for pair in gaps.windows(2) {
                prop_assert!(pair[0].to < pair[1].from);
            }
        }

        #[test]
        fn a_clash_is_found_when_there_is_one(raw in proptest::collection::vec((0_i64..3, 0_i64..60, 1_i64..20), 0..10)) {
            let all: Vec<(UserId, Span, usize)> =
                raw.iter().enumerate().map(|(i, (who, from, n))| (UserId::new(*who), span(*from, from + n), i)).collect();
            let is_there = all.iter().any(|x| all.iter().any(|y| x.2 < y.2 && x.0 == y.0 && x.1.meets(&y.1)));
            let found = clash(&all);
            prop_assert_eq!(found.is_some(), is_there);
            if let Some([x, y]) = found {
                prop_assert!(x.0 == y.0 && x.1.meets(&y.1) && x.2 != y.2);
            }
        }
    }
}
