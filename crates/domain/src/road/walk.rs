//! One walk through the kept positions of a vehicle, in event order: trips, stops, mileage, speeding, driving without rest.
//!
//! Needs no state from before: the caller begins early enough for what it wants to know (a stretch of continuous driving
//! reaches back hours). Positions marked as drift or without a fix are counted and otherwise passed over. Start at [`walk`].

use anlan_model::{Flags, Position, Timestamp, Wgs84};

use super::rules::RoadRules;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Walk {
    /// From standing to standing, oldest first.
    pub trips: Vec<Trip>,
    /// Between them, oldest first.
    pub stops: Vec<Stop>,
    /// What a person should look at, by when it began.
    pub findings: Vec<Finding>,
    /// Metres driven, gaps in the track as the crow flies.
    pub distance_m: f64,
    /// Of those, on complete track.
    pub complete_m: f64,
    /// Seconds moving.
    pub driving_s: f64,
    /// Seconds standing with the ignition on.
    pub idle_s: f64,
    /// Positions.
    pub n: u64,
    /// Of those: time believed, on the globe, values possible.
    pub n_qualified: u64,
    /// Marked as drift.
    pub n_drift: u64,
    /// Without a fix.
    pub n_no_fix: u64,
}

/// A trip.
#[derive(Clone, Debug, PartialEq)]
pub struct Trip {
    /// When it began.
    pub from_at: Timestamp,
    /// When the vehicle stood again, or was last heard.
    pub to_at: Timestamp,
    /// Where it began.
    pub from: Wgs84,
    /// Where it ended.
    pub to: Wgs84,
    /// Metres.
    pub distance_m: f64,
    /// Seconds moving.
    pub driving_s: f64,
    /// Seconds standing on the way with the ignition on.
    pub idle_s: f64,
    /// Greatest speed.
    pub speed_max_kmh: f64,
    /// Still going on at the last position.
    pub open: bool,
}

/// A stop.
#[derive(Clone, Debug, PartialEq)]
pub struct Stop {
    /// When the vehicle came to stand.
    pub from_at: Timestamp,
    /// When it drove on; `None` if it stands still.
    pub to_at: Option<Timestamp>,
    /// Where.
    pub place: Wgs84,
    /// Seconds with the ignition on.
    pub idle_s: f64,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingKind {
    /// Faster than its limit.
    Overspeed,
    /// Driven too long without a rest.
    Fatigue,
    /// Driven in forbidden hours.
    Ban,
}

impl FindingKind {
    /// The word on the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Overspeed => "overspeed",
            Self::Fatigue => "fatigue",
            Self::Ban => "ban",
        }
    }
}

/// Something a person should look at.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What.
    pub kind: FindingKind,
    /// When it began.
    pub from_at: Timestamp,
    /// The last position that shows it.
    pub to_at: Timestamp,
    /// Greatest speed in km/h, or seconds.
    pub value: f64,
    /// The limit, in the same unit.
    pub limit: f64,
    /// Standard and clause of the limit.
    pub source: String,
    /// How sure we are of it.
    pub confidence: String,
}

/// A position as these rules see it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Fix {
    at: Timestamp,
    place: Wgs84,
    speed_kmh: f64,
    moving: bool,
    ignition: bool,
}

/// Goes through `positions`, which come in event order.
///
/// `kind` is the vehicle's kind word, `limit_kmh` its own speed limit if it has one.
pub fn walk<'a>(positions: impl IntoIterator<Item = &'a Position>, rules: &RoadRules, kind: &str, limit_kmh: Option<f64>) -> Walk {
    let mut walker = Walker::new(rules, kind, limit_kmh);
    for position in positions {
        walker.count(position);
        if position.flags.has(Flags::DRIFT) || position.flags.has(Flags::NO_FIX) {
            continue;
        }
        let speed_kmh = position.speed_kmh();
        walker.step(Fix {
            at: position.event_at,
            place: position.place(),
            speed_kmh,
            moving: speed_kmh >= rules.trip.is.moving_min_kmh,
            // Bit 0 of the status word: ACC (JT/T 808-2013 table 25).
            ignition: position.status_bits & 1 == 1,
        });
    }
    walker.finish()
}

