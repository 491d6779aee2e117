//! Orders (交办): what a level above asks of a node below, and whether it was done.
//!
//! A question is replied to by a person. A step of a register is taken by the node itself, under the rules of the register and in those roles of the
//! orderer that a regulator has: what stands against it goes back, every reason of it. [`carry_out`] is a reconciler: what came of an order commits with
//! the word that it is done, so nothing is done twice. Start at [`make`].

use std::sync::Arc;
use std::time::Duration;

use anlan_domain::register::{FieldType, Kind, Owner};
use anlan_model::noun::Grant;
use anlan_model::{Clock as _, EnterpriseId, NodeId, OrderId, Permission, RecordId, RegionCode, Role, Scope};
use anlan_store::{
    AnsweredRecord, NewOrder as Put, Order, OrderedBy, OrderedEnterprise, OrderedRecord, OrderedStep, RecordOwner, StoreError, regulators,
};
pub use anlan_store::{OrderAnswer, OrderDirection, OrderFilter, OrderKind, OrderProblem, OrderRow, OrderState, OrderTarget};
use serde_json::{Map, Value as Json};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::App;
use crate::error::{AppError, Faults, Kind as Refusal};
use crate::record::{self, NewRecord};
use crate::validate::{self, Page, Paging};

/// Looked at this often even without a signal.
const EVERY: Duration = Duration::from_secs(60);
/// Longest order between nodes, in bytes; an entry of a feed takes 64 KiB.
const BYTES_MAX: usize = 60 * 1024;
/// Who may reply for what a question is about.
const REPLY: [Role; 3] = [Role::Supervisor, Role::Leader, Role::SafetyManager];

/// An order to be made.
#[derive(Clone, Debug)]
pub struct NewOrder {
    /// Who is to do it.
    pub target: NodeId,
    /// What is asked.
    pub kind: OrderKind,
    /// Title.
    pub title: String,
    /// Text.
    pub text: String,
    /// The last day on which it is in time, ISO.
    pub due_on: Option<String>,
    /// About which enterprise.
    pub enterprise: Option<EnterpriseId>,
    /// About which division; with neither, about what the target stands for.
    pub region: Option<RegionCode>,
    /// Which step of which register; not of a question.
    pub step: Option<Step>,
}

/// A step of a register at another node.
#[derive(Clone, Debug)]
pub struct Step {
    /// Kind of register.
    pub register: String,
    /// Transition.
    pub transition: String,
    /// What is filled in with it.
    pub fields: Map<String, Json>,
    /// On which record there, and which revision of it was seen; `None` = a new one.
    pub record: Option<(RecordId, i64)>,
}

/// An order with what the asker may do about it.
#[derive(Clone, Debug)]
pub struct OrderView {
    /// The order.
    pub row: OrderRow,
    /// Its day is over and nothing came of it.
    pub is_late: bool,
    /// The asker may reply.
    pub may_answer: bool,
    /// The asker may take it back.
    pub may_withdraw: bool,
}

fn view(app: &App, scope: &Scope, row: OrderRow) -> OrderView {
    let roles = roles_at(scope, &row);
    let is_question = row.order.kind == OrderKind::Question.as_str();
    OrderView {
        is_late: row.is_late(&app.today().to_string()),
        may_answer: row.direction == OrderDirection::Received && row.state == OrderState::Received && is_question && may_reply(&roles),
        may_withdraw: row.direction == OrderDirection::Sent && row.state.is_open() && !regulators(&roles).is_empty(),
        row,
    }
}

fn roles_at(scope: &Scope, row: &OrderRow) -> Vec<String> {
    words(scope.roles_at(row.enterprise, Some(&row.region), row.sector.as_deref()))
}

fn words(roles: Vec<&'static str>) -> Vec<String> {
    roles.into_iter().map(str::to_owned).collect()
}

