//! Places that one person may hold at the same time, so that nobody holds all of them. Start at [`OwnPlace::take`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anlan_model::UserId;

/// One of the streams or uploads a person may have open; given back when dropped.
pub(crate) struct OwnPlace {
    of: Arc<Mutex<HashMap<UserId, usize>>>,
    user: UserId,
}

impl OwnPlace {
    /// A further place of `most`.
    pub(crate) fn take(of: &Arc<Mutex<HashMap<UserId, usize>>>, user: UserId, most: usize) -> Option<Self> {
        let mut counts = counts(of);
        let open = counts.get(&user).copied().unwrap_or_default();
        if open >= most {
            return None;
        }
        counts.insert(user, open + 1);
        Some(Self { of: of.clone(), user })
    }
}

impl Drop for OwnPlace {
    fn drop(&mut self) {
        let mut counts = counts(&self.of);
        let left = counts.get(&self.user).map_or(0, |open| open.saturating_sub(1));
        // Who has none left is forgotten, so that the map is never longer than the places are many.
        if left == 0 {
            counts.remove(&self.user);
        } else {
            counts.insert(self.user, left);
        }
    }
}

fn counts(of: &Mutex<HashMap<UserId, usize>>) -> MutexGuard<'_, HashMap<UserId, usize>> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
