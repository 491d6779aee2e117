use std::collections::BTreeMap;

use jiff::civil::date;
use proptest::prelude::*;

use super::*;

const HIDDEN_DANGER: &str = include_str!("testdata/register.toml");
const CASES: &str = include_str!("testdata/cases.toml");

fn hidden_danger() -> Kind {
    Kind::parse(HIDDEN_DANGER).unwrap_or_else(|breaches| panic!("{breaches:?}"))
}

#[test]
fn the_pack_is_sound_and_its_cases_go_as_told() {
    assert_eq!(hidden_danger().run_cases(CASES), Ok(3));
}

#[test]
fn a_broken_kind_is_told_by_line_and_field() {
    // The line told is the one where `at` first stands in the broken text.
    let check = |from: &str, to: &str, at: &str, says: &str| {
        assert!(HIDDEN_DANGER.contains(from), "{from}");
        let text = HIDDEN_DANGER.replacen(from, to, 1);
        let line = text[..text.find(at).unwrap_or_else(|| panic!("{at}"))].matches('\n').count() + 1;
        let told: Vec<String> = Kind::parse(&text).expect_err(to).iter().map(Breach::to_string).collect();
        assert!(told.iter().any(|t| t.starts_with(&format!("{line}: ")) && t.contains(says)), "{to}, line {line}: {told:?}");
    };
    check("to = \"rated\"", "to = \"ratd\"", "to = \"ratd\"", "transition.rate.to: there is no state \"ratd\"");
    check("to = \"dismissed\"", "to = \"closed\"", "id = \"dismissed\"", "state.dismissed: cannot be reached");
    check("id = \"draft\"", "id = \"drft\"", "start = \"draft\"", "start: there is no state \"draft\"");
    check("name_en = \"No hidden danger\"\nend = true", "name_en = \"x\"", "id = \"dismissed\"", "state.dismissed: no way leads");
    let path = "through = [\"recheck\", \"accept\"]";
    check(path, "through = [\"recheck\"]", "to = \"closed\"\nthrough", "path: \"closed\" can be reached without recheck");
    check(path, "through = [\"check\"]", "through = [\"check\"]", "path.through: there is no transition \"check\"");
    check("from = [\"treating\"]", "from = [\"closed\"]", "from = [\"closed\"]", "\"closed\" is an end");
    check("who = [\"supervisor\"]", "who = []", "who = []", "names no role");
    check("require = [\"level\"]", "require = [\"grade\"]", "require = [\"grade\"]", "there is no field \"grade\"");
    check("is = \"general\"", "is = \"small\"", "test = { any", "has no choice \"small\"");
    check("[\"report\"] }", "[\"reprot\"] }", "test = { other_person_than = [\"reprot\"]", "there is no transition \"reprot\"");
    check("{ filled = \"goal\" }", "{ filled = \"goal\", is = \"x\" }", "test = { any", "a test is one of");
    check(
        "type = \"person\"",
        "type = \"html\"",
        "type = \"html\"",
        "is not text, number, date, datetime, choice, person, place, file, table or record",
    );
    check("title = \"description\"", "title = \"level\"", "title = \"level\"", "title: \"level\" must be a text");
    check("filter = [\"level\"", "filter = [\"place\"", "filter = [\"place\"", "must be a choice, date, number, person or record");
    check("{seq:3}", "{seq}", "number = ", "{seq} is not {region}, {year} or {seq:1}");
    check("import_by = \"report\"", "import_by = \"rate\"", "import_by = ", "does not lead from \"draft\"");
    check("import = [\"description\", ", "import = [", "import_by = ", "has no column \"description\", which \"report\" requires");
    check("task_person = \"responsible\"", "task_person = \"level\"", "task_person = ", "\"level\" is no person field");
    check("deadline = { field = \"due_on\" }", "deadline = { field = \"level\" }", "deadline = { field", "\"level\" is no date");
    check("deadline_confidence = \"product\"\n", "", "id = \"found\"", "no source, no number of days");
    check("task = [\"supervisor\"]", "task = [\"boss\"]", "id = \"found\"", "there is no role \"boss\"");
    check("sum = \"costs.yuan\"", "sum = \"costs.item\"", "compute = { sum", "\"costs.item\" is no number");
    check("percent = [\"cost_yuan\"", "percent = [\"share\"", "compute = { percent", "there is no field \"share\" above this one");
    check("[[50, \"large\"]]", "[[50, \"huge\"]]", "compute = { steps", "there is no choice \"huge\"");
    check("may = [\"costs\"]", "may = [\"cost_yuan\"]", "may = [\"cost_yuan\"]", "\"cost_yuan\" is computed");
    check("to = \"found\"", "to = \"draft\"", "to = \"draft\"", "leads back to the start");
    check("id = \"place\"", "id = \"description\"", "id = \"description\"\nname = \"隐患部位\"", "is there twice");
    check("id = \"place\"", "id = \"Place 1\"", "id = \"Place 1\"", "is no word");
    check("confidence = \"verified-secondary\"", "confidence = \"sure\"", "confidence = \"sure\"", "confidence");
    check("name_en = \"Where\"", "nam_en = \"Where\"", "nam_en", "unknown field `nam_en`");
    check("unit = \"元\"\n", "", "id = \"funds_yuan\"", "a count has the unit");
    let start = "start = \"draft\"\n";
    let with = |more: &str| format!("{start}{more}\n");
    check(start, &with("exchange = \"town\""), "exchange = ", "exchange: is not none, county, city or province");
    let retention = |text: &str| with(&format!("retention = {{ {text} }}"));
    let sound = "years = 3, from = \"end\", source = \"x\", confidence = \"unverified\"";
    for (from, to, says) in [
        ("years = 3", "years = 0", "retention.years: 1 to 100 years"),
        ("\"end\"", "\"start\"", "retention.from: is \"end\""),
        ("\"x\"", "\"\"", "retention.source: is missing: no source, no number of years"),
        ("\"unverified\"", "\"sure\"", "retention.confidence: is not verified"),
    ] {
        assert!(sound.contains(from));
        check(start, &retention(&sound.replace(from, to)), "retention = ", says);
    }
}

#[test]
fn a_case_that_goes_otherwise_is_told() {
    let check = |from: &str, to: &str, says: &str| {
        assert!(CASES.contains(from), "{from}");
        let failures = hidden_danger().run_cases(&CASES.replacen(from, to, 1)).expect_err(to);
        assert!(failures[0].line > 1 && failures[0].to_string().contains(says), "{to}: {failures:?}");
    };
    check("ends = \"closed\"", "ends = \"dismissed\"", "ends in \"closed\", not in \"dismissed\"");
    check(", refused = [\"guard:other_person\"]", "", "\"recheck\" is refused: guard:other_person; it should pass");
    check("refused = [\"role\"]", "refused = [\"state\"]", "is refused: role; expected state");
    check("opinion = \"未接地\" } }", "opinion = \"未接地\" }, refused = [\"role\"] }", "passes, but should be refused");
    check("on = \"2026-03-02\"", "on = \"2026-02-30\"", "is no date");
    check("do = \"report\"", "done = \"report\"", "unknown field `done`");
}

