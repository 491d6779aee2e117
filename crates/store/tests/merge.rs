//! Two files of one enterprise become one, on both databases: nothing lost, sums equal, scopes right, and what stands against it.

use anlan_domain::register::search::Search;
use anlan_model::noun::Grant;
use anlan_model::{EnterpriseId, Role, Scope, Timestamp, Trust, UserId};
use anlan_model::{RegionCode, noun::LimitsSource};
use anlan_store::testing::{number, on_both};
use anlan_store::*;
use serde_json::json;

const NOW: Timestamp = Timestamp::from_secs(1_764_000_000);

fn region(code: &str) -> RegionCode {
    RegionCode::new(code).unwrap()
}

fn county(code: &str) -> Scope {
    let role = Role::Supervisor;
    Scope { user: None, name: "张三".into(), grants: vec![Grant { role, region: Some(region(code)), sector: None, enterprise: None }] }
}

fn only(enterprise: EnterpriseId) -> Scope {
    let grants = vec![Grant { role: Role::Supervisor, region: None, sector: None, enterprise: Some(enterprise) }];
    Scope { user: None, name: "李四".into(), grants }
}

async fn enterprise(store: &Store, code: &str, of: &str) -> anlan_model::noun::Enterprise {
    let new = NewEnterprise { code: code.into(), name: format!("{code}化工"), region: region(of), sector: "hazchem".into(), place: None };
    store.create_enterprise(&Scope::node(), &new, NOW).await.unwrap()
}

async fn device(store: &Store, code: &str, of: EnterpriseId) -> anlan_model::DeviceId {
    let new = NewDevice {
        code: code.into(),
        name: code.into(),
        enterprise: Some(of),
        protocol: "mqtt".into(),
        gateway: false,
        may_backfill: false,
        secret_hash: [0; 32],
    };
    store.create_device(&Scope::node(), &new, NOW).await.unwrap().id
}

async fn person(store: &Store, name: &str, of: &[EnterpriseId]) -> UserId {
    let grant = |id: &EnterpriseId| Grant { role: Role::SafetyManager, region: None, sector: None, enterprise: Some(*id) };
    let new = NewUser { username: name.into(), name: name.into(), password: "x".into(), grants: of.iter().map(grant).collect() };
    store.create_user(&Scope::node(), &new, NOW).await.unwrap().id
}

async fn record(store: &Store, of: EnterpriseId, key: Option<&str>, title: &str) -> anlan_model::RecordId {
    let node = Scope::node();
    let mut change = store.change_records(&node, NOW).await.unwrap();
    let owner = change.owner(of).await.unwrap();
    let put = RecordPut {
        title: title.into(),
        state: "valid".into(),
        is_open: true,
        key: key.map(str::to_owned),
        texts: vec![title.into()],
        body: json!({}),
        ..RecordPut::default()
    };
    let id = change.create("licence", &owner, None, &put, json!({})).await.unwrap();
    change.commit().await.unwrap();
    id
}

fn wish(from: &anlan_model::noun::Enterprise, into: &anlan_model::noun::Enterprise) -> MergeWish {
    MergeWish { from: from.id, from_revision: from.revision, into: into.id, into_revision: into.revision }
}

/// What one enterprise has, as somebody with a grant for it alone sees it.
async fn seen(store: &Store, of: EnterpriseId) -> (usize, usize, usize, usize, usize, usize) {
    let scope = only(of);
    let all = Paging::all();
    (
        store.devices(&scope, &DeviceFilter::default(), &all).await.unwrap().items.len(),
        store.points(&scope, &PointFilter::default(), &all).await.unwrap().items.len(),
        store.vehicles(&scope, &VehicleFilter::default(), &all).await.unwrap().items.len(),
        store.records(&scope, "licence", &RecordFilter::default(), &all).await.unwrap().items.len(),
        store.alarms(&scope, &AlarmFilter::default(), &all).await.unwrap().items.len(),
        store.combinations(&scope, None, &all).await.unwrap().items.len(),
    )
}

async fn world(store: &Store) -> (anlan_model::noun::Enterprise, anlan_model::noun::Enterprise) {
    let (from, into) = (enterprise(store, "A", "530423").await, enterprise(store, "B", "530402").await);
    let node = Scope::node();
    for (code, of) in [("D1", from.id), ("D2", from.id), ("D3", into.id)] {
        let device = device(store, code, of).await;
        store.ensure_points(device, &["X".into(), "Y".into()], NOW).await.unwrap();
    }
    for (phone, of) in [("13900000001", from.id), ("13900000002", into.id)] {
        let made = store.ensure_vehicle(phone, Trust::Listed, true, NOW).await.unwrap();
        let change = VehicleChange { revision: made.revision, enterprise: Some(Some(of)), ..VehicleChange::default() };
        store.update_vehicle(&node, made.id, &change, NOW).await.unwrap();
    }
    (from, into)
}

