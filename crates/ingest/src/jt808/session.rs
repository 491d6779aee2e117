//! What one JT/T 808 connection knows and decides; it is fed bytes, answers and commands, and yields bytes.
//!
//! Never touches the socket and never waits, so every rule can be read as a plain function. Start at [`Session::bytes`],
//! then [`Session::message`].

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anlan_model::{Command, CommandBody, MediaRefusal, RawMedia, RawPosition, Refusal, Source, SourceEvent, Timestamp, Trust};
use anlan_protocols::jt808::{
    Answer as GeneralAnswer, Assembled, ConfirmAlarm, Defect, EncodeError, Frame, FrameError, Frames, Header, Media, Message, Parameter,
    Position, Reassembly, ReassemblyLimits, Register, RegisterAnswer, Resend, Text, Track, Version, encode, media_answer,
};
use serde_json::json;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::Unknown;
use crate::downlink::Peer;
use crate::limits::Held;
use crate::offer::{self, Content, Files, Offers};
use crate::trust::{is_terminal_code, masked, normal_phone, terminal_code};
use crate::{Context, Protocol, Reason};

/// Results of 0x8001.
const DONE: u8 = 0;
const FAILED: u8 = 1;
const BAD_MESSAGE: u8 = 2;
const UNSUPPORTED: u8 = 3;
/// Results of 0x8100: the terminal is registered already; no such terminal.
const REGISTERED: u8 = 3;
const NO_TERMINAL: u8 = 4;

/// Times that missing parts of one message are asked for.
const ASKED_MAX: u32 = 3;
/// Commands of one terminal whose answer is awaited; the oldest is forgotten first (its row stays "sent").
const AWAITED_MAX: usize = 64;
/// Long messages whose fate is remembered, to answer repeats of their parts truthfully.
const FATES_MAX: usize = 32;
/// Downlinks in parts that are kept for 0x0005.
const SENT_PARTS_MAX: usize = 4;

/// Why a connection ends.
pub(super) enum End {
    /// The terminal closed, or the socket broke.
    Closed,
    /// The node stops.
    Stopping,
    /// We end it.
    Refused(Reason, String),
}

/// What is known about one phone number of this connection.
struct Terminal {
    /// Generation of the code that it gave on this connection; worth nothing once there is a newer one.
    authenticated: Option<i64>,
    /// This connection holds the number in the registry.
    holds: bool,
    /// Another connection took the number; it must authenticate again to take it back (an open one must reconnect).
    lost: bool,
    /// A message of it was quarantined on this connection.
    seen_in_quarantine: bool,
    version: Version,
    /// Digits as on the wire, for what we send.
    wire_phone: String,
    awaited: VecDeque<Awaited>,
}

/// A command that was sent and not yet answered.
struct Awaited {
    command: i64,
    first_serial: u16,
    n_parts: u16,
    /// The message id sent.
    id: u16,
}

/// What a phone number may do now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Adopted; its data counts once it authenticated.
    Adopted,
    Open,
    Quarantined,
    Refused,
}

/// Whom to answer, and with what, once a batch is kept.
#[derive(Clone, Debug)]
enum Promise {
    /// 0x8001.
    General(To),
    /// 0x8100, with the code if it may be told then.
    Registered(To),
    /// Nothing on the wire.
    Silent,
}

/// The message that is answered.
#[derive(Clone, Debug)]
struct To {
    version: Version,
    wire_phone: String,
    serial: u16,
    id: u16,
}

impl To {
    fn of(header: &Header) -> Self {
        Self { version: header.version, wire_phone: header.phone.clone(), serial: header.serial, id: header.message_id }
    }
}

/// A batch that is out, or that waits to be offered again.
struct Pending {
    promise: Promise,
    n_readings: u64,
    /// Kept only if this message must not be lost by a full shard: parts that were already acknowledged as transport,
    /// answers to commands, taken-over events.
    again: Option<Content>,
    attempt: u32,
    /// The long message it was put together from.
    whole: Option<WholeKey>,
    _held: Option<Held>,
}

/// A file that is out.
struct PendingFile {
    to: To,
    media_id: u32,
    /// With bytes: answered with 0x8800. An announcement is answered in general.
    is_sent: bool,
    whole: Option<WholeKey>,
    _held: Held,
}

/// Phone as on the wire, message id, serial of the first part.
type WholeKey = (String, u16, u16);

/// What became of a message in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Pending,
    Kept,
    Lost,
}

pub(super) struct Session {
    ctx: Arc<Context>,
    address: SocketAddr,
    unknown: Unknown,
    /// What a right code is worth on this connection.
    proven: Trust,
    peer: Peer,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) offers: Offers,
    pub(super) files: Files,
    frames: Frames,
    /// The last bytes received, to find the raw bytes of a frame again; ends where the stream ends.
    recent: Vec<u8>,
    n_received: u64,
    n_heard: u64,
    n_skipped: u64,
    reassembly: Reassembly,
    n_incomplete: u64,
    asked: HashMap<WholeKey, (u32, Instant)>,
    fates: VecDeque<(WholeKey, Fate)>,
    terminals: HashMap<String, Terminal>,
    pending: HashMap<u64, Pending>,
    pending_files: HashMap<u64, PendingFile>,
    reoffers: Vec<(Instant, u64)>,
    next_token: u64,
    next_serial: u16,
    sent_parts: VecDeque<(u16, Vec<Vec<u8>>)>,
    output: Vec<u8>,
    started: Instant,
    next_tick: Instant,
}

