//! What changed between two packs, by name: rows of a list that have a name are compared with the row of the same name, wherever it stands.
//!
//! Knows no kind of file: whatever a pack's TOML says by name (fields, states, transitions, guards, rules, tables of a standard) is told alike;
//! any other file is the same or it is not. Start at [`between`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use toml::Value;

/// What names a row, the first that every row has once.
const NAMES: [&str; 6] = ["id", "name", "kind", "no", "symbol", "to"];

/// One difference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Path in the pack.
    pub file: String,
    /// Path of names in the file, such as `transition.close.guard.other_person.says`; empty = the file as a whole.
    pub path: String,
    /// What happened.
    pub change: What,
    /// How it was; left out for whole files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// How it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// Only in the second.
    Added,
    /// Only in the first.
    Removed,
    /// In both, and not the same.
    Changed,
    /// The same rows in another order.
    Moved,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.change {
            What::Added => '+',
            What::Removed => '-',
            What::Changed => '~',
            What::Moved => '↕',
        };
        let path = if self.path.is_empty() { "(whole file)" } else { &self.path };
        write!(f, "{sign} {path}")?;
        match (&self.before, &self.after) {
            (Some(before), Some(after)) if self.change == What::Changed => write!(f, ": {} → {}", short(before), short(after)),
            (Some(Value::Array(_)), Some(after)) => write!(f, ": {}", short(after)),
            (None, Some(one)) | (Some(one), None) => match one.get("name").and_then(Value::as_str) {
                Some(name) => write!(f, " {name}"),
                None => write!(f, ": {}", short(one)),
            },
            _ => Ok(()),
        }
    }
}

/// A value as it stands in one line of an answer.
fn short(value: &Value) -> String {
    const CHARS_MAX: usize = 200;
    let text = value.to_string();
    if text.chars().count() > CHARS_MAX { text.chars().take(CHARS_MAX).chain(['…']).collect() } else { text }
}

/// Every difference from one pack's files to another's, in order of files.
pub fn between(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<Change> {
    let mut changes = Vec::new();
    let files: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for file in files {
        let whole = |change| Change { file: file.clone(), path: String::new(), change, before: None, after: None };
        match (before.get(file), after.get(file)) {
            (Some(a), Some(b)) if a != b => {
                let read = |text: &str| text.parse::<toml::Table>().ok().filter(|_| file.ends_with(".toml")).map(Value::Table);
                match read(a).zip(read(b)) {
                    Some((a, b)) => compare(file, "", &a, &b, &mut changes),
                    None => changes.push(whole(What::Changed)),
                }
            }
            (None, _) => changes.push(whole(What::Added)),
            (_, None) => changes.push(whole(What::Removed)),
            _ => {}
        }
    }
    changes
}

fn compare(file: &str, path: &str, before: &Value, after: &Value, changes: &mut Vec<Change>) {
    let mut tell = |change, before: Option<Value>, after: Option<Value>| {
        changes.push(Change { file: file.to_owned(), path: path.to_owned(), change, before, after });
    };
    let (a, b): (Rows<'_>, Rows<'_>) = match (before, after) {
        (Value::Table(a), Value::Table(b)) => {
            (a.iter().map(|(k, v)| (k.clone(), v)).collect(), b.iter().map(|(k, v)| (k.clone(), v)).collect())
        }
        (Value::Array(a), Value::Array(b)) if let Some((a, b)) = NAMES.iter().find_map(|name| named(a, name).zip(named(b, name))) => {
            let (was, is) = (order(&a, &b), order(&b, &a));
            if was != is {
                tell(What::Moved, Some(was), Some(is));
            }
            (a, b)
        }
        _ if before == after => return,
        _ => return tell(What::Changed, Some(before.clone()), Some(after.clone())),
    };
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let find = |rows: &Rows<'_>, name: &str| rows.iter().find(|(known, _)| known == name).map(|(_, value)| (*value).clone());
    for (name, before) in &a {
        match find(&b, name) {
            Some(after) => compare(file, &below(name), before, &after, changes),
            None => {
                let before = Some((*before).clone());
                changes.push(Change { file: file.to_owned(), path: below(name), change: What::Removed, before, after: None });
            }
        }
    }
    for (name, after) in b.iter().filter(|(name, _)| find(&a, name).is_none()) {
        let after = Some((*after).clone());
        changes.push(Change { file: file.to_owned(), path: below(name), change: What::Added, before: None, after });
    }
}

/// Members of a table, or rows of a list by their names.
type Rows<'a> = Vec<(String, &'a Value)>;

