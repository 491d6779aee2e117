//! What handlers are given: the caller with a scope, checked bodies, queries and path ids.
//!
//! Every refusal is an [`AppError`], so that it leaves in the one error form. Start at [`Caller`].

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anlan_app::App;
use anlan_app::access::{self, Session};
use anlan_app::attachment;
use anlan_app::error::{AppError, Kind};
use anlan_model::Scope;
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;

use crate::messages::Language;
use crate::place::OwnPlace;
use crate::problem::Failure;
use crate::{BODY_LIMIT, FILE_LIMIT, Shared, UPLOAD_LIMIT, UPLOADS_OF_ONE};

/// Name of the session cookie.
pub(crate) const COOKIE: &str = "anlan_session";
/// Header that repeats the session's CSRF token.
pub(crate) const CSRF: &str = "x-csrf-token";

/// Somebody signed in who may act: an unsafe method needs the CSRF token (cookie) and no idle session.
pub(crate) struct Caller {
    /// What they may see and do.
    pub(crate) scope: Scope,
}

/// Somebody signed in, idle or not: reads their own session, ends it, gives the password again.
pub(crate) struct Known(pub(crate) Session);

/// Where the session token came from.
enum Token {
    Cookie(String),
    Bearer(String),
}

fn token(headers: &HeaderMap) -> Option<Token> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        // A credential that is no Bearer token is not a reason to look at the cookie: one request, one identity.
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| Token::Bearer(token.trim().to_owned()));
    }
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(';'));
    let mut found = cookies.filter_map(|pair| pair.trim().split_once('=')).filter(|(name, _)| *name == COOKIE);
    found.next().map(|(_, value)| Token::Cookie(value.to_owned()))
}

fn safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

async fn known(parts: &Parts, app: &App) -> Result<Session, AppError> {
    if crate::key::access(parts).is_some() {
        return Err(AppError::forbidden("api_key.not_here"));
    }
    let token = token(&parts.headers).ok_or_else(|| AppError::unauthorized("session.none"))?;
    let (text, cookie) = match &token {
        Token::Cookie(text) => (text, true),
        Token::Bearer(text) => (text, false),
    };
    let session = access::session(app, text).await?;
    if cookie && !safe(&parts.method) {
        let sent = parts.headers.get(CSRF).map(|v| v.as_bytes()).unwrap_or_default();
        if !session.csrf_matches(sent) {
            return Err(AppError::forbidden("csrf.missing"));
        }
    }
    Ok(session)
}

impl FromRequestParts<Shared> for Known {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Failure> {
        Ok(Self(known(parts, &shared.app).await?))
    }
}

impl FromRequestParts<Shared> for Caller {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Failure> {
        let session = known(parts, &shared.app).await?;
        if !safe(&parts.method) {
            access::act(&shared.app, &session).await?;
        }
        Ok(Self { scope: session.scope() })
    }
}

/// Where the request comes from; needs the listener to put [`ConnectInfo`] into the request.
pub(crate) struct Peer(pub(crate) IpAddr);

impl FromRequestParts<Shared> for Peer {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Failure> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        // Without a known peer nobody is near: the unspecified address is no loopback.
        Ok(Self(peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).to_canonical()))
    }
}

/// A JSON body; unknown fields and wrong types are refused by the path of the field.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Shared> for Body<T> {
    type Rejection = Failure;
    async fn from_request(request: Request, shared: &Shared) -> Result<Self, Failure> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        // A form posted from another site cannot set this type without asking first (CORS), so it also guards against CSRF.
        if !kind.split(';').next().is_some_and(|k| k.trim().eq_ignore_ascii_case("application/json")) {
            return Err(AppError::invalid("body.not_json", "").into());
        }
        let bytes = tokio::time::timeout(BODY_LIMIT, axum::body::Bytes::from_request(request, shared)).await;
        let bytes = bytes.map_err(|_| AppError::invalid("body.too_slow", ""))?.map_err(|_| AppError::too_large("body.too_large"))?;
        let mut deserializer = serde_json::Deserializer::from_slice(&bytes);
        let value = serde_path_to_error::deserialize(&mut deserializer).map_err(body_error)?;
        deserializer.end().map_err(|_| AppError::invalid("body.syntax", ""))?;
        Ok(Self(value))
    }
}

/// The language that the caller reads.
pub(crate) struct Spoken(pub(crate) Language);

impl FromRequestParts<Shared> for Spoken {
    type Rejection = std::convert::Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Self::Rejection> {
        Ok(Self(crate::problem::language(&parts.headers)))
    }
}

