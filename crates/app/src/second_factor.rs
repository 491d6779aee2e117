//! A second factor beside the password: time-based codes of an authenticator, and recovery codes for who lost it.
//!
//! Begun with the password, on after a first code, off with password and code; an administrator can take it from others, never from themselves.
//! A code is good once. Real time throughout, never the test clock's. The secret lies in the database as it is: there is no key on a node that
//! would not lie beside it, so who can read the database can make codes; recovery codes are kept as SHA-256 only. Start at [`begin`].

use anlan_model::{Clock as _, Permission, Scope, Timestamp, UserId};
use anlan_store::{SecondFactor, Store, StoreError};
use sha2::{Digest as _, Sha256};

use crate::App;
use crate::access::{Code, Session, prove_again, real_now, scope_of};
use crate::error::{AppError, Kind};
use crate::totp::{self, Typed};

/// Name that authenticators show.
const ISSUER: &str = "安澜";
/// What was begun is void after this long.
const BEGUN_US: i64 = 10 * 60 * 1_000_000;

/// A secret that waits for its first code; told this once.
pub struct Begun {
    /// Base32, for typing in.
    pub secret: String,
    /// `otpauth://totp/…`, for an authenticator.
    pub uri: String,
}

/// Makes a secret for the person of the session. Nobody is asked for a code yet; a secret that was begun before is void.
///
/// # Errors
/// `sign_in.wrong` or `sign_in.slow_down` for the password, `second_factor.on` if one is on.
pub async fn begin(app: &App, session: &Session, password: &str, address: &str) -> Result<Begun, AppError> {
    prove_again(app, session, password, Code::NotAsked, address).await?;
    let mut secret = [0; totp::SECRET_BYTES];
    getrandom::fill(&mut secret).map_err(|_| AppError::new(Kind::Internal, "internal"))?;
    app.store.begin_second_factor(session.user.id, &secret, real_now()).await.map_err(|error| match error {
        StoreError::Stale => AppError::conflict("second_factor.on"),
        other => other.into(),
    })?;
    Ok(Begun { secret: totp::base32(&secret), uri: totp::address(&secret, ISSUER, &session.user.username) })
}

/// Switches on what was begun, with the first code of it; the recovery codes, told this once. Other sessions of the person end.
///
/// # Errors
/// `second_factor.not_begun` if nothing was, or too long ago; `second_factor.code` for a code that is none.
pub async fn confirm(app: &App, session: &Session, code: &str) -> Result<Vec<String>, AppError> {
    let (user, now) = (session.user.id, real_now());
    let not_begun = || AppError::conflict("second_factor.not_begun");
    let begun = app.store.second_factor(user).await?.filter(|f| !f.is_on && now.since_us(f.begun_at) <= BEGUN_US).ok_or_else(not_begun)?;
    let step = match totp::read(code) {
        Typed::Code(code) => totp::step_of(&begun.secret, &code, now),
        _ => None,
    };
    let step = step.ok_or_else(|| AppError::invalid("second_factor.code", "code"))?;
    let codes = totp::recovery_codes().map_err(|_| AppError::new(Kind::Internal, "internal"))?;
    let hashes: Vec<[u8; 32]> = codes.iter().map(|code| hash(code)).collect();
    let (scope, times) = (scope_of(&session.user), (now, app.clock.now()));
    let confirmed = app.store.confirm_second_factor(&scope, user, (&begun.secret, step), &hashes, &session.token_hash, times).await;
    confirmed.map_err(|error| match error {
        StoreError::Stale => not_begun(),
        other => other.into(),
    })?;
    Ok(codes.iter().map(|code| totp::recovery_text(code)).collect())
}

/// Removes the own second factor.
///
/// # Errors
/// `sign_in.wrong`, `sign_in.code_wrong` or `sign_in.slow_down` for the proof, `second_factor.off` if none is on.
pub async fn remove(app: &App, session: &Session, password: &str, code: &str, address: &str) -> Result<(), AppError> {
    if !session.user.second_factor {
        return Err(AppError::conflict("second_factor.off"));
    }
    prove_again(app, session, password, Code::Asked(Some(code)), address).await?;
    Ok(app.store.remove_second_factor(&scope_of(&session.user), session.user.id, app.clock.now()).await?)
}

/// Removes the second factor of somebody who lost theirs, and ends their sessions.
///
/// # Errors
/// No permission, not visible, or oneself: a session that somebody left open is no proof.
pub async fn reset(app: &App, scope: &Scope, id: UserId) -> Result<(), AppError> {
    let act = scope.with(Permission::ManageUsers)?;
    if act.user == Some(id) {
        return Err(AppError::forbidden("second_factor.own"));
    }
    Ok(app.store.reset_second_factor(&act, id, app.clock.now()).await?)
}

/// The same for whoever holds the machine, by sign-in name: the only administrator may have lost theirs. `false` = there is nobody of that name.
/// Needs no running node.
///
/// # Errors
/// The store's.
pub async fn reset_by_name(store: &Store, username: &str) -> Result<bool, AppError> {
    let Some((user, _)) = store.sign_in_name(username.trim()).await? else { return Ok(false) };
    store.reset_second_factor(&Scope::node(), user.id, real_now()).await?;
    Ok(true)
}

/// How many recovery codes the person of the session has left; `None` without a second factor.
///
/// # Errors
/// The store's.
pub async fn recovery_codes_left(app: &App, session: &Session) -> Result<Option<i64>, AppError> {
    if !session.user.second_factor {
        return Ok(None);
    }
    Ok(Some(app.store.n_recovery_codes(session.user.id).await?))
}

/// Takes what was typed, once: the word for the audit, or `None` if it is no code or was taken before.
pub(crate) async fn take(
    app: &App,
    user: UserId,
    factor: &SecondFactor,
    typed: &str,
    now: Timestamp,
) -> Result<Option<&'static str>, AppError> {
    match totp::read(typed) {
        Typed::Code(code) => {
            let Some(step) = totp::step_of(&factor.secret, &code, now) else { return Ok(None) };
            Ok(app.store.take_step(user, step).await?.then_some("password_and_code"))
        }
        Typed::Recovery(code) => Ok(app.store.take_recovery_code(user, &hash(&code)).await?.then_some("password_and_recovery_code")),
        Typed::Nothing => Ok(None),
    }
}

fn hash(code: &str) -> [u8; 32] {
    Sha256::digest(code.as_bytes()).into()
}
