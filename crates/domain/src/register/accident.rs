//! Fields that show what an accident is and who told whom of it: what stands in a record as [`Report`]s and instants, what
//! [`crate::accident`] says of them as values. Pure; no figure stands here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anlan_model::Timestamp;
use jiff::civil::{Date, DateTime};
use rust_decimal::Decimal;

use super::kind::{AccidentShows, Compute, Field, FieldType, Kind, TellingShows};
use super::{Content, FieldFault, Record, Refused, Value, begun_minute};
use crate::accident::{Criterion, Desk, Due, Harm, HarmError, Nature, Report, Step, Telling, built_in};
use crate::indicator::{Fact, Mark, of_accident, withdrawn};

/// Columns of a table of what was told: word, and the unit of a number; `None` = a date.
pub(super) const COLUMNS: [(&str, Option<&str>); 5] =
    [("told_on", None), ("on", None), ("deaths", Some("人")), ("serious_injuries", Some("人")), ("direct_loss_wan", Some("万元"))];
/// Words of the natures of [`Nature`].
const NATURES: [&str; 3] = ["general", "road", "fire"];
/// Words of [`AccidentShows::Reclassed`].
const RECLASSED: [&str; 3] = ["no", "up", "down"];
/// Words of [`TellingShows::Late`].
const LATE: [&str; 4] = ["none", "enterprise", "department", "both"];
/// Words of a duty in [`TellingShows::Hops`].
const HOP_STATES: [&str; 4] = ["not_begun", "not_told", "in_time", "late"];
/// Not told, and its time is over; a column that does not have it says `not_told`.
const OVERDUE: &str = "overdue";
/// Words of a row of [`AccidentShows::Trace`].
const COUNTS: [&str; 2] = ["counts", "behind_window"];

/// A column of a computed table.
#[derive(Clone, Copy)]
enum Column {
    Date,
    Instant,
    Text,
    Number(&'static str),
    /// A choice that has these words.
    Words(&'static [&'static str]),
    Class,
    Desk,
}

const TRACE: [(&str, Column); 12] = [
    ("told_on", Column::Date),
    ("on", Column::Date),
    ("told_deaths", Column::Number("人")),
    ("told_serious_injuries", Column::Number("人")),
    ("told_loss_wan", Column::Number("万元")),
    ("window", Column::Words(&COUNTS)),
    ("deaths", Column::Number("人")),
    ("serious_injuries", Column::Number("人")),
    ("direct_loss_wan", Column::Number("万元")),
    ("class", Column::Class),
    ("was", Column::Class),
    ("by", Column::Text),
];
const HOPS: [(&str, Column); 8] = [
    ("from", Column::Desk),
    ("to", Column::Desk),
    ("heard_at", Column::Instant),
    ("due_at", Column::Instant),
    ("told_at", Column::Instant),
    ("state", Column::Words(&HOP_STATES)),
    ("late_min", Column::Number("min")),
    ("clause", Column::Text),
];

/// Why what was told tells of no accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unmeant {
    /// No whole number of people.
    People,
    /// A loss that cannot be.
    Loss,
    /// The day is before that of the accident.
    Before,
    /// It was told before the day of which it speaks.
    ToldBefore,
    /// The day is still to come.
    Future,
}

impl Unmeant {
    /// In words, Chinese.
    pub fn in_chinese(self) -> String {
        match self {
            Self::People => "人数须为 0 至 1000000 的整数",
            Self::Loss => "直接经济损失须在 0 至 1 亿万元之间，最多六位小数（万元）",
            Self::Before => "截至日期不能早于事故发生日期",
            Self::ToldBefore => "报告日期不能早于数据的截至日期",
            Self::Future => "日期不能晚于今天",
        }
        .to_owned()
    }
}

impl fmt::Display for Unmeant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::People => "people are whole numbers from 0 to 1000000",
            Self::Loss => "a direct loss is from 0 to 100 million 万元 with at most six decimals",
            Self::Before => "the day is before that of the accident",
            Self::ToldBefore => "it was told before the day of which it speaks",
            Self::Future => "the day is still to come",
        })
    }
}

/// What was told of an accident.
struct Told {
    happened_on: Date,
    nature: Nature,
    reports: Vec<Report>,
}

