//! The figures of road transport supervision, read from a pack's `road.toml`; each names its source or says that it has none.
//!
//! Parses and refuses, never opens a file. Start at [`RoadRules::parse`].

use serde::{Deserialize, Serialize};

use crate::pack::{CONFIDENCES, PackError};

/// Everything `road.toml` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoadRules {
    /// When a place cannot be true.
    pub drift: Sourced<DriftRules>,
    /// What a trip and a stop are.
    pub trip: Sourced<TripRules>,
    /// When a stretch of track is complete.
    pub track: Sourced<TrackRules>,
    /// When a position is qualified.
    pub data: Sourced<DataRules>,
    /// How long a speed must last.
    pub overspeed: Sourced<OverspeedRules>,
    /// How long reckoned days are kept.
    pub keep: Sourced<KeepRules>,
    /// Limits by kind of vehicle, for those without one of their own.
    #[serde(default)]
    pub speed_limit: Vec<Sourced<SpeedLimit>>,
    /// Continuous driving.
    #[serde(default)]
    pub driving: Vec<Sourced<DrivingRules>>,
    /// Hours without driving.
    #[serde(default)]
    pub ban: Vec<Sourced<BanRules>>,
    /// What the ratios mean.
    pub ratio: Vec<Sourced<RatioDefinition>>,
}

/// A row with where it comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sourced<T> {
    /// The figures.
    #[serde(flatten)]
    pub is: T,
    /// Standard, or `product` for a choice of ours.
    pub standard: String,
    /// Clause, table or page.
    #[serde(default)]
    pub clause: String,
    /// In force since, ISO date; empty if unknown.
    #[serde(default)]
    pub effective: String,
    /// `verified`, `verified-secondary`, `product`, `unverified`.
    pub confidence: String,
    /// Remark.
    #[serde(default)]
    pub note: String,
}

impl<T> Sourced<T> {
    /// Standard and clause in one line.
    pub fn source(&self) -> String {
        crate::pack::join(&self.standard, &self.clause)
    }
}

/// When a place cannot be true.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriftRules {
    /// Faster than this nothing on a road moves.
    pub speed_max_kmh: f64,
    /// Shorter steps are never drift: receivers jitter.
    pub jump_min_m: f64,
    /// So many positions that agree with each other are believed against the last believed one.
    pub agree: u32,
    /// Fewer satellites make no fix in three dimensions.
    pub satellites_min: u32,
}

/// What a trip and a stop are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TripRules {
    /// Slower is standing.
    pub moving_min_kmh: f64,
    /// Standing so long ends a trip.
    pub stop_min_s: i64,
    /// Silence so long ends a trip.
    pub gap_max_s: i64,
    /// A standing vehicle that is this much elsewhere has moved.
    pub moved_min_m: f64,
}

/// When a stretch of track is complete.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrackRules {
    /// Two positions at most so far apart.
    pub gap_max_s: i64,
}

/// When a position is qualified.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataRules {
    /// Greatest credible speed.
    pub speed_max_kmh: f64,
}

/// How long a speed must last.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OverspeedRules {
    /// Seconds above the limit without interruption.
    pub continuous_s: i64,
}

/// How long reckoned days are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeepRules {
    /// Days.
    pub days: i64,
}

/// A limit by kind of vehicle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpeedLimit {
    /// Kinds of vehicle.
    pub kinds: Vec<String>,
    /// On the fastest road such a vehicle may use; the road itself is not known here.
    pub speed_max_kmh: f64,
}

/// Continuous driving.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrivingRules {
    /// Kinds of vehicle; `*` for all.
    pub kinds: Vec<String>,
    /// So long without a rest.
    pub continuous_max_s: i64,
    /// A rest lasts this long.
    pub rest_min_s: i64,
    /// Only driving within these hours counts, `22:00` to `06:00`, Beijing time.
    #[serde(default)]
    pub hours: Option<Hours>,
}

/// Hours without driving.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BanRules {
    /// Kinds of vehicle.
    pub kinds: Vec<String>,
    /// When.
    pub hours: Hours,
}

/// Part of the day in minutes since midnight, Beijing time; may go over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "[String; 2]", into = "[String; 2]")]
pub struct Hours {
    from_min: i64,
    to_min: i64,
}

