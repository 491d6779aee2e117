//! One conversation between a child and its parent: state, what happened, now -> what to do. No I/O and no clock of its own.
//!
//! Whoever runs it feeds it what was heard and what storage has done, and carries out the [`Effect`]s it answers with, in order. A conversation
//! begins with a connection and ends with it; everything that must outlive it is durable at the *receiver* and told in its [`Hello`]:
//!
//! * *Feed*: the newest state of each subject once, in order. Its numbers outlive a start of its sender; one that went back is read anew. A receiver says
//!   which start told it last: where that is of a life that the sender forgot, all is numbered anew behind it.
//! * *Log* (from the child alone): positions of its log, in pieces. Newest first is served first, the backlog in what room there is. What is
//!   not acknowledged in time is sent again.
//! * *Proof*: the child says what it holds of each day at a position of its log, at a moment when the parent has exactly everything up to it.
//!
//! Start at [`Session::open`] and [`Session::heard`]. The lines marked `safety:` are those without which the simulation must fail.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use anlan_model::NodeId;

use crate::agreement::Readings;
use crate::digest::Digest;
use crate::intervals::Intervals;
use crate::message::{Bye, Claim, Day, DayDigest, DayPart, Entry, Feed, Have, Hello, Incarnation, Log, Message, Pulse};

/// Which end of the link this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Sends its log.
    Child,
    /// Keeps the log of its child.
    Parent,
}

/// Bounds and times of a conversation; times in µs, monotonic.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of log pieces under way and not acknowledged.
    pub window_bytes: u64,
    /// What was sent and not acknowledged for so long is sent again.
    pub retry_us: u64,
    /// Proof of life every so often.
    pub pulse_us: u64,
    /// A claim every so often.
    pub claim_us: u64,
    /// How long a claim may hold up the log.
    pub claim_wait_us: u64,
    /// Newer positions overtake a backlog longer than this.
    pub overtake: u64,
    /// No further gap is opened in what the receiver has beyond so many.
    pub ranges: usize,
    /// Most bytes per second for the log; 0 = no cap.
    pub bytes_per_s: u64,
    /// How often an unequal day is asked for by itself.
    pub repairs: u32,
    /// Pieces that are being made durable at one time.
    pub keeping: usize,
    /// Days of one claim; more follow in further ones.
    pub claim_days: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            window_bytes: 4 << 20,
            retry_us: 15_000_000,
            pulse_us: 10_000_000,
            claim_us: 60_000_000,
            claim_wait_us: 10_000_000,
            overtake: 256,
            ranges: 64,
            bytes_per_s: 0,
            repairs: 3,
            keeping: 16,
            claim_days: 5_000,
        }
    }
}

/// This node as it stands when a conversation begins.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// What it says of itself; `have` is what is durable here of the other.
    pub hello: Hello,
    /// Who must be at the other end.
    pub peer: NodeId,
    /// The newest start of the other that was heard.
    pub known: Incarnation,
    /// Which readings are wanted to travel from here.
    pub readings: Readings,
    /// The starts of this node, as far as it remembers.
    pub starts: Starts,
}

/// The starts of a node that it remembers, this one among them: by how many times it had started, which one that was.
#[derive(Clone, Debug, Default)]
pub struct Starts(Arc<BTreeMap<u64, u64>>);

impl Starts {
    /// Whether this was a start of a life that is forgotten: another one of that number is remembered, or none although earlier ones are. Of those before
    /// the first that was noted nothing can be said.
    fn forgot(&self, start: Incarnation) -> bool {
        let is_known = self.0.first_key_value().is_some_and(|(first, _)| *first <= start.starts);
        is_known && self.0.get(&start.starts) != Some(&start.nonce)
    }
}

impl FromIterator<Incarnation> for Starts {
    fn from_iter<T: IntoIterator<Item = Incarnation>>(starts: T) -> Self {
        Self(Arc::new(starts.into_iter().map(|start| (start.starts, start.nonce)).collect()))
    }
}

/// Why a stream is frozen. A person says what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Frozen {
    /// Its log is not the one of which we have a part: restored from a backup, or another box under its name.
    OtherLog,
    /// An older start of it speaks again, or another start of the same number: two boxes with one name.
    Twice,
}

impl Frozen {
    /// The word in the database and on the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OtherLog => "other_log",
            Self::Twice => "twice",
        }
    }
}

