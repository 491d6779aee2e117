//! A plan (规划) as a program: every target of a document with clause, owner, deadline and rule, and where it stands on any day.
//!
//! A plan is a pack's `plan.toml`; what is decided or vouched for later (yearly path, decomposition, adjustments, what is recorded completely) comes
//! as a [`Supplement`]. Pure: definitions and facts in, states with reasons out. It guesses nothing: a cut without a baseline, a part of zero and a
//! missing number each have their word, and an adjustment keeps what was before it. Start at [`Plan::parse`] and [`Plan::status`].

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::decimal;
use crate::indicator::{
    Fact, Facts, Figure, Indicator, Indicators, Kind, Mark, Missing, Period, Query, drop_percent, last_year_over, year_of,
};
use crate::pack::source::Source;
use crate::pack::{PackError, is_word};

const FILE: &str = "plan.toml";
const SUPPLEMENT: &str = "plan_supplement.toml";
/// Source of what a person found where nothing can be reckoned: 1 = it is so, 0 = it is not; the sector of its rows is the target's id in small letters.
pub const FINDING: &str = "finding";

/// What a target asks of its figure. The words are those of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// Not above.
    #[serde(rename = "<=")]
    AtMost,
    /// Not below.
    #[serde(rename = ">=")]
    AtLeast,
    /// Above what it was at the plan's beginning.
    #[serde(rename = "increase")]
    Increase,
    /// Less in each year than in the year before.
    #[serde(rename = "decreasing yearly")]
    DecreasingYearly,
    /// Words without a number: a person finds.
    #[serde(rename = "qualitative")]
    Qualitative,
    /// Something that is to be done: a person finds.
    #[serde(rename = "process")]
    Process,
}

impl Direction {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AtMost => "<=",
            Self::AtLeast => ">=",
            Self::Increase => "increase",
            Self::DecreasingYearly => "decreasing yearly",
            Self::Qualitative => "qualitative",
            Self::Process => "process",
        }
    }
}

/// Where a deadline or an owner is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Said in the sentence itself.
    Text,
    /// Said in a sentence before it, or a heading.
    Context,
    /// The last day of the plan, since the text names none.
    PlanEnd,
    /// Our reading.
    Assumed,
}

/// What a node of the tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// 章.
    Chapter,
    /// 任务.
    Task,
    /// 重点工程.
    Project,
}

/// A node of the tree: a heading of the document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its number in the document, such as `三（一）1`.
    pub id: String,
    /// The node above; empty = the plan.
    #[serde(default)]
    pub parent: String,
    /// What it is.
    pub kind: NodeKind,
    /// Heading.
    pub title: String,
}

/// How a path goes from baseline to goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathRule {
    /// The same step each year.
    Linear,
}

/// One target of the plan, as the document has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Its id.
    pub id: String,
    /// Heading it stands under.
    pub node: String,
    /// The words of the document that set it, as printed.
    pub quote: String,
    /// Chinese name.
    pub name: String,
    /// English name.
    pub name_en: String,
    /// Sector it is about.
    pub sector: String,
    /// Who answers for it.
    pub owner: String,
    /// Where that is from.
    pub owner_from: Origin,
    /// What it asks.
    pub direction: Direction,
    /// Unit of goal and figure; without one there is no figure.
    #[serde(default)]
    pub unit: Option<String>,
    /// Word of the indicator; without one a person finds.
    #[serde(default)]
    pub indicator: Option<String>,
    /// Sectors of the rows, where the indicator does not name its own.
    #[serde(default)]
    pub sectors: Vec<String>,
    /// Indicators that must go the same way.
    #[serde(default)]
    pub also: Vec<String>,
    /// The number to reach.
    #[serde(default, deserialize_with = "decimal::from_text_or_none", serialize_with = "decimal::as_number")]
    pub value: Option<Decimal>,
    /// Or a cut of the baseline, in percent.
    #[serde(default, deserialize_with = "decimal::from_text_or_none", serialize_with = "decimal::as_number")]
    pub drop_percent: Option<Decimal>,
    /// Figure at the beginning, as published.
    #[serde(default, deserialize_with = "decimal::from_text_or_none", serialize_with = "decimal::as_number")]
    pub baseline: Option<Decimal>,
    /// Year of the baseline; left out = the year before the plan.
    #[serde(default)]
    pub baseline_year: Option<i16>,
    /// Last day.
    pub deadline: Date,
    /// Where that is from.
    pub deadline_from: Origin,
    /// Yearly path where no supplement names one.
    #[serde(default)]
    pub path: Option<PathRule>,
    /// `verified`, `verified-secondary`, `product`, `unverified`: of the reading as a whole.
    pub confidence: String,
    /// What the text leaves open.
    #[serde(default)]
    pub note: String,
}

/// A figure that the document prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Word of the indicator.
    pub indicator: String,
    /// Of this year.
    pub year: i16,
    /// As printed, with its places.
    #[serde(deserialize_with = "decimal::from_text")]
    pub value: Decimal,
    /// Where it stands.
    pub clause: String,
}

/// A drop that the document prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedDrop {
    /// Word of the indicator.
    pub indicator: String,
    /// From this year.
    pub from: i16,
    /// To this.
    pub to: i16,
    /// As printed, with its places.
    #[serde(deserialize_with = "decimal::from_text")]
    pub percent: Decimal,
    /// Where it stands.
    pub clause: String,
}

