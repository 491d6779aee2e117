//! `anlan doctor`: is this machine fit to run this node, and is what it holds in order? Changes nothing.
//!
//! Each check is one line: what was looked at, what was found, what to do. Start at [`run`].

use std::io::{Seek as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anlan_app::certificate;
use anlan_store::Store;
use serde::Serialize;

use crate::config::Config;
use crate::control::{self, Answer, Ask};
use crate::{config, serve};

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Good,
    Warning,
    Bad,
}

#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    verdict: Verdict,
    found: String,
}

#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn say(&mut self, check: &'static str, verdict: Verdict, found: impl Into<String>) {
        self.0.push(Check { check, verdict, found: found.into() });
    }
}

/// Open files below which a city's devices do not fit: 10,000 terminals, their peers and the files of the history.
const FILES_WANTED: u64 = 20_000;
/// Writes that are timed; the median counts.
const SYNCS: usize = 32;
/// A disk that answers a sync faster than this does not wait for anything: a cache without a battery, or a mount that ignores it.
const SYNC_HONEST_US: u128 = 20;
/// Every acknowledgement waits for one sync.
const SYNC_SLOW_US: u128 = 50_000;

/// Runs `doctor`.
pub fn run(data: &Path, file: Option<&Path>, json: bool) -> anyhow::Result<ExitCode> {
    let mut checks = Checks::default();
    let config = match config::load(file) {
        Ok(config) => {
            checks.say("configuration", Verdict::Good, "readable, every key known");
            Some(config)
        }
        Err(failure) => {
            checks.say("configuration", Verdict::Bad, format!("{:#}", anyhow::Error::new(*failure)));
            None
        }
    };
    directory(&mut checks, data);
    machine(&mut checks);
    let running = control::ask(data, &Ask::Status);
    match (&running, &config) {
        (Ok(Some(answer)), _) => node_running(&mut checks, answer),
        (Err(failure), _) => checks.say("node", Verdict::Bad, format!("runs but does not answer: {failure:#}")),
        (Ok(None), Some(config)) => node_stopped(&mut checks, config, data)?,
        (Ok(None), None) => {}
    }
    let bad = checks.0.iter().any(|c| c.verdict == Verdict::Bad);
    if json {
        println!("{}", serde_json::json!({"checks": checks.0, "good": !bad}));
    } else {
        for c in &checks.0 {
            let word = match c.verdict {
                Verdict::Good => "good   ",
                Verdict::Warning => "WARNING",
                Verdict::Bad => "BAD    ",
            };
            println!("{word} {:<14} {}", c.check, c.found);
        }
    }
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn directory(checks: &mut Checks, data: &Path) {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(meta) = std::fs::metadata(data) else {
        return checks.say("directory", Verdict::Warning, format!("{} does not exist yet; the first start makes it", data.display()));
    };
    if meta.mode() & 0o077 == 0 {
        checks.say("directory", Verdict::Good, format!("{} is its owner's alone", data.display()));
    } else {
        let found = format!("{} can be opened by others (mode {:o}); run: chmod 700 {0}", data.display(), meta.mode() & 0o777);
        checks.say("directory", Verdict::Bad, found);
    }
    match rustix::fs::statvfs(data) {
        Ok(stat) => {
            let (free, all) = (stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize);
            let verdict = if free < all / 20 {
                Verdict::Bad
            } else if free < all / 5 {
                Verdict::Warning
            } else {
                Verdict::Good
            };
            checks.say("disk", verdict, format!("{} MiB free of {} MiB", free >> 20, all >> 20));
        }
        Err(failure) => checks.say("disk", Verdict::Bad, failure.to_string()),
    }
    match time_syncs(data) {
        Ok(median_us) if median_us < SYNC_HONEST_US => {
            checks.say(
                "sync",
                Verdict::Warning,
                format!("{median_us} µs: too fast for a disk; does it keep what it confirms (tmpfs, nobarrier)?"),
            );
        }
        Ok(median_us) => {
            let verdict = if median_us > SYNC_SLOW_US { Verdict::Warning } else { Verdict::Good };
            checks.say("sync", verdict, format!("{median_us} µs, median of {SYNCS}; every acknowledgement waits for one"));
        }
        Err(failure) => checks.say("sync", Verdict::Bad, format!("cannot write in {}: {failure}", data.display())),
    }
}

fn time_syncs(data: &Path) -> std::io::Result<u128> {
    let mut file = tempfile::tempfile_in(data)?;
    let mut took = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let began = Instant::now();
        file.rewind()?;
        file.write_all(&[0x5a; 4096])?;
        file.sync_data()?;
        took.push(began.elapsed().as_micros());
    }
    took.sort_unstable();
    Ok(took[SYNCS / 2])
}

