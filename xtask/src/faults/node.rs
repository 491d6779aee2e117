//! One node under the shim: started, asked over HTTP, killed, stopped. The binary is the real one; nothing of it is linked in here.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use super::At as _;
use super::journal::Journal;
use crate::shell;

/// A node that is not ready after this long has failed the run; on a loaded machine of two cores the slowest seen took 3 s.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// INTERFACES: SIGTERM stops in order within 10 s.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// A kill that waits for a backup to begin does not wait longer.
const BACKUP_BEGINS_WITHIN: Duration = Duration::from_millis(500);
const PASSWORD: &str = "correct horse battery";

/// Where a running node listens.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// `http://127.0.0.1:…`
    pub http: String,
    /// `127.0.0.1:…`
    pub mqtt: String,
    /// `127.0.0.1:…`
    pub jt808: String,
    /// `127.0.0.1:…`; empty = no node may join below.
    pub link: String,
    setup: Option<String>,
}

/// How a start ended.
pub enum Start {
    /// The ready line came.
    Ready,
    /// SIGKILL by the shim, as wished.
    Killed,
    /// The node ended by itself: the code and what it said.
    Refused(String),
}

/// A node and its disk.
pub struct Node {
    /// Its disk.
    pub journal: Journal,
    /// Where it listens, once started.
    pub at: Addresses,
    /// How long the last start took.
    pub ready_after: Duration,
    /// Further words for `serve`.
    pub words: Vec<String>,
    binary: PathBuf,
    settings: Vec<(String, String)>,
    child: Option<Child>,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

impl Node {
    /// A node below the empty directory `place`, not started. `settings` are `ANLAN_…` variables beside the usual ones.
    ///
    /// # Errors
    /// The directory or shared memory cannot be written.
    pub fn new(binary: &Path, shim: &Path, place: &Path, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        std::fs::create_dir_all(place).at("make", place)?;
        let usual = [
            ("ANLAN_HTTP__LISTEN", "127.0.0.1:0"),
            ("ANLAN_MQTT__LISTEN", "127.0.0.1:0"),
            ("ANLAN_JT808__LISTEN", "127.0.0.1:0"),
            ("ANLAN_JT808__UNKNOWN", "accept"),
            ("ANLAN_LOG__FILTER", "warn"),
            ("ANLAN_LIMITS__MESSAGES_PER_S", "1000000"),
            ("ANLAN_LIMITS__MESSAGE_BURST", "1000000"),
            ("ANLAN_LIMITS__ENTERPRISE_MESSAGES_PER_S", "1000000"),
            ("ANLAN_LIMITS__ENTERPRISE_MESSAGE_BURST", "1000000"),
            // The disk is to be really full, not merely short.
            ("ANLAN_LIMITS__DISK_FREE_MIN_MB", "0"),
            // Signing in is not what is tested; the real cost would be a tenth of a second for each new node.
            ("ANLAN_ACCESS__ARGON2_MEMORY_KIB", "64"),
            ("ANLAN_ACCESS__ARGON2_PASSES", "1"),
            // Blocks, segments and checkpoints close many times between two kills.
            ("ANLAN_HISTORY__SEGMENT_BYTES", "32768"),
            ("ANLAN_HISTORY__SEAL_AFTER_READINGS", "400"),
            ("ANLAN_HISTORY__SEAL_WINDOW_S", "60"),
            ("ANLAN_HISTORY__CHECKPOINT_MS", "25"),
            // Positions of days that are over are merged while the power is cut.
            ("ANLAN_HISTORY__MERGE_LOOK_MS", "30"),
            ("ANLAN_TIME__PAST_S", "345600"),
        ];
        let settings = usual.iter().chain(settings).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let journal = Journal::create(shim, place)?;
        Ok(Self {
            journal,
            at: Addresses::default(),
            ready_after: Duration::ZERO,
            words: Vec::new(),
            binary: binary.to_owned(),
            settings,
            child: None,
        })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(words).arg("--data").arg(&self.journal.data).stdin(Stdio::null());
        command.envs(self.settings.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        command
    }

    fn log_path(&self) -> PathBuf {
        self.journal.root.with_extension("log")
    }

    /// The last lines of what the node said.
    pub fn said(&self) -> String {
        let text = std::fs::read_to_string(self.log_path()).unwrap_or_default();
        let mut lines: Vec<&str> = text.lines().rev().take(12).collect();
        lines.reverse();
        lines.join("\n")
    }

    /// Starts the node and waits for its ready line.
    ///
    /// # Errors
    /// The node says neither that it is ready nor that it is not, or it refuses the harness.
    pub fn start(&mut self) -> anyhow::Result<Start> {
        self.start_under(&[])
    }

    /// The same with more variables, such as those of another shim.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_under(&mut self, more: &[(&str, &str)]) -> anyhow::Result<Start> {
        let log = std::fs::File::create(self.log_path()).at("make", &self.log_path())?;
        let mut command = self.command(&["serve"]);
        self.journal.apply(&mut command);
        command.args(&self.words).envs(more.iter().copied()).stdout(Stdio::piped()).stderr(log);
        let began = Instant::now();
        let mut child = command.spawn().at("start", &self.binary)?;
        let stdout = child.stdout.take().context("the node's stdout")?;
        let (send, receive) = mpsc::channel();
        // Ends with the node's stdout.
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(stdout).read_line(&mut line);
            let _ = send.send(read.map(|_| line));
        });
        let line = match receive.recv_timeout(READY_WITHIN) {
            Ok(line) => line.at("hear the ready line of", &self.binary)?,
            Err(_) => {
                end(&mut child)?;
                bail!("the node is not ready after {READY_WITHIN:?}: {}", self.said());
            }
        };
        if line.is_empty() {
            let status = child.wait().at("wait for", &self.binary)?;
            let is_kill = std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
            return Ok(if is_kill { Start::Killed } else { Start::Refused(format!("{status}: {}", self.said())) });
        }
        self.ready_after = began.elapsed();
        let ready: Value = serde_json::from_str(&line).with_context(|| format!("not a ready line: {line}"))?;
        let text = |key: &str| ready[key].as_str().unwrap_or_default().to_owned();
        self.at = Addresses {
            http: text("http"),
            mqtt: text("mqtt"),
            jt808: text("jt808_tcp"),
            link: text("link"),
            setup: ready["setup"].as_str().map(str::to_owned),
        };
        self.child = Some(child);
        Ok(Start::Ready)
    }

    /// The node's process id.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether the process has ended, by the shim or by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().is_ok_and(|status| status.is_some()))
    }

    /// SIGKILL; no harm if it is dead already.
    ///
    /// # Errors
    /// The machine does not let us.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            end(&mut child)?;
        }
        Ok(())
    }

    /// Sends a signal by name.
    ///
    /// # Errors
    /// It does not run.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let id = self.id().context("the node does not run")?;
        let sent = Command::new("kill").args([&format!("-{name}"), &id.to_string()]).status().context("could not start kill(1)")?;
        ensure!(sent.success(), "kill -{name} {id} failed");
        Ok(())
    }

    /// SIGTERM, and the end in order.
    ///
    /// # Errors
    /// It does not end with 0 in time.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.signal("TERM")?;
        let mut child = self.child.take().context("the node does not run")?;
        let until = Instant::now() + STOP_WITHIN;
        loop {
            if let Some(status) = child.try_wait().at("wait for", &self.binary)? {
                ensure!(status.success(), "SIGTERM ended with {status}: {}", self.said());
                return Ok(());
            }
            if Instant::now() >= until {
                end(&mut child)?;
                bail!("SIGTERM did not end the node within {STOP_WITHIN:?}: {}", self.said());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Runs a subcommand on the stopped node's directory; its stdout.
    ///
    /// # Errors
    /// It fails; the error holds what it said.
    pub fn run(&self, words: &[&str]) -> anyhow::Result<String> {
        let output = self.command(words).output().at("start", &self.binary)?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "anlan {} ended with {}: {out}{err}", words.join(" "), output.status);
        Ok(out.into_owned())
    }

    /// Asks the running node for a backup in the absent folder `to`, and waits until it has begun. The answer's line is empty if the node died.
    ///
    /// # Errors
    /// The harness's own.
    pub fn back_up(&mut self, to: &Path) -> anyhow::Result<Option<JoinHandle<String>>> {
        // The socket itself: the command would open the directory round the shim if it found the node dead.
        let Ok(mut stream) = UnixStream::connect(self.journal.data.join("control.sock")) else { return Ok(None) };
        let mut line = serde_json::to_vec(&json!({ "ask": "backup", "to": to }))?;
        line.push(b'\n');
        let answer = std::thread::spawn(move || {
            let mut answer = String::new();
            // An error is the cut itself.
            let _ = stream.write_all(&line).and_then(|()| BufReader::new(stream).read_line(&mut answer));
            answer
        });
        let until = Instant::now() + BACKUP_BEGINS_WITHIN;
        let staging = self.journal.data.join("backup-staging");
        while !self.has_ended() && !staging.exists() && !to.exists() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Some(answer))
    }

    /// Restores a backup elsewhere, which checks every file and the history, and forgets it.
    ///
    /// # Errors
    /// It cannot be restored; the error holds what was said.
    pub fn restore(&self, from: &Path) -> anyhow::Result<()> {
        let to = self.journal.root.with_extension("restored");
        let output = Command::new(&self.binary).arg("restore").arg(from).arg("--data").arg(&to).output().at("start", &self.binary)?;
        let _ = std::fs::remove_dir_all(&to);
        ensure!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Makes the administrator and a duty officer of a new node; a client of each.
    ///
    /// # Errors
    /// The node refuses.
    pub fn set_up(&self) -> anyhow::Result<(Api, Api)> {
        let setup = self.at.setup.as_deref().and_then(|link| link.split_once('#')).context("a new node shows a setup link")?;
        let mut admin = Api::new(&self.at.http);
        admin.must("POST", "/api/v1/setup", &json!({ "token": setup.1, "username": "admin", "password": PASSWORD }))?;
        admin.sign_in("admin")?;
        let grants = [json!({ "role": "duty_officer" })];
        admin.must("POST", "/api/v1/users", &json!({ "username": "duty", "name": "值班员", "password": PASSWORD, "grants": grants }))?;
        let mut duty = Api::new(&self.at.http);
        duty.sign_in("duty")?;
        Ok((admin, duty))
    }
}

