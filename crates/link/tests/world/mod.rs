//! A network of nodes in one thread: model storage that forgets what is not durable, links that lose, double and reorder, and people who
//! restore yesterday's backup. Runs [`anlan_link::session`] as it is; everything follows from the seed.
//!
//! Start at [`run`]; [`World::check`] says what must be true in the end.

mod agreed;
mod homes;
mod orders;
mod thin;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};

use anlan_link::agreement::Readings;
use anlan_link::digest::Digest;
use anlan_link::message::{Bye, Claim, Day, DayDigest, DayPart, Entry, Feed, Have, Hello, Incarnation, Log, Message};
use anlan_link::session::{Effect, Frozen, Limits, Piece, Session, Side, Standing, Wanted, cut_feed};
use anlan_model::NodeId;

const MS: u64 = 1_000;
const S: u64 = 1_000_000;
/// A civil day of the simulation: short, so that there are several.
const DAY: u64 = 60 * S;
/// Faults happen up to here; then everything is mended and must come to rest.
const TROUBLE: u64 = 240 * S;
const REST: u64 = 420 * S;
/// A run in which more is wrong is broken off.
const MOST_WRONG: usize = 5;

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
    fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }
}

/// What a reading is known by, and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Reading {
    origin: usize,
    point: i64,
    at: u64,
    revision: u16,
    value: u32,
}

impl Reading {
    fn day(&self) -> (usize, i32) {
        (self.origin, (self.at / DAY) as i32)
    }
}

/// An alarm as a node knows it: its condition (of its home) and what each level did, each a version that only grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Alarm {
    condition: u32,
    handlings: BTreeMap<usize, u32>,
}

impl Alarm {
    /// Takes over what is newer; whether anything was.
    fn merge(&mut self, other: &Self) -> bool {
        let before = self.clone();
        self.condition = self.condition.max(other.condition);
        for (level, version) in &other.handlings {
            let have = self.handlings.entry(*level).or_default();
            *have = (*have).max(*version);
        }
        *self != before
    }
}

/// A feed: newest state of each subject once.
#[derive(Clone, Debug, Default)]
struct FeedStore {
    end: u64,
    by_seq: BTreeMap<u64, (String, String)>,
    seq_of: HashMap<String, u64>,
}

impl FeedStore {
    /// Every start numbers from a place of its own, so that what is put after a backup was restored comes behind what was put before.
    fn put(&mut self, starts: u64, subject: String, body: String) {
        self.end = self.end.max(starts << 40) + 1;
        if let Some(old) = self.seq_of.insert(subject.clone(), self.end) {
            self.by_seq.remove(&old);
        }
        self.by_seq.insert(self.end, (subject, body));
    }
    /// The same entries in their order, behind all that was ever numbered.
    fn number_anew(&mut self, starts: u64) {
        let mut seq = self.end.max(starts << 40);
        for (subject, body) in std::mem::take(&mut self.by_seq).into_values() {
            seq += 1;
            self.seq_of.insert(subject.clone(), seq);
            self.by_seq.insert(seq, (subject, body));
        }
        self.end = seq;
    }
    fn read(&self, after: u64, limit: usize) -> Feed {
        let mut rest = self.by_seq.range(after + 1..);
        let entry = |(seq, (subject, body)): (&u64, &(String, String))| {
            let kind = subject.split(':').next().unwrap_or_default().to_owned();
            Entry { seq: *seq, kind, subject: subject.clone(), body: body.clone() }
        };
        let entries: Vec<_> = rest.by_ref().take(limit).map(entry).collect();
        let is_all = rest.next().is_none();
        cut_feed(after, self.end, entries, is_all)
    }
}

/// What is known of a neighbour.
#[derive(Clone, Debug, Default)]
struct Inbox {
    known: Incarnation,
    have: Have,
    frozen: Option<Frozen>,
}

/// What survives a crash, and what a backup holds.
#[derive(Clone, Debug, Default)]
struct Durable {
    starts: u64,
    /// Which start each of them was.
    nonces: BTreeMap<u64, u64>,
    log: Vec<Vec<Reading>>,
    /// Positions up to here are no longer in the log.
    released: u64,
    kept: HashSet<(usize, i64, u64, u16)>,
    ledger: BTreeMap<(usize, i32), (Digest, u64)>,
    rows: BTreeMap<(usize, i32), Vec<Reading>>,
    names: BTreeSet<(usize, i64)>,
    n_points: i64,
    alarms: BTreeMap<u64, Alarm>,
    rung: BTreeMap<u64, u32>,
    up: FeedStore,
    down: BTreeMap<usize, FeedStore>,
    inbox: BTreeMap<usize, Inbox>,
    /// The last comparison with a child: equal or not, by origin and day.
    verdicts: BTreeMap<(usize, i32), bool>,
    homes: homes::Homes,
    /// Orders that are known here, and for whom they are.
    orders: BTreeMap<u64, usize>,
    /// What gave way of a day, and what the parent was found to have.
    thinned: BTreeMap<(usize, i32), Digest>,
    told: BTreeMap<(usize, i32), Digest>,
    /// Where a part is agreed: days to be claimed once they are over.
    left: BTreeSet<Day>,
    /// And the alarms by which the last claim was made.
    claimed_around: BTreeMap<u64, Alarm>,
}

impl Durable {
    fn end(&self) -> u64 {
        self.log.len() as u64
    }
    /// Keeps readings under one new position, each identity once.
    fn append(&mut self, readings: &[Reading]) -> u64 {
        let fresh: Vec<Reading> = readings.iter().filter(|r| self.kept.insert((r.origin, r.point, r.at, r.revision))).copied().collect();
        if fresh.is_empty() && !readings.is_empty() {
            return 0;
        }
        let n_repeated = readings.len() - fresh.len();
        let end = self.end() + 1;
        for r in &fresh {
            let (digest, changed) = self.ledger.entry(r.day()).or_default();
            digest.add(r.point, r.at as i64, f64::from(r.value), 0, r.revision);
            *changed = end;
            self.rows.entry(r.day()).or_default().push(*r);
        }
        self.log.push(fresh);
        n_repeated as u64
    }
    fn claimed(&self, wanted: &Wanted) -> Vec<DayDigest> {
        let days = self.ledger.iter().map(|((origin, day), of)| (Day { origin: id(*origin), day: *day }, of));
        let days = days.filter(|(day, (_, changed))| wanted.has(*day, *changed)).take(wanted.limit);
        days.map(|(day, (digest, _))| DayDigest { origin: day.origin, day: day.day, digest: *digest }).collect()
    }
}

