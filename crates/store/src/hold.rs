//! Legal holds (保全): what must be kept whatever retention says, for which period, who set it and why.
//!
//! A hold is set and released, never edited or deleted. It belongs to the whole node: only node-wide askers see and set it.

use std::collections::HashMap;

use anlan_model::{EnterpriseId, PointId, Scope, Timestamp, VehicleId};
use serde_json::json;

use crate::audit::{Entry, Holder};
use crate::db::{Row, sql};
use crate::{Page, Paging, Store, StoreError, require_node_wide};

/// A hold to be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewHold {
    /// Everything of this enterprise: what it has now, and what it will have.
    pub enterprise: Option<EnterpriseId>,
    /// Single points.
    pub points: Vec<PointId>,
    /// Single vehicles.
    pub vehicles: Vec<VehicleId>,
    /// Start of the period, inclusive.
    pub from: Timestamp,
    /// End of the period, exclusive.
    pub to: Timestamp,
    /// Why: the case, the order, who asked.
    pub reason: String,
}

/// A hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldRow {
    /// Its id.
    pub id: i64,
    /// Its enterprise.
    pub enterprise: Option<EnterpriseId>,
    /// Its points, those of the enterprise when it was set among them, in id order.
    pub points: Vec<PointId>,
    /// Its vehicles, likewise.
    pub vehicles: Vec<VehicleId>,
    /// Start of the period, inclusive.
    pub from: Timestamp,
    /// End of the period, exclusive.
    pub to: Timestamp,
    /// Why.
    pub reason: String,
    /// When it was set.
    pub created_at: Timestamp,
    /// Shown name of who set it.
    pub created_by: String,
    /// When it was released; `None` = it holds.
    pub released_at: Option<Timestamp>,
    /// Shown name of who released it.
    pub released_by: Option<String>,
    /// Why it was released.
    pub release_reason: Option<String>,
}

const SELECT: &str = "SELECT h.id, h.enterprise_id, h.from_us, h.to_us, h.reason, h.created_at_us, h.created_by,
  h.released_at_us, h.released_by, h.release_reason
FROM hold AS h
WHERE 1 = 1";

fn read(row: &Row) -> Result<HoldRow, StoreError> {
    Ok(HoldRow {
        id: row.get("id")?,
        enterprise: row.get("enterprise_id")?,
        points: Vec::new(),
        vehicles: Vec::new(),
        from: row.get("from_us")?,
        to: row.get("to_us")?,
        reason: row.get("reason")?,
        created_at: row.get("created_at_us")?,
        created_by: row.get("created_by")?,
        released_at: row.get("released_at_us")?,
        released_by: row.get("released_by")?,
        release_reason: row.get("release_reason")?,
    })
}