#[tokio::test]
async fn everything_of_the_one_goes_to_the_other_and_nothing_is_lost() {
    on_both(|store| async move {
        let (from, into) = world(&store).await;
        let node = Scope::node();
        let points = store.points(&only(from.id), &PointFilter::default(), &Paging::all()).await.unwrap().items;
        let members: Vec<_> = points
            .iter()
            .take(2)
            .map(|p| anlan_model::noun::CombinationMember { point: p.point.id, kind: anlan_model::RuleKind::H })
            .collect();
        let new = NewCombination {
            enterprise: from.id,
            name: "泄漏".into(),
            level: anlan_model::Level::Red,
            needed: 2,
            within_s: 30.0,
            members,
            source: LimitsSource { document: "联锁表".into(), clause: String::new() },
        };
        store.create_combination(&node, &new, 10, NOW).await.unwrap();
        let both = person(&store, "both", &[from.id, into.id]).await;
        let one = person(&store, "one", &[from.id]).await;
        let hold =
            NewHold { enterprise: Some(from.id), points: vec![], vehicles: vec![], from: NOW, to: NOW.plus_us(1), reason: "案".into() };
        store.create_hold(&node, &hold, NOW).await.unwrap();
        // It has got one more since it is held.
        let later = device(&store, "D9", from.id).await;
        store.ensure_points(later, &["X".into()], NOW).await.unwrap();
        let moved = record(&store, from.id, Some("甲-1"), "危化品许可").await;
        record(&store, into.id, Some("乙-1"), "另一许可").await;
        store
            .project(
                5,
                &[anlan_model::Effect::Event(anlan_model::DataEvent {
                    at: NOW,
                    kind: "late_data".into(),
                    subject: "D1".into(),
                    detail: "{}".into(),
                    enterprise: Some(from.id),
                })],
            )
            .await
            .unwrap();
        let before = (seen(&store, from.id).await, seen(&store, into.id).await);
        assert_eq!(before, ((3, 5, 1, 1, 0, 1), (1, 2, 1, 1, 0, 0)));

        // A dry run says the same and keeps nothing.
        let dry = store.merge_enterprises(&node, &wish(&from, &into), true, NOW).await.unwrap();
        assert_eq!((seen(&store, from.id).await, seen(&store, into.id).await), before);
        let done = store.merge_enterprises(&node, &wish(&from, &into), false, NOW).await.unwrap();
        assert_eq!((&dry.counts, &dry.records, &dry.changed), (&done.counts, &done.records, &done.changed));
        let counts: Vec<(&str, u64)> = done.counts.iter().map(|(noun, n)| (noun.as_str(), *n)).collect();
        let want = [
            ("alarm", 0),
            ("attachment", 0),
            ("combination", 1),
            ("device", 3),
            ("event", 1),
            ("hold", 1),
            ("point", 5),
            ("record", 1),
            ("user", 2),
            ("vehicle", 1),
        ];
        assert_eq!(counts, want);
        assert_eq!(seen(&store, from.id).await, (0, 0, 0, 0, 0, 0));
        assert_eq!(seen(&store, into.id).await, (4, 7, 2, 2, 0, 1));

        // Territory: what went is the other county's now; who had a grant for the one has it for the other, once.
        assert_eq!(store.devices(&county("530423"), &DeviceFilter::default(), &Paging::all()).await.unwrap().items.len(), 0);
        let grants = async |id| store.user(&node, id).await.unwrap().grants;
        assert_eq!(grants(one).await.iter().map(|g| g.enterprise).collect::<Vec<_>>(), [Some(into.id)]);
        assert_eq!(grants(both).await.len(), 1);
        let hold = store.standing_holds().await.unwrap().remove(0);
        assert_eq!((hold.enterprise, hold.points.len(), hold.vehicles.len()), (Some(into.id), 5, 1), "all of what was held, by name");

        // The record is found under the other's name, says where it came from, and the audit vouches for all.
        let found = RecordFilter { search: Search::parse("B化工"), ..RecordFilter::default() };
        assert_eq!(store.records(&node, "licence", &found, &Paging::all()).await.unwrap().items.len(), 2);
        let filter = AuditFilter { noun: Some("record".into()), subject: Some(moved.to_string()), user: None };
        let newest = store.audit(&node, &filter, &Paging::all()).await.unwrap().items.remove(0);
        assert_eq!((newest.action.as_str(), &newest.detail), ("merge", &json!({"enterprise": [from.id, into.id]})));
        assert_eq!(store.verify_records().await.unwrap().1, []);
        assert!(store.verify_audit(None).await.unwrap().complete);

        // The row of the one that went leads to the other and is in no list; nothing can be hung on it any more.
        let gone = store.enterprise(&node, from.id).await.unwrap();
        assert_eq!((gone.merged_into, gone.points), (Some(into.id), 0));
        let list = store.enterprises(&node, &EnterpriseFilter::default(), &Paging::all()).await.unwrap().items;
        assert_eq!(list.iter().map(|row| row.enterprise.id).collect::<Vec<_>>(), [into.id]);
        assert_eq!(store.all_enterprises().await.unwrap().len(), 1);
        assert_eq!(store.enterprises_among(&[from.id, into.id]).await.unwrap().len(), 1);
        let new = NewDevice {
            code: "D4".into(),
            name: "x".into(),
            enterprise: Some(from.id),
            protocol: "mqtt".into(),
            gateway: false,
            may_backfill: false,
            secret_hash: [0; 32],
        };
        assert!(matches!(store.create_device(&node, &new, NOW).await, Err(StoreError::Missing { field: "enterprise" })));
        let again = store.merge_enterprises(&node, &wish(&from, &into), false, NOW).await;
        assert!(matches!(again, Err(StoreError::NotFound)));
        let row = NewEnterprise { code: "A".into(), name: "A".into(), region: region("530402"), sector: "hazchem".into(), place: None };
        assert_eq!(store.import_enterprises(&node, &[row], false, NOW).await.unwrap(), [ImportedEnterprise::Gone]);
        // By its code, records of a sheet find the other.
        let mut change = store.change_records(&node, NOW).await.unwrap();
        let owners = change.owners(&["A".into(), "B".into()]).await.unwrap();
        assert!(owners.iter().all(|(_, owner)| owner.enterprise == Some(into.id)) && owners.len() == 2);
        drop(change);

        // What the log still says of the one that went is the other's, also after a second merge.
        let third = enterprise(&store, "C", "530402").await;
        let into = store.enterprise(&node, into.id).await.unwrap().enterprise;
        store.merge_enterprises(&node, &wish(&into, &third), false, NOW).await.unwrap();
        assert_eq!(store.enterprise(&node, from.id).await.unwrap().merged_into, Some(third.id));
        let event = anlan_model::DataEvent {
            at: NOW,
            kind: "late_data".into(),
            subject: "D1".into(),
            detail: "{}".into(),
            enterprise: Some(from.id),
        };
        store.project(6, &[anlan_model::Effect::Event(event)]).await.unwrap();
        assert_eq!(store.events(&only(third.id), None, &Paging::all()).await.unwrap().items.len(), 2);
        assert_eq!(
            number(
                &store,
                "SELECT COUNT(*) AS n FROM device AS d JOIN enterprise AS e ON e.id = d.enterprise_id WHERE e.merged_into IS NOT NULL"
            )
            .await,
            0
        );
    })
    .await;
}

