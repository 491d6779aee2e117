//! Retention (数据保存期限): who keeps how long, what stands in its way, and an honest answer about what has gone.
//!
//! Settings say how many whole days; legal holds come first ([`crate::hold`]); where there is an archive, it must have the day. Nothing is
//! dropped unless the database says what is held, and has taken down what goes. An answer about a time that was dropped says so: [`gaps`].
//! The order on disk is `history`'s. Start at [`thin`].

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, PoisonError};

use anlan_archive::Day;
use anlan_history::{Dropping, HistoryError, Hold, Keeper, Left, Policy, Thinned};
use anlan_model::{Clock as _, Permission, PointId, Scope, Timestamp, VehicleId};
use anlan_store::{HoldRow, RetentionDrop, StoreError, Thinning};
use tokio::runtime::Handle;
use tracing::{error, info};

use crate::error::AppError;
use crate::health::ClockState;
use crate::point::off_thread;
use crate::registry::Snapshot;
use crate::thinned::{Account, Why};
use crate::{App, thinned};

/// A smaller jump moves no day to another age by itself, or nearly none.
const JUMP_US: i64 = 3_600_000_000;
const DAY_US: i64 = 86_400_000_000;
/// How long a jump of the clock is doubted, domain time: people have this long to see its banner.
const DOUBT_US: i64 = DAY_US;

/// Part of a history that retention dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Start, a day's (UTC).
    pub from: Timestamp,
    /// End, exclusive, a day's.
    pub to: Timestamp,
    /// Whether the statistics of its hours are left; otherwise nothing is, and what there was is no longer known.
    pub hours: bool,
}

/// Whose history.
#[derive(Clone, Copy)]
pub(crate) enum Whose {
    Point(PointId),
    Vehicle(VehicleId),
    /// Any point's.
    Anybody,
}

/// What retention dropped of `from <= event_at < to` and no archive has; the caller was shown to see it.
///
/// # Errors
/// The database, the files.
pub(crate) async fn gaps(app: &App, whose: Whose, from: Timestamp, to: Timestamp) -> Result<Vec<Gap>, AppError> {
    let mut days = app.store.dropped_days(from, to).await?;
    let (archive, reader) = (app.telemetry.whole.archive().cloned(), app.telemetry.reader.clone());
    days.retain(|d| archive.as_ref().is_none_or(|archive| !archive.holds(Day::new(d.day))));
    if days.is_empty() {
        return Ok(Vec::new());
    }
    let (own_days, now) = (own_days(app, whose), app.clock.now());
    let holds = if let Whose::Vehicle(_) = whose { app.store.standing_holds().await? } else { Vec::new() };
    let look = move || -> Result<Vec<Gap>, HistoryError> {
        let mut found = Vec::new();
        for d in days {
            let (start, end) = (Day::new(d.day).start(), Day::new(d.day).end());
            let hours = match whose {
                Whose::Point(_) | Whose::Anybody if d.readings_at.is_none() => continue,
                Whose::Anybody => d.rollups_at.is_none(),
                Whose::Point(point) => match reader.left_of(point, start)? {
                    Left::Hours => true,
                    Left::Unknown if d.rollups_at.is_some() => false,
                    // Hours that were made after the others went know only of what came late.
                    Left::Everything if d.rollups_at.is_some() && own_days.is_some_and(|days| is_over(days, end, now)) => false,
                    Left::Everything | Left::Unknown => continue,
                },
                Whose::Vehicle(_) if d.positions_at.is_none() => continue,
                // Held before anything went, it keeps what others lost. Positions alone do not tell: they may have come since.
                Whose::Vehicle(vehicle)
                    if holds
                        .iter()
                        .any(|h| h.vehicles.contains(&vehicle) && h.from < end && h.to > start && Some(h.created_at) <= d.positions_at) =>
                {
                    continue;
                }
                Whose::Vehicle(_) => false,
            };
            found.push(Gap { from: start, to: end, hours });
        }
        Ok(found)
    };
    Ok(joined(off_thread(look).await??))
}

/// How many days the point keeps its readings; `None` = for ever.
fn own_days(app: &App, whose: Whose) -> Option<u32> {
    let settings = &app.settings.retention;
    let kind = if let Whose::Point(point) = whose { app.registry.get().points.get(&point).map(|p| p.kind.clone()) } else { None };
    kind.and_then(|kind| settings.kinds.get(&kind).copied()).or(settings.readings_days)
}

/// Whether a day that ended at `end` is as old as `history` asks of a day that may go.
fn is_over(days: u32, end: Timestamp, now: Timestamp) -> bool {
    now.since_us(end) >= i64::from(days).saturating_mul(DAY_US)
}

/// Whether retention dropped positions of any vehicle in the range that no archive has.
///
/// # Errors
/// The database.
pub(crate) async fn are_positions_gone(app: &App, from: Timestamp, to: Timestamp) -> Result<bool, AppError> {
    let days = app.store.dropped_days(from, to).await?;
    let archive = app.telemetry.whole.archive();
    Ok(days.iter().any(|d| d.positions_at.is_some() && archive.is_none_or(|archive| !archive.holds(Day::new(d.day)))))
}

