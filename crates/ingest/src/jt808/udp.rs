//! JT/T 808 over UDP: each datagram holds whole frames, its source address is the session.
//!
//! What a terminal may say is decided by the same [`Session`] as over TCP. A source address proves nothing until its terminal gave
//! its code: before that we send it no more bytes than it sent us, so that nobody can be flooded through us, it is forgotten after
//! `first_message_timeout_ms` of silence, and such sources fill at most a quarter of the table. What does not fit is dropped and
//! counted; a datagram is never waited for. Start at [`serve`].

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anlan_model::Trust;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Unknown;
use super::session::{End, Session};
use crate::limits::{Held, Slots};
use crate::stats::Open;
use crate::wire::DRAIN;
use crate::{Context, Protocol, Reason};

/// The largest datagram there is.
const DATAGRAM_MAX: usize = 64 << 10;
/// Datagrams of one source that may wait for its session.
const WAITING_MAX: usize = 16;

struct Datagram {
    bytes: Vec<u8>,
    _held: Held,
}

/// Serves JT/T 808 on `socket` until the context stops.
pub async fn serve(socket: UdpSocket, ctx: Arc<Context>, unknown: Unknown) {
    let socket = Arc::new(socket);
    let slots = Arc::new(Slots::new(ctx.limits.max_connections, ctx.limits.max_connections_per_ip));
    let n_strangers = Arc::new(AtomicUsize::new(0));
    let mut sources: HashMap<SocketAddr, mpsc::Sender<Datagram>> = HashMap::new();
    let mut sessions: JoinSet<SocketAddr> = JoinSet::new();
    let mut buffer = vec![0u8; DATAGRAM_MAX];
    loop {
        let received = tokio::select! {
            biased;
            () = ctx.stop.cancelled() => break,
            Some(ended) = sessions.join_next(), if !sessions.is_empty() => {
                match ended {
                    // Its successor may have the address already.
                    Ok(address) if sources.get(&address).is_some_and(mpsc::Sender::is_closed) => drop(sources.remove(&address)),
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(protocol = "jt808", %error, "a session ended by a panic: {error}");
                        sources.retain(|_, queue| !queue.is_closed());
                    }
                }
                continue;
            }
            received = socket.recv_from(&mut buffer) => received,
        };
        // An error here is an earlier answer that could not be delivered; its session goes on until it is idle.
        let Ok((n, address)) = received else { continue };
        let refuse = |reason, text: &str| ctx.refuse(Protocol::Jt808, reason, &address.to_string(), text);
        let bytes = &buffer[..n];
        // A datagram that does not begin with a frame is not worth a place in the table.
        if bytes.first() != Some(&0x7e) {
            refuse(Reason::BadFrame, "a datagram that does not begin with a frame");
            continue;
        }
        let Some(held) = ctx.gate.hold(n) else {
            refuse(Reason::Overloaded, "the node holds too much unsaved data, a datagram is dropped");
            continue;
        };
        let datagram = Datagram { bytes: bytes.to_vec(), _held: held };
        let datagram = match sources.get(&address) {
            None => datagram,
            Some(queue) => match queue.try_send(datagram) {
                Ok(()) => continue,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    refuse(Reason::Overloaded, "too many datagrams of one source wait, one is dropped");
                    continue;
                }
                Err(mpsc::error::TrySendError::Closed(datagram)) => datagram,
            },
        };
        let room_for_strangers = n_strangers.load(Ordering::Relaxed) < (ctx.limits.max_connections / 4).max(1);
        let Some(slot) = slots.enter(address.ip()).filter(|_| room_for_strangers) else {
            refuse(Reason::Connections, "too many sources, a datagram is dropped");
            continue;
        };
        let (queue, datagrams) = mpsc::channel(WAITING_MAX);
        // The queue is empty, so there is room.
        let _ = queue.try_send(datagram);
        sources.insert(address, queue);
        let open = Open::new(&ctx.stats, Protocol::Jt808);
        let stranger = Stranger::new(n_strangers.clone());
        let (ctx, socket) = (ctx.clone(), socket.clone());
        sessions.spawn(async move {
            let _held = (slot, open);
            source(&socket, address, datagrams, &ctx, unknown, stranger).await;
            address
        });
    }
    drop(sources);
    let ended = async { while sessions.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(DRAIN * 2, ended).await;
}

