//! Our server under measurement: started on free ports with a fresh directory, filled with W's stations.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anlan_sim::Credentials;
use anlan_sim::api::{Api, in_parallel};
use anlan_sim::workload::{COUNTIES, Workload, station_code};
use anyhow::Context as _;
use serde_json::{Value, json};

use crate::process::Process;

/// Clients that provision at the same time.
const CLIENTS: usize = 16;
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
    /// Where nodes below connect; empty unless `link.listen` is set.
    pub link: String,
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
        let mut node =
            Self { process, http: text("http"), mqtt: text("mqtt"), jt808: text("jt808_tcp"), link: text("link"), token: String::new() };
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

/// Makes W's stations with their points and limits over the API, as an integrator does.
///
/// A county's stations belong to one operator, whose gateway speaks for all of them: a batch of thousands of samples needs one credential.
pub fn provision(node: &Node, workload: &Workload) -> anyhow::Result<City> {
    let api = node.api()?;
    let (mut owners, mut gateways) = (Vec::new(), Vec::new());
    for county in COUNTIES {
        let new = json!({ "code": format!("W-{county}"), "name": format!("W {county}"), "region": county, "sector": "hazchem" });
        let owner = text(&api.post("/api/v1/enterprises", &new)?["id"])?;
        gateways.push(gateway(&api, &format!("WG{county}"), &owner)?);
        owners.push(owner);
    }
    stations(&api, workload, &owners, gateways)
}

/// Makes all of W's stations of one enterprise, with one gateway that speaks for them.
pub fn provision_enterprise(node: &Node, workload: &Workload, enterprise: &str) -> anyhow::Result<City> {
    let api = node.api()?;
    let gateway = gateway(&api, "WG", enterprise)?;
    stations(&api, workload, &vec![enterprise.to_owned(); COUNTIES.len()], vec![gateway; COUNTIES.len()])
}

fn text(value: &Value) -> anyhow::Result<String> {
    value.as_str().map(str::to_owned).context("a text")
}

fn device(code: &str, owner: &str, gateway: bool) -> Value {
    json!({ "code": code, "name": code, "enterprise": owner, "protocol": "http", "gateway": gateway, "may_backfill": true })
}

fn gateway(api: &Api, code: &str, owner: &str) -> anyhow::Result<Credential> {
    let made = api.post("/api/v1/devices", &device(code, owner, true))?;
    Ok((code.to_owned(), text(&made["secret"])?))
}

/// `owners` and `gateways` by county.
fn stations(api: &Api, workload: &Workload, owners: &[String], gateways: Vec<Credential>) -> anyhow::Result<City> {
    let shape = workload.shape;
    let stations: Vec<usize> = (0..shape.stations).collect();
    let made = in_parallel(&stations, CLIENTS, |station| {
        let made = api.post("/api/v1/devices", &device(&station_code(*station), &owners[shape.county_of(*station)], false))?;
        let id = text(&made["id"])?;
        let first = station * shape.points_per_station;
        let points: Vec<Value> = (first..first + shape.points_per_station).map(|point| point_put(workload, point)).collect();
        let rows = api.put(&format!("/api/v1/devices/{id}/points"), &json!({ "points": points }))?;
        // In the order given.
        let ids = rows["points"].as_array().context("points")?.iter().map(|row| text(&row["id"])).collect::<anyhow::Result<Vec<_>>>()?;
        anyhow::ensure!(ids.len() == points.len(), "{} of {} points were made", ids.len(), points.len());
        anyhow::Ok((id, ids))
    })?;
    let (devices, points): (Vec<_>, Vec<_>) = made.into_iter().unzip();
    Ok(City { gateways, devices, points: points.concat() })
}

/// No period: a catch-up hour must not end in 100,000 alarms of silence.
fn point_put(workload: &Workload, point: usize) -> Value {
    let kind = workload.kind(point);
    let (hh, h, deadband) = workload.limits(point);
    json!({
        "code": workload.code(point), "name": format!("{} {point}", kind.name), "unit": kind.unit, "kind": kind.name,
        "limits": { "hh": hh, "h": h, "deadband": deadband },
        "limits_source": { "document": "workload W (invented)", "clause": "generator" },
    })
}
