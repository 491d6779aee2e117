//! Keys of open data: `Authorization: Bearer anlan_key_…`, taken before anything else, counted, and told in headers.
//!
//! A key opens what [`Reads`] guards and nothing else, and only to read. Whoever is signed in reads the same without one. Start at [`guard`].

use std::marker::PhantomData;
use std::sync::Arc;

use anlan_app::error::AppError;
use anlan_app::open_data::{self, Access, Dataset, PREFIX, Quota};
use anlan_model::Scope;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::Shared;
use crate::extract::Known;
use crate::problem::Failure;

/// The key that a request shows.
fn shown(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    Some(key.trim()).filter(|key| scheme.eq_ignore_ascii_case("bearer") && key.starts_with(PREFIX))
}

/// Takes the key of a request that shows one, says in headers what is left of it, and refuses everything but reading.
pub(crate) async fn guard(State(shared): State<Shared>, mut request: Request, next: Next) -> Response {
    let Some(key) = shown(request.headers()).map(str::to_owned) else { return next.run(request).await };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Failure::from(AppError::forbidden("api_key.read_only")).into_response();
    }
    let (quota, mut response) = match open_data::enter(&shared.app, &key).await {
        Ok(access) => {
            let quota = access.quota;
            request.extensions_mut().insert(Arc::new(access));
            (Some(quota), next.run(request).await)
        }
        Err(refused) => (refused.quota, Failure::from(refused.error).into_response()),
    };
    if let Some(quota) = quota {
        let out = response.headers_mut();
        for (name, text) in [("ratelimit-policy", policy(&quota)), ("ratelimit", left(&quota))] {
            if let Ok(value) = HeaderValue::from_str(&text) {
                out.insert(HeaderName::from_static(name), value);
            }
        }
    }
    response
}

/// Form of both: draft-ietf-httpapi-ratelimit-headers, quota and window, what is left and seconds until more.
fn policy(q: &Quota) -> String {
    format!("\"minute\";q={};w=60, \"day\";q={};w=86400", q.per_minute, q.per_day)
}

fn left(q: &Quota) -> String {
    format!("\"minute\";r={};t={}, \"day\";r={};t={}", q.minute_left, q.minute_s, q.day_left, q.day_s)
}

/// The key that came with the request, if [`guard`] took one.
pub(crate) fn access(parts: &Parts) -> Option<Arc<Access>> {
    parts.extensions.get::<Arc<Access>>().cloned()
}

/// A dataset as a type, so that no handler forgets to ask for it.
pub(crate) trait Read {
    const DATASET: Dataset;
}
/// Readings, by SensorThings.
pub(crate) struct Telemetry;
impl Read for Telemetry {
    const DATASET: Dataset = Dataset::Telemetry;
}
/// Indicators and plans.
pub(crate) struct Indicators;
impl Read for Indicators {
    const DATASET: Dataset = Dataset::Indicators;
}

/// Somebody signed in, or a key that was made for the dataset.
pub(crate) struct Reads<D> {
    /// What they may see.
    pub(crate) scope: Scope,
    dataset: PhantomData<D>,
}

impl<D: Read> FromRequestParts<Shared> for Reads<D> {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Failure> {
        let scope = match access(parts) {
            Some(access) => access.scope(D::DATASET)?,
            None => Known::from_request_parts(parts, shared).await?.0.scope(),
        };
        Ok(Self { scope, dataset: PhantomData })
    }
}

/// What somebody may see of a dataset, if they said who they are; for what is told to anybody.
pub(crate) struct MaybeReads(pub(crate) Vec<(Dataset, Scope)>);

impl FromRequestParts<Shared> for MaybeReads {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Failure> {
        if let Some(access) = access(parts) {
            return Ok(Self(Dataset::ALL.into_iter().filter_map(|d| Some((d, access.scope(d).ok()?))).collect()));
        }
        // Who shows nothing, or a session that is over, is told what anybody is told.
        let known = Known::from_request_parts(parts, shared).await;
        Ok(Self(known.map_or_else(|_| Vec::new(), |known| Dataset::ALL.map(|d| (d, known.0.scope())).to_vec())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_bearer_token_with_its_prefix() {
        let of = |text: &str| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(text).unwrap())]);
            shown(&headers).map(str::to_owned)
        };
        assert_eq!(of("Bearer anlan_key_x").as_deref(), Some("anlan_key_x"));
        assert_eq!(of("bearer  anlan_key_x ").as_deref(), Some("anlan_key_x"));
        assert_eq!(of("Basic anlan_key_x"), None);
        assert_eq!(of("Bearer something"), None);
        assert_eq!(of("anlan_key_x"), None);
    }
}
