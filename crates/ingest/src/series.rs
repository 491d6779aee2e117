//! What the series of line protocol mean, by their bytes: a gateway sends the same names thousands of times, and they are read once.
//!
//! Only remembers what the slow way has decided (whose device a line speaks for, which point its code names), and only as long as nothing
//! in the registry has changed since. Knows no syntax. Start at [`SeriesCache::of`].

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use anlan_model::{DeviceId, PointId};
use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// Fields that one speaker's cache holds; beyond it the cache begins anew.
const FIELDS_MAX: usize = 200_000;
/// Fields that all caches together hold, some 150 bytes each; beyond it all begin anew.
const ALL_FIELDS_MAX: usize = 1_000_000;
/// A longer series is read word by word each time.
const SERIES_BYTES_MAX: usize = 512;

/// The points of a series, as learned.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) device: DeviceId,
    /// By the name of the field as written.
    pub(crate) fields: Vec<(Box<[u8]>, PointId)>,
}

/// Bytes of [`Known::text`].
#[derive(Clone, Copy, Debug)]
struct Words {
    at: u32,
    len: u32,
}

#[derive(Debug)]
struct Entry {
    words: Words,
    device: DeviceId,
    /// Its part of [`Known::fields`].
    first: u32,
    n: u32,
}

/// What is known of the series of one speaker, in the order in which it was learned: what is sent in a row lies in a row, so that the series
/// behind the one that was found is looked at first and costs no search.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The state of the registry in which this holds.
    generation: u64,
    text: Vec<u8>,
    series: Vec<Entry>,
    fields: Vec<(Words, PointId)>,
    index: HashTable<u32>,
    hasher: RandomState,
}

impl Known {
    fn words(&self, words: Words) -> &[u8] {
        self.text.get(words.at as usize..(words.at + words.len) as usize).unwrap_or_default()
    }

    fn is(&self, i: u32, series: &[u8]) -> bool {
        self.series.get(i as usize).is_some_and(|entry| self.words(entry.words) == series)
    }

    /// The number of the series with these bytes, if it is known for `generation`; `likely` is looked at first.
    pub(crate) fn find(&self, generation: u64, series: &[u8], likely: u32) -> Option<u32> {
        if generation != self.generation {
            return None;
        }
        if self.is(likely, series) {
            return Some(likely);
        }
        self.index.find(self.hasher.hash_one(series), |i| self.is(*i, series)).copied()
    }

    /// Whose series this is.
    pub(crate) fn device(&self, series: u32) -> Option<DeviceId> {
        self.series.get(series as usize).map(|entry| entry.device)
    }

    /// The point of a field of a series, mostly its `nth`.
    pub(crate) fn point(&self, series: u32, nth: usize, field: &[u8]) -> Option<PointId> {
        let entry = self.series.get(series as usize)?;
        let fields = self.fields.get(entry.first as usize..(entry.first + entry.n) as usize)?;
        let named = |(words, _): &&(Words, PointId)| self.words(*words) == field;
        fields.get(nth).filter(named).or_else(|| fields.iter().find(named)).map(|(_, point)| *point)
    }

    fn put(&mut self, bytes: &[u8]) -> Words {
        let at = self.text.len() as u32;
        self.text.extend_from_slice(bytes);
        Words { at, len: bytes.len() as u32 }
    }

