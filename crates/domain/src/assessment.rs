//! Assessment (考核) of a year: items with points, vetoes (一票否决), grades, ranks.
//!
//! Pure: counts, figures and what people gave in; points, grades and ranks out. The table is data (`packs/base/assessment.toml`), every row with its
//! source. Neither the order of rows nor that of units decides anything. Start at [`Table::parse`], [`Table::judge`] and [`rank`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, Serializer};

use crate::decimal::{Decimal, from_text};
use crate::pack::{CONFIDENCES, PackError, is_word};
use crate::register::{Record, Value};
use crate::responsibility::Level;
use crate::road::rules::Sourced;

const FILE: &str = "assessment.toml";

/// What a figure is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Against {
    /// The same figure a year before.
    LastYear,
    /// What the plan gives the division as its part of a target.
    Part,
}

/// A figure, and what each unit above costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByIndicator {
    /// Word of the indicator.
    pub id: String,
    /// What it is held against.
    pub against: Against,
    /// Points per unit above.
    #[serde(deserialize_with = "from_text", serialize_with = "as_text")]
    pub each: Decimal,
}

/// Records that match: all that is said holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Records {
    /// Word of the register.
    pub register: String,
    /// Open and behind its day.
    #[serde(default)]
    pub late: bool,
    /// In one of these states; empty = in any.
    #[serde(default)]
    pub states: Vec<String>,
    /// Its date field that must be in the year; empty = whenever.
    #[serde(default)]
    pub during: String,
    /// Fields and `table.column`s (of one row at least) with these words.
    #[serde(default)]
    pub is: BTreeMap<String, String>,
    /// One of these at least, each read as `is`; empty = no matter.
    #[serde(default)]
    pub any: Vec<BTreeMap<String, String>>,
    /// Points per record; of a veto none.
    #[serde(default, deserialize_with = "from_text", serialize_with = "as_text")]
    pub each: Decimal,
}

/// Units without a responsibility letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Letters {
    /// Points per unit.
    #[serde(deserialize_with = "from_text", serialize_with = "as_text")]
    pub each: Decimal,
}

/// What is scored, in exactly one way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Its word.
    pub id: String,
    /// Chinese name.
    pub name: String,
    /// English name.
    pub name_en: String,
    /// At most.
    #[serde(deserialize_with = "from_text", serialize_with = "as_text")]
    pub points: Decimal,
    /// By a figure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indicator: Option<ByIndicator>,
    /// By records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<Records>,
    /// By letters that are missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub letters: Option<Letters>,
    /// By a person.
    #[serde(default)]
    pub person: bool,
}

/// What makes the last grade, whatever the score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Veto {
    /// Its word.
    pub id: String,
    /// Chinese name.
    pub name: String,
    /// English name.
    pub name_en: String,
    /// Met by one record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<Records>,
    /// Met if a person says so.
    #[serde(default)]
    pub person: bool,
}

/// A grade.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grade {
    /// Its word.
    pub id: String,
    /// Chinese name.
    pub name: String,
    /// English name.
    pub name_en: String,
    /// From so many points on.
    #[serde(deserialize_with = "from_text", serialize_with = "as_text")]
    pub at_least: Decimal,
}

/// Everything `assessment.toml` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Its word.
    pub id: String,
    /// Chinese name.
    pub name: String,
    /// English name.
    pub name_en: String,
    /// Which divisions are assessed.
    pub level: Level,
    /// Standard, or `product` for a choice of ours.
    pub standard: String,
    /// Clause.
    #[serde(default)]
    pub clause: String,
    /// In force since, ISO date; empty if unknown.
    #[serde(default)]
    pub effective: String,
    /// `verified`, `verified-secondary`, `product`, `unverified`.
    pub confidence: String,
    /// Remark.
    #[serde(default)]
    pub note: String,
    /// From the best down; the last from 0 on.
    #[serde(rename = "grade")]
    pub grades: Vec<Grade>,
    /// What is scored.
    #[serde(rename = "item")]
    pub items: Vec<Sourced<Item>>,
    /// What vetoes.
    #[serde(default, rename = "veto")]
    pub vetoes: Vec<Sourced<Veto>>,
}

