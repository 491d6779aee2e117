//! The leaders' page from outside: what presses, for whom, and the rows behind every count; figures counted out of registers.

mod common;

use common::{ELSEWHERE, HERE, Node, ask, node, text};
use serde_json::{Value, json};

struct World {
    node: Node,
    supervisor: String,
    leader: String,
}

async fn world() -> World {
    let node = node().await;
    let supervisor = node.person("supervisor", json!([{"role": "supervisor", "region": "5304"}])).await;
    let leader = node.person("leader", json!([{"role": "leader", "region": "5304"}])).await;
    World { node, supervisor, leader }
}

impl World {
    async fn get(&self, token: &str, path: &str) -> Value {
        ask(&self.node.router, "GET", path, Some(token), None).await.ok(200)
    }
    async fn make(&self, kind: &str, token: &str, body: Value) -> String {
        text(&ask(&self.node.router, "POST", &format!("/api/v1/registers/{kind}/records"), Some(token), Some(body)).await.ok(201)["id"])
    }
    async fn take(&self, kind: &str, id: &str, token: &str, step: &str, fields: Value) {
        let at = format!("/api/v1/registers/{kind}/records/{id}");
        let revision = self.get(token, &at).await["revision"].clone();
        let body = json!({"revision": revision, "fields": fields});
        ask(&self.node.router, "POST", &format!("{at}/transitions/{step}"), Some(token), Some(body)).await.ok(200);
    }
    async fn days_pass(&self, days: i64) {
        ask(&self.node.router, "POST", "/api/v1/test/clock", None, Some(json!({"advance_s": days * 86_400}))).await.ok(200);
    }
    /// A major hidden danger that is listed until the day; the enterprise, its manager, the listing.
    async fn listed(&self, code: &str, region: &str, due_on: &str) -> (String, String, String) {
        let enterprise = self.node.enterprise(code, region).await;
        let manager = self.node.person(&format!("manager-{code}"), json!([{"role": "safety_manager", "enterprise": enterprise}])).await;
        let users = self.node.get("/api/v1/users").await;
        let of_manager = |user: &&Value| user["username"] == format!("manager-{code}");
        let id = users["users"].as_array().unwrap().iter().find(of_manager).unwrap()["id"].clone();
        let fields = json!({"description": "罐区无紧急切断", "place": "罐区", "found_on": "2026-11-23", "source": "condition"});
        let danger =
            self.make("hidden_danger", &manager, json!({"enterprise": enterprise, "transition": "report", "fields": fields})).await;
        self.take("hidden_danger", &danger, &manager, "rate", json!({"level": "major"})).await;
        let plan = json!({"responsible": id, "due_on": due_on, "measures": "加装切断阀", "goal": "完成", "funds_yuan": 1, "interim_measures": "降液位"});
        self.take("hidden_danger", &danger, &self.supervisor, "assign", plan.clone()).await;
        self.take("hidden_danger", &danger, &self.supervisor, "list", json!({"listing_reason": "县区重大"})).await;
        let listing =
            text(&self.get(&self.supervisor, &format!("/api/v1/registers/hidden_danger/records/{danger}")).await["children"][0]["id"]);
        let mut approval = plan;
        for (field, value) in [("listing_level", "county"), ("listing_no", code), ("supervising_body", "县安委会")] {
            approval[field] = json!(value);
        }
        self.take("listed_supervision", &listing, &self.leader, "approve", approval).await;
        (enterprise, manager, listing)
    }
}

fn division<'a>(page: &'a Value, code: &str) -> &'a Value {
    page["divisions"].as_array().unwrap().iter().find(|division| division["code"] == code).unwrap()
}

fn measure(page: &Value, code: &str, criterion: &str) -> Value {
    let of = division(page, code);
    let measure = of["measures"].as_array().unwrap().iter().find(|measure| measure["criterion"] == criterion).unwrap();
    json!([measure["n"], measure["of"], measure["rank"], measure["tied"]])
}

