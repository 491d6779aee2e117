//! Records between nodes, on both databases: as much as may go goes, a copy is read-only, and what may no longer go is gone above too.

use std::sync::Arc;

use anlan_domain::register::search::Search;
use anlan_domain::register::{IndexEntry, Kind};
use anlan_model::noun::{Enterprise, Grant};
use anlan_model::{EnterpriseId, NodeId, NodeLevel, RecordId, RegionCode, Role, Scope, Timestamp, UserId};
use anlan_store::testing::{number, on_both, on_both_at, sqlite_url, tamper};
use anlan_store::*;
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_secs(1_764_000_000);
const CITY: NodeId = NodeId::new(0xc1);
const COUNTY: NodeId = NodeId::new(0xaaaa_aaaa_0000_0000_0000_0000_0000_0002);
const PLANT: NodeId = NodeId::new(0xbbbb_bbbb_0000_0000_0000_0000_0000_0003);
const EXAMPLE: &str = include_str!("../testdata/feed/record_v1.json");

const LISTING: &str = r#"
kind = "listing"
name = "挂牌"
name_en = "Listing"
standard = "x"
confidence = "product"
start = "draft"
exchange = "city"
title = "subject"
search = ["subject"]
filter = ["due_on", "responsible", "funds_yuan", "clause"]
field = [
    { id = "subject", name = "内容", name_en = "Subject", type = "text" },
    { id = "responsible", name = "责任人", name_en = "Person", type = "person" },
    { id = "phone", name = "电话", name_en = "Telephone", type = "text", exchange = "none" },
    { id = "funds_yuan", name = "资金", name_en = "Funds", type = "number", unit = "元", exchange = "county" },
    { id = "due_on", name = "期限", name_en = "Until", type = "date" },
    { id = "measures", name = "措施", name_en = "Measures", type = "text", max = 20000 },
    { id = "goal", name = "目标", name_en = "Goal", type = "text", max = 20000 },
    { id = "photos", name = "照片", name_en = "Photos", type = "file" },
    { id = "danger", name = "隐患", name_en = "Danger", type = "record", of = "danger" },
    { id = "clause", name = "条款", name_en = "Clause", type = "record", of = "clause" },
]
state = [
    { id = "draft", name = "草稿", name_en = "Draft" },
    { id = "listed", name = "督办中", name_en = "Listed" },
    { id = "delisted", name = "已摘牌", name_en = "Delisted", end = true },
]
[[transition]]
id = "list"
name = "挂牌"
name_en = "List it"
from = ["draft"]
to = "listed"
who = ["supervisor"]
[[transition]]
id = "delist"
name = "摘牌"
name_en = "Delist it"
from = ["listed"]
to = "delisted"
who = ["supervisor"]
"#;

fn listing(exchange: &str) -> Arc<Kind> {
    let text = LISTING.replacen("exchange = \"city\"", &format!("exchange = \"{exchange}\""), 1);
    // What goes less far than its register is what this is about.
    let text = if exchange == "none" { text.replace("exchange = \"county\" }", "}") } else { text };
    Arc::new(Kind::parse(&text).unwrap_or_else(|breaches| panic!("{breaches:?}")))
}

/// Of the same shape, everybody's or an enterprise's that says nothing of exchange.
fn registers(exchange: &str) -> Vec<Arc<Kind>> {
    let plain = |kind: &str, owner: &str| {
        let text =
            LISTING.replace("kind = \"listing\"", &format!("kind = \"{kind}\"\nowner = \"{owner}\"")).replace("exchange = \"city\"", "");
        let text: Vec<&str> =
            text.lines().filter(|line| !["person", "county", "none", "record"].iter().any(|word| line.contains(word))).collect();
        let text = text.join("\n").replace("[\"due_on\", \"responsible\", \"funds_yuan\", \"clause\"]", "[\"due_on\"]");
        let text = if text.contains("filter") {
            text
        } else {
            text.replace("search = [\"subject\"]", "search = [\"subject\"]\nfilter = [\"due_on\"]")
        };
        Arc::new(Kind::parse(&text).unwrap_or_else(|breaches| panic!("{breaches:?}")))
    };
    vec![listing(exchange), plain("danger", "enterprise"), plain("clause", "everyone")]
}

fn region(code: &str) -> RegionCode {
    RegionCode::new(code).unwrap()
}
fn later(s: i64) -> Timestamp {
    NOW.plus_us(s * 1_000_000)
}
fn admin() -> Scope {
    Scope { name: "管理员".into(), ..Scope::node() }
}
fn any() -> RecordFilter {
    RecordFilter::default()
}