    /// Adds a series, or fields to one.
    fn learn(&mut self, bytes: &[u8], learned: Series) {
        let hash = self.hasher.hash_one(bytes);
        let known = self.index.find(hash, |i| self.is(*i, bytes)).copied();
        let i = known.unwrap_or_else(|| {
            let (i, words) = (self.series.len() as u32, self.put(bytes));
            self.series.push(Entry { words, device: learned.device, first: 0, n: 0 });
            i
        });
        let new: Vec<_> = learned.fields.into_iter().filter(|(name, _)| self.point(i, 0, name).is_none()).collect();
        if known.is_none() {
            let Self { index, series, text, hasher, .. } = self;
            let hash_of = |i: &u32| {
                let words = series[*i as usize].words;
                hasher.hash_one(&text[words.at as usize..(words.at + words.len) as usize])
            };
            index.insert_unique(hash, i, hash_of);
        }
        if new.is_empty() {
            return;
        }
        // All fields of a series lie in a row; those it had are told once more.
        let Entry { first, n, .. } = self.series[i as usize];
        let start = self.fields.len() as u32;
        self.fields.extend_from_within(first as usize..(first + n) as usize);
        for (name, point) in new {
            let words = self.put(&name);
            self.fields.push((words, point));
        }
        let entry = &mut self.series[i as usize];
        (entry.first, entry.n) = (start, self.fields.len() as u32 - start);
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
    pub(crate) fn learn(&self, speaker: DeviceId, generation: u64, learned: Vec<(Box<[u8]>, Series)>) {
        if learned.is_empty() {
            return;
        }
        {
            let known = self.of(speaker);
            let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
            if known.generation > generation {
                return;
            }
            if known.generation < generation || known.fields.len() > FIELDS_MAX {
                *known = Known { generation, ..Known::default() };
            }
            for (bytes, series) in learned.into_iter().filter(|(bytes, _)| bytes.len() <= SERIES_BYTES_MAX) {
                known.learn(&bytes, series);
            }
        }
        let mut speakers = self.speakers.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = speakers.values().map(|k| k.read().map_or(0, |k| k.fields.len())).sum();
        if all > ALL_FIELDS_MAX {
            speakers.clear();
        }
        metrics::gauge!("ingest_series_known").set(if all > ALL_FIELDS_MAX { 0.0 } else { all as f64 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(bytes: &str, field: &str, point: i64) -> Vec<(Box<[u8]>, Series)> {
        let fields = vec![(field.as_bytes().into(), PointId::new(point))];
        vec![(bytes.as_bytes().into(), Series { device: DeviceId::new(1), fields })]
    }

    fn points(known: &Known, generation: u64, series: &[u8]) -> Option<Vec<i64>> {
        let i = known.find(generation, series, 7)?;
        Some(["level", "temp", "old"].iter().filter_map(|name| known.point(i, 0, name.as_bytes())).map(PointId::get).collect())
    }

    #[test]
    fn what_was_learned_holds_for_its_generation_only() {
        let (cache, speaker) = (SeriesCache::default(), DeviceId::new(9));
        let points = |generation| points(&cache.of(speaker).read().expect("not poisoned"), generation, b"tank,unit=1");
        cache.learn(speaker, 3, learned("tank,unit=1", "level", 10));
        cache.learn(speaker, 3, learned("tank,unit=1", "level", 11));
        cache.learn(speaker, 3, learned("tank,unit=1", "temp", 12));
        assert_eq!((points(3), points(2), points(4)), (Some(vec![10, 12]), None, None));
        cache.learn(speaker, 2, learned("tank,unit=1", "old", 13));
        assert_eq!(points(3), Some(vec![10, 12]), "what is older than what is known teaches nothing");
        cache.learn(speaker, 4, learned("tank,unit=1", "level", 20));
        assert_eq!((points(3), points(4)), (None, Some(vec![20])));
        let other = cache.of(DeviceId::new(8));
        assert!(other.read().expect("not poisoned").find(4, b"tank,unit=1", 0).is_none(), "each speaker has words of its own");
    }

    #[test]
    fn a_flood_of_names_is_forgotten() {
        let (cache, speaker) = (SeriesCache::default(), DeviceId::new(9));
        for i in 0..3 {
            let many = (0..FIELDS_MAX).map(|k| (format!("s{i},k={k}").into_bytes().into(), learned("x", "v", 1).remove(0).1));
            cache.learn(speaker, 1, many.collect());
            assert!(cache.of(speaker).read().expect("not poisoned").fields.len() <= 2 * FIELDS_MAX);
        }
        cache.learn(speaker, 1, learned(&"x".repeat(SERIES_BYTES_MAX + 1), "v", 1));
        assert!(cache.of(speaker).read().expect("not poisoned").find(1, "x".repeat(SERIES_BYTES_MAX + 1).as_bytes(), 0).is_none());
    }
}