#[tokio::test]
async fn what_presses_is_told_with_its_rows_and_to_whoever_sees_them() {
    let w = world().await;
    let (enterprise, manager, listing) = w.listed("E1", HERE, "2026-11-25").await;
    w.listed("E2", ELSEWHERE, "2026-12-20").await;
    let gas = w.node.device("GT-1", Some(&enterprise)).await;
    w.node.point(&gas, "LEL").await;
    w.node.reading(&gas, "LEL", 80.0).await;
    let toll = json!([{"told_on": "2026-11-23", "on": "2026-11-23", "deaths": 1, "serious_injuries": 0}]);
    let fields = json!({"title": "检修中毒事故", "place": "三号罐", "happened_at": "2026-11-23T07:00", "nature": "general",
        "sector": "hazardous_chemicals", "course": "清罐作业", "rescue": "送医", "county_told_at": "2026-11-23T07:30", "toll": toll});
    let accident = w.make("accident", &w.supervisor, json!({"region": HERE, "transition": "register", "fields": fields})).await;

    let today = w.get(&w.leader, "/api/v1/leaders").await;
    assert_eq!((&today["region"], &today["counts"]["listed"], &today["counts"]["listed_over"]), (&json!("5304"), &json!(2), &json!(0)));
    assert_eq!((&today["listed"][0]["record"]["id"], &today["listed"][0]["days_over"]), (&json!(listing), &json!(-2)));
    assert_eq!((&today["accidents"][0]["record"]["id"], &today["accidents"][0]["late"]), (&json!(accident), &json!(false)));
    assert_eq!((&today["accidents"][0]["tell_by"], &today["accidents"][0]["class"]), (&json!("2026-11-23T09:30"), &json!("ordinary")));
    assert_eq!((&today["alarms"][0]["enterprise"], &today["alarms"][0]["level"]), (&json!(enterprise), &json!("red")));
    assert_eq!(measure(&today, HERE, "red_alarms"), json!([1, null, 1, false]));
    assert_eq!(measure(&today, ELSEWHERE, "red_alarms"), json!([0, null, null, false]), "nothing is no rank");
    assert_eq!(measure(&today, HERE, "deaths"), json!([1, null, 1, false]));
    assert_eq!(today["divisions"].as_array().unwrap().len(), 9, "a county without anything is there, with none");

    w.days_pass(4).await;
    let later = w.get(&w.leader, "/api/v1/leaders").await;
    assert_eq!((&later["counts"]["listed_over"], &later["listed"][0]["days_over"]), (&json!(1), &json!(2)));
    assert_eq!(later["accidents"][0]["late"], json!(true));
    assert_eq!(measure(&later, HERE, "listed_over"), json!([1, 1, 1, false]));
    assert_eq!(measure(&later, ELSEWHERE, "listed_over"), json!([0, 1, null, false]));
    assert_eq!(measure(&later, HERE, "dangers_overdue"), json!([1, 1, 1, false]));
    // The last day of its limit is in time.
    assert_eq!(later["counts"]["dangers_overdue"], json!(1));

    // A county sees its own, by its towns; of the other nothing.
    let county = w.node.person("county", json!([{"role": "supervisor", "region": ELSEWHERE}])).await;
    let there = w.get(&county, "/api/v1/leaders").await;
    assert_eq!((&there["region"], &there["counts"]["listed"], &there["counts"]["red_alarms"]), (&json!(ELSEWHERE), &json!(1), &json!(0)));
    assert_eq!((&there["counts"]["deaths"], &there["plans"]), (&json!(0), &json!([])), "a plan is shown to who sees its whole territory");
    assert!(there["divisions"].as_array().unwrap().iter().all(|one| one["code"].as_str().unwrap().starts_with(ELSEWHERE)));
    let asked = w.get(&county, &format!("/api/v1/leaders?region={HERE}")).await;
    assert_eq!((&asked["counts"]["listed"], &asked["counts"]["hazards"], &asked["divisions"]), (&json!(0), &json!(0), &json!([])));
    // What is registered at the county itself is of no town, and is told beside them.
    let of_county = there["rest"].as_array().unwrap().iter().find(|one| one["criterion"] == "dangers_overdue").unwrap();
    assert_eq!((&of_county["of"], &of_county["rank"]), (&json!(1), &json!(null)));
    assert!(later["rest"].as_array().unwrap().iter().all(|one| one["n"] == 0), "in the city every row is a county's");
    // An enterprise sees its rows, and no rank of a territory of which it sees a part.
    let own = w.get(&manager, "/api/v1/leaders").await;
    assert_eq!((&own["counts"]["listed"], &own["divisions"]), (&json!(1), &json!([])));
}

