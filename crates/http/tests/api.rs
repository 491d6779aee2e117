//! What the API promises: setup once, sessions, refusals with a field, revisions, and the way of one reading to an alarm.

mod common;

use anlan_model::Clock as _;
use axum::body::Body;
use axum::http::Request;
use common::{ELSEWHERE, HERE, Node, PASSWORD, ask, node, node_with, send, settings, text};
use serde_json::{Value, json};

#[tokio::test]
async fn setup_makes_one_administrator_and_then_never_again() {
    let directory = tempfile::tempdir().unwrap();
    let (running, router) = common::open(directory.path(), settings()).await;
    assert_eq!(ask(&router, "GET", "/api/v1/status", None, None).await.ok(200)["setup_needed"], true);
    let first = anlan_app::access::ensure_setup_link(&running.app).await.unwrap().unwrap();
    let token = anlan_app::access::ensure_setup_link(&running.app).await.unwrap().unwrap();
    let setup = |token: &str, password: &str| {
        let body = json!({"token": token, "username": "admin", "password": password});
        let router = router.clone();
        async move { ask(&router, "POST", "/api/v1/setup", None, Some(body)).await }
    };
    assert_eq!(setup(&first, PASSWORD).await.code(403), "setup.token", "a newer link voids the older one");
    assert_eq!(setup(&token, "short").await.refused(400), [("password.too_short".to_owned(), "password".to_owned())]);
    let made = setup(&token, PASSWORD).await;
    assert!(made.headers["set-cookie"].to_str().unwrap().starts_with("anlan_session="), "{:?}", made.headers);
    made.ok(201);
    assert_eq!(setup(&token, PASSWORD).await.code(409), "setup.done");
    assert_eq!(anlan_app::access::ensure_setup_link(&running.app).await.unwrap(), None);
    assert_eq!(ask(&router, "GET", "/api/v1/status", None, None).await.ok(200)["setup_needed"], false);
}

#[tokio::test]
async fn a_session_begins_with_the_password_and_ends_for_good() {
    let node = node().await;
    let wrong = json!({"username": "admin", "password": "wrong wrong wrong"});
    assert_eq!(ask(&node.router, "POST", "/api/v1/session", None, Some(wrong)).await.code(401), "sign_in.wrong");
    let stranger = json!({"username": "nobody", "password": PASSWORD});
    assert_eq!(
        ask(&node.router, "POST", "/api/v1/session", None, Some(stranger)).await.code(401),
        "sign_in.wrong",
        "no hint whether the name exists"
    );

    let token = node.sign_in("admin").await;
    let session = ask(&node.router, "GET", "/api/v1/session", Some(&token), None).await.ok(200);
    assert_eq!((session["user"]["username"].as_str(), session["idle"].as_bool()), (Some("admin"), Some(false)));
    assert!(session["user"]["permissions"].as_array().unwrap().contains(&json!("manage_users")));
    assert_eq!(ask(&node.router, "DELETE", "/api/v1/session", Some(&token), None).await.status, 204);
    assert_eq!(ask(&node.router, "GET", "/api/v1/session", Some(&token), None).await.code(401), "session.none");
    assert_eq!(node.get("/api/v1/session").await["user"]["username"], "admin", "other sessions go on");
}

#[tokio::test]
async fn guessing_gets_slower_while_a_session_goes_on() {
    let node = node().await;
    node.person("wang", json!([{"role": "leader"}])).await;
    let guess = json!({"username": "admin", "password": "guess guess guess"});
    let mut codes = Vec::new();
    for _ in 0..5 {
        let answer = ask(&node.router, "POST", "/api/v1/session", None, Some(guess.clone())).await;
        codes.push(answer.status.as_u16());
        if answer.status == 429 {
            assert_eq!(answer.code(429), "sign_in.slow_down");
            assert!(answer.headers.contains_key("retry-after"));
        }
    }
    assert_eq!(codes, [401, 401, 401, 429, 429]);
    node.get("/api/v1/session").await;
    node.sign_in("wang").await;
}

#[tokio::test]
async fn a_cookie_needs_the_csrf_token_to_act_and_nothing_to_read() {
    let node = node().await;
    let session = node.get("/api/v1/session").await;
    let request = |method: &str, path: &str, csrf: Option<&str>, body: Option<Value>| {
        let mut request = Request::builder().method(method).uri(path).header("cookie", format!("theme=dark; anlan_session={}", node.admin));
        if let Some(csrf) = csrf {
            request = request.header("x-csrf-token", csrf);
        }
        request.header("content-type", "application/json").body(body.map_or(Body::empty(), |b| Body::from(b.to_string()))).unwrap()
    };
    let body = || Some(json!({"code": "E1", "name": "甲", "region": HERE, "sector": "gas"}));
    send(&node.router, request("GET", "/api/v1/enterprises", None, None)).await.ok(200);
    assert_eq!(send(&node.router, request("POST", "/api/v1/enterprises", None, body())).await.code(403), "csrf.missing");
    assert_eq!(send(&node.router, request("POST", "/api/v1/enterprises", Some("guess"), body())).await.code(403), "csrf.missing");
    let csrf = text(&session["csrf"]);
    send(&node.router, request("POST", "/api/v1/enterprises", Some(&csrf), body())).await.ok(201);
}

