//! The built binary, driven from outside: started on free ports, asked over HTTP, killed and started again.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A running node.
pub struct Server {
    child: Child,
    /// Data directory, shared by restarts.
    pub data: PathBuf,
    /// `http://127.0.0.1:…`.
    pub http: String,
    /// `127.0.0.1:…`.
    pub mqtt: String,
    /// `127.0.0.1:…`.
    pub jt808: String,
    /// The ready line.
    pub ready: Value,
    settings: Vec<(String, String)>,
    arguments: Vec<String>,
    agent: ureq::Agent,
    token: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const PASSWORD: &str = "correct horse battery";

impl Server {
    /// Starts a node in `data` and makes its administrator.
    pub fn start(data: &Path, settings: &[(&str, &str)]) -> Self {
        Self::start_with(data, settings, &[])
    }

    /// The same with further arguments of `serve`.
    pub fn start_with(data: &Path, settings: &[(&str, &str)], arguments: &[&str]) -> Self {
        let settings: Vec<(String, String)> = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        let agent = ureq::Agent::new_with_config(
            ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(30))).build(),
        );
        let (child, ready) = spawn(data, &settings, &arguments);
        let mut server = Self {
            child,
            data: data.to_owned(),
            http: String::new(),
            mqtt: String::new(),
            jt808: String::new(),
            ready: Value::Null,
            settings,
            arguments,
            agent,
            token: String::new(),
        };
        server.take(ready);
        server.sign_in();
        server
    }

    fn take(&mut self, ready: Value) {
        let text = |key: &str| ready[key].as_str().unwrap_or_default().to_owned();
        (self.http, self.mqtt, self.jt808) = (text("http"), text("mqtt"), text("jt808_tcp"));
        self.ready = ready;
    }

    fn sign_in(&mut self) {
        if let Some(link) = self.ready["setup"].as_str() {
            let token = link.split_once('#').expect("a token in the fragment").1.to_owned();
            let (status, answer) = self.post("/api/v1/setup", &json!({ "token": token, "username": "admin", "password": PASSWORD }));
            assert_eq!(status, 201, "{answer}");
        }
        let (status, answer) = self.post("/api/v1/session", &json!({ "username": "admin", "password": PASSWORD }));
        assert_eq!(status, 201, "{answer}");
        self.token = answer["token"].as_str().expect("a token").to_owned();
    }

    /// Makes a duty officer for the whole node and signs in as that person from now on: an administrator may not handle alarms.
    pub fn become_duty_officer(&mut self) {
        let user = json!({ "username": "duty", "name": "值班员", "password": PASSWORD, "grants": [{ "role": "duty_officer" }] });
        let (status, body) = self.post("/api/v1/users", &user);
        assert_eq!(status, 201, "{body}");
        let (status, body) = self.post("/api/v1/session", &json!({ "username": "duty", "password": PASSWORD }));
        assert_eq!(status, 201, "{body}");
        self.token = body["token"].as_str().expect("a token").to_owned();
    }

    /// SIGKILL, then the same node again.
    pub fn kill_and_restart(&mut self) {
        self.kill();
        self.restart();
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    /// Starts the same node again, on new ports; sessions survive.
    pub fn restart(&mut self) {
        let (child, ready) = spawn(&self.data, &self.settings, &self.arguments);
        self.child = child;
        self.take(ready);
    }

    /// SIGTERM; the exit code and how long it took.
    pub fn stop(&mut self) -> (Option<i32>, Duration) {
        let began = Instant::now();
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill");
        assert!(status.success());
        (self.child.wait().expect("wait").code(), began.elapsed())
    }

    /// Signs in as somebody else from now on.
    pub fn use_token(&mut self, token: &str) {
        token.clone_into(&mut self.token);
    }

    /// The bearer token of whoever is signed in.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// `GET`, status and JSON.
    pub fn try_get(&self, path: &str) -> (u16, Value) {
        answer(self.agent.get(format!("{}{path}", self.http)).header("Authorization", &format!("Bearer {}", self.token)).call())
    }

    /// `GET` that must succeed.
    pub fn get(&self, path: &str) -> Value {
        let (status, body) = self.try_get(path);
        assert_eq!(status, 200, "GET {path}: {body}");
        body
    }

    /// `POST`, status and JSON.
    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.agent.post(format!("{}{path}", self.http));
        let request = if self.token.is_empty() { request } else { request.header("Authorization", &format!("Bearer {}", self.token)) };
        answer(request.send_json(body))
    }

    /// `PUT`, status and JSON.
    pub fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        answer(self.agent.put(format!("{}{path}", self.http)).header("Authorization", &format!("Bearer {}", self.token)).send_json(body))
    }

    /// `PATCH`, status and JSON.
    pub fn patch(&self, path: &str, body: &Value) -> (u16, Value) {
        answer(self.agent.patch(format!("{}{path}", self.http)).header("Authorization", &format!("Bearer {}", self.token)).send_json(body))
    }

    /// An enterprise in 红塔区; its id.
    pub fn enterprise(&self, code: &str) -> String {
        let (status, body) = self.post(
            "/api/v1/enterprises",
            &json!({ "code": code, "name": format!("演示企业 {code}"), "region": "530402", "sector": "hazchem" }),
        );
        assert_eq!(status, 201, "{body}");
        body["id"].as_str().expect("an id").to_owned()
    }

    /// A device; its id and secret.
    pub fn device(&self, code: &str, enterprise: Option<&str>) -> (String, String) {
        let (status, body) =
            self.post("/api/v1/devices", &json!({ "code": code, "name": code, "enterprise": enterprise, "protocol": "mqtt" }));
        assert_eq!(status, 201, "{body}");
        (body["id"].as_str().expect("an id").to_owned(), body["secret"].as_str().expect("a secret").to_owned())
    }

    /// All readings of a device's point, paged through.
    pub fn readings(&self, device: &str, code: &str) -> Vec<Value> {
        let points = self.get(&format!("/api/v1/points?device={device}&limit=1000"));
        let Some(point) = points["points"].as_array().expect("points").iter().find(|p| p["code"] == code) else { return Vec::new() };
        let id = point["id"].as_str().expect("an id");
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("/api/v1/points/{id}/readings?limit=10000{cursor}"));
            all.extend(page["readings"].as_array().expect("readings").iter().cloned());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    }

    /// Waits until `look` finds something.
    pub fn wait<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(Instant::now() < until, "never saw: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn spawn(data: &Path, settings: &[(String, String)], arguments: &[String]) -> (Child, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anlan"));
    command.arg("serve").arg("--data").arg(data).args(arguments).stdout(Stdio::piped()).stderr(Stdio::inherit());
    for key in ["HTTP", "MQTT", "JT808"] {
        command.env(format!("ANLAN_{key}__LISTEN"), "127.0.0.1:0");
    }
    command.env("ANLAN_LOG__FILTER", "error").env("ANLAN_ACCESS__ARGON2_MEMORY_KIB", "64").env("ANLAN_ACCESS__ARGON2_PASSES", "1");
    command.envs(settings.iter().map(|(k, v)| (k.as_str(), v.as_str())));
    let mut child = command.spawn().expect("start anlan");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut line).expect("the ready line");
    let ready: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("not a ready line ({e}): {line:?}"));
    assert_eq!(ready["event"], "ready");
    (child, ready)
}

