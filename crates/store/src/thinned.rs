//! Days of which readings gave way to their hours (抽稀): written down before they go, and counted once it is known that they went.
//!
//! [`Store::note_drop`] takes down what is about to go, with its digest; whoever drops it asks its files afterwards, or at the next start,
//! whether it went, and says so to [`Store::end_thinning`]: killed in between, it is counted once or not at all. Rows of nodes below come
//! through their feeds. No scope below: the link and the housekeeping ask; people ask [`Store::thinned`].

use std::collections::HashSet;

use anlan_model::{NodeId, NodeLevel, Scope, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::db::{Row, Tx, sql};
use crate::feed::{Entry, entry, words};
use crate::{Page, Paging, Store, StoreError};

/// Readings, or hours: how many, and the sum of their hashes modulo 2^128.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// How many.
    pub n: u64,
    /// The sum.
    pub sum: u128,
}

/// What gives way of one origin and civil day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThinnedPart {
    /// Whose readings.
    pub origin: NodeId,
    /// Civil day in Beijing, `2026-11-30`.
    pub day: String,
    /// The readings.
    pub readings: Counted,
    /// The hours that stand for them from then on.
    pub hours: Counted,
}

/// What is about to give way.
#[derive(Clone, Debug, PartialEq)]
pub struct Thinning {
    /// By this the files know whether it went.
    pub witness: Json,
    /// `disk`, `age`.
    pub why: &'static str,
    /// Free space of the disk then, in megabytes, if it was that.
    pub free_mb: Option<u64>,
    /// By origin and day.
    pub parts: Vec<ThinnedPart>,
}

/// A day of which readings gave way at a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThinnedRow {
    /// Whose readings.
    pub origin: NodeId,
    /// Its name here; empty = unknown.
    pub origin_name: String,
    /// Civil day in Beijing.
    pub day: String,
    /// Where they gave way.
    pub holder: NodeId,
    /// Its name here; empty = unknown.
    pub holder_name: String,
    /// Its level.
    pub level: Option<NodeLevel>,
    /// Readings that gave way.
    pub readings: Counted,
    /// What the ledger there said of the whole day then.
    pub held: Option<Counted>,
    /// Hours that stand for them.
    pub hours: Counted,
    /// `disk`, `age`.
    pub why: String,
    /// When, domain time.
    pub at: Timestamp,
}

impl ThinnedRow {
    /// Whether nothing of what was held of the day is left; what came for it since is.
    pub fn is_whole(&self) -> bool {
        self.held == Some(self.readings)
    }
}

/// How it travels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ThinnedBody {
    #[serde(with = "words")]
    pub(crate) origin: NodeId,
    pub(crate) day: String,
    #[serde(with = "words")]
    pub(crate) holder: NodeId,
    pub(crate) count: i64,
    pub(crate) sum: String,
    #[serde(default)]
    pub(crate) held: Option<(i64, String)>,
    pub(crate) hours: i64,
    pub(crate) hours_sum: String,
    pub(crate) why: String,
    pub(crate) at: i64,
}

/// How what is about to give way is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    witness: Json,
    why: String,
    #[serde(default)]
    free_mb: Option<u64>,
    parts: Vec<KeptPart>,
}

#[derive(Serialize, Deserialize)]
struct KeptPart {
    #[serde(with = "words")]
    origin: NodeId,
    day: String,
    readings: (u64, String),
    hours: (u64, String),
}

fn told(counted: Counted) -> (u64, String) {
    (counted.n, format!("{:032x}", counted.sum))
}

fn read((n, sum): &(u64, String)) -> Result<Counted, StoreError> {
    let sum = u128::from_str_radix(sum, 16).map_err(|_| StoreError::Corrupt("the sum of a thinned day".to_owned()))?;
    Ok(Counted { n: *n, sum })
}

pub(crate) fn counted(n: i64, sum: &str) -> Result<Counted, StoreError> {
    let n = u64::try_from(n).map_err(|_| StoreError::Corrupt("a thinned day counts below nothing".to_owned()))?;
    read(&(n, sum.to_owned()))
}

pub(crate) fn whole(n: u64) -> Result<i64, StoreError> {
    i64::try_from(n).map_err(|_| StoreError::Corrupt("a number beyond 63 bits".to_owned()))
}

