//! A small day of the workload, archived by the binary and read back by its own API, by its own check, and by DuckDB: same counts, sums
//! and hashes, with late data, a revision, and a back-fill for a day that was archived before.
//!
//! DuckDB (PyPI `duckdb`) is installed in the target directory, as is moto (PyPI `moto[server]`) for the bucket of a binary with the feature
//! `s3`; where they cannot be had: `skipped: 1`.
//! The full day and the bucket run by hand: docs/reference/archive.md, "Proof".

mod common;

use std::path::Path;
use std::process::Command;

use common::{Mqtt, Server, python, rfc3339};
use serde_json::{Value, json};

const POINTS: usize = 20;
/// 2026-11-10T00:00:00Z.
const DAY0: i64 = 1_794_268_800_000_000;
const DAY_US: i64 = 86_400_000_000;
/// One reading every ten minutes.
const SLOTS: i64 = 144;

fn anlan(data: &Path, archive: &str, arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_anlan"))
        .arg("archive")
        .args(arguments)
        .arg("--data")
        .arg(data)
        .env("ANLAN_ARCHIVE__URL", archive)
        .env("ANLAN_LOG__FILTER", "error")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Row of the report for a table and a day.
fn figures(report: &Value, table: &str, day: &str) -> (u64, f64, String) {
    let found = report["days"].as_array().unwrap().iter().find(|d| d["table"] == table && d["day"] == day);
    let found = found.unwrap_or_else(|| panic!("{table} of {day} in {report}"));
    (found["rows"].as_u64().unwrap(), found["sum"].as_f64().unwrap(), found["hash"].as_str().unwrap().to_owned())
}

/// A quantised walk, like the values of the workload.
fn value(point: usize, slot: i64) -> f64 {
    let n = (point as i64 * 7_919 + slot * 104_729) % 1_000;
    (n as f64 - 300.0) / 10.0
}

/// Sends `(slot, point, value)` of a day, one message per slot.
fn send(mqtt: &mut Mqtt, day: i64, rows: &[(i64, usize, f64)], backfill: bool) {
    let mut slots: Vec<i64> = rows.iter().map(|r| r.0).collect();
    slots.dedup();
    for slot in slots {
        let values: serde_json::Map<String, Value> =
            rows.iter().filter(|r| r.0 == slot).map(|r| (format!("TI-{:03}", r.1), json!(r.2))).collect();
        let mut message = json!({ "at": rfc3339(at(day, slot)), "values": values });
        if backfill {
            message["backfill"] = json!(true);
        }
        mqtt.publish("W-1", &message).unwrap();
    }
}

fn at(day: i64, slot: i64) -> i64 {
    DAY0 + day * DAY_US + slot * (DAY_US / SLOTS) + 123_456
}

fn advance_to(server: &Server, us: i64) {
    let (status, body) = server.post("/api/v1/test/clock", &json!({ "set": rfc3339(us) }));
    assert_eq!(status, 200, "{body}");
}

/// Count, sum, hash of all rows, and count of the view's rows, as DuckDB has them; `None` where it is not installed.
fn duckdb(root: &Path, day: &str) -> Option<(u64, f64, String, u64)> {
    const SCRIPT: &str = r"
import sys, duckdb
root, day = sys.argv[1], sys.argv[2]
files = f'{root}/readings/day=*/region=*/*.parquet'
db = duckdb.connect()
n, total, digest = db.execute(f'''
SELECT count(*), sum(value),
       sum((((point::HUGEINT * 1000003 + epoch_us(event_at)) % 2147483647 + 2147483647) % 2147483647)
         * (((round(value * 1e6)::HUGEINT + 31 * revision + 1009 * (65536 * quality + flags)) % 2147483629 + 2147483629) % 2147483629))
FROM read_parquet('{root}/readings/day={day}/region=*/*.parquet')''').fetchone()
db.execute(f'''
CREATE VIEW readings AS
SELECT *
FROM read_parquet('{files}', hive_partitioning = true, hive_types = {{'day': DATE, 'region': VARCHAR}})
QUALIFY row_number() OVER (PARTITION BY point, event_at ORDER BY revision DESC) = 1''')
shown, region, unit = db.execute(f'''
SELECT count(*), min(region), min(unit) FROM readings WHERE day = DATE '{day}' AND region = '530402' ''').fetchone()
assert region == '530402' and unit == 'kPa', (region, unit)
print(n, repr(total), digest, shown)
";
    let python = python("import duckdb", "duckdb>=1.2", "duckdb-venv")?;
    let output = Command::new(python).args(["-c", SCRIPT]).arg(root).arg(day).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut words = text.split_whitespace();
    let mut next = || words.next().unwrap().to_owned();
    Some((next().parse().unwrap(), next().parse().unwrap(), next(), next().parse().unwrap()))
}

/// Everything the API knows of a point, as (instant, value).
fn shown(server: &Server, device: &str, point: usize) -> Vec<(String, f64)> {
    let rows = server.readings(device, &format!("TI-{point:03}"));
    rows.iter().map(|r| (r["at"].as_str().unwrap().to_owned(), r["value"].as_f64().unwrap())).collect()
}

#[test]
fn a_small_day_of_the_workload_comes_back_from_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("archive");
    let url = root.to_str().unwrap();
    let data = dir.path().join("data");
    let settings = [("ANLAN_ARCHIVE__URL", url), ("ANLAN_ARCHIVE__AFTER_DAYS", "2"), ("ANLAN_ARCHIVE__COMPACT_PARTS", "3")];
    let mut server = Server::start_with(&data, &settings, &["--test-clock", &rfc3339(DAY0)]);
    server.post("/api/v1/test/clock", &json!({ "rate": 0 }));
    let enterprise = server.enterprise("E-W");
    let body = json!({ "code": "W-1", "name": "W-1", "enterprise": enterprise, "protocol": "mqtt", "may_backfill": true });
    let (status, made) = server.post("/api/v1/devices", &body);
    assert_eq!(status, 201, "{made}");
    let (device, secret) = (made["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned());
    let points: Vec<Value> = (0..POINTS).map(|p| json!({ "code": format!("TI-{p:03}"), "name": "压力", "unit": "kPa" })).collect();
    assert_eq!(server.put(&format!("/api/v1/devices/{device}/points"), &json!({ "points": points })).0, 200);

    // Two days; one sample in a hundred is missing, some of those come late, one value is corrected.
    let mut truth: Vec<std::collections::BTreeMap<i64, f64>> = vec![Default::default(); POINTS];
    let mut revisions = 0;
    for day in 0..2 {
        let (mut now, mut late) = (Vec::new(), Vec::new());
        for slot in 0..SLOTS {
            for (point, truth) in truth.iter_mut().enumerate() {
                let v = value(point, slot + day * SLOTS);
                match (slot * 31 + point as i64 * 17) % 100 {
                    0 => {}
                    1 => late.push((slot, point, v)),
                    _ => now.push((slot, point, v)),
                }
                if (slot * 31 + point as i64 * 17) % 100 > 0 {
                    truth.insert(at(day, slot), v);
                }
            }
        }
        advance_to(&server, DAY0 + (day + 1) * DAY_US);
        let mut mqtt = Mqtt::connect(&server.mqtt, "W-1", &secret).unwrap();
        send(&mut mqtt, day, &now, false);
        send(&mut mqtt, day, &late, false);
        send(&mut mqtt, day, &[(70, 3, 55.5)], false);
        if truth[3].insert(at(day, 70), 55.5).is_some() {
            revisions += 1;
        }
    }
    assert_eq!(revisions, 2, "both corrections met a value");
    let before: Vec<_> = (0..POINTS).map(|p| shown(&server, &device, p)).collect();
    let expected = |truth: &[std::collections::BTreeMap<i64, f64>]| -> Vec<Vec<(String, f64)>> {
        truth.iter().map(|rows| rows.iter().map(|(us, v)| (rfc3339(*us), *v)).collect()).collect()
    };
    assert_eq!(before, expected(&truth));

    // Day 0 is due when it has been over for two days.
    advance_to(&server, DAY0 + 3 * DAY_US - 1);
    assert!(!root.join("readings").exists(), "nothing is due yet");
    advance_to(&server, DAY0 + 4 * DAY_US);
    let report = anlan(&data, url, &["verify"]);
    assert_eq!(report["findings"], json!([]));
    let in_day = |truth: &[std::collections::BTreeMap<i64, f64>], day: i64| -> (u64, f64) {
        let rows: Vec<f64> = truth.iter().flat_map(|t| t.range(DAY0 + day * DAY_US..DAY0 + (day + 1) * DAY_US).map(|(_, v)| *v)).collect();
        (rows.len() as u64, rows.iter().sum())
    };
    for (n, day) in ["2026-11-10", "2026-11-11"].into_iter().enumerate() {
        let (rows, sum, hash) = figures(&report, "readings", day);
        let (newest, newest_sum) = in_day(&truth, n as i64);
        let replaced = value(3, 70 + n as i64 * SLOTS);
        assert_eq!(rows, newest + 1, "the corrected value stands as two revisions");
        assert!((sum - newest_sum - replaced).abs() < 1e-6, "{sum} {newest_sum}");
        if let Some(outside) = duckdb(&root, day) {
            assert_eq!((outside.0, &outside.2, outside.3), (rows, &hash, newest), "{day}");
            assert!((outside.1 - sum).abs() < 1e-6);
        }
    }

    // Years-late readings for a day that is archived: kept, shown, added by the next round; the newest value stays.
    let latest = |server: &Server| server.get(&format!("/api/v1/points/latest?enterprise={enterprise}"))["points"].clone();
    let newest = latest(&server);
    let mut mqtt = Mqtt::connect(&server.mqtt, "W-1", &secret).unwrap();
    let again: Vec<(i64, usize, f64)> = (0..SLOTS).step_by(9).map(|slot| (slot, 5, value(5, slot) + 0.5)).collect();
    send(&mut mqtt, 0, &again, true);
    for (slot, _, v) in &again {
        truth[5].insert(at(0, *slot), *v);
    }
    assert_eq!(shown(&server, &device, 5), expected(&truth)[5]);
    assert_eq!(latest(&server), newest);
    advance_to(&server, DAY0 + 4 * DAY_US + 60_000_000);
    let added = anlan(&data, url, &["verify", "--day", "2026-11-10"]);
    assert_eq!(added["findings"], json!([]));
    let (rows, _, hash) = figures(&added, "readings", "2026-11-10");
    assert!(rows > figures(&report, "readings", "2026-11-10").0);
    if let Some(outside) = duckdb(&root, "2026-11-10") {
        assert_eq!((outside.0, outside.2, outside.3), (rows, hash, in_day(&truth, 0).0));
    }
    let folder = root.join("readings/day=2026-11-10/region=530402");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2, "what came late is a part of its own");

    // A third part makes one of all three, with the same rows.
    send(&mut mqtt, 0, &[(0, 7, 1.25)], true);
    truth[7].insert(at(0, 0), 1.25);
    advance_to(&server, DAY0 + 4 * DAY_US + 120_000_000);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "merged");
    let merged = anlan(&data, url, &["verify", "--day", "2026-11-10"]);
    assert_eq!((merged["findings"].clone(), figures(&merged, "readings", "2026-11-10").0), (json!([]), rows + 1));
    assert_eq!(anlan(&data, url, &["status"])["days"], 2);

    // A stopped node's archive is looked after from the command line; twice does no harm.
    server.stop();
    let as_of = rfc3339(DAY0 + 5 * DAY_US);
    assert_eq!(anlan(&data, url, &["run", "--as-of", &as_of])["rows"], 0);
    server.restart();
    assert_eq!((0..POINTS).map(|p| shown(&server, &device, p)).collect::<Vec<_>>(), expected(&truth));
    println!(
        "figure: archive: {} readings of two days, {} rows of day one after back-fill and merge",
        truth.iter().map(|t| t.len()).sum::<usize>(),
        rows + 1
    );
}

