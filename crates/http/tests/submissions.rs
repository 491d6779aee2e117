//! Submissions through the API: every kind of thing goes out, its territory sees its attempts, and only who may switches.

mod common;

use std::path::Path;
use std::time::Duration;

use common::{ELSEWHERE, HERE, Node, ask, node_with, settings, text};
use serde_json::{Value, json};

const META: &str = "id = \"all\"\nname = \"x\"\nname_en = \"x\"\nversion = \"1\"\npublisher = \"x\"\n";

/// A submission of one file per thing, with an object for each kind.
fn submission(version: &str) -> (String, String) {
    let head = format!(
        "id = \"all\"\nversion = \"{version}\"\nname = \"x\"\nname_en = \"x\"\nplatform = \"x\"\nplatform_en = \"x\"\nconfidence = \"unverified\"\nlevel = \"city\"\n\
         [file]\nname = \"{{object}}-{{key}}.json\"\n[json]\n"
    );
    let (mut objects, mut cases) = (String::new(), String::new());
    for (of, key, more, given, gives) in [
        ("enterprise", "code", "", "{\"code\":\"E\"}", "E"),
        ("device", "code", "", "{\"code\":\"E\"}", "E"),
        ("point", "code", "", "{\"code\":\"E\"}", "E"),
        ("vehicle", "phone", "", "{\"phone\":\"E\"}", "E"),
        ("alarm", "point.code", "", "{\"point\":{\"code\":\"E\"}}", "E"),
        ("record", "fields.place", "register = \"hidden_danger\"\n", "{\"fields\":{\"place\":\"E\"}}", "E"),
        ("latest", "point.code", "every_s = 10\n", "{\"point\":{\"code\":\"E\"}}", "E"),
    ] {
        let value = if of == "latest" { "{ to = \"value\", from = \"value\", type = \"decimal\", digits = 1 }," } else { "" };
        let state = if ["alarm", "record"].contains(&of) { "{ to = \"state\", from = \"state\", type = \"text\" }," } else { "" };
        objects += &format!(
            "[[object]]\nid = \"{of}\"\nof = \"{of}\"\n{more}key = \"{key}\"\nfield = [{{ to = \"key\", from = \"{key}\", type = \"text\" }},{value}{state}]\n"
        );
        cases += &format!("[[case]]\nname = \"x\"\nobject = \"{of}\"\ngiven = '{given}'\ngives = '{{\"key\":\"{gives}\"}}'\n");
    }
    (head + &objects, cases)
}

fn write(packs: &Path, version: &str) {
    let at = packs.join("all/submissions/all");
    std::fs::create_dir_all(&at).unwrap();
    let (text, cases) = submission(version);
    std::fs::write(packs.join("all/pack.toml"), META).unwrap();
    std::fs::write(at.join("submission.toml"), text).unwrap();
    std::fs::write(at.join("cases.toml"), cases).unwrap();
}

async fn enable(node: &Node) {
    let hash = node.pack("all").await["hash"].clone();
    node.admin("POST", "/api/v1/packs/all/enable", json!({"hash": hash})).await.ok(204);
}

async fn target(node: &Node) -> Value {
    node.get("/api/v1/submissions").await["submissions"][0].clone()
}