/// A plan.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its word.
    pub id: String,
    /// Chinese name.
    pub name: String,
    /// English name.
    pub name_en: String,
    /// Code of its territory.
    pub region: String,
    /// First day.
    pub start: Date,
    /// Last day.
    pub end: Date,
    /// The document.
    pub source: Source,
    /// Headings, those above before those below.
    pub nodes: Vec<Node>,
    /// Targets in order of the document.
    pub targets: Vec<Target>,
    /// Figures it prints.
    pub published: Vec<Published>,
    /// Drops it prints.
    pub published_drops: Vec<PublishedDrop>,
    /// By target, in order of their days.
    paths: BTreeMap<String, Vec<PathPoint>>,
    /// By target and territory.
    parts: BTreeMap<String, BTreeMap<String, Part>>,
    /// In order of their days.
    adjustments: Vec<Adjustment>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    id: String,
    name: String,
    name_en: String,
    region: String,
    start: Date,
    end: Date,
    standard: String,
    #[serde(default)]
    clause: String,
    #[serde(default)]
    effective: String,
    confidence: String,
    #[serde(default)]
    note: String,
    node: Vec<Node>,
    target: Vec<Target>,
    #[serde(default)]
    published: Vec<Published>,
    #[serde(default)]
    published_drop: Vec<PublishedDrop>,
}

/// What is decided or vouched for beside the document.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Supplement {
    /// Yearly targets.
    #[serde(default, rename = "path")]
    pub paths: Vec<PathPoint>,
    /// Decomposition to territories below.
    #[serde(default, rename = "part")]
    pub parts: Vec<Part>,
    /// Changes that were approved.
    #[serde(default, rename = "adjustment")]
    pub adjustments: Vec<Adjustment>,
    /// Times in which every event of a source was recorded.
    #[serde(default)]
    pub covered: Vec<Covered>,
}

/// What a target asks by a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathPoint {
    /// Id of the target.
    pub target: String,
    /// By this day.
    pub on: Date,
    /// The number.
    #[serde(deserialize_with = "decimal::from_text", serialize_with = "decimal::one_as_number")]
    pub value: Decimal,
    /// Where it is from.
    pub mark: Mark,
    /// In force from this day on; left out = with the plan. An adjustment of number or deadline ends what was decided before it.
    #[serde(default)]
    pub decided_on: Option<Date>,
}

/// What a territory below is to reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Id of the target.
    pub target: String,
    /// Code of the territory.
    pub region: String,
    /// The number.
    #[serde(deserialize_with = "decimal::from_text", serialize_with = "decimal::one_as_number")]
    pub value: Decimal,
    /// Where it is from.
    pub mark: Mark,
}

/// An approved change of a target (规划调整). What it does not name stays; what was before it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adjustment {
    /// Id of the target.
    pub target: String,
    /// In force from this day on.
    pub decided_on: Date,
    /// Who approved it.
    pub by: String,
    /// Document.
    pub document: String,
    /// Why.
    pub reason: String,
    /// Where it is from.
    pub mark: Mark,
    /// Another number; takes the place of a cut.
    #[serde(default, deserialize_with = "decimal::from_text_or_none", serialize_with = "decimal::as_number")]
    pub value: Option<Decimal>,
    /// Another cut; takes the place of a number.
    #[serde(default, deserialize_with = "decimal::from_text_or_none", serialize_with = "decimal::as_number")]
    pub drop_percent: Option<Decimal>,
    /// Another baseline.
    #[serde(default, deserialize_with = "decimal::from_text_or_none", serialize_with = "decimal::as_number")]
    pub baseline: Option<Decimal>,
    /// Its year.
    #[serde(default)]
    pub baseline_year: Option<i16>,
    /// Another last day.
    #[serde(default)]
    pub deadline: Option<Date>,
}

/// A time in which every event of a source was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Covered {
    /// Word of the source.
    pub source: String,
    /// First day.
    pub from: Date,
    /// Last day.
    pub to: Date,
    /// Where that is from.
    pub mark: Mark,
}

/// What a target asks as it stands after its adjustments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Goal {
    /// The number to reach, where it is said.
    #[serde(serialize_with = "decimal::as_number")]
    pub value: Option<Decimal>,
    /// Or the cut, in percent.
    #[serde(serialize_with = "decimal::as_number")]
    pub drop_percent: Option<Decimal>,
    /// Figure at the beginning.
    #[serde(serialize_with = "decimal::as_number")]
    pub baseline: Option<Decimal>,
    /// Year of the baseline.
    pub baseline_year: i16,
    /// Last day.
    pub deadline: Date,
}

/// How a target stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// 已完成.
    Met,
    /// 按进度.
    OnPath,
    /// 落后于进度.
    OffPath,
    /// 未完成: the deadline is over.
    Missed,
    /// 无法计算, and the reason says why.
    CannotBeComputed,
}

impl State {
    /// All.
    pub const ALL: [Self; 5] = [Self::Met, Self::OnPath, Self::OffPath, Self::Missed, Self::CannotBeComputed];

    /// The word of the interface.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::OnPath => "on_path",
            Self::OffPath => "off_path",
            Self::Missed => "missed",
            Self::CannotBeComputed => "cannot_be_computed",
        }
    }

    /// Chinese name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Met => "已完成",
            Self::OnPath => "按进度",
            Self::OffPath => "落后",
            Self::Missed => "未完成",
            Self::CannotBeComputed => "无法计算",
        }
    }
}

/// Why a target stands as it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The figure reaches the goal.
    Reached,
    /// It does, and may cease to before the deadline.
    ReachedSoFar,
    /// It did after the deadline.
    ReachedLate,
    /// The deadline is over, and it does not.
    NotReached,
    /// The figure keeps to what the path asks by this day.
    WithinPath(Decimal, Date),
    /// It does not.
    BeyondPath(Decimal, Date),
    /// It fell in every year so far, or rose above the beginning.
    RightWay,
    /// This indicator did not go the way that is asked, in this year.
    WrongWay(String, i16),
    /// A person found that it is so.
    Found,
    /// A person found that it is not.
    FoundNot,
    /// The plan has not begun.
    NotBegun,
    /// It is not due yet, and no path says what is asked by now, or nothing is newer than the beginning.
    NotDue,
    /// The document names a cut and no baseline.
    NoBaseline,
    /// The baseline is zero: a cut of zero means nothing.
    BaseIsZero,
    /// Words without a number, and nobody has found yet.
    NoFinding,
    /// A number is missing.
    Missing(Missing),
}