/// Takes down what is about to go, in the transaction that announces it.
pub(crate) async fn begin(tx: &mut Tx, thinning: &Thinning) -> Result<(), StoreError> {
    let part = |p: &ThinnedPart| KeptPart { origin: p.origin, day: p.day.clone(), readings: told(p.readings), hours: told(p.hours) };
    let kept = Kept {
        witness: thinning.witness.clone(),
        why: thinning.why.to_owned(),
        free_mb: thinning.free_mb,
        parts: thinning.parts.iter().map(part).collect(),
    };
    let body = json!(kept).to_string();
    let put = sql("INSERT INTO thinning (id, body) VALUES (0, $1) ON CONFLICT (id) DO UPDATE SET body = excluded.body");
    tx.run(put.bind(body)).await.map(drop)
}

const SELECT: &str =
    "SELECT t.origin, t.day, t.holder, t.n_readings, t.sum, t.held_n_readings, t.held_sum, t.n_hours, t.hours_sum, t.why, t.at_us,
  o.name AS origin_name, h.name AS holder_name, h.level
FROM thinned_day AS t LEFT JOIN node AS o ON o.id = t.origin LEFT JOIN node AS h ON h.id = t.holder
WHERE 1 = 1";

fn row(row: &Row) -> Result<ThinnedRow, StoreError> {
    let (origin_name, holder_name, level): (Option<String>, Option<String>, Option<String>) =
        (row.get("origin_name")?, row.get("holder_name")?, row.get("level")?);
    let held: Option<(i64, String)> = row.get::<Option<i64>>("held_n_readings")?.zip(row.get("held_sum")?);
    Ok(ThinnedRow {
        origin: row.get("origin")?,
        origin_name: origin_name.unwrap_or_default(),
        day: row.get("day")?,
        holder: row.get("holder")?,
        holder_name: holder_name.unwrap_or_default(),
        level: level.as_deref().and_then(NodeLevel::parse),
        readings: counted(row.get("n_readings")?, &row.get::<String>("sum")?)?,
        held: held.map(|(n, sum)| counted(n, &sum)).transpose()?,
        hours: counted(row.get("n_hours")?, &row.get::<String>("hours_sum")?)?,
        why: row.get("why")?,
        at: row.get("at_us")?,
    })
}

