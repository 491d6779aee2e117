//! What scopes may see of the points, remembered until a change could make it another; and which alarms stand.
//!
//! Two things every screen asks for all the time and that only this process changes: the set of points of a scope, and the worst
//! standing alarm of a point. Both come from SQL, are held here, and are thrown away by the very transaction that could change
//! them: [`Moving`] for points, devices and enterprises, [`Projecting`] for alarms. Grants are no part of it: they are read with
//! every session, and a set is found by the grants it was made for. Start at [`Sight::points`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anlan_model::noun::Grant;
use anlan_model::{AlarmId, Level, PointId, PointSet, Scope};

use crate::point::PointFilter;

/// Sets kept, and ids in all of them: 8 bytes each.
const SETS_MAX: usize = 4_096;
const IDS_MAX: usize = 2_000_000;
/// A commit that was begun and of which nobody knows the outcome may still happen; that long no set is remembered.
const DOUBT: Duration = Duration::from_secs(60);

/// Who asks for which points.
type Question = (Vec<Grant>, PointFilter);

/// Shared by every clone of a store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sight(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Counts changes of what scopes see.
    version: AtomicU64,
    sets: Mutex<Sets>,
    alarms: Mutex<Alarms>,
}

#[derive(Debug, Default)]
struct Sets {
    /// [`Inner::version`] that all of them were read at.
    version: u64,
    held: HashMap<Question, PointSet>,
    ids: usize,
    doubtful_until: Option<Instant>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sight {
    /// The set, if it is remembered; otherwise the version to give to [`Self::remember`] with what SQL says from now on.
    pub(crate) fn points(&self, scope: &Scope, filter: &PointFilter) -> Result<PointSet, u64> {
        let version = self.0.version.load(Ordering::SeqCst);
        let sets = locked(&self.0.sets);
        if sets.version != version {
            return Err(version);
        }
        sets.held.get(&(scope.grants.clone(), filter.clone())).cloned().ok_or(version)
    }

    /// Remembers what SQL said, unless something moved since `version`.
    pub(crate) fn remember(&self, scope: &Scope, filter: &PointFilter, version: u64, set: &PointSet) {
        let mut sets = locked(&self.0.sets);
        if self.0.version.load(Ordering::SeqCst) != version || sets.doubtful_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        if sets.version != version || sets.held.len() >= SETS_MAX || sets.ids + set.len() > IDS_MAX {
            *sets = Sets { version, ..Sets::default() };
        }
        sets.ids += set.len();
        sets.held.insert((scope.grants.clone(), filter.clone()), set.clone());
    }

    /// A transaction that changes what scopes see begins to commit.
    pub(crate) fn moving(&self) -> Moving {
        Moving { sight: self.clone(), known: false }
    }

    /// Worst standing level of each point, in id order; otherwise the version to give to [`Self::take_standing`].
    pub(crate) fn worst(&self, seen: &PointSet) -> Result<Vec<Option<Level>>, u64> {
        let alarms = locked(&self.0.alarms);
        alarms.known.as_ref().map(|known| known.worst(seen)).ok_or(alarms.version)
    }

    /// Remembers the alarms that SQL says stand, unless something changed since `version`.
    pub(crate) fn take_standing(&self, version: u64, standing: Standing) {
        let mut alarms = locked(&self.0.alarms);
        if alarms.version == version {
            alarms.known = Some(standing);
        }
    }

    /// A transaction that changes which alarms stand begins to commit.
    pub(crate) fn projecting(&self) -> Projecting {
        Projecting { sight: self.clone(), changes: None }
    }
}

/// A commit under way: when it is over, whatever came of it, every remembered set is void.
///
/// A set is remembered only if nothing moved between the question and the answer. So one that was read before the commit is void once
/// the commit is over, and whoever made the change gets the answer afterwards: no later question sees what was before it.
pub(crate) struct Moving {
    sight: Sight,
    known: bool,
}

impl Moving {
    /// The database said whether it is committed.
    pub(crate) fn over(mut self) {
        self.known = true;
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        let mut sets = locked(&self.sight.0.sets);
        let version = self.sight.0.version.fetch_add(1, Ordering::SeqCst) + 1;
        *sets = Sets { version, doubtful_until: sets.doubtful_until, ..Sets::default() };
        if !self.known {
            sets.doubtful_until = Some(Instant::now() + DOUBT);
        }
    }
}

/// What is known of standing alarms.
#[derive(Debug, Default)]
struct Alarms {
    /// Counts changes.
    version: u64,
    /// `None`: to be read.
    known: Option<Standing>,
}

/// Standing alarms of points that are no history, as the table has them.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    of_alarm: HashMap<AlarmId, PointId>,
    of_point: HashMap<PointId, Vec<(AlarmId, Level)>>,
}

impl Standing {
    /// Worst level of each point, in id order.
    pub(crate) fn worst(&self, seen: &PointSet) -> Vec<Option<Level>> {
        let worst = |id| self.of_point.get(&id).and_then(|alarms| alarms.iter().map(|(_, level)| *level).max());
        seen.iter().map(worst).collect()
    }
    /// The alarm stands.
    pub(crate) fn raise(&mut self, id: AlarmId, point: PointId, level: Level) {
        if self.of_alarm.insert(id, point).is_none() {
            self.of_point.entry(point).or_default().push((id, level));
        }
    }
    fn end(&mut self, id: AlarmId) {
        let Some(point) = self.of_alarm.remove(&id) else { return };
        if let Some(alarms) = self.of_point.get_mut(&point) {
            alarms.retain(|(alarm, _)| *alarm != id);
            if alarms.is_empty() {
                self.of_point.remove(&point);
            }
        }
    }
}

/// An alarm that stands at a point now, or `None` for one that ended or stands at none.
pub(crate) type StandingChange = (AlarmId, Option<(PointId, Level)>);

/// A commit of alarms under way: what is known takes its changes over once it is over, or is void if nobody knows what came of it.
pub(crate) struct Projecting {
    sight: Sight,
    changes: Option<Vec<StandingChange>>,
}

impl Projecting {
    /// These changes, in this order, are committed.
    pub(crate) fn over(mut self, changes: Vec<StandingChange>) {
        self.changes = Some(changes);
    }
}

impl Drop for Projecting {
    fn drop(&mut self) {
        let mut alarms = locked(&self.sight.0.alarms);
        alarms.version += 1;
        let Some(changes) = self.changes.take() else {
            alarms.known = None;
            return;
        };
        let Some(known) = &mut alarms.known else { return };
        for (id, stands) in changes {
            match stands {
                Some((point, level)) => known.raise(id, point, level),
                None => known.end(id),
            }
        }
    }
}
