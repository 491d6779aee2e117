//! MQTT 3.1.1 and 5 for devices: a server that acknowledges what is kept, and nothing else a broker does.
//!
//! The protocol's rules are `anlan_protocols::mqtt::Session`; this file owns the socket, the credentials, the topics and the
//! way to the shards. One task per connection. Start at [`serve`], then `Connection::event`.
//!
//! - user = device code, password = its secret. `anlan/v1/{device}/telemetry` (JSON), `…/line` (line protocol, nanoseconds),
//!   `…/status` (any text: a data-quality event), `…/answer` from the device, `…/command` to it. A gateway may name a device of
//!   its own enterprise.
//! - PUBACK and PUBREC after the sync, also for a repeat. A session (3.1.1: no clean session; 5: expiry) outlives its connection
//!   for an hour at most, in memory: what is kept at QoS 2 is not handed on again, commands that were not acknowledged come again.
//! - A will on a topic the device may publish to is published when the connection ends without DISCONNECT: on `…/telemetry` and
//!   `…/line` a reading, on `…/status` the event `device_lost`. Any other will is refused and counted, the connection is not.
//! - A full shard: version 5 is told 0x97; 3.1.1 has no word for it, so the message
//!   is offered again with growing pauses while the connection lives.
//! - A payload that cannot be read goes to the quarantine, then 0x99 (3.1.1: a plain PUBACK). What could be read of it is kept.
//! - Back-fill without the right, a foreign device or topic: 0x87; 3.1.1 is closed.
//! - A command is published as `{"id":"7","command":<payload>}`; the answer is `{"id":"7","ok":true,"detail":…}`.
//! - The same client id again: the first connection is closed (0x8E) and an event raised. An empty client id is never "the same".

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anlan_model::{Command, CommandBody, Credentials, DeviceCredential, Refusal, Source, SourceEvent, Timestamp};
use anlan_protocols::mqtt::codec::{Fault, Qos, Version};
use anlan_protocols::mqtt::server::{
    Closed, ConnectRefusal, Event, LastWill, Limits as SessionLimits, PubResult, ServerClose, Session, Token,
};
use foldhash::fast::RandomState;
use rustls::ServerConfig;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::downlink::Peer;
use crate::limits::Held;
use crate::offer::{self, Content, Offers, Post};
use crate::payload::{self, Form, Memory, Problem, Routed, Speaker};
use crate::wire::{Moved, Stream, Wire, listen};
use crate::{Context, Protocol, Reason, trust};

mod after;

pub(crate) use after::Afterlife;
use after::{Dying, Name, Will};

/// A payload above this size is read on a thread of its own: it costs more than half a millisecond.
const INLINE_BYTES: usize = 32 << 10;

/// Bytes that somebody without a credential may make us hold.
const STRANGER_BYTES: usize = 64 << 10;

/// How often a connection looks whether its credential still holds.
const CREDENTIAL_CHECK: Duration = Duration::from_secs(1);

/// Serves MQTT on `listener`, over TLS if there is a configuration for it, until the context stops; then closes its sessions
/// (version 5 is told why).
pub async fn serve(listener: TcpListener, tls: Option<Arc<ServerConfig>>, ctx: Arc<Context>) {
    let (shared, dying, post) = (ctx.clone(), ctx.clone(), Arc::new(Post::default()));
    let posted = post.clone();
    let session = move |stream, address| connection(stream, address, shared.clone(), posted.clone());
    let connections = listen(listener, tls, ctx, Protocol::Mqtt, session);
    let served = async {
        tokio::join!(connections, after::publish_wills(dying, last_words));
    };
    tokio::select! {
        () = served => {}
        () = post.deliver() => {}
    }
}

async fn connection(stream: Stream, address: SocketAddr, ctx: Arc<Context>, post: Arc<Post>) {
    let mut wire = Wire::new(stream, &ctx.limits);
    let mut connection = Connection::new(ctx.clone(), address, post);
    connection.run(&mut wire).await;
    if let Some(device) = &connection.device {
        ctx.downlinks.leave_device(&device.code, connection.peer.connection);
    }
    tokio::join!(wire.close(), connection.leave());
}

