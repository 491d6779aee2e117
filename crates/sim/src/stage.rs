//! Performs the script over real sockets: one link per device and vehicle, one conductor that hands each of them its step when it is due.
//!
//! Device times come from the domain clock that is given, so a shared test clock moves the whole city; sockets and pauses are real.
//! Start at [`run`].

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anlan_model::{Clock, Timestamp};
use anlan_protocols::jt808::Media;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::{Api, Credentials};
use crate::client::mqtt::Publisher;
use crate::client::terminal::{self, Parcel, Terminal};
use crate::client::{self, LinkOptions, ORDERS_MAX, Order, Stats, Summary};
use crate::picture;
use crate::plc::{Plant, PlantOptions};
use crate::provision::{ProvisionError, Secrets, describe_fleet, provision, provision_plcs};
use crate::rng::Rng;
use crate::script::{Expect, Expected, Message, Report, Sample, Script, Step};
use crate::story::Actor;
use crate::truth::{Sink, TruthKind, TruthLine, TruthPosition, Writer};
use crate::world::{Part, Scale, World};

/// What to play, and where.
#[derive(Clone)]
pub struct SimOptions {
    /// `host:port` of the MQTT listener; `None`: no devices.
    pub mqtt: Option<String>,
    /// `host:port` of the JT/T 808 listener; `None`: no vehicles.
    pub jt808: Option<String>,
    /// Whether controllers answer on loopback ports; the server is told to poll them, so this needs `http` and credentials.
    pub modbus: bool,
    /// `http://host:port`; with credentials the city is provisioned first and the vehicles are described as they are heard.
    pub http: Option<String>,
    /// Who provisions: an administrator.
    pub credentials: Option<Credentials>,
    /// Where device secrets are kept.
    pub secrets: PathBuf,
    /// Same seed, same city, same play.
    pub seed: u64,
    /// Whether incidents happen.
    pub stories: bool,
    /// How large the city is.
    pub scale: Scale,
    /// Which part of it plays.
    pub part: Part,
    /// Where to write the truth file.
    pub truth: Option<PathBuf>,
    /// Script seconds per second of the clock. Above 10, positions of a vehicle share seconds, which JT/T 808 cannot tell apart.
    pub speed: f64,
    /// Domain clock: the machine's, or the shared test clock.
    pub clock: Arc<dyn Clock>,
    /// Ends the play in order: links wait a few seconds for acknowledgements.
    pub stop: CancellationToken,
    /// Ends by itself after so many script seconds.
    pub duration_s: Option<f64>,
}