async fn other() -> (Store, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (Store::open(&sqlite_url(directory.path())).await.unwrap(), directory)
}

async fn be(store: &Store, id: NodeId, name: &str, level: NodeLevel, of: Option<&str>) {
    store.put_self(id, name, level, of.map(region).as_ref(), NOW).await.unwrap();
    store.set_registers(registers("city"));
}

async fn made(store: &Store, code: &str, of: &str) -> Enterprise {
    let new = NewEnterprise { code: code.into(), name: format!("{code}化工"), region: region(of), sector: "hazchem".into(), place: None };
    store.create_enterprise(&Scope::node(), &new, NOW).await.unwrap()
}

/// Lets a node in below `parent`, and tells it of its parent; as pairing does.
async fn join(parent: &Store, child: &Store, id: NodeId, level: NodeLevel, of: Option<&str>, enterprise: Option<EnterpriseId>) {
    let secret = [id.get() as u8; 16];
    let new = NewInvitation { name: format!("{id}"), level, region: of.map(region), enterprise, secret, expires_at: later(3_600) };
    let made = parent.invite(&admin(), &new, NOW, NOW).await.unwrap();
    assert!(matches!(parent.claim_invitation(&secret, id, b"key", NOW, NOW).await.unwrap(), Claim::Held(_)));
    let admission = Admission { certificate: "PEM".into(), fingerprint: "ab".into(), serial: "01".into(), not_after: later(86_400 * 90) };
    parent.confirm_invitation(&admin(), made.id, &admission, NOW).await.unwrap();
    stand_below(child, parent).await;
}

async fn stand_below(child: &Store, parent: &Store) {
    let row = parent.node(&Scope::node(), parent.own_node().unwrap()).await.unwrap();
    let (id, name, level, region) = (row.id, row.name, row.level, row.region);
    let above = Neighbour { id, name, level, region, enterprise: None, fingerprint: "cd".into(), address: None };
    child.put_parent(&admin(), &above, NOW).await.unwrap();
}

fn peer(id: NodeId, level: NodeLevel, of: Option<&str>, enterprise: Option<&str>) -> Peer {
    Peer { id, level, region: of.map(region), enterprise: enterprise.map(str::to_owned) }
}
fn plant_peer() -> Peer {
    peer(PLANT, NodeLevel::Enterprise, None, Some("E1"))
}
fn county_peer() -> Peer {
    peer(COUNTY, NodeLevel::County, Some("530402"), None)
}

/// Carries everything of a way that the receiver lacks; what was refused.
async fn carry(from: &Store, way: &str, to: &Store, as_: &Peer, now: Timestamp) -> Vec<Refused> {
    let mut refused = Vec::new();
    loop {
        let after = to.inbox(as_.id).await.unwrap().feed;
        let entries = from.feed(way, after, 7).await.unwrap();
        let Some(last) = entries.last() else { return refused };
        let applied = to.apply_feed(as_, after, last.seq, &entries, now).await.unwrap();
        assert!(applied.is_new);
        refused.extend(applied.refused);
    }
}

/// A county, and below it a plant.
async fn plant_below(county: &Store) -> (Store, tempfile::TempDir, EnterpriseId) {
    let (plant, dir) = other().await;
    be(county, COUNTY, "县局", NodeLevel::County, Some("530402")).await;
    be(&plant, PLANT, "甲厂", NodeLevel::Enterprise, None).await;
    let here = made(county, "E1", "530402").await;
    let there = made(&plant, "E1", "530402").await;
    join(county, &plant, PLANT, NodeLevel::Enterprise, None, Some(here.id)).await;
    (plant, dir, there.id)
}

async fn user(store: &Store, name: &str) -> UserId {
    let grants = vec![Grant { role: Role::Supervisor, region: None, sector: None, enterprise: None }];
    let new = NewUser { username: format!("u{}", name.len()), name: name.into(), password: "x".into(), grants };
    store.create_user(&Scope::node(), &new, NOW).await.unwrap().id
}

fn put(subject: &str, fields: Value, acts: Value) -> RecordPut {
    let mut all = fields;
    all["subject"] = json!(subject);
    RecordPut {
        number: "GP-530402-2026-0001".into(),
        title: subject.into(),
        state: "listed".into(),
        is_open: true,
        due_on: Some("2026-12-31".into()),
        key: Some(subject.into()),
        texts: vec![subject.into()],
        index: vec![IndexEntry { field: "due_on".into(), text: Some("2026-12-31".into()), number: None }],
        body: json!({"fields": all, "acts": acts, "entered_on": "2026-11-23"}),
        ..RecordPut::default()
    }
}

