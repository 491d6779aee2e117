//! What devices and browsers do wrong, and that the others never notice: wrong clocks, disorder, repeats, replays, floods, stalls, take-overs.
//!
//! Every refusal is looked for where people look: on the wire, in the API, in the metrics. Start anywhere; the tests stand alone.

mod common;
#[path = "common/jt808.rs"]
mod jt808;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Mqtt, Server, now_us, rfc3339};
use jt808::{Position, Terminal};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Message, WebSocket};

const SECOND: i64 = 1_000_000;
const EIGHT_HOURS: i64 = 8 * 3_600 * SECOND;

fn flags(reading: &Value) -> Vec<&str> {
    reading["flags"].as_array().expect("flags").iter().filter_map(Value::as_str).collect()
}

fn values(readings: &[Value]) -> Vec<f64> {
    readings.iter().map(|r| r["value"].as_f64().expect("a value")).collect()
}

fn events(server: &Server, kind: &str) -> Vec<Value> {
    server.get(&format!("/api/v1/events?kind={kind}"))["events"].as_array().expect("events").clone()
}

/// A device whose points alarm above 25.
fn guarded(server: &Server, code: &str, points: &[&str]) -> (String, String) {
    let enterprise = server.enterprise(&format!("E-{code}"));
    let (device, secret) = server.device(code, Some(&enterprise));
    let points: Vec<Value> = points
        .iter()
        .map(|p| json!({ "code": p, "name": p, "unit": "%LEL", "period_s": 5, "limits": { "h": 25, "deadband": 1 }, "limits_source": { "document": "test" } }))
        .collect();
    let (status, body) = server.put(&format!("/api/v1/devices/{device}/points"), &json!({ "points": points }));
    assert_eq!(status, 200, "{body}");
    (device, secret)
}

fn point_id(server: &Server, device: &str, code: &str) -> String {
    let points = server.get(&format!("/api/v1/points?device={device}&limit=1000"));
    let point = points["points"].as_array().unwrap().iter().find(|p| p["code"] == code).expect("the point");
    point["id"].as_str().unwrap().to_owned()
}

fn alarms_of(server: &Server, point: &str) -> Vec<Value> {
    server.get(&format!("/api/v1/alarms?point={point}"))["alarms"].as_array().unwrap().clone()
}

#[test]
fn a_clock_that_is_ahead_for_good_is_marked_and_its_readings_stay_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let (device, secret) = server.device("FAST-1", None);
    let mut mqtt = Mqtt::connect(&server.mqtt, "FAST-1", &secret).unwrap();
    let t0 = now_us();
    for k in 0..5 {
        mqtt.publish("FAST-1", &json!({ "at": rfc3339(t0 + EIGHT_HOURS + k * SECOND), "values": { "V": k } })).unwrap();
    }
    // The same message again, as after a lost acknowledgement.
    mqtt.publish("FAST-1", &json!({ "at": rfc3339(t0 + EIGHT_HOURS + 4 * SECOND), "values": { "V": 4 } })).unwrap();
    let readings = server.readings(&device, "V");
    assert_eq!(values(&readings), [0.0, 1.0, 2.0, 3.0, 4.0], "{readings:?}");
    for reading in &readings {
        assert_eq!(flags(reading), ["clock_bad"]);
        assert_eq!(reading["at"], reading["received_at"], "it happened when we heard of it");
    }
    // Values without a time in one message: each is kept.
    let untimed: Vec<Value> = (0..4).map(|k| json!({ "values": { "U": k } })).collect();
    mqtt.publish("FAST-1", &Value::from(untimed)).unwrap();
    assert_eq!(values(&server.readings(&device, "U")), [0.0, 1.0, 2.0, 3.0]);
    // Two minutes ahead is the most that is believed.
    mqtt.publish("FAST-1", &json!({ "at": rfc3339(now_us() + 60 * SECOND), "values": { "W": 1 } })).unwrap();
    assert!(flags(&server.readings(&device, "W")[0]).is_empty());
    let offsets = server.wait("the event", |s| Some(events(s, "clock_offset")).filter(|e| !e.is_empty()));
    assert_eq!(offsets.len(), 1, "told once, not per reading: {offsets:?}");
    assert_eq!(offsets[0]["subject"], "FAST-1");
    let offset_s = offsets[0]["detail"]["offset_s"].as_f64().unwrap();
    assert!((28_790.0..=28_801.0).contains(&offset_s), "{offset_s}");
}

