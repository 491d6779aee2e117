//! Readings and positions as columns: the one coding used by log frames, head chunks and block sections.
//!
//! Times are deltas in the coarsest unit that fits (s, ms, µs), those of one point steps along a grid and distances from it where that is
//! shorter. Values that are decimal fractions travel as scaled integers, direct or as
//! deltas, whichever is shorter, the deltas of a whole day through an entropy coder; the test is bit-for-bit, so −0.0, subnormals and 0.1 + 0.2 take the exception list or the XOR coding.
//! Quality, flags and revisions are run-length coded. Nothing is rounded.
//! Start at [`encode_series`] (one point) and [`encode_mixed`] (a frame of many points).

use anlan_model::{Flags, PointId, Position, Quality, Reading, Timestamp, VehicleId};

use crate::bits::{Cursor, RUN, pack, put_varint, put_zigzag, unpack, unzigzag, zigzag};
use crate::squeeze::{squeeze, take_squeezed};

/// Most readings or positions in one coded unit; a longer count is damage.
pub(crate) const ROWS_MAX: usize = 1 << 26;

const POW10: [f64; 10] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// Beyond this a scaled integer may not be exact.
const EXACT: f64 = 9_007_199_254_740_992.0;

// ---- times -------------------------------------------------------------------------------------------------------------------------------

/// Divisors of the unit codes 0, 1, 2.
const UNITS: [i64; 3] = [1, 1_000, 1_000_000];

/// Appends a column of instants or distances in the coarsest unit that divides all of them.
pub(crate) fn put_scaled(column: &mut [i64], out: &mut Vec<u8>) {
    let code = UNITS.iter().rposition(|unit| column.iter().all(|v| v % unit == 0)).unwrap_or(0);
    column.iter_mut().for_each(|v| *v /= UNITS[code]);
    out.push(code as u8);
    pack(column, out);
}

pub(crate) fn take_scaled(cursor: &mut Cursor<'_>, n: usize) -> Option<Vec<i64>> {
    let unit = *UNITS.get(usize::from(cursor.u8()?))?;
    let mut column = Vec::new();
    unpack(cursor, n, &mut column)?;
    if unit != 1 {
        column.iter_mut().for_each(|v| *v = v.wrapping_mul(unit));
    }
    Some(column)
}

/// Appends the first instant and the deltas.
pub(crate) fn put_times(times: impl Iterator<Item = i64> + Clone, out: &mut Vec<u8>) {
    let Some(first) = times.clone().next() else { return };
    put_zigzag(out, first);
    let mut deltas: Vec<i64> = times.clone().zip(times.skip(1)).map(|(a, b)| b.wrapping_sub(a)).collect();
    put_scaled(&mut deltas, out);
}

pub(crate) fn take_times(cursor: &mut Cursor<'_>, n: usize) -> Option<Vec<i64>> {
    if n == 0 {
        return Some(Vec::new());
    }
    let mut at = cursor.zigzag()?;
    if cursor.peek()? & GRID != 0 {
        return take_grid(cursor, at, n);
    }
    let mut deltas = take_scaled(cursor, n - 1)?;
    deltas.insert(0, 0);
    for slot in &mut deltas {
        at = at.wrapping_add(*slot);
        *slot = at;
    }
    Some(deltas)
}

/// Beside the code of the unit: instants are told by the nearest points of a grid.
const GRID: u8 = 4;
/// A column of deltas in fewer bits than this a value says all there is to say.
const GRID_FROM_BITS: usize = 3;
/// About what a step that is not one costs: an exception in its run.
const GAP_BITS: usize = 24;

/// Appends the instants of a point like [`put_times`] does, or as steps along a grid and distances from it if that is shorter: a sensor that
/// wavers around its period has each deviation in two deltas, but only in one distance. A gap is one larger step.
pub(crate) fn put_instants(times: impl Iterator<Item = i64> + Clone, out: &mut Vec<u8>) {
    let Some(first) = times.clone().next() else { return };
    let mut deltas: Vec<i64> = times.clone().zip(times.skip(1)).map(|(a, b)| b.wrapping_sub(a)).collect();
    let code = UNITS.iter().rposition(|unit| deltas.iter().all(|v| v % unit == 0)).unwrap_or(0);
    deltas.iter_mut().for_each(|v| *v /= UNITS[code]);
    put_zigzag(out, first);
    match steps_along_grid(&deltas) {
        None => {
            out.push(code as u8);
            pack(&deltas, out);
        }
        Some((period, steps, distances)) => {
            out.push(GRID | code as u8);
            put_zigzag(out, period);
            pack(&steps, out);
            pack(&distances, out);
        }
    }
}