/// An S3 service of PyPI's moto in a process of its own.
#[cfg(feature = "s3")]
struct Moto {
    child: std::process::Child,
    endpoint: String,
}

#[cfg(feature = "s3")]
impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(feature = "s3")]
impl Moto {
    /// Starts it and makes the bucket `years`; on a line of its input it copies the bucket to that folder.
    fn start() -> Option<Self> {
        use std::io::BufRead as _;
        const SCRIPT: &str = r"
import os, sys, boto3
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)
server.start()
_, port = server.get_host_and_port()
endpoint = f'http://127.0.0.1:{port}'
s3 = boto3.client('s3', endpoint_url=endpoint, region_name='us-east-1')
s3.create_bucket(Bucket='years')
print(endpoint, flush=True)
for line in sys.stdin:
    for page in s3.get_paginator('list_objects_v2').paginate(Bucket='years'):
        for found in page.get('Contents', []):
            path = os.path.join(line.strip(), found['Key'])
            os.makedirs(os.path.dirname(path), exist_ok=True)
            s3.download_file('years', found['Key'], path)
    print('copied', flush=True)
";
        let python = python("import boto3; from moto.server import ThreadedMotoServer", "moto[server]>=5,<6", "moto-venv")?;
        let mut child = Command::new(python)
            .args(["-c", SCRIPT])
            .envs(KEYS)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("http://"), "{line:?}");
        Some(Self { child, endpoint: line.trim().to_owned() })
    }

    fn copy(&mut self, to: &Path) {
        use std::io::{BufRead as _, Write as _};
        writeln!(self.child.stdin.as_mut().unwrap(), "{}", to.display()).unwrap();
        let mut line = String::new();
        std::io::BufReader::new(self.child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "copied\n");
    }
}

