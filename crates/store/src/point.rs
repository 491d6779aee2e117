//! Measuring points (测点) and their limits; and the set of points a scope may see.

use std::collections::HashMap;

use anlan_model::noun::{Limits, LimitsSource, Point};
use anlan_model::{DeviceId, EnterpriseId, Level, PointId, PointSet, RegionCode, Scope, Timestamp, Wgs84};
use serde_json::{Value as Json, json};

use crate::alarm::{WORST, read_worst};
use crate::audit::{Change, Entry, and_equal, check_revision, difference};
use crate::db::{PIECE, Row, Sql, Tx, sql};
use crate::enterprise::read_place;
use crate::inbox::must_be_own;
use crate::scope::Owner;
use crate::sight::Standing;
use crate::{Page, Paging, Store, StoreError};

/// A point with what lists show beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct PointRow {
    /// The row.
    pub point: Point,
    /// Name of its owner.
    pub enterprise_name: Option<String>,
    /// Worst level of its standing alarms.
    pub worst_level: Option<Level>,
}

/// Which points.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PointFilter {
    /// This one.
    pub id: Option<PointId>,
    /// Of this device.
    pub device: Option<DeviceId>,
    /// Of this enterprise's devices.
    pub enterprise: Option<EnterpriseId>,
    /// In this division.
    pub region: Option<RegionCode>,
    /// Of this kind.
    pub kind: Option<String>,
    /// Part of the code, the name or the site.
    pub q: Option<String>,
    /// Only those that nobody has confirmed.
    pub unconfirmed: bool,
}

/// A point as somebody sets it; known by its code within the device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PointPut {
    /// Code within the device.
    pub code: String,
    /// Name.
    pub name: String,
    /// Unit symbol.
    pub unit: String,
    /// Kind word; empty = unknown.
    pub kind: String,
    /// Unit of the plant; empty = none.
    pub site: String,
    /// Expected seconds between readings; 0 = unknown.
    pub period_s: f64,
    /// Measuring range.
    pub range_low: Option<f64>,
    /// Measuring range.
    pub range_high: Option<f64>,
    /// Limits.
    pub limits: Limits,
    /// Who set them.
    pub limits_source: Option<LimitsSource>,
    /// Place.
    pub place: Option<Wgs84>,
}

/// Fields to change; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PointChange {
    /// The revision the change was made for.
    pub revision: i64,
    /// New name.
    pub name: Option<String>,
    /// New unit symbol.
    pub unit: Option<String>,
    /// New kind word.
    pub kind: Option<String>,
    /// New site.
    pub site: Option<String>,
    /// New period in seconds.
    pub period_s: Option<f64>,
    /// New range; `Some(None)` clears it.
    pub range_low: Option<Option<f64>>,
    /// New range; `Some(None)` clears it.
    pub range_high: Option<Option<f64>>,
    /// New limits, all of them.
    pub limits: Option<Limits>,
    /// New source; `Some(None)` clears it.
    pub limits_source: Option<Option<LimitsSource>>,
    /// New place; `Some(None)` clears it.
    pub place: Option<Option<Wgs84>>,
    /// Confirmed or not.
    pub confirmed: Option<bool>,
}

const COLUMNS: &str = "p.id, p.device_id, d.enterprise_id, p.site, p.code, p.name, p.unit, p.kind, p.period_s, p.range_low, p.range_high,
  p.limits, p.limits_source, p.confirmed, p.lon, p.lat, p.revision";
const FROM: &str = "FROM point AS p
INNER JOIN device AS d ON d.id = p.device_id
LEFT JOIN enterprise AS e ON e.id = d.enterprise_id
WHERE 1 = 1";

