//! Days leave when their time is over, unless somebody holds them or the archive lacks them; answers say what is gone.

mod common;
#[path = "common/jt808.rs"]
mod jt808;

use std::process::Command;

use common::{Mqtt, Server, rfc3339};
use jt808::{Position, Terminal};
use serde_json::{Value, json};

/// 2026-11-10T00:00:00Z.
const DAY0: i64 = 1_794_268_800_000_000;
const DAY_US: i64 = 86_400_000_000;
const HOUR_US: i64 = 3_600_000_000;
const PHONE: &str = "013900000001";

/// Housekeeping that does not wait for its turn.
const EAGER: [(&str, &str); 2] = [("ANLAN_HISTORY__CHECKPOINT_MS", "20"), ("ANLAN_HISTORY__MERGE_LOOK_MS", "20")];

fn advance_to(server: &Server, us: i64) {
    let (status, body) = server.post("/api/v1/test/clock", &json!({ "set": rfc3339(us) }));
    assert_eq!(status, 200, "{body}");
}

/// An enterprise with a device of two points, one of which measures methane; its id and those of device and points.
struct Place {
    enterprise: String,
    device: String,
    points: [String; 2],
    mqtt: Mqtt,
    code: String,
}

fn place(server: &Server, code: &str) -> Place {
    let enterprise = server.enterprise(&format!("E-{code}"));
    let (device, secret) = server.device(code, Some(&enterprise));
    let points = json!({ "points": [
        { "code": "TI-1", "name": "温度", "unit": "℃", "kind": "temperature" },
        { "code": "CH4-1", "name": "甲烷", "unit": "%", "kind": "methane" },
    ] });
    let (status, made) = server.put(&format!("/api/v1/devices/{device}/points"), &points);
    assert_eq!(status, 200, "{made}");
    let listed = server.get(&format!("/api/v1/points?device={device}"));
    let id = |code: &str| {
        let found = listed["points"].as_array().unwrap().iter().find(|p| p["code"] == code);
        found.and_then(|p| p["id"].as_str()).unwrap().to_owned()
    };
    let mqtt = Mqtt::connect(&server.mqtt, code, &secret).unwrap();
    Place { enterprise, device, points: [id("TI-1"), id("CH4-1")], mqtt, code: code.to_owned() }
}

/// A reading an hour of each point.
fn send(place: &mut Place, day: i64) {
    let message = |hour: i64| {
        let at = rfc3339(DAY0 + day * DAY_US + hour * HOUR_US + 1_000_000);
        json!({ "at": at, "values": { "TI-1": 20.0 + hour as f64, "CH4-1": 0.25 } })
    };
    let code = place.code.clone();
    place.mqtt.publish(&code, &Value::Array((0..24).map(message).collect())).unwrap();
}

fn count(server: &Server, place: &Place) -> [usize; 2] {
    [server.readings(&place.device, "TI-1").len(), server.readings(&place.device, "CH4-1").len()]
}

fn dropped(from_day: i64, to_day: i64, left: &str) -> Value {
    json!({ "from": rfc3339(DAY0 + from_day * DAY_US), "to": rfc3339(DAY0 + to_day * DAY_US), "left": left })
}

fn audited(server: &Server) -> Vec<Value> {
    server.get("/api/v1/audit?noun=history&limit=1000")["entries"].as_array().unwrap().clone()
}

