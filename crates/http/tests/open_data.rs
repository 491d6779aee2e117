//! Open data: keys that read what they were made for and nothing else, and SensorThings over what they may see.

mod common;

use common::{Answer, ELSEWHERE, HERE, Node, ask, in_days, node, text};
use serde_json::{Value, json};

async fn with(node: &Node, key: &str, path: &str) -> Answer {
    ask(&node.router, "GET", &path.replace(' ', "%20"), Some(key), None).await
}

/// Answers of the service as its administrator, or as `token`.
async fn sta(node: &Node, token: &str, path: &str) -> Value {
    with(node, token, &format!("/sta/v1.1{path}")).await.ok(200)
}

fn names(answer: &Value) -> Vec<String> {
    answer["value"].as_array().unwrap().iter().map(|e| text(&e["name"])).collect()
}

fn results(answer: &Value) -> Vec<f64> {
    answer["value"].as_array().unwrap().iter().map(|e| e["result"].as_f64().unwrap()).collect()
}

/// An address as in a link: what the router is asked.
fn local(link: &Value) -> String {
    text(link).strip_prefix("http://localhost").expect("absolute").to_owned()
}

/// Two enterprises in two counties with a device and a point each, ten readings here and one there.
struct World {
    node: Node,
    enterprise: String,
    point: String,
    far_point: String,
}

async fn world() -> World {
    let node = node().await;
    let enterprise = node.enterprise("E1", HERE).await;
    let device = node.device("D1", Some(&enterprise)).await;
    let point = node.point(&device, "GT-101").await;
    let far = node.enterprise("E2", ELSEWHERE).await;
    let far_device = node.device("D2", Some(&far)).await;
    let far_point = node.point(&far_device, "GT-202").await;
    let orphan = node.device("D3", None).await;
    node.point(&orphan, "GT-303").await;
    for n in 1..=10 {
        node.reading(&device, "GT-101", f64::from(n)).await;
    }
    node.reading(&far_device, "GT-202", 77.0).await;
    World { node, enterprise, point, far_point }
}

