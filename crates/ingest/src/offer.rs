//! From a session to the shards and back: a batch goes out, its answer returns to the task that owns the socket.
//!
//! The answer may come from any thread and at any time, so it travels through a channel. That channel holds at most one
//! answer per batch that is out, and the session bounds those (inflight limit, held bytes); it needs no bound of its own.
//! Start at [`Offers`]; where many connections wait for one sync, [`Post`] wakes them.

use std::sync::{Arc, Mutex, PoisonError};

use anlan_model::batch::Prebound;
use anlan_model::{Batch, Intake, Kept, MediaRefusal, RawMedia, RawPosition, RawReading, Refusal, Source, SourceEvent, Timestamp};
use tokio::sync::{Notify, mpsc};

/// Readings of several messages that travel in one batch: what is refused, is refused together.
const JOINED_MAX: u64 = 1_000;

/// A batch without its reply, so that it can be offered again.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) source: Source,
    pub(crate) received_at: Timestamp,
    pub(crate) readings: Vec<RawReading>,
    pub(crate) bound: Prebound,
    pub(crate) positions: Vec<RawPosition>,
    pub(crate) events: Vec<SourceEvent>,
    pub(crate) backfill: bool,
}

impl Content {
    pub(crate) fn new(source: Source, received_at: Timestamp) -> Self {
        Self {
            source,
            received_at,
            readings: Vec::new(),
            bound: Prebound::default(),
            positions: Vec::new(),
            events: Vec::new(),
            backfill: false,
        }
    }
    pub(crate) fn event(source: Source, received_at: Timestamp, event: SourceEvent) -> Self {
        Self { events: vec![event], ..Self::new(source, received_at) }
    }
    /// Whether `next`, heard right behind it, may travel in the same batch: readings of the same device that are answered alike.
    pub(crate) fn joins(&self, next: &Self) -> bool {
        let only_readings = |c: &Self| c.positions.is_empty() && c.events.is_empty();
        // Within a batch what is named goes before what is bound, so nothing named may follow something bound.
        let keeps_order = self.bound.readings.is_empty() || next.readings.is_empty();
        only_readings(self)
            && only_readings(next)
            && keeps_order
            && self.source == next.source
            && self.backfill == next.backfill
            && (self.bound.readings.is_empty() || next.bound.readings.is_empty() || self.bound.generation == next.bound.generation)
            && self.count() + next.count() <= JOINED_MAX
    }
    /// Takes `next` in; [`Content::joins`] said yes.
    pub(crate) fn join(&mut self, next: Self) {
        self.readings.extend(next.readings);
        if self.bound.readings.is_empty() {
            self.bound = next.bound;
        } else {
            self.bound.readings.extend(next.bound.readings);
        }
    }
    /// Readings and positions.
    pub(crate) fn count(&self) -> u64 {
        (self.readings.len() + self.bound.readings.len() + self.positions.len()) as u64
    }
}

/// The answer to the batch with this token.
pub(crate) type Answer = (u64, Result<Kept, Refusal>);

/// Brings the answers of one sync into the runtime with one wake-up from outside, however many connections wait for them; inside
/// it waking a task costs no system call. Holds no more than the batches that are out.
#[derive(Default)]
pub(crate) struct Post {
    bag: Mutex<Vec<(mpsc::UnboundedSender<Answer>, Answer)>>,
    bell: Notify,
}

impl Post {
    fn put(&self, to: mpsc::UnboundedSender<Answer>, answer: Answer) {
        let mut bag = self.bag.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = bag.is_empty();
        bag.push((to, answer));
        drop(bag);
        if is_first {
            self.bell.notify_one();
        }
    }

    /// Hands out what comes, for as long as it is polled.
    pub(crate) async fn deliver(&self) {
        let mut taken = Vec::new();
        loop {
            self.bell.notified().await;
            std::mem::swap(&mut taken, &mut *self.bag.lock().unwrap_or_else(PoisonError::into_inner));
            for (to, answer) in taken.drain(..) {
                // An error means the connection is gone: the device will send again.
                let _ = to.send(answer);
            }
        }
    }
}

