//! Indicators (指标): figures reckoned from facts by definitions that are data, each with the rows behind it.
//!
//! Definitions are a pack's (`packs/base/indicators.toml`): a ratio, share, count, sum, change or drop of named sources, by territory, sector and
//! period. Pure: rows in; figure, rows and caution out. What is missing is named, never guessed: no rows of an event are a zero only where somebody
//! vouches that the events of that time were recorded ([`Facts::cover`]), and a denominator of another year or territory is no denominator.
//! Start at [`Indicators::parse`], [`Facts`] and [`Indicators::evaluate`].

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, LazyLock};

use jiff::ToSpan as _;
use jiff::civil::{Date, date};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::accident::Step;
use crate::decimal;
use crate::pack::source::{Source, source};
use crate::pack::{PackError, is_word};

const FILE: &str = "indicators.toml";
const FACTS: &str = "plan_facts.csv";
/// Columns of a file of facts.
pub const COLUMNS: &str = "id,source,on,region,sector,value,known_on,revises,mark,note";
/// Digits of a factor, one million at most.
const FACTOR_DIGITS_MAX: u32 = 7;
const DECIMALS_MAX: u32 = 6;

/// How the rows of a source make a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keeps {
    /// Things that happen: those of the period are taken, of the territory and all below it.
    Event,
    /// A figure of one calendar year: that year's row, of that very territory.
    Year,
    /// How things stand on a day: the newest row of that very territory up to the day. Part and whole of a quotient are of the same day.
    State,
}

/// Something that is counted or measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactSource {
    /// Word.
    pub id: String,
    /// Chinese name.
    pub name: String,
    /// English name.
    pub name_en: String,
    /// Unit of its rows.
    pub unit: String,
    /// How its rows make a number.
    pub keeps: Keeps,
    /// From which register rows come, where that stands; left out = people record them.
    #[serde(default)]
    pub from: Option<FromRegister>,
}

/// What of a register is counted: one for each record that is in one of these states on the day.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FromRegister {
    /// Word of the register.
    pub register: String,
    /// In one of these states.
    pub states: Vec<String>,
    /// And with these choices, as they are now.
    #[serde(default)]
    pub only: Vec<Only>,
    /// The date field that says since when; left out = the day of the act that led into the states.
    #[serde(default)]
    pub on: Option<String>,
    /// What is counted.
    #[serde(default)]
    pub per: Per,
    /// Sector of every row; empty = of none in particular.
    #[serde(default)]
    pub sector: String,
    /// What the count does not know, for who reads the figure.
    pub note: String,
}

/// What a record must say to be counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Only {
    /// A choice of the register.
    pub field: String,
    /// One of these.
    pub is: Vec<String>,
}

/// What is counted of a register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// Each record.
    #[default]
    Record,
    /// Each enterprise once, however many of its records count.
    Enterprise,
}

/// How a figure is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Numerator × factor ÷ denominator.
    Ratio,
    /// Part ÷ whole, 0 to 1; above 1 the facts contradict each other.
    Share,
    /// Number of rows.
    Count,
    /// Sum of the rows.
    Sum,
    /// (now − base) ÷ base.
    Change,
    /// (base − now) ÷ base × 100, in percent.
    Drop,
}

/// Over which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// The last calendar year that is over.
    Year,
    /// From the first day of the plan.
    Plan,
    /// As things stand on the day.
    State,
}

/// Rows of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Term {
    /// Word of the source.
    pub source: String,
    /// Of these sectors; empty = of those asked for, or of all.
    #[serde(default)]
    pub sectors: Vec<String>,
    /// The number of its rows instead of their sum.
    #[serde(default)]
    pub count: bool,
}

/// A definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Indicator {
    /// Word.
    pub id: String,
    /// Chinese name.
    pub name: String,
    /// English name.
    pub name_en: String,
    /// Counts its changes; a figure is of a version.
    pub version: u32,
    /// How it is made.
    pub kind: Kind,
    /// What is above the line, or the thing itself.
    pub numerator: Term,
    /// What is below it.
    pub denominator: Option<Term>,
    /// Of a ratio.
    #[serde(skip)]
    pub factor: Decimal,
    /// Places of the figure as shown; comparisons are of the exact one.
    pub decimals: u32,
    /// Over which time.
    pub period: Period,
    /// Unit, English.
    pub unit: String,
    /// Unit, Chinese.
    pub unit_zh: String,
    /// Where the definition stands.
    pub source: Source,
}

/// Below which count a rate says little.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SmallCount {
    /// Fewer events than this.
    pub below: u32,
    /// Who says so.
    pub source: Source,
}

/// What a row is about, where a figure tells sectors apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactSector {
    /// Word.
    pub id: String,
    /// Chinese name.
    pub name: String,
    /// English name.
    pub name_en: String,
}

/// Everything `indicators.toml` says.
#[derive(Clone, Debug)]
pub struct Indicators {
    /// Empty = any word.
    sectors: Vec<FactSector>,
    sources: BTreeMap<String, FactSource>,
    indicators: BTreeMap<String, Indicator>,
    small_count: SmallCount,
    control: Option<crate::control::Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    small_count: SmallCountRow,
    #[serde(default)]
    control: Option<ControlRow>,
    #[serde(default)]
    sector: Vec<FactSector>,
    source: Vec<FactSource>,
    indicator: Vec<IndicatorRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SmallCountRow {
    below: u32,
    standard: String,
    #[serde(default)]
    clause: String,
    #[serde(default)]
    effective: String,
    confidence: String,
    #[serde(default)]
    note: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ControlRow {
    width: u8,
    least_samples: u16,
    standard: String,
    #[serde(default)]
    clause: String,
    #[serde(default)]
    effective: String,
    confidence: String,
    #[serde(default)]
    note: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IndicatorRow {
    id: String,
    name: String,
    name_en: String,
    version: u32,
    kind: Kind,
    numerator: Term,
    #[serde(default)]
    denominator: Option<Term>,
    #[serde(default)]
    factor: Option<u32>,
    decimals: u32,
    period: Period,
    unit: String,
    unit_zh: String,
    standard: String,
    #[serde(default)]
    clause: String,
    #[serde(default)]
    effective: String,
    confidence: String,
    #[serde(default)]
    note: String,
}

/// Where the number of a row is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// Of a register or a report: what a running system has.
    Reported,
    /// Printed in the document that the data set illustrates.
    Published,
    /// Follows from what is printed.
    Derived,
    /// Made up for demonstration.
    Invented,
    /// The event was found to be none, or another that stands already: from then on nothing counts where the row that it revises stood.
    Withdrawn,
}

impl Mark {
    /// The word in files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Published => "published",
            Self::Derived => "derived",
            Self::Invented => "invented",
            Self::Withdrawn => "withdrawn",
        }
    }
    /// Chinese name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reported => "上报",
            Self::Published => "原文公布",
            Self::Derived => "由公布数推出",
            Self::Invented => "虚构",
            Self::Withdrawn => "撤销",
        }
    }
    /// The mark named by `word`.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Reported, Self::Published, Self::Derived, Self::Invented, Self::Withdrawn].into_iter().find(|mark| mark.as_str() == word)
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// What tells it from every other row.
    pub id: String,
    /// Word of its source.
    pub source: String,
    /// The day it happened, the last day of its year, or the day of the state.
    pub on: Date,
    /// Code of its territory.
    pub region: String,
    /// Word of its sector; empty = of none in particular.
    pub sector: String,
    /// The number; in the unit of the source.
    #[serde(serialize_with = "decimal::one_as_number")]
    pub value: Decimal,
    /// Known since; a figure as of an earlier day does not have it.
    pub known_on: Date,
    /// The row that it takes the place of; empty = none.
    pub revises: String,
    /// Where the number is from.
    pub mark: Mark,
    /// Remark.
    pub note: String,
}

/// A time in which every event of a source was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Covered {
    source: String,
    from: Date,
    to: Date,
}

/// What a register tells of a source.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted {
    /// Word of the source.
    pub source: String,
    /// What is counted.
    pub from: FromRegister,
    /// By the code of a division, since when a record of it is there: from that day on the register counts, and what people recorded does not.
    pub since: BTreeMap<String, Date>,
    /// Rows of one each.
    pub rows: Vec<CountedRow>,
}

/// A record, or an enterprise, for as long as it counts.
#[derive(Clone, Debug, PartialEq)]
pub struct CountedRow {
    /// Since its day.
    pub fact: Fact,
    /// Until the day before this one; `None` = it still does.
    pub until: Option<Date>,
}

/// That a number was counted from a register.
#[derive(Clone, Debug, PartialEq)]
pub struct FromWhere<'a> {
    /// Word of the source.
    pub source: &'a str,
    /// What was counted.
    pub from: &'a FromRegister,
    /// Since when the register stands in the territory.
    pub since: Date,
    /// Of which day the number is.
    pub on: Date,
    /// The newest row that people recorded there: it is not in the number.
    pub beside: Option<&'a Fact>,
}

/// Rows with what is vouched for.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// By source: what its register tells.
    counted: BTreeMap<String, Arc<Counted>>,
    rows: Vec<Fact>,
    by_id: BTreeMap<String, usize>,
    by_source: BTreeMap<String, Vec<usize>>,
    /// Of years and states: source, territory, sector and day of every row.
    figures: BTreeSet<(String, String, String, Date)>,
    /// The row that takes the place of a row.
    revised_by: BTreeMap<usize, usize>,
    covered: Vec<Covered>,
}

/// What is asked of an indicator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Code of the territory.
    pub region: String,
    /// Codes that the territory had before: rows carry the one of their day.
    pub region_before: Vec<String>,
    /// Of these sectors, where the definition does not name its own; empty = of all.
    pub sectors: Vec<String>,
    /// As of this day: of a year's figure, the last year that is over by then.
    pub on: Date,
    /// First day of the plan, for figures that add up over it.
    pub since: Date,
    /// With what was known by this day.
    pub known_on: Date,
    /// The year that a change is reckoned against.
    pub base_year: Option<i16>,
}

impl Query {
    /// Every code of the territory.
    fn codes(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.region.as_str()).chain(self.region_before.iter().map(String::as_str))
    }
}