/// What is to be done. What asks for an answer names the function that takes it.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Say this.
    Send(Message),
    /// Read the feed for the other behind a number: [`Session::feed_read`].
    ReadFeed(u64),
    /// Number the feed for the other anew, behind everything in it: [`Session::numbered`].
    NumberAnew,
    /// Read the log behind `after`, at most up to `upto`: [`Session::log_read`] or [`Session::log_gone`].
    ReadLog {
        /// Behind this position.
        after: u64,
        /// Not beyond this one.
        upto: u64,
    },
    /// Whether the record at a position has this tag: [`Session::marked`].
    CheckMark(u64, u64),
    /// Count everything durable, and tell the days that are asked for: [`Session::counted`].
    Count(Wanted),
    /// Read a part of a day: [`Session::day_read`].
    ReadDay(Day, u32),
    /// Apply the feed, put its cursor to `upto` and note that this start of the other told it, in one transaction: [`Session::feed_kept`].
    KeepFeed(Feed),
    /// Keep the readings: [`Session::log_kept`].
    KeepLog(Log),
    /// Keep a part of a day: [`Session::day_kept`].
    KeepDay(DayPart),
    /// What we have of the other's log; may be written down lazily, as keeping a reading again does nothing.
    Have(Have),
    /// Compare these days, or this part of each, with what is held here now: [`Session::compared`].
    Compare(Claim, Readings),
    /// Both have said what they hold of each day, or of that part of it. On the child's side the second is what the parent holds.
    Compared(Claim, Vec<DayDigest>, Readings),
    /// Which readings the other wants to travel; [`Session::readings`] is what holds.
    Terms(String),
    /// The other asks what is held of each point; answer by sending [`Message::PointsOf`].
    TellPoints(Day),
    /// It answered.
    Points(Day, Vec<(i64, Digest)>),
    /// This start of the other speaks, and its feed is read on from this number; 0: it is read anew.
    Met(Hello, u64),
    /// It lives.
    Alive(Pulse),
    /// It asks for a certificate; answer by sending [`Message::Renewed`].
    Renew(Vec<u8>),
    /// It issued one.
    Renewed(Vec<Vec<u8>>),
    /// A day has been sent again and is kept.
    Repaired(Day),
    /// The stream stops until a person decides.
    Freeze(Frozen),
    /// Nothing more is said; close the connection.
    Close(Bye),
}

/// Which days a claim shall have: the first `limit` of them, by origin and day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Those that changed behind this position (0: all),
    pub since: u64,
    /// and these whether they did or not;
    pub also: BTreeSet<Day>,
    /// of both those behind this one.
    pub after: Option<Day>,
    /// At most so many.
    pub limit: usize,
}

impl Wanted {
    /// Whether a day that last changed at this position is wanted, but for the limit.
    pub fn has(&self, day: Day, changed_at: u64) -> bool {
        self.after.is_none_or(|after| day > after) && (self.since == 0 || changed_at > self.since || self.also.contains(&day))
    }
}

/// A piece of the log as read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// As it is sent.
    pub log: Log,
    /// Feed number at which everything it names has been told.
    pub names: u64,
}

#[derive(Clone, Debug)]
struct Flight {
    first: u64,
    last: u64,
    bytes: u64,
    sent_us: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Nothing,
    Live,
    Backlog,
}

/// Where a claim stands.
#[derive(Clone, Debug, PartialEq)]
enum Claiming {
    /// None is under way; the next is due then.
    Due(u64),
    /// Storage counts; nothing is read meanwhile, so that nothing beyond the position is sent.
    Counting,
    /// Nothing beyond the position is sent until the other has all up to it, and of the feed up to the second number, or until then.
    Filling(Claim, u64, u64),
    /// Said; the answer is waited for until then.
    Said(Claim, u64),
}

/// One end of a conversation.
#[derive(Clone, Debug)]
pub struct Session {
    side: Side,
    limits: Limits,
    peer: NodeId,
    known: Incarnation,
    starts: Starts,
    wish: Readings,
    /// Which readings travel: what both want.
    readings: Readings,
    /// What the other wants, heard before its greeting was believed.
    early_terms: Option<String>,
    now_us: u64,
    /// The other's greeting, once it is believed.
    met: bool,
    closed: bool,
    mine: Hello,
    /// Waits for [`Session::marked`] or [`Session::numbered`].
    greeting: Option<Hello>,

    // ---- what we send
    feed_end: u64,
    /// The other's cursor.
    feed_at: u64,
    feed_reading: bool,
    feed_sent: Option<(u64, u64)>,
    log_first: u64,
    log_end: u64,
    has: Intervals,
    flights: Vec<Flight>,
    reading: Reading,
    /// Newest position read on the live lane.
    live_at: u64,
    held: VecDeque<Piece>,
    budget: f64,
    claiming: Claiming,
    /// What changed up to here was told; the position at which the telling of what came since began, and the day it has come to.
    claimed: u64,
    round: Option<(u64, Day)>,
    /// Told, and the other holds something else.
    unequal: BTreeSet<Day>,
    days: VecDeque<(Day, u32)>,
    day_reading: bool,
    /// Read, and waits until what it names is told.
    day_held: Option<(DayPart, u64)>,
    day_sent: Option<u64>,
    pulse_due: u64,

    // ---- what we keep
    have: Have,
    keeping: Intervals,
    n_keeping: usize,
    feed_keeping: bool,
    comparing: Option<(Claim, Readings)>,
    /// Days asked for: how often, and of which the other then said that it holds this.
    asked: BTreeMap<Day, (u32, Digest)>,
    asking: VecDeque<Day>,
    asked_us: u64,
    /// How often the first of them was asked for and nothing came.
    n_unanswered: u32,
    /// The part of it that comes next, and whether one is being kept.
    next_part: u32,
    day_keeping: bool,
    /// Days of which readings gave way at the other: it was told once, and has no more to send.
    thinned: BTreeSet<Day>,
    /// What storage counts, and compares, was asked under an agreement that holds no more.
    outdated: (bool, bool),
}

