//! JT/T 809 against frames and expectations of another implementation.
//!
//! The files are not part of this repository: `$ANLAN_SHARED/vectors/jt809*.jsonl`. Unset: every test prints `skipped: 1`
//! and passes. Agreement is counted and printed; whatever disagrees must stand in a table below with its reason.
//! Start at [`every_frame_agrees`] and [`what_upstream_expects`]; the damaged file has its own test.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use anlan_protocols::jt808::{self, Record, Value as Field};
use anlan_protocols::jt809::{
    Cipher, Content, Edition, Frame, FrameError, Frames, Message, body, decode, decode_human, decode_jsonl_line, decode_sub, encode_frame,
    unescape,
};
use serde_json::Value;

const FILES: [&str; 2] = ["jt809.jsonl", "jt809-jt1078.jsonl"];

fn lines(name: &str) -> Option<Vec<String>> {
    let Some(dir) = std::env::var_os("ANLAN_SHARED") else {
        println!("skipped: 1");
        return None;
    };
    let path = std::path::Path::new(&dir).join("vectors").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Some(text.lines().map(str::to_owned).collect())
}

fn answer(line: &str, n: usize) -> Value {
    let answer: Value = serde_json::from_str(&decode_jsonl_line(line, n as u64)).expect("the answer is JSON");
    assert_eq!(answer["line"], n, "{answer}");
    assert!(answer["ok"].is_boolean() && answer["frames"].is_array() && answer["defects"].is_array(), "{answer}");
    assert!(answer["ok"] == true || !answer["defects"].as_array().unwrap().is_empty(), "a refusal says why: {answer}");
    answer
}

fn unhex(text: &str) -> Vec<u8> {
    anlan_protocols::wire::unhex(text).unwrap().0
}

fn cut(bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Frames::guessing();
    frames.push(bytes);
    frames.flatten().collect()
}

fn cipher(m1: u32, ia1: u32, ic1: u32) -> Cipher {
    Cipher { m1: NonZeroU32::new(m1).unwrap(), ia1, ic1 }
}

/// The constants of the tests the frames are from: the one of `JT809_0x1001EncryptPackageTest`, that of `GuoJian001Test`.
fn ciphers() -> [Cipher; 2] {
    [cipher(30_000_000, 20_000_000, 20_000_000), cipher(56_107_078, 37_382_110, 50_361_430)]
}

fn by_known_cipher(frame: &Frame) -> (Message, Option<Cipher>) {
    if frame.header.encrypt == 0 {
        return (frame.decode(None).0, None);
    }
    for cipher in ciphers() {
        let (message, defects) = frame.decode(Some(&cipher));
        if message.is_known() && !defects.iter().any(|d| ["length", "trailing", "truncated"].contains(&d.code)) {
            return (message, Some(cipher));
        }
    }
    (frame.decode(Some(&ciphers()[1])).0, Some(ciphers()[1]))
}

/// Frames that do not come out as the same bytes again.
const NOT_BYTE_EQUAL: &[(&str, &str)] = &[
    ("jt809-7a221e970e6a", "encrypted, came without escapes (5A E1 in it); length and CRC hold as it stands, we escape"),
    ("jt809-8d0c34ae87e2", "the same"),
    ("jt809-b49b68b1b1d0", "the same"),
    ("jt809-93d0f2ca37ac", "the same"),
];

