//! What moves from one to another: two files of one enterprise become one, and somebody takes over what another was named for.

mod common;

use common::{ELSEWHERE, HERE, Node, ask, node, text};
use serde_json::{Value, json};

async fn merge(node: &Node, token: &str, from: &str, into: &str, dry_run: bool) -> common::Answer {
    let revision = async |id: &str| node.get(&format!("/api/v1/enterprises/{id}")).await["revision"].clone();
    let body = json!({"into": into, "revision": revision(from).await, "into_revision": revision(into).await, "dry_run": dry_run});
    ask(&node.router, "POST", &format!("/api/v1/enterprises/{from}/merge"), Some(token), Some(body)).await
}

fn n(report: &Value, noun: &str) -> i64 {
    report["moved"].as_array().unwrap().iter().find(|m| m["noun"] == noun).unwrap()["n"].as_i64().unwrap()
}

#[tokio::test]
async fn after_a_merge_readings_alarms_and_combinations_are_the_others() {
    let node = node().await;
    let (from, into) = (node.enterprise("E1", HERE).await, node.enterprise("E2", ELSEWHERE).await);
    let device = node.device("D1", Some(&from)).await;
    let point = node.point(&device, "GT-101").await;
    let other = node.point(&device, "GT-102").await;
    let members = json!([{"point": point, "kind": "h"}, {"point": other, "kind": "h"}]);
    let body = json!({"enterprise": from, "name": "泄漏确认", "level": "red", "within_s": 30, "members": members, "source": {"document": "联锁表"}});
    let combination = text(&node.admin("POST", "/api/v1/combinations", body).await.ok(201)["id"]);
    node.reading(&device, "GT-101", 30.0).await;
    let grants = json!([{"role": "safety_manager", "enterprise": from}]);
    let manager = node.person("manager", grants).await;
    let here = node.person("here", json!([{"role": "supervisor", "region": HERE}])).await;
    let there = node.person("there", json!([{"role": "supervisor", "region": ELSEWHERE}])).await;
    let admin = node.admin.clone();

    // Whoever holds one of the two counties sees one of the two.
    assert_eq!(merge(&node, &here, &from, &into, true).await.refused(400), [("reference.unknown".into(), "into".into())]);
    assert_eq!(merge(&node, &manager, &from, &into, true).await.code(403), "permission.missing");
    let dry = merge(&node, &admin, &from, &into, true).await.ok(200);
    assert_eq!((n(&dry, "device"), n(&dry, "point"), n(&dry, "combination"), n(&dry, "user")), (1, 2, 1, 1));
    assert_eq!(
        node.get(&format!("/api/v1/points?enterprise={from}")).await["points"].as_array().unwrap().len(),
        2,
        "a dry run keeps nothing"
    );

    let done = merge(&node, &admin, &from, &into, false).await.ok(200);
    assert_eq!(done["moved"], dry["moved"]);
    // The old id leads on; no list has it.
    assert_eq!(node.get(&format!("/api/v1/enterprises/{from}")).await["merged_into"], json!(into));
    let list = node.get("/api/v1/enterprises").await;
    assert_eq!(list["enterprises"].as_array().unwrap().iter().map(|e| &e["id"]).collect::<Vec<_>>(), [&json!(into)]);
    assert_eq!(node.get("/api/v1/summary").await["counts"]["enterprises"], 1);
    let seen = async |token: &str, path: &str, noun: &str| {
        let answer = ask(&node.router, "GET", path, Some(token), None).await.ok(200);
        answer[noun].as_array().unwrap().len()
    };
    assert_eq!((seen(&here, "/api/v1/points", "points").await, seen(&there, "/api/v1/points", "points").await), (0, 2));
    assert_eq!(seen(&manager, "/api/v1/points", "points").await, 2, "a grant for the one is one for the other");

    // Readings before are there, readings after are taken, and the two points together raise the combination in its new shard.
    assert_eq!(seen(&there, &format!("/api/v1/points/{point}/readings"), "readings").await, 1);
    node.reading(&device, "GT-101", 30.0).await;
    node.reading(&device, "GT-102", 31.0).await;
    let alarms = ask(&node.router, "GET", "/api/v1/alarms?state=raised", Some(&there), None).await.ok(200)["alarms"].clone();
    let alarms = alarms.as_array().unwrap();
    assert!(alarms.iter().all(|a| a["enterprise"] == json!(into) && a["region"] == ELSEWHERE), "{alarms:?}");
    assert!(alarms.iter().any(|a| a["combination"] == json!(combination)), "{alarms:?}");
    assert_eq!(node.get(&format!("/api/v1/combinations/{combination}")).await["enterprise"], json!(into));
    let again = merge(&node, &admin, &from, &into, false).await;
    assert_eq!(again.code(404), "row.not_found");
    let audit = node.get(&format!("/api/v1/audit?noun=enterprise&subject={into}")).await;
    assert_eq!(audit["entries"][0]["detail"]["moved"]["point"], 2, "{audit}");
    assert!(node.app.store.verify_audit(None).await.unwrap().complete);
}

/// A node that starts anew has the combinations where the merge left them.
#[tokio::test]
async fn a_restart_after_a_merge_knows_it() {
    let node = node().await;
    let (from, into) = (node.enterprise("E1", HERE).await, node.enterprise("E2", HERE).await);
    let device = node.device("D1", Some(&from)).await;
    node.point(&device, "GT-101").await;
    let admin = node.admin.clone();
    merge(&node, &admin, &from, &into, false).await.ok(200);
    let Node { router, app, running, directory, admin } = node;
    drop((router, app));
    running.stop().await;
    let (running, router) = common::open(directory.path(), common::settings()).await;
    let node = Node { app: running.app.clone(), running, router, directory, admin };
    assert_eq!(node.get(&format!("/api/v1/points?enterprise={into}")).await["points"].as_array().unwrap().len(), 1);
    node.reading(&device, "GT-101", 30.0).await;
    assert_eq!(node.get("/api/v1/alarms").await["alarms"][0]["enterprise"], json!(into));
}