async fn make(store: &Store, kind: &str, enterprise: EnterpriseId, put: &RecordPut, above: Option<RecordId>) -> RecordId {
    let node = Scope::node();
    let mut change = store.change_records(&node, NOW).await.unwrap();
    let owner = change.owner(enterprise).await.unwrap();
    let id = change.create(kind, &owner, above, put, json!({"transition": "list"})).await.unwrap();
    change.commit().await.unwrap();
    id
}

async fn act(store: &Store, id: RecordId, put: &RecordPut, now: Timestamp) {
    let node = Scope::node();
    let mut change = store.change_records(&node, now).await.unwrap();
    let row = change.record("listing", id).await.unwrap();
    change.update(&row, row.revision, put, json!({"transition": "delist"})).await.unwrap();
    change.commit().await.unwrap();
}

async fn all(store: &Store) -> Vec<RecordRow> {
    store.records(&Scope::node(), "listing", &any(), &Paging::all()).await.unwrap().items
}

async fn only(store: &Store) -> RecordRow {
    let mut rows = all(store).await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.remove(0)
}

async fn is_sound(store: &Store) {
    assert!(store.verify_audit(None).await.unwrap().complete);
    assert_eq!(store.verify_records().await.unwrap().1, []);
}

fn told(store_entries: &[FeedEntry]) -> Vec<(String, Value)> {
    let records = store_entries.iter().filter(|entry| entry.kind == "record");
    records.map(|entry| (entry.subject.clone(), serde_json::from_str(&entry.body).unwrap())).collect()
}