impl Session {
    /// Begins a conversation: the greeting is the first effect.
    pub fn open(side: Side, limits: Limits, standing: Standing, now_us: u64) -> (Self, Vec<Effect>) {
        let Standing { hello, peer, known, readings, starts } = standing;
        let session = Self {
            side,
            peer,
            known,
            starts,
            wish: readings,
            readings,
            early_terms: None,
            now_us,
            met: false,
            closed: false,
            greeting: None,
            feed_end: hello.feed_end,
            feed_at: 0,
            feed_reading: false,
            feed_sent: None,
            log_first: hello.log_first,
            log_end: hello.log_end,
            has: Intervals::default(),
            flights: Vec::new(),
            reading: Reading::Nothing,
            live_at: 0,
            held: VecDeque::new(),
            budget: 0.0,
            claiming: Claiming::Due(now_us),
            claimed: 0,
            round: None,
            unequal: BTreeSet::new(),
            days: VecDeque::new(),
            day_reading: false,
            day_held: None,
            day_sent: None,
            pulse_due: now_us + limits.pulse_us,
            have: hello.have.clone(),
            keeping: Intervals::default(),
            n_keeping: 0,
            feed_keeping: false,
            comparing: None,
            asked: BTreeMap::new(),
            asking: VecDeque::new(),
            asked_us: 0,
            n_unanswered: 0,
            next_part: 0,
            day_keeping: false,
            thinned: BTreeSet::new(),
            outdated: (false, false),
            mine: hello.clone(),
            limits,
        };
        (session, vec![Effect::Send(Message::Hello(hello))])
    }

    /// Whether the other has greeted and is believed.
    pub fn has_met(&self) -> bool {
        self.met && !self.closed
    }
    /// Whether it is over.
    pub fn is_closed(&self) -> bool {
        self.closed
    }
    /// Which readings travel, as far as both have said.
    pub fn readings(&self) -> Readings {
        self.readings
    }
    /// Positions of our log that the other does not have.
    pub fn log_waits(&self) -> u64 {
        if self.side == Side::Child { self.has.n_missing(self.log_end) } else { 0 }
    }
    /// Up to where the other has our feed.
    pub fn feed_told(&self) -> u64 {
        self.feed_at
    }
    /// The number of our feed behind which entries wait for the other; `None`: it has all.
    pub fn feed_waits(&self) -> Option<u64> {
        (self.feed_at < self.feed_end).then_some(self.feed_at)
    }
    /// Up to where the other has our log without a gap.
    pub fn has_up_to(&self) -> u64 {
        self.has.contiguous()
    }

    /// Something was heard.
    pub fn heard(&mut self, message: Message, now_us: u64) -> Vec<Effect> {
        self.now_us = self.now_us.max(now_us);
        let mut out = Vec::new();
        if self.closed {
            return out;
        }
        match message {
            Message::Hello(hello) => self.greeted(hello, &mut out),
            Message::Bye(why) => self.left(why, &mut out),
            // It is said once, and the greeting may still be looked into.
            Message::Terms(word) if !self.met => self.early_terms = Some(word),
            // What overtakes the greeting is said again.
            _ if !self.met => {}
            Message::Feed(feed) => self.keep_feed(feed, &mut out),
            Message::FeedKept(upto) => self.feed_arrived(upto),
            Message::Log(_) | Message::DayPart(_) | Message::Claim(_) | Message::Again(_) | Message::Thinned(..) | Message::ClaimOf(..)
                if self.readings == Readings::None => {}
            Message::Log(log) if self.side == Side::Parent => self.keep_log(log, &mut out),
            Message::LogKept(ranges) if self.side == Side::Child => self.log_arrived(&ranges),
            Message::Gone(first, last) if self.side == Side::Parent => self.skip(first, last, &mut out),
            // Also where a part is agreed: one that does not know of agreements sends all and claims all.
            Message::Claim(claim) if self.side == Side::Parent => self.compare(claim, Readings::All, &mut out),
            Message::ClaimOf(word, claim) if self.side == Side::Parent => {
                // What was agreed changed meanwhile: it claims again.
                if word == self.readings.as_str() {
                    self.compare(claim, self.readings, &mut out);
                }
            }
            Message::Terms(word) => self.agree(word, &mut out),
            Message::Verdict(claim) if self.side == Side::Child => self.verdict(claim, &mut out),
            Message::Again(day) if self.side == Side::Child => self.again(day),
            Message::DayPart(part) if self.side == Side::Parent => self.keep_day(part, &mut out),
            Message::DayKept(day, part) if self.side == Side::Child => self.day_arrived(day, part),
            Message::Points(day) if self.side == Side::Child => out.push(Effect::TellPoints(day)),
            Message::PointsOf(day, points) if self.side == Side::Parent => out.push(Effect::Points(day, points)),
            Message::Thinned(day, _) if self.side == Side::Parent => _ = self.thinned.insert(day),
            Message::Pulse(pulse) => out.push(Effect::Alive(pulse)),
            Message::Renew(request) if self.side == Side::Parent => out.push(Effect::Renew(request)),
            Message::Renewed(chain) if self.side == Side::Child => out.push(Effect::Renewed(chain)),
            _ => self.close(Bye::Nonsense, &mut out),
        }
        self.pump(&mut out);
        out
    }

