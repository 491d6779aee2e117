//! JT/T 808 for people and for the API: messages as JSON, `anlan decode jt808` lines, annotated text.
//!
//! Shows, never judges: what a server would refuse is still listed here, with the reason. Start at [`decode_jsonl_line`]
//! (the form is fixed by INTERFACES, "decode") and [`message_json`].

use serde_json::{Map, Value, json};

use super::decode::{decode, items};
use super::dialects;
use super::frame::{Assembled, Whole};
use super::frame::{DELIMITER, Frame, Frames, Header, Reassembly, Version, read_frame};
use super::layout::record_json;
use super::message::{Driver, Item, Message, Parameter, Position, alarm_name, civil};
use super::parameters::{self, Kind};
use crate::jsonl::{self, Report, id_text};
use crate::wire;

/// What a message is called, in words.
pub fn message_name(message_id: u16) -> &'static str {
    match message_id {
        0x0001 => "terminal general answer",
        0x0002 => "heartbeat",
        0x0003 => "unregister",
        0x0004 => "time query",
        0x0005 => "terminal asks for parts again",
        0x0100 => "register",
        0x0102 => "authenticate",
        0x0104 => "parameters answer",
        0x0200 => "position",
        0x0201 => "position answer",
        0x0702 => "driver card",
        0x0704 => "position batch",
        0x8001 => "platform general answer",
        0x8003 => "platform asks for parts again",
        0x8004 => "time answer",
        0x8100 => "register answer",
        0x8103 => "set parameters",
        0x8104 => "query all parameters",
        0x8106 => "query some parameters",
        0x8201 => "query position",
        0x8202 => "track",
        0x8203 => "confirm alarm",
        0x8300 => "text",
        other => super::tables::rows(other).next().map_or("unknown message", |row| row.layout.name),
    }
}

/// A decoded body as JSON. Units are suffixes, coordinates decimal degrees, times UTC, raw bytes hex.
pub fn message_json(message: &Message, version: Version) -> Value {
    match message {
        Message::TerminalAnswer(a) | Message::PlatformAnswer(a) => {
            json!({ "answered_serial": a.answered_serial, "answered_id": id_text(a.answered_id), "result": a.result })
        }
        Message::Heartbeat | Message::Unregister | Message::TimeQuery | Message::QueryParameters | Message::QueryPosition => json!({}),
        Message::TimeAnswer(t) => {
            let time = civil(t.time_bcd).map(|t| format!("{t}.000000Z"));
            json!({ "time": time, "time_raw": wire::hex(&t.time_bcd) })
        }
        Message::TerminalResend(r) | Message::PlatformResend(r) => json!({ "first_serial": r.first_serial, "indices": r.indices }),
        Message::Register(r) => json!({
            "edition": r.edition.as_str(), "province": r.province, "city": r.city, "maker": r.maker, "model": r.model,
            "terminal_id": r.terminal_id, "plate_colour": r.plate_colour, "plate": r.plate,
        }),
        Message::RegisterAnswer(a) => json!({ "answered_serial": a.answered_serial, "result": a.result, "code": a.code }),
        Message::Authenticate(a) => json!({ "code": a.code, "imei": a.imei, "software": a.software }),
        Message::SetParameters(parameters) => json!({ "parameters": parameters.iter().map(parameter_json).collect::<Vec<_>>() }),
        Message::QueryParametersById(ids) => json!({ "ids": ids.iter().map(|id| format!("{id:#06x}")).collect::<Vec<_>>() }),
        Message::ParametersAnswer(a) => json!({
            "answered_serial": a.answered_serial, "parameters": a.parameters.iter().map(parameter_json).collect::<Vec<_>>(),
        }),
        Message::Position(p) => position_json(p, version),
        Message::PositionAnswer(a) => json!({ "answered_serial": a.answered_serial, "position": position_json(&a.position, version) }),
        Message::Track(t) => json!({ "interval_s": t.interval_s, "validity_s": t.validity_s }),
        Message::ConfirmAlarm(c) => json!({
            "alarm_serial": c.alarm_serial, "alarm_bits": c.types, "alarms": bits(c.types, |bit| alarm_name(bit, version)),
        }),
        Message::Text(t) => json!({
            "flags": t.flags, "urgent": t.flags & 1 != 0, "display": t.flags & 4 != 0, "read_aloud": t.flags & 8 != 0,
            "advertising_screen": t.flags & 0x10 != 0, "can_fault": t.flags & 0x20 != 0, "kind": t.kind, "text": t.text,
        }),
        Message::Driver(d) => driver_json(d),
        Message::PositionBatch(b) => json!({
            "kind": b.kind, "positions": b.positions.iter().map(|p| position_json(p, version)).collect::<Vec<_>>(),
        }),
        Message::Table { layout, record, .. } => {
            let mut object = record_json(layout, record, &|p| position_json(p, version));
            object.extend(layout.dialect.map(|dialect| ("dialect".to_owned(), json!(dialect))));
            Value::Object(object)
        }
        Message::Raw { body, .. } => json!({ "raw": wire::hex(body) }),
    }
}