#[tokio::test]
async fn targets_off_their_path_or_missed_are_there_with_value_and_reason_on_a_day() {
    let w = world().await;
    let facts = include_str!("../../../packs/demo/plan_facts.csv");
    anlan_app::plan::demonstrate(&w.node.app, "yuxi-12th", facts, include_str!("../../../packs/demo/plan_supplement.toml")).await.unwrap();
    let page = w.get(&w.leader, "/api/v1/leaders?as_of=2013-12-31").await;
    let plan = w.get(&w.leader, "/api/v1/plans/yuxi-12th?as_of=2013-12-31").await;
    let counts = &page["plans"][0]["counts"];
    assert_eq!(*counts, plan["counts"]);
    let told = page["plans"][0]["targets"].as_array().unwrap();
    let is_red = |target: &&Value| target["state"] == "missed" || target["state"] == "off_path";
    assert_eq!(told.len(), plan["targets"].as_array().unwrap().iter().filter(is_red).count());
    assert!(!told.is_empty() && told.iter().all(|target| is_red(&target) && target["reason"]["code"].is_string() && target["owner"] != ""));
    assert_eq!((&page["as_of"], &page["today"]), (&json!("2013-12-31"), &json!("2026-11-23")));
    let refused = ask(&w.node.router, "GET", "/api/v1/leaders?as_of=2999-01-01", Some(&w.leader), None).await;
    assert_eq!(refused.refused(400), [("fact.future".into(), "as_of".into())]);
}

#[tokio::test]
async fn a_source_is_counted_of_its_register_from_its_first_record_on_and_what_was_recorded_stands_beside() {
    let w = world().await;
    let record = |facts: Value| ask(&w.node.router, "POST", "/api/v1/facts", Some(&w.supervisor), Some(json!({ "facts": facts })));
    let fact = |source: &str, value: &str| json!({"source": source, "on": "2026-11-22", "known_on": "2026-11-22", "region": "5304", "value": value});
    record(json!([fact("listed", "9"), fact("listed_closed", "6")])).await.ok(201);
    let rate = async |day: &str, region: &str| {
        let path = format!("/api/v1/indicators/listed_closure_rate?region={region}&as_of={day}");
        let told = w.get(&w.leader, &path).await["series"].as_array().unwrap().last().unwrap().clone();
        json!([told["value"], told["counted"], told["reason"]["code"]])
    };
    assert_eq!(rate("2026-11-23", "5304").await, json!([0.6667, false, null]));
    w.listed("E1", HERE, "2026-11-25").await;
    w.listed("E2", ELSEWHERE, "2026-12-20").await;
    // Two are listed and none is closed: the register is the number, and nobody adds the nine.
    assert_eq!(rate("2026-11-23", "5304").await, json!([0, true, null]));
    assert_eq!(rate("2026-11-22", "5304").await, json!([0.6667, false, null]), "what was said of the day before stays");
    assert_eq!(rate("2026-11-23", "530424").await, json!([null, false, "no_data"]), "a county without a record, and without a row");
    let figure = async |day: &str| {
        let path = format!("/api/v1/indicators/listed_closure_rate/figure?region=5304{day}");
        w.get(&w.leader, &path).await["figure"].clone()
    };
    let first = figure("").await;
    let made = first["counted"].as_array().unwrap();
    assert_eq!(made.iter().map(|one| one["source"].as_str().unwrap()).collect::<Vec<_>>(), ["listed_closed", "listed"]);
    assert_eq!((&made[1]["register"], &made[1]["since"]), (&json!("listed_supervision"), &json!("2026-11-23")));
    assert_eq!((&made[1]["beside"]["value"], &made[1]["beside"]["on"]), (&json!(9), &json!("2026-11-22")));
    // A change of a record is seen at once, and yesterday stays what it was.
    w.days_pass(1).await;
    let (_, _, third) = w.listed("E3", HERE, "2026-12-20").await;
    let now = figure("").await;
    let rows = now["rows_below"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    let last = rows.last().unwrap();
    assert_eq!(json!([last["record"], last["register"], last["on"]]), json!([third, "listed_supervision", "2026-11-24"]));
    let before = figure("&as_of=2026-11-23").await;
    assert_eq!(before["rows_below"].as_array().unwrap().len(), 2);
    let definitions = w.get(&w.leader, "/api/v1/indicators").await;
    let listed = definitions["sources"].as_array().unwrap().iter().find(|source| source["id"] == "listed").unwrap();
    assert_eq!((&listed["register"], listed["register_note"].is_string()), (&json!("listed_supervision"), true));
}
