//! Road transport supervision over the API: a drive becomes trips, findings, drift marks, ratios and tables.

mod common;

use anlan_app::registry::Touched;
use anlan_model::{Clock as _, Timestamp, Trust};
use common::{ELSEWHERE, HERE, Node, ask, node, position, text};
use serde_json::{Value, json};

const PHONE: &str = "13900000007";

/// A dangerous-goods vehicle of an operator here.
async fn vehicle(node: &Node, phone: &str, enterprise: &str) -> String {
    let row = node.app.store.ensure_vehicle(phone, Trust::Listed, true, node.app.clock.now()).await.unwrap();
    node.app.registry.renew([Touched::Vehicle(row.id)]).await.unwrap();
    let owned = json!({"revision": row.revision, "enterprise": enterprise, "kind": "hazmat", "plate": "测A00007"});
    node.admin("PATCH", &format!("/api/v1/vehicles/{}", row.id), owned).await.ok(200);
    row.id.to_string()
}

/// Stands, drives ten minutes at 60 km/h with one untrue place, three at 95, and stands: one position in 30 s.
async fn drive(node: &Node) -> Timestamp {
    let begun = node.app.clock.now();
    let mut track = vec![position(begun, 0.0, 0.0)];
    let mut metres = 0.0;
    for i in 1..=46_i64 {
        let speed_kmh = match i {
            1..=20 => 60.0,
            21..=26 => 95.0,
            _ => 0.0,
        };
        metres += speed_kmh / 3.6 * 30.0;
        let at = begun.plus_us(i * 30_000_000);
        track.push(position(at, if i == 10 { metres + 150_000.0 } else { metres }, speed_kmh));
    }
    node.drive(PHONE, track).await;
    begun
}

#[tokio::test]
async fn a_drive_is_told_as_a_trip_with_its_speeding_and_its_drift_marked() {
    let node = node().await;
    let enterprise = node.enterprise("E1", HERE).await;
    let id = vehicle(&node, PHONE, &enterprise).await;
    let begun = drive(&node).await;

    let rows = node.get(&format!("/api/v1/vehicles/{id}/positions?limit=1000")).await;
    let marked: Vec<&Value> = rows["positions"].as_array().unwrap().iter().filter(|p| p["flags"].to_string().contains("drift")).collect();
    assert_eq!(rows["positions"].as_array().unwrap().len(), 47, "nothing is left out");
    assert_eq!(marked.len(), 1);
    assert_eq!(marked[0]["at"], begun.plus_us(300_000_000).to_string());
    assert!(marked[0]["lon"].as_f64().unwrap() > 103.0, "kept as sent");
    let events = node.get("/api/v1/events?kind=drift").await;
    assert_eq!((events["events"].as_array().unwrap().len(), &events["events"][0]["subject"]), (1, &json!(PHONE)));

    let trips = node.get(&format!("/api/v1/vehicles/{id}/trips")).await;
    assert_eq!((&trips["positions"], &trips["drift"]), (&json!(47), &json!(1)));
    let trip = &trips["trips"][0];
    assert_eq!(trips["trips"].as_array().unwrap().len(), 1, "{trips}");
    assert_eq!((&trip["from_at"], &trip["open"]), (&json!(begun.to_string()), &json!(false)));
    assert_eq!(trip["to_at"], begun.plus_us(27 * 30_000_000).to_string());
    let km = trip["distance_km"].as_f64().unwrap();
    assert!((km - 14.75).abs() < 0.1, "20 × 500 m + 6 × 791.7 m, the jump not counted: {km}");
    let fast = &trips["findings"][0];
    assert_eq!((&fast["kind"], &fast["value"], &fast["limit"]), (&json!("overspeed"), &json!(95.0), &json!(80.0)));
    assert!(text(&fast["source"]).contains("危险货物道路运输安全管理办法"));

    // The kind's limit judges live too, once the speed has lasted.
    let alarms = node.get("/api/v1/alarms").await;
    let alarm = alarms["alarms"].as_array().unwrap().iter().find(|a| a["rule"] == "overspeed").expect("an alarm");
    assert_eq!((&alarm["vehicle"], &alarm["onset_at"]), (&json!(id), &json!(begun.plus_us(21 * 30_000_000).to_string())));
    assert_eq!((alarm["value"].as_f64(), &alarm["state"]), (Some(95.0), &json!("returned")));

    let csv = ask(&node.router, "GET", &format!("/api/v1/vehicles/{id}/track.csv"), Some(&node.admin), None).await;
    assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8");
    let table = text(&csv.ok(200));
    assert_eq!(table.lines().count(), 48);
    assert_eq!(table.lines().filter(|l| l.ends_with(",drift")).count(), 1);

    let bad = ask(&node.router, "GET", &format!("/api/v1/vehicles/{id}/trips?from=2026-01-01T00:00:00Z"), Some(&node.admin), None).await;
    assert_eq!(bad.refused(400), [("window.too_long".to_owned(), "to".to_owned())]);
}

