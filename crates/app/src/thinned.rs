//! Thinning (抽稀): at the limit of the disk the oldest readings give way to their hours, and whatever gives way, for want of space or because
//! its time is over, is written down with its digest, so that what was proven of a day stays provable.
//!
//! The rules: oldest day first, down to a floor of days; never what a hold or an archive keeps, never a kind of measurement whose days the operator set;
//! what the parent does not have goes last, when otherwise telemetry would be refused. Alarms and records are not touched. A day that gave
//! way stays in the ledger as it was. Nothing of it is taken over a link again ([`crate::telemetry::linked`]), and what an own device says of
//! it later bears a revision of its own ([`LATE_REVISION`]): neither can be told from what is gone. Why: ADR 0027. Start at [`make_room`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anlan_history::{Going, HistoryError, HourSum, Keeper, Policy, Reader, Witness};
use anlan_link::digest::Digest;
use anlan_link::message::{Claim, Day, DayDigest};
use anlan_model::{Clock as _, NodeId, Permission, PointId, Scope, Timestamp};
pub use anlan_store::{Counted, ThinnedRow};
use anlan_store::{Store, StoreError, ThinnedPart, Thinning};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tracing::{error, warn};

use crate::App;
use crate::clock::{date_of, day_number, number_of};
use crate::error::AppError;
use crate::registry::Snapshot;
use crate::retention;
use crate::telemetry::pressure::disk_free;
use crate::validate::{Page, Paging};

/// Days that are kept whatever is configured: the log holds seven, from which a neighbour may still ask.
pub const FLOOR_DAYS: u32 = 8;
/// A value that an own device says of an instant whose day gave way gets this revision or a higher one: what had been said of that instant is
/// not known any more, and bears a lower one.
pub const LATE_REVISION: u16 = 0x8000;
/// For so long (real time) the steps of a round go by one answer of what the parent lacks: it takes reading the whole ledger.
const UNTOLD_STANDS: Duration = Duration::from_secs(60);
const DAY_US: i64 = 86_400_000_000;

/// What housekeeping remembers of it.
#[derive(Debug)]
pub struct Open {
    /// What was taken down last may not have been settled.
    unsettled: AtomicBool,
    /// There is too little room and nothing that may go; told once.
    stuck: AtomicBool,
    /// Who wants files and database to say the same of what went.
    paused: AtomicUsize,
    /// What the parent lacks, and when that was asked (real time).
    untold: Mutex<Option<(Instant, Untold)>>,
}

/// Days that the parent was not found to have exactly.
type Untold = Arc<HashSet<(NodeId, i32)>>;

impl Default for Open {
    fn default() -> Self {
        Self { unsettled: AtomicBool::new(true), stuck: AtomicBool::new(false), paused: AtomicUsize::new(0), untold: Mutex::default() }
    }
}

impl Open {
    /// A round is over.
    fn ask_again(&self) {
        *self.untold.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Why something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Its time is over.
    Age,
    /// The disk has so many megabytes left.
    Disk { free_mb: u64 },
}

#[derive(Clone, Copy, Debug, Default)]
struct Gave {
    readings: Digest,
    hours: Digest,
}

/// Counts what goes in one step, by origin and civil day, under the ids of the origin.
pub(crate) struct Account {
    own: NodeId,
    known: Arc<Snapshot>,
    days: Mutex<BTreeMap<(NodeId, i32), Gave>>,
}

impl Account {
    pub(crate) fn new(own: NodeId, known: Arc<Snapshot>) -> Self {
        Self { own, known, days: Mutex::default() }
    }

    pub(crate) fn see(&self, going: &Going<'_>) {
        let mut days = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        match going {
            Going::Readings(rows) => {
                let Some(first) = rows.first() else { return };
                let (origin, there) = self.known.origin(self.own, first.point);
                for r in *rows {
                    let day = days.entry((origin, day_number(r.event_at))).or_default();
                    day.readings.add(there.get(), r.event_at.micros(), r.value, r.quality.code(), r.revision);
                }
            }
            Going::Hour(point, hour) => {
                let (origin, there) = self.known.origin(self.own, *point);
                days.entry((origin, day_number(hour.at))).or_default().hours.join(&hour_digest(there, hour));
            }
        }
    }

