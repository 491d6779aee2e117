//! Accidents (生产安全事故): which class one is, how later casualties move it, and by when who must have told whom.
//!
//! The figures are a pack's (`packs/base/accidents.toml`); none stands here. Pure: numbers and instants in, class, trace and dues out. It never says
//! whose fault an accident was, and it knows no supplementary rule of a field (special equipment, railway, electric power): those of
//! [`Accidents::classify`] are the three numbers of the regulation alone. Start there, at [`Accidents::trace`] for what happens later, and at
//! [`Accidents::clock`] for the flash report (快报).

pub mod statistics;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::LazyLock;

use anlan_model::Timestamp;
use jiff::ToSpan as _;
use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::decimal;
use crate::pack::source::{Source, source};
use crate::pack::{PackError, is_word};

const FILE: &str = "accidents.toml";
/// Places of a loss in 万元: the sixth is the fen.
const LOSS_DECIMALS_MAX: u32 = 6;
/// 万元; more are taken for a wrong unit. Ours, no figure of the regulation.
const LOSS_WAN_YUAN_MAX: u32 = 100_000_000;
const MINUTE_US: i64 = 60_000_000;
/// People; more are taken for a mistake. Ours as well.
const PEOPLE_MAX: u32 = 1_000_000;

/// Who tells, and who is told (单位, 县, 市, 省, 国务院部门).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Desk {
    /// The unit where it happened.
    Enterprise,
    /// Bureau of the county.
    County,
    /// Bureau of the city with districts.
    City,
    /// Bureau of the province.
    Province,
    /// Departments of the State Council.
    State,
}

impl Desk {
    /// All, from below to above.
    pub const ALL: [Self; 5] = [Self::Enterprise, Self::County, Self::City, Self::Province, Self::State];

    /// The word in packs and on the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enterprise => "enterprise",
            Self::County => "county",
            Self::City => "city",
            Self::Province => "province",
            Self::State => "state",
        }
    }
}

/// One of the three numbers that make a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Criterion {
    /// 死亡人数.
    Deaths,
    /// 重伤人数, acute industrial poisoning among them.
    SeriousInjuries,
    /// 直接经济损失, 万元.
    DirectLoss,
}

impl Criterion {
    /// All, in the order of the regulation.
    pub const ALL: [Self; 3] = [Self::Deaths, Self::SeriousInjuries, Self::DirectLoss];

    /// Chinese name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deaths => "死亡人数",
            Self::SeriousInjuries => "重伤人数",
            Self::DirectLoss => "直接经济损失",
        }
    }
    /// English name.
    pub const fn name_en(self) -> &'static str {
        match self {
            Self::Deaths => "deaths",
            Self::SeriousInjuries => "serious injuries",
            Self::DirectLoss => "direct loss",
        }
    }
}

/// What an accident did, as totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Harm {
    /// People who died.
    pub deaths: u32,
    /// People seriously injured (or acutely poisoned) who live.
    pub serious_injuries: u32,
    /// 直接经济损失, 万元; `None` = not known yet.
    pub direct_loss_wan_yuan: Option<Decimal>,
}

/// A class of accidents (事故等级).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Class {
    /// 1 is the gravest.
    pub level: u8,
    /// Word.
    pub id: String,
    /// Chinese name.
    pub name: String,
    /// English name.
    pub name_en: String,
    /// So many deaths and more.
    pub deaths_from: u32,
    /// So many serious injuries and more.
    pub serious_injuries_from: u32,
    /// So much loss and more, 万元.
    #[serde(skip)]
    pub direct_loss_wan_yuan_from: Decimal,
    /// Up to whom it is reported, step by step.
    pub report_up_to: Desk,
    /// Whose government answers for the investigation.
    pub investigated_by: Desk,
    /// Days for the reply to the report of the investigation.
    pub reply_days: u16,
    /// Where it stands.
    pub source: Source,
}

impl Class {
    fn least(&self, criterion: Criterion) -> Decimal {
        match criterion {
            Criterion::Deaths => self.deaths_from.into(),
            Criterion::SeriousInjuries => self.serious_injuries_from.into(),
            Criterion::DirectLoss => self.direct_loss_wan_yuan_from,
        }
    }
}

/// What one of the numbers says alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// Which number.
    pub criterion: Criterion,
    /// As given; `None` = not known yet.
    #[serde(serialize_with = "decimal::as_number")]
    pub value: Option<Decimal>,
    /// Least of the band.
    #[serde(serialize_with = "decimal::as_number")]
    pub from: Option<Decimal>,
    /// First number above the band, which belongs to the next; `None` = no end.
    #[serde(serialize_with = "decimal::as_number")]
    pub below: Option<Decimal>,
    /// Level of that band; `None` while the number is not known.
    pub level: Option<u8>,
}

/// A class with what made it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Classified<'a> {
    /// The gravest class that a number reaches.
    pub class: &'a Class,
    /// The numbers that made it: those above zero whose band is that of the class. Empty = nothing above zero, so the lowest.
    pub by: Vec<Criterion>,
    /// Every number with its band.
    pub criteria: Vec<Judged>,
}

