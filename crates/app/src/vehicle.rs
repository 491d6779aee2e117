//! Vehicles: the register, where they are, where they were.

use std::collections::{BTreeSet, HashMap};

use anlan_model::{Clock as _, Level, Permission, Position, Scope, Subject, Timestamp, VehicleId};
pub use anlan_store::{VehicleChange, VehicleFilter, VehicleRow};

use crate::App;
use crate::error::{AppError, Faults};
use crate::point::{Window, off_thread};
use crate::registry::Touched;
use crate::retention::{self, Gap, Whose};
use crate::validate::{self, Page, Paging};

/// A vehicle and where it was last.
#[derive(Clone, Debug, PartialEq)]
pub struct VehicleView {
    /// The row.
    pub row: VehicleRow,
    /// Heard within the offline limit.
    pub online: bool,
    /// Newest position, if one ever came.
    pub latest: Option<Position>,
}

/// A vehicle as the map draws it.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// Newest position.
    pub position: Position,
    /// Plate; empty until known.
    pub plate: String,
    /// Kind word.
    pub kind: String,
    /// Heard within the offline limit.
    pub online: bool,
    /// Worst of its standing alarms.
    pub level: Option<Level>,
}

/// Whether a position received then means the vehicle is heard now.
pub(crate) fn is_online(app: &App, received_at: Timestamp) -> bool {
    app.clock.now().since_us(received_at) <= app.settings.vehicle_offline_s.saturating_mul(1_000_000)
}

fn view(app: &App, seen: &BTreeSet<VehicleId>, row: VehicleRow) -> VehicleView {
    let latest = app.telemetry.latest_position(seen, row.vehicle.id);
    VehicleView { row, online: latest.as_ref().is_some_and(|p| is_online(app, p.received_at)), latest }
}

/// A page of vehicles the asker may see.
///
/// # Errors
/// No permission to view, a foreign cursor, or the store's.
pub async fn list(app: &App, scope: &Scope, filter: &VehicleFilter, paging: &Paging) -> Result<Page<VehicleView>, AppError> {
    let scope = scope.with(Permission::View)?;
    let page = app.store.vehicles(&scope, filter, paging).await?;
    let seen = page.items.iter().map(|row| row.vehicle.id).collect();
    Ok(Page { items: page.items.into_iter().map(|row| view(app, &seen, row)).collect(), next: page.next })
}

/// One vehicle.
///
/// # Errors
/// Not there or not visible.
pub async fn get(app: &App, scope: &Scope, id: VehicleId) -> Result<VehicleView, AppError> {
    let scope = scope.with(Permission::View)?;
    let row = app.store.vehicle(&scope, id).await?;
    Ok(view(app, &BTreeSet::from([row.vehicle.id]), row))
}

/// Every visible vehicle that has a position.
///
/// # Errors
/// No permission to view, or the store's.
pub async fn latest(app: &App, scope: &Scope) -> Result<Vec<Mark>, AppError> {
    let scope = scope.with(Permission::View)?;
    let seen = app.store.vehicle_set(&scope).await?;
    let levels = levels(app).await?;
    Ok(marks(app, app.telemetry.latest_positions(&seen), &levels))
}

/// Positions that the caller was already allowed to see, as the map draws them.
pub fn marks(app: &App, positions: Vec<Position>, levels: &HashMap<VehicleId, Level>) -> Vec<Mark> {
    let known = app.registry.get();
    let mark = |position: Position| {
        let vehicle = known.vehicles.get(&position.vehicle)?;
        Some(Mark {
            plate: vehicle.plate.clone(),
            kind: vehicle.kind.clone(),
            online: is_online(app, position.received_at),
            level: levels.get(&position.vehicle).copied(),
            position,
        })
    };
    positions.into_iter().filter_map(mark).collect()
}

/// Worst standing alarm of every vehicle that has one; for [`marks`], which shows only what was allowed before.
///
/// # Errors
/// The store's.
pub async fn levels(app: &App) -> Result<HashMap<VehicleId, Level>, AppError> {
    let mut worst: HashMap<VehicleId, Level> = HashMap::new();
    for alarm in app.store.standing_alarms().await? {
        if let Subject::Vehicle(id) = alarm.subject {
            worst.entry(id).and_modify(|level| *level = (*level).max(alarm.level)).or_insert(alarm.level);
        }
    }
    Ok(worst)
}

/// Changes a vehicle.
///
/// # Errors
/// No permission there, a stale revision, fields that cannot be accepted.
pub async fn update(app: &App, scope: &Scope, id: VehicleId, change: VehicleChange) -> Result<VehicleView, AppError> {
    let act = scope.with(Permission::ManageDevices)?;
    let mut faults = Faults::default();
    let change = VehicleChange {
        plate: change.plate.and_then(|v| faults.note(validate::optional("plate", &v))),
        kind: change.kind.and_then(|v| faults.note(validate::word("kind", &v, true))),
        speed_limit_kmh: change.speed_limit_kmh.and_then(|v| faults.note(validate::speed_limit_kmh("speed_limit_kmh", v))),
        ..change
    };
    faults.check()?;
    app.store.update_vehicle(&act, id, &change, app.clock.now()).await?;
    app.registry.renew([Touched::Vehicle(id)]).await?;
    get(app, scope, id).await
}

/// Adopts a vehicle that was only heard: from now on its terminal must authenticate.
///
/// # Errors
/// No permission there, or not visible.
pub async fn adopt(app: &App, scope: &Scope, id: VehicleId) -> Result<VehicleView, AppError> {
    let act = scope.with(Permission::ManageDevices)?;
    app.store.adopt_vehicle(&act, id, app.clock.now()).await?;
    app.registry.renew([Touched::Vehicle(id)]).await?;
    get(app, scope, id).await
}

/// Positions of a vehicle, oldest first.
///
/// # Errors
/// Not there or not visible, a foreign cursor.
pub async fn positions(app: &App, scope: &Scope, id: VehicleId, window: Window) -> Result<Page<Position>, AppError> {
    let scope = scope.with(Permission::View)?;
    app.store.vehicle(&scope, id).await?;
    let seen = BTreeSet::from([id]);
    let (from, to, after) = (window.from.unwrap_or(Timestamp::MIN), window.to.unwrap_or(Timestamp::MAX), window.after()?);
    let (telemetry, limit) = (app.telemetry.clone(), window.limit as usize + 1);
    let found = off_thread(move || telemetry.positions(&seen, id, from, to, after, limit)).await??;
    Ok(window.page(found, |p| p.event_at))
}

/// Which parts of a vehicle's track retention dropped.
///
/// # Errors
/// Not there or not visible.
pub async fn gaps(app: &App, scope: &Scope, id: VehicleId, from: Option<Timestamp>, to: Option<Timestamp>) -> Result<Vec<Gap>, AppError> {
    app.store.vehicle(&scope.with(Permission::View)?, id).await?;
    retention::gaps(app, Whose::Vehicle(id), from.unwrap_or(Timestamp::MIN), to.unwrap_or(Timestamp::MAX)).await
}
