//! Compares a truth file with what a server says through its public API: every value bit for bit, every position, the alarms, events and gaps
//! that should be there.
//!
//! Reads only; trusts nothing but the API. Start at [`check`]; [`CheckReport::ok`] decides the exit code.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::path::Path;

use anlan_model::Timestamp;
use serde_json::Value;

use crate::api::{Api, ApiError, Credentials, in_parallel, percent};
use crate::road::{self, RoadReport};
use crate::truth::{self, TruthError, TruthKind, TruthLine};
use crate::world::Levels;

/// Requests at once.
const THREADS: usize = 8;
/// Differences that are named; the rest is counted.
const NAMED_MAX: usize = 20;
/// An expected alarm may begin this much earlier or later than the simulator thought: delivery, reorder window, timer ticks.
const ALARM_EARLY_US: i64 = 30_000_000;
const ALARM_LATE_US: i64 = 90_000_000;
/// An expected event may be noted this much earlier or later.
const EVENT_AROUND_US: i64 = 120_000_000;
/// A value with a wrong clock is filed at its arrival; that is at most this far from when it was taken.
const ARRIVAL_AROUND_US: i64 = 60_000_000;
/// A polled value is stamped when its answer is heard: at most this long after it was read in the controller.
const POLL_LATE_US: i64 = 3_000_000;
/// Events that this release of the server notes; others are counted as not judged.
const EVENTS_JUDGED: [&str; 5] = ["clock_offset", "taken_over", "drift", "poll_failed", "poll_restored"];

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Values and positions that the server has as sent.
    pub equal: u64,
    /// Acknowledged, but not there, or there with another value.
    pub missing: u64,
    /// There, within the time of the truth file, but never sent.
    pub extra: u64,
    /// Alarms that should be there.
    pub alarms_expected: u64,
    /// Of those, not there.
    pub alarms_missing: u64,
    /// Events that should be there and that this release judges.
    pub events_expected: u64,
    /// Of those, not there.
    pub events_missing: u64,
    /// Events that no rule of this release judges.
    pub events_unjudged: u64,
    /// Silences that should be there.
    pub gaps_expected: u64,
    /// Of those, filled with live data.
    pub gaps_missing: u64,
    /// What was driven.
    pub road: RoadReport,
    /// The first differences, for people.
    pub differences: Vec<String>,
}

impl CheckReport {
    /// Nothing acknowledged is missing, nothing was made up, no alarm is missing.
    pub fn ok(&self) -> bool {
        self.missing == 0
            && self.extra == 0
            && self.alarms_missing == 0
            && self.events_missing == 0
            && self.gaps_missing == 0
            && self.road.ok()
    }

    fn differ(&mut self, text: impl FnOnce() -> String) {
        if self.differences.len() < NAMED_MAX {
            self.differences.push(text());
        }
    }

    fn add(&mut self, other: Self) {
        self.equal += other.equal;
        self.missing += other.missing;
        self.extra += other.extra;
        for difference in other.differences {
            self.differ(|| difference);
        }
    }
}

impl fmt::Display for CheckReport {
    /// The first line is fixed: `equal E missing M extra X`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "equal {} missing {} extra {}", self.equal, self.missing, self.extra)?;
        writeln!(
            f,
            "alarms: expected {} found {} missing {}",
            self.alarms_expected,
            self.alarms_expected - self.alarms_missing,
            self.alarms_missing
        )?;
        writeln!(
            f,
            "events: expected {} found {} missing {} not judged {}",
            self.events_expected,
            self.events_expected - self.events_missing,
            self.events_missing,
            self.events_unjudged
        )?;
        write!(f, "gaps: expected {} found {} missing {}", self.gaps_expected, self.gaps_expected - self.gaps_missing, self.gaps_missing)?;
        write!(f, "\n{}", self.road)?;
        for difference in self.differences.iter().chain(self.road.differences.iter().take(NAMED_MAX)) {
            write!(f, "\n  {difference}")?;
        }
        Ok(())
    }
}

