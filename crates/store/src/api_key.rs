//! Keys (接口密钥) by which programs of others read open data, and the ids that such a reader may see beside points.
//!
//! A key is visible to a scope that holds its bounds whole: who manages a county's people sees and makes keys of that county alone. Only hashes
//! are kept. Whether a key is still taken (revoked, over, used up) is for `app` to judge.

use anlan_model::noun::Grant;
use anlan_model::{ApiKeyId, DeviceId, EnterpriseId, RegionCode, Role, Scope, Timestamp};
use serde_json::{Value as Json, json};

use crate::audit::{Change, Entry, Holder, difference};
use crate::db::{Row, Sql, sql};
use crate::region::{MOVED_AT_ONCE, Redivision};
use crate::scope::Owner;
use crate::{Page, Paging, Store, StoreError};

/// A key, without what opens anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Id.
    pub id: ApiKeyId,
    /// What people call it.
    pub name: String,
    /// The organisation it was given to.
    pub holder: String,
    /// First characters of the key.
    pub shown: String,
    /// Words of the datasets it reads.
    pub datasets: Vec<String>,
    /// Its bounds, as a grant that can only view.
    pub bounds: Grant,
    /// Requests a minute.
    pub per_minute: i64,
    /// Requests a day.
    pub per_day: i64,
    /// Last day on which it is taken, ISO.
    pub valid_until: String,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// Who revoked it, and when.
    pub revoked: Option<(String, Timestamp)>,
    /// Last request, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// Day of that request, ISO; empty = never used.
    pub used_on: String,
    /// Requests of that day, as last written down.
    pub used_n: i64,
}

/// A key to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewApiKey {
    /// What people call it.
    pub name: String,
    /// The organisation it is given to.
    pub holder: String,
    /// SHA-256 of the key.
    pub token_hash: [u8; 32],
    /// First characters of the key.
    pub shown: String,
    /// Words of the datasets it reads.
    pub datasets: Vec<String>,
    /// `None` = no bound of that kind.
    pub region: Option<RegionCode>,
    /// `None` = all.
    pub sector: Option<String>,
    /// One enterprise alone.
    pub enterprise: Option<EnterpriseId>,
    /// Requests a minute.
    pub per_minute: i64,
    /// Requests a day.
    pub per_day: i64,
    /// Last day, ISO.
    pub valid_until: String,
}

const COLUMNS: &str =
    "k.id, k.name, k.holder, k.shown, k.datasets, k.region, k.sector, k.enterprise_id, k.per_minute, k.per_day, k.valid_until,
  k.created_by_name, k.created_at_us, k.revoked_by_name, k.revoked_at_us, k.last_used_at_us, k.used_on, k.used_n
FROM api_key AS k
LEFT JOIN enterprise AS e ON e.id = k.enterprise_id";
const OWNER: Owner =
    Owner { enterprise: "k.enterprise_id", region: "COALESCE(k.region, e.region)", sector: "COALESCE(k.sector, e.sector)" };

impl Store {
    /// A page of keys whose bounds the scope holds, newest first; those that are revoked or over are in it.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`].
    pub async fn api_keys(&self, scope: &Scope, paging: &Paging) -> Result<Page<ApiKey>, StoreError> {
        let mut q = sql(&format!("SELECT {COLUMNS}\nWHERE 1 = 1"));
        q.and_visible(scope, OWNER);
        if let Some(id) = paging.after_id()? {
            q.push("\n  AND k.id < {}", &[&id]);
        }
        q.push("\nORDER BY k.id DESC\nLIMIT {}", &[&paging.fetch()]);
        paging.page_by_id(self.db.rows(q).await?, read)
    }

