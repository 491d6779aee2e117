//! Links to a server: one task and one socket per device, which sends in order, waits for acknowledgements, reconnects with growing pauses
//! and sends again what was not acknowledged. A restart of the server loses nothing.
//!
//! The protocol is a [`Wire`], a state machine without I/O ([`mqtt`], [`terminal`]); this file owns socket, queue and time. Start at [`run`].

pub mod mqtt;
pub mod terminal;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::rng::Rng;
use crate::truth::{Sink, TruthLine};

/// What a connection says, without I/O.
pub trait Wire: Send {
    /// What is sent.
    type Parcel: Send;
    /// Bytes to send on a fresh connection; forgets the old one.
    fn hello(&mut self) -> Vec<u8>;
    /// Bytes of a parcel and the key its acknowledgement will name.
    fn send(&mut self, parcel: &Self::Parcel) -> (Vec<u8>, u16);
    /// Reads received bytes.
    fn receive(&mut self, bytes: &[u8]) -> Vec<Heard>;
    /// Bytes that show we are alive.
    fn keep_alive(&mut self) -> Vec<u8>;
    /// Bytes to send before closing in order.
    fn goodbye(&mut self) -> Vec<u8>;
}

/// What came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The server believes us: send.
    Ready,
    /// The parcel is kept.
    Kept(u16),
    /// The parcel was not kept, but may be later.
    Again(u16),
    /// The parcel will never be kept.
    Refused(u16),
    /// Bytes that have to be sent back.
    Reply(Vec<u8>),
    /// The connection is of no use; the reason for the log.
    Broken(&'static str),
}

/// What a link is told.
#[derive(Debug)]
pub enum Order<P> {
    /// Send this; then write the lines.
    Send(P, Vec<TruthLine>),
    /// Drop the connection and stay silent, or come back.
    Power(bool),
}

/// What all links did together.
#[derive(Debug, Default)]
pub struct Stats {
    /// Parcels handed to a socket, repeats included.
    pub sent: AtomicU64,
    /// Parcels acknowledged.
    pub kept: AtomicU64,
    /// Parcels refused for good.
    pub refused: AtomicU64,
    /// Parcels dropped because a link's queue was full.
    pub dropped: AtomicU64,
    /// Connections made.
    pub connections: AtomicU64,
}

impl Stats {
    /// The counters now; `truth_lines` is what the writer said.
    pub fn summary(&self, truth_lines: u64) -> Summary {
        let now = |n: &AtomicU64| n.load(Ordering::Relaxed);
        Summary {
            sent: now(&self.sent),
            acknowledged: now(&self.kept),
            refused: now(&self.refused),
            dropped: now(&self.dropped),
            connections: now(&self.connections),
            truth_lines,
        }
    }
}

/// What a play or replay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Messages handed to sockets, repeats included.
    pub sent: u64,
    /// Messages acknowledged.
    pub acknowledged: u64,
    /// Messages the server will never keep.
    pub refused: u64,
    /// Messages dropped because a device's queue was full.
    pub dropped: u64,
    /// Connections made.
    pub connections: u64,
    /// Lines of the truth file.
    pub truth_lines: u64,
}

/// How a link behaves.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// `host:port`.
    pub address: String,
    /// Most unacknowledged parcels on the wire.
    pub window: usize,
    /// Where acknowledged lines go.
    pub truth: Sink,
    /// Shared counters.
    pub stats: Arc<Stats>,
    /// Ends the link after the parcels in hand were acknowledged, or after [`DRAIN`].
    pub stop: CancellationToken,
}

