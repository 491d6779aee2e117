//! Major hazard installations (重大危险源) of dangerous chemicals by GB 18218-2018: is a unit one (S), and of which level (R).
//!
//! `S = Σ q/Q` over the substances of one unit (4.2); a unit with S ≥ 1 is one. `R = α · Σ β·q/Q` (4.3) gives its level. The tables are a pack's
//! (`packs/base/gb18218.toml`), none of their figures stands here. Pure: a unit in, its grade with every term out. What is missing for R is
//! named and S is still given; what cannot be meant at all is refused by field. Start at [`Tables::grade`].

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::pack::{CONFIDENCES, PackError};

/// Substances of one unit; more are taken for a mistake.
pub const CONTENTS_MAX: usize = 1_000;
/// Tonnes of one substance; more are taken for a wrong unit. Ours, no figure of the standard.
pub const TONNES_MAX: f64 = 10_000_000.0;
const TEXT_MAX: usize = 200;
/// S and R are compared with limits after rounding to this part: ten times a tenth of a threshold is the threshold.
const PART: f64 = 1e9;
const FILE: &str = "gb18218.toml";

/// A unit (单元): what lies between the cut-off valves of a plant, in one dike or in one warehouse.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unit {
    /// What may be in it.
    pub contents: Vec<Content>,
    /// People who live within 500 m of the boundary of the plant; without it there is no R.
    #[serde(default)]
    pub people_within_500m: Option<u32>,
}

/// One substance of a unit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// Name, alias or English name of table 1, CAS number, or a hazard symbol of table 2 such as `W5.3`.
    pub substance: String,
    /// Greatest quantity by design, t.
    pub tonnes: f64,
    /// Hazard symbols of the substance as classified: needed where table 1 does not name it, and for β.
    #[serde(default)]
    pub categories: Vec<String>,
}

/// What a unit is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Grade {
    /// Σ q/Q.
    pub s: f64,
    /// S ≥ 1.
    pub is_major_hazard: bool,
    /// Factor of the people outside; `None` if they were not told.
    pub alpha: Option<f64>,
    /// α · Σ β·q/Q; `None` if something in `missing` is needed for it.
    pub r: Option<f64>,
    /// 1 (gravest) to 4; `None` unless it is a major hazard with a known R.
    pub level: Option<u8>,
    /// One per substance, in the order given.
    pub terms: Vec<Term>,
    /// Fields without which R cannot be told.
    pub missing: Vec<String>,
    /// The weakest of the figures that went in.
    pub confidence: String,
    /// Standard of the tables.
    pub standard: String,
    /// In force since, ISO date.
    pub effective: String,
}

/// What one substance contributes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Term {
    /// As the table names it.
    pub substance: String,
    /// q, t.
    pub tonnes: f64,
    /// Q, t.
    pub threshold_t: f64,
    /// Where Q stands.
    pub threshold_from: String,
    /// q/Q.
    pub ratio: f64,
    /// β; `None`: neither table 3 nor a hazard symbol gives one.
    pub beta: Option<f64>,
    /// Where β stands.
    pub beta_from: Option<String>,
    /// The weakest of Q and β.
    pub confidence: String,
}

/// Why a unit cannot be graded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Path of the field, such as `contents[0].substance`.
    pub field: String,
    /// What is wrong.
    pub cause: Cause,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// No whole number of people.
    People,
    /// No substance, or too many.
    Count,
    /// No quantity that can be.
    Tonnes,
    /// Empty or too long.
    Text,
    /// Table 1 does not name it, and no hazard symbol was given.
    Unknown(String),
    /// Not a symbol of table 2.
    Category(String),
    /// Several rows, or one that holds under a condition only: which is meant?
    Which(Vec<String>),
}