    /// The key with this hash, revoked or not; for whoever shows it, who has no scope yet.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn api_key_by_hash(&self, token_hash: &[u8; 32]) -> Result<Option<ApiKey>, StoreError> {
        let q = sql(&format!("SELECT {COLUMNS}\nWHERE k.token_hash = $1")).bind(token_hash);
        self.db.row(q).await?.as_ref().map(read).transpose()
    }

    /// Makes a key.
    ///
    /// # Errors
    /// [`StoreError::OutOfScope`] for bounds wider than the asker's own, [`StoreError::Missing`] for an enterprise they cannot see,
    /// [`StoreError::Database`].
    pub async fn create_api_key(&self, scope: &Scope, new: &NewApiKey, now: Timestamp) -> Result<ApiKey, StoreError> {
        let mut change = self.change(scope, now).await?;
        if new.enterprise.is_some() {
            change.may_own(new.enterprise).await?;
        }
        let insert = sql("INSERT INTO api_key (name, holder, token_hash, shown, datasets, region, sector, enterprise_id, per_minute, per_day, valid_until,
  created_by, created_by_name, created_at_us)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
RETURNING id");
        let insert = insert
            .bind(new.name.as_str())
            .bind(new.holder.as_str())
            .bind(new.token_hash)
            .bind(new.shown.as_str())
            .bind(json!(new.datasets).to_string())
            .bind(new.region.as_ref())
            .bind(new.sector.as_ref())
            .bind(new.enterprise)
            .bind(new.per_minute)
            .bind(new.per_day)
            .bind(new.valid_until.as_str())
            .bind(scope.user)
            .bind(scope.name.as_str())
            .bind(now);
        let id = change.tx.row(insert).await?.ok_or(StoreError::NotFound)?.get("id")?;
        // The rule that decides which keys may be seen decides which may be given.
        let made = current(&mut change, id).await?.ok_or(StoreError::OutOfScope)?;
        finish(&mut change, "create", canonical(&made), &made).await?;
        change.commit().await?;
        Ok(made)
    }

    /// Ends a key; ending it twice is no error and changes nothing.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn revoke_api_key(&self, scope: &Scope, id: ApiKeyId, now: Timestamp) -> Result<ApiKey, StoreError> {
        let mut change = self.change(scope, now).await?;
        let before = current(&mut change, id).await?.ok_or(StoreError::NotFound)?;
        if before.revoked.is_some() {
            return Ok(before);
        }
        let update = sql("UPDATE api_key SET revoked_by_name = $1, revoked_at_us = $2, revision = revision + 1 WHERE id = $3");
        change.tx.run(update.bind(scope.name.as_str()).bind(now).bind(id)).await?;
        let after = current(&mut change, id).await?.ok_or(StoreError::NotFound)?;
        finish(&mut change, "revoke", difference(&canonical(&before), &canonical(&after)), &after).await?;
        change.commit().await?;
        Ok(after)
    }

    /// Writes down that a key was used: when last, and how often on that day. No entry of the audit: it tells of rights, not of reading.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn note_api_key_use(&self, id: ApiKeyId, at: Timestamp, day: &str, n: i64) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        tx.run(sql("UPDATE api_key SET last_used_at_us = $1, used_on = $2, used_n = $3 WHERE id = $4").bind(at).bind(day).bind(n).bind(id))
            .await?;
        tx.commit().await
    }

    /// Ids of enterprises under the scope, in order.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn enterprise_ids(&self, scope: &Scope) -> Result<Vec<EnterpriseId>, StoreError> {
        let mut q = sql("SELECT e.id FROM enterprise AS e WHERE e.merged_into IS NULL");
        q.and_visible(scope, Owner::ENTERPRISE);
        q.push("\nORDER BY e.id", &[]);
        self.db.rows(q).await?.iter().map(|row| row.get("id")).collect()
    }

    /// Ids of devices of enterprises under the scope, in order; a device without an enterprise is not among them.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn device_ids(&self, scope: &Scope) -> Result<Vec<DeviceId>, StoreError> {
        let mut q = sql("SELECT d.id FROM device AS d INNER JOIN enterprise AS e ON e.id = d.enterprise_id WHERE 1 = 1");
        q.and_visible(scope, Owner::ENTERPRISE);
        q.push("\nORDER BY d.id", &[]);
        self.db.rows(q).await?.iter().map(|row| row.get("id")).collect()
    }
}

async fn current(change: &mut Change<'_>, id: ApiKeyId) -> Result<Option<ApiKey>, StoreError> {
    let mut q: Sql = sql(&format!("SELECT {COLUMNS}\nWHERE k.id = $1")).bind(id);
    q.and_visible(change.scope, OWNER);
    change.tx.row(q).await?.as_ref().map(read).transpose()
}

