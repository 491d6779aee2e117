//! Transfer of home through the API: what goes, who may still change it, and how it goes on at the node that took it.

mod common;

use anlan_model::{Clock as _, NodeId, NodeLevel, RegionCode, Scope};
use anlan_store::{Neighbour, Peer, Refused, Store, UP};
use common::{HERE, Node, ask, node, png, text};
use serde_json::{Value, json};

const COUNTY: NodeId = NodeId::new(1);
const DANGERS: &str = "/api/v1/registers/hidden_danger/records";

struct Two {
    county: Node,
    town: Node,
    id: NodeId,
}

/// A county, and a township's desk below it that it may hand its enterprises over to.
async fn two() -> Two {
    let (county, town) = (node().await, node().await);
    let (child, _) = county.child(HERE).await;
    let id: NodeId = child.parse().unwrap();
    let (store, now, region) = (&town.app.store, town.app.clock.now(), RegionCode::new(HERE));
    store.put_self(id, "镇安监站", NodeLevel::Township, region.as_ref(), now).await.unwrap();
    let above = Neighbour {
        id: COUNTY,
        name: "县局".into(),
        level: NodeLevel::County,
        region,
        enterprise: None,
        fingerprint: "cd".into(),
        address: None,
    };
    store.put_parent(&Scope::node(), &above, now).await.unwrap();
    Two { county, town, id }
}

async fn carry(from: &Store, way: &str, to: &Node, peer: &Peer) -> Vec<Refused> {
    let mut refused = Vec::new();
    loop {
        let after = to.app.store.inbox(peer.id).await.unwrap().feed;
        let entries = from.feed(way, after, 50).await.unwrap();
        let Some(last) = entries.last() else { return refused };
        let applied = to.app.store.apply_feed(peer, after, last.seq, &entries, to.app.clock.now()).await.unwrap();
        to.app.transfers.add(&applied.transfers);
        anlan_app::transfer::take_heard(&to.app).await;
        refused.extend(applied.refused);
    }
}

impl Two {
    async fn down(&self) {
        let peer = Peer { id: COUNTY, level: NodeLevel::County, region: RegionCode::new(HERE), enterprise: None };
        assert_eq!(carry(&self.county.app.store, &self.id.to_string(), &self.town, &peer).await, []);
    }
    async fn up(&self) {
        let peer = Peer { id: self.id, level: NodeLevel::Township, region: RegionCode::new(HERE), enterprise: None };
        assert_eq!(carry(&self.town.app.store, UP, &self.county, &peer).await, []);
    }
    async fn give(&self, enterprise: &str) -> common::Answer {
        self.county.admin("POST", "/api/v1/transfers", json!({"enterprise": enterprise, "node": self.id.to_string()})).await
    }
}

async fn post(node: &Node, token: &str, path: &str, body: Value) -> common::Answer {
    ask(&node.router, "POST", path, Some(token), Some(body)).await
}

async fn report(node: &Node, token: &str, enterprise: &str, fields: Value) -> String {
    let mut all = json!({"description": "配电箱门缺失", "place": "二车间", "found_on": "2026-11-22", "source": "condition"});
    all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    text(&post(node, token, DANGERS, json!({"enterprise": enterprise, "transition": "report", "fields": all})).await.ok(201)["id"])
}

