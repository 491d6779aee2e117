//! Which readings go over a link, as agreed (约定): a part of each day that both ends can make out alone, so that it can be proven.
//!
//! What a day has is told from its newest revision of each instant. [`Readings::part`] has the property on which the proof rests: whoever holds at
//! least this part of a day, and nothing that is not of the day, finds the very same part. So it does not matter how much more was sent. Live,
//! [`Sieve`] sends at least the part as far as it can know it; what comes late is put right when the day is over. Start at [`Readings::part`].

use std::collections::HashMap;

/// Which readings go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Readings {
    /// None.
    None,
    /// Of each point what is around its alarms, see [`Around`].
    Alarms,
    /// Of each point and minute the first of each quality, the first lowest and the first highest of those that are not bad, and whatever was revised.
    Minutes,
    /// Of each point and day the first, whatever differs in value or quality from the one before it, and whatever was revised.
    Changes,
    /// Every one.
    #[default]
    All,
}

impl Readings {
    /// All words.
    pub const EACH: [Self; 5] = [Self::None, Self::Alarms, Self::Minutes, Self::Changes, Self::All];

    /// The word in the database, on the API and between nodes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Alarms => "alarms",
            Self::Minutes => "minutes",
            Self::Changes => "changes",
            Self::All => "all",
        }
    }

    /// Reads [`Self::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        Self::EACH.into_iter().find(|one| one.as_str() == word)
    }

    /// What goes where two nodes want this and that: the lesser. A word that is not known here is of a newer release, and nothing goes by it.
    pub fn with(self, other: &str) -> Self {
        self.min(Self::parse(other).unwrap_or(Self::None))
    }

    /// Whether it is some of a day, neither all nor none.
    pub const fn is_part(self) -> bool {
        matches!(self, Self::Alarms | Self::Minutes | Self::Changes)
    }

    /// Which of a point's readings of one civil day are agreed. `rows`: all that is held of them, by instant and revision; `around`: its alarms.
    ///
    /// For any `some` of `rows` that has at least what this says of `rows`, it says the same of `some`.
    pub fn part(self, rows: &[Row], around: &Around) -> Vec<bool> {
        let mut keeps = vec![self == Self::All; rows.len()];
        if !self.is_part() {
            return keeps;
        }
        if self == Self::Alarms {
            return rows.iter().map(|row| around.has(row.at_us)).collect();
        }
        let newest = |i: usize| rows.get(i + 1).is_none_or(|next| next.at_us != rows[i].at_us);
        let standing: Vec<usize> = (0..rows.len()).filter(|i| newest(*i)).collect();
        for i in &standing {
            keeps[*i] = rows[*i].revision > 0; // What was revised goes, so that nobody takes an older value for the newest
        }
        if self == Self::Changes {
            for (n, i) in standing.iter().enumerate() {
                keeps[*i] |= n == 0 || !rows[*i].says_as(&rows[standing[n - 1]]);
            }
            return keeps;
        }
        for minute in standing.chunk_by(|a, b| rows[*a].minute() == rows[*b].minute()) {
            let mut seen = Minute::default();
            // Of two that are alike the first: so it is known last which the lowest and the highest are.
            let (mut lowest, mut highest) = (None, None);
            for i in minute {
                let news = seen.take(&rows[*i]);
                keeps[*i] |= news.quality;
                lowest = if news.lowest { Some(*i) } else { lowest };
                highest = if news.highest { Some(*i) } else { highest };
            }
            for i in [lowest, highest].into_iter().flatten() {
                keeps[i] = true;
            }
        }
        keeps
    }
}

/// What lies around the alarms of a point: from half an hour before each began to half an hour after it ended, as the page of an alarm shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Around {
    /// From, and up to but not with; ascending, apart from each other.
    spans: Vec<(i64, i64)>,
}

impl Around {
    /// Before the beginning of an alarm, and behind its end. The product's choice.
    pub const MARGIN_US: i64 = 30 * MINUTE_US;

    /// Around no alarm.
    pub const fn nothing() -> Self {
        Self { spans: Vec::new() }
    }

