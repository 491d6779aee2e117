//! Submissions by the built binary: to a platform of the test that fails, is slow and answers garbage, over kills; and into a directory.

mod common;

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::Server;
use serde_json::{Value, json};

/// A request that came.
#[derive(Clone, Debug)]
struct Asked {
    path: String,
    headers: BTreeMap<String, String>,
    body: Value,
}

/// What a platform does with a request.
#[derive(Clone, Debug)]
enum Does {
    Accept,
    /// Takes it, and never says so.
    AcceptAndHangUp,
    Say(u16, &'static str),
    /// Answers so late that nobody waits.
    Sleep(Duration),
}

#[derive(Default)]
struct Platform {
    asked: Mutex<Vec<Asked>>,
    /// In order; then it accepts.
    does: Mutex<VecDeque<Does>>,
    /// Refuses what has this in it.
    poison: Mutex<Option<&'static str>>,
}

impl Platform {
    fn start() -> (Arc<Self>, String) {
        let platform = Arc::new(Self::default());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let of = platform.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let of = of.clone();
                std::thread::spawn(move || while of.answer(&stream).is_some() {});
            }
        });
        (platform, url)
    }

    fn answer(&self, mut stream: &std::net::TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let path = line.split(' ').nth(1)?.to_owned();
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
        reader.read_exact(&mut body).ok()?;
        let body = String::from_utf8(body).ok()?;
        let does = self.does.lock().unwrap().pop_front().unwrap_or(Does::Accept);
        let poisoned = self.poison.lock().unwrap().is_some_and(|word| body.contains(word));
        let asked = Asked { path, headers, body: serde_json::from_str(&body).ok()? };
        let (status, text) = match does {
            Does::Accept | Does::AcceptAndHangUp if poisoned => (422, r#"{"code":"E1002","message":"不收"}"#),
            Does::Accept => (200, r#"{"code":"0"}"#),
            Does::AcceptAndHangUp => {
                self.asked.lock().unwrap().push(asked);
                return None;
            }
            Does::Say(status, text) => (status, text),
            Does::Sleep(time) => {
                std::thread::sleep(time);
                return None;
            }
        };
        if status == 200 && text.contains("\"0\"") {
            self.asked.lock().unwrap().push(asked);
        }
        write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{text}", text.len()).ok()
    }

    /// What was taken: things of an object by key, in the order in which they came.
    fn taken(&self, path: &str, key: &str) -> BTreeMap<String, Vec<Value>> {
        let mut taken: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for asked in self.asked.lock().unwrap().iter().filter(|asked| asked.path == path) {
            for thing in asked.body["data"].as_array().unwrap() {
                taken.entry(thing[key].as_str().unwrap().to_owned()).or_default().push(thing.clone());
            }
        }
        taken
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn target(server: &Server, id: &str) -> Value {
    let list = server.get("/api/v1/submissions");
    list["submissions"].as_array().unwrap().iter().find(|t| t["id"] == id).unwrap_or_else(|| panic!("{list}")).clone()
}

/// `(object, state)` → how many.
fn count(server: &Server, id: &str, object: &str, state: &str) -> i64 {
    let target = target(server, id);
    let objects = target["mapping"]["objects"].as_array().unwrap();
    objects.iter().find(|o| o["id"] == object).unwrap()[state].as_i64().unwrap()
}

fn enable_pack(server: &Server) {
    let list = server.get("/api/v1/packs");
    let pack = list["packs"].as_array().unwrap().iter().find(|p| p["id"] == "submission-example").unwrap_or_else(|| panic!("{list}"));
    let (status, body) = server.post("/api/v1/packs/submission-example/enable", &json!({"hash": pack["hash"]}));
    assert_eq!(status, 204, "{body}");
}

fn switch_on(server: &Server, id: &str) {
    let hash = target(server, id)["mapping"]["hash"].clone();
    let (status, body) = server.put(&format!("/api/v1/submissions/{id}"), &json!({"on": true, "hash": hash}));
    assert_eq!(status, 204, "{body}");
}

/// A node with the example pack in its folder and both targets.
fn node(url: &str, files: &Path, timeout_s: u32) -> Server {
    let data = files.join("data");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packs/submission-example"), &data.join("packs/submission-example"));
    std::fs::create_dir(files.join("out")).unwrap();
    std::fs::write(files.join("secret"), "s3cret-word\n").unwrap();
    let config = files.join("anlan.toml");
    let at = files.display();
    let text = format!(
        "[[submission.target]]\nname = \"province\"\nsubmission = \"example-province\"\nurl = \"{url}\"\nsecret_file = \"{at}/secret\"\ntimeout_s = {timeout_s}\n\
         [[submission.target]]\nname = \"city\"\nsubmission = \"example-city\"\ndir = \"{at}/out\"\n"
    );
    std::fs::write(&config, text).unwrap();
    Server::start_with(&data, &[], &["--config", config.to_str().unwrap()])
}

fn points(server: &Server, enterprise: &str, codes: std::ops::Range<usize>) -> String {
    let (id, _) = server.device("D1", Some(enterprise));
    let points: Vec<Value> =
        codes.map(|n| json!({"code": format!("P{n:03}"), "name": format!("压力{n:03}"), "unit": "MPa", "period_s": 5})).collect();
    let (status, body) = server.put(&format!("/api/v1/devices/{id}/points"), &json!({"points": points}));
    assert_eq!(status, 200, "{body}");
    id
}

#[test]
fn nothing_is_lost_or_reordered_whatever_the_platform_and_kills_do() {
    let files = tempfile::tempdir().unwrap();
    let (platform, url) = Platform::start();
    let mut server = node(&url, files.path(), 2);
    let owner = server.enterprise("E1");
    points(&server, &owner, 0..50);
    assert_eq!(target(&server, "province")["state"], "unknown", "no pack brings the mapping");
    enable_pack(&server);
    assert_eq!(target(&server, "province")["state"], "off");
    assert_eq!(platform.asked.lock().unwrap().len(), 0, "nothing goes before somebody says so");
    // A server that fails, answers garbage, redirects, and takes a text without saying so.
    *platform.does.lock().unwrap() = VecDeque::from([
        Does::Say(500, "<html>down"),
        Does::Say(200, "{\"code\":"),
        Does::AcceptAndHangUp,
        Does::Sleep(Duration::from_secs(4)),
        Does::Say(302, ""),
    ]);
    let wrong = server.put("/api/v1/submissions/province", &json!({"on": true, "hash": "other"}));
    assert_eq!((wrong.0, &wrong.1["errors"][0]["code"]), (409, &json!("submission.changed")), "{wrong:?}");
    switch_on(&server, "province");
    server.wait("a failure", |s| (target(s, "province")["state"] == "failing").then_some(()));
    let failing = target(&server, "province");
    assert!(failing["failing_since"].is_string() && failing["reason"]["code"] != "accepted", "{failing}");
    server.kill_and_restart();
    // Everything waits in the database; asking again does not wait for the pause.
    platform.does.lock().unwrap().clear();
    let ask = |server: &Server| server.post("/api/v1/submissions/province/resend", &json!({})).0;
    server.wait("all 50", |s| {
        assert_eq!(ask(s), 200);
        (platform.taken("/api/v1/point", "pointCode").len() == 50).then_some(())
    });
    // A point that changes goes again, the newest last; a kill in between changes nothing of it.
    let list = server.get("/api/v1/points?limit=1000");
    let first = list["points"].as_array().unwrap().iter().find(|p| p["code"] == "P007").unwrap().clone();
    let at = format!("/api/v1/points/{}", first["id"].as_str().unwrap());
    let mut revision = first["revision"].clone();
    for n in 0..4 {
        let (status, body) = server.patch(&at, &json!({"revision": revision, "name": format!("改名{n}")}));
        assert_eq!(status, 200, "{body}");
        revision = body["revision"].clone();
        if n % 2 == 0 {
            server.kill_and_restart();
        }
    }
    server.wait("the newest name", |_| {
        let taken = platform.taken("/api/v1/point", "pointCode");
        (taken["P007"].last().unwrap()["pointName"] == "改名3").then_some(())
    });
    let taken = platform.taken("/api/v1/point", "pointCode");
    let names: Vec<&str> =
        taken["P007"].iter().map(|thing| thing["pointName"].as_str().unwrap()).filter(|name| name.starts_with("改")).collect();
    assert!(names.is_sorted(), "in order: {names:?}");
    for asked in platform.asked.lock().unwrap().iter() {
        assert_eq!(asked.headers["authorization"], "Bearer s3cret-word");
        assert_eq!(asked.headers["idempotency-key"].len(), 32);
    }
    // The same content has the same key, however often it went.
    let mut keys: BTreeMap<String, Value> = BTreeMap::new();
    for asked in platform.asked.lock().unwrap().iter() {
        let key = asked.headers["idempotency-key"].clone();
        let before = keys.insert(key, asked.body.clone());
        assert!(before.is_none_or(|before| before == asked.body));
    }
    // The log tells all of it, and no secret.
    let log = server.get("/api/v1/submission-attempts?target=province&limit=1000");
    let outcomes: std::collections::BTreeSet<&str> =
        log["attempts"].as_array().unwrap().iter().map(|a| a["outcome"].as_str().unwrap()).collect();
    assert!(outcomes.contains("accepted") && outcomes.contains("failed"), "{outcomes:?}");
    assert!(!log.to_string().contains("s3cret"));
    let (code, took) = server.stop();
    assert_eq!(code, Some(0));
    assert!(took.as_secs() < 10, "stopped in {took:?}");
}

#[test]
fn what_is_refused_is_put_aside_alone_and_another_version_goes_wholly() {
    let files = tempfile::tempdir().unwrap();
    let (platform, url) = Platform::start();
    let server = node(&url, files.path(), 2);
    let owner = server.enterprise("E1");
    points(&server, &owner, 0..10);
    // Without an enterprise it cannot be said in the platform's words.
    let (device, _) = server.device("D2", None);
    let path = format!("/api/v1/devices/{device}/points");
    server.put(&path, &json!({"points": [{"code": "P900", "name": "无主", "period_s": 5}]}));
    *platform.poison.lock().unwrap() = Some("P003");
    enable_pack(&server);
    switch_on(&server, "province");
    server.wait("nine are taken", |_| (platform.taken("/api/v1/point", "pointCode").len() == 9).then_some(()));
    server.wait("two are aside", |s| (count(s, "province", "point", "aside") == 2).then_some(()));
    let items = server.get("/api/v1/submissions/province/items?state=aside");
    let reasons: Vec<&Value> = items["items"].as_array().unwrap().iter().map(|i| &i["reason"]).collect();
    let refused = reasons.iter().find(|r| r["code"] == "refused").unwrap_or_else(|| panic!("{items}"));
    assert_eq!((&refused["status"], &refused["says"]), (&json!(422), &json!("不收")));
    let unfit = reasons.iter().find(|r| r["code"] == "unfit").unwrap();
    assert_eq!(unfit["refusals"][0], json!({"field": "company.code", "code": "missing", "value": "enterprise.code"}));
    // What would go is shown to the last character.
    let subject =
        items["items"].as_array().unwrap().iter().find(|i| i["reason"]["code"] == "refused").unwrap()["subject"].as_str().unwrap();
    let preview = server.get(&format!("/api/v1/submissions/province/preview?object=point&subject={subject}"));
    let text = preview["text"].as_str().unwrap();
    assert!(text.starts_with("{\"version\":\"1.0\",\"data\":[{\"pointId\":") && text.contains("\"pointCode\":\"P003\""), "{preview}");
    assert_eq!(preview["to"], format!("{url}/api/v1/point"));
    // The platform has changed its mind; a person sends it again.
    *platform.poison.lock().unwrap() = None;
    let (status, body) = server.post("/api/v1/submissions/province/resend", &json!({"object": "point", "subject": subject}));
    assert_eq!((status, &body["subjects"]), (200, &json!(1)));
    server.wait("the tenth", |_| platform.taken("/api/v1/point", "pointCode").contains_key("P003").then_some(()));
    // Nothing goes twice for nothing.
    let before = platform.taken("/api/v1/point", "pointCode");
    assert!(before.values().all(|times| times.len() == 1), "{before:?}");

    // A pack whose cases fail stays out, and says where the texts part.
    let pack = server.data.join("packs/submission-example/submissions/example-province");
    let mapping = std::fs::read_to_string(pack.join("submission.toml")).unwrap();
    let newer = mapping.replace("version = \"1\"", "version = \"2\"").replace("to = \"pointName\"", "to = \"title\"");
    std::fs::write(pack.join("submission.toml"), &newer).unwrap();
    let list = server.get("/api/v1/packs");
    let of = |list: &Value| list["packs"].as_array().unwrap().iter().find(|p| p["id"] == "submission-example").unwrap().clone();
    assert!(list.to_string().contains("gives another text from character"), "{list}");
    let (status, body) = server.post("/api/v1/packs/submission-example/enable", &json!({"hash": of(&list)["hash"]}));
    assert_eq!(status, 400, "{body}");
    assert_eq!(target(&server, "province")["mapping"]["version"], "1", "what is on stays on");
    // With its cases brought along it is switched on, and everything goes anew.
    let cases = std::fs::read_to_string(pack.join("cases.toml")).unwrap();
    std::fs::write(pack.join("cases.toml"), cases.replace("\"pointName\"", "\"title\"")).unwrap();
    enable_pack(&server);
    server.wait("all ten in the new words", |_| {
        let taken = platform.taken("/api/v1/point", "pointCode");
        taken.values().all(|times| times.last().unwrap()["title"].is_string()).then_some(())
    });
    assert_eq!(target(&server, "province")["version_on"], "2");
    // Off: nothing more goes, and the queue is empty.
    assert_eq!(server.put("/api/v1/submissions/province", &json!({"on": false})).0, 204);
    assert_eq!((target(&server, "province")["state"].clone(), count(&server, "province", "point", "sent")), (json!("off"), 0));
}

#[test]
fn records_become_files_that_are_never_half_there() {
    let files = tempfile::tempdir().unwrap();
    let (_, url) = Platform::start();
    let out = files.path().join("out");
    let mut server = node(&url, files.path(), 2);
    let owner = server.enterprise("E1");
    // A watcher that reads every file the moment it sees it: each must be whole.
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (until, watched) = (stop.clone(), out.clone());
    let watcher = std::thread::spawn(move || {
        let mut looks = 0;
        while !until.load(std::sync::atomic::Ordering::Relaxed) {
            for entry in std::fs::read_dir(&watched).unwrap().flatten() {
                let name = entry.file_name().into_string().unwrap();
                if !name.starts_with('.') {
                    let text = std::fs::read_to_string(entry.path()).unwrap();
                    assert!(
                        text.starts_with('\u{feff}') && text.ends_with("\r\n") && text.matches("\r\n").count() >= 2,
                        "{name}: {text:?}"
                    );
                    looks += 1;
                }
            }
        }
        looks
    });
    enable_pack(&server);
    switch_on(&server, "city");
    let supervisor = json!({"username": "reports", "name": "王", "password": "correct horse battery", "grants": [{"role": "supervisor"}]});
    assert_eq!(server.post("/api/v1/users", &supervisor).0, 201);
    let (status, session) = server.post("/api/v1/session", &json!({"username": "reports", "password": "correct horse battery"}));
    assert_eq!(status, 201, "{session}");
    let (admin, supervisor) = (server.token().to_owned(), session["token"].as_str().unwrap().to_owned());
    let report = |server: &mut Server, n: usize| {
        let fields =
            json!({"description": format!("配电箱, 门\"{n}\""), "place": "二车间", "found_on": "2026-11-22", "source": "condition"});
        let body = json!({"enterprise": owner, "transition": "report", "fields": fields});
        server.use_token(&supervisor);
        let (status, made) = server.post("/api/v1/registers/hidden_danger/records", &body);
        server.use_token(&admin);
        assert_eq!(status, 201, "{made}");
        made["id"].as_str().unwrap().to_owned()
    };
    let lines = |out: &Path| {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(out).unwrap().flatten() {
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            all.extend(text.lines().skip(1).map(str::to_owned));
        }
        all
    };
    let ids: Vec<String> = (0..5).map(|n| report(&mut server, n)).collect();
    server.kill_and_restart();
    server.wait("five dangers", |_| {
        let all = lines(&out);
        (0..5).all(|n| all.iter().any(|line| line.contains(&format!("\"配电箱, 门\"\"{n}\"\"\",2026-11-22")))).then_some(())
    });
    let preview = server.get(&format!("/api/v1/submissions/city/preview?object=hidden_danger&subject={}", ids[0]));
    assert!(preview["text"].as_str().unwrap().contains(",E1,\"配电箱, 门\"\"0\"\"\",2026-11-22,"), "{preview}");
    // A directory that is away: it waits, and goes on once it is back.
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(watcher.join().unwrap() > 0, "the watcher saw files");
    std::fs::rename(&out, files.path().join("away")).unwrap();
    report(&mut server, 5);
    server.wait("a failure", |s| (target(s, "city")["reason"]["code"] == "not_written").then_some(()));
    std::fs::rename(files.path().join("away"), &out).unwrap();
    server.wait("the sixth", |s| {
        assert_eq!(s.post("/api/v1/submissions/city/resend", &json!({})).0, 200);
        lines(&out).iter().any(|line| line.contains("门\"\"5\"\"")).then_some(())
    });
    let names: Vec<String> = std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().all(|name| name.starts_with("hidden_danger-20") && name.ends_with(".csv")), "{names:?}");
}

#[test]
fn a_node_that_stops_does_not_wait_for_a_platform_that_is_silent() {
    let files = tempfile::tempdir().unwrap();
    let (platform, url) = Platform::start();
    let mut server = node(&url, files.path(), 120);
    let owner = server.enterprise("E1");
    points(&server, &owner, 0..3);
    enable_pack(&server);
    platform.does.lock().unwrap().push_back(Does::Sleep(Duration::from_secs(60)));
    switch_on(&server, "province");
    server.wait("a call that is out", |_| platform.does.lock().unwrap().is_empty().then_some(()));
    let (code, took) = server.stop();
    assert_eq!(code, Some(0));
    assert!(took.as_secs() < 10, "stopped in {took:?}");
    // What was out goes again.
    server.restart();
    server.wait("all three", |_| (platform.taken("/api/v1/point", "pointCode").len() == 3).then_some(()));
}
