//! JT/T 809 frames: cutting a byte stream, escapes, CRC, both headers, the cipher.
//!
//! Never interprets a body (that is [`super::message`]). Start at [`Frames`]; one frame alone is [`read_frame`].

use std::num::NonZeroU32;

use super::message::{self, Message};
use crate::jt808::Defect;
use crate::wire::Reader;

const BEGIN: u8 = 0x5b;
const END: u8 = 0x5d;
/// Longest frame between its marks, escapes included: 1 MiB. Our limit, no clause; a camera picture has tens of kilobytes.
pub const ESCAPED_MAX: usize = 1 << 20;
/// Marks, the 22 bytes of the header of 2011 and the CRC.
const FRAME_MIN: usize = 22 + 4;
/// 2000-01-01 UTC: no platform sends an earlier time.
const FIRST_TIME: u64 = 946_684_800;

/// Which edition a link speaks. Nothing in a frame says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Edition {
    /// JT/T 809-2011.
    V2011,
    /// JT/T 809-2019: the header has a time, many bodies have other fields.
    V2019,
}

impl Edition {
    /// The year, as shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2011 => "2011",
            Self::V2019 => "2019",
        }
    }
    /// Bytes of the header.
    pub const fn header_bytes(self) -> usize {
        match self {
            Self::V2011 => 22,
            Self::V2019 => 30,
        }
    }
}

/// The message header without its length, which is computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Serial number of the sender, wraps.
    pub serial: u32,
    /// What the body is, such as 0x1200.
    pub business: u16,
    /// Code of the lower platform, given by the upper one.
    pub access_code: u32,
    /// Version of the protocol, such as 1.0.0; it does not tell the edition.
    pub version: [u8; 3],
    /// 1: the body is encrypted.
    pub encrypt: u8,
    /// Key of the cipher.
    pub key: u32,
    /// 2019: when it was sent, seconds since 1970 UTC.
    pub time: Option<u64>,
}

impl Header {
    /// A header of version 1.0.0 without encryption. The time is for the edition of 2019 and left out in that of 2011.
    pub fn new(business: u16, access_code: u32, serial: u32, time: u64) -> Self {
        Self { serial, business, access_code, version: [1, 0, 0], encrypt: 0, key: 0, time: Some(time) }
    }
}

/// A frame whose escapes and CRC hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// By which it was read.
    pub edition: Edition,
    /// The header.
    pub header: Header,
    /// What the length field says: the whole frame without escapes, marks and CRC included.
    pub length: u32,
    /// Whether that is so. A server must refuse the frame if not; it is kept so that people can look at it.
    pub length_ok: bool,
    /// False if the sender did not escape 5A or 5E. Length and CRC say that the bytes are as they were meant.
    pub escaped: bool,
    /// The bytes between header and CRC, still encrypted if the header says so.
    pub body: Vec<u8>,
}

impl Frame {
    /// The body as a message. Encrypted bodies need the cipher agreed for the link; without it, and if the length is wrong,
    /// the body is kept raw and a defect says why.
    pub fn decode(&self, cipher: Option<&Cipher>) -> (Message, Vec<Defect>) {
        let raw = |code| (Message::raw(self.header.business, self.body.clone()), vec![Defect { code, at: 0 }]);
        if !self.length_ok {
            return raw("length");
        }
        match (self.header.encrypt, cipher) {
            (0, _) => message::decode(self.edition, self.header.business, &self.body),
            (1, Some(cipher)) => {
                let mut plain = self.body.clone();
                cipher.apply(self.header.key, &mut plain);
                message::decode(self.edition, self.header.business, &plain)
            }
            _ => raw("encrypted"),
        }
    }
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Too few bytes for a header and a CRC.
    #[error("frame has {have} bytes, too few for its header")]
    Short {
        /// Bytes between the marks, escapes removed.
        have: usize,
    },
    /// After 5A and 5E only 01 and 02 may follow.
    #[error("byte {byte:#04x} after an escape at {at} of the frame")]
    BadEscape {
        /// Index of the escape between the marks.
        at: usize,
        /// What follows; 5D if the frame ends there.
        byte: u8,
    },
    /// The CRC over header and body is another.
    #[error("CRC is {found:#06x}, computed {computed:#06x}")]
    Crc {
        /// The one in the frame.
        found: u16,
        /// What it should be.
        computed: u16,
    },
    /// A frame began before this one had ended.
    #[error("{bytes} bytes of a frame without end mark were dropped")]
    NoEnd {
        /// How many bytes were thrown away, the mark included.
        bytes: usize,
    },
    /// Bytes that are in no frame.
    #[error("{bytes} bytes outside any frame were dropped")]
    Noise {
        /// How many.
        bytes: usize,
    },
    /// No end mark within [`ESCAPED_MAX`] bytes; everything up to the next begin mark is dropped.
    #[error("no end mark within {ESCAPED_MAX} bytes")]
    Oversized,
}

