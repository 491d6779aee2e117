//! Signing in with a second factor, asked as an authenticator would: its codes are reckoned here from what the API tells.

mod common;

use anlan_model::Clock as _;
use common::{Answer, Node, PASSWORD, ask, node, text};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha1::Sha1;

/// The code of a step, by RFC 6238, from the secret as told.
fn code(secret: &str, step: u64) -> String {
    let bits: String =
        secret.bytes().map(|c| format!("{:05b}", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".iter().position(|a| *a == c).unwrap())).collect();
    let key: Vec<u8> = bits.as_bytes().chunks_exact(8).map(|b| u8::from_str_radix(std::str::from_utf8(b).unwrap(), 2).unwrap()).collect();
    let mut mac = Hmac::<Sha1>::new_from_slice(&key).unwrap();
    mac.update(&step.to_be_bytes());
    let hash = mac.finalize().into_bytes();
    let at = usize::from(hash[19] & 0xf);
    format!("{:06}", (u32::from_be_bytes(hash[at..at + 4].try_into().unwrap()) & 0x7fff_ffff) % 1_000_000)
}

/// Now. A test takes this step and the next: both stay good if a step passes meanwhile.
fn step() -> u64 {
    // Real time, as an authenticator has it.
    u64::try_from(anlan_app::clock::AppClock::real().now().micros()).unwrap() / 30_000_000
}

/// Six digits that are no code of the steps around.
fn wrong(secret: &str) -> String {
    let near: Vec<String> = (step() - 2..step() + 5).map(|s| code(secret, s)).collect();
    (0..).map(|n| format!("{n:06}")).find(|c| !near.contains(c)).unwrap()
}

struct Person<'a> {
    node: &'a Node,
    name: &'a str,
    token: String,
    secret: String,
    recovery: Vec<String>,
    step: u64,
}

async fn sign_in(node: &Node, name: &str, code: Option<&str>) -> Answer {
    let body = json!({"username": name, "password": PASSWORD, "code": code});
    ask(&node.router, "POST", "/api/v1/session", None, Some(body)).await
}

/// Somebody whose second factor is on.
async fn secured<'a>(node: &'a Node, name: &'a str, grants: Value) -> Person<'a> {
    let token = node.person(name, grants).await;
    let begun = ask(&node.router, "POST", "/api/v1/session/totp", Some(&token), Some(json!({"password": PASSWORD}))).await.ok(200);
    let (secret, step) = (text(&begun["secret"]), step());
    let made =
        ask(&node.router, "POST", "/api/v1/session/totp/confirm", Some(&token), Some(json!({"code": code(&secret, step)}))).await.ok(200);
    let recovery = made["recovery_codes"].as_array().unwrap().iter().map(text).collect();
    Person { node, name, token, secret, recovery, step }
}

impl Person<'_> {
    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        ask(&self.node.router, method, path, Some(&self.token), body).await
    }
    async fn sign_in(&self, code: Option<&str>) -> Answer {
        sign_in(self.node, self.name, code).await
    }
}

fn leader() -> Value {
    json!([{"role": "leader", "region": common::HERE}])
}

