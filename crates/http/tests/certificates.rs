//! Certificates: issued to whoever sees the record, checked by anybody, and what is said of a record that is no longer as it was.

mod common;

use std::os::unix::fs::PermissionsExt as _;

use common::{ELSEWHERE, HERE, Node, ask, node, open, settings, text};
use serde_json::{Value, json};

struct World {
    node: Node,
    enterprise: String,
    supervisor: String,
    leader: String,
}

async fn world() -> World {
    let node = node().await;
    let enterprise = node.enterprise("91530400MA6K0001XX", HERE).await;
    let supervisor = node.person("supervisor", json!([{"role": "supervisor", "region": HERE}])).await;
    let leader = node.person("leader", json!([{"role": "leader", "region": HERE}])).await;
    World { node, enterprise, supervisor, leader }
}

impl World {
    /// A licence from before; its address.
    async fn licence(&self, no: &str, until: &str) -> String {
        let fields = json!({"subject": no, "licence": "mine", "scope": "石灰岩露天开采", "certificate_no": no, "issued_on": "2024-06-01", "valid_from": "2024-06-01", "valid_until": until});
        let body = json!({"enterprise": self.enterprise, "transition": "enter", "fields": fields});
        let made = self.ask("POST", "/api/v1/registers/licence/records", &self.supervisor, Some(body)).await.ok(201);
        format!("/api/v1/registers/licence/records/{}", text(&made["id"]))
    }
    async fn ask(&self, method: &str, path: &str, token: &str, body: Option<Value>) -> common::Answer {
        ask(&self.node.router, method, path, Some(token), body).await
    }
    async fn issued(&self, at: &str) -> Value {
        self.ask("GET", &format!("{at}/certificate"), &self.supervisor, None).await.ok(200)
    }
    async fn take(&self, at: &str, token: &str, step: &str, fields: Value) {
        let revision = self.ask("GET", at, token, None).await.ok(200)["revision"].clone();
        self.ask("POST", &format!("{at}/transitions/{step}"), token, Some(json!({"revision": revision, "fields": fields}))).await.ok(200);
    }
    /// As a stranger.
    async fn verify(&self, code: &str) -> Value {
        ask(&self.node.router, "POST", "/api/v1/certificates/verify", None, Some(json!({"code": code}))).await.ok(200)
    }
    async fn standing(&self, code: &str) -> Value {
        self.verify(code).await["now"]["standing"].clone()
    }
}