/// Why there was no play.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The server could not be filled.
    #[error("cannot prepare the server")]
    Provision(#[from] ProvisionError),
    /// The truth file cannot be written.
    #[error("the truth file")]
    Truth(#[source] std::io::Error),
    /// A device has no secret, because nothing was provisioned.
    #[error("device {0} has no secret in the secrets file: provision first, or give an address and credentials")]
    NoSecret(String),
    /// A controller cannot listen.
    #[error("a controller cannot listen on loopback")]
    Plant(#[source] std::io::Error),
    /// The speed is not a positive number.
    #[error("the speed must be positive, not {0}")]
    Speed(f64),
    /// A helper thread died.
    #[error("a simulator thread ended unexpectedly")]
    Thread,
}

/// Positions of a vehicle on the wire at once, messages of a device at once.
const WINDOW: usize = 16;
/// How often the fleet is looked at until every vehicle has its plate.
const DESCRIBE_EVERY: Duration = Duration::from_secs(5);
/// One vehicle in so many has a camera; it takes a picture so often.
const CAMERA_EVERY: usize = 40;
const PICTURE_EVERY_US: i64 = 300_000_000;
/// Why a picture was taken: JT/T 808-2013, table 80.
const EVENT_TIMER: u8 = 1;
const EVENT_ROBBERY: u8 = 2;
/// A clock that leapt further than this ahead (a moved test clock, a suspended machine) is followed, not caught up with.
const LEAP_US: i64 = 60_000_000;

/// Plays until stopped, or until the duration is over.
///
/// # Errors
/// [`SimError`]; a server that goes away later is no error, the links wait for it.
pub async fn run(options: SimOptions) -> Result<Summary, SimError> {
    if !(options.speed.is_finite() && options.speed > 0.0) {
        return Err(SimError::Speed(options.speed));
    }
    let world = Arc::new(World::new(options.seed, options.scale).part(&options.part));
    let mut enterprises = HashMap::new();
    let mut api = None;
    if let (Some(http), Some(credentials)) = (options.http.clone(), options.credentials.clone()) {
        let (world, secrets) = (world.clone(), options.secrets.clone());
        let filled = tokio::task::spawn_blocking(move || {
            let api = Api::sign_in(&http, &credentials).map_err(ProvisionError::from)?;
            let ids = provision(&api, &world, &secrets)?;
            Ok::<_, ProvisionError>((api, ids))
        });
        let (signed_in, ids) = filled.await.map_err(|_| SimError::Thread)??;
        enterprises = ids;
        api = Some(Arc::new(signed_in));
    }
    let secrets = Secrets::load(&options.secrets)?;
    let (writer, truth) = match &options.truth {
        Some(path) => Writer::create(path).map(|(writer, sink)| (Some(writer), sink)).map_err(SimError::Truth)?,
        None => (None, Sink::none()),
    };
    let mut plant = None;
    if let (Some(api), true) = (api.clone(), options.modbus) {
        let settings = PlantOptions {
            seed: options.seed,
            stories: options.stories,
            speed: options.speed,
            clock: options.clock.clone(),
            truth: truth.clone(),
        };
        let opened = Plant::open(&world, settings).await.map_err(SimError::Plant)?;
        let (gateways, world, enterprises) = (opened.addresses().to_vec(), world.clone(), enterprises.clone());
        plant = Some(opened);
        let polled = tokio::task::spawn_blocking(move || provision_plcs(&api, &world, &enterprises, &gateways));
        polled.await.map_err(|_| SimError::Thread)?.map_err(ProvisionError::from)?;
    }
    let stats = Arc::new(Stats::default());
    let mut links = Links {
        options: &options,
        world: &world,
        stats: &stats,
        truth,
        devices: Vec::new(),
        vehicles: Vec::new(),
        pictures: HashMap::new(),
        tasks: JoinSet::new(),
    };
    links.open(&secrets)?;
    let describing = api
        .filter(|_| options.jt808.is_some())
        .map(|api| tokio::spawn(describe(api, world.clone(), enterprises, options.stop.child_token())));

    let mut time = Time { clock: options.clock.clone(), origin: options.clock.now(), speed: options.speed };
    for step in Script::new(&world, options.stories) {
        let over = options.duration_s.is_some_and(|s| step.due_us as f64 >= s * 1e6);
        if over || !time.wait_for(step.due_us, &options.stop).await {
            break;
        }
        links.perform(step, &time);
    }
    // No more orders: each link ends when the server has acknowledged what it was given.
    let Links { devices, vehicles, mut tasks, truth, .. } = links;
    drop((devices, vehicles, truth));
    if let Some(plant) = plant {
        plant.close().await;
    }
    let drained = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(client::DRAIN * 2, drained).await.is_err() {
        tasks.shutdown().await;
    }
    if let Some(describing) = describing {
        describing.abort();
    }
    let truth_lines = match writer {
        Some(writer) => {
            tokio::task::spawn_blocking(move || writer.finish()).await.map_err(|_| SimError::Thread)?.map_err(SimError::Truth)?
        }
        None => 0,
    };
    Ok(stats.summary(truth_lines))
}

/// Gives vehicles their plates as the server hears them. Ends when all have one.
async fn describe(api: Arc<Api>, world: Arc<World>, enterprises: HashMap<String, String>, stop: CancellationToken) {
    let enterprises = Arc::new(enterprises);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(DESCRIBE_EVERY) => {}
        }
        let (api, world, enterprises) = (api.clone(), world.clone(), enterprises.clone());
        match tokio::task::spawn_blocking(move || describe_fleet(&api, &world, &enterprises)).await {
            Ok(Ok(pass)) if pass.described == 0 && pass.unheard == 0 => return,
            Ok(Ok(pass)) => tracing::debug!("{} vehicles described, {} not heard yet", pass.described, pass.unheard),
            Ok(Err(error)) => tracing::warn!("the fleet cannot be described: {error}"),
            Err(_) => return,
        }
    }
}

