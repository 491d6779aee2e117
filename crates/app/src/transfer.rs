//! Transfer of home (主管移交): an enterprise that gets a node of its own, or a county that joins, keeps its enterprises and their records itself from then on.
//!
//! What goes of an enterprise's records is what people of the enterprise can begin and what its new home tells of again; what authorities began about it stays.
//! The target takes on hearing, in one commit, or refuses with every reason. Start at [`make`]; [`run`] is the other end.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anlan_domain::register::{Kind, Owner};
use anlan_model::{Clock as _, EnterpriseId, NodeId, NodeLevel, Permission, Role, Scope, TransferId};
use anlan_store::StoreError;
pub use anlan_store::{TransferPreview, TransferRow};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::App;
use crate::error::AppError;
use crate::registry::Touched;
use crate::{order, record};

/// What could not be taken for want of the database is tried again this often.
const EVERY: Duration = Duration::from_secs(60);
/// People of an enterprise.
const OF_ENTERPRISES: [Role; 2] = [Role::SafetyManager, Role::Worker];

/// Transfers that were heard of since this start and are to be taken.
#[derive(Debug, Default)]
pub struct Heard {
    ids: Mutex<BTreeSet<TransferId>>,
    bell: Notify,
}

impl Heard {
    /// They were heard of.
    pub fn add(&self, ids: &[TransferId]) {
        if !ids.is_empty() {
            self.ids.lock().unwrap_or_else(PoisonError::into_inner).extend(ids);
            self.bell.notify_one();
        }
    }
    fn all(&self) -> Vec<TransferId> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
    fn is_over(&self, id: TransferId) {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

/// Transfers given here and to this node, newest first.
///
/// # Errors
/// Who does not manage the whole node, the store's.
pub async fn list(app: &App, scope: &Scope) -> Result<Vec<TransferRow>, AppError> {
    Ok(app.store.transfers(&scope.with(Permission::ManageSystem)?).await?)
}

/// What would be handed over of an enterprise.
///
/// # Errors
/// Who does not manage the whole node, an enterprise that is not there, the store's.
pub async fn preview(app: &App, scope: &Scope, enterprise: EnterpriseId) -> Result<TransferPreview, AppError> {
    let scope = scope.with(Permission::ManageSystem)?;
    app.store.enterprise(&scope, enterprise).await?;
    Ok(app.store.preview_transfer(&scope, enterprise, &kinds(app).await?).await?)
}

/// Hands an enterprise over to a child; it is on its way when this returns.
///
/// # Errors
/// Who does not manage the whole node; a node that is no child or does not stand for it; an enterprise that is kept elsewhere, is under way, or has more records
/// than travel at once.
pub async fn make(app: &App, scope: &Scope, enterprise: EnterpriseId, node: NodeId) -> Result<TransferRow, AppError> {
    let scope = scope.with(Permission::ManageSystem)?;
    let now = app.clock.now();
    let id = TransferId::new(order::new_id(now));
    let made = app.store.make_transfer(&scope, id, enterprise, node, &kinds(app).await?, now).await;
    made.map_err(|error| match error {
        StoreError::Missing { field: "node" } => AppError::invalid("transfer.node", "node"),
        StoreError::NotFound => AppError::invalid("reference.unknown", "enterprise"),
        StoreError::TooMany { .. } => AppError::conflict("transfer.too_large"),
        other => other.into(),
    })
}

/// Takes a transfer back that was given here.
///
/// # Errors
/// Who does not manage the whole node, not there, given elsewhere, over already.
pub async fn withdraw(app: &App, scope: &Scope, id: TransferId) -> Result<TransferRow, AppError> {
    let row = app.store.withdraw_transfer(&scope.with(Permission::ManageSystem)?, id, app.clock.now()).await;
    row.map_err(|error| if matches!(error, StoreError::Stale) { AppError::conflict("transfer.over") } else { error.into() })
}

/// Registers whose records go along.
async fn kinds(app: &App) -> Result<Vec<String>, AppError> {
    let own = app.store.own_node().ok_or_else(|| AppError::conflict("node.link_off"))?;
    let level = app.store.node(&Scope::node(), own).await?.level;
    let registers = app.registers.load();
    let all = registers.kinds().into_iter().filter_map(|id| registers.kind(&id).ok());
    Ok(all.filter(|kind| goes_along(kind, level)).map(|kind| kind.id.clone()).collect())
}

/// What people of an enterprise begin, and of which a node of this level hears again from below: nothing goes out of its sight.
fn goes_along(kind: &Kind, level: NodeLevel) -> bool {
    let begins = |role: Role| kind.transitions.iter().any(|t| t.from.contains(&kind.start) && t.who.iter().any(|who| who == role.as_str()));
    matches!(kind.owner, Owner::Enterprise | Owner::Either) && kind.rules().up_to.reaches(level) && OF_ENTERPRISES.into_iter().any(begins)
}

// ---- what is handed over to this node

/// Takes what is heard of, until stopped.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    loop {
        take_heard(&app).await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = app.transfers.bell.notified() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Takes or refuses everything that was heard of; what cannot be now waits. Running twice does no harm.
pub async fn take_heard(app: &App) {
    for id in app.transfers.all() {
        match settle(app, id).await {
            Ok(()) => app.transfers.is_over(id),
            Err(failure) => {
                warn!(transfer.id = %id, error = &failure as &dyn std::error::Error, "transfer {id} could not be taken; it is tried again");
            }
        }
    }
}

/// Takes one, or refuses it.
async fn settle(app: &App, id: TransferId) -> Result<(), AppError> {
    match take(app, id).await {
        Err(refused) if order::is_refusal(&refused) => {
            app.store.refuse_transfer(id, order::told(refused), app.clock.now()).await?;
            Ok(())
        }
        taken => taken,
    }
}

async fn take(app: &App, id: TransferId) -> Result<(), AppError> {
    let node = Scope::node();
    let mut change = app.store.change_records(&node, app.clock.now()).await?;
    let given = change.transfer(id).await.map_err(|error| match error {
        StoreError::Corrupt(_) => AppError::conflict("transfer.broken"),
        other => other.into(),
    });
    let Some((from, given)) = given? else { return Ok(()) };
    let (enterprise, ids) = record::take_all(app, &mut change, from, &given).await?;
    change.transfer_taken(id, enterprise, &given, &ids).await?;
    let changed = change.commit().await?;
    app.registry.renew([Touched::Enterprise(enterprise)]).await?;
    app.live.records_changed(&changed);
    Ok(())
}