impl Session {
    pub(super) fn new(ctx: Arc<Context>, address: SocketAddr, unknown: Unknown, proven: Trust) -> Self {
        let limits = &ctx.limits;
        let (sender, commands) = mpsc::channel(limits.max_downlinks.max(1));
        let peer = Peer { connection: ctx.downlinks.connection_id(), address, commands: sender, changed: Arc::default() };
        let reassembly = Reassembly::new(ReassemblyLimits {
            bytes_max: limits.max_assembly_bytes,
            messages_max: limits.max_assemblies,
            // Long enough to ask for the missing parts as often as we do, and once more to wait.
            timeout_us: i64::try_from(limits.assembly_timeout_ms)
                .unwrap_or(i64::MAX / 5_000)
                .saturating_mul(1_000 * i64::from(ASKED_MAX + 1)),
            ..ReassemblyLimits::default()
        });
        let now = Instant::now();
        Self {
            offers: Offers::new(ctx.intake.clone()),
            files: Files::new(ctx.intake.clone()),
            ctx,
            address,
            unknown,
            proven,
            peer,
            commands,
            frames: Frames::new(),
            recent: Vec::new(),
            n_received: 0,
            n_heard: 0,
            n_skipped: 0,
            reassembly,
            n_incomplete: 0,
            asked: HashMap::new(),
            fates: VecDeque::new(),
            terminals: HashMap::new(),
            pending: HashMap::new(),
            pending_files: HashMap::new(),
            reoffers: Vec::new(),
            next_token: 0,
            next_serial: 0,
            sent_parts: VecDeque::new(),
            output: Vec::new(),
            started: now,
            next_tick: now,
        }
    }

    pub(super) fn changed(&self) -> Arc<Notify> {
        self.peer.changed.clone()
    }
    /// Messages heard on this connection.
    pub(super) fn heard(&self) -> u64 {
        self.n_heard
    }
    /// Whether batches or files are out.
    pub(super) fn waits(&self) -> bool {
        !self.pending.is_empty() || !self.pending_files.is_empty()
    }
    pub(super) fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Gives back the numbers this connection holds.
    pub(super) fn leave(&mut self) {
        for phone in self.terminals.keys() {
            self.ctx.downlinks.leave_terminal(phone, self.peer.connection);
        }
    }

