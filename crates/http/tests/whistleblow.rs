//! A report of a violation from the public page to its end: nothing that tells who reported is written anywhere, and it takes two holders to read it.

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use common::{Answer, ELSEWHERE, HERE, Node, ask, node, open, send, settings, text};
use serde_json::{Value, json};

const PASS: [&str; 3] = ["first holder's words", "second holder's words", "third holder's words"];
/// What must be found nowhere: in UTF-8, as it came.
const MARKS: [&str; 5] = ["王密封甲", "13987654321", "6222-0001-MARK", "三号库房没有防爆灯MARK", "\u{1}\u{2}FILE-MARK\u{3}"];

const BOUNDARY: &str = "----anlan-test";

/// A form with files, as a browser sends it.
async fn send_form(node: &Node, path: &str, fields: &[(&str, &str)], files: &[(&str, &[u8])]) -> Answer {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes());
    }
    for (name, bytes) in files {
        body.extend(format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"files\"; filename=\"{name}\"\r\nContent-Type: application/octet-stream\r\n\r\n").bytes());
        body.extend(*bytes);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{BOUNDARY}--\r\n").bytes());
    let request =
        Request::post(path).header("content-type", format!("multipart/form-data; boundary={BOUNDARY}")).header("host", "localhost");
    let mut request = request.body(Body::from(body)).unwrap();
    // Each from an address of its own: one that sends often is told to wait.
    static VISITORS: AtomicU16 = AtomicU16::new(1);
    let [a, b] = VISITORS.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([10, 0, a, b], 40_000))));
    send(&node.router, request).await
}

async fn follow(node: &Node, code: &str) -> Answer {
    let body = format!("code={}", code.replace('-', "+"));
    let request = Request::post("/public/follow").header("content-type", "application/x-www-form-urlencoded").header("host", "localhost");
    send(&node.router, request.body(Body::from(body)).unwrap()).await
}

fn page(answer: Answer, status: u16) -> String {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
    assert!(answer.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    assert_eq!((answer.headers.get("set-cookie"), answer.headers["cache-control"].to_str().unwrap()), (None, "no-store"));
    let text = text(&answer.body);
    assert!(!text.contains("<script") && text.len() < 100_000);
    text
}

struct World {
    node: Node,
    /// Tokens.
    holders: [String; 3],
    ids: [String; 3],
    inspector: String,
    inspector_id: String,
}

async fn world() -> World {
    let node = node().await;
    let grants = [
        json!([{"role": "supervisor", "region": "5304"}]),
        json!([{"role": "leader", "region": "5304"}]),
        json!([{"role": "supervisor", "region": "5304"}]),
    ];
    let mut holders = Vec::new();
    for (n, grants) in grants.into_iter().enumerate() {
        holders.push(node.person(&format!("holder{n}"), grants).await);
    }
    let inspector = node.person("inspector", json!([{"role": "inspector", "region": HERE}])).await;
    let users = node.get("/api/v1/users").await;
    let id = |name: &str| text(&users["users"].as_array().unwrap().iter().find(|u| u["username"] == name).unwrap()["id"]);
    let ids = ["holder0", "holder1", "holder2"].map(id);
    let inspector_id = id("inspector");
    World { node, holders: holders.try_into().unwrap(), ids, inspector, inspector_id }
}

impl World {
    async fn ask(&self, method: &str, path: &str, token: &str, body: Option<Value>) -> Answer {
        ask(&self.node.router, method, &format!("/api/v1{path}"), Some(token), body).await
    }

    /// Appoints the first `n` and lets them make their keys.
    async fn appointed(&self, n: usize) {
        for (n, id) in self.ids.iter().enumerate().take(n) {
            self.ask("PUT", &format!("/whistleblow/holders/{id}"), &self.node.admin, None).await.ok(204);
            self.ask("PUT", "/whistleblow/key", &self.holders[n], Some(json!({"passphrase": PASS[n]}))).await.ok(204);
        }
    }

    /// The `n`th makes a key.
    async fn appointed_key(&self, n: usize) {
        self.ask("PUT", "/whistleblow/key", &self.holders[n], Some(json!({"passphrase": PASS[n]}))).await.ok(204);
    }

    /// Sends a report with every mark; its code and the record's id.
    async fn reported(&self) -> (String, String) {
        let fields = [
            ("topic", "hazard"),
            ("channel", "web"),
            ("region", HERE),
            ("what", MARKS[3]),
            ("unit", "某化工厂MARK"),
            ("place", ""),
            ("when", ""),
            ("name", MARKS[0]),
            ("contact", MARKS[1]),
            ("payee", ""),
        ];
        let files: [(&str, &[u8]); 2] = [("照片MARK.jpg", MARKS[4].as_bytes()), ("", b"")];
        let page = page(send_form(&self.node, "/public/report", &fields, &files).await, 201);
        let code = page.split("id=\"code\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
        assert_eq!(code.len(), 19, "{page}");
        let list = self.ask("GET", "/registers/whistleblow_report/records", &self.holders[0], None).await.ok(200);
        (code, text(&list["records"].as_array().unwrap().iter().max_by_key(|r| text(&r["number"])).unwrap()["id"]))
    }

    async fn act(&self, record: &str, token: &str, transition: &str, fields: Value) -> Answer {
        let at = format!("/registers/whistleblow_report/records/{record}");
        let revision = self.ask("GET", &at, &self.holders[0], None).await.ok(200)["revision"].clone();
        self.ask("POST", &format!("{at}/transitions/{transition}"), token, Some(json!({"revision": revision, "fields": fields}))).await
    }
}

/// Files below a directory that hold one of these.
fn found(directory: &Path, marks: &[&str]) -> Vec<String> {
    let mut hits = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            hits.extend(found(&path, marks));
        } else {
            // While the node runs, a file may have given way to another.
            let bytes = match std::fs::read(&path) {
                Err(gone) if gone.kind() == std::io::ErrorKind::NotFound => continue,
                read => read.unwrap(),
            };
            let holds = |mark: &&&str| bytes.windows(mark.len()).any(|w| w == mark.as_bytes());
            hits.extend(marks.iter().filter(holds).map(|mark| format!("{mark:?} in {}", path.display())));
        }
    }
    hits
}

