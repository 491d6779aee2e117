//! Administrative divisions, as the region pack lists them, and what follows when a code is replaced. Public facts: they need no scope.
//!
//! What is there now (enterprises, vehicles, records, grants) moves to the new code by an audited act of the node; what happened (alarms,
//! events, audit, archived days) keeps the code of its time (ADR 0015). Start at [`Store::redivide`].

use anlan_model::noun::Region;
use anlan_model::{EnterpriseId, RegionCode, Scope, Timestamp, VehicleId};
use serde_json::{Value as Json, json};

use crate::db::{Row, sql};
use crate::{Store, StoreError};

/// Rows moved in one transaction: others get their turn between two.
pub(crate) const MOVED_AT_ONCE: i64 = 200;

/// A code and the one that its territory has from a day on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redivision {
    /// Not in force any more.
    pub from: RegionCode,
    /// In force.
    pub to: RegionCode,
    /// First day without the old one, ISO.
    pub since: String,
}

impl Redivision {
    /// `detail` of an audit entry, with the reason of the change.
    pub(crate) fn reason(&self, mut detail: Json) -> Json {
        detail["redivision"] = json!({"from": self.from, "to": self.to, "since": self.since});
        detail
    }
}

/// What was moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// With their records.
    pub enterprises: Vec<EnterpriseId>,
    /// Without an operator, or with a stale copy of its division.
    pub vehicles: Vec<VehicleId>,
    /// Records of the division itself.
    pub records: u64,
    /// People with a grant there.
    pub people: u64,
    /// Shifts of its rotas that are not over.
    pub duties: u64,
}

impl Moved {
    /// Whether there was nothing to move.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Store {
    /// Sets divisions; known codes are changed, none is removed.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn put_regions(&self, regions: impl IntoIterator<Item = &Region>) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        for region in regions {
            let put = sql("INSERT INTO region (code, name, name_en, kind, valid_from, valid_to, became, confidence)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (code) DO UPDATE SET name = excluded.name, name_en = excluded.name_en, kind = excluded.kind, valid_from = excluded.valid_from,
  valid_to = excluded.valid_to, became = excluded.became, confidence = excluded.confidence");
            let put = put.bind(&region.code).bind(region.name.as_str()).bind(region.name_en.as_str()).bind(region.kind.as_str());
            let put = put.bind(region.valid_from.map(|day| day.to_string())).bind(region.valid_to.map(|day| day.to_string()));
            tx.run(put.bind(region.became.as_ref()).bind(region.confidence.as_str())).await?;
        }
        tx.commit().await
    }

    /// All divisions in order of their codes.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn regions(&self) -> Result<Vec<Region>, StoreError> {
        let q = "SELECT code, name, name_en, kind, valid_from, valid_to, became, confidence FROM region ORDER BY code";
        let day = |row: &Row, name: &str| {
            let text: Option<String> = row.get(name)?;
            text.map(|text| text.parse().map_err(|_| StoreError::Corrupt(format!("column {name} holds no day: {text}")))).transpose()
        };
        let read = |row: &Row| {
            Ok(Region {
                code: row.get("code")?,
                name: row.get("name")?,
                name_en: row.get("name_en")?,
                kind: row.get("kind")?,
                valid_from: day(row, "valid_from")?,
                valid_to: day(row, "valid_to")?,
                became: row.get("became")?,
                confidence: row.get("confidence")?,
            })
        };
        self.db.rows(sql(q)).await?.iter().map(read).collect()
    }

    /// Moves what is in a division whose code was replaced, each row with an entry in the audit. Running twice does no harm: there is nothing
    /// left then. Grants come first, so that nobody loses sight of a row between two transactions.
    ///
    /// # Errors
    /// [`StoreError::Database`]; what was moved until then stays moved.
    pub async fn redivide(&self, change: &Redivision, now: Timestamp) -> Result<Moved, StoreError> {
        let mut moved = Moved::default();
        let node = Scope::node();
        loop {
            let mut tx = self.change(&node, now).await?;
            let n = crate::user::redivide(&mut tx, change).await?;
            tx.commit().await?;
            moved.people += n;
            if n == 0 {
                break;
            }
        }
        loop {
            let mut tx = self.change(&node, now).await?;
            let n = crate::api_key::redivide(&mut tx, change).await?;
            tx.commit().await?;
            if n == 0 {
                break;
            }
        }
        loop {
            let mut tx = self.change(&node, now).await?;
            let ids = crate::enterprise::redivide(&mut tx, change).await?;
            tx.commit().await?;
            if ids.is_empty() {
                break;
            }
            moved.enterprises.extend(ids);
        }
        loop {
            let mut tx = self.change(&node, now).await?;
            let ids = crate::vehicle::redivide(&mut tx, change).await?;
            tx.commit().await?;
            if ids.is_empty() {
                break;
            }
            moved.vehicles.extend(ids);
        }
        loop {
            let mut tx = self.change_records(&node, now).await?;
            let n = tx.redivide(change).await?;
            tx.commit().await?;
            moved.records += n;
            if n == 0 {
                break;
            }
        }
        loop {
            let n = crate::duty::redivide(self, change, now).await?;
            moved.duties += n;
            if n == 0 {
                break;
            }
        }
        crate::order::redivide(self, change, now).await?;
        Ok(moved)
    }
}
