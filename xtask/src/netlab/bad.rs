//! Boxes that are not who they say, or not what they were. Others are never disturbed. Start at [`clone`].

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

use super::net::{Net, Role, text, wait};
use super::relay::Mood;
use super::{Lab, Tally};
use crate::faults::node::{Node, Start};

const SETTLE: Duration = Duration::from_secs(120);
/// A node that must not get in has had this long to try.
const IN_VAIN: Duration = Duration::from_secs(4);

/// City, county and two enterprises.
fn four(lab: &Lab<'_>, name: &str) -> anyhow::Result<Net> {
    let mut net = Net::three(lab.bench, name, lab.seed, &[])?;
    net.add_enterprise(2, 1, &[])?;
    Ok(net)
}

/// A few readings of a device's points.
fn say(net: &mut Net, device: usize, n: i64) -> anyhow::Result<()> {
    let now = net.now_us()?;
    let points = net.devices[device].points.clone();
    let readings: Vec<_> = (0..n).flat_map(|i| points.iter().map(move |p| (p.clone(), now + i * 1_000, 20.0 + i as f64 / 8.0))).collect();
    net.send(device, &readings)
}

fn state(net: &Net, at: usize, of: usize) -> anyhow::Result<String> {
    Ok(text(&net.members[at].node_row(&net.members[of].id)?, "state"))
}

/// A node with a certificate of another authority.
pub fn foreign(lab: &Lab<'_>, tally: &mut Tally) -> anyhow::Result<String> {
    let mut net = Net::three(lab.bench, "foreign", lab.seed, &[])?;
    // Another network, whose enterprise is led to our county.
    let theirs = net.add(Role { name: "other-county", level: "county", region: "530403", settings: &[] })?;
    let stranger = net.add_enterprise(2, theirs, &[])?;
    say(&mut net, 0, 20)?;
    say(&mut net, 1, 20)?;
    net.settle(SETTLE)?;
    let ours = net.members[1].node.at.link.clone();
    net.members[stranger].wire.as_ref().context("a wire")?.lead_to(&ours);
    net.members[theirs].node.stop()?;
    say(&mut net, 0, 20)?;
    say(&mut net, 1, 20)?;
    std::thread::sleep(IN_VAIN);
    let there = net.members[1].points()?;
    tally.must(!there.contains_key(&net.devices[1].points[0]), "a stranger's points came in");
    let row = net.members[stranger].node_row(&net.members[theirs].id)?;
    tally.must(row["connected"] != true, "the stranger takes our county for its parent");
    // The node itself does not go on with a parent of another authority; its key and certificate in other hands meet the county's own check.
    let refused = show_certificate(&net, stranger, &ours)?;
    tally.must(refused.contains("alert"), &format!("the county does not refuse a certificate of another authority: {refused}"));
    tally.must(net.members[1].node.said().contains("was refused"), "the county's log does not tell of the stranger");
    let child = show_certificate(&net, 2, &ours)?;
    tally.must(!child.contains("alert"), &format!("the county refuses its own child, so that the test says nothing: {child}"));
    let stranger_device = net.devices.remove(1);
    tally.readings += stranger_device.sent.len() as u64;
    net.members.truncate(3);
    net.above.truncate(3);
    net.settle(SETTLE)?;
    net.check(tally)?;
    Ok("refused on both sides; the county's own child was not disturbed".to_owned())
}

/// What openssl hears when it shows a node's key and certificate.
fn show_certificate(net: &Net, of: usize, address: &str) -> anyhow::Result<String> {
    let dir = net.members[of].node.journal.data.join("link");
    let mut openssl = Command::new("timeout");
    openssl.args(["3", "openssl", "s_client", "-connect", address, "-ign_eof", "-cert"]).arg(dir.join("parent.pem"));
    openssl.arg("-key").arg(dir.join("node.key")).stdin(Stdio::null());
    let said = openssl.output().context("could not start openssl")?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    let alert = said.lines().find(|line| line.contains("alert"));
    Ok(alert.map_or_else(|| said.lines().last().unwrap_or_default().to_owned(), str::to_owned))
}

