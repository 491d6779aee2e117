//! Days of vehicles on the road: what was reckoned from positions, and the sums behind the five ratios.
//!
//! A projection of history: written by the reckoning alone, without audit, and replaced whenever a day is reckoned again.
//! Start at [`Store::road_sums`].

use std::collections::{BTreeMap, BTreeSet};

use anlan_model::{Scope, Timestamp, VehicleId};

use crate::db::{Row, sql};
use crate::scope::Owner;
use crate::{Store, StoreError};

/// One vehicle on one day.
#[derive(Clone, Debug, PartialEq)]
pub struct RoadDay {
    /// Vehicle.
    pub vehicle: VehicleId,
    /// Civil day in Beijing, ISO.
    pub day: String,
    /// Heard with qualified data on this day or before.
    pub networked: bool,
    /// Positions.
    pub n: u64,
    /// Of those, qualified.
    pub n_qualified: u64,
    /// Marked as drift.
    pub n_drift: u64,
    /// Without a fix.
    pub n_no_fix: u64,
    /// Metres driven.
    pub distance_m: f64,
    /// Of those, on complete track.
    pub complete_m: f64,
    /// Seconds moving.
    pub driving_s: f64,
    /// Seconds standing with the ignition on.
    pub idle_s: f64,
    /// Trips that began on this day.
    pub n_trips: u64,
    /// Findings of speeding.
    pub n_overspeed: u64,
    /// Findings of driving without rest.
    pub n_fatigue: u64,
    /// Findings of driving in forbidden hours.
    pub n_ban: u64,
    /// When it was reckoned.
    pub computed_at: Timestamp,
}

/// What vehicles are summed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoadBy {
    /// Operator.
    Operator,
    /// County.
    Region,
}

/// Sums over the vehicles of one operator or county on one day.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoadSums {
    /// Id of the operator or code of the county; `None`: vehicles without.
    pub key: Option<String>,
    /// Name of the operator.
    pub name: Option<String>,
    /// Vehicles registered.
    pub vehicles: u64,
    /// Of those, reckoned for the day; the sums below are of these.
    pub computed: u64,
    /// Heard with qualified data on the day or before.
    pub networked: u64,
    /// Heard on the day.
    pub online: u64,
    /// With drift on the day.
    pub drifting: u64,
    /// Positions.
    pub n: u64,
    /// Qualified positions.
    pub n_qualified: u64,
    /// Positions marked as drift.
    pub n_drift: u64,
    /// Metres.
    pub distance_m: f64,
    /// Metres on complete track.
    pub complete_m: f64,
    /// Trips.
    pub n_trips: u64,
    /// Findings of speeding.
    pub n_overspeed: u64,
    /// Findings of driving without rest.
    pub n_fatigue: u64,
    /// Findings of driving in forbidden hours.
    pub n_ban: u64,
    /// The oldest reckoning among them.
    pub computed_at: Option<Timestamp>,
}

const OWNER: Owner = Owner { enterprise: "e.id", region: "COALESCE(e.region, v.region)", sector: "e.sector" };
/// Vehicles that should be networked: adopted by a person, or with an operator. What was only heard is not registered; those of other nodes report there.
const REGISTERED: &str = "(v.adopted = 1 OR v.enterprise_id IS NOT NULL)
  AND NOT EXISTS (SELECT 1 FROM mirror AS m WHERE m.kind = 'vehicle' AND m.local_id = v.id)";

