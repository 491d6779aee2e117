//! Open data (信息资源共享): the catalogue of datasets for anybody, and keys that read them.

use anlan_app::App;
use anlan_app::error::AppError;
use anlan_app::open_data::{self, ApiKey, ApiKeyWish, Dataset, Standing};
use anlan_app::validate;
use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Answer;
use crate::dto::{At, id_option};
use crate::extract::{AppRef, Body, Caller, PathId, Query};
use crate::key::MaybeReads;
use crate::problem::Failure;

/// A field of a dataset.
#[derive(Serialize, ToSchema)]
#[schema(as = DatasetField)]
pub(crate) struct FieldDto {
    /// As in answers.
    name: &'static str,
    /// Unit, or the field that says it; empty = none.
    unit: &'static str,
    about: &'static str,
    about_en: &'static str,
}

/// What can be read by key (数据集).
#[derive(Serialize, ToSchema)]
#[schema(as = Dataset)]
pub(crate) struct DatasetDto {
    /// Word, as keys name it.
    id: &'static str,
    name: &'static str,
    name_en: &'static str,
    about: &'static str,
    about_en: &'static str,
    /// How fresh it is.
    freshness: &'static str,
    freshness_en: &'static str,
    /// What the interface follows.
    standard: &'static str,
    /// Address on this node.
    path: &'static str,
    /// Media types.
    formats: &'static [String],
    fields: Vec<FieldDto>,
    /// The asker may read it; `false` for whoever did not say who they are.
    readable: bool,
    /// Measuring points that the asker reaches; `null` if they may not read it, or it has none.
    n_points: Option<usize>,
    /// Newest value that the asker reaches; `null` as above.
    newest_at: Option<At>,
}

/// The catalogue of datasets (数据目录).
#[derive(Serialize, ToSchema)]
pub(crate) struct DatasetList {
    /// Terms of use.
    terms: String,
    terms_en: String,
    datasets: Vec<DatasetDto>,
}

/// What there is to read, in which fields, how fresh, under which terms and how; for anybody.
#[utoipa::path(get, path = "/datasets", tag = "open_data", operation_id = "list_datasets", responses((status = 200, body = DatasetList)))]
pub(crate) async fn datasets(AppRef(app): AppRef, MaybeReads(scopes): MaybeReads) -> Answer<DatasetList> {
    let mut datasets = Vec::new();
    for info in open_data::catalogue() {
        let scope = scopes.iter().find(|(dataset, _)| dataset.as_str() == info.id).map(|(dataset, scope)| (*dataset, scope));
        let (n_points, newest_at) = match scope {
            Some((Dataset::Telemetry, scope)) => {
                let (n, newest) = open_data::reach(&app, scope).await?;
                (Some(n), newest)
            }
            _ => (None, None),
        };
        datasets.push(DatasetDto {
            id: &info.id,
            name: &info.name,
            name_en: &info.name_en,
            about: &info.about,
            about_en: &info.about_en,
            freshness: &info.freshness,
            freshness_en: &info.freshness_en,
            standard: &info.standard,
            path: &info.path,
            formats: &info.formats,
            fields: info.fields.iter().map(|f| FieldDto { name: &f.name, unit: &f.unit, about: &f.about, about_en: &f.about_en }).collect(),
            readable: scope.is_some(),
            n_points,
            newest_at: newest_at.map(Into::into),
        });
    }
    let (terms, terms_en) = open_data::terms(&app);
    Ok(Json(DatasetList { terms: terms.to_owned(), terms_en: terms_en.to_owned(), datasets }))
}

/// A key (接口密钥), without what opens anything.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub(crate) struct ApiKeyDto {
    id: String,
    name: String,
    /// The organisation it was given to.
    holder: String,
    /// First characters of the key.
    shown: String,
    /// Words of datasets.
    datasets: Vec<String>,
    /// `null` = the whole node.
    region: Option<String>,
    /// `null` = all.
    sector: Option<String>,
    /// One enterprise alone.
    enterprise: Option<String>,
    /// Requests a minute.
    per_minute: i64,
    /// Requests a day, Beijing.
    per_day: i64,
    /// Last day, ISO.
    valid_until: String,
    /// `good`, `over`, `revoked`.
    standing: &'static str,
    created_by: String,
    created_at: At,
    revoked_by: Option<String>,
    revoked_at: Option<At>,
    /// To the minute; `null` = never.
    last_used_at: Option<At>,
}

