//! `anlan demo --levels`: the demo's city with a province above it and counties, a township desk and gateways of enterprises below, each a process
//! of its own on one test clock, joined the way operators join them: invitation, code, compared fingerprint.
//!
//! Which desks there are is data in [`DESKS`]. Start at [`Levels::start`].

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anlan_sim::Credentials;
use anlan_sim::api::{Api, ApiError};
use anlan_sim::join::{join, within};
use anyhow::Context as _;
use serde_json::{Value, json};
use tracing::{info, warn};

/// A node of the demo's network.
struct Desk {
    key: &'static str,
    name: &'static str,
    level: &'static str,
    region: &'static str,
    parent: &'static str,
    /// Of a gateway: the enterprise of the invented city, and the division it says it lies in.
    enterprise: Option<(&'static str, &'static str)>,
}

/// The city itself is this process.
pub const CITY: &str = "city";
/// Parents before their children. Names begin with 演示: all of it is invented.
const DESKS: &[Desk] = &[
    Desk { key: "province", name: "演示·省级平台", level: "province", region: "53", parent: "", enterprise: None },
    Desk { key: "hongta", name: "演示·红塔区监管平台", level: "county", region: "530402", parent: CITY, enterprise: None },
    Desk { key: "jiangchuan", name: "演示·江川区监管平台", level: "county", region: "530403", parent: CITY, enterprise: None },
    Desk {
        key: "yuxing", name: "演示·玉兴街道值守台", level: "township", region: "530402001", parent: "hongta", enterprise: None
    },
    gateway("gateway-1", "演示·企业网关一", "hongta", ("DEMO-E0001", "530402")),
    gateway("gateway-2", "演示·企业网关二", "jiangchuan", ("DEMO-E0002", "530403")),
    gateway("gateway-3", "演示·企业网关三", "yuxing", ("DEMO-E0010", "530402001")),
];

const fn gateway(key: &'static str, name: &'static str, parent: &'static str, of: (&'static str, &'static str)) -> Desk {
    Desk { key, name, level: "enterprise", region: "", parent, enterprise: Some(of) }
}

/// A node that starts says so within this time.
const READY: Duration = Duration::from_secs(60);
/// A node that is asked to stop has this long.
const STOP: Duration = Duration::from_secs(10);

/// Codes of the enterprises that have a node of their own.
pub fn with_own_node() -> Vec<String> {
    DESKS.iter().filter_map(|desk| desk.enterprise).map(|(code, _)| code.to_owned()).collect()
}

/// The processes of the network beside this one.
pub struct Levels {
    members: Vec<Member>,
}

struct Member {
    desk: &'static Desk,
    child: Child,
    /// A member that hears nothing more from us stops: nobody is left behind if we are killed.
    _life: Option<ChildStdin>,
    ready: Value,
    link: String,
}