#[tokio::test]
async fn a_record_goes_up_as_far_as_it_may_and_stands_there_read_only() {
    on_both(|county| async move {
        let (plant, _p, e) = plant_below(&county).await;
        let (city, _c) = other().await;
        be(&city, CITY, "市局", NodeLevel::City, Some("5304")).await;
        join(&city, &county, COUNTY, NodeLevel::County, Some("530402"), None).await;
        let who = user(&plant, "张三").await;
        let clause = {
            let node = Scope::node();
            let mut change = plant.change_records(&node, NOW).await.unwrap();
            let everyones = RecordOwner { enterprise: None, region: None, sector: None, names: vec![] };
            let id = change.create("clause", &everyones, None, &put("安全生产法 第41条", json!({}), json!([])), json!({})).await.unwrap();
            change.commit().await.unwrap();
            id
        };
        let danger = make(&plant, "danger", e, &put("内部隐患", json!({}), json!([])), None).await;
        let file = NewAttachment { by: who, at: NOW, name: "阀门.jpg".into(), media_type: "image/jpeg".into(), bytes: 9, sha256: "ab".into() };
        let file = plant.put_attachment(&file).await.unwrap();
        let fields = json!({"responsible": who.to_string(), "phone": "0877-1", "funds_yuan": 30.5, "due_on": "2026-12-31", "measures": "接地",
            "photos": [file.id.to_string()], "danger": danger.to_string(), "clause": clause.to_string(), "unheard_of": "x"});
        let acts = json!([{"transition": "list", "by": who.to_string(), "on": "2026-11-23"}]);
        let id = make(&plant, "listing", e, &put("罐区无防雷", fields, acts), None).await;
        assert_eq!(carry(&plant, UP, &county, &plant_peer(), NOW).await, []);
        assert_eq!(carry(&county, UP, &city, &county_peer(), later(60)).await, []);

        let here = only(&county).await;
        let home = here.home.clone().unwrap();
        // Its name here is what it was invited under.
        assert_eq!((home.id, home.name.as_str(), home.told_at), (PLANT, PLANT.to_string().as_str(), NOW));
        assert_eq!((here.state.as_str(), here.is_open, here.due_on.as_deref(), here.revision), ("listed", true, Some("2026-12-31"), 1));
        assert_eq!((here.number.as_str(), here.enterprise_name.as_deref()), ("GP-530402-2026-0001", Some("E1化工")));
        let want = json!({"subject": "罐区无防雷", "responsible": "张三", "funds_yuan": 30.5, "due_on": "2026-12-31", "measures": "接地",
            "photos": [{"name": "阀门.jpg", "media_type": "image/jpeg", "bytes": 9, "sha256": "ab"}], "clause": "安全生产法 第41条"});
        assert_eq!(here.body["fields"], want, "no telephone, no title of what stays, nothing that nobody said anything of");
        assert_eq!(here.body["acts"], json!([{"transition": "list", "name": "挂牌", "name_en": "List it", "by": "张三", "on": "2026-11-23"}]));
        // At the city, which is behind the county.
        let above = only(&city).await;
        let mut narrower = want.clone();
        narrower.as_object_mut().unwrap().remove("funds_yuan");
        assert_eq!(above.body["fields"], narrower);
        assert_eq!((above.home.unwrap().id, above.created_at, above.updated_at), (PLANT, here.created_at, here.updated_at));
        assert!(!city.feed(UP, 0, 10).await.unwrap().iter().any(|entry| entry.body.contains("0877-1")));

        // Lists, counts and searches have it; the to-do list and the next word do not.
        let node = Scope::node();
        let find = |text: &str| RecordFilter { search: Search::parse(text), ..any() };
        for (filter, n) in [
            (find("防雷"), 1),
            (find("E1化工"), 1),
            (find("0877"), 0),
            (RecordFilter { fields: vec![("due_on".into(), FieldIs::Text("2026-12-31".into()))], ..any() }, 1),
            (RecordFilter { nameable: Some(Nameable { on: "2026-11-30".into(), ..Nameable::default() }), ..any() }, 0),
        ] {
            assert_eq!(county.records(&node, "listing", &filter, &Paging::all()).await.unwrap().items.len(), n, "{filter:?}");
        }
        let count = county.record_counts(&node, "2027-01-01", &[]).await.unwrap();
        assert_eq!(count, [RecordCount { kind: "listing".into(), open: 1, overdue: 1 }]);
        assert!(county.records_to_remind(&["listing".into()], "2099-01-01", 9).await.unwrap().is_empty());
        assert!(county.open_records_naming(&node, "listing", &["responsible"], who, RecordId::new(0), 9).await.unwrap().is_empty());
        let outsider = Scope { user: None, name: "x".into(), grants: vec![Grant { role: Role::Supervisor, region: Some(region("530423")), sector: None, enterprise: None }] };
        assert!(county.records(&outsider, "listing", &any(), &Paging::all()).await.unwrap().items.is_empty());

        // Read-only.
        let mut change = county.change_records(&node, later(70)).await.unwrap();
        let row = change.record("listing", here.id).await.unwrap();
        let written = change.update(&row, row.revision, &put("x", json!({}), json!([])), json!({})).await;
        assert!(matches!(written, Err(StoreError::Mirrored { .. })), "{written:?}");
        let told_of = change.escalated(&row, 1, None, json!({})).await;
        assert!(matches!(told_of, Err(StoreError::Mirrored { .. })), "{told_of:?}");
        drop(change);

        // A record of its own with the same key is no other's business.
        let own = make(&county, "listing", here.enterprise.unwrap(), &put("罐区无防雷", json!({}), json!([])), None).await;
        assert_ne!(own, here.id);
        // Everything once more changes nothing.
        let before = number(&county, "SELECT COUNT(*) AS n FROM audit").await;
        county.reset_inbox(PLANT).await.unwrap();
        assert_eq!(carry(&plant, UP, &county, &plant_peer(), later(80)).await, []);
        assert_eq!(number(&county, "SELECT COUNT(*) AS n FROM audit").await, before);
        assert_eq!(all(&county).await.iter().find(|row| row.home.is_some()), Some(&here));

        // A step below.
        let acts = json!([{"transition": "list", "by": who.to_string(), "on": "2026-11-23"}, {"transition": "delist", "by": "999", "on": "2026-11-24"}]);
        let closed = RecordPut { state: "delisted".into(), is_open: false, due_on: None, index: vec![], ..put("罐区已接地", json!({}), acts) };
        act(&plant, id, &closed, later(90)).await;
        assert_eq!(carry(&plant, UP, &county, &plant_peer(), later(91)).await, []);
        assert_eq!(carry(&county, UP, &city, &county_peer(), later(92)).await, []);
        let gone = RecordFilter { fields: vec![("due_on".into(), FieldIs::Text("2026-12-31".into()))], ..any() };
        for store in [&county, &city] {
            let copies = all(store).await.into_iter().filter(|row| row.home.as_ref().is_some_and(|home| home.id == PLANT));
            let copies: Vec<RecordRow> = copies.collect();
            assert_eq!((copies.len(), copies[0].state.as_str(), copies[0].revision, copies[0].title.as_str()), (1, "delisted", 2, "罐区已接地"));
            assert_eq!(copies[0].body["acts"][1]["by"], json!(""), "who is gone has no name");
            let mut found = store.records(&Scope::node(), "listing", &gone, &Paging::all()).await.unwrap().items;
            found.retain(|row| row.id == copies[0].id);
            assert_eq!(found, [], "what it was found by is gone");
            is_sound(store).await;
        }
        // The county's own record went up as its own.
        assert_eq!(all(&city).await.iter().filter(|row| row.home.as_ref().unwrap().id == COUNTY).count(), 1);
    })
    .await;
}

