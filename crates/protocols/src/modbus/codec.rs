//! MBAP frames and the few PDUs a poller needs: reads (functions 1 to 4), device identification (43/14), exceptions.
//!
//! Other functions are recognised by number and kept as bytes. Pure; hostile bytes yield values. Start at [`Frames`] and [`Request`].

use std::fmt;

use anlan_model::modbus::Table;

use crate::wire::Reader;

/// Longest PDU: 253 bytes (V1.1b3 section 4.1).
pub const PDU_MAX: usize = 253;
/// Most registers of one read (V1.1b3 sections 6.3, 6.4).
pub const REGISTERS_MAX: u16 = 125;
/// Most bits of one read (V1.1b3 sections 6.1, 6.2).
pub const BITS_MAX: u16 = 2_000;
/// Transaction, protocol and length; the unit id counts as part of the length (V1.0b section 3.1.3).
const HEADER: usize = 6;

/// One MBAP frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Chosen by the client, repeated by the server.
    pub transaction: u16,
    /// Which unit behind the address.
    pub unit: u8,
    /// Function code and data, 1 to [`PDU_MAX`] bytes.
    pub pdu: Vec<u8>,
}

impl Frame {
    /// Appends the bytes of the frame. A PDU beyond [`PDU_MAX`] cannot be sent and is cut; ours are at most 5 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let pdu = &self.pdu[..self.pdu.len().min(PDU_MAX)];
        out.extend_from_slice(&self.transaction.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&(pdu.len() as u16 + 1).to_be_bytes());
        out.push(self.unit);
        out.extend_from_slice(pdu);
    }
}

/// Why a stream can not be read any further, or a frame is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Nobody can know where the next frame begins: close the connection.
    #[error("frame length {0} is not between 2 and 254")]
    Length(u16),
    /// The frame is left out, what follows is read.
    #[error("protocol {0:#06x} is not Modbus (0)")]
    Protocol(u16),
}

impl FrameError {
    /// Whether the connection must be closed.
    pub fn is_fatal(self) -> bool {
        matches!(self, Self::Length(_))
    }
}

/// Cuts a stream into frames. Holds at most one frame beyond what was pushed last.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    buffer: Vec<u8>,
    start: usize,
    broken: Option<FrameError>,
}

impl Frames {
    /// Takes what the socket gave. Take the frames out before pushing more.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.broken.is_none() {
            self.buffer.drain(..self.start);
            self.start = 0;
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Bytes held that are no whole frame yet.
    pub fn held(&self) -> usize {
        self.buffer.len() - self.start
    }
}

impl Iterator for Frames {
    type Item = Result<Frame, FrameError>;

    /// The next whole frame, or what is wrong with it; `None` = wait for more. After a fatal error nothing but `None`.
    fn next(&mut self) -> Option<Self::Item> {
        if self.broken.is_some() {
            return None;
        }
        let mut r = Reader::new(&self.buffer[self.start..]);
        let (transaction, protocol, length) = (r.u16().ok()?, r.u16().ok()?, r.u16().ok()?);
        if !(2..=PDU_MAX + 1).contains(&usize::from(length)) {
            self.broken = Some(FrameError::Length(length));
            self.buffer = Vec::new();
            self.start = 0;
            return Some(Err(FrameError::Length(length)));
        }
        let body = r.take(usize::from(length)).ok()?;
        let frame = Frame { transaction, unit: body[0], pdu: body[1..].to_vec() };
        self.start += HEADER + usize::from(length);
        Some(if protocol == 0 { Ok(frame) } else { Err(FrameError::Protocol(protocol)) })
    }
}

/// What we ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Functions 1 to 4.
    Read {
        /// Which table.
        table: Table,
        /// First address.
        start: u16,
        /// Registers or bits.
        count: u16,
    },
    /// Function 43, MEI type 14: device identification (V1.1b3 section 6.21).
    Identify {
        /// 1 basic, 2 regular, 3 extended, 4 one object.
        category: u8,
        /// First object wanted.
        object: u8,
    },
}

/// Function code of a table's read.
pub const fn function_of(table: Table) -> u8 {
    match table {
        Table::Coil => 1,
        Table::Discrete => 2,
        Table::Holding => 3,
        Table::Input => 4,
    }
}

fn table_of(function: u8) -> Option<Table> {
    Table::ALL.iter().copied().find(|t| function_of(*t) == function)
}

/// Most values of one read of that table.
pub const fn count_max(table: Table) -> u16 {
    if table.is_bits() { BITS_MAX } else { REGISTERS_MAX }
}

impl Request {
    /// The function code.
    pub fn function(&self) -> u8 {
        match self {
            Self::Read { table, .. } => function_of(*table),
            Self::Identify { .. } => 0x2b,
        }
    }

    /// The PDU.
    pub fn encode(&self) -> Vec<u8> {
        let mut pdu = vec![self.function()];
        match self {
            Self::Read { start, count, .. } => {
                pdu.extend_from_slice(&start.to_be_bytes());
                pdu.extend_from_slice(&count.to_be_bytes());
            }
            Self::Identify { category, object } => pdu.extend_from_slice(&[0x0e, *category, *object]),
        }
        pdu
    }

