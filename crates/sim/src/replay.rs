//! Publishes the columns of a plain table (numbers parted by spaces, one row per sample, `.gz` or not) as points of a device over MQTT:
//! a test that real measurements come back bit for bit.
//!
//! Each file is one device `replay-<file name>`, each column a point `C01`, `C02` … Device times end at the start of the replay, so that
//! nothing lies in the future however fast it runs; tables that reach back more than 23 hours are marked as back-fill. Start at [`replay`].

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anlan_model::{Clock, Timestamp};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::{Api, ApiError, Credentials};
use crate::client::mqtt::Publisher;
use crate::client::{self, LinkOptions, ORDERS_MAX, Order, Stats, Summary};
use crate::rng::Rng;
use crate::stage::SimError;
use crate::truth::{Sink, TruthKind, TruthLine, Writer};

/// What to replay, and where.
#[derive(Clone)]
pub struct ReplayOptions {
    /// Table files.
    pub files: Vec<PathBuf>,
    /// `host:port` of the MQTT listener.
    pub mqtt: String,
    /// `http://host:port`, where the devices are registered.
    pub http: String,
    /// An administrator.
    pub credentials: Credentials,
    /// Seconds between rows, in device time.
    pub period_s: f64,
    /// Rows are sent this much faster than the period says.
    pub speed: f64,
    /// Where to write the truth file.
    pub truth: Option<PathBuf>,
    /// Domain clock.
    pub clock: Arc<dyn Clock>,
    /// Ends the replay early.
    pub stop: CancellationToken,
}

/// Why there was no replay.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is not a table of finite numbers.
    #[error("{path}, row {row}: not as many finite numbers as in the first row")]
    Table {
        /// Which.
        path: PathBuf,
        /// From 1.
        row: usize,
    },
    /// The devices cannot be registered.
    #[error("cannot register the devices")]
    Api(#[from] ApiError),
    /// As for a play.
    #[error(transparent)]
    Sim(#[from] SimError),
}

/// The server takes older device times for a wrong clock (24 hours by default), unless they are marked as back-fill; so longer tables are.
const LIVE_S_MAX: f64 = 23.0 * 3_600.0;
/// Largest unpacked table.
const FILE_MAX: u64 = 256 << 20;
/// Rows on the wire at once: 100 rows a second at a few milliseconds per group commit.
const WINDOW: usize = 64;

/// Registers the devices, publishes every row in its turn, waits for the acknowledgements.
///
/// # Errors
/// [`ReplayError`].
pub async fn replay(options: ReplayOptions) -> Result<Summary, ReplayError> {
    if !(options.speed.is_finite() && options.speed > 0.0 && options.period_s.is_finite() && options.period_s > 0.0) {
        return Err(SimError::Speed(options.speed).into());
    }
    let mut tables = Vec::new();
    for path in &options.files {
        let rows = read_table(path)?;
        tables.push((device_code(path), rows));
    }
    let plan: Vec<(String, usize)> = tables.iter().map(|(code, rows)| (code.clone(), rows.first().map_or(0, Vec::len))).collect();
    let (http, credentials) = (options.http.clone(), options.credentials.clone());
    let registered = tokio::task::spawn_blocking(move || register(&http, &credentials, &plan)).await.map_err(|_| SimError::Thread)??;
    let (writer, truth) = match &options.truth {
        Some(path) => Writer::create(path).map(|(writer, sink)| (Some(writer), sink)).map_err(SimError::Truth)?,
        None => (None, Sink::none()),
    };
    let stats = Arc::new(Stats::default());
    let mut tasks = JoinSet::new();
    let now = options.clock.now().floor_us(1_000);
    for ((code, rows), secret) in tables.into_iter().zip(registered) {
        let (orders, queue) = mpsc::channel(ORDERS_MAX);
        let link = LinkOptions {
            address: options.mqtt.clone(),
            window: WINDOW,
            truth: truth.clone(),
            stats: stats.clone(),
            stop: options.stop.child_token(),
        };
        tasks.spawn(client::run(Publisher::new(&code, &secret, true), link, queue, Rng::named(0, &code)));
        tasks.spawn(publish(code, rows, orders, now, options.period_s, options.speed, options.stop.child_token()));
    }
    drop(truth);
    while tasks.join_next().await.is_some() {}
    let truth_lines = match writer {
        Some(writer) => {
            let written = tokio::task::spawn_blocking(move || writer.finish()).await.map_err(|_| SimError::Thread)?;
            written.map_err(SimError::Truth)?
        }
        None => 0,
    };
    Ok(stats.summary(truth_lines))
}

/// Hands over one row per period; a slow server slows it down, nothing is dropped.
async fn publish(
    code: String,
    rows: Vec<Vec<f64>>,
    orders: mpsc::Sender<Order<Vec<u8>>>,
    now: Timestamp,
    period_s: f64,
    speed: f64,
    stop: CancellationToken,
) {
    let n = rows.len();
    let backfill = n as f64 * period_s > LIVE_S_MAX;
    let mut turn = tokio::time::interval(std::time::Duration::from_secs_f64(period_s / speed));
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for (i, row) in rows.into_iter().enumerate() {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = turn.tick() => {}
        }
        let at = now.plus_us(-(((n - i) as f64 * period_s * 1e6) as i64)).floor_us(1_000);
        let values: Map<String, Value> = row.iter().enumerate().map(|(c, value)| (point_code(c), json!(value))).collect();
        let mut payload = json!({ "at": at.to_string(), "values": values });
        if backfill {
            payload["backfill"] = json!(true);
        }
        let payload = payload.to_string().into_bytes();
        let line = |(c, value): (usize, &f64)| {
            let mut line = TruthLine::new(TruthKind::Sent, at);
            line.device = Some(code.clone());
            line.point = Some(point_code(c));
            line.value = Some(*value);
            line.backfill = backfill;
            line
        };
        let lines = row.iter().enumerate().map(line).collect();
        if orders.send(Order::Send(payload, lines)).await.is_err() {
            return;
        }
    }
}

