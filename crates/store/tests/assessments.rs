//! What the store promises of assessments, each claim on SQLite and on PostgreSQL.

use anlan_domain::decimal::Decimal;
use anlan_model::noun::Grant;
use anlan_model::{RegionCode, Role, Scope, Timestamp};
use anlan_store::testing::on_both;
use anlan_store::*;
use serde_json::json;

const NOW: Timestamp = Timestamp::from_secs(1_795_400_000);
const HERE: &str = "530402";
const ELSEWHERE: &str = "530423";

fn code(text: &str) -> RegionCode {
    RegionCode::new(text).unwrap()
}

async fn person(store: &Store, username: &str, region: &str) -> Scope {
    let grants = vec![Grant { role: Role::Supervisor, region: Some(code(region)), sector: None, enterprise: None }];
    let new = NewUser { username: username.into(), name: username.into(), password: "x".into(), grants: grants.clone() };
    let id = store.create_user(&Scope::node(), &new, NOW).await.unwrap().id;
    Scope { user: Some(id), name: username.into(), grants }
}

fn row(id: &str) -> AssessmentRow {
    AssessmentRow {
        id: id.into(),
        table_id: "t".into(),
        table: json!({"id": "t"}),
        year: 2026,
        region: code("5304"),
        revision: 1,
        made_by: String::new(),
        made_at: NOW,
        frozen: None,
    }
}

fn score(by: &Scope, region: &str, points: i64) -> AssessmentScore {
    AssessmentScore {
        region: code(region),
        item: "publicity".into(),
        points: Decimal::new(points, 1),
        reason: "查阅台账".into(),
        evidence: json!([]),
        by: by.user,
        by_name: by.name.clone(),
        at: NOW,
        confirmed: None,
    }
}

#[tokio::test]
async fn who_holds_a_unit_sees_the_assessment_with_that_unit_alone() {
    on_both(|store| async move {
        let city = person(&store, "city", "5304").await;
        let (here, outside) = (person(&store, "here", HERE).await, person(&store, "outside", "530481").await);
        store.begin_assessment(&city, &row("a"), &[code(HERE), code(ELSEWHERE)], NOW).await.unwrap();
        assert!(matches!(store.begin_assessment(&city, &row("b"), &[code(HERE)], NOW).await, Err(StoreError::Stale)), "one per year");
        let a = store.assessment(&city, "a").await.unwrap();
        assert_eq!((a.made_by.as_str(), a.revision, store.assessments(&city).await.unwrap().len()), ("city", 1, 1));
        store.score_in_assessment(&city, &a, &score(&city, ELSEWHERE, 85), NOW).await.unwrap();
        assert_eq!(store.assessments(&here).await.unwrap().len(), 1);
        let units: Vec<RegionCode> = store.assessment_units(&here, "a").await.unwrap().into_iter().map(|unit| unit.region).collect();
        assert_eq!((units, store.assessment_scores(&here, "a").await.unwrap().len()), (vec![code(HERE)], 0));
        assert!(store.assessments(&outside).await.unwrap().is_empty());
        assert!(matches!(store.assessment(&outside, "a").await, Err(StoreError::NotFound)));
        assert!(store.verify_audit(None).await.unwrap().complete);
    })
    .await;
}

#[tokio::test]
async fn a_score_is_confirmed_by_another_and_nothing_changes_what_is_frozen() {
    on_both(|store| async move {
        let (city, second) = (person(&store, "city", "5304").await, person(&store, "second", "5304").await);
        store.begin_assessment(&city, &row("a"), &[code(HERE)], NOW).await.unwrap();
        let first = store.assessment(&city, "a").await.unwrap();
        store.score_in_assessment(&city, &first, &score(&city, HERE, 85), NOW).await.unwrap();
        // Whoever read it before the score was given comes too late.
        assert!(matches!(store.score_in_assessment(&second, &first, &score(&second, HERE, 1), NOW).await, Err(StoreError::Stale)));
        let a = store.assessment(&city, "a").await.unwrap();
        assert!(
            matches!(store.confirm_in_assessment(&city, &a, &code(HERE), "publicity", NOW).await, Err(StoreError::NotFound)),
            "its own"
        );
        store.confirm_in_assessment(&second, &a, &code(HERE), "publicity", NOW).await.unwrap();
        let kept = store.assessment_scores(&city, "a").await.unwrap().remove(0);
        assert_eq!((kept.points, kept.confirmed), (Decimal::new(85, 1), Some(("second".into(), NOW))));
        let a = store.assessment(&city, "a").await.unwrap();
        store.score_in_assessment(&second, &a, &score(&second, HERE, 70), NOW).await.unwrap();
        let again = store.assessment_scores(&city, "a").await.unwrap().remove(0);
        assert_eq!((again.by_name.as_str(), again.confirmed), ("second", None), "another score takes the confirmation away");

        let a = store.assessment(&city, "a").await.unwrap();
        let frozen = FrozenAssessment {
            content: "{\"b\":1}".into(),
            digest: "d".into(),
            signature: "s".into(),
            public_key: "k".into(),
            by: "city".into(),
            at: NOW,
        };
        store.freeze_assessment(&city, &a, &frozen, NOW).await.unwrap();
        let a = store.assessment(&city, "a").await.unwrap();
        assert_eq!(a.frozen.as_ref(), Some(&frozen));
        assert!(matches!(store.freeze_assessment(&city, &a, &frozen, NOW).await, Err(StoreError::Stale)));
        assert!(matches!(store.exclude_from_assessment(&city, &a, &code(HERE), "x", NOW).await, Err(StoreError::Stale)));
        assert!(matches!(store.score_in_assessment(&city, &a, &score(&city, HERE, 1), NOW).await, Err(StoreError::Stale)));
        assert!(store.verify_audit(None).await.unwrap().complete);
    })
    .await;
}
