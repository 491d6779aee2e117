//! `cases.toml` beside a kind: lives that must go as told, and acts that must be refused for the reason told.

use std::collections::BTreeMap;
use std::fmt;

use jiff::civil::Date;
use serde::Deserialize;
use toml::Spanned;

use super::{Attempt, Kind, Value};

/// Cases or acts of a case; more are taken for a mistake.
const ITEMS_MAX: usize = 1_000;

/// A case that went otherwise, or cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseFailure {
    /// From 1; 0 = the file as a whole.
    pub line: usize,
    /// Its name.
    pub case: String,
    /// What was expected and what happened.
    pub reason: String,
}

impl fmt::Display for CaseFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: case {:?}: {}", self.line, self.case, self.reason)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: Spanned<String>,
    acts: Vec<Spanned<CaseAct>>,
    /// State in the end.
    ends: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseAct {
    #[serde(rename = "do")]
    transition: String,
    by: String,
    #[serde(rename = "as")]
    role: String,
    on: String,
    #[serde(default)]
    set: BTreeMap<String, toml::Value>,
    /// Codes of all that must stand against it; left out = it must pass.
    #[serde(default)]
    refused: Vec<String>,
}

impl Kind {
    /// Runs every case of a `cases.toml`; how many there are.
    ///
    /// # Errors
    /// Every case that does not go as told. A kind whose cases fail is not to be used.
    pub fn run_cases(&self, text: &str) -> Result<usize, Vec<CaseFailure>> {
        let line = |at: usize| text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count() + 1;
        let file: File = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| line(span.start));
            vec![CaseFailure { line, case: String::new(), reason: error.message().to_owned() }]
        })?;
        if file.case.len() > ITEMS_MAX || file.case.iter().any(|case| case.acts.len() > ITEMS_MAX) {
            return Err(vec![CaseFailure { line: 0, case: String::new(), reason: format!("more than {ITEMS_MAX} cases or acts") }]);
        }
        let mut failures = Vec::new();
        for case in &file.case {
            if let Err((at, reason)) = self.run_case(case) {
                failures.push(CaseFailure { line: line(at), case: case.name.as_ref().clone(), reason });
            }
        }
        if failures.is_empty() { Ok(file.case.len()) } else { Err(failures) }
    }

    fn run_case(&self, case: &Case) -> Result<(), (usize, String)> {
        let mut record = self.begin();
        for spanned in &case.acts {
            let (act, at) = (spanned.as_ref(), spanned.span().start);
            let on: Date = act.on.parse().map_err(|_| (at, format!("{:?} is no date", act.on)))?;
            let set = act.set.iter().map(|(id, value)| Some((id.clone(), self.read(id, value)?)));
            let set =
                set.collect::<Option<BTreeMap<String, Value>>>().ok_or_else(|| (at, "a value is no text, number or date".to_owned()))?;
            let attempt = Attempt { transition: &act.transition, by: &act.by, role: &act.role, on, set };
            let mut expected = act.refused.clone();
            expected.sort();
            match self.attempt(&record, &attempt) {
                Ok(next) if expected.is_empty() => record = next,
                Ok(_) => return Err((at, format!("{:?} passes, but should be refused: {}", act.transition, expected.join(", ")))),
                Err(refused) => {
                    let mut codes: Vec<String> = refused.iter().map(super::Refused::code).collect();
                    codes.sort();
                    if codes != expected {
                        let expected =
                            if expected.is_empty() { "it should pass".to_owned() } else { format!("expected {}", expected.join(", ")) };
                        return Err((at, format!("{:?} is refused: {}; {expected}", act.transition, codes.join(", "))));
                    }
                }
            }
        }
        if record.state == case.ends {
            return Ok(());
        }
        Err((case.name.span().start, format!("ends in {:?}, not in {:?}", record.state, case.ends)))
    }

    /// A value as the field would hold it; one of another type stays what it is, so that the engine refuses it.
    fn read(&self, id: &str, value: &toml::Value) -> Option<Value> {
        let is_date = self.field(id).is_some_and(|field| matches!(field.of, super::FieldType::Date));
        match value {
            toml::Value::String(text) => match text.parse() {
                Ok(date) if is_date => Some(Value::Date(date)),
                _ => Some(Value::Text(text.clone())),
            },
            toml::Value::Integer(n) => Some(Value::Number(*n as f64)),
            toml::Value::Float(n) => Some(Value::Number(*n)),
            toml::Value::Datetime(at) => at.to_string().parse().ok().map(Value::Date),
            _ => None,
        }
    }
}
