//! What outlives an MQTT connection: the session its client may come back to, and the will of one that went without a word.
//!
//! In memory only. After a restart of the node no session is present and no will is published: a repeat is then known by its
//! reading's identity, a device that stays away by the silence rule (ADR 0006). Never decides whether a will may be published
//! (that was decided at CONNECT). Start at [`Afterlife`]; [`publish_wills`] is its one task.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anlan_model::Refusal;
use anlan_protocols::mqtt::server::{LastWill, Remembered};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::limits::Held;
use crate::offer::{Content, Offers};
use crate::{Context, Protocol, Reason};

/// Device code and client id.
pub(crate) type Name = (String, String);

struct Kept {
    /// The connection that uses it now; its end brings what is to be remembered.
    holder: Option<u64>,
    remembered: Remembered,
    until: Instant,
}

/// A will with the memory it is charged for.
#[derive(Clone, Debug)]
pub(crate) struct Will {
    pub(crate) will: LastWill,
    pub(crate) held: Arc<Held>,
}

/// The will of a connection that is gone.
pub(crate) struct Dying {
    pub(crate) name: Name,
    pub(crate) will: Will,
    due: Instant,
}

/// Sessions without a connection, and wills that wait; both bounded by the number of connections.
pub(crate) struct Afterlife {
    /// How long a newcomer waits for the connection before it to say what it still holds.
    hand_over: Duration,
    sessions: Mutex<HashMap<Name, Kept>>,
    wills: Mutex<Vec<Dying>>,
    handed_over: Notify,
    due: Notify,
    is_run: AtomicBool,
}

