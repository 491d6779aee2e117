//! Orders (交办): what a level above asks of a node below, and what became of it.

use anlan_app::error::AppError;
use anlan_app::order::{self, NewOrder, OrderDirection, OrderFilter, OrderKind, OrderState, OrderTarget, OrderView, Step};
use anlan_app::{App, validate};
use anlan_model::Timestamp;
use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::Answer;
use super::node::NodeLevel;
use crate::dto::{At, flag, id, id_option};
use crate::extract::{AppRef, Body, Caller, PathId, Query, Spoken};
use crate::messages::{self, Language};
use crate::problem::Failure;

/// A node that gives an order or is to do it.
#[derive(Serialize, ToSchema)]
pub(crate) struct OrderNode {
    /// 32 hexadecimal digits.
    id: String,
    /// As far as it is known here.
    name: String,
}

/// The enterprise that an order is about.
#[derive(Serialize, ToSchema)]
pub(crate) struct OrderEnterprise {
    /// `null` = it is not known here.
    id: Option<String>,
    code: String,
    name: String,
}

/// A record at another node.
#[derive(Serialize, ToSchema)]
pub(crate) struct OrderRecord {
    /// Id at its home.
    id: String,
    /// The revision that was seen; `null` = it came of the order.
    revision: Option<i64>,
    number: String,
    title: String,
}

/// A step of a register that is to be taken.
#[derive(Serialize, ToSchema)]
pub(crate) struct OrderStep {
    register: String,
    transition: String,
    /// Value by field, as records show them.
    #[schema(value_type = BTreeMap<String, Value>)]
    fields: Map<String, Value>,
    /// On this one; `null` = a new one.
    record: Option<OrderRecord>,
}

/// One reason why an order was not done.
#[derive(Serialize, ToSchema)]
pub(crate) struct OrderReason {
    /// Stable word for programs; of the target's release.
    pub(crate) code: String,
    /// A sentence for people, in the accepted language.
    pub(crate) detail: String,
    /// Path of the field.
    pub(crate) field: Option<String>,
}

/// What the target says of an order.
#[derive(Serialize, ToSchema)]
#[schema(as = OrderAnswer)]
pub(crate) struct AnswerDto {
    at: At,
    /// Who replied; empty = the node itself.
    by: String,
    text: String,
    /// What came of it.
    record: Option<OrderRecord>,
    /// Everything that stood against it.
    reasons: Vec<OrderReason>,
}

/// Who took an order back.
#[derive(Serialize, ToSchema)]
pub(crate) struct Withdrawal {
    by: String,
    at: At,
}

/// An order.
#[derive(Serialize, ToSchema)]
#[schema(as = Order)]
pub(crate) struct OrderDto {
    id: String,
    /// `question`: a person there replies; `open`: a record is made there; `act`: a record there is brought on.
    kind: String,
    origin: OrderNode,
    target: OrderNode,
    /// `sent`: given here; `received`: for this node; `passing`.
    direction: &'static str,
    title: String,
    text: String,
    /// The last day on which it is in time, `YYYY-MM-DD`.
    due_on: Option<String>,
    /// That day is over and nothing came of it.
    late: bool,
    /// `null` = it is about a division.
    enterprise: Option<OrderEnterprise>,
    region: String,
    region_name: String,
    /// Not of a question.
    step: Option<OrderStep>,
    made_by: String,
    made_at: At,
    /// `sent`: nothing was heard of it yet; `received`: it is there; `done`, `refused`, `answered`, `withdrawn`.
    state: &'static str,
    /// The target has said as much: one that was taken back may have been done meanwhile.
    confirmed: bool,
    withdrawn: Option<Withdrawal>,
    answer: Option<AnswerDto>,
    /// The asker may reply.
    may_answer: bool,
    /// The asker may take it back.
    may_withdraw: bool,
}