#[tokio::test]
async fn a_key_reads_what_it_was_made_for_and_changes_nothing() {
    let World { node, point, far_point, .. } = world().await;
    let (_, key) = node.key(json!({"datasets": ["telemetry"], "region": HERE})).await;
    assert!(key.starts_with("anlan_key_") && key.len() > 50);
    assert_eq!(names(&sta(&node, &key, "/Things").await), ["企业E1"]);
    assert_eq!(results(&sta(&node, &key, &format!("/Datastreams({point})/Observations?$top=2")).await), [1.0, 2.0]);
    // The other county is not there, whatever way it is asked for.
    for path in [
        format!("/Datastreams({far_point})"),
        format!("/Datastreams({far_point})/Observations"),
        format!("/FeaturesOfInterest({far_point})"),
    ] {
        assert_eq!(with(&node, &key, &format!("/sta/v1.1{path}")).await.status, 404, "{path}");
    }
    assert_eq!(names(&sta(&node, &key, "/Sensors").await), ["D1"]);
    let all = sta(&node, &key, "/Observations?$count=true").await;
    assert_eq!((all["@iot.count"].as_u64(), results(&all).contains(&77.0)), (Some(10), false));
    let far = sta(&node, &node.admin, &format!("/Datastreams({far_point})/Observations")).await;
    let id = text(&far["value"][0]["@iot.id"]);
    assert_eq!(with(&node, &key, &format!("/sta/v1.1/Observations('{id}')")).await.status, 404);
    assert_eq!(sta(&node, &node.admin, &format!("/Observations('{id}')")).await["result"], 77.0);
    // Nothing else opens, and nothing can be changed.
    for path in ["/api/v1/points", "/api/v1/session", "/api/v1/audit", "/api/v1/api-keys", "/api/v1/facts"] {
        assert_eq!(with(&node, &key, path).await.code(403), "api_key.not_here", "{path}");
    }
    assert_eq!(with(&node, &key, "/api/v1/indicators").await.code(403), "api_key.dataset");
    for (method, path) in [("POST", "/sta/v1.1/Things"), ("PATCH", "/api/v1/points/1"), ("DELETE", "/api/v1/session")] {
        assert_eq!(ask(&node.router, method, path, Some(&key), Some(json!({}))).await.code(403), "api_key.read_only", "{path}");
    }
    assert_eq!(ask(&node.router, "POST", "/sta/v1.1/Things", Some(&node.admin), Some(json!({}))).await.status, 405);
    let (_, other) = node.key(json!({"datasets": ["indicators"], "region": "5304"})).await;
    assert_eq!(with(&node, &other, "/sta/v1.1").await.code(403), "api_key.dataset");
    assert!(with(&node, &other, "/api/v1/indicators").await.ok(200)["indicators"].is_array());
    assert!(with(&node, &other, "/api/v1/plans/yuxi-12th?as_of=2013-12-31").await.ok(200)["targets"].is_array());
    let (_, small) = node.key(json!({"datasets": ["indicators"], "region": HERE})).await;
    assert_eq!(with(&node, &small, &format!("/api/v1/indicators/accident_deaths?region={ELSEWHERE}")).await.status, 403);
    assert_eq!(ask(&node.router, "GET", "/sta/v1.1/Things", None, None).await.code(401), "session.none");
    assert_eq!(with(&node, "anlan_key_nonsense", "/sta/v1.1/Things").await.code(401), "api_key.unknown");
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_once_and_every_step_is_in_the_audit() {
    let World { node, .. } = world().await;
    let (id, key) = node.key(json!({"datasets": ["telemetry"]})).await;
    sta(&node, &key, "/Things").await;
    let listed = node.get("/api/v1/api-keys").await;
    let row = &listed["api_keys"][0];
    assert_eq!((row["standing"].as_str(), row["holder"].as_str()), (Some("good"), Some("市大数据局")));
    assert!(row["last_used_at"].is_string() && key.starts_with(row["shown"].as_str().unwrap()));
    assert!(!listed.to_string().contains(&key), "a key is shown once");
    for _ in 0..2 {
        let ended = node.admin("POST", &format!("/api/v1/api-keys/{id}/revoke"), json!({})).await.ok(200);
        assert_eq!((ended["standing"].as_str(), ended["revoked_by"].as_str()), (Some("revoked"), Some("admin")));
    }
    assert_eq!(with(&node, &key, "/sta/v1.1/Things").await.code(401), "api_key.revoked");
    let audit = node.get("/api/v1/audit?noun=api_key").await;
    let did: Vec<_> = audit["entries"].as_array().unwrap().iter().map(|e| (text(&e["action"]), text(&e["subject"]))).collect();
    assert_eq!(did, [("revoke".to_owned(), id.clone()), ("create".to_owned(), id)], "ending it twice is one step");
    assert!(!audit.to_string().contains(&key));
}

#[tokio::test]
async fn a_used_up_key_says_when_to_come_back() {
    let World { node, .. } = world().await;
    let (_, daily) = node.key(json!({"datasets": ["telemetry"], "per_day": 2})).await;
    let first = with(&node, &daily, "/sta/v1.1").await;
    let header = |answer: &Answer, name: &str| answer.headers.get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    assert_eq!(header(&first, "ratelimit-policy"), "\"minute\";q=60;w=60, \"day\";q=2;w=86400");
    assert!(header(&first, "ratelimit").contains("\"day\";r=1;t="), "{}", header(&first, "ratelimit"));
    // A request that is refused for another reason counts as well: it was one.
    assert_eq!(with(&node, &daily, "/api/v1/points").await.status, 403);
    let third = with(&node, &daily, "/sta/v1.1").await;
    let wait: i64 = header(&third, "retry-after").parse().unwrap();
    assert!((1..=86_400).contains(&wait) && header(&third, "ratelimit").contains("\"day\";r=0;"));
    assert_eq!(third.code(429), "api_key.day");
    // Within two minutes a limit of three a minute lets at most six of eight pass.
    let (_, brisk) = node.key(json!({"datasets": ["telemetry"], "per_minute": 3})).await;
    let mut refused = Vec::new();
    for _ in 0..8 {
        let answer = with(&node, &brisk, "/sta/v1.1").await;
        if answer.status != 200 {
            let wait: i64 = header(&answer, "retry-after").parse().unwrap();
            assert!((1..=60).contains(&wait), "{wait}");
            refused.push(answer.code(429));
        }
    }
    assert!(refused.len() >= 2 && refused.iter().all(|code| code == "api_key.minute"), "{refused:?}");
}

#[tokio::test]
async fn what_was_used_of_a_day_outlives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (running, router) = common::open(directory.path(), common::settings()).await;
    let token = anlan_app::access::ensure_setup_link(&running.app).await.unwrap().unwrap();
    let body = json!({"token": token, "username": "admin", "password": common::PASSWORD});
    let admin = text(&ask(&router, "POST", "/api/v1/setup", None, Some(body)).await.ok(201)["token"]);
    let body = json!({"name": "x", "holder": "x", "datasets": ["telemetry"], "per_day": 1, "valid_until": in_days(0)});
    let key = text(&ask(&router, "POST", "/api/v1/api-keys", Some(&admin), Some(body)).await.ok(201)["key"]);
    ask(&router, "GET", "/sta/v1.1", Some(&key), None).await.ok(200);
    running.stop().await;
    let (running, router) = common::open(directory.path(), common::settings()).await;
    assert_eq!(ask(&router, "GET", "/sta/v1.1", Some(&key), None).await.code(429), "api_key.day");
    running.stop().await;
}

