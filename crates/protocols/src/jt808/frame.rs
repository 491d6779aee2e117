//! JT/T 808 frames: cutting a byte stream, escapes, checksum, both headers, and putting sub-packets together again.
//!
//! Never interprets a body (that is [`super::decode`]), never reads a clock: time-outs take `now` from the caller.
//! Start at [`Frames`]; sub-packets at [`Reassembly`].

use crate::wire::{self, Reader};

/// The mark before and after every frame.
pub(super) const DELIMITER: u8 = 0x7e;
/// The mark that begins an escape pair.
pub(super) const ESCAPE: u8 = 0x7d;
/// Longest body of one frame: the length field has ten bits.
pub const BODY_MAX: usize = 1023;
/// Longest frame between its marks, escapes included: header 21 + body 1023 + checksum 1, each byte escaped, is 2,090.
pub const ESCAPED_MAX: usize = 2_252;
/// What [`Frames`] holds at most when the caller pushes without taking frames out.
const BUFFER_MAX: usize = 1 << 20;

/// Which header a frame has, told by bit 14 of the body properties. 2011 and 2013 share one; only the body tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// 2011 and 2013: six bytes of phone number.
    V2013,
    /// 2019: a protocol version byte and ten bytes of phone number.
    V2019,
}

impl Version {
    /// The year, as shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2013 => "2013",
            Self::V2019 => "2019",
        }
    }
    /// Bytes of the phone number field.
    pub const fn phone_bytes(self) -> usize {
        match self {
            Self::V2013 => 6,
            Self::V2019 => 10,
        }
    }
}

/// The message header.
///
/// Source: JT/T 808-2013 table 2 and 3; the 2019 layout as `protocol.toml` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the body is, such as 0x0200.
    pub message_id: u16,
    /// The length the header claims for the body, bytes.
    pub body_len: u16,
    /// Bits 10 to 12: 0 none, 1 RSA, the rest reserved.
    pub encryption: u8,
    /// The layout, by bit 14.
    pub version: Version,
    /// 2019 only: counts from 1.
    pub protocol_version: Option<u8>,
    /// All digits of the phone number field as on the wire: 12 or 20, leading zeros kept. Some makers put hex digits here.
    pub phone: String,
    /// Serial number of the sender, wraps.
    pub serial: u16,
    /// `(total, index from 1)` of a sub-packet.
    pub part: Option<(u16, u16)>,
}

impl Header {
    /// A header for a message that fits one frame; [`super::encode`] fills in the length and, if need be, the part.
    pub fn new(message_id: u16, version: Version, phone: &str, serial: u16) -> Self {
        let protocol_version = (version == Version::V2019).then_some(1);
        Self { message_id, body_len: 0, encryption: 0, version, protocol_version, phone: phone.to_owned(), serial, part: None }
    }

    /// Serial number of the first part of this message (its own if it has no parts).
    pub fn first_serial(&self) -> u16 {
        match self.part {
            Some((_, index)) => self.serial.wrapping_sub(index.wrapping_sub(1)),
            None => self.serial,
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, wire::Truncated> {
        let message_id = r.u16()?;
        let properties = r.u16()?;
        let version = if properties & 0x4000 == 0 { Version::V2013 } else { Version::V2019 };
        let protocol_version = match version {
            Version::V2013 => None,
            Version::V2019 => Some(r.u8()?),
        };
        let phone = wire::hex(r.take(version.phone_bytes())?);
        let serial = r.u16()?;
        let part = if properties & 0x2000 == 0 { None } else { Some((r.u16()?, r.u16()?)) };
        let encryption = u8::try_from((properties >> 10) & 0x07).unwrap_or(0);
        Ok(Self { message_id, body_len: properties & 0x03ff, encryption, version, protocol_version, phone, serial, part })
    }
}

/// A frame whose escapes and checksum hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The header.
    pub header: Header,
    /// The bytes between header and checksum, escapes removed.
    pub body: Vec<u8>,
    /// Whether the header claims exactly as many bytes as there are. A server must refuse the frame if not
    /// (0x8001, result 2); it is kept so that people can look at it.
    pub length_ok: bool,
}

/// Why the bytes between two marks are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Too few bytes for a header and a checksum.
    #[error("frame has {have} bytes, too few for its header")]
    Short {
        /// Bytes between the marks, escapes removed.
        have: usize,
    },
    /// After 7D only 01 and 02 may follow.
    #[error("byte {byte:#04x} after 7d at {at} of the frame")]
    BadEscape {
        /// Index of the 7D between the marks.
        at: usize,
        /// What follows; 7E if the frame ends there.
        byte: u8,
    },
    /// The XOR of all bytes is not the last byte.
    #[error("checksum is {found:#04x}, computed {computed:#04x}")]
    Checksum {
        /// The byte in the frame.
        found: u8,
        /// What it should be.
        computed: u8,
    },
    /// No end mark within [`ESCAPED_MAX`] bytes; everything up to the next mark is dropped.
    #[error("no end mark within {ESCAPED_MAX} bytes")]
    Oversized,
    /// The caller pushed far more than it took out; bytes were dropped and the cutter looks for the next mark.
    #[error("input not taken in time, bytes were dropped")]
    Overrun,
}