impl Store {
    /// A page of points under the scope, in order of ids.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`].
    pub async fn points(&self, scope: &Scope, filter: &PointFilter, paging: &Paging) -> Result<Page<PointRow>, StoreError> {
        let mut q = select_rows();
        filtered(&mut q, scope, filter);
        if let Some(id) = paging.after_id()? {
            q.push("\n  AND p.id > {}", &[&id]);
        }
        q.push("\nORDER BY p.id\nLIMIT {}", &[&paging.fetch()]);
        paging.page_by_id(self.db.rows(q).await?, read_row)
    }

    /// One point.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn point(&self, scope: &Scope, id: PointId) -> Result<PointRow, StoreError> {
        let mut q = select_rows();
        q.push("\n  AND p.id = {}", &[&id]).and_visible(scope, Owner::ENTERPRISE);
        read_row(&self.db.row(q).await?.ok_or(StoreError::NotFound)?)
    }

    /// Ids of the points under the scope that pass the filter: the key to history, latest values and live streams. Remembered until
    /// a change commits that could make it another ([`crate::sight`]).
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn point_set(&self, scope: &Scope, filter: &PointFilter) -> Result<PointSet, StoreError> {
        let version = match self.sight.points(scope, filter) {
            Ok(set) => return Ok(set),
            Err(version) => version,
        };
        let mut q = sql(&format!("SELECT p.id\n{FROM}"));
        filtered(&mut q, scope, filter);
        let rows = self.db.rows(q).await?;
        let set = PointSet::granted_by_store(rows.iter().map(|r| r.get("id")).collect::<Result<Vec<_>, _>>()?);
        // What people type into a search box is seldom typed twice.
        if filter.q.is_none() {
            self.sight.remember(scope, filter, version, &set);
        }
        Ok(set)
    }

    /// Level of the worst standing alarm of each point, in id order.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn worst_levels(&self, seen: &PointSet) -> Result<Vec<Option<Level>>, StoreError> {
        let version = match self.sight.worst(seen) {
            Ok(levels) => return Ok(levels),
            Err(version) => version,
        };
        let q = sql("SELECT a.id, a.point_id, a.level FROM alarm AS a
WHERE a.returned_at_us IS NULL AND a.historic = 0 AND a.point_id IS NOT NULL");
        let mut standing = Standing::default();
        for row in self.db.rows(q).await? {
            standing.raise(row.get("id")?, row.get("point_id")?, row.word("level", Level::parse)?);
        }
        let levels = standing.worst(seen);
        self.sight.take_standing(version, standing);
        Ok(levels)
    }

    /// Every point, for the registry of the engine.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn all_points(&self) -> Result<Vec<Point>, StoreError> {
        self.db.all_by_id(&format!("SELECT {COLUMNS}\n{FROM}"), "p.id", read).await
    }

    /// Every point of these devices.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn points_of(&self, devices: &[DeviceId]) -> Result<Vec<Point>, StoreError> {
        let rows = self.db.rows_among(&format!("SELECT {COLUMNS}\n{FROM}"), "p.device_id", devices).await?;
        rows.iter().map(read).collect()
    }

    /// Sets points of a device by code: unknown codes are made, known ones replaced; all are confirmed.
    /// Answers the points in the order given.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the device, [`StoreError::Mirrored`] for one of another node, [`StoreError::Database`].
    pub async fn upsert_points(
        &self,
        scope: &Scope,
        device: DeviceId,
        points: &[PointPut],
        now: Timestamp,
    ) -> Result<Vec<Point>, StoreError> {
        let mut change = self.change(scope, now).await?;
        let enterprise = visible_device(&mut change, device).await?;
        must_be_own(&mut change.tx, "device", device.get()).await?;
        let holder = change.holder(enterprise).await?;
        let mut known = codes(&mut change, device, points.iter().map(|p| p.code.as_str())).await?;
        let mut put = Vec::with_capacity(points.len());
        for new in points {
            let before = known.remove(&new.code);
            let mut after = Point {
                id: before.as_ref().map_or(PointId::new(0), |p| p.id),
                device,
                enterprise,
                site: new.site.clone(),
                code: new.code.clone(),
                name: new.name.clone(),
                unit: new.unit.clone(),
                kind: new.kind.clone(),
                period_s: new.period_s,
                range_low: new.range_low,
                range_high: new.range_high,
                limits: new.limits.clone(),
                limits_source: new.limits_source.clone(),
                confirmed: true,
                place: new.place,
                revision: before.as_ref().map_or(1, |p| p.revision),
            };
            if before.as_ref() != Some(&after) {
                if before.is_some() {
                    after.revision += 1;
                    write(&mut change, &after).await?;
                } else {
                    after.id = insert(&mut change, &after).await?;
                }
                let row = canonical(&after);
                let (action, detail) = match &before {
                    Some(before) => ("update", difference(&canonical(before), &row)),
                    None => ("create", row.clone()),
                };
                change.tell("point", &row).await?;
                change.record(Entry { action, noun: "point", subject: after.id.to_string(), detail, row, holder: holder.clone() }).await?;
            }
            // A code named twice in one request: the later one wins, as if sent later.
            known.insert(after.code.clone(), after.clone());
            put.push(after);
        }
        change.commit().await?;
        Ok(put)
    }

    /// The points of a device with these codes; unknown ones are made unconfirmed: kept and charted, but without a rule.
    /// One audit entry per call that made any.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the device, [`StoreError::Database`].
    pub async fn ensure_points(&self, device: DeviceId, wanted: &[String], now: Timestamp) -> Result<Vec<Point>, StoreError> {
        let scope = Scope::node();
        let mut change = self.change(&scope, now).await?;
        let (known, made) = ensure(&mut change, device, wanted).await?;
        if made {
            change.commit().await?;
        }
        Ok(wanted.iter().filter_map(|code| known.get(code).cloned()).collect())
    }

    /// [`Self::ensure_points`] of several devices in one transaction; a device that is gone is passed over.
    ///
    /// # Errors
    /// [`StoreError::Database`]; nothing is made then.
    pub async fn ensure_points_of(&self, wanted: &[(DeviceId, Vec<String>)], now: Timestamp) -> Result<(), StoreError> {
        let scope = Scope::node();
        let mut change = self.change(&scope, now).await?;
        let mut any = false;
        for (device, codes) in wanted {
            match ensure(&mut change, *device, codes).await {
                Ok((_, made)) => any |= made,
                Err(StoreError::NotFound) => {}
                Err(failure) => return Err(failure),
            }
        }
        if any { change.commit().await } else { Ok(()) }
    }

    /// Changes a point.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Stale`], [`StoreError::Mirrored`] for one of another node, [`StoreError::Database`].
    pub async fn update_point(&self, scope: &Scope, id: PointId, wanted: &PointChange, now: Timestamp) -> Result<Point, StoreError> {
        let mut change = self.change(scope, now).await?;
        let mut q = sql(&format!("SELECT {COLUMNS}\n{FROM}"));
        q.push("\n  AND p.id = {}", &[&id]).and_visible(scope, Owner::ENTERPRISE);
        let before = read(&change.tx.row(q).await?.ok_or(StoreError::NotFound)?)?;
        must_be_own(&mut change.tx, "point", id.get()).await?;
        check_revision(before.revision, wanted.revision)?;
        let after = Point {
            site: wanted.site.clone().unwrap_or_else(|| before.site.clone()),
            name: wanted.name.clone().unwrap_or_else(|| before.name.clone()),
            unit: wanted.unit.clone().unwrap_or_else(|| before.unit.clone()),
            kind: wanted.kind.clone().unwrap_or_else(|| before.kind.clone()),
            period_s: wanted.period_s.unwrap_or(before.period_s),
            range_low: wanted.range_low.unwrap_or(before.range_low),
            range_high: wanted.range_high.unwrap_or(before.range_high),
            limits: wanted.limits.clone().unwrap_or_else(|| before.limits.clone()),
            limits_source: wanted.limits_source.clone().unwrap_or_else(|| before.limits_source.clone()),
            confirmed: wanted.confirmed.unwrap_or(before.confirmed),
            place: wanted.place.unwrap_or(before.place),
            revision: before.revision + 1,
            ..before.clone()
        };
        write(&mut change, &after).await?;
        let row = canonical(&after);
        let (detail, holder) = (difference(&canonical(&before), &row), change.holder(after.enterprise).await?);
        change.tell("point", &row).await?;
        change.record(Entry { action: "update", noun: "point", subject: id.to_string(), detail, row, holder }).await?;
        change.commit().await?;
        Ok(after)
    }
}