#[tokio::test]
async fn nobody_makes_a_key_wider_than_their_own_territory() {
    let World { node, enterprise, .. } = world().await;
    let local = node.person("local", json!([{"role": "administrator", "region": HERE}])).await;
    let body = |more: Value| {
        let mut body = json!({"name": "x", "holder": "x", "datasets": ["telemetry"], "valid_until": in_days(1)});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let make = async |token: &str, more: Value| ask(&node.router, "POST", "/api/v1/api-keys", Some(token), Some(body(more))).await;
    assert_eq!(make(&local, json!({})).await.code(403), "scope.outside");
    assert_eq!(make(&local, json!({"region": "5304"})).await.code(403), "scope.outside");
    assert_eq!(make(&local, json!({"region": ELSEWHERE})).await.code(403), "scope.outside");
    let own = make(&local, json!({"enterprise": enterprise})).await.ok(201);
    assert_eq!(names(&sta(&node, &text(&own["key"]), "/Things").await), ["企业E1"]);
    node.key(json!({"datasets": ["telemetry"], "region": ELSEWHERE})).await;
    let seen = ask(&node.router, "GET", "/api/v1/api-keys", Some(&local), None).await.ok(200);
    assert_eq!(seen["api_keys"].as_array().unwrap().len(), 1);
    let supervisor = node.person("super", json!([{"role": "supervisor"}])).await;
    assert_eq!(make(&supervisor, json!({})).await.code(403), "permission.missing");
    for (more, field) in [
        (json!({"datasets": []}), "datasets"),
        (json!({"datasets": ["everything"]}), "datasets[0]"),
        (json!({"datasets": ["telemetry", "telemetry"]}), "datasets[1]"),
        (json!({"per_day": 0}), "per_day"),
        (json!({"per_minute": 6_001}), "per_minute"),
        (json!({"valid_until": in_days(-1)}), "valid_until"),
        (json!({"valid_until": in_days(800)}), "valid_until"),
        (json!({"name": " "}), "name"),
    ] {
        let refused = make(&node.admin, more.clone()).await.refused(400);
        assert_eq!(refused.iter().map(|(_, field)| field.as_str()).collect::<Vec<_>>(), [field], "{more}");
    }
}

#[tokio::test]
async fn a_key_for_one_enterprise_goes_with_it_when_two_files_become_one() {
    let World { node, enterprise, point, .. } = world().await;
    let (_, key) = node.key(json!({"datasets": ["telemetry"], "enterprise": enterprise})).await;
    let into = node.enterprise("E1-2", HERE).await;
    let revision = async |id: &str| node.get(&format!("/api/v1/enterprises/{id}")).await["revision"].clone();
    let body = json!({"into": into, "revision": revision(&enterprise).await, "into_revision": revision(&into).await, "dry_run": false});
    let supervisor = node.person("super", json!([{"role": "supervisor"}])).await;
    ask(&node.router, "POST", &format!("/api/v1/enterprises/{enterprise}/merge"), Some(&supervisor), Some(body)).await.ok(200);
    assert_eq!(names(&sta(&node, &key, "/Things").await), ["企业E1-2"]);
    assert_eq!(results(&sta(&node, &key, &format!("/Datastreams({point})/Observations?$top=1")).await), [1.0]);
    let merged = node.get("/api/v1/audit?noun=api_key").await;
    assert_eq!(merged["entries"][0]["action"], "merge");
}

#[tokio::test]
async fn entities_lead_to_each_other() {
    let World { node, enterprise, point, .. } = world().await;
    let root = sta(&node, &node.admin, "").await;
    assert_eq!(root["value"].as_array().unwrap().len(), 8);
    assert!(root["serverSettings"]["conformance"].as_array().unwrap().len() > 5);
    let get = async |path: &str| sta(&node, &node.admin, path).await;
    let thing = get(&format!("/Things({enterprise})")).await;
    assert_eq!((&thing["@iot.id"], &thing["properties"]["code"]), (&json!(enterprise.parse::<i64>().unwrap()), &json!("E1")));
    for link in ["Locations", "HistoricalLocations", "Datastreams"] {
        let answer = with(&node, &node.admin, &local(&thing[format!("{link}@iot.navigationLink")])).await.ok(200);
        assert_eq!(answer["value"].as_array().unwrap().len(), usize::from(link != "HistoricalLocations"), "{link}");
    }
    let stream = get(&format!("/Datastreams({point})?$expand=Thing/Locations,Sensor,ObservedProperty,Observations($top=3;$orderby=phenomenonTime desc;$count=true)")).await;
    assert_eq!(stream["unitOfMeasurement"]["symbol"], "%LEL");
    assert_eq!(stream["Thing"]["Locations"][0]["location"], json!({"type": "Point", "coordinates": [102.5, 24.3]}));
    assert_eq!((&stream["Sensor"]["name"], &stream["ObservedProperty"]["@iot.id"]), (&json!("D1"), &json!("gas_combustible")));
    let values: Vec<_> = stream["Observations"].as_array().unwrap().iter().map(|o| o["result"].as_f64().unwrap()).collect();
    assert_eq!((values, stream["Observations@iot.count"].as_u64()), (vec![10.0, 9.0, 8.0], Some(10)));
    let next = with(&node, &node.admin, &local(&stream["Observations@iot.nextLink"])).await.ok(200);
    assert_eq!(results(&next), [7.0, 6.0, 5.0]);
    let observation = get(&format!("/Datastreams({point})/Observations?$top=1&$expand=FeatureOfInterest,Datastream($select=name)")).await;
    let observation = &observation["value"][0];
    assert_eq!(
        (&observation["Datastream"], &observation["FeatureOfInterest"]["feature"]["type"]),
        (&json!({"name": "可燃气体"}), &json!("Point"))
    );
    let again = with(&node, &node.admin, &local(&observation["@iot.selfLink"])).await.ok(200);
    assert_eq!(again["result"], 1.0);
    // The same one by other ways, and not by a wrong one.
    let id = text(&observation["@iot.id"]);
    assert_eq!(get(&format!("/Datastreams({point})/Observations('{id}')/Datastream/Thing/name")).await, json!({"name": "企业E1"}));
    assert_eq!(get(&format!("/FeaturesOfInterest({point})/Observations?$top=1")).await["value"][0]["@iot.id"], json!(id));
    assert_eq!(with(&node, &node.admin, &format!("/sta/v1.1/Things({enterprise})/Datastreams(99999)")).await.status, 404);
    let raw = with(&node, &node.admin, &format!("/sta/v1.1/Datastreams({point})/unitOfMeasurement/symbol/$value")).await;
    assert_eq!((raw.status.as_u16(), &raw.body), (200, &json!("%LEL")));
    assert_eq!(with(&node, &node.admin, &format!("/sta/v1.1/Datastreams({point})/properties/range_low")).await.status, 204);
    assert_eq!(
        get(&format!("/Things({enterprise})/Datastreams/$ref")).await,
        json!({"value": [{"@iot.selfLink": format!("http://localhost/sta/v1.1/Datastreams({point})")}]})
    );
    // Nobody's device is nobody's to give away.
    assert_eq!(names(&get("/Sensors").await), ["D1", "D2"]);
    assert_eq!(get("/Datastreams?$count=true&$top=0").await, json!({"@iot.count": 2, "value": []}));
}

#[tokio::test]
async fn filters_find_what_they_say_and_pages_show_everything_once() {
    let World { node, enterprise, point, .. } = world().await;
    let encoded = |text: &str| -> String { form(text) };
    let ask_for = async |set: &str, filter: &str| sta(&node, &node.admin, &format!("/{set}?$filter={}", encoded(filter))).await;
    for (set, filter, want) in [
        ("Things", "name eq '企业E1'", 1),
        ("Things", "properties/region eq '530402' or properties/sector eq 'none'", 1),
        ("Things", "Datastreams/ObservedProperty/id eq 'gas_combustible'", 2),
        ("Things", "Datastreams/any(d:d/properties/code eq 'GT-202')", 1),
        ("Things", "st_within(Locations/location, geography'POLYGON((102 24,103 24,103 25,102 25,102 24))')", 2),
        ("Things", "substringof('E2', description)", 1),
        ("Datastreams", "phenomenonTime gt 2000-01-01T00:00:00Z and unitOfMeasurement/symbol eq '%LEL'", 2),
        ("Datastreams", "Sensor/properties/code eq 'D1'", 1),
        ("Locations", "geo.distance(location, geography'POINT(102.5 24.3)') eq 0", 2),
        ("ObservedProperties", "id ne 'gas_combustible'", 0),
        ("Observations", "result gt 8", 3),
        ("Observations", "Datastream/properties/code eq 'GT-101' and result mod 2 eq 0", 5),
        ("Observations", "phenomenonTime lt 2000-01-01T00:00:00Z", 0),
        ("Observations", "resultQuality eq 'good' and phenomenonTime le now()", 11),
    ] {
        let answer = ask_for(set, filter).await;
        assert_eq!(answer["value"].as_array().unwrap().len(), want, "{set} {filter}: {answer}");
    }
    // Pages by time, forwards and backwards, two points together; and by value.
    for (order, want) in [
        ("phenomenonTime asc", vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 77.0]),
        ("resultTime desc", vec![77.0, 10.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]),
        ("result desc", vec![77.0, 10.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]),
    ] {
        let mut next = Some(format!("/sta/v1.1/Observations?$top=3&$orderby={}", encoded(order)));
        let mut all = Vec::new();
        while let Some(path) = next {
            let page = with(&node, &node.admin, &path).await.ok(200);
            all.extend(results(&page));
            next = page.get("@iot.nextLink").map(local);
            assert!(all.len() <= 11, "{order}: {all:?}");
        }
        assert_eq!(all, want, "{order}");
    }
    let skipped = sta(&node, &node.admin, &format!("/Datastreams({point})/Observations?$skip=4&$top=2")).await;
    assert_eq!(results(&skipped), [5.0, 6.0]);
    assert_eq!(results(&with(&node, &node.admin, &local(&skipped["@iot.nextLink"])).await.ok(200)), [7.0, 8.0]);
    let things = sta(&node, &node.admin, "/Things?$orderby=name%20desc&$top=1").await;
    assert_eq!(names(&things), ["企业E2"]);
    assert_eq!(names(&with(&node, &node.admin, &local(&things["@iot.nextLink"])).await.ok(200)), ["企业E1"]);
    let narrow = sta(&node, &node.admin, &format!("/Things({enterprise})?$select=id,properties/code,Datastreams")).await;
    let link = format!("http://localhost/sta/v1.1/Things({enterprise})/Datastreams");
    assert_eq!(
        narrow,
        json!({"@iot.id": enterprise.parse::<i64>().unwrap(), "properties": {"code": "E1"}, "Datastreams@iot.navigationLink": link})
    );
    for (path, status, code) in [
        ("/Rooms".to_owned(), 400, "sta.unknown"),
        ("/Things(999)".to_owned(), 404, "row.not_found"),
        ("/Things?$filter=name%20eq".to_owned(), 400, "sta.syntax"),
        ("/Things?$filter=result%20eq%201".to_owned(), 400, "sta.unknown"),
        ("/Things?$filter=Datastreams/Observations/result%20gt%203".to_owned(), 501, "sta.unsupported"),
        ("/Things?$resultFormat=dataArray".to_owned(), 501, "sta.unsupported"),
        ("/Things?$skiptoken=1.1".to_owned(), 501, "sta.unsupported"),
        ("/Observations?$skiptoken=x".to_owned(), 400, "sta.syntax"),
        (format!("/Things({enterprise})?$top=1"), 501, "sta.unsupported"),
        ("/Things?$top=1&$top=2".to_owned(), 400, "sta.twice"),
        ("/Things?$filter=name%20gt%201".to_owned(), 400, "sta.type"),
        ("/Things?$filter=MultiDatastreams/id%20eq%201".to_owned(), 400, "sta.unknown"),
        ("/%zz".to_owned(), 404, "row.not_found"),
    ] {
        assert_eq!(with(&node, &node.admin, &format!("/sta/v1.1{path}")).await.code(status), code, "{path}");
    }
}

