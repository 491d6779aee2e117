//! A kind of register: its fields, states and transitions, as [`Kind::parse`] has checked them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::civil::{Date, DateTime};
use serde::Deserialize;

use super::certificate::Certificate;
use super::exchange::Exchange;
use super::flag::Flag;
use super::public::Public;
use super::{Record, Value, begun_minute};
use crate::calendar::Calendar;

/// A kind of register.
#[derive(Clone, Debug)]
pub struct Kind {
    /// Its word, the name of its folder.
    pub id: String,
    /// Chinese name.
    pub name: String,
    /// English name.
    pub name_en: String,
    /// The law or standard behind it.
    pub standard: String,
    /// Clause.
    pub clause: String,
    /// In force since, ISO date.
    pub effective: String,
    /// How sure we are of it.
    pub confidence: String,
    /// Id of the first state; nothing is kept in it.
    pub start: String,
    /// Whose its records are.
    pub owner: Owner,
    /// Up to which level its records go between nodes; `None` = not said, so nowhere.
    pub exchange: Option<Exchange>,
    /// How long its records are kept; `None` = not said, so for good.
    pub retention: Option<Retention>,
    /// How records are numbered; empty = they are not.
    pub number: Vec<NumberPart>,
    /// The text field that a list shows as the title.
    pub title: String,
    /// Fields that are together unique within the kind; empty = none.
    pub key: Vec<String>,
    /// Text fields that a search looks into.
    pub search: Vec<String>,
    /// Columns of a list.
    pub list: Vec<String>,
    /// Fields that a list can be narrowed by.
    pub filter: Vec<String>,
    /// Columns of the import sheet; empty = nothing is imported.
    pub import: Vec<String>,
    /// The transition by which an imported row is made.
    pub import_by: Option<String>,
    /// What its records say of their enterprise.
    pub flag: Option<Flag>,
    /// That its records carry a certificate, and of what.
    pub certificate: Option<Certificate>,
    /// What the public may read of them; `None` = nothing.
    pub public: Option<Public>,
    /// How a record is printed; empty = its filled fields, then its history.
    pub print: Vec<Block>,
    /// In the order of a form.
    pub fields: Vec<Field>,
    /// In the order of a life.
    pub states: Vec<State>,
    /// What is owed beside the deadline of a state, to the minute.
    pub clocks: Vec<Clock>,
    /// What leads from one to another.
    pub transitions: Vec<Transition>,
}

/// Whose the records of a kind are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// An enterprise's, and so of its division and sector.
    Enterprise,
    /// A division's.
    Region,
    /// An enterprise's where there is one, else a division's: each record says which.
    Either,
    /// Nobody's: everybody who may look sees it, whoever has a role for the whole node writes it.
    Everyone,
}

/// How long records are kept once nothing follows. It marks what may go; nothing goes by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Whole years from the day on which a record reached its end.
    pub years: i32,
    /// By what.
    pub source: String,
    /// How sure we are of that.
    pub confidence: String,
}

/// A part of a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NumberPart {
    /// As it stands.
    Text(String),
    /// Code of the division.
    Region,
    /// Year in which it was made.
    Year,
    /// Counted per kind, division and year, with so many digits at least.
    Seq(usize),
}

/// A field.
#[derive(Clone, Debug)]
pub struct Field {
    /// Word.
    pub id: String,
    /// Chinese name.
    pub name: String,
    /// English name.
    pub name_en: String,
    /// Help below it; may be empty.
    pub hint: String,
    /// The same in English.
    pub hint_en: String,
    /// What may stand in it.
    pub of: FieldType,
    /// How it follows from others; `None` = people fill it.
    pub compute: Option<Compute>,
    /// Up to which level it goes between nodes, where that is not as far as its register; of a column, its field.
    pub exchange: Option<Exchange>,
    /// Where its figures are from; may be empty.
    pub source: String,
    /// How sure we are of that; empty where there is no source.
    pub source_confidence: String,
}

