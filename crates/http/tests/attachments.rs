//! Files of records over the API: uploaded before their record is, bound by the act that names them, given out to whoever sees the record and as
//! files that run nothing, bounded, swept, and vouched for by the audit.
#![allow(missing_docs)]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anlan_app::attachment::{self, FileFault};
use anlan_model::{AttachmentId, Clock as _};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use common::{Answer, ELSEWHERE, HERE, Node, ask, node_with, open, png, send, settings, text};
use serde_json::{Value, json};

const RECORDS: &str = "/api/v1/registers/hidden_danger/records";
const HTML: &[u8] = b"<html><script>alert(1)</script></html>";

/// An enterprise, an inspector and a safety manager of its county, each with a token.
struct Stage {
    node: Node,
    enterprise: String,
    inspector: String,
    manager: String,
}

async fn stage() -> Stage {
    stage_with(settings()).await
}

async fn stage_with(settings: anlan_app::Settings) -> Stage {
    let node = node_with(settings).await;
    let enterprise = node.enterprise("E1", HERE).await;
    let inspector = node.person("inspector", json!([{"role": "inspector", "region": HERE}])).await;
    let manager = node.person("manager", json!([{"role": "safety_manager", "region": HERE}])).await;
    Stage { node, enterprise, inspector, manager }
}

impl Stage {
    async fn upload(&self, token: &str) -> String {
        text(&self.node.upload(token, "现场.png", &png(600, 300)).await.ok(201)["id"])
    }

    async fn report(&self, token: &str, photos: Value) -> Answer {
        let fields =
            json!({"description": "配电箱门缺失", "place": "二车间", "found_on": "2026-11-22", "source": "condition", "photos": photos});
        let body = json!({"enterprise": self.enterprise, "transition": "report", "fields": fields});
        ask(&self.node.router, "POST", RECORDS, Some(token), Some(body)).await
    }

    async fn get(&self, token: &str, path: &str) -> Answer {
        ask(&self.node.router, "GET", path, Some(token), None).await
    }

    /// Statuses of the three ways to a file.
    async fn doors(&self, token: &str, id: &str) -> [u16; 3] {
        let mut statuses = [0; 3];
        for (status, door) in statuses.iter_mut().zip(["content", "thumbnail", "view"]) {
            *status = self.get(token, &format!("/api/v1/attachments/{id}/{door}")).await.status.as_u16();
        }
        statuses
    }

    async fn wrong(&self) -> Vec<(AttachmentId, FileFault)> {
        let found = attachment::verify(&self.node.app.store, self.node.directory.path()).await.unwrap();
        found.wrong.into_iter().map(|(id, _, fault)| (id, fault)).collect()
    }

    fn on_disk(&self) -> Vec<PathBuf> {
        on_disk(self.node.directory.path())
    }

    /// Where the original of a file lies.
    fn original(&self, sha256: &str) -> PathBuf {
        self.node.directory.path().join("attachments").join(&sha256[..2]).join(sha256)
    }
}

fn on_disk(data: &Path) -> Vec<PathBuf> {
    let Ok(folders) = std::fs::read_dir(data.join("attachments")) else { return Vec::new() };
    folders.flat_map(|f| std::fs::read_dir(f.unwrap().path()).unwrap()).map(|f| f.unwrap().path()).collect()
}