/// What a unit comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// All points that were given.
    pub points: Decimal,
    /// Items that nobody has scored yet, in the order of the table.
    pub open: Vec<String>,
    /// Vetoes that are met, in the order of the table.
    pub vetoes: Vec<String>,
    /// Word of the grade; `None` while an item is open and nothing vetoes.
    pub grade: Option<String>,
}

/// As it is read: a table that was kept is read again.
fn as_text<S: Serializer>(value: &Decimal, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&value.normalize().to_string())
}

/// What is left of `points` where each of `n` costs `each`; never below 0, never above `points`.
pub fn left(points: Decimal, each: Decimal, n: Decimal) -> Decimal {
    let cost = each.checked_mul(n.max(Decimal::ZERO)).unwrap_or(points);
    (points - cost.min(points)).clamp(Decimal::ZERO, points.max(Decimal::ZERO))
}

impl Records {
    /// Whether a record of the register matches; `is_late` = it is open and behind its day.
    pub fn holds(&self, record: &Record, is_late: bool, year: i16) -> bool {
        let all = |pairs: &BTreeMap<String, String>| pairs.iter().all(|(at, word)| says(record, at, word));
        (!self.late || is_late)
            && (self.states.is_empty() || self.states.contains(&record.state))
            && (self.during.is_empty() || record.date(&self.during).is_some_and(|day| day.year() == year))
            && all(&self.is)
            && (self.any.is_empty() || self.any.iter().any(all))
    }
}

/// Whether a field, or one row of a table's column, says this word.
fn says(record: &Record, at: &str, word: &str) -> bool {
    match at.split_once('.') {
        None => record.text(at) == Some(word),
        Some((table, column)) => match record.fields.get(table) {
            Some(Value::Table(rows)) => rows.iter().any(|row| matches!(row.get(column), Some(Value::Text(text)) if text == word)),
            _ => false,
        },
    }
}

impl Table {
    /// Reads a pack's `assessment.toml`.
    ///
    /// # Errors
    /// [`PackError`] naming row and field: a word that stands twice, an item scored in no way or in two, points that are not above 0, grades that do not
    /// go down to 0, a row without a source.
    pub fn parse(text: &str) -> Result<Self, PackError> {
        let table: Self = toml::from_str(text).map_err(|e| PackError::Toml { file: FILE, message: e.to_string() })?;
        table.check()?;
        Ok(table)
    }

    fn check(&self) -> Result<(), PackError> {
        let table = self;
        let wrong =
            |row: &str, field, reason: &str| Err(PackError::Row { file: FILE, row: row.to_owned(), field, reason: reason.to_owned() });
        let sourced = |row: &str, standard: &str, confidence: &str| {
            if standard.is_empty() {
                return wrong(row, "standard", "is missing: no source, no row");
            }
            if CONFIDENCES.contains(&confidence) {
                Ok(())
            } else {
                wrong(row, "confidence", "is not verified, verified-secondary, product or unverified")
            }
        };
        sourced(&table.id, &table.standard, &table.confidence)?;
        let mut seen = BTreeSet::new();
        let mut named = |id: &String, name: &str, name_en: &str| {
            if !is_word(id, '_') || !seen.insert(id.clone()) {
                return wrong(id, "id", "is no word, or stands twice");
            }
            if name.is_empty() || name_en.is_empty() { wrong(id, "name", "is missing") } else { Ok(()) }
        };
        for row in &table.items {
            let item = &row.is;
            sourced(&item.id, &row.standard, &row.confidence)?;
            named(&item.id, &item.name, &item.name_en)?;
            if item.points <= Decimal::ZERO {
                return wrong(&item.id, "points", "are above 0");
            }
            let ways = [item.indicator.is_some(), item.records.is_some(), item.letters.is_some(), item.person];
            if ways.into_iter().filter(|said| *said).count() != 1 {
                return wrong(&item.id, "person", "is scored in exactly one way: indicator, records, letters, person");
            }
            let each = item
                .indicator
                .as_ref()
                .map(|by| by.each)
                .or(item.records.as_ref().map(|by| by.each))
                .or(item.letters.as_ref().map(|by| by.each));
            if each.is_some_and(|each| each <= Decimal::ZERO) {
                return wrong(&item.id, "each", "costs more than 0");
            }
        }
        for row in &table.vetoes {
            let veto = &row.is;
            sourced(&veto.id, &row.standard, &row.confidence)?;
            named(&veto.id, &veto.name, &veto.name_en)?;
            if veto.records.is_some() == veto.person {
                return wrong(&veto.id, "person", "is met in exactly one way: records, person");
            }
        }
        for (place, grade) in table.grades.iter().enumerate() {
            named(&grade.id, &grade.name, &grade.name_en)?;
            let is_lower = place == 0 || table.grades.get(place - 1).is_some_and(|better| better.at_least > grade.at_least);
            if !is_lower {
                return wrong(&grade.id, "at_least", "is below that of the grade before");
            }
        }
        if table.grades.last().is_none_or(|last| !last.at_least.is_zero()) {
            return wrong(&table.id, "grade", "the last is from 0 on");
        }
        if table.items.is_empty() {
            return wrong(&table.id, "item", "is missing");
        }
        Ok(())
    }