#[test]
fn one_frame_eight_hours_ahead_hides_neither_the_next_reading_nor_its_alarm() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[("ANLAN_JT808__UNKNOWN", "accept")]);
    let (device, secret) = guarded(&server, "TANK-1", &["LEL"]);
    let point = point_id(&server, &device, "LEL");
    let mut mqtt = Mqtt::connect(&server.mqtt, "TANK-1", &secret).unwrap();
    mqtt.publish("TANK-1", &json!({ "at": rfc3339(now_us()), "values": { "LEL": 5.0 } })).unwrap();
    mqtt.publish("TANK-1", &json!({ "at": rfc3339(now_us() + EIGHT_HOURS), "values": { "LEL": 6.0 } })).unwrap();
    let at = rfc3339(now_us());
    mqtt.publish("TANK-1", &json!({ "at": at, "values": { "LEL": 60.0 } })).unwrap();
    let acknowledged = Instant::now();
    let latest = server.get(&format!("/api/v1/points/{point}"))["latest"].clone();
    assert_eq!((latest["at"].as_str(), latest["value"].as_f64()), (Some(&*at), Some(60.0)), "the true reading is the latest");
    let alarm = server.wait("the alarm", |s| alarms_of(s, &point).into_iter().next());
    let reading_ms = acknowledged.elapsed().as_millis();
    assert_eq!((alarm["onset_at"].as_str(), alarm["historic"].as_bool()), (Some(&*at), Some(false)), "{alarm}");

    // The same on a vehicle: then its emergency button.
    let mut terminal = Terminal::connect(&server.jt808);
    let now = now_us() / SECOND * SECOND;
    assert_eq!(terminal.ask(0x0200, "13800000001", &Position::at(now + EIGHT_HOURS).bytes()).unwrap().result, 0);
    // Terminals count whole seconds: the next one is the first that lies behind the frame just heard.
    let truth = Position { alarm: 1, lat_e6: 24_360_000, ..Position::at(now + 2 * SECOND) };
    assert_eq!(terminal.ask(0x0200, "13800000001", &truth.bytes()).unwrap().result, 0);
    let acknowledged = Instant::now();
    let vehicle = server.get("/api/v1/vehicles?phone=13800000001")["vehicles"][0].clone();
    assert_eq!((vehicle["latest"]["lat"].as_f64(), flags(&vehicle["latest"]).len()), (Some(24.36), 0), "{vehicle}");
    let path = format!("/api/v1/alarms?vehicle={}", vehicle["id"].as_str().unwrap());
    let alarm = server.wait("the emergency", |s| s.get(&path)["alarms"].as_array().unwrap().first().cloned());
    let vehicle_ms = acknowledged.elapsed().as_millis();
    assert_eq!((alarm["level"].as_str(), alarm["historic"].as_bool()), (Some("red"), Some(false)), "{alarm}");
    println!(
        "figure: clock 8 h fast on one frame: the next reading is latest; alarm seen {reading_ms} ms (point) and {vehicle_ms} ms (vehicle) after its acknowledgement"
    );
}

