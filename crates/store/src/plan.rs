//! Facts and decisions behind plans (规划): rows that figures are reckoned from, and what is decided beside the document.
//!
//! A fact is never changed or deleted; another revises it, so that what was said before stays to be seen. Whether a row fits the others is asked of
//! [`Facts`] in the transaction that writes it. What accidents and other records tell is not kept here. Start at [`Store::record_facts`].

use std::collections::BTreeMap;

use anlan_domain::decimal;
use anlan_domain::indicator::{Fact, Facts, Indicators, Mark};
use anlan_domain::pack::PackError;
use anlan_model::{RegionCode, Scope, Timestamp, UserId};
use serde_json::{Value as Json, json};

use crate::audit::{Change, Entry, Holder, and_equal, hex_of};
use crate::db::{Row, Sql, sql};
use crate::scope::Owner;
use crate::{Page, Paging, Store, StoreError};

/// Rows of one statement.
const ROWS: usize = 80;
/// Facts have no enterprise.
const OWNER: Owner = Owner { enterprise: "NULL", region: "f.region", sector: "f.sector" };

/// A fact with who recorded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactRow {
    /// In order of writing.
    pub n: i64,
    /// The row.
    pub fact: Fact,
    /// Id of the row that takes its place, if one does.
    pub revised_by: Option<String>,
    /// Name of who recorded it.
    pub recorded_by: String,
    /// When.
    pub recorded_at: Timestamp,
}

/// Which facts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FactFilter {
    /// Word of the source.
    pub source: Option<String>,
    /// In this division or below it.
    pub region: Option<RegionCode>,
    /// Of this calendar year.
    pub year: Option<i16>,
}

/// Why facts were not recorded.
#[derive(Debug, thiserror::Error)]
pub enum FactError {
    /// One of them does not fit: place in what was handed over, and what is wrong.
    #[error("row {0}: {1}")]
    Unfit(usize, PackError),
    /// The asker may not record it.
    #[error("row {0} is outside of the scope")]
    Outside(usize),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How a decision stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecisionState {
    /// 待批准.
    Proposed,
    /// 已批准: in force.
    Approved,
    /// 未批准.
    Refused,
}

impl DecisionState {
    /// The word on the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Approved => "approved",
            Self::Refused => "refused",
        }
    }
    fn parse(word: &str) -> Option<Self> {
        [Self::Proposed, Self::Approved, Self::Refused].into_iter().find(|state| state.as_str() == word)
    }
}

/// Something decided, or to be decided, beside the document of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionRow {
    /// Id.
    pub id: String,
    /// Word of the plan.
    pub plan: String,
    /// `path`, `part`, `adjustment`, `covered`.
    pub kind: String,
    /// Id of the target, or word of the source that is vouched for.
    pub subject: String,
    /// As in a `plan_supplement.toml`.
    pub body: Json,
    /// How it stands.
    pub state: DecisionState,
    /// Who proposed it; `None` = the node itself.
    pub proposed_by: Option<UserId>,
    /// The name.
    pub proposed_by_name: String,
    /// When.
    pub proposed_at: Timestamp,
    /// Name of who decided.
    pub decided_by_name: Option<String>,
    /// When.
    pub decided_at: Option<Timestamp>,
    /// Why it was refused.
    pub opinion: String,
}

/// A decision to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDecision {
    /// Id.
    pub id: String,
    /// Word of the plan.
    pub plan: String,
    /// `path`, `part`, `adjustment`, `covered`.
    pub kind: &'static str,
    /// Id of the target, or word of the source.
    pub subject: String,
    /// As in a `plan_supplement.toml`.
    pub body: Json,
    /// Whose the plan is, for the audit.
    pub region: Option<RegionCode>,
}

const FACTS: &str = "SELECT f.n, f.id, f.source, f.happened_on, f.known_on, f.region, f.sector, f.value, f.revises, f.mark, f.note, f.recorded_by, f.recorded_at_us,
  r.id AS revised_by
FROM fact AS f
LEFT JOIN fact AS r ON r.revises = f.id
WHERE 1 = 1";
const DECISIONS: &str = "SELECT d.id, d.plan, d.kind, d.subject, d.body, d.state, d.proposed_by, d.proposed_by_name, d.proposed_at_us, d.decided_by_name, d.decided_at_us,
  d.opinion
FROM plan_decision AS d
WHERE 1 = 1";

