//! The link of this node: the conversation with its parent, those with its children, how a node joins, and proof of life between them.
//!
//! [`start`] brings it up beside the running node; use cases reach it as [`Network`]. What is said and when is decided in
//! [`anlan_link::session`]; [`conversation`] carries it out.

mod conversation;
mod door;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anlan_link::agreement::Readings;
use anlan_link::digest::Digest;
use anlan_link::identity::{Authority, Claim, Identity, IdentityError, Named, Validity, requested_key};
use anlan_link::message::{Bye, Day, Hello, Incarnation, Message};
pub use anlan_link::nats::NatsSettings;
use anlan_link::nats::{BadSetting, Nats};
use anlan_link::pairing::{self, Introduction, PairingCode, Progress};
use anlan_link::session::{Frozen, Limits, Side, Starts};
use anlan_link::transport::{self, Address, Connection, LinkError, Listener, connect, connect_through};
use anlan_model::batch::{BoundReading, Prebound};
use anlan_model::{Batch, Clock as _, Intake, NodeId, NodeLevel, Quality, RegionCode, Scope, Source, Timestamp};
use anlan_store::{Admission, InvitationRow, Neighbour, NodeRow, NodeState, Peer, Relation};
use arc_swap::ArcSwap;
use tokio::sync::{Notify, OnceCell, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::App;
use crate::access::real_now;
use crate::error::AppError;
use crate::ledger::{Ledger, LedgerError, Sources};
use crate::node::{Difference, Heard, Network, Parent, ParentState, Queue};
use conversation::{Order, Talk};

/// Proof of life of a neighbour is recorded this often, domain time: the period of the point.
const HEARTBEAT_US: i64 = 10_000_000;
/// How often it is looked whether one is due (real time).
const HEARTBEAT_LOOK: Duration = Duration::from_millis(500);
/// What nodes last said of themselves is written down this often (real time).
const NOTE_EVERY: Duration = Duration::from_secs(10);
/// Pause before the parent is tried again: doubles from the first to the last.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// The longest such pause through NATS: a cluster that has lost its storage takes a while, and asking it costs a message.
const NATS_RETRY: Duration = Duration::from_secs(5);
/// A link that was cut at the parent is tried this often.
const PAUSED_RETRY: Duration = Duration::from_secs(5);
/// A stream that the parent froze is tried this seldom.
const FROZEN_RETRY: Duration = Duration::from_secs(30);
/// How often it is looked whether the certificate wants renewal.
const RENEWAL_LOOK: Duration = Duration::from_secs(3_600);
/// How often the parent is asked whether its operator has confirmed.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// Connections that wait to be taken.
const ARRIVALS: usize = 64;

/// What the operator configured of the network.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// Where children connect; `None`: this node has none.
    pub listen: Option<SocketAddr>,
    /// Further names and addresses under which children reach it.
    pub names: Vec<String>,
    /// Level of this node.
    pub level: NodeLevel,
    /// Its name; empty = the territory's.
    pub name: String,
    /// Its territory; `None` for an enterprise's gateway.
    pub region: Option<RegionCode>,
    /// Most bytes per second of the log that go to the parent; 0 = no cap.
    pub bytes_per_s: u64,
    /// How often the parent is told what is held here, seconds.
    pub claim_s: u64,
    /// A cluster through which neighbours are reached.
    pub nats: Option<NatsUse>,
}

/// NATS as a way to neighbours. How a node joins, and who it is, stays with [`LinkSettings::listen`] and TLS.
#[derive(Clone, Debug)]
pub struct NatsUse {
    /// The cluster.
    pub settings: NatsSettings,
    /// To whom.
    pub ways: Ways,
}

/// Which neighbours are reached through NATS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ways {
    /// The parent.
    Up,
    /// Children, beside those who come to the listener.
    Down,
    /// Both, as far as they are there.
    #[default]
    Both,
}