/// What stands in the record; `None` while there is nothing to tell of.
///
/// # Errors
/// Everything that cannot be meant, each at its cell.
fn of(toll: &str, happened: &str, nature: &str, record: &Record) -> Result<Option<Told>, Vec<Refused>> {
    let Some(Value::Table(rows)) = record.fields.get(toll) else { return Ok(None) };
    let nature = match record.text(nature) {
        Some("general") => Nature::General,
        Some("road") => Nature::Road,
        Some("fire") => Nature::Fire,
        _ => return Ok(None),
    };
    let Some(happened_on) = record.date(happened) else { return Ok(None) };
    let mut refused = Vec::new();
    let mut reports = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        let mut wrong = |column: &str, what: Option<Unmeant>| {
            let path = format!("{toll}[{i}].{column}");
            refused.push(match what {
                None => Refused::Field(path, FieldFault::Missing),
                Some(what) => Refused::Content(path, Content::Accident(what)),
            });
        };
        let day = |column: &str| match row.get(column) {
            Some(Value::Date(day)) => Some(*day),
            _ => None,
        };
        let number = |column: &str| match row.get(column) {
            Some(Value::Number(n)) => Some(*n),
            _ => None,
        };
        let (on, told_on) = (day("on"), day("told_on"));
        for (column, day) in [("on", on), ("told_on", told_on)] {
            if day.is_none() {
                wrong(column, None);
            }
        }
        if on.is_some_and(|on| on < happened_on) {
            wrong("on", Some(Unmeant::Before));
        }
        if on.zip(told_on).is_some_and(|(on, told_on)| told_on < on) {
            wrong("told_on", Some(Unmeant::ToldBefore));
        }
        let mut people = [0_u32; 2];
        for (n, column) in people.iter_mut().zip(["deaths", "serious_injuries"]) {
            match number(column) {
                None => wrong(column, None),
                Some(told) if (0.0..=f64::from(u32::MAX)).contains(&told) && told.fract() == 0.0 => *n = told as u32,
                Some(_) => wrong(column, Some(Unmeant::People)),
            }
        }
        // As it was typed: a float says its shortest digits.
        let loss = number("direct_loss_wan").map(|loss| loss.to_string().parse::<Decimal>());
        if loss.as_ref().is_some_and(Result::is_err) {
            wrong("direct_loss_wan", Some(Unmeant::Loss));
        }
        let harm = Harm { deaths: people[0], serious_injuries: people[1], direct_loss_wan_yuan: loss.and_then(Result::ok) };
        match built_in().classify(&harm) {
            Ok(_) => {}
            Err(HarmError::Loss) => wrong("direct_loss_wan", Some(Unmeant::Loss)),
            Err(HarmError::People(Criterion::SeriousInjuries)) => wrong("serious_injuries", Some(Unmeant::People)),
            Err(HarmError::People(_)) => wrong("deaths", Some(Unmeant::People)),
        }
        if let Some(on) = on {
            reports.push(Report { on, told_on, harm });
        }
    }
    if refused.is_empty() { Ok(Some(Told { happened_on, nature, reports })) } else { Err(refused) }
}

/// What was not told yet.
const DRAFT: &str = "draft";
/// Found to be no accident, or one that stands already; by which act, and by which that is taken back.
const DISMISSED: &str = "dismissed";
const DISMISS: &str = "dismiss";
const REINSTATE: &str = "reinstate";

/// The rows of the source `accident_deaths` that the record of an accident makes. What was dismissed counts as it was known until that day.
///
/// # Errors
/// It is one, and cannot be read: nobody can say how many died.
pub fn facts(record: &Record, id: &str, region: &str, mark: Mark) -> Result<Vec<Fact>, Unreadable> {
    if record.state == DRAFT {
        return Ok(Vec::new());
    }
    let is_dismissed = record.state == DISMISSED;
    let told = of("toll", "happened_at", "nature", record).ok().flatten().filter(|told| !told.reports.is_empty());
    let told = match told {
        // Nobody need know how many died in what was none.
        None if is_dismissed => return Ok(Vec::new()),
        told => told.ok_or(Unreadable)?,
    };
    let steps = built_in().trace(told.happened_on, told.nature, &told.reports).map_err(|_| Unreadable)?;
    let rows = of_accident(id, told.happened_on, region, record.text("sector").unwrap_or_default(), mark, &steps);
    let turn = |act: &super::Act| match act.transition.as_str() {
        DISMISS => Some((act.on, false)),
        REINSTATE => Some((act.on, true)),
        _ => None,
    };
    let mut turns: Vec<(Date, bool)> = record.acts.iter().filter_map(turn).collect();
    // Of a record whose acts are not told: since it is in its state.
    if is_dismissed != turns.last().is_some_and(|(_, is_back)| !is_back) {
        turns.push((record.entered_on, !is_dismissed));
    }
    Ok(withdrawn(rows, &turns))
}

/// The record of an accident does not say how many died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record does not say how many died")]
pub struct Unreadable;