#[test]
fn every_frame_agrees() {
    let (mut n_lines, mut n_frames, mut n_agree, mut n_refused, mut n_refused_agree, mut n_equal) = (0, 0, 0, 0, 0, 0);
    let mut unescaped = BTreeSet::new();
    let mut problems = Vec::new();
    for file in FILES {
        let Some(lines) = lines(file) else { return };
        for (n, line) in lines.iter().enumerate() {
            n_lines += 1;
            let vector: Value = serde_json::from_str(line).unwrap();
            let id = vector["id"].as_str().unwrap_or_default().to_owned();
            let answer = answer(line, n + 1);
            let derived = &vector["derived"];
            if derived.is_null() {
                continue;
            }
            let shown = answer["frames"].as_array().unwrap();
            if derived["crc_ok"] != true {
                n_refused += 1;
                n_refused_agree += u32::from(answer["ok"] == false && shown.is_empty());
                continue;
            }
            n_frames += 1;
            let [shown] = &shown[..] else {
                problems.push(format!("{id}: {answer}"));
                continue;
            };
            let pairs = [
                ("length", "msg_length"),
                ("serial", "sn"),
                ("message_id", "business_type"),
                ("access_code", "access_code"),
                ("protocol_version", "version"),
                ("encrypt", "encrypt"),
                ("key", "key"),
            ];
            let differ: Vec<_> = pairs.iter().filter(|(ours, theirs)| shown[*ours] != derived[*theirs]).collect();
            let bytes = unhex(vector["hex"].as_str().unwrap());
            let [frame] = &cut(&bytes)[..] else { panic!("{id}: not one frame") };
            let between = &bytes[1..bytes.len() - 1];
            let plain = if frame.escaped { unescape(between).unwrap() } else { between.to_vec() };
            let sum = anlan_protocols::wire::hex(&plain[plain.len() - 2..]);
            let length_ok = frame.length_ok == (derived["length_ok"] == true);
            if differ.is_empty() && length_ok && derived["crc_field"] == sum.as_str() {
                n_agree += 1;
            } else {
                problems.push(format!("{id}: {differ:?} {shown}"));
            }
            let (message, cipher) = by_known_cipher(frame);
            let written = body(&message, frame.edition).unwrap();
            let equal = encode_frame(&frame.header, frame.edition, &written, cipher.as_ref()).unwrap() == bytes;
            if !frame.escaped {
                unescaped.insert(id.clone());
            }
            n_equal += u32::from(equal);
            let known = NOT_BYTE_EQUAL.iter().any(|(i, _)| *i == id);
            if equal == known {
                problems.push(format!("{id}: written back equal {equal}, listed {known}, escaped {}", frame.escaped));
            }
        }
    }
    println!(
        "figure: jt809 frames: {n_lines} lines answered; {n_agree}/{n_frames} frames agree on length, serial, business type, access code, \
         version, encrypt, key and CRC; {n_refused_agree}/{n_refused} broken frames refused by both; {n_equal}/{n_frames} frames write \
         back to the same bytes, {} listed; {} frames came without escapes",
        NOT_BYTE_EQUAL.len(),
        unescaped.len()
    );
    assert!(problems.is_empty(), "{} unexplained:\n{}", problems.len(), problems.join("\n"));
    assert_eq!((n_agree, n_refused_agree), (n_frames, n_refused));
    assert!(n_frames > 20);
}

// ---------------------------------------------------------------------------------------------- upstream expectations

/// All values of what we decoded, as upstream's tests would write them.
#[derive(Default)]
struct Leaves(BTreeSet<String>);

