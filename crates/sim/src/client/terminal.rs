//! A JT/T 808 terminal without I/O: registers, authenticates, reports, counts serial numbers.
//!
//! If registration is refused it goes on all the same, as many real terminals do; a server in accept mode hears it. Start at [`Terminal`].

use anlan_model::Timestamp;
use anlan_protocols::jt808::{
    Answer, Authenticate, Frames, Item, Media, Message, Position, PositionBatch, Register, RegisterEdition, Version, encode,
};

use crate::client::{Heard, Wire};

/// What a terminal reports.
#[derive(Clone, Debug, PartialEq)]
pub enum Parcel {
    /// 0x0200.
    One(Position),
    /// 0x0704; `backfill` makes it type 1.
    Many {
        /// In order of time.
        positions: Vec<Position>,
        /// Kept while silent.
        backfill: bool,
    },
    /// 0x0801.
    Picture(Media),
}

/// The state of one terminal, kept over its connections.
pub struct Terminal {
    phone: String,
    plate: String,
    version: Version,
    serial: u16,
    code: Option<String>,
    /// Serial of the registration or authentication under way.
    hello_serial: u16,
    /// The code it had was refused on this connection: register once more, then give up.
    registered_again: bool,
    frames: Frames,
    /// Pictures on the wire: their number, their frames, the serial number of the last.
    pictures: Vec<(u32, Vec<Vec<u8>>, u16)>,
}

impl Terminal {
    /// A terminal that has never been registered.
    pub fn new(phone: &str, plate: &str, edition_2019: bool) -> Self {
        Self {
            phone: phone.to_owned(),
            plate: plate.to_owned(),
            version: if edition_2019 { Version::V2019 } else { Version::V2013 },
            serial: 0,
            code: None,
            hello_serial: 0,
            registered_again: false,
            frames: Frames::new(),
            pictures: Vec::new(),
        }
    }

    /// 0x8800: the picture is kept, or parts of it are wanted again.
    fn picture_answered(&mut self, body: &[u8]) -> Option<Heard> {
        let (id, missing) = body.split_first_chunk()?;
        let at = self.pictures.iter().position(|(picture, ..)| picture.to_be_bytes() == *id)?;
        if missing.is_empty() {
            return Some(Heard::Kept(self.pictures.remove(at).2));
        }
        let frames = &self.pictures.get(at)?.1;
        let wanted =
            missing.get(1..)?.chunks_exact(2).filter_map(|i| frames.get(usize::from(u16::from_be_bytes([i[0], i[1]])).checked_sub(1)?));
        Some(Heard::Reply(wanted.flatten().copied().collect()))
    }

    /// The frames of a message and the serial number that its answer names: that of the last part.
    fn frames_of(&mut self, message: &Message) -> (Vec<u8>, u16) {
        match encode::frames(&self.phone, self.version, self.serial, message) {
            Ok(frames) => {
                let last = self.serial.wrapping_add(u16::try_from(frames.len()).unwrap_or(1).wrapping_sub(1));
                self.serial = last.wrapping_add(1);
                (frames.concat(), last)
            }
            Err(error) => {
                tracing::error!("a simulated terminal made a message that cannot be sent: {error}");
                (Vec::new(), self.serial)
            }
        }
    }

    fn register(&mut self) -> Vec<u8> {
        let (edition, maker) = match self.version {
            Version::V2013 => (RegisterEdition::V2013, "YANSH"),
            Version::V2019 => (RegisterEdition::V2019, "YANSHI"),
        };
        let message = Message::Register(Register {
            edition,
            // Yuxi, GB/T 2260 5304xx: province 53, city 0400.
            province: 53,
            city: 400,
            maker: maker.to_owned(),
            model: "ANLAN-SIM".to_owned(),
            terminal_id: self.phone.get(self.phone.len().saturating_sub(7)..).unwrap_or_default().to_owned(),
            // Yellow: large vehicles (JT/T 415).
            plate_colour: 2,
            plate: self.plate.clone(),
        });
        let (bytes, serial) = self.frames_of(&message);
        self.hello_serial = serial;
        bytes
    }

    fn authenticate(&mut self, code: String) -> Vec<u8> {
        let edition_2019 = self.version == Version::V2019;
        let text = |s: &str| edition_2019.then(|| s.to_owned());
        let (bytes, serial) =
            self.frames_of(&Message::Authenticate(Authenticate { code, imei: text("000000000000000"), software: text("anlan-sim") }));
        self.hello_serial = serial;
        bytes
    }

    fn answered(&mut self, answer: Answer) -> Heard {
        match (answer.answered_id, answer.result) {
            (0x0102, 0) => Heard::Ready,
            (0x0102, _) if self.registered_again => Heard::Broken("the server refuses the authentication code"),
            (0x0102, _) => {
                self.code = None;
                self.registered_again = true;
                Heard::Reply(self.register())
            }
            (0x0200 | 0x0704, 0 | 4) => Heard::Kept(answer.answered_serial),
            // 1 failed: not authenticated, or overloaded. 2 and 3 will never be better.
            (0x0200 | 0x0704, 1) => Heard::Again(answer.answered_serial),
            (0x0200 | 0x0704, _) => Heard::Refused(answer.answered_serial),
            // "Done" to a part is transport only; a refusal counts for the whole, named by its last part.
            (0x0801, 1..) => {
                self.pictures.retain(|(.., last)| *last != answer.answered_serial);
                Heard::Refused(answer.answered_serial)
            }
            _ => Heard::Reply(Vec::new()),
        }
    }
}

impl Wire for Terminal {
    type Parcel = Parcel;