    /// Time passed.
    pub fn tick(&mut self, now_us: u64) -> Vec<Effect> {
        let passed = now_us.saturating_sub(self.now_us);
        self.now_us = self.now_us.max(now_us);
        let mut out = Vec::new();
        if !self.has_met() {
            return out;
        }
        let rate = self.limits.bytes_per_s as f64;
        self.budget = (self.budget + rate * passed as f64 / 1e6).min(rate.max(1.0));
        let late = |sent_us: u64| now_us.saturating_sub(sent_us) >= self.limits.retry_us;
        self.flights.retain(|flight| !late(flight.sent_us)); // safety: what is lost is sent again
        if self.feed_sent.is_some_and(|(_, sent_us)| late(sent_us)) {
            self.feed_sent = None;
        }
        if self.day_sent.is_some_and(late) {
            self.day_sent = None;
        }
        if !self.asking.is_empty() && late(self.asked_us) && !self.day_keeping {
            self.n_unanswered += 1;
            if self.n_unanswered > self.limits.repairs {
                // It cannot be had now; the next comparison shows it again, and others wait.
                self.asking.pop_front();
                (self.n_unanswered, self.next_part) = (0, 0);
            }
            self.ask(&mut out);
        }
        if matches!(&self.claiming, Claiming::Filling(_, _, until_us) | Claiming::Said(_, until_us) if now_us >= *until_us) {
            self.claiming = Claiming::Due(now_us + self.limits.claim_us);
        }
        if now_us >= self.pulse_due {
            self.pulse_due = now_us + self.limits.pulse_us;
            let pulse = Pulse { now_us: 0, log_end: self.log_end, feed_end: self.feed_end, log_waits: self.log_waits() };
            out.push(Effect::Send(Message::Pulse(pulse)));
        }
        self.pump(&mut out);
        out
    }

    /// The log or the feed for the other has grown.
    pub fn grown(&mut self, log_end: u64, feed_end: u64) -> Vec<Effect> {
        self.log_end = self.log_end.max(log_end);
        self.feed_end = self.feed_end.max(feed_end);
        self.on()
    }

    /// A day shall be asked for, whatever was asked before.
    pub fn ask_again(&mut self, day: Day) -> Vec<Effect> {
        let mut out = Vec::new();
        if self.has_met() && self.side == Side::Parent && !self.asking.contains(&day) {
            self.asking.push_back(day);
            if self.asking.len() == 1 {
                self.ask(&mut out);
            }
        }
        out
    }

    /// Ends it from here.
    pub fn leave(&mut self, why: Bye) -> Vec<Effect> {
        let mut out = Vec::new();
        if !self.closed {
            self.close(why, &mut out);
        }
        out
    }

    fn on(&mut self) -> Vec<Effect> {
        let mut out = Vec::new();
        self.pump(&mut out);
        out
    }

    fn close(&mut self, why: Bye, out: &mut Vec<Effect>) {
        self.closed = true;
        out.push(Effect::Send(Message::Bye(why)));
        out.push(Effect::Close(why));
    }

    // ---- greeting ------------------------------------------------------------------------------------------------------------------------

    fn greeted(&mut self, hello: Hello, out: &mut Vec<Effect>) {
        if self.met || self.greeting.is_some() {
            return;
        }
        if hello.node != self.peer {
            return self.close(Bye::Nonsense, out);
        }
        let starts = hello.incarnation;
        let is_doubled = self.side == Side::Parent && self.known != Incarnation::default() && starts.went_back(self.known);
        if is_doubled {
            // safety: two boxes of one name do not mix
            return self.freeze(Frozen::Twice, out);
        }
        if starts.went_back(self.known) || starts.went_back(self.have.feed_of) || self.have.feed > hello.feed_end {
            // It is of a backup, and what it tells is older than what it told.
            self.have.feed = 0; // safety: a feed whose sender went back is read anew
        }
        self.known = starts;
        match hello.have.mark.filter(|(at, _)| self.side == Side::Child && (self.log_first..).contains(at)) {
            Some((at, tag)) => {
                self.greeting = Some(hello);
                out.push(Effect::CheckMark(at, tag));
            }
            None => self.look_at_feed(hello, out),
        }
    }

    /// Whether our record at the position of the mark is the one the other has.
    pub fn marked(&mut self, is_same: bool) -> Vec<Effect> {
        let mut out = Vec::new();
        let Some(hello) = self.greeting.take().filter(|_| !self.closed) else { return out };
        if !is_same {
            // safety: the log is the one of which the other has a part
            return self.leave(Bye::OtherLog);
        }
        self.look_at_feed(hello, &mut out);
        self.pump(&mut out);
        out
    }

    /// As the other judges it, of us.
    fn reads_on(&self, have: &Have) -> bool {
        !self.mine.incarnation.went_back(have.feed_of) && have.feed <= self.mine.feed_end
    }

    fn look_at_feed(&mut self, hello: Hello, out: &mut Vec<Effect>) {
        if hello.have.feed > 0 && self.reads_on(&hello.have) && self.starts.forgot(hello.have.feed_of) {
            // safety: numbers that a forgotten life told by, and that were given again since, are not passed over
            self.greeting = Some(hello);
            return out.push(Effect::NumberAnew);
        }
        self.meet(hello, out);
    }

    /// The feed is numbered anew and ends here.
    pub fn numbered(&mut self, end: u64) -> Vec<Effect> {
        let mut out = Vec::new();
        self.feed_end = self.feed_end.max(end);
        if let Some(hello) = self.greeting.take().filter(|_| !self.closed) {
            self.meet(hello, &mut out);
        }
        self.pump(&mut out);
        out
    }