impl Leaves {
    fn add(&mut self, value: impl ToString) {
        self.0.insert(value.to_string());
    }
    fn bytes(&mut self, bytes: &[u8]) {
        self.add(anlan_protocols::wire::hex(bytes));
        self.add(anlan_protocols::wire::text(bytes));
        // Some platforms send a number where others send digits.
        if bytes.len() <= 11 {
            self.add(bytes.iter().fold(0u128, |sum, b| sum << 8 | u128::from(*b)));
        }
        if let Ok(bcd) = <[u8; 6]>::try_from(bytes) {
            let h = anlan_protocols::wire::hex(&bcd);
            self.add(format!("20{}-{}-{} {}:{}:{}", &h[..2], &h[2..4], &h[4..6], &h[6..8], &h[8..10], &h[10..12]));
        }
    }
    fn number(&mut self, n: u64) {
        self.add(n);
        self.add(format!("{n:X}"));
        if (900_000_000..4_000_000_000).contains(&n) {
            let beijing = i64::try_from(n).unwrap() + 8 * 3600;
            let t = anlan_model::Timestamp::from_micros(beijing * 1_000_000).to_string();
            self.add(t[..19].replace('T', " "));
            self.add(&t[..10]);
        }
    }
    fn record(&mut self, record: &Record) {
        for (_, value) in &record.0 {
            match value {
                Field::Number(n) => self.number(*n),
                Field::Text(text) => {
                    self.add(text);
                    self.add(anlan_protocols::wire::text_bytes(text).len());
                    self.bytes(&anlan_protocols::wire::text_bytes(text));
                }
                Field::Bytes(bytes) => self.bytes(bytes),
                Field::Position(p) => {
                    for n in [p.alarm, p.status, p.lat_e6.unsigned_abs(), p.lon_e6.unsigned_abs()] {
                        self.add(n);
                    }
                    for n in [p.altitude_m, p.speed_tenth_kmh, p.direction_deg] {
                        self.add(n);
                    }
                    self.bytes(&p.time_bcd);
                    for item in &p.items {
                        match item {
                            jt808::Item::Odometer(n) => self.add(n),
                            jt808::Item::Fuel(n) => self.add(n),
                            _ => {}
                        }
                    }
                }
                Field::Record(inner) => self.record(inner),
                Field::List(list) => {
                    self.add(list.len());
                    list.iter().for_each(|r| self.record(r));
                }
            }
        }
    }
    fn content(&mut self, content: &Content) {
        match content {
            Content::Fields { record, .. } => self.record(record),
            Content::Raw(bytes) => self.bytes(bytes),
        }
    }
    fn message(&mut self, message: &Message, body: &[u8]) {
        if let Some(part) = &message.part {
            self.add(part.sub);
            self.add(body.len() - if part.vehicle.is_some() { 28 } else { 6 });
            if let Some(vehicle) = &part.vehicle {
                self.add(vehicle.plate());
                self.add(vehicle.colour);
            }
        }
        self.content(&message.content);
    }
    fn header(&mut self, frame: &Frame) {
        let h = &frame.header;
        for n in [h.serial, h.access_code, h.key, frame.length, u32::from(h.business), u32::from(h.encrypt)] {
            self.add(n);
        }
        self.add(format!("{}.{}.{}", h.version[0], h.version[1], h.version[2]));
        h.time.iter().for_each(|t| self.number(*t));
    }
}

/// `(name, value)` of what upstream's test says; `None` where it is an expression of its own code.
fn expectations(expect: &Value) -> Vec<(String, Option<String>)> {
    let mut list = Vec::new();
    for pair in expect["fields"].as_array().into_iter().flatten() {
        list.push((pair[0].as_str().unwrap().to_owned(), literal(pair[1].as_str().unwrap())));
    }
    for pair in expect["asserts"].as_array().into_iter().flatten() {
        let text = pair[1].as_str().unwrap();
        match text.rsplit_once(", ") {
            Some((value, place)) => list.push((place.rsplit('.').next().unwrap_or(place).to_owned(), literal(value))),
            None => list.push((text.to_owned(), None)),
        }
    }
    list
}

