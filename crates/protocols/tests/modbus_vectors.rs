//! Modbus against frames and expectations of other implementations: scapy and pymodbus.
//!
//! The files are not part of this repository: `$ANLAN_SHARED/vectors/modbus.jsonl` and `modbus-damaged.jsonl`. Unset: prints
//! `skipped: 2` and passes. Agreement is counted and printed; what is about something else (RTU, ASCII, Python strings) is counted
//! apart by its reason, and whatever disagrees must stand in [`DISAGREEMENTS`].

use std::collections::BTreeMap;

use anlan_model::modbus::{Register, Table, ValueType, WordOrder};
use anlan_protocols::modbus::codec::{Frame, FrameError, Frames, PduError, Request, Response};
use anlan_protocols::modbus::plan;
use anlan_protocols::wire::{hex, unhex};
use serde_json::Value;

/// By the name of the upstream test: what we do otherwise, and why.
const DISAGREEMENTS: &[(&str, &str)] = &[
    (
        "MBAP Guess Payload ModbusPDU0CGetCommEventLogResponse",
        "the length says 2 and 9 bytes follow: what the length leaves out is the next frame, whose own length is then 0",
    ),
    (
        "MBAP Guess Payload ModbusPDU2B0EReadDeviceIdentificationRequest (2 level test)",
        "the length says 4 and 5 bytes follow: the last one belongs to the next frame",
    ),
];

