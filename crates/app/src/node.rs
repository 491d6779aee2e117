//! Nodes of the network (节点): who is above and below, letting one in, cutting and mending; and what the running link says of each.
//!
//! Belongs to the whole node: people with a territory see nothing of it. What needs the link itself goes through [`Network`], which whoever runs the link
//! puts into [`App::network`]; without it everything is shown as not connected. Start at [`list`].

use std::collections::BTreeMap;

pub use anlan_link::agreement::Readings;
pub use anlan_link::identity::fingerprint as fingerprint_of;
use anlan_model::{Clock as _, EnterpriseId, NodeId, NodeLevel, Permission, PointId, Scope};
pub use anlan_store::{Admission, InvitationRow, InvitationState, NodeChange, NodeRow, NodeState, ProofDay, ProofHolder, Relation, Resume};
use anlan_store::{NewInvitation, StoreError};

use crate::App;
use crate::access::real_now;
use crate::error::{AppError, Faults};
use crate::registry::Touched;
use crate::validate::{self, Page, Paging};

/// How long an invitation may be used, real time.
const INVITATION_US: i64 = 15 * 60_000_000;

/// The running link, as use cases need it. Nothing here waits for another node.
pub trait Network: Send + Sync {
    /// How a neighbour is heard now.
    fn heard(&self, neighbour: NodeId) -> Heard;
    /// The code of a new invitation, and its secret.
    ///
    /// # Errors
    /// The machine gives no randomness.
    fn new_code(&self) -> Result<([u8; 16], String), AppError>;
    /// The certificate of a node whose invitation a person confirms.
    ///
    /// # Errors
    /// The authority cannot sign.
    fn admit(&self, invitation: &InvitationRow) -> Result<Admission, AppError>;
    /// Begins to join the node at `address`; how it goes is [`Network::parent`].
    ///
    /// # Errors
    /// A code that cannot be read, an address that is none.
    fn join(&self, code: &str, address: &str) -> Result<(), AppError>;
    /// How joining goes.
    fn parent(&self) -> Parent;
    /// Rows of nodes changed: one was cut, mended, let in, revoked, resumed.
    fn changed(&self);
    /// Asks for a day of an origin once more, whole.
    ///
    /// # Errors
    /// Nobody who has it is connected.
    fn again(&self, origin: NodeId, day: &str) -> Result<(), AppError>;
    /// Where this node and the origin differ on a day, as last answered; `None` = not answered yet, and asked for now.
    fn differences(&self, origin: NodeId, day: &str) -> Option<Vec<Difference>>;
}

/// How a neighbour is heard.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Heard {
    /// There is a connection.
    pub connected: bool,
    /// What waits to go to it.
    pub queue: Option<Queue>,
    /// How far what came from it lags, in seconds.
    pub lag_s: Option<f64>,
}

/// What waits to go to a neighbour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Records of the log.
    pub log: u64,
    /// Entries of the feed.
    pub feed: u64,
}

/// How joining a parent goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parent {
    /// Where it stands.
    pub state: ParentState,
    /// What went wrong, or is waited for.
    pub detail: String,
    /// SHA-256 of this node's public key: what a person at the parent compares.
    pub fingerprint: Option<String>,
}

/// Where joining stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ParentState {
    /// There is no parent.
    #[default]
    None,
    /// The code was shown; a person at the parent must confirm.
    Waiting,
    /// There is a parent.
    Joined,
    /// It was refused, or cannot be reached.
    Failed,
}

impl ParentState {
    /// The word on the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Waiting => "waiting",
            Self::Joined => "joined",
            Self::Failed => "failed",
        }
    }
}

/// A point of which two nodes do not have the same readings on a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The point here, if it is known here.
    pub point: Option<PointId>,
    /// Its id at its home.
    pub remote: i64,
    /// Readings and sum of their hashes here.
    pub here: (u64, u128),
    /// At the origin.
    pub there: (u64, u128),
}

/// A node and how it is heard.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeView {
    /// The row.
    pub row: NodeRow,
    /// The link, if there is one to it.
    pub heard: Heard,
    /// The newest day that was compared.
    pub proof: Option<ProofDay>,
}

