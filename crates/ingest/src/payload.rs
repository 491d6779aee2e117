//! What a payload says, turned into one batch per device: shared by MQTT and HTTP.
//!
//! Understands no syntax (that is `anlan_protocols::{telemetry, line}`); decides whose readings they are, whether back-fill is
//! allowed, and what is wrong with the rest. Good parts are kept beside bad ones. Start at [`read`].

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::PoisonError;

use anlan_model::batch::BoundReading;
use anlan_model::{Credentials, DeviceCredential, DeviceId, Intake, Quality, RawReading, Source, Timestamp};
use anlan_protocols::line::{self, LinePoint, Plain, Precision};
use anlan_protocols::telemetry;

use crate::offer::Content;
use crate::series::{Known, Series, SeriesCache};
use crate::{Limits, Reason, trust};

/// How the bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `{"at","values","quality"}` or an array of it.
    Json,
    /// InfluxDB line protocol with times in this unit.
    Line(Precision),
}

impl Form {
    /// Line protocol with `?precision=`: nanoseconds if absent. `None` for a unit that InfluxDB does not know.
    pub(crate) fn line(precision: Option<&str>) -> Option<Self> {
        Precision::parse(precision.unwrap_or_default()).map(Self::Line)
    }
}

/// Memory that one reading takes on its way to the log, by the largest case (its code is a text of its own). The figure is ours.
const READING_BYTES: usize = 256;

/// What the readings of a payload may take in memory beside its bytes until they are saved: known before anything is read, a little too
/// much where there are tags, text or structure.
pub(crate) fn weight(form: Form, bytes: &[u8]) -> usize {
    let mark = match form {
        Form::Json => b':',
        Form::Line(_) => b'=',
    };
    memchr::memchr_iter(mark, bytes).count().min(line::POINTS_MAX).saturating_mul(READING_BYTES)
}

/// Who sent the payload, and what it may do.
#[derive(Clone, Copy)]
pub(crate) struct Speaker<'a> {
    pub(crate) code: &'a str,
    pub(crate) credential: &'a DeviceCredential,
    /// The label in [`Source::Device`].
    pub(crate) protocol: &'static str,
    /// The whole message is back-fill; the right was checked.
    pub(crate) backfill: bool,
}

/// Something wrong with a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) reason: Reason,
    /// The line (or item of a JSON array), from 1.
    pub(crate) line: Option<usize>,
    pub(crate) text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// What is to be kept of a payload, and what is wrong with it.
#[derive(Debug, Default)]
pub(crate) struct Routed {
    /// One batch per device and kind (live or back-fill), in order of first appearance. None is empty.
    pub(crate) contents: Vec<Content>,
    /// At most [`PROBLEMS_MAX`], in order.
    pub(crate) problems: Vec<Problem>,
    /// Text, null and the like: no numbers, left out without complaint.
    pub(crate) ignored: u64,
}

/// Problems that are remembered of one payload: enough for a person, too few to fill memory.
const PROBLEMS_MAX: usize = 100;

/// The problem that decides the answer: a missing right before anything unreadable, then the first in the payload.
pub(crate) fn worst(problems: &[Problem]) -> Option<&Problem> {
    problems.iter().min_by_key(|p| (!matches!(p.reason, Reason::ForeignDevice | Reason::Backfill), p.line))
}

/// Collects readings by device and kind within the limits.
struct Collector<'a> {
    credentials: &'a Credentials,
    speaker: Speaker<'a>,
    received_at: Timestamp,
    left: usize,
    index: HashMap<(DeviceId, bool), usize, foldhash::fast::RandomState>,
    /// The last answer of `index`: neighbours are mostly of one device.
    last: Option<((DeviceId, bool), usize)>,
    routed: Routed,
}

