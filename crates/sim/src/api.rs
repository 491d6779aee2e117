//! The public HTTP API as seen by the simulators: sign in, ask, page through lists. Blocking, a few threads at most.
//!
//! Knows no URL of its own besides the sign-in. Start at [`Api::sign_in`].

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

/// Who asks.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A session token.
    Token(String),
    /// A user with a password.
    Password {
        /// User name.
        username: String,
        /// Password.
        password: String,
    },
}

/// Why the server did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No answer, or not readable.
    #[error("{method} {path}")]
    Transport {
        /// Method.
        method: &'static str,
        /// Path.
        path: String,
        /// Cause.
        #[source]
        source: Box<ureq::Error>,
    },
    /// A refusal.
    #[error("{method} {path} answers {status}: {body}")]
    Status {
        /// Method.
        method: &'static str,
        /// Path.
        path: String,
        /// HTTP status.
        status: u16,
        /// Beginning of the body.
        body: String,
    },
    /// The answer is not what the interface promises.
    #[error("{path} answers something else than {expected}")]
    Shape {
        /// Path.
        path: String,
        /// What was expected.
        expected: &'static str,
    },
}

impl ApiError {
    /// The HTTP status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::Transport { .. } | Self::Shape { .. } => None,
        }
    }
}

/// A signed-in client. Cheap to share between threads.
#[derive(Clone)]
pub struct Api {
    agent: ureq::Agent,
    base: String,
    token: String,
}

/// Largest answer that is read: 10,000 readings are about 1.5 MB.
const ANSWER_MAX: u64 = 64 << 20;
/// A server that is just starting or busy answers 429 or 503; asked so often, then given up.
const TRIES: u32 = 6;

impl Api {
    /// A client of `base` (such as `http://127.0.0.1:8080`), signed in.
    ///
    /// # Errors
    /// [`ApiError`] if the server cannot be reached or refuses the password.
    pub fn sign_in(base: &str, credentials: &Credentials) -> Result<Self, ApiError> {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(60)));
        // A proxy of the environment is for the outside world; the server is named by its address.
        let agent = config.proxy(None).build().into();
        let mut api = Self { agent, base: base.trim_end_matches('/').to_owned(), token: String::new() };
        api.token = match credentials {
            Credentials::Token(token) => token.clone(),
            Credentials::Password { username, password } => {
                let path = "/api/v1/session";
                let session = api.post(path, &json!({ "username": username, "password": password }))?;
                let token = session["token"].as_str().ok_or(ApiError::Shape { path: path.to_owned(), expected: "a token" })?;
                token.to_owned()
            }
        };
        Ok(api)
    }

    /// GET.
    ///
    /// # Errors
    /// [`ApiError`] for anything but a JSON answer with status 2xx; as the others.
    pub fn get(&self, path: &str) -> Result<Value, ApiError> {
        self.ask("GET", path, None)
    }
    /// POST.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, ApiError> {
        self.ask("POST", path, Some(body))
    }
    /// PUT.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn put(&self, path: &str, body: &Value) -> Result<Value, ApiError> {
        self.ask("PUT", path, Some(body))
    }
    /// PATCH.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn patch(&self, path: &str, body: &Value) -> Result<Value, ApiError> {
        self.ask("PATCH", path, Some(body))
    }

    /// All pages of a list: `path` may hold a query; `noun` is the member with the rows.
    ///
    /// # Errors
    /// As [`Self::get`], and [`ApiError::Shape`] if there is no such list.
    pub fn list(&self, path: &str, noun: &'static str) -> Result<Vec<Value>, ApiError> {
        let mut rows = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let joint = if path.contains('?') { '&' } else { '?' };
            let page_path = match &cursor {
                Some(cursor) => format!("{path}{joint}cursor={}", percent(cursor)),
                None => path.to_owned(),
            };
            let mut page = self.get(&page_path)?;
            let Value::Array(more) = page[noun].take() else {
                return Err(ApiError::Shape { path: page_path, expected: noun });
            };
            let empty = more.is_empty();
            rows.extend(more);
            let next = page["next"].as_str().map(str::to_owned);
            // A cursor that does not move would never end.
            if next.is_none() || empty || next == cursor {
                return Ok(rows);
            }
            cursor = next;
        }
    }

    fn ask(&self, method: &'static str, path: &str, body: Option<&Value>) -> Result<Value, ApiError> {
        let mut pause = Duration::from_millis(200);
        for again in (0..TRIES).rev() {
            match self.once(method, path, body) {
                Err(ApiError::Status { status: 429 | 503, .. }) if again > 0 => {}
                other => return other,
            }
            std::thread::sleep(pause);
            pause *= 2;
        }
        self.once(method, path, body)
    }

    /// The session's token.
    pub fn token(&self) -> &str {
        &self.token
    }

    fn once(&self, method: &'static str, path: &str, body: Option<&Value>) -> Result<Value, ApiError> {
        let url = format!("{}{path}", self.base);
        let transport = |source| ApiError::Transport { method, path: path.to_owned(), source: Box::new(source) };
        let bearer = format!("Bearer {}", self.token);
        let text = body.map(Value::to_string);
        let mut answer = match (method, text) {
            ("POST", Some(text)) => self.agent.post(&url).header("authorization", bearer).content_type("application/json").send(text),
            ("PUT", Some(text)) => self.agent.put(&url).header("authorization", bearer).content_type("application/json").send(text),
            ("PATCH", Some(text)) => self.agent.patch(&url).header("authorization", bearer).content_type("application/json").send(text),
            _ => self.agent.get(&url).header("authorization", bearer).call(),
        }
        .map_err(transport)?;
        let status = answer.status().as_u16();
        let text = answer.body_mut().with_config().limit(ANSWER_MAX).read_to_string().map_err(transport)?;
        if !(200..300).contains(&status) {
            return Err(ApiError::Status { method, path: path.to_owned(), status, body: text.chars().take(300).collect() });
        }
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).map_err(|_| ApiError::Shape { path: path.to_owned(), expected: "JSON" })
    }
}

