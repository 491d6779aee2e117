//! What every protocol folder promises, for MQTT: samples decode and encode back, cuts wait, damage is refused or harmless,
//! nothing panics. Samples are our own, put together by hand and not by this codec (`samples/mqtt/*.hex`, `#` starts a comment,
//! one packet a line, a file is one connection); those called `bad-…` name the fault their last packet has.

use anlan_protocols::mqtt::codec::{
    Ack, Answers, Connack, Connect, Decoder, Filter, Notice, Packet, PacketError, Properties, Publish, Qos, Subscribe, Unsubscribe, Value,
    Version, Will, property,
};
use anlan_protocols::mqtt::server::{Event, Limits, PubResult, Session};
use anlan_protocols::mqtt::{decode_human, decode_jsonl_line};
use anlan_protocols::wire::{hex, unhex};
use proptest::prelude::*;
use serde_json::Value as Json;

struct Sample {
    name: String,
    fault: Option<String>,
    packets: Vec<Vec<u8>>,
}

impl Sample {
    fn bytes(&self) -> Vec<u8> {
        self.packets.concat()
    }
}

fn samples() -> Vec<Sample> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/mqtt");
    let mut samples: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let fault = text.lines().next().and_then(|l| l.strip_prefix("# fault: ")).and_then(|l| l.split('.').next());
            Sample {
                name: path.file_stem().unwrap().to_string_lossy().into_owned(),
                fault: fault.map(str::to_owned),
                packets: text.lines().filter(|l| !l.starts_with('#')).map(|l| unhex(l).unwrap().0).collect(),
            }
        })
        .collect();
    samples.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(samples.len() > 35);
    samples
}

fn cut(chunks: &[&[u8]]) -> Vec<Result<Packet, PacketError>> {
    let mut decoder = Decoder::new(None, 1 << 20);
    let mut found = Vec::new();
    for chunk in chunks {
        decoder.push(chunk);
        found.extend(&mut decoder);
    }
    found
}

#[test]
fn every_good_sample_decodes_and_encodes_back() {
    for sample in samples().iter().filter(|s| s.fault.is_none()) {
        let mut decoder = Decoder::new(None, 1 << 20);
        for bytes in &sample.packets {
            decoder.push(bytes);
            let packet = decoder.next().unwrap().unwrap_or_else(|e| panic!("{} {}: {e}", sample.name, hex(bytes)));
            assert_eq!((decoder.next(), decoder.pending()), (None, 0), "{}", sample.name);
            let version = decoder.version().unwrap_or(Version::V3_1_1);
            let mut again = Vec::new();
            packet.encode(version, &mut again).unwrap();
            // Version 5 and 3.1 have more than one way to write some packets; the value must be the same, and the bytes mostly.
            let mut reread = Decoder::new(Some(version), 1 << 20);
            reread.push(&again);
            assert_eq!(reread.next(), Some(Ok(packet)), "{}", sample.name);
            let shorter = [0xe0, 0xf0, 0x40, 0x8a].contains(&bytes[0]);
            assert!(again == *bytes || shorter, "{}: {} became {}", sample.name, hex(bytes), hex(&again));
        }
    }
}

#[test]
fn every_bad_sample_ends_with_the_fault_it_names() {
    for sample in samples().iter().filter(|s| s.name.starts_with("bad-")) {
        let found = cut(&[&sample.bytes()]);
        let Some(Err(error)) = found.last() else { panic!("{} was accepted", sample.name) };
        assert_eq!(Some(error.fault.code()), sample.fault.as_deref(), "{}: {error}", sample.name);
        assert_eq!(found.len(), sample.packets.len(), "{}", sample.name);
        assert!(error.fault.reason() >= 0x80, "{}", sample.name);
        let line = serde_json::json!({"id": sample.name, "kind": "stream", "hex": hex(&sample.bytes())}).to_string();
        let answer: Json = serde_json::from_str(&decode_jsonl_line(&line, 1)).unwrap();
        assert_eq!(answer["defects"][0]["code"].as_str(), sample.fault.as_deref());
        assert_eq!(answer["ok"], sample.packets.len() > 1);
        assert!(decode_human(&hex(&sample.bytes())).contains("defect"));
    }
}

#[test]
fn half_a_packet_waits_for_the_rest() {
    for sample in samples() {
        let bytes = sample.bytes();
        let whole = cut(&[&bytes]);
        for at in 0..bytes.len() {
            let (head, tail) = bytes.split_at(at);
            let first = cut(&[head]);
            assert!(first.len() <= whole.len() && whole[..first.len()] == first[..], "{} cut at {at}", sample.name);
            assert_eq!(cut(&[head, tail]), whole, "{} cut at {at}", sample.name);
            decode_human(&hex(head));
        }
        assert_eq!(cut(&bytes.chunks(1).collect::<Vec<_>>()), whole, "{}", sample.name);
    }
}

