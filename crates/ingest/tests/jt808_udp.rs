//! What a JT/T 808 terminal sees over UDP, and what nobody can do to others through it.
#![allow(missing_docs)]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use anlan_ingest::jt808::{self, Unknown};
use anlan_ingest::{Limits, Protocol, Reason, terminal_code};
use anlan_model::{Command, CommandBody, Delivery, Downlink, Source, Timestamp, Trust};
use anlan_protocols::jt808::{Authenticate, Frames, Message, Position, Version, encode};
use common::{House, KEY, Mode, NOW};
use tokio::net::UdpSocket;

const ADOPTED: &str = "013800138000";
const STRANGER: &str = "013700137000";

async fn serve(house: &House, unknown: Unknown) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(jt808::serve_udp(socket, house.ctx.clone(), unknown));
    address
}

struct Terminal {
    socket: UdpSocket,
    phone: &'static str,
    serial: u16,
}

impl Terminal {
    async fn connect(address: SocketAddr, phone: &'static str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(address).await.unwrap();
        Self { socket, phone, serial: 0 }
    }
    fn frame(&mut self, message: &Message) -> Vec<u8> {
        self.serial += 1;
        encode::frames(self.phone, Version::V2013, self.serial, message).unwrap().concat()
    }
    async fn send(&mut self, message: &Message) -> usize {
        let frame = self.frame(message);
        self.socket.send(&frame).await.unwrap()
    }
    /// The next datagram, which is one frame.
    async fn hear(&self) -> (Message, usize) {
        let mut buffer = [0; 2048];
        let heard = tokio::time::timeout(Duration::from_secs(5), self.socket.recv(&mut buffer)).await;
        let n = heard.expect("an answer").unwrap();
        let mut frames = Frames::new();
        frames.push(&buffer[..n]);
        let frame = frames.next().unwrap().unwrap();
        assert_eq!(frames.next(), None);
        (frame.decode().0, n)
    }
    /// The next general answer: serial, id, result.
    async fn answer(&self) -> (u16, u16, u8) {
        match self.hear().await.0 {
            Message::PlatformAnswer(a) => (a.answered_serial, a.answered_id, a.result),
            other => panic!("not an answer: {other:?}"),
        }
    }
    async fn ask(&mut self, message: &Message) -> (u16, u8) {
        self.send(message).await;
        let (serial, id, result) = self.answer().await;
        assert_eq!(serial, self.serial);
        (id, result)
    }
    async fn is_silent(&self) -> bool {
        let mut buffer = [0; 64];
        tokio::time::timeout(Duration::from_millis(100), self.socket.recv(&mut buffer)).await.is_err()
    }
}

fn authenticate() -> Message {
    Message::Authenticate(Authenticate { code: terminal_code(&KEY, "13800138000", 1), imei: None, software: None })
}

fn position() -> Message {
    Message::Position(Position::at(24_351_000, 102_543_000, Timestamp::parse(NOW).unwrap()))
}

fn refused(house: &House, reason: Reason) -> u64 {
    house.ctx.stats.link(Protocol::Jt808).refused(reason)
}

#[tokio::test]
async fn an_adopted_terminal_is_heard_from_the_address_where_it_gave_its_code() {
    let house = House::new();
    let address = serve(&house, Unknown::Quarantine).await;
    let mut t = Terminal::connect(address, ADOPTED).await;
    assert_eq!(t.ask(&position()).await, (0x0200, 1), "first the code");
    assert_eq!(t.ask(&authenticate()).await, (0x0102, 0));
    house.intake.set(Mode::Hold);
    t.send(&position()).await;
    house.until("the position is offered", |i| i.n_held() == 1).await;
    assert!(t.is_silent().await, "an answer means kept");
    house.intake.release(Ok(Default::default()));
    assert_eq!(t.answer().await, (3, 0x0200, 0));
    assert_eq!(house.intake.seen()[0].source, Source::Terminal { phone: "13800138000".into(), trust: Trust::Listed });
    // Once it is known, an answer may be larger than the question.
    assert_eq!(t.ask(&Message::Heartbeat).await, (0x0002, 0));
    let command = Command { id: 5, to: "13800138000".into(), body: CommandBody::QueryPosition };
    assert_eq!(house.ctx.downlinks.send(&command), Delivery::Sent);
    assert!(matches!(t.hear().await.0, Message::QueryPosition));
    // The same number from another address has proved nothing.
    let mut other = Terminal::connect(address, ADOPTED).await;
    assert_eq!(other.ask(&position()).await, (0x0200, 1));
    assert_eq!(refused(&house, Reason::NotAuthenticated), 2);
}

#[tokio::test]
async fn a_stranger_is_never_sent_more_than_it_sent() {
    for unknown in [Unknown::Quarantine, Unknown::Accept, Unknown::Refuse] {
        let house = House::new();
        let mut t = Terminal::connect(serve(&house, unknown).await, STRANGER).await;
        // A heartbeat has 15 bytes, its answer 20.
        t.send(&Message::Heartbeat).await;
        assert!(t.is_silent().await, "{unknown:?}");
        assert_eq!(refused(&house, Reason::Amplification), 1);
        let sent = t.send(&position()).await;
        let (_, heard) = t.hear().await;
        assert!(heard <= sent, "{heard} for {sent}");
    }
}

#[tokio::test]
async fn a_datagram_holds_whole_frames() {
    let house = House::new();
    let mut t = Terminal::connect(serve(&house, Unknown::Accept).await, STRANGER).await;
    let both = [t.frame(&position()), t.frame(&position())].concat();
    t.socket.send(&both).await.unwrap();
    // Each is answered when it is kept, and datagrams may overtake each other.
    let mut answers = [t.answer().await.0, t.answer().await.0];
    answers.sort_unstable();
    assert_eq!(answers, [1, 2]);
    // Half of one and the rest of it in the next are two broken datagrams, not one message.
    let frame = t.frame(&position());
    t.socket.send(&frame[..20]).await.unwrap();
    t.socket.send(&frame[20..]).await.unwrap();
    t.socket.send(b"hello").await.unwrap();
    assert_eq!(t.ask(&position()).await, (0x0200, 0));
    assert_eq!(refused(&house, Reason::BadFrame), 3);
    assert_eq!(house.intake.seen().len(), 3);
}

#[tokio::test]
async fn strangers_fill_a_quarter_of_the_table_and_known_terminals_the_rest() {
    let house = House::with(Limits { max_connections: 4, ..common::limits() });
    let address = serve(&house, Unknown::Quarantine).await;
    let mut known = Terminal::connect(address, ADOPTED).await;
    assert_eq!(known.ask(&authenticate()).await, (0x0102, 0));
    let mut first = Terminal::connect(address, STRANGER).await;
    first.send(&position()).await;
    first.hear().await;
    let mut second = Terminal::connect(address, STRANGER).await;
    second.send(&position()).await;
    assert!(second.is_silent().await);
    assert_eq!(refused(&house, Reason::Connections), 1);
    assert_eq!(known.ask(&position()).await, (0x0200, 0));
}

#[tokio::test]
async fn a_strangers_place_comes_back_after_its_silence() {
    let house = House::with(Limits { max_connections: 4, first_message_timeout_ms: 30, ..common::limits() });
    let address = serve(&house, Unknown::Quarantine).await;
    for _ in 0..2 {
        let mut t = Terminal::connect(address, STRANGER).await;
        t.send(&position()).await;
        t.hear().await;
        house.until("its place is free", |_| house.ctx.stats.link(Protocol::Jt808).connections() == 0).await;
    }
    assert_eq!(refused(&house, Reason::Connections), 0);
}
