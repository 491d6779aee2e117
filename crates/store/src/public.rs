//! What the public reads of records (公开): the one read without a scope, because whoever asks is nobody.
//!
//! It is bounded by the kind instead ([`anlan_domain::register::Public`]): a row is found only in the states that the kind makes public, from the day on
//! which it does, and only where it is kept itself (a copy is published by its home, or not at all). What is not a field of the kind's list never leaves
//! here; a name leaves as its first character; of what was retracted the day and the reason are left. Start at [`Store::published`].

use std::collections::BTreeMap;

use anlan_domain::register::public::masked;
use anlan_domain::register::{FieldType, Kind, Public};
use anlan_model::{RecordId, RegionCode, Timestamp, UserId};
use serde_json::{Map, Value as Json};

use crate::db::{Row, Sql, sql};
use crate::record::RecordChange;
use crate::{Page, Paging, Store, StoreError};

/// A record as the public reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishedRow {
    /// Id.
    pub id: RecordId,
    /// Number; may be empty.
    pub number: String,
    /// State.
    pub state: String,
    /// It was taken back: no field but the reason is left.
    pub is_retracted: bool,
    /// ISO day on which it came into its state.
    pub entered_on: String,
    /// ISO day or minute since when it is public; `None` = the kind does not say.
    pub since: Option<String>,
    /// Name of the enterprise, where the kind makes it public.
    pub owner: Option<String>,
    /// Where; `None` = everybody's.
    pub region: Option<RegionCode>,
    /// Name of that.
    pub region_name: Option<String>,
    /// Public fields alone; people and masked texts as one character and `*`.
    pub fields: Map<String, Json>,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What else a record must be to be among those that are asked for; it narrows what the kind makes public and never widens it.