fn literal(text: &str) -> Option<String> {
    let text = text.trim();
    let text = ["(uint)", "(ushort)", "(byte)"].iter().fold(text, |t, cast| t.strip_prefix(cast).unwrap_or(t));
    for call in ["DateTime.Parse(\"", "Convert.ToDateTime(\""] {
        if let Some(rest) = text.strip_prefix(call) {
            return rest.strip_suffix("\")").map(str::to_owned);
        }
    }
    if let Some(rest) = text.strip_prefix('"') {
        return rest.strip_suffix('"').map(|t| t.trim_end_matches('\0').to_owned());
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok().map(|n| n.to_string());
    }
    if let Some(n) = text.strip_prefix("new byte[").and_then(|t| t.strip_suffix(']')).and_then(|t| t.parse::<usize>().ok()) {
        // A text field full of NUL.
        return (n > 0).then(String::new);
    }
    if text.starts_with("new byte[") {
        let inner = text.split_once('{')?.1.split_once('}')?.0;
        let bytes: Option<Vec<u8>> = inner
            .split(',')
            .map(|b| b.trim())
            .map(|b| b.strip_prefix("0x").map_or_else(|| b.parse().ok(), |h| u8::from_str_radix(h, 16).ok()))
            .collect();
        return bytes.map(|b| anlan_protocols::wire::hex(&b));
    }
    let digits = text.trim_end_matches(['u', 'U', 'L']);
    (!digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())).then(|| digits.to_owned())
}

