//! JT/T 809 for people and for the API: messages as JSON, `anlan decode jt809` lines, annotated text.
//!
//! Shows, never judges: what a server would refuse is still listed here, with the reason. Start at [`decode_jsonl_line`].

use serde_json::{Value, json};

use super::frame::{Edition, Frame, FrameError, Frames};
use super::message::{Content, Message, decode, decode_sub};
use super::tables;
use crate::jsonl::{self, Report, id_text};
use crate::jt808::layout::{record_json, seconds_json};
use crate::jt808::{self, Defect};
use crate::wire;

/// What a message or sub-business is called, in words.
pub fn message_name(id: u16) -> &'static str {
    match id {
        0x1004 => "logout answer",
        0x1005 => "heartbeat of the main link",
        0x1006 => "heartbeat answer of the main link",
        0x1007 => "main link is cut",
        0x1008 => "main link will be closed",
        0x9001 => "login of the other link",
        0x9002 => "login answer of the other link",
        0x9003 => "logout of the other link",
        0x9004 => "logout answer of the other link",
        0x9005 => "heartbeat of the other link",
        0x9006 => "heartbeat answer of the other link",
        0x9007 => "other link is cut",
        0x9008 => "other link will be closed",
        0x1200 | 0x9200 => "vehicles in motion",
        0x1300 | 0x9300 => "between platforms",
        0x1400 | 0x9400 => "alarms",
        0x1500 | 0x9500 => "supervision of vehicles",
        0x1600 | 0x9600 => "data of vehicles",
        0x1700 | 0x9700 => "passwords of video",
        0x1800 | 0x9800 => "live video",
        0x1900 | 0x9900 => "lists of recordings",
        0x1a00 | 0x9a00 => "playback",
        0x1b00 | 0x9b00 => "download",
        0x1205 => "exchange started",
        0x1206 => "exchange ended",
        0x9205 => "start exchange",
        0x9206 => "end exchange",
        0x1208 => "one vehicle no longer",
        0x1602 => "routes of vehicles",
        other => tables::rows(other).next().map_or("unknown", |row| row.layout.name),
    }
}

/// A decoded body as JSON. Units are suffixes, coordinates decimal degrees, times UTC, raw bytes hex.
pub fn message_json(message: &Message, edition: Edition) -> Value {
    let mut object = content_json(&message.content, edition);
    if let (Some(part), Some(object)) = (&message.part, object.as_object_mut()) {
        object.insert("sub".to_owned(), json!(id_text(part.sub)));
        object.insert("sub_name".to_owned(), json!(message_name(part.sub)));
        if let Some(vehicle) = &part.vehicle {
            object.insert("vehicle".to_owned(), json!({ "plate": vehicle.plate(), "colour": vehicle.colour }));
        }
    }
    object
}

fn content_json(content: &Content, edition: Edition) -> Value {
    match content {
        Content::Fields { layout, record, rest } => {
            let version = super::message::year(edition);
            let position = |p: &jt808::Position| jt808::message_json(&jt808::Message::Position(p.clone()), version);
            let mut object = record_json(layout, record, &position);
            if !rest.is_empty() {
                object.insert("rest".to_owned(), json!(wire::hex(rest)));
            }
            Value::Object(object)
        }
        Content::Raw(bytes) => json!({ "raw": wire::hex(bytes) }),
    }
}

fn edition_named(input: &Value) -> Option<Edition> {
    match input.get("version").and_then(Value::as_str) {
        Some("2011") => Some(Edition::V2011),
        Some("2019") => Some(Edition::V2019),
        _ => None,
    }
}

/// One line of `anlan decode jt809 --jsonl`: JSON in, JSON out, whatever comes in.
///
/// The form is that of INTERFACES ("decode"). `version` is `"2011"` or `"2019"`; without it, for each frame the one that fits.
/// A line of `"kind":"body"` names its `message_id`; the id of a sub-business means what follows its length field.
pub fn decode_jsonl_line(line: &str, line_no: u64) -> String {
    jsonl::answer(line, line_no, |input, report| {
        let Some(hex) = input.get("hex").or_else(|| input.get("text")).and_then(Value::as_str) else {
            return report.defect("no_bytes", 0);
        };
        let Some(bytes) = report.unhex(hex) else { return };
        if input.get("kind").and_then(Value::as_str) == Some("body") {
            decode_body(input, &bytes, report);
        } else {
            decode_stream(&bytes, edition_named(input), report);
        }
    })
}

