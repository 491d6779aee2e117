//! What the series of line protocol mean, by their bytes: a gateway sends the same names thousands of times, and they are read once.
//!
//! Only remembers what the slow way has decided (whose device a line speaks for, which point its code names), and only as long as nothing
//! in the registry has changed since. Knows no syntax. Start at [`SeriesCache::of`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use anlan_model::{DeviceId, PointId};
use foldhash::fast::RandomState;

/// Fields that one speaker's cache holds; beyond it the cache begins anew.
const FIELDS_MAX: usize = 200_000;
/// Fields that all caches together hold, some 150 bytes each; beyond it all begin anew.
const ALL_FIELDS_MAX: usize = 1_000_000;
/// A longer series is read word by word each time.
const SERIES_BYTES_MAX: usize = 512;

/// The points of a series.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) device: DeviceId,
    /// By the name of the field as written.
    pub(crate) fields: Vec<(Box<[u8]>, PointId)>,
}

/// What is known of the series of one speaker.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The state of the registry in which this holds.
    generation: u64,
    series: HashMap<Box<[u8]>, Series, RandomState>,
    n_fields: usize,
}

impl Known {
    /// The series with these bytes, if that is known for `generation`.
    pub(crate) fn get(&self, generation: u64, series: &[u8]) -> Option<&Series> {
        if generation == self.generation { self.series.get(series) } else { None }
    }
}

/// By speaker, because two may mean different things by the same words.
#[derive(Debug, Default)]
pub(crate) struct SeriesCache {
    speakers: Mutex<HashMap<DeviceId, Arc<RwLock<Known>>>>,
}

impl SeriesCache {
    /// What is known of a speaker's series.
    pub(crate) fn of(&self, speaker: DeviceId) -> Arc<RwLock<Known>> {
        let mut speakers = self.speakers.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(speakers.entry(speaker).or_default())
    }

    /// Adds what was learned in `generation`, unless something newer is known already.
    pub(crate) fn learn(&self, speaker: DeviceId, generation: u64, learned: HashMap<Box<[u8]>, Series, RandomState>) {
        if learned.is_empty() {
            return;
        }
        {
            let known = self.of(speaker);
            let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
            if known.generation > generation {
                return;
            }
            if known.generation < generation || known.n_fields > FIELDS_MAX {
                *known = Known { generation, ..Known::default() };
            }
            for (bytes, series) in learned.into_iter().filter(|(bytes, _)| bytes.len() <= SERIES_BYTES_MAX) {
                let entry = known.series.entry(bytes).or_insert_with(|| Series { device: series.device, fields: Vec::new() });
                let had = entry.fields.len();
                for (name, point) in series.fields {
                    if !entry.fields.iter().any(|(have, _)| *have == name) {
                        entry.fields.push((name, point));
                    }
                }
                let more = entry.fields.len() - had;
                known.n_fields += more;
            }
        }
        let mut speakers = self.speakers.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = speakers.values().map(|k| k.read().map_or(0, |k| k.n_fields)).sum();
        if all > ALL_FIELDS_MAX {
            speakers.clear();
        }
        metrics::gauge!("ingest_series_known").set(if all > ALL_FIELDS_MAX { 0.0 } else { all as f64 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(bytes: &str, field: &str, point: i64) -> HashMap<Box<[u8]>, Series, RandomState> {
        let fields = vec![(field.as_bytes().into(), PointId::new(point))];
        HashMap::from_iter([(bytes.as_bytes().into(), Series { device: DeviceId::new(1), fields })])
    }

    #[test]
    fn what_was_learned_holds_for_its_generation_only() {
        let (cache, speaker) = (SeriesCache::default(), DeviceId::new(9));
        let points = |generation| {
            let known = cache.of(speaker);
            let known = known.read().expect("not poisoned");
            known.get(generation, b"tank,unit=1").map(|s| s.fields.iter().map(|(_, p)| p.get()).collect::<Vec<_>>())
        };
        cache.learn(speaker, 3, learned("tank,unit=1", "level", 10));
        cache.learn(speaker, 3, learned("tank,unit=1", "level", 11));
        cache.learn(speaker, 3, learned("tank,unit=1", "temp", 12));
        assert_eq!((points(3), points(2), points(4)), (Some(vec![10, 12]), None, None));
        cache.learn(speaker, 2, learned("tank,unit=1", "old", 13));
        assert_eq!(points(3), Some(vec![10, 12]), "what is older than what is known teaches nothing");
        cache.learn(speaker, 4, learned("tank,unit=1", "level", 20));
        assert_eq!((points(3), points(4)), (None, Some(vec![20])));
        let other = cache.of(DeviceId::new(8));
        assert!(other.read().expect("not poisoned").get(4, b"tank,unit=1").is_none(), "each speaker has words of its own");
    }

    #[test]
    fn a_flood_of_names_is_forgotten() {
        let (cache, speaker) = (SeriesCache::default(), DeviceId::new(9));
        for i in 0..3 {
            let many = (0..FIELDS_MAX)
                .map(|k| (format!("s{i},k={k}").into_bytes().into(), learned("x", "v", 1).into_values().next().expect("one")));
            cache.learn(speaker, 1, many.collect());
            assert!(cache.of(speaker).read().expect("not poisoned").n_fields <= 2 * FIELDS_MAX);
        }
        cache.learn(speaker, 1, learned(&"x".repeat(SERIES_BYTES_MAX + 1), "v", 1));
        assert!(cache.of(speaker).read().expect("not poisoned").get(1, "x".repeat(SERIES_BYTES_MAX + 1).as_bytes()).is_none());
    }
}
