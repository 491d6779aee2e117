//! HTTP ingest: the write endpoints of InfluxDB v1 and v2 that Telegraf and other line-protocol clients use unchanged, and JSON.
//!
//! `POST /write`, `POST /api/v2/write`, `GET|HEAD /ping`, `GET|POST /query` (v1), `POST /api/v1/ingest`.
//! Nothing is answered 204 before it is durable. A body with some bad lines keeps the good ones and names the first bad one.
//! Start at [`router`]; what a payload says is read by `payload.rs`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anlan_model::{DeviceCredential, Refusal};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, FromRequest, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use bytes::BytesMut;
use http_body_util::{BodyExt as _, Limited};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::limits::Held;
use crate::offer::Offers;
use crate::payload::{self, Form, Speaker};
use crate::stats::Open;
use crate::{Context, Protocol, Reason, trust};

/// What clients that ask for a version are told: the line protocol and the v1 endpoints are those of InfluxDB 1.8.
/// Some libraries choose their dialect by the first number, so this must look like a version of InfluxDB.
const INFLUX_VERSION: HeaderValue = HeaderValue::from_static("1.8.10");

/// A body above this size is unpacked and read on a thread of its own: it costs more than half a millisecond.
const INLINE_BYTES: usize = 32 << 10;

#[derive(Clone)]
struct Shared {
    ctx: Arc<Context>,
    requests: Arc<Semaphore>,
}

/// The routes. The server may provide `ConnectInfo<SocketAddr>`; without it wrong credentials are slowed down for all together.
pub fn router(ctx: Arc<Context>) -> Router<()> {
    let requests = Arc::new(Semaphore::new(ctx.limits.max_http_requests));
    Router::new()
        .route("/write", post(write_v1))
        .route("/api/v2/write", post(write_v2))
        .route("/api/v1/ingest", post(ingest))
        .route("/ping", get(ping))
        .route("/query", get(query).post(query))
        .with_state(Shared { ctx, requests })
}

async fn ping() -> Response {
    (StatusCode::NO_CONTENT, [("x-influxdb-version", INFLUX_VERSION)]).into_response()
}

async fn write_v1(State(shared): State<Shared>, request: Request) -> Response {
    let mut response = take(shared, request, Style::Influx, false).await;
    // Telegraf's v1 output drops a batch for good on any 4xx and sends it again only after a 5xx
    // (telegraf, plugins/outputs/influxdb/http.go, writeBatch). Its v2 output knows 429.
    if matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

async fn write_v2(State(shared): State<Shared>, request: Request) -> Response {
    take(shared, request, Style::Influx, false).await
}

async fn ingest(State(shared): State<Shared>, request: Request) -> Response {
    take(shared, request, Style::Anlan, true).await
}

/// v1 `/query`: clients create their database before the first write. We have none, so that succeeds with an empty result.
async fn query(State(shared): State<Shared>, request: Request) -> Response {
    let (params, headers) = (params(&request), request.headers().clone());
    let address = peer(&request);
    let style = Style::Influx;
    if let Err(refused) = speaker(&shared.ctx, &headers, &params, address, style).await {
        return refused;
    }
    let form = match params.get("q") {
        Some(_) => HashMap::new(),
        None => axum::extract::Form::<HashMap<String, String>>::from_request(request, &()).await.map(|f| f.0).unwrap_or_default(),
    };
    let text = params.get("q").or_else(|| form.get("q")).map_or("", String::as_str).trim();
    let mut words = text.split_ascii_whitespace().map(str::to_ascii_uppercase);
    match (words.next().as_deref(), words.next().as_deref()) {
        (Some("CREATE"), Some("DATABASE")) | (Some("SHOW"), Some("DATABASES" | "DATABASES;")) => {
            (StatusCode::OK, [("x-influxdb-version", INFLUX_VERSION)], axum::Json(json!({"results": [{"statement_id": 0}]})))
                .into_response()
        }
        _ => style.refusal(
            StatusCode::BAD_REQUEST,
            "invalid",
            "only CREATE DATABASE and SHOW DATABASES are answered here",
            None,
            &headers,
            "",
        ),
    }
}

/// How errors look: as InfluxDB's clients expect, or as the rest of our API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Influx,
    Anlan,
}

