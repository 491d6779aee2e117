//! One TCP or TLS connection: reads and writes in one future, with a bound on what a slow reader may be owed.
//!
//! Knows no protocol. Start at [`Wire::step`]; [`listen`] is the accept loop that both stream protocols share.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::{TlsAcceptor, TlsStream};
use tracing::warn;

use crate::Context;
use crate::limits::{Limits, Slots};
use crate::stats::{Open, Protocol, Reason};

/// How long a stopping connection waits for the answers of the shards, so that what is kept is still acknowledged.
pub(crate) const DRAIN: Duration = Duration::from_secs(2);

/// What a step did.
pub(crate) enum Moved {
    /// So many bytes were read; 0 = the peer closed.
    Read(usize),
    /// Some bytes went out.
    Wrote,
}

/// The peer is owed more than it may be: it does not read.
#[derive(Debug, thiserror::Error)]
#[error("the peer does not read what it is sent")]
pub(crate) struct SlowReader;

/// The bytes' way, in the clear or not.
pub(crate) enum Stream {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP; boxed, because its state is large and most terminals speak in the clear.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Nobody between the peer and us can read or change what is said.
    pub(crate) fn is_private(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

macro_rules! either {
    ($stream:expr, $pinned:ident => $act:expr) => {
        match $stream.get_mut() {
            Stream::Plain(inner) => {
                let $pinned = Pin::new(inner);
                $act
            }
            Stream::Tls(inner) => {
                let $pinned = Pin::new(&mut **inner);
                $act
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut TaskContext<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read(cx, into))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut TaskContext<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write(cx, bytes))
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(cx))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(cx))
    }
}

/// A socket with its output buffer.
pub(crate) struct Wire {
    stream: Stream,
    output: Vec<u8>,
    written: usize,
    /// TLS took bytes that it may not have put on the socket yet.
    unflushed: bool,
    /// Since when the oldest unsent byte waits without progress.
    stalled_since: Instant,
    output_max: usize,
    write_timeout: Duration,
}

impl Wire {
    pub(crate) fn new(stream: Stream, limits: &Limits) -> Self {
        Self {
            stream,
            output: Vec::new(),
            written: 0,
            unflushed: false,
            stalled_since: Instant::now(),
            output_max: limits.max_output_bytes,
            write_timeout: Duration::from_millis(limits.write_timeout_ms),
        }
    }

    /// Queues bytes for the peer.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), SlowReader> {
        if self.owed() == 0 {
            self.stalled_since = Instant::now();
        }
        if self.owed() + bytes.len() > self.output_max {
            return Err(SlowReader);
        }
        self.output.extend_from_slice(bytes);
        Ok(())
    }

    /// Bytes that wait to go out.
    pub(crate) fn owed(&self) -> usize {
        self.output.len() - self.written
    }

    /// Moves bytes in one direction or the other. Cancel-safe: what was read is in `into`, or still in the socket.
    ///
    /// A peer that is owed half of what it may be is not read any more: its own acknowledgements would only add to it.
    ///
    /// # Errors
    /// Those of the socket, and `TimedOut` when a write made no progress for the write timeout.
    pub(crate) async fn step(&mut self, into: &mut [u8], may_read: bool) -> io::Result<Moved> {
        let may_read = may_read && self.owed() <= self.output_max / 2;
        if self.owed() == 0 && !self.unflushed {
            // Nothing can time out, and a timer per read would cost more than the read's own bookkeeping.
            return std::future::poll_fn(|cx| self.poll_step(cx, into, may_read)).await;
        }
        let gives_up_at = self.stalled_since + self.write_timeout;
        tokio::select! {
            moved = std::future::poll_fn(|cx| self.poll_step(cx, into, may_read)) => moved,
            () = tokio::time::sleep_until(gives_up_at) => Err(io::Error::new(io::ErrorKind::TimedOut, SlowReader)),
        }
    }

    /// Writes as much of what is owed as a socket in the clear takes at once; the rest is left to [`Wire::step`].
    ///
    /// # Errors
    /// Those of the socket.
    pub(crate) fn write_at_once(&mut self) -> io::Result<()> {
        let Stream::Plain(stream) = &self.stream else { return Ok(()) };
        while self.owed() > 0 {
            match stream.try_write(&self.output[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.written += n;
                    self.stalled_since = Instant::now();
                }
                Err(full) if full.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.tidy();
        Ok(())
    }

    /// Writes before it reads; pending if neither is possible, or wanted.
    fn poll_step(&mut self, cx: &mut TaskContext<'_>, into: &mut [u8], may_read: bool) -> Poll<io::Result<Moved>> {
        if self.owed() > 0 {
            if let Poll::Ready(wrote) = Pin::new(&mut self.stream).poll_write(cx, &self.output[self.written..]) {
                let n = wrote?;
                if n == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.wrote(n);
                return Poll::Ready(Ok(Moved::Wrote));
            }
        } else if self.unflushed
            && let Poll::Ready(flushed) = Pin::new(&mut self.stream).poll_flush(cx)
        {
            flushed?;
            self.unflushed = false;
            return Poll::Ready(Ok(Moved::Wrote));
        }
        if may_read {
            let mut buffer = ReadBuf::new(into);
            if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                return Poll::Ready(read.map(|()| Moved::Read(buffer.filled().len())));
            }
        }
        Poll::Pending
    }

    fn wrote(&mut self, n: usize) {
        self.written += n;
        self.unflushed = self.stream.is_private();
        self.stalled_since = Instant::now();
        self.tidy();
    }

    /// Forgets what is written.
    fn tidy(&mut self) {
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
        } else if self.written > 16 << 10 {
            self.output.drain(..self.written);
            self.written = 0;
        }
    }

    /// Sends what is owed, waiting a second at most, then closes.
    pub(crate) async fn close(mut self) {
        let last = async {
            self.stream.write_all(&self.output[self.written..]).await?;
            self.stream.flush().await?;
            self.stream.shutdown().await?;
            // Reading on until the peer closes keeps the kernel from discarding our last answer with a reset.
            let mut sink = [0u8; 1024];
            while self.stream.read(&mut sink).await? > 0 {}
            io::Result::Ok(())
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), last).await;
    }
}