/// Beijing time, eight hours ahead of UTC all year.
const BEIJING_US: i64 = 8 * 3_600 * 1_000_000;
const MINUTE_US: i64 = 60_000_000;
const DAY_US: i64 = 86_400_000_000;

impl Hours {
    /// When the stretch of these hours began that `at` lies in; `None` outside.
    pub fn began(&self, at: anlan_model::Timestamp) -> Option<anlan_model::Timestamp> {
        let local_us = at.micros().saturating_add(BEIJING_US);
        let into_day_us = local_us.rem_euclid(DAY_US);
        let since_us = (into_day_us - self.from_min * MINUTE_US).rem_euclid(DAY_US);
        let length_us = (self.to_min - self.from_min).rem_euclid(24 * 60) * MINUTE_US;
        (since_us < length_us).then(|| at.plus_us(-since_us))
    }
}

impl TryFrom<[String; 2]> for Hours {
    type Error = String;
    fn try_from([from, to]: [String; 2]) -> Result<Self, String> {
        let minutes = |text: &str| {
            let (hour, minute) = text.split_once(':')?;
            let (hour, minute): (i64, i64) = (hour.parse().ok()?, minute.parse().ok()?);
            ((0..24).contains(&hour) && (0..60).contains(&minute)).then_some(hour * 60 + minute)
        };
        match (minutes(&from), minutes(&to)) {
            (Some(from_min), Some(to_min)) if from_min != to_min => Ok(Self { from_min, to_min }),
            _ => Err(format!("hours are two different times such as \"22:00\", not {from:?} and {to:?}")),
        }
    }
}

impl From<Hours> for [String; 2] {
    fn from(hours: Hours) -> Self {
        [hours.from_min, hours.to_min].map(|m| format!("{:02}:{:02}", m / 60, m % 60))
    }
}

/// What one ratio means, for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RatioDefinition {
    /// `networked`, `online`, `complete`, `qualified`, `drift`.
    pub id: String,
    /// Chinese name.
    pub name_zh: String,
    /// English name.
    pub name_en: String,
    /// What is divided by what, Chinese.
    pub definition_zh: String,
    /// What is divided by what, English.
    pub definition_en: String,
}

/// The ratios that are computed; a pack must define each.
pub const RATIOS: [&str; 5] = ["networked", "online", "complete", "qualified", "drift"];

const FILE: &str = "road.toml";

impl RoadRules {
    /// Reads a pack's `road.toml`.
    ///
    /// # Errors
    /// [`PackError`] naming row and field: an unknown confidence, a row without standard, a figure that is not positive, a ratio
    /// without definition.
    pub fn parse(text: &str) -> Result<Self, PackError> {
        let rules: Self = toml::from_str(text).map_err(|e| PackError::Toml { file: FILE, message: e.to_string() })?;
        rules.check()?;
        Ok(rules)
    }

    fn check(&self) -> Result<(), PackError> {
        let wrong =
            |row: &str, field, reason: &str| Err(PackError::Row { file: FILE, row: row.to_owned(), field, reason: reason.to_owned() });
        fn sourced<T>(row: &str, of: &Sourced<T>) -> Option<(String, &'static str, &'static str)> {
            if !CONFIDENCES.contains(&of.confidence.as_str()) {
                return Some((row.to_owned(), "confidence", "is not verified, verified-secondary, product or unverified"));
            }
            of.standard.is_empty().then(|| (row.to_owned(), "standard", "is missing: no source, no rule"))
        }
        let mut problems = vec![
            sourced("drift", &self.drift),
            sourced("trip", &self.trip),
            sourced("track", &self.track),
            sourced("data", &self.data),
            sourced("overspeed", &self.overspeed),
            sourced("keep", &self.keep),
        ];
        problems.extend(self.speed_limit.iter().map(|row| sourced("speed_limit", row)));
        problems.extend(self.driving.iter().map(|row| sourced("driving", row)));
        problems.extend(self.ban.iter().map(|row| sourced("ban", row)));
        problems.extend(self.ratio.iter().map(|row| sourced("ratio", row)));
        if let Some((row, field, reason)) = problems.into_iter().flatten().next() {
            return wrong(&row, field, reason);
        }
        let (drift, trip) = (&self.drift.is, &self.trip.is);
        let positive = [
            ("drift", "speed_max_kmh", drift.speed_max_kmh),
            ("drift", "jump_min_m", drift.jump_min_m),
            ("drift", "agree", f64::from(drift.agree)),
            ("trip", "moving_min_kmh", trip.moving_min_kmh),
            ("trip", "stop_min_s", trip.stop_min_s as f64),
            ("trip", "gap_max_s", trip.gap_max_s as f64),
            ("trip", "moved_min_m", trip.moved_min_m),
            ("keep", "days", self.keep.is.days as f64),
            ("track", "gap_max_s", self.track.is.gap_max_s as f64),
            ("data", "speed_max_kmh", self.data.is.speed_max_kmh),
        ];
        let limits = self.speed_limit.iter().map(|row| ("speed_limit", "speed_max_kmh", row.is.speed_max_kmh));
        let driving = self.driving.iter().flat_map(|row| {
            [("driving", "continuous_max_s", row.is.continuous_max_s as f64), ("driving", "rest_min_s", row.is.rest_min_s as f64)]
        });
        for (row, field, value) in positive.into_iter().chain(limits).chain(driving) {
            if !(value.is_finite() && value > 0.0) {
                return wrong(row, field, "must be positive");
            }
        }
        match RATIOS.iter().find(|id| !self.ratio.iter().any(|row| row.is.id == **id)) {
            Some(missing) => wrong(missing, "id", "this ratio is computed and needs a definition"),
            None => Ok(()),
        }
    }