impl Kind {
    /// What tells of no accident, of what this act fills in.
    pub(super) fn unmeant(&self, next: &Record, set: &BTreeMap<String, Option<Value>>, today: Date) -> BTreeSet<Refused> {
        let mut refused = BTreeSet::new();
        for compute in self.fields.iter().filter_map(|field| field.compute.as_ref()) {
            if let Compute::Accident { toll, happened, nature, .. } | Compute::Telling { toll, happened, nature, .. } = compute
                && [toll, happened, nature].into_iter().any(|id| set.contains_key(id))
                && let Err(faults) = of(toll, happened, nature, next)
            {
                refused.extend(faults);
            }
            // Rows stay as they are once they are told: a year that was mistyped would count for ever.
            if let Compute::Accident { toll, .. } = compute
                && let Some(Some(Value::Table(rows))) = set.get(toll)
            {
                for (i, row) in rows.iter().enumerate() {
                    for column in ["told_on", "on"] {
                        if matches!(row.get(column), Some(Value::Date(day)) if *day > today) {
                            refused.insert(Refused::Content(format!("{toll}[{i}].{column}"), Content::Accident(Unmeant::Future)));
                        }
                    }
                }
            }
        }
        refused
    }
}

/// What a field shows of the accident that stands in the record.
pub(super) fn value(shows: AccidentShows, field: &Field, toll: &str, happened: &str, nature: &str, record: &Record) -> Option<Value> {
    let told = of(toll, happened, nature, record).ok()??;
    let steps = built_in().trace(told.happened_on, told.nature, &told.reports).ok()?;
    let last = steps.last()?;
    let class = last.classified.class;
    let days = built_in().deadlines(told.happened_on, told.nature);
    match shows {
        AccidentShows::Deaths => people(last.counted.deaths),
        AccidentShows::SeriousInjuries => people(last.counted.serious_injuries),
        AccidentShows::DirectLoss => money(last.counted.direct_loss_wan_yuan),
        AccidentShows::Class => text(&class.id),
        AccidentShows::By => by(last),
        AccidentShows::FirstClass => {
            let first = told.reports.iter().min_by_key(|report| report.told_on)?;
            built_in().classify(&first.harm).ok().and_then(|first| text(&first.class.id))
        }
        AccidentShows::Reclassed => {
            let last = steps.iter().rev().find_map(|step| step.was.map(|was| was.level > step.classified.class.level));
            text(last.map_or("no", |is_up| if is_up { "up" } else { "down" }))
        }
        AccidentShows::CasualtiesUntil => Some(Value::Date(days.casualties_until)),
        AccidentShows::ReportUpTo => text(class.report_up_to.as_str()),
        AccidentShows::InvestigatedBy => text(class.investigated_by.as_str()),
        AccidentShows::ReportDays => {
            let span = told.happened_on.until(days.investigation_until).ok()?;
            Some(Value::Number(f64::from(span.get_days())))
        }
        AccidentShows::ReplyDays => Some(Value::Number(f64::from(class.reply_days))),
        AccidentShows::Trace => table(field, &steps, trace_cell),
    }
}

fn text(text: &str) -> Option<Value> {
    Some(Value::Text(text.to_owned()))
}

fn people(n: u32) -> Option<Value> {
    Some(Value::Number(f64::from(n)))
}

fn money(loss: Option<Decimal>) -> Option<Value> {
    loss?.normalize().to_string().parse().ok().map(Value::Number)
}

fn by(step: &Step<'_>) -> Option<Value> {
    let by: Vec<&str> = step.classified.by.iter().map(|criterion| criterion.name()).collect();
    (!by.is_empty()).then(|| Value::Text(by.join("、")))
}

fn table<T>(field: &Field, rows: &[T], cell: impl Fn(&str, &T) -> Option<Value>) -> Option<Value> {
    let FieldType::Table { columns, .. } = &field.of else { return None };
    let row = |row: &T| columns.iter().filter_map(|column| Some((column.id.clone(), cell(&column.id, row)?))).collect();
    Some(Value::Table(rows.iter().map(row).collect()))
}

fn trace_cell(column: &str, step: &Step<'_>) -> Option<Value> {
    match column {
        "told_on" => Some(Value::Date(step.told_on)),
        "on" => Some(Value::Date(step.on)),
        "told_deaths" => people(step.told.deaths),
        "told_serious_injuries" => people(step.told.serious_injuries),
        "told_loss_wan" => money(step.told.direct_loss_wan_yuan),
        "window" => text(COUNTS[usize::from(!step.is_within_window)]),
        "deaths" => people(step.counted.deaths),
        "serious_injuries" => people(step.counted.serious_injuries),
        "direct_loss_wan" => money(step.counted.direct_loss_wan_yuan),
        "class" => text(&step.classified.class.id),
        "was" => step.was.and_then(|was| text(&was.id)),
        "by" => by(step),
        _ => None,
    }
}

