//! A load of JT/T 808 terminals for measuring: thousands of real connections, each reporting every 10 to 30 s, and one subscriber of the live stream.
//!
//! Measures how late reports leave, how long their answers take and how long until a browser could draw them; with the server's process id also its
//! memory and CPU. Unlike [`crate::run`] it writes no truth file and plays no stories. Start at [`run`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anlan_model::Timestamp;
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{Api, Credentials, lock};
use crate::client::terminal::{Parcel, Terminal};
use crate::client::{Heard, Wire as _};
use crate::fleet::Vehicle;
use crate::rng::Rng;
use crate::world::{Scale, World};

/// What to play.
#[derive(Clone, Debug)]
pub struct TerminalsOptions {
    /// `host:port` of the JT/T 808 listener.
    pub jt808: String,
    /// Address of the API and who subscribes to the live stream; `None`: nobody does.
    pub live: Option<(String, Credentials)>,
    /// Terminals, one connection each.
    pub count: usize,
    /// How long, once all are connected.
    pub duration: Duration,
    /// New connections per second.
    pub connect_per_s: f64,
    /// The server's process on this machine, to read its memory and CPU.
    pub pid: Option<u32>,
    /// Same seed, same fleet.
    pub seed: u64,
    /// Ends it early.
    pub stop: CancellationToken,
}

/// Milliseconds at three ranks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// How many were measured.
    pub n: usize,
    /// Median.
    pub p50: f64,
    /// 99th of a hundred.
    pub p99: f64,
    /// Greatest.
    pub max: f64,
}

impl Spread {
    /// Of measurements in any order.
    pub fn of(mut values: Vec<f32>) -> Self {
        values.sort_by(f32::total_cmp);
        // Nearest rank: the least value that at least this share does not exceed.
        let rank =
            |share: f64| values.get(((values.len() as f64 * share).ceil() as usize).saturating_sub(1)).map_or(0.0, |v| f64::from(*v));
        Self { n: values.len(), p50: rank(0.5), p99: rank(0.99), max: rank(1.0) }
    }
}

/// The server's process during the play.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ServerSide {
    /// Resident bytes before the first connection.
    pub rss_before: u64,
    /// Resident bytes at the end, all connected.
    pub rss_after: u64,
    /// Difference by terminals; what the kernel holds in socket buffers is not in it.
    pub bytes_per_connection: f64,
    /// CPU seconds per second while all were connected.
    pub cpu_share: f64,
}

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TerminalsReport {
    /// Terminals asked for.
    pub terminals: usize,
    /// Of them believed by the server when the time began.
    pub connected: u64,
    /// Connections lost and made again.
    pub reconnects: u64,
    /// Reports sent while measuring.
    pub reports: u64,
    /// Reports answered as kept.
    pub acknowledged: u64,
    /// Reports refused, or not answered within [`ANSWER_LIMIT`].
    pub failed: u64,
    /// From the planned instant to the socket: a busy simulator would make every other figure look good.
    pub lateness_ms: Spread,
    /// From the socket to the answer, which the server sends after the sync.
    pub answer_ms: Spread,
    /// From the socket to the live stream, which tells of vehicles at most once a second; reports replaced by a newer one meanwhile do not count.
    pub live_ms: Spread,
    /// If the process id was given.
    pub server: Option<ServerSide>,
}

/// Why it did not play.
#[derive(Debug, thiserror::Error)]
pub enum TerminalsError {
    /// Signing in for the live stream.
    #[error("the live stream needs a session")]
    Api(#[from] crate::api::ApiError),
    /// The live stream.
    #[error("the live stream at {url} cannot be opened: {reason}")]
    Live {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
    /// Reading the server's process.
    #[error("process {pid} cannot be read; is it the server on this machine?")]
    Process {
        /// The number.
        pid: u32,
        /// Why.
        source: std::io::Error,
    },
    /// Most terminals were not heard.
    #[error(
        "only {connected} of {wanted} terminals were heard; the server needs jt808.unknown = \"accept\", limits.max_connections and \
         limits.max_connections_per_ip of {wanted} or more, vehicles.open_max too, and as many open files"
    )]
    NotHeard {
        /// Terminals that got an answer.
        connected: u64,
        /// Terminals asked for.
        wanted: usize,
    },
}