enum Verdict {
    /// Agrees: what was compared.
    Agrees(&'static str),
    /// Not about Modbus TCP as we speak it.
    Apart(&'static str),
}

fn read(name: &str) -> Option<Vec<Value>> {
    let path = std::path::PathBuf::from(std::env::var_os("ANLAN_SHARED")?).join("vectors").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Some(text.lines().map(|l| serde_json::from_str(l).unwrap()).collect())
}

fn frames(bytes: &[u8]) -> (Vec<Result<Frame, FrameError>>, usize) {
    let mut cutter = Frames::default();
    cutter.push(bytes);
    let found = (&mut cutter).collect();
    (found, cutter.held())
}

#[test]
fn every_vector_agrees_or_is_explained() {
    let Some(vectors) = read("modbus.jsonl") else {
        println!("skipped: 2");
        return;
    };
    let (mut agree, mut apart, mut explained, mut surprises) = (BTreeMap::new(), BTreeMap::new(), Vec::new(), Vec::new());
    for (n, vector) in vectors.iter().enumerate() {
        let name = vector["source"]["test"].as_str().unwrap();
        match compare(vector) {
            Ok(Verdict::Agrees(what)) => *agree.entry(what).or_insert(0) += 1,
            Ok(Verdict::Apart(why)) => *apart.entry(why).or_insert(0) += 1,
            Err(why) => match DISAGREEMENTS.iter().find(|(test, _)| *test == name) {
                Some((_, reason)) => explained.push((name, *reason)),
                None => surprises.push(format!("line {} {name}: {why}", n + 1)),
            },
        }
    }
    let total: usize = agree.values().sum();
    println!("figure: modbus vectors: {} lines, {total} agree {agree:?}, apart {apart:?}, explained {}", vectors.len(), explained.len());
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
    assert_eq!(explained.len(), DISAGREEMENTS.len(), "a disagreement that is gone must leave the table");
    assert!(vectors.len() >= 134 && total >= 90, "only {total} of {} agree", vectors.len());
}

fn compare(vector: &Value) -> Result<Verdict, String> {
    let bytes = unhex(vector["hex"].as_str().unwrap()).unwrap().0;
    let expect = &vector["expect"];
    let test = vector["source"]["test"].as_str().unwrap();
    match expect["op"].as_str().unwrap() {
        "encode" | "decode" => scapy(&bytes, expect, test),
        "parametrize" => pymodbus(&bytes, expect["values"].as_str().unwrap(), test),
        "encode-pdu-body" => Ok(Verdict::Apart("a write's body")),
        other => Err(format!("unknown op {other}")),
    }
}

fn scapy(bytes: &[u8], expect: &Value, test: &str) -> Result<Verdict, String> {
    let class = expect["class"].as_str().or(expect["expr"].as_str()).unwrap();
    if !class.starts_with("ModbusADU") {
        return pdu(bytes, class, expect);
    }
    let (found, held) = frames(bytes);
    let frame = found.first().ok_or("no frame")?.as_ref().map_err(|e| e.to_string())?;
    if found.len() > 1 || held > 0 {
        return Err(format!("{} bytes beyond the frame", bytes.len() - 7 - frame.pdu.len()));
    }
    let mut again = Vec::new();
    frame.encode(&mut again);
    if !bytes.starts_with(&again) {
        return Err(format!("written again as {}", hex(&again)));
    }
    // `isinstance(p.payload, ModbusPDU04ReadInputRegistersResponse)`: the number and the side.
    let Some(named) = expect["asserts"][0].as_str().and_then(|a| a.split("ModbusPDU").nth(1)) else {
        return Ok(Verdict::Agrees("frame"));
    };
    let Ok(function) = u8::from_str_radix(&named[..2], 16) else { return Ok(Verdict::Agrees("frame of a reserved function")) };
    side(&frame.pdu, function, named).map_err(|e| format!("{test}: {e}"))
}

/// Checks a PDU against a name such as `03ReadHoldingRegistersResponse`.
fn side(pdu: &[u8], function: u8, named: &str) -> Result<Verdict, String> {
    let known = matches!(function, 1..=4) || named.starts_with("2B0E");
    let (asks, answers) = (Request::decode(pdu), Response::decode(pdu));
    if named.contains("Error") {
        return match answers {
            Ok(Response::Exception { function: f, .. }) if f == function || pdu[0] & 0x7f != function => Ok(Verdict::Agrees("exception")),
            other => Err(format!("{other:?}")),
        };
    }
    if pdu[0] != function {
        return Err(format!("function {:#04x}, upstream {function:#04x}", pdu[0]));
    }
    if !known {
        let unknown = PduError::Function(function);
        return if asks == Err(unknown) && answers == Err(unknown) {
            Ok(Verdict::Agrees("function of a write"))
        } else {
            Err(format!("{asks:?}"))
        };
    }
    if named.contains("Request") {
        asks.map(|r| (r.encode() == pdu).then_some(Verdict::Agrees("request")).ok_or("another PDU"))
            .map_err(|e| e.to_string())?
            .map_err(Into::into)
    } else {
        answers.map(|_| Verdict::Agrees("response")).map_err(|e| e.to_string())
    }
}

fn pdu(bytes: &[u8], class: &str, expect: &Value) -> Result<Verdict, String> {
    let named = class.split("ModbusPDU").nth(1).ok_or("no class")?;
    let function = u8::from_str_radix(&named[..2], 16).map_err(|e| e.to_string())?;
    let verdict = side(bytes, function, named)?;
    let response = Response::decode(bytes).ok();
    for assert in expect["asserts"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let Some((left, right)) = assert.split_once(" == ") else { continue };
        let number = |text: &str| text.strip_prefix("0x").map_or_else(|| text.parse(), |h| u64::from_str_radix(h, 16)).ok();
        let list = || -> Vec<u8> { right.trim_matches(['[', ']']).split(", ").filter_map(number).map(|n| n as u8).collect() };
        let same = match (left, &response) {
            ("p.coilStatus" | "p.inputStatus", Some(Response::Bits(bits))) => *bits == list(),
            ("p.byteCount", Some(Response::Bits(bits))) => Some(bits.len() as u64) == number(right),
            ("p.exceptCode", Some(Response::Exception { code, .. })) => Some(u64::from(code.0)) == number(right),
            ("p.funcCode", Some(Response::Exception { function, .. })) => Some(u64::from(function | 0x80)) == number(right),
            // About a sub-request of the file functions, which we keep as bytes.
            _ => true,
        };
        if !same {
            return Err(format!("{assert}: we have {response:?}"));
        }
    }
    Ok(verdict)
}

fn pymodbus(bytes: &[u8], values: &str, test: &str) -> Result<Verdict, String> {
    if values.contains("FramerType.ASCII") || values.contains("FramerType.RTU") {
        return Ok(Verdict::Apart("ASCII and RTU framing"));
    }
    match test {
        "test_client_mixin_convert_1234" => numbers(values),
        "test_bit_packing" | "test_bit_unpacking" => bits(bytes, values),
        "test_roundtrip" | "test_encode_type" => Ok(Verdict::Apart("a PDU without its frame")),
        _ if values.contains("FramerType.TLS") && bytes.len() < 8 => Ok(Verdict::Apart("framing of TLS")),
        _ => {
            let (found, held) = frames(bytes);
            let [Ok(frame)] = found.as_slice() else { return Err(format!("{found:?}")) };
            let mut again = Vec::new();
            frame.encode(&mut again);
            if held != 0 || again != bytes {
                return Err(format!("written again as {}", hex(&again)));
            }
            // (…, device id, transaction id, expected PDU) or (…, device id, transaction id).
            let numbers: Vec<u64> = values.trim_end_matches(')').split(", ").filter_map(|n| n.parse().ok()).collect();
            let fits = match numbers.as_slice() {
                [unit, transaction] => u64::from(frame.unit) == *unit && u64::from(frame.transaction) == *transaction,
                _ => numbers.is_empty(),
            };
            if fits { Ok(Verdict::Agrees("frame, unit and transaction")) } else { Err(format!("{frame:?} against {numbers:?}")) }
        }
    }
}

/// `(ModbusClientMixin.DATATYPE.INT32, -2130574588, [b'\x81\x02', …])`: the same registers, the same number.
fn numbers(values: &str) -> Result<Verdict, String> {
    let kind = match values.split("DATATYPE.").nth(1).and_then(|t| t.split(',').next()) {
        Some("INT16") => ValueType::I16,
        Some("INT32") => ValueType::I32,
        Some("INT64") => ValueType::I64,
        Some("STRING") => return Ok(Verdict::Apart("text in registers")),
        other => return Err(format!("type {other:?}")),
    };
    let words: Vec<u16> = values
        .split("b'")
        .skip(1)
        .map(|part| {
            let text = part.split('\'').next().unwrap();
            let bytes = unhex(&text.replace("\\x", "")).unwrap().0;
            u16::from_be_bytes([bytes[0], bytes[1]])
        })
        .collect();
    let inside = values.split_once(", ").unwrap().1;
    let wanted: Vec<f64> = inside.split(", [b'").next().unwrap().trim_matches(['[', ']']).split(", ").map(|n| n.parse().unwrap()).collect();
    let width = usize::from(kind.width());
    let request = Request::Read { table: Table::Holding, start: 0, count: words.len() as u16 };
    let response = Response::Registers(words);
    for (i, want) in wanted.iter().enumerate() {
        let (code, unit) = (String::new(), String::new());
        let address = (i * width) as u16;
        let register = Register {
            code,
            table: Table::Holding,
            address,
            kind,
            bit: None,
            order: WordOrder::Abcd,
            scale: 1.0,
            offset: 0.0,
            unit,
            interval_ms: 1,
        };
        let value = plan::value(&register, &request, &response);
        if value != Some(*want) {
            return Err(format!("{value:?}, upstream {want}"));
        }
    }
    Ok(Verdict::Agrees("numbers in registers"))
}

/// `(b'\x81\x05', [True] + [False] * 6 + [True, True, False, True])`: the same bits, in the same order.
fn bits(bytes: &[u8], values: &str) -> Result<Verdict, String> {
    let mut wanted = Vec::new();
    for part in values.split_once(", ").unwrap().1.trim_end_matches(')').split(" + ") {
        let (list, times) = part.split_once(" * ").map_or((part, 1), |(list, n)| (list, n.parse().unwrap()));
        let list: Vec<bool> = list.trim_matches(['[', ']']).split(", ").map(|b| b == "True").collect();
        wanted.extend(list.repeat(times));
    }
    // pymodbus packs pairs of bytes as one register, low byte second: its first bit is bit 0 of the first byte, as ours.
    let request = Request::Read { table: Table::Coil, start: 0, count: (bytes.len() * 8) as u16 };
    let response = Response::Bits(bytes.to_vec());
    for (i, want) in wanted.iter().enumerate() {
        let (code, unit) = (String::new(), String::new());
        let register = Register {
            code,
            table: Table::Coil,
            address: i as u16,
            kind: ValueType::Bool,
            bit: None,
            order: WordOrder::Abcd,
            scale: 1.0,
            offset: 0.0,
            unit,
            interval_ms: 1,
        };
        let value = plan::value(&register, &request, &response);
        if value != Some(f64::from(u8::from(*want))) {
            return Err(format!("bit {i} is {value:?}, upstream {want}"));
        }
    }
    Ok(Verdict::Agrees("bits"))
}

#[test]
fn damaged_frames_are_met_as_prescribed() {
    let Some(vectors) = read("modbus-damaged.jsonl") else { return };
    let mut n = 0;
    for vector in &vectors {
        let bytes = unhex(vector["hex"].as_str().unwrap()).unwrap().0;
        let (found, held) = frames(&bytes);
        let first = found.first();
        let as_told = match vector["expect"].as_str().unwrap() {
            "close" | "close: MBAP length >254" => matches!(first, Some(Err(FrameError::Length(_)))),
            "drop" => matches!(first, Some(Err(FrameError::Protocol(_)))) && found.iter().all(Result::is_err),
            "wait, then time out" => found.is_empty() && held == bytes.len(),
            other => panic!("{other}"),
        };
        assert!(as_told, "{vector}: {found:?}, {held} held");
        n += 1;
    }
    println!("figure: modbus damaged vectors: {n} of {} met as prescribed", vectors.len());
    assert!(n >= 100);
}
