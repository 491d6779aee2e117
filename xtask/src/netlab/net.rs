//! Nodes of the real binary, one below the other, each behind a [`Relay`]; what was sent to an enterprise, and what every level must hold of it.
//!
//! Start at [`Net::new`], then [`Net::settle`], which waits until all levels agree, and [`Net::check`], which says in what they do not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anlan_model::Timestamp;
use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use super::Tally;
use super::relay::{Mood, Relay};
use crate::faults::node::{Api, Node, Start};
use crate::faults::{At as _, Bench, Random};

/// What must come by itself has come by then.
const WITHIN: Duration = Duration::from_secs(60);
/// What a point's limit is; above it an alarm stands.
pub const LIMIT: f64 = 90.0;
const DOCUMENT: &str = "设计文件";

/// A node, the people at it and its wire to the node above.
pub struct Member {
    /// The process and its disk.
    pub node: Node,
    /// Its administrator.
    pub admin: Api,
    /// Its name.
    pub name: String,
    /// Its id in the network.
    pub id: String,
    /// From it to its parent.
    pub wire: Option<Relay>,
    /// Wires of its children.
    serves: Vec<usize>,
}

/// What a member is to be.
#[derive(Clone, Copy)]
pub struct Role<'a> {
    /// Name of its directory and in the network.
    pub name: &'a str,
    /// `enterprise`, `county`, `city`.
    pub level: &'a str,
    /// Territory of an authority's node.
    pub region: &'a str,
    /// Further settings.
    pub settings: &'a [(&'a str, &'a str)],
}

/// A device of an enterprise and what it said.
pub struct Device {
    /// The member that hears it.
    pub at: usize,
    code: String,
    secret: String,
    /// Codes of its points.
    pub points: Vec<String>,
    /// What was acknowledged, by point and instant in µs.
    pub sent: BTreeMap<(String, i64), f64>,
}

/// The network.
pub struct Net {
    /// Parents before their children.
    pub members: Vec<Member>,
    /// Member above, by member.
    pub above: Vec<Option<usize>>,
    /// Devices.
    pub devices: Vec<Device>,
    clock: PathBuf,
    dir: PathBuf,
    binary: PathBuf,
    shim: PathBuf,
    seed: u64,
}

/// Asks again until there is something, or says that it never was.
pub fn wait<T>(what: &str, ask: impl FnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    wait_within(WITHIN, what, ask)
}