async fn finish(change: &mut Change<'_>, action: &'static str, detail: Json, after: &ApiKey) -> Result<(), StoreError> {
    let (row, bounds) = (canonical(after), &after.bounds);
    change.tell("api_key", &row).await?;
    let of = change.holder(bounds.enterprise).await?;
    let holder =
        Holder { enterprise: bounds.enterprise, region: bounds.region.clone().or(of.region), sector: bounds.sector.clone().or(of.sector) };
    change.record(Entry { action, noun: "api_key", subject: after.id.to_string(), detail, row, holder }).await
}

/// Moves keys of a division whose code was replaced, some at a time; how many those were.
pub(crate) async fn redivide(change: &mut Change<'_>, redivision: &Redivision) -> Result<u64, StoreError> {
    let q = sql("SELECT k.id FROM api_key AS k WHERE k.region = $1 ORDER BY k.id LIMIT $2");
    let keys = change.tx.rows(q.bind(&redivision.from).bind(MOVED_AT_ONCE)).await?;
    for row in &keys {
        let Some(before) = current(change, row.get("id")?).await? else { continue };
        let update = sql("UPDATE api_key SET region = $1, revision = revision + 1 WHERE id = $2");
        change.tx.run(update.bind(&redivision.to).bind(before.id)).await?;
        let after = current(change, before.id).await?.ok_or(StoreError::NotFound)?;
        finish(change, "redivide", redivision.reason(difference(&canonical(&before), &canonical(&after))), &after).await?;
    }
    Ok(keys.len() as u64)
}

/// Turns keys for one enterprise into keys for another, whoever may see them; how many those were.
pub(crate) async fn merge(change: &mut Change<'_>, from: EnterpriseId, into: EnterpriseId) -> Result<u64, StoreError> {
    let update = sql("UPDATE api_key SET enterprise_id = $1, revision = revision + 1 WHERE enterprise_id = $2 RETURNING id");
    let keys = change.tx.rows(update.bind(into).bind(from)).await?;
    for row in &keys {
        let id: ApiKeyId = row.get("id")?;
        let after = change.tx.row(sql(&format!("SELECT {COLUMNS}\nWHERE k.id = $1")).bind(id)).await?.ok_or(StoreError::NotFound)?;
        finish(change, "merge", crate::merge::moved(from, into), &read(&after)?).await?;
    }
    Ok(keys.len() as u64)
}

fn read(row: &Row) -> Result<ApiKey, StoreError> {
    let (by, at): (Option<String>, Option<Timestamp>) = (row.get("revoked_by_name")?, row.get("revoked_at_us")?);
    Ok(ApiKey {
        id: row.get("id")?,
        name: row.get("name")?,
        holder: row.get("holder")?,
        shown: row.get("shown")?,
        datasets: row.json("datasets")?,
        // A screen can look at things and do nothing else.
        bounds: Grant { role: Role::Screen, region: row.get("region")?, sector: row.get("sector")?, enterprise: row.get("enterprise_id")? },
        per_minute: row.get("per_minute")?,
        per_day: row.get("per_day")?,
        valid_until: row.get("valid_until")?,
        created_by: row.get("created_by_name")?,
        created_at: row.get("created_at_us")?,
        revoked: by.zip(at),
        last_used_at: row.get("last_used_at_us")?,
        used_on: row.get("used_on")?,
        used_n: row.get("used_n")?,
    })
}

/// Without hash and use: an audit is read by more people than may know the one, and the other changes by itself.
fn canonical(k: &ApiKey) -> Json {
    json!({
        "id": k.id, "name": k.name, "holder": k.holder, "shown": k.shown, "datasets": k.datasets, "region": k.bounds.region,
        "sector": k.bounds.sector, "enterprise": k.bounds.enterprise, "per_minute": k.per_minute, "per_day": k.per_day,
        "valid_until": k.valid_until, "revoked_at": k.revoked.as_ref().map(|(_, at)| at),
    })
}
