//! Use cases: authorize, read, decide (`domain`), write (`store`), audit, announce.
//!
//! One file per noun; the telemetry path has a folder of its own. No SQL, no sockets, no HTTP here.
//! Start at [`App`], which everybody shares, and at [`telemetry`] for the way of a reading.

pub mod access;
pub mod accident;
mod agreed;
pub mod alarm;
pub mod archive;
mod around;
pub mod assessment;
pub mod attachment;
pub mod audit;
pub mod backup;
pub mod certificate;
pub mod clock;
pub mod combination;
pub mod command;
pub mod device;
pub mod dispatch;
pub mod document;
pub mod duty;
pub mod enterprise;
pub mod error;
pub mod event;
pub mod export;
pub mod fleet;
pub mod health;
pub mod hold;
pub mod keep;
pub mod leaders;
pub mod ledger;
pub mod link;
pub mod live;
pub mod media;
pub mod modbus;
pub mod networking;
pub mod node;
pub mod open_data;
pub mod order;
pub mod pack;
pub mod plan;
pub mod point;

pub mod projector;
pub mod public;
pub mod record;
pub mod region;
pub mod registry;
pub mod responsibility;
pub mod retention;
pub mod road;
pub mod roster;
pub mod rules;
pub mod sealing;
pub mod second_factor;
pub mod sensorthings;
pub mod settings;
pub mod sheet;
pub mod signing;
pub mod submission;
pub mod summary;
pub mod telemetry;
pub mod thinned;
mod totp;
pub mod transfer;
mod turnstile;
pub mod user;
pub mod validate;
pub mod vehicle;
pub mod whistleblow;

mod start;

use std::sync::Arc;

pub use settings::Settings;
pub use start::{Running, StartError, start};

/// Everything a use case needs; shared as `Arc<App>`.
pub struct App {
    /// Everything relational.
    pub store: anlan_store::Store,
    /// Domain time.
    pub clock: Arc<clock::AppClock>,
    /// Enterprises, devices, points and vehicles in memory, as last committed.
    pub registry: registry::Registry,
    /// Readings and positions: newest values, history, state of the log.
    pub telemetry: telemetry::Telemetry,
    /// Live streams.
    pub live: live::Live,
    /// Rules and kinds of the active packs.
    pub rules: Arc<anlan_domain::pack::RuleBook>,
    /// Figures of road transport supervision.
    pub road: Arc<anlan_domain::road::RoadRules>,
    /// Registers of the packs that are on.
    pub registers: Arc<arc_swap::ArcSwap<pack::Registers>>,
    /// Working days.
    pub calendar: anlan_domain::calendar::Calendar,
    /// A turn per sheet that is read or written: each takes a core for seconds.
    sheets: tokio::sync::Semaphore,
    /// The day on which rows were last brought to the codes in force; one look at a time.
    divided_on: tokio::sync::Mutex<jiff::civil::Date>,
    /// One look at deadlines at a time.
    reminding: tokio::sync::Mutex<()>,
    /// One switch of packs at a time.
    switching: tokio::sync::Mutex<()>,
    /// One reckoning of road days at a time.
    road_refresh: tokio::sync::Mutex<()>,
    /// What the operator configured.
    pub settings: Settings,
    /// State of the sockets; empty until `ingest` is wired.
    pub links: std::sync::OnceLock<Arc<dyn Links>>,
    /// Composing and typesetting, one at a time.
    pub documents: document::Documents,
    /// What makes files of documents; empty in a build that makes none.
    pub typesetter: std::sync::OnceLock<Arc<dyn anlan_documents::Typeset>>,
    /// The link to other nodes; empty until it runs.
    pub network: std::sync::OnceLock<Arc<dyn node::Network>>,
    /// Signing in: what it keeps in memory.
    pub access: access::Access,
    /// Files of terminals.
    pub media: media::Media,
    /// The key of certificates.
    pub certificates: certificate::Certificates,
    /// Reports of violations: what it keeps in memory.
    pub whistleblow: whistleblow::Whistleblow,
    /// Files of records.
    pub attachments: attachment::Attachments,
    /// Lists that become files.
    pub exports: export::Exports,
    /// Archiving of days that are over.
    pub archiver: archive::Archiver,
    /// Wakes the command reconciler when a command was stored.
    pub commands: Arc<tokio::sync::Notify>,
    /// Wakes the reconciler of orders when one came from above.
    pub orders: tokio::sync::Notify,
    /// What is handed over to this node.
    pub transfers: transfer::Heard,
    /// What plans are reckoned from.
    pub plans: plan::Plans,
    /// Keys of open data: what was used of them.
    pub open_data: open_data::State,
    /// Wakes the senders of submissions when somebody switched or asked for one.
    pub submitting: tokio::sync::Notify,
    /// Clock and proof of life, as last measured.
    pub health: health::Health,
    /// A turn per question about many points: each takes a core for a while.
    many: tokio::sync::Semaphore,
    /// Readings of the last day, as counted for completeness.
    received: networking::Received,
    /// Changes under way, see [`App::see_through`].
    changes: tokio_util::task::TaskTracker,
    /// Wakes the housekeeping of the history.
    pub keep: keep::Bell,
    /// Held while retention drops something.
    pub dropping: Arc<std::sync::Mutex<()>>,
    /// What of it is open.
    pub thinning: thinned::Open,
    /// Held while a backup is made.
    pub backup: tokio::sync::Mutex<()>,
    /// Last durable log position, as it grows.
    durable: tokio::sync::watch::Receiver<u64>,
    /// The engine, for the test clock and backups.
    engine: telemetry::engine::EngineHandle,
}

impl App {
    /// The civil day in Beijing, of domain time.
    pub fn today(&self) -> jiff::civil::Date {
        use anlan_model::Clock as _;
        clock::day_of(self.clock.now())
    }
    /// Runs a change to its end even if whoever asked for it leaves meanwhile: what was committed must also become live. `None` if it
    /// panicked.
    pub async fn see_through<T: Send + 'static>(&self, change: impl Future<Output = T> + Send + 'static) -> Option<T> {
        self.changes.spawn(change).await.ok()
    }
}

/// What the sockets say about themselves; implemented where `ingest` is wired.
pub trait Links: Send + Sync {
    /// One row per protocol.
    fn report(&self) -> Vec<Link>;
}

/// State of one protocol's listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// `mqtt`, `http`, `jt808`.
    pub name: String,
    /// Open connections.
    pub connections: u64,
    /// Messages since start.
    pub messages_total: u64,
    /// Readings and positions since start.
    pub readings_total: u64,
    /// Refused messages since start.
    pub refused_total: u64,
    /// Newest message, domain time.
    pub last_at: Option<anlan_model::Timestamp>,
}
