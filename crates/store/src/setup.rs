//! The one-time setup token: makes the first administrator, once.

use anlan_model::noun::{Grant, User};
use anlan_model::{Role, Scope, Timestamp};

use crate::db::sql;
use crate::user::{NewUser, administrators, insert_user};
use crate::{Store, StoreError};

impl Store {
    /// Keeps the hash of a fresh setup token; earlier ones are void.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn put_setup_token(&self, token_hash: &[u8; 32], expires_at: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        tx.run(sql("DELETE FROM setup_token")).await?;
        tx.run(sql("INSERT INTO setup_token (token_hash, expires_at_us) VALUES ($1, $2)").bind(token_hash).bind(expires_at)).await?;
        tx.commit().await
    }

    /// Uses up the token and makes the first administrator, in one transaction. `now` is real time, like the token's expiry.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a token that is wrong, used, expired, or void because an administrator exists;
    /// [`StoreError::Taken`] for the user name; [`StoreError::Database`].
    pub async fn set_up(
        &self,
        token_hash: &[u8; 32],
        username: &str,
        name: &str,
        password: &str,
        now: Timestamp,
    ) -> Result<User, StoreError> {
        let scope = Scope::node();
        let mut change = self.change(&scope, now).await?;
        let used = sql("DELETE FROM setup_token WHERE token_hash = $1 AND expires_at_us > $2");
        if change.tx.run(used.bind(token_hash).bind(now)).await? == 0 || change.tx.row(administrators()).await?.is_some() {
            return Err(StoreError::NotFound);
        }
        let grants = vec![Grant { role: Role::Administrator, region: None, sector: None, enterprise: None }];
        let new = NewUser { username: username.to_owned(), name: name.to_owned(), password: password.to_owned(), grants };
        let made = insert_user(&mut change, &new).await?;
        change.commit().await?;
        Ok(made)
    }
}
