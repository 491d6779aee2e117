//! Enterprises, devices, points and vehicles in memory, as last committed; and the credentials that sockets check.
//!
//! One immutable snapshot, replaced whole after a change. Never the truth: that is `store`. Start at [`Registry::refresh`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anlan_domain::alarm::Rule;
use anlan_domain::pack::RuleBook;
use anlan_domain::road::RoadRules;
use anlan_model::modbus::Polls;
use anlan_model::noun::{Device, Enterprise, Point, Region, Vehicle};
use anlan_model::{Credentials, DeviceId, EnterpriseId, PointId, RegionCode, Subject, VehicleId};
use anlan_store::{Store, StoreError};
use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::live::Live;
use crate::telemetry::engine::EngineHandle;
use crate::telemetry::shard::SubjectConfig;

/// How many virtual shards a log has, for its whole life.
pub const N_SHARDS: u16 = 64;

/// Everything known, at one instant.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Counts up with every change that was read.
    pub generation: u64,
    /// Divisions by code.
    pub regions: BTreeMap<RegionCode, Region>,
    /// Enterprises.
    pub enterprises: HashMap<EnterpriseId, Arc<Enterprise>>,
    /// Devices.
    pub devices: HashMap<DeviceId, Arc<Device>>,
    /// Devices by code.
    pub device_by_code: HashMap<String, DeviceId>,
    /// Points.
    pub points: HashMap<PointId, Arc<Point>>,
    /// Points by device and code.
    pub point_by_code: HashMap<DeviceId, HashMap<String, PointId>>,
    /// Points of an enterprise, in id order.
    pub points_of: HashMap<EnterpriseId, Vec<PointId>>,
    /// Vehicles.
    pub vehicles: HashMap<VehicleId, Arc<Vehicle>>,
    /// Devices at least one of whose points has a rule.
    pub ruled: HashSet<DeviceId>,
    /// Vehicles by phone.
    pub vehicle_by_phone: HashMap<String, VehicleId>,
}

impl Snapshot {
    /// Everything as last committed.
    ///
    /// # Errors
    /// What the store says.
    pub async fn read(store: &Store) -> Result<Self, StoreError> {
        let mut next = Self::default();
        for region in store.regions().await? {
            next.regions.insert(region.code.clone(), region);
        }
        for enterprise in store.all_enterprises().await? {
            next.enterprises.insert(enterprise.id, Arc::new(enterprise));
        }
        for device in store.all_devices().await? {
            next.device_by_code.insert(device.code.clone(), device.id);
            next.devices.insert(device.id, Arc::new(device));
        }
        for point in store.all_points().await? {
            next.point_by_code.entry(point.device).or_default().insert(point.code.clone(), point.id);
            if let Some(enterprise) = point.enterprise {
                next.points_of.entry(enterprise).or_default().push(point.id);
            }
            next.points.insert(point.id, Arc::new(point));
        }
        for vehicle in store.all_vehicles().await? {
            next.vehicle_by_phone.insert(vehicle.phone.clone(), vehicle.id);
            next.vehicles.insert(vehicle.id, Arc::new(vehicle));
        }
        Ok(next)
    }

    /// The shard of a device's readings: its enterprise's, or its own if it has none.
    pub fn shard_of_device(&self, device: DeviceId) -> u16 {
        let enterprise = self.devices.get(&device).and_then(|d| d.enterprise);
        shard(enterprise, 1, device.get())
    }

    /// The shard of a vehicle's positions.
    pub fn shard_of_vehicle(&self, vehicle: VehicleId) -> u16 {
        let enterprise = self.vehicles.get(&vehicle).and_then(|v| v.enterprise);
        shard(enterprise, 2, vehicle.get())
    }
}

/// Spreads ids over shards: the finalizer of SplitMix64 (Steele, Lea, Flood 2014), so that neighbouring ids part.
fn shard(enterprise: Option<EnterpriseId>, kind: u64, id: i64) -> u16 {
    let seed = enterprise.map_or((id as u64).wrapping_mul(4) + kind, |e| (e.get() as u64).wrapping_mul(4));
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) % u64::from(N_SHARDS)) as u16
}