impl Style {
    fn refusal(self, status: StatusCode, code: &str, detail: &str, line: Option<usize>, headers: &HeaderMap, trace: &str) -> Response {
        let body = match self {
            // v1 clients read `error`, v2 clients read `code` and `message`.
            Self::Influx => {
                let mut body = json!({"error": detail, "code": code, "message": detail});
                if let Some(line) = line {
                    body["line"] = json!(line);
                }
                body
            }
            Self::Anlan => {
                let chinese =
                    headers.get(header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok()).is_some_and(|v| v.trim_start().starts_with("zh"));
                let translated = chinese.then(|| in_chinese(code)).flatten();
                let detail = translated.map_or(Cow::Borrowed(detail), |zh| Cow::Owned(format!("{zh}（{detail}）")));
                let params = line.map_or_else(|| json!({}), |line| json!({"line": line}));
                json!({"errors": [{"code": format!("ingest.{code}"), "detail": detail, "params": params}], "trace": trace})
            }
        };
        let mut response = (status, axum::Json(body)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"anlan ingest\", Token, Bearer"));
        }
        response
    }
}

fn in_chinese(code: &str) -> Option<&'static str> {
    Some(match code {
        "unauthorized" => "设备编码或密钥不正确",
        "forbidden" => "该凭据无权这样做",
        "invalid" => "数据无法读取，可读部分已保存",
        "too_large" => "数据太大",
        "rate_limited" => "发送过于频繁，请稍后重试",
        "overloaded" => "系统繁忙，请稍后重试",
        "unavailable" => "系统暂时不可用，请稍后重试",
        "timeout" => "等待超时",
        "unsupported_encoding" => "不支持的压缩方式",
        _ => return None,
    })
}

/// A random name by which a person can find this answer in the log.
fn trace() -> String {
    let mut bytes = [0u8; 8];
    // Without randomness the trace is zeros: worth less, not worth failing for.
    let _ = getrandom::fill(&mut bytes);
    format!("{:016x}", u64::from_be_bytes(bytes))
}

fn params(request: &Request) -> HashMap<String, String> {
    Query::<HashMap<String, String>>::try_from_uri(request.uri()).map(|q| q.0).unwrap_or_default()
}

fn peer(request: &Request) -> IpAddr {
    request.extensions().get::<ConnectInfo<SocketAddr>>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |c| c.0.ip())
}

/// Code and secret as the client sent them: Basic, `Token CODE:SECRET`, `Bearer CODE:SECRET`, or v1's `u` and `p`.
fn given(headers: &HeaderMap, params: &HashMap<String, String>) -> Option<(String, String)> {
    let pair = |text: &str| text.split_once(':').map(|(code, secret)| (code.trim().to_owned(), secret.trim().to_owned()));
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, rest) = value.to_str().ok()?.trim().split_once(' ')?;
        return match scheme.to_ascii_lowercase().as_str() {
            "token" | "bearer" => pair(rest),
            "basic" => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(rest.trim()).ok()?;
                let text = String::from_utf8(bytes).ok()?;
                text.split_once(':').map(|(code, secret)| (code.to_owned(), secret.to_owned()))
            }
            _ => None,
        };
    }
    Some((params.get("u")?.clone(), params.get("p")?.clone()))
}

/// The device that speaks, or the 401 to send, held back longer with each failure of the address.
async fn speaker(
    ctx: &Context,
    headers: &HeaderMap,
    params: &HashMap<String, String>,
    address: IpAddr,
    style: Style,
) -> Result<(String, DeviceCredential), Response> {
    let given = given(headers, params);
    let (code, secret) = given.as_ref().map_or(("", ""), |(c, s)| (c.as_str(), s.as_str()));
    let found = trust::device(&ctx.credentials.load(), code, secret.as_bytes()).cloned();
    if let Some(credential) = found {
        return Ok((code.to_owned(), credential));
    }
    let detail = if given.is_none() { "no device credential given" } else { "wrong device code or secret" };
    let trace = trace();
    ctx.refuse(Protocol::Http, Reason::Credentials, &address.to_string(), format_args!("{detail} (trace {trace})"));
    tokio::time::sleep(ctx.gate.failed(address, Instant::now())).await;
    Err(style.refusal(StatusCode::UNAUTHORIZED, "unauthorized", detail, None, headers, &trace))
}