#[test]
fn disorder_repeats_and_replays_are_sorted_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path(), &[]);
    let (device, secret) = server.device("D-1", None);
    let t0 = now_us() - 60 * SECOND;
    let message = |k: i64, value: f64| json!({ "at": rfc3339(t0 + k * SECOND), "values": { "V": value } });
    let recording = [message(0, 0.0), message(3, 3.0), message(1, 1.0), message(2, 2.0), message(3, 3.0), message(1, 1.0)];
    let send = |server: &Server| {
        let mut mqtt = Mqtt::connect(&server.mqtt, "D-1", &secret).unwrap();
        for payload in &recording {
            mqtt.publish("D-1", payload).unwrap();
        }
    };
    send(&server);
    let readings = server.readings(&device, "V");
    assert_eq!(values(&readings), [0.0, 1.0, 2.0, 3.0], "in the order in which they happened, each once");
    assert_eq!(readings.iter().map(flags).collect::<Vec<_>>(), [vec![], vec!["late"], vec!["late"], vec![]]);

    // The whole recording again, before and after a kill.
    send(&server);
    server.kill_and_restart();
    send(&server);
    assert_eq!(server.readings(&device, "V"), readings, "a replay changes nothing");

    // Another value for an instant that is kept: a revision, and the newest is shown.
    Mqtt::connect(&server.mqtt, "D-1", &secret).unwrap().publish("D-1", &message(2, 2.5)).unwrap();
    let revised = &server.readings(&device, "V")[2];
    assert_eq!((revised["value"].as_f64(), revised["revision"].as_u64()), (Some(2.5), Some(1)), "{revised}");
    assert!(flags(revised).contains(&"revised"), "{revised}");
}

#[test]
fn a_second_connection_with_the_same_phone_closes_the_first_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[("ANLAN_JT808__UNKNOWN", "accept")]);
    let now = now_us() / SECOND * SECOND;
    let mut first = Terminal::connect(&server.jt808);
    assert_eq!(first.ask(0x0200, "13800000002", &Position::at(now - 10 * SECOND).bytes()).unwrap().result, 0);
    let mut other = Terminal::connect(&server.jt808);
    assert_eq!(other.ask(0x0200, "13800000003", &Position::at(now).bytes()).unwrap().result, 0);
    let mut second = Terminal::connect(&server.jt808);
    assert_eq!(second.ask(0x0200, "13800000002", &Position::at(now).bytes()).unwrap().result, 0);
    assert!(first.is_closed(Duration::from_secs(20)), "the first connection is closed");
    let taken = server.wait("the event", |s| Some(events(s, "taken_over")).filter(|e| !e.is_empty()));
    assert_eq!(taken.len(), 1, "{taken:?}");
    assert_eq!(taken[0]["subject"], "13800000002");
    for (terminal, phone) in [(&mut second, "13800000002"), (&mut other, "13800000003")] {
        assert_eq!(terminal.ask(0x0200, phone, &Position::at(now + SECOND).bytes()).unwrap().result, 0, "{phone} goes on");
    }
    let id = server.get("/api/v1/vehicles?phone=13800000002")["vehicles"][0]["id"].as_str().unwrap().to_owned();
    let kept = server.get(&format!("/api/v1/vehicles/{id}/positions"))["positions"].as_array().unwrap().len();
    assert_eq!(kept, 3, "what both said is kept");
}