/// An invitation that was made, with what is told this once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invited {
    /// The row.
    pub invitation: InvitationRow,
    /// The code to give to the other node.
    pub code: String,
    /// The code as a QR code, row by row; true = dark.
    pub qr: Vec<Vec<bool>>,
}

/// An invitation to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// Name of the node.
    pub name: String,
    /// Its level.
    pub level: NodeLevel,
    /// Its territory; none for an enterprise's node.
    pub region: Option<String>,
    /// Of an enterprise's node: which enterprise.
    pub enterprise: Option<EnterpriseId>,
}

fn network(app: &App) -> Result<&dyn Network, AppError> {
    app.network.get().map(AsRef::as_ref).ok_or_else(|| AppError::conflict("node.link_off"))
}

/// Which readings are wanted to travel between this node and a neighbour, by what was set here.
pub(crate) fn wish(row: &NodeRow) -> Readings {
    row.agreement["readings"].as_str().map_or(Readings::All, |word| Readings::All.with(word))
}

/// Which readings travel: the lesser of what was set here and what the neighbour said. One that says nothing knows no agreements.
pub fn agreed(row: &NodeRow) -> Readings {
    row.said["readings"].as_str().map_or_else(|| wish(row), |word| wish(row).with(word))
}

/// What the link must know has changed.
fn tell(app: &App) {
    if let Some(network) = app.network.get() {
        network.changed();
    }
}

fn view(app: &App, row: NodeRow, proofs: &BTreeMap<NodeId, ProofDay>) -> NodeView {
    let is_neighbour = matches!(row.relation, Relation::Child | Relation::Parent);
    let heard = app.network.get().filter(|_| is_neighbour).map(|network| network.heard(row.id)).unwrap_or_default();
    NodeView { heard, proof: proofs.get(&row.id).cloned(), row }
}

/// Every node; empty for an asker with a territory.
///
/// # Errors
/// No permission to view, or the store's.
pub async fn list(app: &App, scope: &Scope) -> Result<Vec<NodeView>, AppError> {
    let rows = app.store.nodes(&scope.with(Permission::View)?).await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let proofs: BTreeMap<NodeId, ProofDay> = app.store.newest_proofs().await?.into_iter().map(|day| (day.origin, day)).collect();
    Ok(rows.into_iter().map(|row| view(app, row, &proofs)).collect())
}

async fn one(app: &App, row: NodeRow) -> Result<NodeView, AppError> {
    let proofs = app.store.newest_proofs().await?.into_iter().map(|day| (day.origin, day)).collect();
    Ok(view(app, row, &proofs))
}

/// Changes a neighbour: its name here, cut or mended, what is agreed.
///
/// # Errors
/// No permission for the whole node, not there, not a neighbour, a stale revision, a name that cannot be accepted.
pub async fn update(app: &App, scope: &Scope, id: NodeId, change: NodeChange) -> Result<NodeView, AppError> {
    let act = scope.with(Permission::ManageSystem)?;
    let row = app.store.node(&act, id).await?;
    let may = match row.relation {
        Relation::Child => true,
        // Its name is its own.
        Relation::Parent => change.name.is_none(),
        Relation::Own | Relation::Behind => false,
    };
    if !may {
        return Err(AppError::conflict("node.not_neighbour").with("node", row.name));
    }
    let name = change.name.map(|name| validate::name("name", &name)).transpose()?;
    let row = app.store.update_node(&act, id, &NodeChange { name, ..change }, app.clock.now()).await?;
    tell(app);
    one(app, row).await
}

/// Voids the certificate of a child for ever.
///
/// # Errors
/// No permission for the whole node, not a child, no reason.
pub async fn revoke(app: &App, scope: &Scope, id: NodeId, reason: &str) -> Result<NodeView, AppError> {
    let act = scope.with(Permission::ManageSystem)?;
    let reason = validate::note("reason", reason, true)?;
    app.store.node(&act, id).await?;
    let row = app.store.revoke_node(&act, id, &reason, app.clock.now()).await.map_err(|e| not_so(e, "node.not_child"))?;
    tell(app);
    one(app, row).await
}

