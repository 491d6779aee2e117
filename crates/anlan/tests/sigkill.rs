//! Fifty SIGKILLs at random instants under load: what was acknowledged is there, once.

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Mqtt, Server, now_us, rfc3339};

const KILLS: u32 = 50;
const DEVICES: usize = 4;
/// Messages in flight per device.
const WINDOW: usize = 32;

/// What one device sent and what of it was acknowledged: (device time, value, acknowledged).
type Sent = Vec<(i64, f64, bool)>;

/// Publishes until told to stop or the connection breaks; resends what was not acknowledged first, as a real device does.
fn load(address: &str, device: &str, secret: &str, sent: &Mutex<Sent>, stop: &AtomicBool) {
    let Ok(mut mqtt) = Mqtt::connect(address, device, secret) else { return };
    let topic = format!("anlan/v1/{device}/telemetry");
    let mut again: Vec<usize> = sent.lock().unwrap().iter().enumerate().filter(|(_, s)| !s.2).map(|(i, _)| i).collect();
    let mut in_flight = std::collections::VecDeque::new();
    while !stop.load(Ordering::Relaxed) {
        while in_flight.len() < WINDOW {
            let index = again.pop().unwrap_or_else(|| {
                let mut sent = sent.lock().unwrap();
                let n = sent.len();
                let at = sent.last().map_or_else(now_us, |s: &(i64, f64, bool)| (s.0 + 1).max(now_us()));
                sent.push((at, n as f64 / 7.0, false));
                n
            });
            let (at, value, _) = sent.lock().unwrap()[index];
            let Ok(id) = mqtt.send(&topic, &format!(r#"{{"at":"{}","values":{{"V":{value}}}}}"#, rfc3339(at))) else { return };
            in_flight.push_back((id, index));
        }
        let Ok(id) = mqtt.acknowledged() else { return };
        let (expected, index) = in_flight.pop_front().unwrap();
        assert_eq!(id, expected, "PUBACKs come in the order of their messages");
        sent.lock().unwrap()[index].2 = true;
    }
}

#[test]
fn fifty_kills_lose_nothing_and_double_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path(), &[("ANLAN_LIMITS__MESSAGES_PER_S", "1000000"), ("ANLAN_LIMITS__MESSAGE_BURST", "1000000")]);
    let devices: Vec<(String, String, String)> = (0..DEVICES)
        .map(|n| {
            let code = format!("K-{n}");
            let (id, secret) = server.device(&code, None);
            (code, id, secret)
        })
        .collect();
    let sent: Vec<Arc<Mutex<Sent>>> = devices.iter().map(|_| Arc::default()).collect();
    // A plain linear congruence: the instants differ, and a failure can be repeated with its seed.
    let mut seed: u64 = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| now_us() as u64);
    println!("seed {seed}");
    for _ in 0..KILLS {
        let stop = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = devices
            .iter()
            .zip(&sent)
            .map(|((code, _, secret), sent)| {
                let (address, code, secret, sent, stop) = (server.mqtt.clone(), code.clone(), secret.clone(), sent.clone(), stop.clone());
                std::thread::spawn(move || load(&address, &code, &secret, &sent, &stop))
            })
            .collect();
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis(20 + (seed >> 33) % 200));
        server.kill();
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().unwrap();
        }
        server.restart();
    }
    let (mut acknowledged, mut stored, mut lost, mut doubled) = (0, 0, 0, 0);
    for ((_, id, _), sent) in devices.iter().zip(&sent) {
        let mut found: BTreeMap<(String, u64), u32> = BTreeMap::new();
        for reading in server.readings(id, "V") {
            *found.entry((reading["at"].as_str().unwrap().to_owned(), reading["value"].as_f64().unwrap().to_bits())).or_default() += 1;
        }
        stored += found.values().sum::<u32>();
        doubled += found.values().filter(|n| **n > 1).count();
        let sent = sent.lock().unwrap();
        acknowledged += sent.iter().filter(|s| s.2).count();
        lost += sent.iter().filter(|s| s.2 && !found.contains_key(&(rfc3339(s.0), s.1.to_bits()))).count();
        assert!(found.len() <= sent.len(), "something is stored that was never sent");
    }
    println!("figure: kills {KILLS} acknowledged {acknowledged} stored {stored} lost {lost} doubled {doubled}");
    assert!(acknowledged > 1_000, "too little load to mean anything");
    assert_eq!((lost, doubled), (0, 0));
}
