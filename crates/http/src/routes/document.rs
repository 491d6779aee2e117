//! Official documents (公文): composed from what the asker sees, read before they are written, issued under a number by somebody else.

use anlan_app::document::{self, Asked, Composed, Needs, SORTS, View};
use anlan_model::RecordId;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Answer;
use super::sheet::XLSX;
use crate::extract::{AppRef, Body, Caller, PathId};
use crate::problem::Failure;

/// What a document of a sort is about.
#[derive(Serialize, ToSchema)]
pub(crate) struct DocumentSort {
    /// Word of the register's field `sort`.
    sort: &'static str,
    /// `plan` (with `as_of`), `record`, `month` (with `region`) or `text` (with `region`).
    needs: &'static str,
    /// The register whose record it is about.
    register: Option<&'static str>,
}

/// The sorts there are.
#[derive(Serialize, ToSchema)]
pub(crate) struct DocumentSorts {
    sorts: Vec<DocumentSort>,
    /// This build makes PDF files.
    typesets: bool,
}

/// What to compose.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DocumentBody {
    /// Word of a sort.
    sort: String,
    /// Code of the division; needed of monthly reports and circulars.
    #[serde(default)]
    region: String,
    /// Word of the plan.
    #[serde(default)]
    plan: String,
    /// ISO day; empty = today.
    #[serde(default)]
    as_of: String,
    /// Id of the record.
    #[serde(default)]
    record: String,
    /// Such as `2026-11`.
    #[serde(default)]
    month: String,
    /// At most 100 characters; empty = the sort's own; needed of a circular.
    #[serde(default)]
    title: String,
    /// Who issues it, at most 60 characters; empty = as configured.
    #[serde(default)]
    issuer: String,
    /// To whom it is sent, at most 200 characters.
    #[serde(default)]
    addressee: String,
    /// Words of one's own, at most 20,000 characters: of a circular all of it, else a part at the end. A line is a paragraph; 一、 and （一） begin headings.
    #[serde(default)]
    text: String,
    /// Words of the parts that stand in it; empty = all.
    #[serde(default)]
    sections: Vec<String>,
    /// When it is written: `digest` of the preview that was read.
    #[serde(default)]
    digest: String,
}

impl From<DocumentBody> for Asked {
    fn from(body: DocumentBody) -> Self {
        Self {
            sort: body.sort,
            region: body.region,
            plan: body.plan,
            as_of: body.as_of,
            record: body.record,
            month: body.month,
            title: body.title,
            issuer: body.issuer,
            addressee: body.addressee,
            text: body.text,
            sections: body.sections,
        }
    }
}

/// A part that may be left out.
#[derive(Serialize, ToSchema)]
pub(crate) struct DocumentSection {
    id: String,
    /// Its heading; may be empty.
    name: String,
    /// It stands in this one.
    stands: bool,
}

/// A document that is not written yet.
#[derive(Serialize, ToSchema)]
pub(crate) struct DocumentPreview {
    /// `issuer`, `title`, `addressee`, `blocks`, `notes`: docs/reference/documents.md.
    #[schema(value_type = Object)]
    document: Value,
    /// SHA-256 of it.
    digest: String,
    region: String,
    /// What it is made from, in words.
    about: String,
    as_of: Option<String>,
    sections: Vec<DocumentSection>,
    /// Characters that no font of the server has: it cannot be issued with them.
    uncovered: String,
}

impl From<Composed> for DocumentPreview {
    fn from(made: Composed) -> Self {
        Self {
            document: serde_json::to_value(&made.document).unwrap_or_default(),
            digest: made.digest,
            region: made.region.to_string(),
            about: made.about,
            as_of: made.as_of.map(|day| day.to_string()),
            sections: made.sections.into_iter().map(|(id, name, stands)| DocumentSection { id, name, stands }).collect(),
            uncovered: made.uncovered.into_iter().collect(),
        }
    }
}

/// A document that was written: a record of the register `official_document`.
#[derive(Serialize, ToSchema)]
pub(crate) struct DocumentRecord {
    /// Id of the record.
    id: String,
    /// Its number in the register.
    number: String,
    state: String,
    revision: i64,
    /// Number of the document, once it is issued.
    document_no: Option<String>,
}

impl From<&anlan_app::record::RecordRow> for DocumentRecord {
    fn from(row: &anlan_app::record::RecordRow) -> Self {
        Self {
            id: row.id.to_string(),
            number: row.number.clone(),
            state: row.state.clone(),
            revision: row.revision,
            document_no: row.body["fields"]["document_no"].as_str().map(str::to_owned),
        }
    }
}

/// A document with what stands in it.
#[derive(Serialize, ToSchema)]
pub(crate) struct DocumentView {
    record: DocumentRecord,
    /// `issuer`, `title`, `addressee`, `blocks`, `notes`: docs/reference/documents.md.
    #[schema(value_type = Object)]
    document: Value,
    /// SHA-256 of it, as it was frozen.
    digest: String,
    /// What it was composed from.
    #[schema(value_type = Object)]
    made_from: Value,
    /// SHA-256 of the file, once it was made.
    pdf_digest: Option<String>,
    /// This build makes PDF files.
    typesets: bool,
}