/// Script time on the domain clock.
pub(crate) struct Time {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) origin: Timestamp,
    pub(crate) speed: f64,
}

impl Time {
    /// The instant of a script time.
    pub(crate) fn stamp(&self, script_us: i64) -> Timestamp {
        self.origin.plus_us((script_us as f64 / self.speed) as i64)
    }

    /// Returns when the clock has reached a script time; `false` if stopped first. A frozen clock freezes the play.
    pub(crate) async fn wait_for(&mut self, script_us: i64, stop: &CancellationToken) -> bool {
        loop {
            if stop.is_cancelled() {
                return false;
            }
            let ahead_us = self.stamp(script_us).since_us(self.clock.now());
            if ahead_us <= 0 {
                if -ahead_us > LEAP_US {
                    self.origin = self.origin.plus_us(-ahead_us);
                }
                return true;
            }
            // Short naps, because a test clock may be moved or run faster than the machine's.
            let nap = Duration::from_micros(ahead_us.clamp(1_000, 250_000).unsigned_abs());
            tokio::select! {
                () = stop.cancelled() => return false,
                () = tokio::time::sleep(nap) => {}
            }
        }
    }
}

struct Links<'a> {
    options: &'a SimOptions,
    world: &'a World,
    stats: &'a Arc<Stats>,
    truth: Sink,
    devices: Vec<mpsc::Sender<Order<Vec<u8>>>>,
    vehicles: Vec<mpsc::Sender<Order<Parcel>>>,
    /// Pictures taken so far, and when the next is due, by vehicle.
    pictures: HashMap<usize, (u32, i64)>,
    tasks: JoinSet<()>,
}

