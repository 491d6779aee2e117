//! Every operation of the API asked by nobody and by the wrong somebody; and what each role may do, as one reviewed table.
//!
//! A new endpoint without a line in [`case`] fails the build: that is the point.

mod common;

use std::fmt::Write as _;

use anlan_app::registry::Touched;
use anlan_model::{Clock as _, RegionCode, Role, Scope, Trust};
use common::{ELSEWHERE, HERE, Node, PASSWORD, ask, node, text};
use serde_json::{Value, json};

/// Things of one county that others must not reach.
struct World {
    node: Node,
    enterprise: String,
    /// Another file of it.
    other: String,
    device: String,
    point: String,
    vehicle: String,
    alarm: String,
    user: String,
    media: String,
    combination: String,
    record: String,
    /// One that carries a certificate.
    licence: String,
    /// A picture of the record.
    attachment: String,
    export: String,
    /// A shift of `user`.
    shift: String,
    /// A node below.
    child: String,
    /// An order to it.
    order: String,
    invitation: i64,
    /// Proposed about the plan of the city.
    decision: String,
    /// A circular of the county.
    document: String,
    /// A key of open data.
    key: String,
    /// An assessment of the county.
    assessment: String,
}

async fn world() -> World {
    let node = node().await;
    let enterprise = node.enterprise("E1", HERE).await;
    let other = node.enterprise("E1-2", HERE).await;
    let device = node.device("D1", Some(&enterprise)).await;
    let point = node.point(&device, "GT-101").await;
    let vehicle = node.app.store.ensure_vehicle("13900000001", Trust::Listed, true, node.app.clock.now()).await.unwrap();
    let vehicle_id = vehicle.id.to_string();
    node.app.registry.renew([Touched::Vehicle(vehicle.id)]).await.unwrap();
    let owned = json!({"revision": vehicle.revision, "enterprise": enterprise, "plate": "测A00001"});
    node.admin("PATCH", &format!("/api/v1/vehicles/{vehicle_id}"), owned).await.ok(200);
    node.reading(&device, "GT-101", 30.0).await;
    let alarm = text(&node.get("/api/v1/alarms").await["alarms"][0]["id"]);
    node.admin("POST", "/api/v1/commands", json!({"vehicle": vehicle_id, "body": {"kind": "query_position"}})).await.ok(201);
    let body = json!({"username": "local", "name": "本地", "password": PASSWORD, "grants": [{"role": "leader", "region": HERE}]});
    let user = text(&node.admin("POST", "/api/v1/users", body).await.ok(201)["id"]);
    node.media("13900000001", 7, Some(&[0xff, 0xd8, 0xff, 0xd9])).await.unwrap();
    let media = text(&node.get(&format!("/api/v1/vehicles/{vehicle_id}/media")).await["media"][0]["id"]);
    let members = json!([{"point": point, "kind": "h"}, {"point": point, "kind": "hh"}]);
    let source = json!({"document": "联锁表"});
    let body = json!({"enterprise": enterprise, "name": "泄漏确认", "level": "red", "within_s": 30, "members": members, "source": source});
    let combination = text(&node.admin("POST", "/api/v1/combinations", body).await.ok(201)["id"]);
    let supervisor = node.person("reports", json!([{"role": "supervisor", "region": HERE}])).await;
    let attachment = text(&node.upload(&supervisor, "a.png", &common::png(4, 4)).await.ok(201)["id"]);
    let fields =
        json!({"description": "配电箱门缺失", "place": "二车间", "found_on": "2026-11-22", "source": "condition", "photos": [attachment]});
    let body = json!({"enterprise": enterprise, "transition": "report", "fields": fields});
    let made = ask(&node.router, "POST", "/api/v1/registers/hidden_danger/records", Some(&supervisor), Some(body)).await.ok(201);
    let record = text(&made["id"]);
    let fields = json!({"subject": "x", "licence": "mine", "certificate_no": "x", "issued_on": "2026-01-01", "valid_from": "2026-01-01", "valid_until": "2027-01-01"});
    let body = json!({"enterprise": enterprise, "transition": "enter", "fields": fields});
    let made = ask(&node.router, "POST", "/api/v1/registers/licence/records", Some(&supervisor), Some(body)).await.ok(201);
    let licence = text(&made["id"]);
    let toll = json!([{"told_on": "2026-11-22", "on": "2026-11-22", "deaths": 1, "serious_injuries": 0}]);
    let fields = json!({"title": "x", "place": "x", "happened_at": "2026-11-22T09:00", "nature": "general", "sector": "coal", "course": "x",
        "county_told_at": "2026-11-22T10:00", "toll": toll});
    let body = json!({"enterprise": enterprise, "transition": "register", "fields": fields});
    ask(&node.router, "POST", "/api/v1/registers/accident/records", Some(&supervisor), Some(body)).await.ok(201);
    let export = ask(&node.router, "POST", "/api/v1/registers/hidden_danger/exports", Some(&supervisor), None).await.ok(202);
    let export = text(&export["id"]);
    let body = json!({"region": HERE, "desk": "watch", "user": user, "from": "2026-11-25T00:00:00Z", "to": "2026-11-25T12:00:00Z"});
    let shift = text(&node.admin("POST", "/api/v1/duty/shifts", body).await.ok(201)["id"]);
    let (child, invitation) = node.child(HERE).await;
    let body = json!({"kind": "question", "target": child, "title": "汛期值守", "text": "请报送"});
    let order = text(&ask(&node.router, "POST", "/api/v1/orders", Some(&supervisor), Some(body)).await.ok(201)["id"]);
    let city = node.person("plans", json!([{"role": "supervisor", "region": "5304"}])).await;
    let body = json!({"kind": "part", "target": "G01", "region": HERE, "value": "0.2"});
    let made = ask(&node.router, "POST", "/api/v1/plans/yuxi-12th/decisions", Some(&city), Some(body)).await.ok(201);
    let decision = text(&made["id"]);
    let body = json!({"facts": [{"source": "population", "on": "2011-12-31", "region": HERE, "value": "49.5"}]});
    ask(&node.router, "POST", "/api/v1/facts", Some(&city), Some(body)).await.ok(201);
    let mut body = json!({"sort": "circular", "region": HERE, "title": "x", "text": "x"});
    body["digest"] =
        ask(&node.router, "POST", "/api/v1/documents/preview", Some(&supervisor), Some(body.clone())).await.ok(200)["digest"].clone();
    let document = text(&ask(&node.router, "POST", "/api/v1/documents", Some(&supervisor), Some(body)).await.ok(201)["id"]);
    let (key, _) = node.key(json!({"datasets": ["telemetry"], "region": HERE})).await;
    let table = serde_json::to_value(anlan_app::assessment::table().unwrap()).unwrap();
    let row = anlan_app::assessment::AssessmentRow {
        id: "a1".into(),
        table_id: "division_year".into(),
        table,
        year: 2026,
        region: RegionCode::new("5304").unwrap(),
        revision: 1,
        made_by: "x".into(),
        made_at: node.app.clock.now(),
        frozen: None,
    };
    // Of this county alone: whoever has a unit in it sees it.
    let units = [RegionCode::new(HERE).unwrap()];
    node.app.store.begin_assessment(&Scope::node(), &row, &units, node.app.clock.now()).await.unwrap();
    let assessment = row.id;
    World {
        node,
        enterprise,
        other,
        device,
        point,
        vehicle: vehicle_id,
        alarm,
        user,
        media,
        combination,
        record,
        licence,
        attachment,
        export,
        shift,
        child,
        order,
        invitation,
        decision,
        document,
        key,
        assessment,
    }
}

