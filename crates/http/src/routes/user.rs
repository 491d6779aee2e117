//! People who sign in, and what they may do where.

use anlan_app::record::{self, Named};
use anlan_app::second_factor;
use anlan_app::user::{self, User, UserChange, UserWish};
use anlan_app::validate;
use anlan_model::Role;
use anlan_model::noun::Grant;
use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Answer;
use crate::dto::{At, Created, id, id_option};
use crate::extract::{AppRef, Body, Caller, PathId, Query};
use crate::problem::Failure;

/// A person.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub(crate) struct UserDto {
    id: String,
    username: String,
    name: String,
    grants: Vec<GrantDto>,
    disabled: bool,
    /// Signing in takes a code beside the password.
    second_factor: bool,
    created_at: At,
    revision: i64,
}

impl From<User> for UserDto {
    fn from(user: User) -> Self {
        Self {
            id: user.id.to_string(),
            grants: user.grants.iter().map(Into::into).collect(),
            username: user.username,
            name: user.name,
            disabled: user.disabled,
            second_factor: user.second_factor,
            created_at: user.created_at.into(),
            revision: user.revision,
        }
    }
}

/// A role at a territory.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = Grant)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrantDto {
    /// `administrator`, `duty_officer`, `supervisor`, `safety_manager`, `leader`, `screen`.
    role: String,
    /// `null` = the whole node.
    #[serde(default)]
    region: Option<String>,
    /// `null` = all.
    #[serde(default)]
    sector: Option<String>,
    /// One enterprise only.
    #[serde(default)]
    enterprise: Option<String>,
}

impl From<&Grant> for GrantDto {
    fn from(grant: &Grant) -> Self {
        Self {
            role: grant.role.as_str().to_owned(),
            region: grant.region.as_ref().map(ToString::to_string),
            sector: grant.sector.clone(),
            enterprise: grant.enterprise.map(|e| e.to_string()),
        }
    }
}

fn read_grants(app: &anlan_app::App, grants: Vec<GrantDto>) -> Result<Vec<Grant>, anlan_app::error::AppError> {
    let known = app.registry.get();
    let read = |(i, grant): (usize, GrantDto)| {
        let field = |name: &str| format!("grants[{i}].{name}");
        Ok(Grant {
            role: Role::parse(&grant.role)
                .ok_or_else(|| anlan_app::error::AppError::invalid("word.unknown", &field("role")).with("word", &grant.role))?,
            region: grant.region.map(|r| validate::region(&field("region"), &r, &known.regions, app.today())).transpose()?,
            sector: grant.sector.map(|s| validate::word(&field("sector"), &s, false)).transpose()?,
            enterprise: id_option(&field("enterprise"), grant.enterprise.as_deref())?,
        })
    };
    grants.into_iter().enumerate().map(read).collect()
}

/// A page of people.
#[derive(Serialize, ToSchema)]
pub(crate) struct UserList {
    users: Vec<UserDto>,
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

/// A new person.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserBody {
    username: String,
    name: String,
    /// At least 10 characters, not the user name.
    password: String,
    grants: Vec<GrantDto>,
}

/// What to change; fields left out stay.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserChangeBody {
    /// As read; an older one is refused.
    revision: i64,
    #[serde(default)]
    name: Option<String>,
    /// All of them.
    #[serde(default)]
    grants: Option<Vec<GrantDto>>,
    /// Signs the person out everywhere.
    #[serde(default)]
    disabled: Option<bool>,
    /// Signs the person out everywhere.
    #[serde(default)]
    password: Option<String>,
}

/// Lists people in order of ids.
#[utoipa::path(get, path = "/users", tag = "user", params(ListQuery), responses((status = 200, body = UserList)))]
pub(crate) async fn list(AppRef(app): AppRef, caller: Caller, Query(query): Query<ListQuery>) -> Answer<UserList> {
    let page = user::list(&app, &caller.scope, &validate::paging(query.cursor, query.limit)?).await?;
    Ok(Json(UserList { users: page.items.into_iter().map(Into::into).collect(), next: page.next }))
}

/// Creates a person.
#[utoipa::path(post, path = "/users", tag = "user", request_body = UserBody, responses((status = 201, body = Created)))]
pub(crate) async fn create(
    AppRef(app): AppRef,
    caller: Caller,
    Body(body): Body<UserBody>,
) -> Result<(StatusCode, Json<Created>), Failure> {
    let wish = UserWish { username: body.username, name: body.name, password: body.password, grants: read_grants(&app, body.grants)? };
    let made = user::create(&app, &caller.scope, wish).await?;
    Ok((StatusCode::CREATED, Json(Created { id: made.id.to_string() })))
}