/// Why the link does not come up.
#[derive(Debug, thiserror::Error)]
pub enum LinkStartError {
    /// Keys and certificates.
    #[error("the node's identity")]
    Identity(#[from] IdentityError),
    /// The database.
    #[error("the database")]
    Store(#[from] anlan_store::StoreError),
    /// The ledger.
    #[error("the ledger")]
    Ledger(#[from] LedgerError),
    /// The listener.
    #[error("link.listen = {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The way through NATS.
    #[error(transparent)]
    Nats(#[from] BadSetting),
    /// Key and certificate of the listener.
    #[error("the listener's certificate: {0}")]
    Certificate(String),
    /// The machine gives no randomness.
    #[error("the machine gives no randomness")]
    Random(#[source] std::io::Error),
}

/// The running link.
pub struct Service {
    app: Arc<App>,
    intake: Arc<dyn Intake>,
    settings: LinkSettings,
    nats: Option<Arc<Nats>>,
    limits: Limits,
    sockets: Arc<transport::Limits>,
    identity: Arc<Identity>,
    authority: Authority,
    ledger: OnceCell<Arc<Ledger>>,
    incarnation: Incarnation,
    starts: Starts,
    durable: watch::Receiver<u64>,
    /// The neighbour through which each node below is heard; neighbours themselves among them.
    through: ArcSwap<HashMap<NodeId, NodeId>>,
    rows: ArcSwap<BTreeMap<NodeId, NodeRow>>,
    revoked: Arc<ArcSwap<HashSet<NodeId>>>,
    talks: Mutex<HashMap<NodeId, Arc<Talk>>>,
    numbers: AtomicU64,
    joining: Mutex<Joining>,
    differences: Mutex<HashMap<Day, Differing>>,
    /// Held while comparisons are written down.
    noting: tokio::sync::Mutex<()>,
    /// What lies around the alarms of the last days.
    near: crate::around::Near,
    nodes_changed: Notify,
    uplink: Notify,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Default)]
struct Joining {
    asks: Option<CancellationToken>,
    failed: Option<String>,
    waiting: Option<String>,
}

/// Where this node and the origin differ on a day, and when that was asked.
#[derive(Clone, Debug, Default)]
struct Differing {
    answer: Option<Vec<Difference>>,
    asked_at: Option<std::time::Instant>,
}

/// A conversation in its place; leaves it when dropped.
pub(super) struct Place {
    service: Arc<Service>,
    node: NodeId,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut talks = self.service.talks();
        if talks.get(&self.node).is_some_and(|talk| talk.number == self.number) {
            talks.remove(&self.node);
        }
    }
}

/// The link as whoever wires the node holds it.
pub struct LinkHandle {
    service: Arc<Service>,
    /// Where children connect.
    pub address: Option<SocketAddr>,
}

impl LinkHandle {
    /// Says goodbye to every neighbour and writes down what is to be written.
    pub async fn stop(self) {
        self.service.stop.cancel();
        self.service.tasks.close();
        if tokio::time::timeout(Duration::from_secs(4), self.service.tasks.wait()).await.is_err() {
            warn!("the link did not end in time; what was not written down comes again");
        }
        if let Some(nats) = &self.service.nats {
            nats.end().await;
        }
    }
}

/// Brings the link up: identity, ledger, listener, the conversation with the parent.
///
/// # Errors
/// [`LinkStartError`].
pub async fn start(app: Arc<App>, intake: Arc<dyn Intake>, data: &Path, settings: LinkSettings) -> Result<LinkHandle, LinkStartError> {
    let identity = Arc::new(Identity::open(data)?);
    let name = match (&settings.name, &settings.region) {
        (name, _) if !name.is_empty() => name.clone(),
        (_, Some(region)) => app.registry.get().regions.get(region).map_or_else(|| region.to_string(), |division| division.name.clone()),
        _ => identity.id().to_string()[..8].to_owned(),
    };
    let settings = LinkSettings { name, ..settings };
    let own = app.store.put_self(identity.id(), &settings.name, settings.level, settings.region.as_ref(), app.clock.now()).await?;
    let nonce = {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map_err(std::io::Error::other).map_err(LinkStartError::Random)?;
        u64::from_le_bytes(bytes)
    };
    let incarnation = Incarnation { starts: own.starts.max(0).unsigned_abs() + 1, nonce };
    let starts = app.store.note_start(identity.id(), incarnation.starts, incarnation.nonce).await?;
    let starts = starts.into_iter().map(|(starts, nonce)| Incarnation { starts, nonce }).collect();
    let authority = Authority::open(data, identity.id(), real_now())?;
    let nats = match &settings.nats {
        Some(NatsUse { ways: Ways::Down, .. }) if settings.listen.is_none() => {
            let what = "down needs link.listen: nodes below join there before they come through NATS".to_owned();
            return Err(BadSetting { field: "ways", what }.into());
        }
        Some(wished) => Some(Arc::new(Nats::new(&wished.settings, identity.id())?)),
        None => None,
    };
    let limits = Limits { bytes_per_s: settings.bytes_per_s, claim_us: settings.claim_s.max(1) * 1_000_000, ..Limits::default() };
    let service = Arc::new(Service {
        durable: app.durable.clone(),
        intake,
        nats,
        limits,
        sockets: Arc::default(),
        authority,
        ledger: OnceCell::new(),
        incarnation,
        starts,
        through: ArcSwap::default(),
        rows: ArcSwap::default(),
        revoked: Arc::default(),
        talks: Mutex::default(),
        numbers: AtomicU64::new(0),
        joining: Mutex::default(),
        differences: Mutex::default(),
        noting: tokio::sync::Mutex::default(),
        near: crate::around::Near::default(),
        nodes_changed: Notify::new(),
        uplink: Notify::new(),
        tasks: TaskTracker::new(),
        stop: CancellationToken::new(),
        identity,
        settings,
        app,
    });
    service.look_at_nodes().await;
    let address = match service.settings.listen {
        Some(listen) => Some(service.clone().open_door(listen).await?),
        None => None,
    };
    if address.is_some() || service.identity.membership().is_some() {
        service.ledger().await?;
    }
    let _ = service.app.network.set(Arc::new(LinkService(service.clone())));
    service.tasks.spawn(service.clone().keep_uplink());
    service.tasks.spawn(service.clone().beat());
    service.tasks.spawn(service.clone().watch_nodes());
    service.tasks.spawn(service.clone().note());
    Ok(LinkHandle { service, address })
}

impl Service {
    /// The ledger; a node that is linked to nobody keeps none.
    async fn ledger(&self) -> Result<Arc<Ledger>, LedgerError> {
        let open = || async {
            let known = self.app.clone();
            let sources = Sources {
                own: self.identity.id(),
                whole: self.app.telemetry.whole.clone(),
                store: self.app.store.clone(),
                engine: self.app.engine.clone(),
                durable: self.durable.clone(),
                known: Arc::new(move || known.registry.get()),
                dropping: self.app.dropping.clone(),
                clock: self.app.clock.clone(),
            };
            let ledger = Arc::new(Ledger::open(sources).await?);
            self.tasks.spawn(ledger.clone().run(self.stop.clone()));
            Ok(ledger)
        };
        self.ledger.get_or_try_init(open).await.cloned()
    }

    fn talks(&self) -> MutexGuard<'_, HashMap<NodeId, Arc<Talk>>> {
        self.talks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn joining(&self) -> MutexGuard<'_, Joining> {
        self.joining.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// A conversation takes its place; one that has it already ends.
    fn begin(self: &Arc<Self>, node: NodeId, talk: Arc<Talk>) -> Place {
        let number = talk.number;
        if let Some(older) = self.talks().insert(node, talk) {
            let _ = older.orders.send(Order::Leave(Bye::TakenOver));
        }
        Place { service: self.clone(), node, number }
    }

    fn order(&self, node: NodeId, order: Order) -> bool {
        self.talks().get(&node).is_some_and(|talk| talk.orders.send(order).is_ok())
    }

    fn own_claim(&self) -> Claim {
        Claim {
            id: self.identity.id(),
            name: self.settings.name.clone(),
            level: self.settings.level,
            region: self.settings.region.clone(),
            enterprise: None,
        }
    }

    // ---- who is there --------------------------------------------------------------------------------------------------------------------

    /// Reads the rows of nodes again: who may speak, for whom, and who was cut.
    async fn look_at_nodes(&self) {
        let rows = match self.app.store.all_nodes().await {
            Ok(rows) => rows,
            Err(failure) => {
                warn!(error = &failure as &dyn std::error::Error, "the nodes cannot be read; what was known holds");
                return;
            }
        };
        let mut through = HashMap::new();
        let mut revoked = HashSet::new();
        for row in &rows {
            match row.relation {
                Relation::Child => _ = through.insert(row.id, row.id),
                Relation::Behind => {
                    if let Some(via) = row.via {
                        through.insert(row.id, via);
                    }
                }
                Relation::Own | Relation::Parent => {}
            }
            if row.state == NodeState::Revoked {
                revoked.insert(row.id);
            }
        }
        let rows: BTreeMap<NodeId, NodeRow> = rows.into_iter().map(|row| (row.id, row)).collect();
        let before = self.rows.swap(Arc::new(rows.clone()));
        self.through.store(Arc::new(through));
        self.revoked.store(Arc::new(revoked));
        // Whoever may not go on, is no neighbour any more, or has agreed on something else, ends here; the next conversation begins with what holds.
        let speaking: Vec<NodeId> = self.talks().keys().copied().collect();
        for id in speaking {
            let neighbour = rows.get(&id).filter(|row| matches!(row.relation, Relation::Child | Relation::Parent));
            let agrees = before.get(&id).is_none_or(|had| neighbour.is_some_and(|row| had.agreement == row.agreement));
            let why = neighbour.map_or(Some(Bye::Frozen), may_not_speak).or((!agrees).then_some(Bye::Stopping));
            if let Some(why) = why {
                self.order(id, Order::Leave(why));
            }
        }
        let way = |rows: &BTreeMap<NodeId, NodeRow>| {
            let parent = rows.values().find(|row| row.relation == Relation::Parent);
            parent.map(|row| (row.id, row.address.clone(), row.state, row.paused))
        };
        if way(&before) != way(&rows) {
            self.uplink.notify_one();
        }
    }

    async fn watch_nodes(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.nodes_changed.notified() => self.look_at_nodes().await,
            }
        }
    }

    fn parent_row(&self) -> Option<NodeRow> {
        self.rows.load().values().find(|row| row.relation == Relation::Parent).cloned()
    }

    // ---- children ------------------------------------------------------------------------------------------------------------------------

    async fn open_door(self: Arc<Self>, listen: SocketAddr) -> Result<SocketAddr, LinkStartError> {
        let mut names = self.settings.names.clone();
        names.extend([listen.ip().to_string(), "localhost".to_owned()]);
        let certificate = self.authority.server(&self.identity, &self.own_claim(), &names, real_now())?;
        let revoked = self.revoked.clone();
        let is_revoked = Arc::new(move |named: &Named| revoked.load().contains(&named.id()));
        let tls = transport::server_config(&self.identity, &certificate, is_revoked);
        let tls = tls.map_err(|e| LinkStartError::Certificate(e.to_string()))?;
        let failed = |e| LinkStartError::Listen(listen, e);
        let listener = Listener::bind(listen, tls, self.sockets.clone()).await.map_err(failed)?;
        let address = listener.address().map_err(failed)?;
        let listener = match self.nats_for(Ways::Down) {
            Some(nats) => {
                let (sender, tunnels) = mpsc::channel(ARRIVALS);
                let (nats, own, stop) = (nats.clone(), self.identity.id(), self.stop.clone());
                self.tasks.spawn(async move { nats.serve(own, sender, stop).await });
                listener.with_tunnels(tunnels)
            }
            None => listener,
        };
        let (arrivals, mut arrived) = mpsc::channel(ARRIVALS);
        let door = Arc::new(door::InvitationDoor::new(self.app.clone(), self.nodes_changed_later()));
        self.tasks.spawn(listener.run(door, arrivals, self.stop.clone()));
        let service = self.clone();
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = service.stop.cancelled() => return,
                    arrival = arrived.recv() => match arrival {
                        Some(connection) => _ = service.tasks.spawn(service.clone().receive(connection)),
                        None => return,
                    }
                }
            }
        });
        Ok(address)
    }

    /// The cluster, if it is the way there.
    fn nats_for(&self, way: Ways) -> Option<&Arc<Nats>> {
        let ways = self.settings.nats.as_ref()?.ways;
        self.nats.as_ref().filter(|_| ways == way || ways == Ways::Both)
    }

    fn nodes_changed_later(self: &Arc<Self>) -> Arc<dyn Fn() + Send + Sync> {
        let service = Arc::downgrade(self);
        Arc::new(move || {
            if let Some(service) = service.upgrade() {
                service.nodes_changed.notify_one();
            }
        })
    }

    /// A child has come with a certificate of ours.
    async fn receive(self: Arc<Self>, connection: Connection) {
        let named = connection.peer.clone();
        let row = self.rows.load().get(&named.id()).cloned();
        let Some(row) = row.filter(|row| row.relation == Relation::Child && row.fingerprint.as_deref() == Some(&named.fingerprint)) else {
            warn!(node.id = %named.id(), address = connection.address, "a node with a certificate of ours is not in the list of children, or has another key");
            return connection.split().0.close("not a child of this node").await;
        };
        let id = named.id();
        if let Some(why) = may_not_speak(&row) {
            let (sender, _receiver) = connection.split();
            // It may break off before that; then it hears it the next time.
            let _ = sender.send(Message::Bye(why).encode()).await;
            return sender.close("").await;
        }
        // What it may speak of is what a person here last confirmed; its certificate said so when it was issued.
        let peer = Peer { id, level: row.level, region: row.region.clone(), enterprise: row.enterprise_code.clone() };
        match conversation::talk(self.clone(), Side::Parent, peer, connection).await {
            Ok(why) => info!(node.id = %id, "the conversation with {} ended: {why:?}", row.name),
            Err(failure) => {
                warn!(node.id = %id, error = &failure as &dyn std::error::Error, "the conversation with {} broke off", row.name)
            }
        }
    }

    /// Something was heard that cannot come from the one box under this name: nothing more is taken until a person has decided.
    async fn freeze(&self, node: NodeId, why: Frozen) {
        error!(node.id = %node, reason = why.as_str(), "the stream of node {node} is frozen: a person must say whether it was restored or doubled");
        metrics::counter!("anlan_link_frozen_total", "reason" => why.as_str()).increment(1);
        if let Err(failure) = self.app.store.freeze_node(node, why.as_str(), self.app.clock.now()).await {
            error!(error = &failure as &dyn std::error::Error, "the freezing could not be written down");
        }
        self.look_at_nodes().await;
    }

    async fn renew_child(&self, child: NodeId, request: &[u8]) -> Result<String, AppError> {
        let row = self.rows.load().get(&child).cloned().ok_or_else(AppError::not_found)?;
        let request = std::str::from_utf8(request).map_err(|_| AppError::not_found())?;
        let key = requested_key(request, child).ok_or_else(AppError::not_found)?;
        if row.fingerprint.as_deref() != Some(&anlan_link::identity::fingerprint(&key)) {
            return Err(AppError::not_found());
        }
        let claim = Claim {
            id: child,
            name: row.name.clone(),
            level: row.level,
            region: row.region.clone(),
            enterprise: row.enterprise_code.clone(),
        };
        let admission = self.issue(&key, &claim)?;
        self.app.store.note_certificate(child, &admission, self.app.clock.now()).await?;
        info!(node.id = %child, "the certificate of {} runs until {}", row.name, admission.not_after);
        Ok(admission.certificate)
    }

    fn issue(&self, public_key: &[u8], claim: &Claim) -> Result<Admission, AppError> {
        let failed = |e: &dyn std::fmt::Display| {
            error!("a certificate cannot be issued: {e}");
            AppError::conflict("node.certificate")
        };
        let certificate = self.authority.issue(public_key, claim, Validity::from(real_now())).map_err(|e| failed(&e))?;
        let named = anlan_link::identity::leaf_of(&certificate).map_err(|e| failed(&e))?;
        Ok(Admission { fingerprint: named.fingerprint, serial: named.serial, not_after: named.not_after, certificate })
    }

    // ---- the parent ----------------------------------------------------------------------------------------------------------------------

    async fn keep_uplink(self: Arc<Self>) {
        let mut pause = RETRY.0;
        let longest = if self.nats_for(Ways::Up).is_some() { NATS_RETRY } else { RETRY.1 };
        loop {
            let ready = self.identity.membership().zip(self.parent_row()).filter(|(_, row)| !row.paused && row.state == NodeState::Active);
            let address = ready.as_ref().and_then(|(_, row)| row.address.as_deref()?.parse::<Address>().ok());
            let wait = match (ready, address) {
                (Some((membership, row)), Some(address)) => {
                    let began = tokio::time::Instant::now();
                    let ended = self.speak_with_parent(&address, &row).await;
                    let now = real_now();
                    if membership.ours.not_after <= now {
                        error!("the certificate of this node ran out at {}: pair it with its parent again", membership.ours.not_after);
                    }
                    match ended {
                        Some(Bye::Stopping | Bye::TakenOver) => pause = RETRY.0,
                        Some(Bye::Paused) => pause = PAUSED_RETRY,
                        Some(Bye::Frozen | Bye::OtherLog | Bye::Nonsense) => pause = FROZEN_RETRY,
                        // It held for a while: the next try may come soon again.
                        None if began.elapsed() > pause => pause = RETRY.0,
                        None => pause = (pause * 2).min(longest),
                    }
                    pause
                }
                _ => RETRY.1,
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                () = self.uplink.notified() => pause = RETRY.0,
            }
        }
    }

    async fn reach_parent(&self, address: &Address, row: &NodeRow) -> Result<Connection, LinkError> {
        match self.nats_for(Ways::Up) {
            Some(nats) => connect_through(nats.dial(row.id).await?, &self.identity, self.sockets.clone()).await,
            None => connect(address, &self.identity, self.sockets.clone()).await,
        }
    }

    /// One connection with the parent, to its end; `None`: there was none, or it broke off.
    async fn speak_with_parent(self: &Arc<Self>, address: &Address, row: &NodeRow) -> Option<Bye> {
        let connection = tokio::select! {
            () = self.stop.cancelled() => return Some(Bye::Stopping),
            connection = self.reach_parent(address, row) => match connection {
                Ok(connection) => connection,
                Err(failure) => {
                    warn!(error = &failure as &dyn std::error::Error, "the parent cannot be reached");
                    return None;
                }
            },
        };
        if connection.peer.id() != row.id {
            error!("the node at {address} is {}, not the parent {}", connection.peer.id(), row.id);
            return None;
        }
        let claim = connection.peer.claim.clone();
        let peer = Peer { id: claim.id, level: claim.level, region: claim.region, enterprise: claim.enterprise };
        let renewal = self.clone().renew_in_time();
        let talking = conversation::talk(self.clone(), Side::Child, peer, connection);
        let ended = tokio::select! {
            ended = talking => ended,
            () = renewal => return None,
        };
        match ended {
            Ok(why) => {
                info!("the conversation with the parent ended: {why:?}");
                Some(why)
            }
            Err(failure) => {
                warn!(error = &failure as &dyn std::error::Error, "the conversation with the parent broke off");
                None
            }
        }
    }

    /// Asks for a new certificate at two thirds of the old one; never ends.
    async fn renew_in_time(self: Arc<Self>) {
        loop {
            let due = self.identity.membership().is_some_and(|membership| membership.ours.is_due(real_now()));
            if due
                && let Some(parent) = self.parent_row()
                && let Ok(request) = self.identity.request()
            {
                self.order(parent.id, Order::Renew(request.into_bytes()));
            }
            tokio::time::sleep(if due { Duration::from_secs(60) } else { RENEWAL_LOOK }).await;
        }
    }

    async fn renewed(&self, chain: &[u8]) {
        let identity = self.identity.clone();
        let chain = String::from_utf8_lossy(chain).into_owned();
        let renewed = tokio::task::spawn_blocking(move || identity.renew(&chain)).await;
        match renewed {
            Ok(Ok(named)) => info!("this node's certificate runs until {}", named.not_after),
            Ok(Err(failure)) => error!(error = &failure as &dyn std::error::Error, "the new certificate is not taken"),
            Err(_) => error!("the new certificate could not be kept"),
        }
    }

    /// The other has greeted.
    async fn met(&self, side: Side, peer: &Peer, hello: &Hello) {
        let said = serde_json::json!({ "software": hello.software });
        if let Err(failure) = self.app.store.note_said(peer.id, &said, self.app.clock.now()).await {
            warn!(error = &failure as &dyn std::error::Error, "what a node said of itself could not be written down");
        }
        if side == Side::Parent {
            self.nodes_changed.notify_one();
        }
    }

    /// The other has said which readings it wants to travel.
    async fn agreed(&self, peer: &Peer, word: &str) {
        if let Err(failure) = self.app.store.note_wish(peer.id, word).await {
            warn!(error = &failure as &dyn std::error::Error, "what a neighbour wants to travel could not be written down");
        }
        self.nodes_changed.notify_one();
    }

    // ---- proof of life -------------------------------------------------------------------------------------------------------------------

    /// Every child that is heard has its heartbeat recorded; silence is then an alarm as of any point.
    async fn beat(self: Arc<Self>) {
        let mut beaten = Timestamp::MIN;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(HEARTBEAT_LOOK) => {}
            }
            let now = self.app.clock.now();
            if now.since_us(beaten) < HEARTBEAT_US {
                continue;
            }
            beaten = now;
            let heard: Vec<(NodeId, f64)> = {
                let talks = self.talks();
                // One that has not greeted is not heard yet.
                let heard = talks.iter().filter(|(_, talk)| talk.heard_us.load(Ordering::Relaxed) > 0);
                heard.map(|(node, talk)| (*node, lag_s(talk, now))).collect()
            };
            let (rows, snapshot) = (self.rows.load(), self.app.registry.get());
            let mut batches = Vec::new();
            for (node, lag_s) in heard {
                let Some(row) = rows.get(&node).filter(|row| row.relation == Relation::Child) else { continue };
                let Some(point) = row.point.and_then(|id| snapshot.points.get(&id)) else { continue };
                let reading = BoundReading { point: point.id, device_at: Some(now), value: lag_s, quality: Quality::Good };
                batches.push(Batch {
                    source: Source::Device { device: point.device, protocol: "link" },
                    received_at: now,
                    readings: Vec::new(),
                    bound: Prebound { generation: snapshot.generation, readings: vec![reading] },
                    positions: Vec::new(),
                    events: Vec::new(),
                    backfill: false,
                    reply: Box::new(|_| {}),
                });
            }
            if !batches.is_empty() {
                self.intake.offer_all(batches);
            }
        }
    }

    /// When neighbours were last heard reaches the database now and then.
    async fn note(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(NOTE_EVERY) => {}
            }
            let heard: Vec<(NodeId, u64)> =
                self.talks().iter().map(|(node, talk)| (*node, talk.heard_us.load(Ordering::Relaxed))).collect();
            let (mut said, mut told) = (Vec::new(), Vec::new());
            for (node, heard_us) in heard {
                let Some(row) = self.rows.load().get(&node).cloned() else { continue };
                let seen_at = Timestamp::from_micros(i64::try_from(heard_us).unwrap_or(i64::MAX));
                if heard_us > 0 && row.seen_at.is_none_or(|before| before < seen_at) {
                    said.push((node, self.said(&row, node), seen_at));
                    told.extend((row.relation == Relation::Child).then_some(node));
                }
            }
            if said.is_empty() || self.app.store.note_all_said(&said).await.is_err() {
                continue;
            }
            if !told.is_empty()
                && let Err(failure) = self.app.store.tell_nodes(&told).await
            {
                warn!(error = &failure as &dyn std::error::Error, "how children stand could not be told");
            }
        }
    }

    fn said(&self, row: &NodeRow, node: NodeId) -> serde_json::Value {
        let mut said = row.said.clone();
        if let (Some(fields), Some(talk)) = (said.as_object_mut(), self.talks().get(&node)) {
            fields.insert("log_waits".to_owned(), talk.log_behind.load(Ordering::Relaxed).into());
        }
        said
    }

    // ---- joining -------------------------------------------------------------------------------------------------------------------------

    async fn ask_to_join(self: Arc<Self>, address: Address, code: PairingCode, stop: CancellationToken) {
        let service = self.clone();
        let told = move |progress: Progress<'_>| {
            let mut joining = service.joining();
            match progress {
                Progress::Waiting(parent) => {
                    joining.waiting = Some(parent.claim.name.clone());
                    joining.failed = None;
                }
                Progress::Failed(failure) => joining.failed = Some(failure.to_string()),
            }
        };
        let software = format!("anlan {}", env!("CARGO_PKG_VERSION"));
        let introduction = Introduction { address: address.clone(), code, name: self.settings.name.clone(), software };
        let asking = pairing::join(&introduction, &self.identity, &self.sockets, ASK_AGAIN, told);
        let joined = tokio::select! {
            () = stop.cancelled() => return,
            () = self.stop.cancelled() => return,
            joined = asking => joined,
        };
        let outcome = match joined {
            Ok((parent, _)) => self.take_parent(&address, &parent).await.map_err(|e| e.to_string()),
            Err(failure) => Err(failure.to_string()),
        };
        match outcome {
            Ok(()) => {
                *self.joining() = Joining::default();
                info!("this node has joined the node at {address}");
                self.look_at_nodes().await;
            }
            Err(what) => {
                warn!("this node could not join the node at {address}: {what}");
                *self.joining() = Joining { failed: Some(what), ..Joining::default() };
            }
        }
    }

    async fn take_parent(&self, address: &Address, parent: &Named) -> Result<(), AppError> {
        let claim = &parent.claim;
        let neighbour = Neighbour {
            id: claim.id,
            name: claim.name.clone(),
            level: claim.level,
            region: claim.region.clone(),
            enterprise: None,
            fingerprint: parent.fingerprint.clone(),
            address: Some(address.to_string()),
        };
        self.app.store.put_parent(&Scope::node(), &neighbour, self.app.clock.now()).await?;
        Ok(())
    }

    /// Asks the child through which an origin is heard where it differs.
    fn ask_differences(self: &Arc<Self>, neighbour: NodeId, day: Day) {
        let (reply, answer) = oneshot::channel();
        if !self.order(neighbour, Order::Points(day, reply)) {
            return;
        }
        let service = self.clone();
        self.tasks.spawn(async move {
            let Ok(theirs) = answer.await else { return };
            let Ok(ledger) = service.ledger().await else { return };
            let agreed = service.talks().get(&neighbour).map_or(Readings::All, |talk| **talk.readings.load());
            let Ok(ours) = ledger.point_digests(day.origin, day.day, agreed).await else { return };
            let differences = differing(&service, day.origin, &ours, &theirs);
            let mut all = service.differences.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(day).or_default().answer = Some(differences);
        });
    }
}