/// The bytes of an XLSX file; anything else is refused before it is looked at.
pub(crate) struct XlsxBody(pub(crate) Vec<u8>);

impl FromRequest<Shared> for XlsxBody {
    type Rejection = Failure;
    async fn from_request(request: Request, shared: &Shared) -> Result<Self, Failure> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        // As with JSON: no form of another site can set this type without asking first.
        if !kind.split(';').next().is_some_and(|k| k.trim().eq_ignore_ascii_case(crate::routes::XLSX)) {
            return Err(AppError::invalid("body.not_xlsx", "").into());
        }
        let bytes = tokio::time::timeout(FILE_LIMIT, axum::body::Bytes::from_request(request, shared)).await;
        let bytes = bytes.map_err(|_| AppError::invalid("body.too_slow", ""))?.map_err(|_| AppError::too_large("body.too_large"))?;
        Ok(Self(bytes.into()))
    }
}

/// The bytes of a file to be kept, at most as long as the node takes. A few at a time: each lies in memory until it is looked through.
pub(crate) struct FileBody {
    pub(crate) bytes: Vec<u8>,
    _places: (OwnedSemaphorePermit, OwnPlace),
}

impl FromRequest<Shared> for FileBody {
    type Rejection = Failure;
    async fn from_request(request: Request, shared: &Shared) -> Result<Self, Failure> {
        let text = |value: Option<&HeaderValue>| value.and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let kind = text(request.headers().get(header::CONTENT_TYPE));
        let length = text(request.headers().get(header::CONTENT_LENGTH));
        // As with JSON: no form of another site can set this type without asking first.
        if !kind.split(';').next().is_some_and(|k| k.trim().eq_ignore_ascii_case("application/octet-stream")) {
            return Err(AppError::invalid("body.not_bytes", "").into());
        }
        let (parts, body) = request.into_parts();
        let scope = known(&parts, &shared.app).await?.scope();
        // Before anything is held for them.
        let by = attachment::uploader(&shared.app, &scope)?;
        let file_mb = shared.app.settings.attachments.file_mb;
        let too_large = || Failure::from(attachment::too_large(file_mb));
        let most = usize::try_from(file_mb.saturating_mul(1_000_000)).unwrap_or(usize::MAX);
        if length.parse::<usize>().is_ok_and(|n| n > most) {
            return Err(too_large());
        }
        let own = OwnPlace::take(&shared.uploads_of, by, UPLOADS_OF_ONE);
        let (Ok(place), Some(own)) = (Arc::clone(&shared.uploads).try_acquire_owned(), own) else {
            metrics::counter!("anlan_http_refused_total", "reason" => "uploads").increment(1);
            return Err(AppError::new(Kind::TooMany { retry_after_s: 5 }, "attachment.busy").into());
        };
        let bytes = tokio::time::timeout(UPLOAD_LIMIT, axum::body::to_bytes(body, most)).await;
        let bytes = bytes.map_err(|_| AppError::invalid("body.too_slow", ""))?.map_err(|_| too_large())?;
        Ok(Self { bytes: bytes.into(), _places: (place, own) })
    }
}

fn body_error(error: serde_path_to_error::Error<serde_json::Error>) -> AppError {
    let path = error.path().to_string();
    let inner = error.into_inner();
    if !inner.is_data() {
        return AppError::invalid("body.syntax", "").with("line", inner.line()).with("column", inner.column());
    }
    refused_field("body", &path, &inner.to_string())
}

/// serde says which field in words only; the words `missing field` and `unknown field` are stable since serde 1.0.
fn refused_field(place: &'static str, path: &str, said: &str) -> AppError {
    let parent = if path == "." { "" } else { path };
    let named = said.split('`').nth(1).unwrap_or_default();
    if said.starts_with("missing field") {
        let field = if parent.is_empty() { named.to_owned() } else { format!("{parent}.{named}") };
        return AppError::invalid("field.missing", &field);
    }
    if said.starts_with("unknown field") {
        let field = if parent == named || parent.ends_with(&format!(".{named}")) || parent.is_empty() {
            if parent.is_empty() { named.to_owned() } else { parent.to_owned() }
        } else {
            format!("{parent}.{named}")
        };
        return AppError::invalid(if place == "query" { "query.unknown" } else { "field.unknown" }, &field);
    }
    let reason = said.split(" at line ").next().unwrap_or(said);
    AppError::invalid("field.wrong_type", parent).with("reason", reason)
}

