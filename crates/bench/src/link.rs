//! Sections `link_backlog` and `link_levels`: what a node takes to send its parent what waited, how fast an alarm climbs, and what a gateway holds.
//!
//! Real nodes, paired over their API as people do it. Start at [`backlog`] and [`levels`]; [`crate::children`] is the parent of many.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anlan_model::Timestamp;
use anlan_sim::api::Api;
use anlan_sim::terminals::Spread;
use anlan_sim::workload::{Shape, Workload};
use anyhow::{Context as _, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::live::{key, stream};
use crate::node::{Credential, Node, provision_enterprise};
use crate::process::{peak_rss, rss};
use crate::report::{Goal, Line};
use crate::wave::{Target, send};
use crate::{Options, fresh_dir, mqtt, now_ms};

const MB: f64 = 1_048_576.0;
/// An enterprise of a thousand points at 10 s.
const ENTERPRISE: Shape = Shape { stations: 10, ..Shape::W1 };
/// The same at a second.
const ENTERPRISE_FAST: Shape = Shape { period_ms: 1_000, ..ENTERPRISE };
/// Its code, by which both levels know it.
const CODE: &str = "91530402MA6K000001";
/// A backlog is over when nothing of it has come for so long.
const STILL: Duration = Duration::from_secs(3);
/// Share of a core below which a node has nothing to do.
const IDLE: f64 = 0.05;
/// How long a gateway is at rest, and then under load, before its memory is read.
const REST: Duration = Duration::from_secs(15);
const LOAD: Duration = Duration::from_secs(60);
/// Alarms that climb, and the time between them.
const ALARMS: usize = 250;
const ALARM_EVERY: Duration = Duration::from_millis(100);

/// Waits until something is so.
pub fn wait(what: &str, most: Duration, mut is_so: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let until = Instant::now() + most;
    while !is_so()? {
        ensure!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// Starts a node of a level that others may join.
pub fn node(options: &Options, data: &Path, level: &str, region: &str) -> anyhow::Result<Node> {
    let settings = [("ANLAN_NODE__LEVEL", level), ("ANLAN_NODE__NAME", level), ("ANLAN_NODE__REGION", region)];
    let listens = ("ANLAN_LINK__LISTEN", "127.0.0.1:0");
    match level {
        "enterprise" => Node::start(&options.anlan, data, &settings),
        _ => Node::start(&options.anlan, data, &[&settings[..], &[listens]].concat()),
    }
}

/// Joins a node to a parent that is reached at `address`, with the operators of both.
fn pair(parent: &Node, child: &Node, invitation: &Value, address: &str) -> anyhow::Result<()> {
    let (above, below) = (parent.api()?, child.api()?);
    anlan_sim::join(&above, &below, invitation, address)?;
    wait("the link to stand", Duration::from_secs(30), || Ok(parent_row(&below)?.is_some_and(|row| row["connected"] == true)))
}

fn parent_row(api: &Api) -> anyhow::Result<Option<Value>> {
    let all = api.get("/api/v1/nodes")?;
    Ok(all["nodes"].as_array().and_then(|all| all.iter().find(|row| row["relation"] == "parent")).cloned())
}

/// Cuts or mends the link as a person does.
fn set_paused(api: &Api, paused: bool) -> anyhow::Result<()> {
    let row = parent_row(api)?.context("a parent")?;
    let id = row["id"].as_str().context("an id")?;
    api.put(&format!("/api/v1/nodes/{id}"), &json!({ "revision": row["revision"], "paused": paused }))?;
    Ok(())
}

/// A new enterprise; its id there.
fn enterprise(api: &Api, code: &str) -> anyhow::Result<String> {
    let new = json!({ "code": code, "name": format!("链路测量{code}"), "region": "530402", "sector": "hazchem" });
    Ok(api.post("/api/v1/enterprises", &new)?["id"].as_str().context("an id")?.to_owned())
}

/// A relay that counts the bytes a child sends, TLS and all. It is not counted itself.
struct Wire {
    address: String,
    up: Arc<AtomicU64>,
}

impl Wire {
    fn to(parent: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, up, parent) = (listener.local_addr()?.to_string(), Arc::<AtomicU64>::default(), parent.to_owned());
        let counter = up.clone();
        // Ends with the bench.
        std::thread::spawn(move || {
            for child in listener.incoming().flatten() {
                let Ok(parent) = TcpStream::connect(&parent) else { continue };
                let both = (child.try_clone(), parent.try_clone());
                let (Ok(child_too), Ok(parent_too)) = both else { continue };
                let counter = counter.clone();
                std::thread::spawn(move || pass(child, parent, Some(&counter)));
                std::thread::spawn(move || pass(parent_too, child_too, None));
            }
        });
        Ok(Self { address, up })
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, counter: Option<&AtomicU64>) {
    let _ = to.set_nodelay(true);
    let mut buffer = vec![0; 256 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        counter.inspect(|counter| _ = counter.fetch_add(n as u64, Ordering::Relaxed));
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// A counter of a node.
fn counted(node: &Node, agent: &ureq::Agent, name: &str) -> anyhow::Result<f64> {
    let text = String::from_utf8(node.get(agent, "/metrics")?)?;
    let of = |line: &str| line.strip_prefix(name)?.rsplit(' ').next()?.parse::<f64>().ok();
    Ok(text.lines().filter_map(of).sum())
}

/// How far a backlog has come.
#[derive(Clone, Copy)]
struct Come {
    at: Instant,
    readings: f64,
    sender_cpu: f64,
    receiver_cpu: f64,
    bytes: u64,
}

/// An enterprise is cut from its county, fills its log with readings of 1,000 points, and is linked again.
pub fn backlog(options: &Options, emit: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let (above, below) = (fresh_dir()?, fresh_dir()?);
    let county = node(options, above.path(), "county", "530402")?;
    let gateway = node(options, below.path(), "enterprise", "530402")?;
    let (there, here) = (enterprise(&county.api()?, CODE)?, enterprise(&gateway.api()?, CODE)?);
    let wire = Wire::to(&county.link)?;
    pair(&county, &gateway, &json!({ "name": "gateway", "level": "enterprise", "enterprise": there }), &wire.address)?;
    let mut workload = Workload::new(options.seed, ENTERPRISE);
    let city = provision_enterprise(&gateway, &workload, &here)?;
    let api = gateway.api()?;
    set_paused(&api, true)?;
    let steps = options.backlog.div_ceil(ENTERPRISE.points()) as i64;
    let target = Target {
        address: gateway.http.trim_start_matches("http://").to_owned(),
        path: "/api/v2/write?precision=ms".to_owned(),
        authorization: city.gateways.iter().map(|(code, secret)| format!("Token {code}:{secret}")).collect(),
    };
    // Records as small as a gateway writes them: some hundred readings each.
    let sent = send(&target, &mut workload, now_ms()? - steps * ENTERPRISE.period_ms, steps, 1)?;
    gateway.process.settle(IDLE, Duration::from_secs(60))?;
    county.process.settle(IDLE, Duration::from_secs(10))?;

    let agent = ureq::agent();
    let look = || -> anyhow::Result<Come> {
        Ok(Come {
            readings: counted(&county, &agent, "anlan_link_readings_kept_total")?,
            at: Instant::now(),
            sender_cpu: gateway.process.cpu_s()?,
            receiver_cpu: county.process.cpu_s()?,
            bytes: wire.up.load(Ordering::Relaxed),
        })
    };
    let begun = look()?;
    set_paused(&api, false)?;
    let mut last = begun;
    let until = Instant::now() + Duration::from_secs(600);
    while last.at.elapsed() < STILL || (last.readings - begun.readings) < 0.95 * sent.samples as f64 {
        ensure!(Instant::now() < until, "{} of {} readings came in ten minutes", last.readings - begun.readings, sent.samples);
        std::thread::sleep(Duration::from_millis(250));
        let now = look()?;
        if now.readings > last.readings {
            last = now;
        }
    }
    let readings = last.readings - begun.readings;
    let (took, bytes) = ((last.at - begun.at).as_secs_f64(), last.bytes - begun.bytes);
    let (sender, receiver) = (last.sender_cpu - begun.sender_cpu, last.receiver_cpu - begun.receiver_cpu);
    let pieces = counted(&gateway, &agent, "anlan_link_bytes_sent_total")?;
    let note = format!("{readings:.0} of {} readings in {took:.1} s: {sender:.2} CPU s of the sender, whole process", sent.samples);
    emit(Line::new("link.backlog_per_sender_core", readings / sender, "readings/core s").goal(Goal::AtLeast(200_000.0)).note(note));
    let note = format!("counted between both, TLS and everything else said included; pieces of the log alone {:.2}", pieces / readings);
    emit(Line::new("link.backlog_wire", bytes as f64 / readings, "B").goal(Goal::AtMost(3.0)).note(note));
    let note = format!("{receiver:.2} CPU s of the parent, which makes them durable; both and the bench on one machine");
    emit(Line::new("link.backlog_per_receiver_core", readings / receiver, "readings/core s").note(note));
    emit(Line::new("link.backlog_wall", readings / took, "readings/s"));
    let peaks = [peak_rss(gateway.process.pid())?, peak_rss(county.process.pid())?].map(|bytes| bytes as f64 / MB);
    emit(Line::new("link.backlog_sender_peak_rss", peaks[0], "MB").note(format!("filling included; the parent {:.0}", peaks[1])));
    Ok(())
}

/// When each alarm was first told, by its value in thousandths.
type Heard = Arc<Mutex<HashMap<i64, Instant>>>;

/// Notes the alarms that a node tells, until the runtime ends.
async fn listen(node: &Node) -> anyhow::Result<Heard> {
    let mut request = format!("{}/api/v1/live", node.http.replacen("http", "ws", 1)).into_client_request()?;
    request.headers_mut().insert("authorization", format!("Bearer {}", node.token).parse()?);
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await?;
    socket.send(Message::text(json!({ "topics": ["alarms"], "resume": null }).to_string())).await?;
    let heard = Heard::default();
    let times = heard.clone();
    tokio::spawn(async move {
        while let Some(Ok(message)) = socket.next().await {
            let now = Instant::now();
            let Message::Text(text) = message else { continue };
            let Ok(value) = serde_json::from_str::<Value>(&text) else { continue };
            let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
            for value in value["data"].as_array().into_iter().flatten().filter_map(|row| row["value"].as_f64()) {
                times.entry(key(value)).or_insert(now);
            }
        }
    });
    Ok(heard)
}

/// What the `n`th point that alarms once reads: like nothing else.
fn alarming(n: usize) -> f64 {
    5_000.0 + n as f64
}

/// A device whose points alarm once each.
fn alarm_points(node: &Node, enterprise: &str) -> anyhow::Result<Credential> {
    let api = node.api()?;
    let new = json!({ "code": "ALARMS", "name": "ALARMS", "enterprise": enterprise, "protocol": "mqtt" });
    let made = api.post("/api/v1/devices", &new)?;
    let (id, secret) = (made["id"].as_str().context("an id")?, made["secret"].as_str().context("a secret")?);
    let point = |n: usize| {
        json!({
            "code": format!("A{n:03}"), "name": format!("A{n:03}"), "unit": "°C", "kind": "temperature", "limits": { "h": 1_000.0 },
            "limits_source": { "document": "bench (invented)", "clause": "probe" },
        })
    };
    let points: Vec<Value> = (0..ALARMS).map(point).collect();
    api.put(&format!("/api/v1/devices/{id}/points"), &json!({ "points": points }))?;
    Ok(("ALARMS".to_owned(), secret.to_owned()))
}

/// When each alarm left, and when the enterprise, the county and the city told it.
async fn climb(nodes: [&Node; 3], credential: &Credential) -> anyhow::Result<(HashMap<i64, Instant>, [Heard; 3])> {
    let heard = [listen(nodes[0]).await?, listen(nodes[1]).await?, listen(nodes[2]).await?];
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut publisher = mqtt::connect(&nodes[0].mqtt, credential).await?;
    let mut sent = HashMap::new();
    let mut tick = tokio::time::interval(ALARM_EVERY);
    for n in 0..ALARMS {
        tick.tick().await;
        let (at, value) = (Timestamp::from_micros(now_ms()? * 1_000), alarming(n));
        sent.insert(key(value), Instant::now());
        let payload = json!({ "at": at.to_string(), "values": { format!("A{n:03}"): value } }).to_string();
        mqtt::publish_one(&mut publisher, &credential.0, (n + 1) as u16, &payload).await?;
    }
    let has_all = || {
        let heard = heard[2].lock().unwrap_or_else(PoisonError::into_inner);
        sent.keys().all(|key| heard.contains_key(key))
    };
    for _ in 0..150 {
        if has_all() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok((sent, heard))
}

/// City, county and enterprise: the gateway at rest, under 1,000 readings a second, and alarms that climb meanwhile.
pub fn levels(options: &Options, emit: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let dirs = [fresh_dir()?, fresh_dir()?, fresh_dir()?];
    let city = node(options, dirs[0].path(), "city", "5304")?;
    let county = node(options, dirs[1].path(), "county", "530402")?;
    let gateway = node(options, dirs[2].path(), "enterprise", "530402")?;
    let (there, here) = (enterprise(&county.api()?, CODE)?, enterprise(&gateway.api()?, CODE)?);
    pair(&city, &county, &json!({ "name": "county", "level": "county", "region": "530402" }), &city.link)?;
    pair(&county, &gateway, &json!({ "name": "gateway", "level": "enterprise", "enterprise": there }), &county.link)?;
    let workload = Workload::new(options.seed, ENTERPRISE_FAST);
    let made = provision_enterprise(&gateway, &workload, &here)?;
    let credential = alarm_points(&gateway, &here)?;
    std::thread::sleep(REST);
    let at_rest = rss(gateway.process.pid())? as f64 / MB;
    emit(Line::new("link.gateway_rss_at_rest", at_rest, "MB").goal(Goal::AtMost(128.0)).note("linked, 1,250 points, nothing measured"));

    let stop = AtomicBool::new(false);
    let address = gateway.http.trim_start_matches("http://").to_owned();
    let (sent, heard) = std::thread::scope(|scope| {
        let streaming = scope.spawn(|| stream(&address, &made, workload, &stop));
        let measured = (|| {
            std::thread::sleep(Duration::from_secs(5));
            let of_all = || anyhow::Ok([gateway.process.cpu_s()?, county.process.cpu_s()?, city.process.cpu_s()?]);
            let (cpu, begun) = (of_all()?, Instant::now());
            std::thread::sleep(LOAD);
            let seconds = begun.elapsed().as_secs_f64();
            let after = of_all()?;
            let shares: Vec<f64> = cpu.iter().zip(after).map(|(before, after)| (after - before) * 100.0 / seconds).collect();
            let pid = gateway.process.pid();
            let (now, peak) = (rss(pid)? as f64 / MB, peak_rss(pid)? as f64 / MB);
            let others = [rss(county.process.pid())?, rss(city.process.pid())?].map(|bytes| bytes as f64 / MB);
            let note = format!("peak {peak:.0}; the county {:.0}, the city {:.0}", others[0], others[1]);
            emit(Line::new("link.gateway_rss_1000_per_s", now, "MB").goal(Goal::AtMost(128.0)).note(note));
            let note = format!("judged, stored, sent on; the county takes {:.1}, the city {:.1}", shares[1], shares[2]);
            emit(Line::new("link.gateway_cpu_1000_per_s", shares[0], "% of a core").note(note));
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
            runtime.block_on(climb([&gateway, &county, &city], &credential))
        })();
        stop.store(true, Ordering::Relaxed);
        streaming.join().map_err(|_| anyhow::anyhow!("the stream panicked"))??;
        measured
    })?;
    let kept = counted(&city, &ureq::agent(), "anlan_link_readings_kept_total")?;
    let n_least = 0.9 * LOAD.as_secs_f64() * ENTERPRISE_FAST.points() as f64;
    ensure!(kept >= n_least, "the city kept {kept} readings of a minute of 1,000 a second");
    let told = |level: usize| heard[level].lock().unwrap_or_else(PoisonError::into_inner).clone();
    let between = |from: &HashMap<i64, Instant>, to: &HashMap<i64, Instant>| {
        let ms = |key: &i64| Some((*to.get(key)?).saturating_duration_since(*from.get(key)?).as_secs_f32() * 1e3);
        Spread::of(sent.keys().filter_map(ms).collect())
    };
    let (at_gateway, at_county, at_city) = (told(0), told(1), told(2));
    let (county_ms, climbing) = (between(&at_gateway, &at_county), between(&at_gateway, &at_city));
    let note = format!(
        "from the enterprise's stream to the city's, median {:.0}, worst {:.0} ms of {} of {ALARMS}; to the county's median {:.0}, p99 {:.0}; beside 1,000 readings/s",
        climbing.p50, climbing.max, climbing.n, county_ms.p50, county_ms.p99
    );
    ensure!(climbing.n * 2 > ALARMS, "the city heard {} of {ALARMS} alarms", climbing.n);
    emit(Line::new("link.alarm_to_city_p99", climbing.p99, "ms").goal(Goal::AtMost(500.0)).note(note));
    let whole = between(&sent, &at_city);
    let note = format!("from publishing at the enterprise, judging included; median {:.0}", whole.p50);
    emit(Line::new("link.reading_to_city_alarm_p99", whole.p99, "ms").note(note));
    Ok(())
}