#[tokio::test]
async fn a_new_person_takes_over_what_is_a_task_and_what_was_done_stays_done() {
    let node = node().await;
    let enterprise = node.enterprise("E1", HERE).await;
    let lead = node.person("lead", json!([{"role": "supervisor", "region": HERE}])).await;
    let grants = json!([{"role": "safety_manager", "enterprise": enterprise}]);
    let old = node.person("old", grants.clone()).await;
    let new = node.person("new", grants).await;
    node.person("far", json!([{"role": "supervisor", "region": ELSEWHERE}])).await;
    let manages = node.person("manages", json!([{"role": "administrator", "region": HERE}])).await;
    let users = node.get("/api/v1/users?limit=1000").await;
    let id = |name: &str| text(&users["users"].as_array().unwrap().iter().find(|u| u["username"] == name).unwrap()["id"]);
    let step = async |path: String, body: Value| ask(&node.router, "POST", &path, Some(&lead), Some(body)).await;
    let records = "/api/v1/registers/hidden_danger/records";
    let mut made = Vec::new();
    for i in 0..2 {
        let fields = json!({"description": format!("隐患{i}"), "place": "二车间", "found_on": "2026-11-22", "source": "condition"});
        let body = json!({"enterprise": enterprise, "transition": "report", "fields": fields});
        let record = text(&step(records.into(), body).await.ok(201)["id"]);
        step(format!("{records}/{record}/transitions/rate"), json!({"revision": 1, "fields": {"level": "general"}})).await.ok(200);
        let fields = json!({"responsible": id("old"), "due_on": "2026-12-01", "measures": "更换"});
        step(format!("{records}/{record}/transitions/assign"), json!({"revision": 2, "fields": fields})).await.ok(200);
        made.push(record);
    }
    let shift =
        json!({"region": HERE, "desk": "watch", "user": id("manages"), "from": "2026-12-01T00:00:00Z", "to": "2026-12-01T08:00:00Z"});
    node.admin("POST", "/api/v1/duty/shifts", shift).await.ok(201);

    let duties = node.get(&format!("/api/v1/users/{}/duties", id("old"))).await;
    assert_eq!((duties["records"].as_array().unwrap().len(), &duties["shifts"]), (2, &json!(0)));
    assert_eq!((&duties["records"][0]["fields"], &duties["records"][0]["task"]), (&json!(["responsible"]), &json!(true)));
    assert_eq!(node.get(&format!("/api/v1/users/{}/duties", id("manages"))).await["shifts"], 1);

    let take = async |token: &str, to: &str, dry_run: bool| {
        let body = json!({"to": to, "dry_run": dry_run});
        ask(&node.router, "POST", &format!("/api/v1/users/{}/take-over", id("old")), Some(token), Some(body)).await
    };
    // Only whoever manages both; nobody to themselves; whoever holds no grant there gets nothing.
    assert_eq!(take(&lead, &id("new"), true).await.code(403), "permission.missing");
    assert_eq!(take(&manages, &id("far"), true).await.refused(400), [("reference.unknown".into(), "to".into())]);
    assert_eq!(take(&manages, &id("old"), true).await.refused(400), [("user.successor".into(), "to".into())]);
    let none = take(&node.admin, &id("far"), false).await.ok(200);
    assert_eq!((none["records"].as_array().unwrap().len(), none["left"].as_array().unwrap().len()), (0, 2));

    let tasks =
        async |token: &str| ask(&node.router, "GET", "/api/v1/tasks", Some(token), None).await.ok(200)["tasks"].as_array().unwrap().len();
    let dry = take(&manages, &id("new"), true).await.ok(200);
    assert_eq!((dry["records"].as_array().unwrap().len(), tasks(&old).await, tasks(&new).await), (2, 2, 0));
    let done = take(&manages, &id("new"), false).await.ok(200);
    assert_eq!(done["records"], dry["records"]);
    assert_eq!((tasks(&old).await, tasks(&new).await), (0, 2));
    let history = node.get(&format!("{records}/{}/history", made[0])).await;
    assert_eq!(history["entries"][0]["changes"]["responsible"], json!([id("old"), id("new")]), "{history}");
    for token in [&old, &new] {
        let told = ask(&node.router, "GET", "/api/v1/notifications", Some(token), None).await.ok(200);
        assert_eq!(told["notifications"][0]["kind"], "taken_over", "{told}");
    }
    // Only whoever is responsible now goes on; nobody is named any more.
    let revision = node.get(&format!("{records}/{}", made[0])).await["revision"].clone();
    let body = json!({"revision": revision, "fields": {}});
    let submit = async |token: &str| {
        let path = format!("{records}/{}/transitions/submit", made[0]);
        ask(&node.router, "POST", &path, Some(token), Some(body.clone())).await.body.to_string()
    };
    assert!(submit(&old).await.contains("person responsible") && !submit(&new).await.contains("person responsible"));
    assert_eq!(node.get(&format!("/api/v1/users/{}/duties", id("old"))).await["records"], json!([]));
    let again = take(&manages, &id("new"), false).await.ok(200);
    assert_eq!(again["records"], json!([]), "twice does no harm");
    assert_eq!(node.app.store.verify_records().await.unwrap().1, []);
}
