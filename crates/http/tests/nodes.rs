//! The network through the API: who is seen, who is let in, what is cut and mended, and what a node without a link answers.

mod common;

use std::sync::{Arc, Mutex};

use anlan_app::error::AppError;
use anlan_app::node::{Admission, Difference, Heard, InvitationRow, Network, Parent, ParentState, Queue};
use anlan_model::{Clock as _, Effect, Level, NodeId, NodeLevel, PointId, RaisedAlarm, RegionCode, RuleKind, Scope, Subject, Timestamp};
use anlan_store::{FeedEntry, Peer};
use common::{ELSEWHERE, HERE, Node, ask, node, text};
use serde_json::{Value, json};

/// A link that does as it is told, and remembers.
#[derive(Default)]
struct Fake {
    told: Mutex<Vec<String>>,
}

impl Fake {
    fn tell(&self, what: String) {
        self.told.lock().unwrap().push(what);
    }
}

impl Network for Fake {
    fn heard(&self, neighbour: NodeId) -> Heard {
        Heard { connected: neighbour.get() != 0, queue: Some(Queue { log: 5, feed: 1 }), lag_s: Some(2.5) }
    }
    fn new_code(&self) -> Result<([u8; 16], String), AppError> {
        Ok(([7; 16], "AN-CODE".into()))
    }
    fn admit(&self, invitation: &InvitationRow) -> Result<Admission, AppError> {
        self.tell(format!("admit {}", invitation.name));
        Ok(Admission {
            certificate: "PEM".into(),
            fingerprint: "ab".into(),
            serial: "2".into(),
            not_after: Timestamp::from_secs(2_000_000_000),
        })
    }
    fn join(&self, code: &str, address: &str) -> Result<(), AppError> {
        self.tell(format!("join {code} {address}"));
        Ok(())
    }
    fn parent(&self) -> Parent {
        Parent { state: ParentState::Waiting, detail: "等待上级确认".into(), fingerprint: Some("cd".into()) }
    }
    fn changed(&self) {
        self.tell("changed".into());
    }
    fn again(&self, _: NodeId, day: &str) -> Result<(), AppError> {
        self.tell(format!("again {day}"));
        Ok(())
    }
    fn differences(&self, _: NodeId, _: &str) -> Option<Vec<Difference>> {
        Some(vec![Difference { point: None, remote: 9, here: (1, 2), there: (3, 255) }])
    }
}

fn with_link(node: &Node) -> Arc<Fake> {
    let fake = Arc::new(Fake::default());
    assert!(node.app.network.set(fake.clone()).is_ok());
    fake
}

fn one<'a>(list: &'a Value, id: &str) -> &'a Value {
    list["nodes"].as_array().unwrap().iter().find(|n| n["id"] == id).unwrap_or_else(|| panic!("no {id} in {list}"))
}