    fn meet(&mut self, hello: Hello, out: &mut Vec<Effect>) {
        self.met = true;
        self.feed_at = if self.reads_on(&hello.have) { hello.have.feed } else { 0 };
        if self.side == Side::Child {
            self.has = hello.have.log.clone();
            let backlog = self.log_end.saturating_sub(self.has.contiguous());
            let opens = backlog > self.limits.overtake && self.has.ranges().len() < self.limits.ranges;
            self.live_at = if opens { self.log_end } else { self.has.contiguous() };
        }
        out.push(Effect::Met(hello, self.have.feed));
        out.push(Effect::Send(Message::Terms(self.wish.as_str().to_owned())));
        if let Some(word) = self.early_terms.take() {
            self.agree(word, out); // safety: what the other wants holds, whenever it was heard
        }
    }

    fn left(&mut self, why: Bye, out: &mut Vec<Effect>) {
        if why == Bye::OtherLog && self.side == Side::Parent {
            return self.freeze(Frozen::OtherLog, out);
        }
        self.closed = true;
        out.push(Effect::Close(why));
    }

    fn freeze(&mut self, why: Frozen, out: &mut Vec<Effect>) {
        out.push(Effect::Freeze(why));
        self.close(Bye::Frozen, out);
    }

    // ---- sending -------------------------------------------------------------------------------------------------------------------------

    /// Asks storage for what there is room for.
    fn pump(&mut self, out: &mut Vec<Effect>) {
        if !self.has_met() {
            return;
        }
        if !self.feed_reading && self.feed_sent.is_none() && self.feed_at < self.feed_end {
            self.feed_reading = true;
            out.push(Effect::ReadFeed(self.feed_at));
        }
        if self.side == Side::Parent || self.readings == Readings::None {
            return;
        }
        self.send_held(out);
        self.send_day(out);
        self.go_on_claiming(out);
        self.read_log(out);
        if !self.day_reading
            && self.day_sent.is_none()
            && self.day_held.is_none()
            // A day brings what is newer than the position of a claim.
            && matches!(self.claiming, Claiming::Due(_))
            && !self.is_capped()
            && let Some((day, part)) = self.days.front()
        {
            self.day_reading = true;
            out.push(Effect::ReadDay(*day, *part));
        }
    }

    /// No position beyond this is sent.
    fn end(&self) -> u64 {
        match &self.claiming {
            Claiming::Filling(claim, ..) | Claiming::Said(claim, _) => claim.at,
            Claiming::Due(_) | Claiming::Counting => self.log_end,
        }
    }

    /// The wire has had its share: what is not new waits.
    fn is_capped(&self) -> bool {
        self.limits.bytes_per_s > 0 && self.budget < 0.0
    }

    fn read_log(&mut self, out: &mut Vec<Effect>) {
        let under_way: u64 = self.flights.iter().map(|f| f.bytes).sum();
        let is_full = under_way >= self.limits.window_bytes || !self.held.is_empty();
        if self.reading != Reading::Nothing || is_full || self.claiming == Claiming::Counting {
            return;
        }
        let end = self.end();
        if self.live_at < end {
            self.reading = Reading::Live;
            out.push(Effect::ReadLog { after: self.live_at, upto: end });
            return;
        }
        if self.is_capped() {
            return;
        }
        let mut covered = self.has.clone();
        self.flights.iter().for_each(|flight| covered.insert(flight.first, flight.last));
        if let Some((first, last)) = covered.gap(0, self.live_at.min(end)) {
            self.reading = Reading::Backlog;
            out.push(Effect::ReadLog { after: first - 1, upto: last });
        }
    }

    /// A piece was read: everything behind `after` up to its last position.
    pub fn log_read(&mut self, piece: Piece) -> Vec<Effect> {
        let reading = std::mem::replace(&mut self.reading, Reading::Nothing);
        if reading == Reading::Live {
            self.live_at = self.live_at.max(piece.log.last);
        }
        self.held.push_back(piece);
        self.on()
    }

    /// There was nothing to read after all.
    pub fn log_unread(&mut self) -> Vec<Effect> {
        self.reading = Reading::Nothing;
        Vec::new()
    }

    /// The log no longer reaches back to what was asked for: it begins at `first`.
    pub fn log_gone(&mut self, first: u64) -> Vec<Effect> {
        self.reading = Reading::Nothing;
        self.log_first = self.log_first.max(first);
        let mut out = Vec::new();
        if let Some((gone, last)) = self.has.gap(0, self.log_first - 1) {
            out.push(Effect::Send(Message::Gone(gone, last)));
            self.flights.push(Flight { first: gone, last, bytes: 0, sent_us: self.now_us });
            self.live_at = self.live_at.max(last);
        }
        self.pump(&mut out);
        out
    }

    fn send_held(&mut self, out: &mut Vec<Effect>) {
        while let Some(piece) = self.held.front() {
            if piece.names > self.feed_at {
                // safety: names are told before their readings
                return;
            }
            let Some(Piece { log, .. }) = self.held.pop_front() else { return };
            let bytes = log.bytes.len() as u64 + 32;
            self.budget -= bytes as f64;
            self.flights.push(Flight { first: log.first, last: log.last, bytes, sent_us: self.now_us });
            out.push(Effect::Send(Message::Log(log)));
        }
    }

    fn log_arrived(&mut self, ranges: &Intervals) {
        self.has.join(ranges);
        let has = &self.has;
        self.flights.retain(|flight| !has.has(flight.first, flight.last));
    }