/// What somebody with every right, but in another county, must get.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Want {
    /// No sign-in by design; tested in `api.rs` and `certificates.rs`.
    Open,
    /// The same for everybody signed in: nothing of a territory in it.
    Common,
    /// The caller's own session.
    Own,
    /// 403 or 404 (or a reference that does not exist for them), and nothing changed.
    Refused,
    /// A list without anything of the county.
    Empty(&'static str),
    /// Counts of zero.
    Zero,
}

/// How an operation is asked: path, body, and what an outsider must get. `None` = nobody has thought about it yet.
fn case(w: &World, operation: &str) -> Option<(String, Option<Value>, Want)> {
    use Want::*;
    let World { enterprise: e, device: d, point: p, vehicle: v, alarm: a, user: u, combination: c, record: r, .. } = w;
    let records = "/registers/hidden_danger/records";
    let api = |rest: String| format!("/api/v1{rest}");
    let (path, body, want) = match operation {
        "get /datasets"
        | "get /status"
        | "post /setup"
        | "post /session"
        | "get /test/clock"
        | "post /test/clock"
        | "get /certificates/keys" => (operation.split(' ').nth(1)?.to_owned(), Some(json!({})), Open),
        "get /session" => ("/session".into(), None, Own),
        "delete /session" => ("/session".into(), None, Own),
        "post /session/reauth" => ("/session/reauth".into(), Some(json!({"password": PASSWORD})), Own),
        "post /session/totp" => ("/session/totp".into(), Some(json!({"password": PASSWORD})), Own),
        "post /session/totp/confirm" => ("/session/totp/confirm".into(), Some(json!({"code": "123456"})), Own),
        "delete /session/totp" => ("/session/totp".into(), Some(json!({"password": PASSWORD, "code": "123456"})), Own),
        "get /regions" | "get /map/counties" | "get /rules" | "get /kinds" => (operation.split(' ').nth(1)?.to_owned(), None, Common),
        // The stream itself is tested in live.rs; without an upgrade it refuses after it has looked at the session.
        "get /live" => ("/live".into(), None, Common),
        "get /summary" => ("/summary".into(), None, Zero),
        "get /leaders" => ("/leaders".into(), None, Zero),
        "get /accidents/statistics" => ("/accidents/statistics?from=2026-01-01&to=2027-12-31".into(), None, Zero),
        "get /enterprises" => ("/enterprises".into(), None, Empty("enterprises")),
        "post /enterprises" => ("/enterprises".into(), Some(json!({"code": "X", "name": "x", "region": HERE, "sector": "gas"})), Refused),
        "get /enterprises/{id}" => (format!("/enterprises/{e}"), None, Refused),
        "patch /enterprises/{id}" => (format!("/enterprises/{e}"), Some(json!({"revision": 1, "name": "x"})), Refused),
        "post /enterprises/{id}/merge" => {
            let body = json!({"into": w.other, "revision": 1, "into_revision": 1, "dry_run": true});
            (format!("/enterprises/{e}/merge"), Some(body), Refused)
        }
        "get /devices" => (format!("/devices?enterprise={e}"), None, Empty("devices")),
        "post /devices" => ("/devices".into(), Some(json!({"code": "X", "name": "x", "protocol": "mqtt", "enterprise": e})), Refused),
        "get /devices/{id}" => (format!("/devices/{d}"), None, Refused),
        "patch /devices/{id}" => (format!("/devices/{d}"), Some(json!({"revision": 1, "name": "x"})), Refused),
        "post /devices/{id}/secret" => (format!("/devices/{d}/secret"), Some(json!({})), Refused),
        "put /devices/{id}/points" => (format!("/devices/{d}/points"), Some(json!({"points": [{"code": "X", "name": "x"}]})), Refused),
        "get /devices/{id}/modbus" | "delete /devices/{id}/modbus" => (format!("/devices/{d}/modbus"), None, Refused),
        "put /devices/{id}/modbus" => {
            let register = json!({"code": "X", "table": "input", "address": 0, "type": "u16"});
            (
                format!("/devices/{d}/modbus"),
                Some(json!({"address": "127.0.0.1:502", "unit": 1, "interval_s": 5, "registers": [register]})),
                Refused,
            )
        }
        "get /points" => (format!("/points?device={d}"), None, Empty("points")),
        "get /points/latest" => (format!("/points/latest?enterprise={e}"), None, Empty("points")),
        "get /points/rollup" => (format!("/points/rollup?step=1h&enterprise={e}"), None, Empty("rollup")),
        "get /points/top" => ("/points/top".into(), None, Empty("points")),
        "get /points/{id}" => (format!("/points/{p}"), None, Refused),
        "patch /points/{id}" => (format!("/points/{p}"), Some(json!({"revision": 1, "limits": {}, "limits_source": null})), Refused),
        "get /points/{id}/readings.csv" => (format!("/points/{p}/readings.csv"), None, Refused),
        "get /points/{id}/readings" => (format!("/points/{p}/readings"), None, Refused),
        "get /points/{id}/rollup/columns" => (format!("/points/{p}/rollup/columns?step=1h"), None, Refused),
        "get /points/{id}/readings/columns" => (format!("/points/{p}/readings/columns"), None, Refused),
        "get /points/{id}/rollup" => (format!("/points/{p}/rollup?step=1h"), None, Refused),
        "get /combinations" => (format!("/combinations?enterprise={e}"), None, Empty("combinations")),
        "post /combinations" => {
            let members = json!([{"point": p, "kind": "h"}, {"point": p, "kind": "hh"}]);
            let body =
                json!({"enterprise": e, "name": "x", "level": "red", "within_s": 30, "members": members, "source": {"document": "x"}});
            ("/combinations".into(), Some(body), Refused)
        }
        "get /combinations/{id}" => (format!("/combinations/{c}"), None, Refused),
        "patch /combinations/{id}" => (format!("/combinations/{c}"), Some(json!({"revision": 0, "name": "x"})), Refused),
        "delete /combinations/{id}" => (format!("/combinations/{c}?revision=0"), None, Refused),
        "get /vehicles" => ("/vehicles?phone=013900000001".into(), None, Empty("vehicles")),
        "get /vehicles/latest" => ("/vehicles/latest".into(), None, Empty("vehicles")),
        "get /vehicles/{id}" => (format!("/vehicles/{v}"), None, Refused),
        "patch /vehicles/{id}" => (format!("/vehicles/{v}"), Some(json!({"revision": 1, "plate": "x"})), Refused),
        "post /vehicles/{id}/adopt" => (format!("/vehicles/{v}/adopt"), Some(json!({})), Refused),
        "get /vehicles/{id}/positions" => (format!("/vehicles/{v}/positions"), None, Refused),
        "get /vehicles/{id}/media" => (format!("/vehicles/{v}/media"), None, Refused),
        "get /vehicles/{id}/media/{media}/content" => (format!("/vehicles/{v}/media/{}/content", w.media), None, Refused),
        "get /retention" => ("/retention".into(), None, Refused),
        "get /vehicles/{id}/trips" => (format!("/vehicles/{v}/trips"), None, Refused),
        "get /vehicles/{id}/track.csv" => (format!("/vehicles/{v}/track.csv"), None, Refused),
        "get /road/ratios" => ("/road/ratios".into(), None, Empty("ratios")),
        "get /alarms" => ("/alarms".into(), None, Empty("alarms")),
        "get /alarms/{id}" => (format!("/alarms/{a}"), None, Refused),
        "post /alarms/{id}/acknowledge" => (format!("/alarms/{a}/acknowledge"), Some(json!({"note": "x"})), Refused),
        "post /alarms/{id}/close" => (format!("/alarms/{a}/close"), Some(json!({"reason": "x"})), Refused),
        "get /duty/shifts" => ("/duty/shifts".into(), None, Empty("shifts")),
        // Who is on duty above is told so that everybody below can call; of this node's own desks it says nothing to others.
        "get /duty/above" => ("/duty/above".into(), None, Empty("told")),
        "put /duty/told" => ("/duty/told".into(), Some(json!({"region": HERE, "desk": "watch", "told": true})), Refused),
        "get /duty/now" => ("/duty/now".into(), None, Empty("desks")),
        "post /duty/shifts" => {
            let body = json!({"region": HERE, "desk": "watch", "user": u, "from": "2026-12-01T00:00:00Z", "to": "2026-12-01T12:00:00Z"});
            ("/duty/shifts".into(), Some(body), Refused)
        }
        "post /duty/patterns" => {
            let parts = json!([{"from": "08:00", "to": "20:00"}]);
            let body = json!({"region": HERE, "desk": "leader", "people": [{"user": u}], "parts": parts, "first_day": "2026-12-02", "last_day": "2026-12-02"});
            ("/duty/patterns".into(), Some(body), Refused)
        }
        "patch /duty/shifts/{id}" => (format!("/duty/shifts/{}", w.shift), Some(json!({"revision": 0, "note": "x"})), Refused),
        "post /duty/shifts/{id}/swap" => {
            (format!("/duty/shifts/{}/swap", w.shift), Some(json!({"revision": 0, "with": "999", "with_revision": 1})), Refused)
        }
        "post /duty/shifts/{id}/remove" => (format!("/duty/shifts/{}/remove", w.shift), Some(json!({"revision": 0})), Refused),
        "put /duty/shifts/{id}/handover" => (format!("/duty/shifts/{}/handover", w.shift), Some(json!({"text": "x"})), Refused),
        "post /duty/shifts/{id}/handover/confirm" => {
            (format!("/duty/shifts/{}/handover/confirm", w.shift), Some(json!({"revision": 1})), Refused)
        }
        "get /users" => ("/users".into(), None, Empty("users")),
        "post /users" => {
            let body = json!({"username": "xx", "name": "x", "password": PASSWORD, "grants": [{"role": "leader", "region": HERE}]});
            ("/users".into(), Some(body), Refused)
        }
        "patch /users/{id}" => (format!("/users/{u}"), Some(json!({"revision": 1, "name": "x"})), Refused),
        "post /users/{id}/sign-out" => (format!("/users/{u}/sign-out"), Some(json!({})), Refused),
        "post /users/{id}/totp/reset" => (format!("/users/{u}/totp/reset"), Some(json!({})), Refused),
        "get /users/{id}/duties" => (format!("/users/{u}/duties"), None, Refused),
        "post /users/{id}/take-over" => (format!("/users/{u}/take-over"), Some(json!({"to": u, "dry_run": true})), Refused),
        "get /api-keys" => ("/api-keys".into(), None, Empty("api_keys")),
        "post /api-keys" => {
            let body = json!({"name": "x", "holder": "x", "datasets": ["telemetry"], "region": HERE, "valid_until": common::in_days(1)});
            ("/api-keys".into(), Some(body), Refused)
        }
        "post /api-keys/{id}/revoke" => (format!("/api-keys/{}/revoke", w.key), None, Refused),
        "get /audit" => ("/audit".into(), None, Empty("entries")),
        "get /events" => ("/events".into(), None, Empty("events")),
        "get /quarantine" => ("/quarantine".into(), None, Empty("entries")),
        "get /holds" => ("/holds".into(), None, Empty("holds")),
        "post /holds" => {
            let body = json!({"enterprise": e, "from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z", "reason": "x"});
            ("/holds".into(), Some(body), Refused)
        }
        "post /holds/{id}/release" => ("/holds/1/release".into(), Some(json!({"reason": "x"})), Refused),
        "get /commands" => (format!("/commands?vehicle={v}"), None, Empty("commands")),
        "post /commands" => ("/commands".into(), Some(json!({"vehicle": v, "body": {"kind": "query_position"}})), Refused),
        // What registers there are is no secret; their figures are zero, as their lists are empty.
        "get /registers" | "get /packs" => (operation.split(' ').nth(1)?.to_owned(), None, Common),
        "get /registers/{kind}" => ("/registers/hidden_danger".into(), None, Common),
        "get /registers/{kind}/records" => (records.into(), None, Empty("records")),
        "post /registers/{kind}/records" => {
            let fields = json!({"description": "x", "place": "x", "found_on": "2026-11-22", "source": "act"});
            (records.into(), Some(json!({"enterprise": e, "transition": "report", "fields": fields})), Refused)
        }
        "get /registers/{kind}/records/{id}" => (format!("{records}/{r}"), None, Refused),
        // Who checks a certificate holds it; what is told of it, and to whom none is issued, is in certificates.rs.
        "post /certificates/verify" => ("/certificates/verify".into(), Some(json!({"code": "AL1.x.x"})), Open),
        "get /registers/{kind}/records/{id}/certificate" => {
            (format!("/registers/licence/records/{}/certificate", w.licence), None, Refused)
        }
        "get /registers/{kind}/records/{id}/history" => (format!("{records}/{r}/history"), None, Refused),
        "post /registers/{kind}/records/{id}/transitions/{name}" => {
            (format!("{records}/{r}/transitions/rate"), Some(json!({"revision": 1, "fields": {"level": "general"}})), Refused)
        }
        // A file cannot be sent as JSON, so the upload is refused before anything else; who sees which is in attachments.rs and visible.rs.
        "post /attachments" => ("/attachments?name=x.jpg".into(), None, Common),
        "delete /attachments/{id}" => (format!("/attachments/{}", w.attachment), None, Refused),
        "get /attachments/{id}/content" | "get /attachments/{id}/thumbnail" | "get /attachments/{id}/view" => {
            (operation.split(' ').nth(1)?.replace("{id}", &w.attachment), None, Refused)
        }
        "get /registers/{kind}/map" => ("/registers/hidden_danger/map".into(), None, Empty("features")),
        // Files: what is in them is compared in registers.rs; a sheet cannot be sent as JSON, so the import is refused before anything else.
        "get /registers/{kind}/export" => ("/registers/hidden_danger/export".into(), None, Common),
        // A list of their own, in which nothing is: what is in it is compared in visible.rs.
        "post /registers/{kind}/exports" => ("/registers/hidden_danger/exports".into(), None, Common),
        "get /exports" => ("/exports".into(), None, Empty("exports")),
        "get /exports/{id}" | "delete /exports/{id}" => (format!("/exports/{}", w.export), None, Refused),
        "get /exports/{id}/files/{part}" => (format!("/exports/{}/files/1", w.export), None, Refused),
        // The network belongs to the whole node.
        "get /networking" => ("/networking".into(), None, Empty("divisions")),
        "get /networking/missing" => ("/networking/missing?rate=built".into(), None, Empty("missing")),
        "get /responsibility/coverage" => (format!("/responsibility/coverage?year=2026&division={HERE}"), None, Empty("units")),
        "get /assessments" => ("/assessments".into(), None, Empty("assessments")),
        "post /assessments" => ("/assessments".into(), Some(json!({"year": 2025, "region": "5304"})), Refused),
        "get /assessments/{id}" => (format!("/assessments/{}", w.assessment), None, Refused),
        "get /assessments/{id}/content" => (format!("/assessments/{}/content", w.assessment), None, Refused),
        "put /assessments/{id}/units/{region}" => {
            (format!("/assessments/{}/units/{HERE}", w.assessment), Some(json!({"revision": 1, "excluded": "x"})), Refused)
        }
        "put /assessments/{id}/units/{region}/scores/{item}" => {
            let body = json!({"revision": 1, "points": "1", "reason": "x", "evidence": [{"kind": "hidden_danger", "id": r}]});
            (format!("/assessments/{}/units/{HERE}/scores/publicity", w.assessment), Some(body), Refused)
        }
        "post /assessments/{id}/units/{region}/scores/{item}/confirm" => {
            (format!("/assessments/{}/units/{HERE}/scores/publicity/confirm", w.assessment), Some(json!({"revision": 1})), Refused)
        }
        "post /assessments/{id}/freeze" => {
            (format!("/assessments/{}/freeze", w.assessment), Some(json!({"revision": 1, "digest": "x"})), Refused)
        }
        "get /nodes" => ("/nodes".into(), None, Empty("nodes")),
        "put /nodes/{id}" => (format!("/nodes/{}", w.child), Some(json!({"revision": 1, "paused": true})), Refused),
        "post /nodes/{id}/revoke" => (format!("/nodes/{}/revoke", w.child), Some(json!({"reason": "x"})), Refused),
        "post /nodes/{id}/resume" => (format!("/nodes/{}/resume", w.child), Some(json!({"as": "restored"})), Refused),
        "get /invitations" => ("/invitations".into(), None, Empty("invitations")),
        "post /invitations" => ("/invitations".into(), Some(json!({"name": "x", "level": "township", "region": ELSEWHERE})), Refused),
        "post /invitations/{id}/confirm" => (format!("/invitations/{}/confirm", w.invitation), Some(json!({"fingerprint": "00"})), Refused),
        "delete /invitations/{id}" => (format!("/invitations/{}", w.invitation), None, Refused),
        "get /parent" => ("/parent".into(), None, Refused),
        "put /parent" => ("/parent".into(), Some(json!({"code": "x", "address": "x"})), Refused),
        "get /thinned" => ("/thinned".into(), None, Empty("thinned")),
        "get /proofs" => ("/proofs".into(), None, Empty("proofs")),
        "get /proofs/{origin}/{day}" => (format!("/proofs/{}/2026-11-20", w.child), None, Refused),
        "post /proofs/{origin}/{day}/again" => (format!("/proofs/{}/2026-11-20/again", w.child), Some(json!({})), Refused),
        "get /registers/{kind}/import" | "post /registers/{kind}/import" => ("/registers/hidden_danger/import".into(), None, Common),
        "get /enterprises/import" | "post /enterprises/import" => ("/enterprises/import".into(), None, Common),
        "get /orders" => ("/orders".into(), None, Empty("orders")),
        "get /orders/targets" => ("/orders/targets".into(), None, Empty("targets")),
        "post /orders" => {
            ("/orders".into(), Some(json!({"kind": "question", "target": w.child, "title": "x", "text": "x", "region": HERE})), Refused)
        }
        "get /orders/{id}" => (format!("/orders/{}", w.order), None, Refused),
        "post /orders/{id}/answer" => (format!("/orders/{}/answer", w.order), Some(json!({"text": "x"})), Refused),
        "post /orders/{id}/withdraw" => (format!("/orders/{}/withdraw", w.order), None, Refused),
        // What the asker sends comes back as a file.
        "post /tables" => ("/tables".into(), Some(json!({"name": "x", "columns": [{"name": "a"}], "rows": [["1"]]})), Common),
        "get /documents/sorts" => ("/documents/sorts".into(), None, Common),
        // Of what is in sight: documents.rs.
        "post /documents/preview" => {
            ("/documents/preview".into(), Some(json!({"sort": "alarm_month", "region": HERE, "month": "2026-11"})), Refused)
        }
        "post /documents" => ("/documents".into(), Some(json!({"sort": "alarm_month", "region": HERE, "month": "2026-11"})), Refused),
        "get /documents/{id}" => (format!("/documents/{}", w.document), None, Refused),
        "post /documents/{id}/issue" => (format!("/documents/{}/issue", w.document), Some(json!({"revision": 1, "digest": "x"})), Refused),
        "get /documents/{id}/file" => (format!("/documents/{}/file", w.document), None, Refused),
        "get /documents/{id}/workbook" => (format!("/documents/{}/workbook", w.document), None, Refused),
        // Neither administrator nor holder; that holders see no more than their records is in whistleblow.rs.
        "get /whistleblow/holders" => ("/whistleblow/holders".into(), None, Refused),
        "put /whistleblow/holders/{id}" => (format!("/whistleblow/holders/{}", w.user), None, Refused),
        "delete /whistleblow/holders/{id}" => (format!("/whistleblow/holders/{}", w.user), None, Refused),
        "post /whistleblow/holders/{id}/confirm" => {
            (format!("/whistleblow/holders/{}/confirm", w.user), Some(json!({"passphrase": "x"})), Refused)
        }
        "put /whistleblow/key" => ("/whistleblow/key".into(), Some(json!({"passphrase": "x".repeat(12)})), Refused),
        "get /whistleblow/reports/{id}" => (format!("/whistleblow/reports/{}", w.record), None, Refused),
        "post /whistleblow/reports/{id}/open" => {
            (format!("/whistleblow/reports/{}/open", w.record), Some(json!({"passphrase": "x"})), Refused)
        }
        "post /whistleblow/reports/{id}/files/{n}" => {
            (format!("/whistleblow/reports/{}/files/1", w.record), Some(json!({"passphrase": "x"})), Refused)
        }
        "post /whistleblow/reports/{id}/unsealings" => {
            (format!("/whistleblow/reports/{}/unsealings", w.record), Some(json!({"reason": "x"})), Refused)
        }
        "post /whistleblow/reports/{id}/unsealings/{n}/grant" => {
            (format!("/whistleblow/reports/{}/unsealings/1/grant", w.record), Some(json!({"passphrase": "x"})), Refused)
        }
        "post /whistleblow/reports/{id}/unsealings/{n}/refuse" => {
            (format!("/whistleblow/reports/{}/unsealings/1/refuse", w.record), Some(json!({"reason": "x"})), Refused)
        }
        "post /whistleblow/reports/{id}/unsealings/{n}/open" => {
            (format!("/whistleblow/reports/{}/unsealings/1/open", w.record), Some(json!({"passphrase": "x"})), Refused)
        }
        "get /plans" => ("/plans".into(), None, Common),
        // The document is everybody's; how it stands is told to who sees its territory (plans.rs).
        "get /plans/{id}" => ("/plans/yuxi-12th".into(), None, Common),
        "get /plans/{id}/targets/{target}" => ("/plans/yuxi-12th/targets/G01".into(), None, Common),
        "get /plans/{id}/history" => ("/plans/yuxi-12th/history".into(), None, Refused),
        "get /plans/{id}/decisions" => ("/plans/yuxi-12th/decisions".into(), None, Empty("decisions")),
        "post /plans/{id}/decisions" => {
            let body = json!({"kind": "covered", "source": "mine_closed", "from": "2011-01-01", "to": "2011-12-31"});
            ("/plans/yuxi-12th/decisions".into(), Some(body), Refused)
        }
        "post /plans/{id}/decisions/{decision}" => {
            (format!("/plans/yuxi-12th/decisions/{}", w.decision), Some(json!({"approve": true})), Refused)
        }
        "get /indicators" => ("/indicators".into(), None, Common),
        "get /indicators/{id}" => (format!("/indicators/accident_deaths?region={HERE}"), None, Refused),
        "get /indicators/{id}/figure" => (format!("/indicators/accident_deaths/figure?region={HERE}"), None, Refused),
        "get /facts" => ("/facts".into(), None, Empty("facts")),
        "post /facts" => {
            let fact = json!({"source": "population", "on": "2012-12-31", "region": HERE, "value": "1"});
            ("/facts".into(), Some(json!({"facts": [fact]})), Refused)
        }
        "get /submissions" => ("/submissions".into(), None, Empty("submissions")),
        "put /submissions/{id}" => ("/submissions/x".into(), Some(json!({"on": true, "hash": "x"})), Refused),
        "post /submissions/{id}/resend" => ("/submissions/x/resend".into(), Some(json!({})), Refused),
        "get /submissions/{id}/items" => ("/submissions/x/items".into(), None, Refused),
        "get /submissions/{id}/preview" => ("/submissions/x/preview?object=x&subject=1".into(), None, Refused),
        "get /submission-attempts" => ("/submission-attempts".into(), None, Empty("attempts")),
        "get /tasks" => ("/tasks".into(), None, Empty("tasks")),
        "get /notifications" => ("/notifications".into(), None, Empty("notifications")),
        "post /notifications/read" => ("/notifications/read".into(), Some(json!({"up_to": "1"})), Common),
        "get /people" => (format!("/people?enterprise={e}"), None, Refused),
        "get /transfers" => ("/transfers".into(), None, Refused),
        "post /transfers" => ("/transfers".into(), Some(json!({"enterprise": w.enterprise, "node": w.child})), Refused),
        "get /transfers/preview" => (format!("/transfers/preview?enterprise={}", w.enterprise), None, Refused),
        "post /transfers/{id}/withdraw" => ("/transfers/0199f3c2-7f00-7abc-8def-0123456789ab/withdraw".into(), None, Refused),
        "get /pack-offers" => ("/pack-offers".into(), None, Empty("offers")),
        "post /pack-offers/{origin}/{id}/enable" => (format!("/pack-offers/{}/x/enable", w.child), Some(json!({"hash": "x"})), Refused),
        "put /packs/{id}/below" => ("/packs/x/below".into(), Some(json!({"offered": true})), Refused),
        "post /packs/{id}/enable" => ("/packs/x/enable".into(), Some(json!({"hash": "x"})), Refused),
        "post /packs/{id}/disable" => ("/packs/x/disable".into(), None, Refused),
        _ => return None,
    };
    Some((api(path), body, want))
}