impl Collector<'_> {
    fn problem(&mut self, reason: Reason, line: Option<usize>, text: impl Into<String>) {
        if self.routed.problems.len() < PROBLEMS_MAX {
            self.routed.problems.push(Problem { reason, line, text: text.into() });
        }
    }

    /// Takes one reading of `device` (the speaker if `None`); false once the payload has brought too many.
    fn reading(&mut self, device: Option<&str>, backfill: bool, line: Option<usize>, reading: RawReading) -> bool {
        if self.left == 0 {
            self.problem(Reason::TooLarge, line, "too many readings in one message; those before are kept");
            return false;
        }
        let own = self.speaker.code;
        let Some(credential) = trust::spoken_for(self.credentials, own, self.speaker.credential, device.unwrap_or(own)) else {
            let named: String = device.unwrap_or_default().chars().take(64).collect();
            self.problem(Reason::ForeignDevice, line, format!("this credential may not speak for device {named:?}"));
            return true;
        };
        if backfill && !self.speaker.backfill && !self.speaker.credential.may_backfill {
            if !self.routed.problems.iter().any(|p| p.reason == Reason::Backfill && p.line == line) {
                self.problem(Reason::Backfill, line, "this device may not mark back-fill");
            }
            return true;
        }
        self.left -= 1;
        let backfill = backfill || self.speaker.backfill;
        self.content(credential.device, backfill).readings.push(reading);
        true
    }

    fn content(&mut self, device: DeviceId, backfill: bool) -> &mut Content {
        let key = (device, backfill);
        let at = match self.last {
            Some((last, at)) if last == key => at,
            _ => *self.index.entry(key).or_insert_with(|| {
                let source = Source::Device { device, protocol: self.speaker.protocol };
                self.routed.contents.push(Content { backfill, ..Content::new(source, self.received_at) });
                self.routed.contents.len() - 1
            }),
        };
        self.last = Some((key, at));
        &mut self.routed.contents[at]
    }
}

/// What makes reading cheap: who knows points by code, and what is remembered of that.
#[derive(Clone, Copy)]
pub(crate) struct Memory<'a> {
    pub(crate) intake: &'a dyn Intake,
    pub(crate) series: &'a SeriesCache,
    /// [`Intake::generation`], asked before the credentials were loaded: a right that is taken away ends with its generation.
    pub(crate) generation: u64,
}

/// Reads a payload of `speaker`.
pub(crate) fn read(
    form: Form,
    bytes: &[u8],
    memory: Memory<'_>,
    credentials: &Credentials,
    speaker: Speaker<'_>,
    received_at: Timestamp,
    limits: &Limits,
) -> Routed {
    let left = limits.max_readings_per_message;
    let mut all = Collector { credentials, speaker, received_at, left, index: HashMap::default(), last: None, routed: Routed::default() };
    match form {
        Form::Json => json(bytes, memory, &mut all),
        Form::Line(precision) => lines(bytes, precision, memory, &mut all),
    }
    all.routed
}

/// All or nothing, as the parser is: a payload of ours that is wrong somewhere is a fault in a program, not a noisy line.
fn json(bytes: &[u8], memory: Memory<'_>, all: &mut Collector<'_>) {
    if let Some(plain) = telemetry::plain(bytes).filter(|plain| plain.values.len() <= all.left) {
        let (device, at) = (all.speaker.credential.device, plain.at);
        all.left -= plain.values.len();
        let content = all.content(device, all.speaker.backfill);
        content.bound.generation = memory.generation;
        for (code, value) in plain.values {
            match memory.intake.find(device, code) {
                Some(point) => content.bound.readings.push(BoundReading { point, device_at: at, value, quality: Quality::Good }),
                None => content.readings.push(RawReading { code: code.to_owned(), device_at: at, value, quality: Quality::Good }),
            }
        }
        return;
    }
    let payload = match telemetry::parse(bytes) {
        Ok(payload) => payload,
        Err(error) => return all.problem(Reason::Unreadable, None, error.to_string()),
    };
    all.routed.ignored = payload.ignored as u64;
    for (item, message) in (1..).zip(payload.messages) {
        for (code, value) in message.values {
            let quality = message.quality.get(&code).copied().unwrap_or_default();
            if !all.reading(None, message.backfill, Some(item), RawReading { code, device_at: message.at, value, quality }) {
                return;
            }
        }
    }
}