impl Store {
    /// By what the files know whether that went which was taken down last; `None` = nothing is open.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn thinning(&self) -> Result<Option<Json>, StoreError> {
        let Some(row) = self.db.row(sql("SELECT body FROM thinning WHERE id = 0")).await? else { return Ok(None) };
        let mut body: Json = row.json("body")?;
        Ok(Some(body["witness"].take()))
    }

    /// What was taken down went, or stayed. It is counted, told to the parent, and no longer open; again, this does nothing.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn end_thinning(&self, went: bool, now: Timestamp) -> Result<(), StoreError> {
        let scope = Scope::node();
        let mut change = self.change(&scope, now).await?;
        let Some(open) = change.tx.row(sql("SELECT body FROM thinning WHERE id = 0")).await? else { return Ok(()) };
        let kept: Kept =
            serde_json::from_value(open.json("body")?).map_err(|_| StoreError::Corrupt("what was about to give way".to_owned()))?;
        change.tx.run(sql("DELETE FROM thinning WHERE id = 0")).await?;
        let Some(own) = self.own_node().filter(|_| went) else { return change.commit().await };
        let (mut n, mut days) = (0, Vec::new());
        for part in &kept.parts {
            let q = sql("SELECT n_readings, sum, n_hours, hours_sum FROM thinned_day WHERE origin = $1 AND day = $2 AND holder = $3");
            let before = change.tx.row(q.bind(part.origin).bind(part.day.as_str()).bind(own)).await?;
            let (mut readings, mut hours) = (read(&part.readings)?, read(&part.hours)?);
            n += readings.n;
            days.push(part.day.clone());
            if let Some(before) = before {
                let had = counted(before.get("n_readings")?, &before.get::<String>("sum")?)?;
                readings = Counted { n: readings.n + had.n, sum: readings.sum.wrapping_add(had.sum) };
                let had = counted(before.get("n_hours")?, &before.get::<String>("hours_sum")?)?;
                hours = Counted { n: hours.n + had.n, sum: hours.sum.wrapping_add(had.sum) };
            }
            let put = sql(
                "INSERT INTO thinned_day (origin, day, holder, n_readings, sum, held_n_readings, held_sum, n_hours, hours_sum, why, at_us)
VALUES ($1, $2, $3, $4, $5, (SELECT l.n_readings FROM ledger AS l WHERE l.origin = $6 AND l.day = $7),
  (SELECT l.sum FROM ledger AS l WHERE l.origin = $8 AND l.day = $9), $10, $11, $12, $13)
ON CONFLICT (origin, day, holder) DO UPDATE SET n_readings = excluded.n_readings, sum = excluded.sum,
  held_n_readings = excluded.held_n_readings, held_sum = excluded.held_sum, n_hours = excluded.n_hours, hours_sum = excluded.hours_sum,
  why = excluded.why, at_us = excluded.at_us",
            );
            let put =
                put.bind(part.origin).bind(part.day.as_str()).bind(own).bind(whole(readings.n)?).bind(format!("{:032x}", readings.sum));
            let put = put.bind(part.origin).bind(part.day.as_str()).bind(part.origin).bind(part.day.as_str());
            let put = put.bind(whole(hours.n)?).bind(format!("{:032x}", hours.sum)).bind(kept.why.as_str()).bind(now);
            change.tx.run(put).await?;
            change.told.thinned(part.origin, &part.day, own);
        }
        if kept.why == "disk" && n > 0 {
            days.sort_unstable();
            days.dedup();
            let detail = json!({"readings": n, "days": days, "free_mb": kept.free_mb});
            let put = sql("INSERT INTO event (at_us, kind, subject, detail) VALUES ($1, 'thinned', $2, $3)");
            change.tx.run(put.bind(now).bind(days.first().cloned().unwrap_or_default()).bind(detail.to_string())).await?;
        }
        change.commit().await
    }

    /// Thinned days of this node and those below, newest day first; optionally of one origin. Empty for an asker who is not node-wide.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`].
    pub async fn thinned(&self, scope: &Scope, origin: Option<NodeId>, paging: &Paging) -> Result<Page<ThinnedRow>, StoreError> {
        if !scope.node_wide() {
            return Ok(Page { items: Vec::new(), next: None });
        }
        let mut q = sql(SELECT);
        if let Some(origin) = origin {
            q.push("\n  AND t.origin = {}", &[&origin]);
        }
        if let Some(cursor) = &paging.cursor {
            let mut parts = cursor.splitn(3, '_');
            let mut next = || parts.next().ok_or(StoreError::Cursor);
            let (day, origin, holder) = (next()?.to_owned(), next()?, next()?);
            let (origin, holder): (NodeId, NodeId) =
                (origin.parse().map_err(|_| StoreError::Cursor)?, holder.parse().map_err(|_| StoreError::Cursor)?);
            q.push(
                "\n  AND (t.day < {} OR (t.day = {} AND (t.origin > {} OR (t.origin = {} AND t.holder > {}))))",
                &[&day, &day, &origin, &origin, &holder],
            );
        }
        q.push("\nORDER BY t.day DESC, t.origin, t.holder\nLIMIT {}", &[&paging.fetch()]);
        let cursor =
            |row: &Row| Ok(format!("{}_{}_{}", row.get::<String>("day")?, row.get::<NodeId>("origin")?, row.get::<NodeId>("holder")?));
        paging.page(self.db.rows(q).await?, cursor, row)
    }

    /// Of these days of `origin`, between two days inclusive, what gave way and where.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn thinned_between(&self, origin: NodeId, first: &str, last: &str) -> Result<Vec<ThinnedRow>, StoreError> {
        let mut q = sql(SELECT);
        q.push("\n  AND t.origin = {} AND t.day >= {} AND t.day <= {}\nORDER BY t.day, t.holder", &[&origin, &first, &last]);
        self.db.rows(q).await?.iter().map(row).collect()
    }

    /// Of this origin and day, what gave way at this node.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn thinned_here(&self, origin: NodeId, day: &str) -> Result<Option<ThinnedRow>, StoreError> {
        let own = self.own_node();
        Ok(self.thinned_between(origin, day, day).await?.into_iter().find(|row| Some(row.holder) == own))
    }

    /// Days between two, inclusive, of which something gave way at this node.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn days_thinned_here(&self, first: &str, last: &str) -> Result<HashSet<(NodeId, String)>, StoreError> {
        let Some(own) = self.own_node() else { return Ok(HashSet::new()) };
        let q = sql("SELECT origin, day FROM thinned_day WHERE day >= $1 AND day <= $2 AND holder = $3");
        let rows = self.db.rows(q.bind(first).bind(last).bind(own)).await?;
        rows.iter().map(|row| Ok((row.get("origin")?, row.get("day")?))).collect()
    }

    /// Everything that gave way at this node: origin, day, readings.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn all_thinned_here(&self) -> Result<Vec<(NodeId, String, Counted)>, StoreError> {
        let Some(own) = self.own_node() else { return Ok(Vec::new()) };
        let q = sql("SELECT origin, day, n_readings, sum FROM thinned_day WHERE holder = $1 ORDER BY origin, day");
        let one = |row: &Row| Ok((row.get("origin")?, row.get("day")?, counted(row.get("n_readings")?, &row.get::<String>("sum")?)?));
        self.db.rows(q.bind(own)).await?.iter().map(one).collect()
    }

    /// The parent holds exactly this of these days: origin, day, readings.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn put_told(&self, days: &[(NodeId, String, Counted)]) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        for (origin, day, counted) in days {
            let put = sql("INSERT INTO told_day (origin, day, n_readings, sum) VALUES ($1, $2, $3, $4)
ON CONFLICT (origin, day) DO UPDATE SET n_readings = excluded.n_readings, sum = excluded.sum");
            tx.run(put.bind(*origin).bind(day.as_str()).bind(whole(counted.n)?).bind(format!("{:032x}", counted.sum))).await?;
        }
        tx.commit().await
    }

    /// Days of which the parent was not found to hold exactly what is held here.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn untold_days(&self) -> Result<Vec<(NodeId, String)>, StoreError> {
        let q = sql("SELECT l.origin, l.day FROM ledger AS l
LEFT JOIN told_day AS t ON t.origin = l.origin AND t.day = l.day AND t.n_readings = l.n_readings AND t.sum = l.sum
WHERE t.origin IS NULL
ORDER BY l.day, l.origin");
        self.db.rows(q).await?.iter().map(|row| Ok((row.get("origin")?, row.get("day")?))).collect()
    }
}