/// What a field shows of who told whom, as of `now`: what was not told by then and is past its time is late too.
pub(super) fn told(
    shows: TellingShows,
    field: &Field,
    [toll, happened, nature]: [&str; 3],
    heard: &[String; 5],
    record: &Record,
    now: DateTime,
) -> Option<Value> {
    let told = of(toll, happened, nature, record).ok()??;
    let steps = built_in().trace(told.happened_on, told.nature, &told.reports).ok()?;
    let instants = Desk::ALL.into_iter().zip(heard).filter_map(|(desk, id)| Some((desk, timestamp(record.instant(id)?)?)));
    let heard: BTreeMap<Desk, Timestamp> = instants.collect();
    let dues = built_in().clock_along(&steps, &heard, Timestamp::MAX);
    if dues.is_empty() {
        return None;
    }
    let now = timestamp(begun_minute(now))?;
    let is_overdue = |due: &Due<'_>| due.told_at.is_none() && due.due_at.is_some_and(|due_at| due_at < now);
    let late = |due: &&Due<'_>| due.state == Telling::Late || is_overdue(due);
    match shows {
        TellingShows::Hops => {
            let says_overdue = has_overdue(field);
            table(field, &dues, |column, due| match column {
                "state" if says_overdue && is_overdue(due) => text(OVERDUE),
                _ => hop_cell(column, due),
            })
        }
        TellingShows::TellBy => {
            let open = dues.iter().filter(|due| due.told_at.is_none()).filter_map(|due| due.due_at).min();
            open.and_then(civil).map(Value::DateTime)
        }
        TellingShows::Late => {
            let is_by = |desk: fn(Desk) -> bool| dues.iter().filter(late).any(|due| desk(due.hop.from));
            let (unit, department) = (is_by(|desk| desk == Desk::Enterprise), is_by(|desk| desk != Desk::Enterprise));
            text(LATE[usize::from(unit) + 2 * usize::from(department)])
        }
        TellingShows::LateMin => dues.iter().filter_map(late_min).max().map(|min| Value::Number(min as f64)),
    }
}

/// Begun minutes by which a duty was late.
fn late_min(due: &Due<'_>) -> Option<i64> {
    const MINUTE_US: i64 = 60_000_000;
    let late_us = due.told_at?.since_us(due.due_at?);
    (late_us > 0).then(|| (late_us + MINUTE_US - 1) / MINUTE_US)
}

fn hop_cell(column: &str, due: &Due<'_>) -> Option<Value> {
    let instant = |at: Option<Timestamp>| at.and_then(civil).map(Value::DateTime);
    match column {
        "from" => text(due.hop.from.as_str()),
        "to" => text(due.hop.to.as_str()),
        "heard_at" => instant(due.heard_at),
        "due_at" => instant(due.due_at),
        "told_at" => instant(due.told_at.filter(|_| due.heard_at.is_some())),
        "state" => text(match due.state {
            Telling::NotBegun => HOP_STATES[0],
            Telling::Running | Telling::Overdue => HOP_STATES[1],
            Telling::InTime => HOP_STATES[2],
            Telling::Late => HOP_STATES[3],
        }),
        "late_min" => late_min(due).map(|min| Value::Number(min as f64)),
        "clause" => text(&due.hop.source.clause),
        _ => None,
    }
}

fn has_overdue(field: &Field) -> bool {
    let FieldType::Table { columns, .. } = &field.of else { return false };
    columns.iter().any(|column| column.id == "state" && lacks(&column.of, &[OVERDUE]).is_none())
}

fn timestamp(at: DateTime) -> Option<Timestamp> {
    let at = jiff::tz::offset(8).to_timestamp(at).ok()?;
    Some(Timestamp::from_micros(at.as_microsecond()))
}

fn civil(at: Timestamp) -> Option<DateTime> {
    let at = jiff::Timestamp::from_microsecond(at.micros()).ok()?;
    Some(jiff::tz::offset(8).to_datetime(at))
}

/// Whether the table is one of what was told.
pub(super) fn is_toll(columns: &[Field]) -> bool {
    COLUMNS.iter().all(|(id, unit)| match (columns.iter().find(|column| column.id == *id).map(|column| &column.of), unit) {
        (Some(FieldType::Date), None) => true,
        (Some(FieldType::Number { unit, .. }), Some(wanted)) => unit == wanted,
        _ => false,
    })
}