fn bits(value: u32, name: impl Fn(u32) -> Option<&'static str>) -> Vec<&'static str> {
    (0..32).filter(|bit| value >> bit & 1 == 1).filter_map(name).collect()
}

/// Status bits that are names when set. Bits 6, 7 and 22 are of 2019 (table 25 there).
fn status_name(bit: u32, version: Version) -> Option<&'static str> {
    let name = match bit {
        0 => "acc_on",
        1 => "fixed",
        2 => "south",
        3 => "west",
        4 => "out_of_service",
        5 => "coordinates_shifted",
        6 if version == Version::V2019 => "forward_collision_warning",
        7 if version == Version::V2019 => "lane_departure_warning",
        10 => "oil_cut",
        11 => "circuit_cut",
        12 => "doors_locked",
        13 => "door_1_open",
        14 => "door_2_open",
        15 => "door_3_open",
        16 => "door_4_open",
        17 => "door_5_open",
        18 => "gps",
        19 => "beidou",
        20 => "glonass",
        21 => "galileo",
        22 if version == Version::V2019 => "moving",
        _ => return None,
    };
    Some(name)
}

fn position_json(p: &Position, version: Version) -> Value {
    let load = ["empty", "half", "reserved", "full"].get(usize::from(p.status.to_be_bytes()[2] & 3)).copied();
    json!({
        "alarm_bits": p.alarm,
        "alarms": bits(p.alarm, |bit| alarm_name(bit, version)),
        "status_bits": p.status,
        "status": bits(p.status, |bit| status_name(bit, version)),
        "load": load,
        "latitude_deg": f64::from(p.lat_e6) / 1e6,
        "longitude_deg": f64::from(p.lon_e6) / 1e6,
        "altitude_m": p.altitude_m,
        "speed_kmh": tenth(p.speed_tenth_kmh),
        "direction_deg": p.direction_deg,
        "time": p.time.map(|t| t.to_string()),
        "time_raw": wire::hex(&p.time_bcd),
        "items": p.items.iter().map(item_json).collect::<Vec<_>>(),
    })
}

fn tenth(value: impl Into<f64>) -> f64 {
    value.into() / 10.0
}

/// The raw items of a position (`id, length, value` …) as a JSON array, one object each; a cut item is shown as
/// `{"truncated": "<hex>"}`. For the API, which stores the bytes.
pub fn items_json(bytes: &[u8]) -> Value {
    let mut defects = Vec::new();
    let mut list: Vec<Value> = items(bytes, 0, &mut defects).iter().map(item_json).collect();
    for defect in defects.iter().filter(|d| d.code == "item_truncated") {
        list.push(json!({ "truncated": wire::hex(bytes.get(defect.at..).unwrap_or_default()) }));
    }
    Value::Array(list)
}