/// What may stand in a field.
#[derive(Clone, Debug)]
pub enum FieldType {
    /// At most so many characters, not only spaces.
    Text {
        /// Characters.
        max: usize,
    },
    /// A finite number within bounds, in a unit.
    Number {
        /// Unit; empty = a count.
        unit: String,
        /// Least.
        min: Option<f64>,
        /// Greatest.
        max: Option<f64>,
    },
    /// A calendar date.
    Date,
    /// An instant to the minute, civil time in Beijing.
    DateTime,
    /// One of these.
    Choice {
        /// In the order in which they are offered.
        choices: Vec<Choice>,
    },
    /// Somebody: the id of a user.
    Person,
    /// A record of another kind: its id.
    Record {
        /// The kind.
        of: String,
        /// In one of these states when it is named; empty = any.
        states: Vec<String>,
        /// Its date field from which on it may be named.
        from: Option<String>,
        /// Its date field that says the first day on which it may no longer be named.
        until: Option<String>,
    },
    /// A place on WGS-84.
    Place,
    /// Files that were uploaded: their ids.
    File {
        /// Most of them.
        max: usize,
        /// Kinds that it takes.
        accept: Vec<FileKind>,
    },
    /// Rows of columns.
    Table {
        /// Text, number, date, instant or choice each.
        columns: Vec<Field>,
        /// Most rows.
        rows_max: usize,
    },
}

/// The closed set of kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    /// JPEG, PNG, WebP.
    Image,
    /// PDF.
    Pdf,
    /// DOCX, XLSX.
    Document,
    /// MP4.
    Video,
    /// Plain text.
    Text,
}

impl FileKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Image, Self::Pdf, Self::Document, Self::Video, Self::Text];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Pdf => "pdf",
            Self::Document => "document",
            Self::Video => "video",
            Self::Text => "text",
        }
    }

    /// The kind of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// One of the values of a field.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// Word.
    pub id: String,
    /// Chinese name.
    pub name: String,
    /// English name.
    pub name_en: String,
}

/// The closed set of ways in which a field follows from others. It is empty while something it needs is.
#[derive(Clone, Debug, PartialEq)]
pub enum Compute {
    /// Sum of a column; an empty table adds up to 0, empty cells count nothing.
    Sum(String, String),
    /// Rows of a table; with a test, those of which it holds.
    Count(String, Option<Test>),
    /// The first less the second.
    Difference(String, String),
    /// 100 times the first by the second; empty where the second is 0.
    Percent(String, String),
    /// The word of the first step that the number reaches, else the last.
    Steps(String, Vec<(f64, String)>, String),
    /// A date and calendar months: the same day, or the last of the month where there is none.
    PlusMonths(String, Months),
    /// A date and so many calendar days.
    PlusDays(String, i32),
    /// A date and as many calendar days as these numbers say together, rounded down; empty while the first is, an empty one of the others adds nothing.
    PlusDaysOf(String, Vec<String>),
    /// Calendar days from the first date to the second; negative where it is the earlier.
    DaysBetween(String, String),
    /// The day of an instant.
    DayOf(String),
    /// Texts one after the other.
    Join(Vec<String>),
    /// One figure of the grade of a major hazard installation ([`crate::major_hazard`]): the same that `anlan grade` tells.
    Grade {
        /// The table of what may be in it, with the columns `substance`, `tonnes` and, if there is one, `categories`.
        contents: String,
        /// The number of people who live within 500 m.
        people: String,
        /// Which figure.
        shows: Shows,
    },
    /// What an accident is by what was told of it ([`crate::accident`]): the same that `anlan accident classify` tells.
    Accident {
        /// The table of what was told, with the columns `told_on`, `on`, `deaths`, `serious_injuries` and `direct_loss_wan`.
        toll: String,
        /// The instant at which it happened.
        happened: String,
        /// The choice of its nature: `general`, `road`, `fire`.
        nature: String,
        /// What of it.
        shows: AccidentShows,
    },
    /// Who told whom of an accident in which time ([`crate::accident::Accidents::clock_along`]).
    Telling {
        /// As of [`Self::Accident`].
        toll: String,
        /// The instant at which it happened.
        happened: String,
        /// The choice of its nature.
        nature: String,
        /// When each desk knew, from the enterprise to the departments of the State Council.
        heard: [String; 5],
        /// What of it.
        shows: TellingShows,
    },
}

