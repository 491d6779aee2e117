//! What a register may say beside states and transitions: shared guards, clocks, steps that stay or lead back, rows that are opened once. What cannot
//! work is told with its line; the schema that editors use refuses the same shapes.

use std::collections::BTreeMap;

use anlan_domain::calendar::Calendar;
use anlan_domain::register::{Act, Breach, Kind, Record, Test, Value, parse_minute, schema};
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
    check("until = \"due_at\"", "until = \"title\"", "until = \"title\"", "clock.tell.until: \"title\" is no instant");
    check("each = \"hops\"", "each = \"title\"", "each = \"title\"", "clock.tell.each: \"title\" is no table");
    check("key = [\"from\", \"to\"]", "key = [\"heard_at\"]", "key = [\"heard_at\"]", "clock.tell.key: \"heard_at\" is no text or choice");
    check("key = [\"from\", \"to\"]\n", "", "each = \"hops\"", "clock.tell.key: names no column");
    check("each = \"hops\"\n", "", "where = { not = { filled = \"told_at\" } }\nkey", "clock.tell.each: is missing");
    let day = "where = { field = \"today\", after = \"due_at\" }";
    check("where = { not = { filled = \"told_at\" } }\nkey", &format!("{day}\nkey"), day, "clock.tell.where: looks at more than the cells");
    check("was = { not = ", "was = { none = ", "was = { none = ", "a test is one of all");
    check(
        "in = [\"reported\", \"following\", \"investigating\", \"submitted\", \"approved\", \"tracking\", \"dismissing\"]",
        "in = [\"closed\"]",
        "in = [\"closed\"]\neach",
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
        ("until = \"due_at\"\n", ""),
        ("each = \"hops\"", "each = [\"hops\"]"),
        ("was = { not = ", "was = { none = "),
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

/// With these duties in `hops`: from, to, until when, and whether that was told.
fn record(state: &str, hops: &[(&str, &str, &str, bool)]) -> Record {
    let row = |(from, to, due_at, is_told): &(&str, &str, &str, bool)| {
        let due = Value::DateTime(parse_minute(due_at).unwrap());
        let words = [("from", from), ("to", to)].map(|(id, word)| (id.to_owned(), Value::Text((*word).to_owned())));
        let told = is_told.then(|| ("told_at".to_owned(), due.clone()));
        words.into_iter().chain([("due_at".to_owned(), due)]).chain(told).collect()
    };
    let fields = [("happened_on", Value::Date(date(2026, 3, 1))), ("investigation_until", Value::Date(date(2026, 4, 30)))];
    let mut fields: BTreeMap<String, Value> = fields.into_iter().map(|(id, value)| (id.to_owned(), value)).collect();
    fields.insert("hops".to_owned(), Value::Table(hops.iter().map(row).collect()));
    Record { state: state.to_owned(), entered_on: date(2026, 3, 1), fields, acts: Vec::new() }
}

const PROVINCE: (&str, &str, &str, bool) = ("city", "province", "2026-03-01T13:30", false);

#[test]
fn a_clock_runs_beside_the_deadline_of_the_state_and_is_told_by_the_minute() {
    let kind = Kind::parse(ACCIDENT).unwrap();
    let (of, calendar) = (record("following", &[PROVINCE]), Calendar::default());
    let running = kind.running(&of).next().unwrap();
    let (clock, until) = (running.clock, running.until);
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
    let told_all = record("following", &[("city", "province", "2026-03-01T13:30", true)]);
    assert_eq!((kind.running(&told_all).count(), kind.next_due_on(&told_all, &calendar)), (0, Some(date(2026, 4, 30))));
    assert_eq!(kind.running(&record("closed", &[PROVINCE])).count(), 0, "an end owes nothing");
    assert_eq!(kind.owed(&record("closed", &[PROVINCE])).count(), 1, "and what was told of it is remembered");
}

#[test]
fn each_duty_has_a_clock_of_its_own() {
    let kind = Kind::parse(ACCIDENT).unwrap();
    let both =
        record("following", &[("county", "city", "2026-03-01T12:00", false), PROVINCE, ("county", "city", "2026-03-01T11:00", false)]);
    let running: Vec<_> = kind.running(&both).map(|r| (r.key, r.until, r.names)).collect();
    let names = |zh: &str, en: &str| (zh.to_owned(), en.to_owned());
    assert_eq!(
        running,
        [
            (
                "tell/city/province".to_owned(),
                date(2026, 3, 1).at(13, 30, 0, 0),
                names("逐级上报（设区的市级→省级）", "Tell the next level (City → Province)")
            ),
            (
                "tell/county/city".to_owned(),
                date(2026, 3, 1).at(11, 0, 0, 0),
                names("逐级上报（县级→设区的市级）", "Tell the next level (County → City)")
            ),
        ],
        "of rows of one key the earliest"
    );
    assert_eq!(kind.next_due_on(&both, &Calendar::default()), Some(date(2026, 3, 1)));
}

#[test]
fn a_test_of_before_looks_at_nothing_that_the_act_says() {
    let kind = Kind::parse(ACCIDENT).unwrap();
    let guard = kind.transition("note_handed").unwrap().guards.iter().find(|guard| guard.id == "none_noted").unwrap();
    assert!(matches!(&guard.test, Test::Was(inner) if matches!(**inner, Test::Not(_))), "{:?}", guard.test);
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
