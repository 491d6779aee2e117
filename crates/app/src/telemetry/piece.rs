//! Pieces of readings for another node: of the log behind a position, or of one origin's day from history.
//!
//! A piece is one byte of version, the unpacked length, then zstd over, for each origin, its id, a length and its readings as columns, points
//! named by the origin's own ids. Blocking: file reading belongs on a thread of the runtime's blocking pool. What comes from outside is
//! bounded before it is believed. Start at [`LogPieces::read`], [`read_day`] and [`decode`].

use std::collections::{BTreeMap, VecDeque};

use anlan_archive::{ArchiveError, Whole};
use anlan_history::batch::{decode_readings, encode_readings};
use anlan_history::{HistoryError, Lsn, Tail};
use anlan_link::agreement::{Around, Readings, Row, Sieve};
use anlan_model::{NodeId, PointId, Reading, Timestamp};

use crate::around::Agreed;
use crate::clock::day_bounds;
use crate::registry::Snapshot;

/// Version byte in front.
const FORMAT: u8 = 1;
/// Most readings a piece may have: more is refused unread.
pub const READINGS_MAX: usize = 200_000;
/// Most bytes a piece may unpack to.
const UNPACKED_MAX: usize = 32 << 20;
/// Level 3 saves 1 % and takes twice as long.
const ZSTD_LEVEL: i32 = 1;

/// Readings of some records, packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Behind this record.
    pub from: u64,
    /// Up to this one; no later than the last durable one.
    pub to: u64,
    /// Says what the record at `to` is, so that another log is told from this one.
    pub tag: u64,
    /// Readings in it.
    pub n_readings: usize,
    /// For [`decode`]; empty if there are no readings.
    pub bytes: Vec<u8>,
}

/// A part of a day, packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayPiece {
    /// Readings in it.
    pub n_readings: usize,
    /// For [`decode`]; empty if there are no readings.
    pub bytes: Vec<u8>,
    /// Where the next part begins; `None`: this is the last.
    pub next: Option<DayCursor>,
}

/// The last reading of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DayCursor {
    /// As it is called here.
    point: PointId,
    event_at: Timestamp,
    revision: u16,
}

