//! Orders through the API: who gives which to whom, what comes back, and what a node does of itself for somebody at a level above.

mod common;

use anlan_model::{Clock as _, NodeId, NodeLevel, OrderId, RegionCode, Scope};
use anlan_store::{FeedEntry, Neighbour, OrderState, Peer};
use common::{ELSEWHERE, HERE, Node, ask, node, text};
use serde_json::{Value, json};

const CITY: NodeId = NodeId::new(0xc1);

async fn supervisor(node: &Node, name: &str) -> String {
    supervisor_of(node, name, HERE).await
}

async fn supervisor_of(node: &Node, name: &str, region: &str) -> String {
    node.person(name, json!([{"role": "supervisor", "region": region}])).await
}

async fn give(node: &Node, token: &str, body: Value) -> common::Answer {
    ask(&node.router, "POST", "/api/v1/orders", Some(token), Some(body)).await
}

fn danger() -> Value {
    json!({"description": "配电箱门缺失", "place": "二车间", "found_on": "2026-11-22", "source": "condition"})
}

/// What the child says of an order, as its node would.
async fn said(node: &Node, child: &str, order: &str, body: Value) {
    let id: NodeId = child.parse().unwrap();
    let peer = Peer { id, level: NodeLevel::Township, region: RegionCode::new(HERE), enterprise: None };
    let have = node.app.store.inbox(id).await.unwrap().feed;
    let subject = format!("{}/{order}", NodeId::new(1));
    let entry = FeedEntry { seq: have + 1, kind: "answer".into(), subject, body: body.to_string() };
    let applied = node.app.store.apply_feed(&peer, have, have + 1, &[entry], node.app.clock.now()).await.unwrap();
    assert!(applied.refused.is_empty(), "{applied:?}");
}

