//! The play as a stream of steps: who sends what when, and what the server should make of it. Equal for equal world and options.
//!
//! Pure: time is microseconds since the curtain rose, nothing is sent and no clock is read. [`crate::stage`] performs it.
//! Start at [`Script::new`]; it is an endless iterator in order of time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use anlan_model::noun::Limits;

use crate::fleet::Vehicle;
use crate::rng::Rng;
use crate::signal::{Signal, quantize};
use crate::story::{Actor, ROUND_S, Story, What, stories};
use crate::world::World;

/// Samples and positions that a silent actor remembers; beyond, it forgets the oldest as a real logger does.
const MEMORY_MAX: usize = 2_000;
/// Samples of one back-fill message over MQTT: some tens of kilobytes.
const BACKFILL_SAMPLES: usize = 50;
/// Positions of one 0x0704: 20 × about 45 bytes stay below the 1,023 bytes of a frame.
const BACKFILL_REPORTS: usize = 20;

/// One step of the play.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// When, microseconds since the start.
    pub due_us: i64,
    /// Who.
    pub actor: Actor,
    /// `Some(false)`: the connection drops and stays down; `Some(true)`: it comes back, before the messages are sent.
    pub power: Option<bool>,
    /// What is sent, in this order.
    pub messages: Vec<Message>,
    /// What the server should say once the messages are kept.
    pub expect: Vec<Expect>,
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Values of a device.
    Telemetry {
        /// In order of time.
        samples: Vec<Sample>,
        /// Marked as back-fill.
        backfill: bool,
    },
    /// Positions of a vehicle: one is a 0x0200, several (or back-fill) a 0x0704.
    Positions {
        /// In order of time.
        reports: Vec<Report>,
        /// 0x0704 type 1.
        backfill: bool,
    },
    /// One position over a second connection of the same number.
    Intruder(Report),
}

/// All points of a device at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// When it was measured.
    pub taken_us: i64,
    /// How fast the device's clock is.
    pub shift_us: i64,
    /// In the order of the device's points.
    pub values: Vec<f64>,
}

/// One position of a vehicle, in the units of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// When it was taken.
    pub taken_us: i64,
    /// How fast the terminal's clock is.
    pub shift_us: i64,
    /// 1e-6 degrees east.
    pub lon_e6: i32,
    /// 1e-6 degrees north.
    pub lat_e6: i32,
    /// Metres.
    pub altitude_m: u16,
    /// Tenths of km/h.
    pub speed_dkmh: u16,
    /// Degrees from north.
    pub direction_deg: u16,
    /// Alarm bits of JT/T 808.
    pub alarm_bits: u32,
    /// Status bits of JT/T 808.
    pub status_bits: u32,
    /// Item 0x01, tenths of a kilometre.
    pub odometer_dkm: u32,
    /// A fix far from the road.
    pub untrue: bool,
    /// What was really driven, metres.
    pub driven_m: u64,
}

/// What should follow.
#[derive(Clone, Debug, PartialEq)]
pub struct Expect {
    /// When it begins.
    pub at_us: i64,
    /// What.
    pub what: Expected,
}

/// What should follow.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// An alarm.
    Alarm {
        /// Index of the point on the device; `None` for a vehicle.
        point: Option<usize>,
        /// Kind of rule: `hh`, `h`, `l`, `ll`, `stale`, `terminal_bit`, `overspeed`, `flat_line`, `combination`.
        rule: &'static str,
        /// Terminal bit.
        bit: Option<u8>,
        /// Level by the base pack.
        level: String,
    },
    /// No live data until then.
    Gap {
        /// End.
        until_us: i64,
    },
    /// A data-quality event: `clock_offset`, `taken_over`, `drift`.
    Event {
        /// Its kind.
        event: &'static str,
        /// Index of the point, if it is about one.
        point: Option<usize>,
    },
}

