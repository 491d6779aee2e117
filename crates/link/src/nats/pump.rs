//! Moves bytes between one end of a pipe and two subjects: numbered chunks, and never more of them under way than the other side has room for.

use std::future::IntoFuture as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::pull::Ordered;
use async_nats::jetstream::context::PublishError;
use async_nats::jetstream::message::PublishMessage;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, TryFutureExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Bytes;

/// Bytes of a chunk.
const CHUNK_BYTES: usize = 64 << 10;
/// What a chunk needs on the wire, headers and all.
pub(super) const WIRE_BYTES: usize = CHUNK_BYTES + 1_024;
/// Chunks with data that the other side has not taken out of the tunnel yet. So a slow node slows the other, as over TCP, instead of having its stream
/// overflow.
const WINDOW: u64 = 32;
/// Chunks whose keeping JetStream has not confirmed yet; words about room are among them.
const UNCONFIRMED_MAX: usize = 48;
/// The other side is told of room after so many chunks.
const TELL_AFTER: u64 = WINDOW / 4;
/// How long the other side may be silent and not end after we have, and how long it may go on at all.
const LINGER: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(30));

const MAGIC: [u8; 3] = *b"AT1";
const HEAD_BYTES: usize = MAGIC.len() + 1 + 8 + 8;

/// What a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Bytes.
    Data,
    /// Only says how much room there is.
    Room,
    /// No more bytes come.
    End,
}

/// A chunk: number, chunks of the other direction that were taken out so far, bytes.
#[derive(Debug, PartialEq, Eq)]
struct Chunk<'a> {
    kind: Kind,
    number: u64,
    taken: u64,
    bytes: &'a [u8],
}

/// Why a tunnel is no more.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("JetStream does not confirm a chunk ({0})")]
    Unconfirmed(PublishError),
    #[error("JetStream delivers no more ({0})")]
    Undelivered(String),
    #[error("chunk {wanted} is missing, {came} came")]
    Gap { wanted: u64, came: u64 },
    #[error("a message that is no chunk")]
    Strange,
    #[error("the other side says it took more than there was")]
    Boasting,
    #[error("the node stopped using it")]
    Pipe(#[from] std::io::Error),
    #[error("it broke at the other side")]
    ByOther,
    #[error("the other side did not end")]
    Lingering,
}

impl Chunk<'_> {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_BYTES + self.bytes.len());
        out.extend_from_slice(&MAGIC);
        out.push(match self.kind {
            Kind::Data => 0,
            Kind::Room => 1,
            Kind::End => 2,
        });
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(&self.taken.to_be_bytes());
        out.extend_from_slice(self.bytes);
        out
    }
}

/// `None`: not a chunk.
fn decode(message: &[u8]) -> Option<Chunk<'_>> {
    let (kind, rest) = message.strip_prefix(&MAGIC)?.split_first()?;
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let (taken, bytes) = rest.split_first_chunk::<8>()?;
    let kind = match kind {
        0 if (1..=CHUNK_BYTES).contains(&bytes.len()) => Kind::Data,
        1 if bytes.is_empty() => Kind::Room,
        2 if bytes.is_empty() => Kind::End,
        _ => return None,
    };
    Some(Chunk { kind, number: u64::from_be_bytes(*number), taken: u64::from_be_bytes(*taken), bytes })
}

/// One end of a tunnel.
pub(super) struct Pump {
    context: Context,
    stream: String,
    says: String,
    read: ReadHalf<DuplexStream>,
    write: WriteHalf<DuplexStream>,
    shared: Shared,
}

/// What the two directions know of each other.
#[derive(Default)]
struct Shared {
    /// Chunks with data that we took out.
    taken: AtomicU64,
    /// Chunks with data that we sent.
    sent: AtomicU64,
    /// Of them, those the other side took out.
    theirs: AtomicU64,
    /// The other side ended.
    has_ended: AtomicBool,
    changed: Notify,
}

impl Pump {
    /// A pump and the end of the pipe that the node uses.
    pub(super) fn new(context: Context, stream: String, says: String) -> (Self, DuplexStream) {
        let (ours, nodes) = tokio::io::duplex(CHUNK_BYTES);
        let (read, write) = tokio::io::split(ours);
        (Self { context, stream, says, read, write, shared: Shared::default() }, nodes)
    }

    /// To the end of both directions, or until one breaks; the pipe is gone then.
    pub(super) async fn run(self, hears: Ordered) -> Result<(), Broken> {
        let Self { context, stream, says, read, write, shared } = self;
        let farewell = (context.clone(), says.clone());
        let up = Up { context, stream, says, shared: &shared, number: 0, sent: 0, told: 0, unconfirmed: FuturesUnordered::new() };
        // What comes is heard to the end: the other side says how much room there is after its last byte, too.
        let ended = tokio::select! {
            ended = up.run(read) => ended,
            ended = down(hears, write, &shared) => ended,
        };
        if matches!(&ended, Err(broken) if !matches!(broken, Broken::ByOther)) {
            // Nobody waits for silence if this arrives.
            let (context, says) = farewell;
            let _ = timeout(Duration::from_secs(1), context.publish(says, Bytes::new())).await;
        }
        ended
    }
}