/// Days that follow each other and of which the same is left, as one.
fn joined(days: Vec<Gap>) -> Vec<Gap> {
    let mut out: Vec<Gap> = Vec::new();
    for day in days {
        match out.last_mut() {
            Some(last) if last.to == day.from && last.hours == day.hours => last.to = day.to,
            _ => out.push(day),
        }
    }
    out
}

/// What retention does on this node.
pub struct State {
    /// As configured.
    pub settings: crate::settings::Retention,
    /// Days that files of terminals are kept; `None` = for ever.
    pub media_days: Option<u32>,
    /// A day leaves only once the archive has it.
    pub archived: bool,
    /// The clock is doubted, so nothing is dropped.
    pub paused: bool,
    /// Days that something was dropped of, newest first.
    pub dropped: Vec<Dropped>,
}

/// A day that something was dropped of, and when.
pub struct Dropped {
    /// Its begin (UTC).
    pub day: Timestamp,
    /// When readings were.
    pub readings_at: Option<Timestamp>,
    /// When positions were.
    pub positions_at: Option<Timestamp>,
    /// When statistics of hours were.
    pub rollups_at: Option<Timestamp>,
}

/// Days of which [`state`] tells.
const DROPPED_SHOWN: usize = 100;

/// How long what is kept, and what went lately.
///
/// # Errors
/// No permission for the whole node, or the database.
pub async fn state(app: &App, scope: &Scope) -> Result<State, AppError> {
    if !scope.with(Permission::ManageSystem)?.node_wide() {
        return Err(AppError::forbidden("scope.outside"));
    }
    let days = app.store.dropped_days(Timestamp::MIN, Timestamp::MAX).await?;
    let told = |d: &anlan_store::DroppedDay| Dropped {
        day: Day::new(d.day).start(),
        readings_at: d.readings_at,
        positions_at: d.positions_at,
        rollups_at: d.rollups_at,
    };
    Ok(State {
        settings: app.settings.retention.clone(),
        media_days: Some(app.settings.media.days).filter(|days| *days > 0),
        archived: crate::archive::place(&app.settings.archive).is_some(),
        paused: !may_drop(app),
        dropped: days.iter().rev().take(DROPPED_SHOWN).map(told).collect(),
    })
}

/// Drops the next part whose time is over; whether there was one. For the thread of [`crate::keep`].
///
/// # Errors
/// I/O, damage: what is listed stays as it was.
pub(crate) fn thin(keeper: &mut Keeper, app: &Arc<App>, runtime: &Handle) -> Result<bool, HistoryError> {
    if !app.settings.retention.is_set() || !may_drop(app) {
        return Ok(false);
    }
    // A hold that is set from here on waits until this step is done (`hold::create`).
    let _dropping = app.dropping.lock().unwrap_or_else(PoisonError::into_inner);
    let now = app.clock.now();
    match runtime.block_on(app.store.standing_holds()) {
        Ok(holds) => drop_next(keeper, app, runtime, policy(app, &holds), Why::Age, now),
        Err(failure) => {
            unasked(&failure);
            Ok(false)
        }
    }
}

/// Drops the next part that `policy` lets go, with [`App::dropping`] held; whether there was one. It is taken down before, with its digest, and settled after.
pub(crate) fn drop_next(
    keeper: &mut Keeper,
    app: &Arc<App>,
    runtime: &Handle,
    mut policy: Policy,
    why: Why,
    now: Timestamp,
) -> Result<bool, HistoryError> {
    if thinned::is_paused(app) {
        return Ok(false);
    }
    let account = app.store.own_node().map(|own| Arc::new(Account::new(own, app.registry.get())));
    policy.watch = account.clone().map(|account| -> anlan_history::Watch { Arc::new(move |going| account.see(&going)) });
    let (writer, waits) = (app.clone(), runtime.clone());
    policy.announce = Some(Arc::new(move |dropping| {
        let thinning = account.as_ref().and_then(|account| account.thinning(dropping.witness, why));
        write_down(&writer, &waits, dropping, thinning.as_ref(), now)
    }));
    let done = keeper.thin(now, &policy)?;
    if let Some(done) = &done {
        count_thinned(done);
        if why != Why::Age {
            metrics::counter!("anlan_thinned_readings_total").increment(done.readings);
            metrics::counter!("anlan_thinned_bytes_total").increment(u64::try_from(done.bytes).unwrap_or(0));
        }
    }
    thinned::is_settled(app, runtime);
    Ok(done.is_some())
}

/// A clock that is wrong by years would drop years: while it is known to be off, and for a day after it jumped, nothing goes.
fn is_clock_doubtful(clock: ClockState, offset_max_us: i64, now: Timestamp) -> bool {
    let jumped = |(at, by): (Timestamp, i64)| by.abs() >= JUMP_US && now.since_us(at).abs() < DOUBT_US;
    clock.offset_us.is_some_and(|off| off.abs() > offset_max_us) || clock.stepped.is_some_and(jumped)
}