    /// The feed was read from `after` to `upto`.
    pub fn feed_read(&mut self, feed: Feed) -> Vec<Effect> {
        self.feed_reading = false;
        let mut out = Vec::new();
        if feed.after == self.feed_at && feed.upto > feed.after && self.has_met() {
            self.feed_sent = Some((feed.upto, self.now_us));
            out.push(Effect::Send(Message::Feed(feed)));
        }
        out
    }

    fn feed_arrived(&mut self, upto: u64) {
        // Also backwards: the receiver says where it stands. An old word of it costs one message.
        if upto <= self.feed_end {
            self.feed_at = upto;
            self.feed_sent = None;
        }
    }

    // ---- proof ---------------------------------------------------------------------------------------------------------------------------

    fn go_on_claiming(&mut self, out: &mut Vec<Effect>) {
        match &self.claiming {
            Claiming::Due(at) if self.now_us >= *at && self.reading == Reading::Nothing && self.held.is_empty() => {
                // While a backlog or a day is under way there is nothing to compare yet.
                if self.has.n_missing(self.live_at) > self.limits.overtake || !self.days.is_empty() {
                    return;
                }
                self.claiming = Claiming::Counting;
                let (since, also, limit) = (self.claimed, self.unequal.clone(), self.limits.claim_days);
                out.push(Effect::Count(Wanted { since, also, after: self.round.map(|(_, day)| day), limit }));
            }
            Claiming::Filling(claim, told, _) if self.has.has(1, claim.at) && self.flights.is_empty() && self.feed_at >= *told => {
                let claim = claim.clone();
                out.push(Effect::Send(if self.readings.is_part() {
                    Message::ClaimOf(self.readings.as_str().to_owned(), claim.clone())
                } else {
                    Message::Claim(claim.clone())
                }));
                self.claiming = Claiming::Said(claim, self.now_us + self.limits.claim_wait_us);
            }
            _ => {}
        }
    }

    /// Everything durable is counted: the days that are wanted, as of this position. The default: it could not be counted now.
    pub fn counted(&mut self, claim: Claim) -> Vec<Effect> {
        if std::mem::take(&mut self.outdated.0) {
            self.claiming = Claiming::Due(self.now_us);
            return self.on();
        }
        if self.claiming == Claiming::Counting {
            let is_sound = claim.at >= self.live_at && !claim.days.is_empty();
            self.log_end = self.log_end.max(claim.at);
            if claim.days.is_empty() && claim.at >= self.live_at {
                self.round_over(claim.at);
            }
            self.claiming = if is_sound {
                // The part around alarms is found by alarms that were told before.
                let told = if self.readings == Readings::Alarms { self.feed_end } else { 0 };
                Claiming::Filling(claim, told, self.now_us + self.limits.claim_wait_us)
            } else {
                Claiming::Due(self.now_us + self.limits.claim_us)
            };
        }
        self.on()
    }

    fn verdict(&mut self, theirs: Claim, out: &mut Vec<Effect>) {
        let Claiming::Said(claim, _) = &self.claiming else { return };
        if claim.at != theirs.at {
            return;
        }
        let is_answer = claim.days.len() == theirs.days.len()
            && claim.days.iter().zip(&theirs.days).all(|(ours, theirs)| (ours.origin, ours.day) == (theirs.origin, theirs.day));
        if !is_answer {
            self.claiming = Claiming::Due(self.now_us + self.limits.claim_us);
            return;
        }
        let claim = claim.clone();
        let mut last = None;
        for (ours, theirs) in claim.days.iter().zip(&theirs.days) {
            let day = Day { origin: ours.origin, day: ours.day };
            last = Some(day);
            if ours.digest == theirs.digest {
                self.unequal.remove(&day)
            } else {
                self.unequal.insert(day)
            };
        }
        match last.filter(|_| claim.days.len() >= self.limits.claim_days) {
            Some(last) => {
                self.round = Some((self.round.map_or(claim.at, |(began, _)| began), last));
                self.claiming = Claiming::Due(self.now_us);
            }
            None => {
                self.round_over(claim.at);
                self.claiming = Claiming::Due(self.now_us + self.limits.claim_us);
            }
        }
        out.push(Effect::Compared(claim, theirs.days, self.readings));
    }

    /// All days were told; what changed while they were is told in the next round.
    fn round_over(&mut self, at: u64) {
        self.claimed = self.claimed.max(self.round.take().map_or(at, |(began, _)| began));
    }

    fn again(&mut self, day: Day) {
        if !self.days.iter().any(|(waiting, _)| *waiting == day) && self.days.len() < 1_000 {
            self.days.push_back((day, 0));
        }
    }

    /// A part of a day was read, and the feed number at which everything it names has been told; `None`: it cannot be read.
    pub fn day_read(&mut self, part: Option<(DayPart, u64)>) -> Vec<Effect> {
        self.day_reading = false;
        match part {
            Some(part) => self.day_held = Some(part),
            None => _ = self.days.pop_front(),
        }
        self.on()
    }

    fn send_day(&mut self, out: &mut Vec<Effect>) {
        if let Some((part, _)) = self.day_held.take_if(|(_, names)| *names <= self.feed_at) {
            self.day_sent = Some(self.now_us);
            self.budget -= part.bytes.len() as f64;
            out.push(Effect::Send(Message::DayPart(part)));
        }
    }

