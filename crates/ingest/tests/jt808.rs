//! What a JT/T 808 terminal sees over TCP, as claims. Frames are made by the codec, answers are read by it.
#![allow(missing_docs)]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use anlan_ingest::jt808::{self, Unknown};
use anlan_ingest::{Limits, Protocol, Reason, terminal_code};
use anlan_model::{Command, CommandBody, Delivery, Downlink, MediaRefusal, Refusal, Source, SourceEvent, Timestamp, Trust};
use anlan_protocols::jt808::{
    Answer, Authenticate, Driver, Frames, Header, Media, Message, Parameter, ParametersAnswer, Position, PositionAnswer, PositionBatch,
    Register, RegisterAnswer, RegisterEdition, Resend, Version, encode,
};
use common::{Client, House, KEY, Mode, NOW, adopted, listener};

const ADOPTED: &str = "013800138000";
const STRANGER: &str = "013700137000";

struct Terminal {
    client: Client,
    frames: Frames,
    phone: String,
    version: Version,
    serial: u16,
}

impl Terminal {
    async fn connect(address: SocketAddr, phone: &str) -> Self {
        Self { client: Client::connect(address).await, frames: Frames::new(), phone: phone.into(), version: Version::V2013, serial: 0 }
    }
    async fn authenticated(address: SocketAddr, phone: &str) -> Self {
        let mut t = Self::connect(address, phone).await;
        let code = terminal_code(&KEY, anlan_ingest::normal_phone(phone), 1);
        assert_eq!(t.ask(&authenticate(&code)).await, (0x0102, 0));
        t
    }
    /// Sends a message; its first serial number.
    async fn send(&mut self, message: &Message) -> u16 {
        let frames = encode::frames(&self.phone, self.version, self.serial, message).unwrap();
        let first = self.serial;
        self.serial = self.serial.wrapping_add(frames.len() as u16);
        self.client.send(&frames.concat()).await;
        first
    }
    async fn hear(&mut self) -> (Header, Message) {
        loop {
            if let Some(frame) = self.frames.next() {
                let frame = frame.unwrap();
                return (frame.header.clone(), frame.decode().0);
            }
            let bytes = self.client.some().await;
            assert!(!bytes.is_empty(), "the server closed");
            self.frames.push(&bytes);
        }
    }
    /// The next general answer: serial, id, result.
    async fn answer(&mut self) -> (u16, u16, u8) {
        match self.hear().await.1 {
            Message::PlatformAnswer(a) => (a.answered_serial, a.answered_id, a.result),
            other => panic!("not an answer: {other:?}"),
        }
    }
    /// Sends and waits for the general answer to it: message id and result.
    async fn ask(&mut self, message: &Message) -> (u16, u8) {
        let serial = self.send(message).await;
        let (answered, id, result) = self.answer().await;
        assert_eq!(answered, serial);
        (id, result)
    }
    /// Registers: result and code.
    async fn register(&mut self) -> (u8, Option<String>) {
        let serial = self.send(&register()).await;
        let Message::RegisterAnswer(answer) = self.hear().await.1 else { panic!("not an answer to a registration") };
        assert_eq!(answer.answered_serial, serial);
        (answer.result, answer.code)
    }
}

fn authenticate(code: &str) -> Message {
    Message::Authenticate(Authenticate { code: code.into(), imei: None, software: None })
}

fn place() -> Position {
    Position::at(24_351_000, 102_543_000, Timestamp::parse(NOW).unwrap())
}

fn position() -> Message {
    Message::Position(place())
}

fn register() -> Message {
    Message::Register(Register {
        edition: RegisterEdition::V2013,
        province: 53,
        city: 402,
        maker: "ANLAN".into(),
        model: "T1".into(),
        terminal_id: "0000001".into(),
        plate_colour: 2,
        plate: "云F12345".into(),
    })
}

async fn serve(house: &House, unknown: Unknown) -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(jt808::serve(listener, None, house.ctx.clone(), unknown));
    address
}

fn refused(house: &House, reason: Reason) -> u64 {
    house.ctx.stats.link(Protocol::Jt808).refused(reason)
}

#[tokio::test]
async fn registration_gives_the_code_that_authentication_takes() {
    let house = House::new();
    enrol(&house, "13800138000", 1, Some(0));
    let mut t = Terminal::connect(serve(&house, Unknown::Quarantine).await, ADOPTED).await;
    let (0, Some(code)) = t.register().await else { panic!() };
    assert_eq!(code, terminal_code(&KEY, "13800138000", 1));
    assert_eq!(t.ask(&authenticate(&code)).await, (0x0102, 0));
    let SourceEvent::Registered { plate, plate_colour, terminal } = house.intake.events()[0].clone() else { panic!() };
    assert_eq!((plate.as_str(), plate_colour, terminal.as_str()), ("云F12345", 2, "ANLAN/T1/0000001"));
}

/// Adopts the number, with the enrolment window ending so many microseconds after now.
fn enrol(house: &House, phone: &str, generation: i64, ends_in_us: Option<i64>) {
    let until = ends_in_us.map(|us| Timestamp::parse(NOW).unwrap().plus_us(us));
    house.change(|c| {
        c.terminals.insert(phone.into(), adopted(9, generation, until));
    });
}

