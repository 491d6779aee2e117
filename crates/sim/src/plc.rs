//! Controllers that are polled over Modbus TCP: what stands in their registers, what they answer, and what the server must then hold.
//!
//! A controller measures on ticks of its own and holds each value until the next; a poll sees whatever is held. So the truth is a list of
//! holds ("this value stood from here to there and was taken so often"), not a list of messages. Whether an answer was taken is known when
//! the next request comes on the same connection, which is exact while a poller has one request out (`modbus.in_flight_max` 1, the default).
//! Units, registers and figures are data (`packs/demo/plcs.toml`). Start at [`plcs`] and [`Plant::open`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anlan_model::modbus::{Forbidden, Register, Table, ValueType, WordOrder};
use anlan_model::noun::{Limits, LimitsSource};
use anlan_model::{Clock, Timestamp};
use anlan_protocols::modbus::codec::{Exception, Frame, Frames, Request, Response};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::lock;
use crate::rng::Rng;
use crate::signal::Signal;
use crate::story::ROUND_S;
use crate::truth::{Sink, TruthKind, TruthLine};
use crate::world::{Device, Enterprise, Levels, Point, World};

/// A controller of the invented city.
#[derive(Clone, Debug)]
pub struct Plc {
    /// Its device and points; the period is the interval of the poll.
    pub device: Device,
    /// Which gateway it stands behind, from 0; each has an address of its own.
    pub gateway: usize,
    /// Unit id.
    pub unit: u8,
    /// Seconds from one measurement to the next.
    pub tick_s: f64,
    /// Whether it falls silent once in a round.
    pub goes_silent: bool,
    /// Unnamed addresses that one read may cover.
    pub gap: u16,
    /// Addresses that answer every read with an exception.
    pub forbidden: Vec<Forbidden>,
    /// Where each point stands, in the order of the points.
    pub registers: Vec<Register>,
}