/// The period, the steps and the distances of instants with these deltas; `None` if there is no period or the deltas are shorter.
fn steps_along_grid(deltas: &[i64]) -> Option<(i64, Vec<i64>, Vec<i64>)> {
    let as_deltas = bits_around_middle(deltas);
    if deltas.is_empty() || as_deltas < deltas.len() * GRID_FROM_BITS {
        return None;
    }
    let mut steps = deltas.to_vec();
    let period = *steps.select_nth_unstable(deltas.len() / 2).1;
    // Nobody's clock jumps that far; whoever's does is told by deltas.
    if period <= 0 || deltas.iter().any(|d| d.unsigned_abs() > 1 << 52) {
        return None;
    }
    let (mut beside, mut n_gaps) = (0_i64, 0);
    let mut distances = Vec::with_capacity(deltas.len());
    for (delta, step) in deltas.iter().zip(&mut steps) {
        // Where it lies beside the grid point before, and then beside the nearest.
        beside += delta;
        *step = if beside * 2 >= period && beside * 2 < period * 3 { 1 } else { (beside + period / 2).div_euclid(period) };
        beside -= *step * period;
        n_gaps += usize::from(*step != 1);
        distances.push(beside);
    }
    (bits_around_middle(&distances) + n_gaps * GAP_BITS < as_deltas).then_some((period, steps, distances))
}

fn take_grid(cursor: &mut Cursor<'_>, first: i64, n: usize) -> Option<Vec<i64>> {
    let unit = *UNITS.get(usize::from(cursor.u8()? & !GRID))?;
    let period = cursor.zigzag()?;
    let (mut times, mut distances) = (Vec::new(), Vec::new());
    unpack(cursor, n - 1, &mut times)?;
    unpack(cursor, n - 1, &mut distances)?;
    let mut at = 0_i64;
    for (slot, distance) in times.iter_mut().zip(distances) {
        at = at.wrapping_add(slot.wrapping_mul(period));
        *slot = first.wrapping_add(at.wrapping_add(distance).wrapping_mul(unit));
    }
    times.insert(0, first);
    Some(times)
}

// ---- values ------------------------------------------------------------------------------------------------------------------------------

/// `value` as an integer of `10^-decimals`, if dividing gives back the very same bits.
pub(crate) fn scaled(value: f64, decimals: u8) -> Option<i64> {
    let by = POW10[usize::from(decimals)];
    let n = value * by;
    if n.abs() >= EXACT {
        return None;
    }
    // To the nearest, without a call; where it errs by one the test says no, and no decimal fraction lies there.
    let n = (n + 0.5_f64.copysign(n)) as i64;
    (n as f64 / by).to_bits().eq(&value.to_bits()).then_some(n)
}

/// The value of a scaled integer.
pub(crate) fn unscaled(n: i64, decimals: u8) -> f64 {
    n as f64 / POW10[usize::from(decimals)]
}

/// The number of decimals that suits all values but one in eight; `None` if there is none.
fn common_decimals(values: &[f64]) -> Option<u8> {
    let mut needed = [0usize; 11];
    let mut guess = 0u8;
    for value in values {
        // Neighbours mostly have the same number of decimals; fewer decimals than the guess must still be found first.
        let found = (0..10u8).find(|d| scaled(*value, *d).is_some());
        guess = found.unwrap_or(guess);
        needed[usize::from(found.unwrap_or(10))] += 1;
    }
    let enough = values.len() - values.len() / 8;
    let mut covered = 0;
    for (decimals, n) in needed.iter().take(10).enumerate() {
        covered += n;
        // The exceptions cost ten bytes each: take more decimals while they save more than a few values.
        if covered == values.len() || (covered >= enough && needed[decimals + 1..10].iter().sum::<usize>() * 16 < values.len()) {
            return Some(decimals as u8);
        }
    }
    None
}

const VALUES_DIRECT: u8 = 0;
const VALUES_DELTA: u8 = 1;
const VALUES_XOR: u8 = 2;
/// Deltas as one symbol each, squeezed; behind them those that are none of the symbols.
const VALUES_DENSE: u8 = 3;

/// How much is done for few bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// Columns of whole bits: for what is written again within a day.
    Quick,
    /// An entropy coder on top: for what is written once and read for years.
    Dense,
}

/// Stands for a delta that is no symbol.
const OTHER: u8 = u8::MAX;
/// Fewer deltas cannot win against the table of the entropy coder.
const DENSE_FROM: usize = 512;

