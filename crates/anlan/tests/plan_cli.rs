//! `anlan plan` and `anlan accident` as people and programs use them (INTERFACES, "plan").

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
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

/// `accident classify` of an accident of 2026-03-01, with what else is given.
fn classified(args: &[&str]) -> Value {
    answer(&[&["accident", "classify", "--happened-on", "2026-03-01", "--json"], args].concat())
}

#[test]
fn what_a_later_report_leaves_out_is_as_last_known() {
    let harm = |args: &[&str]| {
        let told = classified(args);
        let counted = told["trace"].as_array().unwrap().last().unwrap()["counted"].clone();
        (told["class"]["id"].as_str().unwrap().to_owned(), counted)
    };
    let counted =
        |deaths: u32, serious: u32, loss: Value| json!({"deaths": deaths, "serious_injuries": serious, "direct_loss_wan_yuan": loss});
    let ten = ["--deaths", "1", "--serious", "10"];
    let with = |more: &[&str]| harm(&[&ten[..], more].concat());
    let relatively = "relatively_serious".to_owned();
    assert_eq!(with(&["--later", "2026-03-05:2"]), (relatively.clone(), counted(2, 10, Value::Null)));
    assert_eq!(with(&["--later", "2026-03-05:2::500"]), (relatively.clone(), counted(2, 10, json!(500))));
    assert_eq!(with(&["--later", "2026-03-05:2:9:500"]), ("ordinary".to_owned(), counted(2, 9, json!(500))));
    assert_eq!(with(&["--later", "2026-03-05:2:0"]), ("ordinary".to_owned(), counted(2, 0, Value::Null)));
    // As last known on its day, whatever order they are given in.
    let not_in_order = ["--later", "2026-03-20:2", "--later", "2026-03-05:1:12:500"];
    assert_eq!(with(&not_in_order), (relatively, counted(2, 12, json!(500))));
}

#[test]
fn a_report_before_the_accident_is_refused_by_name() {
    let (code, _, err) = anlan(&["accident", "classify", "--happened-on", "2026-03-01", "--later", "2026-02-28:1"]);
    assert_eq!(code, 1);
    assert!(err.contains("`--later` 2026-02-28") && err.contains("`--happened-on` 2026-03-01"), "{err}");
    assert_eq!(anlan(&["accident", "classify", "--happened-on", "2026-03-01", "--later", "2026-03-01:1"]).0, 0);
}

#[test]
fn the_window_says_how_sure_it_is_beside_its_day() {
    let told = classified(&["--deaths", "1"]);
    assert_eq!((&told["confidence"], &told["casualties_until"]), (&json!("verified"), &json!("2026-03-31")));
    let window = &told["window"];
    assert_eq!((&window["clause"], &window["confidence"]), (&json!("第十三条第二款、第二十条第二款"), &json!("unverified")));
    assert!(window["note"].as_str().unwrap().contains("待核"), "{window}");
    let (_, out, _) = anlan(&["accident", "classify", "--deaths", "1", "--happened-on", "2026-03-01", "--nature", "road"]);
    assert!(
        out.contains(
            "伤亡人数计至：2026-03-08（生产安全事故报告和调查处理条例（国务院令第493号） 第十三条第二款、第二十条第二款，待核）\n"
        ),
        "{out}"
    );
    assert!(out.contains("发生当日不计入") && out.contains("事故调查报告提交期限：2026-04-30\n"), "{out}");
    assert!(!out.contains("verified"), "{out}");
    let (_, out, _) = anlan(&["accident", "classify", "--deaths", "1", "--happened-on", "2026-03-01", "--lang", "en"]);
    assert!(
        out.contains("casualties count until 2026-03-31") && out.contains("unverified") && out.contains("investigation until 2026-04-30"),
        "{out}"
    );
}

#[test]
fn every_answer_says_that_it_is_a_demonstration() {
    for args in [&["plan", "explain", "G01", "--as-of", "2013-12-31"][..], &["plan", "history"][..]] {
        let (_, out, _) = anlan(args);
        assert!(out.contains("演示数据"), "{out}");
        assert!(!out.contains("invented") && !out.contains("verified"), "{out}");
        let (_, out, _) = anlan(&[args, &["--lang", "en"]].concat());
        assert!(out.contains("demonstration"), "{out}");
        assert_eq!(answer(&[args, &["--json"]].concat())["demonstration"], json!(true));
    }
    let (_, out, _) = anlan(&["plan", "status", "--as-of", "2013-12-31"]);
    assert!(!out.contains("verified"), "{out}");
}