#[test]
fn a_flood_from_one_device_does_not_slow_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let (_, flood_secret) = server.device("FLOOD", None);
    let (device, secret) = server.device("CALM", None);
    let (stop, n_sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let flood = {
        let (address, stop, n_sent) = (server.mqtt.clone(), stop.clone(), n_sent.clone());
        std::thread::spawn(move || {
            // It never reads an acknowledgement, sends as fast as the socket takes it, and comes back when thrown out.
            while !stop.load(Ordering::Relaxed) {
                let Ok(mut mqtt) = Mqtt::connect(&address, "FLOOD", &flood_secret) else { continue };
                while !stop.load(Ordering::Relaxed) {
                    let n = n_sent.fetch_add(1, Ordering::Relaxed);
                    if mqtt.send("anlan/v1/FLOOD/telemetry", &format!(r#"{{"values":{{"V":{n}}}}}"#)).is_err() {
                        break;
                    }
                }
            }
        })
    };
    server.wait("the flood", |_| (n_sent.load(Ordering::Relaxed) > 5_000).then_some(()));
    let mut mqtt = Mqtt::connect(&server.mqtt, "CALM", &secret).unwrap();
    let (t0, mut slowest) = (now_us(), Duration::ZERO);
    for k in 0..50 {
        let began = Instant::now();
        mqtt.publish("CALM", &json!({ "at": rfc3339(t0 + k * 1_000), "values": { "V": k } })).unwrap();
        slowest = slowest.max(began.elapsed());
    }
    assert_eq!(server.readings(&device, "V").len(), 50);
    println!(
        "figure: flood: {} messages pushed by one device; 50 readings of another acknowledged, the slowest in {} ms",
        n_sent.load(Ordering::Relaxed),
        slowest.as_millis()
    );
    stop.store(true, Ordering::Relaxed);
    // Its last write ends with the server, at the latest.
    drop(server);
    flood.join().unwrap();
}

#[test]
fn what_cannot_be_read_is_kept_for_a_person_counted_and_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let (device, secret) = server.device("ODD-1", None);
    let mut mqtt = Mqtt::connect(&server.mqtt, "ODD-1", &secret).unwrap();
    let mut quarantined = BTreeSet::new();
    for payload in [
        "not json at all",
        r#"{"at":"yesterday","values":{"V":1}}"#,
        r#"{"values":[1,2]}"#,
        r#"{"at":"2024-01-01T00:00:00Z","values":{"V":"#,
    ] {
        let id = mqtt.send("anlan/v1/ODD-1/telemetry", payload).unwrap();
        assert_eq!(mqtt.acknowledged().unwrap(), id, "3.1.1 has no other word: {payload}");
        let hex: String = payload.bytes().take(64).map(|b| format!("{b:02x}")).collect();
        quarantined.insert(hex);
    }
    let entries = server.wait("the quarantine", |s| {
        let entries = s.get("/api/v1/quarantine")["entries"].as_array().unwrap().clone();
        (entries.len() >= quarantined.len()).then_some(entries)
    });
    for entry in &entries {
        assert_eq!((entry["source"].as_str(), entry["protocol"].as_str()), (Some("ODD-1"), Some("mqtt")), "{entry}");
        assert!(!entry["reason"].as_str().unwrap().is_empty());
        assert!(quarantined.remove(entry["preview_hex"].as_str().unwrap()), "{entry}");
    }
    assert!(quarantined.is_empty(), "not kept: {quarantined:?}");

    // A topic of somebody else: 3.1.1 can only be closed.
    mqtt.send("anlan/v1/OTHER/telemetry", "{}").unwrap();
    assert!(mqtt.acknowledged().is_err());
    // Bytes that are no MQTT, a packet that never ends, one that is too large.
    let mut huge = vec![0x32, 0xff, 0xff, 0xff, 0x7f];
    huge.resize(2 << 20, 0);
    for bytes in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![0x10, 0xff, 0xff, 0xff, 0xff, 0xff], huge] {
        let mut stream = TcpStream::connect(&server.mqtt).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = stream.write_all(&bytes);
        // Closed or reset; an answer would be a CONNACK.
        let mut answer = [0; 1];
        assert!(!matches!(stream.read(&mut answer), Ok(n) if n > 0), "answered {answer:?}");
    }
    let (_, metrics) = server.try_get("/metrics");
    let metrics = metrics.as_str().unwrap();
    for reason in ["unreadable", "topic"] {
        let line =
            metrics.lines().find(|l| l.starts_with("ingest_refused_total{") && l.contains("mqtt") && l.contains(&format!("\"{reason}\"")));
        assert!(line.is_some(), "{reason} is not counted:\n{metrics}");
    }
    // The device itself is fine.
    let mut mqtt = Mqtt::connect(&server.mqtt, "ODD-1", &secret).unwrap();
    mqtt.publish("ODD-1", &json!({ "values": { "V": 7 } })).unwrap();
    assert_eq!(values(&server.readings(&device, "V")), [7.0]);
}

/// A page's live stream.
struct Live(WebSocket<TcpStream>);

