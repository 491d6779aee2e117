//! Filling a server twice: the second time nothing is made again. The server is a few maps of our own behind HTTP on loopback.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use anlan_sim::api::Api;
use anlan_sim::provision::{FleetPass, describe_fleet};
use anlan_sim::{Credentials, Scale, Secrets, World, provision};
use serde_json::{Value, json};

/// What the server holds.
#[derive(Default)]
struct State {
    /// By noun: rows in order of making; ids count from 1.
    rows: BTreeMap<&'static str, Vec<Value>>,
    /// Points by device id.
    points: BTreeMap<String, Value>,
    n_posts: usize,
    n_patches: usize,
}

const PAGE: usize = 7;

impl State {
    fn answer(&mut self, method: &str, target: &str, body: Value) -> (u16, Value) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let parts: Vec<&str> = path.trim_start_matches("/api/v1/").split('/').collect();
        let noun = ["enterprises", "devices", "vehicles", "combinations"].into_iter().find(|n| *n == parts[0]);
        match (method, noun, &parts[..]) {
            ("POST", None, ["session"]) => (201, json!({ "token": "t" })),
            ("GET", Some(noun), [_]) => {
                let rows = self.rows.entry(noun).or_default();
                let from: usize = query.split('&').find_map(|p| p.strip_prefix("cursor=")).map_or(0, |c| c.parse().unwrap());
                let page: Vec<&Value> = rows.iter().skip(from).take(PAGE).collect();
                let next = (from + PAGE < rows.len()).then(|| (from + PAGE).to_string());
                (200, json!({ noun: page, "next": next }))
            }
            ("POST", Some(noun), [_]) => {
                self.n_posts += 1;
                let rows = self.rows.entry(noun).or_default();
                if rows.iter().any(|r| r["code"] == body["code"] && r["name"] == body["name"]) {
                    return (409, json!({ "errors": [{ "code": "code.taken" }] }));
                }
                let mut row = body;
                row["id"] = json!((rows.len() + 1).to_string());
                row["secret"] = json!(format!("secret {}", rows.len() + 1));
                rows.push(row.clone());
                (201, row)
            }
            ("POST", Some("devices"), [_, _, "secret"]) => {
                self.n_posts += 1;
                (200, json!({ "secret": "another" }))
            }
            ("PUT", Some("devices"), [_, id, "points"]) => {
                self.points.insert((*id).to_owned(), body.clone());
                (200, body)
            }
            ("PATCH", Some("vehicles"), [_, id]) => {
                self.n_patches += 1;
                let rows = self.rows.entry("vehicles").or_default();
                let row = rows.iter_mut().find(|r| r["id"] == **id).unwrap();
                if row["revision"] != body["revision"] {
                    return (409, json!({}));
                }
                for (key, value) in body.as_object().unwrap() {
                    row[key] = value.clone();
                }
                row["revision"] = json!(row["revision"].as_i64().unwrap() + 1);
                (200, row.clone())
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

fn serve(state: Arc<Mutex<State>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut request, mut line, mut length) = (String::new(), String::new(), 0);
            stream.read_line(&mut request).unwrap();
            while stream.read_line(&mut line).unwrap() > 2 {
                if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = n.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = String::new();
            (&mut stream).take(length).read_to_string(&mut body).unwrap();
            let words: Vec<&str> = request.split(' ').collect();
            let (status, answer) = state.lock().unwrap().answer(words[0], words[1], serde_json::from_str(&body).unwrap_or(Value::Null));
            let answer = answer.to_string();
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                answer.len()
            );
            stream.get_mut().write_all(format!("{head}{answer}").as_bytes()).unwrap();
        }
    });
    base
}

#[test]
fn a_second_provisioning_makes_nothing_again() {
    let state = Arc::new(Mutex::new(State::default()));
    let base = serve(state.clone());
    let api = Api::sign_in(&base, &Credentials::Password { username: "admin".into(), password: "x".into() }).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let secrets_path = dir.path().join("secrets.json");
    let world = World::new(1, Scale { enterprises: 20, points: 120, vehicles: 10 });

    let ids = provision(&api, &world, &secrets_path).unwrap();
    assert_eq!(ids.len(), 20);
    let secrets = Secrets::load(&secrets_path).unwrap();
    assert_eq!(secrets.devices.len(), world.devices.len());
    let posts = state.lock().unwrap().n_posts;
    assert_eq!(posts, 20 + world.devices.len() + world.combinations.len());
    let n_points: usize = state.lock().unwrap().points.values().map(|p| p["points"].as_array().unwrap().len()).sum();
    assert_eq!(n_points, 120);

    assert_eq!(provision(&api, &world, &secrets_path).unwrap(), ids);
    assert_eq!(state.lock().unwrap().n_posts, posts, "nothing made twice");
    assert_eq!(Secrets::load(&secrets_path).unwrap(), secrets);

    // The file of secrets was lost: every device gets a new one.
    std::fs::remove_file(&secrets_path).unwrap();
    provision(&api, &world, &secrets_path).unwrap();
    assert!(Secrets::load(&secrets_path).unwrap().devices.values().all(|s| s == "another"));
}

#[test]
fn vehicles_are_described_once_they_are_heard() {
    let state = Arc::new(Mutex::new(State::default()));
    let base = serve(state.clone());
    let api = Api::sign_in(&base, &Credentials::Token("t".into())).unwrap();
    let world = World::new(1, Scale { enterprises: 20, points: 0, vehicles: 10 });
    let ids = world.enterprises.iter().enumerate().map(|(i, e)| (e.code.clone(), i.to_string())).collect();
    let heard = world.vehicles.iter().take(8).enumerate().map(|(i, v)| {
        json!({ "id": i.to_string(), "phone": v.phone, "plate": "", "kind": "", "enterprise": null, "speed_limit_kmh": null, "revision": 1 })
    });
    state.lock().unwrap().rows.insert("vehicles", heard.collect());
    assert_eq!(describe_fleet(&api, &world, &ids).unwrap(), FleetPass { described: 8, unheard: 2 });
    assert_eq!(describe_fleet(&api, &world, &ids).unwrap(), FleetPass { described: 0, unheard: 2 });
    let state = state.lock().unwrap();
    assert_eq!(state.n_patches, 8);
    assert_eq!(state.rows["vehicles"][0]["plate"], "云F·演0001");
}
