//! Who is on duty (值班) for the nodes below: the desks that a person made known, of now and the next days; and what those above said.
//!
//! Read-only text wherever it comes: names, desks, telephones. What nobody made known stays here. Start at [`Store::tell_roster`].

use anlan_model::{NodeId, NodeLevel, RegionCode, Scope, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::audit::{Change, Entry, Holder};
use crate::db::sql;
use crate::inbox::{Apply, Fault, texts};
use crate::{Store, StoreError};

/// So far ahead shifts are told.
const AHEAD_US: i64 = 3 * 86_400_000_000;
/// Most shifts that are told.
const SHIFTS_MAX: usize = 200;
/// Longest body that is told, in bytes; an entry is refused above 64 KiB.
const BODY_MAX: usize = 48 * 1024;

/// What goes down.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RosterBody {
    pub(crate) shifts: Vec<RosterShift>,
}

/// A shift as others are told of it; times in µs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterShift {
    /// Division.
    pub region: String,
    /// Its name.
    pub region_name: String,
    /// Word of the desk.
    pub desk: String,
    /// Names.
    pub people: Vec<String>,
    /// Telephone of the shift.
    pub phone: String,
    /// The first instant.
    pub from: i64,
    /// The first instant after it.
    pub to: i64,
}

/// Who is on duty at a node above.
#[derive(Clone, Debug, PartialEq)]
pub struct RosterRow {
    /// Which node.
    pub origin: NodeId,
    /// Its name.
    pub name: String,
    /// Its level.
    pub level: Option<NodeLevel>,
    /// When it was heard here.
    pub at: Timestamp,
    /// In order of divisions, desks and beginnings.
    pub shifts: Vec<RosterShift>,
}

impl Store {
    /// What the nodes above say of who is on duty there, the nearest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn rosters_above(&self) -> Result<Vec<RosterRow>, StoreError> {
        let q = sql("SELECT t.origin, t.body, t.at_us, n.name, n.level FROM roster AS t
INNER JOIN node AS n ON n.id = t.origin
WHERE n.relation <> 'self'");
        let mut found = Vec::new();
        for row in self.db.rows(q).await? {
            let body: RosterBody = row.json("body")?;
            if body.shifts.is_empty() {
                continue;
            }
            let level = row.get::<String>("level")?;
            let level = NodeLevel::parse(&level);
            found.push(RosterRow { origin: row.get("origin")?, name: row.get("name")?, level, at: row.get("at_us")?, shifts: body.shifts });
        }
        found.sort_by_key(|roster| (roster.level, roster.origin));
        Ok(found)
    }

    /// Desks whose shifts the nodes below are told, as far as the asker holds their division.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn duty_told(&self, scope: &Scope) -> Result<Vec<(RegionCode, String)>, StoreError> {
        let rows = self.db.rows(sql("SELECT region, desk FROM duty_told ORDER BY region, desk")).await?;
        let all =
            rows.iter().map(|row| Ok((row.get("region")?, row.get("desk")?))).collect::<Result<Vec<(RegionCode, String)>, StoreError>>()?;
        Ok(all.into_iter().filter(|(region, _)| scope.holds(None, Some(region), None)).collect())
    }

    /// Makes the shifts of a desk known to the nodes below, or no more.
    ///
    /// # Errors
    /// [`StoreError::OutOfScope`], [`StoreError::Database`].
    pub async fn set_duty_told(
        &self,
        scope: &Scope,
        region: &RegionCode,
        desk: &str,
        told: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if !scope.holds(None, Some(region), None) {
            return Err(StoreError::OutOfScope);
        }
        let mut change = self.change(scope, now).await?;
        let put = if told {
            sql("INSERT INTO duty_told (region, desk) VALUES ($1, $2) ON CONFLICT (region, desk) DO NOTHING")
        } else {
            sql("DELETE FROM duty_told WHERE region = $1 AND desk = $2")
        };
        if change.tx.run(put.bind(region).bind(desk)).await? == 0 {
            return Ok(());
        }
        tell(&mut change).await?;
        let row = json!({"region": region, "desk": desk, "told": told});
        let holder = Holder { enterprise: None, region: Some(region.clone()), sector: None };
        let subject = format!("{region}/{desk}");
        change
            .record(Entry { action: if told { "tell" } else { "keep" }, noun: "duty_desk", subject, detail: row.clone(), row, holder })
            .await?;
        change.commit().await
    }

    /// Tells the nodes below who is on duty now and the next days, if that is another than they were told; whether it was.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn tell_roster(&self, now: Timestamp) -> Result<bool, StoreError> {
        let scope = Scope::node();
        let mut change = self.change(&scope, now).await?;
        let is_new = tell(&mut change).await?;
        if is_new {
            change.commit().await?;
        }
        Ok(is_new)
    }
}