impl Reason {
    /// The word on the API.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::ReachedSoFar => "reached_so_far",
            Self::ReachedLate => "reached_late",
            Self::NotReached => "not_reached",
            Self::WithinPath(..) => "within_path",
            Self::BeyondPath(..) => "beyond_path",
            Self::RightWay => "right_way",
            Self::WrongWay(..) => "wrong_way",
            Self::Found => "found",
            Self::FoundNot => "found_not",
            Self::NotBegun => "not_begun",
            Self::NotDue => "not_due",
            Self::NoBaseline => "no_baseline",
            Self::BaseIsZero => "base_is_zero",
            Self::NoFinding => "no_finding",
            Self::Missing(missing) => missing.as_str(),
        }
    }

    /// What stands behind the word: words of sources, numbers and days, no sentence. Empty = nothing.
    pub fn detail(&self) -> String {
        match self {
            Self::WithinPath(path, on) | Self::BeyondPath(path, on) => format!("{} {on}", path.normalize()),
            Self::WrongWay(indicator, year) => format!("{indicator} {year}"),
            Self::Missing(missing) => missing.to_string(),
            _ => String::new(),
        }
    }
}

/// `word`, or `word: detail`.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        let detail = self.detail();
        if detail.is_empty() { Ok(()) } else { write!(f, ": {detail}") }
    }
}

/// Where a target stands.
#[derive(Clone, Debug)]
pub struct TargetStatus<'a> {
    /// The target as the document has it.
    pub target: &'a Target,
    /// What it asks on that day.
    pub goal: Goal,
    /// The number to reach, cut worked out; `None` where there is none.
    pub goal_value: Option<Decimal>,
    /// What it asked before, the oldest first, with the adjustment that ended it.
    pub former: Vec<(Goal, &'a Adjustment)>,
    /// The figure, of the deadline or the day, whichever is earlier.
    pub figure: Option<Figure<'a>>,
    /// How it stands.
    pub state: State,
    /// Why.
    pub reason: Reason,
    /// The same figure as it was said before revisions, the oldest first; empty = never another.
    pub said_before: Vec<(Date, Decimal)>,
    /// The row of what a person found, where the state is by that.
    pub finding: Option<&'a Fact>,
}

/// A decomposition that does not meet the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shortfall {
    /// The sum of the parts against the goal.
    Sum {
        /// Id of the target.
        target: String,
        /// Of all parts.
        parts: Decimal,
        /// The goal.
        whole: Decimal,
    },
    /// A rate cannot be added: a part that asks less than the whole lets the whole fall short.
    Weaker {
        /// Id of the target.
        target: String,
        /// Territory.
        region: String,
        /// Its part.
        part: Decimal,
        /// The goal.
        whole: Decimal,
    },
}

/// Figures and drops that a document prints, each with the one that is reckoned; `None` = there is none.
#[derive(Clone, Debug)]
pub struct History<'a> {
    /// Figures.
    pub figures: Vec<(&'a Published, Option<Decimal>)>,
    /// Drops, in percent.
    pub drops: Vec<(&'a PublishedDrop, Option<Decimal>)>,
}

impl History<'_> {
    /// Whether all come out as printed.
    pub fn is_same(&self) -> bool {
        let figures = self.figures.iter().all(|(printed, value)| *value == Some(printed.value));
        figures && self.drops.iter().all(|(printed, percent)| *percent == Some(printed.percent))
    }
}

impl Supplement {
    /// Reads a `plan_supplement.toml`; whether it fits a plan, [`Plan::join`] says.
    ///
    /// # Errors
    /// [`PackError`] with line and field: an unknown key, a number that is no text, a day that is none.
    pub fn parse(text: &str) -> Result<Self, PackError> {
        toml::from_str(text).map_err(|e| PackError::Toml { file: SUPPLEMENT, message: e.to_string() })
    }

    /// Whether anything in it is made up.
    pub fn has_invented(&self) -> bool {
        let marks = self.paths.iter().map(|row| row.mark).chain(self.parts.iter().map(|row| row.mark));
        let mut marks = marks.chain(self.adjustments.iter().map(|row| row.mark)).chain(self.covered.iter().map(|row| row.mark));
        marks.any(|mark| mark == Mark::Invented)
    }
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sum { target, parts, whole } => write!(f, "{target}: the parts are {parts}, the whole is {whole}"),
            Self::Weaker { target, region, part, whole } => write!(f, "{target}: {region} is to reach {part}, the whole {whole}"),
        }
    }
}

fn wrong<T>(file: &'static str, row: &str, field: &'static str, reason: &str) -> Result<T, PackError> {
    Err(PackError::Row { file, row: row.to_owned(), field, reason: reason.to_owned() })
}

impl Plan {
    /// Reads a pack's `plan.toml`.
    ///
    /// # Errors
    /// [`PackError`] naming row and field: an unknown key, node or indicator, a goal that contradicts its direction, a deadline outside of the plan.
    pub fn parse(text: &str, indicators: &Indicators) -> Result<Self, PackError> {
        let file: File = toml::from_str(text).map_err(|e| PackError::Toml { file: FILE, message: e.to_string() })?;
        let plan = Self {
            source: crate::pack::source::source!(file),
            id: file.id,
            name: file.name,
            name_en: file.name_en,
            region: file.region,
            start: file.start,
            end: file.end,
            nodes: file.node,
            targets: file.target,
            published: file.published,
            published_drops: file.published_drop,
            paths: BTreeMap::new(),
            parts: BTreeMap::new(),
            adjustments: Vec::new(),
        };
        plan.check(indicators)?;
        Ok(plan)
    }

