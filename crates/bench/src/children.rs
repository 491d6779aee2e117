//! Section `link_children`: what a parent takes for many children that have nothing to say.
//!
//! The children are played by the bench: each has its own key, a certificate that the parent issued over its API, its own TLS connection, and the
//! session of a real child on it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anlan_link::identity::Identity;
use anlan_link::message::{Claim, Feed, Hello, Incarnation, Message};
use anlan_link::pairing::{Asked, Introduction, PairingCode, ask};
use anlan_link::session::{self, Effect, Session, Side, Standing};
use anlan_link::transport::{Address, Limits, connect};
use anlan_sim::api::{Api, in_parallel};
use anyhow::{Context as _, bail, ensure};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::link::{node, wait};
use crate::process::{peak_rss, rss};
use crate::report::{Goal, Line};
use crate::{Options, fresh_dir, now_ms};

const MB: f64 = 1_048_576.0;
/// Children that join at the same time.
const CLIENTS: usize = 8;
/// That connect at the same time, all from one address, of which a parent bears 64; and how often each tries.
const AT_THE_DOOR: usize = 32;
const TRIES: u32 = 20;
/// How long all have been connected before anything is measured, and how long is measured.
const CALM: Duration = Duration::from_secs(20);
const MEASURED: Duration = Duration::from_secs(60);

/// One joins: invited, asks, is confirmed, gets its certificate.
fn join(api: &Api, runtime: &tokio::runtime::Runtime, address: &Address, dir: &std::path::Path, n: usize) -> anyhow::Result<Identity> {
    let new = json!({ "code": format!("K{n:04}"), "name": format!("K{n:04}"), "region": "530402", "sector": "hazchem" });
    let enterprise = api.post("/api/v1/enterprises", &new)?["id"].clone();
    let name = format!("gateway {n}");
    let invited = api.post("/api/v1/invitations", &json!({ "name": name, "level": "enterprise", "enterprise": enterprise }))?;
    let code: PairingCode = invited["code"].as_str().context("a code")?.parse()?;
    let own = Identity::open(&dir.join(n.to_string()))?;
    let limits = Limits::default();
    let introduction = Introduction { address: address.clone(), code, name, software: "bench".to_owned() };
    let asked = runtime.block_on(ask(&introduction, &own, &limits))?;
    ensure!(matches!(asked, Asked::Waiting(_)), "nobody had to confirm");
    let id = invited["id"].as_str().context("an invitation")?;
    api.post(&format!("/api/v1/invitations/{id}/confirm"), &json!({ "fingerprint": own.fingerprint() }))?;
    let asked = runtime.block_on(ask(&introduction, &own, &limits))?;
    ensure!(matches!(asked, Asked::Joined { .. }), "no certificate came");
    Ok(own)
}

