//! People who sign in, and their grants.
//!
//! A person is visible to a scope that holds **every** grant of theirs: who manages a county's people can neither see nor touch
//! somebody with a wider right, nor give away more than they have. Passwords are PHC strings; they never leave this file except
//! through [`Store::sign_in_name`].

use std::collections::BTreeMap;

use anlan_model::noun::{Grant, User};
use anlan_model::{EnterpriseId, Role, Scope, Timestamp, UserId};
use serde_json::{Value as Json, json};

use crate::audit::{Change, Entry, Holder, check_revision, difference};
use crate::db::{Row, Sql, sql};
use crate::region::{MOVED_AT_ONCE, Redivision};
use crate::scope::Owner;
use crate::{Page, Paging, Store, StoreError};

/// A person to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUser {
    /// Sign-in name, unique.
    pub username: String,
    /// Shown name.
    pub name: String,
    /// PHC string of the password.
    pub password: String,
    /// What they may do and where.
    pub grants: Vec<Grant>,
}

/// Fields to change; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserChange {
    /// The revision the change was made for.
    pub revision: i64,
    /// New shown name.
    pub name: Option<String>,
    /// New grants, all of them.
    pub grants: Option<Vec<Grant>>,
    /// Refused or not; refusing ends every session.
    pub disabled: Option<bool>,
    /// PHC string of a new password; setting one ends every session.
    pub password: Option<String>,
}

const COLUMNS: &str = "u.id, u.username, u.name, u.disabled, u.created_at_us, u.revision,
  (SELECT COUNT(*) FROM user_totp AS f WHERE f.user_id = u.id AND f.confirmed_at_us IS NOT NULL) AS second_factor";
const GRANT_OWNER: Owner =
    Owner { enterprise: "g.enterprise_id", region: "COALESCE(g.region, e.region)", sector: "COALESCE(g.sector, e.sector)" };

impl Store {
    /// A page of people under the scope, in order of ids.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`].
    pub async fn users(&self, scope: &Scope, paging: &Paging) -> Result<Page<User>, StoreError> {
        let mut q = sql(&format!("SELECT {COLUMNS}\nFROM users AS u\nWHERE 1 = 1"));
        and_user_visible(&mut q, scope);
        if let Some(id) = paging.after_id()? {
            q.push("\n  AND u.id > {}", &[&id]);
        }
        q.push("\nORDER BY u.id\nLIMIT {}", &[&paging.fetch()]);
        let mut page = paging.page_by_id(self.db.rows(q).await?, |row| read(row, Vec::new()))?;
        let mut grants: BTreeMap<UserId, Vec<Grant>> = BTreeMap::new();
        for piece in page.items.chunks(500) {
            let mut q = sql(&format!("{GRANTS} WHERE 1 = 1"));
            q.and_in("g.user_id", &piece.iter().map(|u| u.id).collect::<Vec<_>>());
            q.push("\nORDER BY g.id", &[]);
            for row in self.db.rows(q).await? {
                grants.entry(row.get("user_id")?).or_default().push(read_grant(&row)?);
            }
        }
        for user in &mut page.items {
            user.grants = grants.remove(&user.id).unwrap_or_default();
        }
        Ok(page)
    }

