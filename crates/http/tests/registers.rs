//! Registers from outside: a hidden danger by several people over many days, packs switched on live, and what each person finds.

mod common;

use std::path::Path;

use anlan_app::Settings;
use anlan_documents::{Cell, Column, ColumnKind, NewSheet, SheetLimits, Tab, read_sheet, write_sheet};
use common::{ELSEWHERE, HERE, Node, ask, node, node_with, settings, text};
use serde_json::{Value, json};

const RECORDS: &str = "/api/v1/registers/hidden_danger/records";

/// Somebody who acts, with their token.
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
    /// Takes a transition of the record as it is now.
    async fn take(&self, kind: &str, id: &str, transition: &str, fields: Value) -> common::Answer {
        let at = format!("/api/v1/registers/{kind}/records/{id}");
        let revision = self.get(&at).await["revision"].clone();
        self.post(&format!("{at}/transitions/{transition}"), json!({"revision": revision, "fields": fields})).await
    }
}

async fn person<'a>(node: &'a Node, name: &str, grants: Value) -> Person<'a> {
    Person { token: node.person(name, grants).await, node }
}

async fn user_id(node: &Node, name: &str) -> String {
    let users = node.get("/api/v1/users").await;
    text(&users["users"].as_array().unwrap().iter().find(|u| u["username"] == name).unwrap()["id"])
}

async fn days_pass(node: &Node, days: i64) {
    ask(&node.router, "POST", "/api/v1/test/clock", None, Some(json!({"advance_s": days * 86_400}))).await.ok(200);
}