/// Why there is no piece.
#[derive(Debug, thiserror::Error)]
pub enum PieceError {
    /// Nobody has kept the log so long; what stood there is found by day.
    #[error("the log begins with record {first_available}")]
    Gone {
        /// The first that is still there.
        first_available: u64,
    },
    /// The log.
    #[error("the log")]
    History(#[source] HistoryError),
    /// History or archive.
    #[error("history")]
    Archive(#[from] ArchiveError),
}

impl From<HistoryError> for PieceError {
    fn from(e: HistoryError) -> Self {
        match e {
            HistoryError::NotInLog { first, .. } => Self::Gone { first_available: first.0 },
            other => Self::History(other),
        }
    }
}

/// The bytes are no piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPiece {
    /// Another version.
    #[error("version {0} of a piece of readings is not known here")]
    Version(u8),
    /// More than a piece may have.
    #[error("a piece has at most {READINGS_MAX} readings and {UNPACKED_MAX} bytes")]
    TooMuch,
    /// Anything else.
    #[error("the piece of readings is damaged")]
    Damaged,
}

/// Packs readings by origin.
pub fn encode(origins: &BTreeMap<NodeId, Vec<Reading>>) -> Vec<u8> {
    let (mut plain, mut columns) = (Vec::new(), Vec::new());
    for (origin, readings) in origins.iter().filter(|(_, readings)| !readings.is_empty()) {
        columns.clear();
        encode_readings(readings, &mut columns);
        plain.extend_from_slice(&origin.get().to_be_bytes());
        plain.extend_from_slice(&(columns.len() as u32).to_be_bytes());
        plain.extend_from_slice(&columns);
    }
    if plain.is_empty() {
        return plain;
    }
    let packed = zstd::bulk::compress(&plain, ZSTD_LEVEL).expect("memory is packed into memory, with a level that is known");
    let mut bytes = Vec::with_capacity(packed.len() + 5);
    bytes.push(FORMAT);
    bytes.extend_from_slice(&(plain.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&packed);
    bytes
}

/// What [`encode`] packed, origins ascending, each with readings by point, instant and revision; `received_at` is the receiver's.
/// Points are the origin's own. Takes anything from anybody.
///
/// # Errors
/// [`BadPiece`].
pub fn decode(bytes: &[u8], received_at: Timestamp) -> Result<Vec<(NodeId, Vec<Reading>)>, BadPiece> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let (head, packed) = bytes.split_at_checked(5).ok_or(BadPiece::Damaged)?;
    if head[0] != FORMAT {
        return Err(BadPiece::Version(head[0]));
    }
    let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if len > UNPACKED_MAX {
        return Err(BadPiece::TooMuch);
    }
    let plain = zstd::bulk::decompress(packed, len).map_err(|_| BadPiece::Damaged)?;
    if plain.len() != len {
        return Err(BadPiece::Damaged);
    }
    let mut origins: Vec<(NodeId, Vec<Reading>)> = Vec::new();
    let (mut rest, mut left) = (plain.as_slice(), READINGS_MAX);
    while !rest.is_empty() {
        let (origin, behind) = rest.split_first_chunk::<16>().ok_or(BadPiece::Damaged)?;
        let (len, behind) = behind.split_first_chunk::<4>().ok_or(BadPiece::Damaged)?;
        let (columns, behind) = behind.split_at_checked(u32::from_be_bytes(*len) as usize).ok_or(BadPiece::Damaged)?;
        let origin = NodeId::new(u128::from_be_bytes(*origin));
        let readings = decode_readings(columns, received_at, left).ok_or(BadPiece::Damaged)?;
        left -= readings.len();
        if readings.is_empty() || origins.last().is_some_and(|(last, _)| *last >= origin) {
            return Err(BadPiece::Damaged);
        }
        origins.push((origin, readings));
        rest = behind;
    }
    Ok(origins)
}

/// Reads the log piece by piece; goes on where it was if asked for what follows.
pub struct LogPieces {
    whole: Whole,
    tail: Option<(u64, Tail)>,
    agreed: Agreed,
    sieve: Sieve,
    /// What lies around alarms that were not known yet when it was read past, by point here.
    owed: Owed,
    /// What of that went with pieces, and up to where those reached: a piece that is read again has it again.
    went: VecDeque<(u64, Owed)>,
}

type Owed = BTreeMap<PointId, Around>;

/// What was read past before an alarm was known goes with the pieces that follow, of so long at most; what is older is found when the day is over.
const READ_PAST_US: i64 = 2 * 3_600_000_000;
/// Pieces that are remembered for what went with them: more are never under way.
const WENT_MAX: usize = 256;

impl LogPieces {
    /// Has read nothing.
    pub fn new(whole: Whole) -> Self {
        Self { whole, tail: None, agreed: Agreed::plain(Readings::All), sieve: Sieve::default(), owed: Owed::new(), went: VecDeque::new() }
    }

    /// From here on at least what is agreed of each day is in a piece; without this, everything.
    pub fn agree(&mut self, agreed: Agreed, now: Timestamp) {
        let is_another = self.agreed.readings != agreed.readings;
        if is_another {
            self.sieve = Sieve::default();
            self.owed.clear();
            self.went.clear();
        }
        if agreed.readings == Readings::Alarms && !self.agreed.is_as(&agreed) {
            let since = now.plus_us(-READ_PAST_US).micros();
            // Clocks of devices may be ahead.
            let until = now.plus_us(Around::MARGIN_US).micros();
            // An alarm that ended meanwhile reaches less far.
            self.owed.retain(|point, owed| {
                *owed = owed.shared(agreed.around(*point));
                !owed.is_empty()
            });
            for (point, around) in agreed.points() {
                owe(&mut self.owed, point, &around.without(self.agreed.around(point)).within(since, until));
            }
        }
        self.agreed = agreed;
    }

