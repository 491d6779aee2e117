//! Who is connected, by device code and by phone number: where commands go, and who was there first.
//!
//! Never writes to a socket: a connection owns its socket and reads its queue. Start at [`Downlinks`].
//! Who holds a name is state that a connection looks up ([`Downlinks::holds_terminal`]), not a message that could be lost;
//! `changed` only wakes it to look.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anlan_model::{Command, CommandBody, Delivery, Downlink};
use tokio::sync::{Notify, mpsc};

use crate::trust::normal_phone;

/// Client ids that one device may have connected at the same time.
const CLIENTS_PER_DEVICE: usize = 16;

/// One connection, as others see it.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Unique in this process.
    pub(crate) connection: u64,
    pub(crate) address: SocketAddr,
    /// Bounded; a full queue means the device does not take commands now.
    pub(crate) commands: mpsc::Sender<Command>,
    /// Rung when somebody took over a name that this connection held.
    pub(crate) changed: Arc<Notify>,
}

#[derive(Debug)]
struct Client {
    id: String,
    peer: Peer,
    subscribed: bool,
}

/// The registry of connected devices and terminals; the [`Downlink`] that the command reconciler uses.
#[derive(Debug, Default)]
pub struct Downlinks {
    next_connection: AtomicU64,
    devices: Mutex<HashMap<String, Vec<Client>>>,
    terminals: Mutex<HashMap<String, Peer>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while holding the lock cannot leave a half-made entry: every change is one map operation.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Too many clients of one device are connected.
#[derive(Debug)]
pub(crate) struct TooManyClients;

impl Downlinks {
    pub(crate) fn connection_id(&self) -> u64 {
        self.next_connection.fetch_add(1, Ordering::Relaxed)
    }

    /// Phone numbers of the terminals that are connected now, unsorted.
    pub fn connected_terminals(&self) -> Vec<String> {
        lock(&self.terminals).keys().cloned().collect()
    }

    /// Codes of the devices that are connected over MQTT now, unsorted.
    pub fn connected_devices(&self) -> Vec<String> {
        lock(&self.devices).keys().cloned().collect()
    }

    /// Enters `client` of device `code`; returns the connection it takes over from, after waking that one.
    pub(crate) fn enter_device(&self, code: &str, client: &str, peer: Peer) -> Result<Option<SocketAddr>, TooManyClients> {
        let mut devices = lock(&self.devices);
        let clients = devices.entry(code.to_owned()).or_default();
        if let Some(old) = clients.iter_mut().find(|c| c.id == client) {
            let before = std::mem::replace(old, Client { id: client.to_owned(), peer, subscribed: false });
            before.peer.changed.notify_one();
            return Ok(Some(before.peer.address));
        }
        if clients.len() >= CLIENTS_PER_DEVICE {
            return Err(TooManyClients);
        }
        clients.push(Client { id: client.to_owned(), peer, subscribed: false });
        Ok(None)
    }

    pub(crate) fn holds_device(&self, code: &str, client: &str, connection: u64) -> bool {
        lock(&self.devices).get(code).is_some_and(|all| all.iter().any(|c| c.id == client && c.peer.connection == connection))
    }

    pub(crate) fn subscribe_device(&self, code: &str, client: &str, connection: u64, subscribed: bool) {
        if let Some(all) = lock(&self.devices).get_mut(code) {
            for c in all.iter_mut().filter(|c| c.id == client && c.peer.connection == connection) {
                c.subscribed = subscribed;
            }
        }
    }

    pub(crate) fn leave_device(&self, code: &str, connection: u64) {
        let mut devices = lock(&self.devices);
        if let Some(all) = devices.get_mut(code) {
            all.retain(|c| c.peer.connection != connection);
            if all.is_empty() {
                devices.remove(code);
            }
        }
    }

    /// Enters the terminal `phone`; returns the address of the connection it takes over from, after waking that one.
    pub(crate) fn enter_terminal(&self, phone: &str, peer: Peer) -> Option<SocketAddr> {
        let connection = peer.connection;
        let before = lock(&self.terminals).insert(phone.to_owned(), peer)?;
        if before.connection == connection {
            return None;
        }
        before.changed.notify_one();
        Some(before.address)
    }

