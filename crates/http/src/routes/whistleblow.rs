//! Reports of violations (举报) at the desk: holders and their keys, opening what came sealed, asking who reported.

use anlan_app::whistleblow::{self, HolderRow, Identity, OpenedWords, SealedView};
use anlan_model::{RecordId, UserId};
use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Answer;
use crate::dto::At;
use crate::extract::{AppRef, Body, Caller, Path2, PathId};
use crate::problem::Failure;

/// Somebody to whom reports are sealed.
#[derive(Serialize, ToSchema)]
pub(crate) struct SealHolder {
    /// Id of the person.
    user: String,
    name: String,
    /// The account is off: nothing is sealed to it.
    disabled: bool,
    appointed_by: String,
    appointed_at: At,
    /// Another holder vouched for them, or there was none yet to do so; before that nothing is sealed to them.
    confirmed: bool,
    /// Public key in the age format, `age1…`; `null` = they have made none yet, and nothing is sealed to them.
    recipient: Option<String>,
    key_made_at: Option<At>,
}

impl From<HolderRow> for SealHolder {
    fn from(row: HolderRow) -> Self {
        let (recipient, key_made_at) = row.key.map(|(recipient, at)| (recipient, at.into())).unzip();
        Self {
            user: row.user.to_string(),
            name: row.name,
            disabled: row.is_disabled,
            appointed_by: row.appointed_by,
            appointed_at: row.appointed_at.into(),
            confirmed: row.is_confirmed,
            recipient,
            key_made_at,
        }
    }
}

/// Everybody to whom reports are sealed.
#[derive(Serialize, ToSchema)]
pub(crate) struct SealHolders {
    holders: Vec<SealHolder>,
    /// Reports are taken from the public: two holders have keys.
    open: bool,
    /// Without so many holders with keys nothing is taken.
    least: usize,
}

/// A passphrase: it is used and forgotten.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PassphraseBody {
    passphrase: String,
}

/// A new key's passphrase, and that of the key before, if there is one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HolderKeyBody {
    passphrase: String,
    #[serde(default)]
    current: String,
}

/// Why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReasonBody {
    reason: String,
}

/// A sealed part, unopened.
#[derive(Serialize, ToSchema)]
pub(crate) struct SealedPart {
    /// Its number.
    n: i64,
    /// `words`, `file` or `identity`.
    kind: &'static str,
    /// Length as sealed.
    bytes: i64,
    received_at: At,
}

/// A question for who reported.
#[derive(Serialize, ToSchema)]
pub(crate) struct Unsealing {
    n: i64,
    reason: String,
    /// Id of the person.
    asked_by: String,
    asked_by_name: String,
    asked_at: At,
    /// `asked`, `granted` or `refused`.
    state: String,
    decided_by_name: Option<String>,
    decided_at: Option<At>,
    /// Why it was refused.
    opinion: String,
    /// Until when the asker may open what was granted.
    until: Option<At>,
    opened_at: Option<At>,
}

/// What lies sealed beside a report.
#[derive(Serialize, ToSchema)]
pub(crate) struct Sealed {
    parts: Vec<SealedPart>,
    unsealings: Vec<Unsealing>,
    /// The asker is a holder with a key.
    may_open: bool,
}

impl From<SealedView> for Sealed {
    fn from(view: SealedView) -> Self {
        Self {
            parts: view
                .parts
                .into_iter()
                .map(|part| SealedPart { n: part.n, kind: part.kind.as_str(), bytes: part.bytes, received_at: part.received_at.into() })
                .collect(),
            unsealings: view
                .unsealings
                .into_iter()
                .map(|row| Unsealing {
                    n: row.n,
                    reason: row.reason,
                    asked_by: row.asked_by.to_string(),
                    asked_by_name: row.asked_by_name,
                    asked_at: row.asked_at.into(),
                    state: row.state,
                    decided_by_name: row.decided_by_name,
                    decided_at: row.decided_at.map(Into::into),
                    opinion: row.opinion,
                    until: row.until.map(Into::into),
                    opened_at: row.opened_at.map(Into::into),
                })
                .collect(),
            may_open: view.may_open,
        }
    }
}

/// A file that came with words.
#[derive(Serialize, ToSchema)]
pub(crate) struct SealedFile {
    /// Number of its part.
    n: i64,
    /// As its sender called it.
    name: String,
    bytes: usize,
}