    fn day_arrived(&mut self, day: Day, part: u32) {
        let Some((front, at)) = self.days.front_mut() else { return };
        if *front != day || part < *at {
            return;
        }
        self.day_sent = None;
        if part == u32::MAX {
            self.days.pop_front();
            // Now it should be equal.
            if let Claiming::Due(at) = &mut self.claiming {
                *at = self.now_us;
            }
        } else {
            *at = part + 1;
        }
    }

    // ---- keeping -------------------------------------------------------------------------------------------------------------------------

    fn keep_feed(&mut self, feed: Feed, out: &mut Vec<Effect>) {
        if self.feed_keeping {
            return;
        }
        if feed.after != self.have.feed {
            return out.push(Effect::Send(Message::FeedKept(self.have.feed)));
        }
        self.feed_keeping = true;
        out.push(Effect::KeepFeed(feed));
    }

    /// The feed is applied up to here; `None`: it could not be, the other tries again.
    pub fn feed_kept(&mut self, upto: Option<u64>) -> Vec<Effect> {
        self.feed_keeping = false;
        let mut out = Vec::new();
        if let Some(upto) = upto
            && !self.closed
        {
            (self.have.feed, self.have.feed_of) = (upto, self.known);
            out.push(Effect::Send(Message::FeedKept(upto)));
        }
        out
    }

    fn keep_log(&mut self, log: Log, out: &mut Vec<Effect>) {
        if self.have.log.has(log.first, log.last) {
            out.push(Effect::Send(Message::LogKept(self.have.log.clone())));
            return;
        }
        // While a claim is compared nothing may be added to what is compared. What is not taken now is sent again.
        if self.keeping.has(log.first, log.last) || self.comparing.is_some() || self.n_keeping >= self.limits.keeping {
            return;
        }
        self.n_keeping += 1;
        self.keeping.insert(log.first, log.last);
        out.push(Effect::KeepLog(log));
    }

    /// The readings of a piece are durable; `is_kept` false: they are not, the other tries again.
    pub fn log_kept(&mut self, log: &Log, is_kept: bool) -> Vec<Effect> {
        let mut out = Vec::new();
        self.keeping.remove(log.first, log.last);
        self.n_keeping -= 1;
        if is_kept && !self.closed {
            self.have.log.insert(log.first, log.last);
            if self.have.mark.is_none_or(|(at, _)| at < log.last) {
                self.have.mark = Some((log.last, log.tag));
            }
            out.push(Effect::Have(self.have.clone()));
            out.push(Effect::Send(Message::LogKept(self.have.log.clone())));
        }
        out
    }

    fn skip(&mut self, first: u64, last: u64, out: &mut Vec<Effect>) {
        self.have.log.insert(first, last);
        out.push(Effect::Have(self.have.clone()));
        out.push(Effect::Send(Message::LogKept(self.have.log.clone())));
    }

    /// The other says which readings it wants to travel.
    fn agree(&mut self, word: String, out: &mut Vec<Effect>) {
        let readings = self.wish.with(&word);
        if readings != self.readings {
            self.readings = readings;
            // What was claimed was of something else; what storage is asked just now comes too late.
            if self.claiming == Claiming::Counting {
                self.outdated.0 = true;
            } else {
                self.claiming = Claiming::Due(self.now_us);
            }
            self.outdated.1 = self.comparing.is_some();
            (self.claimed, self.round) = (0, None);
            self.unequal.clear();
            self.asked.clear();
        }
        out.push(Effect::Terms(word));
    }

    fn compare(&mut self, claim: Claim, readings: Readings, out: &mut Vec<Effect>) {
        let is_exact = self.have.log == Intervals::up_to(claim.at) && self.n_keeping == 0 && !self.day_keeping;
        if self.comparing.is_some() {
            return;
        }
        if !is_exact {
            // safety: days are compared at the named position alone
            return;
        }
        self.comparing = Some((claim.clone(), readings));
        out.push(Effect::Compare(claim, readings));
    }

    /// What is held here of the days of the claim, in their order; nothing: it cannot be said now, and the other claims again. `thinned`: days of which
    /// all that is counted gave way to its hours here, so that nothing of them can be taken again.
    pub fn compared(&mut self, ours: Vec<DayDigest>, thinned: &BTreeSet<Day>) -> Vec<Effect> {
        let mut out = Vec::new();
        if std::mem::take(&mut self.outdated.1) {
            self.comparing = None;
            return out;
        }
        let Some((claim, readings)) = self.comparing.take().filter(|(claim, _)| !self.closed && claim.days.len() == ours.len()) else {
            return out;
        };
        out.push(Effect::Send(Message::Verdict(Claim { at: claim.at, days: ours.clone() })));
        for (theirs, ours) in claim.days.iter().zip(&ours) {
            let day = Day { origin: theirs.origin, day: theirs.day };
            if theirs.digest == ours.digest {
                self.asked.remove(&day);
                continue;
            }
            if thinned.contains(&day) || self.thinned.contains(&day) {
                continue;
            }
            // What they have and we do not can be sent; what we have more stays, and shows.
            let (n_asked, of) = self.asked.entry(day).or_default();
            if readings == Readings::Alarms && *of != theirs.digest {
                // What lies around an alarm that came late is of the day too.
                *n_asked = 0;
            }
            *of = theirs.digest;
            if *n_asked < self.limits.repairs && !self.asking.contains(&day) {
                *n_asked += 1;
                self.asking.push_back(day); // safety: an unequal day is asked for
            }
        }
        out.push(Effect::Compared(claim, ours, readings));
        if !self.asking.is_empty() && self.next_part == 0 {
            self.ask(&mut out);
        }
        out
    }

