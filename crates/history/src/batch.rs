//! Readings on their way to another node: columns like those of the log, point by point, for an entropy coder to go over.
//!
//! `received_at` does not travel: it is the receiver's own. What the columns say most often is a byte each, so that zstd behind it finds
//! few symbols: the step of a value in units of its point's decimals, the step from one instant to the next among the distinct ones.
//! Decoding believes nothing: it is bounded, never panics, and gives only what can be stored. Start at [`encode_readings`].

use anlan_model::{PointId, Reading, Timestamp};

use crate::bits::{Cursor, pack, put_varint, put_zigzag, unpack, unzigzag, zigzag};
use crate::columns::{
    Meta, meta_of, put_device, put_meta, put_scaled, put_times, rebuild, scaled, take_meta, take_scaled, take_times, unscaled,
};

/// Version byte in front.
const FORMAT: u8 = 1;
/// Instants by their number among the distinct ones, or as they are.
const INSTANTS_INDEX: u8 = 1;
const INSTANTS_DIRECT: u8 = 0;
/// Decimals of a point whose values are no decimal fractions: their bits travel.
const RAW: u8 = 15;
const DECIMALS_MAX: u8 = 9;
/// Stands for a step that is no symbol.
const OTHER: u8 = u8::MAX;
/// Nothing was measured before 1970 or after 2199; an instant beyond is damage, and would be a point's newest for ever.
const INSTANTS: std::ops::Range<i64> = 0..7_258_118_400_000_000;

/// Appends readings, ordered by point, instant and revision, whatever the order given.
pub fn encode_readings(readings: &[Reading], out: &mut Vec<u8>) {
    let key = |r: &Reading| (r.point, r.event_at, r.revision);
    let sorted;
    let rows = if readings.is_sorted_by_key(key) {
        readings
    } else {
        let mut copy = readings.to_vec();
        copy.sort_by_key(key);
        sorted = copy;
        &sorted
    };
    out.push(FORMAT);
    put_varint(out, rows.len() as u64);
    if rows.is_empty() {
        return;
    }
    let groups: Vec<&[Reading]> = rows.chunk_by(|a, b| a.point == b.point).collect();
    put_varint(out, groups.len() as u64);
    put_times(groups.iter().map(|g| g[0].point.get()), out);
    pack(&groups.iter().map(|g| g.len() as i64).collect::<Vec<_>>(), out);
    put_instants(&groups, rows.len(), out);
    put_values(&groups, rows.len(), out);
    put_meta(rows.iter().map(meta_of), out);
    put_device(rows, out);
}

/// What [`encode_readings`] wrote, with `received_at`; `None` for anything else, for more than `n_max` readings, and for a reading that
/// could not be stored.
pub fn decode_readings(bytes: &[u8], received_at: Timestamp, n_max: usize) -> Option<Vec<Reading>> {
    let mut cursor = Cursor::new(bytes);
    if cursor.u8()? != FORMAT {
        return None;
    }
    let n = cursor.len(n_max)?;
    let mut out = Vec::new();
    if n == 0 {
        return (cursor.left() == 0).then_some(out);
    }
    let n_points = cursor.len(n)?;
    let ids = take_times(&mut cursor, n_points)?;
    let mut counts = Vec::new();
    unpack(&mut cursor, n_points, &mut counts)?;
    let (mut points, mut firsts) = (Vec::with_capacity(n), Vec::with_capacity(n_points));
    for (id, count) in ids.iter().zip(&counts) {
        let count = usize::try_from(*count).ok().filter(|c| *c > 0 && *c <= n - points.len())?;
        firsts.push(points.len());
        points.resize(points.len() + count, *id);
    }
    let sound = points.len() == n && firsts.len() == n_points && ids.is_sorted_by(|a, b| a < b);
    if !sound {
        return None;
    }
    let times = take_instants(&mut cursor, n, &firsts)?;
    let values = take_values(&mut cursor, n, &firsts)?;
    let runs: Vec<(usize, Meta)> = take_meta(&mut cursor, n)?;
    let received = vec![received_at.micros(); n];
    rebuild(&mut cursor, |k| PointId::new(points[k]), &times, &values, &runs, &received, &mut out)?;
    let storable = |r: &Reading| r.value.is_finite() && INSTANTS.contains(&r.event_at.micros());
    let key = |r: &Reading| (r.point, r.event_at, r.revision);
    (out.iter().all(storable) && out.is_sorted_by_key(key)).then_some(out)
}

/// Appends the first of each point as a column of their own, and what each of the others adds to the one before.
fn put_steps(groups: &[&[Reading]], n: usize, of: impl Fn(&Reading) -> i64, out: &mut Vec<u8>) {
    put_times(groups.iter().map(|g| of(&g[0])), out);
    let mut steps = Vec::with_capacity(n - groups.len());
    for group in groups {
        steps.extend(group.windows(2).map(|w| of(&w[1]).wrapping_sub(of(&w[0]))));
    }
    put_scaled(&mut steps, out);
}