#[derive(Deserialize)]
struct PlcsFile {
    limits_document: String,
    plc: Vec<PlcRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlcRow {
    sector: String,
    code: String,
    name: String,
    gateway: usize,
    unit: u8,
    interval_s: f64,
    tick_s: f64,
    gap: u16,
    #[serde(default)]
    goes_silent: bool,
    #[serde(default)]
    forbidden: Vec<Forbidden>,
    registers: Vec<RegisterRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegisterRow {
    code: String,
    kind: String,
    name: String,
    site: String,
    unit: String,
    table: Table,
    address: u16,
    #[serde(rename = "type")]
    value_type: ValueType,
    #[serde(default = "abcd")]
    order: WordOrder,
    bit: Option<u8>,
    #[serde(default = "one")]
    scale: f64,
    #[serde(default)]
    offset: f64,
    mean: f64,
    spread: f64,
    decimals: u8,
    range_low: f64,
    range_high: f64,
    h: Option<f64>,
    hh: Option<f64>,
    l: Option<f64>,
    ll: Option<f64>,
    #[serde(default)]
    deadband: f64,
}

fn abcd() -> WordOrder {
    WordOrder::Abcd
}

fn one() -> f64 {
    1.0
}

const PLCS: &str = include_str!("../../../packs/demo/plcs.toml");

/// The controllers of a city: each stands at the first enterprise of its sector, and is left out where there is none.
///
/// # Panics
/// If the built-in pack file cannot be read; a test reads it.
pub fn plcs(enterprises: &[Enterprise]) -> Vec<Plc> {
    let file: PlcsFile = toml::from_str(PLCS).expect("the built-in controllers are TOML, see the test");
    let document = file.limits_document;
    file.plc.into_iter().filter_map(|row| plc(row, &document, enterprises)).collect()
}

fn plc(row: PlcRow, document: &str, enterprises: &[Enterprise]) -> Option<Plc> {
    let enterprise = enterprises.iter().position(|e| e.sector == row.sector)?;
    let point = |r: &RegisterRow| {
        let limits = Limits { hh: r.hh, h: r.h, l: r.l, ll: r.ll, deadband: r.deadband, ..Limits::default() };
        let has_own = r.hh.or(r.h).or(r.l).or(r.ll).is_some();
        Point {
            code: r.code.clone(),
            name: r.name.clone(),
            site: r.site.clone(),
            kind: r.kind.clone(),
            unit: r.unit.clone(),
            range: (r.range_low, r.range_high),
            limits_source: has_own.then(|| LimitsSource { document: document.to_owned(), clause: r.code.clone() }),
            effective: limits.clone(),
            limits,
            mean: r.mean,
            spread: r.spread,
            decimals: r.decimals,
        }
    };
    let register = |r: &RegisterRow| Register {
        code: r.code.clone(),
        table: r.table,
        address: r.address,
        kind: r.value_type,
        bit: r.bit,
        order: r.order,
        scale: r.scale,
        offset: r.offset,
        unit: r.unit.clone(),
        interval_ms: (row.interval_s * 1e3) as u64,
    };
    Some(Plc {
        device: Device {
            code: row.code,
            name: row.name,
            enterprise,
            template: "plc".to_owned(),
            period_s: row.interval_s,
            phase_us: 0,
            points: row.registers.iter().map(point).collect(),
        },
        gateway: row.gateway,
        unit: row.unit,
        tick_s: row.tick_s,
        goes_silent: row.goes_silent,
        gap: row.gap,
        forbidden: row.forbidden,
        registers: row.registers.iter().map(register).collect(),
    })
}

/// The words of `value` in `register`, and the value that can be read back from them: a register has steps of its own.
fn write(register: &Register, value: f64) -> (Vec<u16>, f64) {
    let raw = (value - register.offset) / register.scale;
    let whole = raw.round();
    // Float to integer casts stop at the ends of the type, as an instrument at the ends of its range does.
    let (bits, read) = match register.kind {
        ValueType::Bool => (u64::from(value >= 0.5), f64::from(u8::from(value >= 0.5))),
        ValueType::U16 => (u64::from(whole as u16), f64::from(whole as u16)),
        ValueType::I16 => (u64::from((whole as i16).cast_unsigned()), f64::from(whole as i16)),
        ValueType::U32 => (u64::from(whole as u32), f64::from(whole as u32)),
        ValueType::I32 => (u64::from((whole as i32).cast_unsigned()), f64::from(whole as i32)),
        ValueType::U64 => (whole as u64, whole as u64 as f64),
        ValueType::I64 => ((whole as i64).cast_unsigned(), whole as i64 as f64),
        ValueType::F32 => (u64::from((raw as f32).to_bits()), f64::from(raw as f32)),
        ValueType::F64 => (raw.to_bits(), raw),
    };
    let read = read * register.scale + register.offset;
    if register.kind == ValueType::Bool {
        return (vec![(bits as u16) << register.bit.unwrap_or(0).min(15)], read);
    }
    let n = register.kind.width();
    let mut words: Vec<u16> = (0..n).map(|i| (bits >> (16 * (n - 1 - i))) as u16).collect();
    if matches!(register.order, WordOrder::Cdab | WordOrder::Dcba) {
        words.reverse();
    }
    if matches!(register.order, WordOrder::Badc | WordOrder::Dcba) {
        words.iter_mut().for_each(|w| *w = w.swap_bytes());
    }
    (words, read)
}

/// A value from when it was measured until another one was.
#[derive(Clone, Debug)]
struct Hold {
    value: f64,
    since: Timestamp,
    /// Answers that the poller has taken.
    taken: Arc<AtomicU64>,
}

/// Seconds of a round between which a unit that does so is silent.
const SILENT_S: (i64, i64) = (240, 420);

/// A controller at work.
struct Unit {
    plc: Plc,
    signals: Vec<Signal>,
    held: Vec<Hold>,
    /// Holds that are over, with their end; told one tick later, when their last answer is known to be taken or lost.
    over: Vec<(usize, Hold, Timestamp)>,
    tick: i64,
    answered_at: Option<Timestamp>,
    /// The last answer before the silence, while it lasts.
    silent_since: Option<Option<Timestamp>>,
    is_silent: bool,
    lines: Vec<TruthLine>,
}

impl Unit {
    fn new(plc: Plc, seed: u64, now: Timestamp) -> Self {
        let stream = |p: &Point| Rng::named(seed, &format!("{}/{}", plc.device.code, p.code));
        let mut signals: Vec<Signal> = plc.device.points.iter().map(|p| Signal::new(p.mean, p.spread, p.decimals, stream(p))).collect();
        let held = signals
            .iter_mut()
            .zip(&plc.registers)
            .map(|(signal, register)| Hold { value: write(register, signal.sample()).1, since: now, taken: Arc::default() })
            .collect();
        Self { plc, signals, held, over: Vec::new(), tick: 0, answered_at: None, silent_since: None, is_silent: false, lines: Vec::new() }
    }

    /// Measures if a tick has come. `played_us` is how long the play has lasted.
    fn advance(&mut self, now: Timestamp, played_us: i64, with_stories: bool) {
        let second = played_us.div_euclid(1_000_000).rem_euclid(ROUND_S);
        self.is_silent = with_stories && self.plc.goes_silent && (SILENT_S.0..SILENT_S.1).contains(&second);
        if self.is_silent && self.silent_since.is_none() {
            self.silent_since = Some(self.answered_at);
        }
        let tick = played_us.div_euclid((self.plc.tick_s * 1e6) as i64);
        if tick <= self.tick {
            return;
        }
        self.tick = tick;
        for (point, hold, until) in std::mem::take(&mut self.over) {
            let line = self.line(point, &hold, until);
            self.lines.push(line);
        }
        for point in 0..self.held.len() {
            let value = write(&self.plc.registers[point], self.signals[point].sample()).1;
            if value.to_bits() != self.held[point].value.to_bits() {
                let before = std::mem::replace(&mut self.held[point], Hold { value, since: now, taken: Arc::default() });
                self.over.push((point, before, now));
            }
        }
    }

    fn line(&self, point: usize, hold: &Hold, until: Timestamp) -> TruthLine {
        TruthLine {
            device: Some(self.plc.device.code.clone()),
            point: Some(self.plc.registers[point].code.clone()),
            value: Some(hold.value),
            until: Some(until),
            taken: Some(hold.taken.load(Ordering::Relaxed)),
            ..TruthLine::new(TruthKind::Held, hold.since)
        }
    }

    /// Answers a read; the second part counts the values in it that the poller takes with it.
    fn answer(&mut self, request: &Request, now: Timestamp) -> (Response, Vec<Arc<AtomicU64>>) {
        self.heard_again(now);
        self.answered_at = Some(now);
        let refuse = |code| (Response::Exception { function: request.function(), code: Exception(code) }, Vec::new());
        let Request::Read { table, start, count } = *request else { return refuse(1) };
        let asked = u32::from(start)..u32::from(start) + u32::from(count);
        let mut image: BTreeMap<u32, u16> = BTreeMap::new();
        let mut inside = Vec::new();
        for (register, hold) in self.plc.registers.iter().zip(&self.held).filter(|(r, _)| r.table == table) {
            let words = write(register, hold.value).0;
            let span = u32::from(register.address)..u32::from(register.address) + words.len() as u32;
            for (address, word) in span.clone().zip(words) {
                *image.entry(address).or_default() |= word;
            }
            if asked.contains(&span.start) && span.end <= asked.end {
                inside.push(hold.taken.clone());
            }
        }
        let walled = |f: &Forbidden| f.table == table && u32::from(f.from) < asked.end && u32::from(f.to) >= asked.start;
        let known = image.first_key_value().zip(image.last_key_value()).map(|((first, _), (last, _))| *first..*last + 1);
        // Between its registers a controller holds zeros, beyond them nothing; 2 = illegal data address.
        if self.plc.forbidden.iter().any(walled) || known.is_none_or(|known| asked.start < known.start || asked.end > known.end) {
            return refuse(2);
        }
        let word = |address: u32| image.get(&address).copied().unwrap_or_default();
        let response = if table.is_bits() {
            let mut bytes = vec![0_u8; usize::from(count).div_ceil(8)];
            for (i, address) in asked.enumerate() {
                bytes[i / 8] |= ((word(address) & 1) as u8) << (i % 8);
            }
            Response::Bits(bytes)
        } else {
            Response::Registers(asked.map(word).collect())
        };
        (response, inside)
    }

    /// After a silence: what the server should have made of it.
    fn heard_again(&mut self, now: Timestamp) {
        let Some(Some(since)) = self.silent_since.take() else { return };
        let about = |kind, at| TruthLine { device: Some(self.plc.device.code.clone()), ..TruthLine::new(kind, at) };
        self.lines.push(TruthLine { until: Some(now), ..about(TruthKind::ExpectGap, since) });
        for (event, at) in [("poll_failed", since), ("poll_restored", now)] {
            self.lines.push(TruthLine { event: Some(event.to_owned()), ..about(TruthKind::ExpectEvent, at) });
        }
        let levels = Levels::of_base_pack();
        let period_us = (self.plc.device.period_s * 1e6) as i64;
        let stale_at = since.plus_us((self.plc.device.period_s * levels.stale_periods * 1e6) as i64);
        // A silence that only just reaches the limit may or may not be noticed; say nothing then.
        if now.since_us(stale_at) > period_us {
            let stale = |r: &Register| TruthLine {
                point: Some(r.code.clone()),
                rule: Some("stale".to_owned()),
                level: Some(levels.of("stale").to_owned()),
                ..about(TruthKind::ExpectAlarm, stale_at)
            };
            self.lines.extend(self.plc.registers.iter().map(stale));
        }
    }

    /// Everything that can be told by `now`; nothing is measured afterwards.
    fn close(&mut self, now: Timestamp) -> Vec<TruthLine> {
        let mut lines = std::mem::take(&mut self.lines);
        lines.extend(self.over.drain(..).collect::<Vec<_>>().iter().map(|(point, hold, until)| self.line(*point, hold, *until)));
        lines.extend(self.held.iter().enumerate().map(|(point, hold)| self.line(point, hold, now)));
        lines
    }
}

/// How a plant behaves.
#[derive(Clone)]
pub struct PlantOptions {
    /// Same seed, same values.
    pub seed: u64,
    /// Whether a unit falls silent once in a round.
    pub stories: bool,
    /// Play seconds per second of the clock.
    pub speed: f64,
    /// Domain clock; must be the one the poller stamps by.
    pub clock: Arc<dyn Clock>,
    /// Where the truth goes.
    pub truth: Sink,
}

/// The controllers of a city behind their gateways, each gateway a socket on loopback.
pub struct Plant {
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

struct Shared {
    options: PlantOptions,
    origin: Timestamp,
    gateways: Vec<Mutex<Vec<Unit>>>,
}

/// Connections of one gateway at once; one more is closed at once, as small gateways do.
const CONNECTIONS_MAX: usize = 4;
/// How often a controller looks at the time while nobody asks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl Plant {
    /// Opens one loopback port per gateway and starts to measure. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// If a port cannot be opened.
    pub async fn open(world: &World, options: PlantOptions) -> std::io::Result<Self> {
        let origin = options.clock.now();
        let n_gateways = world.plcs.iter().map(|p| p.gateway + 1).max().unwrap_or(0);
        let units = |gateway: usize| {
            let here = world.plcs.iter().filter(|p| p.gateway == gateway);
            Mutex::new(here.map(|p| Unit::new(p.clone(), options.seed, origin)).collect())
        };
        let gateways = (0..n_gateways).map(units).collect();
        let shared = Arc::new(Shared { options, origin, gateways });
        let (mut addresses, mut tasks, stop) = (Vec::new(), JoinSet::new(), CancellationToken::new());
        for gateway in 0..n_gateways {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            addresses.push(listener.local_addr()?);
            tasks.spawn(shared.clone().listen(gateway, listener, stop.child_token()));
        }
        Ok(Self { addresses, shared, stop, tasks })
    }

    /// Where each gateway listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Closes the sockets and tells the rest of the truth.
    pub async fn close(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
        let now = self.shared.options.clock.now();
        for gateway in &self.shared.gateways {
            let lines = lock(gateway).iter_mut().flat_map(|unit| unit.close(now)).collect();
            self.shared.options.truth.put(lines).await;
        }
    }
}

impl Shared {
    async fn listen(self: Arc<Self>, gateway: usize, listener: TcpListener, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => match accepted {
                    Ok((socket, _)) if connections.len() < CONNECTIONS_MAX => {
                        connections.spawn(self.clone().serve(gateway, socket));
                    }
                    // Too many, or the machine is short of something: the next look comes soon enough.
                    Ok(_) | Err(_) => {}
                },
                Some(_) = connections.join_next() => {}
                _ = look.tick() => self.tell(gateway).await,
            }
        }
        connections.shutdown().await;
    }