/// Why there is no figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Nobody vouches that events of the source were recorded in this time.
    NotRecorded {
        /// Word of the source.
        source: String,
        /// First day.
        from: Date,
        /// Last day.
        to: Date,
    },
    /// The numerator has no row for this year or day.
    Numerator {
        /// Word of the source.
        source: String,
        /// Sector, empty = of none in particular.
        sector: String,
        /// Last day of the year, or the day.
        on: Date,
    },
    /// The denominator has none.
    Denominator {
        /// Word of the source.
        source: String,
        /// Sector, empty = of none in particular.
        sector: String,
        /// Last day of the year, or the day.
        on: Date,
    },
    /// Both stand, of different days: a part of one day is none of the whole of another.
    DaysDiffer {
        /// Word of the numerator's source.
        source: String,
        /// Its day.
        on: Date,
        /// Word of the denominator's source.
        below: String,
        /// Its day.
        below_on: Date,
    },
    /// The denominator is zero.
    DenominatorIsZero {
        /// Word of the source.
        source: String,
    },
    /// The year that a change is reckoned against has no figure, or is not named.
    Base {
        /// Word of the source.
        source: String,
        /// The year.
        year: Option<i16>,
    },
    /// It is zero there: nothing changes by a part of nothing.
    BaseIsZero {
        /// The year.
        year: i16,
    },
    /// The part is greater than its whole.
    AboveWhole {
        /// The part.
        part: Decimal,
        /// The whole.
        whole: Decimal,
    },
    /// The numbers have more digits than can be reckoned exactly.
    Digits,
}

impl Missing {
    /// The word on the API.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::NotRecorded { .. } => "not_recorded",
            Self::Numerator { .. } => "no_data",
            Self::Denominator { .. } => "no_denominator",
            Self::DaysDiffer { .. } => "days_differ",
            Self::DenominatorIsZero { .. } => "denominator_is_zero",
            Self::Base { .. } => "no_baseline",
            Self::BaseIsZero { .. } => "base_is_zero",
            Self::AboveWhole { .. } => "part_above_whole",
            Self::Digits => "digits",
        }
    }
}

/// What stands behind the word: words of sources and days, no sentence.
impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRecorded { source, from, to } => write!(f, "{source} {from}..{to}"),
            Self::Numerator { source, sector, on } | Self::Denominator { source, sector, on } => {
                write!(f, "{source}{}{sector} {on}", if sector.is_empty() { "" } else { "/" })
            }
            Self::DaysDiffer { source, on, below, below_on } => write!(f, "{source} {on}, {below} {below_on}"),
            Self::DenominatorIsZero { source } => f.write_str(source),
            Self::Base { source, year: Some(year) } => write!(f, "{source} {year}"),
            Self::Base { source, year: None } => f.write_str(source),
            Self::BaseIsZero { year } => write!(f, "{year}"),
            Self::AboveWhole { part, whole } => write!(f, "{part} > {whole}"),
            Self::Digits => Ok(()),
        }
    }
}

/// A figure with everything it was made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure<'a> {
    /// Above the line.
    pub numerator: Decimal,
    /// Below the line, above zero; 1 for a count or a sum.
    pub denominator: Decimal,
    /// What the quotient is multiplied by.
    pub factor: Decimal,
    /// To the places of the definition, 四舍五入.
    pub shown: Decimal,
    /// First and last day of what it is of.
    pub of: (Date, Date),
    /// Rows above the line; of a change, of now.
    pub rows: Vec<&'a Fact>,
    /// Rows below the line; of a change, of the base.
    pub rows_below: Vec<&'a Fact>,
    /// Rows that these took the place of, and rows that were in the figure until they were judged to be of elsewhere.
    pub revised: Vec<&'a Fact>,
    /// So few events that the rate says little.
    pub is_small: bool,
    /// Which of its numbers were counted from registers; the others are what people recorded.
    pub counted: Vec<FromWhere<'a>>,
}

impl Figure<'_> {
    /// The exact figure against `goal`, without dividing. `None` where the digits do not suffice.
    pub fn against(&self, goal: Decimal) -> Option<Ordering> {
        Some(self.numerator.checked_mul(self.factor)?.cmp(&goal.checked_mul(self.denominator)?))
    }
}

/// The definitions of `packs/base`.
pub fn built_in() -> &'static Indicators {
    static ROWS: LazyLock<Indicators> = LazyLock::new(|| {
        Indicators::parse(include_str!("../../../packs/base/indicators.toml")).expect("a test reads the file that is compiled in")
    });
    &ROWS
}