    fn check(&self, indicators: &Indicators) -> Result<(), PackError> {
        self.source.check(FILE, &self.id)?;
        if !is_word(&self.id, '-') || self.name.is_empty() || self.name_en.is_empty() {
            return wrong(FILE, &self.id, "id", "is no word, or a name is missing");
        }
        if self.region.is_empty() || !self.region.bytes().all(|b| b.is_ascii_digit()) {
            return wrong(FILE, &self.id, "region", "is no code of a division");
        }
        if self.end <= self.start {
            return wrong(FILE, &self.id, "end", "is not after the first day");
        }
        let mut nodes = BTreeSet::new();
        for node in &self.nodes {
            if node.id.is_empty() || node.title.is_empty() {
                return wrong(FILE, &node.id, "title", "or id is missing");
            }
            if !node.parent.is_empty() && !nodes.contains(node.parent.as_str()) {
                return wrong(FILE, &node.id, "parent", "names no node before it");
            }
            if !nodes.insert(node.id.as_str()) {
                return wrong(FILE, &node.id, "id", "stands twice");
            }
        }
        let mut ids = BTreeSet::new();
        for target in &self.targets {
            if target.id.is_empty() || !target.id.bytes().all(|b| b.is_ascii_alphanumeric()) || !ids.insert(target.id.as_str()) {
                return wrong(FILE, &target.id, "id", "is not letters and digits, or stands twice");
            }
            if !nodes.contains(target.node.as_str()) {
                return wrong(FILE, &target.id, "node", "is unknown");
            }
            self.check_target(target, indicators)?;
        }
        for published in &self.published {
            if indicators.get(&published.indicator).is_none() {
                return wrong(FILE, &published.indicator, "indicator", "is unknown");
            }
        }
        for drop in &self.published_drops {
            let year = |year| self.published.iter().any(|p| p.indicator == drop.indicator && p.year == year);
            if !year(drop.from) || !year(drop.to) {
                return wrong(FILE, &drop.indicator, "from", "or `to` is no published year");
            }
        }
        Ok(())
    }

    fn check_target(&self, target: &Target, indicators: &Indicators) -> Result<(), PackError> {
        let wrong = |field, reason: &str| wrong(FILE, &target.id, field, reason);
        for (field, text) in [
            ("quote", &target.quote),
            ("name", &target.name),
            ("name_en", &target.name_en),
            ("sector", &target.sector),
            ("owner", &target.owner),
        ] {
            if text.is_empty() {
                return wrong(field, "is missing");
            }
        }
        if !crate::pack::CONFIDENCES.contains(&target.confidence.as_str()) {
            return wrong("confidence", "is not verified, verified-secondary, product or unverified");
        }
        if target.deadline < self.start || target.deadline > self.end {
            return wrong("deadline", "is outside of the plan");
        }
        if target.deadline_from == Origin::PlanEnd && target.deadline != self.end {
            return wrong("deadline_from", "says the end of the plan, and the deadline is another day");
        }
        if target.sectors.iter().any(|sector| !indicators.has_sector(sector)) {
            return wrong("sectors", "names one that figures do not know");
        }
        if target.also.iter().any(|id| indicators.get(id).is_none()) {
            return wrong("also", "names an unknown indicator");
        }
        let indicator = match &target.indicator {
            None => None,
            Some(id) => match indicators.get(id) {
                None => return wrong("indicator", "is unknown"),
                Some(indicator) => Some(indicator),
            },
        };
        let has_goal = target.value.is_some() || target.drop_percent.is_some();
        if target.value.is_some() && target.drop_percent.is_some() {
            return wrong("drop_percent", "stands beside a value: which is meant?");
        }
        if target.drop_percent.is_some_and(|part| part <= Decimal::ZERO || part > Decimal::ONE_HUNDRED) {
            return wrong("drop_percent", "is not above 0 and at most 100");
        }
        match (target.direction, indicator) {
            (Direction::Qualitative | Direction::Process, Some(_)) => wrong("indicator", "belongs to a target that is reckoned"),
            (Direction::Qualitative | Direction::Process, None) if has_goal || target.unit.is_some() => {
                wrong("value", "or a unit belongs to a target that is reckoned")
            }
            (Direction::Qualitative | Direction::Process, None) => Ok(()),
            (_, None) => wrong("indicator", "is missing"),
            (Direction::AtMost | Direction::AtLeast, Some(_)) if !has_goal => wrong("value", "is missing, and so is a cut"),
            (Direction::AtLeast, Some(_)) if target.drop_percent.is_some() => wrong("drop_percent", "goes down, and the direction up"),
            (Direction::Increase | Direction::DecreasingYearly, Some(_)) if has_goal => wrong("value", "belongs to <= and >="),
            (Direction::DecreasingYearly, Some(indicator)) if indicator.period != Period::Year => {
                wrong("indicator", "is not of years, and each year is compared with the one before")
            }
            (_, Some(indicator)) if target.unit.as_ref() != Some(&indicator.unit) => wrong("unit", "is not that of the indicator"),
            _ => Ok(()),
        }
    }

