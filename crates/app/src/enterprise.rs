//! Enterprises (生产经营单位): the register, and how many of their points are heard.

use anlan_model::noun::Enterprise;
use anlan_model::{Clock as _, EnterpriseId, Permission, Scope};
pub use anlan_store::{EnterpriseChange, EnterpriseFilter, EnterpriseRow, NewEnterprise};

use crate::error::{AppError, Faults};
use crate::registry::Touched;
use crate::validate::{self, Page, Paging};
use crate::{App, point};

/// An enterprise with its figures.
#[derive(Clone, Debug, PartialEq)]
pub struct EnterpriseView {
    /// The row.
    pub row: EnterpriseRow,
    /// Points that are not silent.
    pub points_online: u64,
}

fn view(app: &App, row: EnterpriseRow) -> EnterpriseView {
    let known = app.registry.get();
    let points = known.points_of.get(&row.enterprise.id).map(Vec::as_slice).unwrap_or_default();
    // The row came through the scope, and its points have no other owner.
    let points_online = points.iter().filter_map(|id| known.points.get(id)).filter(|p| point::is_online(app, p)).count() as u64;
    EnterpriseView { row, points_online }
}

/// A page of enterprises the asker may see.
///
/// # Errors
/// No permission to view, a foreign cursor, or the store's.
pub async fn list(app: &App, scope: &Scope, filter: &EnterpriseFilter, paging: &Paging) -> Result<Page<EnterpriseView>, AppError> {
    let scope = scope.with(Permission::View)?;
    let page = app.store.enterprises(&scope, filter, paging).await?;
    Ok(Page { items: page.items.into_iter().map(|row| view(app, row)).collect(), next: page.next })
}

/// One enterprise.
///
/// # Errors
/// Not there or not visible.
pub async fn get(app: &App, scope: &Scope, id: EnterpriseId) -> Result<EnterpriseView, AppError> {
    let scope = scope.with(Permission::View)?;
    Ok(view(app, app.store.enterprise(&scope, id).await?))
}

/// Registers an enterprise.
///
/// # Errors
/// No permission there, a field that cannot be accepted, a code that is taken.
pub async fn create(app: &App, scope: &Scope, new: NewEnterprise) -> Result<Enterprise, AppError> {
    let scope = scope.with(Permission::ManageDevices)?;
    let mut faults = Faults::default();
    let code = faults.note(validate::code("code", &new.code));
    let name = faults.note(validate::name("name", &new.name));
    let sector = faults.note(validate::word("sector", &new.sector, false));
    let place = faults.note(validate::place("place", new.place));
    faults.check()?;
    let (Some(code), Some(name), Some(sector), Some(place)) = (code, name, sector, place) else { return Err(AppError::not_found()) };
    let new = NewEnterprise { code, name, sector, place, region: new.region };
    let made = app.store.create_enterprise(&scope, &new, app.clock.now()).await?;
    app.registry.renew([Touched::Enterprise(made.id)]).await?;
    Ok(made)
}

/// Changes an enterprise.
///
/// # Errors
/// No permission there, a stale revision, a field that cannot be accepted, a code that is taken.
pub async fn update(app: &App, scope: &Scope, id: EnterpriseId, change: EnterpriseChange) -> Result<EnterpriseView, AppError> {
    let act = scope.with(Permission::ManageDevices)?;
    let mut faults = Faults::default();
    let change = EnterpriseChange {
        revision: change.revision,
        code: change.code.and_then(|v| faults.note(validate::code("code", &v))),
        name: change.name.and_then(|v| faults.note(validate::name("name", &v))),
        sector: change.sector.and_then(|v| faults.note(validate::word("sector", &v, false))),
        place: change.place.and_then(|v| faults.note(validate::place("place", v))),
        region: change.region,
    };
    faults.check()?;
    app.store.update_enterprise(&act, id, &change, app.clock.now()).await?;
    app.registry.renew([Touched::Enterprise(id)]).await?;
    get(app, scope, id).await
}
