//! OGC SensorThings 1.1 below `/sta/v1.1`: an address in, JSON or one value out. Its paths are data, so it is no part of the OpenAPI document.

use anlan_app::error::AppError;
use anlan_app::sensorthings::{self, Answer};
use axum::Json;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use crate::Shared;
use crate::extract::{AppRef, Pairs};
use crate::key::{Reads, Telemetry};
use crate::problem::Failure;

/// Where the service begins.
pub(crate) const ROOT: &str = "/sta/v1.1";

/// The address of the service as the asker reaches it: what the operator says, else what the request names.
fn base(shared: &Shared, uri: &Uri, headers: &HeaderMap) -> String {
    let own = shared.app.settings.open_data.base_url.trim_end_matches('/');
    if !own.is_empty() {
        return format!("{own}{ROOT}");
    }
    let named = headers.get(header::HOST).and_then(|host| host.to_str().ok()).or_else(|| uri.authority().map(Authority::as_str));
    // Only what can be a host goes into an answer.
    let host = named.filter(|host| host.parse::<Authority>().is_ok()).unwrap_or("localhost");
    format!("{}://{host}{ROOT}", if shared.secure { "https" } else { "http" })
}

/// Text with its percent signs resolved; `None` if it is no UTF-8 or holds NUL.
fn resolved(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = behind.get(..2).and_then(|d| std::str::from_utf8(d).ok()).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &behind[2..];
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// Reads entities; everything is in the address.
pub(crate) async fn get(
    axum::extract::State(shared): axum::extract::State<Shared>,
    AppRef(app): AppRef,
    reader: Reads<Telemetry>,
    uri: Uri,
    headers: HeaderMap,
    Pairs(options): Pairs,
) -> Result<Response, Failure> {
    let path = uri.path().strip_prefix(ROOT).unwrap_or_default();
    let path = resolved(path).ok_or_else(AppError::not_found)?;
    let answer = sensorthings::answer(&app, &reader.scope, &base(&shared, &uri, &headers), &path, options).await?;
    Ok(match answer {
        Answer::Json(json) => Json(json).into_response(),
        Answer::Text(text) => text.into_response(),
        Answer::Nothing => StatusCode::NO_CONTENT.into_response(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_signs_are_resolved_or_refused() {
        assert_eq!(resolved("/Things(%271%27)/name").as_deref(), Some("/Things('1')/name"));
        assert_eq!(resolved("/%E6%B0%B4").as_deref(), Some("/水"));
        for bad in ["%", "%2", "%zz", "%+1", "%ff", "%00"] {
            assert_eq!(resolved(bad), None, "{bad}");
        }
    }
}