#[tokio::test]
async fn a_report_goes_from_the_public_page_to_its_reward_and_says_nobody_who_reported() {
    let w = world().await;
    w.appointed(2).await;
    let (code, record) = w.reported().await;
    let sealed = w.ask("GET", &format!("/whistleblow/reports/{record}"), &w.inspector, None).await.ok(200);
    let kinds: Vec<_> = sealed["parts"].as_array().unwrap().iter().map(|p| text(&p["kind"])).collect();
    assert_eq!((kinds, &sealed["may_open"]), (vec!["words".to_owned(), "file".to_owned(), "identity".to_owned()], &json!(false)));
    assert!(page(follow(&w.node, &code).await, 200).contains("待筛查"));

    // A holder opens the words and the file; nobody else, and not without the passphrase.
    let at = |rest: &str| format!("/whistleblow/reports/{record}{rest}");
    let pass = |n: usize| Some(json!({"passphrase": PASS[n]}));
    assert_eq!(w.ask("POST", &at("/open"), &w.holders[0], pass(1)).await.code(400), "whistleblow.passphrase");
    assert_eq!(w.ask("POST", &at("/open"), &w.inspector, pass(0)).await.code(403), "whistleblow.no_holder");
    assert_eq!(w.ask("POST", &at("/open"), &w.holders[2], pass(2)).await.code(403), "whistleblow.no_holder");
    let opened = w.ask("POST", &at("/open"), &w.holders[0], pass(0)).await.ok(200);
    let words = &opened["sendings"][0];
    assert_eq!(
        (&words["what"], &words["unit"], &words["files"][0]["name"]),
        (&json!(MARKS[3]), &json!("某化工厂MARK"), &json!("照片MARK.jpg"))
    );
    let n = words["files"][0]["n"].clone();
    let file = w.ask("POST", &at(&format!("/files/{n}")), &w.holders[1], pass(1)).await;
    assert_eq!((text(&file.body).as_str(), file.headers["content-type"].to_str().unwrap()), (MARKS[4], "application/octet-stream"));

    // The way of the record, with a question and more from the reporter in between.
    w.act(&record, &w.holders[0], "ask", json!({"question": "从什么时候开始？"})).await.ok(200);
    assert!(page(follow(&w.node, &code.to_lowercase()).await, 200).contains("从什么时候开始？"));
    page(send_form(&w.node, "/public/follow/more", &[("code", &code), ("what", "五月初MARK"), ("payee", MARKS[2])], &[]).await, 200);
    let bell = w.ask("GET", "/notifications", &w.holders[2], None).await.ok(200);
    assert_eq!(bell["notifications"][0]["kind"], "supplement");
    let opened = w.ask("POST", &at("/open"), &w.holders[1], pass(1)).await.ok(200);
    assert_eq!(opened["sendings"][1]["what"], "五月初MARK");
    let fields = json!({"subject": "某厂库房电气不防爆", "facts": "库房照明不防爆", "unit": "某厂", "handle_by": "2026-12-20"});
    w.act(&record, &w.holders[0], "accept", fields).await.ok(200);
    w.act(&record, &w.holders[0], "assign", json!({"handler": w.inspector_id})).await.ok(200);
    let fields = json!({"checked_on": "2026-11-23", "findings": "属实", "verdict": "true", "measures": "立案", "penalty_yuan": 40000});
    w.act(&record, &w.inspector, "verify", fields).await.ok(200);
    w.act(&record, &w.holders[0], "answer", json!({"reply": "已责令更换"})).await.ok(200);
    w.act(&record, &w.holders[0], "propose_reward", json!({"reward_yuan": 6000, "reward_basis": "15%"})).await.ok(200);
    assert!(!page(follow(&w.node, &code).await, 200).contains("6000"), "what is proposed is promised to nobody");
    w.act(&record, &w.holders[1], "approve_reward", json!({})).await.ok(200);
    let followed = page(follow(&w.node, &code).await, 200);
    assert!(followed.contains("6000") && followed.contains("已责令更换"));

    // Who reported: asked with a reason, granted by another, opened by who asked, within a day.
    assert_eq!(w.ask("POST", &at("/unsealings"), &w.holders[0], Some(json!({"reason": " "}))).await.code(400), "text.empty");
    w.ask("POST", &at("/unsealings"), &w.holders[0], Some(json!({"reason": "发放奖励"}))).await.ok(204);
    assert_eq!(w.ask("POST", &at("/unsealings"), &w.holders[0], Some(json!({"reason": "再问"}))).await.code(409), "value.taken");
    let n = w.ask("GET", &at(""), &w.holders[1], None).await.ok(200)["unsealings"][0]["n"].clone();
    let one = |rest: &str| at(&format!("/unsealings/{n}/{rest}"));
    assert_eq!(w.ask("POST", &one("open"), &w.holders[0], pass(0)).await.code(404), "row.not_found");
    assert_eq!(w.ask("POST", &one("grant"), &w.holders[0], pass(0)).await.code(403), "whistleblow.own_question");
    assert_eq!(w.ask("POST", &one("grant"), &w.holders[1], pass(0)).await.code(400), "whistleblow.passphrase");
    w.ask("POST", &one("grant"), &w.holders[1], pass(1)).await.ok(204);
    assert_eq!(w.ask("POST", &one("refuse"), &w.holders[1], Some(json!({"reason": "x"}))).await.code(409), "revision.stale");
    assert_eq!(w.ask("POST", &one("open"), &w.holders[1], pass(1)).await.code(404), "row.not_found");
    let who = w.ask("POST", &one("open"), &w.holders[0], pass(0)).await.ok(200);
    assert_eq!(
        (&who["identities"][0]["name"], &who["identities"][0]["contact"], &who["identities"][1]["payee"]),
        (&json!(MARKS[0]), &json!(MARKS[1]), &json!(MARKS[2]))
    );
    let audit = w.node.get("/api/v1/audit?limit=100").await;
    let done: Vec<_> =
        audit["entries"].as_array().unwrap().iter().filter(|e| e["noun"] == "sealed_report").map(|e| text(&e["action"])).collect();
    for action in ["seal", "open_words", "open_file", "ask_unsealing", "grant_unsealing", "unseal"] {
        assert!(done.contains(&action.to_owned()), "{action} is in the audit: {done:?}");
    }
    // A day later what was granted is gone, and is dropped.
    let later = anlan_model::Clock::now(&*w.node.app.clock).plus_us(25 * 3_600_000_000);
    w.node.app.clock.set(later).unwrap().unwrap();
    assert_eq!(w.ask("POST", &one("open"), &w.holders[0], pass(0)).await.code(404), "row.not_found", "a day is over");
    assert_eq!(anlan_app::whistleblow::forget_granted(&w.node.app).await.unwrap(), 2);
    assert_eq!(anlan_app::whistleblow::forget_granted(&w.node.app).await.unwrap(), 0);

    // Nowhere on the disk, while it runs, in a backup, or after it stopped: no mark, no code.
    let bare = code.replace('-', "");
    let marks: Vec<&str> = MARKS.into_iter().chain(["五月初MARK", "某化工厂MARK", "照片MARK.jpg", &code, &bare]).collect();
    let copy = tempfile::tempdir().unwrap();
    anlan_app::backup::make(&w.node.app, w.node.directory.path(), &copy.path().join("copy")).await.unwrap();
    let Node { running, directory, app, router, .. } = w.node;
    assert_eq!(found(directory.path(), &marks), Vec::<String>::new());
    assert_eq!(found(copy.path(), &marks), Vec::<String>::new());
    drop((app, router));
    running.stop().await;
    assert_eq!(found(directory.path(), &marks), Vec::<String>::new());
    assert!(!found(directory.path(), &["某厂库房电气不防爆"]).is_empty(), "the search finds what is there");

    // And it goes on from the backup.
    let restored = copy.path().join("restored");
    anlan_app::backup::restore(&copy.path().join("copy"), &restored).await.unwrap();
    let (running, router) = open(&restored, settings()).await;
    let request = Request::post("/public/follow").header("content-type", "application/x-www-form-urlencoded").header("host", "localhost");
    let answer = send(&router, request.body(Body::from(format!("code={code}"))).unwrap()).await;
    assert!(page(answer, 200).contains("奖励待发放"));
    running.stop().await;
}

