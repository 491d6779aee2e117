//! What every answer carries and every request passes: headers, the demo mark, the limit of requests in work.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anlan_app::error::{AppError, Kind};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;
use tracing::Instrument as _;

use crate::problem::Failure;
use crate::{ARRIVING, BODY_LIMIT, OPEN_BODY_BYTES, Shared};

/// Proven with the map, the charts and the live stream of the console; everything comes from one origin.
const CSP: &str = "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; worker-src 'self' blob:; \
                   connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'";

/// Security headers, the demo mark, and no caching of what people may see.
pub(crate) async fn headers(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let api = ["/api/", "/sta/"].iter().any(|root| request.uri().path().starts_with(root));
    let mut response = next.run(request).await;
    let out = response.headers_mut();
    let mut put = |name: HeaderName, value: &'static str| out.insert(name, HeaderValue::from_static(value));
    put(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    put(header::X_FRAME_OPTIONS, "DENY");
    put(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    if shared.secure {
        put(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    if shared.demo {
        put(HeaderName::from_static("x-anlan-demo"), "1");
    }
    out.entry(header::REFERRER_POLICY).or_insert(HeaderValue::from_static("same-origin"));
    // What is given out as a file brings a stricter one.
    out.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(CSP));
    if api && !out.contains_key(header::CACHE_CONTROL) {
        out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// Where a request takes its place; `None` for the pages that must answer when everything else is full.
fn places<'a>(shared: &'a Shared, request: &Request) -> Option<&'a Arc<Semaphore>> {
    match (request.method(), request.uri().path()) {
        (_, "/healthz" | "/readyz") => None,
        // A form with files: it counts itself, see `public::whistleblow`.
        (&Method::POST, "/public/report" | "/public/follow/more") => None,
        // Their bodies are read before anybody is known, and before they take a place.
        (&Method::POST, "/api/v1/session" | "/api/v1/setup" | "/api/v1/certificates/verify" | "/public/follow" | "/public/licences") => {
            Some(&shared.open_requests)
        }
        _ => Some(&shared.requests),
    }
}

/// Bodies of strangers that are on their way, by address: a silent sender fills up its own share only, and no place of work.
#[derive(Default)]
pub(crate) struct Arriving(Mutex<(usize, HashMap<IpAddr, usize>)>);

impl Arriving {
    /// A place, as long as it is held; `None` = so many there are, in all or of this address, already.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr, (all, each): (usize, usize)) -> Option<Arrival> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.0 >= all || open.1.get(&address).is_some_and(|n| *n >= each) {
            return None;
        }
        open.0 += 1;
        *open.1.entry(address).or_default() += 1;
        Some(Arrival(self.clone(), address))
    }
}

pub(crate) struct Arrival(Arc<Arriving>, IpAddr);

impl Drop for Arrival {
    fn drop(&mut self) {
        let mut open = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.0 = open.0.saturating_sub(1);
        if let Some(n) = open.1.get_mut(&self.1) {
            *n = n.saturating_sub(1);
            if *n == 0 {
                open.1.remove(&self.1);
            }
        }
    }
}

/// The request with its body whole.
async fn arrived(shared: &Shared, request: Request) -> Result<Request, Failure> {
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |c| c.0.ip());
    let Some(_arrival) = shared.arriving.enter(address, ARRIVING) else {
        metrics::counter!("anlan_http_refused_total", "reason" => "arriving").increment(1);
        return Err(AppError::new(Kind::Unavailable, "server.busy").into());
    };
    let (parts, body) = request.into_parts();
    let bytes = tokio::time::timeout(BODY_LIMIT, axum::body::to_bytes(body, OPEN_BODY_BYTES)).await;
    let bytes = bytes.map_err(|_| AppError::invalid("body.too_slow", ""))?.map_err(|_| AppError::too_large("body.too_large"))?;
    Ok(Request::from_parts(parts, bytes.into()))
}

/// Bounds the requests in work and times them.
pub(crate) async fn limit(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let is_open = places(&shared, &request).is_some_and(|places| Arc::ptr_eq(places, &shared.open_requests));
    let request = match if is_open { arrived(&shared, request).await } else { Ok(request) } {
        Ok(request) => request,
        Err(failure) => return failure.into_response(),
    };
    let Ok(place) = places(&shared, &request).cloned().map(Semaphore::try_acquire_owned).transpose() else {
        return Failure::from(AppError::new(Kind::Unavailable, "server.busy")).into_response();
    };
    let from = Instant::now();
    let response = if request.method().is_safe() {
        let _place = place;
        next.run(request).await
    } else {
        let change = async move {
            let _place = place;
            next.run(request).await
        };
        let done = shared.app.see_through(change.in_current_span()).await;
        done.unwrap_or_else(|| Failure::from(AppError::new(Kind::Internal, "internal")).into_response())
    };
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
