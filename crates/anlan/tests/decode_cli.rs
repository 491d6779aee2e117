//! `anlan decode` as people and programs use it: the binary, lines in, lines out, against frames of other implementations.
//!
//! The files are not part of this repository: `$ANLAN_SHARED/vectors`. What the decoders say about bodies is tested beside them
//! (`crates/protocols/tests`); here it is that every line is answered, that headers agree, and that nothing broken is called good.

mod common;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use common::shared;
use serde_json::Value;

/// Feeds `lines` to `anlan decode PROTOCOL --jsonl`; one answer per line, in order.
fn decode(protocol: &str, lines: &[String]) -> Vec<Value> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_anlan"))
        .args(["decode", protocol, "--jsonl"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start anlan");
    let (mut stdin, input) = (child.stdin.take().expect("stdin"), lines.join("\n"));
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).expect("it reads everything"));
    let output = child.wait_with_output().expect("it ends");
    writer.join().unwrap();
    assert!(output.status.success(), "{:?}", output.status);
    let answers: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect();
    assert_eq!(answers.len(), lines.len(), "one line out per line in");
    for (n, (answer, line)) in answers.iter().zip(lines).enumerate() {
        assert_eq!(answer["line"], n + 1, "{answer}");
        let asked: Value = serde_json::from_str(line).unwrap_or_default();
        assert_eq!(answer["id"], asked["id"], "{answer}");
        assert!(answer["ok"].is_boolean() && answer["frames"].is_array() && answer["defects"].is_array(), "{answer}");
        assert!(answer["ok"] == true || !answer["defects"].as_array().unwrap().is_empty(), "a refusal says why: {answer}");
    }
    answers
}

fn lines(dir: &Path, name: &str) -> Vec<String> {
    std::fs::read_to_string(dir.join("vectors").join(name)).expect("the vectors").lines().map(str::to_owned).collect()
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).expect("JSON")
}

/// `derived` takes each of these lines for one frame although it is several; we list the frames that are there.
const SEVERAL_FRAMES: &[(&str, &str)] = &[
    ("jt808-d5794a3debc9", "two frames, the first without a checksum; derived reads both as one"),
    ("jt808-47d8e759a56a", "three frames, the second too short; derived reads all as one"),
];

#[test]
fn jt808_headers_agree_on_id_phone_and_serial() {
    let files = ["jt808.jsonl", "jt808-jt1078.jsonl", "jt808-subiao.jsonl", "jt808-yuebiao.jsonl", "jt808-gps51.jsonl"];
    let Some(dir) = shared(files.len()) else { return };
    let (mut n_lines, mut n_frames, mut n_agree, mut n_broken, mut n_refused) = (0, 0, 0, 0, 0);
    let mut disagree = Vec::new();
    for file in files {
        let lines = lines(&dir, file);
        n_lines += lines.len();
        for (answer, vector) in decode("jt808", &lines).iter().zip(lines.iter().map(|l| parse(l))) {
            let id = vector["id"].as_str().unwrap_or_default();
            let derived: Vec<&Value> = match &vector["derived"] {
                Value::Null => continue,
                Value::Array(list) => list.iter().collect(),
                one => vec![one],
            };
            if SEVERAL_FRAMES.iter().any(|(known, _)| *known == id) {
                assert!(answer["ok"] == true && !answer["frames"].as_array().unwrap().is_empty(), "{answer}");
                continue;
            }
            let sound: Vec<&Value> = derived.iter().copied().filter(|d| d["checksum_ok"] == true).collect();
            n_frames += sound.len();
            n_broken += derived.len() - sound.len();
            let frames = answer["frames"].as_array().unwrap();
            if frames.is_empty() && sound.is_empty() && answer["ok"] == false {
                n_refused += derived.len();
            }
            let header = |f: &Value, id: &str| (f[id].clone(), f["phone"].clone(), f["serial"].clone());
            let ours: Vec<_> = frames.iter().map(|f| header(f, "message_id")).collect();
            let theirs: Vec<_> = sound.iter().map(|d| header(d, "msg_id")).collect();
            if ours == theirs { n_agree += sound.len() } else { disagree.push(format!("{id}: {ours:?} but {theirs:?}")) }
        }
    }
    println!(
        "figure: decode jt808: {n_lines} lines answered, {n_agree}/{n_frames} frames agree on message id, phone and serial, \
         {n_refused}/{n_broken} broken frames refused, {} lines of several frames explained",
        SEVERAL_FRAMES.len()
    );
    assert!(disagree.is_empty(), "{}", disagree.join("\n"));
    assert!(n_refused == n_broken && n_frames > 300);
}

