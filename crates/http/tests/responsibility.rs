//! Responsibility letters through the API: who has one for a year, who has none, late signatures, broken chains, each in the asker's sight.

mod common;

use common::{ELSEWHERE, HERE, Node, ask, node, text};
use serde_json::{Value, json};

const RECORDS: &str = "/api/v1/registers/responsibility_letter/records";
const COVERAGE: &str = "/api/v1/responsibility/coverage";

async fn act(node: &Node, token: &str, record: &Value, step: &str, fields: Value) -> Value {
    let path = format!("{RECORDS}/{}/transitions/{step}", text(&record["id"]));
    ask(&node.router, "POST", &path, Some(token), Some(json!({"revision": record["revision"], "fields": fields}))).await.ok(200)
}

fn drafted(takes: &str, parent: Option<&Value>) -> Value {
    let mut fields = json!({"title": "2026年责任书", "year": 2026, "giver": "玉溪市人民政府", "giver_level": "city", "takes": takes,
        "duties": [{"item": "控制事故", "weight": 60}, {"item": "隐患治理", "weight": 40}], "sign_by": "2026-11-10", "report_by": "2026-12-31"});
    if let Some(parent) = parent {
        fields["parent_letter"] = parent["id"].clone();
    }
    fields
}

async fn draft(node: &Node, token: &str, owner: (&str, &str), fields: Value) -> Value {
    let body = json!({owner.0: owner.1, "transition": "write", "fields": fields});
    ask(&node.router, "POST", RECORDS, Some(token), Some(body)).await.ok(201)
}

/// A letter of a division that both have signed, by the leader of that division and another of the city.
async fn signed(node: &Node, people: (&str, &str, &str), region: &str, parent: Option<&Value>, on: &str) -> Value {
    let (supervisor, leader, above) = people;
    let record = draft(node, supervisor, ("region", region), drafted("government", parent)).await;
    let record = act(node, supervisor, &record, "send", json!({})).await;
    let record = act(node, leader, &record, "sign", json!({"signer": "甲", "signer_post": "负责人", "signed_on": on})).await;
    act(node, above, &record, "countersign", json!({"giver_signer": "乙", "giver_signer_post": "负责人", "countersigned_on": "2026-11-20"}))
        .await
}

fn unit<'a>(coverage: &'a Value, takes: &str, region: &str) -> &'a Value {
    let units = coverage["units"].as_array().unwrap();
    units.iter().find(|unit| unit["takes"] == takes && unit["region"] == region).unwrap_or_else(|| panic!("{takes} {region}"))
}

