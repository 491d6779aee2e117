//! The two links of a pair of platforms as one state machine: what to do when something happens. No socket, no clock.
//!
//! The lower platform opens the main link and logs in; the upper one then opens the other link back and shows the code that
//! its answer gave. Whether a login is good is the caller's to say. The times are from memory, not from a text (待核).
//! Start at [`Session::on`].

use super::message::Message;
use crate::jt808::{Record, Value};

/// Which end this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Gives to the other platform.
    Lower,
    /// Takes from the other platform.
    Upper,
}

/// One of the two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Opened by the lower platform (主链路).
    Main,
    /// Opened by the upper platform (从链路).
    Other,
}

/// How long to wait, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A heartbeat when nothing was sent for so long.
    pub beat_us: i64,
    /// A link on which nothing was heard for so long is closed.
    pub silent_us: i64,
    /// A lost link is opened again after so long.
    pub retry_us: i64,
}

impl Default for Timing {
    /// 60 s and 180 s (待核), 30 s (ours).
    fn default() -> Self {
        Self { beat_us: 60_000_000, silent_us: 180_000_000, retry_us: 30_000_000 }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// A connection stands. A second one for the same link is the caller's to refuse or to prefer; this begins anew with it.
    Opened(Link),
    /// It is gone, or could not be made; the code goes into the notice that the link which is left carries.
    Closed(Link, u8),
    /// A message came.
    Heard(Link, &'a Message),
    /// The caller judged a login: the code for the other link, or why not (0x1002).
    Judged(Result<u32, u8>),
    /// Time passed.
    Tick,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Connect. The upper platform takes the address from the login.
    Open(Link),
    /// Disconnect.
    Close(Link),
    /// Send.
    Send(Link, Message),
    /// Judge this login and come back with [`Event::Judged`].
    Judge(Message),
    /// The link may carry business now.
    Ready(Link),
    /// The other platform refused, with its code.
    Refused(Link, u8),
    /// A message that is none of the links' own.
    Business(Link, Message),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Down { since: i64 },
    Opening { since: i64 },
    Greeting,
    Up,
}

#[derive(Clone, Copy, Debug)]
struct End {
    state: State,
    heard: i64,
    sent: i64,
}

/// Both links of one pair.
#[derive(Clone, Debug)]
pub struct Session {
    role: Role,
    timing: Timing,
    login: Option<Message>,
    verify: u32,
    main: End,
    other: End,
}

impl Session {
    /// The upper end; it waits for a login.
    pub fn upper(timing: Timing, now: i64) -> Self {
        let end = End { state: State::Down { since: now }, heard: now, sent: now };
        Self { role: Role::Upper, timing, login: None, verify: 0, main: end, other: end }
    }
    /// The lower end, with the login (0x1001) it will send. It opens the main link at the first [`Event::Tick`].
    pub fn lower(timing: Timing, login: Message, now: i64) -> Self {
        let mut session = Self::upper(timing, now);
        session.role = Role::Lower;
        session.login = Some(login);
        session.main.state = State::Down { since: now.saturating_sub(timing.retry_us) };
        session
    }
    /// Whether a link may carry business.
    pub fn ready(&self, link: Link) -> bool {
        self.end(link).state == State::Up
    }

    fn end(&self, link: Link) -> &End {
        match link {
            Link::Main => &self.main,
            Link::Other => &self.other,
        }
    }
    fn end_mut(&mut self, link: Link) -> &mut End {
        match link {
            Link::Main => &mut self.main,
            Link::Other => &mut self.other,
        }
    }

    /// What to do about `event` at `now` (microseconds, of any clock that does not go back).
    pub fn on(&mut self, event: Event<'_>, now: i64) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Opened(link) => self.opened(link, now, &mut effects),
            Event::Closed(link, code) => self.closed(link, code, now, &mut effects),
            Event::Heard(link, message) => {
                self.end_mut(link).heard = now;
                self.heard(link, message, now, &mut effects);
            }
            Event::Judged(verdict) => self.judged(verdict, now, &mut effects),
            Event::Tick => self.tick(now, &mut effects),
        }
        for effect in &effects {
            if let Effect::Send(link, _) = effect {
                self.end_mut(*link).sent = now;
            }
        }
        effects
    }

    fn opened(&mut self, link: Link, now: i64, effects: &mut Vec<Effect>) {
        *self.end_mut(link) = End { state: State::Greeting, heard: now, sent: now };
        match (self.role, link) {
            (Role::Lower, Link::Main) => effects.extend(self.login.clone().map(|login| Effect::Send(link, login))),
            (Role::Upper, Link::Other) => effects.push(send(link, 0x9001, &[("verify_code", self.verify)])),
            _ => {}
        }
    }

    fn closed(&mut self, link: Link, code: u8, now: i64, effects: &mut Vec<Effect>) {
        self.end_mut(link).state = State::Down { since: now };
        // The link that is left tells the other platform which one is gone.
        match (self.role, link) {
            (Role::Lower, Link::Main) if self.ready(Link::Other) => effects.push(send(Link::Other, 0x1007, &[("code", code.into())])),
            (Role::Upper, Link::Other) if self.ready(Link::Main) => effects.push(send(Link::Main, 0x9007, &[("code", code.into())])),
            _ => {}
        }
    }

    fn close(&mut self, link: Link, now: i64, effects: &mut Vec<Effect>) {
        self.end_mut(link).state = State::Down { since: now };
        effects.push(Effect::Close(link));
    }

    fn judged(&mut self, verdict: Result<u32, u8>, now: i64, effects: &mut Vec<Effect>) {
        if self.role != Role::Upper || self.main.state != State::Greeting {
            return;
        }
        let (result, verify) = verdict.map_or_else(|code| (code, 0), |verify| (0, verify));
        effects.push(send(Link::Main, 0x1002, &[("result", result.into()), ("verify_code", verify)]));
        if verdict.is_err() {
            return self.close(Link::Main, now, effects);
        }
        self.verify = verify;
        self.main.state = State::Up;
        effects.push(Effect::Ready(Link::Main));
        if matches!(self.other.state, State::Down { .. }) {
            self.other.state = State::Opening { since: now };
            effects.push(Effect::Open(Link::Other));
        }
    }

    fn heard(&mut self, link: Link, message: &Message, now: i64, effects: &mut Vec<Effect>) {
        let number = |name| message.record().and_then(|r| r.number(name)).and_then(|n| u32::try_from(n).ok());
        let code = u8::try_from(number("result").unwrap_or(u32::MAX)).unwrap_or(u8::MAX);
        match (self.role, link, message.business) {
            (Role::Upper, Link::Main, 0x1001) if self.main.state == State::Greeting => effects.push(Effect::Judge(message.clone())),
            (Role::Upper, Link::Main, 0x1003) if self.ready(Link::Main) => {
                effects.push(send(link, 0x1004, &[]));
                self.close(Link::Main, now, effects);
                self.close(Link::Other, now, effects);
            }
            (Role::Upper, Link::Main, 0x1005) => effects.push(send(link, 0x1006, &[])),
            (Role::Lower, Link::Other, 0x9005) => effects.push(send(link, 0x9006, &[])),
            (Role::Lower, Link::Main, 0x1002) | (Role::Upper, Link::Other, 0x9002) if self.end(link).state == State::Greeting => {
                if code != 0 {
                    effects.push(Effect::Refused(link, code));
                    return self.close(link, now, effects);
                }
                if link == Link::Main {
                    self.verify = number("verify_code").unwrap_or(0);
                }
                self.end_mut(link).state = State::Up;
                effects.push(Effect::Ready(link));
            }
            (Role::Lower, Link::Other, 0x9001) if self.other.state == State::Greeting => {
                let good = self.ready(Link::Main) && number("verify_code") == Some(self.verify);
                effects.push(send(link, 0x9002, &[("result", u32::from(!good))]));
                if !good {
                    return self.close(link, now, effects);
                }
                self.other.state = State::Up;
                effects.push(Effect::Ready(link));
            }
            (_, _, 0x1006 | 0x9006) => {}
            // Nobody speaks of business before the links stand.
            _ if self.ready(link) => effects.push(Effect::Business(link, message.clone())),
            _ => {}
        }
    }

    fn tick(&mut self, now: i64, effects: &mut Vec<Effect>) {
        for link in [Link::Main, Link::Other] {
            let end = *self.end(link);
            let mine = (self.role == Role::Lower) == (link == Link::Main);
            let wanted = mine && (link == Link::Main || self.ready(Link::Main));
            let past = |since: i64, us: i64| now.saturating_sub(since) >= us;
            match end.state {
                State::Down { since } if wanted && past(since, self.timing.retry_us) => {
                    self.end_mut(link).state = State::Opening { since: now };
                    effects.push(Effect::Open(link));
                }
                State::Opening { since } if past(since, self.timing.silent_us) => self.close(link, now, effects),
                State::Greeting | State::Up if past(end.heard, self.timing.silent_us) => {
                    self.closed(link, 0, now, effects);
                    effects.push(Effect::Close(link));
                }
                State::Up if mine && past(end.sent, self.timing.beat_us) => {
                    effects.push(send(link, if link == Link::Main { 0x1005 } else { 0x9005 }, &[]));
                }
                _ => {}
            }
        }
    }
}

fn send(link: Link, business: u16, fields: &[(&'static str, u32)]) -> Effect {
    let record = Record(fields.iter().map(|(name, n)| (*name, Value::Number(u64::from(*n)))).collect());
    let message = Message::new(business, record).unwrap_or_else(|| Message::raw(business, Vec::new()));
    Effect::Send(link, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;

    fn login() -> Message {
        Message::new(0x1001, Record(vec![("user_id", Value::Number(7))])).unwrap()
    }

    /// Both ends, with a wire between them that loses nothing; what the caller would hear of comes back.
    fn run(upper: &mut Session, lower: &mut Session, verdict: Result<u32, u8>, now: i64) -> Vec<(Role, Effect)> {
        let mut seen = Vec::new();
        let mut todo: Vec<(Role, Effect)> = lower.on(Event::Tick, now).into_iter().map(|e| (Role::Lower, e)).collect();
        todo.extend(upper.on(Event::Tick, now).into_iter().map(|e| (Role::Upper, e)));
        while let Some((role, effect)) = (!todo.is_empty()).then(|| todo.remove(0)) {
            seen.push((role, effect.clone()));
            let mut tell = |to: Role, event: Event<'_>| {
                let session = if to == Role::Upper { &mut *upper } else { &mut *lower };
                todo.extend(session.on(event, now).into_iter().map(|e| (to, e)));
            };
            let peer = if role == Role::Upper { Role::Lower } else { Role::Upper };
            match effect {
                Effect::Open(link) => {
                    tell(peer, Event::Opened(link));
                    tell(role, Event::Opened(link));
                }
                Effect::Close(link) => tell(peer, Event::Closed(link, 1)),
                Effect::Send(link, message) => tell(peer, Event::Heard(link, &message)),
                Effect::Judge(_) => tell(role, Event::Judged(verdict)),
                Effect::Ready(_) | Effect::Refused(..) | Effect::Business(..) => {}
            }
        }
        seen
    }

    #[test]
    fn both_links_come_up_and_beat() {
        let (mut upper, mut lower) = (Session::upper(Timing::default(), 0), Session::lower(Timing::default(), login(), 0));
        run(&mut upper, &mut lower, Ok(0x5b5d), 0);
        assert!([&upper, &lower].iter().all(|s| s.ready(Link::Main) && s.ready(Link::Other)));
        let beats = run(&mut upper, &mut lower, Ok(1), 60 * S);
        let sent: Vec<u16> = beats.iter().filter_map(|(_, e)| if let Effect::Send(_, m) = e { Some(m.business) } else { None }).collect();
        assert_eq!(sent, [0x1005, 0x9005, 0x1006, 0x9006]);
        assert!(run(&mut upper, &mut lower, Ok(1), 61 * S).is_empty());
    }

    #[test]
    fn a_refused_login_is_tried_again_later() {
        let (mut upper, mut lower) = (Session::upper(Timing::default(), 0), Session::lower(Timing::default(), login(), 0));
        let seen = run(&mut upper, &mut lower, Err(4), 0);
        assert!(seen.contains(&(Role::Lower, Effect::Refused(Link::Main, 4))));
        assert!(!upper.ready(Link::Main) && !lower.ready(Link::Main));
        assert!(run(&mut upper, &mut lower, Ok(1), 29 * S).is_empty());
        run(&mut upper, &mut lower, Ok(1), 30 * S);
        assert!(upper.ready(Link::Other) && lower.ready(Link::Other));
    }

    #[test]
    fn a_wrong_code_does_not_open_the_other_link() {
        let (mut upper, mut lower) = (Session::upper(Timing::default(), 0), Session::lower(Timing::default(), login(), 0));
        run(&mut upper, &mut lower, Ok(5), 0);
        lower.on(Event::Closed(Link::Other, 1), S);
        lower.on(Event::Opened(Link::Other), S);
        let Effect::Send(_, wrong) = send(Link::Other, 0x9001, &[("verify_code", 6)]) else { panic!() };
        let effects = lower.on(Event::Heard(Link::Other, &wrong), S);
        assert_eq!(effects, [send(Link::Other, 0x9002, &[("result", 1)]), Effect::Close(Link::Other)]);
        assert!(!lower.ready(Link::Other));
    }

    #[test]
    fn silence_closes_a_link_and_the_other_tells() {
        let (mut upper, mut lower) = (Session::upper(Timing::default(), 0), Session::lower(Timing::default(), login(), 0));
        run(&mut upper, &mut lower, Ok(5), 0);
        let Effect::Send(_, beat) = send(Link::Main, 0x1005, &[]) else { panic!() };
        upper.on(Event::Heard(Link::Main, &beat), 179 * S);
        let effects = upper.on(Event::Tick, 180 * S);
        assert_eq!(effects, [send(Link::Main, 0x9007, &[("code", 0)]), Effect::Close(Link::Other)]);
        // Business before a login goes nowhere.
        let mut fresh = Session::upper(Timing::default(), 0);
        fresh.on(Event::Opened(Link::Main), 0);
        assert!(fresh.on(Event::Heard(Link::Main, &Message::raw(0x1200, vec![1])), 0).is_empty());
    }
}
