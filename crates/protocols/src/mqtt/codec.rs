//! MQTT packets: bytes to [`Packet`] and back, for 3.1, 3.1.1 and 5, for both ends of a connection.
//!
//! Strict: whatever the standard calls malformed is refused here, with the reason that a version 5 peer can be told.
//! Knows nothing about sessions, who may publish what, or time; that is [`super::server`].
//! Start at [`Decoder`] for reading and [`Packet::encode`] for writing.
//!
//! Sources: OASIS MQTT 3.1.1 (2014-10-29) and MQTT 5.0 (2019-03-07), sections 2 and 3; 3.1 as published by IBM in 2010.

use crate::wire::{Reader, Truncated};

/// The largest remaining length that four bytes can say (MQTT 5.0 §1.5.5).
pub const REMAINING_MAX: usize = 268_435_455;

/// What an idle [`Decoder`] keeps allocated.
const KEPT_BYTES: usize = 16 * 1024;

/// The protocol version, as the CONNECT packet's level says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 3.1, protocol name `MQIsdp`, level 3.
    V3_1,
    /// 3.1.1, protocol name `MQTT`, level 4.
    V3_1_1,
    /// 5.0, protocol name `MQTT`, level 5.
    V5,
}

impl Version {
    /// The level byte of CONNECT.
    pub const fn level(self) -> u8 {
        match self {
            Self::V3_1 => 3,
            Self::V3_1_1 => 4,
            Self::V5 => 5,
        }
    }
    /// The version of a level byte.
    pub const fn from_level(level: u8) -> Option<Self> {
        match level {
            3 => Some(Self::V3_1),
            4 => Some(Self::V3_1_1),
            5 => Some(Self::V5),
            _ => None,
        }
    }
    /// As shown to people: `3.1`, `3.1.1`, `5`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V3_1 => "3.1",
            Self::V3_1_1 => "3.1.1",
            Self::V5 => "5",
        }
    }
    const fn protocol_name(self) -> &'static str {
        match self {
            Self::V3_1 => "MQIsdp",
            Self::V3_1_1 | Self::V5 => "MQTT",
        }
    }
}

/// Quality of service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Qos {
    /// 0: sent once, never answered.
    #[default]
    AtMostOnce,
    /// 1: repeated until PUBACK.
    AtLeastOnce,
    /// 2: four packets. Decoded, but not offered by [`super::server`].
    ExactlyOnce,
}

impl Qos {
    /// 0, 1 or 2.
    pub const fn level(self) -> u8 {
        match self {
            Self::AtMostOnce => 0,
            Self::AtLeastOnce => 1,
            Self::ExactlyOnce => 2,
        }
    }
    /// `None` for 3 and above.
    pub const fn from_level(level: u8) -> Option<Self> {
        match level {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// The packet type of the fixed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // the names are the standard's own
pub enum Kind {
    Connect = 1,
    Connack = 2,
    Publish = 3,
    Puback = 4,
    Pubrec = 5,
    Pubrel = 6,
    Pubcomp = 7,
    Subscribe = 8,
    Suback = 9,
    Unsubscribe = 10,
    Unsuback = 11,
    Pingreq = 12,
    Pingresp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl Kind {
    const ALL: [Self; 15] = [
        Self::Connect,
        Self::Connack,
        Self::Publish,
        Self::Puback,
        Self::Pubrec,
        Self::Pubrel,
        Self::Pubcomp,
        Self::Subscribe,
        Self::Suback,
        Self::Unsubscribe,
        Self::Unsuback,
        Self::Pingreq,
        Self::Pingresp,
        Self::Disconnect,
        Self::Auth,
    ];
    /// The type in the high nibble of the first byte; `None` for the reserved type 0.
    pub fn from_first_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte >> 4).wrapping_sub(1)).copied()
    }
    /// Lower-case name: `connect`, `publish`, …
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Connack => "connack",
            Self::Publish => "publish",
            Self::Puback => "puback",
            Self::Pubrec => "pubrec",
            Self::Pubrel => "pubrel",
            Self::Pubcomp => "pubcomp",
            Self::Subscribe => "subscribe",
            Self::Suback => "suback",
            Self::Unsubscribe => "unsubscribe",
            Self::Unsuback => "unsuback",
            Self::Pingreq => "pingreq",
            Self::Pingresp => "pingresp",
            Self::Disconnect => "disconnect",
            Self::Auth => "auth",
        }
    }
    const fn bit(self) -> u16 {
        1 << (self as u8)
    }
    /// The low nibble that every packet of this type must carry; PUBLISH has real flags there (MQTT 5.0 §2.1.3).
    const fn flags(self) -> u8 {
        match self {
            Self::Pubrel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        }
    }
    /// The reason codes that a version 5 packet of this type may carry (MQTT 5.0 §2.4 and §3).
    const fn reasons(self) -> &'static [u8] {
        match self {
            Self::Connack => &[
                0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b, 0x9c,
                0x9d, 0x9f,
            ],
            Self::Puback | Self::Pubrec => &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
            Self::Pubrel | Self::Pubcomp => &[0x00, 0x92],
            Self::Suback => &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2],
            Self::Unsuback => &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91],
            Self::Disconnect => &[
                0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
                0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
            ],
            Self::Auth => &[0x00, 0x18, 0x19],
            _ => &[],
        }
    }
}