/// Deltas with an entropy coder; `None` if they are too few.
fn dense(first: i64, deltas: &[i64]) -> Option<Vec<u8>> {
    if deltas.len() < DENSE_FROM {
        return None;
    }
    let mut others = Vec::new();
    let symbol = |delta: &i64| match zigzag(*delta) {
        small if small < u64::from(OTHER) => small as u8,
        large => {
            put_varint(&mut others, large);
            OTHER
        }
    };
    let symbols: Vec<u8> = deltas.iter().map(symbol).collect();
    let mut out = Vec::with_capacity(deltas.len());
    put_zigzag(&mut out, first);
    squeeze(&symbols, &mut out).ok()?;
    out.extend_from_slice(&others);
    Some(out)
}

/// All values with the fewest decimals that do for each of them; `None` if there are no such, or if they are many more than most need.
fn quick_scaled(values: &[f64]) -> Option<(u8, Vec<i64>)> {
    let least = (0..=3u8).find(|d| values.first().is_none_or(|v| scaled(*v, *d).is_some()))?;
    // A decimal fraction stays one with more decimals: 12.3 is 123/10 and 1230/100, the same quotient.
    (least..=least + 1).find_map(|d| Some((d, values.iter().map(|v| scaled(*v, d)).collect::<Option<Vec<_>>>()?)))
}

/// About the bits that packing takes: how far the values of each run lie from one in its middle.
fn bits_around_middle(values: &[i64]) -> usize {
    let of_run = |run: &[i64]| -> usize {
        let middle = run[run.len() / 2];
        run.iter().map(|v| 64 - zigzag(v.wrapping_sub(middle)).leading_zeros() as usize).sum()
    };
    values.chunks(RUN).map(of_run).sum()
}

fn put_values(values: &[f64], packing: Packing, out: &mut Vec<u8>) {
    let mut exceptions = Vec::new();
    let (decimals, ints) = match quick_scaled(values) {
        Some(found) => found,
        None => {
            let Some(decimals) = common_decimals(values) else {
                out.push(VALUES_XOR);
                put_xor(values, out);
                return;
            };
            let mut before = 0i64;
            let scale = |(i, value): (usize, &f64)| {
                before = scaled(*value, decimals).unwrap_or_else(|| {
                    exceptions.push((i, value.to_bits()));
                    before
                });
                before
            };
            (decimals, values.iter().enumerate().map(scale).collect())
        }
    };
    let deltas: Vec<i64> = ints.windows(2).map(|w| w[1] - w[0]).collect();
    let pack_direct = |body: &mut Vec<u8>| pack(&ints, body);
    let pack_delta = |body: &mut Vec<u8>| {
        if let Some(first) = ints.first() {
            put_zigzag(body, *first);
            pack(&deltas, body);
        }
    };
    // Mostly one of the two is clearly shorter, and coding the other would be for nothing.
    let (guess_direct, guess_delta) = (bits_around_middle(&ints), bits_around_middle(&deltas));
    let mut body = Vec::with_capacity(guess_direct.min(guess_delta) / 8 + 16);
    let mut mode = if guess_direct * 8 < guess_delta * 7 {
        pack_direct(&mut body);
        VALUES_DIRECT
    } else {
        pack_delta(&mut body);
        let mut direct = Vec::new();
        if guess_direct * 7 < guess_delta * 8 {
            pack_direct(&mut direct);
        }
        if direct.is_empty() || direct.len() > body.len() {
            VALUES_DELTA
        } else {
            body = direct;
            VALUES_DIRECT
        }
    };
    if packing == Packing::Dense
        && let Some(first) = ints.first()
        && let Some(denser) = dense(*first, &deltas).filter(|d| d.len() < body.len())
    {
        (mode, body) = (VALUES_DENSE, denser);
    }
    out.push(mode | (decimals << 4));
    out.extend_from_slice(&body);
    put_varint(out, exceptions.len() as u64);
    for (i, bits) in exceptions {
        put_varint(out, i as u64);
        out.extend_from_slice(&bits.to_le_bytes());
    }
}

fn take_values(cursor: &mut Cursor<'_>, n: usize) -> Option<Vec<f64>> {
    let head = cursor.u8()?;
    let (mode, decimals) = (head & 0x0f, head >> 4);
    if mode == VALUES_XOR {
        return take_xor(cursor, n);
    }
    if mode > VALUES_DENSE || decimals > 9 {
        return None;
    }
    let mut ints = Vec::new();
    if mode == VALUES_DIRECT {
        unpack(cursor, n, &mut ints)?;
    } else if n > 0 {
        let first = cursor.zigzag()?;
        ints.push(first);
        if mode == VALUES_DENSE {
            let symbols = take_squeezed(cursor, n - 1)?;
            ints.reserve(symbols.len());
            for symbol in symbols {
                ints.push(if symbol == OTHER { cursor.zigzag()? } else { unzigzag(u64::from(symbol)) });
            }
        } else {
            unpack(cursor, n - 1, &mut ints)?;
        }
        for i in 1..ints.len() {
            ints[i] = ints[i].wrapping_add(ints[i - 1]);
        }
    }
    let by = POW10[usize::from(decimals)];
    let mut values: Vec<f64> = ints.into_iter().map(|int| int as f64 / by).collect();
    let exceptions = cursor.len(n)?;
    for _ in 0..exceptions {
        let i = cursor.len(n)?;
        *values.get_mut(i)? = f64::from_bits(cursor.u64()?);
    }
    Some(values)
}