impl FrameError {
    /// Stable short name for counters and `anlan decode`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Short { .. } => "short",
            Self::BadEscape { .. } => "escape",
            Self::Crc { .. } => "checksum",
            Self::NoEnd { .. } => "incomplete",
            Self::Noise { .. } => "noise",
            Self::Oversized => "oversized",
        }
    }
}

/// Why a message cannot be put on the wire.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A field of the body.
    #[error(transparent)]
    Body(#[from] crate::jt808::EncodeError),
    /// Longer than the receiver takes.
    #[error("frame of {len} bytes, at most {ESCAPED_MAX}")]
    Long {
        /// Bytes with their escapes.
        len: usize,
    },
    /// The header asks for encryption and the link has no cipher, or it asks for one that is not known.
    #[error("encryption {0} without a cipher")]
    NoCipher(u8),
}

/// The three constants that two platforms agree for the cipher of JT/T 809.
///
/// It hides little: the stream follows from key and constants, the key stands in the header. Run links inside TLS or a VPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cipher {
    /// M1: the modulus.
    pub m1: NonZeroU32,
    /// IA1: the factor.
    pub ia1: u32,
    /// IC1: the summand.
    pub ic1: u32,
}

impl Cipher {
    /// Encrypts or decrypts in place; both are the same.
    pub fn apply(&self, key: u32, bytes: &mut [u8]) {
        let mut k = key.max(1);
        for byte in bytes {
            k = self.ia1.wrapping_mul(k % self.m1).wrapping_add(self.ic1);
            *byte ^= k.to_be_bytes()[1] >> 4 | k.to_be_bytes()[0] << 4;
        }
    }
}

/// CRC-16/CCITT-FALSE: polynomial 1021, initial value FFFF, nothing reflected.
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xffff, |mut crc: u16, byte| {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
        }
        crc
    })
}

/// Undoes the escapes: 5A 01 is 5B, 5A 02 is 5A, 5E 01 is 5D, 5E 02 is 5E.
///
/// # Errors
/// [`FrameError::BadEscape`] for anything else after 5A or 5E, the end included.
pub fn unescape(escaped: &[u8]) -> Result<Vec<u8>, FrameError> {
    let mut plain = Vec::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some(at) = memchr::memchr2(0x5a, 0x5e, rest) {
        let (before, pair) = rest.split_at(at);
        plain.extend_from_slice(before);
        plain.push(match pair {
            [0x5a, 0x01, ..] => BEGIN,
            [0x5a, 0x02, ..] => 0x5a,
            [0x5e, 0x01, ..] => END,
            [0x5e, 0x02, ..] => 0x5e,
            other => {
                let at = escaped.len().saturating_sub(other.len());
                return Err(FrameError::BadEscape { at, byte: other.get(1).copied().unwrap_or(END) });
            }
        });
        rest = pair.get(2..).unwrap_or_default();
    }
    plain.extend_from_slice(rest);
    Ok(plain)
}