    /// Standard and clause in one line.
    pub fn source(&self) -> String {
        crate::pack::join(&self.standard, &self.clause)
    }

    /// All points there are.
    pub fn points(&self) -> Decimal {
        self.items.iter().map(|row| row.is.points).sum()
    }

    /// The item of this word.
    pub fn item(&self, id: &str) -> Option<&Item> {
        self.items.iter().map(|row| &row.is).find(|item| item.id == id)
    }

    /// The veto of this word.
    pub fn veto(&self, id: &str) -> Option<&Veto> {
        self.vetoes.iter().map(|row| &row.is).find(|veto| veto.id == id)
    }

    /// What a unit comes to with these points by items and these vetoes. What the table does not have counts nothing, and no item counts more than
    /// its points or less than 0.
    pub fn judge(&self, points: &BTreeMap<String, Decimal>, vetoes: &BTreeSet<String>) -> Judged {
        let (mut sum, mut open) = (Decimal::ZERO, Vec::new());
        for item in self.items.iter().map(|row| &row.is) {
            match points.get(&item.id) {
                Some(given) => sum += (*given).clamp(Decimal::ZERO, item.points),
                None => open.push(item.id.clone()),
            }
        }
        let vetoes: Vec<String> = self.vetoes.iter().map(|row| &row.is.id).filter(|id| vetoes.contains(*id)).cloned().collect();
        let last = self.grades.last();
        let grade = match (vetoes.is_empty(), open.is_empty()) {
            (false, _) => last,
            (true, false) => None,
            (true, true) => self.grades.iter().find(|grade| sum >= grade.at_least).or(last),
        };
        Judged { points: sum, open, vetoes, grade: grade.map(|grade| grade.id.clone()) }
    }
}