fn dto(view: OrderView, language: Language) -> OrderDto {
    let OrderView { row, is_late, may_answer, may_withdraw } = view;
    let at = |us: i64| At(Timestamp::from_micros(us));
    let target = row.order.target.to_string();
    let reason = |p: anlan_app::order::OrderProblem| OrderReason {
        detail: messages::sentence(&p.code, language, &p.params),
        code: p.code,
        field: p.field,
    };
    let answer = |a: anlan_app::order::OrderAnswer| AnswerDto {
        at: at(a.at),
        by: a.by,
        text: a.text,
        record: a.record.map(|r| OrderRecord { id: r.id.to_string(), revision: None, number: r.number, title: r.title }),
        reasons: a.problems.into_iter().map(reason).collect(),
    };
    OrderDto {
        id: row.id.to_string(),
        kind: row.order.kind,
        origin: OrderNode { id: row.origin.to_string(), name: row.origin_name },
        target: OrderNode { name: row.target_name.unwrap_or_else(|| target.chars().take(8).collect()), id: target },
        direction: row.direction.as_str(),
        title: row.order.title,
        text: row.order.text,
        due_on: row.order.due_on,
        late: is_late,
        enterprise: row.order.enterprise.map(|named| OrderEnterprise {
            id: row.enterprise.map(|e| e.to_string()),
            name: row.enterprise_name.unwrap_or(named.name),
            code: named.code,
        }),
        region_name: row.region_name.unwrap_or_else(|| row.region.to_string()),
        region: row.region.to_string(),
        step: row.order.step.map(|step| OrderStep {
            register: step.register,
            transition: step.transition,
            fields: step.fields,
            record: step.record.map(|r| OrderRecord {
                id: r.id.to_string(),
                revision: Some(r.revision),
                number: String::new(),
                title: String::new(),
            }),
        }),
        made_by: row.order.by.name,
        made_at: at(row.order.made_at),
        state: row.state.as_str(),
        confirmed: row.is_confirmed,
        withdrawn: row.order.withdrawn.map(|word| Withdrawal { by: word.by, at: at(word.at) }),
        // That it arrived is no answer for people.
        answer: row.answer.filter(|a| a.state != OrderState::Received.as_str() && a.state != OrderState::Withdrawn.as_str()).map(answer),
        may_answer,
        may_withdraw,
    }
}

/// A page of orders.
#[derive(Serialize, ToSchema)]
pub(crate) struct OrderList {
    orders: Vec<OrderDto>,
    next: Option<String>,
}

/// Which orders.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrderQuery {
    /// `sent`: given here; `received`: for this node; `passing`.
    direction: Option<String>,
    /// In this state.
    state: Option<String>,
    /// `true` = something follows.
    open: Option<String>,
    /// `true` = their day is over and nothing came of them.
    late: Option<String>,
    /// About this enterprise.
    enterprise: Option<String>,
    cursor: Option<String>,
    /// 1 to 1,000.
    limit: Option<u32>,
}

fn word<T>(field: &str, text: Option<&str>, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, AppError> {
    let read = |word: &str| parse(word).ok_or_else(|| AppError::invalid("word.unknown", field).with("word", word));
    text.filter(|t| !t.is_empty()).map(read).transpose()
}

fn filter(app: &App, query: &OrderQuery) -> Result<OrderFilter, AppError> {
    let is_late = flag("late", query.late.as_deref())? == Some(true);
    Ok(OrderFilter {
        direction: word("direction", query.direction.as_deref(), OrderDirection::parse)?,
        state: word("state", query.state.as_deref(), OrderState::parse)?,
        is_open: flag("open", query.open.as_deref())?,
        due_before: is_late.then(|| app.today().to_string()),
        enterprise: id_option("enterprise", query.enterprise.as_deref())?,
    })
}

/// Lists orders that were given here, that are for this node, and that pass, newest first.
#[utoipa::path(get, path = "/orders", tag = "order", operation_id = "list_orders", params(OrderQuery), responses((status = 200, body = OrderList)))]
pub(crate) async fn list(
    AppRef(app): AppRef,
    caller: Caller,
    Spoken(language): Spoken,
    Query(query): Query<OrderQuery>,
) -> Answer<OrderList> {
    let filter = filter(&app, &query)?;
    let page = order::list(&app, &caller.scope, &filter, &validate::paging(query.cursor, query.limit)?).await?;
    Ok(Json(OrderList { orders: page.items.into_iter().map(|view| dto(view, language)).collect(), next: page.next }))
}

/// One order.
#[utoipa::path(get, path = "/orders/{id}", tag = "order", operation_id = "get_order", params(("id" = String, Path)), responses((status = 200, body = OrderDto)))]
pub(crate) async fn get(AppRef(app): AppRef, caller: Caller, Spoken(language): Spoken, id: PathId) -> Answer<OrderDto> {
    Ok(Json(dto(order::get(&app, &caller.scope, id.read()?).await?, language)))
}

/// A node below to which the asker may give orders.
#[derive(Serialize, ToSchema)]
#[schema(as = OrderTarget)]
pub(crate) struct TargetDto {
    /// 32 hexadecimal digits.
    id: String,
    name: String,
    level: NodeLevel,
    /// What it stands for: what lies in this division; `null` = the enterprise alone.
    region: Option<String>,
    region_name: Option<String>,
    /// Of an enterprise's node.
    enterprise: Option<String>,
    enterprise_name: Option<String>,
}

impl From<OrderTarget> for TargetDto {
    fn from(target: OrderTarget) -> Self {
        Self {
            id: target.id.to_string(),
            name: target.name,
            level: target.level.into(),
            region: target.region.map(|r| r.to_string()),
            region_name: target.region_name,
            enterprise: target.enterprise.map(|e| e.to_string()),
            enterprise_name: target.enterprise_name,
        }
    }
}

/// Nodes to which the asker may give orders.
#[derive(Serialize, ToSchema)]
pub(crate) struct TargetList {
    targets: Vec<TargetDto>,
}

/// Lists the nodes below to which the asker may give orders.
#[utoipa::path(get, path = "/orders/targets", tag = "order", operation_id = "list_order_targets", responses((status = 200, body = TargetList)))]
pub(crate) async fn targets(AppRef(app): AppRef, caller: Caller) -> Answer<TargetList> {
    let targets = order::targets(&app, &caller.scope).await?;
    Ok(Json(TargetList { targets: targets.into_iter().map(Into::into).collect() }))
}

/// A record at another node, as it was seen.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SeenRecord {
    /// Id at its home.
    id: String,
    /// An older one is refused there.
    revision: i64,
}

