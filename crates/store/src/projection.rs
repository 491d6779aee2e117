//! The log's effects, applied to the tables: the only writer of alarm conditions and data-quality events.
//!
//! Effects and the position they reach are one transaction, so after a crash a record is applied wholly or not at all, and applying
//! it again changes nothing. No audit: the log itself is the record of what the node did.

use anlan_model::{AlarmChange, AlarmId, AlarmPart, CombinationId, DataEvent, Effect, EnterpriseId, RaisedAlarm, Subject};

use crate::db::{Row, Tx, sql};
use crate::feed::Told;
use crate::{Store, StoreError};

impl Store {
    /// Position up to which the log is applied; 0 = nothing yet.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn projected(&self) -> Result<u64, StoreError> {
        let row = self.db.row(sql("SELECT position FROM projection WHERE shard = 0")).await?;
        position(row.as_ref())
    }

    /// Applies the effects of the log up to `position` and answers the alarms that changed. Does nothing if that position
    /// was reached before. `position` grows; effects are those after the last one applied, in log order.
    ///
    /// # Errors
    /// [`StoreError::Database`]; then nothing was applied.
    pub async fn project(&self, reached: u64, effects: &[Effect]) -> Result<Vec<AlarmId>, StoreError> {
        let mut tx = self.db.begin().await?;
        // Touching the row takes its lock: two projectors would apply one after the other, the second nothing.
        let row = tx.row(sql("UPDATE projection SET position = position + 0 WHERE shard = 0 RETURNING position")).await?;
        if reached <= position(row.as_ref())? {
            return Ok(Vec::new());
        }
        let (mut changed, mut standing) = (Vec::new(), Vec::new());
        for effect in effects {
            match effect {
                Effect::Alarm(AlarmChange::Raised(alarm)) => {
                    let touched = raise(&mut tx, alarm).await?;
                    let stands = match alarm.subject {
                        Subject::Point(id) if !alarm.historic => Some((id, alarm.level)),
                        _ => None,
                    };
                    standing.extend(touched.iter().map(|id| (*id, stands.filter(|_| *id == alarm.id))));
                    changed.extend(touched);
                }
                Effect::Alarm(AlarmChange::Returned { id, at }) => {
                    let update = sql("UPDATE alarm SET returned_at_us = $1 WHERE id = $2 AND returned_at_us IS NULL");
                    if tx.run(update.bind(*at).bind(*id)).await? > 0 {
                        changed.push(*id);
                        standing.push((*id, None));
                    }
                }
                Effect::Combined { alarm, combination, parts } => {
                    combine(&mut tx, *alarm, *combination, parts).await?;
                    changed.push(*alarm);
                }
                Effect::Event(event) => insert_event(&mut tx, event).await?,
                Effect::CommandAnswer { command, from, ok, detail, at } => {
                    crate::command::answer(&mut tx, *command, from, *ok, detail, *at).await?
                }
            }
        }
        let reached = i64::try_from(reached).map_err(|_| StoreError::Corrupt("log position beyond 63 bits".to_owned()))?;
        tx.run(sql("UPDATE projection SET position = $1 WHERE shard = 0").bind(reached)).await?;
        let network = self.network.get();
        let mut told = Told::default();
        if network.parent.is_some() || !self.network.wants().is_empty() {
            changed.iter().for_each(|id| told.alarm(*id));
        }
        crate::submission::note(&mut tx, &self.network, &told).await?;
        let put = told.put(&mut tx, network).await?;
        let projecting = self.sight.projecting();
        tx.commit().await?;
        self.network.grew(put);
        projecting.over(standing);
        // An alarm raised and returned in one record is one change for who shows it; the order of first change stays.
        let mut seen = std::collections::BTreeSet::new();
        changed.retain(|id| seen.insert(*id));
        Ok(changed)
    }
}

pub(crate) fn position(row: Option<&Row>) -> Result<u64, StoreError> {
    let row = row.ok_or_else(|| StoreError::Corrupt("the projection has no position".to_owned()))?;
    u64::try_from(row.get::<i64>("position")?).map_err(|_| StoreError::Corrupt("the projection's position is negative".to_owned()))
}

