//! What the store promises of second factors, on SQLite and on PostgreSQL: nothing is taken twice, not even by two at the same time.

use anlan_model::{Scope, Timestamp, UserId};
use anlan_store::testing::on_both;
use anlan_store::*;

const NOW: Timestamp = Timestamp::from_secs(1_795_400_000);

async fn person(store: &Store, username: &str) -> UserId {
    let new = NewUser { username: username.into(), name: "人".into(), password: "x".into(), grants: vec![] };
    store.create_user(&Scope::node(), &new, NOW).await.unwrap().id
}

#[tokio::test]
async fn a_step_is_taken_once_and_none_before_it() {
    on_both(|store| async move {
        let (user, other) = (person(&store, "li").await, person(&store, "wang").await);
        let node = Scope { user: Some(user), ..Scope::node() };
        let times = (NOW, NOW);
        assert!(store.second_factor(user).await.unwrap().is_none());
        store.begin_second_factor(user, b"one", NOW).await.unwrap();
        store.begin_second_factor(user, b"two", NOW).await.unwrap();
        assert!(!store.take_step(user, 7).await.unwrap(), "nothing is on yet");
        assert!(!store.user(&Scope::node(), user).await.unwrap().second_factor);
        let confirm =
            async |secret: &[u8]| store.confirm_second_factor(&node, user, (secret, 5), &[[1; 32], [2; 32]], &[0; 32], times).await;
        assert!(matches!(confirm(b"one").await, Err(StoreError::Stale)), "another secret was begun meanwhile");
        confirm(b"two").await.unwrap();
        assert!(matches!(confirm(b"two").await, Err(StoreError::Stale)));
        assert!(matches!(store.begin_second_factor(user, b"three", NOW).await, Err(StoreError::Stale)));
        assert!(store.user(&Scope::node(), user).await.unwrap().second_factor);
        let kept = store.second_factor(user).await.unwrap().unwrap();
        assert_eq!((kept.secret.as_slice(), kept.is_on, kept.last_step), (b"two".as_slice(), true, 5));

        for (step, want) in [(5, false), (4, false), (6, true), (6, false), (8, true), (7, false)] {
            assert_eq!(store.take_step(user, step).await.unwrap(), want, "step {step}");
        }
        let crowd: Vec<_> = (0..20)
            .map(|_| {
                tokio::spawn({
                    let store = store.clone();
                    async move { store.take_step(user, 9).await.unwrap() }
                })
            })
            .collect();
        let mut taken = 0;
        for one in crowd {
            taken += usize::from(one.await.unwrap());
        }
        assert_eq!(taken, 1);

        assert!(!store.take_recovery_code(other, &[1; 32]).await.unwrap());
        for (hash, want) in [([1; 32], true), ([1; 32], false), ([3; 32], false), ([2; 32], true)] {
            assert_eq!(store.take_recovery_code(user, &hash).await.unwrap(), want);
        }
        assert_eq!(store.n_recovery_codes(user).await.unwrap(), 0);

        store.reset_second_factor(&Scope::node(), user, NOW).await.unwrap();
        assert!(store.second_factor(user).await.unwrap().is_none() && !store.take_step(user, 10).await.unwrap());
        let actions: Vec<String> = store
            .audit(&Scope::node(), &AuditFilter::default(), &Paging::default())
            .await
            .unwrap()
            .items
            .into_iter()
            .map(|e| e.action)
            .collect();
        assert_eq!(actions, ["second_factor_reset", "second_factor_on", "create", "create"]);
        assert!(store.verify_audit(None).await.unwrap().complete);
    })
    .await;
}