/// Why nothing could be compared.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The truth file.
    #[error(transparent)]
    Truth(#[from] TruthError),
    /// The server.
    #[error("the server cannot be asked")]
    Api(#[from] ApiError),
}

/// Compares the truth file at `path` with the server at `base` (such as `http://127.0.0.1:8080`).
///
/// Cost: one request per device, one per point and page of 10,000 readings, eight at a time.
///
/// # Errors
/// [`CheckError`]. A device or vehicle that the server does not know is no error: all its values are missing.
pub fn check(path: &Path, base: &str, credentials: &Credentials) -> Result<CheckReport, CheckError> {
    let lines = truth::read(path)?;
    let api = Api::sign_in(base, credentials)?;
    Ok(compare(&api, &lines)?)
}

/// What is compared: one acknowledged value or position.
#[derive(Clone, Debug, PartialEq)]
struct Item {
    at: Timestamp,
    /// Text that is equal exactly if the values are.
    what: String,
    clock_bad: bool,
    backfill: bool,
}

fn compare(api: &Api, lines: &[TruthLine]) -> Result<CheckReport, ApiError> {
    // By device and point, or by vehicle and nothing.
    let mut sent: BTreeMap<(&str, &str), Vec<Item>> = BTreeMap::new();
    let mut pictures: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut held: BTreeMap<(&str, &str), Vec<Hold>> = BTreeMap::new();
    let mut gaps: HashMap<&str, Vec<(Timestamp, Timestamp)>> = HashMap::new();
    let mut report = CheckReport::default();
    for line in lines {
        let subject = line.device.as_deref().or(line.vehicle.as_deref()).unwrap_or_default();
        if let Some(picture) = &line.picture {
            pictures.entry(subject).or_default().push(picture);
            continue;
        }
        match line.kind {
            TruthKind::Sent => {
                let Some(what) = line.value.map(value_text).or(line.position.as_ref().map(position_text)) else { continue };
                let item = Item {
                    at: line.clock_bad_taken_at.unwrap_or(line.at),
                    what,
                    clock_bad: line.clock_bad_taken_at.is_some(),
                    backfill: line.backfill,
                };
                sent.entry((subject, line.point.as_deref().unwrap_or_default())).or_default().push(item);
            }
            TruthKind::Held => {
                let (Some(value), Some(until)) = (line.value, line.until) else { continue };
                let hold = Hold { from: line.at, until, what: value_text(value), taken: line.taken.unwrap_or_default() };
                held.entry((subject, line.point.as_deref().unwrap_or_default())).or_default().push(hold);
            }
            TruthKind::ExpectGap => {
                report.gaps_expected += 1;
                gaps.entry(subject).or_default().extend(line.until.map(|until| (line.at, until)));
            }
            TruthKind::ExpectAlarm | TruthKind::ExpectEvent => {}
        }
    }
    let subjects = Subjects::find(api, lines)?;
    let work: Vec<_> = sent.iter().collect();
    let compared = in_parallel(&work, THREADS, |((subject, point), items)| {
        let name = if point.is_empty() { (*subject).to_owned() } else { format!("{subject}/{point}") };
        let path = if point.is_empty() {
            subjects.vehicles.get(*subject).map(|id| (format!("/api/v1/vehicles/{id}/positions"), "positions"))
        } else {
            subjects
                .points
                .get(&((*subject).to_owned(), (*point).to_owned()))
                .map(|id| (format!("/api/v1/points/{id}/readings"), "readings"))
        };
        let there = match path {
            Some((path, noun)) => items_there(api, &path, noun, items)?,
            None => Vec::new(),
        };
        let empty = Vec::new();
        let broken = broken_gaps(gaps.get(subject).unwrap_or(&empty), &there);
        Ok::<_, ApiError>((
            match_items(&name, items, there),
            broken.into_iter().map(|gap| ((*subject).to_owned(), gap)).collect::<Vec<_>>(),
        ))
    })?;
    let work: Vec<_> = held.iter().collect();
    let polled = in_parallel(&work, THREADS, |((device, point), holds)| {
        let id = subjects.points.get(&((*device).to_owned(), (*point).to_owned()));
        let span = holds.iter().map(|h| h.from).min().zip(holds.iter().map(|h| h.until).max());
        let there = match id.zip(span) {
            Some((id, span)) => rows_there(api, &format!("/api/v1/points/{id}/readings"), "readings", span)?,
            None => Vec::new(),
        };
        let empty = Vec::new();
        // The last answer before a silence is stamped a little after it was read.
        let quiet: Vec<_> = gaps.get(device).unwrap_or(&empty).iter().map(|(from, until)| (from.plus_us(POLL_LATE_US), *until)).collect();
        let broken = broken_gaps(&quiet, &there);
        let broken = broken.into_iter().map(|gap| ((*device).to_owned(), gap)).collect::<Vec<_>>();
        Ok::<_, ApiError>((match_holds(&format!("{device}/{point}"), holds, there), broken))
    })?;
    let work: Vec<_> = pictures.iter().collect();
    let seen = in_parallel(&work, THREADS, |(phone, hashes)| {
        let rows = match subjects.vehicles.get(**phone) {
            Some(id) => api.list(&format!("/api/v1/vehicles/{id}/media?limit=1000"), "media")?,
            None => Vec::new(),
        };
        let mut part = CheckReport::default();
        for hash in hashes.iter() {
            if rows.iter().any(|row| row["sha256"] == **hash) {
                part.equal += 1;
            } else {
                part.missing += 1;
                part.differ(|| format!("missing picture {hash} of {phone}"));
            }
        }
        Ok::<_, ApiError>((part, Vec::new()))
    })?;
    let mut broken_gaps = HashSet::new();
    for (part, broken) in compared.into_iter().chain(polled).chain(seen) {
        report.add(part);
        broken_gaps.extend(broken);
    }
    report.gaps_missing = broken_gaps.len() as u64;
    for (subject, (from, until)) in broken_gaps {
        report.differ(|| format!("gap of {subject} from {from} to {until} holds live data"));
    }
    report.road = road::compare(api, lines, &subjects.vehicles)?;
    alarms(api, lines, &subjects, &mut report)?;
    events(api, lines, &mut report)?;
    Ok(report)
}

/// Ids by the names of the truth file.
struct Subjects {
    points: HashMap<(String, String), String>,
    vehicles: HashMap<String, String>,
}

impl Subjects {
    fn find(api: &Api, lines: &[TruthLine]) -> Result<Self, ApiError> {
        let text = |row: &Value, key: &str| row[key].as_str().map(str::to_owned);
        let devices: HashSet<&str> = lines.iter().filter_map(|l| l.device.as_deref()).collect();
        let mut homes = Vec::new();
        if !devices.is_empty() {
            let rows = api.list("/api/v1/devices?limit=1000", "devices")?;
            homes.extend(
                rows.iter()
                    .filter_map(|row| Some((text(row, "code")?, text(row, "id")?)))
                    .filter(|(code, _)| devices.contains(code.as_str())),
            );
        }
        let found = in_parallel(&homes, THREADS, |(code, id)| {
            let rows = api.list(&format!("/api/v1/points?device={}&limit=1000", percent(id)), "points")?;
            let pair = |row: &Value| Some(((code.clone(), text(row, "code")?), text(row, "id")?));
            Ok::<_, ApiError>(rows.iter().filter_map(pair).collect::<Vec<_>>())
        })?;
        let mut vehicles = HashMap::new();
        if lines.iter().any(|l| l.vehicle.is_some()) {
            let rows = api.list("/api/v1/vehicles?limit=1000", "vehicles")?;
            let pair = |row: &Value| Some((text(row, "phone")?.trim_start_matches('0').to_owned(), text(row, "id")?));
            vehicles.extend(rows.iter().filter_map(pair));
        }
        Ok(Self { points: found.into_iter().flatten().collect(), vehicles })
    }
}

fn value_text(value: f64) -> String {
    // The bits decide; the shortest text is for people. Both zeros are one to JSON readers that matter, not to us.
    format!("{value} ({:016x})", value.to_bits())
}

fn position_text(p: &truth::TruthPosition) -> String {
    let e6 = |degrees: f64| (degrees * 1e6).round();
    format!(
        "lon {} lat {} altitude {} speed {} direction {} alarm {:08x} status {:08x}",
        e6(p.lon),
        e6(p.lat),
        p.altitude_m,
        p.speed_kmh,
        p.direction_deg,
        p.alarm_bits,
        p.status_bits
    )
}

/// What the server has around the time of `items`.
fn items_there(api: &Api, path: &str, noun: &'static str, items: &[Item]) -> Result<Vec<Item>, ApiError> {
    match items.iter().map(|i| i.at).min().zip(items.iter().map(|i| i.at).max()) {
        Some(span) => rows_there(api, path, noun, span),
        None => Ok(Vec::new()),
    }
}

/// What the server has from a little before `from` to a little after `to`.
fn rows_there(api: &Api, path: &str, noun: &'static str, (from, to): (Timestamp, Timestamp)) -> Result<Vec<Item>, ApiError> {
    let (from, to) = (from.plus_us(-ARRIVAL_AROUND_US).to_string(), to.plus_us(2 * ARRIVAL_AROUND_US).to_string());
    let rows = api.list(&format!("{path}?from={}&to={}&limit=10000", percent(&from), percent(&to)), noun)?;
    let item = |row: &Value| {
        let flag = |name: &str| row["flags"].as_array().is_some_and(|flags| flags.iter().any(|f| f == name));
        let what = match noun {
            "readings" => value_text(row["value"].as_f64()?),
            _ => position_text(&truth::TruthPosition {
                lon: row["lon"].as_f64()?,
                lat: row["lat"].as_f64()?,
                altitude_m: row["altitude_m"].as_u64()?.try_into().ok()?,
                speed_kmh: row["speed_kmh"].as_f64()?,
                direction_deg: row["direction_deg"].as_u64()?.try_into().ok()?,
                alarm_bits: row["alarm_bits"].as_u64()?.try_into().ok()?,
                status_bits: row["status_bits"].as_u64()?.try_into().ok()?,
            }),
        };
        let at = Timestamp::parse(row["at"].as_str()?).ok()?;
        Some(Item { at, what, clock_bad: flag("clock_bad"), backfill: flag("backfill") })
    };
    rows.iter().map(|row| item(row).ok_or_else(|| ApiError::Shape { path: path.to_owned(), expected: noun })).collect()
}

/// A value that a controller held, and how often the poller took it.
#[derive(Clone, Debug, PartialEq)]
struct Hold {
    from: Timestamp,
    until: Timestamp,
    what: String,
    taken: u64,
}

/// Finds for every polled value a time when the controller held it, and for every answer that was taken a value.
fn match_holds(name: &str, holds: &[Hold], there: Vec<Item>) -> CheckReport {
    let mut report = CheckReport::default();
    let (mut first, mut last) = (Timestamp::MAX, Timestamp::MIN);
    for hold in holds {
        (first, last) = (first.min(hold.from), last.max(hold.until));
    }
    let mut found = vec![0_u64; holds.len()];
    for item in there {
        // Holds of one value do not touch each other; with two of them within the lateness the later one is meant.
        let fits = |h: &Hold| h.what == item.what && h.from <= item.at && item.at < h.until.plus_us(POLL_LATE_US);
        if let Some(i) = (0..holds.len()).rev().find(|&i| fits(&holds[i])) {
            found[i] += 1;
            report.equal += 1;
        } else if (first..last).contains(&item.at) {
            report.extra += 1;
            report.differ(|| format!("extra {name} at {}: {}, which the controller did not hold then", item.at, item.what));
        }
    }
    for (hold, found) in holds.iter().zip(found).filter(|(hold, found)| *found < hold.taken) {
        report.missing += hold.taken - found;
        report.differ(|| {
            format!("missing {name} from {} to {}: {} was taken {} times, {found} are there", hold.from, hold.until, hold.what, hold.taken)
        });
    }
    report
}

/// Pairs what was sent with what is there.
fn match_items(name: &str, sent: &[Item], there: Vec<Item>) -> CheckReport {
    let mut report = CheckReport::default();
    let mut seen = HashSet::new();
    // A repeat of the same instant and value is one reading (identity of a reading, ARCHITECTURE).
    let sent: Vec<&Item> = sent.iter().filter(|i| i.clock_bad || seen.insert((i.at, i.what.as_str()))).collect();
    let (mut first, mut last) = (Timestamp::MAX, Timestamp::MIN);
    for item in &sent {
        (first, last) = (first.min(item.at), last.max(item.at));
    }
    let mut exact: HashMap<(Timestamp, String), u64> = HashMap::new();
    let mut bad: Vec<Option<Item>> = Vec::new();
    for item in there {
        match item.clock_bad {
            true => bad.push(Some(item)),
            false => *exact.entry((item.at, item.what)).or_default() += 1,
        }
    }
    let mut lacking: Vec<&Item> = Vec::new();
    for item in sent {
        let found = if item.clock_bad {
            // Filed at its arrival: the nearest one with this value.
            let near = |b: &Option<Item>| {
                b.as_ref().filter(|b| b.what == item.what).map(|b| b.at.since_us(item.at).abs()).filter(|d| *d <= ARRIVAL_AROUND_US)
            };
            let best = (0..bad.len()).filter_map(|i| Some((near(&bad[i])?, i))).min();
            best.and_then(|(_, i)| bad[i].take()).is_some()
        } else {
            match exact.get_mut(&(item.at, item.what.clone())) {
                Some(n) if *n > 0 => {
                    *n -= 1;
                    true
                }
                _ => false,
            }
        };
        if found {
            report.equal += 1;
        } else {
            lacking.push(item);
        }
    }
    let mut left: Vec<(Timestamp, String)> =
        exact.into_iter().filter(|(_, n)| *n > 0).flat_map(|(key, n)| std::iter::repeat_n(key, n as usize)).collect();
    left.extend(bad.into_iter().flatten().map(|b| (b.at, b.what)));
    left.sort();
    for item in lacking {
        report.missing += 1;
        report.differ(|| {
            let instead = left.iter().find(|(at, _)| *at == item.at).map_or(String::new(), |(_, what)| format!(", there is {what}"));
            format!("missing {name} at {}: {}{instead}", item.at, item.what)
        });
    }
    // Outside the time of the truth file others may have sent.
    for (at, what) in left.into_iter().filter(|(at, _)| (first..=last).contains(at)) {
        report.extra += 1;
        report.differ(|| format!("extra {name} at {at}: {what}"));
    }
    report
}

/// The gaps that hold live data.
fn broken_gaps(gaps: &[(Timestamp, Timestamp)], there: &[Item]) -> Vec<(Timestamp, Timestamp)> {
    let live_inside = |from: Timestamp, until: Timestamp| there.iter().any(|i| i.at > from && i.at < until && !i.backfill);
    // Instants are cut to the device's resolution on the way; a second at each end is not a matter of silence.
    gaps.iter().copied().filter(|(from, until)| live_inside(from.plus_us(1_000_000), until.plus_us(-1_000_000))).collect()
}

fn alarms(api: &Api, lines: &[TruthLine], subjects: &Subjects, report: &mut CheckReport) -> Result<(), ApiError> {
    let expected: Vec<&TruthLine> = lines.iter().filter(|l| l.kind == TruthKind::ExpectAlarm).collect();
    report.alarms_expected = expected.len() as u64;
    let Some(from) = expected.iter().map(|l| l.at).min() else { return Ok(()) };
    let from = from.plus_us(-ALARM_EARLY_US).to_string();
    let rows = api.list(&format!("/api/v1/alarms?from={}&limit=1000", percent(&from)), "alarms")?;
    let levels = Levels::of_base_pack();
    let mut used = vec![false; rows.len()];
    for line in expected {
        let id = match (&line.device, &line.point, &line.vehicle) {
            (Some(device), Some(point), _) => subjects.points.get(&(device.clone(), point.clone())).map(|id| ("point", id)),
            (_, _, Some(phone)) => subjects.vehicles.get(phone).map(|id| ("vehicle", id)),
            _ => None,
        };
        let of_bit = line.bit.and_then(|bit| levels.bit(bit)).map(|(rule, _)| rule);
        let fits = |row: &Value| {
            let began = |key: &str| row[key].as_str().and_then(|t| Timestamp::parse(t).ok()).map(|t| t.since_us(line.at));
            let in_time =
                ["onset_at", "raised_at"].iter().filter_map(|key| began(key)).any(|d| (-ALARM_EARLY_US..=ALARM_LATE_US).contains(&d));
            let about = id.is_some_and(|(key, id)| row[key] == **id);
            let rule = row["kind"] == *line.rule.as_deref().unwrap_or_default() && of_bit.is_none_or(|rule| row["rule"] == rule);
            about && rule && in_time && row["historic"] != true
        };
        let found = (0..rows.len()).find(|&i| !used[i] && fits(&rows[i]));
        let right_level = found.is_some_and(|i| line.level.as_deref().is_none_or(|level| rows[i]["level"] == level));
        if let (Some(i), true) = (found, right_level) {
            used[i] = true;
            continue;
        }
        report.alarms_missing += 1;
        report.differ(|| {
            let who = [line.device.as_deref(), line.vehicle.as_deref(), line.point.as_deref()]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join("/");
            let bit = line.bit.map_or(String::new(), |bit| format!(" bit {bit}"));
            let instead = found.map_or(String::new(), |i| format!(", found with level {}", rows[i]["level"]));
            format!(
                "missing alarm {}{bit} {} of {who} at {}{instead}",
                line.rule.as_deref().unwrap_or("?"),
                line.level.as_deref().unwrap_or(""),
                line.at
            )
        });
    }
    Ok(())
}

fn events(api: &Api, lines: &[TruthLine], report: &mut CheckReport) -> Result<(), ApiError> {
    let expected = lines.iter().filter(|l| l.kind == TruthKind::ExpectEvent);
    let (judged, unjudged): (Vec<&TruthLine>, Vec<&TruthLine>) = expected.partition(|l| {
        // In a compressed play every vehicle drifts.
        l.event.as_deref().is_some_and(|event| EVENTS_JUDGED.contains(&event) && !(event == "drift" && report.road.compressed))
    });
    report.events_unjudged = unjudged.len() as u64;
    report.events_expected = judged.len() as u64;
    let kinds: HashSet<&str> = judged.iter().filter_map(|l| l.event.as_deref()).collect();
    let mut rows = HashMap::new();
    for kind in kinds {
        rows.insert(kind, api.list(&format!("/api/v1/events?kind={kind}&limit=1000"), "events")?);
    }
    for line in judged {
        let kind = line.event.as_deref().unwrap_or_default();
        let who = line.device.as_deref().or(line.vehicle.as_deref()).unwrap_or_default();
        let fits = |row: &Value| {
            let subject = row["subject"].as_str().unwrap_or_default();
            let at = row["at"].as_str().and_then(|t| Timestamp::parse(t).ok());
            subject.trim_start_matches('0') == who && at.is_some_and(|t| t.since_us(line.at).abs() <= EVENT_AROUND_US)
        };
        if !rows.get(kind).is_some_and(|rows| rows.iter().any(fits)) {
            report.events_missing += 1;
            report.differ(|| format!("missing event {kind} of {who} at {}", line.at));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;

    use serde_json::json;

    use super::*;

    /// A server of fixed answers on loopback; asked for anything else it says 404. Lives as long as the test process.
    fn fake(answers: Vec<(&'static str, Value)>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let (mut request, mut line, mut length) = (String::new(), String::new(), 0);
                stream.read_line(&mut request).unwrap();
                while stream.read_line(&mut line).unwrap() > 2 {
                    if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = n.trim().parse().unwrap();
                    }
                    line.clear();
                }
                std::io::copy(&mut (&mut stream).take(length), &mut std::io::sink()).unwrap();
                let path = request.split(' ').nth(1).unwrap_or_default();
                let answer = answers.iter().find(|(begin, _)| path.starts_with(begin));
                let (status, body) = answer.map_or(("404 Not Found", "{}".to_owned()), |(_, body)| ("200 OK", body.to_string()));
                let head = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                stream.get_mut().write_all(format!("{head}{body}").as_bytes()).unwrap();
            }
        });
        base
    }

    fn at(second: u32) -> Timestamp {
        Timestamp::parse(&format!("2026-01-01T00:00:{second:02}Z")).unwrap()
    }

    fn sent(second: u32, value: f64) -> TruthLine {
        TruthLine { device: Some("d".into()), point: Some("p".into()), value: Some(value), ..TruthLine::new(TruthKind::Sent, at(second)) }
    }

    fn reading(second: u32, value: f64, flags: &[&str]) -> Value {
        json!({ "at": at(second).to_string(), "received_at": at(second).to_string(), "value": value, "quality": "good", "flags": flags })
    }

    /// Checks `lines` against a server with one device `d`, one point `p` and one vehicle, and returns the report.
    fn ask(lines: &[TruthLine], readings: Vec<Value>, positions: Vec<Value>, alarms: Vec<Value>, events: Vec<Value>) -> CheckReport {
        let base = fake(vec![
            ("/api/v1/session", json!({ "token": "t" })),
            ("/api/v1/devices", json!({ "devices": [{ "id": "1", "code": "d" }], "next": null })),
            ("/api/v1/points?", json!({ "points": [{ "id": "7", "code": "p" }], "next": null })),
            ("/api/v1/points/7/readings", json!({ "readings": readings, "next": null })),
            ("/api/v1/vehicles?", json!({ "vehicles": [{ "id": "3", "phone": "10000000001" }], "next": null })),
            ("/api/v1/vehicles/3/positions", json!({ "positions": positions, "next": null })),
            ("/api/v1/alarms", json!({ "alarms": alarms, "next": null })),
            ("/api/v1/events", json!({ "events": events, "next": null })),
        ]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("truth.jsonl");
        let text: String = lines.iter().map(|l| serde_json::to_string(l).unwrap() + "\n").collect();
        std::fs::write(&path, text).unwrap();
        check(&path, &base, &Credentials::Password { username: "u".into(), password: "p".into() }).unwrap()
    }

    fn counts(report: &CheckReport) -> (u64, u64, u64) {
        (report.equal, report.missing, report.extra)
    }

    #[test]
    fn equal_missing_and_extra_values_are_told_apart() {
        let truth = [sent(1, 0.1 + 0.2), sent(2, 5.0), sent(3, 6.0), sent(3, 6.0)];
        let good = vec![reading(1, 0.1 + 0.2, &[]), reading(2, 5.0, &[]), reading(3, 6.0, &[])];
        let report = ask(&truth, good, vec![], vec![], vec![]);
        assert_eq!(counts(&report), (3, 0, 0));
        assert!(report.ok());
        assert!(report.to_string().starts_with("equal 3 missing 0 extra 0\n"));
        // One bit off, one lost, one made up, one outside the time of the file.
        let wrong = vec![reading(1, 0.3, &[]), reading(2, 5.0, &[]), reading(2, 5.5, &[]), reading(9, 1.0, &[])];
        let report = ask(&truth, wrong, vec![], vec![], vec![]);
        assert_eq!(counts(&report), (1, 2, 2), "{report}");
        assert!(!report.ok());
        assert!(report.differences[0].contains("there is 0.3"), "{report}");
    }

    #[test]
    fn polled_values_are_those_the_controller_held_then() {
        let hold = |from, until, value, taken| TruthLine {
            kind: TruthKind::Held,
            until: Some(at(until)),
            taken: Some(taken),
            ..sent(from, value)
        };
        let truth = [hold(0, 10, 1.5, 2), hold(10, 20, 2.5, 2), hold(20, 30, 1.5, 1)];
        let check = |rows: &[(u32, f64)], want| {
            let readings = rows.iter().map(|(s, v)| reading(*s, *v, &["time_server"])).collect();
            assert_eq!(counts(&ask(&truth, readings, vec![], vec![], vec![])), want, "{rows:?}");
        };
        check(&[(3, 1.5), (8, 1.5), (12, 2.5), (21, 2.5), (25, 1.5)], (5, 0, 0));
        check(&[(3, 1.5), (8, 1.5), (12, 2.5), (17, 2.5), (19, 2.5), (25, 1.5)], (6, 0, 0));
        check(&[(3, 1.5), (8, 1.5), (12, 2.5), (25, 1.5)], (4, 1, 0));
        check(&[(3, 1.5), (8, 1.5), (9, 2.5), (17, 2.5), (25, 1.5), (45, 9.0)], (4, 1, 1));
        check(&[], (0, 5, 0));
        let gap = TruthLine { device: Some("d".into()), until: Some(at(25)), ..TruthLine::new(TruthKind::ExpectGap, at(8)) };
        let truth = [truth[0].clone(), truth[1].clone(), truth[2].clone(), gap];
        let gaps = |rows: &[(u32, f64)]| {
            let readings = rows.iter().map(|(s, v)| reading(*s, *v, &[])).collect();
            ask(&truth, readings, vec![], vec![], vec![]).gaps_missing
        };
        assert_eq!((gaps(&[(8, 1.5), (25, 1.5)]), gaps(&[(8, 1.5), (17, 2.5), (25, 1.5)])), (0, 1));
    }

    #[test]
    fn a_value_with_a_wrong_clock_is_found_at_its_arrival() {
        let mut fast = sent(1, 7.0);
        fast.clock_bad_taken_at = Some(fast.at);
        fast.at = fast.at.plus_us(8 * 3_600_000_000);
        let lines = [fast, sent(5, 8.0)];
        assert_eq!(counts(&ask(&lines, vec![reading(2, 7.0, &["clock_bad"]), reading(5, 8.0, &[])], vec![], vec![], vec![])), (2, 0, 0));
        assert_eq!(
            counts(&ask(&lines, vec![reading(2, 7.0, &[]), reading(5, 8.0, &[])], vec![], vec![], vec![])),
            (1, 1, 1),
            "not flagged"
        );
    }

    #[test]
    fn unknown_devices_are_missing_not_errors() {
        let mut line = sent(1, 1.0);
        line.device = Some("nobody".into());
        assert_eq!(counts(&ask(&[line], vec![], vec![], vec![], vec![])), (0, 1, 0));
    }

    #[test]
    fn positions_are_compared_field_by_field() {
        let position = truth::TruthPosition {
            lon: 102.545_678,
            lat: 24.351_234,
            altitude_m: 1_650,
            speed_kmh: 61.3,
            direction_deg: 90,
            alarm_bits: 2,
            status_bits: 3,
        };
        let line = TruthLine { vehicle: Some("10000000001".into()), position: Some(position), ..TruthLine::new(TruthKind::Sent, at(1)) };
        let mut row = json!({
            "at": at(1).to_string(), "lon": 102.545_678, "lat": 24.351_234, "altitude_m": 1650, "speed_kmh": 61.3, "direction_deg": 90,
            "alarm_bits": 2, "status_bits": 3, "flags": [],
        });
        assert_eq!(counts(&ask(std::slice::from_ref(&line), vec![], vec![row.clone()], vec![], vec![])), (1, 0, 0));
        row["lat"] = json!(24.351_235);
        assert_eq!(counts(&ask(&[line], vec![], vec![row], vec![], vec![])), (0, 1, 1));
    }

    #[test]
    fn expected_alarms_are_found_once_with_their_level() {
        let alarm = |rule: &str, level: &str| TruthLine {
            device: Some("d".into()),
            point: Some("p".into()),
            rule: Some(rule.into()),
            level: Some(level.into()),
            ..TruthLine::new(TruthKind::ExpectAlarm, at(10))
        };
        let row = |kind: &str, level: &str, historic: bool| {
            json!({ "id": "a", "rule": kind, "kind": kind, "point": "7", "vehicle": null, "level": level, "onset_at": at(10).to_string(),
                    "raised_at": at(12).to_string(), "historic": historic })
        };
        let missing = |lines: &[TruthLine], rows| ask(lines, vec![], vec![], rows, vec![]).alarms_missing;
        assert_eq!(missing(&[alarm("hh", "red")], vec![row("hh", "red", false)]), 0);
        assert_eq!(missing(&[alarm("hh", "red")], vec![row("hh", "orange", false)]), 1, "another level");
        assert_eq!(missing(&[alarm("hh", "red")], vec![row("hh", "red", true)]), 1, "historic");
        assert_eq!(missing(&[alarm("hh", "red"), alarm("hh", "red")], vec![row("hh", "red", false)]), 1, "one alarm, two expected");
        let bit = TruthLine {
            vehicle: Some("10000000001".into()),
            rule: Some("terminal_bit".into()),
            bit: Some(0),
            level: Some("red".into()),
            ..TruthLine::new(TruthKind::ExpectAlarm, at(10))
        };
        let of_vehicle = |rule: &str| {
            json!({ "rule": rule, "kind": "terminal_bit", "point": null, "vehicle": "3", "level": "red", "onset_at": at(10).to_string(),
                    "raised_at": at(10).to_string(), "historic": false })
        };
        assert_eq!(missing(std::slice::from_ref(&bit), vec![of_vehicle("terminal_emergency")]), 0);
        assert_eq!(missing(&[bit], vec![of_vehicle("terminal_rollover")]), 1, "another bit");
    }

    #[test]
    fn events_and_gaps_are_looked_for() {
        let event =
            |kind: &str| TruthLine { device: Some("d".into()), event: Some(kind.into()), ..TruthLine::new(TruthKind::ExpectEvent, at(5)) };
        let gap = TruthLine { device: Some("d".into()), until: Some(at(20)), ..TruthLine::new(TruthKind::ExpectGap, at(5)) };
        let lines = [sent(5, 1.0), sent(10, 2.0), sent(20, 3.0), event("clock_offset"), event("unheard_of"), gap];
        let rows = |flags: &[&str]| vec![reading(5, 1.0, &[]), reading(10, 2.0, flags), reading(20, 3.0, &[])];
        let heard = vec![json!({ "id": "1", "at": at(6).to_string(), "kind": "clock_offset", "subject": "d", "detail": {} })];
        let report = ask(&lines, rows(&["backfill"]), vec![], vec![], heard);
        assert_eq!((report.events_expected, report.events_missing, report.events_unjudged), (1, 0, 1));
        assert_eq!((report.gaps_expected, report.gaps_missing), (1, 0));
        let report = ask(&lines, rows(&[]), vec![], vec![], vec![]);
        assert_eq!((report.events_missing, report.gaps_missing), (1, 1));
    }
}
