//! How much one source may ask of this node, and the guards that hold it to that.
//!
//! Never decides who a source is (that is [`crate::trust`]). Start at [`Limits`]; [`Gate`] is the state behind it.
//! All figures are ours: they bound memory and keep one device from starving the others; none is a legal threshold.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anlan_model::EnterpriseId;
use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

/// The limits of all listeners. Every key has a default, so an empty configuration section is complete.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections per listener (MQTT and JT/T 808 each). Default 20,000. Past it a new connection is closed at once.
    pub max_connections: usize,
    /// Connections per listener from one address. Default 5,000: a carrier's NAT stands before many terminals.
    pub max_connections_per_ip: usize,
    /// Messages per second that one device or terminal may send for long. Default 200.
    pub messages_per_s: u32,
    /// Messages it may send at once before that rate counts. Default 2,000, so a queue of minutes drains quickly.
    pub message_burst: u32,
    /// Messages per second that all devices of one enterprise together may send for long (MQTT and HTTP). Default 20,000.
    pub enterprise_messages_per_s: u32,
    /// Messages they may send at once before that rate counts. Default 200,000.
    pub enterprise_message_burst: u32,
    /// Points that the devices of one enterprise may bring in at first sight; further ones are left out and counted. Default 200,000.
    pub points_per_enterprise: usize,
    /// Readings that all shards together may hold before they refuse, back-fill first. Default 4,000,000, about 200 MB.
    pub queue_readings: usize,
    /// Megabytes free on the data disk below which back-fill is refused, below half of it telemetry, below a quarter everything.
    /// Default 512; 0 = no guard.
    pub disk_free_min_mb: u64,
    /// Bytes of one MQTT packet or one HTTP body as sent. Default 1 MiB.
    pub max_message_bytes: usize,
    /// Bytes of one HTTP body after gunzip. Default 16 MiB; what a compression bomb can cost.
    pub max_unpacked_bytes: usize,
    /// Readings of one message. Default 50,000.
    pub max_readings_per_message: usize,
    /// Messages of one connection that wait for their sync. Default 128; MQTT 5 is told (Receive Maximum).
    pub max_inflight: usize,
    /// Bytes of all messages that wait for their sync and of the readings in them (256 each), whole process. Default 256 MiB; past it:
    /// overloaded.
    pub max_held_bytes: usize,
    /// Bytes a connection may owe a client that does not read. Default 256 KiB; past it the connection is dropped.
    pub max_output_bytes: usize,
    /// Milliseconds without progress of a write before the connection is dropped. Default 10,000.
    pub write_timeout_ms: u64,
    /// Milliseconds a new connection has for its first whole message. Default 10,000.
    pub first_message_timeout_ms: u64,
    /// Seconds an MQTT connection may be silent if it asked for no keep alive, and the longest keep alive. Default 1,200.
    pub mqtt_idle_timeout_s: u64,
    /// Seconds an MQTT session may outlive its connection. Default 3,600. 0 = none does.
    pub mqtt_session_expiry_s: u32,
    /// Seconds a JT/T 808 connection may be silent. Default 600.
    pub jt808_idle_timeout_s: u64,
    /// Phone numbers on one JT/T 808 connection (forwarding platforms carry many). Default 1,024.
    pub max_phones_per_connection: usize,
    /// JT/T 808 messages in pieces that one connection may have open. Default 16.
    pub max_assemblies: usize,
    /// Bytes of JT/T 808 messages in pieces that one connection may hold. Default 256 KiB.
    pub max_assembly_bytes: usize,
    /// Bytes of one picture, sound or film of a terminal; it must fit into `max_assembly_bytes` as well. Default 256 KiB.
    pub media_file_bytes: usize,
    /// Megabytes of such files that are kept of one vehicle; past it further ones are refused. Default 200.
    pub media_vehicle_mb: u64,
    /// Megabytes of such files that are kept of all vehicles together. Default 20,000.
    pub media_total_mb: u64,
    /// Whole days that such files are kept, legal holds excepted. Default 0: for ever.
    pub media_days: u32,
    /// Milliseconds without a new piece before the missing ones are asked for (0x8003); at most three times. Default 5,000.
    pub assembly_timeout_ms: u64,
    /// Commands waiting in one connection. Default 64; past it the device counts as not connected.
    pub max_downlinks: usize,
    /// Milliseconds before an MQTT 3.1.1 message that met a full shard is offered again; doubles. Default 200.
    pub reoffer_first_ms: u64,
    /// The longest such wait. Default 5,000.
    pub reoffer_last_ms: u64,
    /// Milliseconds that the answer to a wrong credential is held back; doubles per failure of an address. Default 250.
    pub refuse_delay_first_ms: u64,
    /// The longest such delay. Default 4,000.
    pub refuse_delay_last_ms: u64,
    /// What HTTP tells an overloading client to wait, in seconds (`Retry-After`). Default 5.
    pub retry_after_s: u64,
    /// Milliseconds an HTTP request waits for the sync before it is answered 503. Default 30,000.
    pub http_reply_timeout_ms: u64,
    /// HTTP connections. Default 8,192. Past it a new connection is closed at once.
    pub max_http_connections: usize,
    /// HTTP connections from one address. Default 1,024: an office behind one address has many browsers.
    pub max_http_connections_per_ip: usize,
    /// HTTP ingest requests in work at once. Default 256; past it 503.
    pub max_http_requests: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 20_000,
            max_connections_per_ip: 5_000,
            messages_per_s: 200,
            message_burst: 2_000,
            enterprise_messages_per_s: 20_000,
            enterprise_message_burst: 200_000,
            points_per_enterprise: 200_000,
            queue_readings: 4_000_000,
            disk_free_min_mb: 512,
            max_message_bytes: 1 << 20,
            max_unpacked_bytes: 16 << 20,
            max_readings_per_message: 50_000,
            max_inflight: 128,
            max_held_bytes: 256 << 20,
            max_output_bytes: 256 << 10,
            write_timeout_ms: 10_000,
            first_message_timeout_ms: 10_000,
            mqtt_idle_timeout_s: 1_200,
            mqtt_session_expiry_s: 3_600,
            jt808_idle_timeout_s: 600,
            max_phones_per_connection: 1_024,
            max_assemblies: 16,
            max_assembly_bytes: 256 << 10,
            media_file_bytes: 256 << 10,
            media_vehicle_mb: 200,
            media_total_mb: 20_000,
            media_days: 0,
            assembly_timeout_ms: 5_000,
            max_downlinks: 64,
            reoffer_first_ms: 200,
            reoffer_last_ms: 5_000,
            refuse_delay_first_ms: 250,
            refuse_delay_last_ms: 4_000,
            retry_after_s: 5,
            http_reply_timeout_ms: 30_000,
            max_http_connections: 8_192,
            max_http_connections_per_ip: 1_024,
            max_http_requests: 256,
        }
    }
}

