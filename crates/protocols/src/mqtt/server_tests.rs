//! What a device may rely on, and what it may not do. [`Bench`] is the device and the caller in one.

use super::codec::{
    Ack, Answers, Connect, Decoder, Fault, Filter, Notice, Packet, Properties, Publish, Qos, Subscribe, Unsubscribe, Value, Version, Will,
    property, reason,
};
use super::server::{Closed, ConnectRefusal, Event, Limits, PubResult, PublishError, ServerClose, Session, Token};

const SECOND: u64 = 1_000_000;

struct Bench {
    session: Session,
    client: Decoder,
    version: Version,
    now: u64,
}

impl Bench {
    fn fresh(version: Version, limits: Limits) -> Self {
        Self { session: Session::new(limits, 0), client: Decoder::new(Some(version), 1 << 20), version, now: 0 }
    }
    /// A connection that is let in; what the server said about it is checked and gone.
    fn open(version: Version) -> Self {
        Self::open_with(version, Limits::default())
    }
    fn open_with(version: Version, limits: Limits) -> Self {
        let mut bench = Self::fresh(version, limits);
        bench.send(&Packet::Connect(Box::new(connect(version))));
        assert!(matches!(bench.events().as_slice(), [Event::Connect { .. }]));
        assert!(!bench.session.wants_input());
        bench.session.accept();
        assert!(matches!(bench.heard().as_slice(), [Packet::Connack(c)] if c.reason == 0 && !c.session_present));
        bench
    }
    fn send(&mut self, packet: &Packet) {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes).unwrap();
        self.session.input(&bytes, self.now);
    }
    fn events(&mut self) -> Vec<Event> {
        self.session.events().collect()
    }
    fn heard(&mut self) -> Vec<Packet> {
        self.client.push(&self.session.take_output());
        self.client.by_ref().map(Result::unwrap).collect()
    }
    /// Sends a QoS 1 message and returns the token of the event, if there was one.
    fn publish(&mut self, packet_id: u16, payload: &str, dup: bool) -> Option<Token> {
        self.send(&publish(packet_id, payload, dup));
        match self.events().pop() {
            Some(Event::Publish { token, packet_id: id, dup: d, qos: Qos::AtLeastOnce, .. }) => {
                assert_eq!((id, d), (Some(packet_id), dup));
                Some(token)
            }
            None => None,
            other => panic!("{other:?}"),
        }
    }
    /// The packet identifiers and reasons of all PUBACKs since the last look.
    fn pubacks(&mut self) -> Vec<(u16, u8)> {
        let ack = |p| if let Packet::Puback(Ack { packet_id, reason, .. }) = p { (packet_id, reason) } else { panic!("{p:?}") };
        self.heard().into_iter().map(ack).collect()
    }
    fn check_closed(&mut self, check: impl Fn(&Closed) -> bool, told: Option<u8>) {
        assert!(self.session.is_closed() && !self.session.wants_input() && self.session.deadline_us().is_none());
        let events = self.events();
        assert!(matches!(events.last(), Some(Event::Closed(why)) if check(why)), "{events:?}");
        let heard = self.heard();
        match (told, heard.last()) {
            (None, None) => {}
            (Some(code), Some(Packet::Disconnect(Notice { reason, .. }))) => assert_eq!(*reason, code),
            (told, heard) => panic!("expected {told:?}, heard {heard:?}"),
        }
        // Nothing is heard or said any more.
        self.send(&Packet::Pingreq);
        assert!(self.heard().is_empty() && self.events().is_empty());
    }
}

fn connect(version: Version) -> Connect {
    Connect {
        version,
        bridge: false,
        clean: true,
        keep_alive_s: 10,
        client_id: "c".to_owned(),
        will: None,
        username: Some("TANK-1".to_owned()),
        password: Some(b"secret".to_vec()),
        properties: Properties::default(),
    }
}

fn publish(packet_id: u16, payload: &str, dup: bool) -> Packet {
    Packet::Publish(Publish {
        dup,
        qos: Qos::AtLeastOnce,
        retain: true,
        topic: "anlan/v1/TANK-1/telemetry".to_owned(),
        packet_id: Some(packet_id),
        payload: payload.into(),
        properties: Properties::default(),
    })
}