/// The batches a session has out.
pub(crate) struct Offers {
    intake: Arc<dyn Intake>,
    post: Option<Arc<Post>>,
    sender: mpsc::UnboundedSender<Answer>,
    receiver: mpsc::UnboundedReceiver<Answer>,
}

impl Offers {
    pub(crate) fn new(intake: Arc<dyn Intake>) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { intake, post: None, sender, receiver }
    }

    /// The same, with answers that come through `post`, which somebody delivers.
    pub(crate) fn through(intake: Arc<dyn Intake>, post: Arc<Post>) -> Self {
        Self { post: Some(post), ..Self::new(intake) }
    }

    /// Offers `content`; the answer comes out of [`Offers::next`] under `token`.
    pub(crate) fn offer(&self, token: u64, content: Content) {
        self.intake.offer(self.batch(token, content));
    }

    /// Offers what was heard together; the answers come under the numbers from 0.
    pub(crate) fn offer_all(&self, contents: Vec<Content>) {
        self.intake.offer_all((0..).zip(contents).map(|(token, content)| self.batch(token, content)).collect());
    }

    fn batch(&self, token: u64, content: Content) -> Batch {
        let mut answer = Returned { sender: self.sender.clone(), post: self.post.clone(), token, said: false };
        Batch {
            source: content.source,
            received_at: content.received_at,
            readings: content.readings,
            bound: content.bound,
            positions: content.positions,
            events: content.events,
            backfill: content.backfill,
            reply: Box::new(move |result| answer.say(result)),
        }
    }

    /// The next answer. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Answer {
        match self.receiver.recv().await {
            Some(answer) => answer,
            // Cannot happen while `self.sender` lives; waiting is the harmless reading of it.
            None => std::future::pending().await,
        }
    }

    /// An answer that is there already.
    pub(crate) fn at_hand(&mut self) -> Option<Answer> {
        self.receiver.try_recv().ok()
    }
}

/// Says "stopping" if a shard drops a reply instead of calling it, so that no message waits for ever.
struct Returned {
    sender: mpsc::UnboundedSender<Answer>,
    post: Option<Arc<Post>>,
    token: u64,
    said: bool,
}

impl Returned {
    fn say(&mut self, result: Result<Kept, Refusal>) {
        self.said = true;
        let answer = (self.token, result);
        match &self.post {
            Some(post) => post.put(self.sender.clone(), answer),
            // An error means the connection is gone: the device will send again.
            None => drop(self.sender.send(answer)),
        }
    }
}

impl Drop for Returned {
    fn drop(&mut self) {
        if !self.said {
            self.say(Err(Refusal::Stopping));
        }
    }
}

/// The answer to the file with this token.
pub(crate) type FileAnswer = (u64, Result<(), MediaRefusal>);

/// The files a session has out; the same channel as for batches, bounded by the same inflight limit.
pub(crate) struct Files {
    intake: Arc<dyn Intake>,
    sender: mpsc::UnboundedSender<FileAnswer>,
    receiver: mpsc::UnboundedReceiver<FileAnswer>,
}

impl Files {
    pub(crate) fn new(intake: Arc<dyn Intake>) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { intake, sender, receiver }
    }

    /// Hands `media` over; the answer comes out of [`Files::next`] under `token`.
    pub(crate) fn keep(&self, token: u64, media: RawMedia) {
        let mut answer = FileReturned { sender: self.sender.clone(), token, said: false };
        self.intake.keep_media(media, Box::new(move |result| answer.say(result)));
    }

    /// The next answer. Cancel-safe.
    pub(crate) async fn next(&mut self) -> FileAnswer {
        match self.receiver.recv().await {
            Some(answer) => answer,
            // Cannot happen while `self.sender` lives.
            None => std::future::pending().await,
        }
    }
}

