//! Enterprises, devices, points and vehicles in memory, as last committed; and the credentials that sockets check.
//!
//! An immutable snapshot, renewed after a change by rereading what the change touched. Never the truth: that is `store`.
//! Start at [`Registry::renew`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use anlan_domain::alarm::{Rule, Shelf};
use anlan_domain::combination::CombinationRule;
use anlan_domain::division::Divisions;
use anlan_domain::pack::RuleBook;
use anlan_domain::road::RoadRules;
use anlan_model::modbus::Polls;
use anlan_model::noun::{Device, Enterprise, Point, Vehicle};
use anlan_model::platform::plate_key;
use anlan_model::{CombinationId, Credentials, DeviceId, EnterpriseId, NodeId, PointId, Subject, VehicleId};
use anlan_store::credential::of_device;
use anlan_store::{Mirrored, Store, StoreError};
use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::live::Live;
use crate::telemetry::engine::EngineHandle;
use crate::telemetry::shard::SubjectConfig;

/// How many virtual shards a log has, for its whole life.
pub const N_SHARDS: u16 = 64;

/// Everything known, at one instant. Each map is shared with the snapshots before it until it changes.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Counts up with every change that was read.
    pub generation: u64,
    /// Divisions, of today and of before.
    pub regions: Arc<Divisions>,
    /// Enterprises.
    pub enterprises: Arc<HashMap<EnterpriseId, Arc<Enterprise>>>,
    /// Devices.
    pub devices: Arc<HashMap<DeviceId, Arc<Device>>>,
    /// Devices by code.
    pub device_by_code: Arc<HashMap<String, DeviceId>>,
    /// Points.
    pub points: Arc<HashMap<PointId, Arc<Point>>>,
    /// Points by device and code.
    pub point_by_code: Arc<HashMap<DeviceId, Arc<HashMap<String, PointId>>>>,
    /// Points of an enterprise, in id order.
    pub points_of: Arc<HashMap<EnterpriseId, Vec<PointId>>>,
    /// Vehicles.
    pub vehicles: Arc<HashMap<VehicleId, Arc<Vehicle>>>,
    /// Devices at least one of whose points has a rule.
    pub ruled: Arc<HashSet<DeviceId>>,
    /// Vehicles by phone.
    pub vehicle_by_phone: Arc<HashMap<String, VehicleId>>,
    /// Vehicles by plate, as [`plate_key`] has it; a plate may be that of several, in other colours. Without those of other nodes.
    pub vehicles_by_plate: Arc<HashMap<String, Vec<VehicleId>>>,
    /// Points that are another node's: whose, and their id there. They are kept and shown here, and judged there.
    pub mirrored: Arc<HashMap<PointId, (NodeId, PointId)>>,
    /// The same the other way round: what a node's point is called here.
    pub mirrored_as: Arc<HashMap<(NodeId, PointId), PointId>>,
    /// Devices that are another node's: nobody sends here in their name.
    pub elsewhere: Arc<HashSet<DeviceId>>,
}

/// What a change touched: it is reread, and what hangs on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touched {
    /// Its row, and the territory of its vehicles.
    Enterprise(EnterpriseId),
    /// Its row, credential, register map and points.
    Device(DeviceId),
    /// The points of a device.
    PointsOf(DeviceId),
    /// Its row and credential.
    Vehicle(VehicleId),
    /// What the engine watches together, in an enterprise's shard; whether it is there or gone.
    Combination(EnterpriseId, CombinationId),
}

/// Rows as last committed.
#[derive(Default)]
struct Rows {
    enterprises: Vec<Enterprise>,
    devices: Vec<Device>,
    /// Every point of each device that has any here.
    points: Vec<Point>,
    vehicles: Vec<Vehicle>,
    /// Points and devices of them that are another node's.
    mirrored: Vec<Mirrored>,
    elsewhere: Vec<DeviceId>,
}

impl Rows {
    fn n(&self) -> usize {
        self.enterprises.len() + self.devices.len() + self.points.len() + self.vehicles.len()
    }
}

