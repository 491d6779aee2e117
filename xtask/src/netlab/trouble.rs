//! Troubles of wires, time and power. Start at [`kill`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::net::{Device, LIMIT, Net, Role, text, wait};
use super::relay::Mood;
use super::{Lab, Tally};
use crate::faults::journal::{Loss, Word, act, class};
use crate::faults::node::Node;
use crate::faults::{Break, Random, now_us};

pub(super) const SETTLE: Duration = Duration::from_secs(120);
/// A node that is up takes a batch within this.
const LAST_WORDS: Duration = Duration::from_secs(30);
const HOUR_S: i64 = 3_600;
/// In each hour of the long cut: readings of a point, and messages that bring them.
const STEPS: i64 = 120;
const PARTS: i64 = 8;
const STEP_US: i64 = 30_000_000;

/// An enterprise's device that speaks until it is stopped; everything it said is acknowledged then.
struct Speech<'a> {
    device: &'a mut Device,
    random: Random,
    newest_us: i64,
    n_batches: u64,
}

impl Speech<'_> {
    /// A few readings of each point; now and then the first point goes above its limit for a while.
    fn think(&mut self) -> Vec<(String, i64, f64)> {
        self.n_batches += 1;
        let is_breach = self.n_batches % 20 >= 16;
        let points = self.device.points.clone();
        let mut readings = Vec::new();
        for _ in 0..1 + self.random.below(6) {
            self.newest_us = now_us().max(self.newest_us + 1_000);
            for (i, code) in points.iter().enumerate() {
                let calm = 20.0 + self.random.below(500) as f64 / 10.0;
                readings.push((code.clone(), self.newest_us, if is_breach && i == 0 { LIMIT + 5.0 } else { calm }));
            }
        }
        readings
    }

    fn run(&mut self, http: &Mutex<String>, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let readings = self.think();
            let began = Instant::now();
            loop {
                let at = http.lock().unwrap_or_else(PoisonError::into_inner).clone();
                // What a node that never comes back was not told is not acknowledged.
                if self.device.say(&at, &readings) || (stop.load(Ordering::Relaxed) && began.elapsed() > LAST_WORDS) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            std::thread::sleep(Duration::from_millis(10 + self.random.below(40)));
        }
    }
}

/// Lets the first device speak while `trouble` is made; whatever comes of that, everything said is acknowledged in the end.
pub(super) fn under_load(net: &mut Net, trouble: impl FnOnce(&mut Net, &Mutex<String>) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut device = net.devices.remove(0);
    let at = device.at;
    let http = Mutex::new(net.members[at].node.at.http.clone());
    let stop = AtomicBool::new(false);
    let random = net.random();
    let outcome = std::thread::scope(|scope| {
        let (device, http, stop) = (&mut device, &http, &stop);
        scope.spawn(move || Speech { device, random, newest_us: 0, n_batches: 0 }.run(http, stop));
        let outcome = trouble(net, http);
        // The last batch must find a node that answers.
        let is_up = if net.members[at].node.has_ended() { net.restart(at) } else { Ok(()) };
        net.members[at].node.at.http.clone_into(&mut http.lock().unwrap_or_else(PoisonError::into_inner));
        stop.store(true, Ordering::Relaxed);
        outcome.and(is_up)
    });
    net.devices.insert(0, device);
    outcome
}

fn n_faults(net: &Net) -> u64 {
    net.members.iter().filter_map(|m| m.wire.as_ref()).map(super::relay::Relay::n_faults).sum()
}