#[test]
fn a_deadline_is_told_step_by_step_each_once() {
    let kind = hidden_danger();
    let due = date(2026, 3, 10);
    let told = |done, today| {
        let (steps, next) = kind.escalation("treating", due, done, today);
        (steps.iter().map(|step| step.after).collect::<Vec<_>>(), next)
    };
    assert_eq!(told(0, date(2026, 3, 6)), (vec![], Some(date(2026, 3, 7))));
    assert_eq!(told(0, date(2026, 3, 7)), (vec![-3], Some(date(2026, 3, 11))));
    assert_eq!(told(1, date(2026, 3, 10)), (vec![], Some(date(2026, 3, 11))), "on the last day it is in time");
    assert_eq!(told(1, date(2026, 3, 11)), (vec![1], None));
    assert_eq!(told(0, date(2026, 4, 1)), (vec![-3, 1], None), "a node that was off tells everything it missed");
    assert_eq!(told(2, date(2026, 4, 1)), (vec![], None));
    let found = Record { state: "found".to_owned(), entered_on: date(2026, 3, 6), fields: BTreeMap::new(), acts: vec![] };
    assert_eq!(kind.due_on(&found, &Calendar::default()), Some(date(2026, 3, 10)), "two working days after a Friday");
}

#[test]
fn a_step_that_cannot_pass_says_why_before_it_is_tried() {
    let kind = hidden_danger();
    let acts = vec![Act { transition: "submit".to_owned(), by: "a".to_owned(), on: date(2026, 3, 1), from: None }];
    let record = |state: &str, level: &str| Record {
        state: state.to_owned(),
        entered_on: date(2026, 3, 1),
        fields: BTreeMap::from([("level".to_owned(), Value::Text(level.to_owned()))]),
        acts: acts.clone(),
    };
    let told = |state: &str, level: &str, by: &str, roles: &[&str]| {
        let record = record(state, level);
        let told = kind.possible(&record, by, roles, date(2026, 3, 2).at(9, 0, 0, 0), &Related::default(), &Calendar::default());
        told.iter()
            .map(|(t, failed)| (t.id.clone(), failed.iter().map(|g| g.id.as_str()).collect::<Vec<_>>().join(" ")))
            .collect::<Vec<_>>()
    };
    let check = |state, level, by, roles: &[&str], expected: &[(&str, &str)]| {
        let expected: Vec<_> = expected.iter().map(|(id, failed)| ((*id).to_owned(), (*failed).to_owned())).collect();
        assert_eq!(told(state, level, by, roles), expected, "{state} {level} {by} {roles:?}");
    };
    let blocked = [("send_back", "other_person"), ("recheck", "other_person"), ("accept", "other_person")];
    check("submitted", "general", "a", &["supervisor"], &blocked);
    check("submitted", "general", "b", &["safety_manager"], &[("send_back", ""), ("recheck", "")]);
    let major = [("send_back", "other_person"), ("recheck", "general_only other_person")];
    check("submitted", "major", "a", &["safety_manager"], &major);
    check("submitted", "major", "b", &["supervisor"], &[("send_back", ""), ("recheck", "general_only"), ("accept", "")]);
    // A plan that may still be written and a day that may still be set stop nobody beforehand.
    check("rated", "major", "a", &["supervisor"], &[("assign", "")]);
    check("rated", "major", "a", &["leader"], &[]);
    check("closed", "general", "b", &["supervisor"], &[]);
}

#[test]
fn what_follows_from_what_is_not_said_yet_is_not_known_either() {
    let share = "test = { days_between = [\"removed_on\", \"today\"], at_most = 3650 }";
    assert!(HIDDEN_DANGER.contains(share));
    let asked = |test: &str| {
        let text = HIDDEN_DANGER.replacen(share, test, 1);
        let kind = Kind::parse(&text).unwrap_or_else(|breaches| panic!("{breaches:?}"));
        let record = Record { state: "treating".to_owned(), entered_on: date(2026, 3, 1), fields: BTreeMap::new(), acts: vec![] };
        let told =
            kind.possible(&record, "a", &["safety_manager"], date(2026, 3, 2).at(9, 0, 0, 0), &Related::default(), &Calendar::default());
        told[0].1.len()
    };
    assert_eq!(asked("test = { field = \"size\", is = \"large\" }"), 0, "the size follows from the costs, which are asked");
    assert_eq!(asked("test = { filled = \"goal\" }"), 1, "the goal was said before");
    assert_eq!(asked("test = { any = [{ filled = \"goal\" }, { filled = \"costs\" }] }"), 0);
    assert_eq!(asked("test = { all = [{ filled = \"goal\" }, { filled = \"costs\" }] }"), 1, "one that cannot hold settles it");
    assert_eq!(asked("test = { not = { all = [{ filled = \"goal\" }, { filled = \"costs\" }] } }"), 0);
}

#[test]
fn the_picture_names_every_state_and_transition() {
    let kind = hidden_danger();
    let (mermaid, dot) = (graph::mermaid(&kind), graph::dot(&kind));
    for state in &kind.states {
        assert!(mermaid.contains(&format!("state \"{}\" as {}", state.name, state.id)) && dot.contains(&format!("{} [label", state.id)));
    }
    assert!(
        mermaid.contains("submitted --> closed: 复查销号 ◆") && mermaid.contains("closed --> [*]") && dot.contains("submitted -> closed")
    );
}