#[tokio::test]
async fn an_adopted_number_gives_its_code_to_nobody_outside_the_window() {
    let house = House::new();
    let address = serve(&house, Unknown::Accept).await;
    let mut thief = Terminal::connect(address, ADOPTED).await;
    assert_eq!(thief.register().await, (3, None), "no window");
    enrol(&house, "13800138000", 1, Some(-1));
    assert_eq!(thief.register().await, (3, None), "the window is over");
    assert_eq!(refused(&house, Reason::AlreadyRegistered), 2);
    assert!(house.intake.seen().is_empty(), "and its plate is not believed");

    enrol(&house, "13800138000", 1, Some(0));
    let mut own = Terminal::connect(address, ADOPTED).await;
    let first = terminal_code(&KEY, "13800138000", 1);
    assert_eq!(own.register().await, (0, Some(first.clone())));
    assert_eq!(thief.register().await, (3, None), "once");
    assert_eq!(own.register().await, (3, None), "whoever asks");
    assert_eq!(own.ask(&authenticate(&first)).await, (0x0102, 0));
    assert_eq!(own.register().await, (0, Some(first.clone())), "it knows the code anyway");
    assert_eq!(own.ask(&position()).await, (0x0200, 0));

    enrol(&house, "13800138000", 2, Some(0));
    assert_eq!(own.ask(&position()).await, (0x0200, 1), "a new code ends what the old one began");
    assert_eq!(own.ask(&authenticate(&first)).await, (0x0102, 1));
    assert_eq!(own.register().await, (0, Some(terminal_code(&KEY, "13800138000", 2))));
    assert_eq!(thief.register().await, (3, None));
}

#[tokio::test]
async fn a_full_shard_does_not_use_up_the_only_code() {
    let house = House::new();
    enrol(&house, "13800138000", 1, Some(0));
    let mut t = Terminal::connect(serve(&house, Unknown::Quarantine).await, ADOPTED).await;
    house.intake.set(Mode::RefuseFirst(Refusal::Overloaded, 1));
    t.send(&register()).await;
    assert!(t.client.silent().await);
    assert_eq!(t.register().await, (0, Some(terminal_code(&KEY, "13800138000", 1))));
}

#[tokio::test]
async fn two_registrations_at_once_are_told_one_code() {
    let house = House::new();
    enrol(&house, "13800138000", 1, Some(0));
    let address = serve(&house, Unknown::Quarantine).await;
    let (mut a, mut b) = (Terminal::connect(address, ADOPTED).await, Terminal::connect(address, ADOPTED).await);
    house.intake.set(Mode::Hold);
    a.send(&register()).await;
    b.send(&register()).await;
    house.until("both are offered", |i| i.n_held() == 2).await;
    house.intake.release(Ok(Default::default()));
    let mut results = Vec::new();
    for t in [&mut a, &mut b] {
        let Message::RegisterAnswer(answer) = t.hear().await.1 else { panic!() };
        results.push((answer.result, answer.code.is_some()));
    }
    results.sort_unstable();
    assert_eq!(results, [(0, true), (3, false)]);
}

#[tokio::test]
async fn a_code_from_before_adoption_is_worth_nothing() {
    for unknown in [Unknown::Quarantine, Unknown::Accept] {
        let house = House::new();
        let address = serve(&house, unknown).await;
        let mut early = Terminal::connect(address, STRANGER).await;
        let (0, Some(code)) = early.register().await else { panic!() };
        enrol(&house, "13700137000", 1, None);
        let mut late = Terminal::connect(address, STRANGER).await;
        for t in [&mut early, &mut late] {
            assert_eq!(t.ask(&authenticate(&code)).await, (0x0102, 1));
            assert_eq!(t.ask(&position()).await, (0x0200, 1));
            assert_eq!(t.register().await, (3, None));
        }
        assert_eq!(refused(&house, Reason::Credentials), 2);
    }
}

#[tokio::test]
async fn a_number_held_from_before_adoption_gets_no_commands() {
    let house = House::new();
    let mut t = Terminal::connect(serve(&house, Unknown::Accept).await, STRANGER).await;
    let send = |id| house.ctx.downlinks.send(&Command { id, to: "13700137000".into(), body: CommandBody::QueryPosition });
    assert_eq!(t.ask(&position()).await, (0x0200, 0));
    assert_eq!(send(1), Delivery::Sent);
    assert!(matches!(t.hear().await.1, Message::QueryPosition));
    enrol(&house, "13700137000", 1, None);
    assert_eq!(send(2), Delivery::Sent, "handed over, but not to the terminal");
    house.until("the command is closed", |i| i.events().len() == 1).await;
    assert!(matches!(house.intake.events()[..], [SourceEvent::CommandAnswer { command: 2, ok: false, .. }]));
    assert!(t.client.silent().await);
    assert_eq!(send(3), Delivery::NotConnected, "the number was given back");
    assert!(house.ctx.downlinks.connected_terminals().is_empty());
    assert_eq!(t.ask(&authenticate(&terminal_code(&KEY, "13700137000", 1))).await, (0x0102, 0));
    assert_eq!(send(4), Delivery::Sent);
    assert!(matches!(t.hear().await.1, Message::QueryPosition));
}

#[tokio::test]
async fn an_adopted_terminal_must_authenticate_before_its_data_counts() {
    let house = House::new();
    let mut t = Terminal::connect(serve(&house, Unknown::Accept).await, ADOPTED).await;
    assert_eq!(t.ask(&position()).await, (0x0200, 1));
    assert_eq!(t.ask(&Message::Heartbeat).await, (0x0002, 1));
    assert_eq!(t.ask(&authenticate("0123456789abcdef")).await, (0x0102, 1));
    assert_eq!(t.ask(&position()).await, (0x0200, 1));
    assert!(house.intake.seen().is_empty());
    assert_eq!((refused(&house, Reason::NotAuthenticated), refused(&house, Reason::Credentials)), (3, 1));
}