struct Walker<'r> {
    rules: &'r RoadRules,
    limit: Option<(f64, String, String)>,
    driving: Vec<Watch<'r>>,
    bans: Vec<(&'r super::rules::Sourced<super::rules::BanRules>, Option<usize>)>,
    out: Walk,
    last: Option<Fix>,
    trip: Option<OpenTrip>,
    /// A speed above the limit: since when, until when, how fast.
    fast: Option<(Timestamp, Timestamp, f64)>,
}

struct OpenTrip {
    trip: Trip,
    /// Where and when it came to stand, and how long it had stood with the ignition on until then.
    standing: Option<(Fix, f64)>,
}

/// One rule on continuous driving.
struct Watch<'r> {
    rule: &'r super::rules::Sourced<super::rules::DrivingRules>,
    since: Option<Timestamp>,
    /// Standing since, within the stretch.
    resting: Option<Timestamp>,
    finding: Option<usize>,
}

fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}

impl<'r> Walker<'r> {
    fn new(rules: &'r RoadRules, kind: &str, own_kmh: Option<f64>) -> Self {
        let applies = |kinds: &[String]| kinds.iter().any(|k| k == "*" || k == kind);
        let of_kind = rules.speed_limit.iter().find(|row| row.is.kinds.iter().any(|k| k == kind));
        let limit = match (own_kmh, of_kind) {
            (Some(kmh), _) => Some((kmh, String::new(), "enterprise".to_owned())),
            (None, Some(row)) => Some((row.is.speed_max_kmh, row.source(), row.confidence.clone())),
            (None, None) => None,
        };
        let driving = rules.driving.iter().filter(|row| applies(&row.is.kinds));
        Self {
            rules,
            limit,
            driving: driving.map(|rule| Watch { rule, since: None, resting: None, finding: None }).collect(),
            bans: rules.ban.iter().filter(|row| applies(&row.is.kinds)).map(|row| (row, None)).collect(),
            out: Walk::default(),
            last: None,
            trip: None,
            fast: None,
        }
    }

    fn count(&mut self, p: &Position) {
        self.out.n += 1;
        self.out.n_drift += u64::from(p.flags.has(Flags::DRIFT));
        self.out.n_no_fix += u64::from(p.flags.has(Flags::NO_FIX));
        let timed = !p.flags.has(Flags::CLOCK_BAD) && !p.flags.has(Flags::TIME_SERVER);
        let placed = Wgs84::new(p.place().lon, p.place().lat).is_some() && (p.lon_e6, p.lat_e6) != (0, 0);
        let possible = p.speed_kmh() <= self.rules.data.is.speed_max_kmh && p.direction_deg <= 360;
        self.out.n_qualified += u64::from(timed && placed && possible);
    }

    fn step(&mut self, fix: Fix) {
        let gap_us = self.last.map_or(0, |last| fix.at.since_us(last.at));
        let silent = gap_us > self.rules.trip.is.gap_max_s.saturating_mul(1_000_000);
        if silent {
            self.end_trip_at_last();
        }
        self.judge_speed(fix, silent);
        self.judge_driving(fix, gap_us);
        let moved_m = self.moved(fix, gap_us);
        self.follow(fix, moved_m, gap_us, silent);
        self.last = Some(fix);
    }

    /// Mileage from the last position to this one; jitter of a standing vehicle is none.
    fn moved(&mut self, fix: Fix, gap_us: i64) -> f64 {
        let Some(last) = self.last else { return 0.0 };
        let metres = last.place.distance_m(fix.place);
        if !(last.moving || fix.moving || metres >= self.rules.trip.is.moved_min_m) {
            return 0.0;
        }
        self.out.distance_m += metres;
        if gap_us <= self.rules.track.is.gap_max_s.saturating_mul(1_000_000) {
            self.out.complete_m += metres;
        }
        metres
    }

