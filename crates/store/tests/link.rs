//! What one node tells another, on both databases: nothing lost or twice, each level's handling its own, and nobody believed beyond their certificate.

use std::collections::BTreeMap;

use anlan_model::noun::{CombinationMember, Device, Enterprise, Grant, Limits, LimitsSource, Point};
use anlan_model::{
    AlarmChange, AlarmId, AlarmPart, CommandBody, DeviceId, Effect, EnterpriseId, Level, NodeId, NodeLevel, PointId, RaisedAlarm,
    RegionCode, Role, RuleKind, Scope, Subject, Timestamp, Trust,
};
use anlan_store::testing::{number, on_both, sqlite_url};
use anlan_store::*;
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_secs(1_764_000_000);
const CITY: NodeId = NodeId::new(0xc1);
const COUNTY: NodeId = NodeId::new(0xaaaa_aaaa_0000_0000_0000_0000_0000_0002);
const PLANT: NodeId = NodeId::new(0xbbbb_bbbb_0000_0000_0000_0000_0000_0003);

fn region(code: &str) -> RegionCode {
    RegionCode::new(code).unwrap()
}

fn later(s: i64) -> Timestamp {
    NOW.plus_us(s * 1_000_000)
}

fn admin() -> Scope {
    Scope { name: "管理员".into(), ..Scope::node() }
}

/// A store of its own beside the one under test.
async fn other() -> (Store, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (Store::open(&sqlite_url(directory.path())).await.unwrap(), directory)
}

async fn be(store: &Store, id: NodeId, name: &str, level: NodeLevel, of: Option<&str>) {
    store.put_self(id, name, level, of.map(region).as_ref(), NOW).await.unwrap();
}

async fn made(store: &Store, code: &str, of: &str) -> Enterprise {
    let new = NewEnterprise { code: code.into(), name: format!("{code}化工"), region: region(of), sector: "hazchem".into(), place: None };
    store.create_enterprise(&Scope::node(), &new, NOW).await.unwrap()
}

async fn device(store: &Store, code: &str, of: Option<EnterpriseId>) -> DeviceId {
    let new = NewDevice {
        code: code.into(),
        name: format!("{code}网关"),
        enterprise: of,
        protocol: "mqtt".into(),
        gateway: false,
        may_backfill: false,
        secret_hash: [7; 32],
    };
    store.create_device(&Scope::node(), &new, NOW).await.unwrap().id
}

