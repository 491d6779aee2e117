//! The two ways out: a file that is there wholly or not at all, and a call whose answer is judged.
//!
//! Blocking by nature, so it runs beside the runtime. Secrets are read when they are needed and stand in no log. Start at [`Sender::deliver`].

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anlan_domain::submission::{Call, Filling, Submission, Transport, source};
use serde_json::{Value as Json, json};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::{Place, Target, content_type};

/// Characters of the platform's words that are kept.
const WORDS_CHARS: usize = 500;
/// Bytes of an answer that are read.
const ANSWER_BYTES: u64 = 64 * 1024;
/// Bytes of a secret.
const SECRET_BYTES: usize = 4_096;
/// What is being written has this behind its name, and a dot before.
const PART: &str = ".anlan-part";

/// What became of a text; `detail` is for people and the log.
#[derive(Debug, PartialEq)]
pub(super) enum Delivery {
    /// `sent`: it lies there; `accepted`: the platform said so.
    Taken { outcome: &'static str, detail: Json },
    /// The platform said that it will not take it.
    Refused { detail: Json },
    /// Anything else; `answered`: somebody spoke.
    Failed { answered: bool, detail: Json },
}

/// Sends to one target.
pub(super) struct Sender {
    target: Target,
    agent: ureq::Agent,
}

pub(super) fn is_secret(secret: &str) -> bool {
    !secret.is_empty() && secret.len() <= SECRET_BYTES && secret.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
}

/// Certificates of a PEM.
pub(super) fn roots(pem: &str) -> Vec<Certificate<'static>> {
    let found = parse_pem(pem.as_bytes()).filter_map(Result::ok);
    found.filter_map(|item| if let PemItem::Certificate(certificate) = item { Some(certificate) } else { None }).collect()
}

impl Sender {
    pub(super) fn new(target: &Target) -> Self {
        // Every status is an answer to be judged, and nobody is sent elsewhere: what is told to one host is not told to another.
        let mut config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).max_redirects_will_error(false);
        match &target.place {
            Place::Url { ca, timeout, .. } => {
                config = config.timeout_global(Some(*timeout));
                if let Some(pem) = ca {
                    config = config.tls_config(TlsConfig::builder().root_certs(RootCerts::Specific(Arc::new(roots(pem)))).build());
                }
            }
            Place::Dir(dir) => sweep(dir),
        }
        Self { target: target.clone(), agent: ureq::Agent::new_with_config(config.build()) }
    }

    /// Takes a text to where it goes.
    pub(super) async fn deliver(&self, submission: &Submission, filling: &Filling<'_>, text: String) -> Delivery {
        let secret = match self.secret() {
            Ok(secret) => secret,
            Err(detail) => return Delivery::Failed { answered: false, detail },
        };
        let filling = Filling { secret: &secret, ..*filling };
        match (&submission.transport, &self.target.place) {
            (Transport::File { name }, Place::Dir(dir)) => {
                let (dir, name) = (dir.clone(), submission.fill(name, &filling));
                let written = tokio::task::spawn_blocking(move || (write(&dir, &name, text.as_bytes()), name)).await;
                match written {
                    Ok((Ok(()), name)) => Delivery::Taken { outcome: "sent", detail: json!({ "code": "written", "file": name }) },
                    Ok((Err(error), name)) => Delivery::Failed {
                        answered: false,
                        detail: json!({"code": "not_written", "file": name, "says": error.to_string()}),
                    },
                    Err(error) => Delivery::Failed { answered: false, detail: json!({"code": "not_written", "says": error.to_string()}) },
                }
            }
            (Transport::Call(call), Place::Url { url, .. }) => {
                let url = url.clone() + &submission.fill(&call.path, &filling);
                let mut headers: Vec<(String, String)> = vec![("content-type".to_owned(), content_type(&submission.format).to_owned())];
                for (name, template) in &call.headers {
                    headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
                    headers.push((name.clone(), submission.fill(template, &filling)));
                }
                let (agent, put) = (self.agent.clone(), call.put);
                // A thread of its own, not one of the runtime's: a node that stops does not wait for a platform that does not answer. What is lost by that goes again.
                let (told, answer) = tokio::sync::oneshot::channel();
                let began = std::thread::Builder::new().name("submission".to_owned()).spawn(move || {
                    let _ = told.send(ask(&agent, put, &url, &headers, &text));
                });
                match (began, answer.await) {
                    (Ok(_), Ok(asked)) => judge(call, asked, &secret),
                    (Err(error), _) => {
                        Delivery::Failed { answered: false, detail: json!({"code": "no_answer", "says": error.to_string()}) }
                    }
                    (Ok(_), Err(error)) => {
                        Delivery::Failed { answered: false, detail: json!({"code": "no_answer", "says": error.to_string()}) }
                    }
                }
            }
            // Looked at before anything is sent.
            _ => Delivery::Failed { answered: false, detail: json!({ "code": "misfit" }) },
        }
    }

    /// Read each time: an operator who replaces it need not start the node anew. Where it lies is said by the configuration, not by the log of attempts.
    fn secret(&self) -> Result<String, Json> {
        let Some(path) = &self.target.secret_file else { return Ok(String::new()) };
        let fail = |says: String| json!({"code": "no_secret", "says": says});
        let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
        let secret = text.trim_end().to_owned();
        if is_secret(&secret) { Ok(secret) } else { Err(fail("it holds no secret".to_owned())) }
    }
}