/// What of an accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccidentShows {
    /// Deaths that count.
    Deaths,
    /// Serious injuries that count.
    SeriousInjuries,
    /// Direct loss, 万元; empty while it is not known.
    DirectLoss,
    /// Id of the class.
    Class,
    /// Which of the numbers make it, in Chinese; empty where none is above zero.
    By,
    /// Id of the class by the report that was told first.
    FirstClass,
    /// Which way the class went last: `no`, `up`, `down`.
    Reclassed,
    /// The last day on which later casualties count.
    CasualtiesUntil,
    /// Up to whom it is reported.
    ReportUpTo,
    /// Whose government answers for the investigation.
    InvestigatedBy,
    /// Days for the report of the investigation.
    ReportDays,
    /// Days for the reply to it.
    ReplyDays,
    /// A row per report: what was told, what counts, the class from then on.
    Trace,
}

impl AccidentShows {
    /// Everything by its word.
    pub const WORDS: [(&'static str, Self); 13] = [
        ("deaths", Self::Deaths),
        ("serious_injuries", Self::SeriousInjuries),
        ("direct_loss", Self::DirectLoss),
        ("class", Self::Class),
        ("by", Self::By),
        ("first_class", Self::FirstClass),
        ("reclassed", Self::Reclassed),
        ("casualties_until", Self::CasualtiesUntil),
        ("report_up_to", Self::ReportUpTo),
        ("investigated_by", Self::InvestigatedBy),
        ("report_days", Self::ReportDays),
        ("reply_days", Self::ReplyDays),
        ("trace", Self::Trace),
    ];
}

/// What of the telling of an accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TellingShows {
    /// A row per duty: heard, due, told, how late.
    Hops,
    /// Until when the next duty that is open is to be done; empty = none is open.
    TellBy,
    /// Whose duty was done too late: `none`, `enterprise`, `department`, `both`.
    Late,
    /// Minutes by which the worst of them was late; empty = none was.
    LateMin,
}

impl TellingShows {
    /// Everything by its word.
    pub const WORDS: [(&'static str, Self); 4] =
        [("hops", Self::Hops), ("tell_by", Self::TellBy), ("late", Self::Late), ("late_min", Self::LateMin)];
}

/// A figure of a grade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// S.
    S,
    /// R; empty while something it needs is not there.
    R,
    /// The factor of the people outside.
    Alpha,
    /// `1` to `4`, `none` where S is below 1; empty while R is.
    Level,
    /// What R needs and is not there: `people`, `beta`, `people_and_beta`; empty = nothing.
    Lacks,
    /// The weakest word of confidence of the figures that went in.
    Confidence,
    /// A row per substance.
    Terms,
}

impl Shows {
    /// Every figure by its word.
    pub const WORDS: [(&'static str, Self); 7] = [
        ("s", Self::S),
        ("r", Self::R),
        ("alpha", Self::Alpha),
        ("level", Self::Level),
        ("lacks", Self::Lacks),
        ("confidence", Self::Confidence),
        ("terms", Self::Terms),
    ];
}

/// How many months.
#[derive(Clone, Debug, PartialEq)]
pub enum Months {
    /// Always so many.
    Fixed(i32),
    /// As many as this number field says, rounded down.
    Field(String),
    /// By a choice.
    By(String, BTreeMap<String, i32>),
}

/// The closed set of blocks of a printed record, from top to bottom. There are no templates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// The heading of a part.
    Heading(Words),
    /// A paragraph that is always the same.
    Text(Words),
    /// These fields with their names.
    Fields(Vec<String>),
    /// A field of rows, with its columns.
    Table(String),
    /// Lines on which people of these roles sign.
    Signatures(Vec<Words>),
    /// The QR code of the record's certificate, while it carries one.
    Certificate,
    /// Who did what and when.
    History,
}

/// Words in both languages.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// Chinese.
    pub name: String,
    /// English.
    pub name_en: String,
}