impl Limits {
    /// The wait before the `attempt`-th further offer of a message (0 = first).
    pub(crate) fn reoffer_delay(&self, attempt: u32) -> Duration {
        doubled(self.reoffer_first_ms, self.reoffer_last_ms, attempt)
    }
}

/// `first · 2^n` milliseconds, at most `last`.
fn doubled(first_ms: u64, last_ms: u64, n: u32) -> Duration {
    Duration::from_millis(first_ms.saturating_mul(1 << n.min(20)).min(last_ms))
}

/// A map this large is swept before it grows; it holds one small entry per source heard lately.
const SWEEP_AT: usize = 65_536;

/// The shared state behind [`Limits`]: who has how much left.
#[derive(Debug)]
pub(crate) struct Gate {
    devices: Buckets<String>,
    enterprises: Buckets<EnterpriseId>,
    refuse_delay_ms: (u64, u64),
    failures: Mutex<HashMap<IpAddr, (u32, Instant)>>,
    held: Arc<Budget>,
}

/// A token bucket per source.
#[derive(Debug)]
struct Buckets<K> {
    rate_per_s: f64,
    burst: f64,
    of: Mutex<HashMap<K, Bucket, RandomState>>,
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    fn new(rate_per_s: u32, burst: u32) -> Self {
        Self { rate_per_s: f64::from(rate_per_s.max(1)), burst: f64::from(burst.max(1)), of: Mutex::default() }
    }