#[tokio::test]
async fn a_position_is_answered_only_after_it_is_kept() {
    let house = House::new();
    let mut t = Terminal::authenticated(serve(&house, Unknown::Quarantine).await, ADOPTED).await;
    house.intake.set(Mode::Hold);
    let serial = t.send(&position()).await;
    house.until("the position is offered", |i| i.n_held() == 1).await;
    assert!(t.client.silent().await);
    assert_eq!(t.ask(&Message::Heartbeat).await, (0x0002, 0), "heartbeats do not wait");
    house.intake.release(Ok(Default::default()));
    assert_eq!(t.answer().await, (serial, 0x0200, 0));
    let seen = &house.intake.seen()[0];
    assert_eq!(seen.source, Source::Terminal { phone: "13800138000".into(), trust: Trust::Listed });
    assert_eq!(seen.received_at, Timestamp::parse(NOW).unwrap());
    let p = &seen.positions[0];
    assert_eq!((p.lat_e6, p.lon_e6, p.device_at, p.backfill), (24_351_000, 102_543_000, Some(Timestamp::parse(NOW).unwrap()), false));
    assert_eq!(p.body_crc, crc32fast::hash(&encode::body(&position(), Version::V2013).unwrap()));
    assert_eq!(house.ctx.stats.link(Protocol::Jt808).readings_total(), 1);
}

#[tokio::test]
async fn a_full_shard_gives_no_answer_but_heartbeats_go_on() {
    let house = House::new();
    let mut t = Terminal::authenticated(serve(&house, Unknown::Quarantine).await, ADOPTED).await;
    house.intake.set(Mode::RefuseFirst(Refusal::Overloaded, 1));
    t.send(&position()).await;
    assert!(t.client.silent().await);
    assert_eq!(t.ask(&Message::Heartbeat).await, (0x0002, 0));
    assert_eq!(t.ask(&position()).await, (0x0200, 0), "the repeat is taken");
    assert_eq!(refused(&house, Reason::Overloaded), 1);
}

#[tokio::test]
async fn a_blind_area_batch_is_back_fill_and_shares_the_identity_of_its_live_twin() {
    let house = House::new();
    let mut t = Terminal::authenticated(serve(&house, Unknown::Quarantine).await, ADOPTED).await;
    let batch = |kind| Message::PositionBatch(PositionBatch { kind, positions: vec![place(), Position { speed_tenth_kmh: 5, ..place() }] });
    assert_eq!(t.ask(&position()).await, (0x0200, 0));
    assert_eq!(t.ask(&batch(1)).await, (0x0704, 0));
    assert_eq!(t.ask(&batch(0)).await, (0x0704, 0));
    let seen = house.intake.seen();
    let flags: Vec<Vec<bool>> = seen.iter().map(|s| s.positions.iter().map(|p| p.backfill).collect()).collect();
    assert_eq!(flags, [vec![false], vec![true, true], vec![false, false]]);
    assert_eq!(seen[0].positions[0].body_crc, seen[1].positions[0].body_crc);
    assert_ne!(seen[1].positions[0].body_crc, seen[1].positions[1].body_crc);
}

#[tokio::test]
async fn impossible_coordinates_keep_the_alarm_and_move_nobody() {
    let house = House::new();
    let mut t = Terminal::authenticated(serve(&house, Unknown::Quarantine).await, ADOPTED).await;
    let odd = Position { alarm: 1, lat_e6: 95_000_000, ..place() };
    assert_eq!(t.ask(&Message::Position(odd)).await, (0x0200, 0));
    let p = house.intake.seen()[0].positions[0].clone();
    assert_eq!((p.alarm_bits, p.lat_e6, p.lon_e6, p.status_bits & 2), (1, 0, 0, 0));
    assert!(house.intake.quarantined()[0].reason.contains("latitude"));
}

#[tokio::test]
async fn an_unknown_terminal_is_refused_by_policy() {
    let house = House::new();
    let address = serve(&house, Unknown::Refuse).await;
    let mut t = Terminal::connect(address, STRANGER).await;
    assert_eq!(t.ask(&position()).await, (0x0200, 1));
    assert!(t.client.closes().await);
    let mut t = Terminal::connect(address, STRANGER).await;
    t.send(&register()).await;
    assert_eq!(t.hear().await.1, Message::RegisterAnswer(RegisterAnswer { answered_serial: 0, result: 4, code: None }));
    assert!(t.client.closes().await);
    assert_eq!(refused(&house, Reason::UnknownSource), 2);
}

#[tokio::test]
async fn an_unknown_terminal_is_quarantined_by_default_and_heard_once_adopted() {
    let house = House::new();
    let mut t = Terminal::connect(serve(&house, Unknown::default()).await, STRANGER).await;
    assert_eq!(t.ask(&Message::Heartbeat).await, (0x0002, 0));
    assert_eq!(t.ask(&position()).await, (0x0200, 0));
    assert_eq!(t.ask(&Message::Heartbeat).await, (0x0002, 0));
    let kept = house.intake.quarantined();
    assert_eq!(kept.len(), 2, "the first message and the position");
    assert_eq!((kept[1].source.as_str(), kept[1].protocol), ("13700137000", "jt808"));
    assert_eq!(refused(&house, Reason::Quarantined), 3);
    assert!(house.intake.seen().is_empty());
    enrol(&house, "13700137000", 1, None);
    assert_eq!(t.ask(&position()).await, (0x0200, 1), "adopted now, so it must authenticate");
    assert_eq!(t.ask(&authenticate(&terminal_code(&KEY, "13700137000", 1))).await, (0x0102, 0));
    assert_eq!(t.ask(&position()).await, (0x0200, 0));
    assert_eq!(house.intake.seen().len(), 1);
}

#[tokio::test]
async fn an_unknown_terminal_is_heard_as_open_where_that_is_accepted() {
    let house = House::new();
    let mut t = Terminal::connect(serve(&house, Unknown::Accept).await, STRANGER).await;
    t.version = Version::V2019;
    assert_eq!(t.ask(&position()).await, (0x0200, 0));
    assert_eq!(house.intake.seen()[0].source, Source::Terminal { phone: "13700137000".into(), trust: Trust::Open });
    let mut zero = Terminal::connect(serve(&house, Unknown::Accept).await, "000000000000").await;
    assert_eq!(zero.ask(&position()).await, (0x0200, 0));
    assert_eq!(house.intake.seen()[1].source, Source::Terminal { phone: "0".into(), trust: Trust::Open });
}