/// A state.
#[derive(Clone, Debug)]
pub struct State {
    /// Word.
    pub id: String,
    /// Chinese name.
    pub name: String,
    /// English name.
    pub name_en: String,
    /// Nothing follows.
    pub is_end: bool,
    /// Roles on whose to-do list a record stands here.
    pub task: Vec<String>,
    /// The person field that narrows it to one person.
    pub task_person: Option<String>,
    /// From how many calendar days before the deadline it stands there; `None` = always.
    pub task_from: Option<i32>,
    /// By when it should be left.
    pub deadline: Option<Deadline>,
    /// Where the deadline is from; may be empty.
    pub deadline_source: String,
    /// How sure we are of that.
    pub deadline_confidence: String,
    /// Who is told when, in order of days.
    pub escalate: Vec<Escalation>,
}

/// By when a state should be left; always till the end of a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// The day that stands in this field, or that of the instant in it.
    Field(String),
    /// So many calendar days after it was entered.
    Days(i32),
    /// So many working days after it was entered.
    WorkingDays(u32),
}

/// Who is told when a deadline comes near or is over.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Escalation {
    /// Calendar days after the deadline; negative = before it.
    pub after: i32,
    /// Roles.
    pub to: Vec<String>,
}

/// Something that is owed by an instant while a record is in some states, whatever the deadline of the state is (时限): it has tasks and words of its own.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Word.
    pub id: String,
    /// Chinese name.
    pub name: String,
    /// English name.
    pub name_en: String,
    /// It runs in these states.
    pub states: Vec<String>,
    /// The field of its instant, the last minute in time; while that is empty nothing is owed. Of `each` a column.
    pub until: String,
    /// One for each row of a table; `None` = of the record as a whole.
    pub each: Option<ClockEach>,
    /// Roles on whose to-do list the record stands while it runs.
    pub task: Vec<String>,
    /// Who is told when, in order of minutes.
    pub escalate: Vec<ClockStep>,
    /// Where its time is from.
    pub source: String,
    /// How sure we are of that.
    pub confidence: String,
}

/// Rows of a table that each have a clock of their own.
#[derive(Clone, Debug)]
pub struct ClockEach {
    /// The table.
    pub table: String,
    /// Rows of which this holds, their columns read as fields; `None` = all.
    pub when: Option<Test>,
    /// Columns by which a row is the same one from act to act: texts and choices.
    pub key: Vec<String>,
}

/// A clock that runs.
#[derive(Clone, Debug)]
pub struct Running<'a> {
    /// Which.
    pub clock: &'a Clock,
    /// By what the record remembers what was told of it: the clock's word, and of a row the words of its key.
    pub key: String,
    /// The last minute that is in time.
    pub until: DateTime,
    /// What is owed, Chinese and English: the clock's name, and of a row what its key says.
    pub names: (String, String),
}

/// Who is told when a clock comes near its end or is over.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockStep {
    /// Minutes behind the last one in time; 0 = when that is over, negative = before.
    pub after_min: i32,
    /// Roles.
    pub to: Vec<String>,
}

impl Clock {
    /// The minute of a step. The last minute is in time, so what comes behind it begins with the next.
    fn at(until: DateTime, step: &ClockStep) -> Option<DateTime> {
        let minutes = step.after_min + i32::from(step.after_min >= 0);
        until.checked_add(jiff::Span::new().minutes(minutes)).ok()
    }

    /// Whether its time is over.
    pub fn is_over(until: DateTime, now: DateTime) -> bool {
        begun_minute(now) > until
    }

    /// Its steps that are due by `now`, and the minute of the next; steps up to `done` were told already.
    pub fn steps(&self, until: DateTime, done: usize, now: DateTime) -> (Vec<&ClockStep>, Option<DateTime>) {
        let mut told = Vec::new();
        for step in self.escalate.iter().skip(done) {
            match Self::at(until, step) {
                Some(at) if at <= now => told.push(step),
                Some(at) => return (told, Some(at)),
                // Beyond the calendar: never.
                None => break,
            }
        }
        (told, None)
    }
}

