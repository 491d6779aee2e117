//! Less than all readings is agreed. Start at [`agreed`].

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::net::{LIMIT, Net, text, wait};
use super::relay::Mood;
use super::trouble::SETTLE;
use super::{Lab, Tally};

const MINUTE_S: i64 = 60;
const MINUTE_US: i64 = 60_000_000;
/// A reading of each point this often, and how many to a message.
const STEP_US: i64 = 30_000_000;
const STEPS: i64 = 20;

/// Only what is around alarms goes from the enterprise to the county, over a wire that breaks and through kills; the day is proven so once it is over, and
/// after everything is agreed again, everything is there.
pub fn agreed(lab: &Lab<'_>, tally: &mut Tally) -> anyhow::Result<String> {
    let mut net = Net::three(lab.bench, "agreed", lab.seed, &[])?;
    let points = net.devices[0].points.clone();
    let now = net.now_us()?;
    let calm: Vec<_> = points.iter().map(|code| (code.clone(), now, 20.0)).collect();
    net.send(0, &calm)?;
    net.settle(SETTLE)?;
    agree(&net, "alarms")?;
    net.set_wires(Mood::Nasty);
    let (mut onset, mut back) = (0, 0);
    for round in 0..30 {
        net.advance(10 * MINUTE_S)?;
        let now = net.now_us()?;
        let mut batch = Vec::new();
        for step in 1..=STEPS {
            let at = now - (STEPS - step) * STEP_US;
            let is_breach = (10..12).contains(&round);
            batch.extend(
                points.iter().enumerate().map(|(n, code)| (code.clone(), at, if is_breach && n == 0 { LIMIT + 5.0 } else { 20.0 })),
            );
        }
        if round == 10 {
            onset = now - (STEPS - 1) * STEP_US;
        }
        if round == 12 {
            back = now - (STEPS - 1) * STEP_US;
        }
        net.send(0, &batch)?;
        for (_, at) in [(9, 1), (11, 2), (13, 1), (16, 2)].into_iter().filter(|(when, _)| *when == round) {
            net.members[at].node.kill()?;
            tally.kills += 1;
            net.restart(at)?;
        }
    }
    net.set_wires(Mood::Clear);
    net.wait_connected(2)?;
    // Two days, so that the one of the readings is over wherever the run began.
    net.advance(48 * 60 * MINUTE_S)?;
    let origin = net.members[2].id.clone();
    let at_county = |net: &Net| -> anyhow::Result<Option<Vec<Value>>> {
        let now = net.now_us()?;
        let days = net.members[1].admin.all(&format!("/api/v1/proofs?origin={origin}"), "proofs")?;
        let mut all: Vec<Value> = Vec::new();
        for day in days.into_iter().filter(|day| day_of(day).is_some_and(|start| start + 24 * 60 * MINUTE_US <= now)) {
            let is_so = day["equal"] == true && day["holders"][0]["readings"] == "alarms";
            if !is_so {
                return Ok(None);
            }
            all.push(day);
        }
        Ok((!all.is_empty() && net.members[1].alarms()?.iter().any(|a| !text(a, "returned_at").is_empty())).then_some(all))
    };
    let proved = wait("the days proven by what is around alarms", || at_county(&net)).with_context(|| {
        format!("{:?}\n{}", net.members[1].admin.all(&format!("/api/v1/proofs?origin={origin}"), "proofs"), net.members[2].node.said())
    })?;
    let margin = 30 * MINUTE_US;
    let sent: BTreeMap<i64, f64> =
        net.devices[0].sent.iter().filter(|((code, _), _)| *code == points[0]).map(|((_, at), v)| (*at, *v)).collect();
    let codes = net.members[1].points()?;
    let held = net.members[1].readings(codes.get(&points[0]).context("the point at the county")?)?;
    let mut n_around = 0;
    for (at, value) in sent.range(onset - margin..=back + margin) {
        n_around += 1;
        if !held.contains(&(*at, *value)) {
            tally.lost += 1;
            tally.wrong(format!("a reading {} s after the onset is not at the county", (at - onset) / 1_000_000));
        }
    }
    tally.must(n_around > 150, "an hour and more is around the alarm");
    tally.must(held.len() < n_around + 25, &format!("{} readings went, {n_around} are agreed", held.len()));
    let other = net.members[1].readings(codes.get(&points[1]).context("another point")?)?;
    tally.must(other.len() == 1, &format!("{} readings of a point without alarms went", other.len()));

    agree(&net, "all")?;
    net.settle(SETTLE)?;
    net.check(tally)?;
    Ok(format!(
        "of {} readings of a point the {n_around} around its alarm went, {} in all; {} days proven so, and everything after all was agreed again",
        sent.len(),
        held.len(),
        proved.len()
    ))
}

/// The first instant of a proof's day, in µs.
fn day_of(day: &Value) -> Option<i64> {
    anlan_model::Timestamp::parse(&format!("{}T00:00:00+08:00", day["day"].as_str()?)).ok().map(anlan_model::Timestamp::micros)
}

/// The enterprise changes what goes to the county, and the county knows.
fn agree(net: &Net, readings: &str) -> anyhow::Result<()> {
    let (county, enterprise) = (&net.members[1], &net.members[2]);
    let row = enterprise.node_row(&county.id)?;
    let change = json!({ "revision": row["revision"], "agreement": { "readings": readings } });
    enterprise.admin.must("PUT", &format!("/api/v1/nodes/{}", county.id), &change)?;
    wait("the agreement at the county", || {
        let row = county.node_row(&enterprise.id)?;
        Ok((row["agreed"] == readings && row["connected"] == true).then_some(()))
    })
}
