//! `anlan plan` and `anlan accident` as people and programs use them (INTERFACES, "plan").

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json};

/// Exit code, standard output, standard error.
fn anlan(args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_anlan")).args(args).output().expect("start anlan");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
}

fn answer(args: &[&str]) -> Value {
    let (code, out, err) = anlan(args);
    assert_eq!(code, 0, "{args:?}: {err}");
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"))
}

fn targets(as_of: &str) -> BTreeMap<String, Value> {
    let answer = answer(&["plan", "status", "--as-of", as_of, "--json"]);
    assert_eq!(answer.as_object().unwrap().keys().collect::<Vec<_>>(), ["as_of", "targets"]);
    assert_eq!(answer["as_of"], as_of);
    let targets = answer["targets"].as_array().unwrap();
    assert_eq!(targets.len(), 84);
    targets.iter().map(|target| (target["id"].as_str().unwrap().to_owned(), target.clone())).collect()
}

#[test]
fn the_status_has_the_members_of_the_interface_and_no_more() {
    for target in targets("2013-12-31").values() {
        let mut keys: Vec<_> = target.as_object().unwrap().keys().collect();
        keys.sort();
        assert_eq!(keys, ["deadline", "direction", "id", "reason", "state", "target", "unit", "value"]);
        let state = target["state"].as_str().unwrap();
        assert!(["met", "on_path", "off_path", "missed", "cannot_be_computed"].contains(&state), "{target}");
        assert!(!target["reason"].as_str().unwrap().is_empty());
    }
}

#[test]
fn the_middle_and_the_end_of_the_plan() {
    let (middle, end) = (targets("2013-12-31"), targets("2015-12-31"));
    assert_eq!(
        end["G01"],
        json!({
            "id": "G01", "target": 0.1408, "value": 0.1, "unit": "deaths per 100m yuan", "direction": "<=", "deadline": "2015-12-31",
            "state": "met", "reason": "reached",
        })
    );
    assert_eq!(
        middle["G02"],
        json!({
            "id": "G02", "target": 10.767, "value": 12.5, "unit": "per 100k employees", "direction": "<=", "deadline": "2015-12-31",
            "state": "off_path", "reason": "beyond_path: 12.2802 2013-12-31",
        })
    );
    let why = |id: &str| (end[id]["state"].as_str().unwrap(), end[id]["target"].clone(), end[id]["reason"].as_str().unwrap());
    assert_eq!(why("G05"), ("cannot_be_computed", Value::Null, "base_is_zero"));
    assert_eq!(why("G06"), ("cannot_be_computed", Value::Null, "no_baseline"));
    assert_eq!(why("R04"), ("cannot_be_computed", Value::Null, "no_data: sections_with_video 2015-12-31"));
    assert_eq!(end["M03"]["value"], json!(3), "a whole number has no point");
    assert_eq!(end["G09"]["unit"], Value::Null);
}

#[test]
fn the_table_is_chinese_first_and_says_that_it_is_a_demonstration() {
    let (code, out, _) = anlan(&["plan", "status", "--as-of", "2013-12-31"]);
    assert_eq!(code, 0);
    assert!(out.starts_with("玉溪市安全生产第十二个五年规划　截至 2013-12-31\n演示数据"), "{out}");
    assert!(out.contains("基数为 0，下降百分比没有意义"), "{out}");
    let (_, out, _) = anlan(&["plan", "status", "--as-of", "2013-12-31", "--lang", "en"]);
    assert!(out.contains("demonstration") && out.contains("cannot be computed"), "{out}");
    assert_eq!(anlan(&["plan", "status", "--as-of", "2013-02-30"]).0, 2);
    assert_eq!(anlan(&["plan", "status"]).0, 2);
}

