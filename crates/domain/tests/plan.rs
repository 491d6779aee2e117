//! The shipped plan and its demonstration data: the plan's own tables come out of the facts, every target of the text is there, and each stands as told.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use anlan_domain::indicator::{COLUMNS, Facts, Indicators, Mark, Query, built_in, drop_percent, year_of};
use anlan_domain::plan::{Direction, Plan, Reason, Shortfall, State, Supplement, TargetStatus};
use jiff::civil::Date;
use rust_decimal::Decimal;

const PLAN: &str = include_str!("../../../packs/region-yuxi/plan.toml");
const FACTS: &str = include_str!("../../../packs/demo/plan_facts.csv");
const SUPPLEMENT: &str = include_str!("../../../packs/demo/plan_supplement.toml");

fn loaded_with(supplement: &str) -> (Plan, Facts) {
    let mut facts = Facts::parse(FACTS, built_in()).unwrap();
    let mut plan = Plan::parse(PLAN, built_in()).unwrap();
    plan.join(&toml::from_str::<Supplement>(supplement).unwrap(), &mut facts, built_in()).unwrap();
    (plan, facts)
}

fn loaded() -> (Plan, Facts) {
    loaded_with(SUPPLEMENT)
}

fn day(text: &str) -> Date {
    text.parse().unwrap()
}

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// Files of the shared folder; where it is not at hand, says so and `None`.
fn shared<const N: usize>(paths: [&str; N]) -> Option<[String; N]> {
    let Some(folder) = std::env::var_os("ANLAN_SHARED").map(PathBuf::from) else {
        println!("skipped: 1");
        return None;
    };
    Some(paths.map(|path| std::fs::read_to_string(folder.join(path)).unwrap()))
}

/// Rows without the heading.
fn rows(rows: &str) -> Facts {
    Facts::parse(&format!("{COLUMNS}\n{rows}"), built_in()).unwrap()
}

fn status<'a>(plan: &'a Plan, facts: &'a Facts, id: &str, as_of: &str) -> TargetStatus<'a> {
    plan.status_of(plan.target(id).unwrap(), built_in(), facts, day(as_of))
}

/// The figure of an indicator of the whole territory in a year, to the places of `like`.
fn of_year(indicators: &Indicators, plan: &Plan, facts: &Facts, id: &str, year: i16, like: Decimal) -> Decimal {
    let (_, on) = year_of(year);
    let query = Query {
        region: plan.region.clone(),
        region_before: Vec::new(),
        sectors: Vec::new(),
        on,
        since: plan.start,
        known_on: day("2015-12-31"),
        base_year: None,
    };
    let figure = indicators.evaluate(indicators.get(id).unwrap(), facts, &query).unwrap();
    assert_eq!(figure.shown, figure.shown.round_dp(like.scale()), "{id} {year}: the figure has places that the plan does not print");
    figure.shown.round_dp(like.scale())
}

#[test]
fn the_plans_own_tables_come_out_of_the_facts() {
    let (plan, facts) = loaded();
    assert_eq!((plan.published.len(), plan.published_drops.len()), (13, 5));
    for printed in &plan.published {
        let figure = of_year(built_in(), &plan, &facts, &printed.indicator, printed.year, printed.value);
        assert_eq!(figure, printed.value, "{} {}", printed.indicator, printed.year);
    }
    let deaths: Vec<_> = plan.published.iter().filter(|p| p.indicator == "accident_deaths").map(|p| p.value.to_string()).collect();
    assert_eq!(deaths, ["241", "234", "202", "165", "161"]);
    let mut drops = Vec::new();
    for drop in &plan.published_drops {
        let value = |year| plan.published.iter().find(|p| p.indicator == drop.indicator && p.year == year).unwrap().value;
        let of = |year| of_year(built_in(), &plan, &facts, &drop.indicator, year, value(year));
        let percent = drop_percent(of(drop.from), of(drop.to), 2).unwrap();
        assert_eq!(percent.round_dp(drop.percent.scale()), drop.percent, "{}", drop.indicator);
        drops.push(format!("{} {percent}", drop.indicator));
    }
    assert_eq!(
        drops,
        [
            "accident_deaths 33.20",
            "death_rate_per_100m_gdp 68.12",
            "death_rate_per_100k_employees 19.70",
            "death_rate_per_10k_vehicles 66.81",
            "coal_death_rate_per_mt 100.00",
        ]
    );
}

