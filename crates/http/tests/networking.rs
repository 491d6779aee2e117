//! 联网率 through the API: it follows from facts, changes when they do, and whoever is elsewhere sees nothing.

mod common;

use anlan_model::{Clock as _, NodeId};
use common::{ELSEWHERE, HERE, Node, ask, node, text};
use serde_json::{Value, json};

/// `n` of `of` by figure.
fn shares(row: &Value) -> Vec<(u64, u64)> {
    row["rates"].as_array().unwrap().iter().map(|rate| (rate["n"].as_u64().unwrap(), rate["of"].as_u64().unwrap())).collect()
}

async fn total(node: &Node, query: &str) -> Vec<(u64, u64)> {
    shares(&node.get(&format!("/api/v1/networking?{query}")).await["total"])
}

/// Codes and reasons of who is missing.
async fn missing(node: &Node, query: &str) -> Vec<(String, String)> {
    let list = node.get(&format!("/api/v1/networking/missing?{query}")).await;
    list["missing"].as_array().unwrap().iter().map(|row| (text(&row["code"]), text(&row["reason"]))).collect()
}

fn said(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(code, reason)| ((*code).to_owned(), (*reason).to_owned())).collect()
}

async fn advance(node: &Node, s: i64) {
    ask(&node.router, "POST", "/api/v1/test/clock", None, Some(json!({"advance_s": s}))).await.ok(200);
}

#[tokio::test]
async fn an_enterprise_is_built_when_heard_and_off_the_network_when_silent() {
    let node = node().await;
    assert_eq!(total(&node, "").await, [(0, 0); 4]);
    let first = node.enterprise("E1", HERE).await;
    node.enterprise("E2", ELSEWHERE).await;
    assert_eq!(total(&node, "").await[..3], [(0, 2), (0, 2), (0, 0)], "a new enterprise counts at once");
    assert_eq!(missing(&node, "rate=built").await, said(&[("E1", "no_device"), ("E2", "no_device")]));
    let device = node.device("D1", Some(&first)).await;
    assert_eq!(missing(&node, "rate=built").await[0].1, "no_point");
    let put = json!({"points": [{"code": "T-1", "name": "温度", "period_s": 60}, {"code": "T-2", "name": "压力", "period_s": 60}]});
    node.admin("PUT", &format!("/api/v1/devices/{device}/points"), put).await.ok(200);
    assert_eq!(missing(&node, "rate=networked").await[0].1, "never_heard");
    node.reading(&device, "T-1", 30.0).await;
    assert_eq!(total(&node, "").await[..3], [(1, 2), (1, 2), (1, 2)]);
    assert_eq!(missing(&node, "rate=online").await, said(&[("E1", "points_silent")]));
    // Three periods and a second: silence by the pack's own rule, and the reason says since when.
    advance(&node, 181).await;
    assert_eq!(total(&node, "").await[..3], [(1, 2), (0, 2), (0, 2)]);
    let list = node.get("/api/v1/networking/missing?rate=networked").await;
    assert_eq!(list["missing"][0]["reason"], "silent");
    assert!(text(&list["missing"][0]["since"]).starts_with("2026-11-23T00:00:0"), "the clock of the test goes on: {list}");
    assert_eq!(list["reasons"], json!([{"reason": "no_device", "n": 1}, {"reason": "silent", "n": 1}]));
    let view = node.get("/api/v1/networking").await;
    let divisions: Vec<_> = view["divisions"].as_array().unwrap().iter().map(|d| (text(&d["key"]), shares(d)[0])).collect();
    assert_eq!(divisions, [(HERE.to_owned(), (1, 1)), (ELSEWHERE.to_owned(), (0, 1))]);
    assert_eq!(view["sectors"][0]["key"], "hazchem");
    // Next day: 1 of 1,440 readings of each of two points came.
    advance(&node, 86_400).await;
    let view = node.get("/api/v1/networking").await;
    assert_eq!((&view["day"], shares(&view["total"])[3]), (&json!("2026-11-23"), (1, 2_880)));
    assert_eq!(missing(&node, "rate=complete").await, said(&[("E1", "readings")]));
}