#[tokio::test]
async fn who_has_no_letter_is_an_orphan_until_one_is_drafted_and_a_late_signature_is_told_with_its_days() {
    let node = node().await;
    let factory = node.enterprise("E1", HERE).await;
    let supervisor = node.person("city", json!([{"role": "supervisor", "region": "5304"}])).await;
    let leader = node.person("chief", json!([{"role": "leader", "region": "5304"}])).await;
    let above = node.person("mayor", json!([{"role": "leader", "region": "5304"}])).await;
    let see = async |query: &str| ask(&node.router, "GET", &format!("{COVERAGE}?year=2026{query}"), Some(&supervisor), None).await.ok(200);
    let before = see("&limit=1000").await;
    assert_eq!((&before["whole"], &before["counts"]["orphans"]), (&json!(false), &before["counts"]["units"]));
    assert_eq!(unit(&before, "enterprise", HERE)["enterprise"], json!(factory), "an enterprise of a high-risk sector must have one");
    let n = before["counts"]["units"].as_u64().unwrap();
    assert_eq!(before["units"].as_array().unwrap().len() as u64, n);

    let people = (supervisor.as_str(), leader.as_str(), above.as_str());
    let city = signed(&node, people, "5304", None, "2026-11-09").await;
    let county = signed(&node, people, HERE, Some(&city), "2026-11-14").await;
    draft(&node, &supervisor, ("enterprise", &factory), drafted("enterprise", None)).await;
    let after = see("&limit=1000").await;
    assert_eq!(after["counts"]["orphans"].as_u64(), Some(n - 3));
    assert_eq!(
        (&unit(&after, "government", "5304")["findings"], &unit(&after, "government", "5304")["days_late"]),
        (&json!([]), &Value::Null)
    );
    let here = unit(&after, "government", HERE);
    assert_eq!((&here["findings"], &here["days_late"], &here["letter"]["id"]), (&json!(["late"]), &json!(4), &county["id"]));
    assert_eq!(here["parent"]["id"], city["id"]);
    // Nobody has signed it though its day is over, and it names no letter above.
    let drafted = unit(&after, "enterprise", HERE);
    assert_eq!((&drafted["findings"], &drafted["days_late"]), (&json!(["late", "no_parent", "under_way"]), &json!(13)));
    assert_eq!(see("&finding=late").await["units"].as_array().unwrap().len(), 2);
    // The tree adds up: a city has what its counties have, and its own.
    let divisions = after["divisions"].as_array().unwrap();
    let sum: u64 = divisions.iter().filter(|d| d["parent"] == "5304").map(|d| d["counts"]["units"].as_u64().unwrap()).sum();
    assert_eq!((divisions[0]["code"].as_str(), sum + 1), (Some("5304"), n));

    // A leader takes the city's letter back: the county's chain is broken, the city's government an orphan again.
    act(&node, &above, &city, "withdraw", json!({"opinion": "重新签订"})).await;
    let broken = see(&format!("&division={HERE}")).await;
    assert_eq!(unit(&broken, "government", HERE)["findings"], json!(["parent_not_in_force", "late"]));
    assert_eq!(unit(&see("").await, "government", "5304")["findings"], json!(["orphan"]));
    // Another year is another list.
    assert_eq!(ask(&node.router, "GET", &format!("{COVERAGE}?year=2025"), Some(&supervisor), None).await.ok(200)["counts"]["in_force"], 0);
}

#[tokio::test]
async fn each_sees_the_units_of_its_own_territory_and_pages_meet() {
    let node = node().await;
    let factory = node.enterprise("E1", HERE).await;
    node.enterprise("E2", ELSEWHERE).await;
    let get = async |token: &str, query: &str| ask(&node.router, "GET", &format!("{COVERAGE}?year=2026{query}"), Some(token), None).await;
    let county = node.person("county", json!([{"role": "supervisor", "region": HERE}])).await;
    let seen = get(&county, "&limit=1000").await.ok(200);
    assert!(seen["units"].as_array().unwrap().iter().all(|unit| text(&unit["region"]).starts_with(HERE)), "{seen}");
    assert!(seen["divisions"].as_array().unwrap().iter().all(|d| d["code"] == "5304" || text(&d["code"]).starts_with(HERE)));
    assert_eq!(get(&county, &format!("&division={ELSEWHERE}")).await.ok(200)["units"], json!([]));
    let manager = node.person("manager", json!([{"role": "safety_manager", "enterprise": factory}])).await;
    let own = get(&manager, "").await.ok(200);
    assert_eq!((own["counts"]["units"].as_u64(), &own["units"][0]["enterprise"]), (Some(1), &json!(factory)));
    // Page by page it is the same list.
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(&county, &format!("&limit=7{cursor}")).await.ok(200);
        all.extend(page["units"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(json!(all), seen["units"]);
    for (query, code, field) in [
        ("&takes=post", "word.unknown", "takes"),
        ("&finding=x", "word.unknown", "finding"),
        ("&division=999999", "region.unknown", "division"),
        ("&cursor=x", "cursor.malformed", "cursor"),
    ] {
        assert_eq!(get(&county, query).await.refused(400), [(code.into(), field.into())], "{query}");
    }
    let asked = ask(&node.router, "GET", &format!("{COVERAGE}?year=1999"), Some(&county), None).await;
    assert_eq!(asked.refused(400), [("responsibility.year".into(), "year".into())]);
}
