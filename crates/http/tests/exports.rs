//! Lists that become files in the background: what is asked for is made, after a restart too, and given to whoever asked as long as they may.

mod common;

use anlan_documents::{SheetLimits, read_sheet};
use anlan_model::Clock as _;
use common::{ELSEWHERE, HERE, Node, ask, node, open, settings, text};
use serde_json::json;

const EXPORTS: &str = "/api/v1/registers/hidden_danger/exports";

async fn dangers(node: &Node, token: &str, n: usize) {
    let enterprise = node.enterprise("E1", HERE).await;
    for i in 0..n {
        let fields = json!({"description": format!("第{i}项"), "place": "二车间", "found_on": "2026-11-22", "source": "condition"});
        let body = json!({"enterprise": enterprise, "transition": "report", "fields": fields});
        ask(&node.router, "POST", "/api/v1/registers/hidden_danger/records", Some(token), Some(body)).await.ok(201);
    }
}

fn rows(files: &[Vec<u8>]) -> Vec<usize> {
    files.iter().map(|bytes| read_sheet(bytes, &SheetLimits::default()).unwrap().rows.len()).collect()
}

#[tokio::test]
async fn a_list_becomes_files_of_so_many_rows_and_they_are_the_askers_alone() {
    let node = node().await;
    let (asker, other) = (
        node.person("asker", json!([{"role": "supervisor", "region": HERE}])).await,
        node.person("other", json!([{"role": "supervisor", "region": HERE}])).await,
    );
    dangers(&node, &asker, 5).await;
    let path = |n: usize| format!("hidden_danger/exports?rows_per_file={n}");
    assert_eq!(rows(&common::export(&node, &asker, &path(2)).await), [2, 2, 1]);
    assert_eq!(rows(&common::export(&node, &asker, &path(5)).await), [5]);
    assert_eq!(rows(&common::export(&node, &asker, "hidden_danger/exports?q=%E7%AC%AC3").await), [1], "the filters of the list");
    assert_eq!(rows(&common::export(&node, &asker, "hidden_danger/exports?q=%E6%B2%A1%E6%9C%89").await), [0]);
    for rows in ["0", "50001", "many"] {
        let refused = ask(&node.router, "POST", &format!("{EXPORTS}?rows_per_file={rows}"), Some(&asker), None).await;
        assert_eq!(refused.refused(400), [("number.range".to_owned(), "rows_per_file".to_owned())]);
    }
    assert_eq!(ask(&node.router, "POST", &format!("{EXPORTS}?state=lost"), Some(&asker), None).await.code(400), "word.unknown");

    let jobs = ask(&node.router, "GET", "/api/v1/exports", Some(&asker), None).await.ok(200);
    let jobs = jobs["exports"].as_array().unwrap();
    assert_eq!((jobs.len(), &jobs[3]["rows"], &jobs[3]["files"], &jobs[3]["stale"]), (4, &json!(5), &json!(3), &json!(false)));
    let at = format!("/api/v1/exports/{}", text(&jobs[0]["id"]));
    for door in ["", "/files/1"] {
        assert_eq!(ask(&node.router, "GET", &format!("{at}{door}"), Some(&other), None).await.code(404), "row.not_found");
    }
    for part in ["0", "2", "x", "18446744073709551616"] {
        assert_eq!(ask(&node.router, "GET", &format!("{at}/files/{part}"), Some(&asker), None).await.status, 404);
    }

    // Taken back, it is gone from the disk as well.
    let folder = node.directory.path().join("exports").join(text(&jobs[0]["id"]));
    assert!(folder.join("1.xlsx").exists());
    assert_eq!(ask(&node.router, "DELETE", &at, Some(&other), None).await.status, 404);
    assert_eq!(ask(&node.router, "DELETE", &at, Some(&asker), None).await.status, 204);
    assert!(!folder.exists());
}