impl Store {
    /// A page of facts under the scope, the newest first.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`].
    pub async fn facts(&self, scope: &Scope, filter: &FactFilter, paging: &Paging) -> Result<Page<FactRow>, StoreError> {
        let mut q = sql(FACTS);
        q.and_visible(scope, OWNER);
        and_equal(&mut q, "f.source", filter.source.as_ref());
        if let Some(region) = &filter.region {
            let (from, to) = region.range();
            q.push("\n  AND f.region >= {} AND f.region < {}", &[&from, &to]);
        }
        if let Some(year) = filter.year {
            q.push("\n  AND f.happened_on >= {} AND f.happened_on <= {}", &[&format!("{year:04}-01-01"), &format!("{year:04}-12-31")]);
        }
        if let Some(n) = paging.after_id()? {
            q.push("\n  AND f.n < {}", &[&n]);
        }
        q.push("\nORDER BY f.n DESC\nLIMIT {}", &[&paging.fetch()]);
        paging.page(self.db.rows(q).await?, |row| Ok(row.get::<i64>("n")?.to_string()), fact)
    }

    /// Every fact, in the order of writing: what figures are reckoned from. For the node alone; figures are shown to who may see their territory.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn all_facts(&self) -> Result<Vec<FactRow>, StoreError> {
        self.db.rows(ordered(None)).await?.iter().map(fact).collect()
    }

    /// The number that counts every fact and every decision, so that what was reckoned before can be told from what would be now.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn facts_end(&self) -> Result<(i64, i64), StoreError> {
        let q = sql("SELECT COALESCE((SELECT MAX(n) FROM fact), 0) AS facts,
  (SELECT COUNT(*) + COUNT(decided_at_us) FROM plan_decision) AS decisions");
        let row = self.db.row(q).await?.ok_or(StoreError::NotFound)?;
        Ok((row.get("facts")?, row.get("decisions")?))
    }

    /// Records facts, all or none, in one change.
    ///
    /// # Errors
    /// [`FactError::Unfit`] naming the first that does not fit those that are there, [`FactError::Outside`], [`FactError::Store`].
    pub async fn record_facts(&self, scope: &Scope, facts: &[Fact], indicators: &Indicators, now: Timestamp) -> Result<(), FactError> {
        let mut change = self.change(scope, now).await?;
        if let Some(place) = facts.iter().position(|fact| !may_hold(scope, fact)) {
            return Err(FactError::Outside(place));
        }
        let sources: std::collections::BTreeSet<&str> = facts.iter().map(|fact| fact.source.as_str()).collect();
        let (mut known, mut revised) = (Facts::default(), Vec::new());
        for source in sources {
            for row in change.tx.rows(ordered(Some(source))).await? {
                // What is there fitted when it was written; under other definitions it may not, and then is beside the question.
                let _ = known.add(self::fact(&row)?.fact, indicators);
            }
        }
        for (place, fact) in facts.iter().enumerate() {
            // What is somebody else's is not taken from them by a revision.
            if let Some(before) = known.get(&fact.revises) {
                if !may_hold(scope, before) {
                    return Err(FactError::Outside(place));
                }
                revised.push(before.clone());
            }
            known.add(fact.clone(), indicators).map_err(|wrong| FactError::Unfit(place, wrong))?;
        }
        insert(&mut change, facts).await?;
        let rows: Vec<Json> = facts.iter().map(|fact| json!(fact)).collect();
        // Whoever lost a row by it sees that too.
        let holder = Holder { enterprise: None, region: common_region(facts.iter().chain(&revised)), sector: None };
        let entry = match &facts {
            [one] => Entry { action: "record", noun: "fact", subject: one.id.clone(), detail: json!(one), row: json!(one), holder },
            _ => Entry {
                action: "record",
                noun: "fact",
                subject: facts.first().map(|first| first.id.clone()).unwrap_or_default(),
                detail: json!({ "rows": facts.len(), "sha256": hex_of(json!(rows).to_string().as_bytes()) }),
                row: json!(rows),
                holder,
            },
        };
        change.record(entry).await?;
        Ok(change.commit().await?)
    }

    /// What tells whether any record of a kind changed: how many there are, the sum of their revisions, of what they say, and of where they are. An
    /// enterprise that moves, or a copy that is told anew, changes one of them.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn records_end(&self, kind: &str) -> Result<[i64; 4], StoreError> {
        let q = sql("SELECT COUNT(*) AS n, CAST(COALESCE(SUM(revision), 0) AS BIGINT) AS revisions,
  CAST(COALESCE(SUM(LENGTH(body) + LENGTH(state) + updated_at_us % 1000000007), 0) AS BIGINT) AS bodies,
  CAST(COALESCE(SUM((CAST(region AS BIGINT) % 1000003) * (id % 1009 + 1)), 0) AS BIGINT) AS places
FROM record WHERE kind = $1 AND region IS NOT NULL AND region <> ''");
        let row = self.db.row(q.bind(kind)).await?.ok_or(StoreError::NotFound)?;
        Ok([row.get("n")?, row.get("revisions")?, row.get("bodies")?, row.get("places")?])
    }

    /// What tells of each of these kinds whether anything that is counted of it changed: how many records, the sum of their revisions, of when they
    /// changed or were told, and of where they are. Bodies are not looked at: what is counted changes by acts alone.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn records_ends(&self, kinds: &[String]) -> Result<BTreeMap<String, [i64; 4]>, StoreError> {
        if kinds.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut q = sql("SELECT kind, COUNT(*) AS n, CAST(COALESCE(SUM(revision), 0) AS BIGINT) AS revisions,
  CAST(COALESCE(SUM(updated_at_us % 1000000007 + COALESCE(told_at_us, 0) % 1000000007), 0) AS BIGINT) AS times,
  CAST(COALESCE(SUM((CAST(region AS BIGINT) % 1000003) * (id % 1009 + 1)), 0) AS BIGINT) AS places
FROM record WHERE region IS NOT NULL AND region <> ''");
        q.and_in("kind", kinds);
        q.push("\nGROUP BY kind", &[]);
        let read = |row: &Row| Ok((row.get("kind")?, [row.get("n")?, row.get("revisions")?, row.get("times")?, row.get("places")?]));
        self.db.rows(q).await?.iter().map(read).collect()
    }

    /// Decisions about a plan, in the order of being proposed.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn plan_decisions(&self, plan: &str) -> Result<Vec<DecisionRow>, StoreError> {
        let mut q = sql(DECISIONS);
        q.push("\n  AND d.plan = {}\nORDER BY d.n", &[&plan]);
        self.db.rows(q).await?.iter().map(decision).collect()
    }

    /// Proposes decisions, all or none. With `approved` they are in force at once: of whoever sets up a demonstration.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn propose_decisions(&self, scope: &Scope, new: &[NewDecision], approved: bool, now: Timestamp) -> Result<(), StoreError> {
        let mut change = self.change(scope, now).await?;
        let state = if approved { DecisionState::Approved } else { DecisionState::Proposed };
        for new in new {
            let insert = sql("INSERT INTO plan_decision (id, plan, kind, subject, body, state, proposed_by, proposed_by_name, proposed_at_us, decided_by_name, decided_at_us)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)");
            let insert = insert.bind(new.id.as_str()).bind(new.plan.as_str()).bind(new.kind).bind(new.subject.as_str());
            let insert = insert.bind(new.body.to_string()).bind(state.as_str()).bind(scope.user).bind(scope.name.as_str()).bind(now);
            let insert = insert.bind(approved.then(|| scope.name.clone())).bind(approved.then_some(now));
            change.tx.run(insert).await?;
            let row = json!({ "id": new.id, "plan": new.plan, "kind": new.kind, "subject": new.subject, "body": new.body, "state": state.as_str() });
            let holder = Holder { enterprise: None, region: new.region.clone(), sector: None };
            let entry = Entry { action: "propose", noun: "plan_decision", subject: new.id.clone(), detail: row.clone(), row, holder };
            change.record(entry).await?;
        }
        change.commit().await
    }

    /// Approves or refuses what was proposed; `body` is what comes into force, `opinion` says why it is refused.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Stale`] if it was decided meanwhile, [`StoreError::Database`].
    pub async fn decide_plan(
        &self,
        scope: &Scope,
        new: &NewDecision,
        approve: bool,
        opinion: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut change = self.change(scope, now).await?;
        let state = if approve { DecisionState::Approved } else { DecisionState::Refused };
        let update =
            sql("UPDATE plan_decision SET state = $1, body = $2, decided_by = $3, decided_by_name = $4, decided_at_us = $5, opinion = $6
WHERE id = $7 AND state = 'proposed' RETURNING id");
        let update = update.bind(state.as_str()).bind(new.body.to_string()).bind(scope.user).bind(scope.name.as_str()).bind(now);
        if change.tx.row(update.bind(opinion).bind(new.id.as_str())).await?.is_none() {
            return Err(StoreError::Stale);
        }
        let row = json!({ "id": new.id, "plan": new.plan, "kind": new.kind, "subject": new.subject, "body": new.body, "state": state.as_str(), "opinion": opinion });
        let action = if approve { "approve" } else { "refuse" };
        let holder = Holder { enterprise: None, region: new.region.clone(), sector: None };
        change.record(Entry { action, noun: "plan_decision", subject: new.id.clone(), detail: row.clone(), row, holder }).await?;
        change.commit().await
    }
}

