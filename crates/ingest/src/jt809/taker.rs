//! The upper end: platforms below log in, are judged, and give positions. Start at [`serve`], then `Pair::business`.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anlan_model::platform::{Fleet, FleetVehicle, plate_key};
use anlan_model::{Refusal, Source, SourceEvent, Timestamp, Trust};
use anlan_protocols::jt808::{Record, Value};
use anlan_protocols::jt809::session::{Effect, Event, Link, Session};
use anlan_protocols::jt809::{Edition, Frame, Message, edition_of, message_name, positions, read_frame};
use rustls::ServerConfig;
use serde_json::json;
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::desk::{Became, Desk};
use super::line::{Line, Step, connect, seconds, step};
use super::settings::{Agreed, Password, Platform};
use super::{Lamps, Pace, detail, event_of, unhandled};
use crate::jt808::Unknown;
use crate::jt808::session::{is_worth_a_look, raw_position};
use crate::offer::Content;
use crate::trust::{masked, normal_phone};
use crate::wire::{DRAIN, Moved, Stream, Wire, listen};
use crate::{Context, Protocol, Reason};

/// Results of 0x1002.
const ADDRESS: u8 = 1;
const ACCESS_CODE: u8 = 2;
const NOT_REGISTERED: u8 = 3;
const PASSWORD: u8 = 4;

/// A login fits into this with its escapes; a stranger may not make us hold more.
const LOGIN_MAX: usize = 1 << 10;
/// Vehicles of one platform that are remembered while it is connected. Ours: some 20 MB; beyond it they are refused and counted.
const VEHICLES_MAX: usize = 100_000;
/// The other link may take this long to open.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked what is due.
const TICK: Duration = Duration::from_millis(100);
/// Heartbeats that wait for what came before them to be kept; beyond it no more is read.
const BEATS_MAX: usize = 64;

struct Taker {
    ctx: Arc<Context>,
    fleet: Arc<dyn Fleet>,
    platforms: Vec<Platform>,
    unknown: Unknown,
    pace: Pace,
    /// Per platform: a number, and what ends the connection that is logged in.
    current: Mutex<HashMap<usize, (u64, CancellationToken)>>,
}

/// Serves platforms below on `listener`, over TLS if there is a configuration for it, until the context stops; then closes.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    ctx: Arc<Context>,
    fleet: Arc<dyn Fleet>,
    platforms: Vec<Platform>,
    unknown: Unknown,
    pace: Pace,
) {
    let taker = Arc::new(Taker { ctx: ctx.clone(), fleet, platforms, unknown, pace, current: Mutex::default() });
    listen(listener, tls, ctx, Protocol::Jt809, move |stream, address| connection(stream, address, taker.clone())).await;
}

async fn connection(stream: Stream, address: SocketAddr, taker: Arc<Taker>) {
    let ctx = taker.ctx.clone();
    let refuse = |reason, text: &str| ctx.refuse(Protocol::Jt809, reason, &address.to_string(), text);
    let ip = address.ip();
    if !taker.platforms.iter().any(|p| p.is_from(ip)) {
        return refuse(Reason::UnknownSource, "no platform may come from there");
    }
    let mut wire = Wire::new(stream, &ctx.limits);
    let within = Duration::from_millis(ctx.limits.first_message_timeout_ms);
    let first = tokio::select! {
        () = ctx.stop.cancelled() => return,
        first = tokio::time::timeout(within, first_frame(&mut wire)) => first,
    };
    let bytes = match first {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return refuse(Reason::BadFrame, "the first frame is none, or too long"),
        Err(_) => return refuse(Reason::Idle, "no login in time"),
    };
    // The access code stands at the same place in both editions, and the edition is agreed per platform.
    let between = between_marks(&bytes).unwrap_or_default();
    let Ok(frame) = read_frame(between, Edition::V2011) else { return refuse(Reason::BadFrame, "the first frame does not hold") };
    let code = frame.header.access_code;
    let Some(n) = taker.platforms.iter().position(|p| p.agreed.access_code == code) else {
        let edition = edition_of(between).unwrap_or(Edition::V2011);
        let nobody = Agreed { edition, access_code: code, user_id: 0, password: Password(String::new()), cipher: None };
        let mut line = Line::of(wire, &nobody);
        tokio::time::sleep(ctx.gate.failed(ip, std::time::Instant::now())).await;
        let _ = line.send(&login_answer(ACCESS_CODE), &*ctx.clock);
        line.wire.close().await;
        return refuse(Reason::Credentials, "an access code that nobody has");
    };
    let mut line = Line::of(wire, &taker.platforms[n].agreed);
    line.take(&bytes);
    let mut pair = Pair::new(taker, n, ip, line);
    let end = pair.run().await;
    pair.leave(&end).await;
    match end {
        End::Closed => tracing::debug!(protocol = "jt809", peer = %address, "{address} closed"),
        End::Stopping => {}
        End::Refused(reason, text) => ctx.refuse(Protocol::Jt809, reason, &address.to_string(), text),
    }
}

