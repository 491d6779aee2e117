//! `anlan grade` as people and programs use it, and against worked examples of others (`$ANLAN_SHARED/domain/worked_examples.toml`).

mod common;

use std::io::Write as _;
use std::process::{Command, Stdio};

use common::shared;
use serde_json::{Value, json};

/// Exit code and answer, one JSON value a line with `--jsonl`.
fn grade(args: &[&str], input: &[u8]) -> (i32, Vec<Value>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_anlan"))
        .arg("grade")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start anlan");
    let (mut stdin, input) = (child.stdin.take().expect("stdin"), input.to_vec());
    let writer = std::thread::spawn(move || {
        // It does not read on behind its limit.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("it ends");
    writer.join().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let answers = serde_json::Deserializer::from_str(&text).into_iter().map(|v| v.unwrap_or_else(|e| panic!("{e}: {text}"))).collect();
    (output.status.code().expect("a code"), answers)
}

fn near(value: &Value, expected: f64) -> bool {
    value.as_f64().is_some_and(|v| (v - expected).abs() < 1e-9 * expected.max(1.0))
}

/// Names of the examples that table 1 does not have, with the hazard symbol whose threshold the example takes.
const CLASSIFIED: &[(&str, &str)] = &[("柴油 (flash point 55 C)", "W5.4")];

/// The fields of a record of the register in which the same unit was identified.
fn recorded(unit: &Value) -> serde_json::Map<String, Value> {
    use anlan_domain::register::{Attempt, Kind, Related};
    let register = include_str!("../../../packs/base/registers/major_hazard/register.toml");
    let kind = Kind::parse(register).expect("the register");
    let mut fields = json!({"unit": "x", "unit_kind": "storage", "place": "x", "contents": unit["contents"]});
    for row in fields["contents"].as_array_mut().expect("contents") {
        let symbols: Vec<&str> = row["categories"].as_array().expect("symbols").iter().filter_map(Value::as_str).collect();
        row["categories"] = if symbols.is_empty() { Value::Null } else { symbols.join(" ").into() };
    }
    if let Some(people) = unit.get("people_within_500m") {
        fields["people_within_500m"] = people.clone();
    }
    let on = jiff::civil::date(2026, 6, 1);
    let set = kind.stored_fields(fields.as_object().expect("fields")).into_iter().map(|(id, value)| (id, Some(value))).collect();
    let attempt = Attempt { transition: "identify", by: "li", roles: &["safety_manager"], at: on.at(9, 0, 0, 0), set };
    let record =
        kind.attempt(&kind.begin(on), &attempt, &Related::default(), &anlan_domain::calendar::Calendar::default()).expect("it passes");
    record.fields.iter().map(|(id, value)| (id.clone(), value.to_json())).collect()
}

#[test]
fn worked_examples_come_out_as_they_were_worked() {
    let Some(dir) = shared(1) else { return };
    let text = std::fs::read_to_string(dir.join("domain/worked_examples.toml")).expect("the examples");
    let file: toml::Value = toml::from_str(&text).expect("TOML");
    let number = |v: &toml::Value| v.as_float().or_else(|| v.as_integer().map(|n| n as f64));
    let examples = file["example"].as_array().expect("examples");
    for example in examples {
        let id = example["id"].as_str().expect("an id");
        let inputs = example["inputs"].as_array().expect("inputs");
        let contents: Vec<Value> = inputs
            .iter()
            .map(|input| {
                let name = input["name"].as_str().expect("a name");
                let categories: Vec<&str> = CLASSIFIED.iter().filter(|(of, _)| *of == name).map(|(_, symbol)| *symbol).collect();
                json!({ "substance": name, "tonnes": number(&input["q"]).expect("q"), "categories": categories })
            })
            .collect();
        let mut unit = json!({ "contents": contents });
        if let Some(people) = example.get("exposed_people").and_then(toml::Value::as_integer) {
            unit["people_within_500m"] = json!(people);
        }
        let (code, answers) = grade(&[], unit.to_string().as_bytes());
        let answer = &answers[0];
        assert_eq!(code, 0, "{id}: {answer}");
        for (term, input) in answer["terms"].as_array().expect("terms").iter().zip(inputs) {
            assert!(near(&term["threshold_t"], number(&input["Q"]).expect("Q")), "{id}: {term}");
            assert!(input.get("beta").and_then(number).is_none_or(|beta| near(&term["beta"], beta)), "{id}: {term}");
        }
        assert!(near(&answer["s"], number(&example["expect_S"]).expect("S")), "{id}: {answer}");
        if let Some(is_one) = example.get("expect_major_hazard").and_then(toml::Value::as_bool) {
            assert_eq!(answer["is_major_hazard"], is_one, "{id}: {answer}");
        }
        assert!(example.get("expect_R").and_then(number).is_none_or(|r| near(&answer["r"], r)), "{id}: {answer}");
        if let Some(level) = example.get("expect_level").and_then(toml::Value::as_integer) {
            assert_eq!(answer["level"], level, "{id}: {answer}");
        }
        let fields = recorded(&unit);
        assert_eq!(
            (&fields["s"], fields.get("r")),
            (&answer["s"], answer.get("r").filter(|r| !r.is_null())),
            "{id}: the register says another"
        );
        let level = fields.get("level").and_then(Value::as_str).and_then(|level| level.parse::<u8>().ok());
        assert_eq!(json!(level), answer["level"], "{id}: the register says another level");
    }
    println!("{} worked examples agree", examples.len());
    assert!(examples.len() >= 7);
}

#[test]
fn every_line_is_answered_and_what_is_wrong_is_named() {
    let good = r#"{"contents":[{"substance":"甲醇","tonnes":300}],"people_within_500m":12}"#;
    let long = format!(r#"{{"contents":[],"x":"{}"}}"#, "x".repeat(2 << 20));
    let lines = [
        good,
        "",
        r#"{"contents":[{"substance":"硝酸铵","tonnes":300}]}"#,
        r#"{"contents":[{"substance":"甲醇","tonnes":"300"}]}"#,
        r#"{"contents":[{"substance":"甲醇","tonnes":300,"unit":"kg"}]}"#,
        r#"{"contents":[{"substance":"甲醇","tonnes":300}],"people_within_500m":-1}"#,
        "{",
        &long,
        good,
    ];
    let (code, answers) = grade(&["--jsonl"], (lines.join("\n") + "\n\u{0}\n").as_bytes());
    let told: Vec<String> = answers
        .iter()
        .map(|a| {
            let error = &a["errors"][0];
            format!("{} {} {}", a["line"], error["field"].as_str().unwrap_or("-"), error["code"].as_str().unwrap_or("-"))
        })
        .collect();
    assert_eq!(
        told,
        [
            "1 - -",
            "3 contents[0].substance ambiguous_substance",
            "4 contents[0].tonnes invalid",
            "5 contents[0].unit invalid",
            "6 people_within_500m invalid",
            "7  invalid",
            "8  too_large",
            "9 - -",
            "10  invalid",
        ]
    );
    assert_eq!(code, 1);
    assert!(near(&answers[0]["s"], 0.6) && near(&answers[0]["r"], 0.6), "{}", answers[0]);
    assert_eq!((&answers[0]["level"], &answers[0]["is_major_hazard"]), (&Value::Null, &json!(false)));
    assert_eq!(answers[0]["confidence"], "unverified", "the category of methanol is inferred");
    assert!(answers[1]["errors"][0]["detail_zh"].as_str().is_some_and(|text| text.starts_with("请写全名：硝酸铵")), "{}", answers[1]);
    assert_eq!(grade(&[], b"").0, 1);
    assert_eq!(grade(&[], good.as_bytes()).0, 0);
}
