//! What goes down: packs offered by the levels above, in pieces until they are whole, and who is on duty there; on both databases.

use std::collections::BTreeMap;

use anlan_model::noun::Grant;
use anlan_model::{NodeId, NodeLevel, RegionCode, Role, Scope, Timestamp, UserId};
use anlan_store::testing::{number, on_both, sqlite_url};
use anlan_store::*;
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_secs(1_764_000_000);
const CITY: NodeId = NodeId::new(0xc1);
const COUNTY: NodeId = NodeId::new(0xaaaa_aaaa_0000_0000_0000_0000_0000_0002);
const TOWN: NodeId = NodeId::new(0xbbbb_bbbb_0000_0000_0000_0000_0000_0003);
const STRANGER: NodeId = NodeId::new(0xdd);

fn region(code: &str) -> RegionCode {
    RegionCode::new(code).unwrap()
}

fn later(s: i64) -> Timestamp {
    NOW.plus_us(s * 1_000_000)
}

fn admin() -> Scope {
    Scope { name: "管理员".into(), ..Scope::node() }
}

async fn other() -> (Store, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (Store::open(&sqlite_url(directory.path())).await.unwrap(), directory)
}

async fn be(store: &Store, id: NodeId, name: &str, level: NodeLevel, of: &str) {
    store.put_self(id, name, level, Some(&region(of)), NOW).await.unwrap();
}

/// Lets a node in below `parent`, and tells it of its parent; as pairing does.
async fn join(parent: &Store, child: &Store, id: NodeId, level: NodeLevel, of: &str) {
    let secret = [id.get() as u8; 16];
    let new = NewInvitation { name: format!("{id}"), level, region: Some(region(of)), enterprise: None, secret, expires_at: later(3_600) };
    let made = parent.invite(&admin(), &new, NOW, NOW).await.unwrap();
    assert!(matches!(parent.claim_invitation(&secret, id, b"key", NOW, NOW).await.unwrap(), Claim::Held(_)));
    let admission = Admission { certificate: "PEM".into(), fingerprint: "ab".into(), serial: "01".into(), not_after: later(86_400 * 90) };
    parent.confirm_invitation(&admin(), made.id, &admission, NOW).await.unwrap();
    let own = parent.own_node().unwrap();
    let row = parent.node(&Scope::node(), own).await.unwrap();
    let above = Neighbour {
        id: own,
        name: row.name,
        level: row.level,
        region: row.region,
        enterprise: None,
        fingerprint: "cd".into(),
        address: Some("127.0.0.1:1".into()),
    };
    child.put_parent(&admin(), &above, NOW).await.unwrap();
}

fn peer(id: NodeId, level: NodeLevel, of: &str) -> Peer {
    Peer { id, level, region: Some(region(of)), enterprise: None }
}

/// Carries everything for `to` that it lacks; what was refused.
async fn carry(from: &Store, to: &Store, as_: &Peer, now: Timestamp) -> Vec<Refused> {
    let way = to.own_node().unwrap().to_string();
    let mut refused = Vec::new();
    loop {
        let after = to.inbox(as_.id).await.unwrap().feed;
        let entries = from.feed(&way, after, 3).await.unwrap();
        let Some(last) = entries.last() else { return refused };
        assert!(entries.iter().all(|entry| entry.body.len() <= 64 * 1024), "an entry is refused above that");
        let applied = to.apply_feed(as_, after, last.seq, &entries, now).await.unwrap();
        assert!(applied.is_new);
        refused.extend(applied.refused);
    }
}

/// A city, its county and a town below that.
async fn three(city: &Store) -> (Store, Store, [tempfile::TempDir; 2], Peer, Peer) {
    let ((county, a), (town, b)) = (other().await, other().await);
    be(city, CITY, "市局", NodeLevel::City, "5304").await;
    be(&county, COUNTY, "县局", NodeLevel::County, "530402").await;
    be(&town, TOWN, "镇安监站", NodeLevel::Township, "530402001").await;
    join(city, &county, COUNTY, NodeLevel::County, "530402").await;
    join(&county, &town, TOWN, NodeLevel::Township, "530402001").await;
    (county, town, [a, b], peer(CITY, NodeLevel::City, "5304"), peer(COUNTY, NodeLevel::County, "530402"))
}

