//! The main job, from outside: a reading leaves a sensor or a vehicle, is kept, judged, shown, answered; and a kill changes nothing of it.

mod common;

use common::{Mqtt, Server, now_us, rfc3339};
use serde_json::{Value, json};

fn limits() -> Value {
    json!({ "points": [{
        "code": "LEL-101", "name": "罐区可燃气体", "unit": "%LEL", "kind": "gas_combustible", "site": "罐区", "period_s": 5, "range_low": 0, "range_high": 100,
        "limits": { "hh": 50, "h": 25, "deadband": 1 }, "limits_source": { "document": "GB/T 50493-2019", "clause": "5.5.2" },
    }] })
}

fn alarms(server: &Server, query: &str) -> Vec<Value> {
    server.get(&format!("/api/v1/alarms?{query}"))["alarms"].as_array().expect("alarms").clone()
}

#[test]
fn a_leak_turns_red_is_acknowledged_returns_and_is_closed_across_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path(), &[]);
    let enterprise = server.enterprise("E-1");
    let (device, secret) = server.device("TANK-1", Some(&enterprise));
    let (status, body) = server.put(&format!("/api/v1/devices/{device}/points"), &limits());
    assert_eq!(status, 200, "{body}");
    server.become_duty_officer();

    let mut mqtt = Mqtt::connect(&server.mqtt, "TANK-1", &secret).unwrap();
    let t0 = now_us() - 10_000_000;
    for (i, value) in [10.0, 26.5, 51.0].into_iter().enumerate() {
        mqtt.publish("TANK-1", &json!({ "at": rfc3339(t0 + i as i64 * 1_000_000), "values": { "LEL-101": value } })).unwrap();
    }
    let red = server.wait("a red alarm", |s| alarms(s, "level=red&state=raised").first().cloned());
    assert_eq!((red["name"].as_str(), red["value"].as_f64(), red["threshold"].as_f64()), (Some("罐区可燃气体"), Some(51.0), Some(50.0)));
    assert_eq!(red["onset_at"], rfc3339(t0 + 2_000_000));
    assert_eq!(red["source"], "GB/T 50493-2019 5.5.2");
    assert_eq!(alarms(&server, "state=raised").len(), 2, "the high limit stands too");

    server.kill_and_restart();
    let id = red["id"].as_str().unwrap();
    assert_eq!(server.get(&format!("/api/v1/alarms/{id}"))["state"], "raised", "still there after a kill");
    let (status, body) = server.post(&format!("/api/v1/alarms/{id}/acknowledge"), &json!({ "note": "已派人" }));
    assert_eq!((status, body["state"].as_str()), (200, Some("acknowledged")), "{body}");
    let (status, body) = server.post(&format!("/api/v1/alarms/{id}/close"), &json!({ "reason": "已处置" }));
    assert_eq!((status, body["errors"][0]["code"].as_str()), (409, Some("alarm.still_standing")), "{body}");

    let mut mqtt = Mqtt::connect(&server.mqtt, "TANK-1", &secret).unwrap();
    mqtt.publish("TANK-1", &json!({ "at": rfc3339(t0 + 3_000_000), "values": { "LEL-101": 12.0 } })).unwrap();
    server.wait("the return", |s| (s.get(&format!("/api/v1/alarms/{id}"))["state"] == "returned").then_some(()));
    let (status, body) = server.post(&format!("/api/v1/alarms/{id}/close"), &json!({ "reason": "已处置" }));
    assert_eq!((status, body["state"].as_str()), (200, Some("closed")), "{body}");

    let values: Vec<f64> = server.readings(&device, "LEL-101").iter().map(|r| r["value"].as_f64().unwrap()).collect();
    assert_eq!(values, [10.0, 26.5, 51.0, 12.0]);
    let (code, took) = server.stop();
    assert_eq!(code, Some(0));
    assert!(took.as_secs() < 10, "stopped in {took:?}");
}

#[test]
fn a_repeat_after_a_kill_is_not_stored_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path(), &[]);
    let (device, secret) = server.device("D-1", None);
    let payload = json!({ "at": rfc3339(now_us()), "values": { "A": 0.1, "B": 1e-310, "C": -0.0 } });
    Mqtt::connect(&server.mqtt, "D-1", &secret).unwrap().publish("D-1", &payload).unwrap();
    server.kill_and_restart();
    Mqtt::connect(&server.mqtt, "D-1", &secret).unwrap().publish("D-1", &payload).unwrap();
    for (code, bits) in [("A", 0.1f64.to_bits()), ("B", 1e-310f64.to_bits()), ("C", (-0.0f64).to_bits())] {
        let readings = server.readings(&device, code);
        assert_eq!(readings.len(), 1, "{code}: {readings:?}");
        assert_eq!(readings[0]["value"].as_f64().unwrap().to_bits(), bits, "{code} is bit-exact");
    }
}

#[test]
fn a_wrong_secret_is_refused_and_a_second_node_cannot_take_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    server.device("D-1", None);
    assert!(Mqtt::connect(&server.mqtt, "D-1", "wrong").is_err());
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_anlan"))
        .args(["serve", "--data"])
        .arg(dir.path())
        .envs([("ANLAN_HTTP__LISTEN", "127.0.0.1:0"), ("ANLAN_MQTT__LISTEN", "127.0.0.1:0"), ("ANLAN_JT808__LISTEN", "127.0.0.1:0")])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1), "{}", String::from_utf8_lossy(&second.stderr));
}

#[test]
fn a_wrong_key_in_the_configuration_stops_the_start_with_code_2() {
    let dir = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_anlan"))
        .args(["serve", "--data"])
        .arg(dir.path())
        .env("ANLAN_HTTP__LISSTEN", "x")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).to_lowercase().contains("lissten"), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_test_clock_brings_silence_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), &[], &["--test-clock", "2013-06-01T00:00:00Z"]);
    let enterprise = server.enterprise("E-1");
    let (device, secret) = server.device("TANK-1", Some(&enterprise));
    server.put(&format!("/api/v1/devices/{device}/points"), &limits());
    Mqtt::connect(&server.mqtt, "TANK-1", &secret).unwrap().publish("TANK-1", &json!({ "values": { "LEL-101": 3.0 } })).unwrap();
    let (status, body) = server.post("/api/v1/test/clock", &json!({ "advance_s": 3600 }));
    assert_eq!(status, 200, "{body}");
    assert!(body["ran"].as_u64().unwrap() >= 1, "{body}");
    let stale = alarms(&server, "state=raised");
    assert_eq!(stale.len(), 1, "it is there when the clock has answered");
    assert_eq!(stale[0]["kind"], "stale");
}
