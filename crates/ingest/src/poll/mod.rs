//! Polling devices over Modbus TCP: one task per address, however many units stand behind it.
//!
//! Never writes to a device and never connects outside the configured networks. A value is only ever one that was answered to this
//! very question: no answer, an exception or a NaN is no reading, so that the point falls silent instead of repeating what was.
//! Start at [`serve`]; when what is asked is decided in `schedule`, how in `endpoint`, bytes in [`anlan_protocols::modbus`].
//!
//! Metrics: `modbus_requests_total{outcome}`, `modbus_discarded_answers_total`, `modbus_overruns_total`, `modbus_devices`,
//! `modbus_devices_failing`, and those of [`crate::LinkStats`] with protocol `modbus` (connections = addresses connected).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anlan_model::modbus::{Network, Polled, Polls};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Context;

mod endpoint;
mod schedule;

/// What an operator sets about polling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Polling {
    /// Networks that may be polled. Empty = none: who may register a device must not be able to scan with this node.
    pub networks: Vec<Network>,
    /// Devices with a register map.
    pub devices_max: usize,
    /// Requests out on one connection, 1 to 16. 1 = what every gateway to a serial line can take.
    pub in_flight_max: usize,
    /// Milliseconds a connection may take to open.
    pub connect_timeout_ms: u64,
    /// Milliseconds a unit or address that does not answer is left alone; doubles.
    pub backoff_first_ms: u64,
    /// The longest such wait.
    pub backoff_last_ms: u64,
}

impl Default for Polling {
    fn default() -> Self {
        Self {
            networks: Vec::new(),
            devices_max: 10_000,
            in_flight_max: 1,
            connect_timeout_ms: 3_000,
            backoff_first_ms: 1_000,
            backoff_last_ms: 30_000,
        }
    }
}

impl Polling {
    /// Whether `address` may be polled.
    pub fn allows(&self, address: SocketAddr) -> bool {
        self.networks.iter().any(|n| n.contains(address.ip()))
    }
}

struct Running {
    devices: watch::Sender<Vec<Arc<Polled>>>,
    stop: CancellationToken,
}

/// Polls what `polls` names, following its changes, until the context stops.
pub async fn serve(ctx: Arc<Context>, mut polls: watch::Receiver<Polls>, settings: Polling) {
    let settings = Arc::new(settings);
    let tasks = TaskTracker::new();
    let mut running: BTreeMap<SocketAddr, Running> = BTreeMap::new();
    loop {
        let wanted = polls.borrow_and_update().clone();
        let mut groups: BTreeMap<SocketAddr, Vec<Arc<Polled>>> = BTreeMap::new();
        for polled in wanted.iter() {
            groups.entry(polled.map.address).or_default().push(polled.clone());
        }
        metrics::gauge!("modbus_devices").set(wanted.len() as f64);
        running.retain(|address, task| {
            let stays = groups.contains_key(address);
            if !stays {
                task.stop.cancel();
            }
            stays
        });
        for (address, devices) in groups {
            if let Some(task) = running.get(&address) {
                task.devices.send_if_modified(|have| {
                    let changed = *have != devices;
                    if changed {
                        *have = devices;
                    }
                    changed
                });
                continue;
            }
            let (sender, receiver) = watch::channel(devices);
            let stop = ctx.stop.child_token();
            tasks.spawn(endpoint::run(ctx.clone(), settings.clone(), address, receiver, stop.clone()));
            running.insert(address, Running { devices: sender, stop });
        }
        tokio::select! {
            () = ctx.stop.cancelled() => break,
            changed = polls.changed() => if changed.is_err() { break },
        }
    }
    for task in running.values() {
        task.stop.cancel();
    }
    tasks.close();
    tasks.wait().await;
}