/// The point, whoever may see it.
pub(crate) async fn by_id(tx: &mut Tx, id: PointId) -> Result<Point, StoreError> {
    let mut q = sql(&format!("SELECT {COLUMNS}\n{FROM}"));
    q.push("\n  AND p.id = {}", &[&id]);
    read(&tx.row(q).await?.ok_or(StoreError::NotFound)?)
}

fn select_rows() -> Sql {
    sql(&format!(
        "SELECT {COLUMNS}, e.name AS enterprise_name,
  (SELECT {WORST} FROM alarm AS a WHERE a.point_id = p.id AND a.returned_at_us IS NULL AND a.historic = 0) AS worst
{FROM}"
    ))
}

fn filtered(q: &mut Sql, scope: &Scope, filter: &PointFilter) {
    q.and_visible(scope, Owner::ENTERPRISE);
    and_equal(q, "p.id", filter.id.as_ref());
    and_equal(q, "p.device_id", filter.device.as_ref());
    and_equal(q, "d.enterprise_id", filter.enterprise.as_ref());
    if let Some(region) = &filter.region {
        let (from, to) = region.range();
        q.push("\n  AND e.region >= {} AND e.region < {}", &[&from, &to]);
    }
    and_equal(q, "p.kind", filter.kind.as_ref());
    q.and_search(&["p.code", "p.name", "p.site"], filter.q.as_deref());
    if filter.unconfirmed {
        q.push("\n  AND p.confirmed = 0", &[]);
    }
}

