//! Two nodes as platforms of JT/T 809: a terminal speaks to the one below, the vehicle moves on the one above, and kills of both change nothing of it.

mod common;
#[path = "common/jt808.rs"]
mod jt808;

use std::collections::BTreeSet;
use std::path::Path;

use common::{Server, now_us};
use jt808::{Position, Terminal};
use serde_json::{Value, json};

const PHONE: &str = "13800138000";
const SECOND: i64 = 1_000_000;

fn vehicle(server: &Server) -> Option<Value> {
    server.get(&format!("/api/v1/vehicles?phone={PHONE}"))["vehicles"].as_array().expect("vehicles").first().cloned()
}

/// Times of all positions of the vehicle.
fn times(server: &Server) -> Vec<String> {
    let Some(vehicle) = vehicle(server) else { return Vec::new() };
    let page = server.get(&format!("/api/v1/vehicles/{}/positions?limit=1000", vehicle["id"].as_str().expect("an id")));
    let all = page["positions"].as_array().expect("positions").iter();
    all.map(|p| p["device_at"].as_str().expect("a device time").to_owned()).collect()
}

fn config(dir: &Path, name: &str, edition: &str, jt809: &str) -> String {
    let file = dir.join(name);
    let at = dir.display();
    let agreed = format!(
        "access_code = 530400001\nuser_id = 1001\npassword_file = \"{at}/password\"\nedition = \"{edition}\"\nm1 = 10000000\nia1 = 20000000\nic1 = 30000000\nca = \"{at}/ca.pem\"\n"
    );
    let tls = format!("[tls]\ncertificate = \"{at}/ca.pem\"\nkey = \"{at}/key.pem\"\n");
    std::fs::write(&file, format!("{tls}\n{jt809}{agreed}")).unwrap();
    file.display().to_string()
}

fn check(edition: &str) {
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("password"), "s3cret-9\n").unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(files.path().join("ca.pem"), made.cert.pem()).unwrap();
    std::fs::write(files.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    // The node above keeps its port when it starts anew.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let above_config = config(
        files.path(),
        "above.toml",
        edition,
        &format!("[jt809]\nlisten = \"127.0.0.1:{port}\"\n[[jt809.platform]]\nname = \"plant\"\naddresses = [\"127.0.0.1\"]\n"),
    );
    let below_config = config(
        files.path(),
        "below.toml",
        edition,
        &format!("[[jt809.upper]]\nname = \"city\"\naddress = \"127.0.0.1:{port}\"\nlisten = \"127.0.0.1:0\"\nplate_colour = 2\n"),
    );
    let (above_dir, below_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let accept = [("ANLAN_JT808__UNKNOWN", "accept")];
    let mut above = Server::start_with(above_dir.path(), &accept, &["--config", &above_config]);
    let mut below = Server::start_with(below_dir.path(), &accept, &["--config", &below_config]);
    assert_eq!(above.ready["jt809"], format!("127.0.0.1:{port}"));

    let t0 = now_us() / SECOND * SECOND - 60 * SECOND;
    let at = |n: i64| Position { lon_e6: 102_540_000 + n as u32 * 100, ..Position::at(t0 + n * SECOND) };
    let say = |below: &Server, numbers: std::ops::Range<i64>| {
        let mut terminal = Terminal::connect(&below.jt808);
        for n in numbers {
            assert_eq!(terminal.ask(0x0200, PHONE, &at(n).bytes()).map(|a| a.result), Some(0), "kept below");
        }
    };
    // The first makes the vehicle known; without a plate it cannot be given.
    say(&below, 0..1);
    let known = below.wait("the vehicle below", vehicle);
    let change = json!({ "revision": known["revision"], "plate": "云F12345" });
    let (status, body) = below.patch(&format!("/api/v1/vehicles/{}", known["id"].as_str().unwrap()), &change);
    assert_eq!(status, 200, "{body}");

    say(&below, 1..6);
    above.wait("five positions above", |s| (times(s).len() >= 5).then_some(()));
    let there = vehicle(&above).expect("the vehicle above");
    assert_eq!(there["trust"], "platform", "{there}");
    let newest = &above.get("/api/v1/vehicles/latest")["vehicles"][0];
    assert_eq!(newest["lon"].as_f64().or(newest["position"]["lon"].as_f64()), Some(102.5405), "{newest}");
    let links = above.get("/api/v1/summary");
    let link = links["links"].as_array().expect("links").iter().find(|l| l["name"] == "jt809").expect("the link").clone();
    assert!(link["readings_total"].as_u64().unwrap_or(0) >= 5, "{link}");

    // What is said while nobody above listens, and after a kill below, too.
    above.kill();
    say(&below, 6..16);
    below.kill_and_restart();
    say(&below, 16..21);
    above.restart();
    // Connects at once, since it is new; the one before would have waited half a minute.
    below.kill_and_restart();
    let wanted: BTreeSet<String> = (1..21).filter_map(|n| at(n).device_at()).collect();
    above.wait("all of it above", |s| wanted.is_subset(&times(s).into_iter().collect()).then_some(()));
    // The very first may come, too: it was not confirmed, and by now its vehicle has a plate.
    let all = times(&above);
    assert_eq!(all.len(), all.iter().collect::<BTreeSet<_>>().len(), "each once, although some were given twice");
    let events = above.get("/api/v1/events?kind=platform_up");
    assert!(events["events"].as_array().is_some_and(|all| all.iter().any(|e| e["subject"] == "plant")), "{events}");
    for server in [&mut below, &mut above] {
        let (code, took) = server.stop();
        assert_eq!(code, Some(0));
        assert!(took.as_secs() < 10, "stopped in {took:?}");
    }
}

#[test]
fn a_vehicle_moves_on_the_platform_above_across_kills_of_both_2011() {
    check("2011");
}

#[test]
fn a_vehicle_moves_on_the_platform_above_across_kills_of_both_2019() {
    check("2019");
}
