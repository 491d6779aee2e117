//! Duty rotas over the API: who may be on duty, who is, who is not, and what one shift tells the next.

mod common;

use anlan_model::Timestamp;
use common::{ELSEWHERE, HERE, Node, ask, node, text};
use serde_json::{Value, json};

/// A county with a supervisor and three people at its desk.
struct World {
    node: Node,
    /// Token of the supervisor.
    lead: String,
    people: Vec<(String, String)>,
}

async fn world() -> World {
    let node = node().await;
    let lead = node.person("lead", json!([{"role": "supervisor", "region": HERE}])).await;
    let mut people = Vec::new();
    for name in ["zhao", "qian", "sun"] {
        let token = node.person(name, json!([{"role": "duty_officer", "region": HERE}])).await;
        people.push((id_of(&node, name).await, token));
    }
    World { node, lead, people }
}

async fn id_of(node: &Node, username: &str) -> String {
    let list = node.get("/api/v1/users?limit=1000").await;
    let user = list["users"].as_array().unwrap().iter().find(|u| u["username"] == username).unwrap();
    text(&user["id"])
}

impl World {
    async fn ask(&self, token: &str, method: &str, path: &str, body: Value) -> common::Answer {
        ask(&self.node.router, method, &format!("/api/v1/duty{path}"), Some(token), Some(body)).await
    }
    async fn get(&self, token: &str, path: &str) -> Value {
        ask(&self.node.router, "GET", &format!("/api/v1/duty{path}"), Some(token), None).await.ok(200)
    }
    /// Three people in turn, day and night, from a day to a day.
    async fn rota(&self, first: &str, last: &str) -> common::Answer {
        let people: Vec<Value> = self.people.iter().map(|(id, _)| json!({"user": id})).collect();
        let parts = json!([{"from": "08:00", "to": "20:00"}, {"from": "20:00", "to": "08:00"}]);
        let body = json!({"region": HERE, "desk": "watch", "people": people, "parts": parts, "first_day": first, "last_day": last, "phone": "0877-2021234"});
        self.ask(&self.lead, "POST", "/patterns", body).await
    }
    fn set(&self, at: &str) {
        self.node.app.clock.set(Timestamp::parse(at).unwrap()).unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_pattern_fills_days_and_nights_and_what_it_leaves_open_is_told_before_it_comes() {
    let w = world().await;
    // The test node begins on 2026-11-23 at 08:00 in Beijing.
    assert_eq!(w.get(&w.lead, "/now").await["desks"], json!([]), "a desk without a rota lacks nobody");
    assert_eq!(w.rota("2026-11-24", "2026-11-30").await.ok(201)["shifts"], 14);
    let shifts = w.get(&w.lead, "/shifts").await["shifts"].as_array().unwrap().clone();
    let who: Vec<String> = shifts.iter().take(4).map(|s| text(&s["user_name"])).collect();
    assert_eq!(who, ["zhao", "qian", "sun", "zhao"]);
    assert_eq!(shifts[1]["from"], "2026-11-24T12:00:00.000000Z");
    let now = w.get(&w.lead, "/now").await;
    let gaps = &now["desks"][0]["gaps"];
    assert_eq!(gaps[0]["to"], "2026-11-24T00:00:00.000000Z", "{now}");
    assert_eq!(gaps[1]["from"], "2026-12-01T00:00:00.000000Z", "the rota ends, and that is seen a week before");
    assert_eq!((gaps.as_array().unwrap().len(), &now["desks"][0]["on"]), (2, &json!([])));
    w.set("2026-11-24T12:30:00Z");
    let now = w.get(&w.lead, "/now").await;
    assert_eq!(now["desks"][0]["on"][0]["user_name"], "qian");
    assert_eq!(now["desks"][0]["on"][0]["phone"], "0877-2021234");
    assert_eq!(now["desks"][0]["next"]["user_name"], "sun");
    // The same again overlaps, and nothing of it stays.
    let again = w.rota("2026-11-30", "2026-12-02").await;
    assert_eq!(again.code(409), "duty.overlap");
    let told = text(&again.body["errors"][0]["detail"]);
    assert!(told.contains("zhao") && told.contains("2026-11-30 08:00"), "{told}");
    assert_eq!(w.get(&w.lead, "/shifts").await["shifts"].as_array().unwrap().len(), 14);
}

#[tokio::test]
async fn nobody_is_named_without_a_grant_or_twice_at_a_time() {
    let w = world().await;
    let stranger = w.node.person("stranger", json!([{"role": "duty_officer", "region": ELSEWHERE}])).await;
    let outside = id_of(&w.node, "stranger").await;
    let wall = w.node.person("wall", json!([{"role": "screen", "region": HERE}])).await;
    let wall_id = id_of(&w.node, "wall").await;
    let zhao = w.people[0].0.clone();
    let shift = |user: &str, from: &str, to: &str| json!({"region": HERE, "desk": "leader", "user": user, "from": from, "to": to});
    let (from, to) = ("2026-11-25T00:00:00Z", "2026-11-25T12:00:00Z");
    let refused = async |body: Value, status: u16, code: &str, field: &str| {
        let answer = w.ask(&w.lead, "POST", "/shifts", body).await;
        assert_eq!(answer.refused(status), [(code.to_owned(), field.to_owned())]);
        assert!(!answer.body.to_string().contains("stranger"), "whose names there are elsewhere: {}", answer.body);
    };
    refused(shift(&outside, from, to), 400, "duty.no_grant", "user").await;
    refused(shift(&wall_id, from, to), 400, "duty.no_grant", "user").await;
    refused(shift("999", from, to), 400, "duty.no_grant", "user").await;
    refused(shift(&zhao, to, from), 400, "period.order", "to").await;
    refused(shift(&zhao, from, "2027-11-25T12:00:00Z"), 400, "duty.shift_too_long", "to").await;
    refused(shift(&zhao, "2026-11-22T00:00:00Z", "2026-11-22T08:00:00Z"), 400, "duty.past", "reason").await;
    let mut twice = shift(&zhao, from, to);
    twice["second"] = json!(zhao);
    refused(twice, 400, "duty.twice", "second").await;
    let mut desk = shift(&zhao, from, to);
    desk["desk"] = json!("kitchen");
    refused(desk, 400, "word.unknown", "desk").await;
    let made = w.ask(&w.lead, "POST", "/shifts", shift(&zhao, from, to)).await.ok(201);
    refused(shift(&zhao, "2026-11-25T11:59:59Z", "2026-11-25T20:00:00Z"), 409, "duty.overlap", "user").await;
    // As second person just the same, and where one ends the other may begin.
    let mut second = shift(&w.people[1].0, "2026-11-25T10:00:00Z", "2026-11-25T20:00:00Z");
    second["second"] = json!(zhao);
    refused(second, 409, "duty.overlap", "user").await;
    let after = w.ask(&w.lead, "POST", "/shifts", shift(&zhao, to, "2026-11-25T20:00:00Z")).await.ok(201);
    assert_eq!(after["revision"], 1);
    // Who may see the rota may not change it; who is elsewhere does not even see it.
    let body = json!({"revision": 1, "note": "x"});
    let path = format!("/shifts/{}", text(&made["id"]));
    assert_eq!(w.ask(&w.people[0].1, "PATCH", &path, body.clone()).await.code(403), "permission.missing");
    assert_eq!(w.ask(&wall, "PATCH", &path, body.clone()).await.code(403), "permission.missing");
    assert_eq!(w.ask(&stranger, "PATCH", &path, body.clone()).await.code(404), "row.not_found");
    assert_eq!(w.get(&stranger, "/shifts").await["shifts"], json!([]));
    assert_eq!(w.ask(&w.lead, "PATCH", &path, body.clone()).await.ok(200)["note"], "x");
    assert_eq!(w.ask(&w.lead, "PATCH", &path, body).await.code(409), "revision.stale");
}

#[tokio::test]
async fn what_began_is_changed_with_a_reason_and_two_change_places() {
    let w = world().await;
    w.rota("2026-11-24", "2026-11-25").await.ok(201);
    let shifts = w.get(&w.lead, "/shifts").await["shifts"].as_array().unwrap().clone();
    let (one, two, three) = (text(&shifts[0]["id"]), text(&shifts[1]["id"]), text(&shifts[2]["id"]));
    w.ask(&w.lead, "POST", &format!("/shifts/{one}/swap"), json!({"revision": 1, "with": two, "with_revision": 1})).await.ok(204);
    let who = async || {
        let shifts = w.get(&w.lead, "/shifts").await["shifts"].as_array().unwrap().clone();
        shifts.iter().map(|s| text(&s["user_name"])).collect::<Vec<_>>()
    };
    assert_eq!(who().await, ["qian", "zhao", "sun", "zhao"]);
    let stale = w.ask(&w.lead, "POST", &format!("/shifts/{one}/swap"), json!({"revision": 1, "with": three, "with_revision": 1})).await;
    assert_eq!(stale.code(409), "revision.stale");
    assert_eq!(who().await, ["qian", "zhao", "sun", "zhao"], "nothing half done");
    w.set("2026-11-24T13:00:00Z");
    let path = format!("/shifts/{two}");
    let change = json!({"revision": 2, "user": w.people[2].0});
    assert_eq!(w.ask(&w.lead, "PATCH", &path, change.clone()).await.refused(400), [("duty.past".into(), "reason".into())]);
    let mut change = change;
    change["reason"] = json!("赵某临时外出");
    assert_eq!(w.ask(&w.lead, "PATCH", &path, change).await.ok(200)["user_name"], "sun");
    let removed = w.ask(&w.lead, "POST", &format!("/shifts/{three}/remove"), json!({"revision": 1})).await;
    assert_eq!(removed.status, 204);
    assert_eq!(w.get(&w.lead, "/shifts").await["shifts"].as_array().unwrap().len(), 3);
    let audit = w.node.get("/api/v1/audit?noun=duty_shift").await;
    let actions: Vec<String> = audit["entries"].as_array().unwrap().iter().map(|e| text(&e["action"])).collect();
    assert_eq!(actions.iter().filter(|a| *a == "create").count(), 4);
    assert!(w.node.app.store.verify_audit(None).await.unwrap().complete);
}

#[tokio::test]
async fn the_next_shift_confirms_what_the_one_before_says() {
    let w = world().await;
    let enterprise = w.node.enterprise("E1", HERE).await;
    let device = w.node.device("D1", Some(&enterprise)).await;
    w.node.point(&device, "GT-101").await;
    w.node.reading(&device, "GT-101", 30.0).await;
    w.rota("2026-11-24", "2026-11-25").await.ok(201);
    let shifts = w.get(&w.lead, "/shifts").await["shifts"].as_array().unwrap().clone();
    let first = text(&shifts[0]["id"]);
    let (zhao, qian, sun) = (&w.people[0].1, &w.people[1].1, &w.people[2].1);
    let path = format!("/shifts/{first}/handover");
    let words = json!({"text": "GT-101 仍在报警，企业正在处置。"});
    assert_eq!(w.ask(zhao, "PUT", &path, words.clone()).await.code(409), "duty.not_begun");
    w.set("2026-11-24T11:30:00Z");
    assert_eq!(w.ask(qian, "PUT", &path, words.clone()).await.code(403), "duty.not_yours");
    let written = w.ask(zhao, "PUT", &path, words.clone()).await.ok(200);
    assert!(written["handover"]["open_alarms"].as_i64() >= Some(1), "{written}");
    assert_eq!(written["handover"]["alarms"][0]["enterprise_name"], "企业E1");
    assert_eq!(w.ask(zhao, "PUT", &path, words.clone()).await.code(409), "revision.stale", "what was written meanwhile is read first");
    w.ask(zhao, "PUT", &path, json!({"text": "已恢复。", "revision": 1})).await.ok(200);
    let confirm = format!("{path}/confirm");
    assert_eq!(w.ask(zhao, "POST", &confirm, json!({"revision": 2})).await.code(403), "duty.not_next");
    assert_eq!(w.ask(sun, "POST", &confirm, json!({"revision": 2})).await.code(403), "duty.not_next", "tomorrow is not next");
    assert_eq!(w.ask(qian, "POST", &confirm, json!({"revision": 1})).await.code(409), "revision.stale", "not what they read");
    let unread = w.get(&w.lead, "/now").await["desks"][0]["unread"].as_array().unwrap().len();
    assert_eq!(unread, 1);
    let read = w.ask(qian, "POST", &confirm, json!({"revision": 2})).await.ok(200);
    assert_eq!(read["handover"]["confirmed_by_name"], "qian");
    assert_eq!(w.get(&w.lead, "/now").await["desks"][0]["unread"], json!([]));
    assert_eq!(w.ask(zhao, "PUT", &path, json!({"text": "x", "revision": 3})).await.code(409), "duty.confirmed");
    assert!(w.node.app.store.verify_audit(None).await.unwrap().complete);
}

#[tokio::test]
async fn who_is_called_is_the_nearest_desk_with_somebody_at_it() {
    let w = world().await;
    let boss = w.node.person("boss", json!([{"role": "leader", "region": "5304"}])).await;
    let boss_id = id_of(&w.node, "boss").await;
    let body = json!({"region": "5304", "desk": "leader", "user": boss_id, "from": "2026-11-24T00:00:00Z", "to": "2026-11-28T00:00:00Z", "phone": "1"});
    w.node.admin("POST", "/api/v1/duty/shifts", body).await.ok(201);
    w.rota("2026-11-24", "2026-11-24").await.ok(201);
    let near = async |at: &str| {
        let now = w.get(&boss, &format!("/now?near={at}")).await;
        now["desks"].as_array().unwrap().iter().map(|d| text(&d["region"])).collect::<Vec<_>>()
    };
    w.set("2026-11-24T01:00:00Z");
    assert_eq!(near(HERE).await, [HERE]);
    assert_eq!(near(ELSEWHERE).await, ["5304"]);
    // The county's rota is over: its supervisor sees no desk above, the city's leader does.
    w.set("2026-11-26T01:00:00Z");
    assert_eq!(near(HERE).await, ["5304"]);
    assert_eq!(w.get(&w.lead, &format!("/now?near={HERE}")).await["desks"], json!([]));
}
