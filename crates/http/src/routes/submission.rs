//! Submissions (报送): targets and how they stand, what is aside and why, every attempt, what would go of one subject now.

use anlan_app::submission::{self, SubmissionAttemptFilter, SubmissionAttemptRow, SubmissionItem, View};
use anlan_app::validate;
use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::Answer;
use crate::dto::At;
use crate::extract::{AppRef, Body, Caller, PathId, Query};
use crate::problem::Failure;

/// Why something did not go out as it should.
#[derive(Serialize, ToSchema)]
pub(crate) struct SubmissionReason {
    /// `unfit`: it cannot be said in the platform's words; `refused`, `unclear`, `no_answer`, `not_written`, `no_secret`, `misfit`; `accepted` and `written` of what
    /// went well.
    code: String,
    /// Of an answer.
    status: Option<i64>,
    /// The platform's words, or those of the machine.
    says: Option<String>,
    /// The file that was written.
    file: Option<String>,
    /// Of `unfit`: everything that stands against it.
    refusals: Vec<SubmissionRefusal>,
}

/// A field that cannot be said.
#[derive(Serialize, ToSchema)]
pub(crate) struct SubmissionRefusal {
    /// Of the platform's layout; `key` = its key there.
    field: String,
    /// `missing`, `too_long`, `type`, `code`, `unit`.
    code: String,
    value: String,
}

fn reason(text: &str) -> SubmissionReason {
    let json: Value = serde_json::from_str(text).unwrap_or_default();
    let word = |value: &Value| value.as_str().map(str::to_owned);
    let refusal = |r: &Value| SubmissionRefusal {
        field: word(&r["field"]).unwrap_or_default(),
        code: word(&r["code"]).unwrap_or_default(),
        value: word(&r["value"]).unwrap_or_default(),
    };
    SubmissionReason {
        code: word(&json["code"]).unwrap_or_default(),
        status: json["status"].as_i64(),
        says: word(&json["says"]),
        file: word(&json["file"]),
        refusals: json["refusals"].as_array().into_iter().flatten().map(refusal).collect(),
    }
}

/// What is declared of a submission.
#[derive(Serialize, ToSchema)]
pub(crate) struct SubmissionMapping {
    version: String,
    /// By which it is switched on.
    hash: String,
    /// The pack that brings it.
    pack: String,
    name: String,
    name_en: String,
    platform: String,
    platform_en: String,
    /// From which the layout was read; empty = none is named.
    document: String,
    clause: String,
    effective: String,
    confidence: String,
    note: String,
    /// Of the platform: what goes no further stays.
    level: &'static str,
    /// `file` or `call`.
    transport: &'static str,
    objects: Vec<SubmissionObject>,
}

/// A kind of thing that goes, and how many of them stand how.
#[derive(Serialize, ToSchema)]
pub(crate) struct SubmissionObject {
    id: String,
    /// `enterprise`, `device`, `point`, `vehicle`, `alarm`, `record`, `latest`.
    of: &'static str,
    /// Of records.
    register: Option<String>,
    waiting: i64,
    sent: i64,
    /// Not sent before a person or a change says so.
    aside: i64,
    /// Left out by the mapping.
    unwanted: i64,
    /// No longer here, or not to go.
    gone: i64,
}

/// A target of submissions.
#[derive(Serialize, ToSchema)]
pub(crate) struct SubmissionTarget {
    /// Its name in the configuration.
    id: String,
    /// Address or directory.
    place: String,
    /// `file` or `call`: how the target is reached.
    transport: &'static str,
    submission: String,
    /// `null` = no pack that is on brings it.
    mapping: Option<SubmissionMapping>,
    /// `off`, `idle`, `sending`, `failing`, `unknown` (no mapping), `misfit` (files to an address, or calls to a directory).
    state: &'static str,
    /// The version that was last switched on or filled for; `null` = it was never on.
    version_on: Option<String>,
    n_failures: i64,
    failing_since: Option<At>,
    reason: Option<SubmissionReason>,
    /// Nothing is tried before.
    next_at: Option<At>,
    taken_at: Option<At>,
    changed_by: Option<String>,
    changed_at: Option<At>,
}

