//! The Tennessee Eastman test runs, published over MQTT and read back: every value comes back bit for bit.
//!
//! The files are not part of this repository: `$ANLAN_SHARED/science/tep/*_te.dat.gz`; one row of 52 numbers per three minutes.
//! Rows are stamped 1.8 s apart, a hundred times the plant's speed, and sent as fast as they are acknowledged.

mod common;

use std::collections::VecDeque;
use std::io::Read as _;
use std::time::Instant;

use common::{Mqtt, Server, now_us, rfc3339, shared};

const N_POINTS: usize = 52;
/// Three minutes at a hundred times the speed.
const STEP_US: i64 = 1_800_000;
/// Messages in flight.
const WINDOW: usize = 32;

/// The number texts of a run, row by row: they travel as the file has them, so that reading decimals is tested too.
fn rows(path: &std::path::Path) -> Vec<Vec<String>> {
    let mut text = String::new();
    let file = std::fs::File::open(path).expect("the file");
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("gzip of text");
    text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

#[test]
fn tep_values_come_back_bit_exact() {
    let Some(dir) = shared(1) else { return };
    let mut files: Vec<_> = std::fs::read_dir(dir.join("science/tep"))
        .expect("the folder")
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with("_te.dat.gz"))
        .collect();
    files.sort();
    assert!(files.len() >= 2);
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path(), &[]);
    let (mut n_messages, mut n_values, mut n_equal) = (0, 0, 0);
    let mut runs = Vec::new();
    let began = Instant::now();
    for path in &files {
        let code = path.file_name().unwrap().to_string_lossy().split('.').next().unwrap().to_uppercase().replace('_', "-");
        let (id, secret) = server.device(&code, None);
        let rows = rows(path);
        let t0 = (now_us() / 1_000 - rows.len() as i64 * STEP_US / 1_000) * 1_000;
        let mut mqtt = Mqtt::connect(&server.mqtt, &code, &secret).expect("connected");
        let topic = format!("anlan/v1/{code}/telemetry");
        let mut in_flight = VecDeque::new();
        for (n, row) in rows.iter().enumerate() {
            assert_eq!(row.len(), N_POINTS, "{}", path.display());
            let values: Vec<String> = row.iter().enumerate().map(|(i, text)| format!("\"V{:02}\":{text}", i + 1)).collect();
            let payload = format!(r#"{{"at":"{}","values":{{{}}}}}"#, rfc3339(t0 + n as i64 * STEP_US), values.join(","));
            in_flight.push_back(mqtt.send(&topic, &payload).unwrap());
            if in_flight.len() == WINDOW {
                assert_eq!(Some(mqtt.acknowledged().unwrap()), in_flight.pop_front());
            }
        }
        for id in in_flight {
            assert_eq!(mqtt.acknowledged().unwrap(), id);
        }
        n_messages += rows.len();
        runs.push((code, id, t0, rows));
    }
    let took = began.elapsed();
    // The acknowledged rows are in history, not only in memory.
    server.kill_and_restart();
    for (code, id, t0, rows) in &runs {
        for point in 0..N_POINTS {
            let kept = server.readings(id, &format!("V{:02}", point + 1));
            assert_eq!(kept.len(), rows.len(), "{code} V{:02}", point + 1);
            for (n, (reading, row)) in kept.iter().zip(rows).enumerate() {
                n_values += 1;
                assert_eq!(reading["at"], rfc3339(t0 + n as i64 * STEP_US));
                let wanted: f64 = row[point].parse().unwrap();
                n_equal += usize::from(reading["value"].as_f64().unwrap().to_bits() == wanted.to_bits());
            }
        }
    }
    println!(
        "figure: tep: {} runs, {n_messages} messages of {N_POINTS} values in {:.1} s, killed and restarted, {n_equal}/{n_values} values bit-exact from history",
        runs.len(),
        took.as_secs_f64()
    );
    assert_eq!(n_equal, n_values);
}