impl Default for Afterlife {
    fn default() -> Self {
        Self {
            // Longer than a connection that ends waits for its last answers.
            hand_over: crate::wire::DRAIN + Duration::from_secs(1),
            sessions: Mutex::default(),
            wills: Mutex::default(),
            handed_over: Notify::new(),
            due: Notify::new(),
            is_run: AtomicBool::new(false),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is one map or list operation, so a panic elsewhere leaves nothing half-made.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Afterlife {
    /// The session that `connection` goes on with, if its client wants one and there is one. `lasts`: it is to outlive this
    /// connection too. A connection that still holds the session is waited for; it was told to end.
    pub(crate) async fn begin(&self, name: &Name, connection: u64, clean: bool, lasts: bool, max: usize) -> Option<Remembered> {
        self.returned(name, clean);
        let deadline = Instant::now() + self.hand_over;
        loop {
            let handed_over = self.handed_over.notified();
            tokio::pin!(handed_over);
            handed_over.as_mut().enable();
            {
                let mut sessions = lock(&self.sessions);
                let now = Instant::now();
                let waits = !clean && now < deadline && sessions.get(name).is_some_and(|kept| kept.holder.is_some());
                if !waits {
                    let before = sessions.remove(name).filter(|kept| !clean && kept.holder.is_none() && kept.until > now);
                    if lasts {
                        make_room(&mut sessions, max, now);
                        sessions.insert(name.clone(), Kept { holder: Some(connection), remembered: Remembered::default(), until: now });
                    }
                    metrics::gauge!("ingest_mqtt_sessions").set(sessions.len() as f64);
                    return before.map(|kept| kept.remembered);
                }
            }
            let _ = tokio::time::timeout_at(deadline, handed_over).await;
        }
    }

    /// `connection` ended; what it remembers is kept for so many seconds, if it still holds the session.
    pub(crate) fn end(&self, name: &Name, connection: u64, remembered: Remembered, expiry_s: u32) {
        let mut sessions = lock(&self.sessions);
        if sessions.get(name).is_some_and(|kept| kept.holder == Some(connection)) {
            if expiry_s == 0 {
                sessions.remove(name);
            } else {
                let until = Instant::now() + Duration::from_secs(expiry_s.into());
                sessions.insert(name.clone(), Kept { holder: None, remembered, until });
            }
        }
        drop(sessions);
        self.handed_over.notify_waiters();
    }

    /// The will of a connection that ended without a word, to be published after `delay`. `false`: too many wait.
    pub(crate) fn died(&self, name: Name, will: Will, delay: Duration, max: usize) -> bool {
        let mut wills = lock(&self.wills);
        if wills.len() >= max {
            return false;
        }
        wills.push(Dying { name, will, due: Instant::now() + delay });
        drop(wills);
        self.due.notify_one();
        true
    }

    /// The client is back: a will that still waits is not published, or at once if its session ends here (MQTT 5.0 §3.1.3.2.2).
    fn returned(&self, name: &Name, clean: bool) {
        let now = Instant::now();
        let mut wills = lock(&self.wills);
        if clean {
            wills.iter_mut().filter(|d| d.name == *name).for_each(|d| d.due = d.due.min(now));
            self.due.notify_one();
        } else {
            wills.retain(|d| d.name != *name || d.due <= now);
        }
    }

    fn take_due(&self) -> (Vec<Dying>, Option<Instant>) {
        let now = Instant::now();
        let mut wills = lock(&self.wills);
        let due = wills.extract_if(.., |d| d.due <= now).collect();
        (due, wills.iter().map(|d| d.due).min())
    }
}

/// Drops what has expired, then what would expire first.
fn make_room(sessions: &mut HashMap<Name, Kept>, max: usize, now: Instant) {
    if sessions.len() < max {
        return;
    }
    sessions.retain(|_, kept| kept.holder.is_some() || kept.until > now);
    if sessions.len() >= max {
        let first = sessions.iter().filter(|(_, kept)| kept.holder.is_none()).min_by_key(|(_, kept)| kept.until);
        if let Some(name) = first.map(|(name, _)| name.clone()) {
            sessions.remove(&name);
        }
    }
}

/// A batch of a will on its way.
struct Out {
    content: Content,
    attempt: u32,
    /// When to offer it again; `None` while a shard has it.
    again: Option<Instant>,
    _held: Arc<Held>,
}

/// Publishes wills when they are due, until the node stops. Only the first caller works; the others return at once.
///
/// `read` turns a will into batches. A full shard or a failed log is tried again: nobody else will.
pub(crate) async fn publish_wills(ctx: Arc<Context>, read: impl Fn(&Context, &Dying) -> Vec<Content>) {
    if ctx.afterlife.is_run.swap(true, Ordering::AcqRel) {
        return;
    }
    let mut offers = Offers::new(ctx.intake.clone());
    let (mut out, mut next): (HashMap<u64, Out>, u64) = (HashMap::new(), 0);
    loop {
        let (due, next_due) = ctx.afterlife.take_due();
        for dying in due {
            for content in read(&ctx, &dying) {
                next += 1;
                out.insert(next, Out { content: content.clone(), attempt: 0, again: None, _held: dying.will.held.clone() });
                offers.offer(next, content);
            }
        }
        let now = Instant::now();
        for (token, one) in out.iter_mut().filter(|(_, one)| one.again.is_some_and(|at| at <= now)) {
            one.again = None;
            offers.offer(*token, one.content.clone());
        }
        let wake = out.values().filter_map(|one| one.again).chain(next_due).min();
        tokio::select! {
            biased;
            () = ctx.stop.cancelled() => return,
            () = ctx.afterlife.due.notified() => {}
            () = sleep_until(wake) => {}
            (token, result) = offers.next() => {
                let Some(one) = out.get_mut(&token) else { continue };
                match result {
                    Ok(_) => ctx.stats.link(Protocol::Mqtt).kept(one.content.count()),
                    Err(Refusal::Overloaded | Refusal::Storage) => {
                        ctx.stats.link(Protocol::Mqtt).refuse(Reason::Overloaded);
                        one.again = Some(Instant::now() + ctx.limits.reoffer_delay(one.attempt));
                        one.attempt += 1;
                        continue;
                    }
                    Err(refusal @ (Refusal::UnknownSource | Refusal::Stopping)) => {
                        ctx.refuse(Protocol::Mqtt, Reason::UnknownSource, "will", refusal);
                    }
                }
                out.remove(&token);
            }
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Name {
        ("D".into(), "c".into())
    }

    #[tokio::test]
    async fn a_session_is_handed_from_one_connection_to_the_next_until_it_expires() {
        let after = Afterlife::default();
        assert_eq!(after.begin(&name(), 1, false, true, 9).await, None);
        after.end(&name(), 1, Remembered::default(), 60);
        assert_eq!(after.begin(&name(), 2, false, true, 9).await, Some(Remembered::default()));
        after.end(&name(), 2, Remembered::default(), 60);
        lock(&after.sessions).get_mut(&name()).unwrap().until = Instant::now();
        assert_eq!(after.begin(&name(), 3, false, true, 9).await, None);
        after.end(&name(), 3, Remembered::default(), 60);
        assert_eq!(after.begin(&name(), 4, true, true, 9).await, None, "a clean start forgets");
    }

    #[tokio::test]
    async fn a_newcomer_waits_for_the_connection_before_it_and_not_for_ever() {
        let after = Arc::new(Afterlife { hand_over: Duration::from_millis(20), ..Afterlife::default() });
        after.begin(&name(), 1, false, true, 9).await;
        let (name_1, remembered) = (name(), Remembered::default());
        let (found, ()) = tokio::join!(after.begin(&name_1, 2, false, true, 9), async { after.end(&name_1, 1, remembered, 60) });
        assert_eq!(found, Some(Remembered::default()));
        // The second never lets go: the third is told that nothing is present, and the late end of the second changes nothing.
        assert_eq!(after.begin(&name(), 3, false, true, 9).await, None);
        after.end(&name(), 2, Remembered::default(), 60);
        after.end(&name(), 3, Remembered::default(), 0);
        assert_eq!(after.begin(&name(), 4, false, true, 9).await, None);
    }

    #[tokio::test]
    async fn sessions_are_bounded_and_the_one_that_would_expire_first_goes() {
        let after = Afterlife::default();
        let client = |n: u64| ("D".to_owned(), n.to_string());
        for (n, expiry_s) in [(1, 30), (2, 10), (3, 20)] {
            after.begin(&client(n), n, false, true, 2).await;
            after.end(&client(n), n, Remembered::default(), expiry_s);
        }
        assert!(after.begin(&client(2), 9, false, false, 2).await.is_none());
        assert!(after.begin(&client(1), 9, false, false, 2).await.is_some());
    }
}
