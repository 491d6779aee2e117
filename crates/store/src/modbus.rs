//! Register maps of devices that are polled, and the points that follow from them.
//!
//! A map is one document: nobody searches inside it, and a half-replaced map would read the wrong registers. Start at [`Store::put_modbus`].

use anlan_model::modbus::{ModbusMap, Polled};
use anlan_model::noun::{Limits, Point};
use anlan_model::{DeviceId, PointId, Scope, Timestamp};
use serde_json::json;

use crate::audit::{Change, Entry, difference};
use crate::db::{Row, sql};
use crate::point::{canonical, codes, insert, visible_device, write};
use crate::scope::Owner;
use crate::{Store, StoreError};

const POLLED: &str = "SELECT d.id, d.code, m.map
FROM modbus_map AS m
INNER JOIN device AS d ON d.id = m.device_id
WHERE d.disabled = 0 AND d.protocol = 'modbus'";

impl Store {
    /// The map of a device, if it has one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the device, [`StoreError::Database`].
    pub async fn modbus(&self, scope: &Scope, device: DeviceId) -> Result<Option<ModbusMap>, StoreError> {
        let mut q = sql("SELECT m.map
FROM device AS d
LEFT JOIN enterprise AS e ON e.id = d.enterprise_id
LEFT JOIN modbus_map AS m ON m.device_id = d.id
WHERE d.id = $1")
        .bind(device);
        q.and_visible(scope, Owner::ENTERPRISE);
        let row = self.db.row(q).await?.ok_or(StoreError::NotFound)?;
        let text: Option<String> = row.get("map")?;
        text.map(|text| serde_json::from_str(&text).map_err(|e| StoreError::Corrupt(format!("modbus map of device {device}: {e}"))))
            .transpose()
    }

    /// Everything to be polled: devices of protocol `modbus` that have a map and are not disabled, in order of ids.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn all_modbus(&self) -> Result<Vec<Polled>, StoreError> {
        self.db.rows(sql(&format!("{POLLED}\nORDER BY d.id"))).await?.iter().map(read).collect()
    }

    /// The same for these devices alone, in no order.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn modbus_among(&self, devices: &[DeviceId]) -> Result<Vec<Polled>, StoreError> {
        self.db.rows_among(POLLED, "d.id", devices).await?.iter().map(read).collect()
    }

    /// Sets or replaces the map of a device; its points are made where they are missing, confirmed, and get the period of their poll.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the device, [`StoreError::Database`].
    pub async fn put_modbus(&self, scope: &Scope, device: DeviceId, map: &ModbusMap, now: Timestamp) -> Result<(), StoreError> {
        let mut change = self.change(scope, now).await?;
        let enterprise = visible_device(&mut change, device).await?;
        crate::inbox::must_be_own(&mut change.tx, "device", device.get()).await?;
        let holder = change.holder(enterprise).await?;
        let known = codes(&mut change, device, map.registers.iter().map(|r| r.code.as_str())).await?;
        for register in &map.registers {
            let before = known.get(&register.code);
            let mut after = before.cloned().unwrap_or_else(|| Point {
                id: PointId::new(0),
                device,
                enterprise,
                site: String::new(),
                code: register.code.clone(),
                name: register.code.clone(),
                unit: String::new(),
                kind: String::new(),
                period_s: 0.0,
                range_low: None,
                range_high: None,
                limits: Limits::default(),
                limits_source: None,
                confirmed: true,
                place: None,
                revision: 0,
            });
            after.period_s = register.interval_ms as f64 / 1_000.0;
            after.confirmed = true;
            if !register.unit.is_empty() {
                after.unit.clone_from(&register.unit);
            }
            if before == Some(&after) {
                continue;
            }
            after.revision += 1;
            if before.is_some() {
                write(&mut change, &after).await?;
            } else {
                after.id = insert(&mut change, &after).await?;
            }
            let row = canonical(&after);
            let (action, detail) = match before {
                Some(before) => ("update", difference(&canonical(before), &row)),
                None => ("create", row.clone()),
            };
            change.tell("point", &row).await?;
            change.record(Entry { action, noun: "point", subject: after.id.to_string(), detail, row, holder: holder.clone() }).await?;
        }
        let put = sql("INSERT INTO modbus_map (device_id, map) VALUES ($1, $2)
ON CONFLICT (device_id) DO UPDATE SET map = excluded.map, revision = modbus_map.revision + 1
RETURNING revision");
        let row = change.tx.row(put.bind(device).bind(json!(map).to_string())).await?.ok_or(StoreError::NotFound)?;
        let revision: i64 = row.get("revision")?;
        // What is polled and how is in the entry: who points the node at an address answers for it.
        let row = json!({"device": device, "map": map, "revision": revision});
        let detail = json!({"address": map.address, "unit": map.unit, "registers": map.registers.len(), "revision": revision});
        change.record(Entry { action: "update", noun: "modbus", subject: device.to_string(), detail, row, holder }).await?;
        change.commit().await
    }

    /// Removes the map of a device, if it has one; its points and what they hold stay.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the device, [`StoreError::Database`].
    pub async fn delete_modbus(&self, scope: &Scope, device: DeviceId, now: Timestamp) -> Result<(), StoreError> {
        let mut change: Change<'_> = self.change(scope, now).await?;
        let enterprise = visible_device(&mut change, device).await?;
        let holder = change.holder(enterprise).await?;
        if change.tx.run(sql("DELETE FROM modbus_map WHERE device_id = $1").bind(device)).await? == 0 {
            return Ok(());
        }
        let row = json!({"device": device, "map": null});
        change.record(Entry { action: "delete", noun: "modbus", subject: device.to_string(), detail: json!({}), row, holder }).await?;
        change.commit().await
    }
}

fn read(row: &Row) -> Result<Polled, StoreError> {
    Ok(Polled { device: row.get("id")?, code: row.get("code")?, map: row.json("map")? })
}
