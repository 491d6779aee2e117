//! Devices and gateways: the register, their secrets, and whether they are heard.

use anlan_model::noun::Device;
use anlan_model::{Clock as _, DeviceId, EnterpriseId, Permission, Scope, Timestamp};
use anlan_store::NewDevice;
pub use anlan_store::{DeviceChange, DeviceFilter, DeviceRow};
use sha2::{Digest as _, Sha256};

use crate::error::{AppError, Faults};
use crate::registry::Touched;
use crate::validate::{self, Page, Paging};
use crate::{App, access, point};

/// Random bytes of a secret: 128 bits, so a plain hash is enough to keep it.
const SECRET_BYTES: usize = 16;

/// A device and whether it is heard.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceView {
    /// The row.
    pub row: DeviceRow,
    /// At least one point is not silent.
    pub online: bool,
    /// When the newest reading came.
    pub last_at: Option<Timestamp>,
}

/// A device to be registered; the secret is made here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceWish {
    /// Unique; the MQTT user name.
    pub code: String,
    /// Name.
    pub name: String,
    /// Owner; `None` only by a node-wide asker.
    pub enterprise: Option<EnterpriseId>,
    /// Usual protocol word.
    pub protocol: String,
    /// May name other devices of its enterprise.
    pub gateway: bool,
    /// May mark back-fill.
    pub may_backfill: bool,
}

fn view(app: &App, row: DeviceRow) -> DeviceView {
    let known = app.registry.get();
    let codes = known.point_by_code.get(&row.device.id);
    let points = codes.into_iter().flat_map(|codes| codes.values()).filter_map(|id| known.points.get(id));
    let (mut online, mut last_at) = (false, None);
    for p in points {
        online = online || point::is_online(app, p);
        last_at = last_at.max(app.telemetry.latest.point(p.id).map(|r| r.received_at));
    }
    DeviceView { row, online, last_at }
}

/// A page of devices the asker may see.
///
/// # Errors
/// No permission to view, a foreign cursor, or the store's.
pub async fn list(app: &App, scope: &Scope, filter: &DeviceFilter, paging: &Paging) -> Result<Page<DeviceView>, AppError> {
    let scope = scope.with(Permission::View)?;
    let page = app.store.devices(&scope, filter, paging).await?;
    Ok(Page { items: page.items.into_iter().map(|row| view(app, row)).collect(), next: page.next })
}

/// One device.
///
/// # Errors
/// Not there or not visible.
pub async fn get(app: &App, scope: &Scope, id: DeviceId) -> Result<DeviceView, AppError> {
    let scope = scope.with(Permission::View)?;
    Ok(view(app, app.store.device(&scope, id).await?))
}

/// Registers a device; the secret is answered this once and kept as a hash.
///
/// # Errors
/// No permission there, a field that cannot be accepted, a code that is taken.
pub async fn create(app: &App, scope: &Scope, wish: DeviceWish) -> Result<(Device, String), AppError> {
    let scope = scope.with(Permission::ManageDevices)?;
    let mut faults = Faults::default();
    let code = faults.note(validate::device_code("code", &wish.code));
    let name = faults.note(validate::name("name", &wish.name));
    let protocol = faults.note(validate::word("protocol", &wish.protocol, false));
    faults.check()?;
    let (Some(code), Some(name), Some(protocol)) = (code, name, protocol) else { return Err(AppError::not_found()) };
    let (secret, secret_hash) = new_secret()?;
    let new = NewDevice {
        code,
        name,
        enterprise: wish.enterprise,
        protocol,
        gateway: wish.gateway,
        may_backfill: wish.may_backfill,
        secret_hash,
    };
    let made = app.store.create_device(&scope, &new, app.clock.now()).await?;
    app.registry.renew([Touched::Device(made.id)]).await?;
    Ok((made, secret))
}

/// Changes a device.
///
/// # Errors
/// No permission there, a stale revision, a field that cannot be accepted.
pub async fn update(app: &App, scope: &Scope, id: DeviceId, change: DeviceChange) -> Result<DeviceView, AppError> {
    let act = scope.with(Permission::ManageDevices)?;
    let mut faults = Faults::default();
    let change = DeviceChange {
        name: change.name.and_then(|v| faults.note(validate::name("name", &v))),
        protocol: change.protocol.and_then(|v| faults.note(validate::word("protocol", &v, false))),
        ..change
    };
    faults.check()?;
    app.store.update_device(&act, id, &change, app.clock.now()).await?;
    app.registry.renew([Touched::Device(id)]).await?;
    get(app, scope, id).await
}

/// Replaces the secret; sockets refuse the old one as soon as this answers.
///
/// # Errors
/// No permission there, or not visible.
pub async fn replace_secret(app: &App, scope: &Scope, id: DeviceId) -> Result<String, AppError> {
    let scope = scope.with(Permission::ManageDevices)?;
    let (secret, hash) = new_secret()?;
    app.store.set_device_secret(&scope, id, hash, app.clock.now()).await?;
    app.registry.renew([Touched::Device(id)]).await?;
    Ok(secret)
}

fn new_secret() -> Result<(String, [u8; 32]), AppError> {
    let secret = access::random_text::<SECRET_BYTES>()?;
    let hash = Sha256::digest(secret.as_bytes()).into();
    Ok((secret, hash))
}
