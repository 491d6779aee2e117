//! Enterprises (生产经营单位).

use anlan_model::noun::Enterprise;
use anlan_model::{EnterpriseId, Level, RegionCode, Scope, Timestamp, Wgs84};
use serde_json::{Value as Json, json};

use crate::alarm::{WORST, read_worst};
use crate::audit::{Change, Entry, Holder, and_equal, check_revision, difference};
use crate::db::{Row, Sql, sql};
use crate::region::{MOVED_AT_ONCE, Redivision};
use crate::scope::Owner;
use crate::{Page, Paging, Store, StoreError};

/// An enterprise with what lists show beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct EnterpriseRow {
    /// The row.
    pub enterprise: Enterprise,
    /// Name of its division, if the region pack knows the code.
    pub region_name: Option<String>,
    /// Points of its devices.
    pub points: i64,
    /// Worst level of its standing alarms.
    pub worst_level: Option<Level>,
    /// Where everything of it went; it is in no list then.
    pub merged_into: Option<EnterpriseId>,
}

/// Which enterprises.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnterpriseFilter {
    /// Part of the code or the name.
    pub q: Option<String>,
    /// In this division.
    pub region: Option<RegionCode>,
    /// Of this sector.
    pub sector: Option<String>,
}

/// An enterprise to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEnterprise {
    /// Unique.
    pub code: String,
    /// Name.
    pub name: String,
    /// Where.
    pub region: RegionCode,
    /// Sector word.
    pub sector: String,
    /// Place of the gate.
    pub place: Option<Wgs84>,
}

/// Fields to change; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EnterpriseChange {
    /// The revision the change was made for.
    pub revision: i64,
    /// New code.
    pub code: Option<String>,
    /// New name.
    pub name: Option<String>,
    /// New division.
    pub region: Option<RegionCode>,
    /// New sector.
    pub sector: Option<String>,
    /// New place; `Some(None)` clears it.
    pub place: Option<Option<Wgs84>>,
}

/// What became of a row of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportedEnterprise {
    /// Made.
    Made(EnterpriseId),
    /// There already, and changed.
    Merged(EnterpriseId),
    /// There already as it is.
    Same,
    /// Its place, or the enterprise of this code, is outside the asker's territory.
    OutOfScope,
    /// The enterprise of this code was merged into another.
    Gone,
    /// The enterprise of this code is kept by another node.
    Elsewhere,
}

pub(crate) const COLUMNS: &str = "e.id, e.code, e.name, e.region, e.sector, e.lon, e.lat, e.revision";

impl Store {
    /// A page of enterprises under the scope, in order of ids.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`].
    pub async fn enterprises(&self, scope: &Scope, filter: &EnterpriseFilter, paging: &Paging) -> Result<Page<EnterpriseRow>, StoreError> {
        let mut q = select_rows();
        q.push("\n  AND e.merged_into IS NULL", &[]).and_visible(scope, Owner::ENTERPRISE);
        q.and_search(&["e.code", "e.name"], filter.q.as_deref());
        if let Some(region) = &filter.region {
            let (from, to) = region.range();
            q.push("\n  AND e.region >= {} AND e.region < {}", &[&from, &to]);
        }
        and_equal(&mut q, "e.sector", filter.sector.as_ref());
        if let Some(id) = paging.after_id()? {
            q.push("\n  AND e.id > {}", &[&id]);
        }
        q.push("\nORDER BY e.id\nLIMIT {}", &[&paging.fetch()]);
        paging.page_by_id(self.db.rows(q).await?, read_row)
    }