#[tokio::test]
async fn neighbours_are_cut_mended_frozen_and_revoked() {
    let node = node().await;
    assert_eq!(node.get("/api/v1/nodes").await, json!({"nodes": [], "next": null}));
    let (child, _) = node.child(HERE).await;
    let list = node.get("/api/v1/nodes").await;
    let row = one(&list, &child);
    assert_eq!(
        (&row["connected"], &row["queue"], &row["agreement"]),
        (&json!(false), &Value::Null, &json!({"readings": "all"})),
        "no link"
    );
    let fake = with_link(&node);
    let list = node.get("/api/v1/nodes").await;
    let row = one(&list, &child);
    assert_eq!((&row["relation"], &row["level"], &row["region"]), (&json!("child"), &json!("township"), &json!(HERE)));
    assert_eq!((&row["connected"], &row["queue"], &row["lag_s"]), (&json!(true), &json!({"log": 5, "feed": 1}), &json!(2.5)));
    assert_eq!(row["proof"], json!({"day": "2026-11-20", "equal": false}));
    let own = &list["nodes"][0];
    assert_eq!((&own["relation"], &own["connected"], &own["agreement"]), (&json!("self"), &json!(false), &Value::Null));

    let path = format!("/api/v1/nodes/{child}");
    let body = json!({"revision": row["revision"], "name": "东镇", "paused": true, "agreement": {"readings": "none"}});
    let cut = node.admin("PUT", &path, body.clone()).await.ok(200);
    assert_eq!((&cut["name"], &cut["paused"], &cut["agreement"]), (&json!("东镇"), &json!(true), &json!({"readings": "none"})));
    assert_eq!(node.admin("PUT", &path, body).await.code(409), "revision.stale");
    let body = json!({"revision": cut["revision"], "agreement": {"readings": "some"}});
    assert_eq!(node.admin("PUT", &path, body).await.status, 400);
    // The lesser of both wishes goes; a neighbour that says nothing knows no agreements.
    for (here, there, goes) in
        [("changes", None, "changes"), ("changes", Some("minutes"), "minutes"), ("all", Some("of_the_future"), "none")]
    {
        let id: NodeId = child.parse().unwrap();
        node.app.store.note_said(id, &json!({"software": "anlan", "readings": there}), node.app.clock.now()).await.unwrap();
        let revision = one(&node.get("/api/v1/nodes").await, &child)["revision"].clone();
        let agreed = node.admin("PUT", &path, json!({"revision": revision, "agreement": {"readings": here}})).await.ok(200);
        assert_eq!((&agreed["agreement"], &agreed["agreed"]), (&json!({"readings": here}), &json!(goes)));
    }
    let own = format!("/api/v1/nodes/{}", text(&own["id"]));
    assert_eq!(node.admin("PUT", &own, json!({"revision": 1, "name": "x"})).await.code(409), "node.not_neighbour");
    assert_eq!(node.admin("PUT", "/api/v1/nodes/77", json!({"revision": 1})).await.code(404), "row.not_found");
    let nobody = format!("/api/v1/nodes/{:032x}", 77);
    assert_eq!(node.admin("PUT", &nobody, json!({"revision": 1})).await.code(404), "row.not_found");

    let resume = format!("{path}/resume");
    assert_eq!(node.admin("POST", &resume, json!({"as": "restored"})).await.code(409), "node.not_frozen");
    let id: NodeId = child.parse().unwrap();
    node.app.store.freeze_node(id, "两台机器自称同一节点", node.app.clock.now()).await.unwrap();
    assert_eq!(node.admin("POST", &resume, json!({"as": "mended"})).await.code(400), "word.unknown");
    let back = node.admin("POST", &resume, json!({"as": "replaced"})).await.ok(200);
    assert_eq!((&back["state"], &back["reason"]), (&json!("active"), &Value::Null));
    let revoke = format!("{path}/revoke");
    assert_eq!(node.admin("POST", &revoke, json!({"reason": " "})).await.code(400), "text.empty");
    let gone = node.admin("POST", &revoke, json!({"reason": "退出"})).await.ok(200);
    assert_eq!((&gone["state"], &gone["reason"]), (&json!("revoked"), &json!("退出")));
    assert_eq!(node.admin("POST", &format!("{own}/revoke"), json!({"reason": "x"})).await.code(409), "node.not_child");
    assert_eq!(*fake.told.lock().unwrap(), ["changed"; 6]);
    let audit = node.get("/api/v1/audit?noun=node").await;
    let acts: Vec<&str> = audit["entries"].as_array().unwrap().iter().map(|e| e["action"].as_str().unwrap()).collect();
    assert_eq!(acts, ["revoke", "resume", "freeze", "update", "update", "update", "pause", "admit", "update"]);
}