    fn parts(&self) -> Vec<ThinnedPart> {
        let days = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = |digest: Digest| Counted { n: digest.n, sum: digest.sum };
        let part = |((origin, day), gave): (&(NodeId, i32), &Gave)| ThinnedPart {
            origin: *origin,
            day: date_of(*day).to_string(),
            readings: counted(gave.readings),
            hours: counted(gave.hours),
        };
        days.iter().map(part).collect()
    }

    /// As it is written down; `None` = no reading goes.
    pub(crate) fn thinning(&self, witness: Witness, why: Why) -> Option<Thinning> {
        let (word, free_mb) = match why {
            Why::Age => ("age", None),
            Why::Disk { free_mb } => ("disk", Some(free_mb)),
        };
        let parts = self.parts();
        (!parts.is_empty()).then(|| Thinning { witness: serde_json::json!(witness), why: word, free_mb, parts })
    }
}

/// One hour. Its hash is the first 16 bytes of SHA-256 over, all big-endian: point (i64), begin in µs (i64), readings that are not bad (u32), bad
/// ones (u32), and the bits of first, last, least and greatest value (u64 each).
///
/// The sum of the values is left out: it depends on the order in which an implementation adds.
fn hour_digest(point: PointId, hour: &HourSum) -> Digest {
    let mut bytes = [0; 56];
    bytes[..8].copy_from_slice(&point.get().to_be_bytes());
    bytes[8..16].copy_from_slice(&hour.at.micros().to_be_bytes());
    bytes[16..20].copy_from_slice(&hour.count.to_be_bytes());
    bytes[20..24].copy_from_slice(&hour.bad.to_be_bytes());
    for (place, value) in bytes[24..].chunks_exact_mut(8).zip(hour.stats) {
        place.copy_from_slice(&value.to_bits().to_be_bytes());
    }
    let mut first = [0; 16];
    first.copy_from_slice(&Sha256::digest(bytes)[..16]);
    Digest { n: 1, sum: u128::from_be_bytes(first) }
}

/// Counts what was taken down if it went, and forgets it if it stayed.
///
/// # Errors
/// The database; it stays open then.
pub(crate) async fn settle(store: &Store, reader: &Reader, now: Timestamp) -> Result<(), StoreError> {
    let Some(witness) = store.thinning().await? else { return Ok(()) };
    let witness: Witness =
        serde_json::from_value(witness).map_err(|_| StoreError::Corrupt("the witness of what was about to give way".to_owned()))?;
    // Everything it stands for goes in one row of the manifest, and never counts again.
    let went = !reader.counts(witness); // safety: it is counted if and only if it went
    store.end_thinning(went, now).await
}

/// Whether nothing is open. To be asked before anything is merged or dropped: what is open is known by its blocks.
pub(crate) fn is_settled(app: &App, runtime: &Handle) -> bool {
    if !app.thinning.unsettled.load(Ordering::Relaxed) {
        return true;
    }
    match runtime.block_on(settle(&app.store, &app.telemetry.reader, app.clock.now())) {
        Ok(()) => {
            app.thinning.unsettled.store(false, Ordering::Relaxed);
            true
        }
        Err(failure) => {
            metrics::counter!("anlan_history_keep_failed_total").increment(1);
            error!(error = &failure as &dyn std::error::Error, "what gave way last cannot be written down; housekeeping waits");
            false
        }
    }
}

/// While this lives nothing goes.
pub(crate) struct Pause<'a>(&'a Open);

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        self.0.paused.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits for the step under way and lets none begin: a backup copies the files first and the database then, and what went in between would be
/// counted in one and be there in the other.
pub(crate) async fn pause(app: &App) -> Pause<'_> {
    app.thinning.paused.fetch_add(1, Ordering::Relaxed);
    let pause = Pause(&app.thinning);
    let gate = app.dropping.clone();
    // Only its end is waited for.
    let _ = tokio::task::spawn_blocking(move || drop(gate.lock().unwrap_or_else(PoisonError::into_inner))).await;
    pause
}