    /// Reads a request's PDU, as a server does.
    ///
    /// # Errors
    /// [`PduError`]: another function, a wrong length, a count of 0 or beyond the limit, addresses beyond 65,535.
    pub fn decode(pdu: &[u8]) -> Result<Self, PduError> {
        let mut r = Reader::new(pdu);
        let function = r.u8().map_err(|_| PduError::Empty)?;
        let length = PduError::Length { function, have: pdu.len() };
        let request = if let Some(table) = table_of(function) {
            let (start, count) = (r.u16().map_err(|_| length)?, r.u16().map_err(|_| length)?);
            if count == 0 || count > count_max(table) || u32::from(start) + u32::from(count) > 0x1_0000 {
                return Err(PduError::Count { start, count });
            }
            Self::Read { table, start, count }
        } else if function == 0x2b {
            match r.array::<3>().map_err(|_| length)? {
                [0x0e, category, object] => Self::Identify { category, object },
                [mei, ..] => return Err(PduError::Mei(mei)),
            }
        } else {
            return Err(PduError::Function(function));
        };
        if r.is_empty() { Ok(request) } else { Err(length) }
    }
}

/// An exception code (V1.1b3 section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Exception(pub u8);

impl Exception {
    /// The unit behind a gateway did not answer or cannot be reached; the gateway itself is well.
    pub const fn is_gateway(self) -> bool {
        matches!(self.0, 0x0a | 0x0b)
    }
    /// What the standard calls it.
    pub const fn name(self) -> &'static str {
        match self.0 {
            1 => "illegal function",
            2 => "illegal data address",
            3 => "illegal data value",
            4 => "server device failure",
            5 => "acknowledge",
            6 => "server device busy",
            8 => "memory parity error",
            0x0a => "gateway path unavailable",
            0x0b => "gateway target device failed to respond",
            _ => "not in the standard",
        }
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exception {:#04x} {}", self.0, self.name())
    }
}

/// What a device says it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Object id and text: 0 vendor, 1 product code, 2 revision …
    pub objects: Vec<(u8, String)>,
    /// Conformity level as sent.
    pub conformity: u8,
    /// The object to ask for next, if there are more.
    pub next: Option<u8>,
}

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Functions 1 and 2: bits, eight a byte, the first in the least significant place.
    Bits(Vec<u8>),
    /// Functions 3 and 4: registers.
    Registers(Vec<u16>),
    /// Function 43/14.
    Identity(Identity),
    /// The server refuses.
    Exception {
        /// The function that was asked for.
        function: u8,
        /// Why.
        code: Exception,
    },
}

/// Why a PDU cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PduError {
    /// No function code.
    #[error("the PDU is empty")]
    Empty,
    /// A function this client does not speak.
    #[error("function {0:#04x} is not one of 1 to 4 and 43")]
    Function(u8),
    /// An encapsulated interface other than device identification.
    #[error("MEI type {0:#04x} is not 0x0e")]
    Mei(u8),
    /// Shorter or longer than the function's fields, or a byte count that does not fit.
    #[error("function {function:#04x} does not take {have} bytes")]
    Length {
        /// Function code.
        function: u8,
        /// Length of the PDU.
        have: usize,
    },
    /// A count of 0 or beyond the limit, or addresses beyond 65,535.
    #[error("{count} values from address {start} cannot be read at once")]
    Count {
        /// First address.
        start: u16,
        /// How many.
        count: u16,
    },
}

impl Response {
    /// Reads an answer's PDU. Whether it answers the question is [`Response::answers`].
    ///
    /// # Errors
    /// [`PduError`].
    pub fn decode(pdu: &[u8]) -> Result<Self, PduError> {
        let mut r = Reader::new(pdu);
        let function = r.u8().map_err(|_| PduError::Empty)?;
        let length = PduError::Length { function, have: pdu.len() };
        let response = match function {
            0x80.. => Self::Exception { function: function & 0x7f, code: Exception(r.u8().map_err(|_| length)?) },
            1..=4 => {
                let n = usize::from(r.u8().map_err(|_| length)?);
                let data = r.take(n).map_err(|_| length)?;
                if n == 0 || (function > 2 && n % 2 == 1) {
                    return Err(length);
                }
                if function <= 2 {
                    Self::Bits(data.to_vec())
                } else {
                    Self::Registers(data.chunks_exact(2).map(|w| u16::from_be_bytes([w[0], w[1]])).collect())
                }
            }
            0x2b => {
                let [mei, _, conformity, more, next, n] = r.array::<6>().map_err(|_| length)?;
                if mei != 0x0e {
                    return Err(PduError::Mei(mei));
                }
                let mut objects = Vec::new();
                for _ in 0..n {
                    objects.push((r.u8().map_err(|_| length)?, r.text_u8().map_err(|_| length)?));
                }
                Self::Identity(Identity { objects, conformity, next: (more == 0xff).then_some(next) })
            }
            other => return Err(PduError::Function(other)),
        };
        if r.is_empty() { Ok(response) } else { Err(length) }
    }

