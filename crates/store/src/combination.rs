//! Combination rules (组合规则) of enterprises.
//!
//! A combination names points of its own enterprise only: checked here in the transaction that writes it, and again when a device would
//! carry a member away ([`crate::device`]). Start at [`Store::create_combination`].

use anlan_model::noun::{Combination, CombinationMember, LimitsSource};
use anlan_model::{CombinationId, DeviceId, EnterpriseId, Level, PointId, RuleKind, Scope, Timestamp};
use serde_json::{Value as Json, json};

use crate::audit::{Change, Entry, and_equal, check_revision, difference};
use crate::db::{PIECE, Row, Sql, sql};
use crate::scope::Owner;
use crate::{Page, Paging, Store, StoreError};

/// A combination with what lists show beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct CombinationRow {
    /// The row.
    pub combination: Combination,
    /// Name of its enterprise.
    pub enterprise_name: String,
}

/// A combination to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewCombination {
    /// Whose points it names.
    pub enterprise: EnterpriseId,
    /// Name.
    pub name: String,
    /// Urgency.
    pub level: Level,
    /// Members that must come together.
    pub needed: u32,
    /// Within how many seconds.
    pub within_s: f64,
    /// In a fixed order.
    pub members: Vec<CombinationMember>,
    /// Who set it.
    pub source: LimitsSource,
}

/// Fields to change; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CombinationChange {
    /// The revision the change was made for.
    pub revision: i64,
    /// New name.
    pub name: Option<String>,
    /// New urgency.
    pub level: Option<Level>,
    /// New number of members that must come together.
    pub needed: Option<u32>,
    /// New time in seconds.
    pub within_s: Option<f64>,
    /// New members, all of them.
    pub members: Option<Vec<CombinationMember>>,
    /// New source.
    pub source: Option<LimitsSource>,
}

const COLUMNS: &str =
    "c.id, c.enterprise_id, c.name, c.level, c.needed, c.within_s, c.document, c.clause, c.revision, e.name AS enterprise_name";
const FROM: &str = "FROM combination AS c
INNER JOIN enterprise AS e ON e.id = c.enterprise_id
WHERE c.deleted_at_us IS NULL";
const MEMBERS: &str = "SELECT m.combination_id, m.place, m.point_id, m.kind FROM combination_member AS m WHERE 1 = 1";

impl Store {
    /// A page of combinations under the scope, in order of ids.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`].
    pub async fn combinations(
        &self,
        scope: &Scope,
        enterprise: Option<EnterpriseId>,
        paging: &Paging,
    ) -> Result<Page<CombinationRow>, StoreError> {
        let mut q = sql(&format!("SELECT {COLUMNS}\n{FROM}"));
        q.and_visible(scope, Owner::ENTERPRISE);
        and_equal(&mut q, "c.enterprise_id", enterprise.as_ref());
        if let Some(id) = paging.after_id()? {
            q.push("\n  AND c.id > {}", &[&id]);
        }
        q.push("\nORDER BY c.id\nLIMIT {}", &[&paging.fetch()]);
        let mut page = paging.page_by_id(self.db.rows(q).await?, read_row)?;
        let ids: Vec<i64> = page.items.iter().map(|row| row.combination.id.get()).collect();
        let members = self.db.rows_among(MEMBERS, "m.combination_id", &ids).await?;
        fill(page.items.iter_mut().map(|row| &mut row.combination), &members)?;
        Ok(page)
    }

