//! What presses, for who answers for a territory (领导页): the greatest risks, listed hazards by days over, and its divisions by stated counts.
//!
//! Nothing is weighed against anything else: each count ranks the divisions by itself, so that a rank goes down to the rows behind it. How targets stand
//! is [`crate::plan`]'s. Everything here is as of now, under the asker's scope, in a fixed number of questions. Start at [`get`].

use std::collections::{BTreeMap, BTreeSet};

use anlan_domain::networking::Missing;
use anlan_domain::register::begun_minute;
use anlan_model::{Alarm, AlarmState, Clock as _, Level, Permission, RegionCode, Scope, Timestamp};
use anlan_store::{AlarmFilter, Paging, RecordFilter, RecordRow, Relation};
use jiff::civil::{Date, DateTime};

use crate::App;
use crate::error::{AppError, Kind as Refusal};
use crate::networking::{self, MissingRow, Question};
use crate::{accident, record};

/// Rows of a part that are told; how many there are is told too.
const ROWS: usize = 20;
const ACCIDENT: &str = "accident";
const LISTED: &str = "listed_supervision";
const DANGER: &str = "hidden_danger";
/// The group of `networking.toml` whose silence presses.
const MAJOR_HAZARD: &str = "major_hazard";
/// Proposed is not listed.
const NOT_LISTED_YET: [&str; 2] = ["draft", "proposed"];

/// By what divisions are ranked; more is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Criterion {
    /// Deaths that count of accidents that happened this calendar year, out of their register.
    Deaths,
    /// Standing alarms of the highest level.
    RedAlarms,
    /// Enterprises with a major hazard that do not report in full, of all of them.
    SilentHazards,
    /// Listed hazards past the limit that was set for them, of those that are listed.
    ListedOver,
    /// Hidden dangers whose step is past its day, of those that are open.
    DangersOverdue,
}

impl Criterion {
    /// All, in the order in which they are shown: what harmed, what threatens, what was promised.
    pub const ALL: [Self; 5] = [Self::Deaths, Self::RedAlarms, Self::SilentHazards, Self::ListedOver, Self::DangersOverdue];
    /// The word on the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deaths => "deaths",
            Self::RedAlarms => "red_alarms",
            Self::SilentHazards => "silent_hazards",
            Self::ListedOver => "listed_over",
            Self::DangersOverdue => "dangers_overdue",
        }
    }
}

/// A count with its rank among the divisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measure {
    /// How many.
    pub n: u64,
    /// Of how many; `None` = it is of nothing.
    pub of: Option<u64>,
    /// 1 = the most; equal counts share a rank, and the next is as many places behind. `None` = there is none, so nothing to rank.
    pub rank: Option<usize>,
    /// Another division has the same count.
    pub is_tied: bool,
    /// So few that the difference to another division may be chance.
    pub is_small: bool,
}

/// A division directly below.
#[derive(Clone, Debug, PartialEq)]
pub struct Division {
    /// Its code.
    pub code: RegionCode,
    /// Its name.
    pub name: String,
    /// In the order of [`Criterion::ALL`]; `None` = not counted at this level.
    pub measures: [Option<Measure>; 5],
}

/// An accident of which somebody must be told, or whose step has a last day.
#[derive(Clone, Debug, PartialEq)]
pub struct Running {
    /// The record.
    pub row: RecordRow,
    /// Word of its class; empty = none yet.
    pub class: String,
    /// Until when the next level must be told, civil time; `None` = `due_on` of the record runs.
    pub tell_by: Option<DateTime>,
    /// That time is over.
    pub is_late: bool,
}

/// A listed hazard.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// The record.
    pub row: RecordRow,
    /// The last day that was set, or given later.
    pub due_on: Option<Date>,
    /// Days past that day; below zero = days left.
    pub days_over: Option<i32>,
    /// Percent done, as the enterprise reported.
    pub percent_done: Option<f64>,
}

/// Rows of a part, and how many there are.
#[derive(Clone, Debug, PartialEq)]
pub struct Part<T> {
    /// All of them.
    pub n: u64,
    /// The most pressing.
    pub rows: Vec<T>,
}

impl<T> Default for Part<T> {
    fn default() -> Self {
        Self { n: 0, rows: Vec::new() }
    }
}

impl<T> Part<T> {
    fn of(mut rows: Vec<T>) -> Self {
        let n = rows.len() as u64;
        rows.truncate(ROWS);
        Self { n, rows }
    }
}

