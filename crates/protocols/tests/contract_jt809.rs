//! What every protocol folder promises, for JT/T 809: samples decode and encode back, cuts wait, damage is refused,
//! nothing panics. The samples are built here, none is anybody's frame.

use std::num::NonZeroU32;

use anlan_protocols::jt808::{Record, Value};
use anlan_protocols::jt809::{
    Cipher, Content, ESCAPED_MAX, Edition, EncodeError, Frame, FrameError, Frames, Header, Message, Vehicle, body, decode, decode_human,
    decode_jsonl_line, decode_sub, edition_of, encode_frame, message_json,
};
use proptest::prelude::*;

const CIPHER: Cipher = Cipher { m1: NonZeroU32::new(12_345_679).unwrap(), ia1: 23_456_789, ic1: 34_567_891 };
const TIME: u64 = 1_790_000_000;

fn login(edition: Edition) -> Message {
    let mut fields = vec![("user_id", Value::Number(7)), ("password", Value::Text("secret".to_owned()))];
    if edition == Edition::V2019 {
        fields.push(("access_code", Value::Number(530_400)));
    }
    fields.push(("down_address", Value::Text("192.0.2.7".to_owned())));
    fields.push(("down_port", Value::Number(9000)));
    Message::new(0x1001, Record(fields)).unwrap()
}

fn position_2011() -> Message {
    let numbers = [
        ("encrypted", 0),
        ("day", 30),
        ("month", 11),
        ("year", 2026),
        ("hour", 15),
        ("minute", 1),
        ("second", 2),
        ("longitude_deg", 102_543_000),
        ("latitude_deg", 24_351_000),
        ("speed_kmh", 62),
        ("recorder_speed_kmh", 61),
        ("odometer_km", 0x5b5a_5d5e),
        ("direction_deg", 90),
        ("altitude_m", 1640),
        ("status_bits", 3),
        ("alarm_bits", 2),
    ];
    let record = Record(numbers.map(|(name, n)| (name, Value::Number(n))).to_vec());
    Message::sub(Edition::V2011, 0x1200, Some(Vehicle::new("云F12345", 2)), 0x1202, record).unwrap()
}

fn duty_check() -> Message {
    let record = Record(vec![
        ("object_type", Value::Number(1)),
        ("object", Value::Text("530400".to_owned())),
        ("answer_s", Value::Number(60)),
        ("info_id", Value::Number(9)),
        ("text", Value::Text("请回答：一加一".to_owned())),
    ]);
    Message::sub(Edition::V2019, 0x9300, None, 0x9301, record).unwrap()
}

fn samples() -> Vec<(Edition, Message)> {
    let empty = |business| Message::new(business, Record::default()).unwrap();
    vec![
        (Edition::V2011, login(Edition::V2011)),
        (Edition::V2019, login(Edition::V2019)),
        (Edition::V2011, empty(0x1005)),
        (Edition::V2019, empty(0x9006)),
        (Edition::V2011, position_2011()),
        (Edition::V2019, duty_check()),
    ]
}

fn frame(edition: Edition, message: &Message, encrypt: bool) -> Vec<u8> {
    let mut header = Header::new(message.business, 530_400, 5, TIME);
    if encrypt {
        (header.encrypt, header.key) = (1, 77);
    }
    encode_frame(&header, edition, &body(message, edition).unwrap(), Some(&CIPHER)).unwrap()
}

fn cut(edition: Edition, chunks: &[&[u8]]) -> Vec<Result<Frame, FrameError>> {
    let mut frames = Frames::new(edition);
    let mut found = Vec::new();
    for chunk in chunks {
        frames.push(chunk);
        found.extend(&mut frames);
    }
    found
}

#[test]
fn every_sample_decodes_and_encodes_back() {
    for (edition, message) in samples() {
        for encrypt in [false, true] {
            let bytes = frame(edition, &message, encrypt);
            assert!(!bytes[1..bytes.len() - 1].iter().any(|b| matches!(b, 0x5b | 0x5d)), "marks are escaped");
            let [Ok(read)] = &cut(edition, &[&bytes])[..] else { panic!("{message:?}") };
            assert!(read.length_ok && read.escaped);
            assert_eq!(read.decode(Some(&CIPHER)), (message.clone(), Vec::new()));
            assert_eq!(read.header.time, (edition == Edition::V2019).then_some(TIME));
            let known = read.decode(None).0.is_known();
            assert_eq!(known, !encrypt, "without its cipher an encrypted body is kept raw");
        }
        let bytes = frame(edition, &message, false);
        assert_eq!(edition_of(&bytes[1..bytes.len() - 1]), Ok(edition), "{message:?}");
    }
}

