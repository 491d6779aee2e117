//! The lower end: this node gives the positions of its vehicles to a platform above. Start at [`serve`], then `Pair::give`.
//!
//! The newest goes first, as it comes (0x1202); what could not be given while the link was down follows, oldest first (0x1203). The place that a
//! restart begins with is where the last answered heartbeat stood: everything before it was read by the other side. So a restart, or a cut, gives some
//! seconds again and leaves nothing out. Memory: one stretch of the log and what the socket is owed.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anlan_model::platform::{Fleet, FleetError, Follow};
use anlan_model::{Position, Timestamp, VehicleId};
use anlan_protocols::jt808::{self, Record, Value};
use anlan_protocols::jt809::session::{Effect, Event, Link, Session};
use anlan_protocols::jt809::{Edition, Frame, Message, Vehicle, position_record, timed};
use rustls::ServerConfig;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use super::cursor::{Cursor, CursorFile, Gap, Old};
use super::desk::{Became, Desk};
use super::line::{Line, Step, connect, step};
use super::settings::Upper;
use super::{Lamps, Pace, detail, event_of, unhandled};
use crate::stats::Open;
use crate::wire::{DRAIN, Stream, shake_hands};
use crate::{Context, Protocol, Reason};

/// Positions read from the log at once, about; a record of the log is never cut.
const STRETCH: usize = 500;
/// More is put on the socket once it is owed less than this.
const OWED_LOW: usize = 64 << 10;
/// Positions of one 0x1203: from memory, not from a text (待核).
const PER_MESSAGE: usize = 5;
/// A position that is older than this when it is kept was collected while the terminal had no network: it goes as 0x1203. Ours.
const LATE_US: i64 = 5 * 60 * 1_000_000;
/// If the newest cannot be given for so long because the other side is slow, it becomes a gap and what comes now goes first. Ours.
const BEHIND_US: i64 = 60 * 1_000_000;
/// Where history is asked instead of the log, so much more time is looked at: what was received before may have been kept later.
const SLACK_US: i64 = 3_600 * 1_000_000;
/// And so far back, what was received then may hold for.
const OLDEST_US: i64 = 7 * 86_400 * 1_000_000;
/// Positions of one vehicle read from history at once.
const PAGE: usize = 1_000;
/// The main link may take this long to open, and who opens the other one this long to say why.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Connections that may be about to become the other link.
const CANDIDATES_MAX: usize = 8;
/// Heartbeats that may be unanswered.
const MARKS_MAX: usize = 64;
/// The place is written to disk no more often.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// Gives to `upper` until the context stops. Its place is kept in `dir`; `tls` is for the other link, which it opens to us.
///
/// # Errors
/// The place that an earlier run left cannot be read or written.
pub fn serve(
    upper: Upper,
    listener: Option<TcpListener>,
    tls: Option<Arc<ServerConfig>>,
    ctx: Arc<Context>,
    fleet: Arc<dyn Fleet>,
    dir: &Path,
    pace: Pace,
) -> io::Result<impl Future<Output = ()> + Send + use<>> {
    let file = CursorFile::new(dir, &upper.name);
    let head = fleet.head();
    let now_us = ctx.clock.now().micros();
    let cursor = match file.load()? {
        // A node that was set back: what stood behind the place is another log.
        Some(cursor) if cursor.live > head => {
            warn!(
                protocol = "jt809",
                upper = upper.name,
                "the log ends before what was given to {}: it goes on with what comes now",
                upper.name
            );
            Cursor { live: head, live_us: now_us, gaps: Vec::new() }
        }
        Some(cursor) => cursor,
        None => Cursor { live: head, live_us: now_us, gaps: Vec::new() },
    };
    file.save(&cursor)?;
    let tls = if upper.tls.is_some() { tls } else { None };
    let mut pair = Pair::new(upper, listener, tls, ctx, fleet, file, cursor, pace)?;
    Ok(async move { pair.run().await })
}

