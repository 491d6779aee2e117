//! Pictures, sounds and films of a vehicle's terminal (多媒体): the list, and the bytes of one.

use anlan_app::media::{self, MediaRow};
use anlan_app::validate;
use anlan_model::VehicleId;
use axum::Json;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Answer;
use crate::dto::{At, Place};
use crate::extract::{AppRef, Caller, Path2, PathId, Query};
use crate::problem::Failure;

/// A browser that opens one of these as a page runs nothing of it and loads nothing for it.
const CSP: &str = "default-src 'none'; sandbox; frame-ancestors 'none'";

/// A file of a terminal, or its announcement.
#[derive(Serialize, ToSchema)]
pub(crate) struct MediaFile {
    id: String,
    /// The terminal's own number; may come again.
    media_id: u32,
    /// `image`, `audio`, `video` or `other`, as the terminal said.
    kind: &'static str,
    /// `jpeg`, `tif`, `mp3`, `wav`, `wmv` or `other`, as the terminal said.
    format: &'static str,
    /// `platform`, `timer`, `robbery`, `collision`, `doors_open`, `doors_closed`, `stopped`, `distance` or `other`.
    event: &'static str,
    /// As sent.
    event_code: u8,
    /// Camera or microphone.
    channel: u8,
    received_at: At,
    /// By the terminal's clock.
    taken_at: Option<At>,
    place: Option<Place>,
    /// Hexadecimal; `null`: announced, the file never came.
    sha256: Option<String>,
    bytes: u64,
}

impl From<MediaRow> for MediaFile {
    fn from(row: MediaRow) -> Self {
        let m = row.media;
        let word = |words: &[&'static str], code: u8| words.get(usize::from(code)).copied().unwrap_or("other");
        Self {
            id: row.id.to_string(),
            media_id: m.media_id,
            kind: word(&["image", "audio", "video"], m.kind),
            format: word(&["jpeg", "tif", "mp3", "wav", "wmv"], m.format),
            // JT/T 808-2013, table 80; 4 to 7 since then.
            event: word(&["platform", "timer", "robbery", "collision", "doors_open", "doors_closed", "stopped", "distance"], m.event),
            event_code: m.event,
            channel: m.channel,
            received_at: m.received_at.into(),
            taken_at: m.taken_at.map(Into::into),
            place: m.place_e6.map(|(lon, lat)| Place { lon: f64::from(lon) / 1e6, lat: f64::from(lat) / 1e6 }),
            sha256: Some(m.sha256).filter(|hash| !hash.is_empty()),
            bytes: m.bytes,
        }
    }
}

/// A page of files, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct MediaFileList {
    media: Vec<MediaFile>,
    next: Option<String>,
}

/// Which page.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    cursor: Option<String>,
    /// 1 to 1,000.
    limit: Option<u32>,
}

/// Lists what a vehicle's terminal sent or announced, newest first.
#[utoipa::path(get, path = "/vehicles/{id}/media", tag = "vehicle", params(("id" = String, Path), ListQuery), responses((status = 200, body = MediaFileList)))]
pub(crate) async fn list(AppRef(app): AppRef, caller: Caller, id: PathId, Query(query): Query<ListQuery>) -> Answer<MediaFileList> {
    let page = media::list(&app, &caller.scope, id.read()?, &validate::paging(query.cursor, query.limit)?).await?;
    Ok(Json(MediaFileList { media: page.items.into_iter().map(Into::into).collect(), next: page.next }))
}

/// The bytes of one file; that somebody asked for them stands in the audit.
#[utoipa::path(get, path = "/vehicles/{id}/media/{media}/content", tag = "vehicle", params(("id" = String, Path), ("media" = String, Path)), responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream")))]
pub(crate) async fn content(AppRef(app): AppRef, caller: Caller, ids: Path2) -> Result<Response, Failure> {
    let (vehicle, id): (VehicleId, i64) = ids.read()?;
    let content = media::content(&app, &caller.scope, vehicle, id).await?;
    let name = format!("attachment; filename=\"anlan-{vehicle}-{}.{}\"", content.row.id, content.extension);
    let mut response = content.bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content.media_type));
    // Digits and a known ending: always a header.
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_str(&name).unwrap_or(HeaderValue::from_static("attachment")));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CSP));
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    Ok(response)
}