#[test]
fn a_flipped_bit_never_panics_and_what_is_accepted_writes_back() {
    for sample in samples() {
        let good = sample.bytes();
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let mut decoder = Decoder::new(None, 1 << 20);
            decoder.push(&bytes);
            while let Some(Ok(packet)) = decoder.next() {
                packet.encode(decoder.version().unwrap_or(Version::V3_1_1), &mut Vec::new()).unwrap();
            }
            drive(&[&bytes]);
        }
    }
}

/// A session whose caller says yes to everything; returns how many readings it was given and how many PUBACKs left.
fn drive(chunks: &[&[u8]]) -> (usize, usize) {
    let mut session = Session::new(Limits::default(), 0);
    let (mut n_events, mut output) = (0, Vec::new());
    for chunk in chunks {
        session.input(chunk, 0);
        while let Some(event) = session.next_event() {
            match event {
                Event::Connect { .. } => session.accept(),
                Event::Publish { token, .. } => {
                    n_events += 1;
                    session.ack(token, PubResult::Ok);
                }
                Event::Subscribe { packet_id, filters } => session.suback(packet_id, &vec![true; filters.len()]),
                Event::Unsubscribe { .. } | Event::Delivered { .. } | Event::Closed(_) => {}
            }
        }
        output.extend(session.take_output());
    }
    let mut client = Decoder::new(Some(session.version()), 1 << 20);
    client.push(&output);
    let n_acks = client.map(|p| p.expect("a server writes what a client can read")).filter(|p| matches!(p, Packet::Puback(_))).count();
    (n_events, n_acks)
}

#[test]
fn a_session_hears_every_good_publish_however_it_is_cut() {
    // In one piece 3.1 repeats its message while the first is pending, and the others say goodbye before anything was answered.
    for (name, at_once, bytewise) in
        [("3.1-session", (1, 1), (2, 2)), ("3.1.1-session", (3, 0), (3, 1)), ("5-session", (2, 0), (2, 2)), ("bad-nul", (0, 0), (0, 0))]
    {
        let sample = samples().into_iter().find(|s| s.name == name).unwrap();
        let bytes = sample.bytes();
        assert_eq!(drive(&[&bytes]), at_once, "{name}");
        assert_eq!(drive(&bytes.chunks(1).collect::<Vec<_>>()), bytewise, "{name}");
    }
}