#[tokio::test]
async fn what_may_no_longer_go_is_withdrawn_at_every_level() {
    on_both(|county| async move {
        let (plant, _p, e) = plant_below(&county).await;
        let (city, _c) = other().await;
        be(&city, CITY, "市局", NodeLevel::City, Some("5304")).await;
        join(&city, &county, COUNTY, NodeLevel::County, Some("530402"), None).await;
        let round = async |s: i64| {
            assert_eq!(carry(&plant, UP, &county, &plant_peer(), later(s)).await, []);
            assert_eq!(carry(&county, UP, &city, &county_peer(), later(s + 1)).await, []);
            (all(&county).await.len(), all(&city).await.len())
        };
        let above = make(&plant, "listing", e, &put("甲", json!({"funds_yuan": 1.0}), json!([])), None).await;
        make(&plant, "listing", e, &put("乙", json!({}), json!([])), Some(above)).await;
        // One that stays, and nothing is said of it.
        make(&plant, "danger", e, &put("丙", json!({}), json!([])), None).await;
        assert_eq!(round(10).await, (2, 2));
        let said = told(&plant.feed(UP, 0, 100).await.unwrap());
        assert_eq!(said.len(), 2, "{said:?}");
        let end = plant.feed_end(UP).await.unwrap();
        // The same register again says nothing new.
        plant.tell_records("listing", later(20)).await.unwrap();
        assert_eq!(plant.feed_end(UP).await.unwrap(), end);
        // Only to the county from now on.
        plant.set_registers(registers("county"));
        plant.tell_records("listing", later(30)).await.unwrap();
        assert_eq!(round(40).await, (2, 0));
        is_sound(&city).await;
        assert_eq!(number(&city, "SELECT COUNT(*) AS n FROM record_gram").await, 0);
        // Nowhere.
        plant.set_registers(registers("none"));
        plant.tell_records("listing", later(50)).await.unwrap();
        let said = told(&plant.feed(UP, 0, 100).await.unwrap());
        assert_eq!(said[0], (format!("{PLANT}/{above}"), json!({"id": above.get(), "kind": "listing", "withdrawn": true})));
        assert_eq!(round(60).await, (0, 0));
        for store in [&plant, &county, &city] {
            is_sound(store).await;
        }
        // A register that is off says nothing: what was told stays told.
        plant.set_registers(registers("city"));
        plant.tell_records("listing", later(70)).await.unwrap();
        assert_eq!(round(80).await, (2, 2));
        plant.set_registers([]);
        plant.tell_records("listing", later(90)).await.unwrap();
        assert_eq!(round(95).await, (2, 2));
        // Those below one another are so again.
        let rows = all(&city).await;
        let below = rows.iter().find(|row| row.title == "乙").unwrap();
        assert_eq!(below.parent.as_ref().map(|(.., title)| title.as_str()), Some("甲"));
        // A new parent hears what goes as far as its level, and no withdrawals.
        plant.set_registers(registers("county"));
        plant.leave_parent(&admin(), later(100)).await.unwrap();
        let city_above = Neighbour {
            id: NodeId::new(0xd1),
            name: "市局".into(),
            level: NodeLevel::City,
            region: None,
            enterprise: None,
            fingerprint: "cd".into(),
            address: None,
        };
        plant.put_parent(&admin(), &city_above, later(100)).await.unwrap();
        assert_eq!(told(&plant.feed(UP, 0, 100).await.unwrap()), []);
    })
    .await;
}

/// An entry of the plant as nobody honest writes it.
fn entry(subject: &str, body: &Value) -> FeedEntry {
    FeedEntry { seq: 0, kind: "record".into(), subject: subject.into(), body: body.to_string() }
}

