//! Official documents from outside: composed from rows, issued by another under gapless numbers, checked by their code, and nothing of it typed in.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anlan_documents::{Cell, Document, Imprint, SheetLimits, Typeset, TypesetError, read_sheet};
use common::{Answer, ELSEWHERE, HERE, Node, ask, node, text};
use serde_json::{Value, json};

const FACTS: &str = include_str!("../../../packs/demo/plan_facts.csv");
const SUPPLEMENT: &str = include_str!("../../../packs/demo/plan_supplement.toml");
const CITY: &str = "5304";

struct World {
    node: Node,
    office: String,
    leader: String,
}

async fn world() -> World {
    let node = node().await;
    anlan_app::plan::demonstrate(&node.app, "yuxi-12th", FACTS, SUPPLEMENT).await.unwrap();
    let office = node.person("office", json!([{"role": "supervisor", "region": CITY}])).await;
    let leader = node.person("leader", json!([{"role": "leader", "region": CITY}])).await;
    World { node, office, leader }
}

impl World {
    async fn post(&self, token: &str, path: &str, body: Value) -> Answer {
        ask(&self.node.router, "POST", &format!("/api/v1{path}"), Some(token), Some(body)).await
    }
    async fn get(&self, token: &str, path: &str) -> Answer {
        ask(&self.node.router, "GET", &format!("/api/v1{path}"), Some(token), None).await
    }
    /// Reads a preview, and writes it.
    async fn composed(&self, mut body: Value) -> Value {
        body["digest"] = self.post(&self.office, "/documents/preview", body.clone()).await.ok(200)["digest"].clone();
        self.post(&self.office, "/documents", body).await.ok(201)
    }
    async fn issue(&self, token: &str, id: &str) -> Answer {
        let view = self.get(token, &format!("/documents/{id}")).await.ok(200);
        let body = json!({"revision": view["record"]["revision"], "digest": view["digest"]});
        self.post(token, &format!("/documents/{id}/issue"), body).await
    }
    async fn circular(&self, title: &str) -> String {
        text(
            &self
                .composed(json!({"sort": "circular", "region": CITY, "title": title, "text": "一、情况\n演示。\n（一）要求\n演示。"}))
                .await["id"],
        )
    }
}

/// Says the document back, and counts; shows every character but one.
#[derive(Default)]
struct Stub(AtomicUsize);

impl Typeset for Stub {
    fn uncovered(&self, document: &Document, _: &Imprint<'_>) -> Result<Vec<char>, TypesetError> {
        Ok(document.texts().iter().flat_map(|text| text.chars()).filter(|c| *c == '𠮷').collect())
    }
    fn pdf(&self, document: &Document, imprint: &Imprint<'_>) -> Result<Vec<u8>, TypesetError> {
        let n = self.0.fetch_add(1, Ordering::Relaxed);
        Ok(format!("{n} {:?} {:?} {:?} {:?}", imprint.number, imprint.code, imprint.watermark, document.title).into_bytes())
    }
}