/// Which number cannot be meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HarmError {
    /// More people than can be meant.
    #[error("{} of more than {PEOPLE_MAX} people", .0.name_en())]
    People(Criterion),
    /// A negative loss, one in parts of a fen, or one that is too large.
    #[error("a direct loss is from 0 to {LOSS_WAN_YUAN_MAX} 万元 with at most {LOSS_DECIMALS_MAX} decimals")]
    Loss,
}

/// Which window holds for later casualties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nature {
    /// Any other.
    #[default]
    General,
    /// 道路交通事故.
    Road,
    /// 火灾事故.
    Fire,
}

/// What was known of the harm from a day on: totals, not additions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The day on which the numbers became so (of the death, not of the letter), Beijing.
    pub on: Date,
    /// The day on which it was told (of the letter), Beijing; `None` = the same day.
    pub told_on: Option<Date>,
    /// The numbers.
    pub harm: Harm,
}

/// One step of the life of a class.
#[derive(Clone, Debug, PartialEq)]
pub struct Step<'a> {
    /// The day.
    pub on: Date,
    /// The day from which it was known; never before `on`.
    pub told_on: Date,
    /// As reported.
    pub told: Harm,
    /// What counts for class and statistics: casualties behind the window do not.
    pub counted: Harm,
    /// The day lies within the window, so that its casualties count.
    pub is_within_window: bool,
    /// The casualties told on that day came behind the window and differ from what counts.
    pub is_behind_window: bool,
    /// The class from then on.
    pub classified: Classified<'a>,
    /// The class before, where this step changed it; `None` at the first and where nothing changed.
    pub was: Option<&'a Class>,
}

/// One desk's duty to tell the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// Whose duty.
    pub from: Desk,
    /// Whom to tell; telling anybody above instead fulfils it (art. 9 paragraph 2, art. 10 last paragraph).
    pub to: Desk,
    /// Minutes from hearing of it.
    pub within_min: u32,
    /// Where it stands.
    pub source: Source,
}

/// How a duty to tell stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Telling {
    /// The desk has not heard of it.
    NotBegun,
    /// Its time runs.
    Running,
    /// Told in time; the last instant counts.
    InTime,
    /// Told, too late.
    Late,
    /// Not told, and the time is over.
    Overdue,
}

/// A duty with its instants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due<'a> {
    /// Which duty.
    pub hop: &'a Hop,
    /// When the desk heard of it.
    pub heard_at: Option<Timestamp>,
    /// The last instant that is in time.
    pub due_at: Option<Timestamp>,
    /// When the next desk, or one above it, heard.
    pub told_at: Option<Timestamp>,
    /// How it stands.
    pub state: Telling,
}

/// Last days of what follows an accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Casualties until this day count and are reported further.
    pub casualties_until: Date,
    /// Report of the investigation.
    pub investigation_until: Date,
    /// The same with the longest extension that may be granted.
    pub investigation_extended_until: Date,
}

/// A kind of accident of GB 6441-2025.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccidentType {
    /// 1 by what did the harm, 2 by the harm.
    pub way: u8,
    /// Code.
    pub code: String,
    /// Chinese name.
    pub name: String,
    /// English name.
    pub name_en: String,
    /// Where it stands.
    pub source: Source,
}

