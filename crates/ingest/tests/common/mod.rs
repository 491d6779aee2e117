//! What the socket tests share: an intake that records, a clock that stands, and a little plumbing.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anlan_ingest::{Context, Limits};
use anlan_model::{
    Batch, Clock, Credentials, DeviceCredential, DeviceId, EnterpriseId, Intake, Kept, MediaRefusal, MediaReply, Quarantined, RawMedia,
    RawPosition, RawReading, Refusal, Reply, Source, SourceEvent, TerminalCredential, Timestamp, VehicleId,
};
use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

pub const NOW: &str = "2026-11-23T01:00:00Z";
pub const KEY: [u8; 32] = [7; 32];

/// A batch as it came, without its reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub source: Source,
    pub received_at: Timestamp,
    pub readings: Vec<RawReading>,
    pub positions: Vec<RawPosition>,
    pub events: Vec<SourceEvent>,
    pub backfill: bool,
}

/// What the fake shard does with a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// Says "kept" at once, from another thread.
    Keep,
    /// Keeps the reply until [`FakeIntake::release`].
    Hold,
    /// Refuses so many batches, then keeps.
    RefuseFirst(Refusal, u32),
}

pub struct FakeIntake {
    pub mode: Mutex<Mode>,
    pub seen: Mutex<Vec<Seen>>,
    pub quarantined: Mutex<Vec<Quarantined>>,
    held: Mutex<VecDeque<Reply>>,
    pub media: Mutex<Vec<RawMedia>>,
    held_media: Mutex<Vec<MediaReply>>,
}

impl Intake for FakeIntake {
    fn offer(&self, batch: Batch) {
        let Batch { source, received_at, readings, bound: _, positions, events, backfill, reply } = batch;
        let stored = (readings.len() + positions.len()) as u32;
        let seen = Seen { source, received_at, readings, positions, events, backfill };
        let mut mode = self.mode.lock().unwrap();
        match &mut *mode {
            Mode::Keep => {
                self.seen.lock().unwrap().push(seen);
                std::thread::spawn(move || reply(Ok(Kept { stored, repeated: 0 })));
            }
            Mode::Hold => {
                self.seen.lock().unwrap().push(seen);
                self.held.lock().unwrap().push_back(reply);
            }
            Mode::RefuseFirst(refusal, n) => {
                let refusal = *refusal;
                if *n <= 1 {
                    *mode = Mode::Keep;
                } else {
                    *n -= 1;
                }
                reply(Err(refusal));
            }
        }
    }
    /// Files wait for [`FakeIntake::release_media`] whatever the mode.
    fn keep_media(&self, media: RawMedia, reply: MediaReply) {
        self.media.lock().unwrap().push(media);
        self.held_media.lock().unwrap().push(reply);
    }
    fn quarantine(&self, entry: Quarantined) {
        self.quarantined.lock().unwrap().push(entry);
    }
}

impl FakeIntake {
    pub fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
    pub fn quarantined(&self) -> Vec<Quarantined> {
        self.quarantined.lock().unwrap().clone()
    }
    pub fn n_held(&self) -> usize {
        self.held.lock().unwrap().len()
    }
    /// Values offered so far.
    pub fn n_values(&self) -> usize {
        self.seen.lock().unwrap().iter().map(|s| s.readings.len()).sum()
    }
    /// Answers everything held.
    pub fn release(&self, result: Result<Kept, Refusal>) {
        for reply in std::mem::take(&mut *self.held.lock().unwrap()) {
            reply(result);
        }
    }
    /// Answers every file that is held.
    pub fn release_media(&self, result: Result<(), MediaRefusal>) {
        for reply in std::mem::take(&mut *self.held_media.lock().unwrap()) {
            reply(result);
        }
    }
    pub fn n_held_media(&self) -> usize {
        self.held_media.lock().unwrap().len()
    }
    pub fn events(&self) -> Vec<SourceEvent> {
        self.seen().into_iter().flat_map(|s| s.events).collect()
    }
    /// Codes and values of all readings, in order.
    pub fn values(&self) -> Vec<(String, f64)> {
        self.seen().into_iter().flat_map(|s| s.readings).map(|r| (r.code, r.value)).collect()
    }
}

struct Standing;
impl Clock for Standing {
    fn now(&self) -> Timestamp {
        Timestamp::parse(NOW).unwrap()
    }
}

