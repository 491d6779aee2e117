//! A way between nodes through NATS JetStream: a tunnel of bytes for [`crate::transport`], for cities that run a cluster.
//!
//! TLS and everything above run through the tunnel unchanged, so a broker sees ciphertext and need not be trusted. It carries copies: what it loses,
//! the session says again. So a tunnel repairs nothing. Every chunk has its number; a gap, an answer of JetStream that does not come, or a stream that
//! is not there ends it, and the next dial makes all of it anew (ADR 0023). Start at [`Nats::dial`] and [`Nats::serve`].

mod pump;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anlan_model::NodeId;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use async_nats::jetstream::{self, Context, ErrorCode, context::CreateStreamErrorKind};
use async_nats::{Client, ConnectOptions, Request, ServerAddr};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::transport::{LinkError, Tunnel};
use pump::{Pump, WIRE_BYTES};

/// Opening words; another release that speaks otherwise is refused by name.
const OPENING: &str = "anlan-tunnel/1 ";
/// How long JetStream may take to do what it is asked for, or to say that it has a chunk.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a parent may take to open its door: it asks JetStream several things.
const OPEN: Duration = Duration::from_secs(15);
/// What nobody has fetched after this, nobody will: the session above takes a peer for dead long before.
const KEEP: Duration = Duration::from_secs(120);
/// Tunnels that were opened and have not shown a certificate yet.
const OPENINGS_MAX: usize = 64;
/// Pause before a door that could not be opened is tried again.
const AGAIN: Duration = Duration::from_secs(2);
/// Servers named in the configuration.
const SERVERS_MAX: usize = 16;

/// What the operator says of the cluster.
#[derive(Clone, Debug, Default)]
pub struct NatsSettings {
    /// `nats://host:port` or `tls://host:port`.
    pub servers: Vec<String>,
    /// File of credentials (JWT and seed).
    pub credentials: Option<PathBuf>,
    /// Or a user,
    pub user: Option<String>,
    /// with a password in a file.
    pub password_file: Option<PathBuf>,
    /// PEM of the authority of the servers' certificates; absent = those the machine trusts.
    pub ca: Option<PathBuf>,
    /// Copies of the stream; absent = three in a cluster, one with a single server.
    pub replicas: Option<usize>,
    /// Most bytes of the stream.
    pub stream_mb: u32,
}

/// A setting that cannot be used: which, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("link.nats.{field}: {what}")]
pub struct BadSetting {
    /// Name within `link.nats`.
    pub field: &'static str,
    /// What is wrong and what would be right.
    pub what: String,
}

/// The cluster as this node uses it: one connection for all tunnels.
pub struct Nats {
    servers: Vec<ServerAddr>,
    options: ConnectOptions,
    replicas: Option<usize>,
    stream_bytes: i64,
    client: Mutex<Option<Client>>,
    pumps: TaskTracker,
}

/// Which end of a tunnel.
#[derive(Clone, Copy)]
enum Side {
    Child,
    Parent,
}

impl Nats {
    /// Reads what the settings name; connects with nobody yet.
    ///
    /// # Errors
    /// [`BadSetting`].
    pub fn new(settings: &NatsSettings, own: NodeId) -> Result<Self, BadSetting> {
        let bad = |field, what: String| BadSetting { field, what };
        if settings.servers.is_empty() || settings.servers.len() > SERVERS_MAX {
            return Err(bad("servers", format!("name one to {SERVERS_MAX} servers, such as nats://10.0.0.1:4222")));
        }
        let mut servers = Vec::new();
        for text in &settings.servers {
            let server = text.parse::<ServerAddr>().ok().filter(|s| matches!(s.scheme(), "nats" | "tls") && !s.host().is_empty());
            let server = server.ok_or_else(|| bad("servers", format!("'{text}' is not nats://host:port or tls://host:port")))?;
            if server.has_user_pass() {
                return Err(bad("servers", "no user or password in an address; write them as user and password_file".to_owned()));
            }
            servers.push(server);
        }
        let read = |field, path: &PathBuf| {
            std::fs::read_to_string(path).map_err(|e| bad(field, format!("{} cannot be read ({e})", path.display())))
        };
        let mut options = ConnectOptions::new()
            .name(format!("anlan {own}"))
            .connection_timeout(ANSWER)
            .request_timeout(Some(ANSWER))
            .ping_interval(Duration::from_secs(10))
            .max_reconnects(None);
        match (&settings.credentials, &settings.user, &settings.password_file) {
            (None, None, None) => {}
            (Some(path), None, None) => {
                let text = read("credentials", path)?;
                options = options
                    .credentials(&text)
                    .map_err(|e| bad("credentials", format!("{} is no file of credentials as nsc writes it ({e})", path.display())))?;
            }
            (None, Some(user), Some(path)) => {
                let password = read("password_file", path)?;
                let password = password.trim_end_matches(['\r', '\n']).to_owned();
                if password.is_empty() {
                    return Err(bad("password_file", format!("{} is empty; write the password into it", path.display())));
                }
                options = options.user_and_password(user.clone(), password);
            }
            (Some(_), ..) => return Err(bad("credentials", "either this or user and password_file, not both".to_owned())),
            (None, Some(_), None) => return Err(bad("password_file", "name the file with the password of the user".to_owned())),
            (None, None, Some(_)) => return Err(bad("user", "name the user of the password".to_owned())),
        }
        if let Some(path) = &settings.ca {
            read("ca", path)?;
            options = options.add_root_certificates(path.clone());
        }
        if settings.replicas.is_some_and(|n| !matches!(n, 1..=5)) {
            return Err(bad("replicas", "write 1 to 5, usually 3".to_owned()));
        }
        if !matches!(settings.stream_mb, 16..=65_536) {
            return Err(bad("stream_mb", "write 16 to 65536".to_owned()));
        }
        Ok(Self {
            servers,
            options,
            replicas: settings.replicas,
            stream_bytes: i64::from(settings.stream_mb) << 20,
            client: Mutex::default(),
            pumps: TaskTracker::new(),
        })
    }