impl From<View> for SubmissionTarget {
    fn from(view: View) -> Self {
        let counts = view.counts;
        let count = |object: &str, state: &str| counts.iter().find(|(o, s, _)| o == object && s == state).map_or(0, |(.., n)| *n);
        let mapping = view.known.map(|(submission, pack, hash)| SubmissionMapping {
            version: submission.version.clone(),
            hash,
            pack,
            name: submission.name.clone(),
            name_en: submission.name_en.clone(),
            platform: submission.platform.clone(),
            platform_en: submission.platform_en.clone(),
            document: submission.document.clone(),
            clause: submission.clause.clone(),
            effective: submission.effective.clone(),
            confidence: submission.confidence.clone(),
            note: submission.note.clone(),
            level: submission.level.as_str(),
            transport: submission.transport_word(),
            objects: submission
                .objects
                .iter()
                .map(|object| SubmissionObject {
                    id: object.id.clone(),
                    of: object.of.as_str(),
                    register: object.register.as_ref().map(|(register, _)| register.clone()),
                    waiting: count(&object.id, "waiting"),
                    sent: count(&object.id, "sent"),
                    aside: count(&object.id, "aside"),
                    unwanted: count(&object.id, "unwanted"),
                    gone: count(&object.id, "gone"),
                })
                .collect(),
        });
        let row = view.row;
        let on = row.as_ref().filter(|row| row.enabled);
        Self {
            id: view.name,
            place: view.place,
            transport: view.transport,
            submission: view.submission,
            mapping,
            state: view.state.as_str(),
            version_on: on.map(|row| row.version.clone()),
            n_failures: on.map_or(0, |row| row.n_failures),
            failing_since: on.and_then(|row| row.failing_since).map(Into::into),
            reason: on.and_then(|row| row.reason.as_deref()).map(reason),
            next_at: on.filter(|row| row.n_failures > 0).map(|row| row.next_at.into()),
            taken_at: row.as_ref().and_then(|row| row.taken_at).map(Into::into),
            changed_by: row.as_ref().map(|row| row.changed_by.clone()),
            changed_at: row.as_ref().map(|row| row.changed_at.into()),
        }
    }
}

/// Every target.
#[derive(Serialize, ToSchema)]
pub(crate) struct SubmissionList {
    submissions: Vec<SubmissionTarget>,
}

/// Whether a target is on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubmissionBody {
    /// `true` submits everything there is and then what changes; `false` stops and forgets what waits.
    on: bool,
    /// Of the mapping that was read; not needed to switch off.
    hash: Option<String>,
}

/// What is to be sent once more.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResendBody {
    /// With `subject`: that one; without: everything that is aside.
    object: Option<String>,
    subject: Option<String>,
}

/// How many subjects wait anew.
#[derive(Serialize, ToSchema)]
pub(crate) struct Resent {
    subjects: u64,
}

/// Which subjects.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ItemsQuery {
    /// `waiting`, `sent`, `aside` (default), `unwanted`, `gone`.
    state: Option<String>,
    object: Option<String>,
    cursor: Option<String>,
    /// 1 to 1,000.
    limit: Option<u32>,
}

/// A subject in the queue of a target.
#[derive(Serialize, ToSchema)]
#[schema(as = SubmissionItem)]
pub(crate) struct ItemDto {
    /// Object, a slash, the subject.
    id: String,
    object: String,
    /// Id here.
    subject: String,
    state: String,
    /// Tries that failed since it last changed.
    n_tries: i64,
    failed_since: Option<At>,
    next_at: Option<At>,
    reason: Option<SubmissionReason>,
    /// SHA-256 of what was last taken.
    digest: Option<String>,
    sent_at: Option<At>,
}