impl From<View> for DocumentView {
    fn from(view: View) -> Self {
        Self {
            record: (&view.row).into(),
            document: serde_json::to_value(&view.document).unwrap_or_default(),
            digest: view.frozen.digest,
            made_from: view.frozen.made_from,
            pdf_digest: view.frozen.pdf_digest,
            typesets: view.typesets,
        }
    }
}

/// What was read when it is issued.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IssueBody {
    /// Of the record.
    revision: i64,
    /// Of the content that was read.
    digest: String,
}

/// Sorts of documents, and whether this build makes PDF files.
#[utoipa::path(get, path = "/documents/sorts", tag = "document", operation_id = "document_sorts", responses((status = 200, body = DocumentSorts)))]
pub(crate) async fn sorts(AppRef(app): AppRef, _: Caller) -> Json<DocumentSorts> {
    let sorts = SORTS.into_iter().map(|(sort, needs)| match needs {
        Needs::Plan => DocumentSort { sort, needs: "plan", register: None },
        Needs::Record(register) => DocumentSort { sort, needs: "record", register: Some(register) },
        Needs::Month => DocumentSort { sort, needs: "month", register: None },
        Needs::Text => DocumentSort { sort, needs: "text", register: None },
    });
    Json(DocumentSorts { sorts: sorts.collect(), typesets: app.typesetter.get().is_some() })
}

/// Composes a document without writing it: the numbers are those of the rows that the asker sees.
#[utoipa::path(post, path = "/documents/preview", tag = "document", operation_id = "document_preview", request_body = DocumentBody, responses((status = 200, body = DocumentPreview)))]
pub(crate) async fn preview(AppRef(app): AppRef, caller: Caller, Body(body): Body<DocumentBody>) -> Answer<DocumentPreview> {
    Ok(Json(document::preview(&app, &caller.scope, &body.into()).await?.into()))
}

/// Writes a document as it was read in the preview; somebody else issues it. 409 `document.changed` if it would be another one by now.
#[utoipa::path(post, path = "/documents", tag = "document", operation_id = "document_compose", request_body = DocumentBody, responses((status = 201, body = DocumentRecord)))]
pub(crate) async fn compose(
    AppRef(app): AppRef,
    caller: Caller,
    Body(body): Body<DocumentBody>,
) -> Result<(StatusCode, Json<DocumentRecord>), Failure> {
    let digest = body.digest.clone();
    let row = document::compose(&app, &caller.scope, &body.into(), &digest).await?;
    Ok((StatusCode::CREATED, Json((&row).into())))
}

/// A document, by the id of its record.
#[utoipa::path(get, path = "/documents/{id}", tag = "document", operation_id = "document_view", params(("id" = String, Path)), responses((status = 200, body = DocumentView)))]
pub(crate) async fn view(AppRef(app): AppRef, caller: Caller, id: PathId) -> Answer<DocumentView> {
    Ok(Json(document::view(&app, &caller.scope, RecordId::new(id.read()?)).await?.into()))
}

/// Issues a document under the next number of the year.
#[utoipa::path(post, path = "/documents/{id}/issue", tag = "document", operation_id = "document_issue", params(("id" = String, Path)), request_body = IssueBody, responses((status = 200, body = DocumentRecord)))]
pub(crate) async fn issue(AppRef(app): AppRef, caller: Caller, id: PathId, Body(body): Body<IssueBody>) -> Answer<DocumentRecord> {
    let row = document::issue(&app, &caller.scope, RecordId::new(id.read()?), body.revision, &body.digest).await?;
    Ok(Json((&row).into()))
}

/// The PDF file: of an issued document the same bytes for ever, of any other with a mark across each page. 503 in a build without PDF.
#[utoipa::path(get, path = "/documents/{id}/file", tag = "document", operation_id = "document_file", params(("id" = String, Path)), responses((status = 200, content_type = "application/pdf", body = Vec<u8>)))]
pub(crate) async fn file(AppRef(app): AppRef, caller: Caller, id: PathId) -> Result<Response, Failure> {
    let id = RecordId::new(id.read()?);
    let bytes = document::file(&app, &caller.scope, id).await?;
    Ok(attachment("application/pdf", &format!("document-{id}.pdf"), bytes))
}

/// What stands in it as a workbook: the text on the first sheet, each table on one of its own.
#[utoipa::path(get, path = "/documents/{id}/workbook", tag = "document", operation_id = "document_workbook", params(("id" = String, Path)), responses((status = 200, content_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", body = Vec<u8>)))]
pub(crate) async fn workbook(AppRef(app): AppRef, caller: Caller, id: PathId) -> Result<Response, Failure> {
    let id = RecordId::new(id.read()?);
    let bytes = document::workbook(&app, &caller.scope, id).await?;
    Ok(attachment(XLSX, &format!("document-{id}.xlsx"), bytes))
}

fn attachment(of: &'static str, name: &str, bytes: Vec<u8>) -> Response {
    let mut response = ([(header::CONTENT_TYPE, of)], bytes).into_response();
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{name}\""));
    response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition.unwrap_or(HeaderValue::from_static("attachment")));
    response
}
