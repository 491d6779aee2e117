//! Transfer of home, on both databases: whoever takes it keeps it, nothing is there twice, nobody changes it meanwhile, and a node that was set back to a backup
//! knows its own word again.

use std::collections::BTreeMap;
use std::sync::Arc;

use anlan_domain::register::{IndexEntry, Kind};
use anlan_model::noun::{Enterprise, Grant};
use anlan_model::{EnterpriseId, NodeId, NodeLevel, RecordId, RegionCode, Role, Scope, Timestamp, TransferId, UserId};
use anlan_store::testing::{number, on_both, sqlite_url};
use anlan_store::*;
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_secs(1_764_000_000);
const CITY: NodeId = NodeId::new(0xc1);
const COUNTY: NodeId = NodeId::new(0xaaaa_aaaa_0000_0000_0000_0000_0000_0002);
const PLANT: NodeId = NodeId::new(0xbbbb_bbbb_0000_0000_0000_0000_0000_0003);
const ONE: TransferId = TransferId::new(0x0199_0000_0000_7000_8000_0000_0000_0001);
const TWO: TransferId = TransferId::new(0x0199_0000_0000_7000_8000_0000_0000_0002);

const DANGER: &str = r#"
kind = "danger"
name = "隐患"
name_en = "Danger"
standard = "x"
confidence = "product"
owner = "enterprise"
start = "draft"
exchange = "city"
title = "subject"
search = ["subject"]
filter = ["due_on"]
key = ["subject"]
field = [
    { id = "subject", name = "内容", name_en = "Subject", type = "text" },
    { id = "finder", name = "发现人", name_en = "Finder", type = "person" },
    { id = "due_on", name = "期限", name_en = "Until", type = "date" },
    { id = "photos", name = "照片", name_en = "Photos", type = "file" },
    { id = "like", name = "同类", name_en = "Like", type = "record", of = "danger" },
]
state = [
    { id = "draft", name = "草稿", name_en = "Draft" },
    { id = "listed", name = "待整改", name_en = "Open" },
    { id = "done", name = "已销号", name_en = "Done", end = true },
]
[[transition]]
id = "list"
name = "上报"
name_en = "Report"
from = ["draft"]
to = "listed"
who = ["safety_manager"]
[[transition]]
id = "close"
name = "销号"
name_en = "Close"
from = ["listed"]
to = "done"
who = ["supervisor"]
"#;

