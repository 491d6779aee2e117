//! The MQTT analyser: one JSON line in, one out (INTERFACES, decode), or a text for people.
//!
//! Shows what the bytes say and what is wrong with them; a password is only counted. Start at [`decode_jsonl_line`].

use std::fmt::Write as _;

use serde_json::{Map, Value as Json, json};

use super::codec::{Ack, Answers, Connect, Decoder, Notice, Packet, Properties, Publish, REMAINING_MAX, Value, Version};
use crate::wire;

/// Decodes one line of `anlan decode mqtt --jsonl`.
///
/// In: `{"id"?,"kind":"frame|stream","version"?,"hex"|"text"}`; `version` (3, 4, 5 or "3.1", "3.1.1", "5") is what a bare packet
/// is read as, until a CONNECT says it itself. Out: `{"id","line","ok","frames","defects"}`; a frame is
/// `{"packet","version","packet_id","body"}`. A packet that is complete but malformed is listed with `"body":null`; what follows
/// it is not read, as a server would have closed the connection. `ok`: at least one packet is whole and well formed.
pub fn decode_jsonl_line(line: &str, line_no: u64) -> String {
    let input: Json = serde_json::from_str(line).unwrap_or(Json::Null);
    let id = input.get("id").cloned().unwrap_or(Json::Null);
    let answer = |ok: bool, frames: Vec<Json>, defects: Vec<Json>| {
        json!({"id": id, "line": line_no, "ok": ok, "frames": frames, "defects": defects}).to_string()
    };
    let refuse = |code: &str| answer(false, Vec::new(), vec![json!({"code": code, "at": 0})]);
    if !input.is_object() {
        return refuse("invalid_json");
    }
    let kind = match input.get("kind") {
        None => "frame",
        Some(kind) => kind.as_str().unwrap_or(""),
    };
    match kind {
        "frame" | "stream" => {}
        "body" if input.get("message_id").is_none() => return refuse("needs_message_id"),
        _ => return refuse("kind"),
    }
    let Ok(version) = hint(input.get("version")) else { return refuse("version") };
    let (bytes, odd) = match (input.get("hex").and_then(Json::as_str), input.get("text").and_then(Json::as_str)) {
        (Some(hex), _) => match wire::unhex(hex) {
            Ok(read) => read,
            Err(_) => return refuse("invalid_hex"),
        },
        (None, Some(text)) => (text.as_bytes().to_vec(), false),
        (None, None) => return refuse("no_bytes"),
    };
    if bytes.is_empty() {
        return refuse("no_bytes");
    }
    let Analysis { sound, frames, mut defects } = analyse(&bytes, version);
    if odd {
        defects.push(json!({"code": "odd_hex", "at": bytes.len()}));
    }
    answer(sound > 0, frames, defects)
}