    /// The limit of a vehicle: its own, else its kind's.
    pub fn limit_kmh(&self, own: Option<f64>, kind: &str) -> Option<f64> {
        own.or_else(|| self.speed_limit.iter().find(|row| row.is.kinds.iter().any(|k| k == kind)).map(|row| row.is.speed_max_kmh))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use anlan_model::Timestamp;

    use super::*;

    pub(crate) fn base() -> RoadRules {
        RoadRules::parse(include_str!("../../../../packs/base/road.toml")).unwrap()
    }

    #[test]
    fn hours_know_when_they_began() {
        let at = |text: &str| Timestamp::parse(text).unwrap();
        let night = Hours::try_from(["22:00".to_owned(), "06:00".to_owned()]).unwrap();
        // 01:30 in Beijing is 17:30 UTC of the day before.
        assert_eq!(night.began(at("2026-11-23T17:30:00Z")), Some(at("2026-11-23T14:00:00Z")));
        assert_eq!(night.began(at("2026-11-23T14:00:00Z")), Some(at("2026-11-23T14:00:00Z")));
        assert_eq!(night.began(at("2026-11-23T22:00:00Z")), None, "06:00 is day again");
        let early = Hours::try_from(["02:00".to_owned(), "05:00".to_owned()]).unwrap();
        assert_eq!(early.began(at("2026-11-23T17:59:59Z")), None);
        assert_eq!(early.began(at("2026-11-23T20:59:59Z")), Some(at("2026-11-23T18:00:00Z")));
        assert!(Hours::try_from(["2:00".to_owned(), "24:00".to_owned()]).is_err());
    }

    #[test]
    fn a_row_without_source_or_with_nonsense_is_refused_by_name() {
        let base = include_str!("../../../../packs/base/road.toml");
        let refused = |from: &str, to: &str| {
            assert!(base.contains(from), "{from}");
            RoadRules::parse(&base.replacen(from, to, 1)).unwrap_err().to_string()
        };
        assert!(refused("confidence = \"product\"", "confidence = \"sure\"").contains("confidence"));
        assert!(refused("jump_min_m = 500", "jump_min_m = 0").contains("row `drift`, field `jump_min_m`: must be positive"));
        assert!(refused("id = \"drift\"", "id = \"drifting\"").contains("needs a definition"));
        assert!(refused("[\"02:00\", \"05:00\"]", "[\"02:00\", \"2\"]").contains("hours are two different times"));
        assert!(refused("stop_min_s", "stop_minimum_s").contains("stop_min_s"));
    }

    #[test]
    fn the_own_limit_goes_before_the_kinds() {
        let rules = base();
        assert_eq!(rules.limit_kmh(Some(70.0), "hazmat"), Some(70.0));
        assert_eq!(rules.limit_kmh(None, "hazmat"), Some(80.0));
        assert_eq!(rules.limit_kmh(None, "balloon"), None);
    }
}