    /// Around alarms that began and ended then, in µs; without an end they stand.
    pub fn alarms(alarms: impl IntoIterator<Item = (i64, Option<i64>)>) -> Self {
        let span = |(onset, end): (i64, Option<i64>)| {
            let until = end.map_or(i64::MAX, |end| end.max(onset).saturating_add(Self::MARGIN_US).saturating_add(1));
            (onset.saturating_sub(Self::MARGIN_US), until)
        };
        Self::of(alarms.into_iter().map(span).collect())
    }

    fn of(mut all: Vec<(i64, i64)>) -> Self {
        all.sort_unstable();
        let mut spans: Vec<(i64, i64)> = Vec::with_capacity(all.len());
        for (from, until) in all {
            match spans.last_mut() {
                Some((_, end)) if from <= *end => *end = until.max(*end),
                _ => spans.push((from, until)),
            }
        }
        Self { spans }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// From, and up to but not with; ascending.
    pub fn spans(&self) -> &[(i64, i64)] {
        &self.spans
    }

    /// Whether an instant lies in it.
    pub fn has(&self, at_us: i64) -> bool {
        let behind = self.spans.partition_point(|(from, _)| *from <= at_us);
        behind > 0 && at_us < self.spans[behind - 1].1
    }

    /// What of it lies in `[from_us, until_us)`.
    pub fn within(&self, from_us: i64, until_us: i64) -> Self {
        let cut = self.spans.iter().map(|(from, until)| (*from.max(&from_us), *until.min(&until_us)));
        Self { spans: cut.filter(|(from, until)| from < until).collect() }
    }

    /// This without what the other has.
    pub fn without(&self, other: &Self) -> Self {
        let mut spans = Vec::new();
        for (from, until) in &self.spans {
            let mut at = *from;
            for (gone, back) in other.within(*from, *until).spans {
                if at < gone {
                    spans.push((at, gone));
                }
                at = back;
            }
            if at < *until {
                spans.push((at, *until));
            }
        }
        Self { spans }
    }

    /// This and that.
    pub fn with(mut self, from_us: i64, until_us: i64) -> Self {
        self.add(from_us, until_us);
        self
    }

    /// What both have.
    pub fn shared(&self, other: &Self) -> Self {
        self.without(&self.without(other))
    }

    /// Takes this in too.
    pub fn add(&mut self, from_us: i64, until_us: i64) {
        self.spans.push((from_us, until_us));
        *self = Self::of(std::mem::take(&mut self.spans));
    }
}

/// A reading of one point, as far as an agreement looks at it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Its instant in µs.
    pub at_us: i64,
    /// Its revision.
    pub revision: u16,
    /// Its value.
    pub value: f64,
    /// The stored code of its quality; 2 = bad.
    pub quality: u8,
}

const MINUTE_US: i64 = 60_000_000;
const DAY_US: i64 = 86_400_000_000;
/// Beijing is ahead of UTC by this.
const BEIJING_US: i64 = 8 * 3_600_000_000;
const BAD: u8 = 2;

impl Row {
    fn says_as(&self, other: &Self) -> bool {
        (self.value.to_bits(), self.quality) == (other.value.to_bits(), other.quality)
    }
    fn minute(&self) -> i64 {
        self.at_us.div_euclid(MINUTE_US)
    }
    fn day(&self) -> i64 {
        (self.at_us + BEIJING_US).div_euclid(DAY_US)
    }
}

/// What was seen of a minute.
#[derive(Clone, Copy, Debug, Default)]
struct Minute {
    qualities: [bool; 3],
    bounds: Option<(f64, f64)>,
}

/// What a reading adds to it.
struct News {
    quality: bool,
    lowest: bool,
    highest: bool,
}

impl Minute {
    fn take(&mut self, row: &Row) -> News {
        let seen = &mut self.qualities[usize::from(row.quality.min(BAD))];
        let quality = !std::mem::replace(seen, true);
        if row.quality >= BAD {
            return News { quality, lowest: false, highest: false };
        }
        let (lowest, highest) = match self.bounds {
            None => (true, true),
            Some((low, high)) => (row.value.total_cmp(&low).is_lt(), row.value.total_cmp(&high).is_gt()),
        };
        let (low, high) = self.bounds.unwrap_or((row.value, row.value));
        self.bounds = Some((if lowest { row.value } else { low }, if highest { row.value } else { high }));
        News { quality, lowest, highest }
    }
}

