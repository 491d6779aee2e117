//! What the public reads: nothing that was not approved, at no address and in no language; what was taken back leaves its reason alone; names are masked;
//! warnings are CAP 1.2; and every page is small and without a script.

mod common;

use anlan_protocols::cap::{Alert, MsgType, Reference, ResponseType, Severity, Status, Urgency};
use anlan_store::testing::{sqlite_url, tamper};
use axum::body::Body;
use axum::http::Request;
use common::{HERE, Node, ask, node, text};
use serde_json::{Value, json};

struct World {
    node: Node,
    inspector: String,
    supervisor: String,
    leader: String,
}

async fn world() -> World {
    let node = node().await;
    let grant = |role: &str| json!([{"role": role, "region": HERE}]);
    let inspector = node.person("张三丰", grant("inspector")).await;
    let supervisor = node.person("supervisor", grant("supervisor")).await;
    let leader = node.person("leader", grant("leader")).await;
    World { node, inspector, supervisor, leader }
}

impl World {
    async fn make(&self, kind: &str, token: &str, fields: Value) -> String {
        self.make_at(HERE, kind, token, fields).await
    }
    async fn make_at(&self, region: &str, kind: &str, token: &str, fields: Value) -> String {
        let body = json!({"region": region, "transition": "write", "fields": fields});
        text(&ask(&self.node.router, "POST", &format!("/api/v1/registers/{kind}/records"), Some(token), Some(body)).await.ok(201)["id"])
    }
    async fn take(&self, kind: &str, id: &str, token: &str, step: &str, fields: Value) {
        let at = format!("/api/v1/registers/{kind}/records/{id}");
        let revision = ask(&self.node.router, "GET", &at, Some(token), None).await.ok(200)["revision"].clone();
        let body = json!({"revision": revision, "fields": fields});
        ask(&self.node.router, "POST", &format!("{at}/transitions/{step}"), Some(token), Some(body)).await.ok(200);
    }
    /// A page as anybody reads it: status and text, which has no script and is small.
    async fn read(&self, path: &str) -> (u16, String) {
        let answer = ask(&self.node.router, "GET", path, None, None).await;
        let page = text(&answer.body);
        let policy = answer.headers.get("content-security-policy").unwrap().to_str().unwrap();
        assert!(policy.contains("default-src 'none'") || !page.starts_with("<!DOCTYPE html>"), "{path}: {policy}");
        let style = text(&ask(&self.node.router, "GET", "/public/site.css", None, None).await.body);
        assert!(page.len() + style.len() < 100_000, "{path}: {} bytes", page.len());
        assert!(!page.contains("<script") && !page.contains("javascript:"), "{path}");
        assert!(answer.headers.get("set-cookie").is_none());
        (answer.status.as_u16(), page)
    }
    /// Everything at which a record of a register could be read.
    async fn everywhere(&self, shelf: &str, id: &str) -> String {
        let mut all = String::new();
        let one = format!("/public/{shelf}/{id}");
        let list = format!("/public/{shelf}");
        let feed = format!("/public/{shelf}.atom");
        for path in [one.as_str(), &list, &feed, &format!("{one}.cap"), &format!("/public/plans/{id}"), "/public", "/public/plans"] {
            for lang in ["", "?lang=en"] {
                all.push_str(&self.read(&format!("{path}{lang}")).await.1);
            }
        }
        all
    }
    async fn minutes_pass(&self, minutes: i64) {
        ask(&self.node.router, "POST", "/api/v1/test/clock", None, Some(json!({"advance_s": minutes * 60}))).await.ok(200);
    }
}

const SECRET: &str = "尚未批准的正文";

fn notice() -> Value {
    json!({"title": "关于汛期检查的通知", "category": "announcement", "issuer": "红塔区应急管理局", "text": SECRET})
}