impl Snapshot {
    /// Everything as last committed.
    ///
    /// # Errors
    /// What the store says.
    pub async fn read(store: &Store) -> Result<Self, StoreError> {
        let regions = store.regions().await?.into_iter().collect();
        let mut next = Self { regions: Arc::new(regions), ..Self::default() };
        next.take(Rows {
            enterprises: store.all_enterprises().await?,
            devices: store.all_devices().await?,
            points: store.all_points().await?,
            vehicles: store.all_vehicles().await?,
            mirrored: store.mirrored_points().await?,
            elsewhere: store.all_mirrored_devices().await?,
        });
        Ok(next)
    }

    /// Puts rows in the place of those known by the same id. Nothing but an enterprise that was merged ever goes, and codes and phones never change.
    fn take(&mut self, rows: Rows) {
        for enterprise in rows.enterprises {
            Arc::make_mut(&mut self.enterprises).insert(enterprise.id, Arc::new(enterprise));
        }
        for device in rows.devices {
            Arc::make_mut(&mut self.device_by_code).insert(device.code.clone(), device.id);
            Arc::make_mut(&mut self.devices).insert(device.id, Arc::new(device));
        }
        let mut by_device: BTreeMap<DeviceId, HashMap<String, PointId>> = BTreeMap::new();
        for point in rows.points {
            by_device.entry(point.device).or_default().insert(point.code.clone(), point.id);
            self.take_point(point);
        }
        for (device, codes) in by_device {
            Arc::make_mut(&mut self.point_by_code).insert(device, Arc::new(codes));
        }
        for vehicle in rows.vehicles {
            if self.vehicle_by_phone.get(&vehicle.phone) != Some(&vehicle.id) {
                Arc::make_mut(&mut self.vehicle_by_phone).insert(vehicle.phone.clone(), vehicle.id);
            }
            // Nobody speaks here for a vehicle of another node.
            let key = |v: &Vehicle| if v.is_elsewhere() { String::new() } else { plate_key(&v.plate) };
            let (id, plate) = (vehicle.id, key(&vehicle));
            let before = Arc::make_mut(&mut self.vehicles).insert(id, Arc::new(vehicle)).map(|v| key(&v));
            if before.as_ref() != Some(&plate) {
                let by_plate = Arc::make_mut(&mut self.vehicles_by_plate);
                if let Some(left) = before.and_then(|before| by_plate.get_mut(&before)) {
                    left.retain(|v| *v != id);
                }
                if !plate.is_empty() {
                    by_plate.entry(plate).or_default().push(id);
                }
            }
        }
        for Mirrored { origin, remote, local } in rows.mirrored {
            let there = (origin, PointId::new(remote));
            // Mostly known before; then the maps stay shared.
            if self.mirrored.get(&local) != Some(&there) {
                let before = Arc::make_mut(&mut self.mirrored).insert(local, there);
                if let Some(before) = before.filter(|before| self.mirrored_as.get(before) == Some(&local)) {
                    Arc::make_mut(&mut self.mirrored_as).remove(&before);
                }
                Arc::make_mut(&mut self.mirrored_as).insert(there, local);
            }
        }
        for device in rows.elsewhere {
            if !self.elsewhere.contains(&device) {
                Arc::make_mut(&mut self.elsewhere).insert(device);
            }
        }
    }

    fn take_point(&mut self, point: Point) {
        let (id, owner) = (point.id, point.enterprise);
        let before = Arc::make_mut(&mut self.points).insert(id, Arc::new(point));
        let owner_before = before.and_then(|p| p.enterprise);
        if owner_before == owner {
            return;
        }
        let points_of = Arc::make_mut(&mut self.points_of);
        if let Some(left) = owner_before.and_then(|e| points_of.get_mut(&e)) {
            left.retain(|p| *p != id);
        }
        if let Some(owner) = owner {
            let points = points_of.entry(owner).or_default();
            if let Err(place) = points.binary_search(&id) {
                points.insert(place, id);
            }
        }
    }

