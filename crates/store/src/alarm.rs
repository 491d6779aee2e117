//! Alarms: the condition as the projector wrote it, and what people did about it.
//!
//! The condition (table `alarm`) is written by [`crate::projection`] alone; this file writes the handling (`alarm_handling`, one row
//! per alarm and level of the network; this node is `local`) with audit and outbox. Start at [`Store::alarms`].

use std::collections::BTreeMap;

use anlan_model::{
    Alarm, AlarmHandling, AlarmId, AlarmMember, AlarmState, CombinationId, EnterpriseId, Home, Level, MemberAlarm, NodeId, NodeLevel,
    PointId, RegionCode, RuleKind, Scope, Subject, Timestamp, VehicleId,
};
use serde_json::{Value as Json, json};

use crate::audit::{Change, Entry, Holder, and_equal};
use crate::db::{Row, Sql, sql};
use crate::scope::Owner;
use crate::{Page, Paging, Store, StoreError};

/// Which alarms. Empty lists and `None` do not narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlarmFilter {
    /// In one of these states.
    pub states: Vec<AlarmState>,
    /// Of one of these levels.
    pub levels: Vec<Level>,
    /// Of this enterprise.
    pub enterprise: Option<EnterpriseId>,
    /// Of this point, or of a combination that looks at it.
    pub point: Option<PointId>,
    /// Of this vehicle.
    pub vehicle: Option<VehicleId>,
    /// In this division.
    pub region: Option<RegionCode>,
    /// Raised at or after.
    pub from: Option<Timestamp>,
    /// Raised before.
    pub to: Option<Timestamp>,
    /// Only historic ones, or only live ones.
    pub historic: Option<bool>,
    /// Part of the subject's name, its code, the rule or the enterprise's name.
    pub q: Option<String>,
}

/// Alarms by shown state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AlarmCounts {
    /// Standing, unanswered.
    pub raised: i64,
    /// Standing, seen.
    pub acknowledged: i64,
    /// Gone, not closed.
    pub returned: i64,
    /// Closed.
    pub closed: i64,
}

/// Alarms that are alike in what reports count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlarmGroup {
    /// Urgency.
    pub level: Level,
    /// Division.
    pub region: Option<RegionCode>,
    /// Shown state, by now.
    pub state: AlarmState,
    /// Of late or back-filled readings.
    pub historic: bool,
    /// Nobody here has acknowledged or closed it, whether it still stands or not.
    pub is_unanswered: bool,
    /// How many.
    pub n: i64,
}

/// Greatest urgency of a group of alarms as a number, 1 = red.
pub(crate) const WORST: &str = "MIN(CASE a.level WHEN 'red' THEN 1 WHEN 'orange' THEN 2 WHEN 'yellow' THEN 3 ELSE 4 END)";
/// Shown state; the same order of precedence as [`Alarm::state`].
const STATE: &str = "CASE WHEN h.closed_at_us IS NOT NULL THEN 'closed'
  WHEN a.returned_at_us IS NOT NULL THEN 'returned'
  WHEN h.acknowledged_at_us IS NOT NULL THEN 'acknowledged'
  ELSE 'raised' END";
const COLUMNS: &str =
    "a.id, a.rule, a.kind, a.point_id, a.vehicle_id, a.unit, a.enterprise_id, a.region, a.sector, a.level, a.value, a.threshold,
  a.source, a.confidence, a.onset_at_us, a.raised_at_us, a.returned_at_us, a.historic,
  h.acknowledged_at_us, h.acknowledged_by, h.acknowledged_note, h.closed_at_us, h.closed_by, h.closed_reason,
  e.name AS enterprise_name, p.name AS point_name, v.plate, v.phone, a.name AS there_name, a.home, n.name AS home_name, n.level AS home_level";
const FROM: &str = "FROM alarm AS a
LEFT JOIN alarm_handling AS h ON h.alarm_id = a.id AND h.level = 'local'
LEFT JOIN enterprise AS e ON e.id = a.enterprise_id
LEFT JOIN point AS p ON p.id = a.point_id
LEFT JOIN vehicle AS v ON v.id = a.vehicle_id
LEFT JOIN node AS n ON n.id = a.home
WHERE 1 = 1";
/// What combination alarms are made of, with the members' own alarms.
const MEMBERS: &str = "SELECT m.alarm_id, m.place, m.point_id, m.kind, m.combination_id, m.member_id, p.name AS point_name,
  c.name AS combination_name, o.value, o.threshold, o.unit, o.onset_at_us, o.returned_at_us
