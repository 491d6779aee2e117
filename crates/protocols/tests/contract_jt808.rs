//! What every protocol folder promises, for JT/T 808: samples decode and encode back, cuts wait, damage is refused,
//! nothing panics. Samples are our own (`samples/jt808/*.hex`, `#` starts a comment, one frame a line).

use anlan_model::Timestamp;
use anlan_protocols::jt808::{
    Answer, Assembled, Authenticate, ConfirmAlarm, Driver, Frame, FrameError, Frames, Header, Item, Message, Parameter, ParametersAnswer,
    PartError, Position, PositionAnswer, PositionBatch, Reassembly, ReassemblyLimits, Register, RegisterAnswer, RegisterEdition, Resend,
    Text, Track, Version, bcd_from_time, decode, decode_human, decode_jsonl_line, encode, encode_frame, items_json, message_json, split,
    time_from_bcd,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn samples() -> Vec<(String, Vec<Vec<u8>>)> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/jt808");
    let mut samples: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let frames = text.lines().filter(|l| !l.starts_with('#')).map(|l| anlan_protocols::wire::unhex(l).unwrap().0).collect();
            (path.file_stem().unwrap().to_string_lossy().into_owned(), frames)
        })
        .collect();
    samples.sort();
    assert!(samples.len() > 30);
    samples
}

fn cut(chunks: &[&[u8]]) -> Vec<Result<Frame, FrameError>> {
    let mut frames = Frames::new();
    let mut found = Vec::new();
    for chunk in chunks {
        frames.push(chunk);
        found.extend(&mut frames);
    }
    found
}

fn one(bytes: &[u8]) -> Frame {
    let [Ok(frame)] = &cut(&[bytes])[..] else { panic!("not one frame: {}", anlan_protocols::wire::hex(bytes)) };
    frame.clone()
}

fn sample(name: &str) -> Frame {
    let (_, frames) = samples().into_iter().find(|(n, _)| n == name).unwrap();
    one(&frames[0])
}

#[test]
fn every_sample_decodes_and_encodes_back() {
    for (name, lines) in samples() {
        let mut parts = Reassembly::default();
        for (n, bytes) in lines.iter().enumerate() {
            let frame = one(bytes);
            assert!(frame.length_ok, "{name}");
            assert_eq!(&encode_frame(&frame.header, &frame.body).unwrap(), bytes, "{name}");
            match parts.add(frame, 0).unwrap() {
                Assembled::Whole(whole) => {
                    let (message, defects) = decode(whole.header.message_id, whole.header.version, &whole.body);
                    assert!(defects.is_empty() && !matches!(message, Message::Raw { .. }), "{name}: {message:?} {defects:?}");
                    assert_eq!(encode::body(&message, whole.header.version).unwrap(), whole.body, "{name}");
                    assert_eq!(split(&whole.header, &whole.body).unwrap(), lines, "{name}");
                }
                waiting => assert_eq!(waiting, Assembled::Waiting(lines.len() - 1 - n), "{name}"),
            }
        }
    }
}

