//! Reading the audit. It is written by `store`, with every change.

use anlan_model::{Permission, Scope};
pub use anlan_store::{AuditEntry, AuditFilter};

use crate::App;
use crate::error::AppError;
use crate::validate::{Page, Paging};

/// A page of the audit, newest first.
///
/// # Errors
/// No permission, a foreign cursor, or the store's.
pub async fn list(app: &App, scope: &Scope, filter: &AuditFilter, paging: &Paging) -> Result<Page<AuditEntry>, AppError> {
    Ok(app.store.audit(&scope.with(Permission::ViewAudit)?, filter, paging).await?)
}
