//! Rotas on both databases: scope, two places at once, replaced codes, and the audit.

use anlan_model::noun::Grant;
use anlan_model::{RegionCode, Role, Scope, Timestamp};
use anlan_store::testing::on_both;
use anlan_store::{DutyFilter, DutyShift, NewUser, Paging, Redivision, Store, StoreError};
use serde_json::json;

fn code(text: &str) -> RegionCode {
    RegionCode::new(text).unwrap()
}

fn at(hours: i64) -> Timestamp {
    Timestamp::from_secs(1_700_000_000 + hours * 3_600)
}

async fn person(store: &Store, name: &str) -> anlan_model::UserId {
    let grants = vec![Grant { role: Role::DutyOfficer, region: Some(code("530421")), sector: None, enterprise: None }];
    let new = NewUser { username: name.into(), name: name.into(), password: "x".into(), grants };
    store.create_user(&Scope::node(), &new, at(0)).await.unwrap().id
}

fn of(region: &str) -> Scope {
    let grants = vec![Grant { role: Role::Supervisor, region: Some(code(region)), sector: None, enterprise: None }];
    Scope { user: None, name: "甲".into(), grants }
}

#[tokio::test]
async fn a_shift_is_its_divisions_and_moves_with_the_code_while_it_is_not_over() {
    on_both(|store| async move {
        let (a, b) = (person(&store, "a1").await, person(&store, "b1").await);
        let shift = |user, second, from: i64, to: i64| DutyShift {
            region: code("530421"),
            desk: "watch".into(),
            user,
            second,
            from: at(from),
            to: at(to),
            phone: "0877".into(),
            note: String::new(),
        };
        let own = of("530421");
        let mut change = store.change_duty(&own, at(0)).await.unwrap();
        let past = change.create(&shift(a, None, 0, 12), None).await.unwrap();
        let next = change.create(&shift(b, Some(a), 12, 24), Some("调班")).await.unwrap();
        // Both columns are looked at, each row once, and what only touches is none.
        let with = async |change: &mut anlan_store::DutyChange<'_>, from: i64, to: i64| {
            let rows = change.with_people(&[a], at(from), at(to)).await.unwrap();
            rows.iter().map(|row| row.id).collect::<Vec<_>>()
        };
        assert_eq!(with(&mut change, 0, 24).await, [past, next]);
        assert_eq!(with(&mut change, 12, 13).await, [next]);
        assert_eq!(with(&mut change, 24, 30).await, []);
        change.commit().await.unwrap();

        // Another county sees and changes nothing; one sector of the same county is not the whole of it.
        let all = (DutyFilter::default(), Paging::default());
        let other = of("530423");
        let mut sector = of("530421");
        sector.grants[0].sector = Some("gas".into());
        for scope in [&other, &sector] {
            assert_eq!(store.duty_shifts(scope, &all.0, &all.1).await.unwrap().items, []);
            let mut change = store.change_duty(scope, at(0)).await.unwrap();
            assert!(matches!(change.shift(past).await, Err(StoreError::NotFound)));
            assert!(matches!(change.create(&shift(a, None, 30, 31), None).await, Err(StoreError::OutOfScope)));
        }
        let first = store.duty_shifts(&own, &all.0, &Paging { cursor: None, limit: 1 }).await.unwrap();
        let rest = store.duty_shifts(&own, &all.0, &Paging { cursor: first.next, limit: 1 }).await.unwrap();
        assert_eq!((first.items[0].id, rest.items[0].id, rest.next), (past, next, None));
        assert_eq!(store.n_duties_of(a, at(12)).await.unwrap(), 1);

        // Handed over once, confirmed once.
        let mut change = store.change_duty(&own, at(12)).await.unwrap();
        let row = change.shift(past).await.unwrap();
        assert!(matches!(change.hand_over(&row, 1, "x", 0, &json!([])).await, Err(StoreError::Stale)));
        drop(change);
        let by_a = Scope { user: Some(a), ..own.clone() };
        let mut change = store.change_duty(&by_a, at(12)).await.unwrap();
        let row = change.shift(past).await.unwrap();
        change.hand_over(&row, 0, "正常", 2, &json!([{"name": "GT"}])).await.unwrap();
        assert!(change.is_next(&row, at(12)).await.unwrap() && !change.is_next(&row, at(11)).await.unwrap());
        let row = change.shift(past).await.unwrap();
        change.confirm(&row, 1).await.unwrap();
        let handover = change.shift(past).await.unwrap().handover.unwrap();
        assert_eq!((handover.n_alarms, handover.confirmed_by_name.as_deref()), (2, Some("a1")));
        change.commit().await.unwrap();

        // 530421 becomes 530403: what is to come moves, what is over keeps its code.
        let redivision = Redivision { from: code("530421"), to: code("530403"), since: "2015-12-03".into() };
        assert_eq!(store.redivide(&redivision, at(12)).await.unwrap().duties, 1);
        assert!(store.redivide(&redivision, at(12)).await.unwrap().is_empty());
        let regions: Vec<String> =
            store.duty_look(&Scope::node(), &DutyFilter::default()).await.unwrap().iter().map(|r| r.shift.region.to_string()).collect();
        assert_eq!(regions, ["530403", "530421"]);

        let node = Scope::node();
        let mut change = store.change_duty(&node, at(13)).await.unwrap();
        let row = change.shift(next).await.unwrap();
        assert!(matches!(change.remove(&row, 1, None).await, Err(StoreError::Stale)));
        change.remove(&row, 2, Some("换人")).await.unwrap();
        change.commit().await.unwrap();
        assert_eq!(store.n_duties_of(a, at(12)).await.unwrap(), 0);
        assert!(store.verify_audit(None).await.unwrap().complete);
    })
    .await;
}
