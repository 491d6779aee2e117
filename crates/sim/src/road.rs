//! Compares what a server says about driving with what the simulator drove: drift marks, mileage, trips, speeding, ratios.
//!
//! Part of [`crate::check`]; reads only, trusts nothing but the API. A play that ran faster than its clock compresses the roads:
//! every vehicle would seem to fly, so nothing is judged then. Start at `compare`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use anlan_model::Timestamp;
use serde_json::Value;

use crate::api::{Api, ApiError, in_parallel, percent};
use crate::truth::{TruthKind, TruthLine};

/// Requests at once.
const THREADS: usize = 8;
/// No vehicle of the city drives faster (its greatest limit is 100 km/h, incidents add 18): above it the play was compressed.
const SPEED_MAX_M_S: f64 = 50.0;
/// A server ends a trip after so much silence (packs/base/road.toml, trip).
const TRIP_GAP_US: i64 = 600_000_000;
/// A track of chords is shorter than the curve that was driven; this much of it may be missing, and some metres at the ends.
const MILEAGE_PART: f64 = 0.06;
const MILEAGE_M: f64 = 700.0;
/// Arrival of positions with a wrong clock.
const AROUND_US: i64 = 30_000_000;
/// Beijing time, eight hours ahead.
const BEIJING_US: i64 = 8 * 3_600 * 1_000_000;
/// Days are reckoned at most once a minute; asked again this often, in all for a minute and a half.
const ASK_AGAIN: std::time::Duration = std::time::Duration::from_secs(5);
const ASK_MOST: u32 = 18;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoadReport {
    /// Vehicles compared.
    pub vehicles: u64,
    /// The play ran faster than its clock: nothing was judged.
    pub compressed: bool,
    /// Places that cannot be true.
    pub drift_expected: u64,
    /// Of those, marked.
    pub drift_found: u64,
    /// True places that are marked.
    pub drift_extra: u64,
    /// Vehicles whose mileage is that of the play.
    pub mileage_right: u64,
    /// Trips.
    pub trips_expected: u64,
    /// Vehicles with as many trips as expected.
    pub trips_right: u64,
    /// Stretches of speeding.
    pub overspeed_expected: u64,
    /// Of those, found.
    pub overspeed_found: u64,
    /// Figures of the ratios that were compared.
    pub ratios_expected: u64,
    /// Of those, equal.
    pub ratios_right: u64,
    /// For people.
    pub differences: Vec<String>,
}

impl RoadReport {
    /// Everything that was judged is as it should be.
    pub fn ok(&self) -> bool {
        self.drift_found == self.drift_expected
            && self.drift_extra == 0
            && self.mileage_right == self.vehicles
            && self.trips_right == self.vehicles
            && self.overspeed_found == self.overspeed_expected
            && self.ratios_right == self.ratios_expected
    }

    fn add(&mut self, other: Self) {
        self.vehicles += other.vehicles;
        self.drift_expected += other.drift_expected;
        self.drift_found += other.drift_found;
        self.drift_extra += other.drift_extra;
        self.mileage_right += other.mileage_right;
        self.trips_expected += other.trips_expected;
        self.trips_right += other.trips_right;
        self.overspeed_expected += other.overspeed_expected;
        self.overspeed_found += other.overspeed_found;
        self.differences.extend(other.differences);
    }
}

impl fmt::Display for RoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.compressed {
            return write!(f, "road: not judged, the play ran faster than its clock");
        }
        write!(
            f,
            "road: vehicles {} drift expected {} found {} extra {}, mileage right {}, trips expected {} right for {} vehicles, speeding \
             expected {} found {}, ratios {} of {} equal",
            self.vehicles,
            self.drift_expected,
            self.drift_found,
            self.drift_extra,
            self.mileage_right,
            self.trips_expected,
            self.trips_right,
            self.overspeed_expected,
            self.overspeed_found,
            self.ratios_right,
            self.ratios_expected
        )
    }
}

/// One position as driven.
#[derive(Clone, Copy, Debug)]
struct Driven {
    /// When it was really there.
    at: Timestamp,
    metres: f64,
    untrue: bool,
    clock_bad: bool,
}