fn id(node: usize) -> NodeId {
    NodeId::new(node as u128 + 1)
}
fn index(id: NodeId) -> usize {
    id.get() as usize - 1
}
fn tag_of(readings: &[Reading], position: u64) -> u64 {
    readings.iter().fold(position, |tag, r| tag.wrapping_mul(31).wrapping_add(r.at ^ r.point as u64 ^ (u64::from(r.value) << 32)))
}
fn pack(readings: &[Reading]) -> Vec<u8> {
    let plain: Vec<_> = readings.iter().map(|r| (r.origin as u64, r.point, r.at, r.revision, r.value)).collect();
    postcard::to_stdvec(&plain).expect("encodes")
}
fn unpack(bytes: &[u8]) -> Vec<Reading> {
    let plain: Vec<(u64, i64, u64, u16, u32)> = if bytes.is_empty() { Vec::new() } else { postcard::from_bytes(bytes).expect("decodes") };
    plain.into_iter().map(|(o, point, at, revision, value)| Reading { origin: o as usize, point, at, revision, value }).collect()
}
fn alarm_body(alarm: &Alarm) -> String {
    let handlings: Vec<String> = alarm.handlings.iter().map(|(level, version)| format!("{level}={version}")).collect();
    format!("{};{}", alarm.condition, handlings.join(","))
}
fn read_alarm(body: &str) -> Alarm {
    let (condition, handlings) = body.split_once(';').expect("a body");
    let handlings = handlings.split(',').filter_map(|part| part.split_once('='));
    let handlings = handlings.map(|(level, version)| (level.parse().expect("a level"), version.parse().expect("a version"))).collect();
    Alarm { condition: condition.parse().expect("a version"), handlings }
}

struct Node {
    /// Whose name it bears: its own number, but for a clone.
    name: usize,
    parent: Option<usize>,
    /// Which readings it wants to go to the parent, and which the parent wants.
    wish: Readings,
    asked: Readings,
    children: Vec<usize>,
    durable: Durable,
    nonce: u64,
    is_up: bool,
    is_gone: bool,
    full_until: u64,
    skew: i64,
    /// Sessions by connection.
    sessions: BTreeMap<u64, Session>,
    /// The connection to the parent.
    up_link: Option<u64>,
    down_links: BTreeMap<usize, u64>,
    run: u64,
    backup: Option<Durable>,
}

struct Connection {
    child: usize,
    parent: usize,
    /// Whether bytes still pass; a half-open one looks alive to its ends.
    passes: bool,
    heard: [u64; 2],
    /// Delivery no earlier than this, by direction: a stream keeps its order.
    order: [u64; 2],
}

/// What storage was asked to do for a session.
#[derive(Clone, Debug)]
enum Job {
    Feed(u64),
    NumberAnew,
    Log(u64, u64),
    Mark(u64, u64),
    Count(Wanted),
    Day(Day, u32),
    KeepFeed(Feed),
    KeepLog(Log),
    KeepDay(DayPart),
    Have(Have),
    Compare(Claim, Readings),
}

enum Event {
    Deliver { connection: u64, to: Side, message: Message },
    Done { node: usize, run: u64, connection: u64, job: Job },
    Tick(usize),
    Produce(usize),
    Handle(usize),
    Manage(usize),
    Take { node: usize, run: u64, transfer: u64 },
    Trouble,
    Start(usize),
    Crash(usize),
    Mend(u64),
}

/// What a run did, and what was wrong.
#[derive(Debug, Default)]
pub struct Report {
    pub faults: u64,
    pub checks: u64,
    pub readings: u64,
    pub alarms: u64,
    pub messages: u64,
    pub frozen: u64,
    pub forgot: u64,
    pub thinned: u64,
    pub violations: Vec<String>,
}

/// How bad links are.
#[derive(Clone, Copy)]
struct Weather {
    /// Per mille.
    lost: u64,
    doubled: u64,
    reorders: bool,
    delay: u64,
}

pub struct World {
    random: Random,
    now: u64,
    serial: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: HashMap<u64, Event>,
    nodes: Vec<Node>,
    connections: BTreeMap<u64, Connection>,
    cut: BTreeMap<usize, u64>,
    /// Nodes that meet nobody until then.
    alone: BTreeMap<usize, u64>,
    weather: Weather,
    /// Whether less than all readings may be agreed; where it is, nothing gives way.
    agrees: bool,
    truth: BTreeSet<Reading>,
    /// Nodes whose own state was taken back in time, or that were doubled: what they said and forgot is known above.
    went_back: BTreeSet<usize>,
    doubled: BTreeSet<usize>,
    /// Days that gave way at a node before its parent had them.
    lost_days: BTreeSet<(usize, (usize, i32))>,
    /// Starts of a neighbour that a node believed, in order, since a person last decided.
    met: BTreeMap<(usize, usize), Vec<u64>>,
    /// How often each thing was changed, wherever that was.
    changes: BTreeMap<u64, u32>,
    report: Report,
}