/// Nothing goes that the database does not know of first.
fn write_down(app: &App, runtime: &Handle, dropping: &Dropping, thinning: Option<&Thinning>, now: Timestamp) -> bool {
    let Dropping { day, readings, positions, rollups, .. } = *dropping;
    if thinning.is_some() {
        thinned::opens(app);
    }
    match runtime.block_on(app.store.note_drop(&RetentionDrop { day, readings, positions, rollups }, thinning, now)) {
        Ok(()) => true,
        Err(failure) => {
            metrics::counter!("anlan_history_keep_failed_total").increment(1);
            error!(error = &failure as &dyn std::error::Error, "the database does not take down what is to be dropped, so it stays");
            false
        }
    }
}

pub(crate) fn unasked(failure: &StoreError) {
    metrics::counter!("anlan_history_keep_failed_total").increment(1);
    error!(error = failure as &dyn std::error::Error, "the database does not say what is held, so nothing is dropped");
}

/// Who keeps how long, as settings, registry and holds say now.
pub(crate) fn policy(app: &App, holds: &[HoldRow]) -> Policy {
    let (settings, known) = (&app.settings.retention, app.registry.get());
    let mut point_days = HashMap::new();
    if !settings.kinds.is_empty() {
        let named = known.points.values().filter_map(|p| Some((p.id, Some(*settings.kinds.get(&p.kind)?))));
        point_days.extend(named);
    }
    let mut policy = Policy {
        default_days: settings.readings_days,
        point_days,
        position_days: settings.positions_days,
        rollup_days: settings.rollups_days,
        holds: holds.iter().map(|h| hold(&known, h)).collect(),
        ..Policy::default()
    };
    policy.version = version(&policy);
    if crate::archive::place(&app.settings.archive).is_some() {
        let (whole, reader) = (app.telemetry.whole.clone(), app.telemetry.reader.clone());
        // Blocks hold nothing beyond the newest seal; where the archive has looked that far, it has all of the day.
        policy.archived = Some(Arc::new(move |day, _| match whole.release(Day::of(day)) {
            Ok(through) => through.is_some_and(|through| through >= reader.stats().sealed_lsn),
            Err(failure) => {
                error!(error = &failure as &dyn std::error::Error, "the archive does not release a day, so nothing of it is dropped");
                false
            }
        }));
    }
    policy
}

/// Who and what a hold names, as the registry says now.
pub(crate) fn hold(known: &Snapshot, h: &HoldRow) -> Hold {
    let (mut points, mut vehicles) = (HashSet::from_iter(h.points.iter().copied()), HashSet::from_iter(h.vehicles.iter().copied()));
    if let Some(enterprise) = h.enterprise {
        // What it has got since it was held is held too.
        points.extend(known.points_of.get(&enterprise).into_iter().flatten().copied());
        vehicles.extend(known.vehicles.values().filter(|v| v.enterprise == Some(enterprise)).map(|v| v.id));
    }
    Hold { points, vehicles, from: h.from.micros(), to: h.to.micros() }
}

/// Whether the clock allows that anything is dropped.
pub(crate) fn may_drop(app: &App) -> bool {
    !is_clock_doubtful(app.health.clock(), app.settings.clock_offset_max_us, app.clock.now())
}

/// Differs when the policy does.
fn version(policy: &Policy) -> u64 {
    let mut hasher = DefaultHasher::new();
    (policy.default_days, policy.position_days, policy.rollup_days).hash(&mut hasher);
    let mut days: Vec<_> = policy.point_days.iter().collect();
    days.sort_unstable();
    days.hash(&mut hasher);
    for hold in &policy.holds {
        let (mut points, mut vehicles) = (Vec::from_iter(&hold.points), Vec::from_iter(&hold.vehicles));
        points.sort_unstable();
        vehicles.sort_unstable();
        (hold.from, hold.to, points, vehicles).hash(&mut hasher);
    }
    hasher.finish()
}

fn count_thinned(done: &Thinned) {
    metrics::counter!("anlan_history_dropped_readings_total").increment(done.readings);
    metrics::counter!("anlan_history_dropped_positions_total").increment(done.positions);
    metrics::counter!("anlan_history_dropped_bytes_total").increment(u64::try_from(done.bytes).unwrap_or(0));
    metrics::counter!("anlan_history_dropped_rollups_total").increment(done.rollups);
    if done.readings + done.positions + done.rollups > 0 {
        info!(
            readings = done.readings,
            positions = done.positions,
            bytes = done.bytes,
            "retention dropped {} readings and {} positions, {} bytes",
            done.readings,
            done.positions,
            done.bytes
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_in_doubt_drops_nothing() {
        let now = Timestamp::from_micros(1_795_392_000_000_000);
        let doubtful = |offset_us, stepped| is_clock_doubtful(ClockState { offset_us, stepped, ..ClockState::default() }, 1_000_000, now);
        assert!(!doubtful(None, None));
        assert!(!doubtful(Some(-1_000_000), Some((now, JUMP_US - 1))));
        assert!(doubtful(Some(-1_000_001), None));
        assert!(doubtful(None, Some((now.plus_us(1 - DOUBT_US), -JUMP_US))));
        assert!(!doubtful(None, Some((now.plus_us(-DOUBT_US), JUMP_US))));
    }
}
