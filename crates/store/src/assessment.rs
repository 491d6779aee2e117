//! Assessments (考核) of a year: their units, what people gave, and the snapshot that a leader froze.
//!
//! What is reckoned out of registers and figures is not kept here until it is frozen; then it is kept byte for byte and never changed. Who holds one of
//! the units sees the assessment; what of it is decided above. Start at [`Store::assessments`].

use anlan_domain::decimal::{self, Decimal};
use anlan_model::{RegionCode, Scope, Timestamp, UserId};
use serde_json::{Value as Json, json};

use crate::audit::{Change, Entry, Holder};
use crate::db::{Row, Sql, sql};
use crate::scope::Owner;
use crate::{Store, StoreError};

const OWNER: Owner = Owner { enterprise: "NULL", region: "u.region", sector: "NULL" };
const COLUMNS: &str =
    "a.id, a.table_id, a.table_json, a.year, a.region, a.state, a.revision, a.made_by_name, a.made_at_us, a.content, a.digest, a.signature,
  a.public_key, a.frozen_by_name, a.frozen_at_us";

/// An assessment.
#[derive(Clone, Debug, PartialEq)]
pub struct AssessmentRow {
    /// Its id.
    pub id: String,
    /// Word of its table.
    pub table_id: String,
    /// The table as it was when it began.
    pub table: Json,
    /// The year.
    pub year: i16,
    /// Whose divisions below are assessed.
    pub region: RegionCode,
    /// Counts every change.
    pub revision: i64,
    /// Who began it.
    pub made_by: String,
    /// When.
    pub made_at: Timestamp,
    /// What was signed; `None` = it is open.
    pub frozen: Option<FrozenAssessment>,
}

/// What was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrozenAssessment {
    /// Canonical JSON, byte for byte.
    pub content: String,
    /// Its SHA-256, hexadecimal.
    pub digest: String,
    /// The node's signature over the content, Base64.
    pub signature: String,
    /// By this key.
    pub public_key: String,
    /// Who froze it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// A unit of an assessment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssessmentUnit {
    /// Its division.
    pub region: RegionCode,
    /// Why it is left out; empty = it is not.
    pub excluded: String,
}

/// What a person gave.
#[derive(Clone, Debug, PartialEq)]
pub struct AssessmentScore {
    /// The unit.
    pub region: RegionCode,
    /// Word of the item or veto.
    pub item: String,
    /// Points; of a veto 1 = it is met.
    pub points: Decimal,
    /// Why.
    pub reason: String,
    /// Records by register and id.
    pub evidence: Json,
    /// Who gave it.
    pub by: Option<UserId>,
    /// Their name.
    pub by_name: String,
    /// When.
    pub at: Timestamp,
    /// Who confirmed it, and when.
    pub confirmed: Option<(String, Timestamp)>,
}

