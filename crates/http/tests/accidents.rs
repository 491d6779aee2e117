//! The accident register from outside: reported by an enterprise, taken over by the county, moved by a later death, investigated, its measures followed.

mod common;

use common::{ELSEWHERE, HERE, Node, ask, node, text};
use serde_json::{Value, json};

const ACCIDENTS: &str = "/api/v1/registers/accident/records";

struct Person<'a> {
    node: &'a Node,
    token: String,
}

impl Person<'_> {
    async fn get(&self, path: &str) -> Value {
        ask(&self.node.router, "GET", path, Some(&self.token), None).await.ok(200)
    }
    async fn post(&self, path: &str, body: Value) -> common::Answer {
        ask(&self.node.router, "POST", path, Some(&self.token), Some(body)).await
    }
    async fn take(&self, id: &str, transition: &str, fields: Value) -> common::Answer {
        let at = format!("{ACCIDENTS}/{id}");
        let revision = self.get(&at).await["revision"].clone();
        self.post(&format!("{at}/transitions/{transition}"), json!({"revision": revision, "fields": fields})).await
    }
}

async fn person<'a>(node: &'a Node, name: &str, role: &str, at: Value) -> Person<'a> {
    let mut grant = at;
    grant["role"] = json!(role);
    Person { token: node.person(name, json!([grant])).await, node }
}

async fn days_pass(node: &Node, days: i64) {
    ask(&node.router, "POST", "/api/v1/test/clock", None, Some(json!({"advance_s": days * 86_400}))).await.ok(200);
}

fn row(told_on: &str, on: &str, deaths: u32, serious: u32) -> Value {
    json!({"told_on": told_on, "on": on, "deaths": deaths, "serious_injuries": serious})
}

fn facts() -> Value {
    json!({
        "title": "检修中毒事故", "place": "三号罐", "happened_at": "2026-11-22T14:20", "nature": "general", "sector": "hazardous_chemicals",
        "course": "清罐作业", "rescue": "送医", "county_told_at": "2026-11-22T15:20", "known_at": "2026-11-22T14:30",
        "toll": [row("2026-11-22", "2026-11-22", 2, 1)],
    })
}

#[tokio::test]
async fn whoever_must_tell_further_hears_it_when_the_minute_is_over() {
    let node = node().await;
    let county = person(&node, "county", "supervisor", json!({"region": HERE})).await;
    let mut fields = facts();
    fields.as_object_mut().unwrap().remove("known_at");
    (fields["happened_at"], fields["county_told_at"]) = (json!("2026-11-23T07:00"), json!("2026-11-23T07:30"));
    fields["toll"] = json!([row("2026-11-23", "2026-11-23", 1, 0)]);
    let made = county.post(ACCIDENTS, json!({"region": HERE, "transition": "register", "fields": fields})).await.ok(201);
    assert_eq!((&made["fields"]["tell_by"], &made["due_on"]), (&json!("2026-11-23T09:30"), &json!("2026-11-23")));
    let told = async |advance_s: i64| {
        ask(&node.router, "POST", "/api/v1/test/clock", None, Some(json!({"advance_s": advance_s}))).await.ok(200);
        let list = county.get("/api/v1/notifications").await;
        list["notifications"].as_array().unwrap().iter().map(|n| text(&n["kind"])).collect::<Vec<_>>()
    };
    assert_eq!(told(59 * 60).await, [""; 0], "08:59");
    assert_eq!(told(30 * 60).await, ["due_soon"], "09:29: half an hour before");
    assert_eq!(told(60).await, ["due_soon"], "09:30 is in time");
    assert_eq!(told(60).await, ["overdue", "due_soon"], "09:31");
    assert_eq!(told(3 * 3_600).await, ["overdue", "due_soon"], "once");
}

