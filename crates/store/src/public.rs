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

const COLUMNS: &str =
    "r.id, r.number, r.state, r.region, r.body, r.updated_at_us, n.name AS region_name, e.name AS enterprise_name, d.text AS since";
/// Where they stand in a body.
const FIELDS: &str = "fields";

impl Store {
    /// A page of what the public reads of records of `kind`, newest first, as of `now`: an ISO minute, civil time in Beijing.
    /// Nothing of a kind that makes nothing public.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`].
    pub async fn published(&self, kind: &Kind, now: &str, paging: &Paging) -> Result<Page<PublishedRow>, StoreError> {
        let Some(public) = &kind.public else { return Ok(Page { items: Vec::new(), next: None }) };
        let mut q = select(kind, public, now);
        let day = "COALESCE(d.text, '')";
        if let Some(cursor) = &paging.cursor {
            let (since, id) = cursor.split_once(' ').filter(|(since, _)| is_minute(since)).ok_or(StoreError::Cursor)?;
            let id: i64 = id.parse().map_err(|_| StoreError::Cursor)?;
            q.push(&format!("\n  AND {day} <= {{}} AND ({day} < {{}} OR r.id < {{}})"), &[&since, &since, &id]);
        }
        q.push(&format!("\nORDER BY {day} DESC, r.id DESC\nLIMIT {{}}"), &[&paging.fetch()]);
        let cursor = |row: &Row| Ok(format!("{} {}", row.get::<Option<String>>("since")?.unwrap_or_default(), row.get::<i64>("id")?));
        let mut page = paging.page(self.db.rows(q).await?, cursor, |row| read(public, row))?;
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
        self.mask(kind, public, &mut rows).await?;
        rows.pop().ok_or(StoreError::NotFound)
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