impl Levels {
    /// Starts the members and waits until each is ready. `clock` is the file of the test clock that all share.
    ///
    /// # Errors
    /// A member does not start.
    pub fn start(data: &Path, clock: &str, seed: u64) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("find this program")?;
        let mut levels = Self { members: Vec::new() };
        for desk in DESKS {
            let dir = data.join("levels").join(desk.key);
            let ports = ports(&dir)?;
            let mut command = Command::new(&program);
            command.arg("demo").arg("--member").arg("--data").arg(&dir).arg("--test-clock").arg(clock).arg("--seed").arg(seed.to_string());
            if let Some((code, region)) = desk.enterprise {
                command.arg("--only").arg(format!("{code}@{region}"));
            }
            command
                .env("ANLAN_NODE__LEVEL", desk.level)
                .env("ANLAN_NODE__NAME", desk.name)
                .env("ANLAN_HTTP__LISTEN", ports.0.to_string())
                .env("ANLAN_LINK__LISTEN", ports.1.to_string())
                .env("ANLAN_LINK__CLAIM_S", "15")
                .env("ANLAN_MQTT__LISTEN", "127.0.0.1:0")
                .env("ANLAN_JT808__LISTEN", "127.0.0.1:0")
                .env("ANLAN_LOG__FILTER", "warn")
                .env_remove("ANLAN_STORE__URL");
            if !desk.region.is_empty() {
                command.env("ANLAN_NODE__REGION", desk.region);
            }
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().with_context(|| format!("start {}", desk.name))?;
            let life = child.stdin.take();
            levels.members.push(Member { desk, child, _life: life, ready: Value::Null, link: ports.1.to_string() });
        }
        for member in &mut levels.members {
            let out = member.child.stdout.take().context("its output")?;
            let (tell, told) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                let mut line = String::new();
                let read = BufReader::new(out).read_line(&mut line);
                let _ = tell.send(read.map(|_| line));
            });
            let line = told.recv_timeout(READY).with_context(|| format!("{} does not get ready", member.desk.name))??;
            member.ready = serde_json::from_str(&line).with_context(|| format!("{} does not start", member.desk.name))?;
        }
        Ok(levels)
    }

    /// Joins every node to its parent, and makes the enterprises that gateways stand for. Joined before = nothing to do.
    ///
    /// # Errors
    /// A node refuses.
    pub fn join(&self, city: &Value, city_link: &str) -> anyhow::Result<()> {
        let city = api(city)?;
        let province = self.members.iter().find(|m| m.desk.key == "province").context("the province")?;
        let invited = json!({ "name": "演示·玉溪市", "level": "city", "region": "5304" });
        join(&api(&province.ready)?, &city, &invited, &province.link).context("the city does not join the province")?;
        for member in self.members.iter().filter(|m| !m.desk.parent.is_empty()) {
            let own = api(&member.ready)?;
            let (above, link) = match self.members.iter().find(|m| m.desk.key == member.desk.parent) {
                Some(parent) => (api(&parent.ready)?, parent.link.as_str()),
                None => (city.clone(), city_link),
            };
            let enterprise = match member.desk.enterprise {
                Some((code, _)) => Some(enterprise(&own, &above, code)?),
                None => None,
            };
            let region = Some(member.desk.region).filter(|region| !region.is_empty());
            let invited = json!({ "name": member.desk.name, "level": member.desk.level, "region": region, "enterprise": enterprise });
            join(&above, &own, &invited, link).with_context(|| format!("{} does not join", member.desk.name))?;
            info!("{} has joined", member.desk.name);
        }
        Ok(())
    }

    /// Name, level, address and users of each, for the ready line.
    pub fn told(&self) -> Value {
        let one = |m: &Member| json!({ "name": m.desk.name, "level": m.desk.level, "http": m.ready["http"], "link": m.link, "users": m.ready["users"] });
        json!(self.members.iter().map(one).collect::<Vec<_>>())
    }

    /// Stops every member in order and waits.
    pub fn stop(mut self) {
        for member in self.members.iter_mut().rev() {
            drop(member._life.take());
            let until = Instant::now() + STOP;
            while Instant::now() < until && matches!(member.child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(50));
            }
            if matches!(member.child.try_wait(), Ok(None)) {
                warn!("{} does not stop", member.desk.name);
                let _ = member.child.kill();
                let _ = member.child.wait();
            }
        }
    }
}

/// The addresses of console and link of a member: free ones at first, the same ever after, as its children remember them.
fn ports(dir: &Path) -> anyhow::Result<(SocketAddr, SocketAddr)> {
    let file = dir.join("ports.json");
    if let Ok(text) = std::fs::read_to_string(&file) {
        return serde_json::from_str(&text).with_context(|| format!("read {}", file.display()));
    }
    crate::serve::private_dir(dir)?;
    let free = || -> anyhow::Result<TcpListener> { Ok(TcpListener::bind("127.0.0.1:0")?) };
    // Both are held until both are known.
    let (http, link) = (free()?, free()?);
    let ports = (http.local_addr()?, link.local_addr()?);
    std::fs::write(&file, serde_json::to_string(&ports)?).with_context(|| format!("write {}", file.display()))?;
    Ok(ports)
}

/// Signed in as the administrator whose password the ready line told.
fn api(ready: &Value) -> anyhow::Result<Api> {
    let base = ready["http"].as_str().context("an address")?;
    let users = ready["users"].as_array().context("users")?;
    let admin = users.iter().find(|user| user["role"] == "administrator").context("an administrator")?;
    let word = |key: &str| admin[key].as_str().unwrap_or_default().to_owned();
    Ok(Api::sign_in(base, &Credentials::Password { username: word("name"), password: word("password") })?)
}

/// The enterprise of a gateway at its parent, made after the gateway's own row once its simulator has made that.
fn enterprise(own: &Api, above: &Api, code: &str) -> anyhow::Result<String> {
    let find = |api: &Api| {
        let all = api.list("/api/v1/enterprises?limit=1000", "enterprises")?;
        Ok::<_, ApiError>(all.into_iter().find(|e| e["code"] == code))
    };
    let row = within("the gateway to make its enterprise", || find(own)).with_context(|| code.to_owned())?;
    if let Some(known) = find(above)? {
        return Ok(known["id"].as_str().context("an id")?.to_owned());
    }
    let body = json!({ "code": code, "name": row["name"], "region": row["region"], "sector": row["sector"], "place": row["place"] });
    Ok(above.post("/api/v1/enterprises", &body)?["id"].as_str().context("an id")?.to_owned())
}