#[tokio::test]
async fn a_level_that_was_never_told_is_late_and_whoever_owes_it_hears_it_also_behind_the_first() {
    let node = node().await;
    let county = person(&node, "county", "supervisor", json!({"region": HERE})).await;
    let leader = person(&node, "leader", "leader", json!({})).await;
    let mut fields = facts();
    fields.as_object_mut().unwrap().remove("known_at");
    (fields["happened_at"], fields["county_told_at"]) = (json!("2026-11-23T07:00"), json!("2026-11-23T07:30"));
    fields["toll"] = json!([row("2026-11-23", "2026-11-23", 3, 0)]);
    let made = county.post(ACCIDENTS, json!({"region": HERE, "transition": "register", "fields": fields})).await.ok(201);
    let id = text(&made["id"]);
    let told = county.take(&id, "tell_up", json!({"city_told_at": "2026-11-23T07:50"})).await.ok(200);
    // The city owes the province within two hours, beside the deadline of the investigation.
    assert_eq!((&told["state"], &told["fields"]["tell_by"]), (&json!("following"), &json!("2026-11-23T09:50")));
    assert_eq!((&told["fields"]["late"], &told["due_on"]), (&json!("none"), &json!("2026-11-23")));
    assert_eq!(county.get("/api/v1/tasks").await["tasks"][0]["record"]["id"], id);
    let kinds = async |who: &Person<'_>| {
        let list = who.get("/api/v1/notifications").await;
        list["notifications"].as_array().unwrap().iter().map(|n| text(&n["kind"])).collect::<Vec<_>>()
    };
    let pass = async |advance_s: i64| {
        ask(&node.router, "POST", "/api/v1/test/clock", None, Some(json!({"advance_s": advance_s}))).await.ok(200);
    };
    let late = async |asked: &str| leader.get(&format!("{ACCIDENTS}?f.late={asked}")).await["records"].as_array().unwrap().len();
    let counts = async || leader.get("/api/v1/accidents/statistics?from=2026-11-01&to=2026-11-30").await["counts"].clone();
    pass(110 * 60).await;
    assert_eq!((kinds(&county).await, late("none").await), (vec!["due_soon".to_owned()], 1), "09:50");
    assert_eq!((&counts().await["told_late"], &counts().await["overdue"]), (&json!(0), &json!(0)));
    let before = county.get(&format!("{ACCIDENTS}/{id}")).await;
    pass(60).await;
    assert_eq!(kinds(&county).await, ["overdue", "due_soon"], "09:51");
    assert_eq!((late("none").await, late("department").await), (0, 1), "by nobody's act");
    assert_eq!((&counts().await["told_late"], &counts().await["overdue"]), (&json!(1), &json!(1)));
    let shown = county.get(&format!("{ACCIDENTS}/{id}")).await;
    assert_eq!((&shown["fields"]["hops"][2]["state"], &shown["revision"]), (&json!("overdue"), &before["revision"]), "the form stays open");
    let entry = leader.get(&format!("{ACCIDENTS}/{id}/history")).await["entries"][0].clone();
    assert_eq!((&entry["action"], &entry["changes"]["late"]), (&json!("escalate"), &json!(["none", "department"])));
    assert_eq!(kinds(&leader).await, [""; 0]);
    pass(60 * 60).await;
    assert_eq!(kinds(&leader).await, ["overdue"], "an hour later the leader");
    let told = county.take(&id, "tell_further", json!({"told_whom": "省厅", "province_told_at": "2026-11-23T10:20"})).await.ok(200);
    assert_eq!(
        (&told["fields"]["late"], &told["fields"]["late_min"], &told["due_on"]),
        (&json!("department"), &json!(30.0), &json!("2027-01-22"))
    );
    assert_eq!((&counts().await["told_late"], &counts().await["overdue"]), (&json!(1), &json!(0)));
    pass(86_400).await;
    let county = Person { token: node.sign_in("county").await, node: &node };
    assert_eq!(kinds(&county).await, ["overdue", "due_soon"], "nothing is owed any more");
    assert_eq!(node.app.store.verify_records().await.unwrap(), (1, vec![]));
}

#[tokio::test]
async fn a_second_duty_rings_though_it_was_due_in_the_minute_of_the_first() {
    let node = node().await;
    let county = person(&node, "county", "supervisor", json!({"region": HERE})).await;
    let mut fields = facts();
    fields.as_object_mut().unwrap().remove("known_at");
    (fields["happened_at"], fields["county_told_at"]) = (json!("2026-11-23T07:00"), json!("2026-11-23T07:30"));
    fields["toll"] = json!([row("2026-11-23", "2026-11-23", 3, 0)]);
    let made = county.post(ACCIDENTS, json!({"region": HERE, "transition": "register", "fields": fields})).await.ok(201);
    let told = async |advance_s: i64| {
        ask(&node.router, "POST", "/api/v1/test/clock", None, Some(json!({"advance_s": advance_s}))).await.ok(200);
        let list = county.get("/api/v1/notifications").await;
        let one = |n: &Value| (text(&n["kind"]), text(&n["detail"]["state_name"]));
        list["notifications"].as_array().unwrap().iter().map(one).collect::<Vec<_>>()
    };
    let say = |kind: &str, of: &str| (kind.to_owned(), format!("逐级上报（{of}）"));
    let over = say("overdue", "县级→设区的市级");
    assert_eq!(told(91 * 60).await, std::slice::from_ref(&over), "09:31; due at 09:30");
    // The city had heard at the same minute as the county, it turns out: it owes the province by 09:30 as well, and that is over too.
    let id = text(&made["id"]);
    let now = county.take(&id, "tell_up", json!({"city_told_at": "2026-11-23T07:30"})).await.ok(200);
    assert_eq!((&now["fields"]["tell_by"], &now["fields"]["late"]), (&json!("2026-11-23T09:30"), &json!("department")));
    assert_eq!(told(60).await, [say("overdue", "设区的市级→省级"), over.clone()], "and that rings");
    assert_eq!(told(60).await.len(), 2, "once");
    // Another minute, another word.
    county.take(&id, "tell_further", json!({"told_whom": "省厅", "province_told_at": "2026-11-23T09:33"})).await.ok(200);
    assert_eq!(told(3 * 3_600).await.len(), 2, "nothing is owed any more");
}