/// Wires that delay, stall, cut, reset, and for a while carry nothing.
pub fn relay(lab: &Lab<'_>, tally: &mut Tally) -> anyhow::Result<String> {
    let mut net = Net::three(lab.bench, "relay", lab.seed, &[])?;
    let mut random = net.random();
    under_load(&mut net, |net, _| {
        for _ in 0..6 {
            net.set_wires(Mood::Nasty);
            std::thread::sleep(Duration::from_millis(2_000 + random.below(1_500)));
            let which = 1 + random.below(2) as usize;
            let mood = if random.below(2) == 0 { Mood::Cut } else { Mood::Silent };
            net.members[which].wire.as_ref().context("a wire")?.set(mood);
            std::thread::sleep(Duration::from_millis(500 + random.below(1_500)));
        }
        Ok(())
    })?;
    net.set_wires(Mood::Clear);
    net.settle(SETTLE)?;
    net.check(tally)?;
    Ok(format!("{} cuts, resets and stalls of two wires", n_faults(&net)))
}

/// Kills of all three, plain.
pub fn kill(lab: &Lab<'_>, tally: &mut Tally) -> anyhow::Result<String> {
    kills(lab, "kill", false, tally)
}

/// The same with the power cut: what was not synced is gone, all of it or a part.
pub fn power_cut(lab: &Lab<'_>, tally: &mut Tally) -> anyhow::Result<String> {
    kills(lab, "power-cut", true, tally)
}

fn kills(lab: &Lab<'_>, name: &str, with_power: bool, tally: &mut Tally) -> anyhow::Result<String> {
    let mut net = Net::three(lab.bench, name, lab.seed, &[])?;
    let mut random = net.random();
    let (mut n, mut n_cuts, mut n_undone, mut n_wished) = ([0u64; 3], 0, 0, 0);
    under_load(&mut net, |net, http| {
        net.set_wires(Mood::Nasty);
        for member in net.members.iter().filter(|_| with_power) {
            // Shared memory syncs at once; a disk does not, and what is lost is what waits for its sync.
            member.node.journal.set(Word::DelayClass, class::ALL)?;
            member.node.journal.set(Word::DelayUs, 2_000)?;
            match lab.broken {
                None => {}
                Some(Break::Fsync) => member.node.journal.set(Word::SwallowFdatasync, class::LOG)?,
                Some(Break::Dirsync) => member.node.journal.set(Word::SwallowFsync, class::HISTORY_DIR)?,
            }
        }
        for _ in 0..lab.kills {
            // So that some die while a backlog waits, others while it is replayed.
            let wire = net.members[1 + random.below(2) as usize].wire.as_ref().context("a wire")?;
            wire.set([Mood::Nasty, Mood::Nasty, Mood::Cut, Mood::Silent][random.below(4) as usize]);
            std::thread::sleep(Duration::from_millis(200 + random.below(1_500)));
            let victim = random.below(3) as usize;
            n[victim] += 1;
            tally.kills += 1;
            if with_power && random.below(2) == 0 {
                n_wished += u64::from(die_at_an_act(&mut net.members[victim].node, &mut random)?);
            }
            net.members[victim].node.kill()?;
            if with_power {
                net.members[victim].node.journal.set(Word::KillMask, 0)?;
                net.members[victim].node.journal.check()?;
                let cut = net.members[victim].node.journal.cut(Loss::any(&mut random), &mut random)?;
                n_cuts += 1;
                tally.cuts += 1;
                n_undone += cut.bytes + cut.names;
            }
            std::thread::sleep(Duration::from_millis(random.below(1_000)));
            net.restart(victim)?;
            if victim == 2 {
                net.members[2].node.at.http.clone_into(&mut http.lock().unwrap_or_else(PoisonError::into_inner));
            }
        }
        Ok(())
    })?;
    for member in &net.members {
        member.node.journal.set(Word::DelayUs, 0)?;
    }
    net.set_wires(Mood::Clear);
    net.settle(SETTLE)?;
    net.check(tally)?;
    let [city, county, enterprise] = n;
    let power = if with_power {
        format!(", {n_cuts} power cuts, {n_wished} of them between two acts on the disk; {n_undone} sectors and names undone")
    } else {
        String::new()
    };
    Ok(format!("killed: city {city}, county {county}, enterprise {enterprise}{power}; {} faults of wires", n_faults(&net)))
}

