//! Places that cannot be true: a vehicle that would have had to fly there.
//!
//! Marks, never deletes: the position is kept as sent, and left out of mileage, fences and speed. Start at [`Drift::judge`].
//! JT/T 808 carries no HDOP, so the evidence is the implied speed, and the number of satellites where the terminal reports it.

use anlan_model::{Timestamp, Wgs84};
use serde::{Deserialize, Serialize};

use super::rules::DriftRules;

/// A place at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Event time.
    pub at: Timestamp,
    /// Where.
    pub place: Wgs84,
}

/// What is known about where one vehicle is. Part of a shard's checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// The last place that was believed.
    anchor: Option<Seen>,
    /// The last place that was not, and how many agree with it. Enough of them, and the vehicle really is there: it was
    /// shipped, or it was the anchor that was wrong.
    suspect: Option<(Seen, u32)>,
}

impl Drift {
    /// Whether `seen` cannot be true. Changes nothing; [`Self::advance`] does, with this answer.
    ///
    /// Only positions with a fix come here. `satellites` as reported; `None` and 0 mean that the terminal does not say.
    pub fn judge(&self, rules: &DriftRules, seen: Seen, satellites: Option<u8>) -> bool {
        let Some(anchor) = &self.anchor else { return false };
        let near = anchor.place.distance_m(seen.place) < rules.jump_min_m;
        let weak = satellites.is_some_and(|n| n > 0 && u32::from(n) < rules.satellites_min);
        if near || (reachable(rules, anchor, &seen) && !weak) {
            return false;
        }
        !self.suspect.as_ref().is_some_and(|(suspect, n)| reachable(rules, suspect, &seen) && n.saturating_add(1) >= rules.agree)
    }

    /// Whether a run of untrue places is going on.
    pub fn is_drifting(&self) -> bool {
        self.suspect.is_some()
    }

    /// How far `seen` is from the last believed place, metres, and the speed that it would take, km/h.
    pub fn jump(&self, seen: Seen) -> Option<(f64, f64)> {
        let anchor = self.anchor?;
        let metres = anchor.place.distance_m(seen.place);
        Some((metres, metres / seconds(&anchor, &seen) * 3.6))
    }

    /// Takes a position that was judged, and marked or not.
    pub fn advance(&mut self, rules: &DriftRules, seen: Seen, marked: bool) {
        if marked {
            let n = self.suspect.as_ref().filter(|(suspect, _)| reachable(rules, suspect, &seen)).map_or(1, |(_, n)| n.saturating_add(1));
            self.suspect = Some((seen, n));
        } else {
            *self = Self { anchor: Some(seen), suspect: None };
        }
    }
}

/// Two reports of one second still have some time between them.
fn seconds(a: &Seen, b: &Seen) -> f64 {
    (b.at.since_us(a.at).unsigned_abs() as f64 / 1e6).max(1.0)
}

fn reachable(rules: &DriftRules, from: &Seen, to: &Seen) -> bool {
    let metres = from.place.distance_m(to.place);
    metres < rules.jump_min_m || metres / seconds(from, to) * 3.6 <= rules.speed_max_kmh
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> DriftRules {
        DriftRules { speed_max_kmh: 180.0, jump_min_m: 500.0, agree: 3, satellites_min: 4 }
    }

    /// `(second, metres east, satellites)`; answers a letter each: `.` believed, `D` marked.
    fn check(steps: &[(i64, f64, Option<u8>)], expect: &str) {
        let mut drift = Drift::default();
        let mut got = String::new();
        for &(second, metres, satellites) in steps {
            let seen = Seen { at: Timestamp::from_secs(second), place: Wgs84 { lon: 102.0 + metres / 101_600.0, lat: 24.0 } };
            let marked = drift.judge(&rules(), seen, satellites);
            drift.advance(&rules(), seen, marked);
            got.push(if marked { 'D' } else { '.' });
        }
        assert_eq!(got, expect);
    }

    #[test]
    fn a_jump_and_its_return_mark_only_the_jump() {
        check(&[(0, 0.0, None), (10, 150.0, None), (20, 160_000.0, None), (30, 450.0, None), (40, 600.0, None)], "..D..");
    }

    #[test]
    fn a_fast_vehicle_is_not_drift_and_neither_is_jitter() {
        check(&[(0, 0.0, None), (10, 490.0, None), (20, 980.0, None)], "...");
        check(&[(0, 0.0, None), (1, 400.0, None), (2, 0.0, None)], "...");
        check(&[(0, 0.0, None), (10, 501.0, None)], ".D");
    }

    #[test]
    fn a_new_place_is_believed_once_enough_positions_agree() {
        check(&[(0, 0.0, None), (10, 90_000.0, None), (20, 90_100.0, None), (30, 90_200.0, None), (40, 90_300.0, None)], ".DD..");
        // Places that do not agree with each other never count.
        check(&[(0, 0.0, None), (10, 90_000.0, None), (20, 50_000.0, None), (30, 70_000.0, None), (40, 100.0, None)], ".DDD.");
    }

    #[test]
    fn silence_gives_time_to_drive() {
        check(&[(0, 0.0, None), (3_600, 100_000.0, None)], "..");
    }

    #[test]
    fn few_satellites_make_a_long_step_untrue() {
        check(&[(0, 0.0, Some(9)), (60, 900.0, Some(3)), (120, 1_000.0, Some(9))], ".D.");
        check(&[(0, 0.0, Some(3)), (60, 300.0, Some(3)), (120, 1_500.0, Some(0))], "...");
    }
}