/// Words of a report, opened.
#[derive(Serialize, ToSchema)]
pub(crate) struct OpenedReport {
    received_at: At,
    what: String,
    /// Whom it is about.
    unit: String,
    place: String,
    when: String,
    files: Vec<SealedFile>,
}

impl From<OpenedWords> for OpenedReport {
    fn from(opened: OpenedWords) -> Self {
        let files = opened.files.into_iter().zip(opened.words.files);
        Self {
            received_at: opened.received_at.into(),
            what: opened.words.what,
            unit: opened.words.unit,
            place: opened.words.place,
            when: opened.words.when,
            files: files.map(|(n, file)| SealedFile { n, name: file.name, bytes: file.bytes }).collect(),
        }
    }
}

/// Words of a report, in the order in which they came.
#[derive(Serialize, ToSchema)]
pub(crate) struct OpenedReports {
    sendings: Vec<OpenedReport>,
    /// Sendings that stayed closed: they came while the holder had another key, or none.
    closed: usize,
}

/// Who reported.
#[derive(Serialize, ToSchema)]
pub(crate) struct Reporter {
    name: String,
    contact: String,
    /// To whom and where a reward is paid.
    payee: String,
}

/// What a reporter said of themselves, each time they said something.
#[derive(Serialize, ToSchema)]
pub(crate) struct Reporters {
    identities: Vec<Reporter>,
}

/// Who holds the keys; for administrators and holders.
#[utoipa::path(get, path = "/whistleblow/holders", tag = "whistleblow", operation_id = "whistleblow_holders", responses((status = 200, body = SealHolders)))]
pub(crate) async fn holders(AppRef(app): AppRef, caller: Caller) -> Answer<SealHolders> {
    let holders = whistleblow::holders(&app, &caller.scope).await?.into_iter().map(Into::into).collect();
    Ok(Json(SealHolders { holders, open: whistleblow::is_open(&app).await?, least: whistleblow::HOLDERS_MIN }))
}

