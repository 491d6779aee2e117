//! The door of the HTTP listener: counts connections, whole and per address, before anybody reads a byte of them.
//!
//! Past the limits a connection is closed at once and counted (`anlan_http_refused_total{reason="connections"}`). Start at [`Door`].

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anlan_ingest::{Slot, Slots};
use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// An acceptor with a limited number of places in front of `inner`.
#[derive(Clone)]
pub struct Door<A> {
    inner: A,
    slots: Arc<Slots>,
}

impl<A> Door<A> {
    /// So many connections, and so many of one address.
    pub fn new(inner: A, max: usize, max_per_ip: usize) -> Self {
        Self { inner, slots: Arc::new(Slots::new(max, max_per_ip)) }
    }
}

type Accepting<T, S> = Pin<Box<dyn Future<Output = io::Result<(Placed<T>, S)>> + Send>>;

impl<A, S> Accept<TcpStream, S> for Door<A>
where
    A: Accept<TcpStream, S>,
    A::Future: Send + 'static,
{
    type Stream = Placed<A::Stream>;
    type Service = A::Service;
    type Future = Accepting<A::Stream, A::Service>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let slot = stream.peer_addr().ok().and_then(|peer| self.slots.enter(peer.ip()));
        let accepting = slot.map(|slot| (self.inner.accept(stream, service), slot));
        Box::pin(async move {
            let Some((accepting, slot)) = accepting else {
                metrics::counter!("anlan_http_refused_total", "reason" => "connections").increment(1);
                return Err(io::Error::other("too many connections"));
            };
            let (stream, service) = accepting.await?;
            Ok((Placed { stream, _slot: slot }, service))
        })
    }
}

/// A stream that gives its place back when it is dropped.
pub struct Placed<T> {
    stream: T,
    _slot: Slot,
}

impl<T: AsyncRead + Unpin> AsyncRead for Placed<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Placed<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }
    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
