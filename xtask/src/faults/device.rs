//! Devices of the fewest bytes that do the job, so that they share no mistake with the node: MQTT 3.1.1, line protocol, JT/T 808-2013.
//!
//! Each keeps what it sent and what of it was acknowledged, and sends again what was not, as a real device does. Start at [`Device::run`].

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anlan_model::Timestamp;
use serde_json::Value;

use super::node::{Addresses, Api};
use super::{Random, now_us};

/// Messages in flight on a connection.
const WINDOW: usize = 24;
/// Lines in one HTTP write.
const LINES: usize = 12;

/// One value that a device sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Device time; one value an instant.
    pub at_us: i64,
    /// What it said; of a vehicle, degrees east.
    pub value: f64,
    /// The node said that it is kept.
    pub is_kept: bool,
    /// In which run of the device it was said first, and in which it was acknowledged.
    pub said_in: u32,
    /// See `said_in`.
    pub kept_in: u32,
    /// A hold that was confirmed covers it: it must never go.
    pub is_held: bool,
}

/// How a device speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// QoS 1, values of any size.
    Mqtt,
    /// InfluxDB line protocol over HTTP.
    Line,
    /// JT/T 808 positions; the code is the phone.
    Jt808,
}

/// One device of one point, or one vehicle.
pub struct Device {
    /// How it speaks.
    pub speech: Speech,
    /// Code or phone.
    pub code: String,
    /// Id of the device; of a vehicle, empty.
    pub id: String,
    /// Its secret.
    pub secret: String,
    /// Everything it ever said, by device time ascending.
    pub sent: Vec<Sent>,
    /// How long it waits for an answer.
    pub patience: Duration,
    /// Pause between messages.
    pub pace: Duration,
    /// How far behind its clock is; a device that tells of days long over keeps merging, archiving and late data at work.
    pub behind_us: i64,
    /// Values as the alarm rules like them: now below, now above the limit.
    pub is_swinging: bool,
    /// Everything before this index was seen stored or was never acknowledged.
    pub n_checked: usize,
    /// A hold that was confirmed covers whatever it says from now on.
    pub is_held: bool,
    run: u32,
    random: Random,
}

/// Three days: whole days that are over, and not so long ago that the clock is distrusted (`time.past_s` of the node).
pub const LONG_AGO_US: i64 = 259_200_000_000;
/// Name of the one point of each device.
pub const POINT: &str = "V";

impl Device {
    /// A device as the node made it.
    pub fn new(speech: Speech, code: &str, id: &str, secret: &str, seed: u64) -> Self {
        Self {
            speech,
            code: code.to_owned(),
            id: id.to_owned(),
            secret: secret.to_owned(),
            sent: Vec::new(),
            patience: Duration::from_secs(10),
            pace: Duration::ZERO,
            behind_us: if speech == Speech::Jt808 { LONG_AGO_US } else { 0 },
            is_swinging: false,
            n_checked: 0,
            is_held: false,
            run: 0,
            random: Random(seed),
        }
    }

    /// The next thing to say.
    fn think(&mut self) -> usize {
        let last = self.sent.last().map(|s| s.at_us);
        let at_us = match self.speech {
            // Terminals tell whole seconds.
            Speech::Jt808 => last.map_or_else(|| (now_us() - self.behind_us) / 1_000_000 * 1_000_000, |at| at + 1_000_000),
            _ => last.map_or(i64::MIN, |at| at + 1).max(now_us() - self.behind_us),
        };
        let n = self.sent.len();
        let value = match self.speech {
            Speech::Jt808 => f64::from(100_000_000 + self.random.below(5_000_000) as u32) / 1e6,
            _ if self.is_swinging => {
                if n.is_multiple_of(2) {
                    10.0
                } else {
                    60.0 + (n % 7) as f64
                }
            }
            // Every bit of a value must come back.
            _ => f64::from_bits(self.random.next() & !(0x7ff << 52) | (self.random.below(2000) + 20) << 52),
        };
        self.sent.push(Sent { at_us, value, is_kept: false, said_in: self.run, kept_in: 0, is_held: self.is_held });
        n
    }

    fn keep(&mut self, i: usize) {
        (self.sent[i].is_kept, self.sent[i].kept_in) = (true, self.run);
    }

    /// Speaks until told to stop or cut off.
    pub fn run(&mut self, at: &Addresses, stop: &AtomicBool) {
        self.run += 1;
        // An error is the cut itself; what was not answered is said again next time.
        let _ = match self.speech {
            Speech::Mqtt => self.run_mqtt(at, stop),
            Speech::Line => self.run_line(at, stop),
            Speech::Jt808 => self.run_jt808(at, stop),
        };
    }