/// Whose topic `anlan/v1/{device}/{leaf}` is, and its leaf, if the device `code` may speak there.
fn topic_of<'a>(snapshot: &'a Credentials, code: &str, topic: &'a str) -> Option<(&'a str, &'a str, &'a DeviceCredential)> {
    let (named, leaf) = topic.strip_prefix("anlan/v1/")?.split_once('/')?;
    let own = snapshot.devices.get(code)?;
    Some((named, leaf, trust::spoken_for(snapshot, code, own, named)?))
}

/// What a data-quality event keeps of a status text.
fn status_text(payload: &[u8]) -> String {
    String::from_utf8_lossy(payload).chars().take(200).collect()
}

/// What a topic means, and who is believed there.
struct Route {
    /// The snapshot of credentials that says so.
    snapshot: Weak<Credentials>,
    topic: Arc<str>,
    named: Arc<str>,
    leaf: Leaf,
    /// Of the device named. A gateway on another device's topic speaks as that device, with the gateway's own right to back-fill.
    credential: DeviceCredential,
}

/// What may be said on a topic.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaf {
    Readings(Form),
    Status,
    Answer,
}

impl Route {
    /// `None`: the device `code` may not publish there.
    fn find(snapshot: &Arc<Credentials>, code: &str, topic: &Arc<str>) -> Option<Self> {
        let (named, leaf, credential) = topic_of(snapshot, code, topic)?;
        let leaf = match leaf {
            "telemetry" => Leaf::Readings(Form::Json),
            "line" => Leaf::Readings(Form::Line(Default::default())),
            "status" => Leaf::Status,
            "answer" if named == code => Leaf::Answer,
            _ => return None,
        };
        let may_backfill = snapshot.devices.get(code).is_some_and(|own| own.may_backfill);
        let credential = DeviceCredential { may_backfill, ..credential.clone() };
        Some(Self { snapshot: Arc::downgrade(snapshot), topic: topic.clone(), named: named.into(), leaf, credential })
    }

    /// Whether it still says what `topic` means.
    fn holds(&self, snapshot: &Arc<Credentials>, topic: &str) -> bool {
        is_of(&self.snapshot, snapshot) && *self.topic == *topic
    }
}

/// Whether `seen` is this very snapshot. A weak pointer keeps its address from being used again, not what was there.
fn is_of(seen: &Weak<Credentials>, snapshot: &Arc<Credentials>) -> bool {
    std::ptr::eq(seen.as_ptr(), Arc::as_ptr(snapshot))
}

/// Reads a payload that `source` sent; one that has unreadable parts is put aside whole. `generation` was asked before `route` was found.
fn read(ctx: &Context, source: &str, generation: u64, form: Form, payload: &[u8], route: &Route, received_at: Timestamp) -> Routed {
    let memory = Memory { generation, ..ctx.memory() };
    let speaker = Speaker { code: &route.named, credential: &route.credential, protocol: Protocol::Mqtt.as_str(), backfill: false };
    let routed = payload::read(form, payload, memory, &ctx.credentials.load(), speaker, received_at, &ctx.limits);
    if let Some(first) = routed.problems.iter().find(|p| p.reason == Reason::Unreadable) {
        ctx.quarantine(Protocol::Mqtt, source, first.to_string(), payload);
    }
    routed
}

/// What a will says, as batches. Its device may have been disabled meanwhile; then nobody believes it any more.
fn last_words(ctx: &Context, dying: &Dying) -> Vec<Content> {
    let LastWill { topic, payload, .. } = &dying.will.will;
    let (code, received_at, generation) = (dying.name.0.as_str(), ctx.clock.now(), ctx.intake.generation());
    let snapshot = ctx.credentials.load_full();
    let trusted = snapshot.devices.get(code).is_some_and(|own| !own.disabled);
    let found = Route::find(&snapshot, code, &topic.as_str().into()).filter(|_| trusted);
    let Some(route) = found else { return Vec::new() };
    tracing::warn!(protocol = "mqtt", source = code, "{code} is gone without a word; its will is published on {topic:?}");
    ctx.stats.link(Protocol::Mqtt).heard(received_at);
    let Leaf::Readings(form) = route.leaf else {
        let source = Source::Device { device: route.credential.device, protocol: Protocol::Mqtt.as_str() };
        let event = SourceEvent::Status { text: status_text(payload), lost: true };
        return vec![Content::event(source, received_at, event)];
    };
    let routed = read(ctx, code, generation, form, payload, &route, received_at);
    if let Some(worst) = payload::worst(&routed.problems) {
        ctx.refuse(Protocol::Mqtt, worst.reason, code, format_args!("will: {worst}"));
    }
    routed.contents
}