proptest! {
    /// Whatever anybody tries in whatever order: nothing is closed by who asked for the check, and nothing happens behind an end.
    #[test]
    fn no_way_around_the_other_person(tries in prop::collection::vec((0..8_usize, 0..3_u8, 0..3_usize, 0..20_i8, any::<bool>()), 0..60)) {
        let kind = hidden_danger();
        let roles = [["safety_manager"], ["supervisor"], ["leader"]];
        let mut record = kind.begin(date(2026, 3, 1));
        for (n, by, role, day, major) in tries {
            let transition = &kind.transitions[n % kind.transitions.len()];
            let text = |t: &str| Value::Text(t.to_owned());
            let on = date(2026, 3, 1 + day);
            let set = BTreeMap::from([
                ("description", text("x")), ("place", text("x")), ("found_on", Value::Date(date(2026, 3, 1))), ("source", text("act")),
                ("level", text(if major { "major" } else { "general" })), ("responsible", text("x")), ("due_on", Value::Date(date(2026, 4, 1))),
                ("measures", text("x")), ("goal", text("x")), ("funds_yuan", Value::Number(0.0)), ("interim_measures", text("x")),
                ("removed_on", Value::Date(on)), ("result", text("x")), ("opinion", text("x")),
            ]);
            // Fields of other steps are refused, and one try in four brings them.
            let is_set = |id: &str| n % 4 == 3 || transition.require.iter().chain(&transition.may).any(|own| own == id);
            let set = set.into_iter().filter(|(id, _)| is_set(id)).map(|(id, value)| (id.to_owned(), Some(value))).collect();
            let by = format!("p{by}");
            let before = record.clone();
            let offered = kind.possible(&record, &by, &roles[role], on.at(9, 0, 0, 0), &Related::default(), &Calendar::default());
            let blocked: Option<Vec<Refused>> = offered
                .iter()
                .find(|(offered, _)| offered.id == transition.id)
                .map(|(_, failed)| failed.iter().map(|guard| Refused::Guard(guard.id.clone())).collect());
            let attempt = Attempt { transition: &transition.id, by: &by, roles: &roles[role], at: on.at(9, 0, 0, 0), set };
            match kind.attempt(&record, &attempt, &Related::default(), &Calendar::default()) {
                Ok(next) => {
                    prop_assert_eq!(blocked, Some(vec![]), "what passes was offered");
                    record = next;
                }
                Err(refused) => {
                    prop_assert!(!refused.is_empty() && record == before);
                    prop_assert!(blocked.unwrap_or_default().iter().all(|reason| refused.contains(reason)), "what was said before holds");
                }
            }
        }
        let last = |id: &str| record.acts.iter().rfind(|act| act.transition == id);
        if record.state == "closed" {
            let closing = record.acts.last().unwrap();
            prop_assert!(["recheck", "accept"].contains(&closing.transition.as_str()));
            prop_assert!(record.acts.iter().filter(|a| a.transition == "submit").all(|a| a.by != closing.by));
            prop_assert!(last("assign").is_some());
            if record.fields["level"] == Value::Text("major".to_owned()) {
                prop_assert_eq!(&closing.transition, "accept");
            }
        }
    }
}

/// The register with a field of files that its first transition takes.
fn with_files(field: &str) -> String {
    let text = HIDDEN_DANGER.replacen(
        "[[field]]\nid = \"place\"",
        &format!("[[field]]\nid = \"photos\"\n{field}\n\n[[field]]\nid = \"place\""),
        1,
    );
    text.replacen("require = [\"description\"", "may = [\"photos\"]\nrequire = [\"description\"", 1)
}

#[test]
fn a_field_of_files_takes_so_many_ids_each_once() {
    let kind =
        Kind::parse(&with_files("name = \"照片\"\nname_en = \"Photos\"\ntype = \"file\"\nmax = 2\naccept = [\"image\", \"pdf\"]")).unwrap();
    let field = kind.field("photos").unwrap();
    assert!(matches!(&field.of, FieldType::File { max: 2, accept } if *accept == [FileKind::Image, FileKind::Pdf]));
    let check = |json: serde_json::Value, fault: Option<FieldFault>| {
        let told = Value::from_json(Some(field), &json).map_or(Some(FieldFault::Type), |value| field.check(&value).err().map(|f| f[0].1));
        assert_eq!(told, fault, "{json}");
    };
    check(serde_json::json!(["7"]), None);
    check(serde_json::json!(["7", "8"]), None);
    check(serde_json::json!(["7", "7"]), Some(FieldFault::Range));
    check(serde_json::json!(["7", "8", "9"]), Some(FieldFault::Range));
    check(serde_json::json!([""]), Some(FieldFault::Range));
    check(serde_json::json!([]), Some(FieldFault::Range));
    check(serde_json::json!([7]), Some(FieldFault::Type));
    check(serde_json::json!("7"), Some(FieldFault::Type));
    check(serde_json::json!([{"id": "7"}]), Some(FieldFault::Type));
    // A field of a pack that is gone keeps what it held.
    let files = serde_json::json!(["7", "8"]);
    assert_eq!(Value::from_json(None, &files).unwrap().to_json(), files);
    let place = kind.field("place").unwrap();
    assert_eq!(place.check(&Value::from_json(Some(place), &files).unwrap()).unwrap_err()[0].1, FieldFault::Type);
    let plain = "name = \"照片\"\nname_en = \"Photos\"\ntype = \"file\"";
    let kind = Kind::parse(&with_files(plain)).unwrap();
    assert!(matches!(&kind.field("photos").unwrap().of, FieldType::File { max: 6, accept } if accept.len() == FileKind::ALL.len()));
    let wrong = |text: &str, says: &str| {
        let told: Vec<String> = Kind::parse(text).expect_err(says).iter().map(Breach::to_string).collect();
        assert!(told.iter().any(|t| t.contains(says)), "{says}: {told:?}");
    };
    wrong(&with_files(&format!("{plain}\nmax = 21")), "field.photos.max: 1 to 20 files");
    wrong(&with_files(&format!("{plain}\nmax = 1.5")), "field.photos.max: 1 to 20 files");
    wrong(&with_files(&format!("{plain}\naccept = [\"exe\"]")), "field.photos.accept: each once, of image, pdf");
    wrong(&with_files(&format!("{plain}\naccept = [\"pdf\", \"pdf\"]")), "field.photos.accept: each once");
    wrong(&with_files("name = \"x\"\nname_en = \"x\"\ntype = \"date\"\naccept = [\"pdf\"]"), "accept: is of files alone");
    for (list, named) in
        [("list = [", "list"), ("filter = [", "filter"), ("key = [", "key"), ("import = [", "import"), ("search = [", "search")]
    {
        wrong(&with_files(plain).replacen(list, &format!("{list}\"photos\", "), 1), &format!("{named}: \"photos\" must be"));
    }
}

const MAJOR_HAZARD: &str = include_str!("../../../../packs/base/registers/major_hazard/register.toml");

/// The unit as a register holds it and as `anlan grade` reads it.
fn units() -> impl Strategy<Value = (Vec<(String, f64, String)>, Option<u32>)> {
    let substance = prop::sample::select(vec!["液氯", "氨", "甲醇", "氟", "一氧化碳", "硝酸铵", "柴油", "7782-50-5", "W5.3", ""]);
    let symbols = prop::sample::select(vec!["", "J3 W2", "W5.4", "J2、W99"]);
    let row = (substance, prop_oneof![0.0..2_000.0, Just(62.4), Just(62.5)], symbols);
    (prop::collection::vec(row.prop_map(|(s, t, c)| (s.to_owned(), t, c.to_owned())), 1..5), prop::option::of(0..200_u32))
}