/// Takes a frozen child again, once a person has said what happened to it.
///
/// # Errors
/// No permission for the whole node, not there, not frozen.
pub async fn resume(app: &App, scope: &Scope, id: NodeId, as_: Resume) -> Result<NodeView, AppError> {
    let act = scope.with(Permission::ManageSystem)?;
    app.store.node(&act, id).await?;
    let row = app.store.resume_node(&act, id, as_, app.clock.now()).await.map_err(|e| not_so(e, "node.not_frozen"))?;
    tell(app);
    one(app, row).await
}

/// The row was just seen: what misses is that it is so.
fn not_so(error: StoreError, code: &'static str) -> AppError {
    if matches!(error, StoreError::NotFound) { AppError::conflict(code) } else { error.into() }
}

/// Invitations, newest first; empty for an asker with a territory.
///
/// # Errors
/// No permission.
pub async fn invitations(app: &App, scope: &Scope) -> Result<Vec<InvitationRow>, AppError> {
    Ok(app.store.invitations(&scope.with(Permission::ManageSystem)?).await?)
}

/// Invites a node below this one; its code is answered this once.
///
/// # Errors
/// No permission for the whole node, no running link, a level that is not below this node's, a territory outside of its own, an enterprise's node without
/// an enterprise.
pub async fn invite(app: &App, scope: &Scope, wish: Invitation) -> Result<Invited, AppError> {
    let act = scope.with(Permission::ManageSystem)?;
    if !act.node_wide() {
        return Err(AppError::forbidden("scope.outside"));
    }
    let network = network(app)?;
    let own = app.store.own_node().ok_or_else(|| AppError::conflict("node.link_off"))?;
    let own = app.store.node(&act, own).await?;
    let mut faults = Faults::default();
    let name = faults.note(validate::name("name", &wish.name));
    if wish.level >= own.level {
        faults.note::<()>(Err(AppError::invalid("node.level", "level")));
    }
    let known = app.registry.get();
    let region = wish.region.filter(|region| !region.is_empty());
    let region = match (&region, wish.level) {
        (None, NodeLevel::Enterprise) => None,
        (Some(_), NodeLevel::Enterprise) => {
            faults.note::<()>(Err(AppError::invalid("node.region_of_enterprise", "region")));
            None
        }
        (None, _) => {
            faults.note::<()>(Err(AppError::invalid("field.missing", "region")));
            None
        }
        (Some(text), _) => faults.note(validate::region("region", text, &known.regions, app.today())),
    };
    if let (Some(region), Some(own)) = (&region, &own.region)
        && !own.holds(region)
    {
        faults.note::<()>(Err(AppError::invalid("node.territory", "region")));
    }
    match (wish.level, wish.enterprise) {
        (NodeLevel::Enterprise, None) => faults.note::<()>(Err(AppError::invalid("field.missing", "enterprise"))),
        (NodeLevel::Enterprise, Some(_)) | (_, None) => None,
        (_, Some(_)) => faults.note::<()>(Err(AppError::invalid("node.enterprise_of_region", "enterprise"))),
    };
    faults.check()?;
    let (secret, code) = network.new_code()?;
    let qr = crate::certificate::drawn(&code)?;
    let real = real_now();
    let new = NewInvitation {
        name: name.unwrap_or_default(),
        level: wish.level,
        region,
        enterprise: wish.enterprise,
        secret,
        expires_at: real.plus_us(INVITATION_US),
    };
    let invitation = app.store.invite(&act, &new, real, app.clock.now()).await.map_err(|error| match error {
        StoreError::TooMany { most } => AppError::conflict("node.too_many_invitations").with("max", most),
        other => other.into(),
    })?;
    Ok(Invited { invitation, code, qr })
}