#[test]
fn a_finding_a_path_and_a_part_come_with_row_and_mark() {
    let told = answer(&["plan", "explain", "B02", "--as-of", "2013-12-31", "--json"]);
    let finding = &told["finding"];
    assert_eq!((&finding["id"], &finding["on"], &finding["mark"]), (&json!("finding-b02-2013"), &json!("2013-12-20"), &json!("invented")));
    let (_, out, _) = anlan(&["plan", "explain", "B02", "--as-of", "2013-12-31"]);
    assert!(out.contains("认定：\n    finding-b02-2013 2013-12-20 ") && out.contains("= 1 虚构"), "{out}");
    let told = answer(&["plan", "explain", "N04", "--as-of", "2013-12-31", "--json"]);
    assert_eq!(told["finding"], Value::Null);
    assert_eq!(told["path"][0], json!({"target": "N04", "on": "2011-12-31", "value": 0.1, "mark": "invented", "decided_on": null}));
    assert_eq!(told["path"].as_array().unwrap().len(), 4);
    let part = json!({
        "target": "N04", "region": "530402", "value": 0.9, "mark": "invented", "figure": null, "reason": "no_data: enterprises_networked 2013-12-31",
    });
    assert_eq!(told["parts"][0], part);
    let (_, out, _) = anlan(&["plan", "explain", "N04", "--as-of", "2013-12-31"]);
    assert!(out.contains("    2013-12-31 0.55 虚构\n") && out.contains("    530402 应为 0.9 虚构 | "), "{out}");
}

/// A folder with the files of the built-in plan, to be changed.
fn folder() -> tempfile::TempDir {
    let packs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packs");
    let dir = tempfile::tempdir().unwrap();
    for file in ["region-yuxi/plan.toml", "demo/plan_facts.csv", "demo/plan_supplement.toml"] {
        fs::copy(packs.join(file), dir.path().join(Path::new(file).file_name().unwrap())).unwrap();
    }
    dir
}

#[test]
fn a_folder_of_files_is_told_like_the_built_in_plan() {
    let dir = folder();
    let data = ["--data", dir.path().to_str().unwrap()];
    let status = ["plan", "status", "--as-of", "2013-12-31", "--json"];
    assert_eq!(answer(&[&status[..], &data[..]].concat()), answer(&status));
    let (_, out, _) = anlan(&[&["plan", "status", "--as-of", "2013-12-31"], &data[..]].concat());
    assert!(out.contains("演示数据：其中有虚构的数字"), "{out}");
    // What is reported is no demonstration, and no supplement is needed.
    let text = fs::read_to_string(dir.path().join("plan_facts.csv")).unwrap();
    fs::write(dir.path().join("plan_facts.csv"), text.replace(",invented,", ",reported,")).unwrap();
    fs::remove_file(dir.path().join("plan_supplement.toml")).unwrap();
    let (code, out, err) = anlan(&[&["plan", "status", "--as-of", "2013-12-31"], &data[..]].concat());
    assert_eq!(code, 0, "{err}");
    assert!(!out.contains("演示"), "{out}");
    let without = answer(&[&status[..], &data[..]].concat());
    assert_eq!(without["targets"][0]["reason"], "not_recorded: accident_deaths 2013-01-01..2013-12-31", "nobody vouches for it");
    let explained = answer(&[&["plan", "explain", "R01", "--as-of", "2013-12-31", "--json"], &data[..]].concat());
    assert_eq!((&explained["demonstration"], &explained["figure"]["rows"][0]["mark"]), (&json!(false), &json!("reported")));
}

#[test]
fn a_decomposition_that_falls_short_is_said_in_the_language_of_the_table() {
    let dir = folder();
    let supplement = dir.path().join("plan_supplement.toml");
    let text = fs::read_to_string(&supplement).unwrap();
    fs::write(&supplement, text.replacen("region = \"530402\"\nvalue = \"18\"", "region = \"530402\"\nvalue = \"17\"", 1)).unwrap();
    let table = |lang: &str| anlan(&["plan", "status", "--as-of", "2013-12-31", "--lang", lang, "--data", dir.path().to_str().unwrap()]).1;
    assert!(table("zh").contains("分解不足：M07 各县（区）合计 70，全市 71"), "{}", table("zh"));
    assert!(table("en").contains("the parts fall short: M07: the parts are 70, the whole is 71"), "{}", table("en"));
}

#[test]
fn a_folder_that_contradicts_itself_is_refused_by_file_row_and_field() {
    let check = |file: &str, from: &str, to: &str, says: &[&str]| {
        let dir = folder();
        let path = dir.path().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let (code, _, err) = anlan(&["plan", "status", "--as-of", "2013-12-31", "--json", "--data", dir.path().to_str().unwrap()]);
        assert_eq!(code, 1, "{err}");
        says.iter().chain(&[file]).for_each(|says| assert!(err.contains(says), "{says}: {err}"));
    };
    check("plan.toml", "node = \"二（二）\"", "node = \"二（三）\"", &["`G01`", "`node`"]);
    check("plan_facts.csv", "A2005-001,accident_deaths", "A2005-001,accident_death", &["`A2005-001`", "`source`"]);
    check("plan_supplement.toml", "target = \"R02\"", "target = \"R99\"", &["`R99`", "`target`"]);
    check("plan_supplement.toml", "value = \"0.4\"", "value = 0.4", &["value"]);
    let dir = folder();
    for file in ["plan_facts.csv", "plan.toml"] {
        fs::remove_file(dir.path().join(file)).unwrap();
        let (code, _, err) = anlan(&["plan", "history", "--data", dir.path().to_str().unwrap()]);
        assert_eq!(code, 1);
        assert!(err.contains(&format!("{file} is missing")), "{err}");
    }
}