#[tokio::test]
async fn nothing_is_taken_before_there_are_two_holders_with_keys() {
    let w = world().await;
    let form = async |w: &World| {
        send(&w.node.router, Request::get("/public/report").header("host", "localhost").body(Body::empty()).unwrap()).await
    };
    assert!(page(form(&w).await, 503).contains("12350"));
    assert_eq!(
        w.ask("PUT", "/whistleblow/key", &w.holders[0], Some(json!({"passphrase": PASS[0]}))).await.code(403),
        "whistleblow.no_holder"
    );
    assert_eq!(w.ask("PUT", &format!("/whistleblow/holders/{}", w.ids[0]), &w.holders[0], None).await.code(403), "permission.missing");
    w.appointed(1).await;
    assert_eq!(w.ask("PUT", &format!("/whistleblow/holders/{}", w.ids[0]), &w.node.admin, None).await.code(409), "value.taken");
    assert_eq!(
        w.ask("PUT", "/whistleblow/key", &w.holders[0], Some(json!({"passphrase": "short"}))).await.code(400),
        "whistleblow.passphrase_short"
    );
    assert_eq!(page(form(&w).await, 503).matches("<form").count(), 0);
    let fields = [("topic", "hazard"), ("channel", "web"), ("region", HERE), ("what", "三号库房没有防爆灯")];
    page(send_form(&w.node, "/public/report", &fields, &[]).await, 503);
    w.appointed_second().await;
    let shown = page(form(&w).await, 200);
    assert!(shown.contains("事故隐患") && shown.contains("红塔"));
    page(send_form(&w.node, "/public/report", &fields, &[]).await, 201);
    let holders = w.ask("GET", "/whistleblow/holders", &w.holders[1], None).await.ok(200);
    assert_eq!((holders["open"].clone(), holders["holders"].as_array().unwrap().len()), (json!(true), 2));
    assert!(holders["holders"][0].get("locked").is_none());
    assert_eq!(w.ask("GET", "/whistleblow/holders", &w.inspector, None).await.code(403), "whistleblow.no_holder");
    // A third is sealed to only when one of the two vouches for them: an administrator alone does not make both holders.
    let third = format!("/whistleblow/holders/{}", w.ids[2]);
    w.ask("PUT", &third, &w.node.admin, None).await.ok(204);
    w.ask("PUT", "/whistleblow/key", &w.holders[2], Some(json!({"passphrase": PASS[2]}))).await.ok(204);
    page(send_form(&w.node, "/public/report", &fields, &[]).await, 201);
    let list = w.ask("GET", "/registers/whistleblow_report/records", &w.holders[2], None).await.ok(200);
    let newest = list["records"].as_array().unwrap().iter().max_by_key(|r| text(&r["number"])).unwrap();
    let at = format!("/whistleblow/reports/{}/open", text(&newest["id"]));
    let pass = |n: usize| Some(json!({"passphrase": PASS[n]}));
    assert_eq!(w.ask("POST", &at, &w.holders[2], pass(2)).await.code(403), "whistleblow.no_holder");
    assert_eq!(w.ask("POST", &format!("{third}/confirm"), &w.holders[2], pass(2)).await.code(403), "whistleblow.oneself");
    assert_eq!(w.ask("POST", &format!("{third}/confirm"), &w.node.admin, pass(2)).await.code(403), "whistleblow.no_holder");
    assert_eq!(w.ask("POST", &format!("{third}/confirm"), &w.holders[0], pass(1)).await.code(400), "whistleblow.passphrase");
    w.ask("POST", &format!("{third}/confirm"), &w.holders[0], pass(0)).await.ok(204);
    assert_eq!(w.ask("POST", &at, &w.holders[2], pass(2)).await.code(409), "whistleblow.stranger", "it came before");
    // A password that was reset makes no key.
    let wrong = json!({"passphrase": "another passphrase", "current": "x"});
    assert_eq!(
        w.ask("PUT", "/whistleblow/key", &w.holders[2], Some(wrong)).await.refused(400),
        [("whistleblow.passphrase".to_owned(), "current".to_owned())]
    );
    w.ask("PUT", "/whistleblow/key", &w.holders[2], Some(json!({"passphrase": "another passphrase", "current": PASS[2]}))).await.ok(204);
    w.ask("DELETE", &third, &w.node.admin, None).await.ok(204);
    // One who was dismissed opens nothing any more, and it is closed again.
    w.ask("DELETE", &format!("/whistleblow/holders/{}", w.ids[1]), &w.node.admin, None).await.ok(204);
    page(form(&w).await, 503);
    let list = w.ask("GET", "/registers/whistleblow_report/records", &w.holders[1], None).await.ok(200);
    let at = format!("/whistleblow/reports/{}/open", text(&list["records"][0]["id"]));
    assert_eq!(w.ask("POST", &at, &w.holders[1], Some(json!({"passphrase": PASS[1]}))).await.code(403), "whistleblow.no_holder");
    w.node.running.stop().await;
}

