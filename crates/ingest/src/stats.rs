//! What the links carried: read by `GET /summary`, and the same numbers as Prometheus counters.
//!
//! Start at [`LinkStats`]. Counting is a few relaxed atomics: the metrics of every message are looked up once, when the link is made.
//! Metrics: `ingest_messages_total`, `ingest_readings_total`, `ingest_refused_total{reason}`, `ingest_ignored_values_total`,
//! `ingest_connections`, each `{protocol}`.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use anlan_model::Timestamp;
use metrics::Counter;

/// The links of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// MQTT 3.1.1 and 5.
    Mqtt,
    /// JT/T 808 over TCP.
    Jt808,
    /// InfluxDB write endpoints and JSON.
    Http,
    /// Modbus TCP, which we poll.
    Modbus,
    /// JT/T 809, with platforms below and above.
    Jt809,
}

impl Protocol {
    /// All of them, in the order of [`LinkStats::links`].
    pub const ALL: [Self; 5] = [Self::Mqtt, Self::Jt808, Self::Http, Self::Modbus, Self::Jt809];
    /// The label in metrics, logs, batches and on the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Jt808 => "jt808",
            Self::Http => "http",
            Self::Modbus => "modbus",
            Self::Jt809 => "jt809",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal),+ $(,)?) => {
        /// Why something was refused; the fixed values of the metric label `reason`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Reason { $($(#[$doc])* $name),+ }
        impl Reason {
            /// All reasons, in declaration order.
            pub const ALL: &[Self] = &[$(Self::$name),+];
            /// The label.
            pub const fn as_str(self) -> &'static str { match self { $(Self::$name => $word),+ } }
        }
    };
}

reasons! {
    /// Too many connections, whole or from one address.
    Connections = "connections",
    /// No TLS session came about: not TLS at all, no common version or cipher, or a client certificate that is not trusted.
    Tls = "tls",
    /// Wrong user, secret or authentication code; or a disabled device.
    Credentials = "credentials",
    /// Nobody knows the terminal and the policy refuses such.
    UnknownSource = "unknown_source",
    /// Nobody knows the terminal; its message was quarantined.
    Quarantined = "quarantined",
    /// A known terminal sent data before it authenticated.
    NotAuthenticated = "not_authenticated",
    /// A registration with an adopted number outside its enrolment window, or after its code was given.
    AlreadyRegistered = "already_registered",
    /// More messages per second than allowed.
    Rate = "rate",
    /// A message, its unpacked body or its number of readings is too large.
    TooLarge = "too_large",
    /// A file beyond what is kept of one vehicle, or of all together.
    Quota = "quota",
    /// Not readable as what it should be; quarantined.
    Unreadable = "unreadable",
    /// A frame whose checksum or length is wrong; quarantined.
    BadFrame = "bad_frame",
    /// A topic the device may not use.
    Topic = "topic",
    /// A device named that the credential may not speak for.
    ForeignDevice = "foreign_device",
    /// Back-fill without the right.
    Backfill = "backfill",
    /// Over UDP: an answer that would be larger than what a source without a code sent.
    Amplification = "amplification",
    /// The shard or this connection holds too much already.
    Overloaded = "overloaded",
    /// The log could not be written.
    Storage = "storage",
    /// The node is stopping.
    Stopping = "stopping",
    /// A message of a kind that is not built.
    Unsupported = "unsupported",
    /// The peer broke the protocol.
    Violation = "violation",
    /// The peer did not read what it was sent.
    SlowReader = "slow_reader",
    /// The peer was silent too long.
    Idle = "idle",
    /// Pieces of a message never came.
    Incomplete = "incomplete",
}

/// The numbers of one link.
#[derive(Debug)]
pub struct Link {
    protocol: Protocol,
    connections: AtomicU64,
    messages: AtomicU64,
    readings: AtomicU64,
    refused: [AtomicU64; Reason::ALL.len()],
    last_at_us: AtomicI64,
    messages_metric: Counter,
    readings_metric: Counter,
}

