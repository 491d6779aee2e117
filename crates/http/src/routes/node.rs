//! Nodes of the network (节点): who is above and below, invitations, joining a parent.

use anlan_app::node::{self, Invitation, InvitationRow, NodeChange, NodeView, Resume};
use anlan_model::NodeLevel as ModelLevel;
use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Answer;
use crate::dto::{At, id_option};
use crate::extract::{AppRef, Body, Caller, PathId};
use crate::problem::Failure;

/// Level of a node, lowest first.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NodeLevel {
    Enterprise,
    Township,
    County,
    City,
    Province,
}

impl From<ModelLevel> for NodeLevel {
    fn from(level: ModelLevel) -> Self {
        match level {
            ModelLevel::Enterprise => Self::Enterprise,
            ModelLevel::Township => Self::Township,
            ModelLevel::County => Self::County,
            ModelLevel::City => Self::City,
            ModelLevel::Province => Self::Province,
        }
    }
}

impl From<NodeLevel> for ModelLevel {
    fn from(level: NodeLevel) -> Self {
        match level {
            NodeLevel::Enterprise => Self::Enterprise,
            NodeLevel::Township => Self::Township,
            NodeLevel::County => Self::County,
            NodeLevel::City => Self::City,
            NodeLevel::Province => Self::Province,
        }
    }
}

/// The node at which something is kept: here it is read-only.
#[derive(Serialize, ToSchema)]
pub(crate) struct Home {
    id: String,
    /// Empty = unknown here.
    name: String,
    level: Option<NodeLevel>,
}

impl From<anlan_model::Home> for Home {
    fn from(home: anlan_model::Home) -> Self {
        Self { id: home.id.to_string(), name: home.name, level: home.level.map(Into::into) }
    }
}

/// Which readings go over a link.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Readings {
    /// Every one.
    All,
    /// Of each point the first of each day, whatever differs from the one before, and what was revised.
    Changes,
    /// Of each point and minute the first of each quality, the lowest and the highest, and what was revised.
    Minutes,
    /// Of each point what is from half an hour before each of its alarms to half an hour after it.
    Alarms,
    None,
}

impl From<node::Readings> for Readings {
    fn from(readings: node::Readings) -> Self {
        match readings {
            node::Readings::All => Self::All,
            node::Readings::Changes => Self::Changes,
            node::Readings::Minutes => Self::Minutes,
            node::Readings::Alarms => Self::Alarms,
            node::Readings::None => Self::None,
        }
    }
}

/// What goes over a link.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Agreement {
    readings: Readings,
}

/// What waits to go to a neighbour.
#[derive(Serialize, ToSchema)]
pub(crate) struct LinkQueue {
    /// Records of the log.
    log: u64,
    /// Changes of rows.
    feed: u64,
}

/// The newest day that was compared.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewestProof {
    /// Civil day in Beijing.
    day: String,
    /// `null` = it cannot be said yet.
    equal: Option<bool>,
}

/// A node of the network.
#[derive(Serialize, ToSchema)]
#[schema(as = Node)]
pub(crate) struct NodeDto {
    /// 32 hexadecimal digits.
    id: String,
    name: String,
    level: NodeLevel,
    region: Option<String>,
    region_name: Option<String>,
    /// Of an enterprise's node.
    enterprise: Option<String>,
    enterprise_name: Option<String>,
    /// `self`, `parent`, `child`, `behind`: heard of through a neighbour.
    relation: &'static str,
    /// That neighbour.
    via: Option<String>,
    /// `active`, `frozen`: nothing of it is taken until a person has said what happened, `revoked`: for ever.
    state: &'static str,
    /// Why it is frozen or revoked.
    reason: Option<String>,
    /// Cut by a person.
    paused: bool,
    connected: bool,
    seen_at: Option<At>,
    /// SHA-256 of its public key.
    fingerprint: Option<String>,
    /// End of its certificate.
    certificate_until: Option<At>,
    /// Of the parent: host and port.
    address: Option<String>,
    /// Release that it runs.
    software: Option<String>,
    /// What waits to go to it; `null` = nothing is sent to it.
    queue: Option<LinkQueue>,
    /// How far what comes from it lags, in seconds.
    lag_s: Option<f64>,
    /// What is wanted here.
    agreement: Option<Agreement>,
    /// What goes: the lesser of what is wanted here and there; `null` = it is no neighbour.
    agreed: Option<Readings>,
    proof: Option<NewestProof>,
    revision: i64,
}

