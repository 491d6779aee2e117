//! Section `steady`: W as it arrives, 10,000 readings a second. What the node takes for it, and how long a reading and its alarm take to a browser.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anlan_model::Timestamp;
use anlan_sim::terminals::Spread;
use anlan_sim::workload::{COUNTIES, Shape, Workload};
use anyhow::{Context as _, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::node::{City, Node, provision};
use crate::report::{Goal, Line};
use crate::wave::Connection;
use crate::{Options, fresh_dir, mqtt, now_ms};

/// How long CPU is measured, undisturbed.
const STEADY: Duration = Duration::from_secs(60);
/// Values sent to be seen again; every second one is above its limit.
const PROBES: u32 = 300;
/// Between probes.
const PROBE_EVERY: Duration = Duration::from_millis(100);

/// Sends each second what is due in it until told to stop; how late the latest request began, ms.
pub fn stream(node_http: &str, city: &City, mut workload: Workload, stop: &AtomicBool) -> anyhow::Result<f64> {
    let shape = workload.shape;
    let mut connections = [Connection::open(node_http)?, Connection::open(node_http)?];
    let authorization: Vec<String> = city.gateways.iter().map(|(code, secret)| format!("Token {code}:{secret}")).collect();
    let (begun, mut latest_ms, mut second) = (Instant::now(), 0f64, 0u64);
    let mut seconds: Vec<Vec<anlan_sim::workload::Sample>> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let in_period = (second % (shape.period_ms as u64 / 1_000)) as usize;
        if in_period == 0 {
            let mut samples = Vec::with_capacity(shape.points());
            // A reading is sent in the second after it was taken.
            workload.step(now_ms()? - 1_000, &mut samples);
            seconds = vec![Vec::new(); shape.period_ms as usize / 1_000];
            for s in samples {
                seconds[workload.phase_ms(s.point as usize) as usize / 1_000].push(s);
            }
        }
        let county = |s: &anlan_sim::workload::Sample| shape.county_of(s.point as usize / shape.points_per_station);
        let mut bodies = vec![Vec::new(); COUNTIES.len()];
        seconds[in_period].iter().for_each(|s| workload.write_line(s, &mut bodies[county(s)]));
        let due = begun + Duration::from_secs(second);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        latest_ms = latest_ms.max(due.elapsed().as_secs_f64() * 1e3);
        for (county, body) in bodies.iter().enumerate().filter(|(_, body)| !body.is_empty()) {
            // Ninths of the second: a city does not speak on the stroke.
            let at = due + Duration::from_millis(1_000 * county as u64 / COUNTIES.len() as u64);
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            let (status, answer) = connections[county % 2].post("/api/v2/write?precision=ms", &authorization[county], body)?;
            ensure!(status == 204, "steady: {status} {answer}");
        }
        second += 1;
    }
    Ok(latest_ms)
}

/// When each probe left, by its value in thousandths.
type Sent = Arc<Mutex<HashMap<i64, Instant>>>;

/// A value in thousandths.
pub fn key(value: f64) -> i64 {
    (value * 1e3).round() as i64
}