    fn advance(&self, gateway: usize) -> Timestamp {
        let now = self.options.clock.now();
        let played_us = (now.since_us(self.origin) as f64 * self.options.speed) as i64;
        lock(&self.gateways[gateway]).iter_mut().for_each(|unit| unit.advance(now, played_us, self.options.stories));
        now
    }

    async fn tell(&self, gateway: usize) {
        self.advance(gateway);
        let lines = lock(&self.gateways[gateway]).iter_mut().flat_map(|unit| std::mem::take(&mut unit.lines)).collect();
        self.options.truth.put(lines).await;
    }

    async fn serve(self: Arc<Self>, gateway: usize, mut socket: TcpStream) {
        _ = socket.set_nodelay(true);
        let (mut frames, mut buffer) = (Frames::default(), [0; 512]);
        let mut unproven: Vec<Arc<AtomicU64>> = Vec::new();
        while let Ok(n) = socket.read(&mut buffer).await {
            if n == 0 {
                return;
            }
            // Who asks again has the last answer.
            unproven.drain(..).for_each(|taken| _ = taken.fetch_add(1, Ordering::Relaxed));
            frames.push(&buffer[..n]);
            let mut out = Vec::new();
            for frame in frames.by_ref() {
                let Ok(frame) = frame else { return };
                if let Some((pdu, taken)) = self.answer(gateway, &frame) {
                    unproven.extend(taken);
                    Frame { pdu, ..frame }.encode(&mut out);
                }
            }
            if socket.write_all(&out).await.is_err() {
                return;
            }
        }
    }