fn item_json(item: &Item) -> Value {
    let (name, fields) = match item {
        Item::Odometer(v) => ("odometer", json!({ "odometer_km": tenth(*v) })),
        Item::Fuel(v) => ("fuel", json!({ "fuel_l": tenth(*v) })),
        Item::RecorderSpeed(v) => ("recorder_speed", json!({ "speed_kmh": tenth(*v) })),
        Item::AlarmToConfirm(v) => ("alarm_to_confirm", json!({ "alarm_id": v })),
        Item::TyrePressures(v) => {
            let pressures: Vec<Option<u8>> = v.iter().map(|p| (*p != 0xff).then_some(*p)).collect();
            ("tyre_pressures", json!({ "pressures_pa": pressures }))
        }
        Item::CabinTemperature(v) => ("cabin_temperature", json!({ "temperature_c": v })),
        Item::Overspeed { place, area_id } => ("overspeed", json!({ "place": place, "area_id": area_id })),
        Item::Crossing { place, area_id, direction } => {
            ("crossing", json!({ "place": place, "area_id": area_id, "direction": if *direction == 0 { "in" } else { "out" } }))
        }
        Item::SectionTime { section_id, seconds, result } => (
            "section_time",
            json!({ "section_id": section_id, "driven_s": seconds, "result": if *result == 0 { "short" } else { "long" } }),
        ),
        Item::Signals(v) => ("signals", json!({ "signal_bits": v })),
        Item::Io(v) => ("io", json!({ "io_bits": v, "deep_sleep": v & 1 != 0, "sleep": v & 2 != 0 })),
        Item::Analogue { ad0, ad1 } => ("analogue", json!({ "ad0": ad0, "ad1": ad1 })),
        Item::RadioStrength(v) => ("radio_strength", json!({ "strength": v })),
        Item::Satellites(v) => ("satellites", json!({ "satellites": v })),
        Item::Table { layout, record, .. } => {
            let mut object = record_json(layout, record, &|_| Value::Null);
            object.extend(layout.dialect.map(|dialect| ("dialect".to_owned(), json!(dialect))));
            if dialects::is_guess(layout) {
                let bytes = super::encode::item_bytes(item);
                object.insert("raw".to_owned(), json!(wire::hex(bytes.get(2..).unwrap_or_default())));
            }
            (layout.name, Value::Object(object))
        }
        Item::Raw { bytes, .. } => ("raw", json!({ "raw": wire::hex(bytes) })),
    };
    let mut object = Map::new();
    object.insert("id".to_owned(), json!(format!("{:#04x}", item.id())));
    object.insert("name".to_owned(), json!(name));
    if let Value::Object(fields) = fields {
        object.extend(fields);
    }
    Value::Object(object)
}

fn driver_json(d: &Driver) -> Value {
    json!({
        "status": d.status,
        "time": d.time.map(|t| t.to_string()),
        "time_raw": d.time_bcd.map(|t| wire::hex(&t)),
        "read_result": d.read_result,
        "name": d.name,
        "licence": d.licence,
        "issuer": d.issuer,
        "expires_raw": d.expires_bcd.map(|e| wire::hex(&e)),
        "identity_card": d.identity_card,
        "rest": (!d.rest.is_empty()).then(|| wire::hex(&d.rest)),
    })
}

fn parameter_json(parameter: &Parameter) -> Value {
    let (id, raw) = (format!("{:#06x}", parameter.id), wire::hex(&parameter.value));
    if let Some((layout, record)) = dialects::dialect_parameter(parameter.id, &parameter.value) {
        let value = record_json(layout, &record, &|_| Value::Null);
        return json!({ "id": id, "name": layout.name, "dialect": layout.dialect, "value": value, "raw": raw });
    }
    let known = parameters::of(parameter.id);
    let value = match known.map(|p| p.kind) {
        Some(Kind::Number(n)) if n == parameter.value.len() => {
            json!(parameter.value.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte)))
        }
        Some(Kind::Text) => json!(wire::text(&parameter.value)),
        _ => Value::Null,
    };
    json!({ "id": id, "name": known.map(|p| p.name), "value": value, "raw": raw })
}

/// One line of `anlan decode jt808 --jsonl`: JSON in, JSON out, whatever comes in.
///
/// The form is that of INTERFACES ("decode"). `at` of a defect counts bytes of the input, or of the body of frame number
/// `frame` (from 0) if that is given.
pub fn decode_jsonl_line(line: &str, line_no: u64) -> String {
    jsonl::answer(line, line_no, decode_input)
}

