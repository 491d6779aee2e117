//! The live stream: one WebSocket per page, topics chosen by the client, resumed by token after a cut.
//!
//! A slow browser gets fewer updates, never a growing queue: the next message is asked for only when the one before is written.
//! The session is looked at again every few seconds, so a forced logout or a changed grant reaches open streams. Start at [`run`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anlan_app::App;
use anlan_app::access::{self, Session};
use anlan_app::error::{AppError, Kind};
use anlan_app::health::Trouble;
use anlan_app::live::{LiveMessage, Subscription};
use anlan_app::vehicle;
use anlan_model::{Clock as _, Permission, VehicleId};
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::alarm::AlarmDto;
use super::point::ReadingDto;
use super::record::{Record, record};
use super::vehicle::VehicleLatest;
use crate::dto::At;
use crate::extract::Known;
use crate::place::OwnPlace;
use crate::problem::Failure;
use crate::{STREAMS_OF_ONE, Shared};

/// The session is looked at this often.
const CHECK_EVERY: Duration = Duration::from_secs(3);
/// A client that takes no bytes for this long is cut; it resumes by token.
const WRITE_LIMIT: Duration = Duration::from_secs(20);
/// The first message must come within this.
const HELLO_LIMIT: Duration = Duration::from_secs(15);
/// Longest message of a client.
const MESSAGE_BYTES: usize = 64 * 1024;
/// How often vehicle levels are read anew for one stream.
const LEVELS_EVERY: Duration = Duration::from_secs(5);
/// Pause after the database did not answer.
const RETRY: Duration = Duration::from_secs(1);

/// What a client says: topics to hear from now on, and, first, where to resume.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LiveRequest {
    /// `alarms`, `vehicles`, `records`, `notifications`, `points:<id>[,<id>…]`, `enterprise:<id>`.
    topics: Vec<String>,
    /// Token of the last message heard; only in the first message.
    #[serde(default)]
    resume: Option<String>,
}