#[tokio::test]
async fn what_a_county_kept_goes_on_at_the_node_that_takes_it() {
    let net = two().await;
    let county = &net.county;
    let enterprise = county.enterprise("E1", HERE).await;
    let manager = county.person("manager", json!([{"role": "safety_manager", "enterprise": enterprise}])).await;
    let inspector = county.person("inspector", json!([{"role": "inspector", "region": HERE}])).await;
    let who = county.get("/api/v1/users").await;
    let who = text(&who["users"].as_array().unwrap().iter().find(|user| user["username"] == "manager").unwrap()["id"]);
    let photo = text(&county.upload(&manager, "阀门.png", &png(4, 4)).await.ok(201)["id"]);
    let id = report(county, &manager, &enterprise, json!({"photos": [photo]})).await;
    let path = format!("{DANGERS}/{id}");
    let step = async |node: &Node, token: &str, path: &str, transition: &str, revision: i64, fields: Value| {
        post(node, token, &format!("{path}/transitions/{transition}"), json!({"revision": revision, "fields": fields})).await
    };
    step(county, &manager, &path, "rate", 1, json!({"level": "general"})).await.ok(200);
    let plan = json!({"responsible": who, "due_on": "2026-12-20", "measures": "更换"});
    step(county, &manager, &path, "assign", 2, plan).await.ok(200);
    let other = report(county, &inspector, &enterprise, json!({"description": "通道堵塞"})).await;

    let preview = county.get(&format!("/api/v1/transfers/preview?enterprise={enterprise}")).await;
    assert_eq!((&preview["goes"][0]["register"], &preview["goes"][0]["records"]), (&json!("hidden_danger"), &json!(2)));
    assert_eq!(preview["stays"], json!([]));
    let body = json!({"enterprise": enterprise, "node": format!("{:032x}", 77)});
    assert_eq!(county.admin("POST", "/api/v1/transfers", body).await.refused(400), [("transfer.node".into(), "node".into())]);
    let given = net.give(&enterprise).await.ok(201);
    assert_eq!((&given["state"], &given["records"], &given["direction"]), (&json!("offered"), &json!(2), &json!("given")));
    assert_eq!(net.give(&enterprise).await.code(409), "node.moving");
    let locked = county.get(&path).await;
    assert_eq!((&locked["moving_to"], &locked["possible"]), (&json!("镇安监站"), &json!([])));
    assert_eq!(step(county, &manager, &path, "finish", 3, json!({})).await.code(409), "node.moving");
    let change = json!({"revision": 1, "name": "x"});
    assert_eq!(county.admin("PATCH", &format!("/api/v1/enterprises/{enterprise}"), change).await.code(409), "node.moving");

    net.down().await;
    let town = &net.town;
    let taken = town.get("/api/v1/transfers").await["transfers"][0].clone();
    assert_eq!((&taken["state"], &taken["direction"], &taken["node_name"]), (&json!("taken"), &json!("received"), &json!("县局")));
    let list = town.get(&format!("{DANGERS}?q=配电箱")).await;
    let there = text(&list["records"][0]["id"]);
    let here = format!("{DANGERS}/{there}");
    let record = town.get(&here).await;
    assert_eq!(
        (&record["former"], &record["home"], &record["state"], &record["due_on"]),
        (&json!("县局"), &Value::Null, &json!("treating"), &json!("2026-12-20"))
    );
    let acts: Vec<&str> = record["acts"].as_array().unwrap().iter().map(|act| act["transition"].as_str().unwrap()).collect();
    assert_eq!(acts, ["report", "rate", "assign"]);
    assert_eq!(record["acts"][0]["by"], json!("manager"));
    let responsible = text(&record["fields"]["responsible"]);
    assert_eq!((responsible.as_str(), &record["people"][&responsible]), (format!("{COUNTY}/{who}").as_str(), &json!("manager")));
    let file = &record["elsewhere"][text(&record["fields"]["photos"][0])];
    assert_eq!((&file["kind"], &file["name"], &file["media_type"]), (&json!("file"), &json!("阀门.png"), &json!("image/png")));

    // It goes on there: under the same rules, by people of there.
    let owner = text(&record["enterprise"]["id"]);
    let local = town.person("li", json!([{"role": "safety_manager", "enterprise": owner}])).await;
    let me = ask(&town.router, "GET", &format!("/api/v1/people?enterprise={owner}"), Some(&local), None).await.ok(200);
    let me = me["people"].as_array().unwrap().iter().find(|of| of["name"] == "li").unwrap()["id"].clone();
    let revision = record["revision"].as_i64().unwrap();
    let to_me = json!({"responsible": me, "reassign_reason": "移交"});
    let moved = step(town, &local, &here, "reassign", revision, to_me).await.ok(200);
    assert_eq!(moved["fields"]["photos"], record["fields"]["photos"], "what nobody touched stays");
    let tasks = ask(&town.router, "GET", "/api/v1/tasks", Some(&local), None).await.ok(200);
    assert!(tasks["tasks"].as_array().unwrap().iter().any(|task| task["record"]["id"] == json!(there)), "{tasks}");
    assert_eq!(town.app.store.verify_records().await.unwrap().1, []);

    net.up().await;
    assert_eq!(county.get("/api/v1/transfers").await["transfers"][0]["state"], json!("taken"));
    let copy = county.get(&path).await;
    assert_eq!(
        (&copy["home"]["name"], &copy["moving_to"], &copy["fields"]["responsible"]),
        (&json!("镇安监站"), &Value::Null, &json!("li"))
    );
    assert_eq!(copy["attachments"][0]["name"], json!("阀门.png"), "the bytes stay where they were");
    assert_eq!(county.get(&format!("{DANGERS}/{other}")).await["home"]["name"], json!("镇安监站"));
    assert_eq!(county.get(DANGERS).await["records"].as_array().unwrap().len(), 2, "nothing twice");
    assert_eq!(step(county, &manager, &path, "finish", 3, json!({})).await.code(409), "node.elsewhere");
    assert_eq!(net.give(&enterprise).await.code(409), "node.elsewhere");
    let withdraw = format!("/api/v1/transfers/{}/withdraw", text(&given["id"]));
    assert_eq!(county.admin("POST", &withdraw, json!({})).await.code(409), "transfer.over");
}