#[tokio::test]
async fn a_report_is_composed_frozen_issued_checked_and_withdrawn() {
    let w = world().await;
    let asked = json!({"sort": "plan_evaluation", "plan": "yuxi-12th", "as_of": "2013-12-31", "issuer": "演示市安委办"});
    let preview = w.post(&w.office, "/documents/preview", asked.clone()).await.ok(200);
    let blocks = preview["document"]["blocks"].as_array().unwrap();
    let counts = blocks.iter().find(|b| b["caption"] == "目标状态").unwrap();
    assert_eq!(counts["rows"], json!([["10", "24", "16", "2", "32"]]));
    // A part is left out, and it is another document.
    let mut fewer = asked.clone();
    fewer["sections"] = json!(["whole", "behind"]);
    let fewer = w.post(&w.office, "/documents/preview", fewer).await.ok(200);
    assert!(
        fewer["digest"] != preview["digest"] && fewer["sections"].as_array().unwrap().iter().filter(|s| s["stands"] == true).count() == 2
    );

    // Only what was read is written.
    let mut body = asked.clone();
    body["digest"] = fewer["digest"].clone();
    assert_eq!(w.post(&w.office, "/documents", body).await.code(409), "document.changed");
    let made = w.composed(asked).await;
    let id = text(&made["id"]);
    assert!((made["state"] == "submitted") && made["document_no"].is_null());

    // Nobody types number or digest: the steps have a page of their own.
    let record = format!("/registers/official_document/records/{id}");
    let fields = json!({"document_no": "假〔2026〕1号", "issued_on": "2026-11-22"});
    let typed = w.post(&w.leader, &format!("{record}/transitions/issue"), json!({"revision": 1, "fields": fields})).await;
    assert_eq!(typed.code(409), "register.own_page");
    let fields = json!({"sort": "circular", "title": "x", "issuer": "x", "about": "x", "digest": "00"});
    let typed =
        w.post(&w.office, "/registers/official_document/records", json!({"region": CITY, "transition": "compose", "fields": fields})).await;
    assert_eq!(typed.code(409), "register.own_page");

    // A later fact does not move it.
    let fact = json!({"facts": [{"source": "population", "on": "2012-12-31", "region": HERE, "value": "1"}]});
    w.post(&w.office, "/facts", fact).await.ok(201);
    let frozen = w.get(&w.leader, &format!("/documents/{id}")).await.ok(200);
    assert_eq!((&frozen["document"], &frozen["digest"]), (&preview["document"], &preview["digest"]));

    // Who composed it does not issue it, and their attempt takes no number.
    assert_eq!(w.issue(&w.office, &id).await.code(403), "register.role");
    let both = w.node.person("both", json!([{"role": "supervisor", "region": CITY}, {"role": "leader", "region": CITY}])).await;
    let mut own = json!({"sort": "circular", "region": CITY, "title": "自己的", "text": "演示"});
    own["digest"] = w.post(&both, "/documents/preview", own.clone()).await.ok(200)["digest"].clone();
    let own = text(&w.post(&both, "/documents", own).await.ok(201)["id"]);
    assert_eq!(w.issue(&both, &own).await.refused(409)[0].0, "register.guard");
    let issued = w.issue(&w.leader, &id).await.ok(200);
    assert_eq!(issued["document_no"], "〔2026〕1号");
    assert_eq!(w.issue(&w.leader, &w.circular("第二件").await).await.ok(200)["document_no"], "〔2026〕2号");

    // Its code is good for anybody, until it is withdrawn.
    let certificate = w.get(&w.office, &format!("{record}/certificate")).await.ok(200);
    let verify = async || {
        let body = json!({"code": certificate["code"]});
        ask(&w.node.router, "POST", "/api/v1/certificates/verify", None, Some(body)).await.ok(200)
    };
    let told = verify().await;
    assert_eq!((&told["signature"], &told["now"]["standing"]), (&json!("good"), &json!("in_force")));
    let shown: Vec<String> = told["says"]["fields"].as_array().unwrap().iter().map(|f| text(&f["value"]["text"])).collect();
    assert!(shown.contains(&text(&preview["digest"])) && shown.contains(&"〔2026〕1号".to_owned()), "{shown:?}");
    let fields = json!({"withdrawal": "数字有误"});
    w.post(&w.leader, &format!("{record}/transitions/withdraw"), json!({"revision": issued["revision"], "fields": fields})).await.ok(200);
    assert_eq!(verify().await["now"]["standing"], "not_in_force");

    // Without a typesetter it says so; the workbook needs none.
    assert_eq!(w.get(&w.office, &format!("/documents/{id}/file")).await.code(503), "document.no_typesetter");
    let workbook = w.node.bytes(&w.office, &format!("/api/v1/documents/{id}/workbook")).await;
    let sheet = read_sheet(&workbook, &SheetLimits::default()).unwrap();
    assert!(sheet.rows.iter().any(|row| row.cells.contains(&Cell::Text("〔2026〕1号".to_owned()))));
}