/// Each value as the bytes in which it differs from the one before: a byte of (leading zero bytes, length), then the bytes.
fn put_xor(values: &[f64], out: &mut Vec<u8>) {
    let mut before = 0u64;
    for value in values {
        let x = value.to_bits() ^ before;
        before = value.to_bits();
        if x == 0 {
            out.push(0);
            continue;
        }
        let (lead, trail) = (x.leading_zeros() / 8, x.trailing_zeros() / 8);
        let len = 8 - lead - trail;
        out.push((lead << 4 | len) as u8);
        out.extend_from_slice(&(x >> (8 * trail)).to_le_bytes()[..len as usize]);
    }
}

fn take_xor(cursor: &mut Cursor<'_>, n: usize) -> Option<Vec<f64>> {
    let mut values = Vec::with_capacity(n.min(cursor.left()));
    let mut before = 0u64;
    for _ in 0..n {
        let head = cursor.u8()?;
        if head != 0 {
            let (lead, len) = (u32::from(head >> 4), u32::from(head & 0x0f));
            if len == 0 || lead + len > 8 {
                return None;
            }
            let mut eight = [0u8; 8];
            eight[..len as usize].copy_from_slice(cursor.take(len as usize)?);
            before ^= u64::from_le_bytes(eight) << (8 * (8 - lead - len));
        }
        values.push(f64::from_bits(before));
    }
    Some(values)
}

// ---- quality, flags, revision, device time -----------------------------------------------------------------------------------------------

const DEVICE_NONE: u8 = 0;
const DEVICE_SAME: u8 = 1;
const DEVICE_OTHER: u8 = 2;

/// What most rows of a run share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    quality: u8,
    device: u8,
    flags: u16,
    revision: u16,
}

pub(crate) fn meta_of(reading: &Reading) -> Meta {
    let device = match reading.device_at {
        None => DEVICE_NONE,
        Some(at) if at == reading.event_at => DEVICE_SAME,
        Some(_) => DEVICE_OTHER,
    };
    Meta { quality: reading.quality.code(), device, flags: reading.flags.bits(), revision: reading.revision }
}

pub(crate) fn put_meta(metas: impl Iterator<Item = Meta>, out: &mut Vec<u8>) {
    let mut runs: Vec<(u64, Meta)> = Vec::new();
    for meta in metas {
        match runs.last_mut() {
            Some((n, last)) if *last == meta => *n += 1,
            _ => runs.push((1, meta)),
        }
    }
    put_varint(out, runs.len() as u64);
    for (n, meta) in runs {
        put_varint(out, n);
        out.push(meta.quality | meta.device << 2);
        put_varint(out, u64::from(meta.flags));
        put_varint(out, u64::from(meta.revision));
    }
}

/// Runs of equal meta; they sum up to exactly `n`.
pub(crate) fn take_meta(cursor: &mut Cursor<'_>, n: usize) -> Option<Vec<(usize, Meta)>> {
    let count = cursor.len(n)?;
    let mut runs = Vec::with_capacity(count.min(cursor.left()));
    let mut sum = 0usize;
    for _ in 0..count {
        let len = cursor.len(n - sum)?;
        sum += len;
        let byte = cursor.u8()?;
        let flags = u16::try_from(cursor.varint()?).ok()?;
        let revision = u16::try_from(cursor.varint()?).ok()?;
        let meta = Meta { quality: byte & 3, device: byte >> 2, flags, revision };
        if meta.device > DEVICE_OTHER {
            return None;
        }
        runs.push((len, meta));
    }
    (sum == n).then_some(runs)
}

// ---- received --------------------------------------------------------------------------------------------------------------------------

/// The distinct arrival instants of a block, ascending. Readings of one message arrive together: an index is shorter than an instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arrivals(Vec<i64>);