fn take_steps(cursor: &mut Cursor<'_>, n: usize, firsts: &[usize]) -> Option<Vec<i64>> {
    let begins = take_times(cursor, firsts.len())?;
    let steps = take_scaled(cursor, n - firsts.len())?;
    let (mut begins, mut steps) = (firsts.iter().zip(begins).peekable(), steps.into_iter());
    let (mut out, mut at) = (Vec::with_capacity(n), 0_i64);
    for k in 0..n {
        at = match begins.next_if(|(first, _)| **first == k) {
            Some((_, begin)) => begin,
            None => at.wrapping_add(steps.next()?),
        };
        out.push(at);
    }
    Some(out)
}

/// Points that are heard together share their instants, whatever those are: the number of an instant is then the shorter word for it.
fn put_instants(groups: &[&[Reading]], n: usize, out: &mut Vec<u8>) {
    let mut distinct: Vec<i64> = groups.iter().flat_map(|g| g.iter()).map(|r| r.event_at.micros()).collect();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() * 4 > n {
        out.push(INSTANTS_DIRECT);
        return put_steps(groups, n, |r| r.event_at.micros(), out);
    }
    out.push(INSTANTS_INDEX);
    put_varint(out, distinct.len() as u64);
    put_times(distinct.iter().copied(), out);
    let hint = std::cell::Cell::new(0_usize);
    let number = |r: &Reading| {
        let at = r.event_at.micros();
        // The same as the one asked for last, the next, or anywhere.
        let near = (hint.get()..hint.get() + 2).find(|i| distinct.get(*i) == Some(&at));
        let found = near.or_else(|| distinct.binary_search(&at).ok()).unwrap_or_default();
        hint.set(found);
        found as i64
    };
    put_steps(groups, n, number, out);
}

fn take_instants(cursor: &mut Cursor<'_>, n: usize, firsts: &[usize]) -> Option<Vec<i64>> {
    match cursor.u8()? {
        INSTANTS_DIRECT => take_steps(cursor, n, firsts),
        INSTANTS_INDEX => {
            let n_distinct = cursor.len(n)?;
            let distinct = take_times(cursor, n_distinct)?;
            let numbers = take_steps(cursor, n, firsts)?;
            numbers.into_iter().map(|i| distinct.get(usize::try_from(i).ok()?).copied()).collect()
        }
        _ => None,
    }
}

/// The values of a point as integers of the fewest decimals that do for all of them; `None` if there are no such.
fn as_integers(group: &[Reading], out: &mut Vec<i64>) -> Option<u8> {
    let mut decimals = 0;
    for reading in group {
        while scaled(reading.value, decimals).is_none() {
            decimals += 1;
            if decimals > DECIMALS_MAX {
                return None;
            }
        }
    }
    out.clear();
    for reading in group {
        out.push(scaled(reading.value, decimals)?);
    }
    Some(decimals)
}

fn put_values(groups: &[&[Reading]], n: usize, out: &mut Vec<u8>) {
    let mut heads = Vec::with_capacity(groups.len());
    let (mut firsts, mut symbols, mut others, mut raws) = (Vec::new(), Vec::with_capacity(n), Vec::new(), Vec::new());
    let mut integers = Vec::new();
    for group in groups {
        let Some(decimals) = as_integers(group, &mut integers) else {
            heads.push(RAW);
            group.iter().for_each(|r| raws.extend_from_slice(&r.value.to_bits().to_le_bytes()));
            continue;
        };
        heads.push(decimals);
        put_zigzag(&mut firsts, integers[0]);
        for pair in integers.windows(2) {
            match zigzag(pair[1] - pair[0]) {
                small if small < u64::from(OTHER) => symbols.push(small as u8),
                large => {
                    symbols.push(OTHER);
                    put_varint(&mut others, large);
                }
            }
        }
    }
    for column in [heads, firsts, symbols, others, raws] {
        out.extend_from_slice(&column);
    }
}