/// Status and body; of no answer, whether anybody was reached, and why.
type Asked = Result<(u16, String), (bool, String)>;

fn ask(agent: &ureq::Agent, put: bool, url: &str, headers: &[(String, String)], text: &str) -> Asked {
    let mut request = if put { agent.put(url) } else { agent.post(url) };
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let mut response = request.send(text).map_err(|error| (false, error.to_string()))?;
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(ANSWER_BYTES).lossy_utf8(true).read_to_string();
    body.map(|body| (status, body)).map_err(|error| (true, format!("{status}, then {error}")))
}

fn judge(call: &Call, asked: Asked, secret: &str) -> Delivery {
    let short = |text: &str| {
        let text = if secret.is_empty() { text.to_owned() } else { text.replace(secret, "…") };
        let text: String = text.chars().filter(|c| !c.is_control() || *c == '\n').take(WORDS_CHARS).collect();
        text
    };
    let (status, body) = match asked {
        Ok(answer) => answer,
        Err((answered, why)) => return Delivery::Failed { answered, detail: json!({"code": "no_answer", "says": short(&why)}) },
    };
    let json: Option<Json> = serde_json::from_str(&body).ok();
    let said = call.says.as_ref().zip(json.as_ref()).map(|(path, json)| source::at(json, path));
    let says = match said {
        Some(Json::String(text)) => short(text),
        Some(other) if !other.is_null() => short(&other.to_string()),
        _ => short(&body),
    };
    let detail = |code: &str| json!({"code": code, "status": status, "says": says});
    if call.accepted.holds(status, json.as_ref()) {
        Delivery::Taken { outcome: "accepted", detail: detail("accepted") }
    } else if call.refused.as_ref().is_some_and(|refused| refused.holds(status, json.as_ref())) {
        Delivery::Refused { detail: detail("refused") }
    } else {
        Delivery::Failed { answered: true, detail: detail("unclear") }
    }
}

/// Writes a file so that nobody ever sees a part of it: beside its place under another name, synced, renamed, and the directory synced.
fn write(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let part: PathBuf = dir.join(format!(".{name}{PART}"));
    let written = (|| {
        let mut file = std::fs::File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, dir.join(name))?;
        std::fs::File::open(dir)?.sync_all()
    })();
    if written.is_err() {
        // A full disk must not keep the half of it too.
        let _ = std::fs::remove_file(&part);
    }
    written
}