/// Why there is no conversation with a neighbour now.
fn may_not_speak(row: &NodeRow) -> Option<Bye> {
    match (row.state, row.paused) {
        (NodeState::Revoked | NodeState::Frozen, _) => Some(Bye::Frozen),
        (NodeState::Active, true) => Some(Bye::Paused),
        (NodeState::Active, false) => None,
    }
}

/// Seconds since a neighbour was last heard.
fn lag_s(talk: &Talk, now: Timestamp) -> f64 {
    let heard = Timestamp::from_micros(i64::try_from(talk.heard_us.load(Ordering::Relaxed)).unwrap_or(0));
    (now.since_us(heard).max(0) as f64 / 1e6 * 10.0).round() / 10.0
}

/// Points of which the two do not hold the same.
fn differing(service: &Service, origin: NodeId, ours: &[(i64, Digest)], theirs: &[(i64, Digest)]) -> Vec<Difference> {
    let (ours, theirs): (BTreeMap<_, _>, BTreeMap<_, _>) = (ours.iter().copied().collect(), theirs.iter().copied().collect());
    let snapshot = service.app.registry.get();
    let points: std::collections::BTreeSet<i64> = ours.keys().chain(theirs.keys()).copied().collect();
    let differs = |point: &i64| {
        let (here, there) = (ours.get(point).copied().unwrap_or_default(), theirs.get(point).copied().unwrap_or_default());
        (here != there).then(|| Difference {
            point: snapshot.here(service.identity.id(), origin, anlan_model::PointId::new(*point)),
            remote: *point,
            here: (here.n, here.sum),
            there: (there.n, there.sum),
        })
    };
    points.iter().filter_map(differs).collect()
}

