//! A node with people and devices around it, and the book of what it acknowledged: after every fault the node is asked for all of it.
//!
//! Start at [`World::new`], [`World::under_load`] and [`World::check`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anlan_model::Timestamp;
use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use super::device::{self, Device, LONG_AGO_US, POINT, Speech};
use super::node::{Api, Node, Start};
use super::{Random, Tally, now_us};

/// With this setting log segments go as soon as nobody needs them.
pub const RELEASES_LOG: (&str, &str) = ("ANLAN_HISTORY__KEEP_LOG_S", "0");
/// With these a node archives days that are over into `root`, and looks for more all the time.
pub fn archives(root: &Path) -> Vec<(&'static str, String)> {
    let folder = root.join(ARCHIVE).display().to_string();
    let rest = [("ANLAN_ARCHIVE__AFTER_DAYS", "0"), ("ANLAN_ARCHIVE__COMPACT_PARTS", "2"), ("ANLAN_ARCHIVE__LOOK_MS", "30")];
    rest.map(|(key, value)| (key, value.to_owned())).into_iter().chain([("ANLAN_ARCHIVE__URL", folder)]).collect()
}

/// With these a node drops readings and positions of days that are over as soon as it may.
pub const DROPS: [(&str, &str); 2] = [("ANLAN_RETENTION__READINGS_DAYS", "1"), ("ANLAN_RETENTION__POSITIONS_DAYS", "1")];
/// With this the statistics of their hours go too.
pub const DROPS_HOURS: (&str, &str) = ("ANLAN_RETENTION__ROLLUPS_DAYS", "1");

/// Device and vehicle that a hold is set on, sooner or later.
const HELD: &str = "L-3";
const HELD_PHONE: &str = "13800000002";

const ARCHIVE: &str = "archive";
/// How long the projector may need to reach the log's end once nothing comes in.
const SETTLE_WITHIN: Duration = Duration::from_secs(20);

/// What people did and the node confirmed.
#[derive(Default)]
struct Acts {
    acknowledged: Vec<String>,
    users: Vec<String>,
    commands: Vec<String>,
    holds: Vec<String>,
}

/// Where a device's rows are asked for.
struct Rows {
    noun: &'static str,
    table: &'static str,
    speech: Speech,
    id: String,
}

/// What the node shows of one device.
#[derive(Default)]
struct Shown {
    /// Bits of the value and how often it stands there, by device time.
    rows: HashMap<i64, (u64, u32)>,
    /// Instants with two values.
    twice: Vec<i64>,
    gaps: Vec<Gap>,
    pages: usize,
}

/// A time that the node says retention dropped.
#[derive(Debug)]
struct Gap {
    from: i64,
    to: i64,
    has_hours: bool,
}