#[test]
fn a_number_is_followed_down_to_its_rows_and_its_revision() {
    let told = answer(&["plan", "explain", "g01", "--as-of", "2014-12-30", "--json"]);
    assert_eq!(told["said_before"], json!([{"on": "2013-12-31", "value": 0.14}]));
    assert_eq!((&told["value"], &told["figure"]["numerator"], &told["figure"]["denominator"]), (&json!(0.13), &json!(143), &json!(1080)));
    let rows = told["figure"]["rows"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["value"].as_i64().unwrap()).sum::<i64>(), 143);
    assert!(rows.iter().all(|row| row["mark"] == "invented" && row["id"].is_string()));
    let (code, out, _) = anlan(&["plan", "explain", "G01", "--as-of", "2014-12-30"]);
    assert_eq!(code, 0);
    assert!(out.contains("曾为 0.14") && out.contains("A2013-134-r1"), "{out}");
    let (code, _, err) = anlan(&["plan", "explain", "G99", "--as-of", "2014-12-30"]);
    assert_eq!(code, 1);
    assert!(err.contains("no such target"), "{err}");
}

#[test]
fn the_plans_tables_are_reckoned() {
    let told = answer(&["plan", "history", "--json"]);
    assert_eq!(told["same"], json!(true));
    let drops: Vec<_> = told["drops"].as_array().unwrap().iter().map(|row| row["drop_percent"].clone()).collect();
    assert_eq!(drops, [json!(33.2), json!(68.12), json!(19.7), json!(66.81), json!(100)]);
}

#[test]
fn an_accident_is_classified_with_number_and_clause() {
    let told = answer(&["accident", "classify", "--deaths", "1", "--serious", "3", "--loss-wan", "120", "--json"]);
    assert_eq!(told["class"], json!({"level": 4, "id": "ordinary", "name": "一般事故", "name_en": "Ordinary accident"}));
    assert_eq!(told["clause"], "第三条第一款第（四）项");
    let class = |args: &[&str]| {
        let told = answer(&[&["accident", "classify", "--json"], args].concat());
        (told["class"]["id"].as_str().unwrap().to_owned(), told["by"].clone())
    };
    assert_eq!(class(&["--deaths", "3"]), ("relatively_serious".to_owned(), json!(["deaths"])));
    assert_eq!(class(&["--loss-wan", "999.9999"]), ("ordinary".to_owned(), json!(["direct_loss"])));
    assert_eq!(class(&["--loss-wan", "1000"]), ("relatively_serious".to_owned(), json!(["direct_loss"])));
    assert_eq!(class(&["--deaths", "2", "--serious", "50"]), ("serious".to_owned(), json!(["serious_injuries"])));
    let later = [
        "accident",
        "classify",
        "--deaths",
        "2",
        "--happened-on",
        "2026-03-01",
        "--later",
        "2026-03-31:3",
        "--later",
        "2026-04-01:10",
        "--json",
    ];
    let trace = &answer(&later)["trace"];
    let steps: Vec<_> =
        trace.as_array().unwrap().iter().map(|s| (s["class"]["level"].clone(), s["was"].clone(), s["is_behind_window"].clone())).collect();
    assert_eq!(
        steps,
        [(json!(4), json!(null), json!(false)), (json!(3), json!("ordinary"), json!(false)), (json!(3), json!(null), json!(true))]
    );
    let (code, out, _) = anlan(&["accident", "classify", "--deaths", "10"]);
    assert_eq!(code, 0);
    assert!(out.starts_with("重大事故（2 级）\n* 死亡人数 10: 10 人以上 30 人以下\n"), "{out}");
    assert_eq!(anlan(&["accident", "classify", "--deaths", "-1"]).0, 2);
    assert_eq!(anlan(&["accident", "classify", "--loss-wan", "1e3"]).0, 2);
    assert_eq!(anlan(&["accident", "classify", "--deaths", "1000001"]).0, 1);
    assert_eq!(anlan(&["accident", "classify", "--later", "2026-03-31:3"]).0, 2);
}
