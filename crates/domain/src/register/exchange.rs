//! How far records, and what stands in them, go between nodes.
//!
//! A register says up to which level its records go; a field or column may say that it goes less far. [`Kind::leaks`] finds what would show such a field by
//! another way. [`Rules`] is all of this that a copy of a record carries with it, so that a node between can hold back what goes no further, without knowing
//! the register. Start at [`Rules::narrow`].

use std::collections::{BTreeMap, BTreeSet};

use anlan_model::NodeLevel;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::kind::{Compute, Deadline, Field, FieldType, Kind};

/// The levels between which nodes exchange records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exchange {
    /// They stay.
    #[default]
    None,
    /// To the county's node.
    County,
    /// To the city's, through the county's.
    City,
    /// To the province's.
    Province,
}

impl Exchange {
    /// Every level by its word.
    pub const WORDS: [(&'static str, Self); 4] =
        [("none", Self::None), ("county", Self::County), ("city", Self::City), ("province", Self::Province)];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::County => "county",
            Self::City => "city",
            Self::Province => "province",
        }
    }

    /// The level of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::WORDS.into_iter().find(|(known, _)| *known == word).map(|(_, exchange)| exchange)
    }

    /// Whether what goes so far goes to a node of this level.
    pub fn reaches(self, level: NodeLevel) -> bool {
        match self {
            Self::None => false,
            Self::County => level <= NodeLevel::County,
            Self::City => level <= NodeLevel::City,
            Self::Province => level <= NodeLevel::Province,
        }
    }
}

/// How far a record goes and what of it goes less far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// The record.
    pub up_to: Exchange,
    /// Fields, and columns as `table.column`, that go less far.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Exchange>,
}

impl Rules {
    /// Whether this field goes to a node of this level, if its record does.
    pub fn lets(&self, field: &str, level: NodeLevel) -> bool {
        self.fields.get(field).is_none_or(|most| most.reaches(level))
    }

    /// Takes out of a record's values what does not go to a node of this level.
    pub fn narrow(&self, fields: &mut Map<String, Json>, level: NodeLevel) {
        for path in self.fields.keys().filter(|path| !self.lets(path, level)) {
            match path.split_once('.') {
                None => drop(fields.remove(path)),
                Some((table, column)) => {
                    for row in fields.get_mut(table).and_then(Json::as_array_mut).into_iter().flatten() {
                        row.as_object_mut().map(|row| row.remove(column));
                    }
                }
            }
        }
    }

    /// The same for whoever stands above a node of this level: nothing is said of what did not come that far.
    #[must_use]
    pub fn beyond(&self, level: NodeLevel) -> Self {
        let fields = self.fields.iter().filter(|(_, most)| most.reaches(level)).map(|(path, most)| (path.clone(), *most));
        Self { up_to: self.up_to, fields: fields.collect() }
    }
}

impl Kind {
    /// How far its records go.
    pub fn rules(&self) -> Rules {
        let up_to = self.exchange.unwrap_or_default();
        let said = |path: String, field: &Field| Some((path, field.exchange.filter(|most| *most < up_to)?));
        let of_columns = |field: &Field| {
            let columns = columns_of(field).iter();
            columns.filter_map(|column| said(format!("{}.{}", field.id, column.id), column)).collect::<Vec<_>>()
        };
        let fields = self.fields.iter().flat_map(|field| of_columns(field).into_iter().chain(said(field.id.clone(), field)));
        Rules { up_to, fields: fields.collect() }
    }

    /// How far a field of it goes.
    pub(super) fn reach(&self, field: &Field) -> Exchange {
        field.exchange.unwrap_or_else(|| self.exchange.unwrap_or_default())
    }

    /// What a field, or `table.column`, says itself of how far it goes: the least of both.
    pub(super) fn said_at(&self, path: &str) -> Option<Exchange> {
        let (id, column) = path.split_once('.').map_or((path, None), |(id, column)| (id, Some(column)));
        let field = self.field(id)?;
        let column = columns_of(field).iter().find(|c| Some(c.id.as_str()) == column);
        field.exchange.into_iter().chain(column.and_then(|column| column.exchange)).min()
    }