/// Reason codes by name, the ones this crate sends (MQTT 5.0 §2.4).
#[allow(missing_docs)] // the names are the standard's own
pub mod reason {
    pub const SUCCESS: u8 = 0x00;
    pub const NO_SUBSCRIPTION_EXISTED: u8 = 0x11;
    pub const UNSPECIFIED: u8 = 0x80;
    pub const MALFORMED_PACKET: u8 = 0x81;
    pub const PROTOCOL_ERROR: u8 = 0x82;
    pub const UNSUPPORTED_VERSION: u8 = 0x84;
    pub const CLIENT_ID_INVALID: u8 = 0x85;
    pub const BAD_USER_NAME_OR_PASSWORD: u8 = 0x86;
    pub const NOT_AUTHORIZED: u8 = 0x87;
    pub const SERVER_UNAVAILABLE: u8 = 0x88;
    pub const SERVER_BUSY: u8 = 0x89;
    pub const BANNED: u8 = 0x8a;
    pub const SERVER_SHUTTING_DOWN: u8 = 0x8b;
    pub const BAD_AUTHENTICATION_METHOD: u8 = 0x8c;
    pub const KEEP_ALIVE_TIMEOUT: u8 = 0x8d;
    pub const SESSION_TAKEN_OVER: u8 = 0x8e;
    pub const TOPIC_NAME_INVALID: u8 = 0x90;
    pub const PACKET_IDENTIFIER_NOT_FOUND: u8 = 0x92;
    pub const RECEIVE_MAXIMUM_EXCEEDED: u8 = 0x93;
    pub const TOPIC_ALIAS_INVALID: u8 = 0x94;
    pub const PACKET_TOO_LARGE: u8 = 0x95;
    pub const MESSAGE_RATE_TOO_HIGH: u8 = 0x96;
    pub const QUOTA_EXCEEDED: u8 = 0x97;
    pub const ADMINISTRATIVE_ACTION: u8 = 0x98;
    pub const PAYLOAD_FORMAT_INVALID: u8 = 0x99;
    pub const QOS_NOT_SUPPORTED: u8 = 0x9b;
    pub const CONNECTION_RATE_EXCEEDED: u8 = 0x9f;
}

/// Property identifiers by name (MQTT 5.0 table 2-4).
#[allow(missing_docs)] // the names are the standard's own
pub mod property {
    pub const PAYLOAD_FORMAT_INDICATOR: u8 = 0x01;
    pub const MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
    pub const CONTENT_TYPE: u8 = 0x03;
    pub const RESPONSE_TOPIC: u8 = 0x08;
    pub const CORRELATION_DATA: u8 = 0x09;
    pub const SUBSCRIPTION_IDENTIFIER: u8 = 0x0b;
    pub const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
    pub const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
    pub const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub const AUTHENTICATION_METHOD: u8 = 0x15;
    pub const AUTHENTICATION_DATA: u8 = 0x16;
    pub const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    pub const WILL_DELAY_INTERVAL: u8 = 0x18;
    pub const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    pub const RESPONSE_INFORMATION: u8 = 0x1a;
    pub const SERVER_REFERENCE: u8 = 0x1c;
    pub const REASON_STRING: u8 = 0x1f;
    pub const RECEIVE_MAXIMUM: u8 = 0x21;
    pub const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub const TOPIC_ALIAS: u8 = 0x23;
    pub const MAXIMUM_QOS: u8 = 0x24;
    pub const RETAIN_AVAILABLE: u8 = 0x25;
    pub const USER_PROPERTY: u8 = 0x26;
    pub const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub const WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 0x28;
    pub const SUBSCRIPTION_IDENTIFIER_AVAILABLE: u8 = 0x29;
    pub const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 0x2a;
}

/// How a property's value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Byte,
    Two,
    Four,
    Varint,
    Text,
    Binary,
    Pair,
}

/// One row of MQTT 5.0 table 2-4: which packets may carry the property, and which numbers it may hold.
struct PropertyRule {
    id: u8,
    name: &'static str,
    shape: Shape,
    on: u16,
    /// Smallest and largest number allowed; texts ignore it.
    range: (u32, u32),
}

/// The bit of will properties in [`PropertyRule::on`]; packet type 0 does not exist, so its bit is free.
const WILL: u16 = 1;
const CONNECT: u16 = Kind::Connect.bit();
const CONNACK: u16 = Kind::Connack.bit();
const PUBLISH: u16 = Kind::Publish.bit();
const SUBSCRIBE: u16 = Kind::Subscribe.bit();
const DISCONNECT: u16 = Kind::Disconnect.bit();
const AUTH: u16 = Kind::Auth.bit();
const ANSWERS: u16 =
    Kind::Puback.bit() | Kind::Pubrec.bit() | Kind::Pubrel.bit() | Kind::Pubcomp.bit() | Kind::Suback.bit() | Kind::Unsuback.bit();
const ANY: (u32, u32) = (0, u32::MAX);
const FLAG: (u32, u32) = (0, 1);
const NOT_ZERO: (u32, u32) = (1, u32::MAX);

const fn rule(id: u8, name: &'static str, shape: Shape, on: u16, range: (u32, u32)) -> PropertyRule {
    PropertyRule { id, name, shape, on, range }
}

#[rustfmt::skip]
const PROPERTY_RULES: [PropertyRule; 27] = [
    rule(0x01, "payload_format_indicator", Shape::Byte, PUBLISH | WILL, FLAG),
    rule(0x02, "message_expiry_interval", Shape::Four, PUBLISH | WILL, ANY),
    rule(0x03, "content_type", Shape::Text, PUBLISH | WILL, ANY),
    rule(0x08, "response_topic", Shape::Text, PUBLISH | WILL, ANY),
    rule(0x09, "correlation_data", Shape::Binary, PUBLISH | WILL, ANY),
    rule(0x0b, "subscription_identifier", Shape::Varint, PUBLISH | SUBSCRIBE, NOT_ZERO),
    rule(0x11, "session_expiry_interval", Shape::Four, CONNECT | CONNACK | DISCONNECT, ANY),
    rule(0x12, "assigned_client_identifier", Shape::Text, CONNACK, ANY),
    rule(0x13, "server_keep_alive", Shape::Two, CONNACK, ANY),
    rule(0x15, "authentication_method", Shape::Text, CONNECT | CONNACK | AUTH, ANY),
    rule(0x16, "authentication_data", Shape::Binary, CONNECT | CONNACK | AUTH, ANY),
    rule(0x17, "request_problem_information", Shape::Byte, CONNECT, FLAG),
    rule(0x18, "will_delay_interval", Shape::Four, WILL, ANY),
    rule(0x19, "request_response_information", Shape::Byte, CONNECT, FLAG),
    rule(0x1a, "response_information", Shape::Text, CONNACK, ANY),
    rule(0x1c, "server_reference", Shape::Text, CONNACK | DISCONNECT, ANY),
    rule(0x1f, "reason_string", Shape::Text, CONNACK | ANSWERS | DISCONNECT | AUTH, ANY),
    rule(0x21, "receive_maximum", Shape::Two, CONNECT | CONNACK, NOT_ZERO),
    rule(0x22, "topic_alias_maximum", Shape::Two, CONNECT | CONNACK, ANY),
    rule(0x23, "topic_alias", Shape::Two, PUBLISH, ANY),
    rule(0x24, "maximum_qos", Shape::Byte, CONNACK, FLAG),
    rule(0x25, "retain_available", Shape::Byte, CONNACK, FLAG),
    rule(0x26, "user_property", Shape::Pair, u16::MAX, ANY),
    rule(0x27, "maximum_packet_size", Shape::Four, CONNECT | CONNACK, NOT_ZERO),
    rule(0x28, "wildcard_subscription_available", Shape::Byte, CONNACK, FLAG),
    rule(0x29, "subscription_identifier_available", Shape::Byte, CONNACK, FLAG),
    rule(0x2a, "shared_subscription_available", Shape::Byte, CONNACK, FLAG),
];

