//! Vehicles (车辆), known by the phone number of their terminal.

use std::collections::{BTreeSet, HashMap};

use anlan_model::noun::{Enterprise, Vehicle};
use anlan_model::{EnterpriseId, Home, Level, RegionCode, Scope, Timestamp, Trust, VehicleId};
use serde_json::{Value as Json, json};

use crate::alarm::{WORST, read_home, read_worst};
use crate::audit::{Change, Entry, Holder, and_equal, check_revision, difference};
use crate::db::{PIECE, Row, Sql, sql};
use crate::inbox::must_be_own;
use crate::region::{MOVED_AT_ONCE, Redivision};
use crate::scope::Owner;
use crate::{Page, Paging, Store, StoreError};

/// A vehicle with what lists show beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct VehicleRow {
    /// The row; its region is the operator's if it has one.
    pub vehicle: Vehicle,
    /// Name of the operator.
    pub enterprise_name: Option<String>,
    /// Worst level of its standing alarms.
    pub worst_level: Option<Level>,
    /// Of one that another node hears.
    pub home: Option<Home>,
}

/// Which vehicles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VehicleFilter {
    /// Phone number; leading zeros do not matter.
    pub phone: Option<String>,
    /// Part of the plate or the phone number.
    pub q: Option<String>,
    /// In this division.
    pub region: Option<RegionCode>,
    /// Of this operator.
    pub enterprise: Option<EnterpriseId>,
}

/// A terminal that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen<'a> {
    /// Its phone number; leading zeros do not matter.
    pub phone: &'a str,
    /// How it is believed.
    pub trust: Trust,
    /// Whether a vehicle that is made is adopted from the start.
    pub adopted: bool,
}

/// Fields to change; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VehicleChange {
    /// The revision the change was made for.
    pub revision: i64,
    /// New plate.
    pub plate: Option<String>,
    /// New kind word.
    pub kind: Option<String>,
    /// New operator; `Some(None)` = none.
    pub enterprise: Option<Option<EnterpriseId>>,
    /// New territory of a vehicle without operator; `Some(None)` = none.
    pub region: Option<Option<RegionCode>>,
    /// New speed limit; `Some(None)` = none.
    pub speed_limit_kmh: Option<Option<f64>>,
}

/// How long after adoption a terminal may fetch its authentication code: time to switch it on, and little for a stranger.
const ENROL_WINDOW_US: i64 = 30 * 60 * 1_000_000;

const COLUMNS: &str = "v.id, v.phone, v.plate, v.kind, v.enterprise_id, COALESCE(e.region, v.region) AS region, v.trust, v.adopted,
  v.speed_limit_kmh, v.revision";
const FROM: &str = "FROM vehicle AS v
LEFT JOIN enterprise AS e ON e.id = v.enterprise_id
WHERE 1 = 1";
pub(crate) const OWNER: Owner = Owner { enterprise: "e.id", region: "COALESCE(e.region, v.region)", sector: "e.sector" };

impl Store {
    /// A page of vehicles under the scope, in order of ids.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`].
    pub async fn vehicles(&self, scope: &Scope, filter: &VehicleFilter, paging: &Paging) -> Result<Page<VehicleRow>, StoreError> {
        let mut q = select_rows();
        q.and_visible(scope, OWNER);
        let phone = filter.phone.as_deref().map(|p| p.trim_start_matches('0').to_owned());
        and_equal(&mut q, "v.phone", phone.as_ref());
        q.and_search(&["v.plate", "v.phone"], filter.q.as_deref());
        if let Some(region) = &filter.region {
            let (from, to) = region.range();
            q.push("\n  AND COALESCE(e.region, v.region) >= {} AND COALESCE(e.region, v.region) < {}", &[&from, &to]);
        }
        and_equal(&mut q, "v.enterprise_id", filter.enterprise.as_ref());
        if let Some(id) = paging.after_id()? {
            q.push("\n  AND v.id > {}", &[&id]);
        }
        q.push("\nORDER BY v.id\nLIMIT {}", &[&paging.fetch()]);
        paging.page_by_id(self.db.rows(q).await?, read_row)
    }

