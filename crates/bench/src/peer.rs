//! The peers, as Debian packages them, on loopback with an empty directory. One that is not installed says so and is left out.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::process::{Process, free_port};

/// A series of an answer: its labels, and seconds with values.
pub type Series = (Value, Vec<(f64, f64)>);

/// VictoriaMetrics, single node.
pub struct Victoria {
    /// Its process.
    pub process: Process,
    /// `127.0.0.1:…`.
    pub address: String,
    agent: ureq::Agent,
}

/// Name in the table.
pub const VICTORIA: &str = "VictoriaMetrics";
const VICTORIA_PROGRAM: &str = "/usr/bin/victoria-metrics";

/// The peer at `program`, or why not.
fn installed(program: &str, package: &str) -> Result<(), String> {
    if Path::new(program).exists() { Ok(()) } else { Err(format!("{package} is not installed")) }
}

impl Victoria {
    /// Whether it is there.
    pub fn installed() -> Result<(), String> {
        installed(VICTORIA_PROGRAM, "victoria-metrics")
    }

    /// Starts it on `data`.
    pub fn start(data: &Path) -> anyhow::Result<Self> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut command = Command::new(VICTORIA_PROGRAM);
        command.arg(format!("-storageDataPath={}", data.display())).arg(format!("-httpListenAddr={address}"));
        command.args(["-retentionPeriod=10y", "-loggerLevel=ERROR", "-search.maxUniqueTimeseries=1000000"]);
        command.args(["-search.maxSamplesPerQuery=1000000000", "-search.maxQueryDuration=120s"]);
        let process = Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(180)));
        let victoria = Self { process, address, agent: ureq::Agent::new_with_config(config.build()) };
        let until = Instant::now() + Duration::from_secs(20);
        while victoria.get("/health").is_err() {
            ensure!(Instant::now() < until, "VictoriaMetrics does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(victoria)
    }

    /// `GET`, whole body.
    pub fn get(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        let mut answer = self.agent.get(format!("http://{}{path}", self.address)).call().with_context(|| format!("GET {path}"))?;
        Ok(answer.body_mut().with_config().limit(1 << 30).read_to_vec()?)
    }

    /// A PromQL query over a range, without its result cache: `(metric, [(s, value)])`.
    pub fn range(&self, query: &str, from_s: f64, to_s: f64, step: &str) -> anyhow::Result<Vec<Series>> {
        let query = anlan_sim::api::percent(query);
        series(&self.get(&format!("/api/v1/query_range?query={query}&start={from_s}&end={to_s}&step={step}&nocache=1"))?)
    }

    /// A PromQL query at an instant.
    pub fn instant(&self, query: &str, at_s: f64) -> anyhow::Result<Vec<Series>> {
        let query = anlan_sim::api::percent(query);
        series(&self.get(&format!("/api/v1/query?query={query}&time={at_s}&nocache=1"))?)
    }

    /// Writes what is in memory and merges every part, so that sizes are final.
    pub fn merge(&self) -> anyhow::Result<()> {
        self.get("/internal/force_flush")?;
        self.get("/internal/force_merge")?;
        self.process.settle(0.04, Duration::from_secs(120))?;
        Ok(())
    }
}

fn series(body: &[u8]) -> anyhow::Result<Vec<Series>> {
    let answer: Value = serde_json::from_slice(body)?;
    let pair = |v: &Value| Some((v[0].as_f64()?, v[1].as_str()?.parse().ok()?));
    let one = |r: &Value| {
        let many: Vec<(f64, f64)> = r["values"].as_array().into_iter().flatten().filter_map(pair).collect();
        (r["metric"].clone(), if many.is_empty() { pair(&r["value"]).into_iter().collect() } else { many })
    };
    Ok(answer["data"]["result"].as_array().context("a result")?.iter().map(one).collect())
}

/// mosquitto, nothing persisted.
pub struct Mosquitto {
    /// Its process.
    pub process: Process,
    /// `127.0.0.1:…`.
    pub address: String,
}

/// Name in the table.
pub const MOSQUITTO: &str = "mosquitto";
const MOSQUITTO_PROGRAM: &str = "/usr/sbin/mosquitto";

impl Mosquitto {
    /// Whether it is there.
    pub fn installed() -> Result<(), String> {
        installed(MOSQUITTO_PROGRAM, "mosquitto")
    }

    /// Starts it; the configuration goes to `dir`.
    pub fn start(dir: &Path) -> anyhow::Result<Self> {
        let port = free_port()?;
        let config = dir.join("mosquitto.conf");
        std::fs::write(
            &config,
            format!("listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_type none\nset_tcp_nodelay true\n"),
        )?;
        let mut command = Command::new(MOSQUITTO_PROGRAM);
        command.arg("-c").arg(config).stdout(Stdio::null()).stderr(Stdio::null());
        let mosquitto = Self { process: Process::start(&mut command)?, address: format!("127.0.0.1:{port}") };
        let until = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(&mosquitto.address).is_err() {
            ensure!(Instant::now() < until, "mosquitto does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(mosquitto)
    }
}