fn subscribe(filters: &[&str]) -> Packet {
    let filter = |f: &&str| Filter { filter: (*f).to_owned(), qos: Qos::ExactlyOnce, ..Filter::default() };
    Packet::Subscribe(Subscribe { packet_id: 9, filters: filters.iter().map(filter).collect(), properties: Properties::default() })
}

#[test]
fn a_version_5_client_is_told_every_limit() {
    let mut bench = Bench::fresh(Version::V5, Limits::default());
    let properties = Properties::default().with(property::SESSION_EXPIRY_INTERVAL, Value::Four(60));
    bench.send(&Packet::Connect(Box::new(Connect { keep_alive_s: 0, client_id: String::new(), properties, ..connect(Version::V5) })));
    let events = bench.events();
    let [Event::Connect { username, password, version, .. }] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((username.as_deref(), password.as_deref(), *version), (Some("TANK-1"), Some(&b"secret"[..]), Version::V5));
    bench.session.accept();
    let heard = bench.heard();
    let [Packet::Connack(connack)] = heard.as_slice() else { panic!("{heard:?}") };
    let number = |id| connack.properties.number(id);
    assert_eq!(number(property::RECEIVE_MAXIMUM), Some(256));
    assert_eq!(number(property::MAXIMUM_QOS), None, "absent means 2");
    assert_eq!(number(property::SESSION_EXPIRY_INTERVAL), Some(0));
    assert_eq!(number(property::SERVER_KEEP_ALIVE), Some(1_200));
    assert_eq!(connack.properties.text(property::ASSIGNED_CLIENT_IDENTIFIER), Some("anlan-TANK-1"));
    assert_eq!(bench.session.deadline_us(), Some(1_800 * SECOND));
}

#[test]
fn refusals_speak_the_language_of_the_version() {
    for (version, why, code) in [
        (Version::V5, ConnectRefusal::BadCredentials, 0x86),
        (Version::V5, ConnectRefusal::ServerBusy, 0x89),
        (Version::V3_1_1, ConnectRefusal::BadCredentials, 4),
        (Version::V3_1_1, ConnectRefusal::NotAuthorized, 5),
        (Version::V3_1, ConnectRefusal::ServerUnavailable, 3),
    ] {
        let mut bench = Bench::fresh(version, Limits::default());
        bench.send(&Packet::Connect(Box::new(connect(version))));
        bench.events();
        bench.session.refuse(why);
        assert!(matches!(bench.heard().as_slice(), [Packet::Connack(c)] if c.reason == code), "{version:?} {why:?}");
        assert!(bench.session.is_closed());
    }
    // A level of tomorrow gets the answer every client can read.
    let mut bench = Bench::fresh(Version::V3_1_1, Limits::default());
    bench.session.input(b"\x10\x0d\x00\x04MQTT\x06\x02\x00\x3c\x00\x01c", 0);
    assert_eq!(bench.session.take_output(), [0x20, 2, 0, 1]);
    let malformed = |f: fn(&Fault) -> bool| move |why: &Closed| matches!(why, Closed::Malformed(e) if f(&e.fault));
    bench.check_closed(malformed(|f| matches!(f, Fault::ProtocolVersion(6))), None);
}

#[test]
fn packets_sent_before_connack_wait_and_others_before_connect_end_it() {
    let mut bench = Bench::fresh(Version::V3_1_1, Limits::default());
    bench.send(&Packet::Connect(Box::new(connect(Version::V3_1_1))));
    bench.send(&publish(1, "{}", false));
    assert_eq!(bench.events().len(), 1);
    bench.session.accept();
    assert!(matches!(bench.events().as_slice(), [Event::Publish { .. }]));

    let mut bench = Bench::fresh(Version::V3_1_1, Limits::default());
    bench.send(&Packet::Pingreq);
    bench.check_closed(|why| matches!(why, Closed::Violation(_)), None);
}