/// The rows of the source `accident_deaths` that an accident makes: one, and one more that revises it whenever the deaths that count changed.
///
/// So a death within the window moves the total of its year from the day on which it was told, one behind it does not, and what was said before stays
/// to be seen.
pub fn of_accident(id: &str, happened_on: Date, region: &str, sector: &str, mark: Mark, steps: &[Step<'_>]) -> Vec<Fact> {
    let mut rows: Vec<Fact> = Vec::new();
    let days: BTreeSet<Date> = steps.iter().map(|step| step.told_on).collect();
    for known_on in days {
        // What counts by the reports that were there at the end of that day: a report may come after one of a later death.
        let known = steps.iter().filter(|step| step.told_on <= known_on);
        // One of an earlier day that was told later knew more.
        let (counted, _) = known.fold((None, Date::MIN), |(counted, newest), step| {
            let deaths = step.told.deaths;
            let counted = match counted {
                Some(counted) if !step.is_within_window || (step.told_on < newest && counted > deaths) => counted,
                _ => deaths,
            };
            (Some(counted), newest.max(step.told_on))
        });
        let value = Decimal::from(counted.unwrap_or_default());
        let revises = match rows.last() {
            Some(last) if last.value == value => continue,
            last => last.map(|last| last.id.clone()).unwrap_or_default(),
        };
        rows.push(Fact {
            id: if rows.is_empty() { id.to_owned() } else { format!("{id}-r{}", rows.len()) },
            source: "accident_deaths".to_owned(),
            on: happened_on,
            region: region.to_owned(),
            sector: sector.to_owned(),
            value,
            known_on,
            revises,
            mark,
            note: String::new(),
        });
    }
    rows
}

/// The rows of an accident ([`of_accident`]) that was found to be none on some days and taken back on others (`true`, in order): from the one to the other
/// nothing counts, before it what was known then.
pub fn withdrawn(rows: Vec<Fact>, turns: &[(Date, bool)]) -> Vec<Fact> {
    let Some(first) = rows.first().cloned() else { return rows };
    // On one day what was told comes first.
    let told = rows.into_iter().map(|row| (row.known_on, Some(row.value), false));
    let mut all: Vec<(Date, Option<Decimal>, bool)> = told.chain(turns.iter().map(|(on, is_back)| (*on, None, *is_back))).collect();
    all.sort_by_key(|(on, ..)| *on);
    let (mut made, mut value, mut is_none): (Vec<Fact>, Decimal, bool) = (Vec::new(), first.value, false);
    for (known_on, told, is_back) in all {
        value = told.unwrap_or(value);
        let was_none = is_none;
        is_none = if told.is_some() { is_none } else { !is_back };
        // What is told of an accident that is none changes no figure until it is one again.
        if (told.is_some() && is_none) || (told.is_none() && was_none == is_none) {
            continue;
        }
        let revises = made.last().map(|last: &Fact| last.id.clone()).unwrap_or_default();
        let id = if made.is_empty() { first.id.clone() } else { format!("{}-r{}", first.id, made.len()) };
        let mark = if is_none { Mark::Withdrawn } else { first.mark };
        // A row cannot be known before the one that it revises, nor before the day itself.
        let known_on = known_on.max(made.last().map_or(first.known_on, |last| last.known_on));
        made.push(Fact { id, value, known_on, revises, mark, ..first.clone() });
    }
    made
}

/// Rows of one enterprise so cut that on no day more than one counts: a licence that is renewed before the old one ends is one.
pub fn each_day_once(mut rows: Vec<CountedRow>) -> Vec<CountedRow> {
    // What was known first comes first: a later row must not take days from one that figures had already.
    rows.sort_by(|a, b| (a.fact.known_on, a.fact.on, &a.fact.id).cmp(&(b.fact.known_on, b.fact.on, &b.fact.id)));
    let mut kept: Vec<CountedRow> = Vec::new();
    for row in rows {
        // The free days of this row between those that are taken.
        let mut taken: Vec<(Date, Option<Date>)> = kept.iter().map(|other| (other.fact.on, other.until)).collect();
        taken.sort();
        let (mut from, mut n, mut is_over) = (row.fact.on, 0, false);
        let mut free = Vec::new();
        for (start, end) in taken {
            if end.is_some_and(|end| end <= from) {
                continue;
            }
            if start > from {
                free.push((from, Some(row.until.map_or(start, |until| until.min(start)))));
            }
            match end {
                Some(end) => from = end,
                None => is_over = true,
            }
            if is_over || row.until.is_some_and(|until| until <= from) {
                is_over = true;
                break;
            }
        }
        if !is_over {
            free.push((from, row.until));
        }
        for (on, until) in free.into_iter().filter(|(on, until)| until.is_none_or(|until| until > *on)) {
            let id = if n == 0 { row.fact.id.clone() } else { format!("{}-{n}", row.fact.id) };
            kept.push(CountedRow { fact: Fact { id, on, known_on: row.fact.known_on.max(on), ..row.fact.clone() }, until });
            n += 1;
        }
    }
    kept
}

/// (from − to) ÷ from in percent, to `decimals` places; `None` from zero.
///
/// Of figures as published: the plan's own table reckons its 下降率 from rounded figures.
pub fn drop_percent(from: Decimal, to: Decimal, decimals: u32) -> Option<Decimal> {
    let part = from.checked_sub(to)?.checked_mul(Decimal::ONE_HUNDRED)?.checked_div(from)?;
    Some(decimal::rounded(part, decimals))
}

impl Indicators {
    /// Reads a pack's `indicators.toml`.
    ///
    /// # Errors
    /// [`PackError`] naming row and field: an unknown key or source, a ratio without a denominator, a row without a source.
    pub fn parse(text: &str) -> Result<Self, PackError> {
        let file: File = toml::from_str(text).map_err(|e| PackError::Toml { file: FILE, message: e.to_string() })?;
        let wrong =
            |row: &str, field, reason: &str| Err(PackError::Row { file: FILE, row: row.to_owned(), field, reason: reason.to_owned() });
        let small_count = SmallCount { below: file.small_count.below, source: source!(file.small_count) };
        small_count.source.check(FILE, "small_count")?;
        let control = file.control.map(|row| crate::control::Rule {
            width: row.width.into(),
            least_samples: row.least_samples.into(),
            source: source!(row),
        });
        if let Some(rule) = &control {
            rule.source.check(FILE, "control")?;
            if rule.width <= 0.0 {
                return wrong("control", "width", "is not above 0");
            }
        }
        let (mut sources, mut indicators) = (BTreeMap::new(), BTreeMap::new());
        for row in file.source {
            if !is_word(&row.id, '_') || sources.contains_key(&row.id) {
                return wrong(&row.id, "id", "is no word, or stands twice");
            }
            if row.name.is_empty() || row.name_en.is_empty() || row.unit.is_empty() {
                return wrong(&row.id, "name", "or unit is missing");
            }
            if let Some(from) = &row.from {
                if row.keeps == Keeps::Event {
                    return wrong(&row.id, "from", "counts how things stand, and the source keeps events");
                }
                if !is_word(&from.register, '_') || from.states.is_empty() || from.note.is_empty() {
                    return wrong(&row.id, "from", "has no register, no states or no note");
                }
                if !from.sector.is_empty() && file.sector.iter().all(|sector| sector.id != from.sector) {
                    return wrong(&row.id, "from", "names a sector that figures do not know");
                }
                if from.only.iter().any(|only| only.is.is_empty()) {
                    return wrong(&row.id, "from", "asks for a choice and names none");
                }
            }
            sources.insert(row.id.clone(), row);
        }
        for row in file.indicator {
            if !is_word(&row.id, '_') || indicators.contains_key(&row.id) {
                return wrong(&row.id, "id", "is no word, or stands twice");
            }
            let indicator = Indicator {
                source: source!(row),
                factor: row.factor.unwrap_or(1).into(),
                id: row.id,
                name: row.name,
                name_en: row.name_en,
                version: row.version,
                kind: row.kind,
                numerator: row.numerator,
                denominator: row.denominator,
                decimals: row.decimals,
                period: row.period,
                unit: row.unit,
                unit_zh: row.unit_zh,
            };
            indicator.check(&sources)?;
            if row.factor.is_some() && indicator.kind != Kind::Ratio {
                return wrong(&indicator.id, "factor", "belongs to a ratio");
            }
            indicators.insert(indicator.id.clone(), indicator);
        }
        Ok(Self { sectors: file.sector, sources, indicators, small_count, control })
    }

    /// The definition of this word.
    pub fn get(&self, id: &str) -> Option<&Indicator> {
        self.indicators.get(id)
    }

    /// Every definition, in order of their words.
    pub fn iter(&self) -> impl Iterator<Item = &Indicator> {
        self.indicators.values()
    }

    /// The source of this word.
    pub fn source(&self, id: &str) -> Option<&FactSource> {
        self.sources.get(id)
    }

    /// Every source, in order of their words.
    pub fn sources(&self) -> impl Iterator<Item = &FactSource> {
        self.sources.values()
    }

    /// The sectors that rows may be of; empty = any.
    pub fn sectors(&self) -> &[FactSector] {
        &self.sectors
    }

    /// Whether rows may be of this sector.
    pub fn has_sector(&self, sector: &str) -> bool {
        self.sectors.is_empty() || self.sectors.iter().any(|known| known.id == sector)
    }

    /// Below which count a rate says little, and who says so.
    pub fn small_count(&self) -> &SmallCount {
        &self.small_count
    }

    /// How control charts are drawn; `None` = these definitions do not say, and there are none.
    pub fn control(&self) -> Option<&crate::control::Rule> {
        self.control.as_ref()
    }

    /// What is above the line, of the events of one month alone: whatever is below is told by years.
    ///
    /// # Errors
    /// [`Missing::NotRecorded`] for a time of which nobody vouches that its events were recorded. `Ok(None)` where the numerator keeps no events.
    pub fn of_month(&self, indicator: &Indicator, facts: &Facts, query: &Query, first: Date) -> Result<Option<Decimal>, Missing> {
        if self.keeps(&indicator.numerator) != Keeps::Event || !matches!(indicator.kind, Kind::Ratio | Kind::Count | Kind::Sum) {
            return Ok(None);
        }
        let span = (first.first_of_month(), first.last_of_month());
        Ok(Some(self.term(&indicator.numerator, facts, query, span).map_err(|gap| gap.of_numerator())?.number))
    }

    /// The figure of an indicator.
    ///
    /// # Errors
    /// [`Missing`]: the first thing without which there is none.
    pub fn evaluate<'a>(&self, indicator: &Indicator, facts: &'a Facts, query: &Query) -> Result<Figure<'a>, Missing> {
        let span = match indicator.period {
            Period::Year => year_of(last_year_over(query.on)),
            Period::Plan => (query.since, query.on),
            Period::State => (query.on, query.on),
        };
        let mut now = self.term(&indicator.numerator, facts, query, span).map_err(|gap| gap.of_numerator())?;
        let mut below = match indicator.kind {
            Kind::Count | Kind::Sum => None,
            Kind::Ratio | Kind::Share => {
                let term = indicator.denominator.as_ref().unwrap_or(&indicator.numerator);
                Some(self.term(term, facts, query, span).map_err(|gap| gap.of_denominator())?)
            }
            Kind::Change | Kind::Drop => {
                let no_base = |year| Missing::Base { source: indicator.numerator.source.clone(), year };
                let year = query.base_year.ok_or_else(|| no_base(None))?;
                let base = self.term(&indicator.numerator, facts, query, year_of(year)).map_err(|_| no_base(Some(year)))?;
                if base.number.is_zero() {
                    return Err(Missing::BaseIsZero { year });
                }
                Some(base)
            }
        };
        if let (Kind::Ratio | Kind::Share, Some(below), Some(term)) = (indicator.kind, &mut below, &indicator.denominator)
            && self.keeps(&indicator.numerator) == Keeps::State
            && self.keeps(term) == Keeps::State
        {
            // A register knows each day: it is asked of the day of which the other number was told.
            match (now.counted.is_some(), below.counted.is_some()) {
                (true, false) => {
                    if let Some(on) = below.day() {
                        now = self.term(&indicator.numerator, facts, query, (on, on)).map_err(|gap| gap.of_numerator())?;
                    }
                }
                (false, true) => {
                    if let Some(on) = now.day() {
                        *below = self.term(term, facts, query, (on, on)).map_err(|gap| gap.of_denominator())?;
                    }
                }
                _ => {}
            }
            let told = |taken: &Taken<'a>| if taken.counted.is_some() { Vec::new() } else { taken.rows.clone() };
            let (told_now, told_below) = (told(&now), told(below));
            let mut pairs = told_now.iter().flat_map(|row| told_below.iter().map(|other| (row.on, other.on)));
            if let Some((on, below_on)) = pairs.find(|(on, below_on)| on != below_on) {
                let (source, below) = (indicator.numerator.source.clone(), term.source.clone());
                return Err(Missing::DaysDiffer { source, on, below, below_on });
            }
        }
        let whole = below.as_ref().map_or(Decimal::ONE, |below| below.number);
        if whole.is_zero() {
            let source = indicator.denominator.as_ref().unwrap_or(&indicator.numerator).source.clone();
            return Err(Missing::DenominatorIsZero { source });
        }
        if indicator.kind == Kind::Share && now.number > whole {
            return Err(Missing::AboveWhole { part: now.number, whole });
        }
        let (numerator, factor) = match indicator.kind {
            Kind::Change => (now.number.checked_sub(whole), Decimal::ONE),
            Kind::Drop => (whole.checked_sub(now.number), Decimal::ONE_HUNDRED),
            _ => (Some(now.number), indicator.factor),
        };
        let numerator = numerator.ok_or(Missing::Digits)?;
        let value = numerator.checked_mul(factor).and_then(|product| product.checked_div(whole)).ok_or(Missing::Digits)?;
        let is_events = self.keeps(&indicator.numerator) == Keeps::Event;
        let mut counted: Vec<FromWhere<'a>> = now.counted.into_iter().collect();
        let (rows_below, gone_below) = match below {
            // Of a change both are of one source; the number above is the one of now.
            Some(below) => {
                counted.extend(below.counted);
                (below.rows, below.gone)
            }
            None => Default::default(),
        };
        let mut revised: Vec<&Fact> = now.rows.iter().chain(&rows_below).flat_map(|row| facts.before(row)).collect();
        revised.extend(now.gone.into_iter().chain(gone_below));
        revised.sort_by_key(|row| (row.known_on, &row.id));
        revised.dedup_by(|a, b| a.id == b.id);
        Ok(Figure {
            numerator,
            denominator: whole,
            factor,
            shown: decimal::rounded(value, indicator.decimals),
            of: span,
            is_small: indicator.kind == Kind::Ratio && is_events && now.number < self.small_count.below.into(),
            rows: now.rows,
            rows_below,
            revised,
            counted,
        })
    }

    /// The figure as it was said, each time that what was known changed it: the day, and the figure. The last is how it stands.
    pub fn as_it_was_said<'a>(&self, indicator: &Indicator, facts: &'a Facts, query: &Query) -> Vec<(Date, Figure<'a>)> {
        let Ok(now) = self.evaluate(indicator, facts, query) else { return Vec::new() };
        // Before its time was over there was no figure to say.
        // A row that was judged to be of elsewhere left on the day of the row that took its place, which is none of the figure.
        let left = now.revised.iter().filter_map(|row| facts.after(row)).map(|row| row.known_on);
        let came = now.rows.iter().chain(&now.rows_below).chain(&now.revised).map(|row| row.known_on);
        let days: BTreeSet<Date> = came.chain(left).map(|day| day.max(now.of.1)).chain([now.of.1]).collect();
        let (mut said, mut last) = (Vec::new(), None);
        for day in days.into_iter().filter(|day| *day <= query.known_on) {
            let Ok(figure) = self.evaluate(indicator, facts, &Query { known_on: day, ..query.clone() }) else { continue };
            if last != Some((figure.numerator, figure.denominator)) {
                last = Some((figure.numerator, figure.denominator));
                said.push((day, figure));
            }
        }
        said
    }

    fn term<'a>(&self, term: &Term, facts: &'a Facts, query: &Query, span: (Date, Date)) -> Result<Taken<'a>, Gap> {
        let sectors = if term.sectors.is_empty() { &query.sectors } else { &term.sectors };
        let keeps = self.keeps(term);
        let rows = facts.rows_of(&term.source, query.known_on);
        if keeps == Keeps::Event {
            let is_covered = facts.covers(&term.source, span);
            if !is_covered {
                let span = (span.0, span.1.max(span.0));
                return Err(Gap { source: term.source.clone(), sector: String::new(), span, is_event: true });
            }
            let is_of = |row: &&Fact| {
                let is_of_sector = sectors.is_empty() || sectors.contains(&row.sector);
                let is_there = query.codes().any(|code| row.region.starts_with(code));
                is_of_sector && is_there && row.on >= span.0 && row.on <= span.1
            };
            let gone = facts.gone(&term.source, query.known_on).filter(is_of).collect();
            let rows: Vec<&Fact> = rows.into_iter().filter(is_of).collect();
            let number = rows.iter().map(|row| if term.count { Decimal::ONE } else { row.value }).sum();
            return Ok(Taken { number, rows, gone, counted: None });
        }
        if let Some(taken) = Self::counted(&term.source, sectors, facts, query, span.1) {
            return Ok(taken);
        }
        let mut taken = Taken { number: Decimal::ZERO, rows: Vec::new(), gone: Vec::new(), counted: None };
        let of_none = [String::new()];
        for sector in if sectors.is_empty() { &of_none[..] } else { &sectors[..] } {
            let of_sector =
                rows.iter().filter(|row| row.sector == *sector && query.codes().any(|code| row.region == code) && row.on <= span.1);
            let of_time: Vec<&&Fact> = match keeps {
                Keeps::Year => of_sector.filter(|row| row.on.year() == span.1.year()).collect(),
                _ => of_sector.collect(),
            };
            // Of one day the row under the code of now. Rows under two codes of before are parts of a whole that nobody told.
            let newest = of_time.iter().max_by_key(|row| (row.on, row.region == query.region));
            let is_alone =
                |row: &Fact| row.region == query.region || of_time.iter().all(|other| other.on != row.on || other.region == row.region);
            let Some(row) = newest.filter(|row| is_alone(row)) else {
                return Err(Gap { source: term.source.clone(), sector: sector.clone(), span, is_event: false });
            };
            taken.number += row.value;
            taken.rows.push(row);
        }
        Ok(taken)
    }

    /// What a register tells of a source on a day; `None` = it does not stand in the territory, or tells nothing of these sectors.
    fn counted<'a>(source: &str, sectors: &[String], facts: &'a Facts, query: &Query, on: Date) -> Option<Taken<'a>> {
        let counted = facts.counted.get(source)?;
        let from = &counted.from;
        let is_asked = match sectors {
            [] => from.sector.is_empty(),
            [one] => *one == from.sector,
            _ => false,
        };
        let is_there = |region: &str| query.codes().any(|code| region.starts_with(code));
        let since = counted.since.iter().filter(|(region, _)| is_there(region)).map(|(_, since)| *since).min()?;
        if !is_asked || since > on || on > query.known_on {
            return None;
        }
        let rows = counted.rows.iter().filter(|row| {
            let is_known = row.fact.on <= on && row.fact.known_on <= query.known_on;
            is_known && row.until.is_none_or(|until| until > on) && is_there(&row.fact.region)
        });
        let rows: Vec<&Fact> = rows.map(|row| &row.fact).collect();
        let said = facts.rows_of(source, query.known_on).into_iter();
        let beside = said.filter(|row| row.sector == from.sector && row.on <= on && query.codes().any(|code| row.region == code));
        let beside = beside.max_by_key(|row| (row.on, row.known_on));
        let counted = Some(FromWhere { source: &counted.source, from, since, on, beside });
        Some(Taken { number: rows.len().into(), rows, gone: Vec::new(), counted })
    }

    fn keeps(&self, term: &Term) -> Keeps {
        self.sources.get(&term.source).map_or(Keeps::State, |source| source.keeps)
    }
}