#[tokio::test]
async fn a_copy_is_taken_as_far_as_the_certificate_vouches_and_as_it_is_sound() {
    on_both(|county| async move {
        let (_plant, _p, _) = plant_below(&county).await;
        let example: Value = serde_json::from_str(EXAMPLE).unwrap();
        let own = format!("{PLANT}/7");
        let with = |changes: &[(&str, Value)]| {
            let mut body = example.clone();
            for (at, value) in changes {
                *body.pointer_mut(at).unwrap_or_else(|| panic!("{at}")) = value.clone();
            }
            body
        };
        let stranger = json!({"id": null, "code": "E2", "name": "乙厂", "region": "530402", "sector": "", "lon": null, "lat": null});
        let bad = [
            (format!("{COUNTY}/7"), with(&[]), "origin"),
            (format!("{CITY}/7"), with(&[]), "origin"),
            (own.clone(), with(&[("/id", json!(8))]), "subject"),
            (own.clone(), with(&[("/enterprise", stranger)]), "territory"),
            (own.clone(), with(&[("/enterprise", Value::Null)]), "territory"),
            (own.clone(), with(&[("/enterprise", Value::Null), ("/region", json!("530402"))]), "territory"),
            (own.clone(), with(&[("/title", json!("a\u{0}b"))]), "body"),
            (own.clone(), with(&[("/state", json!("Listed!"))]), "body"),
            (own.clone(), with(&[("/due_on", json!("2026-02-30"))]), "body"),
            (own.clone(), with(&[("/entered_on", json!("gestern"))]), "body"),
            (own.clone(), with(&[("/acts/0/on", json!("2026-11-31"))]), "body"),
            (own.clone(), with(&[("/fields/subject", json!("a\u{0}b"))]), "body"),
            (own.clone(), with(&[("/fields/subject", json!([[[1]]]))]), "body"),
            (own.clone(), with(&[("/fields/subject", json!(true))]), "body"),
            (own.clone(), with(&[("/index/0/text", json!("x".repeat(101)))]), "body"),
            (own.clone(), with(&[("/text", json!("x".repeat(2_001)))]), "body"),
            (own.clone(), with(&[("/revision", json!(0))]), "body"),
            (own.clone(), with(&[("/fields/subject", json!("x".repeat(66_000)))]), "size"),
            (own.clone(), json!({"id": 7}), "body"),
        ];
        let mut upto = 0;
        for (subject, body, why) in bad {
            let after = upto;
            upto += 1;
            let applied = county.apply_feed(&plant_peer(), after, upto, &[entry(&subject, &body)], NOW).await.unwrap();
            let reasons: Vec<&str> = applied.refused.iter().map(|refused| refused.reason).collect();
            assert_eq!(reasons, [why], "{body}");
            assert!(applied.records.is_empty());
        }
        assert_eq!(all(&county).await, []);
        assert_eq!(number(&county, "SELECT COUNT(*) AS n FROM mirror WHERE kind = 'record'").await, 0);
        // What the release that first told of records wrote is read for ever; twice the same in an index is once.
        let mut first = example.clone();
        let twice = first["index"][0].clone();
        first["index"].as_array_mut().unwrap().push(twice);
        let entries = [entry(&own, &first)];
        let applied = county.apply_feed(&plant_peer(), upto, upto + 1, &entries, NOW).await.unwrap();
        assert_eq!((applied.refused.as_slice(), applied.records.len()), (&[][..], 1));
        let row = only(&county).await;
        assert_eq!(row.body["fields"], example["fields"]);
        // With as little as may be said.
        let mut least = example.clone();
        for optional in ["state_name", "state_name_en", "above", "text", "index", "left_out"] {
            least.as_object_mut().unwrap().remove(optional);
        }
        least["revision"] = json!(3);
        county.apply_feed(&plant_peer(), upto + 1, upto + 2, &[entry(&own, &least)], NOW).await.unwrap();
        assert_eq!((only(&county).await.revision, only(&county).await.id), (3, row.id));
        // Another node's withdrawal is none.
        let withdrawn = json!({"id": 7, "kind": "listing", "withdrawn": true});
        let other = [
            entry(&format!("{COUNTY}/7"), &withdrawn),
            entry(&format!("{PLANT}/8"), &json!({"id": 8, "kind": "listing", "withdrawn": true})),
        ];
        county.apply_feed(&plant_peer(), upto + 2, upto + 3, &other, NOW).await.unwrap();
        assert_eq!(all(&county).await.len(), 1);
        county.apply_feed(&plant_peer(), upto + 3, upto + 4, &[entry(&own, &withdrawn)], NOW).await.unwrap();
        assert_eq!(all(&county).await, []);
        is_sound(&county).await;
    })
    .await;
}