impl Store {
    /// Sets a hold and answers its id.
    ///
    /// # Errors
    /// [`StoreError::OutOfScope`] for an asker who is not node-wide, [`StoreError::Missing`] for an enterprise, point or vehicle that is not
    /// there, [`StoreError::Database`].
    pub async fn create_hold(&self, scope: &Scope, new: &NewHold, now: Timestamp) -> Result<i64, StoreError> {
        require_node_wide(scope)?;
        let mut change = self.change(scope, now).await?;
        if let Some(id) = new.enterprise {
            let found = change.tx.row(sql("SELECT e.id FROM enterprise AS e WHERE e.id = $1 AND e.merged_into IS NULL").bind(id)).await?;
            found.ok_or(StoreError::Missing { field: "enterprise" })?;
        }
        let insert = sql("INSERT INTO hold (enterprise_id, from_us, to_us, reason, created_at_us, created_by)
VALUES ($1, $2, $3, $4, $5, $6) RETURNING id");
        let insert = insert.bind(new.enterprise).bind(new.from).bind(new.to).bind(new.reason.as_str());
        let row = change.tx.row(insert.bind(now).bind(scope.name.as_str())).await?.ok_or(StoreError::NotFound)?;
        let id: i64 = row.get("id")?;
        if let Some(enterprise) = new.enterprise {
            let points = sql("INSERT INTO hold_item (hold_id, point_id)
SELECT h.id, p.id FROM hold AS h, point AS p JOIN device AS d ON d.id = p.device_id WHERE h.id = $1 AND d.enterprise_id = $2");
            change.tx.run(points.bind(id).bind(enterprise)).await?;
            let vehicles = sql("INSERT INTO hold_item (hold_id, vehicle_id)
SELECT h.id, v.id FROM hold AS h, vehicle AS v WHERE h.id = $1 AND v.enterprise_id = $2");
            change.tx.run(vehicles.bind(id).bind(enterprise)).await?;
        }
        for point in &new.points {
            let found = change.tx.row(sql("SELECT p.id FROM point AS p WHERE p.id = $1").bind(*point)).await?;
            found.ok_or(StoreError::Missing { field: "points" })?;
            change.tx.run(sql("INSERT INTO hold_item (hold_id, point_id) VALUES ($1, $2)").bind(id).bind(*point)).await?;
        }
        for vehicle in &new.vehicles {
            let found = change.tx.row(sql("SELECT v.id FROM vehicle AS v WHERE v.id = $1").bind(*vehicle)).await?;
            found.ok_or(StoreError::Missing { field: "vehicles" })?;
            change.tx.run(sql("INSERT INTO hold_item (hold_id, vehicle_id) VALUES ($1, $2)").bind(id).bind(*vehicle)).await?;
        }
        let row = json!({"id": id, "enterprise": new.enterprise, "points": new.points, "vehicles": new.vehicles,
            "from_us": new.from.micros(), "to_us": new.to.micros(), "reason": new.reason});
        let holder = Holder::NONE;
        change.record(Entry { action: "create", noun: "hold", subject: id.to_string(), detail: row.clone(), row, holder }).await?;
        change.commit().await?;
        Ok(id)
    }

    /// Releases a hold.
    ///
    /// # Errors
    /// [`StoreError::OutOfScope`], [`StoreError::NotFound`] for one that is not there or released already, [`StoreError::Database`].
    pub async fn release_hold(&self, scope: &Scope, id: i64, reason: &str, now: Timestamp) -> Result<(), StoreError> {
        require_node_wide(scope)?;
        let mut change = self.change(scope, now).await?;
        let update = sql("UPDATE hold SET released_at_us = $2, released_by = $3, release_reason = $4
WHERE id = $1 AND released_at_us IS NULL RETURNING id");
        let update = update.bind(id).bind(now).bind(scope.name.as_str()).bind(reason);
        change.tx.row(update).await?.ok_or(StoreError::NotFound)?;
        let row = json!({"id": id, "released_at_us": now.micros(), "reason": reason});
        let holder = Holder::NONE;
        change.record(Entry { action: "release", noun: "hold", subject: id.to_string(), detail: row.clone(), row, holder }).await?;
        change.commit().await
    }

    /// A page of holds, newest first, released ones too. Empty for an asker who is not node-wide.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`].
    pub async fn holds(&self, scope: &Scope, paging: &Paging) -> Result<Page<HoldRow>, StoreError> {
        if !scope.node_wide() {
            return Ok(Page { items: Vec::new(), next: None });
        }
        let mut q = sql(SELECT);
        if let Some(id) = paging.after_id()? {
            q.push("\n  AND h.id < {}", &[&id]);
        }
        q.push("\nORDER BY h.id DESC\nLIMIT {}", &[&paging.fetch()]);
        let mut page = paging.page_by_id(self.db.rows(q).await?, read)?;
        self.fill(&mut page.items).await?;
        Ok(page)
    }

    /// Every hold that is not released: what retention must ask before it drops anything.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn standing_holds(&self) -> Result<Vec<HoldRow>, StoreError> {
        let mut q = sql(SELECT);
        q.push("\n  AND h.released_at_us IS NULL\nORDER BY h.id", &[]);
        let mut holds = self.db.rows(q).await?.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        self.fill(&mut holds).await?;
        Ok(holds)
    }

    async fn fill(&self, holds: &mut [HoldRow]) -> Result<(), StoreError> {
        let place: HashMap<i64, usize> = holds.iter().enumerate().map(|(i, h)| (h.id, i)).collect();
        let (Some(first), Some(last)) = (place.keys().min().copied(), place.keys().max().copied()) else { return Ok(()) };
        let q = sql("SELECT i.hold_id, i.point_id, i.vehicle_id FROM hold_item AS i WHERE i.hold_id >= $1 AND i.hold_id <= $2
ORDER BY i.hold_id, i.point_id, i.vehicle_id");
        for row in self.db.rows(q.bind(first).bind(last)).await? {
            let Some(hold) = place.get(&row.get("hold_id")?).map(|i| &mut holds[*i]) else { continue };
            hold.points.extend(row.get::<Option<PointId>>("point_id")?);
            hold.vehicles.extend(row.get::<Option<VehicleId>>("vehicle_id")?);
        }
        for hold in holds {
            hold.points.sort_unstable();
            hold.points.dedup();
            hold.vehicles.sort_unstable();
            hold.vehicles.dedup();
        }
        Ok(())
    }
}