async fn point(store: &Store, of: DeviceId, code: &str) -> Point {
    let put = PointPut {
        code: code.into(),
        name: format!("{code}浓度"),
        unit: "%LEL".into(),
        kind: "gas_combustible".into(),
        limits: Limits { h: Some(25.0), ..Limits::default() },
        ..PointPut::default()
    };
    store.upsert_points(&Scope::node(), of, &[put], NOW).await.unwrap().remove(0)
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

/// Tells a node of its parent.
async fn stand_below(child: &Store, parent: &Store) {
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

fn peer(id: NodeId, level: NodeLevel, of: Option<&str>, enterprise: Option<&str>) -> Peer {
    Peer { id, level, region: of.map(region), enterprise: enterprise.map(str::to_owned) }
}

/// A county, and below it a plant with one device.
async fn plant_below(county: &Store) -> (Store, tempfile::TempDir, DeviceId, Peer) {
    let (plant, dir) = other().await;
    be(county, COUNTY, "县局", NodeLevel::County, Some("530402")).await;
    be(&plant, PLANT, "甲厂", NodeLevel::Enterprise, None).await;
    let here = made(county, "E1", "530402").await;
    let there = made(&plant, "E1", "530402").await;
    let d = device(&plant, "D1", Some(there.id)).await;
    join(county, &plant, PLANT, NodeLevel::Enterprise, None, Some(here.id)).await;
    (plant, dir, d, peer(PLANT, NodeLevel::Enterprise, None, Some("E1")))
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

fn alarm_id(n: u128) -> AlarmId {
    AlarmId::new(0x0123_4567_89ab_7def_8123_4567_89ab_0000 + n)
}

async fn raise(store: &Store, id: AlarmId, point: PointId, at: Timestamp) {
    let raised = RaisedAlarm {
        id,
        rule: "h".into(),
        kind: RuleKind::H,
        subject: Subject::Point(point),
        level: Level::Red,
        value: Some(30.0),
        threshold: Some(25.0),
        unit: "%LEL".into(),
        source: "GB/T 50493-2019".into(),
        confidence: "unverified".into(),
        onset_at: at,
        raised_at: at,
        historic: false,
    };
    let position = store.projected().await.unwrap() + 1;
    store.project(position, &[Effect::Alarm(AlarmChange::Raised(raised))]).await.unwrap();
}

async fn end(store: &Store, id: AlarmId, at: Timestamp) {
    let position = store.projected().await.unwrap() + 1;
    store.project(position, &[Effect::Alarm(AlarmChange::Returned { id, at })]).await.unwrap();
}

fn subjects(entries: &[FeedEntry]) -> Vec<String> {
    entries.iter().map(|e| format!("{} {}", e.kind, e.subject.split_once('/').unwrap().1)).collect()
}

#[tokio::test]
async fn a_feed_has_each_subject_once_in_order_of_its_last_change() {
    on_both(|store| async move {
        be(&store, COUNTY, "县局", NodeLevel::County, Some("530402")).await;
        let e = made(&store, "E1", "530402").await;
        let d = device(&store, "D1", Some(e.id)).await;
        assert_eq!(store.feed_end(UP).await.unwrap(), 0, "nobody above, nothing is told");
        let above = Neighbour {
            id: CITY,
            name: "市局".into(),
            level: NodeLevel::City,
            region: Some(region("5304")),
            enterprise: None,
            fingerprint: "cd".into(),
            address: None,
        };
        store.put_parent(&admin(), &above, NOW).await.unwrap();
        let all = store.feed(UP, 0, 100).await.unwrap();
        assert_eq!(subjects(&all), [format!("enterprise {}", e.id), format!("device {d}")]);
        assert_eq!(
            all[0].seq,
            (1 << 40) + 1,
            "a run numbers from a place of its own: one that was restored from a backup does not use a number twice"
        );
        let p = point(&store, d, "GT-1").await;
        let change = EnterpriseChange { revision: e.revision, name: Some("新名".into()), ..EnterpriseChange::default() };
        store.update_enterprise(&Scope::node(), e.id, &change, NOW).await.unwrap();
        raise(&store, alarm_id(1), p.id, NOW).await;
        store.acknowledge(&admin(), alarm_id(1), "已派人", later(1)).await.unwrap();
        let all = store.feed(UP, 0, 100).await.unwrap();
        let want = [format!("device {d}"), format!("point {}", p.id), format!("enterprise {}", e.id), format!("alarm {}", alarm_id(1))];
        assert_eq!(subjects(&all), want);
        let last = all[3].seq;
        assert!(all.is_sorted_by(|a, b| a.seq < b.seq));
        assert_eq!(store.feed_end(UP).await.unwrap(), last);
        assert_eq!(store.feed_waits(UP, all[1].seq).await.unwrap(), 2);
        let body: Value = serde_json::from_str(&all[3].body).unwrap();
        assert_eq!(body["handlings"][0]["node"], json!(COUNTY.to_string()));
        assert_eq!((&body["handlings"][0]["acknowledged_note"], &body["handlings"][0]["name"]), (&json!("已派人"), &json!("县局")));
        // What changes without a person or an effect is not told.
        store.note_said(CITY, &json!({"software": "x"}), NOW).await.unwrap();
        assert_eq!(store.feed_end(UP).await.unwrap(), last);
        let of_both = [(CITY, json!({"software": "y"}), later(2)), (COUNTY, json!({"software": "z"}), later(3))];
        store.note_all_said(&of_both).await.unwrap();
        for (node, said, seen_at) in of_both {
            let row = store.node(&admin(), node).await.unwrap();
            assert_eq!((row.said, row.seen_at), (said, Some(seen_at)));
        }
        // An alarm that stands is not dropped, however old; one that is over is, once it is old.
        assert_eq!(store.trim_feed(UP, i64::MAX, later(1_000)).await.unwrap(), 0);
        end(&store, alarm_id(1), later(10)).await;
        let after = store.feed_end(UP).await.unwrap();
        assert_eq!(store.trim_feed(UP, last, later(1_000)).await.unwrap(), 0, "not what was not told");
        assert_eq!(store.trim_feed(UP, after, later(10)).await.unwrap(), 0);
        assert_eq!(store.trim_feed(UP, after, later(11)).await.unwrap(), 1);
        assert_eq!(subjects(&store.feed(UP, 0, 100).await.unwrap()), want[..3]);
        store.leave_parent(&admin(), NOW).await.unwrap();
        made(&store, "E2", "530402").await;
        assert!(store.feed(UP, 0, 100).await.unwrap().is_empty());
        assert!(store.verify_audit(None).await.unwrap().complete);
    })
    .await;
}

#[tokio::test]
async fn what_a_child_tells_stands_here_once_and_is_read_only() {
    on_both(|county| async move {
        let (plant, _dir) = other().await;
        be(&county, COUNTY, "县局", NodeLevel::County, Some("530402")).await;
        be(&plant, PLANT, "甲厂", NodeLevel::Enterprise, None).await;
        let here = made(&county, "E1", "530402").await;
        let there = made(&plant, "E1", "530402").await;
        let d = device(&plant, "D1", Some(there.id)).await;
        let p = point(&plant, d, "GT-1").await;
        join(&county, &plant, PLANT, NodeLevel::Enterprise, None, Some(here.id)).await;
        let from = peer(PLANT, NodeLevel::Enterprise, None, Some("E1"));
        let entries = plant.feed(UP, 0, 100).await.unwrap();
        let end = plant.feed_end(UP).await.unwrap();
        let applied = county.apply_feed(&from, 0, end, &entries, NOW).await.unwrap();
        assert!(applied.is_new && applied.refused.is_empty(), "{applied:?}");
        // A repeat, and one that would leave something out.
        for after in [0, end + 5] {
            let again = county.apply_feed(&from, after, end + 9, &entries, NOW).await.unwrap();
            assert_eq!(again, Applied { feed: end, ..Applied::default() });
        }
        let mirrored = county.mirrored_points().await.unwrap();
        assert_eq!(mirrored.len(), 1);
        assert_eq!((mirrored[0].origin, mirrored[0].remote), (PLANT, p.id.get()));
        let local = county.point(&Scope::node(), mirrored[0].local).await.unwrap();
        assert_eq!((local.point.code.as_str(), local.point.limits.h, local.point.enterprise), ("GT-1", Some(25.0), Some(here.id)));
        let row = county.device(&Scope::node(), local.point.device).await.unwrap().device;
        assert_eq!((row.code.as_str(), row.protocol.as_str()), ("bbbbbbbb:D1", "link"));
        // Its home is elsewhere.
        let node = Scope::node();
        let change = PointChange { revision: local.point.revision, confirmed: Some(false), ..PointChange::default() };
        let elsewhere = |result: Result<(), StoreError>| match result {
            Err(StoreError::Mirrored { node }) => node,
            other => panic!("{other:?}"),
        };
        assert_eq!(elsewhere(county.update_point(&node, local.point.id, &change, NOW).await.map(drop)), PLANT.to_string());
        let change = DeviceChange { revision: row.revision, name: Some("x".into()), ..DeviceChange::default() };
        elsewhere(county.update_device(&node, row.id, &change, NOW).await.map(drop));
        elsewhere(county.set_device_secret(&node, row.id, [1; 32], NOW).await.map(drop));
        elsewhere(county.upsert_points(&node, row.id, &[PointPut { code: "X".into(), ..PointPut::default() }], NOW).await.map(drop));
        // Everything once more changes nothing: no audit entry, no revision.
        let before = number(&county, "SELECT COUNT(*) AS n FROM audit").await;
        county.reset_inbox(PLANT).await.unwrap();
        let again = county.apply_feed(&from, 0, end, &entries, NOW).await.unwrap();
        assert!(again.is_new && again.devices.is_empty() && again.enterprises.is_empty() && again.alarms.is_empty());
        assert_eq!(number(&county, "SELECT COUNT(*) AS n FROM audit").await, before);
        // The county's own file of the enterprise is the county's.
        let change = EnterpriseChange { revision: here.revision, name: Some("县里的名字".into()), ..EnterpriseChange::default() };
        county.update_enterprise(&node, here.id, &change, NOW).await.unwrap();
        // A sheet does not change what another node keeps; what it says the same is the same.
        let row = |code: &str, name: &str| NewEnterprise {
            code: code.into(),
            name: name.into(),
            region: region("530402"),
            sector: "hazchem".into(),
            place: None,
        };
        let town = peer(PLANT, NodeLevel::Township, Some("530402"), None);
        made(&plant, "E5", "530402").await;
        let more = plant.feed(UP, end, 100).await.unwrap();
        assert_eq!(county.apply_feed(&town, end, more[0].seq, &more, NOW).await.unwrap().enterprises.len(), 1);
        let answers = county.import_enterprises(&node, &[row("E5", "别名"), row("E5", "E5化工")], false, NOW).await.unwrap();
        assert_eq!(answers, [ImportedEnterprise::Elsewhere, ImportedEnterprise::Same]);
        // Its heartbeat.
        let child = county.node(&node, PLANT).await.unwrap();
        let beat = county.point(&node, child.point.unwrap()).await.unwrap().point;
        assert_eq!((beat.name.as_str(), beat.enterprise), ("联网心跳", Some(here.id)));
        assert!(county.verify_audit(None).await.unwrap().complete);
    })
    .await;
}

#[tokio::test]
async fn what_is_outside_of_a_certificate_is_refused_and_the_rest_goes_on() {
    on_both(|city| async move {
        let (county, _dir) = other().await;
        be(&city, CITY, "市局", NodeLevel::City, Some("5304")).await;
        be(&county, COUNTY, "县局", NodeLevel::County, Some("530402")).await;
        let foreign = made(&city, "E9", "530423").await;
        for (code, of) in [("E1", "530402"), ("E2", "530423"), ("E9", "530402"), ("E3", "530402")] {
            let e = made(&county, code, of).await;
            let d = device(&county, &format!("D-{code}"), Some(e.id)).await;
            let p = point(&county, d, "GT-1").await;
            if code == "E2" {
                raise(&county, alarm_id(2), p.id, NOW).await;
            }
        }
        join(&city, &county, COUNTY, NodeLevel::County, Some("530402"), None).await;
        let from = peer(COUNTY, NodeLevel::County, Some("530402"), None);
        let refused = carry(&county, UP, &city, &from, NOW).await;
        let why: BTreeMap<&str, usize> = refused.iter().fold(BTreeMap::new(), |mut n, refused| {
            *n.entry(refused.reason).or_default() += 1;
            n
        });
        assert_eq!(why, BTreeMap::from([("territory", 7)]), "{refused:?}");
        let node = Scope::node();
        let names: Vec<String> = city.all_enterprises().await.unwrap().into_iter().map(|e| e.code).collect();
        assert_eq!(names, ["E9", "E1", "E3"], "another county's enterprise under its own code is not taken over, nor made");
        assert_eq!(city.enterprise(&node, foreign.id).await.unwrap().points, 0);
        let devices = city.devices(&node, &DeviceFilter::default(), &Paging::all()).await.unwrap().items;
        let codes: Vec<&str> = devices.iter().map(|d| d.device.code.as_str()).collect();
        assert_eq!(codes, ["node-aaaaaaaa", "aaaaaaaa:D-E1", "aaaaaaaa:D-E3"]);
        assert!(city.alarms(&node, &AlarmFilter::default(), &Paging::all()).await.unwrap().items.is_empty());
        let events = city.events(&node, Some("link_refused"), &Paging::all()).await.unwrap().items;
        let n: u64 = events.iter().map(|e| e.detail["n"].as_u64().unwrap()).sum();
        assert_eq!((events.len(), n), (4, 7), "one for each kind and hour: {events:?}");

        // Others' ids, broken bodies and unknown kinds.
        let end = city.inbox(COUNTY).await.unwrap().feed;
        let good = |kind: &str, subject: String, body: Value| FeedEntry { seq: 0, kind: kind.into(), subject, body: body.to_string() };
        let named = |code: &str| json!({"code": code, "name": "n", "region": "530402", "sector": "", "lon": null, "lat": null});
        let entries = [
            good("enterprise", format!("{PLANT}/1"), named("E7")),
            good("enterprise", format!("{COUNTY}/x"), named("E7")),
            good("enterprise", format!("{COUNTY}/77"), json!({"code": 7})),
            good("enterprise", format!("{COUNTY}/78"), named("E\u{0}7")),
            good("handling", format!("{COUNTY}/79"), json!({})),
            good("", String::new(), json!(null)),
            good("enterprise", format!("{COUNTY}/80"), named("E8")),
        ];
        let applied = city.apply_feed(&from, end, end + 7, &entries, NOW).await.unwrap();
        let why: Vec<&str> = applied.refused.iter().map(|r| r.reason).collect();
        assert_eq!(why, ["origin", "subject", "body", "body", "kind", "subject"]);
        assert_eq!(applied.enterprises.len(), 1);
        // One that may not take part is not heard at all.
        city.freeze_node(COUNTY, "两台机器自称同一节点", NOW).await.unwrap();
        assert!(matches!(city.apply_feed(&from, end + 7, end + 8, &[], NOW).await, Err(StoreError::NotFound)));
        city.resume_node(&admin(), COUNTY, Resume::Restored, NOW).await.unwrap();
        assert_eq!(city.inbox(COUNTY).await.unwrap().feed, 0, "it is read anew");
    })
    .await;
}

#[tokio::test]
async fn three_levels_handle_one_alarm_each_for_itself() {
    on_both(|county| async move {
        let ((plant, _p), (city, _c)) = (other().await, other().await);
        be(&city, CITY, "市局", NodeLevel::City, Some("5304")).await;
        be(&county, COUNTY, "县局", NodeLevel::County, Some("530402")).await;
        be(&plant, PLANT, "甲厂", NodeLevel::Enterprise, None).await;
        let here = made(&county, "E1", "530402").await;
        let there = made(&plant, "E1", "530402").await;
        let d = device(&plant, "D1", Some(there.id)).await;
        let p = point(&plant, d, "GT-1").await;
        join(&county, &plant, PLANT, NodeLevel::Enterprise, None, Some(here.id)).await;
        // What the county has of the plant by then goes on to the city when that becomes its parent.
        carry(&plant, UP, &county, &peer(PLANT, NodeLevel::Enterprise, None, Some("E1")), NOW).await;
        join(&city, &county, COUNTY, NodeLevel::County, Some("530402"), None).await;
        let (from_plant, from_county) =
            (peer(PLANT, NodeLevel::Enterprise, None, Some("E1")), peer(COUNTY, NodeLevel::County, Some("530402"), None));
        let (from_city, down_county) =
            (peer(CITY, NodeLevel::City, Some("5304"), None), peer(COUNTY, NodeLevel::County, Some("530402"), None));
        let id = alarm_id(3);
        raise(&plant, id, p.id, NOW).await;
        let round = async || {
            for _ in 0..3 {
                assert!(carry(&plant, UP, &county, &from_plant, later(2)).await.is_empty());
                assert!(carry(&county, UP, &city, &from_county, later(3)).await.is_empty());
                assert!(carry(&city, &COUNTY.to_string(), &county, &from_city, later(4)).await.is_empty());
                assert!(carry(&county, &PLANT.to_string(), &plant, &down_county, later(5)).await.is_empty());
            }
        };
        round().await;
        let node = Scope::node();
        plant.acknowledge(&Scope { name: "张三".into(), ..Scope::node() }, id, "厂里在查", later(10)).await.unwrap();
        county.acknowledge(&Scope { name: "李四".into(), ..Scope::node() }, id, "县里知道", later(11)).await.unwrap();
        city.acknowledge(&Scope { name: "王五".into(), ..Scope::node() }, id, "市里知道", later(12)).await.unwrap();
        round().await;
        for (store, own, others, home) in [
            (&plant, "张三", [("县局", "李四"), ("市局", "王五")], None),
            (&county, "李四", [("0", "张三"), ("市局", "王五")], Some(PLANT)),
            (&city, "王五", [("0", "张三"), ("0", "李四")], Some(PLANT)),
        ] {
            let alarm = store.alarm(&node, id).await.unwrap();
            assert_eq!(alarm.acknowledged_by.as_deref(), Some(own));
            let by: Vec<&str> = alarm.handlings.iter().map(|h| h.acknowledged_by.as_deref().unwrap()).collect();
            assert_eq!(by, others.map(|o| o.1));
            for (h, (name, _)) in alarm.handlings.iter().zip(others) {
                assert!(name == "0" || h.name == name, "{h:?}");
                assert!(h.level.is_some() && !h.name.is_empty(), "{h:?}");
            }
            assert_eq!(alarm.home.map(|h| h.id), home);
            assert_eq!(alarm.returned_at, None);
        }
        // A level closes for itself alone, once the condition is gone everywhere.
        assert!(matches!(city.close_alarm(&node, id, "x", later(13)).await, Err(StoreError::StillStanding)));
        end(&plant, id, later(20)).await;
        round().await;
        city.close_alarm(&node, id, "核实完毕", later(30)).await.unwrap();
        round().await;
        let alarm = plant.alarm(&node, id).await.unwrap();
        assert_eq!(alarm.closed_at, None);
        assert_eq!(alarm.handlings[1].closed_reason.as_deref(), Some("核实完毕"));
        // Quiet: nobody echoes.
        let ends = async || {
            let (a, b) = (plant.feed_end(UP).await.unwrap(), county.feed_end(UP).await.unwrap());
            (a, b, city.feed_end(&COUNTY.to_string()).await.unwrap(), county.feed_end(&PLANT.to_string()).await.unwrap())
        };
        let before = ends().await;
        round().await;
        assert_eq!(ends().await, before);
        // A county that was set back hears of the alarm from the plant alone, and tells of it without what the city did: that is told once more.
        let told = county.feed(UP, 0, 1_000).await.unwrap().into_iter().find(|entry| entry.kind == "alarm").unwrap();
        let mut body: Value = serde_json::from_str(&told.body).unwrap();
        body["handlings"].as_array_mut().unwrap().retain(|h| h["node"] != json!(CITY.to_string()));
        let after = city.inbox(COUNTY).await.unwrap().feed;
        let lacking = FeedEntry { seq: after + 1, body: body.to_string(), ..told };
        assert_eq!(city.apply_feed(&from_county, after, after + 1, &[lacking], later(31)).await.unwrap().refused, []);
        let once_more = city.feed(&COUNTY.to_string(), before.2, 10).await.unwrap();
        assert_eq!(subjects(&once_more), [format!("handling {id}")]);
        assert!(carry(&city, &COUNTY.to_string(), &county, &from_city, later(32)).await.is_empty());
        assert_eq!(county.feed_end(&PLANT.to_string()).await.unwrap(), before.3, "it knew it");
        // The engine of a level never judges another's alarm.
        assert!(county.standing_alarms().await.unwrap().is_empty());
        // The plant's device is the plant's at every level, under the county's file of the enterprise.
        let devices =
            city.devices(&node, &DeviceFilter { q: Some("D1".into()), ..DeviceFilter::default() }, &Paging::all()).await.unwrap().items;
        assert_eq!(devices.iter().map(|d| d.device.code.as_str()).collect::<Vec<_>>(), ["bbbbbbbb:D1"]);
        assert_eq!(devices[0].enterprise_name.as_deref(), Some("E1化工"));
        assert_eq!(city.all_enterprises().await.unwrap().len(), 1);
        let mirrored = city.mirrored_points_of(&[devices[0].device.id]).await.unwrap();
        assert_eq!(mirrored.iter().map(|m| (m.origin, m.remote)).collect::<Vec<_>>(), [(PLANT, p.id.get())]);
        // The city knows the plant, behind the county; the plant knows the city, behind the county.
        let row = city.node(&node, PLANT).await.unwrap();
        assert_eq!((row.relation, row.via, row.enterprise_code.as_deref()), (Relation::Behind, Some(COUNTY), Some("E1")));
        let row = plant.node(&node, CITY).await.unwrap();
        assert_eq!((row.relation, row.via, row.name.as_str()), (Relation::Behind, Some(COUNTY), "市局"));
        for store in [&plant, &county, &city] {
            assert!(store.verify_audit(None).await.unwrap().complete);
        }
    })
    .await;
}

#[tokio::test]
async fn a_restored_child_that_counts_anew_is_known_by_its_codes() {
    on_both(|county| async move {
        let (plant, _dir, d, from) = plant_below(&county).await;
        let (a, b) = (point(&plant, d, "GT-1").await, point(&plant, d, "GT-2").await);
        assert!(carry(&plant, UP, &county, &from, NOW).await.is_empty());
        let names = async || {
            let mut names = Vec::new();
            for mirrored in county.mirrored_points().await.unwrap() {
                let point = county.point(&Scope::node(), mirrored.local).await.unwrap().point;
                names.push((
                    mirrored.remote,
                    county.device(&Scope::node(), point.device).await.unwrap().device.code,
                    point.code,
                    mirrored.local,
                ));
            }
            names
        };
        let before = names().await;
        // It has forgotten all of it, and gives the same ids to others.
        let (restored, _dir) = other().await;
        be(&restored, PLANT, "甲厂", NodeLevel::Enterprise, None).await;
        let there = made(&restored, "E1", "530402").await;
        let (d0, d1) = (device(&restored, "D0", Some(there.id)).await, device(&restored, "D1", Some(there.id)).await);
        assert_eq!(d0, d);
        stand_below(&restored, &county).await;
        let (c, e) = (point(&restored, d1, "GT-2").await, point(&restored, d0, "GT-1").await);
        assert_eq!((a.id, b.id), (c.id, e.id));
        county.reset_inbox(PLANT).await.unwrap();
        assert!(carry(&restored, UP, &county, &from, NOW).await.is_empty());
        let after = names().await;
        let (d0, d1) = ("bbbbbbbb:D0".to_owned(), "bbbbbbbb:D1".to_owned());
        let fresh = after.iter().map(|(.., local)| *local).max().unwrap();
        let want = [
            (-1, d1.clone(), "GT-1".to_owned(), before[0].3),
            (a.id.get(), d1, "GT-2".to_owned(), before[1].3),
            (b.id.get(), d0, "GT-1".to_owned(), fresh),
        ];
        assert_eq!(after, want, "{before:?}");
    })
    .await;
}

#[tokio::test]
async fn a_restored_child_that_gives_an_enterprises_id_to_another_renames_none() {
    on_both(|county| async move {
        let (park, _dir) = other().await;
        be(&county, COUNTY, "县局", NodeLevel::County, Some("530402")).await;
        be(&park, PLANT, "园区", NodeLevel::Township, Some("530402")).await;
        join(&county, &park, PLANT, NodeLevel::Township, Some("530402"), None).await;
        let from = peer(PLANT, NodeLevel::Township, Some("530402"), None);
        let (a, b) = (made(&park, "E1", "530402").await, made(&park, "E2", "530402").await);
        device(&park, "D1", Some(a.id)).await;
        device(&park, "D2", Some(b.id)).await;
        // One that the county has of its own: it is only named by the park.
        let here = made(&county, "E3", "530402").await;
        let c = made(&park, "E3", "530402").await;
        device(&park, "D3", Some(c.id)).await;
        assert!(carry(&park, UP, &county, &from, NOW).await.is_empty());
        let owners = async || {
            let mut owners = BTreeMap::new();
            for row in county.all_mirrored_devices().await.unwrap() {
                let device = county.device(&Scope::node(), row).await.unwrap().device;
                owners.insert(device.code.split_once(':').unwrap().1.to_owned(), device.enterprise.unwrap());
            }
            owners
        };
        let before = owners().await;
        assert_eq!(before["D3"], here.id);
        // The park was set back to before all of that: the first id is another's now, the first enterprise comes again under another id.
        let (restored, _dir) = other().await;
        be(&restored, PLANT, "园区", NodeLevel::Township, Some("530402")).await;
        let (x, again, y) =
            (made(&restored, "E4", "530402").await, made(&restored, "E1", "530402").await, made(&restored, "E5", "530402").await);
        assert_eq!((x.id, again.id, y.id), (a.id, b.id, c.id));
        device(&restored, "D4", Some(x.id)).await;
        device(&restored, "D1", Some(again.id)).await;
        device(&restored, "D5", Some(y.id)).await;
        stand_below(&restored, &county).await;
        for _ in 0..2 {
            county.reset_inbox(PLANT).await.unwrap();
            assert!(carry(&restored, UP, &county, &from, NOW).await.is_empty());
            let after = owners().await;
            for code in ["D1", "D2", "D3"] {
                assert_eq!(after[code], before[code], "{code}");
            }
            let of = async |code: &str| county.enterprise(&Scope::node(), after[code]).await.unwrap().enterprise.code;
            assert_eq!(
                (of("D1").await, of("D2").await, of("D4").await, of("D5").await),
                ("E1".into(), "E2".into(), "E4".into(), "E5".into())
            );
            assert_eq!(county.all_enterprises().await.unwrap().len(), 5);
        }
        // From now on it may be given another code: it is known by its mark.
        let change =
            EnterpriseChange { revision: 1, code: Some("E6".into()), name: Some("改名化工".into()), ..EnterpriseChange::default() };
        restored.update_enterprise(&Scope::node(), again.id, &change, NOW).await.unwrap();
        assert!(carry(&restored, UP, &county, &from, NOW).await.is_empty());
        let row = county.enterprise(&Scope::node(), before["D1"]).await.unwrap().enterprise;
        assert_eq!((row.code.as_str(), row.name.as_str()), ("E6", "改名化工"));
    })
    .await;
}

#[tokio::test]
async fn vehicles_and_combinations_are_known_above_with_their_alarms() {
    on_both(|city| async move {
        let ((county, _a), (plant, _b)) = (other().await, other().await);
        be(&city, CITY, "市局", NodeLevel::City, Some("5304")).await;
        be(&county, COUNTY, "县局", NodeLevel::County, Some("530402")).await;
        be(&plant, PLANT, "甲厂", NodeLevel::Enterprise, None).await;
        let here = made(&county, "E1", "530402").await;
        join(&city, &county, COUNTY, NodeLevel::County, Some("530402"), None).await;
        join(&county, &plant, PLANT, NodeLevel::Enterprise, None, Some(here.id)).await;
        let there = made(&plant, "E1", "530402").await;
        let d = device(&plant, "D1", Some(there.id)).await;
        let (a, b) = (point(&plant, d, "GT-1").await, point(&plant, d, "GT-2").await);
        let node = Scope::node();
        let truck = plant.ensure_vehicle("13900000001", Trust::Listed, true, NOW).await.unwrap();
        let put = VehicleChange {
            revision: truck.revision,
            plate: Some("云F12345".into()),
            kind: Some("hazmat".into()),
            enterprise: Some(Some(there.id)),
            ..VehicleChange::default()
        };
        plant.update_vehicle(&node, truck.id, &put, NOW).await.unwrap();
        // A county's own vehicle of a territory alone, and one that an enterprise's node says is of a territory.
        let bus = county.ensure_vehicle("13900000002", Trust::Listed, true, NOW).await.unwrap();
        let put = VehicleChange { revision: bus.revision, region: Some(Some(region("530402"))), ..VehicleChange::default() };
        county.update_vehicle(&node, bus.id, &put, NOW).await.unwrap();
        let stray = plant.ensure_vehicle("13900000003", Trust::Open, false, NOW).await.unwrap();
        let put = VehicleChange { revision: stray.revision, region: Some(Some(region("530402"))), ..VehicleChange::default() };
        plant.update_vehicle(&node, stray.id, &put, NOW).await.unwrap();
        let members = [CombinationMember { point: a.id, kind: RuleKind::H }, CombinationMember { point: b.id, kind: RuleKind::H }];
        let source = LimitsSource { document: "联锁表".into(), ..LimitsSource::default() };
        let new = NewCombination {
            enterprise: there.id,
            name: "泄漏确认".into(),
            level: Level::Red,
            needed: 1,
            within_s: 30.0,
            members: members.to_vec(),
            source,
        };
        let combination = plant.create_combination(&node, &new, 100, NOW).await.unwrap();
        raise(&plant, alarm_id(1), a.id, NOW).await;
        let raised = |id, subject, kind| RaisedAlarm {
            id,
            rule: format!("rule-{}", id),
            kind,
            subject,
            level: Level::Red,
            value: Some(96.0),
            threshold: Some(80.0),
            unit: "km/h".into(),
            source: "GB 7258-2017".into(),
            confidence: "unverified".into(),
            onset_at: NOW,
            raised_at: NOW,
            historic: false,
        };
        let part = |point, alarm| AlarmPart { point, kind: RuleKind::H, alarm };
        let effects = [
            Effect::Alarm(AlarmChange::Raised(raised(alarm_id(2), Subject::Vehicle(truck.id), RuleKind::Overspeed))),
            Effect::Alarm(AlarmChange::Raised(raised(alarm_id(3), Subject::Point(a.id), RuleKind::Combination))),
            Effect::Combined {
                alarm: alarm_id(3),
                combination: combination.id,
                parts: vec![part(a.id, Some(alarm_id(1))), part(b.id, None)],
            },
        ];
        plant.project(plant.projected().await.unwrap() + 1, &effects).await.unwrap();
        let (of_county, of_plant) =
            (peer(COUNTY, NodeLevel::County, Some("530402"), None), peer(PLANT, NodeLevel::Enterprise, None, Some("E1")));
        let round = async || {
            let refused = carry(&plant, UP, &county, &of_plant, later(1)).await;
            assert!(carry(&county, UP, &city, &of_county, later(2)).await.is_empty());
            refused.iter().map(|r| (r.kind.clone(), r.reason)).collect::<Vec<_>>()
        };
        assert_eq!(round().await, [("vehicle".to_owned(), "territory")]);
        let all = city.vehicles(&node, &VehicleFilter::default(), &Paging::all()).await.unwrap().items;
        let mut seen: Vec<_> =
            all.iter().map(|v| (v.vehicle.phone.as_str(), v.vehicle.plate.as_str(), v.enterprise_name.as_deref(), v.worst_level)).collect();
        seen.sort_unstable();
        let want = [("aaaaaaaa:13900000002", "", None, None), ("bbbbbbbb:13900000001", "云F12345", Some("E1化工"), Some(Level::Red))];
        assert_eq!(seen, want);
        for store in [&county, &city] {
            let alarm = store.alarm(&node, alarm_id(2)).await.unwrap();
            assert_eq!((alarm.subject_name.as_str(), alarm.home.map(|h| h.id)), ("云F12345", Some(PLANT)));
            let alarm = store.alarm(&node, alarm_id(3)).await.unwrap();
            assert_eq!((alarm.subject_name.as_str(), alarm.combination), ("泄漏确认", None));
            let members: Vec<_> = alarm.members.iter().map(|m| (m.point_name.as_str(), m.alarm.as_ref().map(|a| a.id))).collect();
            assert_eq!(members, [("GT-1浓度", Some(alarm_id(1))), ("GT-2浓度", None)]);
            // It is the plant's: nobody here commands or changes it.
            let id = store
                .vehicles(&node, &VehicleFilter { q: Some("云F12345".into()), ..VehicleFilter::default() }, &Paging::all())
                .await
                .unwrap()
                .items[0]
                .vehicle
                .id;
            let change = VehicleChange { revision: 1, plate: Some("云F00000".into()), ..VehicleChange::default() };
            assert!(matches!(store.update_vehicle(&node, id, &change, NOW).await, Err(StoreError::Mirrored { .. })));
            assert!(matches!(
                store.create_command(&node, Target::Vehicle(id), &CommandBody::QueryPosition, NOW).await,
                Err(StoreError::Mirrored { .. })
            ));
            assert!(!store.registered_vehicles().await.unwrap().contains(&id), "it is driven and reckoned there");
        }
        // A member that joins later is known above, and the end; a new plate too.
        raise(&plant, alarm_id(4), b.id, later(3)).await;
        let joined = Effect::Combined {
            alarm: alarm_id(3),
            combination: combination.id,
            parts: vec![part(a.id, Some(alarm_id(1))), part(b.id, Some(alarm_id(4)))],
        };
        plant.project(plant.projected().await.unwrap() + 1, &[joined]).await.unwrap();
        end(&plant, alarm_id(2), later(4)).await;
        let put = VehicleChange { revision: 2, plate: Some("云F54321".into()), ..VehicleChange::default() };
        plant.update_vehicle(&node, truck.id, &put, later(5)).await.unwrap();
        round().await;
        for store in [&county, &city] {
            let alarm = store.alarm(&node, alarm_id(3)).await.unwrap();
            assert_eq!(alarm.members[1].alarm.as_ref().map(|a| a.id), Some(alarm_id(4)));
            let alarm = store.alarm(&node, alarm_id(2)).await.unwrap();
            assert_eq!((alarm.subject_name.as_str(), alarm.returned_at), ("云F54321", Some(later(4))));
            assert!(store.verify_audit(None).await.unwrap().complete);
        }
        let before = (county.feed_end(UP).await.unwrap(), plant.feed_end(UP).await.unwrap());
        round().await;
        assert_eq!((county.feed_end(UP).await.unwrap(), plant.feed_end(UP).await.unwrap()), before, "nobody echoes");
    })
    .await;
}

#[tokio::test]
async fn what_is_refused_leaves_nothing_behind() {
    on_both(|county| async move {
        let (plant, _dir, d, from) = plant_below(&county).await;
        let p = point(&plant, d, "GT-1").await;
        raise(&plant, alarm_id(1), p.id, NOW).await;
        let mut alarm = plant.feed(UP, 0, 100).await.unwrap().pop().filter(|entry| entry.kind == "alarm").unwrap();
        let mut body: Value = serde_json::from_str(&alarm.body).unwrap();
        body["enterprise"] = json!("E\u{0}1");
        alarm.body = body.to_string();
        // Nowhere on earth: noticed when its device was made already.
        let mut wrong = body["point"].clone();
        (wrong["lon"], wrong["lat"]) = (json!(500.0), json!(1.0));
        let subject = format!("{PLANT}/{}", p.id);
        let wrong = FeedEntry { seq: alarm.seq + 1, kind: "point".into(), subject, body: wrong.to_string() };
        let upto = wrong.seq;
        let applied = county.apply_feed(&from, 0, upto, &[alarm, wrong], NOW).await.unwrap();
        assert_eq!(applied.refused.iter().map(|refused| refused.reason).collect::<Vec<_>>(), ["body", "body"]);
        assert!(applied.devices.is_empty() && applied.alarms.is_empty());
        assert!(county.mirrored_points().await.unwrap().is_empty());
        assert_eq!(county.all_mirrored_devices().await.unwrap().len(), 0, "the device of a point that was refused");
        assert!(county.verify_audit(None).await.unwrap().complete);
        assert_eq!(county.inbox(PLANT).await.unwrap().feed, upto);
    })
    .await;
}

#[tokio::test]
async fn an_alarm_that_comes_late_and_is_over_wakes_nobody() {
    on_both(|county| async move {
        let (plant, _dir, d, from) = plant_below(&county).await;
        let (a, b) = (point(&plant, d, "GT-1").await, point(&plant, d, "GT-2").await);
        raise(&plant, alarm_id(1), a.id, NOW).await;
        end(&plant, alarm_id(1), later(10)).await;
        raise(&plant, alarm_id(2), b.id, NOW).await;
        raise(&plant, alarm_id(3), a.id, later(20)).await;
        // The points come after their alarms: those are made from what the alarms tell.
        for id in [a.id, b.id] {
            let revision = plant.point(&Scope::node(), id).await.unwrap().point.revision;
            let change = PointChange { revision, site: Some("一车间".into()), ..PointChange::default() };
            plant.update_point(&Scope::node(), id, &change, NOW).await.unwrap();
        }
        // The first alarm was acknowledged meanwhile: it comes after the one that followed it.
        plant.acknowledge(&admin(), alarm_id(1), "", later(30)).await.unwrap();
        let refused = carry(&plant, UP, &county, &from, later(301)).await;
        assert!(refused.is_empty(), "{refused:?}");
        let node = Scope::node();
        let read = async |n: u128| county.alarm(&node, alarm_id(n)).await.unwrap();
        assert!(read(1).await.historic && read(1).await.returned_at == Some(later(10)));
        assert!(!read(2).await.historic, "it stands: somebody must look");
        assert!(!read(3).await.historic);
        let seen = county.point_set(&node, &PointFilter::default()).await.unwrap();
        assert_eq!(county.worst_levels(&seen).await.unwrap().iter().flatten().count(), 2);
        let points =
            county.points(&node, &PointFilter { q: Some("GT".into()), ..PointFilter::default() }, &Paging::all()).await.unwrap().items;
        assert!(points.iter().all(|p| p.point.confirmed && p.point.site == "一车间"), "{points:?}");
        end(&plant, alarm_id(2), later(400)).await;
        carry(&plant, UP, &county, &from, later(900)).await;
        assert!(!read(2).await.historic && read(2).await.returned_at.is_some(), "it was told in time");
        assert_eq!(county.worst_levels(&seen).await.unwrap().iter().flatten().count(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_invitation_is_for_one_node_for_a_while_and_bears_few_tries() {
    on_both(|store| async move {
        be(&store, COUNTY, "县局", NodeLevel::County, Some("530402")).await;
        let invite = async |n: u8| {
            let new = NewInvitation {
                name: "甲厂".into(),
                level: NodeLevel::Enterprise,
                region: None,
                enterprise: None,
                secret: [n; 16],
                expires_at: later(60),
            };
            store.invite(&admin(), &new, NOW, NOW).await.unwrap()
        };
        let claim = async |secret: [u8; 16], node: NodeId, key: &[u8], at: Timestamp| {
            store.claim_invitation(&secret, node, key, at, NOW).await.unwrap()
        };
        let first = invite(1).await;
        assert_eq!(claim([9; 16], PLANT, b"k", NOW).await, Claim::Unknown);
        assert_eq!(claim([1; 16], PLANT, b"k", later(60)).await, Claim::Expired);
        assert!(matches!(claim([1; 16], PLANT, b"k", later(59)).await, Claim::Held(row) if row.certificate.is_none()));
        assert!(matches!(claim([1; 16], PLANT, b"k", later(99)).await, Claim::Held(_)), "the same again, also later");
        assert_eq!(claim([1; 16], PLANT, b"other", NOW).await, Claim::Taken);
        assert_eq!(claim([1; 16], CITY, b"k", NOW).await, Claim::Taken);
        let admission = Admission { certificate: "PEM".into(), fingerprint: "ab".into(), serial: "1".into(), not_after: later(9) };
        let (row, device) = store.confirm_invitation(&admin(), first.id, &admission, NOW).await.unwrap();
        assert_eq!((row.relation, row.state, device.is_some()), (Relation::Child, NodeState::Active, true));
        assert!(matches!(claim([1; 16], PLANT, b"k", NOW).await, Claim::Held(row) if row.certificate.as_deref() == Some("PEM")));
        assert!(matches!(store.confirm_invitation(&admin(), first.id, &admission, NOW).await, Err(StoreError::NotFound)));
        // Half right five times.
        invite(2).await;
        let mut near = [2; 16];
        near[15] = 0;
        for _ in 0..5 {
            assert_eq!(claim(near, PLANT, b"k", NOW).await, Claim::Unknown);
        }
        assert_eq!(claim([2; 16], PLANT, b"k", NOW).await, Claim::Spent);
        let third = invite(3).await;
        store.delete_invitation(&admin(), third.id, NOW).await.unwrap();
        assert_eq!(claim([3; 16], PLANT, b"k", NOW).await, Claim::Unknown);
        // Nobody with a territory sees any of it.
        let role = Role::Administrator;
        let local = Scope {
            user: None,
            name: "x".into(),
            grants: vec![Grant { role, region: Some(region("53")), sector: None, enterprise: None }],
        };
        assert!(store.nodes(&local).await.unwrap().is_empty() && store.invitations(&local).await.unwrap().is_empty());
        assert!(matches!(store.node(&local, PLANT).await, Err(StoreError::NotFound)));
        assert!(matches!(store.revoke_node(&local, PLANT, "x", NOW).await, Err(StoreError::OutOfScope)));
        assert_eq!(store.invitations(&admin()).await.unwrap().len(), 2);
        // Starts.
        let revoked = store.revoke_node(&admin(), PLANT, "退出", NOW).await.unwrap();
        assert_eq!(revoked.state, NodeState::Revoked);
        assert_eq!(store.freeze_node(PLANT, "x", NOW).await.unwrap().state, NodeState::Revoked, "for ever");
        assert!(store.verify_audit(None).await.unwrap().complete);
    })
    .await;
}

#[tokio::test]
async fn proofs_say_whether_all_holders_have_the_same() {
    on_both(|store| async move {
        be(&store, COUNTY, "县局", NodeLevel::County, Some("530402")).await;
        let proof = |day: &str, holder: NodeId, n: i64, ours: Option<i64>| NewProof {
            origin: PLANT,
            day: day.into(),
            holder,
            position: 9,
            count: n,
            sum: format!("{n:032x}"),
            ours: ours.map(|n| (n, format!("{n:032x}"))),
            readings: None,
            at: NOW,
        };
        for new in [
            proof("2025-11-20", PLANT, 5, Some(5)),
            proof("2025-11-21", PLANT, 5, Some(4)),
            proof("2025-11-22", PLANT, 5, None),
            proof("2025-11-22", CITY, 6, Some(6)),
            proof("2025-11-23", PLANT, 5, None),
        ] {
            store.put_proof(&new).await.unwrap();
        }
        let node = Scope::node();
        let page = store.proofs(&node, None, None, None, &Paging { cursor: None, limit: 3 }).await.unwrap();
        let equal: Vec<_> = page.items.iter().map(|d| (d.day.as_str(), d.equal, d.holders.len())).collect();
        assert_eq!(equal, [("2025-11-23", None, 1), ("2025-11-22", None, 3), ("2025-11-21", Some(false), 2)]);
        let rest = store.proofs(&node, None, None, None, &Paging { cursor: page.next, limit: 3 }).await.unwrap();
        assert_eq!((rest.items.len(), rest.items[0].equal, rest.next), (1, Some(true), None));
        assert_eq!(rest.items[0].holders.iter().map(|h| h.node).collect::<Vec<_>>(), [PLANT, COUNTY]);
        assert_eq!(store.newest_proofs().await.unwrap()[0].day, "2025-11-23");
        assert!(matches!(store.proof(&node, CITY, "2025-11-20").await, Err(StoreError::NotFound)));
    })
    .await;
}

/// Numbers are committed in their order: whoever reads behind a cursor while many write misses nothing that commits later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_behind_a_cursor_misses_nothing_that_commits_late() {
    on_both(|store| async move {
        be(&store, COUNTY, "县局", NodeLevel::County, Some("530402")).await;
        let (id, level, of) = (CITY, NodeLevel::City, Some(region("5304")));
        let above = Neighbour { id, name: "市局".into(), level, region: of, enterprise: None, fingerprint: "cd".into(), address: None };
        store.put_parent(&admin(), &above, NOW).await.unwrap();
        let mut writers = tokio::task::JoinSet::new();
        for w in 0..6_u32 {
            let store = store.clone();
            writers.spawn(async move {
                for i in 0..12_u32 {
                    if w == 0 {
                        made(&store, &format!("E{i}"), "530402").await;
                        continue;
                    }
                    let (day, sum) = (format!("20{w:02}-01-{:02}", i + 1), "0".repeat(32));
                    let new =
                        NewProof { origin: PLANT, day, holder: PLANT, position: 1, count: 1, sum, ours: None, readings: None, at: NOW };
                    store.put_proof(&new).await.unwrap();
                }
            });
        }
        let (mut after, mut seen) = (0, std::collections::BTreeSet::new());
        loop {
            let over = writers.is_empty();
            let entries = store.feed(UP, after, 5).await.unwrap();
            if let Some(last) = entries.last() {
                after = last.seq;
                seen.extend(entries.into_iter().map(|e| e.subject));
            } else if over {
                break;
            }
            while writers.try_join_next().transpose().unwrap().is_some() {}
        }
        assert_eq!(seen.len(), 72);
    })
    .await;
}

/// Rows of the child as the parent must have them.
type Seen = (Vec<(String, String, String)>, Vec<(String, String, Option<String>)>, Vec<String>, Vec<String>);

async fn seen(store: &Store, prefix: &str) -> Seen {
    let enterprises: BTreeMap<EnterpriseId, Enterprise> = store.all_enterprises().await.unwrap().into_iter().map(|e| (e.id, e)).collect();
    let devices: BTreeMap<DeviceId, Device> = store.all_devices().await.unwrap().into_iter().map(|d| (d.id, d)).collect();
    let points: BTreeMap<PointId, Point> = store.all_points().await.unwrap().into_iter().map(|p| (p.id, p)).collect();
    let is_other = |d: &Device| d.code.starts_with("node-");
    let code = |d: &Device| d.code.strip_prefix(prefix).unwrap_or(&d.code).to_owned();
    let mut e: Vec<_> = enterprises.values().map(|e| (e.code.clone(), e.name.clone(), e.region.to_string())).collect();
    let mut d: Vec<_> = devices
        .values()
        .filter(|d| !is_other(d))
        .map(|d| (code(d), d.name.clone(), d.enterprise.map(|e| enterprises[&e].code.clone())))
        .collect();
    let name = |p: &Point| format!("{}/{}", code(&devices[&p.device]), p.code);
    let mut p: Vec<_> = points
        .values()
        .filter(|p| !is_other(&devices[&p.device]))
        .map(|p| format!("{} {} {} {:?} {}", name(p), p.name, p.unit, p.limits, p.confirmed))
        .collect();
    let alarms = store.alarms(&Scope::node(), &AlarmFilter::default(), &Paging::all()).await.unwrap().items;
    let mut a: Vec<_> = alarms
        .iter()
        .map(|a| {
            let Subject::Point(id) = a.subject else { panic!("a vehicle") };
            format!("{} {} {:?} {:?} {}", a.id, name(&points[&id]), a.raised_at, a.returned_at, a.historic)
        })
        .collect();
    e.sort();
    d.sort();
    p.sort();
    a.sort();
    (e, d, p, a)
}

/// Random changes below, carried with repeats, stale cursors and short pieces: in the end the parent has exactly what the child has.
#[tokio::test]
async fn whatever_changes_below_stands_above_in_the_end() {
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_130_u64);
    println!("SEED={seed}");
    on_both(|parent| async move {
        on_both(|child| {
            let parent = parent.clone();
            async move { walk(&parent, &child, seed).await }
        })
        .await;
    })
    .await;
}

async fn walk(parent: &Store, child: &Store, seed: u64) {
    let mut state = seed;
    let mut random = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    // The parent is there before: two children of it come one after the other, under ids of their own.
    let earlier = parent.all_nodes().await.unwrap().len() as u128;
    let id = NodeId::new(COUNTY.get() + ((earlier + 1) << 100));
    let prefix = format!("{}:", &id.to_string()[..8]);
    if parent.own_node().is_none() {
        be(parent, CITY, "市局", NodeLevel::City, Some("5304")).await;
    }
    be(child, id, "县局", NodeLevel::County, Some("530402")).await;
    let tag = format!("{earlier}");
    let mut enterprises = vec![made(child, &format!("E{tag}-0"), "530402").await.id];
    let mut devices = vec![device(child, &format!("D{tag}-0"), Some(enterprises[0])).await];
    let mut points = vec![point(child, devices[0], "P0").await.id];
    let mut standing: Vec<(AlarmId, PointId)> = Vec::new();
    join(parent, child, id, NodeLevel::County, Some("530402"), None).await;
    let from = peer(id, NodeLevel::County, Some("530402"), None);
    let node = Scope::node();
    for step in 1..=160_i64 {
        let at = later(step);
        match random(9) {
            0 => enterprises.push(made(child, &format!("E{tag}-{step}"), "530402").await.id),
            1 => devices.push(device(child, &format!("D{tag}-{step}"), Some(enterprises[random(enterprises.len() as u64) as usize])).await),
            2 => points.push(point(child, devices[random(devices.len() as u64) as usize], &format!("P{step}")).await.id),
            3 => {
                let e = child.enterprise(&node, enterprises[random(enterprises.len() as u64) as usize]).await.unwrap().enterprise;
                let code = (random(2) == 0).then(|| format!("E{tag}-c{step}"));
                let change =
                    EnterpriseChange { revision: e.revision, name: Some(format!("名{step}")), code, ..EnterpriseChange::default() };
                child.update_enterprise(&node, e.id, &change, at).await.unwrap();
            }
            4 => {
                let d = child.device(&node, devices[random(devices.len() as u64) as usize]).await.unwrap().device;
                let enterprise = enterprises[random(enterprises.len() as u64) as usize];
                let change = DeviceChange { revision: d.revision, enterprise: Some(Some(enterprise)), ..DeviceChange::default() };
                child.update_device(&node, d.id, &change, at).await.unwrap();
            }
            5 => {
                let p = child.point(&node, points[random(points.len() as u64) as usize]).await.unwrap().point;
                let limits = Limits { h: Some(random(100) as f64), ..Limits::default() };
                let change =
                    PointChange { revision: p.revision, limits: Some(limits), confirmed: Some(random(2) == 0), ..PointChange::default() };
                child.update_point(&node, p.id, &change, at).await.unwrap();
            }
            6 => {
                let point = points[random(points.len() as u64) as usize];
                if standing.iter().all(|(_, of)| *of != point) {
                    let alarm = AlarmId::new(alarm_id(step as u128).get() + ((earlier + 1) << 64));
                    raise(child, alarm, point, at).await;
                    standing.push((alarm, point));
                }
            }
            7 if !standing.is_empty() => {
                let (alarm, _) = standing.swap_remove(random(standing.len() as u64) as usize);
                end(child, alarm, at).await;
            }
            _ => {
                // A piece is carried, of a cursor that may be stale, and perhaps twice.
                let have = parent.inbox(id).await.unwrap().feed;
                let after = if random(3) == 0 { have.saturating_sub(random(9) as i64) } else { have };
                let entries = child.feed(UP, after, 1 + random(6) as u32).await.unwrap();
                let Some(last) = entries.last() else { continue };
                for _ in 0..=random(1) {
                    let applied = parent.apply_feed(&from, after, last.seq, &entries, at).await.unwrap();
                    assert!(applied.refused.is_empty(), "SEED={seed} step {step}: {applied:?}");
                }
                if random(20) == 0 {
                    parent.reset_inbox(id).await.unwrap();
                }
            }
        }
    }
    let refused = carry(child, UP, parent, &from, later(200)).await;
    assert!(refused.is_empty(), "SEED={seed}: {refused:?}");
    let (want, have) = (seen(child, "").await, seen(parent, &prefix).await);
    let own = |text: &String| text.starts_with(&format!("D{tag}-"));
    assert_eq!(have.0.into_iter().filter(|e| e.0.starts_with(&format!("E{tag}-"))).collect::<Vec<_>>(), want.0, "SEED={seed}");
    assert_eq!(have.1.into_iter().filter(|d| own(&d.0)).collect::<Vec<_>>(), want.1, "SEED={seed}");
    assert_eq!(have.2.into_iter().filter(own).collect::<Vec<_>>(), want.2, "SEED={seed}");
    let ids: Vec<String> = want.3.iter().map(|a| a.split(' ').next().unwrap().to_owned()).collect();
    let alarms: Vec<String> = have.3.into_iter().filter(|a| ids.iter().any(|id| a.starts_with(id))).collect();
    assert_eq!(alarms, want.3, "SEED={seed}");
    assert!(parent.verify_audit(None).await.unwrap().complete);
}