/// The positions of each vehicle, in order of time, each instant once. Positions of truth files before this knew no mileage.
fn driven(lines: &[TruthLine]) -> BTreeMap<&str, Vec<Driven>> {
    let mut by_vehicle: BTreeMap<&str, Vec<Driven>> = BTreeMap::new();
    for line in lines.iter().filter(|l| l.kind == TruthKind::Sent) {
        let (Some(phone), Some(metres)) = (line.vehicle.as_deref(), line.driven_m) else { continue };
        let at = line.clock_bad_taken_at.unwrap_or(line.at);
        let row = Driven { at, metres, untrue: line.untrue, clock_bad: line.clock_bad_taken_at.is_some() };
        by_vehicle.entry(phone).or_default().push(row);
    }
    for rows in by_vehicle.values_mut() {
        rows.sort_by_key(|d| d.at);
        rows.dedup_by_key(|d| d.at);
    }
    by_vehicle
}

fn is_compressed(rows: &[Driven]) -> bool {
    rows.windows(2).any(|w| {
        let seconds = w[1].at.since_us(w[0].at) as f64 / 1e6;
        (w[1].metres - w[0].metres) / (seconds + 1.0) > SPEED_MAX_M_S
    })
}

/// Compares; vehicles the server does not know are left to the comparison of positions.
pub(crate) fn compare(api: &Api, lines: &[TruthLine], ids: &HashMap<String, String>) -> Result<RoadReport, ApiError> {
    let by_vehicle = driven(lines);
    let mut report = RoadReport::default();
    if by_vehicle.values().any(|rows| is_compressed(rows)) {
        report.compressed = true;
        return Ok(report);
    }
    let mut fast: HashMap<&str, u64> = HashMap::new();
    for line in lines.iter().filter(|l| l.kind == TruthKind::ExpectAlarm && l.rule.as_deref() == Some("overspeed")) {
        *fast.entry(line.vehicle.as_deref().unwrap_or_default()).or_default() += 1;
    }
    let work: Vec<_> = by_vehicle
        .iter()
        .filter_map(|(phone, rows)| Some((*phone, ids.get(phone.trim_start_matches('0'))?, rows, fast.get(phone).copied().unwrap_or(0))))
        .collect();
    for one in in_parallel(&work, THREADS, |(phone, id, rows, n_fast)| vehicle(api, phone, id, rows, *n_fast))? {
        report.add(one);
    }
    ratios(api, &by_vehicle, &mut report)?;
    Ok(report)
}

fn vehicle(api: &Api, phone: &str, id: &str, rows: &[Driven], n_fast: u64) -> Result<RoadReport, ApiError> {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(RoadReport::default()) };
    let (from, to) = (first.at.plus_us(-1_000_000).to_string(), last.at.plus_us(AROUND_US).to_string());
    let window = format!("from={}&to={}", percent(&from), percent(&to));
    let shape = |path: &str| ApiError::Shape { path: path.to_owned(), expected: "trips" };
    let mut report = RoadReport { vehicles: 1, overspeed_expected: n_fast, ..RoadReport::default() };

    let there = api.list(&format!("/api/v1/vehicles/{id}/positions?{window}&limit=10000"), "positions")?;
    let untrue: HashMap<String, bool> = rows.iter().filter(|d| !d.clock_bad).map(|d| (d.at.to_string(), d.untrue)).collect();
    report.drift_expected = untrue.values().filter(|u| **u).count() as u64;
    for row in &there {
        let marked = row["flags"].as_array().is_some_and(|flags| flags.iter().any(|f| f == "drift"));
        match row["at"].as_str().and_then(|at| untrue.get(at)) {
            Some(true) if marked => report.drift_found += 1,
            Some(false) if marked => {
                report.drift_extra += 1;
                report.differences.push(format!("{phone} at {} is marked as drift", row["at"]));
            }
            Some(true) => report.differences.push(format!("{phone} at {} is not marked as drift", row["at"])),
            _ => {}
        }
    }

    let path = format!("/api/v1/vehicles/{id}/trips?{window}");
    let said = api.get(&path)?;
    let metres = said["distance_km"].as_f64().ok_or_else(|| shape(&path))? * 1e3;
    let really = last.metres - first.metres;
    if (metres - really).abs() <= really * MILEAGE_PART + MILEAGE_M {
        report.mileage_right = 1;
    } else {
        report.differences.push(format!("{phone} drove {really:.0} m, the server says {metres:.0} m"));
    }
    let n_trips = said["trips"].as_array().ok_or_else(|| shape(&path))?.len() as u64;
    report.trips_expected = 1 + rows.windows(2).filter(|w| w[1].at.since_us(w[0].at) > TRIP_GAP_US).count() as u64;
    if n_trips == report.trips_expected {
        report.trips_right = 1;
    } else {
        report.differences.push(format!("{phone} made {} trips, the server says {n_trips}", report.trips_expected));
    }
    let found = said["findings"].as_array().ok_or_else(|| shape(&path))?.iter().filter(|f| f["kind"] == "overspeed").count() as u64;
    report.overspeed_found = found.min(n_fast);
    if found != n_fast {
        report.differences.push(format!("{phone} was too fast {n_fast} times, the server says {found}"));
    }
    Ok(report)
}