/// Lines of series that were read before.
struct Remembered<'a, 'b> {
    memory: Memory<'a>,
    known: &'a Known,
    /// The series that followed the last one when they were learned.
    next: u32,
    /// In the order of the body, with the words already in it.
    learned: Vec<(Box<[u8]>, Series)>,
    learned_words: HashSet<Box<[u8]>, foldhash::fast::RandomState>,
    all: &'a mut Collector<'b>,
}

impl line::Known for Remembered<'_, '_> {
    fn take(&mut self, line: &Plain<'_>) -> bool {
        let Some(series) = self.known.find(self.memory.generation, line.series, self.next) else { return false };
        let point = |(nth, (name, value)): (usize, &(&[u8], f64))| Some((self.known.point(series, nth, name)?, *value));
        let n = line.fields.len();
        let Some(device) = self.known.device(series).filter(|_| self.all.left >= n) else { return false };
        if !line.fields.iter().enumerate().all(|field| point(field).is_some()) {
            return false;
        }
        let bound = &mut self.all.content(device, self.all.speaker.backfill).bound;
        bound.generation = self.memory.generation;
        let points = line.fields.iter().enumerate().filter_map(point);
        bound.readings.extend(points.map(|(point, value)| BoundReading { point, device_at: line.at, value, quality: Quality::Good }));
        self.all.left -= n;
        self.next = series + 1;
        true
    }

    fn learn(&mut self, line: &Plain<'_>, points: &[LinePoint]) {
        if self.learned_words.contains(line.series) {
            return;
        }
        let (own, all) = (self.all.speaker, &self.all);
        let named = points.first().and_then(|p| p.device_tag.as_deref()).unwrap_or(own.code);
        let Some(credential) = trust::spoken_for(all.credentials, own.code, own.credential, named) else { return };
        let field = |((name, _), point): (&(&[u8], f64), &LinePoint)| {
            Some((Box::from(*name), self.memory.intake.find(credential.device, &point.code)?))
        };
        let fields: Vec<_> = line.fields.iter().zip(points).filter_map(field).collect();
        let words: Box<[u8]> = line.series.into();
        self.learned.push((words.clone(), Series { device: credential.device, fields }));
        self.learned_words.insert(words);
    }
}

fn lines(bytes: &[u8], precision: Precision, memory: Memory<'_>, all: &mut Collector<'_>) {
    let speaker = all.speaker.credential.device;
    let known = memory.series.of(speaker);
    let (parsed, learned) = {
        let known = known.read().unwrap_or_else(PoisonError::into_inner);
        let mut remembered =
            Remembered { memory, known: &known, next: 0, learned: Vec::new(), learned_words: HashSet::default(), all: &mut *all };
        let parsed = line::parse_with(bytes, precision, &mut remembered);
        (parsed, remembered.learned)
    };
    memory.series.learn(speaker, memory.generation, learned);
    all.routed.ignored = parsed.ignored as u64;
    for error in &parsed.errors {
        all.problem(Reason::Unreadable, Some(error.line), format!("column {}: {}", error.column, error.reason));
    }
    // One foreign line has as many readings as fields; its problem is told once.
    let mut refused = None;
    for point in parsed.points {
        if refused == Some(point.line) {
            continue;
        }
        let n_problems = all.routed.problems.len();
        let reading = RawReading { code: point.code, device_at: point.at, value: point.value, quality: Quality::Good };
        if !all.reading(point.device_tag.as_deref(), false, Some(point.line), reading) {
            return;
        }
        if all.routed.problems.len() > n_problems {
            refused = Some(point.line);
        }
    }
}

#[cfg(test)]
mod tests {
    use anlan_model::{Batch, PointId, Quarantined};

    use super::*;