impl Arrivals {
    /// From all arrival instants; `None` if there are too many different ones for an index to pay.
    pub(crate) fn build(mut instants: Vec<i64>, readings: usize) -> Option<Self> {
        instants.sort_unstable();
        instants.dedup();
        (instants.len() * 4 <= readings).then_some(Self(instants))
    }
    /// All of them.
    pub(crate) fn instants(&self) -> &[i64] {
        &self.0
    }
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.0.len() as u64);
        put_times(self.0.iter().copied(), out);
    }
    pub(crate) fn take(cursor: &mut Cursor<'_>) -> Option<Self> {
        let n = cursor.len(ROWS_MAX)?;
        take_times(cursor, n).map(Self)
    }
    fn index(&self, instant: i64, hint: usize) -> Option<usize> {
        if self.0.get(hint) == Some(&instant) {
            return Some(hint);
        }
        self.0.binary_search(&instant).ok()
    }
}

const RECEIVED_DIRECT: u8 = 0;
const RECEIVED_INDEX: u8 = 1;

fn put_received(rows: &[Reading], arrivals: Option<&Arrivals>, out: &mut Vec<u8>) {
    if let Some(arrivals) = arrivals {
        let mut hint = 0;
        let indices: Option<Vec<i64>> = rows
            .iter()
            .map(|row| {
                let i = arrivals.index(row.received_at.micros(), hint)?;
                hint = i + 1;
                Some(i as i64)
            })
            .collect();
        if let Some(indices) = indices {
            out.push(RECEIVED_INDEX);
            put_times(indices.iter().copied(), out);
            return;
        }
    }
    out.push(RECEIVED_DIRECT);
    let mut delays: Vec<i64> = rows.iter().map(|r| r.received_at.since_us(r.event_at)).collect();
    put_scaled(&mut delays, out);
}

fn take_received(cursor: &mut Cursor<'_>, times: &[i64], arrivals: Option<&Arrivals>) -> Option<Vec<i64>> {
    match cursor.u8()? {
        RECEIVED_DIRECT => {
            let mut delays = take_scaled(cursor, times.len())?;
            delays.iter_mut().zip(times).for_each(|(d, t)| *d = d.wrapping_add(*t));
            Some(delays)
        }
        RECEIVED_INDEX => {
            let arrivals = arrivals?;
            let mut indices = take_times(cursor, times.len())?;
            for slot in &mut indices {
                *slot = *arrivals.0.get(usize::try_from(*slot).ok()?)?;
            }
            Some(indices)
        }
        _ => None,
    }
}

// ---- one point ---------------------------------------------------------------------------------------------------------------------------

/// Appends the readings of one point, oldest first. The point itself is not stored.
///
/// The columns that charts need (time, value) come first, so that [`decode_plain`] can stop there.
pub(crate) fn encode_series(rows: &[Reading], arrivals: Option<&Arrivals>, packing: Packing, out: &mut Vec<u8>) {
    put_varint(out, rows.len() as u64);
    put_instants(rows.iter().map(|r| r.event_at.micros()), out);
    let values: Vec<f64> = rows.iter().map(|r| r.value).collect();
    put_values(&values, packing, out);
    put_meta(rows.iter().map(meta_of), out);
    put_received(rows, arrivals, out);
    put_device(rows, out);
}

pub(crate) fn put_device(rows: &[Reading], out: &mut Vec<u8>) {
    let mut others: Vec<i64> =
        rows.iter().filter(|r| meta_of(r).device == DEVICE_OTHER).filter_map(|r| Some(r.device_at?.since_us(r.event_at))).collect();
    if !others.is_empty() {
        put_scaled(&mut others, out);
    }
}

/// The readings of one point; `None` if the bytes are not what [`encode_series`] writes.
pub(crate) fn decode_series(bytes: &[u8], point: PointId, arrivals: Option<&Arrivals>, out: &mut Vec<Reading>) -> Option<()> {
    let mut cursor = Cursor::new(bytes);
    let n = cursor.len(ROWS_MAX)?;
    let times = take_times(&mut cursor, n)?;
    let values = take_values(&mut cursor, n)?;
    let runs = take_meta(&mut cursor, n)?;
    let received = take_received(&mut cursor, &times, arrivals)?;
    rebuild(&mut cursor, |_| point, &times, &values, &runs, &received, out)
}

/// Times and values only, for statistics over sections known to hold nothing but good first revisions.
pub(crate) fn decode_plain(bytes: &[u8]) -> Option<(Vec<i64>, Vec<f64>)> {
    let mut cursor = Cursor::new(bytes);
    let n = cursor.len(ROWS_MAX)?;
    let times = take_times(&mut cursor, n)?;
    let values = take_values(&mut cursor, n)?;
    Some((times, values))
}