#[test]
fn a_second_connect_is_a_protocol_error() {
    let mut bench = Bench::open(Version::V5);
    bench.send(&Packet::Connect(Box::new(connect(Version::V5))));
    bench.check_closed(|why| matches!(why, Closed::Violation(_)), Some(reason::PROTOCOL_ERROR));
}

#[test]
fn pubacks_leave_in_order_of_receipt_whatever_the_order_of_answers() {
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        let mut bench = Bench::open(version);
        let tokens: Vec<Token> = [7, 3, 5].into_iter().map(|id| bench.publish(id, &id.to_string(), false).unwrap()).collect();
        bench.session.ack(tokens[2], PubResult::Ok);
        assert_eq!(bench.pubacks(), []);
        bench.session.ack(tokens[0], PubResult::Ok);
        assert_eq!(bench.pubacks(), [(7, 0)]);
        bench.session.ack(tokens[1], PubResult::PayloadInvalid);
        bench.session.ack(tokens[1], PubResult::Ok);
        assert_eq!(bench.pubacks(), [(3, if version == Version::V5 { 0x99 } else { 0 }), (5, 0)]);
        assert_eq!(bench.session.inflight(), 0);
    }
}

#[test]
fn a_repeat_that_is_pending_shares_its_puback_and_a_later_one_is_heard_again() {
    let mut bench = Bench::open(Version::V3_1_1);
    let token = bench.publish(1, "a", false).unwrap();
    assert_eq!(bench.publish(1, "a", true), None);
    assert_eq!(bench.pubacks(), []);
    bench.session.ack(token, PubResult::Ok);
    assert_eq!(bench.pubacks(), [(1, 0)]);
    let again = bench.publish(1, "a", true).unwrap();
    assert_ne!(again, token);
    assert_eq!(bench.pubacks(), []);
    bench.session.ack(again, PubResult::Ok);
    assert_eq!(bench.pubacks(), [(1, 0)]);
}

#[test]
fn another_message_under_a_pending_identifier_is_refused() {
    let mut bench = Bench::open(Version::V5);
    bench.publish(1, "a", false).unwrap();
    bench.send(&publish(1, "b", false));
    bench.check_closed(|why| matches!(why, Closed::Violation(_)), Some(reason::PROTOCOL_ERROR));
}

#[test]
fn a_full_queue_is_0x97_or_silence_until_the_caller_or_the_device_tries_again() {
    let mut bench = Bench::open(Version::V5);
    let token = bench.publish(1, "a", false).unwrap();
    bench.session.ack(token, PubResult::QuotaExceeded);
    assert_eq!(bench.pubacks(), [(1, 0x97)]);

    let mut bench = Bench::open(Version::V3_1_1);
    let (first, second) = (bench.publish(1, "a", false).unwrap(), bench.publish(2, "b", false).unwrap());
    bench.session.ack(first, PubResult::QuotaExceeded);
    bench.session.ack(second, PubResult::Ok);
    assert_eq!(bench.pubacks(), [(2, 0)]);
    bench.session.ack(first, PubResult::Ok);
    assert_eq!(bench.pubacks(), [(1, 0)]);
    let third = bench.publish(3, "c", false).unwrap();
    bench.session.ack(third, PubResult::QuotaExceeded);
    let repeat = bench.publish(3, "c", true).unwrap();
    bench.session.ack(third, PubResult::Ok);
    assert_eq!(bench.pubacks(), []);
    bench.session.ack(repeat, PubResult::Ok);
    assert_eq!(bench.pubacks(), [(3, 0)]);
}

#[test]
fn a_forbidden_topic_is_0x87_or_the_end() {
    let mut bench = Bench::open(Version::V5);
    let token = bench.publish(1, "a", false).unwrap();
    bench.session.ack(token, PubResult::NotAuthorized);
    assert_eq!(bench.pubacks(), [(1, 0x87)]);
    bench.send(&Packet::Publish(Publish { topic: "x".to_owned(), ..Publish::default() }));
    let Some(Event::Publish { token, packet_id: None, .. }) = bench.session.next_event() else { panic!() };
    bench.session.ack(token, PubResult::NotAuthorized);
    bench.check_closed(|why| *why == Closed::NotAuthorized, Some(0x87));

    let mut bench = Bench::open(Version::V3_1_1);
    let token = bench.publish(1, "a", false).unwrap();
    bench.session.ack(token, PubResult::NotAuthorized);
    bench.check_closed(|why| *why == Closed::NotAuthorized, None);
}

