//! Legal holds (保全): set and released by administrators of the whole node; retention asks them first.
//!
//! A hold is set between two dropping steps, never during one: when [`create`] has answered, nothing it names is dropped any more, and what was
//! dropped before was dropped before its `created_at`.

use std::sync::PoisonError;

use anlan_model::{Clock as _, Permission, Scope};
pub use anlan_store::{HoldRow, NewHold};
use tokio::runtime::Handle;

use crate::App;
use crate::error::{AppError, Faults};
use crate::point::off_thread;
use crate::validate::{self, Page, Paging};

/// Most points and vehicles that one hold names one by one.
const ITEMS_MAX: usize = 1_000;

/// A page of holds, newest first.
///
/// # Errors
/// No permission, a foreign cursor.
pub async fn list(app: &App, scope: &Scope, paging: &Paging) -> Result<Page<HoldRow>, AppError> {
    Ok(app.store.holds(&scope.with(Permission::ManageSystem)?, paging).await?)
}

/// Sets a hold.
///
/// # Errors
/// No permission, an asker who is not node-wide, a hold that names nothing, no reason, a period that ends before it begins.
pub async fn create(app: &App, scope: &Scope, mut new: NewHold) -> Result<i64, AppError> {
    let act = scope.with(Permission::ManageSystem)?;
    let mut faults = Faults::default();
    new.reason = faults.note(validate::note("reason", &new.reason, true)).unwrap_or_default();
    if new.to <= new.from {
        faults.note::<()>(Err(AppError::invalid("period.order", "to")));
    }
    let n = new.points.len() + new.vehicles.len();
    if (n == 0 && new.enterprise.is_none()) || n > ITEMS_MAX {
        faults.note::<()>(Err(AppError::invalid("list.length", "points").with("max", ITEMS_MAX)));
    }
    faults.check()?;
    let (gate, store, clock, runtime) = (app.dropping.clone(), app.store.clone(), app.clock.clone(), Handle::current());
    let set = move || {
        let _no_step = gate.lock().unwrap_or_else(PoisonError::into_inner);
        runtime.block_on(store.create_hold(&act, &new, clock.now()))
    };
    let id = off_thread(set).await??;
    // Files that are being dropped just now are dropped by what held before.
    drop(app.media.dropping.read().await);
    Ok(id)
}

/// Releases a hold; what it held goes when its time is over.
///
/// # Errors
/// No permission, not there or released already, no reason.
pub async fn release(app: &App, scope: &Scope, id: i64, reason: &str) -> Result<(), AppError> {
    let act = scope.with(Permission::ManageSystem)?;
    let reason = validate::note("reason", reason, true)?;
    Ok(app.store.release_hold(&act, id, &reason, app.clock.now()).await?)
}