/// The snapshot, and how it is renewed.
pub struct Registry {
    snapshot: ArcSwap<Snapshot>,
    credentials: Arc<ArcSwap<Credentials>>,
    polls: watch::Sender<Polls>,
    store: Store,
    engine: EngineHandle,
    rules: Arc<RuleBook>,
    road: Arc<RoadRules>,
    live: Live,
    /// Key of the codes that 0x8100 issues; made once, kept with the settings.
    terminal_key: [u8; 32],
    /// Asked for and done; a caller whose wish is covered by a later run does not run again.
    wanted: AtomicU64,
    done: tokio::sync::Mutex<u64>,
}

impl Registry {
    pub(crate) fn new(
        store: Store,
        engine: EngineHandle,
        rules: Arc<RuleBook>,
        road: Arc<RoadRules>,
        live: Live,
        terminal_key: [u8; 32],
    ) -> Self {
        Self {
            snapshot: ArcSwap::default(),
            credentials: Arc::default(),
            polls: watch::Sender::default(),
            store,
            engine,
            rules,
            road,
            live,
            terminal_key,
            wanted: AtomicU64::new(0),
            done: tokio::sync::Mutex::new(0),
        }
    }

    /// What is known now.
    pub fn get(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// What the sockets check; shared, replaced whole.
    pub fn credentials(&self) -> Arc<ArcSwap<Credentials>> {
        self.credentials.clone()
    }

    /// What is polled; told anew when it changes.
    pub fn polls(&self) -> watch::Receiver<Polls> {
        self.polls.subscribe()
    }

    /// Reads everything anew, tells the engine which rules changed, then shows the new snapshot. Concurrent calls share one run.
    ///
    /// # Errors
    /// What the store says; the old snapshot stays.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let wish = self.wanted.fetch_add(1, Ordering::SeqCst) + 1;
        let mut done = self.done.lock().await;
        if *done >= wish {
            return Ok(());
        }
        let covers = self.wanted.load(Ordering::SeqCst);
        let mut next = Snapshot { generation: covers, ..Snapshot::read(&self.store).await? };
        let mut credentials = self.store.credentials().await?;
        credentials.terminal_key = self.terminal_key;
        let polls: Vec<_> = self.store.all_modbus().await?.into_iter().map(Arc::new).collect();

        // The engine must know a point before a reading of it can arrive, so it is told first.
        let configs = self.configs(&next);
        let ruled = configs.iter().filter(|(_, config)| !config.rules.is_empty()).filter_map(|(_, config)| match config.subject {
            Subject::Point(id) => next.points.get(&id).map(|point| point.device),
            Subject::Vehicle(_) => None,
        });
        next.ruled = ruled.collect();
        self.engine.configure(configs);
        self.credentials.store(Arc::new(credentials));
        self.snapshot.store(Arc::new(next));
        self.polls.send_if_modified(|have| {
            let changed = **have != polls;
            if changed {
                *have = Arc::new(polls);
            }
            changed
        });
        self.live.renew();
        *done = covers;
        Ok(())
    }

    /// Every subject with its shard and rules, in a fixed order.
    fn configs(&self, snapshot: &Snapshot) -> Vec<(u16, SubjectConfig)> {
        // Thousands of points are judged by the same rules: each set exists once, not once per point.
        let mut known: HashMap<Vec<u8>, Arc<[Rule]>> = HashMap::new();
        let mut shared = |rules: Vec<Rule>| {
            let key = postcard::to_allocvec(&rules).expect("plain data always encodes");
            Arc::clone(known.entry(key).or_insert_with(|| rules.into()))
        };
        let mut all = Vec::with_capacity(snapshot.points.len() + snapshot.vehicles.len());
        all.extend(snapshot.points.values().map(|point| {
            let range = match (point.range_low, point.range_high) {
                (None, None) => None,
                (low, high) => Some((low.unwrap_or(f64::MIN), high.unwrap_or(f64::MAX))),
            };
            let config =
                SubjectConfig { subject: Subject::Point(point.id), rules: shared(self.rules.for_point(point)), range, newest: None };
            (snapshot.shard_of_device(point.device), config)
        }));
        all.extend(snapshot.vehicles.values().map(|vehicle| {
            let config = SubjectConfig {
                subject: Subject::Vehicle(vehicle.id),
                rules: shared(
                    self.rules
                        .for_vehicle(self.road.limit_kmh(vehicle.speed_limit_kmh, &vehicle.kind), self.road.overspeed.is.continuous_s),
                ),
                range: None,
                newest: None,
            };
            (snapshot.shard_of_vehicle(vehicle.id), config)
        }));
        all.sort_by_key(|(shard, config)| (*shard, config.subject));
        all
    }
}
