//! What watches the node itself: proof of life outwards, and the machine's clock.
//!
//! Both run on real time, whatever the test clock says. What they find stands in `anlan_app::health`. Start at [`life`] and [`clock`].

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anlan_app::App;
use anlan_app::health::Trouble;
use anlan_model::Clock as _;
use anyhow::Context as _;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// A delivery that takes longer has failed; the next one is due soon.
const DELIVER_WITHIN: Duration = Duration::from_secs(10);

/// Where the proof of life goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channel {
    /// POST of the JSON.
    Url(String),
    /// A file replaced each time; something else on this machine watches its age.
    File(PathBuf),
}

impl Channel {
    /// `http://…`, `https://…` or `file:/path`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(path) = text.strip_prefix("file:") {
            let path = PathBuf::from(path);
            return if path.is_absolute() {
                Ok(Self::File(path))
            } else {
                Err("file: needs an absolute path, as in file:/var/run/anlan.life")
            };
        }
        if text.starts_with("http://") || text.starts_with("https://") {
            Ok(Self::Url(text.to_owned()))
        } else {
            Err("use http://…, https://… or file:/path")
        }
    }

    fn deliver(&self, body: &serde_json::Value) -> anyhow::Result<()> {
        match self {
            Self::Url(url) => {
                let config = ureq::Agent::config_builder().timeout_global(Some(DELIVER_WITHIN)).build();
                ureq::Agent::new_with_config(config).post(url).send_json(body).map(drop).context("the channel does not take it")
            }
            Self::File(path) => replace(path, body).with_context(|| format!("write {}", path.display())),
        }
    }
}

fn replace(path: &Path, body: &serde_json::Value) -> std::io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new("/")))?;
    writeln!(file, "{body}")?;
    file.persist(path)?;
    Ok(())
}

/// Sends a proof of life to `channel` at once and then every `every`, until stopped: who we are, how far the log is, what is wrong.
pub async fn life(app: Arc<App>, channel: Channel, every: Duration, node: String, stop: CancellationToken) {
    let incarnation = format!("{:x}-{:x}", unix_us(), std::process::id());
    app.health.with_life(|life| life.configured = true);
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for sequence in 1_u64.. {
        tokio::select! { () = stop.cancelled() => return, _ = tick.tick() => {} }
        let (now, status) = (app.clock.now(), app.telemetry.status());
        let troubles: Vec<_> = app.troubles(now).into_iter().filter(|t| !matches!(t, Trouble::Life(_))).map(Trouble::word).collect();
        let body = serde_json::json!({
            "event": "alive", "node": node, "incarnation": incarnation, "sequence": sequence, "now": now, "every_s": every.as_secs(),
            "release": env!("CARGO_PKG_VERSION"), "position": status.position, "projected": status.projected, "troubles": troubles,
        });
        let to = channel.clone();
        let delivered = tokio::task::spawn_blocking(move || to.deliver(&body)).await.unwrap_or_else(|e| Err(e.into()));
        let now = app.clock.now();
        match delivered {
            Ok(()) => {
                metrics::counter!("anlan_life_delivered_total").increment(1);
                let was = app.health.life().failing_since;
                app.health.with_life(|life| (life.delivered_at, life.failing_since) = (Some(now), None));
                if was.is_some() {
                    info!("the proof of life is delivered again");
                }
            }
            Err(failure) => {
                metrics::counter!("anlan_life_failed_total").increment(1);
                if app.health.life().failing_since.is_none() {
                    warn!("the proof of life is not delivered: {failure:#}");
                }
                app.health.with_life(|life| life.failing_since = life.failing_since.or(Some(now)));
            }
        }
    }
}

/// How often the clock is compared with monotonic time.
const COMPARE_EVERY: Duration = Duration::from_secs(1);
/// A jump smaller than this is slewing or scheduling; NTP itself steps only beyond 128 ms (RFC 5905, 10: step threshold 0.125 s).
const STEP_US: i64 = 500_000;
/// systemd-timesyncd keeps this file while it is in step.
const TIMESYNCD: &str = "/run/systemd/timesync/synchronized";

/// Compares the machine's clock with monotonic time every second and with `server` every `every`, until stopped.
pub async fn clock(app: Arc<App>, server: Option<String>, every: Duration, stop: CancellationToken) {
    let (mut real, mut monotonic) = (unix_us(), Instant::now());
    let mut asked: Option<Instant> = None;
    while tokio::time::timeout(COMPARE_EVERY, stop.cancelled()).await.is_err() {
        let (real_now, monotonic_now) = (unix_us(), Instant::now());
        let passed = i64::try_from((monotonic_now - monotonic).as_micros()).unwrap_or(i64::MAX);
        let jump = real_now - real - passed;
        (real, monotonic) = (real_now, monotonic_now);
        if jump.abs() >= STEP_US {
            warn!(jump_us = jump, "the machine's clock jumped by {:.3} s", jump as f64 / 1e6);
            metrics::counter!("anlan_clock_steps_total").increment(1);
            let at = app.clock.now();
            app.health.with_clock(|clock| clock.stepped = Some((at, jump)));
            asked = None;
        }
        if asked.is_some_and(|at| at.elapsed() < every) {
            continue;
        }
        asked = Some(Instant::now());
        let (synchronised, offset_us) = match &server {
            Some(server) => match offset(server).await {
                Ok(offset) => (Some(true), Some(offset)),
                Err(failure) => {
                    warn!("the time server {server} gives no time: {failure:#}");
                    (Some(false), None)
                }
            },
            // No file may mean another daemon: then nobody here can tell.
            None => (Path::new(TIMESYNCD).exists().then_some(true), None),
        };
        app.health.with_clock(|clock| (clock.synchronised, clock.offset_us) = (synchronised, offset_us));
        metrics::gauge!("anlan_clock_synchronised").set(synchronised.map_or(-1.0, |yes| f64::from(u8::from(yes))));
        if let Some(offset) = offset_us {
            metrics::gauge!("anlan_clock_offset_seconds").set(offset as f64 / 1e6);
        }
    }
}