/// How these rows are told to the parent.
pub(crate) async fn entries(tx: &mut Tx, keys: std::collections::BTreeSet<(NodeId, String, NodeId)>) -> Result<Vec<Entry>, StoreError> {
    let mut out = Vec::new();
    for (origin, day, holder) in keys {
        let q = sql("SELECT n_readings, sum, held_n_readings, held_sum, n_hours, hours_sum, why, at_us
FROM thinned_day WHERE origin = $1 AND day = $2 AND holder = $3");
        let Some(row) = tx.row(q.bind(origin).bind(day.as_str()).bind(holder)).await? else { continue };
        let body = ThinnedBody {
            origin,
            holder,
            count: row.get("n_readings")?,
            sum: row.get("sum")?,
            held: row.get::<Option<i64>>("held_n_readings")?.zip(row.get("held_sum")?),
            hours: row.get("n_hours")?,
            hours_sum: row.get("hours_sum")?,
            why: row.get("why")?,
            at: row.get("at_us")?,
            day,
        };
        out.push(entry("thinned", origin, format_args!("{}/{holder}", body.day), &body)?);
    }
    Ok(out)
}

/// Whether a body that came over a link can be kept.
pub(crate) fn is_sound(body: &ThinnedBody) -> bool {
    let sum = |sum: &String| sum.len() == 32 && sum.bytes().all(|b| b.is_ascii_hexdigit());
    let date =
        body.day.len() == 10 && body.day.bytes().enumerate().all(|(i, b)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() });
    date && body.count >= 0
        && body.hours >= 0
        && sum(&body.sum)
        && sum(&body.hours_sum)
        && body.held.as_ref().is_none_or(|(n, s)| *n >= 0 && sum(s))
        && matches!(body.why.as_str(), "disk" | "age")
}

/// Keeps what a node below told.
pub(crate) async fn keep(tx: &mut Tx, body: &ThinnedBody) -> Result<(), StoreError> {
    let put =
        sql("INSERT INTO thinned_day (origin, day, holder, n_readings, sum, held_n_readings, held_sum, n_hours, hours_sum, why, at_us)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (origin, day, holder) DO UPDATE SET n_readings = excluded.n_readings, sum = excluded.sum,
  held_n_readings = excluded.held_n_readings, held_sum = excluded.held_sum, n_hours = excluded.n_hours, hours_sum = excluded.hours_sum,
  why = excluded.why, at_us = excluded.at_us");
    let put = put.bind(body.origin).bind(body.day.as_str()).bind(body.holder).bind(body.count).bind(body.sum.as_str());
    let put = put.bind(body.held.as_ref().map(|h| h.0)).bind(body.held.as_ref().map(|h| h.1.clone()));
    let put = put.bind(body.hours).bind(body.hours_sum.as_str()).bind(body.why.as_str()).bind(Timestamp::from_micros(body.at));
    tx.run(put).await.map(drop)
}
