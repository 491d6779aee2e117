//! Every protocol in one place: what `anlan decode`, the contract tests and the generated documentation go through.
//!
//! A new protocol is a folder here and a row there; nothing else has to be told. Start at [`PROTOCOLS`].

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    /// The word on the command line.
    pub name: &'static str,
    /// What it implements.
    pub standard: &'static str,
    /// One input line of `anlan decode NAME --jsonl` and its number, from 1, to one output line (INTERFACES, decode).
    pub decode_jsonl: fn(&str, u64) -> String,
    /// Hex (for `line` and `cap`: text) to a text for people.
    pub decode_human: fn(&str) -> String,
    /// The folder's `protocol.toml`: what is covered, what is missing, by which source.
    pub description: &'static str,
}

/// All protocols that have bytes or text of their own.
pub const PROTOCOLS: &[Protocol] = &[
    Protocol {
        name: "jt808",
        standard: "JT/T 808-2011, -2013, -2019",
        decode_jsonl: crate::jt808::decode_jsonl_line,
        decode_human: crate::jt808::decode_human,
        description: include_str!("jt808/protocol.toml"),
    },
    Protocol {
        name: "jt809",
        standard: "JT/T 809-2011, -2019; JT/T 1078 between platforms",
        decode_jsonl: crate::jt809::decode_jsonl_line,
        decode_human: crate::jt809::decode_human,
        description: include_str!("jt809/protocol.toml"),
    },
    Protocol {
        name: "mqtt",
        standard: "MQTT 3.1, 3.1.1, 5.0",
        decode_jsonl: crate::mqtt::decode_jsonl_line,
        decode_human: crate::mqtt::decode_human,
        description: include_str!("mqtt/protocol.toml"),
    },
    Protocol {
        name: "line",
        standard: "InfluxDB line protocol (1.8, 2.7)",
        decode_jsonl: crate::line::decode_jsonl_line,
        decode_human: crate::line::decode_human,
        description: include_str!("line/protocol.toml"),
    },
    Protocol {
        name: "modbus",
        standard: "Modbus TCP (V1.1b3, V1.0b)",
        decode_jsonl: crate::modbus::decode_jsonl_line,
        decode_human: crate::modbus::decode_human,
        description: include_str!("modbus/protocol.toml"),
    },
    Protocol {
        name: "cap",
        standard: "CAP 1.2 (OASIS)",
        decode_jsonl: crate::cap::decode_jsonl_line,
        decode_human: crate::cap::decode_human,
        description: include_str!("cap/protocol.toml"),
    },
];

/// The row called `name`.
pub fn find(name: &str) -> Option<&'static Protocol> {
    PROTOCOLS.iter().find(|p| p.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_protocol_answers_nonsense_in_the_common_form() {
        for p in PROTOCOLS {
            for nonsense in ["", "{}", "[]", "{\"hex\":\"zz\"}", "{\"id\":7,\"recipe\":\"x\"}", "{\"kind\":\"body\",\"hex\":\"00\"}"] {
                let answer: serde_json::Value = serde_json::from_str(&(p.decode_jsonl)(nonsense, 3)).unwrap();
                assert_eq!((&answer["line"], &answer["ok"]), (&serde_json::json!(3), &serde_json::json!(false)), "{} {nonsense}", p.name);
                assert!(answer["defects"].as_array().is_some_and(|d| !d.is_empty()), "{} {nonsense}", p.name);
            }
            assert!(!(p.decode_human)("zz").is_empty() && p.description.contains(p.name));
        }
        assert!(find("jt808").is_some() && find("telex").is_none());
    }
}