#[tokio::test]
async fn a_notice_is_read_from_its_day_on_and_leaves_nothing_but_a_reason_when_it_is_retracted() {
    let w = world().await;
    let id = w.make("notice", &w.inspector, notice()).await;
    let is_secret = async |when: &str| {
        let all = w.everywhere("notices", &id).await;
        assert!(!all.contains(SECRET) && !all.contains("汛期检查"), "{when}: {all}");
        assert_eq!(w.read(&format!("/public/notices/{id}")).await.0, 404, "{when}");
    };
    is_secret("draft").await;
    w.take("notice", &id, &w.inspector, "submit", json!({})).await;
    is_secret("submitted").await;
    w.take("notice", &id, &w.supervisor, "review", json!({"opinion": "内部意见"})).await;
    is_secret("reviewed").await;
    w.take("notice", &id, &w.supervisor, "publish", json!({"published_on": "2026-11-24"})).await;
    is_secret("the day before").await;
    w.minutes_pass(24 * 60).await;

    let (status, page) = w.read(&format!("/public/notices/{id}")).await;
    assert!(status == 200 && page.contains(SECRET) && page.contains("2026-11-24") && page.contains("lang=\"zh-CN\""), "{page}");
    assert!(!page.contains("内部意见") && !page.contains("张三丰"), "{page}");
    let (_, english) = w.read(&format!("/public/notices/{id}?lang=en")).await;
    assert!(english.contains("lang=\"en\"") && english.contains("Announcement") && english.contains(SECRET), "{english}");
    assert!(w.read("/public/notices").await.1.contains("汛期检查"));
    let (_, feed) = w.read("/public/notices.atom").await;
    assert!(feed.starts_with("<?xml") && feed.contains("汛期检查") && feed.contains(&format!("href=\"/public/notices/{id}\"")), "{feed}");
    // What is published stays when it is archived, and another register does not give it out.
    assert_eq!(w.read(&format!("/public/listed/{id}")).await.0, 404);
    assert_eq!(w.read(&format!("/public/warnings/{id}")).await.0, 404);

    w.take("notice", &id, &w.leader, "retract", json!({"retraction_reason": "检查范围有误"})).await;
    let all = w.everywhere("notices", &id).await;
    assert!(!all.contains(SECRET) && !all.contains("汛期检查"), "{all}");
    let (status, page) = w.read(&format!("/public/notices/{id}")).await;
    assert!(status == 200 && page.contains("撤回") && page.contains("检查范围有误") && page.contains("2026-11-24"), "{page}");
    assert!(w.read("/public/notices.atom").await.1.contains("检查范围有误"));
    for nothing in ["/public/notices/999", "/public/notices/x", "/public/notices/%00", "/public/notices?after=x%20y"] {
        let (status, page) = w.read(nothing).await;
        assert!(matches!(status, 400 | 404) && page.contains("<h1>"), "{nothing}: {status}");
    }
}