/// A number with its rows.
struct Taken<'a> {
    number: Decimal,
    rows: Vec<&'a Fact>,
    /// Events that were in it until another row took their place.
    gone: Vec<&'a Fact>,
    /// Its rows are a register's.
    counted: Option<FromWhere<'a>>,
}

impl Taken<'_> {
    /// The day of its rows, if they are of one day.
    fn day(&self) -> Option<Date> {
        let first = self.rows.first()?.on;
        self.rows.iter().all(|row| row.on == first).then_some(first)
    }
}

/// A term without rows.
struct Gap {
    source: String,
    sector: String,
    span: (Date, Date),
    is_event: bool,
}

impl Gap {
    fn of_numerator(self) -> Missing {
        let Self { source, sector, span: (from, to), is_event } = self;
        if is_event { Missing::NotRecorded { source, from, to } } else { Missing::Numerator { source, sector, on: to } }
    }
    fn of_denominator(self) -> Missing {
        let Self { source, sector, span: (from, to), is_event } = self;
        if is_event { Missing::NotRecorded { source, from, to } } else { Missing::Denominator { source, sector, on: to } }
    }
}

/// The last calendar year that is over at the end of `day`.
pub fn last_year_over(day: Date) -> i16 {
    if day.month() == 12 && day.day() == 31 { day.year() } else { day.year() - 1 }
}

/// First and last day of a year; of one that calendars do not know, of the nearest.
pub fn year_of(year: i16) -> (Date, Date) {
    let year = year.clamp(Date::MIN.year(), Date::MAX.year());
    (date(year, 1, 1), date(year, 12, 31))
}

impl Indicator {
    fn check(&self, sources: &BTreeMap<String, FactSource>) -> Result<(), PackError> {
        let wrong = |field, reason: &str| Err(PackError::Row { file: FILE, row: self.id.clone(), field, reason: reason.to_owned() });
        self.source.check(FILE, &self.id)?;
        if self.name.is_empty() || self.name_en.is_empty() || self.unit.is_empty() || self.unit_zh.is_empty() {
            return wrong("name", "or unit is missing");
        }
        if self.version == 0 {
            return wrong("version", "counts from 1");
        }
        if self.decimals > DECIMALS_MAX {
            return wrong("decimals", "is above 6");
        }
        if self.factor.is_zero() || self.factor.to_string().len() > FACTOR_DIGITS_MAX as usize {
            return wrong("factor", "is 1 to 9999999");
        }
        let Some(above) = sources.get(&self.numerator.source) else { return wrong("numerator", "names an unknown source") };
        let is_quotient = matches!(self.kind, Kind::Ratio | Kind::Share);
        match &self.denominator {
            Some(below) if is_quotient && !sources.contains_key(&below.source) => {
                return wrong("denominator", "names an unknown source");
            }
            Some(_) if !is_quotient => return wrong("denominator", "belongs to a ratio or share"),
            Some(_) => {}
            None if is_quotient => return wrong("denominator", "is missing"),
            None => {}
        }
        match (self.kind, self.period, above.keeps) {
            (Kind::Count, ..) if !self.numerator.count => wrong("numerator", "of a count says `count = true`"),
            (Kind::Change | Kind::Drop, Period::Plan, _) => wrong("period", "of a change is a year or a state"),
            (_, Period::State, Keeps::Event) => wrong("period", "of events is a year, or from the first day of the plan"),
            (_, Period::Plan, Keeps::Year | Keeps::State) => wrong("period", "from the first day of the plan is of events"),
            _ if self.numerator.count && above.keeps != Keeps::Event => wrong("numerator", "counts rows, so its source keeps events"),
            _ => Ok(()),
        }
    }
}

fn figure_of(fact: &Fact) -> (String, String, String, Date) {
    (fact.source.clone(), fact.region.clone(), fact.sector.clone(), fact.on)
}

impl Facts {
    /// Reads a file of facts: a heading of [`COLUMNS`], then one row a line; lines that begin with `#` are remarks. `known_on` left out is `on`.
    ///
    /// # Errors
    /// [`PackError`] naming row and field.
    pub fn parse(text: &str, indicators: &Indicators) -> Result<Self, PackError> {
        let mut facts = Self::default();
        let mut lines = text.lines().zip(1..).filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
        let wrong = |row: String, field, reason: &str| PackError::Row { file: FACTS, row, field, reason: reason.to_owned() };
        match lines.next() {
            Some((COLUMNS, _)) => {}
            _ => return Err(wrong("1".to_owned(), "id", &format!("the heading is not {COLUMNS}"))),
        }
        for (line, number) in lines {
            let cells: Vec<&str> = line.split(',').collect();
            let [id, source, on, region, sector, value, known_on, revises, mark, note] = cells[..] else {
                return Err(wrong(format!("line {number}"), "note", "is not the last of ten cells"));
            };
            let day = |field, text: &str| {
                text.parse::<Date>().map_err(|_| wrong(id.to_owned(), field, &format!("{text:?} is no date such as 2010-12-31")))
            };
            let on = day("on", on)?;
            let fact = Fact {
                id: id.to_owned(),
                source: source.to_owned(),
                on,
                region: region.to_owned(),
                sector: sector.to_owned(),
                value: decimal::parse(value, decimal::FACT_DIGITS_MAX)
                    .ok_or_else(|| wrong(id.to_owned(), "value", &format!("{value:?} is no decimal of at most 14 digits")))?,
                known_on: if known_on.is_empty() { on } else { day("known_on", known_on)? },
                revises: revises.to_owned(),
                mark: Mark::parse(mark)
                    .ok_or_else(|| wrong(id.to_owned(), "mark", "is not reported, published, derived, invented or withdrawn"))?,
                note: note.to_owned(),
            };
            facts.add(fact, indicators)?;
        }
        Ok(facts)
    }