/// One node, its people and its devices.
pub struct World {
    /// The node and its disk.
    pub node: Node,
    /// Who manages it.
    pub admin: Api,
    /// Who handles alarms.
    pub duty: Api,
    /// Who speaks to it.
    pub devices: Vec<Device>,
    acts: Acts,
    /// Of the device whose point has limits.
    alarm_device: String,
    enterprise: String,
    /// Rows of days long over, by table and day, as the API showed them at the last look at everything.
    old_rows: BTreeMap<(&'static str, String), u64>,
    /// Rows of days long over that were acknowledged and dropped, likewise.
    dropped_rows: BTreeMap<(&'static str, String), u64>,
    /// Days leave by retention, and no archive has them.
    drops: bool,
    archives: bool,
    /// The log is all there, so that the database's alarms can be compared with it one by one.
    keeps_log: bool,
    /// Alarms of which the book was kept at the last look.
    n_acts_checked: [usize; 3],
    random: Random,
}

impl World {
    /// Starts a new node in `place` and makes everything that load and checks need.
    ///
    /// # Errors
    /// The node refuses anything of it.
    pub fn new(binary: &Path, shim: &Path, place: &Path, settings: &[(&str, &str)], random: &mut Random) -> anyhow::Result<Self> {
        let mut node = Node::new(binary, shim, place, settings)?;
        match node.start()? {
            Start::Ready => {}
            Start::Killed => bail!("the node was killed before anybody asked for it"),
            Start::Refused(why) => bail!("a new node does not start: {why}"),
        }
        let is_set = |key: &str| settings.iter().any(|(set, _)| *set == key);
        let (admin, duty) = node.set_up()?;
        let enterprise = json!({ "code": "E-1", "name": "演示企业", "region": "530402", "sector": "hazchem" });
        let enterprise = id_of(&admin.must("POST", "/api/v1/enterprises", &enterprise)?)?;
        let mut world = Self {
            node,
            admin,
            duty,
            devices: Vec::new(),
            acts: Acts::default(),
            alarm_device: String::new(),
            enterprise,
            old_rows: BTreeMap::new(),
            dropped_rows: BTreeMap::new(),
            drops: is_set(DROPS[0].0) && !is_set("ANLAN_ARCHIVE__URL"),
            archives: is_set("ANLAN_ARCHIVE__URL"),
            keeps_log: !is_set(RELEASES_LOG.0),
            n_acts_checked: [0; 3],
            random: Random(random.next()),
        };
        for (speech, code) in
            [(Speech::Mqtt, "M-1"), (Speech::Mqtt, "M-2"), (Speech::Line, "L-1"), (Speech::Line, "L-2"), (Speech::Line, HELD)]
        {
            let is_behind = code == "L-2" || code == HELD;
            // Only where something is dropped there is something to hold.
            if code != HELD || is_set(DROPS[0].0) {
                world.add_device(speech, code)?;
                world.devices.last_mut().context("a device")?.behind_us = if is_behind { LONG_AGO_US } else { 0 };
            }
        }
        world.add_device(Speech::Mqtt, "A-1")?;
        let alarming = world.devices.last_mut().context("a device")?;
        (alarming.is_swinging, alarming.pace) = (true, Duration::from_millis(4));
        world.alarm_device = alarming.id.clone();
        let limits = json!({ "points": [{
            "code": POINT, "name": "罐区可燃气体", "unit": "%LEL", "period_s": 600, "limits": { "hh": 50, "h": 25, "deadband": 1 },
            "limits_source": { "document": "GB/T 50493-2019", "clause": "5.5.2" },
        }] });
        world.admin.must("PUT", &format!("/api/v1/devices/{}/points", world.alarm_device), &limits)?;
        for phone in ["13800000001", HELD_PHONE] {
            let seed = world.random.next();
            world.devices.push(Device::new(Speech::Jt808, phone, "", "", seed));
        }
        Ok(world)
    }

    fn add_device(&mut self, speech: Speech, code: &str) -> anyhow::Result<()> {
        let (id, secret) = self.make_device(code)?;
        let seed = self.random.next();
        self.devices.push(Device::new(speech, code, &id, &secret, seed));
        Ok(())
    }

    /// Registers a device that keeps no book; its id and secret.
    ///
    /// # Errors
    /// The node refuses.
    pub fn make_device(&self, code: &str) -> anyhow::Result<(String, String)> {
        let wanted = json!({ "code": code, "name": code, "enterprise": self.enterprise, "protocol": "mqtt" });
        let made = self.admin.must("POST", "/api/v1/devices", &wanted)?;
        Ok((id_of(&made)?, made["secret"].as_str().context("a secret")?.to_owned()))
    }

    /// Everybody speaks and acts while `meanwhile` runs; then they are told to stop.
    ///
    /// # Errors
    /// Those of `meanwhile`.
    pub fn under_load<T>(&mut self, meanwhile: impl FnOnce(&mut Node) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let stop = AtomicBool::new(false);
        let at = self.node.at.clone();
        let (acts, random) = (&mut self.acts, &mut self.random);
        let (admin, duty, alarm_device) = (&self.admin, &self.duty, &self.alarm_device);
        let (node, devices) = (&mut self.node, &mut self.devices);
        std::thread::scope(|scope| {
            for device in devices {
                let (at, stop) = (&at, &stop);
                scope.spawn(move || device.run(at, stop));
            }
            let stopped = &stop;
            scope.spawn(move || {
                // An error is the cut itself; only what was confirmed is in the book.
                let _ = act(admin, duty, alarm_device, acts, random, stopped);
            });
            let done = meanwhile(node);
            stop.store(true, Ordering::Relaxed);
            done
        })
    }

    /// Starts the node again after whatever ended it; clients keep their sessions.
    ///
    /// # Errors
    /// The harness's own.
    pub fn restart(&mut self) -> anyhow::Result<Start> {
        self.restart_under(&[])
    }

    /// The same with more variables.
    ///
    /// # Errors
    /// The harness's own.
    pub fn restart_under(&mut self, more: &[(&str, &str)]) -> anyhow::Result<Start> {
        let start = self.node.start_under(more)?;
        for api in [&mut self.admin, &mut self.duty] {
            api.move_to(&self.node.at.http);
        }
        Ok(start)
    }

    /// How long devices wait for an answer from now on.
    pub fn patience(&mut self, patience: Duration) {
        self.devices.iter_mut().for_each(|device| device.patience = patience);
    }

    /// Id of the enterprise that everything belongs to.
    pub fn enterprise(&self) -> &str {
        &self.enterprise
    }

    /// How many messages were acknowledged so far.
    pub fn n_acknowledged(&self) -> u64 {
        self.devices.iter().flat_map(|d| &d.sent).filter(|s| s.is_kept).count() as u64
    }

    /// Asks the running node for what it acknowledged: of everything, or of what came since the last check.
    ///
    /// # Errors
    /// The node does not answer. What it says wrong goes into `tally`.
    pub fn check(&mut self, everything: bool, tally: &mut Tally) -> anyhow::Result<()> {
        self.old_rows.clear();
        self.dropped_rows.clear();
        for i in 0..self.devices.len() {
            self.check_device(i, everything, tally)?;
        }
        if everything {
            self.n_acts_checked = [0; 3];
        }
        if everything && self.drops {
            self.check_audit(tally)?;
        }
        self.check_acts(tally)?;
        self.check_open_alarms(tally)?;
        self.node.journal.check()
    }

    /// Where the rows of a device are asked for; `None` if the node has not heard of it.
    fn rows_of(&self, i: usize) -> anyhow::Result<Option<Rows>> {
        let device = &self.devices[i];
        let (ask, noun, table) = match device.speech {
            Speech::Jt808 => (format!("/api/v1/vehicles?phone={}", device.code), "vehicles", "positions"),
            _ => (format!("/api/v1/points?device={}", device.id), "points", "readings"),
        };
        let found = self.admin.get(&ask)?;
        let Some(id) = found[noun][0]["id"].as_str() else { return Ok(None) };
        Ok(Some(Rows { noun, table, speech: device.speech, id: id.to_owned() }))
    }

    /// Everything that the node shows of these rows, page after page.
    fn shown(&self, rows: &Rows, from: &str) -> anyhow::Result<Shown> {
        let (mut shown, mut cursor) = (Shown::default(), String::new());
        let until = Instant::now() + SETTLE_WITHIN;
        loop {
            let path = format!("/api/v1/{}/{}/{}?limit=10000{from}{cursor}", rows.noun, rows.id, rows.table);
            let (status, page) = self.admin.ask("GET", &path, &Value::Null)?;
            if status == 503 && self.archives && Instant::now() < until {
                // The archive is looked at once the node runs; a day that is there alone is not made up from nothing before.
                std::thread::sleep(Duration::from_millis(10));
                continue;
            }
            ensure!(status == 200, "GET {path} answers {status}: {page}");
            shown.pages += 1;
            for gap in page["dropped"].as_array().context("what was dropped")? {
                let [from, to] = ["from", "to"].map(|end| gap[end].as_str().and_then(|at| Timestamp::parse(at).ok()));
                let (from, to) = from.zip(to).with_context(|| format!("not a gap: {gap}"))?;
                shown.gaps.push(Gap { from: from.micros(), to: to.micros(), has_hours: gap["left"] == "hours" });
            }
            for json in page[rows.table].as_array().context("a list")? {
                let (at, value) = device::row(rows.speech, json).with_context(|| format!("not a row: {json}"))?;
                let entry = shown.rows.entry(at).or_insert((value.to_bits(), 0));
                entry.1 += 1;
                if entry.0 != value.to_bits() {
                    shown.twice.push(at);
                }
            }
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(shown),
            }
        }
    }

    fn check_device(&mut self, i: usize, everything: bool, tally: &mut Tally) -> anyhow::Result<()> {
        let begin = if everything { 0 } else { self.devices[i].n_checked };
        let Some(first) = self.devices[i].sent.get(begin) else { return Ok(()) };
        let from = if everything { String::new() } else { format!("&from={}", Timestamp::from_micros(first.at_us)) };
        let rows = self.rows_of(i)?;
        let mut shown = rows.as_ref().map(|rows| self.shown(rows, &from)).transpose()?.unwrap_or_default();
        let newest = shown.rows.keys().max().copied();
        let device = &mut self.devices[i];
        for at in &shown.twice {
            tally.wrong(format!("{}: two values at {at}", device.code));
        }
        if !self.drops && !shown.gaps.is_empty() {
            tally.wrong(format!("{}: said to be dropped though it is archived or kept for ever: {:?}", device.code, shown.gaps));
        }
        if let (true, Some(rows)) = (everything && device.behind_us > 0, &rows) {
            for at in shown.rows.keys() {
                *self.old_rows.entry((rows.table, day_of(*at))).or_default() += 1;
            }
        }
        let (mut lost, mut held_lost) = (0u64, 0u64);
        // By day: the first run of which something is shown, and the last one of which something is gone that was not said before it.
        let mut halves: BTreeMap<String, (u32, u32)> = BTreeMap::new();
        for sent in &device.sent[begin..] {
            let day = day_of(sent.at_us);
            match shown.rows.remove(&sent.at_us) {
                Some((bits, n)) => {
                    if bits != sent.value.to_bits() {
                        tally.wrong(format!("{} at {}: sent {:?}, stored {:?}", device.code, sent.at_us, sent.value, f64::from_bits(bits)));
                    }
                    tally.doubled += u64::from(n > 1);
                    tally.stored += u64::from(everything);
                    if sent.is_kept && !sent.is_held {
                        let half = halves.entry(day).or_insert((u32::MAX, 0));
                        half.0 = half.0.min(sent.kept_in);
                    }
                }
                None if !sent.is_kept => {}
                None if sent.is_held => held_lost += 1,
                None if self.drops && shown.gaps.iter().any(|gap| (gap.from..gap.to).contains(&sent.at_us)) => {
                    if let (true, Some(rows)) = (everything, &rows) {
                        tally.dropped += 1;
                        *self.dropped_rows.entry((rows.table, day.clone())).or_default() += 1;
                    }
                    let half = halves.entry(day).or_insert((u32::MAX, 0));
                    half.1 = half.1.max(sent.said_in);
                }
                None => lost += 1,
            }
        }
        if lost + held_lost > 0 {
            tally.lost += lost + held_lost;
            let held = if held_lost > 0 { format!(", {held_lost} of them under a legal hold") } else { String::new() };
            tally.wrong(format!("{}: {} acknowledged messages are not stored{held}", device.code, lost + held_lost));
        }
        if let Some(at) = shown.rows.keys().next() {
            tally.wrong(format!("{}: {} rows that nobody sent, one at {at}", device.code, shown.rows.len()));
        }
        // What goes of a day is whatever was sealed of it by then: what came later may stay, never what came before. Between two pages it may go.
        for (day, (left, gone)) in halves.into_iter().filter(|(_, (left, gone))| left < gone && shown.pages == 1) {
            tally.wrong(format!("{}: {day} is half dropped: run {gone} is gone, of run {left} something is left", device.code));
        }
        // Latest is the greatest event time (invariant 8), which stays whatever its age.
        if let (Some(newest), Some(rows)) = (newest, &rows)
            && rows.table == "readings"
        {
            let latest = self.admin.get(&format!("/api/v1/points/latest?enterprise={}", self.enterprise))?;
            let told = latest["points"].as_array().into_iter().flatten().find(|p| p["id"] == *rows.id);
            let told = told.and_then(|p| Timestamp::parse(p["latest"]["at"].as_str()?).ok()).map(Timestamp::micros);
            let kept = device.sent.iter().filter(|s| s.is_kept).map(|s| s.at_us).max();
            let is_newest = match told {
                // What was newer than all that is left may have gone with its day.
                Some(at) if self.drops => at >= newest.max(kept.unwrap_or(newest)) && device.sent.iter().any(|s| s.at_us == at),
                told => told == Some(newest),
            };
            if !is_newest {
                tally.wrong(format!("{}: the latest is {told:?}, the greatest event time {newest}", device.code));
            }
        }
        device.n_checked = device.sent.iter().position(|s| !s.is_kept).unwrap_or(device.sent.len());
        // The hours that are said to be left are there.
        if let (true, Some(rows)) = (everything, &rows) {
            for gap in shown.gaps.iter().filter(|gap| gap.has_hours) {
                let [from, to] = [gap.from, gap.to].map(|at| Timestamp::from_micros(at).to_string());
                let hours = self.admin.get(&format!("/api/v1/points/{}/rollup?step=1h&from={from}&to={to}", rows.id))?;
                if hours["rollup"].as_array().is_none_or(Vec::is_empty) {
                    tally.wrong(format!("{}: hours of {from} are said to be left and are not", self.devices[i].code));
                }
            }
        }
        Ok(())
    }

    fn check_acts(&mut self, tally: &mut Tally) -> anyhow::Result<()> {
        let [alarms, users, commands] = self.n_acts_checked;
        for id in &self.acts.acknowledged[alarms..] {
            let (status, alarm) = self.duty.ask("GET", &format!("/api/v1/alarms/{id}"), &Value::Null)?;
            if status != 200 || alarm["acknowledged_at"].is_null() {
                tally.wrong(format!("the acknowledgement of alarm {id} is lost: {status} {alarm}"));
            }
        }
        if self.acts.users.len() > users {
            let there = words(self.admin.all("/api/v1/users", "users")?, "username");
            for name in self.acts.users[users..].iter().filter(|n| !there.contains(*n)) {
                tally.wrong(format!("the user {name} is lost"));
            }
        }
        if self.acts.commands.len() > commands {
            let there = words(self.duty.all(&format!("/api/v1/commands?device={}", self.alarm_device), "commands")?, "id");
            for id in self.acts.commands[commands..].iter().filter(|id| !there.contains(*id)) {
                tally.wrong(format!("the command {id} is lost"));
            }
        }
        if !self.acts.holds.is_empty() {
            let standing = self.admin.all("/api/v1/holds", "holds")?.into_iter().filter(|hold| hold["released_at"].is_null()).collect();
            let standing = words(standing, "id");
            for id in self.acts.holds.iter().filter(|id| !standing.contains(*id)) {
                tally.wrong(format!("the hold {id} is lost"));
            }
        }
        self.n_acts_checked = [self.acts.acknowledged.len(), self.acts.users.len(), self.acts.commands.len()];
        Ok(())
    }

    /// Whether a hold was set.
    pub fn has_hold(&self) -> bool {
        !self.acts.holds.is_empty()
    }

    /// Sets a hold on a point and a vehicle with days that may go, once there are both: what they show from then on stays.
    ///
    /// # Errors
    /// The node refuses.
    pub fn hold(&mut self) -> anyhow::Result<()> {
        let held: Vec<usize> = (0..self.devices.len()).filter(|i| [HELD, HELD_PHONE].contains(&self.devices[*i].code.as_str())).collect();
        let rows = held.iter().map(|i| self.rows_of(*i)).collect::<anyhow::Result<Option<Vec<Rows>>>>()?.unwrap_or_default();
        let [point, vehicle] = rows.as_slice() else { return Ok(()) };
        let [from, to] = [now_us() - 2 * LONG_AGO_US, now_us()].map(|at| Timestamp::from_micros(at).to_string());
        let hold = json!({ "points": [point.id], "vehicles": [vehicle.id], "from": from, "to": to, "reason": "〔2026〕9 号" });
        let hold = id_of(&self.admin.must("POST", "/api/v1/holds", &hold)?)?;
        self.acts.holds.push(hold);
        for i in held {
            let shown = self.shown(&rows[usize::from(self.devices[i].speech == Speech::Jt808)], "")?;
            let device = &mut self.devices[i];
            device.is_held = true;
            device.sent.iter_mut().for_each(|sent| sent.is_held |= shown.rows.contains_key(&sent.at_us));
        }
        Ok(())
    }

    /// The audit has at least as many rows of each day as are gone: it is said before it happens, after a cut perhaps twice.
    fn check_audit(&self, tally: &mut Tally) -> anyhow::Result<()> {
        let mut audited: BTreeMap<(&str, String), u64> = BTreeMap::new();
        for entry in self.admin.all("/api/v1/audit?noun=history", "entries")? {
            for table in ["readings", "positions"] {
                let day = entry["subject"].as_str().unwrap_or_default().to_owned();
                *audited.entry((table, day)).or_default() += entry["detail"][table].as_u64().unwrap_or_default();
            }
        }
        for (key, gone) in &self.dropped_rows {
            let said = audited.get(key).copied().unwrap_or_default();
            if said < *gone {
                tally.wrong(format!("{} of {}: {gone} are gone, the audit tells of {said}", key.0, key.1));
            }
        }
        Ok(())
    }

    /// One open occurrence for each (rule, subject): invariant 9.
    fn check_open_alarms(&self, tally: &mut Tally) -> anyhow::Result<()> {
        let mut open = HashSet::new();
        for state in ["raised", "acknowledged"] {
            for alarm in self.duty.all(&format!("/api/v1/alarms?state={state}"), "alarms")? {
                let key = format!("{} {} {}", alarm["rule"], alarm["point"], alarm["vehicle"]);
                if !open.insert(key.clone()) && alarm["historic"] == false {
                    tally.wrong(format!("two open alarms of {key}"));
                }
            }
        }
        Ok(())
    }

    /// Waits until the database has applied everything the log says.
    ///
    /// # Errors
    /// It does not.
    pub fn settle(&self) -> anyhow::Result<u64> {
        let until = Instant::now() + SETTLE_WITHIN;
        loop {
            let (_, ready) = self.admin.ask("GET", "/readyz", &Value::Null)?;
            if ready["position"] == ready["projected"] && ready["queued"] == 0 {
                return ready["position"].as_u64().context("a position");
            }
            ensure!(Instant::now() < until, "the projection stays behind the log: {ready}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Everything at once: all readings, then, with the node stopped, every checksum, the audit's chain, and the projection against the log.
    ///
    /// # Errors
    /// The node does not answer or does not stop in order. What is wrong goes into `tally`.
    pub fn check_to_the_end(&mut self, tally: &mut Tally) -> anyhow::Result<()> {
        self.settle()?;
        self.check(true, tally)?;
        tally.acknowledged += self.n_acknowledged();
        // Sensors that fell silent raise alarms while one looks: what is compared is what both held at one position.
        let (mut shown, position) = loop {
            let before = self.settle()?;
            let mut shown: BTreeMap<String, String> = BTreeMap::new();
            for alarm in self.duty.all("/api/v1/alarms?", "alarms")? {
                shown.insert(id_of(&alarm)?, alarm["returned_at"].as_str().unwrap_or_default().to_owned());
            }
            if self.settle()? == before {
                break (shown, before);
            }
        };
        self.node.stop()?;
        for words in [["history", "verify"], ["audit", "verify"]] {
            if let Err(failure) = self.node.run(&words) {
                tally.wrong(format!("{failure:#}"));
            }
        }
        self.check_archive(tally)?;
        let mut logged: BTreeMap<String, String> = BTreeMap::new();
        for line in self.node.run(&["history", "effects"])?.lines() {
            let mut line: Value = serde_json::from_str(line)?;
            if line["position"].as_u64().is_none_or(|at| at > position) {
                continue;
            }
            let effect = line["effect"].take();
            match effect["kind"].as_str() {
                Some("raised") => drop(logged.insert(id_of(&effect)?, String::new())),
                Some("returned") => drop(logged.insert(id_of(&effect)?, effect["returned_at"].as_str().unwrap_or_default().to_owned())),
                _ => {}
            }
        }
        if !self.keeps_log {
            // What was released is in the database; what is still in the log must be.
            shown.retain(|id, _| logged.contains_key(id));
        }
        if shown != logged {
            let odd = logged.iter().find(|(id, at)| shown.get(*id) != Some(at)).or(shown.iter().find(|(id, _)| !logged.contains_key(*id)));
            tally.wrong(format!("the database shows {} alarms, the log {}: the first that differs is {odd:?}", shown.len(), logged.len()));
        }
        tally.alarms += logged.len() as u64;
        tally.acts += (self.acts.acknowledged.len() + self.acts.users.len() + self.acts.commands.len()) as u64;
        Ok(())
    }

    /// The stopped node's archive, brought up to date: every file is what its manifest says, and each old day has the rows that the API showed.
    fn check_archive(&self, tally: &mut Tally) -> anyhow::Result<()> {
        if !self.node.journal.root.join(ARCHIVE).exists() {
            return Ok(());
        }
        let verified = self.node.run(&["archive", "run"]).and_then(|_| self.node.run(&["archive", "verify"]));
        let report: Value = match verified {
            Ok(text) => serde_json::from_str(&text)?,
            Err(failure) => {
                tally.wrong(format!("{failure:#}"));
                return Ok(());
            }
        };
        let days = report["days"].as_array().into_iter().flatten();
        let found: BTreeMap<(&str, String), u64> =
            days.filter_map(|d| Some(((d["table"].as_str()?, d["day"].as_str()?.to_owned()), d["rows"].as_u64()?))).collect();
        for ((table, day), rows) in &self.old_rows {
            let archived = found.get(&(*table, day.clone())).copied().unwrap_or_default();
            if archived != *rows {
                tally.wrong(format!("{table} of {day}: {rows} rows, {archived} of them in the archive"));
            }
            tally.archived += archived;
        }
        Ok(())
    }

    /// Everything acknowledged is out of reach: the node does not start.
    pub fn give_up(&self, tally: &mut Tally, why: &str) {
        let n = self.n_acknowledged();
        tally.acknowledged += n;
        tally.lost += n;
        tally.wrong(format!("the node refuses to start: {why}"));
    }
}

/// People at work: acknowledge what stands, make users, send commands.
fn act(admin: &Api, duty: &Api, device: &str, acts: &mut Acts, random: &mut Random, stop: &AtomicBool) -> anyhow::Result<()> {
    let stopped = || stop.load(Ordering::Relaxed);
    while !stopped() {
        let raised = duty.get("/api/v1/alarms?state=raised&limit=4")?;
        for alarm in raised["alarms"].as_array().into_iter().flatten() {
            let id = id_of(alarm)?;
            let (status, _) = duty.ask("POST", &format!("/api/v1/alarms/{id}/acknowledge"), &json!({ "note": "已派人" }))?;
            if status == 200 {
                acts.acknowledged.push(id);
            }
            if stopped() {
                return Ok(());
            }
        }
        match random.below(4) {
            0 => {
                let name = format!("u{:016x}", random.next());
                let user =
                    json!({ "username": name, "name": name, "password": "correct horse battery", "grants": [{ "role": "duty_officer" }] });
                if admin.ask("POST", "/api/v1/users", &user)?.0 == 201 {
                    acts.users.push(name);
                }
            }
            1 => {
                let command =
                    json!({ "device": device, "body": { "kind": "mqtt", "payload": format!("{{\"n\":{}}}", random.below(1000)) } });
                let (status, made) = duty.ask("POST", "/api/v1/commands", &command)?;
                if status == 201 {
                    acts.commands.push(id_of(&made)?);
                }
            }
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    Ok(())
}

fn day_of(at_us: i64) -> String {
    Timestamp::from_micros(at_us).to_string()[..10].to_owned()
}

fn id_of(json: &Value) -> anyhow::Result<String> {
    Ok(json["id"].as_str().with_context(|| format!("no id in {json}"))?.to_owned())
}

fn words(items: Vec<Value>, field: &str) -> HashSet<String> {
    items.iter().filter_map(|item| item[field].as_str().map(str::to_owned)).collect()
}
