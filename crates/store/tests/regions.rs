//! What follows when the code of a division is replaced (ADR 0015), on SQLite and on PostgreSQL.

use anlan_model::noun::Grant;
use anlan_model::{EnterpriseId, RegionCode, Role, Scope, Timestamp, Trust, VehicleId};
use anlan_store::testing::on_both;
use anlan_store::*;
use serde_json::json;

const NOW: Timestamp = Timestamp::from_secs(1_449_100_800);

fn region(code: &str) -> RegionCode {
    RegionCode::new(code).unwrap()
}
fn grant(role: Role, code: &str) -> Grant {
    Grant { role, region: Some(region(code)), sector: None, enterprise: None }
}
fn county(code: &str) -> Scope {
    Scope { user: None, name: "张三".into(), grants: vec![grant(Role::Supervisor, code), grant(Role::Administrator, code)] }
}

async fn enterprise(store: &Store, code: &str, of: &str) -> EnterpriseId {
    let new = NewEnterprise { code: code.into(), name: format!("{code}化工"), region: region(of), sector: "hazchem".into(), place: None };
    store.create_enterprise(&Scope::node(), &new, NOW).await.unwrap().id
}

async fn vehicle(store: &Store, phone: &str, enterprise: Option<EnterpriseId>, of: &str) -> VehicleId {
    let made = store.ensure_vehicle(phone, Trust::Listed, true, NOW).await.unwrap();
    let change =
        VehicleChange { revision: made.revision, enterprise: Some(enterprise), region: Some(Some(region(of))), ..VehicleChange::default() };
    store.update_vehicle(&Scope::node(), made.id, &change, NOW).await.unwrap().id
}

async fn record(store: &Store, enterprise: Option<EnterpriseId>, of: &str) -> anlan_model::RecordId {
    let node = Scope::node();
    let mut change = store.change_records(&node, NOW).await.unwrap();
    let owner = match enterprise {
        Some(enterprise) => change.owner(enterprise).await.unwrap(),
        None => RecordOwner { enterprise: None, region: Some(region(of)), sector: None, names: Vec::new() },
    };
    let put = RecordPut {
        number: format!("XC-{of}-1"),
        title: "巡查".into(),
        state: "planned".into(),
        is_open: true,
        body: json!({}),
        ..RecordPut::default()
    };
    let id = change.create("township_patrol", &owner, None, &put, json!({})).await.unwrap();
    change.commit().await.unwrap();
    id
}

#[tokio::test]
async fn what_is_in_a_replaced_division_moves_with_an_entry_each_and_only_once() {
    on_both(|store| async move {
        let node = Scope::node();
        let (ours, other) = (enterprise(&store, "E-1", "530421").await, enterprise(&store, "E-2", "530402").await);
        let (own, operated) =
            (vehicle(&store, "13900000001", None, "530421").await, vehicle(&store, "13900000002", Some(ours), "530421").await);
        let (patrol, danger) = (record(&store, None, "530421").await, record(&store, Some(ours), "530421").await);
        let grants = vec![grant(Role::Leader, "530421"), grant(Role::Inspector, "530402")];
        let person = NewUser { username: "li".into(), name: "李".into(), password: "x".into(), grants };
        let person = store.create_user(&node, &person, NOW).await.unwrap();
        // More than are moved in one transaction.
        for i in 0..220 {
            enterprise(&store, &format!("M-{i}"), "530421").await;
        }
        let entries = async || store.audit(&node, &AuditFilter::default(), &Paging::default()).await.unwrap().items[0].id;
        let before = entries().await;

        let change = Redivision { from: region("530421"), to: region("530403"), since: "2015-12-03".into() };
        let moved = store.redivide(&change, NOW).await.unwrap();
        assert_eq!(
            (moved.enterprises.len(), moved.vehicles.as_slice(), moved.records, moved.people),
            (221, [own, operated].as_slice(), 1, 1)
        );
        let (new, old) = (county("530403"), county("530421"));
        let found = store.enterprise(&new, ours).await.unwrap().enterprise;
        assert_eq!((found.region, found.revision), (region("530403"), 2));
        assert!(matches!(store.enterprise(&old, ours).await, Err(StoreError::NotFound)));
        assert_eq!(store.enterprise(&node, other).await.unwrap().enterprise.revision, 1, "its neighbour is left alone");
        for (id, revision) in [(own, 3), (operated, 2)] {
            let found = store.vehicle(&new, id).await.unwrap().vehicle;
            assert_eq!((found.region, found.revision), (Some(region("530403")), revision));
        }
        for (id, revision) in [(patrol, 2), (danger, 1)] {
            let found = store.record(&new, "township_patrol", id).await.unwrap();
            assert_eq!((found.region, found.revision, found.number.as_str()), (Some(region("530403")), revision, "XC-530421-1"));
        }
        let found = store.user(&node, person.id).await.unwrap();
        assert_eq!(found.grants, [grant(Role::Leader, "530403"), grant(Role::Inspector, "530402")]);

        // An entry for each: 221 enterprises, a vehicle, a record, a person; the operator's vehicle and record go with it.
        assert_eq!(entries().await - before, 224);
        let filter = AuditFilter { noun: Some("enterprise".into()), subject: Some(ours.to_string()), user: None };
        let entry = store.audit(&new, &filter, &Paging::default()).await.unwrap().items.remove(0);
        assert_eq!((entry.action.as_str(), entry.user, entry.name.as_str()), ("redivide", None, "system"));
        let why = json!({"region": ["530421", "530403"], "redivision": {"from": "530421", "to": "530403", "since": "2015-12-03"}});
        assert_eq!(entry.detail, why);
        assert!(store.verify_audit(None).await.unwrap().complete);
        assert_eq!(store.verify_records().await.unwrap(), (2, vec![]));

        assert!(store.redivide(&change, NOW).await.unwrap().is_empty());
        assert_eq!(entries().await - before, 224, "the second time there is nothing to tell");
    })
    .await;
}