#[tokio::test]
async fn its_file_is_made_once_and_stays() {
    let w = world().await;
    assert!(w.node.app.typesetter.set(Arc::new(Stub::default())).is_ok());
    let id = w.circular("关于演示的通报").await;
    let file = async || String::from_utf8(w.node.bytes(&w.office, &format!("/api/v1/documents/{id}/file")).await).unwrap();
    // A draft is made anew, with a mark across it and without number or code.
    let drafts = [file().await, file().await];
    assert!(drafts.iter().all(|d| d.contains("None None Some(\"草稿\")")) && drafts[0] != drafts[1], "{drafts:?}");
    w.issue(&w.leader, &id).await.ok(200);
    let first = file().await;
    assert!(first.contains("Some(\"〔2026〕1号\") Some(\"AL1.") && !first.contains("草稿"), "{first}");
    assert_eq!(file().await, first);
    let view = w.get(&w.leader, &format!("/documents/{id}")).await.ok(200);
    assert_eq!(text(&view["pdf_digest"]).len(), 64);
    let audit = w.node.get("/api/v1/audit?noun=document").await;
    assert_eq!(audit["entries"].as_array().unwrap().len(), 1);
    // Withdrawn it is the same file.
    let record = format!("/registers/official_document/records/{id}");
    let body = json!({"revision": view["record"]["revision"], "fields": {"withdrawal": "x"}});
    w.post(&w.leader, &format!("{record}/transitions/withdraw"), body).await.ok(200);
    assert_eq!(file().await, first);
    // A name that no font shows is told in the preview and not issued.
    let body = json!({"sort": "circular", "region": CITY, "title": "关于𠮷某的通报", "text": "演示"});
    assert_eq!(w.post(&w.office, "/documents/preview", body.clone()).await.ok(200)["uncovered"], "𠮷");
    let id = text(&w.composed(body).await["id"]);
    assert_eq!(w.issue(&w.leader, &id).await.code(409), "document.uncovered");
}

#[tokio::test]
async fn each_sees_and_composes_what_is_theirs() {
    let w = world().await;
    let id = w.circular("全市通报").await;
    let county = w.node.person("county", json!([{"role": "supervisor", "region": HERE}])).await;
    let stranger = w.node.person("stranger", json!([{"role": "leader", "region": ELSEWHERE}])).await;
    for token in [&county, &stranger] {
        w.get(token, &format!("/documents/{id}")).await.code(404);
        w.get(token, &format!("/documents/{id}/file")).await.code(404);
        w.post(token, &format!("/documents/{id}/issue"), json!({"revision": 1, "digest": "x"})).await.code(404);
    }
    // Of the city's plan a county composes nothing, of its own territory it does.
    let plan = json!({"sort": "plan_evaluation", "plan": "yuxi-12th"});
    assert_eq!(w.post(&county, "/documents/preview", plan).await.code(403), "scope.outside");
    let month = |region: &str| json!({"sort": "alarm_month", "region": region, "month": "2026-11"});
    w.post(&county, "/documents/preview", month(HERE)).await.ok(200);
    assert_eq!(w.post(&county, "/documents/preview", month(CITY)).await.code(403), "scope.outside");
    let refused = [
        (json!({"sort": "x"}), "sort"),
        (json!({"sort": "alarm_month", "region": HERE, "month": "2026-13"}), "month"),
        (json!({"sort": "alarm_month", "region": HERE, "month": "2027-01"}), "month"),
        (json!({"sort": "circular", "region": HERE, "text": "x"}), "title"),
        (json!({"sort": "circular", "region": HERE, "title": "字".repeat(101), "text": "x"}), "title"),
        (json!({"sort": "accident_report", "record": "999999"}), "record"),
        (json!({"sort": "plan_evaluation", "plan": "none"}), "plan"),
        (json!({"sort": "alarm_month", "region": HERE, "month": "2026-11", "sections": ["nothing"]}), "sections"),
    ];
    for (body, field) in refused {
        let answer = w.post(&w.office, "/documents/preview", body.clone()).await;
        assert!(answer.status.is_client_error() && answer.body["errors"][0]["field"] == field, "{body}: {:?}", answer.body);
    }
}