fn form(text: &str) -> String {
    text.bytes().map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[tokio::test]
async fn the_catalogue_tells_anybody_what_there_is_and_the_asker_how_much() {
    let World { node, .. } = world().await;
    let anybody = ask(&node.router, "GET", "/api/v1/datasets", None, None).await.ok(200);
    let datasets = anybody["datasets"].as_array().unwrap();
    assert_eq!(datasets.iter().map(|d| text(&d["id"])).collect::<Vec<_>>(), ["telemetry", "indicators"]);
    assert!(datasets.iter().all(|d| d["readable"] == false && d["n_points"].is_null() && d["newest_at"].is_null()));
    assert!(!text(&anybody["terms"]).is_empty());
    let (_, key) = node.key(json!({"datasets": ["telemetry"], "region": HERE})).await;
    let own = with(&node, &key, "/api/v1/datasets").await.ok(200);
    assert_eq!((&own["datasets"][0]["readable"], &own["datasets"][0]["n_points"]), (&json!(true), &json!(1)));
    assert!(own["datasets"][0]["newest_at"].is_string());
    assert_eq!(own["datasets"][1]["readable"], false);
    // As many as are read: the third point belongs to nobody.
    let (_, all) = node.key(json!({"datasets": ["telemetry"]})).await;
    let streams = sta(&node, &all, "/Datastreams").await["value"].as_array().unwrap().len();
    let all = with(&node, &all, "/api/v1/datasets").await.ok(200);
    assert_eq!((&all["datasets"][0]["n_points"], streams), (&json!(2), 2));
}
