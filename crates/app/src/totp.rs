//! Time-based codes of a second factor (RFC 6238: SHA-1, six digits, steps of 30 s) and recovery codes.
//!
//! Pure: time is an argument. Who is asked for a code, and that none is taken twice, is [`crate::access`]' and the store's. Own code since it is
//! a dozen lines over `hmac` and `sha1`, and since a code must be known by its step to be refused the second time. Start at [`step_of`].

use anlan_model::Timestamp;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use subtle::ConstantTimeEq as _;

/// RFC 6238, 4.1: the default; authenticators know no other.
const STEP_S: i64 = 30;
const DIGITS: usize = 6;
/// RFC 6238, 5.2 recommends one step at most for the way.
const STEPS_OFF: i64 = 1;
/// RFC 4226, 4: 160 bits are recommended.
pub(crate) const SECRET_BYTES: usize = 20;
/// Random bytes of a recovery code: 16 characters, nothing that could be tried out.
const RECOVERY_BYTES: usize = 10;
/// How many are given.
pub(crate) const RECOVERY_CODES: usize = 10;
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// What was typed into the field for a code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// Six digits.
    Code(String),
    /// Sixteen letters and digits, as in [`recovery_text`] but without dashes.
    Recovery(String),
    /// Neither.
    Nothing,
}

/// Reads what was typed; spaces and dashes do not matter.
pub(crate) fn read(typed: &str) -> Typed {
    let bare: String = typed.chars().filter(|c| !c.is_whitespace() && *c != '-').take(64).collect();
    if bare.len() == DIGITS && bare.bytes().all(|b| b.is_ascii_digit()) {
        return Typed::Code(bare);
    }
    let upper = bare.to_ascii_uppercase();
    if upper.len() == RECOVERY_BYTES * 8 / 5 && upper.bytes().all(|b| ALPHABET.contains(&b)) {
        Typed::Recovery(upper)
    } else {
        Typed::Nothing
    }
}

/// The time step of which `code` is, if it is one of now, the one before or the one after.
pub(crate) fn step_of(secret: &[u8], code: &str, now: Timestamp) -> Option<i64> {
    let here = now.micros().div_euclid(STEP_S * 1_000_000);
    // All are looked at: how long it takes says nothing.
    let mut found = None;
    for step in here - STEPS_OFF..=here + STEPS_OFF {
        let is_it: bool = code_at(secret, step).as_bytes().ct_eq(code.as_bytes()).into();
        found = if is_it { Some(step) } else { found };
    }
    found
}

/// RFC 4226, 5.3 over RFC 6238, 4.2.
fn code_at(secret: &[u8], step: i64) -> String {
    // A key of any length is a key for HMAC.
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(secret) else { return String::new() };
    mac.update(&step.to_be_bytes());
    let hash = mac.finalize().into_bytes();
    let at = usize::from(hash[19] & 0xf);
    let number = u32::from_be_bytes([hash[at] & 0x7f, hash[at + 1], hash[at + 2], hash[at + 3]]);
    format!("{:0DIGITS$}", number % 10_u32.pow(DIGITS as u32))
}

/// RFC 4648, 6 without padding.
pub(crate) fn base32(bytes: &[u8]) -> String {
    let (mut text, mut held, mut n) = (String::new(), 0_u32, 0);
    for byte in bytes {
        held = held << 8 | u32::from(*byte);
        n += 8;
        while n >= 5 {
            n -= 5;
            text.push(char::from(ALPHABET[(held >> n & 31) as usize]));
        }
    }
    if n > 0 {
        text.push(char::from(ALPHABET[(held << (5 - n) & 31) as usize]));
    }
    text
}

/// The address that an authenticator reads, as `otpauth://totp/ISSUER:NAME?secret=…` (Google Authenticator key URI format).
pub(crate) fn address(secret: &[u8], issuer: &str, username: &str) -> String {
    let (issuer, name) = (percent(issuer), percent(username));
    format!("otpauth://totp/{issuer}:{name}?secret={}&issuer={issuer}&algorithm=SHA1&digits={DIGITS}&period={STEP_S}", base32(secret))
}

/// Fresh recovery codes, without dashes.
pub(crate) fn recovery_codes() -> Result<Vec<String>, getrandom::Error> {
    let one = || {
        let mut bytes = [0; RECOVERY_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(base32(&bytes))
    };
    (0..RECOVERY_CODES).map(|_| one()).collect()
}

/// A recovery code as people copy it: in groups of four.
pub(crate) fn recovery_text(code: &str) -> String {
    code.as_bytes().chunks(4).map(|group| String::from_utf8_lossy(group)).collect::<Vec<_>>().join("-")
}

fn percent(text: &str) -> String {
    let one = |b: u8| if b.is_ascii_alphanumeric() || b"-._~".contains(&b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B, SHA-1: the last six of its eight digits.
    #[test]
    fn codes_are_those_of_the_rfc() {
        let secret = b"12345678901234567890";
        let check = |s: i64, want: &str| assert_eq!(step_of(secret, want, Timestamp::from_secs(s)), Some(s / 30), "at {s}");
        check(59, "287082");
        check(1_111_111_109, "081804");
        check(1_111_111_111, "050471");
        check(1_234_567_890, "005924");
        check(2_000_000_000, "279037");
        check(20_000_000_000, "353130");
        // RFC 4226, appendix D: counters 0 and 9.
        assert_eq!((code_at(secret, 0).as_str(), code_at(secret, 9).as_str()), ("755224", "520489"));
    }

    #[test]
    fn a_code_is_good_one_step_around_and_says_which() {
        let secret = b"12345678901234567890";
        let check = |s: i64, want: Option<i64>| assert_eq!(step_of(secret, "287082", Timestamp::from_secs(s)), want, "at {s}");
        check(-1, None);
        check(0, Some(1));
        check(30, Some(1));
        check(89, Some(1));
        check(90, None);
        assert_eq!(step_of(secret, "28708", Timestamp::from_secs(59)), None);
        assert_eq!(step_of(secret, "", Timestamp::from_secs(59)), None);
    }

    #[test]
    fn base32_is_that_of_the_rfc() {
        let check = |text: &str, want: &str| assert_eq!(base32(text.as_bytes()), want);
        check("", "");
        check("f", "MY");
        check("fo", "MZXQ");
        check("foo", "MZXW6");
        check("foobar", "MZXW6YTBOI");
        assert_eq!(base32(&[0xff; SECRET_BYTES]).len(), 32);
    }

    #[test]
    fn what_is_typed_is_read_kindly() {
        assert_eq!(read(" 123 456 "), Typed::Code("123456".into()));
        assert_eq!(read("abcd-efgh-ijkl-2345"), Typed::Recovery("ABCDEFGHIJKL2345".into()));
        for nothing in ["", "12345", "1234567", "１２３４５６", "abcd-efgh-ijkl-0189", "abcd"] {
            assert_eq!(read(nothing), Typed::Nothing, "{nothing}");
        }
        let codes = recovery_codes().unwrap();
        assert_eq!((codes.len(), recovery_text(&codes[0]).len()), (RECOVERY_CODES, 19));
        assert!(codes.iter().all(|code| read(&recovery_text(code)) == Typed::Recovery(code.clone())));
    }

    #[test]
    fn the_address_is_what_an_authenticator_reads() {
        let want =
            "otpauth://totp/%E5%AE%89%E6%BE%9C:wang%40yuxi?secret=MZXW6YTBOI&issuer=%E5%AE%89%E6%BE%9C&algorithm=SHA1&digits=6&period=30";
        assert_eq!(address(b"foobar", "安澜", "wang@yuxi"), want);
    }
}
