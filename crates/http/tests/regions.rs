//! Divisions with days: which code may be used when, what moves, and that nobody loses sight of anything (ADR 0015).

mod common;

use anlan_app::clock::AppClock;
use anlan_model::Timestamp;
use common::{Node, ask, node_at, open_at, settings, text};
use serde_json::{Value, json};

/// Before Jiangchuan County (530421) became Jiangchuan District (530403) on 2015-12-03.
async fn in_2013() -> Node {
    node_at(AppClock::test("2013-06-01T00:00:00Z").unwrap()).await
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn made(code: &str, region: &str) -> Value {
    json!({"code": code, "name": code, "region": region, "sector": "hazchem"})
}

async fn regions(node: &Node) -> Vec<Value> {
    node.get("/api/v1/regions").await["regions"].as_array().unwrap().clone()
}

fn of<'a>(regions: &'a [Value], code: &str) -> &'a Value {
    regions.iter().find(|r| r["code"] == code).unwrap_or_else(|| panic!("no {code}"))
}

#[tokio::test]
async fn the_list_is_a_tree_with_days_and_says_what_is_in_force_today() {
    let node = in_2013().await;
    let then = regions(&node).await;
    assert_eq!(then.len(), 88);
    let old = json!({"code": "530421", "name": "江川县", "name_en": "Jiangchuan County", "kind": "county", "parent": "5304", "valid_from": null,
        "valid_to": "2015-12-02", "became": "530403", "in_force": true});
    assert_eq!(*of(&then, "530421"), old);
    assert_eq!(of(&then, "530403")["in_force"], false);
    let town = of(&then, "530403101");
    assert_eq!(
        (&town["name"], &town["kind"], &town["parent"], &town["in_force"]),
        (&json!("江城镇"), &json!("town"), &json!("530403"), &json!(false))
    );
    // Midnight in Beijing.
    node.app.clock.set(at("2015-12-02T15:59:59Z")).unwrap().unwrap();
    node.app.clock.set_rate(0.0).unwrap().unwrap();
    assert_eq!(of(&regions(&node).await, "530421")["in_force"], true);
    node.app.clock.set(at("2015-12-02T16:00:00Z")).unwrap().unwrap();
    let now = regions(&node).await;
    assert_eq!(
        (&of(&now, "530421")["in_force"], &of(&now, "530403")["in_force"], &of(&now, "530403101")["in_force"]),
        (&json!(false), &json!(true), &json!(true))
    );
}

#[tokio::test]
async fn new_rows_carry_codes_of_their_day() {
    let node = in_2013().await;
    let grants = |region: &str| json!({"username": format!("u{region}"), "name": "x", "password": common::PASSWORD, "grants": [{"role": "leader", "region": region}]});
    let check = async |region: &str, want: Option<&str>| {
        for (path, body, field) in
            [("/api/v1/enterprises", made(&format!("E{region}"), region), "region"), ("/api/v1/users", grants(region), "grants[0].region")]
        {
            let answer = node.admin("POST", path, body).await;
            match want {
                None => drop(answer.ok(201)),
                Some(code) => assert_eq!(answer.refused(400), [(code.to_owned(), field.to_owned())], "{region}"),
            }
        }
    };
    check("530421", None).await;
    check("530403", Some("region.not_yet")).await;
    check("530403101", Some("region.not_yet")).await;
    check("530402001", None).await;
    check("530499", Some("region.unknown")).await;
    node.app.clock.set(at("2016-03-01T00:00:00Z")).unwrap().unwrap();
    check("530421", Some("region.replaced")).await;
    check("530403", None).await;
    check("530403101", None).await;
    check("530422", None).await;
    let answer = node.admin("POST", "/api/v1/enterprises", made("E9", "530421")).await;
    let error = answer.body["errors"][0].clone();
    assert_eq!(error["params"], json!({"region": "530421", "became": "530403", "since": "2015-12-03"}));
    assert_eq!(error["detail"], "The division 530421 became 530403 on 2015-12-03; use the new code.");
    // A question about what happened may still name it.
    for path in ["/api/v1/enterprises?region=530421", "/api/v1/alarms?region=530421", "/api/v1/vehicles?region=530421"] {
        node.get(path).await;
    }
}