pub struct House {
    pub intake: Arc<FakeIntake>,
    pub ctx: Arc<Context>,
}

pub fn device(id: i64, secret: &str, enterprise: i64) -> DeviceCredential {
    DeviceCredential {
        device: DeviceId::new(id),
        secret_hash: Sha256::digest(secret.as_bytes()).into(),
        enterprise: Some(EnterpriseId::new(enterprise)),
        gateway: false,
        may_backfill: false,
        disabled: false,
    }
}

pub fn adopted(vehicle: i64, generation: i64, enrol_until: Option<Timestamp>) -> TerminalCredential {
    TerminalCredential { vehicle: VehicleId::new(vehicle), adopted: true, generation, enrol_until }
}

/// Quick limits: nothing in a test waits long.
pub fn limits() -> Limits {
    Limits { refuse_delay_first_ms: 1, refuse_delay_last_ms: 5, reoffer_first_ms: 10, reoffer_last_ms: 40, ..Limits::default() }
}

impl House {
    pub fn new() -> Self {
        Self::with(limits())
    }

    /// Devices: `D1` and `D2` of enterprise 1, gateway `GW` of 1 with the right to back-fill, `X` of 2, `OFF` disabled; secret `s`.
    /// Terminal 13800138000 is adopted (code of generation 1, enrolment over), 13900139000 is known but not adopted.
    pub fn with(limits: Limits) -> Self {
        let mut credentials = Credentials { terminal_key: KEY, ..Credentials::default() };
        credentials.devices.insert("D1".into(), device(1, "s", 1));
        credentials.devices.insert("D2".into(), device(2, "s", 1));
        credentials.devices.insert("GW".into(), DeviceCredential { gateway: true, may_backfill: true, ..device(3, "s", 1) });
        credentials.devices.insert("X".into(), device(4, "s", 2));
        credentials.devices.insert("OFF".into(), DeviceCredential { disabled: true, ..device(5, "s", 1) });
        credentials.terminals.insert("13800138000".into(), adopted(1, 1, None));
        credentials.terminals.insert("13900139000".into(), TerminalCredential { adopted: false, ..adopted(2, 0, None) });
        let intake = Arc::new(FakeIntake {
            mode: Mutex::new(Mode::Keep),
            seen: Mutex::default(),
            quarantined: Mutex::default(),
            held: Mutex::default(),
            media: Mutex::default(),
            held_media: Mutex::default(),
        });
        let ctx = Context::new(
            intake.clone(),
            Arc::new(ArcSwap::from_pointee(credentials)),
            Arc::new(Standing),
            limits,
            CancellationToken::new(),
        );
        Self { intake, ctx: Arc::new(ctx) }
    }

    /// Changes the credentials as the application does: a whole new snapshot.
    pub fn change(&self, change: impl FnOnce(&mut Credentials)) {
        let mut credentials = Credentials::clone(&self.ctx.credentials.load());
        change(&mut credentials);
        self.ctx.credentials.store(Arc::new(credentials));
    }

    /// Waits until `claim` holds, five seconds at most.
    pub async fn until(&self, what: &str, claim: impl Fn(&FakeIntake) -> bool) {
        for _ in 0..500 {
            if claim(&self.intake) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("did not happen: {what}; seen {:?}", self.intake.seen());
    }
}

pub async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A client socket whose reads end after five seconds.
pub struct Client {
    pub stream: TcpStream,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap() }
    }
    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }
    /// Some bytes; empty when the server closed.
    pub async fn some(&mut self) -> Vec<u8> {
        let mut buffer = vec![0; 64 << 10];
        match tokio::time::timeout(Duration::from_secs(5), self.stream.read(&mut buffer)).await {
            Ok(Ok(n)) => buffer[..n].to_vec(),
            Ok(Err(_)) => Vec::new(),
            Err(_) => panic!("the server said nothing for five seconds"),
        }
    }
    /// Whether the server sends nothing for a moment.
    pub async fn silent(&mut self) -> bool {
        let mut buffer = [0; 1];
        tokio::time::timeout(Duration::from_millis(150), self.stream.peek(&mut buffer)).await.is_err()
    }
    /// Whether the server closes, ignoring what it still sends.
    pub async fn closes(&mut self) -> bool {
        for _ in 0..100 {
            if self.some().await.is_empty() {
                return true;
            }
        }
        false
    }
}
