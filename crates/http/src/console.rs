//! The console's files, embedded at build time from `web/dist`; without them, one page that says how to build it.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use rust_embed::Embed;

use anlan_app::error::AppError;

use crate::problem::Failure;

/// `build.rs` names the folder; it is an empty one while the console is not built.
#[derive(Embed)]
#[folder = "$ANLAN_WEB_DIST"]
struct Files;

/// Every address that is no endpoint: a file of the console, or the console itself (it routes by history).
pub(crate) async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    if path == "api" || path.starts_with("api/") {
        return Failure::from(AppError::not_found()).into_response();
    }
    if !matches!(method, Method::GET | Method::HEAD) {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    if let Some(file) = Files::get(path) {
        return answer(path, file, &headers);
    }
    // A missing asset must not answer with a page: the browser would run HTML as script.
    if path.starts_with("assets/") {
        return StatusCode::NOT_FOUND.into_response();
    }
    match Files::get("index.html") {
        Some(file) => answer("index.html", file, &headers),
        None => (StatusCode::OK, Html(NOT_BUILT)).into_response(),
    }
}

fn answer(path: &str, file: rust_embed::EmbeddedFile, asked: &HeaderMap) -> Response {
    let etag = format!("\"{}\"", file.metadata.sha256_hash().iter().take(16).map(|b| format!("{b:02x}")).collect::<String>());
    // Vite puts a hash of the content into the names below assets/, so those never change under one name.
    let cache = if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let known = asked.get(header::IF_NONE_MATCH).is_some_and(|v| v.as_bytes() == etag.as_bytes());
    let mut response = if known { StatusCode::NOT_MODIFIED.into_response() } else { Body::from(file.data).into_response() };
    let out = response.headers_mut();
    if let Ok(kind) = HeaderValue::from_str(file.metadata.mimetype()) {
        out.insert(header::CONTENT_TYPE, kind);
    }
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        out.insert(header::ETAG, etag);
    }
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    response
}

const NOT_BUILT: &str = "<!doctype html>
<html lang=\"zh-CN\"><head><meta charset=\"utf-8\"><title>安澜 Anlan</title></head>
<body style=\"font:16px/1.6 sans-serif;max-width:40em;margin:4em auto\">
<h1>安澜 Anlan</h1>
<p>本程序编译时没有控制台文件。在源代码目录运行 <code>cargo xtask demo</code> 即可构建并启动。接口 <code>/api/v1</code> 照常可用。</p>
<p lang=\"en\">This server was built without the console. Run <code>cargo xtask demo</code> in the source tree to build and start it. The API under <code>/api/v1</code> works as usual.</p>
</body></html>
";