#[tokio::test]
async fn a_group_its_targets_and_their_sources_are_data() {
    let node = node().await;
    let e1 = node.enterprise("E1", HERE).await;
    let gas = json!({"code": "G1", "name": "燃气", "region": HERE, "sector": "gas"});
    node.admin("POST", "/api/v1/enterprises", gas).await.ok(201);
    let view = node.get("/api/v1/networking?group=high_risk").await;
    let target = &view["targets"][1];
    assert_eq!(
        (&target["rate"], &target["at_least"], &target["by"], &target["confidence"]),
        (&json!("networked"), &json!(0.9), &json!("2015-12-31"), &json!("verified"))
    );
    assert_eq!(target["source"], "玉溪市“十二五”安全生产规划 四（一）");
    let networked = &view["total"]["rates"][1];
    assert_eq!(
        (&networked["of"], &networked["at_least"], &networked["met"]),
        (&json!(1), &json!(0.9), &json!(false)),
        "gas is no high-risk industry"
    );
    let ids: Vec<String> = view["groups"].as_array().unwrap().iter().map(|g| text(&g["id"])).collect();
    assert_eq!(ids, ["all", "high_risk", "major_hazard"]);
    assert_eq!(total(&node, "group=major_hazard").await[0], (0, 0));
    assert_eq!(total(&node, &format!("group=high_risk&region={ELSEWHERE}")).await[0], (0, 0));
    assert_eq!(total(&node, "group=all&sector=gas").await[0], (0, 1));
    let bad = async |query: &str| ask(&node.router, "GET", &format!("/api/v1/networking{query}"), Some(&node.admin), None).await.code(400);
    assert_eq!(bad("?group=x").await, "networking.group");
    assert_eq!(bad("?region=x").await, "region.unknown");
    assert_eq!(bad("?format=pdf").await, "word.unknown");
    assert_eq!(bad("/missing?rate=x").await, "word.unknown");
    assert_eq!(bad("/missing?rate=built&cursor=x").await, "cursor.malformed");
    let page = node.get("/api/v1/networking/missing?rate=built&limit=1").await;
    assert_eq!((&page["missing"][0]["code"], &page["next"]), (&json!("E1"), &json!(e1)));
    let next = node.get(&format!("/api/v1/networking/missing?rate=built&limit=1&cursor={e1}")).await;
    assert_eq!((&next["missing"][0]["code"], &next["next"], &next["reasons"][0]["n"]), (&json!("G1"), &Value::Null, &json!(2)));
    let csv = String::from_utf8(node.bytes(&node.admin, "/api/v1/networking/missing?rate=built&format=csv").await).unwrap();
    assert!(csv.contains("E1,企业E1,530402,红塔区,hazchem,no_device,,,\r\n"), "{csv}");
    let csv = String::from_utf8(node.bytes(&node.admin, "/api/v1/networking?format=csv").await).unwrap();
    assert!(csv.contains("530402,红塔区,2,0,2,0,0,2,0,0,0,,0,0,\r\n"), "{csv}");
}

/// A node below whose enterprise's points are known here, as the feed would bring them.
#[tokio::test]
async fn a_cut_frozen_or_silent_node_takes_its_enterprise_off_the_network() {
    let node = node().await;
    let enterprise = node.enterprise("E1", HERE).await;
    node.child(HERE).await;
    let (store, now) = (&node.app.store, node.app.clock.now());
    let plant = NodeId::new(0xcccc_cccc_0000_0000_0000_0000_0000_0009);
    let new = anlan_store::NewInvitation {
        name: "甲厂".into(),
        level: anlan_model::NodeLevel::Enterprise,
        region: None,
        enterprise: Some(enterprise.parse::<i64>().map(anlan_model::EnterpriseId::new).unwrap()),
        secret: [9; 16],
        expires_at: anlan_model::Timestamp::MAX,
    };
    let scope = anlan_model::Scope::node();
    let invitation = store.invite(&scope, &new, now, now).await.unwrap().id;
    store.claim_invitation(&[9; 16], plant, b"key", now, now).await.unwrap();
    let admission = anlan_store::Admission { certificate: "PEM".into(), fingerprint: "cd".into(), serial: "3".into(), not_after: now };
    let (_, device) = store.confirm_invitation(&scope, invitation, &admission, now).await.unwrap();
    node.app.registry.renew(device.map(anlan_app::registry::Touched::Device)).await.unwrap();
    let networked = async || total(&node, "").await[1];
    let reason = async || node.get("/api/v1/networking/missing?rate=networked").await["missing"][0].clone();
    assert_eq!(networked().await, (0, 1));
    let why = reason().await;
    assert_eq!((&why["reason"], &why["node"], &why["node_name"]), (&json!("node_never"), &json!(plant.to_string()), &json!("甲厂")));
    assert_eq!(missing(&node, "rate=built").await, said(&[("E1", "no_device")]), "the node's own heartbeat is no device");

    store.note_said(plant, &json!({}), now).await.unwrap();
    assert_eq!(networked().await, (1, 1));
    let cut = async |paused: bool| {
        let revision = store.node(&scope, plant).await.unwrap().revision;
        node.admin("PUT", &format!("/api/v1/nodes/{plant}"), json!({"revision": revision, "paused": paused})).await.ok(200);
    };
    cut(true).await;
    assert_eq!((networked().await, text(&reason().await["reason"])), ((0, 1), "node_paused".to_owned()));
    cut(false).await;
    assert_eq!(networked().await, (1, 1));
    store.freeze_node(plant, "twice", now).await.unwrap();
    assert_eq!((networked().await, text(&reason().await["reason"])), ((0, 1), "node_frozen".to_owned()));
    store.resume_node(&scope, plant, anlan_store::Resume::Restored, now).await.unwrap();
    assert_eq!(networked().await, (1, 1));
    advance(&node, 61).await;
    let why = reason().await;
    assert_eq!((networked().await, &why["reason"], &why["since"]), ((0, 1), &json!("node_silent"), &json!(now.to_string())));
    store.revoke_node(&scope, plant, "退出", now).await.unwrap();
    assert_eq!(text(&reason().await["reason"]), "node_revoked");
}

#[tokio::test]
async fn each_sees_the_enterprises_of_their_own_territory() {
    let node = node().await;
    node.enterprise("E1", HERE).await;
    node.enterprise("E2", ELSEWHERE).await;
    let leader = node.person("leader", json!([{"role": "leader", "region": ELSEWHERE}])).await;
    let see = async |path: &str| ask(&node.router, "GET", path, Some(&leader), None).await.ok(200);
    let view = see("/api/v1/networking").await;
    assert_eq!((&view["total"]["enterprises"], &view["divisions"][0]["key"]), (&json!(1), &json!(ELSEWHERE)));
    let list = see("/api/v1/networking/missing?rate=built").await;
    assert_eq!((&list["missing"][0]["code"], list["missing"].as_array().unwrap().len()), (&json!("E2"), 1));
    assert_eq!(see(&format!("/api/v1/networking?region={HERE}")).await["divisions"], json!([]));
}
