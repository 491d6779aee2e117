//! Where children call: those with a certificate become connections, those without may ask for one.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::{TlsAcceptor, TlsStream};
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Connection, LINK_PATH, Limits, Metered, PAIR_PATH, Tunnel, peer_of, strangers_web_socket, web_socket};
use crate::identity::chain_of;
use crate::pairing::{self, Door};

/// How long somebody who is refused may take to read why. Closed at once, the kernel would throw the words away with what is unread.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Bytes that are read, and not looked at, meanwhile.
const LAST_BYTES: usize = 64 << 10;
/// No more than one warning about strangers in this time; the others are counted in the next.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// A bound socket of a node that has children.
pub struct Listener {
    tcp: TcpListener,
    tunnels: Option<mpsc::Receiver<Tunnel>>,
    tls: TlsAcceptor,
    limits: Arc<Limits>,
}

/// What all connections of a listener share.
struct Hall {
    tls: TlsAcceptor,
    limits: Arc<Limits>,
    door: Arc<dyn Door>,
    members: Arc<Semaphore>,
    strangers_per_ip: Mutex<HashMap<IpAddr, usize>>,
    connections: mpsc::Sender<Connection>,
    warned: Mutex<(Option<Instant>, u64)>,
}

impl Listener {
    /// Binds `address`; `tls` is that of [`super::server_config`].
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn bind(address: SocketAddr, tls: Arc<ServerConfig>, limits: Arc<Limits>) -> io::Result<Self> {
        Ok(Self { tcp: TcpListener::bind(address).await?, tunnels: None, tls: tls.into(), limits })
    }
    /// Members come through `tunnels`, too; nobody pairs there.
    #[must_use]
    pub fn with_tunnels(self, tunnels: mpsc::Receiver<Tunnel>) -> Self {
        Self { tunnels: Some(tunnels), ..self }
    }
    /// The address it is bound to.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
    /// Hands on who comes in with a certificate, and lets the others ask `door`, until `stop`. Connections that were handed on live on.
    ///
    /// While nobody takes the connections, new ones wait and are refused in the end.
    pub async fn run(self, door: Arc<dyn Door>, connections: mpsc::Sender<Connection>, stop: CancellationToken) {
        let Self { tcp, mut tunnels, tls, limits } = self;
        let strangers = Arc::new(Semaphore::new(limits.strangers_max));
        let members = Arc::new(Semaphore::new(limits.members_max));
        let hall = Hall { tls, limits, door, members, strangers_per_ip: Mutex::default(), connections, warned: Mutex::default() };
        let (hall, mut tasks) = (Arc::new(hall), JoinSet::new());
        loop {
            let next = async {
                let place = strangers.clone().acquire_owned().await;
                (tcp.accept().await, place.expect("the semaphore is never closed"))
            };
            let (accepted, place) = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(_) = tasks.join_next() => continue,
                tunnel = next_of(&mut tunnels) => {
                    let Tunnel { stream, name, place } = tunnel;
                    tasks.spawn(hall.clone().receive(Metered::new(stream), Origin::Tunnel(name), (place, None)));
                    continue;
                }
                next = next => next,
            };
            match accepted {
                Ok((stream, address)) => {
                    let from = Origin::Address(address);
                    let Some(count) = Counted::new(&hall, address.ip()) else {
                        hall.warn(&from, "too many connections without a certificate from one address");
                        continue;
                    };
                    if let Err(failure) = stream.set_nodelay(true) {
                        hall.warn(&from, &failure.to_string());
                        continue;
                    }
                    tasks.spawn(hall.clone().receive(Metered::new(stream), from, (Some(place), Some(count))));
                }
                Err(error) => {
                    // Out of file descriptors: they come back when somebody leaves.
                    warn!(protocol = "link", "cannot accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
        tasks.shutdown().await;
    }
}

impl Hall {
    async fn receive(self: Arc<Self>, stream: Metered, from: Origin, held: (Option<OwnedSemaphorePermit>, Option<Counted>)) {
        let handshake = self.limits.handshake;
        let received = timeout(handshake, self.handshake(stream, &from)).await;
        match received {
            Ok(Ok(Some(connection))) => {
                drop(held);
                tracing::info!(node.id = %connection.peer.id(), protocol = "link", "node {} connected from {from}", connection.peer.id());
                if timeout(handshake, self.connections.send(connection)).await.is_err() {
                    self.warn(&from, "nobody took the connection");
                }
            }
            Ok(Ok(None)) => {}
            Ok(Err(why)) => self.warn(&from, &why),
            Err(_) => self.warn(&from, "no handshake in time"),
        }
    }

    /// A member's connection; `None`: a stranger was served.
    async fn handshake(&self, stream: Metered, from: &Origin) -> Result<Option<Connection>, String> {
        let accepted = self.tls.accept(stream).into_fallible().await;
        let stream = match accepted {
            Ok(stream) => TlsStream::from(stream),
            Err((error, stream)) => {
                // The alert is written; let it be read.
                last_words(stream).await;
                return Err(chain_of(&error));
            }
        };
        let has_certificate = stream.get_ref().1.peer_certificates().is_some();
        let member = peer_of(&stream);
        if has_certificate && member.is_none() {
            return Err("the certificate names no node".to_owned());
        }
        let place = member.as_ref().and_then(|_| self.members.clone().try_acquire_owned().ok());
        let may_pair = match from {
            Origin::Address(address) if !has_certificate => Some(*address),
            _ => None,
        };
        let is_full = member.is_some() && place.is_none();
        #[expect(clippy::result_large_err, reason = "the type is tungstenite's")]
        let verdict = |request: &Request, response: Response| match request.uri().path() {
            LINK_PATH if is_full => Err(refusal(StatusCode::SERVICE_UNAVAILABLE)),
            LINK_PATH if has_certificate => Ok(response),
            LINK_PATH => Err(refusal(StatusCode::FORBIDDEN)),
            PAIR_PATH if may_pair.is_some() => Ok(response),
            _ => Err(refusal(StatusCode::NOT_FOUND)),
        };
        let config = if has_certificate { web_socket(&self.limits) } else { strangers_web_socket() };
        let mut socket = accept_hdr_async_with_config(stream, verdict, Some(config)).await.map_err(|e| chain_of(&e))?;
        if let Some(peer) = member {
            return Ok(Some(Connection::new(socket, peer, from.to_string(), self.limits.clone(), None, place)));
        }
        let Some(address) = may_pair else { return Ok(None) };
        pairing::answer(&mut socket, address, self.door.as_ref()).await.map_err(|e| chain_of(&e))?;
        last_words(socket.get_mut()).await;
        Ok(None)
    }

    /// Says that somebody was refused, seldom enough that nobody can fill the disk with it.
    fn warn(&self, from: &Origin, why: &str) {
        debug!(protocol = "link", "{from}: {why}");
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        warned.1 += 1;
        if warned.0.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            let n = std::mem::take(&mut warned.1);
            warned.0 = Some(Instant::now());
            warn!(protocol = "link", refused = n, "{from} was refused: {why}");
        }
    }
}

/// Where somebody comes from.
enum Origin {
    Address(SocketAddr),
    Tunnel(String),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Tunnel(name) => name.fmt(f),
        }
    }
}

