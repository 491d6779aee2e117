//! Signing in and out, the setup link, and giving the password again after the idle limit.

use anlan_app::access::{self, SignedIn};
use anlan_app::second_factor;
use anlan_app::user::User;
use anlan_model::Clock as _;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Answer;
use super::user::GrantDto;
use crate::Shared;
use crate::dto::At;
use crate::extract::{AppRef, Body, COOKIE, Known, Peer, user_agent};
use crate::problem::Failure;

/// The first administrator.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetupBody {
    /// From the setup link's fragment.
    token: String,
    username: String,
    /// At least 10 characters.
    password: String,
}

/// Who signs in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignInBody {
    username: String,
    password: String,
    /// Of the second factor, or a recovery code; left out or empty where none is asked for (`sign_in.code_needed`).
    #[serde(default)]
    code: Option<String>,
}

/// The password of the person signed in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReauthBody {
    password: String,
}

/// A new session.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewSession {
    /// For `Authorization: Bearer`; also set as cookie.
    token: String,
    /// For the header `X-CSRF-Token` when the cookie is used.
    csrf: String,
    user: Me,
}

/// The person signed in.
#[derive(Serialize, ToSchema)]
pub(crate) struct Me {
    id: String,
    username: String,
    name: String,
    grants: Vec<GrantDto>,
    /// Of all grants together; where each holds, the grants say.
    permissions: Vec<&'static str>,
}

impl From<&User> for Me {
    fn from(user: &User) -> Self {
        let permissions = access::scope_of(user).permissions();
        Self {
            id: user.id.to_string(),
            username: user.username.clone(),
            name: user.name.clone(),
            grants: user.grants.iter().map(Into::into).collect(),
            permissions: permissions.into_iter().map(|p| p.as_str()).collect(),
        }
    }
}

/// The current session.
#[derive(Serialize, ToSchema)]
pub(crate) struct CurrentSession {
    user: Me,
    csrf: String,
    demo: bool,
    test_clock: bool,
    /// Acting needs the password again; reading goes on.
    idle: bool,
    /// Signing in takes a code beside the password.
    second_factor: bool,
    /// Recovery codes that are left; `null` without a second factor.
    recovery_codes: Option<i64>,
    /// Domain time.
    now: At,
}

/// Makes the first administrator, once.
#[utoipa::path(post, path = "/setup", tag = "session", request_body = SetupBody, responses((status = 201, body = NewSession)), security(()))]
pub(crate) async fn setup(
    State(shared): State<Shared>,
    Peer(peer): Peer,
    headers: HeaderMap,
    Body(body): Body<SetupBody>,
) -> Result<Response, Failure> {
    let made = access::setup(&shared.app, &body.token, &body.username, &body.password, &peer.to_string(), &user_agent(&headers)).await?;
    Ok(signed_in(&shared, made))
}

/// Signs in.
#[utoipa::path(post, path = "/session", tag = "session", request_body = SignInBody, responses((status = 201, body = NewSession)), security(()))]
pub(crate) async fn sign_in(
    State(shared): State<Shared>,
    Peer(peer): Peer,
    headers: HeaderMap,
    Body(body): Body<SignInBody>,
) -> Result<Response, Failure> {
    let (code, peer) = (body.code.as_deref(), peer.to_string());
    let made = access::sign_in(&shared.app, &body.username, &body.password, code, &peer, &user_agent(&headers)).await?;
    Ok(signed_in(&shared, made))
}

fn signed_in(shared: &Shared, made: SignedIn) -> Response {
    let cookie = cookie(shared.secure, &made.token, Some(made.life_s));
    let body = NewSession { user: Me::from(&made.user), token: made.token, csrf: made.csrf };
    (StatusCode::CREATED, [(header::SET_COOKIE, cookie)], Json(body)).into_response()
}

