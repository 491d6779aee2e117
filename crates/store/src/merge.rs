//! Two files of one enterprise become one (ADR 0017): everything that hangs on the one goes to the other, in one transaction.
//!
//! Every row that names an enterprise is here, or is said here not to move: audit entries keep what they say, the columns of alarms and events that
//! tell the territory of their time keep theirs, telemetry is kept by point and vehicle. The row of the one that goes stays and leads to the other.
//! Start at [`Store::merge_enterprises`].

use std::collections::BTreeMap;

use anlan_model::noun::Enterprise;
use anlan_model::{AlarmId, CombinationId, DeviceId, EnterpriseId, RecordId, Scope, Timestamp, VehicleId};
use serde_json::{Value as Json, json};

use crate::audit::{Change, Entry, Holder, check_revision};
use crate::db::{Row, sql};
use crate::{Store, StoreError};

/// Which two, as their rows were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeWish {
    /// The one that goes.
    pub from: EnterpriseId,
    /// Its revision.
    pub from_revision: i64,
    /// The one that stays.
    pub into: EnterpriseId,
    /// Its revision.
    pub into_revision: i64,
}

/// Two open records of one kind that would have the same key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeConflict {
    /// Kind of register.
    pub kind: String,
    /// What they have in common, as one of them writes it.
    pub key: String,
    /// That of the one that goes: id, number, title.
    pub from: (RecordId, String, String),
    /// That of the one that stays.
    pub into: (RecordId, String, String),
}

/// What moved, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Word of the noun, and how many.
    pub counts: BTreeMap<String, u64>,
    /// Records by kind.
    pub records: BTreeMap<String, u64>,
    /// What stands against it; then nothing moved.
    pub conflicts: Vec<MergeConflict>,
    /// Devices that moved.
    pub devices: Vec<DeviceId>,
    /// Vehicles that moved.
    pub vehicles: Vec<VehicleId>,
    /// Combinations that moved.
    pub combinations: Vec<CombinationId>,
    /// Records that moved.
    pub changed: Vec<RecordId>,
    /// Alarms that stand and are the other's now.
    pub standing: Vec<AlarmId>,
}