proptest! {
    /// What a record shows is what `anlan grade` says of the same unit; what that refuses, no record takes.
    #[test]
    fn a_register_grades_as_the_function_does((rows, people) in units()) {
        use crate::major_hazard::{Content, Unit, built_in};
        let kind = Kind::parse(MAJOR_HAZARD).unwrap();
        let content = |(substance, tonnes, symbols): &(String, f64, String)| Content {
            substance: substance.clone(),
            tonnes: *tonnes,
            categories: symbols.split([' ', '、']).filter(|s| !s.is_empty()).map(str::to_owned).collect(),
        };
        let told = built_in().grade(&Unit { contents: rows.iter().map(content).collect(), people_within_500m: people });
        let cells = |(substance, tonnes, symbols): &(String, f64, String)| {
            let texts = [("substance", substance), ("categories", symbols)].into_iter().filter(|(_, text)| !text.is_empty());
            let texts = texts.map(|(id, text)| (id.to_owned(), Value::Text(text.clone())));
            texts.chain([("tonnes".to_owned(), Value::Number(*tonnes))]).collect()
        };
        let text = |text: &str| Some(Value::Text(text.to_owned()));
        let mut set = BTreeMap::from([
            ("unit".to_owned(), text("罐区")), ("place".to_owned(), text("北")), ("unit_kind".to_owned(), text("storage")),
            ("contents".to_owned(), Some(Value::Table(rows.iter().map(cells).collect()))),
        ]);
        if let Some(people) = people {
            set.insert("people_within_500m".to_owned(), Some(Value::Number(f64::from(people))));
        }
        let on = date(2026, 6, 1);
        let attempt = Attempt { transition: "identify", by: "li", roles: &["safety_manager"], at: on.at(9, 0, 0, 0), set };
        match (kind.attempt(&kind.begin(on), &attempt, &Related::default(), &Calendar::default()), told) {
            (Ok(record), Ok(grade)) => {
                prop_assert_eq!((record.number("s"), record.number("r"), record.number("alpha")), (Some(grade.s), grade.r, grade.alpha));
                let level = grade.level.map(|l| l.to_string()).or((!grade.is_major_hazard).then(|| "none".to_owned()));
                prop_assert_eq!(record.text("level").map(str::to_owned), level);
                prop_assert_eq!(record.fields.contains_key("lacks"), !grade.missing.is_empty());
                prop_assert_eq!(record.text("confidence"), Some(grade.confidence.as_str()));
                let Some(Value::Table(terms)) = record.fields.get("terms") else { panic!("no terms") };
                for (row, term) in terms.iter().zip(&grade.terms) {
                    prop_assert_eq!(row.get("threshold_t"), Some(&Value::Number(term.threshold_t)));
                    prop_assert_eq!(row.get("beta").cloned(), term.beta.map(Value::Number));
                    // Everything that is shown can stand in its field.
                    prop_assert!(kind.field("terms").unwrap().check(&record.fields["terms"]).is_ok());
                }
                prop_assert_eq!(terms.len(), grade.terms.len());
            }
            (Err(refused), Err(faults)) => {
                // What is empty is told as missing; the function calls it a text that is too short.
                let is_content = |r: &Refused| matches!(r, Refused::Content(..) | Refused::Field(_, FieldFault::Missing));
                prop_assert!(refused.iter().all(is_content), "{refused:?}");
                let empty = rows.iter().any(|(substance, ..)| substance.is_empty());
                prop_assert!(empty || refused.len() == faults.len(), "{refused:?} {faults:?}");
            }
            (record, grade) => prop_assert!(false, "{record:?} {grade:?}"),
        }
    }
}

#[test]
fn a_grade_that_cannot_be_shown_is_told() {
    let check = |from: &str, to: &str, says: &str| {
        assert!(MAJOR_HAZARD.contains(from), "{from}");
        let told: Vec<String> = Kind::parse(&MAJOR_HAZARD.replacen(from, to, 1)).expect_err(to).iter().map(Breach::to_string).collect();
        assert!(told.iter().any(|t| !t.starts_with("0:") && t.contains(says)), "{to}: {told:?}");
    };
    check("shows = \"r\"", "shows = \"q\"", "field.r.compute: \"q\" is not s, r, alpha, level, lacks, confidence, terms");
    check("shows = \"r\"", "shows = \"level\"", "shows a choice of 1, 2, 3, 4, none, but the field is none");
    check("shows = \"level\"", "shows = \"lacks\"", "has no choice \"people\"");
    check("grade = \"contents\"", "grade = \"place\"", "\"place\" is no table");
    check("people = \"people_within_500m\"", "people = \"place\"", "\"place\" is no number");
    check(
        "type = \"number\", unit = \"t\", min = 0",
        "type = \"number\", unit = \"kg\", min = 0",
        "has the columns substance (text), tonnes",
    );
    check("{ id = \"ratio\"", "{ id = \"share\"", "the column \"share\" is none of substance, tonnes");
    check("plus_days = 15", "plus_days = 99999", "at most 36500 days");
    check("changed = [\"level\"]", "changed = [\"grade\"]", "transition.amend.turns.when: there is no field \"grade\"");
    check("changed = [\"level\"]", "changed = []", "changed names no field");
    check("to = \"to_refile\" }]", "to = \"refile\" }]", "transition.amend.turns.to: there is no state \"refile\"");
    check("to = \"to_refile\" }]", "to = \"draft\" }]", "leads back to the start");
}

#[test]
fn a_turn_is_a_way_like_any_other() {
    let kind = Kind::parse(MAJOR_HAZARD).unwrap();
    assert!(graph::mermaid(&kind).contains("filed --> to_refile: 变更"));
    // Without it nobody gets there; and it is no way around a step that must be taken.
    let turn = "{ when = { changed = [\"level\"] }, to = \"to_refile\" }";
    let told = |to: &str| Kind::parse(&MAJOR_HAZARD.replacen(turn, to, 1)).expect_err(to);
    assert!(told(&turn.replace("to_refile", "cancelled")).iter().any(|b| b.reason.contains("\"cancelled\" can be reached without cancel")));
    let text = MAJOR_HAZARD.replace("}, to = \"to_refile\" }", "}, to = \"filed\" }");
    assert!(Kind::parse(&text).expect_err("").iter().any(|b| b.field == "state.to_refile" && b.reason.contains("cannot be reached")));
}

