//! What the store promises of records of registers, each claim on SQLite and on PostgreSQL.

use std::collections::{BTreeMap, BTreeSet};

use anlan_domain::register::IndexEntry;
use anlan_domain::register::search::{Search, plain};
use anlan_model::noun::Grant;
use anlan_model::{EnterpriseId, Level, RecordId, RegionCode, Role, Scope, Timestamp, UserId};
use anlan_store::testing::{number, on_both, on_both_at, tamper};
use anlan_store::*;
use serde_json::json;

const NOW: Timestamp = Timestamp::from_secs(1_795_400_000);
const TODAY: &str = "2026-11-23";
const HERE: &str = "530402";
const ELSEWHERE: &str = "530423";
const KIND: &str = "hidden_danger";

fn region(code: &str) -> RegionCode {
    RegionCode::new(code).unwrap()
}
fn grant(role: Role, code: Option<&str>, sector: Option<&str>, enterprise: Option<EnterpriseId>) -> Grant {
    Grant { role, region: code.map(region), sector: sector.map(str::to_owned), enterprise }
}
fn scope(user: Option<UserId>, grants: Vec<Grant>) -> Scope {
    Scope { user, name: "张三".into(), grants }
}
fn county(code: &str) -> Scope {
    scope(None, vec![grant(Role::Supervisor, Some(code), None, None)])
}
fn after(s: i64) -> Timestamp {
    NOW.plus_us(s * 1_000_000)
}
fn any() -> RecordFilter {
    RecordFilter::default()
}

async fn enterprise(store: &Store, code: &str, county: &str, sector: &str) -> EnterpriseId {
    let new =
        NewEnterprise { code: code.into(), name: format!("{code}化工"), region: region(county), sector: sector.into(), place: None };
    store.create_enterprise(&Scope::node(), &new, NOW).await.unwrap().id
}

/// A person with these grants, as who they ask.
async fn person(store: &Store, username: &str, grants: Vec<Grant>) -> Scope {
    let new = NewUser { username: username.into(), name: format!("{username} 名"), password: "x".into(), grants: grants.clone() };
    scope(Some(store.create_user(&Scope::node(), &new, NOW).await.unwrap().id), grants)
}

fn put(title: &str) -> RecordPut {
    RecordPut {
        title: title.into(),
        state: "found".into(),
        is_open: true,
        texts: vec![title.into()],
        body: json!({"acts": [], "fields": {"description": title}}),
        ..RecordPut::default()
    }
}
/// Registers that are on.
fn kinds() -> Vec<String> {
    vec![KIND.to_owned(), "licence".to_owned()]
}
fn due(title: &str, on: &str) -> RecordPut {
    RecordPut { due_on: Some(on.into()), ..put(title) }
}
fn choice(field: &str, text: &str) -> IndexEntry {
    IndexEntry { field: field.into(), text: Some(text.into()), number: None }
}
fn amount(field: &str, number: f64) -> IndexEntry {
    IndexEntry { field: field.into(), text: None, number: Some(number) }
}

async fn make_of(store: &Store, kind: &str, enterprise: EnterpriseId, put: &RecordPut) -> RecordId {
    let node = Scope::node();
    let mut change = store.change_records(&node, NOW).await.unwrap();
    let owner = change.owner(enterprise).await.unwrap();
    let id = change.create(kind, &owner, None, put, json!({"transition": "report"})).await.unwrap();
    change.commit().await.unwrap();
    id
}
async fn make(store: &Store, enterprise: EnterpriseId, put: &RecordPut) -> RecordId {
    make_of(store, KIND, enterprise, put).await
}
fn of_region(code: &str) -> RecordOwner {
    RecordOwner { enterprise: None, region: Some(region(code)), sector: None, names: vec![] }
}
async fn make_in(store: &Store, code: &str, put: &RecordPut) -> RecordId {
    let node = Scope::node();
    let mut change = store.change_records(&node, NOW).await.unwrap();
    let id = change.create(KIND, &of_region(code), None, put, json!({})).await.unwrap();
    change.commit().await.unwrap();
    id
}
/// Changes a record as somebody.
async fn step_as(store: &Store, asker: &Scope, id: RecordId, revision: i64, put: &RecordPut) -> Result<(), StoreError> {
    let mut change = store.change_records(asker, after(60)).await?;
    let row = change.record(KIND, id).await?;
    change.update(&row, revision, put, json!({"transition": "rate"})).await?;
    change.commit().await.map(drop)
}

async fn step(store: &Store, id: RecordId, revision: i64, put: &RecordPut) -> Result<(), StoreError> {
    step_as(store, &Scope::node(), id, revision, put).await
}

/// Ids of the whole list, page by page.
async fn list_by(store: &Store, asker: &Scope, filter: &RecordFilter, limit: u32) -> Vec<RecordId> {
    let (mut paging, mut ids) = (Paging { cursor: None, limit }, Vec::new());
    loop {
        let page = store.records(asker, KIND, filter, &paging).await.unwrap();
        assert!(page.items.len() <= limit as usize);
        ids.extend(page.items.iter().map(|row| row.id));
        match page.next {
            Some(next) => paging.cursor = Some(next),
            None => return ids,
        }
    }
}
async fn list(store: &Store, asker: &Scope, filter: &RecordFilter) -> Vec<RecordId> {
    list_by(store, asker, filter, 1_000).await
}
async fn tasks(store: &Store, asker: &Scope, today: &str) -> Vec<RecordId> {
    let (mut paging, mut ids) = (Paging { cursor: None, limit: 2 }, Vec::new());
    loop {
        let page = store.tasks(asker, &kinds(), today, &paging).await.unwrap();
        ids.extend(page.items.iter().map(|row| row.id));
        match page.next {
            Some(next) => paging.cursor = Some(next),
            None => return ids,
        }
    }
}

#[tokio::test]
async fn a_record_is_kept_as_it_was_put_and_each_change_leaves_its_trace() {
    on_both(|store| async move {
        let node = Scope::node();
        let regions = [anlan_model::noun::Region {
            code: region(HERE),
            name: "红塔区".into(),
            name_en: "Hongta".into(),
            kind: "county".into(),
            valid_from: None,
            valid_to: None,
            became: None,
            confidence: "verified".into(),
        }];
        store.put_regions(&regions).await.unwrap();
        let owner = enterprise(&store, "AA", HERE, "hazchem").await;
        let above = make(&store, owner, &put("上")).await;
        let full = RecordPut {
            number: "YH-1".into(),
            due_on: Some("2026-12-01".into()),
            remind_on: Some("2026-11-28".into()),
            key: Some("k".into()),
            tasks: vec!["worker".into(), "worker".into(), "no_role".into()],
            index: vec![choice("level", "major"), amount("funds", 0.1)],
            body: json!({"fields": {"description": "'; DROP TABLE record; -- <b>罐</b>", "n": 0.1}, "acts": []}),
            ..put("罐区")
        };
        let mut change = store.change_records(&node, NOW).await.unwrap();
        let who = change.owner(owner).await.unwrap();
        assert_eq!(who.names, ["AA化工", "AA"]);
        let id = change.create(KIND, &who, Some(above), &full, json!({"transition": "report"})).await.unwrap();
        change.commit().await.unwrap();
        let row = store.record(&node, KIND, id).await.unwrap();
        let want = RecordRow {
            id,
            kind: KIND.into(),
            number: "YH-1".into(),
            title: "罐区".into(),
            enterprise: Some(owner),
            enterprise_name: Some("AA化工".into()),
            region: Some(region(HERE)),
            region_name: Some("红塔区".into()),
            sector: Some("hazchem".into()),
            place: None,
            state: "found".into(),
            is_open: true,
            due_on: Some("2026-12-01".into()),
            escalated: 0,
            parent: Some((above, KIND.into(), "上".into())),
            body: full.body.clone(),
            created_at: NOW,
            updated_at: NOW,
            revision: 1,
            home: None,
            moving_to: None,
            former: None,
        };
        assert_eq!(row, want);
        assert_eq!(store.records_below(&node, above).await.unwrap(), [want]);
        assert!(matches!(store.record(&node, "licence", id).await, Err(StoreError::NotFound)), "a record has one kind");

        let closed = RecordPut { number: "YH-1".into(), state: "closed".into(), is_open: false, ..put("罐区二") };
        assert!(matches!(step(&store, id, 2, &closed).await, Err(StoreError::Stale)));
        step(&store, id, 1, &closed).await.unwrap();
        let row = store.record(&node, KIND, id).await.unwrap();
        assert_eq!((row.revision, row.title.as_str(), row.is_open, row.due_on), (2, "罐区二", false, None));
        assert_eq!((row.created_at, row.updated_at, row.parent.map(|p| p.0)), (NOW, after(60), Some(above)));
        assert_eq!(store.record_states(KIND).await.unwrap(), ["closed", "found"]);

        // Dropped without a commit nothing has happened.
        let mut dropped = store.change_records(&node, NOW).await.unwrap();
        dropped.create(KIND, &who, None, &put("无"), json!({})).await.unwrap();
        drop(dropped);
        assert_eq!(list(&store, &node, &any()).await, [id, above]);

        let filter = AuditFilter { noun: Some("record".into()), subject: Some(id.to_string()), user: None };
        let entries = store.audit(&node, &filter, &Paging::all()).await.unwrap().items;
        assert_eq!(entries.iter().map(|e| e.action.as_str()).collect::<Vec<_>>(), ["update", "create"]);
        assert_eq!(entries[0].detail, json!({"transition": "rate"}));
        let told: Vec<_> = store.outbox(0, 100).await.unwrap().into_iter().filter(|o| o.kind == "record").collect();
        assert_eq!(told.len(), 3);
        assert_eq!(told[2].body, json!({"id": id, "kind": KIND, "state": "closed", "revision": 2}));
        assert_eq!(store.verify_records().await.unwrap(), (2, vec![]));
        assert!(store.verify_audit(None).await.unwrap().complete);
    })
    .await;
}