impl From<ApiKey> for ApiKeyDto {
    fn from(key: ApiKey) -> Self {
        let standing = match open_data::standing(&key) {
            Standing::Good => "good",
            Standing::Over => "over",
            Standing::Revoked => "revoked",
        };
        let (revoked_by, revoked_at) = key.revoked.unzip();
        Self {
            id: key.id.to_string(),
            name: key.name,
            holder: key.holder,
            shown: key.shown,
            datasets: key.datasets,
            region: key.bounds.region.map(|r| r.to_string()),
            sector: key.bounds.sector,
            enterprise: key.bounds.enterprise.map(|e| e.to_string()),
            per_minute: key.per_minute,
            per_day: key.per_day,
            valid_until: key.valid_until,
            standing,
            created_by: key.created_by,
            created_at: key.created_at.into(),
            revoked_by,
            revoked_at: revoked_at.map(Into::into),
            last_used_at: key.last_used_at.map(Into::into),
        }
    }
}

/// A page of keys, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct ApiKeyList {
    api_keys: Vec<ApiKeyDto>,
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

/// A key to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApiKeyBody {
    name: String,
    /// The organisation it is given to.
    holder: String,
    /// `telemetry`, `indicators`.
    datasets: Vec<String>,
    /// Left out = the whole node.
    #[serde(default)]
    region: Option<String>,
    /// Left out = all.
    #[serde(default)]
    sector: Option<String>,
    /// One enterprise alone.
    #[serde(default)]
    enterprise: Option<String>,
    /// 1 to 6,000; left out = 60.
    #[serde(default)]
    per_minute: Option<i64>,
    /// 1 to 5,000,000; left out = 10,000.
    #[serde(default)]
    per_day: Option<i64>,
    /// Last day, ISO; within two years.
    valid_until: String,
}

/// A key that was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct ApiKeyMade {
    api_key: ApiKeyDto,
    /// For `Authorization: Bearer …`; shown this once.
    key: String,
}

/// Lists keys whose bounds the asker may manage.
#[utoipa::path(get, path = "/api-keys", tag = "open_data", operation_id = "list_api_keys", params(ListQuery), responses((status = 200, body = ApiKeyList)))]
pub(crate) async fn list(AppRef(app): AppRef, caller: Caller, Query(query): Query<ListQuery>) -> Answer<ApiKeyList> {
    let page = open_data::list(&app, &caller.scope, &validate::paging(query.cursor, query.limit)?).await?;
    Ok(Json(ApiKeyList { api_keys: page.items.into_iter().map(Into::into).collect(), next: page.next }))
}

fn wish(app: &App, body: ApiKeyBody) -> Result<ApiKeyWish, AppError> {
    let known = app.registry.get();
    Ok(ApiKeyWish {
        name: body.name,
        holder: body.holder,
        datasets: body.datasets,
        region: body.region.map(|r| validate::region("region", &r, &known.regions, app.today())).transpose()?,
        sector: body.sector.map(|s| validate::word("sector", &s, false)).transpose()?,
        enterprise: id_option("enterprise", body.enterprise.as_deref())?,
        per_minute: body.per_minute,
        per_day: body.per_day,
        valid_until: body.valid_until,
    })
}

/// Makes a key; its text is in the answer and nowhere else.
#[utoipa::path(post, path = "/api-keys", tag = "open_data", operation_id = "create_api_key", request_body = ApiKeyBody, responses((status = 201, body = ApiKeyMade)))]
pub(crate) async fn create(
    AppRef(app): AppRef,
    caller: Caller,
    Body(body): Body<ApiKeyBody>,
) -> Result<(StatusCode, Json<ApiKeyMade>), Failure> {
    let (made, key) = open_data::create(&app, &caller.scope, wish(&app, body)?).await?;
    Ok((StatusCode::CREATED, Json(ApiKeyMade { api_key: made.into(), key })))
}

/// Ends a key: its next request is refused.
#[utoipa::path(post, path = "/api-keys/{id}/revoke", tag = "open_data", operation_id = "revoke_api_key", params(("id" = String, Path)), responses((status = 200, body = ApiKeyDto)))]
pub(crate) async fn revoke(AppRef(app): AppRef, caller: Caller, id: PathId) -> Answer<ApiKeyDto> {
    Ok(Json(open_data::revoke(&app, &caller.scope, id.read()?).await?.into()))
}