/// Kinds of the notifications of a person, newest first.
fn told(list: &Value) -> Vec<&str> {
    list["notifications"].as_array().unwrap().iter().map(|n| n["kind"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_major_danger_is_closed_by_the_people_who_may_and_nobody_else() {
    let node = node().await;
    let enterprise = node.enterprise("E1", HERE).await;
    let here = |role: &str| json!([{"role": role, "enterprise": enterprise}]);
    let worker = person(&node, "worker", here("worker")).await;
    let manager = person(&node, "manager", here("safety_manager")).await;
    let supervisor = person(&node, "supervisor", json!([{"role": "supervisor", "region": HERE}])).await;
    let inspector = person(&node, "inspector", json!([{"role": "inspector", "region": HERE}])).await;
    let leader = person(&node, "leader", json!([{"role": "leader", "region": HERE}])).await;
    let (worker_id, manager_id) = (user_id(&node, "worker").await, user_id(&node, "manager").await);

    let fields = json!({"description": "罐区无紧急切断", "place": "罐区", "found_on": "2026-11-23", "source": "condition"});
    let body = json!({"enterprise": enterprise, "transition": "report", "fields": fields});
    let made = worker.post(RECORDS, body).await.ok(201);
    let id = text(&made["id"]);
    assert_eq!(made["number"], "YH-530402-2026-00001");
    let at = format!("{RECORDS}/{id}");

    // Rating is not the worker's, and a step cannot bring fields of another.
    assert_eq!(worker.take("hidden_danger", &id, "rate", json!({"level": "major"})).await.code(403), "register.role");
    let locked = manager.take("hidden_danger", &id, "rate", json!({"level": "major", "opinion": "x"})).await;
    assert_eq!(locked.refused(400), [("register.field_locked".to_owned(), "fields.opinion".to_owned())]);
    manager.take("hidden_danger", &id, "rate", json!({"level": "major"})).await.ok(200);
    // Two people read the same revision; the second is told.
    let stale = manager.post(&format!("{at}/transitions/rate"), json!({"revision": 1, "fields": {"level": "general"}})).await;
    assert_eq!(stale.code(409), "revision.stale");

    let plan = json!({"responsible": worker_id, "due_on": "2027-01-20", "measures": "加装切断阀"});
    let answer = supervisor.take("hidden_danger", &id, "assign", plan.clone()).await;
    assert_eq!(answer.refused(409)[0].0, "register.guard");
    assert!(answer.body["errors"][0]["detail"].as_str().unwrap().starts_with("A major one needs a plan"), "{}", answer.body);
    let stranger = json!({"responsible": "9999", "due_on": "2027-01-20", "measures": "x"});
    let faults = supervisor.take("hidden_danger", &id, "assign", stranger).await.refused(400);
    assert!(faults.contains(&("register.field_range".to_owned(), "fields.responsible".to_owned())), "{faults:?}");
    let mut whole = plan;
    let more = json!({"goal": "一月完成", "funds_yuan": 380_000, "interim_measures": "降液位，专人值守"});
    whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    supervisor.take("hidden_danger", &id, "assign", whole).await.ok(200);
    let tasks = worker.get("/api/v1/tasks").await;
    assert_eq!((tasks["tasks"][0]["record"]["id"].clone(), tasks["open"].clone()), (json!(id), json!(1)), "{tasks}");
    assert_eq!(manager.get("/api/v1/tasks").await["open"], 0, "it is the responsible person's alone");
    // Somebody who has left has no tasks: it is the role's again until they come back.
    let leave = async |disabled: bool| {
        let users = node.get("/api/v1/users").await;
        let user = users["users"].as_array().unwrap().iter().find(|u| u["username"] == "worker").unwrap().clone();
        let change = json!({"revision": user["revision"], "disabled": disabled});
        node.admin("PATCH", &format!("/api/v1/users/{worker_id}"), change).await.ok(200);
    };
    leave(true).await;
    assert_eq!(manager.get("/api/v1/tasks").await["open"], 1, "the task of somebody who has left");
    leave(false).await;
    let worker = Person { token: node.sign_in("worker").await, node: &node };
    assert_eq!(told(&worker.get("/api/v1/notifications").await), ["task"]);

    // Listed supervision opens below it and must end first.
    supervisor.take("hidden_danger", &id, "list", json!({"listing_reason": "县区重大"})).await.ok(200);
    let seen = leader.get(&at).await;
    let listing = text(&seen["children"][0]["id"]);
    assert_eq!(
        (seen["children"][0]["kind"].clone(), seen["children"][0]["state"].clone()),
        (json!("listed_supervision"), json!("proposed"))
    );
    assert_eq!(leader.get("/api/v1/tasks").await["tasks"][0]["record"]["kind"], "listed_supervision");
    let approval = leader.get("/api/v1/registers/listed_supervision").await;
    let approve = approval["transitions"].as_array().unwrap().iter().find(|t| t["id"] == "approve").unwrap().clone();
    let fields = filled(&approval, &approve, &manager_id);
    leader.take("listed_supervision", &listing, "approve", fields).await.ok(200);

    // The deadline comes near and passes: each step is told once, to its roles.
    days_pass(&node, 58).await;
    let list = manager.get("/api/v1/notifications").await;
    assert_eq!(
        told(&list).iter().filter(|kind| **kind == "due_soon").count(),
        3,
        "of the danger 3 days before, of its listing 30 and 7: {list}"
    );
    days_pass(&node, 2).await;
    assert_eq!(worker.get(&format!("{RECORDS}?overdue=true")).await["records"][0]["id"], json!(id));
    let list = supervisor.get("/api/v1/notifications").await;
    assert!(told(&list).contains(&"overdue"), "{list}");
    let n = list["unread"].as_i64().unwrap();
    // Running twice does no harm.
    assert_eq!(anlan_app::record::remind(&node.app).await.unwrap(), 0);
    assert_eq!(supervisor.get("/api/v1/notifications").await["unread"], n, "told once");
    let read = json!({"up_to": list["notifications"][0]["id"]});
    assert_eq!(supervisor.post("/api/v1/notifications/read", read).await.status, 204);
    assert_eq!(supervisor.get("/api/v1/notifications").await["unread"], 0);

    // Removed by the responsible person, accepted by neither him nor before the listing has ended.
    let done = json!({"removed_on": "2027-01-22", "result": "已加装并联调"});
    assert_eq!(manager.take("hidden_danger", &id, "submit", done.clone()).await.refused(409)[0].0, "register.guard");
    worker.take("hidden_danger", &id, "submit", done).await.ok(200);
    let early = inspector.take("hidden_danger", &id, "accept", json!({"opinion": "合格"})).await;
    assert_eq!(early.body["errors"][0]["params"]["guard"], "not_listed", "{}", early.body);
    // Each learns beforehand what cannot be done and why: the inspector of the listing.
    let blocked = |record: &Value, transition: &str| -> Vec<String> {
        let found = record["blocked"].as_array().unwrap().iter().find(|b| b["transition"] == transition);
        found.map(|b| b["guards"].as_array().unwrap().iter().map(|g| text(&g["id"])).collect()).unwrap_or_default()
    };
    let seen = inspector.get(&at).await;
    assert_eq!(seen["possible"], json!(["send_back"]), "{seen}");
    assert_eq!((blocked(&seen, "accept"), blocked(&seen, "recheck")), (vec!["not_listed".to_owned()], vec!["general_only".to_owned()]));
    assert_eq!(blocked(&worker.get(&at).await, "accept"), [""; 0], "it is not in their roles anyway");

    let history = inspector.get(&format!("{at}/history")).await;
    let steps: Vec<&str> = history["entries"].as_array().unwrap().iter().rev().filter_map(|e| e["transition"].as_str()).collect();
    assert_eq!(steps, ["report", "rate", "assign", "list", "submit"]);
    let told = history["entries"].as_array().unwrap().iter().find(|e| e["action"] == "escalate").expect("a word about the deadline");
    assert_eq!(
        (&told["steps"][0]["person"], &told["people"][&worker_id]),
        (&json!(worker_id), &json!("worker")),
        "beside the roles: {told}"
    );
    let check = node.app.store.verify_audit(None).await.unwrap();
    assert!(check.broken_at.is_none() && check.complete);
    assert_eq!(node.app.store.verify_records().await.unwrap(), (2, vec![]));
}

/// Something for every field that a transition requires.
fn filled(register: &Value, transition: &Value, person: &str) -> Value {
    let mut fields = serde_json::Map::new();
    for id in transition["require"].as_array().unwrap() {
        let field = register["fields"].as_array().unwrap().iter().find(|f| f["id"] == *id).unwrap();
        let value = match field["type"].as_str().unwrap() {
            "number" => json!(field["min"].as_f64().unwrap_or(1.0)),
            "date" => json!("2027-01-20"),
            "choice" => field["choices"][1]["id"].clone(),
            "person" => json!(person),
            _ => json!("文本"),
        };
        fields.insert(text(id), value);
    }
    Value::Object(fields)
}

#[tokio::test]
async fn what_is_wrong_is_told_field_by_field_and_nothing_is_kept() {
    let node = node().await;
    let enterprise = node.enterprise("E1", HERE).await;
    let supervisor = person(&node, "supervisor", json!([{"role": "supervisor", "region": HERE}])).await;
    let check = async |body: Value, status: u16, want: &[(&str, &str)]| {
        let answer = supervisor.post(RECORDS, body.clone()).await;
        let got = answer.refused(status);
        let got: Vec<(&str, &str)> = got.iter().map(|(c, f)| (c.as_str(), f.as_str())).collect();
        assert_eq!(got, want, "{body}");
    };
    let good = json!({"description": "x", "place": "x", "found_on": "2026-11-23", "source": "act"});
    let with = |key: &str, value: Value| {
        let mut fields = good.clone();
        fields[key] = value;
        json!({"enterprise": enterprise, "transition": "report", "fields": fields})
    };
    check(with("description", json!("长".repeat(2_001))), 400, &[("register.field_range", "fields.description")]).await;
    check(with("description", json!("\u{0}")), 400, &[("register.field_range", "fields.description")]).await;
    check(with("description", json!("   ")), 400, &[("register.field_missing", "fields.description")]).await;
    check(with("description", json!(7)), 400, &[("register.field_type", "fields.description")]).await;
    check(with("description", json!(true)), 400, &[("register.field_type", "fields.description")]).await;
    check(with("found_on", json!("2026-02-30")), 400, &[("register.field_type", "fields.found_on"), ("register.guard", "")]).await;
    check(with("found_on", json!("2026-11-24")), 409, &[("register.guard", "")]).await;
    check(with("source", json!("weather")), 400, &[("register.field_range", "fields.source")]).await;
    check(with("position", json!({"lon": 999, "lat": 0})), 400, &[("register.field_range", "fields.position")]).await;
    check(with("colour", json!("x")), 400, &[("register.field_unknown", "fields.colour")]).await;
    check(json!({"transition": "report", "fields": good}), 400, &[("register.owner_enterprise", "enterprise")]).await;
    check(json!({"enterprise": "99", "transition": "report", "fields": good}), 400, &[("reference.unknown", "enterprise")]).await;
    check(json!({"enterprise": enterprise, "transition": "close", "fields": good}), 404, &[("register.transition_unknown", "")]).await;
    check(
        json!({"enterprise": enterprise, "transition": "assign", "fields": {}}),
        409,
        &[
            ("register.state", ""),
            ("register.field_missing", "fields.due_on"),
            ("register.field_missing", "fields.measures"),
            ("register.field_missing", "fields.responsible"),
            ("register.guard", ""),
            ("register.guard", ""),
        ],
    )
    .await;
    let unknown = supervisor.post("/api/v1/registers/nothing/records", with("place", json!("x"))).await;
    assert_eq!(unknown.code(404), "register.unknown");
    assert_eq!(supervisor.get(RECORDS).await["records"], json!([]), "nothing half-written");
    // Signs of other languages are text like any other.
    let hostile = "<script>alert(1)</script>'; DROP TABLE record; --";
    supervisor.post(RECORDS, with("description", json!(hostile))).await.ok(201);
    let found = supervisor.get(&format!("{RECORDS}?q=DROP%20table")).await;
    assert_eq!(found["records"][0]["title"], hostile);
    for (query, code) in [
        ("f.level=major&f.nothing=1", "query.unknown"),
        ("f.found_on.from=x", "register.field_type"),
        ("f.level=enormous", "register.field_type"),
        ("f.source=%00", "text.invisible"),
        ("f.responsible=x", "register.field_type"),
        ("overdue=true&cursor=%00%201", "text.invisible"),
        ("state=x", "word.unknown"),
        ("colour=1", "query.unknown"),
        ("limit=0", "limit.range"),
    ] {
        let answer = ask(&node.router, "GET", &format!("{RECORDS}?{query}"), Some(&supervisor.token), None).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.body);
        if code != "limit.range" {
            assert_eq!(answer.code(400), code, "{query}");
        }
    }
}

#[tokio::test]
async fn an_enterprise_that_moves_takes_its_records_along() {
    let node = node().await;
    let enterprise = node.enterprise("E1", HERE).await;
    let here = person(&node, "here", json!([{"role": "supervisor", "region": HERE}])).await;
    let there = person(&node, "there", json!([{"role": "supervisor", "region": ELSEWHERE}])).await;
    let fields = json!({"description": "通道堆物", "place": "仓库", "found_on": "2026-11-23", "source": "management"});
    let body = json!({"enterprise": enterprise, "transition": "report", "fields": fields});
    let id = text(&here.post(RECORDS, body).await.ok(201)["id"]);
    assert_eq!(there.get(RECORDS).await["records"], json!([]));
    let change = json!({"revision": 1, "region": ELSEWHERE, "name": "远方化工"});
    node.admin("PATCH", &format!("/api/v1/enterprises/{enterprise}"), change).await.ok(200);
    assert_eq!(here.get(RECORDS).await["records"], json!([]));
    assert_eq!(ask(&node.router, "GET", &format!("{RECORDS}/{id}"), Some(&here.token), None).await.status, 404);
    assert_eq!(here.get("/api/v1/registers").await["registers"][0]["open"], 0);
    let found = there.get(&format!("{RECORDS}?q=%E8%BF%9C%E6%96%B9")).await;
    assert_eq!(found["records"][0]["id"], json!(id), "found by the new name, 远方");
    assert_eq!(node.app.store.verify_records().await.unwrap(), (1, vec![]), "copies are not what the audit vouches for");
}

#[tokio::test]
async fn an_edit_that_changes_the_level_of_a_major_hazard_is_told_and_calls_for_another_filing() {
    const MAJOR: &str = "/api/v1/registers/major_hazard/records";
    let node = node().await;
    let enterprise = node.enterprise("E1", HERE).await;
    let manager = person(&node, "manager", json!([{"role": "safety_manager", "enterprise": enterprise}])).await;
    let supervisor = person(&node, "supervisor", json!([{"role": "supervisor", "region": HERE}])).await;
    let contents = |substance: &str, tonnes: f64| json!([{"substance": "甲醇", "tonnes": 1}, {"substance": substance, "tonnes": tonnes}]);
    let unit = |contents: Value| json!({"unit": "液氯库", "unit_kind": "storage", "place": "北区", "contents": contents});
    let body = |contents: Value| json!({"enterprise": enterprise, "transition": "identify", "fields": unit(contents)});
    // What could be several rows, or none, is asked back at its row, with what to do, before anything is kept.
    for (substance, says) in [("硝酸铵", "Cannot be graded: name it in full: 硝酸铵(含可燃物>0.2%"), ("柴油", "table 1 does not name")]
    {
        let answer = manager.post(MAJOR, body(contents(substance, 30.0))).await;
        assert_eq!(answer.refused(400), [("register.content".to_owned(), "fields.contents[1].substance".to_owned())]);
        assert!(answer.body["errors"][0]["detail"].as_str().unwrap().contains(says), "{}", answer.body);
    }
    assert_eq!(manager.get(MAJOR).await["records"], json!([]), "nothing half-written");

    // What R needs and is not there is empty, with the reason.
    let made = manager.post(MAJOR, body(contents("液氯", 62.3))).await.ok(201);
    let id = text(&made["id"]);
    let fields = &made["fields"];
    assert_eq!(
        (&fields["s"], &fields["r"], &fields["level"], &fields["lacks"]),
        (&json!(12.462), &Value::Null, &Value::Null, &json!("people"))
    );
    let correct = json!({"amend_reason": "补人口", "people_within_500m": 120});
    let graded = manager.take("major_hazard", &id, "correct", correct).await.ok(200);
    let fields = &graded["fields"];
    assert_eq!((&fields["r"], &fields["level"], &fields["lacks"]), (&json!(99.684), &json!("2"), &Value::Null));
    assert_eq!(
        (&fields["confidence"], &fields["terms"][0]["confidence"], &fields["terms"][1]["confidence"]),
        (&json!("unverified"), &json!("unverified"), &json!("verified"))
    );

    let assess = json!({"assessed_on": "2026-11-20", "assessor": "评估公司", "report_no": "PG-1"});
    let assessed = manager.take("major_hazard", &id, "assess", assess).await.ok(200);
    assert_eq!((&assessed["due_on"], &assessed["fields"]["assessment_until"]), (&json!("2026-12-05"), &json!("2029-11-20")));
    manager.take("major_hazard", &id, "submit", json!({"papers": "登记表", "fire_told_on": "2026-11-23"})).await.ok(200);
    let filing = json!({"filing_no": "BA-1", "filed_on": "2026-11-23", "filed_level": "2"});
    let filed = supervisor.take("major_hazard", &id, "file", filing).await.ok(200);
    assert_eq!((&filed["state"], &filed["due_on"]), (&json!("filed"), &json!("2029-11-20")));
    assert_eq!(supervisor.get("/api/v1/tasks").await["open"], 0);

    // Two tenths of a tonne more is another level: it is filed again, and the time line shows the field.
    let edit = json!({"amend_reason": "扩容", "contents": contents("液氯", 62.5)});
    let changed = manager.take("major_hazard", &id, "amend", edit).await.ok(200);
    assert_eq!(
        (&changed["state"], &changed["fields"]["level"], &changed["due_on"]),
        (&json!("to_refile"), &json!("1"), &json!("2026-12-23"))
    );
    let entry = manager.get(&format!("{MAJOR}/{id}/history")).await["entries"][0].clone();
    assert_eq!((&entry["transition"], &entry["from"], &entry["to"]), (&json!("amend"), &json!("filed"), &json!("to_refile")));
    assert_eq!((&entry["changes"]["level"], &entry["changes"]["r"]), (&json!(["2", "1"]), &json!([99.684, 100.004])));
    assert_eq!(manager.get("/api/v1/tasks").await["tasks"][0]["record"]["id"], id);
    assert_eq!(manager.get(&format!("{MAJOR}?f.level=1")).await["records"][0]["id"], id);
    assert_eq!(manager.get(&format!("{MAJOR}?f.level=2")).await["records"], json!([]));

    // An assessment that is over stands on the county's to-do list.
    let assess = json!({"assessed_on": "2026-11-23", "assessor": "评估公司", "report_no": "PG-2"});
    manager.take("major_hazard", &id, "assess", assess).await.ok(200);
    manager.take("major_hazard", &id, "submit", json!({"papers": "登记表", "fire_told_on": "2026-11-23"})).await.ok(200);
    supervisor.take("major_hazard", &id, "file", json!({"filed_on": "2026-11-23", "filed_level": "1"})).await.ok(200);
    days_pass(&node, 3 * 365 + 2).await;
    let supervisor = Person { token: node.sign_in("supervisor").await, node: &node };
    let tasks = supervisor.get("/api/v1/tasks").await;
    assert_eq!(
        (&tasks["tasks"][0]["record"]["id"], &tasks["tasks"][0]["record"]["overdue"], &tasks["overdue"]),
        (&json!(id), &json!(true), &json!(1))
    );
}

fn write_pack(folder: &Path, id: &str, register: &str) {
    let to = folder.join(id).join("registers/fire_drill");
    std::fs::create_dir_all(&to).unwrap();
    let meta = format!("id = \"{id}\"\nname = \"演练\"\nname_en = \"Drills\"\nversion = \"1\"\npublisher = \"某市\"\n");
    std::fs::write(folder.join(id).join("pack.toml"), meta).unwrap();
    std::fs::write(to.join("register.toml"), register).unwrap();
    let cases = "[[case]]\nname = \"planned and held\"\nacts = [{ do = \"plan\", by = \"li\", as = \"safety_manager\", on = \"2026-03-02\", set = { subject = \"x\" } }, { do = \"hold\", by = \"li\", as = \"safety_manager\", on = \"2026-03-02\" }]\nends = \"held\"\n";
    std::fs::write(to.join("cases.toml"), cases).unwrap();
}

const DRILL: &str = r#"
kind = "fire_drill"
name = "消防演练"
name_en = "Fire drill"
standard = "某市消防条例"
confidence = "unverified"
start = "draft"
title = "subject"
field = [{ id = "subject", name = "科目", name_en = "Subject", type = "text" }]
state = [
    { id = "draft", name = "草稿", name_en = "Draft" },
    { id = "planned", name = "已计划", name_en = "Planned", task = ["safety_manager"] },
    { id = "held", name = "已演练", name_en = "Held", end = true },
]
[[transition]]
id = "plan"
name = "计划"
name_en = "Plan"
from = ["draft"]
to = "planned"
who = ["safety_manager"]
require = ["subject"]
[[transition]]
id = "hold"
name = "演练"
name_en = "Hold"
from = ["planned"]
to = "held"
who = ["safety_manager"]
"#;

#[tokio::test]
async fn a_pack_is_switched_on_live_and_stays_as_it_was_read() {
    let packs = tempfile::tempdir().unwrap();
    let node = node_with(Settings { packs: Some(packs.path().to_owned()), ..settings() }).await;
    let enterprise = node.enterprise("E1", HERE).await;
    let manager = person(&node, "manager", json!([{"role": "safety_manager", "enterprise": enterprise}])).await;
    let drills = "/api/v1/registers/fire_drill/records";
    assert_eq!(ask(&node.router, "GET", drills, Some(&manager.token), None).await.code(404), "register.unknown");
    write_pack(packs.path(), "drills", DRILL);
    let pack = async || node.pack("drills").await;
    let seen = pack().await;
    assert_eq!((seen["state"].clone(), seen["registers"][0]["kind"].clone()), (json!("available"), json!("fire_drill")));
    let hash = json!({"hash": seen["hash"]});
    let local = person(&node, "local", json!([{"role": "administrator", "region": HERE}])).await;
    assert_eq!(local.post("/api/v1/packs/drills/enable", hash.clone()).await.code(403), "scope.outside");
    assert_eq!(node.admin("POST", "/api/v1/packs/drills/enable", json!({"hash": "0"})).await.code(409), "pack.changed");
    assert_eq!(node.admin("POST", "/api/v1/packs/drills/enable", hash.clone()).await.status, 204);
    let body = json!({"enterprise": enterprise, "transition": "plan", "fields": {"subject": "灭火"}});
    let id = text(&manager.post(drills, body).await.ok(201)["id"]);
    assert_eq!(pack().await["state"], "enabled");
    let document = node.get("/api/v1/openapi.json").await;
    let made = &document["paths"]["/api/v1/registers/fire_drill/records"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(made["oneOf"][0]["properties"]["fields"]["required"], json!(["subject"]), "the node's own document names its fields");

    // Broken in the folder: told with file and line, refused, and the one that is on goes on.
    write_pack(packs.path(), "drills", &DRILL.replace("to = \"held\"", "to = \"hold\""));
    let seen = pack().await;
    assert_eq!(seen["state"], "changed");
    let problem = &seen["problems"][0];
    assert_eq!((problem["file"].clone(), problem["line"].clone()), (json!("registers/fire_drill/register.toml"), json!(28)), "{seen}");
    assert_eq!(node.admin("POST", "/api/v1/packs/drills/enable", json!({"hash": seen["hash"]})).await.code(400), "pack.wrong");
    assert_eq!(manager.get(drills).await["records"][0]["id"], json!(id));

    // A version without the state in which there are records would strand them.
    let without = DRILL.replace("\"planned\"", "\"scheduled\"");
    write_pack(packs.path(), "drills", &without);
    let refused = node.admin("POST", "/api/v1/packs/drills/enable", json!({"hash": pack().await["hash"]})).await;
    assert!(refused.body["errors"][0]["detail"].as_str().unwrap().contains("\"planned\""), "{}", refused.body);

    // A register that another pack has.
    write_pack(packs.path(), "twice", &DRILL.replace("fire_drill", "hidden_danger"));
    let twice = node.pack("twice").await;
    assert_eq!(twice["state"], "broken", "{twice}");

    assert_eq!(node.admin("POST", "/api/v1/packs/drills/disable", json!({})).await.status, 204);
    assert_eq!(ask(&node.router, "GET", drills, Some(&manager.token), None).await.code(404), "register.unknown");
    assert_eq!(manager.get("/api/v1/tasks").await["open"], 0, "no page opens it");
    write_pack(packs.path(), "drills", DRILL);
    assert_eq!(node.admin("POST", "/api/v1/packs/drills/enable", json!({"hash": pack().await["hash"]})).await.status, 204);
    assert_eq!(manager.get("/api/v1/tasks").await["open"], 1, "the record waited for its register");
    let audit = node.get("/api/v1/audit?noun=pack").await;
    let acts: Vec<&str> = audit["entries"].as_array().unwrap().iter().map(|e| e["action"].as_str().unwrap()).collect();
    assert_eq!(acts, ["enable", "disable", "enable"]);
    assert_eq!(audit["entries"][0]["detail"]["signature"], "unsigned");
}

#[tokio::test]
async fn records_of_another_release_are_brought_up_to_date_once() {
    use anlan_model::Clock as _;
    let node = node().await;
    // The start did it already, or this does.
    anlan_app::pack::renew_base(&node.app).await.unwrap();
    let enterprise = node.enterprise("E1", HERE).await;
    let worker = Person { node: &node, token: node.person("worker", json!([{"role": "worker", "enterprise": enterprise}])).await };
    let fields = json!({"description": "护栏缺失", "place": "x", "found_on": "2026-01-01", "source": "condition", "found_by": "worker"});
    let body = json!({"enterprise": enterprise, "transition": "report", "fields": fields});
    let id = text(&ask(&node.router, "POST", RECORDS, Some(&worker.token), Some(body)).await.ok(201)["id"]);
    let history = async || worker.get(&format!("{RECORDS}/{id}/history")).await["entries"].as_array().unwrap().len();
    assert!(!anlan_app::pack::renew_base(&node.app).await.unwrap(), "a new node has nothing of another release");
    node.app.store.put_setting(&anlan_model::Scope::node(), "base_pack", "another release", node.app.clock.now()).await.unwrap();
    assert!(anlan_app::pack::renew_base(&node.app).await.unwrap());
    assert_eq!(history().await, 2);
    assert!(!anlan_app::pack::renew_base(&node.app).await.unwrap());
    assert_eq!(worker.get(&format!("{RECORDS}/{id}")).await["revision"], 2);
}

#[tokio::test]
async fn an_enterprise_is_flagged_while_no_licence_of_a_sort_is_good() {
    let node = node().await;
    let enterprise = node.enterprise("E1", HERE).await;
    let supervisor = Person { node: &node, token: node.person("supervisor", json!([{"role": "supervisor", "region": HERE}])).await };
    let other = Person { node: &node, token: node.person("other", json!([{"role": "supervisor", "region": ELSEWHERE}])).await };
    let enter = async |no: &str, licence: &str, until: &str| {
        let fields = json!({"subject": no, "licence": licence, "certificate_no": no, "issued_on": "2024-06-01", "valid_from": "2024-06-01", "valid_until": until});
        let body = json!({"enterprise": enterprise, "transition": "enter", "fields": fields});
        text(&ask(&node.router, "POST", "/api/v1/registers/licence/records", Some(&supervisor.token), Some(body)).await.ok(201)["id"])
    };
    let flags = async || supervisor.get(&format!("/api/v1/enterprises/{enterprise}")).await["flags"].clone();
    let first = enter("滇-1", "mine", "2026-11-24").await;
    enter("滇-2", "hazchem_trading", "2027-05-01").await;
    assert_eq!(flags().await, json!([]));
    ask(&node.router, "POST", "/api/v1/test/clock", None, Some(json!({"advance_s": 86_400}))).await.ok(200);
    assert_eq!(flags().await, json!([]), "its last day is not over");
    ask(&node.router, "POST", "/api/v1/test/clock", None, Some(json!({"advance_s": 86_400}))).await.ok(200);
    let flagged = json!([{"name": "许可失效", "name_en": "Licence not in force", "kind": "licence", "record": first, "title": "滇-1"}]);
    assert_eq!(flags().await, flagged);
    assert_eq!(supervisor.get("/api/v1/enterprises").await["enterprises"][0]["flags"], flagged);
    assert_eq!(other.get("/api/v1/enterprises").await["enterprises"], json!([]));
    enter("滇-3", "mine", "2027-05-01").await;
    assert_eq!(flags().await, json!([]), "another licence of the sort is good");
}

#[tokio::test]
async fn where_keys_are_trusted_a_pack_without_their_signature_stays_off() {
    use anlan_app::pack::{collect, hash_of};
    use anlan_app::signing::{KeyPair, SIGNATURE_FILE};
    let packs = tempfile::tempdir().unwrap();
    let (ours, theirs) =
        (KeyPair::create(&packs.path().join("ours.toml")).unwrap(), KeyPair::create(&packs.path().join("theirs.toml")).unwrap());
    let folder = packs.path().join("drills");
    let sign = |key: &KeyPair| std::fs::write(folder.join(SIGNATURE_FILE), key.sign_pack(&hash_of(&collect(&folder).unwrap()))).unwrap();
    let node = node_with(Settings { packs: Some(packs.path().to_owned()), trusted_keys: vec![ours.public().clone()], ..settings() }).await;
    write_pack(packs.path(), "drills", DRILL);
    let check = async |signature: &str, by: Option<&KeyPair>, code: Option<&str>| {
        let seen = node.pack("drills").await;
        assert_eq!((&seen["signature"], &seen["signed_by"]), (&json!(signature), &json!(by.map(|key| key.public().to_string()))), "{seen}");
        let answer = node.admin("POST", "/api/v1/packs/drills/enable", json!({"hash": seen["hash"]})).await;
        match code {
            Some(code) => assert_eq!(answer.refused(409), [(code.to_owned(), "signature".to_owned())]),
            None => assert_eq!(answer.status, 204, "{}", answer.body),
        }
    };
    check("unsigned", None, Some("pack.unsigned")).await;
    sign(&theirs);
    check("unknown", Some(&theirs), Some("pack.signer_unknown")).await;
    sign(&ours);
    let hash = node.pack("drills").await["hash"].clone();
    // One byte after signing.
    let cases = folder.join("registers/fire_drill/cases.toml");
    let whole = std::fs::read_to_string(&cases).unwrap();
    std::fs::write(&cases, format!("{whole} ")).unwrap();
    check("broken", None, Some("pack.signature_broken")).await;
    std::fs::write(&cases, whole).unwrap();
    assert_eq!(node.pack("drills").await["hash"], hash, "signing leaves the hash as it was");
    check("trusted", Some(&ours), None).await;
    let entry = node.get("/api/v1/audit?noun=pack").await["entries"][0].clone();
    assert_eq!(entry["detail"]["signature"], json!(ours.public().to_string()), "{entry}");
    assert_eq!(node.pack("base").await["signature"], "built_in");
    assert!(node.get("/api/v1/registers").await.to_string().contains("fire_drill"));
}

/// Sends a sheet.
async fn send_sheet(person: &Person<'_>, path: &str, bytes: Vec<u8>) -> (u16, Vec<u8>) {
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;
    let kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
    let request = axum::http::Request::post(path)
        .header("authorization", format!("Bearer {}", person.token))
        .header("host", "localhost")
        .header("content-type", kind)
        .body(axum::body::Body::from(bytes))
        .unwrap();
    let answer = person.node.router.clone().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.into_body().collect().await.unwrap().to_bytes().to_vec())
}

fn sheet(header: &[&str], rows: Vec<Vec<Cell>>) -> Vec<u8> {
    let columns = header.iter().map(|h| Column { header: (*h).to_owned(), width: 12.0, kind: ColumnKind::Text }).collect();
    write_sheet(&NewSheet { tabs: vec![Tab { name: "x".to_owned(), columns, rows }] }).unwrap()
}

fn words(words: &[&str]) -> Vec<Cell> {
    words.iter().map(|w| if w.is_empty() { Cell::Empty } else { Cell::Text((*w).to_owned()) }).collect()
}

#[tokio::test]
async fn a_sheet_is_imported_row_by_row_and_comes_back_with_what_was_wrong() {
    let node = node().await;
    node.enterprise("E1", HERE).await;
    node.enterprise("E2", ELSEWHERE).await;
    let manager = person(&node, "here", json!([{"role": "supervisor", "region": HERE}])).await;
    let import = "/api/v1/registers/hidden_danger/import";
    let template = read_sheet(&node.bytes(&manager.token, import).await, &SheetLimits::default()).unwrap();
    assert_eq!(template.header[..4], ["统一社会信用代码（企业编码）", "隐患描述", "隐患部位", "发现日期"]);
    let header = ["统一社会信用代码（企业编码）", "隐患描述", "隐患部位", "发现日期", "隐患类别"];
    let rows = vec![
        words(&["E1", "通道堆物", "仓库", "2026-11-20", "管理上的缺陷"]),
        words(&["E2", "别处的", "仓库", "2026-11-20", "act"]),
        words(&["E1", "没有日期", "仓库", "", "act"]),
        words(&["E1", "不存在的类别", "仓库", "2026-11-20", "天气"]),
        words(&["E1", "明天才发现", "仓库", "2026-11-25", "act"]),
        words(&["E1", "=1+1", "@仓库", "2026-11-20", "Unsafe act"]),
    ];
    let bytes = sheet(&header, rows);
    let (status, answer) = send_sheet(&manager, &format!("{import}?dry_run=true"), bytes.clone()).await;
    let report: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(status, 200, "{report}");
    let counts = |report: &Value| ["rows", "made", "repeated", "refused"].map(|key| report[key].as_i64().unwrap());
    assert_eq!(counts(&report), [6, 2, 0, 4]);
    let errors: Vec<(i64, &str, &str)> = report["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["row"].as_i64().unwrap(), e["column"].as_str().unwrap(), e["code"].as_str().unwrap()))
        .collect();
    let all = [
        (3, "统一社会信用代码（企业编码）", "sheet.enterprise_unknown"),
        (4, "发现日期", "register.field_missing"),
        (4, "", "register.guard"),
        (5, "隐患类别", "register.field_range"),
        (6, "", "register.guard"),
    ];
    assert_eq!(errors, all);
    assert_eq!(manager.get(RECORDS).await["records"], json!([]), "a dry run keeps nothing");
    let (_, answer) = send_sheet(&manager, import, bytes.clone()).await;
    assert_eq!(counts(&serde_json::from_slice(&answer).unwrap()), [6, 2, 0, 4]);
    let list = manager.get(RECORDS).await;
    let titles: Vec<&str> = list["records"].as_array().unwrap().iter().map(|r| r["title"].as_str().unwrap()).collect();
    assert_eq!(titles, ["=1+1", "通道堆物"]);

    let (_, answer) = send_sheet(&manager, &format!("{import}?dry_run=true&answer=xlsx"), bytes).await;
    let refused = read_sheet(&answer, &SheetLimits::default()).unwrap();
    assert_eq!((refused.header[5].as_str(), refused.rows.len()), ("错误", 4));
    assert_eq!(refused.rows[0].cell(6), &Cell::Number(3.0), "the row of the file it came from");
    let Cell::Text(said) = refused.rows[1].cell(5) else { panic!("{refused:?}") };
    assert!(said.starts_with("发现日期：这一步必须填写该字段。"), "{said}");

    // What the list shows, the export holds; a text that begins like a formula is a text.
    let exported = read_sheet(
        &node.bytes(&manager.token, "/api/v1/registers/hidden_danger/export?q=%E5%A0%86%E7%89%A9").await,
        &SheetLimits::default(),
    )
    .unwrap();
    assert_eq!(exported.rows.len(), 1);
    let exported =
        read_sheet(&node.bytes(&manager.token, "/api/v1/registers/hidden_danger/export").await, &SheetLimits::default()).unwrap();
    let column = exported.header.iter().position(|h| h == "隐患描述").unwrap();
    assert_eq!(exported.rows[0].cell(column), &Cell::Text("=1+1".to_owned()));
    let map = manager.get("/api/v1/registers/hidden_danger/map").await;
    assert_eq!(map["features"][0]["geometry"]["coordinates"], json!([102.5, 24.3]), "at the gate of the enterprise");

    for (bytes, code) in [
        (b"not a sheet".to_vec(), "sheet.not_xlsx"),
        (sheet(&header[..4], vec![]), "sheet.column_missing"),
        (sheet(&["统一社会信用代码（企业编码）", "隐患描述", "隐患部位", "发现日期", "隐患类别", "心情"], vec![]), "sheet.column_unknown"),
    ] {
        let (status, answer) = send_sheet(&manager, import, bytes).await;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!((status, answer["errors"][0]["code"].as_str().unwrap()), (400, code), "{answer}");
    }
}

#[tokio::test]
async fn ten_thousand_enterprises_with_repeats_and_errors_are_imported() {
    let node = node().await;
    let manager = person(&node, "here", json!([{"role": "supervisor", "region": HERE}])).await;
    let code = |n: usize| anlan_domain::credit_code::complete(&format!("91530402MA{n:07}")).unwrap();
    let header = ["统一社会信用代码", "企业名称", "行政区划代码", "行业"];
    // 100 rows of each sort a thousand: 30 repeat an earlier row (10 of them under another name), 20 are wrong.
    let mut rows = Vec::new();
    for n in 0..1_000 {
        let (name, region) = (format!("甲{n}有限公司"), HERE);
        rows.push(match n % 100 {
            97 => words(&[&code(n - 97), &format!("甲{}有限公司", n - 97), region, "gas"]),
            98 => words(&[&code(n - 97), &format!("甲{}有限公司", n - 97), region, "gas"]),
            99 => words(&[&code(n - 97), "改名有限公司", region, "gas"]),
            50 => words(&["91530402MA0000000X", &name, region, "gas"]),
            51 => words(&[&code(n), &name, ELSEWHERE, "gas"]),
            _ => words(&[&code(n), &name, region, "gas"]),
        });
    }
    let bytes = sheet(&header, rows);
    let counts = |report: &Value| ["rows", "made", "merged", "repeated", "refused"].map(|key| report[key].as_i64().unwrap());
    let path = "/api/v1/enterprises/import";
    for (query, want) in [("?dry_run=true", [1_000, 950, 10, 20, 20]), ("", [1_000, 950, 10, 20, 20]), ("", [1_000, 0, 20, 960, 20])] {
        let (status, answer) = send_sheet(&manager, &format!("{path}{query}"), bytes.clone()).await;
        let report: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!((status, counts(&report)), (200, want), "{query}: {report}");
        let codes: std::collections::BTreeSet<&str> =
            report["errors"].as_array().unwrap().iter().map(|e| e["code"].as_str().unwrap()).collect();
        assert_eq!(codes.into_iter().collect::<Vec<_>>(), ["enterprise.code_check_digit", "scope.outside"]);
    }
    let check = node.app.store.verify_audit(None).await.unwrap();
    assert!(check.complete && check.entries >= 960, "every row that was made or merged has its entry: {check:?}");
    let found = manager.get("/api/v1/enterprises?q=%E6%94%B9%E5%90%8D&limit=100").await;
    assert_eq!(found["enterprises"].as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn a_deadline_waits_while_its_register_is_off() {
    let packs = tempfile::tempdir().unwrap();
    let node = node_with(Settings { packs: Some(packs.path().to_owned()), ..settings() }).await;
    let enterprise = node.enterprise("E1", HERE).await;
    let manager = person(&node, "manager", json!([{"role": "safety_manager", "enterprise": enterprise}])).await;
    let task = "task = [\"safety_manager\"]";
    let due = format!(
        "{task}, deadline = {{ days = 1 }}, deadline_confidence = \"product\", escalate = [{{ after = 1, to = [\"safety_manager\"] }}]"
    );
    write_pack(packs.path(), "drills", &DRILL.replace(task, &due));
    let pack = node.pack("drills").await;
    let hash = json!({"hash": pack["hash"]});
    assert_eq!(node.admin("POST", "/api/v1/packs/drills/enable", hash.clone()).await.status, 204, "{pack}");
    let body = json!({"enterprise": enterprise, "transition": "plan", "fields": {"subject": "灭火"}});
    manager.post("/api/v1/registers/fire_drill/records", body).await.ok(201);
    assert_eq!(node.admin("POST", "/api/v1/packs/drills/disable", json!({})).await.status, 204);
    days_pass(&node, 3).await;
    assert_eq!(told(&manager.get("/api/v1/notifications").await), [""; 0], "nobody knows its steps now");
    assert_eq!(node.admin("POST", "/api/v1/packs/drills/enable", hash).await.status, 204);
    days_pass(&node, 1).await;
    assert_eq!(told(&manager.get("/api/v1/notifications").await), ["overdue"], "late, and told as soon as it is back");
}

#[tokio::test]
async fn each_deduction_of_a_review_becomes_a_hidden_danger_or_none_does() {
    const GRADING: &str = "/api/v1/registers/standardization/records";
    let node = node().await;
    let enterprise = node.enterprise("E1", HERE).await;
    let manager = person(&node, "manager", json!([{"role": "safety_manager", "enterprise": enterprise}])).await;
    let reviewer = person(&node, "reviewer", json!([{"role": "inspector", "region": HERE}])).await;
    let supervisor = person(&node, "supervisor", json!([{"role": "supervisor", "region": HERE}])).await;
    let scored = json!({"scheme": "演示版", "self_on": "2026-11-20", "self_items": [{"element": "全部", "full": 100, "deducted": 10}]});
    let body = json!({"enterprise": enterprise, "transition": "score", "fields": scored});
    let id = text(&manager.post(GRADING, body).await.ok(201)["id"]);
    manager.take("standardization", &id, "apply", json!({"applied_grade": "two"})).await.ok(200);
    let review = |rows: Value| json!({"review_body": "演示评审公司", "review_on": "2026-11-22", "review_items": rows});
    let dangers = async || node.get(RECORDS).await["records"].as_array().unwrap().len();

    // Every cell that a hidden danger lacks is told at once, and nothing is kept of the rows that lack none.
    let rows = json!([
        {"element": "甲", "full": 50, "deducted": 5, "reason": "护栏不全", "place": "平台", "cause": "condition"},
        {"element": "乙", "full": 30},
        {"element": "丙", "full": 20, "deducted": 1, "reason": "无记录"},
        {"element": "丁", "full": 20, "deducted": 1, "place": "仓库", "cause": "act"},
    ]);
    let told = reviewer.take("standardization", &id, "review", review(rows)).await.refused(400);
    let missing = |cell: &str| ("register.field_missing".to_owned(), format!("fields.review_items[{cell}"));
    assert_eq!(told, [missing("2].place"), missing("2].cause"), missing("3].reason")]);
    assert_eq!(dangers().await, 0);
    let at = format!("{GRADING}/{id}");
    assert_eq!(node.get(&at).await["state"], "applied");

    let rows = json!([
        {"element": "甲", "full": 50, "deducted": 5, "reason": "护栏不全", "place": "平台", "cause": "condition"},
        {"element": "乙", "full": 30, "deducted": 0},
        {"element": "丙", "full": 20, "deducted": 1, "reason": "无记录", "place": "仓库", "cause": "management"},
    ]);
    reviewer.take("standardization", &id, "review", review(rows)).await.ok(200);
    let record = manager.get(&at).await;
    let below: Vec<(&str, &str)> =
        record["children"].as_array().unwrap().iter().map(|c| (c["title"].as_str().unwrap(), c["state"].as_str().unwrap())).collect();
    assert_eq!(below, [("护栏不全", "found"), ("无记录", "found")], "they stand below the record");
    let first = text(&record["children"][0]["id"]);
    let danger = manager.get(&format!("{RECORDS}/{first}")).await;
    assert_eq!((danger["parent"]["id"].as_str(), &danger["fields"]["place"]), (Some(id.as_str()), &json!("平台")));
    assert_eq!((&danger["fields"]["found_on"], &danger["fields"]["found_by"]), (&json!("2026-11-22"), &json!("assessment")));
    assert_eq!(told_of(&manager, "found").await, 2, "whose task it is hears of each");

    // Done again, it opens none twice: not while one of them stands.
    let again = json!({"review_items": [{"element": "甲", "full": 50, "deducted": 6, "reason": "护栏缺失", "place": "平台", "cause": "condition"}]});
    let refused = reviewer.take("standardization", &id, "review_again", again.clone()).await.refused(409);
    assert_eq!(refused, [("register.guard".to_owned(), String::new())]);
    for child in record["children"].as_array().unwrap() {
        supervisor.take("hidden_danger", &text(&child["id"]), "dismiss", json!({"opinion": "误判"})).await.ok(200);
    }
    reviewer.take("standardization", &id, "review_again", again).await.ok(200);
    assert_eq!(dangers().await, 3);
    supervisor.take("standardization", &id, "decide", json!({"decided_grade": "two"})).await.ok(200);
}

/// How many tasks of this state the person was told of.
async fn told_of(person: &Person<'_>, state: &str) -> usize {
    let told = person.get("/api/v1/notifications?limit=100").await;
    told["notifications"].as_array().unwrap().iter().filter(|n| n["kind"] == "task" && n["detail"]["state"] == state).count()
}

const CLAUSES: &str = "/api/v1/registers/clause/records";

/// Takes a clause of an invented document into the library; its id.
async fn adopt(person: &Person<'_>, clause: &str, text_of: &str, valid_from: &str) -> String {
    let fields = json!({"document": "演示条例", "level": "local_regulation", "clause": clause, "text": text_of, "valid_from": valid_from,
        "source": "演示，虚构", "confidence": "unverified"});
    text(&person.post(CLAUSES, json!({"transition": "adopt", "fields": fields})).await.ok(201)["id"])
}

#[tokio::test]
async fn a_case_names_the_clause_of_its_day_and_a_clause_that_ended_is_named_no_more() {
    let node = node().await;
    let enterprise = node.enterprise("E1", HERE).await;
    let librarian = person(&node, "librarian", json!([{"role": "supervisor"}])).await;
    let local = person(&node, "local", json!([{"role": "supervisor", "region": HERE}])).await;
    let manager = person(&node, "manager", json!([{"role": "safety_manager", "enterprise": enterprise}])).await;
    let old = adopt(&librarian, "第一条", "旧文：应当设置护栏。", "2020-01-01").await;
    let new = adopt(&librarian, "第一条", "新文：应当设置双层护栏。", "2026-12-01").await;
    let ends = json!({"ends_on": "2026-12-01", "repeal_basis": "演示条例（修订）"});
    librarian.take("clause", &old, "set_end", ends).await.ok(200);
    let draft = json!({"document": "演示条例", "level": "other", "clause": "第二条", "text": "x", "valid_from": "2020-01-01", "source": "x", "confidence": "unverified"});
    let draft = text(&librarian.post(CLAUSES, json!({"transition": "enter", "fields": draft})).await.ok(201)["id"]);

    // Nobody's: everybody reads it, the whole node's people write it, and no owner is named.
    let read = manager.get(&format!("{CLAUSES}/{old}")).await;
    assert_eq!((&read["title"], &read["region"], &read["enterprise"]), (&json!("演示条例 第一条"), &json!(""), &Value::Null));
    assert_eq!(read["possible"], json!([]));
    let body = |owner: Value| {
        let mut body = json!({"transition": "adopt", "fields": {"document": "x", "level": "law", "clause": "1", "text": "x", "valid_from": "2020-01-01", "source": "x", "confidence": "unverified"}});
        body.as_object_mut().unwrap().extend(owner.as_object().unwrap().clone());
        body
    };
    assert_eq!(local.post(CLAUSES, body(json!({}))).await.code(403), "scope.outside");
    assert_eq!(local.take("clause", &old, "repeal", json!({})).await.code(403), "register.role");
    let named = librarian.post(CLAUSES, body(json!({"region": HERE}))).await.refused(400);
    assert_eq!(named, [("register.owner_everyone".to_owned(), "region".to_owned())]);

    // Two characters find it; for the field, those alone that may be named today.
    let found = async |query: &str| -> Vec<String> {
        let page = manager.get(&format!("{CLAUSES}?{query}")).await;
        page["records"].as_array().unwrap().iter().map(|r| text(&r["id"])).collect()
    };
    assert_eq!(found("q=%E6%8A%A4%E6%A0%8F").await, [new.clone(), old.clone()]);
    let picked = "for=hidden_danger.basis_clause&q=%E6%8A%A4%E6%A0%8F";
    assert_eq!(found(picked).await, std::slice::from_ref(&old));
    for wrong in ["hidden_danger.level", "hidden_danger", "nothing.basis_clause"] {
        let refused = ask(&node.router, "GET", &format!("{CLAUSES}?for={wrong}"), Some(&manager.token), None).await;
        assert_eq!(refused.code(400), "word.unknown", "{wrong}");
    }

    let report = async |clause: &str| {
        let fields =
            json!({"description": "无护栏", "place": "平台", "found_on": "2026-11-23", "source": "condition", "basis_clause": clause});
        manager.post(RECORDS, json!({"enterprise": enterprise, "transition": "report", "fields": fields})).await
    };
    let refused = |answer: common::Answer, code: &str| {
        assert_eq!(answer.refused(400), [(code.to_owned(), "fields.basis_clause".to_owned())]);
        text(&answer.body["errors"][0]["detail"])
    };
    let made = report(&old).await.ok(201);
    let id = text(&made["id"]);
    let not_yet = refused(report(&new).await, "register.reference_not_yet");
    assert!(not_yet.contains("演示条例 第一条") && not_yet.contains("2026-12-01"), "{not_yet}");
    let drafted = refused(report(&draft).await, "register.reference_state");
    assert!(drafted.contains("To be checked"), "{drafted}");
    // What is not there, and what is no clause, look alike.
    let answers = [refused(report("987654").await, "register.reference"), refused(report(&id).await, "register.reference")];
    assert_eq!(answers[0], answers[1]);
    refused(report("x y").await, "register.reference");
    assert_eq!(node.get(RECORDS).await["records"].as_array().unwrap().len(), 1, "nothing is kept of what was refused");

    let titled = |page: &Value| text(&page["references"][&old]["title"]);
    let at = format!("{RECORDS}/{id}");
    for path in [at.clone(), format!("{RECORDS}?f.basis_clause={old}")] {
        assert_eq!(titled(&local.get(&path).await), "演示条例 第一条", "{path}");
    }
    assert_eq!(titled(&local.get(&format!("{at}/history")).await["entries"][0]), "演示条例 第一条");
    let bytes = node.bytes(&manager.token, "/api/v1/registers/hidden_danger/export").await;
    let exported = read_sheet(&bytes, &SheetLimits::default()).unwrap();
    let column = exported.header.iter().position(|h| h == "依据条款").unwrap();
    assert_eq!(exported.rows[0].cell(column), &Cell::Text("演示条例 第一条".to_owned()));

    days_pass(&node, 8).await;
    librarian.take("clause", &old, "repeal", json!({})).await.ok(200);
    assert_eq!(found(picked).await, std::slice::from_ref(&new));
    let over = refused(report(&old).await, "register.reference_over");
    assert!(over.contains("2026-12-01") && over.contains("choose one that is"), "{over}");
    report(&new).await.ok(201);
    // The case of before goes on showing what it named, also where a form sends it again, and hands it down.
    manager.take("hidden_danger", &id, "rate", json!({"level": "major", "basis_clause": old})).await.ok(200);
    let owner = user_id(&node, "manager").await;
    let plan =
        json!({"responsible": owner, "due_on": "2027-01-01", "measures": "x", "goal": "x", "funds_yuan": 1, "interim_measures": "x"});
    manager.take("hidden_danger", &id, "assign", plan).await.ok(200);
    local.take("hidden_danger", &id, "list", json!({"listing_reason": "x"})).await.ok(200);
    let record = manager.get(&at).await;
    assert_eq!(titled(&record), "演示条例 第一条");
    let shown = manager.get(&format!("{CLAUSES}/{old}")).await;
    assert_eq!((&shown["fields"]["text"], &shown["state"]), (&json!("旧文：应当设置护栏。"), &json!("repealed")));
    let below = manager.get(&format!("/api/v1/registers/listed_supervision/records/{}", text(&record["children"][0]["id"]))).await;
    assert_eq!(below["fields"]["basis_clause"], json!(old));
}

#[tokio::test]
async fn what_is_out_of_sight_cannot_be_named_nor_told_from_what_is_not_there() {
    let packs = tempfile::tempdir().unwrap();
    let node = node_with(Settings { packs: Some(packs.path().to_owned()), ..settings() }).await;
    let talk = DRILL.replace("start = \"draft\"", "start = \"draft\"\nowner = \"region\"\nlist = [\"danger\"]");
    let talk = talk.replace(
        "field = [{",
        "field = [{ id = \"danger\", name = \"隐患\", name_en = \"Danger\", type = \"record\", of = \"hidden_danger\" }, {",
    );
    let talk = talk.replace("who = [\"safety_manager\"]", "who = [\"safety_manager\", \"supervisor\"]");
    let talk = talk.replace("require = [\"subject\"]", "require = [\"subject\"]\nmay = [\"danger\"]");
    write_pack(packs.path(), "talks", &talk);
    let pack = node.pack("talks").await;
    let enabled = node.admin("POST", "/api/v1/packs/talks/enable", json!({"hash": pack["hash"]})).await;
    assert_eq!(enabled.status, 204, "{pack} {}", enabled.body);
    let (here, elsewhere) = (node.enterprise("E1", HERE).await, node.enterprise("E2", ELSEWHERE).await);
    let both = person(&node, "both", json!([{"role": "supervisor", "region": "5304"}])).await;
    let local = person(&node, "local", json!([{"role": "supervisor", "region": HERE}])).await;
    let danger = async |enterprise: &str| {
        let fields = json!({"description": "秘密的隐患", "place": "x", "found_on": "2026-11-23", "source": "condition"});
        text(&both.post(RECORDS, json!({"enterprise": enterprise, "transition": "report", "fields": fields})).await.ok(201)["id"])
    };
    let (seen, hidden) = (danger(&here).await, danger(&elsewhere).await);
    let talks = "/api/v1/registers/fire_drill/records";
    let make = async |danger: &str| {
        local.post(talks, json!({"region": HERE, "transition": "plan", "fields": {"subject": "约谈", "danger": danger}})).await
    };
    let (of_hidden, of_nothing) = (make(&hidden).await, make("987654").await);
    assert_eq!(of_hidden.refused(400), [("register.reference".to_owned(), "fields.danger".to_owned())]);
    assert_eq!((of_hidden.status, &of_hidden.body["errors"]), (of_nothing.status, &of_nothing.body["errors"]));
    let id = text(&make(&seen).await.ok(201)["id"]);
    let title = |page: &Value| {
        let page = if page["entries"].is_array() { &page["entries"][0] } else { page };
        page["references"][&seen]["title"].as_str().map(str::to_owned)
    };
    let ways = [format!("{talks}/{id}"), talks.to_owned(), format!("{talks}/{id}/history")];
    for path in &ways {
        assert_eq!(title(&local.get(path).await).as_deref(), Some("秘密的隐患"), "{path}");
    }
    // The enterprise goes to another county, and its hidden danger with it: who no longer sees it gets no title, wherever they look.
    let at = format!("/api/v1/enterprises/{here}");
    let revision = node.get(&at).await["revision"].clone();
    node.admin("PATCH", &at, json!({"revision": revision, "region": ELSEWHERE})).await.ok(200);
    for path in &ways {
        assert_eq!(title(&local.get(path).await), None, "{path}");
        assert_eq!(title(&both.get(path).await).as_deref(), Some("秘密的隐患"), "{path}");
    }
    let bytes = node.bytes(&local.token, "/api/v1/registers/fire_drill/export").await;
    let exported = read_sheet(&bytes, &SheetLimits::default()).unwrap();
    let cells = exported.rows.iter().flat_map(|row| (0..exported.header.len()).map(|i| format!("{:?}", row.cell(i))));
    assert!(cells.into_iter().all(|cell| !cell.contains("秘密")));
}

#[tokio::test]
async fn clauses_come_as_a_sheet_without_an_owner() {
    let node = node().await;
    let librarian = person(&node, "librarian", json!([{"role": "supervisor"}])).await;
    let local = person(&node, "local", json!([{"role": "supervisor", "region": HERE}])).await;
    let path = "/api/v1/registers/clause/import";
    let template = read_sheet(&node.bytes(&librarian.token, path).await, &SheetLimits::default()).unwrap();
    assert_eq!(template.header[0], "文件名称", "no column says whose a row is");
    let header = ["文件名称", "效力层级", "条款", "条文", "施行日期", "出处", "核实程度"];
    let row = |clause: &str, from: &str| words(&["演示条例", "地方性法规", clause, "演示条文。", from, "演示", "待核"]);
    let file = || {
        sheet(
            &header,
            vec![row("第一条", "2020-01-01"), row("第二条", "2020-01-01"), row("第三条", "没有日期"), row("第一条", "2020-01-01")],
        )
    };
    let (status, answer) = send_sheet(&librarian, path, file()).await;
    let report: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!((status, &report["made"], &report["repeated"], &report["refused"]), (200, &json!(2), &json!(1), &json!(1)), "{report}");
    let (_, answer) = send_sheet(&local, path, file()).await;
    let report: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!((&report["made"], &report["refused"]), (&json!(0), &json!(4)), "{report}");
    assert_eq!(report["errors"][0]["code"], "scope.outside");
}

#[tokio::test]
async fn a_record_whose_time_is_over_is_marked_and_stays() {
    let packs = tempfile::tempdir().unwrap();
    let node = node_with(Settings { packs: Some(packs.path().to_owned()), ..settings() }).await;
    let said = "start = \"draft\"\nexchange = \"county\"\nretention = { years = 1, from = \"end\", source = \"某市消防条例\", confidence = \"unverified\" }";
    write_pack(packs.path(), "drills", &DRILL.replace("start = \"draft\"", said));
    let hash = json!({"hash": node.pack("drills").await["hash"]});
    assert_eq!(node.admin("POST", "/api/v1/packs/drills/enable", hash).await.status, 204);
    let register = node.get("/api/v1/registers/fire_drill").await;
    assert_eq!((&register["exchange"], &register["retention"]["years"]), (&json!("county"), &json!(1)));
    assert_eq!(node.get("/api/v1/registers/hidden_danger").await["retention"], Value::Null, "where no source says it, nothing is said");

    let enterprise = node.enterprise("E1", HERE).await;
    let manager = person(&node, "manager", json!([{"role": "safety_manager", "enterprise": enterprise}])).await;
    let drills = "/api/v1/registers/fire_drill/records";
    let body = json!({"enterprise": enterprise, "transition": "plan", "fields": {"subject": "灭火"}});
    let (id, open) = (text(&manager.post(drills, body.clone()).await.ok(201)["id"]), text(&manager.post(drills, body).await.ok(201)["id"]));
    let held = manager.take("fire_drill", &id, "hold", json!({})).await.ok(200);
    assert_eq!((&held["retained_until"], &held["retention_over"]), (&json!("2027-11-23"), &json!(false)));
    days_pass(&node, 365).await;
    let node_token = node.sign_in("admin").await;
    let at = async |path: String| ask(&node.router, "GET", &path, Some(&node_token), None).await.ok(200);
    assert_eq!(at(format!("{drills}?retention_over=true")).await["records"], json!([]), "on the last day it is to be kept");
    days_pass(&node, 1).await;
    let page = at(format!("{drills}?retention_over=true")).await;
    assert_eq!(page["records"].as_array().unwrap().iter().map(|r| text(&r["id"])).collect::<Vec<_>>(), std::slice::from_ref(&id));
    assert_eq!(at(format!("{drills}/{id}")).await["retention_over"], true);
    assert_eq!(at(format!("{drills}/{open}")).await["retained_until"], Value::Null, "something follows");
    assert_eq!(at(drills.to_owned()).await["records"].as_array().unwrap().len(), 2, "nothing goes by itself");
}

#[tokio::test]
async fn five_hundred_deductions_are_one_act() {
    const GRADING: &str = "/api/v1/registers/standardization/records";
    let node = node().await;
    let enterprise = node.enterprise("E1", HERE).await;
    let manager = person(&node, "manager", json!([{"role": "safety_manager", "enterprise": enterprise}])).await;
    let reviewer = person(&node, "reviewer", json!([{"role": "inspector", "region": HERE}])).await;
    let scored = json!({"scheme": "演示版", "self_on": "2026-11-20", "self_items": [{"element": "全部", "full": 100, "deducted": 10}]});
    let id = text(&manager.post(GRADING, json!({"enterprise": enterprise, "transition": "score", "fields": scored})).await.ok(201)["id"]);
    manager.take("standardization", &id, "apply", json!({"applied_grade": "two"})).await.ok(200);
    let row = |i: usize| json!({"element": format!("要素{i}"), "full": 2, "deducted": 0.2, "reason": format!("问题{i}"), "place": "车间", "cause": "condition"});
    let review = |n: usize| json!({"review_body": "演示", "review_on": "2026-11-22", "review_items": (0..n).map(row).collect::<Vec<_>>()});
    let most = reviewer.take("standardization", &id, "review", review(501)).await.refused(400);
    assert_eq!(most[0], ("register.field_range".to_owned(), "fields.review_items".to_owned()));
    let before = std::time::Instant::now();
    reviewer.take("standardization", &id, "review", review(500)).await.ok(200);
    println!("500 hidden dangers in one act: {} ms", before.elapsed().as_millis());
    let counts = node.get("/api/v1/registers").await;
    let dangers = counts["registers"].as_array().unwrap().iter().find(|r| r["kind"] == "hidden_danger").unwrap().clone();
    assert_eq!(dangers["open"], 500);
}