/// Ranks by unit, from 1. Who has as many points has the same rank, and the next follows behind all of them (1, 1, 3). Who is vetoed comes behind
/// everybody who is not; who is excluded, or has an item open, has no rank.
///
/// That the vetoed come last is the product's choice (待核): the plan says that a veto undoes the rest, and not how a table shows it.
pub fn rank<'a>(units: impl IntoIterator<Item = (&'a str, &'a Judged, bool)>) -> BTreeMap<String, u32> {
    let is_ranked =
        |(_, judged, is_excluded): &(&str, &Judged, bool)| !is_excluded && (judged.open.is_empty() || !judged.vetoes.is_empty());
    let key = |judged: &Judged| (judged.vetoes.is_empty(), judged.points);
    let ranked: Vec<(&str, &Judged, bool)> = units.into_iter().filter(is_ranked).collect();
    let rank = |of: &Judged| 1 + ranked.iter().filter(|(_, other, _)| key(other) > key(of)).count();
    ranked.iter().map(|(unit, judged, _)| ((*unit).to_owned(), u32::try_from(rank(judged)).unwrap_or(u32::MAX))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use proptest::prelude::*;

    const BASE: &str = include_str!("../../../packs/base/assessment.toml");

    fn table() -> Table {
        Table::parse(BASE).unwrap()
    }

    fn full() -> BTreeMap<String, Decimal> {
        table().items.into_iter().map(|row| (row.is.id, row.is.points)).collect()
    }

    #[test]
    fn the_shipped_table_adds_up_to_a_hundred_and_says_that_it_is_an_example() {
        let table = table();
        assert_eq!(table.points(), Decimal::from(100));
        assert_eq!(table.confidence, "product");
        assert!(table.items.iter().all(|row| row.confidence == "product"), "no table of points was found anywhere");
    }

    #[test]
    fn a_table_that_cannot_be_meant_is_refused_with_row_and_field() {
        let check = |from: &str, to: &str, field: &str| {
            assert!(BASE.contains(from), "{from}");
            match Table::parse(&BASE.replacen(from, to, 1)) {
                Err(PackError::Row { field: at, .. }) => assert_eq!(at, field, "{from} -> {to}"),
                other => panic!("{from} -> {to}: {other:?}"),
            }
        };
        check("id = \"publicity\"", "id = \"letters\"", "id");
        check("points = \"10\"\nperson = true", "points = \"10\"", "person");
        check("points = \"25\"", "points = \"0\"", "points");
        check("each = \"5\" }", "each = \"-5\" }", "each");
        check("at_least = \"80\"", "at_least = \"95\"", "at_least");
        check("at_least = \"0\"", "at_least = \"1\"", "grade");
        check(
            "person = true\nstandard = \"玉溪市安全生产第十二个五年规划\"\nclause = \"严格",
            "standard = \"x\"\nclause = \"严格",
            "person",
        );
    }

    #[test]
    fn a_veto_makes_the_last_grade_of_a_full_score() {
        let none = table().judge(&full(), &BTreeSet::new());
        assert_eq!((none.points, none.grade.as_deref()), (Decimal::from(100), Some("excellent")));
        let vetoed = table().judge(&full(), &BTreeSet::from(["concealed".to_owned(), "unheard_of".to_owned()]));
        assert_eq!((vetoed.points, vetoed.grade.as_deref()), (Decimal::from(100), Some("fail")));
        assert_eq!(vetoed.vetoes, ["concealed"]);
    }

    #[test]
    fn nothing_is_graded_while_an_item_is_open() {
        let mut points = full();
        points.remove("publicity");
        let judged = table().judge(&points, &BTreeSet::new());
        assert_eq!((judged.grade, judged.open), (None, vec!["publicity".to_owned()]));
    }

    #[test]
    fn records_match_by_everything_that_is_said() {
        let rows = vec![BTreeMap::from([("kind".to_owned(), Value::Text("late".into()))])];
        let fields = BTreeMap::from([
            ("happened_on".to_owned(), Value::Date(date(2026, 3, 1))),
            ("class".to_owned(), Value::Text("serious".into())),
            ("breaches".to_owned(), Value::Table(rows)),
        ]);
        let record = Record { state: "following".into(), entered_on: date(2026, 3, 1), fields, acts: Vec::new() };
        let table = table();
        let late = table.item("late_accident_reports").unwrap().records.clone().unwrap();
        assert!(late.holds(&record, false, 2026) && !late.holds(&record, false, 2025));
        let (serious, concealed) = (table.veto("serious_accident").unwrap(), table.veto("concealed").unwrap());
        assert!(serious.records.as_ref().unwrap().holds(&record, false, 2026));
        assert!(!concealed.records.as_ref().unwrap().holds(&record, false, 2026));
        let overdue = Records { late: true, states: vec!["following".into()], ..Records::default() };
        assert!(overdue.holds(&record, true, 1999) && !overdue.holds(&record, false, 1999));
        assert!(!Records { states: vec!["closed".into()], ..overdue }.holds(&record, true, 1999));
    }

    #[test]
    fn ranks_have_ties_and_leave_out_the_excluded() {
        let judged = |points: i64, vetoed: bool, open: bool| Judged {
            points: Decimal::from(points),
            open: if open { vec!["x".to_owned()] } else { Vec::new() },
            vetoes: if vetoed { vec!["v".to_owned()] } else { Vec::new() },
            grade: None,
        };
        let (a, b, c, d, e, f) = (
            judged(90, false, false),
            judged(90, false, false),
            judged(80, false, false),
            judged(99, true, false),
            judged(95, false, false),
            judged(97, false, true),
        );
        let ranks = rank([("a", &a, false), ("b", &b, false), ("c", &c, false), ("d", &d, false), ("e", &e, true), ("f", &f, false)]);
        let want = [("a", 1), ("b", 1), ("c", 3), ("d", 4)].map(|(unit, rank)| (unit.to_owned(), rank));
        assert_eq!(ranks, BTreeMap::from(want));
    }

    fn decimal() -> impl Strategy<Value = Decimal> {
        (-50_000_i64..50_000).prop_map(|n| Decimal::new(n, 2))
    }

    proptest! {
        #[test]
        fn the_sum_never_exceeds_the_points_and_a_veto_overrides(
            given in prop::collection::vec(decimal(), 7),
            vetoed in prop::sample::subsequence(vec!["serious_accident", "concealed", "decided", "nothing"], 0..4),
        ) {
            let table = table();
            let points: BTreeMap<String, Decimal> = table.items.iter().map(|row| row.is.id.clone()).zip(given).collect();
            let vetoes: BTreeSet<String> = vetoed.iter().map(|id| (*id).to_owned()).collect();
            let judged = table.judge(&points, &vetoes);
            prop_assert!(judged.points >= Decimal::ZERO && judged.points <= table.points());
            let is_vetoed = vetoed.iter().any(|id| *id != "nothing");
            prop_assert_eq!(is_vetoed, !judged.vetoes.is_empty());
            if is_vetoed {
                prop_assert_eq!(judged.grade.as_deref(), Some("fail"));
            }
            let mut turned = table.clone();
            turned.items.reverse();
            turned.vetoes.reverse();
            let other = turned.judge(&points, &vetoes);
            prop_assert_eq!((judged.points, judged.grade), (other.points, other.grade));
        }

        #[test]
        fn what_is_left_is_between_nothing_and_all(points in 0_i64..100_000, each in decimal(), n in decimal()) {
            let points = Decimal::new(points, 2);
            let left = left(points, each, n);
            prop_assert!(left >= Decimal::ZERO && left <= points);
        }

        #[test]
        fn ranks_do_not_depend_on_the_order_and_never_put_fewer_points_first(
            given in prop::collection::vec((0_i64..20, any::<bool>(), any::<bool>()), 0..9),
        ) {
            let judged: Vec<(String, Judged, bool)> = given.iter().enumerate().map(|(i, (points, vetoed, excluded))| {
                let vetoes = if *vetoed { vec!["v".to_owned()] } else { Vec::new() };
                (format!("u{i}"), Judged { points: Decimal::from(*points), open: Vec::new(), vetoes, grade: None }, *excluded)
            }).collect();
            let of = |rows: &[(String, Judged, bool)]| rank(rows.iter().map(|(unit, judged, excluded)| (unit.as_str(), judged, *excluded)));
            let ranks = of(&judged);
            let mut back = judged.clone();
            back.reverse();
            prop_assert_eq!(&ranks, &of(&back));
            for (a, one, _) in judged.iter().filter(|(.., excluded)| !excluded) {
                for (b, other, _) in judged.iter().filter(|(.., excluded)| !excluded) {
                    let better = (one.vetoes.is_empty(), one.points) > (other.vetoes.is_empty(), other.points);
                    prop_assert!(!better || ranks[a] < ranks[b]);
                }
            }
            prop_assert_eq!(ranks.len(), judged.iter().filter(|(.., excluded)| !excluded).count());
        }
    }
}
