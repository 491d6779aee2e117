//! Long lists of readings and windows as JSON text, as rows or as columns, written straight into bytes: no tree, no allocation per row.
//!
//! The text is what serde would write of the DTOs, byte for byte; the tests hold it to that. Everything shorter goes through serde.
//! Start at [`Rows`].

use anlan_model::{Quality, Reading, Timestamp};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

/// Bytes a row takes, about: a reading 140, a window 120.
const ROW_BYTES: usize = 150;
/// Bytes an entry of a column takes, about: an instant 17, a value 5 to 20.
const CELL_BYTES: usize = 12;

/// A JSON document being written.
pub(crate) struct Rows(Vec<u8>);

impl Rows {
    /// `open` is everything before the first of about `n` rows.
    pub(crate) fn begin(open: &str, n: usize) -> Self {
        let mut out = Vec::with_capacity(open.len() + n * ROW_BYTES + 256);
        out.extend_from_slice(open.as_bytes());
        Self(out)
    }

    /// A document of `n_columns` columns of `n` entries.
    pub(crate) fn columns(n_columns: usize, n: usize) -> Self {
        let mut out = Vec::with_capacity(n_columns * n * CELL_BYTES + 256);
        out.push(b'{');
        Self(out)
    }

    /// Begins a column; the one before ends here, the last one with the document.
    fn column(&mut self, name: &str) {
        self.0.extend_from_slice(if self.0.len() == 1 { b"\"" } else { b"],\"" });
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":[");
    }

    /// A column of whole numbers.
    pub(crate) fn integers(&mut self, name: &str, entries: impl Iterator<Item = i64>) {
        self.column(name);
        for n in entries {
            self.next();
            if n < 0 {
                self.0.push(b'-');
            }
            self.digits(n.unsigned_abs(), 1);
        }
    }

    /// A column of values.
    pub(crate) fn numbers(&mut self, name: &str, entries: impl Iterator<Item = f64>) {
        self.column(name);
        for value in entries {
            self.next();
            self.number(b"", value);
        }
    }

    /// A comma before every row but the first.
    fn next(&mut self) {
        if self.0.last() != Some(&b'[') {
            self.0.push(b',');
        }
    }

    /// A reading as `ReadingDto`.
    pub(crate) fn reading(&mut self, r: &Reading) {
        self.next();
        self.at(br#"{"at":""#, r.event_at);
        self.at(br#"","received_at":""#, r.received_at);
        self.number(br#"","value":"#, r.value);
        self.0.extend_from_slice(match r.quality {
            Quality::Good => br#","quality":"good","flags":["#,
            Quality::Uncertain => br#","quality":"uncertain","flags":["#,
            Quality::Bad => br#","quality":"bad","flags":["#,
        });
        if r.flags.bits() != 0 {
            for (i, name) in r.flags.names().into_iter().enumerate() {
                self.0.extend_from_slice(if i == 0 { b"\"" } else { b",\"" });
                self.0.extend_from_slice(name.as_bytes());
                self.0.push(b'"');
            }
        }
        self.count(br#"],"revision":"#, u64::from(r.revision));
        self.0.push(b'}');
    }

    /// A window as `RollupRow`.
    pub(crate) fn rollup(&mut self, r: &anlan_app::point::Rollup) {
        self.next();
        self.at(br#"{"at":""#, r.at);
        self.number(br#"","min":"#, r.min);
        self.number(br#","max":"#, r.max);
        self.number(br#","mean":"#, r.mean);
        self.count(br#","count":"#, r.count);
        self.0.push(b'}');
    }

    /// The document, closed by the members behind the rows or columns, which serde writes.
    pub(crate) fn end(mut self, next: Option<&str>, dropped: &impl serde::Serialize) -> Response {
        self.0.extend_from_slice(br#"],"next":"#);
        let tail = serde_json::to_vec(&next).and_then(|next| Ok((next, serde_json::to_vec(dropped)?)));
        // Texts and a list of plain structs always encode.
        let (next, dropped) = tail.unwrap_or_default();
        self.0.extend_from_slice(&next);
        self.0.extend_from_slice(br#","dropped":"#);
        self.0.extend_from_slice(&dropped);
        self.0.push(b'}');
        ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], self.0).into_response()
    }

    fn at(&mut self, before: &[u8], at: Timestamp) {
        self.0.extend_from_slice(before);
        self.0.extend_from_slice(&at.rfc3339());
    }

    fn count(&mut self, before: &[u8], n: u64) {
        self.0.extend_from_slice(before);
        self.digits(n, 1);
    }

    /// At least `width` digits.
    fn digits(&mut self, mut n: u64, width: usize) {
        let mut text = [b'0'; 20];
        let mut at = text.len();
        while n > 0 || text.len() - at < width {
            at -= 1;
            text[at] = b'0' + (n % 10) as u8;
            n /= 10;
        }
        self.0.extend_from_slice(&text[at..]);
    }

    fn number(&mut self, before: &[u8], value: f64) {
        self.0.extend_from_slice(before);
        // Sensors speak in few decimals. Of decimal fractions with up to 15 digits no two are the same double, so the one with the
        // fewest decimals that gives back the very bits is the shortest text there is.
        for (decimals, by) in [(0, 1_u32), (1, 10), (2, 100), (3, 1_000)] {
            let n = value * f64::from(by);
            if n.abs() >= 1e15 {
                break;
            }
            // To the nearest, without a call; where it errs by one the bits say no.
            let n = (n + 0.5_f64.copysign(n)) as i64;
            if (n as f64 / f64::from(by)).to_bits() == value.to_bits() {
                if n < 0 {
                    self.0.push(b'-');
                }
                let (n, by) = (n.unsigned_abs(), u64::from(by));
                self.digits(n / by, 1);
                self.0.push(b'.');
                self.digits(n % by, if decimals == 0 { 1 } else { decimals });
                return;
            }
        }
        if serde_json::to_writer(&mut self.0, &value).is_err() {
            self.0.extend_from_slice(b"null");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: f64) {
        let mut rows = Rows(Vec::new());
        rows.number(b"", value);
        assert_eq!(String::from_utf8(rows.0).unwrap(), serde_json::to_string(&value).unwrap(), "{value:?}");
    }

    #[test]
    fn numbers_read_as_serde_writes_them() {
        let odd = [0.0, -0.0, 1.0, -1.0, 0.1 + 0.2, 1e14, 1e15, 1e16, 123_456_789_012_345.6, 999_999_999_999_999.0, 5e-324, 1e-7, 0.001];
        odd.into_iter().chain([f64::MAX, f64::MIN, f64::EPSILON, f64::NAN, f64::INFINITY, std::f64::consts::PI]).for_each(check);
        for n in -20_000_i32..20_000 {
            [1.0, 10.0, 100.0, 1_000.0, 10_000.0].into_iter().for_each(|by| check(f64::from(n) / by));
        }
        // Every exponent, and bits that no sensor sends.
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..200_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            check(f64::from_bits(bits));
            check((bits >> 20) as f64 / 1_000.0);
            check((bits >> 34) as i32 as f64 / 100.0 * 1.1);
        }
    }
}
