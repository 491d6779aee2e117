//! The figures of the first screen: what `store` counts, and what telemetry knows to be heard.

use std::collections::HashMap;

use anlan_model::{Clock as _, Permission, RegionCode, Scope, Timestamp};
use anlan_store::PointFilter;

use crate::error::AppError;
use crate::telemetry::Status;
use crate::{App, Link, point, vehicle};

/// Alarms by level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// Level 1.
    pub red: u64,
    /// Level 2.
    pub orange: u64,
    /// Level 3.
    pub yellow: u64,
    /// Level 4.
    pub blue: u64,
}

impl Levels {
    /// All levels together.
    pub fn total(&self) -> u64 {
        self.red + self.orange + self.yellow + self.blue
    }
}

impl From<anlan_store::LevelCounts> for Levels {
    fn from(c: anlan_store::LevelCounts) -> Self {
        Self { red: count(c.red), orange: count(c.orange), yellow: count(c.yellow), blue: count(c.blue) }
    }
}

/// One county.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionFigures {
    /// Its code.
    pub code: RegionCode,
    /// Its name; the code where the region pack has none.
    pub name: String,
    /// Enterprises.
    pub enterprises: u64,
    /// Points.
    pub points: u64,
    /// Points that are not silent.
    pub points_online: u64,
    /// Vehicles heard within the offline limit.
    pub vehicles_online: u64,
    /// Standing alarms.
    pub levels: Levels,
}

/// Everything the first screen counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Domain time of the figures.
    pub now: Timestamp,
    /// Enterprises.
    pub enterprises: u64,
    /// Devices.
    pub devices: u64,
    /// Points.
    pub points: u64,
    /// Points that are not silent.
    pub points_online: u64,
    /// Points heard once and silent now.
    pub points_stale: u64,
    /// Vehicles.
    pub vehicles: u64,
    /// Vehicles heard within the offline limit.
    pub vehicles_online: u64,
    /// Standing and not yet acknowledged.
    pub alarms_unacknowledged: u64,
    /// Standing, by level.
    pub levels: Levels,
    /// Counties that hold something, in order of codes.
    pub regions: Vec<RegionFigures>,
    /// Raised per hour, oldest first.
    pub hours: Vec<(Timestamp, Levels)>,
    /// State of the listeners.
    pub links: Vec<Link>,
    /// State of the log.
    pub log: Status,
}

/// The figures under the asker's scope.
///
/// # Errors
/// No permission to view, or the store's.
pub async fn get(app: &App, scope: &Scope) -> Result<Summary, AppError> {
    let scope = scope.with(Permission::View)?;
    let now = app.clock.now();
    let counted = app.store.summary(&scope, now).await?;
    let known = app.registry.get();
    let county = |code: &RegionCode| code.as_str().get(..6).unwrap_or(code.as_str()).to_owned();

    let (mut points_online, mut points_stale) = (0, 0);
    let mut points_by_county: HashMap<String, u64> = HashMap::new();
    let seen = app.store.point_set(&scope, &PointFilter::default()).await?;
    for reading in app.telemetry.latest_all(&seen) {
        let Some(p) = known.points.get(&reading.point) else { continue };
        if !point::is_online(app, p) {
            points_stale += 1;
            continue;
        }
        points_online += 1;
        if let Some(enterprise) = p.enterprise.and_then(|e| known.enterprises.get(&e)) {
            *points_by_county.entry(county(&enterprise.region)).or_default() += 1;
        }
    }
    let mut vehicles_online = 0;
    let mut vehicles_by_county: HashMap<String, u64> = HashMap::new();
    let seen = app.store.vehicle_set(&scope).await?;
    for position in app.telemetry.latest_positions(&seen) {
        if vehicle::is_online(app, position.received_at) {
            vehicles_online += 1;
            if let Some(region) = known.vehicles.get(&position.vehicle).and_then(|v| v.region.as_ref()) {
                *vehicles_by_county.entry(county(region)).or_default() += 1;
            }
        }
    }

    let regions = counted.regions.into_iter().map(|r| RegionFigures {
        name: known.regions.get(&r.region).map_or_else(|| r.region.to_string(), |known| known.name.clone()),
        enterprises: count(r.enterprises),
        points: count(r.points),
        points_online: points_by_county.get(r.region.as_str()).copied().unwrap_or(0),
        vehicles_online: vehicles_by_county.get(r.region.as_str()).copied().unwrap_or(0),
        levels: r.standing.into(),
        code: r.region,
    });
    Ok(Summary {
        now,
        enterprises: count(counted.enterprises),
        devices: count(counted.devices),
        points: count(counted.points),
        points_online,
        points_stale,
        vehicles: count(counted.vehicles),
        vehicles_online,
        alarms_unacknowledged: count(counted.alarms.raised),
        levels: counted.standing.into(),
        regions: regions.collect(),
        hours: counted.hours.into_iter().map(|h| (h.at, h.raised.into())).collect(),
        // Only whoever runs the node needs to know its sockets; others see an empty list.
        links: if scope.node_wide() { app.links.get().map(|l| l.report()).unwrap_or_default() } else { Vec::new() },
        log: app.telemetry.status(),
    })
}

/// A count of rows; the database never answers a negative one.
fn count(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