#[tokio::test]
async fn a_restored_child_takes_nothing_over_and_goes_back_as_it_says() {
    on_both(|county| async move {
        let (plant, _p, e) = plant_below(&county).await;
        let first = make(&plant, "listing", e, &put("甲", json!({}), json!([])), None).await;
        act(&plant, first, &put("甲二", json!({}), json!([])), later(5)).await;
        assert_eq!(carry(&plant, UP, &county, &plant_peer(), later(6)).await, []);
        let before = only(&county).await;
        assert_eq!(before.revision, 2);
        // It was put back to a backup of before, and has gone another way since: its first record is as it was, under its id.
        let (restored, _r) = other().await;
        be(&restored, PLANT, "甲厂", NodeLevel::Enterprise, None).await;
        let e = made(&restored, "E1", "530402").await.id;
        stand_below(&restored, &county).await;
        assert_eq!(make(&restored, "listing", e, &put("甲", json!({}), json!([])), None).await, first);
        county.reset_inbox(PLANT).await.unwrap();
        assert_eq!(carry(&restored, UP, &county, &plant_peer(), later(10)).await, []);
        let back = only(&county).await;
        assert_eq!((back.id, back.revision, back.title.as_str()), (before.id, 1, "甲"));
        // It has forgotten all of it, and gives the id to another record.
        let (anew, _a) = other().await;
        be(&anew, PLANT, "甲厂", NodeLevel::Enterprise, None).await;
        let e = made(&anew, "E1", "530402").await.id;
        stand_below(&anew, &county).await;
        let node = Scope::node();
        let mut change = anew.change_records(&node, later(20)).await.unwrap();
        let owner = change.owner(e).await.unwrap();
        assert_eq!(change.create("listing", &owner, None, &put("乙", json!({}), json!([])), json!({})).await.unwrap(), first);
        change.commit().await.unwrap();
        county.reset_inbox(PLANT).await.unwrap();
        assert_eq!(carry(&anew, UP, &county, &plant_peer(), later(30)).await, []);
        let titles: Vec<(RecordId, String)> = all(&county).await.into_iter().map(|row| (row.id, row.title)).collect();
        assert_eq!(titles.len(), 2);
        assert_eq!(titles[1], (before.id, "甲".to_owned()), "what it forgot stays, still");
        // The newer backup after all.
        county.reset_inbox(PLANT).await.unwrap();
        assert_eq!(carry(&plant, UP, &county, &plant_peer(), later(40)).await, []);
        let rows = all(&county).await;
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[1].id, rows[1].title.as_str(), rows[1].revision), (before.id, "甲二", 2));
        is_sound(&county).await;
    })
    .await;
}

#[tokio::test]
async fn a_record_too_long_is_told_without_its_longest_fields() {
    on_both(|county| async move {
        let (plant, _p, e) = plant_below(&county).await;
        let long = |c: &str| c.repeat(16_000);
        let fields = json!({"measures": long("措"), "goal": long("a"), "due_on": "2026-12-31"});
        make(&plant, "listing", e, &put("甲", fields, json!([])), None).await;
        let acts: Vec<Value> =
            (0..300).map(|n| json!({"transition": "list", "by": "1", "on": format!("2026-01-{:02}", n % 28 + 1)})).collect();
        make(&plant, "listing", e, &put("乙", json!({}), json!(acts)), None).await;
        assert_eq!(carry(&plant, UP, &county, &plant_peer(), NOW).await, []);
        let rows = all(&county).await;
        assert_eq!(rows[1].body["left_out"], json!(["measures"]));
        assert_eq!(rows[1].body["fields"], json!({"subject": "甲", "goal": long("a"), "due_on": "2026-12-31"}));
        assert_eq!((&rows[0].body["left_out"], rows[0].body["acts"].as_array().unwrap().len()), (&json!(["@acts"]), 200));
    })
    .await;
}

#[tokio::test]
async fn copies_follow_their_enterprise_and_are_verified() {
    on_both_at(|county, url| async move {
        let (plant, _p, e) = plant_below(&county).await;
        make(&plant, "listing", e, &put("甲", json!({}), json!([])), None).await;
        assert_eq!(carry(&plant, UP, &county, &plant_peer(), NOW).await, []);
        let copy = only(&county).await;
        // Two files of one enterprise here become one.
        let into = made(&county, "E9", "530402").await;
        let from = copy.enterprise.unwrap();
        let wish = MergeWish {
            from,
            from_revision: county.enterprise(&Scope::node(), from).await.unwrap().enterprise.revision,
            into: into.id,
            into_revision: 1,
        };
        let merged = county.merge_enterprises(&admin(), &wish, false, later(5)).await.unwrap();
        assert_eq!(merged.changed, [copy.id]);
        let moved = only(&county).await;
        assert_eq!((moved.enterprise, moved.revision, moved.updated_at), (Some(into.id), copy.revision, copy.updated_at));
        is_sound(&county).await;
        // It moves with it.
        let revision = county.enterprise(&Scope::node(), into.id).await.unwrap().enterprise.revision;
        let change =
            EnterpriseChange { revision, name: Some("新名".into()), region: Some(region("530423")), ..EnterpriseChange::default() };
        let changed = county.update_enterprise(&admin(), into.id, &change, later(6)).await;
        assert!(changed.is_ok(), "{changed:?}");
        let moved = only(&county).await;
        assert_eq!((moved.region.as_ref().map(RegionCode::as_str), moved.enterprise_name.as_deref()), (Some("530423"), Some("新名")));
        let find = RecordFilter { search: Search::parse("新名"), ..any() };
        assert_eq!(county.records(&Scope::node(), "listing", &find, &Paging::all()).await.unwrap().items.len(), 1);
        is_sound(&county).await;
        // Behind the program's back.
        tamper(&url, "UPDATE record SET state = 'delisted' WHERE home IS NOT NULL").await;
        assert_eq!(county.verify_records().await.unwrap().1, [copy.id]);
        tamper(&url, "DELETE FROM record_gram; DELETE FROM record_index; DELETE FROM record WHERE home IS NOT NULL").await;
        assert_eq!(county.verify_records().await.unwrap().1, [copy.id]);
    })
    .await;
}