    /// One enterprise.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn enterprise(&self, scope: &Scope, id: EnterpriseId) -> Result<EnterpriseRow, StoreError> {
        let mut q = select_rows();
        q.push("\n  AND e.id = {}", &[&id]).and_visible(scope, Owner::ENTERPRISE);
        read_row(&self.db.row(q).await?.ok_or(StoreError::NotFound)?)
    }

    /// Every enterprise, for the registry of the engine.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn all_enterprises(&self) -> Result<Vec<Enterprise>, StoreError> {
        let rows = self.db.rows(sql(&format!("SELECT {COLUMNS} FROM enterprise AS e WHERE e.merged_into IS NULL ORDER BY e.id"))).await?;
        rows.iter().map(read).collect()
    }

    /// These enterprises, as far as they exist and were not merged into another.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn enterprises_among(&self, ids: &[EnterpriseId]) -> Result<Vec<Enterprise>, StoreError> {
        let rows = self.db.rows_among(&format!("SELECT {COLUMNS} FROM enterprise AS e WHERE e.merged_into IS NULL"), "e.id", ids).await?;
        rows.iter().map(read).collect()
    }

    /// Makes an enterprise.
    ///
    /// # Errors
    /// [`StoreError::OutOfScope`] if the asker could not see it afterwards, [`StoreError::Taken`], [`StoreError::Database`].
    pub async fn create_enterprise(&self, scope: &Scope, new: &NewEnterprise, now: Timestamp) -> Result<Enterprise, StoreError> {
        if !scope.holds(None, Some(&new.region), Some(&new.sector)) {
            return Err(StoreError::OutOfScope);
        }
        let mut change = self.change(scope, now).await?;
        let made = insert(&mut change, new).await?;
        change.commit().await?;
        Ok(made)
    }

    /// Makes enterprises, or changes those that have the code already, all in one transaction; one answer for each, in order. A dry run
    /// answers the same and keeps nothing.
    ///
    /// # Errors
    /// [`StoreError::Database`]; nothing was done then.
    pub async fn import_enterprises(
        &self,
        scope: &Scope,
        rows: &[NewEnterprise],
        dry_run: bool,
        now: Timestamp,
    ) -> Result<Vec<ImportedEnterprise>, StoreError> {
        let mut change = self.change(scope, now).await?;
        let mut answers = Vec::with_capacity(rows.len());
        for new in rows {
            let q = sql(&format!("SELECT {COLUMNS}, e.merged_into FROM enterprise AS e WHERE e.code = $1")).bind(new.code.as_str());
            let row = change.tx.row(q).await?;
            if let Some(row) = &row
                && row.get::<Option<EnterpriseId>>("merged_into")?.is_some()
            {
                answers.push(ImportedEnterprise::Gone);
                continue;
            }
            let before = row.as_ref().map(read).transpose()?;
            let Some(before) = before else {
                if !scope.holds(None, Some(&new.region), Some(&new.sector)) {
                    answers.push(ImportedEnterprise::OutOfScope);
                    continue;
                }
                let made = insert(&mut change, new).await?;
                answers.push(ImportedEnterprise::Made(made.id));
                continue;
            };
            let place = new.place.or(before.place);
            let wanted = EnterpriseChange {
                revision: before.revision,
                code: None,
                name: Some(new.name.clone()),
                region: Some(new.region.clone()),
                sector: Some(new.sector.clone()),
                place: Some(place),
            };
            let is_same = before.name == new.name && before.region == new.region && before.sector == new.sector && before.place == place;
            let is_visible = scope.holds(Some(before.id), Some(&before.region), Some(&before.sector));
            // One of another node is told of by that.
            match crate::inbox::must_be_own_enterprise(&mut change.tx, before.id).await {
                Err(StoreError::Mirrored { .. } | StoreError::Moving { .. }) if is_visible && !is_same => {
                    answers.push(ImportedEnterprise::Elsewhere);
                    continue;
                }
                Ok(()) | Err(StoreError::Mirrored { .. } | StoreError::Moving { .. }) => {}
                Err(failure) => return Err(failure),
            }
            answers.push(match (is_visible, is_same) {
                (false, _) => ImportedEnterprise::OutOfScope,
                (true, true) => ImportedEnterprise::Same,
                (true, false) => match change_to(&mut change, before, &wanted).await {
                    Ok(after) => ImportedEnterprise::Merged(after.id),
                    Err(StoreError::OutOfScope) => ImportedEnterprise::OutOfScope,
                    Err(other) => return Err(other),
                },
            });
        }
        // Dropped without a commit, nothing has happened.
        if !dry_run {
            change.commit().await?;
        }
        Ok(answers)
    }

    /// Changes an enterprise.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Stale`], [`StoreError::OutOfScope`] if it would leave the asker's territory,
    /// [`StoreError::Taken`], [`StoreError::Database`].
    pub async fn update_enterprise(
        &self,
        scope: &Scope,
        id: EnterpriseId,
        wanted: &EnterpriseChange,
        now: Timestamp,
    ) -> Result<Enterprise, StoreError> {
        let mut change = self.change(scope, now).await?;
        let before = standing(&mut change, id).await?.ok_or(StoreError::NotFound)?;
        crate::inbox::must_be_own_enterprise(&mut change.tx, id).await?;
        check_revision(before.revision, wanted.revision)?;
        let after = change_to(&mut change, before, wanted).await?;
        change.commit().await?;
        Ok(after)
    }
}