async fn check_take_over(phone: &str, unknown: Unknown, authenticates: bool) {
    let house = House::new();
    let address = serve(&house, unknown).await;
    let mut first = if authenticates { Terminal::authenticated(address, phone).await } else { Terminal::connect(address, phone).await };
    assert_eq!(first.ask(&position()).await, (0x0200, 0));
    let mut second = Terminal::connect(address, phone).await;
    if authenticates {
        assert_eq!(second.ask(&authenticate("wrong")).await, (0x0102, 1));
        assert_eq!(second.ask(&position()).await, (0x0200, 1));
        assert_eq!(first.ask(&position()).await, (0x0200, 0), "a wrong code takes nothing over");
        let code = terminal_code(&KEY, anlan_ingest::normal_phone(phone), 1);
        assert_eq!(second.ask(&authenticate(&code)).await, (0x0102, 0));
    }
    assert_eq!(second.ask(&position()).await, (0x0200, 0));
    assert!(first.client.closes().await);
    assert_eq!(second.ask(&position()).await, (0x0200, 0));
    let (from, by) = (first.client.stream.local_addr().unwrap().to_string(), second.client.stream.local_addr().unwrap().to_string());
    assert_eq!(house.intake.events(), [SourceEvent::TakenOver { from, by }]);
}

#[tokio::test]
async fn a_second_connection_takes_over_after_the_right_code() {
    check_take_over(ADOPTED, Unknown::Quarantine, true).await;
}

#[tokio::test]
async fn an_open_number_is_taken_over_at_once() {
    check_take_over(STRANGER, Unknown::Accept, false).await;
}

#[tokio::test]
async fn a_forwarder_keeps_its_other_terminals_when_one_is_taken_over() {
    let house = House::new();
    let address = serve(&house, Unknown::Accept).await;
    let mut forwarder = Terminal::connect(address, STRANGER).await;
    assert_eq!(forwarder.ask(&position()).await, (0x0200, 0));
    forwarder.phone = "013700137001".into();
    assert_eq!(forwarder.ask(&position()).await, (0x0200, 0));
    let mut own = Terminal::connect(address, STRANGER).await;
    assert_eq!(own.ask(&position()).await, (0x0200, 0));
    assert_eq!(forwarder.ask(&position()).await, (0x0200, 0));
    forwarder.phone = STRANGER.into();
    assert_eq!(forwarder.ask(&position()).await, (0x0200, 1), "it lost this number");
    assert_eq!(own.ask(&position()).await, (0x0200, 0));
}

#[tokio::test]
async fn half_frames_wait_and_noise_is_skipped() {
    let house = House::new();
    let mut t = Terminal::authenticated(serve(&house, Unknown::Quarantine).await, ADOPTED).await;
    let bytes = encode::frames(&t.phone, t.version, 9, &position()).unwrap().concat();
    for byte in &bytes {
        t.client.send(&[*byte]).await;
    }
    assert_eq!(t.answer().await, (9, 0x0200, 0));
}

#[tokio::test]
async fn a_broken_frame_is_counted_kept_raw_and_answered_bad() {
    let house = House::new();
    let mut t = Terminal::authenticated(serve(&house, Unknown::Quarantine).await, ADOPTED).await;
    let good = encode::frames(&t.phone, t.version, 9, &position()).unwrap().concat();
    let mut bad = good.clone();
    bad[20] ^= 0x01;
    t.client.send(&bad).await;
    assert_eq!(t.answer().await, (9, 0x0200, 2), "wrong checksum");
    let mut plain = anlan_protocols::jt808::unescape(&good[1..good.len() - 1]).unwrap();
    plain[3] -= 1;
    let last = plain.len() - 1;
    plain[last] = plain[..last].iter().fold(0, |x, b| x ^ b);
    t.client.send(&[&[0x7e], &plain[..], &[0x7e]].concat()).await;
    assert_eq!(t.answer().await, (9, 0x0200, 2), "wrong length");
    t.client.send(&good).await;
    assert_eq!(t.answer().await, (9, 0x0200, 0), "and the stream goes on");
    let kept = house.intake.quarantined();
    assert_eq!(kept[0].bytes, bad[1..bad.len() - 1]);
    assert_eq!((kept.len(), refused(&house, Reason::BadFrame)), (2, 2));
}

#[tokio::test]
async fn garbage_closes_nothing_and_panics_nowhere() {
    let house = House::new();
    let address = serve(&house, Unknown::Accept).await;
    let mut t = Terminal::connect(address, STRANGER).await;
    let mut seed = 42u64;
    for _ in 0..200 {
        let noise: Vec<u8> = (0..512)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                // Many marks and escapes, so that a good part is cut as frames.
                [0x7e, 0x7d, 0x01, 0x02, (seed >> 33) as u8, (seed >> 41) as u8][(seed >> 60) as usize % 6]
            })
            .collect();
        t.client.send(&noise).await;
    }
    let mut other = Terminal::connect(address, "013700137009").await;
    assert_eq!(other.ask(&position()).await, (0x0200, 0));
}

#[tokio::test]
async fn too_short_is_bad_and_unknown_kinds_are_unsupported() {
    let house = House::new();
    let mut t = Terminal::authenticated(serve(&house, Unknown::Quarantine).await, ADOPTED).await;
    let raw = |message_id, body: &[u8]| Message::Raw { message_id, body: body.to_vec() };
    assert_eq!(t.ask(&raw(0x0200, &[1, 2, 3])).await, (0x0200, 2));
    assert_eq!(t.ask(&raw(0x0900, &[1, 2, 3])).await, (0x0900, 3));
    assert_eq!((refused(&house, Reason::Unreadable), refused(&house, Reason::Unsupported)), (1, 1));
    assert_eq!(house.intake.quarantined().len(), 1);
}