#[tokio::test]
async fn whoever_was_moved_since_asks_again() {
    let node = node().await;
    let asker = node.person("asker", json!([{"role": "supervisor", "region": HERE}])).await;
    dangers(&node, &asker, 1).await;
    common::export(&node, &asker, "hidden_danger/exports").await;
    let jobs = ask(&node.router, "GET", "/api/v1/exports", Some(&asker), None).await.ok(200);
    let file = format!("/api/v1/exports/{}/files/1", text(&jobs["exports"][0]["id"]));
    let users = node.get("/api/v1/users").await;
    let user = users["users"].as_array().unwrap().iter().find(|u| u["username"] == "asker").unwrap().clone();
    let body = json!({"revision": user["revision"], "grants": [{"role": "supervisor", "region": ELSEWHERE}]});
    node.admin("PATCH", &format!("/api/v1/users/{}", text(&user["id"])), body).await.ok(200);
    assert_eq!(ask(&node.router, "GET", &file, Some(&asker), None).await.code(409), "export.grants_changed");
    let jobs = ask(&node.router, "GET", "/api/v1/exports", Some(&asker), None).await.ok(200);
    assert_eq!(jobs["exports"][0]["stale"], true);
    assert_eq!(rows(&common::export(&node, &asker, "hidden_danger/exports").await), [0], "nothing of the county they left");
}

#[tokio::test]
async fn a_job_outlives_a_restart_and_its_files_a_day() {
    let node = node().await;
    let asker = node.person("asker", json!([{"role": "supervisor", "region": HERE}])).await;
    dangers(&node, &asker, 3).await;
    let user = anlan_app::access::session(&node.app, &asker).await.unwrap().scope();
    let Node { running, directory, .. } = node;
    // As the node left it that was killed right after it had answered: taken down, not made.
    let asked = json!({"filter": json!(anlan_app::record::RecordFilter::default()), "language": "chinese", "rows_per_file": 2});
    let at = running.app.clock.now();
    let job = running.app.store.ask_export(&user, "hidden_danger", &asked, at, 5).await.unwrap().unwrap();
    running.stop().await;
    // A file of a run that broke off, and one of a job that nobody knows.
    for stray in [format!("exports/{}", job.id), "exports/4711".to_owned()] {
        std::fs::create_dir_all(directory.path().join(&stray)).unwrap();
        std::fs::write(directory.path().join(&stray).join("1.xlsx"), "half").unwrap();
    }
    let (running, router) = open(directory.path(), settings()).await;
    let done = loop {
        let job = ask(&router, "GET", &format!("/api/v1/exports/{}", job.id), Some(&asker), None).await.ok(200);
        if job["state"] != "waiting" {
            break job;
        }
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    };
    assert_eq!((&done["state"], &done["rows"], &done["files"]), (&json!("done"), &json!(3), &json!(2)));
    assert!(!directory.path().join("exports/4711").exists());
    let made = std::fs::read(directory.path().join(format!("exports/{}/1.xlsx", job.id))).unwrap();
    assert_eq!(rows(&[made]), [2]);
    // A day later nobody has it.
    running.app.clock.set(at.plus_us(2 * 86_400_000_000)).unwrap().unwrap();
    running.app.settle().await;
    assert!(!directory.path().join(format!("exports/{}", job.id)).exists());
    assert_eq!(ask(&router, "GET", &format!("/api/v1/exports/{}", job.id), Some(&asker), None).await.status, 404);
    running.stop().await;
}

#[tokio::test]
async fn what_cannot_be_made_says_why_and_holds_nobody_up() {
    let node = node().await;
    let asker = node.person("asker", json!([{"role": "supervisor", "region": HERE}])).await;
    let user = anlan_app::access::session(&node.app, &asker).await.unwrap().scope();
    // Of a register that is no longer on.
    let asked = json!({"filter": json!(anlan_app::record::RecordFilter::default()), "language": "chinese", "rows_per_file": 2});
    let job = node.app.store.ask_export(&user, "gone", &asked, node.app.clock.now(), 5).await.unwrap().unwrap();
    common::export(&node, &asker, "hidden_danger/exports").await;
    let failed = ask(&node.router, "GET", &format!("/api/v1/exports/{}", job.id), Some(&asker), None).await.ok(200);
    assert_eq!((&failed["state"], &failed["files"]), (&json!("failed"), &json!(0)));
    assert_eq!(failed["reason"], "There is no such register, or its pack is off.");
}