FROM alarm_member AS m
LEFT JOIN point AS p ON p.id = m.point_id
LEFT JOIN combination AS c ON c.id = m.combination_id
LEFT JOIN alarm AS o ON o.id = m.member_id
WHERE 1 = 1";
/// What the people of other nodes did.
const HANDLINGS: &str =
    "SELECT h.alarm_id, h.level AS node, h.acknowledged_at_us, h.acknowledged_by, h.acknowledged_note, h.closed_at_us, h.closed_by,
  h.closed_reason, n.name, n.level
FROM alarm_handling AS h
LEFT JOIN node AS n ON n.id = h.level
WHERE h.level <> 'local'";
/// Name of the combination that raised it.
pub(crate) const COMBINATION_NAME: &str =
    "(SELECT MIN(c.name) FROM alarm_member AS m INNER JOIN combination AS c ON c.id = m.combination_id WHERE m.alarm_id = a.id)";
/// Owner as of the moment the alarm was raised.
pub(crate) const OWNER: Owner = Owner { enterprise: "a.enterprise_id", region: "a.region", sector: "a.sector" };

impl Store {
    /// A page of alarms under the scope, newest raised first.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`].
    pub async fn alarms(&self, scope: &Scope, filter: &AlarmFilter, paging: &Paging) -> Result<Page<Alarm>, StoreError> {
        let mut q = sql(&format!("SELECT {COLUMNS}\n{FROM}"));
        filtered(&mut q, scope, filter);
        q.and_in(STATE, &filter.states.iter().map(|s| s.as_str()).collect::<Vec<_>>());
        if let Some(cursor) = &paging.cursor {
            let (at, id) = cursor.split_once('_').ok_or(StoreError::Cursor)?;
            let at: i64 = at.parse().map_err(|_| StoreError::Cursor)?;
            let id: AlarmId = id.parse().map_err(|_| StoreError::Cursor)?;
            q.push("\n  AND (a.raised_at_us < {} OR (a.raised_at_us = {} AND a.id < {}))", &[&at, &at, &id]);
        }
        q.push("\nORDER BY a.raised_at_us DESC, a.id DESC\nLIMIT {}", &[&paging.fetch()]);
        let cursor = |row: &Row| Ok(format!("{}_{}", row.get::<i64>("raised_at_us")?, row.get::<AlarmId>("id")?));
        let mut page = paging.page(self.db.rows(q).await?, cursor, read)?;
        self.fill_alarms(&mut page.items).await?;
        Ok(page)
    }

    /// Gives alarms what stands in other tables.
    async fn fill_alarms(&self, alarms: &mut [Alarm]) -> Result<(), StoreError> {
        self.fill_members(alarms).await?;
        if !self.network.get().has_others || alarms.is_empty() {
            return Ok(());
        }
        let ids: Vec<AlarmId> = alarms.iter().map(|a| a.id).collect();
        give_handlings(alarms, &self.db.rows_among(HANDLINGS, "h.alarm_id", &ids).await?)
    }

    /// Gives combination alarms their members and their name.
    async fn fill_members(&self, alarms: &mut [Alarm]) -> Result<(), StoreError> {
        let ids: Vec<AlarmId> = alarms.iter().filter(|a| a.kind == RuleKind::Combination).map(|a| a.id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        give_members(alarms, &self.db.rows_among(MEMBERS, "m.alarm_id", &ids).await?)
    }

    /// How many alarms of the filter are in which state; the filter's own states do not narrow, so that a tab shows its number
    /// whichever tab is open.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn alarm_counts(&self, scope: &Scope, filter: &AlarmFilter) -> Result<AlarmCounts, StoreError> {
        let mut inner = sql(&format!("SELECT t.state, COUNT(*) AS n FROM (SELECT {STATE} AS state\n{FROM}"));
        filtered(&mut inner, scope, filter);
        inner.push(") AS t\nGROUP BY t.state", &[]);
        let mut counts = AlarmCounts::default();
        for row in self.db.rows(inner).await? {
            let n: i64 = row.get("n")?;
            match row.word("state", AlarmState::parse)? {
                AlarmState::Raised => counts.raised = n,
                AlarmState::Acknowledged => counts.acknowledged = n,
                AlarmState::Returned => counts.returned = n,
                AlarmState::Closed => counts.closed = n,
            }
        }
        Ok(counts)
    }

