//! Sets of sequence numbers as ranges: what has arrived, what is under way.

use serde::{Deserialize, Serialize};

/// A set of numbers from 1 on, kept as inclusive ranges that neither overlap nor touch, lowest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Intervals(Vec<(u64, u64)>);

impl Intervals {
    /// Those that are sound: `1 <= first <= last`, lowest first, apart. `None` for anything else, such as what a stranger sent.
    pub fn checked(ranges: Vec<(u64, u64)>) -> Option<Self> {
        let each = ranges.iter().all(|(first, last)| 1 <= *first && first <= last);
        let apart = ranges.windows(2).all(|pair| pair[0].1.saturating_add(1) < pair[1].0);
        (each && apart).then_some(Self(ranges))
    }
    /// All numbers up to `last`.
    pub fn up_to(last: u64) -> Self {
        Self(if last == 0 { Vec::new() } else { vec![(1, last)] })
    }
    /// The ranges.
    pub fn ranges(&self) -> &[(u64, u64)] {
        &self.0
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Adds `first..=last`.
    pub fn insert(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        let from = self.0.partition_point(|(_, l)| l.saturating_add(1) < first);
        let to = self.0.partition_point(|(f, _)| *f <= last.saturating_add(1));
        let touched = &self.0[from..to];
        let merged = (touched.first().map_or(first, |r| r.0.min(first)), touched.last().map_or(last, |r| r.1.max(last)));
        self.0.splice(from..to, [merged]);
    }
    /// Takes `first..=last` out.
    pub fn remove(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        let cut = |&(f, l): &(u64, u64)| {
            let before = (f < first).then(|| (f, l.min(first - 1)));
            let behind = (l > last).then(|| (f.max(last + 1), l));
            if l < first || f > last { [Some((f, l)), None] } else { [before, behind] }
        };
        self.0 = self.0.iter().flat_map(cut).flatten().collect();
    }
    /// Adds all of `other`.
    pub fn join(&mut self, other: &Self) {
        other.0.iter().for_each(|(first, last)| self.insert(*first, *last));
    }
    /// Whether all of `first..=last` are in it.
    pub fn has(&self, first: u64, last: u64) -> bool {
        let at = self.0.partition_point(|(_, l)| *l < first);
        self.0.get(at).is_some_and(|(f, l)| *f <= first && last <= *l)
    }
    /// Whether any of `first..=last` is in it.
    pub fn has_any(&self, first: u64, last: u64) -> bool {
        let at = self.0.partition_point(|(_, l)| *l < first);
        self.0.get(at).is_some_and(|(f, _)| *f <= last)
    }
    /// The last number before the first that misses.
    pub fn contiguous(&self) -> u64 {
        self.0.first().filter(|(first, _)| *first == 1).map_or(0, |(_, last)| *last)
    }
    /// The greatest number; 0 if there is none.
    pub fn last(&self) -> u64 {
        self.0.last().map_or(0, |(_, last)| *last)
    }
    /// The first range that misses behind `after` and up to `end`, cut there.
    pub fn gap(&self, after: u64, end: u64) -> Option<(u64, u64)> {
        let mut first = after + 1;
        for (f, l) in &self.0 {
            if *l < first {
                continue;
            }
            if *f > first {
                return (first <= end).then(|| (first, end.min(f - 1)));
            }
            first = l + 1;
        }
        (first <= end).then_some((first, end))
    }
    /// How many numbers up to `end` miss.
    pub fn n_missing(&self, end: u64) -> u64 {
        let have: u64 = self.0.iter().filter(|(f, _)| *f <= end).map(|(f, l)| end.min(*l) - f + 1).sum();
        end - have
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Against a plain set, over many random steps.
    #[test]
    fn ranges_are_a_set() {
        let mut seed = 1u64;
        let mut random = |n: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % n
        };
        let (mut have, mut want) = (Intervals::default(), BTreeSet::new());
        for _ in 0..4_000 {
            let first = 1 + random(60);
            let last = first + random(6);
            if random(3) == 0 {
                have.remove(first, last);
                (first..=last).for_each(|n| _ = want.remove(&n));
            } else {
                have.insert(first, last);
                want.extend(first..=last);
            }
            assert!(Intervals::checked(have.ranges().to_vec()).is_some(), "{have:?}");
            let all: BTreeSet<u64> = have.ranges().iter().flat_map(|(f, l)| *f..=*l).collect();
            assert_eq!(all, want);
            let (a, b) = (1 + random(60), 1 + random(60));
            assert_eq!(have.has(a.min(b), a.max(b)), (a.min(b)..=a.max(b)).all(|n| want.contains(&n)));
            assert_eq!(have.has_any(a.min(b), a.max(b)), (a.min(b)..=a.max(b)).any(|n| want.contains(&n)));
            assert_eq!(have.n_missing(a), (1..=a).filter(|n| !want.contains(n)).count() as u64);
            let gap = (b + 1..=a).find(|n| !want.contains(n)).map(|first| {
                let end = (first..=a).take_while(|n| !want.contains(n)).last().unwrap_or(first);
                (first, end)
            });
            assert_eq!(have.gap(b, a), gap);
            assert_eq!(have.contiguous(), (1..).take_while(|n| want.contains(n)).last().unwrap_or(0));
        }
    }

    #[test]
    fn what_a_stranger_sends_is_checked() {
        assert!(Intervals::checked(vec![(1, 3), (5, 5)]).is_some());
        for bad in [vec![(0, 3)], vec![(3, 2)], vec![(1, 3), (4, 5)], vec![(5, 6), (1, 2)], vec![(1, u64::MAX), (3, 4)]] {
            assert!(Intervals::checked(bad.clone()).is_none(), "{bad:?}");
        }
    }
}