impl FrameError {
    /// Stable short name for counters and `anlan decode`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Short { .. } => "short",
            Self::BadEscape { .. } => "escape",
            Self::Checksum { .. } => "checksum",
            Self::Oversized => "oversized",
            Self::Overrun => "overrun",
        }
    }
}

/// Reads one frame from the bytes between its marks (marks excluded, escapes still in).
///
/// # Errors
/// [`FrameError`]: an illegal escape, a wrong checksum, too few bytes. A wrong length is not an error but [`Frame::length_ok`].
pub fn read_frame(escaped: &[u8]) -> Result<Frame, FrameError> {
    if escaped.len() > ESCAPED_MAX {
        return Err(FrameError::Oversized);
    }
    let mut plain = unescape(escaped)?;
    let (&found, content) = plain.split_last().ok_or(FrameError::Short { have: 0 })?;
    let computed = wire::xor(content);
    let short = FrameError::Short { have: plain.len() };
    let mut r = Reader::new(content);
    // A frame cut in half is short rather than wrongly summed: say so first, it points at the line, not at the sender.
    let header = Header::read(&mut r).map_err(|_| short)?;
    if computed != found {
        return Err(FrameError::Checksum { found, computed });
    }
    let header_len = r.at();
    plain.pop();
    plain.drain(..header_len);
    let body = plain;
    let length_ok = usize::from(header.body_len) == body.len();
    Ok(Frame { header, body, length_ok })
}

/// Undoes the escapes: 7D 02 is 7E, 7D 01 is 7D.
///
/// # Errors
/// [`FrameError::BadEscape`] for anything else after 7D, the end included.
pub fn unescape(escaped: &[u8]) -> Result<Vec<u8>, FrameError> {
    let mut plain = Vec::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some(at) = memchr::memchr(ESCAPE, rest) {
        let (before, pair) = rest.split_at(at);
        plain.extend_from_slice(before);
        plain.push(match pair.get(1) {
            Some(0x01) => ESCAPE,
            Some(0x02) => DELIMITER,
            other => {
                let at = escaped.len().saturating_sub(pair.len());
                return Err(FrameError::BadEscape { at, byte: other.copied().unwrap_or(DELIMITER) });
            }
        });
        rest = pair.get(2..).unwrap_or_default();
    }
    plain.extend_from_slice(rest);
    Ok(plain)
}