/// The endless stream of steps.
pub struct Script<'w> {
    world: &'w World,
    with_stories: bool,
    round: Option<i64>,
    stories: HashMap<Actor, Vec<Story>>,
    devices: Vec<DeviceState>,
    vehicles: Vec<VehicleState>,
    queue: BinaryHeap<Reverse<(i64, Actor)>>,
}

struct DeviceState {
    signals: Vec<Signal>,
    standing: Vec<[bool; 4]>,
    /// Whether the points of its combination are high together.
    combined: bool,
    /// The value that a point repeats, since when, and the newest sample of it.
    stuck: HashMap<usize, (f64, i64, i64)>,
    memory: VecDeque<Sample>,
    silent: bool,
    shifted: bool,
    last_sent_us: Option<i64>,
}

struct VehicleState {
    rng: Rng,
    driven_m: f64,
    pace: f64,
    bits: u32,
    over: bool,
    memory: VecDeque<Report>,
    silent: bool,
    shifted: bool,
    last_sent_us: Option<i64>,
}

impl<'w> Script<'w> {
    /// The play of `world`; without stories nothing ever happens, which is what a load test wants.
    pub fn new(world: &'w World, with_stories: bool) -> Self {
        let devices: Vec<DeviceState> = world
            .devices
            .iter()
            .map(|d| DeviceState {
                signals: d
                    .points
                    .iter()
                    .map(|p| Signal::new(p.mean, p.spread, p.decimals, Rng::named(world.seed, &format!("{}/{}", d.code, p.code))))
                    .collect(),
                standing: vec![[false; 4]; d.points.len()],
                combined: false,
                stuck: HashMap::new(),
                memory: VecDeque::new(),
                silent: false,
                shifted: false,
                last_sent_us: None,
            })
            .collect();
        let vehicles: Vec<VehicleState> = world
            .vehicles
            .iter()
            .map(|v| VehicleState {
                rng: Rng::named(world.seed, &v.phone),
                driven_m: v.start_m,
                pace: 1.0,
                bits: 0,
                over: false,
                memory: VecDeque::new(),
                silent: false,
                shifted: false,
                last_sent_us: None,
            })
            .collect();
        let first_devices =
            world.devices.iter().enumerate().filter(|(_, d)| !d.points.is_empty()).map(|(i, d)| Reverse((d.phase_us, Actor::Device(i))));
        let first_vehicles = world.vehicles.iter().enumerate().map(|(i, v)| Reverse((v.phase_us, Actor::Vehicle(i))));
        let queue = first_devices.chain(first_vehicles).collect();
        Self { world, with_stories, round: None, stories: HashMap::new(), devices, vehicles, queue }
    }

    /// The incidents of `actor` that stand at `round_us`.
    fn now(&self, actor: Actor, round_us: i64) -> Vec<Story> {
        let all = self.stories.get(&actor).map_or(&[][..], Vec::as_slice);
        all.iter().filter(|s| s.from_us <= round_us && round_us < s.until_us).copied().collect()
    }