    /// One vehicle.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn vehicle(&self, scope: &Scope, id: VehicleId) -> Result<VehicleRow, StoreError> {
        let mut q = select_rows();
        q.push("\n  AND v.id = {}", &[&id]).and_visible(scope, OWNER);
        read_row(&self.db.row(q).await?.ok_or(StoreError::NotFound)?)
    }

    /// Ids of the vehicles under the scope: the key to positions and the live map.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn vehicle_set(&self, scope: &Scope) -> Result<BTreeSet<VehicleId>, StoreError> {
        let mut q = sql(&format!("SELECT v.id\n{FROM}"));
        q.and_visible(scope, OWNER);
        self.db.rows(q).await?.iter().map(|r| r.get("id")).collect()
    }

    /// Every vehicle, for the registry of the engine.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn all_vehicles(&self) -> Result<Vec<Vehicle>, StoreError> {
        let rows = self.db.rows(sql(&format!("SELECT {COLUMNS}\n{FROM}\nORDER BY v.id"))).await?;
        rows.iter().map(read).collect()
    }

    /// These vehicles and those of these operators, as far as they exist.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn vehicles_among(&self, ids: &[VehicleId], operators: &[EnterpriseId]) -> Result<Vec<Vehicle>, StoreError> {
        let select = format!("SELECT {COLUMNS}\n{FROM}");
        let mut rows = self.db.rows_among(&select, "v.id", ids).await?;
        rows.extend(self.db.rows_among(&select, "v.enterprise_id", operators).await?);
        rows.iter().map(read).collect()
    }

    /// The vehicle of a terminal's phone number, made if it is unknown; `adopted` counts only then. A known vehicle whose
    /// terminal is believed in another way than before gets the new `trust`, with an audit entry.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn ensure_vehicle(&self, phone: &str, trust: Trust, adopted: bool, now: Timestamp) -> Result<Vehicle, StoreError> {
        let mut made = self.ensure_vehicles(&[Seen { phone, trust, adopted }], now).await?;
        made.pop().ok_or(StoreError::NotFound)
    }

    /// The vehicles of several terminals, in the order given, as [`Self::ensure_vehicle`] says, in one transaction: a fleet that comes at
    /// once costs one sync, not one a vehicle.
    ///
    /// # Errors
    /// [`StoreError::Database`]; nothing is made then.
    pub async fn ensure_vehicles(&self, seen: &[Seen<'_>], now: Timestamp) -> Result<Vec<Vehicle>, StoreError> {
        let scope = Scope::node();
        let mut change = self.change(&scope, now).await?;
        let phones: Vec<&str> = seen.iter().map(|s| bare(s.phone)).collect();
        let mut known = HashMap::new();
        for piece in phones.chunks(PIECE) {
            let mut q = sql(&format!("SELECT {COLUMNS}\n{FROM}"));
            q.and_in("v.phone", piece);
            for row in change.tx.rows(q).await? {
                let vehicle = read(&row)?;
                known.insert(vehicle.phone.clone(), vehicle);
            }
        }
        let (mut vehicles, mut any) = (Vec::with_capacity(seen.len()), false);
        for (phone, Seen { trust, adopted, .. }) in phones.into_iter().zip(seen) {
            let before = known.get(phone);
            let (action, detail, after) = match before {
                Some(before) if before.trust == *trust => {
                    vehicles.push(before.clone());
                    continue;
                }
                Some(before) => {
                    let after = Vehicle { trust: *trust, revision: before.revision + 1, ..before.clone() };
                    write(&mut change, &after).await?;
                    ("update", difference(&canonical(before), &canonical(&after)), after)
                }
                None => {
                    let made = insert(&mut change, phone, *trust, *adopted).await?;
                    ("first_seen", canonical(&made), made)
                }
            };
            tell(&mut change, action, detail, &after).await?;
            any = true;
            vehicles.push(after.clone());
            known.insert(phone.to_owned(), after);
        }
        if any {
            change.commit().await?;
        }
        Ok(vehicles)
    }

    /// Adopts a vehicle that was only heard so far and gives its terminal half an hour to fetch an authentication code. For an
    /// adopted vehicle this is "a new code": the old one is void and the half hour begins anew.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn adopt_vehicle(&self, scope: &Scope, id: VehicleId, now: Timestamp) -> Result<Vehicle, StoreError> {
        let mut change = self.change(scope, now).await?;
        let before = current(&mut change, id).await?;
        must_be_own(&mut change.tx, "vehicle", id.get()).await?;
        let after = Vehicle { adopted: true, revision: before.revision + 1, ..before.clone() };
        write(&mut change, &after).await?;
        let q = sql("UPDATE vehicle SET code_generation = code_generation + 1, enrol_until_us = $1 WHERE id = $2");
        change.tx.run(q.bind(now.plus_us(ENROL_WINDOW_US)).bind(id)).await?;
        let action = if before.adopted { "replace_code" } else { "adopt" };
        finish(change, action, difference(&canonical(&before), &canonical(&after)), &after).await?;
        Ok(after)
    }

    /// Changes a vehicle.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Stale`], [`StoreError::Missing`] or [`StoreError::OutOfScope`] for a new operator or
    /// region outside the asker's territory, [`StoreError::Database`].
    pub async fn update_vehicle(
        &self,
        scope: &Scope,
        id: VehicleId,
        wanted: &VehicleChange,
        now: Timestamp,
    ) -> Result<Vehicle, StoreError> {
        let mut change = self.change(scope, now).await?;
        let before = current(&mut change, id).await?;
        must_be_own(&mut change.tx, "vehicle", id.get()).await?;
        check_revision(before.revision, wanted.revision)?;
        let enterprise = wanted.enterprise.unwrap_or(before.enterprise);
        if let Some(Some(id)) = wanted.enterprise {
            change.may_own(Some(id)).await?;
        }
        let operator = change.holder(enterprise).await?;
        let region = operator.region.clone().or_else(|| wanted.region.clone().unwrap_or_else(|| before.region.clone()));
        if !scope.holds(enterprise, region.as_ref(), operator.sector.as_deref()) {
            return Err(StoreError::OutOfScope);
        }
        let after = Vehicle {
            plate: wanted.plate.clone().unwrap_or_else(|| before.plate.clone()),
            kind: wanted.kind.clone().unwrap_or_else(|| before.kind.clone()),
            enterprise,
            region,
            speed_limit_kmh: wanted.speed_limit_kmh.unwrap_or(before.speed_limit_kmh),
            revision: before.revision + 1,
            ..before.clone()
        };
        write(&mut change, &after).await?;
        finish(change, "update", difference(&canonical(&before), &canonical(&after)), &after).await?;
        Ok(after)
    }
}