    /// The shard of a device's readings: its enterprise's, or its own if it has none.
    pub fn shard_of_device(&self, device: DeviceId) -> u16 {
        let enterprise = self.devices.get(&device).and_then(|d| d.enterprise);
        shard(enterprise, 1, device.get())
    }

    /// Whose a point is and what it is called there; `own` is this node.
    pub fn origin(&self, own: NodeId, point: PointId) -> (NodeId, PointId) {
        self.mirrored.get(&point).copied().unwrap_or((own, point))
    }

    /// What the point `there` of `node` is called here, if it is known; `own` is this node.
    pub fn here(&self, own: NodeId, node: NodeId, there: PointId) -> Option<PointId> {
        if node == own {
            return (self.points.contains_key(&there) && !self.mirrored.contains_key(&there)).then_some(there);
        }
        self.mirrored_as.get(&(node, there)).copied()
    }

    /// The shard of a vehicle's positions.
    pub fn shard_of_vehicle(&self, vehicle: VehicleId) -> u16 {
        let enterprise = self.vehicles.get(&vehicle).and_then(|v| v.enterprise);
        shard(enterprise, 2, vehicle.get())
    }
}

/// The shard of everything that an enterprise owns.
fn shard_of(enterprise: EnterpriseId) -> u16 {
    shard(Some(enterprise), 1, 0)
}

/// The shard of what another platform says in its own name.
pub(crate) fn shard_of_platform(name: &str) -> u16 {
    shard(None, 3, name.bytes().fold(7, |sum: i64, byte| sum.wrapping_mul(31).wrapping_add(i64::from(byte))))
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
    due: Mutex<Due>,
    /// The newest wish that is live; held while rows are read.
    done: tokio::sync::Mutex<u64>,
    rereads: AtomicU64,
    rows_read: AtomicU64,
    shelf: Mutex<Shelf>,
}

/// What waits to be reread, with the newest wish for it. An entry goes only once it is live, so that neither a failure nor a caller
/// who leaves loses it.
#[derive(Default)]
struct Due {
    wish: u64,
    touched: BTreeMap<Touched, u64>,
}