/// Changes a person.
#[utoipa::path(patch, path = "/users/{id}", tag = "user", params(("id" = String, Path)), request_body = UserChangeBody, responses((status = 200, body = UserDto)))]
pub(crate) async fn update(AppRef(app): AppRef, caller: Caller, id: PathId, Body(body): Body<UserChangeBody>) -> Answer<UserDto> {
    let change = UserChange {
        revision: body.revision,
        name: body.name,
        grants: body.grants.map(|g| read_grants(&app, g)).transpose()?,
        disabled: body.disabled,
        password: body.password,
    };
    Ok(Json(user::update(&app, &caller.scope, id.read()?, change).await?.into()))
}

/// Ends every session of a person; live streams end within seconds.
#[utoipa::path(post, path = "/users/{id}/sign-out", tag = "user", params(("id" = String, Path)), responses((status = 204)))]
pub(crate) async fn sign_out(AppRef(app): AppRef, caller: Caller, id: PathId) -> Result<StatusCode, Failure> {
    user::sign_out(&app, &caller.scope, id.read()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes the second factor of somebody else, who lost theirs, and ends every session of theirs.
#[utoipa::path(post, path = "/users/{id}/totp/reset", tag = "user", params(("id" = String, Path)), responses((status = 204)))]
pub(crate) async fn reset_second_factor(AppRef(app): AppRef, caller: Caller, id: PathId) -> Result<StatusCode, Failure> {
    second_factor::reset(&app, &caller.scope, id.read()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An open record that names somebody.
#[derive(Serialize, ToSchema)]
pub(crate) struct NamedRecord {
    /// Register.
    kind: String,
    id: String,
    number: String,
    title: String,
    /// Name of the enterprise or division.
    owner: String,
    /// ISO.
    due_on: Option<String>,
    /// Fields that name them.
    fields: Vec<String>,
    /// On their own to-do list.
    task: bool,
}

impl From<Named> for NamedRecord {
    fn from(named: Named) -> Self {
        Self {
            kind: named.kind,
            id: named.id.to_string(),
            number: named.number,
            title: named.title,
            owner: named.owner,
            due_on: named.due_on,
            fields: named.fields,
            task: named.is_task,
        }
    }
}

/// What somebody is named for.
#[derive(Serialize, ToSchema)]
pub(crate) struct UserDuties {
    /// Open records within the asker's territory.
    records: Vec<NamedRecord>,
    /// Shifts to come.
    shifts: u64,
}

/// Who takes over.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TakeOverBody {
    to: String,
    /// Say what would be taken over and keep nothing.
    dry_run: bool,
}

/// What was taken over, or would be.
#[derive(Serialize, ToSchema)]
pub(crate) struct TakeOverReport {
    dry_run: bool,
    records: Vec<NamedRecord>,
    /// Whoever takes over holds no grant for these.
    left: Vec<NamedRecord>,
    /// These name the person as who did something, not as whose task it is, and stay as they are.
    kept: Vec<NamedRecord>,
}

/// Open records that name a person in one of their fields, and shifts to come.
#[utoipa::path(get, path = "/users/{id}/duties", tag = "user", params(("id" = String, Path)), responses((status = 200, body = UserDuties)))]
pub(crate) async fn duties(AppRef(app): AppRef, caller: Caller, path: PathId) -> Answer<UserDuties> {
    let found = record::duties(&app, &caller.scope, path.read()?).await?;
    Ok(Json(UserDuties { records: found.records.into_iter().map(Into::into).collect(), shifts: found.shifts }))
}

/// Puts another person in their place in every open record that is or will be their task; both are told.
#[utoipa::path(post, path = "/users/{id}/take-over", tag = "user", params(("id" = String, Path)), request_body = TakeOverBody, responses((status = 200, body = TakeOverReport), (status = 409, body = crate::problem::Problems)))]
pub(crate) async fn take_over(AppRef(app): AppRef, caller: Caller, path: PathId, Body(body): Body<TakeOverBody>) -> Answer<TakeOverReport> {
    let done = record::take_over(&app, &caller.scope, path.read()?, id("to", &body.to)?, body.dry_run).await?;
    let all = |records: Vec<Named>| records.into_iter().map(Into::into).collect();
    Ok(Json(TakeOverReport { dry_run: body.dry_run, records: all(done.records), left: all(done.left), kept: all(done.kept) }))
}