#[derive(Clone, Debug)]
pub enum Narrow<'a> {
    /// In this state.
    State(&'a str),
    /// A field of `filter` is one of these texts.
    Among(&'a str, Vec<String>),
    /// A field of `filter` is from the first to the second, both included, compared as texts.
    Between(&'a str, Option<&'a str>, Option<&'a str>),
    /// It last changed at this instant or later.
    ChangedSince(Timestamp),
    /// An evaluation is kept with it ([`Store::published_evaluation`]), and it was not taken back.
    WithEvaluation,
}

impl PublishedRow {
    /// What was taken back before its day nobody has read: that it was is announced to nobody.
    fn was_public(&self) -> bool {
        let day = self.since.as_deref().and_then(|since| since.get(..10));
        !self.is_retracted || day.is_none_or(|day| self.entered_on.as_str() >= day)
    }
}

const COLUMNS: &str =
    "r.id, r.number, r.state, r.region, r.body, r.updated_at_us, n.name AS region_name, e.name AS enterprise_name, d.text AS since";
/// Where they stand in a body.
const FIELDS: &str = "fields";

impl Store {
    /// A page of what the public reads of records of `kind`, newest first, as of `now`: an ISO minute, civil time in Beijing.
    /// Nothing of a kind that makes nothing public. Of those the ones of which all of `narrow` holds.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`].
    pub async fn published(
        &self,
        kind: &Kind,
        now: &str,
        narrow: &[Narrow<'_>],
        paging: &Paging,
    ) -> Result<Page<PublishedRow>, StoreError> {
        let Some(public) = &kind.public else { return Ok(Page { items: Vec::new(), next: None }) };
        let mut q = select(kind, public, now);
        narrowed(&mut q, kind, public, narrow);
        let day = "COALESCE(d.text, '')";
        if let Some(cursor) = &paging.cursor {
            let (since, id) = cursor.split_once(' ').filter(|(since, _)| is_minute(since)).ok_or(StoreError::Cursor)?;
            let id: i64 = id.parse().map_err(|_| StoreError::Cursor)?;
            q.push(&format!("\n  AND {day} <= {{}} AND ({day} < {{}} OR r.id < {{}})"), &[&since, &since, &id]);
        }
        q.push(&format!("\nORDER BY {day} DESC, r.id DESC\nLIMIT {{}}"), &[&paging.fetch()]);
        let cursor = |row: &Row| Ok(format!("{} {}", row.get::<Option<String>>("since")?.unwrap_or_default(), row.get::<i64>("id")?));
        let mut page = paging.page(self.db.rows(q).await?, cursor, |row| read(public, row))?;
        page.items.retain(PublishedRow::was_public);
        self.mask(kind, public, &mut page.items).await?;
        Ok(page)
    }

    /// One record of `kind` as the public reads it now.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for what is not there, not public yet, or not public any more; [`StoreError::Database`].
    pub async fn published_one(&self, kind: &Kind, id: RecordId, now: &str) -> Result<PublishedRow, StoreError> {
        let public = kind.public.as_ref().ok_or(StoreError::NotFound)?;
        let mut q = select(kind, public, now);
        q.push("\n  AND r.id = {}", &[&id]);
        let mut rows = vec![read(public, &self.db.row(q).await?.ok_or(StoreError::NotFound)?)?];
        rows.retain(PublishedRow::was_public);
        self.mask(kind, public, &mut rows).await?;
        rows.pop().ok_or(StoreError::NotFound)
    }

    /// The evaluation that a notice published, as it is kept: its document. `None` = there is none.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn published_evaluation(&self, notice: RecordId) -> Result<Option<String>, StoreError> {
        let q = sql("SELECT p.document FROM published_evaluation AS p WHERE p.record_id = $1 AND p.document IS NOT NULL").bind(notice);
        self.db.row(q).await?.map(|row| row.get("document")).transpose()
    }

    /// Notices of before evaluations were kept, of which none is kept yet.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn notices_to_evaluate(&self) -> Result<Vec<RecordId>, StoreError> {
        let q = sql("SELECT p.record_id FROM published_evaluation AS p WHERE p.document IS NULL ORDER BY p.record_id");
        self.db.rows(q).await?.iter().map(|row| row.get("record_id")).collect()
    }

    /// Keeps the evaluation of one of these, once; with `None` that there is none to be kept.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn evaluate_notice(&self, notice: RecordId, document: Option<&str>, now: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        let q = match document {
            Some(document) => {
                sql("UPDATE published_evaluation SET document = $2, reckoned_at_us = $3 WHERE record_id = $1 AND document IS NULL")
                    .bind(notice)
                    .bind(document)
                    .bind(now)
            }
            None => sql("DELETE FROM published_evaluation WHERE record_id = $1 AND document IS NULL").bind(notice),
        };
        tx.run(q).await?;
        tx.commit().await
    }

    /// Identifiers that were given out for messages of these warnings: record, act, identifier.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn cap_identifiers(&self, warnings: &[RecordId]) -> Result<Vec<(RecordId, String, String)>, StoreError> {
        if warnings.is_empty() {
            return Ok(Vec::new());
        }
        let mut q = sql("SELECT c.record_id, c.step, c.identifier FROM cap_identifier AS c WHERE 1 = 1");
        q.and_in("c.record_id", warnings);
        q.push("\nORDER BY c.record_id, c.step", &[]);
        self.db.rows(q).await?.iter().map(|row| Ok((row.get("record_id")?, row.get("step")?, row.get("identifier")?))).collect()
    }

    /// Names instead of ids, and of names the first character.
    async fn mask(&self, kind: &Kind, public: &Public, rows: &mut [PublishedRow]) -> Result<(), StoreError> {
        let is_person = |id: &str| kind.field(id).is_some_and(|field| matches!(field.of, FieldType::Person));
        let id_of = |value: &Json| value.as_str().and_then(|id| id.parse::<UserId>().ok());
        let people: Vec<UserId> = rows
            .iter()
            .flat_map(|row| public.masked.iter().filter(|id| is_person(id)).filter_map(|id| id_of(row.fields.get(id)?)))
            .collect();
        let names: BTreeMap<UserId, String> = self.names_of(&people).await?.into_iter().collect();
        for row in rows {
            for id in &public.masked {
                let Some(value) = row.fields.remove(id) else { continue };
                let name =
                    if is_person(id) { id_of(&value).and_then(|id| names.get(&id)).cloned() } else { value.as_str().map(str::to_owned) };
                // Nobody of that id any more: nothing is said of them.
                if let Some(name) = name {
                    row.fields.insert(id.clone(), Json::String(masked(&name)));
                }
            }
        }
        Ok(())
    }
}