/// Appoints a regulator, not oneself.
#[utoipa::path(put, path = "/whistleblow/holders/{id}", tag = "whistleblow", operation_id = "appoint_holder", params(("id" = String, Path, description = "Id of a person")), responses((status = 204)))]
pub(crate) async fn appoint(AppRef(app): AppRef, caller: Caller, id: PathId) -> Result<StatusCode, Failure> {
    whistleblow::appoint(&app, &caller.scope, id.read::<UserId>()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends an appointment.
#[utoipa::path(delete, path = "/whistleblow/holders/{id}", tag = "whistleblow", operation_id = "dismiss_holder", params(("id" = String, Path, description = "Id of a person")), responses((status = 204)))]
pub(crate) async fn dismiss(AppRef(app): AppRef, caller: Caller, id: PathId) -> Result<StatusCode, Failure> {
    whistleblow::dismiss(&app, &caller.scope, id.read::<UserId>()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Vouches for a holder who was appointed while others have keys; nothing is sealed to them before.
#[utoipa::path(post, path = "/whistleblow/holders/{id}/confirm", tag = "whistleblow", operation_id = "confirm_holder", params(("id" = String, Path, description = "Id of a person")), request_body = PassphraseBody, responses((status = 204)))]
pub(crate) async fn confirm(
    AppRef(app): AppRef,
    caller: Caller,
    id: PathId,
    Body(body): Body<PassphraseBody>,
) -> Result<StatusCode, Failure> {
    whistleblow::confirm(&app, &caller.scope, id.read::<UserId>()?, &body.passphrase).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes the asker's own key, under a passphrase of at least 12 characters that nobody can bring back.
#[utoipa::path(put, path = "/whistleblow/key", tag = "whistleblow", operation_id = "make_holder_key", request_body = HolderKeyBody, responses((status = 204)))]
pub(crate) async fn make_key(AppRef(app): AppRef, caller: Caller, Body(body): Body<HolderKeyBody>) -> Result<StatusCode, Failure> {
    whistleblow::make_key(&app, &caller.scope, body.passphrase, &body.current).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What lies sealed beside a record of `whistleblow_report`; nothing is opened.
#[utoipa::path(get, path = "/whistleblow/reports/{id}", tag = "whistleblow", operation_id = "sealed_report", params(("id" = String, Path, description = "Id of a record")), responses((status = 200, body = Sealed)))]
pub(crate) async fn view(AppRef(app): AppRef, caller: Caller, id: PathId) -> Answer<Sealed> {
    Ok(Json(whistleblow::view(&app, &caller.scope, id.read::<RecordId>()?).await?.into()))
}

/// Opens the words of a report, under the holder's passphrase.
#[utoipa::path(post, path = "/whistleblow/reports/{id}/open", tag = "whistleblow", operation_id = "open_report", params(("id" = String, Path, description = "Id of a record")), request_body = PassphraseBody, responses((status = 200, body = OpenedReports)))]
pub(crate) async fn open(AppRef(app): AppRef, caller: Caller, id: PathId, Body(body): Body<PassphraseBody>) -> Answer<OpenedReports> {
    let (opened, closed) = whistleblow::open(&app, &caller.scope, id.read::<RecordId>()?, &body.passphrase).await?;
    Ok(Json(OpenedReports { sendings: opened.into_iter().map(Into::into).collect(), closed }))
}

/// Opens one file of a report; it comes as bytes to be saved, never as a page.
#[utoipa::path(post, path = "/whistleblow/reports/{id}/files/{n}", tag = "whistleblow", operation_id = "open_report_file", params(("id" = String, Path, description = "Id of a record"), ("n" = i64, Path, description = "Number of the part")), request_body = PassphraseBody, responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream")))]
pub(crate) async fn open_file(
    AppRef(app): AppRef,
    caller: Caller,
    path: Path2,
    Body(body): Body<PassphraseBody>,
) -> Result<Response, Failure> {
    let (id, n) = path.read::<RecordId, i64>()?;
    let bytes = whistleblow::open_file(&app, &caller.scope, id, n, &body.passphrase).await?;
    let mut response = bytes.into_response();
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    out.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    out.insert(HeaderName::from_static("content-security-policy"), HeaderValue::from_static("default-src 'none'; sandbox"));
    Ok(response)
}

/// Asks the other holders to open who reported.
#[utoipa::path(post, path = "/whistleblow/reports/{id}/unsealings", tag = "whistleblow", operation_id = "ask_unsealing", params(("id" = String, Path, description = "Id of a record")), request_body = ReasonBody, responses((status = 204)))]
pub(crate) async fn ask(AppRef(app): AppRef, caller: Caller, id: PathId, Body(body): Body<ReasonBody>) -> Result<StatusCode, Failure> {
    whistleblow::ask(&app, &caller.scope, id.read::<RecordId>()?, &body.reason).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Grants another holder's question: with it the asker can open who reported, for a day.
#[utoipa::path(post, path = "/whistleblow/reports/{id}/unsealings/{n}/grant", tag = "whistleblow", operation_id = "grant_unsealing", params(("id" = String, Path, description = "Id of a record"), ("n" = i64, Path)), request_body = PassphraseBody, responses((status = 204)))]
pub(crate) async fn grant(
    AppRef(app): AppRef,
    caller: Caller,
    path: Path2,
    Body(body): Body<PassphraseBody>,
) -> Result<StatusCode, Failure> {
    let (id, n) = path.read::<RecordId, i64>()?;
    whistleblow::grant(&app, &caller.scope, id, n, &body.passphrase).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Refuses another holder's question.
#[utoipa::path(post, path = "/whistleblow/reports/{id}/unsealings/{n}/refuse", tag = "whistleblow", operation_id = "refuse_unsealing", params(("id" = String, Path, description = "Id of a record"), ("n" = i64, Path)), request_body = ReasonBody, responses((status = 204)))]
pub(crate) async fn refuse(AppRef(app): AppRef, caller: Caller, path: Path2, Body(body): Body<ReasonBody>) -> Result<StatusCode, Failure> {
    let (id, n) = path.read::<RecordId, i64>()?;
    whistleblow::refuse(&app, &caller.scope, id, n, &body.reason).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Opens who reported, after another holder granted it.
#[utoipa::path(post, path = "/whistleblow/reports/{id}/unsealings/{n}/open", tag = "whistleblow", operation_id = "unseal_report", params(("id" = String, Path, description = "Id of a record"), ("n" = i64, Path)), request_body = PassphraseBody, responses((status = 200, body = Reporters)))]
pub(crate) async fn unseal(AppRef(app): AppRef, caller: Caller, path: Path2, Body(body): Body<PassphraseBody>) -> Answer<Reporters> {
    let (id, n) = path.read::<RecordId, i64>()?;
    let who = whistleblow::unseal(&app, &caller.scope, id, n, &body.passphrase).await?;
    let identities = who.into_iter().map(|Identity { name, contact, payee }| Reporter { name, contact, payee }).collect();
    Ok(Json(Reporters { identities }))
}