    /// The PDU of an answer; `None`: that unit does not speak.
    fn answer(&self, gateway: usize, frame: &Frame) -> Option<(Vec<u8>, Vec<Arc<AtomicU64>>)> {
        let now = self.advance(gateway);
        let mut units = lock(&self.gateways[gateway]);
        let unit = units.iter_mut().find(|u| u.plc.unit == frame.unit && !u.is_silent)?;
        let Ok(request) = Request::decode(&frame.pdu) else {
            let function = frame.pdu.first().copied().unwrap_or_default();
            return Some((vec![function | 0x80, 1], Vec::new()));
        };
        let (response, taken) = unit.answer(&request, now);
        Some((response.encode(&request), taken))
    }
}

#[cfg(test)]
mod tests {
    use anlan_model::modbus::ModbusMap;
    use anlan_protocols::modbus::plan;

    use super::*;
    use crate::world::Scale;

    fn world() -> World {
        World::new(1, Scale { enterprises: 20, points: 0, vehicles: 0 })
    }

    fn map(plc: &Plc) -> ModbusMap {
        let address = ([127, 0, 0, 1], 502).into();
        let (gap, forbidden, registers) = (plc.gap, plc.forbidden.clone(), plc.registers.clone());
        ModbusMap { address, unit: plc.unit, timeout_ms: 1_000, gap, forbidden, registers }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::parse("2026-01-01T00:00:00Z").unwrap().plus_us(second * 1_000_000)
    }