impl Store {
    /// Moves everything of one enterprise to another. A dry run answers the same and keeps nothing; with conflicts nothing is kept either.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the one that goes, [`StoreError::Missing`] for the one that stays, [`StoreError::OutOfScope`] for an asker whose
    /// right does not come from the territory of both, [`StoreError::Stale`], [`StoreError::Database`].
    pub async fn merge_enterprises(&self, scope: &Scope, wish: &MergeWish, dry_run: bool, now: Timestamp) -> Result<Merged, StoreError> {
        let mut change = self.change(scope, now).await?;
        let from = crate::enterprise::standing(&mut change, wish.from).await?.ok_or(StoreError::NotFound)?;
        let into = crate::enterprise::standing(&mut change, wish.into).await?.ok_or(StoreError::Missing { field: "into" })?;
        if from.id == into.id {
            return Err(StoreError::Missing { field: "into" });
        }
        // As for an enterprise that moves: a grant for it alone must not carry anything out of its county's sight.
        if ![&from, &into].into_iter().all(|e| scope.holds(None, Some(&e.region), Some(&e.sector))) {
            return Err(StoreError::OutOfScope);
        }
        for one in [from.id, into.id] {
            crate::transfer::must_stand(&mut change.tx, one).await?;
        }
        check_revision(from.revision, wish.from_revision)?;
        check_revision(into.revision, wish.into_revision)?;
        let mut merged = Merged { conflicts: conflicts(&mut change, from.id, into.id).await?, ..Merged::default() };
        let points = sql("SELECT COUNT(*) AS n FROM point AS p INNER JOIN device AS d ON d.id = p.device_id WHERE d.enterprise_id = $1");
        let n_points = count(&mut change, points.bind(from.id)).await?;
        let files =
            sql("SELECT COUNT(*) AS n FROM attachment AS a INNER JOIN record AS r ON r.id = a.record_id WHERE r.enterprise_id = $1");
        let n_files = count(&mut change, files.bind(from.id)).await?;

        // First: what a hold names one by one is kept whatever the registry says meanwhile.
        let n_holds = holds(&mut change, from.id, into.id).await?;
        merged.devices = crate::device::merge(&mut change, from.id, into.id).await?;
        merged.vehicles = crate::vehicle::merge(&mut change, from.id, &into).await?;
        merged.combinations = crate::combination::merge(&mut change, from.id, into.id).await?;
        let n_people = crate::user::merge(&mut change, from.id, into.id).await?;
        crate::api_key::merge(&mut change, from.id, into.id).await?;
        // What stands is the other's from now on, wherever that is; what is over keeps the territory of its time.
        let standing = sql("UPDATE alarm SET region = $1, sector = $2 WHERE enterprise_id = $3 AND returned_at_us IS NULL AND historic = 0
RETURNING id");
        for row in change.tx.rows(standing.bind(&into.region).bind(into.sector.as_str()).bind(from.id)).await? {
            merged.standing.push(row.get("id")?);
        }
        let alarms = sql("UPDATE alarm SET enterprise_id = $1 WHERE enterprise_id = $2").bind(into.id).bind(from.id);
        let n_alarms = change.tx.run(alarms).await?;
        let events = sql("UPDATE event SET enterprise_id = $1 WHERE enterprise_id = $2").bind(into.id).bind(from.id);
        let n_events = change.tx.run(events).await?;
        for table in [
            "UPDATE node SET enterprise_id = $1 WHERE enterprise_id = $2",
            "UPDATE invitation SET enterprise_id = $1 WHERE enterprise_id = $2",
            "UPDATE link_order SET enterprise_id = $1 WHERE enterprise_id = $2",
        ] {
            change.tx.run(sql(table).bind(into.id).bind(from.id)).await?;
        }
        let (change, changed, kinds) = crate::record::merge(change, from.id, into.id).await?;
        let mut change = change;
        merged.changed = changed;
        merged.records = kinds;
        let nouns = [
            ("device", merged.devices.len() as u64),
            ("point", n_points),
            ("vehicle", merged.vehicles.len() as u64),
            ("combination", merged.combinations.len() as u64),
            ("record", merged.changed.len() as u64),
            ("attachment", n_files),
            ("user", n_people),
            ("hold", n_holds),
            ("alarm", n_alarms),
            ("event", n_events),
        ];
        merged.counts = nouns.map(|(noun, n)| (noun.to_owned(), n)).into();
        crate::enterprise::entomb(&mut change, &from, &into, &json!(merged.counts)).await?;
        // Dropped without a commit, nothing has happened.
        if !dry_run && merged.conflicts.is_empty() {
            change.commit().await?;
        }
        Ok(merged)
    }
}

async fn count(change: &mut Change<'_>, q: crate::db::Sql) -> Result<u64, StoreError> {
    let n: i64 = change.tx.row(q).await?.ok_or(StoreError::NotFound)?.get("n")?;
    Ok(u64::try_from(n).unwrap_or(0))
}

/// Open records of both whose keys are the same but for spaces, signs and the case of letters: people write a number in many ways.
async fn conflicts(change: &mut Change<'_>, from: EnterpriseId, into: EnterpriseId) -> Result<Vec<MergeConflict>, StoreError> {
    type Known = (RecordId, String, String, String);
    let mut read = async |of: EnterpriseId| -> Result<BTreeMap<(String, String), Known>, StoreError> {
        let q = sql("SELECT r.id, r.kind, r.number, r.title, r.record_key FROM record AS r
WHERE r.enterprise_id = $1 AND r.is_open = 1 AND r.record_key IS NOT NULL
ORDER BY r.id DESC");
        let one = |row: &Row| {
            let key: String = row.get("record_key")?;
            let bare = key.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_uppercase).collect();
            Ok(((row.get("kind")?, bare), (row.get("id")?, row.get("number")?, row.get("title")?, key)))
        };
        change.tx.rows(q.bind(of)).await?.iter().map(one).collect()
    };
    let (own, mut other) = (read(into).await?, read(from).await?);
    let both = own.into_iter().filter_map(|(at, (id, number, title, _))| {
        let (theirs, their_number, their_title, key) = other.remove(&at)?;
        Some(MergeConflict { kind: at.0, key, from: (theirs, their_number, their_title), into: (id, number, title) })
    });
    Ok(both.collect())
}

async fn holds(change: &mut Change<'_>, from: EnterpriseId, into: EnterpriseId) -> Result<u64, StoreError> {
    let points = sql("INSERT INTO hold_item (hold_id, point_id)
SELECT h.id, p.id FROM hold AS h, point AS p JOIN device AS d ON d.id = p.device_id
WHERE h.enterprise_id = $1 AND h.released_at_us IS NULL AND d.enterprise_id = $2");
    change.tx.run(points.bind(from).bind(from)).await?;
    let vehicles = sql("INSERT INTO hold_item (hold_id, vehicle_id)
SELECT h.id, v.id FROM hold AS h, vehicle AS v WHERE h.enterprise_id = $1 AND h.released_at_us IS NULL AND v.enterprise_id = $2");
    change.tx.run(vehicles.bind(from).bind(from)).await?;
    let rows =
        change.tx.rows(sql("UPDATE hold SET enterprise_id = $1 WHERE enterprise_id = $2 RETURNING id").bind(into).bind(from)).await?;
    for row in &rows {
        let id: i64 = row.get("id")?;
        let detail: Json = json!({"id": id, "enterprise": [from, into]});
        let entry =
            Entry { action: "merge", noun: "hold", subject: id.to_string(), detail: detail.clone(), row: detail, holder: Holder::NONE };
        change.record(entry).await?;
    }
    Ok(rows.len() as u64)
}

/// What an audit entry says of a row that moved.
pub(crate) fn moved(from: EnterpriseId, into: EnterpriseId) -> Json {
    json!({"enterprise": [from, into]})
}

/// The enterprise as it is told to others after it went.
pub(crate) fn tombstone(mut row: Json, into: &Enterprise) -> Json {
    row["merged_into"] = json!(into.id);
    row
}
