//! The accident register: its words are those of the tables it reckons with, and what it asks of the engine is refused where it cannot be.

use std::collections::{BTreeMap, BTreeSet};

use anlan_domain::accident::{Desk, built_in};
use anlan_domain::register::{Breach, FieldType, Kind, Value};

const ACCIDENT: &str = include_str!("../../../packs/base/registers/accident/register.toml");
const DANGER: &str = include_str!("../../../packs/base/registers/hidden_danger/register.toml");
const FACTS: &str = include_str!("../../../packs/demo/plan_facts.csv");

fn kind() -> Kind {
    Kind::parse(ACCIDENT).unwrap_or_else(|wrong| panic!("{wrong:?}"))
}

fn words(kind: &Kind, field: &str) -> Vec<(String, String, String)> {
    let FieldType::Choice { choices } = &kind.field(field).unwrap().of else { panic!("{field} is no choice") };
    choices.iter().map(|c| (c.id.clone(), c.name.clone(), c.name_en.clone())).collect()
}

#[test]
fn its_words_are_those_of_the_tables() {
    let kind = kind();
    let classes: Vec<_> = built_in().classes().iter().map(|c| (c.id.clone(), c.name.clone(), c.name_en.clone())).collect();
    assert_eq!((words(&kind, "class"), words(&kind, "first_class")), (classes.clone(), classes));
    for (field, way) in [("type_cause", 1), ("type_harm", 2)] {
        let types = built_in().types().iter().filter(|t| t.way == way).map(|t| (t.code.clone(), t.name.clone(), t.name_en.clone()));
        assert_eq!(words(&kind, field), types.collect::<Vec<_>>(), "{field}");
    }
    let above: Vec<&str> = Desk::ALL[1..].iter().map(|desk| desk.as_str()).collect();
    for field in ["report_up_to", "investigated_by", "approved_by"] {
        assert_eq!(words(&kind, field).iter().map(|(id, ..)| id.as_str()).collect::<Vec<_>>(), above, "{field}");
    }
    // By these words the figures of a plan take their rows.
    let rows = FACTS.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let sectors: BTreeSet<String> = rows.filter(|row| row.get(1) == Some(&"accident_deaths")).map(|row| row[4].to_owned()).collect();
    let choices: BTreeSet<String> = words(&kind, "sector").into_iter().map(|(id, ..)| id).collect();
    assert!(choices.is_superset(&sectors), "{sectors:?}");
    let known = anlan_domain::indicator::built_in().sectors();
    for (id, name, _) in words(&kind, "sector") {
        assert!(known.iter().any(|sector| sector.id == id && (sector.name == name || !sector.name.is_empty())), "{id}");
    }
    // The longest extension is that of the table.
    let days = built_in().deadlines("2026-03-01".parse().unwrap(), anlan_domain::accident::Nature::General);
    let most = days.investigation_until.until(days.investigation_extended_until).unwrap().get_days();
    let FieldType::Number { max, .. } = &kind.field("extended_by_days").unwrap().of else { panic!("no number") };
    assert_eq!(*max, Some(f64::from(most)));
    // What a measure is against is what a hidden danger is of.
    let FieldType::Table { columns, .. } = &kind.field("measures").unwrap().of else { panic!("no table") };
    let FieldType::Choice { choices } = &columns.iter().find(|c| c.id == "cause").unwrap().of else { panic!("no choice") };
    let danger = Kind::parse(DANGER).unwrap();
    assert_eq!(
        choices.iter().map(|c| c.id.clone()).collect::<Vec<_>>(),
        words(&danger, "source").into_iter().map(|(id, ..)| id).collect::<Vec<_>>()
    );
}

#[test]
fn names_of_people_stay_at_the_node() {
    let rules = kind().rules();
    assert_eq!(rules.fields.keys().map(String::as_str).collect::<Vec<_>>(), ["people.name"]);
}