impl Link {
    fn new(protocol: Protocol) -> Self {
        let label = protocol.as_str();
        Self {
            protocol,
            connections: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            readings: AtomicU64::new(0),
            refused: std::array::from_fn(|_| AtomicU64::new(0)),
            last_at_us: AtomicI64::new(i64::MIN),
            messages_metric: metrics::counter!("ingest_messages_total", "protocol" => label),
            readings_metric: metrics::counter!("ingest_readings_total", "protocol" => label),
        }
    }
    /// Which link.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }
    /// Connections open now; for HTTP, ingest requests in work.
    pub fn connections(&self) -> u64 {
        self.connections.load(Relaxed)
    }
    /// Messages heard, good or refused (MQTT packets PUBLISH, 808 messages, HTTP ingest requests).
    pub fn messages_total(&self) -> u64 {
        self.messages.load(Relaxed)
    }
    /// Readings and positions that were acknowledged, repeats included.
    pub fn readings_total(&self) -> u64 {
        self.readings.load(Relaxed)
    }
    /// Refusals, all reasons.
    pub fn refused_total(&self) -> u64 {
        self.refused.iter().map(|n| n.load(Relaxed)).sum()
    }
    /// Refusals for one reason.
    pub fn refused(&self, reason: Reason) -> u64 {
        self.refused[reason as usize].load(Relaxed)
    }
    /// Refusals by reason, those that happened.
    pub fn refused_by_reason(&self) -> Vec<(&'static str, u64)> {
        Reason::ALL.iter().map(|r| (r.as_str(), self.refused(*r))).filter(|(_, n)| *n > 0).collect()
    }
    /// When the last message came (domain time, µs), if one did.
    pub fn last_at(&self) -> Option<Timestamp> {
        Some(self.last_at_us.load(Relaxed)).filter(|us| *us != i64::MIN).map(Timestamp::from_micros)
    }

    pub(crate) fn opened(&self) {
        self.connections.fetch_add(1, Relaxed);
        metrics::gauge!("ingest_connections", "protocol" => self.protocol.as_str()).increment(1.0);
    }
    pub(crate) fn closed(&self) {
        self.connections.fetch_sub(1, Relaxed);
        metrics::gauge!("ingest_connections", "protocol" => self.protocol.as_str()).decrement(1.0);
    }
    pub(crate) fn heard(&self, at: Timestamp) {
        self.messages.fetch_add(1, Relaxed);
        self.last_at_us.fetch_max(at.micros(), Relaxed);
        self.messages_metric.increment(1);
    }
    pub(crate) fn kept(&self, readings: u64) {
        self.readings.fetch_add(readings, Relaxed);
        self.readings_metric.increment(readings);
    }
    /// Values that are no numbers, left out by contract.
    pub(crate) fn ignored(&self, values: u64) {
        if values > 0 {
            metrics::counter!("ingest_ignored_values_total", "protocol" => self.protocol.as_str()).increment(values);
        }
    }
    pub(crate) fn refuse(&self, reason: Reason) {
        self.refused[reason as usize].fetch_add(1, Relaxed);
        metrics::counter!("ingest_refused_total", "protocol" => self.protocol.as_str(), "reason" => reason.as_str()).increment(1);
    }
}

/// Counts one open connection (or request) of a link while it lives.
pub(crate) struct Open(std::sync::Arc<LinkStats>, Protocol);

impl Open {
    pub(crate) fn new(stats: &std::sync::Arc<LinkStats>, protocol: Protocol) -> Self {
        stats.link(protocol).opened();
        Self(stats.clone(), protocol)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.link(self.1).closed();
    }
}

/// The numbers of all links.
#[derive(Debug)]
pub struct LinkStats {
    links: [Link; Protocol::ALL.len()],
}

impl Default for LinkStats {
    fn default() -> Self {
        Self { links: Protocol::ALL.map(Link::new) }
    }
}

impl LinkStats {
    /// One link's numbers.
    pub fn link(&self, protocol: Protocol) -> &Link {
        &self.links[protocol as usize]
    }
    /// All links: MQTT, JT/T 808, HTTP, Modbus, JT/T 809.
    pub fn links(&self) -> &[Link] {
        &self.links
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_kept_per_link_and_reason() {
        let stats = LinkStats::default();
        let mqtt = stats.link(Protocol::Mqtt);
        assert_eq!(mqtt.last_at(), None);
        mqtt.heard(Timestamp::from_secs(5));
        mqtt.heard(Timestamp::from_secs(4));
        mqtt.refuse(Reason::Topic);
        mqtt.kept(3);
        assert_eq!((mqtt.messages_total(), mqtt.readings_total(), mqtt.refused_total()), (2, 3, 1));
        assert_eq!(mqtt.last_at(), Some(Timestamp::from_secs(5)));
        assert_eq!(mqtt.refused_by_reason(), [("topic", 1)]);
        assert_eq!(stats.link(Protocol::Http).messages_total(), 0);
        assert!(stats.links().iter().zip(Protocol::ALL).all(|(l, p)| l.protocol() == p));
    }
}