/// The frames of a parameters answer long enough for three parts, and what it answers.
fn long_answer(phone: &str, serial: u16, answered_serial: u16) -> Vec<Vec<u8>> {
    let parameters = (0..10).map(|id| Parameter { id: 0xf000 + id, value: vec![0x7e; 250] }).collect();
    let message = Message::ParametersAnswer(ParametersAnswer { answered_serial, parameters });
    encode::frames(phone, Version::V2013, serial, &message).unwrap()
}

#[tokio::test]
async fn parts_are_answered_as_transport_and_the_last_after_the_sync() {
    let house = House::new();
    let mut t = Terminal::authenticated(serve(&house, Unknown::Quarantine).await, ADOPTED).await;
    let command = Command { id: 77, to: "13800138000".into(), body: CommandBody::QueryParameters { ids: vec![] } };
    assert_eq!(house.ctx.downlinks.send(&command), Delivery::Sent);
    let (asked, Message::QueryParameters) = t.hear().await else { panic!() };
    let parts = long_answer(&t.phone, 100, asked.serial);
    assert_eq!(parts.len(), 3);
    house.intake.set(Mode::Hold);
    t.client.send(&parts[2]).await;
    assert_eq!(t.answer().await, (102, 0x0104, 0));
    t.client.send(&parts[0]).await;
    assert_eq!(t.answer().await, (100, 0x0104, 0));
    t.client.send(&parts[1]).await;
    house.until("the whole message is offered", |i| i.n_held() == 1).await;
    t.client.send(&parts[1]).await;
    assert!(t.client.silent().await, "a repeat promises nothing before the sync");
    house.intake.release(Ok(Default::default()));
    assert_eq!(t.answer().await, (101, 0x0104, 0));
    t.client.send(&parts[1]).await;
    assert_eq!(t.answer().await, (101, 0x0104, 0), "now a repeat is answered");
    let events = house.intake.events();
    let [SourceEvent::CommandAnswer { command: 77, ok: true, detail }] = &events[..] else { panic!("{events:?}") };
    assert!(detail.contains("0xf009"));
}

#[tokio::test]
async fn a_message_in_parts_survives_a_full_shard_because_its_parts_were_acknowledged() {
    let house = House::new();
    let mut t = Terminal::authenticated(serve(&house, Unknown::Quarantine).await, ADOPTED).await;
    let positions: Vec<Position> = (0..60).map(|n| Position { altitude_m: n, ..place() }).collect();
    house.intake.set(Mode::RefuseFirst(Refusal::Overloaded, 3));
    let serial = t.send(&Message::PositionBatch(PositionBatch { kind: 1, positions })).await;
    assert_eq!(t.answer().await, (serial, 0x0704, 0));
    assert_eq!(t.answer().await, (serial + 1, 0x0704, 0));
    assert_eq!(house.intake.seen()[0].positions.len(), 60);
    assert_eq!(refused(&house, Reason::Overloaded), 3);
}

#[tokio::test]
async fn missing_parts_are_asked_for() {
    let house = House::with(Limits { assembly_timeout_ms: 100, ..common::limits() });
    let mut t = Terminal::authenticated(serve(&house, Unknown::Quarantine).await, ADOPTED).await;
    let parts = long_answer(&t.phone, 100, 0);
    t.client.send(&parts[0]).await;
    assert_eq!(t.answer().await, (100, 0x0104, 0));
    let Message::PlatformResend(again) = t.hear().await.1 else { panic!() };
    assert_eq!((again.first_serial, again.indices), (100, vec![2, 3]));
    t.client.send(&parts[1..].concat()).await;
    assert_eq!(t.answer().await, (101, 0x0104, 0));
    assert_eq!(t.answer().await, (102, 0x0104, 0));
}

#[tokio::test]
async fn parts_that_never_come_are_asked_for_three_times_then_counted() {
    let house = House::with(Limits { assembly_timeout_ms: 60, ..common::limits() });
    let mut t = Terminal::authenticated(serve(&house, Unknown::Quarantine).await, ADOPTED).await;
    t.client.send(&long_answer(&t.phone, 100, 0)[0]).await;
    assert_eq!(t.answer().await, (100, 0x0104, 0));
    for _ in 0..3 {
        assert!(matches!(t.hear().await.1, Message::PlatformResend(_)));
    }
    assert!(t.client.silent().await);
    assert_eq!(refused(&house, Reason::Incomplete), 1);
}

/// The frames of a picture of `n_bytes`.
fn picture(phone: &str, serial: u16, media_id: u32, n_bytes: usize) -> Vec<Vec<u8>> {
    let data = Some((0..n_bytes).map(|i| (i % 251) as u8).collect());
    let media = Media { id: media_id, kind: 0, format: 0, event: 3, channel: 1, position: Some(place()), data };
    encode::frames(phone, Version::V2013, serial, &media.message()).unwrap()
}

/// The next answer must be 0x8800: its file and the parts it asks for.
async fn media_answer(t: &mut Terminal) -> (u32, Vec<u16>) {
    match t.hear().await.1 {
        Message::Table { message_id: 0x8800, record, .. } => {
            let missing = match record.get("missing") {
                Some(anlan_protocols::jt808::Value::List(rows)) => rows.iter().map(|r| match &r.0[0].1 {
                    anlan_protocols::jt808::Value::Number(n) => *n as u16,
                    other => panic!("{other:?}"),
                }),
                _ => return (record.number("media_id").unwrap() as u32, Vec::new()),
            };
            (record.number("media_id").unwrap() as u32, missing.collect())
        }
        other => panic!("not 0x8800: {other:?}"),
    }
}