    /// Readings of the records behind `from` as far as they are durable and no later than `upto`: whole records, at most `readings_max` readings
    /// and `bytes_max` packed bytes, or one record of more. `whose` says whose a point is and what it is called there; `None` = it is not told.
    /// Records without readings only move [`Piece::to`] on, and if there is nothing behind `from` it stays there.
    ///
    /// # Errors
    /// [`PieceError::Gone`] if the log no longer reaches back to `from`; the log cannot be read.
    pub fn read(
        &mut self,
        whose: &dyn Fn(PointId) -> Option<(NodeId, PointId)>,
        from: u64,
        upto: u64,
        readings_max: usize,
        bytes_max: usize,
    ) -> Result<Piece, PieceError> {
        let (mut most, mut room) = (readings_max, readings_max / 2);
        for (to, went) in std::mem::take(&mut self.went) {
            if to > from {
                went.iter().for_each(|(point, around)| owe(&mut self.owed, *point, around));
            } else {
                self.went.push_back((to, went));
            }
        }
        loop {
            let (before, still_owed) = self.read_past(whose, room);
            let Gathered { mut origins, mut n_readings, n_records, to, tag } = self.gather(whose, from, upto, most)?;
            let (n_of_log, has_more) = (n_readings, !before.is_empty());
            for (origin, readings) in before {
                let all = origins.entry(origin).or_default();
                let n_before = all.len();
                all.extend(readings);
                all.sort_unstable_by_key(|r| (r.point, r.event_at, r.revision));
                all.dedup_by_key(|r| (r.point, r.event_at, r.revision));
                n_readings += all.len() - n_before;
            }
            let bytes = encode(&origins);
            if bytes.len() > bytes_max && (n_records > 1 || has_more) {
                // Hardly ever: values that no column makes shorter.
                (most, room) = (n_of_log / 2, room / 2);
                self.tail = None;
                continue;
            }
            if to > from {
                let mut went = std::mem::replace(&mut self.owed, still_owed);
                went.retain(|point, around| {
                    *around = self.owed.get(point).map_or_else(|| around.clone(), |still| around.without(still));
                    !around.is_empty()
                });
                if !went.is_empty() {
                    self.went.push_back((to, went));
                    self.went.drain(..self.went.len().saturating_sub(WENT_MAX));
                }
            }
            return Ok(Piece { from, to, tag, n_readings, bytes });
        }
    }

    /// What is owed, some `most` readings of it, and what is owed then.
    fn read_past(&self, whose: &dyn Fn(PointId) -> Option<(NodeId, PointId)>, most: usize) -> (BTreeMap<NodeId, Vec<Reading>>, Owed) {
        let (mut found, mut n, mut owed) = (BTreeMap::<NodeId, Vec<Reading>>::new(), 0, self.owed.clone());
        for (here, around) in &self.owed {
            for (from, until) in around.spans() {
                if n >= most {
                    return (found, owed);
                }
                let mut behind = *until;
                if let Some((origin, there)) = whose(*here) {
                    let read = self.whole.every_revision(*here, Timestamp::from_micros(*from), Timestamp::from_micros(*until));
                    let mut rows = read.unwrap_or_else(|failure| {
                        // The log goes on; the comparison of the day finds what is missing.
                        tracing::warn!(error = &failure as &dyn std::error::Error, "what lies around an alarm cannot be read");
                        Vec::new()
                    });
                    if let Some(next) = rows.get(most - n).map(|next| next.event_at) {
                        // Never in the middle of an instant, unless it is all there is room for.
                        let whole_instants = rows.partition_point(|r| r.event_at < next);
                        rows.truncate(if whole_instants > 0 { whole_instants } else { rows.partition_point(|r| r.event_at <= next) });
                        behind = rows.last().map_or(*until, |last| last.event_at.micros() + 1);
                    }
                    n += rows.len();
                    found.entry(origin).or_default().extend(rows.iter().map(|r| Reading { point: there, ..*r }));
                }
                if let Some(left) = owed.get_mut(here) {
                    *left = left.without(&Around::nothing().with(*from, behind));
                }
            }
            owed.retain(|_, left| !left.is_empty());
        }
        (found, owed)
    }