#[test]
fn days_leave_by_kind_a_hold_keeps_them_and_answers_say_what_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut settings = EAGER.to_vec();
    settings.extend([
        ("ANLAN_RETENTION__READINGS_DAYS", "5"),
        ("ANLAN_RETENTION__KINDS", "{methane=12}"),
        ("ANLAN_RETENTION__POSITIONS_DAYS", "5"),
        ("ANLAN_RETENTION__ROLLUPS_DAYS", "20"),
        ("ANLAN_JT808__UNKNOWN", "accept"),
    ]);
    let mut server = Server::start_with(&data, &settings, &["--test-clock", &rfc3339(DAY0)]);
    server.post("/api/v1/test/clock", &json!({ "rate": 0 }));
    let (mut held, mut free) = (place(&server, "H-1"), place(&server, "F-1"));
    let mut terminal = Terminal::connect(&server.jt808);
    for day in 0..3 {
        advance_to(&server, DAY0 + (day + 1) * DAY_US);
        send(&mut held, day);
        send(&mut free, day);
        let position = Position::at(DAY0 + day * DAY_US + 5 * HOUR_US);
        assert!(terminal.ask(0x0200, PHONE, &position.bytes()).is_some(), "the position of day {day} is answered");
    }
    let vehicle =
        server.wait("the vehicle", |s| s.get(&format!("/api/v1/vehicles?phone={PHONE}"))["vehicles"][0]["id"].as_str().map(str::to_owned));
    let track = format!("/api/v1/vehicles/{vehicle}/positions");
    assert_eq!(server.get(&track)["positions"].as_array().map(Vec::len), Some(3));

    // The ratios of a day stand as they were reckoned while its positions were there.
    let ratios = |server: &Server| server.get("/api/v1/road/ratios?day=2026-11-10")["total"].clone();
    let (status, body) = server.post(&format!("/api/v1/vehicles/{vehicle}/adopt"), &json!({}));
    assert!((200..300).contains(&status), "{body}");
    let reckoned = ratios(&server);
    assert_eq!((&reckoned["positions"], &reckoned["vehicles"]), (&json!(1), &json!(1)), "{reckoned}");

    // Somebody asks for the first two days of one enterprise to be kept.
    let hold = json!({ "enterprise": held.enterprise, "from": rfc3339(DAY0), "to": rfc3339(DAY0 + 2 * DAY_US), "reason": "〔2026〕7 号" });
    let (status, made) = server.post("/api/v1/holds", &hold);
    assert_eq!(status, 201, "{made}");
    let hold = made["id"].as_str().unwrap().to_owned();

    // A day before the time of the first is over, nothing has gone.
    advance_to(&server, DAY0 + 6 * DAY_US - 1);
    assert_eq!((count(&server, &held), count(&server, &free)), ([72, 72], [72, 72]));
    assert_eq!(audited(&server), Vec::<Value>::new());

    // The third day ended five days ago.
    advance_to(&server, DAY0 + 8 * DAY_US);
    server.wait("what is free goes", |s| (count(s, &free)[0] == 0 && count(s, &held)[0] == 48).then_some(()));
    assert_eq!((count(&server, &held), count(&server, &free)), ([48, 72], [0, 72]));
    server.wait("positions go", |s| s.get(&track)["positions"].as_array().unwrap().is_empty().then_some(()));
    let check = |server: &Server| {
        let answer = |place: &Place, point: usize, what: &str| server.get(&format!("/api/v1/points/{}/{what}", place.points[point]));
        assert_eq!(answer(&free, 0, "readings")["dropped"], json!([dropped(0, 3, "hours")]));
        assert_eq!(answer(&held, 0, "readings")["dropped"], json!([dropped(2, 3, "hours")]));
        assert_eq!(answer(&free, 1, "readings")["dropped"], json!([]));
        assert_eq!(server.get(&track)["dropped"], json!([dropped(0, 3, "nothing")]));
        assert_eq!(ratios(server), reckoned);
        // One that nobody asked for in time is not made up from nothing.
        let late = server.get("/api/v1/road/ratios?day=2026-11-11")["total"].clone();
        assert_eq!((&late["pending"], &late["computed_at"]), (&json!(1), &Value::Null), "{late}");
        // The hours say what the readings said.
        let days = answer(&free, 0, &format!("rollup?step=1d&from={}&to={}", rfc3339(DAY0), rfc3339(DAY0 + 3 * DAY_US)));
        assert_eq!(days["dropped"], json!([dropped(0, 3, "hours")]));
        let days = days["rollup"].as_array().unwrap();
        assert_eq!(days.len(), 3);
        for day in days {
            assert_eq!((&day["count"], &day["min"], &day["max"], &day["mean"]), (&json!(24), &json!(20.0), &json!(43.0), &json!(31.5)));
        }
    };
    check(&server);
    let entries = audited(&server);
    let days: std::collections::BTreeSet<&str> = entries.iter().filter_map(|e| e["subject"].as_str()).collect();
    assert_eq!(Vec::from_iter(days), ["2026-11-10", "2026-11-11", "2026-11-12"]);
    let readings: u64 = entries.iter().filter_map(|e| e["detail"]["readings"].as_u64()).sum();
    let positions: u64 = entries.iter().filter_map(|e| e["detail"]["positions"].as_u64()).sum();
    assert_eq!((readings, positions), (72 + 24, 3), "{entries:?}");

    // It stays so over a restart, and every file is sound.
    server.stop();
    let verify = || Command::new(env!("CARGO_BIN_EXE_anlan")).args(["history", "verify", "--data"]).arg(&data).output().unwrap();
    let report = verify();
    assert!(report.status.success(), "{}", String::from_utf8_lossy(&report.stdout));
    server.restart();
    server.post("/api/v1/test/clock", &json!({ "rate": 0 }));
    advance_to(&server, DAY0 + 8 * DAY_US);
    check(&server);
    assert_eq!((count(&server, &held), count(&server, &free)), ([48, 72], [0, 72]));

    // Released, what was held goes; then methane; then the hours, and nobody pretends that there never was anything.
    let (status, body) = server.post(&format!("/api/v1/holds/{hold}/release"), &json!({ "reason": "结案" }));
    assert_eq!(status, 204, "{body}");
    server.wait("what was held goes", |s| (count(s, &held) == [0, 72]).then_some(()));
    advance_to(&server, DAY0 + 30 * DAY_US);
    let point = format!("/api/v1/points/{}", free.points[1]);
    server.wait("all is gone", |s| (s.get(&format!("{point}/readings"))["dropped"] == json!([dropped(0, 3, "nothing")])).then_some(()));
    assert_eq!((count(&server, &held), count(&server, &free)), ([0, 0], [0, 0]));
    let hours = server.get(&format!("{point}/rollup?step=1h&from={}&to={}", rfc3339(DAY0), rfc3339(DAY0 + 3 * DAY_US)));
    assert_eq!((&hours["rollup"], &hours["dropped"]), (&json!([]), &json!([dropped(0, 3, "nothing")])));
    server.stop();
    let report = verify();
    assert!(report.status.success(), "{}", String::from_utf8_lossy(&report.stdout));
}