#[cfg(feature = "s3")]
const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];

#[cfg(feature = "s3")]
#[test]
fn a_bucket_holds_the_same() {
    let Some(mut moto) = Moto::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut settings = vec![
        ("ANLAN_ARCHIVE__URL", "s3://years/node/one"),
        ("ANLAN_ARCHIVE__ENDPOINT", moto.endpoint.as_str()),
        ("ANLAN_ARCHIVE__REGION", "us-east-1"),
        ("ANLAN_ARCHIVE__AFTER_DAYS", "0"),
        ("ANLAN_ARCHIVE__COMPACT_PARTS", "3"),
    ];
    settings.extend(KEYS);
    let server = Server::start_with(&data, &settings, &["--test-clock", &rfc3339(DAY0)]);
    server.post("/api/v1/test/clock", &json!({ "rate": 0 }));
    let enterprise = server.enterprise("E-S3");
    let body = json!({ "code": "W-1", "name": "W-1", "enterprise": enterprise, "protocol": "mqtt", "may_backfill": true });
    let (_, made) = server.post("/api/v1/devices", &body);
    let (device, secret) = (made["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned());
    let points: Vec<Value> = (0..2).map(|p| json!({ "code": format!("TI-{p:03}"), "name": "压力", "unit": "kPa" })).collect();
    assert_eq!(server.put(&format!("/api/v1/devices/{device}/points"), &json!({ "points": points })).0, 200);
    advance_to(&server, DAY0 + DAY_US);
    let mut mqtt = Mqtt::connect(&server.mqtt, "W-1", &secret).unwrap();
    let rows: Vec<(i64, usize, f64)> = (0..SLOTS).flat_map(|slot| (0..2).map(move |p| (slot, p, value(p, slot)))).collect();
    send(&mut mqtt, 0, &rows, false);
    // Each minute something older comes: parts, and then one of them all.
    let mut sent = rows.len() as u64;
    let ask = |arguments: &[&str]| -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_anlan"));
        command.arg("archive").args(arguments).arg("--data").arg(&data).envs(settings.iter().copied()).env("ANLAN_LOG__FILTER", "error");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    for (minute, parts) in [1, 2, 1].into_iter().enumerate() {
        advance_to(&server, DAY0 + DAY_US + (minute as i64 + 1) * 60_000_000);
        let status = ask(&["status"]);
        assert_eq!((status["rows"].as_u64(), status["parts"].as_u64()), (Some(sent), Some(parts)), "{status}");
        send(&mut mqtt, 0, &[(minute as i64 * 7, 0, -5.0)], true);
        sent += 1;
    }
    let report = ask(&["verify"]);
    assert_eq!(report["findings"], json!([]));
    let copy = dir.path().join("copy");
    moto.copy(&copy);
    let root = copy.join("node/one");
    assert_eq!(
        std::fs::read_dir(root.join("readings/day=2026-11-10/region=530402")).unwrap().count(),
        1,
        "nothing is left of the merged parts"
    );
    let (rows, sum, hash) = figures(&report, "readings", "2026-11-10");
    if let Some(outside) = duckdb(&root, "2026-11-10") {
        assert_eq!((outside.0, outside.2), (rows, hash));
        assert!((outside.1 - sum).abs() < 1e-6);
    }
}