    /// Alarms of the filter, counted by level, division, shown state and whether they are historic.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn alarm_groups(&self, scope: &Scope, filter: &AlarmFilter) -> Result<Vec<AlarmGroup>, StoreError> {
        let mut q = sql(&format!(
            "SELECT t.level, t.region, t.state, t.historic, t.unanswered, COUNT(*) AS n
FROM (SELECT a.level AS level, a.region AS region, {STATE} AS state, a.historic AS historic,
  CASE WHEN h.acknowledged_at_us IS NULL AND h.closed_at_us IS NULL THEN 1 ELSE 0 END AS unanswered\n{FROM}"
        ));
        filtered(&mut q, scope, filter);
        q.push(") AS t\nGROUP BY t.level, t.region, t.state, t.historic, t.unanswered", &[]);
        let read = |row: &Row| {
            Ok(AlarmGroup {
                level: row.word("level", Level::parse)?,
                region: row.get::<Option<String>>("region")?.as_deref().and_then(RegionCode::new),
                state: row.word("state", AlarmState::parse)?,
                historic: row.get("historic")?,
                is_unanswered: row.get::<i64>("unanswered")? == 1,
                n: row.get("n")?,
            })
        };
        self.db.rows(q).await?.iter().map(read).collect()
    }

    /// The enterprises with the most alarms of the filter: name, all of them, those of the two upper levels, those that are not closed.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn alarms_by_enterprise(
        &self,
        scope: &Scope,
        filter: &AlarmFilter,
        most: u32,
    ) -> Result<Vec<(String, i64, i64, i64)>, StoreError> {
        let mut q = sql(&format!(
            "SELECT t.name, COUNT(*) AS n, CAST(SUM(t.upper) AS BIGINT) AS upper, CAST(SUM(t.open) AS BIGINT) AS open
FROM (SELECT COALESCE(e.name, '') AS name, a.enterprise_id AS id, CASE WHEN a.level IN ('red', 'orange') THEN 1 ELSE 0 END AS upper,
  CASE WHEN h.closed_at_us IS NULL THEN 1 ELSE 0 END AS open\n{FROM}\n  AND a.enterprise_id IS NOT NULL"
        ));
        filtered(&mut q, scope, filter);
        q.push(") AS t\nGROUP BY t.id, t.name\nORDER BY n DESC, t.name\nLIMIT {}", &[&i64::from(most)]);
        self.db.rows(q).await?.iter().map(|row| Ok((row.get("name")?, row.get("n")?, row.get("upper")?, row.get("open")?))).collect()
    }

    /// One alarm.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn alarm(&self, scope: &Scope, id: AlarmId) -> Result<Alarm, StoreError> {
        let mut alarm = read(&self.db.row(one(scope, id)).await?.ok_or(StoreError::NotFound)?)?;
        self.fill_alarms(std::slice::from_mut(&mut alarm)).await?;
        Ok(alarm)
    }

    /// Whether the alarm exists and the asker may see it.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn alarm_visible(&self, scope: &Scope, id: AlarmId) -> Result<bool, StoreError> {
        let mut q = sql("SELECT a.id FROM alarm AS a WHERE a.id = $1").bind(id);
        q.and_visible(scope, OWNER);
        Ok(self.db.row(q).await?.is_some())
    }

    /// Those of `ids` that exist and that the asker may see, whole, in the order of `ids`; for the live stream.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn alarm_ids_visible(&self, scope: &Scope, ids: &[AlarmId]) -> Result<Vec<Alarm>, StoreError> {
        let mut found = Vec::new();
        for piece in ids.chunks(500) {
            let mut q = sql(&format!("SELECT {COLUMNS}\n{FROM}"));
            q.and_in("a.id", piece);
            q.and_visible(scope, OWNER);
            for row in self.db.rows(q).await? {
                found.push(read(&row)?);
            }
        }
        self.fill_alarms(&mut found).await?;
        let mut found: BTreeMap<AlarmId, Alarm> = found.into_iter().map(|alarm| (alarm.id, alarm)).collect();
        Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
    }

    /// Live alarms of this node whose condition stands, for an engine that starts without a checkpoint. Unscoped: for the node itself.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn standing_alarms(&self) -> Result<Vec<Alarm>, StoreError> {
        let q = sql(&format!(
            "SELECT {COLUMNS}\n{FROM}\n  AND a.returned_at_us IS NULL AND a.historic = 0 AND a.home IS NULL\nORDER BY a.raised_at_us, a.id"
        ));
        self.db.rows(q).await?.iter().map(read).collect()
    }

    /// Answers an alarm. The first answer stays: a second one changes nothing and is no error.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] (also while the projector is not there yet), [`StoreError::Database`].
    pub async fn acknowledge(&self, scope: &Scope, id: AlarmId, note: &str, now: Timestamp) -> Result<Alarm, StoreError> {
        let mut change = self.change(scope, now).await?;
        let before = current(&mut change, id).await?;
        if before.alarm.acknowledged_at.is_some() {
            return Ok(before.alarm);
        }
        let put = sql("INSERT INTO alarm_handling (alarm_id, level, acknowledged_at_us, acknowledged_by_id, acknowledged_by, acknowledged_note)
VALUES ($1, 'local', $2, $3, $4, $5)
ON CONFLICT (alarm_id, level) DO UPDATE SET acknowledged_at_us = excluded.acknowledged_at_us,
  acknowledged_by_id = excluded.acknowledged_by_id, acknowledged_by = excluded.acknowledged_by, acknowledged_note = excluded.acknowledged_note");
        change.tx.run(put.bind(id).bind(now).bind(scope.user).bind(scope.name.as_str()).bind(note)).await?;
        finish(change, "acknowledge", json!({"note": note}), id).await
    }

    /// Closes an alarm whose condition is gone. The first closing stays: a second one changes nothing and is no error.
    /// A historic alarm can always be closed, for what raised it lies in the past.
    ///
    /// # Errors
    /// [`StoreError::StillStanding`], [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn close_alarm(&self, scope: &Scope, id: AlarmId, reason: &str, now: Timestamp) -> Result<Alarm, StoreError> {
        let mut change = self.change(scope, now).await?;
        let before = current(&mut change, id).await?;
        if before.alarm.closed_at.is_some() {
            return Ok(before.alarm);
        }
        if before.alarm.returned_at.is_none() && !before.alarm.historic {
            return Err(StoreError::StillStanding);
        }
        let put = sql("INSERT INTO alarm_handling (alarm_id, level, closed_at_us, closed_by_id, closed_by, closed_reason)
VALUES ($1, 'local', $2, $3, $4, $5)
ON CONFLICT (alarm_id, level) DO UPDATE SET closed_at_us = excluded.closed_at_us, closed_by_id = excluded.closed_by_id,
  closed_by = excluded.closed_by, closed_reason = excluded.closed_reason");
        change.tx.run(put.bind(id).bind(now).bind(scope.user).bind(scope.name.as_str()).bind(reason)).await?;
        finish(change, "close", json!({"reason": reason}), id).await
    }
}