/// The cookie as a header value; `None` seconds removes it.
fn cookie(secure: bool, token: &str, life_s: Option<i64>) -> HeaderValue {
    let secure = if secure { "; Secure" } else { "" };
    let text = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}{secure}", life_s.unwrap_or(0));
    // A token is base64url, so the text is always a valid header; an empty value would merely set no cookie.
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

/// Who is signed in.
#[utoipa::path(get, path = "/session", tag = "session", responses((status = 200, body = CurrentSession)))]
pub(crate) async fn current(AppRef(app): AppRef, Known(session): Known) -> Answer<CurrentSession> {
    Ok(Json(CurrentSession {
        user: Me::from(&*session.user),
        csrf: session.csrf.clone(),
        demo: app.settings.demo,
        test_clock: app.clock.is_test(),
        idle: session.idle,
        second_factor: session.user.second_factor,
        recovery_codes: second_factor::recovery_codes_left(&app, &session).await?,
        now: app.clock.now().into(),
    }))
}

/// Signs out.
#[utoipa::path(delete, path = "/session", tag = "session", responses((status = 204)))]
pub(crate) async fn sign_out(State(shared): State<Shared>, Known(session): Known) -> Result<Response, Failure> {
    access::sign_out(&shared.app, &session).await?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie(shared.secure, "", None))]).into_response())
}

/// Gives the password again after the idle limit.
#[utoipa::path(post, path = "/session/reauth", tag = "session", request_body = ReauthBody, responses((status = 204)))]
pub(crate) async fn reauthenticate(
    AppRef(app): AppRef,
    Known(session): Known,
    Peer(peer): Peer,
    Body(body): Body<ReauthBody>,
) -> Result<StatusCode, Failure> {
    access::reauthenticate(&app, &session, &body.password, &peer.to_string()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A secret for an authenticator; told this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewSecondFactor {
    /// Base32, for typing in.
    secret: String,
    /// `otpauth://totp/…`.
    uri: String,
}

/// The first code of a new second factor.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfirmBody {
    /// Six digits.
    code: String,
}

/// Codes for who lost the authenticator, each good once; told this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecoveryCodes {
    recovery_codes: Vec<String>,
}

/// The proof for removing a second factor.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RemoveBody {
    password: String,
    /// Six digits, or a recovery code.
    code: String,
}

/// Begins a second factor (TOTP, RFC 6238): from its first code on, signing in takes one. What was begun is void after ten minutes.
#[utoipa::path(post, path = "/session/totp", tag = "session", request_body = ReauthBody, responses((status = 200, body = NewSecondFactor)))]
pub(crate) async fn begin_second_factor(
    AppRef(app): AppRef,
    Known(session): Known,
    Peer(peer): Peer,
    Body(body): Body<ReauthBody>,
) -> Answer<NewSecondFactor> {
    let begun = second_factor::begin(&app, &session, &body.password, &peer.to_string()).await?;
    Ok(Json(NewSecondFactor { secret: begun.secret, uri: begun.uri }))
}

/// Switches on the second factor that was begun; the person's other sessions end.
#[utoipa::path(post, path = "/session/totp/confirm", tag = "session", request_body = ConfirmBody, responses((status = 200, body = RecoveryCodes)))]
pub(crate) async fn confirm_second_factor(
    AppRef(app): AppRef,
    Known(session): Known,
    Body(body): Body<ConfirmBody>,
) -> Answer<RecoveryCodes> {
    Ok(Json(RecoveryCodes { recovery_codes: second_factor::confirm(&app, &session, &body.code).await? }))
}

/// Removes the own second factor.
#[utoipa::path(delete, path = "/session/totp", tag = "session", request_body = RemoveBody, responses((status = 204)))]
pub(crate) async fn remove_second_factor(
    AppRef(app): AppRef,
    Known(session): Known,
    Peer(peer): Peer,
    Body(body): Body<RemoveBody>,
) -> Result<StatusCode, Failure> {
    second_factor::remove(&app, &session, &body.password, &body.code, &peer.to_string()).await?;
    Ok(StatusCode::NO_CONTENT)
}