/// What the server says.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum LiveAnswer {
    /// Changed alarms, whole.
    Alarms { topic: &'static str, token: String, data: Vec<AlarmDto> },
    /// Newest readings of a `points:` or `enterprise:` topic.
    Readings { topic: String, token: String, data: Vec<LiveReading> },
    /// Newest positions, at most once a second.
    Vehicles { topic: &'static str, token: String, data: Vec<VehicleLatest> },
    /// Changed records of registers that are on, without their fields, at most once a second.
    Records { topic: &'static str, token: String, data: Vec<Record> },
    /// How much of what the person was told is unread; first at once, then when it changes.
    Notifications { topic: &'static str, token: String, data: [Unread; 1] },
    /// `snapshot`: fetch the lists again. `ping`: proof of life, every 5 s. `error`: the request was refused, topics stay.
    Event {
        event: &'static str,
        now: At,
        token: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<&'static str>,
        /// What is wrong with the node itself; in a `ping` only.
        #[serde(skip_serializing_if = "Option::is_none")]
        troubles: Option<Vec<TroubleDto>>,
    },
}

/// What was told and not read.
#[derive(Serialize, ToSchema)]
pub(crate) struct Unread {
    /// How many notifications.
    unread: i64,
}

/// Something wrong with the node, worst first.
#[derive(Serialize, ToSchema)]
pub(crate) struct TroubleDto {
    /// `log` (nothing is acknowledged), `engine` (no round completed), `database`, `clock_off`, `clock_loose`, `clock_stepped`, `life`.
    trouble: &'static str,
    /// Its size in seconds, where it has one.
    seconds: Option<f64>,
    /// Since when, where that is known.
    since: Option<At>,
}

impl From<Trouble> for TroubleDto {
    fn from(trouble: Trouble) -> Self {
        let since = if let Trouble::Life(since) = trouble { Some(At(since)) } else { None };
        Self { trouble: trouble.word(), seconds: trouble.seconds(), since }
    }
}

/// A reading and its point.
#[derive(Serialize, ToSchema)]
pub(crate) struct LiveReading {
    /// Of the point.
    id: String,
    #[serde(flatten)]
    reading: ReadingDto,
}

/// The live stream (WebSocket). The cookie counts only for pages of this origin.
#[utoipa::path(get, path = "/live", tag = "live", responses((status = 101, description = "WebSocket; messages as LiveRequest and LiveAnswer", body = LiveAnswer)))]
pub(crate) async fn live(
    State(shared): State<Shared>,
    Known(session): Known,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response, Failure> {
    if !headers.contains_key(header::AUTHORIZATION) && !same_origin(&headers) {
        // A WebSocket is not bound by the same-origin policy: without this any page could listen with the visitor's cookie.
        return Err(AppError::forbidden("origin.foreign").into());
    }
    session.scope().with(Permission::View).map_err(AppError::from)?;
    let upgrade = upgrade.map_err(|_| AppError::invalid("live.upgrade", ""))?;
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES).max_frame_size(MESSAGE_BYTES);
    let Ok(place) = shared.streams.clone().try_acquire_owned() else {
        return Err(AppError::new(Kind::Unavailable, "live.full").into());
    };
    let Some(own) = OwnPlace::take(&shared.streams_of, session.user.id, STREAMS_OF_ONE) else {
        return Err(AppError::new(Kind::TooMany { retry_after_s: 10 }, "live.too_many").with("most", STREAMS_OF_ONE).into());
    };
    Ok(upgrade.on_upgrade(move |socket| async move {
        metrics::gauge!("anlan_live_streams").increment(1.0);
        run(socket, shared.app, session).await;
        metrics::gauge!("anlan_live_streams").decrement(1.0);
        drop((place, own));
    }))
}

/// Whether the page comes from the host it talks to.
fn same_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|v: &axum::http::HeaderValue| v.to_str().ok());
    let (Some(origin), Some(host)) = (text(header::ORIGIN), text(header::HOST)) else { return false };
    origin.split_once("://").is_some_and(|(scheme, rest)| matches!(scheme, "http" | "https") && rest.eq_ignore_ascii_case(host))
}

/// Why a stream ends.
enum End {
    /// The client left, or takes no more bytes.
    Gone,
    /// The session ended or may view no longer.
    SignedOut,
    /// The client broke the rules of the stream.
    Protocol(&'static str),
}

async fn run(mut socket: WebSocket, app: Arc<App>, session: Session) {
    let frame = match serve(&mut socket, &app, session).await {
        End::Gone => return,
        // 4401 and 4400: private codes (RFC 6455, 7.4.2) that mirror the HTTP statuses.
        End::SignedOut => CloseFrame { code: 4401, reason: "session.ended".into() },
        End::Protocol(reason) => CloseFrame { code: close_code::POLICY, reason: reason.into() },
    };
    // The client may be gone already; there is nobody left to tell.
    let _ = tokio::time::timeout(WRITE_LIMIT, socket.send(Message::Close(Some(frame)))).await;
}

async fn serve(socket: &mut WebSocket, app: &App, session: Session) -> End {
    let Ok(hello) = tokio::time::timeout(HELLO_LIMIT, request(socket)).await else { return End::Protocol("no request within 15 s") };
    let hello = match hello {
        Ok(hello) => hello,
        Err(end) => return end,
    };
    let Ok(scope) = session.scope().with(Permission::View) else { return End::SignedOut };
    let mut stream = match app.live.subscribe(scope, &hello.topics, hello.resume.as_deref()) {
        Ok(stream) => stream,
        Err(_) => return End::Protocol("unknown topic"),
    };
    let mut levels = Levels::default();
    let mut check = tokio::time::interval(CHECK_EVERY);
    check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = check.tick() => {
                if !still_allowed(app, &session, &mut stream).await {
                    return End::SignedOut;
                }
            }
            said = request(socket) => match said {
                Ok(wish) => {
                    if stream.set_topics(&wish.topics).is_err() {
                        let refusal = LiveAnswer::Event { event: "error", now: app.clock.now().into(), token: None, code: Some("topic.unknown"), troubles: None };
                        if let Err(end) = send(socket, &refusal).await { return end; }
                    }
                }
                Err(end) => return end,
            },
            message = stream.next() => match message {
                Ok(message) => {
                    let answer = encode(app, message, &mut levels).await;
                    if let Err(end) = send(socket, &answer).await { return end; }
                }
                // Values and pings go on as soon as the database is back; the client sees the silence meanwhile.
                Err(failure) => {
                    tracing::warn!(error = &failure as &dyn std::error::Error, "a live stream could not read; next try in {RETRY:?}");
                    tokio::time::sleep(RETRY).await;
                }
            },
        }
    }
}