/// Puts the roster as it is in this transaction before the nodes below; whether it is another.
pub(crate) async fn tell(change: &mut Change<'_>) -> Result<bool, StoreError> {
    let Some(own) = change.own() else { return Ok(false) };
    let q = sql("SELECT s.region, r.name AS region_name, s.desk, u.name AS user_name, v.name AS second_name, s.phone, s.from_us, s.to_us
FROM duty_shift AS s
INNER JOIN duty_told AS t ON t.region = s.region AND t.desk = s.desk
INNER JOIN users AS u ON u.id = s.user_id
LEFT JOIN users AS v ON v.id = s.second_id
LEFT JOIN region AS r ON r.code = s.region
WHERE s.removed_at_us IS NULL AND s.to_us > $1 AND s.from_us < $2
ORDER BY s.from_us, s.region, s.desk, s.id
LIMIT $3");
    let q = q.bind(change.now).bind(change.now.plus_us(AHEAD_US)).bind(SHIFTS_MAX as i64);
    let mut shifts = Vec::new();
    for row in change.tx.rows(q).await? {
        let people = [Some(row.get::<String>("user_name")?), row.get("second_name")?];
        shifts.push(RosterShift {
            region: row.get("region")?,
            region_name: row.get::<Option<String>>("region_name")?.unwrap_or_default(),
            desk: row.get("desk")?,
            people: people.into_iter().flatten().collect(),
            phone: row.get("phone")?,
            from: row.get("from_us")?,
            to: row.get("to_us")?,
        });
    }
    let text = loop {
        let mut sorted = RosterBody { shifts: shifts.clone() };
        sorted.shifts.sort_by(|a, b| (&a.region, &a.desk, a.from).cmp(&(&b.region, &b.desk, b.from)));
        let text = serde_json::to_string(&sorted).map_err(|e| StoreError::Corrupt(format!("a roster: {e}")))?;
        // What is furthest ahead is left out first.
        if text.len() <= BODY_MAX || shifts.pop().is_none() {
            break text;
        }
    };
    let known = change.tx.row(sql("SELECT body FROM roster WHERE origin = $1").bind(own)).await?;
    let known = known.map(|row| row.get::<String>("body")).transpose()?;
    if known.as_deref() == Some(text.as_str()) || (known.is_none() && shifts.is_empty()) {
        return Ok(false);
    }
    put(change, own, &text).await?;
    Ok(true)
}

async fn put(change: &mut Change<'_>, origin: NodeId, text: &str) -> Result<(), StoreError> {
    let put = sql("INSERT INTO roster (origin, body, at_us) VALUES ($1, $2, $3)
ON CONFLICT (origin) DO UPDATE SET body = excluded.body, at_us = excluded.at_us");
    change.tx.run(put.bind(origin).bind(text).bind(change.now)).await?;
    change.told.roster(origin);
    Ok(())
}

/// There is another parent, or none: what was said above is said no more, here and below.
pub(crate) async fn forget_above(change: &mut Change<'_>, own: NodeId) -> Result<(), StoreError> {
    for row in change.tx.rows(sql("SELECT origin FROM roster WHERE origin <> $1").bind(own)).await? {
        put(change, row.get("origin")?, "{\"shifts\":[]}").await?;
    }
    Ok(())
}

impl Apply<'_> {
    /// From above: who is on duty there.
    pub(crate) async fn roster(&mut self, origin: NodeId, body: RosterBody) -> Result<(), Fault> {
        self.may_speak_for(origin)?;
        if body.shifts.len() > SHIFTS_MAX {
            return Err(Fault::Refused("body"));
        }
        for shift in &body.shifts {
            let is_sound = RegionCode::new(&shift.region).is_some() && shift.from < shift.to && shift.people.len() <= 2;
            if !is_sound {
                return Err(Fault::Refused("body"));
            }
            texts(&[(&shift.region_name, false), (&shift.desk, true), (&shift.phone, false)])?;
            texts(&shift.people.iter().map(|name| (name, true)).collect::<Vec<_>>())?;
        }
        let text = serde_json::to_string(&body).map_err(|_| Fault::Refused("body"))?;
        put(&mut self.change, origin, &text).await?;
        self.count("roster");
        Ok(())
    }
}