#[tokio::test]
async fn the_five_ratios_are_sums_under_the_askers_scope() {
    let node = node().await;
    let enterprise = node.enterprise("E1", HERE).await;
    let other = node.enterprise("=E2", ELSEWHERE).await;
    vehicle(&node, PHONE, &enterprise).await;
    vehicle(&node, "13900000008", &enterprise).await;
    vehicle(&node, "13900000009", &other).await;
    drive(&node).await;

    let found = node.get("/api/v1/road/ratios").await;
    assert_eq!((found["day"].as_str(), found["open"].as_bool()), (Some("2026-11-23"), Some(true)));
    assert_eq!(found["ratios"].as_array().unwrap().len(), 2, "{found}");
    let row = found["ratios"].as_array().unwrap().iter().find(|r| r["key"] == enterprise).unwrap();
    assert_eq!((&row["vehicles"], &row["networked"], &row["online"], &row["drifting"]), (&json!(2), &json!(1), &json!(1), &json!(1)));
    assert_eq!(
        (row["networked_ratio"].as_f64(), row["online_ratio"].as_f64(), row["drift_ratio"].as_f64()),
        (Some(0.5), Some(1.0), Some(1.0))
    );
    assert_eq!((row["qualified_ratio"].as_f64(), row["complete_ratio"].as_f64()), (Some(1.0), Some(1.0)));
    assert_eq!((&row["trips"], &row["overspeed"], &row["pending"]), (&json!(1), &json!(1), &json!(0)));
    let silent = found["ratios"].as_array().unwrap().iter().find(|r| r["key"] == other).unwrap();
    assert_eq!((&silent["networked_ratio"], &silent["online_ratio"]), (&json!(0.0), &Value::Null), "a ratio of nothing is none");
    assert_eq!((&found["total"]["vehicles"], &found["total"]["networked"]), (&json!(3), &json!(1)));
    let meanings = found["meanings"].as_array().unwrap();
    assert_eq!(meanings.len(), 5);
    assert!(meanings.iter().all(|m| !text(&m["source"]).is_empty()));
    assert!(meanings.iter().any(|m| m["confidence"] == "unverified"), "what was not read says so");

    let by_region = node.get("/api/v1/road/ratios?by=region&day=2026-11-23").await;
    let counties: Vec<&str> = by_region["ratios"].as_array().unwrap().iter().map(|r| r["key"].as_str().unwrap()).collect();
    assert!(counties.contains(&HERE) && counties.contains(&ELSEWHERE), "{counties:?}");

    let there = node.person("there", json!([{"role": "supervisor", "region": ELSEWHERE}])).await;
    let seen = ask(&node.router, "GET", "/api/v1/road/ratios", Some(&there), None).await.ok(200);
    assert_eq!((seen["ratios"].as_array().unwrap().len(), &seen["total"]["vehicles"]), (1, &json!(1)));

    let csv = text(&ask(&node.router, "GET", "/api/v1/road/ratios?format=csv", Some(&node.admin), None).await.ok(200));
    assert_eq!(csv.lines().count(), 4);
    let refused = |path: &'static str| {
        let (router, admin) = (node.router.clone(), node.admin.clone());
        async move { ask(&router, "GET", path, Some(&admin), None).await.refused(400).remove(0) }
    };
    assert_eq!(refused("/api/v1/road/ratios?day=2026-13-01").await, ("time.malformed".to_owned(), "day".to_owned()));
    assert_eq!(refused("/api/v1/road/ratios?day=2027-01-01").await, ("day.future".to_owned(), "day".to_owned()));
    assert_eq!(refused("/api/v1/road/ratios?by=colour").await, ("word.unknown".to_owned(), "by".to_owned()));
}