/// How long an answer about differences is believed.
const DIFFERENCES_FRESH: Duration = Duration::from_secs(20);
/// Days whose differences are remembered.
const DIFFERENCES_MAX: usize = 200;

/// The service as use cases see it.
struct LinkService(Arc<Service>);

impl Network for LinkService {
    fn heard(&self, neighbour: NodeId) -> Heard {
        let now = self.0.app.clock.now();
        self.0.talks().get(&neighbour).map_or_else(Heard::default, |talk| Heard {
            connected: talk.heard_us.load(Ordering::Relaxed) > 0,
            // Of a child's log what it says itself; of ours what the other lacks.
            queue: Some(Queue {
                log: talk.log_waits.load(Ordering::Relaxed).max(talk.log_behind.load(Ordering::Relaxed)),
                feed: talk.feed_waits.load(Ordering::Relaxed),
            }),
            lag_s: Some(lag_s(talk, now)),
        })
    }

    fn new_code(&self) -> Result<([u8; 16], String), AppError> {
        if self.0.settings.listen.is_none() {
            return Err(AppError::conflict("node.no_listener"));
        }
        let code = PairingCode::new(self.0.authority.fingerprint()).map_err(|_| AppError::conflict("node.certificate"))?;
        Ok((code.secret, code.to_string()))
    }