/// Whether a row lies in the asker's territory.
fn may_hold(scope: &Scope, fact: &Fact) -> bool {
    let sector = Some(fact.sector.as_str()).filter(|sector| !sector.is_empty());
    scope.holds(None, RegionCode::new(&fact.region).as_ref(), sector)
}

fn ordered(source: Option<&str>) -> Sql {
    let mut q = sql(FACTS);
    if let Some(source) = source {
        q.push("\n  AND f.source = {}", &[&source]);
    }
    q.push("\nORDER BY f.n", &[]);
    q
}

async fn insert(change: &mut Change<'_>, facts: &[Fact]) -> Result<(), StoreError> {
    for piece in facts.chunks(ROWS) {
        let mut q = sql(
            "INSERT INTO fact (id, source, happened_on, known_on, region, sector, value, revises, mark, note, recorded_by, recorded_at_us) VALUES",
        );
        for (i, fact) in piece.iter().enumerate() {
            let revises = Some(fact.revises.as_str()).filter(|id| !id.is_empty());
            q.push(
                if i == 0 {
                    "\n({}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {})"
                } else {
                    ",\n({}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {})"
                },
                &[
                    &fact.id.as_str(),
                    &fact.source.as_str(),
                    &fact.on.to_string(),
                    &fact.known_on.to_string(),
                    &fact.region.as_str(),
                    &fact.sector.as_str(),
                    &fact.value.to_string(),
                    &revises,
                    &fact.mark.as_str(),
                    &fact.note.as_str(),
                    &change.scope.name.as_str(),
                    &change.now,
                ],
            );
        }
        change.tx.run(q).await?;
    }
    Ok(())
}

