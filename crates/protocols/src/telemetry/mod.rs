//! Anlan's own JSON payload: `{"at","values","quality","backfill"}` or an array of it, over MQTT and HTTP alike.
//!
//! All or nothing: one wrong member refuses the payload, which the caller then quarantines whole. Never reads a clock: a message
//! without a time has none. Start at [`parse`]; [`plain`] reads what most devices send without building anything. The contract is INTERFACES (MQTT); examples stand in the tests below.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anlan_model::{Quality, Timestamp};
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};

/// Values in one payload, over all its messages.
pub const VALUES_MAX: usize = 10_000;
/// Messages in one payload.
pub const MESSAGES_MAX: usize = 10_000;
/// Longest point code, characters.
pub const CODE_CHARS_MAX: usize = 200;
/// Array, message, `values`: three levels are needed, and one more for members we do not know.
const DEPTH_MAX: usize = 4;
/// JSON values of any kind in one payload, those in members we do not know included.
const NODES_MAX: usize = 3 * VALUES_MAX + 4 * MESSAGES_MAX;

/// One message: values of one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// The device's time; `None` if it gives none.
    pub at: Option<Timestamp>,
    /// Finite values by point code, in the order sent; no code twice. True is 1, false is 0.
    pub values: Vec<(String, f64)>,
    /// By point code; codes not named are good.
    pub quality: BTreeMap<String, Quality>,
    /// The device says that this is back-fill; whether it may is the caller's decision.
    pub backfill: bool,
}

/// What a payload says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Payload {
    /// In the order sent.
    pub messages: Vec<Message>,
    /// Values that are null, text, lists or objects: counted and left out.
    pub ignored: usize,
}

/// Why a payload cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct PayloadError {
    /// Where, such as `[3].values.TI-101`; `payload` for the whole.
    pub path: String,
    /// What is wrong.
    pub reason: String,
}

/// Reads a payload.
///
/// `at` is RFC 3339 or milliseconds since 1970 (fractions count). Members with other names are ignored.
///
/// # Errors
/// [`PayloadError`]: not JSON, wrong types, a time out of range, a code that is empty, too long, repeated or with control
/// characters, an unknown quality word, or beyond [`VALUES_MAX`], [`MESSAGES_MAX`] or four levels.
pub fn parse(payload: &[u8]) -> Result<Payload, PayloadError> {
    let mut left = NODES_MAX;
    let mut deserializer = serde_json::Deserializer::from_slice(payload);
    let root = Tree { depth: DEPTH_MAX, left: &mut left }
        .deserialize(&mut deserializer)
        .and_then(|root| deserializer.end().map(|()| root))
        .map_err(|e| refuse("payload", e.to_string()))?;
    let mut out = Payload::default();
    let mut left = VALUES_MAX;
    match root {
        Node::List(list) if list.len() > MESSAGES_MAX => return Err(refuse("payload", format!("more than {MESSAGES_MAX} messages"))),
        Node::List(list) => {
            for (i, node) in list.into_iter().enumerate() {
                let message = message(node, &format!("[{i}]"), &mut left, &mut out.ignored)?;
                out.messages.push(message);
            }
        }
        node => out.messages.push(message(node, "", &mut left, &mut out.ignored)?),
    }
    Ok(out)
}

/// More values than this are left to [`parse`]: looking for a repeated code costs their square.
const PLAIN_VALUES_MAX: usize = 32;

/// A message without anything unusual.
#[derive(Clone, Debug, PartialEq)]
pub struct Plain<'a> {
    /// The device's time, if it gives one.
    pub at: Option<Timestamp>,
    /// Values by point code, in the order sent, none twice.
    pub values: Vec<(&'a str, f64)>,
}

/// Reads `{"at":time,"values":{"code":number,…}}` with up to 32 values, in one pass and without a copy of any word.
///
/// `None` for everything else, good or bad, which [`parse`] then reads: other members, other values than numbers, codes with escapes or
/// beyond ASCII. What is read here means what [`parse`] would have said.
pub fn plain(payload: &[u8]) -> Option<Plain<'_>> {
    let mut scan = Scan { bytes: payload, at: 0 };
    let (mut at, mut values) = (None, None);
    scan.expect(b'{')?;
    loop {
        match scan.text()? {
            "at" if at.is_none() => {
                scan.expect(b':')?;
                at = Some(scan.time()?);
            }
            "values" if values.is_none() => {
                scan.expect(b':')?;
                values = Some(scan.values()?);
            }
            _ => return None,
        }
        match scan.next()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    scan.skip();
    (scan.at == payload.len()).then_some(Plain { at, values: values? })
}