/// Whether somebody paused it; asked with the gate held.
pub(crate) fn is_paused(app: &App) -> bool {
    app.thinning.paused.load(Ordering::Relaxed) > 0
}

/// Something is about to be taken down.
pub(crate) fn opens(app: &App) {
    app.thinning.unsettled.store(true, Ordering::Relaxed);
}

/// Lets the oldest readings that may go give way while the disk has less room than is configured; whether something did. For the thread of
/// [`crate::keep`].
///
/// # Errors
/// I/O, damage: what is listed stays as it was.
pub(crate) fn make_room(keeper: &mut Keeper, app: &Arc<App>, runtime: &Handle) -> Result<bool, HistoryError> {
    let settings = &app.settings.retention;
    let free_mb = disk_free(app.telemetry.reader.dir()).map_or(u64::MAX, |free| free >> 20);
    if free_mb >= settings.thin_below_mb || !retention::may_drop(app) {
        app.thinning.stuck.store(false, Ordering::Relaxed);
        app.thinning.ask_again();
        return Ok(false);
    }
    if app.store.own_node().is_none() {
        return Ok(false);
    }
    let now = app.clock.now();
    let days = settings.thin_keep_days.max(FLOOR_DAYS);
    let _dropping = app.dropping.lock().unwrap_or_else(PoisonError::into_inner);
    let asked = runtime.block_on(async { Ok::<_, StoreError>((app.store.standing_holds().await?, untold(app).await?)) });
    let (holds, untold) = match asked {
        Ok(asked) => asked,
        Err(failure) => {
            retention::unasked(&failure);
            return Ok(false);
        }
    };
    let base = retention::policy(app, &holds);
    // The operator said of these kinds how long they are kept.
    let known = app.registry.get();
    let set = known.points.values().filter(|p| settings.kinds.contains_key(&p.kind));
    let point_days: HashMap<PointId, Option<u32>> = set.map(|p| (p.id, None)).collect();
    let mut policy = Policy { default_days: Some(days), point_days, position_days: None, rollup_days: None, lane: 1, ..base };
    policy.version = version(policy.version, days, &untold);
    let why = Why::Disk { free_mb };
    let spared = Policy { spares: Some(spares(app, known, untold)), ..policy.clone() };
    if retention::drop_next(keeper, app, runtime, spared, why, now)? {
        app.thinning.stuck.store(false, Ordering::Relaxed);
        return Ok(true);
    }
    // Below this telemetry is refused: rather an old day that the parent lacks than an alarm of today.
    let is_pressing = free_mb < app.settings.disk_free_min_mb / 2;
    let last = Policy { lane: 2, ..policy };
    if is_pressing && retention::drop_next(keeper, app, runtime, last, why, now)? {
        warn!(free_mb, "a day gave way that the parent does not have: {free_mb} MB free");
        return Ok(true);
    }
    app.thinning.ask_again();
    if !app.thinning.stuck.swap(true, Ordering::Relaxed) {
        warn!(free_mb, "only {free_mb} MB free, and no reading older than {days} days may give way; make room");
    }
    Ok(false)
}

/// Days of which the parent has not what is here; empty without a parent, and where it takes no readings.
async fn untold(app: &App) -> Result<Untold, StoreError> {
    let last = || app.thinning.untold.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((asked_at, untold)) = &*last()
        && asked_at.elapsed() < UNTOLD_STANDS
    {
        return Ok(untold.clone());
    }
    let untold = Arc::new(ask_untold(app).await?);
    *last() = Some((Instant::now(), untold.clone()));
    Ok(untold)
}

