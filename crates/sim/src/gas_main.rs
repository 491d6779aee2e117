//! What happens on the gas mains of the play: a pressure drop through the low limit, and two clocks that are eight hours fast.
//!
//! Eight hours is the commonest error in this country: a device that takes local time for UTC.

use crate::story::{Actor, Story, What, cast};
use crate::world::World;

const EIGHT_HOURS_S: i64 = 8 * 3_600;

/// The incidents of round `cycle`.
pub(crate) fn stories(world: &World, cycle: usize) -> Vec<Story> {
    let pressure = cast(world, "gas_main", "pressure");
    let gas = cast(world, "gas_main", "gas_combustible");
    let mut list = Vec::new();
    let mut play =
        |device: usize, from_s: f64, until_s: f64, what: What| list.push(Story::new(Actor::Device(device), from_s, until_s, what));
    let role = |from: &[(usize, usize)], role: usize| (role < from.len()).then(|| from[(cycle * 3 + role) % from.len()]);
    if let Some((device, point)) = role(&pressure, 0) {
        let limits = &world.devices[device].points[point].effective;
        if let (Some(l), Some(ll)) = (limits.l, limits.ll) {
            play(device, 150.0, 400.0, What::Ramp { point, to: f64::midpoint(l, ll) });
        }
    }
    if let Some((device, _)) = role(&pressure, 1) {
        // Exactly one message.
        play(device, 120.0, 120.0 + world.devices[device].period_s, What::ClockFast { shift_s: EIGHT_HOURS_S });
    }
    if let Some((device, point)) = role(&gas, 2) {
        play(device, 180.0, f64::MAX, What::ClockFast { shift_s: EIGHT_HOURS_S });
        // A wrong clock must not blind the alarm.
        let limits = &world.devices[device].points[point].effective;
        if let (Some(h), Some(hh)) = (limits.h, limits.hh) {
            play(device, 240.0, 420.0, What::Ramp { point, to: f64::midpoint(h, hh) });
        }
    }
    list
}