    /// One person.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn user(&self, scope: &Scope, id: UserId) -> Result<User, StoreError> {
        let mut q = sql(&format!("SELECT {COLUMNS}\nFROM users AS u\nWHERE u.id = $1")).bind(id);
        and_user_visible(&mut q, scope);
        let row = self.db.row(q).await?.ok_or(StoreError::NotFound)?;
        read(&row, self.grants_of(id).await?)
    }

    /// The person with this sign-in name and the PHC string of their password; for signing in, which has no scope yet.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn sign_in_name(&self, username: &str) -> Result<Option<(User, String)>, StoreError> {
        let q = sql(&format!("SELECT {COLUMNS}, u.password\nFROM users AS u\nWHERE u.username = $1")).bind(username);
        let Some(row) = self.db.row(q).await? else { return Ok(None) };
        let user = read(&row, self.grants_of(row.get("id")?).await?)?;
        Ok(Some((user, row.get("password")?)))
    }

    /// Makes a person.
    ///
    /// # Errors
    /// [`StoreError::OutOfScope`] for a grant wider than the asker's own, [`StoreError::Taken`], [`StoreError::Missing`] for an
    /// unknown enterprise, [`StoreError::Database`].
    pub async fn create_user(&self, scope: &Scope, new: &NewUser, now: Timestamp) -> Result<User, StoreError> {
        let mut change = self.change(scope, now).await?;
        let made = insert_user(&mut change, new).await?;
        change.commit().await?;
        Ok(made)
    }

    /// Changes a person.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Stale`], [`StoreError::OutOfScope`] for a grant wider than the asker's own,
    /// [`StoreError::LastAdministrator`], [`StoreError::Missing`], [`StoreError::Database`].
    pub async fn update_user(&self, scope: &Scope, id: UserId, wanted: &UserChange, now: Timestamp) -> Result<User, StoreError> {
        let mut change = self.change(scope, now).await?;
        let before = current(&mut change, id).await?;
        check_revision(before.revision, wanted.revision)?;
        let after = User {
            name: wanted.name.clone().unwrap_or_else(|| before.name.clone()),
            grants: wanted.grants.clone().unwrap_or_else(|| before.grants.clone()),
            disabled: wanted.disabled.unwrap_or(before.disabled),
            revision: before.revision + 1,
            ..before.clone()
        };
        let update = sql("UPDATE users SET name = $1, disabled = $2, revision = $3 WHERE id = $4");
        change.tx.run(update.bind(after.name.as_str()).bind(after.disabled).bind(after.revision).bind(id)).await?;
        if after.grants != before.grants {
            change.tx.run(sql("DELETE FROM user_grant WHERE user_id = $1").bind(id)).await?;
            insert_grants(&mut change, id, &after.grants).await?;
        }
        if let Some(password) = &wanted.password {
            change.tx.run(sql("UPDATE users SET password = $1 WHERE id = $2").bind(password.as_str()).bind(id)).await?;
        }
        if wanted.password.is_some() || (after.disabled && !before.disabled) {
            change.tx.run(sql("DELETE FROM session WHERE user_id = $1").bind(id)).await?;
        }
        if is_administrator(&before) && !is_administrator(&after) && change.tx.row(administrators()).await?.is_none() {
            return Err(StoreError::LastAdministrator);
        }
        let row = canonical(&after);
        let mut detail = difference(&canonical(&before), &row);
        if wanted.password.is_some() {
            detail["password"] = json!("replaced");
        }
        finish(&mut change, "update", detail, &after).await?;
        change.commit().await?;
        Ok(after)
    }

    /// Replaces a person's own password after they proved the old one; ends their other sessions, keeps `keep`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn set_password(
        &self,
        scope: &Scope,
        id: UserId,
        password: &str,
        keep: Option<[u8; 32]>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut change = self.change(scope, now).await?;
        let q = if scope.user == Some(id) {
            // Everybody may change their own, whatever their grants.
            sql(&format!("SELECT {COLUMNS}\nFROM users AS u\nWHERE u.id = $1")).bind(id)
        } else {
            visible(scope, id)
        };
        let row = change.tx.row(q).await?.ok_or(StoreError::NotFound)?;
        let grants = grants_in(&mut change, id).await?;
        let before = read(&row, grants)?;
        let after = User { revision: before.revision + 1, ..before };
        let update = sql("UPDATE users SET password = $1, revision = $2 WHERE id = $3");
        change.tx.run(update.bind(password).bind(after.revision).bind(id)).await?;
        let end = sql("DELETE FROM session WHERE user_id = $1 AND token_hash <> $2");
        change.tx.run(end.bind(id).bind(keep.unwrap_or_default())).await?;
        finish(&mut change, "update", json!({"password": "replaced"}), &after).await?;
        change.commit().await
    }

    /// Whether somebody can manage the whole node; if not, setup is needed.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn administrator_exists(&self) -> Result<bool, StoreError> {
        Ok(self.db.row(administrators()).await?.is_some())
    }

    pub(crate) async fn grants_of(&self, id: UserId) -> Result<Vec<Grant>, StoreError> {
        let rows = self.db.rows(sql(&format!("{GRANTS} WHERE g.user_id = $1 ORDER BY g.id")).bind(id)).await?;
        rows.iter().map(read_grant).collect()
    }
}

const GRANTS: &str = "SELECT g.user_id, g.role, g.region, g.sector, g.enterprise_id FROM user_grant AS g";

