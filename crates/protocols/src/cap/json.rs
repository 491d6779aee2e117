//! `anlan decode cap`: documents for programs and for people.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Alert, Defect, Info, Named};

/// Decodes one line of `anlan decode cap --jsonl`: `{"id"?,"text"|"hex"}`, a whole document.
///
/// Out: `{"id","line","ok","frames","defects"}`; a frame is an alert by the names of the standard, a defect has the path of its element.
pub fn decode_jsonl_line(line: &str, line_no: u64) -> String {
    let input: Value = serde_json::from_str(line).unwrap_or_default();
    let id = input.get("id").cloned().unwrap_or_default();
    let answer = |ok: bool, frames: Vec<Value>, defects: Vec<Value>| {
        json!({"id": id, "line": line_no, "ok": ok, "frames": frames, "defects": defects}).to_string()
    };
    let refuse = |code: &str| answer(false, Vec::new(), vec![json!({"code": code, "at": 0})]);
    if !input.is_object() {
        return refuse("invalid_json");
    }
    let word = |key: &str| input.get(key).and_then(Value::as_str);
    let read = match (word("text"), word("hex").map(crate::wire::unhex)) {
        (Some(text), _) => Alert::read_text(text),
        (None, Some(Ok((bytes, false)))) => Alert::read(&bytes),
        (None, Some(_)) => return refuse("invalid_hex"),
        (None, None) => return refuse("no_bytes"),
    };
    match read {
        Ok(alert) => answer(true, vec![alert_json(&alert)], Vec::new()),
        Err(defects) => answer(false, Vec::new(), defects.iter().map(|d| json!({"code": d.code, "at": 0, "element": d.at})).collect()),
    }
}

/// A document as text for people.
pub fn decode_human(text: &str) -> String {
    let mut out = String::new();
    match Alert::read_text(text) {
        Ok(alert) => {
            let word = |info: &Info| format!("{} / {} / {}", info.urgency.as_str(), info.severity.as_str(), info.certainty.as_str());
            let _ = writeln!(out, "{} {} from {} at {}", alert.msg_type.as_str(), alert.identifier, alert.sender, alert.sent);
            for reference in &alert.references {
                let _ = writeln!(out, "  to {reference}");
            }
            for info in &alert.infos {
                let _ = writeln!(out, "  {} [{}] {}", info.event, word(info), info.headline.as_deref().unwrap_or_default());
                for area in &info.areas {
                    let _ = writeln!(out, "    {}", area.area_desc);
                }
            }
        }
        Err(defects) => {
            for Defect { code, at } in &defects {
                let _ = writeln!(out, "defect {code} at {at:?}");
            }
        }
    }
    out
}

fn named(all: &[Named]) -> Vec<Value> {
    all.iter().map(|one| json!({"valueName": one.value_name, "value": one.value})).collect()
}

fn alert_json(alert: &Alert) -> Value {
    json!({
        "identifier": alert.identifier,
        "sender": alert.sender,
        "sent": alert.sent.to_string(),
        "status": alert.status.as_str(),
        "msgType": alert.msg_type.as_str(),
        "source": alert.source,
        "scope": alert.scope.as_str(),
        "restriction": alert.restriction,
        "addresses": alert.addresses,
        "code": alert.codes,
        "note": alert.note,
        "references": alert.references.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "incidents": alert.incidents,
        "info": alert.infos.iter().map(info_json).collect::<Vec<_>>(),
        "signed": alert.is_signed,
    })
}

fn info_json(info: &Info) -> Value {
    let words = |all: &[&str]| all.iter().map(|word| json!(word)).collect::<Vec<_>>();
    let time = |time: Option<super::Time>| time.map(|time| time.to_string());
    json!({
        "language": info.language,
        "category": words(&info.categories.iter().map(|c| c.as_str()).collect::<Vec<_>>()),
        "event": info.event,
        "responseType": words(&info.response_types.iter().map(|r| r.as_str()).collect::<Vec<_>>()),
        "urgency": info.urgency.as_str(),
        "severity": info.severity.as_str(),
        "certainty": info.certainty.as_str(),
        "audience": info.audience,
        "eventCode": named(&info.event_codes),
        "effective": time(info.effective),
        "onset": time(info.onset),
        "expires": time(info.expires),
        "senderName": info.sender_name,
        "headline": info.headline,
        "description": info.description,
        "instruction": info.instruction,
        "web": info.web,
        "contact": info.contact,
        "parameter": named(&info.parameters),
        "resource": info.resources.iter().map(|r| json!({
            "resourceDesc": r.resource_desc, "mimeType": r.mime_type, "size": r.size, "uri": r.uri, "derefUri": r.deref_uri, "digest": r.digest,
        })).collect::<Vec<_>>(),
        "area": info.areas.iter().map(|a| json!({
            "areaDesc": a.area_desc, "polygon": a.polygons, "circle": a.circles.iter().map(|c| json!([c.center.0, c.center.1, c.radius_km])).collect::<Vec<_>>(),
            "geocode": named(&a.geocodes), "altitude": a.altitude, "ceiling": a.ceiling,
        })).collect::<Vec<_>>(),
    })
}