/// An answer that takes longer than this counts as failed, and the terminal connects anew.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// So long without one more terminal heard, and nobody waits for the rest.
const STUCK: Duration = Duration::from_secs(30);
/// A terminal that lost its connection waits so long at most.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Reports whose way to the live stream is still open; about a minute of 10,000 terminals at 10 s.
const OPEN_MAX: usize = 65_536;

#[derive(Default)]
struct Shared {
    connected: AtomicU64,
    reconnects: AtomicU64,
    reports: AtomicU64,
    acknowledged: AtomicU64,
    failed: AtomicU64,
    lateness_ms: Mutex<Vec<f32>>,
    answer_ms: Mutex<Vec<f32>>,
    live_ms: Mutex<Vec<f32>>,
    /// When a report at this place (1e-6 degrees) left. Vehicles move, so a place names a report.
    open: Mutex<HashMap<(i32, i32), Instant>>,
    measuring: std::sync::atomic::AtomicBool,
}

impl Shared {
    fn measuring(&self) -> bool {
        self.measuring.load(Ordering::Relaxed)
    }
}

fn ms(since: Instant) -> f32 {
    since.elapsed().as_secs_f32() * 1e3
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// User and system CPU seconds and resident bytes of a process (proc(5); the clock ticks at 100 Hz on Linux).
fn process(pid: u32) -> Result<(f64, u64), TerminalsError> {
    let read =
        |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).map_err(|source| TerminalsError::Process { pid, source });
    let (stat, status) = (read("stat")?, read("status")?);
    let ticks: f64 =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
    let rss = status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0);
    Ok((ticks / 100.0, rss * 1024))
}

/// Connects everybody, measures for the duration, and reports.
///
/// # Errors
/// [`TerminalsError`].
pub async fn run(options: TerminalsOptions) -> Result<TerminalsReport, TerminalsError> {
    let world = Arc::new(World::new(options.seed, Scale { enterprises: 0, points: 0, vehicles: options.count }));
    let shared = Arc::new(Shared::default());
    let (stop, tasks) = (options.stop.child_token(), TaskTracker::new());
    if let Some((http, credentials)) = options.live.clone() {
        subscribe(http, credentials, shared.clone(), stop.clone(), &tasks).await?;
    }
    let before = options.pid.map(process).transpose()?;
    let gap = Duration::from_secs_f64(1.0 / options.connect_per_s.max(1.0));
    let begun = Instant::now();
    for n in 0..options.count {
        tokio::time::sleep_until(begun + gap * u32::try_from(n).unwrap_or(u32::MAX)).await;
        if stop.is_cancelled() {
            break;
        }
        tasks.spawn(terminal(options.jt808.clone(), world.clone(), n, shared.clone(), stop.clone(), options.seed));
    }
    // Vehicles are made at first sight: that takes as long as it takes, if only it goes on.
    let heard = || shared.connected.load(Ordering::Relaxed);
    let (mut before_pause, mut since) = (heard(), Instant::now());
    while heard() < options.count as u64 && since.elapsed() < STUCK && !stop.is_cancelled() {
        sleep(Duration::from_millis(500), &stop).await;
        if heard() != before_pause {
            (before_pause, since) = (heard(), Instant::now());
        }
    }
    let longest = world.vehicles.iter().map(|v| v.period_s).fold(0.0, f64::max);
    // Everybody has reported once.
    sleep(Duration::from_secs_f64(longest + 2.0), &stop).await;
    let connected = shared.connected.load(Ordering::Relaxed);
    if (connected as f64) < 0.95 * options.count as f64 && !stop.is_cancelled() {
        stop.cancel();
        return Err(TerminalsError::NotHeard { connected, wanted: options.count });
    }
    lock(&shared.open).clear();
    let (at, cpu_before) = (Instant::now(), options.pid.map(process).transpose()?);
    shared.measuring.store(true, Ordering::Relaxed);
    sleep(options.duration, &stop).await;
    shared.measuring.store(false, Ordering::Relaxed);
    let cpu_after = options.pid.map(process).transpose()?;
    let took = at.elapsed().as_secs_f64();
    // The last answers and live messages are still on their way.
    sleep(Duration::from_secs(2), &stop).await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    let server = before.zip(cpu_before).zip(cpu_after).map(|((before, from), to)| ServerSide {
        rss_before: before.1,
        rss_after: to.1,
        bytes_per_connection: (to.1 as f64 - before.1 as f64) / options.count.max(1) as f64,
        cpu_share: (to.0 - from.0) / took,
    });
    let (count, spread) = (|n: &AtomicU64| n.load(Ordering::Relaxed), |v: &Mutex<Vec<f32>>| Spread::of(std::mem::take(&mut *lock(v))));
    Ok(TerminalsReport {
        terminals: options.count,
        connected,
        reconnects: count(&shared.reconnects),
        reports: count(&shared.reports),
        acknowledged: count(&shared.acknowledged),
        failed: count(&shared.failed),
        lateness_ms: spread(&shared.lateness_ms),
        answer_ms: spread(&shared.answer_ms),
        live_ms: spread(&shared.live_ms),
        server,
    })
}

