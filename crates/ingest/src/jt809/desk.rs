//! What a pair has handed to the intake and waits for. Nothing is given up: JT/T 809 has no "not now", so what met a full shard is offered again,
//! and no more is read until there is room. Start at [`Desk::put`].

use std::collections::BTreeMap;
use std::sync::Arc;

use anlan_model::{Refusal, Source, SourceEvent};
use tokio::time::Instant;

use crate::limits::Held;
use crate::offer::{Answer, Content, Offers};
use crate::{Context, Protocol, Reason};

/// Memory that must be free before another frame is cut; a frame of positions has some kilobytes.
const FRAME_ROOM: usize = 64 << 10;

struct Pending {
    content: Content,
    attempt: u32,
    _held: Option<Held>,
}

/// What became of something that was put.
pub(super) enum Became {
    /// It is durable: so many positions.
    Kept(u64),
    /// It will be offered again, or was refused for good and is counted.
    Nothing,
    /// The log fails or the node stops: the pair must end, so that the other side sends again.
    Fatal(Refusal),
}

pub(super) struct Desk {
    ctx: Arc<Context>,
    source: String,
    pub(super) offers: Offers,
    pending: BTreeMap<u64, Pending>,
    reoffers: Vec<(Instant, u64)>,
    next: u64,
}

impl Desk {
    pub(super) fn new(ctx: Arc<Context>, source: &str) -> Self {
        let offers = Offers::new(ctx.intake.clone());
        Self { ctx, source: source.to_owned(), offers, pending: BTreeMap::new(), reoffers: Vec::new(), next: 0 }
    }

    /// Whether another frame may be cut.
    pub(super) fn has_room(&self) -> bool {
        self.pending.len() < self.ctx.limits.max_inflight && self.ctx.gate.hold(FRAME_ROOM).is_some()
    }
    pub(super) fn waits(&self) -> bool {
        !self.pending.is_empty()
    }
    /// A place behind everything that was put by now, for [`Self::is_kept`].
    pub(super) fn place(&self) -> u64 {
        self.next
    }
    /// Whether everything before `place` is durable, or refused for good.
    pub(super) fn is_kept(&self, place: u64) -> bool {
        self.pending.first_key_value().is_none_or(|(first, _)| *first >= place)
    }

    pub(super) fn put(&mut self, content: Content, n_bytes: usize) {
        let token = self.next;
        self.next += 1;
        let held = self.ctx.gate.hold(n_bytes);
        self.pending.insert(token, Pending { content: content.clone(), attempt: 0, _held: held });
        self.offers.offer(token, content);
    }

    /// An event of the platform in its own name.
    pub(super) fn event(&mut self, platform: &str, kind: &'static str, detail: String) {
        let source = Source::Platform { name: platform.to_owned() };
        let n = detail.len();
        let event = SourceEvent::Platform { kind, detail };
        self.put(Content::event(source, self.ctx.clock.now(), event), n);
    }

    pub(super) fn answered(&mut self, (token, result): Answer) -> Became {
        match result {
            Ok(_) => {
                let Some(pending) = self.pending.remove(&token) else { return Became::Nothing };
                let n = pending.content.count();
                self.ctx.stats.link(Protocol::Jt809).kept(n);
                Became::Kept(n)
            }
            Err(Refusal::Overloaded) => {
                if let Some(pending) = self.pending.get_mut(&token) {
                    self.reoffers.push((Instant::now() + self.ctx.limits.reoffer_delay(pending.attempt), token));
                    pending.attempt += 1;
                    self.ctx.stats.link(Protocol::Jt809).refuse(Reason::Overloaded);
                }
                Became::Nothing
            }
            Err(Refusal::UnknownSource) => {
                self.pending.remove(&token);
                self.ctx.refuse(Protocol::Jt809, Reason::UnknownSource, &self.source, Refusal::UnknownSource);
                Became::Nothing
            }
            Err(refusal @ (Refusal::Storage | Refusal::Stopping)) => {
                self.pending.remove(&token);
                Became::Fatal(refusal)
            }
        }
    }

    /// When [`Self::tick`] is due.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.reoffers.iter().map(|(at, _)| *at).min()
    }

    pub(super) fn tick(&mut self, now: Instant) {
        let due: Vec<u64> = self.reoffers.iter().filter(|(at, _)| *at <= now).map(|(_, token)| *token).collect();
        self.reoffers.retain(|(at, _)| *at > now);
        for token in due {
            if let Some(pending) = self.pending.get(&token) {
                self.offers.offer(token, pending.content.clone());
            }
        }
    }
}
