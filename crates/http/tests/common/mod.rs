//! A whole node in a temporary directory, asked through its router without a socket.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anlan_app::clock::AppClock;
use anlan_app::{App, Running, Settings};
use anlan_http::{HttpOptions, router};
use anlan_model::{
    Batch, Clock as _, Intake as _, MediaRefusal, NodeId, NodeLevel, Quality, RawMedia, RawPosition, RawReading, RegionCode, Scope, Source,
    Timestamp, Trust,
};
use anlan_store::Store;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

pub const PASSWORD: &str = "correct horse battery";
/// Hongta and Tonghai, two counties of the node's city.
pub const HERE: &str = "530402";
pub const ELSEWHERE: &str = "530423";

pub struct Node {
    pub router: Router,
    pub app: Arc<App>,
    pub running: Running,
    pub directory: tempfile::TempDir,
    /// Token of the first administrator.
    pub admin: String,
}

/// An answer, whole.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    #[track_caller]
    pub fn ok(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }
    /// Codes and fields of the refusal.
    #[track_caller]
    pub fn refused(&self, status: u16) -> Vec<(String, String)> {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        let errors = self.body["errors"].as_array().unwrap_or_else(|| panic!("no errors in {}", self.body));
        assert!(self.body["trace"].as_str().is_some_and(|t| t.len() == 16), "{}", self.body);
        errors.iter().map(|e| (text(&e["code"]), e["field"].as_str().unwrap_or_default().to_owned())).collect()
    }
    #[track_caller]
    pub fn code(&self, status: u16) -> String {
        self.refused(status).remove(0).0
    }
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

pub async fn open(directory: &Path, settings: Settings) -> (Running, Router) {
    open_at(directory, settings, AppClock::test("2026-11-23T00:00:00Z").unwrap()).await
}

pub async fn open_at(directory: &Path, settings: Settings, clock: AppClock) -> (Running, Router) {
    let store = Store::open(&format!("sqlite:{}", directory.join("anlan.sqlite").display())).await.unwrap();
    let running = anlan_app::start(directory, store, clock, settings).await.unwrap();
    let metrics: anlan_http::MetricsText = Arc::new(|| "anlan_up 1\n".to_owned());
    let router = router(running.app.clone(), HttpOptions { secure: false, demo: false, metrics: Some(metrics), ..HttpOptions::default() });
    (running, router)
}

/// Cheap passwords: what is tested is who may sign in, not what hashing costs.
pub fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.access.argon2_memory_kib = 64;
    settings.access.argon2_passes = 1;
    settings
}

/// A node with its first administrator.
pub async fn node() -> Node {
    node_with(settings()).await
}

pub async fn node_with(settings: Settings) -> Node {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path(), settings).await;
    set_up(directory, opened).await
}

/// A node with its first administrator, at another time.
pub async fn node_at(clock: AppClock) -> Node {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_at(directory.path(), settings(), clock).await;
    set_up(directory, opened).await
}

async fn set_up(directory: tempfile::TempDir, (running, router): (Running, Router)) -> Node {
    let app = running.app.clone();
    let token = anlan_app::access::ensure_setup_link(&app).await.unwrap().expect("nobody can sign in yet");
    let body = json!({"token": token, "username": "admin", "password": PASSWORD});
    let made = ask(&router, "POST", "/api/v1/setup", None, Some(body)).await.ok(201);
    Node { router, app, running, directory, admin: text(&made["token"]) }
}

pub async fn ask(router: &Router, method: &str, path: &str, token: Option<&str>, body: Option<Value>) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header("accept-language", "en").header("host", "localhost");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let body = match body {
        Some(body) => {
            request = request.header("content-type", "application/json");
            Body::from(body.to_string())
        }
        None => Body::empty(),
    };
    send(router, request.body(body).unwrap()).await
}

pub async fn send(router: &Router, mut request: Request<Body>) -> Answer {
    let peer: SocketAddr = "127.0.0.1:40000".parse().unwrap();
    if request.extensions().get::<ConnectInfo<SocketAddr>>().is_none() {
        request.extensions_mut().insert(ConnectInfo(peer));
    }
    let (parts, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
    Answer { status: parts.status, headers: parts.headers, body }
}

/// The day so many days from now, Beijing: keys live in real time, whatever the test clock says.
pub fn in_days(n: i64) -> String {
    let at = jiff::Timestamp::now().as_second() + 8 * 3_600 + n * 86_400;
    jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::from_second(at).unwrap()).date().to_string()
}

