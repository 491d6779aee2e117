//! Who is on duty above (上级值班), and which desks here the nodes below are told of.
//!
//! A desk is made known by whoever makes its rota; its shifts of now and the next days go down with names and telephones, and are read-only text there.
//! Start at [`above`].

use std::sync::Arc;
use std::time::Duration;

use anlan_domain::duty::Desk;
use anlan_model::{Clock as _, Permission, RegionCode, Scope};
pub use anlan_store::{RosterRow, RosterShift};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::App;
use crate::error::AppError;

/// Shifts begin and end, and a test clock is moved: what is told is looked at so often, real time.
const EVERY: Duration = Duration::from_secs(60);

/// What the nodes above say, the nearest first: shifts that are on or to come. For everybody who is signed in: it is told so that they can call.
///
/// # Errors
/// No permission to view, the store's.
pub async fn above(app: &App, scope: &Scope) -> Result<Vec<RosterRow>, AppError> {
    scope.with(Permission::View)?;
    let now = app.clock.now().micros();
    let mut rosters = app.store.rosters_above().await?;
    rosters.iter_mut().for_each(|roster| roster.shifts.retain(|shift| shift.to > now));
    rosters.retain(|roster| !roster.shifts.is_empty());
    Ok(rosters)
}

/// Desks whose shifts the nodes below are told, as far as the asker makes rotas there.
///
/// # Errors
/// The store's.
pub async fn told(app: &App, scope: &Scope) -> Result<Vec<(RegionCode, String)>, AppError> {
    match scope.with(Permission::ManageDuty) {
        Ok(scope) => Ok(app.store.duty_told(&scope).await?),
        Err(_) => Ok(Vec::new()),
    }
}

/// Makes the shifts of a desk known to the nodes below, or no more.
///
/// # Errors
/// No permission to make rotas there.
pub async fn put_told(app: &App, scope: &Scope, region: &RegionCode, desk: Desk, told: bool) -> Result<(), AppError> {
    let act = scope.with(Permission::ManageDuty)?;
    Ok(app.store.set_duty_told(&act, region, desk.as_str(), told, app.clock.now()).await?)
}

/// Keeps what the nodes below were told true as time goes on.
pub(crate) async fn run(app: Arc<App>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        if let Err(failure) = app.store.tell_roster(app.clock.now()).await {
            warn!(error = &failure as &dyn std::error::Error, "who is on duty could not be told to the nodes below; next try in a minute");
        }
    }
}
