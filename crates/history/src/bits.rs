//! Integers as bytes: a bounds-checked cursor, variable-length integers, and columns of packed bits.
//!
//! A column is cut into runs of 128 values. Each run stores its median, a bit width, the distances from the median in that many bits, and
//! a few exceptions for the rest. A regular time series (the median is the period) and a constant column cost next to nothing, and one
//! missing sample costs one exception instead of widening the whole run: robustness to gaps before the last few per cent (PERFORMANCE).
//! Decoding never panics and never reserves more than the bytes at hand can fill.

/// Values in one packed run.
pub(crate) const RUN: usize = 128;

/// Reads little-endian fields; `None` past the end.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }
    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }
    pub(crate) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(n)?;
        let part = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(part)
    }
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }
    pub(crate) fn u8(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }
    /// The next byte, not taken.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }
    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }
    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }
    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }
    /// An unsigned integer, seven bits to a byte, low bits first.
    pub(crate) fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return None;
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
    /// A varint that counts things of at least one bit… or of nothing: the caller bounds it.
    pub(crate) fn len(&mut self, max: usize) -> Option<usize> {
        usize::try_from(self.varint()?).ok().filter(|n| *n <= max)
    }
    pub(crate) fn zigzag(&mut self) -> Option<i64> {
        self.varint().map(unzigzag)
    }
}

pub(crate) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

pub(crate) const fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(out, zigzag(value));
}

/// Appends `values` as packed runs. Their number is not stored.
pub(crate) fn pack(values: &[i64], out: &mut Vec<u8>) {
    let mut scratch = [0i64; RUN];
    for run in values.chunks(RUN) {
        // A column that says the same all along (arrival, period, next point) needs no median.
        if let [first, rest @ ..] = run
            && rest.iter().all(|v| v == first)
        {
            put_zigzag(out, *first);
            out.extend_from_slice(&[0, 0]);
            continue;
        }
        let sorted = &mut scratch[..run.len()];
        sorted.copy_from_slice(run);
        let middle = run.len() / 2;
        let (_, median, _) = sorted.select_nth_unstable(middle);
        pack_run(run, *median, out);
    }
}

fn pack_run(run: &[i64], median: i64, out: &mut Vec<u8>) {
    let mut distance = [0u64; RUN];
    let mut widths = [0u16; 65];
    for (slot, value) in distance.iter_mut().zip(run) {
        *slot = zigzag(value.wrapping_sub(median));
        widths[(64 - slot.leading_zeros()) as usize] += 1;
    }
    let distance = &distance[..run.len()];
    let widest = widths.iter().rposition(|n| *n > 0).unwrap_or(0);
    // From the widest down: every value above the width becomes an exception of an index byte and a varint.
    let (mut width, mut best, mut exceptions) = (widest, run.len() * widest, 0usize);
    for candidate in (0..widest).rev() {
        exceptions += usize::from(widths[candidate + 1]);
        if exceptions > run.len() / 4 {
            break;
        }
        let mut cost = run.len() * candidate;
        for (wide, n) in widths.iter().enumerate().take(widest + 1).skip(candidate + 1) {
            cost += usize::from(*n) * 8 * (1 + (wide - candidate).div_ceil(7));
        }
        if cost < best {
            (width, best) = (candidate, cost);
        }
    }
    put_zigzag(out, median);
    let patched = widths[width + 1..].iter().map(|n| usize::from(*n)).sum::<usize>();
    out.push(width as u8);
    out.push(patched as u8);
    let mask = if width == 64 { u64::MAX } else { (1u64 << width) - 1 };
    if width > 0 {
        let (mut acc, mut filled) = (0u128, 0usize);
        for value in distance {
            acc |= u128::from(value & mask) << filled;
            filled += width;
            if filled >= 64 {
                out.extend_from_slice(&(acc as u64).to_le_bytes());
                acc >>= 64;
                filled -= 64;
            }
        }
        out.extend_from_slice(&(acc as u64).to_le_bytes()[..filled.div_ceil(8)]);
    }
    if patched > 0 {
        for (i, value) in distance.iter().enumerate() {
            if *value > mask {
                out.push(i as u8);
                put_varint(out, value >> width);
            }
        }
    }
}

/// Appends `n` values to `values`; `None` if the bytes are not what [`pack`] writes.
pub(crate) fn unpack(cursor: &mut Cursor<'_>, n: usize, values: &mut Vec<i64>) -> Option<()> {
    let end = values.len().checked_add(n)?;
    // A run takes at least three bytes.
    values.reserve(n.min((cursor.left() / 3 + 1).saturating_mul(RUN)));
    while values.len() < end {
        let len = (end - values.len()).min(RUN);
        let median = cursor.zigzag()?;
        let width = usize::from(cursor.u8()?);
        let patched = cursor.u8()?;
        if width > 64 {
            return None;
        }
        let start = values.len();
        let packed = cursor.take((len * width).div_ceil(8))?;
        if width == 0 {
            values.resize(start + len, median);
        } else {
            let mask = if width == 64 { u64::MAX } else { (1u64 << width) - 1 };
            for i in 0..len {
                values.push(median.wrapping_add(unzigzag(bits_at(packed, i * width, width) & mask)));
            }
        }
        for _ in 0..patched {
            let i = usize::from(cursor.u8()?);
            let high = cursor.varint()?;
            if width >= 64 || i >= len {
                return None;
            }
            let slot = values.get_mut(start + i)?;
            let low = zigzag(slot.wrapping_sub(median));
            *slot = median.wrapping_add(unzigzag(low | (high << width)));
        }
    }
    Some(())
}

/// The bits from `bit` on, at least `width` of them, zero-filled past the end.
fn bits_at(packed: &[u8], bit: usize, width: usize) -> u64 {
    let (byte, shift) = (bit / 8, bit % 8);
    if width + shift <= 64
        && let Some(eight) = packed.get(byte..byte + 8)
    {
        return u64::from_le_bytes(eight.try_into().expect("the slice is eight bytes long")) >> shift;
    }
    let mut acc = 0u128;
    for (i, b) in packed.iter().skip(byte).take(9).enumerate() {
        acc |= u128::from(*b) << (8 * i);
    }
    (acc >> shift) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(values: &[i64]) -> usize {
        let mut out = Vec::new();
        pack(values, &mut out);
        let mut back = Vec::new();
        let mut cursor = Cursor::new(&out);
        unpack(&mut cursor, values.len(), &mut back).expect("what was packed unpacks");
        assert_eq!(back, values);
        assert_eq!(cursor.left(), 0);
        out.len()
    }

    #[test]
    fn ends_of_the_range_survive() {
        check(&[]);
        check(&[i64::MIN, i64::MAX, 0, -1, 1]);
        check(&[i64::MAX; 300]);
    }

    #[test]
    fn a_gap_costs_an_exception_not_a_wider_run() {
        let mut deltas = vec![10_000i64; 128];
        deltas[60] = 20_000;
        assert!(check(&deltas) <= 10);
    }

    proptest! {
        #[test]
        fn any_column_comes_back(values in prop::collection::vec(prop_oneof![any::<i64>(), -300i64..300, Just(7i64)], 0..400)) {
            check(&values);
        }

        #[test]
        fn noise_is_refused_or_read_but_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), n in 0usize..100_000) {
            let mut values = Vec::new();
            let _ = unpack(&mut Cursor::new(&bytes), n, &mut values);
            let _ = Cursor::new(&bytes).varint();
        }
    }
}
