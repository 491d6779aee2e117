//! Facts and decisions of plans on both databases: what was written stays, a row is revised once, and each sees what lies in their territory.

use anlan_domain::decimal::{self, Decimal};
use anlan_domain::indicator::{Fact, Mark, built_in};
use anlan_model::noun::Grant;
use anlan_model::{RegionCode, Role, Scope, Timestamp, UserId};
use anlan_store::testing::{number, on_both};
use anlan_store::*;
use serde_json::json;

const NOW: Timestamp = Timestamp::from_secs(1_764_000_000);

fn amount(text: &str) -> Decimal {
    decimal::parse(text, decimal::FACT_DIGITS_MAX).unwrap()
}

fn fact(id: &str, region: &str, value: &str, revises: &str) -> Fact {
    let known = if revises.is_empty() { "2011-03-01" } else { "2011-09-01" };
    Fact {
        id: id.into(),
        source: "gdp_100m_yuan".into(),
        on: "2010-12-31".parse().unwrap(),
        region: region.into(),
        sector: String::new(),
        value: amount(value),
        known_on: known.parse().unwrap(),
        revises: revises.into(),
        mark: Mark::Reported,
        note: "统计公报".into(),
    }
}

fn of(region: &str) -> Scope {
    let grant = Grant { role: Role::Supervisor, region: RegionCode::new(region), sector: None, enterprise: None };
    Scope { user: Some(UserId::new(1)), name: "王".into(), grants: vec![grant] }
}

#[tokio::test]
async fn facts_are_revised_once_never_changed_and_seen_where_they_are_of() {
    on_both(async |store: Store| {
        let city = of("5304");
        store.record_facts(&city, &[fact("a", "5304", "736.30", ""), fact("b", "530402", "400", "")], built_in(), NOW).await.unwrap();
        // All or none, and the first that does not fit is named.
        let wrong =
            store.record_facts(&city, &[fact("c", "530421", "1", ""), fact("d", "5304", "1", "")], built_in(), NOW).await.unwrap_err();
        assert!(matches!(wrong, FactError::Unfit(1, _)), "{wrong}");
        let outside = store.record_facts(&of("530402"), &[fact("c", "5304", "1", "a")], built_in(), NOW).await.unwrap_err();
        assert!(matches!(outside, FactError::Outside(0)), "{outside}");
        assert_eq!(number(&store, "SELECT COUNT(*) AS n FROM fact").await, 2);
        store.record_facts(&city, &[fact("c", "5304", "736.5", "a")], built_in(), NOW).await.unwrap();
        let again = store.record_facts(&city, &[fact("d", "5304", "1", "a")], built_in(), NOW).await.unwrap_err();
        assert!(matches!(again, FactError::Unfit(0, _)), "{again}");

        let all = store.all_facts().await.unwrap();
        assert_eq!(all.iter().map(|row| row.fact.id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!((all[0].fact.value.to_string().as_str(), all[0].revised_by.as_deref()), ("736.30", Some("c")), "the digits stay");
        assert_eq!(all[2].fact, fact("c", "5304", "736.5", "a"));
        let page = store.facts(&of("530402"), &FactFilter::default(), &Paging::all()).await.unwrap();
        assert_eq!(page.items.iter().map(|row| row.fact.id.as_str()).collect::<Vec<_>>(), ["b"]);
        let first = Paging { limit: 2, ..Paging::all() };
        let page = store.facts(&city, &FactFilter { year: Some(2010), ..FactFilter::default() }, &first).await.unwrap();
        assert_eq!(page.items.iter().map(|row| row.fact.id.as_str()).collect::<Vec<_>>(), ["c", "b"], "the newest first");
        let rest = store.facts(&city, &FactFilter::default(), &Paging { cursor: page.next, ..first }).await.unwrap();
        assert_eq!((rest.items.len(), rest.next), (1, None));
        assert_eq!(store.facts_end().await.unwrap().0, all[2].n);
        assert!(store.verify_audit(None).await.unwrap().complete);
    })
    .await;
}

#[tokio::test]
async fn a_decision_is_decided_once_and_each_step_stands_in_the_audit() {
    on_both(async |store: Store| {
        let new = |id: &str| NewDecision {
            id: id.into(),
            plan: "yuxi-12th".into(),
            kind: "part",
            subject: "G01".into(),
            body: json!({"target": "G01", "region": "530402", "value": "0.2", "mark": "reported"}),
            region: RegionCode::new("5304"),
        };
        let before = store.facts_end().await.unwrap();
        store.propose_decisions(&of("5304"), &[new("x"), new("y")], false, NOW).await.unwrap();
        let leader = Scope { user: Some(UserId::new(2)), name: "李".into(), ..of("5304") };
        store.decide_plan(&leader, &new("x"), true, "", NOW).await.unwrap();
        let twice = store.decide_plan(&leader, &new("x"), false, "不妥", NOW).await.unwrap_err();
        assert!(matches!(twice, StoreError::Stale), "{twice}");
        store.decide_plan(&leader, &new("y"), false, "不妥", NOW).await.unwrap();
        let all = store.plan_decisions("yuxi-12th").await.unwrap();
        let told: Vec<_> =
            all.iter().map(|row| (row.id.as_str(), row.state, row.decided_by_name.as_deref(), row.opinion.as_str())).collect();
        assert_eq!(told, [("x", DecisionState::Approved, Some("李"), ""), ("y", DecisionState::Refused, Some("李"), "不妥")]);
        assert_eq!(all[0].proposed_by, Some(UserId::new(1)));
        assert_ne!(store.facts_end().await.unwrap(), before, "whoever reckons sees that something changed");
        assert_eq!(store.plan_decisions("other").await.unwrap(), []);
        let steps = store.audit(&of("5304"), &AuditFilter::default(), &Paging::all()).await.unwrap().items;
        assert_eq!(steps.iter().map(|step| step.action.as_str()).collect::<Vec<_>>(), ["refuse", "approve", "propose", "propose"]);
    })
    .await;
}