/// A new order.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrderBody {
    /// Node that is to do it, of `GET /orders/targets`.
    target: String,
    /// `question`, `open`: make a record there, `act`: bring a record there on.
    kind: String,
    title: String,
    /// Of a question: what is asked.
    #[serde(default)]
    text: String,
    /// The last day on which it is in time, `YYYY-MM-DD`.
    #[serde(default)]
    due_on: Option<String>,
    /// About which enterprise here.
    #[serde(default)]
    enterprise: Option<String>,
    /// About which division; with neither, about what the target stands for.
    #[serde(default)]
    region: Option<String>,
    /// Of `open` and `act`: the register.
    #[serde(default)]
    register: Option<String>,
    /// Its transition.
    #[serde(default)]
    transition: Option<String>,
    /// Value by field; people, records and files have no meaning at another node and are refused.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Value>)]
    fields: Map<String, Value>,
    /// Of `act`: which record.
    #[serde(default)]
    record: Option<SeenRecord>,
}

/// Gives an order. It is on its way when this returns; what becomes of it is told by `GET /orders/{id}`.
#[utoipa::path(post, path = "/orders", tag = "order", operation_id = "give_order", request_body = OrderBody, responses((status = 201, body = OrderDto), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn make(
    AppRef(app): AppRef,
    caller: Caller,
    Spoken(language): Spoken,
    Body(body): Body<OrderBody>,
) -> Result<(StatusCode, Json<OrderDto>), Failure> {
    let known = app.registry.get();
    let kind = word("kind", Some(&body.kind), OrderKind::parse)?.ok_or_else(|| AppError::invalid("field.missing", "kind"))?;
    let region = body.region.filter(|r| !r.is_empty()).map(|r| validate::region("region", &r, &known.regions, app.today())).transpose()?;
    let step = match body.register.filter(|register| !register.is_empty()) {
        None => None,
        Some(register) => Some(Step {
            register,
            transition: body.transition.unwrap_or_default(),
            fields: body.fields,
            record: body.record.map(|seen| Ok::<_, AppError>((id("record.id", &seen.id)?, seen.revision))).transpose()?,
        }),
    };
    let new = NewOrder {
        target: id("target", &body.target)?,
        kind,
        title: body.title,
        text: body.text,
        due_on: body.due_on,
        enterprise: id_option("enterprise", body.enterprise.as_deref())?,
        region,
        step,
    };
    let view = order::make(&app, &caller.scope, new).await?;
    Ok((StatusCode::CREATED, Json(dto(view, language))))
}

/// What somebody replies.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplyBody {
    text: String,
}

/// Replies to a question that is for this node.
#[utoipa::path(post, path = "/orders/{id}/answer", tag = "order", operation_id = "answer_order", params(("id" = String, Path)), request_body = ReplyBody, responses((status = 200, body = OrderDto), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn answer(
    AppRef(app): AppRef,
    caller: Caller,
    Spoken(language): Spoken,
    id: PathId,
    Body(body): Body<ReplyBody>,
) -> Answer<OrderDto> {
    Ok(Json(dto(order::answer(&app, &caller.scope, id.read()?, &body.text).await?, language)))
}

/// Takes back an order that was given here. One that was done before it hears of that stays done.
#[utoipa::path(post, path = "/orders/{id}/withdraw", tag = "order", operation_id = "withdraw_order", params(("id" = String, Path)), responses((status = 200, body = OrderDto), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn withdraw(AppRef(app): AppRef, caller: Caller, Spoken(language): Spoken, id: PathId) -> Answer<OrderDto> {
    Ok(Json(dto(order::withdraw(&app, &caller.scope, id.read()?).await?, language)))
}