    /// Knows the points `a` and `b` of every device: 10 times the device's id, plus 1 or 2.
    struct Registry;
    impl Intake for Registry {
        fn offer(&self, _: Batch) {}
        fn quarantine(&self, _: Quarantined) {}
        fn find(&self, device: DeviceId, code: &str) -> Option<PointId> {
            let n = ["a", "b"].iter().position(|c| *c == code)?;
            Some(PointId::new(device.get() * 10 + n as i64 + 1))
        }
    }

    /// What came of a body: `device:code=value` of readings by name, `device:#point=value` of those already bound, problems.
    fn check(series: &SeriesCache, generation: u64, credentials: &Credentials, body: &str, limits: &Limits, expected: &str) {
        let credential = &credentials.devices["gw"];
        let speaker = Speaker { code: "gw", credential, protocol: "http", backfill: false };
        let memory = Memory { intake: &Registry, series, generation };
        let routed = read(Form::Line(Precision::Seconds), body.as_bytes(), memory, credentials, speaker, Timestamp::EPOCH, limits);
        let mut words = Vec::new();
        for content in &routed.contents {
            let Source::Device { device, .. } = content.source else { panic!("a terminal") };
            words.extend(content.readings.iter().map(|r| format!("{device}:{}={}", r.code, r.value)));
            words.extend(content.bound.readings.iter().map(|r| format!("{device}:#{}={}", r.point, r.value)));
        }
        words.extend(routed.problems.iter().map(ToString::to_string));
        assert_eq!(words.join(" "), expected, "{body}");
    }

    #[test]
    fn a_payload_weighs_what_its_readings_take_and_a_bomb_no_more_than_the_parser_takes() {
        let check = |form, bytes: &[u8], readings: usize| assert_eq!(weight(form, bytes), readings * READING_BYTES);
        let line = Form::Line(Precision::Nanoseconds);
        check(line, b"a value=1 1\nb x=1,y=2", 3);
        check(Form::Json, br#"{"values":{"a":1,"b":2}}"#, 3);
        check(line, b"", 0);
        check(line, &b"a a=1,a=1\n".repeat(line::POINTS_MAX), line::POINTS_MAX);
        assert!(line::POINTS_MAX >= telemetry::VALUES_MAX && line::POINTS_MAX >= Limits::default().max_readings_per_message);
        assert!(Limits::default().max_held_bytes >= 4 * line::POINTS_MAX * READING_BYTES, "any one message fits");
    }

    #[test]
    fn a_series_is_read_by_name_once_until_something_changes() {
        let device = |id: i64, gateway: bool| DeviceCredential {
            device: DeviceId::new(id),
            secret_hash: [0; 32],
            enterprise: Some(anlan_model::EnterpriseId::new(1)),
            gateway,
            may_backfill: false,
            disabled: false,
        };
        let mut credentials = Credentials::default();
        credentials.devices.extend([("gw".to_owned(), device(1, true)), ("d2".to_owned(), device(2, false))]);
        let (series, limits) = (SeriesCache::default(), Limits::default());
        let body = "a value=1 1\nb,device=d2 value=2 1\nnew value=3 1\na value=4 2";
        check(&series, 1, &credentials, body, &limits, "1:a=1 1:new=3 1:a=4 2:b=2");
        check(&series, 1, &credentials, body, &limits, "1:new=3 1:#11=1 1:#11=4 2:#22=2");
        check(&series, 1, &credentials, "a s=\"t\",value=5 3\na value=6,x=7 3", &limits, "1:a=5 1:a=6 1:a.x=7");
        let few = Limits { max_readings_per_message: 1, ..Limits::default() };
        let told = "1:#11=1 line 2: too many readings in one message; those before are kept";
        check(&series, 1, &credentials, "a value=1 1\na value=2 2", &few, told);
        // A right that is taken away ends with its generation.
        credentials.devices.insert("gw".to_owned(), device(1, false));
        let refused = "1:a=1 1:new=3 1:a=4 line 2: this credential may not speak for device \"d2\"";
        check(&series, 2, &credentials, body, &limits, refused);
        check(&series, 2, &credentials, body, &limits, "1:new=3 1:#11=1 1:#11=4 line 2: this credential may not speak for device \"d2\"");
    }
}
