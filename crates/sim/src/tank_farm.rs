//! What happens in the tank farms of the play: a leak through both gas levels that reaches a second detector seconds later, a stuck pressure gauge, a power loss with back-fill.
//!
//! The tanks themselves are data (`packs/demo/plants.toml`); the limits are the base pack's and the invented design document's.

use crate::story::{Actor, Story, What, cast};
use crate::world::World;

/// The incidents of round `cycle`.
pub(crate) fn stories(world: &World, cycle: usize) -> Vec<Story> {
    let gas = cast(world, "tank_farm", "gas_combustible");
    let level = cast(world, "tank_farm", "level");
    let pressure = cast(world, "tank_farm", "pressure");
    let mut list = Vec::new();
    let mut play =
        |device: usize, from_s: f64, until_s: f64, what: What| list.push(Story::new(Actor::Device(device), from_s, until_s, what));
    // Three farms take part, each in one role; the next round takes the next three.
    let role = |from: &[(usize, usize)], role: usize| (role < from.len()).then(|| from[(cycle * 3 + role) % from.len()]);
    if let Some((device, point)) = role(&gas, 0) {
        // Past the second level of GB/T 50493, wherever the pack puts it.
        if let Some(hh) = world.devices[device].points[point].effective.hh {
            play(device, 60.0, 420.0, What::Ramp { point, to: hh * 1.36 });
        }
        // The cloud reaches the neighbour thinner and some ten seconds later; it stays below the second level.
        let second = world.combinations.iter().find(|c| c.device == device).and_then(|c| c.points.iter().find(|p| **p != point));
        if let Some((second, h)) = second.and_then(|&p| Some((p, world.devices[device].points[p].effective.h?))) {
            play(device, 60.0, 270.0, What::Ramp { point: second, to: h * 1.36 });
        }
    }
    if let Some((device, point)) = role(&pressure, 1) {
        play(device, 90.0, 390.0, What::Stuck { point });
    }
    if let Some((device, _)) = role(&level, 2) {
        play(device, 150.0, 270.0, What::PowerLoss);
    }
    list
}