/// A position with a fix and the ignition on, `metres` east of 102°, as a terminal says it at `at`.
pub fn position(at: Timestamp, metres: f64, speed_kmh: f64) -> RawPosition {
    RawPosition {
        device_at: Some(at),
        // A degree of longitude is 101.6 km at 24° north.
        lon_e6: 102_000_000 + (metres / 101_600.0 * 1e6) as i32,
        lat_e6: 24_000_000,
        altitude_m: 1_650,
        speed_dkmh: (speed_kmh * 10.0) as u16,
        direction_deg: 90,
        alarm_bits: 0,
        status_bits: 3,
        body_crc: (at.micros() / 1_000) as u32 ^ metres as u32,
        items: Vec::new(),
        backfill: false,
    }
}

/// A picture of one grey.
pub fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::GrayImage::from_pixel(width, height, image::Luma([90])).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

impl Node {
    /// Positions as a socket would hand them over, each received at its own time; durable when this returns. Moves the clock on.
    pub async fn drive(&self, phone: &str, positions: Vec<RawPosition>) {
        for position in positions {
            let at = position.device_at.unwrap();
            if at > self.app.clock.now() {
                self.app.clock.set(at).unwrap().unwrap();
            }
            let (kept, told) = tokio::sync::oneshot::channel();
            self.running.intake.offer(Batch {
                source: Source::Terminal { phone: phone.to_owned(), trust: Trust::Listed },
                received_at: self.app.clock.now(),
                readings: vec![],
                bound: anlan_model::batch::Prebound::default(),
                positions: vec![position],
                events: vec![],
                backfill: false,
                reply: Box::new(move |result| {
                    let _ = kept.send(result);
                }),
            });
            told.await.unwrap().unwrap();
        }
        self.app.settle().await;
    }
    /// Makes this a node of a county's network with a child, an open invitation and a compared day; the child's id and the invitation's.
    pub async fn child(&self, region: &str) -> (String, i64) {
        let (store, now) = (&self.app.store, self.app.clock.now());
        let code = RegionCode::new(region).unwrap();
        store.put_self(NodeId::new(1), "县局", NodeLevel::County, Some(&code), now).await.unwrap();
        let id = NodeId::new(0xbbbb_bbbb_0000_0000_0000_0000_0000_0002);
        let invite = async |n: u8| {
            let new = anlan_store::NewInvitation {
                name: "镇安监站".into(),
                level: NodeLevel::Township,
                region: Some(code.clone()),
                enterprise: None,
                secret: [n; 16],
                expires_at: Timestamp::MAX,
            };
            store.invite(&Scope::node(), &new, now, now).await.unwrap().id
        };
        let first = invite(1).await;
        store.claim_invitation(&[1; 16], id, b"key", now, now).await.unwrap();
        let admission = anlan_store::Admission { certificate: "PEM".into(), fingerprint: "ab".into(), serial: "1".into(), not_after: now };
        let (_, device) = store.confirm_invitation(&Scope::node(), first, &admission, now).await.unwrap();
        self.app.registry.renew(device.map(anlan_app::registry::Touched::Device)).await.unwrap();
        let (sum, other) = ("0".repeat(32), "1".repeat(32));
        let proof = anlan_store::NewProof {
            origin: id,
            day: "2026-11-20".into(),
            holder: id,
            position: 7,
            count: 3,
            sum,
            ours: Some((2, other)),
            readings: None,
            at: now,
        };
        store.put_proof(&proof).await.unwrap();
        (id.to_string(), invite(2).await)
    }
    pub async fn get(&self, path: &str) -> Value {
        ask(&self.router, "GET", path, Some(&self.admin), None).await.ok(200)
    }
    /// The bytes of an answer, such as a sheet.
    pub async fn bytes(&self, token: &str, path: &str) -> Vec<u8> {
        let request = Request::get(path).header("authorization", format!("Bearer {token}")).header("host", "localhost");
        let answer = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.into_body().collect().await.unwrap().to_bytes().to_vec()
    }
    /// Uploads a file.
    pub async fn upload(&self, token: &str, name: &str, bytes: &[u8]) -> Answer {
        let name: String = name.bytes().map(|b| format!("%{b:02X}")).collect();
        let request = Request::post(format!("/api/v1/attachments?name={name}")).header("authorization", format!("Bearer {token}"));
        let request =
            request.header("content-type", "application/octet-stream").header("accept-language", "en").header("host", "localhost");
        send(&self.router, request.body(Body::from(bytes.to_vec())).unwrap()).await
    }
    /// A pack as the administrator sees it.
    pub async fn pack(&self, id: &str) -> Value {
        let list = self.get("/api/v1/packs").await;
        list["packs"].as_array().unwrap().iter().find(|p| p["id"] == id).unwrap_or_else(|| panic!("no pack {id}: {list}")).clone()
    }
    pub async fn admin(&self, method: &str, path: &str, body: Value) -> Answer {
        ask(&self.router, method, path, Some(&self.admin), Some(body)).await
    }
    /// Makes a person and signs them in.
    pub async fn person(&self, username: &str, grants: Value) -> String {
        let body = json!({"username": username, "name": username, "password": PASSWORD, "grants": grants});
        self.admin("POST", "/api/v1/users", body).await.ok(201);
        self.sign_in(username).await
    }
    pub async fn sign_in(&self, username: &str) -> String {
        let body = json!({"username": username, "password": PASSWORD});
        text(&ask(&self.router, "POST", "/api/v1/session", None, Some(body)).await.ok(201)["token"])
    }
    pub async fn enterprise(&self, code: &str, region: &str) -> String {
        let body = json!({"code": code, "name": format!("企业{code}"), "region": region, "sector": "hazchem", "place": {"lon": 102.5, "lat": 24.3}});
        text(&self.admin("POST", "/api/v1/enterprises", body).await.ok(201)["id"])
    }
    pub async fn device(&self, code: &str, enterprise: Option<&str>) -> String {
        let body = json!({"code": code, "name": code, "enterprise": enterprise, "protocol": "mqtt"});
        text(&self.admin("POST", "/api/v1/devices", body).await.ok(201)["id"])
    }
    /// A point with a high limit of 25 and no delay.
    pub async fn point(&self, device: &str, code: &str) -> String {
        let point = json!({"code": code, "name": "可燃气体", "unit": "%LEL", "kind": "gas_combustible", "period_s": 5,
            "limits": {"h": 25, "hh": 50}, "limits_source": {"document": "GB/T 50493-2019", "clause": "5.5.2"}});
        let put = self.admin("PUT", &format!("/api/v1/devices/{device}/points"), json!({"points": [point]})).await.ok(200);
        text(&put["points"][0]["id"])
    }
    /// A file (or, without bytes, its announcement) as a socket would hand it over; durable when this returns.
    pub async fn media(&self, phone: &str, media_id: u32, data: Option<&[u8]>) -> Result<(), MediaRefusal> {
        let (kept, told) = tokio::sync::oneshot::channel();
        let now = self.app.clock.now();
        let media = RawMedia {
            phone: phone.to_owned(),
            received_at: now,
            media_id,
            kind: 0,
            format: 0,
            event: 3,
            channel: 2,
            position: data.map(|_| position(now, 500.0, 40.0)),
            data: data.map(<[u8]>::to_vec),
        };
        let reply = Box::new(move |result| {
            let _ = kept.send(result);
        });
        self.running.intake.keep_media(media, reply);
        told.await.unwrap()
    }
    /// A key of open data; `body` says what it is made for.
    pub async fn key(&self, mut body: Value) -> (String, String) {
        for (field, value) in [("name", json!("key")), ("holder", json!("市大数据局")), ("valid_until", json!(in_days(30)))] {
            if body[field].is_null() {
                body[field] = value;
            }
        }
        let made = self.admin("POST", "/api/v1/api-keys", body).await.ok(201);
        (text(&made["api_key"]["id"]), text(&made["key"]))
    }
    /// A reading as a socket would hand it over; durable and applied when this returns.
    pub async fn reading(&self, device: &str, code: &str, value: f64) {
        let (kept, told) = tokio::sync::oneshot::channel();
        let now = self.app.clock.now();
        self.running.intake.offer(Batch {
            source: Source::Device { device: device.parse().unwrap(), protocol: "mqtt" },
            received_at: now,
            readings: vec![RawReading { code: code.to_owned(), device_at: Some(now), value, quality: Quality::Good }],
            bound: anlan_model::batch::Prebound::default(),
            positions: vec![],
            events: vec![],
            backfill: false,
            reply: Box::new(move |result| {
                let _ = kept.send(result);
            }),
        });
        told.await.unwrap().unwrap();
        // The reorder window holds a reading's rules back for up to a second of domain time.
        self.app.clock.set(now.plus_us(2_000_000)).unwrap().unwrap();
        self.app.settle().await;
    }
}

/// The files of a list that a job makes, once it is done.
pub async fn export(node: &Node, token: &str, path: &str) -> Vec<Vec<u8>> {
    let job = ask(&node.router, "POST", &format!("/api/v1/registers/{path}"), Some(token), None).await.ok(202);
    let at = format!("/api/v1/exports/{}", text(&job["id"]));
    loop {
        let job = ask(&node.router, "GET", &at, Some(token), None).await.ok(200);
        match job["state"].as_str() {
            Some("waiting") => tokio::time::sleep(Duration::from_millis(3)).await,
            Some("done") => {
                let mut files = Vec::new();
                for part in 1..=job["files"].as_u64().unwrap() {
                    files.push(node.bytes(token, &format!("{at}/files/{part}")).await);
                }
                return files;
            }
            _ => panic!("{job}"),
        }
    }
}