impl Stream {
    /// The other end.
    pub(crate) fn peer(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Plain(stream) => stream.peer_addr(),
            Self::Tls(stream) => stream.get_ref().0.peer_addr(),
        }
    }
}

/// Shakes hands, if the listener speaks TLS; a stranger has as long for it as for a first message.
pub(crate) async fn shake_hands(stream: TcpStream, tls: Option<&TlsAcceptor>, limits: &Limits) -> io::Result<Stream> {
    // Acknowledgements are small and somebody waits for each of them.
    let _ = stream.set_nodelay(true);
    let Some(acceptor) = tls else { return Ok(Stream::Plain(stream)) };
    let within = Duration::from_millis(limits.first_message_timeout_ms);
    match tokio::time::timeout(within, acceptor.accept(stream)).await {
        Ok(accepted) => accepted.map(|stream| Stream::Tls(Box::new(stream.into()))),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no TLS handshake in time")),
    }
}

/// Accepts until the context stops, then waits a few seconds for the sessions to end by themselves.
///
/// Each session gets its place counted ([`Slots`]), its TLS handshake included; past the limits a connection is closed at once and counted.
pub(crate) async fn listen<F, S>(listener: TcpListener, tls: Option<Arc<ServerConfig>>, ctx: Arc<Context>, protocol: Protocol, session: F)
where
    F: Fn(Stream, SocketAddr) -> S + Clone + Send + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let slots = Arc::new(Slots::new(ctx.limits.max_connections, ctx.limits.max_connections_per_ip));
    let tls = tls.map(TlsAcceptor::from);
    let mut sessions = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = ctx.stop.cancelled() => break,
            Some(ended) = sessions.join_next(), if !sessions.is_empty() => {
                if let Err(error) = ended && error.is_panic() {
                    warn!(protocol = protocol.as_str(), %error, "a session ended by a panic: {error}");
                }
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(pair) => pair,
            Err(error) => {
                // Out of file descriptors, or the peer left already. Neither heals faster by spinning.
                warn!(protocol = protocol.as_str(), %error, "cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Some(slot) = slots.enter(address.ip()) else {
            ctx.refuse(protocol, Reason::Connections, &address.to_string(), "too many connections");
            continue;
        };
        let open = Open::new(&ctx.stats, protocol);
        let (ctx, tls, session) = (ctx.clone(), tls.clone(), session.clone());
        sessions.spawn(async move {
            let _held = (slot, open);
            let shaken = tokio::select! {
                () = ctx.stop.cancelled() => return,
                shaken = shake_hands(stream, tls.as_ref(), &ctx.limits) => shaken,
            };
            match shaken {
                Ok(stream) => session(stream, address).await,
                Err(error) => ctx.refuse(protocol, Reason::Tls, &address.to_string(), error),
            }
        });
    }
    drop(listener);
    let ended = async { while sessions.join_next().await.is_some() {} };
    if tokio::time::timeout(Duration::from_secs(5), ended).await.is_err() {
        warn!(protocol = protocol.as_str(), "sessions that did not end in 5 s are cut");
    }
}