/// One seed, from the first connection to rest.
pub fn run(seed: u64) -> Report {
    let mut world = World::new(seed);
    world.go();
    // What was broken off is wrong already, and not at rest.
    if world.report.violations.len() <= MOST_WRONG {
        world.check();
    }
    world.report
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x0061_6e6c_616e);
        let lossy = random.chance(500);
        let weather = Weather {
            lost: if lossy { random.below(150) } else { 0 },
            doubled: if lossy { random.below(100) } else { 0 },
            reorders: lossy,
            delay: 1 + random.below(200),
        };
        let agrees = seed.is_multiple_of(2);
        let mut world = Self {
            random,
            now: 0,
            serial: 0,
            queue: BinaryHeap::new(),
            events: HashMap::new(),
            nodes: Vec::new(),
            connections: BTreeMap::new(),
            cut: BTreeMap::new(),
            alone: BTreeMap::new(),
            weather,
            agrees,
            truth: BTreeSet::new(),
            went_back: BTreeSet::new(),
            doubled: BTreeSet::new(),
            lost_days: BTreeSet::new(),
            met: BTreeMap::new(),
            changes: BTreeMap::new(),
            report: Report::default(),
        };
        // City, counties, and what lies below them: 0 is the city.
        world.add(None);
        for _ in 0..1 + world.random.below(2) {
            let county = world.add(Some(0));
            for _ in 0..1 + world.random.below(2) {
                world.add(Some(county));
            }
        }
        for node in 0..world.nodes.len() {
            world.at(0, Event::Start(node));
        }
        let every = 4 * S + world.random.below(20 * S);
        let mut at = 5 * S;
        while at < TROUBLE {
            world.at(at, Event::Trouble);
            at += 1 + world.random.below(2 * every);
        }
        world
    }

    fn add(&mut self, parent: Option<usize>) -> usize {
        let name = self.nodes.len();
        let n_words = if self.agrees { 5 } else { 1 };
        let mut one =
            || [Readings::All, Readings::All, Readings::Changes, Readings::Minutes, Readings::Alarms][self.random.below(n_words) as usize];
        let (wish, asked) = (one(), one());
        let skew = self.random.below(20 * S) as i64 - 10 * S as i64;
        self.nodes.push(Node {
            name,
            parent,
            wish,
            asked,
            children: Vec::new(),
            durable: Durable::default(),
            nonce: 0,
            is_up: false,
            is_gone: false,
            full_until: 0,
            skew,
            sessions: BTreeMap::new(),
            up_link: None,
            down_links: BTreeMap::new(),
            run: 0,
            backup: None,
        });
        if let Some(parent) = parent {
            self.nodes[parent].children.push(name);
        }
        name
    }

    fn at(&mut self, time: u64, event: Event) {
        self.serial += 1;
        self.queue.push(Reverse((time, self.serial)));
        self.events.insert(self.serial, event);
    }

    fn soon(&mut self, most: u64, event: Event) {
        let time = self.now + 1 + self.random.below(most);
        self.at(time, event);
    }

    fn go(&mut self) {
        let mut is_mended = false;
        while let Some(Reverse((time, serial))) = self.queue.pop() {
            self.now = time;
            if !is_mended && time >= TROUBLE {
                is_mended = true;
                self.mend_all();
            }
            if time >= REST {
                return;
            }
            let Some(event) = self.events.remove(&serial) else { continue };
            self.happen(event);
            if self.report.violations.len() > MOST_WRONG {
                return;
            }
        }
    }

    fn limits() -> Limits {
        Limits {
            window_bytes: 2_000,
            retry_us: 3 * S,
            pulse_us: 2 * S,
            claim_us: 15 * S,
            claim_wait_us: 3 * S,
            overtake: 4,
            ranges: 8,
            bytes_per_s: 0,
            repairs: 3,
            keeping: 8,
            claim_days: 2,
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Start(node) => self.start(node),
            Event::Tick(node) => self.tick(node),
            Event::Produce(node) => self.produce(node),
            Event::Handle(node) => self.handle(node),
            Event::Crash(node) => {
                if self.now < TROUBLE && self.nodes[node].is_up {
                    self.crash(node);
                }
            }
            Event::Manage(node) => {
                self.manage(node);
                self.give(node);
            }
            Event::Take { node, run, transfer } => self.take(node, run, transfer),
            Event::Trouble => self.trouble(),
            Event::Mend(connection) if connection > u64::MAX / 2 => (0..self.nodes.len()).for_each(|node| self.unfreeze(node)),
            Event::Mend(connection) => self.lose(connection),
            Event::Deliver { connection, to, message } => self.deliver(connection, to, message),
            Event::Done { node, run, connection, job } => {
                if self.nodes[node].run == run && self.nodes[node].is_up {
                    self.done(node, connection, job);
                }
            }
        }
    }

    // ---- nodes ---------------------------------------------------------------------------------------------------------------------------

    fn start(&mut self, node: usize) {
        if self.nodes[node].is_up || self.nodes[node].is_gone {
            return;
        }
        let nonce = self.random.next();
        let state = &mut self.nodes[node];
        state.durable.starts += 1;
        state.nonce = nonce;
        state.durable.nonces.insert(state.durable.starts, nonce);
        state.is_up = true;
        state.run += 1;
        self.soon(S, Event::Tick(node));
        self.soon(S, Event::Produce(node));
        self.soon(10 * S, Event::Handle(node));
        self.soon(10 * S, Event::Manage(node));
    }

    /// Power goes: sessions and work under way are lost, the other ends may not notice.
    fn crash(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        state.is_up = false;
        state.run += 1;
        state.sessions.clear();
        state.up_link = None;
        state.down_links.clear();
        let silent = self.random.chance(500);
        let over: Vec<u64> = self.connections.iter().filter(|(_, c)| c.child == node || c.parent == node).map(|(k, _)| *k).collect();
        for connection in over {
            if silent {
                if let Some(c) = self.connections.get_mut(&connection) {
                    c.passes = false;
                }
            } else {
                self.lose(connection);
            }
        }
    }

    fn tick(&mut self, node: usize) {
        if !self.nodes[node].is_up {
            return;
        }
        self.soon(2 * S, Event::Tick(node));
        // What was not heard for long is half open.
        let links: Vec<u64> = self.nodes[node].sessions.keys().copied().collect();
        for connection in links {
            let end = |c: &Connection| usize::from(c.parent == node);
            if self.connections.get(&connection).is_none_or(|c| self.now - c.heard[end(c)] > 12 * S) {
                self.lose(connection);
                continue;
            }
            let now = self.now;
            let effects = self.nodes[node].sessions.get_mut(&connection).map(|s| s.tick(now)).unwrap_or_default();
            self.carry_out(node, connection, effects);
        }
        if self.nodes[node].up_link.is_none() && self.nodes[node].parent.is_some() && self.random.chance(500) {
            self.connect(node);
        }
    }

    fn grow(&mut self, node: usize) {
        let (end, up) = (self.nodes[node].durable.end(), self.nodes[node].durable.up.end);
        let links: Vec<u64> = self.nodes[node].sessions.keys().copied().collect();
        for connection in links {
            let feed = match self.connections.get(&connection) {
                Some(c) if c.child == node => up,
                Some(c) => self.nodes[node].durable.down.get(&self.nodes[c.child].name).map_or(0, |f| f.end),
                None => continue,
            };
            let effects = self.nodes[node].sessions.get_mut(&connection).map(|s| s.grown(end, feed)).unwrap_or_default();
            self.carry_out(node, connection, effects);
        }
    }

    /// Devices speak: readings under names that were told in the same breath, late ones and second opinions among them.
    fn produce(&mut self, node: usize) {
        if !self.nodes[node].is_up {
            return;
        }
        if self.now >= TROUBLE {
            // The devices are silent from here on, and silence is an alarm too: one that comes when their days have long been compared.
            if self.now >= TROUBLE + 30 * S {
                self.raise(node);
                return self.grow(node);
            }
            return self.soon(30 * S, Event::Produce(node));
        }
        let busy = if self.random.chance(100) { 50 * MS } else { 3 * S };
        self.soon(busy, Event::Produce(node));
        if self.now < self.nodes[node].full_until {
            return;
        }
        let name = self.nodes[node].name;
        if self.nodes[node].durable.n_points == 0 || self.random.chance(30) {
            self.nodes[node].durable.n_points += 1;
            let point = self.nodes[node].durable.n_points;
            self.nodes[node].durable.names.insert((name, point));
            self.put_up(node, format!("point:{name}/{point}"), String::new());
        }
        let mut readings = Vec::new();
        for _ in 0..1 + self.random.below(4) {
            let late = if self.random.chance(100) { self.random.below(90 * S) } else { 0 };
            let at = (self.now as i64 + self.nodes[node].skew).max(1) as u64;
            // Not before the beginning: there the same instant would be measured again and again.
            let (point, at) =
                (1 + self.random.below(self.nodes[node].durable.n_points as u64) as i64, if late < at { at - late } else { at });
            // A clone measures something else at the same time.
            let value = self.random.below(1 << 20) as u32;
            let rows = self.nodes[node].durable.rows.get(&(name, (at / DAY) as i32));
            let known = rows.and_then(|rows| rows.iter().filter(|r| r.point == point && r.at == at).map(|r| r.revision).max());
            let least = self.nodes[node].durable.least_revision((name, (at / DAY) as i32));
            let reading = Reading { origin: name, point, at, revision: known.map_or(0, |r| r + 1).max(least), value };
            readings.push(reading);
        }
        if self.random.chance(30)
            && let Some(again) = self.nodes[node].durable.log.iter().rev().flatten().find(|r| r.origin == name).copied()
        {
            // A second opinion on the same instant.
            let durable = &self.nodes[node].durable;
            let known = durable.rows.get(&again.day()).into_iter().flatten().filter(|r| (r.point, r.at) == (again.point, again.at));
            let revision = (known.map(|r| r.revision).max().unwrap_or(0) + 1).max(durable.least_revision(again.day()));
            readings.push(Reading { revision, value: again.value ^ 1, ..again });
        }
        readings.sort_unstable();
        readings.dedup_by_key(|r| (r.point, r.at, r.revision));
        self.report.readings += readings.len() as u64;
        self.nodes[node].durable.append(&readings);
        self.truth.extend(readings);
        if self.random.chance(80) {
            self.raise(node);
        }
        self.grow(node);
    }

    fn raise(&mut self, node: usize) {
        self.report.alarms += 1;
        let alarm = agreed::alarm_number(self.now, self.nodes[node].name, self.random.next());
        self.nodes[node].durable.alarms.insert(alarm, Alarm { condition: 1, ..Alarm::default() });
        self.ring(node, alarm);
        self.tell(node, alarm);
    }

    /// People handle an alarm, or its condition goes.
    fn handle(&mut self, node: usize) {
        if !self.nodes[node].is_up || self.now >= TROUBLE {
            return;
        }
        self.soon(10 * S, Event::Handle(node));
        let alarms: Vec<u64> = self.nodes[node].durable.alarms.keys().copied().collect();
        if alarms.is_empty() {
            return;
        }
        let alarm = alarms[self.random.below(alarms.len() as u64) as usize];
        let is_home = self.home_of(alarm) == Some(self.nodes[node].name);
        let name = self.nodes[node].name;
        if let Some(state) = self.nodes[node].durable.alarms.get_mut(&alarm) {
            if is_home && state.condition == 1 {
                state.condition = 2;
            } else {
                *state.handlings.entry(name).or_default() += 1;
            }
        }
        self.tell(node, alarm);
        self.grow(node);
    }

    fn home_of(&self, alarm: u64) -> Option<usize> {
        // The lowest node that knows it.
        let knows = |n: &&Node| n.durable.alarms.contains_key(&alarm);
        self.nodes.iter().filter(knows).map(|n| n.name).max()
    }

    fn ring(&mut self, node: usize, alarm: u64) {
        *self.nodes[node].durable.rung.entry(alarm).or_default() += 1;
    }

    /// What is known of an alarm goes up, and to the child it comes from.
    fn tell(&mut self, node: usize, alarm: u64) {
        let body = alarm_body(&self.nodes[node].durable.alarms[&alarm]);
        self.put_up(node, format!("alarm:{alarm}"), body);
        let children = self.nodes[node].children.clone();
        for child in children {
            let knows = self.nodes[node].durable.inbox.contains_key(&child) && self.below(child, alarm);
            if knows {
                self.tell_handling(node, child, alarm);
            }
        }
    }

    fn tell_handling(&mut self, node: usize, child: usize, alarm: u64) {
        let body = alarm_body(&self.nodes[node].durable.alarms[&alarm]);
        let starts = self.nodes[node].durable.starts;
        self.nodes[node].durable.down.entry(child).or_default().put(starts, format!("handling:{alarm}"), body);
    }

    /// Whether a child tells of an alarm without what was done about it here or above. One that was set back passes over what it hears of an alarm that it
    /// forgot, and is told of the alarm by its own child later: so it must be told once more.
    fn is_lacking(&self, node: usize, child: usize, alarm: u64, theirs: &Alarm) -> bool {
        let below = self.subtree(child);
        let known = &self.nodes[node].durable.alarms[&alarm].handlings;
        known.iter().any(|(level, version)| !below.contains(level) && theirs.handlings.get(level).is_none_or(|heard| heard < version))
    }

    /// Whether an alarm is known at or below a node; in the product its home says so.
    fn below(&self, node: usize, alarm: u64) -> bool {
        self.nodes[node].durable.alarms.contains_key(&alarm) || self.nodes[node].children.iter().any(|c| self.below(*c, alarm))
    }

    fn put_up(&mut self, node: usize, subject: String, body: String) {
        if self.nodes[node].parent.is_some() {
            let starts = self.nodes[node].durable.starts;
            self.nodes[node].durable.up.put(starts, subject, body);
        }
    }

    // ---- links ---------------------------------------------------------------------------------------------------------------------------

    fn connect(&mut self, child: usize) {
        let Some(parent) = self.nodes[child].parent else { return };
        let is_cut = self.cut.get(&child).is_some_and(|until| self.now < *until);
        let is_alone = [child, parent].iter().any(|node| self.alone.get(node).is_some_and(|until| self.now < *until));
        if is_cut || is_alone || !self.nodes[parent].is_up {
            return;
        }
        let name = self.nodes[child].name;
        if self.nodes[parent].durable.inbox.get(&name).is_some_and(|i| i.frozen.is_some()) {
            return;
        }
        self.serial += 1;
        let connection = self.serial;
        let (now, order) = (self.now, [self.now; 2]);
        self.connections.insert(connection, Connection { child, parent, passes: true, heard: [now; 2], order });
        if let Some(old) = self.nodes[parent].down_links.insert(name, connection) {
            let now = self.now;
            // The newer one takes over; the older hears of it if it still can.
            let effects = self.nodes[parent].sessions.get_mut(&old).map(|s| s.leave(Bye::TakenOver)).unwrap_or_default();
            let _ = now;
            self.carry_out(parent, old, effects);
        }
        self.nodes[child].up_link = Some(connection);
        for (node, side, peer) in [(child, Side::Child, parent), (parent, Side::Parent, child)] {
            let peer_name = self.nodes[peer].name;
            let state = &self.nodes[node];
            let inbox = state.durable.inbox.get(&peer_name).cloned().unwrap_or_default();
            let feed_end = match side {
                Side::Child => state.durable.up.end,
                Side::Parent => state.durable.down.get(&peer_name).map_or(0, |f| f.end),
            };
            let hello = Hello {
                node: id(state.name),
                incarnation: Incarnation { starts: state.durable.starts, nonce: state.nonce },
                log_first: state.durable.released + 1,
                log_end: state.durable.end(),
                feed_end,
                have: inbox.have,
                software: String::new(),
            };
            let readings = if side == Side::Child { self.nodes[child].wish } else { self.nodes[child].asked };
            let starts = state.durable.nonces.iter().map(|(starts, nonce)| Incarnation { starts: *starts, nonce: *nonce }).collect();
            let standing = Standing { hello, peer: id(peer_name), known: inbox.known, readings, starts };
            let (session, effects) = Session::open(side, Self::limits(), standing, self.now);
            self.nodes[node].sessions.insert(connection, session);
            self.carry_out(node, connection, effects);
        }
    }

    /// A connection ends for both, each when it notices.
    fn lose(&mut self, connection: u64) {
        let Some(c) = self.connections.remove(&connection) else { return };
        for node in [c.child, c.parent] {
            let state = &mut self.nodes[node];
            state.sessions.remove(&connection);
            if state.up_link == Some(connection) {
                state.up_link = None;
            }
            state.down_links.retain(|_, link| *link != connection);
        }
    }

    fn send(&mut self, node: usize, connection: u64, message: Message) {
        self.report.messages += 1;
        if self.report.messages.is_multiple_of(64) {
            assert_eq!(Message::decode(&message.encode()), Ok(Some(message.clone())));
        }
        let Some(c) = self.connections.get(&connection) else { return };
        let (to, way) = if c.child == node { (Side::Parent, 0) } else { (Side::Child, 1) };
        let is_cut = self.cut.get(&c.child).is_some_and(|until| self.now < *until);
        if !c.passes || is_cut || self.random.chance(self.weather.lost) {
            return;
        }
        let copies = if self.random.chance(self.weather.doubled) { 2 } else { 1 };
        for _ in 0..copies {
            let mut time = self.now + MS + self.random.below(self.weather.delay * MS);
            if self.weather.reorders && self.random.chance(20) {
                // A straggler.
                time += self.random.below(10 * S);
            }
            if !self.weather.reorders
                && let Some(c) = self.connections.get_mut(&connection)
            {
                time = time.max(c.order[way] + 1);
                c.order[way] = time;
            }
            self.at(time, Event::Deliver { connection, to, message: message.clone() });
        }
    }

    fn deliver(&mut self, connection: u64, to: Side, message: Message) {
        let Some(c) = self.connections.get_mut(&connection).filter(|c| c.passes) else { return };
        let (node, end) = if to == Side::Parent { (c.parent, 1) } else { (c.child, 0) };
        c.heard[end] = self.now;
        let now = self.now;
        let effects = self.nodes[node].sessions.get_mut(&connection).map(|s| s.heard(message, now)).unwrap_or_default();
        self.carry_out(node, connection, effects);
    }

    // ---- what sessions want --------------------------------------------------------------------------------------------------------------

    fn carry_out(&mut self, node: usize, connection: u64, effects: Vec<Effect>) {
        for effect in effects {
            let job = match effect {
                Effect::Send(message) => {
                    self.send(node, connection, message);
                    continue;
                }
                Effect::Met(hello, feed) => {
                    let peer = index(hello.node);
                    let is_from_below = self.connections.get(&connection).is_some_and(|c| c.parent == node);
                    let starts = self.met.entry((node, peer)).or_default();
                    let nonce = hello.incarnation.nonce;
                    if is_from_below && starts.contains(&nonce) && starts.last() != Some(&nonce) && !self.went_back.contains(&node) {
                        self.report.violations.push(format!("an older start of {peer} spoke again at {node} and was believed"));
                    }
                    if starts.last() != Some(&nonce) {
                        starts.push(nonce);
                    }
                    let inbox = self.nodes[node].durable.inbox.entry(peer).or_default();
                    inbox.known = hello.incarnation;
                    inbox.have.feed = inbox.have.feed.min(feed);
                    if is_from_below {
                        self.tell_transfers(node, peer);
                    }
                    continue;
                }
                Effect::Freeze(why) => {
                    let name = self.connections.get(&connection).map(|c| self.nodes[c.child].name);
                    if let Some(name) = name {
                        self.report.frozen += 1;
                        if !self.went_back.contains(&name) && !self.doubled.contains(&name) {
                            self.report
                                .violations
                                .push(format!("the stream of {name} froze ({why:?}) though nothing was restored or doubled"));
                        }
                        self.nodes[node].durable.inbox.entry(name).or_default().frozen = Some(why);
                    }
                    continue;
                }
                Effect::Close(_) => {
                    // The goodbye may still be under way.
                    let time = self.now + S;
                    self.at(time, Event::Mend(connection));
                    continue;
                }
                Effect::Compared(claim, ours, agreed) => {
                    if self.connections.get(&connection).is_some_and(|c| c.parent == node) {
                        for (theirs, ours) in claim.days.iter().zip(&ours) {
                            let key = (index(theirs.origin), theirs.day);
                            let peer = self.peer_of(node, connection).unwrap_or_default();
                            let may_have_more = [key.0, peer, node].iter().any(|n| self.forgot(*n));
                            if agreed == Readings::All && ours.digest.n > theirs.digest.n && !may_have_more {
                                self.report.violations.push(format!("{key:?} was compared at {node} beyond the position of the claim"));
                            }
                            self.nodes[node].durable.verdicts.insert(key, theirs.digest == ours.digest);
                        }
                    } else {
                        self.note_told(node, &claim, &ours);
                    }
                    continue;
                }
                Effect::ReadFeed(after) => Job::Feed(after),
                Effect::NumberAnew => Job::NumberAnew,
                Effect::ReadLog { after, upto } => Job::Log(after, upto),
                Effect::CheckMark(at, tag) => Job::Mark(at, tag),
                Effect::Count(wanted) => Job::Count(wanted),
                Effect::ReadDay(day, part) => Job::Day(day, part),
                Effect::KeepFeed(feed) => Job::KeepFeed(feed),
                Effect::KeepLog(log) => Job::KeepLog(log),
                Effect::KeepDay(part) => Job::KeepDay(part),
                Effect::Have(have) => Job::Have(have),
                Effect::Compare(claim, agreed) => Job::Compare(claim, agreed),
                Effect::TellPoints(_)
                | Effect::Points(..)
                | Effect::Terms(_)
                | Effect::Alive(_)
                | Effect::Renew(_)
                | Effect::Renewed(_)
                | Effect::Repaired(_) => {
                    continue;
                }
            };
            let run = self.nodes[node].run;
            let slow = if matches!(job, Job::Have(_)) { 5 * S } else { 60 * MS };
            self.soon(slow, Event::Done { node, run, connection, job });
        }
    }

    fn peer_of(&self, node: usize, connection: u64) -> Option<usize> {
        let c = self.connections.get(&connection)?;
        Some(self.nodes[if c.child == node { c.parent } else { c.child }].name)
    }

    /// Storage has done something.
    fn done(&mut self, node: usize, connection: u64, job: Job) {
        // What was begun for a conversation that is over is done all the same; only nobody hears of it.
        let peer = self.peer_of(node, connection);
        let is_full = self.now < self.nodes[node].full_until;
        let session = |world: &mut Self| world.nodes[node].sessions.remove(&connection);
        let mut grown = false;
        let effects = match job {
            Job::Feed(after) => {
                let Some(mut s) = session(self) else { return };
                let durable = &self.nodes[node].durable;
                let is_child = self.connections.get(&connection).is_some_and(|c| c.child == node);
                let feed = if is_child { Some(&durable.up) } else { peer.and_then(|p| durable.down.get(&p)) };
                let effects = s.feed_read(feed.map(|f| f.read(after, 5)).unwrap_or_default());
                self.nodes[node].sessions.insert(connection, s);
                effects
            }
            Job::NumberAnew => {
                let Some(peer) = peer else { return };
                let is_child = self.connections.get(&connection).is_some_and(|c| c.child == node);
                let durable = &mut self.nodes[node].durable;
                let feed = if is_child { &mut durable.up } else { durable.down.entry(peer).or_default() };
                feed.number_anew(durable.starts);
                self.report.forgot += 1;
                let end = feed.end;
                self.nodes[node].sessions.get_mut(&connection).map(|s| s.numbered(end)).unwrap_or_default()
            }
            Job::Log(after, upto) => {
                let Some(mut s) = session(self) else { return };
                let durable = &self.nodes[node].durable;
                let upto = upto.min(after + 3).min(durable.end());
                let effects = if after < durable.released {
                    s.log_gone(durable.released + 1)
                } else if upto <= after {
                    s.log_unread()
                } else {
                    let readings: Vec<Reading> = durable.log[after as usize..upto as usize].iter().flatten().copied().collect();
                    let readings = agreed::passed(s.readings(), readings, &durable.alarms);
                    let tag = tag_of(&durable.log[upto as usize - 1], upto);
                    let log = Log { first: after + 1, last: upto, tag, n_readings: readings.len() as u32, bytes: pack(&readings) };
                    s.log_read(Piece { log, names: durable.up.end })
                };
                self.nodes[node].sessions.insert(connection, s);
                effects
            }
            Job::Mark(at, tag) => {
                let Some(mut s) = session(self) else { return };
                let durable = &self.nodes[node].durable;
                let is_same = at <= durable.released || durable.log.get(at as usize - 1).is_some_and(|record| tag_of(record, at) == tag);
                let effects = s.marked(is_same);
                self.nodes[node].sessions.insert(connection, s);
                effects
            }
            Job::Count(wanted) => {
                let Some(mut s) = session(self) else { return };
                let today = self.today();
                let durable = &mut self.nodes[node].durable;
                let days = match s.readings() {
                    part if part.is_part() => durable.claimed_of(part, &wanted, today),
                    _ => durable.claimed(&wanted),
                };
                let claim = Claim { at: durable.end(), days };
                let effects = s.counted(if is_full { Claim::default() } else { claim });
                self.nodes[node].sessions.insert(connection, s);
                effects
            }
            Job::Day(day, part) => {
                if part == 0
                    && let Some(gone) = self.nodes[node].durable.thinned.get(&(index(day.origin), day.day)).copied()
                {
                    self.send(node, connection, Message::Thinned(day, gone));
                }
                let Some(mut s) = session(self) else { return };
                let durable = &self.nodes[node].durable;
                let rows = durable.rows.get(&(index(day.origin), day.day));
                let rows = rows.map(|rows| agreed::part_of(s.readings(), rows, &durable.alarms));
                let parts: Vec<&[Reading]> = rows.as_ref().map(|rows| rows.chunks(7).collect()).unwrap_or_default();
                let cut = parts.get(part as usize);
                let part = cut.map(|rows| DayPart { day, part, is_last: part as usize + 1 == parts.len(), bytes: pack(rows) });
                let names = self.nodes[node].durable.up.end;
                let effects = s.day_read(part.map(|part| (part, names)));
                self.nodes[node].sessions.insert(connection, s);
                effects
            }
            Job::KeepFeed(feed) => {
                let Some(peer) = peer else { return };
                let is_child = self.connections.get(&connection).is_some_and(|c| c.child == node);
                // What does not follow on what is durable is not applied, whoever asked for it: it may be of a conversation that is over.
                let have = self.nodes[node].durable.inbox.get(&peer).map_or(0, |inbox| inbox.have.feed);
                let follows = feed.after == have;
                let kept = (!is_full).then_some(if follows { feed.upto } else { have });
                if kept.is_some() && follows {
                    for entry in &feed.entries {
                        self.apply(node, peer, is_child, entry);
                    }
                    let inbox = self.nodes[node].durable.inbox.entry(peer).or_default();
                    (inbox.have.feed, inbox.have.feed_of) = (feed.upto, inbox.known);
                    grown = true;
                }
                self.nodes[node].sessions.get_mut(&connection).map(|s| s.feed_kept(kept)).unwrap_or_default()
            }
            Job::KeepLog(log) => {
                if !is_full {
                    self.keep(node, &unpack(&log.bytes));
                    grown = true;
                }
                self.nodes[node].sessions.get_mut(&connection).map(|s| s.log_kept(&log, !is_full)).unwrap_or_default()
            }
            Job::KeepDay(part) => {
                if !is_full {
                    self.keep(node, &unpack(&part.bytes));
                    grown = true;
                }
                let session = self.nodes[node].sessions.get_mut(&connection);
                session.map(|s| s.day_kept(part.day, part.part, part.is_last, !is_full)).unwrap_or_default()
            }
            Job::Have(have) => {
                let Some(peer) = peer else { return };
                let is_frozen = self.nodes[node].durable.inbox.get(&peer).is_some_and(|i| i.frozen.is_some());
                if !is_frozen {
                    let inbox = self.nodes[node].durable.inbox.entry(peer).or_default();
                    inbox.have = Have { feed: inbox.have.feed, feed_of: inbox.have.feed_of, ..have };
                }
                Vec::new()
            }
            Job::Compare(claim, part) if part.is_part() => {
                let ours = if is_full { Vec::new() } else { self.nodes[node].durable.verdict_of(part, &claim) };
                self.nodes[node].sessions.get_mut(&connection).map(|s| s.compared(ours, &BTreeSet::new())).unwrap_or_default()
            }
            Job::Compare(claim, _) => {
                let durable = &self.nodes[node].durable;
                let ours = claim.days.iter().map(|d| {
                    let digest = durable.ledger.get(&(index(d.origin), d.day)).map(|(digest, _)| *digest).unwrap_or_default();
                    DayDigest { digest, ..*d }
                });
                let ours = if is_full { Vec::new() } else { ours.collect() };
                let gone = durable.gone(&claim);
                self.nodes[node].sessions.get_mut(&connection).map(|s| s.compared(ours, &gone)).unwrap_or_default()
            }
        };
        self.carry_out(node, connection, effects);
        if grown {
            self.grow(node);
        }
    }

    /// Keeps what came over a link.
    fn keep(&mut self, node: usize, readings: &[Reading]) {
        let durable = &mut self.nodes[node].durable;
        if let Some(unnamed) = readings.iter().find(|r| !durable.names.contains(&(r.origin, r.point))) {
            self.report.violations.push(format!("node {node} got {unnamed:?} before its name"));
        }
        let readings = durable.takes(readings);
        durable.append(&readings);
    }

    fn apply(&mut self, node: usize, peer: usize, from_above: bool, entry: &Entry) {
        let (kind, rest) = entry.subject.split_once(':').expect("a subject");
        match kind {
            "point" => {
                let (origin, point) = rest.split_once('/').expect("a point");
                let name = (origin.parse().expect("a node"), point.parse().expect("a number"));
                if self.nodes[node].durable.names.insert(name) {
                    self.put_up(node, entry.subject.clone(), String::new());
                }
            }
            "thing" => self.hear_of_thing(node, rest, &entry.body),
            "order" => self.hear_order(node, rest, &entry.body),
            "transfer" => self.hear_of_transfer(node, rest, &entry.body),
            "transferred" => self.hear_word(node, rest, &entry.body),
            _ => {
                let alarm: u64 = rest.parse().expect("an alarm");
                let theirs = read_alarm(&entry.body);
                if from_above && !self.nodes[node].durable.alarms.contains_key(&alarm) {
                    return;
                }
                if !self.nodes[node].durable.alarms.contains_key(&alarm) {
                    self.ring(node, alarm);
                }
                if self.nodes[node].durable.alarms.entry(alarm).or_default().merge(&theirs) {
                    self.tell(node, alarm);
                } else if !from_above && self.is_lacking(node, peer, alarm, &theirs) {
                    self.tell_handling(node, peer, alarm);
                }
            }
        }
    }

    // ---- trouble -------------------------------------------------------------------------------------------------------------------------

    fn trouble(&mut self) {
        self.report.faults += 1;
        let n = self.nodes.len() as u64;
        let node = self.random.below(n) as usize;
        match self.random.below(12) {
            0 | 1 => {
                let long = if self.random.chance(200) { 120 * S } else { 25 * S };
                let until = self.now + self.random.below(long);
                self.cut.insert(node, until);
            }
            2 | 3 => {
                if self.nodes[node].is_up {
                    self.crash(node);
                    self.soon(20 * S, Event::Start(node));
                }
            }
            4 => {
                // Half open: nothing passes, nobody is told.
                let links: Vec<u64> = self.connections.keys().copied().collect();
                if let Some(link) = links.get(self.random.below(links.len() as u64) as usize)
                    && let Some(c) = self.connections.get_mut(link)
                {
                    c.passes = false;
                }
            }
            5 => {
                let links: Vec<u64> = self.connections.keys().copied().collect();
                if let Some(link) = links.get(self.random.below(links.len() as u64) as usize) {
                    self.lose(*link);
                }
            }
            6 => {
                let long = self.random.below(20 * S);
                self.nodes[node].full_until = self.now + long;
            }
            7 => {
                // The log's older part goes: what the parent has, or all of it.
                let has = self.nodes[node].up_link.and_then(|l| self.nodes[node].sessions.get(&l)).map_or(0, Session::has_up_to);
                let forced = self.random.chance(300);
                let end = self.nodes[node].durable.end();
                let upto = if forced { self.random.below(end + 1) } else { has };
                let released = &mut self.nodes[node].durable.released;
                *released = (*released).max(upto.min(end));
            }
            11 => {
                let is_pressing = self.random.chance(150);
                self.thin(node, is_pressing);
            }
            8 => {
                let copy = self.nodes[node].durable.clone();
                self.nodes[node].backup.get_or_insert(copy);
            }
            9 => {
                if self.random.chance(400)
                    && let Some(backup) = self.nodes[node].backup.take()
                {
                    self.put_back(node, backup);
                }
            }
            _ => {
                let is_leaf = self.nodes[node].children.is_empty() && self.nodes[node].parent.is_some();
                if is_leaf && self.random.chance(300) && !self.doubled.contains(&self.nodes[node].name) {
                    let (name, durable, parent) = (self.nodes[node].name, self.nodes[node].durable.clone(), self.nodes[node].parent);
                    let clone = self.add(None);
                    self.doubled.insert(name);
                    let state = &mut self.nodes[clone];
                    (state.name, state.parent, state.durable) = (name, parent, durable);
                    self.soon(5 * S, Event::Start(clone));
                }
            }
        }
    }

    /// Everything is mended, and people say what was restored and which box is false.
    fn mend_all(&mut self) {
        self.weather = Weather { lost: 0, doubled: 0, reorders: false, delay: 5 };
        self.cut.clear();
        self.alone.clear();
        let links: Vec<u64> = self.connections.keys().copied().collect();
        links.into_iter().for_each(|link| self.lose(link));
        for node in 0..self.nodes.len() {
            self.nodes[node].full_until = 0;
            if self.nodes[node].name != node {
                self.crash(node);
                self.nodes[node].is_gone = true;
            }
        }
        for node in 0..self.nodes.len() {
            self.unfreeze(node);
            self.start(node);
        }
        // What freezes now is looked at a little later.
        for k in 1..6 {
            let time = TROUBLE + k * 20 * S;
            self.at(time, Event::Mend(u64::MAX - k));
        }
    }

    fn unfreeze(&mut self, node: usize) {
        self.met.retain(|(at, _), _| *at != node);
        for inbox in self.nodes[node].durable.inbox.values_mut().filter(|i| i.frozen.is_some()) {
            *inbox = Inbox::default();
        }
    }

    // ---- what must be true ---------------------------------------------------------------------------------------------------------------

    fn wrong(&mut self, what: String) {
        self.report.violations.push(what);
    }

    /// At rest: all levels agree, nothing lost, nothing twice, no alarm twice.
    pub fn check(&mut self) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].is_gone {
                continue;
            }
            self.report.checks += 1;
            let mut seen = HashSet::new();
            let doubled = self.nodes[node].durable.log.iter().flatten().find(|r| !seen.insert((r.origin, r.point, r.at, r.revision)));
            if let Some(reading) = doubled {
                self.wrong(format!("node {node} holds {reading:?} twice"));
            }
            self.check_thinned(node);
            self.check_orders(node);
            let rung: Vec<_> = self.nodes[node].durable.rung.iter().filter(|(_, n)| **n > 1).map(|(alarm, _)| *alarm).collect();
            if !rung.is_empty() {
                self.wrong(format!("node {node} rang twice for {rung:?}"));
            }
            let Some(parent) = self.nodes[node].parent else { continue };
            self.compare_levels(node, parent);
        }
        self.check_homes();
    }

    fn compare_levels(&mut self, node: usize, parent: usize) {
        self.report.checks += 1;
        let known = |at: usize| -> BTreeSet<Reading> { self.nodes[at].durable.rows.values().flatten().copied().collect() };
        let (below, above) = (known(node), known(parent));
        let subtree = self.subtree(node);
        let lost: Vec<&Reading> = below.difference(&above).filter(|r| !self.gave_way(node, parent, r)).collect();
        let Durable { rows, alarms, .. } = &self.nodes[node].durable;
        let part: BTreeSet<Reading> = rows.values().flat_map(|rows| agreed::part_of(self.terms(node), rows, alarms)).collect();
        let lost: Vec<&Reading> = lost.into_iter().filter(|r| part.contains(r)).collect();
        // Of what was measured twice under one identity by two boxes, one value stands at each level.
        let lost: Vec<&Reading> = lost
            .into_iter()
            .filter(|r| {
                !self.forgot(r.origin)
                    || !above.iter().any(|a| (a.origin, a.point, a.at, a.revision) == (r.origin, r.point, r.at, r.revision))
            })
            .collect();
        if let Some(first) = lost.first() {
            self.wrong(format!("{} readings of node {node} are not at {parent}, such as {first:?}", lost.len()));
        }
        let more: Vec<&Reading> =
            above.difference(&below).filter(|r| subtree.contains(&r.origin) && !self.forgot(r.origin) && !self.forgot(node)).collect();
        let more: Vec<&Reading> = more.into_iter().filter(|r| !self.nodes[node].durable.thinned.contains_key(&r.day())).collect();
        if let Some(first) = more.first() {
            self.wrong(format!("{parent} holds {} readings that node {node} does not, such as {first:?}", more.len()));
        }
        let path_is_whole = !self.forgot(node) && !self.forgot(parent);
        for (alarm, state) in self.nodes[node].durable.alarms.clone() {
            self.report.checks += 1;
            let above = self.nodes[parent].durable.alarms.get(&alarm).cloned();
            match above {
                None => self.wrong(format!("alarm {alarm} of node {node} is not at {parent}")),
                Some(above) if path_is_whole && above != state => {
                    self.wrong(format!("alarm {alarm}: node {node} has {state:?}, {parent} has {above:?}"));
                }
                // Who went back forgot what it did; what it does since is known to the other all the same.
                Some(above) if self.untold(node, parent, &state, &above) => {
                    self.wrong(format!(
                        "alarm {alarm}: node {node} has {state:?}, {parent} has {above:?}, and one was not told what the other did"
                    ));
                }
                Some(_) => {}
            }
        }
        let untold: Vec<_> = self.nodes[node].durable.names.difference(&self.nodes[parent].durable.names).copied().collect();
        if !untold.is_empty() {
            self.wrong(format!("{parent} was not told of {untold:?}"));
        }
        if self.terms(node).is_part() {
            return self.check_agreed(node, parent);
        }
        self.check_proof(node, parent);
        // The proof says what is so.
        for (key, (digest, _)) in self.nodes[node].durable.ledger.clone() {
            self.report.checks += 1;
            let above = self.nodes[parent].durable.ledger.get(&key).map(|(d, _)| *d).unwrap_or_default();
            match self.nodes[parent].durable.verdicts.get(&key) {
                None => self.wrong(format!("{key:?} of node {node} was never compared at {parent}")),
                Some(said) if *said != (digest == above) => {
                    self.wrong(format!("{key:?}: {parent} says equal = {said}, node {node} holds {digest:?}, it holds {above:?}"));
                }
                Some(_) => {}
            }
        }
    }

    /// Whether one of two neighbours does not know what the other did about an alarm.
    fn untold(&self, node: usize, parent: usize, below: &Alarm, above: &Alarm) -> bool {
        let did = |alarm: &Alarm, who: usize| alarm.handlings.get(&self.nodes[who].name).copied().unwrap_or(0);
        did(below, node) > did(above, node) || did(above, parent) > did(below, parent)
    }

    fn subtree(&self, node: usize) -> BTreeSet<usize> {
        let mut all = BTreeSet::from([self.nodes[node].name]);
        for child in &self.nodes[node].children {
            all.extend(self.subtree(*child));
        }
        all
    }

    /// Whether something under this name was taken back in time or doubled, so that what it said before is known above alone.
    fn forgot(&self, node: usize) -> bool {
        self.went_back.contains(&node) || self.doubled.contains(&node)
    }
}