#[test]
fn the_ceilings_of_2015_follow() {
    let (plan, facts) = loaded();
    let check = |id: &str, expected: Option<&str>| {
        let goal = status(&plan, &facts, id, "2015-12-31").goal_value;
        assert_eq!(goal.map(|goal| goal.to_string()).as_deref(), expected, "{id}");
    };
    check("G01", Some("0.1408"));
    check("G02", Some("10.767"));
    check("G03", Some("1.6048"));
    check("G04", Some("0.14"));
    check("G05", None);
    check("G06", None);
    check("G07", Some("0.8"));
}

#[test]
fn what_is_invented_says_so_and_the_heading_too() {
    let facts = Facts::parse(FACTS, built_in()).unwrap();
    let marked = |mark| facts.iter().filter(|row| row.mark == mark).count();
    assert_eq!((marked(Mark::Published), marked(Mark::Derived), marked(Mark::Reported)), (2, 7, 0));
    assert!(marked(Mark::Invented) > 2_000);
    assert!(FACTS.starts_with("# 演示数据，虚构"));
    assert!(SUPPLEMENT.starts_with("# 演示数据，虚构"));
    assert!(facts.iter().filter(|row| row.source == "accident_deaths").all(|row| row.mark == Mark::Invented), "the split into cases");
    assert!(facts.iter().all(|row| row.value < decimal("10") || row.source != "accident_deaths"), "the plan: none with ten deaths or more");
}

#[test]
fn every_target_of_the_text_is_there_with_its_words() {
    let Some([shared_plan, source]) = shared(["domain/plan_yuxi_12th.toml", "mission/yuxi-12th-work-safety-plan.zh.txt"]) else { return };
    let (plan, facts) = loaded();
    let squeezed = |text: &str| text.split_whitespace().collect::<String>();
    let source = squeezed(&source);
    for text in plan.targets.iter().map(|target| &target.quote).chain(plan.nodes.iter().map(|node| &node.title)) {
        assert!(source.contains(&squeezed(text)), "the plan does not say: {text}");
    }
    let shared: toml::Table = toml::from_str(&shared_plan).unwrap();
    let rows = shared["target"].as_array().unwrap();
    assert_eq!(rows.len(), plan.targets.len());
    assert_eq!(rows.len(), 84);
    let statuses = plan.status(built_in(), &facts, day("2015-12-31"));
    for (row, status) in rows.iter().zip(&statuses) {
        let text = |key: &str| row.get(key).and_then(toml::Value::as_str);
        let number = |key: &str| row.get(key).map(|v| v.as_float().or(v.as_integer().map(|n| n as f64)).unwrap());
        let target = status.target;
        assert_eq!(text("id"), Some(target.id.as_str()));
        assert_eq!(text("direction"), Some(target.direction.as_str()), "{}", target.id);
        assert_eq!(text("deadline"), Some(target.deadline.to_string().as_str()), "{}", target.id);
        assert_eq!(text("sector"), Some(target.sector.as_str()), "{}", target.id);
        assert_eq!(text("unit"), target.unit.as_deref(), "{}", target.id);
        // Three rates in one word there; the rate that is reckoned has a word of its own here.
        let indicator = text("indicator").map(|word| if word.contains('/') { "machinery_registered_rate" } else { word });
        assert_eq!(indicator, target.indicator.as_deref(), "{}", target.id);
        let printed = |value: Option<Decimal>| value.map(|value| value.to_string().parse::<f64>().unwrap());
        assert_eq!(number("target"), printed(status.goal_value), "{}", target.id);
        assert_eq!(number("baseline"), printed(status.goal.baseline), "{}", target.id);
    }
    let table: Vec<(String, Decimal)> = shared["history_indicator"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["id"].as_str().unwrap().to_owned(), Decimal::try_from(row["drop_percent"].as_float().unwrap()).unwrap()))
        .collect();
    let ours: Vec<(String, Decimal)> =
        plan.published_drops.iter().skip(1).map(|drop| (drop.indicator.clone(), drop.percent.normalize())).collect();
    assert_eq!(table, ours);
}