#[test]
fn the_analyser_shows_what_is_there_and_no_password() {
    let sample = samples().into_iter().find(|s| s.name == "3.1.1-session").unwrap();
    let line = serde_json::json!({"id": 5, "kind": "stream", "hex": hex(&sample.bytes())}).to_string();
    let text = decode_jsonl_line(&line, 12);
    let answer: Json = serde_json::from_str(&text).unwrap();
    assert_eq!((&answer["id"], &answer["line"], &answer["ok"]), (&Json::from(5), &Json::from(12), &Json::from(true)));
    let frames = answer["frames"].as_array().unwrap();
    assert_eq!(frames.len(), sample.packets.len());
    assert_eq!((&frames[2]["packet"], &frames[2]["packet_id"], &frames[2]["version"]), (&"publish".into(), &2.into(), &"3.1.1".into()));
    assert!(!text.contains("not-a-secret") && frames[0]["body"]["password_bytes"] == 12);
    assert!(!decode_human(&hex(&sample.bytes())).contains("not-a-secret"));
    for (line, code) in [
        ("", "invalid_json"),
        ("7", "invalid_json"),
        (r#"{"hex":"1"}"#, "no_bytes"),
        (r#"{"hex":"e0001"}"#, "odd_hex"),
        (r#"{"hex":"x"}"#, "invalid_hex"),
        (r#"{"recipe":"x"}"#, "no_bytes"),
        (r#"{"kind":"body","hex":"00"}"#, "needs_message_id"),
        (r#"{"kind":"video","hex":"00"}"#, "kind"),
        (r#"{"version":9,"hex":"00"}"#, "version"),
        (r#"{"hex":"30"}"#, "incomplete"),
    ] {
        let answer: Json = serde_json::from_str(&decode_jsonl_line(line, 1)).unwrap();
        assert_eq!(answer["defects"][0]["code"], code, "{line}");
    }
}

fn text() -> impl Strategy<Value = String> {
    "[a-z/中é ]{0,12}"
}

fn topic() -> impl Strategy<Value = String> {
    "[a-z/中é]{1,12}"
}

fn user_properties(version: Version) -> BoxedStrategy<Properties> {
    if version != Version::V5 {
        return Just(Properties::default()).boxed();
    }
    proptest::collection::vec((text(), text()), 0..3)
        .prop_map(|pairs| Properties(pairs.into_iter().map(|(k, v)| (property::USER_PROPERTY, Value::Pair(k, v))).collect()))
        .boxed()
}

fn qos() -> impl Strategy<Value = Qos> {
    prop_oneof![Just(Qos::AtMostOnce), Just(Qos::AtLeastOnce), Just(Qos::ExactlyOnce)]
}

fn packet(version: Version) -> BoxedStrategy<Packet> {
    let v5 = version == Version::V5;
    let payload = || proptest::collection::vec(any::<u8>(), 0..300);
    let reason = move |codes: &'static [u8]| proptest::sample::select(if v5 { codes } else { &[0][..] });
    let ack = move |codes| {
        (1_u16.., reason(codes), user_properties(version)).prop_map(|(packet_id, reason, properties)| Ack { packet_id, reason, properties })
    };
    let notice = move |codes| (reason(codes), user_properties(version)).prop_map(|(reason, properties)| Notice { reason, properties });
    let connect = (
        (any::<bool>(), any::<u16>(), text(), user_properties(version)),
        proptest::option::of((topic(), payload(), qos(), any::<bool>(), user_properties(version))),
        proptest::option::of((text(), proptest::option::of(payload()))),
    )
        .prop_map(move |((clean, keep_alive_s, client_id, properties), will, user)| {
            let will = will.map(|(topic, payload, qos, retain, properties)| Will { topic, payload, qos, retain, properties });
            let (username, password) = user.map_or((None, None), |(name, password)| (Some(name), password));
            let connect = Connect { version, bridge: false, clean, keep_alive_s, client_id, will, username, password, properties };
            Packet::Connect(Box::new(connect))
        });
    let publish = (any::<bool>(), qos(), any::<bool>(), topic(), 1_u16.., payload(), user_properties(version)).prop_map(
        |(dup, qos, retain, topic, id, payload, properties)| {
            let packet_id = (qos != Qos::AtMostOnce).then_some(id);
            Packet::Publish(Publish { dup: dup && packet_id.is_some(), qos, retain, topic, packet_id, payload, properties })
        },
    );
    let filter = (topic(), qos(), any::<bool>(), any::<bool>(), 0_u8..3).prop_map(move |(filter, qos, a, b, n)| Filter {
        filter,
        qos,
        no_local: a && v5,
        retain_as_published: b && v5,
        retain_handling: if v5 { n } else { 0 },
    });
    let subscribe = (1_u16.., proptest::collection::vec(filter, 1..4), user_properties(version))
        .prop_map(|(packet_id, filters, properties)| Packet::Subscribe(Subscribe { packet_id, filters, properties }));
    let unsubscribe = (1_u16.., proptest::collection::vec(topic(), 1..4), user_properties(version))
        .prop_map(|(packet_id, filters, properties)| Packet::Unsubscribe(Unsubscribe { packet_id, filters, properties }));
    let suback = (1_u16.., proptest::collection::vec(proptest::sample::select(&[0_u8, 1, 2, 0x80][..]), 1..4), user_properties(version))
        .prop_map(|(packet_id, reasons, properties)| Packet::Suback(Answers { packet_id, reasons, properties }));
    let unsuback = (1_u16.., proptest::collection::vec(proptest::sample::select(&[0_u8, 0x11, 0x87][..]), 1..4), user_properties(version))
        .prop_map(move |(packet_id, reasons, properties)| {
            Packet::Unsuback(Answers { packet_id, reasons: if v5 { reasons } else { vec![] }, properties })
        });
    let connack = (any::<bool>(), reason(&[0, 0x86, 0x87]), user_properties(version))
        .prop_map(|(session_present, reason, properties)| Packet::Connack(Connack { session_present, reason, properties }));
    let auth = if v5 { notice(&[0, 0x18]).prop_map(Packet::Auth).boxed() } else { Just(Packet::Pingresp).boxed() };
    prop_oneof![
        connect,
        publish,
        subscribe,
        unsubscribe,
        suback,
        unsuback,
        connack,
        auth,
        ack(&[0, 0x10, 0x97]).prop_map(Packet::Puback),
        ack(&[0, 0x10, 0x97]).prop_map(Packet::Pubrec),
        ack(&[0, 0x92]).prop_map(Packet::Pubrel),
        ack(&[0, 0x92]).prop_map(Packet::Pubcomp),
        notice(&[0, 4, 0x8e]).prop_map(Packet::Disconnect),
        Just(Packet::Pingreq),
    ]
    .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_packet_survives_the_wire(
        (version, packets) in proptest::sample::select(&[Version::V3_1, Version::V3_1_1, Version::V5][..])
            .prop_flat_map(|v| (Just(v), proptest::collection::vec(packet(v), 1..5))),
        step in 1_usize..64,
    ) {
        let mut bytes = Vec::new();
        for packet in &packets {
            packet.encode(version, &mut bytes).unwrap();
        }
        let mut decoder = Decoder::new(Some(version), 1 << 20);
        let mut found = Vec::new();
        for chunk in bytes.chunks(step) {
            decoder.push(chunk);
            found.extend(decoder.by_ref().map(Result::unwrap));
        }
        prop_assert_eq!(found, packets);
        prop_assert_eq!(decoder.pending(), 0);
    }

    #[test]
    fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), sample in 0_usize..35, at in 0_usize..400) {
        cut(&[&bytes]);
        drive(&[&bytes]);
        let mut mixed = samples().swap_remove(sample).bytes();
        mixed.splice(at.min(mixed.len()).., bytes.iter().copied());
        drive(&[&mixed]);
        decode_jsonl_line(&String::from_utf8_lossy(&bytes), 1);
        decode_human(&hex(&mixed));
    }
}