/// The division that all lie in, as far as their codes begin alike; `None` = no division holds all.
fn common_region<'a>(facts: impl IntoIterator<Item = &'a Fact>) -> Option<RegionCode> {
    let mut facts = facts.into_iter();
    let first = facts.next()?.region.as_str();
    let common = facts.fold(first.len(), |n, fact| n.min(first.bytes().zip(fact.region.bytes()).take_while(|(a, b)| a == b).count()));
    // Codes of divisions have 2, 4, 6, 9 or 12 digits.
    let n = [12, 9, 6, 4, 2].into_iter().find(|n| *n <= common)?;
    RegionCode::new(first.get(..n)?)
}

fn fact(row: &Row) -> Result<FactRow, StoreError> {
    let day = |name: &str| -> Result<jiff::civil::Date, StoreError> { row.word(name, |text| text.parse().ok()) };
    Ok(FactRow {
        n: row.get("n")?,
        fact: Fact {
            id: row.get("id")?,
            source: row.get("source")?,
            on: day("happened_on")?,
            region: row.get("region")?,
            sector: row.get("sector")?,
            value: row.word("value", |text| decimal::parse(text, decimal::FACT_DIGITS_MAX))?,
            known_on: day("known_on")?,
            revises: row.get::<Option<String>>("revises")?.unwrap_or_default(),
            mark: row.word("mark", Mark::parse)?,
            note: row.get("note")?,
        },
        revised_by: row.get("revised_by")?,
        recorded_by: row.get("recorded_by")?,
        recorded_at: row.get("recorded_at_us")?,
    })
}

fn decision(row: &Row) -> Result<DecisionRow, StoreError> {
    Ok(DecisionRow {
        id: row.get("id")?,
        plan: row.get("plan")?,
        kind: row.get("kind")?,
        subject: row.get("subject")?,
        body: row.json("body")?,
        state: row.word("state", DecisionState::parse)?,
        proposed_by: row.get("proposed_by")?,
        proposed_by_name: row.get("proposed_by_name")?,
        proposed_at: row.get("proposed_at_us")?,
        decided_by_name: row.get("decided_by_name")?,
        decided_at: row.get("decided_at_us")?,
        opinion: row.get("opinion")?,
    })
}