#[tokio::test]
async fn a_stranger_learns_what_the_certificate_says_and_where_the_licence_stands() {
    let w = world().await;
    let at = w.licence("滇FM-1", "2027-05-31").await;
    let keys = || ask(&w.node.router, "GET", "/api/v1/certificates/keys", None, None);
    assert_eq!(keys().await.ok(200)["keys"], json!([]), "made when it is needed");
    let issued = w.issued(&at).await;
    let code = text(&issued["code"]);
    assert!(code.starts_with("AL1.") && code.len() <= 600, "{}", code.len());
    let known = keys().await.ok(200);
    assert_eq!(known["keys"][0]["key"], issued["key"]);
    let file = w.node.directory.path().join("certificate.key");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(w.node.get("/api/v1/audit?noun=certificate_key").await["entries"][0]["detail"]["key"] == issued["key"]);

    let answer = w.verify(&code).await;
    assert_eq!((&answer["signature"], &answer["now"]["standing"]), (&json!("good"), &json!("in_force")), "{answer}");
    assert_eq!(answer["says"], issued["says"]);
    let says = &answer["says"];
    assert_eq!((&says["owner"]["text"], &says["code"]), (&json!("企业91530400MA6K0001XX"), &json!("91530400MA6K0001XX")), "{says}");
    let shown: Vec<&str> = says["fields"].as_array().unwrap().iter().map(|f| f["id"].as_str().unwrap()).collect();
    assert_eq!(shown, ["licence", "certificate_no", "scope", "issued_on", "valid_from", "valid_until"]);
    assert_eq!(says["fields"][0]["value"]["text"], "非煤矿矿山企业安全生产许可证");
    // Nothing of the record that does not stand on it.
    assert!(!answer.to_string().contains("region") && !answer.to_string().contains("revision"), "{answer}");

    // The QR code holds the text, or an address whose fragment it is.
    assert_eq!(issued["qr_text"], issued["code"]);
    let size = issued["qr"].as_array().unwrap().len();
    assert!(issued["qr"].as_array().unwrap().iter().all(|row| row.as_str().unwrap().len() == size) && size <= 97, "{size}");
    let page = w.ask("GET", &format!("{at}/certificate?page=https://anlan.example.cn:8443"), &w.supervisor, None).await.ok(200);
    assert!(text(&page["qr_text"]).starts_with("https://anlan.example.cn:8443/verify#AL1."));
    assert_eq!(w.standing(&text(&page["qr_text"])).await, "in_force");
    for page in ["javascript:alert(1)", "https://", "https://a/b", "ftp://a", "https://a%20b", &format!("https://{}", "a".repeat(101))] {
        let answer = w.ask("GET", &format!("{at}/certificate?page={page}"), &w.supervisor, None).await;
        assert_eq!(answer.refused(400), [("certificate.page".to_owned(), "page".to_owned())], "{page}");
    }

    // It is suspended, given back, changed, ended: the text is as good as before, and says no more than it did.
    w.take(&at, &w.supervisor, "suspend", json!({"suspension_reason": "重大隐患未消除"})).await;
    assert_eq!(w.ask("GET", &format!("{at}/certificate"), &w.supervisor, None).await.code(409), "certificate.state");
    let answer = w.verify(&code).await;
    assert_eq!(
        (&answer["signature"], &answer["now"]["standing"], &answer["now"]["state_name"]),
        (&json!("good"), &json!("not_in_force"), &json!("暂扣"))
    );
    assert!(!answer.to_string().contains("重大隐患未消除"), "{answer}");
    w.take(&at, &w.supervisor, "restore", json!({"restore_opinion": "已消除"})).await;
    assert_eq!(w.standing(&code).await, "in_force");
    w.take(&at, &w.supervisor, "change", json!({"change_note": "范围", "scope": "白云岩露天开采"})).await;
    assert_eq!(w.standing(&code).await, "changed");
    let newer = text(&w.issued(&at).await["code"]);
    assert_eq!(w.standing(&newer).await, "in_force");
    w.take(&at, &w.leader, "revoke", json!({"revocation": "deregistered", "opinion": "申请注销"})).await;
    let answer = w.verify(&newer).await;
    assert_eq!((&answer["now"]["standing"], &answer["now"]["state_name"]), (&json!("not_in_force"), &json!("已撤销、吊销、注销")));
}

#[tokio::test]
async fn on_the_day_after_its_last_it_is_over_though_nobody_said_so() {
    let w = world().await;
    let code = text(&w.issued(&w.licence("滇FM-2", "2026-11-24").await).await["code"]);
    let a_day = json!({"advance_s": 86_400});
    ask(&w.node.router, "POST", "/api/v1/test/clock", None, Some(a_day.clone())).await.ok(200);
    assert_eq!(w.standing(&code).await, "in_force", "on its last day");
    ask(&w.node.router, "POST", "/api/v1/test/clock", None, Some(a_day)).await.ok(200);
    assert_eq!(w.standing(&code).await, "over");
}

