//! Files of terminals over the API: kept once, listed, given out as files that run nothing, bounded, dropped by age but not when held, and
//! whole again after a crash in between.
#![allow(missing_docs)]

mod common;

use std::path::PathBuf;

use anlan_app::Settings;
use anlan_app::registry::Touched;
use anlan_model::{Clock as _, MediaRefusal, Trust, VehicleId};
use axum::http::StatusCode;
use common::{ELSEWHERE, HERE, Node, ask, node, node_with, open, settings, text};
use serde_json::{Value, json};

const PHONE: &str = "13900000001";
/// Begins like a JPEG; the rest does not matter.
const JPEG: &[u8] = &[0xff, 0xd8, 0xff, 0xe0, 1, 2, 3];

async fn vehicle(node: &Node, phone: &str) -> VehicleId {
    let made = node.app.store.ensure_vehicle(phone, Trust::Listed, true, node.app.clock.now()).await.unwrap();
    node.app.registry.renew([Touched::Vehicle(made.id)]).await.unwrap();
    made.id
}

async fn listed(node: &Node, vehicle: VehicleId) -> Vec<Value> {
    node.get(&format!("/api/v1/vehicles/{vehicle}/media")).await["media"].as_array().unwrap().clone()
}

/// Every file of the media folder, without its folder.
fn on_disk(node: &Node) -> Vec<PathBuf> {
    let root = node.directory.path().join("media");
    let Ok(folders) = std::fs::read_dir(root) else { return Vec::new() };
    let files = folders.flat_map(|f| std::fs::read_dir(f.unwrap().path()).unwrap());
    let mut names: Vec<PathBuf> = files.map(|f| f.unwrap().path()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_picture_is_kept_once_and_given_out_as_a_file_that_runs_nothing() {
    let node = node().await;
    let id = vehicle(&node, PHONE).await;
    assert_eq!(node.media("13999999999", 7, Some(JPEG)).await, Err(MediaRefusal::UnknownSource));
    node.media(PHONE, 7, None).await.unwrap();
    let announced = listed(&node, id).await;
    assert_eq!((announced.len(), &announced[0]["sha256"], &announced[0]["bytes"]), (1, &Value::Null, &json!(0)));
    let path = format!("/api/v1/vehicles/{id}/media/{}/content", text(&announced[0]["id"]));
    assert_eq!(ask(&node.router, "GET", &path, Some(&node.admin), None).await.status, StatusCode::NOT_FOUND, "announced only");
    node.media(PHONE, 7, Some(JPEG)).await.unwrap();
    node.media(PHONE, 7, Some(JPEG)).await.unwrap();
    let rows = listed(&node, id).await;
    assert_eq!((rows.len(), on_disk(&node).len()), (1, 2), "the announcement has come, the repeat is the same file");
    let row = &rows[0];
    assert_eq!(
        (&row["media_id"], &row["kind"], &row["event"], &row["channel"]),
        (&json!(7), &json!("image"), &json!("collision"), &json!(2))
    );
    assert_eq!((&row["place"]["lat"], row["taken_at"].is_string()), (&json!(24.0), true));
    let path = format!("/api/v1/vehicles/{id}/media/{}/content", text(&row["id"]));
    let answer = ask(&node.router, "GET", &path, Some(&node.admin), None).await;
    assert_eq!(answer.status, StatusCode::OK);
    let header = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
    assert_eq!((header("content-type"), header("x-content-type-options")), ("image/jpeg".into(), "nosniff".into()));
    assert!(header("content-disposition").starts_with("attachment; filename=\"anlan-"), "{}", header("content-disposition"));
    let csp = header("content-security-policy");
    assert!(csp.contains("sandbox") && csp.contains("default-src 'none'") && !csp.contains("script"), "{csp}");
    let looked = node.get("/api/v1/audit?noun=media").await;
    assert_eq!((&looked["entries"][0]["action"], looked["entries"].as_array().unwrap().len()), (&json!("read"), 1), "{looked}");
    // A page sent as a picture is no page.
    node.media(PHONE, 8, Some(b"<html><script>alert(1)</script>")).await.unwrap();
    let path = format!("/api/v1/vehicles/{id}/media/{}/content", text(&listed(&node, id).await[0]["id"]));
    assert_eq!(ask(&node.router, "GET", &path, Some(&node.admin), None).await.headers["content-type"], "application/octet-stream");
}

#[tokio::test]
async fn an_operator_of_another_county_sees_neither_list_nor_file() {
    let node = node().await;
    let id = vehicle(&node, PHONE).await;
    node.media(PHONE, 7, Some(JPEG)).await.unwrap();
    let path = format!("/api/v1/vehicles/{id}/media");
    let content = format!("{path}/{}/content", text(&listed(&node, id).await[0]["id"]));
    let enterprise = node.enterprise("E1", HERE).await;
    node.admin("PATCH", &format!("/api/v1/vehicles/{id}"), json!({"revision": 1, "enterprise": enterprise})).await.ok(200);
    let inside = node.person("inside", json!([{"role": "supervisor", "region": HERE}])).await;
    let outside = node.person("outside", json!([{"role": "supervisor", "region": ELSEWHERE}])).await;
    for path in [&path, &content] {
        assert_eq!(ask(&node.router, "GET", path, Some(&inside), None).await.status, StatusCode::OK, "{path}");
        assert_eq!(ask(&node.router, "GET", path, Some(&outside), None).await.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(ask(&node.router, "GET", path, None, None).await.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    // A file is reached by its own vehicle only.
    let other = vehicle(&node, "13900000002").await;
    let crossed = content.replacen(&format!("/{id}/"), &format!("/{other}/"), 1);
    assert_eq!(ask(&node.router, "GET", &crossed, Some(&node.admin), None).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn beyond_the_limit_of_a_vehicle_or_of_all_nothing_is_kept() {
    let mut limits: Settings = settings();
    (limits.media.vehicle_mb, limits.media.total_mb) = (1, 2);
    let node = node_with(limits).await;
    let big = |n: u8| vec![n; 600_000];
    for phone in ["13900000001", "13900000002", "13900000003", "13900000004"] {
        vehicle(&node, phone).await;
    }
    assert_eq!(node.media("13900000001", 1, Some(&big(1))).await, Ok(()));
    assert_eq!(node.media("13900000001", 2, Some(&big(2))).await, Err(MediaRefusal::Full), "the vehicle's own");
    assert_eq!(node.media("13900000001", 1, Some(&big(1))).await, Ok(()), "what is here is here");
    assert_eq!(node.media("13900000002", 1, Some(&big(3))).await, Ok(()));
    assert_eq!(node.media("13900000003", 1, Some(&big(4))).await, Ok(()));
    assert_eq!(node.media("13900000004", 1, Some(&big(5))).await, Err(MediaRefusal::Full), "all together");
    assert_eq!(on_disk(&node).len(), 6);
}

#[tokio::test]
async fn files_whose_time_is_over_go_unless_they_are_held() {
    let mut limits = settings();
    limits.media.days = 30;
    // The clock goes on by weeks under one session.
    (limits.access.session_s, limits.access.idle_s) = (10_000_000, 10_000_000);
    let node = node_with(limits).await;
    let (free, held) = (vehicle(&node, PHONE).await, vehicle(&node, "13900000002").await);
    node.media(PHONE, 1, Some(JPEG)).await.unwrap();
    node.media("13900000002", 1, Some(JPEG)).await.unwrap();
    let hold = json!({"vehicles": [held.to_string()], "from": "2026-11-23T05:00:00Z", "to": "2026-11-23T06:00:00Z", "reason": "案件"});
    let hold = text(&node.admin("POST", "/api/v1/holds", hold).await.ok(201)["id"]);
    let day = |n: i64| n * 86_400_000_000;
    let start = node.app.clock.now();
    node.app.clock.set(start.plus_us(day(29))).unwrap().unwrap();
    node.app.settle().await;
    assert_eq!((listed(&node, free).await.len(), listed(&node, held).await.len()), (1, 1));
    node.app.clock.set(start.plus_us(day(31))).unwrap().unwrap();
    node.app.settle().await;
    assert_eq!((listed(&node, free).await.len(), listed(&node, held).await.len(), on_disk(&node).len()), (0, 1, 2));
    let told = node.get("/api/v1/audit?noun=media").await;
    assert_eq!((&told["entries"][0]["action"], &told["entries"][0]["detail"]["files"]), (&json!("drop"), &json!(1)), "{told}");
    node.admin("POST", &format!("/api/v1/holds/{hold}/release"), json!({"reason": "结案"})).await.ok(204);
    node.app.settle().await;
    assert_eq!((listed(&node, held).await.len(), on_disk(&node).len()), (0, 0));
}

#[tokio::test]
async fn a_restart_adopts_a_whole_file_without_a_row_and_removes_halves() {
    let node = node().await;
    let id = vehicle(&node, PHONE).await;
    node.media(PHONE, 1, Some(JPEG)).await.unwrap();
    node.media(PHONE, 2, Some(b"ID3 other")).await.unwrap();
    let files = on_disk(&node);
    // Killed between file and row, and between two files.
    let first: i64 = text(&listed(&node, id).await[1]["id"]).parse().unwrap();
    node.app.store.forget_media(&[first]).await.unwrap();
    let half = files[0].with_file_name("9-ff.bin");
    std::fs::write(&half, b"half").unwrap();
    std::fs::write(files[0].with_file_name("9-fe.json.tmp"), b"{").unwrap();
    let Node { directory, running, app, admin, router } = node;
    drop((router, app));
    running.stop().await;
    let (running, router) = open(directory.path(), settings()).await;
    let node = Node { app: running.app.clone(), router, running, directory, admin };
    let rows = listed(&node, id).await;
    assert_eq!(
        rows.iter().map(|r| r["media_id"].as_u64().unwrap()).collect::<Vec<_>>(),
        [1, 2],
        "adopted last, with all that is known of it"
    );
    assert_eq!((&rows[0]["event"], rows[0]["taken_at"].is_string()), (&json!("collision"), true));
    assert_eq!(on_disk(&node), files);
    // A file that changed on the disk is not given out.
    std::fs::write(files.iter().find(|f| f.to_string_lossy().contains("/1-") && f.extension().unwrap() == "bin").unwrap(), b"other")
        .unwrap();
    let path = format!("/api/v1/vehicles/{id}/media/{}/content", text(&rows[0]["id"]));
    assert_eq!(ask(&node.router, "GET", &path, Some(&node.admin), None).await.code(500), "media.unreadable");
}

#[tokio::test]
async fn a_backup_holds_the_files_and_restoring_checks_them() {
    let node = node().await;
    vehicle(&node, PHONE).await;
    node.media(PHONE, 1, Some(JPEG)).await.unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let to = elsewhere.path().join("backup");
    let made = anlan_app::backup::make(&node.app, node.directory.path(), &to).await.unwrap();
    let file = made.files.iter().find(|f| f.path.starts_with("media/") && f.path.ends_with(".bin")).expect("in the list").clone();
    let restored = anlan_app::backup::restore(&to, &elsewhere.path().join("restored")).await.unwrap();
    assert_eq!((restored.media, restored.media_lost), (1, 0));
    assert_eq!(std::fs::read(elsewhere.path().join("restored").join(&file.path)).unwrap(), JPEG);
    std::fs::write(to.join(&file.path), b"changed").unwrap();
    let refused = anlan_app::backup::restore(&to, &elsewhere.path().join("again")).await;
    assert!(refused.is_err_and(|e| e.to_string().contains("must not be used")));
}