fn property_rule(id: u8) -> Option<&'static PropertyRule> {
    PROPERTY_RULES.iter().find(|r| r.id == id)
}

/// A property's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// One byte.
    Byte(u8),
    /// Two bytes.
    Two(u16),
    /// Four bytes.
    Four(u32),
    /// A variable byte integer, at most [`REMAINING_MAX`].
    Varint(u32),
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
    /// Two texts: a user property.
    Pair(String, String),
}

impl Value {
    fn shape(&self) -> Shape {
        match self {
            Self::Byte(_) => Shape::Byte,
            Self::Two(_) => Shape::Two,
            Self::Four(_) => Shape::Four,
            Self::Varint(_) => Shape::Varint,
            Self::Text(_) => Shape::Text,
            Self::Binary(_) => Shape::Binary,
            Self::Pair(..) => Shape::Pair,
        }
    }
}

/// The properties of a version 5 packet, in the order they were sent; always empty in 3.1 and 3.1.1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties(pub Vec<(u8, Value)>);

impl Properties {
    /// The value of property `id`, the first if it may repeat.
    pub fn get(&self, id: u8) -> Option<&Value> {
        self.0.iter().find(|(have, _)| *have == id).map(|(_, value)| value)
    }
    /// The number of property `id`, whatever its width.
    pub fn number(&self, id: u8) -> Option<u32> {
        match self.get(id)? {
            Value::Byte(n) => Some(u32::from(*n)),
            Value::Two(n) => Some(u32::from(*n)),
            Value::Four(n) | Value::Varint(n) => Some(*n),
            Value::Text(_) | Value::Binary(_) | Value::Pair(..) => None,
        }
    }
    /// The text of property `id`.
    pub fn text(&self, id: u8) -> Option<&str> {
        match self.get(id)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
    /// These properties and one more.
    #[must_use]
    pub fn with(mut self, id: u8, value: Value) -> Self {
        self.0.push((id, value));
        self
    }
    /// The standard's name of property `id` in snake case, `unknown` if there is none.
    pub fn name(id: u8) -> &'static str {
        property_rule(id).map_or("unknown", |r| r.name)
    }
}

/// CONNECT: the first packet of every connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// Which protocol the client speaks.
    pub version: Version,
    /// Bit 7 of the level: a mosquitto bridge says so here (not in the standard; harmless to hear).
    pub bridge: bool,
    /// Clean session (3.x) or clean start (5).
    pub clean: bool,
    /// Seconds; 0 switches it off.
    pub keep_alive_s: u16,
    /// Empty: the server names the client.
    pub client_id: String,
    /// What the broker should say when the client is lost.
    pub will: Option<Will>,
    /// User name.
    pub username: Option<String>,
    /// Password: any bytes.
    pub password: Option<Vec<u8>>,
    /// Version 5 only.
    pub properties: Properties,
}

/// The will of a CONNECT packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Will {
    /// Where to publish it.
    pub topic: String,
    /// What to publish.
    pub payload: Vec<u8>,
    /// At which quality of service.
    pub qos: Qos,
    /// Whether it is to be retained.
    pub retain: bool,
    /// Version 5 only.
    pub properties: Properties,
}

/// CONNACK: the answer to CONNECT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connack {
    /// Whether the server still held a session of this client.
    pub session_present: bool,
    /// 0 accepted; 3.x: 1 to 5; version 5: a reason code.
    pub reason: u8,
    /// Version 5 only.
    pub properties: Properties,
}

/// PUBLISH: one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publish {
    /// The sender says it may have sent this before.
    pub dup: bool,
    /// Quality of service.
    pub qos: Qos,
    /// Whether a broker should keep it as the topic's last word.
    pub retain: bool,
    /// Topic name, without wildcards; empty only in version 5 together with a topic alias.
    pub topic: String,
    /// Present exactly for QoS 1 and 2, never 0.
    pub packet_id: Option<u16>,
    /// Any bytes.
    pub payload: Vec<u8>,
    /// Version 5 only.
    pub properties: Properties,
}

/// PUBACK, PUBREC, PUBREL and PUBCOMP share this form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    /// The packet identifier of the PUBLISH, never 0.
    pub packet_id: u16,
    /// Always 0 in 3.x.
    pub reason: u8,
    /// Version 5 only.
    pub properties: Properties,
}

/// SUBSCRIBE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscribe {
    /// Never 0.
    pub packet_id: u16,
    /// At least one.
    pub filters: Vec<Filter>,
    /// Version 5 only.
    pub properties: Properties,
}

/// One topic filter of SUBSCRIBE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// May hold wildcards.
    pub filter: String,
    /// The highest QoS the client wants.
    pub qos: Qos,
    /// Version 5: not to be sent the client's own messages.
    pub no_local: bool,
    /// Version 5: keep the retain flag as published.
    pub retain_as_published: bool,
    /// Version 5: 0, 1 or 2.
    pub retain_handling: u8,
}

/// SUBACK and UNSUBACK (3.x: an UNSUBACK has no reasons).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// The identifier of the request, never 0.
    pub packet_id: u16,
    /// One per filter asked for.
    pub reasons: Vec<u8>,
    /// Version 5 only.
    pub properties: Properties,
}