    /// Whether this can be the answer to `request`: its shape, and exactly as many values as were asked for. That the function
    /// code is the same is checked where the frame is matched ([`super::client`]).
    pub fn answers(&self, request: &Request) -> bool {
        match (self, request) {
            (Self::Exception { function, .. }, request) => *function == request.function(),
            (Self::Bits(bytes), Request::Read { table, count, .. }) => table.is_bits() && bytes.len() == usize::from(*count).div_ceil(8),
            (Self::Registers(words), Request::Read { table, count, .. }) => !table.is_bits() && words.len() == usize::from(*count),
            (Self::Identity(_), Request::Identify { .. }) => true,
            _ => false,
        }
    }

    /// The PDU of an answer to `request`, as a server writes it; used by the simulator and by tests.
    /// Data beyond what the byte count can say is cut.
    pub fn encode(&self, request: &Request) -> Vec<u8> {
        let function = request.function();
        let mut pdu = vec![function];
        match self {
            Self::Bits(bytes) => {
                let bytes = &bytes[..bytes.len().min(PDU_MAX - 2)];
                pdu.push(bytes.len() as u8);
                pdu.extend_from_slice(bytes);
            }
            Self::Registers(words) => {
                let words = &words[..words.len().min(usize::from(REGISTERS_MAX))];
                pdu.push((words.len() * 2) as u8);
                pdu.extend(words.iter().flat_map(|w| w.to_be_bytes()));
            }
            Self::Identity(identity) => {
                let category = if let Request::Identify { category, .. } = request { *category } else { 1 };
                let (more, next) = identity.next.map_or((0, 0), |next| (0xff, next));
                pdu.extend_from_slice(&[0x0e, category, identity.conformity, more, next, 0]);
                for (id, text) in &identity.objects {
                    let text = crate::wire::text_bytes(text);
                    if pdu.len() + 2 + text.len() > PDU_MAX {
                        break;
                    }
                    pdu[6] += 1;
                    pdu.extend_from_slice(&[*id, text.len() as u8]);
                    pdu.extend_from_slice(&text);
                }
            }
            Self::Exception { code, .. } => pdu = vec![function | 0x80, code.0],
        }
        pdu
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(chunks: &[&[u8]]) -> Vec<Result<Frame, FrameError>> {
        let mut frames = Frames::default();
        let mut found = Vec::new();
        for chunk in chunks {
            frames.push(chunk);
            found.extend(&mut frames);
        }
        found
    }

    #[test]
    fn half_a_frame_waits_for_the_rest() {
        let bytes = [0, 7, 0, 0, 0, 3, 0x11, 0x83, 2, 0, 8, 0, 0, 0, 3, 0x11, 0x81, 1];
        for cut in 0..bytes.len() {
            let found = frames(&[&bytes[..cut], &bytes[cut..]]);
            assert_eq!(found.iter().map(|f| f.as_ref().unwrap().transaction).collect::<Vec<_>>(), [7, 8], "cut at {cut}");
        }
    }

    #[test]
    fn another_protocol_is_left_out_and_a_wrong_length_ends_the_stream() {
        let foreign = [0, 7, 1, 0, 0, 3, 1, 0x83, 2];
        let good = [0, 8, 0, 0, 0, 3, 1, 0x83, 2];
        let found = frames(&[&foreign, &good]);
        assert_eq!(found[0], Err(FrameError::Protocol(0x100)));
        assert_eq!(found[1].as_ref().unwrap().transaction, 8);
        for length in [0, 1, 255, 65_535_u16] {
            let mut bytes = vec![0, 7, 0, 0];
            bytes.extend(length.to_be_bytes());
            bytes.extend([1, 0x83, 2]);
            assert_eq!(frames(&[&bytes, &good]), [Err(FrameError::Length(length))]);
        }
    }

    #[test]
    fn an_answer_of_another_size_is_none() {
        let request = Request::Read { table: Table::Holding, start: 0, count: 2 };
        let check = |pdu: &[u8], want| assert_eq!(Response::decode(pdu).is_ok_and(|r| r.answers(&request)), want, "{pdu:x?}");
        check(&[3, 4, 0, 1, 0, 2], true);
        check(&[3, 2, 0, 1], false);
        check(&[3, 4, 0, 1, 0], false);
        check(&[1, 4, 0, 1, 0, 2], false);
        check(&[0x83, 2], true);
        check(&[0x84, 2], false);
        check(&[3, 3, 0, 1, 0], false);
        check(&[], false);
    }

    #[test]
    fn a_device_names_itself() {
        let pdu = [0x2b, 0x0e, 1, 0x83, 0, 0, 2, 0, 2, b'A', b'B', 1, 1, b'7'];
        let identity = Identity { objects: vec![(0, "AB".into()), (1, "7".into())], conformity: 0x83, next: None };
        assert_eq!(Response::decode(&pdu), Ok(Response::Identity(identity.clone())));
        let request = Request::Identify { category: 1, object: 0 };
        assert_eq!(Response::Identity(identity).encode(&request), pdu);
        assert_eq!(Request::decode(&request.encode()), Ok(request));
    }
}