/// The columns of such a table in words.
pub(super) fn toll_columns() -> String {
    let column = |(id, unit): (&str, Option<&str>)| unit.map_or(format!("{id} (date)"), |unit| format!("{id} (number, {unit})"));
    COLUMNS.map(column).join(", ")
}

/// Whether the choice has every nature and no other.
pub(super) fn is_nature(of: &FieldType) -> bool {
    matches!(of, FieldType::Choice { choices } if choices.iter().map(|c| c.id.as_str()).collect::<BTreeSet<_>>() == BTreeSet::from(NATURES))
}

/// Whether the choice has every class.
fn is_class(of: &FieldType) -> bool {
    lacks(of, &class_words()).is_none()
}

fn class_words() -> Vec<&'static str> {
    built_in().classes().iter().map(|class| class.id.as_str()).collect()
}

fn lacks(of: &FieldType, words: &[&str]) -> Option<String> {
    let FieldType::Choice { choices } = of else { return Some(format!("shows a choice of {}, but the field is none", words.join(", "))) };
    words.iter().find(|word| choices.iter().all(|c| c.id != **word)).map(|word| format!("has no choice {word:?}"))
}

fn fits_table(of: &FieldType, columns: &[(&str, Column)]) -> Result<(), String> {
    let FieldType::Table { columns: own, .. } = of else { return Err("shows a table, but the field is none".to_owned()) };
    for column in own {
        let wanted = columns.iter().find(|(id, _)| *id == column.id).map(|(_, wanted)| *wanted);
        let is_right = match (wanted, &column.of) {
            (Some(Column::Date), FieldType::Date)
            | (Some(Column::Instant), FieldType::DateTime)
            | (Some(Column::Text), FieldType::Text { .. }) => true,
            (Some(Column::Number(unit)), FieldType::Number { unit: own, .. }) => own == unit,
            (Some(Column::Words(words)), of) => lacks(of, words).is_none(),
            (Some(Column::Class), of) => is_class(of),
            (Some(Column::Desk), of) => lacks(of, &Desk::ALL.map(Desk::as_str)).is_none(),
            _ => false,
        };
        if !is_right {
            let words: Vec<&str> = columns.iter().map(|(id, _)| *id).collect();
            return Err(format!("the column {:?} is none of {}, with their types, units and choices", column.id, words.join(", ")));
        }
    }
    Ok(())
}

/// Whether a field of this type can show it; if not, what it should be.
pub(super) fn fits(shows: AccidentShows, of: &FieldType) -> Result<(), String> {
    let of_unit = |wanted: &str| match of {
        FieldType::Number { unit, .. } if unit == wanted => Ok(()),
        _ => Err(format!("shows a number of the unit {wanted:?}, but the field is none")),
    };
    let choice = |words: &[&str]| lacks(of, words).map_or(Ok(()), Err);
    match shows {
        AccidentShows::Deaths | AccidentShows::SeriousInjuries => of_unit("人"),
        AccidentShows::DirectLoss => of_unit("万元"),
        AccidentShows::ReportDays | AccidentShows::ReplyDays => of_unit("天"),
        AccidentShows::Class | AccidentShows::FirstClass => choice(&class_words()),
        AccidentShows::Reclassed => choice(&RECLASSED),
        AccidentShows::ReportUpTo | AccidentShows::InvestigatedBy => choice(&Desk::ALL.map(Desk::as_str)[1..]),
        AccidentShows::By if matches!(of, FieldType::Text { .. }) => Ok(()),
        AccidentShows::By => Err("shows a text, but the field is none".to_owned()),
        AccidentShows::CasualtiesUntil if matches!(of, FieldType::Date) => Ok(()),
        AccidentShows::CasualtiesUntil => Err("shows a date, but the field is none".to_owned()),
        AccidentShows::Trace => fits_table(of, &TRACE),
    }
}

/// The same of who told whom.
pub(super) fn fits_telling(shows: TellingShows, of: &FieldType) -> Result<(), String> {
    match (shows, of) {
        (TellingShows::Hops, of) => fits_table(of, &HOPS),
        (TellingShows::TellBy, FieldType::DateTime) => Ok(()),
        (TellingShows::TellBy, _) => Err("shows an instant, but the field is none".to_owned()),
        (TellingShows::Late, of) => lacks(of, &LATE).map_or(Ok(()), Err),
        (TellingShows::LateMin, FieldType::Number { unit, .. }) if unit == "min" => Ok(()),
        (TellingShows::LateMin, _) => Err("shows a number of the unit \"min\", but the field is none".to_owned()),
    }
}
