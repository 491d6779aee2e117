//! Reading and writing bytes without ever running past the end.
//!
//! What every binary protocol here shares: a bounds-checked big-endian cursor, BCD, GB18030 text, XOR, hex.
//! It knows no protocol, keeps no state between calls and never panics: a short input is a [`Truncated`] value.
//! Start at [`Reader`].

use encoding_rs::GB18030;

/// The input ends before the field does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field at byte {at} needs {need} bytes, has {have}")]
pub struct Truncated {
    /// Where the field begins.
    pub at: usize,
    /// How long the field is.
    pub need: usize,
    /// How many bytes are left.
    pub have: usize,
}

/// A cursor over borrowed bytes. Every read either advances past a whole field or changes nothing.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A cursor at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, at: 0 }
    }
    /// Bytes read so far.
    pub fn at(&self) -> usize {
        self.at
    }
    /// Bytes left.
    pub fn left(&self) -> usize {
        self.rest.len()
    }
    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
    /// The next `n` bytes.
    ///
    /// # Errors
    /// [`Truncated`] if fewer are left; nothing is consumed then. The same holds for every other read.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Truncated> {
        let (head, tail) = self.rest.split_at_checked(n).ok_or(Truncated { at: self.at, need: n, have: self.rest.len() })?;
        self.rest = tail;
        self.at = self.at.saturating_add(n);
        Ok(head)
    }
    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = self.rest;
        self.at = self.at.saturating_add(rest.len());
        self.rest = &[];
        rest
    }
    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// [`Truncated`].
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let short = Truncated { at: self.at, need: N, have: self.rest.len() };
        <[u8; N]>::try_from(self.take(N)?).map_err(|_| short)
    }
    /// One byte.
    ///
    /// # Errors
    /// [`Truncated`].
    pub fn u8(&mut self) -> Result<u8, Truncated> {
        self.array().map(u8::from_be_bytes)
    }
    /// Two bytes, big-endian.
    ///
    /// # Errors
    /// [`Truncated`].
    pub fn u16(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_be_bytes)
    }
    /// Four bytes, big-endian.
    ///
    /// # Errors
    /// [`Truncated`].
    pub fn u32(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_be_bytes)
    }
    /// A text field of `n` bytes, NUL padding of either side removed ([`text`]).
    ///
    /// # Errors
    /// [`Truncated`].
    pub fn text(&mut self, n: usize) -> Result<String, Truncated> {
        self.take(n).map(text)
    }
    /// A text field that is preceded by its length in one byte; nothing is consumed if either part is short.
    ///
    /// # Errors
    /// [`Truncated`].
    pub fn text_u8(&mut self) -> Result<String, Truncated> {
        let mut ahead = self.clone();
        let n = ahead.u8()?;
        let text = ahead.text(usize::from(n))?;
        *self = ahead;
        Ok(text)
    }
}

/// GB18030 (which holds GBK and GB2312) as text. Padding NULs of both ends are cut; unreadable bytes become U+FFFD.
pub fn text(bytes: &[u8]) -> String {
    let (text, _) = GB18030.decode_without_bom_handling(bytes);
    text.trim_matches('\0').to_owned()
}

/// `text` as GB18030 bytes.
pub fn text_bytes(text: &str) -> Vec<u8> {
    GB18030.encode(text).0.into_owned()
}

/// `text` as GB18030 in a field of exactly `n` bytes: NUL padded on the right, cut between characters, never inside one.
pub fn text_field(text: &str, n: usize) -> Vec<u8> {
    let mut field = Vec::with_capacity(n);
    for c in text.chars() {
        let bytes = text_bytes(c.encode_utf8(&mut [0; 4]));
        if field.len().saturating_add(bytes.len()) > n {
            break;
        }
        field.extend_from_slice(&bytes);
    }
    field.resize(n, 0);
    field
}

/// One BCD byte as 0 to 99, `None` if a nibble is not a decimal digit.
pub fn bcd(byte: u8) -> Option<u8> {
    let (high, low) = (byte >> 4, byte & 0x0f);
    (high < 10 && low < 10).then(|| high.wrapping_mul(10).wrapping_add(low))
}

/// 0 to 99 as one BCD byte; larger numbers keep their last two digits.
pub fn to_bcd(n: u8) -> u8 {
    let n = n % 100;
    ((n / 10) << 4) | (n % 10)
}

/// XOR over all bytes: the checksum of JT/T 808.
pub fn xor(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum ^ byte)
}

/// Lower-case hex. Also how a BCD number is shown as it stands on the wire, impossible digits included.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |n: u8| DIGITS.get(usize::from(n & 0x0f)).copied().unwrap_or('0');
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(*byte));
    }
    text
}

/// Why a text is not hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HexError {
    /// A character that is neither a hex digit nor white space.
    #[error("character {0} is not a hex digit")]
    Digit(usize),
}

/// Reads hex; white space between digits is allowed. The flag is true if the last byte has only one digit (it is left out).
///
/// # Errors
/// [`HexError::Digit`] with the index of the first character that is no hex digit.
pub fn unhex(text: &str) -> Result<(Vec<u8>, bool), HexError> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut high = None;
    for (i, c) in text.chars().enumerate() {
        if c.is_ascii_whitespace() {
            continue;
        }
        let digit = c.to_digit(16).and_then(|d| u8::try_from(d).ok()).ok_or(HexError::Digit(i))?;
        high = match high {
            None => Some(digit),
            Some(h) => {
                bytes.push((h << 4) | digit);
                None
            }
        };
    }
    Ok((bytes, high.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_read_consumes_nothing() {
        let mut r = Reader::new(&[1, 2, 3]);
        assert_eq!(r.u16(), Ok(0x0102));
        assert_eq!(r.u32(), Err(Truncated { at: 2, need: 4, have: 1 }));
        assert_eq!(r.u8(), Ok(3));
        assert!(r.is_empty());
        let mut r = Reader::new(&[3, b'a']);
        assert!(r.text_u8().is_err());
        assert_eq!(r.left(), 2);
    }

    #[test]
    fn a_field_is_cut_between_characters() {
        assert_eq!(text_field("粤A1", 2), [0xd4, 0xc1]);
        assert_eq!(text_field("A粤1", 2), [b'A', 0]);
        assert_eq!(text(&text_field("粤A12345", 12)), "粤A12345");
    }

    #[test]
    fn bcd_is_checked() {
        assert_eq!(bcd(0x59), Some(59));
        assert_eq!(bcd(0x5a), None);
        assert!((0..100).all(|n| bcd(to_bcd(n)) == Some(n)));
    }

    #[test]
    fn hex_reads_back() {
        assert_eq!(unhex("7E 02\n0"), Ok((vec![0x7e, 0x02], true)));
        assert_eq!(unhex("7x"), Err(HexError::Digit(1)));
        assert_eq!(hex(&[0x7e, 0x0a]), "7e0a");
    }
}