/// Which message a body is, by the file and test it is from: business, sub-business if the body begins after its length.
fn of_body(vector: &Value) -> Option<(Edition, Option<u16>, Option<u16>)> {
    let path = vector["source"]["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let test = vector["source"]["test"].as_str().unwrap();
    let edition = if test.contains("2019") { Edition::V2019 } else { Edition::V2011 };
    if path == "Demo5.cs" {
        return Some((edition, None, Some(0x1202)));
    }
    if path == "JT809_JT1078_AnalyzeTest.cs" {
        let hex = vector["hex"].as_str().unwrap();
        let sub = u16::from_str_radix(&hex[44..48], 16).unwrap();
        return Some((edition, Some(sub & 0xff00), None));
    }
    let name = path.strip_suffix("Test.cs")?.trim_start_matches("JT809_").trim_start_matches("JT1078_");
    let ids: Vec<u16> = name.split('_').filter_map(|id| u16::from_str_radix(id.strip_prefix("0x")?, 16).ok()).collect();
    match ids[..] {
        [_, sub] => Some((edition, None, Some(sub))),
        [business] => Some((edition, Some(business), None)),
        _ => None,
    }
}

/// Values of upstream that are not what the bytes say.
const DISAGREE: &[(&str, &str, &str)] = &[
    ("jt809-ae9c9b6e8128", "SourceDataType", "upstream reads 1206 of 2019 with the source before the length, against all others; raw here"),
    ("jt809-ae9c9b6e8128", "SourceMsgSN", "the same"),
    ("jt809-829a60044d1a", "InfoID", "upstream's test sets it, 1301 of 2019 does not carry it"),
    ("jt809-45e7e9cd5700", "ObjectID", "upstream's test sets it, its 9301 of 2011 does not carry it"),
];

/// Bodies that are read by no layout.
const RAW: &[(&str, &str)] = &[
    ("jt809-b49b68b1b1d0", "1402 of 2019 with one time less than upstream's, in milliseconds: a dialect, nobody describes it"),
    ("jt809-93d0f2ca37ac", "120E: a route of JT/T 808 after something else, no layout is described"),
    ("jt809-ae9c9b6e8128", "1206 of 2019: see the values that disagree"),
];

#[test]
fn what_upstream_expects() {
    let mut problems = Vec::new();
    let mut unused: BTreeSet<_> = DISAGREE.iter().map(|(id, name, _)| (*id, *name)).collect();
    for file in FILES {
        let Some(lines) = lines(file) else { return };
        let (mut n_bodies, mut n_known, mut n_equal, mut n_agree, mut n_listed, mut n_expressions, mut n_other) = (0, 0, 0, 0, 0, 0, 0);
        for line in &lines {
            let vector: Value = serde_json::from_str(line).unwrap();
            let id = vector["id"].as_str().unwrap();
            let bytes = unhex(vector["hex"].as_str().unwrap());
            let mut leaves = Leaves::default();
            let (known, equal, defects);
            if vector["kind"] == "frame" {
                let [frame] = &cut(&bytes)[..] else {
                    n_other += 1;
                    continue;
                };
                let (message, cipher) = by_known_cipher(frame);
                let written = body(&message, frame.edition).unwrap();
                let mut plain = frame.body.clone();
                cipher.iter().for_each(|c| c.apply(frame.header.key, &mut plain));
                equal = written == plain;
                known = message.is_known();
                defects = decode(frame.edition, frame.header.business, &plain).1;
                leaves.header(frame);
                leaves.message(&message, &written);
            } else {
                match of_body(&vector) {
                    Some((edition, Some(business), None)) => {
                        let (message, found) = decode(edition, business, &bytes);
                        equal = body(&message, edition).is_ok_and(|b| b == bytes);
                        known = message.is_known();
                        defects = found;
                        leaves.message(&message, &bytes);
                        leaves.add(business);
                    }
                    Some((edition, _, Some(sub))) => {
                        let (content, found) = decode_sub(edition, sub, &bytes);
                        known = matches!(content, Content::Fields { .. });
                        leaves.content(&content);
                        let message = Message { business: 0x1000, part: None, content };
                        equal = body(&message, edition).is_ok_and(|b| b == bytes);
                        defects = found;
                    }
                    _ => {
                        n_other += 1;
                        continue;
                    }
                }
            }
            n_bodies += 1;
            n_known += u32::from(known);
            n_equal += u32::from(equal);
            let listed = RAW.iter().any(|(i, _)| *i == id);
            if !equal || (known && defects.is_empty()) == listed {
                problems.push(format!("{id}: known {known}, equal {equal}, listed {listed}, {defects:?}: {:?}", vector["source"]["test"]));
            }
            for (name, value) in expectations(&vector["expect"]) {
                match value {
                    None => n_expressions += 1,
                    Some(value) if leaves.0.contains(&value) => n_agree += 1,
                    Some(_) if DISAGREE.iter().any(|(i, n, _)| *i == id && *n == name) => {
                        unused.retain(|(i, n)| *i != id || *n != name);
                        n_listed += 1;
                    }
                    Some(value) => problems.push(format!("{id}: {name} should be {value}, has {:?}", leaves.0)),
                }
            }
        }
        println!(
            "figure: {file}: {n_bodies} bodies of {} lines ({n_other} lines are about something else), {n_known} read by a layout, \
             {n_equal} write back to the same bytes; {n_agree} values agree, {n_listed} differ for a listed reason, {n_expressions} \
             expressions of upstream's code not comparable",
            lines.len()
        );
    }
    assert!(problems.is_empty(), "{} unexplained:\n{}", problems.len(), problems.join("\n"));
    assert!(unused.is_empty(), "listed but agreeing: {unused:?}");
}

/// The lines that are no message: a header alone, the cipher, the escapes.
#[test]
fn headers_cipher_and_escapes_agree() {
    let Some(lines) = lines("jt809.jsonl") else { return };
    let (mut n_headers, mut n_ciphers, mut n_escapes) = (0, 0, 0);
    for line in &lines {
        let vector: Value = serde_json::from_str(line).unwrap();
        if vector["kind"] != "body" {
            continue;
        }
        let bytes = unhex(vector["hex"].as_str().unwrap());
        match vector["source"]["path"].as_str().unwrap().rsplit('/').next().unwrap() {
            "JT809HeaderTest.cs" => {
                // As a frame without a body; its own length field (24) is that of no frame, so it is only read.
                let mut plain = bytes.clone();
                plain.extend(anlan_protocols::jt809::crc16(&bytes).to_be_bytes());
                let between = anlan_protocols::jt809::escape(&plain);
                let frame = anlan_protocols::jt809::read_frame(&between, Edition::V2011).unwrap();
                let h = frame.header;
                assert_eq!((frame.length, h.serial, h.business, h.access_code, h.encrypt, h.key), (24, 1024, 0x9600, 1200, 0, 0));
                n_headers += 1;
            }
            "JT809EncryptTest.cs" => {
                let mut plain = bytes.clone();
                ciphers()[0].apply(256_178, &mut plain);
                assert_eq!(plain, [1, 2, 3, 4, 5, 6, 7]);
                n_ciphers += 1;
            }
            "JT809MessagePackReaderTest.cs" => {
                // A 5E that is no escape stands in it (upstream lets that pass); the rest agrees.
                assert_eq!(unescape(&bytes), Err(FrameError::BadEscape { at: 8, byte: 0 }));
                assert_eq!(unescape(&bytes[..8]).unwrap(), [0x5b, 0, 0x5a, 0x48, 0x5e]);
                assert_eq!(unescape(&bytes[10..]).unwrap(), [0x5d]);
                n_escapes += 1;
            }
            _ => {}
        }
    }
    println!("figure: jt809: {n_headers} headers alone, {n_ciphers} cipher texts and {n_escapes} escaped texts agree");
    assert!(n_headers > 0 && n_ciphers > 0 && n_escapes > 0);
}

// --------------------------------------------------------------------------------------------------------- damaged

#[test]
fn damaged_frames_are_refused() {
    let Some(lines) = lines("jt809-damaged.jsonl") else { return };
    let mut counts = BTreeMap::<String, u32>::new();
    for (n, line) in lines.iter().enumerate() {
        let vector: Value = serde_json::from_str(line).unwrap();
        let answer = answer(line, n + 1);
        let mutation = vector["mutation"].as_str().unwrap();
        let codes: Vec<&str> = answer["defects"].as_array().unwrap().iter().filter_map(|d| d["code"].as_str()).collect();
        let (ok, n_frames, code) = match mutation {
            "bad-crc" | "length-2G" => (false, 0, Some("checksum")),
            "no-end" => (false, 0, Some("incomplete")),
            "two-glued" => (true, 2, None),
            "bad-escape" => (false, 0, Some("escape")),
            other => panic!("a new kind of damage: {other}"),
        };
        let n_shown = answer["frames"].as_array().unwrap().len();
        let of_unescaped = ["escape", "checksum"].iter().any(|c| codes.contains(c));
        assert_eq!((answer["ok"] == true, n_shown), (ok, n_frames), "{mutation}: {answer}");
        assert!(code.is_none_or(|code| codes.contains(&code) || of_unescaped), "{mutation}: {answer}");
        let hex = vector["hex"].as_str().unwrap();
        assert!(!decode_human(hex).is_empty());
        // A good frame after the damage is heard.
        let good = encode_frame(&anlan_protocols::jt809::Header::new(0x1005, 1, 2, 0), Edition::V2011, &[], None).unwrap();
        let after = cut(&[unhex(hex), good].concat());
        assert_eq!(after.len(), n_frames + 1, "{mutation}");
        *counts.entry(mutation.to_owned()).or_default() += 1;
    }
    println!(
        "figure: jt809 damaged: {} lines answered, none accepted that should not be, none refused that should be heard: {counts:?}",
        lines.len()
    );
}

#[test]
fn nothing_panics_on_any_body() {
    let mut n = 0;
    for file in ["jt809.jsonl", "jt809-jt1078.jsonl", "jt809-damaged.jsonl"] {
        let Some(lines) = lines(file) else { return };
        let bodies: BTreeSet<Vec<u8>> =
            lines.iter().map(|l| unhex(serde_json::from_str::<Value>(l).unwrap()["hex"].as_str().unwrap())).collect();
        for bytes in &bodies {
            for edition in [Edition::V2011, Edition::V2019] {
                for business in (0x1000..0x1c00).chain(0x9000..0x9c00) {
                    let (message, _) = decode(edition, business, bytes);
                    assert_eq!(&body(&message, edition).unwrap(), bytes);
                    let _ = decode_sub(edition, business, bytes);
                    n += 1;
                }
            }
        }
    }
    println!("figure: jt809: {n} bodies read as every message, none panics, all write back to the same bytes");
}
