//! Instants as microseconds since 1970-01-01T00:00:00Z, and their RFC 3339 text.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An instant in UTC with microsecond resolution. The range is what RFC 3339 can write: years 0 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// Domain time: what `received_at`, deadlines and calendars use. Real in production, movable in tests (INTERFACES, test clock).
/// Sockets, group commit and rate limits use the monotonic clock instead and never this.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The text is not an RFC 3339 instant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time: {0}")]
pub struct TimestampError(String);

impl Timestamp {
    /// The first instant of 1970.
    pub const EPOCH: Self = Self(0);
    /// Earlier than every reading.
    pub const MIN: Self = Self(-62_135_596_800_000_000);
    /// Later than every reading: 9999-12-29T23:59:59.999999Z, so that any time zone can still write it.
    pub const MAX: Self = Self(253_402_127_999_999_999);

    /// From microseconds since 1970, clamped to the range RFC 3339 can write.
    pub const fn from_micros(us: i64) -> Self {
        if us < Self::MIN.0 {
            Self::MIN
        } else if us > Self::MAX.0 {
            Self::MAX
        } else {
            Self(us)
        }
    }
    /// From milliseconds since 1970, clamped.
    pub const fn from_millis(ms: i64) -> Self {
        Self::from_micros(ms.saturating_mul(1_000))
    }
    /// From seconds since 1970, clamped.
    pub const fn from_secs(s: i64) -> Self {
        Self::from_micros(s.saturating_mul(1_000_000))
    }
    /// Microseconds since 1970.
    pub const fn micros(self) -> i64 {
        self.0
    }
    /// `self - earlier` in microseconds; negative if `earlier` is later.
    pub const fn since_us(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }
    /// The instant `us` microseconds later (earlier if negative), clamped.
    pub const fn plus_us(self, us: i64) -> Self {
        Self::from_micros(self.0.saturating_add(us))
    }
    /// The start of the `step_us` wide window that holds this instant; windows count from 1970.
    pub const fn floor_us(self, step_us: i64) -> Self {
        Self(self.0.div_euclid(step_us) * step_us)
    }
    /// RFC 3339 in UTC with six decimals, as ASCII: a day of one point has some 17,000 of them.
    ///
    /// Source: days to dates after Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`; the tests compare with jiff.
    pub fn rfc3339(self) -> [u8; 27] {
        const DAY_US: i64 = 86_400_000_000;
        let (days, mut rest) = (self.0.div_euclid(DAY_US), self.0.rem_euclid(DAY_US).unsigned_abs());
        // Eras of 400 years that begin in March, so that a leap day ends its year. Every instant here is later than year 0.
        let z = days + 719_468;
        let (era, of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let mut out = *b"0000-00-00T00:00:00.000000Z";
        let mut put = |at: usize, width: usize, mut value: u64| {
            for digit in out[at..at + width].iter_mut().rev() {
                *digit = b'0' + (value % 10) as u8;
                value /= 10;
            }
        };
        put(20, 6, rest % 1_000_000);
        rest /= 1_000_000;
        put(17, 2, rest % 60);
        put(14, 2, rest / 60 % 60);
        put(11, 2, rest / 3_600);
        put(8, 2, day.unsigned_abs());
        put(5, 2, month.unsigned_abs());
        put(0, 4, year.unsigned_abs());
        out
    }
    /// Reads RFC 3339 (`2026-11-23T01:16:22.000001Z`, any offset, a space for the `T`).
    ///
    /// # Errors
    /// [`TimestampError`] for anything else, and for years outside 0 to 9999.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        let instant: jiff::Timestamp = text.parse().map_err(|_| TimestampError(text.chars().take(40).collect()))?;
        Ok(Self::from_micros(instant.as_microsecond()))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with six decimals, the form of every API answer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.rfc3339()).map_err(|_| fmt::Error)?)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        self.plus_us(i64::try_from(by.as_micros()).unwrap_or(i64::MAX))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, by: Duration) -> Self {
        self.plus_us(-i64::try_from(by.as_micros()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_six_decimals_and_reads_back() {
        let t = Timestamp::parse("2026-11-23T09:16:22+08:00").unwrap();
        assert_eq!(t.to_string(), "2026-11-23T01:16:22.000000Z");
        assert_eq!(Timestamp::parse(&t.to_string()).unwrap(), t);
        assert_eq!(Timestamp::parse("2026-11-23T01:16:22.0000019Z").unwrap().micros() % 10, 1);
        assert!(Timestamp::parse("yesterday").is_err());
    }

    #[test]
    fn windows_before_1970_still_start_below() {
        assert_eq!(Timestamp::from_micros(-1).floor_us(60_000_000).micros(), -60_000_000);
    }

    #[test]
    fn the_text_is_that_of_a_calendar_library() {
        let jiff = |us: i64| format!("{:.6}", jiff::Timestamp::from_microsecond(us).unwrap());
        let check = |us: i64| {
            let at = Timestamp::from_micros(us);
            assert_eq!(at.to_string(), jiff(at.micros()));
        };
        // Every day from 1890 to 2110, its ends included, and steps of some 73 years and a prime through the whole range.
        for day in -29_000..51_500 {
            [-1, 0, 86_399_999_999].into_iter().for_each(|us| check(day * 86_400_000_000 + us));
        }
        let mut at = Timestamp::MIN.micros();
        while at < Timestamp::MAX.micros() {
            check(at);
            at += 8_640_007_919_123;
        }
    }

    #[test]
    fn the_ends_of_the_range_can_be_written() {
        assert_eq!(Timestamp::from_micros(i64::MAX).to_string(), "9999-12-29T23:59:59.999999Z");
        assert_eq!(Timestamp::from_micros(i64::MIN).to_string(), "0001-01-01T00:00:00.000000Z");
    }
}