fn exactly_once(packet_id: u16, payload: &str, dup: bool) -> Packet {
    let Packet::Publish(p) = publish(packet_id, payload, dup) else { panic!() };
    Packet::Publish(Publish { qos: Qos::ExactlyOnce, ..p })
}

fn ack(packet_id: u16, reason: u8) -> Ack {
    Ack { packet_id, reason, properties: Properties::default() }
}

impl Bench {
    /// Sends a QoS 2 message; the token if it was handed on.
    fn exactly_once(&mut self, packet_id: u16, payload: &str, dup: bool) -> Option<Token> {
        self.send(&exactly_once(packet_id, payload, dup));
        match self.events().pop() {
            Some(Event::Publish { token, qos: Qos::ExactlyOnce, .. }) => Some(token),
            None => None,
            other => panic!("{other:?}"),
        }
    }
    /// Packet names, identifiers and reasons of everything said since the last look.
    fn said(&mut self) -> Vec<(&'static str, u16, u8)> {
        let one = |p: Packet| match p {
            Packet::Puback(a) => ("puback", a.packet_id, a.reason),
            Packet::Pubrec(a) => ("pubrec", a.packet_id, a.reason),
            Packet::Pubcomp(a) => ("pubcomp", a.packet_id, a.reason),
            Packet::Connack(c) => ("connack", u16::from(c.session_present), c.reason),
            Packet::Publish(p) => ("publish", p.packet_id.unwrap_or(0), u8::from(p.dup)),
            other => panic!("{other:?}"),
        };
        self.heard().into_iter().map(one).collect()
    }
    /// The next connection of the same client.
    fn again(&mut self, expiry_s: u32) -> Self {
        let remembered = self.session.remembered();
        let mut bench = Self::fresh(self.version, Limits::default());
        bench.send(&Packet::Connect(Box::new(lasting(self.version, expiry_s))));
        assert!(matches!(bench.events().as_slice(), [Event::Connect { clean: false, .. }]));
        bench.session.accept_again(remembered);
        bench
    }
    fn lasting(version: Version) -> Self {
        let mut bench = Self::fresh(version, Limits::default());
        bench.send(&Packet::Connect(Box::new(lasting(version, 60))));
        bench.events();
        bench.session.accept();
        assert_eq!(bench.said(), [("connack", 0, 0)]);
        bench
    }
}

fn lasting(version: Version, expiry_s: u32) -> Connect {
    let mut c = Connect { clean: false, ..connect(version) };
    if version == Version::V5 {
        c.properties = Properties::default().with(property::SESSION_EXPIRY_INTERVAL, Value::Four(expiry_s));
    }
    c
}

#[test]
fn a_pubrec_means_kept_and_a_repeat_is_told_so_again_until_its_pubrel() {
    for version in [Version::V5, Version::V3_1_1, Version::V3_1] {
        let mut bench = Bench::open(version);
        let token = bench.exactly_once(7, "a", false).unwrap();
        assert!(bench.said().is_empty(), "nothing is promised before it is kept");
        assert_eq!(bench.exactly_once(7, "a", true), None, "it is on its way already");
        assert!(bench.said().is_empty());
        bench.session.ack(token, PubResult::Ok);
        assert_eq!(bench.said(), [("pubrec", 7, 0)]);
        assert_eq!(bench.exactly_once(7, "a", true), None);
        assert_eq!(bench.said(), [("pubrec", 7, 0)]);
        bench.send(&Packet::Pubrel(ack(7, 0)));
        assert_eq!(bench.said(), [("pubcomp", 7, 0)]);
        // Released: the same identifier now names another message, even one with the same bytes.
        let token = bench.exactly_once(7, "a", false).unwrap();
        bench.session.ack(token, PubResult::Ok);
        assert_eq!(bench.said(), [("pubrec", 7, 0)]);
        // A client that lost its session reuses the identifier: its message must not be answered by the old one's PUBREC.
        let token = bench.exactly_once(7, "b", false).unwrap();
        assert!(bench.said().is_empty());
        bench.session.ack(token, PubResult::Ok);
        assert_eq!(bench.said(), [("pubrec", 7, 0)]);
    }
}