#[test]
fn a_position_that_comes_late_hides_nothing_of_what_was_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut settings = EAGER.to_vec();
    settings.extend([("ANLAN_RETENTION__POSITIONS_DAYS", "5"), ("ANLAN_JT808__UNKNOWN", "accept"), ("ANLAN_TIME__PAST_S", "2592000")]);
    let server = Server::start_with(&data, &settings, &["--test-clock", &rfc3339(DAY0)]);
    server.post("/api/v1/test/clock", &json!({ "rate": 0 }));
    advance_to(&server, DAY0 + DAY_US);
    let mut terminal = Terminal::connect(&server.jt808);
    let track = |server: &Server, phone: &str| {
        let found = server.get(&format!("/api/v1/vehicles?phone={phone}"))["vehicles"][0]["id"].as_str().map(str::to_owned)?;
        Some((found.clone(), server.get(&format!("/api/v1/vehicles/{found}/positions"))))
    };
    let shown =
        |server: &Server, phone: &str| track(server, phone).map(|(_, t)| (t["positions"].as_array().map(Vec::len), t["dropped"].clone()));
    let mut say = |phone: &str, hour: i64| assert!(terminal.ask(0x0200, phone, &Position::at(DAY0 + hour * HOUR_US).bytes()).is_some());
    let (held, free) = ("013900000001", "013900000002");
    say(held, 5);
    say(free, 5);
    let (id, _) = server.wait("the vehicle", |s| track(s, held).filter(|(_, t)| t["positions"][0].is_object()));
    let hold = json!({ "vehicles": [id], "from": rfc3339(DAY0), "to": rfc3339(DAY0 + DAY_US), "reason": "〔2026〕8 号" });
    let (status, made) = server.post("/api/v1/holds", &hold);
    assert_eq!(status, 201, "{made}");
    advance_to(&server, DAY0 + 7 * DAY_US);
    let gone = json!([dropped(0, 1, "nothing")]);
    server.wait("what nobody holds goes", |s| (shown(s, free) == Some((Some(0), gone.clone()))).then_some(()));
    say(free, 6);
    server.wait("what comes late is shown", |s| (shown(s, free) == Some((Some(1), gone.clone()))).then_some(()));
    assert_eq!(shown(&server, held), Some((Some(1), json!([]))));
}