impl Live {
    /// Connects and asks for topics. `receive_buffer` (bytes) makes the socket of a browser that soon stalls small.
    fn open(server: &Server, topics: &[String], resume: Option<&str>, receive_buffer: Option<u32>) -> Self {
        let address: std::net::SocketAddr = server.http.trim_start_matches("http://").parse().unwrap();
        let stream = match receive_buffer {
            None => TcpStream::connect(address).unwrap(),
            Some(bytes) => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
                let stream = runtime.block_on(async {
                    let socket = tokio::net::TcpSocket::new_v4().unwrap();
                    socket.set_recv_buffer_size(bytes).unwrap();
                    socket.connect(address).await.unwrap()
                });
                let stream = stream.into_std().unwrap();
                stream.set_nonblocking(false).unwrap();
                stream
            }
        };
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut request = format!("ws://{address}/api/v1/live").into_client_request().unwrap();
        request.headers_mut().insert("Authorization", format!("Bearer {}", server.token()).parse().unwrap());
        let (mut socket, _) = tokio_tungstenite::tungstenite::client(request, stream).expect("a WebSocket");
        socket.send(Message::text(json!({ "topics": topics, "resume": resume }).to_string())).unwrap();
        Self(socket)
    }

    /// The next message.
    fn next(&mut self) -> Value {
        loop {
            match self.0.read().expect("the stream goes on") {
                Message::Text(text) => return serde_json::from_str(text.as_str()).unwrap(),
                Message::Close(frame) => panic!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// Reads on until `found`; the token of that message.
    fn until(&mut self, mut found: impl FnMut(&Value) -> bool) -> String {
        loop {
            let message = self.next();
            if found(&message) {
                return message["token"].as_str().expect("a token").to_owned();
            }
        }
    }
}

#[test]
fn after_a_reconnect_no_alarm_is_missed_or_shown_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path(), &[]);
    let codes = ["P-1", "P-2", "P-3", "P-4", "P-5"];
    let (device, secret) = guarded(&server, "TANK-1", &codes);
    let points: BTreeMap<&str, String> = codes.iter().map(|c| (*c, point_id(&server, &device, c))).collect();
    server.become_duty_officer();
    let mut mqtt = Mqtt::connect(&server.mqtt, "TANK-1", &secret).unwrap();
    let mut breach = |code: &str| {
        mqtt.publish("TANK-1", &json!({ "at": rfc3339(now_us()), "values": { code: 60.0 } })).unwrap();
        server.wait("the alarm", |s| alarms_of(s, &points[code]).first().cloned())["id"].as_str().unwrap().to_owned()
    };
    // An alarm before the first connection is not news.
    breach("P-1");
    let topics = ["alarms".to_owned(), format!("points:{}", points["P-1"])];
    let mut shown: Vec<(String, String)> = Vec::new();
    let mut note = |message: &Value| {
        let changed: Vec<_> = message["data"].as_array().filter(|_| message["topic"] == "alarms").into_iter().flatten().collect();
        shown.extend(changed.iter().map(|a| (a["id"].as_str().unwrap().to_owned(), a["state"].as_str().unwrap().to_owned())));
        changed.len()
    };
    let mut live = Live::open(&server, &topics, None, None);
    // The newest value comes at once; with it we know that the stream is listening.
    live.until(|m| m["topic"] == topics[1].as_str());
    let second = breach("P-2");
    let token = live.until(|m| note(m) > 0);
    drop(live);

    // The link is down: two alarms, and somebody acknowledges the one we have seen.
    let (third, fourth) = (breach("P-3"), breach("P-4"));
    let (status, _) = server.post(&format!("/api/v1/alarms/{second}/acknowledge"), &json!({ "note": "" }));
    assert_eq!(status, 200);
    let mut live = Live::open(&server, &topics, Some(&token), None);
    let mut n_seen = 0;
    live.until(|m| {
        n_seen += note(m);
        n_seen >= 3
    });
    let fifth = breach("P-5");
    live.until(|m| note(m) > 0);
    // Until the next sign of life nothing more comes.
    live.until(|m| {
        note(m);
        m["event"] == "ping"
    });
    let mut want: Vec<(String, String)> = [&second, &third, &fourth, &fifth].map(|id| (id.clone(), "raised".to_owned())).to_vec();
    want.push((second, "acknowledged".to_owned()));
    want.sort();
    shown.sort();
    assert_eq!(shown, want, "each change once");

    // A token from somewhere else: take a snapshot, then go on.
    let mut live = Live::open(&server, &topics, Some("0-1"), None);
    assert_eq!(live.next()["event"], "snapshot");
    println!("figure: live: cut and resumed by token: 5 alarm changes, missed 0, doubled 0");
}