pub(crate) async fn visible_device(change: &mut Change<'_>, device: DeviceId) -> Result<Option<EnterpriseId>, StoreError> {
    let q = "SELECT d.enterprise_id FROM device AS d LEFT JOIN enterprise AS e ON e.id = d.enterprise_id WHERE d.id = $1";
    let mut q = sql(q).bind(device);
    q.and_visible(change.scope, Owner::ENTERPRISE);
    change.tx.row(q).await?.ok_or(StoreError::NotFound)?.get("enterprise_id")
}

/// Makes what is unknown of `wanted`, with one audit entry; every point named, and whether any was made.
async fn ensure(change: &mut Change<'_>, device: DeviceId, wanted: &[String]) -> Result<(HashMap<String, Point>, bool), StoreError> {
    let enterprise = visible_device(change, device).await?;
    let mut known = codes(change, device, wanted.iter().map(String::as_str)).await?;
    let mut made = Vec::new();
    for code in wanted {
        if known.contains_key(code) {
            continue;
        }
        let mut point = Point {
            id: PointId::new(0),
            device,
            enterprise,
            site: String::new(),
            code: code.clone(),
            name: code.clone(),
            unit: String::new(),
            kind: String::new(),
            period_s: 0.0,
            range_low: None,
            range_high: None,
            limits: Limits::default(),
            limits_source: None,
            confirmed: false,
            place: None,
            revision: 1,
        };
        point.id = insert(change, &point).await?;
        let row = canonical(&point);
        change.tell("point", &row).await?;
        made.push(row);
        known.insert(code.clone(), point);
    }
    let any = !made.is_empty();
    if any {
        let holder = change.holder(enterprise).await?;
        let detail = json!({"points": made.iter().map(|row| &row["code"]).collect::<Vec<_>>()});
        let row = Json::Array(made);
        change.record(Entry { action: "first_seen", noun: "point", subject: device.to_string(), detail, row, holder }).await?;
    }
    Ok((known, any))
}