#[tokio::test]
async fn a_node_is_invited_claims_and_is_let_in_by_its_fingerprint() {
    let node = node().await;
    let wish = json!({"name": "甲厂", "level": "enterprise", "enterprise": node.enterprise("E1", HERE).await});
    assert_eq!(node.admin("POST", "/api/v1/invitations", wish.clone()).await.code(409), "node.link_off");
    assert_eq!(node.get("/api/v1/parent").await["state"], "none");
    assert_eq!(node.admin("PUT", "/api/v1/parent", json!({"code": "x", "address": "x"})).await.code(409), "node.link_off");
    node.child(HERE).await;
    let fake = with_link(&node);
    for (body, code, field) in [
        (json!({"name": "", "level": "township", "region": HERE}), "text.empty", "name"),
        (json!({"name": "x", "level": "county", "region": HERE}), "node.level", "level"),
        (json!({"name": "x", "level": "township", "region": ELSEWHERE}), "node.territory", "region"),
        (json!({"name": "x", "level": "township"}), "field.missing", "region"),
        (
            json!({"name": "x", "level": "township", "region": HERE, "enterprise": wish["enterprise"]}),
            "node.enterprise_of_region",
            "enterprise",
        ),
        (json!({"name": "x", "level": "enterprise"}), "field.missing", "enterprise"),
        (json!({"name": "x", "level": "enterprise", "enterprise": "999"}), "reference.unknown", "enterprise"),
        (
            json!({"name": "x", "level": "enterprise", "enterprise": wish["enterprise"], "region": HERE}),
            "node.region_of_enterprise",
            "region",
        ),
    ] {
        let refused = node.admin("POST", "/api/v1/invitations", body.clone()).await.refused(400);
        assert_eq!(refused, [(code.to_owned(), field.to_owned())], "{body}");
    }
    let made = node.admin("POST", "/api/v1/invitations", wish).await.ok(201);
    assert_eq!((&made["code"], &made["state"], &made["enterprise_name"]), (&json!("AN-CODE"), &json!("open"), &json!("企业E1")));
    let path = format!("/api/v1/invitations/{}", text(&made["id"]));
    let confirm = format!("{path}/confirm");
    assert_eq!(node.admin("POST", &confirm, json!({"fingerprint": "00"})).await.code(409), "node.not_claimed");
    let (now, plant) = (node.app.clock.now(), NodeId::new(0xcccc_cccc_0000_0000_0000_0000_0000_0009));
    node.app.store.claim_invitation(&[7; 16], plant, b"public key", Timestamp::EPOCH, now).await.unwrap();
    let list = node.get("/api/v1/invitations").await;
    let mine = &list["invitations"][0];
    assert!(mine.get("code").is_none(), "the code is told once: {mine}");
    assert_eq!((&mine["state"], &mine["node"]), (&json!("claimed"), &json!(plant.to_string())));
    assert_eq!(node.admin("POST", &confirm, json!({"fingerprint": "00"})).await.code(400), "node.fingerprint");
    let print = text(&mine["fingerprint"]).to_uppercase();
    let typed = print.as_bytes().chunks(4).map(|c| std::str::from_utf8(c).unwrap()).collect::<Vec<_>>().join(" ");
    let admitted = node.admin("POST", &confirm, json!({"fingerprint": typed})).await.ok(200);
    assert_eq!(
        (&admitted["relation"], &admitted["level"], &admitted["enterprise_name"]),
        (&json!("child"), &json!("enterprise"), &json!("企业E1"))
    );
    assert_eq!(admitted["certificate_until"], "2033-05-18T03:33:20.000000Z");
    let beats = node.get("/api/v1/devices?q=node-cccccccc").await;
    assert_eq!(beats["devices"][0]["name"], "甲厂", "its heartbeat");
    assert_eq!(node.admin("POST", &confirm, json!({"fingerprint": typed})).await.code(409), "node.not_claimed");
    ask(&node.router, "DELETE", &path, Some(&node.admin), None).await.ok(204);
    let joined = node.admin("PUT", "/api/v1/parent", json!({"code": " AN-1 ", "address": "city:8443"})).await.ok(202);
    assert_eq!(joined, json!({"state": "waiting", "detail": "等待上级确认", "fingerprint": "cd"}));
    assert_eq!(*fake.told.lock().unwrap(), ["admit 甲厂", "changed", "changed", "join AN-1 city:8443"]);
}