/// Puts the columns together again.
pub(crate) fn rebuild(
    cursor: &mut Cursor<'_>,
    point: impl Fn(usize) -> PointId,
    times: &[i64],
    values: &[f64],
    runs: &[(usize, Meta)],
    received: &[i64],
    out: &mut Vec<Reading>,
) -> Option<()> {
    let n_other = runs.iter().filter(|(_, m)| m.device == DEVICE_OTHER).map(|(n, _)| n).sum();
    let others = if n_other > 0 { take_scaled(cursor, n_other)? } else { Vec::new() };
    let mut others = others.into_iter();
    if times.len() != values.len() || times.len() != received.len() || cursor.left() != 0 {
        return None;
    }
    out.reserve(times.len());
    let mut i = 0;
    for (n, meta) in runs {
        for k in i..i + n {
            let event_at = Timestamp::from_micros(times[k]);
            out.push(Reading {
                point: point(k),
                event_at,
                device_at: match meta.device {
                    DEVICE_NONE => None,
                    DEVICE_SAME => Some(event_at),
                    _ => Some(event_at.plus_us(others.next()?)),
                },
                received_at: Timestamp::from_micros(received[k]),
                value: values[k],
                quality: Quality::from_code(meta.quality),
                flags: Flags::from_bits(meta.flags),
                revision: meta.revision,
            });
        }
        i += n;
    }
    Some(())
}

// ---- many points -------------------------------------------------------------------------------------------------------------------------

/// Appends the readings of many points. They are brought into point order; each point's stay in the order given.
pub(crate) fn encode_mixed(readings: &[Reading], out: &mut Vec<u8>) {
    let sorted;
    let rows = if readings.is_sorted_by_key(|r| r.point) {
        readings
    } else {
        let mut copy = readings.to_vec();
        copy.sort_by_key(|r| r.point);
        sorted = copy;
        &sorted
    };
    put_varint(out, rows.len() as u64);
    if rows.is_empty() {
        return;
    }
    put_times(rows.iter().map(|r| r.point.get()), out);
    put_times(rows.iter().map(|r| r.event_at.micros()), out);
    let values: Vec<f64> = rows.iter().map(|r| r.value).collect();
    put_values(&values, Packing::Quick, out);
    put_meta(rows.iter().map(meta_of), out);
    // A batch arrives at once: the first instant and deltas of nothing.
    put_times(rows.iter().map(|r| r.received_at.micros()), out);
    put_device(rows, out);
}

/// What [`encode_mixed`] wrote, points ascending.
pub(crate) fn decode_mixed(bytes: &[u8]) -> Option<Vec<Reading>> {
    let mut cursor = Cursor::new(bytes);
    let n = cursor.len(ROWS_MAX)?;
    let mut out = Vec::new();
    if n == 0 {
        return (cursor.left() == 0).then_some(out);
    }
    let points = take_times(&mut cursor, n)?;
    let times = take_times(&mut cursor, n)?;
    let values = take_values(&mut cursor, n)?;
    let runs = take_meta(&mut cursor, n)?;
    let received = take_times(&mut cursor, n)?;
    rebuild(&mut cursor, |k| PointId::new(points[k]), &times, &values, &runs, &received, &mut out)?;
    Some(out)
}

// ---- positions ---------------------------------------------------------------------------------------------------------------------------

/// Appends positions of any vehicles in the order given.
pub(crate) fn encode_positions(rows: &[Position], out: &mut Vec<u8>) {
    put_varint(out, rows.len() as u64);
    if rows.is_empty() {
        return;
    }
    put_times(rows.iter().map(|r| r.vehicle.get()), out);
    put_times(rows.iter().map(|r| r.event_at.micros()), out);
    put_times(rows.iter().map(|r| r.received_at.micros()), out);
    out.extend(rows.iter().map(|r| match r.device_at {
        None => DEVICE_NONE,
        Some(at) if at == r.event_at => DEVICE_SAME,
        Some(_) => DEVICE_OTHER,
    }));
    let mut others: Vec<i64> =
        rows.iter().filter_map(|r| r.device_at.filter(|at| *at != r.event_at).map(|at| at.since_us(r.event_at))).collect();
    put_scaled(&mut others, out);
    for column in POSITION_COLUMNS {
        put_times(rows.iter().map(|r| (column.get)(r)), out);
    }
    for r in rows {
        out.extend_from_slice(&r.body_crc.to_le_bytes());
    }
    pack(&rows.iter().map(|r| r.items.len() as i64).collect::<Vec<_>>(), out);
    for r in rows {
        out.extend_from_slice(&r.items);
    }
}

/// A numeric field of a position.
struct Column {
    get: fn(&Position) -> i64,
    set: fn(&mut Position, i64) -> Option<()>,
}

macro_rules! column {
    ($field:ident) => {
        Column {
            get: |p| i64::from(p.$field),
            set: |p, v| {
                p.$field = v.try_into().ok()?;
                Some(())
            },
        }
    };
}