async fn ask_untold(app: &App) -> Result<HashSet<(NodeId, i32)>, StoreError> {
    let Some(parent) = app.store.parent_node() else { return Ok(HashSet::new()) };
    if app.store.node(&Scope::node(), parent).await?.agreement["readings"] == "none" {
        return Ok(HashSet::new());
    }
    let days = app.store.untold_days().await?;
    Ok(days.iter().filter_map(|(origin, day)| Some((*origin, number_of(day.parse().ok()?)))).collect())
}

/// Keeps a point's day if the parent lacks one of the two civil days it touches.
fn spares(app: &App, known: Arc<Snapshot>, untold: Untold) -> anlan_history::Spares {
    let own = app.store.own_node().unwrap_or(NodeId::new(0));
    Arc::new(move |point, day| {
        let (origin, _) = known.origin(own, point);
        [day_number(day), day_number(day.plus_us(DAY_US - 1))].iter().any(|civil| untold.contains(&(origin, *civil)))
    })
}

fn version(base: u64, days: u32, untold: &HashSet<(NodeId, i32)>) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut untold: Vec<_> = untold.iter().collect();
    untold.sort_unstable();
    (base, days, untold, "disk").hash(&mut hasher);
    hasher.finish()
}

/// Days among these of which all that is counted gave way here; if the database does not say, none.
pub(crate) async fn gone(store: &Store, days: Vec<DayDigest>) -> BTreeSet<Day> {
    let mut gone = BTreeSet::new();
    for held in days {
        let here = store.thinned_here(held.origin, &date_of(held.day).to_string()).await;
        let counted = Counted { n: held.digest.n, sum: held.digest.sum };
        if here.is_ok_and(|row| row.is_some_and(|row| row.readings == counted)) {
            gone.insert(Day { origin: held.origin, day: held.day });
        }
    }
    gone
}

/// Writes down which days that are over the parent holds exactly as they are here, or held when they gave way there: it does not say which. `whole`:
/// where a part was compared, what was held of them then.
pub(crate) async fn note_told(app: &App, claim: &Claim, theirs: &[DayDigest], whole: Option<&BTreeMap<Day, Digest>>) {
    let days: Vec<_> = told(claim, theirs, whole, day_number(app.clock.now()))
        .map(|held| (held.origin, date_of(held.day).to_string(), Counted { n: held.digest.n, sum: held.digest.sum }))
        .collect();
    if let Err(failure) = app.store.put_told(&days).await {
        warn!(error = &failure as &dyn std::error::Error, "what the parent has could not be written down; it is compared again");
    }
}

/// Days before `today` of which the other has everything. Of a part that was compared: only where nothing is held beside it.
fn told<'a>(
    claim: &'a Claim,
    theirs: &'a [DayDigest],
    whole: Option<&'a BTreeMap<Day, Digest>>,
    today: i32,
) -> impl Iterator<Item = &'a DayDigest> {
    let equal = claim.days.iter().zip(theirs).filter(|(ours, theirs)| ours.digest == theirs.digest).map(|(ours, _)| ours);
    // safety: readings that the parent has not go last
    let is_whole =
        move |ours: &DayDigest| whole.is_none_or(|whole| whole.get(&Day { origin: ours.origin, day: ours.day }) == Some(&ours.digest));
    equal.filter(move |ours| ours.day < today && is_whole(ours))
}

/// Days that gave way here and below, newest first; empty for an asker with a territory.
///
/// # Errors
/// No permission to view, a foreign cursor.
pub async fn list(app: &App, scope: &Scope, origin: Option<NodeId>, paging: &Paging) -> Result<Page<ThinnedRow>, AppError> {
    Ok(app.store.thinned(&scope.with(Permission::View)?, origin, paging).await?)
}

#[cfg(test)]
#[path = "thinned_tests.rs"]
mod tests;