    fn unanswered(&self) -> VecDeque<usize> {
        (self.n_checked..self.sent.len()).filter(|i| !self.sent[*i].is_kept).collect()
    }

    fn pause(&self, stop: &AtomicBool) {
        if !self.pace.is_zero() && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(self.pace);
        }
    }

    fn run_mqtt(&mut self, at: &Addresses, stop: &AtomicBool) -> anyhow::Result<()> {
        let mut mqtt = Mqtt::connect(&at.mqtt, &self.code, &self.secret)?;
        mqtt.stream.set_read_timeout(Some(self.patience))?;
        let topic = format!("anlan/v1/{}/telemetry", self.code);
        let (mut again, mut in_flight) = (self.unanswered(), VecDeque::new());
        let window = if self.pace.is_zero() { WINDOW } else { 1 };
        loop {
            while in_flight.len() < window && !stop.load(Ordering::Relaxed) {
                let i = again.pop_front().unwrap_or_else(|| self.think());
                let Sent { at_us, value, .. } = self.sent[i];
                let payload = format!(r#"{{"at":"{}","values":{{"{POINT}":{value:?}}}}}"#, Timestamp::from_micros(at_us));
                in_flight.push_back((mqtt.send(&topic, &payload)?, i));
            }
            let Some((expected, i)) = in_flight.pop_front() else { return Ok(()) };
            if mqtt.acknowledged()? != expected {
                anyhow::bail!("a PUBACK out of order");
            }
            self.keep(i);
            self.pause(stop);
        }
    }

    fn run_line(&mut self, at: &Addresses, stop: &AtomicBool) -> anyhow::Result<()> {
        let api = Api::patient(&at.http, self.patience);
        let path = format!("/write?precision=u&u={}&p={}", self.code, self.secret);
        let mut again = self.unanswered();
        while !stop.load(Ordering::Relaxed) {
            let mut batch = Vec::new();
            let mut text = String::new();
            for _ in 0..LINES {
                let i = again.pop_front().unwrap_or_else(|| self.think());
                text.push_str(&format!("{POINT} value={:?} {}\n", self.sent[i].value, self.sent[i].at_us));
                batch.push(i);
            }
            match api.post_text(&path, &text)? {
                204 => batch.into_iter().for_each(|i| self.keep(i)),
                429 | 503 => {
                    again.extend(batch);
                    std::thread::sleep(Duration::from_millis(20));
                }
                other => anyhow::bail!("/write answers {other}"),
            }
            self.pause(stop);
        }
        Ok(())
    }

    fn run_jt808(&mut self, at: &Addresses, stop: &AtomicBool) -> anyhow::Result<()> {
        let mut stream = TcpStream::connect(&at.jt808)?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_nodelay(true)?;
        let mut again = self.unanswered();
        let mut in_flight: BTreeMap<u16, usize> = BTreeMap::new();
        let (mut serial, mut buffer) = (0u16, Vec::new());
        loop {
            while in_flight.len() < WINDOW && !stop.load(Ordering::Relaxed) {
                let i = again.pop_front().unwrap_or_else(|| self.think());
                serial = serial.wrapping_add(1);
                stream.write_all(&position_frame(&self.code, serial, self.sent[i]))?;
                in_flight.insert(serial, i);
            }
            if in_flight.is_empty() {
                return Ok(());
            }
            let mut chunk = [0; 4096];
            let n = stream.read(&mut chunk)?;
            if n == 0 {
                return Ok(());
            }
            buffer.extend(&chunk[..n]);
            let whole = buffer.iter().rposition(|b| *b == 0x7e).map_or(0, |at| at + 1);
            for frame in buffer.drain(..whole).collect::<Vec<u8>>().split(|b| *b == 0x7e) {
                let plain = unescape(frame);
                // 0x8001: serial of the message answered, its id, the result; 0 = done.
                if plain.len() >= 17
                    && plain[..2] == [0x80, 0x01]
                    && plain[14..17] == [0x02, 0x00, 0x00]
                    && let Some(i) = in_flight.remove(&u16::from_be_bytes([plain[12], plain[13]]))
                {
                    self.keep(i);
                }
            }
        }
    }
}

fn unescape(frame: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut rest = frame.iter();
    while let Some(byte) = rest.next() {
        plain.push(if *byte == 0x7d { if rest.next() == Some(&1) { 0x7d } else { 0x7e } } else { *byte });
    }
    plain
}