#[tokio::test]
async fn a_picture_goes_from_the_form_to_the_record_and_to_whoever_sees_it() {
    let s = stage().await;
    let bytes = png(600, 300);
    let file = s.node.upload(&s.inspector, "IMG 现场.PNG", &bytes).await.ok(201);
    assert_eq!((&file["name"], &file["kind"], &file["record"]), (&json!("IMG 现场.png"), &json!("image"), &Value::Null));
    assert_eq!((&file["bytes"], file["sha256"].as_str().unwrap().len()), (&json!(bytes.len()), 64));
    let id = text(&file["id"]);
    // Until then it is the uploader's alone: not even the administrator of the node sees it.
    assert_eq!(s.doors(&s.inspector, &id).await, [200; 3]);
    assert_eq!(s.doors(&s.manager, &id).await, [404; 3]);
    assert_eq!(s.doors(&s.node.admin, &id).await, [404; 3]);
    let record = s.report(&s.inspector, json!([id])).await.ok(201);
    assert_eq!(record["fields"]["photos"], json!([id]));
    let at = format!("{RECORDS}/{}", text(&record["id"]));
    let detail = s.get(&s.manager, &at).await.ok(200);
    assert_eq!(detail["attachments"][0]["sha256"], file["sha256"]);
    assert_eq!(detail["people"][text(&detail["attachments"][0]["uploaded_by"])], "inspector");
    assert_eq!(s.doors(&s.manager, &id).await, [200; 3]);
    let outside = s.node.person("outside", json!([{"role": "supervisor", "region": ELSEWHERE}])).await;
    assert_eq!(s.doors(&outside, &id).await, [404; 3]);

    let answer = s.get(&s.manager, &format!("/api/v1/attachments/{id}/content")).await;
    let header = |answer: &Answer, name: &str| answer.headers[name].to_str().unwrap().to_owned();
    assert_eq!(
        header(&answer, "content-disposition"),
        format!("attachment; filename=\"anlan-{id}.png\"; filename*=UTF-8''IMG%20%E7%8E%B0%E5%9C%BA.png")
    );
    assert_eq!((header(&answer, "content-type"), header(&answer, "x-content-type-options")), ("image/png".into(), "nosniff".into()));
    assert_eq!(header(&answer, "content-length"), bytes.len().to_string());
    let view = s.get(&s.manager, &format!("/api/v1/attachments/{id}/view")).await;
    assert_eq!((header(&view, "content-type"), header(&view, "content-disposition")), ("image/jpeg".into(), "inline".into()));
    for answer in [&answer, &view] {
        let csp = header(answer, "content-security-policy");
        assert!(csp.contains("sandbox") && csp.contains("default-src 'none'") && !csp.contains("script"), "{csp}");
        assert_eq!(header(answer, "cache-control"), "no-store");
    }
    assert_eq!(s.node.bytes(&s.manager, &format!("/api/v1/attachments/{id}/content")).await, bytes, "the original is what was sent");
    let thumbnail = s.node.bytes(&s.manager, &format!("/api/v1/attachments/{id}/thumbnail")).await;
    let thumbnail = image::load_from_memory_with_format(&thumbnail, image::ImageFormat::Jpeg).unwrap();
    assert_eq!((thumbnail.width(), thumbnail.height()), (480, 240));

    // The step that bound it says so, with the hash.
    let history = s.get(&s.manager, &format!("{at}/history")).await.ok(200);
    assert_eq!(history["entries"][0]["changes"]["photos"], json!([null, [id]]));
    let audit = s.node.get("/api/v1/audit?noun=record").await;
    assert_eq!(audit["entries"][0]["detail"]["files"][&id]["sha256"], file["sha256"]);
    assert!(s.node.app.store.verify_audit(None).await.unwrap().complete);
    // A sheet says how many there are.
    let sheet = s.node.bytes(&s.manager, "/api/v1/registers/hidden_danger/export").await;
    let sheet = anlan_documents::read_sheet(&sheet, &anlan_documents::SheetLimits::default()).unwrap();
    let column = sheet.header.iter().position(|h| h == "现场照片").unwrap();
    assert_eq!(sheet.rows[0].cell(column), &anlan_documents::Cell::Number(1.0));
}

