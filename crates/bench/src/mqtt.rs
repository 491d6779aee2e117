//! Section `mqtt`: QoS 1 publishers against our listener (PUBACK after the sync) and mosquitto (nothing synced), 60-byte payloads.
//!
//! The client is written by hand and the same for both: a few bytes per message, so that the server is what is measured.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub use crate::node::Credential;
use crate::node::Node;
use crate::peer::{MOSQUITTO, Mosquitto};
use crate::process::Process;
use crate::report::{Goal, Line};
use crate::{Options, fresh_dir, now_ms};

/// Connections, messages of each in flight, messages of all.
struct Load {
    name: &'static str,
    connections: usize,
    in_flight: u64,
    messages: u64,
    goal: Goal,
}

/// Pipelined gateways, and many small devices that wait for each answer.
const LOADS: [Load; 2] = [
    Load { name: "mqtt.qos1_4x100_in_flight", connections: 4, in_flight: 100, messages: 400_000, goal: Goal::Ratio(0.25) },
    Load { name: "mqtt.qos1_500x1_in_flight", connections: 500, in_flight: 1, messages: 150_000, goal: Goal::Ratio(1.1) },
];

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u16).to_be_bytes());
    bytes.extend(text.as_bytes());
}

/// A packet whose rest is shorter than 16 KiB.
fn packet(kind: u8, rest: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    if rest.len() < 128 {
        out.push(rest.len() as u8);
    } else {
        out.extend([(rest.len() % 128) as u8 | 0x80, (rest.len() / 128) as u8]);
    }
    out.extend(rest);
}

/// `{"at":…,"values":{…}}` with two readings, 60 bytes.
fn payload(at_ms: i64, n: u64) -> String {
    format!("{{\"at\":{at_ms:013},\"values\":{{\"TI-101\":{}.{:02},\"PI-10\":{}.{}}}}}", 20 + n % 79, n % 100, 100 + n % 899, n % 10)
}

/// A connection as a device.
pub async fn connect(address: &str, (code, secret): &Credential) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut rest, mut out) = (Vec::new(), Vec::new());
    text(&mut rest, "MQTT");
    // Version 3.1.1, user name and password, clean session, keep alive 60 s.
    rest.extend([4, 0b1100_0010, 0, 60]);
    [code.as_str(), code, secret].iter().for_each(|part| text(&mut rest, part));
    packet(0x10, &rest, &mut out);
    stream.write_all(&out).await?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await?;
    ensure!(answer[0] == 0x20 && answer[3] == 0, "{address} refuses {code}: {}", answer[3]);
    Ok(stream)
}

/// Publishes one message and waits for its PUBACK.
pub async fn publish_one(stream: &mut TcpStream, code: &str, id: u16, payload: &str) -> anyhow::Result<()> {
    let (mut rest, mut out) = (Vec::new(), Vec::new());
    text(&mut rest, &format!("anlan/v1/{code}/telemetry"));
    rest.extend(id.to_be_bytes());
    rest.extend(payload.as_bytes());
    packet(0x32, &rest, &mut out);
    stream.write_all(&out).await?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await?;
    ensure!(answer[0] == 0x40 && answer[2..] == id.to_be_bytes(), "not the PUBACK of {id}: {answer:02x?}");
    Ok(())
}

/// Publishes `n` messages with at most `in_flight` unacknowledged and returns when all are.
async fn publish(stream: &mut TcpStream, code: &str, first_ms: i64, n: u64, in_flight: u64) -> anyhow::Result<()> {
    let topic = format!("anlan/v1/{code}/telemetry");
    let (mut sent, mut acknowledged, mut held) = (0, 0, 0);
    let (mut out, mut rest) = (Vec::with_capacity(16 << 10), Vec::with_capacity(128));
    let mut answer = vec![0; 4 << 10];
    while acknowledged < n {
        out.clear();
        while sent < n && sent - acknowledged < in_flight {
            rest.clear();
            text(&mut rest, &topic);
            rest.extend(((sent % 60_000) as u16 + 1).to_be_bytes());
            rest.extend(payload(first_ms + sent as i64, sent).as_bytes());
            packet(0x32, &rest, &mut out);
            sent += 1;
        }
        if !out.is_empty() {
            stream.write_all(&out).await?;
        }
        // A PUBACK has four bytes; a read may end inside one.
        let got = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut answer[held..])).await.context("no PUBACK for 60 s")??;
        ensure!(got > 0, "the server closed the connection of {code}");
        held += got;
        let whole = held / 4 * 4;
        ensure!(answer[..whole].chunks_exact(4).all(|p| p[0] == 0x40 && p[1] == 2), "only PUBACKs are expected");
        acknowledged += whole as u64 / 4;
        answer.copy_within(whole..held, 0);
        held -= whole;
    }
    Ok(())
}

/// CPU seconds of `process` per million messages.
fn measure(process: &Process, address: &str, credentials: &[Credential], load: &Load) -> anyhow::Result<f64> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let each = load.messages / load.connections as u64;
    let first_ms = now_ms()? - each as i64 - 1_000;
    runtime.block_on(async {
        let mut streams = Vec::new();
        for credential in credentials.iter().take(load.connections) {
            let mut stream = connect(address, credential).await?;
            // The first message makes the points; that is not what is measured.
            publish(&mut stream, &credential.0, first_ms - 1, 1, 1).await?;
            streams.push((stream, credential.0.clone()));
        }
        let before = process.cpu_s()?;
        let tasks: Vec<_> = streams
            .into_iter()
            .map(|(mut stream, code)| {
                let in_flight = load.in_flight;
                tokio::spawn(async move { publish(&mut stream, &code, first_ms, each, in_flight).await })
            })
            .collect();
        for task in tasks {
            task.await??;
        }
        Ok((process.cpu_s()? - before) / (each * load.connections as u64) as f64 * 1e6)
    })
}

/// Both loads on both servers.
pub fn run(options: &Options, emit: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let dir = fresh_dir()?;
    // One publisher sends thousands a second here; the limit per device is not what is measured.
    let generous = [("ANLAN_LIMITS__MESSAGES_PER_S", "10000000"), ("ANLAN_LIMITS__MESSAGE_BURST", "10000000")];
    let node = Node::start(&options.anlan, dir.path(), &generous)?;
    let most = LOADS.iter().map(|l| l.connections).max().unwrap_or(0);
    let numbers: Vec<usize> = (0..most).collect();
    let credentials = anlan_sim::api::in_parallel(&numbers, 4, |n| node.device(&format!("M{n:04}")))?;
    let peer_dir = fresh_dir()?;
    let peer = if options.alone { Err("left out (--alone)".to_owned()) } else { Mosquitto::installed() };
    let peer = match peer {
        Ok(()) => Ok(Mosquitto::start(peer_dir.path())?),
        Err(why) => Err(why),
    };
    for load in LOADS {
        let ours = measure(&node.process, &node.mqtt, &credentials, &load)?;
        let theirs = match &peer {
            Ok(mosquitto) => Ok(measure(&mosquitto.process, &mosquitto.address, &credentials, &load)?),
            Err(why) => Err(why.clone()),
        };
        emit(Line::new(load.name, ours, "CPU s/M msg").against(MOSQUITTO, theirs).goal(load.goal));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_json_of_sixty_bytes() {
        for n in [0, 1, 78, 99, 898, 1_000, 399_999] {
            let text = payload(1_795_392_000_123, n);
            assert_eq!(text.len(), 60, "{text}");
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|v| v["values"].as_object().is_some_and(|m| m.len() == 2)));
        }
    }
}