#[test]
fn what_it_cannot_ask_of_the_engine_is_told() {
    let check = |from: &str, to: &str, says: &str| {
        assert!(ACCIDENT.contains(from), "{from}");
        let told: Vec<String> = Kind::parse(&ACCIDENT.replacen(from, to, 1)).expect_err(to).iter().map(Breach::to_string).collect();
        assert!(told.iter().any(|told| told.contains(says)), "{to}: {told:?}");
    };
    let toll = "accident = \"toll\", happened = \"happened_at\", nature = \"nature\"";
    check(&format!("{toll}, shows = \"deaths\""), &format!("{toll}, shows = \"dead\""), "\"dead\" is not deaths, ");
    check(
        &format!("{toll}, shows = \"deaths\""),
        "accident = \"course\", happened = \"happened_at\", nature = \"nature\", shows = \"deaths\"",
        "\"course\" is no table with the columns told_on (date)",
    );
    check(
        &format!("{toll}, shows = \"deaths\""),
        "accident = \"toll\", happened = \"happened_on\", nature = \"nature\", shows = \"deaths\"",
        "\"happened_on\" is no instant",
    );
    check(
        &format!("{toll}, shows = \"deaths\""),
        "accident = \"toll\", happened = \"happened_at\", nature = \"sector\", shows = \"deaths\"",
        "\"sector\" is no choice of general, road and fire",
    );
    check(&format!("{toll}, shows = \"class\""), &format!("{toll}, shows = \"deaths\""), "shows a number of the unit \"人\"");
    check(&format!("{toll}, shows = \"deaths\""), &format!("{toll}, shows = \"class\""), "shows a choice of especially_serious, ");
    check("id = \"serious\", name = \"重大事故\"", "id = \"grave\", name = \"重大事故\"", "has no choice \"serious\"");
    check(
        "{ id = \"told_on\", name = \"报告日期\", name_en = \"Told on\", type = \"date\" }",
        "{ id = \"told_on\", name = \"报告日期\", name_en = \"Told on\", type = \"datetime\" }",
        "is no table with the columns",
    );
    check("day_of = \"happened_at\"", "day_of = \"title\"", "\"title\" is no instant");
    check("days_between = [\"conclude_by\", \"approved_on\"]", "days_between = [\"conclude_by\", \"title\"]", "\"title\" is no date");
    check("plus_days_of = [\"reply_days\", ", "plus_days_of = [\"opinion\", ", "there is no field \"opinion\" above this one");
    check(
        "where = { field = \"outcome\", is = \"discipline\" }",
        "where = { field = \"outcom\", is = \"discipline\" }",
        "there is no field \"outcom\"",
    );
    check(
        "where = { field = \"outcome\", is = \"discipline\" }",
        "where = { field = \"done_on\", after = \"today\" }",
        "looks at more than the cells of a row",
    );
    check(
        "where = { field = \"outcome\", is = \"discipline\" }",
        "where = { changed = [\"outcome\"] }",
        "looks at more than the cells of a row",
    );
    check("{ extends = \"toll\" }", "{ extends = \"course\" }", "\"course\" is no table");
    check("deadline = { field = \"tell_by\" }", "deadline = { field = \"title\" }", "\"title\" is no date");
    check(
        "\"state_told_at\"], shows = \"tell_by\"",
        "\"approved_on\"], shows = \"tell_by\"",
        "there is no field \"approved_on\" above this one",
    );
    check("\"state_told_at\"], shows = \"tell_by\"", "\"place\"], shows = \"tell_by\"", "\"place\" is no instant");
    check(
        "{ id = \"heard_at\", name = \"接报\"",
        "{ id = \"hear_at\", name = \"接报\"",
        "the column \"hear_at\" is none of from, to, heard_at",
    );
    // What an outcome is counted by goes no further than the outcome.
    check("id = \"outcome\", ", "id = \"outcome\", exchange = \"county\", ", "follows from \"people.outcome\"");
}

#[test]
fn an_instant_is_read_and_written_to_the_minute() {
    let kind = kind();
    let field = kind.field("happened_at").unwrap();
    let read = |text: &str| Value::from_json(Some(field), &text.into()).unwrap();
    let at = read("2026-03-01T09:05");
    assert_eq!((field.check(&at).is_ok(), at.to_json()), (true, "2026-03-01T09:05".into()));
    for wrong in [
        "2026-03-01",
        "2026-03-01T09:05:00",
        "2026-03-01 09:05",
        "2026-03-01T24:00",
        "2026-02-30T09:05",
        "2026-03-01T09:05Z",
        "2026-03-01T9:05",
        "",
    ] {
        assert!(field.check(&read(wrong)).is_err(), "{wrong}");
    }
    // As stored and exchanged: what was written is what is read.
    let stored = serde_json::json!({"happened_at": "2026-03-01T00:00", "county_told_at": "2026-12-31T23:59"});
    let fields = kind.stored_fields(stored.as_object().unwrap());
    let again: BTreeMap<String, serde_json::Value> = fields.iter().map(|(id, value)| (id.clone(), value.to_json())).collect();
    assert_eq!(serde_json::to_value(again).unwrap(), stored);
}
