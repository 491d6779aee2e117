//! Programs of other people deliver a reading each, unchanged: mosquitto_pub, paho-mqtt, curl, openssl, and what Telegraf sends.
//!
//! Telegraf itself is not needed: its requests are written out here as its output plugins `influxdb` and `influxdb_v2` make them
//! (chunked bodies, its headers, gzip, the same body again after a lost answer). A client that is not installed prints `skipped: 1`.

mod common;
#[path = "common/jt808.rs"]
mod jt808;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Server, now_us, rfc3339};
use serde_json::{Value, json};

fn answers(program: &str, argument: &str) -> bool {
    let found = Command::new(program).arg(argument).output().is_ok();
    if !found {
        println!("skipped: 1");
        eprintln!("{program} is not installed");
    }
    found
}

fn port(address: &str) -> &str {
    address.rsplit(':').next().expect("a port")
}

/// (instant, value) of every reading of a point.
fn kept(server: &Server, device: &str, code: &str) -> Vec<(String, f64)> {
    let readings = server.readings(device, code);
    readings.iter().map(|r| (r["at"].as_str().unwrap().to_owned(), r["value"].as_f64().unwrap())).collect()
}

#[test]
fn mosquitto_pub_delivers_and_a_wrong_password_does_not() {
    if !answers("mosquitto_pub", "--help") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let (device, secret) = server.device("MOSQ-1", None);
    let t0 = now_us();
    let publish = |version: &str, secret: &str, topic: &str, payload: &str| {
        Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", port(&server.mqtt), "-V", version, "-u", "MOSQ-1", "-P", secret, "-q", "1"])
            .args(["-t", &format!("anlan/v1/MOSQ-1/{topic}"), "-m", payload])
            .output()
            .expect("mosquitto_pub")
    };
    for (n, version) in ["mqttv311", "mqttv5"].into_iter().enumerate() {
        let at = rfc3339(t0 + n as i64 * 1_000_000);
        let output = publish(version, &secret, "telemetry", &json!({ "at": at, "values": { "PI-7": 0.1 + n as f64 } }).to_string());
        assert!(output.status.success(), "{version}: {output:?}");
        let line = format!("tank,room=a level=2.5 {}", (t0 + n as i64 * 1_000_000) * 1_000);
        assert!(publish(version, &secret, "line", &line).status.success(), "{version}");
    }
    assert_eq!(kept(&server, &device, "PI-7"), [(rfc3339(t0), 0.1), (rfc3339(t0 + 1_000_000), 1.1)]);
    assert_eq!(kept(&server, &device, "tank,room=a.level"), [(rfc3339(t0), 2.5), (rfc3339(t0 + 1_000_000), 2.5)]);
    assert!(!publish("mqttv311", "wrong", "telemetry", "{}").status.success());
    assert_eq!(server.readings(&device, "PI-7").len(), 2);
    println!("figure: outsider mosquitto_pub: 4 readings delivered (3.1.1 and 5, JSON and lines)");
}