pub(crate) async fn codes<'a>(
    change: &mut Change<'_>,
    device: DeviceId,
    wanted: impl Iterator<Item = &'a str>,
) -> Result<HashMap<String, Point>, StoreError> {
    let mut known = HashMap::new();
    let wanted: Vec<&str> = wanted.collect();
    for piece in wanted.chunks(PIECE) {
        let mut q = sql(&format!("SELECT {COLUMNS}\n{FROM}"));
        q.push("\n  AND p.device_id = {}", &[&device]).and_in("p.code", piece);
        for row in change.tx.rows(q).await? {
            let point = read(&row)?;
            known.insert(point.code.clone(), point);
        }
    }
    Ok(known)
}

fn bind(q: Sql, p: &Point) -> Sql {
    let source = p.limits_source.as_ref().map(|s| json!(s).to_string());
    q.bind(p.site.as_str())
        .bind(p.name.as_str())
        .bind(p.unit.as_str())
        .bind(p.kind.as_str())
        .bind(p.period_s)
        .bind(p.range_low)
        .bind(p.range_high)
        .bind(json!(p.limits).to_string())
        .bind(source)
        .bind(p.confirmed)
        .bind(p.place.map(|w| w.lon))
        .bind(p.place.map(|w| w.lat))
        .bind(p.revision)
}

pub(crate) async fn insert(change: &mut Change<'_>, p: &Point) -> Result<PointId, StoreError> {
    let q = "INSERT INTO point (site, name, unit, kind, period_s, range_low, range_high, limits, limits_source, confirmed, lon, lat, revision, device_id, code)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
RETURNING id";
    let row = change.tx.row(bind(sql(q), p).bind(p.device).bind(p.code.as_str())).await?;
    row.ok_or(StoreError::NotFound)?.get("id")
}

pub(crate) async fn write(change: &mut Change<'_>, p: &Point) -> Result<(), StoreError> {
    let q = "UPDATE point
SET site = $1, name = $2, unit = $3, kind = $4, period_s = $5, range_low = $6, range_high = $7, limits = $8, limits_source = $9,
  confirmed = $10, lon = $11, lat = $12, revision = $13
WHERE id = $14";
    change.tx.run(bind(sql(q), p).bind(p.id)).await.map(drop)
}

fn read_row(row: &Row) -> Result<PointRow, StoreError> {
    Ok(PointRow { point: read(row)?, enterprise_name: row.get("enterprise_name")?, worst_level: read_worst(row)? })
}

fn read(row: &Row) -> Result<Point, StoreError> {
    let source: Option<String> = row.get("limits_source")?;
    let source = source.map(|s| serde_json::from_str(&s)).transpose();
    Ok(Point {
        id: row.get("id")?,
        device: row.get("device_id")?,
        enterprise: row.get("enterprise_id")?,
        site: row.get("site")?,
        code: row.get("code")?,
        name: row.get("name")?,
        unit: row.get("unit")?,
        kind: row.get("kind")?,
        period_s: row.get("period_s")?,
        range_low: row.get("range_low")?,
        range_high: row.get("range_high")?,
        limits: row.json("limits")?,
        limits_source: source.map_err(|e| StoreError::Corrupt(format!("column limits_source: {e}")))?,
        confirmed: row.get("confirmed")?,
        place: read_place(row)?,
        revision: row.get("revision")?,
    })
}

pub(crate) fn canonical(p: &Point) -> Json {
    json!({
        "id": p.id, "device": p.device, "site": p.site, "code": p.code, "name": p.name, "unit": p.unit, "kind": p.kind,
        "period_s": p.period_s, "range_low": p.range_low, "range_high": p.range_high, "limits": p.limits,
        "limits_source": p.limits_source, "confirmed": p.confirmed, "place": p.place, "revision": p.revision,
    })
}