/// Two kinds that open one another's records, or not.
fn pair(a_opens: &str, b_opens: &str, b_who: &str, b_guard: &str) -> Vec<(String, String)> {
    let text = |id: &str, who: &str, opens: &str, guard: &str| {
        format!(
            "kind = \"{id}\"\nname = \"x\"\nname_en = \"x\"\nstandard = \"x\"\nconfidence = \"product\"\nstart = \"draft\"\ntitle = \"what\"
field = [{{ id = \"what\", name = \"x\", name_en = \"x\", type = \"text\" }}]
state = [{{ id = \"draft\", name = \"x\", name_en = \"x\" }}, {{ id = \"open\", name = \"x\", name_en = \"x\" }}, {{ id = \"done\", name = \"x\", name_en = \"x\", end = true }}]
[[transition]]
id = \"make\"
name = \"x\"
name_en = \"x\"
from = [\"draft\"]
to = \"open\"
who = {who}
require = [\"what\"]
{opens}
{guard}
[[transition]]
id = \"end\"
name = \"x\"
name_en = \"x\"
from = [\"open\"]
to = \"done\"
who = {who}
"
        )
    };
    let kinds = [
        Kind::parse(&text("a", "[\"worker\", \"inspector\"]", a_opens, "")).unwrap_or_else(|b| panic!("{b:?}")),
        Kind::parse(&text("b", b_who, b_opens, b_guard)).unwrap_or_else(|b| panic!("{b:?}")),
    ];
    check_together(&kinds).into_iter().map(|(kind, breach)| (kind, breach.to_string())).collect()
}

#[test]
fn what_opens_in_a_way_that_is_always_refused_is_told() {
    let opens = |kind: &str| format!("opens = [{{ kind = \"{kind}\", by = \"make\", set = {{ what = \"what\" }} }}]");
    let both = "[\"worker\", \"inspector\", \"leader\"]";
    let check = |told: Vec<(String, String)>, want: &[(&str, &str)]| {
        let told: Vec<(&str, &str)> = told.iter().map(|(kind, text)| (kind.as_str(), text.as_str())).collect();
        assert_eq!(told, want);
    };
    check(pair(&opens("b"), "", both, ""), &[]);
    check(
        pair(&opens("b"), "", "[\"worker\"]", ""),
        &[("a", "18: transition.make.opens: \"inspector\" takes it, but does not take \"make\" of \"b\": it would be refused")],
    );
    let itself = "18: transition.make.opens: opens itself again (a.make → a.make): it would be refused";
    check(pair(&opens("a"), "", both, ""), &[("a", itself)]);
    let told = pair(&opens("b"), &opens("a"), "[\"worker\", \"inspector\"]", "");
    check(
        told,
        &[
            ("a", "18: transition.make.opens: opens itself again (a.make → b.make → a.make): it would be refused"),
            ("b", "18: transition.make.opens: opens itself again (b.make → a.make → b.make): it would be refused"),
        ],
    );
    let guard = "guard = [{ id = \"below_open\", says = \"x\", says_en = \"x\", test = { parent_in = [\"done\"] } }]";
    check(
        pair(&opens("b"), "", both, guard),
        &[("a", "18: transition.make.opens: leads to \"open\", where the guard \"below_open\" of \"b\" says no")],
    );
}

#[test]
fn a_row_that_fulfils_a_condition_opens_a_record() {
    let danger = include_str!("../../../../packs/base/registers/hidden_danger/register.toml");
    let scoring = include_str!("../../../../packs/base/registers/standardization/register.toml");
    let listing = include_str!("../../../../packs/base/registers/listed_supervision/register.toml");
    let clause = include_str!("../../../../packs/base/registers/clause/register.toml");
    let others = [danger, listing, clause].map(|text| Kind::parse(text).unwrap());
    let kind = Kind::parse(scoring).unwrap();
    let row = |cells: &[(&str, Value)]| cells.iter().map(|(id, value)| ((*id).to_owned(), value.clone())).collect();
    let text = |text: &str| Value::Text(text.to_owned());
    let rows: Vec<BTreeMap<String, Value>> = vec![
        row(&[("element", text("甲")), ("deducted", Value::Number(0.0)), ("reason", text("没有扣分"))]),
        row(&[("element", text("乙")), ("deducted", Value::Number(0.5)), ("reason", text("护栏不全")), ("place", text("平台"))]),
        row(&[("element", text("丙"))]),
        row(&[("deducted", Value::Number(3.0))]),
    ];
    let fields = [("review_items", Value::Table(rows)), ("review_on", Value::Date(date(2026, 3, 2)))];
    let fields = fields.map(|(id, value)| (id.to_owned(), value));
    let after = Record { state: "reviewed".into(), entered_on: date(2026, 3, 2), fields: fields.into(), acts: vec![] };
    let opened = kind.opened("review", &after, &after, date(2026, 3, 2));
    assert_eq!(opened.iter().map(|o| o.row).collect::<Vec<_>>(), [Some(1), Some(3)], "an empty cell is no number above 0");
    let want = [("description", text("护栏不全")), ("found_on", Value::Date(date(2026, 3, 2))), ("place", text("平台"))];
    assert_eq!(opened[0].set, want.map(|(id, value)| (id.to_owned(), value)).into());
    assert_eq!(opened[1].set.keys().collect::<Vec<_>>(), ["found_on"], "an empty cell copies nothing");
    // Where a fault of the other record is from.
    let origin = |id: &str| opened[1].origin(id).unwrap_or_default();
    assert_eq!(
        [origin("description"), origin("found_on"), origin("level"), origin("")],
        ["review_items[3].reason", "review_on", "review_items[3]", "review_items[3]"]
    );
    assert!(kind.opened("decide", &after, &after, date(2026, 3, 2)).is_empty());

    // What cannot be is told before anybody uses it.
    let opens = "each = \"review_items\", where = { field = \"deducted\", above = 0 }, set = { description = \"review_items.reason\"";
    assert!(scoring.contains(opens));
    let check = |to: &str, says: &str| {
        let text = scoring.replacen(opens, to, 1);
        let told: Vec<String> = match Kind::parse(&text) {
            Err(breaches) => breaches.iter().map(Breach::to_string).collect(),
            Ok(kind) => check_together(others.iter().chain([&kind])).iter().map(|(_, breach)| breach.to_string()).collect(),
        };
        assert!(told.iter().any(|told| told.contains(says)), "{to}: {told:?}");
    };
    assert_eq!(check_together(others.iter().chain([&kind])), []);
    let described = "set = { description = \"review_items.reason\"";
    check(&format!("each = \"review_on\", {described}"), "opens.each: \"review_on\" is no table");
    check(&format!("each = \"review\", {described}"), "opens.each: \"review\" is no table");
    check(described, "opens.set: \"review_items.reason\" is a column, but it is not made for each of \"review_items\"");
    let each = "each = \"review_items\"";
    check(&format!("{each}, set = {{ description = \"self_items.reason\""), "not made for each of \"self_items\"");
    check(&format!("{each}, set = {{ description = \"review_items.why\""), "\"review_items\" has no column \"why\"");
    check(&format!("{each}, set = {{ description = \"review_items.full\""), "\"description\" of \"hidden_danger\" cannot be set");
    let when = |test: &str| format!("{each}, where = {test}, {described}");
    check(&when("{ field = \"marks\", above = 0 }"), "opens.where: there is no field \"marks\"");
    check(&when("{ field = \"reason\", above = 0 }"), "opens.where: \"reason\" is no number");
    check(&when("{ field = \"review_on\", after = \"today\" }"), "opens.where: there is no field \"review_on\"");
    check(&when("{ not = { before_deadline = true } }"), "opens.where: looks at more than the cells of a row");
    check(&when("{ any = [{ changed = [\"deducted\"] }] }"), "opens.where: looks at more than the cells of a row");
    check(&format!("where = {{ filled = \"scheme\" }}, {described}"), "names no table in `each`");

    let long = scoring.replace("rows_max = 500", "rows_max = 501");
    let told = check_together(others.iter().chain([&Kind::parse(&long).unwrap()]));
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].1.reason.contains("may open 501 records in one act, more than 500"), "{told:?}");
}

#[test]
fn chains_of_records_are_as_deep_as_the_engine_goes() {
    let of = |n: usize| -> Vec<Kind> {
        let text = include_str!("../../../../packs/base/registers/township_patrol/register.toml");
        let kind = Kind::parse(text).unwrap();
        let chain = (0..=n).map(|i| {
            let mut kind = kind.clone();
            kind.id = format!("k{i}");
            let plan = kind.transitions.iter_mut().find(|t| t.id == "plan").unwrap();
            let set = plan.require.iter().chain(&plan.may).map(|id| (id.clone(), id.clone())).collect();
            plan.opens = (i < n)
                .then(|| Opens { line: 7, kind: format!("k{}", i + 1), by: "plan".into(), each: None, set, with: BTreeMap::new() })
                .into_iter()
                .collect();
            kind
        });
        chain.collect()
    };
    assert_eq!(check_together(&of(OPENS_DEPTH_MAX)), []);
    let told = check_together(&of(OPENS_DEPTH_MAX + 1));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].0 == "k0" && told[0].1.line == 7 && told[0].1.reason.starts_with("opens more than 4 records below one another"),
        "{told:?}"
    );
}

/// Whether a file is as its schema says.
fn is_valid(schema: &str, text: &str) -> Result<(), String> {
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.add_resource("schema.json", serde_json::from_str(schema).unwrap()).unwrap();
    let index = compiler.compile("schema.json", &mut schemas).unwrap();
    let value: toml::Value = toml::from_str(text).unwrap();
    schemas.validate(&serde_json::to_value(value).unwrap(), index).map_err(|error| format!("{error:#}"))
}

#[test]
fn the_schemas_refuse_what_the_loader_refuses() {
    assert_eq!(is_valid(schema::REGISTER, HIDDEN_DANGER), Ok(()));
    let check = |from: &str, to: &str| {
        assert!(HIDDEN_DANGER.contains(from), "{from}");
        let text = HIDDEN_DANGER.replacen(from, to, 1);
        assert!(Kind::parse(&text).is_err() && is_valid(schema::REGISTER, &text).is_err(), "{to}");
    };
    check("name_en = \"Where\"", "nam_en = \"Where\"");
    check("type = \"person\"", "type = \"html\"");
    check("who = [\"supervisor\"]", "who = []");
    check("task = [\"supervisor\"]", "task = [\"boss\"]");
    check("id = \"place\"", "id = \"Place 1\"");
    check("confidence = \"verified-secondary\"", "confidence = \"sure\"");
    check("unit = \"元\"\n", "");
    check("{ filled = \"goal\" }", "{ filled = \"goal\", is = \"x\" }");
    check("sum = \"costs.yuan\"", "sum = \"costs\"");
    check("start = \"draft\"\n", "");
    for (from, to) in [("do = \"report\"", "done = \"report\""), ("as = \"safety_manager\"", "as = \"boss\""), ("ends = \"closed\"\n", "")]
    {
        assert!(is_valid(schema::CASES, CASES).is_ok() && is_valid(schema::CASES, &CASES.replacen(from, to, 1)).is_err(), "{to}");
    }
}

const LICENCE: &str = include_str!("../../../../packs/base/registers/licence/register.toml");

#[test]
fn a_certificate_that_cannot_be_is_told() {
    let at = "certificate = {";
    let check = |from: &str, to: &str, says: &str| {
        let begins = LICENCE.find(at).unwrap();
        let (before, rest) = LICENCE.split_at(begins);
        assert!(rest.contains(from), "{from}");
        let text = format!("{before}{}", rest.replacen(from, to, 1));
        let line = before.matches('\n').count() + 1;
        let told: Vec<String> = Kind::parse(&text).expect_err(to).iter().map(Breach::to_string).collect();
        assert!(told.iter().any(|t| t.starts_with(&format!("{line}: certificate")) && t.contains(says)), "{to}: {told:?}");
        assert!(!says.starts_with("1 to") || is_valid(schema::REGISTER, &text).is_err(), "{to}");
    };
    check("in = [\"valid\"]", "in = [\"draft\"]", "there is no state \"draft\" in which records are kept");
    check("in = [\"valid\"]", "in = [\"vald\"]", "there is no state \"vald\"");
    check("in = [\"valid\"]", "in = [\"valid\", \"valid\"]", "is there twice");
    check("in = [\"valid\"]", "in = []", "names no state");
    check("\"scope\", ", "\"scop\", ", "there is no field \"scop\"");
    check("\"scope\", ", "\"second_checker\", ", "\"second_checker\" must be a text, number, date or choice");
    check("\"scope\", ", "\"licence\", ", "is there twice");
    check("until = \"valid_until\"", "until = \"scope\"", "certificate.until: \"scope\" must be a date");
    let shows = "[\"licence\", \"certificate_no\", \"scope\", \"issued_on\", \"valid_from\", \"valid_until\"]";
    check(shows, "[]", "1 to 8 fields");
    let many = "[\"licence\", \"certificate_no\", \"scope\", \"issued_on\", \"valid_from\", \"valid_until\", \"subject\", \"opinion\", \"materials\"]";
    check(shows, many, "1 to 8 fields");
    let wide = "[\"extension_reason\", \"certificate_no\", \"suspension_reason\", \"acceptance_no\", \"restore_opinion\", \"check_opinion\", \"correction\", \"change_note\"]";
    check(shows, wide, "bytes at least, a code that a telephone reads has 381");
}

fn licence(fields: &[(&str, Value)]) -> Record {
    let fields = fields.iter().map(|(id, value)| ((*id).to_owned(), value.clone())).collect();
    Record { state: "valid".to_owned(), entered_on: date(2026, 3, 1), fields, acts: vec![] }
}

fn said(record: &Record, owner: &str, number: &str) -> Option<certificate::Said> {
    let kind = Kind::parse(LICENCE).unwrap_or_else(|breaches| panic!("{breaches:?}"));
    let at = anlan_model::Timestamp::parse("2026-11-29T01:02:03.456789Z").unwrap();
    certificate::Said::of(&kind, record, "17", number, "91530400MA6K0001XX", owner, "0123456789abcdef", at)
}

#[test]
fn a_certificate_says_these_lines() {
    let text = |text: &str| Value::Text(text.to_owned());
    let record = licence(&[
        ("licence", text("mine")),
        ("certificate_no", text("滇FM安许证字〔2026〕0001")),
        ("scope", text("露天开采\n  石灰岩=甲~乙")),
        ("valid_from", Value::Date(date(2026, 3, 1))),
        ("valid_until", Value::Date(date(2029, 2, 28))),
        ("opinion", text("不在证书上")),
    ]);
    let says = said(&record, "虚构矿业有限公司", "XK-530402-2026-00001").unwrap();
    let lines = "0123456789abcdef\nlicence\n17\nXK-530402-2026-00001\n2026-11-29T01:02:03Z\n2029-02-28\n91530400MA6K0001XX\nowner=虚构矿业有限公司\n\
                 licence=非煤矿矿山企业安全生产许可证\ncertificate_no=滇FM安许证字〔2026〕0001\nscope=露天开采 石灰岩=甲~乙\nvalid_from=2026-03-01\nvalid_until=2029-02-28";
    assert_eq!(says.lines(), lines);
    assert_eq!(certificate::Said::parse(lines), Ok(says));
    assert_eq!(said(&Record { state: "suspended".to_owned(), ..record }, "x", ""), None, "only while it is in force");
    for broken in
        ["", "x", &lines.replacen("licence", "", 1), &lines.replacen("2029-02-28", "2029-02-30", 1), &lines.replacen("owner=", "owner", 1)]
    {
        assert!(certificate::Said::parse(broken).is_err(), "{broken}");
    }
}

proptest! {
    /// Whatever stands in a record: it has room, what is cut says so, and what is read is what was said.
    #[test]
    fn a_certificate_always_has_room(owner in ".{1,200}", scope in ".{1,2000}", no in "\\PC{1,60}", number in "[A-Z0-9-]{0,40}") {
        let record = licence(&[
            ("licence", Value::Text("explosives_production".to_owned())), ("scope", Value::Text(scope)), ("certificate_no", Value::Text(no)),
            ("issued_on", Value::Date(date(2026, 3, 1))), ("valid_from", Value::Date(date(2026, 3, 1))), ("valid_until", Value::Date(date(2029, 2, 28))),
        ]);
        let says = said(&record, &owner, &number).unwrap();
        let lines = says.lines();
        prop_assert!(lines.len() <= certificate::BYTES_MAX, "{}", lines.len());
        let read = certificate::Said::parse(&lines).unwrap();
        prop_assert_eq!(read.lines(), lines, "cut once, it is not cut again");
        let whole = std::iter::once((&says.owner, &read.owner)).chain(says.fields.iter().zip(&read.fields).map(|(a, b)| (&a.1, &b.1)));
        prop_assert_eq!(says.fields.len(), read.fields.len());
        for (whole, read) in whole {
            let is_as_said = if read.is_cut { whole.text.starts_with(&read.text) && whole.text.len() > read.text.len() } else { whole == read };
            prop_assert!(is_as_said, "{:?} {:?}", whole, read);
        }
    }

    #[test]
    fn no_lines_are_too_strange_to_be_refused(lines in "\\PC{0,200}|([a-z0-9:=~\n-]{0,300})") {
        if let Ok(said) = certificate::Said::parse(&lines) {
            prop_assert!(said.fields.len() <= certificate::SHOWS_MAX);
        }
    }
}

#[test]
fn a_block_that_cannot_be_printed_is_told() {
    let begins = LICENCE.find("print = [").unwrap();
    let (before, rest) = LICENCE.split_at(begins);
    let check = |from: &str, to: &str, says: &str| {
        assert!(rest.contains(from), "{from}");
        let text = format!("{before}{}", rest.replacen(from, to, 1));
        let line = text[..begins + rest.find(from).unwrap()].matches('\n').count() + 1;
        let told: Vec<String> = Kind::parse(&text).expect_err(to).iter().map(Breach::to_string).collect();
        assert!(told.iter().any(|t| t.starts_with(&format!("{line}: ")) && t.contains(says)), "{to}, line {line}: {told:?}");
    };
    let fields = "{ fields = [\"checked_on\", \"second_checker\", \"check_opinion\"] }";
    check(fields, "{ fields = [\"checked\"] }", "print.fields: there is no field \"checked\"");
    check(fields, "{ fields = [] }", "print.fields: names no field");
    check(fields, "{ fields = [\"checked_on\", \"checked_on\"] }", "is there twice");
    check(fields, "{ table = \"checked_on\" }", "print.table: \"checked_on\" is no table");
    check(fields, "{ html = \"<b>\" }", "a block is one of heading");
    check(fields, "{ fields = [\"checked_on\"], heading = \"x\" }", "a block is one of heading");
    check("{ certificate = true }", "{ certificate = false }", "print.certificate: is true, or left out");
    check("{ history = true }", "{ history = false }", "print.history: is true, or left out");
    check("{ history = true }", "{ text = \"x\", text_en = \" \" }", "print.text: has 1 to 2000 characters in both languages");
    check("{ history = true }", "{ signatures = [] }", "print.signatures: 1 to 6 of them");
    check("{ heading = \"决定\", heading_en = \"Decision\" }", "{ heading = \"决定\" }", "a block is one of heading");
    let told = Kind::parse(&LICENCE.replacen("certificate = {", "# certificate = {", 1)).expect_err("no certificate");
    assert!(told.iter().any(|b| b.field == "print.certificate" && b.reason == "the register has none"), "{told:?}");
    let text = LICENCE.replacen("{ history = true }", "{ history = false }", 1);
    assert!(is_valid(schema::REGISTER, LICENCE).is_ok() && is_valid(schema::REGISTER, &text).is_err());
    let listed = include_str!("../../../../packs/base/registers/listed_supervision/register.toml");
    let told = Kind::parse(&listed.replacen("{ table = \"progress\" }", "{ fields = [\"progress\"] }", 1)).expect_err("a table");
    assert!(told[0].reason.contains("is a table: it has a block of its own"), "{told:?}");
}

#[test]
fn a_record_is_to_be_kept_so_many_years_from_its_end() {
    let said =
        "start = \"draft\"\nexchange = \"city\"\nretention = { years = 3, from = \"end\", source = \"x\", confidence = \"unverified\" }\n";
    let text = HIDDEN_DANGER.replacen("start = \"draft\"\n", said, 1);
    assert_eq!(is_valid(schema::REGISTER, &text), Ok(()));
    let kind = Kind::parse(&text).unwrap();
    assert_eq!(kind.exchange, Some(Exchange::City));
    let record = |state: &str, on| Record { state: state.into(), entered_on: on, fields: BTreeMap::new(), acts: vec![] };
    let closed = record("closed", date(2024, 2, 29));
    assert_eq!(kind.retained_until(&closed), Some(date(2027, 2, 28)));
    assert_eq!(kind.retained_until(&record("treating", date(2024, 2, 29))), None, "something follows");
    assert_eq!(hidden_danger().retained_until(&closed), None, "where nothing is said it is kept");
    let day = |kind: &Kind, record: &Record| {
        let found = kind.index(record).into_iter().find(|entry| entry.field == RETAINED_UNTIL);
        found.and_then(|entry| entry.text)
    };
    assert_eq!(day(&kind, &closed).as_deref(), Some("2027-02-28"));
    assert_eq!(day(&hidden_danger(), &closed), None);
}

#[test]
fn a_record_is_named_by_state_and_from_its_first_day_to_the_day_before_its_last() {
    let clause = Kind::parse(include_str!("../../../../packs/base/registers/clause/register.toml")).unwrap();
    let danger = Kind::parse(include_str!("../../../../packs/base/registers/hidden_danger/register.toml")).unwrap();
    let field = danger.field("basis_clause").unwrap();
    let fits = |state: &str, ends_on: Option<Date>, on: Date| {
        let days = [("valid_from", Some(date(2020, 1, 1))), ("ends_on", ends_on)];
        let fields = days.into_iter().filter_map(|(id, day)| Some((id.to_owned(), Value::Date(day?)))).collect();
        field.fits_record(&clause, &Record { state: state.into(), entered_on: on, fields, acts: vec![] }, on)
    };
    let ends = Some(date(2026, 7, 1));
    assert_eq!(fits("in_force", None, date(2020, 1, 1)), Ok(()));
    assert_eq!(fits("in_force", None, date(2019, 12, 31)), Err(Unfit::NotYet(date(2020, 1, 1))));
    assert_eq!(fits("in_force", ends, date(2026, 6, 30)), Ok(()));
    assert_eq!(fits("in_force", ends, date(2026, 7, 1)), Err(Unfit::Over(date(2026, 7, 1))), "that day is the new wording's");
    assert_eq!(fits("repealed", ends, date(2026, 8, 1)), Err(Unfit::Over(date(2026, 7, 1))), "since when, not only that");
    assert_eq!(fits("draft", None, date(2026, 6, 1)), Err(Unfit::State("待核对".into(), "To be checked".into())));
}

#[test]
fn what_names_records_or_is_everybodys_is_told_where_it_cannot_be() {
    const CLAUSE: &str = include_str!("../../../../packs/base/registers/clause/register.toml");
    const DANGER: &str = include_str!("../../../../packs/base/registers/hidden_danger/register.toml");
    const LISTING: &str = include_str!("../../../../packs/base/registers/listed_supervision/register.toml");
    let check = |text: &str, from: &str, to: &str, says: &str| {
        assert!(text.contains(from), "{from}");
        let changed = [CLAUSE, DANGER, LISTING].map(|known| if known == text { text.replacen(from, to, 1) } else { known.to_owned() });
        let told: Vec<String> = match Kind::parse(&text.replacen(from, to, 1)) {
            Err(breaches) => breaches.iter().map(Breach::to_string).collect(),
            Ok(_) => {
                let kinds = changed.map(|text| Kind::parse(&text).unwrap());
                check_together(&kinds).iter().map(|(kind, breach)| format!("{kind}: {breach}")).collect()
            }
        };
        assert!(told.iter().any(|told| told.contains(says)), "{to}: {told:?}");
    };
    let named = "type = \"record\", of = \"clause\"";
    check(DANGER, named, "type = \"record\"", "field.basis_clause.of: is missing: a record of which register?");
    check(DANGER, named, "type = \"text\", of = \"clause\"", "`states`, `from` and `until` are of records alone");
    check(DANGER, "of = \"clause\"", "of = \"law\"", "hidden_danger: 0: field.basis_clause.of: there is no register \"law\"");
    check(DANGER, "states = [\"in_force\"]", "states = [\"valid\"]", "field.basis_clause.states: \"clause\" has no state \"valid\"");
    check(DANGER, "from = \"valid_from\"", "from = \"text\"", "\"text\" is no date among the fields of filter of \"clause\"");
    let filter = "filter = [\"level\", \"confidence\", \"valid_from\", \"ends_on\"]";
    check(CLAUSE, filter, "filter = [\"level\"]", "field.basis_clause.until: \"ends_on\" is no date among the fields of filter");
    check(DANGER, "import = [\"description\"", "import = [\"basis_clause\", \"description\"", "import: \"basis_clause\" must be");
    check(
        CLAUSE,
        "id = \"valid_from\", name = \"施行日期\", name_en = \"In force from\", type = \"date\"",
        "id = \"valid_from\", name = \"施行日期\", name_en = \"In force from\", type = \"person\"",
        "its records are nobody's: there are no people to name",
    );
    let owner = "owner = \"everyone\"\n";
    check(CLAUSE, owner, "owner = \"everyone\"\nnumber = \"F-{region}-{year}-{seq:4}\"\n", "has {year} and no {region}");
    let flag = "flag = { name = \"x\", name_en = \"x\", per = \"level\", good = [\"in_force\"], bad = [\"repealed\"] }\n";
    check(CLAUSE, owner, &format!("{owner}{flag}"), "its records are no enterprise's");
    check(CLAUSE, owner, "owner = \"anybody\"\n", "unknown variant `anybody`");
    let join = "join = [\"document\", \"clause\"]";
    check(CLAUSE, join, "join = [\"document\"]", "join names 2 to 6 texts");
    check(CLAUSE, join, "join = [\"document\", \"level\"]", "\"level\" is no text");
    check(CLAUSE, join, "join = [\"document\", \"text\"]", "there is no field \"text\" above this one");
    // A kind of enterprises cannot open what is everybody's.
    let opens = "require = [\"listing_reason\"]\nfresh = [\"listing_reason\"]\nopens = [{ kind = \"listed_supervision\", by = \"propose\"";
    check(
        DANGER,
        opens,
        &opens.replace("listed_supervision\", by = \"propose", "clause\", by = \"adopt"),
        "\"clause\" belongs to another sort of owner",
    );
}

#[test]
fn empty_cells_add_up_to_nought_without_a_sign() {
    let kind = Kind::parse(include_str!("../../../../packs/base/registers/standardization/register.toml")).unwrap();
    let rows = Value::Table(vec![BTreeMap::from([("full".to_owned(), Value::Number(100.0))])]);
    let fields = BTreeMap::from([("self_items".to_owned(), rows)]);
    let mut record = Record { state: "scored".into(), entered_on: date(2026, 3, 2), fields, acts: vec![] };
    kind.compute(&mut record, date(2026, 3, 2).at(9, 0, 0, 0));
    assert_eq!(record.fields["self_not_applicable"].to_json().to_string(), "0.0");
    assert_eq!(record.number("self_score"), Some(100.0));
}
