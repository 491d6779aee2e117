//! Starts of this node, and what is numbered anew when a neighbour was told by one that is forgotten. Node-wide, no audit: nobody decides anything here.

use anlan_model::NodeId;

use crate::db::sql;
use crate::feed::Put;
use crate::{Store, StoreError};

/// Starts that are remembered (ours: one a day for 27 years). Of those before them nothing can be said.
const STARTS: i64 = 10_000;

impl Store {
    /// Notes the start of this node that begins, and returns all that are remembered with it: how many times it had started, and which start that was.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] before [`Store::put_self`], [`StoreError::Corrupt`], [`StoreError::Database`].
    pub async fn note_start(&self, id: NodeId, starts: u64, nonce: u64) -> Result<Vec<(u64, u64)>, StoreError> {
        let n = i64::try_from(starts).map_err(|_| StoreError::Corrupt("a node started more often than 63 bits count".to_owned()))?;
        let mut tx = self.db.begin().await?;
        let update = sql("UPDATE node SET starts = $1, nonce = $2 WHERE id = $3").bind(n).bind(nonce.to_string()).bind(id);
        if tx.run(update).await? == 0 {
            return Err(StoreError::NotFound);
        }
        let put = sql("INSERT INTO link_start (starts, nonce) VALUES ($1, $2) ON CONFLICT (starts) DO UPDATE SET nonce = excluded.nonce");
        tx.run(put.bind(n).bind(nonce.to_string())).await?;
        tx.run(sql("DELETE FROM link_start WHERE starts <= $1").bind(n.saturating_sub(STARTS))).await?;
        let rows = tx.rows(sql("SELECT starts, nonce FROM link_start ORDER BY starts")).await?;
        tx.commit().await?;
        let read = |row: &crate::db::Row| {
            let nonce: String = row.get("nonce")?;
            let nonce = nonce.parse().map_err(|_| StoreError::Corrupt("a start of this node".to_owned()))?;
            Ok((row.get::<i64>("starts")?.unsigned_abs(), nonce))
        };
        rows.iter().map(read).collect()
    }

    /// Numbers what is to be told on a way anew, in its order, behind everything that was ever numbered on it; its end then.
    ///
    /// # Errors
    /// [`StoreError::Database`]; then every number is as it was.
    pub async fn number_anew(&self, way: &str) -> Result<i64, StoreError> {
        let base = self.network.get().base;
        let mut tx = self.db.begin().await?;
        // The end first: whoever puts something meanwhile waits for it.
        let take = sql("INSERT INTO link_way (way, seq) VALUES ($1, $2)
ON CONFLICT (way) DO UPDATE SET seq = CASE WHEN link_way.seq < $3 THEN excluded.seq ELSE link_way.seq END
RETURNING seq");
        let behind: i64 = tx.row(take.bind(way).bind(base).bind(base)).await?.ok_or(StoreError::NotFound)?.get("seq")?;
        let number = sql("UPDATE link_feed SET seq = $1 + o.place
FROM (SELECT kind, subject, ROW_NUMBER() OVER (ORDER BY seq) AS place FROM link_feed WHERE way = $2) AS o
WHERE link_feed.way = $3 AND link_feed.kind = o.kind AND link_feed.subject = o.subject");
        let n = tx.run(number.bind(behind).bind(way).bind(way)).await?;
        let end = behind.saturating_add(i64::try_from(n).unwrap_or(i64::MAX));
        tx.run(sql("UPDATE link_way SET seq = $1 WHERE way = $2").bind(end).bind(way)).await?;
        tx.commit().await?;
        self.network.grew(Put::to(way, end));
        Ok(end)
    }
}