/// An alarm and whose it is.
struct Current {
    alarm: Alarm,
    holder: Holder,
}

async fn current(change: &mut Change<'_>, id: AlarmId) -> Result<Current, StoreError> {
    let row = change.tx.row(one(change.scope, id)).await?.ok_or(StoreError::NotFound)?;
    let mut alarm = read(&row)?;
    if alarm.kind == RuleKind::Combination {
        let mut q = sql(MEMBERS);
        q.push("\n  AND m.alarm_id = {}", &[&id]);
        give_members(std::slice::from_mut(&mut alarm), &change.tx.rows(q).await?)?;
    }
    let mut q = sql(HANDLINGS);
    q.push("\n  AND h.alarm_id = {}", &[&id]);
    give_handlings(std::slice::from_mut(&mut alarm), &change.tx.rows(q).await?)?;
    let holder = Holder { enterprise: alarm.enterprise, region: alarm.region.clone(), sector: row.get("sector")? };
    Ok(Current { alarm, holder })
}

async fn finish(mut change: Change<'_>, action: &'static str, detail: Json, id: AlarmId) -> Result<Alarm, StoreError> {
    let Current { alarm, holder } = current(&mut change, id).await?;
    let row = json!({
        "alarm": alarm.id.to_string(), "level": "local",
        "acknowledged_at": alarm.acknowledged_at, "acknowledged_by": alarm.acknowledged_by, "acknowledged_note": alarm.acknowledged_note,
        "closed_at": alarm.closed_at, "closed_by": alarm.closed_by, "closed_reason": alarm.closed_reason,
    });
    change.tell("alarm_handling", &row).await?;
    change.record(Entry { action, noun: "alarm", subject: alarm.id.to_string(), detail, row, holder }).await?;
    change.commit().await?;
    Ok(alarm)
}

