//! A plan through the API: facts and what revises them, how targets stand for whom, decisions by two people, and the plan's own tables.

mod common;

use common::{ELSEWHERE, HERE, Node, ask, node, text};
use serde_json::{Value, json};

const FACTS: &str = include_str!("../../../packs/demo/plan_facts.csv");
const SUPPLEMENT: &str = include_str!("../../../packs/demo/plan_supplement.toml");
const DEATHS: [i64; 5] = [241, 234, 202, 165, 161];
const PLAN: &str = "/api/v1/plans/yuxi-12th";

async fn with_demonstration() -> Node {
    let node = node().await;
    anlan_app::plan::demonstrate(&node.app, "yuxi-12th", FACTS, SUPPLEMENT).await.unwrap();
    node
}

fn target<'a>(status: &'a Value, id: &str) -> &'a Value {
    status["targets"].as_array().unwrap().iter().find(|target| target["id"] == id).unwrap()
}

async fn record(node: &Node, token: &str, fact: Value) -> common::Answer {
    ask(&node.router, "POST", "/api/v1/facts", Some(token), Some(json!({"facts": [fact]}))).await
}

#[tokio::test]
async fn the_plans_own_tables_come_out_of_stored_rows() {
    let node = with_demonstration().await;
    let history = node.get(&format!("{PLAN}/history")).await;
    assert_eq!((&history["same"], &history["demonstration"]), (&json!(true), &json!(true)));
    let drops: Vec<f64> = history["drops"].as_array().unwrap().iter().map(|drop| drop["drop_percent"].as_f64().unwrap()).collect();
    assert!(drops.contains(&68.12) && drops.contains(&19.7) && drops.contains(&66.81) && drops.contains(&100.0), "{drops:?}");
    let deaths = node.get("/api/v1/indicators/accident_deaths?region=5304&from=2006&as_of=2010-12-31").await;
    let by_year: Vec<i64> = deaths["series"].as_array().unwrap().iter().filter_map(|year| year["value"].as_i64()).collect();
    assert_eq!(by_year, DEATHS);
    // The divisions below, as they were called then, add up to the whole.
    let parts: i64 = deaths["regions"].as_array().unwrap().iter().filter_map(|region| region["value"].as_i64()).sum();
    assert_eq!((deaths["regions"].as_array().unwrap().len(), parts), (9, 161));
    // And so they do as they are called now: a county with another code since finds its rows of before.
    let later = node.get("/api/v1/indicators/accident_deaths?region=5304&as_of=2015-12-31").await;
    let parts: i64 = later["regions"].as_array().unwrap().iter().filter_map(|region| region["value"].as_i64()).sum();
    assert_eq!(later["series"].as_array().unwrap().last().unwrap()["value"], json!(parts));
}

