//! JT/T 808 terminals over TCP, TLS and UDP.
//!
//! One task per connection owns its socket, its frame cutter and what it is waiting for; no lock is held while waiting.
//! What a frame means is `anlan_protocols::jt808`; who may say what is decided in `session.rs`. Start at [`serve`]; [`serve_udp`] feeds the same sessions from datagrams.
//!
//! Trust (ARCHITECTURE.md, "Source trust"): an adopted number must give its code before its data counts; an unknown one is
//! treated as [`Unknown`] says. A code given over TLS was not overheard, so such a terminal counts as *authenticated*; one in the
//! clear as *listed* (ADR 0006). The phone number of each message decides, because forwarding platforms carry many terminals
//! on one connection. Parts of a long message are answered as transport; the last one after the sync. A picture (0x0801) is answered with
//! 0x8800: what is missing while it comes, nothing once file and row are durable.
//!
//! Not here: RSA bodies (answered "unsupported" and quarantined), 0x0004 (its zone is not certain enough to
//! set clocks by).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anlan_model::Trust;
use rustls::ServerConfig;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::wire::{DRAIN, Moved, Stream, Wire, listen};
use crate::{Context, Protocol, Reason};

pub(crate) mod session;
mod udp;

pub use udp::serve as serve_udp;

use session::{End, Session};

/// What to do with a terminal that nobody has adopted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unknown {
    /// Answer "failed" (0x8001 result 1, 0x8100 result 4) and close.
    Refuse,
    /// Keep its messages raw for a person to look at, and answer "done" so that the terminal stays.
    #[default]
    Quarantine,
    /// Hear it without 0x0100 and 0x0102, as a vehicle that nobody vouches for.
    Accept,
}

/// Serves JT/T 808 on `listener`, over TLS if there is a configuration for it, until the context stops; then closes its sessions.
pub async fn serve(listener: TcpListener, tls: Option<Arc<ServerConfig>>, ctx: Arc<Context>, unknown: Unknown) {
    let shared = ctx.clone();
    listen(listener, tls, ctx, Protocol::Jt808, move |stream, address| connection(stream, address, shared.clone(), unknown)).await;
}

async fn connection(stream: Stream, address: SocketAddr, ctx: Arc<Context>, unknown: Unknown) {
    let proven = if stream.is_private() { Trust::Authenticated } else { Trust::Listed };
    let mut wire = Wire::new(stream, &ctx.limits);
    let mut session = Session::new(ctx.clone(), address, unknown, proven);
    let end = run(&mut wire, &mut session, &ctx).await;
    session.leave();
    match &end {
        End::Closed => tracing::debug!(protocol = "jt808", peer = %address, "{address} closed"),
        End::Stopping => {}
        End::Refused(reason, text) => ctx.refuse(Protocol::Jt808, *reason, &address.to_string(), text),
    }
    wire.close().await;
}

/// Moves bytes, answers and commands until the connection has a reason to end.
async fn run(wire: &mut Wire, session: &mut Session, ctx: &Context) -> End {
    let limits = &ctx.limits;
    let mut buffer = vec![0u8; 4 << 10];
    let mut deadline = Instant::now() + Duration::from_millis(limits.first_message_timeout_ms);
    let changed = session.changed();
    // Set when the node stops: what is out may still be kept and acknowledged, nothing new is read.
    let mut leaves_by: Option<Instant> = None;
    loop {
        if leaves_by.is_some_and(|by| !session.waits() || Instant::now() >= by) {
            return End::Stopping;
        }
        let wake = leaves_by.into_iter().fold(session.wakes_at(), Instant::min);
        tokio::select! {
            biased;
            () = ctx.stop.cancelled(), if leaves_by.is_none() => leaves_by = Some(Instant::now() + DRAIN),
            () = changed.notified() => {
                if let Some(end) = session.look_who_holds_what() {
                    return end;
                }
            }
            answer = session.offers.next() => session.answered(answer),
            answer = session.files.next() => session.file_answered(answer),
            Some(command) = session.commands.recv() => session.command(&command),
            () = tokio::time::sleep_until(wake) => session.tick(Instant::now()),
            () = tokio::time::sleep_until(deadline) => {
                return End::Refused(Reason::Idle, "nothing heard in time".into());
            }
            moved = wire.step(&mut buffer, leaves_by.is_none()) => match moved {
                Ok(Moved::Read(0)) => return End::Closed,
                Ok(Moved::Read(n)) => {
                    let n_heard = session.heard();
                    let end = session.bytes(&buffer[..n]);
                    if session.heard() > n_heard {
                        deadline = Instant::now() + Duration::from_secs(limits.jt808_idle_timeout_s);
                    }
                    if let Some(end) = end {
                        let _ = wire.push(&session.take_output());
                        return end;
                    }
                }
                Ok(Moved::Wrote) => {}
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                    return End::Refused(Reason::SlowReader, error.to_string());
                }
                Err(_) => return End::Closed,
            },
        }
        let output = session.take_output();
        if !output.is_empty() && wire.push(&output).is_err() {
            return End::Refused(Reason::SlowReader, "the terminal does not read what it is sent".into());
        }
    }
}