    fn device(&mut self, d: usize, due_us: i64, round_us: i64) -> Step {
        let actor = Actor::Device(d);
        let running = self.now(actor, round_us);
        let device = &self.world.devices[d];
        let levels = &self.world.levels;
        let state = &mut self.devices[d];
        let mut step = Step { due_us, actor, power: None, messages: Vec::new(), expect: Vec::new() };
        let mut expect = |at_us, what| step.expect.push(Expect { at_us, what });

        let mut values: Vec<f64> = state.signals.iter_mut().map(Signal::sample).collect();
        let mut shift_us = 0;
        let mut silent = false;
        let mut stuck_now = Vec::new();
        for story in &running {
            match story.what {
                What::Ramp { point, to } => {
                    let p = &device.points[point];
                    values[point] = quantize(p.mean + (to - p.mean) * story.height(round_us), p.decimals);
                }
                What::Stuck { point } => {
                    let held = state.stuck.entry(point).or_insert((values[point], due_us, due_us));
                    (values[point], held.2) = (held.0, due_us);
                    stuck_now.push(point);
                }
                What::PowerLoss => silent = true,
                What::ClockFast { shift_s } => shift_us = shift_s * 1_000_000,
                What::Overspeed { .. } | What::Teleport | What::Emergency | What::Bits { .. } | What::SecondConnection => {}
            }
        }
        state.stuck.retain(|point, (_, since_us, until_us)| {
            let goes_on = stuck_now.contains(point);
            let limit_s = levels.flat_after_s(&device.points[*point].kind, device.period_s);
            // One that only just reaches the limit may or may not be noticed; say nothing then.
            let limit_us = limit_s.map(|s| ((s + device.period_s) * 1e6) as i64);
            if !goes_on && limit_us.is_some_and(|limit_us| *until_us - *since_us > limit_us) {
                let level = levels.of("flat_line").to_owned();
                expect(*since_us, Expected::Alarm { point: Some(*point), rule: "flat_line", bit: None, level });
            }
            goes_on
        });
        let sample = Sample { taken_us: due_us, shift_us, values };
        if silent {
            step.power = (!state.silent).then_some(false);
            state.silent = true;
            if state.memory.len() == MEMORY_MAX {
                state.memory.pop_front();
            }
            state.memory.push_back(sample);
            return step;
        }
        if std::mem::take(&mut state.silent) {
            step.power = Some(true);
            let missed: Vec<Sample> = state.memory.drain(..).collect();
            for part in missed.chunks(BACKFILL_SAMPLES) {
                step.messages.push(Message::Telemetry { samples: part.to_vec(), backfill: true });
            }
            if let Some(since_us) = state.last_sent_us {
                expect(since_us, Expected::Gap { until_us: due_us });
                let stale_us = since_us + (device.period_s * levels.stale_periods * 1e6) as i64;
                // A silence that only just reaches the limit may or may not be noticed; say nothing then.
                if due_us > stale_us + (device.period_s * 1e6) as i64 {
                    for point in 0..device.points.len() {
                        expect(
                            stale_us,
                            Expected::Alarm { point: Some(point), rule: "stale", bit: None, level: levels.of("stale").to_owned() },
                        );
                    }
                }
            }
        }
        let shifted = shift_us != 0;
        if shifted && !state.shifted {
            expect(due_us, Expected::Event { event: "clock_offset", point: None });
        }
        state.shifted = shifted;
        for (point, value) in sample.values.iter().enumerate() {
            for rule in crossed(&device.points[point].effective, *value, &mut state.standing[point]) {
                expect(due_us, Expected::Alarm { point: Some(point), rule, bit: None, level: levels.of(rule).to_owned() });
            }
        }
        if let Some(combination) = self.world.combinations.iter().find(|c| c.device == d) {
            // [`crossed`] remembers hh, h, l, ll.
            let together = combination.points.iter().all(|&point| state.standing[point][1]);
            if together && !state.combined {
                let (point, level) = (combination.points.first().copied(), combination.level.clone());
                expect(due_us, Expected::Alarm { point, rule: "combination", bit: None, level });
            }
            state.combined = together;
        }
        state.last_sent_us = Some(due_us);
        step.messages.push(Message::Telemetry { samples: vec![sample], backfill: false });
        step
    }