/// Who is connected.
struct Device {
    code: String,
    /// The client id, or a name of our own if it sent none.
    client: String,
    /// As it was when it connected: a new secret ends the connection.
    credential: DeviceCredential,
}

/// A PUBLISH on its way; it may hold batches for several devices.
struct Message {
    /// `None` for events of our own.
    token: Option<Token>,
    qos: Qos,
    n_out: usize,
    /// What to say once everything is kept.
    result: PubResult,
    refused: Option<Refusal>,
    _held: Option<Held>,
}

/// A batch that is out: of one message, or of several that came in one read.
struct Out {
    messages: Vec<u64>,
    n_readings: u64,
    /// Kept only if a full shard must not lose it: 3.1.1 at QoS 1 and our own events.
    again: Option<Content>,
    attempt: u32,
}

/// A batch about to go out.
struct Gathered {
    content: Content,
    messages: Vec<u64>,
    patient: bool,
}

struct Connection {
    ctx: Arc<Context>,
    address: SocketAddr,
    peer: Peer,
    commands: mpsc::Receiver<Command>,
    session: Session,
    device: Option<Device>,
    /// The snapshot of credentials in which the device was last found to be trusted.
    trusted_in: Weak<Credentials>,
    /// What was spoken of last: most devices use one topic.
    route: Option<Arc<Route>>,
    will: Option<Will>,
    /// How it ended; `None` if the socket broke or we gave it up.
    ended: Option<Closed>,
    /// Why we refused its CONNECT; the session refuses some by itself.
    refused_connect: Option<ConnectRefusal>,
    offers: Offers,
    /// What the packets at hand brought; it goes out together once they are all read.
    gathered: Vec<Gathered>,
    messages: HashMap<u64, Message, RandomState>,
    out: HashMap<u64, Out, RandomState>,
    reoffers: Vec<(Instant, u64)>,
    next_id: u64,
    n_qos0: usize,
    started: Instant,
    next_check: Instant,
}

