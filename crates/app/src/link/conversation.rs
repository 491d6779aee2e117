//! One conversation: carries out what [`Session`] wants, on a connection, with storage.
//!
//! One task owns the session. What takes time runs beside it and answers as [`Done`]; what is said goes through a writer of its own, so that
//! reading never waits for sending. Both are bounded by the session's windows. Start at [`talk`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anlan_history::HistoryError;
use anlan_link::agreement::Readings;
use anlan_link::message::{Bye, Claim, Day, DayDigest, DayPart, Entry, Feed, Have, Hello, Incarnation, Log, Message};
use anlan_link::session::{self, Effect, Session, Side, Standing, cut_feed};
use anlan_link::transport::{Connection, LinkError, in_step};
use anlan_model::{Clock as _, NodeId, Reading, Refusal, Timestamp};
use anlan_store::{FeedEntry, Peer};
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::Service;
use crate::agreed::Part;
use crate::around::Agreed;
use crate::clock::day_number;
use crate::ledger::{Ledger, LedgerError};
use crate::registry::{Snapshot, Touched};
use crate::telemetry::linked::{Linked, Unarchived, unarchived};
use crate::telemetry::piece::{self, BadPiece, DayCursor, LogPieces, PieceError};
use crate::thinned;

/// How often time passes for a session (real time): for a child, whose cap is filled by it, and for a parent, who has a thousand of them.
const TICK: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(2));
/// Entries and bytes of one feed message.
const FEED_ENTRIES: u32 = 500;
const FEED_BYTES: usize = 1 << 20;
/// Readings and bytes of one piece.
const PIECE_READINGS: usize = 20_000;
const PIECE_BYTES: usize = 1 << 20;
/// Under a cap a piece takes about a second of the wire, so that what is live does not wait longer behind a piece of the backlog; but these at least.
const CAPPED_READINGS: usize = 256;
const CAPPED_BYTES: usize = 4 << 10;
/// Bytes of a reading on the wire, roughly, for that.
const READING_BYTES: u64 = 3;
/// What has arrived of a log is written down this often: losing it means that pieces come again.
const HAVE_EVERY: Duration = Duration::from_secs(1);
/// What is over stays in a feed so long, for a neighbour that is restored from a backup (ours).
const TOLD_US: i64 = 90 * 86_400_000_000;
/// What is older is dropped so long after a connection began, not when a thousand begin at once, and then so often.
const TRIM: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(6 * 3_600));
/// How often a piece is offered to an engine that is busy, and how long it rests between.
const OFFERS: u32 = 50;
const OFFER_AGAIN: Duration = Duration::from_millis(100);

/// Where readings around alarms are agreed, a reading waits so often for what it raised, and so long each time.
const PROJECTED: (Duration, u32) = (Duration::from_millis(20), 50);

/// What is held of each point of a day, by its id at home.
pub(super) type ByPoint = Vec<(i64, anlan_link::digest::Digest)>;

/// What is asked of a conversation from outside.
pub(super) enum Order {
    /// End it.
    Leave(Bye),
    /// Ask for a day.
    Again(Day),
    /// What the other holds of each point of a day.
    Points(Day, oneshot::Sender<ByPoint>),
    /// Ask for a new certificate.
    Renew(Vec<u8>),
}

/// A conversation as others see it.
pub(super) struct Talk {
    /// Which connection.
    pub(super) number: u64,
    /// To its task.
    pub(super) orders: mpsc::UnboundedSender<Order>,
    /// What waits for the other: records of the log, entries of the feed.
    pub(super) log_waits: AtomicU64,
    pub(super) feed_waits: AtomicU64,
    /// Which readings travel.
    pub(super) readings: arc_swap::ArcSwap<Readings>,
    /// What of the other's log waits for us, as it says.
    pub(super) log_behind: AtomicU64,
    /// When it was last heard, domain time in µs.
    pub(super) heard_us: AtomicU64,
}

/// What storage has done.
enum Done {
    FeedRead(Feed),
    Numbered(u64),
    NotNumbered,
    LogRead(session::Piece),
    LogUnread,
    LogGone(u64),
    Marked(bool),
    Unread,
    Counted(Claim),
    CountedPart(Part, Option<Agreed>),
    DayRead(Option<(DayPart, Option<DayCursor>, u64)>),
    FeedKept(Option<u64>),
    LogKept(Log, bool),
    DayKept(Day, u32, bool, bool),
    Compared(Vec<DayDigest>, BTreeSet<Day>),
    Say(Message),
    Nonsense(String),
}

