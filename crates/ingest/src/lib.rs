//! Sockets and sessions of devices: MQTT, JT/T 808 over TCP, HTTP ingest, and devices that are polled over Modbus TCP.
//!
//! Bytes become batches here, and answers become bytes. Nothing here understands a payload (that is `anlan-protocols`),
//! resolves a point, applies a rule or touches a database; readings leave through [`anlan_model::Intake`] and commands come
//! through [`anlan_model::Downlink`]. **An acknowledgement is only ever written because a batch's reply said it is kept.**
//!
//! Start at [`Context`], then [`mqtt::serve`], [`jt808::serve`], [`poll::serve`] and [`http::router`]. Limits and their defaults: [`Limits`].

use std::sync::Arc;

use anlan_model::{Clock, Credentials, Intake, Quarantined};
use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

mod downlink;
mod enrol;
pub mod http;
pub mod jt808;
pub mod jt809;
mod limits;
pub mod mqtt;
mod offer;
mod payload;
pub mod poll;
mod series;
mod stats;
mod trust;
mod wire;

pub use downlink::Downlinks;
pub use limits::{Limits, Slot, Slots};
pub use stats::{Link, LinkStats, Protocol, Reason};
pub use trust::{normal_phone, terminal_code};

/// What every listener shares.
pub struct Context {
    /// Where batches go.
    pub intake: Arc<dyn Intake>,
    /// Who may speak; replaced whole when a credential changes. Read afresh for every message.
    pub credentials: Arc<ArcSwap<Credentials>>,
    /// Domain time, for `received_at` and enrolment windows only; time-outs and rates use the monotonic clock.
    pub clock: Arc<dyn Clock>,
    /// How much one source may ask for.
    pub limits: Limits,
    /// Ends the listeners and their sessions in order.
    pub stop: CancellationToken,
    /// What the links carried.
    pub stats: Arc<LinkStats>,
    /// Who is connected.
    pub downlinks: Arc<Downlinks>,
    codes_given: enrol::CodesGiven,
    afterlife: mqtt::Afterlife,
    gate: limits::Gate,
    series: series::SeriesCache,
    log: LogThrottle,
}

impl Context {
    /// A context with fresh statistics, an empty registry and full buckets.
    pub fn new(
        intake: Arc<dyn Intake>,
        credentials: Arc<ArcSwap<Credentials>>,
        clock: Arc<dyn Clock>,
        limits: Limits,
        stop: CancellationToken,
    ) -> Self {
        let gate = limits::Gate::new(&limits);
        Self {
            intake,
            credentials,
            clock,
            limits,
            stop,
            stats: Arc::default(),
            downlinks: Arc::default(),
            codes_given: enrol::CodesGiven::default(),
            afterlife: mqtt::Afterlife::default(),
            gate,
            series: series::SeriesCache::default(),
            log: LogThrottle::default(),
        }
    }

    /// What makes reading payloads cheap; ask before loading the credentials.
    fn memory(&self) -> payload::Memory<'_> {
        payload::Memory { intake: &*self.intake, series: &self.series, generation: self.intake.generation() }
    }

    /// Puts bytes that could not be read aside for a person, cut to what the quarantine takes.
    fn quarantine(&self, protocol: Protocol, source: &str, reason: String, bytes: &[u8]) {
        /// As [`Quarantined::bytes`] says.
        const KEPT: usize = 4 << 10;
        self.intake.quarantine(Quarantined {
            at: self.clock.now(),
            source: source.to_owned(),
            protocol: protocol.as_str(),
            reason,
            bytes: bytes[..bytes.len().min(KEPT)].to_vec(),
        });
    }

    /// Counts a refusal and says it in the log. `source` is a device code, a masked phone number or an address.
    fn refuse(&self, protocol: Protocol, reason: Reason, source: &str, detail: impl std::fmt::Display) {
        self.stats.link(protocol).refuse(reason);
        let Some(unsaid) = self.log.may_say(reason) else { return };
        let (protocol, reason) = (protocol.as_str(), reason.as_str());
        tracing::warn!(protocol, reason, source, unsaid, "{protocol} refused {source}: {detail}");
    }
}

/// At most [`LINES_PER_S`] log lines per second and reason: whoever sends bad input chooses how often, not how much we write.
#[derive(Default)]
struct LogThrottle {
    /// Per reason: the second, lines said in it, lines not said since the last one said.
    reasons: std::sync::Mutex<[(u64, u32, u64); Reason::ALL.len()]>,
    started: std::sync::OnceLock<std::time::Instant>,
}

const LINES_PER_S: u32 = 10;

impl LogThrottle {
    /// The number of lines left out before this one, or `None` if this one is left out too.
    fn may_say(&self, reason: Reason) -> Option<u64> {
        let second = self.started.get_or_init(std::time::Instant::now).elapsed().as_secs();
        let mut reasons = self.reasons.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (at, said, unsaid) = &mut reasons[reason as usize];
        if *at != second {
            (*at, *said) = (second, 0);
        }
        if *said >= LINES_PER_S {
            *unsaid += 1;
            return None;
        }
        *said += 1;
        Some(std::mem::take(unsaid))
    }
}