/// A child whose certificate is void.
pub fn revoked(lab: &Lab<'_>, tally: &mut Tally) -> anyhow::Result<String> {
    let mut net = four(lab, "revoked")?;
    say(&mut net, 0, 20)?;
    say(&mut net, 1, 20)?;
    net.settle(SETTLE)?;
    let id = net.members[2].id.clone();
    net.members[1].admin.must("POST", &format!("/api/v1/nodes/{id}/revoke"), &json!({ "reason": "网关被盗" }))?;
    wait("the end of the conversation", || Ok((net.members[1].node_row(&id)?["connected"] != true).then_some(())))?;
    // What it says from now on stays its own; then it starts again, and is not heard either.
    let before = net.proved(1, &id, 2)?.0;
    say(&mut net, 0, 20)?;
    net.members[2].node.stop()?;
    net.restart(2)?;
    say(&mut net, 1, 20)?;
    std::thread::sleep(IN_VAIN);
    tally.must(net.members[1].node_row(&id)?["connected"] != true, "a revoked node is in conversation");
    tally.must(state(&net, 1, 2)? == "revoked", "a revoked node is not shown as revoked");
    tally.must(net.proved(1, &id, 2)?.0 == before, "readings of a revoked node came in");
    let refused = show_certificate(&net, 2, &net.members[1].node.at.link)?;
    tally.must(refused.contains("alert"), &format!("a revoked certificate is not refused in the handshake: {refused}"));
    let device = net.devices.remove(0);
    tally.readings += device.sent.len() as u64;
    net.above[2] = None;
    net.settle(SETTLE)?;
    net.check(tally)?;
    Ok("cut off at once and in the handshake after; the other enterprise goes on".to_owned())
}

/// A copied disk in a second box under the same name.
pub fn clone(lab: &Lab<'_>, tally: &mut Tally) -> anyhow::Result<String> {
    let mut net = four(lab, "clone")?;
    say(&mut net, 0, 50)?;
    say(&mut net, 1, 50)?;
    net.settle(SETTLE)?;
    net.members[2].node.stop()?;
    let copy = net.copy_disk(2, "copy")?;
    net.restart(2)?;
    net.wait_connected(2)?;
    let mut twin = second_box(lab, &net, &copy)?;
    let frozen = wait("the frozen stream", || Ok((state(&net, 1, 2)? == "frozen").then_some(())));
    frozen.with_context(|| format!("{}\n-- the clone\n{}", net.members[1].node.said(), twin.said()))?;
    // Both speak; neither is heard, the other enterprise is.
    say(&mut net, 0, 50)?;
    say(&mut net, 1, 50)?;
    wait("the other enterprise's readings", || {
        let (count, problem) = net.proved(1, &net.members[3].id, 2)?;
        Ok((problem.is_none() && count == net.devices[1].sent.len() as i64).then_some(()))
    })?;
    let id = net.members[2].id.clone();
    tally.must(net.proved(1, &id, 2)?.0 == 200, "readings of a frozen node came in");
    let reason = text(&net.members[1].node_row(&id)?, "reason");
    twin.kill()?;
    net.members[1].admin.must("POST", &format!("/api/v1/nodes/{id}/resume"), &json!({ "as": "replaced" }))?;
    net.settle(SETTLE)?;
    net.check(tally)?;
    Ok(format!("frozen ({reason}) as soon as two spoke, resumed, nothing lost; the other enterprise was heard meanwhile"))
}