#[test]
fn a_browser_that_stops_reading_is_cut_and_the_others_go_on() {
    const N_POINTS: usize = 300;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let (device, secret) = server.device("WIDE", None);
    let mut mqtt = Mqtt::connect(&server.mqtt, "WIDE", &secret).unwrap();
    let mut publish = |k: i64| {
        let values: serde_json::Map<String, Value> = (0..N_POINTS).map(|i| (format!("V{i:03}"), json!(k * 1_000 + i as i64))).collect();
        mqtt.publish("WIDE", &json!({ "at": rfc3339(now_us()), "values": values })).unwrap();
    };
    publish(0);
    let listed = server.get(&format!("/api/v1/points?device={device}&limit=1000"));
    let ids: Vec<&str> = listed["points"].as_array().unwrap().iter().map(|p| p["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), N_POINTS);
    // Each rotation is a topic of its own, so that one round is large and the socket's buffers are soon full.
    let topics: Vec<String> = (0..40)
        .map(|n| {
            let mut ids = ids.clone();
            ids.rotate_left(n);
            format!("points:{}", ids.join(","))
        })
        .collect();
    let stalled = Live::open(&server, &topics, None, Some(4_096));
    let mut awake = Live::open(&server, &[format!("points:{}", ids[0])], None, None);
    let streams = |s: &Server| {
        let (_, text) = s.try_get("/metrics");
        let line = text.as_str().unwrap().lines().find(|l| l.starts_with("anlan_live_streams ")).map(str::to_owned);
        line.and_then(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
    };
    server.wait("both streams", |s| (streams(s) == Some(2.0)).then_some(()));
    let began = Instant::now();
    let (mut rounds, mut slowest) = (0, Duration::ZERO);
    // The server waits 20 s for a page that takes no bytes; filling the buffers comes before that.
    while streams(&server) != Some(1.0) {
        assert!(began.elapsed() < Duration::from_secs(100), "the stalled page was never cut");
        rounds += 1;
        let published = Instant::now();
        publish(rounds);
        awake.until(|m| m["data"].as_array().is_some_and(|d| d.iter().any(|r| r["value"].as_f64() == Some((rounds * 1_000) as f64))));
        slowest = slowest.max(published.elapsed());
    }
    drop(stalled);
    println!(
        "figure: stalled browser: cut after {} s; {rounds} rounds of {N_POINTS} values acknowledged and seen by the other page meanwhile, the slowest after {} ms",
        began.elapsed().as_secs(),
        slowest.as_millis()
    );
    publish(rounds + 1);
    assert_eq!(server.readings(&device, "V000").len() as i64, rounds + 2);
}

/// The value of a metric with these labels; 0 if it was never counted.
fn metric(server: &Server, line: &str) -> f64 {
    let text = server.get("/metrics");
    let text = text.as_str().expect("text");
    text.lines().find_map(|l| l.strip_prefix(line)).map_or(0.0, |value| value.trim().parse().expect("a number"))
}

#[test]
fn a_short_disk_refuses_back_fill_first_then_telemetry_and_says_come_again() {
    let free_mb = |dir: &std::path::Path| -> u64 {
        let output = std::process::Command::new("df").args(["--output=avail", "-m"]).arg(dir).output().expect("df");
        String::from_utf8(output.stdout).unwrap().lines().nth(1).expect("a line").trim().parse().expect("megabytes")
    };
    // (minimum as a multiple of what is free, back-fill is taken, live telemetry is taken)
    for (tenths, backfill_taken, live_taken) in [(5, true, true), (15, false, true), (30, false, false)] {
        let dir = tempfile::tempdir().unwrap();
        let minimum = (free_mb(dir.path()) * tenths / 10).to_string();
        let server = Server::start(dir.path(), &[("ANLAN_LIMITS__DISK_FREE_MIN_MB", &minimum)]);
        let body = json!({ "code": "GW", "name": "GW", "enterprise": null, "protocol": "http", "may_backfill": true });
        let (status, made) = server.post("/api/v1/devices", &body);
        assert_eq!(status, 201, "{made}");
        let login = format!("Bearer GW:{}", made["secret"].as_str().unwrap());
        let send = |query: &str, second: i64| {
            let at = rfc3339(now_us() - second * 1_000_000);
            let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
            let request = agent.post(format!("{}/api/v1/ingest{query}", server.http)).header("Authorization", &login);
            let answer = request.send_json(json!({ "at": at, "values": { "TI-1": 1.0 } })).expect("an answer");
            let retry = answer.headers().contains_key("retry-after");
            (answer.status().as_u16(), retry)
        };
        let wanted = |taken: bool| if taken { (204, false) } else { (429, true) };
        assert_eq!(send("?backfill=1", 100), wanted(backfill_taken), "back-fill at {tenths}/10");
        assert_eq!(send("", 1), wanted(live_taken), "live at {tenths}/10");
        let shed = |class: &str| metric(&server, &format!("anlan_shed_total{{class=\"{class}\",cause=\"disk\"}}"));
        assert_eq!(shed("backfill") > 0.0, !backfill_taken);
        assert_eq!(shed("plain") > 0.0, !live_taken);
    }
}

#[test]
fn one_address_has_a_bounded_number_of_http_connections_and_gets_them_back() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[("ANLAN_LIMITS__MAX_HTTP_CONNECTIONS_PER_IP", "8")]);
    let address = server.http.trim_start_matches("http://").to_owned();
    let open = || {
        let stream = std::net::TcpStream::connect(&address).expect("connect");
        stream.set_read_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
        stream
    };
    let mut silent: Vec<_> = (0..12).map(|_| open()).collect();
    // One that has no place is closed; one that has is left waiting for our request.
    let n_closed = silent.iter_mut().map(|s| usize::from(matches!(s.read(&mut [0; 1]), Ok(0)))).sum::<usize>();
    assert!((4..12).contains(&n_closed), "{n_closed}");
    drop(silent);
    assert_eq!(server.wait("a place", |s| s.try_get("/api/v1/status").0.eq(&200).then_some(200)), 200);
    assert_eq!(metric(&server, "anlan_http_refused_total{reason=\"connections\"}"), n_closed as f64);
}

#[test]
fn a_position_over_udp_is_kept_and_answered() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[("ANLAN_JT808__UDP_LISTEN", "127.0.0.1:0"), ("ANLAN_JT808__UNKNOWN", "accept")]);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.ready["jt808_udp"].as_str().expect("a UDP socket")).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let position = jt808::Position::at(now_us() / 1_000_000 * 1_000_000);
    socket.send(&jt808::frame(0x0200, "13800000099", 7, &position.bytes())).unwrap();
    let mut buffer = [0; 2048];
    let n = socket.recv(&mut buffer).expect("an answer");
    let answer = jt808::cut(&buffer[..n]).remove(0);
    assert_eq!((answer.message_id, answer.body.as_slice()), (0x8001, &[0, 7, 2, 0, 0][..]));
    let id = server.get("/api/v1/vehicles?phone=13800000099")["vehicles"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(server.get(&format!("/api/v1/vehicles/{id}/positions"))["positions"].as_array().unwrap().len(), 1);
}