    /// Fields and columns that go further than they may, or less far than what would show them, and why that is wrong.
    pub(super) fn leaks(&self) -> Vec<(String, String)> {
        let whole = self.exchange.unwrap_or_default();
        let mut leaks = Vec::new();
        for field in &self.fields {
            if self.reach(field) > whole {
                leaks.push((field.id.clone(), format!("goes further than the register, which says {:?}", whole.as_str())));
            }
            for column in columns_of(field) {
                if column.exchange.is_some_and(|most| most > self.reach(field)) {
                    let reason = format!("goes further than its field, which says {:?}", self.reach(field).as_str());
                    leaks.push((format!("{}.{}", field.id, column.id), reason));
                }
            }
            for input in self.inputs_of(field) {
                if let Some(most) = self.said_at(&input).filter(|most| *most < self.reach(field)) {
                    leaks.push((field.id.clone(), format!("follows from {input:?}, which goes no further than {:?}", most.as_str())));
                }
            }
        }
        let shown = [("title", std::slice::from_ref(&self.title)), ("search", &self.search), ("key", &self.key)];
        let of_certificate = self.certificate.iter().map(|c| ("certificate", c.shows.iter().chain(&c.until).collect::<Vec<_>>()));
        let of_flag = self.flag.iter().map(|flag| ("flag", vec![&flag.per]));
        let due = |deadline: &Deadline| matches!(deadline, Deadline::Field(_));
        let days = self.states.iter().filter_map(|state| state.deadline.as_ref()).filter(|deadline| due(deadline));
        let days = days.filter_map(|deadline| if let Deadline::Field(id) = deadline { Some(("deadline", vec![id])) } else { None });
        let mut seen = BTreeSet::new();
        for (what, ids) in
            shown.into_iter().map(|(what, ids)| (what, ids.iter().collect())).chain(of_certificate).chain(of_flag).chain(days)
        {
            for id in ids {
                if self.said_at(id).is_some_and(|most| most < whole) && seen.insert((what, id)) {
                    leaks.push((id.clone(), format!("goes less far than its record, and {what} shows it")));
                }
            }
        }
        leaks
    }

    /// What a computed field follows from: fields, and the columns that are read of tables.
    fn inputs_of(&self, field: &Field) -> Vec<String> {
        let Some(compute) = &field.compute else { return Vec::new() };
        let inputs = compute.inputs().into_iter().map(str::to_owned);
        match compute {
            Compute::Sum(table, column) => inputs.chain([format!("{table}.{column}")]).collect(),
            Compute::Grade { contents, .. } => {
                let columns = ["substance", "tonnes", "categories"].into_iter().map(|column| format!("{contents}.{column}"));
                inputs.chain(columns).collect()
            }
            Compute::Accident { toll, .. } | Compute::Telling { toll, .. } => {
                inputs.chain(super::accident::COLUMNS.map(|(column, _)| format!("{toll}.{column}"))).collect()
            }
            Compute::Count(table, Some(when)) => {
                let mut columns = BTreeSet::new();
                when.visit(&mut |test| columns.extend(test.of().into_iter().map(|column| format!("{table}.{column}"))));
                inputs.chain(columns).collect()
            }
            _ => inputs.collect(),
        }
    }
}