/// Why a body cannot be taken: status, code, text.
type Unfit = (StatusCode, &'static str, String, Reason);

/// Credentials, rate, body, payload, shards, answer: the one path of all three write endpoints.
async fn take(shared: Shared, request: Request, style: Style, is_json: bool) -> Response {
    let ctx = &*shared.ctx;
    let link = ctx.stats.link(Protocol::Http);
    let (params, address) = (params(&request), peer(&request));
    let (parts, body) = request.into_parts();
    let headers = parts.headers;
    let (code, credential) = match speaker(ctx, &headers, &params, address, style).await {
        Ok(found) => found,
        Err(refused) => return refused,
    };
    let refuse = |status: StatusCode, name: &str, text: &str, line: Option<usize>, reason: Reason| {
        let trace = trace();
        ctx.refuse(Protocol::Http, reason, &code, format_args!("{text} (trace {trace})"));
        style.refusal(status, name, text, line, &headers, &trace)
    };
    let later = |mut response: Response, after_s: u64| {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after_s.max(1)));
        response
    };
    let received_at = ctx.clock.now();
    link.heard(received_at);
    if let Err(wait) = ctx.gate.take_of(&code, credential.enterprise, Instant::now()) {
        let refused = refuse(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limited",
            "this device or its enterprise sends too many requests",
            None,
            Reason::Rate,
        );
        return later(refused, wait.as_secs() + 1);
    }
    let Ok(_permit) = shared.requests.clone().try_acquire_owned() else {
        let refused = refuse(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "too many requests in work", None, Reason::Overloaded);
        return later(refused, ctx.limits.retry_after_s);
    };
    let _open = Open::new(&ctx.stats, Protocol::Http);

    let wants_backfill = params.get("backfill").is_some_and(|v| matches!(v.as_str(), "1" | "true"));
    if wants_backfill && !credential.may_backfill {
        return refuse(StatusCode::FORBIDDEN, "forbidden", "this device may not mark back-fill", None, Reason::Backfill);
    }
    let form = if is_json {
        Form::Json
    } else {
        match Form::line(params.get("precision").map(String::as_str)) {
            Some(form) => form,
            None => return refuse(StatusCode::BAD_REQUEST, "invalid", "precision is one of ns, us, ms, s, m, h", None, Reason::Unreadable),
        }
    };
    let unfit = |(status, name, text, reason): Unfit| {
        let refused = refuse(status, name, &text, None, reason);
        if reason == Reason::Overloaded { later(refused, ctx.limits.retry_after_s) } else { refused }
    };
    let (bytes, _held) = match receive(ctx, body, &headers).await {
        Ok(received) => received,
        Err(why) => return unfit(why),
    };

    let gzip = headers.get(header::CONTENT_ENCODING).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"gzip"));
    let work = {
        let (ctx, code) = (shared.ctx.clone(), code.clone());
        move || -> Result<(payload::Routed, Vec<Held>), Unfit> {
            let (plain, mut held) = if gzip {
                let (plain, held) = gunzip(&ctx, &bytes).inspect_err(|(_, _, text, reason)| {
                    if *reason == Reason::Unreadable {
                        ctx.quarantine(Protocol::Http, &code, text.clone(), &bytes);
                    }
                })?;
                (Cow::Owned(plain), held)
            } else {
                (Cow::Borrowed(&bytes[..]), Vec::new())
            };
            held.push(hold(&ctx, payload::weight(form, &plain))?);
            let speaker = Speaker { code: &code, credential: &credential, protocol: Protocol::Http.as_str(), backfill: wants_backfill };
            let memory = ctx.memory();
            let routed = payload::read(form, &plain, memory, &ctx.credentials.load(), speaker, received_at, &ctx.limits);
            if let Some(first) = routed.problems.iter().find(|p| p.reason == Reason::Unreadable) {
                ctx.quarantine(Protocol::Http, &code, first.to_string(), &plain);
            }
            Ok((routed, held))
        }
    };
    let routed = if bytes_len(&headers) > INLINE_BYTES || gzip {
        match tokio::task::spawn_blocking(work).await {
            Ok(routed) => routed,
            Err(_) => Err((StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the node is stopping".into(), Reason::Stopping)),
        }
    } else {
        work()
    };
    let (routed, _unpacked) = match routed {
        Ok(routed) => routed,
        Err(why) => return unfit(why),
    };

    link.ignored(routed.ignored);

    // Everything is durable, or the client is told to come again with all of it (a repeat costs nothing).
    match keep(ctx, routed.contents).await {
        Ok(readings) => link.kept(readings),
        Err(refusal) => {
            let (status, name, reason) = match refusal {
                Some(Refusal::Overloaded) => (StatusCode::TOO_MANY_REQUESTS, "overloaded", Reason::Overloaded),
                Some(Refusal::UnknownSource) => (StatusCode::FORBIDDEN, "forbidden", Reason::UnknownSource),
                Some(Refusal::Storage) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", Reason::Storage),
                Some(Refusal::Stopping) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", Reason::Stopping),
                None => (StatusCode::SERVICE_UNAVAILABLE, "timeout", Reason::Overloaded),
            };
            let text = refusal.map_or_else(|| "the data was not saved in time, send it again".to_owned(), |r| r.to_string());
            let refused = refuse(status, name, &text, None, reason);
            return if status == StatusCode::FORBIDDEN { refused } else { later(refused, ctx.limits.retry_after_s) };
        }
    }
    match payload::worst(&routed.problems) {
        None => StatusCode::NO_CONTENT.into_response(),
        Some(problem) => {
            let (status, name) = match problem.reason {
                Reason::ForeignDevice | Reason::Backfill => (StatusCode::FORBIDDEN, "forbidden"),
                Reason::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
                _ => (StatusCode::BAD_REQUEST, "invalid"),
            };
            let more = routed.problems.len() - 1;
            let text = if more == 0 { problem.to_string() } else { format!("{problem} (and {more} more)") };
            refuse(status, name, &text, problem.line, problem.reason)
        }
    }
}

fn bytes_len(headers: &HeaderMap) -> usize {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    length.unwrap_or(usize::MAX)
}

/// Reserves memory until the guards are dropped.
fn hold(ctx: &Context, bytes: usize) -> Result<Held, Unfit> {
    let full = || (StatusCode::TOO_MANY_REQUESTS, "overloaded", "the node holds too much unsaved data".to_owned(), Reason::Overloaded);
    ctx.gate.hold(bytes).ok_or_else(full)
}

/// Reads the body within its size and time. Memory is reserved as it comes: a length that is only announced would hold up everybody else.
async fn receive(ctx: &Context, body: Body, headers: &HeaderMap) -> Result<(Bytes, Vec<Held>), Unfit> {
    let max = ctx.limits.max_message_bytes;
    let too_large = || (StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("a body has at most {max} bytes"), Reason::TooLarge);
    let encoding = headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes);
    if !encoding.is_none_or(|e| e.eq_ignore_ascii_case(b"gzip") || e.eq_ignore_ascii_case(b"identity")) {
        let text = "content encoding is gzip or none".to_owned();
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", text, Reason::Unsupported));
    }
    if headers.contains_key(header::CONTENT_LENGTH) && bytes_len(headers) > max {
        return Err(too_large());
    }
    let deadline = Duration::from_millis(ctx.limits.http_reply_timeout_ms);
    let mut body = Limited::new(body, max);
    let read = async {
        let (mut all, mut held) = (BytesMut::new(), Vec::new());
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| too_large())?.into_data() else { continue };
            held.push(hold(ctx, data.len())?);
            all.extend_from_slice(&data);
        }
        Ok((all.freeze(), held))
    };
    match tokio::time::timeout(deadline, read).await {
        Ok(received) => received,
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "timeout", "the body did not come in time".into(), Reason::Idle)),
    }
}