#[test]
fn what_is_not_archived_is_not_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let archive = dir.path().join("archive");
    let mut settings = EAGER.to_vec();
    settings.extend([
        ("ANLAN_RETENTION__READINGS_DAYS", "1"),
        ("ANLAN_ARCHIVE__URL", archive.to_str().unwrap()),
        ("ANLAN_ARCHIVE__AFTER_DAYS", "6"),
    ]);
    let server = Server::start_with(&data, &settings, &["--test-clock", &rfc3339(DAY0)]);
    server.post("/api/v1/test/clock", &json!({ "rate": 0 }));
    let mut place = place(&server, "A-1");
    advance_to(&server, DAY0 + DAY_US);
    send(&mut place, 0);
    // Long over, and not archived yet; the clock answers when everything due has run.
    let sealed = |server: &Server| {
        let text = server.get("/metrics");
        let line = text.as_str().unwrap().lines().find(|l| l.starts_with("anlan_history_sealed_readings ")).map(str::to_owned);
        line.and_then(|l| l.split(' ').nth(1)?.parse::<f64>().ok())
    };
    advance_to(&server, DAY0 + 5 * DAY_US);
    server.wait("it is sealed", |s| (sealed(s) == Some(48.0)).then_some(()));
    advance_to(&server, DAY0 + 5 * DAY_US + HOUR_US);
    assert_eq!(sealed(&server), Some(48.0));
    assert_eq!(audited(&server), Vec::<Value>::new());
    // Archived, it leaves the hot files; whoever asks sees no difference.
    let before = server.readings(&place.device, "TI-1");
    advance_to(&server, DAY0 + 8 * DAY_US);
    server.wait("it is dropped", |s| (sealed(s) == Some(0.0)).then_some(()));
    assert_eq!(audited(&server).len(), 1);
    let answer = server.get(&format!("/api/v1/points/{}/readings", place.points[0]));
    assert_eq!((answer["readings"].as_array(), &answer["dropped"]), (Some(&before), &json!([])));
    assert_eq!(before.len(), 24);
}

#[test]
fn repair_names_what_is_lost_and_reads_it_from_the_archive() {
    let dir = tempfile::tempdir().unwrap();
    let (data, archive) = (dir.path().join("data"), dir.path().join("archive"));
    let mut settings = EAGER.to_vec();
    let url = ("ANLAN_ARCHIVE__URL", archive.to_str().unwrap());
    settings.extend([url, ("ANLAN_ARCHIVE__AFTER_DAYS", "1"), ("ANLAN_HISTORY__SEGMENT_BYTES", "100"), ("ANLAN_HISTORY__KEEP_LOG_S", "0")]);
    let mut server = Server::start_with(&data, &settings, &["--test-clock", &rfc3339(DAY0)]);
    server.post("/api/v1/test/clock", &json!({ "rate": 0 }));
    let mut place = place(&server, "R-1");
    for day in 0..4 {
        advance_to(&server, DAY0 + (day + 1) * DAY_US);
        send(&mut place, day);
    }
    // The log of the first days is gone, their readings stand in blocks and in the archive.
    advance_to(&server, DAY0 + 9 * DAY_US);
    send(&mut place, 8);
    advance_to(&server, DAY0 + 12 * DAY_US);
    let first = data.join("history/log-0000000000000001.anl");
    server.wait("the log is released", |_| (!first.exists()).then_some(()));
    let before = ["TI-1", "CH4-1"].map(|code| server.readings(&place.device, code));
    assert_eq!(before[0].len(), 5 * 24);
    server.stop();

    let files = || {
        let entries = std::fs::read_dir(data.join("history")).unwrap().map(|e| e.unwrap().path());
        entries.filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("block-"))).collect::<Vec<_>>()
    };
    let damaged = files();
    for path in &damaged {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[20] ^= 0x10;
        std::fs::write(path, bytes).unwrap();
    }
    let history = |what: &str, settings: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_anlan"));
        command.args(["history", what, "--data"]).arg(&data).env("ANLAN_LOG__FILTER", "error").envs(settings.iter().copied());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
    };
    let verified = history("verify", &[]);
    assert_eq!(verified.0, Some(1), "{}", verified.1);
    let repaired = history("repair", &[url]);
    assert_eq!(repaired.0, Some(0), "{}", repaired.1);
    assert!(repaired.1.contains("lost: point ") && repaired.1.contains("is read from the archive from now on"), "{}", repaired.1);
    assert!(damaged.iter().all(|p| !p.exists() && data.join("history/damaged").join(p.file_name().unwrap()).exists()));
    let verified = history("verify", &[]);
    assert_eq!(verified.0, Some(0), "{}", verified.1);
    server.restart();
    server.post("/api/v1/test/clock", &json!({ "rate": 0 }));
    advance_to(&server, DAY0 + 12 * DAY_US);
    assert_eq!(["TI-1", "CH4-1"].map(|code| server.readings(&place.device, code)), before);
    server.stop();

    // Without an archive it is gone, and the command says so.
    let mut bytes = std::fs::read(&files()[0]).unwrap();
    bytes[20] ^= 0x10;
    std::fs::write(&files()[0], bytes).unwrap();
    let repaired = history("repair", &[]);
    assert_eq!(repaired.0, Some(1), "{}", repaired.1);
    assert!(repaired.1.contains("NOT WHOLE"), "{}", repaired.1);
    assert_eq!(history("repair", &[]), (Some(0), "nothing to repair\n".to_owned()));
}