fn hash(n: u8) -> String {
    format!("{n:02x}").repeat(32)
}

/// Files of some hundred kilobytes, quotes and line ends in them.
fn files(what: &str) -> BTreeMap<String, String> {
    let long = format!("note = \"{what}\"\n# 安澜\n").repeat(6_000);
    BTreeMap::from([("pack.toml".to_owned(), format!("id = \"drills\" # {what}")), ("registers/x/register.toml".to_owned(), long)])
}

async fn switched_on(store: &Store, n: u8, files: &BTreeMap<String, String>) {
    store.put_pack(&admin(), "drills", &hash(n), Some((files, None)), NOW).await.unwrap();
}

#[tokio::test]
async fn a_pack_goes_down_two_levels_whole_and_switches_nothing_on() {
    on_both(|city| async move {
        let (county, town, _dirs, from_city, from_county) = three(&city).await;
        assert!(matches!(city.offer_pack(&admin(), "drills", NOW).await, Err(StoreError::NotFound)), "it is not on");
        switched_on(&city, 1, &files("one")).await;
        let supervisor = Grant { role: Role::Administrator, region: Some(region("5304")), sector: None, enterprise: None };
        let local = Scope { grants: vec![supervisor], ..Scope::node() };
        assert!(matches!(city.offer_pack(&local, "drills", NOW).await, Err(StoreError::OutOfScope)));
        city.offer_pack(&admin(), "drills", NOW).await.unwrap();
        assert_eq!(carry(&city, &county, &from_city, later(1)).await, []);
        assert_eq!(carry(&county, &town, &from_county, later(2)).await, []);
        for (store, is_own) in [(&city, true), (&county, false), (&town, false)] {
            let offer = store.pack_offers(&Scope::node()).await.unwrap().remove(0);
            assert_eq!((offer.origin, offer.is_own, offer.hash.as_str()), (CITY, is_own, hash(1).as_str()));
            assert_eq!((offer.origin_name.as_deref(), offer.offered_by.as_str()), (Some("市局"), "管理员"));
            assert_eq!(offer.files, Some(files("one")));
            assert!(offer.pieces.0 > 5 && offer.pieces.0 == offer.pieces.1, "{:?}", offer.pieces);
            assert_eq!(store.pack_offers(&local).await.unwrap(), [], "it belongs to the whole node");
        }
        assert_eq!(county.packs().await.unwrap(), [], "an offer is no pack that is on");

        // A shorter one in its place: until it is whole it is not there, and nothing of the one before is mixed in.
        switched_on(&city, 2, &BTreeMap::from([("pack.toml".to_owned(), "id = \"drills\"".to_owned())])).await;
        city.offer_pack(&admin(), "drills", later(3)).await.unwrap();
        assert_eq!(carry(&city, &county, &from_city, later(4)).await, []);
        assert_eq!(carry(&county, &town, &from_county, later(4)).await, []);
        let offer = town.pack_offers(&Scope::node()).await.unwrap().remove(0);
        assert_eq!((offer.hash.as_str(), offer.pieces, offer.files.unwrap().len()), (hash(2).as_str(), (1, 1), 1));
        assert_eq!(number(&county, "SELECT COUNT(*) AS n FROM pack_piece").await, 1);

        // A child that joins later is told what there is.
        let (late, _l) = other().await;
        let newer = NodeId::new(0xee);
        be(&late, newer, "西镇", NodeLevel::Township, "530402002").await;
        join(&county, &late, newer, NodeLevel::Township, "530402002").await;
        assert_eq!(carry(&county, &late, &from_county, later(5)).await, []);
        assert_eq!(late.pack_offers(&Scope::node()).await.unwrap()[0].hash, hash(2));

        city.withdraw_pack(&admin(), "drills", later(6)).await.unwrap();
        assert!(matches!(city.withdraw_pack(&admin(), "drills", later(6)).await, Err(StoreError::NotFound)));
        carry(&city, &county, &from_city, later(7)).await;
        carry(&county, &town, &from_county, later(7)).await;
        for store in [&city, &county, &town] {
            assert_eq!(store.pack_offers(&Scope::node()).await.unwrap(), []);
        }
        // Offered anew it is there again; who leaves the parent is offered nothing from above, and tells so below.
        city.offer_pack(&admin(), "drills", later(8)).await.unwrap();
        carry(&city, &county, &from_city, later(9)).await;
        carry(&county, &town, &from_county, later(9)).await;
        assert_eq!(town.pack_offers(&Scope::node()).await.unwrap().len(), 1);
        county.leave_parent(&admin(), later(10)).await.unwrap();
        carry(&county, &town, &from_county, later(11)).await;
        for store in [&county, &town] {
            assert_eq!(store.pack_offers(&Scope::node()).await.unwrap(), []);
        }
        for store in [&city, &county, &town] {
            assert!(store.verify_audit(None).await.unwrap().complete);
        }
    })
    .await;
}

