//! Records of a node below, through the API of the one above: shown as copies, read-only, and gone when they may no longer be there.

mod common;

use std::path::Path;

use anlan_app::Settings;
use anlan_model::{Clock as _, NodeId, NodeLevel, RegionCode, Scope};
use anlan_store::{Neighbour, Peer, UP};
use common::{ELSEWHERE, HERE, Node, ask, node_with, settings, text};
use serde_json::{Value, json};

const DRILL: &str = r#"
kind = "fire_drill"
name = "消防演练"
name_en = "Fire drill"
standard = "某市消防条例"
confidence = "unverified"
start = "draft"
exchange = "county"
number = "YL-{region}-{year}-{seq:3}"
title = "subject"
search = ["subject"]
list = ["phone", "leader", "minutes"]
filter = ["leader", "minutes"]
field = [
    { id = "subject", name = "科目", name_en = "Subject", type = "text" },
    { id = "phone", name = "电话", name_en = "Telephone", type = "text", exchange = "none" },
    { id = "leader", name = "组织人", name_en = "Leader", type = "person" },
    { id = "minutes", name = "用时", name_en = "Minutes", type = "number", unit = "min" },
]
state = [
    { id = "draft", name = "草稿", name_en = "Draft" },
    { id = "planned", name = "已计划", name_en = "Planned", task = ["safety_manager"], deadline = { days = 3 }, deadline_confidence = "product" },
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
may = ["phone", "leader", "minutes"]
[[transition]]
id = "hold"
name = "演练"
name_en = "Hold"
from = ["planned"]
to = "held"
who = ["safety_manager"]
"#;

fn write_pack(folder: &Path, register: &str) {
    let to = folder.join("drills/registers/fire_drill");
    std::fs::create_dir_all(&to).unwrap();
    let meta = "id = \"drills\"\nname = \"演练\"\nname_en = \"Drills\"\nversion = \"1\"\npublisher = \"某市\"\n";
    std::fs::write(folder.join("drills/pack.toml"), meta).unwrap();
    std::fs::write(to.join("register.toml"), register).unwrap();
    let cases = "[[case]]\nname = \"planned and held\"\nacts = [{ do = \"plan\", by = \"li\", as = \"safety_manager\", on = \"2026-03-02\", set = { subject = \"x\" } }, { do = \"hold\", by = \"li\", as = \"safety_manager\", on = \"2026-03-02\" }]\nends = \"held\"\n";
    std::fs::write(to.join("cases.toml"), cases).unwrap();
}

async fn enable(node: &Node) {
    let hash = json!({"hash": node.pack("drills").await["hash"]});
    assert_eq!(node.admin("POST", "/api/v1/packs/drills/enable", hash).await.status, 204);
}

/// A county, and a township below it that has told nothing yet.
async fn two(county_packs: &Path, town_packs: &Path) -> (Node, Node, Peer) {
    let with = |folder: &Path| Settings { packs: Some(folder.to_owned()), ..settings() };
    let (county, town) = (node_with(with(county_packs)).await, node_with(with(town_packs)).await);
    let id: NodeId = county.child(HERE).await.0.parse().unwrap();
    let now = town.app.clock.now();
    let region = RegionCode::new(HERE).unwrap();
    town.app.store.put_self(id, "镇安监站", NodeLevel::Township, Some(&region), now).await.unwrap();
    let above = Neighbour {
        id: NodeId::new(1),
        name: "县局".into(),
        level: NodeLevel::County,
        region: Some(region.clone()),
        enterprise: None,
        fingerprint: "x".into(),
        address: None,
    };
    town.app.store.put_parent(&Scope::node(), &above, now).await.unwrap();
    (county, town, Peer { id, level: NodeLevel::Township, region: Some(region), enterprise: None })
}

async fn carry(town: &Node, county: &Node, peer: &Peer) {
    let after = county.app.store.inbox(peer.id).await.unwrap().feed;
    let entries = town.app.store.feed(UP, after, 500).await.unwrap();
    let Some(last) = entries.last() else { return };
    let applied = county.app.store.apply_feed(peer, after, last.seq, &entries, county.app.clock.now()).await.unwrap();
    assert!(applied.refused.is_empty(), "{applied:?}");
    let enterprises = applied.enterprises.iter().map(|e| anlan_app::registry::Touched::Enterprise(*e));
    county.app.registry.renew(enterprises).await.unwrap();
}

const DRILLS: &str = "/api/v1/registers/fire_drill/records";

#[tokio::test]
async fn a_record_of_a_node_below_is_shown_as_a_copy_and_changed_there() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_pack(here.path(), DRILL);
    write_pack(there.path(), DRILL);
    let (county, town, peer) = two(here.path(), there.path()).await;
    enable(&town).await;
    let enterprise = town.enterprise("E7", HERE).await;
    let manager = town.person("manager", json!([{"role": "safety_manager", "enterprise": enterprise}])).await;
    let leader = text(&ask(&town.router, "GET", "/api/v1/session", Some(&manager), None).await.ok(200)["user"]["id"]);
    let fields = json!({"subject": "灭火", "phone": "0877-1", "leader": leader, "minutes": 20});
    let body = json!({"enterprise": enterprise, "transition": "plan", "fields": fields});
    let id = text(&ask(&town.router, "POST", DRILLS, Some(&manager), Some(body)).await.ok(201)["id"]);
    carry(&town, &county, &peer).await;

    // Kept while nobody here knows what it is, and shown once its register is on.
    assert_eq!(county.admin("GET", DRILLS, Value::Null).await.code(404), "register.unknown");
    enable(&county).await;
    let list = county.get(DRILLS).await;
    let row = &list["records"][0];
    let home = json!({"id": peer.id.to_string(), "name": "镇安监站", "told_at": row["home"]["told_at"], "record": id, "state_name": "已计划", "state_name_en": "Planned"});
    assert_eq!((&row["home"], &row["title"], &row["state"]), (&home, &json!("灭火"), &json!("planned")));
    assert_eq!(row["fields"], json!({"subject": "灭火", "leader": "manager", "minutes": 20.0}));
    assert_eq!((&list["people"], &row["due_on"], &row["number"]), (&json!({}), &json!("2026-11-26"), &json!("YL-530402-2026-001")));
    let at = format!("{DRILLS}/{}", text(&row["id"]));
    let detail = county.get(&at).await;
    let act = json!([{"transition": "plan", "name": "计划", "name_en": "Plan", "by": "manager", "on": "2026-11-23"}]);
    assert_eq!((&detail["acts"], &detail["possible"], &detail["blocked"], &detail["left_out"]), (&act, &json!([]), &json!([]), &json!([])));
    let history = county.get(&format!("{at}/history")).await;
    assert_eq!((&history["entries"][0]["action"], history["entries"].as_array().unwrap().len()), (&json!("receive"), 1));
    // What a name of digits would name here is nobody's business: nothing is looked up.
    assert_eq!((&detail["people"], &detail["references"]), (&json!({}), &json!({})));

    // Nobody takes a step here: not whoever may there, and not whoever sees everything.
    let owner = text(&row["enterprise"]["id"]);
    let local = county.person("local", json!([{"role": "safety_manager", "enterprise": owner}])).await;
    for token in [local.clone(), county.sign_in("admin").await] {
        let step = format!("{at}/transitions/hold");
        let answer = ask(&county.router, "POST", &step, Some(&token), Some(json!({"revision": 1}))).await;
        assert_eq!(answer.code(409), "node.elsewhere");
        assert!(answer.body["errors"][0].to_string().contains("镇安监站"), "{}", answer.body);
    }
    let tasks = ask(&county.router, "GET", "/api/v1/tasks", Some(&local), None).await.ok(200);
    assert_eq!(tasks["tasks"], json!([]));
    let outsider = county.person("outsider", json!([{"role": "supervisor", "region": ELSEWHERE}])).await;
    for path in [at.clone(), format!("{at}/history")] {
        ask(&county.router, "GET", &path, Some(&outsider), None).await.code(404);
    }
    assert_eq!(ask(&county.router, "GET", DRILLS, Some(&outsider), None).await.ok(200)["records"], json!([]));
    ask(&county.router, "POST", &format!("{at}/transitions/hold"), Some(&outsider), Some(json!({"revision": 1}))).await.code(404);
    // It is found, counted and late like any other.
    for (query, n) in
        [("q=灭火", 1), ("q=0877", 0), ("f.minutes.from=10", 1), ("f.minutes.from=30", 0), ("open=true", 1), ("overdue=true", 0)]
    {
        assert_eq!(
            county.get(&format!("{DRILLS}?{}", query.replace("灭火", "%E7%81%AD%E7%81%AB"))).await["records"].as_array().unwrap().len(),
            n,
            "{query}"
        );
    }
    let registers = county.get("/api/v1/registers").await;
    let summary = registers["registers"].as_array().unwrap().iter().find(|r| r["kind"] == "fire_drill").unwrap();
    assert_eq!(summary["open"], json!(1));
    // How far a register and its fields go.
    let register = county.get("/api/v1/registers/fire_drill").await;
    assert_eq!(
        (&register["exchange"], &register["fields"][1]["exchange"], &register["fields"][0]["exchange"]),
        (&json!("county"), &json!("none"), &Value::Null)
    );

    // A step there.
    let step = format!("{DRILLS}/{id}/transitions/hold");
    ask(&town.router, "POST", &step, Some(&manager), Some(json!({"revision": 1}))).await.ok(200);
    carry(&town, &county, &peer).await;
    let detail = county.get(&at).await;
    assert_eq!((&detail["state"], &detail["revision"], detail["acts"].as_array().unwrap().len()), (&json!("held"), &json!(2), 2));

    // Switched on again here as another version, copies are as they were, whatever state that knows.
    write_pack(here.path(), &DRILL.replace("held", "done"));
    let cases = std::fs::read_to_string(here.path().join("drills/registers/fire_drill/cases.toml")).unwrap();
    std::fs::write(here.path().join("drills/registers/fire_drill/cases.toml"), cases.replace("held", "done")).unwrap();
    enable(&county).await;
    let detail = county.get(&at).await;
    assert_eq!((&detail["state"], &detail["home"]["state_name"], &detail["revision"]), (&json!("held"), &json!("已演练"), &json!(2)));

    // There it says now that they stay.
    write_pack(there.path(), &DRILL.replace("exchange = \"county\"", "exchange = \"none\""));
    enable(&town).await;
    carry(&town, &county, &peer).await;
    assert_eq!(county.get(DRILLS).await["records"], json!([]));
    assert_eq!(county.admin("GET", &at, Value::Null).await.status, 404);
    assert_eq!(town.get(DRILLS).await["records"].as_array().unwrap().len(), 1);
    for node in [&county, &town] {
        assert_eq!(node.app.store.verify_records().await.unwrap().1, []);
    }
}