impl Report {
    fn frame(&mut self, frame: &Frame) {
        let (message, defects) = frame.decode();
        self.body_defects(&defects);
        let mut shown = frame_json(&frame.header, &message);
        if let (Some((total, index)), Some(shown)) = (frame.header.part, shown.as_object_mut()) {
            shown.insert("part".to_owned(), json!({ "total": total, "index": index }));
        }
        self.frames.push(shown);
    }
    fn assembled(&mut self, whole: &Whole) {
        let (message, defects) = decode(whole.header.message_id, whole.header.version, &whole.body);
        self.body_defects(&defects);
        let body = message_json(&message, whole.header.version);
        if let Some(shown) = self.frames.last_mut().and_then(Value::as_object_mut) {
            shown.insert("assembled".to_owned(), body);
        }
    }
}

fn frame_json(header: &Header, message: &Message) -> Value {
    json!({
        "message_id": id_text(header.message_id),
        "phone": header.phone,
        "serial": header.serial,
        "version": header.version.as_str(),
        "body": message_json(message, header.version),
    })
}

fn decode_input(input: &Value, report: &mut Report) {
    let Some(bytes) = input_bytes(input, report) else { return };
    if input.get("kind").and_then(Value::as_str) == Some("body") {
        decode_body(input, &bytes, report);
    } else {
        let whole_frame = matches!(input.get("kind").and_then(Value::as_str), None | Some("frame"));
        decode_stream(&bytes, whole_frame, report);
    }
}

fn input_bytes(input: &Value, report: &mut Report) -> Option<Vec<u8>> {
    let (field, is_hex) = match (input.get("hex").and_then(Value::as_str), input.get("text").and_then(Value::as_str)) {
        (Some(hex), _) => (hex, true),
        // A text that begins with a mark written in hex is hex with white space or an odd end, not a message in words.
        (None, Some(text)) => (text, text.trim_start().get(..2).is_some_and(|mark| mark.eq_ignore_ascii_case("7e"))),
        (None, None) => {
            report.defect("no_bytes", 0);
            return None;
        }
    };
    if is_hex { report.unhex(field) } else { Some(field.as_bytes().to_vec()) }
}

fn decode_body(input: &Value, bytes: &[u8], report: &mut Report) {
    let Some(message_id) = report.message_id(input) else { return };
    let version = if input.get("version").and_then(Value::as_str) == Some("2019") { Version::V2019 } else { Version::V2013 };
    let (message, defects) = decode(message_id, version, bytes);
    report.body_defects(&defects);
    let body = message_json(&message, version);
    report.frames.push(json!({
        "message_id": id_text(message_id), "phone": null, "serial": null, "version": version.as_str(), "body": body,
    }));
    report.ok = report.defects.is_empty();
}

fn decode_stream(bytes: &[u8], whole_frame: bool, report: &mut Report) {
    let mut frames = Frames::new();
    let mut parts = Reassembly::default();
    for chunk in bytes.chunks(4096) {
        frames.push(chunk);
        while let Some(frame) = frames.next() {
            match frame {
                Ok(frame) => {
                    report.ok |= frame.length_ok;
                    report.frame(&frame);
                    if frame.header.part.is_some()
                        && let Ok(Assembled::Whole(whole)) = parts.add(frame, 0)
                    {
                        report.assembled(&whole);
                    }
                }
                Err(error) => report.defect(error.code(), usize::try_from(frames.frame_at()).unwrap_or(usize::MAX)),
            }
        }
    }
    if frames.skipped() > 0 && !bytes.starts_with(&[DELIMITER]) {
        report.defect("noise", 0);
    }
    if frames.pending() > 0 {
        report.defect("incomplete", bytes.len().saturating_sub(frames.pending()));
    }
    if whole_frame && report.frames.is_empty() {
        unescaped_frame(bytes, report);
    }
    if !report.ok && report.defects.is_empty() {
        report.defect("no_frame", 0);
    }
}

