//! Which authentication codes this process has told a terminal already.
//!
//! Never decides who may be told (that is the session's), and forgets everything on a restart: the enrolment window is what bounds
//! a code then. Start at [`CodesGiven::claim`].

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Per adopted phone number the newest generation that was given; bounded by the number of adopted terminals.
#[derive(Debug, Default)]
pub(crate) struct CodesGiven(Mutex<HashMap<String, i64>>);

impl CodesGiven {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, i64>> {
        // One map operation per change, so a panic elsewhere leaves nothing half-made.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this generation, or a newer one, was given.
    pub(crate) fn was_given(&self, phone: &str, generation: i64) -> bool {
        self.lock().get(phone).is_some_and(|given| *given >= generation)
    }

    /// Marks the generation as given; `false` if it was already. Of two connections that ask at once, one is told.
    pub(crate) fn claim(&self, phone: &str, generation: i64) -> bool {
        let mut given = self.lock();
        if given.get(phone).is_some_and(|given| *given >= generation) {
            return false;
        }
        given.insert(phone.to_owned(), generation);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_given_once_and_an_older_one_never_after_it() {
        let codes = CodesGiven::default();
        assert!(!codes.was_given("138", 1));
        assert!(codes.claim("138", 1) && !codes.claim("138", 1));
        assert!(codes.was_given("138", 1) && !codes.was_given("138", 2) && !codes.was_given("139", 1));
        assert!(codes.claim("138", 2) && !codes.claim("138", 1));
    }
}