/// Where [`plain`] stands.
struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }
    fn step(&mut self) {
        self.at = self.at.saturating_add(1);
    }
    /// Passes over blanks.
    fn skip(&mut self) {
        while self.peek().is_some_and(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')) {
            self.step();
        }
    }
    /// The next byte that is no blank.
    fn next(&mut self) -> Option<u8> {
        self.skip();
        let byte = self.peek()?;
        self.step();
        Some(byte)
    }
    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }
    /// What was passed since `from`; only ASCII was.
    fn since(&self, from: usize) -> Option<&'a str> {
        std::str::from_utf8(self.bytes.get(from..self.at)?).ok()
    }
    /// A text of printable ASCII without escapes.
    fn text(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        let from = self.at;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' | 0..=0x1f | 0x7f.. => return None,
                _ => self.step(),
            }
        }
        let text = self.since(from)?;
        self.step();
        Some(text)
    }
    fn digits(&mut self) -> Option<()> {
        let from = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.step();
        }
        (self.at > from).then_some(())
    }
    /// A number as RFC 8259 section 6 writes it, if it is finite as an `f64`.
    fn number(&mut self) -> Option<f64> {
        self.skip();
        let from = self.at;
        if self.peek()? == b'-' {
            self.step();
        }
        match self.peek()? {
            b'0' => self.step(),
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.step();
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.step();
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.step();
            }
            self.digits()?;
        }
        // The standard library rounds correctly, as the other reader does.
        self.since(from)?.parse().ok().filter(|value: &f64| value.is_finite())
    }
    fn time(&mut self) -> Option<Timestamp> {
        self.skip();
        if self.peek()? == b'"' { Timestamp::parse(self.text()?).ok() } else { milliseconds(self.number()?) }
    }
    fn values(&mut self) -> Option<Vec<(&'a str, f64)>> {
        self.expect(b'{')?;
        let mut values: Vec<(&str, f64)> = Vec::with_capacity(4);
        loop {
            let code = self.text()?;
            let fits = !code.is_empty() && code.len() <= CODE_CHARS_MAX && values.len() < PLAIN_VALUES_MAX;
            if !fits || values.iter().any(|(have, _)| *have == code) {
                return None;
            }
            self.expect(b':')?;
            values.push((code, self.number()?));
            match self.next()? {
                b',' => {}
                b'}' => return Some(values),
                _ => return None,
            }
        }
    }
}

/// Milliseconds since 1970, fractions too, if they are an instant.
fn milliseconds(ms: f64) -> Option<Timestamp> {
    let us = (ms * 1_000.0).round();
    // The model's range fits 2^53 microseconds many times over only in i64; compare before converting.
    let fits = us >= Timestamp::MIN.micros() as f64 && us <= Timestamp::MAX.micros() as f64;
    fits.then(|| Timestamp::from_micros(us as i64))
}

fn message(node: Node, path: &str, left: &mut usize, ignored: &mut usize) -> Result<Message, PayloadError> {
    let inside = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    let Node::Map(members) = node else {
        return Err(refuse(if path.is_empty() { "payload" } else { path }, "is not an object"));
    };
    let mut message = Message::default();
    let mut seen = BTreeSet::new();
    for (key, node) in members {
        let here = inside(&key);
        match key.as_str() {
            "at" => message.at = time(node, &here)?,
            "values" => message.values = values(node, &here, left, ignored)?,
            "quality" => message.quality = quality(node, &here)?,
            "backfill" => {
                message.backfill = match node {
                    Node::Bool(yes) => yes,
                    Node::Null => false,
                    _ => return Err(refuse(here, "is neither true nor false")),
                };
            }
            _ => continue,
        }
        if !seen.insert(key) {
            return Err(refuse(here, "is given twice"));
        }
    }
    if seen.contains("values") { Ok(message) } else { Err(refuse(inside("values"), "is missing")) }
}

