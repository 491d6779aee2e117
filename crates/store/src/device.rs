//! Devices and gateways with a credential of their own.

use anlan_model::noun::Device;
use anlan_model::{DeviceId, EnterpriseId, Home, Scope, Timestamp};
use serde_json::{Value as Json, json};

use crate::audit::{Change, Entry, and_equal, check_revision, difference};
use crate::db::{Row, sql};
use crate::scope::Owner;
use crate::{Page, Paging, Store, StoreError};

/// A device with what lists show beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceRow {
    /// The row.
    pub device: Device,
    /// Name of its owner.
    pub enterprise_name: Option<String>,
    /// Its points.
    pub points: i64,
    /// Of one that another node hears.
    pub home: Option<Home>,
}

/// Which devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceFilter {
    /// Of this enterprise.
    pub enterprise: Option<EnterpriseId>,
    /// Part of the code or the name.
    pub q: Option<String>,
}

/// A device to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDevice {
    /// Unique; the MQTT user name.
    pub code: String,
    /// Name.
    pub name: String,
    /// Owner; `None` only for a node-wide asker.
    pub enterprise: Option<EnterpriseId>,
    /// Usual protocol word.
    pub protocol: String,
    /// May name other devices of its enterprise.
    pub gateway: bool,
    /// May mark back-fill.
    pub may_backfill: bool,
    /// SHA-256 of the secret.
    pub secret_hash: [u8; 32],
}

/// Fields to change; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceChange {
    /// The revision the change was made for.
    pub revision: i64,
    /// New name.
    pub name: Option<String>,
    /// New owner; `Some(None)` = none.
    pub enterprise: Option<Option<EnterpriseId>>,
    /// New usual protocol.
    pub protocol: Option<String>,
    /// Gateway or not.
    pub gateway: Option<bool>,
    /// Back-fill or not.
    pub may_backfill: Option<bool>,
    /// Refused or not.
    pub disabled: Option<bool>,
}

const COLUMNS: &str = "d.id, d.code, d.name, d.enterprise_id, d.protocol, d.gateway, d.may_backfill, d.disabled, d.secret_hash, d.revision";
const ROWS: &str = "e.name AS enterprise_name, (SELECT COUNT(*) FROM point AS p WHERE p.device_id = d.id) AS points,
  m.node AS home, n.name AS home_name, n.level AS home_level
FROM device AS d
LEFT JOIN enterprise AS e ON e.id = d.enterprise_id
LEFT JOIN mirror AS m ON m.kind = 'device' AND m.local_id = d.id
LEFT JOIN node AS n ON n.id = m.node
WHERE 1 = 1";

impl Store {
    /// A page of devices under the scope, in order of ids.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`].
    pub async fn devices(&self, scope: &Scope, filter: &DeviceFilter, paging: &Paging) -> Result<Page<DeviceRow>, StoreError> {
        let mut q = sql(&format!("SELECT {COLUMNS}, {ROWS}"));
        q.and_visible(scope, Owner::ENTERPRISE);
        and_equal(&mut q, "d.enterprise_id", filter.enterprise.as_ref());
        q.and_search(&["d.code", "d.name"], filter.q.as_deref());
        if let Some(id) = paging.after_id()? {
            q.push("\n  AND d.id > {}", &[&id]);
        }
        q.push("\nORDER BY d.id\nLIMIT {}", &[&paging.fetch()]);
        paging.page_by_id(self.db.rows(q).await?, read_row)
    }

