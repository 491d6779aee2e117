//! Two people at one record, and the last second of a deadline.

mod common;

use anlan_model::Timestamp;
use common::{HERE, Node, ask, node, text};
use serde_json::{Value, json};

const RECORDS: &str = "/api/v1/registers/hidden_danger/records";

async fn user_id(node: &Node, name: &str) -> String {
    let users = node.get("/api/v1/users").await;
    text(&users["users"].as_array().unwrap().iter().find(|u| u["username"] == name).unwrap()["id"])
}

/// Makes a hidden danger.
async fn report(node: &Node, token: &str, enterprise: &str) -> String {
    let fields = json!({"description": "通道堆物", "place": "仓库", "found_on": "2026-11-23", "source": "management"});
    let body = json!({"enterprise": enterprise, "transition": "report", "fields": fields});
    text(&ask(&node.router, "POST", RECORDS, Some(token), Some(body)).await.ok(201)["id"])
}

async fn take(node: &Node, token: &str, id: &str, transition: &str, revision: i64, fields: Value) -> common::Answer {
    let at = format!("{RECORDS}/{id}/transitions/{transition}");
    ask(&node.router, "POST", &at, Some(token), Some(json!({"revision": revision, "fields": fields}))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_act_on_one_revision_one_wins_and_the_other_is_told() {
    let node = node().await;
    let enterprise = node.enterprise("E1", HERE).await;
    let here = |role: &str| json!([{"role": role, "region": HERE}]);
    let one = node.person("one", here("supervisor")).await;
    let two = node.person("two", here("inspector")).await;
    for round in 0..8 {
        let id = report(&node, &one, &enterprise).await;
        // Different acts, and the same one twice.
        let other = if round % 2 == 0 { "rate" } else { "dismiss" };
        let ask_for = |token: &str, transition: &str| {
            let (router, token) = (node.router.clone(), token.to_owned());
            let at = format!("{RECORDS}/{id}/transitions/{transition}");
            let fields = if transition == "rate" { json!({"level": "general"}) } else { json!({"opinion": "不属于隐患"}) };
            tokio::spawn(async move { ask(&router, "POST", &at, Some(&token), Some(json!({"revision": 1, "fields": fields}))).await })
        };
        let (first, second) = (ask_for(&one, "rate"), ask_for(&two, other));
        let answers = [first.await.unwrap(), second.await.unwrap()];
        let won: Vec<&common::Answer> = answers.iter().filter(|a| a.status == 200).collect();
        let [winner] = won.as_slice() else { panic!("{} won", won.len()) };
        let lost = answers.iter().find(|a| a.status != 200).unwrap();
        assert_eq!(lost.refused(409), [("revision.stale".to_owned(), "revision".to_owned())]);
        // What stands is what the winner was told, once.
        let at = format!("{RECORDS}/{id}");
        let stands = node.get(&at).await;
        assert_eq!((&stands["state"], &stands["revision"], &stands["fields"]), (&winner.body["state"], &json!(2), &winner.body["fields"]));
        let history = node.get(&format!("{at}/history")).await;
        assert_eq!(history["entries"].as_array().unwrap().len(), 2, "{history}");
    }
    assert_eq!(node.app.store.verify_records().await.unwrap(), (8, vec![]));
    let check = node.app.store.verify_audit(None).await.unwrap();
    assert!(check.broken_at.is_none() && check.complete);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_crowd_with_one_certificate_number_one_keeps_it_and_numbers_have_no_gap() {
    let node = node().await;
    let enterprise = node.enterprise("E1", HERE).await;
    let token = node.person("one", json!([{"role": "supervisor", "region": HERE}])).await;
    let fields = json!({"subject": "经营许可", "licence": "other", "certificate_no": "云-1", "issued_on": "2026-01-05", "valid_from": "2026-01-05", "valid_until": "2028-01-04"});
    let body = json!({"enterprise": enterprise, "transition": "enter", "fields": fields});
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let (router, token, body) = (node.router.clone(), token.clone(), body.clone());
        crowd.spawn(async move { ask(&router, "POST", "/api/v1/registers/licence/records", Some(&token), Some(body)).await });
    }
    let answers = crowd.join_all().await;
    assert_eq!(answers.iter().filter(|a| a.status == 201).count(), 1);
    for lost in answers.iter().filter(|a| a.status != 201) {
        assert_eq!(lost.refused(409), [("register.key_taken".to_owned(), "fields.certificate_no".to_owned())]);
    }
    let mut other = body;
    other["fields"]["certificate_no"] = json!("云-2");
    let made = ask(&node.router, "POST", "/api/v1/registers/licence/records", Some(&token), Some(other)).await.ok(201);
    assert_eq!(made["number"], "XK-530402-2026-00002");
}

#[tokio::test]
async fn a_deadline_is_met_till_the_last_second_of_its_day_in_beijing() {
    let node = node().await;
    let enterprise = node.enterprise("E1", HERE).await;
    let supervisor = node.person("supervisor", json!([{"role": "supervisor", "region": HERE}])).await;
    let worker = node.person("worker", json!([{"role": "worker", "enterprise": enterprise}])).await;
    let worker_id = user_id(&node, "worker").await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let id = report(&node, &worker, &enterprise).await;
        take(&node, &supervisor, &id, "rate", 1, json!({"level": "general"})).await.ok(200);
        let plan = json!({"responsible": worker_id, "due_on": "2026-11-25", "measures": "清理"});
        take(&node, &supervisor, &id, "assign", 2, plan).await.ok(200);
        ids.push(id);
    }
    let is_late = async || {
        let get = async |path: &str| ask(&node.router, "GET", path, Some(&worker), None).await.ok(200);
        let record = get(&format!("{RECORDS}/{}", ids[1])).await["overdue"].as_bool().unwrap();
        let list = get(&format!("{RECORDS}?overdue=true")).await;
        let shown: Vec<bool> = list["records"].as_array().unwrap().iter().map(|r| r["overdue"].as_bool().unwrap()).collect();
        assert!(shown.iter().all(|late| *late), "{list}");
        let register = get("/api/v1/registers").await;
        let register = register["registers"].as_array().unwrap().iter().find(|r| r["kind"] == "hidden_danger").unwrap()["overdue"].clone();
        (record, shown.len(), register, get("/api/v1/tasks").await["overdue"].clone())
    };
    let clock = |at: &str| node.app.clock.set(Timestamp::parse(at).unwrap()).unwrap().unwrap();
    let more = json!({"postpone_to": "2026-12-05", "postpone_reason": "备件未到"});

    clock("2026-11-25T15:59:59Z");
    assert_eq!(is_late().await, (false, 0, json!(0), json!(0)), "23:59:59 in Beijing on the day itself");
    let asked = take(&node, &worker, &ids[0], "ask_more_time", 3, more.clone()).await.ok(200);
    assert_eq!((asked["overdue"].clone(), asked["due_on"].clone()), (json!(false), json!("2026-11-25")));

    clock("2026-11-25T16:00:00Z");
    assert_eq!(is_late().await, (true, 2, json!(2), json!(2)), "midnight");
    let late = take(&node, &worker, &ids[1], "ask_more_time", 3, more).await;
    assert_eq!(late.refused(409)[0].0, "register.guard");
    assert_eq!(late.body["errors"][0]["params"]["guard"], "in_time", "{}", late.body);
    // Granted after midnight what was asked for before it: in time again.
    let granted = take(&node, &supervisor, &ids[0], "give_more_time", 4, json!({"due_on": "2026-12-05"})).await.ok(200);
    assert_eq!((granted["overdue"].clone(), granted["due_on"].clone()), (json!(false), json!("2026-12-05")));
    assert_eq!(is_late().await, (true, 1, json!(1), json!(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_act_that_names_a_clause_is_before_its_repeal_or_refused() {
    const CLAUSES: &str = "/api/v1/registers/clause/records";
    let node = node().await;
    let enterprise = node.enterprise("E1", HERE).await;
    let librarian = node.person("librarian", json!([{"role": "supervisor"}])).await;
    let manager = node.person("manager", json!([{"role": "safety_manager", "enterprise": enterprise}])).await;
    let ask_for = |token: &str, path: String, body: Value| {
        let (router, token) = (node.router.clone(), token.to_owned());
        tokio::spawn(async move { ask(&router, "POST", &path, Some(&token), Some(body)).await })
    };
    for round in 0..12 {
        let clause = json!({"document": "演示条例", "level": "other", "clause": round.to_string(), "text": "x", "valid_from": "2020-01-01", "source": "x", "confidence": "unverified"});
        let adopt = ask_for(&librarian, CLAUSES.to_owned(), json!({"transition": "adopt", "fields": clause}));
        let clause = text(&adopt.await.unwrap().ok(201)["id"]);
        let repeal = json!({"revision": 1, "fields": {"ends_on": "2026-11-01", "repeal_basis": "x"}});
        let fields = json!({"description": "x", "place": "x", "found_on": "2026-11-23", "source": "act", "basis_clause": clause});
        let report = json!({"enterprise": enterprise, "transition": "report", "fields": fields});
        let repeal_at = format!("{CLAUSES}/{clause}/transitions/repeal");
        let (named, repealed) = if round % 2 == 0 {
            let named = ask_for(&manager, RECORDS.to_owned(), report);
            (named, ask_for(&librarian, repeal_at, repeal))
        } else {
            let repealed = ask_for(&librarian, repeal_at, repeal);
            (ask_for(&manager, RECORDS.to_owned(), report), repealed)
        };
        let (named, repealed) = (named.await.unwrap(), repealed.await.unwrap());
        repealed.ok(200);
        let audit = node.get("/api/v1/audit?noun=record&limit=10").await;
        let place = |id: &str| audit["entries"].as_array().unwrap().iter().position(|e| e["subject"] == id);
        if named.status == 201 {
            let danger = text(&named.body["id"]);
            // Newest first: the act stands behind the repeal.
            assert!(place(&danger) > place(&clause), "{audit}");
        } else {
            assert_eq!(named.refused(400), [("register.reference_over".to_owned(), "fields.basis_clause".to_owned())]);
        }
    }
}
