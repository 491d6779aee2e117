//! `register.toml` as a pack writes it, and what is checked before it is believed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use anlan_model::Role;
use serde::Deserialize;
use toml::Spanned;

use super::accident;
use super::certificate::{self, Certificate};
use super::exchange::Exchange;
use super::flag::Flag;
use super::grade;
use super::kind::{
    AccidentShows, Block, Breach, Choice, Clock, ClockEach, ClockStep, Compute, Deadline, Each, Escalation, Field, FieldType, FileKind,
    Guard, Kind, Months, NumberPart, Opens, Owner, Retention, Shows, State, TellingShows, Test, Transition, Turn, Words,
};
use super::public::{self, Public};
use crate::pack::{CONFIDENCES, is_word, line_of};

/// Fields, states or transitions of one kind; more are taken for a mistake.
const ITEMS_MAX: usize = 200;
/// Characters of a text field if the pack does not say.
const TEXT_MAX: usize = 500;
/// The longest text a field may allow.
const TEXT_LIMIT: usize = 20_000;
/// Rows of a table if the pack does not say.
const ROWS_MAX: usize = 100;
/// The most rows a table may allow.
const ROWS_LIMIT: usize = 1_000;
/// Files of a field if the pack does not say.
const FILES_MAX: usize = 6;
/// The most files a field may allow.
const FILES_LIMIT: usize = 20;
/// Texts that are joined to one.
const JOINED_MAX: usize = 6;
/// How deep tests may be nested.
const DEPTH_MAX: usize = 8;
/// The longest deadline in days, and the earliest and latest word about one.
const DAYS_MAX: i32 = 36_500;
/// The earliest and latest word about a clock in minutes: a week. Later is what days are for.
const MINUTES_MAX: i32 = 10_080;
/// Blocks of a printed record.
const BLOCKS_MAX: usize = 60;
/// Characters of a heading or of the name of who signs.
const HEADING_CHARS: usize = 100;
/// Characters of a printed paragraph.
const PARAGRAPH_CHARS: usize = 2_000;
/// People who sign in one row of lines.
const SIGNATURES_MAX: usize = 6;
/// The longest that a register says its records are kept.
const RETAINED_YEARS_MAX: i32 = 100;
/// The day of the act, where a test asks for a date.
const DAY_OF_ACT: &str = "today";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    kind: Spanned<String>,
    name: String,
    name_en: String,
    standard: Spanned<String>,
    #[serde(default)]
    clause: String,
    #[serde(default)]
    effective: String,
    confidence: Spanned<String>,
    start: Spanned<String>,
    #[serde(default)]
    owner: RawOwner,
    #[serde(default)]
    exchange: Option<Spanned<String>>,
    #[serde(default)]
    retention: Option<RawRetention>,
    #[serde(default)]
    number: Option<Spanned<String>>,
    title: Spanned<String>,
    #[serde(default)]
    key: Vec<Spanned<String>>,
    #[serde(default)]
    search: Vec<Spanned<String>>,
    #[serde(default)]
    list: Vec<Spanned<String>>,
    #[serde(default)]
    filter: Vec<Spanned<String>>,
    #[serde(default)]
    import: Vec<Spanned<String>>,
    #[serde(default)]
    import_by: Option<Spanned<String>>,
    #[serde(default)]
    flag: Option<RawFlag>,
    #[serde(default)]
    certificate: Option<RawCertificate>,
    #[serde(default)]
    public: Option<Spanned<RawPublic>>,
    /// Blocks, each read by itself: what is wrong with one is told at its own line.
    #[serde(default)]
    print: Vec<Spanned<toml::Value>>,
    field: Vec<RawField>,
    state: Vec<RawState>,
    #[serde(default)]
    clock: Vec<RawClock>,
    /// Conditions that transitions share, by their names.
    #[serde(default)]
    guard: Vec<RawGuard>,
    transition: Vec<RawTransition>,
    /// Steps that no way may leave out.
    #[serde(default)]
    path: Vec<RawPath>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFlag {
    name: String,
    name_en: String,
    per: Spanned<String>,
    good: Vec<Spanned<String>>,
    bad: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCertificate {
    #[serde(rename = "in")]
    states: Spanned<Vec<Spanned<String>>>,
    shows: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    until: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPublic {
    #[serde(rename = "in")]
    states: Vec<Spanned<String>>,
    by: Vec<Spanned<String>>,
    shows: Vec<Spanned<String>>,
    #[serde(default)]
    masked: Vec<Spanned<String>>,
    #[serde(default)]
    since: Option<Spanned<String>>,
    #[serde(default)]
    retracted: Vec<Spanned<String>>,
    #[serde(default)]
    reason: Option<Spanned<String>>,
    #[serde(default)]
    owner: bool,
    source: Spanned<String>,
    confidence: Spanned<String>,
}

/// A block of a printed record as it is written: which it is, its members say.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a block is one of heading + heading_en, text + text_en, fields, table, signatures of name + name_en, certificate = true, history = true"
)]
enum RawBlock {
    Heading(RawHeading),
    Text(RawParagraph),
    Fields(RawFields),
    Table(RawTable),
    Signatures(RawSignatures),
    Certificate(RawCertificateBlock),
    History(RawHistory),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHeading {
    heading: String,
    heading_en: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawParagraph {
    text: String,
    text_en: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFields {
    fields: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTable {
    table: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSignatures {
    signatures: Vec<Words>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCertificateBlock {
    certificate: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHistory {
    history: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRetention {
    years: Spanned<i32>,
    from: Spanned<String>,
    source: Spanned<String>,
    confidence: Spanned<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawOwner {
    #[default]
    Enterprise,
    Region,
    Either,
    Everyone,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawField {
    id: Spanned<String>,
    name: String,
    name_en: String,
    #[serde(default)]
    hint: String,
    #[serde(default)]
    hint_en: String,
    #[serde(rename = "type")]
    of: Spanned<String>,
    #[serde(default)]
    unit: Option<String>,
    #[serde(default)]
    min: Option<f64>,
    #[serde(default)]
    max: Option<f64>,
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    columns: Vec<RawField>,
    #[serde(default)]
    rows_max: Option<usize>,
    /// Kinds of files; empty = all of them.
    #[serde(default)]
    accept: Vec<String>,
    /// Of a record: its kind, its states, its dates.
    #[serde(default, rename = "of")]
    of_kind: Option<String>,
    #[serde(default)]
    states: Vec<String>,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    until: Option<String>,
    #[serde(default)]
    compute: Option<Spanned<RawCompute>>,
    #[serde(default)]
    exchange: Option<Spanned<String>>,
    #[serde(default)]
    source: String,
    #[serde(default)]
    source_confidence: Option<Spanned<String>>,
}

/// A computation as it is written: which it is, its members say.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a computation is one of sum, count, difference, percent, steps + from + else, date + plus_months, date + plus_months + by, date + plus_days, date + plus_days_of, days_between, day_of, join, grade + people + shows, accident + happened + nature + shows, telling + happened + nature + heard + shows"
)]
enum RawCompute {
    Sum(RawSum),
    Count(RawCount),
    Difference(RawDifference),
    Percent(RawPercent),
    Steps(RawSteps),
    Months(RawMonths),
    PlusDays(RawPlusDays),
    PlusDaysOf(RawPlusDaysOf),
    DaysBetween(RawDaysBetween),
    DayOf(RawDayOf),
    Join(RawJoin),
    Grade(RawGrade),
    Accident(RawAccident),
    Telling(RawTelling),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSum {
    sum: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCount {
    count: String,
    /// Of which this holds; left out = all.
    #[serde(default, rename = "where")]
    when: Option<RawTest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDifference {
    difference: [String; 2],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPercent {
    percent: [String; 2],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSteps {
    steps: String,
    from: Vec<(f64, String)>,
    #[serde(rename = "else")]
    otherwise: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMonths {
    date: String,
    plus_months: RawPlus,
    #[serde(default)]
    by: Vec<(String, i32)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlusDays {
    date: String,
    plus_days: i32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlusDaysOf {
    date: String,
    plus_days_of: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDaysBetween {
    days_between: [String; 2],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDayOf {
    day_of: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawJoin {
    join: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGrade {
    grade: String,
    people: String,
    shows: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAccident {
    accident: String,
    happened: String,
    nature: String,
    shows: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTelling {
    telling: String,
    happened: String,
    nature: String,
    heard: [String; 5],
    shows: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawPlus {
    Fixed(i32),
    Field(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawState {
    id: Spanned<String>,
    name: String,
    name_en: String,
    #[serde(default)]
    end: bool,
    #[serde(default)]
    task: Vec<String>,
    #[serde(default)]
    task_person: Option<Spanned<String>>,
    #[serde(default)]
    task_from: Option<i32>,
    #[serde(default)]
    deadline: Option<Spanned<RawDeadline>>,
    #[serde(default)]
    deadline_source: String,
    #[serde(default)]
    deadline_confidence: Option<Spanned<String>>,
    #[serde(default)]
    escalate: Vec<Escalation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClock {
    id: Spanned<String>,
    name: String,
    name_en: String,
    #[serde(rename = "in")]
    states: Vec<Spanned<String>>,
    #[serde(default)]
    each: Option<Spanned<String>>,
    #[serde(default, rename = "where")]
    when: Option<Spanned<RawTest>>,
    #[serde(default)]
    key: Vec<Spanned<String>>,
    until: Spanned<String>,
    #[serde(default)]
    task: Vec<String>,
    escalate: Vec<ClockStep>,
    source: Spanned<String>,
    confidence: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a deadline is { field } or { days } or { days, working }")]
enum RawDeadline {
    Field(RawDeadlineField),
    Days(RawDeadlineDays),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDeadlineField {
    field: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDeadlineDays {
    days: i32,
    #[serde(default)]
    working: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTransition {
    id: Spanned<String>,
    name: String,
    name_en: String,
    from: Vec<Spanned<String>>,
    /// Left out: it stays where it is.
    #[serde(default)]
    to: Option<Spanned<String>>,
    #[serde(default)]
    back: bool,
    /// It is taken of an end: a mistake that is taken back, or something found later.
    #[serde(default)]
    after_end: bool,
    /// The product takes it, on a page of its own: it fills what nobody may type.
    #[serde(default)]
    own_page: bool,
    #[serde(default)]
    turns: Vec<RawTurn>,
    who: Spanned<Vec<String>>,
    #[serde(default)]
    require: Vec<Spanned<String>>,
    #[serde(default)]
    fresh: Vec<Spanned<String>>,
    #[serde(default)]
    may: Vec<Spanned<String>>,
    /// Names of shared guards.
    #[serde(default, rename = "use")]
    shared: Vec<Spanned<String>>,
    #[serde(default)]
    guard: Vec<RawGuard>,
    #[serde(default)]
    opens: Vec<Spanned<RawOpens>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOpens {
    kind: String,
    by: String,
    /// A table: one record for each of its rows.
    #[serde(default)]
    each: Option<String>,
    /// Of which this holds.
    #[serde(default, rename = "where")]
    when: Option<RawTest>,
    /// Its date column that says when a row was opened.
    #[serde(default)]
    mark: Option<String>,
    #[serde(default)]
    set: BTreeMap<String, String>,
    #[serde(default)]
    with: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTurn {
    when: Spanned<RawTest>,
    to: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGuard {
    id: Spanned<String>,
    says: String,
    says_en: String,
    test: Spanned<RawTest>,
}

/// A test as it is written: which it is, its members say.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a test is one of all, any, not, filled, field + is, changed, extends, fell, keeps, was, same_rows, field + at_least, field + at_most, field + above, field + after, days_between + at_most, other_person_than, same_person_as, actor_is, before_deadline, parent_in, children + in + at_least or at_most"
)]
enum RawTest {
    All(RawAll),
    Any(RawAny),
    Not(RawNot),
    Filled(RawFilled),
    Is(RawIs),
    Changed(RawChanged),
    Extends(RawExtends),
    Fell(RawFell),
    Keeps(RawKeeps),
    Was(RawWas),
    SameRows(RawSameRows),
    AtLeast(RawAtLeast),
    AtMost(RawAtMost),
    Above(RawAbove),
    After(RawAfter),
    DaysAtMost(RawDays),
    OtherPersonThan(RawOther),
    SamePersonAs(RawSame),
    ActorIs(RawActor),
    BeforeDeadline(RawBefore),
    ParentIn(RawParent),
    Children(RawChildren),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAll {
    all: Vec<RawTest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAny {
    any: Vec<RawTest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNot {
    not: Box<RawTest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFilled {
    filled: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIs {
    field: String,
    is: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawChanged {
    changed: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExtends {
    extends: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFell {
    fell: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKeeps {
    keeps: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWas {
    was: Box<RawTest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSameRows {
    same_rows: String,
    #[serde(default)]
    of: Option<Box<RawTest>>,
    #[serde(default)]
    but: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAtLeast {
    field: String,
    at_least: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAtMost {
    field: String,
    at_most: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAbove {
    field: String,
    above: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAfter {
    field: String,
    after: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDays {
    days_between: [String; 2],
    at_most: i32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOther {
    other_person_than: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSame {
    same_person_as: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawActor {
    actor_is: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBefore {
    before_deadline: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawParent {
    parent_in: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawChildren {
    children: String,
    #[serde(rename = "in")]
    states: Vec<String>,
    #[serde(default)]
    at_least: usize,
    #[serde(default)]
    at_most: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPath {
    to: Spanned<String>,
    through: Spanned<Vec<String>>,
}

impl Kind {
    /// Reads a `register.toml`.
    ///
    /// What it says of other kinds is looked at by [`super::check_together`].
    ///
    /// # Errors
    /// Everything that is wrong, in order of lines.
    pub fn parse(text: &str) -> Result<Self, Vec<Breach>> {
        let file: File = match toml::from_str(text) {
            Ok(file) => file,
            Err(error) => {
                let line = error.span().map_or(0, |span| line_of(text, span.start));
                return Err(vec![Breach { line, field: "file".to_owned(), reason: error.message().to_owned() }]);
            }
        };
        let mut reader = Reader { text, breaches: Vec::new() };
        let kind = reader.kind(file);
        let mut breaches = reader.breaches;
        if breaches.is_empty() {
            return Ok(kind);
        }
        breaches.sort_by_key(|b| b.line);
        Err(breaches)
    }
}

fn is_text(of: &FieldType) -> bool {
    matches!(of, FieldType::Text { .. })
}

/// One short value, as a list shows it in a column.
fn is_plain(of: &FieldType) -> bool {
    !matches!(of, FieldType::Table { .. } | FieldType::File { .. } | FieldType::Place)
}

/// Has a day.
fn is_day(of: &FieldType) -> bool {
    matches!(of, FieldType::Date | FieldType::DateTime)
}

fn is_sorted(of: &FieldType) -> bool {
    is_plain(of) && !is_text(of)
}

/// What somebody can write into a sheet.
fn is_cell(of: &FieldType) -> bool {
    is_plain(of) && !matches!(of, FieldType::Person | FieldType::Record { .. })
}

fn plain(words: Vec<Spanned<String>>) -> Vec<String> {
    words.into_iter().map(Spanned::into_inner).collect()
}

/// Collects what is wrong.
struct Reader<'a> {
    text: &'a str,
    breaches: Vec<Breach>,
}

impl Reader<'_> {
    fn wrong(&mut self, span: &Range<usize>, field: impl Into<String>, reason: impl Into<String>) {
        self.breaches.push(Breach { line: line_of(self.text, span.start), field: field.into(), reason: reason.into() });
    }

    /// A word that programs use: `a-z`, `0-9` and `_`, beginning with a letter, at most 40 characters; each once.
    fn word(&mut self, of: &str, word: &Spanned<String>, seen: &mut BTreeSet<String>) -> String {
        let text = word.as_ref();
        if !is_word(text, '_') {
            self.wrong(
                &word.span(),
                format!("{of}.id"),
                format!("{text:?} is no word: a-z, 0-9 and _, beginning with a letter, at most 40"),
            );
        } else if !seen.insert(text.clone()) {
            self.wrong(&word.span(), format!("{of}.id"), format!("{text:?} is there twice"));
        }
        text.clone()
    }

    fn confidence(&mut self, field: &str, word: &Spanned<String>) {
        if !CONFIDENCES.contains(&word.as_ref().as_str()) {
            self.wrong(&word.span(), field, "is not verified, verified-secondary, product or unverified");
        }
    }

    fn kind(&mut self, file: File) -> Kind {
        let mut one = BTreeSet::new();
        let id = self.word("kind", &file.kind, &mut one);
        if file.standard.as_ref().is_empty() {
            self.wrong(&file.standard.span(), "standard", "is missing: no source, no register");
        }
        self.confidence("confidence", &file.confidence);
        for (what, n) in [("field", file.field.len()), ("state", file.state.len()), ("transition", file.transition.len())] {
            if n == 0 || n > ITEMS_MAX {
                self.wrong(&(0..0), what, format!("1 to {ITEMS_MAX} of them"));
            }
        }
        let mut fields: Vec<Field> = Vec::new();
        let mut seen = BTreeSet::new();
        let mut exchanges: BTreeMap<String, Range<usize>> = BTreeMap::new();
        for raw in file.field {
            let span = raw.of.span();
            let columns = raw.columns.iter().map(|column| (format!("{}.{}", raw.id.as_ref(), column.id.as_ref()), column));
            for (path, raw) in columns.chain([(raw.id.as_ref().clone(), &raw)]) {
                exchanges.insert(path, raw.exchange.as_ref().map_or_else(|| raw.id.span(), Spanned::span));
            }
            let field = self.field(raw, "field", &mut seen, &fields);
            if matches!(file.owner, RawOwner::Everyone) && matches!(field.of, FieldType::Person) {
                self.wrong(&span, format!("field.{}.type", field.id), "its records are nobody's: there are no people to name");
            }
            fields.push(field);
        }
        let types: BTreeMap<String, Field> = fields.iter().map(|f| (f.id.clone(), f.clone())).collect();
        self.names("title", std::slice::from_ref(&file.title), &types, is_text, "a text");
        self.names("key", &file.key, &types, is_cell, "a text, number, date or choice");
        self.names("search", &file.search, &types, is_text, "a text");
        self.names("list", &file.list, &types, is_plain, "no table, no files and no place");
        self.names("filter", &file.filter, &types, is_sorted, "a choice, date, number, person or record");
        self.names("import", &file.import, &types, is_cell, "a text, number, date or choice");
        let number = file.number.map(|pattern| self.number(&pattern, &file.owner)).unwrap_or_default();

        if let Some(word) = &file.exchange
            && matches!(file.owner, RawOwner::Everyone)
            && word.as_ref() != Exchange::None.as_str()
        {
            self.wrong(&word.span(), "exchange", "its records are nobody's: no certificate of a node vouches for them, they stay");
        }
        let exchange = file.exchange.and_then(|word| self.exchange("exchange", &word));
        let retention = file.retention.map(|raw| self.retention(raw));

        let mut seen = BTreeSet::new();
        let mut lines = BTreeMap::new();
        let mut states = Vec::new();
        for raw in file.state {
            let span = raw.id.span();
            let state = self.state(raw, &types, &mut seen);
            lines.insert(state.id.clone(), span);
            states.push(state);
        }
        if !lines.contains_key(file.start.as_ref()) {
            self.wrong(&file.start.span(), "start", format!("there is no state {:?}", file.start.as_ref()));
        }
        let flag = file.flag.map(|raw| self.flag(raw, &file.owner, &file.filter, &types, file.start.as_ref(), &lines));
        let certificate = file.certificate.map(|raw| self.certificate(raw, &id, &number, &types, file.start.as_ref(), &lines));
        let public_span = file.public.as_ref().map(Spanned::span);
        let public = file.public.map(|raw| self.public(raw, file.title.as_ref(), &file.filter, &types, file.start.as_ref(), &lines));
        let print = self.print(file.print, &types, certificate.is_some());
        let known: BTreeSet<String> = file.transition.iter().map(|t| t.id.as_ref().clone()).collect();
        let clocks = self.clocks(file.clock, file.start.as_ref(), &states, &types);
        let shared = self.shared(file.guard, &file.transition, &types, &known);
        let mut seen = BTreeSet::new();
        let transitions: Vec<Transition> = file
            .transition
            .into_iter()
            .map(|raw| self.transition(raw, file.start.as_ref(), &states, &types, &known, &shared, &mut seen))
            .collect();
        let by = file.import_by.as_ref().and_then(|by| transitions.iter().find(|t| t.id == *by.as_ref()));
        match (&file.import_by, by) {
            (Some(by), None) => self.wrong(&by.span(), "import_by", format!("there is no transition {:?}", by.as_ref())),
            (Some(word), Some(by)) if !by.from.contains(file.start.as_ref()) => {
                self.wrong(&word.span(), "import_by", format!("does not lead from {:?}", file.start.as_ref()));
            }
            (None, _) if !file.import.is_empty() => {
                self.wrong(&file.import[0].span(), "import_by", "is missing: by which transition is an imported row made?");
            }
            (Some(word), Some(by)) => {
                let columns: BTreeSet<&str> = file.import.iter().map(|id| id.as_ref().as_str()).collect();
                if let Some(missing) = by.require.iter().find(|id| !columns.contains(id.as_str())) {
                    self.wrong(&word.span(), "import", format!("has no column {missing:?}, which {:?} requires", by.id));
                }
                if !by.opens.is_empty() {
                    self.wrong(&word.span(), "import_by", format!("{:?} opens other records: a row would be more than a row", by.id));
                }
                let named: Vec<&Field> = fields.iter().filter(|f| columns.contains(f.id.as_str())).collect();
                let is_twice = |a: &Field, b: &Field| a.id != b.id && (a.name == b.name || a.name_en == b.name_en);
                if let Some(twice) = named.iter().find(|a| named.iter().any(|b| is_twice(a, b))) {
                    self.wrong(&word.span(), "import", format!("two columns are called as {:?}", twice.id));
                }
                if let Some(extra) = file.import.iter().find(|id| !by.require.contains(id.as_ref()) && !by.may.contains(id.as_ref())) {
                    self.wrong(&extra.span(), "import", format!("{:?} is not set by {:?}", extra.as_ref(), by.id));
                }
            }
            _ => {}
        }
        let kind = Kind {
            id,
            name: file.name,
            name_en: file.name_en,
            standard: file.standard.into_inner(),
            clause: file.clause,
            effective: file.effective,
            confidence: file.confidence.into_inner(),
            start: file.start.into_inner(),
            owner: match file.owner {
                RawOwner::Enterprise => Owner::Enterprise,
                RawOwner::Region => Owner::Region,
                RawOwner::Either => Owner::Either,
                RawOwner::Everyone => Owner::Everyone,
            },
            exchange,
            retention,
            number,
            title: file.title.into_inner(),
            key: plain(file.key),
            search: plain(file.search),
            list: plain(file.list),
            filter: plain(file.filter),
            import: plain(file.import),
            import_by: file.import_by.map(Spanned::into_inner),
            flag,
            certificate,
            public,
            print,
            fields,
            states,
            clocks,
            transitions,
        };
        if self.breaches.is_empty() {
            self.life(&kind, &lines, &file.path);
            for (field, reason) in kind.public.as_ref().map(|public| public.breaches(&kind)).unwrap_or_default() {
                self.wrong(&public_span.clone().unwrap_or_default(), field, reason);
            }
            for (path, leak) in kind.leaks() {
                self.wrong(&exchanges.get(&path).cloned().unwrap_or_default(), format!("field.{path}.exchange"), leak);
            }
        }
        kind
    }

    fn exchange(&mut self, field: &str, word: &Spanned<String>) -> Option<Exchange> {
        let found = Exchange::parse(word.as_ref());
        if found.is_none() {
            self.wrong(&word.span(), field, "is not none, county, city or province");
        }
        found
    }

    fn flag(
        &mut self,
        raw: RawFlag,
        owner: &RawOwner,
        filter: &[Spanned<String>],
        types: &BTreeMap<String, Field>,
        start: &str,
        states: &BTreeMap<String, Range<usize>>,
    ) -> Flag {
        if !matches!(owner, RawOwner::Enterprise) {
            self.wrong(&raw.per.span(), "flag", "its records are no enterprise's: there is none to flag");
        }
        self.names("flag.per", std::slice::from_ref(&raw.per), types, |of| matches!(of, FieldType::Choice { .. }), "a choice");
        if !filter.iter().any(|id| id.as_ref() == raw.per.as_ref()) {
            self.wrong(
                &raw.per.span(),
                "flag.per",
                format!("{:?} is not among the fields of filter, by which it is found", raw.per.as_ref()),
            );
        }
        let mut seen = BTreeSet::new();
        for state in raw.good.iter().chain(&raw.bad) {
            if !states.contains_key(state.as_ref()) || state.as_ref() == start {
                self.wrong(&state.span(), "flag", format!("there is no state {:?} in which records are kept", state.as_ref()));
            } else if !seen.insert(state.as_ref()) {
                self.wrong(&state.span(), "flag", format!("{:?} is there twice", state.as_ref()));
            }
        }
        Flag { name: raw.name, name_en: raw.name_en, per: raw.per.into_inner(), good: plain(raw.good), bad: plain(raw.bad) }
    }

    fn certificate(
        &mut self,
        raw: RawCertificate,
        kind: &str,
        number: &[NumberPart],
        types: &BTreeMap<String, Field>,
        start: &str,
        states: &BTreeMap<String, Range<usize>>,
    ) -> Certificate {
        let (state_span, shows_span) = (raw.states.span(), raw.shows.span());
        let (named, shows) = (raw.states.into_inner(), raw.shows.into_inner());
        if named.is_empty() {
            self.wrong(&state_span, "certificate.in", "names no state");
        }
        let mut seen = BTreeSet::new();
        for state in &named {
            if !states.contains_key(state.as_ref()) || state.as_ref() == start {
                self.wrong(&state.span(), "certificate.in", format!("there is no state {:?} in which records are kept", state.as_ref()));
            } else if !seen.insert(state.as_ref()) {
                self.wrong(&state.span(), "certificate.in", format!("{:?} is there twice", state.as_ref()));
            }
        }
        self.names("certificate.shows", &shows, types, is_cell, "a text, number, date or choice");
        self.names("certificate.until", raw.until.as_slice(), types, |of| matches!(of, FieldType::Date), "a date");
        if shows.is_empty() || shows.len() > certificate::SHOWS_MAX {
            self.wrong(&shows_span, "certificate.shows", format!("1 to {} fields", certificate::SHOWS_MAX));
        }
        let certificate = Certificate { states: plain(named), shows: plain(shows), until: raw.until.map(Spanned::into_inner) };
        // A code of a division has at most 12 digits; the figures of a number that is counted on are not many more than its pattern asks for.
        let part = |part: &NumberPart| match part {
            NumberPart::Text(text) => text.len(),
            NumberPart::Region => 12,
            NumberPart::Year => 4,
            NumberPart::Seq(digits) => (*digits).max(6),
        };
        let least = certificate.bytes_least(kind, number.iter().map(part).sum(), |id| types.get(id).map(|field| field.of.clone()));
        if least > certificate::BYTES_MAX {
            let most = certificate::BYTES_MAX;
            self.wrong(&shows_span, "certificate.shows", format!("needs {least} bytes at least, a code that a telephone reads has {most}"));
        }
        certificate
    }

    fn public(
        &mut self,
        raw: Spanned<RawPublic>,
        title: &str,
        filter: &[Spanned<String>],
        types: &BTreeMap<String, Field>,
        start: &str,
        states: &BTreeMap<String, Range<usize>>,
    ) -> Public {
        let span = raw.span();
        let raw = raw.into_inner();
        if raw.states.is_empty() {
            self.wrong(&span, "public.in", "names no state");
        }
        let mut seen = BTreeSet::new();
        for state in raw.states.iter().chain(&raw.retracted) {
            if !states.contains_key(state.as_ref()) || state.as_ref() == start {
                self.wrong(&state.span(), "public.in", format!("there is no state {:?} in which records are kept", state.as_ref()));
            } else if !seen.insert(state.as_ref()) {
                self.wrong(&state.span(), "public.in", format!("{:?} is there twice", state.as_ref()));
            }
        }
        self.names("public.shows", &raw.shows, types, public::is_shown, "no person and no files");
        self.names("public.masked", &raw.masked, types, public::is_masked, "a text or person");
        self.names("public.since", raw.since.as_slice(), types, is_day, "a date or instant");
        self.names("public.reason", raw.reason.as_slice(), types, is_text, "a text");
        if !raw.shows.iter().any(|id| id.as_ref() == title) {
            self.wrong(&span, "public.shows", format!("does not show the title {title:?}, by which it is listed"));
        }
        if let Some(both) = raw.masked.iter().find(|id| raw.shows.iter().any(|shown| shown.as_ref() == id.as_ref())) {
            self.wrong(&both.span(), "public.masked", format!("{:?} is shown as it stands, too", both.as_ref()));
        }
        // It is found by its index.
        if let Some(since) = raw.since.as_ref().filter(|since| !filter.iter().any(|id| id.as_ref() == since.as_ref())) {
            self.wrong(&since.span(), "public.since", format!("{:?} is not among the fields of filter", since.as_ref()));
        }
        if raw.reason.is_some() == raw.retracted.is_empty() {
            let reason = if raw.reason.is_some() { "is of records that are retracted" } else { "is missing: why was it retracted?" };
            self.wrong(&span, "public.reason", reason);
        }
        if raw.source.as_ref().is_empty() {
            self.wrong(&raw.source.span(), "public.source", "is missing: by what is it public?");
        }
        self.confidence("public.confidence", &raw.confidence);
        Public {
            states: plain(raw.states),
            by: plain(raw.by),
            shows: plain(raw.shows),
            masked: plain(raw.masked),
            since: raw.since.map(Spanned::into_inner),
            retracted: plain(raw.retracted),
            reason: raw.reason.map(Spanned::into_inner),
            owner: raw.owner,
            source: raw.source.into_inner(),
            confidence: raw.confidence.into_inner(),
        }
    }

    fn print(&mut self, raw: Vec<Spanned<toml::Value>>, types: &BTreeMap<String, Field>, has_certificate: bool) -> Vec<Block> {
        if let Some(first) = raw.get(BLOCKS_MAX) {
            self.wrong(&first.span(), "print", format!("at most {BLOCKS_MAX} blocks"));
        }
        let mut blocks = Vec::new();
        for raw in raw {
            let span = raw.span();
            match raw.into_inner().try_into::<RawBlock>() {
                Ok(raw) => match block(raw, types, has_certificate) {
                    Ok(block) => blocks.push(block),
                    Err((what, reason)) => self.wrong(&span, format!("print.{what}"), reason),
                },
                Err(error) => self.wrong(&span, "print", error.message()),
            }
        }
        blocks
    }

    fn retention(&mut self, raw: RawRetention) -> Retention {
        let years = *raw.years.as_ref();
        if !(1..=RETAINED_YEARS_MAX).contains(&years) {
            self.wrong(&raw.years.span(), "retention.years", format!("1 to {RETAINED_YEARS_MAX} years"));
        }
        if raw.from.as_ref() != "end" {
            self.wrong(&raw.from.span(), "retention.from", "is \"end\": the day on which nothing follows any more");
        }
        if raw.source.as_ref().is_empty() {
            self.wrong(&raw.source.span(), "retention.source", "is missing: no source, no number of years");
        }
        self.confidence("retention.confidence", &raw.confidence);
        Retention { years, source: raw.source.into_inner(), confidence: raw.confidence.into_inner() }
    }

    /// Whether these fields are there, each once and of a type that fits.
    fn names(&mut self, what: &str, ids: &[Spanned<String>], types: &BTreeMap<String, Field>, fits: fn(&FieldType) -> bool, wanted: &str) {
        let mut seen = BTreeSet::new();
        for id in ids {
            let reason = match types.get(id.as_ref()) {
                None => format!("there is no field {:?}", id.as_ref()),
                Some(field) if !fits(&field.of) => format!("{:?} must be {wanted}", id.as_ref()),
                Some(field) if what == "import" && field.compute.is_some() => format!("{:?} is computed", id.as_ref()),
                Some(_) if !seen.insert(id.as_ref()) => format!("{:?} is there twice", id.as_ref()),
                Some(_) => continue,
            };
            self.wrong(&id.span(), what, reason);
        }
    }

    fn number(&mut self, pattern: &Spanned<String>, owner: &RawOwner) -> Vec<NumberPart> {
        let (mut parts, mut rest) = (Vec::new(), pattern.as_ref().as_str());
        let mut counts = 0;
        while let Some(open) = rest.find('{') {
            if open > 0 {
                parts.push(NumberPart::Text(rest[..open].to_owned()));
            }
            let Some(close) = rest[open..].find('}') else { break };
            let word = &rest[open + 1..open + close];
            let digits = word.strip_prefix("seq:").and_then(|n| n.parse().ok()).filter(|n| (1..=9).contains(n));
            match (word, digits) {
                ("region", _) => parts.push(NumberPart::Region),
                ("year", _) => parts.push(NumberPart::Year),
                (_, Some(digits)) => {
                    counts += 1;
                    parts.push(NumberPart::Seq(digits));
                }
                _ => self.wrong(&pattern.span(), "number", format!("{{{word}}} is not {{region}}, {{year}} or {{seq:1}} to {{seq:9}}")),
            }
            rest = &rest[open + close + 1..];
        }
        if rest.contains(['{', '}']) {
            self.wrong(&pattern.span(), "number", "a brace has no partner");
        } else if !rest.is_empty() {
            parts.push(NumberPart::Text(rest.to_owned()));
        }
        if counts != 1 || pattern.as_ref().len() > 60 {
            self.wrong(&pattern.span(), "number", "has one {seq:N}, and at most 60 characters");
        }
        // It is counted per division and year: without them the same number would come again.
        let has_region = parts.contains(&NumberPart::Region);
        if matches!(owner, RawOwner::Everyone) {
            if has_region || !parts.contains(&NumberPart::Year) {
                self.wrong(&pattern.span(), "number", "has {year} and no {region}: its records are in none, and are counted by the year");
            }
        } else if !has_region || !parts.contains(&NumberPart::Year) {
            self.wrong(&pattern.span(), "number", "has {region} and {year}: it is counted by them");
        }
        parts
    }

    fn field(&mut self, raw: RawField, of: &str, seen: &mut BTreeSet<String>, above: &[Field]) -> Field {
        let id = self.word(of, &raw.id, seen);
        let path = |what: &str| format!("{of}.{id}.{what}");
        let is_column = of != "field";
        let kind = match raw.of.as_ref().as_str() {
            "text" => {
                let max = raw.max.unwrap_or(TEXT_MAX as f64);
                if !(1.0..=TEXT_LIMIT as f64).contains(&max) {
                    self.wrong(&raw.id.span(), path("max"), format!("a text has 1 to {TEXT_LIMIT} characters"));
                }
                FieldType::Text { max: max as usize }
            }
            "number" => {
                if raw.min.zip(raw.max).is_some_and(|(min, max)| min > max) {
                    self.wrong(&raw.id.span(), path("min"), "is above max");
                }
                if raw.unit.is_none() {
                    self.wrong(&raw.id.span(), path("unit"), "is missing; a count has the unit \"\"");
                }
                FieldType::Number { unit: raw.unit.unwrap_or_default(), min: raw.min, max: raw.max }
            }
            "date" => FieldType::Date,
            "datetime" => FieldType::DateTime,
            "choice" => {
                let ids: BTreeSet<&str> = raw.choices.iter().map(|c| c.id.as_str()).collect();
                if ids.is_empty() || ids.len() < raw.choices.len() {
                    self.wrong(&raw.id.span(), path("choices"), "there is one at least, and each once");
                }
                FieldType::Choice { choices: raw.choices }
            }
            "person" if !is_column => FieldType::Person,
            "place" if !is_column => FieldType::Place,
            "record" if !is_column => {
                if raw.of_kind.is_none() {
                    self.wrong(&raw.id.span(), path("of"), "is missing: a record of which register?");
                }
                FieldType::Record {
                    of: raw.of_kind.clone().unwrap_or_default(),
                    states: raw.states.clone(),
                    from: raw.from.clone(),
                    until: raw.until.clone(),
                }
            }
            "table" if !is_column => {
                let rows_max = raw.rows_max.unwrap_or(ROWS_MAX);
                if !(1..=ROWS_LIMIT).contains(&rows_max) {
                    self.wrong(&raw.id.span(), path("rows_max"), format!("a table has 1 to {ROWS_LIMIT} rows"));
                }
                if raw.columns.is_empty() || raw.columns.len() > ITEMS_MAX {
                    self.wrong(&raw.id.span(), path("columns"), format!("1 to {ITEMS_MAX} of them"));
                }
                let mut seen = BTreeSet::new();
                let columns = raw.columns.into_iter().map(|column| self.field(column, &path("columns"), &mut seen, &[])).collect();
                FieldType::Table { columns, rows_max }
            }
            "file" if !is_column => {
                let max = raw.max.unwrap_or(FILES_MAX as f64);
                if !(1.0..=FILES_LIMIT as f64).contains(&max) || max.fract() != 0.0 {
                    self.wrong(&raw.id.span(), path("max"), format!("1 to {FILES_LIMIT} files"));
                }
                let kinds: BTreeSet<FileKind> = raw.accept.iter().filter_map(|word| FileKind::parse(word)).collect();
                if kinds.len() < raw.accept.len() {
                    let known = FileKind::ALL.map(FileKind::as_str).join(", ");
                    self.wrong(&raw.id.span(), path("accept"), format!("each once, of {known}"));
                }
                let accept = if raw.accept.is_empty() { FileKind::ALL.to_vec() } else { kinds.into_iter().collect() };
                FieldType::File { max: max as usize, accept }
            }
            other => {
                let known = if is_column {
                    "text, number, date, datetime or choice"
                } else {
                    "text, number, date, datetime, choice, person, place, file, table or record"
                };
                self.wrong(&raw.of.span(), path("type"), format!("{other:?} is not {known}"));
                FieldType::Date
            }
        };
        if (raw.of_kind.is_some() || !raw.states.is_empty() || raw.from.is_some() || raw.until.is_some())
            && !matches!(kind, FieldType::Record { .. })
        {
            self.wrong(&raw.id.span(), path("of"), "`of`, `states`, `from` and `until` are of records alone");
        }
        if !raw.accept.is_empty() && !matches!(kind, FieldType::File { .. }) {
            self.wrong(&raw.id.span(), path("accept"), "is of files alone");
        }
        let compute = raw.compute.and_then(|raw| {
            let span = raw.span();
            match compute(raw.into_inner(), &kind, above) {
                Ok(_) if is_column => {
                    self.wrong(&span, path("compute"), "a column is not computed");
                    None
                }
                Ok(compute) => Some(compute),
                Err(reason) => {
                    self.wrong(&span, path("compute"), reason);
                    None
                }
            }
        });
        let exchange = raw.exchange.and_then(|word| self.exchange(&path("exchange"), &word));
        if let Some(confidence) = &raw.source_confidence {
            self.confidence(&path("source_confidence"), confidence);
        } else if !raw.source.is_empty() {
            self.wrong(&raw.id.span(), path("source_confidence"), "is missing beside the source");
        }
        Field {
            id,
            name: raw.name,
            name_en: raw.name_en,
            hint: raw.hint,
            hint_en: raw.hint_en,
            of: kind,
            compute,
            exchange,
            source: raw.source,
            source_confidence: raw.source_confidence.map(Spanned::into_inner).unwrap_or_default(),
        }
    }

    fn state(&mut self, raw: RawState, types: &BTreeMap<String, Field>, seen: &mut BTreeSet<String>) -> State {
        let id = self.word("state", &raw.id, seen);
        let path = |what: &str| format!("state.{id}.{what}");
        if let Some(person) = &raw.task_person
            && !types.get(person.as_ref()).is_some_and(|f| matches!(f.of, FieldType::Person))
        {
            self.wrong(&person.span(), path("task_person"), format!("{:?} is no person field", person.as_ref()));
        }
        let deadline = raw.deadline.map(|raw| {
            let span = raw.span();
            match raw.into_inner() {
                RawDeadline::Field(RawDeadlineField { field }) => {
                    if !types.get(&field).is_some_and(|f| is_day(&f.of)) {
                        self.wrong(&span, path("deadline"), format!("{field:?} is no date"));
                    }
                    Deadline::Field(field)
                }
                RawDeadline::Days(RawDeadlineDays { days, working }) => {
                    if !(0..=DAYS_MAX).contains(&days) {
                        self.wrong(&span, path("deadline"), format!("0 to {DAYS_MAX} days"));
                    }
                    if working { Deadline::WorkingDays(days.unsigned_abs()) } else { Deadline::Days(days) }
                }
            }
        });
        match &raw.deadline_confidence {
            Some(confidence) => self.confidence(&path("deadline_confidence"), confidence),
            // A date that people set is its own source; days that the pack sets are not.
            None if matches!(deadline, Some(Deadline::Days(_) | Deadline::WorkingDays(_))) || !raw.deadline_source.is_empty() => {
                self.wrong(&raw.id.span(), path("deadline_confidence"), "is missing: no source, no number of days");
            }
            None => {}
        }
        let told = raw.escalate.iter().flat_map(|step| &step.to);
        if let Some(unknown) = raw.task.iter().chain(told).find(|role| Role::parse(role).is_none()) {
            self.wrong(&raw.id.span(), path("task"), format!("there is no role {unknown:?}"));
        }
        let mut escalate = raw.escalate;
        escalate.sort_by_key(|step| step.after);
        let is_bad = |step: &Escalation| step.to.is_empty() || !(-DAYS_MAX..=DAYS_MAX).contains(&step.after);
        if escalate.iter().any(is_bad) || escalate.len() > 20 {
            self.wrong(&raw.id.span(), path("escalate"), format!("at most 20 steps, each to a role, within {DAYS_MAX} days"));
        }
        if !escalate.is_empty() && deadline.is_none() {
            self.wrong(&raw.id.span(), path("escalate"), "there is no deadline");
        }
        if let Some(days) = raw.task_from
            && (deadline.is_none() || raw.task.is_empty() || !(-DAYS_MAX..=0).contains(&days))
        {
            self.wrong(&raw.id.span(), path("task_from"), format!("is -{DAYS_MAX} to 0 days from the deadline of a task"));
        }
        if raw.end && (deadline.is_some() || !raw.task.is_empty()) {
            self.wrong(&raw.id.span(), path("end"), "nothing is to be done where nothing follows");
        }
        State {
            id,
            name: raw.name,
            name_en: raw.name_en,
            is_end: raw.end,
            task: raw.task,
            task_person: raw.task_person.map(Spanned::into_inner),
            task_from: raw.task_from,
            deadline,
            deadline_source: raw.deadline_source,
            deadline_confidence: raw.deadline_confidence.map(Spanned::into_inner).unwrap_or_default(),
            escalate,
        }
    }

    fn clocks(&mut self, raw: Vec<RawClock>, start: &str, states: &[State], types: &BTreeMap<String, Field>) -> Vec<Clock> {
        let (mut seen, mut clocks) = (BTreeSet::new(), Vec::new());
        for raw in raw {
            let id = self.word("clock", &raw.id, &mut seen);
            let path = |what: &str| format!("clock.{id}.{what}");
            if raw.states.is_empty() {
                self.wrong(&raw.id.span(), path("in"), "names no state");
            }
            for state in &raw.states {
                let is_lived_in = states.iter().any(|s| s.id == *state.as_ref() && !s.is_end && s.id != start);
                if !is_lived_in {
                    self.wrong(&state.span(), path("in"), format!("there is no state {:?} in which something follows", state.as_ref()));
                }
            }
            let is_instant = |f: &Field| matches!(f.of, FieldType::DateTime);
            let (each, is_right) = match raw.each {
                Some(table) => match types.get(table.as_ref()).map(|f| &f.of) {
                    Some(FieldType::Table { columns, .. }) => {
                        let is_right = columns.iter().any(|c| c.id == *raw.until.as_ref() && is_instant(c));
                        (self.clock_each(&id, table, columns, raw.when, raw.key), is_right)
                    }
                    _ => {
                        self.wrong(&table.span(), path("each"), format!("{:?} is no table", table.as_ref()));
                        (None, true)
                    }
                },
                None => {
                    if let Some(span) = raw.when.as_ref().map(Spanned::span).or(raw.key.first().map(Spanned::span)) {
                        self.wrong(&span, path("each"), "is missing: `where` and `key` are of its rows");
                    }
                    (None, types.get(raw.until.as_ref()).is_some_and(is_instant))
                }
            };
            if !is_right {
                self.wrong(&raw.until.span(), path("until"), format!("{:?} is no instant", raw.until.as_ref()));
            }
            if raw.source.as_ref().is_empty() {
                self.wrong(&raw.source.span(), path("source"), "is missing: no source, no clock");
            }
            self.confidence(&path("confidence"), &raw.confidence);
            let told = raw.escalate.iter().flat_map(|step| &step.to);
            if let Some(unknown) = raw.task.iter().chain(told).find(|role| Role::parse(role).is_none()) {
                self.wrong(&raw.id.span(), path("task"), format!("there is no role {unknown:?}"));
            }
            let mut escalate = raw.escalate;
            escalate.sort_by_key(|step| step.after_min);
            let is_bad = |step: &ClockStep| step.to.is_empty() || !(-MINUTES_MAX..=MINUTES_MAX).contains(&step.after_min);
            if escalate.is_empty() || escalate.iter().any(is_bad) || escalate.len() > 20 {
                self.wrong(&raw.id.span(), path("escalate"), format!("1 to 20 steps, each to a role, within {MINUTES_MAX} minutes"));
            }
            clocks.push(Clock {
                id,
                name: raw.name,
                name_en: raw.name_en,
                states: plain(raw.states),
                until: raw.until.into_inner(),
                each,
                task: raw.task,
                escalate,
                source: raw.source.into_inner(),
                confidence: raw.confidence.into_inner(),
            });
        }
        clocks
    }

    /// The rows of a table that each have a clock.
    fn clock_each(
        &mut self,
        id: &str,
        table: Spanned<String>,
        columns: &[Field],
        when: Option<Spanned<RawTest>>,
        key: Vec<Spanned<String>>,
    ) -> Option<ClockEach> {
        let path = |what: &str| format!("clock.{id}.{what}");
        if key.is_empty() {
            self.wrong(&table.span(), path("key"), "names no column by which a row stays the same one");
        }
        for column in &key {
            let is_word = |f: &Field| matches!(f.of, FieldType::Choice { .. } | FieldType::Text { .. });
            if !columns.iter().any(|c| c.id == *column.as_ref() && is_word(c)) {
                self.wrong(&column.span(), path("key"), format!("{:?} is no text or choice of {:?}", column.as_ref(), table.as_ref()));
            }
        }
        let types: BTreeMap<String, Field> = columns.iter().map(|c| (c.id.clone(), c.clone())).collect();
        let when = match when.map(|when| (when.span(), test(when.into_inner(), &types, &BTreeSet::new(), 0))) {
            None => None,
            Some((span, Err(reason))) => {
                self.wrong(&span, path("where"), reason);
                return None;
            }
            Some((span, Ok(when))) => {
                let mut is_of_cells = true;
                when.visit(&mut |test| is_of_cells &= test.is_of_fields() && !test.is_of_the_day());
                if !is_of_cells {
                    self.wrong(&span, path("where"), "looks at more than the cells of a row");
                }
                Some(when)
            }
        };
        Some(ClockEach { table: table.into_inner(), when, key: plain(key) })
    }

    /// Guards that stand once and are named by the transitions that ask them.
    fn shared(
        &mut self,
        raw: Vec<RawGuard>,
        transitions: &[RawTransition],
        types: &BTreeMap<String, Field>,
        known: &BTreeSet<String>,
    ) -> BTreeMap<String, Guard> {
        if raw.len() > ITEMS_MAX {
            self.wrong(&raw[ITEMS_MAX].id.span(), "guard", format!("at most {ITEMS_MAX} of them"));
        }
        let mut seen = BTreeSet::new();
        let mut shared = BTreeMap::new();
        for raw in raw {
            let span = raw.id.span();
            let guard = self.guard("", raw, types, known, &mut seen);
            if !transitions.iter().any(|t| t.shared.iter().any(|id| *id.as_ref() == guard.id)) {
                self.wrong(&span, format!("guard.{}", guard.id), "no transition uses it");
            }
            shared.insert(guard.id.clone(), guard);
        }
        shared
    }

    #[expect(clippy::too_many_arguments, reason = "everything that a transition may name")]
    fn transition(
        &mut self,
        raw: RawTransition,
        start: &str,
        states: &[State],
        types: &BTreeMap<String, Field>,
        known: &BTreeSet<String>,
        shared: &BTreeMap<String, Guard>,
        seen: &mut BTreeSet<String>,
    ) -> Transition {
        let id = self.word("transition", &raw.id, seen);
        let of = format!("transition.{id}");
        let targets = || raw.to.iter().map(|to| (to, "to")).chain(raw.turns.iter().map(|turn| (&turn.to, "turns.to")));
        for (from, what) in raw.from.iter().map(|s| (s, "from")).chain(targets()) {
            match states.iter().find(|s| s.id == *from.as_ref()) {
                None => self.wrong(&from.span(), format!("{of}.{what}"), format!("there is no state {:?}", from.as_ref())),
                Some(state) if what == "from" && state.is_end && !raw.after_end => {
                    self.wrong(&from.span(), format!("{of}.from"), format!("{:?} is an end: nothing follows it", from.as_ref()));
                }
                Some(_) => {}
            }
        }
        for (to, what) in targets().filter(|(to, _)| to.as_ref() == start) {
            self.wrong(&to.span(), format!("{of}.{what}"), "leads back to the start, where nothing is kept");
        }
        if raw.from.is_empty() {
            self.wrong(&raw.id.span(), format!("{of}.from"), "names no state");
        }
        let is_end = |id: &Spanned<String>| states.iter().any(|s| s.id == *id.as_ref() && s.is_end);
        if raw.after_end && !raw.from.iter().any(is_end) {
            self.wrong(&raw.id.span(), format!("{of}.after_end"), "is of steps from an end");
        }
        if raw.back && raw.to.is_none() {
            self.wrong(&raw.id.span(), format!("{of}.to"), "is missing: whereto, when the state before is not known?");
        }
        if raw.to.is_none() && raw.from.iter().any(|from| from.as_ref() == start) {
            self.wrong(&raw.id.span(), format!("{of}.to"), "is missing: nothing stays in the start");
        }
        if raw.who.as_ref().is_empty() {
            self.wrong(&raw.who.span(), format!("{of}.who"), "names no role: nobody could take it");
        }
        if let Some(unknown) = raw.who.as_ref().iter().find(|role| Role::parse(role).is_none()) {
            self.wrong(&raw.who.span(), format!("{of}.who"), format!("there is no role {unknown:?}"));
        }
        for (id, what) in raw.require.iter().map(|id| (id, "require")).chain(raw.may.iter().map(|id| (id, "may"))) {
            match types.get(id.as_ref()) {
                None => self.wrong(&id.span(), format!("{of}.{what}"), format!("there is no field {:?}", id.as_ref())),
                Some(field) if field.compute.is_some() => {
                    self.wrong(&id.span(), format!("{of}.{what}"), format!("{:?} is computed", id.as_ref()));
                }
                Some(_) => {}
            }
        }
        for id in &raw.fresh {
            if !raw.require.iter().any(|required| required.as_ref() == id.as_ref()) {
                self.wrong(&id.span(), format!("{of}.fresh"), format!("{:?} is not among what it requires", id.as_ref()));
            }
        }
        let mut opens = Vec::new();
        for more in raw.opens {
            let span = more.span();
            let made = self.opens(&of, more, types);
            // What the step marks, nobody fills in with it: rows are told apart by where they stand.
            let is_set = |table: &String| raw.require.iter().chain(&raw.may).any(|id| id.as_ref() == table);
            if made.each.as_ref().is_some_and(|each| each.mark.is_some() && is_set(&each.table)) {
                self.wrong(&span, format!("{of}.opens.mark"), "is of a table that the step sets");
            }
            opens.push(made);
        }
        let mut turns = Vec::new();
        for turn in raw.turns {
            let span = turn.when.span();
            match test(turn.when.into_inner(), types, known, 0) {
                Ok(when) => turns.push(Turn { when, to: turn.to.into_inner() }),
                Err(reason) => self.wrong(&span, format!("{of}.turns.when"), reason),
            }
        }
        let (mut seen, mut guards) = (BTreeSet::new(), Vec::new());
        for id in &raw.shared {
            match shared.get(id.as_ref()) {
                None => self.wrong(&id.span(), format!("{of}.use"), format!("there is no guard {:?}", id.as_ref())),
                Some(_) if !seen.insert(id.as_ref().clone()) => {
                    self.wrong(&id.span(), format!("{of}.use"), format!("{:?} is there twice", id.as_ref()));
                }
                Some(guard) => guards.push(guard.clone()),
            }
        }
        let of_prefix = format!("{of}.");
        guards.extend(raw.guard.into_iter().map(|guard| self.guard(&of_prefix, guard, types, known, &mut seen)));
        Transition {
            id,
            name: raw.name,
            name_en: raw.name_en,
            from: plain(raw.from),
            to: raw.to.map(Spanned::into_inner).unwrap_or_default(),
            is_back: raw.back,
            has_own_page: raw.own_page,
            turns,
            who: raw.who.into_inner(),
            require: plain(raw.require),
            fresh: plain(raw.fresh),
            may: plain(raw.may),
            guards,
            opens,
        }
    }

    fn opens(&mut self, of: &str, raw: Spanned<RawOpens>, types: &BTreeMap<String, Field>) -> Opens {
        let span = raw.span();
        let RawOpens { kind, by, each, when, mark, set, with } = raw.into_inner();
        let columns = match each.as_ref().map(|table| types.get(table).map(|f| &f.of)) {
            None => BTreeMap::new(),
            Some(Some(FieldType::Table { columns, .. })) => columns.iter().map(|c| (c.id.clone(), c.clone())).collect(),
            Some(_) => {
                self.wrong(&span, format!("{of}.opens.each"), format!("{:?} is no table", each.as_deref().unwrap_or_default()));
                BTreeMap::new()
            }
        };
        for from in set.values() {
            let reason = match from.split_once('.') {
                None if types.contains_key(from) => continue,
                None => format!("there is no field {from:?}"),
                Some((table, _)) if each.as_deref() != Some(table) => {
                    format!("{from:?} is a column, but it is not made for each of {table:?}")
                }
                Some((_, column)) if columns.contains_key(column) => continue,
                Some((table, column)) => format!("{table:?} has no column {column:?}"),
            };
            self.wrong(&span, format!("{of}.opens.set"), reason);
        }
        if let Some(mark) = &mark
            && !columns.get(mark).is_some_and(|column| matches!(column.of, FieldType::Date))
        {
            self.wrong(&span, format!("{of}.opens.mark"), format!("{mark:?} is no date column of the table in `each`"));
        }
        if when.is_some() && each.is_none() {
            self.wrong(&span, format!("{of}.opens.where"), "is of rows, but it names no table in `each`");
        }
        let when = when.filter(|_| !columns.is_empty()).and_then(|when| {
            // Of a row its cells alone are known.
            let fits = test(when, &columns, &BTreeSet::new(), 0).and_then(|test| {
                let mut is_of_cells = true;
                test.visit(&mut |test| is_of_cells &= test.is_of_fields());
                if is_of_cells { Ok(test) } else { Err("looks at more than the cells of a row".to_owned()) }
            });
            fits.map_err(|reason| self.wrong(&span, format!("{of}.opens.where"), reason)).ok()
        });
        Opens { line: line_of(self.text, span.start), kind, by, each: each.map(|table| Each { table, when, mark }), set, with }
    }

    fn guard(
        &mut self,
        of: &str,
        raw: RawGuard,
        types: &BTreeMap<String, Field>,
        transitions: &BTreeSet<String>,
        seen: &mut BTreeSet<String>,
    ) -> Guard {
        let id = self.word("guard", &raw.id, seen);
        if raw.says.is_empty() || raw.says_en.is_empty() {
            self.wrong(&raw.id.span(), format!("{of}guard.{id}.says"), "is missing: whoever is stopped is told why, in both languages");
        }
        let span = raw.test.span();
        let test = test(raw.test.into_inner(), types, transitions, 0).unwrap_or_else(|reason| {
            self.wrong(&span, format!("{of}guard.{id}.test"), reason);
            Test::All(Vec::new())
        });
        Guard { id, says: raw.says, says_en: raw.says_en, test }
    }

    /// Can every state be reached and left, and no step be left out that must be taken?
    fn life(&mut self, kind: &Kind, lines: &BTreeMap<String, Range<usize>>, paths: &[RawPath]) {
        let (reached, ending) = (kind.reached(&[]), kind.ending());
        for state in &kind.states {
            let span = lines.get(&state.id).cloned().unwrap_or_default();
            if !reached.contains(state.id.as_str()) {
                self.wrong(&span, format!("state.{}", state.id), format!("cannot be reached from {:?}", kind.start));
            } else if !ending.contains(state.id.as_str()) {
                self.wrong(&span, format!("state.{}", state.id), "no way leads from it to an end");
            }
        }
        for path in paths {
            let through = path.through.as_ref();
            if let Some(unknown) = through.iter().find(|id| kind.transition(id).is_none()) {
                self.wrong(&path.through.span(), "path.through", format!("there is no transition {unknown:?}"));
            } else if !lines.contains_key(path.to.as_ref()) {
                self.wrong(&path.to.span(), "path.to", format!("there is no state {:?}", path.to.as_ref()));
            } else if kind.reached(through).contains(path.to.as_ref().as_str()) {
                let reason = format!("{:?} can be reached without {}", path.to.as_ref(), through.join(" or "));
                self.wrong(&path.to.span(), "path", reason);
            }
        }
    }
}

/// A computation for a field of this type, out of fields above it.
fn compute(raw: RawCompute, of: &FieldType, above: &[Field]) -> Result<Compute, String> {
    let find = |id: &str| above.iter().find(|f| f.id == id).ok_or_else(|| format!("there is no field {id:?} above this one"));
    let number = |id: String| match find(&id)?.of {
        FieldType::Number { .. } => Ok(id),
        _ => Err(format!("{id:?} is no number")),
    };
    let told_of = |toll: &str, happened: &str, nature: &str| {
        if !matches!(&find(toll)?.of, FieldType::Table { columns, .. } if accident::is_toll(columns)) {
            return Err(format!("{toll:?} is no table with the columns {}", accident::toll_columns()));
        }
        if !matches!(find(happened)?.of, FieldType::DateTime) {
            return Err(format!("{happened:?} is no instant"));
        }
        if !accident::is_nature(&find(nature)?.of) {
            return Err(format!("{nature:?} is no choice of general, road and fire"));
        }
        Ok(())
    };
    let is_number = matches!(of, FieldType::Number { .. });
    let wanted = |fits: bool, what: &str| if fits { Ok(()) } else { Err(format!("makes {what}, but the field is none")) };
    match raw {
        RawCompute::Sum(RawSum { sum }) => {
            wanted(is_number, "a number")?;
            let (table, column) = sum.split_once('.').ok_or("sum names \"table.column\"")?;
            let FieldType::Table { columns, .. } = &find(table)?.of else { return Err(format!("{table:?} is no table")) };
            match columns.iter().find(|c| c.id == column).map(|c| &c.of) {
                Some(FieldType::Number { .. }) => Ok(Compute::Sum(table.to_owned(), column.to_owned())),
                Some(_) => Err(format!("{sum:?} is no number")),
                None => Err(format!("{table:?} has no column {column:?}")),
            }
        }
        RawCompute::Count(RawCount { count, when }) => {
            wanted(is_number, "a number")?;
            let FieldType::Table { columns, .. } = &find(&count)?.of else { return Err(format!("{count:?} is no table")) };
            let Some(when) = when else { return Ok(Compute::Count(count, None)) };
            let columns = columns.iter().map(|c| (c.id.clone(), c.clone())).collect();
            let test = test(when, &columns, &BTreeSet::new(), 0)?;
            let mut is_of_cells = true;
            test.visit(&mut |test| is_of_cells &= test.is_of_fields() && !test.is_of_the_day());
            if is_of_cells {
                Ok(Compute::Count(count, Some(test)))
            } else {
                Err("`where` looks at more than the cells of a row".to_owned())
            }
        }
        RawCompute::Difference(RawDifference { difference: [a, b] }) => {
            wanted(is_number, "a number")?;
            Ok(Compute::Difference(number(a)?, number(b)?))
        }
        RawCompute::Percent(RawPercent { percent: [a, b] }) => {
            wanted(is_number, "a number")?;
            Ok(Compute::Percent(number(a)?, number(b)?))
        }
        RawCompute::Steps(RawSteps { steps, from, otherwise }) => {
            let FieldType::Choice { choices } = of else { return Err("makes a choice, but the field is none".to_owned()) };
            let words = from.iter().map(|(_, word)| word).chain([&otherwise]);
            if let Some(unknown) = words.into_iter().find(|word| choices.iter().all(|c| c.id != **word)) {
                return Err(format!("there is no choice {unknown:?}"));
            }
            if from.is_empty() || from.iter().any(|(n, _)| !n.is_finite()) || !from.windows(2).all(|w| w[0].0 > w[1].0) {
                return Err("steps go down, from the highest".to_owned());
            }
            Ok(Compute::Steps(number(steps)?, from, otherwise))
        }
        RawCompute::Months(RawMonths { date, plus_months, by }) => {
            wanted(matches!(of, FieldType::Date), "a date")?;
            if !matches!(find(&date)?.of, FieldType::Date) {
                return Err(format!("{date:?} is no date"));
            }
            let months = match plus_months {
                RawPlus::Fixed(months) => Months::Fixed(months),
                RawPlus::Field(id) if by.is_empty() => Months::Field(number(id)?),
                RawPlus::Field(id) => {
                    let FieldType::Choice { choices } = &find(&id)?.of else { return Err(format!("{id:?} is no choice")) };
                    if let Some((unknown, _)) = by.iter().find(|(word, _)| choices.iter().all(|c| c.id != *word)) {
                        return Err(format!("{id:?} has no choice {unknown:?}"));
                    }
                    Months::By(id, by.into_iter().collect())
                }
            };
            Ok(Compute::PlusMonths(date, months))
        }
        RawCompute::PlusDays(RawPlusDays { date, plus_days }) => {
            wanted(matches!(of, FieldType::Date), "a date")?;
            if !matches!(find(&date)?.of, FieldType::Date) {
                return Err(format!("{date:?} is no date"));
            }
            if plus_days.abs() > DAYS_MAX {
                return Err(format!("at most {DAYS_MAX} days"));
            }
            Ok(Compute::PlusDays(date, plus_days))
        }
        RawCompute::PlusDaysOf(RawPlusDaysOf { date, plus_days_of }) => {
            wanted(matches!(of, FieldType::Date), "a date")?;
            if !is_day(&find(&date)?.of) {
                return Err(format!("{date:?} is no date"));
            }
            if !(1..=JOINED_MAX).contains(&plus_days_of.len()) {
                return Err(format!("plus_days_of names 1 to {JOINED_MAX} numbers"));
            }
            Ok(Compute::PlusDaysOf(date, plus_days_of.into_iter().map(number).collect::<Result<_, _>>()?))
        }
        RawCompute::DaysBetween(RawDaysBetween { days_between: [from, to] }) => {
            wanted(is_number, "a number")?;
            for id in [&from, &to] {
                if !is_day(&find(id)?.of) {
                    return Err(format!("{id:?} is no date"));
                }
            }
            Ok(Compute::DaysBetween(from, to))
        }
        RawCompute::DayOf(RawDayOf { day_of }) => {
            wanted(matches!(of, FieldType::Date), "a date")?;
            match find(&day_of)?.of {
                FieldType::DateTime => Ok(Compute::DayOf(day_of)),
                _ => Err(format!("{day_of:?} is no instant")),
            }
        }
        RawCompute::Accident(RawAccident { accident: toll, happened, nature, shows }) => {
            let Some((_, shows)) = AccidentShows::WORDS.into_iter().find(|(word, _)| *word == shows) else {
                return Err(format!("{shows:?} is not {}", AccidentShows::WORDS.map(|(word, _)| word).join(", ")));
            };
            told_of(&toll, &happened, &nature)?;
            accident::fits(shows, of)?;
            Ok(Compute::Accident { toll, happened, nature, shows })
        }
        RawCompute::Telling(RawTelling { telling: toll, happened, nature, heard, shows }) => {
            let Some((_, shows)) = TellingShows::WORDS.into_iter().find(|(word, _)| *word == shows) else {
                return Err(format!("{shows:?} is not {}", TellingShows::WORDS.map(|(word, _)| word).join(", ")));
            };
            told_of(&toll, &happened, &nature)?;
            for id in &heard {
                if !matches!(find(id)?.of, FieldType::DateTime) {
                    return Err(format!("{id:?} is no instant"));
                }
            }
            accident::fits_telling(shows, of)?;
            Ok(Compute::Telling { toll, happened, nature, heard, shows })
        }
        RawCompute::Join(RawJoin { join }) => {
            wanted(matches!(of, FieldType::Text { .. }), "a text")?;
            if !(2..=JOINED_MAX).contains(&join.len()) {
                return Err(format!("join names 2 to {JOINED_MAX} texts"));
            }
            for id in &join {
                if !is_text(&find(id)?.of) {
                    return Err(format!("{id:?} is no text"));
                }
            }
            Ok(Compute::Join(join))
        }
        RawCompute::Grade(RawGrade { grade: contents, people, shows }) => {
            let Some((_, shows)) = Shows::WORDS.into_iter().find(|(word, _)| *word == shows) else {
                return Err(format!("{shows:?} is not {}", Shows::WORDS.map(|(word, _)| word).join(", ")));
            };
            let FieldType::Table { columns, .. } = &find(&contents)?.of else { return Err(format!("{contents:?} is no table")) };
            let column = |id: &str| columns.iter().find(|c| c.id == id).map(|c| &c.of);
            let is_graded = matches!(column("substance"), Some(FieldType::Text { .. }))
                && matches!(column("tonnes"), Some(FieldType::Number { unit, .. }) if unit == "t")
                && matches!(column("categories"), None | Some(FieldType::Text { .. }));
            if !is_graded {
                return Err(format!("{contents:?} has the columns substance (text), tonnes (number, t) and, if at all, categories (text)"));
            }
            grade::fits(shows, of)?;
            Ok(Compute::Grade { contents, people: number(people)?, shows })
        }
    }
}

/// A block of a printed record, with the fields it names; else which member is wrong, and why.
fn block(raw: RawBlock, types: &BTreeMap<String, Field>, has_certificate: bool) -> Result<Block, (&'static str, String)> {
    let words = |what, name: String, name_en: String, most: usize| {
        let fits = |text: &String| !text.trim().is_empty() && text.chars().count() <= most;
        match fits(&name) && fits(&name_en) {
            true => Ok(Words { name, name_en }),
            false => Err((what, format!("has 1 to {most} characters in both languages"))),
        }
    };
    let field = |what, id: &str| types.get(id).ok_or_else(|| (what, format!("there is no field {id:?}")));
    match raw {
        RawBlock::Heading(RawHeading { heading, heading_en }) => words("heading", heading, heading_en, HEADING_CHARS).map(Block::Heading),
        RawBlock::Text(RawParagraph { text, text_en }) => words("text", text, text_en, PARAGRAPH_CHARS).map(Block::Text),
        RawBlock::Fields(RawFields { fields }) => {
            let mut seen = BTreeSet::new();
            for id in &fields {
                if matches!(field("fields", id)?.of, FieldType::Table { .. }) {
                    return Err(("fields", format!("{id:?} is a table: it has a block of its own")));
                }
                if !seen.insert(id) {
                    return Err(("fields", format!("{id:?} is there twice")));
                }
            }
            if fields.is_empty() { Err(("fields", "names no field".to_owned())) } else { Ok(Block::Fields(fields)) }
        }
        RawBlock::Table(RawTable { table }) => match field("table", &table)?.of {
            FieldType::Table { .. } => Ok(Block::Table(table)),
            _ => Err(("table", format!("{table:?} is no table"))),
        },
        RawBlock::Signatures(RawSignatures { signatures }) => {
            if signatures.is_empty() || signatures.len() > SIGNATURES_MAX {
                return Err(("signatures", format!("1 to {SIGNATURES_MAX} of them")));
            }
            let each = signatures.into_iter().map(|Words { name, name_en }| words("signatures", name, name_en, HEADING_CHARS));
            each.collect::<Result<_, _>>().map(Block::Signatures)
        }
        RawBlock::Certificate(RawCertificateBlock { certificate: true }) if has_certificate => Ok(Block::Certificate),
        RawBlock::Certificate(RawCertificateBlock { certificate: true }) => Err(("certificate", "the register has none".to_owned())),
        RawBlock::History(RawHistory { history: true }) => Ok(Block::History),
        RawBlock::Certificate(_) => Err(("certificate", "is true, or left out".to_owned())),
        RawBlock::History(_) => Err(("history", "is true, or left out".to_owned())),
    }
}

/// A test, with the fields and transitions it names.
fn test(raw: RawTest, types: &BTreeMap<String, Field>, transitions: &BTreeSet<String>, depth: usize) -> Result<Test, String> {
    if depth > DEPTH_MAX {
        return Err(format!("is nested more than {DEPTH_MAX} deep"));
    }
    let of = |id: &str| types.get(id).map(|f| &f.of).ok_or_else(|| format!("there is no field {id:?}"));
    let many = |raw: Vec<RawTest>| -> Result<Vec<Test>, String> {
        if raw.is_empty() {
            return Err("a list of tests is empty".to_owned());
        }
        raw.into_iter().map(|raw| test(raw, types, transitions, depth + 1)).collect()
    };
    let number = |id: String, value: f64, make: fn(String, f64) -> Test| match of(&id)? {
        FieldType::Number { .. } if value.is_finite() => Ok(make(id, value)),
        _ => Err(format!("{id:?} is no number")),
    };
    let date = |id: String| match id.as_str() {
        DAY_OF_ACT => Ok(None),
        _ => match of(&id)? {
            FieldType::Date | FieldType::DateTime => Ok(Some(id)),
            _ => Err(format!("{id:?} is no date")),
        },
    };
    let steps = |ids: Vec<String>, what: &str| match ids.iter().find(|id| !transitions.contains(*id)) {
        None if ids.is_empty() => Err(format!("{what} names no transition")),
        None => Ok(ids),
        Some(unknown) => Err(format!("there is no transition {unknown:?}")),
    };
    match raw {
        RawTest::All(raw) => Ok(Test::All(many(raw.all)?)),
        RawTest::Any(raw) => Ok(Test::Any(many(raw.any)?)),
        RawTest::Not(raw) => Ok(Test::Not(Box::new(test(*raw.not, types, transitions, depth + 1)?))),
        RawTest::Filled(raw) => of(&raw.filled).map(|_| Test::Filled(raw.filled.clone())),
        RawTest::Is(RawIs { field, is }) => match of(&field)? {
            FieldType::Choice { choices } if choices.iter().all(|c| c.id != is) => Err(format!("{field:?} has no choice {is:?}")),
            FieldType::Choice { .. } | FieldType::Text { .. } => Ok(Test::Is(field, is)),
            _ => Err(format!("{field:?} is neither a choice nor a text")),
        },
        RawTest::Changed(RawChanged { changed }) => {
            if changed.is_empty() {
                return Err("changed names no field".to_owned());
            }
            changed.iter().try_for_each(|id| of(id).map(drop))?;
            Ok(Test::Changed(changed))
        }
        RawTest::Extends(RawExtends { extends }) => match of(&extends)? {
            FieldType::Table { .. } => Ok(Test::Extends(extends)),
            _ => Err(format!("{extends:?} is no table")),
        },
        RawTest::Fell(RawFell { fell }) => match of(&fell)? {
            FieldType::Number { .. } => Ok(Test::Fell(fell)),
            _ => Err(format!("{fell:?} is no number")),
        },
        RawTest::Keeps(RawKeeps { keeps }) => {
            if keeps.is_empty() {
                return Err("keeps names no field".to_owned());
            }
            keeps.iter().try_for_each(|id| of(id).map(drop))?;
            Ok(Test::Keeps(keeps))
        }
        RawTest::Was(raw) => Ok(Test::Was(Box::new(test(*raw.was, types, transitions, depth + 1)?))),
        RawTest::SameRows(raw) => {
            let FieldType::Table { columns, .. } = of(&raw.same_rows)? else { return Err(format!("{:?} is no table", raw.same_rows)) };
            let columns: BTreeMap<String, Field> = columns.iter().map(|c| (c.id.clone(), c.clone())).collect();
            if let Some(unknown) = raw.but.iter().find(|id| !columns.contains_key(*id)) {
                return Err(format!("{:?} has no column {unknown:?}", raw.same_rows));
            }
            let rows = raw.of.map(|raw| test(*raw, &columns, &BTreeSet::new(), depth + 1)).transpose()?;
            let mut is_of_cells = true;
            if let Some(rows) = &rows {
                rows.visit(&mut |test| is_of_cells &= test.is_of_fields());
            }
            if !is_of_cells {
                return Err("`of` looks at more than the cells of a row".to_owned());
            }
            Ok(Test::SameRows { table: raw.same_rows, of: rows.map(Box::new), but: raw.but })
        }
        RawTest::AtLeast(raw) => number(raw.field, raw.at_least, Test::AtLeast),
        RawTest::AtMost(raw) => number(raw.field, raw.at_most, Test::AtMost),
        RawTest::Above(raw) => number(raw.field, raw.above, Test::Above),
        RawTest::After(raw) => Ok(Test::After(date(raw.field)?, date(raw.after)?)),
        RawTest::DaysAtMost(RawDays { days_between: [from, to], at_most: days }) => {
            if !(0..=DAYS_MAX).contains(&days) {
                return Err(format!("at_most is 0 to {DAYS_MAX} days"));
            }
            Ok(Test::DaysAtMost { from: date(from)?, to: date(to)?, days })
        }
        RawTest::OtherPersonThan(raw) => Ok(Test::OtherPersonThan(steps(raw.other_person_than, "other_person_than")?)),
        RawTest::SamePersonAs(raw) => Ok(Test::SamePersonAs(steps(raw.same_person_as, "same_person_as")?)),
        RawTest::ActorIs(raw) => match of(&raw.actor_is)? {
            FieldType::Person => Ok(Test::ActorIs(raw.actor_is)),
            _ => Err(format!("{:?} is no person", raw.actor_is)),
        },
        RawTest::BeforeDeadline(RawBefore { before_deadline: true }) => Ok(Test::BeforeDeadline),
        RawTest::BeforeDeadline(_) => Ok(Test::Not(Box::new(Test::BeforeDeadline))),
        RawTest::ParentIn(raw) if raw.parent_in.is_empty() => Err("parent_in names no state".to_owned()),
        RawTest::ParentIn(raw) => Ok(Test::ParentIn(raw.parent_in)),
        RawTest::Children(raw) if raw.states.is_empty() || (raw.at_least == 0 && raw.at_most.is_none()) => {
            Err("children has states in `in`, and at_least or at_most".to_owned())
        }
        RawTest::Children(raw) => Ok(Test::Children {
            kind: raw.children,
            states: raw.states,
            at_least: raw.at_least,
            at_most: raw.at_most.unwrap_or(usize::MAX),
        }),
    }
}
