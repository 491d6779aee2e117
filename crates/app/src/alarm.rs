//! Alarms: the list, and what people do about one. The condition itself is the engine's and never changed here.

use std::time::Duration;

use anlan_model::{Alarm, AlarmId, Clock as _, Permission, Scope};
use anlan_store::StoreError;
pub use anlan_store::{AlarmCounts, AlarmFilter};

use crate::App;
use crate::error::AppError;
use crate::validate::{self, Page, Paging};

/// A live stream may show an alarm before the database knows it; acting on it waits this long for the projector.
const PROJECTOR_WAIT: Duration = Duration::from_secs(2);
/// How often it is looked for meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// A page of alarms the asker may see, newest raised first, and how many the filter matches by state.
///
/// # Errors
/// No permission to view, a foreign cursor, or the store's.
pub async fn list(app: &App, scope: &Scope, filter: &AlarmFilter, paging: &Paging) -> Result<(Page<Alarm>, AlarmCounts), AppError> {
    let scope = scope.with(Permission::View)?;
    let page = app.store.alarms(&scope, filter, paging).await?;
    Ok((page, app.store.alarm_counts(&scope, filter).await?))
}

/// One alarm.
///
/// # Errors
/// Not there or not visible.
pub async fn get(app: &App, scope: &Scope, id: AlarmId) -> Result<Alarm, AppError> {
    Ok(app.store.alarm(&scope.with(Permission::View)?, id).await?)
}

/// Acknowledges an alarm; the first acknowledgement stays, a second one changes nothing.
///
/// # Errors
/// No permission there, not there or not visible, a note too long.
pub async fn acknowledge(app: &App, scope: &Scope, id: AlarmId, note: &str) -> Result<Alarm, AppError> {
    let act = scope.with(Permission::HandleAlarm)?;
    let note = validate::note("note", note, false)?;
    projected(app, scope, id).await?;
    let alarm = app.store.acknowledge(&act, id, &note, app.clock.now()).await.map_err(visible_but_not_for_this)?;
    app.live.alarms_changed(&[id]);
    Ok(alarm)
}

/// Closes an alarm whose condition is gone; the first closing stays.
///
/// # Errors
/// No permission there, not there or not visible, no reason, or the condition still stands.
pub async fn close(app: &App, scope: &Scope, id: AlarmId, reason: &str) -> Result<Alarm, AppError> {
    let act = scope.with(Permission::HandleAlarm)?;
    let reason = validate::note("reason", reason, true)?;
    projected(app, scope, id).await?;
    let alarm = app.store.close_alarm(&act, id, &reason, app.clock.now()).await.map_err(visible_but_not_for_this)?;
    app.live.alarms_changed(&[id]);
    Ok(alarm)
}

/// The alarm was just seen with the permission to view, so what misses is the permission to handle it.
fn visible_but_not_for_this(error: StoreError) -> AppError {
    match error {
        StoreError::NotFound => AppError::from(anlan_model::scope::Forbidden(Permission::HandleAlarm)),
        other => other.into(),
    }
}

/// Waits until the database knows the alarm, as long as the projector is behind the log.
async fn projected(app: &App, scope: &Scope, id: AlarmId) -> Result<(), AppError> {
    let scope = scope.with(Permission::View)?;
    let from = tokio::time::Instant::now();
    loop {
        let status = app.telemetry.status();
        if app.store.alarm_visible(&scope, id).await? {
            return Ok(());
        }
        // Looked for after the projector had everything: it is not there, or not for this asker.
        if status.projected >= status.position || from.elapsed() >= PROJECTOR_WAIT {
            return Err(AppError::not_found());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