/// The runner is asleep: what waits is counted, each person's apart.
#[tokio::test]
async fn of_one_person_so_many_wait_and_what_is_no_id_is_no_filter() {
    let node = node().await;
    let (asker, other) = (
        node.person("asker", json!([{"role": "supervisor", "region": HERE}])).await,
        node.person("other", json!([{"role": "supervisor", "region": HERE}])).await,
    );
    let user = anlan_app::access::session(&node.app, &asker).await.unwrap().scope();
    let stranger = anlan_app::access::session(&node.app, &other).await.unwrap().scope();
    let nul = ask(&node.router, "POST", &format!("{EXPORTS}?f.basis_clause=a%00"), Some(&asker), None).await;
    assert_eq!(nul.code(400), "text.invisible");
    let no_id = ask(&node.router, "POST", &format!("{EXPORTS}?f.basis_clause=a"), Some(&asker), None).await;
    assert_eq!(no_id.code(400), "register.field_type");
    for path in ["/api/v1/devices?q=a%00", "/api/v1/registers/hidden_danger/records?q=%00", "/api/v1/points?%00=1"] {
        assert_eq!(ask(&node.router, "GET", path, Some(&asker), None).await.code(400), "text.invisible", "{path}");
    }
    assert_eq!(ask(&node.router, "GET", "/api/v1/registers/a%00", Some(&asker), None).await.status, 404);
    let store = node.app.store.clone();
    node.running.stop().await;
    let asked = json!({"filter": {}, "language": "chinese", "rows_per_file": 2});
    let wait = async |scope| store.ask_export(scope, "hidden_danger", &asked, anlan_model::Timestamp::from_secs(1), 2).await.unwrap();
    assert!(wait(&stranger).await.is_some() && wait(&user).await.is_some() && wait(&user).await.is_some());
    assert_eq!(wait(&user).await, None);
    assert!(wait(&stranger).await.is_some());
    let first = store.exports(&user).await.unwrap().pop().unwrap();
    store.forget_export(&user, first.id, anlan_model::Timestamp::from_secs(2)).await.unwrap();
    assert!(wait(&user).await.is_some());
}

#[tokio::test]
async fn a_list_is_not_cut_into_dust() {
    let node = node().await;
    let asker = node.person("asker", json!([{"role": "supervisor", "region": HERE}])).await;
    dangers(&node, &asker, 1).await;
    // Five hundred and two records, one to a file.
    let user = anlan_app::access::session(&node.app, &asker).await.unwrap().scope();
    let row =
        node.app.store.records(&user, "hidden_danger", &Default::default(), &anlan_app::validate::Paging { cursor: None, limit: 1 }).await;
    let row = row.unwrap().items.remove(0);
    let owner = node.app.store.record_owner(&user, row.enterprise.unwrap()).await.unwrap();
    let mut change = node.app.store.change_records(&user, node.app.clock.now()).await.unwrap();
    for n in 0..501 {
        let put = anlan_store::RecordPut {
            number: format!("N{n}"),
            title: "x".into(),
            state: row.state.clone(),
            is_open: true,
            due_on: None,
            remind_on: None,
            escalated: 0,
            key: None,
            tasks: vec![],
            task_on: None,
            task_user: None,
            texts: vec![],
            index: vec![],
            body: row.body.clone(),
        };
        change.create("hidden_danger", &owner, None, &put, json!({})).await.unwrap();
    }
    change.commit().await.unwrap();
    let job = ask(&node.router, "POST", &format!("{EXPORTS}?rows_per_file=1"), Some(&asker), None).await.ok(202);
    let at = format!("/api/v1/exports/{}", text(&job["id"]));
    let failed = loop {
        let job = ask(&node.router, "GET", &at, Some(&asker), None).await.ok(200);
        if job["state"] != "waiting" {
            break job;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(failed["reason"], "More than 500 files; put more records into each, or narrow the list.");
    assert!(!node.directory.path().join("exports").join(text(&job["id"])).exists());
}