impl Connection {
    fn new(ctx: Arc<Context>, address: SocketAddr, post: Arc<Post>) -> Self {
        let limits = &ctx.limits;
        let (sender, commands) = mpsc::channel(limits.max_downlinks.max(1));
        let small = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        let session_limits = SessionLimits {
            packet_max: limits.max_message_bytes,
            inflight_max: small(limits.max_inflight),
            downlink_max: small(limits.max_downlinks),
            connect_timeout_us: limits.first_message_timeout_ms.saturating_mul(1_000),
            keep_alive_max_s: u16::try_from(limits.mqtt_idle_timeout_s).unwrap_or(u16::MAX),
            session_expiry_max_s: limits.mqtt_session_expiry_s,
            ..SessionLimits::default()
        };
        let now = Instant::now();
        Self {
            peer: Peer { connection: ctx.downlinks.connection_id(), address, commands: sender, changed: Arc::default() },
            commands,
            session: Session::new(session_limits, 0),
            device: None,
            trusted_in: Weak::new(),
            route: None,
            will: None,
            ended: None,
            refused_connect: None,
            offers: Offers::through(ctx.intake.clone(), post),
            gathered: Vec::new(),
            messages: HashMap::default(),
            out: HashMap::default(),
            reoffers: Vec::new(),
            next_id: 0,
            n_qos0: 0,
            started: now,
            next_check: now + CREDENTIAL_CHECK,
            ctx,
            address,
        }
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn source(&self) -> String {
        self.device.as_ref().map_or_else(|| self.address.to_string(), |d| d.code.clone())
    }

    fn refuse(&self, reason: Reason, detail: impl std::fmt::Display) {
        self.ctx.refuse(Protocol::Mqtt, reason, &self.source(), detail);
    }

    /// Moves bytes, answers and commands until the session has ended; what is owed then is left in `wire`.
    async fn run(&mut self, wire: &mut Wire) {
        let mut buffer = vec![0u8; 8 << 10];
        let idle = Duration::from_secs(self.ctx.limits.mqtt_idle_timeout_s);
        let mut heard_at = Instant::now();
        let mut n_received = 0usize;
        // Set when the node stops: what is out may still be kept and acknowledged, nothing new is read.
        let mut leaves_by: Option<Instant> = None;
        let (changed, stop) = (self.peer.changed.clone(), self.ctx.stop.clone());
        let (mut stopped, mut changes) = (pin!(stop.cancelled()), pin!(changed.notified()));
        // Set again only for something earlier, or after it rang: what is put off again and again would cost a timer each time.
        let mut alarm = pin!(tokio::time::sleep_until(self.next_check));
        loop {
            if leaves_by.is_some_and(|by| self.out.is_empty() || Instant::now() >= by) {
                self.session.close(ServerClose::ShuttingDown);
            }
            while let Some(event) = self.session.next_event() {
                if let Event::Closed(why) = event {
                    self.send();
                    self.closed(&why);
                    self.ended = Some(why);
                    let _ = wire.push(&self.session.take_output());
                    return;
                }
                self.event(event).await;
            }
            self.send();
            let output = self.session.take_output();
            if !output.is_empty() {
                if wire.push(&output).is_err() {
                    self.refuse(Reason::SlowReader, "the client does not read what it is sent");
                    return;
                }
                if wire.write_at_once().is_err() {
                    return;
                }
            }
            let may_read = self.session.wants_input() && leaves_by.is_none();
            let session_due = self.session.deadline_us().map(|us| self.started + Duration::from_micros(us));
            let wake = self
                .reoffers
                .iter()
                .map(|(at, _)| *at)
                .chain(session_due)
                .chain([heard_at + idle])
                .chain(leaves_by)
                .fold(self.next_check, Instant::min);
            if alarm.is_elapsed() || wake < alarm.deadline() {
                alarm.as_mut().reset(wake);
            }
            tokio::select! {
                biased;
                () = stopped.as_mut(), if leaves_by.is_none() => leaves_by = Some(Instant::now() + crate::wire::DRAIN),
                () = changes.as_mut() => {
                    changes.set(changed.notified());
                    self.look_who_holds_what();
                }
                answer = self.offers.next() => {
                    self.answered(answer);
                    // Those of one sync come together, and are acknowledged with one write.
                    while let Some(answer) = self.offers.at_hand() {
                        self.answered(answer);
                    }
                }
                Some(command) = self.commands.recv() => self.command(&command),
                () = alarm.as_mut() => {
                    let now = Instant::now();
                    if now >= heard_at + idle {
                        if may_read {
                            self.refuse(Reason::Idle, "nothing heard in time");
                            return;
                        }
                        // What it says waits unread: its silence is our doing.
                        heard_at = now;
                    }
                    self.tick(now);
                }
                moved = wire.step(&mut buffer, may_read) => match moved {
                    Ok(Moved::Read(0)) => return,
                    Ok(Moved::Read(n)) => {
                        heard_at = Instant::now();
                        n_received += n;
                        if self.device.is_none() && n_received > STRANGER_BYTES {
                            self.refuse(Reason::TooLarge, "too many bytes before a credential");
                            return;
                        }
                        let now_us = self.now_us();
                        self.session.input(&buffer[..n], now_us);
                    }
                    Ok(Moved::Wrote) => {}
                    Err(error) => {
                        if error.kind() == std::io::ErrorKind::TimedOut {
                            self.refuse(Reason::SlowReader, error);
                        }
                        return;
                    }
                },
            }
        }
    }

    fn closed(&self, why: &Closed) {
        let reason = match why {
            Closed::ByClient(_) | Closed::ByServer(ServerClose::ShuttingDown) => {
                return tracing::debug!(protocol = "mqtt", source = self.source(), "{} left: {}", self.source(), why.code());
            }
            Closed::KeepAlive | Closed::ConnectTimeout => Reason::Idle,
            Closed::Refused(text) if self.refused_connect.is_none() => return self.refuse(Reason::Violation, text),
            // Counted where it was decided.
            Closed::Refused(_) | Closed::NotAuthorized | Closed::ByServer(_) => {
                return tracing::debug!(protocol = "mqtt", source = self.source(), "closed {}: {}", self.source(), why.code());
            }
            Closed::Malformed(error) if matches!(error.fault, Fault::TooLarge { .. }) => return self.refuse(Reason::TooLarge, error),
            Closed::Malformed(error) => return self.refuse(Reason::Violation, error),
            Closed::Violation(text) => return self.refuse(Reason::Violation, text),
        };
        self.refuse(reason, why.code());
    }

    async fn event(&mut self, event: Event) {
        match event {
            Event::Connect { client_id, username, password, clean, will, .. } => {
                self.connect(client_id, username.unwrap_or_default(), password.unwrap_or_default(), clean, will).await;
            }
            Event::Publish { token, topic, payload, qos, .. } => self.publish(token, topic, payload, qos).await,
            Event::Subscribe { packet_id, filters } => {
                let wanted = self.command_topic();
                let granted: Vec<bool> = filters.iter().map(|f| *f == wanted).collect();
                if granted.contains(&false) {
                    self.refuse(Reason::Topic, "a subscription to anything but its own command topic");
                }
                self.session.suback(packet_id, &granted);
                if granted.contains(&true) {
                    self.subscribed(true);
                }
            }
            Event::Unsubscribe { filters } => {
                if filters.contains(&self.command_topic()) {
                    self.subscribed(false);
                }
            }
            // The device's answer closes a command, its PUBACK does not.
            Event::Delivered { .. } | Event::Closed(_) => {}
        }
    }

    fn command_topic(&self) -> String {
        self.device.as_ref().map_or_else(String::new, |d| format!("anlan/v1/{}/command", d.code))
    }

    fn subscribed(&self, yes: bool) {
        if let Some(device) = &self.device {
            self.ctx.downlinks.subscribe_device(&device.code, &device.client, self.peer.connection, yes);
        }
    }

    async fn connect(&mut self, client_id: String, code: String, secret: Vec<u8>, clean: bool, will: Option<LastWill>) {
        let found = trust::device(&self.ctx.credentials.load(), &code, &secret).cloned();
        let Some(credential) = found else {
            self.refuse(Reason::Credentials, "wrong device code or secret");
            let delay = self.ctx.gate.failed(self.address.ip(), std::time::Instant::now());
            tokio::select! {
                () = self.ctx.stop.cancelled() => {}
                () = tokio::time::sleep(delay) => {}
            }
            return self.refuse_connect(ConnectRefusal::BadCredentials);
        };
        let client = if client_id.is_empty() { format!("\0{}", self.peer.connection) } else { client_id };
        let source = Source::Device { device: credential.device, protocol: Protocol::Mqtt.as_str() };
        let entered = self.ctx.downlinks.enter_device(&code, &client, self.peer.clone());
        let name: Name = (code.clone(), client.clone());
        self.device = Some(Device { code, client, credential });
        match entered {
            Ok(before) => {
                self.will = will.and_then(|will| self.accept_will(will));
                self.resume(&name, clean).await;
                if let Some(from) = before {
                    tracing::warn!(protocol = "mqtt", source = self.source(), "{} moved from {from} to {}", self.source(), self.address);
                    let event = SourceEvent::TakenOver { from: from.to_string(), by: self.address.to_string() };
                    let content = Content::event(source, self.ctx.clock.now(), event);
                    self.put(None, Qos::AtMostOnce, vec![content], PubResult::Ok, None);
                }
            }
            Err(_) => {
                self.refuse(Reason::Connections, "too many clients of this device");
                self.refuse_connect(ConnectRefusal::ServerBusy);
            }
        }
    }

    /// Lets the client in, with the session it had if it wants that and there is one.
    async fn resume(&mut self, name: &Name, clean: bool) {
        let ctx = self.ctx.clone();
        let lasts = self.session.session_expiry_s() > 0;
        let remembered = tokio::select! {
            () = ctx.stop.cancelled() => None,
            found = ctx.afterlife.begin(name, self.peer.connection, clean, lasts, ctx.limits.max_connections) => found,
        };
        match remembered {
            None => self.session.accept(),
            Some(remembered) => {
                let wanted = self.command_topic();
                let takes_commands = remembered.subscriptions().any(|topic| topic == wanted);
                self.session.accept_again(remembered);
                if takes_commands {
                    self.subscribed(true);
                }
            }
        }
    }

    /// The will, if it may be published and there is memory for it; otherwise that is counted and said.
    fn accept_will(&self, will: LastWill) -> Option<Will> {
        let code = self.device.as_ref()?.code.as_str();
        let snapshot = self.ctx.credentials.load();
        if !topic_of(&snapshot, code, &will.topic).is_some_and(|(_, leaf, _)| matches!(leaf, "telemetry" | "line" | "status")) {
            let shown: String = will.topic.chars().take(80).collect();
            self.refuse(Reason::Topic, format_args!("a will on {shown:?} is not taken"));
            return None;
        }
        let held = self.ctx.gate.hold(will.payload.len());
        if held.is_none() {
            self.refuse(Reason::Overloaded, "no memory for its will");
        }
        Some(Will { will, held: Arc::new(held?) })
    }

    /// After the end: waits for the answers that its session must remember, and leaves session and will behind.
    async fn leave(&mut self) {
        let Some(device) = &self.device else { return };
        let name: Name = (device.code.clone(), device.client.clone());
        let expiry_s = self.session.session_expiry_s();
        if expiry_s > 0 {
            let until = Instant::now() + crate::wire::DRAIN;
            // What waits to be offered again will not be: its device sends it again.
            while self.out.len() > self.reoffers.len()
                && let Ok(answer) = tokio::time::timeout_at(until, self.offers.next()).await
            {
                self.answered(answer);
            }
        }
        self.ctx.afterlife.end(&name, self.peer.connection, self.session.remembered(), expiry_s);
        let Some(will) = self.will.take() else { return };
        let delay_s = will.will.delay_s.min(expiry_s);
        let on_purpose = match &self.ended {
            Some(Closed::ByClient(code)) => *code == 0,
            // We stop, or do not believe the device any more.
            Some(Closed::ByServer(ServerClose::ShuttingDown | ServerClose::Administrative)) => true,
            // It is back already, within the delay it asked for.
            Some(Closed::ByServer(ServerClose::TakenOver)) => delay_s > 0,
            _ => self.ctx.stop.is_cancelled(),
        };
        let delay = Duration::from_secs(delay_s.into());
        if !on_purpose && !self.ctx.afterlife.died(name, will, delay, self.ctx.limits.max_connections) {
            self.refuse(Reason::Overloaded, "too many wills wait");
        }
    }

    fn refuse_connect(&mut self, why: ConnectRefusal) {
        self.refused_connect = Some(why);
        self.session.refuse(why);
    }

    fn look_who_holds_what(&mut self) {
        if let Some(d) = &self.device
            && !self.ctx.downlinks.holds_device(&d.code, &d.client, self.peer.connection)
        {
            self.session.close(ServerClose::TakenOver);
        }
    }

    /// Whether the credential is still the one that connected.
    fn still_trusted(&mut self) -> bool {
        let Some(d) = &self.device else { return true };
        let now = self.ctx.credentials.load();
        if is_of(&self.trusted_in, &now) {
            return true;
        }
        let trusted = now.devices.get(&d.code).is_some_and(|c| !c.disabled && c.secret_hash == d.credential.secret_hash);
        self.trusted_in = if trusted { Arc::downgrade(&now) } else { Weak::new() };
        trusted
    }

    /// What `topic` means to the device now; `None`: it may not publish there.
    fn route(&mut self, topic: &Arc<str>) -> Option<Arc<Route>> {
        let code = self.device.as_ref()?.code.as_str();
        let snapshot = self.ctx.credentials.load();
        if self.route.as_ref().is_none_or(|route| !route.holds(&snapshot, topic)) {
            self.route = Route::find(&snapshot, code, topic).map(Arc::new);
        }
        self.route.clone()
    }

    fn tick(&mut self, now: Instant) {
        let now_us = self.now_us();
        self.session.tick(now_us);
        if now >= self.next_check {
            self.next_check = now + CREDENTIAL_CHECK;
            self.check_trust();
        }
        let due: Vec<u64> = self.reoffers.iter().filter(|(at, _)| *at <= now).map(|(_, id)| *id).collect();
        self.reoffers.retain(|(at, _)| *at > now);
        for id in due {
            if let Some(content) = self.out.get(&id).and_then(|o| o.again.clone()) {
                self.offers.offer(id, content);
            }
        }
    }

    fn check_trust(&mut self) -> bool {
        let trusted = self.still_trusted();
        if !trusted && !self.session.is_closed() {
            self.refuse(Reason::Credentials, "the credential was changed or disabled");
            self.session.close(ServerClose::Administrative);
        }
        trusted
    }

    async fn publish(&mut self, token: Token, topic: Arc<str>, payload: Vec<u8>, qos: Qos) {
        let received_at = self.ctx.clock.now();
        self.ctx.stats.link(Protocol::Mqtt).heard(received_at);
        // Asked before any right is looked at: one that is taken away ends with its generation.
        let mut generation = self.ctx.intake.generation();
        if !self.check_trust() {
            return;
        }
        while let Some(Err(wait)) =
            self.device.as_ref().map(|d| self.ctx.gate.take_of(&d.code, d.credential.enterprise, std::time::Instant::now()))
        {
            if qos == Qos::AtMostOnce || self.session.version() == Version::V5 {
                self.refuse(Reason::Rate, "more messages than allowed");
                return self.session.ack(token, PubResult::QuotaExceeded);
            }
            // 3.1.1 cannot be told: not reading on slows its sender.
            self.send();
            tokio::select! {
                () = self.ctx.stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            generation = self.ctx.intake.generation();
        }
        let Some(route) = self.route(&topic) else { return self.forbidden(token, &topic) };
        let form = match route.leaf {
            Leaf::Readings(form) => form,
            Leaf::Status => {
                let source = Source::Device { device: route.credential.device, protocol: Protocol::Mqtt.as_str() };
                let event = SourceEvent::Status { text: status_text(&payload), lost: false };
                return self.put(Some(token), qos, vec![Content::event(source, received_at, event)], PubResult::Ok, None);
            }
            Leaf::Answer => return self.command_answer(token, qos, &payload, &route.credential, received_at),
        };
        if qos == Qos::AtMostOnce && self.n_qos0 >= self.ctx.limits.max_inflight {
            self.refuse(Reason::Overloaded, "too many messages at QoS 0 wait");
            return self.session.ack(token, PubResult::QuotaExceeded);
        }
        let Some(held) = self.ctx.gate.hold(payload.len().saturating_add(payload::weight(form, &payload))) else {
            self.refuse(Reason::Overloaded, "the node holds too much unsaved data");
            return self.session.ack(token, PubResult::QuotaExceeded);
        };
        let routed = if payload.len() > INLINE_BYTES {
            let (ctx, source) = (self.ctx.clone(), self.source());
            let work = move || read(&ctx, &source, generation, form, &payload, &route, received_at);
            tokio::task::spawn_blocking(work).await.unwrap_or_default()
        } else {
            let source = self.device.as_ref().map_or("", |d| d.code.as_str());
            read(&self.ctx, source, generation, form, &payload, &route, received_at)
        };
        self.ctx.stats.link(Protocol::Mqtt).ignored(routed.ignored);
        let result = self.judge(&routed.problems);
        if routed.contents.is_empty() {
            return self.session.ack(token, result);
        }
        self.put(Some(token), qos, routed.contents, result, Some(held));
    }

    fn forbidden(&mut self, token: Token, topic: &str) {
        let shown: String = topic.chars().take(80).collect();
        self.refuse(Reason::Topic, format_args!("may not publish to {shown:?}"));
        self.session.ack(token, PubResult::NotAuthorized);
    }

    /// Counts what is wrong with a payload and says what its sender is to be told.
    fn judge(&self, problems: &[Problem]) -> PubResult {
        let Some(worst) = payload::worst(problems) else { return PubResult::Ok };
        self.refuse(worst.reason, worst);
        match worst.reason {
            Reason::ForeignDevice | Reason::Backfill => PubResult::NotAuthorized,
            _ => PubResult::PayloadInvalid,
        }
    }

    fn command_answer(&mut self, token: Token, qos: Qos, payload: &[u8], credential: &DeviceCredential, received_at: Timestamp) {
        #[derive(serde::Deserialize)]
        struct Answer {
            id: Id,
            ok: bool,
            #[serde(default)]
            detail: serde_json::Value,
        }
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Id {
            Text(String),
            Number(i64),
        }
        let read = serde_json::from_slice::<Answer>(payload).map_err(|error| error.to_string()).and_then(|answer| {
            let command = match &answer.id {
                Id::Number(n) => *n,
                Id::Text(text) => text.parse().map_err(|_| "id is no command id".to_owned())?,
            };
            Ok(SourceEvent::CommandAnswer { command, ok: answer.ok, detail: answer.detail.to_string() })
        });
        match read {
            Ok(event) => {
                let source = Source::Device { device: credential.device, protocol: Protocol::Mqtt.as_str() };
                self.put(Some(token), qos, vec![Content::event(source, received_at, event)], PubResult::Ok, None);
            }
            Err(error) => {
                self.ctx.quarantine(Protocol::Mqtt, &self.source(), format!("answer: {error}"), payload);
                self.refuse(Reason::Unreadable, format_args!("answer: {error}"));
                self.session.ack(token, PubResult::PayloadInvalid);
            }
        }
    }

    /// Offers the batches of one message.
    fn put(&mut self, token: Option<Token>, qos: Qos, contents: Vec<Content>, result: PubResult, held: Option<Held>) {
        let message = self.next_id;
        self.next_id += 1;
        self.n_qos0 += usize::from(qos == Qos::AtMostOnce);
        self.messages.insert(message, Message { token, qos, n_out: contents.len(), result, refused: None, _held: held });
        let patient = token.is_none() || (qos != Qos::AtMostOnce && self.session.version() != Version::V5);
        for content in contents {
            match self.gathered.last_mut().filter(|last| last.patient == patient) {
                Some(last) if last.content.joins(&content) => {
                    last.content.join(content);
                    last.messages.push(message);
                }
                _ => self.gathered.push(Gathered { content, messages: vec![message], patient }),
            }
        }
    }

    /// Offers what was gathered.
    fn send(&mut self) {
        for Gathered { content, messages, patient } in std::mem::take(&mut self.gathered) {
            let id = self.next_id;
            self.next_id += 1;
            let again = patient.then(|| content.clone());
            self.out.insert(id, Out { messages, n_readings: content.count(), again, attempt: 0 });
            self.offers.offer(id, content);
        }
    }

    fn answered(&mut self, (id, result): offer::Answer) {
        let Some(mut out) = self.out.remove(&id) else { return };
        match result {
            Ok(_) => self.ctx.stats.link(Protocol::Mqtt).kept(out.n_readings),
            // The log may come back as a shard does: neither loses a message that was not acknowledged.
            Err(Refusal::Overloaded | Refusal::Storage) if out.again.is_some() => {
                let reason = if result == Err(Refusal::Storage) { Reason::Storage } else { Reason::Overloaded };
                self.ctx.stats.link(Protocol::Mqtt).refuse(reason);
                self.reoffers.push((Instant::now() + self.ctx.limits.reoffer_delay(out.attempt), id));
                out.attempt += 1;
                self.out.insert(id, out);
                return;
            }
            Err(_) => {}
        }
        let refusal = result.err();
        for id in out.messages {
            let Some(message) = self.messages.get_mut(&id) else { continue };
            message.refused = message.refused.or(refusal);
            message.n_out = message.n_out.saturating_sub(1);
            if message.n_out == 0
                && let Some(message) = self.messages.remove(&id)
            {
                self.acknowledge(message);
            }
        }
    }

    /// Everything of the message is kept or refused.
    fn acknowledge(&mut self, message: Message) {
        self.n_qos0 -= usize::from(message.qos == Qos::AtMostOnce);
        let answer = match message.refused {
            None => message.result,
            Some(refusal) => {
                let reason = match refusal {
                    Refusal::Overloaded => Reason::Overloaded,
                    Refusal::UnknownSource => Reason::UnknownSource,
                    Refusal::Storage => Reason::Storage,
                    Refusal::Stopping => Reason::Stopping,
                };
                self.refuse(reason, refusal);
                match refusal {
                    Refusal::UnknownSource => PubResult::NotAuthorized,
                    Refusal::Overloaded | Refusal::Storage => PubResult::QuotaExceeded,
                    // Not acknowledged, so the device sends it again to whoever comes after us.
                    Refusal::Stopping => return self.session.close(ServerClose::ShuttingDown),
                }
            }
        };
        if let Some(token) = message.token {
            self.session.ack(token, answer);
        }
    }

    /// Publishes a command. It stays "sent" until the device answers: the reconciler sends it again if that never comes.
    fn command(&mut self, command: &Command) {
        let CommandBody::Mqtt { payload } = &command.body else { return };
        // A payload that is no JSON travels as a JSON text.
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(payload).is_ok();
        let body = if is_json { payload.clone() } else { json!(payload).to_string() };
        let text = format!(r#"{{"id":"{}","command":{body}}}"#, command.id);
        if let Err(error) = self.session.publish(&self.command_topic(), text.as_bytes(), Qos::AtLeastOnce) {
            tracing::warn!(protocol = "mqtt", source = self.source(), %error, "command {} was not sent: {error}", command.id);
        }
    }
}