#[tokio::test]
async fn an_idle_session_reads_on_and_acts_after_the_password() {
    let mut settings = settings();
    // Everything lies longer ago than this, so every session is idle at once.
    settings.access.idle_s = -1;
    let node = node_with(settings).await;
    assert_eq!(node.get("/api/v1/session").await["idle"], true);
    node.get("/api/v1/alarms").await;
    let body = json!({"code": "E1", "name": "甲", "region": HERE, "sector": "gas"});
    assert_eq!(node.admin("POST", "/api/v1/enterprises", body).await.code(401), "session.idle");
    assert_eq!(node.admin("POST", "/api/v1/session/reauth", json!({"password": "wrong wrong wrong"})).await.code(403), "sign_in.wrong");
    assert_eq!(node.admin("POST", "/api/v1/session/reauth", json!({"password": PASSWORD})).await.status, 204);
    assert_eq!(ask(&node.router, "DELETE", "/api/v1/session", Some(&node.admin), None).await.status, 204, "leaving needs no password");
}

#[tokio::test]
async fn a_forced_sign_out_and_a_new_password_end_every_session() {
    let node = node().await;
    let token = node.person("wang", json!([{"role": "duty_officer", "region": HERE}])).await;
    let users = node.get("/api/v1/users").await;
    let wang = users["users"].as_array().unwrap().iter().find(|u| u["username"] == "wang").unwrap().clone();
    assert_eq!(node.admin("POST", &format!("/api/v1/users/{}/sign-out", text(&wang["id"])), json!({})).await.status, 204);
    assert_eq!(ask(&node.router, "GET", "/api/v1/alarms", Some(&token), None).await.code(401), "session.none");
    let token = node.sign_in("wang").await;
    let change = json!({"revision": wang["revision"], "password": "another long password"});
    node.admin("PATCH", &format!("/api/v1/users/{}", text(&wang["id"])), change).await.ok(200);
    assert_eq!(ask(&node.router, "GET", "/api/v1/alarms", Some(&token), None).await.code(401), "session.none");
}

/// Sends `body` and compares codes and fields of the refusal.
async fn check(node: &Node, method: &str, path: &str, body: Value, want: &[(&str, &str)]) {
    let answer = node.admin(method, path, body.clone()).await;
    let got = answer.refused(400);
    let got: Vec<(&str, &str)> = got.iter().map(|(c, f)| (c.as_str(), f.as_str())).collect();
    assert_eq!(got, want, "{method} {path} {body}");
}

#[tokio::test]
async fn refusals_name_the_field_by_its_path() {
    let node = node().await;
    let enterprise = |changes: Value| {
        let mut body = json!({"code": "E1", "name": "甲", "region": HERE, "sector": "gas"});
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        body
    };
    let path = "/api/v1/enterprises";
    check(&node, "POST", path, json!({"code": "E1"}), &[("field.missing", "name")]).await;
    check(&node, "POST", path, enterprise(json!({"colour": 1})), &[("field.unknown", "colour")]).await;
    check(&node, "POST", path, enterprise(json!({"code": 7})), &[("field.wrong_type", "code")]).await;
    check(&node, "POST", path, enterprise(json!({"place": {"lon": "x", "lat": 1}})), &[("field.wrong_type", "place.lon")]).await;
    check(&node, "POST", path, enterprise(json!({"place": {"lon": 200, "lat": 1}})), &[("place.off_globe", "place")]).await;
    check(&node, "POST", path, enterprise(json!({"region": "999999"})), &[("region.unknown", "region")]).await;
    check(
        &node,
        "POST",
        path,
        enterprise(json!({"code": "a\u{200b}", "sector": "Gas!"})),
        &[("text.invisible", "code"), ("word.malformed", "sector")],
    )
    .await;
    let device = node.device("D1", None).await;
    let points = format!("/api/v1/devices/{device}/points");
    let point = |limits: Value| json!({"points": [{"code": "T", "name": "温度", "limits": limits, "limits_source": {"document": "d"}}]});
    check(&node, "PUT", &points, point(json!({"h": 5, "l": 9})), &[("limits.order", "points[0].limits.h")]).await;
    check(&node, "PUT", &points, point(json!({"on_delay_s": 90000})), &[("number.range", "points[0].limits.on_delay_s")]).await;
    check(&node, "PUT", &points, point(json!({"hhh": 1})), &[("field.unknown", "points[0].limits.hhh")]).await;
    let unsourced = json!({"points": [{"code": "T", "name": "温度", "limits": {"h": 5}}]});
    check(&node, "PUT", &points, unsourced, &[("limits.source_missing", "points[0].limits_source")]).await;
    check(&node, "POST", "/api/v1/devices", json!({"code": "a/b", "name": "x", "protocol": "mqtt"}), &[("code.separator", "code")]).await;
    check(
        &node,
        "POST",
        "/api/v1/devices",
        json!({"code": "D2", "name": "x", "protocol": "mqtt", "enterprise": 3}),
        &[("field.wrong_type", "enterprise")],
    )
    .await;
    check(
        &node,
        "POST",
        "/api/v1/devices",
        json!({"code": "D2", "name": "x", "protocol": "mqtt", "enterprise": "99"}),
        &[("reference.unknown", "enterprise")],
    )
    .await;
    for (query, want) in [
        ("limit=0", ("number.range", "limit")),
        ("limit=1001", ("number.range", "limit")),
        ("limit=ten", ("field.wrong_type", "limit")),
        ("cursor=nonsense", ("cursor.malformed", "cursor")),
        ("colour=red", ("query.unknown", "colour")),
        ("from=yesterday", ("time.malformed", "from")),
        ("level=red,pink", ("word.unknown", "level")),
        ("point=x", ("id.malformed", "point")),
    ] {
        let answer = ask(&node.router, "GET", &format!("/api/v1/alarms?{query}"), Some(&node.admin), None).await;
        assert_eq!(answer.refused(400), [(want.0.to_owned(), want.1.to_owned())], "{query}");
    }
    let form = Request::post("/api/v1/session")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from("username=a"))
        .unwrap();
    assert_eq!(send(&node.router, form).await.code(400), "body.not_json");
    let broken = Request::post("/api/v1/session").header("content-type", "application/json").body(Body::from("{")).unwrap();
    assert_eq!(send(&node.router, broken).await.code(400), "body.syntax");
    let long = Request::post("/api/v1/session").header("content-type", "application/json").body(Body::from(vec![b' '; 2 << 20])).unwrap();
    assert_eq!(send(&node.router, long).await.code(413), "body.too_large");
}