/// Makes the devices and their points; returns a fresh secret for each, as the old one was not kept.
fn register(http: &str, credentials: &Credentials, plan: &[(String, usize)]) -> Result<Vec<String>, ApiError> {
    let api = Api::sign_in(http, credentials)?;
    let known = api.list("/api/v1/devices?limit=1000", "devices")?;
    let mut secrets = Vec::new();
    for (code, columns) in plan {
        let old = known.iter().find(|row| row["code"] == *code).and_then(|row| row["id"].as_str());
        let answer = match old {
            Some(id) => api.post(&format!("/api/v1/devices/{id}/secret"), &json!({}))?,
            None => {
                let body =
                    json!({ "code": code, "name": format!("回放 {code}"), "enterprise": null, "protocol": "mqtt", "may_backfill": true });
                api.post("/api/v1/devices", &body)?
            }
        };
        let shape = |expected| ApiError::Shape { path: "/api/v1/devices".to_owned(), expected };
        let id = old.or(answer["id"].as_str()).ok_or_else(|| shape("an id"))?;
        // Period 0: a replay that ended is no device that fell silent.
        let points: Vec<Value> = (0..*columns)
            .map(|c| json!({ "code": point_code(c), "name": format!("第 {} 列", c + 1), "unit": "", "period_s": 0.0 }))
            .collect();
        api.put(&format!("/api/v1/devices/{id}/points"), &json!({ "points": points }))?;
        secrets.push(answer["secret"].as_str().ok_or_else(|| shape("a secret"))?.to_owned());
    }
    Ok(secrets)
}

fn point_code(column: usize) -> String {
    format!("C{:02}", column + 1)
}

/// `replay-` and the file's name up to its first dot, other signs than letters and digits as `-`.
fn device_code(path: &Path) -> String {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = name.split('.').next().unwrap_or_default();
    let clean: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
    format!("replay-{clean}")
}

/// The rows of a table file. A file with far more columns than rows is taken for transposed if its rows number `52`, as `d00.dat` of the
/// Tennessee Eastman set is.
///
/// # Errors
/// [`ReplayError::Io`], [`ReplayError::Table`].
pub fn read_table(path: &Path) -> Result<Vec<Vec<f64>>, ReplayError> {
    let io = |source| ReplayError::Io { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(io)?;
    let mut text = String::new();
    let packed = path.extension().is_some_and(|e| e == "gz");
    match packed {
        true => flate2::read::MultiGzDecoder::new(file).take(FILE_MAX).read_to_string(&mut text),
        false => file.take(FILE_MAX).read_to_string(&mut text),
    }
    .map_err(io)?;
    let mut rows: Vec<Vec<f64>> = Vec::new();
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        let wrong = || ReplayError::Table { path: path.to_owned(), row: rows.len() + 1 };
        let row: Option<Vec<f64>> = line.split_whitespace().map(|n| n.parse().ok().filter(|x: &f64| x.is_finite())).collect();
        let row = row.filter(|row| rows.first().is_none_or(|first| first.len() == row.len())).ok_or_else(wrong)?;
        rows.push(row);
    }
    const TEP_COLUMNS: usize = 52;
    if rows.len() == TEP_COLUMNS && rows[0].len() > TEP_COLUMNS {
        rows = (0..rows[0].len()).map(|c| rows.iter().map(|row| row[c]).collect()).collect();
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_table_is_read_packed_or_not_and_numbers_keep_their_bits() {
        let dir = tempfile::tempdir().unwrap();
        let text = "  2.4987000e-01   3.6720000e+03\n -1.5e-3 0.1\n\n";
        let plain = dir.path().join("a.dat");
        std::fs::write(&plain, text).unwrap();
        let packed = dir.path().join("a.dat.gz");
        let mut gz = flate2::write::GzEncoder::new(std::fs::File::create(&packed).unwrap(), flate2::Compression::fast());
        gz.write_all(text.as_bytes()).unwrap();
        gz.finish().unwrap();
        let rows = read_table(&plain).unwrap();
        assert_eq!(rows, [[0.24987, 3672.0], [-0.0015, 0.1]]);
        assert_eq!(read_table(&packed).unwrap(), rows);
        assert_eq!(device_code(&packed), "replay-a");
        std::fs::write(&plain, "1 2\n3\n").unwrap();
        assert!(matches!(read_table(&plain), Err(ReplayError::Table { row: 2, .. })));
        std::fs::write(&plain, "1 nan\n").unwrap();
        assert!(matches!(read_table(&plain), Err(ReplayError::Table { row: 1, .. })));
    }

    #[test]
    fn the_shared_tables_have_52_columns() {
        let Some(shared) = std::env::var_os("ANLAN_SHARED") else {
            println!("skipped: 1");
            return;
        };
        let folder = Path::new(&shared).join("science/tep");
        for entry in std::fs::read_dir(folder).unwrap() {
            let rows = read_table(&entry.unwrap().path()).unwrap();
            assert!(rows.len() == 960 || rows.len() == 500);
            assert!(rows.iter().all(|row| row.len() == 52));
        }
    }
}
