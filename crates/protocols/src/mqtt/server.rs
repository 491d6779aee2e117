//! The server's side of one device connection, without a socket: bytes and answers in, events and bytes out.
//!
//! Holds the rules that make "PUBACK means kept" true: a PUBACK or PUBREC leaves only after [`Session::ack`], in order of receipt;
//! a QoS 2 message that is repeated before its PUBREL is answered again and never handed on again, also on the next connection
//! if the caller carries [`Remembered`] over.
//! Never decides who may connect, publish or subscribe, never reads a payload or a clock: those are events and arguments.
//! Start at [`Session`]: `input` → `next_event` → the answers (`accept`, `ack`, `suback`) → `take_output`.
//!
//! Wills are handed to the caller with CONNECT. Out of scope, and why: see `protocol.toml` (QoS 2 downlinks, retained messages).

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::codec::{
    Ack, Answers, Connack, Connect, Decoder, Fault, Notice, Packet, PacketError, Properties, Publish, Qos, Subscribe, Unsubscribe, Value,
    Version, Will, property, reason,
};

const SECOND_US: u64 = 1_000_000;

/// What one connection may use. The defaults suit field devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest packet heard, bytes. Version 5 is told; larger ones end the connection.
    pub packet_max: usize,
    /// PUBLISH packets that may wait for [`Session::ack`]. Version 5 is told and must keep to it; 3.x is not read any further.
    pub inflight_max: u16,
    /// Topic aliases a version 5 client may set.
    pub topic_alias_max: u16,
    /// Longest topic name, bytes.
    pub topic_max: usize,
    /// Topic filters that one connection may hold.
    pub subscriptions_max: usize,
    /// Downlink messages that may wait for their PUBACK.
    pub downlink_max: u16,
    /// How long a fresh connection may take until its CONNECT is complete.
    pub connect_timeout_us: u64,
    /// The longest keep-alive granted to version 5 (also in place of "off"), seconds.
    pub keep_alive_max_s: u16,
    /// QoS 2 messages that may wait for their PUBREL.
    pub unreleased_max: usize,
    /// How long a session may outlive its connection, seconds; 0 = none does.
    pub session_expiry_max_s: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packet_max: 256 * 1024,
            inflight_max: 256,
            topic_alias_max: 16,
            topic_max: 512,
            subscriptions_max: 8,
            downlink_max: 16,
            connect_timeout_us: 10 * SECOND_US,
            keep_alive_max_s: 1_200,
            unreleased_max: 1_024,
            session_expiry_max_s: 3_600,
        }
    }
}

/// Names one PUBLISH until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(u64);

/// What became of a PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PubResult {
    /// It is kept.
    Ok,
    /// Too much is waiting. Version 5: PUBACK or PUBREC 0x97. 3.x has no word for it: no answer, so the device sends it again.
    QuotaExceeded,
    /// It cannot be read and lies in quarantine. Version 5: PUBACK or PUBREC 0x99. 3.x: a plain one, or the device would repeat it for ever.
    PayloadInvalid,
    /// A topic this device may not publish to. Version 5: PUBACK or PUBREC 0x87 (at QoS 0: DISCONNECT 0x87). 3.x: the connection is closed.
    NotAuthorized,
}

/// Why a CONNECT is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectRefusal {
    /// Unknown user or wrong password.
    BadCredentials,
    /// A known device that may not connect (disabled).
    NotAuthorized,
    /// This server cannot serve now.
    ServerUnavailable,
    /// Too many connections or attempts; try later.
    ServerBusy,
}

impl ConnectRefusal {
    fn code(self, version: Version) -> u8 {
        match (version, self) {
            (Version::V5, Self::BadCredentials) => reason::BAD_USER_NAME_OR_PASSWORD,
            (Version::V5, Self::NotAuthorized) => reason::NOT_AUTHORIZED,
            (Version::V5, Self::ServerUnavailable) => reason::SERVER_UNAVAILABLE,
            (Version::V5, Self::ServerBusy) => reason::SERVER_BUSY,
            // MQTT 3.1.1 table 3.1.
            (_, Self::BadCredentials) => 4,
            (_, Self::NotAuthorized) => 5,
            (_, Self::ServerUnavailable | Self::ServerBusy) => 3,
        }
    }
}

/// Why the server ends a connection that did nothing wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServerClose {
    /// The process stops.
    ShuttingDown,
    /// The same client connected again.
    TakenOver,
    /// An administrator disabled the device or changed its secret.
    Administrative,
    /// The device sends more than it may.
    TooFast,
}

