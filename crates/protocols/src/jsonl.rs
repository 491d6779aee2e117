//! Lines of `anlan decode <protocol> --jsonl`: what all protocols in frames answer alike. The form is that of INTERFACES ("decode").

use serde_json::{Value, json};

use crate::jt808::Defect;
use crate::wire;

/// What is said of one line.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) ok: bool,
    pub(crate) frames: Vec<Value>,
    pub(crate) defects: Vec<Value>,
}

impl Report {
    /// `at` counts bytes of the input.
    pub(crate) fn defect(&mut self, code: &str, at: usize) {
        self.defects.push(json!({ "code": code, "at": at }));
    }
    /// Of the frame that is shown next; they count bytes of its body.
    pub(crate) fn body_defects(&mut self, defects: &[Defect]) {
        let frame = self.frames.len();
        self.defects.extend(defects.iter().map(|d| json!({ "code": d.code, "at": d.at, "frame": frame })));
    }
    /// The bytes of hex in the input.
    pub(crate) fn unhex(&mut self, text: &str) -> Option<Vec<u8>> {
        match wire::unhex(text) {
            Ok((bytes, odd)) => {
                if odd {
                    self.defect("odd_hex", bytes.len());
                }
                Some(bytes)
            }
            Err(wire::HexError::Digit(at)) => {
                self.defect("invalid_hex", at);
                None
            }
        }
    }
    /// Of which message a lone body is.
    pub(crate) fn message_id(&mut self, input: &Value) -> Option<u16> {
        let id = match input.get("message_id") {
            Some(Value::String(text)) => u16::from_str_radix(text.trim_start_matches("0x").trim_start_matches("0X"), 16).ok(),
            Some(Value::Number(number)) => number.as_u64().and_then(|n| u16::try_from(n).ok()),
            _ => None,
        };
        if id.is_none() {
            self.defect("needs_message_id", 0);
        }
        id
    }
}

/// The answer to a line, which `decode` reads if it is an object.
pub(crate) fn answer(line: &str, line_no: u64, decode: impl FnOnce(&Value, &mut Report)) -> String {
    let mut report = Report::default();
    let input = match serde_json::from_str::<Value>(line) {
        Ok(input @ Value::Object(_)) => input,
        Ok(_) => {
            report.defect("invalid_json", 0);
            Value::Null
        }
        Err(error) => {
            report.defect("invalid_json", error.column());
            Value::Null
        }
    };
    if input.is_object() {
        decode(&input, &mut report);
    }
    let id = input.get("id").cloned().unwrap_or(Value::Null);
    json!({ "id": id, "line": line_no, "ok": report.ok, "frames": report.frames, "defects": report.defects }).to_string()
}

/// The id of a message as it is written.
pub(crate) fn id_text(id: u16) -> String {
    format!("{id:#06x}")
}