/// Child or parent dies while a node joins; then people go on with the same code.
pub fn pairing(lab: &Lab<'_>, tally: &mut Tally) -> anyhow::Result<String> {
    let mut net = Net::new(lab.bench, "pairing", lab.seed)?;
    let mut random = net.random();
    net.add(Role { name: "county", level: "county", region: "530402", settings: &[] })?;
    let n = (lab.kills / 3).clamp(2, 8) as usize;
    let mut n_unjoined = 0;
    for i in 1..=n {
        let (at, here, there) = net.add_gateway(i, 0, &[])?;
        net.lay_wire(at, 0)?;
        let invitation = net.invite(at, Some(&there))?;
        for member in [0, at] {
            net.members[member].node.journal.set(Word::DelayClass, class::ALL)?;
            net.members[member].node.journal.set(Word::DelayUs, 2_000)?;
        }
        let victim = if random.below(2) == 0 { 0 } else { at };
        let pause = Duration::from_millis(random.below(2_600));
        let id = net.members[victim].node.id().context("a process")?;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(pause);
                // By its number: the node itself is in use by those who pair it.
                let _ = std::process::Command::new("kill").args(["-9", &id.to_string()]).status();
            });
            // An error is the kill itself.
            if net.pair_within(at, &invitation, pause + Duration::from_millis(50)).is_err() {
                n_unjoined += 1;
            }
        });
        net.members[victim].node.kill()?;
        tally.kills += 1;
        if random.below(3) > 0 {
            tally.cuts += 1;
            net.members[victim].node.journal.cut(Loss::any(&mut random), &mut random)?;
        }
        net.restart(victim)?;
        net.pair(at, &invitation).with_context(|| format!("enterprise {i}, killed {pause:?} after: {}", net.members[victim].name))?;
        net.wait_connected(at)?;
        for member in [0, at] {
            net.members[member].node.journal.set(Word::DelayUs, 0)?;
        }
        let device = net.add_device(at, &format!("PLC-{i}"), &here)?;
        let now = net.now_us()?;
        let readings: Vec<_> = net.devices[device].points.iter().map(|p| (p.clone(), now, 20.0)).collect();
        net.send(device, &readings)?;
    }
    net.settle(SETTLE)?;
    net.check(tally)?;
    Ok(format!("{n} nodes joined though a side died meanwhile, {n_unjoined} of them before they had"))
}

/// The shim kills the node before, in or after one of its next acts on the disk; whether there were as many.
fn die_at_an_act(node: &mut Node, random: &mut Random) -> anyhow::Result<bool> {
    node.journal.set(Word::KillMode, random.below(3))?;
    node.journal.set(Word::KillCountdown, 1 + random.below(100))?;
    node.journal.set(Word::KillMask, act::WRITE | act::NAME | act::SYNC)?;
    let until = Instant::now() + Duration::from_millis(800);
    while !node.has_ended() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(node.has_ended())
}