#[test]
fn mosquitto_delivers_at_qos_2_once_across_a_power_cut_of_the_node_and_leaves_its_will() {
    if !answers("mosquitto_pub", "--help") || !answers("mosquitto_sub", "--help") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path(), &[]);
    let (device, secret) = server.device("MOSQ-2", None);
    let t0 = now_us();
    let publish = |server: &Server, version: &str, second: i64| {
        let payload = json!({ "at": rfc3339(t0 + second * 1_000_000), "values": { "PI-7": second } }).to_string();
        let output = Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", port(&server.mqtt), "-V", version, "-u", "MOSQ-2", "-P", &secret, "-q", "2", "-i", "m", "-c"])
            .args(["-t", "anlan/v1/MOSQ-2/telemetry", "-m", &payload])
            .args(if version == "mqttv5" { &["-x", "60"][..] } else { &[] })
            .output();
        assert!(output.expect("mosquitto_pub").status.success(), "{version}");
    };
    for version in ["mqttv311", "mqttv5"] {
        publish(&server, version, 1);
        publish(&server, version, 2);
    }
    server.kill_and_restart();
    publish(&server, "mqttv311", 2);
    publish(&server, "mqttv5", 3);
    assert_eq!(kept(&server, &device, "PI-7"), [1, 2, 3].map(|k| (rfc3339(t0 + k * 1_000_000), k as f64)));

    // Line by line, so that its "Subscribed" is heard when it happens.
    let mut subscriber = Command::new("stdbuf")
        .args([
            "-oL",
            "mosquitto_sub",
            "-d",
            "-h",
            "127.0.0.1",
            "-p",
            port(&server.mqtt),
            "-u",
            "MOSQ-2",
            "-P",
            &secret,
            "-t",
            "anlan/v1/MOSQ-2/command",
        ])
        .args(["--will-topic", "anlan/v1/MOSQ-2/status", "--will-payload", "battery out"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("mosquitto_sub");
    let lines = std::io::BufReader::new(subscriber.stdout.take().expect("piped"));
    assert!(std::io::BufRead::lines(lines).map_while(Result::ok).any(|line| line.contains("Subscribed")), "it never subscribed");
    subscriber.kill().unwrap();
    subscriber.wait().unwrap();
    let event = server.wait("the event", |s| {
        let events = s.get("/api/v1/events?kind=device_lost");
        events["events"].as_array().unwrap().first().cloned()
    });
    assert!(event.to_string().contains("battery out") && event["subject"] == "MOSQ-2", "{event}");
    println!("figure: outsider mosquitto QoS 2: 3 readings kept once (4 repeats, one after SIGKILL); a will became the event device_lost");
}

/// Publishes at QoS 1 and prints the reason code of the PUBACK.
const PAHO: &str = r"
import sys, time
import paho.mqtt.client as mqtt
port, code, secret, version = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id='paho-' + version, protocol=mqtt.MQTTv5 if version == '5' else mqtt.MQTTv311)
client.username_pw_set(code, secret)
reasons = {}
client.on_publish = lambda client, userdata, mid, reason, properties: reasons.__setitem__(mid, reason.value)
client.connect('127.0.0.1', port, 30)
client.loop_start()
until = time.time() + 20
while not client.is_connected() and time.time() < until:
    time.sleep(0.01)
for payload in sys.argv[5:]:
    info = client.publish('anlan/v1/' + code + '/telemetry', payload, qos=1)
    info.wait_for_publish(20)
    while info.mid not in reasons and time.time() < until:
        time.sleep(0.01)
    print(reasons.get(info.mid), flush=True)
client.disconnect()
client.loop_stop()
";

/// A Python that has paho-mqtt 2; made in the target directory if need be.
fn python() -> Option<PathBuf> {
    let has_paho = |python: &Path| {
        let probe = "import paho.mqtt.client as c; c.CallbackAPIVersion.VERSION2";
        Command::new(python).args(["-c", probe]).output().is_ok_and(|o| o.status.success())
    };
    let system = PathBuf::from("python3");
    if has_paho(&system) {
        return Some(system);
    }
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?.join("paho-venv");
    let python = venv.join("bin/python");
    if !has_paho(&python) {
        let run = |program: &Path, args: &[&str]| Command::new(program).args(args).output().is_ok_and(|o| o.status.success());
        let made = run(&system, &["-m", "venv", venv.to_str()?]) && run(&python, &["-m", "pip", "install", "--quiet", "paho-mqtt>=2,<3"]);
        if !made || !has_paho(&python) {
            return None;
        }
    }
    Some(python)
}

