//! The live stream over a real socket: changes arrive, a token resumes, a forced logout cuts it.

mod common;

use std::net::SocketAddr;

use common::{ELSEWHERE, HERE, Node, ask, node, text};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Serves the node's router on a free port of loopback.
async fn serve(node: &Node) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = node.router.clone().into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}

async fn connect(address: SocketAddr, headers: &[(&'static str, String)]) -> Result<Socket, u16> {
    let mut request = format!("ws://{address}/api/v1/live").into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    match connect_async(request).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(answer)) => Err(answer.status().as_u16()),
        Err(other) => panic!("{other}"),
    }
}

async fn say(socket: &mut Socket, value: Value) {
    socket.send(Message::text(value.to_string())).await.unwrap();
}

/// The first message for which `wanted` holds. What comes before it is kept in `heard` for later: topics arrive in any order.
async fn hear(socket: &mut Socket, heard: &mut Vec<Value>, wanted: impl Fn(&Value) -> bool) -> Value {
    if let Some(at) = heard.iter().position(&wanted) {
        return heard.remove(at);
    }
    let search = async {
        loop {
            if let Message::Text(text) = socket.next().await.expect("the stream goes on").unwrap() {
                let value: Value = serde_json::from_str(&text).unwrap();
                if wanted(&value) {
                    return value;
                }
                heard.push(value);
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), search).await.expect("the message comes within 20 s")
}

#[tokio::test]
async fn changes_arrive_and_a_token_resumes_what_was_missed() {
    let node = node().await;
    let enterprise = node.enterprise("E1", HERE).await;
    let device = node.device("D1", Some(&enterprise)).await;
    let point = node.point(&device, "GT-101").await;
    let duty = node.person("duty", json!([{"role": "duty_officer", "region": HERE}])).await;
    let address = serve(&node).await;
    let bearer = [("authorization", format!("Bearer {duty}"))];
    let mut socket = connect(address, &bearer).await.unwrap();
    say(&mut socket, json!({"topics": ["alarms", format!("points:{point}")], "resume": null})).await;
    node.reading(&device, "GT-101", 30.0).await;
    let mut heard = Vec::new();
    let reading = hear(&mut socket, &mut heard, |m| m["topic"] == format!("points:{point}")).await;
    assert_eq!((reading["data"][0]["id"].as_str(), reading["data"][0]["value"].as_f64()), (Some(point.as_str()), Some(30.0)));
    let raised = hear(&mut socket, &mut heard, |m| m["topic"] == "alarms").await;
    assert_eq!(raised["data"][0]["state"], "raised", "{raised}");
    drop(socket);

    let path = format!("/api/v1/alarms/{}/acknowledge", text(&raised["data"][0]["id"]));
    ask(&node.router, "POST", &path, Some(&duty), Some(json!({"note": ""}))).await.ok(200);
    let mut socket = connect(address, &bearer).await.unwrap();
    say(&mut socket, json!({"topics": ["alarms"], "resume": raised["token"]})).await;
    let missed = hear(&mut socket, &mut Vec::new(), |m| m["topic"] == "alarms").await;
    assert_eq!(missed["data"][0]["state"], "acknowledged");

    let mut late = connect(address, &bearer).await.unwrap();
    say(&mut late, json!({"topics": ["alarms"], "resume": "from-another-run"})).await;
    hear(&mut late, &mut Vec::new(), |m| m["event"] == "snapshot").await;
}

#[tokio::test]
async fn records_are_heard_of_where_they_are_seen_and_the_bell_rings_for_whose_task_it_is() {
    let node = node().await;
    let enterprise = node.enterprise("E1", HERE).await;
    let worker = node.person("worker", json!([{"role": "worker", "enterprise": enterprise}])).await;
    let manager = node.person("manager", json!([{"role": "safety_manager", "enterprise": enterprise}])).await;
    let other = node.person("other", json!([{"role": "supervisor", "region": ELSEWHERE}])).await;
    let address = serve(&node).await;
    let topics = json!({"topics": ["records", "notifications"]});
    let listen = async |token: &str| {
        let mut socket = connect(address, &[("authorization", format!("Bearer {token}"))]).await.unwrap();
        say(&mut socket, topics.clone()).await;
        let mut heard = Vec::new();
        let unread = hear(&mut socket, &mut heard, |m| m["topic"] == "notifications").await;
        assert_eq!(unread["data"], json!([{"unread": 0}]));
        (socket, heard)
    };
    let ((mut his, mut heard), (mut theirs, mut silence)) = (listen(&manager).await, listen(&other).await);
    let at = "/api/v1/registers/hidden_danger/records";
    let fields = json!({"description": "护栏缺失", "place": "x", "found_on": "2026-01-01", "source": "condition", "found_by": "worker"});
    let body = json!({"enterprise": enterprise, "transition": "report", "fields": fields});
    let id = text(&ask(&node.router, "POST", at, Some(&worker), Some(body)).await.ok(201)["id"]);
    let changed = hear(&mut his, &mut heard, |m| m["topic"] == "records").await;
    let record = &changed["data"][0];
    assert_eq!((text(&record["id"]), record["title"].as_str(), record["kind"].as_str()), (id, Some("护栏缺失"), Some("hidden_danger")));
    let rung = hear(&mut his, &mut heard, |m| m["topic"] == "notifications").await;
    assert_eq!(rung["data"], json!([{"unread": 1}]));
    // Two proofs of life later the other county has still heard nothing.
    for _ in 0..2 {
        hear(&mut theirs, &mut silence, |m| m["event"] == "ping").await;
    }
    assert!(silence.iter().all(|m| m["event"] == "ping"), "{silence:?}");
}

#[tokio::test]
async fn a_cookie_counts_for_pages_of_this_origin_only() {
    let node = node().await;
    let address = serve(&node).await;
    let cookie = ("cookie", format!("anlan_session={}", node.admin));
    assert_eq!(connect(address, &[]).await.err(), Some(401));
    assert_eq!(connect(address, std::slice::from_ref(&cookie)).await.err(), Some(403));
    assert_eq!(connect(address, &[cookie.clone(), ("origin", "https://evil.example".into())]).await.err(), Some(403));
    assert!(connect(address, &[cookie, ("origin", format!("http://{address}"))]).await.is_ok());
}

#[tokio::test]
async fn a_forced_sign_out_ends_the_stream_within_seconds() {
    let node = node().await;
    let token = node.person("wang", json!([{"role": "duty_officer", "region": HERE}])).await;
    let address = serve(&node).await;
    let mut socket = connect(address, &[("authorization", format!("Bearer {token}"))]).await.unwrap();
    say(&mut socket, json!({"topics": ["alarms", "vehicles"]})).await;
    let users = node.get("/api/v1/users").await;
    let wang = users["users"].as_array().unwrap().iter().find(|u| u["username"] == "wang").unwrap();
    assert_eq!(node.admin("POST", &format!("/api/v1/users/{}/sign-out", text(&wang["id"])), json!({})).await.status, 204);
    let ended = async {
        loop {
            if let Message::Close(frame) = socket.next().await.expect("a reason comes before the end").unwrap() {
                return frame.expect("with a code");
            }
        }
    };
    let frame = tokio::time::timeout(std::time::Duration::from_secs(10), ended).await.expect("within seconds");
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (4401, "session.ended"));
}