    #[test]
    fn every_planned_read_of_every_unit_brings_the_values_that_are_held() {
        let world = world();
        assert_eq!(world.plcs.len(), 3);
        for plc in &world.plcs {
            assert!(plc.device.name.starts_with("演示"));
            let mut unit = Unit::new(plc.clone(), 7, at(0));
            for second in [0, 12, 25, 300] {
                unit.advance(at(second), second * 1_000_000, false);
                let mut seen = 0;
                for read in plan::reads(&map(plc)) {
                    let (response, taken) = unit.answer(&read.request, at(second));
                    assert_eq!(taken.len(), read.registers.len(), "{:?}", read.request);
                    let response = Response::decode(&response.encode(&read.request)).unwrap();
                    assert!(response.answers(&read.request));
                    for &i in &read.registers {
                        let value = plan::value(&plc.registers[i], &read.request, &response);
                        assert_eq!(
                            value.map(f64::to_bits),
                            Some(unit.held[i].value.to_bits()),
                            "{} {}",
                            plc.device.code,
                            plc.registers[i].code
                        );
                        seen += 1;
                    }
                }
                assert_eq!(seen, plc.registers.len());
            }
        }
    }

    #[test]
    fn limits_are_not_touched_and_registers_can_hold_the_range() {
        for plc in world().plcs {
            for (p, register) in plc.device.points.iter().zip(&plc.registers) {
                assert!(p.effective.h.is_none_or(|h| p.mean + p.spread < h - p.effective.deadband), "{}", p.code);
                assert!(p.effective.l.is_none_or(|l| p.mean - p.spread > l + p.effective.deadband), "{}", p.code);
                for end in [p.mean - p.spread, p.mean + p.spread] {
                    let step = if register.kind == ValueType::Bool { 1.0 } else { 10_f64.powi(-i32::from(p.decimals)) };
                    assert!((write(register, end).1 - end).abs() <= step, "{} cannot hold {end}", p.code);
                }
            }
        }
    }