fn may_reply(roles: &[String]) -> bool {
    REPLY.iter().any(|role| roles.iter().any(|word| word == role.as_str()))
}

/// A page of orders, newest first.
///
/// # Errors
/// No permission to view, a foreign cursor, the store's.
pub async fn list(app: &App, scope: &Scope, filter: &OrderFilter, paging: &Paging) -> Result<Page<OrderView>, AppError> {
    let page = app.store.orders(&scope.with(Permission::View)?, filter, paging).await?;
    Ok(Page { items: page.items.into_iter().map(|row| view(app, scope, row)).collect(), next: page.next })
}

/// One order.
///
/// # Errors
/// No permission to view, not there or not visible.
pub async fn get(app: &App, scope: &Scope, id: OrderId) -> Result<OrderView, AppError> {
    let row = app.store.order(&scope.with(Permission::View)?, id).await?;
    Ok(view(app, scope, row))
}

/// Nodes below that the asker may order: a territory of theirs, in a regulator's role, lies in the node's or holds it.
///
/// # Errors
/// No permission to view, the store's.
pub async fn targets(app: &App, scope: &Scope) -> Result<Vec<OrderTarget>, AppError> {
    scope.with(Permission::View)?;
    let grants: Vec<&Grant> = scope.grants.iter().filter(|grant| !regulators(&[grant.role.as_str().to_owned()]).is_empty()).collect();
    let mut all = app.store.order_targets().await?;
    all.retain(|target| {
        grants.iter().any(|grant| match (&target.region, &grant.region) {
            (None, _) => {
                target.enterprise.is_some()
                    && grant.holds(target.enterprise, target.enterprise_region.as_ref(), target.enterprise_sector.as_deref())
            }
            (Some(_), None) => grant.enterprise.is_none(),
            (Some(theirs), Some(own)) => theirs.holds(own) || own.holds(theirs),
        })
    });
    Ok(all)
}