/// UNSUBSCRIBE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Never 0.
    pub packet_id: u16,
    /// At least one.
    pub filters: Vec<String>,
    /// Version 5 only.
    pub properties: Properties,
}

/// DISCONNECT and AUTH.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// Always 0 in 3.x.
    pub reason: u8,
    /// Version 5 only.
    pub properties: Properties,
}

/// One MQTT packet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each variant is documented at its type
pub enum Packet {
    Connect(Box<Connect>),
    Connack(Connack),
    Publish(Publish),
    Puback(Ack),
    Pubrec(Ack),
    Pubrel(Ack),
    Pubcomp(Ack),
    Subscribe(Subscribe),
    Suback(Answers),
    Unsubscribe(Unsubscribe),
    Unsuback(Answers),
    Pingreq,
    Pingresp,
    Disconnect(Notice),
    Auth(Notice),
}

impl Packet {
    /// The packet type.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Connect(_) => Kind::Connect,
            Self::Connack(_) => Kind::Connack,
            Self::Publish(_) => Kind::Publish,
            Self::Puback(_) => Kind::Puback,
            Self::Pubrec(_) => Kind::Pubrec,
            Self::Pubrel(_) => Kind::Pubrel,
            Self::Pubcomp(_) => Kind::Pubcomp,
            Self::Subscribe(_) => Kind::Subscribe,
            Self::Suback(_) => Kind::Suback,
            Self::Unsubscribe(_) => Kind::Unsubscribe,
            Self::Unsuback(_) => Kind::Unsuback,
            Self::Pingreq => Kind::Pingreq,
            Self::Pingresp => Kind::Pingresp,
            Self::Disconnect(_) => Kind::Disconnect,
            Self::Auth(_) => Kind::Auth,
        }
    }
    /// The packet identifier, where the packet has one.
    pub const fn packet_id(&self) -> Option<u16> {
        match self {
            Self::Publish(p) => p.packet_id,
            Self::Puback(a) | Self::Pubrec(a) | Self::Pubrel(a) | Self::Pubcomp(a) => Some(a.packet_id),
            Self::Subscribe(s) => Some(s.packet_id),
            Self::Suback(a) | Self::Unsuback(a) => Some(a.packet_id),
            Self::Unsubscribe(u) => Some(u.packet_id),
            _ => None,
        }
    }
}

/// What is wrong with a packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Type 0 is reserved.
    #[error("packet type 0 is reserved")]
    PacketType,
    /// The low nibble of the first byte is not what the type demands.
    #[error("header flags {0:#06b} are not allowed here")]
    HeaderFlags(u8),
    /// More than four length bytes, or (version 5) more than needed.
    #[error("the variable byte integer is not well formed")]
    Varint,
    /// Larger than this end accepts.
    #[error("packet of {size} bytes is larger than {max}")]
    TooLarge {
        /// The whole packet.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// A field reaches beyond the end of the packet.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// Bytes are left when every field is read.
    #[error("{0} bytes too many")]
    Trailing(usize),
    /// Not UTF-8.
    #[error("text is not utf-8")]
    Utf8,
    /// Text with U+0000.
    #[error("text holds U+0000")]
    Nul,
    /// CONNECT names neither `MQTT` nor `MQIsdp`.
    #[error("protocol name is not MQTT")]
    ProtocolName,
    /// CONNECT names a level that this codec does not know.
    #[error("protocol level {0} is not known")]
    ProtocolVersion(u8),
    /// CONNECT flags contradict each other.
    #[error("connect flags: {0}")]
    ConnectFlags(&'static str),
    /// Packet identifier 0.
    #[error("packet identifier is 0")]
    PacketId,
    /// QoS 3.
    #[error("qos 3 does not exist")]
    Qos,
    /// A repeated message at QoS 0.
    #[error("dup is set at qos 0")]
    Dup,
    /// Empty, or with a wildcard.
    #[error("topic name is empty or has a wildcard")]
    TopicName,
    /// SUBSCRIBE or UNSUBSCRIBE without a filter, or with an empty one; SUBACK without a code.
    #[error("no topic filter, or an empty one")]
    Filters,
    /// Reserved bits of the subscription options.
    #[error("subscription options {0:#04x} use reserved bits")]
    Options(u8),
    /// A property that the standard does not have.
    #[error("property {0:#04x} is unknown")]
    PropertyUnknown(u8),
    /// A property on a packet that may not carry it.
    #[error("property {} does not belong here", Properties::name(*.0))]
    PropertyMisplaced(u8),
    /// A property given twice.
    #[error("property {} is given twice", Properties::name(*.0))]
    PropertyRepeated(u8),
    /// A property whose number is out of range.
    #[error("property {} has a value that is not allowed", Properties::name(*.0))]
    PropertyValue(u8),
    /// A reason or return code that this packet may not carry.
    #[error("reason code {0:#04x} is not allowed here")]
    Reason(u8),
    /// AUTH before version 5.
    #[error("packet does not exist in this version")]
    NotInVersion,
}

impl Fault {
    /// A stable word for logs, metrics and `anlan decode`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::PacketType => "packet_type",
            Self::HeaderFlags(_) => "header_flags",
            Self::Varint => "length_encoding",
            Self::TooLarge { .. } => "too_large",
            Self::Truncated(_) => "length",
            Self::Trailing(_) => "trailing_bytes",
            Self::Utf8 => "utf8",
            Self::Nul => "nul_character",
            Self::ProtocolName => "protocol_name",
            Self::ProtocolVersion(_) => "protocol_version",
            Self::ConnectFlags(_) => "connect_flags",
            Self::PacketId => "packet_id",
            Self::Qos => "qos",
            Self::Dup => "dup",
            Self::TopicName => "topic_name",
            Self::Filters => "filters",
            Self::Options(_) => "subscription_options",
            Self::PropertyUnknown(_) => "property_unknown",
            Self::PropertyMisplaced(_) => "property_misplaced",
            Self::PropertyRepeated(_) => "property_repeated",
            Self::PropertyValue(_) => "property_value",
            Self::Reason(_) => "reason_code",
            Self::NotInVersion => "not_in_version",
        }
    }
    /// The version 5 reason code that tells the peer.
    pub const fn reason(&self) -> u8 {
        match self {
            Self::TooLarge { .. } => reason::PACKET_TOO_LARGE,
            Self::ProtocolName | Self::ProtocolVersion(_) => reason::UNSUPPORTED_VERSION,
            Self::TopicName => reason::TOPIC_NAME_INVALID,
            Self::PropertyRepeated(_) | Self::PropertyValue(_) | Self::PropertyMisplaced(_) | Self::NotInVersion | Self::Filters => {
                reason::PROTOCOL_ERROR
            }
            _ => reason::MALFORMED_PACKET,
        }
    }
}

