//! The rule book: kinds of measurement, alarm rules and default limits, read from a pack's TOML.
//!
//! No threshold, level or delay stands in Rust; each row of a pack names standard, clause, effective date and confidence.
//! This file parses and refuses; it never opens a file. Start at [`RuleBook::parse`]; a whole pack is looked at by [`folder`].

pub mod diff;
pub mod folder;
pub mod source;

use anlan_model::noun::Point;
use anlan_model::{Level, RuleKind};
use serde::{Deserialize, Serialize};

use crate::alarm::{Rule, Terms};

/// What a pack says about measuring and alarming.
#[derive(Clone, Debug, Default)]
pub struct RuleBook {
    /// Kinds of measurement.
    pub kinds: Vec<Kind>,
    /// Levels and behaviour of rules.
    pub rules: Vec<RuleRow>,
    /// Default limits by kind of measurement.
    pub limits: Vec<LimitRow>,
}

/// A kind of measurement (可燃气体浓度, 液位 …).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kind {
    /// Word used on points, such as `gas_combustible`.
    pub kind: String,
    /// Chinese name.
    pub name_zh: String,
    /// English name.
    pub name_en: String,
    /// Usual unit.
    pub unit: String,
    /// Usual measuring range.
    #[serde(default)]
    pub range_low: Option<f64>,
    /// Usual measuring range.
    #[serde(default)]
    pub range_high: Option<f64>,
    /// Remark.
    #[serde(default)]
    pub note: String,
}

/// One alarm rule of a pack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleRow {
    /// Stable id; appears on the alarm.
    pub id: String,
    /// What it compares: a [`RuleKind`] word.
    pub kind: String,
    /// `red`, `orange`, `yellow`, `blue`.
    pub level: String,
    /// Kinds of measurement it applies to, `*` for every point, `vehicle` for vehicles.
    pub applies_to: Vec<String>,
    /// Bit of the JT/T 808 alarm word.
    #[serde(default)]
    pub bit: Option<u8>,
    /// Limit in `unit`, where the rule carries one; the least of a flat line.
    #[serde(default)]
    pub threshold: Option<f64>,
    /// Unit of the limit.
    #[serde(default)]
    pub unit: Option<String>,
    /// Multiple of the point's period (stale, flat_line).
    #[serde(default)]
    pub factor: Option<f64>,
    /// Standard, or `product` for a choice of ours.
    pub standard: String,
    /// Clause, table or page.
    #[serde(default)]
    pub clause: String,
    /// In force since, ISO date.
    #[serde(default)]
    pub effective: String,
    /// `verified`, `verified-secondary`, `product`, `unverified`.
    pub confidence: String,
    /// Remark.
    #[serde(default)]
    pub note: String,
}

/// Default limits of a kind of measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitRow {
    /// Kind of measurement.
    pub kind: String,
    /// High-high.
    #[serde(default)]
    pub hh: Option<f64>,
    /// High.
    #[serde(default)]
    pub h: Option<f64>,
    /// Low.
    #[serde(default)]
    pub l: Option<f64>,
    /// Low-low.
    #[serde(default)]
    pub ll: Option<f64>,
    /// Unit of all.
    pub unit: String,
    /// Standard.
    pub standard: String,
    /// Clause.
    #[serde(default)]
    pub clause: String,
    /// In force since, ISO date.
    #[serde(default)]
    pub effective: String,
    /// Confidence.
    pub confidence: String,
    /// Remark.
    #[serde(default)]
    pub note: String,
}