/// Gives an order: it is on its way when this returns.
///
/// # Errors
/// No regulator's role over what it is about; a target that is this node, that stands not below, or does not answer for what it is about; for a step of a
/// register, everything that is known here to stand against it.
pub async fn make(app: &App, scope: &Scope, new: NewOrder) -> Result<OrderView, AppError> {
    let act = scope.with(Permission::View)?;
    let own = app.store.own_node().ok_or_else(|| AppError::conflict("node.link_off"))?;
    if new.target == own {
        return Err(AppError::conflict("order.to_self").on("target"));
    }
    let mut faults = Faults::default();
    let title = faults.note(validate::name("title", &new.title)).unwrap_or_default();
    let text = faults.note(validate::note("text", &new.text, new.kind == OrderKind::Question)).unwrap_or_default();
    let due_on = new.due_on.as_deref().filter(|day| !day.is_empty());
    let due_on = due_on.and_then(|day| faults.note(validate::day("due_on", day)));
    if due_on.is_some_and(|day| day < app.today()) {
        faults.note::<()>(Err(AppError::invalid("order.due_past", "due_on")));
    }
    faults.check()?;
    let target = app.store.order_targets().await?.into_iter().find(|target| target.id == new.target);
    let target = target.ok_or_else(|| AppError::invalid("order.not_below", "target"))?;
    let (enterprise, region) = match (new.enterprise, new.region) {
        (None, None) => (target.enterprise, target.region.clone().filter(|_| target.enterprise.is_none())),
        about => about,
    };
    let owner = match (enterprise, region) {
        (Some(enterprise), None) => app.store.record_owner(&act, enterprise).await?,
        (None, Some(region)) if act.holds(None, Some(&region), None) => record::of_region(region),
        (None, Some(_)) => return Err(AppError::forbidden("scope.outside")),
        _ => return Err(AppError::invalid("register.owner", "enterprise")),
    };
    let region = owner.region.clone().ok_or_else(|| AppError::invalid("register.owner", "region"))?;
    let stands_for = match &target.region {
        Some(theirs) => theirs.holds(&region),
        None => owner.enterprise.is_some() && owner.enterprise == target.enterprise,
    };
    if !stands_for {
        let field = if owner.enterprise.is_some() { "enterprise" } else { "region" };
        return Err(AppError::invalid("order.territory", field).with("node", &target.name));
    }
    let roles = regulators(&words(scope.roles_at(owner.enterprise, Some(&region), owner.sector.as_deref())));
    if roles.is_empty() {
        return Err(AppError::forbidden("order.role"));
    }
    let step = match (new.kind, new.step) {
        (OrderKind::Question, None) => None,
        (OrderKind::Question, Some(_)) => return Err(AppError::invalid("order.step_of_question", "register")),
        (_, None) => return Err(AppError::invalid("field.missing", "register")),
        (kind, Some(step)) => Some(check_step(app, scope, kind, step, &owner, &roles)?),
    };
    let user = scope.user.ok_or_else(|| AppError::forbidden("scope.outside"))?;
    // What others called it may be longer than an order takes.
    let of = |names: &[String]| Some(OrderedEnterprise { name: names.first()?.chars().take(200).collect(), code: names.get(1)?.clone() });
    let order = Order {
        kind: new.kind.as_str().to_owned(),
        target: target.id,
        origin_name: String::new(),
        title,
        text,
        due_on: due_on.map(|day| day.to_string()),
        region: region.to_string(),
        enterprise: of(&owner.names),
        step,
        by: OrderedBy {
            user: user.to_string(),
            name: scope.name.clone(),
            roles: roles.into_iter().map(|role| role.as_str().to_owned()).collect(),
        },
        made_at: 0,
        withdrawn: None,
    };
    if serde_json::to_string(&order).map_or(0, |text| text.len()) > BYTES_MAX {
        return Err(AppError::too_large("order.too_large"));
    }
    let now = app.clock.now();
    let put = Put { id: OrderId::new(new_id(now)), enterprise: owner.enterprise, order };
    let row = app.store.make_order(&act, &put, now).await?;
    Ok(view(app, scope, row))
}

/// The bits of a UUIDv7 whose time is domain time.
pub(crate) fn new_id(now: anlan_model::Timestamp) -> u128 {
    let us = now.micros().max(0).unsigned_abs();
    let time = uuid::Timestamp::from_unix(uuid::NoContext, us / 1_000_000, u32::try_from(us % 1_000_000 * 1_000).unwrap_or(0));
    uuid::Uuid::new_v7(time).as_u128()
}

/// What is known here to stand against a step elsewhere: the register there may be another edition, and says the last word.
fn check_step(
    app: &App,
    scope: &Scope,
    asked: OrderKind,
    step: Step,
    owner: &RecordOwner,
    roles: &[Role],
) -> Result<OrderedStep, AppError> {
    let kind = app.registers.load().kind(&step.register)?;
    match (kind.owner, owner.enterprise) {
        (Owner::Enterprise, None) => return Err(AppError::invalid("register.owner_enterprise", "enterprise")),
        (Owner::Region, Some(_)) => return Err(AppError::invalid("register.owner_region", "region")),
        (Owner::Everyone, _) => return Err(AppError::invalid("register.owner_everyone", "region")),
        _ => {}
    }
    let transition = kind.transition(&step.transition).ok_or_else(|| AppError::conflict("register.transition_unknown").on("transition"))?;
    if !roles.iter().any(|role| transition.who.iter().any(|who| who == role.as_str())) {
        return Err(AppError::forbidden("register.role").on("transition"));
    }
    let is_first = transition.from.contains(&kind.start);
    match (asked, &step.record) {
        (OrderKind::Open, None) if is_first => {}
        (OrderKind::Open, None) => return Err(AppError::conflict("register.state").on("transition")),
        (OrderKind::Open, Some(_)) => return Err(AppError::invalid("order.record_of_new", "record")),
        (_, None) => return Err(AppError::invalid("field.missing", "record")),
        (_, Some(_)) => {}
    }
    let mut faults = Faults::default();
    for id in step.fields.iter().filter(|(_, value)| !is_empty(value)).map(|(id, _)| id) {
        if is_named_here_alone(&kind, id) {
            faults.note::<()>(Err(AppError::invalid("order.field_elsewhere", &format!("fields.{id}"))));
        }
    }
    faults.check()?;
    let set = record::fields_of(&kind, &step.fields)?;
    if asked == OrderKind::Open {
        let only = Scope { user: scope.user, name: scope.name.clone(), grants: grants_of(owner, roles) };
        record::Doing::new(app, &only, owner, Vec::new(), app.clock.now())?.begin(&kind, &step.transition, set)?;
    } else {
        record::check_fields(&kind, &set)?;
    }
    let fields = step.fields.into_iter().filter(|(_, value)| asked == OrderKind::Act || !is_empty(value)).collect();
    let record = step.record.map(|(id, revision)| OrderedRecord { id: id.get(), revision });
    Ok(OrderedStep { register: step.register, transition: step.transition, fields, record })
}