const POSITION_COLUMNS: [Column; 8] = [
    column!(lon_e6),
    column!(lat_e6),
    column!(altitude_m),
    column!(speed_dkmh),
    column!(direction_deg),
    column!(alarm_bits),
    column!(status_bits),
    Column {
        get: |p| i64::from(p.flags.bits()),
        set: |p, v| {
            p.flags = Flags::from_bits(v.try_into().ok()?);
            Some(())
        },
    },
];

/// What [`encode_positions`] wrote.
pub(crate) fn decode_positions(bytes: &[u8]) -> Option<Vec<Position>> {
    let mut cursor = Cursor::new(bytes);
    let n = cursor.len(ROWS_MAX)?;
    if n == 0 {
        return (cursor.left() == 0).then(Vec::new);
    }
    let vehicles = take_times(&mut cursor, n)?;
    let times = take_times(&mut cursor, n)?;
    let received = take_times(&mut cursor, n)?;
    let kinds = cursor.take(n)?;
    let n_other = kinds.iter().filter(|k| **k == DEVICE_OTHER).count();
    let mut others = take_scaled(&mut cursor, n_other)?.into_iter();
    let mut out = Vec::with_capacity(n);
    for k in 0..n {
        let event_at = Timestamp::from_micros(times[k]);
        out.push(Position {
            vehicle: VehicleId::new(vehicles[k]),
            event_at,
            device_at: match kinds[k] {
                DEVICE_NONE => None,
                DEVICE_SAME => Some(event_at),
                DEVICE_OTHER => Some(event_at.plus_us(others.next()?)),
                _ => return None,
            },
            received_at: Timestamp::from_micros(received[k]),
            lon_e6: 0,
            lat_e6: 0,
            altitude_m: 0,
            speed_dkmh: 0,
            direction_deg: 0,
            alarm_bits: 0,
            status_bits: 0,
            body_crc: 0,
            flags: Flags::empty(),
            items: Vec::new(),
        });
    }
    for column in POSITION_COLUMNS {
        let values = take_times(&mut cursor, n)?;
        for (position, value) in out.iter_mut().zip(values) {
            (column.set)(position, value)?;
        }
    }
    for position in &mut out {
        position.body_crc = cursor.u32()?;
    }
    let mut lens = Vec::new();
    unpack(&mut cursor, n, &mut lens)?;
    for (position, len) in out.iter_mut().zip(lens) {
        position.items = cursor.take(usize::try_from(len).ok()?)?.to_vec();
    }
    (cursor.left() == 0).then_some(out)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn reading(point: i64, at: i64, value: f64) -> Reading {
        let event_at = Timestamp::from_micros(at);
        Reading {
            point: PointId::new(point),
            event_at,
            device_at: Some(event_at),
            received_at: Timestamp::from_micros(at + 1_234),
            value,
            quality: Quality::Good,
            flags: Flags::empty(),
            revision: 0,
        }
    }

    /// Readings equal in every bit, −0.0 told from 0.0.
    pub(crate) fn same(a: &Reading, b: &Reading) -> bool {
        a == b && a.value.to_bits() == b.value.to_bits()
    }

    pub(crate) fn finite() -> impl Strategy<Value = f64> {
        prop_oneof![
            4 => (-100_000i64..100_000, 0u8..4).prop_map(|(n, d)| unscaled(n, d)),
            1 => any::<f64>().prop_filter("finite", |v| v.is_finite()),
            1 => prop_oneof![Just(-0.0), Just(0.0), Just(0.1 + 0.2), Just(5e-324), Just(f64::MAX), Just(f64::MIN_POSITIVE / 3.0)],
            1 => any::<f32>().prop_filter("finite", |v| v.is_finite()).prop_map(f64::from),
        ]
    }

    pub(crate) fn any_reading(points: i64, span_us: i64) -> impl Strategy<Value = Reading> {
        (
            0..points,
            0..span_us,
            finite(),
            (0u8..3, any::<u16>(), 0u16..3),
            prop_oneof![Just(None), Just(Some(0)), (-5_000_000i64..9_999).prop_map(Some)],
            0i64..3_000_000,
        )
            .prop_map(|(point, at, value, (quality, flags, revision), device, delay)| Reading {
                device_at: device.map(|d| Timestamp::from_micros(at + d)),
                received_at: Timestamp::from_micros(at + delay),
                quality: Quality::from_code(quality),
                flags: Flags::from_bits(flags & 0xff),
                revision,
                ..reading(point + 1, at, value)
            })
    }

    pub(crate) fn any_position(vehicles: i64, span_us: i64) -> impl Strategy<Value = Position> {
        (
            0..vehicles,
            0..span_us,
            any::<(i32, i32, u16, u16, u16)>(),
            any::<(u32, u32, u32, u16)>(),
            prop::collection::vec(any::<u8>(), 0..12),
            0i64..3,
        )
            .prop_map(
                |(
                    vehicle,
                    at,
                    (lon_e6, lat_e6, altitude_m, speed_dkmh, direction_deg),
                    (alarm_bits, status_bits, body_crc, flags),
                    items,
                    device,
                )| {
                    Position {
                        vehicle: VehicleId::new(vehicle + 1),
                        event_at: Timestamp::from_micros(at),
                        device_at: (device > 0).then(|| Timestamp::from_micros(at + device - 1)),
                        received_at: Timestamp::from_micros(at + 77),
                        lon_e6,
                        lat_e6,
                        altitude_m,
                        speed_dkmh,
                        direction_deg,
                        alarm_bits,
                        status_bits,
                        body_crc,
                        flags: Flags::from_bits(flags),
                        items,
                    }
                },
            )
    }

    fn check_values(values: &[f64]) {
        for packing in [Packing::Quick, Packing::Dense] {
            let mut out = Vec::new();
            put_values(values, packing, &mut out);
            let back = take_values(&mut Cursor::new(&out), values.len()).expect("decodes");
            assert!(values.iter().zip(&back).all(|(a, b)| a.to_bits() == b.to_bits()), "{values:?} became {back:?}");
        }
    }

    #[test]
    fn a_walk_of_small_steps_takes_less_than_whole_bits() {
        let (mut at, mut random) = (2_000_i64, 1_u64);
        let mut values = Vec::new();
        for i in 0..8_640 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Mostly 0 or one step, seldom more, once in a while a jump that is no symbol.
            let step = if i % 1_000 == 999 { 5_000 } else { i64::from((random >> 40).trailing_zeros().min(8)) };
            at += if random >> 63 == 0 { step } else { -step };
            values.push(at as f64 / 10.0);
        }
        let len = |packing| {
            let mut out = Vec::new();
            put_values(&values, packing, &mut out);
            out.len()
        };
        check_values(&values);
        assert!(len(Packing::Dense) * 10 < len(Packing::Quick) * 9, "{} of {}", len(Packing::Dense), len(Packing::Quick));
    }

    #[test]
    fn awkward_doubles_come_back_bit_for_bit() {
        check_values(&[-0.0]);
        check_values(&[0.0, -0.0, 0.1, 0.2, 0.1 + 0.2, 5e-324, f64::MAX, f64::MIN, f64::MIN_POSITIVE]);
        check_values(&[9_007_199_254_740_993.0, 1e300, 1e-300, 4.35, 1.005, 0.07]);
        check_values(&[std::f64::consts::PI; 40]);
    }

    proptest! {
        #[test]
        fn a_series_comes_back(mut rows in prop::collection::vec(any_reading(1, 50_000_000), 0..900), indexed in any::<bool>(), dense in any::<bool>()) {
            let packing = if dense { Packing::Dense } else { Packing::Quick };
            rows.iter_mut().for_each(|r| if indexed { r.received_at = r.received_at.floor_us(1_000_000) });
            rows.sort_by_key(|r| (r.event_at, r.revision));
            let arrivals = Arrivals::build(rows.iter().map(|r| r.received_at.micros()).collect(), rows.len());
            let mut bytes = Vec::new();
            encode_series(&rows, arrivals.as_ref(), packing, &mut bytes);
            let mut back = Vec::new();
            decode_series(&bytes, PointId::new(1), arrivals.as_ref(), &mut back).expect("decodes");
            prop_assert_eq!(back.len(), rows.len());
            prop_assert!(rows.iter().zip(&back).all(|(a, b)| same(a, b)));
        }

        #[test]
        fn a_frame_of_many_points_comes_back(rows in prop::collection::vec(any_reading(20, 50_000_000), 0..300)) {
            let mut bytes = Vec::new();
            encode_mixed(&rows, &mut bytes);
            let back = decode_mixed(&bytes).expect("decodes");
            let mut want = rows;
            want.sort_by_key(|r| r.point);
            prop_assert_eq!(back.len(), want.len());
            prop_assert!(want.iter().zip(&back).all(|(a, b)| same(a, b)));
        }

        #[test]
        fn positions_come_back(rows in prop::collection::vec(any_position(9, 50_000_000), 0..60)) {
            let mut bytes = Vec::new();
            encode_positions(&rows, &mut bytes);
            prop_assert_eq!(decode_positions(&bytes).expect("decodes"), rows);
        }

        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode_mixed(&bytes);
            let _ = decode_positions(&bytes);
            let _ = decode_plain(&bytes);
            let _ = decode_series(&bytes, PointId::new(1), Some(&Arrivals(vec![1, 2, 3])), &mut Vec::new());
        }
    }
}
