//! What anybody may know before signing in: name, version, demo, test clock, whether setup is due.

use anlan_app::access;
use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::Answer;
use crate::extract::AppRef;

/// The node, as a stranger sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Status {
    /// 安澜.
    name: &'static str,
    version: &'static str,
    /// All data is invented (演示数据).
    demo: bool,
    /// Domain time is moved from outside.
    test_clock: bool,
    /// Nobody can sign in yet: open the setup link.
    setup_needed: bool,
    region: StatusRegion,
    /// Text drawn on the map.
    map_attribution: String,
}

/// The division this node serves.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatusRegion {
    code: String,
    name: String,
}

/// What anybody may know before signing in.
#[utoipa::path(get, path = "/status", tag = "session", responses((status = 200, body = Status)), security(()))]
pub(crate) async fn status(AppRef(app): AppRef) -> Answer<Status> {
    let code = app.settings.region.clone();
    let known = app.registry.get();
    let name = known.regions.values().find(|r| r.code.as_str() == code).map_or_else(|| code.clone(), |r| r.name.clone());
    Ok(Json(Status {
        name: "安澜",
        version: env!("CARGO_PKG_VERSION"),
        demo: app.settings.demo,
        test_clock: app.clock.is_test(),
        setup_needed: access::setup_needed(&app).await?,
        region: StatusRegion { code, name },
        map_attribution: app.settings.map_attribution.clone(),
    }))
}