#[tokio::test]
async fn months_are_counted_from_the_rows() {
    let w = world().await;
    let enterprise = w.node.enterprise("E1", HERE).await;
    let device = w.node.device("D1", Some(&enterprise)).await;
    w.node.point(&device, "GT-101").await;
    w.node.reading(&device, "GT-101", 30.0).await;
    let rows = async |sort: &str, caption: &str| {
        let body = json!({"sort": sort, "region": CITY, "month": "2026-11"});
        let preview = w.post(&w.office, "/documents/preview", body).await.ok(200);
        let blocks = preview["document"]["blocks"].as_array().unwrap().clone();
        blocks.into_iter().find(|b| b["caption"] == caption).map_or(Value::Null, |b| b["rows"].clone())
    };
    let alarms = w.node.get("/api/v1/alarms").await;
    let n = alarms["alarms"].as_array().unwrap().len();
    let levels = rows("alarm_month", "按级别").await;
    let all: usize = levels.as_array().unwrap().iter().map(|row| text(&row[1]).parse::<usize>().unwrap()).sum();
    assert!(n > 0 && all == n, "{levels} {n}");
    assert_eq!(rows("alarm_month", "报警较多的企业").await[0][1], json!(n.to_string()));

    let inspector = w.node.person("inspector", json!([{"role": "inspector", "region": HERE}])).await;
    for place in ["一车间", "二车间"] {
        let fields = json!({"description": "配电箱门缺失", "place": place, "found_on": "2026-11-22", "source": "condition"});
        let body = json!({"enterprise": enterprise, "transition": "report", "fields": fields});
        w.post(&inspector, "/registers/hidden_danger/records", body).await.ok(201);
    }
    assert_eq!(rows("hidden_danger_month", "按级别").await[1], json!(["一般事故隐患和待定级", "0", "2", "0", "2", "0"]));

    // What was read is still the same some minutes later, and can be sent.
    let mut body = json!({"sort": "hidden_danger_month", "region": CITY, "month": "2026-11"});
    body["digest"] = w.post(&w.office, "/documents/preview", body.clone()).await.ok(200)["digest"].clone();
    ask(&w.node.router, "POST", "/api/v1/test/clock", None, Some(json!({"advance_s": 180}))).await.ok(200);
    w.post(&w.office, "/documents", body).await.ok(201);

    // One of them is none after all: it counts nowhere, so that the columns add up.
    let list = w.get(&w.office, "/registers/hidden_danger/records").await.ok(200);
    let (id, revision) = (text(&list["records"][0]["id"]), list["records"][0]["revision"].clone());
    let at = format!("/registers/hidden_danger/records/{id}/transitions/dismiss");
    w.post(&w.office, &at, json!({"revision": revision, "fields": {"opinion": "不属于隐患"}})).await.ok(200);
    assert_eq!(rows("hidden_danger_month", "按级别").await[1], json!(["一般事故隐患和待定级", "0", "1", "0", "1", "0"]));
}

#[tokio::test]
async fn a_document_that_is_withdrawn_before_its_file_was_made_keeps_its_number() {
    let w = world().await;
    assert!(w.node.app.typesetter.set(Arc::new(Stub::default())).is_ok());
    let id = w.circular("关于演示的通报").await;
    let issued = w.issue(&w.leader, &id).await.ok(200);
    let record = format!("/registers/official_document/records/{id}");
    let body = json!({"revision": issued["revision"], "fields": {"withdrawal": "x"}});
    w.post(&w.leader, &format!("{record}/transitions/withdraw"), body).await.ok(200);
    let file = String::from_utf8(w.node.bytes(&w.office, &format!("/api/v1/documents/{id}/file")).await).unwrap();
    assert!(file.contains("Some(\"〔2026〕1号\") None Some(\"已撤回\")"), "{file}");
}
