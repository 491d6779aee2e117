//! What the reader tells, and what each type of value gives.

use serde_json::{Value as Json, json};

use super::{Filling, Of, Submission, Transport};
use crate::register::Kind;

const PROVINCE: &str = include_str!("../../../../packs/submission-example/submissions/example-province/submission.toml");
const PROVINCE_CASES: &str = include_str!("../../../../packs/submission-example/submissions/example-province/cases.toml");
const CITY: &str = include_str!("../../../../packs/submission-example/submissions/example-city/submission.toml");
const CITY_CASES: &str = include_str!("../../../../packs/submission-example/submissions/example-city/cases.toml");
const HAZARD: &str = include_str!("../../../../packs/base/registers/major_hazard/register.toml");
const DANGER: &str = include_str!("../../../../packs/base/registers/hidden_danger/register.toml");
const CLAUSE: &str = include_str!("../../../../packs/base/registers/clause/register.toml");

/// The field of one point.
fn with_field(field: &str) -> Result<Submission, Vec<String>> {
    let text = format!(
        "id = \"x\"\nversion = \"1\"\nname = \"x\"\nname_en = \"x\"\nplatform = \"x\"\nplatform_en = \"x\"\nconfidence = \"unverified\"\nlevel = \"province\"\n\
         [file]\nname = \"{{seq}}.json\"\n[json]\nabsent = \"null\"\n[[object]]\nid = \"o\"\nof = \"alarm\"\nkey = \"id\"\nfield = [\n{field}\n]\n"
    );
    Submission::parse(&text).map_err(|all| all.iter().map(ToString::to_string).collect())
}