/// Cuts frames out of a TCP stream.
///
/// Every 7E both ends what came before and may begin what comes next, so one mark shared by two frames, doubled marks and
/// garbage between frames all resynchronise by themselves. Half a frame waits for the rest.
///
/// Memory: the last pushed chunk and at most [`ESCAPED_MAX`] bytes of an unfinished frame, provided the caller takes
/// frames until `None` before pushing again; 1 MiB otherwise (then [`FrameError::Overrun`]).
///
/// `next` is that of [`Iterator`]; `None` means "push more", not "over".
///
/// ```
/// use anlan_protocols::jt808::Frames;
/// let mut frames = Frames::default();
/// frames.push(&[0x7e, 0x00, 0x02, 0x00, 0x00, 0x12, 0x34, 0x56, 0x78, 0x20, 0x13, 0x00, 0x01, 0x38]);
/// assert!(frames.next().is_none());
/// frames.push(&[0x7e]);
/// let heartbeat = frames.next().unwrap().unwrap();
/// assert_eq!((heartbeat.header.message_id, heartbeat.header.phone.as_str()), (0x0002, "123456782013"));
/// ```
#[derive(Debug, Default)]
pub struct Frames {
    buf: Vec<u8>,
    /// First byte not yet consumed.
    start: usize,
    /// First byte not yet searched for a mark.
    scanned: usize,
    /// A mark was seen, `start` is inside a frame.
    inside: bool,
    overrun: bool,
    /// Stream offset of `buf[0]`.
    base: u64,
    frame_at: u64,
    n_skipped: u64,
}

impl Frames {
    /// A cutter at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.compact();
        let room = BUFFER_MAX.saturating_sub(self.buf.len());
        let kept = bytes.get(..room).unwrap_or(bytes);
        self.buf.extend_from_slice(kept);
        if kept.len() < bytes.len() {
            self.overrun = true;
            self.n_skipped = self.n_skipped.saturating_add(count(bytes.len().saturating_sub(kept.len())));
        }
    }

    /// Bytes held that no frame was made of yet: half a frame, or nothing.
    pub fn pending(&self) -> usize {
        self.buf.len().saturating_sub(self.start)
    }
    /// Bytes dropped so far because they were before a first mark, in an oversized frame, or pushed without room.
    pub fn skipped(&self) -> u64 {
        self.n_skipped
    }
    /// Stream offset of the first byte after the opening mark of what `next` yielded last.
    pub fn frame_at(&self) -> u64 {
        self.frame_at
    }

    fn compact(&mut self) {
        if self.start > 0 {
            self.buf.drain(..self.start.min(self.buf.len()));
            self.base = self.base.saturating_add(count(self.start));
            self.scanned = self.scanned.saturating_sub(self.start);
            self.start = 0;
        }
    }

    fn drop_all(&mut self) {
        self.n_skipped = self.n_skipped.saturating_add(count(self.pending()));
        self.start = self.buf.len();
        self.scanned = self.start;
        self.inside = false;
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// Line ends and padding that some makers put between frames; not worth an error each.
fn is_padding(bytes: &[u8]) -> bool {
    bytes.len() < 4 && bytes.iter().all(|b| matches!(b, 0x00 | b'\r' | b'\n' | b' '))
}

impl Iterator for Frames {
    type Item = Result<Frame, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let unscanned = self.buf.get(self.scanned..).unwrap_or_default();
            let mark = memchr::memchr(DELIMITER, unscanned).map(|i| self.scanned.saturating_add(i));
            let Some(mark) = mark else {
                self.scanned = self.buf.len();
                if self.overrun {
                    self.overrun = false;
                    self.drop_all();
                    return Some(Err(FrameError::Overrun));
                }
                if !self.inside {
                    self.drop_all();
                } else if self.pending() > ESCAPED_MAX {
                    self.frame_at = self.base.saturating_add(count(self.start));
                    self.drop_all();
                    return Some(Err(FrameError::Oversized));
                }
                return None;
            };
            let from = self.start;
            let opened = std::mem::replace(&mut self.inside, true);
            self.start = mark.saturating_add(1);
            self.scanned = self.start;
            let between = self.buf.get(from..mark).unwrap_or_default();
            if !opened {
                self.n_skipped = self.n_skipped.saturating_add(count(between.len()));
                continue;
            }
            if is_padding(between) {
                continue;
            }
            self.frame_at = self.base.saturating_add(count(from));
            return Some(read_frame(between));
        }
    }
}

/// How much [`Reassembly`] may hold for one connection.
#[derive(Clone, Copy, Debug)]
pub struct ReassemblyLimits {
    /// Most parts of one message.
    pub parts_max: u16,
    /// Most body bytes of all unfinished messages together.
    pub bytes_max: usize,
    /// Most unfinished messages; the one that waits longest makes room.
    pub messages_max: usize,
    /// An unfinished message is dropped this long after its last part, in microseconds.
    pub timeout_us: i64,
}