fn one(scope: &Scope, id: AlarmId) -> Sql {
    let mut q = sql(&format!("SELECT {COLUMNS}\n{FROM}"));
    q.push("\n  AND a.id = {}", &[&id]).and_visible(scope, OWNER);
    q
}

fn filtered(q: &mut Sql, scope: &Scope, filter: &AlarmFilter) {
    q.and_visible(scope, OWNER);
    q.and_in("a.level", &filter.levels.iter().map(|l| l.as_str()).collect::<Vec<_>>());
    and_equal(q, "a.enterprise_id", filter.enterprise.as_ref());
    if let Some(point) = filter.point {
        q.push("\n  AND (a.point_id = {} OR a.id IN (SELECT m.alarm_id FROM alarm_member AS m WHERE m.point_id = {}))", &[&point, &point]);
    }
    and_equal(q, "a.vehicle_id", filter.vehicle.as_ref());
    if let Some(region) = &filter.region {
        let (from, to) = region.range();
        q.push("\n  AND a.region >= {} AND a.region < {}", &[&from, &to]);
    }
    if let Some(from) = filter.from {
        q.push("\n  AND a.raised_at_us >= {}", &[&from]);
    }
    if let Some(to) = filter.to {
        q.push("\n  AND a.raised_at_us < {}", &[&to]);
    }
    and_equal(q, "a.historic", filter.historic.as_ref());
    q.and_search(&["p.name", "p.code", "v.plate", "v.phone", "a.rule", "e.name", COMBINATION_NAME], filter.q.as_deref());
}

/// The level in column `worst`, made by [`WORST`].
pub(crate) fn read_worst(row: &Row) -> Result<Option<Level>, StoreError> {
    let rank: Option<i64> = row.get("worst")?;
    Ok(rank.and_then(|rank| usize::try_from(rank - 1).ok()).and_then(|i| Level::ALL.get(i).copied()))
}

fn read(row: &Row) -> Result<Alarm, StoreError> {
    let (point, vehicle): (Option<PointId>, Option<VehicleId>) = (row.get("point_id")?, row.get("vehicle_id")?);
    let (subject, subject_name) = match (point, vehicle) {
        (Some(point), _) => (Subject::Point(point), row.get::<Option<String>>("point_name")?),
        (None, Some(vehicle)) => {
            let plate = row.get::<Option<String>>("plate")?.filter(|plate| !plate.is_empty());
            let phone: Option<String> = row.get("phone")?;
            (Subject::Vehicle(vehicle), plate.or(phone))
        }
        (None, None) => return Err(StoreError::Corrupt("an alarm is about nothing".to_owned())),
    };
    Ok(Alarm {
        id: row.get("id")?,
        rule: row.get("rule")?,
        kind: row.word("kind", RuleKind::parse)?,
        subject,
        subject_name: row.get::<Option<String>>("there_name")?.or(subject_name).unwrap_or_default(),
        unit: row.get("unit")?,
        enterprise: row.get("enterprise_id")?,
        enterprise_name: row.get("enterprise_name")?,
        region: row.get("region")?,
        level: row.word("level", Level::parse)?,
        value: row.get("value")?,
        threshold: row.get("threshold")?,
        source: row.get("source")?,
        confidence: row.get("confidence")?,
        onset_at: row.get("onset_at_us")?,
        raised_at: row.get("raised_at_us")?,
        returned_at: row.get("returned_at_us")?,
        acknowledged_at: row.get("acknowledged_at_us")?,
        acknowledged_by: row.get("acknowledged_by")?,
        acknowledged_note: row.get("acknowledged_note")?,
        closed_at: row.get("closed_at_us")?,
        closed_by: row.get("closed_by")?,
        closed_reason: row.get("closed_reason")?,
        historic: row.get("historic")?,
        combination: None,
        members: Vec::new(),
        home: read_home(row)?,
        handlings: Vec::new(),
    })
}