/// What leads from some states to another.
#[derive(Clone, Debug)]
pub struct Transition {
    /// Word.
    pub id: String,
    /// Chinese name, as on its button.
    pub name: String,
    /// English name.
    pub name_en: String,
    /// From any of these states.
    pub from: Vec<String>,
    /// To this one; the same again for an act that changes fields alone. Empty = it stays in whichever it is.
    pub to: String,
    /// Instead to the state from which the present one was entered, where that is known: what was begun is not gone on with.
    pub is_back: bool,
    /// It is taken on a page of its own, where the product fills fields that nobody may type; not with the form of every step.
    pub has_own_page: bool,
    /// To another one if the record has become such; the first that holds.
    pub turns: Vec<Turn>,
    /// Roles that may.
    pub who: Vec<String>,
    /// Fields that must be filled by then.
    pub require: Vec<String>,
    /// Those of them that must be filled with it: what was said at an earlier step does not count.
    pub fresh: Vec<String>,
    /// Further fields that may be filled with it.
    pub may: Vec<String>,
    /// Further conditions; all must hold.
    pub guards: Vec<Guard>,
    /// Records of other kinds that it makes below this one.
    pub opens: Vec<Opens>,
}

/// Where a transition leads instead.
#[derive(Clone, Debug)]
pub struct Turn {
    /// If this holds for the record as it would be.
    pub when: Test,
    /// To this state.
    pub to: String,
}

/// A record of another kind that a transition makes, or one for each row of a table.
#[derive(Clone, Debug)]
pub struct Opens {
    /// Where it stands in the file, from 1.
    pub line: usize,
    /// Kind.
    pub kind: String,
    /// The transition by which it is made.
    pub by: String,
    /// For which rows; `None` = one record, whatever the tables say.
    pub each: Option<Each>,
    /// Its field = field of this record, or `table.column` of the row.
    pub set: BTreeMap<String, String>,
    /// Its text, choice or date field = always this.
    pub with: BTreeMap<String, String>,
}

/// Rows of a table.
#[derive(Clone, Debug)]
pub struct Each {
    /// The table.
    pub table: String,
    /// Those of which this holds, its columns read as fields; `None` = all.
    pub when: Option<Test>,
    /// The date column that says when a row was opened: the step fills it, and opens what has none. `None` = every row, each time.
    pub mark: Option<String>,
}

/// A condition with a name and words for whoever it stops.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Word.
    pub id: String,
    /// What it says when it says no, in Chinese.
    pub says: String,
    /// The same in English.
    pub says_en: String,
    /// The condition.
    pub test: Test,
}

/// The closed set of conditions.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// Every one.
    All(Vec<Test>),
    /// One at least.
    Any(Vec<Test>),
    /// Not this one.
    Not(Box<Test>),
    /// The field is filled.
    Filled(String),
    /// The field holds this choice or text.
    Is(String, String),
    /// One of these fields becomes another with this act, computed ones too.
    Changed(Vec<String>),
    /// Every row that stood in this table before stands there still, as it was, before those that are new.
    Extends(String),
    /// The number is less than it was, or gone.
    Fell(String),
    /// What was filled of these fields stays as it was; what was empty may be filled.
    Keeps(Vec<String>),
    /// This held of the record as it was before the act.
    Was(Box<Test>),
    /// The rows of this table of which the test holds (all without one) are the same as before, in the same order, but for these columns.
    SameRows {
        /// The table.
        table: String,
        /// Of which rows.
        of: Option<Box<Test>>,
        /// Columns that may become others.
        but: Vec<String>,
    },
    /// The number is at least this.
    AtLeast(String, f64),
    /// The number is at most this.
    AtMost(String, f64),
    /// The number is above this.
    Above(String, f64),
    /// The first date is strictly later than the second; `None` = the day of the act.
    After(Option<String>, Option<String>),
    /// From one date to another (a field; `None` = the day of the act) it is 0 to so many calendar days.
    DaysAtMost {
        /// Earlier date.
        from: Option<String>,
        /// Later date.
        to: Option<String>,
        /// Days.
        days: i32,
    },
    /// Whoever acts took none of these transitions on this record.
    OtherPersonThan(Vec<String>),
    /// Whoever acts took one of these transitions on this record.
    SamePersonAs(Vec<String>),
    /// The person field names whoever acts.
    ActorIs(String),
    /// It is not later than the deadline of the state that is left; true where there is none.
    BeforeDeadline,
    /// The record above is in one of these states.
    ParentIn(Vec<String>),
    /// Of the records below of this kind, so many are in these states.
    Children {
        /// Kind.
        kind: String,
        /// States.
        states: Vec<String>,
        /// Least.
        at_least: usize,
        /// Most.
        at_most: usize,
    },
}