    fn vehicle(&mut self, v: usize, due_us: i64, round_us: i64) -> Step {
        let actor = Actor::Vehicle(v);
        let running = self.now(actor, round_us);
        let vehicle = &self.world.vehicles[v];
        let levels = &self.world.levels;
        let route = &self.world.routes[vehicle.route];
        let state = &mut self.vehicles[v];
        let mut step = Step { due_us, actor, power: None, messages: Vec::new(), expect: Vec::new() };
        let mut expect = |at_us, what| step.expect.push(Expect { at_us, what });

        // The pace wanders between 0.6 and 1.25 of the cruising speed, which stays below the limit (cruise ≤ 0.7 of it).
        state.pace = (state.pace + 0.1 * (1.0 - state.pace) + 0.05 * state.rng.normal()).clamp(0.6, 1.25);
        let mut speed_kmh = quantize(vehicle.cruise_kmh * state.pace, 1);
        let (mut bits, mut shift_us, mut silent, mut leap, mut intruder) = (0_u32, 0, false, false, false);
        for story in &running {
            match story.what {
                What::Overspeed { over_kmh } => {
                    speed_kmh = vehicle.speed_limit_kmh + over_kmh;
                    bits |= 1 << 1;
                }
                What::Emergency => bits |= 1,
                What::Bits { bits: more } => bits |= more,
                What::ClockFast { shift_s } => shift_us = shift_s * 1_000_000,
                What::PowerLoss => silent = true,
                What::Teleport => leap = true,
                What::SecondConnection => intruder = true,
                What::Ramp { .. } | What::Stuck { .. } => {}
            }
        }
        state.driven_m += speed_kmh / 3.6 * vehicle.period_s;
        let (mut place, heading) = route.at(state.driven_m);
        if leap {
            // A multipath fix: 1.5 degrees are 166 km, which no vehicle drives in one period.
            place.lat += 1.5;
        }
        let report = Report {
            taken_us: due_us,
            shift_us,
            lon_e6: (place.lon * 1e6).round() as i32,
            lat_e6: (place.lat * 1e6).round() as i32,
            // The plateau of Yuxi; the map knows no heights, so the hills are invented too.
            altitude_m: (1_650.0 + 120.0 * (state.driven_m / 4_000.0).sin()) as u16,
            speed_dkmh: (speed_kmh * 10.0).round() as u16,
            direction_deg: (heading.round() as u16) % 360,
            alarm_bits: bits,
            status_bits: STATUS_DRIVING,
            odometer_dkm: ((state.driven_m / 100.0) as u32).wrapping_add(odometer_start(vehicle)),
            untrue: leap,
            driven_m: state.driven_m as u64,
        };
        if silent {
            step.power = (!state.silent).then_some(false);
            state.silent = true;
            if state.memory.len() == MEMORY_MAX {
                state.memory.pop_front();
            }
            state.memory.push_back(report);
            return step;
        }
        if std::mem::take(&mut state.silent) {
            step.power = Some(true);
            let missed: Vec<Report> = state.memory.drain(..).collect();
            for part in missed.chunks(BACKFILL_REPORTS) {
                step.messages.push(Message::Positions { reports: part.to_vec(), backfill: true });
            }
            if let Some(since_us) = state.last_sent_us {
                expect(since_us, Expected::Gap { until_us: due_us });
            }
        }
        let shifted = shift_us != 0;
        if shifted && !state.shifted {
            expect(due_us, Expected::Event { event: "clock_offset", point: None });
        }
        state.shifted = shifted;
        if leap {
            expect(due_us, Expected::Event { event: "drift", point: None });
        }
        for bit in 0..32_u8 {
            let risen = bits & !state.bits & (1 << bit) != 0;
            if let (true, Some((_, level))) = (risen, levels.bit(bit)) {
                expect(due_us, Expected::Alarm { point: None, rule: "terminal_bit", bit: Some(bit), level: level.to_owned() });
            }
        }
        state.bits = bits;
        let over = speed_kmh > vehicle.speed_limit_kmh;
        if over && !state.over {
            expect(due_us, Expected::Alarm { point: None, rule: "overspeed", bit: None, level: levels.of("overspeed").to_owned() });
        }
        state.over = over;
        state.last_sent_us = Some(due_us);
        if intruder {
            expect(due_us, Expected::Event { event: "taken_over", point: None });
            step.messages.push(Message::Intruder(report));
        } else {
            step.messages.push(Message::Positions { reports: vec![report], backfill: false });
        }
        step
    }
}

