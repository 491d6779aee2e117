//! What a register may say beside states and transitions: shared guards, clocks, steps that stay or lead back, rows that are opened once. What cannot
//! work is told with its line; the schema that editors use refuses the same shapes.

use std::collections::BTreeMap;

use anlan_domain::calendar::Calendar;
use anlan_domain::register::{Act, Breach, Kind, Record, Value, parse_minute, schema};
use jiff::civil::date;

const ACCIDENT: &str = include_str!("../../../packs/base/registers/accident/register.toml");

fn is_valid(text: &str) -> Result<(), String> {
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.add_resource("schema.json", serde_json::from_str(schema::REGISTER).unwrap()).unwrap();
    let index = compiler.compile("schema.json", &mut schemas).unwrap();
    let value: toml::Value = toml::from_str(text).unwrap();
    schemas.validate(&serde_json::to_value(value).unwrap(), index).map_err(|error| format!("{error:#}"))
}

#[test]
fn what_cannot_work_is_told_at_its_line() {
    let check = |from: &str, to: &str, at: &str, says: &str| {
        assert!(ACCIDENT.contains(from), "{from}");
        let text = ACCIDENT.replacen(from, to, 1);
        let line = text[..text.find(at).unwrap_or_else(|| panic!("{at}"))].lines().count() + usize::from(!text.starts_with(at));
        let told = Kind::parse(&text).expect_err(to);
        let near = |breach: &Breach| breach.line.abs_diff(line) <= 1 && breach.to_string().contains(says);
        assert!(told.iter().any(near), "{to}: line {line}: {told:?}");
    };
    check(
        "use = [\"measures_whole\", \"handed_stay\"]",
        "use = [\"handed\"]",
        "use = [\"handed\"]",
        "submit_report.use: there is no guard \"handed\"",
    );
    let twice = "use = [\"began_between\", \"began_between\"]";
    check("use = [\"began_between\"]", twice, twice, "\"began_between\" is there twice");
    let idle = "[[guard]]\nid = \"idle\"\nsays = \"否\"\nsays_en = \"no\"\ntest = { filled = \"title\" }\n\n";
    check("[[guard]]\nid = \"not_in", &format!("{idle}[[guard]]\nid = \"not_in"), "id = \"idle\"", "guard.idle: no transition uses it");
    check("says_en = \"Measures are still", "says_en = \"\" # ", "id = \"all_handed\"", "guard.all_handed.says: is missing");
    check("until = \"tell_by\"", "until = \"title\"", "until = \"title\"", "clock.tell.until: \"title\" is no instant");
    check(
        "in = [\"reported\", \"following\", \"investigating\", \"submitted\", \"approved\", \"tracking\", \"dismissing\"]",
        "in = [\"closed\"]",
        "in = [\"closed\"]\nuntil",
        "clock.tell.in: there is no state \"closed\" in which something follows",
    );
    check("{ after_min = 60, to = [\"leader\"] }", "{ after_min = 20000, to = [\"leader\"] }", "id = \"tell\"", "within 10080 minutes");
    check("{ after_min = 60, to = [\"leader\"] }", "{ after_min = 60, to = [\"boss\"] }", "id = \"tell\"", "there is no role \"boss\"");
    check("mark = \"handed_on\"", "mark = \"unit\"", "mark = \"unit\"", "hand_down.opens.mark: \"unit\" is no date column");
    let sets = "who = [\"supervisor\"]\nmay = [\"measures\"]\nopens";
    check("who = [\"supervisor\"]\nopens", sets, "opens = [", "is of a table that the step sets");
    check(
        "from = [\"dismissed\"]\nafter_end = true",
        "from = [\"dismissed\"]",
        "from = [\"dismissed\"]",
        "\"dismissed\" is an end: nothing follows it",
    );
    check(
        "from = [\"dismissing\"]\nto = \"dismissed\"",
        "from = [\"dismissing\"]\nafter_end = true\nto = \"dismissed\"",
        "id = \"dismiss\"",
        "is of steps from an end",
    );
    check("to = \"reported\"\nback = true", "back = true", "id = \"refuse_dismissal\"", "is missing: whereto");
    check("from = [\"draft\"]\nto = \"reported\"", "from = [\"draft\"]", "id = \"report\"", "nothing stays in the start");
    check("keeps = [\"known_at\", ", "keeps = [\"knew_at\", ", "keeps = [\"knew_at\"", "there is no field \"knew_at\"");
    check("same_rows = \"measures\", but", "same_rows = \"title\", but", "same_rows = \"title\"", "\"title\" is no table");
    check("but = [\"done_on\", \"how\"]", "but = [\"done_at\"]", "but = [\"done_at\"]", "\"measures\" has no column \"done_at\"");
    check(
        "of = { filled = \"handed_on\" }",
        "of = { changed = [\"handed_on\"] }",
        "of = { changed",
        "`of` looks at more than the cells of a row",
    );
}