    /// Takes received bytes; the reason to close, if there is one.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Option<End> {
        // Only an unfinished frame is still needed from what came before.
        let unfinished = self.frames.pending().min(self.recent.len());
        self.recent.drain(..self.recent.len() - unfinished);
        self.recent.extend_from_slice(bytes);
        self.n_received += bytes.len() as u64;
        self.frames.push(bytes);
        let mut end = None;
        while let Some(cut) = self.frames.next() {
            let raw = self.raw_frame();
            end = match cut {
                Ok(frame) => self.frame(frame, &raw),
                Err(error) => {
                    self.broken(error, &raw);
                    None
                }
            };
            if end.is_some() {
                break;
            }
        }
        if self.frames.skipped() > self.n_skipped {
            self.n_skipped = self.frames.skipped();
            self.ctx.refuse(Protocol::Jt808, Reason::BadFrame, &self.address.to_string(), "bytes outside a frame were skipped");
        }
        end
    }

    /// Takes a datagram, which holds whole frames; the reason to end, if there is one.
    pub(super) fn datagram(&mut self, bytes: &[u8]) -> Option<End> {
        // Datagrams may be lost or overtake each other, so nothing of one belongs to the next.
        self.frames = Frames::new();
        self.recent.clear();
        (self.n_received, self.n_skipped) = (0, 0);
        let end = self.bytes(bytes);
        if self.frames.pending() > 1 {
            self.ctx.refuse(Protocol::Jt808, Reason::BadFrame, &self.address.to_string(), "a datagram ends within a frame");
        }
        end
    }

    /// Whether some terminal of this connection gave its code.
    pub(super) fn has_authenticated(&self) -> bool {
        self.terminals.values().any(|t| t.authenticated.is_some())
    }

    /// The bytes between the marks of what the cutter yielded last.
    fn raw_frame(&self) -> Vec<u8> {
        let base = self.n_received - self.recent.len() as u64;
        let from = usize::try_from(self.frames.frame_at().saturating_sub(base)).unwrap_or(usize::MAX);
        let rest = self.recent.get(from..).unwrap_or_default();
        rest.split(|b| *b == 0x7e).next().unwrap_or_default().to_vec()
    }

    /// A frame that cannot be used: counted, put aside, and answered if its header can be read all the same.
    fn broken(&mut self, error: FrameError, raw: &[u8]) {
        let source = self.address.to_string();
        self.ctx.refuse(Protocol::Jt808, Reason::BadFrame, &source, error);
        // Line noise must not fill the quarantine: an address has a bucket for it as a terminal has for its messages.
        if self.ctx.gate.take(&format!("noise {}", self.address.ip()), std::time::Instant::now()).is_err() {
            return;
        }
        self.ctx.quarantine(Protocol::Jt808, &source, error.to_string(), raw);
        if let Some(header) = header_despite_checksum(raw) {
            self.general(&To::of(&header), BAD_MESSAGE);
        }
    }

    fn standing(&self, phone: &str) -> Standing {
        match (self.ctx.credentials.load().terminals.get(phone), self.unknown) {
            (Some(known), _) if known.adopted => Standing::Adopted,
            (_, Unknown::Accept) => Standing::Open,
            (_, Unknown::Quarantine) => Standing::Quarantined,
            (_, Unknown::Refuse) => Standing::Refused,
        }
    }

    /// Whether an adopted terminal gave the code that holds now, on this connection.
    fn is_authenticated(&self, phone: &str) -> bool {
        let credentials = self.ctx.credentials.load();
        let (Some(known), Some(terminal)) = (credentials.terminals.get(phone), self.terminals.get(phone)) else { return false };
        known.adopted && !terminal.lost && terminal.authenticated == Some(known.generation)
    }

    /// The authentication code that a registration may be answered with now. With `claim` it counts as told.
    ///
    /// A registration proves nothing, so an adopted number's code is told once, while a person expects its terminal; and to the
    /// connection that has shown it knows the code.
    fn code_for(&self, phone: &str, claim: bool) -> Option<String> {
        let credentials = self.ctx.credentials.load();
        let generation = match credentials.terminals.get(phone).filter(|known| known.adopted) {
            None => 0,
            Some(known) if self.is_authenticated(phone) => known.generation,
            Some(known) => {
                let open = known.enrol_until.is_some_and(|until| self.ctx.clock.now() <= until);
                let given = &self.ctx.codes_given;
                let free = open && if claim { given.claim(phone, known.generation) } else { !given.was_given(phone, known.generation) };
                if !free {
                    return None;
                }
                known.generation
            }
        };
        Some(terminal_code(&credentials.terminal_key, phone, generation))
    }

    /// Gives the number back if it was held without the code that holds now: adoption or a new code came in between.
    fn drop_stale_hold(&mut self, phone: &str) {
        let Some(terminal) = self.terminals.get_mut(phone) else { return };
        terminal.authenticated = None;
        terminal.awaited.clear();
        if std::mem::replace(&mut terminal.holds, false) {
            self.ctx.downlinks.leave_terminal(phone, self.peer.connection);
        }
    }

    fn frame(&mut self, frame: Frame, raw: &[u8]) -> Option<End> {
        let received_at = self.ctx.clock.now();
        self.n_heard += 1;
        self.ctx.stats.link(Protocol::Jt808).heard(received_at);
        let phone = normal_phone(&frame.header.phone).to_owned();
        let to = To::of(&frame.header);

        // The address is part of the name: nobody empties a terminal's bucket by using its number from elsewhere.
        if self.ctx.gate.take(&format!("{} {phone}", self.address.ip()), std::time::Instant::now()).is_err() {
            self.refuse(&phone, Reason::Rate, "more messages than allowed, not answered");
            return None;
        }
        if !self.terminals.contains_key(&phone) && self.terminals.len() >= self.ctx.limits.max_phones_per_connection {
            self.refuse(&phone, Reason::Connections, "too many phone numbers on one connection");
            self.fail(&to);
            return None;
        }
        let terminal = self.terminals.entry(phone.clone()).or_insert_with(|| Terminal {
            authenticated: None,
            holds: false,
            lost: false,
            seen_in_quarantine: false,
            version: frame.header.version,
            wire_phone: frame.header.phone.clone(),
            awaited: VecDeque::new(),
        });
        terminal.version = frame.header.version;
        terminal.wire_phone.clone_from(&frame.header.phone);

        let defect = match (frame.length_ok, frame.header.encryption) {
            (false, _) => Some((BAD_MESSAGE, Reason::BadFrame, "the length in the header is wrong")),
            (true, 0) => None,
            (true, _) => Some((UNSUPPORTED, Reason::Unsupported, "the body is encrypted")),
        };
        if let Some((result, reason, text)) = defect {
            self.refuse(&phone, reason, text);
            self.ctx.quarantine(Protocol::Jt808, &phone, text.to_owned(), raw);
            self.general(&to, result);
            return None;
        }
        match self.standing(&phone) {
            Standing::Refused => {
                self.fail(&to);
                Some(End::Refused(Reason::UnknownSource, format!("terminal {} is not known here", masked(&phone))))
            }
            Standing::Quarantined => {
                self.quarantined(&phone, &to, raw);
                None
            }
            Standing::Open => {
                self.open_or_authenticated(&phone, frame, raw, Trust::Open, received_at);
                None
            }
            Standing::Adopted => {
                self.adopted(&phone, frame, raw, received_at);
                None
            }
        }
    }

    /// An unknown terminal that is kept waiting for a person: its messages are put aside and it is told "done".
    fn quarantined(&mut self, phone: &str, to: &To, raw: &[u8]) {
        self.ctx.stats.link(Protocol::Jt808).refuse(Reason::Quarantined);
        let first = self.terminals.get_mut(phone).is_some_and(|t| !std::mem::replace(&mut t.seen_in_quarantine, true));
        // Heartbeats say nothing; one message is enough to be listed.
        if first || to.id != 0x0002 {
            self.ctx.quarantine(Protocol::Jt808, phone, "the terminal is not adopted".into(), raw);
        }
        match to.id {
            0x0100 => self.registered(to, phone),
            0x0001 | 0x0104 | 0x0201 => {}
            _ => self.general(to, DONE),
        }
    }

    /// A terminal that somebody adopted: only registration and the right code count before it authenticated.
    fn adopted(&mut self, phone: &str, frame: Frame, raw: &[u8], received_at: Timestamp) {
        let to = To::of(&frame.header);
        let authenticated = self.is_authenticated(phone);
        if !authenticated {
            self.drop_stale_hold(phone);
        }
        match frame.header.message_id {
            0x0102 => self.authenticate(phone, &frame, received_at),
            0x0100 => self.open_or_authenticated(phone, frame, raw, if authenticated { self.proven } else { Trust::Open }, received_at),
            _ if authenticated => self.open_or_authenticated(phone, frame, raw, self.proven, received_at),
            _ => {
                self.refuse(phone, Reason::NotAuthenticated, "data before authentication (0x0102)");
                self.fail(&to);
            }
        }
    }

    fn authenticate(&mut self, phone: &str, frame: &Frame, received_at: Timestamp) {
        let to = To::of(&frame.header);
        let (message, _) = frame.decode();
        let credentials = self.ctx.credentials.load_full();
        let right = match (&message, credentials.terminals.get(phone)) {
            (Message::Authenticate(given), Some(known)) => {
                let right = is_terminal_code(&credentials.terminal_key, phone, known.generation, given.code.as_bytes());
                right.then_some(known.generation)
            }
            _ => None,
        };
        if right.is_none() {
            self.refuse(phone, Reason::Credentials, "wrong authentication code");
            self.general(&to, FAILED);
            return;
        }
        if let Some(terminal) = self.terminals.get_mut(phone) {
            (terminal.authenticated, terminal.lost, terminal.holds) = (right, false, true);
        }
        self.hold(phone, self.proven, received_at);
        self.general(&to, DONE);
    }

    /// Enters the number in the registry; if another connection had it, that one is woken and an event is raised.
    fn hold(&mut self, phone: &str, trust: Trust, received_at: Timestamp) {
        let Some(from) = self.ctx.downlinks.enter_terminal(phone, self.peer.clone()) else { return };
        let source = Source::Terminal { phone: phone.to_owned(), trust };
        let event = SourceEvent::TakenOver { from: from.to_string(), by: self.address.to_string() };
        tracing::warn!(protocol = "jt808", "terminal {} moved from {from} to {}", masked(phone), self.address);
        self.put(Promise::Silent, Content::event(source, received_at, event), true, None, 0);
    }

    /// Looks which numbers another connection took. Ends the connection when it has none left.
    pub(super) fn look_who_holds_what(&mut self) -> Option<End> {
        let mut n_left = 0;
        let mut n_lost = 0;
        for (phone, terminal) in &mut self.terminals {
            if terminal.holds && !self.ctx.downlinks.holds_terminal(phone, self.peer.connection) {
                (terminal.holds, terminal.authenticated, terminal.lost) = (false, None, true);
                terminal.awaited.clear();
            }
            n_lost += usize::from(terminal.lost);
            n_left += usize::from(!terminal.lost);
        }
        // A forwarding platform keeps its other terminals.
        (n_lost > 0 && n_left == 0).then_some(End::Closed)
    }

    /// A terminal that is heard: parts are put together, then the message is taken.
    fn open_or_authenticated(&mut self, phone: &str, frame: Frame, raw: &[u8], trust: Trust, received_at: Timestamp) {
        let to = To::of(&frame.header);
        let open = self.standing(phone) == Standing::Open;
        let (lost, holds) = self.terminals.get(phone).map_or((false, false), |t| (t.lost, t.holds));
        // An adopted terminal may register again (the code is told by its own rules) before it takes its number back with 0x0102.
        if lost && (to.id != 0x0100 || open) {
            self.refuse(phone, Reason::NotAuthenticated, "another connection took the number");
            self.fail(&to);
            return;
        }
        // A registration proves nothing, so it takes nothing over.
        if !holds && (trust > Trust::Open || open) {
            if let Some(terminal) = self.terminals.get_mut(phone) {
                terminal.holds = true;
            }
            self.hold(phone, trust, received_at);
        }
        if frame.header.part.is_none() {
            let (message, defects) = frame.decode();
            self.message(phone, &to, message, &defects, &frame.body, raw, trust, received_at, None);
            return;
        }
        if !is_taken_in_parts(frame.header.message_id) {
            self.refuse(phone, Reason::Unsupported, format_args!("message {:#06x} in parts", frame.header.message_id));
            self.general(&to, UNSUPPORTED);
            return;
        }
        let key: WholeKey = (frame.header.phone.clone(), frame.header.message_id, frame.header.first_serial());
        match self.reassembly.add(frame, self.now_us()) {
            Ok(Assembled::Whole(whole)) => {
                let (message, defects) = anlan_protocols::jt808::decode(whole.header.message_id, whole.header.version, &whole.body);
                self.asked.remove(&key);
                self.remember(key.clone(), Fate::Pending);
                self.message(phone, &to, message, &defects, &whole.body, &whole.body, trust, received_at, Some(key));
            }
            Ok(Assembled::Waiting(_)) => {
                // Its parts are new, whatever became of an earlier message with these numbers.
                self.fates.retain(|(k, _)| *k != key);
                self.general(&to, DONE);
            }
            // The answer to a repeat must not promise more than we know.
            Ok(Assembled::Repeat) => match self.fates.iter().find(|(k, _)| *k == key).map(|(_, fate)| *fate) {
                None | Some(Fate::Kept) => self.general(&to, DONE),
                Some(Fate::Pending | Fate::Lost) => {}
            },
            Err(error) => {
                self.refuse(phone, Reason::Incomplete, error);
                self.general(&to, BAD_MESSAGE);
            }
        }
    }

    fn remember(&mut self, key: WholeKey, fate: Fate) {
        match self.fates.iter_mut().find(|(k, _)| *k == key) {
            Some(entry) => entry.1 = fate,
            None => {
                if self.fates.len() >= FATES_MAX {
                    self.fates.pop_front();
                }
                self.fates.push_back((key, fate));
            }
        }
    }

    /// Takes a whole message of a terminal that is heard.
    #[expect(clippy::too_many_arguments, reason = "one message with all that is known about it; a struct would be used once")]
    fn message(
        &mut self,
        phone: &str,
        to: &To,
        message: Message,
        defects: &[Defect],
        body: &[u8],
        raw: &[u8],
        trust: Trust,
        received_at: Timestamp,
        whole: Option<WholeKey>,
    ) {
        let source = Source::Terminal { phone: phone.to_owned(), trust };
        let mut content = Content::new(source, received_at);
        let mut promise = Promise::General(to.clone());
        let mut again = whole.is_some();
        if let Some(defect) = defects.iter().find(|d| is_worth_a_look(d.code)) {
            self.ctx.quarantine(Protocol::Jt808, phone, format!("message {:#06x}: {} at byte {}", to.id, defect.code, defect.at), raw);
        }
        match message {
            Message::Heartbeat => return self.general(to, DONE),
            Message::Unregister => {
                if let Some(terminal) = self.terminals.get_mut(phone) {
                    (terminal.authenticated, terminal.holds) = (None, false);
                }
                self.ctx.downlinks.leave_terminal(phone, self.peer.connection);
                return self.general(to, DONE);
            }
            // An open terminal has no code of ours to check: it may come from another platform.
            Message::Authenticate(_) => return self.general(to, DONE),
            Message::Register(_) if self.code_for(phone, false).is_none() => {
                if let Some(key) = whole {
                    self.remember(key, Fate::Lost);
                }
                return self.already_registered(to, phone);
            }
            Message::Register(register) => {
                content.events.push(registered_event(&register));
                promise = Promise::Registered(to.clone());
            }
            Message::Position(position) => content.positions.push(raw_position(&position, body, false)),
            Message::PositionBatch(batch) => {
                let backfill = batch.kind == 1;
                let bodies = batch_bodies(body);
                content.positions.extend(batch.positions.iter().zip(bodies).map(|(p, body)| raw_position(p, body, backfill)));
                if content.positions.is_empty() && !defects.is_empty() {
                    return self.unreadable(phone, to, defects);
                }
            }
            Message::PositionAnswer(answer) => {
                content.positions.push(raw_position(&answer.position, body.get(2..).unwrap_or_default(), false));
                content.events.extend(self.command_done(phone, answer.answered_serial, &[0x8201], true, json!({"position": true})));
                again = true;
            }
            Message::ParametersAnswer(answer) => {
                let detail = json!({"parameters": answer.parameters.iter().map(|p| json!({"id": format!("{:#06x}", p.id), "hex": anlan_protocols::wire::hex(&p.value)})).collect::<Vec<_>>()});
                content.events.extend(self.command_done(phone, answer.answered_serial, &[0x8104, 0x8106], true, detail));
                again = true;
            }
            Message::TerminalAnswer(answer) => {
                let event = self.general_answer(phone, &answer);
                content.events.extend(event);
                // An answer is not answered: two platforms would never stop.
                promise = Promise::Silent;
                again = true;
            }
            Message::Driver(driver) => {
                content.events.push(SourceEvent::Driver { status: driver.status.unwrap_or(1), name: driver.name.unwrap_or_default() });
            }
            Message::TerminalResend(resend) => return self.resend(to, &resend),
            Message::Table { message_id: 0x0800 | 0x0801, .. } => {
                if let Some(key) = self.media(phone, to, message, received_at, whole) {
                    self.remember(key, Fate::Lost);
                }
                return;
            }
            Message::Raw { .. } if defects.iter().any(|d| d.code == "truncated") => return self.unreadable(phone, to, defects),
            _ => {
                self.refuse(phone, Reason::Unsupported, format_args!("message {:#06x} is not built", to.id));
                if let Some(key) = whole {
                    self.remember(key, Fate::Lost);
                }
                return self.general(to, UNSUPPORTED);
            }
        }
        if content.count() == 0 && content.events.is_empty() {
            // Nothing to keep, so "done" promises nothing.
            return self.keep_promise(&promise, phone);
        }
        self.put(promise, content, again, whole, raw.len());
    }

    /// Hands a file or its announcement over; gives `whole` back if it will not be kept.
    fn media(&mut self, phone: &str, to: &To, message: Message, received_at: Timestamp, whole: Option<WholeKey>) -> Option<WholeKey> {
        let Some(media) = Media::of(message).filter(|m| m.data.as_ref().is_none_or(|data| !data.is_empty())) else {
            self.unreadable(phone, to, &[]);
            return whole;
        };
        let n_bytes = media.data.as_ref().map_or(0, Vec::len);
        if n_bytes > self.ctx.limits.media_file_bytes {
            self.refuse_file(to, MediaRefusal::TooLarge);
            return whole;
        }
        let room = self.pending_files.len() < self.ctx.limits.max_inflight;
        let Some(held) = room.then(|| self.ctx.gate.hold(n_bytes)).flatten() else {
            self.refuse_file(to, MediaRefusal::Overloaded);
            return whole;
        };
        let token = self.next_token;
        self.next_token += 1;
        let is_sent = media.data.is_some();
        self.pending_files.insert(token, PendingFile { to: to.clone(), media_id: media.id, is_sent, whole, _held: held });
        let position = media.position.as_ref().map(|p| raw_position(p, &[], false));
        let Media { id: media_id, kind, format, event, channel, data, .. } = media;
        let phone = phone.to_owned();
        self.files.keep(token, RawMedia { phone, received_at, media_id, kind, format, event, channel, position, data });
        None
    }

    /// A file is kept, or it is not.
    pub(super) fn file_answered(&mut self, (token, result): offer::FileAnswer) {
        let Some(PendingFile { to, media_id, is_sent, whole, .. }) = self.pending_files.remove(&token) else { return };
        let fate = match result {
            Ok(()) if is_sent => {
                self.answer(&media_answer(media_id, &[]), to.version, &to.wire_phone);
                Fate::Kept
            }
            Ok(()) => {
                self.general(&to, DONE);
                Fate::Kept
            }
            Err(refusal) => {
                self.refuse_file(&to, refusal);
                Fate::Lost
            }
        };
        if let Some(key) = whole {
            self.remember(key, fate);
        }
    }

    /// "Unsupported" where sending again would never help, "failed" where it may, nothing where it should be soon. Never a 0x8800: that would
    /// let the terminal delete the file.
    fn refuse_file(&mut self, to: &To, refusal: MediaRefusal) {
        let (reason, result) = match refusal {
            MediaRefusal::TooLarge => (Reason::TooLarge, Some(UNSUPPORTED)),
            MediaRefusal::Full => (Reason::Quota, Some(FAILED)),
            MediaRefusal::UnknownSource => (Reason::UnknownSource, Some(FAILED)),
            MediaRefusal::Overloaded => (Reason::Overloaded, None),
            MediaRefusal::Storage => (Reason::Storage, None),
            MediaRefusal::Stopping => (Reason::Stopping, None),
        };
        self.refuse(normal_phone(&to.wire_phone), reason, refusal);
        if let Some(result) = result {
            self.general(to, result);
        }
    }

    fn unreadable(&mut self, phone: &str, to: &To, defects: &[Defect]) {
        let (code, at) = defects.first().map_or(("empty", 0), |d| (d.code, d.at));
        self.refuse(phone, Reason::Unreadable, format_args!("message {:#06x}: {code} at byte {at}", to.id));
        self.general(to, BAD_MESSAGE);
    }

    /// Offers a batch, unless this connection or the process holds too much already; then the terminal gets no answer.
    fn put(&mut self, promise: Promise, content: Content, again: bool, whole: Option<WholeKey>, n_bytes: usize) {
        let held = if self.pending.len() < self.ctx.limits.max_inflight { self.ctx.gate.hold(n_bytes) } else { None };
        if held.is_none() {
            self.ctx.refuse(Protocol::Jt808, Reason::Overloaded, &self.address.to_string(), "too many messages wait for their sync");
            if let Some(key) = whole {
                self.remember(key, Fate::Lost);
            }
            return;
        }
        let token = self.next_token;
        self.next_token += 1;
        let pending =
            Pending { promise, n_readings: content.count(), again: again.then(|| content.clone()), attempt: 0, whole, _held: held };
        self.pending.insert(token, pending);
        self.offers.offer(token, content);
    }

    /// A shard answered.
    pub(super) fn answered(&mut self, (token, result): offer::Answer) {
        let Some(mut pending) = self.pending.remove(&token) else { return };
        let (fate, reason) = match result {
            Ok(_) => {
                self.ctx.stats.link(Protocol::Jt808).kept(pending.n_readings);
                let phone = match &pending.promise {
                    Promise::General(to) | Promise::Registered(to) => normal_phone(&to.wire_phone).to_owned(),
                    Promise::Silent => String::new(),
                };
                self.keep_promise(&pending.promise.clone(), &phone);
                (Fate::Kept, None)
            }
            Err(Refusal::Overloaded) if pending.again.is_some() => {
                let delay = self.ctx.limits.reoffer_delay(pending.attempt);
                pending.attempt += 1;
                self.reoffers.push((Instant::now() + delay, token));
                self.pending.insert(token, pending);
                self.ctx.stats.link(Protocol::Jt808).refuse(Reason::Overloaded);
                return;
            }
            Err(Refusal::UnknownSource) => {
                if let Promise::General(to) | Promise::Registered(to) = &pending.promise {
                    let to = to.clone();
                    self.fail(&to);
                }
                (Fate::Lost, Some(Reason::UnknownSource))
            }
            // No answer: the terminal keeps the message and sends it again.
            Err(Refusal::Overloaded) => (Fate::Lost, Some(Reason::Overloaded)),
            Err(Refusal::Storage) => (Fate::Lost, Some(Reason::Storage)),
            Err(Refusal::Stopping) => (Fate::Lost, Some(Reason::Stopping)),
        };
        if let (Some(reason), Err(refusal)) = (reason, result) {
            self.ctx.refuse(Protocol::Jt808, reason, &self.address.to_string(), refusal);
        }
        if let Some(key) = pending.whole {
            self.remember(key, fate);
        }
    }

    fn keep_promise(&mut self, promise: &Promise, phone: &str) {
        match promise {
            Promise::General(to) => self.general(to, DONE),
            Promise::Registered(to) => self.registered(to, phone),
            Promise::Silent => {}
        }
    }

    /// When [`Session::tick`] is due.
    pub(super) fn wakes_at(&self) -> Instant {
        self.reoffers.iter().map(|(at, _)| *at).fold(self.next_tick, Instant::min)
    }

    /// Offers again what met a full shard, and asks for parts that did not come.
    pub(super) fn tick(&mut self, now: Instant) {
        let due: Vec<u64> = self.reoffers.iter().filter(|(at, _)| *at <= now).map(|(_, token)| *token).collect();
        self.reoffers.retain(|(at, _)| *at > now);
        for token in due {
            if let Some(content) = self.pending.get(&token).and_then(|p| p.again.clone()) {
                self.offers.offer(token, content);
            }
        }
        if now < self.next_tick {
            return;
        }
        let quiet = Duration::from_millis(self.ctx.limits.assembly_timeout_ms);
        self.next_tick = now + (quiet / 4).clamp(Duration::from_millis(20), Duration::from_secs(1));
        let now_us = self.now_us();
        self.reassembly.expire(now_us);
        let dropped = self.reassembly.dropped();
        for _ in self.n_incomplete..dropped {
            self.ctx.refuse(Protocol::Jt808, Reason::Incomplete, &self.address.to_string(), "parts of a message never came");
        }
        self.n_incomplete = dropped;
        let missing = self.reassembly.missing(now_us, i64::try_from(quiet.as_micros()).unwrap_or(i64::MAX));
        self.asked.retain(|key, _| missing.iter().any(|m| m.phone == key.0 && m.message_id == key.1 && m.first_serial == key.2));
        for m in missing {
            let key = (m.phone.clone(), m.message_id, m.first_serial);
            let (n, last) = self.asked.get(&key).copied().unwrap_or((0, now - quiet));
            if n >= ASKED_MAX || now.saturating_duration_since(last) < quiet {
                continue;
            }
            let version = self.terminals.get(normal_phone(&m.phone)).map_or(Version::V2013, |t| t.version);
            let phone = m.phone.clone();
            // A file has its own way of asking, once its number is known.
            let file = self.reassembly.first_part(&m).filter(|_| m.message_id == 0x0801).and_then(|part| part.first_chunk());
            let ask = match file {
                Some(id) => media_answer(u32::from_be_bytes(*id), &m.indices[..m.indices.len().min(255)]),
                None => {
                    let mut indices = m.indices;
                    // 2013 counts in one byte; what is left is asked for next time.
                    indices.truncate(255);
                    Message::PlatformResend(Resend { first_serial: m.first_serial, indices })
                }
            };
            self.asked.insert(key, (n + 1, now));
            self.answer(&ask, version, &phone);
        }
    }

    fn now_us(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    /// Sends a command and remembers whose answer to wait for.
    pub(super) fn command(&mut self, command: &Command) {
        let phone = normal_phone(&command.to).to_owned();
        let Some(terminal) = self.terminals.get(&phone).filter(|t| t.holds) else { return };
        let (version, wire_phone) = (terminal.version, terminal.wire_phone.clone());
        // It may hold the number from before adoption, or by a code that was replaced since.
        if self.standing(&phone) == Standing::Adopted && !self.is_authenticated(&phone) {
            self.drop_stale_hold(&phone);
            self.refuse(&phone, Reason::NotAuthenticated, "a command for a terminal that has not authenticated (0x0102)");
            return self.command_failed(phone, command.id, "the terminal has not authenticated");
        }
        let Some(message) = downlink(&command.body, version) else { return };
        let id = message.id();
        let (first_serial, n_parts) = match self.send(&message, version, &wire_phone) {
            Ok(sent) => sent,
            // It can never be sent as it is: the command is closed instead of being tried for ever.
            Err(error) => return self.command_failed(phone, command.id, &error.to_string()),
        };
        if let Some(terminal) = self.terminals.get_mut(&phone) {
            if terminal.awaited.len() >= AWAITED_MAX {
                terminal.awaited.pop_front();
            }
            terminal.awaited.push_back(Awaited { command: command.id, first_serial, n_parts, id });
        }
    }

    /// Closes a command that will not be sent; it counts as sent already, so nobody else would.
    fn command_failed(&mut self, phone: String, command: i64, error: &str) {
        let trust = if self.standing(&phone) == Standing::Open { Trust::Open } else { self.proven };
        let event = SourceEvent::CommandAnswer { command, ok: false, detail: json!({"error": error}).to_string() };
        let content = Content::event(Source::Terminal { phone, trust }, self.ctx.clock.now(), event);
        self.put(Promise::Silent, content, true, None, 0);
    }

    /// The event of a 0x0001, if it answers a command of ours for good.
    fn general_answer(&mut self, phone: &str, answer: &GeneralAnswer) -> Option<SourceEvent> {
        let awaited = &self.terminals.get(phone)?.awaited;
        let one = awaited.iter().find(|a| a.id == answer.answered_id && a.has(answer.answered_serial))?;
        let ok = answer.result == DONE;
        // "Done" to a question means "coming"; "done" to a part before the last is transport.
        let more_comes = matches!(one.id, 0x8104 | 0x8106 | 0x8201);
        if ok && (more_comes || answer.answered_serial != one.last_serial()) {
            return None;
        }
        let id = one.id;
        self.command_done(phone, answer.answered_serial, &[id], ok, json!({"result": answer.result}))
    }

    fn command_done(&mut self, phone: &str, serial: u16, ids: &[u16], ok: bool, detail: serde_json::Value) -> Option<SourceEvent> {
        let awaited = &mut self.terminals.get_mut(phone)?.awaited;
        let at = awaited.iter().position(|a| ids.contains(&a.id) && a.has(serial))?;
        let done = awaited.remove(at)?;
        Some(SourceEvent::CommandAnswer { command: done.command, ok, detail: detail.to_string() })
    }

    /// 0x0005: the terminal lacks parts of what we sent.
    fn resend(&mut self, to: &To, resend: &Resend) {
        let Some((_, parts)) = self.sent_parts.iter().find(|(first, _)| *first == resend.first_serial) else {
            return self.general(to, FAILED);
        };
        let wanted: Vec<Vec<u8>> =
            resend.indices.iter().filter_map(|i| parts.get(usize::from(*i).checked_sub(1)?)).take(parts.len()).cloned().collect();
        self.output.extend(wanted.into_iter().flatten());
        self.general(to, DONE);
    }

    fn general(&mut self, to: &To, result: u8) {
        let answer = GeneralAnswer { answered_serial: to.serial, answered_id: to.id, result };
        self.answer(&Message::PlatformAnswer(answer), to.version, &to.wire_phone);
    }

    /// "No" in the form that fits the message.
    fn fail(&mut self, to: &To) {
        match to.id {
            0x0100 => {
                let answer = RegisterAnswer { answered_serial: to.serial, result: NO_TERMINAL, code: None };
                self.answer(&Message::RegisterAnswer(answer), to.version, &to.wire_phone);
            }
            0x0001 => {}
            _ => self.general(to, FAILED),
        }
    }

    fn registered(&mut self, to: &To, phone: &str) {
        // Asked anew: another connection may have been told, or the number adopted, while the batch was out.
        let Some(code) = self.code_for(phone, true) else { return self.already_registered(to, phone) };
        let answer = RegisterAnswer { answered_serial: to.serial, result: DONE, code: Some(code) };
        self.answer(&Message::RegisterAnswer(answer), to.version, &to.wire_phone);
    }

    /// 0x8100 without a code: a terminal that lost its own needs a person who issues a new one.
    fn already_registered(&mut self, to: &To, phone: &str) {
        self.refuse(phone, Reason::AlreadyRegistered, "a registration (0x0100) outside the enrolment window or after its code was given");
        let answer = RegisterAnswer { answered_serial: to.serial, result: REGISTERED, code: None };
        self.answer(&Message::RegisterAnswer(answer), to.version, &to.wire_phone);
    }

    /// Answers what was heard; its parts are fixed in size and its phone number came from the wire, so it always fits.
    fn answer(&mut self, message: &Message, version: Version, wire_phone: &str) {
        if let Err(error) = self.send(message, version, wire_phone) {
            tracing::error!(protocol = "jt808", %error, "cannot encode an answer {:#06x}: {error}", message.id());
        }
    }

    /// Encodes into the output; the first serial number used and the number of parts.
    fn send(&mut self, message: &Message, version: Version, wire_phone: &str) -> Result<(u16, u16), EncodeError> {
        let first = self.next_serial;
        let parts = encode::frames(wire_phone, version, first, message)?;
        let n = u16::try_from(parts.len()).unwrap_or(u16::MAX);
        self.next_serial = first.wrapping_add(n);
        self.output.extend(parts.iter().flatten());
        if n > 1 {
            if self.sent_parts.len() >= SENT_PARTS_MAX {
                self.sent_parts.pop_front();
            }
            self.sent_parts.push_back((first, parts));
        }
        Ok((first, n))
    }

    fn refuse(&self, phone: &str, reason: Reason, detail: impl std::fmt::Display) {
        self.ctx.refuse(Protocol::Jt808, reason, &masked(phone), detail);
    }
}