/// Everything `accidents.toml` says.
#[derive(Clone, Debug)]
pub struct Accidents {
    /// The gravest first.
    classes: Vec<Class>,
    window: WindowRow,
    hops: Vec<Hop>,
    investigation: InvestigationRow,
    types: Vec<AccidentType>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    class: Vec<ClassRow>,
    window: WindowRow,
    hop: Vec<HopRow>,
    investigation: InvestigationRow,
    #[serde(default, rename = "type")]
    types: Vec<TypeRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassRow {
    level: u8,
    id: String,
    name: String,
    name_en: String,
    deaths_from: u32,
    serious_injuries_from: u32,
    #[serde(deserialize_with = "decimal::from_text")]
    direct_loss_wan_yuan_from: Decimal,
    report_up_to: Desk,
    investigated_by: Desk,
    reply_days: u16,
    standard: String,
    #[serde(default)]
    clause: String,
    #[serde(default)]
    effective: String,
    confidence: String,
    #[serde(default)]
    note: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowRow {
    days: u16,
    road_and_fire_days: u16,
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
struct HopRow {
    from: Desk,
    to: Desk,
    within_min: u32,
    standard: String,
    #[serde(default)]
    clause: String,
    #[serde(default)]
    effective: String,
    confidence: String,
    #[serde(default)]
    note: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InvestigationRow {
    report_days: u16,
    extension_days_max: u16,
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
struct TypeRow {
    way: u8,
    code: String,
    name: String,
    name_en: String,
    standard: String,
    #[serde(default)]
    clause: String,
    #[serde(default)]
    effective: String,
    confidence: String,
    #[serde(default)]
    note: String,
}

/// The rows of `packs/base`.
pub fn built_in() -> &'static Accidents {
    static ROWS: LazyLock<Accidents> = LazyLock::new(|| {
        Accidents::parse(include_str!("../../../packs/base/accidents.toml")).expect("a test reads the file that is compiled in")
    });
    &ROWS
}

impl Accidents {
    /// Reads a pack's `accidents.toml`.
    ///
    /// # Errors
    /// [`PackError`] naming row and field: an unknown key, bands that do not follow on each other, a chain of desks with a gap, a row without a source.
    pub fn parse(text: &str) -> Result<Self, PackError> {
        let file: File = toml::from_str(text).map_err(|e| PackError::Toml { file: FILE, message: e.to_string() })?;
        let classes = file.class.into_iter().map(Class::from).collect();
        let hops = file.hop.into_iter().map(|row| Hop { source: source!(row), from: row.from, to: row.to, within_min: row.within_min });
        let types = file.types.into_iter().map(|row| AccidentType {
            source: source!(row),
            way: row.way,
            code: row.code,
            name: row.name,
            name_en: row.name_en,
        });
        let rows = Self { classes, window: file.window, hops: hops.collect(), investigation: file.investigation, types: types.collect() };
        rows.check()?;
        Ok(rows)
    }

    fn check(&self) -> Result<(), PackError> {
        let wrong =
            |row: &str, field, reason: &str| Err(PackError::Row { file: FILE, row: row.to_owned(), field, reason: reason.to_owned() });
        let mut ids = BTreeSet::new();
        for (class, level) in self.classes.iter().zip(1..) {
            class.source.check(FILE, &class.id)?;
            if !is_word(&class.id, '_') || !ids.insert(class.id.as_str()) {
                return wrong(&class.id, "id", "is no word, or stands twice");
            }
            if class.level != level {
                return wrong(&class.id, "level", "does not count from 1, the gravest first");
            }
            if class.direct_loss_wan_yuan_from.is_sign_negative() && !class.direct_loss_wan_yuan_from.is_zero() {
                return wrong(&class.id, "direct_loss_wan_yuan_from", "is negative");
            }
        }
        if let Some(pair) = self.classes.windows(2).find(|pair| pair[0].report_up_to < pair[1].report_up_to) {
            return wrong(&pair[1].id, "report_up_to", "is above that of a graver class");
        }
        if let Some(class) = self.classes.iter().find(|class| class.report_up_to == Desk::Enterprise) {
            return wrong(&class.id, "report_up_to", "is nobody above the enterprise");
        }
        let Some(lowest) = self.classes.last() else { return wrong("", "class", "is missing: an accident is of some class") };
        for criterion in Criterion::ALL {
            let field = match criterion {
                Criterion::Deaths => "deaths_from",
                Criterion::SeriousInjuries => "serious_injuries_from",
                Criterion::DirectLoss => "direct_loss_wan_yuan_from",
            };
            if !lowest.least(criterion).is_zero() {
                return wrong(&lowest.id, field, "of the lowest class is not 0: an accident is of some class");
            }
            for pair in self.classes.windows(2) {
                if pair[0].least(criterion) <= pair[1].least(criterion) {
                    return wrong(&pair[0].id, field, "is not above that of the next class");
                }
            }
        }
        source!(self.window).check(FILE, "window")?;
        source!(self.investigation).check(FILE, "investigation")?;
        if self.window.days == 0 || self.window.road_and_fire_days == 0 {
            return wrong("window", "days", "is 0");
        }
        if self.investigation.report_days == 0 {
            return wrong("investigation", "report_days", "is 0");
        }
        for (hop, pair) in self.hops.iter().zip(Desk::ALL.windows(2)) {
            hop.source.check(FILE, hop.from.as_str())?;
            if [hop.from, hop.to] != *pair {
                return wrong(hop.from.as_str(), "to", "does not go from each desk to the next above");
            }
            if hop.within_min == 0 {
                return wrong(hop.from.as_str(), "within_min", "is 0");
            }
        }
        if self.hops.len() != Desk::ALL.len() - 1 {
            return wrong("hop", "from", "needs a row for each desk but the highest");
        }
        let mut codes = BTreeSet::new();
        for row in &self.types {
            row.source.check(FILE, &row.code)?;
            if row.code.is_empty() || !codes.insert(row.code.as_str()) {
                return wrong(&row.code, "code", "is missing, or stands twice");
            }
            if !(1..=2).contains(&row.way) {
                return wrong(&row.code, "way", "is not 1 or 2");
            }
        }
        Ok(())
    }

    /// Every class, the gravest first.
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// Kinds of accidents by GB 6441-2025.
    pub fn types(&self) -> &[AccidentType] {
        &self.types
    }

    /// Every duty to tell, from below to above.
    pub fn hops(&self) -> &[Hop] {
        &self.hops
    }

    /// The class of an accident (事故等级): the gravest that one of the three numbers reaches, with the numbers that reach it.
    ///
    /// Units: people, people, 万元. A loss that is not known yet makes no class.
    ///
    /// # Errors
    /// [`HarmError`] for a number that cannot be meant.
    ///
    /// Source: 生产安全事故报告和调查处理条例 (Order 493) art. 3; rows and clauses in the pack.
    pub fn classify(&self, harm: &Harm) -> Result<Classified<'_>, HarmError> {
        for (criterion, n) in [(Criterion::Deaths, harm.deaths), (Criterion::SeriousInjuries, harm.serious_injuries)] {
            if n > PEOPLE_MAX {
                return Err(HarmError::People(criterion));
            }
        }
        if let Some(loss) = harm.direct_loss_wan_yuan {
            let is_negative = loss.is_sign_negative() && !loss.is_zero();
            if is_negative || loss > LOSS_WAN_YUAN_MAX.into() || loss.normalize().scale() > LOSS_DECIMALS_MAX {
                return Err(HarmError::Loss);
            }
        }
        let criteria: Vec<Judged> = Criterion::ALL.into_iter().map(|criterion| self.judge(criterion, harm)).collect();
        // The lowest class begins at zero, so every number that is known has a band.
        let gravest = criteria.iter().filter_map(|judged| judged.level).min();
        let class = self.classes.iter().find(|class| Some(class.level) == gravest).unwrap_or(&self.classes[self.classes.len() - 1]);
        let made = |judged: &&Judged| judged.level == gravest && judged.value.is_some_and(|value| !value.is_zero());
        Ok(Classified { class, by: criteria.iter().filter(made).map(|judged| judged.criterion).collect(), criteria })
    }

    fn judge(&self, criterion: Criterion, harm: &Harm) -> Judged {
        let value = match criterion {
            Criterion::Deaths => Some(harm.deaths.into()),
            Criterion::SeriousInjuries => Some(harm.serious_injuries.into()),
            Criterion::DirectLoss => harm.direct_loss_wan_yuan,
        };
        let reached = value.and_then(|value| self.classes.iter().position(|class| value >= class.least(criterion)));
        let below = reached.and_then(|i| i.checked_sub(1)).map(|above| self.classes[above].least(criterion));
        let class = reached.map(|i| &self.classes[i]);
        Judged { criterion, value, from: class.map(|class| class.least(criterion)), below, level: class.map(|class| class.level) }
    }

    /// The last day on which later casualties count.
    ///
    /// Source: Order 493 art. 13 and 20; the day itself is not counted (the pack says how sure that is).
    pub fn casualties_until(&self, happened_on: Date, nature: Nature) -> Date {
        let days = match nature {
            Nature::General => self.window.days,
            Nature::Road | Nature::Fire => self.window.road_and_fire_days,
        };
        plus(happened_on, days)
    }

    /// How the class of an accident went: one step per report, in order of their days; reports of one day in the order given.
    ///
    /// A report that was told before one of an earlier day takes away nobody who was found since. One behind the window leaves the casualties that count as they were, and its loss is taken: the window speaks of casualties alone. A report
    /// dated before the accident is taken as of its day. Numbers may also fall, as where a person was counted twice.
    ///
    /// # Errors
    /// [`HarmError`] for a number that cannot be meant, with the index of its report.
    pub fn trace(&self, happened_on: Date, nature: Nature, reports: &[Report]) -> Result<Vec<Step<'_>>, (usize, HarmError)> {
        let until = self.casualties_until(happened_on, nature);
        let mut in_order: Vec<(usize, &Report)> = reports.iter().enumerate().collect();
        in_order.sort_by_key(|(i, report)| (report.on.max(happened_on), *i));
        let mut steps: Vec<Step<'_>> = Vec::with_capacity(reports.len());
        for (i, report) in in_order {
            self.classify(&report.harm).map_err(|error| (i, error))?;
            let last = steps.last();
            let on = report.on.max(happened_on);
            let told_on = report.told_on.unwrap_or(on).max(on);
            let mut counted = report.harm;
            // Somebody who died on an earlier day was found later: the report of a later day did not know of them.
            let is_overtaken = steps.iter().any(|step| step.told_on > told_on);
            if let Some(last) = last.filter(|last| is_overtaken && last.counted.deaths > counted.deaths) {
                (counted.deaths, counted.serious_injuries) = (last.counted.deaths, last.counted.serious_injuries);
            }
            // Of an accident first heard of behind its window, what was told counts: there is nothing before it.
            let mut is_behind_window = false;
            if let Some(last) = last.filter(|_| report.on > until) {
                (counted.deaths, counted.serious_injuries) = (last.counted.deaths, last.counted.serious_injuries);
                is_behind_window = (report.harm.deaths, report.harm.serious_injuries) != (counted.deaths, counted.serious_injuries);
            }
            counted.direct_loss_wan_yuan = report.harm.direct_loss_wan_yuan.or(last.and_then(|last| last.counted.direct_loss_wan_yuan));
            let classified = self.classify(&counted).map_err(|error| (i, error))?;
            let was = last.map(|last| last.classified.class).filter(|was| was.level != classified.class.level);
            steps.push(Step {
                on,
                told_on,
                told: report.harm,
                counted,
                is_within_window: report.on <= until,
                is_behind_window,
                classified,
                was,
            });
        }
        Ok(steps)
    }

    /// Who must tell whom by when, up to the desk that the class asks for, as of `now`.
    ///
    /// `heard` is when each desk heard of it; the unit's own instant is when its head did. A duty is fulfilled when the next desk or any above it
    /// hears (越级上报 is allowed); the last instant is in time.
    ///
    /// Source: Order 493 art. 9 to 11; minutes and clauses in the pack.
    pub fn clock(&self, class: &Class, heard: &BTreeMap<Desk, Timestamp>, now: Timestamp) -> Vec<Due<'_>> {
        let due = |hop: &'_ Hop| -> (Option<Timestamp>, Option<Timestamp>, Option<Timestamp>, Telling) {
            let heard_at = heard.get(&hop.from).copied().filter(|at| *at <= now);
            let told_at = heard.range(hop.to..).map(|(_, at)| *at).filter(|at| *at <= now).min();
            let due_at = heard_at.map(|at| at.plus_us(i64::from(hop.within_min) * MINUTE_US));
            // Those above knew it without this desk: it has nothing to tell.
            let state = due_at.map_or(Telling::NotBegun, |due_at| telling(due_at, told_at, now));
            (heard_at, due_at, told_at, state)
        };
        let owed = self.hops.iter().filter(|hop| hop.to <= class.report_up_to);
        owed.map(|hop| {
            let (heard_at, due_at, told_at, state) = due(hop);
            Due { hop, heard_at, due_at, told_at, state }
        })
        .collect()
    }