#[test]
fn drops_as_worked_out_by_others() {
    let Some([text]) = shared(["domain/worked_examples.toml"]) else { return };
    let examples: toml::Table = toml::from_str(&text).unwrap();
    let mut n = 0;
    for example in examples["indicator_example"].as_array().unwrap() {
        let number =
            |value: &toml::Value| value.as_integer().map_or_else(|| Decimal::try_from(value.as_float().unwrap()).unwrap(), Decimal::from);
        let inputs = &example["inputs"];
        let (Some(from), Some(to), Some(expected)) = (inputs.get("baseline"), inputs.get("value"), example.get("expect_drop_percent"))
        else {
            continue;
        };
        let expected = number(expected);
        let percent = drop_percent(number(from), number(to), 2).unwrap();
        assert_eq!(percent.round_dp(expected.scale()), expected, "{}", example["id"]);
        n += 1;
    }
    assert_eq!(n, 3);
}

/// One line a target, as a person reads it.
fn lines(as_of: &str) -> String {
    let (plan, facts) = loaded();
    let mut text = String::new();
    for status in plan.status(built_in(), &facts, day(as_of)) {
        let number = |value: Option<Decimal>| value.map_or("-".to_owned(), |value| value.normalize().to_string());
        let figure = status.figure.as_ref().map(|figure| figure.shown);
        let (id, direction) = (&status.target.id, status.target.direction.as_str());
        let state = status.state.as_str();
        writeln!(text, "{id} {} {direction} {} {state} {}", number(figure), number(status.goal_value), status.reason).unwrap();
    }
    text
}

#[test]
fn as_of_the_middle_and_the_end_each_target_stands_as_was_read() {
    for (as_of, expected) in [
        ("2010-12-31", include_str!("plan/2010-12-31.txt")),
        ("2011-06-30", include_str!("plan/2011-06-30.txt")),
        ("2013-12-31", include_str!("plan/2013-12-31.txt")),
        ("2015-12-31", include_str!("plan/2015-12-31.txt")),
        ("2016-06-30", include_str!("plan/2016-06-30.txt")),
    ] {
        if std::env::var_os("UPDATE_PLAN").is_some() {
            let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/plan/{as_of}.txt"));
            std::fs::write(path, lines(as_of)).unwrap();
        } else {
            for (told, read) in lines(as_of).lines().zip(expected.lines()) {
                assert_eq!(told, read, "as of {as_of}");
            }
            assert_eq!(lines(as_of), expected);
        }
    }
}

#[test]
fn each_state_has_its_example_and_its_reason() {
    let (plan, facts) = loaded();
    let check = |id: &str, as_of: &str, state: State, reason: &str| {
        let status = status(&plan, &facts, id, as_of);
        assert_eq!((status.state, status.reason.to_string().as_str()), (state, reason), "{id} {as_of}");
    };
    check("G01", "2010-12-30", State::CannotBeComputed, "not_begun");
    check("G01", "2013-12-31", State::OnPath, "within_path: 0.17248 2013-12-31");
    check("G02", "2013-12-31", State::OffPath, "beyond_path: 12.2802 2013-12-31");
    check("G02", "2015-12-30", State::OffPath, "beyond_path: 11.5236 2014-12-31");
    check("G02", "2015-12-31", State::Met, "reached");
    check("G04", "2013-12-31", State::OnPath, "reached_so_far");
    check("G05", "2015-12-31", State::CannotBeComputed, "base_is_zero");
    check("G06", "2015-12-31", State::CannotBeComputed, "no_baseline");
    check("G08", "2011-06-30", State::CannotBeComputed, "not_due");
    check("G08", "2015-12-31", State::Met, "right_way");
    check("R04", "2015-12-31", State::CannotBeComputed, "no_data: sections_with_video 2015-12-31");
    check("A01", "2015-12-31", State::CannotBeComputed, "no_denominator: machines 2015-12-31");
    check("K02", "2013-12-31", State::CannotBeComputed, "not_due");
    check("K06", "2015-12-31", State::CannotBeComputed, "no_finding");
    check("V01", "2011-01-01", State::Met, "reached");
    check("Z01", "2013-12-31", State::OnPath, "reached_so_far");
    check("R05", "2011-06-30", State::CannotBeComputed, "not_due");
    // The linear path begins behind the year of the baseline: that year is not held against its own rounded figure.
    check("G01", "2011-12-30", State::CannotBeComputed, "not_due");
    check("G01", "2011-12-31", State::OnPath, "within_path: 0.20416 2011-12-31");
    check("M06", "2011-06-30", State::CannotBeComputed, "not_due");
    // A day after the deadline it is late for ever.
    check("Z05", "2015-12-31", State::Missed, "not_reached");
    check("Z05", "2016-06-30", State::Missed, "reached_late");
    check("N04", "2015-12-31", State::Missed, "not_reached");
    assert_eq!(status(&plan, &facts, "N04", "2015-12-31").figure.unwrap().shown.to_string(), "0.8933");
}