/// Some terminals forget to escape a 7E in the body. In a stream that cannot be told from two frames; where the line says it
/// is one frame and the checksum over all of it holds, the header is shown, and the frame stays refused.
fn unescaped_frame(bytes: &[u8], report: &mut Report) {
    let [DELIMITER, between @ .., DELIMITER] = bytes else { return };
    if let (Ok(frame), Some(at)) = (read_frame(between), between.iter().position(|b| *b == DELIMITER)) {
        report.defect("unescaped_delimiter", at.saturating_add(1));
        report.frame(&frame);
    }
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
    let mut frames = Frames::new();
    let mut n = 0u32;
    for chunk in bytes.chunks(4096) {
        frames.push(chunk);
        while let Some(frame) = frames.next() {
            n = n.saturating_add(1);
            match frame {
                Ok(frame) => human_frame(&mut text, n, &frame),
                Err(error) => text.push_str(&format!("frame {n} at byte {}: refused: {error}\n", frames.frame_at())),
            }
        }
    }
    if frames.skipped() > 0 {
        text.push_str(&format!("{} bytes outside any frame\n", frames.skipped()));
    }
    if frames.pending() > 0 {
        text.push_str(&format!("incomplete: {} bytes after the last 7e wait for their end mark\n", frames.pending()));
    }
    if text.is_empty() {
        text.push_str("no frame: a frame stands between two bytes 7e\n");
    }
    text
}

fn human_frame(text: &mut String, n: u32, frame: &Frame) {
    let header = &frame.header;
    let mut line = |name: &str, value: &str| text.push_str(&format!("  {name:<16}{value}\n"));
    line("frame", &format!("{n}, checksum holds"));
    line("message", &format!("{:#06x} {}", header.message_id, message_name(header.message_id)));
    let protocol = header.protocol_version.map(|v| format!(", protocol version {v}")).unwrap_or_default();
    line("layout", &format!("{}{protocol}", header.version.as_str()));
    line("phone", &header.phone);
    line("serial", &header.serial.to_string());
    let length =
        if frame.length_ok { "as the header says".to_owned() } else { format!("but the header says {}: refused", header.body_len) };
    line("body", &format!("{} bytes, {length}", frame.body.len()));
    if header.encryption != 0 {
        line("encryption", &header.encryption.to_string());
    }
    if let Some((total, index)) = header.part {
        line("part", &format!("{index} of {total}"));
    }
    let (message, defects) = frame.decode();
    human_value(text, 4, "", &message_json(&message, header.version));
    for defect in defects {
        text.push_str(&format!("  ! {} at body byte {}\n", defect.code, defect.at));
    }
}

fn human_value(text: &mut String, indent: usize, name: &str, value: &Value) {
    let pad = " ".repeat(indent);
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            if !name.is_empty() {
                text.push_str(&format!("{pad}{name}\n"));
            }
            let deeper = if name.is_empty() { indent } else { indent.saturating_add(2) };
            for (name, value) in fields {
                human_value(text, deeper, name, value);
            }
        }
        Value::Array(list) if list.iter().any(Value::is_object) => {
            for (i, value) in list.iter().enumerate() {
                let name = format!("{name} {}", i.saturating_add(1));
                match value.as_object().and_then(one_line) {
                    Some(line) => text.push_str(&format!("{pad}{name}: {line}\n")),
                    None => human_value(text, indent, &name, value),
                }
            }
        }
        Value::Array(list) if list.is_empty() => {}
        Value::Array(list) => {
            let list: Vec<String> = list.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect();
            text.push_str(&format!("{pad}{name}: {}\n", list.join(", ")));
        }
        Value::String(s) => text.push_str(&format!("{pad}{name}: {s}\n")),
        other => text.push_str(&format!("{pad}{name}: {other}\n")),
    }
}

/// Items and parameters have few plain fields and fit a line, id and name first; positions do not.
fn one_line(fields: &Map<String, Value>) -> Option<String> {
    let plain = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    if fields.len() > 6 || fields.values().any(Value::is_object) {
        return None;
    }
    let lead = ["id", "name"].iter().filter_map(|key| fields.get(*key)).map(plain);
    let others = fields.iter().filter(|(key, value)| !["id", "name"].contains(&key.as_str()) && !value.is_null());
    Some(lead.chain(others.map(|(key, value)| format!("{key} {}", plain(value)))).collect::<Vec<_>>().join(", "))
}
