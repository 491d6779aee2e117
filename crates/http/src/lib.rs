//! The API under `/api/v1`, sessions, the live stream, health pages and the embedded console.
//!
//! Never touches the store: every handler calls a use case of `anlan_app`. Start at [`router`]; endpoints are listed in
//! `routes/mod.rs`, refusals are shaped in `problem.rs`, their sentences stand in `messages.rs`.

mod console;
mod csv;
mod dto;
mod extract;
mod health;
mod json;
mod key;
mod layers;
mod messages;
mod place;
mod problem;
mod public;
mod register_docs;
mod routes;
mod sensorthings;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anlan_app::App;
use anlan_model::UserId;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::get;
use tokio::sync::Semaphore;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate as _};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, ResponseBuilder, Schema, SecurityRequirement};
use utoipa_axum::router::OpenApiRouter;

/// Longest request body.
const BODY_BYTES: usize = 1024 * 1024;
/// Longest request body of an endpoint that asks nobody to sign in.
const OPEN_BODY_BYTES: usize = 16 * 1024;
/// A body must have come whole within this; its request holds a place meanwhile.
const BODY_LIMIT: Duration = Duration::from_secs(10);
/// Bytes of an imported file, a little more than a sheet may have: the sheet's own limit then says so.
const FILE_BYTES: usize = 11 * 1024 * 1024;
/// A file from a slow line has this long.
const FILE_LIMIT: Duration = Duration::from_secs(60);
/// A file of a record from a telephone on a slow line has this long.
const UPLOAD_LIMIT: Duration = Duration::from_secs(180);
/// Such files on their way at the same time; with the default length they take 160 MB.
const UPLOADS: usize = 8;
/// Requests worked on at the same time; more are answered 503 at once.
const REQUESTS: usize = 512;
/// Of those that bring a body and nobody has signed in for; strangers use up these places, never the others.
const OPEN_REQUESTS: usize = 32;
/// Bodies of such requests that may be on their way, all together and of one address: 32 MiB and 1 MiB of memory at most.
const ARRIVING: (usize, usize) = (2_048, 64);
/// Live streams open at the same time.
const STREAMS: usize = 2_000;
/// Of one person, on all their desks and walls together.
const STREAMS_OF_ONE: usize = 10;
/// Files that one person sends at the same time: nobody holds all the places.
const UPLOADS_OF_ONE: usize = 2;

/// Renders the node's metrics in Prometheus' text format.
pub type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;

/// How this listener is reached.
#[derive(Clone, Default)]
pub struct HttpOptions {
    /// The listener speaks HTTPS: cookies are `Secure`, browsers are told to stay.
    pub secure: bool,
    /// Invented data: every answer says so.
    pub demo: bool,
    /// Text of `/metrics`; without it the page does not exist.
    pub metrics: Option<MetricsText>,
    /// What `/metrics` asks for as a bearer token of whoever is not on this machine; without it nobody else is answered.
    pub metrics_token: Option<String>,
}

/// What every handler shares.
#[derive(Clone)]
pub(crate) struct Shared {
    app: Arc<App>,
    secure: bool,
    demo: bool,
    metrics: Option<MetricsText>,
    metrics_token: Option<Arc<str>>,
    /// One permit per live stream.
    streams: Arc<Semaphore>,
    /// Live streams of each person who has one.
    streams_of: Arc<Mutex<HashMap<UserId, usize>>>,
    /// One permit per request in work.
    requests: Arc<Semaphore>,
    /// The same for requests with a body that need no session; taken once the body is there.
    open_requests: Arc<Semaphore>,
    /// One permit per file that is uploaded.
    uploads: Arc<Semaphore>,
    /// Uploads of each person who has one.
    uploads_of: Arc<Mutex<HashMap<UserId, usize>>>,
    /// Bodies of strangers that are on their way.
    arriving: Arc<layers::Arriving>,
    /// Reports of violations that are on their way.
    sendings: Arc<layers::Arriving>,
}