struct Conversation {
    service: Arc<Service>,
    ledger: Arc<Ledger>,
    side: Side,
    peer: Peer,
    way: String,
    session: Session,
    talk: Arc<Talk>,
    began: Instant,
    done: mpsc::UnboundedSender<Done>,
    say: mpsc::UnboundedSender<Vec<u8>>,
    pieces: Arc<std::sync::Mutex<LogPieces>>,
    cursors: HashMap<(Day, u32), Option<DayCursor>>,
    asked: HashMap<Day, Vec<oneshot::Sender<ByPoint>>>,
    /// Where a part is agreed: days to be claimed that could not be yet, until they are compared, and what is held of those that are.
    left: BTreeSet<Day>,
    /// Around which alarms the days were claimed.
    around: Option<Agreed>,
    whole: BTreeMap<Day, anlan_link::digest::Digest>,
    have: Option<Have>,
    have_at: Instant,
    trim_at: Instant,
    over: Option<Bye>,
}

/// Holds a conversation to its end and says how it ended.
///
/// # Errors
/// The connection broke, or the database does not answer.
pub(super) async fn talk(service: Arc<Service>, side: Side, peer: Peer, connection: Connection) -> Result<Bye, TalkError> {
    let app = service.app.clone();
    let way = if side == Side::Child { anlan_store::UP.to_owned() } else { peer.id.to_string() };
    let row = app.store.node(&anlan_model::Scope::node(), peer.id).await?;
    let inbox = app.store.inbox(peer.id).await?;
    let sends_log = side == Side::Child;
    let status = app.telemetry.status();
    let hello = Hello {
        node: service.identity.id(),
        incarnation: service.incarnation,
        log_first: app.telemetry.reader.first_in_log().0,
        log_end: if sends_log { status.position } else { 0 },
        feed_end: number(app.store.feed_end(&way).await?),
        have: have_of(&inbox),
        software: format!("anlan {}", env!("CARGO_PKG_VERSION")),
    };
    let known = Incarnation { starts: number(row.starts), nonce: row.nonce.as_deref().and_then(|n| n.parse().ok()).unwrap_or(0) };
    let readings = crate::node::wish(&row);
    let standing = Standing { hello, peer: peer.id, known, readings, starts: service.starts.clone() };
    let (out, mut receiver) = connection.split();
    let (say, mut to_say) = mpsc::unbounded_channel::<Vec<u8>>();
    let (done, mut finished) = mpsc::unbounded_channel();
    let (orders, mut ordered) = mpsc::unbounded_channel();
    let ledger = service.ledger().await?;
    let began = Instant::now();
    let (session, effects) = Session::open(side, service.limits.clone(), standing, 0);
    let talk = Arc::new(Talk {
        number: service.next_number(),
        orders,
        log_waits: AtomicU64::new(0),
        feed_waits: AtomicU64::new(0),
        readings: arc_swap::ArcSwap::from_pointee(readings),
        log_behind: AtomicU64::new(0),
        heard_us: AtomicU64::new(0),
    });
    let mut conversation = Conversation {
        pieces: Arc::new(std::sync::Mutex::new(LogPieces::new(app.telemetry.whole.clone()))),
        service: service.clone(),
        ledger,
        side,
        peer,
        way,
        session,
        talk: talk.clone(),
        began,
        done,
        say,
        cursors: HashMap::new(),
        asked: HashMap::new(),
        left: BTreeSet::new(),
        around: None,
        whole: BTreeMap::new(),
        have: None,
        have_at: began,
        trim_at: began + TRIM.0,
        over: None,
    };
    let _place = service.begin(conversation.peer.id, talk);
    // What is said leaves in its order, however long that takes.
    let mut writer = tokio::spawn(async move {
        while let Some(bytes) = to_say.recv().await {
            out.send(bytes).await?;
        }
        out.close("").await;
        Ok::<(), LinkError>(())
    });
    let mut durable = service.durable.clone();
    let mut fed = app.store.feed_grown();
    let mut ticks = in_step(if side == Side::Child { TICK.0 } else { TICK.1 });
    conversation.carry_out(effects).await?;
    let ended = loop {
        if let Some(why) = conversation.over {
            break Ok(why);
        }
        let effects = tokio::select! {
            heard = receiver.recv() => match heard {
                Ok(Some(bytes)) => match Message::decode(&bytes) {
                    Ok(Some(message)) => {
                        conversation.talk.heard_us.store(app.clock.now().micros().unsigned_abs(), Ordering::Relaxed);
                        let now = conversation.now();
                        conversation.session.heard(message, now)
                    }
                    Ok(None) => continue,
                    Err(damaged) => break Err(TalkError::Nonsense(damaged.to_string())),
                },
                Ok(None) => break Ok(Bye::Stopping),
                Err(failure) => break Err(failure.into()),
            },
            Some(done) = finished.recv() => conversation.take(done),
            Some(order) = ordered.recv() => conversation.obey(order),
            _ = ticks.tick() => {
                conversation.write_have(false).await?;
                conversation.keep_feed_short().await?;
                let now = conversation.now();
                conversation.session.tick(now)
            }
            // A parent of a thousand is not woken by each of its own syncs.
            Ok(()) = durable.changed(), if sends_log => {
                let end = *durable.borrow_and_update();
                conversation.session.grown(end, 0)
            }
            Ok(()) = fed.changed() => {
                fed.borrow_and_update();
                let end = app.store.feed_end_known(&conversation.way);
                conversation.session.grown(0, number(end))
            }
            sent = &mut writer => match sent {
                Ok(Err(failure)) => break Err(failure.into()),
                _ => break Ok(Bye::Stopping),
            },
            () = service.stop.cancelled() => {
                let effects = conversation.session.leave(Bye::Stopping);
                conversation.carry_out(effects).await?;
                continue;
            }
        };
        conversation.carry_out(effects).await?;
        conversation.talk.log_waits.store(conversation.session.log_waits(), Ordering::Relaxed);
        if conversation.session.feed_waits().is_none() {
            conversation.talk.feed_waits.store(0, Ordering::Relaxed);
        }
    };
    conversation.write_have(true).await?;
    // The last words leave, then the connection ends.
    drop(conversation);
    if ended.is_ok() {
        let _ = tokio::time::timeout(Duration::from_secs(2), writer).await;
    } else {
        writer.abort();
    }
    ended
}