impl Store {
    /// Keeps days, replacing what was reckoned before, in one transaction.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn put_road_days(&self, days: &[RoadDay]) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        for d in days {
            let insert = sql("INSERT INTO road_day (day, vehicle_id, networked, n, n_qualified, n_drift, n_no_fix, distance_m, complete_m,
  driving_s, idle_s, n_trips, n_overspeed, n_fatigue, n_ban, computed_at_us)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
ON CONFLICT (day, vehicle_id) DO UPDATE SET networked = excluded.networked, n = excluded.n, n_qualified = excluded.n_qualified,
  n_drift = excluded.n_drift, n_no_fix = excluded.n_no_fix, distance_m = excluded.distance_m, complete_m = excluded.complete_m,
  driving_s = excluded.driving_s, idle_s = excluded.idle_s, n_trips = excluded.n_trips, n_overspeed = excluded.n_overspeed,
  n_fatigue = excluded.n_fatigue, n_ban = excluded.n_ban, computed_at_us = excluded.computed_at_us");
            let insert = insert.bind(d.day.as_str()).bind(d.vehicle).bind(d.networked).bind(count(d.n)).bind(count(d.n_qualified));
            let insert = insert.bind(count(d.n_drift)).bind(count(d.n_no_fix)).bind(d.distance_m).bind(d.complete_m).bind(d.driving_s);
            let insert = insert.bind(d.idle_s).bind(count(d.n_trips)).bind(count(d.n_overspeed)).bind(count(d.n_fatigue));
            tx.run(insert.bind(count(d.n_ban)).bind(d.computed_at)).await?;
        }
        tx.commit().await
    }

    /// Forgets the days before `day`; how many rows that were.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn forget_road_days(&self, day: &str) -> Result<u64, StoreError> {
        let mut tx = self.db.begin().await?;
        let n = tx.run(sql("DELETE FROM road_day WHERE day < $1").bind(day)).await?;
        tx.commit().await?;
        Ok(n)
    }

    /// Vehicles that were networked on a day before `day`; once networked is networked.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn road_networked_before(&self, day: &str) -> Result<BTreeSet<VehicleId>, StoreError> {
        let q = sql("SELECT DISTINCT vehicle_id FROM road_day WHERE networked = 1 AND day < $1").bind(day);
        self.db.rows(q).await?.iter().map(|row| row.get("vehicle_id")).collect()
    }

    /// When each vehicle of `day` was reckoned.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn road_days_computed(&self, day: &str) -> Result<BTreeMap<VehicleId, Timestamp>, StoreError> {
        let rows = self.db.rows(sql("SELECT vehicle_id, computed_at_us FROM road_day WHERE day = $1").bind(day)).await?;
        rows.iter().map(|row| Ok((row.get("vehicle_id")?, row.get("computed_at_us")?))).collect()
    }

    /// The sums of `day` over the registered vehicles under the scope, in order of names or codes, vehicles without last.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn road_sums(&self, scope: &Scope, day: &str, by: RoadBy) -> Result<Vec<RoadSums>, StoreError> {
        let (key, name) = match by {
            RoadBy::Operator => ("v.enterprise_id", "e.name"),
            RoadBy::Region => ("SUBSTR(COALESCE(e.region, v.region), 1, 6)", "NULL"),
        };
        let grouped = match by {
            RoadBy::Operator => "v.enterprise_id, e.name",
            RoadBy::Region => key,
        };
        let total = |column: &str, of: &str| format!("CAST(COALESCE(SUM({of}), 0) AS BIGINT) AS {column}");
        let columns = [
            total("computed", "CASE WHEN r.day IS NULL THEN 0 ELSE 1 END"),
            total("networked", "r.networked"),
            total("online", "CASE WHEN r.n > 0 THEN 1 ELSE 0 END"),
            total("drifting", "CASE WHEN r.n_drift > 0 THEN 1 ELSE 0 END"),
            total("n", "r.n"),
            total("n_qualified", "r.n_qualified"),
            total("n_drift", "r.n_drift"),
            total("n_trips", "r.n_trips"),
            total("n_overspeed", "r.n_overspeed"),
            total("n_fatigue", "r.n_fatigue"),
            total("n_ban", "r.n_ban"),
        ]
        .join(", ");
        let mut q = sql(&format!(
            "SELECT CAST({key} AS TEXT) AS group_key, CAST({name} AS TEXT) AS group_name, COUNT(*) AS vehicles, {columns},
  COALESCE(SUM(r.distance_m), 0.0) AS distance_m, COALESCE(SUM(r.complete_m), 0.0) AS complete_m, MIN(r.computed_at_us) AS computed_at_us
FROM vehicle AS v
LEFT JOIN enterprise AS e ON e.id = v.enterprise_id
LEFT JOIN road_day AS r ON r.vehicle_id = v.id AND r.day = $1
WHERE {REGISTERED}"
        ))
        .bind(day);
        q.and_visible(scope, OWNER);
        q.push(&format!("\nGROUP BY {grouped}"), &[]);
        let mut sums = self.db.rows(q).await?.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        // Both databases would order NULL and text in their own way.
        sums.sort_by(|a, b| (a.key.is_none(), &a.name, &a.key).cmp(&(b.key.is_none(), &b.name, &b.key)));
        Ok(sums)
    }

    /// Ids of all registered vehicles, for the reckoning.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn registered_vehicles(&self) -> Result<Vec<VehicleId>, StoreError> {
        let rows = self.db.rows(sql(&format!("SELECT v.id FROM vehicle AS v WHERE {REGISTERED} ORDER BY v.id"))).await?;
        rows.iter().map(|row| row.get("id")).collect()
    }
}

fn read(row: &Row) -> Result<RoadSums, StoreError> {
    let n = |column: &str| -> Result<u64, StoreError> { Ok(u64::try_from(row.get::<i64>(column)?).unwrap_or(0)) };
    Ok(RoadSums {
        key: row.get("group_key")?,
        name: row.get("group_name")?,
        vehicles: n("vehicles")?,
        computed: n("computed")?,
        networked: n("networked")?,
        online: n("online")?,
        drifting: n("drifting")?,
        n: n("n")?,
        n_qualified: n("n_qualified")?,
        n_drift: n("n_drift")?,
        distance_m: row.get("distance_m")?,
        complete_m: row.get("complete_m")?,
        n_trips: n("n_trips")?,
        n_overspeed: n("n_overspeed")?,
        n_fatigue: n("n_fatigue")?,
        n_ban: n("n_ban")?,
        computed_at: row.get("computed_at_us")?,
    })
}

fn count(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
