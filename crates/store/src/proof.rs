//! Proofs (比对): what each holder below has of an origin and day, beside what this node has.
//!
//! A row that this node compared itself carries both; one that a child passed on carries that holder's word alone. Start at [`Store::proofs`].

use anlan_model::{NodeId, NodeLevel, Scope, Timestamp};

use crate::db::{Row, sql};
use crate::{Page, Paging, Store, StoreError, ThinnedRow};

/// What a holder claimed and this node compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewProof {
    /// Whose readings.
    pub origin: NodeId,
    /// Civil day of `event_at` in Beijing, `2026-11-30`.
    pub day: String,
    /// Who claims it.
    pub holder: NodeId,
    /// Position in the holder's log.
    pub position: u64,
    /// Readings it has.
    pub count: i64,
    /// Sum of their hashes, 32 hexadecimal digits.
    pub sum: String,
    /// What this node had at that position.
    pub ours: Option<(i64, String)>,
    /// The word of the agreement, if it is of a part of the day.
    pub readings: Option<String>,
    /// When, domain time.
    pub at: Timestamp,
}

/// One holder's word about an origin and day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofHolder {
    /// Who.
    pub node: NodeId,
    /// Its name here; empty = unknown.
    pub name: String,
    /// Its level.
    pub level: Option<NodeLevel>,
    /// Position in its log; `None` for this node.
    pub position: Option<i64>,
    /// Readings.
    pub count: i64,
    /// Sum of their hashes.
    pub sum: String,
    /// When it was said.
    pub at: Timestamp,
    /// What the node above it had at the same position, if it compared.
    pub ours: Option<(i64, String)>,
    /// The word of the agreement, if it is of a part of the day.
    pub readings: Option<String>,
    /// What of it gave way to its hours there.
    pub thinned: Option<ThinnedRow>,
}

/// An origin and day with everybody who holds it, the lowest level first and this node last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofDay {
    /// Whose readings.
    pub origin: NodeId,
    /// Its name here; empty = unknown.
    pub origin_name: String,
    /// Civil day in Beijing.
    pub day: String,
    /// Whether all have the same; `None` = it cannot be said yet.
    pub equal: Option<bool>,
    /// Who has what.
    pub holders: Vec<ProofHolder>,
}

impl Store {
    /// Notes a claim and what this node had, and tells the parent.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn put_proof(&self, new: &NewProof) -> Result<(), StoreError> {
        let put = sql("INSERT INTO proof (origin, day, holder, position, n_readings, sum, our_n_readings, our_sum, readings, at_us)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (origin, day, holder) DO UPDATE SET position = excluded.position, n_readings = excluded.n_readings, sum = excluded.sum,
  our_n_readings = excluded.our_n_readings, our_sum = excluded.our_sum, readings = excluded.readings, at_us = excluded.at_us");
        let position = i64::try_from(new.position).map_err(|_| StoreError::Corrupt("log position beyond 63 bits".to_owned()))?;
        let put = put.bind(new.origin).bind(new.day.as_str()).bind(new.holder).bind(position).bind(new.count).bind(new.sum.as_str());
        let put = put.bind(new.ours.as_ref().map(|o| o.0)).bind(new.ours.as_ref().map(|o| o.1.clone()));
        let put = put.bind(new.readings.as_deref()).bind(new.at);
        let mut tx = self.db.begin().await?;
        tx.run(put).await?;
        let mut told = crate::feed::Told::default();
        told.proof(new.origin, &new.day, new.holder);
        let put = told.put(&mut tx, self.network.get()).await?;
        tx.commit().await?;
        self.network.grew(put);
        Ok(())
    }

    /// Days with what their holders said, newest day first; optionally of one origin and between two days, inclusive. Empty for an asker who is not
    /// node-wide.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`].
    pub async fn proofs(
        &self,
        scope: &Scope,
        origin: Option<NodeId>,
        from: Option<&str>,
        to: Option<&str>,
        paging: &Paging,
    ) -> Result<Page<ProofDay>, StoreError> {
        if !scope.node_wide() {
            return Ok(Page { items: Vec::new(), next: None });
        }
        let mut q =
            sql("SELECT p.origin, p.day, MAX(n.name) AS origin_name FROM proof AS p LEFT JOIN node AS n ON n.id = p.origin WHERE 1 = 1");
        if let Some(origin) = origin {
            q.push("\n  AND p.origin = {}", &[&origin]);
        }
        if let Some(from) = from {
            q.push("\n  AND p.day >= {}", &[&from]);
        }
        if let Some(to) = to {
            q.push("\n  AND p.day <= {}", &[&to]);
        }
        if let Some(cursor) = &paging.cursor {
            let (day, after) = cursor.split_once('_').ok_or(StoreError::Cursor)?;
            let after: NodeId = after.parse().map_err(|_| StoreError::Cursor)?;
            q.push("\n  AND (p.day < {} OR (p.day = {} AND p.origin > {}))", &[&day, &day, &after]);
        }
        q.push("\nGROUP BY p.origin, p.day\nORDER BY p.day DESC, p.origin\nLIMIT {}", &[&paging.fetch()]);
        let cursor = |row: &Row| Ok(format!("{}_{}", row.get::<String>("day")?, row.get::<NodeId>("origin")?));
        let mut page = paging.page(self.db.rows(q).await?, cursor, |row| {
            let origin_name: Option<String> = row.get("origin_name")?;
            Ok(ProofDay {
                origin: row.get("origin")?,
                origin_name: origin_name.unwrap_or_default(),
                day: row.get("day")?,
                equal: None,
                holders: Vec::new(),
            })
        })?;
        self.fill_holders(&mut page.items).await?;
        Ok(page)
    }

