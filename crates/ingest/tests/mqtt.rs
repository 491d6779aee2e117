//! What an MQTT device sees, as claims. Packets are written and read by the codec.
#![allow(missing_docs)]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use anlan_ingest::{Limits, Protocol, Reason, mqtt};
use anlan_model::{Command, CommandBody, Delivery, DeviceId, Downlink, Quality, Refusal, Source, SourceEvent, Timestamp};
use anlan_protocols::mqtt::codec::{
    Ack, Connect, Decoder, Filter, Notice, Packet, Properties, Publish, Qos, Subscribe, Value, Version, Will, property,
};
use common::{Client, House, Mode, NOW, listener};

const BOTH: [Version; 2] = [Version::V3_1_1, Version::V5];

struct Device {
    client: Client,
    decoder: Decoder,
    version: Version,
    next_id: u16,
}

fn connect_packet(version: Version, client_id: &str, user: &str, secret: &str) -> Packet {
    Packet::Connect(Box::new(Connect {
        version,
        bridge: false,
        clean: true,
        keep_alive_s: 60,
        client_id: client_id.into(),
        will: None,
        username: Some(user.into()),
        password: Some(secret.as_bytes().to_vec()),
        properties: Properties::default(),
    }))
}

impl Device {
    async fn socket(address: SocketAddr, version: Version) -> Self {
        Self { client: Client::connect(address).await, decoder: Decoder::new(Some(version), 1 << 20), version, next_id: 0 }
    }
    async fn connect_as(address: SocketAddr, version: Version, client_id: &str, user: &str) -> Self {
        let mut d = Self::socket(address, version).await;
        d.send(&connect_packet(version, client_id, user, "s")).await;
        let Packet::Connack(connack) = d.hear().await else { panic!() };
        assert_eq!(connack.reason, 0);
        d
    }
    async fn connect(address: SocketAddr, version: Version) -> Self {
        Self::connect_as(address, version, "c", "D1").await
    }
    async fn send(&mut self, packet: &Packet) {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes).unwrap();
        self.client.send(&bytes).await;
    }
    async fn try_hear(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = self.decoder.next() {
                return Some(packet.unwrap());
            }
            let bytes = self.client.some().await;
            if bytes.is_empty() {
                return None;
            }
            self.decoder.push(&bytes);
        }
    }
    async fn hear(&mut self) -> Packet {
        self.try_hear().await.expect("the server closed")
    }
    fn publish_packet(&mut self, topic: &str, payload: &str, qos: Qos) -> Packet {
        self.next_id += 1;
        let packet_id = (qos == Qos::AtLeastOnce).then_some(self.next_id);
        Packet::Publish(Publish { qos, topic: topic.into(), packet_id, payload: payload.into(), ..Publish::default() })
    }
    async fn publish(&mut self, topic: &str, payload: &str) -> u16 {
        let packet = self.publish_packet(topic, payload, Qos::AtLeastOnce);
        self.send(&packet).await;
        self.next_id
    }
    async fn telemetry(&mut self, payload: &str) -> u16 {
        self.publish("anlan/v1/D1/telemetry", payload).await
    }
    /// The next PUBACK: packet id and reason.
    async fn puback(&mut self) -> (u16, u8) {
        match self.hear().await {
            Packet::Puback(Ack { packet_id, reason, .. }) => (packet_id, reason),
            other => panic!("not a puback: {other:?}"),
        }
    }
    async fn pings(&mut self) {
        self.send(&Packet::Pingreq).await;
        assert_eq!(self.hear().await, Packet::Pingresp);
    }
    /// The reason of the DISCONNECT that comes before the close, if one does.
    async fn goodbye(&mut self) -> Option<u8> {
        match self.try_hear().await? {
            Packet::Disconnect(Notice { reason, .. }) => {
                assert!(self.client.closes().await);
                Some(reason)
            }
            other => panic!("not a disconnect: {other:?}"),
        }
    }
    async fn subscribe(&mut self, filter: &str) -> u8 {
        self.next_id += 1;
        let filter = Filter { filter: filter.into(), qos: Qos::AtLeastOnce, ..Filter::default() };
        self.send(&Packet::Subscribe(Subscribe { packet_id: self.next_id, filters: vec![filter], ..Subscribe::default() })).await;
        let Packet::Suback(answers) = self.hear().await else { panic!() };
        answers.reasons[0]
    }
}