fn gives(field: &str, mut thing: Json) -> Result<String, String> {
    let submission = with_field(&format!("{{ to = \"v\", {field} }},")).map_err(|all| panic!("{field}: {all:?}")).unwrap();
    thing["id"] = "k".into();
    let rendered = submission.render(&submission.objects[0], &thing);
    rendered.map(|r| r.text).map_err(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

#[test]
fn each_type_of_value_goes_out_as_declared() {
    let check = |field: &str, thing: Json, want: &str| {
        let got = gives(field, thing.clone()).unwrap_or_else(|refused| format!("refused {refused}"));
        assert_eq!(got, want, "{field} of {thing}");
    };
    let text = |of: &str| format!("from = \"name\", type = \"text\"{of}");
    check(&text(""), json!({"name": "井\"口\n"}), r#"{"v":"井\"口\n"}"#);
    check(&text(", max = 2"), json!({"name": "井口"}), r#"{"v":"井口"}"#);
    check(&text(", max = 2"), json!({"name": "井口压"}), r#"refused v: too_long "井口压""#);
    check(&text(", max = 2, longer = \"cut\""), json!({"name": "井口压"}), r#"{"v":"井口"}"#);
    check(&text(""), json!({}), r#"{"v":null}"#);
    check(&text(""), json!({"name": ""}), r#"{"v":null}"#);
    check(&text(", required = true"), json!({"name": ""}), r#"refused v: missing "name""#);
    check(&text(""), json!({"name": ["a"]}), r#"refused v: type "[\"a\"]""#);
    let integer = "from = \"value\", type = \"integer\"";
    check(integer, json!({"value": 51.0}), r#"{"v":51}"#);
    check(integer, json!({"value": -0.0}), r#"{"v":0}"#);
    check(integer, json!({"value": 51.5}), r#"refused v: type "51.5""#);
    check(integer, json!({"value": 1e300}), r#"refused v: type "1e+300""#);
    check("from = \"enterprise.region\", type = \"integer\"", json!({"enterprise": {"region": "530402"}}), r#"{"v":530402}"#);
    check("from = \"enterprise.region\", type = \"integer\"", json!({"enterprise": {"region": "x"}}), r#"refused v: type "x""#);
    let decimal = |digits: usize| format!("from = \"value\", type = \"decimal\", digits = {digits}");
    check(&decimal(2), json!({"value": 1.005}), r#"{"v":1.00}"#);
    check(&decimal(2), json!({"value": 1}), r#"{"v":1.00}"#);
    check(&decimal(0), json!({"value": 2.6}), r#"{"v":3}"#);
    check(&decimal(2), json!({"value": -0.001}), r#"{"v":0.00}"#);
    check(&decimal(9), json!({"value": 0.1}), r#"{"v":0.100000000}"#);
    let time = |of: &str| format!("from = \"raised_at\", type = \"time\", {of}");
    let at = json!({"raised_at": "2026-12-31T16:00:00.999999Z"});
    check(&time("pattern = \"%Y-%m-%dT%H:%M:%S%:z\""), at.clone(), r#"{"v":"2027-01-01T00:00:00+08:00"}"#);
    check(&time("pattern = \"%Y%m%d%H%M%S\", zone = \"Z\""), at.clone(), r#"{"v":"20261231160000"}"#);
    check(&time("pattern = \"%H:%M\", zone = \"-03:30\""), at.clone(), r#"{"v":"12:30"}"#);
    check(&time("pattern = \"epoch_s\""), at.clone(), r#"{"v":1798732800}"#);
    check(&time("pattern = \"epoch_ms\""), at.clone(), r#"{"v":1798732800999}"#);
    check(&time("pattern = \"epoch_s\""), json!({"raised_at": "1969-12-31T23:59:59.5Z"}), r#"{"v":-1}"#);
    check(&time("pattern = \"%Y\""), json!({"raised_at": "gestern"}), r#"refused v: type "gestern""#);
    check("from = \"raised_at\", type = \"date\", pattern = \"%Y/%m/%d\"", at, r#"{"v":"2027/01/01"}"#);
    check("from = \"raised_at\", type = \"date\", pattern = \"%Y/%m/%d\"", json!({"raised_at": "2026-12-31"}), r#"{"v":"2026/12/31"}"#);
    check("from = \"historic\", type = \"boolean\"", json!({"historic": true}), r#"{"v":true}"#);
    check("from = \"historic\", type = \"boolean\", yes = \"是\", no = \"否\"", json!({"historic": false}), r#"{"v":"否"}"#);
    let codes = "from = \"level\", type = \"integer\", codes = { red = \"1\" }";
    check(&format!("{codes}, other = \"refuse\""), json!({"level": "red"}), r#"{"v":1}"#);
    check(&format!("{codes}, other = \"refuse\""), json!({"level": "blue"}), r#"refused v: code "blue""#);
    check(&format!("{codes}, other = {{ code = \"9\" }}"), json!({"level": "blue"}), r#"{"v":9}"#);
    let unit = "from = \"value\", type = \"decimal\", digits = 1, unit = { from = \"unit\", to = \"kPa\" }";
    check(unit, json!({"value": 1.2, "unit": "MPa"}), r#"{"v":1200.0}"#);
    check(unit, json!({"value": 1.2, "unit": "%LEL"}), r#"refused v: unit "%LEL""#);
    check(unit, json!({"value": 1.2}), r#"refused v: unit"#);
    check("constant = \"anlan\"", json!({}), r#"{"v":"anlan"}"#);
    check("constant = 7", json!({}), r#"{"v":7}"#);
    check("constant = false", json!({}), r#"{"v":false}"#);
}

#[test]
fn everything_that_stands_against_a_thing_comes_at_once() {
    let submission = Submission::parse(PROVINCE).unwrap();
    let alarm = submission.object("alarm").unwrap();
    let all = submission.render(alarm, &json!({"level": "x", "enterprise": {"region": "y"}})).unwrap_err();
    let told: Vec<String> = all.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            r#"key: missing "id""#,
            r#"alarmId: missing "id""#,
            r#"level: code "x""#,
            r#"startTime: missing "raised_at""#,
            r#"company.area: type "y""#
        ]
    );
}

#[test]
fn mistakes_are_told_by_line_and_field() {
    let check = |from: &str, to: &str, says: &str| {
        assert!(PROVINCE.contains(from), "{from}");
        let text = PROVINCE.replacen(from, to, 1);
        let told: Vec<String> = Submission::parse(&text).expect_err(to).iter().map(ToString::to_string).collect();
        let line = PROVINCE[..PROVINCE.find(from).unwrap()].matches('\n').count() + 1;
        // With a ! behind it, wherever it is told.
        let (says, anywhere) = says.strip_suffix('!').map_or((says, false), |says| (says, true));
        let found = told.iter().any(|told| told.contains(says) && (anywhere || told.starts_with(&format!("{line}: "))));
        assert!(found, "{to}: {says} in line {line}, not {told:#?}");
    };
    check("id = \"example-province\"", "id = \"Example\"", "id: is no word");
    check("confidence = \"unverified\"", "confidence = \"verified\"", "without a document it is unverified");
    check("confidence = \"unverified\"", "confidence = \"sure\"", "is not verified, verified-secondary");
    check("level = \"province\"", "level = \"township\"", "is not county, city or province");
    check("method = \"POST\"", "method = \"GET\"", "call.method: is not POST or PUT");
    check("path = \"/api/v1/{object}\"", "path = \"api\"", "begins with /");
    check("path = \"/api/v1/{object}\"", "path = \"/api/{objekt}\"", "{objekt} is not one of {submission}");
    check("path = \"/api/v1/{object}\"", "path = \"/api/{secret}\"", "takes no {secret}");
    check("path = \"/api/v1/{object}\"", "path = \"/api/{key}\"", "takes {key} with batch.max = 1 alone");
    check("value = \"{idempotency}\"", "value = \"{seq}\"", "that counts files");
    check("value = \"{idempotency}\"", "value = \"{idempotency\"", "has a { without its }");
    check("name = \"Idempotency-Key\"", "name = \"Idempotency Key\"", "is no name of a header");
    check("name = \"Idempotency-Key\"", "name = \"Host\"", "is set by the program itself");
    check("status = [200], json", "status = [99], json", "name at least one, 200 to 599");
    check("status = [200, 400, 422]", "status = [200, 401]", "say nothing of the thing");
    check("is = [\"0\"]", "is = []", "json and is belong together");
    check("absent = \"omit\"", "absent = \"maybe\"", "is not omit or null");
    check("max = 20", "max = 0", "is not 1 to 1000");
    check("list = \"data\"", "list = \"a.b\"", "is no name of a member");
    check("to = \"version\", is", "to = \"data\", is", "there twice");
    check("of = \"point\"", "of = \"points\"", "is not one of enterprise, device, point");
    check("key = \"point.id\"", "key = \"point.uid\"", "there is no \"point.uid\" in a thing of \"latest\"; there are at, value");
    check("{ source = \"confirmed\"", "{ source = \"konfirmed\"", "there is no \"konfirmed\"");
    check("every_s = 60", "every_s = 1\n", "is not 10 to 86400");
    check("id = \"alarm\"", "id = \"point\"\nevery_s = 60", "of newest readings alone!");
    check("id = \"alarm\"", "id = \"point\"#", "is there twice");
    // Of a field: at its own line, and the others go on.
    check(
        "{ to = \"unit\", from = \"unit\", type = \"text\", max = 16 }",
        "{ to = \"unit\", from = \"unit\", type = \"text\", maxx = 16 }",
        "object.point.field: ",
    );
    check("{ to = \"level\", from = \"level\"", "{ to = \"level\", from = \"levl\"", "object.alarm.field.level: there is no \"levl\"");
    check(
        "{ to = \"level\", from = \"level\", type = \"integer\"",
        "{ to = \"level\", from = \"level\", type = \"number\"",
        "is not text, integer, decimal",
    );
    check(
        "{ to = \"value\", from = \"value\", type = \"decimal\", digits = 3",
        "{ to = \"value\", from = \"value\", type = \"decimal\", digits = 30",
        "0 to 9",
    );
    check(
        "{ to = \"value\", from = \"value\", type = \"decimal\", digits = 3",
        "{ to = \"value\", from = \"value\", type = \"time\", pattern = \"%Y\"",
        "is no time",
    );
    check(
        "{ to = \"startTime\", from = \"raised_at\", type = \"time\", pattern = \"%Y-%m-%d %H:%M:%S\"",
        "{ to = \"startTime\", from = \"raised_at\", type = \"time\", pattern = \"%K\"",
        "means nothing",
    );
    check(
        "{ to = \"startTime\", from = \"raised_at\", type = \"time\"",
        "{ to = \"startTime\", from = \"raised_at\", type = \"time\", zone = \"CST\"",
        "is not Z or an offset",
    );
    check("{ to = \"endTime\", from", "{ to = \"startTime\", from", "is a value there already");
    check("{ to = \"range.low\", from", "{ to = \"unit.low\", from", "is a value there already");
    check("other = \"refuse\", required", "other = \"drop\", required", "is not \"refuse\" or { code");
    check("other = \"refuse\", required", "required", "what of a word without a code?!");
    check(
        "{ to = \"source\", constant = \"anlan\" }",
        "{ to = \"source\", constant = \"anlan\", type = \"text\" }",
        "goes out as it is written",
    );
    check("{ to = \"source\", constant = \"anlan\" }", "{ to = \"source\" }", "say one of from");
    check("unit = { from = \"point.unit\", to = \"kPa\" }", "unit = { is = \"%LEL\", to = \"kPa\" }", "cannot be turned into!");
    check(
        "unit = { from = \"point.unit\", to = \"kPa\" }",
        "unit = { from = \"point.unit\", to = \"psi\" }",
        "nothing is turned into \"psi\"!",
    );
    check(
        "\"handledBy\", from = \"acknowledged_by\", type = \"text\", max = 20",
        "\"handledBy\", from = \"acknowledged_by\", type = \"text\", digits = 1",
        "!",
    );
    let csv = |from: &str, to: &str, says: &str| {
        let told: Vec<String> = Submission::parse(&CITY.replacen(from, to, 1)).expect_err(to).iter().map(ToString::to_string).collect();
        assert!(told.iter().any(|told| told.contains(says)), "{to}: {told:?}");
    };
    csv("{object}-{now:%Y%m%d}-{seq:6}.csv", "{object}-{now:%Y%m%d}.csv", "one file must not replace another");
    csv("{object}-{now:%Y%m%d}-{seq:6}.csv", "../{seq}.csv", "is no name of a file");
    csv("{object}-{now:%Y%m%d}-{seq:6}.csv", "{now:%Y/%m}-{seq}.csv", "is no name of a file");
    csv("{object}-{now:%Y%m%d}-{seq:6}.csv", "{now}-{seq}.csv", "{now:PATTERN} takes a pattern");
    csv("max = 100", "max = 100\nlist = \"x\"", "CSV has none");
    csv("line_end = \"crlf\"", "line_end = \"cr\"", "is not crlf or lf");
    csv("bom = true", "bom = true\nseparator = \"x\"", "is not one of , ; |");
    csv("to = \"R值\"", "to = \"等级\"", "is there twice");
    csv("register = \"major_hazard\"", "", "records of which register");
    csv("[file]", "[call]\nmethod = \"POST\"\npath = \"/\"\naccepted = { status = [200] }\n[file]", "say one of [call] and [file]");
    assert!(Submission::parse("= x").is_err_and(|all| all.len() == 1));
}

#[test]
fn a_conformance_set_fails_with_the_exact_difference() {
    for (text, cases, n) in [(PROVINCE, PROVINCE_CASES, 7), (CITY, CITY_CASES, 5)] {
        assert_eq!(Submission::parse(text).unwrap().run_cases(cases), Ok(n));
    }
    let check = |from: &str, to: &str, says: &str| {
        let cases = PROVINCE_CASES.replacen(from, to, 1);
        assert_ne!(cases, PROVINCE_CASES, "{from}");
        let told: Vec<String> =
            Submission::parse(PROVINCE).unwrap().run_cases(&cases).expect_err(to).iter().map(ToString::to_string).collect();
        assert!(told.iter().any(|told| told.contains(says)), "{to}: {told:#?}");
    };
    check("\"kPa\":1250.0", "\"kPa\":1250.00", "gives another text from character");
    check("\"unit\": \"MPa\", \"confirmed\": true, \"range_low\"", "\"unit\": \"kPa\", \"confirmed\": true, \"range_low\"", "\"kPa\\\"");
    check("refused = [\"level: code\"]", "refused = [\"level: missing\"]", "is refused: level: code; expected level: missing");
    check("\"level\": \"purple\"", "\"level\": \"red\"", "goes out, but should be refused: level: code");
    check(
        "\"level\": \"red\", \"kind\": \"hh\"",
        "\"level\": \"pink\", \"kind\": \"hh\"",
        "is refused: level: code \"pink\"; it should go out",
    );
    check("\"confirmed\": false", "\"confirmed\": true", "is submitted, but should not be");
    check("\"value\": 1.25, ", "\"wert\": 1.25, ", "there is no \"wert\" in a thing of \"latest\"");
    check("object = \"latest\"", "object = \"newest\"", "no case shows what the object \"latest\" gives");
    check("unwanted = true", "unwanted = true\ngives = 'x'", "say one of gives, refused and unwanted");
    // A mapping that changes without its cases does not pass.
    let changed = PROVINCE.replacen("to = \"alarmId\"", "to = \"alarmID\"", 1);
    let told = Submission::parse(&changed).unwrap().run_cases(PROVINCE_CASES).unwrap_err();
    assert!(told[0].reason.contains("alarmID") && told[0].reason.contains("alarmId"), "{told:?}");
}

#[test]
fn nothing_goes_further_than_its_register_lets_it() {
    let kinds: Vec<Kind> = [HAZARD, DANGER, CLAUSE].iter().map(|text| Kind::parse(text).unwrap()).collect();
    let against = |text: &str| -> Vec<String> {
        let submission = Submission::parse(text).unwrap();
        submission.against(|id| kinds.iter().find(|kind| kind.id == id)).iter().map(ToString::to_string).collect()
    };
    assert_eq!(against(CITY), Vec::<String>::new());
    assert_eq!(against(PROVINCE), Vec::<String>::new());
    let province = against(&CITY.replacen("level = \"city\"", "level = \"province\"", 1));
    let says = "go no further than \"city\" (exchange), and the platform is of the level \"province\"";
    assert_eq!(province.iter().filter(|told| told.contains(says)).count(), 2, "{province:?}");
    let field = |from: &str| against(&CITY.replacen("from = \"fields.unit\"", &format!("from = \"{from}\""), 1));
    assert!(
        field("fields.principal")[0].contains("\"principal\" goes no further than \"none\" (exchange)"),
        "{:?}",
        field("fields.principal")
    );
    assert!(field("fields.nothing")[0].contains("has no field \"nothing\""));
    assert!(field("fields.contents")[0].contains("is a table"));
    assert!(field("fields.position")[0].contains("say .lon or .lat"));
    assert!(field("fields.r.lon")[0].contains("has no \"lon\""));
    let key = against(&CITY.replacen("key = \"number\"", "key = \"fields.responsible\"", 1));
    assert!(key[0].contains("object.major_hazard.key") && key[0].contains("goes no further than \"none\""), "{key:?}");
    let date = against(&CITY.replacen("from = \"fields.filed_on\"", "from = \"fields.unit\"", 1));
    assert!(date[0].contains("holds no value of this type"), "{date:?}");
    let state = against(&CITY.replacen("\"assessed\", ", "\"lost\", ", 1));
    assert!(state[0].contains("has no state \"lost\""), "{state:?}");
    let nobodys = against(&CITY.replacen("register = \"hidden_danger\"", "register = \"clause\"", 1));
    assert!(nobodys.iter().any(|told| told.contains("are nobody's")), "{nobodys:?}");
    let unknown = against(&CITY.replacen("register = \"hidden_danger\"", "register = \"nowhere\"", 1));
    assert!(unknown[0].contains("there is no register \"nowhere\""));
}

#[test]
fn places_are_filled_and_keys_stay_harmless() {
    let submission = Submission::parse(&CITY.replacen("max = 100", "max = 1", 1).replacen(
        "{object}-{now:%Y%m%d}-{seq:6}.csv",
        "{object}-{key}-{now:%Y%m%d}-{seq:6}.csv",
        1,
    ))
    .unwrap();
    let Transport::File { name } = &submission.transport else { panic!() };
    let now = anlan_model::Timestamp::from_micros(1_796_000_523_000_000);
    let filling = Filling { object: "hidden_danger", key: "../a/井", seq: 42, idempotency: "i", secret: "s", now };
    assert_eq!(submission.fill(name, &filling), "hidden_danger-%2E%2E%2Fa%2F%E4%BA%95-20261130-000042.csv");
}

#[test]
fn every_path_stands_in_the_reference() {
    let reference = include_str!("../../../../docs/reference/submission.md");
    for of in Of::ALL {
        assert!(reference.contains(&format!("### `{}`", of.as_str())), "{}", of.as_str());
        for (path, ..) in of.own() {
            assert!(reference.contains(&format!("`{path}`")), "{} {path}", of.as_str());
        }
    }
}

#[test]
fn hostile_text_is_told_and_never_panics() {
    for cut in (0..PROVINCE.len()).filter(|at| PROVINCE.is_char_boundary(*at)).step_by(7) {
        if let Ok(submission) = Submission::parse(&PROVINCE[..cut]) {
            let _ = submission.run_cases(PROVINCE_CASES);
        }
        let _ = Submission::parse(&PROVINCE[cut..]);
        if PROVINCE_CASES.is_char_boundary(cut) && cut < PROVINCE_CASES.len() {
            let _ = Submission::parse(PROVINCE).unwrap().run_cases(&PROVINCE_CASES[..cut]);
        }
    }
}
