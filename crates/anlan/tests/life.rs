//! The proof of life that leaves the node, and what the node says when nobody takes it.

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;

use common::Server;
use serde_json::Value;

/// Takes one POST and answers with `status`; its body.
fn take(listener: &TcpListener, status: &str) -> Value {
    let (mut stream, _) = listener.accept().expect("a delivery");
    let mut reader = BufReader::new(stream.try_clone().expect("clone"));
    let (mut length, mut chunked) = (0, false);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a header");
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(n) = line.strip_prefix("content-length:") {
            length = n.trim().parse().expect("a length");
        }
        chunked |= line == "transfer-encoding: chunked";
    }
    assert!(!chunked, "a plain body is enough");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").expect("answer");
    serde_json::from_slice(&body).expect("JSON")
}

#[test]
fn the_node_proves_life_and_says_when_nobody_takes_the_proof() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let channel = format!("http://{}/life", listener.local_addr().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[("ANLAN_LIFE__CHANNEL", &channel), ("ANLAN_LIFE__EVERY_S", "1")]);
    let first = take(&listener, "204 No Content");
    assert_eq!((&first["event"], &first["node"], &first["sequence"]), (&"alive".into(), &"5304".into(), &1.into()), "{first}");
    let second = take(&listener, "500 Internal Server Error");
    assert_eq!(second["sequence"], 2);
    assert_eq!(first["incarnation"], second["incarnation"]);
    let troubles = |server: &Server| server.get("/readyz")["troubles"].clone();
    server.wait("the failing channel is told", |server| (troubles(server) == serde_json::json!(["life"])).then_some(()));
    take(&listener, "200 OK");
    server.wait("and that it works again", |server| (troubles(server) == serde_json::json!([])).then_some(()));
}

#[test]
fn a_channel_that_is_none_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_anlan"))
        .args(["serve", "--data"])
        .arg(dir.path())
        .envs([("ANLAN_HTTP__LISTEN", "127.0.0.1:0"), ("ANLAN_MQTT__LISTEN", "127.0.0.1:0"), ("ANLAN_JT808__LISTEN", "127.0.0.1:0")])
        .env("ANLAN_LIFE__CHANNEL", "carrier pigeon")
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("life.channel"), "{}", String::from_utf8_lossy(&out.stderr));
}