async fn serve(house: &House) -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(mqtt::serve(listener, None, house.ctx.clone()));
    address
}

fn refused(house: &House, reason: Reason) -> u64 {
    house.ctx.stats.link(Protocol::Mqtt).refused(reason)
}

const GOOD: &str = r#"{"at":"2026-11-23T00:59:00Z","values":{"TI-101":12.3,"PI-1":4},"quality":{"PI-1":"bad"}}"#;

#[tokio::test]
async fn a_puback_means_kept() {
    for version in BOTH {
        let house = House::new();
        let mut d = Device::connect(serve(&house).await, version).await;
        house.intake.set(Mode::Hold);
        let id = d.telemetry(GOOD).await;
        house.until("the reading is offered", |i| i.n_held() == 1).await;
        assert!(d.client.silent().await);
        d.pings().await;
        house.intake.release(Ok(Default::default()));
        assert_eq!(d.puback().await, (id, 0));
        let seen = house.intake.seen();
        assert_eq!(seen[0].source, Source::Device { device: DeviceId::new(1), protocol: "mqtt" });
        assert_eq!((seen[0].received_at, seen[0].backfill), (Timestamp::parse(NOW).unwrap(), false));
        let mut got: Vec<_> = seen[0].readings.iter().map(|r| (r.code.as_str(), r.value, r.quality, r.device_at)).collect();
        got.sort_by(|a, b| a.0.cmp(b.0));
        let at = Some(Timestamp::parse("2026-11-23T00:59:00Z").unwrap());
        assert_eq!(got, [("PI-1", 4.0, Quality::Bad, at), ("TI-101", 12.3, Quality::Good, at)]);
        assert_eq!(house.ctx.stats.link(Protocol::Mqtt).readings_total(), 2);
    }
}

#[tokio::test]
async fn a_repeat_is_offered_and_acknowledged_again() {
    for version in BOTH {
        let house = House::new();
        let mut d = Device::connect(serve(&house).await, version).await;
        let packet = d.publish_packet("anlan/v1/D1/telemetry", GOOD, Qos::AtLeastOnce);
        let Packet::Publish(mut publish) = packet else { panic!() };
        d.send(&Packet::Publish(publish.clone())).await;
        assert_eq!(d.puback().await, (1, 0));
        publish.dup = true;
        d.send(&Packet::Publish(publish)).await;
        assert_eq!(d.puback().await, (1, 0));
        assert_eq!(house.intake.seen().len(), 2, "the engine drops repeats, not the socket");
    }
}