/// Unpacks within the size limit; what it grows to is reserved step by step, so that many small bombs find no memory either.
fn gunzip(ctx: &Context, bytes: &[u8]) -> Result<(Vec<u8>, Vec<Held>), Unfit> {
    const STEP: usize = 256 << 10;
    let max = ctx.limits.max_unpacked_bytes;
    let (mut plain, mut held) = (Vec::new(), Vec::new());
    let mut decoder = flate2::read::MultiGzDecoder::new(bytes);
    loop {
        held.push(hold(ctx, STEP)?);
        let n = decoder
            .by_ref()
            .take(STEP as u64)
            .read_to_end(&mut plain)
            .map_err(|error| (StatusCode::BAD_REQUEST, "invalid", format!("the body is no gzip: {error}"), Reason::Unreadable))?;
        if plain.len() > max {
            return Err((StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("a body unpacks to at most {max} bytes"), Reason::TooLarge));
        }
        if n < STEP {
            return Ok((plain, held));
        }
    }
}

/// Offers one batch per device and waits until all are answered.
///
/// # Errors
/// The first refusal, or `None` if the answers did not come in time.
async fn keep(ctx: &Context, contents: Vec<crate::offer::Content>) -> Result<u64, Option<Refusal>> {
    let n = contents.len();
    let mut offers = Offers::new(ctx.intake.clone());
    let readings = contents.iter().map(crate::offer::Content::count).sum();
    offers.offer_all(contents);
    let all = async {
        let mut first = Ok(());
        for _ in 0..n {
            if let (_, Err(refusal)) = offers.next().await {
                first = first.and(Err(Some(refusal)));
            }
        }
        first
    };
    let deadline = Duration::from_millis(ctx.limits.http_reply_timeout_ms);
    tokio::time::timeout(deadline, all).await.unwrap_or(Err(None)).map(|()| readings)
}