#[tokio::test]
async fn a_picture_in_any_order_is_called_whole_only_once_it_is_kept() {
    let house = House::new();
    let address = serve(&house, Unknown::Accept).await;
    // Two terminals at once: their parts have the same serial numbers and stay apart.
    let mut one = Terminal::authenticated(address, ADOPTED).await;
    let mut two = Terminal::connect(address, STRANGER).await;
    let (a, b) = (picture(&one.phone, 100, 7, 2_500), picture(&two.phone, 100, 7, 2_600));
    assert_eq!((a.len(), b.len()), (3, 3));
    for i in [2, 0] {
        one.client.send(&a[i]).await;
        two.client.send(&b[i]).await;
        assert_eq!(one.answer().await, (100 + i as u16, 0x0801, 0));
        assert_eq!(two.answer().await, (100 + i as u16, 0x0801, 0));
    }
    one.client.send(&a[1]).await;
    two.client.send(&b[1]).await;
    house.until("both pictures are handed over", |i| i.n_held_media() == 2).await;
    assert!(one.client.silent().await, "nothing is promised before it is kept");
    house.intake.release_media(Ok(()));
    assert_eq!((media_answer(&mut one).await, media_answer(&mut two).await), ((7, vec![]), (7, vec![])));
    let mut heard = house.intake.media.lock().unwrap().clone();
    heard.sort_by_key(|m| m.data.as_ref().map(Vec::len));
    assert_eq!(heard.iter().map(|m| m.data.as_ref().unwrap().len()).collect::<Vec<_>>(), [2_500, 2_600]);
    assert_eq!((heard[0].phone.as_str(), heard[0].event, heard[0].position.as_ref().unwrap().lon_e6), ("13800138000", 3, 102_543_000));
    one.client.send(&a[1]).await;
    assert_eq!(one.answer().await, (101, 0x0801, 0), "a repeated part of what is kept");
}

#[tokio::test]
async fn missing_parts_of_a_picture_are_asked_for_by_its_number() {
    let house = House::with(Limits { assembly_timeout_ms: 500, ..common::limits() });
    let mut t = Terminal::authenticated(serve(&house, Unknown::Quarantine).await, ADOPTED).await;
    let parts = picture(&t.phone, 100, 9, 4_000);
    assert_eq!(parts.len(), 4);
    // Without the first part nobody knows the number yet.
    t.client.send(&parts[1]).await;
    assert_eq!(t.answer().await, (101, 0x0801, 0));
    let Message::PlatformResend(again) = t.hear().await.1 else { panic!() };
    assert_eq!((again.first_serial, again.indices), (100, vec![1, 3, 4]));
    t.client.send(&parts[0]).await;
    assert_eq!(t.answer().await, (100, 0x0801, 0));
    assert_eq!(media_answer(&mut t).await, (9, vec![3, 4]));
    t.client.send(&parts[3]).await;
    assert_eq!(t.answer().await, (103, 0x0801, 0));
    t.client.send(&parts[2]).await;
    house.until("the picture is handed over", |i| i.n_held_media() == 1).await;
    house.intake.release_media(Ok(()));
    assert_eq!(media_answer(&mut t).await, (9, vec![]));
}

#[tokio::test]
async fn a_picture_that_is_not_kept_is_never_called_whole() {
    let house = House::with(Limits { media_file_bytes: 3_000, ..common::limits() });
    let mut t = Terminal::authenticated(serve(&house, Unknown::Quarantine).await, ADOPTED).await;
    let send = async |t: &mut Terminal, n_bytes: usize| {
        let parts = picture(&t.phone, t.serial, 3, n_bytes);
        let last = t.serial + parts.len() as u16 - 1;
        t.serial = last + 1;
        for part in &parts {
            t.client.send(part).await;
        }
        for _ in 1..parts.len() {
            assert_eq!(t.answer().await.2, 0);
        }
        last
    };
    let last = send(&mut t, 3_001).await;
    assert_eq!(t.answer().await, (last, 0x0801, 3), "it will never be taken");
    assert_eq!(refused(&house, Reason::TooLarge), 1);
    let last = send(&mut t, 2_999).await;
    house.until("handed over", |i| i.n_held_media() == 1).await;
    house.intake.release_media(Err(MediaRefusal::Full));
    assert_eq!(t.answer().await, (last, 0x0801, 1), "there may be room later");
    assert_eq!(refused(&house, Reason::Quota), 1);
    send(&mut t, 2_998).await;
    house.until("handed over", |i| i.n_held_media() == 1).await;
    house.intake.release_media(Err(MediaRefusal::Storage));
    assert!(t.client.silent().await, "no answer: the terminal keeps it");
    let announced = Media { id: 4, kind: 2, format: 4, event: 1, channel: 1, position: None, data: None };
    let serial = t.send(&announced.message()).await;
    house.until("handed over", |i| i.n_held_media() == 1).await;
    house.intake.release_media(Ok(()));
    assert_eq!(t.answer().await, (serial, 0x0800, 0));
}