#[tokio::test]
async fn what_stands_against_a_merge_stops_it_whole() {
    on_both(|store| async move {
        let (from, into) = world(&store).await;
        let node = Scope::node();
        // A grant for one enterprise, or for one of the two counties, is not enough.
        let both_alone = Scope { grants: [only(from.id).grants, only(into.id).grants].concat(), ..only(from.id) };
        let attempt = async |scope: &Scope, wish: MergeWish| store.merge_enterprises(scope, &wish, false, NOW).await;
        assert!(matches!(attempt(&both_alone, wish(&from, &into)).await, Err(StoreError::OutOfScope)));
        assert!(matches!(attempt(&county("530402"), wish(&from, &into)).await, Err(StoreError::NotFound)));
        assert!(matches!(attempt(&county("530423"), wish(&from, &into)).await, Err(StoreError::Missing { field: "into" })));
        assert!(matches!(attempt(&node, wish(&from, &from)).await, Err(StoreError::Missing { field: "into" })));
        let stale = MergeWish { into_revision: 7, ..wish(&from, &into) };
        assert!(matches!(attempt(&node, stale).await, Err(StoreError::Stale)));

        // The same licence, once with a sign and small letters.
        let theirs = record(&store, from.id, Some("yn-0001"), "许可").await;
        let own = record(&store, into.id, Some("YN0001"), "许可").await;
        let refused = attempt(&node, wish(&from, &into)).await.unwrap();
        assert_eq!(refused.conflicts.len(), 1);
        assert_eq!((refused.conflicts[0].from.0, refused.conflicts[0].into.0), (theirs, own));
        assert_eq!(store.enterprise(&node, from.id).await.unwrap().merged_into, None, "nothing was kept");
        assert_eq!(seen(&store, from.id).await.0, 2);

        // One of them ended: the way is free.
        let mut change = store.change_records(&node, NOW).await.unwrap();
        let row = change.record("licence", theirs).await.unwrap();
        let put = RecordPut {
            title: "许可".into(),
            state: "cancelled".into(),
            key: Some("yn-0001".into()),
            body: json!({}),
            ..RecordPut::default()
        };
        change.update(&row, 1, &put, json!({})).await.unwrap();
        change.commit().await.unwrap();
        assert!(attempt(&node, wish(&from, &into)).await.unwrap().conflicts.is_empty());
        assert_eq!(seen(&store, into.id).await.3, 2);
    })
    .await;
}