/// The clock of the node begins at 2026-11-23, 08:00 in Beijing.
#[tokio::test]
async fn a_later_death_moves_the_class_and_the_measures_become_hidden_dangers() {
    let node = node().await;
    let enterprise = node.enterprise("E1", HERE).await;
    let here = json!({"region": HERE});
    let manager = person(&node, "manager", "safety_manager", json!({"enterprise": enterprise})).await;
    let county = person(&node, "county", "supervisor", here.clone()).await;
    let leader = person(&node, "leader", "leader", json!({})).await;
    let other = person(&node, "other", "supervisor", json!({"region": ELSEWHERE})).await;

    let report = |fields: Value| json!({"enterprise": enterprise, "transition": "report", "fields": fields});
    let mut unmeant = facts();
    unmeant["toll"] = json!([row("2026-11-22", "2026-11-21", 2, 1)]);
    let refused = manager.post(ACCIDENTS, report(unmeant)).await;
    assert_eq!(refused.refused(400), [("register.unmeant".to_owned(), "fields.toll[0].on".to_owned())]);
    assert!(refused.body["errors"][0]["detail"].as_str().unwrap().contains("before that of the accident"), "{}", refused.body);
    let made = manager.post(ACCIDENTS, report(facts())).await.ok(201);
    let id = text(&made["id"]);
    let shown = |record: &Value, field: &str| record["fields"][field].clone();
    assert_eq!(made["number"], "SG-530402-2026-0001");
    assert_eq!((shown(&made, "class"), shown(&made, "report_up_to")), (json!("ordinary"), json!("city")));
    assert_eq!((shown(&made, "tell_by"), &made["due_on"]), (json!("2026-11-22T17:20"), &json!("2026-11-22")));
    assert_eq!((shown(&made, "hops")[0]["state"].clone(), shown(&made, "late")), (json!("in_time"), json!("department")));
    assert_eq!(shown(&made, "hops")[1]["state"], "overdue", "the day after nobody had told the city");
    assert_eq!(county.get("/api/v1/tasks").await["tasks"][0]["record"]["id"], id, "the county has to tell the city");
    assert_eq!(ask(&node.router, "GET", &format!("{ACCIDENTS}/{id}"), Some(&other.token), None).await.status, 404);

    // Nobody types what follows, and the enterprise does not say when the city was told.
    let typed = manager.take(&id, "supplement", json!({"toll": [], "class": "ordinary"})).await;
    assert!(typed.refused(400).contains(&("register.field_locked".to_owned(), "fields.class".to_owned())), "{}", typed.body);
    assert_eq!(manager.take(&id, "tell_up", json!({"city_told_at": "2026-11-22T15:30"})).await.code(403), "register.role");
    let told = county.take(&id, "tell_up", json!({"city_told_at": "2026-11-22T18:00"})).await.ok(200);
    assert_eq!((shown(&told, "late"), shown(&told, "late_min")), (json!("department"), json!(40.0)));
    assert_eq!(leader.get(&format!("{ACCIDENTS}?f.late=department")).await["records"][0]["id"], id);
    assert_eq!(leader.get(&format!("{ACCIDENTS}?f.late=none")).await["records"], json!([]));

    let toll = json!([row("2026-11-22", "2026-11-22", 2, 1), row("2026-11-23", "2026-11-23", 3, 0)]);
    let moved = manager.take(&id, "supplement_following", json!({"toll": toll})).await.ok(200);
    assert_eq!(
        (shown(&moved, "class"), shown(&moved, "reclassed"), shown(&moved, "first_class")),
        (json!("relatively_serious"), json!("up"), json!("ordinary"))
    );
    assert_eq!((shown(&moved, "investigated_by"), shown(&moved, "deaths")), (json!("city"), json!(3.0)));
    assert_eq!((shown(&moved, "trace")[1]["was"].clone(), shown(&moved, "tell_by")), (json!("ordinary"), json!("2026-11-24T02:00")));
    let entry = leader.get(&format!("{ACCIDENTS}/{id}/history")).await["entries"][0].clone();
    assert_eq!(entry["changes"]["class"], json!(["ordinary", "relatively_serious"]));
    let mut fewer = toll.clone();
    fewer[0]["deaths"] = json!(1);
    assert_eq!(manager.take(&id, "supplement_following", json!({"toll": fewer})).await.code(409), "register.guard");
    let found = leader
        .get(&format!("{ACCIDENTS}?f.happened_on.from=2026-11-22&f.happened_on.to=2026-11-22&f.sector=hazardous_chemicals&f.deaths.from=3"))
        .await;
    assert_eq!(found["records"][0]["id"], id);

    county.take(&id, "tell_further", json!({"told_whom": "省厅", "province_told_at": "2026-11-23T07:00"})).await.ok(200);
    county.take(&id, "begin", json!({"investigation_on": "2026-11-23", "investigators": "市政府牵头"})).await.ok(200);
    days_pass(&node, 30).await;
    let county = Person { token: node.sign_in("county").await, node: &node };
    let leader = Person { token: node.sign_in("leader").await, node: &node };
    let mut with_loss = toll.clone();
    with_loss
        .as_array_mut()
        .unwrap()
        .push(json!({"told_on": "2026-12-23", "on": "2026-12-23", "deaths": 4, "serious_injuries": 0, "direct_loss_wan": 460.5}));
    let late_death = county.take(&id, "supplement_investigating", json!({"toll": with_loss})).await.ok(200);
    assert_eq!((shown(&late_death, "deaths"), shown(&late_death, "direct_loss_wan")), (json!(3.0), json!(460.5)), "behind the window");
    let measures = json!([
        {"measure": "加装联锁", "cause": "condition", "track": "hidden_danger"}, {"measure": "专项检查", "cause": "management", "track": "here"},
    ]);
    let findings = json!({
        "report_on": "2026-12-23", "type_cause": "WSA10023", "type_harm": "WSA20004", "cause_direct": "未检测", "cause_indirect": "无票",
        "finding": "responsible", "responsibility": "企业负主要责任", "measures": measures,
        "people": [{"name": "某甲", "outcome": "discipline"}, {"name": "某乙", "outcome": "transferred"}],
    });
    let submitted = county.take(&id, "submit_report", findings).await.ok(200);
    assert_eq!((&submitted["due_on"], shown(&submitted, "people_transferred")), (&json!("2027-01-07"), json!(1.0)));
    let approval = |by: &str| json!({"approved_on": "2026-12-23", "approval_no": "1号", "approved_by": by});
    assert_eq!(leader.take(&id, "approve", approval("county")).await.code(409), "register.guard");
    let approved = leader.take(&id, "approve", approval("city")).await.ok(200);
    assert_eq!((&approved["state"], shown(&approved, "concluded")), (&json!("approved"), json!("in_time")));
    county.take(&id, "hand_down", json!({})).await.ok(200);
    let detail = leader.get(&format!("{ACCIDENTS}/{id}")).await;
    let danger = &detail["children"][0];
    assert_eq!((&danger["kind"], &danger["title"], &danger["state"]), (&json!("hidden_danger"), &json!("加装联锁"), &json!("found")));
    assert_eq!(detail["children"].as_array().unwrap().len(), 1);
    let ending = json!({"evaluated_on": "2026-12-23", "evaluation": "已落实"});
    let blocked = leader.take(&id, "close", ending).await.refused(409);
    assert_eq!(blocked.len(), 2, "a hidden danger and a measure are open: {blocked:?}");
    let openly = json!({"evaluated_on": "2026-12-23", "evaluation": "部分落实", "open_measures": "联锁待大修"});
    assert_eq!(leader.take(&id, "close_with_open", openly).await.ok(200)["state"], "closed_open");
    assert_eq!(node.app.store.verify_records().await.unwrap(), (2, vec![]));

    let year = leader.get("/api/v1/accidents/statistics?from=2026-01-01&to=2026-12-31").await;
    let counts = &year["counts"];
    assert_eq!(
        (&counts["accidents"], &counts["deaths"], &counts["told_late"], &counts["reclassed"]),
        (&json!(1), &json!(3), &json!(1), &json!(1))
    );
    assert_eq!((&counts["disciplined"], &counts["transferred"], &counts["in_time_rate"]), (&json!(1), &json!(1), &Value::Null));
    assert_eq!((&year["by_class"][0]["part"], &year["by_region"][0]["part"]), (&json!("relatively_serious"), &json!(HERE)));
    let next = leader.get("/api/v1/accidents/statistics?from=2027-01-01&to=2027-12-31&region=530402").await;
    assert_eq!(
        (&next["counts"]["to_conclude"], &next["counts"]["in_time_rate"], &next["counts"]["accidents"]),
        (&json!(1), &json!(1.0), &json!(0))
    );
    let other = Person { token: node.sign_in("other").await, node: &node };
    let elsewhere = other.get("/api/v1/accidents/statistics?from=2026-01-01&to=2027-12-31").await;
    assert_eq!(elsewhere["counts"]["accidents"], 0, "another county sees none");
    let wrong = ask(&node.router, "GET", "/api/v1/accidents/statistics?from=2026-02-01&to=2026-01-01", Some(&leader.token), None).await;
    assert_eq!(wrong.refused(400), [("time.order".to_owned(), "to".to_owned())]);
}