/// A packet that cannot be read. The stream behind it cannot be trusted: close the connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} at byte {at}: {fault}", kind.map_or("packet", Kind::as_str))]
pub struct PacketError {
    /// Where the packet begins, counted from the first byte ever pushed.
    pub at: u64,
    /// Its type, if it has one.
    pub kind: Option<Kind>,
    /// What is wrong.
    pub fault: Fault,
}

/// Cuts a byte stream into packets.
///
/// Holds at most what the caller pushes: a packet larger than `packet_max` is refused when its header is seen, so a
/// caller that takes packets out after every push holds one packet and one push at most. After an error it yields nothing more.
#[derive(Clone, Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
    taken: u64,
    version: Option<Version>,
    packet_max: usize,
    broken: bool,
}

impl Decoder {
    /// For one connection. A server gives `None` and learns the version from CONNECT; a client gives what it asked for.
    pub fn new(version: Option<Version>, packet_max: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, taken: 0, version, packet_max, broken: false }
    }
    /// The version, once known.
    pub fn version(&self) -> Option<Version> {
        self.version
    }
    /// Adds bytes as they come. After an error they are dropped.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.broken {
            return;
        }
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }
    /// Bytes pushed and not yet part of a packet that was taken out.
    pub fn pending(&self) -> usize {
        self.buffer.len().saturating_sub(self.start)
    }

    fn packet(&mut self) -> Result<Option<Packet>, (Option<Kind>, Fault)> {
        let bytes = self.buffer.get(self.start..).unwrap_or_default();
        let Some(&first) = bytes.first() else { return Ok(None) };
        let kind = Kind::from_first_byte(first).ok_or((None, Fault::PacketType))?;
        let refuse = |fault| (Some(kind), fault);
        let version = self.version.unwrap_or(Version::V3_1_1);
        let flags = first & 0x0f;
        // 3.1 let SUBSCRIBE, UNSUBSCRIBE and PUBREL be repeated with DUP set.
        let dup_allowed = version == Version::V3_1 && kind.flags() != 0;
        if kind != Kind::Publish && flags != kind.flags() && !(dup_allowed && flags == kind.flags() | 0b1000) {
            return Err(refuse(Fault::HeaderFlags(flags)));
        }
        let (mut length, mut n, mut more) = (0_usize, 0_usize, true);
        while more {
            let Some(&byte) = bytes.get(n.saturating_add(1)) else {
                return if n >= 4 { Err(refuse(Fault::Varint)) } else { Ok(None) };
            };
            if n >= 4 {
                return Err(refuse(Fault::Varint));
            }
            length |= usize::from(byte & 0x7f) << (7 * n);
            more = byte & 0x80 != 0;
            n = n.saturating_add(1);
            // Some 3.x modems always write two or four length bytes; only version 5 forbids it (§1.5.5).
            if !more && n > 1 && byte == 0 && self.version == Some(Version::V5) {
                return Err(refuse(Fault::Varint));
            }
        }
        let head = n.saturating_add(1);
        let size = head.saturating_add(length);
        if size > self.packet_max {
            return Err(refuse(Fault::TooLarge { size, max: self.packet_max }));
        }
        let Some(body) = bytes.get(head..size) else { return Ok(None) };
        let packet = read_body(kind, flags, body, version).map_err(refuse)?;
        if let Packet::Connect(connect) = &packet {
            self.version = Some(connect.version);
        }
        self.start = self.start.saturating_add(size);
        self.taken = self.taken.saturating_add(u64::try_from(size).unwrap_or(u64::MAX));
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
            // One large message must not keep its memory for the rest of a connection that may last weeks.
            self.buffer.shrink_to(KEPT_BYTES);
        }
        Ok(Some(packet))
    }
}

impl Iterator for Decoder {
    type Item = Result<Packet, PacketError>;
    /// The next whole packet; `None` until more bytes are pushed.
    fn next(&mut self) -> Option<Self::Item> {
        if self.broken {
            return None;
        }
        match self.packet() {
            Ok(packet) => packet.map(Ok),
            Err((kind, fault)) => {
                self.broken = true;
                Some(Err(PacketError { at: self.taken, kind, fault }))
            }
        }
    }
}

fn read_body(kind: Kind, flags: u8, body: &[u8], version: Version) -> Result<Packet, Fault> {
    let mut r = Reader::new(body);
    let packet = match kind {
        Kind::Connect => Packet::Connect(Box::new(read_connect(&mut r)?)),
        Kind::Connack => {
            let flags = r.u8()?;
            if flags > 1 {
                return Err(Fault::ConnectFlags("reserved bits of connack"));
            }
            let reason = r.u8()?;
            if version == Version::V5 {
                check_reason(kind, reason)?
            } else if reason > 5 {
                return Err(Fault::Reason(reason));
            }
            Packet::Connack(Connack { session_present: flags == 1, reason, properties: read_properties(&mut r, kind.bit(), version)? })
        }
        Kind::Publish => Packet::Publish(read_publish(&mut r, flags, version)?),
        Kind::Puback => Packet::Puback(read_ack(&mut r, kind, version)?),
        Kind::Pubrec => Packet::Pubrec(read_ack(&mut r, kind, version)?),
        Kind::Pubrel => Packet::Pubrel(read_ack(&mut r, kind, version)?),
        Kind::Pubcomp => Packet::Pubcomp(read_ack(&mut r, kind, version)?),
        Kind::Subscribe => {
            let packet_id = read_packet_id(&mut r)?;
            let properties = read_properties(&mut r, kind.bit(), version)?;
            let mut filters = Vec::new();
            while !r.is_empty() {
                filters.push(read_filter(&mut r, version)?);
            }
            if filters.is_empty() {
                return Err(Fault::Filters);
            }
            Packet::Subscribe(Subscribe { packet_id, filters, properties })
        }
        Kind::Suback => Packet::Suback(read_answers(&mut r, kind, version)?),
        Kind::Unsubscribe => {
            let packet_id = read_packet_id(&mut r)?;
            let properties = read_properties(&mut r, kind.bit(), version)?;
            let mut filters = Vec::new();
            while !r.is_empty() {
                filters.push(read_filter_name(&mut r)?);
            }
            if filters.is_empty() {
                return Err(Fault::Filters);
            }
            Packet::Unsubscribe(Unsubscribe { packet_id, filters, properties })
        }
        Kind::Unsuback => Packet::Unsuback(read_answers(&mut r, kind, version)?),
        Kind::Pingreq => Packet::Pingreq,
        Kind::Pingresp => Packet::Pingresp,
        Kind::Disconnect => Packet::Disconnect(read_notice(&mut r, kind, version)?),
        Kind::Auth if version == Version::V5 => Packet::Auth(read_notice(&mut r, kind, version)?),
        Kind::Auth => return Err(Fault::NotInVersion),
    };
    if r.is_empty() { Ok(packet) } else { Err(Fault::Trailing(r.left())) }
}