/// What is wrong with a kind, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// From 1; 0 = the file as a whole.
    pub line: usize,
    /// Path of the field, such as `transition.close.to`.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.line, self.field, self.reason)
    }
}

fn of_record(clock: &Clock, until: DateTime) -> Running<'_> {
    Running { clock, key: clock.id.clone(), until, names: (clock.name.clone(), clock.name_en.clone()) }
}

impl Transition {
    /// Every other state it can lead to. Where it leads back, it leads to none in which the record was not.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        let to = Some(self.to.as_str()).filter(|to| !to.is_empty());
        to.into_iter().chain(self.turns.iter().map(|turn| turn.to.as_str()))
    }
}

impl Kind {
    /// The field of this id.
    pub fn field(&self, id: &str) -> Option<&Field> {
        self.fields.iter().find(|f| f.id == id)
    }

    /// The state of this id.
    pub fn state(&self, id: &str) -> Option<&State> {
        self.states.iter().find(|s| s.id == id)
    }

    /// The transition of this id.
    pub fn transition(&self, id: &str) -> Option<&Transition> {
        self.transitions.iter().find(|t| t.id == id)
    }

    /// Till the end of which day the record should have left its state.
    pub fn due_on(&self, record: &Record, calendar: &Calendar) -> Option<Date> {
        match self.state(&record.state)?.deadline.as_ref()? {
            Deadline::Field(id) => record.date(id),
            Deadline::Days(days) => record.entered_on.checked_add(jiff::Span::new().days(*days)).ok(),
            Deadline::WorkingDays(days) => Some(calendar.working_days_after(record.entered_on, *days)),
        }
    }

    /// The clocks that run for a record in the state in which it is.
    pub fn running<'a>(&'a self, record: &'a Record) -> impl Iterator<Item = Running<'a>> {
        self.owed(record).filter(|running| running.clock.states.contains(&record.state))
    }

    /// The same whatever state the record is in.
    pub fn owed<'a>(&'a self, record: &'a Record) -> impl Iterator<Item = Running<'a>> {
        self.clocks.iter().flat_map(|clock| match &clock.each {
            None => record.instant(&clock.until).map(|until| of_record(clock, until)).into_iter().collect(),
            Some(each) => self.of_rows(clock, each, record),
        })
    }