#[test]
fn half_a_frame_waits_for_the_rest() {
    for (name, lines) in samples() {
        for bytes in lines {
            let whole = cut(&[&bytes]);
            for at in 0..bytes.len() {
                let (head, tail) = bytes.split_at(at);
                assert!(cut(&[head]).is_empty(), "{name} cut at {at}");
                assert_eq!(cut(&[head, tail]), whole, "{name} cut at {at}");
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(cut(&single), whole, "{name}");
        }
    }
}

#[test]
fn a_flipped_bit_is_never_accepted() {
    for (name, lines) in samples() {
        for bytes in lines {
            for at in 0..bytes.len() {
                for bit in 0..8 {
                    let mut damaged = bytes.clone();
                    damaged[at] ^= 1 << bit;
                    let accepted = cut(&[&damaged]).into_iter().flatten().any(|f| f.length_ok);
                    assert!(!accepted, "{name}: bit {bit} of byte {at}");
                }
                let _ = decode_human(&anlan_protocols::wire::hex(&bytes[..at]));
            }
        }
    }
}

#[test]
fn a_body_cut_anywhere_never_panics_and_says_so() {
    for (name, lines) in samples() {
        let frame = one(&lines[0]);
        for at in 0..frame.body.len() {
            let body = &frame.body[..at];
            let (message, defects) = decode(frame.header.message_id, frame.header.version, body);
            // Texts at the end of a body may end anywhere, half a character is shown as U+FFFD; all else that is cut has a defect.
            let same = encode::body(&message, frame.header.version).is_ok_and(|b| b == body);
            let shown = message_json(&message, frame.header.version).to_string();
            // A registration of 2013 that lost its end cannot be told from one of 2011.
            let ambiguous = name == "0100-register-2013";
            assert!(!defects.is_empty() || same || ambiguous || shown.contains('\u{fffd}'), "{name} cut at {at}: {message:?}");
        }
    }
}

#[test]
fn frames_shared_marks_noise_and_padding() {
    let beat = encode_frame(&Header::new(0x0002, Version::V2013, "13900000001", 5), &[]).unwrap();
    let good = |input: &[u8]| cut(&[input]).into_iter().filter(|f| f.as_ref().is_ok_and(|f| f.length_ok)).count();
    let shared = [&beat[..], &beat[1..], &beat[1..]].concat();
    assert_eq!((cut(&[&shared]).len(), good(&shared)), (3, 3), "one mark between two frames");
    let doubled = [&[0x7e, 0x7e][..], &beat, &[0x7e], &beat, &[0x7e, 0x7e]].concat();
    assert_eq!((cut(&[&doubled]).len(), good(&doubled)), (2, 2), "doubled marks");
    let lines = [&beat[..], b"\r\n", &beat, b"\r\n"].concat();
    assert_eq!((cut(&[&lines]).len(), good(&lines)), (2, 2), "line ends between frames");
    let noise = [&[0, 0xff, 0x12][..], &beat, b"hello, this is no frame", &beat].concat();
    assert_eq!(good(&noise), 2, "noise before and between");
    assert_eq!(cut(&[&[0x7e, 0x7d, 0x05, 0x7e]]), [Err(FrameError::BadEscape { at: 0, byte: 5 })]);
    assert_eq!(cut(&[&[0x7e, 1, 2, 0x7d, 0x7e]]), [Err(FrameError::BadEscape { at: 2, byte: 0x7e })]);
}

#[test]
fn a_sender_that_is_never_read_costs_one_mebibyte() {
    let mut frames = Frames::new();
    for _ in 0..100 {
        frames.push(&[0x7e; 50_000]);
    }
    assert!(frames.pending() <= 1 << 20);
    assert_eq!(frames.next(), Some(Err(FrameError::Overrun)));
    let beat = encode_frame(&Header::new(0x0002, Version::V2013, "13900000001", 5), &[]).unwrap();
    frames.push(&beat);
    assert!(frames.next().unwrap().is_ok());
}

#[test]
fn the_sample_position_means_what_was_put_in() {
    let frame = sample("0200-position-all-items");
    let (message, defects) = frame.decode();
    assert!(defects.is_empty());
    let shown = message_json(&message, Version::V2013);
    assert_eq!(shown["latitude_deg"], 24.35182);
    assert_eq!(shown["longitude_deg"], 102.54671);
    assert_eq!(shown["speed_kmh"], 93.5);
    assert_eq!(shown["altitude_m"], 1630);
    assert_eq!(shown["time"], "2026-11-23T01:16:22.000000Z");
    assert_eq!(shown["alarms"], json!(["overspeed"]));
    assert_eq!(shown["status"], json!(["acc_on", "fixed"]));
    assert_eq!(shown["items"][0], json!({"id": "0x01", "name": "odometer", "odometer_km": 12345.6}));
    assert_eq!(shown["items"][12], json!({"id": "0xe1", "name": "raw", "raw": "7e7d0102"}));
    let Message::Position(position) = message else { panic!() };
    assert_eq!(items_json(&position.items_raw), shown["items"]);
    let text = decode_human(&anlan_protocols::wire::hex(&encode_frame(&frame.header, &frame.body).unwrap()));
    assert!(text.contains("0x0200 position") && text.contains("0x01, odometer, odometer_km 12345.6"), "{text}");
}

fn position_defects(change: impl Fn(&mut Vec<u8>)) -> (Position, Vec<(&'static str, usize)>) {
    let mut body = sample("0200-position-south-west").body;
    change(&mut body);
    let (Message::Position(position), defects) = decode(0x0200, Version::V2013, &body) else { panic!("raw") };
    (position, defects.iter().map(|d| (d.code, d.at)).collect())
}

#[test]
fn one_bad_field_does_not_hide_the_alarm() {
    assert_eq!(position_defects(|_| {}).1, []);
    let (p, d) = position_defects(|b| b[8] = 0x7f);
    assert_eq!((d, p.on_globe()), (vec![("latitude", 8)], false));
    let (p, d) = position_defects(|b| b[12..16].copy_from_slice(&(-102_000_000i32).to_be_bytes()));
    assert_eq!((d, p.lon_e6), (vec![("longitude_signed", 12)], -102_000_000));
    let (p, d) = position_defects(|b| b[22..28].copy_from_slice(&[0; 6]));
    assert_eq!((d, p.time), (vec![("time", 22)], None));
    let (_, d) = position_defects(|b| b[23] = 0x1a);
    assert_eq!(d, [("time", 22)]);
    let (p, d) = position_defects(|b| b.extend([0x30, 1, 9, 0x01, 4, 0, 0]));
    assert_eq!((d, p.items.as_slice()), (vec![("item_truncated", 31)], &[Item::RadioStrength(9)][..]));
    let (p, d) = position_defects(|b| b.extend([0x01, 2, 0, 7, 0x31, 1, 9]));
    assert_eq!(d, [("item_length", 28)]);
    assert_eq!(p.items, [Item::Raw { id: 1, bytes: vec![0, 7] }, Item::Satellites(9)]);
}

#[test]
fn a_bad_item_of_a_batch_leaves_the_others() {
    let mut body = sample("0704-batch").body;
    body[3 + 1] = 27; // The first item is one byte too short: what follows is out of step, and says so.
    let (Message::PositionBatch(_), defects) = decode(0x0704, Version::V2013, &body) else { panic!() };
    assert_eq!((defects[0].code, defects[0].at), ("batch_item", 5));
    let mut body = sample("0704-batch").body;
    body.truncate(body.len() - 1);
    let (Message::PositionBatch(batch), defects) = decode(0x0704, Version::V2013, &body) else { panic!() };
    assert_eq!((batch.positions.len(), defects[0].code), (2, "item_truncated"));
}

// -------------------------------------------------------------------------------------------------------- sub-packets

fn parts(n_bytes: usize, serial: u16) -> (Vec<u8>, Vec<Frame>) {
    let body: Vec<u8> = (0..n_bytes).map(|i| (i % 251) as u8).collect();
    let frames = split(&Header::new(0x0801, Version::V2019, "1", serial), &body).unwrap();
    (body, frames.iter().map(|f| one(f)).collect())
}

#[test]
fn parts_come_together_in_any_order_across_the_serial_wrap() {
    let (body, frames) = parts(5000, 65_533);
    let mut r = Reassembly::default();
    for i in [3, 0, 4, 0, 2] {
        let again = i == 0 && r.bytes() > 1023 * 2;
        let got = r.add(frames[i].clone(), 7).unwrap();
        assert_eq!(got == Assembled::Repeat, again);
    }
    assert_eq!(r.missing(8, 0)[0].indices, [2]);
    assert_eq!(r.missing(8, 0)[0].first_serial, 65_533);
    assert!(r.missing(8, 5).is_empty(), "a part came just now");
    let Assembled::Whole(whole) = r.add(frames[1].clone(), 9).unwrap() else { panic!() };
    assert_eq!((whole.body, whole.header.serial, whole.header.part), (body, 65_533, None));
    assert_eq!(r.add(frames[2].clone(), 10), Ok(Assembled::Repeat), "delivered once");
    assert_eq!(r.bytes(), 0);
}

#[test]
fn unfinished_messages_are_bounded() {
    let limits = ReassemblyLimits { parts_max: 8, bytes_max: 4000, messages_max: 2, timeout_us: 100 };
    let mut r = Reassembly::new(limits);
    assert_eq!(r.add(parts(9000, 0).1[0].clone(), 0), Err(PartError::Parts { total: 9, max: 8 }));
    for serial in [0, 100, 200] {
        assert_eq!(r.add(parts(3000, serial).1[0].clone(), i64::from(serial)), Ok(Assembled::Waiting(2)));
    }
    assert_eq!((r.bytes(), r.dropped()), (1023, 2), "time-outs");
    let (_, frames) = parts(6000, 300);
    for frame in &frames[..2] {
        r.add(frame.clone(), 250).unwrap();
    }
    assert_eq!(r.add(frames[2].clone(), 250), Err(PartError::Bytes { max: 4000 }));
    assert_eq!(r.bytes(), 1023);
    let mut odd = frames[0].clone();
    odd.header.part = Some((3, 4));
    assert_eq!(r.add(odd.clone(), 250), Err(PartError::Index { total: 3, index: 4 }));
    odd.header.part = Some((0, 0));
    assert_eq!(r.add(odd.clone(), 250), Err(PartError::Index { total: 0, index: 0 }));
    odd.length_ok = false;
    assert_eq!(r.add(odd, 250), Err(PartError::Length));
}

// ---------------------------------------------------------------------------------------------------- anlan decode

fn line(input: &str) -> Value {
    serde_json::from_str(&decode_jsonl_line(input, 3)).unwrap()
}

#[test]
fn every_line_is_answered() {
    let code = |input: &str| {
        let answer = line(input);
        assert_eq!((&answer["ok"], &answer["line"]), (&json!(false), &json!(3)), "{answer}");
        answer["defects"][0]["code"].as_str().unwrap().to_owned()
    };
    assert_eq!(code(""), "invalid_json");
    assert_eq!(code("[1]"), "invalid_json");
    assert_eq!(code(r#"{"recipe":"body + 70000 zero bytes"}"#), "no_bytes");
    assert_eq!(code(r#"{"hex":"7ez0"}"#), "invalid_hex");
    assert_eq!(code(r#"{"hex":""}"#), "no_frame");
    assert_eq!(code(r#"{"text":"(794104004140,1,001,BASE,2,TIME)"}"#), "noise");
    assert_eq!(code(r#"{"text":"7e0100002d0144199999990001000b00653"}"#), "odd_hex");
    assert_eq!(code(r#"{"kind":"body","hex":"00"}"#), "needs_message_id");
    assert_eq!(code(r#"{"kind":"body","message_id":"0x0200","hex":"00"}"#), "truncated");
    let answer = line(r#"{"id":"a","kind":"body","message_id":"0x8001","hex":"0001020000"}"#);
    assert_eq!((&answer["ok"], &answer["frames"][0]["body"]["answered_id"]), (&json!(true), &json!("0x0200")));
}

#[test]
fn a_line_lists_frames_in_order_with_the_fields_of_the_interface() {
    let (_, frames) = samples().into_iter().find(|(n, _)| n == "0104-parts").unwrap();
    let hex: String = frames.iter().map(|f| anlan_protocols::wire::hex(f)).collect();
    let answer = line(&json!({"id": 9, "kind": "stream", "hex": hex}).to_string());
    assert_eq!((&answer["id"], &answer["ok"]), (&json!(9), &json!(true)));
    let serials: Vec<_> = answer["frames"].as_array().unwrap().iter().map(|f| f["serial"].as_u64().unwrap()).collect();
    assert_eq!(serials, [65_535, 0, 1]);
    let first = &answer["frames"][0];
    assert_eq!((&first["message_id"], &first["phone"], &first["version"]), (&json!("0x0104"), &json!("013900000001"), &json!("2013")));
    assert_eq!(answer["frames"][2]["assembled"]["parameters"].as_array().unwrap().len(), 12);
}

// ------------------------------------------------------------------------------------------------------- properties

fn text(max: usize) -> impl Strategy<Value = String> {
    // Two bytes each at most, so `max` characters fit a field of `2 * max` bytes.
    proptest::collection::vec(proptest::sample::select("AZ09-云南测试粤".chars().collect::<Vec<_>>()), 0..=max)
        .prop_map(|c| c.into_iter().collect())
}

fn item() -> impl Strategy<Value = Item> {
    prop_oneof![
        any::<u32>().prop_map(Item::Odometer),
        any::<u16>().prop_map(Item::Fuel),
        any::<u16>().prop_map(Item::RecorderSpeed),
        any::<u16>().prop_map(Item::AlarmToConfirm),
        proptest::array::uniform30(any::<u8>()).prop_map(Item::TyrePressures),
        any::<i16>().prop_map(Item::CabinTemperature),
        (any::<u8>(), any::<Option<u32>>()).prop_map(|(place, area_id)| Item::Overspeed { place, area_id }),
        (any::<u8>(), any::<u32>(), any::<u8>()).prop_map(|(place, area_id, direction)| Item::Crossing { place, area_id, direction }),
        (any::<u32>(), any::<u16>(), any::<u8>()).prop_map(|(section_id, seconds, result)| Item::SectionTime {
            section_id,
            seconds,
            result
        }),
        any::<u32>().prop_map(Item::Signals),
        any::<u16>().prop_map(Item::Io),
        (any::<u16>(), any::<u16>()).prop_map(|(ad0, ad1)| Item::Analogue { ad0, ad1 }),
        any::<u8>().prop_map(Item::RadioStrength),
        any::<u8>().prop_map(Item::Satellites),
        // Ids that no dialect's table reads: what a table fits comes back as its fields (`what_a_table_writes_it_reads_again` has those).
        (0x80u8..0xe0, proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(id, bytes)| Item::Raw { id, bytes }),
    ]
}

fn position() -> impl Strategy<Value = Position> {
    let place = (-90_000_000i32..=90_000_000, -180_000_000i32..=180_000_000, 946_684_800i64..4_102_444_800 - 28_800);
    (place, any::<(u32, u32, u16, u16, u16)>(), proptest::collection::vec(item(), 0..6)).prop_map(
        |((lat, lon, second), (alarm, status, altitude_m, speed_tenth_kmh, direction_deg), items)| {
            let south = if lat < 0 { 4 } else { 0 };
            let west = if lon < 0 { 8 } else { 0 };
            let status = status & !12 | south | west;
            let base = Position::at(lat, lon, Timestamp::from_secs(second));
            let base = Position { alarm, status, altitude_m, speed_tenth_kmh, direction_deg, ..base };
            items.into_iter().fold(base, Position::with)
        },
    )
}

fn parameters() -> impl Strategy<Value = Vec<Parameter>> {
    let one = (0xf000u32.., proptest::collection::vec(any::<u8>(), 0..=255)).prop_map(|(id, value)| Parameter { id, value });
    proptest::collection::vec(one, 0..20)
}

fn driver(version: Version) -> impl Strategy<Value = Driver> {
    (1u8..=2, text(20), text(10), text(20), text(10), any::<[u8; 4]>(), 0i64..1_000_000_000).prop_map(
        move |(status, name, licence, issuer, card, expires, second)| {
            let time = Timestamp::from_secs(second + 1_000_000_000);
            Driver {
                status: Some(status),
                time_bcd: Some(bcd_from_time(time)),
                time: Some(time),
                read_result: Some(0),
                name: Some(name),
                licence: Some(licence),
                issuer: Some(issuer),
                expires_bcd: Some(expires),
                identity_card: (version == Version::V2019).then_some(card),
                rest: Vec::new(),
            }
        },
    )
}

fn message(version: Version) -> impl Strategy<Value = Message> {
    let answer = any::<(u16, u16, u8)>().prop_map(|(answered_serial, answered_id, result)| Answer { answered_serial, answered_id, result });
    let resend = (any::<u16>(), proptest::collection::vec(any::<u16>(), 0..200))
        .prop_map(|(first_serial, indices)| Resend { first_serial, indices });
    let editions = match version {
        Version::V2013 => vec![RegisterEdition::V2011, RegisterEdition::V2013],
        Version::V2019 => vec![RegisterEdition::V2019],
    };
    let register = (proptest::sample::select(editions), any::<(u16, u16)>(), (text(2), text(4), text(3), text(3)), 0u8..10).prop_map(
        |(edition, (province, city), (maker, model, terminal_id, plate), plate_colour)| {
            Message::Register(Register { edition, province, city, maker, model, terminal_id, plate_colour, plate })
        },
    );
    let authenticate = (text(30), text(7), text(10)).prop_map(move |(code, imei, software)| {
        let modern = version == Version::V2019;
        Message::Authenticate(Authenticate { code, imei: modern.then_some(imei), software: modern.then_some(software) })
    });
    prop_oneof![
        answer.clone().prop_map(Message::TerminalAnswer),
        answer.prop_map(Message::PlatformAnswer),
        Just(Message::Heartbeat),
        Just(Message::Unregister),
        Just(Message::QueryParameters),
        Just(Message::QueryPosition),
        resend.clone().prop_map(Message::TerminalResend),
        resend.prop_map(Message::PlatformResend),
        register,
        authenticate,
        (any::<u16>(), text(30)).prop_map(|(answered_serial, code)| {
            Message::RegisterAnswer(RegisterAnswer { answered_serial, result: 0, code: Some(code) })
        }),
        parameters().prop_map(Message::SetParameters),
        (any::<u16>(), parameters())
            .prop_map(|(answered_serial, parameters)| Message::ParametersAnswer(ParametersAnswer { answered_serial, parameters })),
        proptest::collection::vec(any::<u32>(), 0..=255).prop_map(Message::QueryParametersById),
        position().prop_map(Message::Position),
        (any::<u16>(), position())
            .prop_map(|(answered_serial, position)| Message::PositionAnswer(PositionAnswer { answered_serial, position })),
        (any::<u8>(), proptest::collection::vec(position(), 0..30))
            .prop_map(|(kind, positions)| Message::PositionBatch(PositionBatch { kind, positions })),
        (1u16.., any::<u32>()).prop_map(|(interval_s, v)| Message::Track(Track { interval_s, validity_s: Some(v) })),
        any::<(u16, u32)>().prop_map(|(alarm_serial, types)| Message::ConfirmAlarm(ConfirmAlarm { alarm_serial, types })),
        (any::<u8>(), any::<u8>(), text(600)).prop_map(move |(flags, kind, text)| {
            Message::Text(Text { flags, kind: (version == Version::V2019).then_some(kind), text })
        }),
        driver(version).prop_map(Message::Driver),
    ]
}

fn versioned() -> impl Strategy<Value = (Version, Message)> {
    proptest::sample::select(vec![Version::V2013, Version::V2019]).prop_flat_map(|v| (Just(v), message(v)))
}

/// Bytes rich in marks and escapes, which plain random bytes are not.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![any::<u8>(), proptest::sample::select(vec![0x7e, 0x7d, 0x01, 0x02, 0x00])], 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_decodes_to_the_same((version, message) in versioned(), phone in "[0-9]{1,12}", serial: u16) {
        let frames = encode::frames(&phone, version, serial, &message).unwrap();
        let stream: Vec<u8> = frames.concat();
        let mut parts = Reassembly::default();
        let mut heard = Vec::new();
        for frame in cut(&[&stream]) {
            let frame = frame.unwrap();
            prop_assert!(frame.length_ok);
            prop_assert!(frame.header.phone.ends_with(&phone));
            if let Assembled::Whole(whole) = parts.add(frame, 0).unwrap() {
                prop_assert_eq!(whole.header.serial, serial);
                heard.push(decode(whole.header.message_id, whole.header.version, &whole.body));
            }
        }
        prop_assert_eq!(heard, vec![(message, vec![])]);
    }

    #[test]
    fn chunks_do_not_matter(bytes in hostile(), cuts in proptest::collection::vec(1usize..50, 1..20)) {
        let mut chunks = Vec::new();
        let mut rest = &bytes[..];
        for n in cuts.iter().cycle() {
            if rest.is_empty() { break }
            let (head, tail) = rest.split_at((*n).min(rest.len()));
            chunks.push(head);
            rest = tail;
        }
        prop_assert_eq!(cut(&chunks), cut(&[&bytes]));
    }

    #[test]
    fn a_good_frame_is_heard_after_any_garbage(bytes in hostile()) {
        let beat = encode_frame(&Header::new(0x0002, Version::V2013, "13900000001", 5), &[]).unwrap();
        let mut input = bytes;
        input.extend(&beat);
        let last = cut(&[&input]).pop().unwrap();
        prop_assert_eq!(last.map(|f| f.header.serial), Ok(5));
    }

    #[test]
    fn shuffled_and_repeated_parts_give_the_message_once(n_bytes in 1100usize..9000, serial: u16, order in proptest::collection::vec(any::<prop::sample::Index>(), 0..40)) {
        let (body, frames) = parts(n_bytes, serial);
        let mut r = Reassembly::default();
        let mut delivered = Vec::new();
        for i in order.iter().map(|i| i.index(frames.len())).chain(0..frames.len()) {
            if let Assembled::Whole(whole) = r.add(frames[i].clone(), 0).unwrap() {
                delivered.push(whole.body);
            }
        }
        prop_assert_eq!(delivered, vec![body]);
        prop_assert_eq!(r.bytes(), 0);
    }

    #[test]
    fn no_body_panics(id in proptest::sample::select(vec![
        0x0001u16, 0x0005, 0x0100, 0x0102, 0x0104, 0x0200, 0x0201, 0x0702, 0x0704, 0x8003, 0x8004, 0x8100, 0x8103, 0x8106, 0x8202, 0x8203, 0x8300,
    ]), body in hostile(), modern: bool) {
        let version = if modern { Version::V2019 } else { Version::V2013 };
        let (message, _) = decode(id, version, &body);
        let _ = (message_json(&message, version), items_json(&body));
        prop_assert_eq!(message.id(), id);
        let _ = encode::body(&message, version);
    }

    #[test]
    fn every_text_line_gets_a_json_answer(text in ".{0,200}") {
        prop_assert!(line(&text)["ok"].is_boolean());
        let as_text = json!({ "text": &text }).to_string();
        prop_assert!(line(&as_text)["ok"].is_boolean());
        let _ = decode_human(&text);
    }

    #[test]
    fn beijing_time_reads_back(second in 946_684_800i64 - 28_800..4_102_444_800 - 28_800) {
        let t = Timestamp::from_secs(second);
        prop_assert_eq!(time_from_bcd(bcd_from_time(t)), Some(t));
    }
}
