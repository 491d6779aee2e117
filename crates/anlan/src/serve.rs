//! Putting a node together: configuration, database, engine, sockets, API; and taking it apart in order.
//!
//! Start at [`Node::start`]. What it prints and how it exits is fixed by INTERFACES.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anlan_app::attachment::{self, FileFault};
use anlan_app::clock::AppClock;
use anlan_app::link::{LinkHandle, LinkStartError};
use anlan_app::{Link, Links, Running, access, second_factor};
use anlan_ingest::LinkStats;
use anlan_store::Store;
use anyhow::Context as _;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::config::{self, Config, Unknown};
use crate::door::Door;
use crate::{BadConfiguration, ServeArgs, control, tls, watch};

/// INTERFACES: SIGTERM stops in order within 10 s. Requests in flight get this much of it.
const GRACE: Duration = Duration::from_secs(3);

/// Runs `serve`.
pub fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let config = load(args.config.as_deref())?;
    start_logging(&config);
    let runtime = runtime()?;
    let code = runtime.block_on(async move {
        let node = Node::start(&args, config, false).await?;
        node.print_ready(serde_json::Value::Null, serde_json::Value::Null)?;
        signal().await?;
        node.stop().await;
        Ok(ExitCode::SUCCESS)
    });
    // A seal still running in its thread is abandoned: its unfinished file is removed at the next start.
    runtime.shutdown_background();
    code
}

/// Runs `setup-link`.
pub fn setup_link(data: &Path, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    let config = load(file)?;
    runtime()?.block_on(async {
        let store = Store::open(&store_url(&config, data)).await.context("open the database")?;
        match access::new_setup_token(&store, &config.access).await.context("make a setup link")? {
            Some(token) => {
                println!("{}/setup#{token}", url(&config, config.http.listen));
                Ok(ExitCode::SUCCESS)
            }
            None => {
                eprintln!("anlan: this node has an administrator; ask them for an account");
                Ok(ExitCode::FAILURE)
            }
        }
    })
}

/// Runs `reset-second-factor`.
pub fn reset_second_factor(data: &Path, file: Option<&Path>, username: &str) -> anyhow::Result<ExitCode> {
    let config = load(file)?;
    runtime()?.block_on(async {
        let store = Store::open(&store_url(&config, data)).await.context("open the database")?;
        if second_factor::reset_by_name(&store, username).await.context("reset the second factor")? {
            println!("{username} signs in with the password alone from now on");
            Ok(ExitCode::SUCCESS)
        } else {
            eprintln!("anlan: there is nobody named {username}");
            Ok(ExitCode::FAILURE)
        }
    })
}

/// Runs `audit verify`.
pub fn verify_audit(data: &Path, file: Option<&Path>, head: Option<&str>) -> anyhow::Result<ExitCode> {
    let config = load(file)?;
    let (check, (n_records, wrong), files) = runtime()?.block_on(async {
        let store = Store::open(&store_url(&config, data)).await.context("open the database")?;
        let check = store.verify_audit(head).await.context("read the audit")?;
        let records = store.verify_records().await.context("read the records")?;
        anyhow::Ok((check, records, attachment::verify(&store, data).await.context("read the files of records")?))
    })?;
    match (check.broken_at, check.complete) {
        (Some(id), _) => println!("audit: broken at entry {id}: its hash does not follow from its content and the entry before"),
        (None, false) => println!("audit: {} entries, but the newest is not the one the head names: entries were cut off", check.entries),
        (None, true) => println!("audit: {} entries, the chain holds", check.entries),
    }
    let named: Vec<String> = wrong.iter().take(20).map(ToString::to_string).collect();
    match wrong.len() {
        0 => println!("records: {n_records}, each as its newest audit entry says"),
        n => println!("records: {n} of {n_records} are not what their newest audit entry says: {}", named.join(", ")),
    }
    match files.wrong.len() {
        0 => println!("files: {}, each on the disk as the audit says", files.files),
        n => println!("files: {n} of {} are not as the audit says", files.files),
    }
    for (id, record, fault) in files.wrong.iter().take(20) {
        let of = record.map_or_else(String::new, |record| format!(" of record {record}"));
        let what = match fault {
            FileFault::Gone => "is gone from the disk",
            FileFault::Altered => "was altered on the disk: its bytes do not have the hash that the audit names",
            FileFault::Row => "has another row than the audit says, or none",
            FileFault::Unvouched => "belongs to a record, but no audit entry names it",
        };
        println!("files: attachment {id}{of} {what}");
    }
    println!("head: {}", check.head);
    if !check.is_met {
        println!("audit: no entry has the hash that was asked for: the entries up to it were changed or cut off");
    }
    let is_sound = check.broken_at.is_none() && check.complete && wrong.is_empty() && files.wrong.is_empty() && check.is_met;
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Loads the configuration; a bad one is exit code 2.
pub fn load(file: Option<&Path>) -> anyhow::Result<Config> {
    config::load(file).map_err(|failure| BadConfiguration(anyhow::Error::new(*failure).context("configuration")).into())
}

/// A multi-threaded runtime.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")
}