    /// Takes in what was decided or vouched for beside the document; `facts` hears what is recorded completely.
    ///
    /// # Errors
    /// [`PackError`] naming row and field: an unknown key, target or source, a day outside of the plan, a territory that is not below the plan's,
    /// two numbers for one place.
    pub fn join(&mut self, supplement: &Supplement, facts: &mut Facts, indicators: &Indicators) -> Result<(), PackError> {
        let wrong = |row: &str, field, reason: &str| wrong(SUPPLEMENT, row, field, reason);
        let numbered = |plan: &Self, id: &str| {
            plan.targets.iter().any(|target| target.id == id && matches!(target.direction, Direction::AtMost | Direction::AtLeast))
        };
        for part in &supplement.parts {
            if !numbered(self, &part.target) {
                return wrong(&part.target, "target", "of a part is no target with a number");
            }
            if part.region == self.region || !part.region.starts_with(&self.region) || !part.region.bytes().all(|b| b.is_ascii_digit()) {
                return wrong(&part.target, "region", "is not below that of the plan");
            }
            let parts = self.parts.entry(part.target.clone()).or_default();
            if parts.contains_key(&part.region) {
                return wrong(&part.target, "region", "stands twice");
            }
            parts.insert(part.region.clone(), part.clone());
        }
        for adjustment in &supplement.adjustments {
            let Some(target) = self.targets.iter().find(|target| target.id == adjustment.target) else {
                return wrong(&adjustment.target, "target", "is unknown");
            };
            let of_number = adjustment.value.is_some() || adjustment.drop_percent.is_some() || adjustment.baseline.is_some();
            if of_number && !numbered(self, &target.id) {
                return wrong(&adjustment.target, "value", "belongs to a target with a number");
            }
            if adjustment.value.is_some() && adjustment.drop_percent.is_some() {
                return wrong(&adjustment.target, "drop_percent", "stands beside a value: which is meant?");
            }
            if target.direction == Direction::AtLeast && adjustment.drop_percent.is_some() {
                return wrong(&adjustment.target, "drop_percent", "goes down, and the direction up");
            }
            if adjustment.drop_percent.is_some_and(|part| part <= Decimal::ZERO || part > Decimal::ONE_HUNDRED) {
                return wrong(&adjustment.target, "drop_percent", "is not above 0 and at most 100");
            }
            if !of_number && adjustment.baseline_year.is_none() && adjustment.deadline.is_none() {
                return wrong(&adjustment.target, "value", "is missing: it changes nothing");
            }
            if adjustment.by.is_empty() || adjustment.document.is_empty() || adjustment.reason.is_empty() {
                return wrong(&adjustment.target, "by", "or document or reason is missing: who approved it, and why?");
            }
            if adjustment.decided_on < self.start || adjustment.deadline.is_some_and(|day| day < adjustment.decided_on) {
                return wrong(&adjustment.target, "decided_on", "is before the plan, or after the new deadline");
            }
            self.adjustments.push(adjustment.clone());
        }
        self.adjustments.sort_by_key(|adjustment| adjustment.decided_on);
        for point in &supplement.paths {
            if !numbered(self, &point.target) {
                return wrong(&point.target, "target", "of a path is no target with a number");
            }
            let adjusted = self.adjustments.iter().filter(|a| a.target == point.target).filter_map(|a| a.deadline).max();
            if point.on < self.start || point.on > adjusted.map_or(self.end, |deadline| deadline.max(self.end)) {
                return wrong(&point.target, "on", "is outside of the plan, and no adjustment reaches as far");
            }
            if point.decided_on.is_some_and(|day| day > point.on) {
                return wrong(&point.target, "decided_on", "is after the day by which it asks");
            }
            let points = self.paths.entry(point.target.clone()).or_default();
            if points.iter().any(|other| (other.on, other.decided_on) == (point.on, point.decided_on)) {
                return wrong(&point.target, "on", "stands twice");
            }
            points.push(point.clone());
            points.sort_by_key(|point| (point.on, point.decided_on));
        }
        for covered in &supplement.covered {
            if indicators.source(&covered.source).is_none() {
                return wrong(&covered.source, "source", "is unknown");
            }
            if covered.to < covered.from {
                return wrong(&covered.source, "to", "is before `from`");
            }
            facts.cover(&covered.source, covered.from, covered.to);
        }
        Ok(())
    }

    /// The target of this id.
    pub fn target(&self, id: &str) -> Option<&Target> {
        self.targets.iter().find(|target| target.id == id)
    }

    /// Numbers of territories below, of this target.
    pub fn parts(&self, target: &str) -> impl Iterator<Item = &Part> {
        self.parts.get(target).into_iter().flat_map(BTreeMap::values)
    }

    /// Decided points of the path that are in force on a day, in order of their days: those decided by then, and not before an adjustment of number or
    /// deadline. Of two for one day the later decision holds.
    pub fn path_points(&self, target: &Target, as_of: Date) -> Vec<&PathPoint> {
        let (goal, former) = self.goal(target, as_of);
        let next = former.iter().skip(1).map(|(goal, _)| goal).chain([&goal]);
        let is_other = |was: &Goal, is: &Goal| (was.number(), was.deadline) != (is.number(), is.deadline);
        let since = former.iter().zip(next).filter(|((was, _), is)| is_other(was, is)).map(|((_, by), _)| by.decided_on).last();
        let of_target = self.paths.get(&target.id).into_iter().flatten();
        let in_force = of_target.filter(|point| point.decided_on.is_none_or(|day| day <= as_of) && point.decided_on >= since);
        let by_day: BTreeMap<Date, &PathPoint> = in_force.map(|point| (point.on, point)).collect();
        by_day.into_values().collect()
    }

    /// What the path in force on a day asks by the end of a year, a linear one worked out; at the deadline the goal itself.
    pub fn asked_in(&self, target: &Target, indicators: &Indicators, year: i16, as_of: Date) -> Option<Decimal> {
        let indicator = indicators.get(target.indicator.as_ref()?)?;
        let (goal, _) = self.goal(target, as_of);
        let number = goal.number().ok().flatten()?;
        if goal.deadline.year() == year {
            return Some(number);
        }
        let (facts, day) = (Facts::default(), year_of(year).1);
        let judge = Judge { plan: self, indicators, facts: &facts, as_of, day, target };
        let asked = (day < goal.deadline).then(|| judge.path(indicator, number, &goal)).flatten();
        asked.filter(|(_, on)| on.year() == year).map(|(asked, _)| asked)
    }

