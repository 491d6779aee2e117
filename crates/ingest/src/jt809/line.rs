//! One of the two connections of a pair: bytes to frames, messages to bytes. Decides nothing.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anlan_model::{Clock, Timestamp};
use anlan_protocols::jt809::{Frame, FrameError, Frames, Header, Message, body, encode_frame};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::settings::Agreed;
use crate::limits::Limits;
use crate::wire::{Moved, Stream, Wire};

/// Bytes read at once.
const CHUNK: usize = 32 << 10;

/// A connection and what stands on it.
pub(super) struct Line {
    pub(super) wire: Wire,
    agreed: Agreed,
    frames: Frames,
    buffer: Vec<u8>,
    serial: u32,
    /// Nothing that was read waits to be cut.
    is_drained: bool,
}

impl Line {
    pub(super) fn new(stream: Stream, limits: &Limits, agreed: &Agreed) -> Self {
        Self::of(Wire::new(stream, limits), agreed)
    }

    /// The same on a connection from which something was read before.
    pub(super) fn of(wire: Wire, agreed: &Agreed) -> Self {
        Self { wire, frames: Frames::new(agreed.edition), agreed: agreed.clone(), buffer: vec![0; CHUNK], serial: 0, is_drained: true }
    }
    /// Bytes that were read already.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.frames.push(bytes);
        self.is_drained = false;
    }

    /// Puts `message` behind what is owed; the serial number it got.
    ///
    /// # Errors
    /// It cannot be encoded, or the peer does not read.
    pub(super) fn send(&mut self, message: &Message, clock: &dyn Clock) -> io::Result<u32> {
        let agreed = &self.agreed;
        let body = body(message, agreed.edition).map_err(io::Error::other)?;
        let serial = self.serial;
        let mut header = Header::new(message.business, agreed.access_code, serial, seconds(clock.now()));
        if agreed.cipher.is_some() && !body.is_empty() {
            header.encrypt = 1;
            let mut key = [0; 4];
            getrandom::fill(&mut key).map_err(io::Error::other)?;
            header.key = u32::from_be_bytes(key);
        }
        let frame = encode_frame(&header, agreed.edition, &body, agreed.cipher.as_ref()).map_err(io::Error::other)?;
        self.wire.push(&frame).map_err(|slow| io::Error::new(io::ErrorKind::TimedOut, slow))?;
        self.serial = serial.wrapping_add(1);
        Ok(serial)
    }

    /// The next frame of what was read; `None`: read on.
    pub(super) fn cut(&mut self) -> Option<Result<Frame, FrameError>> {
        let cut = self.frames.next();
        self.is_drained |= cut.is_none();
        cut
    }

    pub(super) fn read(&self, frame: &Frame) -> (Message, Vec<anlan_protocols::jt808::Defect>) {
        frame.decode(self.agreed.cipher.as_ref())
    }
}

/// What a step on a connection brought.
pub(super) enum Step {
    /// Bytes were read or written.
    Moved,
    /// The peer closed, or the socket broke.
    Gone,
    /// The peer does not read.
    Slow,
}

/// Moves bytes of a connection, if there is one. Reads only when everything read before was cut. Cancel-safe.
pub(super) async fn step(line: &mut Option<Line>) -> Step {
    let Some(line) = line else { return std::future::pending().await };
    match line.wire.step(&mut line.buffer, line.is_drained).await {
        Ok(Moved::Read(0)) => Step::Gone,
        Ok(Moved::Read(n)) => {
            line.frames.push(&line.buffer[..n]);
            line.is_drained = false;
            Step::Moved
        }
        Ok(Moved::Wrote) => Step::Moved,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Step::Slow,
        Err(_) => Step::Gone,
    }
}

/// Seconds since 1970, as headers and counts have them.
pub(super) fn seconds(at: Timestamp) -> u64 {
    u64::try_from(at.micros().div_euclid(1_000_000)).unwrap_or(0)
}

/// What a client needs to speak TLS to a peer whose certificate the authorities in `ca` signed.
///
/// # Errors
/// The file cannot be read, or holds no certificate.
pub(super) fn tls_client(ca: &Path) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).map_err(io::Error::other)? {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    if roots.is_empty() {
        return Err(io::Error::other("the file holds no certificate"));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Connects to `host`, over TLS if there is a configuration for it.
///
/// # Errors
/// Those of the network; `TimedOut` if it takes longer than `within`.
pub(super) async fn connect(host: &str, port: u16, tls: Option<Arc<ClientConfig>>, within: Duration) -> io::Result<Stream> {
    let connecting = async {
        let stream = TcpStream::connect((host, port)).await?;
        let _ = stream.set_nodelay(true);
        let Some(tls) = tls else { return Ok(Stream::Plain(stream)) };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(tls).connect(name, stream).await?;
        Ok(Stream::Tls(Box::new(stream.into())))
    };
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
    tokio::time::timeout(within, connecting).await.map_err(late)?
}
