//! The code with which a node joins another: typed by a person or read by a camera.
//!
//! 32 bytes of the authority's fingerprint, 16 of the secret, 2 of a checksum: 400 bits, 80 digits in Crockford's base 32 (no I, L, O, U), groups of five.
//! CRC-16 (polynomial 0x1021, as X.25 and JT/T 809 have it) finds every burst of up to 16 bits: any wrong digit, and any two neighbours that changed places.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const N_BYTES: usize = 50;
/// Digits of a code.
const N_DIGITS: usize = N_BYTES * 8 / 5;
const GROUP: usize = 5;

/// What a parent's operator gives a child's.
#[derive(Clone, PartialEq, Eq)]
pub struct PairingCode {
    /// SHA-256 of the certificate of the parent's authority.
    pub authority: [u8; 32],
    /// What proves that the child was invited; for one use.
    pub secret: [u8; 16],
}

/// What is wrong with a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// A character that no code has.
    #[error("character {at} of the code is '{found}', which no code has")]
    Character {
        /// Its place, from 1 on, spaces and dashes not counted.
        at: usize,
        /// What stands there.
        found: char,
    },
    /// Digits are missing or too many.
    #[error("a code has {N_DIGITS} digits and letters, this has {have}")]
    Length {
        /// How many there are.
        have: usize,
    },
    /// Something is mistyped.
    #[error("a digit or letter of the code is wrong; compare it group by group")]
    Checksum,
}

impl PairingCode {
    /// A code with a fresh secret.
    ///
    /// # Errors
    /// The machine has no random bytes.
    pub fn new(authority: [u8; 32]) -> Result<Self, crate::identity::IdentityError> {
        Ok(Self { authority, secret: crate::identity::random()? })
    }
    /// What is kept of the secret.
    pub fn secret_hash(secret: &[u8; 16]) -> [u8; 32] {
        Sha256::digest(secret).into()
    }
}

impl fmt::Display for PairingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; N_BYTES];
        bytes[..32].copy_from_slice(&self.authority);
        bytes[32..48].copy_from_slice(&self.secret);
        let checksum = crc16(&bytes[..48]);
        bytes[48..].copy_from_slice(&checksum.to_be_bytes());
        let mut text = String::with_capacity(N_DIGITS + N_DIGITS / GROUP);
        // Five bytes are eight digits.
        for five in bytes.chunks(5) {
            let number = five.iter().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
            text.extend((0..8).rev().map(|i| char::from(DIGITS[(number >> (5 * i)) as usize & 31])));
        }
        for (i, digit) in text.chars().enumerate() {
            if i > 0 && i % GROUP == 0 {
                f.write_str("-")?;
            }
            fmt::Write::write_char(f, digit)?;
        }
        Ok(())
    }
}

impl fmt::Debug for PairingCode {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PairingCode").field("authority", &crate::identity::hex(&self.authority)).finish_non_exhaustive()
    }
}

impl FromStr for PairingCode {
    type Err = CodeError;
    /// Forgives small letters, full-width ones, spaces, dashes, O for 0, I and L for 1.
    fn from_str(text: &str) -> Result<Self, CodeError> {
        let (mut bytes, mut n_digits, mut number) = ([0; N_BYTES], 0, 0u64);
        for found in text.chars().filter(|c| !c.is_whitespace() && !matches!(c, '-' | '－' | '–' | '—' | '_')) {
            let digit = digit(found).ok_or(CodeError::Character { at: n_digits + 1, found })?;
            n_digits += 1;
            number = number << 5 | u64::from(digit);
            if n_digits % 8 == 0 && n_digits <= N_DIGITS {
                let end = n_digits / 8 * 5;
                bytes[end - 5..end].copy_from_slice(&number.to_be_bytes()[3..]);
                number = 0;
            }
        }
        if n_digits != N_DIGITS {
            return Err(CodeError::Length { have: n_digits });
        }
        let (mut authority, mut secret) = ([0; 32], [0; 16]);
        authority.copy_from_slice(&bytes[..32]);
        secret.copy_from_slice(&bytes[32..48]);
        if crc16(&bytes[..48]).to_be_bytes() != bytes[48..] {
            return Err(CodeError::Checksum);
        }
        Ok(Self { authority, secret })
    }
}