async fn probe(node: &Node, point: &str, credential: &mqtt::Credential) -> anyhow::Result<(Spread, Spread)> {
    let mut request = format!("{}/api/v1/live", node.http.replacen("http", "ws", 1)).into_client_request()?;
    request.headers_mut().insert("authorization", format!("Bearer {}", node.token).parse()?);
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await?;
    let hello = json!({ "topics": ["alarms", format!("points:{point}")], "resume": null });
    socket.send(Message::text(hello.to_string())).await?;
    let sent: Sent = Arc::default();
    let times = sent.clone();
    let hear = tokio::spawn(async move {
        let (mut readings, mut alarms) = (HashMap::new(), HashMap::new());
        while let Ok(Some(Ok(message))) = tokio::time::timeout(Duration::from_secs(5), socket.next()).await {
            let heard = Instant::now();
            let Message::Text(text) = message else { continue };
            let Ok(value) = serde_json::from_str::<Value>(&text) else { continue };
            if value["event"] == "ping" {
                continue;
            }
            let is_alarm = value["topic"] == "alarms";
            let sent = times.lock().unwrap_or_else(PoisonError::into_inner);
            for row in value["data"].as_array().into_iter().flatten() {
                let Some(at) = row["value"].as_f64().and_then(|v| sent.get(&key(v)).map(|at| (key(v), *at))) else { continue };
                // The first time counts: an alarm is told again when it returns.
                let times = if is_alarm { &mut alarms } else { &mut readings };
                times.entry(at.0).or_insert((heard - at.1).as_secs_f32() * 1e3);
            }
        }
        (Spread::of(readings.into_values().collect()), Spread::of(alarms.into_values().collect()))
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut publisher = mqtt::connect(&node.mqtt, credential).await?;
    let mut tick = tokio::time::interval(PROBE_EVERY);
    for n in 0..PROBES {
        tick.tick().await;
        let value = f64::from(n) * 0.001 + if n % 2 == 1 { 150.0 } else { 50.0 };
        let at = Timestamp::from_micros(now_ms()? * 1_000);
        sent.lock().unwrap_or_else(PoisonError::into_inner).insert(key(value), Instant::now());
        let payload = json!({ "at": at.to_string(), "values": { "PROBE": value } }).to_string();
        mqtt::publish_one(&mut publisher, &credential.0, (n + 1) as u16, &payload).await?;
    }
    // Five seconds without a message beside the pings end the listening.
    tokio::time::timeout(Duration::from_secs(60), hear).await.context("the stream falls silent")?.map_err(Into::into)
}

/// Steady state, then probes on top of it.
pub fn run(options: &Options, emit: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let dir = fresh_dir()?;
    let workload = Workload::new(options.seed, Shape::W1);
    let node = Node::start(&options.anlan, dir.path(), &[])?;
    let city = provision(&node, &workload)?;
    let credential = node.device("PROBE")?;
    let api = node.api()?;
    let devices = api.list("/api/v1/devices?limit=1000&q=PROBE", "devices")?;
    let device = devices.iter().find(|d| d["code"] == "PROBE").and_then(|d| d["id"].as_str()).context("the probe's device")?.to_owned();
    let point = json!({ "points": [{
        "code": "PROBE", "name": "PROBE", "unit": "°C", "kind": "temperature", "limits": { "h": 100.0 },
        "limits_source": { "document": "bench (invented)", "clause": "probe" },
    }] });
    let made = api.put(&format!("/api/v1/devices/{device}/points"), &point)?;
    let point = made["points"][0]["id"].as_str().context("the probe's point")?.to_owned();
    let stop = AtomicBool::new(false);
    let address = node.http.trim_start_matches("http://").to_owned();
    std::thread::scope(|scope| {
        let streaming = scope.spawn(|| stream(&address, &city, workload, &stop));
        let measured = (|| {
            // One period to make everything warm.
            std::thread::sleep(Duration::from_secs(12));
            let (cpu, begun) = (node.process.cpu_s()?, Instant::now());
            std::thread::sleep(STEADY);
            let share = (node.process.cpu_s()? - cpu) / begun.elapsed().as_secs_f64();
            let rss = crate::process::rss(node.process.pid())? as f64 / 1_048_576.0;
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
            anyhow::Ok((share, rss, runtime.block_on(probe(&node, &point, &credential))?))
        })();
        stop.store(true, Ordering::Relaxed);
        let late = streaming.join().map_err(|_| anyhow::anyhow!("the stream panicked"))??;
        let (share, rss, (readings, alarms)) = measured?;
        emit(
            Line::new("steady.cpu_share", share * 100.0, "% of a core")
                .goal(Goal::AtMost(0.5))
                .note(format!("whole process, HTTP included; {rss:.0} MB resident; requests began up to {late:.0} ms late")),
        );
        emit(
            Line::new("live.reading_to_browser_p99", readings.p99, "ms")
                .goal(Goal::AtMost(150.0))
                .note(format!("median {:.0} ms of {}", readings.p50, readings.n)),
        );
        ensure!(alarms.n > 0, "no probe's alarm was heard");
        emit(
            Line::new("live.alarm_to_browser_p99", alarms.p99, "ms")
                .goal(Goal::AtMost(150.0))
                .note(format!("median {:.0} ms of {}; rules wait a moment for readings that overtook each other", alarms.p50, alarms.n)),
        );
        Ok(())
    })
}