#[tokio::test]
async fn refusals_speak_the_callers_language() {
    let node = node().await;
    let detail = |language: &'static str| {
        let request = Request::get("/api/v1/alarms").header("accept-language", language).body(Body::empty()).unwrap();
        let router = node.router.clone();
        async move { text(&send(&router, request).await.body["errors"][0]["detail"]) }
    };
    assert_eq!(detail("en").await, "Sign in first.");
    assert_eq!(detail("zh-CN").await, "请先登录。");
    assert_eq!(detail("fr").await, "请先登录。");
}

#[tokio::test]
async fn a_change_needs_the_newest_revision() {
    let node = node().await;
    let id = node.enterprise("E1", HERE).await;
    let path = format!("/api/v1/enterprises/{id}");
    let read = node.get(&path).await;
    let changed = node.admin("PATCH", &path, json!({"revision": read["revision"], "name": "乙", "place": null})).await.ok(200);
    assert_eq!((changed["name"].as_str(), changed["place"].is_null()), (Some("乙"), true));
    let stale = node.admin("PATCH", &path, json!({"revision": read["revision"], "name": "丙"})).await;
    assert_eq!(stale.refused(409), [("revision.stale".to_owned(), "revision".to_owned())]);
    let twice = json!({"code": "E1", "name": "甲", "region": HERE, "sector": "gas"});
    assert_eq!(node.admin("POST", "/api/v1/enterprises", twice).await.refused(409), [("value.taken".to_owned(), "code".to_owned())]);
}

#[tokio::test]
async fn whoever_may_set_limits_only_sends_the_whole_form() {
    let node = node().await;
    let enterprise = node.enterprise("E1", HERE).await;
    let device = node.device("D1", Some(&enterprise)).await;
    let path = format!("/api/v1/points/{}", node.point(&device, "GT-101").await);
    let token = node.person("firm", json!([{"role": "safety_manager", "enterprise": enterprise}])).await;
    let form = |revision: i64, name: &str, high: f64| {
        let source = json!({"document": "设计文件", "clause": "3.2"});
        json!({"revision": revision, "name": name, "unit": "%LEL", "limits": {"h": high, "hh": 50}, "limits_source": source})
    };
    let renamed = ask(&node.router, "PATCH", &path, Some(&token), Some(form(1, "另一个名字", 20.0))).await;
    assert_eq!(renamed.code(403), "permission.missing");
    let changed = ask(&node.router, "PATCH", &path, Some(&token), Some(form(1, "可燃气体", 20.0))).await.ok(200);
    assert_eq!((changed["limits"]["h"].as_f64(), changed["revision"].as_i64()), (Some(20.0), Some(2)), "{changed}");
}

#[tokio::test]
async fn a_county_sees_and_changes_its_own_only() {
    let node = node().await;
    let (here, there) = (node.enterprise("E1", HERE).await, node.enterprise("E2", ELSEWHERE).await);
    let token = node.person("li", json!([{"role": "supervisor", "region": ELSEWHERE}])).await;
    let ask = |method: &'static str, path: String, body: Option<Value>| {
        let (router, token) = (node.router.clone(), token.clone());
        async move { ask(&router, method, &path, Some(&token), body).await }
    };
    let list = ask("GET", "/api/v1/enterprises".into(), None).await.ok(200);
    let ids: Vec<String> = list["enterprises"].as_array().unwrap().iter().map(|e| text(&e["id"])).collect();
    assert_eq!(ids, [there.as_str()]);
    assert_eq!(ask("GET", format!("/api/v1/enterprises/{here}"), None).await.code(404), "row.not_found");
    assert_eq!(
        ask("PATCH", format!("/api/v1/enterprises/{here}"), Some(json!({"revision": 1, "name": "x"}))).await.code(404),
        "row.not_found"
    );
    let move_away = json!({"revision": 1, "region": HERE});
    assert_eq!(ask("PATCH", format!("/api/v1/enterprises/{there}"), Some(move_away)).await.code(403), "scope.outside");
    let summary = ask("GET", "/api/v1/summary".into(), None).await.ok(200);
    assert_eq!((summary["counts"]["enterprises"].as_u64(), summary["links"].as_array().unwrap().len()), (Some(1), 0));
}