#[test]
fn a_pubrel_for_nothing_is_completed_and_one_too_early_is_a_violation() {
    for (version, code) in [(Version::V5, 0x92), (Version::V3_1_1, 0)] {
        let mut bench = Bench::open(version);
        bench.send(&Packet::Pubrel(ack(3, 0)));
        assert_eq!(bench.said(), [("pubcomp", 3, code)]);
        bench.exactly_once(3, "a", false).unwrap();
        bench.send(&Packet::Pubrel(ack(3, 0)));
        bench.check_closed(|why| matches!(why, Closed::Violation(_)), (version == Version::V5).then_some(0x82));
    }
}

#[test]
fn an_error_in_a_pubrec_ends_the_exchange() {
    let mut bench = Bench::open(Version::V5);
    for (id, result, code) in
        [(1, PubResult::PayloadInvalid, 0x99), (2, PubResult::QuotaExceeded, 0x97), (3, PubResult::NotAuthorized, 0x87)]
    {
        let token = bench.exactly_once(id, "a", false).unwrap();
        bench.session.ack(token, result);
        assert_eq!(bench.said(), [("pubrec", id, code)]);
        let token = bench.exactly_once(id, "a", true).expect("it is free again, so a repeat is a new attempt");
        bench.session.ack(token, PubResult::Ok);
        assert_eq!(bench.said(), [("pubrec", id, 0)]);
    }
    // 3.1.1 has no word for these: unreadable is put aside and done with; too much waits for its repeat.
    let mut bench = Bench::open(Version::V3_1_1);
    let token = bench.exactly_once(1, "a", false).unwrap();
    bench.session.ack(token, PubResult::PayloadInvalid);
    assert_eq!(bench.said(), [("pubrec", 1, 0)]);
    let token = bench.exactly_once(2, "a", false).unwrap();
    bench.session.ack(token, PubResult::QuotaExceeded);
    assert!(bench.said().is_empty());
    bench.session.ack(token, PubResult::Ok);
    assert_eq!(bench.said(), [("pubrec", 2, 0)]);
}

#[test]
fn what_was_kept_is_kept_once_across_connections_even_if_the_answer_came_after_the_end() {
    for version in [Version::V5, Version::V3_1_1] {
        let mut bench = Bench::lasting(version);
        assert_eq!(bench.session.session_expiry_s(), if version == Version::V5 { 60 } else { 3_600 });
        let answered = bench.exactly_once(1, "a", false).unwrap();
        let late = bench.exactly_once(2, "b", false).unwrap();
        let lost = bench.exactly_once(3, "c", false).unwrap();
        bench.session.ack(answered, PubResult::Ok);
        assert_eq!(bench.said(), [("pubrec", 1, 0)]);
        bench.session.close(ServerClose::TakenOver);
        bench.session.ack(late, PubResult::Ok);
        bench.session.ack(lost, PubResult::QuotaExceeded);

        let mut bench = bench.again(60);
        assert_eq!(bench.said(), [("connack", 1, 0)]);
        for (id, payload) in [(1, "a"), (2, "b")] {
            assert_eq!(bench.exactly_once(id, payload, true), None, "{id} is kept");
            assert_eq!(bench.said(), [("pubrec", id, 0)]);
        }
        assert!(bench.exactly_once(3, "c", true).is_some(), "3 was not kept");
        bench.send(&Packet::Pubrel(ack(1, 0)));
        assert_eq!(bench.said(), [("pubcomp", 1, 0)]);
    }
}

