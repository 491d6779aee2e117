//! Files of records (附件): uploaded before the act that names them, given out to whoever sees the record.

use anlan_app::attachment::{self, AttachmentRow, Copy, by_media_type};
use anlan_domain::register::FileKind;
use anlan_model::AttachmentId;
use axum::Json;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio_util::io::ReaderStream;
use utoipa::{IntoParams, ToSchema};

use crate::dto::At;
use crate::extract::{AppRef, Caller, FileBody, PathId, Query};
use crate::problem::Failure;

/// A browser that opens one of these as a page runs nothing of it and loads nothing for it.
const CSP: &str = "default-src 'none'; sandbox; frame-ancestors 'none'";

/// A file.
#[derive(Serialize, ToSchema)]
pub(crate) struct Attachment {
    id: String,
    /// `null` = no act has named it; it goes after a day.
    record: Option<String>,
    name: String,
    /// `image`, `pdf`, `document`, `video` or `text`, by its bytes. An image has a thumbnail and a view.
    kind: &'static str,
    /// As it is served.
    media_type: String,
    bytes: u64,
    /// Of the file as it came, hexadecimal.
    sha256: String,
    /// Id of the person.
    uploaded_by: String,
    uploaded_at: At,
}

impl From<AttachmentRow> for Attachment {
    fn from(row: AttachmentRow) -> Self {
        Self {
            id: row.id.to_string(),
            record: row.record.map(|id| id.to_string()),
            // A row of a type that is no longer taken is still a file.
            kind: by_media_type(&row.file.media_type).map_or(FileKind::Document, |t| t.kind).as_str(),
            name: row.file.name,
            media_type: row.file.media_type,
            bytes: row.file.bytes,
            sha256: row.file.sha256,
            uploaded_by: row.file.by.to_string(),
            uploaded_at: row.file.at.into(),
        }
    }
}

/// What comes beside the bytes.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct UploadQuery {
    /// Name of the file; its ending must be of the type that the bytes have.
    name: String,
}

/// Takes a file: JPEG, PNG, WebP, PDF, DOCX, XLSX, MP4 or UTF-8 text, known by its bytes. It is its uploader's alone until an act names its id in a
/// field of files, and goes after a day without one. In one request: what breaks off is sent again.
#[utoipa::path(post, path = "/attachments", tag = "register", params(UploadQuery), request_body(content = Vec<u8>, content_type = "application/octet-stream"), responses((status = 201, body = Attachment)))]
pub(crate) async fn upload(
    AppRef(app): AppRef,
    caller: Caller,
    Query(query): Query<UploadQuery>,
    file: FileBody,
) -> Result<(StatusCode, Json<Attachment>), Failure> {
    let row = attachment::upload(&app, &caller.scope, &query.name, file.bytes).await?;
    Ok((StatusCode::CREATED, Json(row.into())))
}

/// Takes back an upload of one's own that no act has named.
#[utoipa::path(delete, path = "/attachments/{id}", tag = "register", params(("id" = String, Path)), responses((status = 204)))]
pub(crate) async fn forget(AppRef(app): AppRef, caller: Caller, id: PathId) -> Result<StatusCode, Failure> {
    attachment::forget(&app, &caller.scope, id.read()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The file as it came, compared with its hash.
#[utoipa::path(get, path = "/attachments/{id}/content", tag = "register", params(("id" = String, Path)), responses((status = 200, body = Vec<u8>, content_type = "*/*")))]
pub(crate) async fn content(AppRef(app): AppRef, caller: Caller, id: PathId) -> Result<Response, Failure> {
    let (row, file) = attachment::open(&app, &caller.scope, id.read::<AttachmentId>()?).await?;
    let stream = ReaderStream::with_capacity(tokio::fs::File::from_std(file), 64 << 10);
    let mut response = Body::from_stream(stream).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(row.file.bytes));
    let media_type = by_media_type(&row.file.media_type).map_or("application/octet-stream", |t| t.media_type);
    dress(&mut response, media_type, &disposition(row.id, &row.file.name));
    Ok(response)
}

/// A picture as a list shows it, upright, at most 480 pixels, JPEG.
#[utoipa::path(get, path = "/attachments/{id}/thumbnail", tag = "register", params(("id" = String, Path)), responses((status = 200, body = Vec<u8>, content_type = "image/jpeg")))]
pub(crate) async fn thumbnail(AppRef(app): AppRef, caller: Caller, id: PathId) -> Result<Response, Failure> {
    copy(&attachment::copy(&app, &caller.scope, id.read()?, Copy::Thumbnail).await?)
}

/// A picture as a screen shows it, upright, at most 1,600 pixels, JPEG.
#[utoipa::path(get, path = "/attachments/{id}/view", tag = "register", params(("id" = String, Path)), responses((status = 200, body = Vec<u8>, content_type = "image/jpeg")))]
pub(crate) async fn view(AppRef(app): AppRef, caller: Caller, id: PathId) -> Result<Response, Failure> {
    copy(&attachment::copy(&app, &caller.scope, id.read()?, Copy::View).await?)
}

fn copy(bytes: &[u8]) -> Result<Response, Failure> {
    let mut response = bytes.to_vec().into_response();
    dress(&mut response, "image/jpeg", "inline");
    Ok(response)
}

fn dress(response: &mut Response, media_type: &'static str, disposition: &str) {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_str(disposition).unwrap_or(HeaderValue::from_static("attachment")));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CSP));
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
}

/// A file to keep, under its name (RFC 6266) and, for who does not read that, a plain one.
fn disposition(id: AttachmentId, name: &str) -> String {
    let extension = name.rsplit('.').next().unwrap_or("bin");
    let encoded: String = name
        .bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect();
    format!("attachment; filename=\"anlan-{id}.{extension}\"; filename*=UTF-8''{encoded}")
}