fn registers() -> Vec<Arc<Kind>> {
    let parse = |text: &str| Arc::new(Kind::parse(text).unwrap_or_else(|breaches| panic!("{breaches:?}")));
    let case = DANGER
        .replace("kind = \"danger\"", "kind = \"penalty\"")
        .replace("{ id = \"like\", name = \"同类\", name_en = \"Like\", type = \"record\", of = \"danger\" },\n", "");
    vec![parse(DANGER), parse(&case)]
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
fn kinds() -> Vec<String> {
    vec!["danger".into()]
}

async fn other() -> (Store, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (Store::open(&sqlite_url(directory.path())).await.unwrap(), directory)
}

async fn be(store: &Store, id: NodeId, name: &str, level: NodeLevel, of: Option<&str>) {
    store.put_self(id, name, level, of.map(region).as_ref(), NOW).await.unwrap();
    store.set_registers(registers());
}

async fn made(store: &Store, code: &str) -> Enterprise {
    let new =
        NewEnterprise { code: code.into(), name: format!("{code}化工"), region: region("530402"), sector: "hazchem".into(), place: None };
    store.create_enterprise(&Scope::node(), &new, NOW).await.unwrap()
}

async fn join(parent: &Store, child: &Store, id: NodeId, level: NodeLevel, of: Option<&str>, enterprise: Option<EnterpriseId>) {
    let secret = [id.get() as u8; 16];
    let new = NewInvitation { name: format!("{id}"), level, region: of.map(region), enterprise, secret, expires_at: later(3_600) };
    let made = parent.invite(&admin(), &new, NOW, NOW).await.unwrap();
    assert!(matches!(parent.claim_invitation(&secret, id, b"key", NOW, NOW).await.unwrap(), Claim::Held(_)));
    let admission = Admission { certificate: "PEM".into(), fingerprint: "ab".into(), serial: "01".into(), not_after: later(86_400 * 90) };
    parent.confirm_invitation(&admin(), made.id, &admission, NOW).await.unwrap();
    let row = parent.node(&Scope::node(), parent.own_node().unwrap()).await.unwrap();
    let (id, name, level, region) = (row.id, row.name, row.level, row.region);
    let above = Neighbour { id, name, level, region, enterprise: None, fingerprint: "cd".into(), address: None };
    child.put_parent(&admin(), &above, NOW).await.unwrap();
}

fn plant_peer() -> Peer {
    Peer { id: PLANT, level: NodeLevel::Enterprise, region: None, enterprise: Some("E1".into()) }
}
fn county_peer() -> Peer {
    Peer { id: COUNTY, level: NodeLevel::County, region: Some(region("530402")), enterprise: None }
}

/// Carries everything of a way that the receiver lacks; what it is to take, in the end.
async fn carry(from: &Store, way: &str, to: &Store, as_: &Peer, now: Timestamp) -> Vec<TransferId> {
    let mut transfers = Vec::new();
    loop {
        let after = to.inbox(as_.id).await.unwrap().feed;
        let entries = from.feed(way, after, 7).await.unwrap();
        let Some(last) = entries.last() else { return transfers };
        let applied = to.apply_feed(as_, after, last.seq, &entries, now).await.unwrap();
        assert!(applied.is_new);
        assert_eq!(applied.refused, []);
        transfers.extend(applied.transfers);
    }
}

async fn down(county: &Store, plant: &Store, now: Timestamp) -> Vec<TransferId> {
    carry(county, &PLANT.to_string(), plant, &county_peer(), now).await
}
async fn up(plant: &Store, county: &Store, now: Timestamp) {
    carry(plant, UP, county, &plant_peer(), now).await;
}

struct Levels {
    plant: Store,
    city: Store,
    at_county: EnterpriseId,
    at_plant: EnterpriseId,
    who: UserId,
    records: Vec<RecordId>,
    _dirs: [tempfile::TempDir; 2],
}

/// A city, a county that keeps an enterprise with four records (one below another, one that authorities began, one that names another), and a plant that joins.
async fn levels(county: &Store) -> Levels {
    let (plant, p) = other().await;
    let (city, c) = other().await;
    be(county, COUNTY, "县局", NodeLevel::County, Some("530402")).await;
    be(&plant, PLANT, "甲厂", NodeLevel::Enterprise, None).await;
    be(&city, CITY, "市局", NodeLevel::City, Some("5304")).await;
    join(&city, county, COUNTY, NodeLevel::County, Some("530402"), None).await;
    let (at_county, at_plant) = (made(county, "E1").await, made(&plant, "E1").await);
    join(county, &plant, PLANT, NodeLevel::Enterprise, None, Some(at_county.id)).await;
    // Ids of the two nodes shall not be the same by chance.
    for n in 0..5 {
        make(&plant, "unheard_of", at_plant.id, &put(&n.to_string(), json!({}), json!([])), None).await;
    }
    let grants = vec![Grant { role: Role::SafetyManager, region: None, sector: None, enterprise: Some(at_county.id) }];
    let new = NewUser { username: "zhang".into(), name: "张三".into(), password: "x".into(), grants };
    let who = county.create_user(&Scope::node(), &new, NOW).await.unwrap().id;
    let file =
        NewAttachment { by: who, at: NOW, name: "阀门.jpg".into(), media_type: "image/jpeg".into(), bytes: 9, sha256: "ab".into() };
    let file = county.put_attachment(&file).await.unwrap().id;
    let acts = json!([{"transition": "list", "by": who.to_string(), "on": "2026-11-23"}]);
    let fields = json!({"finder": who.to_string(), "photos": [file.to_string()], "due_on": "2026-12-31"});
    let first = make(county, "danger", at_county.id, &put("罐区无防雷", fields, acts.clone()), None).await;
    let below = make(county, "danger", at_county.id, &put("防雷检测过期", json!({}), acts.clone()), Some(first)).await;
    let penalty = make(county, "penalty", at_county.id, &put("罚款", json!({}), json!([])), None).await;
    let like = json!({"like": first.to_string(), "finder": "999"});
    let like = make(county, "danger", at_county.id, &put("又无防雷", like, acts), None).await;
    up(&plant, county, NOW).await;
    carry(county, UP, &city, &county_peer(), NOW).await;
    let records = vec![first, below, penalty, like];
    Levels { plant, city, at_county: at_county.id, at_plant: at_plant.id, who, records, _dirs: [p, c] }
}

fn put(subject: &str, fields: Value, acts: Value) -> RecordPut {
    let mut all = fields;
    all["subject"] = json!(subject);
    RecordPut {
        number: "YH-1".into(),
        title: subject.into(),
        state: "listed".into(),
        is_open: true,
        due_on: Some("2026-12-31".into()),
        remind_on: Some("2026-12-30".into()),
        key: Some(subject.into()),
        tasks: vec!["safety_manager".into()],
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

async fn close(store: &Store, id: RecordId, now: Timestamp) -> Result<(), StoreError> {
    let node = Scope::node();
    let mut change = store.change_records(&node, now).await.unwrap();
    let row = change.record("danger", id).await.unwrap();
    let put = RecordPut {
        state: "done".into(),
        is_open: false,
        due_on: None,
        remind_on: None,
        tasks: vec![],
        body: row.body.clone(),
        ..put(&row.title, json!({}), json!([]))
    };
    change.update(&row, row.revision, &put, json!({"transition": "close"})).await?;
    change.commit().await.map(drop)
}

/// What the node does by its registers, as far as this is about; the ids it gave.
async fn take(store: &Store, id: TransferId, now: Timestamp) -> Option<BTreeMap<i64, RecordId>> {
    let node = Scope::node();
    let mut change = store.change_records(&node, now).await.unwrap();
    let (from, given) = change.transfer(id).await.unwrap()?;
    assert_eq!(from, COUNTY);
    let enterprise = change.take_enterprise(&given.enterprise).await.unwrap().expect("nobody else's");
    change.note_elsewhere(&given.named).await.unwrap();
    let owner = change.owner(enterprise).await.unwrap();
    let mut ids = BTreeMap::new();
    for of in &given.records {
        let subject = of.body["fields"]["subject"].as_str().unwrap();
        let put = RecordPut { body: of.body.clone(), number: of.number.clone(), ..put(subject, json!({}), json!([])) };
        let parent = of.parent.map(|above| ids[&above]);
        ids.insert(of.id, change.take_record(from, of, &owner, parent, &put).await.unwrap());
    }
    change.transfer_taken(id, enterprise, &given, &ids).await.unwrap();
    change.commit().await.unwrap();
    Some(ids)
}

async fn all(store: &Store) -> Vec<RecordRow> {
    store.records(&Scope::node(), "danger", &RecordFilter::default(), &Paging::all()).await.unwrap().items
}
async fn is_sound(store: &Store) {
    assert!(store.verify_audit(None).await.unwrap().complete);
    assert_eq!(store.verify_records().await.unwrap().1, []);
}
async fn state_of(store: &Store) -> String {
    store.transfers(&admin()).await.unwrap().remove(0).state
}
fn is_moving<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::Moving { .. })), "{result:?}");
}
fn is_elsewhere<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::Mirrored { .. })), "{result:?}");
}
async fn rename(store: &Store, id: EnterpriseId, name: &str, now: Timestamp) -> Result<Enterprise, StoreError> {
    let revision = store.enterprise(&Scope::node(), id).await.unwrap().enterprise.revision;
    store
        .update_enterprise(&Scope::node(), id, &EnterpriseChange { revision, name: Some(name.into()), ..EnterpriseChange::default() }, now)
        .await
}