impl Default for ReassemblyLimits {
    /// 512 parts, 1 MiB, 8 messages, 60 s: several times a full 0x0104 or a camera picture. Our choice, no clause.
    fn default() -> Self {
        Self { parts_max: 512, bytes_max: 1 << 20, messages_max: 8, timeout_us: 60_000_000 }
    }
}

/// A message put together from its parts (or one that had none).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Header without `part`, with the serial number of the first part; `body_len` is that of the part heard first.
    pub header: Header,
    /// All bodies in order.
    pub body: Vec<u8>,
}

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assembled {
    /// The message is complete.
    Whole(Whole),
    /// More parts are needed; this many are.
    Waiting(usize),
    /// This part is already here, or the whole message was delivered within the time-out: answer it, do nothing else.
    Repeat,
}

/// Why a part was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    /// Index 0, or beyond the total, or the total is 0 or differs from that of the parts before.
    #[error("part {index} of {total} makes no sense")]
    Index {
        /// As in the header.
        total: u16,
        /// As in the header.
        index: u16,
    },
    /// More parts than the limit.
    #[error("message of {total} parts, at most {max}")]
    Parts {
        /// As in the header.
        total: u16,
        /// The limit.
        max: u16,
    },
    /// The parts do not fit into the memory of this connection; the message was dropped.
    #[error("unfinished messages above {max} bytes")]
    Bytes {
        /// The limit.
        max: usize,
    },
    /// The header claims another length than the frame has; such a frame is never used.
    #[error("length in the header is wrong")]
    Length,
}

/// The parts that an unfinished message lacks: the content of a 0x8003.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The message.
    pub message_id: u16,
    /// Its sender.
    pub phone: String,
    /// Serial number of its first part.
    pub first_serial: u16,
    /// Indices from 1, ascending.
    pub indices: Vec<u16>,
}

#[derive(Debug)]
struct Group {
    first: Header,
    total: u16,
    parts: Vec<Option<Vec<u8>>>,
    touched_us: i64,
}

impl Group {
    fn is(&self, header: &Header) -> bool {
        same_message(&self.first, header)
    }
    fn bytes(&self) -> usize {
        self.parts.iter().flatten().map(Vec::len).sum()
    }
    fn n_missing(&self) -> usize {
        self.parts.iter().filter(|p| p.is_none()).count()
    }
}

/// Phone, message id and first serial number name a message. Sub-packets have consecutive serial numbers.
fn same_message(a: &Header, b: &Header) -> bool {
    a.message_id == b.message_id && a.first_serial() == b.first_serial() && a.phone == b.phone
}

/// Puts sub-packets together within fixed limits. One per connection.
///
/// Repeated, reordered and interleaved parts are harmless. Nothing is delivered twice within the time-out.
#[derive(Debug, Default)]
pub struct Reassembly {
    limits: ReassemblyLimits,
    groups: Vec<Group>,
    /// Delivered lately, with the time.
    done: std::collections::VecDeque<(Header, i64)>,
    n_dropped: u64,
}

impl Reassembly {
    /// With other limits than the default.
    pub fn new(limits: ReassemblyLimits) -> Self {
        Self { limits, ..Self::default() }
    }
    /// Unfinished messages dropped so far by time-out or for room.
    pub fn dropped(&self) -> u64 {
        self.n_dropped
    }
    /// Body bytes held.
    pub fn bytes(&self) -> usize {
        self.groups.iter().map(Group::bytes).sum()
    }