    fn gather(
        &mut self,
        whose: &dyn Fn(PointId) -> Option<(NodeId, PointId)>,
        from: u64,
        upto: u64,
        most: usize,
    ) -> Result<Gathered, PieceError> {
        let mut tail = match self.tail.take() {
            Some((at, tail)) if at == from => tail,
            _ => {
                // What passed before this is not known: more passes than is agreed.
                self.sieve = Sieve::default();
                self.whole.hot().tail(Lsn(from))
            }
        };
        let mut found = Gathered { to: from, ..Gathered::default() };
        while found.to < upto && found.n_readings < most.max(1) {
            let Some(record) = tail.next() else { break };
            let (lsn, record) = record?;
            if found.n_readings > 0 && found.n_readings + record.readings.len() > most {
                // It begins the next piece, which asks the log for it again.
                return Ok(found);
            }
            (found.to, found.tag) = (lsn.0, tail.tag());
            let before = found.n_readings;
            for of_point in record.readings.chunk_by(|a, b| a.point == b.point) {
                let Some((origin, point)) = whose(of_point[0].point) else { continue };
                let around = self.agreed.around(of_point[0].point);
                let passes = |r: &&Reading| self.sieve.passes(self.agreed.readings, r.point.get(), row_of(r), around);
                let before = found.n_readings;
                let passed = of_point.iter().filter(passes).map(|r| Reading { point, ..*r }).collect::<Vec<_>>();
                found.n_readings += passed.len();
                if found.n_readings > before {
                    found.origins.entry(origin).or_default().extend(passed);
                }
            }
            found.n_records += usize::from(found.n_readings > before);
        }
        self.tail = Some((found.to, tail));
        Ok(found)
    }
}

fn owe(owed: &mut Owed, point: PointId, around: &Around) {
    for (from, until) in around.spans() {
        owed.entry(point).or_default().add(*from, *until);
    }
}

/// A reading as an agreement looks at it.
pub(crate) fn row_of(r: &Reading) -> Row {
    Row { at_us: r.event_at.micros(), revision: r.revision, value: r.value, quality: r.quality.code() }
}

/// Readings of some records.
#[derive(Default)]
struct Gathered {
    origins: BTreeMap<NodeId, Vec<Reading>>,
    n_readings: usize,
    /// Records with any.
    n_records: usize,
    to: u64,
    tag: u64,
}

/// Points of an origin: as they are called here, and there; ascending by the former. `own` is this node.
pub fn points_of(snapshot: &Snapshot, own: NodeId, origin: NodeId) -> Vec<(PointId, PointId)> {
    let mut points: Vec<_> = if origin == own {
        snapshot.points.keys().filter(|id| !snapshot.mirrored.contains_key(id)).map(|id| (*id, *id)).collect()
    } else {
        snapshot.mirrored.iter().filter(|(_, (node, _))| *node == origin).map(|(here, (_, there))| (*here, *there)).collect()
    };
    points.sort_unstable();
    points
}

/// Every revision of every point of `origin` on a civil day in Beijing (counted from 1970), or what is agreed of them, hot and archived, behind
/// `after`; some `readings_max` of them. `points` is what [`points_of`] says.
///
/// # Errors
/// History or archive cannot be read.
pub fn read_day(
    whole: &Whole,
    points: &[(PointId, PointId)],
    origin: NodeId,
    day: i32,
    agreed: &Agreed,
    after: Option<DayCursor>,
    readings_max: usize,
) -> Result<DayPiece, PieceError> {
    let (from, to) = day_bounds(day);
    let first = after.map_or(0, |after| points.partition_point(|(here, _)| *here < after.point));
    let mut readings: Vec<Reading> = Vec::new();
    let mut next = None;
    for (here, there) in &points[first..] {
        if agreed.is_nothing(*here, from, to) {
            continue;
        }
        let mut rows = agreed.part(*here, whole.every_revision(*here, from, to)?);
        if let Some(after) = after.filter(|after| after.point == *here) {
            rows.retain(|r| (r.event_at, r.revision) > (after.event_at, after.revision));
        }
        let room = readings_max.max(1) - readings.len();
        let is_cut = rows.len() > room;
        rows.truncate(room);
        readings.extend(rows.iter().map(|r| Reading { point: *there, ..*r }));
        if is_cut {
            // Without room for any of this point the part before it was full.
            let last = rows.last().map_or((Timestamp::MIN, 0), |r| (r.event_at, r.revision));
            next = Some(DayCursor { point: *here, event_at: last.0, revision: last.1 });
            break;
        }
    }
    let n_readings = readings.len();
    Ok(DayPiece { n_readings, bytes: encode(&BTreeMap::from([(origin, readings)])), next })
}

#[cfg(test)]
#[path = "piece_tests.rs"]
mod tests;