    pub(crate) fn holds_terminal(&self, phone: &str, connection: u64) -> bool {
        lock(&self.terminals).get(phone).is_some_and(|p| p.connection == connection)
    }

    pub(crate) fn leave_terminal(&self, phone: &str, connection: u64) {
        let mut terminals = lock(&self.terminals);
        if terminals.get(phone).is_some_and(|p| p.connection == connection) {
            terminals.remove(phone);
        }
    }
}

impl Downlink for Downlinks {
    fn send(&self, command: &Command) -> Delivery {
        let phone = normal_phone(&command.to);
        let terminal = lock(&self.terminals).get(phone).map(|p| p.commands.clone());
        let (known_device, device) = {
            let devices = lock(&self.devices);
            let all = devices.get(&command.to);
            // The newest subscriber: an older one of the same device is often a connection about to time out.
            (all.is_some(), all.and_then(|all| all.iter().rev().find(|c| c.subscribed)).map(|c| c.peer.commands.clone()))
        };
        let queue = match (&command.body, terminal, device) {
            (CommandBody::Mqtt { .. }, _, Some(queue)) => queue,
            (CommandBody::Mqtt { .. }, Some(_), None) if !known_device => return Delivery::Unsupported,
            (CommandBody::Mqtt { .. }, _, None) => return Delivery::NotConnected,
            (_, Some(queue), _) => queue,
            (_, None, _) if known_device => return Delivery::Unsupported,
            (_, None, _) => return Delivery::NotConnected,
        };
        // A full queue is a device that does not take commands now: the reconciler comes again.
        queue.try_send(command.clone()).map_or(Delivery::NotConnected, |()| Delivery::Sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(links: &Downlinks, port: u16) -> (Peer, mpsc::Receiver<Command>) {
        let (commands, queue) = mpsc::channel(1);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        (Peer { connection: links.connection_id(), address, commands, changed: Arc::default() }, queue)
    }

    fn command(to: &str, body: CommandBody) -> Command {
        Command { id: 1, to: to.into(), body }
    }

    #[test]
    fn the_second_connection_holds_the_number_and_the_first_leaving_does_not_remove_it() {
        let links = Downlinks::default();
        let ((a, _qa), (b, _qb)) = (peer(&links, 1), peer(&links, 2));
        assert_eq!(links.enter_terminal("138", a.clone()), None);
        assert_eq!(links.enter_terminal("138", a.clone()), None);
        assert_eq!(links.enter_terminal("138", b.clone()), Some(a.address));
        assert!(!links.holds_terminal("138", a.connection));
        links.leave_terminal("138", a.connection);
        assert!(links.holds_terminal("138", b.connection));
    }

    #[test]
    fn a_command_goes_where_its_protocol_is() {
        let links = Downlinks::default();
        let ((a, mut qa), (b, mut qb)) = (peer(&links, 1), peer(&links, 2));
        links.enter_terminal("138", a.clone());
        links.enter_device("D", "c", b.clone()).unwrap();
        let mqtt = || CommandBody::Mqtt { payload: "{}".into() };
        assert_eq!(links.send(&command("0138", CommandBody::QueryPosition)), Delivery::Sent);
        assert_eq!(links.send(&command("138", CommandBody::QueryPosition)), Delivery::NotConnected, "its queue holds one");
        assert_eq!(links.send(&command("138", mqtt())), Delivery::Unsupported);
        assert_eq!(links.send(&command("D", mqtt())), Delivery::NotConnected, "it has not subscribed");
        links.subscribe_device("D", "c", b.connection, true);
        assert_eq!(links.send(&command("D", mqtt())), Delivery::Sent);
        assert_eq!(links.send(&command("D", CommandBody::QueryPosition)), Delivery::Unsupported);
        assert_eq!(links.send(&command("E", mqtt())), Delivery::NotConnected);
        assert!(qa.try_recv().is_ok() && qb.try_recv().is_ok());
    }

    #[test]
    fn one_device_has_a_bounded_number_of_clients() {
        let links = Downlinks::default();
        let (a, _q) = peer(&links, 1);
        for n in 0..CLIENTS_PER_DEVICE {
            links.enter_device("D", &n.to_string(), a.clone()).unwrap();
        }
        assert!(links.enter_device("D", "one more", a.clone()).is_err());
        assert!(links.enter_device("D", "0", a).unwrap().is_some());
    }
}