#[test]
fn a_number_goes_down_to_its_rows() {
    let (plan, facts) = loaded();
    for id in ["G01", "G02", "G03", "G04", "M07", "M08", "N03"] {
        let figure = status(&plan, &facts, id, "2015-12-31").figure.unwrap();
        let ids: BTreeSet<_> = figure.rows.iter().map(|row| &row.id).collect();
        assert_eq!(ids.len(), figure.rows.len(), "{id}: a row counts once");
        assert!(figure.rows.iter().chain(&figure.rows_below).all(|row| facts.get(&row.id) == Some(*row)));
        if figure.rows.iter().all(|row| row.source == "accident_deaths") && id != "M08" {
            assert_eq!(figure.rows.iter().map(|row| row.value).sum::<Decimal>(), figure.numerator, "{id}");
        }
    }
    let rate = status(&plan, &facts, "G01", "2015-12-31").figure.unwrap();
    assert_eq!((rate.numerator, rate.rows_below[0].id.as_str()), (decimal("124"), "gdp_100m_yuan-2015"));
    assert!(!rate.is_small);
    assert!(status(&plan, &facts, "G04", "2015-12-31").figure.unwrap().is_small, "three deaths");
    assert!(!status(&plan, &facts, "N03", "2015-12-31").figure.unwrap().is_small, "a share of things is no rate of events");
}

#[test]
fn a_late_revision_shows_both_values() {
    let (plan, facts) = loaded();
    let shown = |as_of: &str| {
        let status = status(&plan, &facts, "G01", as_of);
        let before: Vec<String> = status.said_before.iter().map(|(on, value)| format!("{on} {value}")).collect();
        (status.figure.unwrap().shown.to_string(), before)
    };
    // 142 deaths, then 143 (who died within 30 days), then another GDP.
    assert_eq!(shown("2013-12-31"), ("0.14".to_owned(), vec![]));
    assert_eq!(shown("2014-11-10"), ("0.13".to_owned(), vec!["2013-12-31 0.14".to_owned()]));
    let rows = |as_of: &str| status(&plan, &facts, "G01", as_of).figure.unwrap().numerator.to_string();
    assert_eq!((rows("2013-12-31"), rows("2014-01-08")), ("142".to_owned(), "143".to_owned()));
    let figure = status(&plan, &facts, "G01", "2014-11-10").figure.unwrap();
    assert_eq!(figure.revised.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["A2013-134", "gdp_100m_yuan-2013"]);
}

#[test]
fn an_adjustment_holds_from_its_day_and_keeps_the_old_target() {
    let adjusted = format!(
        "{SUPPLEMENT}\n
[[adjustment]]\ntarget = \"G05\"\ndecided_on = \"2014-03-01\"\nby = \"市人民政府\"\ndocument = \"测试\"\nreason = \"基数为 0\"\nmark = \"invented\"
baseline = \"1.34\"\nbaseline_year = 2005\n
[[adjustment]]\ntarget = \"M04\"\ndecided_on = \"2015-06-01\"\nby = \"市人民政府\"\ndocument = \"测试\"\nreason = \"关闭 1 户\"\nmark = \"invented\"
value = \"22\"\n"
    );
    let (plan, facts) = loaded_with(&adjusted);
    let before = status(&plan, &facts, "G05", "2014-02-28");
    assert_eq!((before.state, before.reason, before.former.len()), (State::CannotBeComputed, Reason::BaseIsZero, 0));
    let after = status(&plan, &facts, "G05", "2014-03-01");
    assert_eq!(after.goal_value, Some(decimal("0.9648")));
    assert_eq!((after.former[0].0.baseline, after.former[0].0.baseline_year), (Some(Decimal::ZERO), 2010));
    assert_eq!(after.target.baseline, Some(Decimal::ZERO), "the document is as it was");
    assert_eq!(status(&plan, &facts, "G05", "2015-12-31").state, State::Met);
    let fewer = status(&plan, &facts, "M04", "2015-12-31");
    assert_eq!((fewer.state, fewer.goal_value, fewer.former[0].0.value), (State::Met, Some(decimal("22")), Some(decimal("23"))));
    assert_eq!(fewer.former[0].1.reason, "关闭 1 户");
}