/// Waits until the file says this.
async fn says(dir: &Path, name: &str, wanted: &str) {
    for _ in 0..1_500 {
        if std::fs::read_to_string(dir.join(name)).is_ok_and(|text| text == wanted) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never saw {wanted} in {name}, but {:?}", std::fs::read_to_string(dir.join(name)));
}

#[tokio::test]
async fn every_kind_of_thing_goes_out_and_again_when_it_changes() {
    let files = tempfile::tempdir().unwrap();
    let (packs, out) = (files.path().join("packs"), files.path().join("out"));
    std::fs::create_dir(&out).unwrap();
    write(&packs, "1");
    let mut settings = settings();
    settings.packs = Some(packs.clone());
    let target_settings = anlan_app::submission::TargetSettings {
        name: "there".into(),
        submission: "all".into(),
        url: None,
        dir: Some(out.clone()),
        secret_file: None,
        ca: None,
        timeout_s: None,
    };
    settings.submissions = anlan_app::submission::Settings { target: vec![target_settings] }.check().unwrap();
    let node = node_with(settings).await;
    let enterprise = node.enterprise("E1", HERE).await;
    let device = node.device("D1", Some(&enterprise)).await;
    node.point(&device, "GT-101").await;
    node.reading(&device, "GT-101", 60.0).await;
    node.app
        .store
        .ensure_vehicle("13900000001", anlan_model::Trust::Listed, true, anlan_model::Clock::now(&*node.app.clock))
        .await
        .unwrap();
    let supervisor = node.person("reports", json!([{"role": "supervisor", "region": HERE}])).await;
    let fields = json!({"description": "配电箱门缺失", "place": "二车间", "found_on": "2026-11-22", "source": "condition"});
    let body = json!({"enterprise": enterprise, "transition": "report", "fields": fields});
    ask(&node.router, "POST", "/api/v1/registers/hidden_danger/records", Some(&supervisor), Some(body)).await.ok(201);
    assert_eq!(target(&node).await["state"], "unknown");
    enable(&node).await;
    let off = target(&node).await;
    assert_eq!((&off["state"], &off["version_on"], &off["mapping"]["confidence"]), (&json!("off"), &Value::Null, &json!("unverified")));
    let on = async |hash: &Value| node.admin("PUT", "/api/v1/submissions/there", json!({"on": true, "hash": hash})).await;
    assert_eq!(on(&json!("x")).await.code(409), "submission.changed");
    on(&off["mapping"]["hash"]).await.ok(204);
    for (name, wanted) in [
        ("enterprise-E1.json", r#"{"key":"E1"}"#),
        ("device-D1.json", r#"{"key":"D1"}"#),
        ("point-GT-101.json", r#"{"key":"GT-101"}"#),
        ("vehicle-13900000001.json", r#"{"key":"13900000001"}"#),
        ("alarm-GT-101.json", r#"{"key":"GT-101","state":"standing"}"#),
        ("record-%E4%BA%8C%E8%BD%A6%E9%97%B4.json", r#"{"key":"二车间","state":"found"}"#),
        ("latest-GT-101.json", r#"{"key":"GT-101","value":60.0}"#),
    ] {
        says(&out, name, wanted).await;
    }
    // The log of the engine raises and ends alarms; both go.
    node.reading(&device, "GT-101", 1.0).await;
    says(&out, "alarm-GT-101.json", r#"{"key":"GT-101","state":"returned"}"#).await;
    ask(&node.router, "POST", "/api/v1/test/clock", None, Some(json!({"advance_s": 20}))).await.ok(200);
    says(&out, "latest-GT-101.json", r#"{"key":"GT-101","value":1.0}"#).await;
    // Whoever has a territory sees its own attempts, and neither targets nor texts.
    let elsewhere = node.person("there", json!([{"role": "administrator", "region": ELSEWHERE}])).await;
    let count = async |token: &str, path: &str, of: &str| {
        ask(&node.router, "GET", path, Some(token), None).await.ok(200)[of].as_array().unwrap().len()
    };
    assert!(count(&supervisor, "/api/v1/submission-attempts?outcome=sent", "attempts").await >= 5);
    assert_eq!(count(&supervisor, "/api/v1/submissions", "submissions").await, 0);
    assert_eq!(count(&elsewhere, "/api/v1/submission-attempts", "attempts").await, 0);
    let preview = "/api/v1/submissions/there/preview?object=enterprise&subject=1";
    assert_eq!(ask(&node.router, "GET", preview, Some(&supervisor), None).await.code(403), "permission.missing");
    assert_eq!(ask(&node.router, "GET", preview, Some(&elsewhere), None).await.code(404), "row.not_found");
    let shown = node.get(&format!("/api/v1/submissions/there/preview?object=enterprise&subject={enterprise}")).await;
    assert_eq!((text(&shown["text"]), &shown["wanted"]), (r#"{"key":"E1"}"#.to_owned(), &json!(true)));
    assert_eq!(text(&shown["to"]), format!("{}/enterprise-E1.json", out.display()));
    let gone = node.get("/api/v1/submissions/there/preview?object=enterprise&subject=99").await;
    assert_eq!((&gone["here"], &gone["text"]), (&json!(false), &Value::Null));
    for path in ["preview?object=nothing&subject=1", "items?state=nothing"] {
        assert!(
            ask(&node.router, "GET", &format!("/api/v1/submissions/there/{path}"), Some(&node.admin), None).await.status.is_client_error()
        );
    }
    let resend = node.admin("POST", "/api/v1/submissions/there/resend", json!({"object": "enterprise"})).await;
    assert_eq!(resend.refused(400), [("field.missing".to_owned(), "subject".to_owned())]);
    // Another version is filled anew by itself: its pack was switched on by a person.
    std::fs::remove_file(out.join("enterprise-E1.json")).unwrap();
    write(&packs, "2");
    enable(&node).await;
    says(&out, "enterprise-E1.json", r#"{"key":"E1"}"#).await;
    assert_eq!(target(&node).await["version_on"], "2");
    // Without its pack nothing goes, and the page says why.
    node.admin("POST", "/api/v1/packs/all/disable", json!({})).await.ok(204);
    assert_eq!(target(&node).await["state"], "unknown");
    assert_eq!(on(&json!("x")).await.code(409), "submission.unknown");
    node.admin("PUT", "/api/v1/submissions/there", json!({"on": false})).await.ok(204);
    let audit = node.get("/api/v1/audit?noun=submission").await;
    let acts: Vec<&str> = audit["entries"].as_array().unwrap().iter().map(|e| e["action"].as_str().unwrap()).collect();
    assert_eq!(acts, ["disable", "enable", "enable"]);
}
