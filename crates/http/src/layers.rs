//! What every answer carries and every request passes: headers, the demo mark, the limit of requests in work.

use std::time::Instant;

use anlan_app::error::{AppError, Kind};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use crate::Shared;
use crate::problem::Failure;

/// Proven with the map, the charts and the live stream of the console; everything comes from one origin.
const CSP: &str = "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; worker-src 'self' blob:; \
                   connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'";

/// Security headers, the demo mark, and no caching of what people may see.
pub(crate) async fn headers(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let api = request.uri().path().starts_with("/api/");
    let mut response = next.run(request).await;
    let out = response.headers_mut();
    let mut put = |name: HeaderName, value: &'static str| out.insert(name, HeaderValue::from_static(value));
    put(header::CONTENT_SECURITY_POLICY, CSP);
    put(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    put(header::X_FRAME_OPTIONS, "DENY");
    put(header::REFERRER_POLICY, "same-origin");
    put(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    if shared.secure {
        put(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    if shared.demo {
        put(HeaderName::from_static("x-anlan-demo"), "1");
    }
    if api && !out.contains_key(header::CACHE_CONTROL) {
        out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// Where a request takes its place; `None` for the pages that must answer when everything else is full.
fn places<'a>(shared: &'a Shared, request: &Request) -> Option<&'a Semaphore> {
    match (request.method(), request.uri().path()) {
        (_, "/healthz" | "/readyz") => None,
        // Their bodies are read before anybody is known: whoever holds them back holds back only each other.
        (&Method::POST, "/api/v1/session" | "/api/v1/setup" | "/api/v1/test/clock") => Some(&shared.open_requests),
        _ => Some(&shared.requests),
    }
}

/// Bounds the requests in work and times them.
pub(crate) async fn limit(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let Ok(_place) = places(&shared, &request).map(Semaphore::try_acquire).transpose() else {
        return Failure::from(AppError::new(Kind::Unavailable, "server.busy")).into_response();
    };
    let from = Instant::now();
    let response = next.run(request).await;
    let class = match response.status().as_u16() / 100 {
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "other",
    };
    metrics::histogram!("anlan_http_request_seconds", "class" => class).record(from.elapsed().as_secs_f64());
    response
}

/// A known address asked with a method it does not have.
pub(crate) async fn method_not_allowed() -> Response {
    let mut response = Failure::from(AppError::invalid("method.unknown", "")).into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}