/// Moves vehicles of a division whose code was replaced, some at a time; which those were.
pub(crate) async fn redivide(change: &mut Change<'_>, redivision: &Redivision) -> Result<Vec<VehicleId>, StoreError> {
    let q = sql("SELECT v.id FROM vehicle AS v WHERE v.region = $1 ORDER BY v.id LIMIT $2");
    let mut moved = Vec::new();
    for row in change.tx.rows(q.bind(&redivision.from).bind(MOVED_AT_ONCE)).await? {
        let before = current(change, row.get("id")?).await?;
        // One with an operator is where the operator is, whatever its own column says: that is tidied without a word.
        let is_own = before.enterprise.is_none();
        let revision = before.revision + i64::from(is_own);
        let update = sql("UPDATE vehicle SET region = $1, revision = $2 WHERE id = $3");
        change.tx.run(update.bind(&redivision.to).bind(revision).bind(before.id)).await?;
        if is_own {
            let after = Vehicle { region: Some(redivision.to.clone()), revision, ..before.clone() };
            let detail = redivision.reason(difference(&canonical(&before), &canonical(&after)));
            tell(change, "redivide", detail, &after).await?;
        }
        moved.push(before.id);
    }
    Ok(moved)
}

/// Moves the vehicles of an operator; which those were.
pub(crate) async fn merge(change: &mut Change<'_>, from: EnterpriseId, into: &Enterprise) -> Result<Vec<VehicleId>, StoreError> {
    let q = sql(&format!("SELECT {COLUMNS}\n{FROM}\n  AND v.enterprise_id = $1\nORDER BY v.id")).bind(from);
    let mut moved = Vec::new();
    for row in change.tx.rows(q).await? {
        let before = read(&row)?;
        let after = Vehicle { enterprise: Some(into.id), region: Some(into.region.clone()), revision: before.revision + 1, ..before };
        write(change, &after).await?;
        tell(change, "merge", crate::merge::moved(from, into.id), &after).await?;
        moved.push(after.id);
    }
    Ok(moved)
}

fn select_rows() -> Sql {
    sql(&format!(
        "SELECT {COLUMNS}, e.name AS enterprise_name, m.node AS home, n.name AS home_name, n.level AS home_level,
  (SELECT {WORST} FROM alarm AS a WHERE a.vehicle_id = v.id AND a.returned_at_us IS NULL AND a.historic = 0) AS worst
FROM vehicle AS v
LEFT JOIN enterprise AS e ON e.id = v.enterprise_id
LEFT JOIN mirror AS m ON m.kind = 'vehicle' AND m.local_id = v.id
LEFT JOIN node AS n ON n.id = m.node
WHERE 1 = 1"
    ))
}