    fn admit(&self, invitation: &InvitationRow) -> Result<Admission, AppError> {
        let (Some(id), Some(key)) = (invitation.node, invitation.public_key.as_deref()) else {
            return Err(AppError::conflict("node.not_claimed"));
        };
        let claim = Claim {
            id,
            name: invitation.name.clone(),
            level: invitation.level,
            region: invitation.region.clone(),
            enterprise: invitation.enterprise_code.clone(),
        };
        self.0.issue(key, &claim)
    }

    fn join(&self, code: &str, address: &str) -> Result<(), AppError> {
        let code: PairingCode = code.parse().map_err(|e| AppError::invalid("node.code", "code").with("what", format!("{e}")))?;
        let address: Address = address.parse().map_err(|_| AppError::invalid("node.address", "address"))?;
        let stop = CancellationToken::new();
        let mut joining = self.0.joining();
        if let Some(before) = joining.asks.replace(stop.clone()) {
            before.cancel();
        }
        (joining.failed, joining.waiting) = (None, None);
        drop(joining);
        self.0.tasks.spawn(self.0.clone().ask_to_join(address, code, stop));
        Ok(())
    }

    fn parent(&self) -> Parent {
        let joining = self.0.joining();
        let fingerprint = Some(self.0.identity.fingerprint().to_owned());
        let is_joined = self.0.parent_row().is_some() && self.0.identity.membership().is_some();
        let (state, detail) = match (&joining.asks, &joining.failed, &joining.waiting) {
            (_, Some(failed), None) => (ParentState::Failed, failed.clone()),
            (Some(_), _, Some(parent)) => (ParentState::Waiting, parent.clone()),
            (Some(_), failed, None) => (ParentState::Waiting, failed.clone().unwrap_or_default()),
            (None, _, _) if is_joined => (ParentState::Joined, String::new()),
            (None, _, _) => (ParentState::None, String::new()),
        };
        Parent { state, detail, fingerprint }
    }

