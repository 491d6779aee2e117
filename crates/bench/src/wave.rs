//! Sends W as line protocol over two HTTP connections; the same bytes to every system. Clients on the same machine: only the server's CPU is judged.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::Duration;

use anlan_sim::workload::{COUNTIES, Sample, Workload};
use anyhow::{Context as _, bail, ensure};

/// Most samples of one request.
const BATCH_MAX: usize = 10_000;
/// Connections.
const CONNECTIONS: usize = 2;

/// Where to.
pub struct Target {
    /// `127.0.0.1:…`.
    pub address: String,
    /// Path and query of each county's requests.
    pub path: String,
    /// `Authorization` of each county, or none.
    pub authorization: Vec<String>,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// Samples in requests that were answered 204.
    pub samples: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Requests sent again because the server was full.
    pub again: u64,
}

/// A connection kept open.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects.
    pub fn open(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Posts a body; status and answer.
    pub fn post(&mut self, path: &str, authorization: &str, body: &[u8]) -> anyhow::Result<(u16, String)> {
        let mut head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n", body.len());
        if !authorization.is_empty() {
            head.push_str(&format!("authorization: {authorization}\r\n"));
        }
        head.push_str("\r\n");
        let socket = self.stream.get_mut();
        socket.write_all(head.as_bytes())?;
        socket.write_all(body)?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|s| s.parse().ok()).with_context(|| format!("a status line: {line:?}"))?;
        let mut length = 0;
        loop {
            let mut header = String::new();
            ensure!(self.stream.read_line(&mut header)? > 0, "the server closed the connection");
            let header = header.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(n) = header.strip_prefix("content-length:") {
                length = n.trim().parse()?;
            }
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer)?;
        Ok((status, String::from_utf8_lossy(&answer).into_owned()))
    }
}

struct Batch {
    county: usize,
    samples: usize,
    body: Vec<u8>,
}

/// Sends `steps` periods that begin at `start_ms`; `steps_per_batch` of them share requests where one has few samples. A point always travels on the
/// same connection, so its readings stay in order.
pub fn send(target: &Target, workload: &mut Workload, start_ms: i64, steps: i64, steps_per_batch: i64) -> anyhow::Result<Sent> {
    let mut step = 0;
    send_all(target, workload, |workload, samples| {
        for _ in 0..steps_per_batch.min(steps - step) {
            workload.step(start_ms + step * workload.shape.period_ms, samples);
            step += 1;
        }
        step < steps
    })
}

/// Sends what `next` appends to its list, until it says that this was all.
pub fn send_all(
    target: &Target,
    workload: &mut Workload,
    mut next: impl FnMut(&mut Workload, &mut Vec<Sample>) -> bool,
) -> anyhow::Result<Sent> {
    std::thread::scope(|scope| {
        let (mut feeds, mut senders) = (Vec::new(), Vec::new());
        for _ in 0..CONNECTIONS {
            // Two waiting bodies keep the connection busy; more would only take memory.
            let (feed, batches) = mpsc::sync_channel::<Batch>(2);
            feeds.push(feed);
            senders.push(scope.spawn(move || post_all(target, batches)));
        }
        let (mut samples, mut more) = (Vec::new(), true);
        'all: while more {
            samples.clear();
            more = next(workload, &mut samples);
            let county = |s: &Sample| workload.shape.county_of(s.point as usize / workload.shape.points_per_station);
            let mut by_county: [Vec<_>; COUNTIES.len()] = Default::default();
            for s in &samples {
                by_county[county(s)].push(s);
            }
            for (county, all) in by_county.iter().enumerate().filter(|(_, all)| !all.is_empty()) {
                let even = all.len().div_ceil(all.len().div_ceil(BATCH_MAX));
                for part in all.chunks(even) {
                    let mut body = Vec::with_capacity(part.len() * 72);
                    part.iter().for_each(|s| workload.write_line(s, &mut body));
                    if feeds[county % CONNECTIONS].send(Batch { county, samples: part.len(), body }).is_err() {
                        break 'all;
                    }
                }
            }
        }
        drop(feeds);
        let mut sent = Sent::default();
        for sender in senders {
            let part = sender.join().map_err(|_| anyhow::anyhow!("a sender panicked"))??;
            sent = Sent { samples: sent.samples + part.samples, bytes: sent.bytes + part.bytes, again: sent.again + part.again };
        }
        Ok(sent)
    })
}

fn post_all(target: &Target, batches: mpsc::Receiver<Batch>) -> anyhow::Result<Sent> {
    let mut connection = Connection::open(&target.address)?;
    let mut sent = Sent::default();
    for batch in batches {
        let authorization = target.authorization.get(batch.county).map_or("", String::as_str);
        loop {
            // A server closes a connection that said nothing for a while, and a busy generator does: then a new one is taken, once.
            let (status, answer) = match connection.post(&target.path, authorization, &batch.body) {
                Ok(answer) => answer,
                Err(_) => {
                    connection = Connection::open(&target.address)?;
                    connection.post(&target.path, authorization, &batch.body)?
                }
            };
            match status {
                204 => break,
                429 | 503 => {
                    sent.again += 1;
                    ensure!(sent.again < 10_000, "the server stays full: {answer}");
                    std::thread::sleep(Duration::from_millis(50));
                }
                _ => bail!("{} answers {status}: {answer}", target.address),
            }
        }
        sent.samples += batch.samples as u64;
        sent.bytes += batch.body.len() as u64;
    }
    Ok(sent)
}