#[test]
fn paho_delivers_in_both_versions_and_5_is_told_what_cannot_be_read() {
    let Some(python) = python() else {
        println!("skipped: 1");
        eprintln!("python3 with paho-mqtt can not be had");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    for version in ["4", "5"] {
        let code = format!("PAHO-{version}");
        let (device, secret) = server.device(&code, None);
        let at = rfc3339(now_us());
        let good = json!({ "at": at, "values": { "TI-1": 21.75 } }).to_string();
        let output = Command::new(&python)
            .args(["-c", PAHO, port(&server.mqtt), &code, &secret, version, &good, "no json", &good])
            .output()
            .expect("python");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // 0x99 "payload format invalid" exists in version 5 only; a repeat is acknowledged as well.
        let reasons = String::from_utf8(output.stdout).unwrap();
        assert_eq!(reasons.split_whitespace().collect::<Vec<_>>(), if version == "5" { ["0", "153", "0"] } else { ["0", "0", "0"] });
        assert_eq!(kept(&server, &device, "TI-1"), [(at, 21.75)]);
    }
    println!("figure: outsider paho-mqtt: 2 readings delivered (3.1.1 and 5), a repeat stored once, 0x99 for what cannot be read");
}

#[test]
fn curl_delivers_lines_and_json() {
    if !answers("curl", "--version") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let (device, secret) = server.device("CURL-1", None);
    let t0 = now_us() / 1_000;
    let curl = |path: &str, more: &[&str]| {
        let url = format!("{}{path}", server.http);
        let output = Command::new("curl").args(["-sS", "-o", "-", "-w", "\n%{http_code}", &url]).args(more).output().expect("curl");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let login = format!("CURL-1:{secret}");
    assert_eq!(curl("/ping", &["-I"]).rsplit('\n').next(), Some("204"));
    assert_eq!(
        curl("/write?precision=ms", &["-u", &login, "--data-binary", &format!("boiler,room=b pressure=0.875,valve=true,note=\"ok\" {t0}")]),
        "204"
    );
    let v2 = format!("Authorization: Token {login}");
    assert_eq!(
        curl(
            "/api/v2/write?precision=ms&org=o&bucket=b",
            &["-H", &v2, "--data-binary", &format!("boiler,room=b pressure=0.75 {}", t0 + 1)]
        ),
        "204"
    );
    let given = format!("/write?u=CURL-1&p={secret}&precision=ms");
    assert_eq!(curl(&given, &["--data-binary", &format!("boiler,room=b pressure=5i {}", t0 + 2)]), "204");
    let reading = json!({ "at": t0 + 3, "values": { "boiler,room=b.pressure": 1e-3 } }).to_string();
    assert_eq!(
        curl("/api/v1/ingest", &["-H", &format!("Authorization: Bearer {login}"), "-H", "Content-Type: application/json", "-d", &reading]),
        "204"
    );
    let at = |ms: i64| rfc3339((t0 + ms) * 1_000);
    assert_eq!(kept(&server, &device, "boiler,room=b.pressure"), [(at(0), 0.875), (at(1), 0.75), (at(2), 5.0), (at(3), 1e-3)]);
    assert_eq!(kept(&server, &device, "boiler,room=b.valve"), [(at(0), 1.0)]);
    let refused = curl("/write", &["-u", "CURL-1:wrong", "--data-binary", "a b=1"]);
    assert_eq!(refused.rsplit('\n').next(), Some("401"), "{refused}");
    println!("figure: outsider curl: 4 readings delivered (v1, v2, u and p, JSON), wrong credentials 401");
}

/// One request as bytes; status, headers in lower case, body.
fn raw(address: &str, request: &[u8]) -> (u16, String, Value) {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request).unwrap();
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        let n = stream.read(&mut chunk).expect("an answer");
        assert!(n > 0, "closed without an answer");
        bytes.extend(&chunk[..n]);
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap().to_lowercase();
    let header = |name: &str| head.lines().find_map(|l| l.strip_prefix(&format!("{name}: ")).map(str::to_owned));
    let length: usize = header("content-length").map_or(0, |l| l.trim().parse().unwrap());
    while bytes.len() < head_end + length {
        let n = stream.read(&mut chunk).expect("the body");
        assert!(n > 0, "closed within the body");
        bytes.extend(&chunk[..n]);
    }
    let body = match header("content-encoding").as_deref() {
        Some("gzip") => {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&bytes[head_end..]).read_to_end(&mut plain).unwrap();
            plain
        }
        _ => bytes[head_end..].to_vec(),
    };
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, serde_json::from_slice(&body).unwrap_or_default())
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// A write as Go's client sends a body of unknown length: in chunks.
fn telegraf(path: &str, host: &str, authorization: &str, body: &[u8], gzipped: bool) -> Vec<u8> {
    let encoding = if gzipped { "Content-Encoding: gzip\r\n" } else { "" };
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Telegraf/1.30.0 Go/1.22.1\r\nTransfer-Encoding: chunked\r\nAuthorization: {authorization}\r\n\
         {encoding}Content-Type: text/plain; charset=utf-8\r\nAccept-Encoding: gzip\r\n\r\n"
    )
    .into_bytes();
    for chunk in body.chunks(100) {
        request.extend(format!("{:x}\r\n", chunk.len()).bytes());
        request.extend(chunk);
        request.extend(b"\r\n");
    }
    request.extend(b"0\r\n\r\n");
    request
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let word = three.iter().chain([0, 0].iter()).take(3).fold(0u32, |sum, b| sum << 8 | u32::from(*b));
        for digit in 0..4 {
            let used = digit <= three.len();
            text.push(if used { DIGITS[(word >> (18 - 6 * digit)) as usize & 63] as char } else { '=' });
        }
    }
    text
}