/// Everything of the page that is of now.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaders {
    /// Domain time.
    pub now: Timestamp,
    /// Its civil day.
    pub today: Date,
    /// The territory.
    pub region: RegionCode,
    /// Its name.
    pub region_name: String,
    /// Standing alarms of the highest level, the newest first.
    pub red: Part<Alarm>,
    /// Enterprises with a major hazard that do not report in full.
    pub silent: Part<MissingRow>,
    /// Enterprises with a major hazard.
    pub hazards: u64,
    /// Accidents with a clock that runs: those late first, then by their time.
    pub running: Part<Running>,
    /// Listed hazards, the longest past their limit first.
    pub listed: Part<Listed>,
    /// Of those, past it.
    pub listed_over: u64,
    /// Hidden dangers that are open.
    pub dangers_open: u64,
    /// Of those, overdue.
    pub dangers_overdue: u64,
    /// Deaths of this year; `None` = there is no register of accidents.
    pub deaths: Option<u64>,
    /// Divisions that the asker sees whole, in order of codes.
    pub divisions: Vec<Division>,
    /// What is of none of the divisions below (the territory itself, a code that is no more), in the order of [`Criterion::ALL`]; without ranks.
    pub rest: [Option<Measure>; 5],
    /// Fewer than this is few.
    pub small_below: u32,
}

/// What presses in `region`, or in the asker's own territory.
///
/// # Errors
/// No permission to view, a fault of the store's.
pub async fn get(app: &App, scope: &Scope, region: Option<RegionCode>) -> Result<Leaders, AppError> {
    let scope = scope.with(Permission::View)?;
    let region = match region.or_else(|| own(&scope)) {
        Some(region) => region,
        None => of_node(app).await?,
    };
    let (now, today) = (app.clock.now(), app.today());
    let known = app.registry.get();
    let digits = networking::below(region.as_str().len());

    let standing = vec![AlarmState::Raised, AlarmState::Acknowledged];
    let red = AlarmFilter {
        states: standing,
        levels: vec![Level::Red],
        region: Some(region.clone()),
        historic: Some(false),
        ..Default::default()
    };
    let few = Paging { cursor: None, limit: ROWS as u32 };
    let red_rows = app.store.alarms(&scope, &red, &few).await?.items;
    let red_by = app.store.alarms_by_division(&scope, &region, digits, Level::Red).await?;

    let question = Question { group: Some(MAJOR_HAZARD.to_owned()), region: Some(region.clone()), sector: None };
    let reporting = if app.registers.load().networking().group(MAJOR_HAZARD).is_some() {
        networking::reporting(app, &scope, &question).await?
    } else {
        // A pack may have put another group in its place.
        Vec::new()
    };
    let listed = listed(app, &scope, &region, today).await?;
    let running = running(app, &scope, &region).await?;
    let dangers = app.store.open_by_division(&scope, &region, digits, DANGER, &today.to_string()).await?;
    let deaths = match accident::of_days(app, &scope, Some(region.clone()), &format!("{:04}-01-01", today.year()), &today.to_string()).await
    {
        Ok(statistics) => Some(statistics),
        Err(error) if error.kind == Refusal::NotFound => None,
        Err(error) => return Err(error),
    };

    let mut tally = Tally { digits, by: BTreeMap::new() };
    for (code, n) in &red_by {
        tally.add(code.as_ref().map(RegionCode::as_str), Criterion::RedAlarms, unsigned(*n), None);
    }
    for row in &reporting {
        tally.add(Some(row.enterprise.region.as_str()), Criterion::SilentHazards, u64::from(row.missing.is_some()), Some(1));
    }
    for one in &listed {
        let code = one.row.region.as_ref().map(RegionCode::as_str);
        tally.add(code, Criterion::ListedOver, u64::from(one.days_over.is_some_and(|days| days > 0)), Some(1));
    }
    for row in &dangers {
        let code = row.division.as_ref().map(RegionCode::as_str);
        tally.add(code, Criterion::DangersOverdue, unsigned(row.overdue), Some(unsigned(row.open)));
    }
    for (code, row) in deaths.iter().flat_map(|statistics| &statistics.by_region) {
        tally.add(Some(code.as_str()), Criterion::Deaths, row.deaths, None);
    }

    let small_below = anlan_domain::indicator::built_in().small_count().below;
    // Deaths are told apart by counties and what is above them.
    let has_deaths = deaths.is_some() && digits <= 6;
    let below = known.regions.directly_below(&region, today).filter(|below| scope.holds(None, Some(&below.code), None));
    let mut divisions: Vec<Division> = below
        .map(|below| {
            let measures = Criterion::ALL.map(|criterion| {
                let is_counted = criterion != Criterion::Deaths || has_deaths;
                is_counted.then(|| tally.measure(below.code.as_str(), criterion))
            });
            Division { code: below.code.clone(), name: below.name.clone(), measures }
        })
        .collect();
    rank(&mut divisions, small_below);
    let of_below: BTreeSet<&str> = known.regions.directly_below(&region, today).map(|below| below.code.as_str()).collect();
    let rest = Criterion::ALL.map(|criterion| {
        let is_counted = criterion != Criterion::Deaths || has_deaths;
        is_counted.then(|| tally.rest(&of_below, criterion))
    });

    let hazards = reporting.len() as u64;
    let silent = reporting.into_iter().filter_map(|row| {
        Some(MissingRow { enterprise: row.enterprise, region_name: row.region_name, missing: row.missing?, node_name: row.node_name })
    });
    Ok(Leaders {
        now,
        today,
        region_name: known.regions.get(&region).map_or_else(|| region.to_string(), |known| known.name.clone()),
        region,
        red: Part { n: red_by.iter().map(|(_, n)| unsigned(*n)).sum(), rows: red_rows },
        hazards,
        silent: Part::of(by_silence(silent.collect())),
        running: Part::of(running),
        listed_over: listed.iter().filter(|one| one.days_over.is_some_and(|days| days > 0)).count() as u64,
        listed: Part::of(listed),
        dangers_open: dangers.iter().map(|row| unsigned(row.open)).sum(),
        dangers_overdue: dangers.iter().map(|row| unsigned(row.overdue)).sum(),
        deaths: deaths.map(|statistics| statistics.total.deaths),
        divisions,
        rest,
        small_below,
    })
}

