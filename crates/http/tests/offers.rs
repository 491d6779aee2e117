//! What comes down from the levels above: a pack waits for an administrator here and passes the very checks of any other; who is on duty is shown.

mod common;

use std::collections::BTreeMap;

use anlan_app::pack::hash_of;
use anlan_model::{Clock as _, NodeId, NodeLevel, RegionCode, Scope, Timestamp};
use anlan_store::{DutyShift, Neighbour, NewInvitation, NewUser, Peer, Store};
use common::{HERE, Node, ask, node, text};
use serde_json::{Value, json};

const CITY: NodeId = NodeId::new(0xc1);

/// A city's store as the parent of the node, which is a county's.
async fn below_a_city(node: &Node) -> (Store, tempfile::TempDir) {
    node.child(HERE).await;
    let (store, now) = (&node.app.store, node.app.clock.now());
    let directory = tempfile::tempdir().unwrap();
    let city = Store::open(&format!("sqlite:{}", directory.path().join("city.sqlite").display())).await.unwrap();
    let territory = RegionCode::new("5304").unwrap();
    city.put_self(CITY, "市局", NodeLevel::City, Some(&territory), now).await.unwrap();
    let own = store.own_node().unwrap();
    let new = NewInvitation {
        name: "县局".into(),
        level: NodeLevel::County,
        region: RegionCode::new(HERE),
        enterprise: None,
        secret: [3; 16],
        expires_at: Timestamp::MAX,
    };
    let invitation = city.invite(&Scope::node(), &new, now, now).await.unwrap().id;
    city.claim_invitation(&[3; 16], own, b"key", now, now).await.unwrap();
    let admission = anlan_store::Admission { certificate: "PEM".into(), fingerprint: "ab".into(), serial: "1".into(), not_after: now };
    city.confirm_invitation(&Scope::node(), invitation, &admission, now).await.unwrap();
    let above = Neighbour {
        id: CITY,
        name: "市局".into(),
        level: NodeLevel::City,
        region: Some(territory),
        enterprise: None,
        fingerprint: "cd".into(),
        address: Some("127.0.0.1:1".into()),
    };
    store.put_parent(&Scope::node(), &above, now).await.unwrap();
    (city, directory)
}

/// Carries what the city has for the node.
async fn carry(city: &Store, node: &Node) {
    let (store, now) = (&node.app.store, node.app.clock.now());
    let way = store.own_node().unwrap().to_string();
    let peer = Peer { id: CITY, level: NodeLevel::City, region: RegionCode::new("5304"), enterprise: None };
    loop {
        let after = store.inbox(CITY).await.unwrap().feed;
        let entries = city.feed(&way, after, 100).await.unwrap();
        let Some(last) = entries.last() else { return };
        assert_eq!(store.apply_feed(&peer, after, last.seq, &entries, now).await.unwrap().refused, []);
    }
}

/// A pack that asks half of a group to be on the network.
fn pack(group: &str, version: &str) -> BTreeMap<String, String> {
    let meta = format!("id = \"plan-x\"\nname = \"规划\"\nname_en = \"Plan\"\nversion = \"{version}\"\npublisher = \"市局\"\n");
    let table = format!(
        "[[target]]\ngroup = \"{group}\"\nrate = \"networked\"\nat_least = 0.5\nstandard = \"某规划\"\nconfidence = \"unverified\"\n"
    );
    BTreeMap::from([("pack.toml".to_owned(), meta), ("networking.toml".to_owned(), table)])
}

async fn offer(city: &Store, node: &Node, files: &BTreeMap<String, String>, hash: &str) {
    let (scope, now) = (Scope { name: "张三".into(), ..Scope::node() }, node.app.clock.now());
    city.put_pack(&scope, "plan-x", hash, Some((files, None)), now).await.unwrap();
    city.offer_pack(&scope, "plan-x", now).await.unwrap();
    carry(city, node).await;
}