    fn ask(&mut self, out: &mut Vec<Effect>) {
        if let Some(day) = self.asking.front() {
            self.asked_us = self.now_us;
            out.push(Effect::Send(Message::Again(*day)));
        }
    }

    fn keep_day(&mut self, part: DayPart, out: &mut Vec<Effect>) {
        // Only what was asked for, one part after the other; the acknowledgement of a part may have been lost.
        let is_wanted = self.asking.front() == Some(&part.day) && part.part <= self.next_part;
        if !is_wanted && part.is_last && !self.asking.contains(&part.day) {
            return out.push(Effect::Send(Message::DayKept(part.day, u32::MAX)));
        }
        if self.comparing.is_some() || self.day_keeping || !is_wanted {
            return;
        }
        self.asked_us = self.now_us;
        self.day_keeping = true;
        out.push(Effect::KeepDay(part));
    }

    /// A part of a day is durable; `is_kept` false: it is not, the other tries again.
    pub fn day_kept(&mut self, day: Day, part: u32, is_last: bool, is_kept: bool) -> Vec<Effect> {
        let mut out = Vec::new();
        self.day_keeping = false;
        if !is_kept || self.closed {
            return out;
        }
        self.n_unanswered = 0;
        out.push(Effect::Send(Message::DayKept(day, if is_last { u32::MAX } else { part })));
        if is_last && self.asking.front() == Some(&day) {
            self.asking.pop_front();
            self.next_part = 0;
            out.push(Effect::Repaired(day));
            self.ask(&mut out);
        } else {
            self.next_part = self.next_part.max(part + 1);
        }
        out
    }
}

/// Entries of a feed, cut so that a message stays small; `upto` is the end if all fit.
pub fn cut_feed(after: u64, end: u64, entries: Vec<Entry>, is_all: bool) -> Feed {
    let upto = if is_all { end } else { entries.last().map_or(after, |entry| entry.seq) };
    Feed { after, upto, entries }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(starts: u64, nonce: u64) -> Incarnation {
        Incarnation { starts, nonce }
    }

    #[test]
    fn a_start_is_forgotten_if_another_of_its_number_or_none_is_remembered() {
        let check = |remembered: &[Incarnation], told_by: Incarnation, want: bool| {
            let starts: Starts = remembered.iter().copied().collect();
            assert_eq!(starts.forgot(told_by), want, "{remembered:?} {told_by:?}");
        };
        let remembered = [start(5, 50), start(6, 60), start(8, 80)];
        check(&remembered, start(6, 60), false);
        check(&remembered, start(6, 61), true);
        check(&remembered, start(7, 70), true);
        // Before the first that was noted, and where nothing was told yet.
        check(&remembered, start(4, 40), false);
        check(&remembered, Incarnation::default(), false);
        check(&[], start(6, 60), false);
    }

    /// A parent at its seventh start, whose feed ends at 700, greeted by a child that has that; up to where the child has it then, and whether all was numbered anew.
    fn greeted_by(have: Have, remembered: &[Incarnation]) -> (u64, bool) {
        let hello = |node, feed_end, have| Hello { node: NodeId::new(node), incarnation: start(7, 70), feed_end, have, ..Hello::default() };
        let starts = remembered.iter().copied().collect();
        let standing = Standing { hello: hello(1, 700, Have::default()), peer: NodeId::new(2), starts, ..Standing::default() };
        let (mut session, _) = Session::open(Side::Parent, Limits::default(), standing, 0);
        let effects = session.heard(Message::Hello(hello(2, 0, have)), 1);
        let is_anew = effects.contains(&Effect::NumberAnew);
        assert_eq!(session.has_met(), !is_anew, "nothing is read before it is numbered");
        if is_anew {
            let effects = session.numbered(900);
            assert!(matches!(effects[0], Effect::Met(..)));
            assert!(effects.contains(&Effect::ReadFeed(session.feed_told())), "{effects:?}");
        }
        (session.feed_told(), is_anew)
    }

    #[test]
    fn what_a_forgotten_life_told_has_the_feed_numbered_anew_behind_it() {
        let all = [start(5, 50), start(6, 60), start(7, 70)];
        let have = |feed, feed_of| Have { feed, feed_of, ..Have::default() };
        assert_eq!(greeted_by(have(640, start(6, 61)), &all), (640, true));
        assert_eq!(greeted_by(have(640, start(6, 60)), &all), (640, false));
        // It reads all again by itself: another start of the same number, a later one, more than there is.
        assert_eq!(greeted_by(have(640, start(7, 71)), &all), (0, false));
        assert_eq!(greeted_by(have(640, start(8, 80)), &all), (0, false));
        assert_eq!(greeted_by(have(740, start(6, 61)), &all), (0, false));
        // It has nothing yet; the database is of before starts were noted.
        assert_eq!(greeted_by(have(0, start(6, 61)), &all), (0, false));
        assert_eq!(greeted_by(have(640, start(6, 61)), &all[2..]), (640, false));
        assert_eq!(greeted_by(have(640, start(6, 61)), &[]), (640, false));
    }
}