#[test]
fn more_than_at_the_beginning_is_said_when_there_is_something_newer() {
    let plan = Plan::parse(PLAN, built_in()).unwrap();
    let base = "f0,road_dangers_found,2010-12-31,5304,,10,,,reported,\nc0,road_dangers_closed,2010-12-31,5304,,5,,,reported,\n";
    let next = |closed: &str| {
        format!(
            "{base}f1,road_dangers_found,2012-06-30,5304,,10,,,reported,\nc1,road_dangers_closed,2012-06-30,5304,,{closed},,,reported,\n"
        )
    };
    let check = |text: &str, as_of: &str, state: State, reason: &str| {
        let facts = rows(text);
        let status = status(&plan, &facts, "R05", as_of);
        assert_eq!((status.state, status.reason.to_string().as_str()), (state, reason), "{text} {as_of}");
    };
    check(base, "2011-06-30", State::CannotBeComputed, "not_due");
    check(base, "2015-12-30", State::CannotBeComputed, "not_due");
    check(base, "2015-12-31", State::CannotBeComputed, "no_data: road_dangers_closed 2015-12-31");
    check(&next("4"), "2012-06-29", State::CannotBeComputed, "not_due");
    check(&next("4"), "2013-03-01", State::OffPath, "wrong_way: road_hidden_danger_closure_rate 2012");
    check(&next("5"), "2013-03-01", State::OffPath, "wrong_way: road_hidden_danger_closure_rate 2012");
    check(&next("4"), "2015-12-31", State::Missed, "wrong_way: road_hidden_danger_closure_rate 2012");
    check(&next("6"), "2013-03-01", State::OnPath, "right_way");
    check(&next("6"), "2015-12-31", State::Met, "right_way");
    // Counted from the plan's first day: nothing yet is no step back.
    let count = |more: &str, as_of: &str| {
        let mut facts = rows(more);
        facts.cover("crossing_converted", day("2011-01-01"), day("2015-12-31"));
        let status = status(&plan, &facts, "L01", as_of);
        (status.state, status.reason.to_string())
    };
    assert_eq!(count("", "2013-06-30"), (State::CannotBeComputed, "not_due".to_owned()));
    assert_eq!(count("", "2015-12-31"), (State::Missed, "wrong_way: crossings_converted 2015".to_owned()));
    let one = "x,crossing_converted,2012-05-20,530402,,1,,,reported,\n";
    assert_eq!(count(one, "2012-05-20"), (State::OnPath, "right_way".to_owned()));
}

#[test]
fn before_the_deadline_only_what_is_built_or_counted_is_met() {
    let mut plan = loaded().0;
    let mines = "m0,mines,2010-12-31,5304,non_coal_mine,100,,,reported,\nm1,mines,2012-12-31,5304,non_coal_mine,80,,,reported,\n";
    let facts = rows(mines);
    let change = status(&plan, &facts, "M06", "2013-01-01");
    assert_eq!((change.state, change.reason), (State::OnPath, Reason::ReachedSoFar), "mines may open again");
    assert_eq!(status(&plan, &facts, "M06", "2015-12-31").state, State::Met);
    let facts = loaded().1;
    assert_eq!(status(&plan, &facts, "M07", "2015-12-30").state, State::Met, "72 mines closed stay closed");
    // As a ceiling the same count may still be passed.
    plan.targets.iter_mut().find(|target| target.id == "M07").unwrap().direction = Direction::AtMost;
    let ceiling = status(&plan, &facts, "M07", "2013-12-31");
    assert_eq!((ceiling.state, ceiling.reason), (State::OnPath, Reason::ReachedSoFar));
}