/// Damage done to frames that were unsound before: refused whatever the line expects.
const UNSOUND_BASE: &[(&str, &str)] =
    &[("jt808-219e81381e0a", "holds a 7E that its terminal did not escape: two broken frames, no good one")];

#[test]
fn every_damaged_line_is_answered_and_none_is_called_good() {
    let Some(dir) = shared(1) else { return };
    let mut lines = lines(&dir, "jt808-damaged.jsonl");
    let originals: Vec<Value> = self::lines(&dir, "jt808.jsonl").iter().map(|l| parse(l)).collect();
    let mut n_recipes = 0;
    for line in &mut lines {
        let mut vector = parse(line);
        if vector["hex"].is_null() {
            let base = originals.iter().find(|v| v["id"] == vector["base"]).expect("the base frame");
            vector["hex"] = oversized(base["hex"].as_str().unwrap()).into();
            assert!(vector["hex"].as_str().unwrap().starts_with(vector["hex_prefix"].as_str().unwrap()));
            *line = vector.to_string();
            n_recipes += 1;
        }
    }
    // Lines that are no JSON at all belong to the game.
    lines.extend(["{", "[]", "{\"kind\":\"frame\"}", "{\"hex\":\"7\"}", "{\"hex\":\"zz\"}"].map(str::to_owned));
    let n_own = 5;
    let (mut n_refused, mut n_streams) = (0, 0);
    let answers = decode("jt808", &lines);
    for (answer, vector) in answers.iter().zip(&lines).take(lines.len() - n_own).map(|(a, l)| (a, parse(l))) {
        let expect = vector["expect"].as_str().unwrap();
        let unsound = UNSOUND_BASE.iter().any(|(base, _)| vector["base"] == *base);
        let good = answer["frames"].as_array().unwrap().len();
        let want = match expect {
            _ if unsound => None,
            "stream: exactly two good frames" => Some(2),
            "stream: resynchronise, one good frame" => Some(1),
            _ => None,
        };
        match want {
            Some(n) => {
                assert!(answer["ok"] == true && good == n, "{expect}: {answer}");
                n_streams += 1;
            }
            None => {
                assert_eq!(answer["ok"], false, "{expect}: {answer}");
                n_refused += 1;
            }
        }
    }
    assert!(answers[lines.len() - n_own..].iter().all(|a| a["ok"] == false));
    println!(
        "figure: decode jt808 damaged: {} lines answered ({n_recipes} built by recipe, {n_own} not even JSON lines of frames), \
         {n_refused} refused, 0 accepted that should not be, {n_streams} streams in step again",
        lines.len()
    );
}

/// The recipe: body and 70,000 zeros, checksum made right, escaped.
fn oversized(good: &str) -> String {
    let bytes: Vec<u8> = (0..good.len() / 2).map(|i| u8::from_str_radix(&good[2 * i..2 * i + 2], 16).unwrap()).collect();
    let (mut plain, mut rest) = (Vec::new(), bytes[1..bytes.len() - 1].iter());
    while let Some(byte) = rest.next() {
        plain.push(if *byte == 0x7d { 0x7c + rest.next().expect("a whole escape") } else { *byte });
    }
    plain.pop();
    plain.extend([0; 70_000]);
    plain.push(plain.iter().fold(0, |sum, b| sum ^ b));
    let escaped = plain.iter().map(|byte| match byte {
        0x7e => "7d02".to_owned(),
        0x7d => "7d01".to_owned(),
        other => format!("{other:02x}"),
    });
    format!("7e{}7e", escaped.collect::<String>())
}