#[tokio::test]
async fn nobody_gives_away_more_than_they_have() {
    let node = node().await;
    let token = node.person("county", json!([{"role": "administrator", "region": HERE}])).await;
    let user = |grants: Value| json!({"username": "new", "name": "新", "password": PASSWORD, "grants": grants});
    for wider in [
        json!([{"role": "administrator"}]),
        json!([{"role": "leader", "region": "5304"}]),
        json!([{"role": "leader", "region": ELSEWHERE}]),
    ] {
        let answer = ask(&node.router, "POST", "/api/v1/users", Some(&token), Some(user(wider.clone()))).await;
        assert_eq!(answer.code(403), "scope.outside", "{wider}");
    }
    ask(&node.router, "POST", "/api/v1/users", Some(&token), Some(user(json!([{"role": "leader", "region": HERE}])))).await.ok(201);
    let admin = node.get("/api/v1/users").await["users"][0].clone();
    let change = json!({"revision": admin["revision"], "disabled": true});
    assert_eq!(node.admin("PATCH", &format!("/api/v1/users/{}", text(&admin["id"])), change).await.code(409), "user.last_administrator");
}

#[tokio::test]
async fn a_reading_becomes_an_alarm_that_is_acknowledged_returns_and_is_closed() {
    let node = node().await;
    let enterprise = node.enterprise("E1", HERE).await;
    let device = node.device("D1", Some(&enterprise)).await;
    let point = node.point(&device, "GT-101").await;
    node.reading(&device, "GT-101", 3.5).await;
    node.reading(&device, "GT-101", 30.25).await;

    let latest = node.get(&format!("/api/v1/points/latest?enterprise={enterprise}")).await;
    assert_eq!(latest["points"][0]["latest"]["value"], 30.25, "{latest}");
    assert_eq!(latest["points"][0]["latest"]["stale"], false);
    let readings = node.get(&format!("/api/v1/points/{point}/readings?limit=1")).await;
    assert_eq!(readings["readings"][0]["value"], 3.5);
    let rest = node.get(&format!("/api/v1/points/{point}/readings?limit=1&cursor={}", text(&readings["next"]))).await;
    assert_eq!((rest["readings"][0]["value"].as_f64(), rest["next"].is_null()), (Some(30.25), true));
    let rollup = node.get(&format!("/api/v1/points/{point}/rollup?step=1h")).await;
    assert_eq!((rollup["rollup"][0]["count"].as_u64(), rollup["rollup"][0]["max"].as_f64()), (Some(2), Some(30.25)));
    let columns = node.get(&format!("/api/v1/points/{point}/readings/columns?limit=1")).await;
    assert_eq!((&columns["value"], &columns["bad"], &columns["next"]), (&json!([3.5]), &json!([]), &readings["next"]), "{columns}");
    let columns = node.get(&format!("/api/v1/points/{point}/rollup/columns?step=1h")).await;
    assert_eq!((&columns["count"], &columns["max"]), (&json!([2]), &json!([30.25])), "{columns}");

    let list = node.get("/api/v1/alarms?state=raised").await;
    let alarm = &list["alarms"][0];
    assert_eq!(
        (alarm["kind"].as_str(), alarm["value"].as_f64(), alarm["threshold"].as_f64()),
        (Some("h"), Some(30.25), Some(25.0)),
        "{list}"
    );
    assert_eq!((alarm["point"].as_str(), alarm["source"].as_str()), (Some(point.as_str()), Some("GB/T 50493-2019 5.5.2")));
    assert_eq!(list["counts"]["raised"], 1);
    let path = format!("/api/v1/alarms/{}", text(&alarm["id"]));
    assert_eq!(node.get(&format!("/api/v1/enterprises/{enterprise}")).await["worst_level"], alarm["level"]);

    let duty = node.person("duty", json!([{"role": "duty_officer", "region": HERE}])).await;
    let act = |verb: &'static str, body: Value| {
        let (router, duty, path) = (node.router.clone(), duty.clone(), format!("{path}/{verb}"));
        async move { ask(&router, "POST", &path, Some(&duty), Some(body)).await }
    };
    let seen = act("acknowledge", json!({"note": "已派人"})).await.ok(200);
    assert_eq!(
        (seen["state"].as_str(), seen["acknowledged_by"].as_str(), seen["acknowledged_note"].as_str()),
        (Some("acknowledged"), Some("duty"), Some("已派人"))
    );
    let again = act("acknowledge", json!({"note": "第二次"})).await.ok(200);
    assert_eq!(again["acknowledged_note"], "已派人", "the first acknowledgement stays");
    assert_eq!(act("close", json!({"reason": "试"})).await.code(409), "alarm.still_standing");
    assert_eq!(act("close", json!({"reason": " "})).await.refused(400), [("text.empty".to_owned(), "reason".to_owned())]);

    node.reading(&device, "GT-101", 2.0).await;
    assert_eq!(node.get(&path).await["state"], "returned");
    assert_eq!(act("close", json!({"reason": "泄漏点已修复"})).await.ok(200)["state"], "closed");
    let audit = node.get("/api/v1/audit?noun=alarm").await;
    let actions: Vec<&str> = audit["entries"].as_array().unwrap().iter().filter_map(|e| e["action"].as_str()).collect();
    assert_eq!(actions, ["close", "acknowledge"]);
    let summary = node.get("/api/v1/summary").await;
    assert_eq!((summary["counts"]["points_online"].as_u64(), summary["counts"]["alarms_open"].as_u64()), (Some(1), Some(0)), "{summary}");
    assert_eq!(summary["alarms_24h"].as_array().unwrap().len(), 24);
}

