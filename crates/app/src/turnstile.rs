//! A brake on what strangers may ask for: so many in a minute of one address, and of all together that are counted no more.
//!
//! Addresses are counted in memory and forgotten with their minute; nothing of them is written anywhere.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use anlan_model::Timestamp;

/// Addresses that are counted at the same time.
const ADDRESSES: usize = 10_000;

/// Counts questions.
pub(crate) struct Turnstile {
    each: u32,
    crowd: u32,
    /// The minute that is counted, and what each address asked in it.
    asked: Mutex<(i64, HashMap<String, u32>)>,
}

impl Turnstile {
    /// One that lets through `each` of an address in a minute, and `crowd` of all addresses together that are counted no more.
    pub(crate) fn new(each: u32, crowd: u32) -> Self {
        Self { each, crowd, asked: Mutex::default() }
    }

    /// Counts a question; `Err` = seconds until the next may be asked.
    pub(crate) fn ask(&self, address: &str, now: Timestamp) -> Result<(), u64> {
        let (minute, second) = (now.micros().div_euclid(60_000_000), now.micros().div_euclid(1_000_000).rem_euclid(60));
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.0 != minute {
            *asked = (minute, HashMap::new());
        }
        // Beyond so many addresses, newcomers are counted as one with a share of its own: a flood does not close the door for them.
        let is_known = asked.1.len() < ADDRESSES || asked.1.contains_key(address);
        let (key, most) = if is_known { (address, self.each) } else { ("", self.crowd) };
        let count = asked.1.entry(key.to_owned()).or_default();
        *count += 1;
        if *count > most { Err(60 - second.unsigned_abs()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_asks_so_often_in_a_minute() {
        let turnstile = Turnstile::new(60, 6_000);
        let at = |s: i64| Timestamp::from_secs(60_000 + s);
        for n in 0..60 {
            assert_eq!(turnstile.ask("a", at(1)), Ok(()), "{n}");
        }
        assert_eq!(turnstile.ask("a", at(50)), Err(10));
        assert_eq!(turnstile.ask("b", at(50)), Ok(()));
        assert_eq!(turnstile.ask("a", at(60)), Ok(()));
        for n in 0..ADDRESSES - 1 {
            assert_eq!(turnstile.ask(&n.to_string(), at(61)), Ok(()));
        }
        for n in 0..6_000 {
            assert_eq!(turnstile.ask(&format!("crowd {n}"), at(61)), Ok(()));
        }
        assert_eq!(turnstile.ask("one more", at(61)), Err(59), "what is counted is bounded");
        assert_eq!(turnstile.ask("a", at(61)), Ok(()));
    }
}