fn decode_body(input: &Value, bytes: &[u8], report: &mut Report) {
    let Some(id) = report.message_id(input) else { return };
    let edition = edition_named(input).unwrap_or(Edition::V2011);
    let is_sub = !id.is_multiple_of(0x100) && !matches!(id >> 8, 0x10 | 0x90) && id != 0x9101;
    let (body, defects) = if is_sub {
        let (content, defects) = decode_sub(edition, id, bytes);
        (content_json(&content, edition), defects)
    } else {
        let (message, defects) = decode(edition, id, bytes);
        (message_json(&message, edition), defects)
    };
    report.body_defects(&defects);
    report.frames.push(json!({ "message_id": id_text(id), "serial": null, "version": edition.as_str(), "body": body }));
    report.ok = report.defects.is_empty();
}

fn frames_of(edition: Option<Edition>) -> Frames {
    edition.map_or_else(Frames::guessing, Frames::new)
}

fn decode_stream(bytes: &[u8], edition: Option<Edition>, report: &mut Report) {
    let mut frames = frames_of(edition);
    for chunk in bytes.chunks(4096) {
        frames.push(chunk);
        while let Some(frame) = frames.next() {
            match frame {
                Ok(frame) => {
                    report.ok |= frame.length_ok;
                    if !frame.escaped {
                        report.defect("unescaped", usize::try_from(frames.frame_at()).unwrap_or(usize::MAX));
                    }
                    let (shown, defects) = frame_json(&frame);
                    report.body_defects(&defects);
                    report.frames.push(shown);
                }
                Err(error) => report.defect(error.code(), usize::try_from(frames.frame_at()).unwrap_or(usize::MAX)),
            }
        }
    }
    if frames.pending() > 0 {
        report.defect("incomplete", bytes.len().saturating_sub(frames.pending()));
    }
    if !report.ok && report.defects.is_empty() {
        report.defect("no_frame", 0);
    }
}

fn frame_json(frame: &Frame) -> (Value, Vec<Defect>) {
    let (message, defects) = frame.decode(None);
    let h = &frame.header;
    let shown = json!({
        "message_id": id_text(h.business), "serial": h.serial, "access_code": h.access_code, "length": frame.length,
        "protocol_version": h.version, "encrypt": h.encrypt, "key": h.key, "time": h.time.map(seconds_json),
        "version": frame.edition.as_str(), "body": message_json(&message, frame.edition),
    });
    (shown, defects)
}

/// Annotated text for people in the field: every frame of a hex dump with its header spelled out, the body as named values
/// and everything that is wrong.
pub fn decode_human(hex: &str) -> String {
    let bytes = match wire::unhex(hex) {
        Ok((bytes, false)) => bytes,
        Ok((_, true)) => return "odd number of hex digits: the last byte is cut in half\n".to_owned(),
        Err(error) => return format!("{error}\n"),
    };
    let mut text = String::new();
    let mut frames = Frames::guessing();
    let mut n = 0u32;
    for chunk in bytes.chunks(4096) {
        frames.push(chunk);
        while let Some(frame) = frames.next() {
            match frame {
                Ok(frame) => {
                    n = n.saturating_add(1);
                    human_frame(&mut text, n, &frame);
                }
                Err(error @ (FrameError::Noise { .. } | FrameError::NoEnd { .. })) => text.push_str(&format!("{error}\n")),
                Err(error) => {
                    n = n.saturating_add(1);
                    text.push_str(&format!("frame {n} at byte {}: refused: {error}\n", frames.frame_at()));
                }
            }
        }
    }
    if frames.pending() > 0 {
        text.push_str(&format!("incomplete: {} bytes from the last 5b on wait for their end mark\n", frames.pending()));
    }
    if text.is_empty() {
        text.push_str("no frame: a frame stands between 5b and 5d\n");
    }
    text
}

fn human_frame(text: &mut String, n: u32, frame: &Frame) {
    let h = &frame.header;
    let mut line = |name: &str, value: &str| text.push_str(&format!("  {name:<16}{value}\n"));
    line("frame", &format!("{n}, CRC holds{}", if frame.escaped { "" } else { ", sent without escapes" }));
    line("business", &format!("{:#06x} {}", h.business, message_name(h.business)));
    line("layout", &format!("{}, version {}.{}.{}", frame.edition.as_str(), h.version[0], h.version[1], h.version[2]));
    line("access code", &h.access_code.to_string());
    line("serial", &h.serial.to_string());
    let length = if frame.length_ok { "as the header says".to_owned() } else { format!("but the header says {}: refused", frame.length) };
    line("body", &format!("{} bytes, {length}", frame.body.len()));
    if h.encrypt != 0 {
        line("encryption", &format!("{}, key {}", h.encrypt, h.key));
    }
    let (message, defects) = frame.decode(None);
    if let Value::Object(fields) = message_json(&message, frame.edition) {
        for (name, value) in fields {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            text.push_str(&format!("    {name}: {value}\n"));
        }
    }
    for defect in defects {
        text.push_str(&format!("  ! {} at body byte {}\n", defect.code, defect.at));
    }
}