    /// One origin and day.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], also for an asker who is not node-wide, [`StoreError::Database`].
    pub async fn proof(&self, scope: &Scope, origin: NodeId, day: &str) -> Result<ProofDay, StoreError> {
        let one = Paging { cursor: None, limit: 1 };
        self.proofs(scope, Some(origin), Some(day), Some(day), &one).await?.items.pop().ok_or(StoreError::NotFound)
    }

    /// The newest day of each origin that it was said about, and whether all have the same.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn newest_proofs(&self) -> Result<Vec<ProofDay>, StoreError> {
        let q = sql("SELECT p.origin, MAX(p.day) AS day FROM proof AS p GROUP BY p.origin ORDER BY p.origin");
        let mut days = Vec::new();
        for row in self.db.rows(q).await? {
            days.push(ProofDay {
                origin: row.get("origin")?,
                origin_name: String::new(),
                day: row.get("day")?,
                equal: None,
                holders: Vec::new(),
            });
        }
        self.fill_holders(&mut days).await?;
        Ok(days)
    }

    async fn fill_holders(&self, days: &mut [ProofDay]) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (days.iter().map(|d| d.day.clone()).min(), days.iter().map(|d| d.day.clone()).max()) else {
            return Ok(());
        };
        let own = self.network.get().own;
        let mut origins: Vec<NodeId> = days.iter().map(|d| d.origin).collect();
        origins.sort_unstable();
        origins.dedup();
        let mut found: std::collections::BTreeMap<(NodeId, String), Vec<(ProofHolder, bool)>> = std::collections::BTreeMap::new();
        for piece in origins.chunks(crate::db::PIECE) {
            let mut q = sql(
                "SELECT p.origin, p.day, p.holder, p.position, p.n_readings, p.sum, p.our_n_readings, p.our_sum, p.readings, p.at_us, n.name, n.level,
  CASE n.relation WHEN 'child' THEN 1 ELSE 0 END AS is_child
FROM proof AS p LEFT JOIN node AS n ON n.id = p.holder WHERE p.day >= $1 AND p.day <= $2",
            )
            .bind(first.as_str())
            .bind(last.as_str());
            q.and_in("p.origin", piece);
            for row in self.db.rows(q).await? {
                let (name, level): (Option<String>, Option<String>) = (row.get("name")?, row.get("level")?);
                let (n, sum): (Option<i64>, Option<String>) = (row.get("our_n_readings")?, row.get("our_sum")?);
                let holder = ProofHolder {
                    node: row.get("holder")?,
                    name: name.unwrap_or_default(),
                    level: level.as_deref().and_then(NodeLevel::parse),
                    position: row.get("position")?,
                    count: row.get("n_readings")?,
                    sum: row.get("sum")?,
                    at: row.get("at_us")?,
                    ours: n.zip(sum),
                    readings: row.get("readings")?,
                    thinned: None,
                };
                let is_child: bool = row.get("is_child")?;
                found.entry((row.get("origin")?, row.get("day")?)).or_default().push((holder, is_child));
            }
        }
        let mut thinned = std::collections::BTreeMap::new();
        for origin in &origins {
            let rows = self.thinned_between(*origin, &first, &last).await?;
            thinned.extend(rows.into_iter().map(|row| ((row.origin, row.day.clone(), row.holder), row)));
        }
        let own_row = self.db.row(sql("SELECT name, level FROM node WHERE relation = 'self'")).await?;
        let (own_name, own_level) = match &own_row {
            Some(row) => (row.get("name")?, Some(row.word("level", NodeLevel::parse)?)),
            None => (String::new(), None),
        };
        for day in days {
            let mut holders = found.remove(&(day.origin, day.day.clone())).unwrap_or_default();
            holders.sort_by_key(|(h, _)| (h.node != day.origin, h.level, h.node));
            // What a child claimed was compared here; what it passed on, there.
            let compared = holders.iter().filter(|(h, _)| h.ours.is_some()).max_by_key(|(h, is_child)| (*is_child, h.at));
            let compared = compared.map(|(h, _)| h.clone());
            let mut holders: Vec<ProofHolder> = holders.into_iter().map(|(h, _)| h).collect();
            // Without the origin's own word nothing is known of what it has.
            day.equal = if holders.iter().any(|h| h.node == day.origin) { equal(&holders) } else { None };
            if let (Some(own), Some(compared)) = (own, compared)
                && let Some((count, sum)) = compared.ours
            {
                let (name, level) = (own_name.clone(), own_level);
                holders.push(ProofHolder {
                    node: own,
                    name,
                    level,
                    position: None,
                    count,
                    sum,
                    at: compared.at,
                    ours: None,
                    readings: compared.readings,
                    thinned: None,
                });
            }
            for holder in &mut holders {
                holder.thinned = thinned.remove(&(day.origin, day.day.clone(), holder.node));
            }
            day.holders = holders;
        }
        Ok(())
    }
}

/// Whether all have the same: each level had, at the position that the one below named, what that one claimed. `None` = one was not compared yet.
fn equal(holders: &[ProofHolder]) -> Option<bool> {
    let compared: Vec<Option<bool>> = holders.iter().map(|h| h.ours.as_ref().map(|(n, sum)| *n == h.count && *sum == h.sum)).collect();
    if compared.contains(&Some(false)) {
        return Some(false);
    }
    compared.iter().all(Option::is_some).then_some(true)
}
