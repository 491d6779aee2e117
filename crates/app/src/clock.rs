//! Domain time: the real clock, or a test clock moved from outside (INTERFACES, "Test clock").
//!
//! Several processes may share a test clock through a file: an anchor (monotonic time, domain time) and a rate.
//! Never used for sockets, sessions, rate limits or group commit.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use anlan_model::{Clock, Timestamp};
use jiff::civil::{Date, DateTime};
use serde::{Deserialize, Serialize};

/// The node's domain clock.
pub struct AppClock {
    test: Option<TestClock>,
}

struct TestClock {
    file: Option<PathBuf>,
    state: Mutex<TestState>,
}

#[derive(Clone, Copy)]
struct TestState {
    anchor: Anchor,
    read_at_us: i64,
}

/// `domain = domain_us + (monotonic - monotonic_us) * rate`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Anchor {
    monotonic_us: i64,
    domain_us: i64,
    rate: f64,
}

/// A shared file is read again after this long, half of what INTERFACES promises.
const REREAD_US: i64 = 50_000;

/// Why the test clock was not moved or not started.
#[derive(Debug, thiserror::Error)]
pub enum ClockError {
    /// Domain time only runs forward.
    #[error("the test clock only moves forward: now {now}, asked for {asked}")]
    Backward {
        /// Now.
        now: Timestamp,
        /// Wanted.
        asked: Timestamp,
    },
    /// The rate is negative, not finite or above 100,000.
    #[error("the rate must lie between 0 and 100000, not {0}")]
    Rate(f64),
    /// The shared file cannot be read or written.
    #[error("the test clock file {path}")]
    File {
        /// Path.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
}

impl AppClock {
    /// The machine's clock.
    pub fn real() -> Self {
        Self { test: None }
    }

    /// From `--test-clock`: an RFC 3339 start, or the path of a file shared by several processes (created if absent).
    ///
    /// # Errors
    /// [`ClockError::File`] if the file cannot be read, understood or created.
    pub fn test(argument: &str) -> Result<Self, ClockError> {
        let start = |domain: Timestamp| Anchor { monotonic_us: monotonic_us(), domain_us: domain.micros(), rate: 1.0 };
        let (anchor, file) = match Timestamp::parse(argument) {
            Ok(at) => (start(at), None),
            Err(_) => {
                let path = PathBuf::from(argument);
                let anchor = match read(&path) {
                    Ok(anchor) => anchor,
                    Err(ClockError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                        let anchor = start(real_now());
                        write(&path, &anchor)?;
                        anchor
                    }
                    Err(other) => return Err(other),
                };
                (anchor, Some(path))
            }
        };
        Ok(Self { test: Some(TestClock { file, state: Mutex::new(TestState { anchor, read_at_us: monotonic_us() }) }) })
    }

    /// Whether this is a test clock: every page shows a banner.
    pub fn is_test(&self) -> bool {
        self.test.is_some()
    }

    /// Moves the test clock to `at`; `None` if this is the real clock.
    ///
    /// # Errors
    /// [`ClockError::Backward`] for a time before now.
    pub fn set(&self, at: Timestamp) -> Option<Result<(), ClockError>> {
        self.change(|now, anchor| {
            if at < now {
                return Err(ClockError::Backward { now, asked: at });
            }
            Ok(Anchor { monotonic_us: monotonic_us(), domain_us: at.micros(), rate: anchor.rate })
        })
    }

    /// Changes how fast the test clock runs; 0 freezes it.
    ///
    /// # Errors
    /// [`ClockError::Rate`] outside 0 to 100,000.
    pub fn set_rate(&self, rate: f64) -> Option<Result<(), ClockError>> {
        self.change(|now, _| {
            if !(0.0..=100_000.0).contains(&rate) {
                return Err(ClockError::Rate(rate));
            }
            Ok(Anchor { monotonic_us: monotonic_us(), domain_us: now.micros(), rate })
        })
    }

