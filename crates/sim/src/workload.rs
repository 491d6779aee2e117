//! Workload W: what a city's sensors send, for measuring. Equal on every machine for a seed, and the same bytes for every system measured.
//!
//! 1,000 stations × 100 points in nine counties, eight kinds; each value a slow mean-reverting walk plus noise, quantised to 0.1 or 0.01; a phase
//! per point, half the points with ±30 ms of jitter, bursts of bad quality, samples missing and samples late. Pure: no socket, no clock.
//! Never a model of real plants: the shape of the numbers is what compression and rules see, not what they mean. Start at [`Workload::step`].

use anlan_model::Quality;

use crate::rng::Rng;

/// The counties of Yuxi (GB/T 2260), which the stations share evenly.
pub const COUNTIES: [&str; 9] = ["530402", "530403", "530481", "530423", "530424", "530425", "530426", "530427", "530428"];

/// One kind of measurement in W.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Word of the base pack; also the measurement in line protocol.
    pub name: &'static str,
    /// Unit of the base pack.
    pub unit: &'static str,
    /// Mean of all its points, in its unit.
    pub mean: f64,
    /// Digits behind the point.
    pub decimals: u8,
    /// Standard deviation of the difference of two samples, in last digits.
    sigma: f32,
}

/// The eight kinds. With these deviations the difference of two values carries 3.6 bits, 0.45 bytes, on average; a test measures it.
pub const KINDS: [Kind; 8] = [
    Kind { name: "temperature", unit: "°C", mean: 65.0, decimals: 1, sigma: 2.0 },
    Kind { name: "pressure", unit: "kPa", mean: 420.0, decimals: 1, sigma: 3.0 },
    Kind { name: "level", unit: "%", mean: 55.0, decimals: 2, sigma: 2.5 },
    Kind { name: "methane", unit: "%CH4", mean: 0.4, decimals: 2, sigma: 3.0 },
    Kind { name: "gas_co", unit: "mg/m³", mean: 8.0, decimals: 1, sigma: 4.0 },
    Kind { name: "flow", unit: "m³/h", mean: 120.0, decimals: 1, sigma: 5.0 },
    Kind { name: "vibration", unit: "mm/s", mean: 2.8, decimals: 2, sigma: 2.0 },
    Kind { name: "humidity", unit: "%RH", mean: 60.0, decimals: 1, sigma: 3.0 },
];

/// Pull of the walk to its mean per step: it forgets in about 100 steps.
const PULL: f32 = 0.01;
/// Parts of a kind's deviation that the walk's step and the noise have: 0.6² + 2 × 0.566² = 1.
const WALK: f32 = 0.6;
const NOISE: f32 = 0.566;
/// Standard deviation of the walk around its mean, in steps' deviations: 1 / √(2 × pull).
const SPREAD: f32 = 7.07;
/// The high limit stands this many deviations of the walk above the mean, the high-high limit [`LIMIT_HH`]: about one sample in two thousand is above
/// the first, so that rules have something to say without saying nothing else.
const LIMIT_H: f32 = 3.3;
const LIMIT_HH: f32 = 4.2;
/// Most steps by which a sample is late.
const LATE_STEPS_MAX: usize = 6;

/// How much of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Stations, spread over [`COUNTIES`].
    pub stations: usize,
    /// Points of each.
    pub points_per_station: usize,
    /// Milliseconds between samples of a point.
    pub period_ms: i64,
    /// Share of samples that never come.
    pub missing: f64,
    /// Share of samples that come one to six periods late.
    pub late: f64,
}

impl Shape {
    /// 100,000 points at 10 s.
    pub const W1: Self = Self { stations: 1_000, points_per_station: 100, period_ms: 10_000, missing: 0.01, late: 0.002 };
    /// 200 points at 10 s.
    pub const W2: Self = Self { stations: 2, points_per_station: 100, period_ms: 10_000, missing: 0.01, late: 0.002 };

    /// Points of all stations.
    pub const fn points(&self) -> usize {
        self.stations * self.points_per_station
    }

    /// The county of a station: index into [`COUNTIES`]. Stations of a county stand together.
    pub const fn county_of(&self, station: usize) -> usize {
        station * COUNTIES.len() / self.stations
    }
}

/// Code of a station's device.
pub fn station_code(station: usize) -> String {
    format!("W{station:04}")
}

/// One sample. The value is `digits` divided by ten to the power of its kind's decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Station × points per station + number within the station.
    pub point: u32,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// Value in last digits.
    pub digits: i32,
    /// As the sensor says; line protocol cannot carry it.
    pub quality: Quality,
}

