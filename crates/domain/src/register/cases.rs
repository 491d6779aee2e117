//! `cases.toml` beside a kind: lives that must go as told, and acts that must be refused for the reason told.

use std::collections::BTreeMap;
use std::fmt;

use jiff::civil::Date;
use serde::Deserialize;
use toml::Spanned;

use super::{Attempt, Kind, Record, Related, Value};
use crate::calendar::Calendar;
use crate::pack::line_of;

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
    /// What must stand in these fields in the end.
    #[serde(default)]
    fields: BTreeMap<String, toml::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseAct {
    #[serde(rename = "do")]
    transition: String,
    by: String,
    #[serde(rename = "as")]
    role: String,
    /// A day, or a minute of one.
    on: String,
    #[serde(default)]
    set: BTreeMap<String, toml::Value>,
    /// The records around it.
    #[serde(default)]
    with: With,
    /// Codes of all that must stand against it; left out = it must pass.
    #[serde(default)]
    refused: Vec<String>,
    /// How many records it opens below; left out = that is not looked at.
    #[serde(default)]
    opens: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct With {
    /// State of the record above.
    #[serde(default)]
    parent: Option<String>,
    /// Kind and state of those below.
    #[serde(default)]
    children: Vec<(String, String)>,
}

impl Kind {
    /// Runs every case of a `cases.toml`; how many there are.
    ///
    /// # Errors
    /// Every case that does not go as told. A kind whose cases fail is not to be used.
    pub fn run_cases(&self, text: &str) -> Result<usize, Vec<CaseFailure>> {
        let line = |at: usize| line_of(text, at);
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
        // Weeks alone: a case must not change with the holidays of a year.
        let calendar = Calendar::default();
        let mut record: Option<Record> = None;
        for spanned in &case.acts {
            let (act, at) = (spanned.as_ref(), spanned.span().start);
            // A day alone is taken from its first minute on: nothing of that day is over yet.
            let when = super::parse_minute(&act.on).or_else(|| Some(act.on.parse::<Date>().ok()?.at(0, 0, 0, 0)));
            let when = when.ok_or_else(|| (at, format!("{:?} is no date", act.on)))?;
            let on = when.date();
            let mut set = BTreeMap::new();
            for (id, value) in &act.set {
                let value = self.read(id, value).ok_or_else(|| (at, format!("{id:?}: {value} is no value of a field")))?;
                set.insert(id.clone(), Some(value));
            }
            let roles = [act.role.as_str()];
            let attempt = Attempt { transition: &act.transition, by: &act.by, roles: &roles, at: when, set };
            let related = Related { parent: act.with.parent.clone(), children: act.with.children.clone() };
            let mut expected = act.refused.clone();
            expected.sort();
            let before = record.clone().unwrap_or_else(|| self.begin(on));
            match self.attempt(&before, &attempt, &related, &calendar) {
                Ok(next) if expected.is_empty() => {
                    let n = self.opened(&act.transition, &before, &next, on).len();
                    if let Some(wanted) = act.opens.filter(|wanted| *wanted != n) {
                        return Err((at, format!("{:?} opens {n} records, not {wanted}", act.transition)));
                    }
                    record = Some(next);
                }
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
        let at = case.name.span().start;
        let state = record.as_ref().map_or(self.start.as_str(), |record| record.state.as_str());
        if state != case.ends {
            return Err((at, format!("ends in {state:?}, not in {:?}", case.ends)));
        }
        for (id, wanted) in &case.fields {
            let found = record.as_ref().and_then(|record| record.fields.get(id));
            if found != self.read(id, wanted).as_ref() {
                let found = found.map_or("nothing".to_owned(), |value| value.to_json().to_string());
                return Err((at, format!("ends with {found} in {id:?}, not with {wanted}")));
            }
        }
        Ok(())
    }

    /// A value as the field would hold it; one of another type stays what it is, so that the engine refuses it.
    fn read(&self, id: &str, value: &toml::Value) -> Option<Value> {
        Value::from_json(self.field(id), &json_of(value)?)
    }
}

fn json_of(value: &toml::Value) -> Option<serde_json::Value> {
    Some(match value {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(n) => (*n).into(),
        toml::Value::Float(n) => (*n).into(),
        toml::Value::Datetime(at) => at.to_string().into(),
        toml::Value::Boolean(_) => return None,
        toml::Value::Array(items) => items.iter().map(json_of).collect::<Option<Vec<_>>>()?.into(),
        toml::Value::Table(table) => {
            let members = table.iter().map(|(key, value)| Some((key.clone(), json_of(value)?)));
            serde_json::Value::Object(members.collect::<Option<_>>()?)
        }
    })
}