#[tokio::test]
async fn a_file_is_taken_for_what_its_bytes_are() {
    let s = stage().await;
    let refused = async |name: &str, bytes: &[u8], code: &str| {
        assert_eq!(s.node.upload(&s.inspector, name, bytes).await.code(400), code, "{name}");
    };
    refused("photo.jpg", HTML, "attachment.markup").await;
    refused("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "attachment.markup").await;
    refused("photo.jpg", b"MZ\x90\0\x03", "attachment.program").await;
    refused("photo.jpg", &png(4, 4), "attachment.name").await;
    refused("photo.exe", &png(4, 4), "attachment.name").await;
    refused("report.docx", b"PK\x03\x04nothing", "attachment.type").await;
    refused("photo.jpg", &[0xff, 0xd8, 0xff, 0xe0, 1, 2, 3], "attachment.picture").await;
    refused("photo.png", b"", "attachment.empty").await;
    // A picture of 60,000 by 60,000 pixels in a hundred bytes.
    let mut bomb = png(4, 4);
    bomb[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    let crc = bomb[12..29]
        .iter()
        .fold(!0_u32, |crc, b| (0..8).fold(crc ^ u32::from(*b), |c, _| if c & 1 == 1 { (c >> 1) ^ 0xedb8_8320 } else { c >> 1 }));
    bomb[29..33].copy_from_slice(&(!crc).to_be_bytes());
    refused("photo.png", &bomb, "attachment.picture_size").await;
    assert!(s.on_disk().is_empty(), "what is refused is not written");
    // Sent as something else than bytes: no form of another site can do it.
    let request = Request::post("/api/v1/attachments?name=a.png").header("authorization", format!("Bearer {}", s.inspector));
    let request = request.header("content-type", "multipart/form-data").header("host", "localhost").body(Body::from(png(4, 4))).unwrap();
    assert_eq!(send(&s.node.router, request).await.code(400), "body.not_bytes");
    for (name, bytes, kind) in
        [("a.pdf", b"%PDF-1.4 x".as_slice(), "pdf"), ("b.mp4", b"\0\0\0\x18ftypisom....", "video"), ("c.txt", "正常".as_bytes(), "text")]
    {
        let file = s.node.upload(&s.inspector, name, bytes).await.ok(201);
        assert_eq!(file["kind"], kind);
        let id = text(&file["id"]);
        assert_eq!(s.doors(&s.inspector, &id).await, [200, 404, 404], "only pictures have copies");
        // The field takes pictures alone.
        let refused = s.report(&s.inspector, json!([id])).await;
        assert_eq!(refused.refused(400), [("register.field_range".to_owned(), "fields.photos[0]".to_owned())]);
        assert!(refused.body["errors"][0]["detail"].as_str().unwrap().contains("JPEG, PNG, WebP"), "{}", refused.body);
    }
}

#[tokio::test]
async fn an_act_names_its_own_uploads_and_files_of_its_record_and_no_others() {
    let s = stage().await;
    let fault = |place: &str| vec![("register.field_file".to_owned(), format!("fields.{place}"))];
    let (mine, theirs) = (s.upload(&s.inspector).await, s.upload(&s.manager).await);
    assert_eq!(s.report(&s.inspector, json!([mine, theirs])).await.refused(400), fault("photos[1]"), "another person's upload");
    assert_eq!(s.report(&s.inspector, json!(["999999"])).await.refused(400), fault("photos[0]"));
    assert_eq!(s.report(&s.inspector, json!(["x"])).await.refused(400), fault("photos[0]"));
    assert_eq!(s.report(&s.inspector, json!([mine, mine])).await.code(400), "register.field_range", "twice");
    assert_eq!(s.report(&s.inspector, json!(mine)).await.code(400), "register.field_type");
    assert_eq!(s.report(&s.inspector, json!(["1", "2", "3", "4", "5", "6", "7"])).await.code(400), "register.field_range");
    let first = s.report(&s.inspector, json!([mine])).await.ok(201);
    assert_eq!(s.report(&s.inspector, json!([mine])).await.refused(400), fault("photos[0]"), "another record's file");
    // What was refused bound nothing: it can still be named, and taken back.
    assert_eq!(ask(&s.node.router, "DELETE", &format!("/api/v1/attachments/{theirs}"), Some(&s.inspector), None).await.status, 404);
    assert_eq!(ask(&s.node.router, "DELETE", &format!("/api/v1/attachments/{mine}"), Some(&s.inspector), None).await.status, 404, "bound");
    assert_eq!(ask(&s.node.router, "DELETE", &format!("/api/v1/attachments/{theirs}"), Some(&s.manager), None).await.status, 204);
    assert_eq!(s.report(&s.manager, json!([theirs])).await.refused(400), fault("photos[0]"), "taken back");
    let empty = s.report(&s.inspector, json!([])).await.ok(201);
    assert_eq!(empty["fields"]["photos"], Value::Null, "an empty list is an empty field");

    // A later step of the same record: new photos beside, and what stands there stays when it is named again.
    let at = format!("{RECORDS}/{}", text(&first["id"]));
    let act = async |token: &str, step: &str, revision: i64, fields: Value| {
        ask(&s.node.router, "POST", &format!("{at}/transitions/{step}"), Some(token), Some(json!({"revision": revision, "fields": fields})))
            .await
    };
    act(&s.inspector, "rate", 1, json!({"level": "general"})).await.ok(200);
    let people = s.get(&s.manager, &format!("/api/v1/people?enterprise={}", s.enterprise)).await.ok(200);
    let manager = people["people"].as_array().unwrap().iter().find(|p| p["name"] == "manager").unwrap()["id"].clone();
    act(&s.manager, "assign", 2, json!({"responsible": manager, "due_on": "2026-12-01", "measures": "补装"})).await.ok(200);
    let after = s.upload(&s.manager).await;
    let done = json!({"removed_on": "2026-11-23", "result": "已补装", "result_photos": [after]});
    // A photo of the finding is not this step's field.
    let mut locked = done.clone();
    locked["photos"] = json!([mine]);
    assert_eq!(act(&s.manager, "submit", 3, locked).await.refused(400), [("register.field_locked".to_owned(), "fields.photos".to_owned())]);
    act(&s.manager, "submit", 3, done).await.ok(200);
    act(&s.inspector, "send_back", 4, json!({"send_back_reason": "未接地"})).await.ok(200);
    let again = s.upload(&s.manager).await;
    let done = json!({"removed_on": "2026-11-23", "result": "已接地", "result_photos": [after, again]});
    let record = act(&s.manager, "submit", 5, done).await.ok(200);
    assert_eq!(record["fields"]["result_photos"], json!([after, again]));
    let detail = s.get(&s.inspector, &at).await.ok(200);
    let files: BTreeSet<String> = detail["attachments"].as_array().unwrap().iter().map(|a| text(&a["id"])).collect();
    assert_eq!(files, BTreeSet::from([mine, after, again]));
    assert_eq!(s.wrong().await, []);
}

#[tokio::test]
async fn two_acts_that_name_one_upload_are_one_after_the_other() {
    let s = stage().await;
    let mine = s.upload(&s.inspector).await;
    let tries =
        tokio::join!(s.report(&s.inspector, json!([mine])), s.report(&s.inspector, json!([mine])), s.report(&s.inspector, json!([mine])));
    let statuses: Vec<u16> = [tries.0, tries.1, tries.2].iter().map(|a| a.status.as_u16()).collect();
    assert_eq!(statuses.iter().filter(|s| **s == 201).count(), 1, "{statuses:?}");
    assert_eq!(s.wrong().await, []);
}

#[tokio::test]
async fn who_takes_no_step_anywhere_uploads_nothing() {
    let s = stage().await;
    let screen = s.node.person("screen", json!([{"role": "screen", "region": HERE}])).await;
    assert_eq!(s.node.upload(&screen, "a.png", &png(4, 4)).await.code(403), "attachment.role");
    assert!(s.on_disk().is_empty());
}

#[tokio::test]
async fn every_limit_is_told() {
    let mut limits = settings();
    limits.attachments = anlan_app::settings::Attachments { file_mb: 1, record_files: 2, person_mb: 2, total_mb: 3 };
    let s = stage_with(limits).await;
    let pdf = |n: usize, filling: u8| [b"%PDF-1.4".as_slice(), &vec![filling; n - 8]].concat();
    let up = async |token: &str, bytes: &[u8]| s.node.upload(token, "a.pdf", bytes).await;
    let refused = up(&s.inspector, &pdf(1_000_001, 0)).await;
    assert_eq!(refused.code(413), "attachment.too_large");
    assert!(refused.body["errors"][0]["detail"].as_str().unwrap().contains("at most 1 MB"), "{}", refused.body);
    up(&s.inspector, &pdf(1_000_000, 1)).await.ok(201);
    let second = text(&up(&s.inspector, &pdf(1_000_000, 2)).await.ok(201)["id"]);
    assert_eq!(up(&s.inspector, &pdf(100, 3)).await.code(409), "attachment.waiting", "the person's own");
    ask(&s.node.router, "DELETE", &format!("/api/v1/attachments/{second}"), Some(&s.inspector), None).await.ok(204);
    up(&s.inspector, &pdf(100, 3)).await.ok(201);
    up(&s.manager, &pdf(1_000_000, 4)).await.ok(201);
    up(&s.manager, &pdf(900_000, 5)).await.ok(201);
    assert_eq!(up(&s.manager, &pdf(100_000, 6)).await.code(409), "attachment.full", "all together");
    let (a, b, c) = (s.upload(&s.inspector).await, s.upload(&s.inspector).await, s.upload(&s.inspector).await);
    assert_eq!(s.report(&s.inspector, json!([a, b, c])).await.code(409), "attachment.record_full");
    s.report(&s.inspector, json!([a, b])).await.ok(201);
}

#[tokio::test]
async fn uploads_that_no_act_names_go_after_a_day_and_no_others() {
    let mut limits = settings();
    (limits.access.session_s, limits.access.idle_s) = (10_000_000, 10_000_000);
    let s = stage_with(limits).await;
    let (kept, left) = (s.upload(&s.inspector).await, text(&s.node.upload(&s.inspector, "b.png", &png(9, 9)).await.ok(201)["id"]));
    s.report(&s.inspector, json!([kept])).await.ok(201);
    assert_eq!(s.on_disk().len(), 6);
    let hour = |n: i64| n * 3_600_000_000;
    let start = s.node.app.clock.now();
    s.node.app.clock.set(start.plus_us(hour(23))).unwrap().unwrap();
    s.node.app.settle().await;
    assert_eq!((s.doors(&s.inspector, &left).await, s.on_disk().len()), ([200; 3], 6));
    s.node.app.clock.set(start.plus_us(hour(25))).unwrap().unwrap();
    s.node.app.settle().await;
    assert_eq!((s.doors(&s.inspector, &left).await, s.on_disk().len()), ([404; 3], 3));
    assert_eq!(s.doors(&s.inspector, &kept).await, [200; 3]);
}

#[tokio::test]
async fn two_rows_of_the_same_bytes_share_a_file_until_the_last_goes() {
    let s = stage().await;
    let (first, second) = (s.upload(&s.inspector).await, s.upload(&s.manager).await);
    assert_eq!(s.on_disk().len(), 3);
    ask(&s.node.router, "DELETE", &format!("/api/v1/attachments/{first}"), Some(&s.inspector), None).await.ok(204);
    s.node.app.settle().await;
    assert_eq!((s.on_disk().len(), s.doors(&s.manager, &second).await), (3, [200; 3]));
    ask(&s.node.router, "DELETE", &format!("/api/v1/attachments/{second}"), Some(&s.manager), None).await.ok(204);
    s.node.app.settle().await;
    assert!(s.on_disk().is_empty());
}

#[tokio::test]
async fn what_a_crash_leaves_between_file_and_row_is_swept_at_the_next_start() {
    let s = stage().await;
    let kept = s.upload(&s.inspector).await;
    s.report(&s.inspector, json!([kept])).await.ok(201);
    let files: BTreeSet<PathBuf> = s.on_disk().into_iter().collect();
    // Killed after the sync and before the row; killed in the middle of a file; and something that is none of ours.
    let folder = s.node.directory.path().join("attachments/ab");
    std::fs::create_dir_all(&folder).unwrap();
    let orphan = folder.join(format!("ab{}", "0".repeat(62)));
    std::fs::write(&orphan, b"orphan").unwrap();
    std::fs::write(orphan.with_extension("view.jpg"), b"orphan").unwrap();
    std::fs::write(orphan.with_extension("thumbnail.jpg.tmp"), b"half").unwrap();
    // A month ago; one of today may be named by a database that is put back yet.
    let month = std::time::Duration::from_secs(31 * 86_400);
    for name in ["", "view.jpg"] {
        let file = std::fs::File::options().append(true).open(orphan.with_extension(name)).unwrap();
        file.set_modified(file.metadata().unwrap().modified().unwrap() - month).unwrap();
    }
    let recent = folder.join(format!("ab{}", "1".repeat(62)));
    std::fs::write(&recent, b"of another database").unwrap();
    let foreign = folder.join("README");
    std::fs::write(&foreign, b"by hand").unwrap();
    let Stage { node: Node { directory, running, app, router, .. }, inspector, .. } = s;
    drop((router, app));
    running.stop().await;
    let (running, router) = open(directory.path(), settings()).await;
    running.app.settle().await;
    let left: BTreeSet<PathBuf> = on_disk(directory.path()).into_iter().collect();
    assert_eq!(left, files.into_iter().chain([foreign, recent]).collect());
    let path = format!("/api/v1/attachments/{kept}/content");
    assert_eq!(ask(&router, "GET", &path, Some(&inspector), None).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_changed_byte_and_a_lost_file_are_found() {
    let s = stage().await;
    let mut ids = Vec::new();
    for side in [10, 20, 30] {
        let file = s.node.upload(&s.inspector, "a.png", &png(side, side)).await.ok(201);
        ids.push((text(&file["id"]), text(&file["sha256"])));
    }
    let photos: Vec<&String> = ids.iter().map(|(id, _)| id).collect();
    s.report(&s.inspector, json!(photos)).await.ok(201);
    assert_eq!(s.wrong().await, []);
    let id = |n: usize| ids[n].0.parse::<AttachmentId>().unwrap();
    let changed = s.original(&ids[0].1);
    let mut bytes = std::fs::read(&changed).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&changed, &bytes).unwrap();
    std::fs::remove_file(s.original(&ids[1].1)).unwrap();
    assert_eq!(s.wrong().await, [(id(0), FileFault::Altered), (id(1), FileFault::Gone)]);
    for (id, _) in &ids[..2] {
        assert_eq!(s.get(&s.inspector, &format!("/api/v1/attachments/{id}/content")).await.code(500), "attachment.unreadable");
    }
}

#[tokio::test]
async fn a_backup_holds_the_files_and_restoring_checks_them() {
    let s = stage().await;
    let mine = s.node.upload(&s.inspector, "a.png", &png(60, 30)).await.ok(201);
    s.report(&s.inspector, json!([mine["id"]])).await.ok(201);
    let elsewhere = tempfile::tempdir().unwrap();
    let to = elsewhere.path().join("backup");
    let made = anlan_app::backup::make(&s.node.app, s.node.directory.path(), &to).await.unwrap();
    assert_eq!(made.files.iter().filter(|f| f.path.starts_with("attachments/")).count(), 3);
    let restored = anlan_app::backup::restore(&to, &elsewhere.path().join("restored")).await.unwrap();
    assert_eq!((restored.attachments, restored.attachments_lost), (1, 0));
    // What was damaged before the backup was made is told when it is restored.
    std::fs::write(s.original(&text(&mine["sha256"])), b"other").unwrap();
    let to = elsewhere.path().join("later");
    anlan_app::backup::make(&s.node.app, s.node.directory.path(), &to).await.unwrap();
    let restored = anlan_app::backup::restore(&to, &elsewhere.path().join("again")).await.unwrap();
    assert_eq!((restored.attachments, restored.attachments_lost), (1, 1));
}
