//! Assessments through the API: lines that open their rows, two people for what is given by hand, a veto over the score, and the snapshot that is signed.

mod common;

use anlan_app::assessment;
use anlan_model::{Clock as _, Scope};
use anlan_store::testing::{sqlite_url, tamper};
use common::{ELSEWHERE, HERE, Node, ask, node, text};
use serde_json::{Value, json};

const ASSESSMENTS: &str = "/api/v1/assessments";

struct People {
    supervisor: String,
    second: String,
    leader: String,
}

async fn people(node: &Node) -> People {
    People {
        supervisor: node.person("city", json!([{"role": "supervisor", "region": "5304"}])).await,
        second: node.person("second", json!([{"role": "supervisor", "region": "5304"}])).await,
        leader: node.person("chief", json!([{"role": "leader", "region": "5304"}])).await,
    }
}

async fn begun(node: &Node, people: &People) -> Value {
    ask(&node.router, "POST", ASSESSMENTS, Some(&people.supervisor), Some(json!({"year": 2026, "region": "5304"}))).await.ok(201)
}

async fn see(node: &Node, token: &str, a: &Value) -> Value {
    ask(&node.router, "GET", &format!("{ASSESSMENTS}/{}", text(&a["id"])), Some(token), None).await.ok(200)
}

fn unit<'a>(a: &'a Value, region: &str) -> &'a Value {
    a["units"].as_array().unwrap().iter().find(|unit| unit["region"] == region).unwrap()
}

fn line<'a>(a: &'a Value, region: &str, item: &str) -> &'a Value {
    unit(a, region)["lines"].as_array().unwrap().iter().find(|line| line["item"] == item).unwrap()
}

async fn put(node: &Node, token: &str, a: &Value, region: &str, item: &str, points: &str, evidence: Value) -> common::Answer {
    let body = json!({"revision": a["revision"], "points": points, "reason": "查阅台账", "evidence": evidence});
    ask(&node.router, "PUT", &format!("{ASSESSMENTS}/{}/units/{region}/scores/{item}", text(&a["id"])), Some(token), Some(body)).await
}

async fn confirm(node: &Node, token: &str, a: &Value, region: &str, item: &str) -> common::Answer {
    let path = format!("{ASSESSMENTS}/{}/units/{region}/scores/{item}/confirm", text(&a["id"]));
    ask(&node.router, "POST", &path, Some(token), Some(json!({"revision": a["revision"]}))).await
}

async fn freeze(node: &Node, token: &str, a: &Value) -> common::Answer {
    let path = format!("{ASSESSMENTS}/{}/freeze", text(&a["id"]));
    ask(&node.router, "POST", &path, Some(token), Some(json!({"revision": a["revision"], "digest": a["digest"]}))).await
}

/// A hidden danger that is to be removed within a day: late by the test clock after that.
async fn danger(node: &Node, token: &str, enterprise: &str, found_on: &str) -> Value {
    let fields = json!({"description": "配电箱门缺失", "place": "二车间", "found_on": found_on, "source": "condition"});
    let body = json!({"enterprise": enterprise, "transition": "report", "fields": fields});
    let path = "/api/v1/registers/hidden_danger/records";
    let made = ask(&node.router, "POST", path, Some(token), Some(body)).await.ok(201);
    let who = ask(&node.router, "GET", "/api/v1/session", Some(token), None).await.ok(200)["user"]["id"].clone();
    let steps =
        [("rate", json!({"level": "general"})), ("assign", json!({"responsible": who, "due_on": "2026-11-24", "measures": "补装"}))];
    for ((step, fields), revision) in steps.into_iter().zip(1..) {
        let at = format!("{path}/{}/transitions/{step}", text(&made["id"]));
        ask(&node.router, "POST", &at, Some(token), Some(json!({"revision": revision, "fields": fields}))).await.ok(200);
    }
    made
}