/// Query parameters; unknown ones are refused by name.
pub(crate) struct Query<T>(pub(crate) T);

/// Query parameters as they came, for lists whose parameters are data.
pub(crate) struct Pairs(pub(crate) Vec<(String, String)>);

impl FromRequestParts<Shared> for Pairs {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Failure> {
        let text = parts.uri.query().unwrap_or_default();
        refuse_nul(text)?;
        Ok(Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect()))
    }
}

impl Pairs {
    /// As [`Query`] reads them.
    pub(crate) fn read<T: DeserializeOwned>(self) -> Result<T, AppError> {
        read_query(&form_urlencoded::Serializer::new(String::new()).extend_pairs(self.0).finish())
    }
}

/// NUL, which is in nothing that anybody looks for and which PostgreSQL takes in no text.
fn refuse_nul(text: &str) -> Result<(), AppError> {
    match form_urlencoded::parse(text.as_bytes()).find(|(name, value)| name.contains('\0') || value.contains('\0')) {
        Some((name, _)) => Err(AppError::invalid("text.invisible", &name.replace('\0', ""))),
        None => Ok(()),
    }
}

fn read_query<T: DeserializeOwned>(text: &str) -> Result<T, AppError> {
    refuse_nul(text)?;
    let deserializer = serde_urlencoded::Deserializer::new(form_urlencoded::parse(text.as_bytes()));
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        refused_field("query", &path, &error.into_inner().to_string())
    })
}

impl<T: DeserializeOwned> FromRequestParts<Shared> for Query<T> {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Failure> {
        Ok(Self(read_query(parts.uri.query().unwrap_or_default())?))
    }
}

/// The `{id}` of the path, as text.
pub(crate) struct PathId(pub(crate) String);

impl FromRequestParts<Shared> for PathId {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Failure> {
        let path = axum::extract::Path::<String>::from_request_parts(parts, shared).await;
        match path {
            Ok(path) if !path.0.contains('\0') => Ok(Self(path.0)),
            _ => Err(AppError::not_found().into()),
        }
    }
}

impl PathId {
    /// The typed id; text that is no id names nothing.
    pub(crate) fn read<T: std::str::FromStr>(&self) -> Result<T, AppError> {
        self.0.parse().map_err(|_| AppError::not_found())
    }
}

/// The two ids in the path.
pub(crate) struct Path2(String, String);

impl FromRequestParts<Shared> for Path2 {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Failure> {
        let path = axum::extract::Path::<(String, String)>::from_request_parts(parts, shared).await;
        path.map(|p| Self(p.0.0, p.0.1)).map_err(|_| AppError::not_found().into())
    }
}

impl Path2 {
    /// The typed ids; text that is no id names nothing.
    pub(crate) fn read<A: std::str::FromStr, B: std::str::FromStr>(&self) -> Result<(A, B), AppError> {
        let nothing = AppError::not_found;
        Ok((self.0.parse().map_err(|_| nothing())?, self.1.parse().map_err(|_| nothing())?))
    }
}

/// The three ids in the path.
pub(crate) struct Path3(String, String, String);

impl FromRequestParts<Shared> for Path3 {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Failure> {
        let path = axum::extract::Path::<(String, String, String)>::from_request_parts(parts, shared).await;
        path.map(|p| Self(p.0.0, p.0.1, p.0.2)).map_err(|_| AppError::not_found().into())
    }
}

impl Path3 {
    /// The typed ids; text that is no id names nothing.
    pub(crate) fn read<A: std::str::FromStr, B: std::str::FromStr, C: std::str::FromStr>(&self) -> Result<(A, B, C), AppError> {
        let nothing = AppError::not_found;
        Ok((self.0.parse().map_err(|_| nothing())?, self.1.parse().map_err(|_| nothing())?, self.2.parse().map_err(|_| nothing())?))
    }
}

/// First 200 characters of the browser's name, for the list of sessions.
pub(crate) fn user_agent(headers: &HeaderMap) -> String {
    headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default().chars().take(200).collect()
}

/// `State` without its wrapper: every handler starts from the shared application.
pub(crate) struct AppRef(pub(crate) Arc<App>);

impl FromRequestParts<Shared> for AppRef {
    type Rejection = std::convert::Infallible;
    async fn from_request_parts(_: &mut Parts, shared: &Shared) -> Result<Self, Self::Rejection> {
        Ok(Self(shared.app.clone()))
    }
}
