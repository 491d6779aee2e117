//! A socket that remembers when it last moved a byte, and how many it moved.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// What moved on one connection. Bytes are those on the wire, TLS and all.
#[derive(Debug)]
pub struct Meter {
    since: Instant,
    read_ms: AtomicU64,
    wrote_ms: AtomicU64,
    n_read: AtomicU64,
    n_written: AtomicU64,
}

impl Meter {
    fn new() -> Self {
        let zero = AtomicU64::default;
        Self { since: Instant::now(), read_ms: zero(), wrote_ms: zero(), n_read: zero(), n_written: zero() }
    }
    /// Bytes that came.
    pub fn n_bytes_received(&self) -> u64 {
        self.n_read.load(Ordering::Relaxed)
    }
    /// Bytes that went.
    pub fn n_bytes_sent(&self) -> u64 {
        self.n_written.load(Ordering::Relaxed)
    }
    /// When the peer was last heard.
    pub fn heard_at(&self) -> Instant {
        self.since + Duration::from_millis(self.read_ms.load(Ordering::Relaxed))
    }
    /// When something was last sent to it.
    pub(super) fn sent_at(&self) -> Instant {
        self.since + Duration::from_millis(self.wrote_ms.load(Ordering::Relaxed))
    }
    /// When a byte last went either way.
    pub(super) fn moved_at(&self) -> Instant {
        self.heard_at().max(self.sent_at())
    }
    fn note(&self, at: &AtomicU64, count: &AtomicU64, n: usize) {
        if n > 0 {
            at.store(u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
            count.fetch_add(n as u64, Ordering::Relaxed);
        }
    }
}

/// Bytes in order, both ways: a socket or a [`super::Tunnel`].
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Wire for T {}

pub(crate) struct Metered {
    inner: Box<dyn Wire>,
    pub(super) meter: Arc<Meter>,
}

impl Metered {
    pub(crate) fn new(inner: impl Wire) -> Self {
        Self { inner: Box::new(inner), meter: Meter::new().into() }
    }
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, into);
        self.meter.note(&self.meter.read_ms, &self.meter.n_read, into.filled().len() - before);
        polled
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if let Poll::Ready(Ok(n)) = polled {
            self.meter.note(&self.meter.wrote_ms, &self.meter.n_written, n);
        }
        polled
    }
    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, bytes);
        if let Poll::Ready(Ok(n)) = polled {
            self.meter.note(&self.meter.wrote_ms, &self.meter.n_written, n);
        }
        polled
    }
    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
