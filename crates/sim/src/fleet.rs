//! The invented fleet: loops through towns, vehicles that drive them, and what happens to some of them.
//!
//! Pure. The wire format is [`crate::client::terminal`]'s. Start at `vehicles`; the incidents are `stories`.

use anlan_model::Wgs84;
use serde::Deserialize;

use crate::rng::Rng;
use crate::story::{Actor, Story, What};
use crate::world::{Enterprise, World};

/// A closed loop that vehicles drive.
#[derive(Clone, Debug)]
pub struct Route {
    /// Corners of the drawn line; the last leads back to the first.
    line: Vec<Wgs84>,
    /// Metres from the start to each corner, and the whole length last.
    metres: Vec<f64>,
}

impl Route {
    /// A smooth loop (closed Catmull-Rom spline) through `towns`, three or more.
    fn through(towns: &[Wgs84]) -> Self {
        const STEPS: usize = 24;
        let n = towns.len();
        let mut line = Vec::with_capacity(n * STEPS);
        for i in 0..n {
            let [a, b, c, d] = [towns[(i + n - 1) % n], towns[i], towns[(i + 1) % n], towns[(i + 2) % n]];
            let bend = |a: f64, b: f64, c: f64, d: f64, t: f64| {
                0.5 * (2.0 * b + (c - a) * t + (2.0 * a - 5.0 * b + 4.0 * c - d) * t * t + (3.0 * b - a - 3.0 * c + d) * t * t * t)
            };
            for step in 0..STEPS {
                let t = step as f64 / STEPS as f64;
                line.push(Wgs84 { lon: bend(a.lon, b.lon, c.lon, d.lon, t), lat: bend(a.lat, b.lat, c.lat, d.lat, t) });
            }
        }
        let mut metres = Vec::with_capacity(line.len() + 1);
        let mut sum = 0.0;
        for (i, place) in line.iter().enumerate() {
            metres.push(sum);
            sum += place.distance_m(line[(i + 1) % line.len()]);
        }
        metres.push(sum);
        Self { line, metres }
    }

    /// Length of the loop.
    pub fn length_m(&self) -> f64 {
        self.metres.last().copied().unwrap_or(0.0)
    }

    /// Place and heading (degrees from north) after `metres` of driving; any number, the loop repeats.
    pub fn at(&self, metres: f64) -> (Wgs84, f64) {
        let length = self.length_m();
        let m = if length > 0.0 { metres.rem_euclid(length) } else { 0.0 };
        let i = self.metres.partition_point(|x| *x <= m).clamp(1, self.line.len()) - 1;
        let (a, b) = (self.line[i], self.line[(i + 1) % self.line.len()]);
        let part = (m - self.metres[i]) / (self.metres[i + 1] - self.metres[i]).max(1e-9);
        let place = Wgs84 { lon: a.lon + (b.lon - a.lon) * part, lat: a.lat + (b.lat - a.lat) * part };
        let east = (b.lon - a.lon) * a.lat.to_radians().cos();
        (place, east.atan2(b.lat - a.lat).to_degrees().rem_euclid(360.0))
    }
}

/// An invented vehicle with its terminal.
#[derive(Clone, Debug)]
pub struct Vehicle {
    /// Terminal phone number, eleven digits; begins with 100, which no mobile number does.
    pub phone: String,
    /// Plate; holds the character 演, which no plate does.
    pub plate: String,
    /// Kind word of the demo pack.
    pub kind: String,
    /// Operator: index into [`World::enterprises`]; `None` in a city without enterprises.
    pub enterprise: Option<usize>,
    /// Speed limit it is registered with.
    pub speed_limit_kmh: f64,
    /// Speaks the 2019 edition of JT/T 808 instead of 2013.
    pub edition_2019: bool,
    /// Index into [`World::routes`].
    pub route: usize,
    /// Where on the route it starts, metres.
    pub start_m: f64,
    /// Usual speed; always below the limit.
    pub cruise_kmh: f64,
    /// Seconds between positions, 10 to 30.
    pub period_s: f64,
    /// First position this long after the start.
    pub phase_us: i64,
}

#[derive(Deserialize)]
struct KindsFile {
    vehicle_kind: Vec<KindRow>,
}

#[derive(Deserialize)]
struct KindRow {
    kind: String,
    share: usize,
    speed_limit_kmh: f64,
}

const KINDS: &str = include_str!("../../../packs/demo/vehicle_kinds.toml");
const ROUTES_PER_COUNTY: usize = 6;

/// Loops through the towns, some within each county and one through all of them.
pub(crate) fn routes(seed: u64, towns: &[Vec<Wgs84>]) -> Vec<Route> {
    let mut rng = Rng::named(seed, "routes");
    let mut list = Vec::new();
    for county in towns.iter().filter(|t| t.len() >= 3) {
        for _ in 0..ROUTES_PER_COUNTY {
            let mut stops = county.clone();
            while stops.len() > 4 {
                stops.swap_remove(rng.below(stops.len()));
            }
            list.push(Route::through(&around(stops)));
        }
    }
    let seats: Vec<Wgs84> = towns.iter().filter_map(|t| t.first().copied()).collect();
    if seats.len() >= 3 {
        list.push(Route::through(&around(seats)));
    }
    list
}