#[tokio::test]
async fn pages_are_complete_and_in_order() {
    on_both(|store| async move {
        let (node, owner) = (Scope::node(), enterprise(&store, "AA", HERE, "hazchem").await);
        // Three a day, some without a day, some closed.
        let mut ids = Vec::new();
        for n in 0..25_i64 {
            let on = format!("2026-12-{:02}", 20 - n / 3);
            let new = RecordPut {
                due_on: (n % 7 != 0).then_some(on),
                is_open: n % 5 != 0,
                tasks: vec!["leader".into()],
                ..put(&format!("第{n}个"))
            };
            ids.push((make(&store, owner, &new).await, new));
        }
        make_of(&store, "licence", owner, &due("另一种", "2026-12-01")).await;
        let newest: Vec<RecordId> = ids.iter().rev().map(|(id, _)| *id).collect();
        for limit in [1, 4, 25, 1_000] {
            assert_eq!(list_by(&store, &node, &any(), limit).await, newest, "{limit}");
        }
        let mut open: Vec<(&str, RecordId)> =
            ids.iter().filter(|(_, p)| p.is_open).map(|(id, p)| (p.due_on.as_deref().unwrap_or("~"), *id)).collect();
        open.sort();
        let late: Vec<RecordId> = open.iter().filter(|(day, _)| *day < "2026-12-17").map(|(_, id)| *id).collect();
        assert!(late.len() > 5);
        let filter = RecordFilter { due_before: Some("2026-12-17".into()), ..any() };
        for limit in [1, 2, 1_000] {
            assert_eq!(list_by(&store, &node, &filter, limit).await, late, "{limit}");
        }
        // On the to-do list what has no day comes last.
        let asker = person(&store, "li", vec![grant(Role::Leader, None, None, None)]).await;
        assert_eq!(tasks(&store, &asker, TODAY).await, open.iter().map(|(_, id)| *id).collect::<Vec<_>>());
        let many = scope(None, vec![grant(Role::Leader, None, None, None)]);
        assert!(tasks(&store, &many, TODAY).await.is_empty(), "nobody has no list");
        for (cursor, filter) in
            [("x", &any()), ("1 x", &filter), ("x", &filter), ("", &filter), ("\0 1", &filter), ("2026-11-2x 1", &filter)]
        {
            let bad = Paging { cursor: Some(cursor.into()), limit: 3 };
            assert!(matches!(store.records(&node, KIND, filter, &bad).await, Err(StoreError::Cursor)), "{cursor:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_search_finds_one_two_and_more_characters_and_no_sign_means_more_than_itself() {
    on_both(|store| async move {
        let owner = enterprise(&store, "AB1", HERE, "hazchem").await;
        let other = enterprise(&store, "CD2", HERE, "hazchem").await;
        let texts = ["罐区泄漏", "配电箱门缺失 ABC-１２", "区漏罐泄", "100%_完!", "100 个", "第\t二\n行"];
        let mut ids = Vec::new();
        for text in texts {
            ids.push(make(&store, owner, &put(text)).await);
        }
        ids.push(make(&store, other, &put("罐区")).await);
        let check = async |typed: &str, want: &[usize]| {
            let filter = RecordFilter { search: Search::parse(typed), ..any() };
            let want: Vec<RecordId> = want.iter().rev().map(|n| ids[*n]).collect();
            assert_eq!(list_by(&store, &Scope::node(), &filter, 2).await, want, "{typed}");
        };
        check("罐", &[0, 2, 6]).await;
        check("罐区", &[0, 6]).await;
        check("区泄漏", &[0]).await;
        check("罐区泄漏", &[0]).await;
        check("区泄 罐区", &[0]).await;
        check("漏", &[0, 2]).await;
        check("罐泄", &[2]).await;
        check("泄区", &[]).await;
        check("罐区漏", &[]).await;
        check("abc-12", &[1]).await;
        check("ＡＢＣ", &[1]).await;
        check("１２", &[1]).await;
        check("%", &[3]).await;
        check("_", &[3]).await;
        check("!", &[3]).await;
        check("！", &[3]).await;
        check("%_", &[3]).await;
        check("0%_完!", &[3]).await;
        check("1%0", &[]).await;
        check("100", &[3, 4]).await;
        check("二 行", &[5]).await;
        check("'", &[]).await;
        // Name and code of the enterprise count too, and words of both together.
        check("cd2", &[6]).await;
        check("ab1化", &[0, 1, 2, 3, 4, 5]).await;
        check("化工 罐区", &[0, 6]).await;
        check("", &[0, 1, 2, 3, 4, 5, 6]).await;
        check(&"罐".repeat(60), &[]).await;
        check(&"罐区 ".repeat(300), &[0, 6]).await;
        // What a record said before is not found any more.
        step(&store, ids[0], 1, &put("阀门")).await.unwrap();
        check("罐区", &[6]).await;
        check("阀门", &[0]).await;
        step(&store, ids[0], 2, &put("阀门")).await.unwrap();
        check("阀门", &[0]).await;
    })
    .await;
}

#[tokio::test]
async fn fields_narrow_a_list_by_word_number_and_range() {
    on_both(|store| async move {
        let owner = enterprise(&store, "AA", HERE, "hazchem").await;
        let mut ids = Vec::new();
        for n in 0..5 {
            let mut new = put("x");
            new.index =
                vec![choice("level", if n % 2 == 0 { "major" } else { "general" }), choice("on", &format!("2026-11-{:02}", 20 + n))];
            if n > 0 {
                new.index.push(amount("funds", f64::from(n) * 0.1));
            }
            ids.push(make(&store, owner, &new).await);
        }
        let check = async |fields: &[(&str, FieldIs)], want: &[usize]| {
            let fields = fields.iter().map(|(id, is)| ((*id).to_owned(), is.clone())).collect();
            let want: Vec<RecordId> = want.iter().rev().map(|n| ids[*n]).collect();
            assert_eq!(list(&store, &Scope::node(), &RecordFilter { fields, ..any() }).await, want);
        };
        let text = |text: &str| FieldIs::Text(text.into());
        let days = |from: Option<&str>, to: Option<&str>| FieldIs::Texts(from.map(str::to_owned), to.map(str::to_owned));
        check(&[("level", text("major"))], &[0, 2, 4]).await;
        check(&[("level", text("Major"))], &[]).await;
        check(&[("level", text("2026-11-21"))], &[]).await;
        check(&[("on", text("2026-11-21"))], &[1]).await;
        check(&[("funds", FieldIs::Number(0.1 * 3.0))], &[3]).await;
        check(&[("funds", FieldIs::Number(0.1 + 0.2 + 1e-9))], &[]).await;
        check(&[("funds", FieldIs::Numbers(Some(0.1), Some(0.2)))], &[1, 2]).await;
        check(&[("funds", FieldIs::Numbers(Some(0.35), None))], &[4]).await;
        check(&[("funds", FieldIs::Numbers(None, Some(0.1)))], &[1]).await;
        check(&[("funds", FieldIs::Numbers(None, None))], &[1, 2, 3, 4]).await;
        check(&[("on", days(Some("2026-11-21"), Some("2026-11-22")))], &[1, 2]).await;
        check(&[("on", days(Some("2026-11-24"), None))], &[4]).await;
        check(&[("on", days(None, Some("2026-11-20")))], &[0]).await;
        check(&[("level", text("major")), ("funds", FieldIs::Numbers(Some(0.3), None))], &[4]).await;
        check(&[("nothing", text("major"))], &[]).await;
        // A change of the fields changes what they are found by.
        step(&store, ids[0], 1, &RecordPut { index: vec![choice("level", "general")], ..put("x") }).await.unwrap();
        check(&[("level", text("major"))], &[2, 4]).await;
        check(&[("on", days(None, Some("2026-11-20")))], &[]).await;
    })
    .await;
}

#[tokio::test]
async fn one_grant_must_hold_the_record_and_bounds_of_several_do_not_mix() {
    on_both(|store| async move {
        let a = enterprise(&store, "AA", HERE, "hazchem").await;
        let b = enterprise(&store, "BB", HERE, "mine").await;
        let c = enterprise(&store, "CC", ELSEWHERE, "hazchem").await;
        let deep = enterprise(&store, "DD", "530402001", "mine").await;
        let (ra, rb, rc) = (make(&store, a, &put("a")).await, make(&store, b, &put("b")).await, make(&store, c, &put("c")).await);
        let (rd, here) = (make(&store, deep, &put("d")).await, make_in(&store, HERE, &put("区")).await);
        let city = make_in(&store, "5304", &put("市")).await;
        let all = [ra, rb, rc, rd, here, city];
        let g = |code: Option<&str>, sector: Option<&str>, enterprise| grant(Role::Leader, code, sector, enterprise);
        let check = async |grants: Vec<Grant>, want: &[RecordId]| {
            let asker = scope(None, grants);
            let newest: Vec<RecordId> = want.iter().rev().copied().collect();
            assert_eq!(list(&store, &asker, &any()).await, newest, "{asker:?}");
            assert_eq!(list(&store, &asker, &RecordFilter { is_open: Some(true), due_before: None, ..any() }).await, newest);
            for id in all {
                let seen = store.record(&asker, KIND, id).await;
                assert_eq!(seen.is_ok(), want.contains(&id), "{asker:?} {id:?}");
                let acted = async {
                    let mut change = store.change_records(&asker, NOW).await?;
                    change.record(KIND, id).await
                };
                assert_eq!(acted.await.is_ok(), want.contains(&id));
            }
            let counts = store.record_counts(&asker, TODAY, &[]).await.unwrap();
            assert_eq!(counts.iter().map(|c| c.open).sum::<i64>(), want.len() as i64);
        };
        check(vec![], &[]).await;
        check(vec![g(None, None, None)], &all).await;
        check(vec![g(Some("53"), None, None)], &all).await;
        check(vec![g(Some("5304"), None, None)], &all).await;
        check(vec![g(Some(HERE), None, None)], &[ra, rb, rd, here]).await;
        check(vec![g(Some("530402001"), None, None)], &[rd]).await;
        check(vec![g(Some("530402002"), None, None)], &[]).await;
        check(vec![g(Some("5305"), None, None)], &[]).await;
        check(vec![g(None, Some("hazchem"), None)], &[ra, rc]).await;
        check(vec![g(Some(HERE), Some("hazchem"), None)], &[ra]).await;
        check(vec![g(None, None, Some(b))], &[rb]).await;
        check(vec![g(Some(ELSEWHERE), None, Some(b))], &[]).await;
        check(vec![g(Some(HERE), Some("hazchem"), None), g(Some(ELSEWHERE), Some("mine"), None)], &[ra]).await;
        check(vec![g(None, None, Some(a)), g(None, None, Some(c))], &[ra, rc]).await;
        check(vec![g(Some(ELSEWHERE), None, None), g(None, None, Some(deep))], &[rc, rd]).await;
        check(vec![g(Some(HERE), None, None), g(None, None, None)], &all).await;

        // The filters of a list narrow what is visible, by the division with all below it and by the enterprise.
        let narrowed = async |asker: &Scope, filter: RecordFilter, want: &[RecordId]| {
            assert_eq!(list(&store, asker, &filter).await, want.iter().rev().copied().collect::<Vec<_>>(), "{filter:?}");
        };
        let in_ = |code: &str| RecordFilter { region: Some(region(code)), ..any() };
        narrowed(&Scope::node(), in_("5304"), &all).await;
        narrowed(&Scope::node(), in_(HERE), &[ra, rb, rd, here]).await;
        narrowed(&county(ELSEWHERE), in_(HERE), &[]).await;
        narrowed(&county("5304"), RecordFilter { enterprise: Some(b), ..any() }, &[rb]).await;
        narrowed(&county(ELSEWHERE), RecordFilter { enterprise: Some(b), ..any() }, &[]).await;
        narrowed(&Scope::node(), RecordFilter { enterprise: Some(b), ..in_(ELSEWHERE) }, &[]).await;

        // Nobody makes a record outside, or changes one there.
        let asker = county(ELSEWHERE);
        let mut outside = store.change_records(&asker, NOW).await.unwrap();
        assert!(matches!(outside.owner(a).await, Err(StoreError::Missing { field: "enterprise" })));
        let foreign = store.record_owner(&Scope::node(), a).await.unwrap();
        assert!(matches!(outside.create(KIND, &foreign, None, &put("x"), json!({})).await, Err(StoreError::OutOfScope)));
        assert!(matches!(outside.create(KIND, &of_region(HERE), None, &put("x"), json!({})).await, Err(StoreError::OutOfScope)));
        assert!(outside.create(KIND, &of_region(ELSEWHERE), None, &put("x"), json!({})).await.is_ok());
        drop(outside);
        assert!(matches!(step_as(&store, &asker, ra, 1, &put("x")).await, Err(StoreError::NotFound)));
        assert!(matches!(store.record_owner(&asker, a).await, Err(StoreError::Missing { .. })));
        // Below a visible record nothing shows that is not visible itself.
        let node = Scope::node();
        let mut below = store.change_records(&node, NOW).await.unwrap();
        let child = below.create("licence", &foreign, Some(rc), &put("x"), json!({})).await.unwrap();
        below.commit().await.unwrap();
        assert!(store.records_below(&asker, rc).await.unwrap().is_empty());
        assert_eq!(store.records_below(&node, rc).await.unwrap()[0].id, child);
    })
    .await;
}

#[tokio::test]
async fn a_task_is_the_roles_that_hold_it_or_one_persons_alone() {
    on_both(|store| async move {
        let a = enterprise(&store, "AA", HERE, "hazchem").await;
        let b = enterprise(&store, "BB", ELSEWHERE, "hazchem").await;
        let manager = person(&store, "manager", vec![grant(Role::SafetyManager, None, None, Some(a))]).await;
        let worker = person(&store, "worker", vec![grant(Role::Worker, None, None, Some(a))]).await;
        let supervisor = person(&store, "supervisor", vec![grant(Role::Supervisor, Some(HERE), None, None)]).await;
        // A leader of the city, and a supervisor in one county of it.
        let two = person(
            &store,
            "two",
            vec![grant(Role::Leader, Some("5304"), None, None), grant(Role::Supervisor, Some(ELSEWHERE), None, None)],
        )
        .await;
        let of = |roles: &[&str], user: Option<&Scope>| RecordPut {
            tasks: roles.iter().map(|r| (*r).to_owned()).collect(),
            task_user: user.and_then(|s| s.user),
            ..due("x", "2026-11-24")
        };
        let shared = make(&store, a, &of(&["safety_manager", "supervisor"], None)).await;
        let alone = make(&store, a, &of(&["safety_manager"], Some(&worker))).await;
        let there = make(&store, b, &of(&["supervisor"], None)).await;
        let leaders = make(&store, b, &RecordPut { due_on: Some("2026-11-22".into()), ..of(&["leader"], None) }).await;
        let nobody = make(&store, a, &put("x")).await;
        let done = make(&store, a, &RecordPut { is_open: false, ..of(&["safety_manager"], None) }).await;
        let later = make(&store, a, &RecordPut { task_on: Some("2026-11-24".into()), ..of(&["safety_manager"], None) }).await;
        let sunday = make(&store, a, &RecordPut { due_on: Some("2026-11-29".into()), ..of(&["supervisor"], None) }).await;
        let monday = make(&store, a, &RecordPut { due_on: Some("2026-11-30".into()), ..of(&["supervisor"], None) }).await;
        let today = make(&store, a, &RecordPut { due_on: Some(TODAY.into()), ..of(&["supervisor"], None) }).await;
        assert_eq!(tasks(&store, &manager, TODAY).await, [shared]);
        assert_eq!(tasks(&store, &manager, "2026-11-24").await, [shared, later]);
        assert_eq!(tasks(&store, &worker, TODAY).await, [alone]);
        assert_eq!(tasks(&store, &supervisor, TODAY).await, [today, shared, sunday, monday]);
        assert_eq!(tasks(&store, &two, TODAY).await, [leaders, there], "the role of one grant is not taken to the land of another");
        let counts = async |asker: &Scope| store.task_counts(asker, &kinds(), TODAY, "2026-11-29").await.unwrap();
        assert_eq!(counts(&supervisor).await, TaskCounts { open: 4, overdue: 0, this_week: 3 });
        assert_eq!(counts(&two).await, TaskCounts { open: 2, overdue: 1, this_week: 1 });
        assert_eq!(counts(&scope(None, vec![])).await, TaskCounts::default());
        assert_eq!(counts(&Scope::node()).await, TaskCounts::default());
        // The same as a filter of the list, which never shows more than the list.
        let mine = RecordFilter { task_on: Some(TODAY.into()), ..any() };
        assert_eq!(list(&store, &supervisor, &mine).await, [today, monday, sunday, shared]);
        assert!(list(&store, &Scope::node(), &mine).await.is_empty());
        // Whose alone it is and who may not see it any more has no task of it.
        let moved = Scope { grants: vec![grant(Role::Worker, None, None, Some(b))], ..worker.clone() };
        assert!(tasks(&store, &moved, TODAY).await.is_empty());
        // A step takes it off one list and puts it on another.
        step(&store, shared, 1, &of(&["worker"], None)).await.unwrap();
        assert_eq!(tasks(&store, &manager, TODAY).await, []);
        assert_eq!(tasks(&store, &worker, TODAY).await, [shared, alone]);
        assert_eq!(list(&store, &Scope::node(), &any()).await.len(), 10, "{nobody:?} {done:?} are there all the same");
    })
    .await;
}

#[tokio::test]
async fn counts_are_of_what_is_open_and_of_what_is_late() {
    on_both(|store| async move {
        let a = enterprise(&store, "AA", HERE, "hazchem").await;
        let b = enterprise(&store, "BB", ELSEWHERE, "hazchem").await;
        for on in ["2026-11-22", TODAY, "2026-11-24"] {
            make(&store, a, &due("x", on)).await;
        }
        make(&store, a, &RecordPut { is_open: false, ..due("x", "2026-11-01") }).await;
        make(&store, b, &put("x")).await;
        make_of(&store, "licence", b, &due("x", "2026-01-01")).await;
        let count = |kind: &str, open, overdue| RecordCount { kind: kind.into(), open, overdue };
        assert_eq!(store.record_counts(&Scope::node(), TODAY, &[]).await.unwrap(), [count(KIND, 4, 1), count("licence", 1, 1)]);
        assert_eq!(store.record_counts(&county(HERE), TODAY, &[]).await.unwrap(), [count(KIND, 3, 1)]);
        assert_eq!(store.record_counts(&county(ELSEWHERE), "2026-01-01", &[]).await.unwrap(), [count(KIND, 1, 0), count("licence", 1, 0)]);
        assert_eq!(store.record_counts(&scope(None, vec![]), TODAY, &[]).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn what_is_open_is_counted_by_division_under_the_scope_and_a_step_is_noticed() {
    on_both(|store| async move {
        let a = enterprise(&store, "AA", HERE, "hazchem").await;
        let b = enterprise(&store, "BB", ELSEWHERE, "hazchem").await;
        let first = make(&store, a, &due("x", "2026-11-22")).await;
        make(&store, a, &due("x", TODAY)).await;
        make(&store, a, &RecordPut { is_open: false, ..due("x", "2026-11-01") }).await;
        make(&store, b, &due("x", "2026-11-01")).await;
        let city = RegionCode::new("5304").unwrap();
        let count = |code: &str, open, overdue| OpenRecords { division: RegionCode::new(code), open, overdue };
        let by = async |asker: &Scope| {
            let mut rows = store.open_by_division(asker, &city, 6, KIND, TODAY).await.unwrap();
            rows.sort_by_key(|row| row.division.clone());
            rows
        };
        assert_eq!(by(&Scope::node()).await, [count(HERE, 2, 1), count(ELSEWHERE, 1, 1)]);
        assert_eq!(by(&county(HERE)).await, [count(HERE, 2, 1)]);
        assert_eq!(by(&scope(None, vec![])).await, []);
        assert_eq!(store.alarms_by_division(&county(HERE), &city, 6, Level::Red).await.unwrap(), []);
        let kinds = [KIND.to_owned(), "licence".to_owned()];
        let before = store.records_ends(&kinds).await.unwrap();
        assert_eq!((before.len(), before[KIND][0]), (1, 4), "a kind without records has no end");
        assert_eq!(store.records_ends(&kinds).await.unwrap(), before);
        step(&store, first, 1, &due("x", "2026-11-30")).await.unwrap();
        assert_ne!(store.records_ends(&kinds).await.unwrap(), before);
        assert!(store.records_ends(&[]).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn people_are_told_where_they_see_it_and_nowhere_else() {
    on_both(|store| async move {
        let a = enterprise(&store, "AA", HERE, "hazchem").await;
        let b = enterprise(&store, "BB", HERE, "mine").await;
        let manager = person(&store, "manager", vec![grant(Role::SafetyManager, None, None, Some(a))]).await;
        let other = person(&store, "other", vec![grant(Role::SafetyManager, None, None, Some(b))]).await;
        let here = [grant(Role::Supervisor, Some(HERE), None, None), grant(Role::Supervisor, Some("5304"), Some("hazchem"), None)];
        let here = person(&store, "here", here.to_vec()).await;
        let there = person(&store, "there", vec![grant(Role::Supervisor, Some(ELSEWHERE), None, None)]).await;
        let miner = person(&store, "miner", vec![grant(Role::Supervisor, None, Some("mine"), None)]).await;
        let gone = person(&store, "gone", vec![grant(Role::Supervisor, Some(HERE), None, None)]).await;
        let off = UserChange { revision: 1, disabled: Some(true), ..UserChange::default() };
        store.update_user(&Scope::node(), gone.user.unwrap(), &off, NOW).await.unwrap();
        let id = make(&store, a, &put("罐区")).await;
        let roles = ["safety_manager".to_owned(), "supervisor".to_owned()];
        let tell = async |by: &Scope, roles: &[String], user: Option<&Scope>| {
            let mut change = store.change_records(by, NOW).await.unwrap();
            let owner = change.owner(a).await.unwrap();
            let n = change.notify(id, &owner, roles, user.and_then(|s| s.user), "task", &json!({"state": "found"})).await.unwrap();
            change.commit().await.unwrap();
            n
        };
        let seen = async |asker: &Scope| {
            let n = store.n_unread(asker, &kinds()).await.unwrap();
            let page = store.notifications(asker, &kinds(), &Paging::all()).await.unwrap();
            assert_eq!(page.items.iter().filter(|m| !m.read).count() as i64, n);
            page.items
        };
        assert_eq!(tell(&Scope::node(), &roles, None).await, 2, "each once, whatever the number of grants");
        assert_eq!(tell(&manager, &roles, None).await, 1, "whoever acts knows it");
        assert_eq!(tell(&Scope::node(), &[], None).await, 0);
        assert_eq!(tell(&Scope::node(), &[], Some(&manager)).await, 1);
        assert_eq!(tell(&Scope::node(), &[], Some(&other)).await, 0, "one who is not there any more");
        for silent in [&other, &there, &miner, &gone] {
            assert!(seen(silent).await.is_empty(), "{silent:?}");
        }
        let first = seen(&here).await;
        assert_eq!(first.len(), 2);
        assert!(first[0].id > first[1].id, "newest first");
        assert_eq!((first[0].record, first[0].record_kind.as_str(), first[0].title.as_str()), (id, KIND, "罐区"));
        assert_eq!((first[0].kind.as_str(), &first[0].detail, first[0].at), ("task", &json!({"state": "found"}), NOW));
        let page = store.notifications(&here, &kinds(), &Paging { cursor: None, limit: 1 }).await.unwrap();
        let rest = store.notifications(&here, &kinds(), &Paging { cursor: page.next, limit: 1 }).await.unwrap();
        assert_eq!((rest.items[0].id, rest.next), (first[1].id, None));
        assert!(store.notifications(&Scope::node(), &kinds(), &Paging::all()).await.unwrap().items.is_empty());
        // Read up to one of them; nobody reads for another.
        store.read_notifications(&manager, i64::MAX).await.unwrap();
        assert_eq!(store.n_unread(&here, &kinds()).await.unwrap(), 2);
        store.read_notifications(&here, first[1].id).await.unwrap();
        assert_eq!(seen(&here).await.iter().map(|m| m.read).collect::<Vec<_>>(), [false, true]);
        // Out of sight, out of the list; and back.
        let moved = |code: &str, revision| EnterpriseChange { revision, region: Some(region(code)), ..EnterpriseChange::default() };
        let narrow = Scope { grants: here.grants[..1].to_vec(), ..here.clone() };
        store.update_enterprise(&Scope::node(), a, &moved(ELSEWHERE, 1), NOW).await.unwrap();
        assert!(seen(&narrow).await.is_empty());
        assert_eq!(seen(&here).await.len(), 2, "the other grant still holds it");
        assert_eq!(seen(&manager).await.len(), 2);
        store.update_enterprise(&Scope::node(), a, &moved(HERE, 2), NOW).await.unwrap();
        assert_eq!(seen(&narrow).await.len(), 2);

        let owner = store.record_owner(&Scope::node(), a).await.unwrap();
        let people = store.people_at(&owner).await.unwrap();
        let people: Vec<_> = people.iter().map(|(id, name, roles)| (Some(*id), name.as_str(), roles.as_slice())).collect();
        assert_eq!(people, [(here.user, "here 名", &[Role::Supervisor][..]), (manager.user, "manager 名", &[Role::SafetyManager][..])]);
        let at_county = store.people_at(&of_region(HERE)).await.unwrap();
        assert_eq!(at_county.iter().map(|p| Some(p.0)).collect::<Vec<_>>(), [here.user], "no sector has a division");
        let names = store.names_of(&[manager.user.unwrap(), UserId::new(999)]).await.unwrap();
        assert_eq!(names, [(manager.user.unwrap(), "manager 名".to_owned())]);
        assert_eq!(store.names_of(&[]).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn a_word_is_due_on_its_day_and_told_once() {
    on_both(|store| async move {
        let (node, a) = (Scope::node(), enterprise(&store, "AA", HERE, "hazchem").await);
        let remind = |on: &str| RecordPut { remind_on: Some(on.into()), ..due("x", "2026-11-30") };
        let second = make(&store, a, &remind("2026-11-23")).await;
        let first = make(&store, a, &remind("2026-11-20")).await;
        let third = make(&store, a, &remind("2026-11-24")).await;
        make(&store, a, &put("x")).await;
        let kinds = [KIND.to_owned(), "other".to_owned()];
        let due = async |on: &str, limit| store.records_to_remind(&kinds, on, limit).await.unwrap();
        assert_eq!(due("2026-11-19", 10).await, []);
        assert_eq!(due(TODAY, 10).await, [first, second]);
        assert_eq!(due(TODAY, 1).await, [first]);
        assert_eq!(due("2026-12-01", 10).await, [first, second, third]);
        assert_eq!(store.records_to_remind(&kinds[1..], TODAY, 10).await.unwrap(), [], "its register is off");
        assert_eq!(store.records_to_remind(&[], TODAY, 10).await.unwrap(), []);
        let mut change = store.change_records(&node, after(5)).await.unwrap();
        assert_eq!(change.kind_of(first).await.unwrap(), KIND);
        assert!(matches!(change.kind_of(RecordId::new(999)).await, Err(StoreError::NotFound)));
        let row = change.record(KIND, first).await.unwrap();
        change.escalated(&row, 1, Some("2026-12-05"), json!({"steps": [1]})).await.unwrap();
        change.commit().await.unwrap();
        assert_eq!(due("2026-12-01", 10).await, [second, third]);
        let row = store.record(&node, KIND, first).await.unwrap();
        assert_eq!((row.escalated, row.revision, row.updated_at), (1, 1, NOW), "who has the form open is not put off");
        let filter = AuditFilter { noun: Some("record".into()), subject: Some(first.to_string()), user: None };
        assert_eq!(store.audit(&node, &filter, &Paging::all()).await.unwrap().items[0].action, "escalate");
        assert_eq!(store.outbox(0, 100).await.unwrap().iter().filter(|o| o.kind == "record").count(), 4, "no record changed by it");
        assert_eq!(store.verify_records().await.unwrap(), (4, vec![]));
        step(&store, second, 1, &RecordPut { is_open: false, ..put("x") }).await.unwrap();
        assert_eq!(due("2026-12-31", 10).await, [third, first]);
        // A clock that is over changes what is said of a record, and puts nobody off either.
        let mut change = store.change_records(&node, after(6)).await.unwrap();
        let row = change.record(KIND, first).await.unwrap();
        let late =
            RecordPut { index: vec![choice("late", "department")], escalated: 1, remind_on: Some("2026-12-06T10:01".into()), ..put("y") };
        change.clocked(&row, &late, json!({"steps": []})).await.unwrap();
        change.commit().await.unwrap();
        let row = store.record(&node, KIND, first).await.unwrap();
        assert_eq!((row.revision, row.updated_at, row.body["fields"]["description"].as_str()), (1, NOW, Some("y")));
        let filter = RecordFilter { fields: vec![("late".into(), FieldIs::Text("department".into()))], ..RecordFilter::default() };
        assert_eq!(store.records(&node, KIND, &filter, &Paging::all()).await.unwrap().items.len(), 1);
        assert_eq!((due("2026-12-06T10:00", 10).await, due("2026-12-06T10:01", 10).await), (vec![third], vec![third, first]));
        assert_eq!(store.outbox(0, 100).await.unwrap().iter().filter(|o| o.kind == "record").count(), 6, "copies are told");
        assert_eq!(store.verify_records().await.unwrap(), (4, vec![]));
    })
    .await;
}

#[tokio::test]
async fn of_two_with_one_key_or_one_revision_one_wins() {
    on_both(|store| async move {
        let a = enterprise(&store, "AA", HERE, "hazchem").await;
        let keyed = |key: &str| RecordPut { key: Some(key.into()), ..put("x") };
        let mut crowd = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let store = store.clone();
            crowd.spawn(async move {
                let node = Scope::node();
                let mut change = store.change_records(&node, NOW).await?;
                let owner = change.owner(a).await?;
                // The number is counted in the same transaction: a lost race leaves no gap.
                let number = change.count("n").await?.to_string();
                change.create(KIND, &owner, None, &RecordPut { number, key: Some("k".into()), ..put("x") }, json!({})).await?;
                change.commit().await.map(drop)
            });
        }
        let answers: Vec<Result<(), StoreError>> = crowd.join_all().await;
        assert_eq!(answers.iter().filter(|a| a.is_ok()).count(), 1, "{answers:?}");
        assert!(answers.iter().all(|a| matches!(a, Ok(()) | Err(StoreError::Taken { field: "key" }))), "{answers:?}");
        let first = list(&store, &Scope::node(), &any()).await[0];
        assert_eq!(store.record(&Scope::node(), KIND, first).await.unwrap().number, "1");
        let second = make(&store, a, &keyed("other")).await;
        assert!(matches!(step(&store, second, 1, &keyed("k")).await, Err(StoreError::Taken { field: "key" })));
        step(&store, second, 1, &keyed("other")).await.unwrap();
        make_of(&store, "licence", a, &keyed("k")).await;
        for _ in 0..2 {
            make(&store, a, &put("without a key")).await;
        }
        let node = Scope::node();
        let mut look = store.change_records(&node, NOW).await.unwrap();
        assert_eq!(look.key_holder(KIND, "k").await.unwrap(), Some(Some(a)));
        assert_eq!(look.key_holder(KIND, "K").await.unwrap(), None);
        assert_eq!((look.count("n").await.unwrap(), look.count("n").await.unwrap(), look.count("m").await.unwrap()), (2, 3, 1));
        drop(look);

        let mut crowd = tokio::task::JoinSet::new();
        for n in 0..6 {
            let store = store.clone();
            crowd.spawn(async move { step(&store, first, 1, &put(&format!("{n}"))).await });
        }
        let answers = crowd.join_all().await;
        assert_eq!(answers.iter().filter(|a| a.is_ok()).count(), 1, "{answers:?}");
        assert!(answers.iter().all(|a| matches!(a, Ok(()) | Err(StoreError::Stale))), "{answers:?}");
        assert_eq!(store.record(&Scope::node(), KIND, first).await.unwrap().revision, 2);
        assert_eq!(store.verify_records().await.unwrap().1, []);
        assert!(store.verify_audit(None).await.unwrap().complete);
    })
    .await;
}

#[tokio::test]
async fn states_around_a_record_are_those_of_its_parent_and_children() {
    on_both(|store| async move {
        let (node, a) = (Scope::node(), enterprise(&store, "AA", HERE, "hazchem").await);
        let above = make(&store, a, &put("x")).await;
        let mut change = store.change_records(&node, NOW).await.unwrap();
        let owner = change.owner(a).await.unwrap();
        let listed = RecordPut { state: "listed".into(), ..put("y") };
        let below = change.create("listed_supervision", &owner, Some(above), &listed, json!({})).await.unwrap();
        let row = change.record(KIND, above).await.unwrap();
        assert_eq!(change.related(&row).await.unwrap(), (None, vec![("listed_supervision".to_owned(), "listed".to_owned())]));
        let row = change.record("listed_supervision", below).await.unwrap();
        assert_eq!(change.related(&row).await.unwrap(), (Some("found".to_owned()), vec![]));
        change.commit().await.unwrap();
        let of = RecordFilter { parent: Some(above), ..any() };
        assert!(list(&store, &node, &of).await.is_empty(), "of this kind there is none below");
        assert_eq!(store.records(&node, "listed_supervision", &of, &Paging::all()).await.unwrap().items[0].id, below);
    })
    .await;
}

#[tokio::test]
async fn records_follow_their_enterprise_in_territory_sector_and_name() {
    on_both(|store| async move {
        let (node, a) = (Scope::node(), enterprise(&store, "AA", HERE, "hazchem").await);
        let b = enterprise(&store, "BB", HERE, "hazchem").await;
        let (ra, rb) = (make(&store, a, &put("罐区")).await, make(&store, b, &put("罐区")).await);
        let find = async |asker: &Scope, typed: &str| list(&store, asker, &RecordFilter { search: Search::parse(typed), ..any() }).await;
        let moved =
            EnterpriseChange { revision: 1, region: Some(region(ELSEWHERE)), sector: Some("mine".into()), ..EnterpriseChange::default() };
        store.update_enterprise(&node, a, &moved, NOW).await.unwrap();
        let row = store.record(&node, KIND, ra).await.unwrap();
        assert_eq!((row.region.as_ref().unwrap().as_str(), row.sector.as_deref(), row.revision), (ELSEWHERE, Some("mine"), 1));
        assert_eq!(list(&store, &county(HERE), &any()).await, [rb]);
        assert_eq!(list(&store, &county(ELSEWHERE), &any()).await, [ra]);
        assert_eq!(find(&node, "罐区").await, [rb, ra]);
        let renamed =
            EnterpriseChange {
                revision: 2, name: Some("远方　Ｃ公司".into()), code: Some("ZZ9".into()), ..EnterpriseChange::default()
            };
        store.update_enterprise(&node, a, &renamed, NOW).await.unwrap();
        for (typed, want) in
            [("远方", vec![ra]), ("c公司", vec![ra]), ("zz9", vec![ra]), ("z9", vec![ra]), ("aa", vec![]), ("AA化工", vec![])]
        {
            assert_eq!(find(&node, typed).await, want, "{typed}");
        }
        assert_eq!(find(&node, "罐区").await, [rb, ra], "what it says itself stays");
        assert_eq!(store.record(&node, KIND, ra).await.unwrap().enterprise_name.as_deref(), Some("远方　Ｃ公司"));
        // A step afterwards keeps the new names.
        step(&store, ra, 1, &put("阀门")).await.unwrap();
        assert_eq!((find(&node, "远方 阀门").await, find(&node, "罐区").await), (vec![ra], vec![rb]));
        assert_eq!(number(&store, "SELECT COUNT(*) AS n FROM record_gram WHERE record_id = 1 AND gram = 'aa'").await, 0);
        assert_eq!(store.verify_records().await.unwrap(), (2, vec![]), "copies are the enterprise's");
    })
    .await;
}

#[tokio::test]
async fn what_was_changed_behind_our_back_shows() {
    on_both_at(|store, url| async move {
        let a = enterprise(&store, "AA", HERE, "hazchem").await;
        let full = RecordPut { key: Some("k".into()), remind_on: Some("2026-11-28".into()), number: "1".into(), ..due("罐区", "2026-12-01") };
        make(&store, a, &full).await;
        let second = make(&store, a, &put("x")).await;
        make_in(&store, HERE, &put("y")).await;
        step(&store, second, 1, &put("z")).await.unwrap();
        assert_eq!(store.verify_records().await.unwrap(), (3, vec![]));
        let spoils: [(&str, &str); 14] = [
            ("UPDATE record SET body = REPLACE(body, '罐', '缶') WHERE id = 1", "UPDATE record SET body = REPLACE(body, '缶', '罐') WHERE id = 1"),
            ("UPDATE record SET state = 'closed' WHERE id = 1", "UPDATE record SET state = 'found' WHERE id = 1"),
            ("UPDATE record SET due_on = '2027-12-01' WHERE id = 1", "UPDATE record SET due_on = '2026-12-01' WHERE id = 1"),
            ("UPDATE record SET due_on = NULL WHERE id = 1", "UPDATE record SET due_on = '2026-12-01' WHERE id = 1"),
            ("UPDATE record SET is_open = 0 WHERE id = 1", "UPDATE record SET is_open = 1 WHERE id = 1"),
            ("UPDATE record SET number = '2' WHERE id = 1", "UPDATE record SET number = '1' WHERE id = 1"),
            ("UPDATE record SET title = 'x' WHERE id = 1", "UPDATE record SET title = '罐区' WHERE id = 1"),
            ("UPDATE record SET revision = 2 WHERE id = 1", "UPDATE record SET revision = 1 WHERE id = 1"),
            ("UPDATE record SET record_key = NULL WHERE id = 1", "UPDATE record SET record_key = 'k' WHERE id = 1"),
            ("UPDATE record SET parent_id = 2 WHERE id = 1", "UPDATE record SET parent_id = NULL WHERE id = 1"),
            ("UPDATE record SET task_user = 7 WHERE id = 1", "UPDATE record SET task_user = NULL WHERE id = 1"),
            // Nobody would be told that it is late.
            ("UPDATE record SET remind_on = NULL WHERE id = 1", "UPDATE record SET remind_on = '2026-11-28' WHERE id = 1"),
            ("UPDATE record SET escalated = 9 WHERE id = 1", "UPDATE record SET escalated = 0 WHERE id = 1"),
            // Out of its county's sight.
            ("UPDATE record SET region = '530423' WHERE id = 1", "UPDATE record SET region = '530402' WHERE id = 1"),
        ];
        for (spoil, mend) in spoils {
            tamper(&url, spoil).await;
            assert_eq!(store.verify_records().await.unwrap(), (3, vec![RecordId::new(1)]), "{spoil}");
            tamper(&url, mend).await;
            assert_eq!(store.verify_records().await.unwrap(), (3, vec![]), "{mend}");
        }
        tamper(&url, "UPDATE record SET region = '530423' WHERE id = 3").await;
        assert_eq!(store.verify_records().await.unwrap(), (3, vec![RecordId::new(3)]), "a division's own");
        tamper(&url, "UPDATE record SET region = '530402' WHERE id = 3").await;
        // One that nobody made, and one that is gone.
        tamper(
            &url,
            "INSERT INTO record (id, kind, number, title, region, state, is_open, escalated, own_text, search_text, body, created_at_us, updated_at_us, revision)
VALUES (70, 'hidden_danger', '', 'x', '530402', 'found', 1, 0, '', '', '{}', 0, 0, 1)",
        )
        .await;
        assert_eq!(store.verify_records().await.unwrap(), (4, vec![RecordId::new(70)]));
        tamper(&url, "DELETE FROM record WHERE id = 70; DELETE FROM record_gram WHERE record_id = 2; DELETE FROM record WHERE id = 2").await;
        assert_eq!(store.verify_records().await.unwrap(), (2, vec![second]));
        assert!(store.verify_audit(None).await.unwrap().complete, "the audit itself was left alone");
    })
    .await;
}

#[tokio::test]
async fn nobody_is_accused_while_people_work() {
    on_both(|store| async move {
        let a = enterprise(&store, "AA", HERE, "hazchem").await;
        let id = make(&store, a, &put("x")).await;
        let writer = store.clone();
        let work = tokio::spawn(async move {
            for revision in 1..40 {
                step(&writer, id, revision, &put(&format!("{revision}"))).await.unwrap();
                make(&writer, a, &put("more")).await;
            }
        });
        while !work.is_finished() {
            assert_eq!(store.verify_records().await.unwrap().1, [], "a row and its entry are read as of one instant");
        }
        work.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_pack_is_kept_with_its_files_as_they_were() {
    on_both(|store| async move {
        let node = person(&store, "root", vec![grant(Role::Administrator, None, None, None)]).await;
        let files = |text: &str| BTreeMap::from([("pack.toml".to_owned(), text.to_owned()), ("a/b.toml".to_owned(), "'\"\n漏".to_owned())]);
        assert_eq!(store.packs().await.unwrap(), []);
        let local = scope(None, vec![grant(Role::Administrator, Some("5304"), None, None)]);
        assert!(matches!(store.put_pack(&local, "p", "h", Some((&files("1"), None)), NOW).await, Err(StoreError::OutOfScope)));
        store.put_pack(&node, "p", "h1", Some((&files("1"), None)), NOW).await.unwrap();
        store.put_pack(&node, "o", "h", Some((&BTreeMap::new(), None)), NOW).await.unwrap();
        store.put_pack(&node, "p", "h2", Some((&files("2"), None)), after(1)).await.unwrap();
        let packs = store.packs().await.unwrap();
        let want = PackRow {
            id: "p".into(),
            hash: "h2".into(),
            enabled: true,
            changed_by: "张三".into(),
            changed_at: after(1),
            files: files("2"),
        };
        assert_eq!((packs.len(), packs[0].id.as_str(), &packs[1]), (2, "o", &want));
        store.put_pack(&node, "p", "h2", None, after(2)).await.unwrap();
        let off = &store.packs().await.unwrap()[1];
        assert_eq!((off.enabled, off.files.len(), off.hash.as_str()), (false, 0, "h2"));
        let filter = AuditFilter { noun: Some("pack".into()), subject: Some("p".into()), user: None };
        let actions: Vec<String> = store.audit(&node, &filter, &Paging::all()).await.unwrap().items.into_iter().map(|e| e.action).collect();
        assert_eq!(actions, ["disable", "enable", "enable"]);
    })
    .await;
}

/// A small generator of its own: the same seed, the same world.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    fn text(&mut self, most: u64) -> String {
        (0..=self.below(most)).map(|_| ['甲', '乙', '丙', 'a', 'B', ' ', '１', '%'][self.below(8) as usize]).collect()
    }
    fn day(&mut self) -> String {
        format!("2026-11-{:02}", 20 + self.below(6))
    }
}

/// A record as the naive list sees it.
struct Known {
    id: RecordId,
    owner: EnterpriseId,
    code: &'static str,
    put: RecordPut,
}

#[tokio::test]
async fn random_filters_find_what_a_plain_look_at_every_record_finds() {
    let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
    println!("seed {seed}");
    on_both(|store| async move {
        let mut random = Random(seed);
        let codes = [HERE, "530402001", ELSEWHERE];
        let mut owners = Vec::new();
        for (n, code) in codes.into_iter().enumerate() {
            owners.push((enterprise(&store, &format!("E{n}"), code, "hazchem").await, code, format!("E{n}化工 E{n}")));
        }
        let mut known = Vec::new();
        for _ in 0..60 {
            let (owner, code, _) = &owners[random.below(3) as usize];
            let mut new = put(&random.text(6));
            new.state = ["found", "rated"][random.below(2) as usize].into();
            new.is_open = !random.one_in(3);
            new.due_on = (!random.one_in(3)).then(|| random.day());
            if !random.one_in(3) {
                new.index.push(choice("level", ["a", "b"][random.below(2) as usize]));
            }
            if !random.one_in(3) {
                new.index.push(amount("n", random.below(4) as f64));
            }
            let id = make(&store, *owner, &new).await;
            known.push(Known { id, owner: *owner, code, put: new });
        }
        for round in 0..150 {
            let typed = if random.one_in(2) { random.text(3) } else { String::new() };
            let mut filter = RecordFilter { search: Search::parse(&typed), ..any() };
            if random.one_in(4) {
                filter.state = Some("rated".into());
            }
            if random.one_in(4) {
                filter.enterprise = Some(owners[random.below(3) as usize].0);
            }
            if random.one_in(4) {
                filter.region = Some(region(codes[random.below(3) as usize]));
            }
            if random.one_in(4) {
                filter.is_open = Some(random.one_in(2));
            }
            if random.one_in(4) {
                filter.due_before = Some(random.day());
            }
            if random.one_in(4) {
                filter.fields.push(("level".into(), FieldIs::Text("a".into())));
            }
            if random.one_in(4) {
                let (from, to) = (random.below(4) as f64, random.below(4) as f64);
                filter.fields.push(("n".into(), FieldIs::Numbers(Some(from), (!random.one_in(2)).then_some(to))));
            }
            let asker = match random.below(3) {
                0 => Scope::node(),
                1 => county(codes[random.below(3) as usize]),
                _ => scope(
                    None,
                    vec![
                        grant(Role::Worker, None, None, Some(owners[random.below(3) as usize].0)),
                        grant(Role::Leader, Some(ELSEWHERE), None, None),
                    ],
                ),
            };
            let sees = |k: &Known| {
                asker
                    .grants
                    .iter()
                    .any(|g| g.region.as_ref().is_none_or(|r| k.code.starts_with(r.as_str())) && g.enterprise.is_none_or(|e| e == k.owner))
            };
            let finds = |k: &Known| {
                let names = &owners.iter().find(|(id, ..)| *id == k.owner).unwrap().2;
                let text = plain(&format!("{} {names}", k.put.title));
                plain(&typed).split(' ').all(|word| text.contains(word))
            };
            let has = |k: &Known| {
                filter.fields.iter().all(|(field, is)| {
                    k.put.index.iter().any(|entry| {
                        entry.field == *field
                            && match is {
                                FieldIs::Text(text) => entry.text.as_ref() == Some(text),
                                FieldIs::Numbers(from, to) => {
                                    entry.number.is_some_and(|n| from.is_none_or(|from| n >= from) && to.is_none_or(|to| n <= to))
                                }
                                _ => unreachable!(),
                            }
                    })
                })
            };
            let is_due = |k: &Known| match &filter.due_before {
                Some(day) => k.put.is_open && k.put.due_on.as_ref().is_some_and(|on| on < day),
                None => true,
            };
            let mut want: Vec<&Known> = known
                .iter()
                .filter(|k| sees(k) && finds(k) && has(k) && is_due(k))
                .filter(|k| filter.state.as_ref().is_none_or(|s| k.put.state == *s))
                .filter(|k| filter.enterprise.is_none_or(|e| k.owner == e))
                .filter(|k| filter.region.as_ref().is_none_or(|r| k.code.starts_with(r.as_str())))
                .filter(|k| filter.is_open.is_none_or(|open| k.put.is_open == open))
                .collect();
            if filter.due_before.is_some() {
                want.sort_by(|a, b| (&a.put.due_on, a.id).cmp(&(&b.put.due_on, b.id)));
            } else {
                want.reverse();
            }
            let got = list_by(&store, &asker, &filter, 1 + random.below(30) as u32).await;
            let want: Vec<RecordId> = want.iter().map(|k| k.id).collect();
            assert_eq!(got, want, "seed {seed} round {round}: {typed:?} {filter:?} {asker:?}");
            assert_eq!(got.iter().collect::<BTreeSet<_>>().len(), got.len());
        }
    })
    .await;
}

/// Nobody's record of the library, with the days on which it may be named.
async fn make_shared(store: &Store, title: &str, state: &str, days: [Option<&str>; 2]) -> RecordId {
    let index = ["valid_from", "ends_on"].into_iter().zip(days).filter_map(|(field, day)| Some(choice(field, day?))).collect();
    let put = RecordPut { state: state.into(), index, tasks: vec!["supervisor".into()], ..due(title, "2026-11-01") };
    let everyone = RecordOwner { enterprise: None, region: None, sector: None, names: vec![] };
    let node = Scope::node();
    let mut change = store.change_records(&node, NOW).await.unwrap();
    let id = change.create("clause", &everyone, None, &put, json!({})).await.unwrap();
    change.notify(id, &everyone, &["supervisor".into(), "worker".into()], None, "task", &json!({})).await.unwrap();
    change.commit().await.unwrap();
    id
}

#[tokio::test]
async fn what_is_everybodys_everybody_sees_and_only_the_whole_node_writes() {
    on_both(async |store| {
        let e = enterprise(&store, "E1", HERE, "hazchem").await;
        make(&store, e, &put("隐患")).await;
        let of = |role, code: Option<&str>, sector: Option<&str>, enterprise| vec![grant(role, code, sector, enterprise)];
        let node = person(&store, "node", of(Role::Supervisor, None, None, None)).await;
        let askers = [
            node.clone(),
            person(&store, "county", of(Role::Supervisor, Some(ELSEWHERE), None, None)).await,
            person(&store, "sector", of(Role::Leader, None, Some("mine"), None)).await,
            person(&store, "worker", of(Role::Worker, None, None, Some(e))).await,
        ];
        let id = make_shared(&store, "演示条例 第一条", "in_force", [Some("2020-01-01"), None]).await;
        let shared = RecordFilter { shared: true, ..any() };
        let kinds = vec!["clause".to_owned()];
        for (i, asker) in askers.iter().enumerate() {
            for filter in [
                shared.clone(),
                RecordFilter { search: Search::parse("条例"), ..shared.clone() },
                RecordFilter { is_open: Some(true), ..shared.clone() },
                RecordFilter { due_before: Some(TODAY.into()), ..shared.clone() },
                RecordFilter { fields: vec![("valid_from".into(), FieldIs::Text("2020-01-01".into()))], ..shared.clone() },
            ] {
                let page = store.records(asker, "clause", &filter, &Paging { cursor: None, limit: 5 }).await.unwrap();
                assert_eq!(page.items.iter().map(|r| (r.id, r.region.clone())).collect::<Vec<_>>(), [(id, None)], "{i} {filter:?}");
            }
            let elsewhere = RecordFilter { region: Some(region(HERE)), ..shared.clone() };
            assert_eq!(store.records(asker, "clause", &elsewhere, &Paging::all()).await.unwrap().items, [], "it is in no division");
            assert_eq!(store.record(asker, "clause", id).await.unwrap().id, id);
            assert_eq!(store.record_ids_visible(asker, &kinds, &[id]).await.unwrap().len(), 1);
            let counts = store.record_counts(asker, TODAY, &kinds).await.unwrap();
            assert_eq!(counts.iter().find(|c| c.kind == "clause").map(|c| (c.open, c.overdue)), Some((1, 1)), "{i}");
            // A task is of whoever may act: a role for the whole node. So is the word about it.
            let is_theirs = usize::from(i == 0);
            assert_eq!(store.tasks(asker, &kinds, TODAY, &Paging::all()).await.unwrap().items.len(), is_theirs, "{i}");
            assert_eq!(store.notifications(asker, &kinds, &Paging::all()).await.unwrap().items.len(), is_theirs, "{i}");
            let mut change = store.change_records(asker, NOW).await.unwrap();
            let everyone = RecordOwner { enterprise: None, region: None, sector: None, names: vec![] };
            let made = change.create("clause", &everyone, None, &put("另一条"), json!({})).await;
            assert_eq!(made.is_ok(), i == 0, "{i}: {made:?}");
        }
        // Whoever was told of it and has a county alone by now sees it still, and so the word about it.
        let moved = scope(node.user, of(Role::Supervisor, Some(ELSEWHERE), None, None));
        assert_eq!(store.n_unread(&moved, &kinds).await.unwrap(), 1);
        // Whoever holds nothing sees nothing; and looking for records as everybody's shows none that are not.
        let nobody = scope(None, vec![]);
        assert!(matches!(store.record(&nobody, "clause", id).await, Err(StoreError::NotFound)));
        assert_eq!(store.records(&nobody, "clause", &shared, &Paging::all()).await.unwrap().items, []);
        assert_eq!(store.record_counts(&nobody, TODAY, &kinds).await.unwrap(), []);
        assert_eq!(store.records(&askers[1], KIND, &shared, &Paging::all()).await.unwrap().items, []);
        assert_eq!(store.records(&askers[3], KIND, &shared, &Paging::all()).await.unwrap().items.len(), 1);
        assert_eq!(store.verify_records().await.unwrap(), (2, vec![]));
    })
    .await;
}

#[tokio::test]
async fn what_may_be_named_is_so_by_state_and_from_its_first_day_to_the_day_before_its_last() {
    on_both(async |store| {
        let old = make_shared(&store, "旧条文", "in_force", [Some("2020-01-01"), Some("2026-11-23")]).await;
        let new = make_shared(&store, "新条文", "in_force", [Some("2026-11-23"), None]).await;
        make_shared(&store, "草稿", "draft", [Some("2020-01-01"), None]).await;
        let found = async |on: &str, states: &[&str], search: &str| -> Vec<RecordId> {
            let states = states.iter().map(|s| (*s).to_owned()).collect();
            let nameable = Nameable { states, from: Some("valid_from".into()), until: Some("ends_on".into()), on: on.into() };
            let filter = RecordFilter { nameable: Some(nameable), search: Search::parse(search), shared: true, ..any() };
            let page = store.records(&county(HERE), "clause", &filter, &Paging::all()).await.unwrap();
            page.items.iter().map(|r| r.id).collect()
        };
        assert_eq!(found("2026-11-22", &["in_force"], "").await, [old]);
        assert_eq!(found("2026-11-23", &["in_force"], "").await, [new], "from the day of the new one the old one is over");
        assert_eq!(found("2026-11-22", &["in_force"], "新条").await, []);
        assert_eq!(found("2019-12-31", &[], "").await, []);
        assert_eq!(found("2026-11-23", &[], "").await.len(), 2, "in any state");
    })
    .await;
}