impl Registry {
    /// Takes what [`Snapshot::read`] read, and tells the engine every rule. `terminal_key` is the key of the codes that 0x8100 issues.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn open(
        store: Store,
        read: Snapshot,
        engine: EngineHandle,
        rules: Arc<RuleBook>,
        road: Arc<RoadRules>,
        live: Live,
        terminal_key: [u8; 32],
    ) -> Result<Self, StoreError> {
        let mut next = Snapshot { generation: 1, ..read };
        let credentials = Credentials { terminal_key, ..store.credentials().await? };
        let polls: Polls = Arc::new(store.all_modbus().await?.into_iter().map(Arc::new).collect());
        let registry = Self {
            snapshot: ArcSwap::default(),
            credentials: Arc::new(ArcSwap::from_pointee(credentials)),
            polls: watch::Sender::new(polls),
            store,
            engine,
            rules,
            road,
            live,
            due: Mutex::default(),
            done: tokio::sync::Mutex::new(0),
            rereads: AtomicU64::new(0),
            rows_read: AtomicU64::new(0),
            shelf: Mutex::default(),
        };
        let configs = registry.configs(&next, next.points.keys(), next.vehicles.keys());
        next.ruled = Arc::new(ruled(&next, &configs).collect());
        registry.engine.configure_all(configs);
        let combinations = registry.store.all_combinations().await?;
        registry.engine.combine_all(combinations.iter().map(|c| (shard_of(c.enterprise), CombinationRule::of(c))).collect());
        registry.snapshot.store(Arc::new(next));
        Ok(registry)
    }

    /// What is known now.
    pub fn get(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// The same for a moment: cheaper, and not to be kept across an await.
    pub fn look(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// What the sockets check; shared, replaced whole.
    pub fn credentials(&self) -> Arc<ArcSwap<Credentials>> {
        self.credentials.clone()
    }

    /// What is polled; told anew when it changes.
    pub fn polls(&self) -> watch::Receiver<Polls> {
        self.polls.subscribe()
    }

    /// How often rows were read again since the start, and how many.
    pub fn reread(&self) -> (u64, u64) {
        (self.rereads.load(Ordering::Relaxed), self.rows_read.load(Ordering::Relaxed))
    }

    /// Reads what a committed change touched, tells the engine which rules changed, then shows the new snapshot; live when it returns.
    /// Changes that wait at the same time share one reading.
    ///
    /// # Errors
    /// What the store says; the old snapshot stays, and the next call reads this too.
    pub async fn renew(&self, touched: impl IntoIterator<Item = Touched>) -> Result<(), StoreError> {
        let wish = {
            let mut due = self.due();
            due.wish += 1;
            let wish = due.wish;
            due.touched.extend(touched.into_iter().map(|t| (t, wish)));
            wish
        };
        let mut done = self.done.lock().await;
        if *done >= wish {
            return Ok(());
        }
        let (covers, touched) = {
            let due = self.due();
            (due.wish, due.touched.keys().copied().collect::<Vec<_>>())
        };
        if !touched.is_empty() {
            self.read_again(&touched).await?;
        }
        self.due().touched.retain(|_, wish| *wish > covers);
        *done = covers;
        Ok(())
    }

    fn due(&self) -> std::sync::MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn read_again(&self, touched: &[Touched]) -> Result<(), StoreError> {
        let enterprises: Vec<_> = touched.iter().filter_map(|t| if let Touched::Enterprise(id) = t { Some(*id) } else { None }).collect();
        let devices: Vec<_> = touched.iter().filter_map(|t| if let Touched::Device(id) = t { Some(*id) } else { None }).collect();
        let vehicles: Vec<_> = touched.iter().filter_map(|t| if let Touched::Vehicle(id) = t { Some(*id) } else { None }).collect();
        let has_points: BTreeSet<_> =
            touched.iter().filter_map(|t| if let Touched::Device(id) | Touched::PointsOf(id) = t { Some(*id) } else { None }).collect();
        let has_points: Vec<_> = has_points.into_iter().collect();
        let rows = Rows {
            enterprises: self.store.enterprises_among(&enterprises).await?,
            devices: self.store.devices_among(&devices).await?,
            points: self.store.points_of(&has_points).await?,
            vehicles: self.store.vehicles_among(&vehicles, &enterprises).await?,
            mirrored: self.store.mirrored_points_of(&has_points).await?,
            elsewhere: self.store.mirrored_devices_among(&has_points).await?,
        };
        let combined: Vec<_> =
            touched.iter().filter_map(|t| if let Touched::Combination(of, id) = t { Some((*of, *id)) } else { None }).collect();
        let combinations = self.store.combinations_among(&combined.iter().map(|(_, id)| *id).collect::<Vec<_>>()).await?;
        let combinations: HashMap<_, _> = combinations.iter().map(|c| (c.id, (shard_of(c.enterprise), CombinationRule::of(c)))).collect();
        let terminals = self.store.terminals_among(&vehicles).await?;
        let polled = self.store.modbus_among(&devices).await?;
        self.rereads.fetch_add(1, Ordering::Relaxed);
        self.rows_read.fetch_add(rows.n() as u64, Ordering::Relaxed);
        metrics::counter!("anlan_registry_rereads_total").increment(1);
        metrics::counter!("anlan_registry_rows_read_total").increment(rows.n() as u64);

        let credentials = (!devices.is_empty() || !vehicles.is_empty()).then(|| {
            let mut credentials = Arc::unwrap_or_clone(self.credentials.load_full());
            credentials.devices.extend(rows.devices.iter().map(|d| (d.code.clone(), of_device(d))));
            credentials.terminals.extend(terminals);
            credentials
        });
        let (points, moved): (Vec<_>, Vec<_>) = (rows.points.iter().map(|p| p.id).collect(), rows.vehicles.iter().map(|v| v.id).collect());
        let mut next = Snapshot::clone(&self.snapshot.load());
        for gone in enterprises.iter().filter(|id| rows.enterprises.iter().all(|e| e.id != **id)) {
            Arc::make_mut(&mut next.enterprises).remove(gone);
        }
        next.take(rows);
        next.generation += 1;

        // The engine must know a point before a reading of it can arrive, so it is told first.
        let configs = self.configs(&next, &points, &moved);
        let is_ruled: HashSet<_> = ruled(&next, &configs).collect();
        for device in points.iter().filter_map(|id| next.points.get(id)).map(|p| p.device).collect::<BTreeSet<_>>() {
            if next.ruled.contains(&device) != is_ruled.contains(&device) {
                let all = Arc::make_mut(&mut next.ruled);
                if is_ruled.contains(&device) {
                    all.insert(device)
                } else {
                    all.remove(&device)
                };
            }
        }
        self.engine.configure(configs);
        if !combined.is_empty() {
            // One that went to another enterprise leaves the shard of the one before.
            let wanted: BTreeMap<_, _> = combined
                .iter()
                .map(|(of, id)| {
                    let rule = combinations.get(id).filter(|(shard, _)| *shard == shard_of(*of)).map(|(_, rule)| rule.clone());
                    ((shard_of(*of), *id), rule)
                })
                .collect();
            self.engine.combine(wanted.into_iter().map(|((shard, id), rule)| (shard, id, rule)).collect());
        }
        if let Some(credentials) = credentials {
            self.credentials.store(Arc::new(credentials));
        }
        self.snapshot.store(Arc::new(next));
        self.polls.send_if_modified(|have| {
            if devices.is_empty() {
                return false;
            }
            let mut all: BTreeMap<_, _> = have.iter().map(|p| (p.device, p.clone())).collect();
            devices.iter().for_each(|id| _ = all.remove(id));
            all.extend(polled.into_iter().map(|p| (p.device, Arc::new(p))));
            let all: Vec<_> = all.into_values().collect();
            let changed = **have != all;
            if changed {
                *have = Arc::new(all);
            }
            changed
        });
        self.live.renew();
        Ok(())
    }

    /// These subjects with their shards and rules, in a fixed order. Points of other nodes have no shard: their rules run at home.
    fn configs<'a>(
        &self,
        snapshot: &Snapshot,
        points: impl IntoIterator<Item = &'a PointId>,
        vehicles: impl IntoIterator<Item = &'a VehicleId>,
    ) -> Vec<(u16, SubjectConfig)> {
        // Thousands of points are judged by the same rules: each set exists once, not once per point.
        let mut shelf = self.shelf.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut shared = |rules: Vec<Rule>| shelf.set(rules);
        let mut all = Vec::new();
        let own = points.into_iter().filter(|id| !snapshot.mirrored.contains_key(id));
        all.extend(own.filter_map(|id| snapshot.points.get(id)).map(|point| {
            let range = match (point.range_low, point.range_high) {
                (None, None) => None,
                (low, high) => Some((low.unwrap_or(f64::MIN), high.unwrap_or(f64::MAX))),
            };
            let config =
                SubjectConfig { subject: Subject::Point(point.id), rules: shared(self.rules.for_point(point)), range, newest: None };
            (snapshot.shard_of_device(point.device), config)
        }));
        all.extend(vehicles.into_iter().filter_map(|id| snapshot.vehicles.get(id)).map(|vehicle| {
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

/// Devices of those points among `configs` that have a rule.
fn ruled<'a>(snapshot: &'a Snapshot, configs: &'a [(u16, SubjectConfig)]) -> impl Iterator<Item = DeviceId> + 'a {
    configs.iter().filter(|(_, config)| !config.rules.is_empty()).filter_map(|(_, config)| match config.subject {
        Subject::Point(id) => snapshot.points.get(&id).map(|point| point.device),
        Subject::Vehicle(_) => None,
    })
}
