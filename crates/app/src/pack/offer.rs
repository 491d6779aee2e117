//! Packs that a node above offers (上级下发), and those that this one offers to the nodes below.
//!
//! An offer waits for an administrator here and is switched on by the very use case that switches on a pack of the folder, with its checks, its cases and
//! its refusals; what is on until then stays on. Start at [`list`].

use anlan_domain::pack::diff::{self, What};
use anlan_domain::pack::folder::Folder;
use anlan_model::{Clock as _, NodeId, Permission, Scope, Timestamp};
use anlan_store::{PackOfferRow, StoreError};

use super::{BASE, FILES_MAX, Found, PackMeta, PackView, Wrong, enable_found, hash_of, view};
use crate::App;
use crate::error::AppError;
use crate::signing::{Signature, of_pack};

/// Differences that are told; the rest is counted.
const CHANGES_MAX: usize = 200;

/// A difference from what is on to what is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferChange {
    /// Path in the pack.
    pub file: String,
    /// What happened, and to what, in one line.
    pub text: String,
    /// `added`, `removed`, `changed`, `moved`.
    pub change: &'static str,
}

/// A pack that is offered.
#[derive(Clone, Debug)]
pub struct OfferView {
    /// The node that offers it.
    pub origin: NodeId,
    /// Its name.
    pub origin_name: Option<String>,
    /// It is this one: what nodes below are offered.
    pub is_own: bool,
    /// The pack as it would be here; its state says how it stands beside what is on.
    pub pack: PackView,
    /// These very files are on.
    pub is_on: bool,
    /// Pieces that there are, and that have come.
    pub pieces: (i64, i64),
    /// From what is on to what is offered, or everything that is in it.
    pub changes: Vec<OfferChange>,
    /// More differences than are told.
    pub n_more: usize,
    /// By whom, there.
    pub offered_by: String,
    /// When.
    pub offered_at: Timestamp,
}

/// Offers of nodes above, then this node's own, in order of words.
///
/// # Errors
/// No permission to manage the system, the store's.
pub async fn list(app: &App, scope: &Scope) -> Result<Vec<OfferView>, AppError> {
    let scope = scope.with(Permission::ManageSystem)?;
    let (kept, registers) = (app.store.packs().await?, app.registers.load_full());
    let mut offers = Vec::new();
    for row in app.store.pack_offers(&scope).await? {
        let on = kept.iter().find(|kept| kept.id == row.pack);
        let active = on.filter(|on| on.enabled);
        let found = found(&row);
        let changes = diff::between(&active.map(|on| on.files.clone()).unwrap_or_default(), &found.files);
        let told = changes.iter().take(CHANGES_MAX).map(|change| OfferChange {
            file: change.file.clone(),
            text: change.to_string(),
            change: match change.change {
                What::Added => "added",
                What::Removed => "removed",
                What::Changed => "changed",
                What::Moved => "moved",
            },
        });
        offers.push(OfferView {
            is_on: active.is_some_and(|on| on.hash == row.hash),
            changes: told.collect(),
            n_more: changes.len().saturating_sub(CHANGES_MAX),
            pack: view(app, &found, on, &registers),
            origin: row.origin,
            origin_name: row.origin_name,
            is_own: row.is_own,
            pieces: row.pieces,
            offered_by: row.offered_by,
            offered_at: row.offered_at,
        });
    }
    offers.sort_by_key(|offer| offer.is_own);
    Ok(offers)
}

/// The offer as a folder that was looked at. What has not come whole, or is not what it says, is not sound.
fn found(row: &PackOfferRow) -> Found {
    let broken = |reason: &str| {
        let wrong = vec![Wrong { file: String::new(), line: 0, field: String::new(), reason: reason.to_owned() }];
        Folder { wrong, meta: None::<PackMeta>, ..Folder::default() }
    };
    let (files, folder, signature) = match &row.files {
        None => (Default::default(), broken("has not arrived whole yet"), Signature::Unsigned),
        Some(files) if hash_of(files) != row.hash => {
            (Default::default(), broken("its files are not those of its hash"), Signature::Unsigned)
        }
        Some(files) if row.pack == BASE || files.len() > FILES_MAX => {
            (Default::default(), broken("is the built-in pack, or has too many files"), Signature::Unsigned)
        }
        Some(files) => {
            let mut folder = Folder::check(files);
            if folder.meta.as_ref().is_some_and(|meta| meta.id != row.pack) {
                let reason = format!("is not the offered {:?}", row.pack);
                folder.wrong.push(Wrong { file: "pack.toml".to_owned(), line: 0, field: "id".to_owned(), reason });
            }
            (files.clone(), folder, of_pack(files))
        }
    };
    Found { id: row.pack.clone(), hash: row.hash.clone(), signature, folder, files }
}

/// Switches on what a node above offers; `hash` says what was read.
///
/// # Errors
/// As for a pack of the folder: no permission, not there, other files by now, anything wrong with it, records in states that it no longer knows.
pub async fn accept(app: &App, scope: &Scope, origin: NodeId, pack: &str, hash: &str) -> Result<(), AppError> {
    let act = scope.with(Permission::ManageSystem)?;
    let _turn = app.switching.lock().await;
    let offers = app.store.pack_offers(&act).await?;
    let row = offers.iter().find(|row| row.origin == origin && row.pack == pack && !row.is_own).ok_or_else(AppError::not_found)?;
    enable_found(app, &act, found(row), hash).await
}

/// Offers a pack that is on here to the nodes below, as it is on now; or takes the offer back.
///
/// # Errors
/// No permission for the whole node, not on or not offered, no network, too large to travel.
pub async fn put_below(app: &App, scope: &Scope, pack: &str, offered: bool) -> Result<(), AppError> {
    let act = scope.with(Permission::ManageSystem)?;
    if !act.node_wide() {
        return Err(AppError::forbidden("scope.outside"));
    }
    if app.store.own_node().is_none() {
        return Err(AppError::conflict("node.link_off"));
    }
    let done = match offered {
        true => app.store.offer_pack(&act, pack, app.clock.now()).await,
        false => app.store.withdraw_pack(&act, pack, app.clock.now()).await,
    };
    done.map_err(|error| match error {
        StoreError::TooMany { .. } => AppError::conflict("pack.too_large"),
        other => other.into(),
    })
}
