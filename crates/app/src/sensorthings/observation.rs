//! Observations: readings of points, found by time first.
//!
//! What a filter says of times becomes a range, what it says of the datastream alone narrows the points; the rest is asked of every reading, and
//! a request looks at [`super::READINGS_MAX`] of them at most. In order of time a page begins where the one before ended (`$skiptoken`), so that
//! the last page costs what the first did; a page may be short if few readings fit, and then says where to go on; if none fits it is refused. Any other order, and a count,
//! needs all readings in range and is refused beyond that number.

use std::cmp::Ordering;

use anlan_archive::ArchiveError;
use anlan_model::{PointId, Reading, Timestamp};
use anlan_protocols::sensorthings::{Entity, Expr, Order, Query, Refusal, Value};

use super::world::{Node, What, World, points};
use super::{READINGS_MAX, STREAMS_MAX};

/// Readings read at once.
const PIECE: usize = 5_000;

/// Why a question ends.
#[derive(Debug)]
pub(super) enum Stop {
    Refused(Refusal),
    Failed(ArchiveError),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
impl From<ArchiveError> for Stop {
    fn from(error: ArchiveError) -> Self {
        Self::Failed(error)
    }
}

/// A page of readings.
pub(super) struct Found {
    pub(super) readings: Vec<Reading>,
    pub(super) count: Option<u64>,
    /// Where the next page begins: an option and its value.
    pub(super) next: Option<(&'static str, String)>,
}

/// Where a page ended: every reading up to here was shown or did not fit. Of one instant, those of points up to this one.
#[derive(Clone, Copy)]
struct Token {
    at: Timestamp,
    point: PointId,
}

impl Token {
    fn read(text: &str) -> Option<Self> {
        let (at, point) = text.split_once('.')?;
        Some(Self { at: Timestamp::from_micros(at.parse().ok()?), point: PointId::new(point.parse().ok()?) })
    }
    /// Whether the reading is still to come.
    fn is_before(self, reading: &Reading, descending: bool) -> bool {
        match reading.event_at.cmp(&self.at) {
            Ordering::Equal => reading.point > self.point,
            Ordering::Greater => !descending,
            Ordering::Less => descending,
        }
    }
    fn text(self) -> String {
        format!("{}.{}", self.at.micros(), self.point)
    }
}

/// What is asked of each reading.
struct Asked<'a> {
    world: &'a World,
    parts: Vec<&'a Expr>,
    from: Timestamp,
    to: Timestamp,
}

/// A part of what one point gave.
struct Scan {
    fitting: Vec<Reading>,
    /// Nothing behind this was looked at, because enough was.
    until: Option<Timestamp>,
}

pub(super) fn list(world: &World, mut of: Vec<PointId>, query: &Query) -> Result<Found, Stop> {
    let mut parts = Vec::new();
    for part in query.filter.iter().flat_map(Expr::conjuncts) {
        let narrowed =
            Entity::Observation.links().iter().find_map(|link| Some((link, part.through(link)?)).filter(|_| !part.is_constant()));
        let Some((link, part)) = narrowed else {
            parts.push(part);
            continue;
        };
        let mut kept = Vec::new();
        for id in of {
            let what = if link.to == Entity::Datastream { What::Datastream(id) } else { What::Feature(id) };
            world.eval.step()?;
            if world.eval.fits(&part, &world.node(what))? {
                kept.push(id);
            }
        }
        of = kept;
    }
    if of.len() > STREAMS_MAX {
        let what = "Datastreams whose Observations are asked for at once (name them in the path or in the filter)";
        return Err(Refusal::TooMuch { what, most: STREAMS_MAX as u64 }.into());
    }
    let (mut from, mut to) = (i64::MIN, i64::MAX);
    if let Some(filter) = &query.filter {
        (from, to) = world.eval.bounds(filter, &["phenomenonTime", "resultTime"]);
    }
    let asked = Asked { world, parts, from: Timestamp::from_micros(from), to: Timestamp::from_micros(to) };
    match by_time(&query.orderby) {
        Some(descending) => asked.paged(&of, query, descending),
        None => asked.whole(&of, query),
    }
}

/// Whether the order is that of time, and which way; `None` = another.
fn by_time(orderby: &[Order]) -> Option<bool> {
    let name = |order: &Order| match &order.by {
        Expr::Path(route) => route.own().map(str::to_owned),
        _ => None,
    };
    match orderby {
        [] => Some(false),
        [one] if matches!(name(one).as_deref(), Some("phenomenonTime" | "resultTime")) => Some(one.descending),
        _ => None,
    }
}

impl Asked<'_> {
    fn fits(&self, reading: &Reading) -> Result<bool, Refusal> {
        let node = self.world.node(What::Observation(*reading));
        for part in &self.parts {
            if !self.world.eval.fits(part, &node)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
    fn spend(&self, n: usize) -> bool {
        let left = self.world.readings_left.get();
        self.world.readings_left.set(left.saturating_sub(n as u64));
        left > n as u64
    }

    /// Every reading in range that fits.
    fn every(&self, of: &[PointId], what: &'static str) -> Result<Vec<Reading>, Stop> {
        let mut all = Vec::new();
        for id in of {
            let mut after = None;
            loop {
                let rows = self.world.telemetry.readings(&self.world.seen, *id, self.from, self.to, after, PIECE)?;
                if !self.spend(rows.len()) {
                    return Err(Refusal::TooMuch { what, most: READINGS_MAX }.into());
                }
                for row in &rows {
                    if self.fits(row)? {
                        all.push(*row);
                    }
                }
                match rows.last() {
                    Some(last) if rows.len() == PIECE => after = Some(last.event_at),
                    _ => break,
                }
            }
        }
        Ok(all)
    }

    fn whole(&self, of: &[PointId], query: &Query) -> Result<Found, Stop> {
        let all = self.every(of, "Observations in an order that is not that of time (say a shorter time)")?;
        let mut keyed = Vec::with_capacity(all.len());
        for reading in all {
            let node = self.world.node(What::Observation(reading));
            let keys = query.orderby.iter().map(|o| self.world.eval.value(&o.by, &node)).collect::<Result<Vec<Value>, _>>()?;
            keyed.push((keys, reading));
        }
        keyed
            .sort_by(|(a, x), (b, y)| super::by_keys(&query.orderby, a, b).then_with(|| (x.event_at, x.point).cmp(&(y.event_at, y.point))));
        let count = keyed.len() as u64;
        let shown = keyed.into_iter().map(|(_, r)| r).skip(place(query.skip)).take(place(query.size())).collect();
        let end = query.skip.saturating_add(query.size());
        let next = (end < count && query.size() > 0).then(|| ("$skip", end.to_string()));
        Ok(Found { readings: shown, count: query.count.then_some(count), next })
    }

    fn paged(&self, of: &[PointId], query: &Query, descending: bool) -> Result<Found, Stop> {
        let token = match &query.skiptoken {
            Some(text) => Some(Token::read(text).ok_or(Refusal::Syntax { at: 0, expected: "a $skiptoken of this service" })?),
            None => None,
        };
        let size = place(query.size());
        let skip = place(query.skip);
        if query.count {
            let mut all = self.every(of, "Observations that are counted (say a shorter time, or leave $count out)")?;
            let count = Some(all.len() as u64);
            if let Some(token) = token {
                all.retain(|r| token.is_before(r, descending));
            }
            return Ok(cut(all, None, skip, size, descending, count));
        }
        if size == 0 {
            return Ok(Found { readings: Vec::new(), count: None, next: None });
        }
        let need = skip.saturating_add(size).saturating_add(1);
        let (mut all, mut horizon): (Vec<Reading>, Option<Timestamp>) = (Vec::new(), None);
        let earlier = |a: Timestamp, b: Timestamp| if descending { a.max(b) } else { a.min(b) };
        for (i, id) in of.iter().enumerate() {
            // Each point may look at its part of what is left.
            let share = self.world.readings_left.get() / (of.len() - i) as u64;
            let scan = self.scan(*id, token, need, share, descending)?;
            all.extend(scan.fitting);
            horizon = match (horizon, scan.until) {
                (Some(a), Some(b)) => Some(earlier(a, b)),
                (a, b) => a.or(b),
            };
        }
        if let Some(horizon) = horizon {
            let beyond = if descending { Ordering::Less } else { Ordering::Greater };
            all.retain(|r| r.event_at.cmp(&horizon) != beyond);
            // An empty page with a next one would do, but clients take it for the end.
            if all.len() <= skip {
                let what =
                    "Observations looked at before one was found to show (say a shorter time; follow @iot.nextLink instead of $skip)";
                return Err(Refusal::TooMuch { what, most: READINGS_MAX }.into());
            }
        }
        Ok(cut(all, horizon, skip, size, descending, None))
    }

    /// Readings of one point behind the token, until `need` fit or `share` were looked at.
    fn scan(&self, id: PointId, token: Option<Token>, need: usize, share: u64, descending: bool) -> Result<Scan, Stop> {
        // Of the token's instant, points after its own are still to come.
        let (mut from, mut to) = (self.from, self.to);
        if let Some(token) = token {
            let is_over = id <= token.point;
            if descending {
                to = to.min(if is_over { token.at } else { token.at.plus_us(1) });
            } else {
                from = from.max(if is_over { token.at.plus_us(1) } else { token.at });
            }
        }
        if descending { self.backwards(id, from, to, need, share) } else { self.forwards(id, from, to, need, share) }
    }

    fn forwards(&self, id: PointId, from: Timestamp, to: Timestamp, need: usize, share: u64) -> Result<Scan, Stop> {
        let (mut fitting, mut after, mut looked) = (Vec::new(), None, 0_u64);
        let piece = need.clamp(100, PIECE);
        loop {
            let rows = self.world.telemetry.readings(&self.world.seen, id, from, to, after, piece)?;
            self.spend(rows.len());
            looked += rows.len() as u64;
            for row in &rows {
                if self.fits(row)? {
                    fitting.push(*row);
                }
            }
            match rows.last() {
                Some(last) if rows.len() == piece => after = Some(last.event_at),
                _ => return Ok(Scan { fitting, until: None }),
            }
            if fitting.len() >= need {
                return Ok(Scan { fitting, until: None });
            }
            if looked >= share {
                return Ok(Scan { fitting, until: after });
            }
        }
    }

    /// The history reads forwards only: windows that end where the one before began, wider where little lies.
    fn backwards(&self, id: PointId, from: Timestamp, to: Timestamp, need: usize, share: u64) -> Result<Scan, Stop> {
        let (mut fitting, mut looked) = (Vec::new(), 0_u64);
        // A point of which everything is archived has no newest reading in memory: nothing is archived of days to come.
        let newest = self.world.telemetry.latest(&self.world.seen, id).map_or(self.world.now, |newest| newest.event_at);
        let mut end = to.min(newest.plus_us(1));
        let mut width_us: i64 = 60_000_000;
        while end > from {
            let start = end.plus_us(-width_us).max(from);
            let rows = self.world.telemetry.readings(&self.world.seen, id, start, end, None, PIECE + 1)?;
            self.spend(rows.len());
            looked += rows.len() as u64;
            if rows.len() > PIECE && width_us > 1 {
                width_us = (width_us / 4).max(1);
                continue;
            }
            for row in rows.iter().rev() {
                if self.fits(row)? {
                    fitting.push(*row);
                }
            }
            end = start;
            if fitting.len() >= need {
                break;
            }
            if looked >= share && end > from {
                return Ok(Scan { fitting, until: Some(end) });
            }
            if rows.len() < PIECE / 4 {
                width_us = width_us.saturating_mul(4);
            }
        }
        Ok(Scan { fitting, until: None })
    }
}

/// The page of what fits behind the token, and where the next begins.
fn cut(mut all: Vec<Reading>, horizon: Option<Timestamp>, skip: usize, size: usize, descending: bool, count: Option<u64>) -> Found {
    all.sort_by(|a, b| {
        let time = a.event_at.cmp(&b.event_at);
        (if descending { time.reverse() } else { time }).then(a.point.cmp(&b.point))
    });
    let more = size > 0 && all.len() > skip.saturating_add(size);
    let readings: Vec<Reading> = all.into_iter().skip(skip).take(size).collect();
    let next = match (more, readings.last(), horizon) {
        (true, Some(last), _) => Some(Token { at: last.event_at, point: last.point }),
        (_, _, Some(at)) => Some(Token { at, point: PointId::new(i64::MAX) }),
        _ => None,
    };
    Found { readings, count, next: next.map(|token| ("$skiptoken", token.text())) }
}

fn place(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// One reading by its id.
pub(super) fn find<'w>(world: &'w World, id: &anlan_protocols::sensorthings::Id) -> Result<Option<Node<'w>>, Stop> {
    let Some((point, at)) = super::world::observation_of(id) else { return Ok(None) };
    if world.streams().binary_search(&point).is_err() {
        return Ok(None);
    }
    let found = world.telemetry.readings(&world.seen, point, at, at.plus_us(1), None, 1)?;
    Ok(found.into_iter().next().map(|reading| world.node(What::Observation(reading))))
}

/// Points whose observations lie at the end of a link.
pub(super) fn of_node(node: &Node<'_>) -> Vec<PointId> {
    points(std::slice::from_ref(node))
}