    /// A clock of each row that is owed. Of rows with one key the earliest counts.
    fn of_rows<'a>(&self, clock: &'a Clock, each: &ClockEach, record: &Record) -> Vec<Running<'a>> {
        let Some(Value::Table(rows)) = record.fields.get(&each.table) else { return Vec::new() };
        let mut running: BTreeMap<String, Running<'a>> = BTreeMap::new();
        // The day does not matter: a test that looks at it is refused when the kind is read.
        for row in rows.iter().filter(|row| each.when.as_ref().is_none_or(|when| when.holds_of(row, record.entered_on))) {
            let Some(Value::DateTime(until)) = row.get(&clock.until) else { continue };
            let mut one = of_record(clock, *until);
            let (mut zh, mut en) = (Vec::new(), Vec::new());
            for id in &each.key {
                let word = match row.get(id) {
                    Some(Value::Text(word)) => word.as_str(),
                    _ => "",
                };
                one.key.push('/');
                one.key.push_str(word);
                let names = self.cell_names(&each.table, id, word);
                zh.push(names.0);
                en.push(names.1);
            }
            one.names = (format!("{}（{}）", clock.name, zh.join("→")), format!("{} ({})", clock.name_en, en.join(" → ")));
            if running.get(&one.key).is_none_or(|other| one.until < other.until) {
                running.insert(one.key.clone(), one);
            }
        }
        running.into_values().collect()
    }

    /// What a word in a column of a table is called, Chinese and English.
    fn cell_names<'a>(&'a self, table: &str, column: &str, word: &'a str) -> (&'a str, &'a str) {
        let of = match self.field(table).map(|field| &field.of) {
            Some(FieldType::Table { columns, .. }) => columns.iter().find(|c| c.id == column).map(|c| &c.of),
            _ => None,
        };
        match of {
            Some(FieldType::Choice { choices }) => {
                choices.iter().find(|choice| choice.id == word).map_or((word, word), |choice| (&choice.name, &choice.name_en))
            }
            _ => (word, word),
        }
    }

    /// Till the end of which day something is to be done: that of the state or of a clock, whichever is earlier.
    pub fn next_due_on(&self, record: &Record, calendar: &Calendar) -> Option<Date> {
        self.due_on(record, calendar).into_iter().chain(self.running(record).map(|running| running.until.date())).min()
    }

    /// On whose to-do list the record stands: of its state, and of the clocks that run.
    pub fn tasks(&self, record: &Record) -> Vec<String> {
        let of_state = self.state(&record.state).map(|state| state.task.clone()).unwrap_or_default();
        let more: BTreeSet<String> = self.running(record).flat_map(|running| running.clock.task.clone()).collect();
        let more = more.into_iter().filter(|role| !of_state.contains(role)).collect::<Vec<_>>();
        of_state.into_iter().chain(more).collect()
    }

    /// From which day on the record is a task; `None` = as long as it is in its state.
    pub fn task_on(&self, record: &Record, calendar: &Calendar) -> Option<Date> {
        // Whoever owes something by the minute sees it now.
        if self.running(record).any(|running| !running.clock.task.is_empty()) {
            return None;
        }
        let days = self.state(&record.state)?.task_from?;
        self.due_on(record, calendar)?.checked_add(jiff::Span::new().days(days)).ok()
    }

    /// The last day on which the record is to be kept; `None` while something follows, or where nothing is said.
    pub fn retained_until(&self, record: &Record) -> Option<Date> {
        let retention = self.retention.as_ref().filter(|_| self.state(&record.state).is_some_and(|state| state.is_end))?;
        record.entered_on.checked_add(jiff::Span::new().years(retention.years)).ok()
    }

    /// States that can be reached without these transitions.
    pub(super) fn reached(&self, without: &[String]) -> BTreeSet<&str> {
        let mut reached = BTreeSet::from([self.start.as_str()]);
        loop {
            let more = self.transitions.iter().filter(|t| !without.contains(&t.id));
            let more: Vec<&str> = more
                .filter(|t| t.from.iter().any(|from| reached.contains(from.as_str())))
                .flat_map(Transition::targets)
                .filter(|to| !reached.contains(to))
                .collect();
            if more.is_empty() {
                return reached;
            }
            reached.extend(more);
        }
    }

    /// States from which an end can be reached.
    pub(super) fn ending(&self) -> BTreeSet<&str> {
        let mut ending: BTreeSet<&str> = self.states.iter().filter(|s| s.is_end).map(|s| s.id.as_str()).collect();
        loop {
            let leads = self.transitions.iter().filter(|t| t.targets().any(|to| ending.contains(to)));
            let more: Vec<&str> = leads.flat_map(|t| &t.from).map(String::as_str).filter(|from| !ending.contains(from)).collect();
            if more.is_empty() {
                return ending;
            }
            ending.extend(more);
        }
    }
}