fn read_connect(r: &mut Reader<'_>) -> Result<Connect, Fault> {
    let name = read_text(r)?;
    let level = r.u8()?;
    let (bridge, level) = (level & 0x80 != 0, level & 0x7f);
    let version = match (name.as_str(), Version::from_level(level)) {
        ("MQTT", Some(version @ (Version::V3_1_1 | Version::V5))) => version,
        ("MQIsdp", Some(Version::V3_1)) => Version::V3_1,
        ("MQTT" | "MQIsdp", _) => return Err(Fault::ProtocolVersion(level)),
        _ => return Err(Fault::ProtocolName),
    };
    if bridge && version == Version::V5 {
        return Err(Fault::ProtocolVersion(level | 0x80));
    }
    let flags = r.u8()?;
    let bit = |n: u8| flags & (1 << n) != 0;
    if bit(0) {
        return Err(Fault::ConnectFlags("bit 0 must be 0"));
    }
    let has_will = bit(2);
    let will_qos = (flags >> 3) & 3;
    if !has_will && (will_qos != 0 || bit(5)) {
        return Err(Fault::ConnectFlags("will qos or retain without a will"));
    }
    let will_qos = Qos::from_level(will_qos).ok_or(Fault::Qos)?;
    if bit(6) && !bit(7) && version != Version::V5 {
        return Err(Fault::ConnectFlags("password without user name"));
    }
    let keep_alive_s = r.u16()?;
    let properties = read_properties(r, CONNECT, version)?;
    if properties.get(property::AUTHENTICATION_DATA).is_some() && properties.get(property::AUTHENTICATION_METHOD).is_none() {
        return Err(Fault::PropertyMisplaced(property::AUTHENTICATION_DATA));
    }
    let client_id = read_text(r)?;
    let will = if has_will {
        let properties = read_properties(r, WILL, version)?;
        let topic = read_topic(r)?;
        Some(Will { topic, payload: read_binary(r)?, qos: will_qos, retain: bit(5), properties })
    } else {
        None
    };
    let username = bit(7).then(|| read_text(r)).transpose()?;
    let password = bit(6).then(|| read_binary(r)).transpose()?;
    Ok(Connect { version, bridge, clean: bit(1), keep_alive_s, client_id, will, username, password, properties })
}

fn read_publish(r: &mut Reader<'_>, flags: u8, version: Version) -> Result<Publish, Fault> {
    let qos = Qos::from_level((flags >> 1) & 3).ok_or(Fault::Qos)?;
    let dup = flags & 8 != 0;
    if dup && qos == Qos::AtMostOnce {
        return Err(Fault::Dup);
    }
    let topic = read_text(r)?;
    let packet_id = if qos == Qos::AtMostOnce { None } else { Some(read_packet_id(r)?) };
    let properties = read_properties(r, PUBLISH, version)?;
    // A topic alias of 0 is left to the session, which has its own reason code for it (MQTT 5.0 §3.3.2.3.4).
    if topic.contains(['#', '+']) || (topic.is_empty() && properties.get(property::TOPIC_ALIAS).is_none()) {
        return Err(Fault::TopicName);
    }
    Ok(Publish { dup, qos, retain: flags & 1 != 0, topic, packet_id, payload: r.rest().to_vec(), properties })
}

fn read_ack(r: &mut Reader<'_>, kind: Kind, version: Version) -> Result<Ack, Fault> {
    let packet_id = read_packet_id(r)?;
    let Notice { reason, properties } = read_notice(r, kind, version)?;
    Ok(Ack { packet_id, reason, properties })
}

/// Reason and properties, both of which version 5 lets a packet leave out (§3.4.2.1, §3.14.2.1).
fn read_notice(r: &mut Reader<'_>, kind: Kind, version: Version) -> Result<Notice, Fault> {
    if version != Version::V5 || r.is_empty() {
        return Ok(Notice::default());
    }
    let reason = r.u8()?;
    check_reason(kind, reason)?;
    let properties = if r.is_empty() { Properties::default() } else { read_properties(r, kind.bit(), version)? };
    Ok(Notice { reason, properties })
}

fn read_answers(r: &mut Reader<'_>, kind: Kind, version: Version) -> Result<Answers, Fault> {
    let packet_id = read_packet_id(r)?;
    let properties = read_properties(r, kind.bit(), version)?;
    if kind == Kind::Unsuback && version != Version::V5 {
        return Ok(Answers { packet_id, reasons: Vec::new(), properties });
    }
    let reasons = r.rest().to_vec();
    if reasons.is_empty() {
        return Err(Fault::Filters);
    }
    for &reason in &reasons {
        match version {
            Version::V5 => check_reason(kind, reason)?,
            // 3.1 knows no refusal, but servers that speak both send 0x80 all the same.
            Version::V3_1 | Version::V3_1_1 => {
                if reason > 2 && reason != 0x80 {
                    return Err(Fault::Reason(reason));
                }
            }
        }
    }
    Ok(Answers { packet_id, reasons, properties })
}