#[test]
fn a_command_that_was_not_acknowledged_comes_again_with_the_session() {
    let mut bench = Bench::lasting(Version::V5);
    bench.send(&subscribe(&["anlan/v1/TANK-1/command"]));
    bench.session.suback(9, &[true]);
    bench.heard();
    let id = bench.session.publish("anlan/v1/TANK-1/command", b"stop", Qos::AtLeastOnce).unwrap().unwrap();
    let other = bench.session.publish("anlan/v1/TANK-1/command", b"go", Qos::AtLeastOnce).unwrap().unwrap();
    bench.send(&Packet::Puback(ack(id, 0)));
    bench.session.close(ServerClose::TakenOver);
    let mut next = bench.again(60);
    assert_eq!(next.said(), [("connack", 1, 0), ("publish", other, 1)]);
    assert!(next.session.publish("anlan/v1/TANK-1/command", b"on", Qos::AtLeastOnce).is_ok(), "the subscription holds");
}

#[test]
fn a_will_is_handed_over_and_a_session_has_an_end() {
    let mut bench = Bench::fresh(Version::V5, Limits::default());
    let will = Will {
        topic: "anlan/v1/TANK-1/status".to_owned(),
        payload: b"gone".to_vec(),
        properties: Properties::default().with(property::WILL_DELAY_INTERVAL, Value::Four(5)),
        ..Will::default()
    };
    bench.send(&Packet::Connect(Box::new(Connect { will: Some(will), ..lasting(Version::V5, u32::MAX) })));
    let events = bench.events();
    let [Event::Connect { will: Some(will), .. }] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((will.topic.as_str(), will.payload.as_slice(), will.delay_s), ("anlan/v1/TANK-1/status", &b"gone"[..], 5));
    bench.session.accept();
    let heard = bench.heard();
    let [Packet::Connack(connack)] = heard.as_slice() else { panic!("{heard:?}") };
    assert_eq!(connack.properties.number(property::SESSION_EXPIRY_INTERVAL), Some(3_600), "it is told what it gets");
    let properties = Properties::default().with(property::SESSION_EXPIRY_INTERVAL, Value::Four(9));
    bench.send(&Packet::Disconnect(Notice { reason: 4, properties }));
    bench.check_closed(|why| *why == Closed::ByClient(4), None);
    assert_eq!(bench.session.session_expiry_s(), 9);

    let mut bench = Bench::open(Version::V5);
    let properties = Properties::default().with(property::SESSION_EXPIRY_INTERVAL, Value::Four(9));
    bench.send(&Packet::Disconnect(Notice { reason: 0, properties }));
    bench.check_closed(|why| matches!(why, Closed::Violation(_)), Some(0x82));
}

#[test]
fn unreleased_messages_are_bounded() {
    let mut bench = Bench::open_with(Version::V3_1_1, Limits { unreleased_max: 2, ..Limits::default() });
    for id in [1, 2] {
        let token = bench.exactly_once(id, "a", false).unwrap();
        bench.session.ack(token, PubResult::Ok);
    }
    bench.heard();
    bench.send(&exactly_once(3, "a", false));
    bench.check_closed(|why| matches!(why, Closed::Violation(_)), None);
}

#[test]
fn too_much_in_flight_ends_version_5_and_stops_reading_3() {
    let limits = Limits { inflight_max: 2, ..Limits::default() };
    let mut bench = Bench::open_with(Version::V5, limits);
    bench.publish(1, "a", false).unwrap();
    bench.publish(2, "a", false).unwrap();
    bench.send(&publish(3, "a", false));
    bench.check_closed(|why| matches!(why, Closed::Violation(_)), Some(0x93));

    let mut bench = Bench::open_with(Version::V3_1_1, limits);
    let first = bench.publish(1, "a", false).unwrap();
    bench.publish(2, "a", false).unwrap();
    assert_eq!(bench.publish(3, "a", false), None);
    assert!(!bench.session.wants_input());
    // Its silence is ours, so the keep-alive does not run out.
    bench.session.tick(100 * SECOND);
    assert!(!bench.session.is_closed());
    bench.session.ack(first, PubResult::Ok);
    assert!(matches!(bench.events().as_slice(), [Event::Publish { packet_id: Some(3), .. }]));
    assert_eq!(bench.pubacks(), [(1, 0)]);
    for _ in 0..20 {
        bench.session.input(&[0; 65_536], 0);
    }
    bench.check_closed(|why| matches!(why, Closed::Violation(_)), None);
}