#[tokio::test]
async fn on_the_day_everything_moves_and_its_people_see_what_was_before_and_what_comes() {
    let node = in_2013().await;
    let enterprise = text(&node.admin("POST", "/api/v1/enterprises", made("E1", "530421")).await.ok(201)["id"]);
    let device = node.device("D1", Some(&enterprise)).await;
    node.point(&device, "GT-101").await;
    node.reading(&device, "GT-101", 30.0).await;
    let local =
        node.person("local", json!([{"role": "supervisor", "region": "530421"}, {"role": "administrator", "region": "530421"}])).await;
    let other = node.person("other", json!([{"role": "supervisor", "region": "530402"}])).await;
    let alarms = async |token: &str, path: &str| {
        ask(&node.router, "GET", path, Some(token), None).await.ok(200)["alarms"].as_array().unwrap().clone()
    };
    let then = alarms(&local, "/api/v1/alarms").await;
    assert_eq!((then.len(), &then[0]["region"], &then[0]["region_name"]), (1, &json!("530421"), &json!("江川县")));

    node.app.clock.set(at("2015-12-03T00:00:00Z")).unwrap().unwrap();
    assert!(node.app.settle().await > 0);
    let path = format!("/api/v1/enterprises/{enterprise}");
    let now = ask(&node.router, "GET", &path, Some(&local), None).await.ok(200);
    assert_eq!((&now["region"], &now["region_name"]), (&json!("530403"), &json!("江川区")));
    ask(&node.router, "GET", &path, Some(&other), None).await.refused(404);
    // The alarm of 2013 was one of the county of then, by name, and its people still see it, handle it and find it.
    for path in ["/api/v1/alarms", "/api/v1/alarms?region=530421"] {
        let found = alarms(&local, path).await;
        let it = found.iter().find(|a| a["id"] == then[0]["id"]).unwrap();
        assert_eq!((&it["region"], &it["region_name"]), (&json!("530421"), &json!("江川县")), "{path}");
    }
    assert!(alarms(&other, "/api/v1/alarms").await.is_empty());
    let handled = format!("/api/v1/alarms/{}/acknowledge", text(&then[0]["id"]));
    ask(&node.router, "POST", &handled, Some(&local), Some(json!({"note": "x"}))).await.ok(200);
    let audit = ask(&node.router, "GET", "/api/v1/audit", Some(&local), None).await.ok(200).to_string();
    assert!(audit.contains("redivide") && audit.contains("\"create\""), "entries of before and of the move: {audit}");
    let me = ask(&node.router, "GET", "/api/v1/session", Some(&local), None).await.ok(200);
    let grants: Vec<&Value> = me["user"]["grants"].as_array().unwrap().iter().map(|g| &g["region"]).collect();
    assert_eq!(grants, ["530403", "530403"], "shown is what was given, not how far back it reaches");
    // A reach back is no right to give on.
    let body = json!({"username": "n1", "name": "x", "password": common::PASSWORD, "grants": [{"role": "leader", "region": "530421"}]});
    assert_eq!(ask(&node.router, "POST", "/api/v1/users", Some(&local), Some(body)).await.code(400), "region.replaced");

    // What comes now is of the district.
    node.reading(&device, "GT-101", 1.0).await;
    node.app.clock.set(at("2015-12-03T01:00:00Z")).unwrap().unwrap();
    node.reading(&device, "GT-101", 60.0).await;
    let found = alarms(&local, "/api/v1/alarms?region=530403").await;
    assert!(!found.is_empty() && found.iter().all(|a| a["region_name"] == "江川区"), "{found:?}");
    assert!(node.app.store.verify_audit(None).await.unwrap().complete);
}

#[tokio::test]
async fn a_node_that_was_off_on_the_day_moves_at_its_next_start_once() {
    let node = in_2013().await;
    node.admin("POST", "/api/v1/enterprises", made("E1", "530421")).await.ok(201);
    node.admin("POST", "/api/v1/enterprises", made("E2", "530422")).await.ok(201);
    let Node { running, directory, admin, .. } = node;
    running.stop().await;
    for _ in 0..2 {
        let (running, router) = open_at(directory.path(), settings(), AppClock::test("2026-11-23T00:00:00Z").unwrap()).await;
        let found = ask(&router, "GET", "/api/v1/enterprises", Some(&admin), None).await.ok(200);
        let regions: Vec<&Value> = found["enterprises"].as_array().unwrap().iter().map(|e| &e["region"]).collect();
        assert_eq!(regions, ["530403", "530481"]);
        let entries = ask(&router, "GET", "/api/v1/audit", Some(&admin), None).await.ok(200);
        let moves = entries["entries"].as_array().unwrap().iter().filter(|e| e["action"] == "redivide").count();
        assert_eq!(moves, 2, "the second start finds nothing to move");
        running.stop().await;
    }
}