    /// One device.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn device(&self, scope: &Scope, id: DeviceId) -> Result<DeviceRow, StoreError> {
        let mut q = sql(&format!("SELECT {COLUMNS}, {ROWS}"));
        q.push("\n  AND d.id = {}", &[&id]).and_visible(scope, Owner::ENTERPRISE);
        read_row(&self.db.row(q).await?.ok_or(StoreError::NotFound)?)
    }

    /// Every device, for the registry of the engine.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn all_devices(&self) -> Result<Vec<Device>, StoreError> {
        let rows = self.db.rows(sql(&format!("SELECT {COLUMNS} FROM device AS d ORDER BY d.id"))).await?;
        rows.iter().map(read).collect()
    }

    /// These devices, as far as they exist.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn devices_among(&self, ids: &[DeviceId]) -> Result<Vec<Device>, StoreError> {
        let rows = self.db.rows_among(&format!("SELECT {COLUMNS} FROM device AS d WHERE 1 = 1"), "d.id", ids).await?;
        rows.iter().map(read).collect()
    }

    /// Makes a device.
    ///
    /// # Errors
    /// [`StoreError::Missing`] for an enterprise the asker cannot see, [`StoreError::OutOfScope`] for none by an asker who is not
    /// node-wide, [`StoreError::Taken`], [`StoreError::Database`].
    pub async fn create_device(&self, scope: &Scope, new: &NewDevice, now: Timestamp) -> Result<Device, StoreError> {
        let mut change = self.change(scope, now).await?;
        change.may_own(new.enterprise).await?;
        let insert = sql("INSERT INTO device (code, name, enterprise_id, protocol, gateway, may_backfill, secret_hash) VALUES ($1, $2, $3, $4, $5, $6, $7)
RETURNING id, code, name, enterprise_id, protocol, gateway, may_backfill, disabled, secret_hash, revision");
        let insert = insert.bind(new.code.as_str()).bind(new.name.as_str()).bind(new.enterprise).bind(new.protocol.as_str());
        let row = change.tx.row(insert.bind(new.gateway).bind(new.may_backfill).bind(new.secret_hash)).await?;
        let made = read(&row.ok_or(StoreError::NotFound)?)?;
        finish(change, "create", canonical(&made), &made).await?;
        Ok(made)
    }

    /// Changes a device.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Stale`], [`StoreError::Missing`] or [`StoreError::OutOfScope`] for a new owner
    /// outside the asker's territory, [`StoreError::Mirrored`] for one of another node,
    /// [`StoreError::Combined`] if a combination of the old owner names its points,
    /// [`StoreError::Database`].
    pub async fn update_device(&self, scope: &Scope, id: DeviceId, wanted: &DeviceChange, now: Timestamp) -> Result<Device, StoreError> {
        let mut change = self.change(scope, now).await?;
        let before = current(&mut change, id).await?;
        crate::inbox::must_be_own(&mut change.tx, "device", id.get()).await?;
        check_revision(before.revision, wanted.revision)?;
        if let Some(enterprise) = wanted.enterprise {
            change.may_own(enterprise).await?;
            if enterprise != before.enterprise
                && let Some(name) = crate::combination::of_device(&mut change, id).await?
            {
                return Err(StoreError::Combined { name });
            }
        }
        let after = Device {
            name: wanted.name.clone().unwrap_or_else(|| before.name.clone()),
            enterprise: wanted.enterprise.unwrap_or(before.enterprise),
            protocol: wanted.protocol.clone().unwrap_or_else(|| before.protocol.clone()),
            gateway: wanted.gateway.unwrap_or(before.gateway),
            may_backfill: wanted.may_backfill.unwrap_or(before.may_backfill),
            disabled: wanted.disabled.unwrap_or(before.disabled),
            revision: before.revision + 1,
            ..before.clone()
        };
        let update = sql("UPDATE device
SET name = $1, enterprise_id = $2, protocol = $3, gateway = $4, may_backfill = $5, disabled = $6, revision = $7
WHERE id = $8");
        let update = update.bind(after.name.as_str()).bind(after.enterprise).bind(after.protocol.as_str()).bind(after.gateway);
        change.tx.run(update.bind(after.may_backfill).bind(after.disabled).bind(after.revision).bind(id)).await?;
        finish(change, "update", difference(&canonical(&before), &canonical(&after)), &after).await?;
        Ok(after)
    }

    /// Replaces the secret; the old one is refused from the next snapshot of credentials on.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn set_device_secret(
        &self,
        scope: &Scope,
        id: DeviceId,
        secret_hash: [u8; 32],
        now: Timestamp,
    ) -> Result<Device, StoreError> {
        let mut change = self.change(scope, now).await?;
        let before = current(&mut change, id).await?;
        crate::inbox::must_be_own(&mut change.tx, "device", id.get()).await?;
        let after = Device { secret_hash, revision: before.revision + 1, ..before };
        let update = sql("UPDATE device SET secret_hash = $1, revision = $2 WHERE id = $3");
        change.tx.run(update.bind(secret_hash).bind(after.revision).bind(id)).await?;
        finish(change, "replace_secret", json!({}), &after).await?;
        Ok(after)
    }
}