fn is_empty(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::String(text) => text.trim().is_empty(),
        Json::Array(all) => all.is_empty(),
        _ => false,
    }
}

/// People, records and files have ids that mean something else at another node.
fn is_named_here_alone(kind: &Kind, id: &str) -> bool {
    kind.field(id).is_some_and(|field| matches!(field.of, FieldType::Person | FieldType::Record { .. } | FieldType::File { .. }))
}

/// These roles over this owner and nothing else.
fn grants_of(owner: &RecordOwner, roles: &[Role]) -> Vec<Grant> {
    let of = |role: &Role| match owner.enterprise {
        Some(enterprise) => Grant { role: *role, region: None, sector: None, enterprise: Some(enterprise) },
        None => Grant { role: *role, region: owner.region.clone(), sector: None, enterprise: None },
    };
    roles.iter().map(of).collect()
}

/// Takes back an order that was given here.
///
/// # Errors
/// Not there or not visible, given elsewhere, no regulator's role over what it is about, nothing follows any more.
pub async fn withdraw(app: &App, scope: &Scope, id: OrderId) -> Result<OrderView, AppError> {
    let act = scope.with(Permission::View)?;
    let row = app.store.order(&act, id).await?;
    if regulators(&roles_at(scope, &row)).is_empty() {
        return Err(AppError::forbidden("order.role"));
    }
    if row.direction != OrderDirection::Sent {
        return Err(AppError::conflict("order.not_ours").with("node", row.origin_name));
    }
    let row = app.store.withdraw_order(&act, id, app.clock.now()).await.map_err(over)?;
    Ok(view(app, scope, row))
}

/// Replies to a question.
///
/// # Errors
/// Not there or not visible, for another node, no question, no role that replies for what it is about, nothing follows any more, no text.
pub async fn answer(app: &App, scope: &Scope, id: OrderId, text: &str) -> Result<OrderView, AppError> {
    let act = scope.with(Permission::View)?;
    let row = app.store.order(&act, id).await?;
    if !may_reply(&roles_at(scope, &row)) {
        return Err(AppError::forbidden("order.reply_role"));
    }
    if row.direction != OrderDirection::Received {
        return Err(AppError::conflict("order.not_for_us"));
    }
    if row.order.kind != OrderKind::Question.as_str() {
        return Err(AppError::conflict("order.no_question"));
    }
    let text = validate::note("text", text, true)?;
    let row = app.store.answer_order(&act, id, &text, app.clock.now()).await.map_err(over)?;
    Ok(view(app, scope, row))
}

fn over(error: StoreError) -> AppError {
    if matches!(error, StoreError::Stale) { AppError::conflict("order.over") } else { error.into() }
}

// ---- what is asked of this node