/// What goes out next.
struct Due {
    vehicle: VehicleId,
    /// One, or some of one vehicle that go together.
    positions: Vec<Position>,
    backfill: bool,
}

/// What is read while the socket is busy.
enum Read {
    Live(Box<dyn Follow>),
    Gap(Box<dyn Follow>),
    Old,
}

type Answer = (Read, Result<(Vec<Position>, u64, Option<Timestamp>), FleetError>);
type Connecting = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

struct Pair {
    upper: Upper,
    name: String,
    listener: Option<TcpListener>,
    tls: Option<TlsAcceptor>,
    ctx: Arc<Context>,
    fleet: Arc<dyn Fleet>,
    pace: Pace,
    session: Session,
    started: Instant,
    main: Option<Line>,
    other: Option<Line>,
    /// Counts the main link as open.
    open: Option<Open>,
    connecting: Option<Connecting>,
    candidates: JoinSet<Option<(Line, Frame)>>,
    /// One that showed its code before the answer to our login was read: the two connections may overtake each other.
    early: Option<(Line, Frame)>,
    /// Where the main link leads to.
    peer: Option<IpAddr>,
    /// The code that the answer to our login gave.
    verify: Option<u64>,
    desk: Desk,
    closing: JoinSet<()>,
    lamps: Lamps,
    file: CursorFile,
    /// What was read to be given; it is on the socket but for the outbox.
    cursor: Cursor,
    /// A place up to which all of it is on the socket.
    sent: Cursor,
    /// What the other side has read, as its last answered heartbeat says.
    confirmed: Cursor,
    saved: (Cursor, Instant),
    saving: Option<JoinHandle<io::Result<Cursor>>>,
    /// The places at which heartbeats went out that are not answered.
    marks: VecDeque<Cursor>,
    marked: (Cursor, Instant),
    live: Option<Box<dyn Follow>>,
    gap: Option<Box<dyn Follow>>,
    reading: Option<JoinHandle<Answer>>,
    outbox: VecDeque<Due>,
    registered: HashSet<VehicleId>,
    /// Plate and number of vehicles that are given; `None` = it is not.
    given: (u64, HashMap<VehicleId, Option<(Vehicle, String)>>),
}

impl Pair {
    #[expect(clippy::too_many_arguments, reason = "the parts of one pair, put together once")]
    fn new(
        upper: Upper,
        listener: Option<TcpListener>,
        tls: Option<Arc<ServerConfig>>,
        ctx: Arc<Context>,
        fleet: Arc<dyn Fleet>,
        file: CursorFile,
        cursor: Cursor,
        pace: Pace,
    ) -> io::Result<Self> {
        let listens = listener.as_ref().map(TcpListener::local_addr).transpose()?;
        let address = upper.announce.clone().or_else(|| listens.map(|at| at.ip().to_string())).unwrap_or_default();
        let port = listens.map_or(0, |at| upper.announce_port.unwrap_or(at.port()));
        let mut values =
            vec![("user_id", Value::Number(upper.agreed.user_id.into())), ("password", Value::Text(upper.agreed.password.0.clone()))];
        if upper.agreed.edition == Edition::V2019 {
            values.push(("access_code", Value::Number(upper.agreed.access_code.into())));
        }
        values.push(("down_address", Value::Text(if port == 0 { String::new() } else { address })));
        values.push(("down_port", Value::Number(port.into())));
        let login = Message::new(0x1001, Record(values)).ok_or_else(|| io::Error::other("no layout of a login"))?;
        let now = Instant::now();
        let name = upper.name.clone();
        Ok(Self {
            session: Session::lower(pace.timing, login, 0),
            started: now,
            main: None,
            other: None,
            open: None,
            connecting: None,
            candidates: JoinSet::new(),
            early: None,
            peer: None,
            verify: None,
            desk: Desk::new(ctx.clone(), &name),
            closing: JoinSet::new(),
            lamps: Lamps::new(&name),
            file,
            confirmed: cursor.clone(),
            sent: cursor.clone(),
            saved: (cursor.clone(), now),
            saving: None,
            marks: VecDeque::new(),
            marked: (cursor.clone(), now),
            cursor,
            live: None,
            gap: None,
            reading: None,
            outbox: VecDeque::new(),
            registered: HashSet::new(),
            given: (u64::MAX, HashMap::new()),
            tls: tls.map(TlsAcceptor::from),
            upper,
            name,
            listener,
            ctx,
            fleet,
            pace,
        })
    }