fn end(child: &mut Child) -> anyhow::Result<()> {
    child.kill().context("could not kill the node")?;
    child.wait().context("could not wait for the killed node")?;
    Ok(())
}

/// A signed-in client.
#[derive(Clone)]
pub struct Api {
    agent: ureq::Agent,
    base: String,
    token: String,
}

impl Api {
    /// A client that nobody knows.
    pub fn new(base: &str) -> Self {
        Self::patient(base, Duration::from_secs(20))
    }

    /// The same, which waits so long for an answer.
    pub fn patient(base: &str, patience: Duration) -> Self {
        // No connection is kept for later: the node it leads to may have been cut meanwhile.
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(patience)).proxy(None);
        let config = config.max_idle_connections(0).max_idle_connections_per_host(0);
        Self { agent: config.build().into(), base: base.to_owned(), token: String::new() }
    }

    fn sign_in(&mut self, username: &str) -> anyhow::Result<()> {
        let session = self.must("POST", "/api/v1/session", &json!({ "username": username, "password": PASSWORD }))?;
        session["token"].as_str().context("a token")?.clone_into(&mut self.token);
        Ok(())
    }

    /// The node listens elsewhere now; kept connections are forgotten, for the new port may be an old one.
    pub fn move_to(&mut self, base: &str) {
        *self = Self { token: std::mem::take(&mut self.token), ..Self::new(base) };
    }

    /// What it signs its requests with.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Asks; status and JSON.
    ///
    /// # Errors
    /// There is no answer: the node may or may not have done it.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
        let url = format!("{}{path}", self.base);
        let bearer = format!("Bearer {}", self.token);
        let mut response = match method {
            "GET" => self.agent.get(url).header("Authorization", &bearer).call(),
            "PUT" => self.agent.put(url).header("Authorization", &bearer).send_json(body),
            _ if self.token.is_empty() => self.agent.post(url).send_json(body),
            _ => self.agent.post(url).header("Authorization", &bearer).send_json(body),
        }
        .with_context(|| format!("{method} {path} has no answer"))?;
        let text = response
            .body_mut()
            .with_config()
            .limit(64 << 20)
            .read_to_string()
            .with_context(|| format!("{method} {path} has half an answer"))?;
        Ok((response.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// Asks and takes nothing but success.
    ///
    /// # Errors
    /// No answer or another status.
    pub fn must(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let (status, answer) = self.ask(method, path, body)?;
        ensure!((200..300).contains(&status), "{method} {path} answers {status}: {answer}");
        Ok(answer)
    }

    /// GET that must succeed.
    ///
    /// # Errors
    /// As [`Self::must`].
    pub fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.must("GET", path, &Value::Null)
    }

    /// Every item of a list, page after page.
    ///
    /// # Errors
    /// As [`Self::must`].
    pub fn all(&self, path: &str, noun: &str) -> anyhow::Result<Vec<Value>> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        let join = if path.contains('?') { '&' } else { '?' };
        loop {
            let mut page = self.get(&format!("{path}{join}limit=1000{cursor}"))?;
            match page[noun].take() {
                Value::Array(items) => all.extend(items),
                other => bail!("GET {path} has no list `{noun}`: {other}"),
            }
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(all),
            }
        }
    }

    /// Body of a plain POST with a text; the status. For line protocol.
    ///
    /// # Errors
    /// There is no answer.
    pub fn post_text(&self, path: &str, text: &str) -> anyhow::Result<u16> {
        Ok(self.agent.post(format!("{}{path}", self.base)).send(text)?.status().as_u16())
    }
}

/// The binary that the tests use, built if it is not there or older than its source.
///
/// # Errors
/// It does not build.
pub fn build(release: bool) -> anyhow::Result<PathBuf> {
    let mut cargo = shell::command("cargo", ".");
    cargo.args(["build", "--quiet", "--package", "anlan"]);
    if release {
        cargo.arg("--release");
    }
    shell::run(&mut cargo)?;
    Ok(shell::target_dir().join(if release { "release/anlan" } else { "debug/anlan" }))
}