    fn changed(&self) {
        self.0.nodes_changed.notify_one();
    }

    fn again(&self, origin: NodeId, day: &str) -> Result<(), AppError> {
        let day = day_of(origin, day)?;
        let neighbour = self.0.through.load().get(&origin).copied();
        let asked = neighbour.is_some_and(|neighbour| self.0.order(neighbour, Order::Again(day)));
        if asked { Ok(()) } else { Err(AppError::conflict("node.not_connected")) }
    }

    fn differences(&self, origin: NodeId, day: &str) -> Option<Vec<Difference>> {
        let day = day_of(origin, day).ok()?;
        let mut all = self.0.differences.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= DIFFERENCES_MAX && !all.contains_key(&day) {
            all.clear();
        }
        let known = all.entry(day).or_default();
        let answer = known.answer.clone();
        if known.asked_at.is_none_or(|at| at.elapsed() > DIFFERENCES_FRESH) {
            known.asked_at = Some(std::time::Instant::now());
            drop(all);
            if let Some(neighbour) = self.0.through.load().get(&origin) {
                self.0.ask_differences(*neighbour, day);
            }
        }
        answer
    }
}

fn day_of(origin: NodeId, day: &str) -> Result<Day, AppError> {
    let date = day.parse().map_err(|_| AppError::invalid("field.date", "day"))?;
    Ok(Day { origin, day: crate::clock::number_of(date) })
}
