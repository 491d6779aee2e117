//! Sessions and failed sign-ins. Times here are real time, never a test clock's.
//!
//! Only hashes of tokens are kept. What a session may still do (expired, idle) is for `app` to judge from the times.

use anlan_model::noun::User;
use anlan_model::{Scope, Timestamp, UserId};
use serde_json::json;

use crate::audit::{Entry, Holder};
use crate::db::sql;
use crate::{Store, StoreError};

/// Failed sign-ins that are kept at most, and for how long.
const FAILURES_MAX: i64 = 10_000;
const FAILURES_KEPT_US: i64 = 24 * 3_600 * 1_000_000;

/// A session to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSession {
    /// SHA-256 of the token.
    pub token_hash: [u8; 32],
    /// Whose.
    pub user: UserId,
    /// Token that unsafe methods must repeat.
    pub csrf: String,
    /// Browser, cut to 200 characters.
    pub user_agent: String,
    /// Now.
    pub created_at: Timestamp,
    /// End, whatever happens.
    pub expires_at: Timestamp,
}

/// A session and the person behind it, with their grants as they are now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Who.
    pub user: User,
    /// Token that unsafe methods must repeat.
    pub csrf: String,
    /// Sign-in.
    pub created_at: Timestamp,
    /// Last use.
    pub seen_at: Timestamp,
    /// Last proof of the password.
    pub reauth_at: Timestamp,
    /// End, whatever happens.
    pub expires_at: Timestamp,
}

/// Failed sign-ins within a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignInFailures {
    /// With this user name, from anywhere.
    pub by_username: i64,
    /// From this address, with any name.
    pub by_address: i64,
}