/// ACC on, fix valid, GPS and BeiDou in use (JT/T 808 table 25: bits 0, 1, 18, 19).
const STATUS_DRIVING: u32 = 1 | 1 << 1 | 1 << 18 | 1 << 19;

/// A plausible reading of the odometer at the start, different for every vehicle.
fn odometer_start(vehicle: &Vehicle) -> u32 {
    vehicle.phone.bytes().fold(0_u32, |sum, digit| sum.wrapping_mul(31).wrapping_add(u32::from(digit))) % 3_000_000
}

/// The limits that `value` newly crosses. `standing` remembers hh, h, l, ll; a limit is left only beyond its dead band.
fn crossed(limits: &Limits, value: f64, standing: &mut [bool; 4]) -> Vec<&'static str> {
    let band = limits.deadband;
    let rules: [(&'static str, Option<f64>, f64); 4] =
        [("hh", limits.hh, 1.0), ("h", limits.h, 1.0), ("l", limits.l, -1.0), ("ll", limits.ll, -1.0)];
    let mut new = Vec::new();
    for ((rule, limit, sign), stands) in rules.into_iter().zip(standing.iter_mut()) {
        let Some(limit) = limit else { continue };
        let beyond = (value - limit) * sign;
        if !*stands && beyond >= 0.0 {
            *stands = true;
            new.push(rule);
        } else if *stands && beyond < -band {
            *stands = false;
        }
    }
    new
}

impl Iterator for Script<'_> {
    type Item = Step;

    /// The next step; steps of equal time come in the order of the actors. `None` only for a world without devices and vehicles.
    fn next(&mut self) -> Option<Step> {
        let Reverse((due_us, actor)) = self.queue.pop()?;
        let round = due_us.div_euclid(ROUND_S * 1_000_000);
        if self.with_stories && self.round != Some(round) {
            self.round = Some(round);
            self.stories = stories(self.world, usize::try_from(round).unwrap_or(0));
        }
        let round_us = due_us.rem_euclid(ROUND_S * 1_000_000);
        let (step, period_s) = match actor {
            Actor::Device(d) => (self.device(d, due_us, round_us), self.world.devices[d].period_s),
            Actor::Vehicle(v) => (self.vehicle(v, due_us, round_us), self.world.vehicles[v].period_s),
        };
        self.queue.push(Reverse((due_us + (period_s * 1e6) as i64, actor)));
        Some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Scale;

    fn world() -> World {
        World::new(11, Scale { enterprises: 60, points: 500, vehicles: 40 })
    }

    fn minutes(world: &World, n: i64, stories: bool) -> Vec<Step> {
        Script::new(world, stories).take_while(|s| s.due_us < n * 60_000_000).collect()
    }

    #[test]
    fn the_play_is_the_same_twice_and_in_order_of_time() {
        let world = world();
        let first = minutes(&world, 10, true);
        assert_eq!(first, minutes(&world, 10, true));
        assert!(first.windows(2).all(|w| w[0].due_us <= w[1].due_us));
        assert!(first.len() > 3_000);
    }

    #[test]
    fn nothing_is_expected_where_nothing_happens() {
        let world = world();
        assert!(minutes(&world, 40, false).iter().all(|s| s.expect.is_empty() && s.power.is_none() && s.messages.len() == 1));
    }

    fn alarms(steps: &[Step]) -> Vec<(&'static str, Option<u8>, String)> {
        let mut list: Vec<_> = steps
            .iter()
            .flat_map(|s| &s.expect)
            .filter_map(|e| match &e.what {
                Expected::Alarm { rule, bit, level, .. } if *rule != "stale" => Some((*rule, *bit, level.clone())),
                _ => None,
            })
            .collect();
        list.sort();
        list
    }

    #[test]
    fn ten_minutes_hold_every_scripted_alarm_once() {
        let world = world();
        let found = alarms(&minutes(&world, 10, true));
        let expected = [
            ("combination", None, "red"), // the leak at two detectors
            ("flat_line", None, "blue"),  // the stuck gauge
            ("h", None, "yellow"),        // the leak
            ("h", None, "yellow"),        // the leak at its second detector
            ("h", None, "yellow"),        // the leak under a fast clock
            ("hh", None, "red"),          // the leak
            ("l", None, "yellow"),        // the pressure drop
            ("overspeed", None, "orange"),
            ("terminal_bit", Some(0), "red"), // emergency button
            ("terminal_bit", Some(1), "yellow"),
            ("terminal_bit", Some(2), "orange"),
        ];
        assert_eq!(found, expected.map(|(r, b, l)| (r, b, l.to_owned())));
    }

    #[test]
    fn a_power_loss_is_a_gap_then_everything_missed_as_backfill() {
        let world = world();
        let steps = minutes(&world, 10, true);
        for is_device in [true, false] {
            let of_kind = |s: &&Step| matches!(s.actor, Actor::Device(_)) == is_device;
            let off = steps.iter().filter(of_kind).find(|s| s.power == Some(false)).unwrap();
            let on = steps.iter().find(|s| s.actor == off.actor && s.power == Some(true)).unwrap();
            assert!(on.expect.iter().any(|e| matches!(e.what, Expected::Gap { .. })));
            let silent = steps.iter().filter(|s| s.actor == off.actor && s.due_us >= off.due_us && s.due_us < on.due_us);
            let missed = silent.inspect(|s| assert!(s.messages.is_empty())).count();
            let sent_later: usize = on
                .messages
                .iter()
                .map(|m| match m {
                    Message::Telemetry { samples, backfill: true } => samples.len(),
                    Message::Positions { reports, backfill: true } => reports.len(),
                    _ => 0,
                })
                .sum();
            assert_eq!(missed, sent_later);
            assert!(missed > 5);
        }
        let stale = steps.iter().flat_map(|s| &s.expect).filter(|e| matches!(e.what, Expected::Alarm { rule: "stale", .. })).count();
        assert!(stale >= 4, "{stale}");
    }

    #[test]
    fn clocks_run_fast_once_and_for_good_and_one_fix_leaps() {
        let world = world();
        let steps = minutes(&world, 10, true);
        let event = |name| {
            steps.iter().flat_map(|s| &s.expect).filter(|e| matches!(e.what, Expected::Event { event, .. } if event == name)).count()
        };
        assert_eq!((event("clock_offset"), event("drift"), event("taken_over")), (4, 1, 1));
        let is_flat = |e: &&Expect| matches!(e.what, Expected::Alarm { rule: "flat_line", .. });
        assert_eq!(steps.iter().flat_map(|s| &s.expect).filter(is_flat).count(), 1);
        let shifted = |actor| {
            let of = steps.iter().filter(|s| s.actor == actor).flat_map(|s| &s.messages);
            of.filter(|m| matches!(m, Message::Telemetry { samples, .. } if samples[0].shift_us != 0)).count()
        };
        let mut counts: Vec<usize> = (0..world.devices.len()).map(|d| shifted(Actor::Device(d))).filter(|n| *n > 0).collect();
        counts.sort_unstable();
        assert_eq!(counts.len(), 2);
        assert_eq!(counts[0], 1, "one message only");
        assert!(counts[1] > 50, "for good");
    }

    #[test]
    fn a_limit_is_crossed_once_until_the_value_leaves_its_dead_band() {
        let limits = Limits { h: Some(25.0), hh: Some(50.0), deadband: 1.0, ..Limits::default() };
        let mut standing = [false; 4];
        let mut check = |value, expected: &[&str]| assert_eq!(crossed(&limits, value, &mut standing), expected, "{value}");
        check(24.9, &[]);
        check(25.0, &["h"]);
        check(24.5, &[]);
        check(26.0, &[]);
        check(60.0, &["hh"]);
        check(20.0, &[]);
        check(70.0, &["hh", "h"]);
    }
}