async fn raise(tx: &mut Tx, alarm: &RaisedAlarm) -> Result<Vec<AlarmId>, StoreError> {
    let mut changed = Vec::new();
    let (subject, point, vehicle, owner) = match alarm.subject {
        Subject::Point(id) => {
            let owner = sql("SELECT d.enterprise_id, e.region, e.sector FROM point AS p
INNER JOIN device AS d ON d.id = p.device_id
LEFT JOIN enterprise AS e ON e.id = d.enterprise_id
WHERE p.id = $1");
            (format!("point:{id}"), Some(id), None, owner.bind(id))
        }
        Subject::Vehicle(id) => {
            let owner = sql("SELECT v.enterprise_id, COALESCE(e.region, v.region) AS region, e.sector FROM vehicle AS v
LEFT JOIN enterprise AS e ON e.id = v.enterprise_id
WHERE v.id = $1");
            (format!("vehicle:{id}"), None, Some(id), owner.bind(id))
        }
    };
    if tx.row(sql("SELECT id FROM alarm WHERE id = $1").bind(alarm.id)).await?.is_some() {
        return Ok(changed);
    }
    if !alarm.historic {
        // The engine keeps one open occurrence per (rule, subject). Should it ever not, neither alarm may get lost:
        // the older one ends where the newer begins.
        let end = sql(
            "UPDATE alarm SET returned_at_us = $1 WHERE rule = $2 AND subject = $3 AND returned_at_us IS NULL AND historic = 0 RETURNING id",
        );
        for row in tx.rows(end.bind(alarm.raised_at).bind(alarm.rule.as_str()).bind(subject.as_str())).await? {
            let older: AlarmId = row.get("id")?;
            tracing::error!(alarm.id = %older, "alarm {older} was still open when {} was raised for the same rule and subject", alarm.id);
            changed.push(older);
        }
    }
    let owner = tx.row(owner).await?;
    let (enterprise, region, sector): (Option<EnterpriseId>, Option<String>, Option<String>) = match &owner {
        Some(row) => (row.get("enterprise_id")?, row.get("region")?, row.get("sector")?),
        None => (None, None, None),
    };
    let insert = sql(
        "INSERT INTO alarm (id, rule, kind, subject, point_id, vehicle_id, unit, enterprise_id, region, sector, level, value, threshold,
  source, confidence, onset_at_us, raised_at_us, historic)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
    )
    .bind(alarm.id)
    .bind(alarm.rule.as_str())
    .bind(alarm.kind.as_str())
    .bind(subject)
    .bind(point)
    .bind(vehicle)
    .bind(alarm.unit.as_str())
    .bind(enterprise)
    .bind(region)
    .bind(sector)
    .bind(alarm.level.as_str())
    .bind(alarm.value)
    .bind(alarm.threshold)
    .bind(alarm.source.as_str())
    .bind(alarm.confidence.as_str())
    .bind(alarm.onset_at)
    .bind(alarm.raised_at)
    .bind(alarm.historic);
    tx.run(insert).await?;
    changed.push(alarm.id);
    Ok(changed)
}

/// A part that comes again, because its member stood again, is told by the newest alarm.
async fn combine(tx: &mut Tx, alarm: AlarmId, combination: CombinationId, parts: &[AlarmPart]) -> Result<(), StoreError> {
    for (place, part) in (0_i64..).zip(parts) {
        let put =
            sql("INSERT INTO alarm_member (alarm_id, point_id, kind, place, combination_id, member_id) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (alarm_id, point_id, kind) DO UPDATE SET member_id = excluded.member_id");
        let put = put.bind(alarm).bind(part.point).bind(part.kind.as_str()).bind(place).bind(combination.get());
        tx.run(put.bind(part.alarm)).await?;
    }
    Ok(())
}

async fn insert_event(tx: &mut Tx, event: &DataEvent) -> Result<(), StoreError> {
    // The log may still name one that was merged into another meanwhile.
    let owner = match event.enterprise {
        None => None,
        Some(id) => {
            let row = tx.row(sql("SELECT COALESCE(e.merged_into, e.id) AS id FROM enterprise AS e WHERE e.id = $1").bind(id)).await?;
            row.map_or(Ok(Some(id)), |row| row.get("id"))?
        }
    };
    // The owner's territory of this moment, in one statement; without an owner both are NULL.
    let insert = sql("INSERT INTO event (at_us, kind, subject, detail, enterprise_id, region, sector)
VALUES ($1, $2, $3, $4, $5, (SELECT region FROM enterprise WHERE id = $6), (SELECT sector FROM enterprise WHERE id = $7))
RETURNING id");
    let insert = insert.bind(event.at).bind(event.kind.as_str()).bind(event.subject.as_str()).bind(event.detail.as_str());
    let row = tx.row(insert.bind(owner).bind(owner).bind(owner)).await?.ok_or(StoreError::NotFound)?;
    let oldest = row.get::<i64>("id")? - crate::event::MAX;
    if oldest > 0 {
        tx.run(sql("DELETE FROM event WHERE id <= $1").bind(oldest)).await?;
    }
    Ok(())
}
