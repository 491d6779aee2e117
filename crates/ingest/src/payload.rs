//! What a payload says, turned into one batch per device: shared by MQTT and HTTP.
//!
//! Understands no syntax (that is `anlan_protocols::{telemetry, line}`); decides whose readings they are, whether back-fill is
//! allowed, and what is wrong with the rest. Good parts are kept beside bad ones. Start at [`read`].

use std::collections::HashMap;
use std::fmt;

use anlan_model::{Credentials, DeviceCredential, DeviceId, Quality, RawReading, Source, Timestamp};
use anlan_protocols::line::{self, Precision};
use anlan_protocols::telemetry;

use crate::offer::Content;
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
    index: HashMap<(DeviceId, bool), usize>,
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
        let at = *self.index.entry((credential.device, backfill)).or_insert_with(|| {
            let source = Source::Device { device: credential.device, protocol: self.speaker.protocol };
            self.routed.contents.push(Content { backfill, ..Content::new(source, self.received_at) });
            self.routed.contents.len() - 1
        });
        self.routed.contents[at].readings.push(reading);
        true
    }
}

/// Reads a payload of `speaker`.
pub(crate) fn read(
    form: Form,
    bytes: &[u8],
    credentials: &Credentials,
    speaker: Speaker<'_>,
    received_at: Timestamp,
    limits: &Limits,
) -> Routed {
    let left = limits.max_readings_per_message;
    let mut all = Collector { credentials, speaker, received_at, left, index: HashMap::new(), routed: Routed::default() };
    match form {
        Form::Json => json(bytes, &mut all),
        Form::Line(precision) => lines(bytes, precision, &mut all),
    }
    all.routed
}

/// All or nothing, as the parser is: a payload of ours that is wrong somewhere is a fault in a program, not a noisy line.
fn json(bytes: &[u8], all: &mut Collector<'_>) {
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

fn lines(bytes: &[u8], precision: Precision, all: &mut Collector<'_>) {
    let parsed = line::parse(bytes, precision);
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