    fn take<Q: Hash + Eq + ToOwned<Owned = K> + ?Sized>(&self, source: &Q, now: Instant) -> Result<(), Duration>
    where
        K: Borrow<Q>,
    {
        let (rate, burst) = (self.rate_per_s, self.burst);
        let mut buckets = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if !buckets.contains_key(source) {
            // A bucket that is full again carries no information: forgetting it changes nothing.
            sweep(&mut buckets, |b| b.tokens + now.saturating_duration_since(b.at).as_secs_f64() * rate >= burst);
            buckets.insert(source.to_owned(), Bucket { tokens: burst, at: now });
        }
        let Some(bucket) = buckets.get_mut(source) else { return Ok(()) };
        bucket.tokens = (bucket.tokens + now.saturating_duration_since(bucket.at).as_secs_f64() * rate).min(burst);
        bucket.at = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            Ok(())
        } else {
            Err(Duration::from_secs_f64((1.0 - bucket.tokens) / rate))
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// Failures of an address are forgotten after this long without one.
const FAILURES_FORGOTTEN: Duration = Duration::from_secs(300);

impl Gate {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            devices: Buckets::new(limits.messages_per_s, limits.message_burst),
            enterprises: Buckets::new(limits.enterprise_messages_per_s, limits.enterprise_message_burst),
            refuse_delay_ms: (limits.refuse_delay_first_ms, limits.refuse_delay_last_ms),
            failures: Mutex::default(),
            held: Arc::new(Budget { left: AtomicUsize::new(limits.max_held_bytes) }),
        }
    }

    /// Takes one message from the bucket of `source`.
    ///
    /// # Errors
    /// The time until one more message would be allowed.
    pub(crate) fn take(&self, source: &str, now: Instant) -> Result<(), Duration> {
        self.devices.take(source, now)
    }

    /// The same, and one from the bucket of its enterprise.
    pub(crate) fn take_of(&self, source: &str, enterprise: Option<EnterpriseId>, now: Instant) -> Result<(), Duration> {
        self.take(source, now)?;
        enterprise.map_or(Ok(()), |enterprise| self.enterprises.take(&enterprise, now))
    }

    /// Notes a wrong credential from `address`; returns how long its answer is to be held back.
    pub(crate) fn failed(&self, address: IpAddr, now: Instant) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let old = |at: Instant| now.saturating_duration_since(at) > FAILURES_FORGOTTEN;
        sweep(&mut failures, |(_, at)| old(*at));
        let entry = failures.entry(address).or_insert((0, now));
        if old(entry.1) {
            entry.0 = 0;
        }
        let delay = doubled(self.refuse_delay_ms.0, self.refuse_delay_ms.1, entry.0);
        *entry = (entry.0.saturating_add(1), now);
        delay
    }

    /// Reserves memory for a message of `bytes` bytes until the guard is dropped; `None` if the process holds too much.
    pub(crate) fn hold(&self, bytes: usize) -> Option<Held> {
        let left = &self.held.left;
        left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(bytes)).ok()?;
        Some(Held { budget: self.held.clone(), bytes })
    }
}

/// Drops entries that say nothing any more once the map is large; if all still matter, drops any to stay bounded.
fn sweep<K: Hash + Eq + Clone, V, S: BuildHasher>(map: &mut HashMap<K, V, S>, idle: impl Fn(&V) -> bool) {
    if map.len() < SWEEP_AT {
        return;
    }
    map.retain(|_, v| !idle(v));
    if map.len() >= SWEEP_AT {
        let some: Vec<K> = map.keys().take(SWEEP_AT / 8).cloned().collect();
        for key in some {
            map.remove(&key);
        }
    }
}