impl ServerClose {
    const fn code(self) -> u8 {
        match self {
            Self::ShuttingDown => reason::SERVER_SHUTTING_DOWN,
            Self::TakenOver => reason::SESSION_TAKEN_OVER,
            Self::Administrative => reason::ADMINISTRATIVE_ACTION,
            Self::TooFast => reason::MESSAGE_RATE_TOO_HIGH,
        }
    }
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// DISCONNECT from the client, with its reason code.
    ByClient(u8),
    /// A packet that cannot be read.
    Malformed(PacketError),
    /// A packet that may not come now, or breaks a limit; the text names the rule.
    Violation(&'static str),
    /// [`Session::refuse`], or a CONNECT that this server cannot serve.
    Refused(&'static str),
    /// Silent for one and a half keep-alive periods.
    KeepAlive,
    /// No CONNECT in time.
    ConnectTimeout,
    /// A forbidden topic, on a version or QoS that has no other answer.
    NotAuthorized,
    /// [`Session::close`].
    ByServer(ServerClose),
}

impl Closed {
    /// A stable word for logs and metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::ByClient(_) => "client",
            Self::Malformed(e) => e.fault.code(),
            Self::Violation(_) => "violation",
            Self::Refused(_) => "refused",
            Self::KeepAlive => "keep_alive",
            Self::ConnectTimeout => "connect_timeout",
            Self::NotAuthorized => "topic",
            Self::ByServer(_) => "server",
        }
    }
}

/// What a client wants published when it is gone without a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastWill {
    /// As the client says: the caller decides whether it may.
    pub topic: String,
    /// Any bytes.
    pub payload: Vec<u8>,
    /// Seconds to wait for the client to come back; version 5 only, else 0.
    pub delay_s: u32,
}

/// What of a session outlives its connection: for the next [`Session::accept_again`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    unreleased: BTreeMap<u16, u64>,
    subscriptions: BTreeMap<String, Qos>,
    downlinks: VecDeque<Downlink>,
}

impl Remembered {
    /// The topics the client is still subscribed to.
    pub fn subscriptions(&self) -> impl Iterator<Item = &str> {
        self.subscriptions.keys().map(String::as_str)
    }
}

/// What the caller has to do or to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Answer with [`Session::accept`], [`Session::accept_again`] or [`Session::refuse`]; nothing else is read until then.
    Connect {
        /// As the client says; may be empty.
        client_id: String,
        /// The device code.
        username: Option<String>,
        /// The device secret. Never log it.
        password: Option<Vec<u8>>,
        /// Seconds; 0 is off.
        keep_alive_s: u16,
        /// Clean session or clean start: what was remembered of this client is to be forgotten.
        clean: bool,
        /// What it speaks.
        version: Version,
        /// To be published if the connection ends otherwise than by a DISCONNECT with code 0.
        will: Option<LastWill>,
    },
    /// Answer with [`Session::ack`] once the payload is kept or refused (also at QoS 0, where nothing is sent).
    Publish {
        /// For [`Session::ack`].
        token: Token,
        /// Never empty, no wildcards; aliases are resolved.
        topic: Arc<str>,
        /// Any bytes.
        payload: Vec<u8>,
        /// As sent.
        qos: Qos,
        /// The device says it may have sent this before.
        dup: bool,
        /// At QoS 1 and 2.
        packet_id: Option<u16>,
    },
    /// Answer with [`Session::suback`]: one `true` or `false` per filter.
    Subscribe {
        /// For [`Session::suback`].
        packet_id: u16,
        /// As asked. Filters with wildcards or `$` are refused whatever the caller says.
        filters: Vec<String>,
    },
    /// Already answered.
    Unsubscribe {
        /// The filters given up.
        filters: Vec<String>,
    },
    /// The device answered a downlink message sent at QoS 1 (0 or 0x10: it has it).
    Delivered {
        /// As returned by [`Session::publish`].
        packet_id: u16,
        /// Below 0x80: delivered.
        reason: u8,
    },
    /// The last event: send what is left in the output, then close the socket.
    Closed(Closed),
}

/// Why a downlink message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Not connected (any more).
    #[error("connection is not open")]
    NotOpen,
    /// The client did not subscribe to this topic.
    #[error("client is not subscribed to this topic")]
    NotSubscribed,
    /// As many as allowed wait for their PUBACK; try again after [`Event::Delivered`].
    #[error("too many messages wait for their acknowledgement")]
    Full,
    /// Larger than the client accepts, or not writable.
    #[error("message is too large for the client")]
    TooLarge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing heard yet.
    Fresh,
    /// CONNECT heard, the caller thinks.
    Deciding,
    Open,
    Closed,
}

/// A PUBLISH between receipt and PUBACK or PUBREC.
#[derive(Clone, Copy, Debug)]
struct Pending {
    token: Token,
    packet_id: u16,
    qos: Qos,
    /// Tells a repeat from another message under the same identifier, whose PUBACK would cover something never kept.
    digest: u64,
    result: Option<PubResult>,
}