#[tokio::test]
async fn a_second_factor_from_its_beginning_to_its_end() {
    let node = node().await;
    let token = node.person("wang", leader()).await;
    let own = async |method: &str, path: &str, body: Value| ask(&node.router, method, path, Some(&token), Some(body)).await;
    assert_eq!(own("POST", "/api/v1/session/totp", json!({"password": "wrong password"})).await.code(403), "sign_in.wrong");
    assert_eq!(own("POST", "/api/v1/session/totp/confirm", json!({"code": "123456"})).await.code(409), "second_factor.not_begun");
    assert_eq!(own("DELETE", "/api/v1/session/totp", json!({"password": PASSWORD, "code": "123456"})).await.code(409), "second_factor.off");
    let begun = own("POST", "/api/v1/session/totp", json!({"password": PASSWORD})).await.ok(200);
    let secret = text(&begun["secret"]);
    assert_eq!(secret.len(), 32);
    let uri = format!("otpauth://totp/%E5%AE%89%E6%BE%9C:wang?secret={secret}&issuer=%E5%AE%89%E6%BE%9C&algorithm=SHA1&digits=6&period=30");
    assert_eq!(begun["uri"], uri);

    // Begun is not on: whoever stops here is not locked out.
    let elsewhere = text(&sign_in(&node, "wang", None).await.ok(201)["token"]);
    assert_eq!(
        own("POST", "/api/v1/session/totp/confirm", json!({"code": wrong(&secret)})).await.refused(400),
        [("second_factor.code".into(), "code".into())]
    );
    let step = step();
    let made = own("POST", "/api/v1/session/totp/confirm", json!({"code": code(&secret, step)})).await.ok(200);
    let recovery: std::collections::BTreeSet<String> = made["recovery_codes"].as_array().unwrap().iter().map(text).collect();
    assert_eq!(recovery.len(), 10);
    assert_eq!(
        ask(&node.router, "GET", "/api/v1/session", Some(&elsewhere), None).await.code(401),
        "session.none",
        "sessions of before have ended"
    );
    let me = ask(&node.router, "GET", "/api/v1/session", Some(&token), None).await.ok(200);
    assert_eq!((&me["second_factor"], &me["recovery_codes"]), (&json!(true), &json!(10)));
    assert_eq!(own("POST", "/api/v1/session/totp", json!({"password": PASSWORD})).await.code(409), "second_factor.on");

    // Password alone, a code that was taken, a good one, the same again.
    assert_eq!(sign_in(&node, "wang", None).await.code(401), "sign_in.code_needed");
    assert_eq!(sign_in(&node, "wang", Some("")).await.code(401), "sign_in.code_needed");
    assert_eq!(
        sign_in(&node, "wang", Some(&code(&secret, step))).await.code(401),
        "sign_in.code_wrong",
        "the code that switched it on is spent"
    );
    let next = code(&secret, step + 1);
    let spaced = format!(" {} {} ", &next[..3], &next[3..]);
    sign_in(&node, "wang", Some(&spaced)).await.ok(201);
    assert_eq!(sign_in(&node, "wang", Some(&next)).await.code(401), "sign_in.code_wrong");

    // A recovery code, typed as people type.
    let mut codes = recovery.iter();
    let (first, second) = (codes.next().unwrap(), codes.next().unwrap());
    sign_in(&node, "wang", Some(&first.to_lowercase().replace('-', " "))).await.ok(201);
    assert_eq!(sign_in(&node, "wang", Some(first)).await.code(401), "sign_in.code_wrong");
    let me = ask(&node.router, "GET", "/api/v1/session", Some(&token), None).await.ok(200);
    assert_eq!(me["recovery_codes"], 9);
    // After idleness the password is enough: the session itself was begun with both.
    own("POST", "/api/v1/session/reauth", json!({"password": PASSWORD})).await.ok(204);

    assert_eq!(
        own("DELETE", "/api/v1/session/totp", json!({"password": "wrong password", "code": second})).await.code(403),
        "sign_in.wrong"
    );
    assert_eq!(own("DELETE", "/api/v1/session/totp", json!({"password": PASSWORD, "code": next})).await.code(403), "sign_in.code_wrong");
    own("DELETE", "/api/v1/session/totp", json!({"password": PASSWORD, "code": second})).await.ok(204);
    sign_in(&node, "wang", None).await.ok(201);

    let audit = node.get("/api/v1/audit?noun=user").await;
    let words: Vec<&str> = audit["entries"].as_array().unwrap().iter().filter_map(|e| e["action"].as_str()).collect();
    assert!(words.contains(&"second_factor_on") && words.contains(&"second_factor_off"), "{words:?}");
    let all = audit.to_string();
    assert!(all.contains("password_and_recovery_code") && !all.contains(&secret) && !all.contains(second.as_str()));
    assert!(node.app.store.verify_audit(None).await.unwrap().complete);
}

#[tokio::test]
async fn guessing_codes_gets_slower_and_the_password_alone_forgives_nothing() {
    let node = node().await;
    let person = secured(&node, "wang", leader()).await;
    for _ in 0..3 {
        assert_eq!(person.sign_in(Some(&wrong(&person.secret))).await.code(401), "sign_in.code_wrong");
        // At a known desk three tries are free; a right password between two of them is no new beginning.
        if person.sign_in(None).await.status == 429 {
            break;
        }
    }
    let slow = person.sign_in(Some(&code(&person.secret, person.step + 1))).await;
    assert_eq!(slow.code(429), "sign_in.slow_down", "not even the right code is looked at");
    assert!(slow.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn an_administrator_of_the_territory_resets_it_for_others_only() {
    let node = node().await;
    let wang = secured(&node, "wang", leader()).await;
    let local = secured(&node, "local", json!([{"role": "administrator", "region": common::HERE}])).await;
    let other = node.person("other", json!([{"role": "administrator", "region": common::ELSEWHERE}])).await;
    let users = node.get("/api/v1/users").await["users"].clone();
    let of = |name: &str| users.as_array().unwrap().iter().find(|u| u["username"] == name).unwrap().clone();
    assert_eq!((&of("wang")["second_factor"], &of("other")["second_factor"]), (&json!(true), &json!(false)));
    let path = |name: &str| format!("/api/v1/users/{}/totp/reset", text(&of(name)["id"]));
    assert_eq!(ask(&node.router, "POST", &path("wang"), Some(&other), Some(json!({}))).await.status, 404);
    assert_eq!(wang.ask("POST", &path("local"), Some(json!({}))).await.code(403), "permission.missing");
    assert_eq!(local.ask("POST", &path("local"), Some(json!({}))).await.code(403), "second_factor.own");

    local.ask("POST", &path("wang"), Some(json!({}))).await.ok(204);
    assert_eq!(wang.ask("GET", "/api/v1/session", None).await.code(401), "session.none");
    wang.sign_in(None).await.ok(201);
    assert!(node.app.store.second_factor(of("wang")["id"].as_str().unwrap().parse().unwrap()).await.unwrap().is_none());
    assert_eq!(wang.recovery.len(), 10);
    let audit = node.get("/api/v1/audit?noun=user").await;
    let entry = audit["entries"].as_array().unwrap().iter().find(|e| e["action"] == "second_factor_reset").unwrap().clone();
    assert_eq!((&entry["name"], &entry["subject"]), (&json!("local"), &of("wang")["id"]));
}

#[tokio::test]
async fn the_test_clock_moves_no_code() {
    let node = node().await;
    let person = secured(&node, "wang", leader()).await;
    node.app.clock.set(node.app.clock.now().plus_us(365 * 86_400 * 1_000_000)).unwrap().unwrap();
    person.sign_in(Some(&code(&person.secret, person.step + 1))).await.ok(201);
}