/// Logs to stderr as configured.
pub fn start_logging(config: &Config) {
    let filter = tracing_subscriber::EnvFilter::try_new(&config.log.filter).unwrap_or_else(|_| "info".into());
    // A log on a full disk must not end the thread that writes a line: the complaint about the line would panic on the same stderr.
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    if config.log.format == "json" { builder.json().init() } else { builder.init() }
}

/// Waits for SIGTERM or Ctrl-C.
pub async fn signal() -> anyhow::Result<()> {
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = term.recv() => {}
        pressed = tokio::signal::ctrl_c() => pressed?,
    }
    info!("stopping");
    Ok(())
}

/// The database of a node: the configured one, else a file in its data directory.
pub fn store_url(config: &Config, data: &Path) -> String {
    config.store.url.clone().unwrap_or_else(|| format!("sqlite:{}", data.join("anlan.sqlite").display()))
}

fn secure(config: &Config, address: SocketAddr) -> bool {
    !address.ip().is_loopback() || config.http.certificate.is_some()
}

fn url(config: &Config, address: SocketAddr) -> String {
    format!("{}://{address}", if secure(config, address) { "https" } else { "http" })
}

/// Between drains of the metrics' samples.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// A client has this long for the head of its request; an idle socket costs a file descriptor.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Closes connections that do not get to the point.
fn impatient(builder: &mut hyper_util::server::conn::auto::Builder<hyper_util::rt::TokioExecutor>) {
    builder.http1().timer(hyper_util::rt::TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder.http2().timer(hyper_util::rt::TokioTimer::new()).keep_alive_interval(HEADER_TIMEOUT).max_concurrent_streams(64);
}

/// Makes the data directory for its owner alone: it holds keys, hashes and where people drive.
pub fn private_dir(dir: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(|| format!("make {}", dir.display()))?;
    // Durable in its parent before anything in it is acknowledged. Where that may not be read, it was there before us.
    let parent = std::path::absolute(dir)?.parent().and_then(|parent| std::fs::File::open(parent).ok());
    parent.map_or(Ok(()), |parent| parent.sync_all()).with_context(|| format!("sync the directory above {}", dir.display()))
}

/// Files are made for their owner alone, and as many may be open as the machine allows; [`open_files_for`] says whether that is enough.
pub fn settle_in() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    // What remains is judged where it is known how many are wanted.
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised);
}

/// Files that a process has open beside its connections: database, log, blocks, listeners; generous.
const OTHER_FILES: u64 = 256;

/// Whether `connections` can be open at once.
///
/// # Errors
/// The limit, what is wanted, and how to raise it.
pub fn open_files_for(connections: usize) -> anyhow::Result<()> {
    let wanted = connections as u64 + OTHER_FILES;
    match rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        Some(limit) if limit < wanted => anyhow::bail!(
            "{connections} connections need {wanted} open files, this process may have {limit}: \
             raise LimitNOFILE= of the service, or the hard limit (ulimit -Hn) of the shell"
        ),
        _ => Ok(()),
    }
}