    fn now_us(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX)
    }
    fn line(&mut self, link: Link) -> &mut Option<Line> {
        if link == Link::Main { &mut self.main } else { &mut self.other }
    }
    fn refuse(&self, reason: Reason, detail: impl std::fmt::Display) {
        self.ctx.refuse(Protocol::Jt809, reason, &self.name, detail);
    }

    async fn run(&mut self) {
        let ctx = self.ctx.clone();
        let mut leaves_by: Option<Instant> = None;
        let mut tick = Instant::now();
        loop {
            self.cut(Link::Main);
            self.cut(Link::Other);
            self.give(leaves_by.is_some());
            // By its own clock, however much there is to give.
            let now = Instant::now();
            if now >= tick {
                tick = now + Duration::from_millis(100).min(self.pace.look);
                self.desk.tick(now);
                self.on(Event::Tick);
                self.save();
            }
            if let Some(by) = leaves_by {
                let is_done = self.outbox.is_empty() && self.marks.is_empty() && self.cursor == self.confirmed && !self.desk.waits();
                if now >= by || is_done || !self.session.ready(Link::Main) {
                    break;
                }
            }
            let wake = [self.desk.wakes_at(), leaves_by].into_iter().flatten().fold(tick, Instant::min);
            tokio::select! {
                biased;
                () = ctx.stop.cancelled(), if leaves_by.is_none() => {
                    leaves_by = Some(Instant::now() + DRAIN);
                    self.mark();
                }
                answer = self.desk.offers.next() => if let Became::Fatal(refusal) = self.desk.answered(answer) {
                    // What it said is not kept: it will see the link cut and may say it again.
                    self.refuse(Reason::Storage, refusal);
                    self.lost_main(1);
                },
                moved = step(&mut self.main) => if !matches!(moved, Step::Moved) {
                    self.lost_main(1);
                },
                moved = step(&mut self.other) => if !matches!(moved, Step::Moved) {
                    self.lost_other(1);
                },
                connected = async { match &mut self.connecting { Some(connecting) => connecting.await, None => std::future::pending().await } } => {
                    self.connecting = None;
                    self.connected(connected);
                }
                (stream, address) = accept(self.listener.as_ref()) => self.accepted(stream, address),
                Some(found) = self.candidates.join_next(), if !self.candidates.is_empty() => {
                    if let Ok(Some((line, frame))) = found {
                        self.candidate(line, frame);
                    }
                }
                read = async { match &mut self.reading { Some(reading) => reading.await, None => std::future::pending().await } } => {
                    self.reading = None;
                    match read {
                        Ok(answer) => self.was_read(answer),
                        Err(error) => self.refuse(Reason::Storage, error),
                    }
                }
                saved = async { match &mut self.saving { Some(saving) => saving.await, None => std::future::pending().await } } => {
                    self.saving = None;
                    self.was_saved(saved);
                }
                Some(_) = self.closing.join_next(), if !self.closing.is_empty() => {}
                () = tokio::time::sleep_until(wake) => tick = tick.min(Instant::now()),
            }
        }
        self.leave().await;
    }

    async fn leave(&mut self) {
        if self.session.ready(Link::Main) {
            let values = vec![
                ("user_id", Value::Number(self.upper.agreed.user_id.into())),
                ("password", Value::Text(self.upper.agreed.password.0.clone())),
            ];
            if let Some(logout) = Message::new(0x1003, Record(values)) {
                self.send(Link::Main, &logout);
            }
        }
        for line in [self.main.take(), self.other.take()].into_iter().flatten() {
            self.closing.spawn(line.wire.close());
        }
        if let Some(saving) = self.saving.take() {
            let saved = saving.await;
            self.was_saved(saved);
        }
        if self.confirmed != self.saved.0 {
            let (file, cursor) = (self.file.clone(), self.confirmed.clone());
            let saved = tokio::task::spawn_blocking(move || file.save(&cursor).map(|()| cursor)).await;
            self.was_saved(saved);
        }
        self.candidates.abort_all();
        while self.closing.join_next().await.is_some() {}
    }

    fn on(&mut self, event: Event<'_>) {
        let effects = self.session.on(event, self.now_us());
        effects.into_iter().for_each(|effect| self.effect(effect));
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Send(link, message) => self.send(link, &message),
            Effect::Open(_) => {
                let (host, port, tls) = (self.upper.host.clone(), self.upper.port, self.upper.tls.clone());
                self.connecting = Some(Box::pin(async move { connect(&host, port, tls, CONNECT_WITHIN).await }));
            }
            Effect::Close(Link::Main) => self.close_main(),
            Effect::Close(Link::Other) => self.close_other(),
            Effect::Ready(link) => self.ready(link),
            Effect::Refused(_, code) => {
                let why = ["ok", "address", "access code", "not registered", "password", "full"].get(usize::from(code)).unwrap_or(&"other");
                self.refuse(Reason::Credentials, format_args!("the platform above refuses the login: {why} ({code})"));
            }
            Effect::Judge(_) | Effect::Business(..) => {}
        }
    }

    fn send(&mut self, link: Link, message: &Message) {
        if message.business == 0x1005 {
            // The session beats by its own clock, also while something waits in the outbox.
            if self.outbox.is_empty() {
                self.sent = self.cursor.clone();
            }
            self.marks.push_back(self.sent.clone());
            self.marked = (self.sent.clone(), Instant::now());
        }
        let clock = self.ctx.clock.clone();
        let Some(line) = self.line(link) else { return };
        if let Err(error) = line.send(message, &*clock) {
            self.refuse(Reason::SlowReader, error);
            if link == Link::Main { self.lost_main(1) } else { self.lost_other(1) }
        }
    }

    fn close_main(&mut self) {
        let was_up = self.open.is_some();
        self.connecting = None;
        self.open = None;
        self.verify = None;
        self.lamps.set(Link::Main, false);
        if let Some(line) = self.main.take() {
            self.closing.spawn(line.wire.close());
        }
        // What was not confirmed may be lost on the way: it is given again.
        self.outbox.clear();
        self.marks.clear();
        (self.live, self.gap, self.reading, self.early) = (None, None, None, None);
        self.cursor = self.confirmed.clone();
        self.sent = self.confirmed.clone();
        if was_up {
            let detail = json!({ "platform": self.name, "way": "above" }).to_string();
            self.desk.event(&self.name.clone(), "platform_down", detail);
        }
    }
    fn lost_main(&mut self, code: u8) {
        self.close_main();
        self.on(Event::Closed(Link::Main, code));
    }
    fn close_other(&mut self) {
        self.lamps.set(Link::Other, false);
        if let Some(line) = self.other.take() {
            self.closing.spawn(line.wire.close());
        }
    }
    fn lost_other(&mut self, code: u8) {
        self.close_other();
        self.on(Event::Closed(Link::Other, code));
    }

    fn connected(&mut self, connected: io::Result<Stream>) {
        match connected {
            Ok(stream) => {
                self.peer = stream.peer().ok().map(|at| at.ip());
                self.main = Some(Line::new(stream, &self.ctx.limits, &self.upper.agreed));
                self.on(Event::Opened(Link::Main));
            }
            Err(error) => {
                self.refuse(Reason::Connections, format_args!("the main link cannot be opened: {error}"));
                self.on(Event::Closed(Link::Main, 1));
            }
        }
    }

    /// Somebody connects where the other link is awaited; until it shows the code it is nothing.
    fn accepted(&mut self, stream: TcpStream, address: SocketAddr) {
        let ip = address.ip();
        let expected = if self.upper.addresses.is_empty() {
            self.peer.is_some_and(|peer| peer.to_canonical() == ip.to_canonical())
        } else {
            self.upper.addresses.iter().any(|n| n.contains(ip))
        };
        if !expected || self.candidates.len() >= CANDIDATES_MAX {
            return self.refuse(Reason::UnknownSource, format_args!("{address} may not open the other link"));
        }
        let (ctx, tls, agreed) = (self.ctx.clone(), self.tls.clone(), self.upper.agreed.clone());
        self.candidates.spawn(async move {
            let first = async {
                let stream = shake_hands(stream, tls.as_ref(), &ctx.limits).await.ok()?;
                let mut line = Some(Line::new(stream, &ctx.limits, &agreed));
                loop {
                    if let Some(cut) = line.as_mut().and_then(Line::cut) {
                        return Some((line?, cut.ok()?));
                    }
                    if !matches!(step(&mut line).await, Step::Moved) {
                        return None;
                    }
                }
            };
            tokio::time::timeout(CONNECT_WITHIN, first).await.ok().flatten()
        });
    }

    fn candidate(&mut self, mut line: Line, frame: Frame) {
        if self.main.is_some() && !self.session.ready(Link::Main) && self.early.is_none() {
            self.early = Some((line, frame));
            return;
        }
        let (message, _) = line.read(&frame);
        let right = self.session.ready(Link::Main)
            && message.business == 0x9001
            && self.verify.is_some()
            && message.record().and_then(|r| r.number("verify_code")) == self.verify;
        if !right {
            self.refuse(Reason::Credentials, "somebody opened the other link without the code of our login");
            if let Some(no) = Message::new(0x9002, Record(vec![("result", Value::Number(1))])) {
                let _ = line.send(&no, &*self.ctx.clock);
            }
            self.closing.spawn(line.wire.close());
            return;
        }
        self.close_other();
        self.other = Some(line);
        self.on(Event::Opened(Link::Other));
        self.on(Event::Heard(Link::Other, &message));
    }

    fn ready(&mut self, link: Link) {
        self.lamps.set(link, true);
        if link == Link::Other {
            return;
        }
        self.open = Some(Open::new(&self.ctx.stats, Protocol::Jt809));
        self.registered.clear();
        self.cursor = self.confirmed.clone();
        self.cursor.resume(self.fleet.head(), self.ctx.clock.now().micros());
        let owed = self.cursor.owed();
        info!(protocol = "jt809", upper = self.name, owed, "logged in at {}; {owed} records of the log are owed from before", self.name);
        self.desk.event(&self.name.clone(), "platform_up", json!({ "platform": self.name, "way": "above" }).to_string());
        if let Some((line, frame)) = self.early.take() {
            self.candidate(line, frame);
        }
    }

    fn cut(&mut self, link: Link) {
        while self.desk.has_room() {
            match self.line(link).as_mut().and_then(Line::cut) {
                None => return,
                Some(Ok(frame)) => self.frame(link, &frame),
                Some(Err(error)) => self.refuse(Reason::BadFrame, error),
            }
        }
    }

    fn frame(&mut self, link: Link, frame: &Frame) {
        self.ctx.stats.link(Protocol::Jt809).heard(self.ctx.clock.now());
        let Some((message, defects)) = self.line(link).as_ref().map(|line| line.read(frame)) else { return };
        if defects.iter().any(|d| matches!(d.code, "length" | "encrypted")) {
            return self.refuse(Reason::BadFrame, "a frame whose length is wrong, or that cannot be decrypted");
        }
        match message.business {
            0x1002 => self.verify = message.record().and_then(|r| r.number("verify_code")),
            0x1006 if link == Link::Main => self.is_read(),
            _ => {}
        }
        for effect in self.session.on(Event::Heard(link, &message), self.now_us()) {
            match effect {
                Effect::Business(_, message) => self.business(&message),
                other => self.effect(other),
            }
        }
    }

    fn business(&mut self, message: &Message) {
        let id = message.part.as_ref().map_or(message.business, |part| part.sub);
        if id == 0x9101 {
            let n = message.record().and_then(|r| r.number("total")).unwrap_or(0);
            metrics::counter!("jt809_counted_above_total", "platform" => self.name.clone()).increment(n);
            return;
        }
        match event_of(id) {
            Some(kind) => {
                let text = detail(message, self.upper.agreed.edition, &self.name);
                self.desk.event(&self.name.clone(), kind, text);
            }
            None => unhandled(message),
        }
    }

    /// The other side answered a heartbeat: it has read everything before it.
    fn is_read(&mut self) {
        if let Some(place) = self.marks.pop_front() {
            self.confirmed = place;
            metrics::gauge!("jt809_backlog_records", "platform" => self.name.clone()).set(self.confirmed.owed() as f64);
        }
    }

    fn save(&mut self) {
        if self.saving.is_none() && self.confirmed != self.saved.0 && self.saved.1.elapsed() >= SAVE_EVERY {
            let (file, cursor) = (self.file.clone(), self.confirmed.clone());
            self.saving = Some(tokio::task::spawn_blocking(move || file.save(&cursor).map(|()| cursor)));
        }
    }
    fn was_saved(&mut self, saved: Result<io::Result<Cursor>, tokio::task::JoinError>) {
        match saved {
            Ok(Ok(cursor)) => self.saved = (cursor, Instant::now()),
            Ok(Err(error)) => {
                self.saved.1 = Instant::now();
                self.refuse(Reason::Storage, format_args!("the place is not written: {error}"));
            }
            Err(error) => self.refuse(Reason::Storage, error),
        }
    }

    fn mark(&mut self) {
        if self.marks.len() >= MARKS_MAX {
            self.refuse(Reason::Violation, "the platform above answers no heartbeats");
            return self.lost_main(1);
        }
        if self.session.ready(Link::Main) && self.marked.0 != self.cursor && self.outbox.is_empty() {
            self.send(Link::Main, &Message::raw(0x1005, Vec::new()));
        }
    }

    /// Puts on the socket what is due, and reads on when nothing is.
    fn give(&mut self, leaves: bool) {
        while self.session.ready(Link::Main)
            && self.main.as_ref().is_some_and(|line| line.wire.owed() < OWED_LOW)
            && let Some(due) = self.outbox.pop_front()
        {
            self.put(due);
        }
        if !self.session.ready(Link::Main) || !self.outbox.is_empty() || self.reading.is_some() {
            return;
        }
        if leaves || self.marked.1.elapsed() >= self.pace.mark {
            self.mark();
        }
        if leaves || self.main.as_ref().is_none_or(|line| line.wire.owed() >= OWED_LOW) {
            return;
        }
        let head = self.fleet.head();
        let now_us = self.ctx.clock.now().micros();
        if head > self.cursor.live && now_us.saturating_sub(self.cursor.live_us) > BEHIND_US && self.live.is_some() {
            self.cursor.resume(head, now_us);
            self.live = None;
        }
        if head > self.cursor.live {
            let follow = self.live.take().unwrap_or_else(|| self.fleet.follow(self.cursor.live));
            return self.read_log(follow, u64::MAX, true);
        }
        if now_us.saturating_sub(self.cursor.live_us) > BEHIND_US / 2 {
            self.cursor.live_us = now_us;
        }
        match self.cursor.gaps.first() {
            Some(Gap { old: Some(old), .. }) => self.read_old(&old.clone()),
            Some(gap) if gap.from >= gap.to => {
                self.cursor.gaps.remove(0);
                self.gap = None;
            }
            Some(gap) => {
                let (from, to) = (gap.from, gap.to);
                let follow = self.gap.take().unwrap_or_else(|| self.fleet.follow(from));
                self.read_log(follow, to, false);
            }
            None => {}
        }
    }

    fn read_log(&mut self, mut follow: Box<dyn Follow>, upto: u64, live: bool) {
        self.reading = Some(tokio::task::spawn_blocking(move || {
            let read = follow.next(upto, STRETCH).map(|s| (s.positions, s.upto, s.now));
            (if live { Read::Live(follow) } else { Read::Gap(follow) }, read)
        }));
    }

    fn read_old(&mut self, old: &Old) {
        let ids = self.fleet.vehicles();
        let Some(vehicle) = old.next_of(ids.into_iter().filter(|id| self.of(*id).is_some())) else {
            if let Some(gap) = self.cursor.gaps.first_mut() {
                gap.old = None;
            }
            return;
        };
        let (fleet, from, to) = (self.fleet.clone(), Timestamp::from_micros(old.from_us), Timestamp::from_micros(old.to_us));
        let after = old.after();
        self.reading = Some(tokio::task::spawn_blocking(move || {
            let oldest = from.plus_us(-OLDEST_US);
            let read = fleet.positions(vehicle, oldest, to.plus_us(SLACK_US), after, PAGE);
            let read = read.map(|all| {
                // The number says which vehicle, the time where to go on; `None`: that was its last.
                let next = (all.len() >= PAGE).then(|| all.last().map(|p| p.event_at)).flatten();
                let found = all.into_iter().filter(|p| p.received_at >= from && p.received_at <= to).collect();
                (found, vehicle.get().unsigned_abs(), next)
            });
            (Read::Old, read)
        }));
    }

    fn was_read(&mut self, (read, found): Answer) {
        match (read, found) {
            (Read::Live(follow), Ok((positions, upto, now))) => {
                self.live = Some(follow);
                let now_us = now.unwrap_or_else(|| self.ctx.clock.now()).micros();
                for position in positions {
                    let backfill = now_us.saturating_sub(position.event_at.micros()) > LATE_US;
                    self.outbox.push_back(Due { vehicle: position.vehicle, positions: vec![position], backfill });
                }
                (self.cursor.live, self.cursor.live_us) = (upto, now_us);
            }
            (Read::Gap(follow), Ok((positions, upto, now))) => {
                self.gap = Some(follow);
                self.put_backlog(positions);
                if let Some(gap) = self.cursor.gaps.first_mut() {
                    // A log that has nothing more before the end of the gap cannot give more later.
                    gap.from = if upto > gap.from { upto } else { gap.to };
                    gap.from_us = now.map_or(gap.from_us, Timestamp::micros);
                }
            }
            (Read::Old, Ok((positions, vehicle, next))) => {
                self.put_backlog(positions);
                if let Some(old) = self.cursor.gaps.first_mut().and_then(|gap| gap.old.as_mut()) {
                    old.after_us = next.map(Timestamp::micros);
                    if next.is_none() {
                        old.vehicle = i64::try_from(vehicle).unwrap_or(i64::MAX);
                    }
                }
            }
            (Read::Live(_), Err(FleetError::Gone { .. })) => {
                // It fell behind the log's end: what stands there becomes a gap.
                self.cursor.resume(self.fleet.head(), self.ctx.clock.now().micros());
            }
            (Read::Gap(_), Err(FleetError::Gone { first, now })) => {
                let now_us = now.unwrap_or_else(|| self.ctx.clock.now()).micros();
                if let Some(gap) = self.cursor.gaps.first_mut() {
                    gap.old = Some(Old { from_us: gap.from_us.saturating_sub(SLACK_US), to_us: now_us, vehicle: 0, after_us: None });
                    gap.from = first.saturating_sub(1).min(gap.to);
                }
            }
            (_, Err(error)) => {
                self.refuse(Reason::Storage, error);
                self.lost_main(1);
            }
        }
    }

    fn put_backlog(&mut self, positions: Vec<Position>) {
        let mut order = Vec::new();
        let mut by_vehicle: HashMap<VehicleId, Vec<Position>> = HashMap::new();
        for position in positions {
            let of = by_vehicle.entry(position.vehicle).or_insert_with(|| {
                order.push(position.vehicle);
                Vec::new()
            });
            of.push(position);
        }
        for vehicle in order {
            for some in by_vehicle.remove(&vehicle).unwrap_or_default().chunks(PER_MESSAGE) {
                self.outbox.push_back(Due { vehicle, positions: some.to_vec(), backfill: true });
            }
        }
    }

    /// How a vehicle is called above; `None` if it is not given.
    fn of(&mut self, id: VehicleId) -> Option<(Vehicle, String)> {
        let generation = self.fleet.generation();
        if self.given.0 != generation {
            self.given = (generation, HashMap::new());
        }
        if let Some(known) = self.given.1.get(&id) {
            return known.clone();
        }
        let not = |reason| metrics::counter!("jt809_not_given_total", "platform" => self.name.clone(), "reason" => reason).increment(1);
        let own = |v: &anlan_model::platform::FleetVehicle| {
            self.upper.region.as_ref().is_none_or(|own| v.region.as_ref().is_some_and(|region| own.holds(region)))
        };
        let found = self.fleet.vehicle(id).filter(own);
        let called = match found {
            Some(v) if v.plate.is_empty() => {
                not("plate");
                None
            }
            Some(v) => Some((Vehicle::new(v.plate.trim(), self.upper.plate_colour), v.phone)),
            None => None,
        };
        self.given.1.insert(id, called.clone());
        called
    }

    fn put(&mut self, due: Due) {
        let Some((vehicle, phone)) = self.of(due.vehicle) else { return };
        let edition = self.upper.agreed.edition;
        if self.registered.insert(due.vehicle)
            && let Some(message) = self.registration(vehicle.clone(), &phone)
        {
            self.send(Link::Main, &message);
        }
        let mut records: Vec<Record> = due.positions.iter().filter_map(|p| position_record(&as_sent(p), edition)).collect();
        let n = records.len();
        if n < due.positions.len() {
            let n_not = (due.positions.len() - n) as u64;
            metrics::counter!("jt809_not_given_total", "platform" => self.name.clone(), "reason" => "time").increment(n_not);
        }
        let (sub, record) = match (due.backfill, records.pop()) {
            (_, None) => return,
            (false, Some(one)) => (0x1202, one),
            (true, Some(last)) => {
                records.push(last);
                (0x1203, Record(vec![("positions", Value::List(records))]))
            }
        };
        let Some(message) = Message::sub(edition, 0x1200, Some(vehicle), sub, record) else { return };
        self.send(Link::Main, &message);
        metrics::counter!("jt809_positions_total", "platform" => self.name.clone(), "way" => "given").increment(n as u64);
    }

    fn registration(&self, vehicle: Vehicle, phone: &str) -> Option<Message> {
        let text = |text: &str| Value::Text(text.to_owned());
        let is_new = self.upper.agreed.edition == Edition::V2019;
        let digits = if is_new { 13 } else { 12 };
        let mut values = vec![("platform", text(&self.upper.platform_id)), ("producer", text("")), ("model", text(""))];
        if is_new {
            values.push(("imei", text("")));
        }
        values.extend([("terminal", text("")), ("sim", text(&format!("{phone:0>digits$}")))]);
        Message::sub(self.upper.agreed.edition, 0x1200, Some(vehicle), 0x1201, Record(values))
    }
}

/// A kept position as its terminal sent it; one without a time of its own says when it came.
fn as_sent(p: &Position) -> jt808::Position {
    let position = jt808::Position {
        alarm: p.alarm_bits,
        status: p.status_bits,
        lat_e6: p.lat_e6,
        lon_e6: p.lon_e6,
        altitude_m: p.altitude_m,
        speed_tenth_kmh: p.speed_dkmh,
        direction_deg: p.direction_deg,
        time: None,
        time_bcd: [0; 6],
        items: Vec::new(),
        items_raw: p.items.clone(),
    };
    timed(position, p.device_at.unwrap_or(p.event_at))
}

/// The next connection; without a listener none ever comes.
async fn accept(listener: Option<&TcpListener>) -> (TcpStream, SocketAddr) {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // Out of descriptors, say: it is tried again, not at once.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