/// A message to the device between PUBLISH and PUBACK.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Downlink {
    packet_id: u16,
    topic: String,
    /// Empty if the session ends with its connection: nobody will send it again.
    payload: Vec<u8>,
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    limits: Limits,
    decoder: Decoder,
    phase: Phase,
    version: Version,
    connect: Option<Box<Connect>>,
    events: VecDeque<Event>,
    output: Vec<u8>,
    next_token: u64,
    pending: VecDeque<Pending>,
    /// 3.x: refused for quota, not answered, by packet identifier; the caller may still answer, or the device repeats.
    withheld: BTreeMap<u16, Pending>,
    /// QoS 2 messages that are kept and whose PUBREL has not come, with their digests.
    unreleased: BTreeMap<u16, u64>,
    aliases: BTreeMap<u16, Arc<str>>,
    /// The topic heard last: most devices use one.
    last_topic: Arc<str>,
    subscriptions: BTreeMap<String, Qos>,
    suback_waits: VecDeque<Subscribe>,
    downlinks: VecDeque<Downlink>,
    next_packet_id: u16,
    client_receive_max: u16,
    client_packet_max: usize,
    explain: bool,
    keep_alive_s: u16,
    session_expiry_s: u32,
    heard_us: u64,
    /// The newest instant the caller told.
    now_us: u64,
}

/// Tokens of QoS 0 have this bit, so that [`Session::ack`] knows that nobody waits.
const QOS0_BIT: u64 = 1 << 63;
/// Reasons are left out for clients that accept only smaller packets than this.
const EXPLAIN_FROM: usize = 256;
/// More filters than this in one SUBSCRIBE or UNSUBSCRIBE is an attack, not a device.
const FILTERS_MAX: usize = 64;
/// How many SUBSCRIBE packets may wait for [`Session::suback`].
const SUBSCRIBES_MAX: usize = 4;

impl Session {
    /// A fresh connection at the monotonic instant `now_us`.
    pub fn new(limits: Limits, now_us: u64) -> Self {
        Self {
            decoder: Decoder::new(None, limits.packet_max),
            limits,
            phase: Phase::Fresh,
            version: Version::V3_1_1,
            connect: None,
            events: VecDeque::new(),
            output: Vec::new(),
            next_token: 0,
            pending: VecDeque::new(),
            withheld: BTreeMap::new(),
            unreleased: BTreeMap::new(),
            aliases: BTreeMap::new(),
            last_topic: Arc::default(),
            subscriptions: BTreeMap::new(),
            suback_waits: VecDeque::new(),
            downlinks: VecDeque::new(),
            next_packet_id: 0,
            client_receive_max: u16::MAX,
            client_packet_max: usize::MAX,
            explain: true,
            keep_alive_s: 0,
            session_expiry_s: 0,
            heard_us: now_us,
            now_us,
        }
    }