impl From<SubmissionItem> for ItemDto {
    fn from(item: SubmissionItem) -> Self {
        Self {
            id: format!("{}/{}", item.object, item.subject),
            object: item.object,
            subject: item.subject,
            state: item.state,
            n_tries: item.n_tries,
            failed_since: item.failed_since.map(Into::into),
            next_at: (item.n_tries > 0).then(|| item.next_at.into()),
            reason: item.reason.as_deref().map(reason),
            digest: item.digest,
            sent_at: item.sent_at.map(Into::into),
        }
    }
}

/// Subjects of a target.
#[derive(Serialize, ToSchema)]
pub(crate) struct SubmissionItemList {
    items: Vec<ItemDto>,
    next: Option<String>,
}

/// Which attempts.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttemptsQuery {
    target: Option<String>,
    object: Option<String>,
    subject: Option<String>,
    /// `sent`, `accepted`, `refused`, `failed`, `unfit`.
    outcome: Option<String>,
    cursor: Option<String>,
    /// 1 to 1,000.
    limit: Option<u32>,
}

/// An attempt to submit one subject.
#[derive(Serialize, ToSchema)]
pub(crate) struct SubmissionAttempt {
    id: String,
    at: At,
    target: String,
    submission: String,
    version: String,
    object: String,
    /// Id here.
    subject: String,
    /// Its key at the platform; empty = it has none.
    key: String,
    /// SHA-256 of what was sent of it; empty = nothing was.
    digest: String,
    /// The same for all that went with it; `{idempotency}` of the mapping.
    batch: String,
    /// `sent`: the file lies there; `accepted`, `refused`: the platform said so; `failed`; `unfit`: it could not be said in the platform's words.
    outcome: String,
    detail: SubmissionReason,
}

impl From<SubmissionAttemptRow> for SubmissionAttempt {
    fn from(row: SubmissionAttemptRow) -> Self {
        Self {
            id: row.id.to_string(),
            at: row.at.into(),
            target: row.target,
            submission: row.submission,
            version: row.version,
            object: row.object,
            subject: row.subject,
            key: row.key,
            digest: row.digest,
            batch: row.batch,
            outcome: row.outcome,
            detail: reason(&row.detail),
        }
    }
}

/// Attempts, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct SubmissionAttemptList {
    attempts: Vec<SubmissionAttempt>,
    next: Option<String>,
}

/// Of which subject.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct PreviewQuery {
    object: String,
    /// Id here.
    subject: String,
}

/// What would go of one subject now.
#[derive(Serialize, ToSchema)]
pub(crate) struct SubmissionPreview {
    /// Address or path, without secrets; the count of files stands as 0.
    to: String,
    key: Option<String>,
    /// To the last character; `null` = nothing goes.
    text: Option<String>,
    digest: Option<String>,
    /// The mapping does not leave it out.
    wanted: bool,
    /// It is here, and may go to the platform's level.
    here: bool,
    refusals: Vec<SubmissionRefusal>,
    /// `null` = it was never queued.
    item: Option<ItemDto>,
}

/// Lists the targets of the configuration, with what goes there and how it stands.
#[utoipa::path(get, path = "/submissions", tag = "submission", operation_id = "list_submissions", responses((status = 200, body = SubmissionList)))]
pub(crate) async fn list(AppRef(app): AppRef, caller: Caller) -> Answer<SubmissionList> {
    let targets = submission::list(&app, &caller.scope).await?;
    Ok(Json(SubmissionList { submissions: targets.into_iter().map(Into::into).collect() }))
}