    /// Trips and stops.
    fn follow(&mut self, fix: Fix, moved_m: f64, gap_us: i64, silent: bool) {
        // What happened since the last position goes by how that one was.
        let before = self.last.filter(|_| !silent);
        let driven_s = before.filter(|l| l.moving).map_or(0.0, |_| seconds(gap_us));
        let idle_s = before.filter(|l| !l.moving && l.ignition).map_or(0.0, |_| seconds(gap_us));
        self.out.driving_s += driven_s;
        self.out.idle_s += idle_s;
        match &mut self.trip {
            Some(open) => {
                open.trip.distance_m += moved_m;
                open.trip.driving_s += driven_s;
                open.trip.idle_s += idle_s;
                (open.trip.to_at, open.trip.to) = (fix.at, fix.place);
                open.trip.speed_max_kmh = open.trip.speed_max_kmh.max(fix.speed_kmh);
                if fix.moving {
                    open.standing = None;
                    return;
                }
                let (since, idle_before_s) = *open.standing.get_or_insert((fix, open.trip.idle_s));
                if seconds(fix.at.since_us(since.at)) >= self.rules.trip.is.stop_min_s as f64 {
                    self.end_trip(since, idle_before_s);
                }
            }
            None if fix.moving => {
                // It stood at the last position and moves at this one: the trip began in between.
                let start = before.unwrap_or(fix);
                if let Some(stop) = self.out.stops.last_mut().filter(|s| s.to_at.is_none()) {
                    stop.to_at = Some(start.at);
                }
                self.trip = Some(OpenTrip {
                    trip: Trip {
                        from_at: start.at,
                        to_at: fix.at,
                        from: start.place,
                        to: fix.place,
                        distance_m: if before.is_some() { moved_m } else { 0.0 },
                        driving_s: 0.0,
                        idle_s: 0.0,
                        speed_max_kmh: fix.speed_kmh,
                        open: true,
                    },
                    standing: None,
                });
            }
            None => match self.out.stops.last_mut().filter(|s| s.to_at.is_none()) {
                Some(stop) => stop.idle_s += idle_s,
                None => self.out.stops.push(Stop { from_at: fix.at, to_at: None, place: fix.place, idle_s: 0.0 }),
            },
        }
    }

    /// Ends the trip where the vehicle came to stand; what it idled since belongs to the stop.
    fn end_trip(&mut self, stood: Fix, idle_before_s: f64) {
        let Some(OpenTrip { mut trip, .. }) = self.trip.take() else { return };
        let idle_s = trip.idle_s - idle_before_s;
        (trip.to_at, trip.to, trip.idle_s, trip.open) = (stood.at, stood.place, idle_before_s, false);
        self.out.trips.push(trip);
        self.out.stops.push(Stop { from_at: stood.at, to_at: None, place: stood.place, idle_s });
    }

    /// Ends the trip with the last position: nothing was heard after it.
    fn end_trip_at_last(&mut self) {
        match (self.trip.take(), self.last) {
            (Some(OpenTrip { mut trip, standing }), Some(last)) => {
                trip.open = false;
                let stood = standing.map_or(last, |(fix, _)| fix);
                (trip.to_at, trip.to) = (stood.at, stood.place);
                self.out.trips.push(trip);
                self.out.stops.push(Stop { from_at: stood.at, to_at: None, place: stood.place, idle_s: 0.0 });
            }
            (trip, _) => self.trip = trip,
        }
    }

    fn judge_speed(&mut self, fix: Fix, silent: bool) {
        let Some((limit, ..)) = self.limit else { return };
        let over = fix.speed_kmh > limit;
        if silent || !over {
            // It held until the position that contradicts it, not only to the last that showed it.
            let until = if silent { None } else { Some(fix.at) };
            self.end_fast(until);
        }
        if over {
            let (since, _, fastest) = self.fast.unwrap_or((fix.at, fix.at, 0.0));
            self.fast = Some((since, fix.at, fastest.max(fix.speed_kmh)));
        }
    }