/// A source whose terminal has proved nothing yet, counted.
struct Stranger(Option<Arc<AtomicUsize>>);

impl Stranger {
    fn new(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Some(count))
    }
    fn is_one(&self) -> bool {
        self.0.is_some()
    }
    fn no_more(&mut self) {
        if let Some(count) = self.0.take() {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.no_more();
    }
}

/// One source, until it is idle, refused, or the node stops.
async fn source(
    socket: &UdpSocket,
    address: SocketAddr,
    mut datagrams: mpsc::Receiver<Datagram>,
    ctx: &Arc<Context>,
    unknown: Unknown,
    mut stranger: Stranger,
) {
    let mut session = Session::new(ctx.clone(), address, unknown, Trust::Listed);
    let changed = session.changed();
    // Bytes that a stranger sent and we did not send back.
    let mut credit = 0usize;
    let mut heard_at = Instant::now();
    let mut leaves_by: Option<Instant> = None;
    loop {
        if leaves_by.is_some_and(|by| !session.waits() || Instant::now() >= by) {
            break;
        }
        let patience = if stranger.is_one() {
            Duration::from_millis(ctx.limits.first_message_timeout_ms)
        } else {
            Duration::from_secs(ctx.limits.jt808_idle_timeout_s)
        };
        let wake = leaves_by.into_iter().fold(session.wakes_at(), Instant::min);
        let mut end = None;
        tokio::select! {
            biased;
            () = ctx.stop.cancelled(), if leaves_by.is_none() => leaves_by = Some(Instant::now() + DRAIN),
            () = changed.notified() => end = session.look_who_holds_what(),
            answer = session.offers.next() => session.answered(answer),
            answer = session.files.next() => session.file_answered(answer),
            Some(command) = session.commands.recv() => session.command(&command),
            () = tokio::time::sleep_until(wake) => session.tick(Instant::now()),
            () = tokio::time::sleep_until(heard_at + patience) => break,
            datagram = datagrams.recv(), if leaves_by.is_none() => match datagram {
                None => leaves_by = Some(Instant::now() + DRAIN),
                Some(datagram) => {
                    heard_at = Instant::now();
                    credit = credit.saturating_add(datagram.bytes.len());
                    end = session.datagram(&datagram.bytes);
                }
            },
        }
        if session.has_authenticated() {
            stranger.no_more();
        }
        for frame in frames(&session.take_output()) {
            if stranger.is_one() {
                let Some(left) = credit.checked_sub(frame.len()) else {
                    ctx.refuse(
                        Protocol::Jt808,
                        Reason::Amplification,
                        &address.to_string(),
                        "an answer larger than the question is not sent",
                    );
                    continue;
                };
                credit = left;
            }
            // A datagram that cannot be sent is lost, as any may be.
            let _ = socket.send_to(frame, address).await;
        }
        match end {
            None => {}
            Some(End::Refused(reason, text)) => {
                ctx.refuse(Protocol::Jt808, reason, &address.to_string(), text);
                break;
            }
            Some(End::Closed | End::Stopping) => break,
        }
    }
    session.leave();
}

/// The frames of an output, each with its marks: one datagram each.
fn frames(output: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = output;
    std::iter::from_fn(move || {
        let end = rest.iter().skip(1).position(|b| *b == 0x7e)? + 2;
        let (frame, after) = rest.split_at(end);
        rest = after;
        Some(frame)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_cut_at_its_marks() {
        let cut: Vec<&[u8]> = frames(b"\x7eab\x7e\x7ec\x7e").collect();
        assert_eq!(cut, [&b"\x7eab\x7e"[..], b"\x7ec\x7e"]);
        assert_eq!(frames(b"").count(), 0);
    }
}