impl Store {
    /// Assessments with a unit under the scope, newest year first.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn assessments(&self, scope: &Scope) -> Result<Vec<AssessmentRow>, StoreError> {
        let mut q = visible(scope);
        q.push("\nORDER BY a.year DESC, a.n DESC", &[]);
        self.db.rows(q).await?.iter().map(read).collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], also if no unit of it is under the scope; [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn assessment(&self, scope: &Scope, id: &str) -> Result<AssessmentRow, StoreError> {
        let mut q = visible(scope);
        q.push("\n  AND a.id = {}", &[&id]);
        read(&self.db.row(q).await?.ok_or(StoreError::NotFound)?)
    }

    /// Units of an assessment under the scope, in order of codes.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn assessment_units(&self, scope: &Scope, id: &str) -> Result<Vec<AssessmentUnit>, StoreError> {
        let mut q = sql("SELECT u.region, u.excluded FROM assessment_unit AS u WHERE u.assessment = $1").bind(id);
        q.and_visible(scope, OWNER);
        q.push("\nORDER BY u.region", &[]);
        let unit = |row: &Row| Ok(AssessmentUnit { region: row.get("region")?, excluded: row.get("excluded")? });
        self.db.rows(q).await?.iter().map(unit).collect()
    }

    /// What people gave the units under the scope, in order of codes and words.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn assessment_scores(&self, scope: &Scope, id: &str) -> Result<Vec<AssessmentScore>, StoreError> {
        let mut q = sql("SELECT u.region, u.item, u.points, u.reason, u.evidence, u.scored_by, u.scored_by_name, u.scored_at_us, u.confirmed_by_name, u.confirmed_at_us
FROM assessment_score AS u
WHERE u.assessment = $1")
        .bind(id);
        q.and_visible(scope, OWNER);
        q.push("\nORDER BY u.region, u.item", &[]);
        self.db.rows(q).await?.iter().map(score).collect()
    }

    /// Begins an assessment of these units.
    ///
    /// # Errors
    /// [`StoreError::Taken`] if there is one of this table, year and division; [`StoreError::Database`].
    pub async fn begin_assessment(
        &self,
        scope: &Scope,
        row: &AssessmentRow,
        units: &[RegionCode],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut change = self.change(scope, now).await?;
        let insert =
            sql("INSERT INTO assessment (id, table_id, table_json, year, region, state, revision, made_by, made_by_name, made_at_us)
VALUES ($1, $2, $3, $4, $5, 'open', 1, $6, $7, $8)
ON CONFLICT (table_id, year, region) DO NOTHING
RETURNING id");
        let insert = insert.bind(row.id.as_str()).bind(row.table_id.as_str()).bind(row.table.to_string()).bind(i64::from(row.year));
        let insert = insert.bind(row.region.clone()).bind(scope.user).bind(scope.name.as_str()).bind(now);
        if change.tx.row(insert).await?.is_none() {
            return Err(StoreError::Stale);
        }
        for unit in units {
            let insert = sql("INSERT INTO assessment_unit (assessment, region, excluded) VALUES ($1, $2, '')");
            change.tx.run(insert.bind(row.id.as_str()).bind(unit.clone())).await?;
        }
        let said = json!({ "id": row.id, "table": row.table_id, "year": row.year, "region": row.region.as_str(),
            "units": units.iter().map(RegionCode::as_str).collect::<Vec<_>>() });
        noted(&mut change, "begin", &row.id, &row.region, said).await?;
        change.commit().await
    }

    /// Leaves a unit out with a reason, or takes it in again with none.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if the assessment is frozen or was changed meanwhile, [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn exclude_from_assessment(
        &self,
        scope: &Scope,
        of: &AssessmentRow,
        unit: &RegionCode,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut change = self.change(scope, now).await?;
        step(&mut change, of).await?;
        let update = sql("UPDATE assessment_unit SET excluded = $1 WHERE assessment = $2 AND region = $3");
        if change.tx.run(update.bind(reason).bind(of.id.as_str()).bind(unit.clone())).await? == 0 {
            return Err(StoreError::NotFound);
        }
        let said = json!({ "id": of.id, "unit": unit.as_str(), "excluded": reason });
        noted(&mut change, if reason.is_empty() { "include" } else { "exclude" }, &of.id, unit, said).await?;
        change.commit().await
    }

    /// Keeps what somebody gave; nobody has confirmed it.
    ///
    /// # Errors
    /// As [`Store::exclude_from_assessment`].
    pub async fn score_in_assessment(
        &self,
        scope: &Scope,
        of: &AssessmentRow,
        given: &AssessmentScore,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut change = self.change(scope, now).await?;
        step(&mut change, of).await?;
        let put = sql(
            "INSERT INTO assessment_score (assessment, region, item, points, reason, evidence, scored_by, scored_by_name, scored_at_us)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (assessment, region, item) DO UPDATE SET points = excluded.points, reason = excluded.reason, evidence = excluded.evidence,
  scored_by = excluded.scored_by, scored_by_name = excluded.scored_by_name, scored_at_us = excluded.scored_at_us,
  confirmed_by = NULL, confirmed_by_name = NULL, confirmed_at_us = NULL",
        );
        let put = put.bind(of.id.as_str()).bind(given.region.clone()).bind(given.item.as_str()).bind(given.points.to_string());
        let put = put.bind(given.reason.as_str()).bind(given.evidence.to_string()).bind(scope.user).bind(scope.name.as_str()).bind(now);
        change.tx.run(put).await?;
        let said = json!({ "id": of.id, "unit": given.region.as_str(), "item": given.item, "points": given.points.to_string(),
            "reason": given.reason, "evidence": given.evidence });
        noted(&mut change, "score", &of.id, &given.region, said).await?;
        change.commit().await
    }

    /// Confirms what somebody else gave.
    ///
    /// # Errors
    /// As [`Store::exclude_from_assessment`]; [`StoreError::NotFound`] also if nobody gave it, or the asker did.
    pub async fn confirm_in_assessment(
        &self,
        scope: &Scope,
        of: &AssessmentRow,
        unit: &RegionCode,
        item: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut change = self.change(scope, now).await?;
        step(&mut change, of).await?;
        let update = sql("UPDATE assessment_score SET confirmed_by = $1, confirmed_by_name = $2, confirmed_at_us = $3
WHERE assessment = $4 AND region = $5 AND item = $6 AND (scored_by IS NULL OR scored_by <> $7)
RETURNING points");
        let update = update.bind(scope.user).bind(scope.name.as_str()).bind(now).bind(of.id.as_str()).bind(unit.clone()).bind(item);
        let row = change.tx.row(update.bind(scope.user)).await?.ok_or(StoreError::NotFound)?;
        let said = json!({ "id": of.id, "unit": unit.as_str(), "item": item, "points": row.get::<String>("points")? });
        noted(&mut change, "confirm", &of.id, unit, said).await?;
        change.commit().await
    }

    /// Freezes an assessment as it was signed.
    ///
    /// # Errors
    /// As [`Store::exclude_from_assessment`].
    pub async fn freeze_assessment(
        &self,
        scope: &Scope,
        of: &AssessmentRow,
        frozen: &FrozenAssessment,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut change = self.change(scope, now).await?;
        step(&mut change, of).await?;
        let update =
            sql("UPDATE assessment SET state = 'frozen', content = $1, digest = $2, signature = $3, public_key = $4, frozen_by = $5,
  frozen_by_name = $6, frozen_at_us = $7
WHERE id = $8 AND state = 'open'");
        let update = update.bind(frozen.content.as_str()).bind(frozen.digest.as_str()).bind(frozen.signature.as_str());
        let update = update.bind(frozen.public_key.as_str()).bind(scope.user).bind(scope.name.as_str()).bind(now).bind(of.id.as_str());
        if change.tx.run(update).await? == 0 {
            return Err(StoreError::Stale);
        }
        let said = json!({ "id": of.id, "year": of.year, "region": of.region.as_str(), "sha256": frozen.digest, "signature": frozen.signature,
            "key": frozen.public_key, "bytes": frozen.content.len() });
        noted(&mut change, "freeze", &of.id, &of.region, said).await?;
        change.commit().await
    }
}

fn visible(scope: &Scope) -> Sql {
    let mut q =
        sql(&format!("SELECT {COLUMNS}\nFROM assessment AS a\nWHERE EXISTS (SELECT 1 FROM assessment_unit AS u WHERE u.assessment = a.id"));
    q.and_visible(scope, OWNER);
    q.push(")", &[]);
    q
}

/// Counts the change of an open assessment that nobody has changed since it was read.
async fn step(change: &mut Change<'_>, of: &AssessmentRow) -> Result<(), StoreError> {
    let update = sql("UPDATE assessment SET revision = revision + 1 WHERE id = $1 AND revision = $2 AND state = 'open'");
    match change.tx.run(update.bind(of.id.as_str()).bind(of.revision)).await? {
        0 => Err(StoreError::Stale),
        _ => Ok(()),
    }
}

/// Audit entry and outbox.
async fn noted(change: &mut Change<'_>, action: &'static str, id: &str, region: &RegionCode, said: Json) -> Result<(), StoreError> {
    let holder = Holder { enterprise: None, region: Some(region.clone()), sector: None };
    change.record(Entry { action, noun: "assessment", subject: id.to_owned(), detail: said.clone(), row: said, holder }).await
}

fn read(row: &Row) -> Result<AssessmentRow, StoreError> {
    let frozen = match row.get::<Option<String>>("content")? {
        None => None,
        Some(content) => Some(FrozenAssessment {
            content,
            digest: row.get("digest")?,
            signature: row.get("signature")?,
            public_key: row.get("public_key")?,
            by: row.get("frozen_by_name")?,
            at: row.get("frozen_at_us")?,
        }),
    };
    Ok(AssessmentRow {
        id: row.get("id")?,
        table_id: row.get("table_id")?,
        table: row.json("table_json")?,
        year: i16::try_from(row.get::<i64>("year")?).map_err(|_| StoreError::Corrupt("the year of an assessment".to_owned()))?,
        region: row.get("region")?,
        revision: row.get("revision")?,
        made_by: row.get("made_by_name")?,
        made_at: row.get("made_at_us")?,
        frozen,
    })
}

fn score(row: &Row) -> Result<AssessmentScore, StoreError> {
    Ok(AssessmentScore {
        region: row.get("region")?,
        item: row.get("item")?,
        points: row.word("points", |text| decimal::parse(text, decimal::TARGET_DIGITS_MAX))?,
        reason: row.get("reason")?,
        evidence: row.json("evidence")?,
        by: row.get("scored_by")?,
        by_name: row.get("scored_by_name")?,
        at: row.get("scored_at_us")?,
        confirmed: match row.get::<Option<String>>("confirmed_by_name")? {
            None => None,
            Some(name) => Some((name, row.get("confirmed_at_us")?)),
        },
    })
}