#[test]
fn only_the_exact_filter_the_caller_grants_is_subscribed() {
    for (version, refused) in [(Version::V5, 0x87), (Version::V3_1_1, 0x80)] {
        let mut bench = Bench::open(version);
        bench.send(&subscribe(&["anlan/v1/TANK-1/command", "anlan/#", "+/v1/TANK-1/command", "$SYS/x", "anlan/v1/TANK-2/command"]));
        let Some(Event::Subscribe { packet_id, filters }) = bench.session.next_event() else { panic!() };
        assert_eq!((packet_id, filters.len()), (9, 5));
        bench.session.suback(packet_id, &[true, true, true, true]);
        let expected = Answers { packet_id: 9, reasons: vec![1, refused, refused, refused, refused], properties: Properties::default() };
        assert_eq!(bench.heard(), [Packet::Suback(expected)]);
        let filters = vec!["anlan/v1/TANK-1/command".to_owned(), "x".to_owned()];
        bench.send(&Packet::Unsubscribe(Unsubscribe { packet_id: 4, filters, properties: Properties::default() }));
        let reasons = if version == Version::V5 { vec![0, 0x11] } else { vec![] };
        assert_eq!(bench.heard(), [Packet::Unsuback(Answers { packet_id: 4, reasons, properties: Properties::default() })]);
        assert_eq!(bench.session.publish("anlan/v1/TANK-1/command", b"", Qos::AtMostOnce), Err(PublishError::NotSubscribed));
    }
}

#[test]
fn a_command_goes_down_and_its_puback_comes_up() {
    let mut bench = Bench::open_with(Version::V5, Limits { downlink_max: 2, ..Limits::default() });
    bench.send(&subscribe(&["t"]));
    bench.events();
    bench.session.suback(9, &[true]);
    bench.heard();
    assert_eq!(bench.session.publish("t", b"x", Qos::AtMostOnce), Ok(None));
    let ids: Vec<u16> = (0..2).map(|_| bench.session.publish("t", b"x", Qos::ExactlyOnce).unwrap().unwrap()).collect();
    assert_eq!(bench.session.publish("t", b"x", Qos::AtLeastOnce), Err(PublishError::Full));
    assert!(
        matches!(bench.heard().as_slice(), [_, Packet::Publish(p), _] if p.qos == Qos::AtLeastOnce && !p.retain && p.packet_id == Some(ids[0]))
    );
    bench.send(&Packet::Puback(Ack { packet_id: ids[0], reason: 0x10, properties: Properties::default() }));
    bench.send(&Packet::Puback(Ack { packet_id: 999, ..Ack::default() }));
    assert_eq!(bench.events(), [Event::Delivered { packet_id: ids[0], reason: 0x10 }]);
    let third = bench.session.publish("t", b"x", Qos::AtLeastOnce).unwrap().unwrap();
    assert!(!ids.contains(&third));
}

#[test]
fn the_clients_own_limits_are_kept() {
    let mut bench = Bench::fresh(Version::V5, Limits::default());
    let properties =
        Properties::default().with(property::RECEIVE_MAXIMUM, Value::Two(1)).with(property::MAXIMUM_PACKET_SIZE, Value::Four(64));
    bench.send(&Packet::Connect(Box::new(Connect { properties, ..connect(Version::V5) })));
    bench.session.accept();
    bench.send(&subscribe(&["t"]));
    bench.session.suback(9, &[true]);
    assert_eq!(bench.session.publish("t", &[0; 64], Qos::AtLeastOnce), Err(PublishError::TooLarge));
    assert!(bench.session.publish("t", b"x", Qos::AtLeastOnce).is_ok());
    assert_eq!(bench.session.publish("t", b"x", Qos::AtLeastOnce), Err(PublishError::Full));
    bench.events();
    let heard = bench.heard().len();
    let token = bench.publish(1, "a", false).unwrap();
    bench.session.ack(token, PubResult::PayloadInvalid);
    assert!(heard > 0 && matches!(bench.heard().as_slice(), [Packet::Puback(a)] if a.reason == 0x99 && a.properties.0.is_empty()));
}

