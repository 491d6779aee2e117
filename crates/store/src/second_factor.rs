//! Second factors of people: a secret for time-based codes, and recovery codes. Times here are real time, never a test clock's.
//!
//! What a code is and which time steps are near is for `app` to judge; that none is taken twice is kept here, by the statement that takes it.
//! Secrets and hashes leave this file only for that. Start at [`Store::second_factor`].

use anlan_model::{Scope, Timestamp, UserId};
use serde_json::json;

use crate::audit::Change;
use crate::db::sql;
use crate::{Store, StoreError};

/// A secret for time-based codes.
#[derive(Clone, PartialEq, Eq)]
pub struct SecondFactor {
    /// Shared with the person's device.
    pub secret: Vec<u8>,
    /// When it was made.
    pub begun_at: Timestamp,
    /// A code was given: from now on one is asked for.
    pub is_on: bool,
    /// Step of the newest code that was taken.
    pub last_step: i64,
}

impl Store {
    /// The second factor of a person, begun or on.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn second_factor(&self, user: UserId) -> Result<Option<SecondFactor>, StoreError> {
        let q = sql("SELECT secret, begun_at_us, confirmed_at_us, last_step FROM user_totp WHERE user_id = $1").bind(user);
        let Some(row) = self.db.row(q).await? else { return Ok(None) };
        Ok(Some(SecondFactor {
            secret: row.get("secret")?,
            begun_at: row.get("begun_at_us")?,
            is_on: row.get::<Option<i64>>("confirmed_at_us")?.is_some(),
            last_step: row.get("last_step")?,
        }))
    }

    /// Keeps a secret of which nobody is asked yet, in the place of one that was begun before.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if one is on, [`StoreError::Database`].
    pub async fn begin_second_factor(&self, user: UserId, secret: &[u8], at: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        let put = sql("INSERT INTO user_totp (user_id, secret, begun_at_us, last_step) VALUES ($1, $2, $3, 0)
ON CONFLICT (user_id) DO UPDATE SET secret = excluded.secret, begun_at_us = excluded.begun_at_us WHERE user_totp.confirmed_at_us IS NULL");
        if tx.run(put.bind(user).bind(secret).bind(at)).await? == 0 {
            return Err(StoreError::Stale);
        }
        tx.commit().await
    }

    /// Switches on what was begun: its first code, of `step`, was right. Ends the person's other sessions, keeps `keep`. `at` is real time, `now`
    /// domain time.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if nothing is begun any more, [`StoreError::Database`].
    pub async fn confirm_second_factor(
        &self,
        scope: &Scope,
        user: UserId,
        (secret, step): (&[u8], i64),
        recovery: &[[u8; 32]],
        keep: &[u8; 32],
        (at, now): (Timestamp, Timestamp),
    ) -> Result<(), StoreError> {
        let mut change = self.change(scope, now).await?;
        let confirm = sql("UPDATE user_totp SET confirmed_at_us = $1, last_step = $2
WHERE user_id = $3 AND secret = $4 AND confirmed_at_us IS NULL");
        if change.tx.run(confirm.bind(at).bind(step).bind(user).bind(secret)).await? == 0 {
            return Err(StoreError::Stale);
        }
        change.tx.run(sql("DELETE FROM user_recovery_code WHERE user_id = $1").bind(user)).await?;
        for hash in recovery {
            let insert = sql("INSERT INTO user_recovery_code (user_id, code_hash) VALUES ($1, $2)");
            change.tx.run(insert.bind(user).bind(hash)).await?;
        }
        change.tx.run(sql("DELETE FROM session WHERE user_id = $1 AND token_hash <> $2").bind(user).bind(keep)).await?;
        told(&mut change, user, "second_factor_on", false).await?;
        change.commit().await
    }

    /// Takes the code of a time step: `false` if that or a later one was taken before, or none is on.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn take_step(&self, user: UserId, step: i64) -> Result<bool, StoreError> {
        let mut tx = self.db.begin().await?;
        let take = sql("UPDATE user_totp SET last_step = $1 WHERE user_id = $2 AND last_step < $1 AND confirmed_at_us IS NOT NULL");
        let taken = tx.run(take.bind(step).bind(user)).await? == 1;
        tx.commit().await?;
        Ok(taken)
    }

    /// Takes a recovery code: `false` if there is none such (any more).
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn take_recovery_code(&self, user: UserId, hash: &[u8; 32]) -> Result<bool, StoreError> {
        let mut tx = self.db.begin().await?;
        let take = sql("DELETE FROM user_recovery_code WHERE user_id = $1 AND code_hash = $2");
        let taken = tx.run(take.bind(user).bind(hash)).await? == 1;
        tx.commit().await?;
        Ok(taken)
    }

    /// How many recovery codes a person has left.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn n_recovery_codes(&self, user: UserId) -> Result<i64, StoreError> {
        let q = sql("SELECT COUNT(*) AS n FROM user_recovery_code WHERE user_id = $1").bind(user);
        self.db.row(q).await?.ok_or(StoreError::NotFound)?.get("n")
    }

    /// Removes the own second factor, after its proof.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn remove_second_factor(&self, scope: &Scope, user: UserId, now: Timestamp) -> Result<(), StoreError> {
        let mut change = self.change(scope, now).await?;
        forget(&mut change, user).await?;
        told(&mut change, user, "second_factor_off", false).await?;
        change.commit().await
    }

    /// Removes the second factor of somebody else, who lost it, and ends all their sessions.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for somebody who is not visible, [`StoreError::Database`].
    pub async fn reset_second_factor(&self, scope: &Scope, user: UserId, now: Timestamp) -> Result<(), StoreError> {
        let mut change = self.change(scope, now).await?;
        crate::user::current(&mut change, user).await?;
        forget(&mut change, user).await?;
        change.tx.run(sql("DELETE FROM session WHERE user_id = $1").bind(user)).await?;
        told(&mut change, user, "second_factor_reset", true).await?;
        change.commit().await
    }
}

async fn forget(change: &mut Change<'_>, user: UserId) -> Result<(), StoreError> {
    change.tx.run(sql("DELETE FROM user_recovery_code WHERE user_id = $1").bind(user)).await?;
    change.tx.run(sql("DELETE FROM user_totp WHERE user_id = $1").bind(user)).await.map(drop)
}

/// Audit and outbox. The entry says that and by whom, never a secret.
async fn told(change: &mut Change<'_>, user: UserId, action: &'static str, ends_sessions: bool) -> Result<(), StoreError> {
    crate::user::touched(change, user, action, json!({"sessions_ended": ends_sessions})).await
}
