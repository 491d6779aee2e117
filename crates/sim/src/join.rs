//! Joins a node to its parent as two operators would: invitation, code, compared fingerprint. Start at [`join`].

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::{Api, ApiError};

/// A step takes no longer.
const STEP: Duration = Duration::from_secs(60);
/// Pause between looks.
const LOOK: Duration = Duration::from_millis(200);

/// Why a node did not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// A node refused or did not answer.
    #[error("a node refuses")]
    Api(#[from] ApiError),
    /// It took too long.
    #[error("not within {STEP:?}: {0}")]
    Late(&'static str),
}

/// Invites with the body `invitation`, claims it at `child`, confirms the fingerprint, and waits until the child has its certificate. Joined
/// before = nothing to do. `address` is where the parent's link listens.
///
/// # Errors
/// [`JoinError`].
pub fn join(parent: &Api, child: &Api, invitation: &Value, address: &str) -> Result<(), JoinError> {
    if child.get("/api/v1/parent")?["state"] == "joined" {
        return Ok(());
    }
    let made = parent.post("/api/v1/invitations", invitation)?;
    child.put("/api/v1/parent", &json!({ "code": made["code"], "address": address }))?;
    within("the node to claim its invitation", || {
        let all = parent.list("/api/v1/invitations", "invitations")?;
        Ok(all.iter().any(|i| i["id"] == made["id"] && i["state"] == "claimed").then_some(()))
    })?;
    let fingerprint = child.get("/api/v1/parent")?["fingerprint"].clone();
    let path = format!("/api/v1/invitations/{}/confirm", made["id"].as_str().unwrap_or_default());
    parent.post(&path, &json!({ "fingerprint": fingerprint }))?;
    within("the node to join", || Ok((child.get("/api/v1/parent")?["state"] == "joined").then_some(())))
}

/// Looks until there is something.
///
/// # Errors
/// [`JoinError::Late`], or what the look says.
pub fn within<T>(what: &'static str, mut look: impl FnMut() -> Result<Option<T>, ApiError>) -> Result<T, JoinError> {
    let until = Instant::now() + STEP;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= until {
            return Err(JoinError::Late(what));
        }
        std::thread::sleep(LOOK);
    }
}