/// A node with its sockets open.
pub struct Node {
    /// Use cases.
    pub running: Running,
    /// Address of the MQTT listener.
    pub mqtt: SocketAddr,
    /// Address of the MQTT listener over TLS, if there is one.
    pub mqtts: Option<SocketAddr>,
    /// Address of the JT/T 808 listener.
    pub jt808: SocketAddr,
    /// Address of the JT/T 808 listener over TLS, if there is one.
    pub jt808_tls: Option<SocketAddr>,
    /// Address of the JT/T 808 UDP socket, if there is one.
    pub jt808_udp: Option<SocketAddr>,
    /// Address where platforms below log in (JT/T 809), if there is one.
    pub jt809: Option<SocketAddr>,
    /// Conversations with other nodes.
    pub link: LinkHandle,
    url: String,
    setup: Option<String>,
    server: Handle<SocketAddr>,
    sockets_stop: CancellationToken,
    tasks: TaskTracker,
    http_task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Node {
    /// Opens everything. Listeners are bound before anything is announced; port 0 takes any free one.
    pub async fn start(args: &ServeArgs, config: Config, demo: bool) -> anyhow::Result<Self> {
        private_dir(&args.data)?;
        let clock = match &args.test_clock {
            Some(argument) => AppClock::test(argument).map_err(|e| BadConfiguration(anyhow::Error::new(e).context("--test-clock")))?,
            None => AppClock::real(),
        };
        // A node with fewer files still serves; connections beyond them wait in the kernel.
        if let Err(too_few) = open_files_for(2 * config.limits.max_connections) {
            warn!("limits.max_connections cannot be reached: {too_few}");
        }
        let metrics = install_metrics();
        let store = Store::open(&store_url(&config, &args.data)).await.context("open the database")?;
        let mut settings = config.settings(demo);
        settings.packs.get_or_insert_with(|| args.data.join("packs"));
        settings.submissions = config.submission.check().map_err(|e| BadConfiguration(anyhow::Error::new(e)))?;
        let running = anlan_app::start(&args.data, store, clock, settings).await?;
        let app = running.app.clone();

        let bind = async |address: SocketAddr, key: &str| {
            TcpListener::bind(address).await.map_err(|e| BadConfiguration(anyhow::Error::new(e).context(format!("{key} = {address}"))))
        };
        let http = bind(config.http.listen, "http.listen").await?;
        let mqtt = bind(config.mqtt.listen, "mqtt.listen").await?;
        let jt808 = bind(config.jt808.listen, "jt808.listen").await?;
        let bind_tls = async |address: Option<SocketAddr>, key: &str| match address {
            Some(address) => bind(address, key).await.map(Some),
            None => Ok(None),
        };
        let mqtts = bind_tls(config.mqtt.tls_listen, "mqtt.tls_listen").await?;
        let jt808_tls = bind_tls(config.jt808.tls_listen, "jt808.tls_listen").await?;
        let at = |listener: &Option<TcpListener>| listener.as_ref().map(TcpListener::local_addr).transpose();
        let jt809_setup = config.jt809.check().map_err(|e| BadConfiguration(anyhow::Error::new(e)))?;
        let jt809 = bind_tls(jt809_setup.listen, "jt809.listen").await?;
        let jt809_at = jt809.as_ref().map(TcpListener::local_addr).transpose()?;
        let mut uppers = Vec::new();
        for upper in &jt809_setup.uppers {
            uppers.push((upper.clone(), bind_tls(upper.listen(), &format!("jt809.upper {} listen", upper.name())).await?));
        }
        let (mqtts_at, jt808_tls_at) = (at(&mqtts)?, at(&jt808_tls)?);
        let (http_at, mqtt_at, jt808_at) = (http.local_addr()?, mqtt.local_addr()?, jt808.local_addr()?);
        let jt808_udp = match config.jt808.udp_listen {
            Some(address) => {
                let bound = tokio::net::UdpSocket::bind(address).await;
                Some(bound.map_err(|e| BadConfiguration(anyhow::Error::new(e).context(format!("jt808.udp_listen = {address}"))))?)
            }
            None => None,
        };
        let jt808_udp_at = jt808_udp.as_ref().map(tokio::net::UdpSocket::local_addr).transpose()?;
        let names = certificate_names(http_at, &config.tls.names);
        let device_tls = match mqtts_at.or(jt808_tls_at) {
            None if !jt809_setup.needs_certificate() => None,
            _ => Some(device_tls(&args.data, &config, names.clone()).map_err(BadConfiguration)?),
        };

        let (sockets_stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let context = Arc::new(anlan_ingest::Context::new(
            running.intake.clone(),
            app.registry.credentials(),
            app.clock.clone(),
            config.limits.clone(),
            sockets_stop.clone(),
        ));
        let unknown = match config.jt808.unknown {
            Unknown::Refuse => anlan_ingest::jt808::Unknown::Refuse,
            Unknown::Quarantine => anlan_ingest::jt808::Unknown::Quarantine,
            Unknown::Accept => anlan_ingest::jt808::Unknown::Accept,
        };
        let _ = app.links.set(Arc::new(SocketLinks(context.stats.clone())));
        if let Some(typesetter) = anlan_typeset::typesetter(config.documents.fonts.clone()) {
            let _ = app.typesetter.set(typesetter);
        }
        tasks.spawn(anlan_ingest::mqtt::serve(mqtt, None, context.clone()));
        tasks.spawn(anlan_ingest::jt808::serve(jt808, None, context.clone(), unknown));
        if let Some(listener) = mqtts {
            tasks.spawn(anlan_ingest::mqtt::serve(listener, device_tls.clone(), context.clone()));
        }
        if let Some(listener) = jt808_tls {
            tasks.spawn(anlan_ingest::jt808::serve(listener, device_tls.clone(), context.clone(), unknown));
        }
        platforms(&args.data, jt809_setup, jt809, uppers, device_tls, &context, &app, unknown, &tasks)?;
        tasks.spawn(anlan_ingest::poll::serve(context.clone(), app.registry.polls(), config.modbus.clone()));
        if let Some(socket) = jt808_udp {
            tasks.spawn(anlan_ingest::jt808::serve_udp(socket, context.clone(), unknown));
        }
        tasks.spawn(anlan_app::dispatch::run(app.clone(), context.downlinks.clone(), sockets_stop.clone()));
        tasks.spawn(anlan_app::road::run(app.clone(), sockets_stop.clone()));

        let secure = secure(&config, http_at);
        let text = metrics.clone();
        let options = anlan_http::HttpOptions {
            secure,
            demo,
            metrics: Some(Arc::new(move || text.render())),
            metrics_token: config.http.metrics_token.clone(),
        };
        let routes = anlan_http::router(app.clone(), options).merge(anlan_ingest::http::router(context));
        let service = routes.into_make_service_with_connect_info::<SocketAddr>();
        let server = Handle::new();
        let http = http.into_std()?;
        let (most, most_of_one) = (config.limits.max_http_connections, config.limits.max_http_connections_per_ip);
        let http_task = if secure {
            let _ = rustls::crypto::ring::default_provider().install_default();
            let certificate = tls::certificate(&args.data, "http", config.http.certificate.as_deref(), config.http.key.as_deref(), names)?;
            warn!(fingerprint = certificate.fingerprint, "HTTPS certificate SHA-256 {}", certificate.fingerprint);
            let rustls = RustlsConfig::from_pem_file(&certificate.chain, &certificate.key).await.context("load the certificate")?;
            let listener = axum_server::from_tcp_rustls(http, rustls)?.handle(server.clone());
            let mut listener = listener.map(|inner| Door::new(inner, most, most_of_one));
            impatient(listener.http_builder());
            tokio::spawn(listener.serve(service))
        } else {
            let listener = axum_server::from_tcp(http)?.handle(server.clone());
            let mut listener = listener.map(|inner| Door::new(inner, most, most_of_one));
            impatient(listener.http_builder());
            tokio::spawn(listener.serve(service))
        };
        let upkeep = metrics.clone();
        let until = sockets_stop.clone();
        tasks.spawn(async move {
            // Samples of histograms are drained here even if nobody ever asks for /metrics.
            while tokio::time::timeout(UPKEEP_EVERY, until.cancelled()).await.is_err() {
                upkeep.run_upkeep();
            }
        });
        let life = config.life.channel.as_deref().map(watch::Channel::parse).transpose();
        let life = life.map_err(|why| BadConfiguration(anyhow::anyhow!("life.channel: {why}")))?;
        if let Some(channel) = life {
            let every = Duration::from_secs(config.life.every_s.max(1));
            tasks.spawn(watch::life(app.clone(), channel, every, config.node.region.clone(), sockets_stop.clone()));
        }
        let every = Duration::from_secs(config.clock.check_s.max(1));
        tasks.spawn(watch::clock(app.clone(), config.clock.ntp_server.clone(), every, sockets_stop.clone()));
        match control::serve(&args.data, app.clone(), sockets_stop.clone()) {
            Ok(answering) => drop(tasks.spawn(answering)),
            Err(failure) => warn!("no control socket: {failure:#}; `anlan backup` needs this node stopped"),
        }
        let link = anlan_app::link::start(app.clone(), running.intake.clone(), &args.data, config.link()).await;
        let link = link.map_err(|failure| match failure {
            LinkStartError::Listen(..) | LinkStartError::Nats(_) => BadConfiguration(anyhow::Error::new(failure)).into(),
            other => anyhow::Error::new(other).context("start the link to other nodes"),
        })?;
        tasks.close();

        let url = url(&config, http_at);
        let setup = access::new_setup_token(&app.store, &config.access).await.context("make a setup link")?;
        let setup = setup.filter(|_| !demo).map(|token| format!("{url}/setup#{token}"));
        Ok(Self {
            running,
            mqtt: mqtt_at,
            mqtts: mqtts_at,
            jt808: jt808_at,
            jt808_tls: jt808_tls_at,
            jt808_udp: jt808_udp_at,
            jt809: jt809_at,
            link,
            url,
            setup,
            server,
            sockets_stop,
            tasks,
            http_task,
        })
    }

    /// Address of the console and API.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The one line on stdout that says everything is open.
    pub fn print_ready(&self, users: serde_json::Value, levels: serde_json::Value) -> anyhow::Result<()> {
        use std::io::Write as _;
        let mut line = serde_json::json!({
            "event": "ready",
            "http": self.url,
            "mqtt": self.mqtt.to_string(),
            "mqtts": self.mqtts.map(|at| at.to_string()),
            "jt808_tcp": self.jt808.to_string(),
            "jt808_tls": self.jt808_tls.map(|at| at.to_string()),
            "jt808_udp": self.jt808_udp.map(|at| at.to_string()),
            "jt809": self.jt809.map(|at| at.to_string()),
            "link": self.link.address.map(|at| at.to_string()),
            "setup": self.setup,
        });
        if !users.is_null() {
            line["users"] = users;
        }
        if !levels.is_null() {
            line["levels"] = levels;
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()?;
        Ok(())
    }

    /// Sockets first, so that nothing new comes in; then the engine with what it has; then the database.
    pub async fn stop(self) {
        self.sockets_stop.cancel();
        self.server.graceful_shutdown(Some(GRACE));
        let sockets = tokio::time::timeout(GRACE, self.tasks.wait());
        let (served, closed, ()) = tokio::join!(self.http_task, sockets, self.link.stop());
        if closed.is_err() {
            warn!("some device connections did not close within {GRACE:?}");
        }
        if let Ok(Err(failure)) = served {
            warn!(error = &failure as &dyn std::error::Error, "the HTTP server ended with an error");
        }
        self.running.stop().await;
        info!("stopped");
    }
}

/// Names by which this machine may be called: what a certificate made here is good for.
fn certificate_names(http: SocketAddr, more: &[String]) -> Vec<String> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), host, http.ip().to_string()];
    names.extend(more.iter().cloned());
    names.retain(|name| !name.is_empty());
    names.sort();
    names.dedup();
    names
}