/// Looks at the session again and hands the stream its present scope. A database that does not answer ends no stream.
async fn still_allowed(app: &App, session: &Session, stream: &mut Subscription) -> bool {
    match access::current_scope(app, session).await {
        Ok(scope) => match scope.with(Permission::View) {
            Ok(scope) => {
                stream.set_scope(scope);
                true
            }
            Err(_) => false,
        },
        Err(error) => error.kind == Kind::Unavailable,
    }
}

/// The next request of the client. Cancel-safe: a message is taken whole or not at all.
async fn request(socket: &mut WebSocket) -> Result<LiveRequest, End> {
    loop {
        match socket.recv().await {
            Some(Ok(Message::Text(text))) => return serde_json::from_str(text.as_str()).map_err(|_| End::Protocol("not a request")),
            Some(Ok(Message::Binary(_))) => return Err(End::Protocol("requests are text")),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(End::Gone),
        }
    }
}

async fn send(socket: &mut WebSocket, answer: &LiveAnswer) -> Result<(), End> {
    let text = serde_json::to_string(answer).expect("plain data always encodes");
    match tokio::time::timeout(WRITE_LIMIT, socket.send(Message::Text(text.into()))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(End::Gone),
    }
}

/// Worst standing alarm of each vehicle, read at most every few seconds.
#[derive(Default)]
struct Levels {
    by_vehicle: Arc<HashMap<VehicleId, anlan_model::Level>>,
    read_at: Option<tokio::time::Instant>,
}

impl Levels {
    async fn fresh(&mut self, app: &App) -> Arc<HashMap<VehicleId, anlan_model::Level>> {
        if self.read_at.is_none_or(|at| at.elapsed() >= LEVELS_EVERY) {
            self.read_at = Some(tokio::time::Instant::now());
            // Without the database the map goes on with the levels it had.
            if let Ok(levels) = vehicle::levels(app).await {
                self.by_vehicle = Arc::new(levels);
            }
        }
        self.by_vehicle.clone()
    }
}

async fn encode(app: &App, message: LiveMessage, levels: &mut Levels) -> LiveAnswer {
    let now = At(app.clock.now());
    match message {
        LiveMessage::Alarms { token, alarms } => {
            let known = app.registry.get();
            LiveAnswer::Alarms { topic: "alarms", token, data: alarms.into_iter().map(|a| AlarmDto::new(a, &known)).collect() }
        }
        LiveMessage::Readings { topic, token, readings } => {
            let data = readings.into_iter().map(|r| LiveReading { id: r.point.to_string(), reading: r.into() });
            LiveAnswer::Readings { topic, token, data: data.collect() }
        }
        LiveMessage::Vehicles { token, positions } => {
            let levels = levels.fresh(app).await;
            LiveAnswer::Vehicles {
                topic: "vehicles",
                token,
                data: vehicle::marks(app, positions, &levels).into_iter().map(Into::into).collect(),
            }
        }
        LiveMessage::Records { token, records } => {
            LiveAnswer::Records { topic: "records", token, data: records.into_iter().map(|row| record(app, row, false)).collect() }
        }
        LiveMessage::Notifications { token, unread } => {
            LiveAnswer::Notifications { topic: "notifications", token, data: [Unread { unread }] }
        }
        LiveMessage::Snapshot { token } => LiveAnswer::Event { event: "snapshot", now, token: Some(token), code: None, troubles: None },
        LiveMessage::Ping { token } => {
            let troubles = app.troubles(now.0).into_iter().map(Into::into).collect();
            LiveAnswer::Event { event: "ping", now, token: Some(token), code: None, troubles: Some(troubles) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_this_host_may_use_the_cookie() {
        let check = |origin: Option<&str>, want: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "desk.example:8080".parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            assert_eq!(same_origin(&headers), want, "{origin:?}");
        };
        check(Some("http://desk.example:8080"), true);
        check(Some("https://desk.example:8080"), true);
        check(Some("https://evil.example"), false);
        check(Some("https://desk.example"), false);
        check(Some("null"), false);
        check(None, false);
    }
}