/// The next tunnel; never, if none come.
async fn next_of(tunnels: &mut Option<mpsc::Receiver<Tunnel>>) -> Tunnel {
    let next = match tunnels {
        Some(tunnels) => tunnels.recv().await,
        None => None,
    };
    match next {
        Some(tunnel) => tunnel,
        None => std::future::pending().await,
    }
}

/// One of the connections of an address, until it is dropped.
struct Counted {
    hall: Arc<Hall>,
    ip: IpAddr,
}

impl Counted {
    fn new(hall: &Arc<Hall>, ip: IpAddr) -> Option<Self> {
        let mut counts = hall.strangers_per_ip.lock().unwrap_or_else(PoisonError::into_inner);
        let n = counts.entry(ip).or_default();
        let has_room = *n < hall.limits.strangers_per_ip_max;
        *n += usize::from(has_room);
        has_room.then(|| Self { hall: hall.clone(), ip })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.hall.strangers_per_ip.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(n) = counts.get_mut(&self.ip) {
            *n -= 1;
            if *n == 0 {
                counts.remove(&self.ip);
            }
        }
    }
}

/// Ends our side and reads on for a moment, so that what we said last arrives.
async fn last_words(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) {
    let read_out = async {
        let _ = stream.shutdown().await;
        let (mut buffer, mut n_read) = ([0; 1024], 0);
        while n_read < LAST_BYTES
            && let Ok(n @ 1..) = stream.read(&mut buffer).await
        {
            n_read += n;
        }
    };
    let _ = timeout(LAST_WORDS, read_out).await;
}

fn refusal(status: StatusCode) -> ErrorResponse {
    let mut response = ErrorResponse::new(None);
    *response.status_mut() = status;
    response
}
