//! A JT/T 808 terminal and frame reader of the fewest bytes that do the job, so that these tests do not share a mistake with our codec.
//!
//! Layouts: JT/T 808-2013 and -2019, clause 4.4 (frame) and table 23 (position). Start at [`Terminal`] and [`cut`].
#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A frame whose escapes could be undone and that is long enough for its header.
#[derive(Clone, Debug)]
pub struct Frame {
    pub message_id: u16,
    /// Digits as on the wire.
    pub phone: String,
    pub serial: u16,
    pub body: Vec<u8>,
    pub checksum_ok: bool,
    pub length_ok: bool,
    pub is_part: bool,
    pub encrypted: bool,
}

impl Frame {
    /// A server should take it as a message of its own.
    pub fn is_sound(&self) -> bool {
        self.checksum_ok && self.length_ok && !self.is_part && !self.encrypted
    }

    /// The phone as the API shows it.
    pub fn normal_phone(&self) -> &str {
        normal(&self.phone)
    }
}

/// A phone number without the zeros that fill it up on the wire.
pub fn normal(phone: &str) -> &str {
    let short = phone.trim_start_matches('0');
    if short.is_empty() { "0" } else { short }
}

/// Every frame between 0x7E marks of `bytes`.
pub fn cut(bytes: &[u8]) -> Vec<Frame> {
    bytes.split(|b| *b == 0x7e).filter_map(read).collect()
}

fn read(escaped: &[u8]) -> Option<Frame> {
    let mut plain = Vec::new();
    let mut rest = escaped.iter();
    while let Some(byte) = rest.next() {
        plain.push(match byte {
            0x7d => match rest.next()? {
                1 => 0x7d,
                2 => 0x7e,
                _ => return None,
            },
            other => *other,
        });
    }
    let checksum_ok = plain.iter().fold(0, |sum, b| sum ^ b) == 0;
    plain.pop()?;
    let u16_at = |at: usize| Some(u16::from_be_bytes([*plain.get(at)?, *plain.get(at + 1)?]));
    let properties = u16_at(2)?;
    let (phone_at, phone_len) = if properties & 0x4000 == 0 { (4, 6) } else { (5, 10) };
    let serial_at = phone_at + phone_len;
    let is_part = properties & 0x2000 != 0;
    let body = plain.get(serial_at + if is_part { 6 } else { 2 }..)?.to_vec();
    Some(Frame {
        message_id: u16_at(0)?,
        phone: hex(plain.get(phone_at..serial_at)?),
        serial: u16_at(serial_at)?,
        checksum_ok,
        length_ok: body.len() == usize::from(properties & 0x3ff),
        is_part,
        encrypted: properties & 0x1c00 != 0,
        body,
    })
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Bytes of a hexadecimal text.
pub fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).expect("a digit") as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Between marks, checksum and escapes added.
pub fn wrap(mut plain: Vec<u8>) -> Vec<u8> {
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

/// A 2013 frame.
pub fn frame(message_id: u16, phone: &str, serial: u16, body: &[u8]) -> Vec<u8> {
    let mut plain = message_id.to_be_bytes().to_vec();
    plain.extend(u16::try_from(body.len()).expect("short").to_be_bytes());
    plain.extend(unhex(&format!("{phone:0>12}")));
    plain.extend(serial.to_be_bytes());
    plain.extend(body);
    wrap(plain)
}

/// The fixed part of 0x0200.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    pub alarm: u32,
    pub status: u32,
    /// As on the wire: without sign.
    pub lat_e6: u32,
    /// As on the wire: without sign.
    pub lon_e6: u32,
    pub speed_dkmh: u16,
    pub direction_deg: u16,
    /// BCD, GMT+8.
    pub time: [u8; 6],
}

impl Position {
    /// A vehicle with a fix near 玉溪, at an instant of whole seconds.
    pub fn at(us: i64) -> Self {
        // Eight hours on, the UTC text shows the terminal's civil time.
        let civil: String = super::common::rfc3339(us + 8 * 3_600_000_000).chars().filter(char::is_ascii_digit).collect();
        let time = unhex(&civil[2..14]).try_into().expect("six bytes");
        Self { alarm: 0, status: 3, lat_e6: 24_350_000, lon_e6: 102_540_000, speed_dkmh: 421, direction_deg: 90, time }
    }

