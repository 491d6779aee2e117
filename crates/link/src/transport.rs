//! Whole messages between two nodes: WebSocket over TLS over TCP, because that passes firewalls and proxies that let HTTPS through; or over a [`Tunnel`].
//!
//! Knows no message's meaning. A child calls [`connect`] or [`connect_through`]; a parent has a [`Listener`]; both get a [`Connection`]. Time here is the
//! monotonic clock.
//!
//! A peer that is gone without a word is found by its silence: each side says something, a ping if nothing else; a connection on which nothing was heard for [`Limits::silence`] is over.
//! It is bytes that are heard, not messages: a long message on a slow line is not silence.

mod error;
mod listener;
mod meter;
mod tls;

use std::future::Future;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anlan_model::Timestamp;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::DuplexStream;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, OwnedSemaphorePermit};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, sleep_until, timeout};
use tokio_rustls::{TlsConnector, TlsStream};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error as WsError, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::identity::{Identity, Named};
pub use error::LinkError;
pub use listener::Listener;
pub use meter::Meter;
use meter::Metered;
pub(crate) use tls::client;
pub use tls::{IsRevoked, server_config};

pub(crate) type Socket = WebSocketStream<TlsStream<Metered>>;
type Sink = SplitSink<Socket, Message>;

/// Where members speak.
const LINK_PATH: &str = "/link";
/// Where those without a certificate ask for one.
pub(crate) const PAIR_PATH: &str = "/pair";

/// How much a neighbour may ask of this node. All figures are ours: they bound memory and find the dead; none is a legal threshold.
#[derive(Clone, Debug)]
pub struct Limits {
    /// From the first packet until the connection stands. Default 10 s.
    pub handshake: Duration,
    /// Without a byte from the peer, a connection is over. Default 30 s.
    pub silence: Duration,
    /// A peer to whom nothing was sent for so long is pinged, after twice as long at the latest. Default 10 s.
    pub ping: Duration,
    /// Bytes of one message. Default 16 MiB.
    pub message_bytes_max: usize,
    /// Connections with members. Default 2,000; past it a child is told so (503).
    pub members_max: usize,
    /// Connections on which nobody has shown a certificate yet. Default 256; past it the next wait in the kernel. Each costs some 40 KB.
    pub strangers_max: usize,
    /// Of these, from one address. Default 64; past it a connection is closed at once.
    pub strangers_per_ip_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            ping: Duration::from_secs(10),
            message_bytes_max: 16 << 20,
            members_max: 2_000,
            strangers_max: 256,
            strangers_per_ip_max: 64,
        }
    }
}

/// Host and port of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
}

