//! Our server under measurement: started on free ports with a fresh directory, filled with W's stations.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anlan_model::noun::{Limits, LimitsSource};
use anlan_model::{RegionCode, Scope, Timestamp};
use anlan_sim::Credentials;
use anlan_sim::api::Api;
use anlan_sim::workload::{COUNTIES, Workload, station_code};
use anlan_store::{NewDevice, NewEnterprise, PointPut, Store};
use anyhow::Context as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::process::Process;

/// Of every device of W.
const SECRET: &str = "workload";
/// Of the administrator.
pub const PASSWORD: &str = "correct horse battery";

/// A node.
pub struct Node {
    /// Its process.
    pub process: Process,
    /// `http://127.0.0.1:…`.
    pub http: String,
    /// `127.0.0.1:…`.
    pub mqtt: String,
    /// `127.0.0.1:…`.
    pub jt808: String,
    /// Session of its administrator.
    pub token: String,
}

/// A credential: code and secret.
pub type Credential = (String, String);

/// What was made of W on a node.
pub struct City {
    /// One gateway per county, in the order of [`COUNTIES`]; it speaks for the stations of its county.
    pub gateways: Vec<Credential>,
    /// Id of each station's device.
    pub devices: Vec<String>,
    /// Id of each point.
    pub points: Vec<String>,
}

impl Node {
    /// Starts the binary at `anlan` on `data` with further settings, and waits for its ready line.
    pub fn start(anlan: &Path, data: &Path, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut command = Command::new(anlan);
        command.arg("serve").arg("--data").arg(data).stdout(Stdio::piped()).env("ANLAN_LOG__FILTER", "error");
        for key in ["HTTP", "MQTT", "JT808"] {
            command.env(format!("ANLAN_{key}__LISTEN"), "127.0.0.1:0");
        }
        command.envs(settings.iter().copied());
        let mut process = Process::start(&mut command)?;
        let mut line = String::new();
        BufReader::new(process.stdout()?).read_line(&mut line)?;
        let ready: Value = serde_json::from_str(&line).with_context(|| format!("the ready line of anlan: {line:?}"))?;
        let text = |key: &str| ready[key].as_str().unwrap_or_default().to_owned();
        let mut node = Self { process, http: text("http"), mqtt: text("mqtt"), jt808: text("jt808_tcp"), token: String::new() };
        if let Some((_, token)) = ready["setup"].as_str().and_then(|link| link.split_once('#')) {
            node.sent("/api/v1/setup", &json!({ "token": token, "username": "admin", "password": PASSWORD }))?;
        }
        let session = node.sent("/api/v1/session", &json!({ "username": "admin", "password": PASSWORD }))?;
        node.token = session["token"].as_str().context("a session token")?.to_owned();
        Ok(node)
    }

    fn sent(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let mut answer = ureq::post(format!("{}{path}", self.http)).send_json(body).with_context(|| format!("POST {path}"))?;
        Ok(answer.body_mut().read_json()?)
    }

    /// Its API as administrator.
    pub fn api(&self) -> anyhow::Result<Api> {
        Ok(Api::sign_in(&self.http, &Credentials::Token(self.token.clone()))?)
    }

    /// One device of its own; its credential.
    pub fn device(&self, code: &str) -> anyhow::Result<Credential> {
        let made = self.api()?.post("/api/v1/devices", &json!({ "code": code, "name": code, "protocol": "mqtt", "may_backfill": true }))?;
        Ok((code.to_owned(), made["secret"].as_str().context("a secret")?.to_owned()))
    }

    /// `GET`, whole body.
    pub fn get(&self, agent: &ureq::Agent, path: &str) -> anyhow::Result<Vec<u8>> {
        let mut answer = agent
            .get(format!("{}{path}", self.http))
            .header("authorization", format!("Bearer {}", self.token))
            .call()
            .with_context(|| format!("GET {path}"))?;
        Ok(answer.body_mut().with_config().limit(1 << 30).read_to_vec()?)
    }
}

/// Makes W's stations with their points and limits in the database of `data`, before a node runs there: over the API, which reads its whole registry
/// anew after each request, 100,000 points take a quarter of an hour.
///
/// A county's stations belong to one operator, whose gateway speaks for all of them: a batch of thousands of samples needs one credential.
pub fn provision(data: &Path, workload: &Workload) -> anyhow::Result<City> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(fill(data, workload))
}

async fn fill(data: &Path, workload: &Workload) -> anyhow::Result<City> {
    let store = Store::open(&format!("sqlite:{}", data.join("anlan.sqlite").display())).await?;
    let (scope, now, shape) = (Scope::node(), Timestamp::from_micros(crate::now_ms()? * 1_000), workload.shape);
    let device = |code: &str, owner, gateway| NewDevice {
        code: code.to_owned(),
        name: code.to_owned(),
        enterprise: Some(owner),
        protocol: "http".to_owned(),
        gateway,
        may_backfill: true,
        secret_hash: Sha256::digest(SECRET).into(),
    };
    let (mut owners, mut gateways) = (Vec::new(), Vec::new());
    for county in COUNTIES {
        let region = RegionCode::new(county).context("a division")?;
        let new =
            NewEnterprise { code: format!("W-{county}"), name: format!("W {county}"), region, sector: "hazchem".to_owned(), place: None };
        let owner = store.create_enterprise(&scope, &new, now).await?.id;
        let code = format!("WG{county}");
        store.create_device(&scope, &device(&code, owner, true), now).await?;
        gateways.push((code, SECRET.to_owned()));
        owners.push(owner);
    }
    let (mut devices, mut points) = (Vec::new(), Vec::new());
    for station in 0..shape.stations {
        let made = store.create_device(&scope, &device(&station_code(station), owners[shape.county_of(station)], false), now).await?.id;
        let first = station * shape.points_per_station;
        let wanted: Vec<PointPut> = (first..first + shape.points_per_station).map(|point| point_put(workload, point)).collect();
        let rows = store.upsert_points(&scope, made, &wanted, now).await?;
        for want in &wanted {
            let row = rows.iter().find(|row| row.code == want.code).context("every point")?;
            points.push(row.id.to_string());
        }
        devices.push(made.to_string());
    }
    Ok(City { gateways, devices, points })
}

/// No period: a catch-up hour must not end in 100,000 alarms of silence.
fn point_put(workload: &Workload, point: usize) -> PointPut {
    let kind = workload.kind(point);
    let (hh, h, deadband) = workload.limits(point);
    PointPut {
        code: workload.code(point),
        name: format!("{} {point}", kind.name),
        unit: kind.unit.to_owned(),
        kind: kind.name.to_owned(),
        site: String::new(),
        period_s: 0.0,
        range_low: None,
        range_high: None,
        limits: Limits { hh: Some(hh), h: Some(h), deadband, ..Limits::default() },
        limits_source: Some(LimitsSource { document: "workload W (invented)".to_owned(), clause: "generator".to_owned() }),
        place: None,
    }
}
