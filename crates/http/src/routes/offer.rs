//! Packs offered by the nodes above and to those below: what there is, what it would change, switching one on.

use anlan_app::pack::offer::{self, OfferView};
use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Answer;
use super::pack::{EnableBody, Pack};
use crate::dto::At;
use crate::extract::{AppRef, Body, Caller, Path2, PathId};
use crate::problem::Failure;

/// A difference from what is on to what is offered.
#[derive(Serialize, ToSchema)]
pub(crate) struct PackChange {
    /// Path in the pack.
    file: String,
    /// `added`, `removed`, `changed`, `moved`.
    change: &'static str,
    /// In one line.
    text: String,
}

/// A pack that is offered.
#[derive(Serialize, ToSchema)]
pub(crate) struct PackOffer {
    /// Node that offers it, and the pack: one offer.
    id: String,
    origin: String,
    /// `null` = unknown here.
    origin_name: Option<String>,
    /// `true`: this node offers it to those below; `false`: one above offers it.
    below: bool,
    /// As it would be here: `available`, `changed` from what is on, `enabled` = on already, `broken` = would be refused.
    pack: Pack,
    /// These very files are on.
    on: bool,
    pieces: i64,
    /// Of the pieces, so many have come.
    pieces_here: i64,
    changes: Vec<PackChange>,
    /// Differences beyond those that are told.
    more_changes: usize,
    offered_by: String,
    offered_at: At,
}

impl From<OfferView> for PackOffer {
    fn from(view: OfferView) -> Self {
        let change = |change: offer::OfferChange| PackChange { file: change.file, change: change.change, text: change.text };
        Self {
            id: format!("{}/{}", view.origin, view.pack.meta.id),
            origin: view.origin.to_string(),
            origin_name: view.origin_name,
            below: view.is_own,
            pack: view.pack.into(),
            on: view.is_on,
            pieces: view.pieces.0,
            pieces_here: view.pieces.1,
            changes: view.changes.into_iter().map(change).collect(),
            more_changes: view.n_more,
            offered_by: view.offered_by,
            offered_at: view.offered_at.into(),
        }
    }
}

/// Every offer.
#[derive(Serialize, ToSchema)]
pub(crate) struct PackOfferList {
    /// Those of nodes above first.
    offers: Vec<PackOffer>,
}

/// Whether the nodes below are offered the pack.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BelowBody {
    /// `true` offers it as it is on now, `false` takes the offer back.
    offered: bool,
}

/// Lists packs offered by the nodes above, and by this one to those below.
#[utoipa::path(get, path = "/pack-offers", tag = "pack", operation_id = "list_pack_offers", responses((status = 200, body = PackOfferList)))]
pub(crate) async fn list(AppRef(app): AppRef, caller: Caller) -> Answer<PackOfferList> {
    let offers = offer::list(&app, &caller.scope).await?;
    Ok(Json(PackOfferList { offers: offers.into_iter().map(Into::into).collect() }))
}

/// Switches on what a node above offers, with the same checks as a pack of the folder.
#[utoipa::path(post, path = "/pack-offers/{origin}/{id}/enable", tag = "pack", operation_id = "accept_pack_offer", params(("origin" = String, Path), ("id" = String, Path)), request_body = EnableBody, responses((status = 204), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn enable(AppRef(app): AppRef, caller: Caller, path: Path2, Body(body): Body<EnableBody>) -> Result<StatusCode, Failure> {
    let (origin, id): (_, String) = path.read()?;
    offer::accept(&app, &caller.scope, origin, &id, &body.hash).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Offers a pack that is on to the nodes below, or takes the offer back.
#[utoipa::path(put, path = "/packs/{id}/below", tag = "pack", operation_id = "offer_pack_below", params(("id" = String, Path)), request_body = BelowBody, responses((status = 204), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn put_below(AppRef(app): AppRef, caller: Caller, id: PathId, Body(body): Body<BelowBody>) -> Result<StatusCode, Failure> {
    offer::put_below(&app, &caller.scope, &id.0, body.offered).await?;
    Ok(StatusCode::NO_CONTENT)
}