    /// What the document prints of the years before it, beside what comes out of the rows known by a day.
    pub fn history<'a>(&'a self, indicators: &Indicators, facts: &Facts, known_on: Date) -> History<'a> {
        let reckoned = |id: &str, year: i16| -> Option<Decimal> {
            let query = Query {
                region: self.region.clone(),
                region_before: Vec::new(),
                sectors: Vec::new(),
                on: year_of(year).1,
                since: self.start,
                known_on,
                base_year: None,
            };
            Some(indicators.evaluate(indicators.get(id)?, facts, &query).ok()?.shown)
        };
        let figures = self.published.iter().map(|printed| (printed, reckoned(&printed.indicator, printed.year)));
        let drops = self.published_drops.iter().map(|printed| {
            let value = reckoned(&printed.indicator, printed.from).zip(reckoned(&printed.indicator, printed.to));
            (printed, value.and_then(|(from, to)| drop_percent(from, to, printed.percent.scale())))
        });
        History { figures: figures.collect(), drops: drops.collect() }
    }

    /// How each part stands on a day: its number, and its figure by the rows of that territory alone. `codes_before` tells which codes it had before.
    pub fn part_figures<'a>(
        &self,
        target: &Target,
        indicators: &Indicators,
        facts: &'a Facts,
        as_of: Date,
        codes_before: &dyn Fn(&str) -> Vec<String>,
    ) -> Vec<(&Part, Result<Figure<'a>, Missing>)> {
        let Some(indicator) = target.indicator.as_ref().and_then(|id| indicators.get(id)) else { return Vec::new() };
        let (goal, _) = self.goal(target, as_of);
        let judge = Judge { plan: self, indicators, facts, as_of, day: as_of.min(goal.deadline), target };
        let query = judge.query(judge.day, goal.baseline_year);
        let figure = |part: &Part| {
            indicators.evaluate(
                indicator,
                facts,
                &Query { region: part.region.clone(), region_before: codes_before(&part.region), ..query.clone() },
            )
        };
        self.parts(&target.id).map(|part| (part, figure(part))).collect()
    }

    /// Decompositions that do not meet the whole, as of a day. Only what can be added is added; of a rate, each part must ask as much as the whole.
    pub fn shortfalls(&self, indicators: &Indicators, as_of: Date) -> Vec<Shortfall> {
        let mut shortfalls = Vec::new();
        for (id, parts) in &self.parts {
            let Some(target) = self.target(id) else { continue };
            let (goal, _) = self.goal(target, as_of);
            let Ok(Some(whole)) = goal.number() else { continue };
            let falls_short = |part: Decimal| match target.direction {
                Direction::AtLeast => part < whole,
                _ => part > whole,
            };
            let kind = target.indicator.as_ref().and_then(|id| indicators.get(id)).map(|indicator| indicator.kind);
            if matches!(kind, Some(Kind::Count | Kind::Sum)) {
                let sum: Decimal = parts.values().map(|part| part.value).sum();
                if falls_short(sum) {
                    shortfalls.push(Shortfall::Sum { target: id.clone(), parts: sum, whole });
                }
            } else {
                let weak = parts.values().filter(|part| falls_short(part.value));
                shortfalls.extend(weak.map(|part| Shortfall::Weaker {
                    target: id.clone(),
                    region: part.region.clone(),
                    part: part.value,
                    whole,
                }));
            }
        }
        shortfalls
    }

    /// What a target asks on a day, and what it asked before.
    fn goal<'a>(&'a self, target: &Target, as_of: Date) -> (Goal, Vec<(Goal, &'a Adjustment)>) {
        let mut goal = Goal {
            value: target.value,
            drop_percent: target.drop_percent,
            baseline: target.baseline,
            baseline_year: target.baseline_year.unwrap_or_else(|| self.start.year() - 1),
            deadline: target.deadline,
        };
        let mut former = Vec::new();
        for adjustment in self.adjustments.iter().filter(|a| a.target == target.id && a.decided_on <= as_of) {
            former.push((goal.clone(), adjustment));
            if adjustment.value.is_some() || adjustment.drop_percent.is_some() {
                (goal.value, goal.drop_percent) = (adjustment.value, adjustment.drop_percent);
            }
            goal.baseline = adjustment.baseline.or(goal.baseline);
            goal.baseline_year = adjustment.baseline_year.unwrap_or(goal.baseline_year);
            goal.deadline = adjustment.deadline.unwrap_or(goal.deadline);
        }
        (goal, former)
    }

    /// Where every target stands at the end of a day, with what was known by then; in order of the document.
    pub fn status<'a>(&'a self, indicators: &Indicators, facts: &'a Facts, as_of: Date) -> Vec<TargetStatus<'a>> {
        self.targets.iter().map(|target| self.status_of(target, indicators, facts, as_of)).collect()
    }

    /// Where one target stands.
    pub fn status_of<'a>(&'a self, target: &'a Target, indicators: &Indicators, facts: &'a Facts, as_of: Date) -> TargetStatus<'a> {
        let (goal, former) = self.goal(target, as_of);
        let number = goal.number();
        let goal_value = number.as_ref().ok().copied().flatten();
        let mut status = TargetStatus {
            target,
            goal_value,
            former,
            figure: None,
            state: State::CannotBeComputed,
            reason: Reason::NotBegun,
            said_before: Vec::new(),
            finding: None,
            goal,
        };
        if as_of < self.start {
            return status;
        }
        let judge = Judge { plan: self, indicators, facts, as_of, day: as_of.min(status.goal.deadline), target };
        let Some(indicator) = target.indicator.as_ref().and_then(|id| indicators.get(id)) else {
            (status.state, status.reason, status.finding) = judge.found(status.goal.deadline);
            return status;
        };
        let query = judge.query(judge.day, status.goal.baseline_year);
        let figure = indicators.evaluate(indicator, facts, &query);
        if let Ok(figure) = &figure {
            let said = indicators.as_it_was_said(indicator, facts, &query);
            for (day, earlier) in said.iter().take(said.len().saturating_sub(1)) {
                if status.said_before.last().is_none_or(|(_, shown)| *shown != earlier.shown) {
                    status.said_before.push((*day, earlier.shown));
                }
            }
            // What reads the same is no other saying.
            while status.said_before.last().is_some_and(|(_, shown)| *shown == figure.shown) {
                status.said_before.pop();
            }
        }
        (status.state, status.reason) = match (number, &figure) {
            // What the document leaves open is said first: no number of ours would mend it.
            (Err(reason), _) => (State::CannotBeComputed, reason),
            (_, Err(Missing::BaseIsZero { .. })) => (State::CannotBeComputed, Reason::BaseIsZero),
            (_, Err(missing)) => (State::CannotBeComputed, Reason::Missing(missing.clone())),
            (Ok(number), Ok(figure)) => match (target.direction, number) {
                (Direction::DecreasingYearly, _) => judge.falling(indicator, &status.goal),
                (Direction::Increase, _) => judge.rising(indicator, figure, &status.goal),
                (_, Some(number)) => judge.number(indicator, figure, number, &status.goal),
                (_, None) => (State::CannotBeComputed, Reason::NoBaseline),
            },
        };
        status.figure = figure.ok();
        status
    }
}