    fn change(&self, make: impl FnOnce(Timestamp, Anchor) -> Result<Anchor, ClockError>) -> Option<Result<(), ClockError>> {
        let test = self.test.as_ref()?;
        let now = test.now();
        let mut state = test.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Some(make(now, state.anchor).and_then(|anchor| {
            if let Some(path) = &test.file {
                write(path, &anchor)?;
            }
            *state = TestState { anchor, read_at_us: monotonic_us() };
            Ok(())
        }))
    }
}

impl Clock for AppClock {
    fn now(&self) -> Timestamp {
        self.test.as_ref().map_or_else(real_now, TestClock::now)
    }
}

impl TestClock {
    fn now(&self) -> Timestamp {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let at = monotonic_us();
        if let Some(path) = &self.file
            && at - state.read_at_us >= REREAD_US
        {
            // An unreadable instant of a rename is no reason to jump: keep the anchor we have.
            if let Ok(anchor) = read(path) {
                state.anchor = anchor;
            }
            state.read_at_us = at;
        }
        let Anchor { monotonic_us, domain_us, rate } = state.anchor;
        Timestamp::from_micros(domain_us.saturating_add(((at - monotonic_us) as f64 * rate) as i64))
    }
}

/// The civil day in Beijing at `at`.
pub fn day_of(at: Timestamp) -> Date {
    civil(at).date()
}

/// The civil time in Beijing at `at`.
pub fn civil(at: Timestamp) -> DateTime {
    jiff::tz::offset(8).to_datetime(jiff::Timestamp::from_microsecond(at.micros()).unwrap_or_default())
}

/// Beijing is ahead of UTC by this, µs; no clock is changed there.
const BEIJING_US: i64 = 8 * 3_600_000_000;
const DAY_US: i64 = 86_400_000_000;

/// The civil day in Beijing at `at`, counted from 1970.
pub fn day_number(at: Timestamp) -> i32 {
    i32::try_from(at.micros().saturating_add(BEIJING_US).div_euclid(DAY_US)).unwrap_or_default()
}

/// When that day begins and ends.
pub fn day_bounds(day: i32) -> (Timestamp, Timestamp) {
    let start = i64::from(day).saturating_mul(DAY_US).saturating_sub(BEIJING_US);
    (Timestamp::from_micros(start), Timestamp::from_micros(start.saturating_add(DAY_US)))
}

/// The date of a day counted from 1970; beyond the calendar its first day.
pub fn date_of(day: i32) -> Date {
    let start = Date::constant(1970, 1, 1);
    start.checked_add(jiff::Span::new().try_days(day).unwrap_or_default()).unwrap_or(start)
}

/// The number of a date, counted from 1970.
pub fn number_of(date: Date) -> i32 {
    let noon = jiff::tz::offset(8).to_timestamp(date.at(12, 0, 0, 0));
    noon.map_or(0, |noon| day_number(Timestamp::from_micros(noon.as_microsecond())))
}

fn real_now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// CLOCK_MONOTONIC is the same for all processes of a machine, which `std::time::Instant` does not let us say.
fn monotonic_us() -> i64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    t.tv_sec * 1_000_000 + t.tv_nsec / 1_000
}

fn read(path: &std::path::Path) -> Result<Anchor, ClockError> {
    let failed = |source| ClockError::File { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    serde_json::from_str(&text).map_err(|e| failed(std::io::Error::new(std::io::ErrorKind::InvalidData, e)))
}

fn write(path: &std::path::Path, anchor: &Anchor) -> Result<(), ClockError> {
    let failed = |source| ClockError::File { path: path.to_owned(), source };
    let text = serde_json::to_string(anchor).map_err(|e| failed(e.into()))?;
    let part = path.with_extension("part");
    std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, path)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_a_date_in_beijing() {
        let check = |at: &str, want: &str| assert_eq!(day_of(Timestamp::parse(at).unwrap()).to_string(), want);
        check("2026-11-23T15:59:59Z", "2026-11-23");
        check("2026-11-23T16:00:00Z", "2026-11-24");
    }

    #[test]
    fn a_day_is_a_number_a_date_and_a_stretch_of_time() {
        for text in ["1970-01-01T00:00:00Z", "2026-11-23T15:59:59.999999Z", "2026-11-23T16:00:00Z", "1969-12-31T15:59:59Z"] {
            let at = Timestamp::parse(text).unwrap();
            let day = day_number(at);
            assert_eq!((date_of(day), number_of(date_of(day))), (day_of(at), day));
            let (start, end) = day_bounds(day);
            assert!(start <= at && at < end && day_number(end) == day + 1, "{text}");
        }
    }

    #[test]
    fn a_test_clock_starts_where_told_and_only_moves_forward() {
        let clock = AppClock::test("2013-06-01T00:00:00Z").unwrap();
        clock.set_rate(0.0).unwrap().unwrap();
        let start = clock.now();
        assert!(start.to_string().starts_with("2013-06-01T00:00:0"));
        assert_eq!(clock.now(), start, "frozen");
        clock.set(start.plus_us(3_600_000_000)).unwrap().unwrap();
        assert_eq!(clock.now().since_us(start), 3_600_000_000);
        assert!(matches!(clock.set(start), Some(Err(ClockError::Backward { .. }))));
        assert!(matches!(clock.set_rate(-1.0), Some(Err(ClockError::Rate(_)))));
        assert!(AppClock::real().set(start).is_none());
    }

    #[test]
    fn two_processes_share_a_clock_through_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clock.json");
        let (a, b) = (AppClock::test(path.to_str().unwrap()).unwrap(), AppClock::test(path.to_str().unwrap()).unwrap());
        a.set_rate(0.0).unwrap().unwrap();
        let at = a.now().plus_us(86_400_000_000);
        a.set(at).unwrap().unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while b.now() != at {
            assert!(std::time::Instant::now() < until, "the other process never saw it");
            std::thread::yield_now();
        }
    }
}