/// Everything this crate answers, ready to serve; merge other endpoints (ingest) into it before serving.
///
/// The listener must put `axum::extract::ConnectInfo<SocketAddr>` into every request: sign-in slows down by address, and the
/// test clock answers loopback only.
pub fn router(app: Arc<App>, options: HttpOptions) -> Router {
    let shared = Shared {
        app,
        secure: options.secure,
        demo: options.demo,
        metrics: options.metrics,
        metrics_token: options.metrics_token.map(Into::into),
        streams: Arc::new(Semaphore::new(STREAMS)),
        streams_of: Arc::default(),
        requests: Arc::new(Semaphore::new(REQUESTS)),
        open_requests: Arc::new(Semaphore::new(OPEN_REQUESTS)),
        uploads: Arc::new(Semaphore::new(UPLOADS)),
        uploads_of: Arc::default(),
        arriving: Arc::default(),
        sendings: Arc::default(),
    };
    let (api, document) = parts();
    let text = serde_json::to_value(document).expect("the document is plain data");
    // What registers are on is data: the document of a node says what it really answers.
    let document = get(move |axum::extract::State(shared): axum::extract::State<Shared>| async move {
        axum::Json(register_docs::with_registers(text.clone(), &shared.app.registers.load()))
    });
    // Small answers and streams gain nothing; images are packed already.
    let worth_packing = DefaultPredicate::new()
        .and(NotForContentType::new("application/octet-stream"))
        .and(NotForContentType::new("application/pdf"))
        .and(NotForContentType::new("video/"));
    Router::new()
        .merge(api)
        .merge(public::router())
        .route("/api/v1/openapi.json", document)
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route(sensorthings::ROOT, get(sensorthings::get))
        .route(&format!("{}/{{*path}}", sensorthings::ROOT), get(sensorthings::get))
        .route(&format!("{}/", sensorthings::ROOT), get(sensorthings::get))
        .fallback(console::serve)
        .method_not_allowed_fallback(layers::method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn_with_state(shared.clone(), key::guard))
        .layer(middleware::from_fn_with_state(shared.clone(), layers::limit))
        .layer(middleware::from_fn(problem::render))
        .layer(CompressionLayer::new().compress_when(worth_packing))
        .layer(middleware::from_fn_with_state(shared.clone(), layers::headers))
        .with_state(shared)
}

/// The OpenAPI document of the API; the console's types are generated from it.
pub fn openapi() -> OpenApi {
    parts().1
}

fn parts() -> (Router<Shared>, OpenApi) {
    let base = OpenApiBuilder::new().info(InfoBuilder::new().title("安澜 Anlan").version(env!("CARGO_PKG_VERSION")).build()).build();
    let (router, mut document) = OpenApiRouter::with_openapi(base).nest("/api/v1", routes::api()).split_for_parts();
    finish(&mut document);
    (router, document)
}

/// Says what the derives cannot: how to sign in, the form of refusals, and that an answer always carries all its fields.
fn finish(document: &mut OpenApi) {
    use utoipa::{PartialSchema as _, ToSchema as _};
    let components = document.components.get_or_insert_default();
    components.schemas.insert(problem::Problems::name().into_owned(), problem::Problems::schema());
    components.schemas.insert(problem::Problem::name().into_owned(), problem::Problem::schema());
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    components.security_schemes.insert("bearer".to_owned(), bearer);
    let cookie = SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new(extract::COOKIE)));
    components.security_schemes.insert("cookie".to_owned(), cookie);
    let refused = Ref::from_schema_name(problem::Problems::name());
    let refused = ResponseBuilder::new()
        .description("Refused")
        .content("application/json", ContentBuilder::new().schema(Some(refused)).build())
        .build();
    for path in document.paths.paths.values_mut() {
        let operations = [&mut path.get, &mut path.post, &mut path.put, &mut path.patch, &mut path.delete];
        for operation in operations.into_iter().flatten() {
            operation.responses.responses.insert("default".to_owned(), RefOr::T(refused.clone()));
        }
    }
    document.security = Some(["bearer", "cookie"].map(|name| SecurityRequirement::new(name, Vec::<String>::new())).to_vec());
    for (name, schema) in &mut components.schemas {
        // Questions (…Body, …Request) may leave optional fields out; answers never do, they say null.
        if name.ends_with("Body")
            || name.ends_with("Request")
            || matches!(name.as_str(), "Problem" | "CommandWish" | "Grant" | "LimitsSource")
        {
            continue;
        }
        if let RefOr::T(Schema::Object(object)) = schema {
            object.required = object.properties.keys().cloned().collect();
        }
    }
}