impl Links<'_> {
    fn link(&self, address: &str) -> LinkOptions {
        LinkOptions {
            address: address.to_owned(),
            window: WINDOW,
            truth: self.truth.clone(),
            stats: self.stats.clone(),
            stop: self.options.stop.child_token(),
        }
    }

    fn open(&mut self, secrets: &Secrets) -> Result<(), SimError> {
        if let Some(address) = &self.options.mqtt {
            for (i, device) in self.world.devices.iter().enumerate() {
                let secret = secrets.devices.get(&device.code).ok_or_else(|| SimError::NoSecret(device.code.clone()))?;
                // Both versions of the protocol are in the field; so they are here.
                let wire = Publisher::new(&device.code, secret, i % 2 == 1);
                let (orders, queue) = mpsc::channel(ORDERS_MAX);
                let link = self.link(address);
                self.tasks.spawn(client::run(wire, link, queue, Rng::named(self.options.seed, &format!("link {}", device.code))));
                self.devices.push(orders);
            }
        }
        if let Some(address) = &self.options.jt808 {
            for vehicle in &self.world.vehicles {
                let wire = Terminal::new(&vehicle.phone, &vehicle.plate, vehicle.edition_2019);
                let (orders, queue) = mpsc::channel(ORDERS_MAX);
                let link = self.link(address);
                self.tasks.spawn(client::run(wire, link, queue, Rng::named(self.options.seed, &format!("link {}", vehicle.phone))));
                self.vehicles.push(orders);
            }
        }
        Ok(())
    }

    fn perform(&mut self, step: Step, time: &Time) {
        // The tasks of intruders end by themselves; collect them so that the set does not grow.
        while self.tasks.try_join_next().is_some() {}
        let mut lines = expected(self.world, &step, time);
        let wanted = self.truth.wanted();
        let last = step.messages.len().saturating_sub(1);
        let after = |i: usize, lines: &mut Vec<TruthLine>| if i == last { std::mem::take(lines) } else { Vec::new() };
        match step.actor {
            Actor::Device(d) => {
                let Some(orders) = self.devices.get(d) else { return };
                // A full queue means the server is away anyway; the link takes power for granted as soon as it is told to send.
                if let Some(on) = step.power {
                    _ = orders.try_send(Order::Power(on));
                }
                let device = &self.world.devices[d];
                for (i, message) in step.messages.iter().enumerate() {
                    let Message::Telemetry { samples, backfill } = message else { continue };
                    let mut truth = if wanted { sent_values(device, samples, *backfill, time) } else { Vec::new() };
                    truth.extend(after(i, &mut lines).into_iter().filter(|_| wanted));
                    let payload = telemetry(device, samples, *backfill, time);
                    self.hand_over(orders.try_send(Order::Send(payload, truth)));
                }
            }
            Actor::Vehicle(v) => {
                let Some(orders) = self.vehicles.get(v).cloned() else { return };
                if let Some(on) = step.power {
                    _ = orders.try_send(Order::Power(on));
                }
                let vehicle = &self.world.vehicles[v];
                for (i, message) in step.messages.iter().enumerate() {
                    let (reports, backfill) = match message {
                        Message::Positions { reports, backfill } => (&reports[..], *backfill),
                        Message::Intruder(report) => (std::slice::from_ref(report), false),
                        Message::Telemetry { .. } => continue,
                    };
                    let mut truth = if wanted { sent_positions(&vehicle.phone, reports, backfill, time) } else { Vec::new() };
                    truth.extend(after(i, &mut lines).into_iter().filter(|_| wanted));
                    let positions: Vec<_> = reports.iter().map(|r| terminal::position(r, wire_second(r, time))).collect();
                    let parcel = match &positions[..] {
                        [one] if !backfill => Parcel::One(one.clone()),
                        _ => Parcel::Many { positions, backfill },
                    };
                    let order = Order::Send(parcel, truth);
                    if let (Message::Positions { backfill: false, .. }, Some(report)) = (message, reports.last())
                        && let Some((picture, truth)) = self.picture(v, step.due_us, report, time)
                    {
                        self.hand_over(orders.try_send(Order::Send(picture, truth)));
                    }
                    if let (Message::Intruder(_), Some(address)) = (message, &self.options.jt808) {
                        let (intruder, queue) = mpsc::channel(1);
                        let wire = Terminal::new(&vehicle.phone, &vehicle.plate, vehicle.edition_2019);
                        let rng = Rng::named(self.options.seed, "intruder");
                        self.tasks.spawn(client::run(wire, self.link(address), queue, rng));
                        self.hand_over(intruder.try_send(order));
                    } else {
                        self.hand_over(orders.try_send(order));
                    }
                }
            }
        }
    }

    /// The picture that a vehicle with a camera takes now and then, and when its emergency button is pressed.
    fn picture(&mut self, v: usize, due_us: i64, report: &Report, time: &Time) -> Option<(Parcel, Vec<TruthLine>)> {
        let emergency = report.alarm_bits & 1 != 0;
        if !self.options.stories || (v % CAMERA_EVERY != CAMERA_EVERY / 2 && !emergency) {
            return None;
        }
        // Not all at once.
        let (n, due) = self.pictures.entry(v).or_insert((0, (v as i64 * 7 % 60) * 1_000_000));
        if due_us < *due {
            return None;
        }
        (*n, *due) = (*n + 1, due_us + PICTURE_EVERY_US);
        let vehicle = self.world.vehicles.get(v)?;
        let at = wire_second(report, time);
        let data = picture::jpeg(&format!("{} {at}", vehicle.phone), self.options.seed);
        let mut line = TruthLine::new(TruthKind::Sent, at);
        line.vehicle = Some(vehicle.phone.clone());
        line.picture = Some(Sha256::digest(&data).iter().map(|b| format!("{b:02x}")).collect());
        let event = if emergency { EVENT_ROBBERY } else { EVENT_TIMER };
        let position = Some(terminal::position(report, at));
        let media = Media { id: *n, kind: 0, format: 0, event, channel: 1, position, data: Some(data) };
        Some((Parcel::Picture(media), if self.truth.wanted() { vec![line] } else { Vec::new() }))
    }

    /// A link whose queue is full has been without its server for long: the message is lost, as it would be in a device, and counted.
    fn hand_over<T>(&self, outcome: Result<(), mpsc::error::TrySendError<T>>) {
        if outcome.is_err() {
            self.stats.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What a device's clock says at a sample: milliseconds, as loggers have.
fn device_time(sample: &Sample, time: &Time) -> Timestamp {
    time.stamp(sample.taken_us).floor_us(1_000).plus_us(sample.shift_us)
}

/// What a terminal's clock says at a report: whole seconds, as the wire has.
fn wire_second(report: &Report, time: &Time) -> Timestamp {
    time.stamp(report.taken_us).floor_us(1_000_000).plus_us(report.shift_us)
}

/// The JSON of INTERFACES: one object, or an array of several.
fn telemetry(device: &crate::world::Device, samples: &[Sample], backfill: bool, time: &Time) -> Vec<u8> {
    let object = |sample: &Sample| {
        let values: Map<String, Value> = device.points.iter().zip(&sample.values).map(|(p, v)| (p.code.clone(), json!(v))).collect();
        let mut object = json!({ "at": device_time(sample, time).to_string(), "values": values });
        if backfill {
            object["backfill"] = json!(true);
        }
        object
    };
    let payload = match samples {
        [one] => object(one),
        many => many.iter().map(object).collect(),
    };
    payload.to_string().into_bytes()
}

fn sent_values(device: &crate::world::Device, samples: &[Sample], backfill: bool, time: &Time) -> Vec<TruthLine> {
    let line = |sample: &Sample, (point, value): (&crate::world::Point, &f64)| {
        let mut line = TruthLine::new(TruthKind::Sent, device_time(sample, time));
        line.device = Some(device.code.clone());
        line.point = Some(point.code.clone());
        line.value = Some(*value);
        line.backfill = backfill;
        line.clock_bad_taken_at = (sample.shift_us != 0).then(|| time.stamp(sample.taken_us));
        line
    };
    samples.iter().flat_map(|s| device.points.iter().zip(&s.values).map(move |pair| line(s, pair))).collect()
}

fn sent_positions(phone: &str, reports: &[Report], backfill: bool, time: &Time) -> Vec<TruthLine> {
    let line = |report: &Report| {
        let mut line = TruthLine::new(TruthKind::Sent, wire_second(report, time));
        line.vehicle = Some(phone.to_owned());
        line.position = Some(TruthPosition {
            lon: f64::from(report.lon_e6) / 1e6,
            lat: f64::from(report.lat_e6) / 1e6,
            altitude_m: report.altitude_m,
            speed_kmh: f64::from(report.speed_dkmh) / 10.0,
            direction_deg: report.direction_deg,
            alarm_bits: report.alarm_bits,
            status_bits: report.status_bits,
        });
        line.untrue = report.untrue;
        line.driven_m = Some(report.driven_m as f64);
        line.backfill = backfill;
        line.clock_bad_taken_at = (report.shift_us != 0).then(|| time.stamp(report.taken_us));
        line
    };
    reports.iter().map(line).collect()
}

/// The lines of what should follow from a step.
fn expected(world: &World, step: &Step, time: &Time) -> Vec<TruthLine> {
    let line = |expect: &Expect| {
        let kind = match expect.what {
            Expected::Alarm { .. } => TruthKind::ExpectAlarm,
            Expected::Gap { .. } => TruthKind::ExpectGap,
            Expected::Event { .. } => TruthKind::ExpectEvent,
        };
        let mut line = TruthLine::new(kind, time.stamp(expect.at_us));
        let mut about = None;
        match &expect.what {
            Expected::Alarm { point, rule, bit, level } => {
                about = *point;
                line.rule = Some((*rule).to_owned());
                line.bit = *bit;
                line.level = Some(level.clone());
            }
            Expected::Gap { until_us } => line.until = Some(time.stamp(*until_us)),
            Expected::Event { event, point } => {
                about = *point;
                line.event = Some((*event).to_owned());
            }
        }
        match step.actor {
            Actor::Device(d) => {
                let device = &world.devices[d];
                line.device = Some(device.code.clone());
                line.point = about.and_then(|p| device.points.get(p)).map(|p| p.code.clone());
            }
            Actor::Vehicle(v) => line.vehicle = Some(world.vehicles[v].phone.clone()),
        }
        line
    };
    step.expect.iter().map(line).collect()
}

/// A clock that stands still.
struct Fixed(Timestamp);

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// The truth of the first `seconds` of a play as if every message had been acknowledged at once: for tests and dry runs. Nothing is sent.
pub fn rehearse(seed: u64, scale: Scale, stories: bool, origin: Timestamp, seconds: f64) -> Vec<TruthLine> {
    let world = World::new(seed, scale);
    let time = Time { clock: Arc::new(Fixed(origin)), origin, speed: 1.0 };
    let mut lines = Vec::new();
    for step in Script::new(&world, stories).take_while(|s| (s.due_us as f64) < seconds * 1e6) {
        for message in &step.messages {
            match (message, step.actor) {
                (Message::Telemetry { samples, backfill }, Actor::Device(d)) => {
                    lines.extend(sent_values(&world.devices[d], samples, *backfill, &time))
                }
                (Message::Positions { reports, backfill }, Actor::Vehicle(v)) => {
                    lines.extend(sent_positions(&world.vehicles[v].phone, reports, *backfill, &time));
                }
                (Message::Intruder(report), Actor::Vehicle(v)) => {
                    lines.extend(sent_positions(&world.vehicles[v].phone, &[*report], false, &time))
                }
                _ => {}
            }
        }
        lines.extend(expected(&world, &step, &time));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_tells_the_same_truth_twice() {
        let origin = Timestamp::parse("2026-03-01T00:00:00Z").unwrap();
        let scale = Scale { enterprises: 40, points: 300, vehicles: 20 };
        let tell = |seed| rehearse(seed, scale, true, origin, 400.0);
        let first = tell(9);
        assert!(first == tell(9));
        assert!(first != tell(10));
        let count = |kind| first.iter().filter(|l| l.kind == kind).count();
        assert!(
            count(TruthKind::Sent) > 10_000 && count(TruthKind::ExpectAlarm) >= 8 && count(TruthKind::ExpectGap) == 2,
            "{}",
            count(TruthKind::ExpectAlarm)
        );
        let far = first.iter().filter(|l| l.clock_bad_taken_at.is_some());
        assert!(far.clone().count() > 0);
        assert!(far.clone().all(|l| l.at.since_us(l.clock_bad_taken_at.unwrap()) > 7 * 3_600_000_000));
    }

    #[test]
    fn payloads_are_the_json_of_the_interface_with_exact_numbers() {
        let world = World::new(1, Scale { enterprises: 20, points: 100, vehicles: 0 });
        let origin = Timestamp::parse("2026-03-01T00:00:00Z").unwrap();
        let time = Time { clock: Arc::new(Fixed(origin)), origin, speed: 1.0 };
        let device = &world.devices[0];
        let sample = Sample { taken_us: 1_234_567, shift_us: 0, values: device.points.iter().map(|_| 0.1 + 0.2).collect() };
        let one: Value = serde_json::from_slice(&telemetry(device, std::slice::from_ref(&sample), false, &time)).unwrap();
        assert_eq!(one["at"], "2026-03-01T00:00:01.234000Z");
        assert_eq!(one["values"][&device.points[0].code].as_f64(), Some(0.1 + 0.2));
        assert!(one.get("backfill").is_none());
        let many: Value = serde_json::from_slice(&telemetry(device, &[sample.clone(), sample], true, &time)).unwrap();
        assert_eq!(many[1]["backfill"], true);
    }
}