#[derive(Clone, Copy, Debug)]
struct Last {
    row: Row,
    minute: Minute,
}

/// Lets at least the agreed part through, reading by reading as a log has them: exactly as far as they come in order of their instants.
#[derive(Clone, Debug, Default)]
pub struct Sieve(HashMap<i64, Last>);

impl Sieve {
    /// Whether this reading of a point goes, as far as its alarms are known.
    pub fn passes(&mut self, readings: Readings, point: i64, row: Row, around: &Around) -> bool {
        if !readings.is_part() {
            return readings == Readings::All;
        }
        if readings == Readings::Alarms {
            return around.has(row.at_us);
        }
        let Some(last) = self.0.get_mut(&point) else {
            let mut minute = Minute::default();
            minute.take(&row);
            self.0.insert(point, Last { row, minute });
            return true;
        };
        // Late, or revised: what was decided by the ones around it may no longer hold, and is put right when the day is over.
        if row.at_us <= last.row.at_us || row.revision > 0 {
            return true;
        }
        let before = std::mem::replace(&mut last.row, row);
        if readings == Readings::Changes {
            return before.day() != row.day() || !before.says_as(&row);
        }
        if before.minute() != row.minute() {
            last.minute = Minute::default();
        }
        let news = last.minute.take(&row);
        news.quality || news.lowest || news.highest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(of: &[(i64, u16, f64, u8)]) -> Vec<Row> {
        of.iter()
            .map(|(s, revision, value, quality)| Row { at_us: s * 1_000_000, revision: *revision, value: *value, quality: *quality })
            .collect()
    }

    fn check(readings: Readings, of: &[(i64, u16, f64, u8)], want: &[i64]) {
        let rows = rows(of);
        let kept: Vec<i64> =
            rows.iter().zip(readings.part(&rows, &around())).filter(|(_, keeps)| *keeps).map(|(r, _)| r.at_us / 1_000_000).collect();
        assert_eq!(kept, want, "{readings:?} {of:?}");
    }

    /// Around an alarm from 1,810 s to 1,820 s, and one that began at 10,000 s and stands.
    fn around() -> Around {
        Around::alarms([(10_000_000_000, None), (1_810_000_000, Some(1_820_000_000))])
    }

    #[test]
    fn around_alarms_from_half_an_hour_before_to_half_an_hour_after() {
        let around = around();
        assert_eq!(around.spans(), [(10_000_000, 3_620_000_001), (8_200_000_000, i64::MAX)]);
        assert!([10, 3_620, 8_200, 1_000_000].into_iter().all(|s| around.has(s * 1_000_000)));
        assert!(![9, 3_621, 8_199].into_iter().any(|s| around.has(s * 1_000_000)));
        // One into the next is one; an end before its beginning is none.
        assert_eq!(
            Around::alarms([(0, Some(0)), (Around::MARGIN_US * 2, Some(0))]).spans(),
            [(-Around::MARGIN_US, 3 * Around::MARGIN_US + 1)]
        );
        assert_eq!(around.within(0, 11_000_000).spans(), [(10_000_000, 11_000_000)]);
        assert!(around.within(4_000_000_000, 8_200_000_000).is_empty());
        let mut some = around.within(20_000_000, 30_000_000);
        assert_eq!(around.without(&some).spans(), [(10_000_000, 20_000_000), (30_000_000, 3_620_000_001), (8_200_000_000, i64::MAX)]);
        some.add(5_000_000, 25_000_000);
        some.add(30_000_000, i64::MAX);
        assert!(around.without(&some).is_empty() && some.spans().len() == 1);
        let both = Around::alarms([(3_000_000_000, Some(9_000_000_000))]).shared(&around);
        assert_eq!(both.spans(), [(1_200_000_000, 3_620_000_001), (8_200_000_000, 10_800_000_001)]);
        check(
            Readings::Alarms,
            &[(0, 0, 1.0, 0), (10, 0, 7.0, 0), (10, 1, 1.0, 0), (3_620, 0, 1.0, 2), (4_000, 0, 1.0, 0)],
            &[10, 10, 3_620],
        );
    }

    #[test]
    fn the_part_that_is_agreed() {
        let day = [(0, 0, 1.0, 0), (10, 0, 1.0, 0), (20, 0, 2.0, 0), (30, 0, 2.0, 1), (40, 0, 2.0, 1), (70, 0, 2.0, 1)];
        check(Readings::All, &day, &[0, 10, 20, 30, 40, 70]);
        check(Readings::None, &day, &[]);
        check(Readings::Changes, &day, &[0, 20, 30]);
        check(Readings::Minutes, &day, &[0, 20, 30, 70]);
        // A minute: first, lowest, highest, first bad.
        check(
            Readings::Minutes,
            &[(0, 0, 5.0, 0), (1, 0, 4.0, 0), (2, 0, 9.0, 2), (3, 0, 3.0, 0), (4, 0, 8.0, 0), (5, 0, 8.0, 0), (6, 0, 1.0, 2)],
            &[0, 2, 3, 4],
        );
        // Only the newest revision of an instant counts, and it goes.
        check(Readings::Changes, &[(0, 0, 1.0, 0), (10, 0, 7.0, 0), (10, 1, 1.0, 0), (20, 0, 1.0, 0)], &[0, 10]);
        check(Readings::Minutes, &[(0, 0, 1.0, 0), (10, 0, 7.0, 0), (10, 1, 1.0, 0), (20, 0, 1.0, 0)], &[0, 10]);
    }

    #[test]
    fn the_lesser_of_two_wishes_holds_and_a_word_of_the_future_is_none() {
        assert_eq!(Readings::All.with("changes"), Readings::Changes);
        assert_eq!(Readings::Minutes.with("all"), Readings::Minutes);
        assert_eq!(Readings::Alarms.with("minutes"), Readings::Alarms);
        assert_eq!(Readings::Changes.with("a word to come"), Readings::None);
        assert!(Readings::EACH.into_iter().all(|one| Readings::parse(one.as_str()) == Some(one)));
    }

    /// The property on which the proof rests, and that what passes live is no less than the part if it comes in order.
    #[test]
    fn whoever_holds_at_least_the_part_finds_the_same_part() {
        let mut seed = 1_u64;
        let mut below = |n: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % n
        };
        for _ in 0..3_000 {
            let mut all = Vec::new();
            for n in 0..below(40) {
                let at_us = (n as i64 * 7 + 3) * 1_000_000;
                for revision in 0..1 + u16::from(below(8) == 0) {
                    all.push(Row { at_us, revision, value: below(3) as f64, quality: [0, 0, 0, 1, 2][below(5) as usize] });
                }
            }
            let alarms = (0..below(3)).map(|_| (below(300) as i64 * 1_000_000, (below(3) > 0).then_some(below(300) as i64 * 1_000_000)));
            let margin = |(onset, end): (i64, Option<i64>)| (onset + Around::MARGIN_US, end.map(|end| end - Around::MARGIN_US));
            let around = Around::alarms(alarms.map(margin));
            for readings in [Readings::Alarms, Readings::Minutes, Readings::Changes] {
                let part = readings.part(&all, &around);
                let of =
                    |rows: &[Row], keeps: &[bool]| -> Vec<Row> { rows.iter().zip(keeps).filter(|(_, k)| **k).map(|(r, _)| *r).collect() };
                let agreed = of(&all, &part);
                let more: Vec<bool> = part.iter().map(|keeps| *keeps || below(3) == 0).collect();
                let some = of(&all, &more);
                assert_eq!(of(&some, &readings.part(&some, &around)), agreed, "{readings:?} of {all:?} with {some:?}");
                let mut sieve = Sieve::default();
                let live: Vec<bool> = all.iter().map(|row| sieve.passes(readings, 1, *row, &around)).collect();
                let settled = all.iter().all(|row| row.revision == 0);
                assert!(!settled || part.iter().zip(&live).all(|(part, live)| *live || !part), "{readings:?} live of {all:?}");
            }
        }
    }
}