pub(crate) fn read_home(row: &Row) -> Result<Option<Home>, StoreError> {
    let Some(id) = row.get("home")? else { return Ok(None) };
    let (name, level): (Option<String>, Option<String>) = (row.get("home_name")?, row.get("home_level")?);
    Ok(Some(Home { id, name: name.unwrap_or_default(), level: level.as_deref().and_then(NodeLevel::parse) }))
}

/// Puts rows of [`HANDLINGS`] where they belong, the lowest level first.
fn give_handlings(alarms: &mut [Alarm], rows: &[Row]) -> Result<(), StoreError> {
    let mut handlings: BTreeMap<AlarmId, Vec<AlarmHandling>> = BTreeMap::new();
    for row in rows {
        let (name, level): (Option<String>, Option<String>) = (row.get("name")?, row.get("level")?);
        handlings.entry(row.get("alarm_id")?).or_default().push(AlarmHandling {
            node: row.get::<NodeId>("node")?,
            name: name.unwrap_or_default(),
            level: level.as_deref().and_then(NodeLevel::parse),
            acknowledged_at: row.get("acknowledged_at_us")?,
            acknowledged_by: row.get("acknowledged_by")?,
            acknowledged_note: row.get("acknowledged_note")?,
            closed_at: row.get("closed_at_us")?,
            closed_by: row.get("closed_by")?,
            closed_reason: row.get("closed_reason")?,
        });
    }
    for alarm in alarms {
        let Some(mut own) = handlings.remove(&alarm.id) else { continue };
        own.sort_by_key(|h| (h.level, h.node));
        alarm.handlings = own;
    }
    Ok(())
}

/// Puts rows of [`MEMBERS`] where they belong.
fn give_members(alarms: &mut [Alarm], rows: &[Row]) -> Result<(), StoreError> {
    let mut members: BTreeMap<AlarmId, Vec<(i64, &Row)>> = BTreeMap::new();
    for row in rows {
        members.entry(row.get("alarm_id")?).or_default().push((row.get("place")?, row));
    }
    for alarm in alarms {
        let Some(mut own) = members.remove(&alarm.id) else { continue };
        own.sort_unstable_by_key(|(place, _)| *place);
        if let Some((_, first)) = own.first() {
            // 0 = one of another node.
            alarm.combination = Some(first.get("combination_id")?).filter(|id| *id != 0).map(CombinationId::new);
            if let Some(name) = first.get::<Option<String>>("combination_name")? {
                alarm.subject_name = name;
            }
        }
        alarm.members = own.into_iter().map(|(_, row)| read_member(row)).collect::<Result<_, _>>()?;
    }
    Ok(())
}

fn read_member(row: &Row) -> Result<AlarmMember, StoreError> {
    let (id, onset_at): (Option<AlarmId>, Option<Timestamp>) = (row.get("member_id")?, row.get("onset_at_us")?);
    let alarm = match id.zip(onset_at) {
        Some((id, onset_at)) => Some(MemberAlarm {
            id,
            value: row.get("value")?,
            threshold: row.get("threshold")?,
            unit: row.get("unit")?,
            onset_at,
            returned_at: row.get("returned_at_us")?,
        }),
        None => None,
    };
    let point_name: Option<String> = row.get("point_name")?;
    Ok(AlarmMember {
        point: row.get("point_id")?,
        point_name: point_name.unwrap_or_default(),
        kind: row.word("kind", RuleKind::parse)?,
        alarm,
    })
}