    /// The 28 bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for word in [self.alarm, self.status, self.lat_e6, self.lon_e6] {
            body.extend(word.to_be_bytes());
        }
        for half in [1_600, self.speed_dkmh, self.direction_deg] {
            body.extend(half.to_be_bytes());
        }
        body.extend(self.time);
        body
    }

    /// Reads the first 28 bytes.
    pub fn read(body: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_be_bytes(body.get(at..at + 4)?.try_into().ok()?));
        let half = |at: usize| Some(u16::from_be_bytes(body.get(at..at + 2)?.try_into().ok()?));
        Some(Self {
            alarm: word(0)?,
            status: word(4)?,
            lat_e6: word(8)?,
            lon_e6: word(12)?,
            speed_dkmh: half(18)?,
            direction_deg: half(20)?,
            time: body.get(22..28)?.try_into().ok()?,
        })
    }

    /// Degrees, east and north positive; `None` beyond the globe. Status bits 2 and 3: south, west.
    pub fn place(&self) -> Option<(f64, f64)> {
        let sign = |bit: u32| if self.status & bit == 0 { 1.0 } else { -1.0 };
        (self.lat_e6 <= 90_000_000 && self.lon_e6 <= 180_000_000)
            .then(|| (sign(8) * f64::from(self.lon_e6) / 1e6, sign(4) * f64::from(self.lat_e6) / 1e6))
    }

    /// The device time as the API shows it; `None` if it is no date.
    pub fn device_at(&self) -> Option<String> {
        let t = hex(&self.time);
        let text = format!("20{}-{}-{}T{}:{}:{}+08:00", &t[..2], &t[2..4], &t[4..6], &t[6..8], &t[8..10], &t[10..]);
        anlan_model::Timestamp::parse(&text).ok().map(|at| at.to_string())
    }
}

/// All positions that a sound frame holds, and whether they are marked as back-fill (0x0704 of kind 1).
pub fn positions(frame: &Frame) -> Vec<(Position, bool)> {
    match frame.message_id {
        0x0200 => Position::read(&frame.body).into_iter().map(|p| (p, false)).collect(),
        0x0201 => frame.body.get(2..).and_then(Position::read).into_iter().map(|p| (p, false)).collect(),
        0x0704 => {
            let backfill = frame.body.get(2) == Some(&1);
            let (mut found, mut rest) = (Vec::new(), frame.body.get(3..).unwrap_or_default());
            while let Some((length, after)) = rest.split_first_chunk::<2>() {
                let Some((one, after)) = after.split_at_checked(usize::from(u16::from_be_bytes(*length))) else { break };
                found.extend(Position::read(one).map(|p| (p, backfill)));
                rest = after;
            }
            found
        }
        _ => Vec::new(),
    }
}

/// What the server said about a message: its id, its serial, and the result (0 = done).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Answer {
    /// Normalised.
    pub phone: String,
    pub serial: u16,
    /// Of the message answered.
    pub message_id: u16,
    pub result: u8,
}

/// One connection.
pub struct Terminal {
    stream: TcpStream,
    buffer: Vec<u8>,
    serial: u16,
}

impl Terminal {
    pub fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(Duration::from_millis(50))).expect("timeout");
        Self { stream, buffer: Vec::new(), serial: 0 }
    }

    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next whole frames; `None` once the server closed the connection.
    fn more(&mut self) -> Option<Vec<Frame>> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => return None,
            Ok(n) => self.buffer.extend(&chunk[..n]),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => return None,
        }
        let whole = self.buffer.iter().rposition(|b| *b == 0x7e).map_or(0, |at| at + 1);
        // An opening mark without its frame stays for the next time; `cut` does not mind that the mark of the last frame is gone.
        let bytes: Vec<u8> = self.buffer.drain(..whole).collect();
        Some(cut(&bytes))
    }

    /// Collects answers until `enough` of them, the end of the connection, or `patience` is over.
    pub fn answers(&mut self, patience: Duration, mut enough: impl FnMut(&[Answer]) -> bool) -> Vec<Answer> {
        let until = Instant::now() + patience;
        let mut all = Vec::new();
        while !enough(&all) && Instant::now() < until {
            let Some(frames) = self.more() else { break };
            for frame in frames {
                assert!(frame.checksum_ok && frame.length_ok, "the server sent a broken frame: {frame:?}");
                let half = |at: usize| u16::from_be_bytes([frame.body[at], frame.body[at + 1]]);
                let (message_id, serial, result) = match frame.message_id {
                    0x8001 => (half(2), half(0), frame.body[4]),
                    0x8100 => (0x0100, half(0), frame.body[2]),
                    // A file that came whole: its id, and no list of parts to send again. It names no serial.
                    0x8800 => (0x0801, 0, u8::from(frame.body.len() > 4)),
                    _ => continue,
                };
                all.push(Answer { phone: frame.normal_phone().to_owned(), serial, message_id, result });
            }
        }
        all
    }

    /// Sends a message of our own and waits for its answer; `None` if the connection ended or nothing came.
    pub fn ask(&mut self, message_id: u16, phone: &str, body: &[u8]) -> Option<Answer> {
        self.serial = self.serial.wrapping_add(1);
        let (serial, phone) = (self.serial, normal(phone).to_owned());
        self.send(&frame(message_id, &phone, serial, body)).ok()?;
        let is_it = |a: &Answer| a.phone == phone && a.serial == serial && a.message_id == message_id;
        self.answers(Duration::from_secs(20), |all| all.iter().any(is_it)).into_iter().find(|a| is_it(a))
    }

    /// Whether the server closed this connection within `patience`.
    pub fn is_closed(&mut self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if self.more().is_none() {
                return true;
            }
        }
        false
    }
}