/// A visible enterprise that was not merged into another.
pub(crate) async fn standing(change: &mut Change<'_>, id: EnterpriseId) -> Result<Option<Enterprise>, StoreError> {
    let mut q = sql(&format!("SELECT {COLUMNS} FROM enterprise AS e WHERE e.id = $1 AND e.merged_into IS NULL")).bind(id);
    q.and_visible(change.scope, Owner::ENTERPRISE);
    change.tx.row(q).await?.as_ref().map(read).transpose()
}

/// Leaves of `from` a row that leads to `into`; so do the rows of those that were merged into it before.
pub(crate) async fn entomb(change: &mut Change<'_>, from: &Enterprise, into: &Enterprise, counts: &Json) -> Result<(), StoreError> {
    let update = sql("UPDATE enterprise SET merged_into = $1 WHERE merged_into = $2").bind(into.id).bind(from.id);
    change.tx.run(update).await?;
    let update = sql("UPDATE enterprise SET merged_into = $1, merged_at_us = $2, revision = revision + 1 WHERE id = $3");
    change.tx.run(update.bind(into.id).bind(change.now).bind(from.id)).await?;
    change.tx.run(sql("UPDATE enterprise SET revision = revision + 1 WHERE id = $1").bind(into.id)).await?;
    let gone = Enterprise { revision: from.revision + 1, ..from.clone() };
    let stays = Enterprise { revision: into.revision + 1, ..into.clone() };
    let row = crate::merge::tombstone(canonical(&gone), into);
    change.tell("enterprise", &row).await?;
    let detail = json!({"merged_into": into.id, "code": into.code, "name": into.name, "moved": counts});
    change.record(entry("merge", &gone, detail, row)).await?;
    let row = canonical(&stays);
    change.tell("enterprise", &row).await?;
    let detail = json!({"merged": from.id, "code": from.code, "name": from.name, "moved": counts});
    change.record(entry("merge", &stays, detail, row)).await
}

/// By which it is known where its id has come to be another's.
pub(crate) fn new_mark() -> Result<String, StoreError> {
    let mut mark = [0_u8; 16];
    getrandom::fill(&mut mark).map_err(|e| StoreError::Database(sqlx::Error::Io(e.into())))?;
    Ok(format!("{:032x}", u128::from_be_bytes(mark)))
}