#[test]
fn what_a_person_found_comes_with_its_row_and_after_the_deadline_it_is_late() {
    let plan = Plan::parse(PLAN, built_in()).unwrap();
    let in_time = "i,finding,2015-12-20,5304,o01,0,,,reported,\n";
    let check = |text: &str, as_of: &str, state: State, reason: Reason, id: Option<&str>| {
        let facts = rows(text);
        let status = status(&plan, &facts, "O01", as_of);
        assert_eq!((status.state, status.reason), (state, reason), "{text} {as_of}");
        assert_eq!(status.finding.map(|row| row.id.as_str()), id, "{text} {as_of}");
    };
    let late = |value: u8| format!("l,finding,2016-02-01,5304,o01,{value},,,reported,\n");
    check("", "2016-06-30", State::CannotBeComputed, Reason::NoFinding, None);
    check(in_time, "2015-12-30", State::OffPath, Reason::FoundNot, Some("i"));
    check(&late(1), "2016-01-31", State::CannotBeComputed, Reason::NoFinding, None);
    check(&late(1), "2016-02-01", State::Missed, Reason::ReachedLate, Some("l"));
    check(&late(0), "2016-02-01", State::Missed, Reason::FoundNot, Some("l"));
    check(&format!("{in_time}{}", late(1)), "2016-01-31", State::Missed, Reason::FoundNot, Some("i"));
    check(&format!("{in_time}{}", late(1)), "2016-02-01", State::Missed, Reason::ReachedLate, Some("l"));
    // Found in time it stays so, whatever is found of a later day.
    check(&format!("{}{}", in_time.replace(",0,", ",1,"), late(0)), "2016-02-01", State::Met, Reason::Found, Some("i"));
    // Of a day in time and known afterwards: in time.
    check("k,finding,2015-12-31,5304,o01,1,2016-03-01,,reported,\n", "2016-03-01", State::Met, Reason::Found, Some("k"));
}

#[test]
fn an_adjustment_of_number_or_deadline_ends_the_path_decided_before_it() {
    let adjustment = |what: &str| {
        format!(
            "\n[[adjustment]]\ntarget = \"N04\"\ndecided_on = \"2013-06-01\"\nby = \"市人民政府\"\ndocument = \"测试\"\nreason = \"测试\"\nmark = \"invented\"\n{what}\n"
        )
    };
    let point = |on: &str, value: &str, more: &str| {
        format!("\n[[path]]\ntarget = \"N04\"\non = \"{on}\"\nvalue = \"{value}\"\nmark = \"invented\"\n{more}\n")
    };
    let check = |more: &str, as_of: &str, state: State, reason: &str| {
        let (plan, facts) = loaded_with(&format!("{SUPPLEMENT}{more}"));
        let status = status(&plan, &facts, "N04", as_of);
        assert_eq!((status.state, status.reason.to_string().as_str()), (state, reason), "{more} {as_of}");
    };
    // Its figure of 2013 is 0.5345; the path asks 0.3 by 2012 and 0.55 by 2013.
    check("", "2013-12-31", State::OffPath, "beyond_path: 0.55 2013-12-31");
    for what in ["value = \"0.95\"", "deadline = \"2016-06-30\""] {
        check(&adjustment(what), "2013-05-31", State::OffPath, "beyond_path: 0.3 2012-12-31");
        check(&adjustment(what), "2013-12-31", State::CannotBeComputed, "not_due");
    }
    check(&adjustment("value = \"0.9\""), "2013-12-31", State::OffPath, "beyond_path: 0.55 2013-12-31");
    let longer = adjustment("value = \"0.95\"\ndeadline = \"2016-06-30\"")
        + &point("2013-12-31", "0.5", "decided_on = \"2013-06-01\"")
        + &point("2016-03-31", "0.92", "decided_on = \"2013-06-01\"");
    check(&longer, "2013-05-31", State::OffPath, "beyond_path: 0.3 2012-12-31");
    check(&longer, "2013-12-31", State::OnPath, "within_path: 0.5 2013-12-31");
    check(&longer, "2016-04-30", State::OffPath, "beyond_path: 0.92 2016-03-31");
    check(&longer, "2016-06-30", State::Missed, "not_reached");
    // A later decision about one day, without an adjustment.
    let again = point("2013-12-31", "0.52", "decided_on = \"2013-09-01\"");
    check(&again, "2013-12-31", State::OnPath, "within_path: 0.52 2013-12-31");
    let (plan, _) = loaded_with(&format!("{SUPPLEMENT}{again}"));
    let points =
        |as_of: &str| plan.path_points(plan.target("N04").unwrap(), day(as_of)).iter().map(|p| p.value.to_string()).collect::<Vec<_>>();
    assert_eq!(points("2013-08-31"), ["0.1", "0.3", "0.55", "0.75"]);
    assert_eq!(points("2013-09-01"), ["0.1", "0.3", "0.52", "0.75"]);
}