/// The places ordered by bearing around their middle, so that the loop does not cross itself.
fn around(mut places: Vec<Wgs84>) -> Vec<Wgs84> {
    let n = places.len().max(1) as f64;
    let (lon, lat) = (places.iter().map(|p| p.lon).sum::<f64>() / n, places.iter().map(|p| p.lat).sum::<f64>() / n);
    places.sort_by(|a, b| (a.lat - lat).atan2(a.lon - lon).total_cmp(&(b.lat - lat).atan2(b.lon - lon)));
    places
}

/// The fleet. Operators are the transport enterprises, or all if there are none.
pub(crate) fn vehicles(seed: u64, n: usize, enterprises: &[Enterprise], routes: &[Route]) -> Vec<Vehicle> {
    let kinds: KindsFile = toml::from_str(KINDS).expect("the built-in vehicle kinds are TOML, see the test");
    let total: usize = kinds.vehicle_kind.iter().map(|k| k.share).sum();
    let carriers: Vec<usize> = (0..enterprises.len()).filter(|&e| enterprises[e].sector == "road_transport").collect();
    let carriers = if carriers.is_empty() { (0..enterprises.len()).collect() } else { carriers };
    let mut rng = Rng::named(seed, "vehicles");
    (0..n)
        .map(|i| {
            let mut ticket = rng.below(total.max(1));
            let kind = kinds.vehicle_kind.iter().find(|k| {
                let hit = ticket < k.share;
                ticket = ticket.saturating_sub(k.share);
                hit
            });
            let kind = kind.unwrap_or(&kinds.vehicle_kind[0]);
            let route = rng.below(routes.len());
            Vehicle {
                phone: format!("100{:08}", i + 1),
                plate: format!("云F·演{:04}", i + 1),
                kind: kind.kind.clone(),
                enterprise: (!carriers.is_empty()).then(|| *rng.pick(&carriers)),
                speed_limit_kmh: kind.speed_limit_kmh,
                edition_2019: i % 3 == 2,
                route,
                start_m: rng.between(0.0, routes.get(route).map_or(0.0, Route::length_m)),
                cruise_kmh: kind.speed_limit_kmh * rng.between(0.45, 0.7),
                period_s: (10 + 5 * rng.below(5)) as f64,
                phase_us: rng.between(0.0, 10e6) as i64,
            }
        })
        .collect()
}

/// What happens to vehicles in round `cycle` of the play; seconds count from the start of the round.
pub(crate) fn stories(world: &World, cycle: usize) -> Vec<Story> {
    let n = world.vehicles.len();
    // Eight vehicles take part; the next round takes the next eight.
    let cast = |role: usize| (role < n).then(|| Actor::Vehicle((cycle * 8 + role) % n));
    let period = |actor: &Actor| match actor {
        Actor::Vehicle(v) => world.vehicles[*v].period_s,
        Actor::Device(_) => 0.0,
    };
    let roles: [(f64, f64, What); 8] = [
        (240.0, 330.0, What::Overspeed { over_kmh: 18.0 }),
        (100.0, 0.0, What::Teleport),
        (120.0, 300.0, What::PowerLoss),
        (150.0, 0.0, What::ClockFast { shift_s: 8 * 3_600 }),
        (180.0, f64::MAX, What::ClockFast { shift_s: 8 * 3_600 }),
        (200.0, 280.0, What::Emergency),
        (260.0, 0.0, What::SecondConnection),
        (300.0, 420.0, What::Bits { bits: 1 << 2 }),
    ];
    roles
        .into_iter()
        .enumerate()
        .filter_map(|(role, (from, until, what))| {
            let actor = cast(role)?;
            // An end of 0 means: exactly one message.
            let until = if until == 0.0 { from + period(&actor) } else { until };
            Some(Story::new(actor, from, until, what))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Scale;

    #[test]
    fn a_route_is_a_loop_without_jumps_and_stays_near_the_city() {
        let world = World::new(4, Scale { enterprises: 20, points: 0, vehicles: 30 });
        assert_eq!(world.routes.len(), 9 * ROUTES_PER_COUNTY + 1);
        for route in &world.routes {
            let step = 500.0;
            let mut last = route.at(0.0).0;
            for i in 1..(route.length_m() / step) as usize {
                let (place, heading) = route.at(i as f64 * step);
                let moved = last.distance_m(place);
                assert!(moved <= step * 1.01, "jump of {moved} m");
                assert!((0.0..360.0).contains(&heading));
                assert!((101.0..104.0).contains(&place.lon) && (23.0..25.3).contains(&place.lat));
                last = place;
            }
            assert!(route.at(0.0).0.distance_m(route.at(route.length_m()).0) < 1.0);
        }
    }

    #[test]
    fn vehicles_are_recognisably_invented_and_obey_their_limit() {
        let world = World::new(4, Scale { enterprises: 50, points: 10, vehicles: 300 });
        let phones: std::collections::HashSet<_> = world.vehicles.iter().map(|v| &v.phone).collect();
        assert_eq!(phones.len(), 300);
        for v in &world.vehicles {
            assert!(v.phone.starts_with("100") && v.phone.len() == 11 && v.plate.contains('演'));
            assert!(v.cruise_kmh < v.speed_limit_kmh);
            assert_eq!(world.enterprises[v.enterprise.unwrap()].sector, "road_transport");
        }
    }
}