#[tokio::test]
async fn proofs_are_listed_looked_into_and_asked_for_again() {
    let node = node().await;
    let (child, _) = node.child(HERE).await;
    let list = node.get(&format!("/api/v1/proofs?origin={child}&from=2026-11-01&to=2026-11-30")).await;
    let day = &list["proofs"][0];
    assert_eq!((&day["equal"], &day["day"], &day["holders"].as_array().unwrap().len()), (&json!(false), &json!("2026-11-20"), &2));
    assert_eq!((&day["holders"][1]["name"], &day["holders"][1]["count"]), (&json!("县局"), &json!(2)));
    assert_eq!(node.get("/api/v1/proofs?to=2026-11-19").await["proofs"], json!([]));
    let bad = ask(&node.router, "GET", "/api/v1/proofs?from=yesterday", Some(&node.admin), None).await;
    assert_eq!(bad.refused(400), [("time.malformed".to_owned(), "from".to_owned())]);
    let path = format!("/api/v1/proofs/{child}/2026-11-20");
    assert_eq!(node.get(&path).await["points"], Value::Null, "nobody can be asked");
    assert_eq!(node.admin("POST", &format!("{path}/again"), json!({})).await.code(409), "node.link_off");
    let fake = with_link(&node);
    let detail = node.get(&path).await;
    let (there, here) = (json!({"count": 3, "sum": format!("{:032x}", 255)}), json!({"count": 1, "sum": format!("{:032x}", 2)}));
    assert_eq!(detail["points"], json!([{"point": null, "code": "#9", "name": "", "here": here, "there": there}]));
    node.admin("POST", &format!("{path}/again"), json!({})).await.ok(202);

    // Thinned here, it is listed and marked; what came again could not be told from what gave way.
    let (id, counted) = (child.parse().unwrap(), anlan_store::Counted { n: 2, sum: 0x11 });
    let row = anlan_store::LedgerRow { origin: id, day: "2026-11-20".into(), n_readings: 2, sum: format!("{:032x}", 0x11) };
    node.app.store.put_ledger(1, &[row], false).await.unwrap();
    let part = anlan_store::ThinnedPart { origin: id, day: "2026-11-20".into(), readings: counted, hours: counted };
    let thinning = anlan_store::Thinning { witness: json!({}), why: "disk", free_mb: Some(7), parts: vec![part] };
    let drop = anlan_store::RetentionDrop { day: Timestamp::EPOCH, readings: 2, positions: 0, rollups: 0 };
    node.app.store.note_drop(&drop, Some(&thinning), node.app.clock.now()).await.unwrap();
    node.app.store.end_thinning(true, node.app.clock.now()).await.unwrap();
    let thinned = &node.get(&format!("/api/v1/thinned?origin={child}")).await["thinned"][0];
    assert_eq!(
        (&thinned["day"], &thinned["readings"]["count"], &thinned["whole"], &thinned["why"]),
        (&json!("2026-11-20"), &json!(2), &json!(true), &json!("disk"))
    );
    assert_eq!(node.get(&path).await["holders"][1]["thinned"]["readings"], thinned["readings"]);
    assert_eq!(node.admin("POST", &format!("{path}/again"), json!({})).await.code(409), "node.thinned");
    assert_eq!(*fake.told.lock().unwrap(), ["again 2026-11-20"]);
}