#[tokio::test]
async fn a_pack_from_above_waits_is_read_and_is_switched_on_by_a_person_here() {
    let node = node().await;
    assert_eq!(node.get("/api/v1/pack-offers").await, json!({"offers": []}));
    assert_eq!(node.admin("PUT", "/api/v1/packs/plan-x/below", json!({"offered": true})).await.code(409), "node.link_off");
    let (city, _directory) = below_a_city(&node).await;
    let files = pack("all", "1");
    let hash = hash_of(&files);
    offer(&city, &node, &files, &hash).await;
    let first = async || node.get("/api/v1/pack-offers").await["offers"][0].clone();
    let asked = async || node.get("/api/v1/networking").await["total"]["rates"][1]["at_least"].clone();
    let seen = first().await;
    assert_eq!(
        (&seen["origin_name"], &seen["below"], &seen["on"], &seen["offered_by"]),
        (&json!("市局"), &json!(false), &json!(false), &json!("张三"))
    );
    assert_eq!((&seen["pack"]["state"], &seen["pack"]["version"], &seen["pack"]["hash"]), (&json!("available"), &json!("1"), &json!(hash)));
    let changes: Vec<_> = seen["changes"].as_array().unwrap().iter().map(|c| (text(&c["file"]), text(&c["change"]))).collect();
    assert_eq!(changes, [("networking.toml".to_owned(), "added".to_owned()), ("pack.toml".to_owned(), "added".to_owned())]);
    assert_eq!(asked().await, Value::Null, "an offer switches nothing on");
    let enable = format!("/api/v1/pack-offers/{CITY}/plan-x/enable");
    let local = node.person("local", json!([{"role": "administrator", "region": HERE}])).await;
    let outside = ask(&node.router, "POST", &enable, Some(&local), Some(json!({"hash": hash}))).await;
    assert_eq!(outside.code(404), "row.not_found");
    assert_eq!(node.admin("POST", &enable, json!({"hash": "0"})).await.code(409), "pack.changed");
    assert_eq!(node.admin("POST", &enable, json!({"hash": hash})).await.status, 204);
    assert_eq!(asked().await, json!(0.5));
    assert_eq!((first().await["on"].clone(), node.pack("plan-x").await["state"].clone()), (json!(true), json!("enabled")));

    // A newer one with a fault is told, refused, and what is on stays on.
    let broken = pack("nobody", "2");
    offer(&city, &node, &broken, &hash_of(&broken)).await;
    let seen = first().await;
    assert_eq!(seen["pack"]["state"], "changed");
    let changed: Vec<String> = seen["changes"].as_array().unwrap().iter().map(|c| text(&c["file"])).collect();
    assert_eq!(changed, ["networking.toml", "pack.toml"]);
    assert!(text(&seen["pack"]["problems"][0]["reason"]).contains("nobody"), "{seen}");
    assert_eq!(node.admin("POST", &enable, json!({"hash": seen["pack"]["hash"]})).await.code(400), "pack.wrong");
    assert_eq!(asked().await, json!(0.5));
    // Files that are not those of their hash are no pack.
    offer(&city, &node, &pack("all", "3"), &"0".repeat(64)).await;
    let seen = first().await;
    assert!(text(&seen["pack"]["problems"][0]["reason"]).contains("hash"), "{seen}");
    assert_eq!(node.admin("POST", &enable, json!({"hash": "0".repeat(64)})).await.code(400), "pack.wrong");
    assert_eq!(asked().await, json!(0.5));

    // This node offers what is on to those below, beside what comes from above.
    let below = async |offered: bool| node.admin("PUT", "/api/v1/packs/plan-x/below", json!({"offered": offered})).await;
    assert_eq!(below(true).await.status, 204);
    let offers = node.get("/api/v1/pack-offers").await;
    let said: Vec<_> =
        offers["offers"].as_array().unwrap().iter().map(|o| (o["below"].as_bool().unwrap(), o["on"].as_bool().unwrap())).collect();
    assert_eq!(said, [(false, false), (true, true)]);
    let own = node.app.store.own_node().unwrap();
    let refused = node.admin("POST", &format!("/api/v1/pack-offers/{own}/plan-x/enable"), json!({"hash": hash})).await;
    assert_eq!(refused.code(404), "row.not_found", "its own offer is for others");
    let child = node.app.store.all_nodes().await.unwrap().into_iter().find(|n| n.name == "镇安监站").unwrap().id.to_string();
    let feed = node.app.store.feed(&child, 0, 100).await.unwrap();
    let packs: Vec<String> = feed.into_iter().filter(|e| e.kind == "pack").map(|e| e.subject).collect();
    assert_eq!(packs, [format!("{CITY}/plan-x/0"), format!("{own}/plan-x/0")], "both go on down");
    assert_eq!(below(false).await.status, 204);
    assert_eq!(below(false).await.code(404), "row.not_found");
    assert_eq!(node.admin("PUT", "/api/v1/packs/nothing/below", json!({"offered": true})).await.code(404), "row.not_found");
    let audit = node.get("/api/v1/audit?noun=pack").await;
    let acts: Vec<&str> = audit["entries"].as_array().unwrap().iter().map(|e| e["action"].as_str().unwrap()).collect();
    assert_eq!(acts, ["withdraw", "offer", "enable"]);
}

