//! Queues of submissions, on both databases: whatever changes waits once, nothing falls between, and a thing says no more than it may.

use std::sync::Arc;

use anlan_domain::register::Kind;
use anlan_domain::submission::Of;
use anlan_model::noun::Grant;
use anlan_model::{
    AlarmChange, AlarmId, Effect, Level, NodeLevel, PointId, RaisedAlarm, RegionCode, Role, RuleKind, Scope, Subject, Timestamp, Trust,
};
use anlan_store::testing::{number, on_both_at, tamper};
use anlan_store::*;
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_secs(1_764_000_000);

const LISTING: &str = r#"
kind = "listing"
name = "挂牌"
name_en = "Listing"
standard = "x"
confidence = "product"
start = "draft"
exchange = "city"
title = "subject"
field = [
    { id = "subject", name = "内容", name_en = "Subject", type = "text" },
    { id = "phone", name = "电话", name_en = "Telephone", type = "text", exchange = "none" },
    { id = "responsible", name = "责任人", name_en = "Person", type = "person" },
    { id = "place", name = "位置", name_en = "Place", type = "place" },
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

fn later(s: i64) -> Timestamp {
    NOW.plus_us(s * 1_000_000)
}

fn wants() -> Vec<SubmissionWant> {
    let want = |of: Of| SubmissionWant {
        object: of.as_str().to_owned(),
        of: of.as_str().to_owned(),
        register: (of == Of::Record).then(|| "listing".to_owned()),
    };
    Of::ALL.map(want).to_vec()
}

fn put<'a>(version: &'a str, wants: Option<&'a [SubmissionWant]>) -> SubmissionPut<'a> {
    SubmissionPut { name: "province", submission: "s", version, hash: version, wants }
}

/// An enterprise with a device of two points, one heartbeat of a node, and a vehicle.
async fn plant(store: &Store, url: &str) -> anlan_model::noun::Enterprise {
    store.set_registers([Arc::new(Kind::parse(LISTING).unwrap())]);
    let new = NewEnterprise {
        code: "E1".into(),
        name: "企业E1".into(),
        region: RegionCode::new("530402").unwrap(),
        sector: "hazchem".into(),
        place: None,
    };
    let made = store.create_enterprise(&Scope::node(), &new, NOW).await.unwrap();
    tamper(
        url,
        "INSERT INTO region (code, name, name_en) VALUES ('530402', '红塔区', 'Hongta');
INSERT INTO device (code, name, enterprise_id, protocol, secret_hash) SELECT 'D1', '一号', id, 'mqtt', 'h' FROM enterprise;
INSERT INTO device (code, name, enterprise_id, protocol, secret_hash) SELECT 'node-bbbbbbbb', 'x', id, 'link', 'h' FROM enterprise;
INSERT INTO point (device_id, code, name, unit, kind, limits, confirmed) SELECT id, 'P1', '压力', 'MPa', 'pressure', '{\"h\":1.2}', 1 FROM device WHERE code = 'D1';
INSERT INTO point (device_id, code, name, limits, confirmed) SELECT id, 'P2', 'x', '{}', 0 FROM device WHERE code = 'D1';
INSERT INTO point (device_id, code, name, limits, confirmed) SELECT id, 'H', 'x', '{}', 1 FROM device WHERE protocol = 'link';",
    )
    .await;
    store.ensure_vehicle("13900000001", Trust::Listed, true, NOW).await.unwrap();
    made
}

fn raised(n: u128, point: i64, at: Timestamp) -> Effect {
    Effect::Alarm(AlarmChange::Raised(RaisedAlarm {
        id: AlarmId::new(n),
        rule: "hh".into(),
        kind: RuleKind::Hh,
        subject: Subject::Point(PointId::new(point)),
        level: Level::Red,
        value: Some(1.3),
        threshold: Some(1.2),
        unit: "MPa".into(),
        source: "x".into(),
        confidence: "verified".into(),
        onset_at: at,
        raised_at: at,
        historic: false,
    }))
}

async fn record(store: &Store, enterprise: anlan_model::EnterpriseId, fields: Value) -> anlan_model::RecordId {
    let node = Scope::node();
    let mut change = store.change_records(&node, NOW).await.unwrap();
    let owner = change.owner(enterprise).await.unwrap();
    let put = RecordPut {
        number: "GP-1".into(),
        title: "罐区".into(),
        state: "listed".into(),
        is_open: true,
        due_on: Some("2026-12-31".into()),
        texts: vec!["罐区".into()],
        body: json!({"fields": fields, "acts": [], "entered_on": "2026-11-23"}),
        ..RecordPut::default()
    };
    let id = change.create("listing", &owner, None, &put, json!({"transition": "list"})).await.unwrap();
    change.commit().await.unwrap();
    id
}

/// Subjects of an object that wait and are due.
async fn waiting(store: &Store, of: Of, now: Timestamp) -> Vec<SubmissionItem> {
    store.stamp_submission("province", now).await.unwrap();
    store.submission_due("province", of.as_str(), now, 100).await.unwrap()
}

fn sent(item: &SubmissionItem) -> SubmissionSettled {
    settled(item, SubmissionNow::Sent { digest: "d".into() }, "accepted")
}

fn settled(item: &SubmissionItem, now: SubmissionNow, outcome: &'static str) -> SubmissionSettled {
    let holder = SubmissionHolder { enterprise: None, region: Some("530402".into()), sector: None };
    SubmissionSettled {
        object: item.object.clone(),
        subject: item.subject.clone(),
        revision: item.revision,
        now,
        attempt: Some(NewSubmissionAttempt {
            key: "k".into(),
            digest: "d".into(),
            batch: "b".into(),
            outcome,
            detail: "{}".into(),
            holder,
        }),
    }
}

#[tokio::test]
async fn everything_waits_once_and_then_what_changes() {
    on_both_at(async |store, url| {
        let node = Scope::node();
        let owner = plant(&store, &url).await;
        store.project(1, &[raised(1, 1, NOW)]).await.unwrap();
        record(&store, owner.id, json!({"subject": "罐区"})).await;
        assert_eq!(number(&store, "SELECT COUNT(*) AS n FROM submission_item").await, 0, "nobody wants anything yet");
        let wants = wants();
        store.put_submission_target(&node, &put("1", Some(&wants)), NOW).await.unwrap();
        let mut counts = Vec::new();
        for of in Of::ALL {
            counts.push((of.as_str(), waiting(&store, of, later(1)).await.len()));
        }
        let all = [("enterprise", 1), ("device", 1), ("point", 2), ("vehicle", 1), ("alarm", 1), ("record", 1), ("latest", 0)];
        assert_eq!(counts, all, "without heartbeats of nodes");
        for of in Of::ALL {
            let settled: Vec<_> = waiting(&store, of, later(1)).await.iter().map(sent).collect();
            store.settle_submission(&put("1", None), &settled, &SubmissionTargetAfter::Taken, later(2)).await.unwrap();
            assert_eq!(waiting(&store, of, later(3)).await, []);
        }
        // Changes by people and by the log wait; whoever opens the database anew hears of them too.
        let again = Store::open(&url).await.unwrap();
        again.set_registers([Arc::new(Kind::parse(LISTING).unwrap())]);
        let change = EnterpriseChange { revision: owner.revision, name: Some("改名".into()), ..EnterpriseChange::default() };
        again.update_enterprise(&node, owner.id, &change, later(3)).await.unwrap();
        again.ensure_vehicle("13900000002", Trust::Listed, true, NOW).await.unwrap();
        again
            .project(2, &[Effect::Alarm(AlarmChange::Returned { id: AlarmId::new(1), at: later(3) }), raised(2, 2, later(3))])
            .await
            .unwrap();
        let id = record(&again, owner.id, json!({"subject": "库区"})).await;
        let counts: Vec<usize> = {
            let mut counts = Vec::new();
            for of in [Of::Enterprise, Of::Vehicle, Of::Alarm, Of::Record, Of::Point] {
                counts.push(waiting(&again, of, later(4)).await.len());
            }
            counts
        };
        assert_eq!(counts, [1, 1, 2, 1, 0]);
        // What changes while it is sent goes on waiting.
        let item = waiting(&again, Of::Record, later(4)).await.remove(0);
        let mut change = again.change_records(&node, later(4)).await.unwrap();
        let row = change.record("listing", id).await.unwrap();
        let closed = RecordPut { state: "delisted".into(), title: "库区".into(), body: row.body.clone(), ..RecordPut::default() };
        change.update(&row, row.revision, &closed, json!({"transition": "delist"})).await.unwrap();
        change.commit().await.unwrap();
        again.settle_submission(&put("1", None), &[sent(&item)], &SubmissionTargetAfter::Taken, later(5)).await.unwrap();
        let left = waiting(&again, Of::Record, later(6)).await;
        assert_eq!(
            (left.len(), left[0].revision, left[0].sent_at, left[0].digest.as_deref()),
            (1, item.revision + 1, Some(later(5)), Some("d"))
        );
        // A failure waits for its time, and a change does not.
        let again_at = SubmissionNow::Again { at: later(60), alone: true, reason: "{}".into() };
        let failed = SubmissionTargetAfter::Failed { next_at: later(30), reason: "{}".into() };
        again.settle_submission(&put("1", None), &[settled(&left[0], again_at, "failed")], &failed, later(7)).await.unwrap();
        assert_eq!(waiting(&again, Of::Record, later(8)).await, []);
        let held = waiting(&again, Of::Record, later(60)).await.remove(0);
        assert_eq!((held.n_tries, held.failed_since, held.alone), (1, Some(later(7)), true));
        let target = again.submission_targets(&node).await.unwrap().remove(0);
        assert_eq!((target.n_failures, target.failing_since, target.next_at), (1, Some(later(7)), later(30)));
        // Aside: not before a person says so.
        let aside = SubmissionNow::Aside { reason: "{}".into() };
        again
            .settle_submission(&put("1", None), &[settled(&held, aside, "refused")], &SubmissionTargetAfter::Same, later(61))
            .await
            .unwrap();
        assert_eq!(waiting(&again, Of::Record, later(1_000)).await, []);
        let page = again.submission_items(&node, "province", "aside", None, &Paging::all()).await.unwrap();
        assert_eq!(page.items.len(), 1);
        assert_eq!(again.resend_submission(&node, "province", None, later(62)).await.unwrap(), 1);
        assert_eq!(waiting(&again, Of::Record, later(63)).await[0].digest, None, "it goes whatever was taken before");
        assert!(matches!(again.resend_submission(&node, "province", Some(("record", "999")), NOW).await, Err(StoreError::NotFound)));
        // Another version: everything anew, and what its mapping does not name any more goes.
        let fewer = &wants[..1];
        again.put_submission_target(&node, &put("2", Some(fewer)), later(64)).await.unwrap();
        assert_eq!(number(&again, "SELECT COUNT(*) AS n FROM submission_item").await, 1);
        again.put_submission_target(&node, &put("2", None), later(65)).await.unwrap();
        again.ensure_vehicle("13900000003", Trust::Listed, true, NOW).await.unwrap();
        assert_eq!(number(&again, "SELECT COUNT(*) AS n FROM submission_item").await, 0, "off: nothing waits");
        let audit =
            again.audit(&node, &AuditFilter { noun: Some("submission".into()), ..AuditFilter::default() }, &Paging::all()).await.unwrap();
        let acts: Vec<&str> = audit.items.iter().rev().map(|entry| entry.action.as_str()).collect();
        assert_eq!(acts, ["enable", "resend", "enable", "disable"]);
        assert!(again.verify_audit(None).await.unwrap().complete);
        again.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_thing_says_what_it_is_and_no_more_than_it_may() {
    on_both_at(async |store, url| {
        let node = Scope::node();
        let owner = plant(&store, &url).await;
        store.project(1, &[raised(1, 1, NOW)]).await.unwrap();
        tamper(
            &url,
            "INSERT INTO alarm_handling (alarm_id, level, acknowledged_at_us, acknowledged_by) SELECT id, 'local', 1764000000000000, '张三' FROM alarm;",
        )
        .await;
        let fields = json!({"subject": "罐区", "phone": "13900000000", "place": {"lon": 102.5, "lat": 24.3}});
        let id = record(&store, owner.id, fields).await.to_string();
        let thing = async |of: Of, id: &str| {
            let register = (of == Of::Record).then_some("listing");
            let mut things = store.submission_things(&node, of, register, NodeLevel::City, &[id.to_owned()]).await.unwrap();
            things.remove(id)
        };
        // Every path that there is stands in it, and no other.
        for (of, id) in [
            (Of::Enterprise, owner.id.to_string()),
            (Of::Device, "1".to_owned()),
            (Of::Point, "1".to_owned()),
            (Of::Vehicle, "1".to_owned()),
            (Of::Alarm, AlarmId::new(1).to_string()),
            (Of::Record, id.clone()),
        ] {
            let found = thing(of, &id).await.unwrap_or_else(|| panic!("{of:?}"));
            assert_eq!(anlan_domain::submission::source::strangers(of, &found.thing), Vec::<String>::new(), "{of:?}");
            for (path, ..) in of.own() {
                assert!(found.thing.as_object().unwrap().contains_key(*path), "{of:?} {path}");
            }
        }
        let point = thing(Of::Point, "1").await.unwrap();
        assert_eq!(
            (&point.thing["limit_h"], &point.thing["device"]["code"], &point.thing["enterprise"]["region_name"]),
            (&json!(1.2), &json!("D1"), &json!("红塔区"))
        );
        let holder = SubmissionHolder { enterprise: Some(owner.id), region: Some("530402".into()), sector: Some("hazchem".into()) };
        assert_eq!(point.holder, holder);
        let alarm = thing(Of::Alarm, &AlarmId::new(1).to_string()).await.unwrap();
        assert_eq!((&alarm.thing["state"], &alarm.thing["acknowledged_by"], &alarm.thing["point"]["unit"]), (&json!("standing"), &json!("张三"), &json!("MPa")));
        assert_eq!(alarm.thing["raised_at"], NOW.to_string());
        assert_eq!(alarm.holder, holder);
        let listed = thing(Of::Record, &id).await.unwrap();
        assert_eq!(listed.thing["fields"], json!({"subject": "罐区", "place": {"lon": 102.5, "lat": 24.3}}), "the telephone stays");
        assert_eq!((&listed.thing["state_name"], &listed.thing["due_on"]), (&json!("督办中"), &json!("2026-12-31")));
        // A platform above the city gets nothing of it, whatever a mapping says; of another register neither.
        for (register, level) in [("listing", NodeLevel::Province), ("other", NodeLevel::City)] {
            let none = store.submission_things(&node, Of::Record, Some(register), level, std::slice::from_ref(&id)).await.unwrap();
            assert!(none.is_empty(), "{register} {level:?}");
        }
        // Heartbeats of nodes are neither devices nor points.
        assert_eq!((thing(Of::Device, "2").await, thing(Of::Point, "3").await, thing(Of::Point, "x").await), (None, None, None));
    })
    .await;
}

#[tokio::test]
async fn whoever_is_elsewhere_sees_no_attempt_and_no_queue() {
    on_both_at(async |store, url| {
        let node = Scope::node();
        plant(&store, &url).await;
        let wants = wants();
        store.put_submission_target(&node, &put("1", Some(&wants)), NOW).await.unwrap();
        let items: Vec<_> = waiting(&store, Of::Point, later(1)).await.iter().map(sent).collect();
        store.settle_submission(&put("1", None), &items, &SubmissionTargetAfter::Taken, later(1)).await.unwrap();
        let seer = |region: &str| Scope {
            grants: vec![Grant { role: Role::Leader, region: RegionCode::new(region), sector: None, enterprise: None }],
            ..Scope::node()
        };
        let seen = async |scope: &Scope| {
            store.submission_attempts(scope, &SubmissionAttemptFilter::default(), &Paging::all()).await.unwrap().items.len()
        };
        assert_eq!((seen(&node).await, seen(&seer("530402")).await, seen(&seer("530423")).await), (2, 2, 0));
        let here = seer("530402");
        assert_eq!(store.submission_targets(&here).await.unwrap(), []);
        assert_eq!(store.submission_counts(&here, "province").await.unwrap(), []);
        assert_eq!(store.submission_items(&here, "province", "sent", None, &Paging::all()).await.unwrap().items, []);
        assert_eq!(store.submission_item(&here, "province", "point", "1").await.unwrap(), None);
        let refused = store.put_submission_target(&here, &put("2", Some(&wants)), NOW).await;
        assert!(matches!(refused, Err(StoreError::OutOfScope)));
        assert!(matches!(store.resend_submission(&here, "province", None, NOW).await, Err(StoreError::OutOfScope)));
        assert!(matches!(
            store.submission_things(&here, Of::Point, None, NodeLevel::City, &["1".into()]).await,
            Err(StoreError::OutOfScope)
        ));
        // What was refused changed nothing: changes still wait for the version that is on.
        store.ensure_vehicle("13900000009", Trust::Listed, true, NOW).await.unwrap();
        assert_eq!(waiting(&store, Of::Vehicle, later(9)).await.len(), 2);
        // Limits of the log.
        assert_eq!(store.trim_submission_attempts(NOW, 1).await.unwrap(), 1, "the oldest beyond the newest");
        assert_eq!(store.trim_submission_attempts(later(2), 100).await.unwrap(), 1, "what is older");
        // After a backup: what is wanted and was never queued.
        tamper(&url, "DELETE FROM submission_item WHERE object = 'device' OR object = 'latest'").await;
        assert_eq!(store.top_up_submission("province", NOW).await.unwrap(), 1, "newest readings come by themselves");
        assert_eq!((store.next_submission_seq("province").await.unwrap(), store.next_submission_seq("province").await.unwrap()), (1, 2));
        store.touch_submission("province", "latest", &["1".into(), "2".into()]).await.unwrap();
        assert_eq!(waiting(&store, Of::Latest, later(10)).await.len(), 2);
    })
    .await;
}