/// The rows by what they say under `name`; `None` if one says nothing, or two say the same.
fn named<'a>(rows: &'a [Value], name: &str) -> Option<Rows<'a>> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(n) => Some(n.to_string()),
        _ => None,
    };
    let named = rows.iter().map(|row| Some((text(row.get(name)?)?, row))).collect::<Option<Rows<'_>>>()?;
    let names: BTreeSet<&String> = named.iter().map(|(name, _)| name).collect();
    (names.len() == named.len()).then_some(named)
}

/// The names of `rows` that are also in `others`, in their order.
fn order(rows: &Rows<'_>, others: &Rows<'_>) -> Value {
    let is_there = |name: &String| others.iter().any(|(known, _)| known == name);
    Value::Array(rows.iter().filter(|(name, _)| is_there(name)).map(|(name, _)| Value::String(name.clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTER: &str = include_str!("../../../../packs/base/registers/major_hazard/register.toml");

    fn told(from: &str, to: &str) -> Vec<String> {
        assert!(REGISTER.contains(from), "{from}");
        let pack =
            |text: String| BTreeMap::from([("registers/x/register.toml".to_owned(), text), ("README.md".to_owned(), "x".to_owned())]);
        let changes = between(&pack(REGISTER.to_owned()), &pack(REGISTER.replacen(from, to, 1)));
        changes.iter().map(Change::to_string).collect()
    }

    #[test]
    fn what_changed_is_told_by_its_name() {
        assert_eq!(told("kind = ", "kind = "), [""; 0]);
        assert_eq!(
            told("who = [\"safety_manager\", \"inspector\", \"supervisor\"]", "who = [\"inspector\"]"),
            ["~ transition.list.who: [\"safety_manager\", \"inspector\", \"supervisor\"] → [\"inspector\"]"]
        );
        assert_eq!(told("    { id = \"draft\", name = \"草稿\", name_en = \"Draft\" },\n", ""), ["- state.draft 草稿"]);
        assert_eq!(told("state = [\n", "state = [\n    { id = \"new\", name = \"新\", name_en = \"New\" },\n"), ["+ state.new 新"]);
        assert_eq!(
            told("S 不小于 1，构成重大危险源", "构成重大危险源"),
            ["~ transition.close.guard.is_none.says: \"S 不小于 1，构成重大危险源\" → \"构成重大危险源\""]
        );
        let was = "        { id = \"production\", name = \"生产单元\", name_en = \"Production\" },\n        { id = \"storage\", name = \"储存单元\", name_en = \"Storage\" },\n";
        let (one, other) = was.split_at(was.find("        { id = \"storage\"").unwrap());
        assert_eq!(told(was, &format!("{other}{one}")), ["↕ field.unit_kind.choices: [\"storage\", \"production\"]"]);
        assert_eq!(told("plus_days = 15", "plus_days = 20"), ["~ field.file_by.compute.plus_days: 15 → 20"]);
    }

    #[test]
    fn files_come_and_go_and_what_is_no_toml_is_told_as_a_whole() {
        let pack = |files: &[(&str, &str)]| files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        let changes =
            between(&pack(&[("a.csv", "1"), ("b.md", "1"), ("x.toml", "=")]), &pack(&[("a.csv", "2"), ("c.md", "1"), ("x.toml", "a = 1")]));
        let told: Vec<String> = changes.iter().map(|c| format!("{} {c}", c.file)).collect();
        assert_eq!(told, ["a.csv ~ (whole file)", "b.md - (whole file)", "c.md + (whole file)", "x.toml ~ (whole file)"]);
    }
}