/// Speaks as a child without anything to tell, until the parent ends it.
async fn idle(own: Arc<Identity>, address: Address, nonce: u64, limits: Arc<Limits>, doors: Arc<Semaphore>) -> anyhow::Result<()> {
    let door = doors.acquire_owned().await?;
    let mut tries = 0;
    // A parent that is busy is tried again, as a real child does.
    let connection = loop {
        match connect(&address, &own, limits.clone()).await {
            Ok(connection) => break connection,
            Err(failure) if tries == TRIES => return Err(failure.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
        tries += 1;
    };
    drop(door);
    let peer = connection.peer.id();
    let (out, mut receiver) = connection.split();
    let hello = Hello { node: own.id(), incarnation: Incarnation { starts: 1, nonce }, software: "bench".to_owned(), ..Hello::default() };
    let standing = Standing { hello, peer, ..Standing::default() };
    let began = Instant::now();
    let (mut session, effects) = Session::open(Side::Child, session::Limits::default(), standing, 0);
    let mut todo = VecDeque::from(effects);
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        while let Some(effect) = todo.pop_front() {
            match effect {
                Effect::Send(Message::Pulse(mut pulse)) => {
                    pulse.now_us = now_ms()? * 1_000;
                    out.send(Message::Pulse(pulse).encode()).await?;
                }
                Effect::Send(message) => out.send(message.encode()).await?,
                Effect::ReadFeed(after) => todo.extend(session.feed_read(Feed { after, upto: after, entries: Vec::new() })),
                Effect::KeepFeed(feed) => todo.extend(session.feed_kept(Some(feed.upto))),
                Effect::Count(_) => todo.extend(session.counted(Claim::default())),
                Effect::Close(why) => bail!("the parent ended it: {why:?}"),
                _ => {}
            }
        }
        let now_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let effects = tokio::select! {
            heard = receiver.recv() => match heard? {
                Some(bytes) => Message::decode(&bytes)?.map(|message| session.heard(message, now_us)).unwrap_or_default(),
                None => bail!("the parent closed the connection"),
            },
            _ = ticks.tick() => session.tick(now_us),
        };
        todo.extend(effects);
    }
}

/// Many idle children of one county.
pub fn run(options: &Options, emit: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let (data, keys) = (fresh_dir()?, fresh_dir()?);
    let county = node(options, data.path(), "county", "530402")?;
    let (api, address) = (county.api()?, county.link.parse::<Address>()?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let numbers: Vec<usize> = (0..options.children).collect();
    let (begun, cpu) = (Instant::now(), county.process.cpu_s()?);
    let children = in_parallel(&numbers, CLIENTS, |n| join(&api, &runtime, &address, keys.path(), *n))?;
    let (took, cpu) = (begun.elapsed().as_secs_f64(), county.process.cpu_s()? - cpu);
    let n = children.len();
    emit(Line::new("link.children_join", took * 1e3 / n as f64, "ms each").note(format!(
        "{n} children with an enterprise each, over the API, {CLIENTS} at a time; {:.1} CPU ms of the parent each",
        cpu * 1e3 / n as f64
    )));
    let before = rss(county.process.pid())? as f64 / MB;
    let (limits, doors) = (Arc::new(Limits::default()), Arc::new(Semaphore::new(AT_THE_DOOR)));
    let mut talks = tokio::task::JoinSet::new();
    for (nonce, own) in (1..).zip(children) {
        talks.spawn_on(idle(Arc::new(own), address.clone(), nonce, limits.clone(), doors.clone()), runtime.handle());
    }
    wait("every child to be connected", Duration::from_secs(120), || {
        if let Some(ended) = runtime.block_on(async { talks.try_join_next() }) {
            ended?.context("a child")?;
        }
        let all = api.get("/api/v1/nodes")?;
        Ok(all["nodes"].as_array().map_or(0, |all| all.iter().filter(|row| row["connected"] == true).count()) >= n)
    })?;
    std::thread::sleep(CALM);
    let (cpu, begun) = (county.process.cpu_s()?, Instant::now());
    std::thread::sleep(MEASURED);
    let share = (county.process.cpu_s()? - cpu) * 100.0 / begun.elapsed().as_secs_f64();
    let now = rss(county.process.pid())? as f64 / MB;
    // Nobody may have left meanwhile.
    while let Some(ended) = runtime.block_on(async { talks.try_join_next() }) {
        ended?.context("a child")?;
    }
    let peak = peak_rss(county.process.pid())? as f64 / MB;
    let note = format!("{n} children, certificates and TLS as real ones; {before:.0} before they connected, peak {peak:.0}");
    emit(Line::new("link.children_rss", now, "MB").goal(Goal::AtMost(200.0)).note(note));
    let note = format!("over {} s: a heartbeat of each recorded and judged every 10 s, pulses and pings", MEASURED.as_secs());
    emit(Line::new("link.children_cpu_share", share, "% of a core").goal(Goal::AtMost(5.0)).note(note));
    runtime.shutdown_background();
    Ok(())
}
