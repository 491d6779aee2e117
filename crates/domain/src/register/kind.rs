//! A kind of register as a pack writes it (`register.toml`), and what is checked before it is believed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use crate::pack::CONFIDENCES;

/// Fields, states or transitions of one kind; more are taken for a mistake.
const ITEMS_MAX: usize = 200;
/// Characters of a text field if the pack does not say.
const TEXT_MAX: usize = 500;
/// The longest text a field may allow.
const TEXT_LIMIT: usize = 20_000;
/// How deep tests may be nested.
const DEPTH_MAX: usize = 8;

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
    /// Id of the first state.
    pub start: String,
    /// In the order of a form.
    pub fields: Vec<Field>,
    /// In the order of a life.
    pub states: Vec<State>,
    /// What leads from one to another.
    pub transitions: Vec<Transition>,
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
    /// What may stand in it.
    pub of: FieldType,
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
    /// One of these.
    Choice {
        /// In the order in which they are offered.
        choices: Vec<Choice>,
    },
    /// Somebody.
    Person,
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
    /// To this one.
    pub to: String,
    /// Roles that may.
    pub who: Vec<String>,
    /// Fields that must be filled by then.
    pub require: Vec<String>,
    /// Further conditions; all must hold.
    pub guards: Vec<Guard>,
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
#[derive(Clone, Debug)]
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
    /// The number is at least this.
    AtLeast(String, f64),
    /// The number is at most this.
    AtMost(String, f64),
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
    field: Vec<RawField>,
    state: Vec<RawState>,
    transition: Vec<RawTransition>,
    /// Steps that no way may leave out.
    #[serde(default)]
    path: Vec<RawPath>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawField {
    id: Spanned<String>,
    name: String,
    name_en: String,
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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawState {
    id: Spanned<String>,
    name: String,
    name_en: String,
    #[serde(default)]
    end: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTransition {
    id: Spanned<String>,
    name: String,
    name_en: String,
    from: Vec<Spanned<String>>,
    to: Spanned<String>,
    who: Spanned<Vec<String>>,
    #[serde(default)]
    require: Vec<Spanned<String>>,
    #[serde(default)]
    guard: Vec<RawGuard>,
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
    expecting = "a test is one of all, any, not, filled, field + is, field + at_least, field + at_most, days_between + at_most, other_person_than"
)]
enum RawTest {
    All(RawAll),
    Any(RawAny),
    Not(RawNot),
    Filled(RawFilled),
    Is(RawIs),
    AtLeast(RawAtLeast),
    AtMost(RawAtMost),
    DaysAtMost(RawDays),
    OtherPersonThan(RawOther),
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
struct RawPath {
    to: Spanned<String>,
    through: Spanned<Vec<String>>,
}

/// The day of the act, where a test asks for a date.
const DAY_OF_ACT: &str = "today";

impl Kind {
    /// The field of this id.
    pub fn field(&self, id: &str) -> Option<&Field> {
        self.fields.iter().find(|f| f.id == id)
    }

    /// The transition of this id.
    pub fn transition(&self, id: &str) -> Option<&Transition> {
        self.transitions.iter().find(|t| t.id == id)
    }

    /// Reads a `register.toml`.
    ///
    /// # Errors
    /// Everything that is wrong, in order of lines.
    pub fn parse(text: &str) -> Result<Self, Vec<Breach>> {
        let file: File = match toml::from_str(text) {
            Ok(file) => file,
            Err(error) => {
                let line = error.span().map_or(0, |span| line_of(text, &span));
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

    /// States that can be reached without these transitions.
    fn reached(&self, without: &[String]) -> BTreeSet<&str> {
        let mut reached = BTreeSet::from([self.start.as_str()]);
        loop {
            let more = self.transitions.iter().filter(|t| !without.contains(&t.id));
            let more: Vec<&str> = more
                .filter(|t| !reached.contains(t.to.as_str()) && t.from.iter().any(|from| reached.contains(from.as_str())))
                .map(|t| t.to.as_str())
                .collect();
            if more.is_empty() {
                return reached;
            }
            reached.extend(more);
        }
    }

    /// States from which an end can be reached.
    fn ending(&self) -> BTreeSet<&str> {
        let mut ending: BTreeSet<&str> = self.states.iter().filter(|s| s.is_end).map(|s| s.id.as_str()).collect();
        loop {
            let leads = self.transitions.iter().filter(|t| ending.contains(t.to.as_str()));
            let more: Vec<&str> = leads.flat_map(|t| &t.from).map(String::as_str).filter(|from| !ending.contains(from)).collect();
            if more.is_empty() {
                return ending;
            }
            ending.extend(more);
        }
    }
}

fn line_of(text: &str, span: &Range<usize>) -> usize {
    text.as_bytes().iter().take(span.start).filter(|b| **b == b'\n').count() + 1
}

/// Collects what is wrong.
struct Reader<'a> {
    text: &'a str,
    breaches: Vec<Breach>,
}

impl Reader<'_> {
    fn wrong(&mut self, span: &Range<usize>, field: impl Into<String>, reason: impl Into<String>) {
        self.breaches.push(Breach { line: line_of(self.text, span), field: field.into(), reason: reason.into() });
    }

    /// A word that programs use: `a-z`, `0-9` and `_`, beginning with a letter, at most 40 characters; each once.
    fn word(&mut self, of: &str, word: &Spanned<String>, seen: &mut BTreeSet<String>) -> String {
        let text = word.as_ref();
        let is_word = text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.len() <= 40
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !is_word {
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

    fn kind(&mut self, file: File) -> Kind {
        let mut one = BTreeSet::new();
        let id = self.word("kind", &file.kind, &mut one);
        if file.standard.as_ref().is_empty() {
            self.wrong(&file.standard.span(), "standard", "is missing: no source, no register");
        }
        if !CONFIDENCES.contains(&file.confidence.as_ref().as_str()) {
            self.wrong(&file.confidence.span(), "confidence", "is not verified, verified-secondary, product or unverified");
        }
        for (what, n) in [("field", file.field.len()), ("state", file.state.len()), ("transition", file.transition.len())] {
            if n == 0 || n > ITEMS_MAX {
                self.wrong(&(0..0), what, format!("1 to {ITEMS_MAX} of them"));
            }
        }
        let mut seen = BTreeSet::new();
        let fields: Vec<Field> = file.field.into_iter().map(|raw| self.field(raw, &mut seen)).collect();
        let types: BTreeMap<String, FieldType> = fields.iter().map(|f| (f.id.clone(), f.of.clone())).collect();
        let mut seen = BTreeSet::new();
        let mut lines = BTreeMap::new();
        let states: Vec<State> = file
            .state
            .into_iter()
            .map(|raw| {
                let id = self.word("state", &raw.id, &mut seen);
                lines.insert(id.clone(), raw.id.span());
                State { id, name: raw.name, name_en: raw.name_en, is_end: raw.end }
            })
            .collect();
        let is_state: BTreeSet<String> = states.iter().map(|s| s.id.clone()).collect();
        let ends: BTreeSet<&str> = states.iter().filter(|s| s.is_end).map(|s| s.id.as_str()).collect();
        if !is_state.contains(file.start.as_ref()) {
            self.wrong(&file.start.span(), "start", format!("there is no state {:?}", file.start.as_ref()));
        }
        let known: BTreeSet<String> = file.transition.iter().map(|t| t.id.as_ref().clone()).collect();
        let mut seen = BTreeSet::new();
        let mut transitions = Vec::new();
        for raw in file.transition {
            let id = self.word("transition", &raw.id, &mut seen);
            let of = format!("transition.{id}");
            for (from, what) in raw.from.iter().map(|s| (s, "from")).chain([(&raw.to, "to")]) {
                if !is_state.contains(from.as_ref()) {
                    self.wrong(&from.span(), format!("{of}.{what}"), format!("there is no state {:?}", from.as_ref()));
                } else if what == "from" && ends.contains(from.as_ref().as_str()) {
                    self.wrong(&from.span(), format!("{of}.from"), format!("{:?} is an end: nothing follows it", from.as_ref()));
                }
            }
            if raw.from.is_empty() {
                self.wrong(&raw.id.span(), format!("{of}.from"), "names no state");
            }
            if raw.who.as_ref().is_empty() {
                self.wrong(&raw.who.span(), format!("{of}.who"), "names no role: nobody could take it");
            }
            for id in &raw.require {
                if !types.contains_key(id.as_ref()) {
                    self.wrong(&id.span(), format!("{of}.require"), format!("there is no field {:?}", id.as_ref()));
                }
            }
            let mut seen = BTreeSet::new();
            let guards = raw.guard.into_iter().map(|guard| self.guard(&of, guard, &types, &known, &mut seen)).collect();
            transitions.push(Transition {
                id,
                name: raw.name,
                name_en: raw.name_en,
                from: raw.from.into_iter().map(Spanned::into_inner).collect(),
                to: raw.to.into_inner(),
                who: raw.who.into_inner(),
                require: raw.require.into_iter().map(Spanned::into_inner).collect(),
                guards,
            });
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
            fields,
            states,
            transitions,
        };
        if self.breaches.is_empty() {
            self.life(&kind, &lines, &file.path);
        }
        kind
    }

    fn field(&mut self, raw: RawField, seen: &mut BTreeSet<String>) -> Field {
        let id = self.word("field", &raw.id, seen);
        let path = |what: &str| format!("field.{id}.{what}");
        let of = match raw.of.as_ref().as_str() {
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
            "person" => FieldType::Person,
            "choice" => {
                let ids: BTreeSet<&str> = raw.choices.iter().map(|c| c.id.as_str()).collect();
                if ids.is_empty() || ids.len() < raw.choices.len() {
                    self.wrong(&raw.id.span(), path("choices"), "there is one at least, and each once");
                }
                FieldType::Choice { choices: raw.choices }
            }
            other => {
                self.wrong(&raw.of.span(), path("type"), format!("{other:?} is not text, number, date, choice or person"));
                FieldType::Date
            }
        };
        Field { id, name: raw.name, name_en: raw.name_en, of }
    }

    fn guard(
        &mut self,
        of: &str,
        raw: RawGuard,
        types: &BTreeMap<String, FieldType>,
        transitions: &BTreeSet<String>,
        seen: &mut BTreeSet<String>,
    ) -> Guard {
        let id = self.word("guard", &raw.id, seen);
        if raw.says.is_empty() || raw.says_en.is_empty() {
            self.wrong(&raw.id.span(), format!("{of}.guard.{id}.says"), "is missing: whoever is stopped is told why, in both languages");
        }
        let span = raw.test.span();
        let test = test(raw.test.into_inner(), types, transitions, 0).unwrap_or_else(|reason| {
            self.wrong(&span, format!("{of}.guard.{id}.test"), reason);
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

/// A test, with the fields and transitions it names.
fn test(raw: RawTest, types: &BTreeMap<String, FieldType>, transitions: &BTreeSet<String>, depth: usize) -> Result<Test, String> {
    if depth > DEPTH_MAX {
        return Err(format!("is nested more than {DEPTH_MAX} deep"));
    }
    let of = |id: &str| types.get(id).ok_or_else(|| format!("there is no field {id:?}"));
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
            FieldType::Date => Ok(Some(id)),
            _ => Err(format!("{id:?} is no date")),
        },
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
        RawTest::AtLeast(raw) => number(raw.field, raw.at_least, Test::AtLeast),
        RawTest::AtMost(raw) => number(raw.field, raw.at_most, Test::AtMost),
        RawTest::DaysAtMost(RawDays { days_between: [from, to], at_most: days }) => {
            if !(0..=36_500).contains(&days) {
                return Err("at_most is 0 to 36500 days".to_owned());
            }
            Ok(Test::DaysAtMost { from: date(from)?, to: date(to)?, days })
        }
        RawTest::OtherPersonThan(raw) => match raw.other_person_than.iter().find(|id| !transitions.contains(*id)) {
            None if raw.other_person_than.is_empty() => Err("other_person_than names no transition".to_owned()),
            None => Ok(Test::OtherPersonThan(raw.other_person_than)),
            Some(unknown) => Err(format!("there is no transition {unknown:?}")),
        },
    }
}