fn columns_of(field: &Field) -> &[Field] {
    match &field.of {
        FieldType::Table { columns, .. } => columns,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::register::check_together;

    const HIDDEN_DANGER: &str = include_str!("testdata/register.toml");
    const DANGER: &str = include_str!("../../../../packs/base/registers/hidden_danger/register.toml");
    const LISTED: &str = include_str!("../../../../packs/base/registers/listed_supervision/register.toml");
    const CLAUSE: &str = include_str!("../../../../packs/base/registers/clause/register.toml");
    const LICENCE: &str = include_str!("../../../../packs/base/registers/licence/register.toml");

    /// The register of the tests, going to the city, with these replacements.
    fn city(changes: &[(&str, &str)]) -> Result<Kind, Vec<String>> {
        let mut text = HIDDEN_DANGER.replacen("start = \"draft\"\n", "start = \"draft\"\nexchange = \"city\"\n", 1);
        for (from, to) in changes {
            assert!(text.contains(from), "{from}");
            text = text.replacen(from, to, 1);
        }
        Kind::parse(&text).map_err(|breaches| breaches.iter().map(ToString::to_string).collect())
    }

    fn said(field: &str, exchange: &str) -> (String, String) {
        let id = format!("id = \"{field}\"\n");
        (id.clone(), format!("{id}exchange = \"{exchange}\"\n"))
    }

    #[test]
    fn a_field_that_would_show_another_way_is_told() {
        let check = |field: &str, exchange: &str, says: &str| {
            let (from, to) = said(field, exchange);
            let told = city(&[(&from, &to)]).map(|_| ()).expect_err(says);
            assert!(told.iter().any(|told| told.contains(&format!("field.{field}.exchange")) && told.contains(says)), "{field}: {told:?}");
        };
        check("measures", "province", "goes further than the register, which says \"city\"");
        check("measures", "town", "is not none, county, city or province");
        check("description", "county", "goes less far than its record, and title shows it");
        check("place", "none", "and search shows it");
        check("found_on", "county", "and key shows it");
        check("due_on", "none", "and deadline shows it");
        for (column, computed) in [("costs", "cost_yuan"), ("funds_yuan", "share")] {
            let (from, to) = said(column, "county");
            let told = city(&[(&from, &to)]).expect_err("computed");
            let want = format!("field.{computed}.exchange: follows from");
            assert!(told.iter().any(|told| told.contains(&want) && told.contains("no further than \"county\"")), "{told:?}");
        }
        // A column, which a sum shows.
        let column = "name_en = \"Amount\", type = \"number\"";
        let secret = &*format!("{column}, exchange = \"none\"");
        let told = city(&[(column, secret)]).expect_err("a sum");
        assert!(
            told.iter().any(|t| t.contains("field.cost_yuan.exchange: follows from \"costs.yuan\", which goes no further than \"none\"")),
            "{told:?}"
        );
        // A column that goes further than its table.
        let (from, to) = said("costs", "county");
        let told = city(&[(&from, &to), (column, &format!("{column}, exchange = \"city\""))]).expect_err("a column");
        assert!(told.iter().any(|t| t.contains("field.costs.yuan.exchange: goes further than its field")), "{told:?}");
        // Certificates and flags.
        let licence = LICENCE;
        let narrow = |field: &str| {
            let (from, to) = (format!("{{ id = \"{field}\","), format!("{{ id = \"{field}\", exchange = \"none\","));
            assert!(licence.contains(&from));
            let told = Kind::parse(&licence.replacen(&from, &to, 1)).expect_err(field);
            told.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        assert!(Kind::parse(licence).is_ok_and(|kind| kind.exchange == Some(Exchange::City)));
        assert!(narrow("issued_on").contains("and certificate shows it"), "{}", narrow("issued_on"));
        assert!(narrow("licence").contains("and flag shows it"), "{}", narrow("licence"));
        let everybodys = CLAUSE.replacen("exchange = \"none\"", "exchange = \"county\"", 1);
        let told = Kind::parse(&everybodys).expect_err("nobody's");
        assert!(told[0].to_string().contains("exchange: its records are nobody's"), "{told:?}");
    }

    #[test]
    fn what_goes_less_far_goes_no_further_in_what_is_opened_of_it() {
        let danger = DANGER.replacen("{ id = \"measures\",", "{ id = \"measures\", exchange = \"none\",", 1);
        let told = |danger: &str| -> Vec<String> {
            let kinds: Vec<Kind> = [danger, LISTED, CLAUSE].into_iter().map(|text| Kind::parse(text).unwrap()).collect();
            check_together(&kinds).into_iter().map(|(_, breach)| breach.to_string()).collect()
        };
        assert_eq!(told(DANGER), Vec::<String>::new());
        let told = told(&danger);
        assert!(
            told.len() == 1 && told[0].contains("\"measures\" of \"listed_supervision\" goes further between nodes than \"measures\""),
            "{told:?}"
        );
    }

    #[test]
    fn each_node_on_the_way_holds_back_what_goes_no_further() {
        let (measures, to_county) = said("measures", "county");
        let (result, nowhere) = said("result", "none");
        let item = "name_en = \"Item\", type = \"text\"";
        let kind = city(&[(&measures, &to_county), (&result, &nowhere), (item, &format!("{item}, exchange = \"county\""))]).unwrap();
        let rules = kind.rules();
        let told = |level: NodeLevel| {
            let fields = json!({"description": "a", "measures": "b", "result": "c", "costs": [{"item": "d", "yuan": 1}]});
            let mut fields = fields.as_object().unwrap().clone();
            rules.narrow(&mut fields, level);
            (Json::Object(fields), rules.beyond(level).fields.keys().cloned().collect::<Vec<_>>())
        };
        let county = json!({"description": "a", "measures": "b", "costs": [{"item": "d", "yuan": 1}]});
        assert_eq!(told(NodeLevel::Township), (county.clone(), vec!["costs.item".to_owned(), "measures".to_owned()]));
        assert_eq!(told(NodeLevel::County).0, county);
        assert_eq!(told(NodeLevel::City), (json!({"description": "a", "costs": [{"yuan": 1}]}), vec![]));
        let goes = NodeLevel::ALL.map(|level| rules.up_to.reaches(level));
        assert_eq!(goes, [true, true, true, true, false]);
        assert!(NodeLevel::ALL.iter().all(|level| !Exchange::None.reaches(*level) && Exchange::Province.reaches(*level)));
        // It is read as it was written, and a register that says nothing stays.
        let text = serde_json::to_string(&rules).unwrap();
        assert_eq!(serde_json::from_str::<Rules>(&text).unwrap(), rules);
        assert_eq!(Kind::parse(HIDDEN_DANGER).unwrap().rules(), Rules::default());
    }
}