#[tokio::test]
async fn who_is_on_duty_above_is_shown_and_a_desk_here_is_made_known_by_whoever_makes_its_rota() {
    let node = node().await;
    let (city, _directory) = below_a_city(&node).await;
    let now = node.app.clock.now();
    assert_eq!(node.get("/api/v1/duty/above").await, json!({"above": [], "told": []}));
    let user = NewUser { username: "z".into(), name: "张三".into(), password: "x".into(), grants: Vec::new() };
    let user = city.create_user(&Scope::node(), &user, now).await.unwrap().id;
    let region = RegionCode::new("5304").unwrap();
    let scope = Scope { name: "甲".into(), ..Scope::node() };
    let mut change = city.change_duty(&scope, now).await.unwrap();
    let shift = DutyShift {
        region: region.clone(),
        desk: "watch".into(),
        user,
        second: None,
        from: now,
        to: now.plus_us(12 * 3_600_000_000),
        phone: "0877-2012350".into(),
        note: "内部".into(),
    };
    change.create(&shift, None).await.unwrap();
    change.commit().await.unwrap();
    city.set_duty_told(&scope, &region, "watch", true, now).await.unwrap();
    carry(&city, &node).await;
    let officer = node.person("officer", json!([{"role": "duty_officer", "region": HERE}])).await;
    let see = async || ask(&node.router, "GET", "/api/v1/duty/above", Some(&officer), None).await.ok(200);
    let seen = see().await;
    let above = &seen["above"][0];
    assert_eq!((&above["name"], &above["level"]), (&json!("市局"), &json!("city")));
    let first = &above["shifts"][0];
    assert_eq!((&first["people"], &first["phone"], &first["desk"]), (&json!(["张三"]), &json!("0877-2012350"), &json!("watch")));
    assert!(!seen.to_string().contains("内部"), "notes stay where they are");
    ask(&node.router, "POST", "/api/v1/test/clock", None, Some(json!({"advance_s": 12 * 3_600}))).await.ok(200);
    assert_eq!(see().await["above"], json!([]), "what is over is not shown");

    let tell = json!({"region": HERE, "desk": "watch", "told": true});
    let refused = ask(&node.router, "PUT", "/api/v1/duty/told", Some(&officer), Some(tell.clone())).await;
    assert_eq!(refused.status, 403);
    assert_eq!(node.admin("PUT", "/api/v1/duty/told", json!({"region": HERE, "desk": "x", "told": true})).await.code(400), "word.unknown");
    assert_eq!(node.admin("PUT", "/api/v1/duty/told", tell).await.status, 204);
    assert_eq!(node.get("/api/v1/duty/above").await["told"], json!([{"region": HERE, "desk": "watch"}]));
}