impl Awaited {
    fn last_serial(&self) -> u16 {
        self.first_serial.wrapping_add(self.n_parts.saturating_sub(1))
    }
    fn has(&self, serial: u16) -> bool {
        serial.wrapping_sub(self.first_serial) < self.n_parts.max(1)
    }
}

/// The message of a command; `None` if this protocol has none.
fn downlink(body: &CommandBody, version: Version) -> Option<Message> {
    Some(match body {
        CommandBody::Mqtt { .. } => return None,
        // 2019 added a kind; 1 is "notice".
        CommandBody::Text { text, flags } => {
            Message::Text(Text { flags: *flags, kind: (version == Version::V2019).then_some(1), text: text.clone() })
        }
        CommandBody::QueryParameters { ids } if ids.is_empty() => Message::QueryParameters,
        CommandBody::QueryParameters { ids } => Message::QueryParametersById(ids.clone()),
        CommandBody::SetParameters { items } => {
            Message::SetParameters(items.iter().map(|(id, value)| Parameter { id: *id, value: value.clone() }).collect())
        }
        CommandBody::QueryPosition => Message::QueryPosition,
        CommandBody::Track { interval_s, validity_s } => {
            Message::Track(Track { interval_s: *interval_s, validity_s: (*interval_s > 0).then_some(*validity_s) })
        }
        CommandBody::ConfirmAlarm { serial, bits } => Message::ConfirmAlarm(ConfirmAlarm { alarm_serial: *serial, types: *bits }),
    })
}