impl Cause {
    /// A word for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::People => "people",
            Self::Count => "count",
            Self::Tonnes => "tonnes",
            Self::Text => "text",
            Self::Unknown(_) => "unknown_substance",
            Self::Category(_) => "unknown_category",
            Self::Which(_) => "ambiguous_substance",
        }
    }

    /// The same in Chinese.
    pub fn in_chinese(&self) -> String {
        match self {
            Self::People => "人数须为不小于 0 的整数".to_owned(),
            Self::Count => format!("须有 1 至 {CONTENTS_MAX} 种物质"),
            Self::Tonnes => format!("数量须大于 0 吨，且不超过 {TONNES_MAX} 吨"),
            Self::Text => format!("须有 1 至 {TEXT_MAX} 个字"),
            Self::Unknown(name) => {
                format!("表1 中没有“{name}”：请写表中名称、别名或 CAS 号，或按其危险性分类填写 categories（表2 符号，如 W5.3）")
            }
            Self::Category(symbol) => format!("“{symbol}”不是表2 的符号（如 J1、W2、W5.3）"),
            Self::Which(rows) => format!("请写全名：{}", rows.join("；")),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::People => f.write_str("people are counted: a whole number from 0"),
            Self::Count => write!(f, "1 to {CONTENTS_MAX} substances"),
            Self::Tonnes => write!(f, "a quantity is above 0 and at most {TONNES_MAX} tonnes"),
            Self::Text => write!(f, "1 to {TEXT_MAX} characters"),
            Self::Unknown(name) => write!(
                f,
                "table 1 does not name {name:?}: give a name, alias or CAS number of the table, or its hazard symbols of table 2 as `categories`"
            ),
            Self::Category(symbol) => write!(f, "{symbol:?} is not a symbol of table 2, such as J1, W2 or W5.3"),
            Self::Which(rows) => write!(f, "name it in full: {}", rows.join("; ")),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    standard: String,
    effective: String,
    #[serde(rename = "replaces")]
    _replaces: String,
    #[serde(rename = "identification_clause")]
    _identification_clause: String,
    #[serde(rename = "grading_clause")]
    _grading_clause: String,
    table1: Table1,
    table2: Table2,
    table3: Table3,
    table5: Table5,
    table6: Table6,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table1 {
    clause: String,
    substances: Vec<Substance>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Substance {
    no: u16,
    name: String,
    aliases: Vec<String>,
    name_en: String,
    cas: Vec<String>,
    threshold_t: f64,
    /// Symbol that gives β where table 3 does not name it.
    #[serde(default)]
    category: Option<String>,
    /// CAS number in table 3 whose β it takes.
    #[serde(default)]
    gas: Option<String>,
    /// Of `category` or `gas`.
    #[serde(default)]
    beta_confidence: Option<String>,
    confidence: String,
}

impl Substance {
    /// Its name tells a content or the like, without which it is another substance or none.
    fn is_conditional(&self) -> bool {
        self.name.contains('%')
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table2 {
    clause: String,
    beta_clause: String,
    categories: Vec<Category>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Category {
    symbol: String,
    hazard: String,
    #[serde(rename = "hazard_en")]
    _hazard_en: String,
    criterion: String,
    threshold_t: f64,
    beta: f64,
    confidence: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table3 {
    clause: String,
    gases: Vec<Gas>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Gas {
    name: String,
    name_en: String,
    cas: String,
    beta: f64,
    confidence: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table5 {
    #[serde(rename = "clause")]
    _clause: String,
    people: Vec<People>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct People {
    from: u32,
    alpha: f64,
    confidence: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table6 {
    #[serde(rename = "clause")]
    _clause: String,
    levels: Vec<LevelRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LevelRow {
    level: u8,
    #[serde(rename = "name")]
    _name: String,
    r_from: f64,
    confidence: String,
}

/// The tables of the standard.
#[derive(Debug)]
pub struct Tables {
    file: File,
    /// Rows of table 1 by every word for them that needs no condition, plain (see [`plain`]).
    by_word: HashMap<String, BTreeSet<usize>>,
    /// The same for words that do not tell the condition of the row.
    by_loose_word: HashMap<String, BTreeSet<usize>>,
}

/// A figure of β and where it stands.
struct Beta {
    value: f64,
    from: String,
    confidence: String,
}

/// The tables of `packs/base`, which every register and `anlan grade` use.
pub fn built_in() -> &'static Tables {
    static TABLES: LazyLock<Tables> = LazyLock::new(|| {
        Tables::parse(include_str!("../../../packs/base/gb18218.toml")).expect("a test reads the file that is compiled in")
    });
    &TABLES
}

impl Tables {
    /// Every level, the gravest first.
    pub fn levels(&self) -> impl Iterator<Item = u8> {
        self.file.table6.levels.iter().map(|row| row.level)
    }

    /// Reads a pack's `gb18218.toml`.
    ///
    /// # Errors
    /// [`PackError`] naming row and field.
    pub fn parse(text: &str) -> Result<Self, PackError> {
        let file: File = toml::from_str(text).map_err(|e| PackError::Toml { file: FILE, message: e.to_string() })?;
        check(&file)?;
        let (mut by_word, mut by_loose_word) = (HashMap::new(), HashMap::new());
        for (i, row) in file.table1.substances.iter().enumerate() {
            let mut add = |word: &str, is_whole: bool| {
                let words: &mut HashMap<String, BTreeSet<usize>> =
                    if is_whole || !row.is_conditional() { &mut by_word } else { &mut by_loose_word };
                words.entry(plain(word)).or_default().insert(i);
            };
            add(&row.name, true);
            add(&row.name_en, true);
            add(without_remark(&row.name), false);
            add(without_remark(&row.name_en), false);
            row.aliases.iter().chain(&row.cas).for_each(|word| add(word, false));
        }
        Ok(Self { file, by_word, by_loose_word })
    }

    /// Judges a unit.
    ///
    /// # Errors
    /// Every field that cannot be meant.
    pub fn grade(&self, unit: &Unit) -> Result<Grade, Vec<Fault>> {
        if unit.contents.is_empty() || unit.contents.len() > CONTENTS_MAX {
            return Err(vec![Fault { field: "contents".to_owned(), cause: Cause::Count }]);
        }
        let (mut terms, mut faults, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        for (content, i) in unit.contents.iter().zip(0..) {
            match self.term(content) {
                Ok(term) => {
                    if term.beta.is_none() {
                        missing.push(format!("contents[{i}].categories"));
                    }
                    terms.push(term);
                }
                Err((field, cause)) => faults.push(Fault { field: format!("contents[{i}].{field}"), cause }),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let people = unit.people_within_500m.and_then(|n| self.file.table5.people.iter().rev().find(|row| row.from <= n));
        if people.is_none() {
            missing.push("people_within_500m".to_owned());
        }
        let s = rounded(terms.iter().map(|t| t.ratio).sum());
        let weighted: Option<f64> = terms.iter().map(|t| Some(t.beta? * t.ratio)).sum();
        let r = people.zip(weighted).map(|(people, sum)| rounded(people.alpha * sum));
        let is_major_hazard = s >= 1.0;
        let level = r.filter(|_| is_major_hazard).and_then(|r| self.file.table6.levels.iter().find(|row| row.r_from <= r));
        let figures = terms.iter().map(|t| &t.confidence).chain(people.map(|p| &p.confidence)).chain(level.map(|l| &l.confidence));
        Ok(Grade {
            confidence: weakest(figures),
            level: level.map(|row| row.level),
            alpha: people.map(|row| row.alpha),
            standard: self.file.standard.clone(),
            effective: self.file.effective.clone(),
            s,
            is_major_hazard,
            r,
            terms,
            missing,
        })
    }

    fn term(&self, content: &Content) -> Result<Term, (String, Cause)> {
        let given = content.substance.trim();
        if given.is_empty() || given.chars().count() > TEXT_MAX {
            return Err(("substance".to_owned(), Cause::Text));
        }
        if !(content.tonnes > 0.0 && content.tonnes <= TONNES_MAX) {
            return Err(("tonnes".to_owned(), Cause::Tonnes));
        }
        let mut categories = Vec::new();
        for (symbol, i) in content.categories.iter().zip(0..) {
            let row = self.category(symbol);
            categories.push(row.ok_or_else(|| (format!("categories[{i}]"), Cause::Category(symbol.chars().take(TEXT_MAX).collect())))?);
        }
        let own = self.category(given);
        let row = if own.is_some() { None } else { self.substance(given, !categories.is_empty())? };
        categories.extend(own);
        let gas = self.gas(given, row);
        let (name, threshold_t, threshold_from, of_threshold) = match row {
            Some(row) => (row.name.clone(), row.threshold_t, format!("{}, no. {}", self.file.table1.clause, row.no), &row.confidence),
            // Several hazards: the lowest threshold (4.1.2).
            None => match categories.iter().min_by(|a, b| a.threshold_t.total_cmp(&b.threshold_t)) {
                Some(row) => {
                    let name = if own.is_some() { format!("{} {}", row.hazard, row.criterion) } else { given.to_owned() };
                    (name, row.threshold_t, format!("{}, {}", self.file.table2.clause, row.symbol), &row.confidence)
                }
                None => return Err(("substance".to_owned(), Cause::Unknown(given.to_owned()))),
            },
        };
        let beta = gas.or_else(|| {
            // Which of several hazards gives β the standard does not say; the greatest is the careful choice.
            let given = categories.iter().max_by(|a, b| a.beta.total_cmp(&b.beta)).map(|row| (*row, row.confidence.clone()));
            let inferred = || {
                let row = row?;
                Some((self.category(row.category.as_deref()?)?, row.beta_confidence.clone()?))
            };
            let (row, confidence) = given.or_else(inferred)?;
            Some(Beta { value: row.beta, from: format!("{}, {}", self.file.table2.beta_clause, row.symbol), confidence })
        });
        let ratio = content.tonnes / threshold_t;
        Ok(Term {
            substance: name,
            tonnes: content.tonnes,
            threshold_t,
            threshold_from,
            ratio,
            confidence: weakest([of_threshold].into_iter().chain(beta.as_ref().map(|b| &b.confidence))),
            beta: beta.as_ref().map(|b| b.value),
            beta_from: beta.map(|b| b.from),
        })
    }

    fn category(&self, symbol: &str) -> Option<&Category> {
        self.file.table2.categories.iter().find(|row| row.symbol.eq_ignore_ascii_case(symbol.trim()))
    }

    /// The row of table 1 that is meant. With hazard symbols at hand a name that fits no row for certain is another substance.
    fn substance(&self, given: &str, is_classified: bool) -> Result<Option<&Substance>, (String, Cause)> {
        let word = plain(given);
        let rows = |i: &usize| &self.file.table1.substances[*i];
        match self.by_word.get(&word) {
            Some(found) if found.len() == 1 => Ok(found.first().map(rows)),
            Some(found) => Err(("substance".to_owned(), Cause::Which(found.iter().map(|i| rows(i).name.clone()).collect()))),
            None if is_classified => Ok(None),
            None => match self.by_loose_word.get(&word) {
                Some(found) => Err(("substance".to_owned(), Cause::Which(found.iter().map(|i| rows(i).name.clone()).collect()))),
                None => Ok(None),
            },
        }
    }

    /// β of table 3, which names gases.
    fn gas(&self, given: &str, row: Option<&Substance>) -> Option<Beta> {
        let word = plain(given);
        let is_named = |gas: &&Gas| [&gas.name, &gas.name_en, &gas.cas].into_iter().any(|known| plain(known) == word);
        let is_same = |gas: &&Gas| row.is_some_and(|row| row.cas.contains(&gas.cas));
        let is_like = |gas: &&Gas| row.is_some_and(|row| row.gas.as_ref() == Some(&gas.cas));
        let gases = &self.file.table3.gases;
        let own = gases.iter().find(|gas| is_named(gas) || is_same(gas)).map(|gas| (gas, gas.confidence.clone()));
        let like = || gases.iter().find(is_like).zip(row.and_then(|row| row.beta_confidence.clone()));
        let (gas, confidence) = own.or_else(like)?;
        Some(Beta { value: gas.beta, from: format!("{}, {}", self.file.table3.clause, gas.name), confidence })
    }
}

fn check(file: &File) -> Result<(), PackError> {
    let wrong = |row: String, field, reason: &str| Err(PackError::Row { file: FILE, row, field, reason: reason.to_owned() });
    let is_positive = |v: f64| v.is_finite() && v > 0.0;
    let all = (file.table1.substances.iter().map(|r| (format!("table1 no. {}", r.no), &r.confidence)))
        .chain(file.table1.substances.iter().filter_map(|r| Some((format!("table1 no. {}", r.no), r.beta_confidence.as_ref()?))))
        .chain(file.table2.categories.iter().map(|r| (r.symbol.clone(), &r.confidence)))
        .chain(file.table3.gases.iter().map(|r| (r.name.clone(), &r.confidence)))
        .chain(file.table5.people.iter().map(|r| (format!("from {}", r.from), &r.confidence)))
        .chain(file.table6.levels.iter().map(|r| (format!("level {}", r.level), &r.confidence)));
    for (row, confidence) in all {
        if !CONFIDENCES.contains(&confidence.as_str()) {
            return wrong(row, "confidence", "is not verified, verified-secondary, product or unverified");
        }
    }
    for row in &file.table1.substances {
        let name = || format!("table1 no. {}", row.no);
        if !is_positive(row.threshold_t) {
            return wrong(name(), "threshold_t", "is no quantity");
        }
        if row.category.as_ref().is_some_and(|symbol| file.table2.categories.iter().all(|c| c.symbol != *symbol)) {
            return wrong(name(), "category", "is not in table 2");
        }
        if row.gas.as_ref().is_some_and(|cas| file.table3.gases.iter().all(|g| g.cas != *cas)) {
            return wrong(name(), "gas", "is not in table 3");
        }
        if (row.category.is_some() || row.gas.is_some()) != row.beta_confidence.is_some() {
            return wrong(name(), "beta_confidence", "goes with `category` or `gas`");
        }
    }
    for row in &file.table2.categories {
        if !(is_positive(row.threshold_t) && is_positive(row.beta)) {
            return wrong(row.symbol.clone(), "threshold_t", "threshold and beta are above 0");
        }
    }
    if let Some(row) = file.table3.gases.iter().find(|row| !is_positive(row.beta)) {
        return wrong(row.name.clone(), "beta", "is above 0");
    }
    if file.table5.people.first().is_none_or(|row| row.from != 0) || !file.table5.people.is_sorted_by(|a, b| a.from < b.from) {
        return wrong("table5".to_owned(), "from", "begins at 0 and rises");
    }
    if file.table6.levels.last().is_none_or(|row| row.r_from != 0.0) || !file.table6.levels.is_sorted_by(|a, b| a.r_from > b.r_from) {
        return wrong("table6".to_owned(), "r_from", "falls, and ends at 0");
    }
    Ok(())
}

fn rounded(value: f64) -> f64 {
    (value * PART).round() / PART
}

/// The weakest of some words of confidence.
fn weakest<'a>(words: impl Iterator<Item = &'a String>) -> String {
    let rank = |word: &&String| CONFIDENCES.iter().position(|c| c == *word);
    words.max_by_key(rank).cloned().unwrap_or_default()
}

/// A name as it is compared: without spaces, full-width signs as half-width ones, small Latin letters.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().filter(|c| !c.is_whitespace()) {
        match c {
            '≤' | '≦' => out.push_str("<="),
            '≥' | '≧' => out.push_str(">="),
            '【' | '［' => out.push('['),
            '】' | '］' => out.push(']'),
            // The full-width block stands in the order of ASCII.
            '！'..='～' => out.extend(char::from_u32(c as u32 - 0xfee0).map(|c| c.to_ascii_lowercase())),
            _ => out.extend(c.to_lowercase()),
        }
    }
    out
}

/// A name without what stands in brackets behind it.
fn without_remark(name: &str) -> &str {
    match name.find(['(', '[']) {
        Some(at) if at > 0 => name[..at].trim_end(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables() -> Tables {
        Tables::parse(include_str!("../../../packs/base/gb18218.toml")).unwrap()
    }

    /// `(substance, tonnes, symbols)` and people; what comes of it as `S R level` or the faults.
    fn told(contents: &[(&str, f64, &[&str])], people: Option<u32>) -> String {
        let content = |(substance, tonnes, categories): &(&str, f64, &[&str])| Content {
            substance: (*substance).to_owned(),
            tonnes: *tonnes,
            categories: categories.iter().map(|c| (*c).to_owned()).collect(),
        };
        let unit = Unit { contents: contents.iter().map(content).collect(), people_within_500m: people };
        match tables().grade(&unit) {
            Ok(g) => {
                let r = g.r.map_or("-".to_owned(), |r| r.to_string());
                let level = g.level.map_or("-".to_owned(), |l| l.to_string());
                format!("{} {r} {level} {}", g.s, g.confidence)
            }
            Err(faults) => faults.iter().map(|f| format!("{}: {}", f.field, f.cause)).collect::<Vec<_>>().join(" | "),
        }
    }

    #[test]
    fn levels_change_exactly_at_their_limits() {
        // α 2.0, 1.5, 1.2, 1.0, 0.5 by people, β of table 3 or 4, Q of table 1.
        assert_eq!(told(&[("氨", 10.0, &[])], Some(120)), "1 4 4 verified");
        assert_eq!(told(&[("液氨", 9.999, &[])], Some(120)), "0.9999 3.9996 - verified");
        assert_eq!(told(&[("氯", 40.0, &[])], Some(100)), "8 64 2 verified");
        assert_eq!(told(&[("氯", 62.5, &[])], Some(100)), "12.5 100 1 verified");
        assert_eq!(told(&[("7782-50-5", 62.499, &[])], Some(100)), "12.4998 99.9984 2 verified");
        assert_eq!(told(&[("甲醇", 2_500.0, &[])], Some(1_000)), "5 10 3 unverified");
        assert_eq!(told(&[("甲醇", 2_500.0, &["W5.3"])], Some(1_000)), "5 10 3 verified");
        assert_eq!(told(&[("液化石油气", 200.0, &[])], Some(30)), "4 7.2 4 unverified");
        for (people, r) in [(0, "0.5"), (1, "1"), (29, "1"), (30, "1.2"), (49, "1.2"), (50, "1.5"), (99, "1.5"), (100, "2")] {
            assert_eq!(told(&[("W5.3", 1_000.0, &[])], Some(people)), format!("1 {r} 4 verified"), "{people}");
        }
    }

    #[test]
    fn ten_tenths_of_a_threshold_are_the_threshold() {
        let tenth: (&str, f64, &[&str]) = ("苯", 5.0, &["W5.3"]);
        assert_eq!(told(&[tenth; 10], Some(0)), "1 0.5 4 verified");
    }

    #[test]
    fn several_hazards_take_the_lowest_threshold_and_the_greatest_factor() {
        assert_eq!(told(&[("某气体", 10.0, &["J3", "W2"])], Some(0)), "1 1 4 verified");
        // Carbon monoxide stands in table 3, not in table 1.
        assert_eq!(told(&[("一氧化碳", 10.0, &["J3", "W2"])], Some(1)), "1 2 4 verified");
        assert_eq!(told(&[("煤气", 20.0, &[])], Some(1)), "1 2 4 unverified");
    }

    #[test]
    fn what_r_needs_and_is_not_there_is_named_and_s_still_told() {
        let unit = |people_within_500m| Unit {
            contents: vec![Content { substance: "氟".to_owned(), tonnes: 2.0, categories: Vec::new() }],
            people_within_500m,
        };
        let grade = tables().grade(&unit(None)).unwrap();
        assert_eq!((grade.s, grade.is_major_hazard, grade.r, grade.level), (2.0, true, None, None));
        assert_eq!(grade.missing, ["contents[0].categories", "people_within_500m"]);
        let grade = tables().grade(&unit(Some(5))).unwrap();
        assert_eq!((grade.alpha, grade.r, grade.missing.len()), (Some(1.0), None, 1));
    }

    #[test]
    fn a_name_that_fits_several_rows_or_none_is_asked_back() {
        let check = |substance: &str, begins: &str| {
            let told = told(&[(substance, 1.0, &[])], Some(0));
            assert!(told.starts_with(begins), "{substance}: {told}");
        };
        check("硝酸铵", "contents[0].substance: name it in full: 硝酸铵(含可燃物>0.2%");
        check("6484-52-2", "contents[0].substance: name it in full: 硝酸铵(含可燃物>0.2%");
        check("硝酸铵（含可燃物≤0.2％）", "0.02 ");
        check("甲醛", "contents[0].substance: name it in full: 甲醛(含量>90%)");
        check("柴油", "contents[0].substance: table 1 does not name \"柴油\"");
        check("", "contents[0].substance: 1 to 200");
        check("METHANOL", "0.002 ");
        check("ＴＮＴ", "0.2 ");
        assert_eq!(
            told(&[("甲醛", 1.0, &["W99"])], None),
            "contents[0].categories[0]: \"W99\" is not a symbol of table 2, such as J1, W2 or W5.3"
        );
        // Formaldehyde solution is another substance than the row with its condition.
        assert_eq!(told(&[("甲醛", 50.0, &["J5"])], Some(0)), "0.1 0.05 - verified");
        assert_eq!(told(&[], None), "contents: 1 to 1000 substances");
        for tonnes in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e8] {
            assert!(told(&[("氨", tonnes, &[])], None).starts_with("contents[0].tonnes: a quantity"), "{tonnes}");
        }
    }

    #[test]
    fn every_row_of_table_1_is_found_by_its_whole_name() {
        let tables = tables();
        assert_eq!(tables.file.table1.substances.len(), 85);
        for row in &tables.file.table1.substances {
            let content = Content { substance: row.name.clone(), tonnes: row.threshold_t, categories: Vec::new() };
            let grade = tables.grade(&Unit { contents: vec![content], people_within_500m: Some(0) }).unwrap();
            assert_eq!((grade.s, grade.terms[0].substance.as_str()), (1.0, row.name.as_str()));
        }
    }

    #[test]
    fn a_pack_that_contradicts_itself_is_refused() {
        let base = include_str!("../../../packs/base/gb18218.toml");
        let check = |from: &str, to: &str, says: &str| {
            assert!(base.contains(from), "{from}");
            let error = Tables::parse(&base.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        };
        check("threshold_t = 10,", "threshold_t = 0,", "row `table1 no. 1`, field `threshold_t`");
        check("category = \"W1.1\"", "category = \"W1\"", "field `category`: is not in table 2");
        check("confidence = \"verified\"", "confidence = \"sure\"", "field `confidence`");
        check("r_from = 50", "r_from = 500", "row `table6`");
        check("from = 1,", "from = 0,", "row `table5`");
        check("no = 1,", "number = 1,", "unknown field");
    }
}