fn take_values(cursor: &mut Cursor<'_>, n: usize, firsts: &[usize]) -> Option<Vec<f64>> {
    let heads = cursor.take(firsts.len())?;
    let ends = firsts.iter().skip(1).copied().chain([n]);
    let groups: Vec<(u8, usize)> = heads.iter().zip(firsts.iter().zip(ends)).map(|(head, (first, end))| (*head, end - first)).collect();
    if groups.iter().any(|(head, _)| *head > DECIMALS_MAX && *head != RAW) {
        return None;
    }
    let is_raw = |head: u8| head == RAW;
    let mut begins = Vec::with_capacity(groups.len());
    for (head, _) in &groups {
        begins.push(if is_raw(*head) { 0 } else { cursor.zigzag()? });
    }
    let n_symbols = groups.iter().filter(|(head, _)| !is_raw(*head)).map(|(_, len)| len - 1).sum();
    let mut symbols = cursor.take(n_symbols)?.iter();
    let mut values = Vec::with_capacity(n);
    let mut n_raw = 0;
    for ((head, len), begin) in groups.iter().zip(begins) {
        if is_raw(*head) {
            n_raw += len;
            values.resize(values.len() + len, f64::NAN);
            continue;
        }
        let mut at = begin;
        values.push(unscaled(at, *head));
        for _ in 1..*len {
            let symbol = *symbols.next()?;
            at = at.wrapping_add(if symbol == OTHER { cursor.zigzag()? } else { unzigzag(u64::from(symbol)) });
            values.push(unscaled(at, *head));
        }
    }
    let mut raws = cursor.take(n_raw.checked_mul(8)?)?.chunks_exact(8);
    let mut at = 0;
    for (head, len) in groups {
        if is_raw(head) {
            for slot in values.get_mut(at..at + len)? {
                *slot = f64::from_le_bytes(raws.next()?.try_into().ok()?);
            }
        }
        at += len;
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use anlan_model::{Flags, Quality};
    use proptest::prelude::*;

    use super::*;

    const T0: i64 = 1_795_996_800_000_000;

    fn at_us(us: i64) -> Timestamp {
        Timestamp::from_micros(us)
    }

    fn plain(point: i64, us: i64, value: f64) -> Reading {
        Reading {
            point: PointId::new(point),
            event_at: at_us(us),
            device_at: Some(at_us(us)),
            received_at: at_us(T0),
            value,
            quality: Quality::Good,
            flags: Flags::empty(),
            revision: 0,
        }
    }

    fn check(rows: &[Reading]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_readings(rows, &mut bytes);
        let mut want = rows.to_vec();
        want.sort_by_key(|r| (r.point, r.event_at, r.revision));
        want.iter_mut().for_each(|r| r.received_at = at_us(7));
        let back = decode_readings(&bytes, at_us(7), rows.len()).expect("what was encoded is decoded");
        assert_eq!(back.len(), want.len());
        for (a, b) in back.iter().zip(&want) {
            assert_eq!((a, a.value.to_bits()), (b, b.value.to_bits()));
        }
        bytes
    }

    /// Splitmix64: the same series on every machine.
    struct Random(u64);

    impl Random {
        fn unit(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
        }
        fn normal(&mut self) -> f64 {
            (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
        }
    }

    /// `n_points` sensors as the simulator has them (`sim::signal`), `n_steps` samples each, oldest first; `jitter_us` beside the period.
    fn sensors(n_points: i64, n_steps: i64, period_us: i64, jitter_us: f64) -> Vec<Reading> {
        let mut random = Random(20_261_130);
        let kinds = [(40.0, 3.0, 1), (0.35, 0.15, 3), (25.0, 6.0, 1), (4.0, 4.0, 0), (2.4, 0.4, 2), (101.3, 1.5, 2)];
        let mut levels = vec![0.0; n_points as usize];
        let mut rows = Vec::new();
        for step in 0..n_steps {
            for point in 0..n_points {
                let (mean, spread, decimals) = kinds[point as usize % kinds.len()];
                let level: &mut f64 = &mut levels[point as usize];
                *level += -0.05 * *level + spread * 0.06 * random.normal();
                let noisy = (*level + spread * 0.03 * random.normal()).clamp(-spread, spread);
                let scale = 10_f64.powi(decimals);
                let value = ((mean + noisy) * scale).round() / scale + 0.0;
                let us = T0 + step * period_us + (random.unit() * jitter_us) as i64 / 1_000 * 1_000;
                rows.push(plain(1_000 + point, us, value));
            }
        }
        rows
    }

    /// Bytes a reading before and after zstd. Printed; the ceiling is the aim of issue 5, 3 bytes in the backlog.
    #[test]
    fn a_backlog_takes_few_bytes() {
        let check_size = |name: &str, rows: &[Reading], most: f64| {
            let bytes = check(rows);
            let per = |n: usize| n as f64 / rows.len() as f64;
            let start = Instant::now();
            let mut again = Vec::new();
            encode_readings(rows, &mut again);
            let encoding = start.elapsed();
            let [one, three] = [1, 3].map(|level| zstd::bulk::compress(&bytes, level).unwrap().len());
            println!(
                "{name}: {} readings, {:.2} B each, zstd 1 {:.2}, zstd 3 {:.2}; encoding {:.0} ns each",
                rows.len(),
                per(bytes.len()),
                per(one),
                per(three),
                encoding.as_nanos() as f64 / rows.len() as f64
            );
            assert!(per(one) <= most, "{name}: {:.2}", per(one));
        };
        check_size("live, 1 each", &sensors(1_000, 1, 10_000_000, 0.0), 4.0);
        check_size("live, 1 each, own clocks", &sensors(1_000, 1, 10_000_000, 9e6), 6.0);
        check_size("20 steps at 10 s", &sensors(1_000, 20, 10_000_000, 0.0), 2.0);
        check_size("50 steps at 10 s", &sensors(1_000, 50, 10_000_000, 0.0), 2.0);
        check_size("50 steps at 1 s", &sensors(1_000, 50, 1_000_000, 0.0), 2.0);
        check_size("50 steps at 10 s, 30 ms of jitter", &sensors(1_000, 50, 10_000_000, 3e4), 3.0);
    }

    #[test]
    fn the_example_of_version_1_reads_as_it_did() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/batch-v1.hex");
        let rows = example();
        if std::env::var_os("UPDATE_EXAMPLES").is_some() {
            let hex: String = check(&rows).iter().map(|b| format!("{b:02x}")).collect();
            std::fs::write(&path, hex + "\n").unwrap();
        }
        let hex = std::fs::read_to_string(&path).unwrap();
        let hex = hex.trim();
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
        assert_eq!(decode_readings(&bytes, at_us(T0), 100), Some(rows));
    }

    /// Everything a reading can say, in order.
    fn example() -> Vec<Reading> {
        let base = plain(3, T0, 23.4);
        vec![
            plain(-5, T0 - 1, f64::MIN_POSITIVE),
            base,
            Reading { revision: 1, value: 23.5, flags: Flags::REVISED.with(Flags::LATE), ..base },
            Reading { event_at: at_us(T0 + 10_000_000), device_at: Some(at_us(T0 + 5)), flags: Flags::CLOCK_BAD, ..base },
            Reading { event_at: at_us(T0 + 20_000_000), device_at: None, flags: Flags::TIME_SERVER, value: 9_000.0, ..base },
            Reading { point: PointId::new(i64::MAX), quality: Quality::Bad, value: -0.0, ..base },
            Reading { point: PointId::new(i64::MAX), event_at: at_us(T0 + 1), quality: Quality::Uncertain, value: 1e300, ..base },
        ]
    }

    #[test]
    fn what_could_not_be_stored_is_refused() {
        let refuse = |row: Reading| {
            let mut bytes = Vec::new();
            encode_readings(&[row], &mut bytes);
            assert_eq!(decode_readings(&bytes, at_us(0), 10), None, "{row:?}");
        };
        refuse(plain(1, T0, f64::NAN));
        refuse(plain(1, T0, f64::INFINITY));
        refuse(plain(1, i64::MAX, 1.0));
        refuse(plain(1, -1, 1.0));
        let mut bytes = check(&[plain(1, T0, 1.0), plain(2, T0, 1.0)]);
        assert_eq!(decode_readings(&bytes, at_us(0), 1), None, "more than asked for");
        bytes.push(0);
        assert_eq!(decode_readings(&bytes, at_us(0), 2), None, "something behind");
        assert_eq!(decode_readings(&[FORMAT + 1, 0], at_us(0), 2), None, "another version");
    }

    fn any_reading() -> impl Strategy<Value = Reading> {
        let value = prop_oneof![
            (-100_000i64..100_000, 0i32..5).prop_map(|(n, d)| n as f64 / 10f64.powi(d)),
            any::<f64>().prop_filter("finite", |v| v.is_finite()),
            Just(-0.0)
        ];
        let device = prop_oneof![Just(None), Just(Some(0i64)), any::<i32>().prop_map(|d| Some(i64::from(d)))];
        ((-3i64..8, prop_oneof![0i64..50, 0i64..1_000_000_000], value, 0u8..3), (any::<u16>(), 0u16..3, device)).prop_map(
            |((point, us, value, quality), (flags, revision, device))| Reading {
                device_at: device.map(|d| at_us(T0 + us + d)),
                quality: Quality::from_code(quality),
                flags: Flags::from_bits(flags),
                revision,
                ..plain(point, T0 + us, value)
            },
        )
    }

    proptest! {
        #[test]
        fn any_readings_come_back(rows in prop::collection::vec(any_reading(), 0..200)) {
            check(&rows);
        }

        #[test]
        fn noise_is_refused_or_read_but_never_panics(
            rows in prop::collection::vec(any_reading(), 1..30),
            hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = Vec::new();
            encode_readings(&rows, &mut bytes);
            for (at, byte) in hits {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = decode_readings(&bytes, at_us(0), 1_000);
            bytes.truncate(cut.index(bytes.len()));
            let _ = decode_readings(&bytes, at_us(0), 1_000);
        }
    }
}