#[test]
fn topic_aliases_are_resolved_and_bounded() {
    let aliased = |topic: &str, alias: u16| {
        let properties = Properties::default().with(property::TOPIC_ALIAS, Value::Two(alias));
        Packet::Publish(Publish { topic: topic.to_owned(), properties, ..Publish::default() })
    };
    let mut bench = Bench::open(Version::V5);
    bench.send(&aliased("a/b", 1));
    bench.send(&aliased("", 1));
    let topics: Vec<_> = bench.events().into_iter().map(|e| if let Event::Publish { topic, .. } = e { topic } else { panic!() }).collect();
    assert_eq!(topics, ["a/b".into(), "a/b".into()] as [std::sync::Arc<str>; 2]);
    bench.send(&aliased("", 2));
    bench.check_closed(|why| matches!(why, Closed::Violation(_)), Some(reason::PROTOCOL_ERROR));
    for alias in [0, 17] {
        let mut bench = Bench::open(Version::V5);
        bench.send(&aliased("a", alias));
        bench.check_closed(|why| matches!(why, Closed::Violation(_)), Some(reason::TOPIC_ALIAS_INVALID));
    }
}

#[test]
fn silence_ends_the_connection_after_one_and_a_half_periods() {
    let mut bench = Bench::open(Version::V5);
    bench.now = 14 * SECOND;
    bench.send(&Packet::Pingreq);
    assert_eq!(bench.heard(), [Packet::Pingresp]);
    assert_eq!(bench.session.deadline_us(), Some(29 * SECOND));
    bench.session.tick(29 * SECOND - 1);
    assert!(!bench.session.is_closed());
    // Half a packet is not a packet.
    bench.session.input(&[0x30], 28 * SECOND);
    bench.session.tick(29 * SECOND);
    bench.check_closed(|why| *why == Closed::KeepAlive, Some(reason::KEEP_ALIVE_TIMEOUT));

    let mut bench = Bench::fresh(Version::V5, Limits::default());
    bench.session.tick(10 * SECOND);
    bench.check_closed(|why| *why == Closed::ConnectTimeout, None);
}

#[test]
fn what_is_too_large_or_malformed_is_named() {
    let mut bench = Bench::open_with(Version::V5, Limits { packet_max: 100, ..Limits::default() });
    // The header is enough: the payload is not waited for.
    bench.session.input(&[0x32, 0xff, 0x01], 0);
    bench.check_closed(|why| why.code() == "too_large", Some(reason::PACKET_TOO_LARGE));
    let mut bench = Bench::open(Version::V5);
    bench.session.input(&[0x36, 0x02, 0, 0], 0);
    bench.check_closed(|why| why.code() == "qos", Some(reason::MALFORMED_PACKET));
    let mut bench = Bench::open(Version::V3_1_1);
    bench.session.input(&[0xf0, 0], 0);
    bench.check_closed(|why| why.code() == "not_in_version", None);
}

#[test]
fn both_sides_can_say_goodbye() {
    let mut bench = Bench::open(Version::V5);
    bench.send(&Packet::Disconnect(Notice { reason: 4, properties: Properties::default() }));
    bench.check_closed(|why| *why == Closed::ByClient(4), None);
    let mut bench = Bench::open(Version::V5);
    bench.session.close(ServerClose::TakenOver);
    bench.check_closed(|why| *why == Closed::ByServer(ServerClose::TakenOver), Some(reason::SESSION_TAKEN_OVER));
    let mut bench = Bench::open(Version::V3_1_1);
    bench.session.close(ServerClose::ShuttingDown);
    bench.check_closed(|why| *why == Closed::ByServer(ServerClose::ShuttingDown), None);
}

#[test]
fn an_acknowledgement_after_the_end_does_nothing() {
    let mut bench = Bench::open(Version::V3_1_1);
    let token = bench.publish(1, "a", false).unwrap();
    bench.session.close(ServerClose::Administrative);
    bench.session.ack(token, PubResult::Ok);
    assert!(bench.heard().is_empty());
}