/// The link enterprise–county is cut for 72 hours, then mended.
pub fn cut_72h(lab: &Lab<'_>, tally: &mut Tally) -> anyhow::Result<String> {
    // So that the backlog takes long enough to be overtaken.
    let mut net = Net::three(lab.bench, "cut-72h", lab.seed, &[("ANLAN_LINK__BYTES_PER_S", "10000")])?;
    let mut random = net.random();
    let points = net.devices[0].points.clone();
    let now = net.now_us()?;
    let calm: Vec<_> = points.iter().map(|code| (code.clone(), now, 20.0)).collect();
    net.send(0, &calm)?;
    net.settle(SETTLE)?;
    net.members[2].wire.as_ref().context("a wire")?.set(Mood::Cut);
    let before = net.devices[0].sent.len();
    for hour in 1..=72 {
        net.advance(HOUR_S)?;
        let now = net.now_us()?;
        // As gateways do, in many small messages: what overtakes a backlog is counted in those.
        for part in 0..PARTS {
            let mut batch = Vec::new();
            for step in part * STEPS / PARTS..(part + 1) * STEPS / PARTS {
                for code in &points[2..] {
                    let value = 20.0 + random.below(4_000) as f64 / 100.0;
                    batch.push((code.clone(), now - (STEPS - step) * STEP_US, value));
                }
            }
            net.send(0, &batch)?;
        }
        let is_breach = [10, 30, 50].contains(&hour);
        if is_breach || hour == 60 {
            let point = usize::from(!is_breach);
            let at = net.now_us()?;
            net.send(0, &[(points[point].clone(), at, LIMIT + 5.0)])?;
        }
        if is_breach {
            net.advance(20 * 60)?;
            let at = net.now_us()?;
            net.send(0, &[(points[0].clone(), at, 20.0)])?;
        }
    }
    let backlog = net.devices[0].sent.len() - before;
    net.members[2].wire.as_ref().context("a wire")?.set(Mood::Clear);
    net.wait_connected(2)?;
    let healed = Instant::now();
    let live_at = net.now_us()?;
    net.send(0, &[(points[3].clone(), live_at, LIMIT + 9.0)])?;
    let city_id = net.members[1].id.clone();
    let parent_queue = |net: &Net| -> anyhow::Result<u64> { Ok(net.members[2].node_row(&city_id)?["queue"]["log"].as_u64().unwrap_or(0)) };
    let alarm = |net: &Net| -> anyhow::Result<bool> { Ok(net.members[0].alarms()?.iter().any(|a| a["value"] == LIMIT + 9.0)) };
    wait("the live alarm at the city", || Ok(alarm(&net)?.then_some(())))?;
    let (alarm_after, waits_then) = (healed.elapsed(), parent_queue(&net)?);
    tally.must(waits_then > 0, "the live alarm came to the city after the backlog was through");
    let reading = |net: &Net| -> anyhow::Result<bool> {
        let points_there = net.members[0].points()?;
        let Some(id) = points_there.get(&points[3]) else { return Ok(false) };
        let from = anlan_model::Timestamp::from_micros(live_at);
        let rows = net.members[0].admin.get(&format!("/api/v1/points/{id}/readings?from={from}"))?;
        Ok(rows["readings"].as_array().is_some_and(|rows| !rows.is_empty()))
    };
    wait("the live reading at the city", || Ok(reading(&net)?.then_some(())))?;
    let (reading_after, waits_of_reading) = (healed.elapsed(), parent_queue(&net)?);
    tally.must(waits_of_reading > 0, "the live reading came to the city after the backlog was through");
    net.settle(SETTLE)?;
    let settled_after = healed.elapsed();
    net.check(tally)?;
    for at in 0..2 {
        let member = &net.members[at];
        let alarms: Vec<_> = member.alarms()?.into_iter().filter(|a| a["rule"] == "hh").collect();
        tally.must(alarms.len() == 5, &format!("{} has {} alarms of limits, not 5", member.name, alarms.len()));
        for alarm in &alarms {
            let has_returned = !text(alarm, "returned_at").is_empty();
            tally.must(
                (alarm["historic"] == true) == has_returned,
                &format!("{}: historic and returned do not go together: {alarm}", member.name),
            );
        }
        tally.must(alarms.iter().filter(|a| a["historic"] == true).count() == 3, &format!("{}: three alarms are history", member.name));
    }
    Ok(format!(
        "a backlog of {backlog} readings; after mending the live alarm was at the city in {:.1} s ({waits_then} records still waited), the live reading \
         in {:.1} s ({waits_of_reading} waited), all equal in {:.1} s; 3 breaches of the cut are history, the standing one stands",
        alarm_after.as_secs_f64(),
        reading_after.as_secs_f64(),
        settled_after.as_secs_f64(),
    ))
}
