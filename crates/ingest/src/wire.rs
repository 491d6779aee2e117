//! One TCP connection: reads and writes in one future, with a bound on what a slow reader may be owed.
//!
//! Knows no protocol. Start at [`Wire::step`]; [`listen`] is the accept loop that both TCP protocols share.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
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

/// A socket with its output buffer.
pub(crate) struct Wire {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    output: Vec<u8>,
    written: usize,
    /// Since when the oldest unsent byte waits without progress.
    stalled_since: Instant,
    output_max: usize,
    write_timeout: Duration,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, limits: &Limits) -> Self {
        // Acknowledgements are small and somebody waits for each of them.
        let _ = stream.set_nodelay(true);
        let (read, write) = stream.into_split();
        Self {
            read,
            write,
            output: Vec::new(),
            written: 0,
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

    fn owed(&self) -> usize {
        self.output.len() - self.written
    }

    /// Moves bytes in one direction or the other. Cancel-safe: what was read is in `into`, or still in the socket.
    ///
    /// A peer that is owed half of what it may be is not read any more: its own acknowledgements would only add to it.
    ///
    /// # Errors
    /// Those of the socket, and `TimedOut` when a write made no progress for the write timeout.
    pub(crate) async fn step(&mut self, into: &mut [u8], may_read: bool) -> io::Result<Moved> {
        let owed = self.owed();
        let may_read = may_read && owed <= self.output_max / 2;
        tokio::select! {
            wrote = self.write.write(&self.output[self.written..]), if owed > 0 => {
                self.written += wrote?;
                self.stalled_since = Instant::now();
                if self.written == self.output.len() {
                    self.output.clear();
                    self.written = 0;
                } else if self.written > 16 << 10 {
                    self.output.drain(..self.written);
                    self.written = 0;
                }
                Ok(Moved::Wrote)
            }
            n = self.read.read(into), if may_read => Ok(Moved::Read(n?)),
            () = tokio::time::sleep_until(self.stalled_since + self.write_timeout), if owed > 0 => {
                Err(io::Error::new(io::ErrorKind::TimedOut, SlowReader))
            }
            // Nothing to write and not allowed to read: the session wakes up for another reason.
            () = std::future::pending(), if owed == 0 && !may_read => unreachable!("pending never ends"),
        }
    }

    /// Sends what is owed, waiting a second at most, then closes.
    pub(crate) async fn close(mut self) {
        let last = async {
            self.write.write_all(&self.output[self.written..]).await?;
            self.write.shutdown().await?;
            // Reading on until the peer closes keeps the kernel from discarding our last answer with a reset.
            let mut sink = [0u8; 1024];
            while self.read.read(&mut sink).await? > 0 {}
            io::Result::Ok(())
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), last).await;
    }
}

/// Accepts until the context stops, then waits a few seconds for the sessions to end by themselves.
///
/// Each session gets its place counted ([`Slots`]); past the limits a connection is closed at once and counted.
pub(crate) async fn listen<F, S>(listener: TcpListener, ctx: Arc<Context>, protocol: Protocol, session: F)
where
    F: Fn(TcpStream, SocketAddr) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    let slots = Arc::new(Slots::default());
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
        let Some(slot) = slots.enter(address.ip(), &ctx.limits) else {
            ctx.refuse(protocol, Reason::Connections, &address.to_string(), "too many connections");
            continue;
        };
        let open = Open::new(&ctx.stats, protocol);
        let run = session(stream, address);
        sessions.spawn(async move {
            let _held = (slot, open);
            run.await;
        });
    }
    drop(listener);
    let ended = async { while sessions.join_next().await.is_some() {} };
    if tokio::time::timeout(Duration::from_secs(5), ended).await.is_err() {
        warn!(protocol = protocol.as_str(), "sessions that did not end in 5 s are cut");
    }
}