fn machine(checks: &mut Checks) {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    match files {
        Some(n) if n < FILES_WANTED => {
            checks.say(
                "open files",
                Verdict::Warning,
                format!("{n} may be open; 10,000 vehicles need {FILES_WANTED} (LimitNOFILE, ulimit -n)"),
            );
        }
        Some(n) => checks.say("open files", Verdict::Good, format!("{n} may be open")),
        None => checks.say("open files", Verdict::Good, "no limit"),
    }
}

fn node_running(checks: &mut Checks, answer: &Answer) {
    let Answer::Status { position, projected, log_failed, store_down, readings, points } = answer else {
        return checks.say("node", Verdict::Bad, "runs, and answers something else; is it of another release?");
    };
    let found = format!("runs; log at {position}, database at {projected}; {readings} readings of {points} points");
    if *log_failed {
        checks.say("node", Verdict::Bad, format!("{found}; the log refuses writes: restart it, then `anlan history verify`"));
    } else if *store_down {
        checks.say("node", Verdict::Bad, format!("{found}; the database does not answer"));
    } else {
        checks.say("node", Verdict::Good, found);
    }
}

fn node_stopped(checks: &mut Checks, config: &Config, data: &Path) -> anyhow::Result<()> {
    checks.say("node", Verdict::Good, "does not run here");
    for (key, address) in [("http.listen", config.http.listen), ("mqtt.listen", config.mqtt.listen), ("jt808.listen", config.jt808.listen)]
    {
        match free(address) {
            Ok(()) => checks.say("listener", Verdict::Good, format!("{key} {address} is free")),
            Err(failure) => checks.say("listener", Verdict::Bad, format!("{key} {address}: {failure}")),
        }
    }
    if !data.join("history").is_dir() {
        return Ok(());
    }
    let report = anlan_history::verify(&data.join("history"));
    match &report {
        Ok(report) if report.is_sound() => {
            checks.say("history", Verdict::Good, format!("{} frames, {} readings: sound", report.frames, report.readings))
        }
        Ok(report) => checks.say("history", Verdict::Bad, report.to_string()),
        Err(failure) => checks.say("history", Verdict::Bad, failure.to_string()),
    }
    let url = serve::store_url(config, data);
    let looked = serve::runtime()?.block_on(async {
        let store = Store::open(&url).await?;
        let (projected, audit) = (store.projected().await?, store.verify_audit(None).await?);
        let key = certificate::key(&store, data).await;
        store.close().await;
        Ok::<_, anlan_store::StoreError>((projected, audit, key))
    });
    match looked {
        Ok((projected, audit, key)) => {
            match key {
                Ok(Some(key)) => checks.say("certificates", Verdict::Good, format!("signed by the key {}", key.public().id())),
                Ok(None) => checks.say("certificates", Verdict::Good, "none was signed yet; the first one makes the key"),
                Err(failure) => checks.say("certificates", Verdict::Bad, format!("{failure:#}")),
            }
            checks.say("database", Verdict::Good, format!("opens; has applied log position {projected}"));
            match audit.broken_at {
                None if audit.complete => checks.say("audit", Verdict::Good, format!("{} entries, the chain holds", audit.entries)),
                None => checks.say("audit", Verdict::Bad, format!("{} entries, the newest ones are missing", audit.entries)),
                Some(id) => checks.say("audit", Verdict::Bad, format!("the chain breaks at entry {id} of {}", audit.entries)),
            }
        }
        Err(failure) => checks.say("database", Verdict::Bad, format!("{:#}", anyhow::Error::new(failure))),
    }
    Ok(())
}

fn free(address: SocketAddr) -> std::io::Result<()> {
    TcpListener::bind(address).map(drop)
}