#[derive(Clone, Debug)]
struct Series {
    rng: Rng,
    mean: f32,
    walk: f32,
    sigma: f32,
    phase_ms: i64,
    jitter: bool,
    /// Samples that the burst of bad quality still lasts.
    bad: u8,
}

/// The generator: a state per point.
#[derive(Clone, Debug)]
pub struct Workload {
    /// What it generates.
    pub shape: Shape,
    series: Vec<Series>,
    /// `measurement,county=…,device=…,p=… value=` of each point.
    heads: Vec<String>,
    /// Samples on their way, by the step in which they arrive modulo its length.
    late: Vec<Vec<Sample>>,
    step: usize,
}

/// About normal with deviation 1, from four 16-bit parts: cheap, and its tails end at 3.5, which suits sensors.
fn normal(bits: u64) -> f32 {
    let sum: u64 = (0..4).map(|i| (bits >> (16 * i)) & 0xffff).sum();
    // Four uniforms on [0, 65536): mean 131,070, deviation 65,536 / √3.
    (sum as f32 - 131_070.0) / 37_837.2
}

/// The top 32 bits as a share.
fn share(bits: u64) -> f64 {
    (bits >> 32) as f64 / 4_294_967_296.0
}

impl Workload {
    /// A city that begins at step 0.
    pub fn new(seed: u64, shape: Shape) -> Self {
        let (mut series, mut heads) = (Vec::with_capacity(shape.points()), Vec::with_capacity(shape.points()));
        for station in 0..shape.stations {
            for i in 0..shape.points_per_station {
                let kind = KINDS[i % KINDS.len()];
                let point = station * shape.points_per_station + i;
                let mut rng = Rng::named(seed ^ (point as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15), "workload");
                let scale = 10f64.powi(i32::from(kind.decimals));
                let phase_ms = rng.below(shape.period_ms as usize) as i64;
                let mean = (kind.mean * scale * rng.between(0.9, 1.1)) as f32;
                let walk = normal(rng.bits()) * kind.sigma * WALK * SPREAD * 0.5;
                series.push(Series { rng, mean, walk, sigma: kind.sigma, phase_ms, jitter: i % 2 == 1, bad: 0 });
                let county = COUNTIES[shape.county_of(station)];
                heads.push(format!("{},county={county},device={},p={i:02} value=", kind.name, station_code(station)));
            }
        }
        Self { shape, series, heads, late: vec![Vec::new(); LATE_STEPS_MAX + 1], step: 0 }
    }