/// Why a conversation broke off.
#[derive(Debug, thiserror::Error)]
pub enum TalkError {
    /// The connection.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The database.
    #[error("the database does not answer")]
    Store(#[from] anlan_store::StoreError),
    /// The ledger.
    #[error("the ledger says nothing")]
    Ledger(#[from] LedgerError),
    /// What was said cannot be understood.
    #[error("it says what cannot be understood: {0}")]
    Nonsense(String),
}

/// Database numbers are never negative.
fn number(n: i64) -> u64 {
    n.max(0).unsigned_abs()
}

impl Conversation {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn beside(&self, work: impl Future<Output = Done> + Send + 'static) {
        let done = self.done.clone();
        // Nobody listens any more once the conversation is over.
        self.service.tasks.spawn(async move { _ = done.send(work.await) });
    }

    fn say(&self, message: Message) {
        metrics::counter!("anlan_link_messages_total", "kind" => message.kind()).increment(1);
        _ = self.say.send(message.encode());
    }

    fn obey(&mut self, order: Order) -> Vec<Effect> {
        match order {
            Order::Leave(why) => self.session.leave(why),
            Order::Again(day) => self.session.ask_again(day),
            Order::Points(day, reply) => {
                self.asked.entry(day).or_default().push(reply);
                vec![Effect::Send(Message::Points(day))]
            }
            Order::Renew(request) => vec![Effect::Send(Message::Renew(request))],
        }
    }

    fn take(&mut self, done: Done) -> Vec<Effect> {
        match done {
            Done::FeedRead(feed) => self.session.feed_read(feed),
            Done::Numbered(end) => self.session.numbered(end),
            Done::NotNumbered => self.session.leave(Bye::Stopping),
            Done::LogRead(piece) => self.session.log_read(piece),
            Done::LogUnread => self.session.log_unread(),
            Done::LogGone(first) => self.session.log_gone(first),
            Done::Marked(is_same) => self.session.marked(is_same),
            Done::Unread => {
                warn!("the log cannot be read; the next connection tries again");
                self.session.leave(Bye::Stopping)
            }
            Done::Counted(claim) => self.session.counted(claim),
            Done::CountedPart(part, around) => {
                self.around = around.or_else(|| self.around.take());
                // The alarms by which it was found are told before it is claimed.
                let end = self.service.app.store.feed_end_known(&self.way);
                let mut effects = self.session.grown(0, number(end));
                self.left.extend(part.left);
                self.whole = part.whole;
                effects.extend(self.session.counted(part.claim));
                effects
            }
            Done::DayRead(read) => {
                let part = read.map(|(part, next, names)| {
                    self.cursors.retain(|(day, _), _| *day == part.day);
                    self.cursors.insert((part.day, part.part + 1), next);
                    (part, names)
                });
                self.session.day_read(part)
            }
            Done::FeedKept(upto) => self.session.feed_kept(upto),
            Done::LogKept(log, is_kept) => self.session.log_kept(&log, is_kept),
            Done::DayKept(day, part, is_last, is_kept) => self.session.day_kept(day, part, is_last, is_kept),
            Done::Compared(ours, thinned) => self.session.compared(ours, &thinned),
            Done::Say(message) => vec![Effect::Send(message)],
            Done::Nonsense(what) => {
                warn!(node.id = %self.peer.id, "a neighbour sends what cannot be understood: {what}");
                self.session.leave(Bye::Nonsense)
            }
        }
    }

    async fn write_have(&mut self, now: bool) -> Result<(), anlan_store::StoreError> {
        if (now || self.have_at.elapsed() >= HAVE_EVERY)
            && let Some(have) = self.have.take()
        {
            self.have_at = Instant::now();
            let log = serde_json::json!({ "ranges": have.log, "mark": have.mark }).to_string();
            self.service.app.store.put_inbox_log(self.peer.id, &log).await?;
        }
        Ok(())
    }

    /// Counts what waits of the feed; when nothing does, drops now and then what is long told.
    async fn keep_feed_short(&mut self) -> Result<(), anlan_store::StoreError> {
        let store = &self.service.app.store;
        if let Some(behind) = self.session.feed_waits() {
            let waits = store.feed_waits(&self.way, i64::try_from(behind).unwrap_or(i64::MAX)).await?;
            self.talk.feed_waits.store(waits, Ordering::Relaxed);
        } else if self.session.has_met() && Instant::now() >= self.trim_at {
            self.trim_at = Instant::now() + TRIM.1;
            let told = i64::try_from(self.session.feed_told()).unwrap_or(0);
            store.trim_feed(&self.way, told, self.service.app.clock.now().plus_us(-TOLD_US)).await?;
        }
        Ok(())
    }

    async fn carry_out(&mut self, effects: Vec<Effect>) -> Result<(), TalkError> {
        for effect in effects {
            let app = self.service.app.clone();
            match effect {
                Effect::Send(Message::Pulse(mut pulse)) => {
                    pulse.now_us = app.clock.now().micros();
                    self.say(Message::Pulse(pulse));
                }
                Effect::Send(message) => self.say(message),
                Effect::ReadFeed(after) => {
                    let way = self.way.clone();
                    self.beside(async move { Done::FeedRead(read_feed(&app, &way, after).await) });
                }
                Effect::NumberAnew => {
                    let (way, peer) = (self.way.clone(), self.peer.id);
                    warn!(node.id = %peer, "{peer} was told by a life of this node that a backup does not know of; all it is told is numbered anew and told again");
                    self.beside(async move {
                        match app.store.number_anew(&way).await {
                            Ok(end) => Done::Numbered(number(end)),
                            Err(failure) => {
                                warn!(
                                    error = &failure as &dyn std::error::Error,
                                    "the feed cannot be numbered anew; the next connection tries again"
                                );
                                Done::NotNumbered
                            }
                        }
                    });
                }
                Effect::ReadLog { after, upto } => self.read_log(after, upto),
                Effect::CheckMark(at, tag) => {
                    let reader = app.telemetry.reader.clone();
                    self.beside(async move {
                        match tokio::task::spawn_blocking(move || reader.tag(anlan_history::Lsn(at))).await {
                            Ok(Ok(have)) => Done::Marked(have == tag),
                            // Released since the greeting: nothing speaks against it. Beyond the end: it was written by another life of this log.
                            Ok(Err(HistoryError::NotInLog { first, .. })) => Done::Marked(at < first.0),
                            _ => Done::Unread,
                        }
                    });
                }
                Effect::Count(mut wanted) if self.session.readings().is_part() => {
                    let (ledger, agreed, today) = (self.ledger.clone(), self.session.readings(), day_number(app.clock.now()));
                    wanted.also.extend(self.left.iter().copied());
                    let (service, before) = (self.service.clone(), self.around.clone());
                    self.beside(async move {
                        let counted = async {
                            let around = service.near.get(&app, agreed).await?;
                            let mut changed = BTreeSet::new();
                            if let Some(before) = before.filter(|before| before.readings == agreed) {
                                changed = around.changed(&before, &app.registry.get(), service.identity.id(), app.clock.now());
                            }
                            wanted.also.extend(changed.iter().copied());
                            let mut part = ledger.claim_of(agreed, &wanted, today).await?;
                            part.left.extend(changed);
                            Ok::<_, LedgerError>((part, Some(around)))
                        };
                        let (part, around) = counted.await.unwrap_or_else(|failure| {
                            warn!(error = &failure as &dyn std::error::Error, "what is agreed of days cannot be said");
                            Default::default()
                        });
                        Done::CountedPart(part, around)
                    });
                }
                Effect::Count(wanted) => {
                    let ledger = self.ledger.clone();
                    self.beside(async move {
                        Done::Counted(ledger.claim(&wanted).await.unwrap_or_else(|failure| {
                            warn!(error = &failure as &dyn std::error::Error, "the ledger says nothing");
                            Claim::default()
                        }))
                    });
                }
                Effect::ReadDay(day, part) => self.read_day(day, part),
                Effect::KeepFeed(feed) => {
                    let (service, peer) = (self.service.clone(), self.peer.clone());
                    self.beside(async move { Done::FeedKept(keep_feed(&service, &peer, feed).await) });
                }
                Effect::KeepLog(log) => {
                    let (service, peer) = (self.service.clone(), self.peer.id);
                    self.beside(async move {
                        let bytes = Arc::new(log.bytes);
                        let log = Log { bytes: Vec::new(), ..log };
                        match keep(&service, peer, bytes).await {
                            Ok(is_kept) => Done::LogKept(log, is_kept),
                            Err(what) => Done::Nonsense(what),
                        }
                    });
                }
                Effect::KeepDay(part) => {
                    let (service, peer) = (self.service.clone(), self.peer.id);
                    self.beside(async move {
                        match keep(&service, peer, Arc::new(part.bytes)).await {
                            Ok(is_kept) => Done::DayKept(part.day, part.part, part.is_last, is_kept),
                            Err(what) => Done::Nonsense(what),
                        }
                    });
                }
                Effect::Have(have) => self.have = Some(have),
                Effect::Compare(claim, agreed) if agreed.is_part() => {
                    let ledger = self.ledger.clone();
                    let days: Vec<Day> = claim.days.iter().map(|d| Day { origin: d.origin, day: d.day }).collect();
                    self.beside(async move {
                        let (ours, gone) = ledger.verdict_of(agreed, &days).await.unwrap_or_else(|failure| {
                            warn!(error = &failure as &dyn std::error::Error, "what is agreed of days cannot be said");
                            Default::default()
                        });
                        Done::Compared(ours, gone)
                    });
                }
                Effect::Compare(claim, _) => {
                    let ledger = self.ledger.clone();
                    let days: Vec<Day> = claim.days.iter().map(|d| Day { origin: d.origin, day: d.day }).collect();
                    self.beside(async move {
                        match ledger.verdict(&days).await {
                            Ok(ours) => {
                                let unequal = claim.days.iter().zip(&ours.days).filter(|(theirs, ours)| theirs.digest != ours.digest);
                                let thinned = thinned::gone(&app.store, unequal.map(|(_, ours)| *ours).collect()).await;
                                Done::Compared(ours.days, thinned)
                            }
                            Err(failure) => {
                                warn!(error = &failure as &dyn std::error::Error, "the ledger says nothing");
                                Done::Compared(Vec::new(), BTreeSet::new())
                            }
                        }
                    });
                }
                Effect::Compared(claim, ours, agreed) => {
                    if self.side == Side::Child {
                        for day in &claim.days {
                            self.left.remove(&Day { origin: day.origin, day: day.day });
                        }
                        let whole = agreed.is_part().then(|| std::mem::take(&mut self.whole));
                        self.service.tasks.spawn(async move { thinned::note_told(&app, &claim, &ours, whole.as_ref()).await });
                    } else {
                        let (service, peer) = (self.service.clone(), self.peer.id);
                        self.service.tasks.spawn(async move {
                            // One after the other: the newest comparison stands.
                            let _turn = service.noting.lock().await;
                            note_proofs(&service, peer, &claim, &ours, agreed).await;
                        });
                    }
                }
                Effect::TellPoints(day) => {
                    let (ledger, agreed) = (self.ledger.clone(), self.session.readings());
                    self.beside(async move {
                        let points = ledger.point_digests(day.origin, day.day, agreed).await.unwrap_or_default();
                        Done::Say(Message::PointsOf(day, points))
                    });
                }
                Effect::Points(day, points) => {
                    for reply in self.asked.remove(&day).unwrap_or_default() {
                        let _ = reply.send(points.clone());
                    }
                }
                Effect::Met(hello, feed) => {
                    app.store
                        .meet(self.peer.id, hello.incarnation.starts, hello.incarnation.nonce, i64::try_from(feed).unwrap_or(i64::MAX))
                        .await?;
                    info!(node.id = %self.peer.id, "in conversation with {} ({})", self.peer.id, hello.software);
                    self.service.met(self.side, &self.peer, &hello).await;
                    if self.side == Side::Parent {
                        app.store.tell_orders(self.peer.id, app.clock.now()).await?;
                        app.store.tell_transfers(self.peer.id, app.clock.now()).await?;
                    }
                }
                Effect::Terms(word) => {
                    self.talk.readings.store(Arc::new(self.session.readings()));
                    self.service.agreed(&self.peer, &word).await;
                }
                Effect::Alive(pulse) => self.talk.log_behind.store(pulse.log_waits, Ordering::Relaxed),
                Effect::Renew(request) => {
                    let (service, peer) = (self.service.clone(), self.peer.id);
                    self.beside(async move {
                        match service.renew_child(peer, &request).await {
                            Ok(chain) => Done::Say(Message::Renewed(vec![chain.into_bytes()])),
                            Err(failure) => Done::Nonsense(failure.to_string()),
                        }
                    });
                }
                Effect::Renewed(chain) => self.service.renewed(chain.first().map(Vec::as_slice).unwrap_or_default()).await,
                Effect::Repaired(day) => info!(node.id = %self.peer.id, "day {} of {} has come again", day.day, day.origin),
                Effect::Freeze(why) => self.service.freeze(self.peer.id, why).await,
                Effect::Close(why) => self.over = Some(why),
            }
        }
        Ok(())
    }

    fn read_log(&self, after: u64, upto: u64) {
        let (app, pieces, own) = (self.service.app.clone(), self.pieces.clone(), self.service.identity.id());
        let (readings_max, bytes_max) = piece_bounds(self.service.limits.bytes_per_s);
        let (service, agreed) = (self.service.clone(), self.session.readings());
        self.beside(async move {
            // The alarm that a reading raised is known a moment later; what lies before it goes along.
            for _ in 0..if agreed == Readings::Alarms { PROJECTED.1 } else { 0 } {
                if app.telemetry.status().projected >= upto {
                    break;
                }
                tokio::time::sleep(PROJECTED.0).await;
            }
            let agreed = match service.near.get(&app, agreed).await {
                Ok(agreed) => agreed,
                Err(failure) => {
                    warn!(error = &failure as &dyn std::error::Error, "alarms cannot be read for the parent");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    return Done::LogUnread;
                }
            };
            let now = app.clock.now();
            let snapshot = app.registry.get();
            let read = tokio::task::spawn_blocking(move || {
                let whose = |point| match snapshot.mirrored.get(&point) {
                    Some(at_home) => Some(*at_home),
                    None => snapshot.points.contains_key(&point).then_some((own, point)),
                };
                let mut pieces = pieces.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                pieces.agree(agreed, now);
                pieces.read(&whose, after, upto, readings_max, bytes_max)
            });
            let piece = match read.await {
                Ok(Ok(piece)) if piece.to > after => piece,
                Ok(Err(PieceError::Gone { first_available })) => return Done::LogGone(first_available),
                Ok(Ok(_)) => return Done::LogUnread,
                Ok(Err(failure)) => {
                    warn!(error = &failure as &dyn std::error::Error, "the log cannot be read for the parent");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    return Done::LogUnread;
                }
                Err(_) => return Done::LogUnread,
            };
            // Everything the piece names was told before it was read.
            let names = match app.store.feed_end(anlan_store::UP).await {
                Ok(end) => number(end),
                Err(_) => return Done::LogUnread,
            };
            let n_readings = u32::try_from(piece.n_readings).unwrap_or(u32::MAX);
            let log = Log { first: after + 1, last: piece.to, tag: piece.tag, n_readings, bytes: piece.bytes };
            metrics::counter!("anlan_link_readings_sent_total").increment(u64::from(n_readings));
            metrics::counter!("anlan_link_bytes_sent_total").increment(log.bytes.len() as u64);
            Done::LogRead(session::Piece { log, names })
        });
    }

    fn read_day(&mut self, day: Day, part: u32) {
        let cursor = if part == 0 { Some(None) } else { self.cursors.get(&(day, part)).map(|cursor| Some(*cursor)).unwrap_or(None) };
        let (app, own) = (self.service.app.clone(), self.service.identity.id());
        let (readings_max, _) = piece_bounds(self.service.limits.bytes_per_s);
        let (done, agreed) = (self.done.clone(), self.session.readings());
        self.beside(async move {
            let Some(cursor) = cursor else { return Done::DayRead(None) };
            // What gave way cannot be sent, and is not passed over in silence.
            match app.store.thinned_here(day.origin, &crate::clock::date_of(day.day).to_string()).await {
                Ok(Some(gone)) if part == 0 => {
                    let digest = anlan_link::digest::Digest { n: gone.readings.n, sum: gone.readings.sum };
                    // Nobody listens any more once the conversation is over.
                    _ = done.send(Done::Say(Message::Thinned(day, digest)));
                }
                Ok(_) => {}
                Err(_) => return Done::DayRead(None),
            }
            let Ok(agreed) = Agreed::of_day(&app.store, agreed, day.day).await else { return Done::DayRead(None) };
            let whole = app.telemetry.whole.clone();
            let snapshot = app.registry.get();
            let read = tokio::task::spawn_blocking(move || {
                let points = piece::points_of(&snapshot, own, day.origin);
                piece::read_day(&whole, &points, day.origin, day.day, &agreed, cursor, readings_max)
            });
            match read.await {
                Ok(Ok(read)) => {
                    let Ok(names) = app.store.feed_end(anlan_store::UP).await else { return Done::DayRead(None) };
                    let part = DayPart { day, part, is_last: read.next.is_none(), bytes: read.bytes };
                    Done::DayRead(Some((part, read.next, number(names))))
                }
                Ok(Err(failure)) => {
                    warn!(error = &failure as &dyn std::error::Error, "a day cannot be read for the parent");
                    Done::DayRead(None)
                }
                Err(_) => Done::DayRead(None),
            }
        });
    }
}

/// Most readings and bytes of a piece under this cap.
fn piece_bounds(bytes_per_s: u64) -> (usize, usize) {
    let size = |n: u64, least: usize, most: usize| usize::try_from(n).unwrap_or(most).clamp(least, most);
    match bytes_per_s {
        0 => (PIECE_READINGS, PIECE_BYTES),
        cap => (size(cap / READING_BYTES, CAPPED_READINGS, PIECE_READINGS), size(cap, CAPPED_BYTES, PIECE_BYTES)),
    }
}

async fn read_feed(app: &crate::App, way: &str, after: u64) -> Feed {
    let nothing = Feed { after, upto: after, entries: Vec::new() };
    let Ok(at) = i64::try_from(after) else { return nothing };
    // The end first: what is put meanwhile is behind it.
    let read = async {
        let end = app.store.feed_end(way).await?;
        Ok::<_, anlan_store::StoreError>((end, app.store.feed(way, at, FEED_ENTRIES).await?))
    };
    let (end, mut rows) = match read.await {
        Ok(read) => read,
        Err(failure) => {
            warn!(error = &failure as &dyn std::error::Error, "the feed cannot be read");
            tokio::time::sleep(Duration::from_secs(1)).await;
            return nothing;
        }
    };
    let is_all = rows.len() < FEED_ENTRIES as usize;
    let mut bytes = 0;
    let fits = rows.iter().take_while(|row| {
        bytes += row.body.len() + row.subject.len();
        bytes <= FEED_BYTES
    });
    let n = fits.count().max(1).min(rows.len());
    let is_all = is_all && n == rows.len();
    rows.truncate(n);
    let last = rows.last().map_or(after, |row| number(row.seq));
    let entry = |row: FeedEntry| Entry { seq: number(row.seq), kind: row.kind, subject: row.subject, body: row.body };
    cut_feed(after, number(end).max(last), rows.into_iter().map(entry).collect(), is_all)
}

/// Applies what a neighbour told, and makes it known here before it is acknowledged: readings of what it names may follow at once.
async fn keep_feed(service: &Service, peer: &Peer, feed: Feed) -> Option<u64> {
    let app = &service.app;
    let row = |entry: Entry| {
        let seq = i64::try_from(entry.seq).unwrap_or(i64::MAX);
        FeedEntry { seq, kind: entry.kind, subject: entry.subject, body: entry.body }
    };
    let entries: Vec<FeedEntry> = feed.entries.into_iter().map(row).collect();
    let (after, upto) = (i64::try_from(feed.after).ok()?, i64::try_from(feed.upto).ok()?);
    let applied = match app.store.apply_feed(peer, after, upto, &entries, app.clock.now()).await {
        Ok(applied) => applied,
        Err(failure) => {
            warn!(node.id = %peer.id, error = &failure as &dyn std::error::Error, "what a neighbour told cannot be applied");
            tokio::time::sleep(Duration::from_secs(1)).await;
            return None;
        }
    };
    for refused in &applied.refused {
        warn!(node.id = %peer.id, kind = refused.kind, subject = refused.subject, reason = refused.reason, "refused what a neighbour told");
        metrics::counter!("anlan_link_refused_total", "reason" => refused.reason).increment(1);
    }
    let enterprises = applied.enterprises.iter().map(|id| Touched::Enterprise(*id));
    let vehicles = applied.vehicles.iter().map(|id| Touched::Vehicle(*id));
    let touched: Vec<Touched> = enterprises.chain(applied.devices.iter().map(|id| Touched::Device(*id))).chain(vehicles).collect();
    // A repeat renews too: what it brought the first time may not be known yet.
    if let Err(failure) = app.registry.renew(touched).await {
        warn!(error = &failure as &dyn std::error::Error, "what a neighbour told is not known yet; it is told again");
        return None;
    }
    if !applied.nodes.is_empty() {
        service.look_at_nodes().await;
    }
    app.live.alarms_changed(&applied.alarms);
    app.live.records_changed(&applied.records);
    if applied.orders {
        app.orders.notify_one();
    }
    app.transfers.add(&applied.transfers);
    Some(number(applied.feed))
}

/// Keeps readings of a neighbour and of those behind it; whether they are durable. `Err`: the bytes are no piece.
async fn keep(service: &Service, peer: NodeId, bytes: Arc<Vec<u8>>) -> Result<bool, String> {
    let app = &service.app;
    for _ in 0..OFFERS {
        let received_at = app.clock.now();
        let (piece, whole) = (bytes.clone(), app.telemetry.whole.clone());
        let (snapshot, through) = (app.registry.get(), service.through.load_full());
        let work = move || {
            let origins = piece::decode(&piece, received_at)?;
            Ok::<_, BadPiece>(unarchived(&whole, known(&snapshot, &through, peer, origins)))
        };
        let decoded = tokio::task::spawn_blocking(work).await;
        let Unarchived { readings, days, .. } = match decoded
            .map_err(|_| "it broke the reading of it".to_owned())?
            .map_err(|bad| bad.to_string())?
        {
            Ok(found) => found,
            Err(failure) => {
                warn!(error = &failure as &dyn std::error::Error, "the archive does not say what it has; nothing is kept until it does");
                return Ok(false);
            }
        };
        if readings.is_empty() {
            return Ok(true);
        }
        let (told, kept) = oneshot::channel();
        let reply: anlan_model::Reply = Box::new(move |kept| _ = told.send(kept));
        app.engine.offer_linked(Linked { archived: days, ..Linked::new(&app.registry.get(), readings, reply) });
        match kept.await {
            Ok(Ok(kept)) => {
                metrics::counter!("anlan_link_readings_kept_total").increment(u64::from(kept.stored));
                metrics::counter!("anlan_link_readings_repeated_total").increment(u64::from(kept.repeated));
                return Ok(true);
            }
            Ok(Err(Refusal::Overloaded)) => tokio::time::sleep(OFFER_AGAIN).await,
            _ => return Ok(false),
        }
    }
    Ok(false)
}

/// Readings under the names they have here. What is of a node that is not heard through this neighbour, or was never told of, is refused and
/// counted; the ledger will show the difference.
fn known(snapshot: &Snapshot, through: &HashMap<NodeId, NodeId>, peer: NodeId, origins: Vec<(NodeId, Vec<Reading>)>) -> Vec<Reading> {
    let (mut readings, mut n_refused) = (Vec::new(), 0u64);
    for (origin, mut all) in origins {
        if through.get(&origin) != Some(&peer) {
            n_refused += all.len() as u64;
            continue;
        }
        let n_sent = all.len();
        all.retain_mut(|reading| {
            let here = snapshot.mirrored_as.get(&(origin, reading.point)).copied();
            here.inspect(|here| reading.point = *here).is_some()
        });
        n_refused += (n_sent - all.len()) as u64;
        readings.append(&mut all);
    }
    if n_refused > 0 {
        warn!(node.id = %peer, "refused {n_refused} readings of points that this neighbour may not speak of or has not told of");
        metrics::counter!("anlan_link_refused_total", "reason" => "origin").increment(n_refused);
    }
    readings
}

/// Writes down what a child claimed and what is held here.
async fn note_proofs(service: &Service, holder: NodeId, claim: &Claim, ours: &[DayDigest], agreed: Readings) {
    let app = &service.app;
    let at: Timestamp = app.clock.now();
    for (theirs, ours) in claim.days.iter().zip(ours) {
        let proof = anlan_store::NewProof {
            origin: theirs.origin,
            day: crate::clock::date_of(theirs.day).to_string(),
            holder,
            position: claim.at,
            count: i64::try_from(theirs.digest.n).unwrap_or(i64::MAX),
            sum: theirs.digest.to_string(),
            readings: agreed.is_part().then(|| agreed.as_str().to_owned()),
            ours: Some((i64::try_from(ours.digest.n).unwrap_or(i64::MAX), ours.digest.to_string())),
            at,
        };
        if let Err(failure) = app.store.put_proof(&proof).await {
            warn!(error = &failure as &dyn std::error::Error, "a comparison could not be written down");
            return;
        }
        if theirs.digest != ours.digest {
            warn!(node.id = %holder, "day {} of {}: it holds {} readings, here are {}", proof.day, theirs.origin, theirs.digest.n, ours.digest.n);
        }
    }
}

/// What is durable here of a neighbour, as the session counts it.
fn have_of(inbox: &anlan_store::Inbox) -> Have {
    #[derive(serde::Deserialize, Default)]
    struct OfLog {
        ranges: Vec<(u64, u64)>,
        mark: Option<(u64, u64)>,
    }
    let log: OfLog = serde_json::from_str(&inbox.log).unwrap_or_default();
    let feed_of = inbox.feed_of.split_once(':').and_then(|(starts, nonce)| Some((starts.parse().ok()?, nonce.parse().ok()?)));
    let feed_of = feed_of.map_or_else(Incarnation::default, |(starts, nonce)| Incarnation { starts, nonce });
    Have {
        log: anlan_link::intervals::Intervals::checked(log.ranges).unwrap_or_default(),
        mark: log.mark,
        feed: number(inbox.feed),
        feed_of,
    }
}