    /// Adds a row. A row that revises another comes after it.
    ///
    /// # Errors
    /// [`PackError`] naming row and field: an id that is there, an unknown source, a second figure of one year or day that does not say what it
    /// revises, a revision of something else or of something newer.
    pub fn add(&mut self, fact: Fact, indicators: &Indicators) -> Result<(), PackError> {
        let wrong = |field, reason: &str| Err(PackError::Row { file: FACTS, row: fact.id.clone(), field, reason: reason.to_owned() });
        if fact.id.is_empty() || self.by_id.contains_key(&fact.id) {
            return wrong("id", "is missing, or stands twice");
        }
        let Some(source) = indicators.source(&fact.source) else { return wrong("source", "is unknown") };
        if fact.region.is_empty() || !fact.region.bytes().all(|b| b.is_ascii_digit()) {
            return wrong("region", "is no code of a division");
        }
        if !fact.sector.is_empty() && !is_word(&fact.sector, '_') {
            return wrong("sector", "is no word");
        }
        // A finding names its target there.
        if !fact.sector.is_empty() && fact.source != crate::plan::FINDING && !indicators.has_sector(&fact.sector) {
            return wrong("sector", "is none that figures know");
        }
        if fact.value.is_sign_negative() && !fact.value.is_zero() {
            return wrong("value", "is negative");
        }
        if fact.value.mantissa().unsigned_abs() >= 10_u128.pow(decimal::FACT_DIGITS_MAX) {
            return wrong("value", "has more than 14 digits");
        }
        if fact.known_on < fact.on {
            return wrong("known_on", "is before the day itself");
        }
        if fact.mark == Mark::Withdrawn && (source.keeps != Keeps::Event || fact.revises.is_empty()) {
            return wrong("mark", "is of a row that takes the place of an event");
        }
        if source.keeps == Keeps::Year && (fact.on.month(), fact.on.day()) != (12, 31) {
            return wrong("on", "of a year's figure is its last day");
        }
        let place = self.rows.len();
        let same =
            |other: &Fact| (&other.source, &other.region, &other.sector, other.on) == (&fact.source, &fact.region, &fact.sector, fact.on);
        if fact.revises.is_empty() {
            if source.keeps != Keeps::Event && self.figures.contains(&figure_of(&fact)) {
                return wrong("revises", "is empty, and there is a figure already");
            }
        } else {
            let Some(before) = self.by_id.get(&fact.revises).copied() else { return wrong("revises", "names no row before it") };
            let row = &self.rows[before];
            if self.revised_by.contains_key(&before) {
                return wrong("revises", "names a row that was revised already");
            }
            // On one day the later row holds: a slip is mended at once.
            if row.known_on > fact.known_on {
                return wrong("known_on", "is before what it revises");
            }
            // A later death changes an accident's number, and a judgement may change its sector; an event stays the same day's of the same source.
            let is_same_event = source.keeps == Keeps::Event && (&row.source, row.on) == (&fact.source, fact.on);
            if !same(row) && !is_same_event {
                return wrong("revises", "names a row of something else");
            }
            self.revised_by.insert(before, place);
        }
        if source.keeps != Keeps::Event {
            self.figures.insert(figure_of(&fact));
        }
        self.by_id.insert(fact.id.clone(), place);
        self.by_source.entry(fact.source.clone()).or_default().push(place);
        self.rows.push(fact);
        Ok(())
    }

    /// Vouches that every event of `source` from `from` to `to` is here, so that no row means none happened.
    pub fn cover(&mut self, source: &str, from: Date, to: Date) {
        self.covered.push(Covered { source: source.to_owned(), from, to });
    }

    /// What the register of a source tells: where it stands, it is the number, and rows that people recorded of the same are none of it.
    pub fn count(&mut self, counted: Arc<Counted>) {
        self.counted.insert(counted.source.clone(), counted);
    }

    /// The row of this id.
    pub fn get(&self, id: &str) -> Option<&Fact> {
        self.by_id.get(id).map(|i| &self.rows[*i])
    }

    /// Every row, in the order added.
    pub fn iter(&self) -> impl Iterator<Item = &Fact> {
        self.rows.iter()
    }

    /// Whether spans, one after the other without a day between, cover it.
    fn covers(&self, source: &str, (from, to): (Date, Date)) -> bool {
        let mut spans: Vec<&Covered> = self.covered.iter().filter(|covered| covered.source == source).collect();
        spans.sort_by_key(|covered| covered.from);
        let mut open = from;
        // No day at all was covered by nobody.
        spans.retain(|_| from <= to);
        for covered in spans {
            if covered.from > open {
                return false;
            }
            if covered.to >= to {
                return true;
            }
            if covered.to >= open {
                open = covered.to.saturating_add(1.day());
            }
        }
        false
    }

    /// Rows of a source as known on a day: newer than that are not there yet, and what was revised by then is gone.
    fn rows_of(&self, source: &str, known_on: Date) -> Vec<&Fact> {
        let stands = |(row, is_gone): &(&Fact, bool)| !is_gone && row.mark != Mark::Withdrawn;
        self.known(source, known_on).filter(stands).map(|(row, _)| row).collect()
    }

    /// Rows of a source that another had taken the place of by a day.
    fn gone(&self, source: &str, known_on: Date) -> impl Iterator<Item = &Fact> {
        let went = |(row, is_gone): &(&Fact, bool)| *is_gone && row.mark != Mark::Withdrawn;
        self.known(source, known_on).filter(went).map(|(row, _)| row)
    }

    fn known(&self, source: &str, known_on: Date) -> impl Iterator<Item = (&Fact, bool)> {
        let is_gone = move |i: &usize| self.revised_by.get(i).is_some_and(|by| self.rows[*by].known_on <= known_on);
        let of_source = self.by_source.get(source).map(Vec::as_slice).unwrap_or_default();
        of_source.iter().filter(move |i| self.rows[**i].known_on <= known_on).map(move |i| (&self.rows[*i], is_gone(i)))
    }

    /// The row that took the place of a row.
    fn after(&self, row: &Fact) -> Option<&Fact> {
        self.revised_by.get(self.by_id.get(&row.id)?).map(|by| &self.rows[*by])
    }