impl FromStr for Address {
    type Err = LinkError;
    fn from_str(text: &str) -> Result<Self, LinkError> {
        let text = text.trim();
        let parsed = text.rsplit_once(':').and_then(|(host, port)| {
            let port = port.parse().ok().filter(|port| *port != 0)?;
            let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
            // An IPv6 address without brackets: who knows where it ends.
            let open = bare.len() == host.len() && bare.contains(':');
            (!open && ServerName::try_from(bare).is_ok()).then(|| Self { host: bare.to_owned(), port })
        });
        parsed.ok_or_else(|| LinkError::Address(text.chars().take(200).collect()))
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// A connection on which both sides have proved who they are.
pub struct Connection {
    /// The other side, as its certificate names it.
    pub peer: Named,
    /// Its address.
    pub address: String,
    /// What moved on it.
    pub meter: Arc<Meter>,
    sender: Sender,
    receiver: Receiver,
}

/// The half that sends. Clones share the connection.
#[derive(Clone)]
pub struct Sender {
    sink: Arc<Mutex<Sink>>,
    common: Common,
}

/// The half that receives, and keeps the connection alive: dropped, it ends the pings and gives the listener's place back.
pub struct Receiver {
    stream: SplitStream<Socket>,
    sender: Sender,
    _pings: JoinSet<()>,
    _place: Option<OwnedSemaphorePermit>,
}

#[derive(Clone)]
struct Common {
    address: Arc<str>,
    meter: Arc<Meter>,
    limits: Arc<Limits>,
    /// Of our own certificate, to say so when the peer refuses it.
    expires_at: Option<Timestamp>,
}

/// Connects with the parent at `address`, as the member that this node is.
///
/// # Errors
/// [`LinkError`]; the parent looks at our certificate after the handshake, so a refusal may also come with the first [`Receiver::recv`].
pub async fn connect(address: &Address, own: &Identity, limits: Arc<Limits>) -> Result<Connection, LinkError> {
    let membership = own.membership().ok_or(LinkError::NoParent)?;
    let config = client(own, membership.authority, Some(&membership))?;
    let expires_at = Some(membership.ours.not_after);
    let (socket, peer) = dial(address, config, LINK_PATH, expires_at, web_socket(&limits), &limits).await?;
    tracing::info!(node.id = %peer.id(), protocol = "link", "connected with the parent at {address}");
    Ok(Connection::new(socket, peer, address.to_string(), limits, expires_at, None))
}

/// The same through a tunnel that leads to the parent. Whoever carries it sees ciphertext and can do no more than break it.
///
/// # Errors
/// As [`connect`].
pub async fn connect_through(tunnel: Tunnel, own: &Identity, limits: Arc<Limits>) -> Result<Connection, LinkError> {
    let membership = own.membership().ok_or(LinkError::NoParent)?;
    let config = client(own, membership.authority, Some(&membership))?;
    let expires_at = Some(membership.ours.not_after);
    let name = tunnel.name.clone();
    // The certificate is judged by its authority, not by a host's name.
    let greeting = Greeting { host: "localhost", peer: &name, config, path: LINK_PATH, expires_at, web_socket: web_socket(&limits) };
    let greeted = timeout(limits.handshake, greeting.over(Metered::new(tunnel.stream), &limits)).await;
    let (socket, peer) = greeted.unwrap_or_else(|_| Err(silent(&name, limits.handshake)))?;
    tracing::info!(node.id = %peer.id(), protocol = "link", "connected with the parent through {name}");
    Ok(Connection::new(socket, peer, name, limits, expires_at, None))
}

/// Bytes in order, both ways, that somebody else carries.
pub struct Tunnel {
    stream: DuplexStream,
    /// For logs.
    name: String,
    /// Given back when the handshake is over.
    place: Option<OwnedSemaphorePermit>,
}

impl Tunnel {
    /// `stream` leads to the other node; `place` is held until it is known who comes.
    pub fn new(stream: DuplexStream, name: String, place: Option<OwnedSemaphorePermit>) -> Self {
        Self { stream, name, place }
    }
    /// Its bytes.
    pub fn into_stream(self) -> DuplexStream {
        self.stream
    }
}

/// Connects and upgrades; also says who answered.
pub(crate) async fn dial(
    address: &Address,
    config: Arc<ClientConfig>,
    path: &str,
    expires_at: Option<Timestamp>,
    web_socket: WebSocketConfig,
    limits: &Limits,
) -> Result<(Socket, Named), LinkError> {
    let peer = address.to_string();
    let dialled = async {
        let stream = TcpStream::connect((address.host.as_str(), address.port));
        let stream = stream.await.map_err(|source| LinkError::Unreachable { peer: peer.clone(), source })?;
        stream.set_nodelay(true).map_err(|source| LinkError::Broken { peer: peer.clone(), source })?;
        let greeting = Greeting { host: &address.host, peer: &peer, config, path, expires_at, web_socket };
        greeting.over(Metered::new(stream), limits).await
    };
    timeout(limits.handshake, dialled).await.unwrap_or_else(|_| Err(silent(&peer, limits.handshake)))
}

/// What a child says first, whatever carries it.
struct Greeting<'a> {
    host: &'a str,
    peer: &'a str,
    config: Arc<ClientConfig>,
    path: &'a str,
    expires_at: Option<Timestamp>,
    web_socket: WebSocketConfig,
}

impl Greeting<'_> {
    async fn over(self, wire: Metered, limits: &Limits) -> Result<(Socket, Named), LinkError> {
        let Self { host, peer, config, path, expires_at, web_socket } = self;
        let name = ServerName::try_from(host.to_owned()).map_err(|_| LinkError::Address(peer.to_owned()))?;
        let stream = TlsConnector::from(config).connect(name, wire).await;
        let stream = TlsStream::from(stream.map_err(|e| LinkError::of_io(e, peer, expires_at))?);
        let named =
            peer_of(&stream).ok_or_else(|| LinkError::PeerCertificate { peer: peer.to_owned(), what: "names no node".to_owned() })?;
        // What it is called is for proxies alone; a tunnel's name is no host.
        let url = format!("wss://{}{path}", if host == "localhost" { host } else { peer });
        let upgraded = client_async_with_config(url, stream, Some(web_socket)).await;
        let (socket, _) = upgraded.map_err(|e| LinkError::of_ws(e, peer, expires_at, limits.message_bytes_max))?;
        Ok((socket, named))
    }
}