/// `text` for a query: everything but unreserved characters percent-encoded (RFC 3986, 2.3).
pub fn percent(text: &str) -> String {
    let byte = |b: u8| match b {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// Does `work` for every item on `n_threads` threads and returns the results in order; the first error ends it early.
///
/// # Errors
/// The first error that a thread met.
pub fn in_parallel<T: Sync, R: Send, E: Send>(
    items: &[T],
    n_threads: usize,
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(items.len()));
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..n_threads.clamp(1, items.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(i) else { break };
                    match work(item) {
                        Ok(result) => lock(&results).push((i, result)),
                        Err(error) => {
                            next.store(items.len(), Ordering::Relaxed);
                            lock(&failed).get_or_insert(error);
                            break;
                        }
                    }
                }
            });
        }
    });
    if let Some(error) = lock(&failed).take() {
        return Err(error);
    }
    let mut results = std::mem::take(&mut *lock(&results));
    results.sort_by_key(|(i, _)| *i);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

/// A lock that a panicked thread left behind still holds whole values: each is changed in one step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parallel_work_keeps_its_order_and_stops_at_an_error() {
        let items: Vec<u32> = (0..500).collect();
        assert_eq!(in_parallel(&items, 8, |x| Ok::<_, ()>(x * 2)).unwrap(), items.iter().map(|x| x * 2).collect::<Vec<_>>());
        assert_eq!(in_parallel(&items, 8, |x| if *x == 77 { Err(77) } else { Ok(()) }), Err(77));
        assert_eq!(in_parallel(&[] as &[u32], 8, |_| Ok::<u32, ()>(1)), Ok(vec![]));
    }

    #[test]
    fn queries_are_encoded() {
        assert_eq!(percent("2026-01-01T00:00:00Z 演"), "2026-01-01T00%3A00%3A00Z%20%E6%BC%94");
    }
}