/// Parcels that wait in a link, at most; beyond, it takes no more orders and its channel fills.
pub const BACKLOG_MAX: usize = 512;
/// Orders that wait for a link, at most; the sender drops and counts beyond.
pub const ORDERS_MAX: usize = 256;
/// How long a stopping link waits for acknowledgements.
pub const DRAIN: Duration = Duration::from_secs(5);
const ACK_TIMEOUT: Duration = Duration::from_secs(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

struct Waiting<P> {
    parcel: P,
    lines: Vec<TruthLine>,
    /// While it is on the wire: the key of its acknowledgement, and since when.
    flight: Option<(u16, Instant)>,
}

/// Runs a link until it is stopped, or until its orders end and everything is acknowledged.
pub async fn run<W: Wire>(mut wire: W, options: LinkOptions, mut orders: mpsc::Receiver<Order<W::Parcel>>, mut rng: Rng) {
    let mut link = Link { options, backlog: VecDeque::new(), powered: true, open: true };
    let mut pause = PAUSE_MIN;
    while link.goes_on() {
        if !link.powered {
            tokio::select! {
                () = link.options.stop.cancelled() => break,
                order = orders.recv() => link.take(order),
            }
            continue;
        }
        if link.backlog.is_empty() && link.open {
            // Connect only when there is something to say, so that a thousand links do not storm a server that just came up.
            tokio::select! {
                () = link.options.stop.cancelled() => break,
                order = orders.recv() => link.take(order),
            }
            if link.backlog.is_empty() {
                continue;
            }
        }
        let kept_before = link.options.stats.kept.load(Ordering::Relaxed);
        if let Err(reason) = link.session(&mut wire, &mut orders).await {
            tracing::debug!(address = link.options.address, "link lost: {reason}");
        }
        for waiting in &mut link.backlog {
            waiting.flight = None;
        }
        if link.options.stats.kept.load(Ordering::Relaxed) != kept_before {
            pause = PAUSE_MIN;
        }
        if !link.powered {
            continue;
        }
        // Half to full pause, so that links do not come back in step.
        let until = Instant::now() + pause.mul_f64(rng.between(0.5, 1.0));
        pause = (pause * 2).min(PAUSE_MAX);
        while link.goes_on() {
            tokio::select! {
                () = tokio::time::sleep_until(until) => break,
                () = link.options.stop.cancelled() => return,
                order = orders.recv(), if link.open && link.backlog.len() < BACKLOG_MAX => link.take(order),
            }
        }
    }
}

struct Link<P> {
    options: LinkOptions,
    backlog: VecDeque<Waiting<P>>,
    powered: bool,
    /// More orders may come.
    open: bool,
}

impl<P: Send> Link<P> {
    fn goes_on(&self) -> bool {
        !self.options.stop.is_cancelled() && (self.open || !self.backlog.is_empty())
    }

    fn take(&mut self, order: Option<Order<P>>) {
        match order {
            Some(Order::Send(parcel, lines)) => {
                // Who sends has power, even if the order that said so was lost.
                self.powered = true;
                self.backlog.push_back(Waiting { parcel, lines, flight: None });
            }
            Some(Order::Power(on)) => self.powered = on,
            None => self.open = false,
        }
    }

    async fn answered(&mut self, key: u16, kept: bool) {
        let Some(i) = self.backlog.iter().position(|w| w.flight.is_some_and(|(k, _)| k == key)) else { return };
        let Some(waiting) = self.backlog.remove(i) else { return };
        if kept {
            self.options.stats.kept.fetch_add(1, Ordering::Relaxed);
            self.options.truth.put(waiting.lines).await;
        } else {
            self.options.stats.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One connection, until it breaks, power goes, the orders end or the link is stopped (then it drains first).
    async fn session<W: Wire<Parcel = P>>(&mut self, wire: &mut W, orders: &mut mpsc::Receiver<Order<P>>) -> Result<(), String> {
        let connect = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&self.options.address));
        let stop = self.options.stop.clone();
        let mut socket = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            socket = connect => socket.map_err(|_| "connect timed out".to_owned())?.map_err(|e| e.to_string())?,
        };
        // A few hundred bytes every few seconds: waiting to fill a packet would only delay the alarm.
        _ = socket.set_nodelay(true);
        self.options.stats.connections.fetch_add(1, Ordering::Relaxed);
        write(&mut socket, &wire.hello()).await?;
        let mut ready = false;
        let mut buffer = vec![0_u8; 4_096];
        let hello = Instant::now();
        let mut alive = Instant::now() + KEEP_ALIVE;
        let mut drain_until: Option<Instant> = None;
        loop {
            if ready {
                let on_wire = self.backlog.iter().filter(|w| w.flight.is_some()).count();
                let mut room = self.options.window.saturating_sub(on_wire);
                for waiting in self.backlog.iter_mut().filter(|w| w.flight.is_none()) {
                    if room == 0 {
                        break;
                    }
                    let (bytes, key) = wire.send(&waiting.parcel);
                    waiting.flight = Some((key, Instant::now()));
                    self.options.stats.sent.fetch_add(1, Ordering::Relaxed);
                    write(&mut socket, &bytes).await?;
                    alive = Instant::now() + KEEP_ALIVE;
                    room -= 1;
                }
            }
            if stop.is_cancelled() && drain_until.is_none() {
                drain_until = Some(Instant::now() + DRAIN);
            }
            let done = self.backlog.is_empty() && (!self.open || drain_until.is_some());
            if done || drain_until.is_some_and(|t| Instant::now() >= t) {
                write(&mut socket, &wire.goodbye()).await?;
                return Ok(());
            }
            // An 808 server that is overloaded does not answer at all: each parcel has its own time, and what waits longest counts.
            let waits_since = if ready { self.backlog.iter().filter_map(|w| w.flight).map(|(_, since)| since).min() } else { Some(hello) };
            tokio::select! {
                () = stop.cancelled(), if drain_until.is_none() => {}
                order = orders.recv(), if self.open && drain_until.is_none() && self.backlog.len() < BACKLOG_MAX => {
                    self.take(order);
                    if !self.powered {
                        return Ok(());
                    }
                }
                read = socket.read(&mut buffer) => {
                    let n = read.map_err(|e| e.to_string())?;
                    if n == 0 {
                        return Err("closed by the server".to_owned());
                    }
                    for heard in wire.receive(&buffer[..n]) {
                        match heard {
                            Heard::Ready => ready = true,
                            Heard::Kept(key) => self.answered(key, true).await,
                            Heard::Refused(key) => self.answered(key, false).await,
                            Heard::Again(_) => return Err("the server cannot keep it now".to_owned()),
                            Heard::Reply(bytes) => write(&mut socket, &bytes).await?,
                            Heard::Broken(reason) => return Err(reason.to_owned()),
                        }
                    }
                }
                () = tokio::time::sleep_until(alive), if ready => {
                    write(&mut socket, &wire.keep_alive()).await?;
                    alive = Instant::now() + KEEP_ALIVE;
                }
                () = sleep_until(waits_since.map(|since| since + ACK_TIMEOUT)) => {
                    return Err("no acknowledgement in time".to_owned());
                }
                () = sleep_until(drain_until) => {}
            }
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn write(socket: &mut TcpStream, bytes: &[u8]) -> Result<(), String> {
    let sent = tokio::time::timeout(ACK_TIMEOUT, socket.write_all(bytes)).await;
    sent.map_err(|_| "the server does not read".to_owned())?.map_err(|e| e.to_string())
}