fn read_filter(r: &mut Reader<'_>, version: Version) -> Result<Filter, Fault> {
    let filter = read_filter_name(r)?;
    let options = r.u8()?;
    let reserved = if version == Version::V5 { 0xc0 } else { 0xfc };
    if options & reserved != 0 {
        return Err(Fault::Options(options));
    }
    let qos = Qos::from_level(options & 3).ok_or(Fault::Qos)?;
    let retain_handling = (options >> 4) & 3;
    if retain_handling == 3 {
        return Err(Fault::Options(options));
    }
    Ok(Filter { filter, qos, no_local: options & 4 != 0, retain_as_published: options & 8 != 0, retain_handling })
}

fn read_filter_name(r: &mut Reader<'_>) -> Result<String, Fault> {
    let filter = read_text(r)?;
    if filter.is_empty() { Err(Fault::Filters) } else { Ok(filter) }
}

fn read_packet_id(r: &mut Reader<'_>) -> Result<u16, Fault> {
    match r.u16()? {
        0 => Err(Fault::PacketId),
        id => Ok(id),
    }
}

fn check_reason(kind: Kind, reason: u8) -> Result<(), Fault> {
    if kind.reasons().contains(&reason) { Ok(()) } else { Err(Fault::Reason(reason)) }
}

fn read_text(r: &mut Reader<'_>) -> Result<String, Fault> {
    let n = r.u16()?;
    let text = std::str::from_utf8(r.take(usize::from(n))?).map_err(|_| Fault::Utf8)?;
    if text.contains('\0') { Err(Fault::Nul) } else { Ok(text.to_owned()) }
}

fn read_topic(r: &mut Reader<'_>) -> Result<String, Fault> {
    let topic = read_text(r)?;
    if topic.is_empty() || topic.contains(['#', '+']) { Err(Fault::TopicName) } else { Ok(topic) }
}

fn read_binary(r: &mut Reader<'_>) -> Result<Vec<u8>, Fault> {
    let n = r.u16()?;
    Ok(r.take(usize::from(n))?.to_vec())
}

fn read_varint(r: &mut Reader<'_>) -> Result<u32, Fault> {
    let mut value = 0_u32;
    for n in 0..4 {
        let byte = r.u8()?;
        value |= u32::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return if n > 0 && byte == 0 { Err(Fault::Varint) } else { Ok(value) };
        }
    }
    Err(Fault::Varint)
}

fn read_properties(r: &mut Reader<'_>, on: u16, version: Version) -> Result<Properties, Fault> {
    let mut properties = Vec::new();
    if version != Version::V5 {
        return Ok(Properties(properties));
    }
    let length = usize::try_from(read_varint(r)?).unwrap_or(usize::MAX);
    let mut r = Reader::new(r.take(length)?);
    let mut seen = 0_u64;
    while !r.is_empty() {
        // The identifier is a variable byte integer, but every one that exists fits one byte.
        let id = u8::try_from(read_varint(&mut r)?).map_err(|_| Fault::PropertyUnknown(u8::MAX))?;
        let rule = property_rule(id).ok_or(Fault::PropertyUnknown(id))?;
        if rule.on & on == 0 {
            return Err(Fault::PropertyMisplaced(id));
        }
        let value = match rule.shape {
            Shape::Byte => Value::Byte(r.u8()?),
            Shape::Two => Value::Two(r.u16()?),
            Shape::Four => Value::Four(r.u32()?),
            Shape::Varint => Value::Varint(read_varint(&mut r)?),
            Shape::Text if id == property::RESPONSE_TOPIC => Value::Text(read_topic(&mut r)?),
            Shape::Text => Value::Text(read_text(&mut r)?),
            Shape::Binary => Value::Binary(read_binary(&mut r)?),
            Shape::Pair => Value::Pair(read_text(&mut r)?, read_text(&mut r)?),
        };
        // Besides user properties only a PUBLISH to a client may repeat one: a subscription identifier per match (§3.3.2.3.8).
        let repeats = rule.shape == Shape::Pair || (id == property::SUBSCRIPTION_IDENTIFIER && on == PUBLISH);
        // Every id is below 64: the table ends at 0x2a.
        let bit = 1_u64 << (id & 63);
        if seen & bit != 0 && !repeats {
            return Err(Fault::PropertyRepeated(id));
        }
        seen |= bit;
        properties.push((id, value));
        let number = match properties.last() {
            Some((_, Value::Byte(n))) => Some(u32::from(*n)),
            Some((_, Value::Two(n))) => Some(u32::from(*n)),
            Some((_, Value::Four(n) | Value::Varint(n))) => Some(*n),
            _ => None,
        };
        if number.is_some_and(|n| n < rule.range.0 || n > rule.range.1) {
            return Err(Fault::PropertyValue(id));
        }
    }
    Ok(Properties(properties))
}

/// A packet that cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A text or byte field longer than its two length bytes can say.
    #[error("field of {0} bytes is longer than 65535")]
    FieldTooLong(usize),
    /// The packet is longer than four length bytes can say.
    #[error("packet body of {0} bytes is too long")]
    PacketTooLong(usize),
    /// A property whose value has another form than the standard gives it, or that the standard does not have.
    #[error("property {0:#04x} cannot be written with this value")]
    Property(u8),
    /// QoS 1 and 2 need a packet identifier, QoS 0 must not have one.
    #[error("packet identifier does not fit the qos")]
    PacketId,
    /// The packet does not exist in this version.
    #[error("{} does not exist in this version", .0.as_str())]
    NotInVersion(Kind),
}