/// Real time minus this machine's, in µs, as an NTP server says (RFC 5905, 8: offset = ((T2 - T1) + (T3 - T4)) / 2).
pub async fn offset(server: &str) -> anyhow::Result<i64> {
    let server = if server.contains(':') { server.to_owned() } else { format!("{server}:123") };
    let address = tokio::net::lookup_host(&server).await?.next().context("no address")?;
    let local: SocketAddr = if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { (std::net::Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(address).await?;
    let mut nonce = [0; 8];
    getrandom::fill(&mut nonce).map_err(std::io::Error::other)?;
    // Version 4, mode 3 (client); the transmit time is random, so that nobody off the path can answer for the server.
    let mut question = [0; 48];
    question[0] = 0x23;
    question[40..].copy_from_slice(&nonce);
    let sent = unix_us();
    socket.send(&question).await?;
    let mut answer = [0; 48];
    let n = tokio::time::timeout(Duration::from_secs(2), socket.recv(&mut answer)).await.context("no answer within 2 s")??;
    let back = unix_us();
    let (received, transmitted) = read_answer(&answer[..n], nonce)?;
    Ok(((received - sent) + (transmitted - back)) / 2)
}

/// When the server received and answered, in µs since 1970.
fn read_answer(answer: &[u8], nonce: [u8; 8]) -> anyhow::Result<(i64, i64)> {
    let answer: &[u8; 48] = answer.try_into().ok().context("an answer of another length")?;
    anyhow::ensure!(answer[0] & 7 == 4, "not a server's answer");
    anyhow::ensure!(answer[24..32] == nonce, "an answer to another question");
    anyhow::ensure!(answer[0] >> 6 != 3 && (1..16).contains(&answer[1]), "the server is not in step itself");
    Ok((ntp_us(&answer[32..40]), ntp_us(&answer[40..48])))
}

/// Seconds from 1900 to 1970 (RFC 5905, figure 4).
const NTP_TO_UNIX_S: i64 = 2_208_988_800;

fn ntp_us(bytes: &[u8]) -> i64 {
    let word = |at: usize| bytes[at..at + 4].iter().fold(0_i64, |sum, b| sum << 8 | i64::from(*b));
    let (seconds, fraction) = (word(0), word(4));
    // The seconds roll over in 2036: what lies before 1968 is of the next era.
    let seconds = if seconds < 1 << 31 { seconds + (1 << 32) } else { seconds };
    (seconds - NTP_TO_UNIX_S) * 1_000_000 + ((fraction * 1_000_000) >> 32)
}

fn unix_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ntp(us: i64) -> [u8; 8] {
        let seconds = u32::try_from((us.div_euclid(1_000_000) + NTP_TO_UNIX_S) % (1 << 32)).unwrap();
        let fraction = u32::try_from(((us.rem_euclid(1_000_000) << 32) + 999_999) / 1_000_000).unwrap();
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&seconds.to_be_bytes());
        bytes[4..].copy_from_slice(&fraction.to_be_bytes());
        bytes
    }

    #[test]
    fn ntp_times_are_read_on_both_sides_of_2036() {
        for us in [0, 1_700_000_000_123_456, 2_085_978_495_999_999, 2_085_978_496_000_000, 2_200_000_000_000_001] {
            assert_eq!(ntp_us(&ntp(us)), us);
        }
    }

    #[test]
    fn only_an_answer_of_a_server_in_step_to_our_question_counts() {
        let mut good = [0; 48];
        (good[0], good[1]) = (0x24, 2);
        good[24..32].copy_from_slice(b"question");
        assert!(read_answer(&good, *b"question").is_ok());
        let check = |at: usize, byte: u8| {
            let mut bad = good;
            bad[at] = byte;
            assert!(read_answer(&bad, *b"question").is_err(), "byte {at}");
        };
        check(0, 0xe4); // leap indicator 3: not synchronised
        check(0, 0x23); // a client's packet
        check(1, 0); // kiss of death
        check(1, 16); // unsynchronised
        check(31, b'N');
        assert!(read_answer(&good[..47], *b"question").is_err());
    }

    #[tokio::test]
    async fn the_offset_is_what_the_server_is_ahead() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        tokio::spawn(async move {
            let mut question = [0; 48];
            let (_, from) = server.recv_from(&mut question).await.unwrap();
            let mut answer = [0; 48];
            (answer[0], answer[1]) = (0x24, 1);
            answer[24..32].copy_from_slice(&question[40..]);
            let ahead = ntp(unix_us() + 3_600_000_000);
            answer[32..40].copy_from_slice(&ahead);
            answer[40..].copy_from_slice(&ahead);
            server.send_to(&answer, from).await.unwrap();
        });
        let found = offset(&address.to_string()).await.unwrap();
        assert!((found - 3_600_000_000).abs() < 2_000_000, "{found}");
    }

    #[test]
    fn a_channel_is_a_url_or_an_absolute_file() {
        assert_eq!(Channel::parse("file:/run/x"), Ok(Channel::File("/run/x".into())));
        assert_eq!(Channel::parse("https://desk.example/life"), Ok(Channel::Url("https://desk.example/life".into())));
        assert!(Channel::parse("file:x").is_err() && Channel::parse("ftp://x").is_err());
    }
}
