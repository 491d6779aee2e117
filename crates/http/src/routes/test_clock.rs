//! The test clock of INTERFACES: this machine only, no sign-in, 404 without `--test-clock`.

use std::net::IpAddr;

use anlan_app::clock::ClockError;
use anlan_app::error::AppError;
use anlan_model::{Clock as _, Timestamp};
use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Answer;
use crate::Shared;
use crate::dto::At;
use crate::extract::{AppRef, Body, Peer};
use crate::problem::Failure;

/// Domain time.
#[derive(Serialize, ToSchema)]
pub(crate) struct TestClock {
    now: At,
    /// Timers that were due when asked; they have run when this answers.
    due: u64,
}

/// Domain time after a move.
#[derive(Serialize, ToSchema)]
pub(crate) struct TestClockMoved {
    now: At,
    /// Timers that ran.
    ran: u64,
}

/// Exactly one of the three.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestClockBody {
    /// RFC 3339, not before now.
    #[serde(default)]
    set: Option<String>,
    /// Seconds, not negative.
    #[serde(default)]
    advance_s: Option<f64>,
    /// 0 freezes.
    #[serde(default)]
    rate: Option<f64>,
}

/// Somebody at this machine itself, while there is a test clock; to everybody else the endpoint does not exist.
///
/// Only parts of the request are looked at, so a refused one has its body left unread.
pub(crate) struct Near;

impl FromRequestParts<Shared> for Near {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Failure> {
        let peer = Peer::from_request_parts(parts, shared).await?;
        let here = parts.uri.authority().is_none_or(names_this_machine) && asked_directly(&parts.headers);
        if shared.app.clock.is_test() && peer.0.is_loopback() && here { Ok(Self) } else { Err(AppError::not_found().into()) }
    }
}

/// A proxy on this machine also comes from loopback, and so does a page whose name was made to point here: both show in headers.
fn asked_directly(headers: &HeaderMap) -> bool {
    let relayed = ["forwarded", "x-forwarded-for", "x-real-ip", "via"].iter().any(|name| headers.contains_key(*name));
    let local = |host: &HeaderValue| Authority::try_from(host.as_bytes()).is_ok_and(|host| names_this_machine(&host));
    !relayed && headers.get_all(header::HOST).iter().all(local)
}

fn names_this_machine(authority: &Authority) -> bool {
    let host = authority.host();
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || literal.is_ok_and(|address| address.is_loopback())
}

/// Reads the test clock.
#[utoipa::path(get, path = "/test/clock", tag = "test", responses((status = 200, body = TestClock)), security(()))]
pub(crate) async fn read(AppRef(app): AppRef, _: Near) -> Answer<TestClock> {
    // Timers run within a tenth of a second of falling due anyway; asking first makes the answer exact.
    let due = app.settle().await as u64;
    Ok(Json(TestClock { now: app.clock.now().into(), due }))
}

/// Moves the test clock; answers after everything due by then has run and is committed.
#[utoipa::path(post, path = "/test/clock", tag = "test", request_body = TestClockBody, responses((status = 200, body = TestClockMoved)), security(()))]
pub(crate) async fn change(AppRef(app): AppRef, _: Near, Body(body): Body<TestClockBody>) -> Answer<TestClockMoved> {
    let moved = match (body.set, body.advance_s, body.rate) {
        (Some(at), None, None) => app.clock.set(Timestamp::parse(&at).map_err(|_| AppError::invalid("time.malformed", "set"))?),
        (None, Some(s), None) if s.is_finite() && (0.0..=1e11).contains(&s) => app.clock.set(app.clock.now().plus_us((s * 1e6) as i64)),
        (None, Some(_), None) => return Err(AppError::invalid("number.range", "advance_s").with("min", 0).with("max", 1e11).into()),
        (None, None, Some(rate)) => app.clock.set_rate(rate),
        _ => return Err(AppError::invalid("clock.one_of", "set").into()),
    };
    match moved {
        Some(Ok(())) => {}
        Some(Err(ClockError::Backward { .. })) => return Err(AppError::conflict("clock.backward").on("set").into()),
        Some(Err(ClockError::Rate(_))) => return Err(AppError::invalid("number.range", "rate").with("min", 0).with("max", 100_000).into()),
        Some(Err(failure @ ClockError::File { .. })) => {
            tracing::error!(error = &failure as &dyn std::error::Error, "the shared test clock cannot be moved");
            return Err(AppError::new(anlan_app::error::Kind::Internal, "internal").into());
        }
        None => return Err(AppError::not_found().into()),
    }
    let ran = app.settle().await;
    Ok(Json(TestClockMoved { now: app.clock.now().into(), ran: ran as u64 }))
}