impl From<NodeView> for NodeDto {
    fn from(NodeView { row, heard, proof }: NodeView) -> Self {
        let is_neighbour = matches!(row.relation, node::Relation::Parent | node::Relation::Child);
        let agreed = is_neighbour.then(|| node::agreed(&row).into());
        Self {
            id: row.id.to_string(),
            name: row.name,
            level: row.level.into(),
            region: row.region.map(|r| r.to_string()),
            region_name: row.region_name,
            enterprise: row.enterprise.map(|e| e.to_string()),
            enterprise_name: row.enterprise_name,
            relation: row.relation.as_str(),
            via: row.via.map(|v| v.to_string()),
            state: row.state.as_str(),
            reason: row.reason,
            paused: row.paused,
            connected: heard.connected,
            seen_at: row.seen_at.map(Into::into),
            fingerprint: row.fingerprint,
            certificate_until: row.not_after.map(Into::into),
            address: row.address,
            software: row.said["software"].as_str().map(str::to_owned),
            queue: heard.queue.map(|q| LinkQueue { log: q.log, feed: q.feed }),
            lag_s: heard.lag_s,
            agreed,
            // This node has none with itself, nor with one behind another.
            agreement: serde_json::from_value(row.agreement).ok(),
            proof: proof.map(|p| NewestProof { day: p.day, equal: p.equal }),
            revision: row.revision,
        }
    }
}

/// All nodes that are known here.
#[derive(Serialize, ToSchema)]
pub(crate) struct NodeList {
    /// This one, its parent, its children, then those behind them.
    nodes: Vec<NodeDto>,
    /// Always `null`: there are few.
    next: Option<String>,
}

/// What to change of a node; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeBody {
    revision: i64,
    name: Option<String>,
    /// `true` cuts the link, `false` mends it.
    paused: Option<bool>,
    agreement: Option<Agreement>,
}

/// Why the certificate is void.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevokeBody {
    reason: String,
}

/// What happened to a frozen node.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResumeBody {
    /// `restored`: it was set back to a backup; `replaced`: another machine stands in its place.
    #[serde(rename = "as")]
    as_: String,
}

/// An invitation.
#[derive(Serialize, ToSchema)]
#[schema(as = Invitation)]
pub(crate) struct InvitationDto {
    id: String,
    name: String,
    level: NodeLevel,
    region: Option<String>,
    region_name: Option<String>,
    enterprise: Option<String>,
    enterprise_name: Option<String>,
    /// Real time.
    made_at: At,
    made_by: String,
    /// Real time.
    expires_at: At,
    /// Wrong secrets so far; after five it is void.
    tries: i64,
    /// `open`, `claimed`: a node waits to be let in, `confirmed`.
    state: &'static str,
    /// The node that claimed it.
    node: Option<String>,
    /// SHA-256 of that node's public key: to be compared with what its own page shows.
    fingerprint: Option<String>,
}

impl From<InvitationRow> for InvitationDto {
    fn from(row: InvitationRow) -> Self {
        Self {
            id: row.id.to_string(),
            name: row.name,
            level: row.level.into(),
            region: row.region.map(|r| r.to_string()),
            region_name: row.region_name,
            enterprise: row.enterprise.map(|e| e.to_string()),
            enterprise_name: row.enterprise_name,
            made_at: row.made_at.into(),
            made_by: row.made_by,
            expires_at: row.expires_at.into(),
            tries: row.n_tries,
            state: row.state.as_str(),
            node: row.node.map(|n| n.to_string()),
            fingerprint: row.public_key.as_deref().map(node::fingerprint_of),
        }
    }
}

/// Invitations, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct InvitationList {
    invitations: Vec<InvitationDto>,
}

/// A new invitation and its code, which is told this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct InvitationMade {
    #[serde(flatten)]
    invitation: InvitationDto,
    code: String,
    /// The code as a QR code: rows of modules, `1` = dark; a quiet zone of four modules belongs around it.
    qr: Vec<String>,
}

/// Which node may join.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct InvitationBody {
    name: String,
    /// Below this node's own.
    level: NodeLevel,
    /// Its territory; not for an enterprise's node.
    #[serde(default)]
    region: Option<String>,
    /// Of an enterprise's node: which enterprise.
    #[serde(default)]
    enterprise: Option<String>,
}

/// What the person compared.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfirmBody {
    /// SHA-256 of the node's public key, as its own page shows it; spaces and colons do not matter.
    fingerprint: String,
}

/// How joining a parent goes.
#[derive(Serialize, ToSchema)]
pub(crate) struct ParentState {
    /// `none`, `waiting`: a person at the parent must confirm, `joined`, `failed`.
    state: &'static str,
    /// What went wrong, or is waited for; empty = nothing to say.
    detail: String,
    /// SHA-256 of this node's public key: what the person at the parent compares.
    fingerprint: Option<String>,
}

impl From<node::Parent> for ParentState {
    fn from(parent: node::Parent) -> Self {
        Self { state: parent.state.as_str(), detail: parent.detail, fingerprint: parent.fingerprint }
    }
}

/// Which parent to join.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ParentBody {
    /// The code that was given at the parent.
    code: String,
    /// Its host and port.
    address: String,
}

/// Lists the nodes that are known here; empty for people with a territory.
#[utoipa::path(get, path = "/nodes", tag = "node", operation_id = "list_nodes", responses((status = 200, body = NodeList)))]
pub(crate) async fn list(AppRef(app): AppRef, caller: Caller) -> Answer<NodeList> {
    let nodes = node::list(&app, &caller.scope).await?;
    Ok(Json(NodeList { nodes: nodes.into_iter().map(Into::into).collect(), next: None }))
}