/// The one territory that the asker's grants name; `None` = none, or several.
fn own(scope: &Scope) -> Option<RegionCode> {
    let mut named = scope.grants.iter().map(|grant| grant.region.as_ref());
    let first = named.next()??;
    named.all(|region| region == Some(first)).then(|| first.clone())
}

/// The node's own territory.
async fn of_node(app: &App) -> Result<RegionCode, AppError> {
    let own = app.store.all_nodes().await?.into_iter().find(|node| node.relation == Relation::Own).and_then(|node| node.region);
    own.or_else(|| RegionCode::new(&app.settings.region)).ok_or_else(|| AppError::new(Refusal::Internal, "internal"))
}

/// What nobody heard for the longest first, then what was never heard.
fn by_silence(mut rows: Vec<MissingRow>) -> Vec<MissingRow> {
    let since = |row: &MissingRow| match row.missing {
        Missing::Silent(at) | Missing::NodeSilent(_, at) | Missing::PointsSilent(_, Some(at)) => (0, Some(at)),
        Missing::NeverHeard | Missing::NodeNever(_) => (1, None),
        _ => (2, None),
    };
    rows.sort_by_key(|row| (since(row), row.enterprise.id));
    rows
}

/// Listed hazards that are not delisted, the longest past their limit first; those without one last.
async fn listed(app: &App, scope: &Scope, region: &RegionCode, today: Date) -> Result<Vec<Listed>, AppError> {
    let rows = open_of(app, scope, region, LISTED).await?.into_iter().filter(|(row, _)| !NOT_LISTED_YET.contains(&row.state.as_str()));
    let mut listed: Vec<Listed> = rows
        .map(|(row, record)| {
            // The register's own limit: while it waits for acceptance the record's last day is that of the department.
            let due_on = record.date("due_on");
            let days_over = due_on.map(|due| (today - due).get_days());
            Listed { row, due_on, days_over, percent_done: record.number("percent_done") }
        })
        .collect();
    listed.sort_by_key(|one| (std::cmp::Reverse(one.days_over), one.row.id));
    Ok(listed)
}