/// What goes from the node to JetStream.
struct Up<'a> {
    context: Context,
    stream: String,
    says: String,
    shared: &'a Shared,
    number: u64,
    /// Chunks with data, as in [`Shared::sent`].
    sent: u64,
    /// What the other side was last told that we took.
    told: u64,
    unconfirmed: FuturesUnordered<BoxFuture<'static, Result<(), PublishError>>>,
}

impl Up<'_> {
    async fn run(mut self, mut read: ReadHalf<DuplexStream>) -> Result<(), Broken> {
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut ended_at: Option<Instant> = None;
        let mut over_by = Instant::now();
        loop {
            let has_place = self.unconfirmed.len() < UNCONFIRMED_MAX;
            if has_place && self.shared.taken.load(Ordering::Relaxed) - self.told >= TELL_AFTER {
                self.say(Kind::Room, &[]).await?;
                continue;
            }
            if ended_at.is_some() && self.shared.has_ended.load(Ordering::Relaxed) && self.unconfirmed.is_empty() {
                return Ok(());
            }
            let has_room = self.sent - self.shared.theirs.load(Ordering::Relaxed) < WINDOW;
            tokio::select! {
                Some(confirmed) = self.unconfirmed.next(), if !self.unconfirmed.is_empty() => confirmed.map_err(Broken::Unconfirmed)?,
                read = read.read(&mut buffer), if has_place && has_room && ended_at.is_none() => match read? {
                    0 => {
                        ended_at = Some(Instant::now());
                        over_by = Instant::now() + LINGER.1;
                        self.say(Kind::End, &[]).await?;
                    }
                    n => {
                        self.sent += 1;
                        self.shared.sent.store(self.sent, Ordering::Relaxed);
                        self.say(Kind::Data, &buffer[..n]).await?;
                    }
                },
                () = self.shared.changed.notified() => ended_at = ended_at.map(|_| Instant::now()),
                () = sleep_until(over_by.min(ended_at.unwrap_or_else(Instant::now) + LINGER.0)), if ended_at.is_some() => return Err(Broken::Lingering),
            }
        }
    }

    async fn say(&mut self, kind: Kind, bytes: &[u8]) -> Result<(), Broken> {
        self.told = self.shared.taken.load(Ordering::Relaxed);
        let chunk = Chunk { kind, number: self.number, taken: self.told, bytes };
        let message = PublishMessage::build()
            .payload(chunk.encode().into())
            // One that is published twice is kept once.
            .message_id(format!("{}.{}", self.says, self.number))
            .expected_stream(&self.stream);
        self.number += 1;
        let confirmation = self.context.send_publish(self.says.clone(), message).await.map_err(Broken::Unconfirmed)?;
        self.unconfirmed.push(Box::pin(confirmation.into_future().map_ok(drop)));
        Ok(())
    }
}

/// What comes from JetStream for the node.
async fn down(mut hears: Ordered, mut write: WriteHalf<DuplexStream>, shared: &Shared) -> Result<(), Broken> {
    let mut wanted = 0;
    // A node that has left reads no more; the rest is heard out.
    let mut is_read = true;
    while let Some(message) = hears.next().await {
        let message = message.map_err(|e| Broken::Undelivered(e.to_string()))?;
        if message.payload.is_empty() {
            return Err(Broken::ByOther);
        }
        let chunk = decode(&message.payload).ok_or(Broken::Strange)?;
        if chunk.number < wanted {
            continue;
        }
        if chunk.number > wanted {
            return Err(Broken::Gap { wanted, came: chunk.number });
        }
        wanted += 1;
        if chunk.taken > shared.sent.load(Ordering::Relaxed) {
            return Err(Broken::Boasting);
        }
        shared.theirs.fetch_max(chunk.taken, Ordering::Relaxed);
        match chunk.kind {
            Kind::Room => {}
            Kind::Data => {
                is_read = is_read && write.write_all(chunk.bytes).await.is_ok();
                shared.taken.fetch_add(1, Ordering::Relaxed);
            }
            Kind::End => {
                let _ = write.shutdown().await;
                shared.has_ended.store(true, Ordering::Relaxed);
            }
        }
        shared.changed.notify_one();
    }
    Err(Broken::Undelivered("the consumer ended".to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn chunks_come_back_as_they_went() {
        for (kind, bytes) in [(Kind::Data, &b"x"[..]), (Kind::Room, b""), (Kind::End, b"")] {
            let chunk = Chunk { kind, number: 7, taken: u64::MAX, bytes };
            assert_eq!(decode(&chunk.encode()), Some(chunk));
        }
        let whole = vec![1; CHUNK_BYTES];
        let chunk = Chunk { kind: Kind::Data, number: 0, taken: 0, bytes: &whole };
        assert_eq!(decode(&chunk.encode()), Some(chunk));
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        let good = Chunk { kind: Kind::Data, number: 1, taken: 0, bytes: b"abc" }.encode();
        assert_eq!(decode(&good[..HEAD_BYTES]), None, "data without bytes");
        assert_eq!(decode(&good[..HEAD_BYTES - 1]), None);
        assert_eq!(decode(&[&good[..], &vec![0; CHUNK_BYTES]].concat()), None, "too long");
        for (at, byte) in [(0, b'B'), (2, b'2'), (3, 1), (3, 2), (3, 9)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert_eq!(decode(&bad), None, "byte {at} is {byte}");
        }
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(message in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&message);
            let _ = decode(&[&MAGIC[..], &message].concat());
        }
    }
}
