//! The truth file: one JSON line for every value that was acknowledged and for everything that should follow from it.
//!
//! Lines are written only after the acknowledgement, by one thread through a bounded queue; a slow disk slows the senders.
//! Start at [`TruthLine`]; [`Writer::create`] writes, [`read`] reads.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use anlan_model::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TruthKind {
    /// The server acknowledged this value or position.
    Sent,
    /// A controller held this value from `at` until `until`; the poller took it `taken` times. Every poll of that time shows it.
    Held,
    /// An alarm should have been raised.
    ExpectAlarm,
    /// Nothing live came until `until`.
    ExpectGap,
    /// A data-quality event should have been noted.
    ExpectEvent,
}

/// One line. Exactly one of `device` and `vehicle` is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TruthLine {
    /// The device's time as sent (for `sent`), or when the alarm, gap or event begins.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
    /// Device code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Point code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<String>,
    /// Terminal phone number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vehicle: Option<String>,
    /// The value, bit for bit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// The position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<TruthPosition>,
    /// SHA-256 of a picture, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    /// What the line says.
    pub kind: TruthKind,
    /// Set if the device's clock was off: when it was really taken. The server files it under its own time, flagged `clock_bad`.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rfc3339_option")]
    pub clock_bad_taken_at: Option<Timestamp>,
    /// A place that cannot be true: the server must keep it and mark it as drift.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untrue: bool,
    /// What the vehicle had really driven by then, metres.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driven_m: Option<f64>,
    /// Sent as back-fill.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backfill: bool,
    /// Kind of rule of an expected alarm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Terminal bit of an expected alarm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bit: Option<u8>,
    /// Level of an expected alarm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// End of an expected gap, or of a hold.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rfc3339_option")]
    pub until: Option<Timestamp>,
    /// Answers with a held value that the poller is known to have taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<u64>,
    /// Kind of an expected event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
}

impl TruthLine {
    /// A line of `kind` at `at` about nobody yet.
    pub fn new(kind: TruthKind, at: Timestamp) -> Self {
        Self {
            at,
            device: None,
            point: None,
            vehicle: None,
            value: None,
            position: None,
            picture: None,
            kind,
            clock_bad_taken_at: None,
            untrue: false,
            driven_m: None,
            backfill: false,
            rule: None,
            bit: None,
            level: None,
            until: None,
            taken: None,
            event: None,
        }
    }
}

/// A position as sent, in the units of the API.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TruthPosition {
    /// Degrees east.
    pub lon: f64,
    /// Degrees north.
    pub lat: f64,
    /// Metres.
    pub altitude_m: u16,
    /// Kilometres per hour.
    pub speed_kmh: f64,
    /// Degrees from north.
    pub direction_deg: u16,
    /// Alarm bits of JT/T 808.
    pub alarm_bits: u32,
    /// Status bits of JT/T 808.
    pub status_bits: u32,
}

/// Batches of lines that wait for the disk, at most.
const QUEUE_MAX: usize = 1_024;

/// Where links put the lines of acknowledged messages. Cloned into every link; without a file it swallows them.
#[derive(Clone, Debug)]
pub struct Sink(Option<mpsc::Sender<Vec<TruthLine>>>);

impl Sink {
    /// Keeps nothing.
    pub fn none() -> Self {
        Self(None)
    }
    /// Whether lines are wanted at all.
    pub fn wanted(&self) -> bool {
        self.0.is_some()
    }
    /// Puts `lines` into the queue, waiting while it is full.
    pub async fn put(&self, lines: Vec<TruthLine>) {
        if let Some(queue) = &self.0
            && !lines.is_empty()
        {
            // The writer only goes away after a write error, which `Writer::finish` reports.
            _ = queue.send(lines).await;
        }
    }
}

/// The thread that writes.
pub struct Writer {
    thread: std::thread::JoinHandle<std::io::Result<u64>>,
}