fn time(node: Node, path: &str) -> Result<Option<Timestamp>, PayloadError> {
    match node {
        Node::Null => Ok(None),
        Node::Text(text) => Timestamp::parse(&text).map(Some).map_err(|e| refuse(path, e.to_string())),
        Node::Number(ms) => milliseconds(ms).map(Some).ok_or_else(|| refuse(path, "is out of range; milliseconds since 1970 are expected")),
        _ => Err(refuse(path, "is neither an RFC 3339 time nor milliseconds")),
    }
}

fn values(node: Node, path: &str, left: &mut usize, ignored: &mut usize) -> Result<Vec<(String, f64)>, PayloadError> {
    let Node::Map(members) = node else { return Err(refuse(path, "is not an object")) };
    *left = left.checked_sub(members.len()).ok_or_else(|| refuse(path, format!("more than {VALUES_MAX} values in one payload")))?;
    let mut values = Vec::with_capacity(members.len());
    let mut seen = BTreeSet::new();
    for (code, node) in members {
        check_code(&code, path)?;
        if !seen.insert(code.clone()) {
            return Err(refuse(format!("{path}.{code}"), "is given twice"));
        }
        match node {
            Node::Number(value) => values.push((code, value)),
            Node::Bool(yes) => values.push((code, f64::from(u8::from(yes)))),
            Node::Null | Node::Text(_) | Node::List(_) | Node::Map(_) => *ignored = ignored.saturating_add(1),
        }
    }
    Ok(values)
}

fn quality(node: Node, path: &str) -> Result<BTreeMap<String, Quality>, PayloadError> {
    let members = match node {
        Node::Null => return Ok(BTreeMap::new()),
        Node::Map(members) => members,
        _ => return Err(refuse(path, "is not an object")),
    };
    let mut words = BTreeMap::new();
    for (code, node) in members {
        check_code(&code, path)?;
        let word = match &node {
            Node::Text(word) => Quality::parse(word),
            _ => None,
        };
        let word = word.ok_or_else(|| refuse(format!("{path}.{code}"), "is not one of good, uncertain, bad"))?;
        if words.insert(code.clone(), word).is_some() {
            return Err(refuse(format!("{path}.{code}"), "is given twice"));
        }
    }
    Ok(words)
}

fn check_code(code: &str, path: &str) -> Result<(), PayloadError> {
    if code.is_empty() {
        Err(refuse(path, "has an empty code"))
    } else if code.chars().count() > CODE_CHARS_MAX {
        Err(refuse(path, format!("has a code longer than {CODE_CHARS_MAX} characters")))
    } else if code.chars().any(char::is_control) {
        Err(refuse(path, "has a code with a control character"))
    } else {
        Ok(())
    }
}

fn refuse(path: impl Into<String>, reason: impl Into<String>) -> PayloadError {
    PayloadError { path: path.into(), reason: reason.into() }
}

/// JSON as sent: members in order and repeated ones still there, which `serde_json::Value` would hide.
enum Node {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// Reads a [`Node`] at most `depth` levels deep, with at most `left` values in all.
struct Tree<'a> {
    depth: usize,
    left: &'a mut usize,
}