#[test]
fn requests_of_telegraf_are_taken_as_influxdb_would() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let (device, secret) = server.device("gw-01", None);
    let host = server.http.trim_start_matches("http://").to_owned();
    let basic = format!("Basic {}", base64(format!("gw-01:{secret}").as_bytes()));
    let token = format!("Token gw-01:{secret}");
    let t0 = now_us() / 1_000_000 * 1_000_000;
    let lines = |k: i64| {
        let at = (t0 + k * 1_000_000) * 1_000;
        format!(
            "cpu,cpu=cpu-total,host=gw-01 usage_idle=98.5{k},usage_user=1.25 {at}\nmem,host=gw-01 used=8123456i,active_percent=12.5 {at}\n\
             disk,fstype=ext4,host=gw-01,path=/ free=1024u,mode=\"rw\" {at}\n"
        )
    };

    // v1: the database is made first, then written to, plain and packed.
    let query = "q=CREATE+DATABASE+%22telegraf%22";
    let create = format!(
        "POST /query HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Telegraf/1.30.0 Go/1.22.1\r\nContent-Length: {}\r\nAuthorization: {basic}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nAccept-Encoding: gzip\r\n\r\n{query}",
        query.len()
    );
    let (status, _, body) = raw(&host, create.as_bytes());
    assert_eq!((status, &body["results"][0]["error"]), (200, &Value::Null), "{body}");
    assert!(body["results"].is_array(), "{body}");
    let v1 = "/write?db=telegraf";
    assert_eq!(raw(&host, &telegraf(v1, &host, &basic, lines(0).as_bytes(), false)).0, 204);
    let packed = telegraf(v1, &host, &basic, &gzip(&lines(1)), true);
    assert_eq!(raw(&host, &packed).0, 204);
    assert_eq!(raw(&host, &packed).0, 204, "the answer was lost, the same body comes again");

    // v2, packed as is its default.
    let v2 = "/api/v2/write?bucket=plant&org=yuxi";
    let packed = telegraf(v2, &host, &token, &gzip(&lines(2)), true);
    assert_eq!(raw(&host, &packed).0, 204);
    assert_eq!(raw(&host, &packed).0, 204);

    let at = |k: i64| rfc3339(t0 + k * 1_000_000);
    assert_eq!(kept(&server, &device, "cpu,cpu=cpu-total,host=gw-01.usage_idle"), [(at(0), 98.50), (at(1), 98.51), (at(2), 98.52)]);
    assert_eq!(kept(&server, &device, "mem,host=gw-01.used"), [0, 1, 2].map(|k| (at(k), 8_123_456.0)));
    assert_eq!(kept(&server, &device, "disk,fstype=ext4,host=gw-01,path=/.free"), [0, 1, 2].map(|k| (at(k), 1024.0)));

    // One bad line: 400 that names it, and the good ones are kept.
    let at_ns = (t0 + 3_000_000) * 1_000;
    let partly = format!("good value=1 {at_ns}\nbroken line\nalso value=2 {at_ns}\n");
    for (n, request) in
        [telegraf(v1, &host, &basic, partly.as_bytes(), false), telegraf(v2, &host, &token, &gzip(&partly), true)].iter().enumerate()
    {
        let (status, _, body) = raw(&host, request);
        assert_eq!((status, &body["line"]), (400, &json!(2)), "{n}: {body}");
        assert!(body["error"].as_str().is_some_and(|e| !e.is_empty()), "{body}");
    }
    assert_eq!(kept(&server, &device, "good"), [(at(3), 1.0)]);
    assert_eq!(kept(&server, &device, "also"), [(at(3), 2.0)]);

    // Wrong credentials, and a body that is no gzip.
    let wrong = format!("Basic {}", base64(b"gw-01:wrong"));
    let (status, head, body) = raw(&host, &telegraf(v1, &host, &wrong, lines(4).as_bytes(), false));
    assert!(status == 401 && head.contains("www-authenticate: basic"), "{head} {body}");
    assert_eq!(raw(&host, &telegraf(v2, &host, "Token gw-01:wrong", lines(4).as_bytes(), false)).0, 401);
    assert_eq!(raw(&host, &telegraf(v1, &host, &basic, b"not packed at all", true)).0, 400);
    assert_eq!(kept(&server, &device, "cpu,cpu=cpu-total,host=gw-01.usage_idle").len(), 3);
    println!(
        "figure: outsider Telegraf (its requests): 5 bodies (v1, v1 gzip, v2 gzip, 2 repeated), 15 readings kept once each; 400 keeps good lines; 401"
    );
}