#[tokio::test]
async fn an_enterprise_goes_with_its_records_and_every_level_knows_where_they_are() {
    on_both(|county| async move {
        let l = levels(&county).await;
        rename(&county, l.at_county, "甲化工（新名）", later(1)).await.unwrap();
        up(&l.plant, &county, later(1)).await;
        let preview = county.preview_transfer(&admin(), l.at_county, &kinds()).await.unwrap();
        assert_eq!((preview.goes, preview.stays), (BTreeMap::from([("danger".into(), 3)]), BTreeMap::from([("penalty".into(), 1)])));
        let row = county.make_transfer(&admin(), ONE, l.at_county, PLANT, &kinds(), later(2)).await.unwrap();
        assert_eq!((row.state.as_str(), row.n_records, row.node, row.is_ours), ("offered", 3, PLANT, true));

        // Nobody changes it now; what authorities began goes on.
        is_moving(close(&county, l.records[0], later(3)).await);
        is_moving(rename(&county, l.at_county, "x", later(3)).await);
        is_moving(county.make_transfer(&admin(), TransferId::new(5), l.at_county, PLANT, &kinds(), later(3)).await);
        let other = made(&county, "E9").await;
        let revision = county.enterprise(&Scope::node(), l.at_county).await.unwrap().enterprise.revision;
        let wish = MergeWish { from: l.at_county, into: other.id, from_revision: revision, into_revision: 1 };
        is_moving(county.merge_enterprises(&admin(), &wish, false, later(3)).await.map(|_| ()));
        assert!(county.records_to_remind(&kinds(), "2099-01-01", 9).await.unwrap().is_empty());
        assert_eq!(
            county.record(&Scope::node(), "danger", l.records[0]).await.unwrap().moving_to.as_deref(),
            Some(PLANT.to_string().as_str())
        );

        assert_eq!(down(&county, &l.plant, later(4)).await, [ONE]);
        let ids = take(&l.plant, ONE, later(5)).await.unwrap();
        assert_eq!(take(&l.plant, ONE, later(5)).await, None, "once");
        let there = l.plant.record(&Scope::node(), "danger", ids[&l.records[0].get()]).await.unwrap();
        assert_eq!((there.enterprise, there.created_at, there.number.as_str(), there.home), (Some(l.at_plant), NOW, "YH-1", None));
        assert_eq!(there.former, Some(("县局".to_owned(), 1)));
        let finder = format!("{COUNTY}/{}", l.who);
        assert_eq!(there.body["fields"]["finder"], json!(finder));
        assert_eq!(there.body["acts"][0]["by"], json!(finder));
        let named = l.plant.elsewhere(&[finder]).await.unwrap();
        assert_eq!((named[0].kind.as_str(), named[0].name.as_str()), ("person", "张三"));
        let photo = there.body["fields"]["photos"][0].as_str().unwrap().to_owned();
        let named = l.plant.elsewhere(&[photo]).await.unwrap();
        assert_eq!((named[0].name.as_str(), &named[0].detail["sha256"]), ("阀门.jpg", &json!("ab")));
        let below = l.plant.record(&Scope::node(), "danger", ids[&l.records[1].get()]).await.unwrap();
        assert_eq!(below.parent.unwrap().0, ids[&l.records[0].get()]);
        assert_eq!(l.plant.enterprise(&Scope::node(), l.at_plant).await.unwrap().enterprise.name, "甲化工（新名）");
        assert_eq!(l.plant.records_to_remind(&kinds(), "2099-01-01", 9).await.unwrap().len(), 3);

        // The county hears of it: what stood there goes on as copies, under the ids that everybody here knows.
        let before = all(&county).await.len();
        up(&l.plant, &county, later(6)).await;
        carry(&county, UP, &l.city, &county_peer(), later(7)).await;
        assert_eq!(state_of(&county).await, "taken");
        assert_eq!(all(&county).await.len(), before);
        for (store, name) in [(&county, "the county"), (&l.city, "the city")] {
            let rows = all(store).await;
            assert_eq!(rows.len(), 3, "{name}");
            for row in &rows {
                let home = row.home.clone().unwrap();
                assert_eq!((home.id, row.moving_to.clone()), (PLANT, None), "{name}");
                assert!(home.record.is_some_and(|id| ids.values().any(|known| known.get() == id)), "{name}");
                assert_eq!(row.enterprise_name.as_deref(), Some("甲化工（新名）"), "{name}");
                is_elsewhere(close(store, row.id, later(8)).await);
            }
            let first = rows.iter().find(|row| row.title == "罐区无防雷").unwrap();
            assert_eq!((&first.body["fields"]["finder"], &first.body["acts"][0]["by"]), (&json!("张三"), &json!("张三")), "{name}");
            assert_eq!(first.body["fields"]["photos"][0]["sha256"], json!("ab"), "{name}");
            let like = rows.iter().find(|row| row.title == "又无防雷").unwrap();
            assert_eq!(like.body["fields"].get("finder"), None, "nobody knows a name of them");
            is_sound(store).await;
        }
        assert_eq!(county.attachments_of(l.records[0]).await.unwrap().len(), 0, "none was bound in this test");
        is_elsewhere(rename(&county, l.at_county, "x", later(8)).await);
        assert!(county.record(&Scope::node(), "penalty", l.records[2]).await.unwrap().home.is_none(), "what authorities began stays");

        // From now on the plant changes it, and all see that.
        rename(&l.plant, l.at_plant, "甲化工有限公司", later(9)).await.unwrap();
        close(&l.plant, ids[&l.records[1].get()], later(9)).await.unwrap();
        up(&l.plant, &county, later(10)).await;
        carry(&county, UP, &l.city, &county_peer(), later(10)).await;
        for store in [&county, &l.city] {
            let rows = all(store).await;
            assert_eq!(rows.iter().filter(|row| !row.is_open).map(|row| row.title.as_str()).collect::<Vec<_>>(), ["防雷检测过期"]);
            assert!(rows.iter().all(|row| row.enterprise_name.as_deref() == Some("甲化工有限公司")));
            is_sound(store).await;
        }
        is_sound(&l.plant).await;

        // Told once more, nothing happens.
        let count = async |store: &Store| number(store, "SELECT COUNT(*) AS n FROM audit").await;
        let audits = [count(&county).await, count(&l.city).await, count(&l.plant).await];
        county.reset_inbox(PLANT).await.unwrap();
        l.city.reset_inbox(COUNTY).await.unwrap();
        l.plant.reset_inbox(COUNTY).await.unwrap();
        up(&l.plant, &county, later(11)).await;
        carry(&county, UP, &l.city, &county_peer(), later(11)).await;
        assert_eq!(down(&county, &l.plant, later(11)).await, []);
        assert_eq!([count(&county).await, count(&l.city).await, count(&l.plant).await], audits);
        assert_eq!(all(&l.city).await.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn taken_back_in_time_it_stays_and_too_late_it_goes() {
    on_both(|county| async move {
        let l = levels(&county).await;
        county.make_transfer(&admin(), ONE, l.at_county, PLANT, &kinds(), later(1)).await.unwrap();
        county.withdraw_transfer(&admin(), ONE, later(2)).await.unwrap();
        assert!(matches!(county.withdraw_transfer(&admin(), ONE, later(2)).await, Err(StoreError::Stale)));
        // Whether the plant has it nobody knows yet.
        is_moving(close(&county, l.records[0], later(3)).await);
        assert_eq!(down(&county, &l.plant, later(3)).await, [], "it is not to be taken any more");
        assert_eq!(take(&l.plant, ONE, later(3)).await, None);
        up(&l.plant, &county, later(4)).await;
        assert_eq!((state_of(&county).await, state_of(&l.plant).await), ("withdrawn".into(), "withdrawn".into()));
        close(&county, l.records[1], later(5)).await.unwrap();

        let two = TransferId::new(ONE.get() + 1);
        county.make_transfer(&admin(), two, l.at_county, PLANT, &kinds(), later(6)).await.unwrap();
        assert_eq!(down(&county, &l.plant, later(7)).await, [two]);
        assert!(take(&l.plant, two, later(8)).await.is_some());
        county.withdraw_transfer(&admin(), two, later(9)).await.unwrap();
        assert_eq!(down(&county, &l.plant, later(10)).await, []);
        up(&l.plant, &county, later(11)).await;
        assert_eq!(state_of(&county).await, "taken");
        is_elsewhere(close(&county, l.records[0], later(12)).await);
        for store in [&county, &l.plant] {
            is_sound(store).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_refused_stays_with_every_reason() {
    on_both(|county| async move {
        let l = levels(&county).await;
        county.make_transfer(&admin(), ONE, l.at_county, PLANT, &kinds(), later(1)).await.unwrap();
        assert_eq!(down(&county, &l.plant, later(2)).await, [ONE]);
        let why = OrderProblem {
            code: "transfer.register_off".into(),
            field: None,
            params: BTreeMap::from([("register".into(), "danger".into())]),
        };
        assert!(l.plant.refuse_transfer(ONE, vec![why.clone()], later(3)).await.unwrap());
        assert!(!l.plant.refuse_transfer(ONE, vec![], later(3)).await.unwrap(), "it has had its say");
        up(&l.plant, &county, later(4)).await;
        let row = county.transfers(&admin()).await.unwrap().remove(0);
        assert_eq!((row.state.as_str(), row.problems, row.ended_at), ("refused", vec![why], Some(later(4))));
        close(&county, l.records[0], later(5)).await.unwrap();
        // The head says since then that it must not be taken: for a plant that is set back to before it had its say.
        let feed = county.feed(&PLANT.to_string(), 0, 100).await.unwrap();
        let head = feed.iter().find(|entry| entry.subject.ends_with("/head")).unwrap();
        assert!(head.body.contains("\"is_back\":true"), "{}", head.body);
    })
    .await;
}

#[tokio::test]
async fn a_plant_that_was_set_back_takes_it_again_and_a_plant_with_only_a_part_waits() {
    on_both(|county| async move {
        let l = levels(&county).await;
        county.make_transfer(&admin(), ONE, l.at_county, PLANT, &kinds(), later(1)).await.unwrap();
        assert_eq!(down(&county, &l.plant, later(2)).await, [ONE]);
        // It stopped before it took it: it is told again, once it is there.
        county.tell_transfers(PLANT, later(3)).await.unwrap();
        assert_eq!(down(&county, &l.plant, later(3)).await, [ONE]);
        take(&l.plant, ONE, later(4)).await.unwrap();
        up(&l.plant, &county, later(5)).await;
        assert_eq!(state_of(&county).await, "taken");

        // Another box in its stead, that knows nothing of all this.
        let (restored, _r) = other().await;
        be(&restored, PLANT, "甲厂", NodeLevel::Enterprise, None).await;
        made(&restored, "E1").await;
        let above = Neighbour {
            id: COUNTY,
            name: "县局".into(),
            level: NodeLevel::County,
            region: Some(region("530402")),
            enterprise: None,
            fingerprint: "cd".into(),
            address: None,
        };
        restored.put_parent(&admin(), &above, NOW).await.unwrap();
        let way = PLANT.to_string();
        let entries = county.feed(&way, 0, 100).await.unwrap();
        let (last, rest) = entries.split_last().unwrap();
        assert!(last.subject.ends_with("/head"));
        let applied = restored.apply_feed(&county_peer(), 0, rest.last().unwrap().seq, rest, later(6)).await.unwrap();
        assert_eq!(applied.transfers, [], "without the head it waits");
        assert_eq!(take(&restored, ONE, later(6)).await, None);
        assert_eq!(down(&county, &restored, later(7)).await, [ONE]);
        let ids = take(&restored, ONE, later(8)).await.unwrap();
        county.reset_inbox(PLANT).await.unwrap();
        up(&restored, &county, later(9)).await;
        let rows = all(&county).await;
        assert_eq!(rows.len(), 3);
        assert!(rows.iter().all(|row| ids.values().any(|id| Some(id.get()) == row.home.as_ref().unwrap().record)));
        is_sound(&county).await;
    })
    .await;
}

#[tokio::test]
async fn a_county_that_was_set_back_knows_its_own_word_again() {
    let directory = tempfile::tempdir().unwrap();
    let county = Store::open(&sqlite_url(directory.path())).await.unwrap();
    let l = levels(&county).await;
    county.close().await;
    drop(county);
    let backup = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), backup.path().join(file.file_name())).unwrap();
    }
    let county = Store::open(&sqlite_url(directory.path())).await.unwrap();
    county.set_registers(registers());
    county.make_transfer(&admin(), ONE, l.at_county, PLANT, &kinds(), later(1)).await.unwrap();
    assert_eq!(down(&county, &l.plant, later(2)).await, [ONE]);
    let ids = take(&l.plant, ONE, later(3)).await.unwrap();
    up(&l.plant, &county, later(4)).await;
    county.close().await;

    // Of yesterday: it has handed nothing over, and made another record since.
    let county = Store::open(&sqlite_url(backup.path())).await.unwrap();
    county.set_registers(registers());
    let own = make(&county, "danger", l.at_county, &put("另一条", json!({}), json!([])), None).await;
    up(&l.plant, &county, later(5)).await;
    let row = county.transfers(&admin()).await.unwrap().remove(0);
    assert_eq!((row.id, row.state.as_str(), row.is_ours), (ONE, "taken", true));
    for id in [l.records[0], l.records[1], l.records[3]] {
        let row = county.record(&Scope::node(), "danger", id).await.unwrap();
        assert_eq!(row.home.unwrap().record, Some(ids[&id.get()].get()));
    }
    assert!(county.record(&Scope::node(), "danger", own).await.unwrap().home.is_none());
    assert_eq!(all(&county).await.len(), 4, "nothing twice");
    is_elsewhere(rename(&county, l.at_county, "x", later(6)).await);
    is_sound(&county).await;
}

#[tokio::test]
async fn a_county_that_forgot_that_it_had_it_does_not_take_again_what_it_handed_on() {
    let directory = tempfile::tempdir().unwrap();
    let county = Store::open(&sqlite_url(directory.path())).await.unwrap();
    let ((town, _t), (city, _c)) = (other().await, other().await);
    be(&county, COUNTY, "县局", NodeLevel::County, Some("530402")).await;
    be(&town, PLANT, "街道", NodeLevel::Township, Some("530402")).await;
    be(&city, CITY, "市局", NodeLevel::City, Some("5304")).await;
    join(&city, &county, COUNTY, NodeLevel::County, Some("530402"), None).await;
    join(&county, &town, PLANT, NodeLevel::Township, Some("530402"), None).await;
    county.close().await;
    drop(county);
    let backup = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), backup.path().join(file.file_name())).unwrap();
    }
    let county = Store::open(&sqlite_url(directory.path())).await.unwrap();
    county.set_registers(registers());
    let at_county = made(&county, "E1").await.id;
    county.make_transfer(&admin(), ONE, at_county, PLANT, &kinds(), later(1)).await.unwrap();
    assert_eq!(down(&county, &town, later(2)).await, [ONE]);
    take(&town, ONE, later(3)).await.unwrap();
    county.close().await;

    // Of yesterday, when it did not have it. It hears the town's word, and what the city still offers before the town tells of the enterprise.
    let county = Store::open(&sqlite_url(backup.path())).await.unwrap();
    county.set_registers(registers());
    let word = town.feed(UP, 0, 100).await.unwrap();
    let word: Vec<FeedEntry> = word.into_iter().filter(|entry| entry.kind == "transferred").collect();
    let from_town = Peer { id: PLANT, level: NodeLevel::Township, region: Some(region("530402")), enterprise: None };
    let (after, upto) = (county.inbox(PLANT).await.unwrap().feed, word.last().unwrap().seq);
    assert_eq!(county.apply_feed(&from_town, after, upto, &word, later(4)).await.unwrap().refused, []);
    let row = county.transfers(&admin()).await.unwrap().remove(0);
    assert_eq!((row.id, row.state.as_str(), row.is_ours, row.enterprise), (ONE, "taken", true, None));
    assert_eq!(row.enterprise_code, "E1");
    let at_city = made(&city, "E1").await.id;
    city.make_transfer(&admin(), TWO, at_city, COUNTY, &kinds(), later(5)).await.unwrap();
    let from_city = Peer { id: CITY, level: NodeLevel::City, region: Some(region("5304")), enterprise: None };
    assert_eq!(carry(&city, &COUNTY.to_string(), &county, &from_city, later(6)).await, [TWO]);
    let node = Scope::node();
    let mut change = county.change_records(&node, later(7)).await.unwrap();
    let (_, given) = change.transfer(TWO).await.unwrap().unwrap();
    assert_eq!(change.take_enterprise(&given.enterprise).await.unwrap(), None);
    drop(change);
    is_sound(&county).await;
}

#[tokio::test]
async fn nobody_takes_what_was_not_given_to_them() {
    on_both(|county| async move {
        let l = levels(&county).await;
        let word = |id: TransferId, grant: &str| {
            let body = json!({"state": "taken", "at": 1, "enterprise": {"was": l.at_county, "is": 7, "known_by": "E1", "grant": grant},
                "records": [{"was": l.records[0], "is": 9, "known_by": format!("danger/{}/YH-1", NOW.micros()), "grant": grant}]});
            FeedEntry { seq: 0, kind: "transferred".into(), subject: format!("{COUNTY}/{id}/0"), body: body.to_string() }
        };
        let say = async |entry: FeedEntry, peer: Peer| {
            let after = county.inbox(peer.id).await.unwrap().feed;
            let entry = FeedEntry { seq: after + 1, ..entry };
            county.apply_feed(&peer, after, after + 1, &[entry], later(1)).await.unwrap().refused
        };
        // Of something that was never given.
        assert_eq!(say(word(ONE, "0".repeat(32).as_str()), plant_peer()).await[0].reason, "unknown");
        assert!(county.transfers(&admin()).await.unwrap().is_empty());
        // Of something that was, with a word of its own.
        county.make_transfer(&admin(), ONE, l.at_county, PLANT, &kinds(), later(2)).await.unwrap();
        assert_eq!(say(word(ONE, "0".repeat(32).as_str()), plant_peer()).await[0].reason, "unknown");
        assert_eq!(state_of(&county).await, "offered");
        assert!(county.record(&Scope::node(), "danger", l.records[0]).await.unwrap().home.is_none());
        // Of another giver, in another's name.
        let foreign = FeedEntry { subject: format!("{PLANT}/{ONE}/0"), ..word(ONE, "") };
        assert_eq!(say(foreign, plant_peer()).await[0].reason, "origin");
        // A plant hands nothing up, and takes nothing of whoever is not its parent.
        let feed = county.feed(&PLANT.to_string(), 0, 100).await.unwrap();
        let head = feed.iter().find(|entry| entry.subject.ends_with("/head")).unwrap();
        assert_eq!(say(head.clone(), plant_peer()).await[0].reason, "origin");
        let after = l.plant.inbox(COUNTY).await.unwrap().feed;
        let foreign = FeedEntry { seq: after + 1, subject: head.subject.replace(&COUNTY.to_string(), &CITY.to_string()), ..head.clone() };
        let applied = l.plant.apply_feed(&county_peer(), after, after + 1, &[foreign], later(3)).await.unwrap();
        assert_eq!((applied.refused[0].reason, applied.transfers.len()), ("origin", 0));
        // To a node that does not stand for it nothing is handed over.
        let other = made(&county, "E9").await;
        let refused = county.make_transfer(&admin(), TransferId::new(9), other.id, PLANT, &kinds(), later(4)).await;
        assert!(matches!(refused, Err(StoreError::Missing { field: "node" })), "{refused:?}");
        // Who has a territory hands nothing over.
        let bounded = Scope {
            user: None,
            name: "x".into(),
            grants: vec![Grant { role: Role::Administrator, region: Some(region("530402")), sector: None, enterprise: None }],
        };
        let refused = county.make_transfer(&bounded, TransferId::new(9), other.id, PLANT, &kinds(), later(4)).await;
        assert!(matches!(refused, Err(StoreError::OutOfScope)), "{refused:?}");
    })
    .await;
}