#[tokio::test]
async fn a_target_is_followed_down_to_its_rows_and_a_late_revision_shows_both_values() {
    let node = with_demonstration().await;
    let status = node.get(&format!("{PLAN}?as_of=2015-12-31")).await;
    let counts = &status["counts"];
    let n: i64 = ["met", "on_path", "off_path", "missed", "cannot_be_computed"].iter().map(|state| counts[state].as_i64().unwrap()).sum();
    assert_eq!((n, status["targets"].as_array().unwrap().len()), (84, 84));
    let indicator = status["targets"].as_array().unwrap().iter().find(|t| t["indicator"] == "death_rate_per_100m_gdp").unwrap();
    let detail = node.get(&format!("{PLAN}/targets/{}?as_of=2015-12-31", indicator["id"].as_str().unwrap())).await;
    let figure = &detail["figure"];
    let (above, below) = (figure["numerator"].as_f64().unwrap(), figure["denominator"].as_f64().unwrap());
    let rows: f64 = figure["rows"].as_array().unwrap().iter().map(|row| row["value"].as_f64().unwrap()).sum();
    assert_eq!(rows, above, "the rows are the number above the line");
    assert_eq!(figure["rows_below"][0]["value"].as_f64(), Some(below));
    assert_eq!(figure["value"], detail["target"]["value"]);
    let years: Vec<i64> = detail["series"].as_array().unwrap().iter().map(|year| year["year"].as_i64().unwrap()).collect();
    assert_eq!((years.first(), years.last()), (Some(&2010), Some(&2015)));
    // A linear path: the same step each year from the printed baseline, and the goal at its end.
    let asked: Vec<Value> = detail["series"].as_array().unwrap().iter().map(|year| year["asked"].clone()).collect();
    assert_eq!(asked, [json!(null), json!(0.20416), json!(0.18832), json!(0.17248), json!(0.15664), json!(0.1408)]);

    // Somebody revises the denominator: the figure as of then stays, both are shown since.
    let gdp = figure["rows_below"][0].clone();
    let supervisor = node.person("statistics", json!([{"role": "supervisor", "region": "5304"}])).await;
    let fact = json!({"source": gdp["source"], "on": gdp["on"], "region": gdp["region"], "value": "1", "note": "统计局更正"});
    assert_eq!(record(&node, &supervisor, fact.clone()).await.refused(400), [("fact.revises".into(), "facts[0].revises".into())]);
    let mut revised = fact.clone();
    revised["revises"] = gdp["id"].clone();
    let made = record(&node, &supervisor, revised.clone()).await.ok(201);
    assert_eq!(made["facts"][0]["mark"], "reported");
    assert_eq!(record(&node, &supervisor, revised).await.refused(400), [("fact.revises".into(), "facts[0].revises".into())]);
    let today = node.get(&format!("{PLAN}/targets/{}", indicator["id"].as_str().unwrap())).await;
    assert_eq!(today["figure"]["denominator"], 1);
    assert_eq!(today["figure"]["revised"][0]["id"], gdp["id"]);
    assert_eq!(today["target"]["said_before"][0]["value"], detail["target"]["value"]);
    let before = node.get(&format!("{PLAN}/targets/{}?as_of=2015-12-31", indicator["id"].as_str().unwrap())).await;
    assert_eq!(before["figure"], *figure, "what was known then is said of then");
    let list = node.get(&format!("/api/v1/facts?source={}&year=2015", gdp["source"].as_str().unwrap())).await;
    assert_eq!(
        (list["facts"][0]["recorded_by"].as_str(), list["facts"][1]["revised_by"].as_str()),
        (Some("statistics"), list["facts"][0]["id"].as_str())
    );
    let audit = node.get("/api/v1/audit?noun=fact").await;
    assert_eq!(audit["entries"][0]["detail"]["value"], 1);
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_with_its_place_and_field() {
    let node = node().await;
    let token = node.person("statistics", json!([{"role": "supervisor", "region": "5304"}])).await;
    let good = json!({"source": "population", "on": "2012-12-31", "region": "5304", "value": "230.4"});
    for (field, value, code) in [
        ("source", json!("unheard_of"), "fact.source"),
        ("source", json!("A B"), "word.malformed"),
        ("on", json!("2012-13-01"), "time.malformed"),
        ("on", json!("2012-06-30"), "fact.year_end"),
        ("on", json!("2999-12-31"), "fact.future"),
        ("known_on", json!("2011-01-01"), "fact.known_on"),
        ("sector", json!("coalmine"), "fact.sector"),
        ("value", json!("1e3"), "fact.value"),
        ("value", json!("-1"), "fact.value"),
        ("value", json!("123456789012345"), "fact.value"),
        ("region", json!("999999"), "region.unknown"),
        ("revises", json!("nothing"), "fact.revises"),
        ("sector", json!("1x"), "word.malformed"),
    ] {
        let mut fact = good.clone();
        fact[field] = value.clone();
        assert_eq!(record(&node, &token, fact).await.refused(400), [(code.into(), format!("facts[0].{field}"))], "{field} {value}");
    }
    // A finding is one of two words, says by what it was made, and is of a target that a person finds, in its time.
    let finding =
        |sector: &str, on: &str| json!({"source": "finding", "sector": sector, "on": on, "region": "5304", "value": "1", "note": "x"});
    for (sector, on) in [("g01", "2012-12-31"), ("zz99", "2012-12-31"), ("g09", "2005-06-01")] {
        assert_eq!(record(&node, &token, finding(sector, on)).await.code(400), "fact.finding_of", "{sector} {on}");
    }
    record(&node, &token, finding("g09", "2012-12-31")).await.ok(201);
    let finding = json!({"source": "finding", "sector": "g01", "on": "2012-12-31", "region": "5304", "value": "2", "note": "x"});
    assert_eq!(record(&node, &token, finding).await.code(400), "fact.finding");
    let finding = json!({"source": "finding", "sector": "g09", "on": "2012-12-31", "region": "5304", "value": "1"});
    assert_eq!(record(&node, &token, finding).await.code(400), "text.empty");
    // All or none.
    let twice = json!({"facts": [good, good]});
    assert_eq!(ask(&node.router, "POST", "/api/v1/facts", Some(&token), Some(twice)).await.code(400), "fact.revises");
    assert_eq!(node.get("/api/v1/facts?source=population").await["facts"], json!([]));
    assert_eq!(ask(&node.router, "POST", "/api/v1/facts", Some(&token), Some(json!({"facts": []}))).await.code(400), "fact.count");
    record(&node, &token, good).await.ok(201);
}

#[tokio::test]
async fn nothing_is_said_of_days_that_nobody_can_speak_of() {
    let node = with_demonstration().await;
    let tomorrow = node.app.today().tomorrow().unwrap();
    let asked = ask(&node.router, "GET", &format!("{PLAN}?as_of={tomorrow}"), Some(&node.admin), None).await;
    assert_eq!(asked.refused(400), [("fact.future".into(), "as_of".into())]);
    // What is counted from the plan's first day has no figure before it, and no false zero.
    let closed = node.get("/api/v1/indicators/mines_closed?region=5304&from=2005&as_of=2015-12-31").await;
    let years: Vec<i64> = closed["series"].as_array().unwrap().iter().map(|year| year["year"].as_i64().unwrap()).collect();
    assert_eq!(years, [2011, 2012, 2013, 2014, 2015]);
    let before = node.get("/api/v1/indicators/mines_closed?region=5304&as_of=2010-06-30").await;
    assert!(before["regions"].as_array().unwrap().iter().all(|region| region["value"].is_null()), "{before}");
    let unknown = ask(&node.router, "GET", "/api/v1/indicators/accident_deaths?region=5304&sectors=nosuch", Some(&node.admin), None).await;
    assert_eq!(unknown.code(400), "word.unknown");
}

#[tokio::test]
async fn who_sees_a_part_sees_that_part_alone() {
    let node = with_demonstration().await;
    let county = node.person("county", json!([{"role": "supervisor", "region": HERE}])).await;
    let get = async |path: &str| ask(&node.router, "GET", path, Some(&county), None).await;
    let status = get(&format!("{PLAN}?as_of=2013-12-31")).await.ok(200);
    assert_eq!((&status["sees_whole"], &status["may_manage"]), (&json!(false), &json!(false)));
    assert!(
        status["targets"].as_array().unwrap().iter().all(|t| t["state"].is_null() && t["value"].is_null() && t["said_before"] == json!([]))
    );
    assert_eq!(status["counts"]["met"], 0);
    let facts = get("/api/v1/facts?limit=1000").await.ok(200);
    assert!(facts["facts"].as_array().unwrap().iter().all(|fact| fact["region"] == HERE));
    assert!(!facts["facts"].as_array().unwrap().is_empty());
    get(&format!("/api/v1/indicators/accident_deaths?region={HERE}&as_of=2010-12-31")).await.ok(200);
    assert_eq!(get("/api/v1/indicators/accident_deaths?region=5304").await.code(403), "scope.outside");
    assert_eq!(get(&format!("/api/v1/indicators/accident_deaths?region={ELSEWHERE}")).await.code(403), "scope.outside");
    // Parts: its own, not its neighbours'.
    let with_parts = node.get(&format!("{PLAN}?as_of=2013-12-31")).await;
    let mut seen = 0;
    for id in with_parts["targets"].as_array().unwrap().iter().map(|t| t["id"].as_str().unwrap()) {
        let parts = get(&format!("{PLAN}/targets/{id}?as_of=2013-12-31")).await.ok(200)["parts"].clone();
        assert!(parts.as_array().unwrap().iter().all(|part| part["region"] == HERE), "{parts}");
        seen += parts.as_array().unwrap().len();
    }
    assert!(seen > 0, "the demonstration has parts of this county");
    // It records its own facts, not the city's.
    let fact = |region: &str| json!({"source": "mine_closed", "on": "2013-05-01", "region": region, "value": "1"});
    let own = record(&node, &county, fact(HERE)).await.ok(201)["facts"][0]["id"].clone();
    // What is another county's is not taken by a revision.
    let elsewhere = node.person("elsewhere", json!([{"role": "supervisor", "region": ELSEWHERE}])).await;
    let theft = json!({"source": "mine_closed", "on": "2013-05-01", "region": ELSEWHERE, "value": "0", "revises": own});
    assert_eq!(record(&node, &elsewhere, theft).await.code(403), "scope.outside");
    // A slip is mended on the same day.
    let slip = json!({"source": "mine_closed", "on": "2013-05-01", "region": HERE, "value": "2", "revises": own});
    record(&node, &county, slip).await.ok(201);
    assert_eq!(record(&node, &county, fact("5304")).await.refused(403), [("scope.outside".into(), "facts[0].region".into())]);
}

#[tokio::test]
async fn what_one_proposes_another_approves_and_the_old_target_stays_to_be_seen() {
    let node = with_demonstration().await;
    let supervisor = node.person("plans", json!([{"role": "supervisor", "region": "5304"}])).await;
    let leader = node.person("chief", json!([{"role": "leader", "region": "5304"}, {"role": "supervisor", "region": "5304"}])).await;
    let propose = async |token: &str, body: Value| ask(&node.router, "POST", &format!("{PLAN}/decisions"), Some(token), Some(body)).await;
    let decide = async |token: &str, id: &str, body: Value| {
        ask(&node.router, "POST", &format!("{PLAN}/decisions/{id}"), Some(token), Some(body)).await
    };
    let status = node.get(&format!("{PLAN}?as_of=2015-12-31")).await;
    let numbered = status["targets"]
        .as_array()
        .unwrap()
        .iter()
        .find(|t| t["direction"] == "<=" && t["target"].is_number() && t["is_adjusted"] == false);
    let id = numbered.unwrap()["id"].as_str().unwrap().to_owned();
    let was = numbered.unwrap()["target"].clone();
    let adjustment = json!({"kind": "adjustment", "target": id, "decided_on": "2013-06-01", "by": "市人民政府", "document": "玉政发〔2013〕1号（测试）", "reason": "统计口径变化", "value": "99"});
    let without = |field: &str| {
        let mut body = adjustment.clone();
        body.as_object_mut().unwrap().remove(field);
        body
    };
    for (body, code) in [
        (json!({"kind": "wish"}), "word.unknown"),
        (json!({"kind": "part", "target": "Z99", "region": HERE, "value": "1"}), "decision.target"),
        (json!({"kind": "part", "target": id, "region": "5304", "value": "1"}), "decision.region"),
        (json!({"kind": "part", "target": id, "region": HERE}), "decision.malformed"),
        (json!({"kind": "part", "target": id, "region": HERE, "value": "95%"}), "decision.number"),
        (json!({"kind": "path", "target": id, "on": "2012-02-30", "value": "1"}), "time.malformed"),
        (json!({"kind": "covered", "source": "mine_closed", "from": "2016-07-01", "to": "2099-12-31"}), "decision.to"),
        (json!({"kind": "path", "target": id, "on": "2031-12-31", "value": "1"}), "decision.on"),
        (json!({"kind": "covered", "source": "x", "from": "2011-01-01", "to": "2011-12-31"}), "fact.source"),
        (json!({"kind": "covered", "source": "mine_closed", "from": "2011-01-01", "to": "2010-12-31"}), "decision.to"),
        (without("value"), "decision.value"),
        (without("by"), "decision.malformed"),
    ] {
        assert_eq!(propose(&supervisor, body.clone()).await.code(400), code, "{body}");
    }
    let made = propose(&supervisor, adjustment.clone()).await.ok(201);
    let decision = text(&made["id"]);
    assert_eq!((&made["state"], &made["may_decide"]), (&json!("proposed"), &json!(false)));
    assert_eq!(target(&node.get(&format!("{PLAN}?as_of=2015-12-31")).await, &id)["target"], was, "proposed changes nothing");
    assert_eq!(decide(&supervisor, &decision, json!({"approve": true})).await.code(403), "permission.missing");
    // Whoever leads and proposes cannot approve that.
    let own = text(
        &propose(&leader, json!({"kind": "covered", "source": "mine_closed", "from": "2020-01-01", "to": "2020-12-31"})).await.ok(201)["id"],
    );
    assert_eq!(decide(&leader, &own, json!({"approve": true})).await.code(409), "decision.own");
    assert_eq!(decide(&leader, &decision, json!({"approve": false})).await.code(400), "text.empty");
    decide(&leader, &decision, json!({"approve": true})).await.ok(200);
    assert_eq!(decide(&leader, &decision, json!({"approve": true})).await.code(409), "decision.decided");
    let after = node.get(&format!("{PLAN}?as_of=2015-12-31")).await;
    assert_eq!((&target(&after, &id)["target"], &target(&after, &id)["is_adjusted"]), (&json!(99), &json!(true)));
    let detail = node.get(&format!("{PLAN}/targets/{id}?as_of=2015-12-31")).await;
    assert_eq!((&detail["former"][0]["decided_on"], &detail["former"][0]["by"]), (&json!("2013-06-01"), &json!("市人民政府")));
    assert_eq!(target(&node.get(&format!("{PLAN}?as_of=2013-05-31")).await, &id)["target"], was, "before that day it asked what it asked");
    let refused = text(
        &propose(&supervisor, json!({"kind": "covered", "source": "mine_closed", "from": "2019-01-01", "to": "2019-12-31"})).await.ok(201)
            ["id"],
    );
    let said = decide(&leader, &refused, json!({"approve": false, "opinion": "台账不全"})).await.ok(200);
    assert_eq!((&said["state"], &said["opinion"]), (&json!("refused"), &json!("台账不全")));
    let audit = node.get("/api/v1/audit?noun=plan_decision&limit=3").await;
    let actions: Vec<&str> = audit["entries"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["refuse", "propose", "approve"]);
}

#[tokio::test]
async fn deaths_come_out_of_the_register_of_accidents_and_a_later_one_shows_both_figures() {
    let node = node().await;
    let supervisor = node.person("plans", json!([{"role": "supervisor", "region": "5304"}])).await;
    let leader = node.person("chief", json!([{"role": "leader", "region": "5304"}])).await;
    let post =
        async |token: &str, path: &str, body: Value| ask(&node.router, "POST", &format!("/api/v1/{path}"), Some(token), Some(body)).await;
    let of_2025 = async |as_of: &str| {
        let found = node.get(&format!("/api/v1/indicators/accident_deaths?region={HERE}&from=2025&as_of={as_of}")).await;
        found["series"][0].clone()
    };
    // Nobody vouches yet that every accident of the year was recorded: no figure, and no zero.
    assert_eq!(of_2025("2026-11-23").await["reason"]["code"], "not_recorded");
    let covered = json!({"kind": "covered", "source": "accident_deaths", "from": "2025-01-01", "to": "2025-12-31"});
    let decision = text(&post(&supervisor, "plans/yuxi-12th/decisions", covered).await.ok(201)["id"]);
    post(&leader, &format!("plans/yuxi-12th/decisions/{decision}"), json!({"approve": true})).await.ok(200);
    assert_eq!(of_2025("2026-11-23").await["value"], 0);

    let enterprise = node.enterprise("E1", HERE).await;
    let row = |told_on: &str, on: &str, deaths: u32| json!({"told_on": told_on, "on": on, "deaths": deaths, "serious_injuries": 0});
    let fields = json!({
        "title": "清罐中毒事故", "place": "三号罐", "happened_at": "2025-06-01T14:20", "nature": "general", "sector": "hazardous_chemicals",
        "course": "清罐作业", "rescue": "送医", "county_told_at": "2025-06-01T15:20", "known_at": "2025-06-01T14:30",
        "toll": [row("2025-06-01", "2025-06-01", 2)],
    });
    let manager = node.person("manager", json!([{"role": "safety_manager", "enterprise": enterprise}])).await;
    let body = json!({"enterprise": enterprise, "transition": "report", "fields": fields});
    let made = post(&manager, "registers/accident/records", body).await.ok(201);
    let id = text(&made["id"]);
    assert_eq!(of_2025("2026-11-23").await["value"], 2);
    let toll = json!([row("2025-06-01", "2025-06-01", 2), row("2026-02-03", "2025-06-20", 3)]);
    let body = json!({"revision": made["revision"], "fields": {"toll": toll}});
    let moved = post(&manager, &format!("registers/accident/records/{id}/transitions/supplement"), body).await.ok(200);
    assert_eq!((&of_2025("2026-02-02").await["value"], &of_2025("2026-02-03").await["value"]), (&json!(2), &json!(3)));
    // It goes down to the record, in whatever sector it is.
    let by_sector =
        async |sector: &str| node.get(&format!("/api/v1/indicators/accident_deaths?region={HERE}&from=2025&sectors={sector}")).await;
    assert_eq!(by_sector("hazardous_chemicals").await["series"][0]["value"], 3);
    assert_eq!(by_sector("coal").await["series"][0]["value"], 0);
    // What was found to be none counts nowhere from the day on which that was decided; what was said before stays.
    let body = json!({"revision": moved["revision"], "fields": {"dismissal": "not_accident", "dismissal_reason": "自然疾病死亡"}});
    let proposed = post(&supervisor, &format!("registers/accident/records/{id}/transitions/propose_dismissal"), body).await.ok(200);
    assert_eq!(of_2025("2026-11-23").await["value"], 3, "it is proposed alone");
    let decide = async |token: &str, transition: &str, revision: &Value| {
        let body = json!({"revision": revision, "fields": {"opinion": "同意"}});
        post(token, &format!("registers/accident/records/{id}/transitions/{transition}"), body).await
    };
    assert_eq!(decide(&supervisor, "dismiss", &proposed["revision"]).await.status, 403);
    let dismissed = decide(&leader, "dismiss", &proposed["revision"]).await.ok(200);
    assert_eq!((&of_2025("2026-11-22").await["value"], &of_2025("2026-11-23").await["value"]), (&json!(3), &json!(0)));
    assert_eq!(of_2025("2026-02-02").await["value"], 2);
    assert_eq!(decide(&leader, "reinstate", &dismissed["revision"]).await.code(409), "register.guard");
    let other = node.person("chief2", json!([{"role": "leader", "region": "5304"}])).await;
    let back = decide(&other, "reinstate", &dismissed["revision"]).await.ok(200);
    assert_eq!((&back["state"], &of_2025("2026-11-23").await["value"]), (&json!("reported"), &json!(3)));
}