#[test]
fn a_client_that_sends_too_fast_is_told_to_come_again_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[("ANLAN_LIMITS__MESSAGES_PER_S", "2"), ("ANLAN_LIMITS__MESSAGE_BURST", "1")]);
    let (device, secret) = server.device("gw-01", None);
    let host = server.http.trim_start_matches("http://").to_owned();
    let (basic, token) = (format!("Basic {}", base64(format!("gw-01:{secret}").as_bytes())), format!("Token gw-01:{secret}"));
    let t0 = now_us();
    let (mut n_refused, mut n_kept) = (0, 0);
    for k in 0..3i64 {
        // Telegraf's v1 output drops a batch on any 4xx; only a 5xx makes it come again. Its v2 output knows both.
        for (n, path, authorization, wanted) in [(0, "/write?db=telegraf", &basic, 503), (1, "/api/v2/write?bucket=b&org=o", &token, 429)] {
            let line = format!("fast value={k} {}\n", (t0 + k * 2_000 + n * 1_000) * 1_000);
            let request = telegraf(path, &host, authorization, line.as_bytes(), false);
            server.wait("room for one more", |_| {
                let (status, head, body) = raw(&host, &request);
                if status == 204 {
                    n_kept += 1;
                    return Some(());
                }
                assert_eq!(status, wanted, "{path}: {body}");
                assert!(head.contains("retry-after: "), "{head}");
                n_refused += 1;
                None
            });
        }
    }
    assert_eq!(kept(&server, &device, "fast").len(), n_kept);
    assert!(n_refused > 0, "the limit was never met");
}

const TLS: &[(&str, &str)] = &[("ANLAN_MQTT__TLS_LISTEN", "127.0.0.1:0"), ("ANLAN_JT808__TLS_LISTEN", "127.0.0.1:0")];