#[tokio::test]
async fn an_order_is_given_to_who_stands_for_it_and_its_answer_is_read_here() {
    let node = node().await;
    let (here, there) = (node.enterprise("E1", HERE).await, node.enterprise("E2", ELSEWHERE).await);
    let token = supervisor(&node, "sun").await;
    let question = json!({"kind": "question", "target": "0", "title": "x", "text": "x"});
    assert_eq!(give(&node, &token, question.clone()).await.code(400), "id.malformed");
    let (child, _) = node.child(HERE).await;
    let own = NodeId::new(1).to_string();
    let with = |more: Value| {
        let mut body = json!({"kind": "question", "target": child, "title": "汛期值守", "text": "请报送值守安排", "due_on": "2026-11-30"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let targets = ask(&node.router, "GET", "/api/v1/orders/targets", Some(&token), None).await.ok(200);
    assert_eq!((&targets["targets"][0]["id"], &targets["targets"][0]["level"]), (&json!(child), &json!("township")));
    assert_eq!(node.get("/api/v1/orders/targets").await["targets"], json!([]), "an administrator orders nothing");
    let open = |more: Value| {
        let mut body =
            with(json!({"kind": "open", "enterprise": here, "register": "hidden_danger", "transition": "report", "fields": danger()}));
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (body, status, want) in [
        (with(json!({"target": own})), 409, vec![("order.to_self", "target")]),
        (with(json!({"target": format!("{:032x}", 77)})), 400, vec![("order.not_below", "target")]),
        (with(json!({"kind": "obey"})), 400, vec![("word.unknown", "kind")]),
        (
            with(json!({"title": " ", "text": "", "due_on": "2026-11-22"})),
            400,
            vec![("text.empty", "title"), ("text.empty", "text"), ("order.due_past", "due_on")],
        ),
        (with(json!({"due_on": "soon"})), 400, vec![("time.malformed", "due_on")]),
        (with(json!({"enterprise": there})), 400, vec![("reference.unknown", "enterprise")]),
        (with(json!({"region": ELSEWHERE})), 403, vec![("scope.outside", "")]),
        (with(json!({"enterprise": here, "region": HERE})), 400, vec![("register.owner", "enterprise")]),
        (with(json!({"register": "hidden_danger"})), 400, vec![("order.step_of_question", "register")]),
        (open(json!({"register": ""})), 400, vec![("field.missing", "register")]),
        (open(json!({"register": "nothing"})), 404, vec![("register.unknown", "")]),
        (open(json!({"transition": "nothing"})), 409, vec![("register.transition_unknown", "transition")]),
        (open(json!({"transition": "rate"})), 409, vec![("register.state", "transition")]),
        (open(json!({"transition": "apply", "register": "listed_supervision"})), 403, vec![("register.role", "transition")]),
        (open(json!({"enterprise": null})), 400, vec![("register.owner_enterprise", "enterprise")]),
        (open(json!({"register": "township_patrol", "transition": "plan"})), 400, vec![("register.owner_region", "region")]),
        (open(json!({"record": {"id": "1", "revision": 1}})), 400, vec![("order.record_of_new", "record")]),
        (open(json!({"kind": "act", "transition": "rate"})), 400, vec![("field.missing", "record")]),
        (
            open(json!({"fields": {"place": "x", "found_on": "2026-12-24", "source": "condition", "basis_clause": "5"}})),
            400,
            vec![("order.field_elsewhere", "fields.basis_clause")],
        ),
        (
            open(json!({"fields": {"place": "x", "found_on": "2026-12-24", "source": "condition"}})),
            400,
            vec![("register.field_missing", "fields.description"), ("register.guard", "")],
        ),
    ] {
        let answer = give(&node, &token, body.clone()).await;
        let want: Vec<_> = want.into_iter().map(|(code, field)| (code.to_owned(), field.to_owned())).collect();
        assert_eq!(answer.refused(status), want, "{body}");
    }
    // Neither the administrator, who is no regulator, nor one of another county.
    assert_eq!(give(&node, &node.admin, with(json!({}))).await.code(403), "order.role");
    let foreign = node.person("foreign", json!([{"role": "supervisor", "region": ELSEWHERE}])).await;
    assert_eq!(give(&node, &foreign, with(json!({}))).await.code(403), "scope.outside");
    let manager = node.person("manager", json!([{"role": "safety_manager", "enterprise": here}])).await;
    assert_eq!(give(&node, &manager, open(json!({}))).await.code(403), "order.role");

    let asked = give(&node, &token, with(json!({}))).await.ok(201);
    assert_eq!((&asked["state"], &asked["confirmed"], &asked["direction"]), (&json!("sent"), &json!(false), &json!("sent")));
    assert_eq!((&asked["region"], &asked["made_by"], &asked["may_withdraw"]), (&json!(HERE), &json!("sun"), &json!(true)));
    let opened = give(&node, &token, open(json!({}))).await.ok(201);
    assert_eq!((&opened["enterprise"]["code"], &opened["step"]["register"]), (&json!("E1"), &json!("hidden_danger")));
    let feed = node.app.store.feed(&child, 0, 100).await.unwrap();
    let orders: Vec<&FeedEntry> = feed.iter().filter(|entry| entry.kind == "order").collect();
    assert_eq!(orders.len(), 2);
    let body: Value = serde_json::from_str(&orders[1].body).unwrap();
    assert_eq!(body["by"]["roles"], json!(["supervisor"]));
    assert_eq!(body["enterprise"], json!({"code": "E1", "name": "企业E1"}));

    // What the other node's registers say against it is read here, in the reader's language.
    let params = json!({"guard": "g", "says": "不行", "says_en": "It cannot be"});
    let problems = json!([{"code": "register.guard", "params": params}, {"code": "of.tomorrow", "field": "fields.x"}]);
    said(&node, &child, &text(&opened["id"]), json!({"state": "refused", "at": 1, "problems": problems})).await;
    let path = format!("/api/v1/orders/{}", text(&opened["id"]));
    let refused = ask(&node.router, "GET", &path, Some(&token), None).await.ok(200);
    assert_eq!((&refused["state"], &refused["confirmed"], &refused["may_withdraw"]), (&json!("refused"), &json!(true), &json!(false)));
    let reasons = &refused["answer"]["reasons"];
    assert_eq!(
        (&reasons[0]["detail"], &reasons[1]["detail"], &reasons[1]["field"]),
        (&json!("It cannot be."), &json!("of.tomorrow"), &json!("fields.x"))
    );
    assert_eq!(ask(&node.router, "POST", &format!("{path}/withdraw"), Some(&token), None).await.code(409), "order.over");

    // Late, taken back, and listed.
    let list = async |query: &str| {
        let list = ask(&node.router, "GET", &format!("/api/v1/orders?{query}"), Some(&token), None).await.ok(200);
        list["orders"].as_array().unwrap().iter().map(|order| text(&order["kind"])).collect::<Vec<_>>()
    };
    assert_eq!(list("").await, ["open", "question"]);
    assert!(list("late=true").await.is_empty());
    node.app.clock.set(anlan_model::Timestamp::parse("2026-12-01T00:00:00Z").unwrap()).unwrap().unwrap();
    let token = node.sign_in("sun").await;
    let list = async |query: &str| {
        let list = ask(&node.router, "GET", &format!("/api/v1/orders?{query}"), Some(&token), None).await.ok(200);
        list["orders"].as_array().unwrap().iter().map(|order| text(&order["kind"])).collect::<Vec<_>>()
    };
    assert_eq!(list("late=true").await, ["question"]);
    assert_eq!(list("state=refused&direction=sent").await, ["open"]);
    assert_eq!(list("open=true").await, ["question"]);
    assert!(list("direction=received").await.is_empty());
    let answer = format!("/api/v1/orders/{}/answer", text(&asked["id"]));
    assert_eq!(ask(&node.router, "POST", &answer, Some(&token), Some(json!({"text": "x"}))).await.code(409), "order.not_for_us");
    let path = format!("/api/v1/orders/{}/withdraw", text(&asked["id"]));
    let back = ask(&node.router, "POST", &path, Some(&token), None).await.ok(200);
    assert_eq!((&back["state"], &back["confirmed"], &back["withdrawn"]["by"]), (&json!("withdrawn"), &json!(false), &json!("sun")));
    said(&node, &child, &text(&asked["id"]), json!({"state": "withdrawn", "at": 1})).await;
    assert_eq!(node.get(&format!("/api/v1/orders/{}", text(&asked["id"]))).await["confirmed"], true);
    let audit = node.get("/api/v1/audit?noun=order").await;
    let acts: Vec<&str> = audit["entries"].as_array().unwrap().iter().map(|e| e["action"].as_str().unwrap()).collect();
    assert_eq!(acts, ["withdraw", "answer", "create", "create"]);
}

/// This node as a county below a city.
async fn below_a_city(node: &Node) {
    let (store, now) = (&node.app.store, node.app.clock.now());
    store.put_self(NodeId::new(1), "县局", NodeLevel::County, RegionCode::new(HERE).as_ref(), now).await.unwrap();
    let above = Neighbour {
        id: CITY,
        name: "市局".into(),
        level: NodeLevel::City,
        region: RegionCode::new("5304"),
        enterprise: None,
        fingerprint: "x".into(),
        address: None,
    };
    store.put_parent(&Scope::node(), &above, now).await.unwrap();
}

/// An order comes from the city and is carried out, as far as the node does that of itself; its id.
async fn comes(node: &Node, n: u128, more: Value) -> OrderId {
    let id = OrderId::new(0x0199_f3c2_7f00_7abc_8def_0123_4567_0000 + n);
    let mut body = json!({"kind": "question", "target": NodeId::new(1).to_string(), "origin_name": "市局", "title": "市里交办", "text": "请办", "region": HERE,
        "by": {"user": "7", "name": "王五", "roles": ["supervisor"]}, "made_at": 1});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let peer = Peer { id: CITY, level: NodeLevel::City, region: RegionCode::new("5304"), enterprise: None };
    let have = node.app.store.inbox(CITY).await.unwrap().feed;
    let entry = FeedEntry { seq: have + 1, kind: "order".into(), subject: format!("{CITY}/{id}"), body: body.to_string() };
    let applied = node.app.store.apply_feed(&peer, have, have + 1, &[entry], node.app.clock.now()).await.unwrap();
    assert!(applied.refused.is_empty() && applied.orders, "{applied:?}");
    anlan_app::order::carry_out(&node.app).await.unwrap();
    id
}

async fn state(node: &Node, id: OrderId) -> (OrderState, Vec<String>) {
    let row = node.app.store.order(&Scope::node(), id).await.unwrap();
    (row.state, row.answer.unwrap().problems.into_iter().map(|p| p.field.unwrap_or(p.code)).collect())
}

#[tokio::test]
async fn the_node_takes_a_step_for_somebody_above_under_its_own_rules() {
    let node = node().await;
    let enterprise = node.enterprise("E1", HERE).await;
    below_a_city(&node).await;
    let token = supervisor(&node, "sun").await;
    let about = json!({"code": "E1", "name": "市里的名字"});
    let step = |transition: &str, fields: Value, record: Value| json!({"register": "hidden_danger", "transition": transition, "fields": fields, "record": record});
    let open = |fields: Value| json!({"kind": "open", "enterprise": about, "step": step("report", fields, Value::Null)});

    let id = comes(&node, 1, open(danger())).await;
    assert_eq!(state(&node, id).await, (OrderState::Done, vec![]));
    let list = ask(&node.router, "GET", "/api/v1/registers/hidden_danger/records", Some(&token), None).await.ok(200);
    let record = &list["records"][0];
    assert_eq!(
        (list["records"].as_array().unwrap().len(), &record["enterprise"]["id"], &record["state"]),
        (1, &json!(enterprise), &json!("found"))
    );
    let record_id: i64 = text(&record["id"]).parse().unwrap();
    let row = node.app.store.order(&Scope::node(), id).await.unwrap();
    assert_eq!(row.answer.unwrap().record.unwrap().id, record_id);
    // By a stranger, shown with their node.
    let path = format!("/api/v1/registers/hidden_danger/records/{record_id}");
    let history = ask(&node.router, "GET", &format!("{path}/history"), Some(&token), None).await.ok(200);
    assert_eq!((&history["entries"][0]["name"], &history["entries"][0]["user"]), (&json!("王五（市局）"), &Value::Null));
    let kept = node.app.store.record(&Scope::node(), "hidden_danger", record_id.to_string().parse().unwrap()).await.unwrap();
    assert_eq!(kept.body["acts"][0]["by"], format!("{CITY}/7"));
    // Again it is the same order.
    comes(&node, 1, open(danger())).await;
    assert_eq!(node.app.store.records_below(&Scope::node(), record_id.to_string().parse().unwrap()).await.unwrap().len(), 0);
    let list = ask(&node.router, "GET", "/api/v1/registers/hidden_danger/records", Some(&token), None).await.ok(200);
    assert_eq!(list["records"].as_array().unwrap().len(), 1);

    // Everything that stands against one goes back at once, and nothing is left of it.
    let id = comes(&node, 2, open(json!({"place": "x", "found_on": "2026-12-24", "source": "condition"}))).await;
    assert_eq!(state(&node, id).await, (OrderState::Refused, vec!["fields.description".into(), "register.guard".into()]));
    let guard = node.app.store.order(&Scope::node(), id).await.unwrap().answer.unwrap().problems.remove(1);
    assert_eq!(
        (guard.params["says"].as_str(), guard.params["says_en"].as_str()),
        ("发现日期不能晚于今天", "It cannot have been found after today")
    );
    let unknown = json!({"kind": "open", "enterprise": {"code": "E9", "name": "x"}, "step": step("report", danger(), Value::Null)});
    assert_eq!(state(&node, comes(&node, 3, unknown).await).await, (OrderState::Refused, vec!["enterprise".into()]));
    // Roles of an enterprise are none above it.
    let mut as_manager = open(danger());
    as_manager["by"] = json!({"user": "7", "name": "王五", "roles": ["safety_manager", "administrator"]});
    assert_eq!(state(&node, comes(&node, 4, as_manager).await).await, (OrderState::Refused, vec!["order.role".into()]));

    // Acting: a stale revision, the guard that asks for another person, and another person.
    let act = |transition: &str, fields: Value, revision: i64, user: &str| {
        let record = json!({"id": record_id, "revision": revision});
        let by = json!({"user": user, "name": "王五", "roles": ["supervisor"]});
        json!({"kind": "act", "enterprise": about, "by": by, "step": step(transition, fields, record)})
    };
    let opinion = json!({"opinion": "不属实"});
    let id = comes(&node, 5, act("dismiss", opinion.clone(), 9, "8")).await;
    assert_eq!(state(&node, id).await, (OrderState::Refused, vec!["revision".into()]));
    let id = comes(&node, 6, act("dismiss", opinion.clone(), 1, "7")).await;
    assert_eq!(state(&node, id).await, (OrderState::Refused, vec!["register.guard".into()]), "whoever reported it cannot dismiss it");
    let other = node.enterprise("E2", HERE).await;
    let mut elsewhere = act("dismiss", opinion.clone(), 1, "8");
    elsewhere["enterprise"] = json!({"code": "E2", "name": "x"});
    assert_eq!(state(&node, comes(&node, 7, elsewhere).await).await.1, ["row.not_found"], "it is not a record of {other}");
    let id = comes(&node, 8, act("dismiss", opinion, 1, "8")).await;
    assert_eq!(state(&node, id).await, (OrderState::Done, vec![]));
    let now = ask(&node.router, "GET", &path, Some(&token), None).await.ok(200);
    assert_eq!((&now["state"], &now["fields"]["opinion"]), (&json!("dismissed"), &json!("不属实")));
    let told = node.app.store.feed(anlan_store::UP, 0, 1_000).await.unwrap();
    assert_eq!(told.iter().filter(|entry| entry.kind == "answer").count(), 8);
    assert!(node.app.store.verify_audit(None).await.unwrap().complete);
}

#[tokio::test]
async fn a_question_from_above_is_replied_to_by_who_answers_for_it() {
    let node = node().await;
    let enterprise = node.enterprise("E1", HERE).await;
    below_a_city(&node).await;
    let id = comes(&node, 1, json!({"enterprise": {"code": "E1", "name": "x"}, "due_on": "2026-11-22"})).await;
    let path = format!("/api/v1/orders/{id}");
    let manager = node.person("manager", json!([{"role": "safety_manager", "enterprise": enterprise}])).await;
    let inspector = node.person("inspector", json!([{"role": "inspector", "region": HERE}])).await;
    let foreign = supervisor_of(&node, "foreign", ELSEWHERE).await;
    let seen = ask(&node.router, "GET", &path, Some(&manager), None).await.ok(200);
    assert_eq!((&seen["state"], &seen["direction"], &seen["late"]), (&json!("received"), &json!("received"), &json!(true)));
    assert_eq!((&seen["may_answer"], &seen["answer"], &seen["origin"]["name"]), (&json!(true), &Value::Null, &json!("市局")));
    let reply = async |token: &str, text: &str| {
        ask(&node.router, "POST", &format!("{path}/answer"), Some(token), Some(json!({"text": text}))).await
    };
    assert_eq!(reply(&foreign, "x").await.code(404), "row.not_found");
    assert_eq!(reply(&inspector, "x").await.code(403), "order.reply_role");
    assert_eq!(reply(&manager, " ").await.code(400), "text.empty");
    let answered = reply(&manager, "已整改").await.ok(200);
    assert_eq!(
        (&answered["state"], &answered["answer"]["by"], &answered["answer"]["text"]),
        (&json!("answered"), &json!("manager"), &json!("已整改"))
    );
    assert_eq!(reply(&manager, "再答").await.code(409), "order.over");
    let ours = supervisor(&node, "ours").await;
    assert_eq!(ask(&node.router, "POST", &format!("{path}/withdraw"), Some(&ours), None).await.code(409), "order.not_ours");
    let id = comes(
        &node,
        2,
        json!({"kind": "act", "step": {"register": "x", "transition": "x", "fields": {}, "record": {"id": 1, "revision": 1}}}),
    )
    .await;
    assert_eq!(state(&node, id).await, (OrderState::Refused, vec!["register.unknown".into()]));
    let answer = ask(&node.router, "POST", &format!("/api/v1/orders/{id}/answer"), Some(&ours), Some(json!({"text": "x"}))).await;
    assert_eq!(answer.code(409), "order.no_question");
}