/// Carries out what comes, until stopped.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    loop {
        if let Err(failure) = carry_out(&app).await {
            warn!(error = &failure as &dyn std::error::Error, "orders could not be looked at; next try within a minute");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = app.orders.notified() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Carries out every order that waits for this node itself; how many were settled. Running twice does no harm.
///
/// # Errors
/// The store's; what was settled until then stays settled. One that cannot be settled now keeps none of the others waiting.
pub async fn carry_out(app: &App) -> Result<usize, AppError> {
    let mut n = 0;
    for id in app.store.orders_to_do().await? {
        match settle(app, id).await {
            Ok(is_settled) => n += usize::from(is_settled),
            Err(failure) => {
                warn!(order.id = %id, error = &failure as &dyn std::error::Error, "order {id} could not be carried out; it is tried again");
            }
        }
    }
    Ok(n)
}

/// Carries one out, or refuses it; `false` = it was settled meanwhile.
async fn settle(app: &App, id: OrderId) -> Result<bool, AppError> {
    let row = app.store.order(&Scope::node(), id).await?;
    match take(app, &row).await {
        Ok(is_done) => Ok(is_done),
        Err(refused) if is_refusal(&refused) => Ok(app.store.refuse_order(id, told(refused), app.clock.now()).await?),
        Err(failure) => Err(failure),
    }
}

/// What stands against it, as another node reads it.
pub(crate) fn told(refused: AppError) -> Vec<OrderProblem> {
    let problem = |p: crate::error::Problem| OrderProblem {
        code: p.code.to_owned(),
        field: p.field,
        params: p.params.into_iter().map(|(name, value)| (name.to_owned(), value.chars().take(1_000).collect())).collect(),
    };
    refused.problems.into_iter().map(problem).collect()
}

/// Whether it will be no otherwise the next time: what a person would have been told.
pub(crate) fn is_refusal(failure: &AppError) -> bool {
    matches!(failure.kind, Refusal::Invalid | Refusal::Forbidden | Refusal::NotFound | Refusal::Conflict | Refusal::TooLarge)
}

async fn take(app: &App, row: &OrderRow) -> Result<bool, AppError> {
    let roles = regulators(&row.order.by.roles);
    if roles.is_empty() {
        return Err(AppError::forbidden("order.role"));
    }
    let step = row.order.step.clone().ok_or_else(|| AppError::invalid("field.missing", "register"))?;
    if row.order.enterprise.is_some() && row.enterprise.is_none() {
        return Err(AppError::invalid("reference.unknown", "enterprise"));
    }
    let owner = RecordOwner { enterprise: row.enterprise, ..record::of_region(row.region.clone()) };
    // A stranger: no person here, the same for ever, and nobody at another node can pass for them.
    let by = format!("{}/{}", row.origin, row.order.by.user);
    let scope = Scope { user: None, name: row.orderer(), grants: grants_of(&owner, &roles) };
    let now = app.clock.now();
    let mut change = app.store.change_records(&scope, now).await?;
    if change.order(row.id).await?.is_none() {
        return Ok(false);
    }
    let made = match step.record {
        None => {
            let region = row.enterprise.is_none().then(|| row.region.clone());
            if let Some(region) = &region {
                validate::region("region", region.as_str(), &app.registry.get().regions, app.today())?;
            }
            let new = NewRecord { enterprise: row.enterprise, region, transition: step.transition, fields: step.fields };
            record::create_in(app, &mut change, &scope, by, &step.register, new, now).await?
        }
        Some(at) => {
            let id = RecordId::new(at.id);
            record::act_in(app, &mut change, &scope, by, &step.register, id, &step.transition, at.revision, &step.fields, now).await?
        }
    };
    let record = AnsweredRecord { register: made.kind, id: made.id.get(), number: made.number, title: made.title };
    change.order_done(row.id, record).await?;
    app.live.records_changed(&change.commit().await?);
    Ok(true)
}