    fn hello(&mut self) -> Vec<u8> {
        self.frames = Frames::new();
        self.registered_again = false;
        self.pictures.clear();
        match self.code.clone() {
            Some(code) => self.authenticate(code),
            None => self.register(),
        }
    }

    fn send(&mut self, parcel: &Parcel) -> (Vec<u8>, u16) {
        let message = match parcel {
            Parcel::Picture(media) => {
                let frames = encode::frames(&self.phone, self.version, self.serial, &media.message()).unwrap_or_default();
                let (bytes, last) = self.frames_of(&media.message());
                self.pictures.push((media.id, frames, last));
                return (bytes, last);
            }
            Parcel::One(position) => Message::Position(position.clone()),
            Parcel::Many { positions, backfill } => {
                Message::PositionBatch(PositionBatch { kind: u8::from(*backfill), positions: positions.clone() })
            }
        };
        self.frames_of(&message)
    }

    fn receive(&mut self, bytes: &[u8]) -> Vec<Heard> {
        self.frames.push(bytes);
        let whole: Vec<_> = self.frames.by_ref().flatten().collect();
        let mut heard = Vec::new();
        for frame in whole {
            match frame.decode().0 {
                Message::PlatformAnswer(answer) => heard.push(self.answered(answer)),
                Message::RegisterAnswer(answer) if answer.answered_serial == self.hello_serial => match answer.code {
                    Some(code) if answer.result == 0 => {
                        self.code = Some(code.clone());
                        heard.push(Heard::Reply(self.authenticate(code)));
                    }
                    _ => heard.push(Heard::Ready),
                },
                _ if frame.header.message_id == 0x8800 => heard.extend(self.picture_answered(&frame.body)),
                // Downlinks are answered as unsupported: a simulated terminal has no driver and no parameters.
                other if other.id() & 0x8000 != 0 => {
                    let answer = Answer { answered_serial: frame.header.serial, answered_id: other.id(), result: 3 };
                    heard.push(Heard::Reply(self.frames_of(&Message::TerminalAnswer(answer)).0));
                }
                _ => {}
            }
        }
        heard
    }

    fn keep_alive(&mut self) -> Vec<u8> {
        self.frames_of(&Message::Heartbeat).0
    }

    fn goodbye(&mut self) -> Vec<u8> {
        // A terminal that is switched off says nothing; 0x0003 would unregister it.
        Vec::new()
    }
}

/// A 0x0200 body from the units of the script.
pub fn position(report: &crate::script::Report, at: Timestamp) -> Position {
    let mut position = Position::at(report.lat_e6, report.lon_e6, at);
    position.alarm = report.alarm_bits;
    position.status = report.status_bits;
    position.altitude_m = report.altitude_m;
    position.speed_tenth_kmh = report.speed_dkmh;
    position.direction_deg = report.direction_deg;
    position.with(Item::Odometer(report.odometer_dkm)).with(Item::RadioStrength(28))
}

#[cfg(test)]
mod tests {
    use anlan_protocols::jt808::RegisterAnswer;

    use super::*;

    fn from_server(phone: &str, version: Version, message: &Message) -> Vec<u8> {
        encode::frames(phone, version, 0, message).unwrap().concat()
    }

    fn decoded(bytes: &[u8]) -> Vec<(u16, Message)> {
        let mut frames = Frames::new();
        frames.push(bytes);
        frames.map(|f| f.unwrap()).map(|f| (f.header.serial, f.decode().0)).collect()
    }

    #[test]
    fn registers_authenticates_reports_and_keeps_its_code() {
        for edition_2019 in [false, true] {
            let mut terminal = Terminal::new("10000000001", "云F·演0001", edition_2019);
            let version = terminal.version;
            let hello = decoded(&terminal.hello());
            assert!(matches!(&hello[0].1, Message::Register(r) if r.plate == "云F·演0001"), "{hello:?}");
            let answer = RegisterAnswer { answered_serial: hello[0].0, result: 0, code: Some("abc".into()) };
            let heard = terminal.receive(&from_server("10000000001", version, &Message::RegisterAnswer(answer)));
            let [Heard::Reply(bytes)] = &heard[..] else { panic!("{heard:?}") };
            let auth = decoded(bytes);
            assert!(matches!(&auth[0].1, Message::Authenticate(a) if a.code == "abc"));
            let ok = |serial, id, result| Message::PlatformAnswer(Answer { answered_serial: serial, answered_id: id, result });
            assert_eq!(terminal.receive(&from_server("10000000001", version, &ok(auth[0].0, 0x0102, 0))), [Heard::Ready]);
            let at = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
            let (bytes, key) = terminal.send(&Parcel::One(Position::at(24_000_000, 102_000_000, at)));
            let sent = decoded(&bytes);
            assert_eq!(sent[0].0, key);
            assert!(matches!(&sent[0].1, Message::Position(p) if p.time == Some(at)));
            assert_eq!(terminal.receive(&from_server("10000000001", version, &ok(key, 0x0200, 0))), [Heard::Kept(key)]);
            assert!(matches!(&decoded(&terminal.hello())[0].1, Message::Authenticate(_)), "the code outlives the connection");
        }
    }

    #[test]
    fn a_refused_registration_does_not_silence_it() {
        let mut terminal = Terminal::new("10000000001", "云F·演0001", false);
        let serial = decoded(&terminal.hello())[0].0;
        let no = Message::RegisterAnswer(RegisterAnswer { answered_serial: serial, result: 4, code: None });
        assert_eq!(terminal.receive(&from_server("10000000001", Version::V2013, &no)), [Heard::Ready]);
    }
}