impl Packet {
    /// Appends the packet's bytes to `out`. CONNECT is written in its own version, everything else in `version`.
    ///
    /// Reason and properties of 3.x packets are left out, as 3.x has none.
    ///
    /// # Errors
    /// [`EncodeError`]; `out` is then unchanged.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let mut flags = self.kind().flags();
        if let Self::Puback(a) | Self::Pubrec(a) | Self::Pubrel(a) | Self::Pubcomp(a) = self
            && (version != Version::V5 || (a.reason == 0 && a.properties.0.is_empty()))
        {
            // What there is one of for every message is written as it stands.
            out.extend_from_slice(&[((self.kind() as u8) << 4) | flags, 2]);
            out.extend_from_slice(&a.packet_id.to_be_bytes());
            return Ok(());
        }
        let mut body = Vec::new();
        match self {
            Self::Connect(c) => write_connect(&mut body, c)?,
            Self::Connack(c) => {
                body.push(u8::from(c.session_present));
                body.push(c.reason);
                write_properties(&mut body, &c.properties, version)?;
            }
            Self::Publish(p) => {
                flags = (u8::from(p.dup) << 3) | (p.qos.level() << 1) | u8::from(p.retain);
                write_text(&mut body, &p.topic)?;
                match (p.qos, p.packet_id) {
                    (Qos::AtMostOnce, None) => {}
                    (Qos::AtLeastOnce | Qos::ExactlyOnce, Some(id)) if id != 0 => body.extend_from_slice(&id.to_be_bytes()),
                    _ => return Err(EncodeError::PacketId),
                }
                write_properties(&mut body, &p.properties, version)?;
                body.extend_from_slice(&p.payload);
            }
            Self::Puback(a) | Self::Pubrec(a) | Self::Pubrel(a) | Self::Pubcomp(a) => {
                body.extend_from_slice(&a.packet_id.to_be_bytes());
                body.push(a.reason);
                write_properties(&mut body, &a.properties, version)?;
            }
            Self::Subscribe(s) => {
                body.extend_from_slice(&s.packet_id.to_be_bytes());
                write_properties(&mut body, &s.properties, version)?;
                for f in &s.filters {
                    write_text(&mut body, &f.filter)?;
                    let more = (u8::from(f.no_local) << 2) | (u8::from(f.retain_as_published) << 3) | ((f.retain_handling & 3) << 4);
                    body.push(f.qos.level() | if version == Version::V5 { more } else { 0 });
                }
            }
            Self::Suback(a) => {
                body.extend_from_slice(&a.packet_id.to_be_bytes());
                write_properties(&mut body, &a.properties, version)?;
                body.extend_from_slice(&a.reasons);
            }
            Self::Unsubscribe(u) => {
                body.extend_from_slice(&u.packet_id.to_be_bytes());
                write_properties(&mut body, &u.properties, version)?;
                for filter in &u.filters {
                    write_text(&mut body, filter)?;
                }
            }
            Self::Unsuback(a) => {
                body.extend_from_slice(&a.packet_id.to_be_bytes());
                write_properties(&mut body, &a.properties, version)?;
                if version == Version::V5 {
                    body.extend_from_slice(&a.reasons);
                }
            }
            Self::Pingreq | Self::Pingresp => {}
            Self::Disconnect(n) | Self::Auth(n) if version == Version::V5 => {
                body.push(n.reason);
                write_properties(&mut body, &n.properties, version)?;
            }
            Self::Disconnect(_) => {}
            Self::Auth(_) => return Err(EncodeError::NotInVersion(Kind::Auth)),
        }
        if body.len() > REMAINING_MAX {
            return Err(EncodeError::PacketTooLong(body.len()));
        }
        out.push(((self.kind() as u8) << 4) | flags);
        write_varint(out, body.len());
        out.extend_from_slice(&body);
        Ok(())
    }
}

fn write_connect(out: &mut Vec<u8>, c: &Connect) -> Result<(), EncodeError> {
    write_text(out, c.version.protocol_name())?;
    out.push(c.version.level() | (u8::from(c.bridge) << 7));
    let mut flags = (u8::from(c.username.is_some()) << 7) | (u8::from(c.password.is_some()) << 6) | (u8::from(c.clean) << 1);
    if let Some(will) = &c.will {
        flags |= (u8::from(will.retain) << 5) | (will.qos.level() << 3) | 4;
    }
    out.push(flags);
    out.extend_from_slice(&c.keep_alive_s.to_be_bytes());
    write_properties(out, &c.properties, c.version)?;
    write_text(out, &c.client_id)?;
    if let Some(will) = &c.will {
        write_properties(out, &will.properties, c.version)?;
        write_text(out, &will.topic)?;
        write_binary(out, &will.payload)?;
    }
    if let Some(username) = &c.username {
        write_text(out, username)?;
    }
    if let Some(password) = &c.password {
        write_binary(out, password)?;
    }
    Ok(())
}

fn write_text(out: &mut Vec<u8>, text: &str) -> Result<(), EncodeError> {
    write_binary(out, text.as_bytes())
}

fn write_binary(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), EncodeError> {
    let n = u16::try_from(bytes.len()).map_err(|_| EncodeError::FieldTooLong(bytes.len()))?;
    out.extend_from_slice(&n.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

/// Writes 7 bits a byte, lowest first; callers keep `value` within [`REMAINING_MAX`].
fn write_varint(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let byte = u8::try_from(value & 0x7f).unwrap_or(0);
        value >>= 7;
        if value == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

fn write_properties(out: &mut Vec<u8>, properties: &Properties, version: Version) -> Result<(), EncodeError> {
    if version != Version::V5 {
        return Ok(());
    }
    let mut body = Vec::new();
    for (id, value) in &properties.0 {
        if property_rule(*id).is_none_or(|rule| rule.shape != value.shape()) {
            return Err(EncodeError::Property(*id));
        }
        body.push(*id);
        match value {
            Value::Byte(n) => body.push(*n),
            Value::Two(n) => body.extend_from_slice(&n.to_be_bytes()),
            Value::Four(n) => body.extend_from_slice(&n.to_be_bytes()),
            Value::Varint(n) => {
                let n = usize::try_from(*n).ok().filter(|n| *n <= REMAINING_MAX).ok_or(EncodeError::Property(*id))?;
                write_varint(&mut body, n);
            }
            Value::Text(text) => write_text(&mut body, text)?,
            Value::Binary(bytes) => write_binary(&mut body, bytes)?,
            Value::Pair(key, text) => {
                write_text(&mut body, key)?;
                write_text(&mut body, text)?;
            }
        }
    }
    if body.len() > REMAINING_MAX {
        return Err(EncodeError::PacketTooLong(body.len()));
    }
    write_varint(out, body.len());
    out.extend_from_slice(&body);
    Ok(())
}