impl Connection {
    fn new(
        socket: Socket,
        peer: Named,
        address: String,
        limits: Arc<Limits>,
        expires_at: Option<Timestamp>,
        place: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let meter = socket.get_ref().get_ref().0.meter.clone();
        let (sink, stream) = socket.split();
        let common = Common { address: address.as_str().into(), meter: meter.clone(), limits, expires_at };
        let sender = Sender { sink: Arc::new(Mutex::new(sink)), common };
        let mut pings = JoinSet::new();
        pings.spawn(ping(sender.clone()));
        let receiver = Receiver { stream, sender: sender.clone(), _pings: pings, _place: place };
        Self { peer, address, meter, sender, receiver }
    }
    /// Its halves. The connection ends when the receiver is dropped and no sender is left.
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }
}

impl Sender {
    /// Sends a message, and waits until the kernel has it; only an answer says that the peer does. Dropped before it is done, it may have sent the message or not, never a part of it.
    ///
    /// # Errors
    /// [`LinkError::TooLong`] (the connection stands), [`LinkError::Silent`] and others (it does not).
    pub async fn send(&self, message: Vec<u8>) -> Result<(), LinkError> {
        let max = self.common.limits.message_bytes_max;
        if message.len() > max {
            return Err(LinkError::TooLong { peer: self.common.address.to_string(), max });
        }
        let sent = async { self.sink.lock().await.send(Message::Binary(Bytes::from(message))).await };
        self.common.unless_still(Meter::moved_at, sent).await?.map_err(|e| self.common.failure(e))
    }
    /// Says good-bye with a reason (cut to what fits); the peer's receiver ends. Waits a second at most.
    pub async fn close(&self, reason: &str) {
        self.say_close(CloseCode::Normal, reason).await;
    }
    async fn say_close(&self, code: CloseCode, reason: &str) {
        // A control frame holds 125 bytes, two of them the code.
        let end = (0..=reason.len().min(120)).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
        let frame = CloseFrame { code, reason: reason[..end].into() };
        let said = async { self.sink.lock().await.send(Message::Close(Some(frame))).await };
        let _ = timeout(Duration::from_secs(1), said).await;
    }
}

impl Receiver {
    /// The next message; `None` once the peer said good-bye. Cancel-safe.
    ///
    /// # Errors
    /// [`LinkError`]; then the connection is over.
    pub async fn recv(&mut self) -> Result<Option<Vec<u8>>, LinkError> {
        let common = self.sender.common.clone();
        let received = common.unless_still(Meter::heard_at, next(&mut self.stream, &common.address)).await;
        let failure = match received? {
            Some(Ok(message)) => return Ok(message),
            Some(Err(failure)) => common.failure(failure),
            None => return Ok(None),
        };
        if matches!(failure, LinkError::TooLong { .. }) {
            self.sender.say_close(CloseCode::Size, "message too long").await;
        }
        Err(failure)
    }
}