    /// One combination.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn combination(&self, scope: &Scope, id: CombinationId) -> Result<CombinationRow, StoreError> {
        let mut row = read_row(&self.db.row(one(scope, id)).await?.ok_or(StoreError::NotFound)?)?;
        fill([&mut row.combination], &self.db.rows_among(MEMBERS, "m.combination_id", &[id.get()]).await?)?;
        Ok(row)
    }

    /// Every combination, for the engine.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn all_combinations(&self) -> Result<Vec<Combination>, StoreError> {
        let rows = self.db.rows(sql(&format!("SELECT {COLUMNS}\n{FROM}\nORDER BY c.id"))).await?;
        let mut all = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        fill(&mut all, &self.db.rows(sql(MEMBERS)).await?)?;
        Ok(all)
    }

    /// These combinations, as far as they were not deleted.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn combinations_among(&self, ids: &[CombinationId]) -> Result<Vec<Combination>, StoreError> {
        let ids: Vec<i64> = ids.iter().map(|id| id.get()).collect();
        let rows = self.db.rows_among(&format!("SELECT {COLUMNS}\n{FROM}"), "c.id", &ids).await?;
        let mut all = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        fill(&mut all, &self.db.rows_among(MEMBERS, "m.combination_id", &ids).await?)?;
        Ok(all)
    }

    /// Makes a combination; an enterprise has at most `most`.
    ///
    /// # Errors
    /// [`StoreError::Missing`] for an enterprise the asker cannot see, [`StoreError::Elsewhere`] for a member that is not a point of the
    /// enterprise, [`StoreError::TooMany`], [`StoreError::Database`].
    pub async fn create_combination(
        &self,
        scope: &Scope,
        new: &NewCombination,
        most: u32,
        now: Timestamp,
    ) -> Result<Combination, StoreError> {
        let mut change = self.change(scope, now).await?;
        change.may_own(Some(new.enterprise)).await?;
        let count = sql("SELECT COUNT(*) AS n FROM combination AS c WHERE c.enterprise_id = $1 AND c.deleted_at_us IS NULL");
        let n: i64 = change.tx.row(count.bind(new.enterprise)).await?.ok_or(StoreError::NotFound)?.get("n")?;
        if n >= i64::from(most) {
            return Err(StoreError::TooMany { most });
        }
        let insert = sql("INSERT INTO combination (enterprise_id, name, level, needed, within_s, document, clause)
VALUES ($1, $2, $3, $4, $5, $6, $7)
RETURNING id");
        let insert = insert.bind(new.enterprise).bind(new.name.as_str()).bind(new.level.as_str()).bind(i64::from(new.needed));
        let insert = insert.bind(new.within_s).bind(new.source.document.as_str()).bind(new.source.clause.as_str());
        let id: i64 = change.tx.row(insert).await?.ok_or(StoreError::NotFound)?.get("id")?;
        let made = Combination {
            id: CombinationId::new(id),
            enterprise: new.enterprise,
            name: new.name.clone(),
            level: new.level,
            needed: new.needed,
            within_s: new.within_s,
            members: new.members.clone(),
            source: new.source.clone(),
            revision: 1,
        };
        write_members(&mut change, &made).await?;
        finish(change, "create", canonical(&made), &made).await?;
        Ok(made)
    }

    /// Changes a combination.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Stale`], [`StoreError::Elsewhere`], [`StoreError::Database`].
    pub async fn update_combination(
        &self,
        scope: &Scope,
        id: CombinationId,
        wanted: &CombinationChange,
        now: Timestamp,
    ) -> Result<Combination, StoreError> {
        let mut change = self.change(scope, now).await?;
        let before = current(&mut change, id).await?;
        check_revision(before.revision, wanted.revision)?;
        let after = Combination {
            name: wanted.name.clone().unwrap_or_else(|| before.name.clone()),
            level: wanted.level.unwrap_or(before.level),
            needed: wanted.needed.unwrap_or(before.needed),
            within_s: wanted.within_s.unwrap_or(before.within_s),
            members: wanted.members.clone().unwrap_or_else(|| before.members.clone()),
            source: wanted.source.clone().unwrap_or_else(|| before.source.clone()),
            revision: before.revision + 1,
            ..before.clone()
        };
        let update = sql("UPDATE combination
SET name = $1, level = $2, needed = $3, within_s = $4, document = $5, clause = $6, revision = $7
WHERE id = $8");
        let update = update.bind(after.name.as_str()).bind(after.level.as_str()).bind(i64::from(after.needed)).bind(after.within_s);
        let update = update.bind(after.source.document.as_str()).bind(after.source.clause.as_str()).bind(after.revision);
        change.tx.run(update.bind(id.get())).await?;
        write_members(&mut change, &after).await?;
        finish(change, "update", difference(&canonical(&before), &canonical(&after)), &after).await?;
        Ok(after)
    }

    /// Deletes a combination as of `revision`; alarms that it raised stay, and name it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Stale`], [`StoreError::Database`].
    pub async fn delete_combination(&self, scope: &Scope, id: CombinationId, revision: i64, now: Timestamp) -> Result<(), StoreError> {
        let mut change = self.change(scope, now).await?;
        let before = current(&mut change, id).await?;
        check_revision(before.revision, revision)?;
        let after = Combination { members: Vec::new(), revision: before.revision + 1, ..before.clone() };
        write_members(&mut change, &after).await?;
        let update = sql("UPDATE combination SET deleted_at_us = $1, revision = $2 WHERE id = $3");
        change.tx.run(update.bind(now).bind(after.revision).bind(id.get())).await?;
        finish(change, "delete", canonical(&before), &after).await
    }
}

/// A combination that names a point of this device.
pub(crate) async fn of_device(change: &mut Change<'_>, device: DeviceId) -> Result<Option<String>, StoreError> {
    let q = sql("SELECT c.name FROM combination_member AS m
INNER JOIN combination AS c ON c.id = m.combination_id
INNER JOIN point AS p ON p.id = m.point_id
WHERE p.device_id = $1
ORDER BY c.id
LIMIT 1");
    change.tx.row(q.bind(device)).await?.map(|row| row.get("name")).transpose()
}

/// Moves the combinations of an enterprise, after its devices; which those were. Deleted ones go along, for the alarms that name them.
pub(crate) async fn merge(change: &mut Change<'_>, from: EnterpriseId, into: EnterpriseId) -> Result<Vec<CombinationId>, StoreError> {
    let holder = change.holder(Some(into)).await?;
    let update =
        sql("UPDATE combination SET enterprise_id = $1, revision = revision + 1 WHERE enterprise_id = $2 RETURNING id, deleted_at_us");
    let mut moved = Vec::new();
    for row in change.tx.rows(update.bind(into).bind(from)).await? {
        if row.get::<Option<i64>>("deleted_at_us")?.is_none() {
            moved.push(CombinationId::new(row.get("id")?));
        }
    }
    moved.sort_unstable();
    for id in &moved {
        let after = current(change, *id).await?;
        let (row, detail) = (canonical(&after), crate::merge::moved(from, into));
        change.tell("combination", &row).await?;
        change.record(Entry { action: "merge", noun: "combination", subject: id.to_string(), detail, row, holder: holder.clone() }).await?;
    }
    Ok(moved)
}

fn one(scope: &Scope, id: CombinationId) -> Sql {
    let mut q = sql(&format!("SELECT {COLUMNS}\n{FROM}"));
    q.push("\n  AND c.id = {}", &[&id.get()]).and_visible(scope, Owner::ENTERPRISE);
    q
}

async fn current(change: &mut Change<'_>, id: CombinationId) -> Result<Combination, StoreError> {
    let mut found = read(&change.tx.row(one(change.scope, id)).await?.ok_or(StoreError::NotFound)?)?;
    let mut q = sql(MEMBERS);
    q.push("\n  AND m.combination_id = {}", &[&id.get()]);
    fill([&mut found], &change.tx.rows(q).await?)?;
    Ok(found)
}

/// Writes the members, all of them points of the enterprise.
async fn write_members(change: &mut Change<'_>, c: &Combination) -> Result<(), StoreError> {
    let mut known = std::collections::BTreeSet::new();
    for piece in c.members.chunks(PIECE) {
        let mut q = sql("SELECT p.id FROM point AS p INNER JOIN device AS d ON d.id = p.device_id WHERE d.enterprise_id = $1");
        q = q.bind(c.enterprise);
        q.and_in("p.id", &piece.iter().map(|m| m.point).collect::<Vec<_>>());
        for row in change.tx.rows(q).await? {
            known.insert(row.get::<PointId>("id")?);
        }
    }
    if let Some(place) = c.members.iter().position(|m| !known.contains(&m.point)) {
        return Err(StoreError::Elsewhere { place });
    }
    change.tx.run(sql("DELETE FROM combination_member WHERE combination_id = $1").bind(c.id.get())).await?;
    for (place, member) in (0_i64..).zip(&c.members) {
        let insert = sql("INSERT INTO combination_member (combination_id, place, point_id, kind) VALUES ($1, $2, $3, $4)");
        change.tx.run(insert.bind(c.id.get()).bind(place).bind(member.point).bind(member.kind.as_str())).await?;
    }
    Ok(())
}

async fn finish(mut change: Change<'_>, action: &'static str, detail: Json, after: &Combination) -> Result<(), StoreError> {
    let holder = change.holder(Some(after.enterprise)).await?;
    let row = canonical(after);
    change.tell("combination", &row).await?;
    change.record(Entry { action, noun: "combination", subject: after.id.to_string(), detail, row, holder }).await?;
    change.commit().await
}

fn read_row(row: &Row) -> Result<CombinationRow, StoreError> {
    Ok(CombinationRow { combination: read(row)?, enterprise_name: row.get("enterprise_name")? })
}

/// Without its members.
fn read(row: &Row) -> Result<Combination, StoreError> {
    let needed: i64 = row.get("needed")?;
    Ok(Combination {
        id: CombinationId::new(row.get("id")?),
        enterprise: row.get("enterprise_id")?,
        name: row.get("name")?,
        level: row.word("level", Level::parse)?,
        needed: u32::try_from(needed).map_err(|_| StoreError::Corrupt(format!("column needed holds {needed}")))?,
        within_s: row.get("within_s")?,
        members: Vec::new(),
        source: LimitsSource { document: row.get("document")?, clause: row.get("clause")? },
        revision: row.get("revision")?,
    })
}

/// Gives combinations their members, in order of place.
fn fill<'a>(all: impl IntoIterator<Item = &'a mut Combination>, rows: &[Row]) -> Result<(), StoreError> {
    let mut members = std::collections::HashMap::<i64, Vec<(i64, CombinationMember)>>::new();
    for row in rows {
        let member = CombinationMember { point: row.get("point_id")?, kind: row.word("kind", RuleKind::parse)? };
        members.entry(row.get("combination_id")?).or_default().push((row.get("place")?, member));
    }
    for combination in all {
        let mut own = members.remove(&combination.id.get()).unwrap_or_default();
        own.sort_unstable();
        combination.members = own.into_iter().map(|(_, member)| member).collect();
    }
    Ok(())
}

fn canonical(c: &Combination) -> Json {
    json!({
        "id": c.id, "enterprise": c.enterprise, "name": c.name, "level": c.level, "needed": c.needed, "within_s": c.within_s,
        "members": c.members, "source": c.source, "revision": c.revision,
    })
}