impl Store {
    /// Keeps a session.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn create_session(&self, new: &NewSession) -> Result<(), StoreError> {
        let user_agent: String = new.user_agent.chars().take(200).collect();
        let insert =
            sql("INSERT INTO session (token_hash, user_id, csrf, user_agent, created_at_us, seen_at_us, reauth_at_us, expires_at_us)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)");
        let insert = insert.bind(new.token_hash).bind(new.user).bind(new.csrf.as_str()).bind(user_agent);
        let insert = insert.bind(new.created_at).bind(new.created_at).bind(new.created_at).bind(new.expires_at);
        let mut tx = self.db.begin().await?;
        tx.run(insert).await?;
        tx.commit().await
    }

    /// The session of a token. Expired ones may still be found; `expires_at` and `user.disabled` are for the caller to judge.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn session(&self, token_hash: &[u8; 32]) -> Result<Option<Session>, StoreError> {
        // One statement, since every request begins with it: a row per grant.
        let q = sql("SELECT u.id, u.username, u.name, u.disabled, u.created_at_us, u.revision,
  (SELECT COUNT(*) FROM user_totp AS f WHERE f.user_id = u.id AND f.confirmed_at_us IS NOT NULL) AS second_factor,
  s.csrf, s.created_at_us AS begun_at_us, s.seen_at_us, s.reauth_at_us, s.expires_at_us,
  g.id AS grant_id, g.role, g.region, g.sector, g.enterprise_id
FROM session AS s
INNER JOIN users AS u ON u.id = s.user_id
LEFT JOIN user_grant AS g ON g.user_id = u.id
WHERE s.token_hash = $1
ORDER BY g.id");
        let rows = self.db.rows(q.bind(token_hash)).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let mut grants = Vec::with_capacity(rows.len());
        for row in &rows {
            if row.get::<Option<i64>>("grant_id")?.is_some() {
                grants.push(crate::user::read_grant(row)?);
            }
        }
        Ok(Some(Session {
            user: crate::user::read(row, grants)?,
            csrf: row.get("csrf")?,
            created_at: row.get("begun_at_us")?,
            seen_at: row.get("seen_at_us")?,
            reauth_at: row.get("reauth_at_us")?,
            expires_at: row.get("expires_at_us")?,
        }))
    }

    /// The session was used.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn touch_session(&self, token_hash: &[u8; 32], seen_at: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        tx.run(
            sql("UPDATE session SET seen_at_us = $1 WHERE token_hash = $2 AND seen_at_us < $3")
                .bind(seen_at)
                .bind(token_hash)
                .bind(seen_at),
        )
        .await?;
        tx.commit().await
    }

    /// The password was proved again; the session is used and no longer idle.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn reauthenticate_session(&self, token_hash: &[u8; 32], at: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        let update = sql("UPDATE session SET seen_at_us = $1, reauth_at_us = $2 WHERE token_hash = $3");
        if tx.run(update.bind(at).bind(at).bind(token_hash)).await? == 0 {
            return Err(StoreError::NotFound);
        }
        tx.commit().await
    }

    /// Ends a session; ending it twice is no error.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn end_session(&self, token_hash: &[u8; 32]) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        tx.run(sql("DELETE FROM session WHERE token_hash = $1").bind(token_hash)).await?;
        tx.commit().await
    }

    /// Ends every session of a person and answers how many there were.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn end_sessions_of(&self, scope: &Scope, user: UserId, now: Timestamp) -> Result<u64, StoreError> {
        self.user(scope, user).await?;
        let mut change = self.change(scope, now).await?;
        let ended = change.tx.run(sql("DELETE FROM session WHERE user_id = $1").bind(user)).await?;
        let detail = json!({"sessions": ended});
        let entry =
            Entry { action: "sign_out", noun: "user", subject: user.to_string(), row: detail.clone(), detail, holder: Holder::NONE };
        change.record(entry).await?;
        change.commit().await?;
        Ok(ended)
    }

    /// Forgets sessions that ended by time and setup tokens nobody used.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn purge_sessions(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut tx = self.db.begin().await?;
        let n = tx.run(sql("DELETE FROM session WHERE expires_at_us <= $1").bind(now)).await?;
        tx.run(sql("DELETE FROM setup_token WHERE expires_at_us <= $1").bind(now)).await?;
        tx.commit().await?;
        Ok(n)
    }

    /// Remembers a failed sign-in; bounded to a day and 10,000 rows.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn put_sign_in_failure(&self, username: &str, address: &str, at: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        let username: String = username.chars().take(100).collect();
        let insert = sql("INSERT INTO sign_in_failure (username, address, at_us) VALUES ($1, $2, $3) RETURNING id");
        let row = tx.row(insert.bind(username).bind(address).bind(at)).await?.ok_or(StoreError::NotFound)?;
        let old = sql("DELETE FROM sign_in_failure WHERE id <= $1 OR at_us < $2");
        tx.run(old.bind(row.get::<i64>("id")? - FAILURES_MAX).bind(at.plus_us(-FAILURES_KEPT_US))).await?;
        tx.commit().await
    }

    /// Failed sign-ins since `since` with this name and from this address.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn sign_in_failures(&self, username: &str, address: &str, since: Timestamp) -> Result<SignInFailures, StoreError> {
        let username: String = username.chars().take(100).collect();
        let q = sql("SELECT
  (SELECT COUNT(*) FROM sign_in_failure WHERE username = $1 AND at_us >= $2) AS by_username,
  (SELECT COUNT(*) FROM sign_in_failure WHERE address = $3 AND at_us >= $4) AS by_address");
        let row = self.db.row(q.bind(username).bind(since).bind(address).bind(since)).await?.ok_or(StoreError::NotFound)?;
        Ok(SignInFailures { by_username: row.get("by_username")?, by_address: row.get("by_address")? })
    }

    /// Forgets failures of this name from this address after a good sign-in. Other names from there and other addresses stay:
    /// one good password excuses no guessing.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn clear_sign_in_failures(&self, username: &str, address: &str) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        let clear = sql("DELETE FROM sign_in_failure WHERE username = $1 AND address = $2");
        tx.run(clear.bind(username).bind(address)).await?;
        tx.commit().await
    }
}