/// The same identity in another box, led to the same parent.
fn second_box(lab: &Lab<'_>, net: &Net, disk: &std::path::Path) -> anyhow::Result<Node> {
    let place = disk.with_file_name("twin");
    let settings = [("ANLAN_NODE__LEVEL", "enterprise"), ("ANLAN_NODE__NAME", "enterprise-1"), ("ANLAN_LINK__CLAIM_S", "2")];
    let mut twin = Node::new(&lab.bench.binary, &lab.bench.shim, &place, &settings)?;
    twin.words.clone_from(&net.members[2].node.words);
    super::net::copy_dir(disk, &twin.journal.data)?;
    match twin.start()? {
        Start::Ready => Ok(twin),
        _ => anyhow::bail!("the clone does not start: {}", twin.said()),
    }
}

/// An enterprise's node that is set back to yesterday's copy.
pub fn restored_child(lab: &Lab<'_>, tally: &mut Tally) -> anyhow::Result<String> {
    restored(lab, "restored-child", 0, tally)
}

/// The same, and it has started more often since than the county knows of: its log alone tells.
pub fn restored_later(lab: &Lab<'_>, tally: &mut Tally) -> anyhow::Result<String> {
    restored(lab, "restored-later", 2, tally)
}

fn restored(lab: &Lab<'_>, name: &str, more_starts: usize, tally: &mut Tally) -> anyhow::Result<String> {
    let mut net = four(lab, name)?;
    say(&mut net, 0, 50)?;
    say(&mut net, 1, 50)?;
    net.settle(SETTLE)?;
    net.members[2].node.stop()?;
    let yesterday = net.copy_disk(2, "yesterday")?;
    net.restart(2)?;
    // What is told between the copy and the restoring is left above alone.
    say(&mut net, 0, 50)?;
    net.settle(SETTLE)?;
    net.members[2].node.stop()?;
    net.put_back(2, &yesterday)?;
    let wire = |net: &Net, mood| net.members[2].wire.as_ref().map(|wire| wire.set(mood)).context("a wire");
    wire(&net, Mood::Cut)?;
    net.restart(2)?;
    for _ in 0..more_starts {
        net.members[2].node.stop()?;
        net.restart(2)?;
    }
    say(&mut net, 0, 60)?;
    wire(&net, Mood::Clear)?;
    wait("the frozen stream", || Ok((state(&net, 1, 2)? == "frozen").then_some(())))
        .with_context(|| format!("{}\n{}", net.members[1].node.said(), net.members[2].node.said()))?;
    let reason = text(&net.members[1].node_row(&net.members[2].id)?, "reason");
    let expected = if more_starts > 0 { "other_log" } else { "twice" };
    tally.must(reason == expected, &format!("the stream is frozen for {reason}, not {expected}"));
    let id = net.members[2].id.clone();
    net.members[1].admin.must("POST", &format!("/api/v1/nodes/{id}/resume"), &json!({ "as": "restored" }))?;
    net.wait_connected(2)?;
    // The county has everything; the enterprise lacks what it said after the copy, and the proof shows exactly that.
    let lacks = 200;
    let shown = wait("the exact difference", || {
        let days = net.members[1].admin.all(&format!("/api/v1/proofs?origin={id}"), "proofs")?;
        let counts: Vec<Vec<i64>> =
            days.iter().map(|d| d["holders"].as_array().into_iter().flatten().filter_map(|h| h["count"].as_i64()).collect()).collect();
        let is_so = counts.iter().any(|c| c.len() == 2 && c[1] - c[0] == lacks) && days.iter().any(|d| d["equal"] == false);
        let all: i64 = counts.iter().filter_map(|c| c.last()).sum();
        Ok((is_so && all == net.devices[0].sent.len() as i64).then_some(all))
    })?;
    tally.readings += net.devices[0].sent.len() as u64;
    say(&mut net, 1, 20)?;
    wait("the other enterprise's readings", || {
        let (count, problem) = net.proved(1, &net.members[3].id, 2)?;
        Ok((problem.is_none() && count == net.devices[1].sent.len() as i64).then_some(()))
    })?;
    Ok(format!("frozen ({reason}), resumed; the county has {shown} readings, {lacks} more than the restored node, and shows it"))
}