/// Lines on which we and the other implementation differ, and why: (id, level it was told, reason).
const MQTT_DIFFER: &[(&str, Option<u64>, &str)] = &[
    ("mqtt-b8de23d9edc7", Some(4), "`MQIsdp` at level 4 with the bridge bit: MQTT 3.1.1 names level 4 `MQTT` only (3.1.2.1)"),
    ("mqtt-e2994b698ddf", Some(5), "a CONNACK of one byte: MQTT 5 asks for flags and reason code (3.2.2)"),
    ("mqtt-8ec706da996d", Some(5), "a CONNACK without property length: MQTT 5 lets only acks, DISCONNECT and AUTH leave it out (3.2.2.3)"),
    ("mqtt-e113d0a07a8c", Some(5), "Maximum QoS 2 in a CONNACK: MQTT 5 allows 0 and 1 (3.2.2.3.4)"),
    ("mqtt-beb258497c77", None, "a buffer of another program's test with its packet cut short: upstream does not look at the length"),
    ("mqtt-ec166da306ca", None, "as above"),
];

#[test]
fn mqtt_packets_agree_on_kind_and_packet_id() {
    let Some(dir) = shared(1) else { return };
    let raw = lines(&dir, "mqtt.jsonl");
    // As they are: a bare packet does not say its version, so only that it is answered counts.
    let n_ok = decode("mqtt", &raw).iter().filter(|a| a["ok"] == true).count();
    // With the version that the other implementation's parser was told.
    let told: Vec<String> = raw
        .iter()
        .map(|line| {
            let mut vector = parse(line);
            vector["version"] = vector["expect"]["protocolVersion"].clone();
            vector.to_string()
        })
        .collect();
    let (mut n_agree, mut n_listed, mut differ) = (0, 0, Vec::new());
    for (answer, vector) in decode("mqtt", &told).iter().zip(told.iter().map(|l| parse(l))) {
        let expect = &vector["expect"];
        // Upstream writes its expectations as source text: `'puback'`, `42`.
        let field = |name: &str| {
            let pair = expect["packet"].as_array().into_iter().flatten().find(|p| p[0] == name);
            pair.and_then(|p| p[1].as_str()).map(|text| text.trim_matches('\'').to_owned())
        };
        let agrees = if expect["op"] == "parse-error" {
            answer["ok"] == false
        } else {
            let frame = &answer["frames"][0];
            answer["ok"] == true
                && field("cmd").is_none_or(|cmd| frame["packet"] == *cmd)
                && field("messageId").is_none_or(|id| frame["packet_id"].as_u64() == id.parse().ok())
        };
        let known = MQTT_DIFFER.iter().any(|(id, level, _)| vector["id"] == *id && expect["protocolVersion"].as_u64() == *level);
        match (agrees, known) {
            (true, false) => n_agree += 1,
            (false, true) => n_listed += 1,
            (true, true) => differ.push(format!("{}: listed but agreeing", vector["id"])),
            (false, false) => differ.push(format!("{}: {expect} but {answer}", vector["id"])),
        }
    }
    println!(
        "figure: decode mqtt: {} lines answered ({n_ok} good without being told the version), {n_agree} agree on accepting, kind and packet id, \
         {n_listed} differ for a listed reason",
        raw.len()
    );
    assert!(differ.is_empty(), "{} unexplained:\n{}", differ.len(), differ.join("\n"));
}

#[test]
fn people_get_text_and_an_unknown_protocol_is_exit_code_2() {
    let run = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_anlan")).arg("decode").args(args).output().unwrap();
    let known = String::from_utf8(run(&[]).stdout).unwrap();
    assert!(known.contains("jt808") && known.contains("mqtt"), "{known}");
    // A heartbeat of terminal 13800138000.
    let heartbeat = run(&["jt808", "7e000200000138001380000001a97e"]);
    let text = String::from_utf8(heartbeat.stdout).unwrap();
    assert!(text.contains("0x0002") && text.contains("013800138000"), "{text}");
    let unknown = run(&["hj999"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8(unknown.stderr).unwrap().contains("jt808"), "it names the known ones");
}