#[tokio::test]
async fn what_is_no_certificate_of_ours_gets_a_clear_answer_and_nothing_else() {
    let w = world().await;
    let at = w.licence("滇FM-3", "2027-05-31").await;
    let code = text(&w.issued(&at).await["code"]);
    let verify = async |body: Value| ask(&w.node.router, "POST", "/api/v1/certificates/verify", None, Some(body)).await;
    for broken in ["", "x", "AL1.AAAA.AAAA", "AL2.AAAA.AAAA", &code[..code.len() - 2], &"A".repeat(5_000)] {
        assert_eq!(
            verify(json!({"code": broken})).await.refused(400),
            [("certificate.malformed".to_owned(), "code".to_owned())],
            "{broken}"
        );
    }
    assert_eq!(verify(json!({"code": "A".repeat(20_000)})).await.status.as_u16(), 413);
    assert_eq!(verify(json!({})).await.code(400), "field.missing");
    // A byte of what it says, and of the signature.
    for at in [60, code.len() - 20] {
        let other = if &code[at..=at] == "A" { "B" } else { "A" };
        let answer = verify(json!({"code": format!("{}{other}{}", &code[..at], &code[at + 1..])})).await;
        if answer.status == 200 {
            assert_eq!(
                (&answer.body["signature"], &answer.body["says"], &answer.body["now"]),
                (&json!("wrong"), &json!(null), &json!(null))
            );
        } else {
            assert_eq!(answer.code(400), "certificate.malformed");
        }
    }
    // Another node's, of which this one must not speak as if it were its own.
    let elsewhere = world().await;
    let theirs = text(&elsewhere.issued(&elsewhere.licence("滇FM-3", "2027-05-31").await).await["code"]);
    let answer = w.verify(&theirs).await;
    assert_eq!((&answer["signature"], &answer["says"], &answer["now"]), (&json!("key_unknown"), &json!(null), &json!(null)));
    // Who does not see the record gets none; a register without certificates has none.
    let outsider = w.node.person("outsider", json!([{"role": "supervisor", "region": ELSEWHERE}])).await;
    assert_eq!(w.ask("GET", &format!("{at}/certificate"), &outsider, None).await.code(404), "row.not_found");
    let fields = json!({"description": "x", "place": "x", "found_on": "2026-01-01", "source": "act"});
    let body = json!({"enterprise": w.enterprise, "transition": "report", "fields": fields});
    let danger = w.ask("POST", "/api/v1/registers/hidden_danger/records", &w.supervisor, Some(body)).await.ok(201);
    let danger = format!("/api/v1/registers/hidden_danger/records/{}/certificate", text(&danger["id"]));
    assert_eq!(w.ask("GET", &danger, &w.supervisor, None).await.code(404), "certificate.none");
    // A stranger who asks on and on.
    let mut waits = None;
    for _ in 0..130 {
        let answer = verify(json!({"code": code})).await;
        if answer.status == 429 {
            waits = answer.headers.get("retry-after").cloned();
            assert_eq!(answer.code(429), "certificate.slow_down");
            break;
        }
    }
    assert!(waits.is_some());
}

#[tokio::test]
async fn a_lost_key_is_told_and_never_silently_replaced() {
    let w = world().await;
    let at = w.licence("滇FM-4", "2027-05-31").await;
    let before = w.issued(&at).await;
    let data = w.node.directory.path().to_owned();
    let file = data.join("certificate.key");
    let kept = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let refused = w.ask("GET", &format!("{at}/certificate"), &w.supervisor, None).await;
    assert_eq!(refused.code(503), "certificate.key_lost");
    assert!(!file.exists());
    assert_eq!(w.standing(&text(&before["code"])).await, "in_force", "what it signed is checked as before");
    // Another key in its place is not taken for it either.
    anlan_app::signing::KeyPair::create(&file).unwrap();
    assert_eq!(w.ask("GET", &format!("{at}/certificate"), &w.supervisor, None).await.code(503), "certificate.key_lost");
    std::fs::write(&file, kept).unwrap();
    assert_eq!(w.issued(&at).await["key"], before["key"]);
    // A new one on purpose: what the old one signed stays good.
    let now = anlan_model::Clock::now(&*w.node.app.clock);
    anlan_app::certificate::make_key(&w.node.app.store, &data, now).await.unwrap();
    let after = w.issued(&at).await;
    assert_ne!(after["key"], before["key"]);
    assert_eq!((w.standing(&text(&before["code"])).await, w.standing(&text(&after["code"])).await), (json!("in_force"), json!("in_force")));
    let known = ask(&w.node.router, "GET", "/api/v1/certificates/keys", None, None).await.ok(200);
    assert_eq!(known["keys"].as_array().unwrap().len(), 2);
    assert_eq!(std::fs::read_dir(&data).unwrap().flatten().filter(|f| f.file_name().to_string_lossy().ends_with(".key")).count(), 2);

    // In a backup, and back from it, for its owner alone.
    let copy = tempfile::tempdir().unwrap();
    anlan_app::backup::make(&w.node.app, &data, &copy.path().join("copy")).await.unwrap();
    let restored = copy.path().join("restored");
    let kept = copy.path().join("copy/certificate.key");
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&kept, std::fs::Permissions::from_mode(0o644)).unwrap();
    anlan_app::backup::restore(&copy.path().join("copy"), &restored).await.unwrap();
    assert_eq!(std::fs::metadata(restored.join("certificate.key")).unwrap().permissions().mode() & 0o777, 0o600);
    let (running, router) = open(&restored, settings()).await;
    let answer = ask(&router, "POST", "/api/v1/certificates/verify", None, Some(json!({"code": after["code"]}))).await.ok(200);
    assert_eq!(answer["now"]["standing"], "in_force");
    running.stop().await;
}