async fn current(change: &mut Change<'_>, id: DeviceId) -> Result<Device, StoreError> {
    let mut q = sql(&format!("SELECT {COLUMNS}, {ROWS}"));
    q.push("\n  AND d.id = {}", &[&id]).and_visible(change.scope, Owner::ENTERPRISE);
    read(&change.tx.row(q).await?.ok_or(StoreError::NotFound)?)
}

async fn finish(mut change: Change<'_>, action: &'static str, detail: Json, after: &Device) -> Result<(), StoreError> {
    let holder = change.holder(after.enterprise).await?;
    let row = canonical(after);
    change.tell("device", &row).await?;
    change.record(Entry { action, noun: "device", subject: after.id.to_string(), detail, row, holder }).await?;
    change.commit().await
}

/// Moves the devices of an enterprise, their points with them; which those were.
pub(crate) async fn merge(change: &mut Change<'_>, from: EnterpriseId, into: EnterpriseId) -> Result<Vec<DeviceId>, StoreError> {
    let holder = change.holder(Some(into)).await?;
    let mut moved = Vec::new();
    for row in
        change.tx.rows(sql(&format!("SELECT {COLUMNS} FROM device AS d WHERE d.enterprise_id = $1 ORDER BY d.id")).bind(from)).await?
    {
        let before = read(&row)?;
        let after = Device { enterprise: Some(into), revision: before.revision + 1, ..before };
        let update = sql("UPDATE device SET enterprise_id = $1, revision = $2 WHERE id = $3");
        change.tx.run(update.bind(into).bind(after.revision).bind(after.id)).await?;
        let (row, detail) = (canonical(&after), crate::merge::moved(from, into));
        change.tell("device", &row).await?;
        change
            .record(Entry { action: "merge", noun: "device", subject: after.id.to_string(), detail, row, holder: holder.clone() })
            .await?;
        moved.push(after.id);
    }
    Ok(moved)
}

fn read_row(row: &Row) -> Result<DeviceRow, StoreError> {
    Ok(DeviceRow {
        device: read(row)?,
        enterprise_name: row.get("enterprise_name")?,
        points: row.get("points")?,
        home: crate::alarm::read_home(row)?,
    })
}

fn read(row: &Row) -> Result<Device, StoreError> {
    Ok(Device {
        id: row.get("id")?,
        code: row.get("code")?,
        name: row.get("name")?,
        enterprise: row.get("enterprise_id")?,
        protocol: row.get("protocol")?,
        gateway: row.get("gateway")?,
        may_backfill: row.get("may_backfill")?,
        disabled: row.get("disabled")?,
        secret_hash: row.get("secret_hash")?,
        revision: row.get("revision")?,
    })
}

/// Without the secret's hash: an audit is read by more people than may know it.
fn canonical(d: &Device) -> Json {
    json!({
        "id": d.id, "code": d.code, "name": d.name, "enterprise": d.enterprise, "protocol": d.protocol, "gateway": d.gateway,
        "may_backfill": d.may_backfill, "disabled": d.disabled, "revision": d.revision,
    })
}