/// Number, title, state, revision and title of the record above, of each.
fn seen(rows: &[RecordRow]) -> Vec<(String, String, i64, Option<String>)> {
    let mut seen: Vec<_> =
        rows.iter().map(|row| (row.title.clone(), row.state.clone(), row.revision, row.parent.clone().map(|(.., title)| title))).collect();
    seen.sort();
    seen
}

/// Random changes of records, registers and enterprises below, carried in short pieces with repeats and new beginnings: in the end each level has what may be there,
/// as it is at home.
#[tokio::test]
async fn whatever_becomes_of_records_below_stands_above_in_the_end() {
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_130_u64);
    println!("SEED={seed}");
    on_both(|county| async move {
        let mut state = seed;
        let mut random = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        let (plant, _p, e) = plant_below(&county).await;
        let (city, _c) = other().await;
        be(&city, CITY, "市局", NodeLevel::City, Some("5304")).await;
        join(&city, &county, COUNTY, NodeLevel::County, Some("530402"), None).await;
        let mut ids: Vec<RecordId> = Vec::new();
        for step in 1..=120_i64 {
            match random(8) {
                0..=2 => {
                    let above = (!ids.is_empty() && random(2) == 0).then(|| ids[random(ids.len() as u64) as usize]);
                    ids.push(make(&plant, "listing", e, &put(&format!("新{step}"), json!({"funds_yuan": step}), json!([])), above).await);
                }
                3 | 4 if !ids.is_empty() => {
                    let id = ids[random(ids.len() as u64) as usize];
                    let state = if random(2) == 0 { "listed" } else { "delisted" };
                    let put =
                        RecordPut { state: state.into(), is_open: state == "listed", ..put(&format!("改{step}"), json!({}), json!([])) };
                    act(&plant, id, &put, later(step)).await;
                }
                5 => {
                    plant.set_registers(registers(["none", "county", "city"][random(3) as usize]));
                    plant.tell_records("listing", later(step)).await.unwrap();
                }
                6 => {
                    let row = plant.enterprise(&Scope::node(), e).await.unwrap().enterprise;
                    let change =
                        EnterpriseChange { revision: row.revision, name: Some(format!("厂{step}")), ..EnterpriseChange::default() };
                    plant.update_enterprise(&Scope::node(), e, &change, later(step)).await.unwrap();
                }
                _ => {}
            }
            let (from, to, peer) = if random(2) == 0 { (&plant, &county, plant_peer()) } else { (&county, &city, county_peer()) };
            match random(4) {
                0 => to.reset_inbox(peer.id).await.unwrap(),
                1 => {}
                n => {
                    let after = to.inbox(peer.id).await.unwrap().feed;
                    let entries = from.feed(UP, after, n as u32).await.unwrap();
                    if let Some(last) = entries.last() {
                        assert_eq!(to.apply_feed(&peer, after, last.seq, &entries, later(step)).await.unwrap().refused, []);
                        assert!(!to.apply_feed(&peer, after, last.seq, &entries, later(step)).await.unwrap().is_new, "a repeat");
                    }
                }
            }
        }
        for exchange in ["city", "county", "none", "city"] {
            plant.set_registers(registers(exchange));
            plant.tell_records("listing", later(200)).await.unwrap();
            for (from, to, peer) in [(&plant, &county, plant_peer()), (&county, &city, county_peer())] {
                assert_eq!(carry(from, UP, to, &peer, later(200)).await, []);
            }
            let want = seen(&all(&plant).await);
            assert!(want.len() > 20);
            let at = |reaches: bool| if reaches { want.clone() } else { Vec::new() };
            assert_eq!(seen(&all(&county).await), at(exchange != "none"), "{exchange}");
            assert_eq!(seen(&all(&city).await), at(exchange == "city"), "{exchange}");
            for store in [&plant, &county, &city] {
                is_sound(store).await;
            }
        }
    })
    .await;
}