    /// The same of an accident whose class went as `steps` tell ([`Self::trace`]): whoever must tell further since a later report alone did not owe it
    /// before. A report has a day and no minute, so their time runs from the end of the day on which the class was told: a reading of ours, in favour of
    /// whoever tells. Empty without a step.
    ///
    /// Source: as [`Self::clock`], art. 13 for what is told later.
    pub fn clock_along(&self, steps: &[Step<'_>], heard: &BTreeMap<Desk, Timestamp>, now: Timestamp) -> Vec<Due<'_>> {
        let Some(last) = steps.last() else { return Vec::new() };
        let mut dues = self.clock(last.classified.class, heard, now);
        for due in &mut dues {
            let owes = |step: &&Step<'_>| step.classified.class.report_up_to >= due.hop.to;
            // The first of those that were told first.
            if steps.iter().min_by_key(|step| step.told_on).is_some_and(|first| owes(&first)) {
                continue;
            }
            let Some(owed_on) = steps.iter().filter(owes).map(|step| step.told_on).min() else { continue };
            let Some(heard_at) = due.heard_at.zip(day_is_over(owed_on)).map(|(heard, over)| heard.max(over)) else { continue };
            let due_at = heard_at.plus_us(i64::from(due.hop.within_min) * MINUTE_US);
            (due.heard_at, due.due_at) = (Some(heard_at), Some(due_at));
            due.state = telling(due_at, due.told_at, now);
        }
        dues
    }

    /// Last days of what follows.
    ///
    /// Source: Order 493 art. 13, 20 and 29.
    pub fn deadlines(&self, happened_on: Date, nature: Nature) -> Deadlines {
        let investigation_until = plus(happened_on, self.investigation.report_days);
        Deadlines {
            casualties_until: self.casualties_until(happened_on, nature),
            investigation_until,
            investigation_extended_until: plus(investigation_until, self.investigation.extension_days_max),
        }
    }

    /// Where the window for later casualties stands.
    pub fn window_source(&self) -> Source {
        source!(self.window)
    }
}

fn telling(due_at: Timestamp, told_at: Option<Timestamp>, now: Timestamp) -> Telling {
    match told_at {
        Some(told) if told <= due_at => Telling::InTime,
        Some(_) => Telling::Late,
        None if now <= due_at => Telling::Running,
        None => Telling::Overdue,
    }
}

/// When this day has ended in Beijing.
fn day_is_over(day: Date) -> Option<Timestamp> {
    let midnight = day.tomorrow().ok()?.to_datetime(jiff::civil::Time::midnight());
    let at = jiff::tz::offset(8).to_timestamp(midnight).ok()?;
    Some(Timestamp::from_micros(at.as_microsecond()))
}

/// The last day that a calendar knows instead of one behind it.
fn plus(day: Date, days: u16) -> Date {
    day.saturating_add(i32::from(days).days())
}

impl From<ClassRow> for Class {
    fn from(row: ClassRow) -> Self {
        Self {
            source: source!(row),
            level: row.level,
            id: row.id,
            name: row.name,
            name_en: row.name_en,
            deaths_from: row.deaths_from,
            serious_injuries_from: row.serious_injuries_from,
            direct_loss_wan_yuan_from: row.direct_loss_wan_yuan_from,
            report_up_to: row.report_up_to,
            investigated_by: row.investigated_by,
            reply_days: row.reply_days,
        }
    }
}

impl fmt::Display for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enterprise => "事故单位",
            Self::County => "县级",
            Self::City => "设区的市级",
            Self::Province => "省级",
            Self::State => "国务院有关部门",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: &str = include_str!("../../../packs/base/accidents.toml");

    fn harm(deaths: u32, serious_injuries: u32, loss: &str) -> Harm {
        let direct_loss_wan_yuan = (!loss.is_empty()).then(|| loss.parse().unwrap());
        Harm { deaths, serious_injuries, direct_loss_wan_yuan }
    }

    fn report(on: &str, deaths: u32, serious_injuries: u32, loss: &str) -> Report {
        Report { on: on.parse().unwrap(), told_on: None, harm: harm(deaths, serious_injuries, loss) }
    }

    #[test]
    fn at_most_one_duty_is_begun_and_open_whoever_heard() {
        let at = |n: i64| Timestamp::from_micros(n * MINUTE_US);
        for heard in 0_u32..32 {
            // Whoever is above may hear first.
            for order in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]] {
                let heard: BTreeMap<Desk, Timestamp> = Desk::ALL
                    .into_iter()
                    .zip(order)
                    .enumerate()
                    .filter(|(i, _)| heard >> i & 1 == 1)
                    .map(|(_, (desk, n))| (desk, at(n)))
                    .collect();
                for class in built_in().classes() {
                    let dues = built_in().clock(class, &heard, Timestamp::MAX);
                    let open = dues.iter().filter(|due| due.due_at.is_some() && due.told_at.is_none()).count();
                    assert!(open <= 1, "{heard:?} {}: {open}", class.id);
                }
            }
        }
    }

    #[test]
    fn bands_include_their_first_number_and_not_the_next() {
        use Criterion::{Deaths, DirectLoss, SeriousInjuries};
        let check = |deaths, serious, loss, id: &str, by: &[Criterion]| {
            let classified = built_in().classify(&harm(deaths, serious, loss)).unwrap();
            assert_eq!((classified.class.id.as_str(), classified.by.as_slice()), (id, by), "{deaths} {serious} {loss}");
        };
        check(1, 3, "120", "ordinary", &[Deaths, SeriousInjuries, DirectLoss]);
        check(2, 0, "", "ordinary", &[Deaths]);
        check(3, 0, "", "relatively_serious", &[Deaths]);
        check(9, 0, "0", "relatively_serious", &[Deaths]);
        check(10, 0, "", "serious", &[Deaths]);
        check(29, 0, "", "serious", &[Deaths]);
        check(30, 0, "", "especially_serious", &[Deaths]);
        check(0, 9, "", "ordinary", &[SeriousInjuries]);
        check(0, 10, "", "relatively_serious", &[SeriousInjuries]);
        check(0, 49, "", "relatively_serious", &[SeriousInjuries]);
        check(0, 50, "", "serious", &[SeriousInjuries]);
        check(0, 99, "", "serious", &[SeriousInjuries]);
        check(0, 100, "", "especially_serious", &[SeriousInjuries]);
        check(0, 0, "999.999999", "ordinary", &[DirectLoss]);
        check(0, 0, "1000", "relatively_serious", &[DirectLoss]); // 10 000 000 yuan
        check(0, 0, "1000.000000", "relatively_serious", &[DirectLoss]);
        check(0, 0, "4999.99", "relatively_serious", &[DirectLoss]);
        check(0, 0, "5000", "serious", &[DirectLoss]);
        check(0, 0, "9999.999999", "serious", &[DirectLoss]);
        check(0, 0, "10000", "especially_serious", &[DirectLoss]);
        // The worst of the three, by it alone; by two where both reach it.
        check(2, 12, "300", "relatively_serious", &[SeriousInjuries]);
        check(3, 10, "1000", "relatively_serious", &[Deaths, SeriousInjuries, DirectLoss]);
        check(2, 99, "10000", "especially_serious", &[DirectLoss]);
        check(0, 0, "", "ordinary", &[]);
        check(0, 0, "0", "ordinary", &[]);
    }

    #[test]
    fn what_is_said_of_each_number() {
        let classified = built_in().classify(&harm(4, 0, "")).unwrap();
        let told: Vec<_> = classified.criteria.iter().map(|j| (j.value, j.from, j.below, j.level)).collect();
        let n = |n: u32| Some(Decimal::from(n));
        assert_eq!(told, [(n(4), n(3), n(10), Some(3)), (n(0), n(0), n(10), Some(4)), (None, None, None, None)]);
        assert_eq!(classified.class.source.line(), "生产安全事故报告和调查处理条例（国务院令第493号） 第三条第一款第（三）项");
        assert_eq!((classified.class.report_up_to, classified.class.investigated_by), (Desk::Province, Desk::City));
        let gravest = built_in().classify(&harm(30, 0, "")).unwrap();
        assert_eq!(gravest.criteria[0].below, None);
    }

    #[test]
    fn numbers_that_cannot_be_meant_are_refused() {
        let check = |harm: Harm, error| assert_eq!(built_in().classify(&harm).unwrap_err(), error);
        check(harm(1_000_001, 0, ""), HarmError::People(Criterion::Deaths));
        check(harm(0, u32::MAX, ""), HarmError::People(Criterion::SeriousInjuries));
        check(harm(0, 0, "-0.01"), HarmError::Loss);
        check(harm(0, 0, "0.0000001"), HarmError::Loss);
        check(harm(0, 0, "100000000.01"), HarmError::Loss);
        assert!(built_in().classify(&harm(0, 0, "-0")).is_ok());
    }

    /// Steps as `day counted-deaths class was behind`.
    fn told(nature: Nature, reports: &[Report]) -> Vec<String> {
        let steps = built_in().trace("2026-03-01".parse().unwrap(), nature, reports).unwrap();
        let line = |step: Step<'_>| {
            let was = step.was.map_or("-", |class| &class.id);
            let by: Vec<_> = step.classified.by.iter().map(|c| c.name_en()).collect();
            format!(
                "{} {} {} was {was} by {} behind {}",
                step.on,
                step.counted.deaths,
                step.classified.class.id,
                by.join("+"),
                step.is_behind_window
            )
        };
        steps.into_iter().map(line).collect()
    }

    #[test]
    fn a_later_death_moves_the_class_within_its_window() {
        let first = report("2026-03-01", 2, 5, "");
        let last_day = report("2026-03-31", 3, 4, "");
        assert_eq!(
            told(Nature::General, &[last_day, first]),
            [
                "2026-03-01 2 ordinary was - by deaths+serious injuries behind false",
                "2026-03-31 3 relatively_serious was ordinary by deaths behind false",
            ]
        );
        let a_day_later = report("2026-04-01", 3, 4, "");
        assert_eq!(told(Nature::General, &[first, a_day_later])[1], "2026-04-01 2 ordinary was - by deaths+serious injuries behind true");
        for nature in [Nature::Road, Nature::Fire] {
            assert_eq!(
                told(nature, &[first, report("2026-03-08", 3, 4, "")])[1],
                "2026-03-08 3 relatively_serious was ordinary by deaths behind false"
            );
            assert_eq!(
                told(nature, &[first, report("2026-03-09", 3, 4, "")])[1],
                "2026-03-09 2 ordinary was - by deaths+serious injuries behind true"
            );
        }
    }

    #[test]
    fn a_loss_counts_whenever_it_is_known_and_a_correction_lowers() {
        let first = report("2026-03-01", 1, 0, "");
        let lines = told(Nature::Road, &[first, report("2026-05-20", 2, 0, "1000"), report("2026-06-01", 1, 0, "")]);
        assert_eq!(lines[1], "2026-05-20 1 relatively_serious was ordinary by direct loss behind true");
        assert_eq!(
            lines[2], "2026-06-01 1 relatively_serious was - by direct loss behind false",
            "a loss once known stays where none is told"
        );
        let lines = told(Nature::General, &[report("2026-03-01", 3, 0, ""), report("2026-03-02", 2, 0, "")]);
        assert_eq!(lines[1], "2026-03-02 2 ordinary was relatively_serious by deaths behind false");
        // First heard of behind the window: there is nothing that would count instead.
        assert_eq!(told(Nature::Road, &[report("2026-04-01", 3, 0, "")]), ["2026-04-01 3 relatively_serious was - by deaths behind false"]);
        let refused = built_in().trace("2026-03-01".parse().unwrap(), Nature::Road, &[first, report("2026-03-02", 1, 0, "-1")]);
        assert_eq!(refused.unwrap_err(), (1, HarmError::Loss));
    }

    #[test]
    fn the_clock_of_a_flash_report() {
        let at = |minute: i64| Timestamp::from_secs(minute * 60);
        let states = |class: &str, heard: &[(Desk, i64)], now: i64| {
            let class = built_in().classes().iter().find(|c| c.id == class).unwrap();
            let heard = heard.iter().map(|(desk, minute)| (*desk, at(*minute))).collect();
            built_in().clock(class, &heard, at(now)).into_iter().map(|due| (due.hop.from, due.state)).collect::<Vec<_>>()
        };
        use Desk::{City, County, Enterprise, Province};
        use Telling::{InTime, Late, NotBegun, Overdue, Running};
        assert_eq!(states("ordinary", &[(Enterprise, 0)], 60), [(Enterprise, Running), (County, NotBegun)]);
        assert_eq!(states("ordinary", &[(Enterprise, 0)], 61), [(Enterprise, Overdue), (County, NotBegun)]);
        assert_eq!(states("ordinary", &[(Enterprise, 0), (County, 60)], 60), [(Enterprise, InTime), (County, Running)]);
        assert_eq!(states("ordinary", &[(Enterprise, 0), (County, 61), (City, 181)], 500), [(Enterprise, Late), (County, InTime)]);
        assert_eq!(states("ordinary", &[(Enterprise, 0), (County, 61), (City, 182)], 500), [(Enterprise, Late), (County, Late)]);
        // What has not happened yet is not known.
        assert_eq!(states("ordinary", &[(Enterprise, 0), (County, 50)], 40), [(Enterprise, Running), (County, NotBegun)]);
        // The enterprise told the city itself: its duty is done, and the county had nothing to tell.
        let skipped = states("relatively_serious", &[(Enterprise, 0), (City, 30)], 100);
        assert_eq!(skipped, [(Enterprise, InTime), (County, NotBegun), (City, Running)]);
        let grave = states("especially_serious", &[(Enterprise, 0), (County, 10), (City, 20), (Province, 30)], 151);
        assert_eq!(grave, [(Enterprise, InTime), (County, InTime), (City, InTime), (Province, Overdue)]);
        assert_eq!(built_in().classes().iter().map(|c| states(&c.id, &[], 0).len()).collect::<Vec<_>>(), [4, 4, 3, 2]);
    }

    #[test]
    fn who_owes_it_since_a_later_report_has_his_time_from_then_on() {
        use Desk::{City, County, Enterprise, Province};
        let at = |text: &str| Timestamp::parse(&format!("2026-03-{text}+08:00")).unwrap();
        let heard = |province: Option<&str>| {
            let told = [(Enterprise, at("01T09:00:00")), (County, at("01T09:30:00")), (City, at("01T10:00:00"))];
            told.into_iter().chain(province.map(|told| (Province, at(told)))).collect::<BTreeMap<_, _>>()
        };
        let first = report("2026-03-01", 2, 0, "");
        let later = Report { told_on: Some("2026-03-20".parse().unwrap()), ..report("2026-03-19", 3, 0, "") };
        let check = |reports: &[Report], province: Option<&str>, now: &str, due: &str, state: Telling| {
            let steps = built_in().trace("2026-03-01".parse().unwrap(), Nature::General, reports).unwrap();
            let dues = built_in().clock_along(&steps, &heard(province), at(now));
            let last = dues.last().unwrap();
            assert_eq!((last.hop.from, last.due_at, last.state), (City, Some(at(due)), state), "{province:?} {now}");
        };
        let moved = [first, later];
        check(&moved, None, "21T02:00:00", "21T02:00:00", Telling::Running);
        check(&moved, None, "21T02:00:01", "21T02:00:00", Telling::Overdue);
        check(&moved, Some("21T02:00:00"), "25T00:00:00", "21T02:00:00", Telling::InTime);
        check(&moved, Some("21T02:00:01"), "25T00:00:00", "21T02:00:00", Telling::Late);
        // Of the class from the beginning: the two hours of the city, and a later report changes nothing of them.
        check(&[report("2026-03-01", 3, 0, ""), report("2026-03-02", 4, 0, "")], None, "01T12:00:01", "01T12:00:00", Telling::Overdue);
        // Of the same day as the first.
        check(&[first, report("2026-03-01", 3, 0, "")], None, "02T00:00:00", "02T02:00:00", Telling::Running);
        assert!(built_in().clock_along(&[], &heard(None), at("01T12:00:00")).is_empty());
    }

    #[test]
    fn last_days_follow_the_calendar() {
        let deadlines = built_in().deadlines("2026-12-31".parse().unwrap(), Nature::Fire);
        let days = [deadlines.casualties_until, deadlines.investigation_until, deadlines.investigation_extended_until];
        assert_eq!(days.map(|day| day.to_string()), ["2027-01-07", "2027-03-01", "2027-04-30"]);
        assert_eq!(built_in().deadlines(Date::MAX, Nature::General).investigation_until, Date::MAX);
    }

    #[test]
    fn the_kinds_of_gb_6441_are_there() {
        let n = |way| built_in().types().iter().filter(|row| row.way == way).count();
        assert_eq!((n(1), n(2)), (27, 4));
    }

    #[test]
    fn a_table_that_contradicts_itself_is_refused() {
        let check = |from: &str, to: &str, word: &str| {
            assert!(BASE.contains(from), "{from}");
            let error = Accidents::parse(&BASE.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        };
        check("deaths_from = 10\n", "deaths_from = 30\n", "`deaths_from`");
        check("deaths_from = 0\n", "deaths_from = 1\n", "`deaths_from`");
        check("wan_yuan_from = \"1000\"", "wan_yuan_from = \"5000\"", "`direct_loss_wan_yuan_from`");
        check("wan_yuan_from = \"1000\"", "wan_yuan_from = \"1e3\"", "1e3");
        check("wan_yuan_from = \"0\"", "wan_yuan_from = \"-1\"", "`direct_loss_wan_yuan_from`");
        check("level = 2", "level = 3", "`level`");
        check("id = \"serious\"", "id = \"ordinary\"", "`id`");
        check("id = \"serious\"", "id = \"serious\"\ndeath_from = 3", "death_from");
        check("within_min = 60", "within_min = 0", "`within_min`");
        check("\nto = \"city\"", "\nto = \"state\"", "`to`");
        check("report_up_to = \"city\"", "report_up_to = \"state\"", "`report_up_to`");
        check("report_up_to = \"city\"", "report_up_to = \"enterprise\"", "`report_up_to`");
        check("road_and_fire_days = 7", "road_and_fire_days = 0", "`days`");
        check("confidence = \"verified\"", "confidence = \"sure\"", "`confidence`");
        check("effective = \"2007-06-01\"", "effective = \"2007\"", "`effective`");
        check("code = \"WSA10002\"", "code = \"WSA10001\"", "`code`");
    }

    proptest! {
        #[test]
        fn more_harm_is_never_a_lower_class(
            deaths in 0_u32..40, serious in 0_u32..120, loss in 0_u32..12_000, more in (0_u32..40, 0_u32..120, 0_u32..12_000),
        ) {
            let level = |d, s, l: u32| built_in().classify(&harm(d, s, &l.to_string())).unwrap().class.level;
            let before = level(deaths, serious, loss);
            prop_assert!(level(deaths + more.0, serious + more.1, loss + more.2) <= before);
            // The worst of the three alone.
            prop_assert_eq!(before, level(deaths, 0, 0).min(level(0, serious, 0)).min(level(0, 0, loss)));
        }

        #[test]
        fn the_last_step_is_the_class_of_what_counts(days in prop::collection::vec((0_i64..90, 0_u32..40, 0_u32..60), 1..8), road: bool) {
            let happened: Date = "2026-03-01".parse().unwrap();
            let nature = if road { Nature::Road } else { Nature::General };
            let reports: Vec<Report> = days.iter().map(|(day, deaths, serious)| Report { on: happened.saturating_add(day.days()), told_on: None, harm: harm(*deaths, *serious, "") }).collect();
            let steps = built_in().trace(happened, nature, &reports).unwrap();
            let until = built_in().casualties_until(happened, nature);
            for pair in steps.windows(2) {
                prop_assert!(pair[0].on <= pair[1].on);
                prop_assert_eq!(pair[1].was.is_some(), pair[0].classified.class.level != pair[1].classified.class.level);
                if pair[1].on > until {
                    prop_assert_eq!(pair[1].counted.deaths, pair[0].counted.deaths);
                }
            }
            let last = steps.last().unwrap();
            prop_assert_eq!(last.classified.class, built_in().classify(&last.counted).unwrap().class);
        }
    }
}