#[tokio::test]
async fn what_came_from_another_node_says_so_and_is_changed_there() {
    let node = node().await;
    let (child, _) = node.child(HERE).await;
    let id: NodeId = child.parse().unwrap();
    let now = node.app.clock.now();
    // The child's own store, as its node would have it.
    let directory = tempfile::tempdir().unwrap();
    let below = anlan_store::Store::open(&format!("sqlite:{}", directory.path().join("below.sqlite").display())).await.unwrap();
    let region = RegionCode::new(HERE).unwrap();
    below.put_self(id, "镇安监站", NodeLevel::Township, Some(&region), now).await.unwrap();
    let new =
        anlan_store::NewEnterprise { code: "E7".into(), name: "乙厂".into(), region: region.clone(), sector: "gas".into(), place: None };
    let enterprise = below.create_enterprise(&Scope::node(), &new, now).await.unwrap().id;
    let new = anlan_store::NewDevice {
        code: "D7".into(),
        name: "网关".into(),
        enterprise: Some(enterprise),
        protocol: "mqtt".into(),
        gateway: false,
        may_backfill: false,
        secret_hash: [7; 32],
    };
    let device = below.create_device(&Scope::node(), &new, now).await.unwrap().id;
    let point: PointId = below.ensure_points(device, &["GT-7".into()], now).await.unwrap()[0].id;
    let raised = RaisedAlarm {
        id: "0199f3c2-7f00-7abc-8def-0123456789ab".parse().unwrap(),
        rule: "h".into(),
        kind: RuleKind::H,
        subject: Subject::Point(point),
        level: Level::Red,
        value: Some(1.0),
        threshold: Some(0.5),
        unit: "%LEL".into(),
        source: "x".into(),
        confidence: "unverified".into(),
        onset_at: now,
        raised_at: now,
        historic: false,
    };
    below.project(1, &[Effect::Alarm(anlan_model::AlarmChange::Raised(raised))]).await.unwrap();
    let above = anlan_store::Neighbour {
        id: NodeId::new(1),
        name: "县局".into(),
        level: NodeLevel::County,
        region: Some(region.clone()),
        enterprise: None,
        fingerprint: "x".into(),
        address: None,
    };
    below.put_parent(&Scope::node(), &above, now).await.unwrap();
    below
        .acknowledge(&Scope { name: "赵六".into(), ..Scope::node() }, "0199f3c2-7f00-7abc-8def-0123456789ab".parse().unwrap(), "在查", now)
        .await
        .unwrap();
    let entries: Vec<FeedEntry> = below.feed(anlan_store::UP, 0, 100).await.unwrap();
    let peer = Peer { id, level: NodeLevel::Township, region: Some(region), enterprise: None };
    let end = entries.last().unwrap().seq;
    let applied = node.app.store.apply_feed(&peer, 0, end, &entries, now).await.unwrap();
    assert!(applied.refused.is_empty(), "{applied:?}");
    let devices = applied.devices.iter().map(|d| anlan_app::registry::Touched::Device(*d));
    let enterprises = applied.enterprises.iter().map(|e| anlan_app::registry::Touched::Enterprise(*e));
    node.app.registry.renew(devices.chain(enterprises)).await.unwrap();
    let list = node.get("/api/v1/alarms").await;
    let alarm = &list["alarms"][0];
    assert_eq!(alarm["home"], json!({"id": child, "name": "镇安监站", "level": "township"}));
    assert_eq!((&alarm["handlings"][0]["acknowledged_by"], &alarm["handlings"][0]["name"]), (&json!("赵六"), &json!("镇安监站")));
    assert_eq!((&alarm["state"], &alarm["acknowledged_by"], &alarm["enterprise_name"]), (&json!("raised"), &Value::Null, &json!("乙厂")));
    let point = text(&alarm["point"]);
    let answer = node.admin("PATCH", &format!("/api/v1/points/{point}"), json!({"revision": 1, "name": "x"})).await;
    assert_eq!(answer.code(409), "node.elsewhere");
    assert!(answer.body["errors"][0].to_string().contains("镇安监站"), "{}", answer.body);
    let device = text(&node.get(&format!("/api/v1/points/{point}")).await["device"]);
    let body = json!({"revision": 1, "name": "x"});
    assert_eq!(node.admin("PATCH", &format!("/api/v1/devices/{device}"), body.clone()).await.code(409), "node.elsewhere");
    let enterprise = text(&alarm["enterprise"]);
    assert_eq!(node.admin("PATCH", &format!("/api/v1/enterprises/{enterprise}"), body).await.code(409), "node.elsewhere");
    // Handled here, for here alone.
    let officer = node.person("duty", json!([{"role": "duty_officer", "region": HERE}])).await;
    let path = format!("/api/v1/alarms/{}/acknowledge", text(&alarm["id"]));
    let answered = ask(&node.router, "POST", &path, Some(&officer), Some(json!({"note": "县里知道"}))).await.ok(200);
    assert_eq!((&answered["acknowledged_by"], answered["handlings"].as_array().unwrap().len()), (&json!("duty"), 1));
    assert_eq!(
        node.app.store.feed(&child, 0, 10).await.unwrap().iter().filter(|e| e.kind == "handling").count(),
        1,
        "its home will learn of it"
    );
}