    fn end_fast(&mut self, until: Option<Timestamp>) {
        let (Some((from_at, to_at, value)), Some((limit, source, confidence))) = (self.fast.take(), &self.limit) else { return };
        let lasted_us = until.unwrap_or(to_at).since_us(from_at);
        if lasted_us >= self.rules.overspeed.is.continuous_s.saturating_mul(1_000_000) {
            let (limit, source, confidence) = (*limit, source.clone(), confidence.clone());
            self.out.findings.push(Finding { kind: FindingKind::Overspeed, from_at, to_at, value, limit, source, confidence });
        }
    }

    fn judge_driving(&mut self, fix: Fix, gap_us: i64) {
        let findings = &mut self.out.findings;
        for watch in &mut self.driving {
            let rule = &watch.rule.is;
            let rest_us = rule.rest_min_s.saturating_mul(1_000_000);
            let began = match &rule.hours {
                Some(hours) => hours.began(fix.at),
                None => Some(Timestamp::MIN),
            };
            // Silence as long as a rest proves nothing against the driver.
            let rested = gap_us >= rest_us || watch.resting.is_some_and(|since| fix.at.since_us(since) >= rest_us);
            if rested || began.is_none() {
                (watch.since, watch.finding) = (None, None);
            }
            watch.resting = if fix.moving { None } else { watch.resting.or(Some(fix.at)) };
            let (true, Some(began)) = (fix.moving, began) else { continue };
            let since = watch.since.map_or(fix.at, |since| since.max(began));
            watch.since = Some(since);
            let driven_s = seconds(fix.at.since_us(since));
            if driven_s <= rule.continuous_max_s as f64 {
                continue;
            }
            match watch.finding.and_then(|i| findings.get_mut(i)) {
                Some(finding) => (finding.to_at, finding.value) = (fix.at, driven_s),
                None => {
                    watch.finding = Some(findings.len());
                    findings.push(Finding {
                        kind: FindingKind::Fatigue,
                        from_at: since,
                        to_at: fix.at,
                        value: driven_s,
                        limit: rule.continuous_max_s as f64,
                        source: watch.rule.source(),
                        confidence: watch.rule.confidence.clone(),
                    });
                }
            }
        }
        for (row, finding) in &mut self.bans {
            let Some(began) = row.is.hours.began(fix.at).filter(|_| fix.moving) else { continue };
            match finding.and_then(|i| findings.get_mut(i)).filter(|f| f.from_at >= began) {
                Some(finding) => {
                    finding.to_at = fix.at;
                    finding.value = seconds(fix.at.since_us(finding.from_at));
                }
                None => {
                    *finding = Some(findings.len());
                    findings.push(Finding {
                        kind: FindingKind::Ban,
                        from_at: fix.at,
                        to_at: fix.at,
                        value: 0.0,
                        limit: 0.0,
                        source: row.source(),
                        confidence: row.confidence.clone(),
                    });
                }
            }
        }
    }

