//! The Modbus analyser: one JSON line in, one out (INTERFACES, decode), or a text for people.
//!
//! A frame does not say whether it asks or answers, so both readings that fit are shown. Start at [`decode_jsonl_line`].

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use super::codec::{Frames, PduError, Request, Response};
use crate::wire;

/// Decodes one line of `anlan decode modbus --jsonl`.
///
/// In: `{"id"?,"kind":"frame|stream|body","message_id"?,"hex"}`; for a body, `message_id` is the function code and the hex what
/// follows it. Out: `{"id","line","ok","frames","defects"}`; a frame is `{"message_id","transaction","unit","body"}` and the body
/// `{"request","response"}`, null where it cannot be read so. `ok`: at least one frame is whole, of protocol 0, and readable either way.
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
    let kind = input.get("kind").map_or("frame", |kind| kind.as_str().unwrap_or(""));
    let function = match (kind, input.get("message_id")) {
        ("frame" | "stream", _) => None,
        ("body", None) => return refuse("needs_message_id"),
        ("body", Some(id)) => match code(id) {
            Some(function) => Some(function),
            None => return refuse("message_id"),
        },
        _ => return refuse("kind"),
    };
    let Some(hex) = input.get("hex").and_then(Json::as_str) else { return refuse("no_bytes") };
    let Ok((bytes, odd)) = wire::unhex(hex) else { return refuse("invalid_hex") };
    if bytes.is_empty() && function.is_none() {
        return refuse("no_bytes");
    }
    let Analysis { sound, frames, mut defects } = match function {
        Some(function) => of_pdu(&[&[function], bytes.as_slice()].concat()),
        None => of_stream(&bytes),
    };
    if odd {
        defects.push(json!({"code": "odd_hex", "at": bytes.len()}));
    }
    answer(sound > 0, frames, defects)
}

/// A function code as `3`, `"3"` or `"0x03"`.
fn code(id: &Json) -> Option<u8> {
    let text = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
    text.strip_prefix("0x").map_or_else(|| text.parse(), |hex| u8::from_str_radix(hex, 16)).ok()
}

/// Explains Modbus TCP frames given as hex, one paragraph a frame.
pub fn decode_human(hex: &str) -> String {
    let (bytes, odd) = match wire::unhex(hex) {
        Ok(read) => read,
        Err(error) => return format!("not hex: {error}\n"),
    };
    let Analysis { frames, defects, .. } = of_stream(&bytes);
    let mut text = String::new();
    for frame in &frames {
        let _ = writeln!(
            text,
            "function {} transaction {} unit {}",
            frame["message_id"].as_str().unwrap_or("?"),
            frame["transaction"],
            frame["unit"]
        );
        for side in ["request", "response"] {
            if !frame["body"][side].is_null() {
                let _ = writeln!(text, "  as {side}: {}", frame["body"][side]);
            }
        }
    }
    for defect in &defects {
        let reason = defect.get("reason").or_else(|| defect.get("code")).and_then(Json::as_str).unwrap_or("");
        let _ = writeln!(text, "defect at byte {}: {reason}", defect["at"]);
    }
    if odd {
        text.push_str("defect: the last byte has only one digit\n");
    }
    if bytes.is_empty() {
        text.push_str("no bytes\n");
    }
    text
}

#[derive(Default)]
struct Analysis {
    sound: usize,
    frames: Vec<Json>,
    defects: Vec<Json>,
}

fn of_stream(bytes: &[u8]) -> Analysis {
    let mut cutter = Frames::default();
    cutter.push(bytes);
    let mut analysis = Analysis::default();
    loop {
        let at = bytes.len() - cutter.held();
        match cutter.next() {
            None => break,
            Some(Ok(frame)) => add(&mut analysis, &frame.pdu, at, json!({"transaction": frame.transaction, "unit": frame.unit})),
            Some(Err(error)) => {
                let code = if error.is_fatal() { "length" } else { "protocol" };
                analysis.defects.push(json!({"code": code, "at": at, "reason": error.to_string()}));
            }
        }
    }
    if cutter.held() > 0 {
        analysis.defects.push(json!({"code": "incomplete", "at": bytes.len() - cutter.held()}));
    }
    analysis
}

fn of_pdu(pdu: &[u8]) -> Analysis {
    let mut analysis = Analysis::default();
    add(&mut analysis, pdu, 0, json!({"transaction": null, "unit": null}));
    analysis
}

fn add(analysis: &mut Analysis, pdu: &[u8], at: usize, mut frame: Json) {
    let (asks, answers) = (Request::decode(pdu), Response::decode(pdu));
    frame["message_id"] = json!(format!("{:#04x}", pdu.first().copied().unwrap_or(0)));
    frame["body"] = json!({"request": asks.as_ref().ok().map(request), "response": answers.as_ref().ok().map(response)});
    if let (Err(asks), Err(answers)) = (asks, answers) {
        // A function this client does not speak is listed with its header fields and its bytes; it is no damage.
        let code = if matches!(answers, PduError::Function(_) | PduError::Mei(_)) { "function" } else { "length" };
        frame["body"]["hex"] = json!(wire::hex(pdu));
        analysis.defects.push(json!({"code": code, "at": at, "reason": format!("as request: {asks}; as response: {answers}")}));
    } else {
        analysis.sound += 1;
    }
    analysis.frames.push(frame);
}

fn request(request: &Request) -> Json {
    match request {
        Request::Read { table, start, count } => json!({"table": table.as_str(), "start": start, "count": count}),
        Request::Identify { category, object } => json!({"category": category, "object": object}),
    }
}

fn response(response: &Response) -> Json {
    match response {
        Response::Bits(bytes) => json!({"bits": bytes}),
        Response::Registers(words) => json!({"registers": words}),
        Response::Identity(identity) => {
            let objects: Vec<Json> = identity.objects.iter().map(|(id, text)| json!({"id": id, "text": text})).collect();
            json!({"identity": objects, "conformity": identity.conformity, "next": identity.next})
        }
        Response::Exception { function, code } => {
            json!({"exception": code.0, "name": code.name(), "function": format!("{function:#04x}")})
        }
    }
}
