//! What HTTP clients see, as claims: requests as Telegraf, curl and the InfluxDB libraries send them.
#![allow(missing_docs)]

mod common;

use std::io::Write as _;
use std::time::Duration;

use anlan_ingest::{Limits, Protocol, Reason, http};
use anlan_model::{DeviceId, Refusal, Source, Timestamp};
use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use base64::Engine as _;
use common::{House, Mode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

fn basic(user: &str, secret: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{secret}")))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn ask(house: &House, request: Request<Body>) -> Response<Body> {
    http::router(house.ctx.clone()).oneshot(request).await.unwrap()
}

fn post(uri: &str, authorization: &str, body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::builder().method(Method::POST).uri(uri);
    if !authorization.is_empty() {
        request = request.header("authorization", authorization);
    }
    request.body(body.into()).unwrap()
}

async fn json_of(response: Response<Body>) -> Value {
    serde_json::from_slice(&axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap()).unwrap()
}

fn refused(house: &House, reason: Reason) -> u64 {
    house.ctx.stats.link(Protocol::Http).refused(reason)
}

const LINES: &str = "tank,site=a level=1.5 1763859540000000000\npump running=true,name=\"p1\" 1763859540000000000\n";

#[tokio::test]
async fn every_way_to_say_who_one_is_works() {
    for (uri, authorization) in [
        ("/write?db=telegraf", basic("D1", "s")),
        ("/write?db=telegraf&u=D1&p=s", String::new()),
        ("/write", "Token D1:s".into()),
        ("/api/v2/write?org=o&bucket=b", "Token D1:s".into()),
        ("/api/v2/write", "Bearer D1:s".into()),
        ("/api/v2/write", basic("D1", "s")),
    ] {
        let house = House::new();
        let response = ask(&house, post(uri, &authorization, LINES)).await;
        assert_eq!(response.status(), StatusCode::NO_CONTENT, "{uri} {authorization}");
        assert_eq!(house.intake.values(), [("tank,site=a.level".to_owned(), 1.5), ("pump.running".to_owned(), 1.0)]);
        let seen = &house.intake.seen()[0];
        assert_eq!(seen.source, Source::Device { device: DeviceId::new(1), protocol: "http" });
        assert_eq!(seen.readings[0].device_at, Some(Timestamp::from_secs(1_763_859_540)));
    }
}

#[tokio::test]
async fn a_wrong_secret_is_401_in_the_form_of_the_endpoint() {
    let house = House::new();
    for (user, secret) in [("D1", "wrong"), ("nobody", "s"), ("OFF", "s")] {
        let response = ask(&house, post("/write", &basic(user, secret), LINES)).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(response.headers().contains_key("www-authenticate"));
        assert_eq!(json_of(response).await["code"], "unauthorized");
    }
    let response = ask(&house, post("/api/v1/ingest", "", "{}")).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let body = json_of(response).await;
    assert_eq!((body["errors"][0]["code"].as_str(), body["trace"].as_str().map(str::len)), (Some("ingest.unauthorized"), Some(16)));
    assert_eq!(refused(&house, Reason::Credentials), 4);
    assert!(house.intake.seen().is_empty());
}

#[tokio::test]
async fn no_204_before_the_sync() {
    let house = House::new();
    house.intake.set(Mode::Hold);
    let answer = tokio::spawn(http::router(house.ctx.clone()).oneshot(post("/write", "Token D1:s", LINES)));
    house.until("the batch is offered", |i| i.n_held() == 1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!answer.is_finished());
    house.intake.release(Ok(Default::default()));
    assert_eq!(answer.await.unwrap().unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!(house.ctx.stats.link(Protocol::Http).readings_total(), 2);
}

#[tokio::test]
async fn precision_says_the_unit_of_the_time() {
    for (precision, at) in
        [("ns", 1), ("us", 1_000), ("u", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000)]
    {
        let house = House::new();
        let uri = format!("/write?precision={precision}");
        let ticks = 1_763_856_000_000_000_000i64 / at;
        assert_eq!(ask(&house, post(&uri, "Token D1:s", format!("a value=1 {ticks}\n"))).await.status(), StatusCode::NO_CONTENT);
        assert_eq!(house.intake.seen()[0].readings[0].device_at, Some(Timestamp::from_secs(1_763_856_000)), "{precision}");
    }
    let house = House::new();
    assert_eq!(ask(&house, post("/write?precision=weeks", "Token D1:s", LINES)).await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn gzip_is_accepted_and_bombs_are_not() {
    let house = House::with(Limits { max_unpacked_bytes: 100_000, ..common::limits() });
    let zipped = |body: Vec<u8>| {
        let mut request = post("/api/v2/write", "Token D1:s", body);
        request.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
        request
    };
    assert_eq!(ask(&house, zipped(gzip(LINES.as_bytes()))).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(house.intake.values().len(), 2);
    assert_eq!(ask(&house, zipped(gzip(&vec![b'\n'; 50_000_000]))).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(ask(&house, zipped(LINES.into())).await.status(), StatusCode::BAD_REQUEST);
    let mut cut = gzip(LINES.as_bytes());
    cut.truncate(20);
    assert_eq!(ask(&house, zipped(cut)).await.status(), StatusCode::BAD_REQUEST);
    let mut request = post("/write", "Token D1:s", LINES);
    request.headers_mut().insert("content-encoding", "br".parse().unwrap());
    assert_eq!(ask(&house, request).await.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn a_bad_line_is_named_and_the_good_ones_are_kept() {
    let house = House::new();
    let response = ask(&house, post("/write", "Token D1:s", "a value=1\nthis is bad\nb value=2\n")).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let body = json_of(response).await;
    assert_eq!((body["line"].as_u64(), body["code"].as_str()), (Some(2), Some("invalid")));
    assert!(body["error"].as_str().unwrap().contains("line 2"));
    assert_eq!(house.intake.values(), [("a".to_owned(), 1.0), ("b".to_owned(), 2.0)]);
    assert_eq!(house.intake.quarantined().len(), 1);
}

#[tokio::test]
async fn text_and_null_are_ignored_and_never_a_400() {
    let house = House::new();
    let response = ask(&house, post("/write", "Token D1:s", "a s=\"text\" 1\na s=\"x\",value=5u\n")).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(house.intake.values(), [("a".to_owned(), 5.0)]);
    let response = ask(&house, post("/api/v1/ingest", "Bearer D1:s", r#"{"values":{"A":null,"B":"text","C":true,"D":1}}"#)).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(house.intake.values().len(), 3);
}

#[tokio::test]
async fn json_is_that_of_mqtt() {
    let house = House::new();
    let body = r#"[{"at":"2026-11-23T00:00:00Z","values":{"TI-101":12.3}},{"at":1763859540000,"values":{"TI-101":0.1}}]"#;
    assert_eq!(ask(&house, post("/api/v1/ingest", "Bearer D1:s", body)).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(house.intake.values(), [("TI-101".to_owned(), 12.3), ("TI-101".to_owned(), 0.1)]);
    let mut request = post("/api/v1/ingest", "Bearer D1:s", "no json");
    request.headers_mut().insert("accept-language", "zh-CN".parse().unwrap());
    let response = ask(&house, request).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let body = json_of(response).await;
    assert_eq!(body["errors"][0]["code"], "ingest.invalid");
    assert!(body["errors"][0]["detail"].as_str().unwrap().starts_with("数据无法读取"));
}

#[tokio::test]
async fn a_mixed_body_becomes_one_batch_per_device_and_all_are_kept_before_204() {
    let house = House::new();
    house.intake.set(Mode::Hold);
    let body = "a,device=D1 value=1\na,device=D2 value=2\na value=3\na,device=D1 value=4\n";
    let answer = tokio::spawn(http::router(house.ctx.clone()).oneshot(post("/write", "Token GW:s", body)));
    house.until("three batches are out", |i| i.n_held() == 3).await;
    house.intake.release(Ok(Default::default()));
    assert_eq!(answer.await.unwrap().unwrap().status(), StatusCode::NO_CONTENT);
    let by_device: Vec<(Source, usize)> = house.intake.seen().into_iter().map(|s| (s.source, s.readings.len())).collect();
    let source = |id| Source::Device { device: DeviceId::new(id), protocol: "http" };
    assert_eq!(by_device, [(source(1), 2), (source(2), 1), (source(3), 1)]);
    assert!(house.intake.values().iter().all(|(code, _)| code == "a"), "the device tag is no part of the code");
}

#[tokio::test]
async fn a_foreign_device_tag_is_403_with_its_line() {
    let house = House::new();
    for (who, body) in [("D1", "a value=1\na,device=D2 value=2\n"), ("GW", "a value=1\na,device=X value=2\n")] {
        let response = ask(&house, post("/write", &format!("Token {who}:s"), body)).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert_eq!(json_of(response).await["line"], json!(2));
    }
    assert_eq!(refused(&house, Reason::ForeignDevice), 2);
    assert_eq!(house.intake.values().len(), 2, "the lines that are its own are kept");
    assert_eq!(ask(&house, post("/write", "Token D1:s", "a,device=D1 value=1\n")).await.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn back_fill_needs_the_right() {
    let house = House::new();
    assert_eq!(ask(&house, post("/write?backfill=1", "Token D1:s", LINES)).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(
        ask(&house, post("/api/v1/ingest", "Token D1:s", r#"{"backfill":true,"values":{"A":1}}"#)).await.status(),
        StatusCode::FORBIDDEN
    );
    assert!(house.intake.seen().is_empty());
    assert_eq!(ask(&house, post("/write?backfill=1", "Token GW:s", LINES)).await.status(), StatusCode::NO_CONTENT);
    assert!(house.intake.seen()[0].backfill);
}

#[tokio::test]
async fn refusals_of_the_shards_have_a_status_and_a_time_to_come_again() {
    for (refusal, status) in [
        (Refusal::Overloaded, StatusCode::TOO_MANY_REQUESTS),
        (Refusal::Storage, StatusCode::SERVICE_UNAVAILABLE),
        (Refusal::Stopping, StatusCode::SERVICE_UNAVAILABLE),
    ] {
        let house = House::new();
        // v1 clients drop what is refused with any 4xx, so they are told 503 throughout.
        for (path, status) in [("/api/v2/write", status), ("/write", StatusCode::SERVICE_UNAVAILABLE)] {
            house.intake.set(Mode::RefuseFirst(refusal, 1));
            let response = ask(&house, post(path, "Token D1:s", LINES)).await;
            assert_eq!((response.status(), response.headers().get("retry-after").is_some()), (status, true), "{path}");
            assert_eq!(ask(&house, post(path, "Token D1:s", LINES)).await.status(), StatusCode::NO_CONTENT);
        }
    }
    let house = House::with(Limits { http_reply_timeout_ms: 30, ..common::limits() });
    house.intake.set(Mode::Hold);
    assert_eq!(ask(&house, post("/write", "Token D1:s", LINES)).await.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_flood_from_one_device_is_429_and_the_others_are_served() {
    let house = House::with(Limits { messages_per_s: 1, message_burst: 3, ..common::limits() });
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(ask(&house, post("/api/v2/write", "Token D1:s", LINES)).await.status().as_u16());
    }
    assert_eq!(statuses, [204, 204, 204, 429, 429, 429]);
    assert_eq!(ask(&house, post("/write", "Token D2:s", LINES)).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(refused(&house, Reason::Rate), 3);
}

#[tokio::test]
async fn sizes_are_limited() {
    let house = House::with(Limits { max_message_bytes: 1_000, max_readings_per_message: 10, ..common::limits() });
    assert_eq!(ask(&house, post("/write", "Token D1:s", "x".repeat(1_001))).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let many: String = (0..11).map(|n| format!("a value={n} {n}\n")).collect();
    assert_eq!(ask(&house, post("/write", "Token D1:s", many)).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(house.intake.values().len(), 10);
}

#[tokio::test]
async fn what_readings_take_is_counted_and_a_body_that_is_only_announced_holds_nobody_up() {
    let house = House::with(Limits { max_held_bytes: 4_000, ..common::limits() });
    let mut silent = post("/write", "Token D1:s", Body::from_stream(futures_util::stream::pending::<Result<&[u8], std::io::Error>>()));
    silent.headers_mut().insert("content-length", "3900".parse().unwrap());
    let waits = tokio::spawn(http::router(house.ctx.clone()).oneshot(silent));
    tokio::task::yield_now().await;
    assert_eq!(ask(&house, post("/write", "Token D2:s", LINES)).await.status(), StatusCode::NO_CONTENT);
    // 400 bytes, but as readings more than there is room for.
    let many: String = (0..30).map(|n| format!("a value={n} {n}\n")).collect();
    let answer = ask(&house, post("/api/v2/write", "Token D2:s", many)).await;
    assert_eq!((answer.status(), answer.headers().contains_key("retry-after")), (StatusCode::TOO_MANY_REQUESTS, true));
    assert_eq!(ask(&house, post("/write", "Token D2:s", LINES)).await.status(), StatusCode::NO_CONTENT);
    waits.abort();
}

#[tokio::test]
async fn ping_and_query_satisfy_clients_that_ask_first() {
    let house = House::new();
    for method in [Method::GET, Method::HEAD] {
        let request = Request::builder().method(method).uri("/ping").body(Body::empty()).unwrap();
        let response = ask(&house, request).await;
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert!(response.headers().contains_key("x-influxdb-version"));
    }
    let mut form = post("/query", "Token D1:s", "q=CREATE+DATABASE+%22telegraf%22");
    form.headers_mut().insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
    let uri = post("/query?q=SHOW%20DATABASES&u=D1&p=s", "", Body::empty());
    for request in [form, uri] {
        let response = ask(&house, request).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(json_of(response).await, json!({"results": [{"statement_id": 0}]}));
    }
    assert_eq!(ask(&house, post("/query?q=DROP+DATABASE+x", "Token D1:s", Body::empty())).await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(ask(&house, post("/query?q=CREATE+DATABASE+x", "", Body::empty())).await.status(), StatusCode::UNAUTHORIZED);
}