    #[test]
    fn what_is_forbidden_or_unknown_is_refused() {
        let farm = world().plcs.into_iter().find(|p| !p.forbidden.is_empty()).unwrap();
        let mut unit = Unit::new(farm, 1, at(0));
        let mut code = |start, count| match unit.answer(&Request::Read { table: Table::Holding, start, count }, at(1)).0 {
            Response::Exception { code, .. } => code.0,
            _ => 0,
        };
        assert_eq!([code(0, 4), code(12, 4), code(14, 1), code(20, 1), code(21, 1), code(900, 1)], [0, 2, 2, 0, 2, 2]);
    }

    #[test]
    fn a_silence_is_a_gap_two_events_and_stale_points_and_holds_do_not_overlap() {
        let silent = world().plcs.into_iter().find(|p| p.goes_silent).unwrap();
        let (mut unit, n) = (Unit::new(silent, 1, at(0)), 4);
        let request = Request::Read { table: Table::Input, start: 100, count: 4 };
        let mut lines = Vec::new();
        for second in 0..600 {
            unit.advance(at(second), second * 1_000_000, true);
            if second % 5 == 0 && !unit.is_silent {
                unit.answer(&request, at(second)).1.iter().for_each(|t| _ = t.fetch_add(1, Ordering::Relaxed));
            }
            lines.append(&mut unit.lines);
        }
        lines.extend(unit.close(at(600)));
        let of = |kind| lines.iter().filter(move |l| l.kind == kind);
        let gap = of(TruthKind::ExpectGap).next().unwrap();
        assert_eq!((gap.at, gap.until), (at(235), Some(at(420))));
        assert_eq!(of(TruthKind::ExpectEvent).count(), 2);
        assert_eq!(of(TruthKind::ExpectAlarm).filter(|l| l.at == at(250)).count(), n);
        for point in ["FI-1", "PI-1"] {
            let holds: Vec<_> = of(TruthKind::Held).filter(|l| l.point.as_deref() == Some(point)).collect();
            assert!(holds.windows(2).all(|w| w[0].until == Some(w[1].at) && w[0].value != w[1].value));
            assert_eq!((holds[0].at, holds.last().unwrap().until), (at(0), Some(at(600))));
            assert_eq!(holds.iter().filter_map(|l| l.taken).sum::<u64>(), (240 + 180) / 5);
        }
    }
}