/// Switches a target on or off.
#[utoipa::path(put, path = "/submissions/{id}", tag = "submission", operation_id = "put_submission", params(("id" = String, Path)), request_body = SubmissionBody, responses((status = 204), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn put(AppRef(app): AppRef, caller: Caller, id: PathId, Body(body): Body<SubmissionBody>) -> Result<StatusCode, Failure> {
    submission::switch(&app, &caller.scope, &id.0, body.on, &body.hash.unwrap_or_default()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a subject once more, or everything that is aside.
#[utoipa::path(post, path = "/submissions/{id}/resend", tag = "submission", operation_id = "resend_submission", params(("id" = String, Path)), request_body = ResendBody, responses((status = 200, body = Resent)))]
pub(crate) async fn resend(AppRef(app): AppRef, caller: Caller, id: PathId, Body(body): Body<ResendBody>) -> Answer<Resent> {
    let one = match (&body.object, &body.subject) {
        (Some(object), Some(subject)) => Some((object.as_str(), subject.as_str())),
        (None, None) => None,
        (Some(_), None) => return Err(anlan_app::error::AppError::invalid("field.missing", "subject").into()),
        (None, Some(_)) => return Err(anlan_app::error::AppError::invalid("field.missing", "object").into()),
    };
    Ok(Json(Resent { subjects: submission::resend(&app, &caller.scope, &id.0, one).await? }))
}

/// Subjects of a target in a state.
#[utoipa::path(get, path = "/submissions/{id}/items", tag = "submission", operation_id = "list_submission_items", params(("id" = String, Path), ItemsQuery), responses((status = 200, body = SubmissionItemList)))]
pub(crate) async fn items(AppRef(app): AppRef, caller: Caller, id: PathId, Query(query): Query<ItemsQuery>) -> Answer<SubmissionItemList> {
    let paging = validate::paging(query.cursor, query.limit)?;
    let state = query.state.as_deref().filter(|state| !state.is_empty()).unwrap_or("aside");
    let object = query.object.as_deref().filter(|object| !object.is_empty());
    let page = submission::items(&app, &caller.scope, &id.0, state, object, &paging).await?;
    Ok(Json(SubmissionItemList { items: page.items.into_iter().map(Into::into).collect(), next: page.next }))
}

/// What would go of one subject now, to the last character.
#[utoipa::path(get, path = "/submissions/{id}/preview", tag = "submission", operation_id = "preview_submission", params(("id" = String, Path), PreviewQuery), responses((status = 200, body = SubmissionPreview)))]
pub(crate) async fn preview(
    AppRef(app): AppRef,
    caller: Caller,
    id: PathId,
    Query(query): Query<PreviewQuery>,
) -> Answer<SubmissionPreview> {
    let found = submission::preview(&app, &caller.scope, &id.0, &query.object, &query.subject).await?;
    let refusals = found.refusals.into_iter().map(|r| SubmissionRefusal { field: r.field, code: r.code, value: r.value });
    Ok(Json(SubmissionPreview {
        to: found.to,
        key: found.key,
        text: found.text,
        digest: found.digest,
        wanted: found.is_wanted,
        here: found.is_here,
        refusals: refusals.collect(),
        item: found.item.map(Into::into),
    }))
}

/// Every attempt, newest first, of what the caller sees.
#[utoipa::path(get, path = "/submission-attempts", tag = "submission", operation_id = "list_submission_attempts", params(AttemptsQuery), responses((status = 200, body = SubmissionAttemptList)))]
pub(crate) async fn attempts(AppRef(app): AppRef, caller: Caller, Query(query): Query<AttemptsQuery>) -> Answer<SubmissionAttemptList> {
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    let filter = SubmissionAttemptFilter {
        target: some(query.target),
        object: some(query.object),
        subject: some(query.subject),
        outcome: some(query.outcome),
    };
    let page = submission::attempts(&app, &caller.scope, &filter, &validate::paging(query.cursor, query.limit)?).await?;
    Ok(Json(SubmissionAttemptList { attempts: page.items.into_iter().map(Into::into).collect(), next: page.next }))
}