/// Changes a neighbour: its name here, cut or mended, what is agreed.
#[utoipa::path(put, path = "/nodes/{id}", tag = "node", operation_id = "change_node", params(("id" = String, Path)), request_body = NodeBody, responses((status = 200, body = NodeDto), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn update(AppRef(app): AppRef, caller: Caller, id: PathId, Body(body): Body<NodeBody>) -> Answer<NodeDto> {
    let agreement = body.agreement.map(|a| serde_json::json!(a));
    let change = NodeChange { revision: body.revision, name: body.name, paused: body.paused, agreement };
    Ok(Json(node::update(&app, &caller.scope, id.read()?, change).await?.into()))
}

/// Voids the certificate of a child for ever; only a new invitation lets it in again.
#[utoipa::path(post, path = "/nodes/{id}/revoke", tag = "node", operation_id = "revoke_node", params(("id" = String, Path)), request_body = RevokeBody, responses((status = 200, body = NodeDto), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn revoke(AppRef(app): AppRef, caller: Caller, id: PathId, Body(body): Body<RevokeBody>) -> Answer<NodeDto> {
    Ok(Json(node::revoke(&app, &caller.scope, id.read()?, &body.reason).await?.into()))
}

/// Takes a frozen child again, once a person has said what happened to it.
#[utoipa::path(post, path = "/nodes/{id}/resume", tag = "node", operation_id = "resume_node", params(("id" = String, Path)), request_body = ResumeBody, responses((status = 200, body = NodeDto), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn resume(AppRef(app): AppRef, caller: Caller, id: PathId, Body(body): Body<ResumeBody>) -> Answer<NodeDto> {
    let unknown = || anlan_app::error::AppError::invalid("word.unknown", "as").with("word", &body.as_);
    let as_ = Resume::parse(&body.as_).ok_or_else(unknown)?;
    Ok(Json(node::resume(&app, &caller.scope, id.read()?, as_).await?.into()))
}

/// Lists invitations, newest first.
#[utoipa::path(get, path = "/invitations", tag = "node", operation_id = "list_invitations", responses((status = 200, body = InvitationList)))]
pub(crate) async fn invitations(AppRef(app): AppRef, caller: Caller) -> Answer<InvitationList> {
    let rows = node::invitations(&app, &caller.scope).await?;
    Ok(Json(InvitationList { invitations: rows.into_iter().map(Into::into).collect() }))
}

/// Invites a node below this one, for 24 hours; the code is told this once.
#[utoipa::path(post, path = "/invitations", tag = "node", operation_id = "invite_node", request_body = InvitationBody, responses((status = 201, body = InvitationMade), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn invite(
    AppRef(app): AppRef,
    caller: Caller,
    Body(body): Body<InvitationBody>,
) -> Result<(StatusCode, Json<InvitationMade>), Failure> {
    let wish = Invitation {
        name: body.name,
        level: body.level.into(),
        region: body.region,
        enterprise: id_option("enterprise", body.enterprise.as_deref())?,
    };
    let made = node::invite(&app, &caller.scope, wish).await?;
    let row = |row: &Vec<bool>| row.iter().map(|dark| if *dark { '1' } else { '0' }).collect();
    let qr = made.qr.iter().map(row).collect();
    Ok((StatusCode::CREATED, Json(InvitationMade { invitation: made.invitation.into(), code: made.code, qr })))
}

/// Lets the node in that claimed the invitation.
#[utoipa::path(post, path = "/invitations/{id}/confirm", tag = "node", operation_id = "confirm_invitation", params(("id" = String, Path)), request_body = ConfirmBody, responses((status = 200, body = NodeDto), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn confirm(AppRef(app): AppRef, caller: Caller, id: PathId, Body(body): Body<ConfirmBody>) -> Answer<NodeDto> {
    Ok(Json(node::confirm(&app, &caller.scope, id.read()?, &body.fingerprint).await?.into()))
}

/// Removes an invitation, or refuses the node that claimed it.
#[utoipa::path(delete, path = "/invitations/{id}", tag = "node", operation_id = "remove_invitation", params(("id" = String, Path)), responses((status = 204)))]
pub(crate) async fn forget(AppRef(app): AppRef, caller: Caller, id: PathId) -> Result<StatusCode, Failure> {
    node::forget(&app, &caller.scope, id.read()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How joining a parent goes.
#[utoipa::path(get, path = "/parent", tag = "node", operation_id = "get_parent", responses((status = 200, body = ParentState)))]
pub(crate) async fn parent(AppRef(app): AppRef, caller: Caller) -> Answer<ParentState> {
    Ok(Json(node::parent(&app, &caller.scope).await?.into()))
}

/// Joins a parent with the code that was given there; how it goes is told by `GET /parent`.
#[utoipa::path(put, path = "/parent", tag = "node", operation_id = "join_parent", request_body = ParentBody, responses((status = 202, body = ParentState), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn join(
    AppRef(app): AppRef,
    caller: Caller,
    Body(body): Body<ParentBody>,
) -> Result<(StatusCode, Json<ParentState>), Failure> {
    let parent = node::join(&app, &caller.scope, &body.code, &body.address).await?;
    Ok((StatusCode::ACCEPTED, Json(parent.into())))
}