/// Says "stopping" if a reply is dropped instead of called, as [`Returned`] does.
struct FileReturned {
    sender: mpsc::UnboundedSender<FileAnswer>,
    token: u64,
    said: bool,
}

impl FileReturned {
    fn say(&mut self, result: Result<(), MediaRefusal>) {
        self.said = true;
        // An error means the connection is gone: the terminal will send again.
        let _ = self.sender.send((self.token, result));
    }
}

impl Drop for FileReturned {
    fn drop(&mut self) {
        if !self.said {
            self.say(Err(MediaRefusal::Stopping));
        }
    }
}

#[cfg(test)]
mod tests {
    use anlan_model::{DeviceId, Quarantined};

    use super::*;

    struct Dropping;
    impl Intake for Dropping {
        fn offer(&self, batch: Batch) {
            drop(batch);
        }
        fn quarantine(&self, _: Quarantined) {}
    }

    #[tokio::test]
    async fn a_reply_that_is_dropped_counts_as_stopping() {
        let mut offers = Offers::new(Arc::new(Dropping));
        offers.offer(9, Content::new(Source::Device { device: DeviceId::new(1), protocol: "mqtt" }, Timestamp::EPOCH));
        assert_eq!(offers.next().await, (9, Err(Refusal::Stopping)));
    }

    #[tokio::test]
    async fn one_post_brings_each_its_own_answers() {
        let (post, intake) = (Arc::new(Post::default()), Arc::new(Dropping));
        let mut all = [1, 2, 3].map(|n| (n, Offers::through(intake.clone(), post.clone())));
        let content = || Content::new(Source::Device { device: DeviceId::new(1), protocol: "mqtt" }, Timestamp::EPOCH);
        for (n, offers) in &all {
            offers.offer(*n, content());
            offers.offer(10 * n, content());
        }
        // One that went away keeps nobody waiting.
        Offers::through(intake, post.clone()).offer(4, content());
        let heard = async {
            for (n, offers) in &mut all {
                assert_eq!(offers.next().await, (*n, Err(Refusal::Stopping)));
                assert_eq!(offers.next().await, (10 * *n, Err(Refusal::Stopping)));
            }
        };
        tokio::select! {
            () = heard => {}
            () = post.deliver() => {}
        }
    }

    #[test]
    fn readings_of_one_device_travel_together_and_nothing_else_does() {
        use anlan_model::Quality;
        use anlan_model::batch::BoundReading;
        let device = |id| Source::Device { device: DeviceId::new(id), protocol: "mqtt" };
        let named = |id, code: &str| {
            let reading = RawReading { code: code.to_owned(), device_at: None, value: 1.0, quality: Quality::Good };
            Content { readings: vec![reading], ..Content::new(device(id), Timestamp::EPOCH) }
        };
        let bound = |generation| {
            let reading = BoundReading { point: anlan_model::PointId::new(7), device_at: None, value: 2.0, quality: Quality::Good };
            Content { bound: Prebound { generation, readings: vec![reading] }, ..Content::new(device(1), Timestamp::EPOCH) }
        };
        let mut first = named(1, "a");
        assert!(!first.joins(&named(2, "a")), "another device");
        assert!(!first.joins(&Content { backfill: true, ..named(1, "a") }), "back-fill waits for itself");
        let event = Content::event(device(1), Timestamp::EPOCH, SourceEvent::Status { text: "on".to_owned(), lost: false });
        assert!(!first.joins(&event) && !event.joins(&first));
        for next in [named(1, "b"), bound(4), bound(4)] {
            assert!(first.joins(&next));
            first.join(next);
        }
        assert_eq!((first.readings.len(), first.bound.readings.len(), first.bound.generation, first.count()), (2, 2, 4, 4));
        assert!(!first.joins(&bound(5)), "found in another state of the registry");
        assert!(!first.joins(&named(1, "c")), "a name behind what is bound would overtake it");
        let full = Content { readings: vec![named(1, "a").readings[0].clone(); JOINED_MAX as usize], ..named(1, "a") };
        assert!(!full.joins(&named(1, "a")));
    }
}
