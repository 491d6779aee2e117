//! People who sign in: made, changed, signed out. Who may give which right is checked by `store`: never a wider one than one's own.

use anlan_model::noun::Grant;
pub use anlan_model::noun::User;
use anlan_model::{Clock as _, Permission, Scope, UserId};
use anlan_store::NewUser;
pub use anlan_store::UserChange;

use crate::App;
use crate::access;
use crate::error::{AppError, Faults};
use crate::validate::{self, Page, Paging};

/// Most grants of one person.
const GRANTS_MAX: usize = 50;

/// A person to be made.
#[derive(Clone, PartialEq, Eq)]
pub struct UserWish {
    /// Sign-in name, unique.
    pub username: String,
    /// Shown name.
    pub name: String,
    /// In clear; hashed here and nowhere kept.
    pub password: String,
    /// What they may do and where.
    pub grants: Vec<Grant>,
}

/// A page of people whose every grant the asker holds.
///
/// # Errors
/// No permission, a foreign cursor, or the store's.
pub async fn list(app: &App, scope: &Scope, paging: &Paging) -> Result<Page<User>, AppError> {
    Ok(app.store.users(&scope.with(Permission::ManageUsers)?, paging).await?)
}

/// Creates a person.
///
/// # Errors
/// No permission, a grant wider than the asker's own, fields that cannot be accepted, a name that is taken.
pub async fn create(app: &App, scope: &Scope, wish: UserWish) -> Result<User, AppError> {
    let act = scope.with(Permission::ManageUsers)?;
    let mut faults = Faults::default();
    let username = faults.note(validate::username("username", &wish.username)).unwrap_or_default();
    let name = faults.note(validate::name("name", &wish.name)).unwrap_or_default();
    faults.note(validate::password("password", &wish.password, &wish.username));
    faults.note(few(&wish.grants));
    faults.check()?;
    let password = access::hash_password(app, wish.password).await?;
    let new = NewUser { username, name, password, grants: wish.grants };
    Ok(app.store.create_user(&act, &new, app.clock.now()).await?)
}

/// Changes a person; `change.password` is in clear and hashed here. A new password and a refusal end every session.
///
/// # Errors
/// No permission, not visible, a stale revision, a grant wider than the asker's own, the last administrator.
pub async fn update(app: &App, scope: &Scope, id: UserId, change: UserChange) -> Result<User, AppError> {
    let act = scope.with(Permission::ManageUsers)?;
    let before = app.store.user(&act, id).await?;
    let mut faults = Faults::default();
    let name = change.name.and_then(|v| faults.note(validate::name("name", &v)));
    if let Some(password) = &change.password {
        faults.note(validate::password("password", password, &before.username));
    }
    if let Some(grants) = &change.grants {
        faults.note(few(grants));
    }
    faults.check()?;
    let password = match change.password {
        Some(password) => Some(access::hash_password(app, password).await?),
        None => None,
    };
    let change = UserChange { name, password, ..change };
    Ok(app.store.update_user(&act, id, &change, app.clock.now()).await?)
}

/// Ends every session of a person; their live streams end within seconds.
///
/// # Errors
/// No permission, or not visible.
pub async fn sign_out(app: &App, scope: &Scope, id: UserId) -> Result<u64, AppError> {
    let act = scope.with(Permission::ManageUsers)?;
    Ok(app.store.end_sessions_of(&act, id, app.clock.now()).await?)
}

fn few(grants: &[Grant]) -> Result<(), AppError> {
    if grants.is_empty() || grants.len() > GRANTS_MAX {
        Err(AppError::invalid("list.length", "grants").with("max", GRANTS_MAX))
    } else {
        Ok(())
    }
}
