//! The simulator against small servers of our own on loopback: what it says it sent is what arrived, also when the server goes away in between.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anlan_model::{Clock, Timestamp};
use anlan_protocols::jt808::{Answer, Frames, Message, RegisterAnswer, Version, encode, media_answer};
use anlan_protocols::mqtt::codec::{Ack, Connack, Decoder, Packet};
use anlan_sim::truth::{self, TruthKind};
use anlan_sim::{Scale, Secrets, SimOptions, World, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Domain time that runs faster than the machine's, as a test clock does.
struct FastClock {
    origin: Timestamp,
    started: Instant,
    rate: f64,
}

impl FastClock {
    fn new(rate: f64) -> Arc<Self> {
        Arc::new(Self { origin: Timestamp::parse("2026-05-01T08:00:00Z").unwrap(), started: Instant::now(), rate })
    }
}

impl Clock for FastClock {
    fn now(&self) -> Timestamp {
        self.origin.plus_us((self.started.elapsed().as_secs_f64() * self.rate * 1e6) as i64)
    }
}

/// What a server heard and acknowledged: by device and point (or phone), the instant and the value.
type Heard = Arc<Mutex<BTreeMap<(String, String), BTreeMap<Timestamp, String>>>>;

/// Hands every connection to `serve`, which returns when it is done with it.
async fn listen<F: Future<Output = ()> + Send + 'static>(serve: impl Fn(TcpStream, usize) -> F + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for n in 0.. {
            let (socket, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(socket, n));
        }
    });
    address
}