/// Messages worth memory while their parts come; others are refused part by part.
fn is_taken_in_parts(id: u16) -> bool {
    matches!(id, 0x0100 | 0x0104 | 0x0200 | 0x0201 | 0x0702 | 0x0704 | 0x0801)
}

/// Defects after which something of the message is missing or doubtful; the others are habits of makers.
pub(crate) fn is_worth_a_look(code: &str) -> bool {
    matches!(code, "truncated" | "latitude" | "longitude" | "item_truncated" | "count" | "batch_item")
}

fn registered_event(register: &Register) -> SourceEvent {
    SourceEvent::Registered {
        plate: register.plate.clone(),
        plate_colour: register.plate_colour,
        terminal: format!("{}/{}/{}", register.maker, register.model, register.terminal_id),
    }
}

/// The 0x0200 bodies inside a 0x0704 that are long enough to be decoded, in step with the decoded positions.
fn batch_bodies(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    /// The fixed part of 0x0200 (JT/T 808-2013 table 23); the decoder leaves out what is shorter.
    const POSITION_FIXED: usize = 28;
    let mut rest = body.get(3..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let (one, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        rest = after;
        Some(one)
    })
    .filter(|one| one.len() >= POSITION_FIXED)
}

/// The position as the rest of the house takes it. Coordinates that are no place become 0, 0 without a fix: an alarm bit must
/// not be lost because of them, and a vehicle must not jump. The raw body is in quarantine then.
pub(crate) fn raw_position(position: &Position, body: &[u8], backfill: bool) -> RawPosition {
    /// Status bit 1: the receiver has a fix.
    const FIXED: u32 = 1 << 1;
    let (lat_e6, lon_e6, status_bits) =
        if position.on_globe() { (position.lat_e6, position.lon_e6, position.status) } else { (0, 0, position.status & !FIXED) };
    RawPosition {
        device_at: position.time,
        lon_e6,
        lat_e6,
        altitude_m: position.altitude_m,
        speed_dkmh: position.speed_tenth_kmh,
        direction_deg: position.direction_deg,
        alarm_bits: position.alarm,
        status_bits,
        body_crc: crc32(body),
        items: position.items_raw.clone(),
        backfill,
    }
}

/// CRC-32 as in Ethernet and zip (reflected, polynomial EDB88320): part of a position's identity.
fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// The header of a frame whose checksum is wrong, so that its sender can be told.
fn header_despite_checksum(raw: &[u8]) -> Option<Header> {
    let mut plain = anlan_protocols::jt808::unescape(raw).ok()?;
    plain.pop()?;
    let sum = anlan_protocols::wire::xor(&plain);
    plain.push(sum);
    let mut escaped = Vec::with_capacity(plain.len());
    for byte in plain {
        match byte {
            0x7d => escaped.extend([0x7d, 0x01]),
            0x7e => escaped.extend([0x7d, 0x02]),
            other => escaped.push(other),
        }
    }
    anlan_protocols::jt808::read_frame(&escaped).ok().map(|frame| frame.header)
}