#[tokio::test]
async fn a_device_gets_a_secret_once_and_a_new_one_on_request() {
    let node = node().await;
    let body = json!({"code": "D1", "name": "网关", "enterprise": null, "protocol": "mqtt", "gateway": true});
    let made = node.admin("POST", "/api/v1/devices", body).await.ok(201);
    let credentials = node.app.registry.credentials();
    let hash = |secret: &Value| -> [u8; 32] {
        sha2::Digest::finalize(sha2::Digest::chain_update(<sha2::Sha256 as sha2::Digest>::new(), text(secret))).into()
    };
    assert_eq!(credentials.load().devices["D1"].secret_hash, hash(&made["secret"]), "sockets know it when the answer comes");
    let renewed = node.admin("POST", &format!("/api/v1/devices/{}/secret", text(&made["id"])), json!({})).await.ok(200);
    assert_ne!(renewed["secret"], made["secret"]);
    assert_eq!(credentials.load().devices["D1"].secret_hash, hash(&renewed["secret"]));
    let read = node.get(&format!("/api/v1/devices/{}", text(&made["id"]))).await;
    assert!(read.get("secret").is_none() && !read.to_string().contains(&text(&renewed["secret"])));
}

#[tokio::test]
async fn the_test_clock_moves_forward_for_loopback_only() {
    let node = node().await;
    let before = node.app.clock.now();
    let moved = ask(&node.router, "POST", "/api/v1/test/clock", None, Some(json!({"advance_s": 3600}))).await.ok(200);
    assert!(moved["ran"].is_u64() && text(&moved["now"]) >= before.plus_us(3_600_000_000).to_string(), "{moved}");
    let back = json!({"set": before.to_string()});
    assert_eq!(ask(&node.router, "POST", "/api/v1/test/clock", None, Some(back)).await.code(409), "clock.backward");
    assert_eq!(ask(&node.router, "POST", "/api/v1/test/clock", None, Some(json!({}))).await.code(400), "clock.one_of");
    let mut stranger = Request::get("/api/v1/test/clock").body(Body::empty()).unwrap();
    let peer: std::net::SocketAddr = "192.0.2.7:1".parse().unwrap();
    stranger.extensions_mut().insert(axum::extract::ConnectInfo(peer));
    assert_eq!(send(&node.router, stranger).await.status, 404);
    // Through a proxy on this machine, or under a foreign name that points here: the body is not even read.
    for (name, value) in [("x-forwarded-for", "192.0.2.7"), ("forwarded", "for=x"), ("via", "1.1 p"), ("host", "evil.example:8080")] {
        let body = Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
        let relayed =
            Request::post("/api/v1/test/clock").header("content-type", "application/json").header(name, value).body(body).unwrap();
        assert_eq!(send(&node.router, relayed).await.status, 404, "{name}");
    }
    for host in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080"] {
        let direct = Request::get("/api/v1/test/clock").header("host", host).body(Body::empty()).unwrap();
        assert_eq!(send(&node.router, direct).await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn bodies_that_never_come_hold_back_only_their_own_address_and_not_for_long() {
    let node = node().await;
    let silent = |n: usize| -> Vec<_> {
        let one = |_| {
            let router = node.router.clone();
            tokio::spawn(async move {
                let body = Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
                let request = Request::post("/api/v1/session").header("content-type", "application/json").body(body).unwrap();
                send(&router, request).await
            })
        };
        (0..n).map(one).collect()
    };
    let mut slow = silent(32);
    tokio::task::yield_now().await;
    // 32 silent senders: signing in works, from the same address too.
    node.sign_in("admin").await;
    slow.extend(silent(32));
    tokio::task::yield_now().await;
    let long = json!({"username": "admin", "password": "x".repeat(20_000)});
    assert_eq!(ask(&node.router, "POST", "/api/v1/session", None, Some(long.clone())).await.code(503), "server.busy");
    let mut elsewhere =
        Request::post("/api/v1/session").header("content-type", "application/json").body(Body::from(long.to_string())).unwrap();
    elsewhere.extensions_mut().insert(axum::extract::ConnectInfo(std::net::SocketAddr::from(([192, 0, 2, 9], 1))));
    assert_eq!(send(&node.router, elsewhere).await.code(413), "body.too_large");
    assert_eq!(ask(&node.router, "GET", "/healthz", None, None).await.status, 200);
    node.get("/api/v1/alarms").await;
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(11)).await;
    tokio::time::resume();
    for answer in slow {
        assert_eq!(answer.await.unwrap().code(408), "body.too_slow");
    }
    assert_eq!(ask(&node.router, "POST", "/api/v1/session", None, Some(long)).await.code(413), "body.too_large");
    node.sign_in("admin").await;
}

#[tokio::test]
async fn metrics_are_told_to_this_machine_or_for_the_token() {
    let node = node().await;
    let options = |token: Option<&str>| anlan_http::HttpOptions {
        metrics: Some(std::sync::Arc::new(|| "anlan_up 1\n".to_owned())),
        metrics_token: token.map(str::to_owned),
        ..Default::default()
    };
    let check = async |token: Option<&str>, address: [u8; 4], header: Option<(&str, &str)>, status: u16| {
        let router = anlan_http::router(node.app.clone(), options(token));
        let mut request = Request::get("/metrics");
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(axum::extract::ConnectInfo(std::net::SocketAddr::from((address, 1))));
        assert_eq!(send(&router, request).await.status.as_u16(), status, "{token:?} {address:?} {header:?}");
    };
    let (here, there) = ([127, 0, 0, 1], [192, 0, 2, 9]);
    check(None, here, None, 200).await;
    check(None, there, None, 401).await;
    check(None, there, Some(("authorization", "Bearer ")), 401).await;
    check(None, here, Some(("x-forwarded-for", "192.0.2.9")), 401).await;
    check(Some("m"), there, None, 401).await;
    check(Some("m"), there, Some(("authorization", "Bearer n")), 401).await;
    check(Some("m"), there, Some(("authorization", "Bearer m")), 200).await;
    check(Some("m"), here, None, 200).await;
}

#[tokio::test]
async fn pages_for_machines_and_browsers_answer_with_their_headers() {
    let node = node().await;
    let health = ask(&node.router, "GET", "/healthz", None, None).await;
    assert_eq!(health.body, "ok");
    assert_eq!(ask(&node.router, "GET", "/readyz", None, None).await.ok(200)["status"], "ok");
    assert_eq!(ask(&node.router, "GET", "/metrics", None, None).await.body, "anlan_up 1\n");
    let page = ask(&node.router, "GET", "/alarms/deep/link", None, None).await;
    assert_eq!(page.status, 200, "the console routes by history");
    assert!(page.headers["content-security-policy"].to_str().unwrap().contains("frame-ancestors 'none'"));
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
    let api = ask(&node.router, "GET", "/api/v1/nothing", Some(&node.admin), None).await;
    assert_eq!(api.headers["cache-control"], "no-store");
    assert_eq!(api.code(404), "row.not_found");
    assert_eq!(ask(&node.router, "PATCH", "/api/v1/alarms", Some(&node.admin), None).await.code(405), "method.unknown");
    assert!(!api.headers.contains_key("x-anlan-demo"));
    let demo = anlan_http::router(node.app.clone(), anlan_http::HttpOptions { demo: true, secure: true, ..Default::default() });
    let answer = ask(&demo, "GET", "/api/v1/status", None, None).await;
    assert_eq!((&answer.headers["x-anlan-demo"], answer.headers.contains_key("strict-transport-security")), (&"1".parse().unwrap(), true));
}

#[tokio::test]
async fn readings_leave_as_a_table_in_which_no_name_is_a_formula() {
    let node = node().await;
    let enterprise = node.enterprise("E1", HERE).await;
    let device = node.device("D1", Some(&enterprise)).await;
    let point = node.point(&device, "GT-101").await;
    let revision = node.get(&format!("/api/v1/points/{point}")).await["revision"].clone();
    let named = json!({"revision": revision, "name": "=HYPERLINK(\"x\")"});
    node.admin("PATCH", &format!("/api/v1/points/{point}"), named).await.ok(200);
    node.reading(&device, "GT-101", 30.5).await;
    let answer = node.get(&format!("/api/v1/points/{point}/readings.csv")).await;
    let lines: Vec<&str> = answer.as_str().expect("text").split("\r\n").collect();
    assert_eq!(lines[0], "\u{feff}point,name,at,received_at,value,unit,quality,flags,revision");
    assert!(lines[1].starts_with("GT-101,\"'=HYPERLINK(\"\"x\"\")\",") && lines[1].contains(",30.5,"), "{}", lines[1]);
    assert_eq!(lines[2..], [""]);
}

#[tokio::test]
async fn a_change_rereads_what_it_changed_and_changes_that_wait_share_a_reading() {
    let node = node().await;
    let enterprise = node.enterprise("E1", HERE).await;
    let points = |n: usize| json!({"points": (0..n).map(|i| json!({"code": format!("P{i}"), "name": "点"})).collect::<Vec<_>>()});
    let mut devices = Vec::new();
    for n in 0..30 {
        devices.push(node.device(&format!("D{n}"), Some(&enterprise)).await);
    }
    for device in &devices {
        let before = node.app.registry.reread();
        node.admin("PUT", &format!("/api/v1/devices/{device}/points"), points(20)).await.ok(200);
        let after = node.app.registry.reread();
        assert_eq!((after.0 - before.0, after.1 - before.1), (1, 20), "however many there are");
    }
    let before = node.app.registry.reread();
    node.enterprise("E2", ELSEWHERE).await;
    assert_eq!(node.app.registry.reread().1 - before.1, 1);

    let before = node.app.registry.reread();
    let crowd = devices.iter().map(|device| {
        let (path, node) = (format!("/api/v1/devices/{device}/points"), &node);
        async move {
            node.admin("PUT", &path, points(21)).await.ok(200);
            let known = node.app.registry.get();
            assert!(known.point_by_code[&device.parse().unwrap()].contains_key("P20"), "live before it is answered");
        }
    });
    futures_util::future::join_all(crowd).await;
    let after = node.app.registry.reread();
    assert!(after.0 - before.0 <= 30 && after.1 - before.1 <= 30 * 21, "{before:?} {after:?}");
    let known = node.app.registry.get();
    assert_eq!((known.points.len(), known.points_of[&enterprise.parse().unwrap()].len()), (630, 630));
}

#[tokio::test]
async fn a_device_that_changes_hands_takes_its_points_along() {
    let node = node().await;
    let (first, second) = (node.enterprise("E1", HERE).await, node.enterprise("E2", HERE).await);
    let device = node.device("D1", Some(&first)).await;
    let point = node.point(&device, "GT-101").await;
    node.reading(&device, "GT-101", 10.0).await;
    let moved = json!({"revision": 1, "enterprise": second});
    node.admin("PATCH", &format!("/api/v1/devices/{device}"), moved).await.ok(200);
    let known = node.app.registry.get();
    assert_eq!(known.points[&point.parse().unwrap()].enterprise, second.parse().ok());
    assert!(known.points_of[&first.parse().unwrap()].is_empty());
    assert_eq!(known.points_of[&second.parse().unwrap()], [point.parse().unwrap()]);
    // Its new shard judges it: above the limit of 25 there is an alarm.
    node.reading(&device, "GT-101", 30.0).await;
    assert_eq!(node.get("/api/v1/alarms").await["alarms"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn questions_about_many_points_see_what_the_asker_sees() {
    let node = node().await;
    let (here, there) = (node.enterprise("E1", HERE).await, node.enterprise("E2", ELSEWHERE).await);
    let mut ids = Vec::new();
    for (code, enterprise, value) in [("D1", &here, 10.0), ("D2", &here, 20.0), ("D3", &there, 30.0)] {
        let device = node.device(code, Some(enterprise)).await;
        ids.push(node.point(&device, "GT-101").await);
        node.reading(&device, "GT-101", value).await;
    }
    let watch = node.person("watch", json!([{"role": "supervisor", "region": HERE}])).await;
    let ask = async |who: &str, path: &str| ask(&node.router, "GET", path, Some(who), None).await;
    let named = |answer: &Value| answer["points"].as_array().unwrap().iter().map(|p| text(&p["id"])).collect::<Vec<_>>();

    let all = ask(&node.admin, "/api/v1/points/top").await.ok(200);
    assert_eq!(named(&all), [ids[2].clone(), ids[1].clone(), ids[0].clone()]);
    assert_eq!((&all["points"][0]["max"], &all["points"][0]["enterprise_name"]), (&json!(30.0), &json!("企业E2")));
    assert_eq!(named(&ask(&node.admin, "/api/v1/points/top?figure=min&n=1").await.ok(200)), [ids[0].clone()]);
    assert_eq!(named(&ask(&node.admin, "/api/v1/points/top?region=5304&kind=pressure").await.ok(200)), Vec::<String>::new());
    assert_eq!(named(&ask(&watch, "/api/v1/points/top").await.ok(200)), [ids[1].clone(), ids[0].clone()]);
    assert_eq!(named(&ask(&watch, &format!("/api/v1/points/top?region={ELSEWHERE}")).await.ok(200)), Vec::<String>::new());

    let rollup = async |who: &str, rest: &str| ask(who, &format!("/api/v1/points/rollup?step=1h{rest}")).await.ok(200)["rollup"].clone();
    let together = rollup(&node.admin, "").await;
    assert_eq!((&together[0]["max"], &together[0]["min"], &together[0]["count"]), (&json!(30.0), &json!(10.0), &json!(3)));
    assert_eq!(rollup(&watch, "").await[0]["max"], 20.0);
    assert_eq!(rollup(&watch, &format!("&enterprise={there}")).await, json!([]));
    assert_eq!(rollup(&node.admin, &format!("&region={HERE}&kind=gas_combustible")).await[0]["count"], 2);

    let refused = async |path: &str| ask(&node.admin, path).await.refused(400).remove(0);
    assert_eq!(refused("/api/v1/points/top?n=0").await, ("number.range".into(), "n".into()));
    assert_eq!(refused("/api/v1/points/top?figure=most").await, ("word.unknown".into(), "figure".into()));
    assert_eq!(refused("/api/v1/points/rollup?step=2h").await, ("word.unknown".into(), "step".into()));
    let endless = "/api/v1/points/top?from=0001-01-01T00:00:00Z&to=9999-01-01T00:00:00Z";
    assert_eq!(refused(endless).await, ("rollup.too_much".into(), "from".into()));
    let backwards = "/api/v1/points/rollup?step=1h&from=2026-11-23T00:00:00Z&to=2026-11-22T00:00:00Z";
    assert_eq!(refused(backwards).await, ("window.empty".into(), "to".into()));
}

#[tokio::test]
async fn a_combination_is_set_by_whoever_sets_limits_and_raises_an_alarm_that_names_its_members() {
    let node = node().await;
    let (enterprise, other) = (node.enterprise("E1", HERE).await, node.enterprise("E2", HERE).await);
    let (device, foreign) = (node.device("D1", Some(&enterprise)).await, node.device("D2", Some(&other)).await);
    let (a, b, c) = (node.point(&device, "GT-101").await, node.point(&device, "GT-102").await, node.point(&foreign, "GT-201").await);
    let member = |point: &str, kind: &str| json!({"point": point, "kind": kind});
    let body = |change: Value| {
        let mut body = json!({"enterprise": enterprise, "name": "泄漏确认", "level": "red", "needed": 2, "within_s": 30,
            "members": [member(&a, "h"), member(&b, "h")], "source": {"document": "联锁说明书", "clause": "3.2"}});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        body
    };
    // Each fault names its field.
    let faults = [
        (json!({"name": " "}), "text.empty", "name"),
        (json!({"level": "pink"}), "word.unknown", "level"),
        (json!({"needed": 1}), "number.range", "needed"),
        (json!({"needed": 3}), "number.range", "needed"),
        (json!({"within_s": -1}), "number.range", "within_s"),
        (json!({"within_s": 3601}), "number.range", "within_s"),
        (json!({"members": [member(&a, "h")]}), "combination.members", "members"),
        (json!({"members": [member(&a, "h"), member(&a, "h")]}), "combination.twice", "members[1].point"),
        (json!({"members": [member(&a, "h"), member(&c, "h")]}), "combination.elsewhere", "members[1].point"),
        (json!({"members": [member(&a, "h"), member("999", "h")]}), "combination.elsewhere", "members[1].point"),
        (json!({"members": [member(&a, "h"), member(&b, "ll")]}), "combination.no_rule", "members[1].kind"),
        (json!({"members": [member(&a, "h"), member(&b, "combination")]}), "word.unknown", "members[1].kind"),
        (json!({"members": [member(&a, "h"), member(&b, "high")]}), "word.unknown", "members[1].kind"),
        (json!({"source": {"document": ""}}), "text.empty", "source.document"),
        (json!({"enterprise": "999"}), "reference.unknown", "enterprise"),
    ];
    for (change, code, field) in faults {
        let refused = node.admin("POST", "/api/v1/combinations", body(change.clone())).await.refused(400);
        assert!(refused.contains(&(code.to_owned(), field.to_owned())), "{change}: {refused:?}");
    }
    let made = node.admin("POST", "/api/v1/combinations", body(json!({}))).await.ok(201);
    assert_eq!((&made["members"][1]["judged"], &made["needed"], &made["enterprise_name"]), (&json!(true), &json!(2), &json!("企业E1")));
    let path = format!("/api/v1/combinations/{}", text(&made["id"]));

    // A member cannot be carried away, and says why.
    let moves = json!({"revision": 1, "enterprise": other});
    let refused = node.admin("PATCH", &format!("/api/v1/devices/{device}"), moves.clone()).await.refused(409);
    assert_eq!(refused, [("device.combined".to_owned(), "enterprise".to_owned())]);

    node.reading(&device, "GT-101", 30.0).await;
    assert_eq!(node.get("/api/v1/alarms?level=red").await["alarms"], json!([]));
    node.reading(&device, "GT-102", 30.0).await;
    let alarm = node.get("/api/v1/alarms?level=red").await["alarms"][0].clone();
    assert_eq!((&alarm["name"], &alarm["kind"], &alarm["combination"]), (&json!("泄漏确认"), &json!("combination"), &made["id"]));
    assert_eq!((&alarm["value"], &alarm["threshold"], &alarm["source"]), (&json!(2.0), &json!(2.0), &json!("联锁说明书 3.2")));
    assert_eq!((&alarm["points"], &alarm["enterprise"]), (&json!([a, b]), &json!(enterprise)));
    let members: Vec<_> =
        alarm["members"].as_array().unwrap().iter().map(|m| (text(&m["point"]), m["value"].clone(), m["kind"].clone())).collect();
    assert_eq!(members, [(a.clone(), json!(30.0), json!("h")), (b.clone(), json!(30.0), json!("h"))]);
    let of_point = node.get(&format!("/api/v1/alarms?point={b}")).await;
    assert_eq!(of_point["alarms"].as_array().unwrap().len(), 2, "its own and the combination's: {of_point}");

    // It is handled like any other, and returns when its time is up.
    let id = text(&alarm["id"]);
    node.admin(
        "POST",
        "/api/v1/users",
        json!({"username": "duty", "name": "值班", "password": PASSWORD, "grants": [{"role": "duty_officer", "region": HERE}]}),
    )
    .await
    .ok(201);
    let duty = text(
        &ask(&node.router, "POST", "/api/v1/session", None, Some(json!({"username": "duty", "password": PASSWORD}))).await.body["token"],
    );
    let acknowledged =
        ask(&node.router, "POST", &format!("/api/v1/alarms/{id}/acknowledge"), Some(&duty), Some(json!({"note": "去看"}))).await.ok(200);
    assert_eq!((&acknowledged["state"], acknowledged["members"].as_array().unwrap().len()), (&json!("acknowledged"), 2));
    node.reading(&device, "GT-102", 3.0).await;
    assert_eq!(node.get(&format!("/api/v1/alarms/{id}")).await["state"], "acknowledged", "30 s are not over");
    node.app.clock.set(node.app.clock.now().plus_us(31_000_000)).unwrap().unwrap();
    node.app.settle().await;
    let returned = node.get(&format!("/api/v1/alarms/{id}")).await;
    assert_eq!(returned["state"], "returned", "{returned}");
    assert!(returned["members"][1]["returned_at"].is_string() && returned["members"][0]["returned_at"].is_null(), "{returned}");

    // A limit that goes later is shown; the rule itself stays.
    let point = node.get(&format!("/api/v1/points/{b}")).await;
    let bare = json!({"revision": point["revision"], "limits": {}, "limits_source": null, "kind": "pressure"});
    node.admin("PATCH", &format!("/api/v1/points/{b}"), bare).await.ok(200);
    let now = node.get(&path).await;
    assert_eq!((&now["members"][0]["judged"], &now["members"][1]["judged"]), (&json!(true), &json!(false)));

    let changed = node.admin("PATCH", &path, json!({"revision": 1, "name": "二取二", "within_s": 0})).await.ok(200);
    assert_eq!((&changed["name"], &changed["within_s"], &changed["revision"]), (&json!("二取二"), &json!(0.0), &json!(2)));
    assert_eq!(node.admin("DELETE", &format!("{path}?revision=1"), json!({})).await.code(409), "revision.stale");
    assert_eq!(node.admin("DELETE", &format!("{path}?revision=2"), json!({})).await.status, 204);
    assert_eq!(node.get("/api/v1/combinations").await["combinations"], json!([]));
    assert_eq!(node.get(&format!("/api/v1/alarms/{id}")).await["name"], "二取二");
    node.admin("PATCH", &format!("/api/v1/devices/{device}"), moves).await.ok(200);
}