#[test]
fn the_parts_are_held_against_the_whole() {
    let (plan, _) = loaded();
    assert_eq!(plan.shortfalls(built_in(), day("2013-12-31")), []);
    assert_eq!(plan.parts("M07").map(|part| part.value).sum::<Decimal>(), decimal("71"));
    assert!(plan.parts("M07").all(|part| part.mark == Mark::Invented && part.region.starts_with("5304")));
    // Rows of a county say how its part stands, and the parts add up to what the city has.
    let facts = loaded().1;
    let parts = plan.part_figures(plan.target("M07").unwrap(), built_in(), &facts, day("2015-12-31"), &|_| Vec::new());
    let closed: Decimal = parts.iter().map(|(.., figure)| figure.as_ref().unwrap().numerator).sum();
    assert_eq!((parts.len(), closed), (9, decimal("72")));
    let networked = plan.part_figures(plan.target("N04").unwrap(), built_in(), &facts, day("2015-12-31"), &|_| Vec::new());
    assert!(networked.iter().all(|(.., figure)| figure.is_err()), "the city's figure is none of a county's");
    let check = |from: &str, to: &str, expected: Shortfall| {
        assert!(SUPPLEMENT.contains(from), "{from}");
        let (plan, _) = loaded_with(&SUPPLEMENT.replacen(from, to, 1));
        assert_eq!(plan.shortfalls(built_in(), day("2013-12-31")), [expected]);
    };
    let sum = Shortfall::Sum { target: "M07".to_owned(), parts: decimal("70"), whole: decimal("71") };
    check("region = \"530402\"\nvalue = \"18\"", "region = \"530402\"\nvalue = \"17\"", sum);
    let weaker = Shortfall::Weaker { target: "N04".to_owned(), region: "530428".to_owned(), part: decimal("0.85"), whole: decimal("0.9") };
    check("region = \"530428\"\nvalue = \"0.9\"", "region = \"530428\"\nvalue = \"0.85\"", weaker);
}

#[test]
fn a_plan_that_contradicts_itself_is_refused_with_the_field_named() {
    let check = |from: &str, to: &str, word: &str| {
        assert!(PLAN.contains(from), "{from}");
        let error = Plan::parse(&PLAN.replacen(from, to, 1), built_in()).unwrap_err().to_string();
        assert!(error.contains(word), "{from} -> {to}: {error}");
    };
    check("drop_percent = \"36\"", "drop_procent = \"36\"", "drop_procent");
    check("drop_percent = \"36\"", "drop_percent = \"36\"\nvalue = \"0.14\"", "`drop_percent`");
    check("drop_percent = \"36\"", "drop_percent = \"0\"", "`drop_percent`");
    check("drop_percent = \"36\"", "drop_percent = \"100.01\"", "`drop_percent`");
    check("drop_percent = \"36\"", "drop_percent = 36", "drop_percent");
    check("drop_percent = \"36\"\n", "", "`value`");
    check("direction = \"<=\"", "direction = \"<\"", "direction");
    check("direction = \"<=\"", "direction = \">=\"", "`drop_percent`");
    check("direction = \"<=\"", "direction = \"qualitative\"", "`indicator`");
    check("indicator = \"death_rate_per_100m_gdp\"\ndrop", "indicator = \"death_rate\"\ndrop", "`indicator`");
    check("unit = \"deaths per 100m yuan\"", "unit = \"deaths\"", "`unit`");
    check("node = \"二（二）\"", "node = \"二（三）\"", "`node`");
    check("deadline = \"2013-12-31\"", "deadline = \"2016-12-31\"", "`deadline`");
    check(
        "deadline = \"2013-12-31\"\ndeadline_from = \"text\"",
        "deadline = \"2013-12-31\"\ndeadline_from = \"plan_end\"",
        "`deadline_from`",
    );
    check("id = \"G02\"", "id = \"G01\"", "`id`");
    check("quote = \"关停71户\"", "quote = \"\"", "`quote`");
    check("baseline = \"0.22\"", "baseline = \"0.2200000001\"", "0.2200000001");
    check("also = [\"accident_count\"]", "also = [\"accidents\"]", "`also`");
    check("parent = \"一\"", "parent = \"九\"", "`parent`");
    check("from = 2005", "from = 2004", "`from`");
    check("region = \"5304\"", "region = \"\"", "`region`");
    check("end = \"2015-12-31\"", "end = \"2010-12-31\"", "`end`");
}