/// Explains MQTT packets given as hex, one paragraph a packet. A bare packet is read as 3.1.1 unless a CONNECT comes first.
pub fn decode_human(hex: &str) -> String {
    let (bytes, odd) = match wire::unhex(hex) {
        Ok(read) => read,
        Err(error) => return format!("not hex: {error}\n"),
    };
    let Analysis { frames, defects, .. } = analyse(&bytes, None);
    let mut text = String::new();
    for frame in &frames {
        let word = |key: &str| frame.get(key).and_then(Json::as_str).unwrap_or("?").to_owned();
        let _ = write!(text, "{} (MQTT {})", word("packet").to_uppercase(), word("version"));
        if let Some(id) = frame.get("packet_id").and_then(Json::as_u64) {
            let _ = write!(text, " packet id {id}");
        }
        text.push('\n');
        for (key, value) in frame.get("body").and_then(Json::as_object).into_iter().flatten() {
            let _ = writeln!(text, "  {key}: {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
    }
    for defect in &defects {
        let reason = defect.get("reason").or_else(|| defect.get("code")).and_then(Json::as_str).unwrap_or("");
        let _ = writeln!(text, "defect at byte {}: {reason}", defect.get("at").unwrap_or(&Json::Null));
    }
    if odd {
        text.push_str("defect: the last byte has only one digit\n");
    }
    if bytes.is_empty() {
        text.push_str("no bytes\n");
    }
    text
}

struct Analysis {
    sound: usize,
    frames: Vec<Json>,
    defects: Vec<Json>,
}

fn analyse(bytes: &[u8], version: Option<Version>) -> Analysis {
    let mut decoder = Decoder::new(version, REMAINING_MAX.saturating_add(5));
    decoder.push(bytes);
    let mut analysis = Analysis { sound: 0, frames: Vec::new(), defects: Vec::new() };
    while let Some(next) = decoder.next() {
        let version = decoder.version().unwrap_or(Version::V3_1_1);
        match next {
            Ok(packet) => {
                analysis.sound = analysis.sound.saturating_add(1);
                analysis.frames.push(frame(&packet, version));
            }
            Err(error) => {
                if let Some(kind) = error.kind {
                    let frame = json!({"packet": kind.as_str(), "version": version.as_str(), "packet_id": null, "body": null});
                    analysis.frames.push(frame);
                }
                let defect = json!({"code": error.fault.code(), "at": error.at, "reason": error.fault.to_string()});
                analysis.defects.push(defect);
                return analysis;
            }
        }
    }
    if decoder.pending() > 0 {
        analysis.defects.push(json!({"code": "incomplete", "at": bytes.len().saturating_sub(decoder.pending())}));
    }
    analysis
}

fn hint(version: Option<&Json>) -> Result<Option<Version>, ()> {
    match version {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => {
            let all = [Version::V3_1, Version::V3_1_1, Version::V5];
            all.into_iter().find(|v| v.as_str() == text || v.level().to_string() == *text).map(Some).ok_or(())
        }
        Some(number) => number.as_u64().and_then(|n| u8::try_from(n).ok()).and_then(Version::from_level).map(Some).ok_or(()),
    }
}

fn frame(packet: &Packet, version: Version) -> Json {
    json!({
        "packet": packet.kind().as_str(),
        "version": version.as_str(),
        "packet_id": packet.packet_id(),
        "body": body(packet),
    })
}

fn body(packet: &Packet) -> Json {
    let (mut body, properties) = match packet {
        Packet::Connect(c) => (connect(c), &c.properties),
        Packet::Connack(c) => (json!({"session_present": c.session_present, "reason": c.reason}), &c.properties),
        Packet::Publish(p) => (publish(p), &p.properties),
        Packet::Puback(Ack { reason, properties, .. })
        | Packet::Pubrec(Ack { reason, properties, .. })
        | Packet::Pubrel(Ack { reason, properties, .. })
        | Packet::Pubcomp(Ack { reason, properties, .. })
        | Packet::Disconnect(Notice { reason, properties })
        | Packet::Auth(Notice { reason, properties }) => (json!({"reason": reason}), properties),
        Packet::Suback(Answers { reasons, properties, .. }) | Packet::Unsuback(Answers { reasons, properties, .. }) => {
            (json!({"reasons": reasons}), properties)
        }
        Packet::Subscribe(s) => {
            let filter = |f: &super::codec::Filter| {
                json!({"filter": f.filter, "qos": f.qos.level(), "no_local": f.no_local,
                       "retain_as_published": f.retain_as_published, "retain_handling": f.retain_handling})
            };
            (json!({"filters": s.filters.iter().map(filter).collect::<Vec<_>>()}), &s.properties)
        }
        Packet::Unsubscribe(u) => (json!({"filters": u.filters}), &u.properties),
        Packet::Pingreq | Packet::Pingresp => return json!({}),
    };
    if let (Some(body), false) = (body.as_object_mut(), properties.0.is_empty()) {
        body.insert("properties".to_owned(), properties_json(properties));
    }
    body
}

fn connect(c: &Connect) -> Json {
    let will = c.will.as_ref().map(|w| {
        json!({"topic": w.topic, "qos": w.qos.level(), "retain": w.retain, "payload": payload(&w.payload),
               "properties": properties_json(&w.properties)})
    });
    json!({"client_id": c.client_id, "clean": c.clean, "keep_alive_s": c.keep_alive_s, "bridge": c.bridge, "username": c.username,
           "password_bytes": c.password.as_ref().map(Vec::len), "will": will})
}

fn publish(p: &Publish) -> Json {
    json!({"topic": p.topic, "qos": p.qos.level(), "dup": p.dup, "retain": p.retain, "payload": payload(&p.payload)})
}

/// Text where it is text, hex otherwise.
fn payload(bytes: &[u8]) -> Json {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(|c| c.is_control() && !c.is_ascii_whitespace()) => json!({"text": text}),
        _ => json!({"hex": wire::hex(bytes)}),
    }
}

fn properties_json(properties: &Properties) -> Json {
    let mut all = Map::new();
    for (id, value) in &properties.0 {
        let value = match value {
            Value::Byte(n) => json!(n),
            Value::Two(n) => json!(n),
            Value::Four(n) | Value::Varint(n) => json!(n),
            Value::Text(text) => json!(text),
            Value::Binary(bytes) => json!({"hex": wire::hex(bytes)}),
            Value::Pair(key, text) => json!([key, text]),
        };
        // The two that may repeat are always lists, so that a reader need not ask which it is.
        if matches!(*id, super::codec::property::USER_PROPERTY | super::codec::property::SUBSCRIPTION_IDENTIFIER) {
            if let Some(list) = all.entry(Properties::name(*id)).or_insert_with(|| json!([])).as_array_mut() {
                list.push(value);
            }
        } else {
            all.insert(Properties::name(*id).to_owned(), value);
        }
    }
    Json::Object(all)
}