impl Goal {
    /// The number to reach: as said, or the cut worked out of the baseline, exactly.
    fn number(&self) -> Result<Option<Decimal>, Reason> {
        let Some(part) = self.drop_percent else { return Ok(self.value) };
        let baseline = self.baseline.ok_or(Reason::NoBaseline)?;
        if baseline.is_zero() {
            return Err(Reason::BaseIsZero);
        }
        let rest = Decimal::ONE_HUNDRED - part;
        let number = baseline.checked_mul(rest).map(|product| product * Decimal::new(1, 2));
        number.map(|number| Some(number.normalize())).ok_or(Reason::Missing(Missing::Digits))
    }
}

/// One target on one day.
struct Judge<'a, 'b> {
    plan: &'b Plan,
    indicators: &'b Indicators,
    facts: &'a Facts,
    as_of: Date,
    /// The day or the deadline, whichever is earlier.
    day: Date,
    target: &'b Target,
}

impl<'a> Judge<'a, '_> {
    fn query(&self, on: Date, base_year: i16) -> Query {
        Query {
            region: self.plan.region.clone(),
            region_before: Vec::new(),
            sectors: self.target.sectors.clone(),
            on,
            since: self.plan.start,
            known_on: self.as_of,
            base_year: Some(base_year),
        }
    }

    fn is_over(&self, deadline: Date) -> bool {
        self.as_of >= deadline
    }

    /// What a person found, and the row that says so.
    fn found(&self, deadline: Date) -> (State, Reason, Option<&'a Fact>) {
        let of_target =
            |row: &&Fact| row.source == FINDING && row.sector == self.target.id.to_ascii_lowercase() && row.region == self.plan.region;
        // What was found before the plan was found of another.
        let of_target = |row: &&Fact| of_target(row) && row.on >= self.plan.start;
        let known: Vec<&'a Fact> = self.facts.iter().filter(of_target).filter(|row| row.known_on <= self.as_of).collect();
        let newest = |is_late| known.iter().copied().filter(|row| (row.on > deadline) == is_late).max_by_key(|row| (row.on, row.known_on));
        let (state, reason, row) = match (newest(false), newest(true)) {
            (Some(row), _) if !row.value.is_zero() => (State::Met, Reason::Found, row),
            // Of a day after the deadline: it was not so in time, as far as anybody found.
            (_, Some(row)) if !row.value.is_zero() => (State::Missed, Reason::ReachedLate, row),
            (_, Some(row)) => (State::Missed, Reason::FoundNot, row),
            (Some(row), None) if self.is_over(deadline) => (State::Missed, Reason::FoundNot, row),
            (Some(row), None) => (State::OffPath, Reason::FoundNot, row),
            (None, None) => return (State::CannotBeComputed, Reason::NoFinding, None),
        };
        (state, reason, Some(row))
    }

    fn number(&self, indicator: &Indicator, figure: &Figure<'_>, number: Decimal, goal: &Goal) -> (State, Reason) {
        let keeps_to = |figure: &Figure<'_>, number: Decimal| {
            figure.against(number).map(|order| match self.target.direction {
                Direction::AtLeast => order != Ordering::Less,
                _ => order != Ordering::Greater,
            })
        };
        let Some(is_reached) = keeps_to(figure, number) else {
            return (State::CannotBeComputed, Reason::Missing(Missing::Digits));
        };
        if self.is_over(goal.deadline) {
            if is_reached {
                return (State::Met, Reason::Reached);
            }
            // What came afterwards does not mend it, and is said.
            let now = (indicator.period != Period::Year)
                .then(|| self.indicators.evaluate(indicator, self.facts, &self.query(self.as_of, goal.baseline_year)).ok())
                .flatten();
            let is_late = now.is_some_and(|now| keeps_to(&now, number) == Some(true));
            return (State::Missed, if is_late { Reason::ReachedLate } else { Reason::NotReached });
        }
        // What is built or counted stays. A share falls again when its whole grows, a change turns, a ceiling is passed later, a year's rate rises.
        if is_reached && indicator.period != Period::Year {
            let stays = matches!(indicator.kind, Kind::Count | Kind::Sum) && self.target.direction == Direction::AtLeast;
            return if stays { (State::Met, Reason::Reached) } else { (State::OnPath, Reason::ReachedSoFar) };
        }
        match self.path(indicator, number, goal) {
            Some((asked, on)) => match keeps_to(figure, asked) {
                Some(true) => (State::OnPath, Reason::WithinPath(asked, on)),
                Some(false) => (State::OffPath, Reason::BeyondPath(asked, on)),
                None => (State::CannotBeComputed, Reason::Missing(Missing::Digits)),
            },
            None if is_reached => (State::OnPath, Reason::ReachedSoFar),
            None => (State::CannotBeComputed, Reason::NotDue),
        }
    }

    /// What is asked by now: the newest point of the decided path, else the linear path at the end of the last year.
    fn path(&self, indicator: &Indicator, number: Decimal, goal: &Goal) -> Option<(Decimal, Date)> {
        let (_, year_end) = year_of(last_year_over(self.day));
        let until = if indicator.period == Period::Year { year_end } else { self.day };
        let points = self.plan.path_points(self.target, self.as_of);
        if !points.is_empty() {
            return points.iter().rfind(|point| point.on <= until).map(|point| (point.value, point.on));
        }
        self.target.path?;
        // A change begins at none.
        let is_change = matches!(indicator.kind, Kind::Change | Kind::Drop);
        let baseline = if is_change { Decimal::ZERO } else { goal.baseline? };
        let years = i64::from(goal.deadline.year()) - i64::from(goal.baseline_year);
        let gone = (i64::from(year_end.year()) - i64::from(goal.baseline_year)).min(years.max(0));
        if gone <= 0 {
            // Nothing is asked by the end of the year of the baseline, whose exact figure may lie above the printed one.
            return None;
        }
        let step = number.checked_sub(baseline)?.checked_mul(gone.into())?.checked_div(years.into())?;
        Some((baseline.checked_add(step)?, year_end))
    }

    /// Every year less than the one before.
    fn falling(&self, indicator: &Indicator, goal: &Goal) -> (State, Reason) {
        let last = last_year_over(self.day);
        let first = self.plan.start.year();
        if last < first {
            return (State::CannotBeComputed, Reason::NotDue);
        }
        let also = self.target.also.iter().filter_map(|id| self.indicators.get(id));
        for one in std::iter::once(indicator).chain(also) {
            let of_year = |year: i16| {
                let (_, on) = year_of(year);
                self.indicators.evaluate(one, self.facts, &self.query(on, goal.baseline_year))
            };
            // The year before the plan as the document prints it, where it does.
            let printed = goal.baseline.filter(|_| one.id == indicator.id);
            for year in first..=last {
                let now = match of_year(year) {
                    Ok(now) => now,
                    Err(missing) => return (State::CannotBeComputed, Reason::Missing(missing)),
                };
                let is_less = match (printed.filter(|_| year == first), of_year(year - 1)) {
                    (Some(before), _) => now.against(before) == Some(Ordering::Less),
                    (None, Ok(before)) => less(&now, &before),
                    (None, Err(missing)) => return (State::CannotBeComputed, Reason::Missing(missing)),
                };
                if !is_less {
                    let state = if self.is_over(goal.deadline) { State::Missed } else { State::OffPath };
                    return (state, Reason::WrongWay(one.id.clone(), year));
                }
            }
        }
        (if self.is_over(goal.deadline) { State::Met } else { State::OnPath }, Reason::RightWay)
    }

    /// More than at the beginning.
    fn rising(&self, indicator: &Indicator, figure: &Figure<'_>, goal: &Goal) -> (State, Reason) {
        let (_, base_day) = year_of(goal.baseline_year);
        let newest = figure.rows.iter().chain(&figure.rows_below).map(|row| row.on).max();
        let told_of = match indicator.period {
            Period::Year => figure.of.1,
            Period::Plan => newest.unwrap_or(self.day),
            Period::State => newest.unwrap_or(base_day),
        };
        let is_begun = match indicator.period {
            Period::Plan => !figure.numerator.is_zero(),
            // The row of the beginning is not more than itself: nothing can be compared until a newer one is there.
            _ => told_of > base_day,
        };
        match (is_begun, self.is_over(goal.deadline), indicator.period) {
            (true, ..) | (_, true, Period::Plan) => {}
            (false, false, _) => return (State::CannotBeComputed, Reason::NotDue),
            (false, true, _) => {
                let (source, on) = (indicator.numerator.source.clone(), self.day);
                return (State::CannotBeComputed, Reason::Missing(Missing::Numerator { source, sector: String::new(), on }));
            }
        }
        let is_more = if indicator.period == Period::Plan {
            // It is counted from the first day: it began at nothing.
            figure.against(Decimal::ZERO) == Some(Ordering::Greater)
        } else if let Some(baseline) = goal.baseline {
            figure.against(baseline) == Some(Ordering::Greater)
        } else {
            match self.indicators.evaluate(indicator, self.facts, &self.query(base_day, goal.baseline_year)) {
                Ok(base) => less(&base, figure),
                Err(_) => return (State::CannotBeComputed, Reason::NoBaseline),
            }
        };
        match (is_more, self.is_over(goal.deadline)) {
            (true, true) => (State::Met, Reason::RightWay),
            (true, false) => (State::OnPath, Reason::RightWay),
            (false, true) => (State::Missed, Reason::WrongWay(indicator.id.clone(), told_of.year())),
            (false, false) => (State::OffPath, Reason::WrongWay(indicator.id.clone(), told_of.year())),
        }
    }
}

/// Exactly less, by cross-multiplication; of digits that do not suffice, by what is shown.
fn less(a: &Figure<'_>, b: &Figure<'_>) -> bool {
    let left = a.numerator.checked_mul(a.factor).and_then(|n| n.checked_mul(b.denominator));
    let right = b.numerator.checked_mul(b.factor).and_then(|n| n.checked_mul(a.denominator));
    left.zip(right).map_or(a.shown < b.shown, |(left, right)| left < right)
}