/// A major hazard that is filed under this number.
async fn file(node: &Node, enterprise: &str, filing_no: &str) {
    const MAJOR: &str = "/api/v1/registers/major_hazard/records";
    let manager = node.person("filer", json!([{"role": "safety_manager", "enterprise": enterprise}])).await;
    let supervisor = node.person("files", json!([{"role": "supervisor", "region": HERE}])).await;
    let contents = json!([{"substance": "甲醇", "tonnes": 1}, {"substance": "液氯", "tonnes": 62.3}]);
    let fields = json!({"unit": "液氯库", "unit_kind": "storage", "place": "北区", "contents": contents, "people_within_500m": 120});
    let made = post(node, &manager, MAJOR, json!({"enterprise": enterprise, "transition": "identify", "fields": fields})).await.ok(201);
    let path = format!("{MAJOR}/{}/transitions", text(&made["id"]));
    let filing = json!({"filing_no": filing_no, "filed_on": "2026-11-23", "filed_level": "2"});
    for (revision, (by, transition, fields)) in (1..).zip([
        (&manager, "assess", json!({"assessed_on": "2026-11-20", "assessor": "评估公司", "report_no": "PG-1"})),
        (&manager, "submit", json!({"papers": "登记表", "fire_told_on": "2026-11-23"})),
        (&supervisor, "file", filing),
    ]) {
        post(node, by, &format!("{path}/{transition}"), json!({"revision": revision, "fields": fields})).await.ok(200);
    }
}

#[tokio::test]
async fn a_node_that_cannot_take_it_says_why_and_nothing_is_half_there() {
    let net = two().await;
    let (county, town) = (&net.county, &net.town);
    let enterprise = county.enterprise("E1", HERE).await;
    let manager = county.person("manager", json!([{"role": "safety_manager", "enterprise": enterprise}])).await;
    let danger = report(county, &manager, &enterprise, json!({})).await;
    file(county, &enterprise, "BA-1").await;
    // The township has filed something under the same number.
    let owner = town.enterprise("E1", HERE).await;
    file(town, &owner, "BA-1").await;
    net.up().await;
    net.give(&enterprise).await.ok(201);
    net.down().await;
    assert_eq!(town.get(DANGERS).await["records"], json!([]), "all or nothing");
    net.up().await;
    for node in [town, county] {
        let refused = node.get("/api/v1/transfers").await["transfers"][0].clone();
        assert_eq!((&refused["state"], &refused["reasons"][0]["code"]), (&json!("refused"), &json!("register.key_taken")), "{refused}");
    }
    // The county goes on as if nothing had been.
    let path = format!("{DANGERS}/{danger}/transitions/rate");
    post(county, &manager, &path, json!({"revision": 1, "fields": {"level": "general"}})).await.ok(200);
}