#[tokio::test]
async fn an_accident_of_the_road_is_the_divisions_and_opens_no_enterprises_records() {
    let node = node().await;
    let enterprise = node.enterprise("E1", HERE).await;
    let county = person(&node, "county", "supervisor", json!({"region": HERE})).await;
    let manager = person(&node, "manager", "safety_manager", json!({"enterprise": enterprise})).await;
    let leader = person(&node, "leader", "leader", json!({})).await;
    let mut fields = facts();
    fields.as_object_mut().unwrap().remove("known_at");
    (fields["nature"], fields["sector"]) = (json!("road"), json!("road_traffic"));
    fields["toll"] = json!([{"told_on": "2026-11-22", "on": "2026-11-22", "deaths": 1, "serious_injuries": 0, "direct_loss_wan": 5}]);
    let body = |owner: Value| {
        let mut body = json!({"transition": "register", "fields": fields});
        body.as_object_mut().unwrap().extend(owner.as_object().unwrap().clone());
        body
    };
    assert_eq!(county.post(ACCIDENTS, body(json!({}))).await.refused(400), [("register.owner".to_owned(), "enterprise".to_owned())]);
    let both = json!({"enterprise": enterprise, "region": HERE});
    assert_eq!(county.post(ACCIDENTS, body(both)).await.refused(400), [("register.owner".to_owned(), "enterprise".to_owned())]);
    assert_eq!(county.post(ACCIDENTS, body(json!({"region": ELSEWHERE}))).await.code(403), "scope.outside");
    let made = county.post(ACCIDENTS, body(json!({"region": HERE}))).await.ok(201);
    let id = text(&made["id"]);
    assert_eq!(
        (&made["enterprise"], &made["region"], &made["fields"]["casualties_until"]),
        (&Value::Null, &json!(HERE), &json!("2026-11-29"))
    );
    assert_eq!(manager.get(ACCIDENTS).await["records"], json!([]), "it is nobody's enterprise");

    county.take(&id, "tell_up", json!({"city_told_at": "2026-11-22T16:00"})).await.ok(200);
    county.take(&id, "begin", json!({"investigation_on": "2026-11-23", "investigators": "县政府"})).await.ok(200);
    let findings = |track: &str| {
        json!({
            "report_on": "2026-11-23", "type_cause": "WSA10003", "type_harm": "WSA20004", "cause_direct": "追尾", "cause_indirect": "监控不落实",
            "finding": "responsible", "responsibility": "驾驶人", "measures": [{"measure": "增设警示", "cause": "condition", "track": track}],
        })
    };
    county.take(&id, "submit_report", findings("hidden_danger")).await.ok(200);
    let approval = json!({"approved_on": "2026-11-23", "approval_no": "1号", "approved_by": "county"});
    leader.take(&id, "approve", approval.clone()).await.ok(200);
    let refused = county.take(&id, "hand_down", json!({})).await;
    assert_eq!(refused.refused(400), [("register.opened_of_enterprise".to_owned(), "fields.measures[0]".to_owned())]);
    assert_eq!(leader.get(&format!("{ACCIDENTS}/{id}")).await["state"], "approved", "nothing half-done");
    let here = json!({"measures": findings("here")["measures"], "measures_reason": "不属于企业，在本记录跟踪"});
    assert_eq!(county.take(&id, "change_measures", here.clone()).await.code(409), "register.guard");
    leader.take(&id, "change_measures", here).await.ok(200);
    let followed = county.take(&id, "hand_down", json!({})).await.ok(200);
    assert_eq!((&followed["state"], &followed["fields"]["measures_here_open"]), (&json!("tracking"), &json!(1.0)));
}