#[tokio::test]
async fn line_protocol_and_arrays_are_taken_too() {
    let house = House::new();
    let mut d = Device::connect(serve(&house).await, Version::V3_1_1).await;
    d.publish("anlan/v1/D1/line", "tank,unit=T1 level=3.5,temp=20i 1763859540000000000\n").await;
    assert_eq!(d.puback().await.1, 0);
    d.telemetry(r#"[{"at":1763859540000,"values":{"A":1}},{"values":{"A":2}}]"#).await;
    assert_eq!(d.puback().await.1, 0);
    let want = [("tank,unit=T1.level", 3.5), ("tank,unit=T1.temp", 20.0), ("A", 1.0), ("A", 2.0)];
    assert_eq!(house.intake.values(), want.map(|(code, v)| (code.to_owned(), v)));
    assert_eq!(house.intake.seen()[1].readings[0].device_at, Some(Timestamp::from_millis(1_763_859_540_000)));
    assert_eq!(house.intake.seen()[1].readings[1].device_at, None);
}

#[tokio::test]
async fn a_wrong_secret_is_refused_and_slowed_down() {
    for (version, code) in [(Version::V3_1_1, 4), (Version::V5, 0x86)] {
        let house = House::new();
        let address = serve(&house).await;
        for (user, secret) in [("D1", "wrong"), ("nobody", "s"), ("OFF", "s"), ("", "")] {
            let mut d = Device::socket(address, version).await;
            d.send(&connect_packet(version, "c", user, secret)).await;
            let Packet::Connack(connack) = d.hear().await else { panic!() };
            assert_eq!(connack.reason, code, "{user}");
            assert!(d.client.closes().await);
        }
        assert_eq!(refused(&house, Reason::Credentials), 4);
    }
}

#[tokio::test]
async fn an_unreadable_payload_is_quarantined_then_acknowledged() {
    for (version, code) in [(Version::V3_1_1, 0), (Version::V5, 0x99)] {
        let house = House::new();
        let mut d = Device::connect(serve(&house).await, version).await;
        for payload in ["", "not json", "{}", "[1]", r#"{"at":"yesterday","values":{"A":1}}"#, r#"{"values":3}"#] {
            d.telemetry(payload).await;
            assert_eq!(d.puback().await.1, code, "{payload}");
        }
        d.publish("anlan/v1/D1/line", "no fields here\n").await;
        assert_eq!(d.puback().await.1, code);
        d.publish("anlan/v1/D1/answer", "{}").await;
        assert_eq!(d.puback().await.1, code);
        let kept = house.intake.quarantined();
        assert_eq!((kept.len(), kept[1].bytes.as_slice(), kept[1].source.as_str()), (8, b"not json".as_slice(), "D1"));
        assert_eq!(refused(&house, Reason::Unreadable), 8);
        d.pings().await;
    }
}

#[tokio::test]
async fn good_lines_beside_bad_ones_are_kept() {
    let house = House::new();
    let mut d = Device::connect(serve(&house).await, Version::V5).await;
    d.publish("anlan/v1/D1/line", "a value=1\nbroken\nb value=2\n").await;
    assert_eq!(d.puback().await.1, 0x99);
    assert_eq!(house.intake.values(), [("a".to_owned(), 1.0), ("b".to_owned(), 2.0)]);
    assert!(house.intake.quarantined()[0].reason.contains("line 2"));
}

#[tokio::test]
async fn a_forbidden_topic_is_told_to_version_5_and_closes_3_1_1() {
    for topic in ["anlan/v1/D2/telemetry", "anlan/v1/X/line", "anlan/v1/D1/command", "anlan/v1/D1", "other", "anlan/v1/D1/telemetry/x"] {
        let house = House::new();
        let address = serve(&house).await;
        let mut five = Device::connect_as(address, Version::V5, "five", "D1").await;
        five.publish(topic, GOOD).await;
        assert_eq!(five.puback().await.1, 0x87, "{topic}");
        let mut three = Device::connect_as(address, Version::V3_1_1, "three", "D1").await;
        three.publish(topic, GOOD).await;
        assert!(three.client.closes().await);
        assert_eq!(refused(&house, Reason::Topic), 2);
        assert!(house.intake.seen().is_empty());
        five.pings().await;
    }
}

#[tokio::test]
async fn back_fill_needs_the_right() {
    let house = House::new();
    let address = serve(&house).await;
    let payload = r#"{"at":"2020-01-01T00:00:00Z","backfill":true,"values":{"A":1}}"#;
    let mut d = Device::connect(address, Version::V5).await;
    d.telemetry(payload).await;
    assert_eq!(d.puback().await.1, 0x87);
    assert_eq!(refused(&house, Reason::Backfill), 1);
    let mut gateway = Device::connect_as(address, Version::V5, "g", "GW").await;
    gateway.publish("anlan/v1/GW/telemetry", payload).await;
    assert_eq!(gateway.puback().await.1, 0);
    assert!(house.intake.seen()[0].backfill);
}

#[tokio::test]
async fn a_gateway_speaks_for_devices_of_its_enterprise_only() {
    let house = House::new();
    let mut gateway = Device::connect_as(serve(&house).await, Version::V5, "g", "GW").await;
    gateway.publish("anlan/v1/D2/telemetry", GOOD).await;
    assert_eq!(gateway.puback().await.1, 0);
    gateway.publish("anlan/v1/GW/line", "a,device=D1 value=1\na value=2\n").await;
    assert_eq!(gateway.puback().await.1, 0);
    gateway.publish("anlan/v1/X/telemetry", GOOD).await;
    assert_eq!(gateway.puback().await.1, 0x87);
    gateway.publish("anlan/v1/GW/line", "a,device=X value=1\n").await;
    assert_eq!(gateway.puback().await.1, 0x87);
    let mut devices: Vec<_> = house.intake.seen().into_iter().map(|s| s.source).collect();
    devices.sort_by_key(|s| format!("{s:?}"));
    let source = |id| Source::Device { device: DeviceId::new(id), protocol: "mqtt" };
    assert_eq!(devices, [source(1), source(2), source(3)]);
}

#[tokio::test]
async fn a_full_shard_is_told_to_version_5() {
    let house = House::new();
    let mut d = Device::connect(serve(&house).await, Version::V5).await;
    house.intake.set(Mode::RefuseFirst(Refusal::Overloaded, 1));
    d.telemetry(GOOD).await;
    assert_eq!(d.puback().await.1, 0x97);
    d.telemetry(GOOD).await;
    assert_eq!(d.puback().await.1, 0);
}

#[tokio::test]
async fn a_full_shard_is_met_with_patience_for_3_1_1() {
    for refusal in [Refusal::Overloaded, Refusal::Storage] {
        let house = House::new();
        let mut d = Device::connect(serve(&house).await, Version::V3_1_1).await;
        house.intake.set(Mode::RefuseFirst(refusal, 5));
        let id = d.telemetry(GOOD).await;
        d.pings().await;
        assert_eq!(d.puback().await, (id, 0));
        assert_eq!(house.intake.seen().len(), 1);
        assert_eq!(house.ctx.stats.link(Protocol::Mqtt).refused_total(), 5);
    }
}

#[tokio::test]
async fn a_3_1_1_client_is_not_read_beyond_its_window() {
    let house = House::with(Limits { max_inflight: 4, ..common::limits() });
    let mut d = Device::connect(serve(&house).await, Version::V3_1_1).await;
    house.intake.set(Mode::Hold);
    for _ in 0..20 {
        d.telemetry(GOOD).await;
    }
    // Messages of one read travel together; each has two values.
    house.until("the window is full", |i| i.n_values() == 8).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(house.intake.n_values(), 8);
    house.intake.set(Mode::Keep);
    house.intake.release(Ok(Default::default()));
    for id in 1..=20 {
        assert_eq!(d.puback().await, (id, 0), "in order");
    }
}

#[tokio::test]
async fn a_stopping_shard_acknowledges_nothing() {
    let house = House::new();
    let address = serve(&house).await;
    house.intake.set(Mode::RefuseFirst(Refusal::Stopping, 100));
    let mut five = Device::connect_as(address, Version::V5, "five", "D1").await;
    five.telemetry(GOOD).await;
    assert_eq!(five.goodbye().await, Some(0x8b));
    let mut three = Device::connect_as(address, Version::V3_1_1, "three", "D1").await;
    three.telemetry(GOOD).await;
    assert_eq!(three.goodbye().await, None);
}

#[tokio::test]
async fn the_same_client_again_takes_over_and_the_first_is_closed() {
    let house = House::new();
    let address = serve(&house).await;
    let mut first = Device::connect(address, Version::V5).await;
    let mut second = Device::connect(address, Version::V3_1_1).await;
    assert_eq!(first.goodbye().await, Some(0x8e));
    second.pings().await;
    house.until("the event is raised", |i| i.events().len() == 1).await;
    let (from, by) = (first.client.stream.local_addr().unwrap().to_string(), second.client.stream.local_addr().unwrap().to_string());
    assert_eq!(house.intake.events(), [SourceEvent::TakenOver { from, by }]);
    let mut other_device = Device::connect_as(address, Version::V5, "c", "D2").await;
    let mut nameless = [Device::connect_as(address, Version::V5, "", "D1").await, Device::connect_as(address, Version::V5, "", "D1").await];
    for d in [&mut second, &mut other_device].into_iter().chain(&mut nameless) {
        d.pings().await;
    }
}

#[tokio::test]
async fn a_command_reaches_its_subscriber_and_the_answer_comes_back() {
    for version in BOTH {
        let house = House::new();
        let mut d = Device::connect(serve(&house).await, version).await;
        let command = Command { id: 7, to: "D1".into(), body: CommandBody::Mqtt { payload: r#"{"open":false}"#.into() } };
        assert_eq!(house.ctx.downlinks.send(&command), Delivery::NotConnected, "nobody subscribed");
        for topic in ["anlan/v1/D2/command", "anlan/v1/+/command", "#", "anlan/v1/D1/telemetry"] {
            assert!(d.subscribe(topic).await >= 0x80, "{topic}");
        }
        assert_eq!(d.subscribe("anlan/v1/D1/command").await, 1);
        assert_eq!(house.ctx.downlinks.send(&command), Delivery::Sent);
        let Packet::Publish(publish) = d.hear().await else { panic!() };
        assert_eq!(publish.topic, "anlan/v1/D1/command");
        assert_eq!(publish.payload, br#"{"id":"7","command":{"open":false}}"#);
        d.send(&Packet::Puback(Ack { packet_id: publish.packet_id.unwrap(), ..Ack::default() })).await;
        d.publish("anlan/v1/D1/answer", r#"{"id":"7","ok":true,"detail":{"valve":"closed"}}"#).await;
        assert_eq!(d.puback().await.1, 0);
        let answer = SourceEvent::CommandAnswer { command: 7, ok: true, detail: r#"{"valve":"closed"}"#.into() };
        assert_eq!(house.intake.events(), [answer]);
        drop(d);
        house.until("the device is gone", |_| house.ctx.downlinks.connected_devices().is_empty()).await;
        assert_eq!(house.ctx.downlinks.send(&command), Delivery::NotConnected);
    }
}

#[tokio::test]
async fn a_disabled_device_is_put_out() {
    let house = House::new();
    let mut d = Device::connect(serve(&house).await, Version::V5).await;
    d.pings().await;
    house.change(|c| c.devices.get_mut("D1").unwrap().disabled = true);
    d.telemetry(GOOD).await;
    assert_eq!(d.goodbye().await, Some(0x98));
    assert!(house.intake.seen().is_empty());
}

#[tokio::test]
async fn a_flood_from_one_device_leaves_the_others_alone() {
    for version in BOTH {
        let house = House::with(Limits { messages_per_s: 20, message_burst: 10, ..common::limits() });
        let address = serve(&house).await;
        let mut flood = Device::connect_as(address, version, "f", "D2").await;
        for _ in 0..100 {
            flood.publish("anlan/v1/D2/telemetry", GOOD).await;
        }
        let mut calm = Device::connect(address, Version::V5).await;
        for _ in 0..5 {
            calm.telemetry(GOOD).await;
            assert_eq!(calm.puback().await.1, 0);
        }
        match version {
            Version::V5 => {
                let mut reasons = Vec::new();
                for _ in 0..100 {
                    reasons.push(flood.puback().await.1);
                }
                assert!(reasons[..10].iter().all(|r| *r == 0) && reasons.iter().filter(|r| **r == 0x97).count() > 50, "{reasons:?}");
            }
            // 3.1.1 is slowed down instead: nothing is lost.
            _ => {
                for id in 1..=20 {
                    assert_eq!(flood.puback().await, (id, 0));
                }
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped() {
    let house = House::with(Limits { max_output_bytes: 4 << 10, write_timeout_ms: 300, ..common::limits() });
    let mut deaf = Device::connect(serve(&house).await, Version::V5).await;
    let mut pings = Vec::new();
    for _ in 0..4_000 {
        Packet::Pingreq.encode(Version::V5, &mut pings).unwrap();
    }
    let flood = async {
        use tokio::io::AsyncWriteExt as _;
        while deaf.client.stream.write_all(&pings).await.is_ok() {}
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), flood).await.is_ok(), "the server must close");
    assert_eq!(refused(&house, Reason::SlowReader), 1);
}

#[tokio::test]
async fn qos_0_is_heard_and_never_answered() {
    let house = House::new();
    let mut d = Device::connect(serve(&house).await, Version::V3_1_1).await;
    let packet = d.publish_packet("anlan/v1/D1/telemetry", GOOD, Qos::AtMostOnce);
    d.send(&packet).await;
    house.until("the reading is seen", |i| i.seen().len() == 1).await;
    assert!(d.client.silent().await);
}

#[tokio::test]
async fn limits_are_told_to_version_5() {
    let house = House::with(Limits { max_inflight: 9, max_message_bytes: 2_000, ..common::limits() });
    let mut d = Device::socket(serve(&house).await, Version::V5).await;
    d.send(&connect_packet(Version::V5, "", "D1", "s")).await;
    let Packet::Connack(connack) = d.hear().await else { panic!() };
    let number = |id| connack.properties.number(id);
    assert_eq!((number(property::RECEIVE_MAXIMUM), number(property::MAXIMUM_QOS)), (Some(9), None));
    assert_eq!(number(property::MAXIMUM_PACKET_SIZE), Some(2_000));
    let long = format!(r#"{{"values":{{"{}":1}}}}"#, "x".repeat(3_000));
    d.telemetry(&long).await;
    assert_eq!(d.goodbye().await, Some(0x95));
    assert_eq!(refused(&house, Reason::TooLarge), 1);
}

#[tokio::test]
async fn garbage_ends_its_own_connection_only() {
    let house = House::new();
    let address = serve(&house).await;
    let mut good = Device::connect(address, Version::V5).await;
    for noise in [&[0u8; 64][..], b"GET / HTTP/1.1\r\n\r\n", &[0x10, 0xff, 0xff, 0xff, 0xff, 0x7f], &[0x30, 0x02, 0, 0]] {
        let mut bad = Client::connect(address).await;
        bad.send(noise).await;
        assert!(bad.closes().await);
    }
    assert_eq!(refused(&house, Reason::Violation), 4);
    good.pings().await;
}

#[tokio::test]
async fn a_connection_without_connect_is_closed() {
    let house = House::with(Limits { first_message_timeout_ms: 80, ..common::limits() });
    let mut d = Client::connect(serve(&house).await).await;
    assert!(d.closes().await);
    assert_eq!(refused(&house, Reason::Idle), 1);
}

#[tokio::test]
async fn what_is_out_when_the_node_stops_is_still_acknowledged() {
    for version in BOTH {
        let house = House::new();
        let mut d = Device::connect(serve(&house).await, version).await;
        house.intake.set(Mode::Hold);
        let id = d.telemetry(GOOD).await;
        house.until("the reading is offered", |i| i.n_held() == 1).await;
        house.ctx.stop.cancel();
        tokio::time::sleep(Duration::from_millis(50)).await;
        house.intake.release(Ok(Default::default()));
        assert_eq!(d.puback().await, (id, 0));
        assert_eq!(d.goodbye().await, (version == Version::V5).then_some(0x8b));
    }
}

#[tokio::test]
async fn a_stranger_cannot_make_the_server_hold_much() {
    let house = House::new();
    let mut stranger = Client::connect(serve(&house).await).await;
    // A CONNECT that claims half a megabyte.
    stranger.send(&[0x10, 0xff, 0xff, 0x1f, 0x00, 0x04, b'M', b'Q', b'T', b'T', 0x04]).await;
    use tokio::io::AsyncWriteExt as _;
    for _ in 0..100 {
        if stranger.stream.write_all(&[b'x'; 4_096]).await.is_err() {
            break;
        }
    }
    house.until("the stranger is refused", |_| refused(&house, Reason::TooLarge) == 1).await;
}

#[tokio::test]
async fn a_window_full_of_waiting_messages_is_not_silence() {
    let house = House::with(Limits { max_inflight: 1, mqtt_idle_timeout_s: 1, ..common::limits() });
    let mut d = Device::connect(serve(&house).await, Version::V3_1_1).await;
    house.intake.set(Mode::Hold);
    let id = d.telemetry(GOOD).await;
    house.until("the window is full", |i| i.n_held() == 1).await;
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    house.intake.release(Ok(Default::default()));
    assert_eq!(d.puback().await, (id, 0));
    assert!(d.client.closes().await, "now it is silent");
}

#[tokio::test]
async fn stopping_says_goodbye_and_returns() {
    let house = House::new();
    let (listener, address) = listener().await;
    let served = tokio::spawn(mqtt::serve(listener, None, house.ctx.clone()));
    let mut d = Device::connect(address, Version::V5).await;
    house.ctx.stop.cancel();
    assert_eq!(d.goodbye().await, Some(0x8b));
    drop(d);
    tokio::time::timeout(Duration::from_secs(5), served).await.unwrap().unwrap();
}

impl Device {
    /// Connects with a session that outlives the connection; whether one was present.
    async fn lasting(address: SocketAddr, version: Version, will: Option<Will>) -> (Self, bool) {
        let mut d = Self::socket(address, version).await;
        let Packet::Connect(mut c) = connect_packet(version, "c", "D1", "s") else { panic!() };
        (c.clean, c.will) = (false, will);
        if version == Version::V5 {
            c.properties = Properties::default().with(property::SESSION_EXPIRY_INTERVAL, Value::Four(60));
        }
        d.send(&Packet::Connect(c)).await;
        let Packet::Connack(connack) = d.hear().await else { panic!() };
        assert_eq!(connack.reason, 0);
        (d, connack.session_present)
    }
    async fn exactly_once(&mut self, packet_id: u16, payload: &str) {
        let topic = "anlan/v1/D1/telemetry".to_owned();
        let packet_id = Some(packet_id);
        self.send(&Packet::Publish(Publish { qos: Qos::ExactlyOnce, topic, packet_id, payload: payload.into(), ..Publish::default() }))
            .await;
    }
    async fn pubrec(&mut self) -> (u16, u8) {
        match self.hear().await {
            Packet::Pubrec(Ack { packet_id, reason, .. }) => (packet_id, reason),
            other => panic!("not a pubrec: {other:?}"),
        }
    }
    async fn release(&mut self, packet_id: u16) {
        self.send(&Packet::Pubrel(Ack { packet_id, ..Ack::default() })).await;
        assert!(matches!(self.hear().await, Packet::Pubcomp(a) if a.packet_id == packet_id && a.reason == 0));
    }
}

/// No device time: nothing but the packet identifier tells a repeat from a new value.
const TIMELESS: &str = r#"{"values":{"TI-1":7}}"#;

#[tokio::test]
async fn a_pubrec_means_kept_and_a_session_keeps_its_messages_once() {
    for version in BOTH {
        let house = House::new();
        let address = serve(&house).await;
        let (mut d, present) = Device::lasting(address, version, None).await;
        assert!(!present);
        house.intake.set(Mode::Hold);
        d.exactly_once(1, TIMELESS).await;
        house.until("the reading is offered", |i| i.n_held() == 1).await;
        d.exactly_once(1, TIMELESS).await;
        assert!(d.client.silent().await, "nothing is promised, not to a repeat either");
        house.intake.release(Ok(Default::default()));
        assert_eq!(d.pubrec().await, (1, 0));
        // The PUBREC is "lost", and a second message is out while the connection breaks; both come again.
        d.exactly_once(2, TIMELESS).await;
        house.until("the second is offered", |i| i.n_held() == 1).await;
        drop(d);
        let again = tokio::spawn(async move { Device::lasting(address, version, None).await });
        tokio::time::sleep(Duration::from_millis(20)).await;
        house.intake.release(Ok(Default::default()));
        let (mut d, present) = again.await.unwrap();
        assert!(present);
        for id in [1, 2] {
            d.exactly_once(id, TIMELESS).await;
            assert_eq!(d.pubrec().await, (id, 0));
            d.release(id).await;
        }
        assert_eq!(house.intake.values().len(), 2, "each is kept once");
        // Released identifiers name new messages.
        house.intake.set(Mode::Keep);
        d.exactly_once(1, TIMELESS).await;
        assert_eq!(d.pubrec().await, (1, 0));
        assert_eq!(house.intake.values().len(), 3);
    }
}

#[tokio::test]
async fn a_session_takes_its_subscription_along_and_a_clean_start_does_not() {
    let house = House::new();
    let address = serve(&house).await;
    let (mut d, _) = Device::lasting(address, Version::V5, None).await;
    assert_eq!(d.subscribe("anlan/v1/D1/command").await, 1);
    let command = |id| Command { id, to: "D1".into(), body: CommandBody::Mqtt { payload: "{}".into() } };
    assert_eq!(house.ctx.downlinks.send(&command(1)), Delivery::Sent);
    let Packet::Publish(first) = d.hear().await else { panic!() };
    drop(d);
    let (mut d, present) = Device::lasting(address, Version::V5, None).await;
    assert!(present);
    let Packet::Publish(again) = d.hear().await else { panic!("the command was not acknowledged, so it comes again") };
    assert!(again.dup && (&again.payload, again.packet_id) == (&first.payload, first.packet_id));
    assert_eq!(house.ctx.downlinks.send(&command(2)), Delivery::Sent);
    let mut d = Device::connect(address, Version::V5).await;
    assert_eq!(house.ctx.downlinks.send(&command(3)), Delivery::NotConnected);
    d.pings().await;
}

fn will(topic: &str, payload: &str, delay_s: u32) -> Option<Will> {
    let delay = Properties::default().with(property::WILL_DELAY_INTERVAL, Value::Four(delay_s));
    let properties = if delay_s > 0 { delay } else { Properties::default() };
    Some(Will { topic: topic.into(), payload: payload.into(), properties, ..Will::default() })
}

#[tokio::test]
async fn a_will_is_published_when_its_device_is_gone_without_a_word() {
    for version in BOTH {
        let house = House::new();
        let address = serve(&house).await;
        let (d, _) = Device::lasting(address, version, will("anlan/v1/D1/status", "offline", 0)).await;
        drop(d);
        let lost = SourceEvent::Status { text: "offline".into(), lost: true };
        house.until("the event", |i| i.events() == [lost.clone()]).await;
        // On its telemetry topic it is a reading; a full shard only delays it.
        let (d, _) = Device::lasting(address, version, will("anlan/v1/D1/telemetry", r#"{"values":{"online":0}}"#, 0)).await;
        house.intake.set(Mode::RefuseFirst(Refusal::Overloaded, 2));
        drop(d);
        house.until("the reading", |i| i.values() == [("online".to_owned(), 0.0)]).await;
        // A DISCONNECT says that all is well.
        let (mut d, _) = Device::lasting(address, version, will("anlan/v1/D1/status", "never said", 0)).await;
        d.send(&Packet::Disconnect(Notice::default())).await;
        assert!(d.client.closes().await);
        let mut d = Device::connect(address, version).await;
        d.publish("anlan/v1/D1/status", "online").await;
        assert_eq!(d.puback().await.1, 0);
        assert_eq!(house.intake.events(), [lost, SourceEvent::Status { text: "online".into(), lost: false }]);
    }
}

#[tokio::test]
async fn a_will_waits_for_its_device_to_come_back() {
    let house = House::new();
    let address = serve(&house).await;
    let (d, _) = Device::lasting(address, Version::V5, will("anlan/v1/D1/status", "gone for long", 30)).await;
    drop(d);
    let (mut d, _) = Device::lasting(address, Version::V5, will("anlan/v1/D1/status", "gone", 0)).await;
    d.pings().await;
    drop(d);
    house.until("the second will", |i| !i.events().is_empty()).await;
    assert_eq!(house.intake.events(), [SourceEvent::Status { text: "gone".into(), lost: true }]);
}

#[tokio::test]
async fn a_will_on_a_foreign_topic_is_refused_and_its_device_is_not() {
    let house = House::new();
    let address = serve(&house).await;
    for topic in ["tele/D1/LWT", "anlan/v1/X/status", "anlan/v1/D1/command"] {
        let (mut d, _) = Device::lasting(address, Version::V3_1_1, will(topic, "x", 0)).await;
        d.pings().await;
    }
    assert_eq!(refused(&house, Reason::Topic), 3);
    let mut d = Device::connect(address, Version::V3_1_1).await;
    d.pings().await;
    assert!(house.intake.events().iter().all(|e| !matches!(e, SourceEvent::Status { .. })), "{:?}", house.intake.events());
}
