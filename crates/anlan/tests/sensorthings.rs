//! Fraunhofer's Python client of SensorThings, unchanged, reads from the running binary what a device sent to it.
//!
//! Where `frost_sta_client` cannot be had: prints `skipped: 1`.

mod common;

use std::process::Command;

use common::{Mqtt, Server, now_us, python, rfc3339};
use serde_json::{Value, json};

/// Things, a datastream with what it observes, its observations by pages and newest first, and what the key may not see; as JSON.
const CLIENT: &str = r"
import json, sys
import requests
import frost_sta_client as fsc
from frost_sta_client.service.auth_handler import AuthHandler

class Key(AuthHandler):
    def __init__(self, key):
        self.key = key
    def add_auth_header(self):
        key = self.key
        class Bearer(requests.auth.AuthBase):
            def __call__(self, request):
                request.headers['Authorization'] = 'Bearer ' + key
                return request
        return Bearer()

url, key, since = sys.argv[1:4]
service = fsc.SensorThingsService(url, auth_handler=Key(key))
things = service.things().query().expand('Datastreams($expand=ObservedProperty,Sensor),Locations').list()
out = {'things': [t.name for t in things]}
thing = things.get(0)
stream = thing.datastreams.get(0)
out['location'] = thing.locations.get(0).location['coordinates']
out['stream'] = [stream.name, stream.unit_of_measurement.symbol, stream.observed_property.id, stream.sensor.name]
again = service.datastreams().find(stream.id)
out['found'] = again.name
pages = again.get_observations().query().top(10).orderby('phenomenonTime', 'asc').list()
out['pages'] = [o.result for o in pages]
newest = service.observations().query().filter('Datastream/id eq %d and result lt 20' % stream.id).orderby('phenomenonTime').top(3).list()
out['newest'] = [newest.get(i).result for i in range(3)]
later = again.get_observations().query().filter('phenomenonTime ge ' + since + ' and result mod 2 eq 1').count().list()
out['later'] = [o.result for o in later]
out['count'] = later.count
one = service.observations().find(newest.get(0).id)
out['one'] = [one.result, one.phenomenon_time, one.result_quality]
prop = service.observed_properties().find(stream.observed_property.id)
out['property'] = prop.definition
try:
    service.things().query().filter('name eq').list()
    out['refused'] = 'no'
except requests.exceptions.HTTPError as e:
    out['refused'] = e.response.status_code
print(json.dumps(out))
";

#[test]
fn the_client_of_fraunhofer_reads_what_a_device_sent() {
    let Some(python) = python("import frost_sta_client, requests", "frost_sta_client==1.1.53", "frost-venv") else { return };
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let body =
        json!({ "code": "STA-1", "name": "演示企业", "region": "530402", "sector": "hazchem", "place": { "lon": 102.5, "lat": 24.3 } });
    let (status, made) = server.post("/api/v1/enterprises", &body);
    assert_eq!(status, 201, "{made}");
    let (device, secret) = server.device("GW-1", made["id"].as_str());
    let point = json!({ "code": "GT-101", "name": "罐区可燃气体", "unit": "%LEL", "kind": "gas_combustible" });
    assert_eq!(server.put(&format!("/api/v1/devices/{device}/points"), &json!({ "points": [point] })).0, 200);
    // What the key must not see.
    let elsewhere = json!({ "code": "STA-2", "name": "别处", "region": "530423", "sector": "hazchem" });
    let (_, elsewhere) = server.post("/api/v1/enterprises", &elsewhere);
    server.device("GW-2", elsewhere["id"].as_str());
    let t0 = now_us() - 60_000_000;
    let at = |n: i64| rfc3339(t0 + n * 1_000_000);
    let mut client = Mqtt::connect(&server.mqtt, "GW-1", &secret).expect("connected");
    for n in 0..25 {
        client.publish("GW-1", &json!({ "at": at(n), "values": { "GT-101": n } })).expect("acknowledged");
    }
    let year = jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::now()).year();
    let key = json!({ "name": "frost", "holder": "市大数据局", "datasets": ["telemetry"], "region": "530402", "valid_until": format!("{}-01-31", year + 1) });
    let (status, key) = server.post("/api/v1/api-keys", &key);
    assert_eq!(status, 201, "{key}");
    let output = Command::new(&python)
        .args(["-c", CLIENT, &format!("{}/sta/v1.1", server.http), key["key"].as_str().unwrap(), &at(20)])
        .output()
        .expect("python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stdout)));
    let floats = |values: &[i64]| values.iter().map(|n| json!(*n as f64)).collect::<Vec<_>>();
    assert_eq!(said["things"], json!(["演示企业"]));
    assert_eq!(said["location"], json!([102.5, 24.3]));
    assert_eq!(said["stream"], json!(["罐区可燃气体", "%LEL", "gas_combustible", "GW-1"]));
    assert_eq!(said["found"], "罐区可燃气体");
    assert_eq!(said["pages"], json!(floats(&(0..25).collect::<Vec<_>>())), "three pages by their next links");
    assert_eq!(said["newest"], json!(floats(&[19, 18, 17])));
    assert_eq!((&said["later"], &said["count"]), (&json!(floats(&[21, 23])), &json!(2)));
    assert_eq!((&said["one"][0], &said["one"][2]), (&json!(19.0), &json!("good")));
    assert!(said["one"][1].as_str().unwrap().starts_with(&at(19)[..19]), "{said}");
    assert_eq!(said["property"], "urn:anlan:kind:gas_combustible");
    assert_eq!(said["refused"], 400);
    println!("figure: outsider frost_sta_client: 1 thing, 1 datastream, 25 observations in 3 pages read; 1 bad filter refused");
}