/// The next binary message, or the end; what is between is WebSocket's own.
async fn next(stream: &mut SplitStream<Socket>, address: &str) -> Option<Result<Option<Vec<u8>>, WsError>> {
    loop {
        match stream.next().await? {
            Ok(Message::Binary(bytes)) => return Some(Ok(Some(bytes.into()))),
            Ok(Message::Close(frame)) => {
                let reason = frame.map(|f| f.reason.to_string()).unwrap_or_default();
                tracing::info!(protocol = "link", reason, "{address} closed the connection");
                return Some(Ok(None));
            }
            Ok(Message::Text(_)) => return Some(Err(WsError::Utf8("text where bytes should be".to_owned()))),
            Ok(_) => {}
            Err(WsError::ConnectionClosed | WsError::AlreadyClosed) => return Some(Ok(None)),
            Err(failure) => return Some(Err(failure)),
        }
    }
}

impl Common {
    fn failure(&self, error: WsError) -> LinkError {
        LinkError::of_ws(error, &self.address, self.expires_at, self.limits.message_bytes_max)
    }
    /// What `work` gives, unless nothing `moved` for too long. What the kernel already holds is read before that is judged: a node that was busy with
    /// something else finds the pings of the meantime there.
    async fn unless_still<T>(&self, moved: fn(&Meter) -> Instant, work: impl Future<Output = T>) -> Result<T, LinkError> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = sleep_until(moved(&self.meter) + self.limits.silence) => {}
            }
            if moved(&self.meter).elapsed() >= self.limits.silence {
                return Err(silent(&self.address, self.limits.silence));
            }
        }
    }
}

/// Ticks of one among very many: they fall on few instants that all such share, so that a thousand idle connections wake the process a few times a
/// second, not a thousand. What was missed is not made up for.
///
/// # Panics
/// `period` is zero.
pub fn in_step(period: Duration) -> Interval {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    const GROUPS: u32 = 8;
    let step = period / GROUPS;
    let passed = BEGAN.elapsed().as_nanos() / step.as_nanos().max(1) + 1;
    let mut ticks = tokio::time::interval_at(*BEGAN + step.saturating_mul(u32::try_from(passed).unwrap_or(u32::MAX)), period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

/// Keeps the peer from taking us for dead, whatever this node's session is busy with. Where something else was sent since the last tick, that does it.
async fn ping(sender: Sender) {
    let period = sender.common.limits.ping;
    let mut ticks = in_step(period);
    loop {
        ticks.tick().await;
        if sender.common.meter.sent_at().elapsed() < period {
            continue;
        }
        // Busy: a message is on its way, which is as good.
        let Ok(mut sink) = sender.sink.try_lock() else { continue };
        if sink.send(Message::Ping(Bytes::new())).await.is_err() {
            return;
        }
    }
}

fn silent(peer: &str, waited: Duration) -> LinkError {
    LinkError::Silent { peer: peer.to_owned(), seconds: waited.as_secs() }
}

/// Whom the certificate on the other side names; TLS has checked it.
fn peer_of(stream: &TlsStream<Metered>) -> Option<Named> {
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    Named::read(certificate).ok()
}

fn web_socket(limits: &Limits) -> WebSocketConfig {
    // Small buffers: a parent has a thousand of these.
    let max = Some(limits.message_bytes_max);
    WebSocketConfig::default().read_buffer_size(16 << 10).write_buffer_size(0).max_message_size(max).max_frame_size(max)
}

/// For somebody who has shown no certificate.
pub(crate) fn strangers_web_socket() -> WebSocketConfig {
    let max = Some(crate::pairing::MESSAGE_BYTES_MAX);
    WebSocketConfig::default().read_buffer_size(4 << 10).write_buffer_size(0).max_message_size(max).max_frame_size(max)
}

pub(crate) async fn read_text(socket: &mut Socket) -> Result<String, WsError> {
    loop {
        match socket.next().await.ok_or(WsError::ConnectionClosed)?? {
            Message::Text(text) => return Ok(text.to_string()),
            Message::Close(_) => return Err(WsError::ConnectionClosed),
            Message::Binary(_) => return Err(WsError::Utf8("bytes where text should be".to_owned())),
            _ => {}
        }
    }
}

pub(crate) async fn write_text(socket: &mut Socket, text: String) -> Result<(), WsError> {
    socket.send(Message::Text(text.into())).await
}