#[test]
fn half_a_frame_waits_for_the_rest() {
    for (edition, message) in samples() {
        let bytes = frame(edition, &message, false);
        let whole = cut(edition, &[&bytes]);
        for at in 0..bytes.len() {
            let (head, tail) = bytes.split_at(at);
            assert!(cut(edition, &[head]).is_empty(), "cut at {at}");
            assert_eq!(cut(edition, &[head, tail]), whole, "cut at {at}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(cut(edition, &single), whole);
    }
}

#[test]
fn a_flipped_bit_is_never_accepted() {
    for (edition, message) in samples() {
        let bytes = frame(edition, &message, false);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                let accepted = cut(edition, &[&damaged]).into_iter().flatten().any(|f| f.length_ok);
                assert!(!accepted, "bit {bit} of byte {at}");
            }
        }
    }
}

#[test]
fn what_is_thrown_away_is_told() {
    let beat = frame(Edition::V2011, &Message::new(0x1005, Record::default()).unwrap(), false);
    let noise = [&b"hello"[..], &beat, b"\r\n", &beat[..9], &beat, b"]]", &beat].concat();
    let found = cut(Edition::V2011, &[&noise]);
    let errors: Vec<_> = found.iter().filter_map(|f| f.clone().err()).collect();
    assert_eq!(errors, [FrameError::Noise { bytes: 5 }, FrameError::NoEnd { bytes: 9 }, FrameError::Noise { bytes: 2 }]);
    assert_eq!(found.iter().flatten().count(), 3);
    let mut frames = Frames::new(Edition::V2011);
    frames.push(&noise);
    assert_eq!((frames.by_ref().count(), frames.skipped(), frames.pending()), (6, 16, 0));
}

#[test]
fn a_sender_that_never_ends_costs_two_mebibytes() {
    let mut frames = Frames::new(Edition::V2011);
    frames.push(&[0x5b]);
    for _ in 0..100 {
        frames.push(&[0; 50_000]);
    }
    assert!(frames.pending() <= 2 * ESCAPED_MAX);
    // What found no room is told, and so is the frame that never ended.
    assert_eq!(frames.next(), Some(Err(FrameError::Noise { bytes: 5_000_001 - 2 * ESCAPED_MAX })));
    assert_eq!(frames.next(), Some(Err(FrameError::Oversized)));
    assert_eq!(frames.skipped(), 5_000_001);
    frames.push(&frame(Edition::V2011, &login(Edition::V2011), false));
    assert!(frames.any(|f| f.is_ok()));
    let long = encode_frame(&Header::new(0x1200, 1, 1, 0), Edition::V2011, &vec![0; ESCAPED_MAX], None);
    assert!(matches!(long, Err(EncodeError::Long { .. })));
}

#[test]
fn a_wrong_length_is_shown_and_not_used() {
    let bytes = frame(Edition::V2011, &login(Edition::V2011), false);
    let mut plain = anlan_protocols::jt809::unescape(&bytes[1..bytes.len() - 1]).unwrap();
    plain.truncate(plain.len() - 2);
    plain[3] ^= 1;
    plain.extend(anlan_protocols::jt809::crc16(&plain).to_be_bytes());
    let wire = [&[0x5b][..], &anlan_protocols::jt809::escape(&plain), &[0x5d]].concat();
    let [Ok(read)] = &cut(Edition::V2011, &[&wire])[..] else { panic!("one frame") };
    assert!(!read.length_ok);
    let (message, defects) = read.decode(None);
    assert!(!message.is_known() && defects[0].code == "length");
}