impl RecordChange<'_> {
    /// Keeps the evaluation that a notice publishes with this act.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn put_evaluation(&mut self, notice: RecordId, document: &str) -> Result<(), StoreError> {
        let now = self.change().now;
        let q = sql("INSERT INTO published_evaluation (record_id, reckoned_at_us, document) VALUES ($1, $2, $3)
ON CONFLICT (record_id) DO UPDATE SET reckoned_at_us = excluded.reckoned_at_us, document = excluded.document");
        self.tx().run(q.bind(notice).bind(now).bind(document)).await.map(drop)
    }

    /// Gives out the first of these identifiers that no message has yet; `None` if each has one.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn give_cap_identifier(&mut self, warning: RecordId, step: &str, wanted: &[String]) -> Result<Option<String>, StoreError> {
        for identifier in wanted {
            let q = sql("INSERT INTO cap_identifier (identifier, record_id, step) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING");
            if self.tx().run(q.bind(identifier).bind(warning).bind(step)).await? > 0 {
                return Ok(Some(identifier.clone()));
            }
        }
        Ok(None)
    }
}

fn narrowed(q: &mut Sql, kind: &Kind, public: &Public, narrow: &[Narrow<'_>]) {
    const OF_FIELD: &str = "\n  AND EXISTS (SELECT 1 FROM record_index AS x WHERE x.record_id = r.id AND x.kind = {} AND x.field = {}";
    for one in narrow {
        match one {
            Narrow::State(state) => {
                q.push("\n  AND r.state = {}", &[state]);
            }
            Narrow::Among(field, texts) => {
                q.push(OF_FIELD, &[&kind.id, field]);
                // Among none there is nothing.
                q.push(if texts.is_empty() { " AND 1 = 0" } else { "" }, &[]);
                q.and_in("x.text", texts);
                q.push(")", &[]);
            }
            Narrow::Between(field, from, to) => {
                q.push(OF_FIELD, &[&kind.id, field]);
                if let Some(from) = from {
                    q.push(" AND x.text >= {}", &[from]);
                }
                if let Some(to) = to {
                    q.push(" AND x.text <= {}", &[to]);
                }
                q.push(")", &[]);
            }
            Narrow::ChangedSince(at) => {
                q.push("\n  AND r.updated_at_us >= {}", &[at]);
            }
            Narrow::WithEvaluation => {
                q.push("\n  AND EXISTS (SELECT 1 FROM published_evaluation AS p WHERE p.record_id = r.id AND p.document IS NOT NULL)", &[]);
                q.and_in("r.state", &public.states);
            }
        }
    }
}

fn select(kind: &Kind, public: &Public, now: &str) -> Sql {
    let mut q = sql(&format!(
        "SELECT {COLUMNS}
FROM record AS r
LEFT JOIN enterprise AS e ON e.id = r.enterprise_id
LEFT JOIN region AS n ON n.code = r.region
LEFT JOIN record_index AS d ON d.record_id = r.id AND d.kind = r.kind AND d.field = $1
WHERE r.kind = $2 AND r.home IS NULL"
    ))
    .bind(public.since.as_deref().unwrap_or_default())
    .bind(kind.id.as_str());
    let states: Vec<String> = public.states.iter().chain(&public.retracted).cloned().collect();
    q.and_in("r.state", &states);
    if public.since.is_some() {
        // A day without an hour is before every hour of it.
        q.push("\n  AND d.text <= {}", &[&now]);
    }
    q
}

/// An ISO day or minute, or nothing.
fn is_minute(text: &str) -> bool {
    text.len() <= 16 && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'T' | b':'))
}

fn read(public: &Public, row: &Row) -> Result<PublishedRow, StoreError> {
    let mut body: Json = row.json("body")?;
    let state: String = row.get("state")?;
    let is_retracted = public.retracted.contains(&state);
    let entered_on = body["entered_on"].as_str().unwrap_or_default().to_owned();
    let mut all = match body.get_mut(FIELDS).map(Json::take) {
        Some(Json::Object(fields)) => fields,
        _ => Map::new(),
    };
    let is_left = |id: &String| if is_retracted { public.reason.as_ref() == Some(id) } else { public.fields().any(|shown| shown == id) };
    all.retain(|id, _| is_left(id));
    Ok(PublishedRow {
        id: row.get("id")?,
        number: row.get("number")?,
        state,
        is_retracted,
        entered_on,
        since: row.get("since")?,
        owner: if public.owner && !is_retracted { row.get("enterprise_name")? } else { None },
        region: if row.get::<String>("region")?.is_empty() { None } else { Some(row.get("region")?) },
        region_name: row.get("region_name")?,
        fields: all,
        updated_at: row.get("updated_at_us")?,
    })
}