    /// The kind of a point.
    pub fn kind(&self, point: usize) -> &'static Kind {
        &KINDS[point % self.shape.points_per_station % KINDS.len()]
    }

    /// High-high limit, high limit and deadband of a point, in its unit.
    pub fn limits(&self, point: usize) -> (f64, f64, f64) {
        let (series, kind) = (&self.series[point], self.kind(point));
        let scale = 10f64.powi(i32::from(kind.decimals));
        let spread = series.sigma * WALK * SPREAD;
        let limit = |n: f32| f64::from((series.mean + n * spread).round()) / scale;
        (limit(LIMIT_HH), limit(LIMIT_H), f64::from((spread * 0.5).round()) / scale)
    }

    /// Offset of a point within each period, milliseconds.
    pub fn phase_ms(&self, point: usize) -> i64 {
        self.series[point].phase_ms
    }

    /// The next period, which begins at `start_ms`: late arrivals first, then the points in order. Appends to `out`.
    pub fn step(&mut self, start_ms: i64, out: &mut Vec<Sample>) {
        let n_slots = self.late.len();
        out.append(&mut self.late[self.step % n_slots]);
        for (point, s) in (0u32..).zip(&mut self.series) {
            let (a, b, c) = (s.rng.bits(), s.rng.bits(), s.rng.bits());
            s.walk += -PULL * s.walk + normal(a) * WALK * s.sigma;
            let digits = (s.mean + s.walk + normal(b) * NOISE * s.sigma).round().max(0.0) as i32;
            let jitter_ms = if s.jitter { (c & 0xffff) as i64 * 61 / 65_536 - 30 } else { 0 };
            if (c >> 16) & 0xffff == 0 {
                s.bad = 20;
            }
            let quality = if s.bad > 0 { Quality::Bad } else { Quality::Good };
            s.bad = s.bad.saturating_sub(1);
            let fate = share(c);
            if fate < self.shape.missing {
                continue;
            }
            let sample = Sample { point, at_ms: start_ms + s.phase_ms + jitter_ms, digits, quality };
            if fate < self.shape.missing + self.shape.late {
                let by = 1 + (a as usize >> 3) % LATE_STEPS_MAX;
                self.late[(self.step + by) % n_slots].push(sample);
            } else {
                out.push(sample);
            }
        }
        self.step += 1;
    }

    /// The value of a sample in its unit.
    pub fn value(&self, sample: &Sample) -> f64 {
        f64::from(sample.digits) / 10f64.powi(i32::from(self.kind(sample.point as usize).decimals))
    }

    /// The point's code within its device, as our ingest makes it of the line: everything but the device.
    pub fn code(&self, point: usize) -> String {
        let head = &self.heads[point];
        head.split([',', ' ']).filter(|part| !part.starts_with("device=") && *part != "value=").collect::<Vec<_>>().join(",")
    }

    /// The sample as a line of line protocol, time in milliseconds.
    pub fn write_line(&self, sample: &Sample, out: &mut Vec<u8>) {
        let point = sample.point as usize;
        out.extend_from_slice(self.heads[point].as_bytes());
        let decimals = usize::from(self.kind(point).decimals);
        let (mut text, mut at) = ([b'0'; 12], 12);
        let mut left = sample.digits.unsigned_abs();
        loop {
            at -= 1;
            text[at] = b'0' + (left % 10) as u8;
            left /= 10;
            if 12 - at == decimals {
                at -= 1;
                text[at] = b'.';
            }
            // One digit before the point in any case.
            if left == 0 && 12 - at > decimals + 1 {
                break;
            }
        }
        if sample.digits < 0 {
            out.push(b'-');
        }
        out.extend_from_slice(&text[at..]);
        out.push(b' ');
        out.extend_from_slice(sample.at_ms.to_string().as_bytes());
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const SMALL: Shape = Shape { stations: 9, points_per_station: 16, ..Shape::W1 };

    fn samples(seed: u64, steps: i64) -> (Workload, Vec<Sample>) {
        let mut workload = Workload::new(seed, SMALL);
        let mut out = Vec::new();
        for step in 0..steps {
            workload.step(1_795_392_000_000 + step * SMALL.period_ms, &mut out);
        }
        (workload, out)
    }

    #[test]
    fn equal_seeds_make_equal_samples() {
        assert_eq!(samples(1, 20).1, samples(1, 20).1);
        assert_ne!(samples(1, 20).1, samples(2, 20).1);
    }

    #[test]
    fn one_in_a_hundred_is_missing_and_some_come_late() {
        let steps = 2_000;
        let (_, all) = samples(1, steps);
        let kept = all.len() as f64 / (SMALL.points() as f64 * steps as f64);
        assert!((0.988..0.992).contains(&kept), "{kept}");
        let mut newest: HashMap<u32, i64> = HashMap::new();
        let late = all.iter().filter(|s| newest.insert(s.point, s.at_ms).is_some_and(|before| before > s.at_ms)).count();
        let share = late as f64 / all.len() as f64;
        assert!((0.0015..0.0025).contains(&share), "{share}");
        assert!(all.iter().any(|s| s.quality == Quality::Bad));
    }

    #[test]
    fn differences_carry_the_entropy_that_the_description_names() {
        let (workload, all) = samples(1, 2_000);
        let (mut last, mut counts) = (HashMap::new(), HashMap::<(usize, i32), f64>::new());
        let mut per_kind: HashMap<usize, f64> = HashMap::new();
        for s in &all {
            let kind = s.point as usize % SMALL.points_per_station % KINDS.len();
            if let Some(before) = last.insert(s.point, s.digits) {
                *counts.entry((kind, s.digits - before)).or_default() += 1.0;
                *per_kind.entry(kind).or_default() += 1.0;
            }
        }
        let n: f64 = per_kind.values().sum();
        let bits: f64 = counts.iter().map(|((kind, _), c)| -c * (c / per_kind[kind]).log2()).sum::<f64>() / n;
        assert!((0.43..0.47).contains(&(bits / 8.0)), "{} B of value per sample", bits / 8.0);
        let above = all.iter().filter(|s| workload.value(s) > workload.limits(s.point as usize).1).count() as f64 / all.len() as f64;
        assert!((0.000_1..0.005).contains(&above), "{above} of the samples are above their high limit");
    }

    #[test]
    fn lines_say_what_the_samples_are() {
        let workload = Workload::new(1, SMALL);
        let line = |point, digits| {
            let mut out = Vec::new();
            workload.write_line(&Sample { point, at_ms: 1_795_392_000_123, digits, quality: Quality::Good }, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(line(0, 653), "temperature,county=530402,device=W0000,p=00 value=65.3 1795392000123\n");
        assert_eq!(line(3, 7), "methane,county=530402,device=W0000,p=03 value=0.07 1795392000123\n");
        assert_eq!(line(143, 0), "humidity,county=530428,device=W0008,p=15 value=0.0 1795392000123\n");
        assert_eq!(workload.code(3), "methane,county=530402,p=03");
    }
}