/// Every operation of the document, as `method /path`.
fn operations() -> Vec<String> {
    let document = serde_json::to_value(anlan_http::openapi()).unwrap();
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            all.push(format!("{method} {}", path.strip_prefix("/api/v1").unwrap()));
        }
    }
    all.sort_by_key(|o| o.split(' ').nth(1).map(str::to_owned));
    all
}

#[tokio::test]
async fn every_operation_refuses_nobody_and_the_wrong_somebody() {
    let w = world().await;
    let everything = ["administrator", "supervisor", "duty_officer"];
    let grants: Vec<Value> = everything.iter().map(|role| json!({"role": role, "region": ELSEWHERE})).collect();
    let outsider = w.node.person("outsider", json!(grants)).await;
    let mut uncovered = Vec::new();
    for operation in operations() {
        let Some((path, body, want)) = case(&w, &operation) else {
            uncovered.push(operation);
            continue;
        };
        if want == Want::Open {
            continue;
        }
        let method = operation.split(' ').next().unwrap().to_uppercase();
        let nobody = ask(&w.node.router, &method, &path, None, body.clone()).await;
        assert_eq!(nobody.code(401), "session.none", "{operation} as nobody");
        let forged = ask(&w.node.router, &method, &path, Some("forged"), body.clone()).await;
        assert_eq!(forged.code(401), "session.none", "{operation} with a forged token");
        if want == Want::Own {
            continue;
        }
        let answer = ask(&w.node.router, &method, &path, Some(&outsider), body).await;
        match want {
            Want::Refused => {
                let unknown = answer.status == 400 && answer.code(400) == "reference.unknown";
                assert!(unknown || answer.status == 403 || answer.status == 404, "{operation}: {} {}", answer.status, answer.body);
            }
            Want::Empty("users") => {
                let names: Vec<&str> = answer.body["users"].as_array().unwrap().iter().filter_map(|u| u["username"].as_str()).collect();
                assert_eq!(names, ["outsider"], "{operation}");
            }
            Want::Empty("entries") if operation == "get /audit" => {
                // Their own sign-in may show; nothing of the other county does.
                let text = answer.body.to_string();
                assert!(answer.status == 200 && !text.contains("GT-101") && !text.contains("企业E1"), "{operation}: {text}");
            }
            Want::Empty(noun) => assert_eq!(answer.body[noun], json!([]), "{operation}: {}", answer.body),
            Want::Zero => {
                let counts = answer.body["counts"].as_object().unwrap();
                assert!(counts.values().all(|n| n.is_null() || n.as_f64() == Some(0.0)), "{operation}: {counts:?}");
            }
            Want::Common | Want::Own | Want::Open => {}
        }
    }
    assert!(uncovered.is_empty(), "no outsider case for {uncovered:?}; add a line to case()");
    let untouched = w.node.get(&format!("/api/v1/alarms/{}", w.alarm)).await;
    assert_eq!(untouched["state"], "raised");
}

#[tokio::test]
async fn what_each_role_may_do_is_this_table() {
    let w = world().await;
    let mut tokens = Vec::new();
    for role in Role::ALL {
        tokens.push(w.node.person(&format!("the_{}", role.as_str()), json!([{"role": role.as_str(), "region": HERE}])).await);
    }
    let mut table = format!("{:<34}", "within the own county");
    for role in Role::ALL {
        let _ = write!(table, " {:<14}", role.as_str());
    }
    table.push('\n');
    for operation in operations() {
        let (path, body, want) = case(&w, &operation).unwrap();
        if matches!(want, Want::Open | Want::Own) {
            continue;
        }
        let method = operation.split(' ').next().unwrap().to_uppercase();
        let mut line = format!("{operation:<34}");
        for token in &tokens {
            let answer = ask(&w.node.router, &method, &path, Some(token), body.clone()).await;
            // What is refused for another reason (a stale revision, a name taken) was allowed to try.
            let may = !matches!(answer.status.as_u16(), 401 | 403 | 404);
            let _ = write!(line, " {:<14}", if may { "yes" } else { "-" });
        }
        let _ = writeln!(table, "{}", line.trim_end());
    }
    insta::assert_snapshot!("role_matrix", table);
}