    fn finish(mut self) -> Walk {
        self.end_fast(None);
        if let Some(OpenTrip { trip, .. }) = self.trip.take() {
            self.out.trips.push(trip);
        }
        self.out.findings.sort_by_key(|f| (f.from_at, f.kind));
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::tests::base;
    use super::*;
    use anlan_model::VehicleId;

    /// 2026-11-23 08:00 in Beijing.
    const MORNING: i64 = 1_795_392_000;

    fn position(second: i64, metres: f64, speed_kmh: f64, flags: Flags) -> Position {
        Position {
            vehicle: VehicleId::new(1),
            event_at: Timestamp::from_secs(second),
            device_at: Some(Timestamp::from_secs(second)),
            received_at: Timestamp::from_secs(second),
            lon_e6: 102_000_000 + (metres / 101_600.0 * 1e6) as i32,
            lat_e6: 24_000_000,
            altitude_m: 1_650,
            speed_dkmh: (speed_kmh * 10.0) as u16,
            direction_deg: 90,
            alarm_bits: 0,
            status_bits: 3,
            body_crc: 0,
            flags,
            items: Vec::new(),
        }
    }

    /// Drives at `speed_kmh` for `minutes`, a position every 30 s, from where and when the last one was.
    fn drive(track: &mut Vec<Position>, speed_kmh: f64, minutes: i64) {
        let (mut second, mut metres) =
            track.last().map_or((MORNING, 0.0), |p| (p.event_at.micros() / 1_000_000, f64::from(p.lon_e6 - 102_000_000) / 1e6 * 101_600.0));
        for _ in 0..minutes * 2 {
            second += 30;
            metres += speed_kmh / 3.6 * 30.0;
            track.push(position(second, metres, speed_kmh, Flags::empty()));
        }
    }

    fn at(track: &[Position], i: usize) -> Timestamp {
        track[i].event_at
    }

    #[test]
    fn two_trips_with_a_stop_between_them() {
        let mut track = vec![position(MORNING, 0.0, 0.0, Flags::empty())];
        drive(&mut track, 60.0, 10);
        drive(&mut track, 0.0, 20);
        drive(&mut track, 36.0, 5);
        let walk = walk(&track, &base(), "truck", None);
        assert_eq!((walk.trips.len(), walk.stops.len()), (2, 2), "{walk:?}");
        let (first, second) = (&walk.trips[0], &walk.trips[1]);
        assert_eq!((first.from_at, first.to_at, first.open), (at(&track, 0), at(&track, 21), false));
        assert!((first.distance_m - 10_000.0).abs() < 100.0, "{}", first.distance_m);
        assert_eq!((first.driving_s, first.idle_s, first.speed_max_kmh), (600.0, 0.0, 60.0));
        assert_eq!((second.from_at, second.open), (at(&track, 60), true));
        let stop = &walk.stops[1];
        assert_eq!((stop.from_at, stop.to_at, stop.idle_s), (at(&track, 21), Some(at(&track, 60)), 39.0 * 30.0));
        assert_eq!(walk.idle_s, 30.0 + 39.0 * 30.0 + 30.0, "before, at the stop, and until it was seen to move");
        assert!((walk.distance_m - walk.complete_m).abs() < 1e-6);
    }

    #[test]
    fn a_short_halt_is_part_of_the_trip() {
        let mut track = Vec::new();
        drive(&mut track, 50.0, 5);
        drive(&mut track, 0.0, 3);
        drive(&mut track, 50.0, 5);
        let walk = walk(&track, &base(), "truck", None);
        assert_eq!((walk.trips.len(), walk.stops.len()), (1, 0));
        assert!(walk.trips[0].idle_s > 100.0);
    }

    #[test]
    fn silence_ends_a_trip_and_makes_the_track_incomplete() {
        let mut track = Vec::new();
        drive(&mut track, 60.0, 10);
        let end = track.last().unwrap().clone();
        let mut later = position(end.event_at.micros() / 1_000_000 + 1_800, 40_000.0, 60.0, Flags::empty());
        later.lat_e6 = end.lat_e6;
        track.push(later);
        drive(&mut track, 60.0, 10);
        let walk = walk(&track, &base(), "truck", None);
        assert_eq!(walk.trips.len(), 2);
        assert_eq!(walk.trips[0].to_at, end.event_at);
        assert!((walk.distance_m - 49_500.0).abs() < 200.0, "{}", walk.distance_m);
        assert!((walk.complete_m - 19_500.0).abs() < 200.0, "{}", walk.complete_m);
    }

    #[test]
    fn drift_and_lost_fixes_are_counted_and_add_no_mileage() {
        let mut track = Vec::new();
        drive(&mut track, 60.0, 5);
        let clean = walk(&track, &base(), "truck", None);
        let second = at(&track, 4).micros() / 1_000_000;
        track.insert(5, position(second + 10, 160_000.0, 60.0, Flags::DRIFT));
        track.insert(6, position(second + 20, 0.0, 0.0, Flags::NO_FIX));
        let walk = walk(&track, &base(), "truck", None);
        assert_eq!((walk.n, walk.n_drift, walk.n_no_fix), (12, 1, 1));
        assert_eq!((walk.distance_m, walk.trips), (clean.distance_m, clean.trips));
    }

    #[test]
    fn impossible_values_are_not_qualified() {
        let mut bad = [
            position(MORNING, 0.0, 300.0, Flags::empty()),
            position(MORNING + 30, 0.0, 0.0, Flags::CLOCK_BAD),
            position(MORNING + 60, 0.0, 0.0, Flags::TIME_SERVER),
            position(MORNING + 90, 0.0, 0.0, Flags::empty()),
            position(MORNING + 120, 0.0, 0.0, Flags::empty()),
        ];
        (bad[3].lon_e6, bad[3].lat_e6) = (0, 0);
        let walk = walk(&bad, &base(), "truck", None);
        assert_eq!((walk.n, walk.n_qualified), (5, 1));
    }

    #[test]
    fn speeding_must_last_and_names_its_limit() {
        let mut track = Vec::new();
        drive(&mut track, 70.0, 5);
        drive(&mut track, 95.0, 3);
        drive(&mut track, 70.0, 5);
        let found = |kind: &str, own| walk(&track, &base(), kind, own).findings;
        let fast = found("hazmat", None);
        assert_eq!(fast.len(), 1, "{fast:?}");
        assert_eq!((fast[0].kind, fast[0].value, fast[0].limit), (FindingKind::Overspeed, 95.0, 80.0));
        assert_eq!((fast[0].from_at, fast[0].to_at), (at(&track, 10), at(&track, 15)));
        assert!(!fast[0].source.is_empty() && fast[0].confidence == "verified-secondary");
        assert_eq!(found("hazmat", Some(100.0)), [], "its own limit counts");
        assert_eq!(found("", None), [], "nobody knows a limit");
    }

    #[test]
    fn four_hours_without_rest_are_found_and_a_rest_begins_anew() {
        let fatigue = |track: &[Position]| -> Vec<f64> {
            walk(track, &base(), "truck", None).findings.iter().filter(|f| f.kind == FindingKind::Fatigue).map(|f| f.value).collect()
        };
        let mut track = Vec::new();
        drive(&mut track, 60.0, 235);
        assert!(fatigue(&track).is_empty());
        let mut tired = track.clone();
        drive(&mut tired, 0.0, 10);
        drive(&mut tired, 60.0, 60);
        let found = fatigue(&tired);
        assert_eq!(found.len(), 1, "ten minutes are no rest: {found:?}");
        assert!((found[0] - 305.0 * 60.0).abs() < 60.0, "{found:?}");
        drive(&mut track, 0.0, 25);
        drive(&mut track, 60.0, 60);
        assert!(fatigue(&track).is_empty(), "twenty-five are");
    }

    #[test]
    fn coaches_do_not_drive_between_two_and_five() {
        let night = 1_795_392_000 - 8 * 3_600 + 3_600; // 01:00 in Beijing.
        let mut track = vec![position(night, 0.0, 60.0, Flags::empty())];
        drive(&mut track, 60.0, 90);
        let found = |kind: &str| -> Vec<Finding> {
            walk(&track, &base(), kind, None).findings.into_iter().filter(|f| f.kind == FindingKind::Ban).collect()
        };
        let ban = found("coach");
        assert_eq!(ban.len(), 1);
        assert_eq!((ban[0].from_at, ban[0].value), (Timestamp::from_secs(night + 3_600), 1_800.0));
        assert!(found("truck").is_empty());
    }
}