/// Accidents whose clock runs: somebody is to be told, or the step of the record is past its day.
async fn running(app: &App, scope: &Scope, region: &RegionCode) -> Result<Vec<Running>, AppError> {
    let now = begun_minute(crate::clock::civil(app.clock.now()));
    let today = app.today().to_string();
    let mut running: Vec<Running> = Vec::new();
    for (row, record) in open_of(app, scope, region, ACCIDENT).await? {
        let tell_by = record.instant("tell_by");
        if tell_by.is_none() && row.due_on.is_none() {
            continue;
        }
        let is_late = row.is_late(&today) || tell_by.is_some_and(|by| by < now);
        running.push(Running { class: record.text("class").unwrap_or_default().to_owned(), row, tell_by, is_late });
    }
    // Minutes before days: who must be told within the hour does not wait behind a report that is due next month.
    running.sort_by_key(|one| (!one.is_late, one.tell_by.is_none(), one.tell_by, one.row.due_on.clone(), one.row.id));
    Ok(running)
}

/// Every open record of a register in a territory; none where that register is not on.
async fn open_of(
    app: &App,
    scope: &Scope,
    region: &RegionCode,
    kind: &str,
) -> Result<Vec<(RecordRow, anlan_domain::register::Record)>, AppError> {
    let Ok(kind) = app.registers.load().kind(kind) else { return Ok(Vec::new()) };
    let asked = RecordFilter { region: Some(region.clone()), is_open: Some(true), ..RecordFilter::default() };
    let (filter, mut paging, mut rows) = (record::of_kind(&kind, &asked), Paging::all(), Vec::new());
    loop {
        let page = app.store.records(scope, &kind.id, &filter, &paging).await?;
        for row in page.items {
            let read = record::read(&kind, &row)?;
            rows.push((row, read));
        }
        let Some(next) = page.next else { return Ok(rows) };
        paging.cursor = Some(next);
    }
}

/// Counts by division.
struct Tally {
    digits: usize,
    by: BTreeMap<(String, Criterion), (u64, Option<u64>)>,
}

impl Tally {
    fn add(&mut self, code: Option<&str>, criterion: Criterion, n: u64, of: Option<u64>) {
        let code = code.unwrap_or_default();
        let held = self.by.entry((code.get(..self.digits).unwrap_or(code).to_owned(), criterion)).or_default();
        held.0 += n;
        held.1 = of.map(|of| held.1.unwrap_or(0) + of);
    }

    fn measure(&self, code: &str, criterion: Criterion) -> Measure {
        self.sum(criterion, |key| key == code)
    }

    /// What is of none of these divisions.
    fn rest(&self, divisions: &BTreeSet<&str>, criterion: Criterion) -> Measure {
        self.sum(criterion, |key| !divisions.contains(key))
    }

    fn sum(&self, criterion: Criterion, is_of: impl Fn(&str) -> bool) -> Measure {
        let is_of_something = matches!(criterion, Criterion::SilentHazards | Criterion::ListedOver | Criterion::DangersOverdue);
        let counts = self.by.iter().filter(|((code, of), _)| *of == criterion && is_of(code)).map(|(_, count)| *count);
        let (n, of) = counts.fold((0, 0), |(n, all), (one, of)| (n + one, all + of.unwrap_or(0)));
        Measure { n, of: is_of_something.then_some(of), ..Measure::default() }
    }
}

/// Gives each count its rank among the divisions: the most first, equal counts the same.
fn rank(divisions: &mut [Division], small_below: u32) {
    for place in 0..Criterion::ALL.len() {
        let counts: Vec<u64> = divisions.iter().filter_map(|division| division.measures[place].map(|measure| measure.n)).collect();
        for measure in divisions.iter_mut().filter_map(|division| division.measures[place].as_mut()) {
            if measure.n == 0 {
                continue;
            }
            measure.rank = Some(1 + counts.iter().filter(|n| **n > measure.n).count());
            measure.is_tied = counts.iter().filter(|n| **n == measure.n).count() > 1;
            measure.is_small = measure.n < u64::from(small_below);
        }
    }
}

/// A count of rows; the database never answers a negative one.
fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_counts_share_a_rank_and_none_has_none() {
        let division = |code: &str, n: u64| Division {
            code: RegionCode::new(code).unwrap(),
            name: code.to_owned(),
            measures: [Some(Measure { n, ..Measure::default() }), None, None, None, None],
        };
        let mut all = [division("530402", 3), division("530403", 25), division("530422", 3), division("530423", 0), division("530424", 1)];
        rank(&mut all, 20);
        let told: Vec<_> = all.iter().map(|one| one.measures[0].unwrap()).map(|m| (m.rank, m.is_tied, m.is_small)).collect();
        assert_eq!(
            told,
            [(Some(2), true, true), (Some(1), false, false), (Some(2), true, true), (None, false, false), (Some(4), false, true)]
        );
    }
}