/// A county that is set back to yesterday's copy.
pub fn restored_parent(lab: &Lab<'_>, tally: &mut Tally) -> anyhow::Result<String> {
    let mut net = four(lab, "restored-parent")?;
    say(&mut net, 0, 50)?;
    say(&mut net, 1, 50)?;
    net.settle(SETTLE)?;
    net.members[1].node.stop()?;
    let yesterday = net.copy_disk(1, "yesterday")?;
    net.restart(1)?;
    say(&mut net, 0, 50)?;
    net.settle(SETTLE)?;
    net.members[1].node.stop()?;
    net.put_back(1, &yesterday)?;
    net.restart(1)?;
    say(&mut net, 0, 50)?;
    // Below it heals by itself.
    for (device, child) in [(0, 2), (1, 3)] {
        wait("everything at the county again", || {
            let (count, problem) = net.proved(1, &net.members[child].id, 2)?;
            Ok((problem.is_none() && count == net.devices[device].sent.len() as i64).then_some(()))
        })
        .with_context(|| format!("{}\n{}", net.members[1].node.said(), net.members[child].node.said()))?;
    }
    wait("the frozen stream of the county", || Ok((state(&net, 0, 1)? == "frozen").then_some(())))
        .with_context(|| format!("{}\n{}", net.members[0].node.said(), net.members[1].node.said()))?;
    let id = net.members[1].id.clone();
    net.members[0].admin.must("POST", &format!("/api/v1/nodes/{id}/resume"), &json!({ "as": "restored" }))?;
    net.settle(SETTLE)?;
    net.check(tally)?;
    Ok("the enterprises sent again what it lacked; frozen at the city until resumed, then equal everywhere".to_owned())
}

/// An enterprise's node that speaks of another enterprise.
pub fn trespass(lab: &Lab<'_>, tally: &mut Tally) -> anyhow::Result<String> {
    let mut net = four(lab, "trespass")?;
    let other = json!({ "code": "91530402MA6K999999", "name": "别人家", "region": "530402", "sector": "hazchem" });
    let far = json!({ "code": "91530403MA6K999999", "name": "邻县企业", "region": "530403", "sector": "hazchem" });
    let mut strange = Vec::new();
    for (n, owner) in [other, far].iter().enumerate() {
        let made = net.members[2].admin.must("POST", "/api/v1/enterprises", owner)?;
        let device = net.add_device(2, &format!("X-{n}"), &text(&made, "id"))?;
        strange.push(device);
    }
    for device in [0, strange[0], strange[1], 1] {
        say(&mut net, device, 30)?;
    }
    let id = net.members[2].id.clone();
    let event = wait("the event", || {
        let events = net.members[1].admin.all("/api/v1/events?kind=link_refused", "events")?;
        Ok(events.into_iter().find(|e| text(e, "subject").starts_with(&id)))
    })?;
    // Its own data goes on, and so does everybody else's.
    let strangers: Vec<_> = net.devices.drain(2..).collect();
    for (device, child) in [(0, 2), (1, 3)] {
        let (point, wanted) = (net.devices[device].points[0].clone(), net.devices[device].sent.len() / 4);
        wait("own readings at the city", || {
            let points = net.members[0].points()?;
            let Some(id) = points.get(&point) else { return Ok(None) };
            Ok((net.members[0].readings(id)?.len() == wanted).then_some(()))
        })
        .with_context(|| format!("{}\n{}", net.members[1].node.said(), net.members[child].node.said()))?;
    }
    net.check(tally)?;
    for member in &net.members[..2] {
        let there = member.points()?;
        let came = strangers.iter().flat_map(|d| &d.points).any(|point| there.contains_key(point));
        tally.must(!came, &format!("{} took points of enterprises that the node may not speak of", member.name));
    }
    Ok(format!("refused entry by entry: {}", event["detail"]))
}
