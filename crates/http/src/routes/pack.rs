//! Packs: which there are, what is wrong with them, and switching them on and off.

use anlan_app::pack::{self, PackState, PackView, Wrong};
use anlan_app::signing::Signature;
use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Answer;
use crate::dto::At;
use crate::extract::{AppRef, Body, Caller, PathId};
use crate::problem::Failure;

/// How a pack stands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PackStateDto {
    /// Part of the program, always on.
    BuiltIn,
    /// On.
    Enabled,
    /// On, but the folder holds another by now.
    Changed,
    /// Sound and off.
    Available,
    /// Not sound; off.
    Broken,
}

/// What a pack's signature is worth.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PackSignature {
    /// Part of the program.
    BuiltIn,
    /// There is none.
    Unsigned,
    /// By a key of `packs.trusted_keys`.
    Trusted,
    /// By another key.
    Unknown,
    /// Not over these files.
    Broken,
}

/// What is wrong with a pack, and where.
#[derive(Serialize, ToSchema)]
pub(crate) struct PackProblem {
    file: String,
    /// From 1; 0 = the file as a whole.
    line: usize,
    field: String,
    reason: String,
}

impl From<Wrong> for PackProblem {
    fn from(wrong: Wrong) -> Self {
        Self { file: wrong.file, line: wrong.line, field: wrong.field, reason: wrong.reason }
    }
}

/// A register of a pack.
#[derive(Serialize, ToSchema)]
pub(crate) struct PackRegister {
    kind: String,
    name: String,
    name_en: String,
}

/// A submission of a pack.
#[derive(Serialize, ToSchema)]
pub(crate) struct PackSubmission {
    id: String,
    name: String,
    name_en: String,
    version: String,
}

/// A pack.
#[derive(Serialize, ToSchema)]
pub(crate) struct Pack {
    id: String,
    name: String,
    name_en: String,
    version: String,
    publisher: String,
    /// SHA-256 over its files.
    hash: String,
    state: PackStateDto,
    signature: PackSignature,
    /// The key that signed it.
    signed_by: Option<String>,
    registers: Vec<PackRegister>,
    submissions: Vec<PackSubmission>,
    problems: Vec<PackProblem>,
    /// By whom it was last switched.
    changed_by: Option<String>,
    changed_at: Option<At>,
}

impl From<PackView> for Pack {
    fn from(view: PackView) -> Self {
        let (signature, signed_by) = match view.signature {
            _ if view.state == PackState::BuiltIn => (PackSignature::BuiltIn, None),
            Signature::Unsigned => (PackSignature::Unsigned, None),
            Signature::Broken => (PackSignature::Broken, None),
            Signature::By(key) => (if view.is_trusted { PackSignature::Trusted } else { PackSignature::Unknown }, Some(key.to_string())),
        };
        Self {
            signature,
            signed_by,
            id: view.meta.id,
            name: view.meta.name,
            name_en: view.meta.name_en,
            version: view.meta.version,
            publisher: view.meta.publisher,
            hash: view.hash,
            state: match view.state {
                PackState::BuiltIn => PackStateDto::BuiltIn,
                PackState::Enabled => PackStateDto::Enabled,
                PackState::Changed => PackStateDto::Changed,
                PackState::Available => PackStateDto::Available,
                PackState::Broken => PackStateDto::Broken,
            },
            submissions: view
                .submissions
                .into_iter()
                .map(|[id, name, name_en, version]| PackSubmission { id, name, name_en, version })
                .collect(),
            registers: view.registers.into_iter().map(|(kind, name, name_en)| PackRegister { kind, name, name_en }).collect(),
            problems: view.wrong.into_iter().map(Into::into).collect(),
            changed_by: view.changed_by,
            changed_at: view.changed_at.map(Into::into),
        }
    }
}

/// Every pack.
#[derive(Serialize, ToSchema)]
pub(crate) struct PackList {
    packs: Vec<Pack>,
}

/// What was read before switching on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnableBody {
    /// `hash` of the list; other files by now are refused.
    pub(crate) hash: String,
}

/// Lists the built-in pack and those in the operator's folder.
#[utoipa::path(get, path = "/packs", tag = "pack", responses((status = 200, body = PackList)))]
pub(crate) async fn list(AppRef(app): AppRef, caller: Caller) -> Answer<PackList> {
    let packs = pack::list(&app, &caller.scope).await?;
    Ok(Json(PackList { packs: packs.into_iter().map(Into::into).collect() }))
}

/// Switches a pack on, as it lies in the folder now.
#[utoipa::path(post, path = "/packs/{id}/enable", tag = "pack", params(("id" = String, Path)), request_body = EnableBody, responses((status = 204)))]
pub(crate) async fn enable(AppRef(app): AppRef, caller: Caller, id: PathId, Body(body): Body<EnableBody>) -> Result<StatusCode, Failure> {
    pack::enable(&app, &caller.scope, &id.0, &body.hash).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Switches a pack off; records of its registers stay, unseen.
#[utoipa::path(post, path = "/packs/{id}/disable", tag = "pack", params(("id" = String, Path)), responses((status = 204)))]
pub(crate) async fn disable(AppRef(app): AppRef, caller: Caller, id: PathId) -> Result<StatusCode, Failure> {
    pack::disable(&app, &caller.scope, &id.0).await?;
    Ok(StatusCode::NO_CONTENT)
}