pub(crate) async fn insert(change: &mut Change<'_>, new: &NewEnterprise) -> Result<Enterprise, StoreError> {
    let insert = sql("INSERT INTO enterprise (code, name, region, sector, lon, lat, mark) VALUES ($1, $2, $3, $4, $5, $6, $7)
RETURNING id, code, name, region, sector, lon, lat, revision");
    let insert = insert.bind(new.code.as_str()).bind(new.name.as_str()).bind(&new.region).bind(new.sector.as_str());
    let insert = insert.bind(new.place.map(|p| p.lon)).bind(new.place.map(|p| p.lat)).bind(new_mark()?);
    let row = change.tx.row(insert).await?;
    let made = read(&row.ok_or(StoreError::NotFound)?)?;
    let after = canonical(&made);
    change.record(entry("create", &made, after.clone(), after.clone())).await?;
    change.tell("enterprise", &after).await?;
    Ok(made)
}

pub(crate) async fn change_to(change: &mut Change<'_>, before: Enterprise, wanted: &EnterpriseChange) -> Result<Enterprise, StoreError> {
    let scope = change.scope;
    let after = Enterprise {
        id: before.id,
        code: wanted.code.clone().unwrap_or_else(|| before.code.clone()),
        name: wanted.name.clone().unwrap_or_else(|| before.name.clone()),
        region: wanted.region.clone().unwrap_or_else(|| before.region.clone()),
        sector: wanted.sector.clone().unwrap_or_else(|| before.sector.clone()),
        place: wanted.place.unwrap_or(before.place),
        revision: before.revision + 1,
    };
    if !scope.holds(Some(before.id), Some(&after.region), Some(&after.sector)) {
        return Err(StoreError::OutOfScope);
    }
    // A grant for the enterprise alone names no territory: it must not carry the enterprise out of its county's sight.
    let moves = before.region != after.region || before.sector != after.sector;
    let holds_place = |e: &Enterprise| scope.holds(None, Some(&e.region), Some(&e.sector));
    if moves && !(holds_place(&before) && holds_place(&after)) {
        return Err(StoreError::OutOfScope);
    }
    let update =
        sql("UPDATE enterprise SET code = $1, name = $2, region = $3, sector = $4, lon = $5, lat = $6, revision = $7 WHERE id = $8");
    let update = update.bind(after.code.as_str()).bind(after.name.as_str()).bind(&after.region).bind(after.sector.as_str());
    let update = update.bind(after.place.map(|p| p.lon)).bind(after.place.map(|p| p.lat)).bind(after.revision).bind(before.id);
    change.tx.run(update).await?;
    let is_renamed = before.name != after.name || before.code != after.code;
    crate::record::follow_enterprise(change, before.id, is_renamed).await?;
    let row = canonical(&after);
    change.record(entry("update", &after, difference(&canonical(&before), &row), row.clone())).await?;
    change.tell("enterprise", &row).await?;
    Ok(after)
}

/// Moves enterprises of a division whose code was replaced, and their records with them, some at a time; which those were.
pub(crate) async fn redivide(change: &mut Change<'_>, redivision: &Redivision) -> Result<Vec<EnterpriseId>, StoreError> {
    let q = sql(&format!("SELECT {COLUMNS} FROM enterprise AS e WHERE e.region = $1 ORDER BY e.id LIMIT $2"));
    let mut moved = Vec::new();
    for row in change.tx.rows(q.bind(&redivision.from).bind(MOVED_AT_ONCE)).await? {
        let before = read(&row)?;
        let after = Enterprise { region: redivision.to.clone(), revision: before.revision + 1, ..before.clone() };
        let update = sql("UPDATE enterprise SET region = $1, revision = $2 WHERE id = $3");
        change.tx.run(update.bind(&after.region).bind(after.revision).bind(after.id)).await?;
        crate::record::follow_enterprise(change, after.id, false).await?;
        let row = canonical(&after);
        let detail = redivision.reason(difference(&canonical(&before), &row));
        change.record(entry("redivide", &after, detail, row.clone())).await?;
        change.tell("enterprise", &row).await?;
        moved.push(after.id);
    }
    Ok(moved)
}

fn select_rows() -> Sql {
    sql(&format!(
        "SELECT {COLUMNS}, e.merged_into, r.name AS region_name,
  (SELECT COUNT(*) FROM point AS p INNER JOIN device AS d ON d.id = p.device_id WHERE d.enterprise_id = e.id) AS points,
  (SELECT {WORST} FROM alarm AS a WHERE a.enterprise_id = e.id AND a.returned_at_us IS NULL AND a.historic = 0) AS worst
FROM enterprise AS e
LEFT JOIN region AS r ON r.code = e.region
WHERE 1 = 1"
    ))
}

fn read_row(row: &Row) -> Result<EnterpriseRow, StoreError> {
    Ok(EnterpriseRow {
        enterprise: read(row)?,
        region_name: row.get("region_name")?,
        points: row.get("points")?,
        worst_level: read_worst(row)?,
        merged_into: row.get("merged_into")?,
    })
}

pub(crate) fn read(row: &Row) -> Result<Enterprise, StoreError> {
    Ok(Enterprise {
        id: row.get("id")?,
        code: row.get("code")?,
        name: row.get("name")?,
        region: row.get("region")?,
        sector: row.get("sector")?,
        place: read_place(row)?,
        revision: row.get("revision")?,
    })
}

/// The place in columns `lon` and `lat`.
pub(crate) fn read_place(row: &Row) -> Result<Option<Wgs84>, StoreError> {
    Ok(row.get::<Option<f64>>("lon")?.zip(row.get("lat")?).and_then(|(lon, lat)| Wgs84::new(lon, lat)))
}

fn canonical(e: &Enterprise) -> Json {
    json!({"id": e.id, "code": e.code, "name": e.name, "region": e.region, "sector": e.sector, "place": e.place, "revision": e.revision})
}

fn entry(action: &'static str, e: &Enterprise, detail: Json, row: Json) -> Entry {
    let holder = Holder { enterprise: Some(e.id), region: Some(e.region.clone()), sector: Some(e.sector.clone()) };
    Entry { action, noun: "enterprise", subject: e.id.to_string(), detail, row, holder }
}
