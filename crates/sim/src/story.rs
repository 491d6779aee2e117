//! Incidents as data: who, from when to when, what. The scripts themselves stand with their trade: `tank_farm`, `gas_main`,
//! [`crate::fleet`]. The play repeats every [`ROUND_S`] seconds with other actors.

use std::collections::HashMap;

use crate::world::World;
use crate::{fleet, gas_main, tank_farm};

/// Length of one round of the play in seconds; all incidents end well before it does.
pub const ROUND_S: i64 = 1_800;

/// Who takes part, by index into the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Actor {
    /// Index into [`World::devices`].
    Device(usize),
    /// Index into [`World::vehicles`].
    Vehicle(usize),
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// A point climbs (or sinks) from its mean to `to` in the first half, stays for a sixth, and comes back.
    Ramp {
        /// Index of the point on the device.
        point: usize,
        /// Value at the peak.
        to: f64,
    },
    /// A point repeats the value it had.
    Stuck {
        /// Index of the point on the device.
        point: usize,
    },
    /// Silent; what was measured meanwhile is sent afterwards, marked as back-fill.
    PowerLoss,
    /// The clock is fast.
    ClockFast {
        /// By how much.
        shift_s: i64,
    },
    /// Faster than the limit, and the terminal says so.
    Overspeed {
        /// By how much.
        over_kmh: f64,
    },
    /// A fix far from the road.
    Teleport,
    /// The emergency button is pressed and held.
    Emergency,
    /// Other alarm bits stand.
    Bits {
        /// The bits.
        bits: u32,
    },
    /// Another connection speaks for the same phone number, once.
    SecondConnection,
}

/// One incident of a round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Story {
    /// Who.
    pub actor: Actor,
    /// Seconds from the start of the round, in microseconds.
    pub from_us: i64,
    /// End, not included.
    pub until_us: i64,
    /// What.
    pub what: What,
}

impl Story {
    /// From and until in seconds of the round; an end past the round means its end.
    pub(crate) fn new(actor: Actor, from_s: f64, until_s: f64, what: What) -> Self {
        let us = |s: f64| (s.min(ROUND_S as f64) * 1e6) as i64;
        Self { actor, from_us: us(from_s), until_us: us(until_s), what }
    }

    /// How far a ramp has climbed at `round_us`, 0 to 1.
    pub(crate) fn height(&self, round_us: i64) -> f64 {
        let part = (round_us - self.from_us) as f64 / (self.until_us - self.from_us).max(1) as f64;
        match part {
            p if p < 0.5 => p / 0.5,
            p if p < 2.0 / 3.0 => 1.0,
            p => (1.0 - p) * 3.0,
        }
    }
}

/// All incidents of round `cycle`, by actor.
pub fn stories(world: &World, cycle: usize) -> HashMap<Actor, Vec<Story>> {
    let all = [tank_farm::stories(world, cycle), gas_main::stories(world, cycle), fleet::stories(world, cycle)];
    let mut by_actor: HashMap<Actor, Vec<Story>> = HashMap::new();
    for story in all.into_iter().flatten() {
        by_actor.entry(story.actor).or_default().push(story);
    }
    by_actor
}

/// The devices of a template that have a point of `kind`, each with that point.
pub(crate) fn cast(world: &World, template: &str, kind: &str) -> Vec<(usize, usize)> {
    let point = |d: usize| world.devices[d].points.iter().position(|p| p.kind == kind);
    let of_template = (0..world.devices.len()).filter(|&d| world.devices[d].template == template);
    of_template.filter_map(|d| Some((d, point(d)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_rises_stays_and_falls() {
        let story = Story::new(Actor::Device(0), 60.0, 420.0, What::Ramp { point: 0, to: 1.0 });
        let height = |s: i64| story.height(s * 1_000_000);
        assert_eq!((height(60), height(150), height(240), height(290)), (0.0, 0.5, 1.0, 1.0));
        assert!((height(360) - 0.5).abs() < 1e-9);
    }
}