    /// Takes a frame; a frame without parts comes straight back as [`Assembled::Whole`].
    ///
    /// `now_us`: any clock that never runs back, in microseconds.
    ///
    /// # Errors
    /// [`PartError`]: the part was not kept.
    pub fn add(&mut self, frame: Frame, now_us: i64) -> Result<Assembled, PartError> {
        self.expire(now_us);
        if !frame.length_ok {
            return Err(PartError::Length);
        }
        let Frame { header, body, .. } = frame;
        let Some((total, index)) = header.part else {
            return Ok(Assembled::Whole(Whole { header, body }));
        };
        if index == 0 || index > total {
            return Err(PartError::Index { total, index });
        }
        if total > self.limits.parts_max {
            return Err(PartError::Parts { total, max: self.limits.parts_max });
        }
        if self.done.iter().any(|(done, _)| same_message(done, &header)) {
            return Ok(Assembled::Repeat);
        }
        let at = match self.groups.iter().position(|g| g.is(&header)) {
            Some(at) => at,
            None => self.open(&header, total, now_us),
        };
        let held = self.bytes();
        let Some(group) = self.groups.get_mut(at) else { return Err(PartError::Index { total, index }) };
        if group.total != total {
            return Err(PartError::Index { total, index });
        }
        let Some(slot) = group.parts.get_mut(usize::from(index).saturating_sub(1)) else {
            return Err(PartError::Index { total, index });
        };
        if slot.is_some() {
            group.touched_us = now_us;
            return Ok(Assembled::Repeat);
        }
        if held.saturating_add(body.len()) > self.limits.bytes_max {
            self.groups.remove(at);
            self.n_dropped = self.n_dropped.saturating_add(1);
            return Err(PartError::Bytes { max: self.limits.bytes_max });
        }
        *slot = Some(body);
        group.touched_us = now_us;
        let n_missing = group.n_missing();
        if n_missing > 0 {
            return Ok(Assembled::Waiting(n_missing));
        }
        let group = self.groups.remove(at);
        self.done.push_back((group.first.clone(), now_us));
        if self.done.len() > self.limits.messages_max.max(1) {
            self.done.pop_front();
        }
        let serial = group.first.first_serial();
        let body = group.parts.into_iter().flatten().flatten().collect();
        Ok(Assembled::Whole(Whole { header: Header { serial, part: None, ..group.first }, body }))
    }

    /// What to ask for again: messages whose last part came at least `quiet_us` ago and that still lack some.
    pub fn missing(&self, now_us: i64, quiet_us: i64) -> Vec<Missing> {
        self.groups
            .iter()
            .filter(|g| now_us.saturating_sub(g.touched_us) >= quiet_us)
            .map(|g| Missing {
                message_id: g.first.message_id,
                phone: g.first.phone.clone(),
                first_serial: g.first.first_serial(),
                indices: (1..=g.total).zip(&g.parts).filter(|(_, part)| part.is_none()).map(|(index, _)| index).collect(),
            })
            .collect()
    }

    /// The first part of an unfinished message, if it is here.
    pub fn first_part(&self, of: &Missing) -> Option<&[u8]> {
        let is = |g: &&Group| g.first.message_id == of.message_id && g.first.first_serial() == of.first_serial && g.first.phone == of.phone;
        self.groups.iter().find(is)?.parts.first()?.as_deref()
    }

    /// Drops what timed out and returns how many messages that were. [`Reassembly::add`] does this too.
    pub fn expire(&mut self, now_us: i64) -> usize {
        let timeout_us = self.limits.timeout_us;
        let n_before = self.groups.len();
        self.groups.retain(|g| now_us.saturating_sub(g.touched_us) < timeout_us);
        self.done.retain(|(_, at)| now_us.saturating_sub(*at) < timeout_us);
        let n = n_before.saturating_sub(self.groups.len());
        self.n_dropped = self.n_dropped.saturating_add(count(n));
        n
    }

    fn open(&mut self, header: &Header, total: u16, now_us: i64) -> usize {
        if self.groups.len() >= self.limits.messages_max.max(1) {
            let oldest = self.groups.iter().enumerate().min_by_key(|(_, g)| g.touched_us).map(|(i, _)| i);
            if let Some(oldest) = oldest {
                self.groups.remove(oldest);
                self.n_dropped = self.n_dropped.saturating_add(1);
            }
        }
        self.groups.push(Group { first: header.clone(), total, parts: vec![None; usize::from(total)], touched_us: now_us });
        self.groups.len().saturating_sub(1)
    }
}