async fn accident(node: &Node, token: &str, deaths: i64) -> Value {
    let toll = json!([{"told_on": "2026-11-22", "on": "2026-11-22", "deaths": deaths, "serious_injuries": 0}]);
    let fields = json!({"title": "x", "place": "x", "happened_at": "2026-11-22T09:00", "nature": "general", "sector": "coal", "course": "x",
        "county_told_at": "2026-11-22T10:00", "toll": toll});
    let body = json!({"region": HERE, "transition": "register", "fields": fields});
    ask(&node.router, "POST", "/api/v1/registers/accident/records", Some(token), Some(body)).await.ok(201)
}

/// Leaves every unit out but these, and has two people score what people score.
async fn scored(
    node: &Node,
    people: &People,
    mut a: Value,
    keep: &[&str],
    evidence: &Value,
    points: &dyn Fn(&str) -> &'static str,
) -> Value {
    let regions: Vec<String> = a["units"].as_array().unwrap().iter().map(|unit| text(&unit["region"])).collect();
    for region in regions {
        if !keep.contains(&region.as_str()) {
            let path = format!("{ASSESSMENTS}/{}/units/{region}", text(&a["id"]));
            let body = json!({"revision": a["revision"], "excluded": "另行考核"});
            a = ask(&node.router, "PUT", &path, Some(&people.supervisor), Some(body)).await.ok(200);
            continue;
        }
        for item in unit(&a, &region)["open"].as_array().unwrap().clone() {
            let item = text(&item);
            a = put(node, &people.supervisor, &a, &region, &item, points(&region), evidence.clone()).await.ok(200);
            a = confirm(node, &people.second, &a, &region, &item).await.ok(200);
        }
    }
    a
}