async fn current(change: &mut Change<'_>, id: VehicleId) -> Result<Vehicle, StoreError> {
    let mut q = sql(&format!("SELECT {COLUMNS}\n{FROM}"));
    q.push("\n  AND v.id = {}", &[&id]).and_visible(change.scope, OWNER);
    read(&change.tx.row(q).await?.ok_or(StoreError::NotFound)?)
}

async fn write(change: &mut Change<'_>, v: &Vehicle) -> Result<(), StoreError> {
    let q = sql("UPDATE vehicle
SET plate = $1, kind = $2, enterprise_id = $3, region = $4, trust = $5, adopted = $6, speed_limit_kmh = $7, revision = $8
WHERE id = $9");
    let q = q.bind(v.plate.as_str()).bind(v.kind.as_str()).bind(v.enterprise).bind(v.region.as_ref()).bind(v.trust.as_str());
    change.tx.run(q.bind(v.adopted).bind(v.speed_limit_kmh).bind(v.revision).bind(v.id)).await.map(drop)
}

async fn insert(change: &mut Change<'_>, phone: &str, trust: Trust, adopted: bool) -> Result<Vehicle, StoreError> {
    // Whoever registered with this number before it was known may hold code 0, so an adopted vehicle never has that one.
    let q = sql("INSERT INTO vehicle (phone, trust, adopted, code_generation) VALUES ($1, $2, $3, $4) RETURNING id");
    let q = q.bind(phone).bind(trust.as_str()).bind(adopted).bind(i64::from(adopted));
    let row = change.tx.row(q).await?.ok_or(StoreError::NotFound)?;
    Ok(Vehicle {
        id: row.get("id")?,
        phone: phone.to_owned(),
        plate: String::new(),
        kind: String::new(),
        enterprise: None,
        region: None,
        trust,
        adopted,
        speed_limit_kmh: None,
        revision: 1,
    })
}

async fn finish(mut change: Change<'_>, action: &'static str, detail: Json, after: &Vehicle) -> Result<(), StoreError> {
    tell(&mut change, action, detail, after).await?;
    change.commit().await
}

/// Outbox and audit of what was done to `after`.
async fn tell(change: &mut Change<'_>, action: &'static str, detail: Json, after: &Vehicle) -> Result<(), StoreError> {
    let holder = holder(change, after).await?;
    let row = canonical(after);
    change.tell("vehicle", &row).await?;
    change.record(Entry { action, noun: "vehicle", subject: after.id.to_string(), detail, row, holder }).await
}

/// Who holds a vehicle: its operator, or its territory alone.
pub(crate) async fn holder(change: &mut Change<'_>, vehicle: &Vehicle) -> Result<Holder, StoreError> {
    let operator = change.holder(vehicle.enterprise).await?;
    Ok(Holder { region: operator.region.or_else(|| vehicle.region.clone()), ..operator })
}

/// A phone number without leading zeros.
fn bare(phone: &str) -> &str {
    match phone.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    }
}

fn read_row(row: &Row) -> Result<VehicleRow, StoreError> {
    Ok(VehicleRow {
        vehicle: read(row)?,
        enterprise_name: row.get("enterprise_name")?,
        worst_level: read_worst(row)?,
        home: read_home(row)?,
    })
}

fn read(row: &Row) -> Result<Vehicle, StoreError> {
    Ok(Vehicle {
        id: row.get("id")?,
        phone: row.get("phone")?,
        plate: row.get("plate")?,
        kind: row.get("kind")?,
        enterprise: row.get("enterprise_id")?,
        region: row.get("region")?,
        trust: row.word("trust", Trust::parse)?,
        adopted: row.get("adopted")?,
        speed_limit_kmh: row.get("speed_limit_kmh")?,
        revision: row.get("revision")?,
    })
}

fn canonical(v: &Vehicle) -> Json {
    json!({
        "id": v.id, "phone": v.phone, "plate": v.plate, "kind": v.kind, "enterprise": v.enterprise, "region": v.region, "trust": v.trust,
        "adopted": v.adopted, "speed_limit_kmh": v.speed_limit_kmh, "revision": v.revision,
    })
}