fn digit(found: char) -> Option<u8> {
    // Input methods write full-width forms, at a fixed distance from ASCII.
    let ascii = match found {
        '！'..='～' => char::from_u32(u32::from(found) - 0xFEE0)?,
        other => other,
    };
    let plain = match ascii.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let at = DIGITS.iter().position(|d| char::from(*d) == plain)?;
    u8::try_from(at).ok()
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code() -> PairingCode {
        PairingCode { authority: std::array::from_fn(|i| i as u8 * 7 + 3), secret: std::array::from_fn(|i| 255 - i as u8 * 11) }
    }

    #[test]
    fn crc_gives_the_check_value_of_its_catalogue() {
        // CRC-16/IBM-3740 ("CCITT-FALSE") over "123456789".
        assert_eq!(crc16(b"123456789"), 0x29B1);
    }

    #[test]
    fn a_code_is_sixteen_groups_of_five() {
        let text = code().to_string();
        // Made with Python's `binascii.crc_hqx` and big integers.
        assert_eq!(text, "0C512-60Z4R-PK8ET-29585-EQK5D-HSQN0-C8HYB-9V95B-PAWW1-HYETQ-EFZX7-9VV9W-HFDJM-YE931-KVE1J-NNKXM");
    }

    #[test]
    fn what_a_hand_does_to_a_code_is_forgiven() {
        let text = code().to_string();
        let full_width: String = text.chars().map(|c| char::from_u32(u32::from(c) + 0xFEE0).unwrap()).collect();
        let letters = text.replace('0', "O").replace('1', "l");
        for written in [text.to_lowercase(), text.replace('-', " "), text.replace('-', ""), format!(" {text}\n"), full_width, letters] {
            assert_eq!(written.parse(), Ok(code()), "{written}");
        }
    }

    #[test]
    fn every_wrong_digit_and_every_swap_of_neighbours_is_found() {
        let text = code().to_string().replace('-', "");
        for at in 0..N_DIGITS {
            for digit in DIGITS {
                let mut typed = text.clone().into_bytes();
                if std::mem::replace(&mut typed[at], *digit) != *digit {
                    assert_eq!(String::from_utf8(typed).unwrap().parse::<PairingCode>(), Err(CodeError::Checksum));
                }
            }
            let mut typed = text.clone().into_bytes();
            if at > 0 && typed[at] != typed[at - 1] {
                typed.swap(at - 1, at);
                assert_eq!(String::from_utf8(typed).unwrap().parse::<PairingCode>(), Err(CodeError::Checksum));
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let text = code().to_string();
        assert_eq!("".parse::<PairingCode>(), Err(CodeError::Length { have: 0 }));
        assert_eq!(text[1..].parse::<PairingCode>(), Err(CodeError::Length { have: 79 }));
        assert_eq!(format!("{text}{text}").parse::<PairingCode>(), Err(CodeError::Length { have: 160 }));
        assert_eq!(text.replacen("0C512-6", "0C512-U", 1).parse::<PairingCode>(), Err(CodeError::Character { at: 6, found: 'U' }));
    }

    #[test]
    fn a_log_line_does_not_hold_the_secret() {
        assert!(!format!("{:?}", code()).contains("secret:"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = text.parse::<PairingCode>();
        }

        #[test]
        fn digits_in_any_number_do_not_either(text in "[0-9A-Za-z -]{0,200}") {
            let _ = text.parse::<PairingCode>();
        }

        #[test]
        fn each_code_reads_back(authority: [u8; 32], secret: [u8; 16]) {
            let code = PairingCode { authority, secret };
            prop_assert_eq!(code.to_string().parse(), Ok(code));
        }
    }
}