/// Removes what a crash left half written.
fn sweep(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with('.') && name.ends_with(PART)) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use anlan_domain::submission::Verdict;

    use super::*;

    fn call(refused: bool) -> Call {
        let verdict = |status: &[u16], word: &str| Verdict { status: status.to_vec(), json: Some(("data.code".into(), vec![word.into()])) };
        let text = include_str!("../../../../packs/submission-example/submissions/example-province/submission.toml");
        let Ok(Submission { transport: Transport::Call(call), .. }) = Submission::parse(text) else { panic!("a call") };
        Call {
            accepted: verdict(&[200, 201], "0"),
            refused: refused.then(|| verdict(&[200], "E1")),
            says: Some("data.message".into()),
            ..call
        }
    }

    #[test]
    fn an_answer_is_judged_by_status_and_word() {
        let check = |status: u16, body: &str, want: &str| {
            let judged = judge(&call(true), Ok((status, body.to_owned())), "s3cret");
            let (is, detail) = match judged {
                Delivery::Taken { outcome, detail } => (outcome, detail),
                Delivery::Refused { detail } => ("refused", detail),
                Delivery::Failed { answered, detail } => (if answered { "unclear" } else { "silent" }, detail),
            };
            assert_eq!(is, want, "{status} {body}: {detail}");
            assert!(!detail.to_string().contains("s3cret"), "{detail}");
            detail
        };
        check(200, r#"{"data":{"code":"0"}}"#, "accepted");
        check(201, r#"{"data":{"code":0,"message":"ok"}}"#, "accepted");
        let told = check(200, r#"{"data":{"code":"E1","message":"重复 s3cret"}}"#, "refused");
        assert_eq!(told["says"], "重复 …");
        check(200, r#"{"data":{"code":"E2"}}"#, "unclear");
        check(500, r#"{"data":{"code":"0"}}"#, "unclear");
        check(302, "", "unclear");
        let told = check(200, &"<html>s3cret".repeat(200), "unclear");
        assert!(told["says"].as_str().is_some_and(|says| says.chars().count() <= WORDS_CHARS));
        assert!(matches!(
            judge(&call(false), Ok((200, r#"{"data":{"code":"E1"}}"#.to_owned())), ""),
            Delivery::Failed { answered: true, .. }
        ));
        assert!(matches!(judge(&call(true), Err((false, "refused".to_owned())), ""), Delivery::Failed { answered: false, .. }));
    }

    #[test]
    fn a_secret_that_cannot_be_read_does_not_say_where_it_lies() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hidden");
        let place = Place::Dir(dir.path().to_owned());
        let target = Target { name: "p".into(), submission: "s".into(), place, secret_file: Some(path.clone()) };
        let sender = Sender::new(&target);
        let told = |sender: &Sender| sender.secret().unwrap_err();
        let missing = told(&sender);
        std::fs::write(&path, "\u{1}").unwrap();
        for told in [missing, told(&sender)] {
            assert!(told["code"] == "no_secret" && told["says"] != "" && !told.to_string().contains("hidden"), "{told}");
        }
    }

    #[test]
    fn a_file_is_there_wholly_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a.csv", b"one\n").unwrap();
        write(dir.path(), "a.csv", b"two\n").unwrap();
        assert_eq!(std::fs::read(dir.path().join("a.csv")).unwrap(), b"two\n");
        // What a crash left goes, and nothing else does.
        std::fs::write(dir.path().join(format!(".b.csv{PART}")), "hal").unwrap();
        std::fs::write(dir.path().join(".keep"), "x").unwrap();
        sweep(dir.path());
        let mut names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, [".keep", "a.csv"]);
        // A directory in its place: refused, and no part stays behind.
        std::fs::create_dir(dir.path().join("c.csv")).unwrap();
        assert!(write(dir.path(), "c.csv", b"x").is_err());
        assert!(!dir.path().join(format!(".c.csv{PART}")).exists());
        assert!(write(&dir.path().join("nowhere"), "x", b"x").is_err(), "a directory that is not mounted is not made");
    }
}