    /// Takes bytes from the socket. Afterwards drain [`Self::next_event`] and [`Self::take_output`].
    ///
    /// Read no more from the socket while [`Self::wants_input`] is false; whoever does all the same is cut off at
    /// one packet beyond the limit.
    pub fn input(&mut self, bytes: &[u8], now_us: u64) {
        if self.phase == Phase::Closed {
            return;
        }
        self.now_us = self.now_us.max(now_us);
        self.decoder.push(bytes);
        self.run();
        if !self.may_read() && self.decoder.pending() > self.limits.packet_max.saturating_mul(2) {
            self.violation(reason::QUOTA_EXCEEDED, "sent on while the server waits");
        }
    }
    /// The next thing to do or to know.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
    /// All events so far, oldest first.
    pub fn events(&mut self) -> impl Iterator<Item = Event> + '_ {
        self.events.drain(..)
    }
    /// Bytes for the socket, in order; the buffer is left empty.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }
    /// Whether the socket should be read: false while the caller decides about CONNECT, or while as many PUBLISH as allowed wait.
    pub fn wants_input(&self) -> bool {
        self.phase != Phase::Closed && self.may_read()
    }
    /// Whether the connection has ended; the last event says why.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }
    /// The version in use: 3.1.1 until CONNECT says otherwise.
    pub fn version(&self) -> Version {
        self.version
    }
    /// PUBLISH packets at QoS 1 and 2 that wait for [`Self::ack`] or for an earlier one.
    pub fn inflight(&self) -> usize {
        self.pending.len()
    }
    /// Seconds that this session outlives its connection; 0 = not at all.
    pub fn session_expiry_s(&self) -> u32 {
        self.session_expiry_s
    }
    /// What is to be carried over to the client's next connection. Messages acknowledged after the end still count: ask last.
    pub fn remembered(&self) -> Remembered {
        Remembered { unreleased: self.unreleased.clone(), subscriptions: self.subscriptions.clone(), downlinks: self.downlinks.clone() }
    }
    /// When [`Self::tick`] has something to do if nothing is heard until then.
    pub fn deadline_us(&self) -> Option<u64> {
        match self.phase {
            Phase::Fresh => Some(self.heard_us.saturating_add(self.limits.connect_timeout_us)),
            Phase::Open if self.keep_alive_s > 0 => {
                // One and a half periods (MQTT 5.0 §3.1.2.10, 3.1.1 the same).
                Some(self.heard_us.saturating_add(u64::from(self.keep_alive_s).saturating_mul(SECOND_US.saturating_mul(3) / 2)))
            }
            _ => None,
        }
    }
    /// Ends a connection that has been silent for too long.
    pub fn tick(&mut self, now_us: u64) {
        self.now_us = self.now_us.max(now_us);
        if self.deadline_us().is_none_or(|deadline| now_us < deadline) {
            return;
        }
        if self.phase == Phase::Fresh {
            self.end(Closed::ConnectTimeout);
        } else if self.may_read() {
            self.say_goodbye(reason::KEEP_ALIVE_TIMEOUT, "nothing heard for one and a half keep-alive periods");
            self.end(Closed::KeepAlive);
        } else {
            // What the device says waits unread in our own queue: its silence is our doing.
            self.heard_us = now_us;
        }
    }

    /// Lets the client in with a new session. A client without an identifier is called `anlan-<user name>`.
    pub fn accept(&mut self) {
        self.let_in(None);
    }
    /// Lets the client in and goes on with the session it had.
    pub fn accept_again(&mut self, remembered: Remembered) {
        self.let_in(Some(remembered));
    }
    fn let_in(&mut self, remembered: Option<Remembered>) {
        let Some(connect) = self.deciding() else { return };
        let v5 = self.version == Version::V5;
        self.keep_alive_s = connect.keep_alive_s;
        let mut properties = Properties::default();
        if v5 {
            let max = self.limits.keep_alive_max_s;
            if max > 0 && (connect.keep_alive_s == 0 || connect.keep_alive_s > max) {
                self.keep_alive_s = max;
                properties = properties.with(property::SERVER_KEEP_ALIVE, Value::Two(max));
            }
            if connect.properties.number(property::SESSION_EXPIRY_INTERVAL).is_some_and(|s| s != self.session_expiry_s) {
                properties = properties.with(property::SESSION_EXPIRY_INTERVAL, Value::Four(self.session_expiry_s));
            }
            if connect.client_id.is_empty() {
                let name = format!("anlan-{}", connect.username.as_deref().unwrap_or("client"));
                properties = properties.with(property::ASSIGNED_CLIENT_IDENTIFIER, Value::Text(name));
            }
            properties = properties
                .with(property::RECEIVE_MAXIMUM, Value::Two(self.limits.inflight_max.max(1)))
                .with(property::RETAIN_AVAILABLE, Value::Byte(0))
                .with(property::MAXIMUM_PACKET_SIZE, Value::Four(u32::try_from(self.limits.packet_max).unwrap_or(u32::MAX).max(1)))
                .with(property::TOPIC_ALIAS_MAXIMUM, Value::Two(self.limits.topic_alias_max))
                .with(property::WILDCARD_SUBSCRIPTION_AVAILABLE, Value::Byte(0))
                .with(property::SUBSCRIPTION_IDENTIFIER_AVAILABLE, Value::Byte(0))
                .with(property::SHARED_SUBSCRIPTION_AVAILABLE, Value::Byte(0));
        }
        self.phase = Phase::Open;
        self.heard_us = self.now_us;
        let session_present = remembered.is_some();
        let Remembered { unreleased, subscriptions, downlinks } = remembered.unwrap_or_default();
        (self.unreleased, self.subscriptions, self.downlinks) = (unreleased, subscriptions, downlinks);
        self.send(&Packet::Connack(Connack { session_present, reason: reason::SUCCESS, properties }));
        // What it did not acknowledge comes again, in order and under the same identifiers (5.0 §4.4).
        for Downlink { packet_id, topic, payload } in self.downlinks.clone() {
            self.send(&downlink(topic, payload, Some(packet_id), true));
        }
        self.run();
    }
    /// Answers CONNECT with a refusal and ends the connection.
    pub fn refuse(&mut self, why: ConnectRefusal) {
        if self.deciding().is_some() {
            let text = match why {
                ConnectRefusal::BadCredentials => "bad credentials",
                ConnectRefusal::NotAuthorized => "not authorized",
                ConnectRefusal::ServerUnavailable => "server unavailable",
                ConnectRefusal::ServerBusy => "server busy",
            };
            self.refuse_connect(why.code(self.version), text);
        }
    }

    /// Says what became of a PUBLISH. Any order will do; answers leave in order of receipt, so one may wait for earlier ones.
    ///
    /// After the end nothing leaves, but a QoS 2 message that is kept is remembered. A token that is unknown is ignored.
    pub fn ack(&mut self, token: Token, result: PubResult) {
        if self.phase != Phase::Open {
            if let Some(i) = self.pending.iter().position(|p| p.token == token)
                && let Some(pending) = self.pending.remove(i)
                && (result == PubResult::Ok || (result == PubResult::PayloadInvalid && self.version != Version::V5))
            {
                self.unreleased.insert(pending.packet_id, pending.digest);
            }
            return;
        }
        if token.0 & QOS0_BIT != 0 {
            if result == PubResult::NotAuthorized {
                self.forbid();
            }
        } else if let Some(pending) = self.pending.iter_mut().find(|p| p.token == token) {
            pending.result.get_or_insert(result);
            while let Some((first, result)) = self.pending.front().and_then(|p| p.result.map(|r| (*p, r))) {
                self.pending.pop_front();
                self.answer(first, result);
            }
        } else if let Some(pending) = self.withheld.values().find(|have| have.token == token).copied()
            && result != PubResult::QuotaExceeded
        {
            self.withheld.remove(&pending.packet_id);
            self.answer(pending, result);
        }
        self.run();
    }
    /// Answers a SUBSCRIBE: `granted[i]` for its i-th filter; missing answers count as refusals.
    pub fn suback(&mut self, packet_id: u16, granted: &[bool]) {
        let Some(i) = self.suback_waits.iter().position(|s| s.packet_id == packet_id) else { return };
        let Some(subscribe) = self.suback_waits.remove(i) else { return };
        let refused = if self.version == Version::V5 { reason::NOT_AUTHORIZED } else { reason::UNSPECIFIED };
        let mut reasons = Vec::with_capacity(subscribe.filters.len());
        for (i, f) in subscribe.filters.into_iter().enumerate() {
            let plain = !f.filter.contains(['#', '+']) && !f.filter.starts_with('$');
            let room = self.subscriptions.len() < self.limits.subscriptions_max || self.subscriptions.contains_key(&f.filter);
            if granted.get(i).copied().unwrap_or(false) && plain && room {
                let qos = f.qos.min(Qos::AtLeastOnce);
                self.subscriptions.insert(f.filter, qos);
                reasons.push(qos.level());
            } else {
                reasons.push(refused);
            }
        }
        self.send(&Packet::Suback(Answers { packet_id, reasons, properties: Properties::default() }));
        self.run();
    }

    /// Sends a message to the device. At QoS 1 the packet identifier is returned and [`Event::Delivered`] follows;
    /// `None` if the device subscribed at QoS 0, so nobody will ever confirm it.
    ///
    /// # Errors
    /// [`PublishError`]; nothing was sent.
    pub fn publish(&mut self, topic: &str, payload: &[u8], qos: Qos) -> Result<Option<u16>, PublishError> {
        if self.phase != Phase::Open {
            return Err(PublishError::NotOpen);
        }
        let granted = *self.subscriptions.get(topic).ok_or(PublishError::NotSubscribed)?;
        let qos = qos.min(granted).min(Qos::AtLeastOnce);
        let packet_id = if qos == Qos::AtLeastOnce {
            if self.downlinks.len() >= usize::from(self.limits.downlink_max.min(self.client_receive_max)) {
                return Err(PublishError::Full);
            }
            Some(self.free_packet_id())
        } else {
            None
        };
        let packet = downlink(topic.to_owned(), payload.to_vec(), packet_id, false);
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes).map_err(|_| PublishError::TooLarge)?;
        if bytes.len() > self.client_packet_max {
            return Err(PublishError::TooLarge);
        }
        self.output.extend_from_slice(&bytes);
        let payload = if self.session_expiry_s > 0 { payload.to_vec() } else { Vec::new() };
        self.downlinks.extend(packet_id.map(|packet_id| Downlink { packet_id, topic: topic.to_owned(), payload }));
        Ok(packet_id)
    }
    /// Ends the connection from this side. Version 5 is told why.
    pub fn close(&mut self, why: ServerClose) {
        if self.phase == Phase::Open {
            self.say_goodbye(why.code(), "closed by the server");
        }
        self.end(Closed::ByServer(why));
    }

    /// Reads packets as long as the rules allow.
    fn run(&mut self) {
        while self.phase != Phase::Closed && self.may_read() {
            match self.decoder.next() {
                None => break,
                Some(Ok(packet)) => {
                    self.heard_us = self.now_us;
                    self.packet(packet);
                }
                Some(Err(error)) => self.malformed(error),
            }
        }
    }
    fn may_read(&self) -> bool {
        match self.phase {
            Phase::Fresh => true,
            Phase::Deciding | Phase::Closed => false,
            // Version 5 was told the limit and is read beyond it, to be told off.
            Phase::Open => {
                self.suback_waits.len() < SUBSCRIBES_MAX
                    && (self.version == Version::V5 || self.pending.len() < usize::from(self.limits.inflight_max.max(1)))
            }
        }
    }
    fn deciding(&mut self) -> Option<Box<Connect>> {
        if self.phase == Phase::Deciding { self.connect.take() } else { None }
    }
    fn packet(&mut self, packet: Packet) {
        match (self.phase, packet) {
            (Phase::Fresh, Packet::Connect(connect)) => self.on_connect(connect),
            (Phase::Fresh, _) => self.end(Closed::Violation("packet before connect")),
            (_, Packet::Connect(_)) => self.violation(reason::PROTOCOL_ERROR, "second connect"),
            (_, Packet::Publish(publish)) => self.on_publish(publish),
            (_, Packet::Puback(ack)) => self.on_puback(&ack),
            (_, Packet::Pubrel(ack)) => self.on_pubrel(&ack),
            (_, Packet::Subscribe(subscribe)) => self.on_subscribe(subscribe),
            (_, Packet::Unsubscribe(unsubscribe)) => self.on_unsubscribe(unsubscribe),
            (_, Packet::Pingreq) => self.send(&Packet::Pingresp),
            (_, Packet::Disconnect(notice)) => self.on_disconnect(&notice),
            // The rest belongs to QoS 2 towards the client, to enhanced authentication, or is a server's to send.
            (_, _) => self.violation(reason::PROTOCOL_ERROR, "packet that a client may not send here"),
        }
    }
    fn on_connect(&mut self, connect: Box<Connect>) {
        self.version = connect.version;
        let number = |id| connect.properties.number(id);
        self.client_receive_max = number(property::RECEIVE_MAXIMUM).and_then(|n| u16::try_from(n).ok()).unwrap_or(u16::MAX);
        self.client_packet_max = number(property::MAXIMUM_PACKET_SIZE).and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
        self.explain = number(property::REQUEST_PROBLEM_INFORMATION) != Some(0);
        if connect.properties.get(property::AUTHENTICATION_METHOD).is_some() {
            return self.refuse_connect(reason::BAD_AUTHENTICATION_METHOD, "enhanced authentication is not offered");
        }
        // 3.1 and 3.1.1 without a clean session need a name to find the session by (3.1.1 §3.1.3.1).
        if connect.client_id.is_empty() && (connect.version == Version::V3_1 || (connect.version == Version::V3_1_1 && !connect.clean)) {
            return self.refuse_connect(2, "client identifier is empty");
        }
        self.session_expiry_s = match connect.version {
            // Without a name of its own nobody finds a session again.
            _ if connect.client_id.is_empty() => 0,
            Version::V5 => number(property::SESSION_EXPIRY_INTERVAL).unwrap_or(0),
            _ if connect.clean => 0,
            _ => u32::MAX,
        }
        .min(self.limits.session_expiry_max_s);
        let will = connect.will.as_ref().map(|Will { topic, payload, properties, .. }| LastWill {
            topic: topic.clone(),
            payload: payload.clone(),
            delay_s: properties.number(property::WILL_DELAY_INTERVAL).unwrap_or(0),
        });
        self.phase = Phase::Deciding;
        self.events.push_back(Event::Connect {
            client_id: connect.client_id.clone(),
            username: connect.username.clone(),
            password: connect.password.clone(),
            keep_alive_s: connect.keep_alive_s,
            clean: connect.clean,
            version: connect.version,
            will,
        });
        self.connect = Some(connect);
    }
    fn on_publish(&mut self, publish: Publish) {
        let Publish { dup, qos, topic, packet_id, payload, properties, .. } = publish;
        if properties.get(property::SUBSCRIPTION_IDENTIFIER).is_some() {
            return self.violation(reason::PROTOCOL_ERROR, "publish from a client with a subscription identifier");
        }
        if topic.len() > self.limits.topic_max {
            return self.violation(reason::TOPIC_NAME_INVALID, "topic name is too long");
        }
        let topic: Arc<str> = match properties.number(property::TOPIC_ALIAS).map(|n| u16::try_from(n).unwrap_or(0)) {
            None if *topic == *self.last_topic => Arc::clone(&self.last_topic),
            None => topic.into(),
            Some(alias) if alias == 0 || alias > self.limits.topic_alias_max => {
                return self.violation(reason::TOPIC_ALIAS_INVALID, "topic alias is out of range");
            }
            Some(alias) if topic.is_empty() => match self.aliases.get(&alias) {
                Some(topic) => Arc::clone(topic),
                None => return self.violation(reason::PROTOCOL_ERROR, "topic alias was never set"),
            },
            Some(alias) => {
                let topic: Arc<str> = topic.into();
                self.aliases.insert(alias, Arc::clone(&topic));
                topic
            }
        };
        self.last_topic = Arc::clone(&topic);
        let mut serial = self.next_token;
        self.next_token = self.next_token.wrapping_add(1) & !QOS0_BIT;
        match packet_id {
            None => serial |= QOS0_BIT,
            Some(packet_id) => {
                let mut hasher = DefaultHasher::new();
                (&*topic, &payload).hash(&mut hasher);
                let digest = hasher.finish();
                if let Some(same) = self.pending.iter().find(|p| p.packet_id == packet_id) {
                    // A repeat shares the PUBACK of the first: a second one could be taken for the next message of that number.
                    if same.digest != digest {
                        self.violation(reason::PROTOCOL_ERROR, "packet identifier is in use for another message");
                    }
                    return;
                }
                match self.unreleased.get(&packet_id) {
                    // A repeat before its PUBREL: it is kept, and is told so again.
                    Some(have) if qos == Qos::ExactlyOnce && *have == digest => {
                        return self.send(&Packet::Pubrec(Ack { packet_id, reason: reason::SUCCESS, properties: Properties::default() }));
                    }
                    // Another message: the client has lost its session. A PUBREC for the old one would lose the new one.
                    Some(_) => {
                        self.unreleased.remove(&packet_id);
                    }
                    None => {}
                }
                if self.pending.len() >= usize::from(self.limits.inflight_max.max(1)) {
                    return self.violation(reason::RECEIVE_MAXIMUM_EXCEEDED, "receive maximum is exceeded");
                }
                if qos == Qos::ExactlyOnce && self.unreleased.len() >= self.limits.unreleased_max {
                    return self.violation(reason::RECEIVE_MAXIMUM_EXCEEDED, "too many messages at qos 2 wait for their pubrel");
                }
                self.withheld.remove(&packet_id);
                self.pending.push_back(Pending { token: Token(serial), packet_id, qos, digest, result: None });
            }
        }
        self.events.push_back(Event::Publish { token: Token(serial), topic, payload, qos, dup, packet_id });
    }
    /// PUBACK or PUBREC.
    fn answer(&mut self, pending: Pending, result: PubResult) {
        if self.phase != Phase::Open {
            return;
        }
        let Pending { packet_id, qos, digest, .. } = pending;
        let (code, text) = match (self.version, result) {
            (_, PubResult::Ok) | (Version::V3_1 | Version::V3_1_1, PubResult::PayloadInvalid) => (reason::SUCCESS, ""),
            (Version::V5, PubResult::QuotaExceeded) => (reason::QUOTA_EXCEEDED, "too much is waiting; send it again later"),
            (Version::V5, PubResult::PayloadInvalid) => (reason::PAYLOAD_FORMAT_INVALID, "payload cannot be read; it lies in quarantine"),
            (Version::V5, PubResult::NotAuthorized) => (reason::NOT_AUTHORIZED, "this device may not publish to this topic"),
            (_, PubResult::NotAuthorized) => return self.forbid(),
            (_, PubResult::QuotaExceeded) => {
                self.withheld.insert(packet_id, pending);
                // 3.x clients repeat only after reconnecting; with a window full of unanswered messages that is the way on.
                if self.withheld.len() > usize::from(self.limits.inflight_max) {
                    self.violation(reason::QUOTA_EXCEEDED, "too many messages left without an answer");
                }
                return;
            }
        };
        let ack = Ack { packet_id, reason: code, properties: self.explained(text) };
        if qos == Qos::ExactlyOnce {
            // A PUBREC with an error ends the exchange (5.0 §4.3.3): no PUBREL will come.
            if code == reason::SUCCESS {
                self.unreleased.insert(packet_id, digest);
            }
            self.send(&Packet::Pubrec(ack));
        } else {
            self.send(&Packet::Puback(ack));
        }
    }
    fn on_pubrel(&mut self, ack: &Ack) {
        let packet_id = ack.packet_id;
        if self.pending.iter().any(|p| p.packet_id == packet_id) {
            return self.violation(reason::PROTOCOL_ERROR, "pubrel before the pubrec");
        }
        // An unknown one is finished all the same, or the client would repeat it for ever (5.0 §3.7.2.1: 0x92).
        let known = self.unreleased.remove(&packet_id).is_some() || self.version != Version::V5;
        let reason = if known { reason::SUCCESS } else { reason::PACKET_IDENTIFIER_NOT_FOUND };
        self.send(&Packet::Pubcomp(Ack { packet_id, reason, properties: Properties::default() }));
    }
    fn on_disconnect(&mut self, notice: &Notice) {
        if let Some(wanted) = notice.properties.number(property::SESSION_EXPIRY_INTERVAL) {
            if self.session_expiry_s == 0 && wanted > 0 {
                return self.violation(reason::PROTOCOL_ERROR, "a session that ends with its connection cannot be prolonged");
            }
            self.session_expiry_s = wanted.min(self.limits.session_expiry_max_s);
        }
        self.end(Closed::ByClient(notice.reason));
    }
    fn on_puback(&mut self, ack: &Ack) {
        // A PUBACK for nothing is ignored: a late answer to an earlier connection harms nobody.
        if let Some(i) = self.downlinks.iter().position(|d| d.packet_id == ack.packet_id) {
            self.downlinks.remove(i);
            self.events.push_back(Event::Delivered { packet_id: ack.packet_id, reason: ack.reason });
        }
    }
    fn on_subscribe(&mut self, subscribe: Subscribe) {
        if subscribe.properties.get(property::SUBSCRIPTION_IDENTIFIER).is_some() {
            return self.violation(0xa1, "subscription identifiers are not offered");
        }
        if subscribe.filters.len() > FILTERS_MAX {
            return self.violation(reason::QUOTA_EXCEEDED, "too many topic filters in one packet");
        }
        if self.suback_waits.iter().any(|s| s.packet_id == subscribe.packet_id) {
            return self.violation(reason::PROTOCOL_ERROR, "packet identifier is in use");
        }
        let filters = subscribe.filters.iter().map(|f| f.filter.clone()).collect();
        self.events.push_back(Event::Subscribe { packet_id: subscribe.packet_id, filters });
        self.suback_waits.push_back(subscribe);
    }
    fn on_unsubscribe(&mut self, unsubscribe: Unsubscribe) {
        let Unsubscribe { packet_id, filters, .. } = unsubscribe;
        if filters.len() > FILTERS_MAX {
            return self.violation(reason::QUOTA_EXCEEDED, "too many topic filters in one packet");
        }
        let gone = |had: bool| if had { reason::SUCCESS } else { reason::NO_SUBSCRIPTION_EXISTED };
        let reasons = filters.iter().map(|f| gone(self.subscriptions.remove(f).is_some())).collect();
        self.send(&Packet::Unsuback(Answers { packet_id, reasons, properties: Properties::default() }));
        self.events.push_back(Event::Unsubscribe { filters });
    }

    fn malformed(&mut self, error: PacketError) {
        match (self.phase, &error.fault) {
            // Answered in the oldest form, which every client can read (3.1.1 §3.1.2.2; 5.0 §3.1.2.2 allows it).
            (Phase::Fresh, Fault::ProtocolVersion(_)) => {
                self.version = Version::V3_1_1;
                self.send(&Packet::Connack(Connack { session_present: false, reason: 1, properties: Properties::default() }));
            }
            (Phase::Fresh, _) => {}
            // A second CONNECT, and a wrong one: DISCONNECT has no code for a version (5.0 table 2-6).
            (_, fault @ (Fault::ProtocolVersion(_) | Fault::ProtocolName)) => self.say_goodbye(reason::PROTOCOL_ERROR, fault.code()),
            (_, fault) => self.say_goodbye(fault.reason(), fault.code()),
        }
        self.end(Closed::Malformed(error));
    }
    fn violation(&mut self, code: u8, text: &'static str) {
        self.say_goodbye(code, text);
        self.end(Closed::Violation(text));
    }
    fn forbid(&mut self) {
        self.say_goodbye(reason::NOT_AUTHORIZED, "this device may not publish to this topic");
        self.end(Closed::NotAuthorized);
    }
    fn refuse_connect(&mut self, code: u8, text: &'static str) {
        let properties = self.explained(text);
        self.send(&Packet::Connack(Connack { session_present: false, reason: code, properties }));
        self.end(Closed::Refused(text));
    }
    /// DISCONNECT with a reason, which only version 5 lets a server send.
    fn say_goodbye(&mut self, code: u8, text: &str) {
        // Before CONNACK a server may send nothing else (§3.2).
        if self.version == Version::V5 && self.phase == Phase::Open {
            let properties = self.explained(text);
            self.send(&Packet::Disconnect(Notice { reason: code, properties }));
        }
    }
    fn explained(&self, text: &str) -> Properties {
        // A reason must not make the packet larger than the client hears (5.0 §3.4.2.2.2).
        if self.version == Version::V5 && self.explain && !text.is_empty() && self.client_packet_max >= EXPLAIN_FROM {
            Properties::default().with(property::REASON_STRING, Value::Text(text.to_owned()))
        } else {
            Properties::default()
        }
    }
    fn send(&mut self, packet: &Packet) {
        let before = self.output.len();
        // Only texts and lists made here or already bounded by a received packet are written, so encoding cannot fail.
        let written = packet.encode(self.version, &mut self.output);
        if written.is_err() || self.output.len().saturating_sub(before) > self.client_packet_max {
            self.output.truncate(before);
        }
    }
    fn free_packet_id(&mut self) -> u16 {
        // At most `downlink_max` of 65,535 numbers are taken, so this ends.
        loop {
            self.next_packet_id = self.next_packet_id.wrapping_add(1).max(1);
            if !self.downlinks.iter().any(|d| d.packet_id == self.next_packet_id) {
                return self.next_packet_id;
            }
        }
    }
    fn end(&mut self, why: Closed) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            // What is out at QoS 2 may still be kept, and then its repeat must not be.
            self.pending.retain(|p| p.qos == Qos::ExactlyOnce);
            self.withheld.clear();
            self.events.push_back(Event::Closed(why));
        }
    }
}

/// A PUBLISH to the device; at QoS 1 if it has an identifier.
fn downlink(topic: String, payload: Vec<u8>, packet_id: Option<u16>, dup: bool) -> Packet {
    let qos = if packet_id.is_some() { Qos::AtLeastOnce } else { Qos::AtMostOnce };
    Packet::Publish(Publish { dup, qos, retain: false, topic, packet_id, payload, properties: Properties::default() })
}
