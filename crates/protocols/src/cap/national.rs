//! The national forms of a warning (预警信息): its identifier, its colour, its time with a blank.
//!
//! Known from regional quotations of GB/T 35965.1-2018 and GB/T 34283-2017 alone; how sure each of them is stands beside it and in `protocol.toml`.

use jiff::civil::DateTime;

use super::{Named, Severity, Time};

/// Name of the parameter that says the colour; the product's own.
pub const COLOUR_NAME: &str = "anlan:colour";
/// How sure the mapping of [`Colour::severity`] is.
pub const COLOUR_CONFIDENCE: &str = "unverified";
/// Name of a geocode that is a code of GB/T 2260.
pub const AREA_CODE_NAME: &str = "GB/T 2260";

/// The colour of a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Colour {
    /// 红色, the gravest.
    Red,
    /// 橙色.
    Orange,
    /// 黄色.
    Yellow,
    /// 蓝色.
    Blue,
}

impl Colour {
    /// From the gravest down.
    pub const ALL: [Self; 4] = [Self::Red, Self::Orange, Self::Yellow, Self::Blue];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Orange => "orange",
            Self::Yellow => "yellow",
            Self::Blue => "blue",
        }
    }

    /// The colour of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|colour| colour.as_str() == word)
    }

    /// What CAP calls it; see [`COLOUR_CONFIDENCE`].
    pub const fn severity(self) -> Severity {
        match self {
            Self::Red => Severity::Extreme,
            Self::Orange => Severity::Severe,
            Self::Yellow => Severity::Moderate,
            Self::Blue => Severity::Minor,
        }
    }

    /// The parameter that says it.
    pub fn parameter(self) -> Named {
        Named { value_name: COLOUR_NAME.to_owned(), value: self.as_str().to_owned() }
    }
}

/// `ZZZZZZDDDUUUXX_YYYYMMDDhhmmss_N`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identifier {
    /// Six digits of GB/T 2260.
    pub area: String,
    /// Three digits of GB/T 4657.
    pub agency: String,
    /// Three digits, `000` where there is none.
    pub sub: String,
    /// Two digits, `00` where there is none.
    pub extension: String,
    /// In Beijing, whole seconds.
    pub at: DateTime,
    /// 0 to 9: what was issued in the same second.
    pub n: u8,
}

impl Identifier {
    /// `None` for a part that is not of so many digits.
    pub fn new(area: &str, agency: &str, at: DateTime, n: u8) -> Option<Self> {
        let digits = |text: &str, n: usize| text.len() == n && text.bytes().all(|b| b.is_ascii_digit());
        let at = at.date().at(at.hour(), at.minute(), at.second(), 0);
        (digits(area, 6) && digits(agency, 3) && n <= 9 && (0..=9999).contains(&at.year())).then(|| Self {
            area: area.to_owned(),
            agency: agency.to_owned(),
            sub: "000".to_owned(),
            extension: "00".to_owned(),
            at,
            n,
        })
    }

    /// From its 31 characters.
    pub fn parse(text: &str) -> Option<Self> {
        let b = text.as_bytes();
        if b.len() != 31 || !text.is_ascii() || b[14] != b'_' || b[29] != b'_' {
            return None;
        }
        let (head, time, n) = (&text[..14], &text[15..29], &text[30..]);
        if ![head, time, n].iter().all(|part| part.bytes().all(|b| b.is_ascii_digit())) {
            return None;
        }
        let small = |from: usize| time[from..from + 2].parse::<i8>().ok();
        let at = DateTime::new(time[..4].parse().ok()?, small(4)?, small(6)?, small(8)?, small(10)?, small(12)?, 0).ok()?;
        let part = |from: usize, to: usize| head[from..to].to_owned();
        Some(Self { area: part(0, 6), agency: part(6, 9), sub: part(9, 12), extension: part(12, 14), at, n: n.parse().ok()? })
    }
}

impl std::fmt::Display for Identifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (a, d) = (self, self.at);
        let (year, month, day, hour, minute, second) = (d.year(), d.month(), d.day(), d.hour(), d.minute(), d.second());
        write!(f, "{}{}{}{}_{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}_{}", a.area, a.agency, a.sub, a.extension, a.n)
    }
}

impl Time {
    /// From the form of the national annex: `2026-03-01 09:05:00+08:00`.
    pub fn parse_national(text: &str) -> Option<Self> {
        Self::parse_with(text, b' ')
    }

    /// In that form.
    pub fn to_national(self) -> String {
        self.text_with(' ')
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn the_identifier_has_its_31_characters_and_comes_back() {
        let at = date(2026, 3, 1).at(9, 5, 7, 0);
        let id = Identifier::new("530402", "125", at, 3).unwrap();
        assert_eq!(id.to_string(), "53040212500000_20260301090507_3");
        assert_eq!(Identifier::parse(&id.to_string()), Some(id));
        for broken in [
            "",
            "53040212500000_20260301090507_",
            "53040212500000_20261301090507_3",
            "5304021250000x_20260301090507_3",
            "53040212500000-20260301090507_3",
            "53040212500000_20260301090507_a",
            "53040212500000_2026030109050７",
        ] {
            assert_eq!(Identifier::parse(broken), None, "{broken}");
        }
        assert_eq!(Identifier::new("5304", "125", at, 0), None);
        assert_eq!(Identifier::new("530402", "125", at, 10), None);
    }

    #[test]
    fn a_national_time_is_converted_at_the_border_and_nowhere_else() {
        let time = Time::parse_national("2026-03-01 09:05:00+08:00").unwrap();
        assert_eq!(time.to_string(), "2026-03-01T09:05:00+08:00");
        assert_eq!(time.to_national(), "2026-03-01 09:05:00+08:00");
        assert_eq!((Time::parse("2026-03-01 09:05:00+08:00"), Time::parse_national("2026-03-01T09:05:00+08:00")), (None, None));
    }

    #[test]
    fn each_colour_has_a_severity_of_its_own() {
        let all: Vec<&str> = Colour::ALL.iter().map(|colour| colour.severity().as_str()).collect();
        assert_eq!(all, ["Extreme", "Severe", "Moderate", "Minor"]);
        assert!(Colour::ALL.iter().all(|colour| Colour::parse(colour.as_str()) == Some(*colour)));
    }
}