impl Tree<'_> {
    fn count<E: serde::de::Error>(&mut self) -> Result<(), E> {
        *self.left = self.left.checked_sub(1).ok_or_else(|| E::custom("too many values"))?;
        Ok(())
    }
    fn deeper<E: serde::de::Error>(&self) -> Result<usize, E> {
        self.depth.checked_sub(1).ok_or_else(|| E::custom("nested too deeply"))
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Node;
    fn deserialize<D: serde::Deserializer<'de>>(mut self, deserializer: D) -> Result<Node, D::Error> {
        self.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Node;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }
    fn visit_bool<E>(self, yes: bool) -> Result<Node, E> {
        Ok(Node::Bool(yes))
    }
    fn visit_u64<E>(self, n: u64) -> Result<Node, E> {
        // `as` rounds to the nearest f64, ties to even: correctly rounded like every other number here.
        Ok(Node::Number(n as f64))
    }
    fn visit_i64<E>(self, n: i64) -> Result<Node, E> {
        Ok(Node::Number(n as f64))
    }
    fn visit_f64<E: serde::de::Error>(self, n: f64) -> Result<Node, E> {
        if n.is_finite() { Ok(Node::Number(n)) } else { Err(E::custom("number out of range")) }
    }
    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let depth = self.deeper()?;
        let mut list = Vec::new();
        while let Some(node) = seq.next_element_seed(Tree { depth, left: &mut *self.left })? {
            list.push(node);
        }
        Ok(Node::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let depth = self.deeper()?;
        let mut members = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            members.push((key, map.next_value_seed(Tree { depth, left: &mut *self.left })?));
        }
        if members.len() > NODES_MAX { Err(A::Error::custom("too many members")) } else { Ok(Node::Map(members)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(text: &str) -> Payload {
        parse(text.as_bytes()).unwrap()
    }
    fn check_refused(text: &str, path: &str, part: &str) {
        let error = parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.path, path, "{text}");
        assert!(error.reason.contains(part), "{text}: {error}");
    }

    #[test]
    fn one_message_or_many() {
        let payload = good(r#"{"at":"2026-11-23T09:16:22+08:00","values":{"TI-101":12.3,"XV":true,"n":-3},"quality":{"TI-101":"bad"}}"#);
        let message = &payload.messages[0];
        assert_eq!(message.at, Some(Timestamp::parse("2026-11-23T01:16:22Z").unwrap()));
        assert_eq!(message.values, [("TI-101".to_owned(), 12.3), ("XV".to_owned(), 1.0), ("n".to_owned(), -3.0)]);
        assert_eq!(message.quality.get("TI-101"), Some(&Quality::Bad));
        assert!(!message.backfill);
        let payload = good(r#"[{"at":1700000000123,"values":{"a":1},"backfill":true},{"values":{}}]"#);
        assert_eq!(payload.messages[0].at, Some(Timestamp::from_millis(1_700_000_000_123)));
        assert!(payload.messages[0].backfill);
        assert_eq!(payload.messages[1], Message::default());
        assert_eq!(good(r#"{"at":1700000000000.5,"values":{}}"#).messages[0].at, Some(Timestamp::from_micros(1_700_000_000_000_500)));
    }

    #[test]
    fn what_is_read_plainly_means_what_the_careful_reader_says() {
        let check = |text: &str, is_plain: bool| {
            let read = plain(text.as_bytes());
            assert_eq!(read.is_some(), is_plain, "{text}");
            let Some(read) = read else { return };
            let careful = good(text);
            assert_eq!((careful.messages.len(), careful.ignored), (1, 0), "{text}");
            let message = &careful.messages[0];
            assert_eq!((read.at, message.backfill, message.quality.len()), (message.at, false, 0), "{text}");
            let bits = |(code, value): (&str, f64)| (code.to_owned(), value.to_bits());
            let plainly: Vec<_> = read.values.into_iter().map(bits).collect();
            let carefully: Vec<_> = message.values.iter().map(|(code, value)| bits((code, *value))).collect();
            assert_eq!(plainly, carefully, "{text}");
        };
        let numbers = "0 -0 -0.0 1 12.34 -7.5e-3 1E3 1e+2 9007199254740993 18446744073709551617 0.1 5e-324 2.2250738585072011e-308 \
                       1.7976931348623157e308 123456789012345678901234567890.5";
        for number in numbers.split_whitespace() {
            check(&format!("{{\"at\":1700000000123,\"values\":{{\"TI-101\":{number},\"b\":1}}}}"), true);
        }
        for at in ["0", "-1", "1700000000000.5", "1.7e12", "\"2026-11-23T09:16:22+08:00\"", "\"2026-11-23T01:16:22.123456Z\""] {
            check(&format!(" {{ \"values\" :\t{{ \"a\" : 1 }} ,\r\n \"at\" : {at} }} "), true);
        }
        check(r#"{"values":{"a":1}}"#, true);
        let left_to_the_other = r#"
            {"values":{}}
            {"at":null,"values":{"a":1}}
            [{"values":{"a":1}}]
            {"values":{"a":true}}
            {"values":{"a":1},"quality":{"a":"bad"}}
            {"values":{"a\u0062":1}}
            {"values":{"温度":1}}
            {"at":1e18,"values":{"a":1}}
            {"values":{"a":01}}
            {"values":{"a":1.}}
            {"values":{"a":.5}}
            {"values":{"a":+1}}
            {"values":{"a":-}}
            {"values":{"a":1e}}
            {"values":{"a":1e999}}
            {"values":{"a":NaN}}
            {"values":{"a":1,}}
            {"values":{"a":1},}
            {"values":{"a":1,"a":2}}
            {"values":{"":1}}
            {"values":{"a":1}} x
            {"values":{"a":1}
            {"at":1}
            {"at":1,"at":2,"values":{"a":1}}
            {"values":{"a" 1}}
            {"values" {"a":1}}
            {
            {}"#;
        for text in left_to_the_other.lines().map(str::trim).chain(["{\"values\":{\"a\u{7f}\":1}}"]) {
            check(text, false);
        }
        let many = |n: usize| format!("{{\"values\":{{{}}}}}", (0..n).map(|i| format!("\"p{i}\":{i}")).collect::<Vec<_>>().join(","));
        check(&many(PLAIN_VALUES_MAX), true);
        check(&many(PLAIN_VALUES_MAX + 1), false);
        check(&format!("{{\"values\":{{\"{}\":1}}}}", "c".repeat(CODE_CHARS_MAX)), true);
        check(&format!("{{\"values\":{{\"{}\":1}}}}", "c".repeat(CODE_CHARS_MAX + 1)), false);
    }

    #[test]
    fn text_and_null_are_counted_and_ignored() {
        let payload = good(r#"{"values":{"a":null,"b":"x","c":[1],"d":{},"e":1},"unit":"kPa","at":null}"#);
        assert_eq!((payload.ignored, payload.messages[0].values.len()), (4, 1));
    }

    #[test]
    fn numbers_are_correctly_rounded() {
        // 2^53 + 1 as an integer, as a decimal, and a number that a sloppy parser rounds to its neighbour.
        for (text, bits) in [
            ("9007199254740993", 9_007_199_254_740_992_f64.to_bits()),
            ("9007199254740993.0", 9_007_199_254_740_992_f64.to_bits()),
            ("18446744073709551617", 18_446_744_073_709_551_616_f64.to_bits()),
            ("0.1", 0x3fb9_9999_9999_999a),
            ("2.2250738585072011e-308", 0x000f_ffff_ffff_ffff),
            ("5e-324", 1),
        ] {
            assert_eq!(good(&format!("{{\"values\":{{\"a\":{text}}}}}")).messages[0].values[0].1.to_bits(), bits, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_place() {
        check_refused("", "payload", "EOF");
        check_refused("12", "payload", "not an object");
        check_refused("{}", "values", "missing");
        check_refused(r#"[{"values":{}},7]"#, "[1]", "not an object");
        check_refused(r#"[{"values":{}},{"values":[]}]"#, "[1].values", "not an object");
        check_refused(r#"{"values":{"a":1,"a":2}}"#, "values.a", "twice");
        check_refused(r#"{"values":{},"values":{}}"#, "values", "twice");
        check_refused(r#"{"values":{"":1}}"#, "values", "empty");
        check_refused(r#"{"values":{"a\u0000":1}}"#, "values", "control");
        check_refused(r#"{"values":{},"at":"yesterday"}"#, "at", "RFC 3339");
        check_refused(r#"{"values":{},"at":1e18}"#, "at", "range");
        check_refused(r#"{"values":{},"at":true}"#, "at", "neither");
        check_refused(r#"{"values":{},"quality":{"a":"fine"}}"#, "quality.a", "good");
        check_refused(r#"{"values":{},"backfill":1}"#, "backfill", "true");
        check_refused(r#"{"values":{"a":1e999}}"#, "payload", "range");
        check_refused(r#"{"values":{"a":NaN}}"#, "payload", "expected");
        check_refused(r#"{"values":{}} x"#, "payload", "trailing");
        check_refused("{\"values\":{\"\u{7f}\":1}}", "values", "control");
    }

    #[test]
    fn limits_hold() {
        let values = |n: usize| (0..n).map(|i| format!("\"v{i}\":1")).collect::<Vec<_>>().join(",");
        assert_eq!(good(&format!("{{\"values\":{{{}}}}}", values(VALUES_MAX))).messages[0].values.len(), VALUES_MAX);
        check_refused(&format!("{{\"values\":{{{}}}}}", values(VALUES_MAX + 1)), "values", "more than");
        check_refused(&format!("[{0},{0}]", format!("{{\"values\":{{{}}}}}", values(VALUES_MAX / 2 + 1))), "[1].values", "more than");
        check_refused(&format!("{{\"x\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000)), "payload", "nested");
        check_refused(&format!("[{}]", vec!["0"; NODES_MAX + 1].join(",")), "payload", "too many");
        check_refused(&format!("{{\"values\":{{\"{}\":1}}}}", "长".repeat(201)), "values", "longer");
    }
}