#[test]
fn mosquitto_pub_and_paho_deliver_over_tls_and_trust_only_our_certificate() {
    if !answers("mosquitto_pub", "--help") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), TLS);
    let (device, secret) = server.device("TLS-1", None);
    let mqtts = server.ready["mqtts"].as_str().expect("a TLS listener").to_owned();
    let certificate = dir.path().join("tls/certificate.pem");
    let t0 = now_us();
    let publish = |more: &[&str], second: i64| {
        let payload = json!({ "at": rfc3339(t0 + second * 1_000_000), "values": { "PI-7": 0.5 } }).to_string();
        let login = ["-u", "TLS-1", "-P", secret.as_str(), "-q", "1", "-t", "anlan/v1/TLS-1/telemetry", "-m", &payload];
        let output = Command::new("mosquitto_pub").args(["-h", "127.0.0.1", "-p", port(&mqtts)]).args(more).args(login).output();
        output.expect("mosquitto_pub").status.success()
    };
    let ours = certificate.to_str().unwrap();
    assert!(publish(&["--cafile", ours], 0));
    assert!(publish(&["--cafile", ours, "--tls-version", "tlsv1.2", "-V", "mqttv5"], 1));
    assert!(!publish(&["--cafile", "/etc/ssl/certs/ca-certificates.crt"], 2), "another's roots do not vouch for us");
    assert!(!publish(&[], 3), "a listener for TLS understands nothing else");
    assert_eq!(kept(&server, &device, "PI-7"), [0, 1].map(|k| (rfc3339(t0 + k * 1_000_000), 0.5)));
    let Some(python) = python() else {
        println!("skipped: 1");
        return;
    };
    let with_tls = PAHO.replace("reasons = {}", &format!("client.tls_set({ours:?})\nreasons = {{}}"));
    let good = json!({ "at": rfc3339(t0 + 4_000_000), "values": { "PI-7": 0.75 } }).to_string();
    let output = Command::new(&python).args(["-c", &with_tls, port(&mqtts), "TLS-1", &secret, "5", &good]).output().expect("python");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "0", "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(kept(&server, &device, "PI-7").len(), 3);
    println!("figure: outsider TLS: 3 readings delivered (mosquitto_pub 1.3 and 1.2, paho), a foreign root and a clear connection refused");
}

/// `openssl s_client` as a terminal's modem: bytes in, bytes out.
struct Modem(Child, Vec<u8>);

impl Modem {
    fn connect(address: &str, ca: &Path, more: &[&str]) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-verify_return_error", "-connect", address, "-CAfile"]).arg(ca).args(more);
        Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("openssl"), Vec::new())
    }

    fn send(&mut self, bytes: &[u8]) {
        // A refused modem has hung up; that shows when it is listened to.
        let stdin = self.0.stdin.as_mut().expect("piped");
        let _ = stdin.write_all(bytes).and_then(|()| stdin.flush());
    }

    /// The next frame, or `None` if the line is dead.
    fn hear(&mut self) -> Option<jt808::Frame> {
        let mut byte = [0];
        let stdout = self.0.stdout.as_mut().expect("piped");
        while stdout.read(&mut byte).is_ok_and(|n| n == 1) {
            self.1.push(byte[0]);
            if byte[0] == 0x7e && self.1.len() > 1 {
                return jt808::cut(&std::mem::take(&mut self.1)).into_iter().next();
            }
        }
        None
    }
}

impl Drop for Modem {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_terminal_behind_openssl_registers_authenticates_and_is_believed_more_than_in_the_clear() {
    if !answers("openssl", "version") {
        return;
    }
    const PHONE: &str = "13800000042";
    let dir = tempfile::tempdir().unwrap();
    let mut settings = TLS.to_vec();
    settings.push(("ANLAN_JT808__UNKNOWN", "accept"));
    let server = Server::start(dir.path(), &settings);
    let vehicle = |server: &Server| server.get(&format!("/api/v1/vehicles?phone={PHONE}"))["vehicles"][0].clone();
    let t0 = now_us() / 1_000_000 * 1_000_000;
    let position = |k: i64| jt808::Position::at(t0 + k * 1_000_000).bytes();
    let mut clear = jt808::Terminal::connect(&server.jt808);
    assert_eq!(clear.ask(0x0200, PHONE, &position(0)).unwrap().result, 0);
    assert_eq!(vehicle(&server)["trust"], "open");
    let id = vehicle(&server)["id"].as_str().unwrap().to_owned();
    assert_eq!(server.post(&format!("/api/v1/vehicles/{id}/adopt"), &json!({})).0, 200);