/// The bytes up to the end of the first frame, and what was read behind it; `None` if there is none within [`LOGIN_MAX`].
async fn first_frame(wire: &mut Wire) -> Option<Vec<u8>> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; LOGIN_MAX]);
    loop {
        let Ok(Moved::Read(n)) = wire.step(&mut buffer, true).await else { return None };
        bytes.extend_from_slice(buffer.get(..n).filter(|read| !read.is_empty())?);
        if between_marks(&bytes).is_some() {
            return Some(bytes);
        }
        if bytes.len() >= LOGIN_MAX || bytes.first() != Some(&0x5b) {
            return None;
        }
    }
}

fn between_marks(bytes: &[u8]) -> Option<&[u8]> {
    let (first, rest) = bytes.split_first()?;
    let end = memchr::memchr(0x5d, rest)?;
    (*first == 0x5b).then(|| &rest[..end])
}

fn login_answer(result: u8) -> Message {
    record(0x1002, vec![("result", Value::Number(result.into())), ("verify_code", Value::Number(0))])
}

fn record(business: u16, values: Vec<(&'static str, Value)>) -> Message {
    Message::new(business, Record(values)).unwrap_or_else(|| Message::raw(business, Vec::new()))
}

enum End {
    Closed,
    Stopping,
    Refused(Reason, String),
}

/// What is known of a vehicle of this platform.
#[derive(Default)]
struct Known {
    /// Number of its terminal, as its registration (0x1201) said.
    sim: Option<String>,
    /// Who it is here, and the generation of the fleet in which that was so.
    stands: Option<(u64, Standing)>,
    /// Something of it was put aside for a person.
    put_aside: bool,
    /// What platforms on the way said of alarms.
    alarms: Vec<(String, u32)>,
}

#[derive(Clone, PartialEq, Eq)]
enum Standing {
    /// Heard under this number.
    Heard(String),
    /// Put aside, or only counted; why.
    Not(Reason, &'static str),
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

struct Pair {
    taker: Arc<Taker>,
    n: usize,
    name: String,
    ip: IpAddr,
    session: Session,
    started: Instant,
    main: Option<Line>,
    other: Option<Line>,
    connecting: Option<Connecting>,
    /// Where the other link leads to, as the login says and the configuration allows.
    down: Option<(IpAddr, u16)>,
    judged: Option<(Instant, Result<u32, u8>)>,
    desk: Desk,
    /// Heartbeats that are answered once everything before them is kept.
    beats: VecDeque<(Link, u64, Message)>,
    vehicles: HashMap<(Vec<u8>, u8), Known>,
    /// Positions kept since the last count, and since when.
    counted: (u64, Timestamp),
    count_at: Instant,
    number: u64,
    /// It logged in.
    was_up: bool,
    token: CancellationToken,
    closing: JoinSet<()>,
    lamps: Lamps,
    end: Option<End>,
}

impl Pair {
    fn new(taker: Arc<Taker>, n: usize, ip: IpAddr, line: Line) -> Self {
        let started = Instant::now();
        let name = taker.platforms[n].name.clone();
        let mut session = Session::upper(taker.pace.timing, 0);
        session.on(Event::Opened(Link::Main), 0);
        Self {
            n,
            ip,
            session,
            started,
            main: Some(line),
            other: None,
            connecting: None,
            down: None,
            judged: None,
            desk: Desk::new(taker.ctx.clone(), &name),
            beats: VecDeque::new(),
            vehicles: HashMap::new(),
            counted: (0, taker.ctx.clock.now()),
            count_at: started + taker.pace.count,
            number: taker.ctx.downlinks.connection_id(),
            was_up: false,
            token: CancellationToken::new(),
            closing: JoinSet::new(),
            lamps: Lamps::new(&name),
            end: None,
            name,
            taker,
        }
    }

    fn ctx(&self) -> &Arc<Context> {
        &self.taker.ctx
    }
    fn platform(&self) -> &Platform {
        &self.taker.platforms[self.n]
    }
    fn now_us(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX)
    }
    fn line(&mut self, link: Link) -> &mut Option<Line> {
        if link == Link::Main { &mut self.main } else { &mut self.other }
    }
    fn refuse(&self, reason: Reason, detail: impl std::fmt::Display) {
        self.ctx().refuse(Protocol::Jt809, reason, &self.name, detail);
    }

    async fn run(&mut self) -> End {
        let (ctx, token) = (self.ctx().clone(), self.token.clone());
        let logs_in_by = self.started + Duration::from_millis(ctx.limits.first_message_timeout_ms);
        let mut leaves_by: Option<Instant> = None;
        let mut tick = self.started;
        loop {
            if leaves_by.is_none() {
                self.cut(Link::Main);
                self.cut(Link::Other);
            }
            self.answer_beats();
            // By its own clock: whoever sends without a pause holds up nothing.
            let now = Instant::now();
            if now >= tick || self.judged.as_ref().is_some_and(|(at, _)| *at <= now) {
                tick = now + TICK;
                self.tick(now);
            }
            if let Some(end) = self.end.take() {
                return end;
            }
            if leaves_by.is_some_and(|by| !self.desk.waits() || Instant::now() >= by) {
                return End::Stopping;
            }
            if !self.session.ready(Link::Main) && now >= logs_in_by && self.judged.is_none() {
                return End::Refused(Reason::Idle, "no login in time".into());
            }
            let wake =
                [self.desk.wakes_at(), self.judged.as_ref().map(|(at, _)| *at), leaves_by].into_iter().flatten().fold(tick, Instant::min);
            tokio::select! {
                biased;
                () = ctx.stop.cancelled(), if leaves_by.is_none() => leaves_by = Some(Instant::now() + DRAIN),
                () = token.cancelled() => return End::Refused(Reason::Connections, "the platform logged in on another connection".into()),
                answer = self.desk.offers.next() => match self.desk.answered(answer) {
                    Became::Kept(n) => {
                        self.counted.0 += n;
                        metrics::counter!("jt809_positions_total", "platform" => self.name.clone(), "way" => "taken").increment(n);
                    }
                    Became::Nothing => {}
                    Became::Fatal(Refusal::Storage) => return End::Refused(Reason::Storage, "the log cannot be written".into()),
                    Became::Fatal(_) => return End::Stopping,
                },
                moved = step(&mut self.main) => match moved {
                    Step::Moved => {}
                    Step::Gone => return End::Closed,
                    Step::Slow => return End::Refused(Reason::SlowReader, "the platform does not read what it is sent".into()),
                },
                moved = step(&mut self.other) => if !matches!(moved, Step::Moved) {
                    self.lost_other(1);
                },
                connected = async { match &mut self.connecting { Some(connecting) => connecting.await, None => std::future::pending().await } } => {
                    self.connecting = None;
                    self.connected(connected);
                }
                Some(_) = self.closing.join_next(), if !self.closing.is_empty() => {}
                // A tick that came early is made up for at once.
                () = tokio::time::sleep_until(wake) => tick = tick.min(Instant::now()),
            }
        }
    }

    /// Says goodbye to the log and to the other side.
    async fn leave(&mut self, end: &End) {
        {
            let mut current = self.taker.current.lock().unwrap_or_else(PoisonError::into_inner);
            if current.get(&self.n).is_some_and(|(number, _)| *number == self.number) {
                current.remove(&self.n);
            }
        }
        if self.was_up {
            let why = match end {
                End::Closed => "closed",
                End::Stopping => "stopping",
                End::Refused(reason, _) => reason.as_str(),
            };
            self.desk.event(&self.name.clone(), "platform_down", json!({ "platform": self.name, "why": why }).to_string());
        }
        for line in [self.main.take(), self.other.take()].into_iter().flatten() {
            self.closing.spawn(line.wire.close());
        }
        while self.closing.join_next().await.is_some() {}
    }

    fn tick(&mut self, now: Instant) {
        self.desk.tick(now);
        if self.judged.as_ref().is_some_and(|(at, _)| *at <= now)
            && let Some((_, verdict)) = self.judged.take()
        {
            self.on(Event::Judged(verdict));
        }
        self.on(Event::Tick);
        if now >= self.count_at {
            self.count_at = now + self.taker.pace.count;
            self.tell_count();
        }
    }

    /// 0x9101: how many positions are durable since the last count.
    fn tell_count(&mut self) {
        let (n, since) = self.counted;
        if n == 0 {
            return;
        }
        let now = self.ctx().clock.now();
        let values = [("total", n), ("starts_at", seconds(since)), ("ends_at", seconds(now))];
        let message = record(0x9101, values.into_iter().map(|(name, n)| (name, Value::Number(n))).collect());
        let link = if self.session.ready(Link::Other) { Link::Other } else { Link::Main };
        self.counted = (0, now);
        self.send(link, &message);
    }

    /// Takes frames that were read, as long as there is room for what they say.
    fn cut(&mut self, link: Link) {
        // One login at a time: what follows a wrong one waits as long as its answer.
        while self.end.is_none() && self.judged.is_none() && self.desk.has_room() && self.beats.len() < BEATS_MAX {
            match self.line(link).as_mut().and_then(Line::cut) {
                None => return,
                Some(Ok(frame)) => self.frame(link, &frame),
                Some(Err(error)) => {
                    self.refuse(Reason::BadFrame, error);
                    // Noise before the login is no platform.
                    if !self.session.ready(Link::Main) && self.judged.is_none() {
                        self.end = Some(End::Refused(Reason::BadFrame, "no login".into()));
                    }
                }
            }
        }
    }

    fn frame(&mut self, link: Link, frame: &Frame) {
        let now = self.ctx().clock.now();
        self.ctx().stats.link(Protocol::Jt809).heard(now);
        if frame.header.access_code != self.platform().agreed.access_code {
            return self.refuse(Reason::Violation, format_args!("a frame with the access code {}", frame.header.access_code));
        }
        let Some((message, defects)) = self.line(link).as_ref().map(|line| line.read(frame)) else { return };
        if let Some(defect) = defects.iter().find(|d| matches!(d.code, "length" | "encrypted")) {
            let why = if defect.code == "length" { "the length in the header is wrong" } else { "encrypted, and no cipher is agreed" };
            self.refuse(Reason::BadFrame, why);
            return self.put_aside(why.to_owned(), &frame.body);
        }
        if !self.session.ready(Link::Main) && message.business != 0x1001 {
            self.end = Some(End::Refused(Reason::NotAuthenticated, format!("{:#06x} before the login", message.business)));
            return;
        }
        if message.business == 0x1005 {
            self.beats.push_back((link, self.desk.place(), message));
            return;
        }
        let effects = self.session.on(Event::Heard(link, &message), self.now_us());
        for effect in effects {
            match effect {
                Effect::Business(_, message) => {
                    // As with JT/T 808: an alarm bit is not lost for a bad place, and a person can look at what came.
                    if let Some(defect) = defects.iter().find(|d| is_worth_a_look(d.code) || d.code == "position") {
                        self.refuse(Reason::Unreadable, format_args!("{} at byte {} of a body", defect.code, defect.at));
                        self.put_aside(format!("message {:#06x}: {} at byte {}", message.business, defect.code, defect.at), &frame.body);
                    }
                    self.business(&message, frame);
                }
                other => self.effect(other),
            }
        }
    }

    fn answer_beats(&mut self) {
        while let Some((link, place, _)) = self.beats.front()
            && self.desk.is_kept(*place)
        {
            let link = *link;
            let Some((_, _, beat)) = self.beats.pop_front() else { return };
            self.on(Event::Heard(link, &beat));
        }
    }

    fn on(&mut self, event: Event<'_>) {
        let effects = self.session.on(event, self.now_us());
        effects.into_iter().for_each(|effect| self.effect(effect));
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Send(link, message) => self.send(link, &message),
            Effect::Judge(login) => self.judge(&login),
            Effect::Open(_) => {
                if let Some((ip, port)) = self.down {
                    let tls = self.platform().tls.clone();
                    self.connecting = Some(Box::pin(async move { connect(&ip.to_string(), port, tls, CONNECT_WITHIN).await }));
                }
            }
            Effect::Close(Link::Main) => self.end = Some(End::Closed),
            Effect::Close(Link::Other) => self.close_other(),
            Effect::Ready(link) => self.ready(link),
            Effect::Refused(_, code) => self.refuse(Reason::Violation, format_args!("the other link was refused with {code}")),
            Effect::Business(..) => {}
        }
    }

    fn send(&mut self, link: Link, message: &Message) {
        let clock = self.ctx().clock.clone();
        let Some(line) = self.line(link) else { return };
        let Err(error) = line.send(message, &*clock) else { return };
        if link == Link::Main {
            self.end = Some(End::Refused(Reason::SlowReader, error.to_string()));
        } else {
            self.lost_other(1);
        }
    }

    fn close_other(&mut self) {
        self.connecting = None;
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
                let line = Line::new(stream, &self.ctx().limits, &self.platform().agreed);
                self.other = Some(line);
                self.on(Event::Opened(Link::Other));
            }
            Err(error) => {
                self.refuse(Reason::Connections, format_args!("the other link cannot be opened: {error}"));
                self.on(Event::Closed(Link::Other, 1));
            }
        }
    }

    fn ready(&mut self, link: Link) {
        self.lamps.set(link, true);
        if link == Link::Other {
            return;
        }
        let before = self.taker.current.lock().unwrap_or_else(PoisonError::into_inner).insert(self.n, (self.number, self.token.clone()));
        if let Some((_, before)) = before {
            before.cancel();
        }
        (self.was_up, self.counted.1) = (true, self.ctx().clock.now());
        tracing::info!(protocol = "jt809", platform = self.name, "platform {} logged in from {}", self.name, self.ip);
        let detail = json!({ "platform": self.name, "from": self.ip.to_string() }).to_string();
        self.desk.event(&self.name.clone(), "platform_up", detail);
    }

    /// Judges a login. A right one is answered at once, a wrong one later with every failure of its address.
    fn judge(&mut self, login: &Message) {
        let verdict = self.verdict(login);
        let mut at = Instant::now();
        if let Err(code) = verdict {
            at += self.ctx().gate.failed(self.ip, std::time::Instant::now());
            let why = ["", "address", "access code", "user", "password"].get(usize::from(code)).copied().unwrap_or("other");
            self.refuse(Reason::Credentials, format_args!("a login from {} is refused for its {why}", self.ip));
        }
        if at <= Instant::now() {
            return self.on(Event::Judged(verdict));
        }
        self.judged = Some((at, verdict));
    }

    fn verdict(&mut self, login: &Message) -> Result<u32, u8> {
        let platform = self.platform();
        if !platform.is_from(self.ip) {
            return Err(ADDRESS);
        }
        let values = login.record().ok_or(NOT_REGISTERED)?;
        let agreed = &platform.agreed;
        if agreed.edition == Edition::V2019 && values.number("access_code") != Some(agreed.access_code.into()) {
            return Err(ACCESS_CODE);
        }
        let user = values.number("user_id") == Some(agreed.user_id.into());
        // Compared whatever the user is, so that the answer takes the same time.
        let right = bool::from(values.text("password").unwrap_or_default().as_bytes().ct_eq(agreed.password.0.as_bytes()));
        if !user {
            return Err(NOT_REGISTERED);
        }
        if !right {
            return Err(PASSWORD);
        }
        let port = values.number("down_port").and_then(|n| u16::try_from(n).ok()).unwrap_or(0);
        let address = values.text("down_address").unwrap_or_default().trim();
        self.down = match (address, port) {
            ("", _) | (_, 0) => None,
            (address, port) => {
                // Never a name: who answers for names is not ours to trust. Never an address that nobody configured.
                let ip = address.parse::<IpAddr>().map_err(|_| ADDRESS)?;
                if !platform.is_from(ip) {
                    return Err(ADDRESS);
                }
                Some((ip, port))
            }
        };
        let mut code = [0; 4];
        getrandom::fill(&mut code).map_err(|_| 6u8)?;
        Ok(u32::from_be_bytes(code))
    }

    fn put_aside(&self, reason: String, bytes: &[u8]) {
        if self.ctx().gate.take(&format!("jt809 {}", self.name), std::time::Instant::now()).is_ok() {
            self.ctx().quarantine(Protocol::Jt809, &self.name, reason, bytes);
        }
    }

    fn business(&mut self, message: &Message, frame: &Frame) {
        let sub = message.part.as_ref().map_or(0, |part| part.sub);
        match sub {
            0x1201 => self.registration(message, frame),
            0x1202 | 0x1203 => self.positions(message, frame, sub == 0x1203),
            sub => match event_of(sub) {
                Some(kind) => self.said(message, kind),
                None => {
                    self.ctx().stats.link(Protocol::Jt809).refuse(Reason::Unsupported);
                    unhandled(message);
                }
            },
        }
    }

    /// Something worth an event: of the vehicle if it is heard here, else of the platform.
    fn said(&mut self, message: &Message, kind: &'static str) {
        let text = detail(message, self.platform().agreed.edition, &self.name);
        let named = message.part.as_ref().and_then(|part| part.vehicle.as_ref()).map(|v| (v.plate(), v.colour));
        let plate = named.or_else(|| {
            let values = message.record()?;
            Some((values.text("plate")?.to_owned(), u8::try_from(values.number("plate_colour")?).ok()?))
        });
        let key = plate.map(|(plate, colour)| (anlan_protocols::jt809::Vehicle::new(&plate, colour).plate_raw.to_vec(), colour, plate));
        let heard = key.and_then(|(raw, colour, plate)| match self.standing(&(raw, colour), &plate) {
            Standing::Heard(phone) => Some(phone),
            Standing::Not(..) => None,
        });
        match heard {
            Some(phone) => {
                let n = text.len();
                let event = SourceEvent::Platform { kind, detail: text };
                let source = Source::Terminal { phone, trust: Trust::Platform };
                self.desk.put(Content::event(source, self.ctx().clock.now(), event), n);
            }
            None => self.desk.event(&self.name.clone(), kind, text),
        }
    }

    /// 0x1201 says which terminal a plate has.
    fn registration(&mut self, message: &Message, frame: &Frame) {
        let Some((vehicle, values)) = message.part.as_ref().and_then(|p| p.vehicle.as_ref()).zip(message.record()) else {
            self.refuse(Reason::Unreadable, "a registration (0x1201) that cannot be read");
            return self.put_aside("a registration (0x1201) that cannot be read".into(), &frame.body);
        };
        let key = (vehicle.plate_raw.to_vec(), vehicle.colour);
        if !self.vehicles.contains_key(&key) && self.vehicles.len() >= VEHICLES_MAX {
            return self.refuse(Reason::Quota, "too many vehicles of one platform");
        }
        let sim = values.text("sim").map(|sim| normal_phone(sim.trim()).to_owned());
        let sim = sim.filter(|sim| *sim != "0" && sim.bytes().all(|b| b.is_ascii_digit()));
        let known = self.vehicles.entry(key.clone()).or_default();
        if known.sim != sim {
            (known.sim, known.stands) = (sim, None);
        }
        let standing = self.standing(&key, &vehicle.plate());
        if let Standing::Heard(phone) = &standing
            && !self.taker.fleet.by_phone(phone).is_some_and(|v| v.adopted)
        {
            let text = |name| values.text(name).unwrap_or_default();
            let event = SourceEvent::Registered {
                plate: vehicle.plate(),
                plate_colour: vehicle.colour,
                terminal: format!("{}/{}/{}", text("producer"), text("model"), text("terminal")),
            };
            let source = Source::Terminal { phone: phone.clone(), trust: Trust::Platform };
            self.desk.put(Content::event(source, self.ctx().clock.now(), event), frame.body.len());
        }
        if let Standing::Not(reason, why) = standing {
            self.not_heard(&key, reason, why, &frame.body);
        }
        if self.platform().agreed.edition == Edition::V2019 {
            let values = [("source_type", 0x1201), ("source_serial", u64::from(frame.header.serial)), ("result", 0)];
            let values = Record(values.into_iter().map(|(name, n)| (name, Value::Number(n))).collect());
            let link = if self.session.ready(Link::Other) { Link::Other } else { Link::Main };
            if let Some(answer) = Message::sub(Edition::V2019, 0x9200, None, 0x9201, values) {
                self.send(link, &answer);
            }
        }
    }

    /// Put aside once, counted always.
    fn not_heard(&mut self, key: &(Vec<u8>, u8), reason: Reason, why: &'static str, body: &[u8]) {
        self.refuse(reason, why);
        let Some(known) = self.vehicles.get_mut(key).filter(|known| !known.put_aside) else { return };
        known.put_aside = true;
        if reason == Reason::UnknownSource {
            return;
        }
        let source = known.sim.clone().unwrap_or_else(|| self.name.clone());
        self.ctx().quarantine(Protocol::Jt809, &source, format!("platform {}: {why}", self.name), body);
    }

    /// Who a vehicle is here; remembered until the fleet changes.
    fn standing(&mut self, key: &(Vec<u8>, u8), plate: &str) -> Standing {
        let generation = self.taker.fleet.generation();
        if !self.vehicles.contains_key(key) && self.vehicles.len() >= VEHICLES_MAX {
            return Standing::Not(Reason::Quota, "too many vehicles of one platform");
        }
        let known = self.vehicles.entry(key.clone()).or_default();
        if let Some((at, stands)) = &known.stands
            && *at == generation
        {
            return stands.clone();
        }
        let sim = known.sim.clone();
        let stands = self.find(plate, sim.as_deref());
        if let Some(known) = self.vehicles.get_mut(key) {
            known.stands = Some((generation, stands.clone()));
        }
        stands
    }

    fn find(&self, plate: &str, sim: Option<&str>) -> Standing {
        let fleet = &self.taker.fleet;
        let same = if plate_key(plate).is_empty() { Vec::new() } else { fleet.by_plate(plate) };
        let by_number = sim.and_then(|sim| fleet.by_phone(sim));
        let found: Option<&FleetVehicle> = match (same.as_slice(), &by_number) {
            ([one], _) => Some(one),
            ([], Some(v)) if v.plate.is_empty() => Some(v),
            ([], Some(_)) => {
                return Standing::Not(Reason::ForeignDevice, "the number of its terminal is that of a vehicle with another plate");
            }
            ([], None) => None,
            // Plates of two colours may have the same text; no colour is kept here, so the number decides.
            (several, _) => match several.iter().find(|v| Some(v.phone.as_str()) == sim) {
                Some(one) => Some(one),
                None => return Standing::Not(Reason::Quarantined, "several vehicles have this plate, and its number is that of none"),
            },
        };
        let by_policy = |phone: &str| match self.taker.unknown {
            Unknown::Accept => Standing::Heard(phone.to_owned()),
            Unknown::Quarantine => Standing::Not(Reason::Quarantined, "the vehicle is not adopted"),
            Unknown::Refuse => Standing::Not(Reason::UnknownSource, "the vehicle is not known here"),
        };
        match (found, sim) {
            (Some(v), _) if v.adopted => {
                let own = self.platform().region.as_ref().is_none_or(|own| v.region.as_ref().is_some_and(|region| own.holds(region)));
                if own {
                    Standing::Heard(v.phone.clone())
                } else {
                    Standing::Not(Reason::ForeignDevice, "the vehicle is of another territory")
                }
            }
            (Some(v), _) => by_policy(&v.phone),
            (None, Some(sim)) => by_policy(sim),
            (None, None) => Standing::Not(Reason::Quarantined, "no vehicle has this plate, and no registration (0x1201) named its number"),
        }
    }

    fn positions(&mut self, message: &Message, frame: &Frame, backfill: bool) {
        let edition = self.platform().agreed.edition;
        let Some(vehicle) = message.part.as_ref().and_then(|p| p.vehicle.clone()) else {
            self.refuse(Reason::Unreadable, "positions of no vehicle");
            return self.put_aside("positions of no vehicle".into(), &frame.body);
        };
        let (placed, n_unread) = positions(message, edition);
        if n_unread > 0 {
            self.refuse(Reason::Unreadable, format_args!("{n_unread} positions cannot be read"));
            self.put_aside(format!("{n_unread} positions cannot be read"), &frame.body);
        }
        let key = (vehicle.plate_raw.to_vec(), vehicle.colour);
        let phone = match self.standing(&key, &vehicle.plate()) {
            Standing::Heard(phone) => phone,
            Standing::Not(reason, why) => return self.not_heard(&key, reason, why, &frame.body),
        };
        let mut content = Content::new(Source::Terminal { phone: phone.clone(), trust: Trust::Platform }, self.ctx().clock.now());
        for one in &placed {
            if one.encrypted {
                self.refuse(Reason::Unsupported, format_args!("an encrypted position of {}", masked(&phone)));
                self.put_aside("a position whose coordinates are encrypted".into(), &one.bytes);
                continue;
            }
            content.positions.push(raw_position(&one.position, &one.bytes, backfill));
        }
        if let Some(newest) = placed.last().filter(|_| !backfill)
            && let Some(known) = self.vehicles.get_mut(&key)
            && known.alarms != newest.platform_alarms
        {
            known.alarms.clone_from(&newest.platform_alarms);
            if !known.alarms.is_empty() {
                let words: Vec<_> = known.alarms.iter().map(|(by, bits)| json!({ "by": by, "bits": format!("{bits:#010x}") })).collect();
                let detail = json!({ "platform": self.name, "sub_name": message_name(0x1202), "alarms": words }).to_string();
                content.events.push(SourceEvent::Platform { kind: "platform_alarm", detail });
            }
        }
        if content.positions.is_empty() && content.events.is_empty() {
            return;
        }
        self.desk.put(content, frame.body.len());
    }
}