/// Lets the node in that claimed an invitation, if a person has compared its fingerprint.
///
/// # Errors
/// No permission for the whole node, not there, nobody has claimed it, another fingerprint, no running link.
pub async fn confirm(app: &App, scope: &Scope, id: i64, fingerprint: &str) -> Result<NodeView, AppError> {
    let act = scope.with(Permission::ManageSystem)?;
    let invitation = app.store.invitation(&act, id).await?;
    let key = invitation.public_key.as_deref().filter(|_| invitation.state == InvitationState::Claimed);
    let key = key.ok_or_else(|| AppError::conflict("node.not_claimed"))?;
    let network = network(app)?;
    // People type it in groups.
    let bare: String = fingerprint.chars().filter(|c| c.is_ascii_hexdigit()).map(|c| c.to_ascii_lowercase()).collect();
    if bare != fingerprint_of(key) {
        return Err(AppError::invalid("node.fingerprint", "fingerprint"));
    }
    let admission = network.admit(&invitation)?;
    let (row, device) = app.store.confirm_invitation(&act, id, &admission, app.clock.now()).await.map_err(|error| match error {
        StoreError::NotFound => AppError::conflict("node.not_claimed"),
        StoreError::Taken { field: "node" } => AppError::conflict("node.above"),
        other => other.into(),
    })?;
    app.registry.renew(device.map(Touched::Device)).await?;
    tell(app);
    one(app, row).await
}

/// Removes an invitation, or refuses who claimed it.
///
/// # Errors
/// No permission for the whole node, not there.
pub async fn forget(app: &App, scope: &Scope, id: i64) -> Result<(), AppError> {
    let act = scope.with(Permission::ManageSystem)?;
    app.store.delete_invitation(&act, id, app.clock.now()).await?;
    tell(app);
    Ok(())
}

/// How joining a parent goes.
///
/// # Errors
/// No permission for the whole node.
pub async fn parent(app: &App, scope: &Scope) -> Result<Parent, AppError> {
    if !scope.with(Permission::ManageSystem)?.node_wide() {
        return Err(AppError::forbidden("scope.outside"));
    }
    let is_joined = app.store.parent_node().is_some();
    let without = Parent { state: if is_joined { ParentState::Joined } else { ParentState::None }, ..Parent::default() };
    Ok(app.network.get().map_or(without, |network| network.parent()))
}

/// Joins the node at `address` with the code that was given there.
///
/// # Errors
/// No permission for the whole node, no running link, a code or address that cannot be read.
pub async fn join(app: &App, scope: &Scope, code: &str, address: &str) -> Result<Parent, AppError> {
    if !scope.with(Permission::ManageSystem)?.node_wide() {
        return Err(AppError::forbidden("scope.outside"));
    }
    let network = network(app)?;
    network.join(code.trim(), address.trim())?;
    Ok(network.parent())
}

/// Days with what their holders have, newest first; empty for an asker with a territory.
///
/// # Errors
/// No permission to view, a foreign cursor, a day that is none.
pub async fn proofs(
    app: &App,
    scope: &Scope,
    origin: Option<NodeId>,
    from: Option<&str>,
    to: Option<&str>,
    paging: &Paging,
) -> Result<Page<ProofDay>, AppError> {
    let scope = scope.with(Permission::View)?;
    for (field, day) in [("from", from), ("to", to)] {
        day.map(|day| validate::day(field, day)).transpose()?;
    }
    Ok(app.store.proofs(&scope, origin, from, to, paging).await?)
}

/// One origin and day, and where this node and the origin differ; `None` until the origin has answered.
///
/// # Errors
/// No permission to view, not there, a day that is none.
pub async fn proof(app: &App, scope: &Scope, origin: NodeId, day: &str) -> Result<(ProofDay, Option<Vec<Difference>>), AppError> {
    let scope = scope.with(Permission::View)?;
    validate::day("day", day)?;
    let found = app.store.proof(&scope, origin, day).await?;
    let differences = match app.network.get() {
        // Where a holder has thinned the day, points cannot be compared any more.
        Some(network) if found.equal == Some(false) && found.holders.iter().all(|h| h.thinned.is_none()) => {
            network.differences(origin, day)
        }
        _ => None,
    };
    Ok((found, differences))
}

/// Asks for a day of an origin once more, whole; what is here already stays.
///
/// # Errors
/// No permission for the whole node, not there, no running link, a day that was thinned here, nobody connected who has it.
pub async fn again(app: &App, scope: &Scope, origin: NodeId, day: &str) -> Result<(), AppError> {
    let act = scope.with(Permission::ManageSystem)?;
    validate::day("day", day)?;
    app.store.node(&act, origin).await?;
    let network = network(app)?;
    if app.store.thinned_here(origin, day).await?.is_some_and(|row| row.is_whole()) {
        return Err(AppError::conflict("node.thinned"));
    }
    network.again(origin, day)
}