fn answer(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> (u16, Value) {
    let mut response = result.expect("an answer");
    let text = response.body_mut().with_config().limit(64 << 20).read_to_string().expect("a body");
    (response.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// A blocking MQTT 3.1.1 client of the fewest bytes that do the job, so that these tests do not share a mistake with our codec.
pub struct Mqtt {
    stream: TcpStream,
    next_id: u16,
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(u16::try_from(text.len()).expect("short").to_be_bytes());
    bytes.extend(text.as_bytes());
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    let mut left = body.len();
    loop {
        let digit = (left % 128) as u8;
        left /= 128;
        bytes.push(if left > 0 { digit | 0x80 } else { digit });
        if left == 0 {
            break;
        }
    }
    bytes.extend(body);
    bytes
}

impl Mqtt {
    /// Connects; the CONNACK's return code as error.
    pub fn connect(address: &str, device: &str, secret: &str) -> Result<Self, u8> {
        let mut stream = TcpStream::connect(address).map_err(|_| 0xff)?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
        stream.set_nodelay(true).expect("nodelay");
        let mut body = Vec::new();
        text(&mut body, "MQTT");
        body.extend([4, 0b1100_0010, 0, 60]);
        for part in [&format!("test-{device}"), device, secret] {
            text(&mut body, part);
        }
        stream.write_all(&packet(0x10, &body)).map_err(|_| 0xff)?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).map_err(|_| 0xff)?;
        if answer[0] == 0x20 && answer[3] == 0 { Ok(Self { stream, next_id: 0 }) } else { Err(answer[3]) }
    }

    /// Sends a QoS 1 message and does not wait; its packet id.
    pub fn send(&mut self, topic: &str, payload: &str) -> std::io::Result<u16> {
        self.next_id = self.next_id % 60_000 + 1;
        let mut body = Vec::new();
        text(&mut body, topic);
        body.extend(self.next_id.to_be_bytes());
        body.extend(payload.as_bytes());
        self.stream.write_all(&packet(0x32, &body))?;
        Ok(self.next_id)
    }

    /// The next PUBACK's packet id.
    pub fn acknowledged(&mut self) -> std::io::Result<u16> {
        let mut answer = [0; 4];
        self.stream.read_exact(&mut answer)?;
        assert_eq!(answer[..2], [0x40, 2], "only PUBACKs are expected");
        Ok(u16::from_be_bytes([answer[2], answer[3]]))
    }

    /// Publishes telemetry and waits until it is kept.
    pub fn publish(&mut self, device: &str, payload: &Value) -> std::io::Result<()> {
        let id = self.send(&format!("anlan/v1/{device}/telemetry"), &payload.to_string())?;
        assert_eq!(self.acknowledged()?, id);
        Ok(())
    }
}

/// A Python in which `probe` runs: `$ANLAN_PYTHON`, the system's, or one in the target directory into which `requirement` is installed.
/// `None`, and the line that says so, where none can be had.
pub fn python(probe: &str, requirement: &str, venv: &str) -> Option<PathBuf> {
    let fits = |python: &Path| Command::new(python).args(["-c", probe]).output().is_ok_and(|o| o.status.success());
    let run = |program: &Path, args: &[&str]| Command::new(program).args(args).output().is_ok_and(|o| o.status.success());
    let given = std::env::var_os("ANLAN_PYTHON").map(PathBuf::from);
    let system = PathBuf::from("python3");
    if let Some(fit) = given.into_iter().chain([system.clone()]).find(|python| fits(python)) {
        return Some(fit);
    }
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?.join(venv);
    let python = venv.join("bin/python");
    if !fits(&python) {
        let made = run(&system, &["-m", "venv", venv.to_str()?]) && run(&python, &["-m", "pip", "install", "--quiet", requirement]);
        if !made || !fits(&python) {
            println!("skipped: 1");
            eprintln!("python3 with {requirement} cannot be had");
            return None;
        }
    }
    Some(python)
}

/// A shared folder of vectors and data, or `None` with the line that says how many were skipped.
pub fn shared(n_skipped: usize) -> Option<PathBuf> {
    let dir = std::env::var_os("ANLAN_SHARED").map(PathBuf::from).filter(|d| d.is_dir());
    if dir.is_none() {
        println!("skipped: {n_skipped}");
    }
    dir
}

/// RFC 3339 of `µs` since 1970, as the API writes it.
pub fn rfc3339(us: i64) -> String {
    anlan_model::Timestamp::from_micros(us).to_string()
}

/// Microseconds since 1970, now.
pub fn now_us() -> i64 {
    i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_micros()).expect("in range")
}