#[tokio::test]
async fn every_line_opens_its_rows_and_what_is_given_by_hand_takes_two_people_and_evidence() {
    let node = node().await;
    let people = people(&node).await;
    let factory = node.enterprise("E1", HERE).await;
    let first = danger(&node, &people.supervisor, &factory, "2026-11-22").await;
    let a = begun(&node, &people).await;
    assert_eq!(line(&a, HERE, "overdue_dangers")["points"], "15");
    // Two days later it is late, and the line has the very record.
    node.app.clock.set(node.app.clock.now().plus_us(3 * 86_400_000_000)).unwrap().unwrap();
    let later = see(&node, &people.supervisor, &a).await;
    let late = line(&later, HERE, "overdue_dangers");
    assert_eq!((&late["points"], &late["n"]), (&json!("14"), &json!(1)));
    assert_eq!(
        (&late["evidence"][0]["sort"], &late["evidence"][0]["kind"], &late["evidence"][0]["id"]),
        (&json!("record"), &json!("hidden_danger"), &first["id"])
    );
    assert_eq!(line(&later, ELSEWHERE, "overdue_dangers")["points"], "15", "another county's is not its own");
    // Units without a letter are named one by one.
    let letters = line(&later, HERE, "letters");
    assert_eq!(letters["points"], "0");
    assert!(letters["evidence"].as_array().unwrap().iter().any(|e| e["kind"] == "enterprise" && e["id"] == json!(factory)));

    let evidence = json!([{"kind": "hidden_danger", "id": first["id"]}]);
    let refused = async |item: &str, points: &str, evidence: &Value, status: u16| {
        put(&node, &people.supervisor, &later, HERE, item, points, evidence.clone()).await.code(status)
    };
    assert_eq!(refused("overdue_dangers", "15", &evidence, 409).await, "assessment.reckoned");
    assert_eq!(refused("concealed", "1", &evidence, 409).await, "assessment.reckoned");
    assert_eq!(refused("publicity", "10.5", &evidence, 400).await, "assessment.points");
    assert_eq!(refused("publicity", "-1", &evidence, 400).await, "assessment.points");
    assert_eq!(refused("decided", "0.5", &evidence, 400).await, "assessment.points");
    assert_eq!(refused("publicity", "8", &json!([]), 400).await, "assessment.evidence");
    assert_eq!(refused("publicity", "8", &json!([{"kind": "hidden_danger", "id": "999"}]), 400).await, "register.reference");
    let given = put(&node, &people.supervisor, &later, HERE, "publicity", "8.5", evidence.clone()).await.ok(200);
    assert_eq!(line(&given, HERE, "publicity")["given"]["evidence"][0]["id"], first["id"]);
    // Who read it before is told; who gave it does not confirm it; whoever changes it takes the confirmation away.
    assert_eq!(put(&node, &people.second, &later, HERE, "publicity", "9", evidence.clone()).await.code(409), "revision.stale");
    assert_eq!(confirm(&node, &people.supervisor, &given, HERE, "publicity").await.code(409), "assessment.own");
    let confirmed = confirm(&node, &people.leader, &given, HERE, "publicity").await.ok(200);
    assert_eq!(line(&confirmed, HERE, "publicity")["given"]["confirmed_by"], "chief");
    let again = put(&node, &people.second, &confirmed, HERE, "publicity", "7", evidence).await.ok(200);
    assert_eq!(
        (&line(&again, HERE, "publicity")["given"]["confirmed_by"], &line(&again, HERE, "publicity")["points"]),
        (&Value::Null, &json!("7"))
    );
    assert_eq!(freeze(&node, &people.leader, &again).await.code(409), "assessment.unfinished");
    let audit = node.get("/api/v1/audit?noun=assessment").await;
    let actions: Vec<&str> = audit["entries"].as_array().unwrap().iter().map(|e| e["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["score", "confirm", "score", "begin"]);
}

#[tokio::test]
async fn a_veto_overrides_the_score_and_the_frozen_snapshot_is_signed_and_never_changes() {
    let node = node().await;
    let people = people(&node).await;
    let factory = node.enterprise("E1", HERE).await;
    let record = danger(&node, &people.supervisor, &factory, "2026-11-22").await;
    // Ten dead are a serious accident (国务院令第493号 第三条): a veto of the table.
    let accident = accident(&node, &people.supervisor, 10).await;
    let a = begun(&node, &people).await;
    let evidence = json!([{"kind": "hidden_danger", "id": record["id"]}]);
    let a = scored(&node, &people, a, &[HERE, ELSEWHERE], &evidence, &|region| if region == HERE { "10" } else { "1" }).await;
    let (vetoed, other) = (unit(&a, HERE), unit(&a, ELSEWHERE));
    let points = |unit: &Value| text(&unit["points"]).parse::<f64>().unwrap();
    assert!(points(vetoed) > points(other), "{} {}", vetoed["points"], other["points"]);
    assert_eq!((&vetoed["vetoes"], &vetoed["grade"], &vetoed["rank"]), (&json!(["serious_accident"]), &json!("fail"), &json!(2)));
    assert_eq!((&other["vetoes"], &other["rank"]), (&json!([]), &json!(1)));
    let met = vetoed["veto_lines"].as_array().unwrap().iter().find(|v| v["veto"] == "serious_accident").unwrap();
    assert_eq!(met["evidence"][0]["id"], accident["id"]);
    let out = a["units"].as_array().unwrap().iter().find(|unit| unit["excluded"] == "另行考核").unwrap();
    assert_eq!(out["rank"], Value::Null);

    // A leader freezes what they read, nobody else, and nothing else.
    assert_eq!(freeze(&node, &people.supervisor, &a).await.code(403), "permission.missing");
    let mut another = a.clone();
    another["digest"] = json!("0".repeat(64));
    assert_eq!(freeze(&node, &people.leader, &another).await.code(409), "assessment.changed");
    let frozen = freeze(&node, &people.leader, &a).await.ok(200);
    assert_eq!((&frozen["digest"], &frozen["frozen"]["by"], &frozen["frozen"]["holds"]), (&a["digest"], &json!("chief"), &json!(true)));
    assert_eq!(frozen["units"], a["units"], "what was read is what was signed");
    // Anybody can check it: SHA-256 of the bytes, Ed25519 over them.
    let path = format!("{ASSESSMENTS}/{}/content", text(&a["id"]));
    let content = ask(&node.router, "GET", &path, Some(&people.leader), None).await.ok(200).to_string();
    assert_eq!(json!(assessment::Snapshot::digest(&content)), a["digest"]);
    let kept = node.app.store.assessment(&Scope::node(), &text(&a["id"])).await.unwrap().frozen.unwrap();
    assert_eq!((&kept.content, assessment::holds(&kept)), (&content, true));
    let forged = kept.content.replacen("fail", "good", 1);
    let digest = assessment::Snapshot::digest(&forged);
    assert!(
        !assessment::holds(&assessment::FrozenAssessment { content: forged, digest, ..kept.clone() }),
        "a new digest is no new signature"
    );

    // Later facts do not change it; they stand beside it.
    danger(&node, &people.supervisor, &factory, "2026-11-22").await;
    node.app.clock.set(node.app.clock.now().plus_us(3 * 86_400_000_000)).unwrap().unwrap();
    let after = see(&node, &people.leader, &a).await;
    assert_eq!((&after["units"], &after["digest"]), (&a["units"], &a["digest"]));
    let now = after["now"].as_array().unwrap().iter().find(|now| now["region"] == HERE).unwrap();
    assert!(now["changed"].as_array().unwrap().contains(&json!("overdue_dangers")), "{now}");
    assert_eq!(put(&node, &people.supervisor, &after, HERE, "publicity", "9", evidence).await.code(409), "assessment.frozen");
    assert_eq!(freeze(&node, &people.leader, &after).await.code(409), "assessment.frozen");
    let twice = ask(&node.router, "POST", ASSESSMENTS, Some(&people.supervisor), Some(json!({"year": 2026, "region": "5304"}))).await;
    assert_eq!(twice.code(409), "assessment.exists");
    // A good signature by a key that is not this node's proves nothing here.
    tamper(&sqlite_url(node.directory.path()), "UPDATE setting SET value = '[]' WHERE key = 'certificate_keys'").await;
    assert_eq!(see(&node, &people.leader, &a).await["frozen"]["holds"], json!(false));
}

#[tokio::test]
async fn a_county_reads_its_own_unit_and_that_only_once_it_is_frozen() {
    let node = node().await;
    let people = people(&node).await;
    let factory = node.enterprise("E1", HERE).await;
    let record = danger(&node, &people.supervisor, &factory, "2026-11-22").await;
    let county = node.person("county", json!([{"role": "supervisor", "region": HERE}, {"role": "leader", "region": HERE}])).await;
    let manager = node.person("manager", json!([{"role": "safety_manager", "enterprise": factory}])).await;
    let a = begun(&node, &people).await;
    let before = see(&node, &county, &a).await;
    assert_eq!(
        (&before["units"], &before["digest"], &before["may_manage"], &before["may_freeze"]),
        (&json!([]), &json!(""), &json!(false), &json!(false))
    );
    assert_eq!(
        put(&node, &county, &a, HERE, "publicity", "9", json!([{"kind": "hidden_danger", "id": record["id"]}])).await.code(403),
        "scope.outside"
    );
    assert_eq!(freeze(&node, &county, &a).await.code(403), "scope.outside");
    assert_eq!(ask(&node.router, "GET", ASSESSMENTS, Some(&manager), None).await.ok(200)["assessments"], json!([]));
    let begin = ask(&node.router, "POST", ASSESSMENTS, Some(&county), Some(json!({"year": 2025, "region": "5304"}))).await;
    assert_eq!(begin.refused(403), [("scope.outside".into(), "region".into())]);
    let evidence = json!([{"kind": "hidden_danger", "id": record["id"]}]);
    let a = scored(&node, &people, a, &[HERE, ELSEWHERE], &evidence, &|_| "5").await;
    freeze(&node, &people.leader, &a).await.ok(200);
    let after = see(&node, &county, &a).await;
    let seen: Vec<&Value> = after["units"].as_array().unwrap().iter().map(|unit| &unit["region"]).collect();
    assert_eq!(seen, [&json!(HERE)]);
    assert_eq!(after["now"], json!([]));
    let path = format!("{ASSESSMENTS}/{}/content", text(&a["id"]));
    assert_eq!(ask(&node.router, "GET", &path, Some(&county), None).await.code(403), "scope.outside");
}