    /// Opens a tunnel to the parent.
    ///
    /// # Errors
    /// [`LinkError::Broker`]: no server, no door, or JetStream does not do what it is asked for.
    pub async fn dial(&self, parent: NodeId) -> Result<Tunnel, LinkError> {
        let broker = |what: String| LinkError::Broker(what);
        let client = self.client().await.map_err(broker)?;
        let conversation = conversation().map_err(|e| broker(e.to_string()))?;
        let request = Request::new().payload(format!("{OPENING}{conversation}").into()).timeout(Some(OPEN));
        let asked = client.send_request(door(parent), request).await;
        let answer = asked.map_err(|e| broker(format!("node {parent} does not open its door ({e})")))?;
        if answer.payload.as_ref() != b"open" {
            let said: String = String::from_utf8_lossy(&answer.payload).chars().filter(|c| !c.is_control()).take(200).collect();
            return Err(broker(format!("node {parent} opens no tunnel: {said}")));
        }
        let stream = self.begin(&client, parent, &conversation, Side::Child).await.map_err(broker)?;
        Ok(Tunnel::new(stream, format!("NATS tunnel {conversation}"), None))
    }

    /// Opens a tunnel to everybody who asks at this node's door, until `stop`. Who they are is seen at the handshake within.
    pub async fn serve(&self, own: NodeId, tunnels: mpsc::Sender<Tunnel>, stop: CancellationToken) {
        loop {
            let served = tokio::select! {
                () = stop.cancelled() => return,
                served = self.keep_door(own, &tunnels) => served,
            };
            if let Err(what) = served {
                warn!(protocol = "link", "no door at NATS: {what}");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    /// Waits a moment until the ends of tunnels have said that they are over.
    pub async fn end(&self) {
        self.pumps.close();
        let _ = tokio::time::timeout(Duration::from_secs(1), self.pumps.wait()).await;
    }

    async fn keep_door(&self, own: NodeId, tunnels: &mpsc::Sender<Tunnel>) -> Result<(), String> {
        let client = self.client().await?;
        self.make_stream(&client, own).await?;
        let mut openings = client.subscribe(door(own)).await.map_err(|e| e.to_string())?;
        let places = Arc::new(Semaphore::new(OPENINGS_MAX));
        info!(protocol = "link", "the door at NATS is open: {}", door(own));
        // One that takes long keeps nobody waiting.
        let mut opening = FuturesUnordered::new();
        loop {
            let (reply, opened) = tokio::select! {
                next = openings.next() => {
                    let Some(message) = next else { return Err("the subscription ended".to_owned()) };
                    let Some(reply) = message.reply else { continue };
                    let (client, places) = (&client, &places);
                    opening.push(async move { (reply, self.open(client, own, &message.payload, places).await) });
                    continue;
                }
                Some(opened) = opening.next() => opened,
            };
            let said = match opened {
                // A listener that takes no more: the child hears silence, and comes again.
                Ok(tunnel) => tunnels.try_send(tunnel).map(|()| "open".to_owned()).unwrap_or_else(|_| "too many come at once".to_owned()),
                Err(what) => {
                    warn!(protocol = "link", "a tunnel was asked for and is not there: {what}");
                    what
                }
            };
            client.publish(reply, said.into()).await.map_err(|e| e.to_string())?;
        }
    }

    async fn open(&self, client: &Client, own: NodeId, asked: &[u8], places: &Arc<Semaphore>) -> Result<Tunnel, String> {
        let conversation = std::str::from_utf8(asked).ok().and_then(|text| text.strip_prefix(OPENING));
        let conversation = conversation.filter(|c| c.len() == 32 && c.bytes().all(|b| b.is_ascii_hexdigit()));
        let conversation = conversation.ok_or("the opening is not understood; are both nodes of the same release?")?;
        let place = places.clone().try_acquire_owned().map_err(|_| "too many come at once".to_owned())?;
        let stream = match self.begin(client, own, conversation, Side::Parent).await {
            Ok(stream) => stream,
            // The stream may be gone, with all the servers had.
            Err(_) => {
                self.make_stream(client, own).await?;
                self.begin(client, own, conversation, Side::Parent).await?
            }
        };
        Ok(Tunnel::new(stream, format!("NATS tunnel {conversation}"), Some(place)))
    }

    async fn client(&self) -> Result<Client, String> {
        let mut held = self.client.lock().await;
        if let Some(client) = held.as_ref() {
            return Ok(client.clone());
        }
        let connected = self.options.clone().connect(self.servers.as_slice()).await;
        let client = connected.map_err(|e| format!("none of the servers takes this node in ({e}); check link.nats"))?;
        if client.server_info().max_payload < WIRE_BYTES {
            return Err(format!("max_payload of the servers is below {WIRE_BYTES}; raise it"));
        }
        *held = Some(client.clone());
        Ok(client)
    }

    /// The stream of a parent, as it is to be.
    async fn make_stream(&self, client: &Client, parent: NodeId) -> Result<(), String> {
        let context = context(client);
        let config = |num_replicas| Config {
            name: stream_name(parent),
            description: Some("Anlan: bytes between nodes; may be emptied at any time".to_owned()),
            subjects: vec![subject(parent, "*", "up"), subject(parent, "*", "down")],
            storage: StorageType::File,
            discard: DiscardPolicy::Old,
            max_age: KEEP,
            duplicate_window: KEEP,
            max_bytes: self.stream_bytes,
            num_replicas,
            ..Config::default()
        };
        let made = context.create_or_update_stream(config(self.replicas.unwrap_or(3))).await;
        let made = match made {
            // One server alone.
            Err(e) if self.replicas.is_none() && says(&e.kind(), ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED) => {
                context.create_or_update_stream(config(1)).await
            }
            made => made,
        };
        made.map(drop).map_err(|e| format!("JetStream does not make the stream {} ({e})", stream_name(parent)))
    }

    async fn begin(&self, client: &Client, parent: NodeId, conversation: &str, side: Side) -> Result<tokio::io::DuplexStream, String> {
        let context = context(client);
        let (hears, says) = match side {
            Side::Child => ("down", "up"),
            Side::Parent => ("up", "down"),
        };
        let hears: Ordered = {
            let config = OrderedConfig { filter_subject: subject(parent, conversation, hears), ..OrderedConfig::default() };
            let consumer = context.create_consumer_on_stream(config, stream_name(parent)).await;
            let consumer = consumer.map_err(|e| format!("JetStream makes no consumer of {} ({e})", stream_name(parent)))?;
            consumer.messages().await.map_err(|e| e.to_string())?
        };
        let says = subject(parent, conversation, says);
        let (pump, stream) = Pump::new(context, stream_name(parent), says);
        let name = format!("NATS tunnel {conversation}");
        self.pumps.spawn(async move {
            match pump.run(hears).await {
                Ok(()) => tracing::debug!(protocol = "link", "{name} ended"),
                Err(broken) => warn!(protocol = "link", "{name} broke: {broken}"),
            }
        });
        Ok(stream)
    }
}

fn context(client: &Client) -> Context {
    let mut context = jetstream::new(client.clone());
    context.set_timeout(ANSWER);
    context
}

fn says(kind: &CreateStreamErrorKind, code: ErrorCode) -> bool {
    matches!(kind, CreateStreamErrorKind::JetStream(error) if error.error_code() == code)
}

/// Where a parent hears who wants a tunnel.
fn door(parent: NodeId) -> String {
    format!("anlan.link.{parent}.door")
}

fn stream_name(parent: NodeId) -> String {
    format!("ANLAN_LINK_{parent}")
}

fn subject(parent: NodeId, conversation: &str, way: &str) -> String {
    format!("anlan.link.{parent}.{conversation}.{way}")
}

fn conversation() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}