/// Killed at random instants while time races and days give way; what the list says and what is left are together what was sent.
#[test]
fn days_that_give_way_on_a_short_disk_are_counted_once_whenever_the_node_is_killed() {
    const DAYS: i64 = 8;
    const KILLS: u32 = 6;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut settings = EAGER.to_vec();
    // No disk has that much free.
    settings.extend([
        ("ANLAN_RETENTION__THIN_BELOW_MB", "1000000000000"),
        ("ANLAN_RETENTION__THIN_KEEP_DAYS", "10"),
        ("ANLAN_RETENTION__KINDS", "{methane=3000}"),
    ]);
    let mut server = Server::start_with(&data, &settings, &["--test-clock", &rfc3339(DAY0)]);
    server.post("/api/v1/test/clock", &json!({ "rate": 0 }));
    let mut place = place(&server, "T-1");
    for day in 0..DAYS {
        advance_to(&server, DAY0 + (day + 1) * DAY_US);
        send(&mut place, day);
    }
    advance_to(&server, DAY0 + 10 * DAY_US);
    assert_eq!(server.get("/api/v1/thinned")["thinned"], json!([]), "no day is as old as that");
    let mut seed: u64 = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| common::now_us() as u64);
    println!("seed {seed}");
    for _ in 0..KILLS {
        // Twelve days in a second: days become old enough while it runs.
        server.post("/api/v1/test/clock", &json!({ "set": rfc3339(DAY0 + 10 * DAY_US), "rate": 1_000_000 }));
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(std::time::Duration::from_millis(30 + (seed >> 33) % 300));
        server.kill();
        server.restart();
        server.post("/api/v1/test/clock", &json!({ "rate": 0 }));
    }
    advance_to(&server, DAY0 + 16 * DAY_US);
    // Days that ended ten days before are gone, the kind whose days are set is not.
    let left = server.wait("what may go goes", |s| Some(count(s, &place)).filter(|left| left[0] <= 24 * 2));
    assert_eq!(left[1], 24 * DAYS as usize);
    let listed = server.get("/api/v1/thinned");
    let rows = listed["thinned"].as_array().unwrap();
    let gone: u64 = rows.iter().map(|row| row["readings"]["count"].as_u64().unwrap()).sum();
    assert_eq!(gone + left[0] as u64, 24 * DAYS as u64, "{listed}");
    assert!(rows.iter().all(|row| row["why"] == "disk" && row["readings"]["sum"].as_str().is_some_and(|sum| sum.len() == 32)), "{listed}");
    let hours: u64 = rows.iter().map(|row| row["hours"]["count"].as_u64().unwrap()).sum();
    assert_eq!(hours, gone, "a reading an hour");
    assert!(server.get("/api/v1/events?kind=thinned")["events"].as_array().is_some_and(|events| !events.is_empty()));
    let days = server.get(&format!(
        "/api/v1/points/{}/rollup?step=1d&from={}&to={}",
        place.points[0],
        rfc3339(DAY0),
        rfc3339(DAY0 + DAYS * DAY_US)
    ));
    assert_eq!(days["rollup"].as_array().map(Vec::len), Some(DAYS as usize), "the hours answer for them: {days}");
    server.stop();
    let report = Command::new(env!("CARGO_BIN_EXE_anlan")).args(["history", "verify", "--data"]).arg(&data).output().unwrap();
    assert!(report.status.success(), "{}", String::from_utf8_lossy(&report.stdout));
}
