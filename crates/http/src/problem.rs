//! How failures leave: `{"errors":[{"code","detail","field","params"}],"trace"}` in the language the caller accepts.
//!
//! Handlers return [`Failure`]; it travels inside the response as an extension until [`render`] knows language and trace.

use std::collections::BTreeMap;
use std::sync::Arc;

use anlan_app::error::{AppError, Kind};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::messages::{self, Language};

/// What a handler returns instead of an answer.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) AppError);

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        // A matter of the transport: no use case knows it, so it is no kind of its own.
        let slow = self.0.code() == "body.too_slow";
        let status = if slow { StatusCode::REQUEST_TIMEOUT } else { status(self.0.kind) };
        let mut response = status.into_response();
        if let Kind::TooMany { retry_after_s } = self.0.kind {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after_s));
        }
        if self.0.kind == Kind::Unauthorized {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(Arc::new(self.0));
        response
    }
}

pub(crate) fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::Unauthorized => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
        Kind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The body of every refusal.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problems {
    /// What is wrong, one entry a fault.
    errors: Vec<Problem>,
    /// Names this request in the log.
    trace: String,
}

/// One fault.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Stable word for programs.
    code: &'static str,
    /// A sentence for people, in the accepted language.
    detail: String,
    /// Path of the field at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// Values of the sentence.
    params: BTreeMap<&'static str, String>,
}

/// The trace id of a request, also in the log.
#[derive(Clone, Debug)]
pub(crate) struct Trace(pub(crate) Arc<str>);

/// Gives every request a trace id, and every failure its body.
pub(crate) async fn render(mut request: Request, next: Next) -> Response {
    let trace = Trace(random_id().into());
    let language = language(request.headers());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    request.extensions_mut().insert(trace.clone());
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::from_str(&trace.0) {
        response.headers_mut().insert("x-request-id", value);
    }
    let Some(error) = response.extensions_mut().remove::<Arc<AppError>>() else { return response };
    let code = error.code();
    if error.kind == Kind::Internal || error.kind == Kind::Unavailable {
        let cause = error.source.as_deref().map(|s| s as &(dyn std::error::Error + 'static));
        tracing::error!(trace = %trace.0, %method, path, code, error = cause, "{method} {path} failed: {code}");
    } else {
        tracing::debug!(trace = %trace.0, %method, path, code, "{method} {path} refused: {code}");
    }
    metrics::counter!("anlan_http_refused_total", "code" => code).increment(1);
    let errors = error.problems.iter().map(|p| Problem {
        code: p.code,
        detail: messages::sentence(p.code, language, &p.params),
        field: p.field.clone(),
        params: p.params.clone(),
    });
    let body = Problems { errors: errors.collect(), trace: trace.0.to_string() };
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let mut answer = axum::Json(body).into_response();
    *answer.status_mut() = parts.status;
    for (name, value) in &parts.headers {
        if name != header::CONTENT_TYPE {
            answer.headers_mut().insert(name.clone(), value.clone());
        }
    }
    answer.headers_mut().insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(language.tag()));
    answer.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-language"));
    answer
}

/// The first language of Accept-Language that we speak; Chinese if none.
pub(crate) fn language(headers: &HeaderMap) -> Language {
    let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let mut best = (0.0, Language::Chinese);
    for entry in accepted.split(',').take(20) {
        let mut parts = entry.split(';');
        let tag = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        let weight = parts.find_map(|p| p.trim().strip_prefix("q=")).map_or(1.0, |q| q.trim().parse::<f32>().unwrap_or(0.0));
        let spoken = match tag.split('-').next() {
            Some("zh") => Language::Chinese,
            Some("en") => Language::English,
            _ => continue,
        };
        if weight > best.0 {
            best = (weight, spoken);
        }
    }
    best.1
}

/// 64 random bits as hex: enough to find one request in the log.
fn random_id() -> String {
    let mut bytes = [0; 8];
    // A trace id only has to differ; if the system has no randomness the counter of nanoseconds does.
    if getrandom::fill(&mut bytes).is_err() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        bytes = (now.as_nanos() as u64).to_be_bytes();
    }
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &str, want: Language) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_LANGUAGE, accept.parse().unwrap());
        assert_eq!(language(&headers), want, "{accept}");
    }

    #[test]
    fn the_weightiest_spoken_language_wins_and_chinese_is_the_default() {
        check("", Language::Chinese);
        check("fr, de;q=0.9", Language::Chinese);
        check("en", Language::English);
        check("en-GB,en;q=0.9,zh;q=0.8", Language::English);
        check("fr,zh-CN;q=0.9,en;q=0.8", Language::Chinese);
        check("en;q=zero", Language::Chinese);
    }
}