#[derive(Debug)]
struct Budget {
    left: AtomicUsize,
}

/// Memory reserved for a message on its way; given back when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.bytes, Ordering::AcqRel);
    }
}

/// Counts the connections of one listener, whole and per address.
#[derive(Debug)]
pub struct Slots {
    max: usize,
    max_per_ip: usize,
    open: Mutex<(usize, HashMap<IpAddr, usize>)>,
}

impl Slots {
    /// So many places, and so many of them for one address.
    pub fn new(max: usize, max_per_ip: usize) -> Self {
        Self { max, max_per_ip, open: Mutex::default() }
    }

    /// A place for a connection from `address`, or `None` if the listener or the address has enough.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Slot> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.0 >= self.max || open.1.get(&address).is_some_and(|n| *n >= self.max_per_ip) {
            return None;
        }
        open.0 += 1;
        *open.1.entry(address).or_default() += 1;
        Some(Slot { slots: self.clone(), address })
    }
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    address: IpAddr,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.slots.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.0 = open.0.saturating_sub(1);
        if let Some(n) = open.1.get_mut(&self.address) {
            *n = n.saturating_sub(1);
            if *n == 0 {
                open.1.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_allows_the_burst_then_the_rate() {
        let gate = Gate::new(&Limits { messages_per_s: 10, message_burst: 3, ..Limits::default() });
        let t = Instant::now();
        assert!((0..3).all(|_| gate.take("a", t).is_ok()));
        assert_eq!(gate.take("a", t), Err(Duration::from_millis(100)));
        assert!(gate.take("b", t).is_ok(), "another source has its own bucket");
        assert!(gate.take("a", t + Duration::from_millis(150)).is_ok());
        assert!(gate.take("a", t + Duration::from_millis(160)).is_err());
    }

    #[test]
    fn devices_of_one_enterprise_share_its_bucket_and_others_do_not() {
        let gate = Gate::new(&Limits { enterprise_messages_per_s: 10, enterprise_message_burst: 2, ..Limits::default() });
        let (one, other, t) = (Some(EnterpriseId::new(1)), Some(EnterpriseId::new(2)), Instant::now());
        assert!(gate.take_of("a", one, t).is_ok() && gate.take_of("b", one, t).is_ok());
        assert_eq!(gate.take_of("c", one, t), Err(Duration::from_millis(100)));
        assert!(gate.take_of("d", other, t).is_ok() && gate.take_of("e", None, t).is_ok());
        assert!(gate.take_of("c", one, t + Duration::from_millis(110)).is_ok());
    }

    #[test]
    fn held_memory_comes_back() {
        let gate = Gate::new(&Limits { max_held_bytes: 100, ..Limits::default() });
        let first = gate.hold(60).unwrap();
        assert!(gate.hold(60).is_none());
        drop(first);
        assert!(gate.hold(60).is_some());
    }

    #[test]
    fn each_failure_of_an_address_doubles_the_delay_up_to_the_last() {
        let gate = Gate::new(&Limits { refuse_delay_first_ms: 100, refuse_delay_last_ms: 350, ..Limits::default() });
        let (a, t) = (IpAddr::from([127, 0, 0, 1]), Instant::now());
        let delays: Vec<u128> = (0..4).map(|_| gate.failed(a, t).as_millis()).collect();
        assert_eq!(delays, [100, 200, 350, 350]);
        assert_eq!(gate.failed(a, t + FAILURES_FORGOTTEN * 2).as_millis(), 100);
    }

    #[test]
    fn slots_count_whole_and_per_address() {
        let slots = Arc::new(Slots::new(3, 2));
        let (a, b) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let first = slots.enter(a).unwrap();
        let _second = slots.enter(a).unwrap();
        assert!(slots.enter(a).is_none());
        let _third = slots.enter(b).unwrap();
        assert!(slots.enter(b).is_none());
        drop(first);
        assert!(slots.enter(a).is_some());
    }
}