#[test]
fn a_supplement_that_contradicts_the_plan_is_refused_with_the_field_named() {
    let check = |more: &str, word: &str| {
        let mut facts = Facts::default();
        let mut plan = Plan::parse(PLAN, built_in()).unwrap();
        let error = match toml::from_str::<Supplement>(more) {
            Ok(supplement) => plan.join(&supplement, &mut facts, built_in()).unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(word), "{more}: {error}");
    };
    let path = "[[path]]\ntarget = \"N04\"\non = \"2011-12-31\"\nvalue = \"0.1\"\nmark = \"invented\"\n";
    check(&path.replace("N04", "N99"), "`target`");
    check(&path.replace("N04", "K06"), "`target`");
    check(&path.replace("2011", "2016"), "`on`");
    check(&path.replace("mark", "decided_on = \"2012-01-01\"\nmark"), "`decided_on`");
    check(&format!("{path}{path}"), "`on`");
    check(&path.replace("mark", "marc"), "marc");
    check(&path.replace("invented", "guessed"), "guessed");
    let part = "[[part]]\ntarget = \"M07\"\nregion = \"530402\"\nvalue = \"1\"\nmark = \"invented\"\n";
    check(&part.replace("530402", "5304"), "`region`");
    check(&part.replace("530402", "530x"), "`region`");
    check(&part.replace("530402", "5305"), "`region`");
    check(&format!("{part}{part}"), "`region`");
    let adjustment = "[[adjustment]]\ntarget = \"M07\"\ndecided_on = \"2013-06-01\"\nby = \"x\"\ndocument = \"x\"\nreason = \"x\"\nmark = \"invented\"\n";
    check(adjustment, "`value`");
    check(&adjustment.replace("by = \"x\"", "by = \"\"\nvalue = \"1\""), "`by`");
    check(&adjustment.replace("2013", "2010").replace("mark", "value = \"1\"\nmark"), "`decided_on`");
    check(&adjustment.replace("M07", "G09").replace("mark", "value = \"1\"\nmark"), "`value`");
    check(&adjustment.replace("mark", "drop_percent = \"5\"\nmark"), "`drop_percent`");
    check(&adjustment.replace("mark", "deadline = \"2013-05-01\"\nmark"), "`decided_on`");
    check("[[covered]]\nsource = \"x\"\nfrom = \"2011-01-01\"\nto = \"2011-12-31\"\nmark = \"invented\"\n", "`source`");
    check("[[covered]]\nsource = \"mine_closed\"\nfrom = \"2012-01-01\"\nto = \"2011-12-31\"\nmark = \"invented\"\n", "`to`");
}

#[test]
fn without_any_fact_nothing_is_guessed() {
    let plan = Plan::parse(PLAN, built_in()).unwrap();
    let facts = Facts::default();
    for status in plan.status(built_in(), &facts, day("2015-12-31")) {
        assert_eq!(status.state, State::CannotBeComputed, "{}", status.target.id);
        assert!(status.figure.is_none());
    }
    // Facts without the word that they are complete: deaths that nobody recorded are no zero.
    let facts = Facts::parse(FACTS, built_in()).unwrap();
    let coal = plan.status_of(plan.target("G01").unwrap(), built_in(), &facts, day("2015-12-31"));
    assert_eq!(coal.reason.to_string(), "not_recorded: accident_deaths 2015-01-01..2015-12-31");
}

#[test]
fn on_every_day_of_the_plan_every_target_has_one_state_that_fits_its_deadline() {
    let (plan, facts) = loaded();
    let mut as_of = day("2010-11-30");
    while as_of < day("2016-07-15") {
        for status in plan.status(built_in(), &facts, as_of) {
            let id = &status.target.id;
            let is_over = as_of >= status.goal.deadline;
            match status.state {
                State::OnPath | State::OffPath => assert!(!is_over, "{id} {as_of}"),
                State::Missed => assert!(is_over, "{id} {as_of}"),
                State::Met => assert!(status.figure.is_some() || status.target.indicator.is_none(), "{id} {as_of}"),
                State::CannotBeComputed => {}
            }
            if let (State::Met, Some(figure), Some(goal)) = (status.state, &status.figure, status.goal_value) {
                let order = figure.against(goal).unwrap();
                let is_kept = if status.target.direction == Direction::AtLeast { order.is_ge() } else { order.is_le() };
                assert!(is_kept, "{id} {as_of}");
            }
            if let Some(figure) = &status.figure {
                assert!(figure.rows.iter().all(|row| row.known_on <= as_of), "{id} {as_of}: nothing that was not known yet");
            }
        }
        // Not a divisor of a month, so that every part of a year is met.
        as_of = as_of.saturating_add(jiff::Span::new().days(13));
    }
}