/// Escapes the bytes between the marks.
pub fn escape(plain: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(plain.len().saturating_add(8));
    for byte in plain {
        match *byte {
            BEGIN => escaped.extend([0x5a, 0x01]),
            0x5a => escaped.extend([0x5a, 0x02]),
            END => escaped.extend([0x5e, 0x01]),
            0x5e => escaped.extend([0x5e, 0x02]),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Length field, CRC and content of the bytes between two marks.
struct Plain {
    bytes: Vec<u8>,
    escaped: bool,
    length_ok: bool,
}

fn plain(between: &[u8]) -> Result<Plain, FrameError> {
    if between.len() > ESCAPED_MAX {
        return Err(FrameError::Oversized);
    }
    let checked = unescape(between).and_then(|bytes| checked(&bytes).map(|length_ok| Plain { bytes, escaped: true, length_ok }));
    match checked {
        Err(error) => match checked_as_is(between) {
            // The sender did not escape: only bytes whose length and CRC both hold as they stand are believed.
            true => Ok(Plain { bytes: between.to_vec(), escaped: false, length_ok: true }),
            false => Err(error),
        },
        ok => ok,
    }
}

fn checked_as_is(between: &[u8]) -> bool {
    checked(between) == Ok(true)
}

/// Whether the length field is right; an error if the CRC is not.
fn checked(plain: &[u8]) -> Result<bool, FrameError> {
    let short = FrameError::Short { have: plain.len() };
    if plain.len().saturating_add(2) < FRAME_MIN {
        return Err(short);
    }
    let (content, sum) = plain.split_last_chunk::<2>().ok_or(short)?;
    let (found, computed) = (u16::from_be_bytes(*sum), crc16(content));
    if found != computed {
        return Err(FrameError::Crc { found, computed });
    }
    let length = Reader::new(plain).u32().map_err(|_| short)?;
    Ok(usize::try_from(length).ok() == plain.len().checked_add(2))
}

fn split(plain: Plain, edition: Edition) -> Result<Frame, FrameError> {
    let short = FrameError::Short { have: plain.bytes.len() };
    let (content, _) = plain.bytes.split_last_chunk::<2>().ok_or(short)?;
    let mut r = Reader::new(content);
    let (length, header) = read_header(&mut r, edition).map_err(|_| short)?;
    Ok(Frame { edition, header, length, length_ok: plain.length_ok, escaped: plain.escaped, body: r.rest().to_vec() })
}

fn read_header(r: &mut Reader<'_>, edition: Edition) -> Result<(u32, Header), crate::wire::Truncated> {
    let length = r.u32()?;
    let header = Header {
        serial: r.u32()?,
        business: r.u16()?,
        access_code: r.u32()?,
        version: r.array()?,
        encrypt: r.u8()?,
        key: r.u32()?,
        time: match edition {
            Edition::V2011 => None,
            Edition::V2019 => Some(r.array().map(u64::from_be_bytes)?),
        },
    };
    Ok((length, header))
}

/// Reads one frame from the bytes between its marks (marks excluded, escapes still in).
///
/// # Errors
/// [`FrameError`]: an illegal escape, a wrong CRC, too few bytes. A wrong length is not an error but [`Frame::length_ok`].
pub fn read_frame(between: &[u8], edition: Edition) -> Result<Frame, FrameError> {
    split(plain(between)?, edition)
}

/// Which edition fits the bytes between two marks.
///
/// The one whose header leaves a body of exactly the length that its layout has. If both do or none (an encrypted body, an id
/// without a layout), the bytes where 2019 has its time decide: 2019 if they are a time since the year 2000.
///
/// # Errors
/// As [`read_frame`].
pub fn edition_of(between: &[u8]) -> Result<Edition, FrameError> {
    let plain = plain(between)?;
    Ok(fitting(&plain.bytes))
}

fn fitting(plain: &[u8]) -> Edition {
    let content = plain.get(..plain.len().saturating_sub(2)).unwrap_or_default();
    let fits = |edition: Edition| {
        let mut r = Reader::new(content);
        let Ok((_, header)) = read_header(&mut r, edition) else { return Some(false) };
        let odd = ["truncated", "trailing", "length", "item_truncated", "count"];
        (header.encrypt == 0).then(|| {
            let (message, defects) = message::decode(edition, header.business, r.rest());
            message.is_known() && !defects.iter().any(|d| odd.contains(&d.code))
        })
    };
    match (fits(Edition::V2011), fits(Edition::V2019)) {
        (Some(true), Some(false)) => Edition::V2011,
        (Some(false), Some(true)) => Edition::V2019,
        _ => {
            let time = content.get(22..30).and_then(|b| <[u8; 8]>::try_from(b).ok()).map(u64::from_be_bytes);
            let plausible = time.is_some_and(|t| (FIRST_TIME..=u64::from(u32::MAX)).contains(&t));
            if plausible { Edition::V2019 } else { Edition::V2011 }
        }
    }
}

/// The bytes of one frame, marks, escapes and CRC included; the body is encrypted if the header says so.
///
/// # Errors
/// [`EncodeError::Long`], [`EncodeError::NoCipher`].
pub fn encode_frame(header: &Header, edition: Edition, body: &[u8], cipher: Option<&Cipher>) -> Result<Vec<u8>, EncodeError> {
    let mut body = body.to_vec();
    match (header.encrypt, cipher) {
        (0, _) => {}
        (1, Some(cipher)) => cipher.apply(header.key, &mut body),
        (encrypt, _) => return Err(EncodeError::NoCipher(encrypt)),
    }
    let len = edition.header_bytes().saturating_add(body.len()).saturating_add(4);
    let length = u32::try_from(len).map_err(|_| EncodeError::Long { len })?;
    let mut plain = Vec::with_capacity(len);
    plain.extend(length.to_be_bytes());
    plain.extend(header.serial.to_be_bytes());
    plain.extend(header.business.to_be_bytes());
    plain.extend(header.access_code.to_be_bytes());
    plain.extend(header.version);
    plain.push(header.encrypt);
    plain.extend(header.key.to_be_bytes());
    if edition == Edition::V2019 {
        plain.extend(header.time.unwrap_or(0).to_be_bytes());
    }
    plain.extend(body);
    plain.extend(crc16(&plain).to_be_bytes());
    let escaped = escape(&plain);
    if escaped.len() > ESCAPED_MAX {
        return Err(EncodeError::Long { len: escaped.len() });
    }
    Ok([&[BEGIN][..], &escaped, &[END]].concat())
}

/// Cuts frames out of a TCP stream.
///
/// A 5B always begins a frame, since inside one it is escaped: after damage the next 5B is where it goes on. Everything that
/// is thrown away comes out as an error that says how many bytes. Memory: what was pushed, and at most [`ESCAPED_MAX`] bytes
/// of an unfinished frame, provided the caller takes frames until `None` before pushing again.
///
/// `next` is that of [`Iterator`]; `None` means "push more", not "over".
#[derive(Debug)]
pub struct Frames {
    /// `None`: the one that fits, frame by frame.
    edition: Option<Edition>,
    buf: Vec<u8>,
    /// First byte not yet consumed; inside a frame the one after its begin mark.
    start: usize,
    /// First byte not yet searched for a mark.
    scanned: usize,
    inside: bool,
    /// Bytes dropped since the last frame and not yet told.
    noise: usize,
    n_skipped: u64,
    base: u64,
    frame_at: u64,
}

impl Frames {
    /// A cutter for a link that speaks `edition`.
    pub fn new(edition: Edition) -> Self {
        Self { edition: Some(edition), ..Self::guessing() }
    }
    /// A cutter for tools that do not know the link: takes for each frame the edition that fits ([`edition_of`]).
    pub fn guessing() -> Self {
        Self { edition: None, buf: Vec::new(), start: 0, scanned: 0, inside: false, noise: 0, n_skipped: 0, base: 0, frame_at: 0 }
    }
    /// Adds received bytes. Beyond twice [`ESCAPED_MAX`] not taken out, they are dropped and counted.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buf.drain(..self.start.min(self.buf.len()));
        self.base = self.base.saturating_add(count(self.start));
        self.scanned = self.scanned.saturating_sub(self.start);
        self.start = 0;
        let room = ESCAPED_MAX.saturating_mul(2).saturating_sub(self.buf.len());
        let kept = bytes.get(..room).unwrap_or(bytes);
        self.buf.extend_from_slice(kept);
        self.drop_bytes(bytes.len().saturating_sub(kept.len()));
    }
    /// Bytes of an unfinished frame.
    pub fn pending(&self) -> usize {
        self.buf.len().saturating_sub(self.start).saturating_add(usize::from(self.inside))
    }
    /// Bytes thrown away so far.
    pub fn skipped(&self) -> u64 {
        self.n_skipped
    }
    /// Stream offset of the first byte after the begin mark of what `next` yielded last.
    pub fn frame_at(&self) -> u64 {
        self.frame_at
    }

    fn drop_bytes(&mut self, n: usize) {
        self.noise = self.noise.saturating_add(n);
        self.n_skipped = self.n_skipped.saturating_add(count(n));
    }
    fn read(&self, between: &[u8]) -> Result<Frame, FrameError> {
        let plain = plain(between)?;
        let edition = self.edition.unwrap_or_else(|| fitting(&plain.bytes));
        split(plain, edition)
    }
    fn outside(&mut self) -> Option<Result<Frame, FrameError>> {
        let rest = self.buf.get(self.start..).unwrap_or_default();
        let found = memchr::memchr(BEGIN, rest);
        let before = rest.get(..found.unwrap_or(rest.len())).unwrap_or_default();
        // Line ends between frames are in every capture; they are no news.
        let n = if before.iter().all(|b| matches!(b, b'\r' | b'\n')) { 0 } else { before.len() };
        let passed = before.len();
        self.drop_bytes(n);
        self.start = self.start.saturating_add(passed);
        if found.is_some() {
            self.start = self.start.saturating_add(1);
            self.inside = true;
        }
        self.scanned = self.start;
        let bytes = std::mem::take(&mut self.noise);
        if found.is_none() {
            self.noise = bytes;
            return None;
        }
        (bytes > 0).then_some(Err(FrameError::Noise { bytes }))
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

impl Iterator for Frames {
    type Item = Result<Frame, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.inside {
            if let Some(noise) = self.outside() {
                return Some(noise);
            }
            if !self.inside {
                return None;
            }
        }
        self.frame_at = self.base.saturating_add(count(self.start));
        let unscanned = self.buf.get(self.scanned..).unwrap_or_default();
        let mark = memchr::memchr2(BEGIN, END, unscanned).map(|i| self.scanned.saturating_add(i));
        let Some(mark) = mark else {
            self.scanned = self.buf.len();
            if self.pending() > ESCAPED_MAX {
                let n = self.pending();
                self.n_skipped = self.n_skipped.saturating_add(count(n));
                self.start = self.buf.len();
                self.inside = false;
                return Some(Err(FrameError::Oversized));
            }
            return None;
        };
        let between = self.buf.get(self.start..mark).unwrap_or_default();
        let begins = self.buf.get(mark) == Some(&BEGIN);
        let found = if begins { Err(FrameError::NoEnd { bytes: between.len().saturating_add(1) }) } else { self.read(between) };
        if begins {
            self.n_skipped = self.n_skipped.saturating_add(count(between.len().saturating_add(1)));
        }
        self.start = mark.saturating_add(1);
        self.scanned = self.start;
        self.inside = begins;
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_the_known_one() {
        // The check value of CRC-16/CCITT-FALSE (also called IBM-3740) in the catalogues.
        assert_eq!(crc16(b"123456789"), 0x29b1);
    }

    #[test]
    fn escapes_read_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unescape(&escape(&all)), Ok(all));
        assert_eq!(unescape(&[1, 0x5a, 9]), Err(FrameError::BadEscape { at: 1, byte: 9 }));
        assert_eq!(unescape(&[0x5e]), Err(FrameError::BadEscape { at: 0, byte: END }));
    }
}
