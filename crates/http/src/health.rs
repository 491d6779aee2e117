//! For machines that watch this one: alive, ready, metrics.

use std::net::SocketAddr;
use std::time::Duration;

use anlan_model::Clock as _;
use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use subtle::ConstantTimeEq as _;

use crate::Shared;

/// A database that takes longer than this counts as not answering.
const PING_LIMIT: Duration = Duration::from_secs(2);

/// The process answers.
pub(crate) async fn alive() -> &'static str {
    "ok"
}

#[derive(Serialize)]
struct Ready {
    /// `ok` or `degraded`: readings are kept either way.
    status: &'static str,
    /// The database answers.
    database: bool,
    /// The log takes readings.
    log: bool,
    position: u64,
    projected: u64,
    queued: u64,
    /// What is wrong, worst first: words as in the live stream's `ping`.
    troubles: Vec<&'static str>,
}

/// 200 while readings are kept, even without the database; 503 once the log refuses.
pub(crate) async fn ready(State(shared): State<Shared>) -> Response {
    let log = shared.app.telemetry.status();
    let database = matches!(tokio::time::timeout(PING_LIMIT, anlan_app::access::database_answers(&shared.app)).await, Ok(true));
    let body = Ready {
        status: if log.degraded() || !database { "degraded" } else { "ok" },
        database,
        log: !log.log_failed,
        position: log.position,
        projected: log.projected,
        queued: log.queued,
        troubles: shared.app.troubles(shared.app.clock.now()).into_iter().map(anlan_app::health::Trouble::word).collect(),
    };
    let status = if log.log_failed { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, Json(body)).into_response()
}

/// Whether the metrics may be told: to this machine itself (not through a proxy on it), or for the token.
fn may_see_metrics(shared: &Shared, peer: SocketAddr, headers: &HeaderMap) -> bool {
    let proxied = headers.contains_key("x-forwarded-for") || headers.contains_key("forwarded");
    let given = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
    let has_token = match (&shared.metrics_token, given) {
        (Some(token), Some(given)) => bool::from(token.as_bytes().ct_eq(given.trim().as_bytes())),
        _ => false,
    };
    has_token || (peer.ip().to_canonical().is_loopback() && !proxied)
}

/// Prometheus' text format; outside loopback for the token only.
pub(crate) async fn metrics(State(shared): State<Shared>, ConnectInfo(peer): ConnectInfo<SocketAddr>, headers: HeaderMap) -> Response {
    match &shared.metrics {
        Some(_) if !may_see_metrics(&shared, peer, &headers) => {
            metrics::counter!("anlan_http_refused_total", "reason" => "metrics_token").increment(1);
            let say = "metrics are told to this machine, or for `Authorization: Bearer TOKEN` with http.metrics_token\n";
            (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], say).into_response()
        }
        Some(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