fn wait_within<T>(within: Duration, what: &str, mut ask: impl FnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let until = Instant::now() + within;
    loop {
        match ask() {
            Ok(Some(found)) => return Ok(found),
            Err(failure) if Instant::now() >= until => return Err(failure.context(format!("never seen: {what}"))),
            _ => ensure!(Instant::now() < until, "never seen within {within:?}: {what}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn items(answer: &Value, noun: &str) -> Vec<Value> {
    answer[noun].as_array().cloned().unwrap_or_default()
}

/// The text of a field; empty = none.
pub fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

impl Member {
    /// The list of nodes as it knows them.
    ///
    /// # Errors
    /// It does not answer.
    pub fn nodes(&self) -> anyhow::Result<Vec<Value>> {
        Ok(items(&self.admin.get("/api/v1/nodes")?, "nodes"))
    }

    /// One node as it knows it; null = it does not.
    ///
    /// # Errors
    /// It does not answer.
    pub fn node_row(&self, id: &str) -> anyhow::Result<Value> {
        Ok(self.nodes()?.into_iter().find(|n| n["id"] == *id).unwrap_or_default())
    }

    /// Every alarm, by id.
    ///
    /// # Errors
    /// It does not answer.
    pub fn alarms(&self) -> anyhow::Result<Vec<Value>> {
        self.admin.all("/api/v1/alarms", "alarms")
    }

    /// Points by code.
    ///
    /// # Errors
    /// It does not answer.
    pub fn points(&self) -> anyhow::Result<BTreeMap<String, String>> {
        Ok(self.admin.all("/api/v1/points", "points")?.iter().map(|p| (text(p, "code"), text(p, "id"))).collect())
    }

    /// Readings of a point: instant in µs and value, as often as they are there.
    ///
    /// # Errors
    /// It does not answer.
    pub fn readings(&self, point: &str) -> anyhow::Result<Vec<(i64, f64)>> {
        let rows = self.admin.all(&format!("/api/v1/points/{point}/readings"), "readings")?;
        let row = |r: &Value| Some((Timestamp::parse(r["at"].as_str()?).ok()?.micros(), r["value"].as_f64()?));
        Ok(rows.iter().filter_map(row).collect())
    }
}

impl Net {
    /// A network without nodes; one test clock for all.
    pub fn new(bench: &Bench, name: &str, seed: u64) -> anyhow::Result<Self> {
        let dir = bench.place(name);
        std::fs::create_dir_all(&dir).at("make", &dir)?;
        let (binary, shim) = (bench.binary.clone(), bench.shim.clone());
        let clock = dir.join("clock.json");
        Ok(Self { members: Vec::new(), above: Vec::new(), devices: Vec::new(), clock, dir, binary, shim, seed })
    }

    /// City, county and one enterprise with a device, joined and in conversation.
    ///
    /// # Errors
    /// Whatever does not go.
    pub fn three(bench: &Bench, name: &str, seed: u64, of_enterprise: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut net = Self::new(bench, name, seed)?;
        net.add(Role { name: "city", level: "city", region: "5304", settings: &[] })?;
        net.add(Role { name: "county", level: "county", region: "530402", settings: &[] })?;
        net.join(1, 0, None)?;
        net.add_enterprise(1, 1, of_enterprise)?;
        Ok(net)
    }

    /// A node of enterprise number `n` below `parent`, with a device of four points.
    ///
    /// # Errors
    /// Whatever does not go.
    pub fn add_enterprise(&mut self, n: usize, parent: usize, settings: &[(&str, &str)]) -> anyhow::Result<usize> {
        let (at, here, there) = self.add_gateway(n, parent, settings)?;
        self.join(at, parent, Some(&there))?;
        self.add_device(at, &format!("PLC-{n}"), &here)?;
        Ok(at)
    }

    /// The same, not joined yet: the member, and the enterprise's id at it and at the parent.
    ///
    /// # Errors
    /// Whatever does not go.
    pub fn add_gateway(&mut self, n: usize, parent: usize, settings: &[(&str, &str)]) -> anyhow::Result<(usize, String, String)> {
        let name = format!("enterprise-{n}");
        let at = self.add(Role { name: &name, level: "enterprise", region: "", settings })?;
        let owner =
            json!({ "code": format!("91530402MA6K{n:06}"), "name": format!("演示化工{n}"), "region": "530402", "sector": "hazchem" });
        let there = self.members[parent].admin.must("POST", "/api/v1/enterprises", &owner)?;
        let here = self.members[at].admin.must("POST", "/api/v1/enterprises", &owner)?;
        Ok((at, text(&here, "id"), text(&there, "id")))
    }

    /// A device with four points at a member.
    ///
    /// # Errors
    /// The node refuses.
    pub fn add_device(&mut self, at: usize, code: &str, enterprise: &str) -> anyhow::Result<usize> {
        let admin = &self.members[at].admin;
        let device = json!({ "code": code, "name": code, "enterprise": enterprise, "protocol": "http" });
        let device = admin.must("POST", "/api/v1/devices", &device)?;
        let points: Vec<String> = (1..=4).map(|i| format!("{code}-T{i}")).collect();
        // Silent for hours by plan: steps of the test clock are not to raise alarms of their own.
        let point = |code: &String| {
            json!({ "code": code, "name": code, "unit": "Cel", "period_s": 86_400, "limits": { "hh": LIMIT },
                    "limits_source": { "document": DOCUMENT, "clause": "3" } })
        };
        let list: Vec<Value> = points.iter().map(point).collect();
        admin.must("PUT", &format!("/api/v1/devices/{}/points", text(&device, "id")), &json!({ "points": list }))?;
        let secret = text(&device, "secret");
        self.devices.push(Device { at, code: code.to_owned(), secret, points, sent: BTreeMap::new() });
        Ok(self.devices.len() - 1)
    }

    /// Makes and starts a node and its administrator.
    ///
    /// # Errors
    /// It does not start.
    pub fn add(&mut self, role: Role<'_>) -> anyhow::Result<usize> {
        let place = self.dir.join(role.name);
        let mut settings = vec![
            ("ANLAN_NODE__LEVEL", role.level),
            ("ANLAN_NODE__NAME", role.name),
            ("ANLAN_LINK__CLAIM_S", "2"),
            ("ANLAN_LOG__FILTER", "warn,anlan_app::link=info,anlan_link=info"),
        ];
        if role.level != "enterprise" {
            settings.push(("ANLAN_LINK__LISTEN", "127.0.0.1:0"));
        }
        if !role.region.is_empty() {
            settings.push(("ANLAN_NODE__REGION", role.region));
        }
        settings.extend(role.settings);
        let packs = crate::shell::root().join("packs").to_string_lossy().into_owned();
        settings.push(("ANLAN_PACKS__DIR", &packs));
        let mut node = Node::new(&self.binary, &self.shim, &place, &settings)?;
        node.words = vec!["--test-clock".to_owned(), self.clock.to_string_lossy().into_owned()];
        started(&mut node)?;
        let (admin, _) = node.set_up().with_context(|| node.said())?;
        let mut member = Member { node, admin, name: role.name.to_owned(), id: String::new(), wire: None, serves: Vec::new() };
        member.id = member.nodes()?.iter().find(|n| n["relation"] == "self").map(|n| text(n, "id")).context("its own row")?;
        self.members.push(member);
        self.above.push(None);
        Ok(self.members.len() - 1)
    }

    /// Lays the wire from a node to the one that will be its parent.
    ///
    /// # Errors
    /// No port is free.
    pub fn lay_wire(&mut self, child: usize, parent: usize) -> anyhow::Result<()> {
        let wire = Relay::new(self.seed.wrapping_add(child as u64))?;
        wire.lead_to(&self.members[parent].node.at.link);
        self.members[child].wire = Some(wire);
        self.members[parent].serves.push(child);
        self.above[child] = Some(parent);
        Ok(())
    }

    /// Invites a node: of an enterprise, by its id at the parent, or of the county.
    ///
    /// # Errors
    /// The parent refuses.
    pub fn invite(&self, child: usize, enterprise: Option<&str>) -> anyhow::Result<Value> {
        let parent = self.above[child].context("a parent")?;
        let (level, region) = if enterprise.is_some() { ("enterprise", Value::Null) } else { ("county", json!("530402")) };
        let invitation = json!({ "name": self.members[child].name, "level": level, "region": region, "enterprise": enterprise });
        self.members[parent].admin.must("POST", "/api/v1/invitations", &invitation)
    }

    /// What two people do until a node has joined, again and again if need be: one enters the code, the other compares and confirms.
    ///
    /// # Errors
    /// It does not join in time.
    pub fn pair(&self, child: usize, invitation: &Value) -> anyhow::Result<()> {
        self.pair_within(child, invitation, WITHIN)
    }

    /// The same in less time.
    ///
    /// # Errors
    /// It does not join in time.
    pub fn pair_within(&self, child: usize, invitation: &Value, within: Duration) -> anyhow::Result<()> {
        let parent = self.above[child].context("a parent")?;
        let (above, below) = (&self.members[parent].admin, &self.members[child].admin);
        let address = self.members[child].wire.as_ref().context("a wire")?.address.to_string();
        wait_within(within, "a node that has joined", || {
            let state = below.get("/api/v1/parent")?;
            match state["state"].as_str() {
                Some("joined") => return Ok(Some(())),
                Some("waiting") => {}
                _ => drop(below.must("PUT", "/api/v1/parent", &json!({ "code": invitation["code"], "address": address }))?),
            }
            let all = items(&above.get("/api/v1/invitations")?, "invitations");
            if all.iter().any(|i| i["id"] == invitation["id"] && i["state"] == "claimed") {
                let path = format!("/api/v1/invitations/{}/confirm", text(invitation, "id"));
                above.must("POST", &path, &json!({ "fingerprint": state["fingerprint"] }))?;
            }
            Ok(None)
        })
    }

    /// All of that.
    ///
    /// # Errors
    /// Whatever does not go.
    pub fn join(&mut self, child: usize, parent: usize, enterprise: Option<&str>) -> anyhow::Result<()> {
        self.lay_wire(child, parent)?;
        let invitation = self.invite(child, enterprise)?;
        self.pair(child, &invitation)?;
        self.wait_connected(child)
    }

    /// Waits until a node and its parent are in conversation.
    ///
    /// # Errors
    /// They are not in time.
    pub fn wait_connected(&self, child: usize) -> anyhow::Result<()> {
        let parent = self.above[child].context("a parent")?;
        let id = &self.members[child].id;
        let ask = || Ok((self.members[parent].node_row(id)?["connected"] == true).then_some(()));
        wait(&format!("{} in conversation with its parent", self.members[child].name), ask)
            .with_context(|| format!("{}\n-- above\n{}", self.members[child].node.said(), self.members[parent].node.said()))
    }

    /// Every wire at once.
    pub fn set_wires(&self, mood: Mood) {
        self.members.iter().filter_map(|m| m.wire.as_ref()).for_each(|wire| wire.set(mood));
    }

    /// Starts a member again; its wires and clients find it.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self, at: usize) -> anyhow::Result<()> {
        let member = &mut self.members[at];
        started(&mut member.node).with_context(|| format!("{} does not start again", member.name))?;
        let (http, link) = (member.node.at.http.clone(), member.node.at.link.clone());
        member.admin.move_to(&http);
        for child in self.members[at].serves.clone() {
            if let Some(wire) = &self.members[child].wire {
                wire.lead_to(&link);
            }
        }
        Ok(())
    }

    /// Now by the test clock.
    ///
    /// # Errors
    /// The node does not answer.
    pub fn now_us(&self) -> anyhow::Result<i64> {
        let lowest = self.members.last().context("a node")?;
        let now = lowest.admin.get("/api/v1/test/clock")?;
        Ok(Timestamp::parse(now["now"].as_str().context("a time")?).map_err(|e| anyhow::anyhow!("{e:?}"))?.micros())
    }

    /// Moves the test clock of all, and waits until the lowest node has done what was due by then; the others follow within 100 ms.
    ///
    /// # Errors
    /// The node does not answer.
    pub fn advance(&self, seconds: i64) -> anyhow::Result<()> {
        let lowest = self.members.last().context("a node")?;
        lowest.admin.must("POST", "/api/v1/test/clock", &json!({ "advance_s": seconds }))?;
        Ok(())
    }

    /// Says these readings until they are acknowledged.
    ///
    /// # Errors
    /// They never are.
    pub fn send(&mut self, device: usize, readings: &[(String, i64, f64)]) -> anyhow::Result<()> {
        let device = &mut self.devices[device];
        let at = self.members[device.at].node.at.http.clone();
        let until = Instant::now() + WITHIN;
        while !device.say(&at, readings) {
            ensure!(Instant::now() < until, "{} readings of {} are not taken", readings.len(), device.code);
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// The levels above a member, itself first.
    pub fn chain(&self, from: usize) -> Vec<usize> {
        std::iter::successors(Some(from), |at| self.above[*at]).collect()
    }

    /// Waits until every level holds as many readings of the devices as were acknowledged and the proofs of all say that they are equal, and no alarm is
    /// under way.
    ///
    /// # Errors
    /// They never agree; the error says in what not.
    pub fn settle(&self, within: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + within;
        loop {
            let found = self.apart().unwrap_or_else(|failure| Some(format!("{failure:#}")));
            let Some(found) = found else { return Ok(()) };
            if Instant::now() >= until {
                let said: Vec<String> = self.members.iter().map(|m| format!("-- {}\n{}", m.name, m.node.said())).collect();
                bail!("the levels do not agree within {within:?}: {found}\n{}", said.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// In what the levels differ still.
    fn apart(&self) -> anyhow::Result<Option<String>> {
        for device in &self.devices {
            let chain = self.chain(device.at);
            let origin = &self.members[device.at].id;
            for (n, at) in chain.iter().enumerate().skip(1) {
                // An origin may have more devices than one.
                let expected: usize = self.devices.iter().filter(|d| d.at == device.at).map(|d| d.sent.len()).sum();
                let (count, problem) = self.proved(*at, origin, n + 1)?;
                if let Some(problem) = problem.filter(|_| expected > 0) {
                    return Ok(Some(problem));
                }
                if count < expected as i64 {
                    return Ok(Some(format!("{} has {count} of {expected} readings of {}", self.members[*at].name, device.code)));
                }
            }
        }
        for (child, parent) in self.pairs() {
            let (below, above) = (self.members[child].alarms()?, self.members[parent].alarms()?);
            let there: BTreeMap<String, String> = above.iter().map(|a| (text(a, "id"), text(a, "returned_at"))).collect();
            let missing = below.iter().find(|a| there.get(&text(a, "id")) != Some(&text(a, "returned_at")));
            if let Some(missing) = missing {
                return Ok(Some(format!(
                    "{} does not have the alarm of {}: {missing}",
                    self.members[parent].name, self.members[child].name
                )));
            }
        }
        Ok(None)
    }

    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.above.iter().enumerate().filter_map(|(child, parent)| Some((child, (*parent)?)))
    }

    /// How many readings of an origin a member has by its proofs, and what is not equal among `holders` of them.
    ///
    /// # Errors
    /// It does not answer.
    pub fn proved(&self, at: usize, origin: &str, holders: usize) -> anyhow::Result<(i64, Option<String>)> {
        let member = &self.members[at];
        let days = member.admin.all(&format!("/api/v1/proofs?origin={origin}"), "proofs")?;
        let mut count = 0;
        for day in &days {
            let held = items(day, "holders");
            count += held.last().and_then(|h| h["count"].as_i64()).unwrap_or(0);
            if day["equal"] != true || held.len() != holders {
                return Ok((count, Some(format!("{}: proof of {}: {}", member.name, text(day, "day"), day))));
            }
        }
        let nothing = days.is_empty().then(|| format!("{} has no proof", member.name));
        Ok((count, nothing))
    }

    /// Everything that was acknowledged, at every level, exactly once; every alarm of a level once at the level above.
    ///
    /// # Errors
    /// A node does not answer. What is wrong goes into `tally`.
    pub fn check(&self, tally: &mut Tally) -> anyhow::Result<()> {
        for device in &self.devices {
            tally.readings += device.sent.len() as u64;
            for at in self.chain(device.at) {
                self.check_readings(device, &self.members[at], tally)?;
            }
        }
        for member in &self.members {
            let alarms = member.alarms()?;
            let mut ids = BTreeSet::new();
            let mut conditions = BTreeSet::new();
            for alarm in &alarms {
                let condition = format!("{} {} {}", text(alarm, "rule"), alarm["point"], text(alarm, "raised_at"));
                if !ids.insert(text(alarm, "id")) || !conditions.insert(condition) {
                    tally.doubled += 1;
                    tally.wrong(format!("{}: an alarm stands twice: {alarm}", member.name));
                }
            }
            tally.alarms += alarms.len() as u64;
        }
        for (child, parent) in self.pairs() {
            let (below, above) = (self.members[child].alarms()?, self.members[parent].alarms()?);
            for alarm in below {
                let Some(there) = above.iter().find(|a| a["id"] == alarm["id"]) else {
                    tally.lost += 1;
                    tally.wrong(format!("{} does not have the alarm {alarm}", self.members[parent].name));
                    continue;
                };
                for field in ["rule", "level", "value", "onset_at", "raised_at", "returned_at"] {
                    if alarm[field] != there[field] {
                        tally.unequal += 1;
                        tally
                            .wrong(format!("{}: {field} of an alarm is {}, not {}", self.members[parent].name, there[field], alarm[field]));
                    }
                }
            }
        }
        Ok(())
    }

    fn check_readings(&self, device: &Device, member: &Member, tally: &mut Tally) -> anyhow::Result<()> {
        let points = member.points()?;
        for code in &device.points {
            let wanted: BTreeMap<i64, f64> = device.sent.iter().filter(|((c, _), _)| c == code).map(|((_, at), v)| (*at, *v)).collect();
            let Some(id) = points.get(code) else {
                if !wanted.is_empty() {
                    tally.lost += wanted.len() as u64;
                    tally.wrong(format!("{} does not know the point {code}", member.name));
                }
                continue;
            };
            let mut found = BTreeMap::new();
            for (at, value) in member.readings(id)? {
                if found.insert(at, value).is_some() {
                    tally.doubled += 1;
                    tally.wrong(format!("{}: {code} has two readings at {}", member.name, Timestamp::from_micros(at)));
                }
            }
            let lost = wanted.iter().filter(|(at, value)| found.get(*at) != Some(value)).count();
            if lost > 0 {
                tally.lost += lost as u64;
                tally.wrong(format!("{}: {lost} of {} acknowledged readings of {code} are not there", member.name, wanted.len()));
            }
            let strange = found.keys().filter(|at| !wanted.contains_key(at)).count();
            if strange > 0 {
                tally.unequal += strange as u64;
                tally.wrong(format!("{}: {strange} readings of {code} that nobody sent", member.name));
            }
        }
        Ok(())
    }

    /// A copy of a member's stopped disk, for later or for a second box.
    ///
    /// # Errors
    /// I/O.
    pub fn copy_disk(&self, at: usize, name: &str) -> anyhow::Result<PathBuf> {
        let to = self.dir.join(name);
        copy_dir(&self.members[at].node.journal.data, &to)?;
        Ok(to)
    }

    /// Puts a copy in the place of a member's stopped disk.
    ///
    /// # Errors
    /// I/O.
    pub fn put_back(&self, at: usize, copy: &Path) -> anyhow::Result<()> {
        let data = &self.members[at].node.journal.data;
        std::fs::remove_dir_all(data).at("remove", data)?;
        copy_dir(copy, data)
    }

    /// Another random stream for a scenario's own choices.
    pub fn random(&self) -> Random {
        Random(self.seed ^ 0x6e65_746c_6162)
    }
}

impl Device {
    /// Says these readings once; whether they were acknowledged.
    pub fn say(&mut self, http: &str, readings: &[(String, i64, f64)]) -> bool {
        let lines: Vec<String> = readings.iter().map(|(code, at, value)| format!("{code} value={value:?} {at}")).collect();
        let path = format!("/write?precision=u&u={}&p={}", self.code, self.secret);
        let api = Api::patient(http, Duration::from_secs(5));
        let is_kept = api.post_text(&path, &lines.join("\n")).is_ok_and(|status| status == 204);
        if is_kept {
            self.sent.extend(readings.iter().map(|(code, at, value)| ((code.clone(), *at), *value)));
        }
        is_kept
    }
}

fn started(node: &mut Node) -> anyhow::Result<()> {
    match node.start()? {
        Start::Ready => Ok(()),
        Start::Killed => bail!("nobody asked for a kill"),
        Start::Refused(why) => bail!("it refuses: {why}"),
    }
}

/// Copies regular files and folders.
///
/// # Errors
/// I/O.
pub fn copy_dir(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to).at("make", to)?;
    for entry in std::fs::read_dir(from).at("list", from)? {
        let entry = entry.at("list", from)?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().at("look at", &path)?;
        if kind.is_dir() {
            copy_dir(&path, &target)?;
        } else if kind.is_file() {
            std::fs::copy(&path, &target).map(drop).at("copy", &path)?;
        }
    }
    Ok(())
}