impl Writer {
    /// Creates (or empties) the file and starts the thread. It ends when every clone of the sink is gone.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn create(path: &Path) -> std::io::Result<(Self, Sink)> {
        let mut file = BufWriter::new(File::create(path)?);
        let (sender, mut queue) = mpsc::channel::<Vec<TruthLine>>(QUEUE_MAX);
        let thread = std::thread::spawn(move || {
            let mut n = 0;
            while let Some(lines) = queue.blocking_recv() {
                for line in lines {
                    serde_json::to_writer(&mut file, &line)?;
                    file.write_all(b"\n")?;
                    n += 1;
                }
                // Readers follow the file while it grows; a flush when nothing waits costs little.
                if queue.is_empty() {
                    file.flush()?;
                }
            }
            file.flush()?;
            Ok(n)
        });
        Ok((Self { thread }, Sink(Some(sender))))
    }

    /// Waits for the last line and says how many there were. Every [`Sink`] must be gone.
    ///
    /// # Errors
    /// The first write error.
    pub fn finish(self) -> std::io::Result<u64> {
        self.thread.join().unwrap_or_else(|_| Err(std::io::Error::other("the truth writer panicked")))
    }
}

/// Why a truth file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TruthError {
    /// The file cannot be read.
    #[error("cannot read the truth file")]
    Io(#[from] std::io::Error),
    /// A line is not a truth line.
    #[error("line {line} of the truth file is not a truth line")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

/// All lines of a truth file; an unfinished last line (the simulator was killed) is left out.
///
/// # Errors
/// [`TruthError`], with the line number.
pub fn read(path: &Path) -> Result<Vec<TruthLine>, TruthError> {
    let mut file = BufReader::new(File::open(path)?);
    let mut lines = Vec::new();
    let mut text = String::new();
    while file.read_line(&mut text)? > 0 {
        match serde_json::from_str(&text) {
            Ok(line) => lines.push(line),
            Err(_) if !text.ends_with('\n') => break,
            Err(_) if text.trim().is_empty() => {}
            Err(source) => return Err(TruthError::Line { line: lines.len() + 1, source }),
        }
        text.clear();
    }
    Ok(lines)
}

mod rfc3339 {
    use anlan_model::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(at)
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(from)?;
        Timestamp::parse(&text).map_err(D::Error::custom)
    }
}

mod rfc3339_option {
    use anlan_model::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => to.collect_str(at),
            None => to.serialize_none(),
        }
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|t| Timestamp::parse(&t).map_err(D::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_read_back_bit_for_bit_and_a_cut_end_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("truth.jsonl");
        let at = Timestamp::parse("2026-01-01T00:00:00.123Z").unwrap();
        let mut sent = TruthLine::new(TruthKind::Sent, at);
        sent.device = Some("d".into());
        sent.point = Some("p".into());
        sent.value = Some(0.1 + 0.2);
        let mut moved = TruthLine::new(TruthKind::Sent, at);
        moved.vehicle = Some("10000000001".into());
        moved.clock_bad_taken_at = Some(at);
        moved.position = Some(TruthPosition {
            lon: 102.123_457,
            lat: 24.1,
            altitude_m: 1_600,
            speed_kmh: 61.3,
            direction_deg: 359,
            alarm_bits: u32::MAX,
            status_bits: 3,
        });
        let (writer, sink) = Writer::create(&path).unwrap();
        sink.put(vec![sent.clone(), moved.clone()]).await;
        drop(sink);
        assert_eq!(writer.finish().unwrap(), 2);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with(r#"{"at":"2026-01-01T00:00:00.123000Z","device":"d","point":"p","value":0.30000000000000004,"kind":"sent"}"#),
            "{text}"
        );
        std::fs::write(&path, format!("{text}{{\"at\":\"2026-")).unwrap();
        assert_eq!(read(&path).unwrap(), [sent, moved]);
        std::fs::write(&path, "nonsense\n").unwrap();
        assert!(matches!(read(&path), Err(TruthError::Line { line: 1, .. })));
    }
}