    /// The rows that a row took the place of, one after the other.
    fn before<'a>(&'a self, row: &'a Fact) -> impl Iterator<Item = &'a Fact> {
        std::iter::successors(self.get(&row.revises), |row| self.get(&row.revises))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: &str = include_str!("../../../packs/base/indicators.toml");

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    /// Rows without the heading; events of 2010 to 2012 are recorded.
    fn facts(rows: &str) -> Facts {
        let mut facts = Facts::parse(&format!("{COLUMNS}\n{rows}"), built_in()).unwrap();
        facts.cover("accident_deaths", day("2010-01-01"), day("2012-12-31"));
        facts
    }

    fn query(on: &str) -> Query {
        Query {
            region: "5304".to_owned(),
            region_before: Vec::new(),
            sectors: Vec::new(),
            on: day(on),
            since: day("2011-01-01"),
            known_on: day("2020-01-01"),
            base_year: Some(2010),
        }
    }

    fn evaluate<'a>(facts: &'a Facts, id: &str, query: &Query) -> Result<Figure<'a>, Missing> {
        built_in().evaluate(built_in().get(id).unwrap(), facts, query)
    }

    fn told(facts: &Facts, id: &str, query: &Query) -> String {
        match evaluate(facts, id, query) {
            Ok(figure) => figure.shown.to_string(),
            Err(missing) => format!("{}: {missing}", missing.as_str()),
        }
    }

    fn counted_row(id: &str, region: &str, on: &str, until: Option<&str>) -> CountedRow {
        let fact = Fact {
            id: format!("record-{id}"),
            source: "listed".to_owned(),
            on: day(on),
            region: region.to_owned(),
            sector: String::new(),
            value: Decimal::ONE,
            known_on: day(on),
            revises: String::new(),
            mark: Mark::Reported,
            note: String::new(),
        };
        CountedRow { fact, until: until.map(day) }
    }

    fn counted(source: &str, since: &[(&str, &str)], rows: Vec<CountedRow>) -> Arc<Counted> {
        let from = built_in().source(source).unwrap().from.clone().unwrap();
        let since = since.iter().map(|(region, on)| ((*region).to_owned(), day(on))).collect();
        Arc::new(Counted { source: source.to_owned(), from, since, rows })
    }

    #[test]
    fn a_register_is_the_number_from_its_first_record_on_and_never_beside_what_was_recorded() {
        let said = "l1,listed,2012-12-31,5304,,9,,,reported,\nc1,listed_closed,2012-12-31,5304,,6,,,reported,";
        let mut facts = facts(said);
        let since = [("530402", "2014-03-01")];
        let rows = vec![
            counted_row("1", "530402", "2014-03-05", None),
            counted_row("2", "530423", "2014-04-01", None),
            // Ended: it does not count on the day of its end any more.
            counted_row("3", "530402", "2014-03-05", Some("2014-06-01")),
        ];
        let closed = vec![CountedRow { fact: Fact { source: "listed_closed".to_owned(), ..rows[0].fact.clone() }, until: None }];
        facts.count(counted("listed", &since, rows));
        facts.count(counted("listed_closed", &since, closed));
        let at = |on: &str, region: &str| Query { region: region.to_owned(), known_on: day(on), ..query(on) };
        // Before its first record: what people recorded.
        assert_eq!(told(&facts, "listed_closure_rate", &at("2014-02-28", "5304")), "0.6667");
        assert!(evaluate(&facts, "listed_closure_rate", &at("2014-02-28", "5304")).unwrap().counted.is_empty());
        // It stands, and nothing is listed yet: that is a zero, not what was recorded before.
        assert_eq!(told(&facts, "listed_closure_rate", &at("2014-03-01", "5304")), "denominator_is_zero: listed");
        let query = at("2014-05-31", "5304");
        let figure = evaluate(&facts, "listed_closure_rate", &query).unwrap();
        assert_eq!((figure.numerator, figure.denominator), (decimal("1"), decimal("3")));
        let beside: Vec<_> =
            figure.counted.iter().map(|from| (from.source, from.since.to_string(), from.beside.unwrap().id.as_str())).collect();
        assert_eq!(beside, [("listed_closed", "2014-03-01".to_owned(), "c1"), ("listed", "2014-03-01".to_owned(), "l1")]);
        assert_eq!(told(&facts, "listed_closure_rate", &at("2014-06-01", "5304")), "0.5000");
        // A county without a record has what people recorded of it, which is nothing.
        assert_eq!(told(&facts, "listed_closure_rate", &at("2014-05-31", "530424")), "no_data: listed_closed 2014-05-31");
        assert_eq!(told(&facts, "listed_closure_rate", &at("2014-05-31", "530402")), "0.5000");
        // A question about a sector that the register does not tell apart.
        let of_sector = Query { sectors: vec!["coal".to_owned()], ..at("2014-05-31", "5304") };
        assert_eq!(told(&facts, "listed_closure_rate", &of_sector), "no_data: listed_closed/coal 2014-05-31");
    }

    #[test]
    fn an_enterprise_counts_once_on_each_day() {
        let check = |rows: &[(&str, &str, Option<&str>)], want: &[(&str, &str, &str)]| {
            let rows = rows.iter().map(|(id, on, until)| counted_row(id, "530402", on, *until)).collect();
            let told: Vec<_> = each_day_once(rows)
                .into_iter()
                .map(|row| (row.fact.id, row.fact.on.to_string(), row.until.map_or(String::new(), |until| until.to_string())))
                .collect();
            let want: Vec<_> = want.iter().map(|(id, on, until)| ((*id).to_owned(), (*on).to_owned(), (*until).to_owned())).collect();
            assert_eq!(told, want);
        };
        // Renewed before the old one ended.
        check(
            &[("1", "2014-01-01", Some("2014-06-01")), ("2", "2014-05-01", None)],
            &[("record-1", "2014-01-01", "2014-06-01"), ("record-2", "2014-06-01", "")],
        );
        // A gap stays a gap; one within another adds nothing.
        check(
            &[("1", "2014-01-01", Some("2014-02-01")), ("2", "2014-03-01", Some("2014-09-01")), ("3", "2014-04-01", Some("2014-05-01"))],
            &[("record-1", "2014-01-01", "2014-02-01"), ("record-2", "2014-03-01", "2014-09-01")],
        );
        check(&[("1", "2014-01-01", None), ("2", "2014-03-01", None)], &[("record-1", "2014-01-01", "")]);
    }

    #[test]
    fn a_register_is_asked_of_the_day_of_which_the_other_number_was_told() {
        let mut facts = facts("h1,hazards_identified,2014-05-01,5304,,2,,,reported,");
        let row = |id: &str, on: &str| {
            let row = counted_row(id, "530402", on, None);
            CountedRow { fact: Fact { source: "hazards_registered".to_owned(), ..row.fact }, until: None }
        };
        let rows = vec![row("1", "2014-04-01"), row("2", "2014-06-01"), row("3", "2014-06-01")];
        facts.count(counted("hazards_registered", &[("530402", "2014-03-01")], rows));
        // Three are registered in July, and one was on the day of which two were identified.
        let query = Query { known_on: day("2014-07-01"), ..query("2014-07-01") };
        let figure = evaluate(&facts, "registered_rate", &query).unwrap();
        assert_eq!((figure.numerator, figure.denominator, figure.counted[0].on), (decimal("1"), decimal("2"), day("2014-05-01")));
    }

    const ACCIDENTS: &str = "\
a1,accident_deaths,2010-03-01,530402,coal,2,,,reported,
a2,accident_deaths,2010-12-31,530421,road_traffic,1,,,reported,
a3,accident_deaths,2011-01-01,530402,road_traffic,3,,,reported,
a4,accident_deaths,2011-06-01,530402,coal,0,,,reported,
a5,accident_deaths,2011-06-02,530501,coal,9,,,reported,of another city
";

    #[test]
    fn what_was_no_accident_counts_until_that_was_found_and_again_from_when_it_was_taken_back() {
        let row = |n: usize, known_on: &str, value: u32| Fact {
            id: if n == 0 { "a".to_owned() } else { format!("a-r{n}") },
            source: "accident_deaths".to_owned(),
            on: day("2011-03-01"),
            region: "530402".to_owned(),
            sector: "coal".to_owned(),
            value: value.into(),
            known_on: day(known_on),
            revises: if n == 0 { String::new() } else { "a".to_owned() },
            mark: Mark::Reported,
            note: String::new(),
        };
        let rows = || vec![row(0, "2011-03-01", 1), row(1, "2011-03-20", 2)];
        let check = |turns: &[(&str, bool)], said: &[(&str, &str, &str)]| {
            let turns: Vec<(Date, bool)> = turns.iter().map(|(on, is_back)| (day(on), *is_back)).collect();
            let mut facts = Facts::default();
            facts.cover("accident_deaths", day("2010-01-01"), day("2012-12-31"));
            for row in withdrawn(rows(), &turns) {
                facts.add(row, built_in()).unwrap();
            }
            for (on, deaths, accidents) in said {
                let of = |id: &str| told(&facts, id, &Query { known_on: day(on), ..query("2011-12-31") });
                assert_eq!((of("accident_deaths").as_str(), of("accident_count").as_str()), (*deaths, *accidents), "{turns:?} {on}");
            }
        };
        check(&[], &[("2011-03-01", "1", "1"), ("2012-01-01", "2", "1")]);
        check(&[("2011-04-01", false)], &[("2011-03-31", "2", "1"), ("2011-04-01", "0", "0")]);
        check(&[("2011-03-10", false)], &[("2011-03-09", "1", "1"), ("2012-01-01", "0", "0")]);
        // A later death was told while it was none.
        let back = [("2011-03-10", false), ("2011-04-01", true)];
        check(&back, &[("2011-03-09", "1", "1"), ("2011-03-25", "0", "0"), ("2011-04-01", "2", "1")]);
        check(&[("2011-03-01", false), ("2011-03-01", true)], &[("2011-03-01", "1", "1"), ("2012-01-01", "2", "1")]);
    }

    #[test]
    fn events_add_up_over_their_year_territory_and_sector() {
        let facts = facts(ACCIDENTS);
        let of = |id: &str, on: &str| told(&facts, id, &query(on));
        assert_eq!(of("accident_deaths", "2010-12-31"), "3");
        assert_eq!(of("accident_deaths", "2011-12-30"), "3", "the last year that is over");
        assert_eq!(of("accident_deaths", "2011-12-31"), "3");
        assert_eq!(of("accident_count", "2011-12-31"), "2", "one without deaths is an accident");
        assert_eq!(told(&facts, "accident_deaths", &Query { region: "530421".to_owned(), ..query("2010-12-31") }), "1");
        // A county that has another code since finds the rows of before, each once.
        let renamed = Query { region: "530403".to_owned(), region_before: vec!["530421".to_owned()], ..query("2010-12-31") };
        assert_eq!(told(&facts, "accident_deaths", &renamed), "1");
        let year = |id: &str, region: &str| Fact {
            id: id.to_owned(),
            source: "gdp_100m_yuan".to_owned(),
            on: day("2010-12-31"),
            region: region.to_owned(),
            sector: String::new(),
            value: Decimal::TEN,
            known_on: day("2011-03-01"),
            revises: String::new(),
            mark: Mark::Reported,
            note: String::new(),
        };
        let mut merged = facts.clone();
        merged.add(year("x", "530421"), built_in()).unwrap();
        let of_two = Query { region_before: vec!["530421".to_owned(), "530499".to_owned()], ..renamed.clone() };
        assert!(evaluate(&merged, "death_rate_per_100m_gdp", &of_two).is_ok());
        merged.add(year("y", "530499"), built_in()).unwrap();
        let missing = evaluate(&merged, "death_rate_per_100m_gdp", &of_two).unwrap_err();
        assert_eq!(missing.as_str(), "no_denominator", "a part is not the whole");
        merged.add(year("z", "530403"), built_in()).unwrap();
        assert_eq!(evaluate(&merged, "death_rate_per_100m_gdp", &of_two).unwrap().rows_below[0].id, "z");
        assert_eq!(told(&facts, "accident_deaths", &Query { region_before: vec!["530421".to_owned()], ..query("2011-12-31") }), "3");
        assert_eq!(told(&facts, "accident_deaths", &Query { region: "53".to_owned(), ..query("2011-12-31") }), "12");
        assert_eq!(told(&facts, "accident_deaths", &Query { sectors: vec!["coal".to_owned()], ..query("2010-12-31") }), "2");
        assert_eq!(
            told(&facts, "accident_deaths", &Query { sectors: vec!["fire".to_owned()], ..query("2010-12-31") }),
            "0",
            "recorded, and none"
        );
        let ids: Vec<_> =
            evaluate(&facts, "accident_deaths", &query("2010-12-31")).unwrap().rows.iter().map(|row| row.id.clone()).collect();
        assert_eq!(ids, ["a1", "a2"]);
    }

    #[test]
    fn what_is_missing_has_its_word() {
        let rows = format!("{ACCIDENTS}g,gdp_100m_yuan,2010-12-31,5304,,10,,,reported,\nz,gdp_100m_yuan,2012-12-31,5304,,0,,,reported,\n");
        let facts = facts(&rows);
        let of = |id: &str, on: &str| told(&facts, id, &query(on));
        assert_eq!(of("death_rate_per_100m_gdp", "2010-12-31"), "0.30");
        assert_eq!(of("death_rate_per_100m_gdp", "2011-12-31"), "no_denominator: gdp_100m_yuan 2011-12-31", "that of 2010 is none of 2011");
        assert_eq!(of("death_rate_per_100m_gdp", "2012-12-31"), "denominator_is_zero: gdp_100m_yuan");
        assert_eq!(of("accident_deaths", "2009-12-31"), "not_recorded: accident_deaths 2009-01-01..2009-12-31");
        assert_eq!(of("coverage", "2011-12-31"), "no_data: bodies_covered 2011-12-31");
        let county = Query { region: "530402".to_owned(), ..query("2010-12-31") };
        assert_eq!(
            told(&facts, "death_rate_per_100m_gdp", &county),
            "no_denominator: gdp_100m_yuan 2010-12-31",
            "that of the city is none of a county"
        );
        let mine = Query { sectors: vec!["non_coal_mine".to_owned()], ..query("2012-12-31") };
        assert_eq!(told(&facts, "mine_count_change", &mine), "no_data: mines/non_coal_mine 2012-12-31");
        assert_eq!(
            told(&facts, "accident_count_change", &Query { base_year: None, ..query("2011-12-31") }),
            "no_baseline: accident_deaths"
        );
        assert_eq!(
            told(&facts, "accident_count_change", &Query { base_year: Some(2009), ..query("2011-12-31") }),
            "no_baseline: accident_deaths 2009"
        );
        let fire = Query { sectors: vec!["fire".to_owned()], ..query("2011-12-31") };
        assert_eq!(told(&facts, "accident_count_change", &fire), "base_is_zero: 2010");
    }

    #[test]
    fn a_share_is_of_one_day_and_never_above_one() {
        let rows = "\
d1,bodies,2010-12-31,5304,,40,,,reported,
n1,bodies_covered,2011-06-30,5304,,30,,,reported,
d2,bodies,2011-06-30,5304,,40,2011-08-01,,reported,
n2,bodies_covered,2012-06-30,5304,,41,,,reported,
d3,bodies,2012-06-30,5304,,40,,,reported,
d4,bodies,2012-12-31,5304,,50,,,reported,
";
        let facts = facts(rows);
        assert_eq!(told(&facts, "coverage", &query("2011-06-29")), "no_data: bodies_covered 2011-06-29");
        let early = Query { known_on: day("2011-07-31"), ..query("2011-07-31") };
        assert_eq!(told(&facts, "coverage", &early), "days_differ: bodies_covered 2011-06-30, bodies 2010-12-31");
        assert_eq!(told(&facts, "coverage", &query("2011-06-30")), "0.7500");
        assert_eq!(told(&facts, "coverage", &query("2012-06-29")), "0.7500");
        assert_eq!(told(&facts, "coverage", &query("2012-06-30")), "part_above_whole: 41 > 40");
        assert_eq!(told(&facts, "coverage", &query("2012-12-31")), "days_differ: bodies_covered 2012-06-30, bodies 2012-12-31");
    }

    #[test]
    fn every_sector_of_a_share_is_of_that_day() {
        let rows = "\
n1,enterprises_standardized,2011-06-30,5304,coal,1,,,reported,
d1,enterprises_to_standardize,2011-06-30,5304,coal,2,,,reported,
n2,enterprises_standardized,2011-06-30,5304,fireworks,1,,,reported,
d2,enterprises_to_standardize,2011-03-31,5304,fireworks,2,,,reported,
";
        let facts = facts(rows);
        let of = |sectors: &[&str]| {
            let sectors = sectors.iter().map(|sector| (*sector).to_owned()).collect();
            told(&facts, "standardization_rate", &Query { sectors, ..query("2011-06-30") })
        };
        assert_eq!(of(&["coal"]), "0.5000");
        assert_eq!(of(&["coal", "fireworks"]), "days_differ: enterprises_standardized 2011-06-30, enterprises_to_standardize 2011-03-31");
    }

    #[test]
    fn what_was_moved_to_another_sector_or_place_is_still_seen_to_have_been_said() {
        let rows = "\
a1,accident_deaths,2011-03-01,530402,coal,2,,,reported,
a2,accident_deaths,2011-04-01,530402,coal,1,,,reported,
a1r,accident_deaths,2011-03-01,530402,non_coal_mine,2,2012-02-01,a1,reported,
a2r,accident_deaths,2011-04-01,530421,coal,1,2012-03-01,a2,reported,
a2s,accident_deaths,2011-04-01,530402,coal,4,2012-05-01,a2r,reported,
";
        let facts = facts(rows);
        let check = |query: &Query, said_then: &[&str], revised: &[&str]| {
            let deaths = built_in().get("accident_deaths").unwrap();
            let said = built_in().as_it_was_said(deaths, &facts, query);
            assert_eq!(said.iter().map(|(on, figure)| format!("{on} {}", figure.shown)).collect::<Vec<_>>(), said_then);
            let figure = built_in().evaluate(deaths, &facts, query).unwrap();
            assert_eq!(figure.revised.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), revised);
        };
        let coal = |region: &str, known_on: &str| Query {
            region: region.to_owned(),
            sectors: vec!["coal".to_owned()],
            known_on: day(known_on),
            ..query("2011-12-31")
        };
        check(&coal("530402", "2012-01-31"), &["2011-12-31 3"], &[]);
        check(&coal("530402", "2012-02-01"), &["2011-12-31 3", "2012-02-01 1"], &["a1"]);
        check(&coal("530402", "2012-04-30"), &["2011-12-31 3", "2012-02-01 1", "2012-03-01 0"], &["a1", "a2"]);
        check(&coal("530421", "2012-06-01"), &["2011-12-31 0", "2012-03-01 1", "2012-05-01 0"], &["a2r"]);
        let all = ["2011-12-31 3", "2012-02-01 1", "2012-03-01 0", "2012-05-01 4"];
        check(&coal("530402", "2012-06-01"), &all, &["a1", "a2", "a2r"]);
    }

    #[test]
    fn spans_that_join_cover_the_whole() {
        let check = |spans: &[(&str, &str)], is_covered: bool| {
            let mut facts = Facts::default();
            for (from, to) in spans {
                facts.cover("accident_deaths", day(from), day(to));
            }
            facts.cover("mine_closed", day("2010-01-01"), day("2014-12-31"));
            assert_eq!(facts.covers("accident_deaths", (day("2011-01-01"), day("2013-12-31"))), is_covered, "{spans:?}");
        };
        let (first, second, third) = (("2011-01-01", "2011-12-31"), ("2012-01-01", "2012-12-31"), ("2013-01-01", "2013-12-31"));
        check(&[first, second, third], true);
        check(&[third, first, second], true);
        check(&[first, third], false);
        check(&[first, ("2012-01-02", "2012-12-31"), third], false);
        check(&[first, ("2011-06-01", "2012-12-31"), ("2011-07-01", "2011-07-31"), third], true);
        check(&[first, second], false);
        check(&[second, third], false);
        check(&[("2010-01-01", "2014-12-31")], true);
        check(&[], false);
    }

    #[test]
    fn a_figure_is_of_what_was_known_and_remembers_what_was_said() {
        let rows = "\
a1,accident_deaths,2011-03-01,530402,coal,2,,,reported,
a1r,accident_deaths,2011-03-01,530402,non_coal_mine,3,2012-02-01,a1,reported,
g,gdp_100m_yuan,2011-12-31,5304,,10,2012-01-20,,reported,
g2,gdp_100m_yuan,2011-12-31,5304,,12,2012-10-01,g,reported,
";
        let facts = facts(rows);
        let known = |on: &str| told(&facts, "death_rate_per_100m_gdp", &Query { known_on: day(on), ..query("2011-12-31") });
        assert_eq!(known("2012-01-19"), "no_denominator: gdp_100m_yuan 2011-12-31");
        assert_eq!(known("2012-01-20"), "0.20");
        assert_eq!(known("2012-02-01"), "0.30");
        assert_eq!(known("2012-10-01"), "0.25");
        let rate = built_in().get("death_rate_per_100m_gdp").unwrap();
        let said = built_in().as_it_was_said(rate, &facts, &query("2011-12-31"));
        let said: Vec<_> = said.iter().map(|(on, figure)| format!("{on} {}", figure.shown)).collect();
        assert_eq!(said, ["2012-01-20 0.20", "2012-02-01 0.30", "2012-10-01 0.25"]);
        let figure = evaluate(&facts, "death_rate_per_100m_gdp", &query("2011-12-31")).unwrap();
        assert_eq!(figure.revised.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["a1", "g"]);
        let coal = Query { sectors: vec!["coal".to_owned()], ..query("2011-12-31") };
        assert_eq!(told(&facts, "accident_deaths", &coal), "0", "it was judged to be another sector's");
    }

    #[test]
    fn a_later_death_moves_the_total_of_its_year_within_the_window_alone() {
        use crate::accident::{self, Harm, Nature, Report};
        let report = |on: &str, deaths| Report { on: day(on), told_on: None, harm: Harm { deaths, ..Harm::default() } };
        let happened = day("2010-12-30");
        let reports = [report("2010-12-30", 2), report("2011-01-04", 3), report("2011-01-06", 3), report("2011-01-10", 4)];
        let steps = accident::built_in().trace(happened, Nature::Road, &reports).unwrap();
        let mut all = facts("");
        for row in of_accident("a", happened, "530402", "road_traffic", Mark::Reported, &steps) {
            all.add(row, built_in()).unwrap();
        }
        let known = |on: &str| told(&all, "accident_deaths", &Query { known_on: day(on), ..query("2010-12-31") });
        assert_eq!(["2010-12-31", "2011-01-03", "2011-01-04", "2011-02-01"].map(known), ["2", "2", "3", "3"]);
        assert_eq!(told(&all, "accident_deaths", &query("2011-12-31")), "0", "it stays in the year in which it happened");
        assert_eq!(all.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["a", "a-r1"]);
        let same_day = [report("2010-12-30", 2), report("2010-12-30", 1)];
        let steps = accident::built_in().trace(happened, Nature::Road, &same_day).unwrap();
        let rows = of_accident("b", happened, "530402", "road_traffic", Mark::Reported, &steps);
        assert_eq!(rows.iter().map(|row| row.value.to_string()).collect::<Vec<_>>(), ["1"]);
        let too_long = Fact { value: Decimal::from(100_000_000_000_000_u64), ..rows[0].clone() };
        assert!(all.add(too_long, built_in()).unwrap_err().to_string().contains("`value`"));
    }

    #[test]
    fn a_death_is_known_from_the_day_on_which_it_was_told() {
        use crate::accident::{self, Harm, Nature, Report};
        let report = |on: &str, told_on: &str, deaths| Report {
            on: day(on),
            told_on: (!told_on.is_empty()).then(|| day(told_on)),
            harm: Harm { deaths, ..Harm::default() },
        };
        let happened = day("2010-12-20");
        let check = |reports: &[Report], expected: &[(&str, u32)]| {
            let steps = accident::built_in().trace(happened, Nature::General, reports).unwrap();
            let rows = of_accident("a", happened, "530402", "coal", Mark::Reported, &steps);
            let mut facts = facts("");
            for row in &rows {
                facts.add(row.clone(), built_in()).unwrap();
            }
            let told: Vec<_> = rows.iter().map(|row| (row.known_on.to_string(), row.value.to_string())).collect();
            let expected: Vec<_> = expected.iter().map(|(on, deaths)| ((*on).to_owned(), deaths.to_string())).collect();
            assert_eq!(told, expected);
        };
        let first = report("2010-12-20", "", 2);
        check(&[first, report("2010-12-28", "2011-02-10", 3)], &[("2010-12-20", 2), ("2011-02-10", 3)]);
        // Told before it happened: known from its own day.
        check(&[first, report("2010-12-28", "2010-12-01", 3)], &[("2010-12-20", 2), ("2010-12-28", 3)]);
        // The letter about the earlier death comes last, and the later total stands.
        check(&[first, report("2010-12-28", "2011-02-10", 3), report("2011-01-05", "", 4)], &[("2010-12-20", 2), ("2011-01-05", 4)]);
        // Who died on an earlier day and was found later counts from then on.
        let found_later = [report("2010-12-20", "", 1), report("2010-12-28", "", 2), report("2010-12-26", "2010-12-30", 3)];
        check(&found_later, &[("2010-12-20", 1), ("2010-12-28", 2), ("2010-12-30", 3)]);
        // Behind the window; and what counts there is what was known then, not what a later letter adds.
        let behind = report("2011-03-01", "", 3);
        check(&[first, behind, report("2011-01-05", "2011-04-01", 3)], &[("2010-12-20", 2), ("2011-04-01", 3)]);
        // First heard of behind the window, then the letter about the day itself.
        check(&[behind, report("2010-12-20", "2011-05-01", 2)], &[("2011-03-01", 3), ("2011-05-01", 2)]);
    }

    #[test]
    fn goals_are_met_by_the_exact_figure_not_by_the_one_shown() {
        let rows = |gdp: &str| {
            format!("a,accident_deaths,2011-03-01,5304,,1408,,,reported,\ng,gdp_100m_yuan,2011-12-31,5304,,{gdp},,,reported,\n")
        };
        let check = |gdp: &str, shown: &str, order| {
            let facts = facts(&rows(gdp));
            let figure = evaluate(&facts, "death_rate_per_100m_gdp", &query("2011-12-31")).unwrap();
            assert_eq!((figure.shown.to_string().as_str(), figure.against(decimal("0.1408"))), (shown, Some(order)), "{gdp}");
        };
        check("10000", "0.14", Ordering::Equal);
        check("9999.9999", "0.14", Ordering::Greater);
        check("10000.0001", "0.14", Ordering::Less);
    }

    #[test]
    fn few_events_are_marked_below_the_number_of_the_pack() {
        let check = |deaths: u32, is_small: bool| {
            let facts = facts(&format!(
                "a,accident_deaths,2011-03-01,5304,,{deaths},,,reported,\ng,gdp_100m_yuan,2011-12-31,5304,,10,,,reported,\n"
            ));
            assert_eq!(evaluate(&facts, "death_rate_per_100m_gdp", &query("2011-12-31")).unwrap().is_small, is_small);
            assert!(!evaluate(&facts, "accident_deaths", &query("2011-12-31")).unwrap().is_small, "a count is what it is");
        };
        check(19, true);
        check(20, false);
        assert_eq!(built_in().small_count().below, 20);
    }

    #[test]
    fn a_drop_in_percent_is_of_the_figures_given() {
        let check = |from: &str, to: &str, expected: Option<&str>| {
            assert_eq!(drop_percent(decimal(from), decimal(to), 2).map(|d| d.to_string()).as_deref(), expected);
        };
        check("0.69", "0.22", Some("68.12"));
        check("18.12", "14.55", Some("19.70"));
        check("7.11", "2.36", Some("66.81"));
        check("1.34", "0", Some("100.00"));
        check("241", "161", Some("33.20"));
        check("1", "2", Some("-100.00"));
        check("0", "0", None);
    }

    #[test]
    fn facts_that_cannot_be_are_refused_with_the_field_named() {
        let check = |rows: &str, field: &str| {
            let error = Facts::parse(&format!("{COLUMNS}\n{ACCIDENTS}{rows}"), built_in()).unwrap_err().to_string();
            assert!(error.contains(&format!("`{field}`")), "{rows}: {error}");
        };
        check("a1,accident_deaths,2010-03-01,530402,coal,2,,,reported,", "id");
        check(",accident_deaths,2010-03-01,530402,coal,2,,,reported,", "id");
        check("b,deaths,2010-03-01,530402,coal,2,,,reported,", "source");
        check("b,accident_deaths,2010-02-30,530402,coal,2,,,reported,", "on");
        check("b,accident_deaths,2010-03-01,Yuxi,coal,2,,,reported,", "region");
        check("b,accident_deaths,2010-03-01,,coal,2,,,reported,", "region");
        check("b,accident_deaths,2010-03-01,530402,Coal,2,,,reported,", "sector");
        check("b,accident_deaths,2010-03-01,530402,coal,-2,,,reported,", "value");
        check("b,accident_deaths,2010-03-01,530402,coal,two,,,reported,", "value");
        check("b,accident_deaths,2010-03-01,530402,coal,2,2010-02-28,,reported,", "known_on");
        check("b,accident_deaths,2010-03-01,530402,coal,2,,,guessed,", "mark");
        check("b,accident_deaths,2010-03-01,530402,coal,2,,,reported", "note");
        check("b,accident_deaths,2010-03-01,530402,coal,2,,,reported,a,b", "note");
        check("b,gdp_100m_yuan,2010-06-30,5304,,2,,,reported,", "on");
        check("b,bodies,2010-06-30,5304,,2,,,reported,\nc,bodies,2010-06-30,5304,,3,2010-07-01,,reported,", "revises");
        check("b,accident_deaths,2010-03-01,530402,coal,2,2010-03-02,a9,reported,", "revises");
        check("b,accident_deaths,2010-03-02,530402,coal,2,2010-03-02,a1,reported,", "revises");
        check("b,accident_deaths,2010-03-01,530402,coalmine,2,,,reported,", "sector");
        check(
            "b,accident_deaths,2010-03-01,530402,coal,2,2010-03-05,a1,reported,\nc,accident_deaths,2010-03-01,530402,coal,2,2010-03-04,b,reported,",
            "known_on",
        );
        check(
            "b,accident_deaths,2010-03-01,530402,coal,2,2010-03-02,a1,reported,\nc,accident_deaths,2010-03-01,530402,coal,2,2010-03-03,a1,reported,",
            "revises",
        );
        // A slip is mended on the day on which it was made; the later row holds.
        let mended =
            Facts::parse(&format!("{COLUMNS}\n{ACCIDENTS}b,accident_deaths,2010-03-01,530402,coal,5,2010-03-01,a1,reported,"), built_in());
        assert_eq!(
            mended.unwrap().rows_of("accident_deaths", day("2010-03-01")).iter().map(|row| row.id.as_str()).collect::<Vec<_>>(),
            ["b"]
        );
        assert!(Facts::parse("id,source\n", built_in()).unwrap_err().to_string().contains("heading"));
    }

    #[test]
    fn a_table_that_contradicts_itself_is_refused() {
        let check = |from: &str, to: &str, word: &str| {
            assert!(BASE.contains(from), "{from}");
            let error = Indicators::parse(&BASE.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(word), "{from}: {error}");
        };
        check("denominator = { source = \"gdp_100m_yuan\" }\n", "", "`denominator`");
        check("source = \"gdp_100m_yuan\" }", "source = \"gdp\" }", "`denominator`");
        check("numerator = { source = \"mines\" }", "numerator = { source = \"mine\" }", "`numerator`");
        check("numerator = { source = \"mines\" }", "numerator = { source = \"mines\", count = true }", "`numerator`");
        check("kind = \"sum\"", "kind = \"count\"", "`numerator`");
        check("kind = \"sum\"", "kind = \"sum\"\nfactor = 10", "`factor`");
        check("kind = \"sum\"", "kind = \"sum\"\nfaktor = 10", "faktor");
        check("factor = 100000", "factor = 0", "`factor`");
        check("period = \"state\"", "period = \"plan\"", "`period`");
        check("period = \"plan\"", "period = \"state\"", "`period`");
        check("decimals = 2", "decimals = 7", "`decimals`");
        check("version = 1", "version = 0", "`version`");
        check("id = \"gdp_100m_yuan\"", "id = \"employees\"", "`id`");
        check("confidence = \"unverified\"", "confidence = \"\"", "`confidence`");
    }

    proptest! {
        #[test]
        fn comparing_is_as_exact_as_fractions(deaths in 0_u32..100_000, gdp in 1_u64..10_000_000_000, goal in 0_u32..99_999_999) {
            // Both in ten-thousandths.
            let facts = facts(&format!("a,accident_deaths,2011-03-01,5304,,{deaths},,,reported,\ng,gdp_100m_yuan,2011-12-31,5304,,{},,,reported,\n", Decimal::new(gdp as i64, 4)));
            let figure = evaluate(&facts, "death_rate_per_100m_gdp", &query("2011-12-31")).unwrap();
            let exact = (u128::from(deaths) * 100_000_000).cmp(&(u128::from(goal) * u128::from(gdp)));
            prop_assert_eq!(figure.against(Decimal::new(goal.into(), 4)), Some(exact));
        }

        #[test]
        fn no_text_ends_the_reader(text in "\\PC{0,200}", tail in "[a-z0-9,.\\-\n]{0,80}") {
            let _ = Facts::parse(&text, built_in());
            let _ = Facts::parse(&format!("{COLUMNS}\n{tail}"), built_in());
            let _ = Indicators::parse(&text);
        }

        #[test]
        fn counties_add_up_to_the_city(cases in prop::collection::vec((1_u32..4, 0_u32..5, 0_i64..365), 0..30)) {
            let rows: String = cases.iter().enumerate().map(|(i, (county, deaths, at))| {
                let on = day("2011-01-01").saturating_add(jiff::Span::new().days(*at));
                format!("a{i},accident_deaths,{on},53040{county},coal,{deaths},,,reported,\n")
            }).collect();
            let facts = facts(&rows);
            let of = |region: &str, id: &str| evaluate(&facts, id, &Query { region: region.to_owned(), ..query("2011-12-31") }).unwrap().numerator;
            for id in ["accident_deaths", "accident_count"] {
                let parts: Decimal = (1..4).map(|county| of(&format!("53040{county}"), id)).sum();
                prop_assert_eq!(parts, of("5304", id));
            }
        }
    }
}