#[tokio::test]
async fn a_request_that_makes_no_sense_ends_the_stream() {
    let node = node().await;
    let address = serve(&node).await;
    for nonsense in ["[]", r#"{"topics":["everything"]}"#, r#"{"topics":[],"colour":1}"#] {
        let mut socket = connect(address, &[("authorization", format!("Bearer {}", node.admin))]).await.unwrap();
        socket.send(Message::text(nonsense)).await.unwrap();
        let answer = tokio::time::timeout(std::time::Duration::from_secs(10), socket.next()).await.unwrap().unwrap().unwrap();
        assert!(matches!(answer, Message::Close(Some(frame)) if u16::from(frame.code) == 1008), "{nonsense}");
    }
}

#[tokio::test]
async fn an_eleventh_stream_of_one_person_is_refused_until_another_ends() {
    let node = node().await;
    let address = serve(&node).await;
    let bearer = [("authorization", format!("Bearer {}", node.admin))];
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(connect(address, &bearer).await.unwrap());
    }
    assert_eq!(connect(address, &bearer).await.err(), Some(429));
    let duty = node.person("duty", json!([{"role": "duty_officer", "region": HERE}])).await;
    connect(address, &[("authorization", format!("Bearer {duty}"))]).await.expect("others have their own");
    drop(open.pop());
    let again = async {
        while connect(address, &bearer).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), again).await.expect("the place is free again");
}