/// Starts what speaks JT/T 809, and says aloud what of it is in the clear.
#[expect(clippy::too_many_arguments, reason = "the parts of one node, wired once")]
fn platforms(
    data: &Path,
    setup: anlan_ingest::jt809::Checked,
    listener: Option<TcpListener>,
    uppers: Vec<(anlan_ingest::jt809::Upper, Option<TcpListener>)>,
    tls: Option<Arc<rustls::ServerConfig>>,
    context: &Arc<anlan_ingest::Context>,
    app: &Arc<anlan_app::App>,
    unknown: anlan_ingest::jt808::Unknown,
    tasks: &TaskTracker,
) -> anyhow::Result<()> {
    use anlan_ingest::jt809::{Pace, serve_platforms, serve_upper};
    let fleet = Arc::new(anlan_app::fleet::AppFleet(app.clone()));
    if let Some(listener) = listener {
        if setup.plain {
            warn!("jt809.plain: platforms below log in in the clear; whoever is on the way reads passwords and positions");
        }
        for platform in setup.platforms.iter().filter(|p| p.is_plain()) {
            warn!("jt809.platform {}: the other link is in the clear", platform.name());
        }
        let tls = if setup.plain { None } else { tls.clone() };
        tasks.spawn(serve_platforms(listener, tls, context.clone(), fleet.clone(), setup.platforms, unknown, Pace::default()));
    }
    for (upper, listener) in uppers {
        let name = upper.name().to_owned();
        if upper.is_plain() {
            warn!("jt809.upper {name}: both links are in the clear; whoever is on the way reads the password and positions");
        }
        let given = serve_upper(upper, listener, tls.clone(), context.clone(), fleet.clone(), &data.join("jt809"), Pace::default());
        tasks.spawn(given.with_context(|| format!("how far platform {name} was given positions (jt809/{name}.json)"))?);
    }
    Ok(())
}

