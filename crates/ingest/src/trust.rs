//! Who a source is: device secrets, terminal authentication codes, phone numbers.
//!
//! Pure; nothing here reads a socket or a clock. Start at [`device`] and [`terminal_code`].

use anlan_model::{Credentials, DeviceCredential};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The credential of `code` if `secret` is its secret and the device is not disabled.
///
/// Takes the same time for an unknown code, a wrong secret and a disabled device, so that codes cannot be probed.
pub(crate) fn device<'a>(credentials: &'a Credentials, code: &str, secret: &[u8]) -> Option<&'a DeviceCredential> {
    let given: [u8; 32] = Sha256::digest(secret).into();
    let known = credentials.devices.get(code);
    let wanted = known.map_or([0; 32], |c| c.secret_hash);
    let equal = bool::from(given.ct_eq(&wanted));
    known.filter(|c| equal && !c.disabled)
}

/// The credential of the device that `speaker` (with code `own`) may send readings for under the name `named`.
///
/// A device speaks for itself; a gateway also for a device of the same enterprise.
pub(crate) fn spoken_for<'a>(
    credentials: &'a Credentials,
    own: &str,
    speaker: &'a DeviceCredential,
    named: &str,
) -> Option<&'a DeviceCredential> {
    if named == own {
        return Some(speaker);
    }
    let other = credentials.devices.get(named)?;
    let same_owner = speaker.enterprise.is_some() && speaker.enterprise == other.enterprise;
    (speaker.gateway && same_owner && !other.disabled).then_some(other)
}

/// The authentication code that 0x8100 issues to `phone`: hex of the first 8 bytes of HMAC-SHA-256(`key`, phone/generation).
///
/// `phone` is normalised ([`normal_phone`]). Derived instead of stored, so that the tables hold nothing worth stealing but the key.
/// Generation 0 is what anybody hears before adoption; it opens nothing.
pub fn terminal_code(key: &[u8; 32], phone: &str, generation: i64) -> String {
    hmac_sha256(key, format!("{phone}/{generation}").as_bytes())[..8].iter().fold(String::with_capacity(16), |mut text, byte| {
        use std::fmt::Write as _;
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether `given` is that code of `phone`, in time that does not depend on where they differ.
pub(crate) fn is_terminal_code(key: &[u8; 32], phone: &str, generation: i64, given: &[u8]) -> bool {
    bool::from(terminal_code(key, phone, generation).as_bytes().ct_eq(given))
}

/// HMAC-SHA-256. Source: RFC 2104 section 2; block size 64 bytes (FIPS 180-4).
fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0u8; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|b| b ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(block.map(|b| b ^ 0x5c)).chain_update(inner).finalize().into()
}

/// The number without leading zeros, `0` if it is all zeros: 2013 pads to 12 digits and 2019 to 20.
pub fn normal_phone(digits: &str) -> &str {
    let short = digits.trim_start_matches('0');
    if short.is_empty() { "0" } else { short }
}

/// The number for a log line: the middle digits hidden.
pub(crate) fn masked(phone: &str) -> String {
    let chars: Vec<char> = phone.chars().collect();
    let n = chars.len();
    let (head, tail) = if n >= 8 { (3, 4) } else { (n.min(1), 0) };
    chars.iter().enumerate().map(|(i, c)| if i < head || i + tail >= n { *c } else { '*' }).collect()
}

#[cfg(test)]
mod tests {
    use anlan_model::{DeviceId, EnterpriseId};

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn hmac_gives_the_answers_of_rfc_4231() {
        // Cases 1, 2 and 6 (a key longer than the block).
        let check = |key: &[u8], message: &[u8], want: &str| assert_eq!(hex(&hmac_sha256(key, message)), want);
        check(&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
        check(b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        check(
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        );
    }

    #[test]
    fn a_code_belongs_to_one_number_and_generation() {
        let code = terminal_code(&[7; 32], "13800138000", 1);
        assert_eq!(code.len(), 16);
        assert!(is_terminal_code(&[7; 32], "13800138000", 1, code.as_bytes()));
        assert!(!is_terminal_code(&[7; 32], "13800138000", 2, code.as_bytes()));
        assert!(!is_terminal_code(&[7; 32], "13800138001", 1, code.as_bytes()));
        assert!(!is_terminal_code(&[8; 32], "13800138000", 1, code.as_bytes()));
        assert!(!is_terminal_code(&[7; 32], "13800138000", 1, b""));
    }

    #[test]
    fn phones_lose_leading_zeros_and_logs_lose_the_middle() {
        let check = |digits, want| assert_eq!(normal_phone(digits), want);
        check("013800138000", "13800138000");
        check("000000000000", "0");
        check("", "0");
        assert_eq!(masked("13800138000"), "138****8000");
        assert_eq!(masked("1234"), "1***");
        assert_eq!(masked(""), "");
    }

    #[test]
    fn only_a_gateway_speaks_for_others_and_only_within_its_enterprise() {
        let device = |id, enterprise: Option<i64>, gateway| DeviceCredential {
            device: DeviceId::new(id),
            secret_hash: Sha256::digest(b"s").into(),
            enterprise: enterprise.map(EnterpriseId::new),
            gateway,
            may_backfill: false,
            disabled: false,
        };
        let mut all = Credentials::default();
        all.devices.insert("gw".into(), device(1, Some(1), true));
        all.devices.insert("a".into(), device(2, Some(1), false));
        all.devices.insert("foreign".into(), device(3, Some(2), false));
        all.devices.insert("free".into(), device(4, None, true));
        all.devices.insert("free2".into(), device(5, None, false));
        let id = |own: &str, named: &str| spoken_for(&all, own, &all.devices[own], named).map(|c| c.device.get());
        assert_eq!(id("gw", "a"), Some(2));
        assert_eq!(id("gw", "gw"), Some(1));
        assert_eq!(id("gw", "foreign"), None);
        assert_eq!(id("gw", "nobody"), None);
        assert_eq!(id("a", "gw"), None);
        assert_eq!(id("free", "free2"), None, "devices without an enterprise have no owner in common");
        assert!(super::device(&all, "gw", b"s").is_some());
        assert!(super::device(&all, "gw", b"t").is_none());
        assert!(super::device(&all, "nobody", b"").is_none());
        all.devices.get_mut("a").unwrap().disabled = true;
        assert!(super::device(&all, "a", b"s").is_none());
        assert!(spoken_for(&all, "gw", &all.devices["gw"], "a").is_none());
    }
}