/// 0x0200 of JT/T 808-2013, table 23: alarm, status, latitude, longitude, height, speed, direction, time (BCD, GMT+8).
fn position_frame(phone: &str, serial: u16, sent: Sent) -> Vec<u8> {
    let bcd = |digits: &str| -> Vec<u8> {
        let digits: Vec<u8> = digits.bytes().filter(u8::is_ascii_digit).map(|b| b - b'0').collect();
        digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    };
    let mut plain = vec![0x02, 0x00, 0, 28];
    plain.extend(bcd(&format!("{phone:0>12}")));
    plain.extend(serial.to_be_bytes());
    for word in [0, 3, 24_350_000, (sent.value * 1e6).round() as u32] {
        plain.extend(word.to_be_bytes());
    }
    for half in [1_600u16, 421, 90] {
        plain.extend(half.to_be_bytes());
    }
    plain.extend(bcd(&Timestamp::from_micros(sent.at_us + 8 * 3_600_000_000).to_string()[2..19]));
    plain.push(plain.iter().fold(0, |sum, b| sum ^ b));
    let mut wire = vec![0x7e];
    for byte in plain {
        match byte {
            0x7e => wire.extend([0x7d, 2]),
            0x7d => wire.extend([0x7d, 1]),
            other => wire.push(other),
        }
    }
    wire.push(0x7e);
    wire
}

/// A blocking MQTT 3.1.1 client.
pub struct Mqtt {
    stream: TcpStream,
    next_id: u16,
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u16).to_be_bytes());
    bytes.extend(text.as_bytes());
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    let mut left = body.len();
    loop {
        let digit = (left % 128) as u8;
        left /= 128;
        bytes.push(if left > 0 { digit | 0x80 } else { digit });
        if left == 0 {
            break;
        }
    }
    bytes.extend(body);
    bytes
}

impl Mqtt {
    /// Connects and signs in.
    ///
    /// # Errors
    /// No connection, or refused.
    pub fn connect(address: &str, device: &str, secret: &str) -> std::io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.set_nodelay(true)?;
        let mut body = Vec::new();
        put_text(&mut body, "MQTT");
        body.extend([4, 0b1100_0010, 0, 60]);
        for part in [&format!("faults-{device}"), device, secret] {
            put_text(&mut body, part);
        }
        stream.write_all(&packet(0x10, &body))?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer)?;
        if answer[0] == 0x20 && answer[3] == 0 {
            Ok(Self { stream, next_id: 0 })
        } else {
            Err(std::io::Error::other(format!("CONNACK {answer:?}")))
        }
    }

    /// Sends a QoS 1 message and does not wait; its packet id.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send(&mut self, topic: &str, payload: &str) -> std::io::Result<u16> {
        self.next_id = self.next_id % 60_000 + 1;
        let mut body = Vec::new();
        put_text(&mut body, topic);
        body.extend(self.next_id.to_be_bytes());
        body.extend(payload.as_bytes());
        self.stream.write_all(&packet(0x32, &body))?;
        Ok(self.next_id)
    }

    /// The next PUBACK's packet id.
    ///
    /// # Errors
    /// The connection is gone or silent.
    pub fn acknowledged(&mut self) -> std::io::Result<u16> {
        let mut answer = [0; 4];
        self.stream.read_exact(&mut answer)?;
        if answer[..2] != [0x40, 2] {
            return Err(std::io::Error::other(format!("not a PUBACK: {answer:?}")));
        }
        Ok(u16::from_be_bytes([answer[2], answer[3]]))
    }

    /// Sends a PINGREQ; the first byte of whatever comes next.
    ///
    /// # Errors
    /// The connection is gone or silent.
    pub fn ping_and_next(&mut self) -> std::io::Result<u8> {
        self.stream.write_all(&[0xc0, 0])?;
        self.next()
    }

    /// The first byte of the next short packet.
    ///
    /// # Errors
    /// The connection is gone or silent.
    pub fn next(&mut self) -> std::io::Result<u8> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head)?;
        self.stream.read_exact(&mut vec![0; usize::from(head[1] & 0x7f)])?;
        Ok(head[0])
    }

    /// A write that the node does not take fails after so long.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn write_within(&mut self, patience: Duration) -> std::io::Result<()> {
        self.stream.set_write_timeout(Some(patience))
    }
}

/// What a row of the API says: device time in µs and value.
pub fn row(speech: Speech, row: &Value) -> Option<(i64, f64)> {
    let at = Timestamp::parse(row["at"].as_str()?).ok()?.micros();
    Some((at, row[if speech == Speech::Jt808 { "lon" } else { "value" }].as_f64()?))
}