    let address = server.ready["jt808_tls"].as_str().expect("a TLS listener").to_owned();
    let mut modem = Modem::connect(&address, &dir.path().join("tls/certificate.pem"), &[]);
    let mut registration = vec![0, 53, 0, 2];
    registration.extend([b'0'; 5 + 20 + 7]);
    registration.push(0);
    modem.send(&jt808::frame(0x0100, PHONE, 1, &registration));
    let answer = modem.hear().expect("an answer");
    assert_eq!((answer.message_id, answer.body[2]), (0x8100, 0), "{answer:?}");
    let code = answer.body[3..].to_vec();
    modem.send(&jt808::frame(0x0102, PHONE, 2, &code));
    assert_eq!(modem.hear().expect("an answer").body[4], 0);
    modem.send(&jt808::frame(0x0200, PHONE, 3, &position(1)));
    assert_eq!(modem.hear().expect("an answer").body[4], 0);
    assert_eq!(vehicle(&server)["trust"], "authenticated");

    // The same code in the clear is worth less, and the vehicle shows it.
    let mut clear = jt808::Terminal::connect(&server.jt808);
    assert_eq!(clear.ask(0x0102, PHONE, &code).unwrap().result, 0);
    assert_eq!(clear.ask(0x0200, PHONE, &position(2)).unwrap().result, 0);
    assert_eq!(vehicle(&server)["trust"], "listed");
    let positions = server.get(&format!("/api/v1/vehicles/{id}/positions"));
    assert_eq!(positions["positions"].as_array().unwrap().len(), 3);
    println!("figure: outsider openssl: a terminal registered, authenticated and reported over TLS (authenticated; in the clear: listed)");
}

#[test]
fn with_a_client_ca_only_devices_with_its_certificate_get_as_far_as_their_password() {
    if !answers("openssl", "version") || !answers("mosquitto_pub", "--help") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let openssl = |arguments: &[&str]| assert!(Command::new("openssl").args(arguments).output().expect("openssl").status.success());
    let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let (ca, ca_key, key, request, shown) = (file("ca.pem"), file("ca.key"), file("d.key"), file("d.csr"), file("d.pem"));
    openssl(&[&["req", "-x509"][..], &new_key, &["-keyout", &ca_key, "-out", &ca, "-subj", "/CN=fleet", "-days", "2"]].concat());
    openssl(&[&["req"][..], &new_key, &["-keyout", &key, "-out", &request, "-subj", "/CN=TLS-2"]].concat());
    // Version 3 with an extension: webpki reads nothing older.
    std::fs::write(file("ext"), "extendedKeyUsage=clientAuth\n").unwrap();
    openssl(&["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key, "-days", "2", "-extfile", &file("ext"), "-out", &shown]);

    let data = dir.path().join("data");
    let mut settings = TLS.to_vec();
    settings.push(("ANLAN_TLS__CLIENT_CA", &ca));
    let server = Server::start(&data, &settings);
    let (device, secret) = server.device("TLS-2", None);
    let mqtts = server.ready["mqtts"].as_str().unwrap().to_owned();
    let trusted = data.join("tls/certificate.pem");
    let payload = json!({ "at": rfc3339(now_us()), "values": { "PI-7": 0.5 } }).to_string();
    let publish = |secret: &str, more: &[&str]| {
        let login = ["-u", "TLS-2", "-P", secret, "-q", "1", "-t", "anlan/v1/TLS-2/telemetry", "-m", &payload];
        let base = ["-h", "127.0.0.1", "-p", port(&mqtts), "--cafile", trusted.to_str().unwrap()];
        Command::new("mosquitto_pub").args(base).args(more).args(login).output().expect("mosquitto_pub").status.success()
    };
    assert!(!publish(&secret, &[]), "no certificate");
    assert!(!publish("wrong", &["--cert", &shown, "--key", &key]), "a certificate is no password");
    assert!(publish(&secret, &["--cert", &shown, "--key", &key]));
    assert_eq!(server.readings(&device, "PI-7").len(), 1);
}