#[tokio::test]
async fn the_longest_texts_and_lists_make_small_pages() {
    let w = world().await;
    let whole = json!({"title": "题".repeat(200), "category": "policy", "issuer": "局".repeat(200), "text": "文".repeat(20_000), "contact": "号".repeat(200)});
    let mut ids = Vec::new();
    for _ in 0..35 {
        let id = w.make("notice", &w.inspector, whole.clone()).await;
        w.take("notice", &id, &w.inspector, "submit", json!({})).await;
        w.take("notice", &id, &w.supervisor, "review", json!({})).await;
        w.take("notice", &id, &w.supervisor, "publish", json!({"published_on": "2026-11-23"})).await;
        ids.push(id);
    }
    w.read(&format!("/public/notices/{}", ids[0])).await;
    w.read("/public/notices.atom").await;
    // Every one of them once, page by page.
    let mut path = "/public/notices".to_owned();
    let mut seen = Vec::new();
    loop {
        let (_, page) = w.read(&path).await;
        seen.extend(page.split("href=\"/public/notices/").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
        match page.split("href=\"/public/notices?after=").nth(1) {
            Some(rest) => path = format!("/public/notices?after={}", rest.split('"').next().unwrap()),
            None => break,
        }
    }
    ids.reverse();
    assert_eq!(seen, ids);
}

fn warning(updates: Option<&str>) -> Value {
    let mut fields = json!({"headline": "研和工业园氯气泄漏橙色预警", "event": "危险化学品泄漏", "category": "cbrne", "colour": "orange",
        "urgency": "immediate", "severity": "severe", "certainty": "observed", "response": "evacuate", "description": "储罐泄漏 <1 t & 风向东南",
        "instruction": "向上风向撤离", "areas": [{"area": "研和街道", "code": "530402005"}], "center": {"lon": 102.48, "lat": 24.28}, "radius_km": 1.5,
        "issuer": "红塔区 应急管理局", "issuer_code": "125", "contact": "0877-0000000", "expires_at": "2026-11-23T20:00"});
    if let Some(id) = updates {
        fields["updates"] = json!(id);
    }
    fields
}

impl World {
    async fn issue(&self, fields: Value, at: &str) -> String {
        let id = self.make("public_warning", &self.inspector, fields).await;
        self.take("public_warning", &id, &self.inspector, "submit", json!({})).await;
        self.take("public_warning", &id, &self.leader, "issue", json!({"issued_at": at})).await;
        id
    }
    async fn cap(&self, id: &str) -> Alert {
        let (status, document) = self.read(&format!("/public/warnings/{id}.cap")).await;
        assert_eq!(status, 200, "{document}");
        Alert::read(document.as_bytes()).unwrap_or_else(|defects| panic!("{defects:?} in {document}"))
    }
}

#[tokio::test]
async fn a_warning_is_a_message_of_cap_from_its_issue_to_its_end() {
    let w = world().await;
    let draft = w.make("public_warning", &w.inspector, warning(None)).await;
    assert!(!w.everywhere("warnings", &draft).await.contains("氯气"));
    let id = w.issue(warning(None), "2026-11-23T07:55").await;

    let first = w.cap(&id).await;
    assert_eq!((first.status, first.msg_type, first.sender.as_str()), (Status::Actual, MsgType::Alert, "红塔区应急管理局"));
    assert!(first.identifier.starts_with("53040212500000_20261123075500_"), "{}", first.identifier);
    assert_eq!(first.sent.to_string(), "2026-11-23T07:55:00+08:00");
    let info = &first.infos[0];
    assert_eq!((info.severity, info.parameters[0].value.as_str(), info.areas.len()), (Severity::Severe, "orange", 2));
    assert_eq!((info.areas[0].geocodes[0].value.as_str(), info.areas[1].circles[0].radius_km), ("530402005", 1.5));
    assert_eq!(info.description.as_deref(), Some("储罐泄漏 <1 t & 风向东南"));
    let (_, page) = w.read("/public/warnings").await;
    assert!(page.contains("氯气") && page.contains("橙色（二级）") && page.contains("生效中"), "{page}");
    assert!(w.read(&format!("/public/warnings/{id}?lang=en")).await.1.contains("Orange (level 2)"));

    // Another takes its place: it is told apart at once, whether somebody closes the first or not.
    let second = w.issue(warning(Some(&id)), "2026-11-23T08:00").await;
    let update = w.cap(&second).await;
    assert_eq!((update.msg_type, &update.references), (MsgType::Update, &vec![Reference::to(&first)]));
    assert_eq!(w.cap(&id).await, first, "what was issued stays as it was");
    assert!(w.read(&format!("/public/warnings/{id}")).await.1.contains("已更新"));
    let (_, feed) = w.read("/public/warnings.atom").await;
    assert!(feed.contains(&format!("href=\"/public/warnings/{second}.cap\"")) && feed.contains("application/cap+xml"), "{feed}");

    // Cancelled: one more message, which names the first.
    w.take("public_warning", &second, &w.leader, "cancel", json!({"cancelled_at": "2026-11-23T08:01", "cancel_reason": "泄漏已止"})).await;
    let cancel = w.cap(&second).await;
    assert_eq!((cancel.msg_type, &cancel.references), (MsgType::Cancel, &vec![Reference::to(&update)]));
    assert!(cancel.note.as_deref() == Some("泄漏已止") && cancel.identifier != update.identifier);
    let told = &cancel.infos[0];
    assert_eq!((told.urgency, told.response_types.as_slice()), (Urgency::Past, [ResponseType::AllClear].as_slice()));
    assert!(told.headline.as_deref().unwrap().starts_with("解除：") && told.instruction.is_none());
    assert!(w.read(&format!("/public/warnings/{second}")).await.1.contains("泄漏已止"));

    // Over in its time, whoever sleeps; gone from the list a week later, and still at its address.
    let third = w.issue(warning(None), "2026-11-23T08:00").await;
    w.minutes_pass(13 * 60).await;
    assert!(w.read("/public/warnings").await.1.contains("目前没有生效的预警"));
    assert!(w.read(&format!("/public/warnings/{third}")).await.1.contains("已失效"));
    w.minutes_pass(8 * 24 * 60).await;
    assert!(!w.read("/public/warnings").await.1.contains("氯气"));
    assert_eq!(w.cap(&third).await.msg_type, MsgType::Alert);
    if let Some(kept) = std::env::var_os("ANLAN_CAP_OUT") {
        for (name, alert) in [("alert", &first), ("update", &update), ("cancel", &cancel)] {
            std::fs::write(std::path::Path::new(&kept).join(format!("{name}.cap")), alert.write().unwrap()).unwrap();
        }
    }
}

#[tokio::test]
async fn a_listing_is_read_once_it_is_announced_and_its_people_by_one_character() {
    let w = world().await;
    let enterprise = w.node.enterprise("E1", HERE).await;
    let manager = w.node.person("王小明", json!([{"role": "safety_manager", "enterprise": enterprise}])).await;
    let users = w.node.get("/api/v1/users").await;
    let manager_id = users["users"].as_array().unwrap().iter().find(|u| u["username"] == "王小明").unwrap()["id"].clone();
    let report = json!({"enterprise": enterprise, "transition": "report", "fields": {"description": "罐区无紧急切断", "place": "罐区", "found_on": "2026-11-23", "source": "condition"}});
    let danger =
        text(&ask(&w.node.router, "POST", "/api/v1/registers/hidden_danger/records", Some(&manager), Some(report)).await.ok(201)["id"]);
    w.take("hidden_danger", &danger, &manager, "rate", json!({"level": "major"})).await;
    let plan = json!({"responsible": manager_id, "due_on": "2027-01-20", "measures": "加装切断阀", "goal": "一月完成", "funds_yuan": 380_000, "interim_measures": "降液位"});
    w.take("hidden_danger", &danger, &w.supervisor, "assign", plan).await;
    w.take("hidden_danger", &danger, &w.supervisor, "list", json!({"listing_reason": "县区重大"})).await;
    let seen =
        ask(&w.node.router, "GET", &format!("/api/v1/registers/hidden_danger/records/{danger}"), Some(&w.leader), None).await.ok(200);
    let listing = text(&seen["children"][0]["id"]);
    let approval = json!({"listing_level": "county", "listing_no": "督办〔2026〕3号", "supervising_body": "区安委会", "goal": "一月完成", "responsible": manager_id,
        "measures": "加装切断阀", "funds_yuan": 380_000, "due_on": "2027-01-20", "interim_measures": "降液位"});
    w.take("listed_supervision", &listing, &w.leader, "approve", approval).await;
    assert!(!w.everywhere("listed", &listing).await.contains("紧急切断"), "listed, and not announced");
    w.take("listed_supervision", &listing, &w.supervisor, "announce", json!({"notice_on": "2026-11-23", "notice_where": "区政府网站"}))
        .await;
    let progress = json!({"last_report_on": "2026-11-23", "percent_done": 30, "progress": [{"on": "2026-11-23", "done": "企业自己写的"}]});
    w.take("listed_supervision", &listing, &manager, "report_progress", progress).await;

    let (status, page) = w.read(&format!("/public/listed/{listing}")).await;
    assert!(status == 200 && page.contains("罐区无紧急切断") && page.contains("督办〔2026〕3号") && page.contains("企业E1"), "{page}");
    assert!(page.contains("王*"), "{page}");
    let all = w.everywhere("listed", &listing).await;
    for inside in ["王小明", "企业自己写的", "380000", "降液位", "县区重大"] {
        assert!(!all.contains(inside), "{inside}");
    }
    // A hidden danger is of no public register at all.
    assert_eq!(w.read(&format!("/public/hidden_danger/{danger}")).await.0, 404);
}

#[tokio::test]
async fn a_certificate_is_checked_without_a_script() {
    let w = world().await;
    let enterprise = w.node.enterprise("91530400MA6K0001XX", HERE).await;
    let fields = json!({"subject": "石灰岩开采", "licence": "mine", "scope": "石灰岩露天开采", "certificate_no": "滇FM-1", "issued_on": "2024-06-01", "valid_from": "2024-06-01", "valid_until": "2027-05-31"});
    let body = json!({"enterprise": enterprise, "transition": "enter", "fields": fields});
    let made = ask(&w.node.router, "POST", "/api/v1/registers/licence/records", Some(&w.supervisor), Some(body)).await.ok(201);
    let at = format!("/api/v1/registers/licence/records/{}/certificate", text(&made["id"]));
    let code = text(&ask(&w.node.router, "GET", &at, Some(&w.supervisor), None).await.ok(200)["code"]);
    let post = async |code: &str| {
        let form: String = form_urlencoded::Serializer::new(String::new()).append_pair("code", code).finish();
        let request =
            Request::post("/public/licences").header("content-type", "application/x-www-form-urlencoded").header("host", "localhost");
        let answer = common::send(&w.node.router, request.body(Body::from(form)).unwrap()).await;
        (answer.status.as_u16(), text(&answer.body))
    };
    assert!(w.read("/public/licences").await.1.contains("<form method=\"post\""));
    let (status, page) = post(&code).await;
    assert!(status == 200 && page.contains("✓") && page.contains("滇FM-1") && page.contains("非煤矿矿山"), "{page}");
    let (status, page) = post("<b>x</b>").await;
    assert!(status == 400 && page.contains("aria-invalid") && page.contains("&lt;b&gt;x"), "{page}");
    w.take("licence", &text(&made["id"]), &w.supervisor, "suspend", json!({"suspension_reason": "内部原因"})).await;
    let (_, page) = post(&code).await;
    assert!(page.contains("目前无效") && page.contains("暂扣") && !page.contains("内部原因"), "{page}");
}

#[tokio::test]
async fn an_evaluation_is_public_by_its_notice_and_as_of_its_day() {
    const FACTS: &str = include_str!("../../../packs/demo/plan_facts.csv");
    const SUPPLEMENT: &str = include_str!("../../../packs/demo/plan_supplement.toml");
    let w = world().await;
    anlan_app::plan::demonstrate(&w.node.app, "yuxi-12th", FACTS, SUPPLEMENT).await.unwrap();
    let mut fields = notice();
    let more = json!({"category": "plan_evaluation", "plan": "yuxi-12th", "as_of": "2015-12-31"});
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let published = async |region: &str, writer: &str, reviewer: &str| {
        let id = w.make_at(region, "notice", writer, fields.clone()).await;
        w.take("notice", &id, writer, "submit", json!({})).await;
        assert_eq!(w.read(&format!("/public/plans/{id}")).await.0, 404);
        w.take("notice", &id, reviewer, "review", json!({})).await;
        w.take("notice", &id, reviewer, "publish", json!({"published_on": "2026-11-23"})).await;
        id
    };
    // A county publishes no figures of its city.
    let county = published(HERE, &w.inspector, &w.supervisor).await;
    assert_eq!((w.read(&format!("/public/notices/{county}")).await.0, w.read(&format!("/public/plans/{county}")).await.0), (200, 404));
    let writer = w.node.person("writer", json!([{"role": "supervisor", "region": "5304"}])).await;
    let leader = w.node.person("chief", json!([{"role": "leader", "region": "5304"}])).await;
    let id = published("5304", &writer, &leader).await;
    let at = format!("/public/plans/{id}");

    let told = w.node.get("/api/v1/plans/yuxi-12th?as_of=2015-12-31").await;
    let (status, page) = w.read(&at).await;
    let shown = page.matches("<li><strong>").count() as i64;
    let counts = ["met", "on_path", "off_path", "missed"].map(|state| told["counts"][state].as_i64().unwrap());
    assert_eq!((status, shown), (200, counts.iter().sum::<i64>()), "what is evaluated, and nothing else");
    assert!(page.contains("截至 2015-12-31") && page.contains("演示数据") && page.contains("达到目标"), "{page}");
    let (_, english) = w.read(&format!("{at}?lang=en")).await;
    assert!(english.contains("reaches the goal") && !english.contains("达到目标") && english.contains("reckoned on 2026-11-23"));
    let list = w.read("/public/plans").await.1;
    assert!(list.contains(&format!("href=\"{at}\"")) && !list.contains(&format!("/public/plans/{county}\"")), "{list}");
    assert!(w.read(&format!("/public/notices/{id}")).await.1.contains(&format!("href=\"{at}\"")));
    assert!(!w.read(&format!("/public/notices/{county}")).await.1.contains("/public/plans/"));
    // The act's entry in the audit vouches for what was kept.
    let audit = w.node.get("/api/v1/audit?noun=record").await;
    let entries = audit["entries"].as_array().unwrap();
    let entry = entries.iter().find(|e| e["subject"] == id.as_str() && e["detail"]["transition"] == "publish").unwrap();
    assert_eq!((&entry["detail"]["evaluation"]["plan"], &entry["detail"]["evaluation"]["targets"]), (&json!("yuxi-12th"), &json!(shown)));
    assert_eq!(entry["detail"]["evaluation"]["sha256"].as_str().unwrap().len(), 64);

    // Somebody records what was known before that day: figures as of it move, what was published does not.
    let unfound = told["targets"].as_array().unwrap().iter().find(|t| t["reason"]["code"] == "no_finding").unwrap();
    let target = text(&unfound["id"]).to_lowercase();
    let fact = json!({"source": "finding", "sector": target, "on": "2015-12-30", "known_on": "2015-12-30", "region": "5304", "value": "1", "note": "会议纪要"});
    ask(&w.node.router, "POST", "/api/v1/facts", Some(&writer), Some(json!({"facts": [fact]}))).await.ok(201);
    let moved = w.node.get("/api/v1/plans/yuxi-12th?as_of=2015-12-31").await;
    assert_ne!(moved["counts"], told["counts"]);
    assert_eq!(w.read(&at).await.1, page);
    // A notice of before this release has none kept: it is reckoned once, at the start, and says its day.
    let database = sqlite_url(w.node.directory.path());
    tamper(&database, "UPDATE published_evaluation SET document = NULL, reckoned_at_us = NULL").await;
    assert_eq!(w.read(&at).await.0, 404);
    assert_eq!(anlan_app::public::keep_evaluations(&w.node.app).await.unwrap(), 1);
    let (status, later) = w.read(&at).await;
    assert!(status == 200 && later != page, "of what is known now");
    assert_eq!(anlan_app::public::keep_evaluations(&w.node.app).await.unwrap(), 0, "once");
    assert_eq!(w.read(&at).await.1, later);

    // Another notice of the same plan and day is another evaluation.
    let second = published("5304", &writer, &leader).await;
    let (_, anew) = w.read(&format!("/public/plans/{second}")).await;
    let same =
        |page: &str, of: &str| page.replace(&format!("/plans/{of}?"), "/plans/N?").replace(&format!("/notices/{of}\""), "/notices/N\"");
    assert!(same(&anew, &second) == same(&later, &id), "the same as of the same day: {anew}");
    // Also once it is archived.
    w.take("notice", &id, &writer, "archive", json!({})).await;
    assert_eq!(w.read(&at).await.0, 200);
    w.take("notice", &id, &leader, "retract", json!({"retraction_reason": "数据有误"})).await;
    assert_eq!(w.read(&at).await.0, 404);
    assert!(!w.read("/public/plans").await.1.contains(&at));
    assert_eq!(w.read(&format!("/public/plans/{second}")).await.0, 200);
}

#[test]
fn an_evaluation_is_read_as_every_release_kept_it() {
    use anlan_app::public::Evaluation;
    const KEPT: &str = include_str!("../../app/testdata/evaluation-1.json");
    let read = Evaluation::read(KEPT).unwrap();
    assert_eq!((read.targets.len(), read.not_evaluated, read.reckoned_on.to_string().as_str()), (3, 3, "2026-11-23"));
    assert_eq!(serde_json::to_value(&read).unwrap(), serde_json::from_str::<Value>(KEPT).unwrap());
    assert_eq!(Evaluation::read(&KEPT.replace("\"format\": 1", "\"format\": 2")), None, "of a later release");
}

#[tokio::test]
async fn a_notice_that_was_retracted_before_its_day_is_announced_nowhere() {
    let w = world().await;
    let id = w.make("notice", &w.inspector, notice()).await;
    w.take("notice", &id, &w.inspector, "submit", json!({})).await;
    w.take("notice", &id, &w.supervisor, "review", json!({})).await;
    w.take("notice", &id, &w.supervisor, "publish", json!({"published_on": "2026-11-25"})).await;
    w.take("notice", &id, &w.leader, "retract", json!({"retraction_reason": "内部原因，勿外传"})).await;
    for day in 23..27 {
        let all = w.everywhere("notices", &id).await;
        assert!(!all.contains("勿外传") && !all.contains("汛期检查"), "{day}: {all}");
        assert_eq!(w.read(&format!("/public/notices/{id}")).await.0, 404, "{day}");
        w.minutes_pass(24 * 60).await;
    }
}

#[tokio::test]
async fn a_warning_in_force_for_months_is_told_beside_those_of_today_and_each_message_has_a_name_of_its_own() {
    const MANY: usize = 205;
    let w = world().await;
    let mut months = warning(None);
    (months["headline"], months["expires_at"]) = (json!("老窑洞坍塌蓝色预警"), json!("2027-06-30T00:00"));
    let old = w.issue(months, "2026-11-23T07:00").await;
    let superseded = w.issue(warning(None), "2026-11-23T07:01").await;
    let mut names = std::collections::BTreeSet::from([w.cap(&old).await.identifier, w.cap(&superseded).await.identifier]);
    let mut ids = Vec::new();
    for n in 0..MANY {
        let id = w.issue(warning((n == 0).then_some(superseded.as_str())), "2026-11-23T07:30").await;
        if n < 12 || n + 12 > MANY {
            names.insert(w.cap(&id).await.identifier);
        }
        ids.push(id);
    }
    assert_eq!(names.len(), 2 + 23, "all in one minute of one agency: {names:?}");
    assert_eq!(names.iter().filter(|name| name.contains("_20261123073000_")).count(), 10, "the national form has ten of them");
    // A name stays, whatever is issued later.
    assert_eq!(w.cap(&ids[3]).await, w.cap(&ids[3]).await);

    let (_, first) = w.read("/public/warnings").await;
    assert!(first.contains("共 206 条") && first.contains("已更新") && !first.contains("老窑洞"), "{first}");
    let mut path = "/public/warnings".to_owned();
    let mut seen = Vec::new();
    loop {
        let (_, page) = w.read(&path).await;
        let in_force = page.split("最近结束").next().unwrap();
        seen.extend(in_force.split("href=\"/public/warnings/").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
        match page.split("rel=\"next\" href=\"").nth(1) {
            Some(rest) => path = rest.split('"').next().unwrap().to_owned(),
            None => break,
        }
    }
    let mut all = ids.clone();
    all.insert(0, old.clone());
    all.reverse();
    assert_eq!(seen, all, "each once, the newest first");
    let feed = text(&ask(&w.node.router, "GET", "/public/warnings.atom", None, None).await.body);
    assert!(feed.contains("老窑洞") && feed.matches("<entry>").count() == MANY + 2);

    // Of those that ended lately it is the end that counts, not the issue.
    w.minutes_pass(60 * 24 * 60).await;
    let leader = w.node.sign_in("leader").await;
    assert!(w.read("/public/warnings").await.1.contains("老窑洞"), "two months later it is in force, and nothing else is");
    w.take("public_warning", &old, &leader, "cancel", json!({"cancelled_at": "2027-01-22T07:00", "cancel_reason": "已回填"})).await;
    let (_, page) = w.read("/public/warnings").await;
    assert!(page.contains("目前没有生效的预警") && page.contains("最近结束") && page.contains("老窑洞"), "{page}");
    assert!(!page.contains("氯气"));
    assert_eq!(w.cap(&old).await.msg_type, MsgType::Cancel);
}
