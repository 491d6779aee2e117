//! Fills a server with the invented city through its public API: enterprises, devices with their points, and, once they have been heard,
//! the plates of the vehicles. Running it again changes nothing.
//!
//! Device secrets are shown once by the server and kept in a file beside the data; nothing else is. Start at [`provision`].

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::Path;

use anlan_model::modbus::Register;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::{Api, ApiError, in_parallel, lock};
use crate::world::{Device, World};

/// Requests at once: enough to hide the round trip, few enough for a small server.
const THREADS: usize = 8;

/// Secrets of simulated devices, by code; a JSON file that only its owner can read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secrets {
    /// Secret by device code.
    pub devices: BTreeMap<String, String>,
}

/// Why the city could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The server refused or did not answer.
    #[error("the server did not take the city")]
    Api(#[from] ApiError),
    /// The secrets cannot be read or written.
    #[error("the file of device secrets")]
    Io(#[from] std::io::Error),
    /// The secrets file is not one.
    #[error("the file of device secrets cannot be understood")]
    Json(#[from] serde_json::Error),
}

impl Secrets {
    /// Reads the file; none yet means no secrets yet.
    ///
    /// # Errors
    /// [`ProvisionError::Io`], [`ProvisionError::Json`].
    pub fn load(path: &Path) -> Result<Self, ProvisionError> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the file in one step, readable by its owner only.
    ///
    /// # Errors
    /// [`ProvisionError::Io`].
    pub fn save(&self, path: &Path) -> Result<(), ProvisionError> {
        let part = path.with_extension("part");
        // A left-over of an earlier crash may have other permissions.
        _ = std::fs::remove_file(&part);
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        std::io::Write::write_all(&mut options.open(&part)?, &serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(&part, path)?;
        Ok(())
    }
}

/// Makes what is missing of the city on the server and returns the ids of its enterprises by code. `secrets` is read and brought up to date.
///
/// Cost: one request per missing enterprise and device and one per device for its points, eight at a time.
///
/// # Errors
/// [`ProvisionError`]. What was made until then stays, and its secrets are saved.
pub fn provision(api: &Api, world: &World, secrets_path: &Path) -> Result<HashMap<String, String>, ProvisionError> {
    let enterprises = provision_enterprises(api, world)?;
    let known = ids(api, "/api/v1/devices?limit=1000", "devices")?;
    let mut secrets = Secrets::load(secrets_path)?;
    let owner = |device: &Device| world.enterprises.get(device.enterprise).and_then(|e| enterprises.get(&e.code)).cloned();
    let unknown: Vec<&Device> =
        world.devices.iter().filter(|d| !known.contains_key(&d.code) || !secrets.devices.contains_key(&d.code)).collect();
    let made: std::sync::Mutex<HashMap<String, (String, String)>> = std::sync::Mutex::default();
    let outcome = in_parallel(&unknown, THREADS, |device| {
        let answer = match known.get(&device.code) {
            Some(id) => api.post(&format!("/api/v1/devices/{id}/secret"), &json!({}))?,
            None => api.post(
                "/api/v1/devices",
                &json!({ "code": device.code, "name": device.name, "enterprise": owner(device), "protocol": "mqtt", "may_backfill": true }),
            )?,
        };
        let secret = answer["secret"].as_str().ok_or(ApiError::Shape { path: "/api/v1/devices".to_owned(), expected: "a secret" })?;
        let id = answer["id"].as_str().or(known.get(&device.code).map(String::as_str)).unwrap_or_default();
        lock(&made).insert(device.code.clone(), (id.to_owned(), secret.to_owned()));
        Ok::<_, ApiError>(())
    });
    let made = std::mem::take(&mut *lock(&made));
    secrets.devices.extend(made.iter().map(|(code, (_, secret))| (code.clone(), secret.clone())));
    // A secret is shown once: keep those that came before an error.
    if !made.is_empty() {
        secrets.save(secrets_path)?;
    }
    outcome?;
    let id = |device: &Device| made.get(&device.code).map(|(id, _)| id.clone()).or_else(|| known.get(&device.code).cloned());
    let homes: Vec<(&Device, String)> = world.devices.iter().filter_map(|d| Some((d, id(d)?))).collect();
    let kept: std::sync::Mutex<HashMap<String, Vec<String>>> = std::sync::Mutex::default();
    in_parallel(&homes, THREADS, |(device, id)| {
        let answer = api.put(&format!("/api/v1/devices/{id}/points"), &points(device))?;
        let id = |row: &Value| row["id"].as_str().unwrap_or_default().to_owned();
        let points = answer["points"].as_array().into_iter().flatten().map(id).collect();
        lock(&kept).insert(device.code.clone(), points);
        Ok::<_, ApiError>(())
    })?;
    let kept = std::mem::take(&mut *lock(&kept));
    provision_combinations(api, world, &enterprises, &kept)?;
    Ok(enterprises)
}

/// Makes the combination rules that are missing. `points` holds the ids of every device's points, in order.
fn provision_combinations(
    api: &Api,
    world: &World,
    enterprises: &HashMap<String, String>,
    points: &HashMap<String, Vec<String>>,
) -> Result<(), ApiError> {
    if world.combinations.is_empty() {
        return Ok(());
    }
    let known = api.list("/api/v1/combinations?limit=1000", "combinations")?;
    let known: std::collections::HashSet<&str> = known.iter().filter_map(|row| row["name"].as_str()).collect();
    let missing: Vec<_> = world.combinations.iter().filter(|c| !known.contains(c.name.as_str())).collect();
    in_parallel(&missing, THREADS, |c| {
        let device = &world.devices[c.device];
        let ids = points.get(&device.code).map(Vec::as_slice).unwrap_or_default();
        let member = |p: &usize| ids.get(*p).map(|id| json!({ "point": id, "kind": "h" }));
        let members: Vec<Value> = c.points.iter().filter_map(member).collect();
        let body = json!({
            "enterprise": world.enterprises.get(device.enterprise).and_then(|e| enterprises.get(&e.code)),
            "name": c.name, "level": c.level, "needed": members.len(), "within_s": c.within_s, "members": members,
            "source": { "document": c.source.document, "clause": c.source.clause },
        });
        api.post("/api/v1/combinations", &body).map(drop)
    })
    .map(drop)
}

fn provision_enterprises(api: &Api, world: &World) -> Result<HashMap<String, String>, ApiError> {
    let mut known = ids(api, "/api/v1/enterprises?limit=1000", "enterprises")?;
    let missing: Vec<_> = world.enterprises.iter().filter(|e| !known.contains_key(&e.code)).collect();
    let made = in_parallel(&missing, THREADS, |e| {
        let place = json!({ "lon": e.place.lon, "lat": e.place.lat });
        let body = json!({ "code": e.code, "name": e.name, "region": e.region, "sector": e.sector, "place": place });
        let answer = api.post("/api/v1/enterprises", &body)?;
        let id = answer["id"].as_str().ok_or(ApiError::Shape { path: "/api/v1/enterprises".to_owned(), expected: "an id" })?;
        Ok::<_, ApiError>((e.code.clone(), id.to_owned()))
    })?;
    known.extend(made);
    Ok(known)
}

/// The ids of a list of rows with `id` and `code`, by code.
fn ids(api: &Api, path: &str, noun: &'static str) -> Result<HashMap<String, String>, ApiError> {
    let pair = |row: &Value| Some((row["code"].as_str()?.to_owned(), row["id"].as_str()?.to_owned()));
    Ok(api.list(path, noun)?.iter().filter_map(pair).collect())
}

/// The body of `PUT /devices/{id}/points`. Limits that a point does not set are left out: the server's rule book has its own for the kind.
fn points(device: &Device) -> Value {
    let rows: Vec<Value> = device
        .points
        .iter()
        .map(|p| {
            let mut limits = serde_json::Map::new();
            for (name, limit) in [("hh", p.limits.hh), ("h", p.limits.h), ("l", p.limits.l), ("ll", p.limits.ll)] {
                limits.extend(limit.map(|value| (name.to_owned(), json!(value))));
            }
            limits.insert("deadband".to_owned(), json!(p.limits.deadband));
            let mut row = json!({
                "code": p.code, "name": p.name, "unit": p.unit, "kind": p.kind, "site": p.site, "period_s": device.period_s,
                "range_low": p.range.0, "range_high": p.range.1, "limits": limits,
            });
            if let Some(source) = &p.limits_source {
                row["limits_source"] = json!({ "document": source.document, "clause": source.clause });
            }
            row
        })
        .collect();
    json!({ "points": rows })
}

/// What one request to a simulated controller may take, milliseconds: short, so that a silent unit hardly delays its neighbours.
const POLL_TIMEOUT_MS: u64 = 1_000;

/// Makes the controllers and their points on the server, and tells it to poll them at `gateways`. Running it again moves them there.
///
/// # Errors
/// [`ApiError`]: also if the server does not poll loopback addresses (`modbus.networks`).
pub fn provision_plcs(api: &Api, world: &World, enterprises: &HashMap<String, String>, gateways: &[SocketAddr]) -> Result<(), ApiError> {
    let known = ids(api, "/api/v1/devices?limit=1000", "devices")?;
    for plc in &world.plcs {
        let Some(address) = gateways.get(plc.gateway) else { continue };
        let device = &plc.device;
        let owner = world.enterprises.get(device.enterprise).and_then(|e| enterprises.get(&e.code));
        let id = match known.get(&device.code) {
            Some(id) => id.clone(),
            None => {
                let body = json!({ "code": device.code, "name": device.name, "enterprise": owner, "protocol": "modbus" });
                let answer = api.post("/api/v1/devices", &body)?;
                let id = answer["id"].as_str().ok_or(ApiError::Shape { path: "/api/v1/devices".to_owned(), expected: "an id" })?;
                id.to_owned()
            }
        };
        api.put(&format!("/api/v1/devices/{id}/points"), &points(device))?;
        let register = |r: &Register| {
            json!({
                "code": r.code, "table": r.table, "address": r.address, "type": r.kind, "bit": r.bit, "order": r.order, "scale": r.scale,
                "offset": r.offset, "unit": r.unit,
            })
        };
        let map = json!({
            "address": address, "unit": plc.unit, "interval_s": device.period_s, "timeout_ms": POLL_TIMEOUT_MS, "gap": plc.gap,
            "forbidden": plc.forbidden, "registers": plc.registers.iter().map(register).collect::<Vec<_>>(),
        });
        api.put(&format!("/api/v1/devices/{id}/modbus"), &map)?;
    }
    Ok(())
}

/// What became of one pass over the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetPass {
    /// Vehicles that were given plate, kind, operator and limit now.
    pub described: usize,
    /// Vehicles the server has not heard yet.
    pub unheard: usize,
}

/// Gives plate, kind, operator and speed limit to every vehicle that the server has heard and that lacks them.
///
/// # Errors
/// [`ApiError`].
pub fn describe_fleet(api: &Api, world: &World, enterprises: &HashMap<String, String>) -> Result<FleetPass, ApiError> {
    let heard = api.list("/api/v1/vehicles?limit=1000", "vehicles")?;
    let by_phone: HashMap<&str, &Value> =
        heard.iter().filter_map(|row| Some((row["phone"].as_str()?.trim_start_matches('0'), row))).collect();
    let mut pass = FleetPass { described: 0, unheard: 0 };
    let mut changes = Vec::new();
    for vehicle in &world.vehicles {
        let Some(row) = by_phone.get(vehicle.phone.as_str()) else {
            pass.unheard += 1;
            continue;
        };
        let operator = vehicle.enterprise.and_then(|e| world.enterprises.get(e)).and_then(|e| enterprises.get(&e.code));
        let wanted = json!({
            "plate": vehicle.plate, "kind": vehicle.kind, "enterprise": operator, "speed_limit_kmh": vehicle.speed_limit_kmh,
        });
        let differs = ["plate", "kind", "enterprise"].iter().any(|key| row[*key] != wanted[*key]);
        if differs || row["speed_limit_kmh"].as_f64() != Some(vehicle.speed_limit_kmh) {
            let mut body = wanted;
            body["revision"] = row["revision"].clone();
            changes.push((row["id"].as_str().unwrap_or_default().to_owned(), body));
        }
    }
    let done = in_parallel(&changes, THREADS, |(id, body)| match api.patch(&format!("/api/v1/vehicles/{id}"), body) {
        Ok(_) => Ok(1),
        // Somebody changed it meanwhile; the next pass sees the new revision.
        Err(error) if error.status() == Some(409) => Ok(0),
        Err(error) => Err(error),
    })?;
    pass.described = done.iter().sum();
    Ok(pass)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Scale;

    #[test]
    fn secrets_survive_and_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secrets.json");
        assert_eq!(Secrets::load(&path).unwrap(), Secrets::default());
        let mut secrets = Secrets::default();
        secrets.devices.insert("demo-d0001".into(), "s".into());
        secrets.save(&path).unwrap();
        secrets.save(&path).unwrap();
        assert_eq!(Secrets::load(&path).unwrap(), secrets);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_point_without_limits_of_its_own_sends_none() {
        let world = World::new(1, Scale { enterprises: 20, points: 200, vehicles: 0 });
        let farm = world.devices.iter().find(|d| d.template == "tank_farm").unwrap();
        let body = points(farm);
        let row = |kind: &str| body["points"].as_array().unwrap().iter().find(|p| p["kind"] == kind).unwrap().clone();
        assert_eq!(row("gas_combustible")["limits"], json!({ "deadband": 1.0 }));
        assert!(row("gas_combustible").get("limits_source").is_none());
        assert_eq!(row("level")["limits"]["hh"], json!(85.0));
        assert_eq!(row("level")["limits_source"]["document"], "演示设计文件（虚构）");
    }
}