#[tokio::test]
async fn commands_reach_the_terminal_and_its_answers_close_them() {
    let house = House::new();
    let mut t = Terminal::authenticated(serve(&house, Unknown::Quarantine).await, ADOPTED).await;
    let bodies = [
        CommandBody::Text { text: "前方急弯，减速".into(), flags: 0b1000 },
        CommandBody::SetParameters { items: vec![(0x55, vec![0, 0, 0, 80])] },
        CommandBody::Track { interval_s: 5, validity_s: 60 },
        CommandBody::ConfirmAlarm { serial: 3, bits: 1 },
    ];
    for (id, body) in (1..).zip(bodies) {
        assert_eq!(house.ctx.downlinks.send(&Command { id, to: "013800138000".into(), body }), Delivery::Sent);
        let (header, message) = t.hear().await;
        match &message {
            Message::Text(text) => assert_eq!(text.text, "前方急弯，减速"),
            Message::SetParameters(items) => assert_eq!(items[0].value, [0, 0, 0, 80]),
            Message::Track(track) => assert_eq!((track.interval_s, track.validity_s), (5, Some(60))),
            Message::ConfirmAlarm(confirm) => assert_eq!((confirm.alarm_serial, confirm.types), (3, 1)),
            other => panic!("{other:?}"),
        }
        let result = u8::from(id == 2);
        t.send(&Message::TerminalAnswer(Answer { answered_serial: header.serial, answered_id: message.id(), result })).await;
        house.until("the answer arrives", |i| i.events().len() == id as usize).await;
        let SourceEvent::CommandAnswer { command, ok, .. } = house.intake.events()[id as usize - 1].clone() else { panic!() };
        assert_eq!((command, ok), (id, id != 2));
    }
    assert!(t.client.silent().await, "an answer is not answered");
}

#[tokio::test]
async fn a_long_command_goes_in_parts_that_can_be_asked_for_again() {
    let house = House::new();
    let mut t = Terminal::authenticated(serve(&house, Unknown::Quarantine).await, ADOPTED).await;
    let items = (0..10).map(|id| (0xf000 + id, vec![1; 250])).collect();
    let command = Command { id: 3, to: "13800138000".into(), body: CommandBody::SetParameters { items } };
    assert_eq!(house.ctx.downlinks.send(&command), Delivery::Sent);
    let mut serials = Vec::new();
    for index in 1..=3 {
        let (header, _) = t.hear().await;
        assert_eq!((header.message_id, header.part), (0x8103, Some((3, index))));
        serials.push(header.serial);
    }
    let again = Message::TerminalResend(Resend { first_serial: serials[0], indices: vec![2, 9] });
    t.send(&again).await;
    assert_eq!(t.hear().await.0.part, Some((3, 2)));
    assert_eq!(t.answer().await.2, 0);
    let answer = |serial| Message::TerminalAnswer(Answer { answered_serial: serial, answered_id: 0x8103, result: 0 });
    t.send(&answer(serials[0])).await;
    t.send(&answer(serials[2])).await;
    house.until("the command is closed", |i| i.events().len() == 1).await;
    assert!(t.client.silent().await);
    assert!(matches!(house.intake.events()[..], [SourceEvent::CommandAnswer { command: 3, ok: true, .. }]), "once, by the last part");
}

#[tokio::test]
async fn a_command_that_cannot_be_written_is_closed_as_failed() {
    let house = House::new();
    let mut t = Terminal::authenticated(serve(&house, Unknown::Quarantine).await, ADOPTED).await;
    let body = CommandBody::SetParameters { items: vec![(1, vec![0; 256])] };
    assert_eq!(house.ctx.downlinks.send(&Command { id: 4, to: "13800138000".into(), body }), Delivery::Sent);
    house.until("the command is closed", |i| i.events().len() == 1).await;
    assert!(matches!(house.intake.events()[..], [SourceEvent::CommandAnswer { command: 4, ok: false, .. }]));
    assert!(t.client.silent().await);
}

#[tokio::test]
async fn a_question_for_the_position_is_closed_by_the_position() {
    let house = House::new();
    let mut t = Terminal::authenticated(serve(&house, Unknown::Quarantine).await, ADOPTED).await;
    assert_eq!(house.ctx.downlinks.send(&Command { id: 5, to: "13800138000".into(), body: CommandBody::QueryPosition }), Delivery::Sent);
    let (header, _) = t.hear().await;
    t.send(&Message::TerminalAnswer(Answer { answered_serial: header.serial, answered_id: 0x8201, result: 0 })).await;
    let answer = Message::PositionAnswer(PositionAnswer { answered_serial: header.serial, position: place() });
    assert_eq!(t.ask(&answer).await, (0x0201, 0));
    let seen = house.intake.seen();
    assert_eq!((seen.len(), seen[0].positions.len()), (1, 1), "'coming' closes nothing");
    assert!(matches!(seen[0].events[..], [SourceEvent::CommandAnswer { command: 5, ok: true, .. }]));
}

#[tokio::test]
async fn nobody_connected_means_not_connected() {
    let house = House::new();
    let address = serve(&house, Unknown::Accept).await;
    let ask = |to: &str| house.ctx.downlinks.send(&Command { id: 1, to: to.into(), body: CommandBody::QueryPosition });
    assert_eq!(ask("13800138000"), Delivery::NotConnected);
    let mut t = Terminal::authenticated(address, ADOPTED).await;
    assert_eq!(ask("13800138000"), Delivery::Sent);
    t.hear().await;
    assert_eq!(t.ask(&Message::Unregister).await, (0x0003, 0));
    assert_eq!(ask("13800138000"), Delivery::NotConnected);
    assert_eq!(t.ask(&position()).await, (0x0200, 1), "0x0003 ends what 0x0102 began");
}

#[tokio::test]
async fn a_drivers_card_is_an_event() {
    let house = House::new();
    let mut t = Terminal::authenticated(serve(&house, Unknown::Quarantine).await, ADOPTED).await;
    let driver = Driver {
        status: Some(1),
        time_bcd: Some([0x26, 0x11, 0x23, 0x09, 0, 0]),
        read_result: Some(0),
        name: Some("张三".into()),
        licence: Some("530402".into()),
        issuer: Some("玉溪".into()),
        expires_bcd: Some([0x20, 0x30, 1, 1]),
        ..Driver::default()
    };
    assert_eq!(t.ask(&Message::Driver(driver)).await, (0x0702, 0));
    assert_eq!(house.intake.events(), [SourceEvent::Driver { status: 1, name: "张三".into() }]);
}