/// Why a pack is refused.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Not the expected TOML; the message names line and field.
    #[error("{file}: {message}")]
    Toml {
        /// Which file.
        file: &'static str,
        /// What toml says.
        message: String,
    },
    /// A row contradicts itself or the rules of this product.
    #[error("{file}: row `{row}`, field `{field}`: {reason}")]
    Row {
        /// Which file.
        file: &'static str,
        /// Row id.
        row: String,
        /// Field.
        field: &'static str,
        /// Why.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KindsFile {
    #[serde(default)]
    kind: Vec<Kind>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesFile {
    #[serde(default)]
    rule: Vec<RuleRow>,
    #[serde(default)]
    limit: Vec<LimitRow>,
}

pub(crate) const CONFIDENCES: [&str; 4] = ["verified", "verified-secondary", "product", "unverified"];

impl RuleBook {
    /// Reads a pack's `kinds.toml` and `alarm_rules.toml`.
    ///
    /// # Errors
    /// [`PackError`] naming file, row and field: unknown words, a bit above 31, a red rule grounded on an unverified source alone.
    pub fn parse(kinds: &str, rules: &str) -> Result<Self, PackError> {
        let kinds: KindsFile = toml::from_str(kinds).map_err(|e| PackError::Toml { file: "kinds.toml", message: e.to_string() })?;
        let rules: RulesFile = toml::from_str(rules).map_err(|e| PackError::Toml { file: "alarm_rules.toml", message: e.to_string() })?;
        let book = Self { kinds: kinds.kind, rules: rules.rule, limits: rules.limit };
        book.check()?;
        Ok(book)
    }

    fn check(&self) -> Result<(), PackError> {
        let wrong = |row: &str, field, reason: &str| {
            Err(PackError::Row { file: "alarm_rules.toml", row: row.to_owned(), field, reason: reason.to_owned() })
        };
        for row in &self.rules {
            let Some(kind) = RuleKind::parse(&row.kind) else { return wrong(&row.id, "kind", "is not a kind of rule") };
            let Some(level) = Level::parse(&row.level) else { return wrong(&row.id, "level", "is not red, orange, yellow or blue") };
            if !CONFIDENCES.contains(&row.confidence.as_str()) {
                return wrong(&row.id, "confidence", "is not verified, verified-secondary, product or unverified");
            }
            if row.standard.is_empty() {
                return wrong(&row.id, "standard", "is missing: no source, no rule");
            }
            if level == Level::Red && row.confidence == "unverified" {
                return wrong(&row.id, "level", "an unverified source cannot alone ground a red alarm");
            }
            match kind {
                RuleKind::Combination => return wrong(&row.id, "kind", "a combination names points, so people make it, not a pack"),
                RuleKind::TerminalBit if row.bit.is_none_or(|bit| bit > 31) => return wrong(&row.id, "bit", "a terminal bit is 0 to 31"),
                RuleKind::Stale if row.factor.is_none_or(|f| !(f.is_finite() && f >= 1.0)) => {
                    return wrong(&row.id, "factor", "silence is measured in at least one period");
                }
                RuleKind::FlatLine if row.factor.is_none_or(|f| !(f.is_finite() && f >= 2.0)) => {
                    return wrong(&row.id, "factor", "a flat line takes at least two periods");
                }
                RuleKind::FlatLine if row.threshold.is_none_or(|s| !(s.is_finite() && s >= 1.0)) || row.unit.as_deref() != Some("s") => {
                    return wrong(&row.id, "threshold", "a flat line has a least duration of at least 1, unit s");
                }
                _ => {}
            }
        }
        for row in &self.limits {
            if !CONFIDENCES.contains(&row.confidence.as_str()) {
                return wrong(&row.kind, "confidence", "is not verified, verified-secondary, product or unverified");
            }
            if !self.kinds.iter().any(|k| k.kind == row.kind) {
                return wrong(&row.kind, "kind", "is not in kinds.toml");
            }
            if ![row.ll, row.l, row.h, row.hh].into_iter().flatten().is_sorted() {
                return wrong(&row.kind, "hh", "limits must rise from ll over l and h to hh");
            }
        }
        Ok(())
    }

    fn row(&self, kind: RuleKind, of: &str) -> Option<&RuleRow> {
        let of_kind = |row: &&RuleRow| row.kind == kind.as_str();
        let named = self.rules.iter().filter(of_kind).find(|row| row.applies_to.iter().any(|w| w == of));
        named.or_else(|| self.rules.iter().filter(of_kind).find(|row| row.applies_to.iter().any(|w| w == "*")))
    }

    /// The rules that hold for a point: its own limits where set, else the pack's default limits of its kind and unit; plus silence, flat line and range.
    ///
    /// An unconfirmed point has none. The level comes from the pack's table; a limit from an unverified source is at most orange.
    pub fn for_point(&self, point: &Point) -> Vec<Rule> {
        if !point.confirmed {
            return Vec::new();
        }
        let own = &point.limits;
        let own_set = own.hh.or(own.h).or(own.l).or(own.ll).is_some();
        let default = (!own_set).then(|| self.limits.iter().find(|row| row.kind == point.kind && row.unit == point.unit)).flatten();
        let (source, confidence) = match (&point.limits_source, default) {
            (_, Some(row)) => (join(&row.standard, &row.clause), row.confidence.clone()),
            (Some(named), None) if !named.document.is_empty() => (join(&named.document, &named.clause), "enterprise".to_owned()),
            _ => (String::new(), "unverified".to_owned()),
        };
        let limit = |own: Option<f64>, pick: fn(&LimitRow) -> Option<f64>| own.or_else(|| default.and_then(pick));
        let limits = [
            (RuleKind::Hh, limit(own.hh, |r| r.hh)),
            (RuleKind::H, limit(own.h, |r| r.h)),
            (RuleKind::L, limit(own.l, |r| r.l)),
            (RuleKind::Ll, limit(own.ll, |r| r.ll)),
            (RuleKind::Rate, own.rate_per_min),
        ];
        let mut rules = Vec::new();
        for (kind, threshold) in limits {
            // The row is looked for only where there is a limit: a start builds the rules of every point there is.
            let Some(threshold) = threshold else { continue };
            let Some(row) = self.row(kind, &point.kind) else { continue };
            let terms = Terms {
                id: row.id.clone(),
                kind,
                level: cap(row, &confidence),
                bit: 0,
                deadband: own.deadband,
                on_delay_us: micros(own.on_delay_s),
                off_delay_us: micros(own.off_delay_s),
                unit: if kind == RuleKind::Rate { format!("{}/min", point.unit) } else { point.unit.clone() },
                source: source.clone(),
                confidence: confidence.clone(),
            };
            rules.push(Rule::new(threshold, None, terms));
        }
        let plain = |row: &RuleRow, kind, unit: &str| Terms {
            id: row.id.clone(),
            kind,
            level: cap(row, &row.confidence),
            bit: 0,
            deadband: 0.0,
            on_delay_us: 0,
            off_delay_us: 0,
            unit: unit.to_owned(),
            source: join(&row.standard, &row.clause),
            confidence: row.confidence.clone(),
        };
        if point.period_s > 0.0
            && let Some(row) = self.row(RuleKind::Stale, &point.kind)
        {
            rules.push(Rule::new(point.period_s * row.factor.unwrap_or(1.0), None, plain(row, RuleKind::Stale, "s")));
        }
        if point.period_s > 0.0
            && let Some(row) = self.row(RuleKind::FlatLine, &point.kind)
        {
            let limit_s = (point.period_s * row.factor.unwrap_or(2.0)).max(row.threshold.unwrap_or(1.0));
            rules.push(Rule::new(limit_s, None, Terms { on_delay_us: micros(limit_s), ..plain(row, RuleKind::FlatLine, "s") }));
        }
        if (point.range_low.is_some() || point.range_high.is_some())
            && let Some(row) = self.row(RuleKind::OutOfRange, &point.kind)
        {
            let (low, high) = (point.range_low.unwrap_or(f64::MIN), point.range_high.unwrap_or(f64::MAX));
            rules.push(Rule::new(low, Some(high), plain(row, RuleKind::OutOfRange, &point.unit)));
        }
        rules
    }

    /// The rules that hold for a vehicle: terminal bits, and its speed limit where one is known; a speed must last
    /// `overspeed_s` to be an alarm.
    pub fn for_vehicle(&self, speed_limit_kmh: Option<f64>, overspeed_s: i64) -> Vec<Rule> {
        let mut rules = Vec::new();
        for row in self.rules.iter().filter(|row| row.applies_to.iter().any(|w| w == "vehicle")) {
            let Some(kind) = RuleKind::parse(&row.kind) else { continue };
            let threshold = match kind {
                RuleKind::TerminalBit => Some(1.0),
                RuleKind::Overspeed => speed_limit_kmh.or(row.threshold),
                _ => None,
            };
            let Some(threshold) = threshold else { continue };
            let terms = Terms {
                id: row.id.clone(),
                kind,
                level: cap(row, &row.confidence),
                bit: row.bit.unwrap_or(0),
                deadband: 0.0,
                on_delay_us: if kind == RuleKind::Overspeed { overspeed_s.saturating_mul(1_000_000) } else { 0 },
                off_delay_us: 0,
                unit: if kind == RuleKind::Overspeed { "km/h".to_owned() } else { String::new() },
                source: join(&row.standard, &row.clause),
                confidence: row.confidence.clone(),
            };
            rules.push(Rule::new(threshold, None, terms));
        }
        rules
    }
}

fn cap(row: &RuleRow, confidence: &str) -> Level {
    let level = Level::parse(&row.level).unwrap_or(Level::Blue);
    if confidence == "unverified" { level.min(Level::Orange) } else { level }
}

pub(crate) fn join(document: &str, clause: &str) -> String {
    if clause.is_empty() { document.to_owned() } else { format!("{document} {clause}") }
}

fn micros(seconds: f64) -> i64 {
    // Saturates; validation keeps delays within a day.
    (seconds * 1e6) as i64
}

/// Line of a byte of a text, from 1.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count() + 1
}

/// Whether `text` is a word that programs use: `a-z`, `0-9` and `joint`, beginning with a letter, at most 40 characters.
pub(crate) fn is_word(text: &str, joint: char) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.len() <= 40
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == joint)
}