/// Bodies as they are on the wire, for ever: what an older or newer node sends must be understood.
fn example(kind: &str) -> Value {
    match kind {
        "pack" => {
            json!({"hash": hash(7), "n_pieces": 1, "offered_by": "张三", "offered_at": 1_764_000_000_000_000_i64, "data": "{\"pack.toml\":\"id\"}"})
        }
        "roster" => {
            json!({"shifts": [{"region": "5304", "region_name": "玉溪市", "desk": "watch", "people": ["张三", "李四"], "phone": "0877-2012350",
            "from": 1_764_000_000_000_000_i64, "to": 1_764_043_200_000_000_i64}]})
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn what_is_not_from_above_or_not_sound_is_refused_and_leaves_nothing() {
    on_both(|county| async move {
        let ((city, _a), (town, _b)) = (other().await, other().await);
        be(&city, CITY, "市局", NodeLevel::City, "5304").await;
        be(&county, COUNTY, "县局", NodeLevel::County, "530402").await;
        be(&town, TOWN, "镇安监站", NodeLevel::Township, "530402001").await;
        join(&city, &county, COUNTY, NodeLevel::County, "530402").await;
        join(&county, &town, TOWN, NodeLevel::Township, "530402001").await;
        let with = |kind: &str, field: &str, value: Value| {
            let mut body = example(kind);
            match body.pointer_mut(field) {
                Some(there) => *there = value,
                None => panic!("{field}"),
            }
            body
        };
        let entry = |kind: &str, subject: String, body: Value| FeedEntry { seq: 0, kind: kind.into(), subject, body: body.to_string() };
        let piece = |subject: &str, body: Value| entry("pack", format!("{CITY}/{subject}"), body);
        let roster = |body: Value| entry("roster", format!("{CITY}/roster"), body);
        let bad = [
            (entry("pack", format!("{STRANGER}/drills/0"), example("pack")), "origin"),
            (entry("pack", format!("{COUNTY}/drills/0"), example("pack")), "origin"),
            (entry("pack", format!("{TOWN}/drills/0"), example("pack")), "origin"),
            (piece("drills", example("pack")), "subject"),
            (piece("drills/x", example("pack")), "subject"),
            (piece("drills/1", example("pack")), "body"),
            (piece("drills/-1", example("pack")), "body"),
            (piece("../drills/0", example("pack")), "subject"),
            (piece("Drills/0", example("pack")), "body"),
            (piece("drills/0", with("pack", "/hash", json!("x"))), "body"),
            (piece("drills/0", with("pack", "/n_pieces", json!(513))), "body"),
            (piece("drills/0", with("pack", "/n_pieces", json!(-1))), "body"),
            (piece("drills/0", with("pack", "/offered_by", json!("张\u{0}三"))), "body"),
            (piece("drills/0", with("pack", "/data", json!("x".repeat(70_000)))), "size"),
            (piece("drills/0", json!({"hash": hash(1)})), "body"),
            (entry("roster", format!("{STRANGER}/roster"), example("roster")), "origin"),
            (roster(with("roster", "/shifts/0/region", json!("x"))), "body"),
            (roster(with("roster", "/shifts/0/to", json!(1))), "body"),
            (roster(with("roster", "/shifts/0/people", json!(["a", "b", "c"]))), "body"),
            (roster(with("roster", "/shifts/0/people/0", json!(""))), "body"),
            (roster(with("roster", "/shifts/0/phone", json!("0877\u{7}"))), "body"),
            (roster(json!({"shifts": vec![example("roster")["shifts"][0].clone(); 201]})), "body"),
        ];
        let from = peer(CITY, NodeLevel::City, "5304");
        let at = county.inbox(CITY).await.unwrap().feed;
        let entries: Vec<FeedEntry> = bad.iter().map(|(entry, _)| entry.clone()).collect();
        let applied = county.apply_feed(&from, at, at + 100, &entries, NOW).await.unwrap();
        let why: Vec<&str> = applied.refused.iter().map(|r| r.reason).collect();
        assert_eq!(why, bad.iter().map(|(_, why)| *why).collect::<Vec<_>>());
        assert_eq!(number(&county, "SELECT COUNT(*) AS n FROM pack_offer").await, 0);
        assert_eq!(number(&county, "SELECT COUNT(*) AS n FROM pack_piece").await, 0);
        assert_eq!(number(&county, "SELECT COUNT(*) AS n FROM roster").await, 0);
        // A node below says nothing of the kind.
        let from_town = peer(TOWN, NodeLevel::Township, "530402001");
        let entries =
            [entry("pack", format!("{TOWN}/drills/0"), example("pack")), entry("roster", format!("{TOWN}/roster"), example("roster"))];
        let applied = county.apply_feed(&from_town, 0, 2, &entries, NOW).await.unwrap();
        assert_eq!(applied.refused.iter().map(|r| r.reason).collect::<Vec<_>>(), ["kind", "kind"]);
        // The examples themselves are taken.
        let entries = [piece("drills/0", example("pack")), roster(example("roster"))];
        let applied = county.apply_feed(&from, at + 100, at + 102, &entries, NOW).await.unwrap();
        assert_eq!(applied.refused, []);
        let offer = county.pack_offers(&Scope::node()).await.unwrap().remove(0);
        assert_eq!(offer.files, Some(BTreeMap::from([("pack.toml".to_owned(), "id".to_owned())])));
        assert_eq!(county.rosters_above().await.unwrap()[0].shifts[0].phone, "0877-2012350");
        // Files that are no files are no pack.
        let entries = [piece("drills/0", with("pack", "/data", json!("[")))];
        county.apply_feed(&from, at + 102, at + 103, &entries, NOW).await.unwrap();
        assert_eq!(county.pack_offers(&Scope::node()).await.unwrap()[0].files, None);
    })
    .await;
}

async fn person(store: &Store, name: &str) -> UserId {
    let new = NewUser { username: name.into(), name: name.into(), password: "x".into(), grants: Vec::new() };
    store.create_user(&Scope::node(), &new, NOW).await.unwrap().id
}

fn shift(user: UserId, desk: &str, from: i64, to: i64) -> DutyShift {
    DutyShift {
        region: region("5304"),
        desk: desk.into(),
        user,
        second: None,
        from: later(from * 3_600),
        to: later(to * 3_600),
        phone: format!("0877-{from}"),
        note: "内部".into(),
    }
}

#[tokio::test]
async fn only_desks_that_were_made_known_are_told_and_all_levels_below_hear() {
    on_both(|city| async move {
        let (county, town, _dirs, from_city, from_county) = three(&city).await;
        let (a, b) = (person(&city, "张三").await, person(&city, "李四").await);
        let rota = Scope { name: "甲".into(), ..Scope::node() };
        let mut change = city.change_duty(&rota, NOW).await.unwrap();
        for (user, desk, from, to) in
            [(a, "watch", 0, 12), (b, "watch", 12, 24), (b, "leader", 0, 24), (a, "watch", 100, 112), (a, "watch", -12, 0)]
        {
            change.create(&shift(user, desk, from, to), None).await.unwrap();
        }
        change.commit().await.unwrap();
        let told = async |store: &Store| {
            let rosters = store.rosters_above().await.unwrap();
            rosters.iter().flat_map(|r| &r.shifts).map(|s| (s.desk.clone(), s.people.join("、"), s.phone.clone())).collect::<Vec<_>>()
        };
        let pass_on = async |now| {
            assert_eq!(carry(&city, &county, &from_city, now).await, []);
            assert_eq!(carry(&county, &town, &from_county, now).await, []);
        };
        pass_on(later(1)).await;
        assert_eq!(told(&town).await, [], "nobody made anything known");
        let outsider = Scope {
            grants: vec![Grant { role: Role::Supervisor, region: Some(region("530402")), sector: None, enterprise: None }],
            ..Scope::node()
        };
        assert!(matches!(city.set_duty_told(&outsider, &region("5304"), "watch", true, NOW).await, Err(StoreError::OutOfScope)));
        city.set_duty_told(&admin(), &region("5304"), "watch", true, later(2)).await.unwrap();
        assert_eq!(city.duty_told(&admin()).await.unwrap(), [(region("5304"), "watch".to_owned())]);
        assert_eq!(city.duty_told(&outsider).await.unwrap(), []);
        pass_on(later(3)).await;
        let want = |all: &[(&str, &str)]| {
            all.iter().map(|(who, phone)| ("watch".to_owned(), (*who).to_owned(), (*phone).to_owned())).collect::<Vec<_>>()
        };
        for store in [&county, &town] {
            assert_eq!(told(store).await, want(&[("张三", "0877-0"), ("李四", "0877-12")]), "of now and the next days, without notes");
            let roster = store.rosters_above().await.unwrap().remove(0);
            assert_eq!((roster.origin, roster.name.as_str(), roster.level), (CITY, "市局", Some(NodeLevel::City)));
        }
        // A change tells by itself; time alone when it is asked to.
        let first =
            city.duty_shifts(&Scope::node(), &DutyFilter { user: Some(a), ..DutyFilter::default() }, &Paging::all()).await.unwrap().items;
        let now = first.iter().find(|row| row.shift.from == NOW).unwrap().id;
        let mut change = city.change_duty(&rota, later(4)).await.unwrap();
        let row = change.shift(now).await.unwrap();
        change.update(&row, row.revision, &DutyShift { phone: "110".into(), ..row.shift.clone() }, None).await.unwrap();
        change.commit().await.unwrap();
        assert!(!city.tell_roster(later(5)).await.unwrap(), "nothing new");
        pass_on(later(6)).await;
        assert_eq!(told(&town).await, want(&[("张三", "110"), ("李四", "0877-12")]));
        assert!(city.tell_roster(later(40 * 3_600)).await.unwrap());
        pass_on(later(40 * 3_600)).await;
        assert_eq!(told(&town).await, want(&[("张三", "0877-100")]));
        city.set_duty_told(&admin(), &region("5304"), "watch", false, later(41 * 3_600)).await.unwrap();
        pass_on(later(41 * 3_600)).await;
        assert_eq!(told(&town).await, []);
        assert!(city.verify_audit(None).await.unwrap().complete);
    })
    .await;
}