#[tokio::test]
async fn a_flood_from_one_terminal_leaves_the_others_alone() {
    let house = House::with(Limits { messages_per_s: 1, message_burst: 20, ..common::limits() });
    let address = serve(&house, Unknown::Accept).await;
    let mut flood = Terminal::connect(address, STRANGER).await;
    let frames: Vec<u8> = (0..2_000).flat_map(|n| encode::frames(STRANGER, Version::V2013, n, &position()).unwrap().concat()).collect();
    flood.client.send(&frames).await;
    let mut calm = Terminal::connect(address, "013700137001").await;
    for _ in 0..10 {
        assert_eq!(calm.ask(&position()).await, (0x0200, 0));
    }
    house.until("the flood is cut", |_| refused(&house, Reason::Rate) >= 1_900).await;
}

#[tokio::test]
async fn a_terminal_that_does_not_read_is_dropped() {
    let house = House::with(Limits { max_output_bytes: 4 << 10, write_timeout_ms: 300, message_burst: 10_000_000, ..common::limits() });
    let address = serve(&house, Unknown::Accept).await;
    let mut deaf = Terminal::connect(address, STRANGER).await;
    let frames: Vec<u8> =
        (0..1_000).flat_map(|n| encode::frames(STRANGER, Version::V2013, n, &Message::Heartbeat).unwrap().concat()).collect();
    let flood = async {
        use tokio::io::AsyncWriteExt as _;
        while deaf.client.stream.write_all(&frames).await.is_ok() {}
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), flood).await.is_ok(), "the server must close");
    assert_eq!(refused(&house, Reason::SlowReader), 1);
}

#[tokio::test]
async fn silence_ends_a_connection() {
    let house = House::with(Limits { first_message_timeout_ms: 100, ..common::limits() });
    let mut t = Terminal::connect(serve(&house, Unknown::Accept).await, STRANGER).await;
    t.client.send(b"GET / HTTP/1.1\r\n\r\n").await;
    assert!(t.client.closes().await);
    assert_eq!(refused(&house, Reason::Idle), 1);
}

#[tokio::test]
async fn connections_are_bounded_and_their_places_come_back() {
    let house = House::with(Limits { max_connections: 1, ..common::limits() });
    let address = serve(&house, Unknown::Accept).await;
    let mut first = Terminal::connect(address, STRANGER).await;
    assert_eq!(first.ask(&position()).await, (0x0200, 0));
    let mut second = Terminal::connect(address, "013700137001").await;
    assert!(second.client.closes().await);
    assert_eq!(refused(&house, Reason::Connections), 1);
    drop(first);
    house.until("the place is free", |_| house.ctx.stats.link(Protocol::Jt808).connections() == 0).await;
    let mut third = Terminal::connect(address, STRANGER).await;
    assert_eq!(third.ask(&position()).await, (0x0200, 0));
}

#[tokio::test]
async fn stopping_closes_the_sessions_and_returns() {
    let house = House::new();
    let (listener, address) = listener().await;
    let served = tokio::spawn(jt808::serve(listener, None, house.ctx.clone(), Unknown::Accept));
    let mut t = Terminal::connect(address, STRANGER).await;
    assert_eq!(t.ask(&position()).await, (0x0200, 0));
    house.ctx.stop.cancel();
    assert!(t.client.closes().await);
    tokio::time::timeout(Duration::from_secs(5), served).await.unwrap().unwrap();
    assert!(house.ctx.downlinks.connected_terminals().is_empty());
}

#[tokio::test]
async fn what_is_out_when_the_node_stops_is_still_answered() {
    let house = House::new();
    let mut t = Terminal::authenticated(serve(&house, Unknown::Quarantine).await, ADOPTED).await;
    house.intake.set(Mode::Hold);
    let serial = t.send(&position()).await;
    house.until("the position is offered", |i| i.n_held() == 1).await;
    house.ctx.stop.cancel();
    tokio::time::sleep(Duration::from_millis(50)).await;
    house.intake.release(Ok(Default::default()));
    assert_eq!(t.answer().await, (serial, 0x0200, 0));
    assert!(t.client.closes().await);
}

/// Every framed vector that is shared among us, sent into one listener that accepts all: nothing stops it.
#[tokio::test]
async fn all_shared_vectors_over_tcp_stop_nothing() {
    let Some(shared) = std::env::var_os("ANLAN_SHARED") else {
        println!("skipped: 1");
        return;
    };
    let house = House::new();
    let address = serve(&house, Unknown::Accept).await;
    let mut n = 0;
    for name in
        ["jt808.jsonl", "jt808-damaged.jsonl", "jt808-subiao.jsonl", "jt808-yuebiao.jsonl", "jt808-gps51.jsonl", "jt808-jt1078.jsonl"]
    {
        let text = std::fs::read_to_string(std::path::Path::new(&shared).join("vectors").join(name)).unwrap();
        let mut t = Terminal::connect(address, STRANGER).await;
        for line in text.lines() {
            let Ok(row) = serde_json::from_str::<serde_json::Value>(line) else { continue };
            let Some(hex) = row["hex"].as_str() else { continue };
            let Ok((bytes, _)) = anlan_protocols::wire::unhex(hex) else { continue };
            use tokio::io::AsyncWriteExt as _;
            if t.client.stream.write_all(&bytes).await.is_err() {
                t = Terminal::connect(address, STRANGER).await;
            }
            n += 1;
            // What the server says is read away, so that it does not count as deaf.
            let mut sink = [0; 4096];
            while t.client.stream.try_read(&mut sink).is_ok_and(|n| n > 0) {}
        }
    }
    let mut t = Terminal::connect(address, "013700137777").await;
    assert_eq!(t.ask(&position()).await, (0x0200, 0));
    println!("{n} vectors sent, {} positions kept", house.ctx.stats.link(Protocol::Jt808).readings_total());
}
