//! One compiled rule: its limits, and its terms, which a pack row gives thousands of points alike and which are therefore kept once.
//!
//! Start at [`Rule`]; [`Shelf`] is where what is equal is found again.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use anlan_model::{Level, RuleKind};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a rule says beside its limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// Pack row; unique within the subject.
    pub id: String,
    /// What it compares.
    pub kind: RuleKind,
    /// Urgency.
    pub level: Level,
    /// Bit number for [`RuleKind::TerminalBit`].
    pub bit: u8,
    /// How far inside the limit the value must come before the alarm returns; ≥ 0, in `unit`.
    pub deadband: f64,
    /// The condition must stand this long before it is raised.
    pub on_delay_us: i64,
    /// It must be gone this long before it returns.
    pub off_delay_us: i64,
    /// Unit of threshold and value.
    pub unit: String,
    /// Standard and clause, or the enterprise's document.
    pub source: String,
    /// How sure we are of the source.
    pub confidence: String,
}

/// One compiled rule of one subject: 32 bytes, for a city has a million of them. Reads as its [`Terms`] too.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Limit in `unit`; lower end for [`RuleKind::OutOfRange`]; seconds for [`RuleKind::Stale`] and [`RuleKind::FlatLine`].
    pub threshold: f64,
    /// Upper end for [`RuleKind::OutOfRange`].
    pub upper: Option<f64>,
    /// Everything else.
    pub terms: Arc<Terms>,
}

impl Deref for Rule {
    type Target = Terms;
    fn deref(&self) -> &Terms {
        &self.terms
    }
}

impl Rule {
    /// A rule with terms of its own.
    pub fn new(threshold: f64, upper: Option<f64>, terms: Terms) -> Self {
        Self { threshold, upper, terms: Arc::new(terms) }
    }
}

/// As logs and checkpoints have held a rule since their first version: flat, in this order.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Rule")]
struct Flat<Text> {
    id: Text,
    kind: RuleKind,
    level: Level,
    threshold: f64,
    upper: Option<f64>,
    bit: u8,
    deadband: f64,
    on_delay_us: i64,
    off_delay_us: i64,
    unit: Text,
    source: Text,
    confidence: Text,
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Terms { id, kind, level, bit, deadband, on_delay_us, off_delay_us, unit, source, confidence } = &*self.terms;
        Flat::<&str> {
            id,
            kind: *kind,
            level: *level,
            threshold: self.threshold,
            upper: self.upper,
            bit: *bit,
            deadband: *deadband,
            on_delay_us: *on_delay_us,
            off_delay_us: *off_delay_us,
            unit,
            source,
            confidence,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Flat { id, kind, level, threshold, upper, bit, deadband, on_delay_us, off_delay_us, unit, source, confidence } =
            Flat::<String>::deserialize(deserializer)?;
        Ok(Self::new(threshold, upper, Terms { id, kind, level, bit, deadband, on_delay_us, off_delay_us, unit, source, confidence }))
    }
}

/// Entries below which a shelf does not look for what nobody uses.
const SHELF_MIN: usize = 4_096;

/// Terms and sets of rules in use, each kept once. Bounded by what is in use: what nobody else holds is thrown out as it grows.
#[derive(Debug, Default)]
pub struct Shelf {
    terms: HashSet<ByValue<Terms>>,
    sets: HashSet<ByValue<[Rule]>>,
    n_terms_max: usize,
    n_sets_max: usize,
}

impl Shelf {
    /// The same rules, shared with everybody who asked for equal ones.
    pub fn set(&mut self, mut rules: Vec<Rule>) -> Arc<[Rule]> {
        for rule in &mut rules {
            rule.terms = keep(&mut self.terms, &mut self.n_terms_max, Arc::clone(&rule.terms));
        }
        keep(&mut self.sets, &mut self.n_sets_max, rules.into())
    }
}

fn keep<T: ?Sized>(known: &mut HashSet<ByValue<T>>, n_max: &mut usize, value: Arc<T>) -> Arc<T>
where
    ByValue<T>: Eq + Hash,
{
    let value = ByValue(value);
    if let Some(known) = known.get(&value) {
        return Arc::clone(&known.0);
    }
    if known.len() >= *n_max {
        known.retain(|held| Arc::strong_count(&held.0) > 1);
        *n_max = (2 * known.len()).max(SHELF_MIN);
    }
    let shared = Arc::clone(&value.0);
    known.insert(value);
    shared
}

/// Found by what it says.
#[derive(Debug)]
struct ByValue<T: ?Sized>(Arc<T>);

impl PartialEq for ByValue<Terms> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

// A deadband that is no number would only be kept twice.
impl Eq for ByValue<Terms> {}

impl Hash for ByValue<Terms> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Terms { id, kind, level, bit, deadband, on_delay_us, off_delay_us, unit, source, confidence } = &*self.0;
        (id, kind.as_str(), level.as_str(), bit, deadband.to_bits(), on_delay_us, off_delay_us, unit, source, confidence).hash(state);
    }
}

/// Sets are compared after their terms were found: the same terms are the same allocation.
impl PartialEq for ByValue<[Rule]> {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &Rule, b: &Rule| {
            Arc::ptr_eq(&a.terms, &b.terms)
                && a.threshold.to_bits() == b.threshold.to_bits()
                && a.upper.map(f64::to_bits) == b.upper.map(f64::to_bits)
        };
        self.0.len() == other.0.len() && self.0.iter().zip(other.0.iter()).all(|(a, b)| same(a, b))
    }
}

impl Eq for ByValue<[Rule]> {}

impl Hash for ByValue<[Rule]> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for rule in self.0.iter() {
            (Arc::as_ptr(&rule.terms).addr(), rule.threshold.to_bits(), rule.upper.map(f64::to_bits)).hash(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(id: &str, threshold: f64) -> Rule {
        let terms = Terms {
            id: id.to_owned(),
            kind: RuleKind::H,
            level: Level::Yellow,
            bit: 0,
            deadband: 0.5,
            on_delay_us: 1,
            off_delay_us: 2,
            unit: "%LEL".to_owned(),
            source: "GB/T 50493-2019 5.5.2".to_owned(),
            confidence: "verified-secondary".to_owned(),
        };
        Rule::new(threshold, Some(100.0), terms)
    }

    #[test]
    fn what_is_equal_is_kept_once() {
        let mut shelf = Shelf::default();
        let (a, b) = (shelf.set(vec![rule("h", 25.0)]), shelf.set(vec![rule("h", 25.0)]));
        assert!(Arc::ptr_eq(&a, &b));
        let other = shelf.set(vec![rule("h", 26.0)]);
        assert!(!Arc::ptr_eq(&a, &other), "another limit is another set");
        assert!(Arc::ptr_eq(&a[0].terms, &other[0].terms), "with the same terms");
        assert!(!Arc::ptr_eq(&a[0].terms, &shelf.set(vec![rule("hh", 25.0)])[0].terms));
    }

    #[test]
    fn what_nobody_uses_leaves_the_shelf() {
        let mut shelf = Shelf::default();
        for i in 0..3 * SHELF_MIN {
            drop(shelf.set(vec![rule("h", i as f64)]));
        }
        assert!(shelf.sets.len() <= SHELF_MIN, "{} sets", shelf.sets.len());
    }
}
