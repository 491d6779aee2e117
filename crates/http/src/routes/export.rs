//! Lists as files, made in the background: asked for, looked at, fetched.

use std::collections::BTreeMap;

use anlan_app::export::{self, ExportRow, ExportState};
use axum::Json;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio_util::io::ReaderStream;
use utoipa::{IntoParams, ToSchema};

use super::Answer;
use super::record::{ListQuery, asked};
use super::sheet::{XLSX, sheet_language};
use crate::dto::At;
use crate::extract::{AppRef, Caller, Pairs, Path2, PathId, Spoken};
use crate::messages::{self, Language};
use crate::problem::Failure;

/// A list that becomes files.
#[derive(Serialize, ToSchema)]
pub(crate) struct ExportJob {
    id: String,
    /// The register.
    kind: String,
    /// `waiting`, `done` or `failed`.
    state: &'static str,
    /// Why it failed, in the accepted language.
    reason: Option<String>,
    /// Records in its files so far.
    rows: u64,
    /// Files so far; they are given out once it is done.
    files: u64,
    asked_at: At,
    /// When it was done or failed.
    done_at: Option<At>,
    /// Your grants are others than those it was made with: ask again.
    stale: bool,
}

/// One's own jobs, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct ExportJobList {
    exports: Vec<ExportJob>,
}

/// Why a job failed, as it was noted.
#[derive(Default, Deserialize)]
struct Reason {
    code: String,
    #[serde(default)]
    params: BTreeMap<String, String>,
}

fn job(row: ExportRow, caller: &Caller, spoken: Language) -> ExportJob {
    let stale = row.grants != caller.scope.grants;
    let (state, reason) = match row.state {
        ExportState::Waiting => ("waiting", None),
        ExportState::Done => ("done", None),
        ExportState::Failed(reason) => {
            let reason: Reason = serde_json::from_value(reason).unwrap_or_default();
            ("failed", Some(messages::sentence(&reason.code, spoken, &reason.params)))
        }
    };
    ExportJob {
        id: row.id.to_string(),
        kind: row.kind,
        state,
        reason,
        rows: row.rows,
        files: row.files,
        asked_at: row.asked_at.into(),
        done_at: row.done_at.map(Into::into),
        stale,
    }
}

/// How large the files of a job are.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SizeQuery {
    /// Records in one file, 1 to 50,000 (default).
    #[expect(dead_code, reason = "read from the pairs; here for the API document")]
    rows_per_file: Option<usize>,
}

/// Takes a list to be made into XLSX files, with the filters of the list; `exports/{id}` says when they are there. They are kept for a day.
#[utoipa::path(post, path = "/registers/{kind}/exports", tag = "register", params(("kind" = String, Path), ListQuery, SizeQuery), responses((status = 202, body = ExportJob)))]
pub(crate) async fn ask(
    AppRef(app): AppRef,
    caller: Caller,
    kind: PathId,
    Spoken(spoken): Spoken,
    Pairs(pairs): Pairs,
) -> Result<(StatusCode, Json<ExportJob>), Failure> {
    let (size, pairs): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(name, _)| name == "rows_per_file");
    let rows_per_file = match size.as_slice() {
        [] => anlan_app::sheet::ROWS_MAX,
        // What is no number is in no range.
        [(_, rows), ..] => rows.parse().unwrap_or(0),
    };
    let (filter, _) = asked(&app, &kind.0, Pairs(pairs))?;
    let row = export::ask(&app, &caller.scope, &kind.0, filter, sheet_language(spoken), rows_per_file).await?;
    Ok((StatusCode::ACCEPTED, Json(job(row, &caller, spoken))))
}

/// Lists one's own jobs of the last day, newest first.
#[utoipa::path(get, path = "/exports", tag = "register", responses((status = 200, body = ExportJobList)))]
pub(crate) async fn list(AppRef(app): AppRef, caller: Caller, Spoken(spoken): Spoken) -> Answer<ExportJobList> {
    let rows = export::list(&app, &caller.scope).await?;
    Ok(Json(ExportJobList { exports: rows.into_iter().map(|row| job(row, &caller, spoken)).collect() }))
}

/// One of one's own jobs.
#[utoipa::path(get, path = "/exports/{id}", tag = "register", params(("id" = String, Path)), responses((status = 200, body = ExportJob)))]
pub(crate) async fn get(AppRef(app): AppRef, caller: Caller, id: PathId, Spoken(spoken): Spoken) -> Answer<ExportJob> {
    Ok(Json(job(export::get(&app, &caller.scope, id.read()?).await?, &caller, spoken)))
}

/// Takes back a job of one's own, with its files.
#[utoipa::path(delete, path = "/exports/{id}", tag = "register", params(("id" = String, Path)), responses((status = 204)))]
pub(crate) async fn forget(AppRef(app): AppRef, caller: Caller, id: PathId) -> Result<StatusCode, Failure> {
    export::forget(&app, &caller.scope, id.read()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A file of a job that is done, from 1; refused if the asker's grants are no longer those it was made with.
#[utoipa::path(get, path = "/exports/{id}/files/{part}", tag = "register", params(("id" = String, Path), ("part" = String, Path)), responses((status = 200, content_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", body = Vec<u8>)))]
pub(crate) async fn file(AppRef(app): AppRef, caller: Caller, path: Path2) -> Result<Response, Failure> {
    let (id, part): (i64, u64) = path.read()?;
    let (job, file) = export::open(&app, &caller.scope, id, part).await?;
    let part = if job.files > 1 { format!("-{part}") } else { String::new() };
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{}{part}.xlsx\"", job.kind));
    let body = Body::from_stream(ReaderStream::with_capacity(tokio::fs::File::from_std(file), 64 << 10));
    let mut response = ([(header::CONTENT_TYPE, XLSX)], body).into_response();
    response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition.unwrap_or(HeaderValue::from_static("attachment")));
    Ok(response)
}
