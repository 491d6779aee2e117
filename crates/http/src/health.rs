//! For machines that watch this one: alive, ready, metrics.

use std::time::Duration;

use anlan_model::Clock as _;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

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

/// Prometheus' text format.
pub(crate) async fn metrics(State(shared): State<Shared>) -> Response {
    match &shared.metrics {
        Some(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