/// Node-wide administrators who may sign in, at most one row.
pub(crate) fn administrators() -> Sql {
    sql("SELECT u.id
FROM users AS u
INNER JOIN user_grant AS g ON g.user_id = u.id
WHERE u.disabled = 0 AND g.role = 'administrator' AND g.region IS NULL AND g.sector IS NULL AND g.enterprise_id IS NULL
LIMIT 1")
}

fn is_administrator(user: &User) -> bool {
    let unbounded = |g: &Grant| g.role == Role::Administrator && g.region.is_none() && g.sector.is_none() && g.enterprise.is_none();
    !user.disabled && user.grants.iter().any(unbounded)
}

/// Writes a person with grants and audit into a running change. Refuses grants the asker does not hold.
pub(crate) async fn insert_user(change: &mut Change<'_>, new: &NewUser) -> Result<User, StoreError> {
    let insert = sql("INSERT INTO users (username, name, password, created_at_us) VALUES ($1, $2, $3, $4)
RETURNING id, username, name, disabled, created_at_us, revision, 0 AS second_factor");
    let insert = insert.bind(new.username.as_str()).bind(new.name.as_str()).bind(new.password.as_str()).bind(change.now);
    let row = change.tx.row(insert).await?.ok_or(StoreError::NotFound)?;
    let made = read(&row, new.grants.clone())?;
    insert_grants(change, made.id, &new.grants).await?;
    finish(change, "create", canonical(&made), &made).await?;
    Ok(made)
}

async fn insert_grants(change: &mut Change<'_>, id: UserId, grants: &[Grant]) -> Result<(), StoreError> {
    for grant in grants {
        if let Some(enterprise) = grant.enterprise {
            change.may_own(Some(enterprise)).await?;
        }
        let insert = sql("INSERT INTO user_grant (user_id, role, region, sector, enterprise_id) VALUES ($1, $2, $3, $4, $5)");
        let insert = insert.bind(id).bind(grant.role.as_str()).bind(grant.region.as_ref()).bind(grant.sector.as_ref());
        change.tx.run(insert.bind(grant.enterprise)).await?;
    }
    // The rule that decides who may be seen decides what may be given: whom the asker cannot see afterwards, they cannot make.
    change.tx.row(visible(change.scope, id)).await?.map(drop).ok_or(StoreError::OutOfScope)
}

fn visible(scope: &Scope, id: UserId) -> Sql {
    let mut q = sql(&format!("SELECT {COLUMNS}\nFROM users AS u\nWHERE u.id = $1")).bind(id);
    and_user_visible(&mut q, scope);
    q
}

async fn grants_in(change: &mut Change<'_>, id: UserId) -> Result<Vec<Grant>, StoreError> {
    let rows = change.tx.rows(sql(&format!("{GRANTS} WHERE g.user_id = $1 ORDER BY g.id")).bind(id)).await?;
    rows.iter().map(read_grant).collect()
}

/// Moves grants of a division whose code was replaced, some people at a time; how many those were.
pub(crate) async fn redivide(change: &mut Change<'_>, redivision: &Redivision) -> Result<u64, StoreError> {
    let q = sql("SELECT DISTINCT g.user_id AS id FROM user_grant AS g WHERE g.region = $1 ORDER BY g.user_id LIMIT $2");
    let people = change.tx.rows(q.bind(&redivision.from).bind(MOVED_AT_ONCE)).await?;
    for row in &people {
        let before = current(change, row.get("id")?).await?;
        let update = sql("UPDATE user_grant SET region = $1 WHERE user_id = $2 AND region = $3");
        change.tx.run(update.bind(&redivision.to).bind(before.id).bind(&redivision.from)).await?;
        change.tx.run(sql("UPDATE users SET revision = revision + 1 WHERE id = $1").bind(before.id)).await?;
        let after = current(change, before.id).await?;
        let detail = redivision.reason(difference(&canonical(&before), &canonical(&after)));
        finish(change, "redivide", detail, &after).await?;
    }
    Ok(people.len() as u64)
}

/// Turns grants for one enterprise into grants for another, whoever may see the people; how many those were.
pub(crate) async fn merge(change: &mut Change<'_>, from: EnterpriseId, into: EnterpriseId) -> Result<u64, StoreError> {
    let q = sql("SELECT DISTINCT g.user_id AS id FROM user_grant AS g WHERE g.enterprise_id = $1 ORDER BY g.user_id").bind(from);
    let people = change.tx.rows(q).await?;
    change.tx.run(sql("UPDATE user_grant SET enterprise_id = $1 WHERE enterprise_id = $2").bind(into).bind(from)).await?;
    // Who had the same grant for both has it once.
    let twice = sql("DELETE FROM user_grant WHERE enterprise_id = $1 AND id NOT IN (
  SELECT MIN(g.id) FROM user_grant AS g WHERE g.enterprise_id = $2 GROUP BY g.user_id, g.role, g.region, g.sector)");
    change.tx.run(twice.bind(into).bind(into)).await?;
    for row in &people {
        touched(change, row.get("id")?, "merge", crate::merge::moved(from, into)).await?;
    }
    Ok(people.len() as u64)
}

pub(crate) async fn current(change: &mut Change<'_>, id: UserId) -> Result<User, StoreError> {
    let row = change.tx.row(visible(change.scope, id)).await?.ok_or(StoreError::NotFound)?;
    let grants = grants_in(change, id).await?;
    read(&row, grants)
}

/// Visible: at least one grant, and none outside the scope.
fn and_user_visible(q: &mut Sql, scope: &Scope) {
    if scope.node_wide() {
        return;
    }
    q.push("\n  AND EXISTS (SELECT 1 FROM user_grant AS g WHERE g.user_id = u.id)", &[]);
    q.push(
        "\n  AND NOT EXISTS (SELECT 1 FROM user_grant AS g LEFT JOIN enterprise AS e ON e.id = g.enterprise_id WHERE g.user_id = u.id",
        &[],
    );
    // A node-wide grant has NULL everywhere, and NOT NULL is not true: COALESCE makes "unknown" mean "outside".
    q.push("\n  AND NOT COALESCE((1 = 1", &[]);
    q.and_visible(scope, GRANT_OWNER);
    q.push("), 1 = 0))", &[]);
}

/// Audit and outbox of something that was done beside a person's row, whoever may see it; counts their revision up.
pub(crate) async fn touched(change: &mut Change<'_>, id: UserId, action: &'static str, detail: Json) -> Result<(), StoreError> {
    change.tx.run(sql("UPDATE users SET revision = revision + 1 WHERE id = $1").bind(id)).await?;
    let row = change.tx.row(sql(&format!("SELECT {COLUMNS}\nFROM users AS u\nWHERE u.id = $1")).bind(id)).await?;
    let grants = grants_in(change, id).await?;
    let after = read(&row.ok_or(StoreError::NotFound)?, grants)?;
    finish(change, action, detail, &after).await
}

async fn finish(change: &mut Change<'_>, action: &'static str, detail: Json, after: &User) -> Result<(), StoreError> {
    let row = canonical(after);
    change.tell("user", &row).await?;
    // A person's entry belongs to the territory of their only grant; several or none: to the node.
    let holder = match after.grants.as_slice() {
        [g] => {
            let of: Option<EnterpriseId> = g.enterprise;
            let enterprise = change.holder(of).await?;
            Holder { enterprise: of, region: g.region.clone().or(enterprise.region), sector: g.sector.clone().or(enterprise.sector) }
        }
        _ => Holder::NONE,
    };
    change.record(Entry { action, noun: "user", subject: after.id.to_string(), detail, row, holder }).await
}

pub(crate) fn read(row: &Row, grants: Vec<Grant>) -> Result<User, StoreError> {
    Ok(User {
        id: row.get("id")?,
        username: row.get("username")?,
        name: row.get("name")?,
        grants,
        disabled: row.get("disabled")?,
        second_factor: row.get("second_factor")?,
        created_at: row.get("created_at_us")?,
        revision: row.get("revision")?,
    })
}

pub(crate) fn read_grant(row: &Row) -> Result<Grant, StoreError> {
    Ok(Grant {
        role: row.word("role", Role::parse)?,
        region: row.get("region")?,
        sector: row.get("sector")?,
        enterprise: row.get("enterprise_id")?,
    })
}

/// Without the password.
fn canonical(u: &User) -> Json {
    json!({
        "id": u.id, "username": u.username, "name": u.name, "grants": u.grants, "disabled": u.disabled, "created_at": u.created_at,
        "revision": u.revision,
    })
}