/// An MQTT server that drops each of the first `n_bad` connections at its second PUBLISH, without an acknowledgement.
async fn mqtt_server(heard: Heard, n_bad: usize) -> SocketAddr {
    listen(move |mut socket, n| {
        let heard = heard.clone();
        async move {
            let mut decoder = Decoder::new(None, 1 << 20);
            let (mut buffer, mut published, mut device) = (vec![0; 65_536], 0, String::new());
            loop {
                let Ok(size @ 1..) = socket.read(&mut buffer).await else { return };
                decoder.push(&buffer[..size]);
                while let Some(packet) = decoder.next() {
                    let answer = match packet.unwrap() {
                        Packet::Connect(connect) => {
                            device = connect.username.unwrap();
                            assert_eq!(connect.password.unwrap(), format!("secret of {device}").into_bytes());
                            Packet::Connack(Connack::default())
                        }
                        Packet::Publish(publish) => {
                            published += 1;
                            if n < n_bad && published == 2 {
                                return;
                            }
                            assert_eq!(publish.topic, format!("anlan/v1/{device}/telemetry"));
                            let payload: serde_json::Value = serde_json::from_slice(&publish.payload).unwrap();
                            let objects = payload.as_array().cloned().unwrap_or_else(|| vec![payload]);
                            let mut heard = heard.lock().unwrap();
                            for object in objects {
                                let at = Timestamp::parse(object["at"].as_str().unwrap()).unwrap();
                                for (point, value) in object["values"].as_object().unwrap() {
                                    heard.entry((device.clone(), point.clone())).or_default().insert(at, value.to_string());
                                }
                            }
                            Packet::Puback(Ack { packet_id: publish.packet_id.unwrap(), ..Ack::default() })
                        }
                        Packet::Pingreq => Packet::Pingresp,
                        Packet::Disconnect(_) => return,
                        other => panic!("unexpected {other:?}"),
                    };
                    let mut bytes = Vec::new();
                    answer.encode(decoder.version().unwrap(), &mut bytes).unwrap();
                    if socket.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
            }
        }
    })
    .await
}

/// A JT/T 808 server that demands registration and authentication.
async fn jt808_server(heard: Heard) -> SocketAddr {
    listen(move |mut socket, _| {
        let heard = heard.clone();
        async move {
            let mut frames = Frames::new();
            let (mut buffer, mut known) = (vec![0; 65_536], false);
            loop {
                let Ok(size @ 1..) = socket.read(&mut buffer).await else { return };
                frames.push(&buffer[..size]);
                let whole: Vec<_> = frames.by_ref().map(Result::unwrap).collect();
                for frame in whole {
                    let header = &frame.header;
                    let phone = header.phone.trim_start_matches('0').to_owned();
                    let code = format!("code of {phone}");
                    let result = |ok: bool| {
                        Message::PlatformAnswer(Answer {
                            answered_serial: header.serial,
                            answered_id: header.message_id,
                            result: u8::from(!ok),
                        })
                    };
                    let mut keep = |position: &anlan_protocols::jt808::Position| {
                        let text = format!("{} {} {} {}", position.lon_e6, position.lat_e6, position.speed_tenth_kmh, position.alarm);
                        let at = position.time.unwrap();
                        heard.lock().unwrap().entry((phone.clone(), String::new())).or_default().insert(at, text);
                    };
                    let answer = match frame.decode().0 {
                        Message::Register(_) => {
                            Message::RegisterAnswer(RegisterAnswer { answered_serial: header.serial, result: 0, code: Some(code) })
                        }
                        Message::Authenticate(auth) => {
                            known = auth.code == code;
                            result(known)
                        }
                        Message::Position(position) if known => {
                            keep(&position);
                            result(true)
                        }
                        Message::PositionBatch(batch) if known => {
                            batch.positions.iter().for_each(&mut keep);
                            result(true)
                        }
                        Message::Heartbeat => result(true),
                        Message::Table { message_id: 0x0801, record, .. } if known => {
                            media_answer(record.number("media_id").unwrap() as u32, &[])
                        }
                        other => panic!("unexpected {other:?}, known: {known}"),
                    };
                    let version = if header.version == Version::V2019 { Version::V2019 } else { Version::V2013 };
                    let bytes = encode::frames(&header.phone, version, 0, &answer).unwrap().concat();
                    if socket.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_truth_file_says_is_what_the_server_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let (values, positions) = (Heard::default(), Heard::default());
    let scale = Scale { enterprises: 40, points: 250, vehicles: 9 };
    let world = World::new(3, scale);
    let mut secrets = Secrets::default();
    secrets.devices.extend(world.devices.iter().map(|d| (d.code.clone(), format!("secret of {}", d.code))));
    let secrets_path = dir.path().join("secrets.json");
    secrets.save(&secrets_path).unwrap();
    let truth_path = dir.path().join("truth.jsonl");
    let summary = run(SimOptions {
        // The first connections are lost with a message in the air.
        mqtt: Some(mqtt_server(values.clone(), world.devices.len() / 2).await.to_string()),
        jt808: Some(jt808_server(positions.clone()).await.to_string()),
        modbus: false,
        http: None,
        credentials: None,
        secrets: secrets_path,
        seed: 3,
        stories: true,
        scale,
        part: anlan_sim::Part::All,
        truth: Some(truth_path.clone()),
        speed: 1.0,
        clock: FastClock::new(60.0),
        stop: CancellationToken::new(),
        // Long enough for every incident of the round, the ends of both power losses included.
        duration_s: Some(330.0),
    })
    .await
    .unwrap();
    assert_eq!((summary.refused, summary.dropped), (0, 0));
    assert!(summary.sent > summary.acknowledged, "some were sent twice: {summary:?}");
    let lines = truth::read(&truth_path).unwrap();
    let count = |kind| lines.iter().filter(|l| l.kind == kind).count();
    assert_eq!(count(TruthKind::ExpectGap), 2);
    assert!(count(TruthKind::ExpectAlarm) >= 8 && count(TruthKind::ExpectEvent) >= 5);
    assert!(lines.iter().any(|l| l.backfill && l.value.is_some()) && lines.iter().any(|l| l.backfill && l.position.is_some()));
    assert!(lines.iter().any(|l| l.clock_bad_taken_at.is_some()));
    assert_eq!(lines.len() as u64, summary.truth_lines);
    let mut told: BTreeMap<(String, String), BTreeMap<Timestamp, String>> = BTreeMap::new();
    for line in lines.iter().filter(|l| l.kind == TruthKind::Sent) {
        if let Some(value) = line.value {
            let key = (line.device.clone().unwrap(), line.point.clone().unwrap());
            told.entry(key).or_default().insert(line.at, serde_json::json!(value).to_string());
        } else if let Some(p) = line.position {
            let text = format!("{} {} {} {}", (p.lon * 1e6).round(), (p.lat * 1e6).round(), (p.speed_kmh * 10.0).round(), p.alarm_bits);
            told.entry((line.vehicle.clone().unwrap(), String::new())).or_default().insert(line.at, text);
        }
    }
    let mut heard = values.lock().unwrap().clone();
    heard.append(&mut positions.lock().unwrap());
    assert_eq!(told.len(), 250 + 9);
    assert_eq!(told, heard);
}

#[tokio::test]
async fn a_stop_ends_the_play_in_order_and_without_a_server_nothing_is_claimed() {
    let dir = tempfile::tempdir().unwrap();
    // A port that nobody listens on any more.
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let stop = CancellationToken::new();
    let truth_path = dir.path().join("truth.jsonl");
    let play = tokio::spawn(run(SimOptions {
        mqtt: None,
        jt808: Some(closed.to_string()),
        modbus: false,
        http: None,
        credentials: None,
        secrets: dir.path().join("secrets.json"),
        seed: 1,
        stories: false,
        scale: Scale { enterprises: 2, points: 0, vehicles: 5 },
        part: anlan_sim::Part::All,
        truth: Some(truth_path.clone()),
        speed: 50.0,
        clock: FastClock::new(1.0),
        stop: stop.clone(),
        duration_s: None,
    }));
    tokio::time::sleep(Duration::from_millis(600)).await;
    stop.cancel();
    let summary = tokio::time::timeout(Duration::from_secs(5), play).await.expect("stops at once").unwrap().unwrap();
    assert_eq!((summary.acknowledged, summary.truth_lines), (0, 0));
    assert!(truth::read(&truth_path).unwrap().is_empty());
}