#[test]
fn the_schema_refuses_the_same_shapes() {
    assert_eq!(is_valid(ACCIDENT), Ok(()));
    for (from, to) in [
        ("until = \"tell_by\"\n", ""),
        ("{ after_min = 60, to = [\"leader\"] }", "{ after_min = 20000, to = [\"leader\"] }"),
        ("{ after_min = 60, to = [\"leader\"] }", "{ after = 60, to = [\"leader\"] }"),
        ("use = [\"began_between\"]", "use = \"began_between\""),
        ("same_rows = \"measures\", but", "same_rows = \"measures\", except"),
        ("after_end = true", "after_end = \"yes\""),
    ] {
        assert!(ACCIDENT.contains(from), "{from}");
        let text = ACCIDENT.replacen(from, to, 1);
        assert!(Kind::parse(&text).is_err() && is_valid(&text).is_err(), "{to}");
    }
}

fn record(state: &str, tell_by: &str) -> Record {
    let fields = BTreeMap::from([
        ("tell_by".to_owned(), Value::DateTime(parse_minute(tell_by).unwrap())),
        ("investigation_until".to_owned(), Value::Date(date(2026, 4, 30))),
    ]);
    Record { state: state.to_owned(), entered_on: date(2026, 3, 1), fields, acts: Vec::new() }
}

#[test]
fn a_clock_runs_beside_the_deadline_of_the_state_and_is_told_by_the_minute() {
    let kind = Kind::parse(ACCIDENT).unwrap();
    let (of, calendar) = (record("following", "2026-03-01T13:30"), Calendar::default());
    let (clock, until) = kind.running(&of).next().unwrap();
    assert_eq!((kind.due_on(&of, &calendar), kind.next_due_on(&of, &calendar)), (Some(date(2026, 4, 30)), Some(date(2026, 3, 1))));
    assert_eq!(kind.tasks(&of), ["supervisor", "duty_officer"]);
    let told = |done: usize, now: &str| {
        let (steps, next) = clock.steps(until, done, parse_minute(now).unwrap());
        (steps.iter().map(|step| step.after_min).collect::<Vec<_>>(), next)
    };
    let at = |text: &str| parse_minute(text);
    assert_eq!(told(0, "2026-03-01T12:59"), (vec![], at("2026-03-01T13:00")));
    assert_eq!(told(0, "2026-03-01T13:00"), (vec![-30], at("2026-03-01T13:31")));
    assert_eq!(told(1, "2026-03-01T13:30"), (vec![], at("2026-03-01T13:31")), "the last minute is in time");
    assert_eq!(told(1, "2026-03-01T13:31"), (vec![0], at("2026-03-01T14:31")));
    assert_eq!(told(2, "2026-03-01T14:31"), (vec![60], None));
    assert_eq!(told(0, "2026-03-02T00:00"), (vec![-30, 0, 60], None), "a node that was off");
    let mut told_all = of.clone();
    told_all.fields.remove("tell_by");
    assert_eq!((kind.running(&told_all).count(), kind.next_due_on(&told_all, &calendar)), (0, Some(date(2026, 4, 30))));
    assert_eq!(kind.running(&record("closed", "2026-03-01T13:30")).count(), 0, "an end owes nothing");
}

#[test]
fn an_act_of_before_says_no_state_and_is_read_as_it_was_written() {
    let before = r#"{"transition":"report","by":"7","on":"2026-03-01"}"#;
    let act: Act = serde_json::from_str(before).unwrap();
    assert_eq!((act.from.as_ref(), serde_json::to_string(&act).unwrap().as_str()), (None, before));
    let now = r#"{"transition":"dismiss","by":"7","on":"2026-03-01","from":"dismissing"}"#;
    let act: Act = serde_json::from_str(now).unwrap();
    assert_eq!((act.from.as_deref(), serde_json::to_string(&act).unwrap().as_str()), (Some("dismissing"), now));
}