/// What device listeners say over TLS: section `tls`, else the console's certificate.
fn device_tls(data: &Path, config: &Config, names: Vec<String>) -> anyhow::Result<Arc<rustls::ServerConfig>> {
    let own = config.tls.certificate.is_some() || config.tls.key.is_some();
    let (section, chain, key) =
        if own { ("tls", &config.tls.certificate, &config.tls.key) } else { ("http", &config.http.certificate, &config.http.key) };
    let certificate = tls::certificate(data, section, chain.as_deref(), key.as_deref(), names)?;
    info!(fingerprint = certificate.fingerprint, "certificate for devices, SHA-256 {}", certificate.fingerprint);
    tls::for_devices(&certificate, config.tls.client_ca.as_deref())
}

fn install_metrics() -> PrometheusHandle {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    // A second node in one process (tests) shares the first one's recorder.
    let _ = metrics::set_global_recorder(recorder);
    handle
}

struct SocketLinks(Arc<LinkStats>);

impl Links for SocketLinks {
    fn report(&self) -> Vec<Link> {
        let row = |link: &anlan_ingest::Link| Link {
            name: link.protocol().as_str().to_owned(),
            connections: link.connections(),
            messages_total: link.messages_total(),
            readings_total: link.readings_total(),
            refused_total: link.refused_total(),
            last_at: link.last_at(),
        };
        self.0.links().iter().map(row).collect()
    }
}