#[test]
fn unknown_bytes_behind_known_fields_are_kept() {
    let bytes = [&body(&login(Edition::V2011), Edition::V2011).unwrap()[..], &[1, 2, 3]].concat();
    let (message, defects) = decode(Edition::V2011, 0x1001, &bytes);
    let Content::Fields { rest, .. } = &message.content else { panic!("known") };
    assert_eq!((&rest[..], defects[0].code), (&[1u8, 2, 3][..], "trailing"));
    assert_eq!(body(&message, Edition::V2011).unwrap(), bytes);
    // Text behind NUL, and text that is no GBK, come back as they were.
    let mut odd = body(&login(Edition::V2011), Edition::V2011).unwrap();
    odd[5] = 0;
    odd[6] = 0xff;
    assert_eq!(body(&decode(Edition::V2011, 0x1001, &odd).0, Edition::V2011).unwrap(), odd);
}

#[test]
fn people_can_read_it() {
    let hex = anlan_protocols::wire::hex(&frame(Edition::V2011, &position_2011(), false));
    let text = decode_human(&hex);
    assert!(text.contains("云F12345") && text.contains("latitude_deg: 24.351") && text.contains("0x1202"), "{text}");
    let answer: serde_json::Value = serde_json::from_str(&decode_jsonl_line(&format!("{{\"id\":1,\"hex\":\"{hex}\"}}"), 4)).unwrap();
    assert_eq!((&answer["ok"], &answer["frames"][0]["body"]["year"]), (&serde_json::json!(true), &serde_json::json!(2026)));
    assert_eq!(message_json(&duty_check(), Edition::V2019)["answer_s"], 60);
}

proptest! {
    #[test]
    fn any_bytes_are_cut_without_a_panic(chunks in prop::collection::vec(prop::collection::vec(prop_oneof![any::<u8>(), Just(0x5b), Just(0x5d), Just(0x5a), Just(0x5e)], 0..80), 0..8)) {
        let mut frames = Frames::guessing();
        let mut told = 0u64;
        for chunk in &chunks {
            frames.push(chunk);
            for frame in frames.by_ref() {
                if let Err(FrameError::Noise { bytes } | FrameError::NoEnd { bytes }) = frame {
                    told += bytes as u64;
                }
            }
        }
        prop_assert!(told <= frames.skipped());
        let _ = decode_human(&anlan_protocols::wire::hex(&chunks.concat()));
    }

    #[test]
    fn any_body_comes_back_as_it_was(bytes in prop::collection::vec(any::<u8>(), 0..300), id in prop_oneof![0x1000u16..0x1c00, 0x9000u16..0x9c00], sub in prop_oneof![0x1200u16..0x120f, 0x9200u16..0x920e, 0x1301u16..0x1304, 0x1401u16..0x1414, 0x1501u16..0x1506, 0x9501u16..0x9506, 0x1901u16..0x1903], modern: bool) {
        let edition = if modern { Edition::V2019 } else { Edition::V2011 };
        let (message, _) = decode(edition, id, &bytes);
        prop_assert_eq!(&body(&message, edition).unwrap(), &bytes);
        let (content, _) = decode_sub(edition, sub, &bytes);
        let whole = body(&Message { business: sub, part: None, content }, edition).unwrap();
        prop_assert_eq!(&whole, &bytes);
        let _ = message_json(&message, edition);
        // The same behind a vehicle and a length.
        let prefixed = [&[b'A'; 21][..], &[2], &sub.to_be_bytes(), &(bytes.len() as u32).to_be_bytes(), &bytes].concat();
        let (message, defects) = decode(edition, 0x1200, &prefixed);
        prop_assert_eq!(body(&message, edition).unwrap(), prefixed);
        prop_assert!(defects.iter().all(|d| d.code != "length"));
    }

    #[test]
    fn any_frame_comes_back_as_it_was(bytes in prop::collection::vec(any::<u8>(), 0..300), business: u16, serial: u32, access_code: u32, key: u32, time: u64, encrypt in 0u8..2, modern: bool) {
        let edition = if modern { Edition::V2019 } else { Edition::V2011 };
        let header = Header { encrypt, key, time: modern.then_some(time), ..Header::new(business, access_code, serial, time) };
        let wire = encode_frame(&header, edition, &bytes, Some(&CIPHER)).unwrap();
        let found = cut(edition, &[&wire, &wire]);
        prop_assert_eq!(found.len(), 2);
        let frame = found[0].clone().unwrap();
        prop_assert!(frame.length_ok);
        prop_assert_eq!(&frame.header, &header);
        let (message, _) = frame.decode(Some(&CIPHER));
        prop_assert_eq!(body(&message, edition).unwrap(), bytes);
    }
}