/// The counts behind the ratios, if the play lies in one day and the server's registered fleet is that of the play.
fn ratios(api: &Api, by_vehicle: &BTreeMap<&str, Vec<Driven>>, report: &mut RoadReport) -> Result<(), ApiError> {
    let day_of = |at: Timestamp| at.plus_us(BEIJING_US).to_string().chars().take(10).collect::<String>();
    let all = || by_vehicle.values().flatten();
    let (Some(first), Some(last)) = (all().map(|d| d.at).min(), all().map(|d| d.at).max()) else { return Ok(()) };
    let day = day_of(last);
    if day_of(first) != day {
        return Ok(());
    }
    let path = format!("/api/v1/road/ratios?day={day}&by=operator");
    let mut said = api.get(&path)?;
    let is_old = |said: &Value| {
        let computed = said["total"]["computed_at"].as_str().and_then(|at| Timestamp::parse(at).ok());
        said["total"]["pending"].as_u64() != Some(0) || computed.is_none_or(|at| at < last)
    };
    for _ in 0..ASK_MOST {
        if !is_old(&said) {
            break;
        }
        std::thread::sleep(ASK_AGAIN);
        said = api.get(&path)?;
    }
    let total = &said["total"];
    if total["vehicles"].as_u64() != Some(by_vehicle.len() as u64) {
        return Ok(());
    }
    let n = all().count() as u64;
    let drifting = by_vehicle.values().filter(|rows| rows.iter().any(|d| d.untrue)).count() as u64;
    let mut wanted = vec![("networked", by_vehicle.len() as u64), ("online", by_vehicle.len() as u64), ("drifting", drifting)];
    // Somebody else's positions of the day would be among these.
    if total["positions"].as_u64() == Some(n) {
        wanted.push(("positions_qualified", all().filter(|d| !d.clock_bad).count() as u64));
    }
    for (name, expected) in wanted {
        report.ratios_expected += 1;
        if total[name].as_u64() == Some(expected) {
            report.ratios_right += 1;
        } else {
            report.differences.push(format!("ratios of {day}: {name} should be {expected}, the server says {}", total[name]));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(second: i64, driven_m: f64, untrue: bool) -> TruthLine {
        TruthLine {
            vehicle: Some("10000000001".into()),
            driven_m: Some(driven_m),
            untrue,
            ..TruthLine::new(TruthKind::Sent, Timestamp::from_secs(second))
        }
    }

    #[test]
    fn a_play_that_ran_faster_than_its_clock_is_not_judged() {
        let rows = |step: i64| {
            driven(&[sent(0, 0.0, false), sent(step, 500.0, false), sent(2 * step, 1_000.0, true)]).remove("10000000001").unwrap()
        };
        assert!(!is_compressed(&rows(20)));
        assert!(is_compressed(&rows(4)));
    }

    #[test]
    fn a_repeat_counts_once_and_old_truth_files_say_nothing() {
        let mut old = sent(30, 0.0, false);
        old.driven_m = None;
        let lines = [sent(20, 2.0, false), sent(10, 1.0, true), sent(20, 2.0, false), old];
        let rows = driven(&lines);
        assert_eq!(rows["10000000001"].iter().map(|d| (d.metres, d.untrue)).collect::<Vec<_>>(), [(1.0, true), (2.0, false)]);
    }
}