impl World {
    async fn appointed_second(&self) {
        self.ask("PUT", &format!("/whistleblow/holders/{}", self.ids[1]), &self.node.admin, None).await.ok(204);
        self.ask("PUT", "/whistleblow/key", &self.holders[1], Some(json!({"passphrase": PASS[1]}))).await.ok(204);
    }
}

#[tokio::test]
async fn the_same_form_sent_twice_is_one_report_and_another_out_of_it_is_another() {
    let w = world().await;
    w.appointed(2).await;
    let form = async || {
        let shown = send(&w.node.router, Request::get("/public/report").header("host", "localhost").body(Body::empty()).unwrap()).await;
        let shown = page(shown, 200);
        shown.split("name=\"form\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    let secret = form().await;
    assert!(secret.len() == 32 && secret != form().await);
    let n = async || {
        w.ask("GET", "/registers/whistleblow_report/records", &w.holders[0], None).await.ok(200)["records"].as_array().unwrap().len()
    };
    let fields = |secret: &str, what: &str| {
        [("topic", "hazard"), ("channel", "web"), ("region", HERE), ("what", what), ("name", "王密封甲"), ("form", secret)]
            .map(|(a, b)| (a, b.to_owned()))
    };
    let sent = async |fields: &[(&str, String)], files: &[(&str, &[u8])], status: u16| {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        page(send_form(&w.node, "/public/report", &fields, files).await, status)
    };
    let file: [(&str, &[u8]); 1] = [("a.jpg", b"one")];
    let first = sent(&fields(&secret, "三号库房没有防爆灯"), &file, 201).await;
    assert!(first.contains("id=\"code\""));
    // Pressed again, or the page of the receipt asked for anew.
    let again = sent(&fields(&secret, "三号库房没有防爆灯"), &file, 200).await;
    // The first answer may have been lost on its way: the same code, and it leads to the report.
    let code_in = |page: &str| page.split("id=\"code\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
    assert!(again.contains("此前已经收到") && code_in(&again) == code_in(&first), "{again}");
    assert!(again.contains(first.split("<dd>").nth(1).unwrap().split('<').next().unwrap()), "by its number");
    assert_eq!(n().await, 1);
    // Both at once: one of them is the report.
    let both = fields(&form().await, "同时提交两次的举报");
    let (a, b) = tokio::join!(
        async {
            send_form(&w.node, "/public/report", &both.iter().map(|(a, b)| (*a, b.as_str())).collect::<Vec<_>>(), &[]).await.status.as_u16()
        },
        async {
            send_form(&w.node, "/public/report", &both.iter().map(|(a, b)| (*a, b.as_str())).collect::<Vec<_>>(), &[]).await.status.as_u16()
        },
    );
    assert_eq!((a.min(b), a.max(b), n().await), (200, 201, 2));
    // Back in the browser, and something else written, or another file: nothing of it is lost.
    sent(&fields(&secret, "三号库房没有防爆灯，四号也没有"), &file, 201).await;
    sent(&fields(&secret, "三号库房没有防爆灯"), &[("a.jpg", b"two")], 201).await;
    assert_eq!(n().await, 4);
    // Without a secret, as from a page that was open before: taken as before.
    for _ in 0..2 {
        sent(&fields("", "三号库房没有防爆灯"), &[], 201).await;
    }
    assert_eq!(n().await, 6);
    // A form that comes back keeps its secret.
    assert!(sent(&fields(&secret, "短"), &[], 400).await.contains(&secret));
    // Other words out of the same form have another code.
    assert_ne!(code_in(&sent(&fields(&secret, "另一处隐患没有整改"), &[], 201).await), code_in(&first));
    // Neither secret nor code is kept, in the log of the database either.
    let has = |what: &str| {
        let kept = ["anlan.sqlite", "anlan.sqlite-wal"].map(|name| std::fs::read(w.node.directory.path().join(name)).unwrap_or_default());
        assert!(kept.iter().any(|bytes| !bytes.is_empty()));
        kept.iter().any(|bytes| bytes.windows(what.len()).any(|window| window == what.as_bytes()))
    };
    assert!(has("whistleblow_report") && !has(&secret) && !has(&code_in(&first)));
}

#[tokio::test]
async fn a_new_holder_finds_in_the_bell_that_a_key_is_to_be_made() {
    let w = world().await;
    let owed = async |token: &str| w.ask("GET", "/notifications", token, None).await.ok(200)["owed"].clone();
    assert_eq!(owed(&w.holders[0]).await, json!([]));
    w.ask("PUT", &format!("/whistleblow/holders/{}", w.ids[0]), &w.node.admin, None).await.ok(204);
    assert_eq!((owed(&w.holders[0]).await, owed(&w.holders[1]).await), (json!(["holder_key"]), json!([])));
    w.appointed_key(0).await;
    assert_eq!(owed(&w.holders[0]).await, json!([]), "until it is made");
    w.appointed_second().await;
    w.ask("PUT", &format!("/whistleblow/holders/{}", w.ids[2]), &w.node.admin, None).await.ok(204);
    assert_eq!((owed(&w.holders[2]).await, owed(&w.holders[0]).await), (json!(["holder_key"]), json!(["holder_confirm"])));
    assert_eq!(owed(&w.inspector).await, json!([]));
    w.ask("DELETE", &format!("/whistleblow/holders/{}", w.ids[2]), &w.node.admin, None).await.ok(204);
    assert_eq!((owed(&w.holders[2]).await, owed(&w.holders[0]).await), (json!([]), json!([])));
}

#[tokio::test]
async fn a_form_that_does_not_fit_comes_back_with_what_was_written() {
    let w = world().await;
    w.appointed(2).await;
    let fields = [("topic", "hazard"), ("channel", "web"), ("region", ""), ("what", "短"), ("unit", "<b>某厂</b>"), ("name", "王密封甲")];
    let answer = page(send_form(&w.node, "/public/report", &fields, &[]).await, 400);
    assert!(
        answer.contains("role=\"alert\"")
            && answer.contains("value=\"&lt;b&gt;某厂&lt;/b&gt;\"")
            && answer.contains("aria-invalid=\"true\""),
        "{answer}"
    );
    // Each field says where its fault is told.
    for (field, described) in [("what", "fault-what what-hint"), ("region", "fault-region")] {
        assert!(
            answer.contains(&format!("id=\"fault-{field}\"")) && answer.contains(&format!("aria-describedby=\"{described}\"")),
            "{answer}"
        );
    }
    let many: Vec<(&str, &[u8])> = (0..6).map(|_| ("a.txt", b"x".as_slice())).collect();
    assert!(page(send_form(&w.node, "/public/report?lang=en", &fields, &many).await, 413).contains("At most 5 files"));
    let large = vec![0; 8_000_001];
    let answer = page(send_form(&w.node, "/public/report", &fields, &[("a.mp4", &large)]).await, 413);
    assert!(answer.contains("8 MB") && answer.contains("&lt;b&gt;某厂&lt;/b&gt;"), "what was written is there still");
    // Garbage instead of a form, a code that is none, another's page.
    let request = Request::post("/public/report").header("content-type", "multipart/form-data; boundary=x").header("host", "localhost");
    page(send(&w.node.router, request.body(Body::from("no form")).unwrap()).await, 400);
    let request = Request::post("/public/report").header("host", "localhost");
    page(send(&w.node.router, request.body(Body::empty()).unwrap()).await, 400);
    assert!(page(follow(&w.node, "ABCD-EFGH-JKMN-PQRS").await, 400).contains("没有这个回执码"));
    assert!(page(follow(&w.node, "' OR 1=1").await, 400).contains("没有这个回执码"));
    page(send_form(&w.node, "/public/follow/more", &[("code", "ABCD-EFGH-JKMN-PQRS"), ("what", "补充补充补充")], &[]).await, 400);
    let missing = send(&w.node.router, Request::get("/public/nothing").header("host", "localhost").body(Body::empty()).unwrap()).await;
    assert!(page(missing, 404).contains("没有这个页面"));
    // An officer of another county does not see it at all.
    let (_, record) = w.reported().await;
    let other = w.node.person("elsewhere", json!([{"role": "supervisor", "region": ELSEWHERE}])).await;
    assert_eq!(w.ask("GET", &format!("/whistleblow/reports/{record}"), &other, None).await.code(404), "row.not_found");
    let enterprise = w.node.enterprise("E1", HERE).await;
    let manager = w.node.person("manager", json!([{"role": "safety_manager", "enterprise": enterprise}])).await;
    assert_eq!(w.ask("GET", &format!("/whistleblow/reports/{record}"), &manager, None).await.code(404), "row.not_found");
    let list = w.ask("GET", "/registers/whistleblow_report/records", &manager, None).await.ok(200);
    assert_eq!(list["records"], json!([]));
    w.node.running.stop().await;
}
