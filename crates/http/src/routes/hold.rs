//! Legal holds (保全): what retention must not drop.

use anlan_app::hold::{self, HoldRow, NewHold};
use anlan_app::validate;
use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Answer;
use crate::dto::{At, Created, at_option, id, id_option};
use crate::extract::{AppRef, Body, Caller, PathId, Query};
use crate::problem::Failure;

/// A legal hold.
#[derive(Serialize, ToSchema)]
pub(crate) struct Hold {
    id: String,
    /// Everything of this enterprise is held.
    enterprise: Option<String>,
    /// Held points, those of the enterprise when the hold was set among them.
    points: Vec<String>,
    /// Held vehicles, likewise.
    vehicles: Vec<String>,
    /// Start of the period, inclusive. Days that the period touches are kept whole.
    from: At,
    /// End of the period, exclusive.
    to: At,
    reason: String,
    created_at: At,
    created_by: String,
    /// `null` = it holds.
    released_at: Option<At>,
    released_by: Option<String>,
    release_reason: Option<String>,
}

impl From<HoldRow> for Hold {
    fn from(row: HoldRow) -> Self {
        Self {
            id: row.id.to_string(),
            enterprise: row.enterprise.map(|e| e.to_string()),
            points: row.points.iter().map(ToString::to_string).collect(),
            vehicles: row.vehicles.iter().map(ToString::to_string).collect(),
            from: row.from.into(),
            to: row.to.into(),
            reason: row.reason,
            created_at: row.created_at.into(),
            created_by: row.created_by,
            released_at: row.released_at.map(Into::into),
            released_by: row.released_by,
            release_reason: row.release_reason,
        }
    }
}

/// A page of holds, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct HoldList {
    holds: Vec<Hold>,
    next: Option<String>,
}

/// Which page.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    cursor: Option<String>,
    /// 1 to 1,000.
    limit: Option<u32>,
}

/// A hold to be set: an enterprise, or up to 1,000 points and vehicles.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HoldBody {
    #[serde(default)]
    enterprise: Option<String>,
    #[serde(default)]
    points: Vec<String>,
    #[serde(default)]
    vehicles: Vec<String>,
    /// RFC 3339, inclusive.
    from: String,
    /// RFC 3339, exclusive.
    to: String,
    /// The case, the order, who asked.
    reason: String,
}

/// Why a hold ends.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReleaseBody {
    reason: String,
}

/// Lists holds, released ones too, newest first.
#[utoipa::path(get, path = "/holds", tag = "hold", params(ListQuery), responses((status = 200, body = HoldList)))]
pub(crate) async fn list(AppRef(app): AppRef, caller: Caller, Query(query): Query<ListQuery>) -> Answer<HoldList> {
    let page = hold::list(&app, &caller.scope, &validate::paging(query.cursor, query.limit)?).await?;
    Ok(Json(HoldList { holds: page.items.into_iter().map(Into::into).collect(), next: page.next }))
}

/// Sets a hold; when this has answered, nothing it names is dropped any more.
#[utoipa::path(post, path = "/holds", tag = "hold", request_body = HoldBody, responses((status = 201, body = Created)))]
pub(crate) async fn create(
    AppRef(app): AppRef,
    caller: Caller,
    Body(body): Body<HoldBody>,
) -> Result<(StatusCode, Json<Created>), Failure> {
    let required =
        |field: &str, text: &str| at_option(field, Some(text))?.ok_or_else(|| anlan_app::error::AppError::invalid("time.malformed", field));
    let new = NewHold {
        enterprise: id_option("enterprise", body.enterprise.as_deref())?,
        points: body.points.iter().map(|p| id("points", p)).collect::<Result<_, _>>()?,
        vehicles: body.vehicles.iter().map(|v| id("vehicles", v)).collect::<Result<_, _>>()?,
        from: required("from", &body.from)?,
        to: required("to", &body.to)?,
        reason: body.reason,
    };
    let made = hold::create(&app, &caller.scope, new).await?;
    Ok((StatusCode::CREATED, Json(Created { id: made.to_string() })))
}

/// Releases a hold; what it held leaves when its time is over.
#[utoipa::path(post, path = "/holds/{id}/release", tag = "hold", params(("id" = String, Path)), request_body = ReleaseBody, responses((status = 204)))]
pub(crate) async fn release(AppRef(app): AppRef, caller: Caller, id: PathId, Body(body): Body<ReleaseBody>) -> Result<StatusCode, Failure> {
    hold::release(&app, &caller.scope, id.read()?, &body.reason).await?;
    Ok(StatusCode::NO_CONTENT)
}
