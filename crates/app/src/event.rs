//! Data-quality events, and the quarantine of bytes that could not be read.

use anlan_model::{Permission, Scope};
pub use anlan_store::{EventRow, QuarantineRow};

use crate::App;
use crate::error::AppError;
use crate::validate::{Page, Paging};

/// A page of events the asker may see, newest first, optionally of one kind.
///
/// # Errors
/// No permission to view, a foreign cursor, or the store's.
pub async fn list(app: &App, scope: &Scope, kind: Option<&str>, paging: &Paging) -> Result<Page<EventRow>, AppError> {
    Ok(app.store.events(&scope.with(Permission::View)?, kind, paging).await?)
}

/// A page of the quarantine, newest first; it has no owner, so only node-wide askers see entries.
///
/// # Errors
/// No permission to manage the system, a foreign cursor, or the store's.
pub async fn quarantine(app: &App, scope: &Scope, paging: &Paging) -> Result<Page<QuarantineRow>, AppError> {
    Ok(app.store.quarantined(&scope.with(Permission::ManageSystem)?, paging).await?)
}