async fn sleep(time: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(time) => {}
    }
}

/// One terminal with all its connections.
async fn terminal(address: String, world: Arc<World>, n: usize, shared: Arc<Shared>, stop: CancellationToken, seed: u64) {
    let Some(vehicle) = world.vehicles.get(n) else { return };
    let mut rng = Rng::named(seed, &vehicle.phone);
    let mut wire = Terminal::new(&vehicle.phone, &vehicle.plate, vehicle.edition_2019);
    let mut was_heard = false;
    loop {
        let session = session(&address, &world, vehicle, &mut wire, &mut rng, &shared, &mut was_heard);
        tokio::select! {
            () = stop.cancelled() => return,
            ended = session => if let Err(reason) = ended {
                tracing::debug!("terminal {n} lost its connection: {reason}");
            },
        }
        if was_heard {
            shared.reconnects.fetch_add(1, Ordering::Relaxed);
        }
        sleep(RETRY_MAX.mul_f64(rng.between(0.2, 1.0)), &stop).await;
    }
}

/// One connection until it breaks.
async fn session(
    address: &str,
    world: &World,
    vehicle: &Vehicle,
    wire: &mut Terminal,
    rng: &mut Rng,
    shared: &Shared,
    was_heard: &mut bool,
) -> Result<(), String> {
    let text = |e: std::io::Error| e.to_string();
    let mut socket = TcpStream::connect(address).await.map_err(text)?;
    socket.set_nodelay(true).map_err(text)?;
    socket.write_all(&wire.hello()).await.map_err(text)?;
    let period = Duration::from_secs_f64(vehicle.period_s);
    // Spread over the period, so that 10,000 terminals make an even stream.
    let mut due = Instant::now() + period.mul_f64(rng.unit());
    let (mut ready, mut waiting): (bool, Option<(u16, Instant, bool)>) = (false, None);
    let mut buffer = [0; 512];
    let begun = Instant::now();
    loop {
        let limit = waiting.map_or(begun, |(_, since, _)| since) + ANSWER_LIMIT;
        tokio::select! {
            () = tokio::time::sleep_until(due), if ready && waiting.is_none() => {
                let measured = shared.measuring();
                if measured {
                    lock(&shared.lateness_ms).push(ms(due));
                }
                due += period;
                let at = now();
                let route = world.routes.get(vehicle.route).ok_or("a route")?;
                let driven = vehicle.start_m + vehicle.cruise_kmh / 3.6 * (at.micros() as f64 / 1e6).rem_euclid(86_400.0);
                let (place, heading) = route.at(driven);
                let (lat_e6, lon_e6) = ((place.lat * 1e6).round() as i32, (place.lon * 1e6).round() as i32);
                let mut position = anlan_protocols::jt808::Position::at(lat_e6, lon_e6, at);
                // ACC on, fix valid (JT/T 808-2013, table 23, bits 0 and 1).
                position.status = 0b11;
                position.speed_tenth_kmh = (vehicle.cruise_kmh * 10.0) as u16;
                position.direction_deg = heading as u16;
                let (bytes, key) = wire.send(&Parcel::One(position));
                let sent = Instant::now();
                if measured {
                    shared.reports.fetch_add(1, Ordering::Relaxed);
                    let mut open = lock(&shared.open);
                    if open.len() < OPEN_MAX {
                        open.insert((lon_e6, lat_e6), sent);
                    }
                }
                socket.write_all(&bytes).await.map_err(text)?;
                waiting = Some((key, sent, measured));
            }
            read = socket.read(&mut buffer) => {
                let got = read.map_err(text)?;
                if got == 0 {
                    return Err("closed by the server".to_owned());
                }
                for heard in wire.receive(&buffer[..got]) {
                    match heard {
                        Heard::Ready => {
                            ready = true;
                            if !*was_heard {
                                *was_heard = true;
                                shared.connected.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                        Heard::Reply(bytes) => socket.write_all(&bytes).await.map_err(text)?,
                        Heard::Kept(key) => {
                            if let Some((_, since, measured)) = waiting.take_if(|(k, _, _)| *k == key) && measured {
                                shared.acknowledged.fetch_add(1, Ordering::Relaxed);
                                lock(&shared.answer_ms).push(ms(since));
                            }
                        }
                        Heard::Again(key) | Heard::Refused(key) => {
                            if let Some((_, _, measured)) = waiting.take_if(|(k, _, _)| *k == key) {
                                shared.failed.fetch_add(u64::from(measured), Ordering::Relaxed);
                            }
                        }
                        Heard::Broken(reason) => return Err(reason.to_owned()),
                    }
                }
            }
            () = tokio::time::sleep_until(limit), if !ready || waiting.is_some() => {
                shared.failed.fetch_add(u64::from(waiting.is_some_and(|(_, _, measured)| measured)), Ordering::Relaxed);
                return Err("no answer in time".to_owned());
            }
        }
    }
}

/// Subscribes to `vehicles` and notes when each report is heard.
async fn subscribe(
    http: String,
    credentials: Credentials,
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: &TaskTracker,
) -> Result<(), TerminalsError> {
    let (base, signing) = (http.clone(), credentials.clone());
    let api = tokio::task::spawn_blocking(move || Api::sign_in(&base, &signing)).await;
    let token = api.map_err(|e| TerminalsError::Live { url: http.clone(), reason: e.to_string() })??.token().to_owned();
    let url = format!("{}/api/v1/live", http.replacen("http", "ws", 1));
    let fail = |reason: String| TerminalsError::Live { url: url.clone(), reason };
    let mut request = url.as_str().into_client_request().map_err(|e| fail(e.to_string()))?;
    let bearer = format!("Bearer {token}").parse().map_err(|_| fail("the token is no header".to_owned()))?;
    request.headers_mut().insert("authorization", bearer);
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.map_err(|e| fail(e.to_string()))?;
    let hello = serde_json::json!({ "topics": ["vehicles"], "resume": null }).to_string();
    socket.send(Message::text(hello)).await.map_err(|e| fail(e.to_string()))?;
    tasks.spawn(async move {
        loop {
            let message = tokio::select! {
                () = stop.cancelled() => return,
                message = socket.next() => message,
            };
            let Some(Ok(message)) = message else {
                tracing::warn!("the live stream ended");
                return;
            };
            let heard = Instant::now();
            let Message::Text(text) = message else { continue };
            let Ok(value) = serde_json::from_str::<Value>(&text) else { continue };
            for row in value["data"].as_array().into_iter().flatten().filter(|_| value["topic"] == "vehicles") {
                let e6 = |key: &str| row[key].as_f64().map(|degrees| (degrees * 1e6).round() as i32);
                let Some(place) = e6("lon").zip(e6("lat")) else { continue };
                if let Some(sent) = lock(&shared.open).remove(&place) {
                    lock(&shared.live_ms).push(heard.duration_since(sent).as_secs_f32() * 1e3);
                }
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_the_nearest() {
        let spread = Spread::of((1..=200).rev().map(|n| n as f32).collect());
        assert_eq!(spread, Spread { n: 200, p50: 100.0, p99: 198.0, max: 200.0 });
        assert_eq!(Spread::of(Vec::new()), Spread::default());
    }

    #[test]
    fn a_process_says_what_it_used() {
        let (cpu, rss) = process(std::process::id()).unwrap();
        assert!(cpu >= 0.0 && rss > 0);
        assert!(matches!(process(u32::MAX), Err(TerminalsError::Process { .. })));
    }
}
