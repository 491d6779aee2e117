//! `anlan plan`: where a plan stands on a day, why, and from which rows. The built-in plan of the region with its demonstration facts; nothing is kept.

use std::process::ExitCode;

use anlan_domain::decimal::to_json;
use anlan_domain::indicator::{Fact, Facts, Figure, Missing, Query, built_in, drop_percent, year_of};
use anlan_domain::plan::{Plan, Reason, State, Supplement, TargetStatus};
use anyhow::Context as _;
use jiff::civil::Date;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::accident::print;

const PLAN: &str = include_str!("../../../packs/region-yuxi/plan.toml");
const FACTS: &str = include_str!("../../../packs/demo/plan_facts.csv");
const SUPPLEMENT: &str = include_str!("../../../packs/demo/plan_supplement.toml");

/// What to ask of a plan.
#[derive(clap::Subcommand)]
pub enum PlanCommand {
    /// Where every target stands at the end of a day: met, on_path, off_path, missed, or cannot_be_computed and why.
    Status {
        /// The day, Beijing; what became known later is not in it.
        #[arg(long, value_name = "DATE")]
        as_of: Date,
        /// One JSON object instead of a table.
        #[arg(long)]
        json: bool,
        /// Language of the table: `zh` or `en`.
        #[arg(long, default_value = "zh", value_parser = ["zh", "en"])]
        lang: String,
    },
    /// One target down to the rows behind its number, what it asked before, and what was said before a revision.
    Explain {
        /// Id of the target, such as `G01`.
        target: String,
        /// The day, Beijing.
        #[arg(long, value_name = "DATE")]
        as_of: Date,
        /// One JSON object instead of lines.
        #[arg(long)]
        json: bool,
        /// Language of the lines: `zh` or `en`.
        #[arg(long, default_value = "zh", value_parser = ["zh", "en"])]
        lang: String,
    },
    /// The figures that the plan prints of the years before it, beside those reckoned from the facts. Exit code 1 if one differs.
    History {
        /// One JSON object instead of a table.
        #[arg(long)]
        json: bool,
        /// Language of the table: `zh` or `en`.
        #[arg(long, default_value = "zh", value_parser = ["zh", "en"])]
        lang: String,
    },
}

/// The built-in plan with the facts of the demonstration.
fn load() -> anyhow::Result<(Plan, Facts)> {
    let mut facts = Facts::parse(FACTS, built_in())?;
    let mut plan = Plan::parse(PLAN, built_in())?;
    let supplement: Supplement = toml::from_str(SUPPLEMENT).context("plan_supplement.toml")?;
    plan.join(&supplement, &mut facts, built_in())?;
    Ok((plan, facts))
}

/// Runs `plan`.
pub fn run(command: PlanCommand) -> anyhow::Result<ExitCode> {
    let (plan, facts) = load()?;
    match command {
        PlanCommand::Status { as_of, json, lang } => {
            let statuses = plan.status(built_in(), &facts, as_of);
            if json {
                print(format!("{:#}", status_json(&statuses, as_of)))?;
            } else {
                print(table(&plan, &statuses, as_of, lang == "zh").join("\n"))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        PlanCommand::Explain { target, as_of, json, lang } => {
            let target = plan.targets.iter().find(|t| t.id.eq_ignore_ascii_case(&target));
            let target =
                target.with_context(|| format!("the plan has no such target: G01 to Z06, see `anlan plan status --as-of {as_of}`"))?;
            let status = plan.status_of(target, built_in(), &facts, as_of);
            if json {
                print(format!("{:#}", explain_json(&status, as_of)))?;
            } else {
                print(explain_lines(&plan, &facts, &status, as_of, lang == "zh").join("\n"))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        PlanCommand::History { json, lang } => history(&plan, &facts, json, lang == "zh"),
    }
}

fn number(value: Option<Decimal>) -> Value {
    value.map_or(Value::Null, to_json)
}

/// The eight members of the interface and no more.
fn target_json(status: &TargetStatus<'_>) -> Value {
    json!({
        "id": status.target.id,
        "target": number(status.goal_value),
        "value": number(status.figure.as_ref().map(|figure| figure.shown)),
        "unit": status.target.unit,
        "direction": status.target.direction.as_str(),
        "deadline": status.goal.deadline.to_string(),
        "state": status.state.as_str(),
        "reason": status.reason.to_string(),
    })
}

fn status_json(statuses: &[TargetStatus<'_>], as_of: Date) -> Value {
    json!({ "as_of": as_of.to_string(), "targets": statuses.iter().map(target_json).collect::<Vec<_>>() })
}

fn explain_json(status: &TargetStatus<'_>, as_of: Date) -> Value {
    let target = status.target;
    let mut told = target_json(status);
    told["as_of"] = json!(as_of.to_string());
    for (key, value) in [
        ("node", &target.node),
        ("quote", &target.quote),
        ("name", &target.name),
        ("name_en", &target.name_en),
        ("sector", &target.sector),
        ("owner", &target.owner),
        ("confidence", &target.confidence),
        ("note", &target.note),
    ] {
        told[key] = json!(value);
    }
    told["owner_from"] = json!(target.owner_from);
    told["deadline_from"] = json!(target.deadline_from);
    told["indicator"] = json!(target.indicator);
    told["goal"] = json!(status.goal);
    told["former"] = status.former.iter().map(|(goal, adjustment)| json!({"goal": goal, "ended_by": adjustment})).collect();
    told["said_before"] = status.said_before.iter().map(|(on, value)| json!({"on": on.to_string(), "value": to_json(*value)})).collect();
    told["figure"] = status.figure.as_ref().map_or(Value::Null, |figure| {
        json!({
            "numerator": to_json(figure.numerator), "denominator": to_json(figure.denominator), "factor": to_json(figure.factor),
            "from": figure.of.0.to_string(), "to": figure.of.1.to_string(), "is_small": figure.is_small,
            "rows": figure.rows, "rows_below": figure.rows_below, "revised": figure.revised,
        })
    });
    told
}

/// Columns that a text takes on a terminal: two for what East Asian scripts write.
fn width(text: &str) -> usize {
    let is_wide = |c: char| matches!(c, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe4f}' | '\u{ff00}'..='\u{ff60}' | '\u{ffe0}'..='\u{ffe6}');
    text.chars().map(|c| 1 + usize::from(is_wide(c))).sum()
}

fn padded(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

fn state_name(state: State, zh: bool) -> &'static str {
    match (state, zh) {
        (state, true) => state.name(),
        (State::Met, false) => "met",
        (State::OnPath, false) => "on path",
        (State::OffPath, false) => "off path",
        (State::Missed, false) => "missed",
        (State::CannotBeComputed, false) => "cannot be computed",
    }
}

/// The reason as a person reads it.
fn sentence(reason: &Reason, zh: bool) -> String {
    let source = |id: &str| built_in().source(id).map_or_else(|| id.to_owned(), |s| if zh { s.name.clone() } else { s.name_en.clone() });
    let indicator = |id: &str| built_in().get(id).map_or_else(|| id.to_owned(), |i| if zh { i.name.clone() } else { i.name_en.clone() });
    match (reason, zh) {
        (Reason::Reached, true) => "达到目标".into(),
        (Reason::Reached, false) => "reaches the goal".into(),
        (Reason::ReachedSoFar, true) => "目前达到，以期限年度为准".into(),
        (Reason::ReachedSoFar, false) => "so far; the year of the deadline decides".into(),
        (Reason::ReachedLate, true) => "期限之后才达到".into(),
        (Reason::ReachedLate, false) => "reached after the deadline".into(),
        (Reason::NotReached, true) => "期限已到，没有达到".into(),
        (Reason::NotReached, false) => "the deadline is over".into(),
        (Reason::WithinPath(asked, on), true) => format!("至 {on} 应为 {}", asked.normalize()),
        (Reason::WithinPath(asked, on), false) => format!("{} asked by {on}", asked.normalize()),
        (Reason::BeyondPath(asked, on), true) => format!("至 {on} 应为 {}", asked.normalize()),
        (Reason::BeyondPath(asked, on), false) => format!("{} asked by {on}", asked.normalize()),
        (Reason::RightWay, true) => "方向符合".into(),
        (Reason::RightWay, false) => "goes the way that is asked".into(),
        (Reason::WrongWay(id, year), true) => format!("{year} 年{}方向不符", indicator(id)),
        (Reason::WrongWay(id, year), false) => format!("{} went the other way in {year}", indicator(id)),
        (Reason::Found, true) => "经认定已做到".into(),
        (Reason::Found, false) => "a person found that it is so".into(),
        (Reason::FoundNot, true) => "经认定没有做到".into(),
        (Reason::FoundNot, false) => "a person found that it is not".into(),
        (Reason::NotBegun, true) => "规划尚未开始".into(),
        (Reason::NotBegun, false) => "the plan has not begun".into(),
        (Reason::NotDue, true) => "未到期，也没有年度目标可比".into(),
        (Reason::NotDue, false) => "not due, and no path says what is asked by now".into(),
        (Reason::NoBaseline, true) => "没有基数，下降幅度无从计算".into(),
        (Reason::NoBaseline, false) => "no baseline is given".into(),
        (Reason::BaseIsZero, true) => "基数为 0，下降百分比没有意义".into(),
        (Reason::BaseIsZero, false) => "the baseline is zero: a cut of it means nothing".into(),
        (Reason::NoFinding, true) => "没有数值，待人工认定".into(),
        (Reason::NoFinding, false) => "words without a number: a person has to find".into(),
        (Reason::Missing(missing), zh) => match (missing, zh) {
            (Missing::NotRecorded { source: id, from, to }, true) => format!("缺数据：{from} 至 {to} 的{}没有登记完整", source(id)),
            (Missing::NotRecorded { source: id, from, to }, false) => format!("not recorded completely: {}, {from} to {to}", source(id)),
            (Missing::Numerator { source: id, on, .. }, true) => format!("缺数据：至 {on} 没有{}", source(id)),
            (Missing::Numerator { source: id, on, .. }, false) => format!("no data: {}, {on}", source(id)),
            (Missing::Denominator { source: id, on, .. }, true) => format!("缺分母：至 {on} 没有{}", source(id)),
            (Missing::Denominator { source: id, on, .. }, false) => format!("no denominator: {}, {on}", source(id)),
            (Missing::DenominatorIsZero { source: id }, true) => format!("分母为 0：{}", source(id)),
            (Missing::DenominatorIsZero { source: id }, false) => format!("the denominator is zero: {}", source(id)),
            (Missing::Base { source: id, year }, true) => {
                format!("缺基年数：{}{}", year.map(|y| format!("{y} 年")).unwrap_or_default(), source(id))
            }
            (Missing::Base { source: id, year }, false) => {
                format!("no base: {}{}", source(id), year.map(|y| format!(", {y}")).unwrap_or_default())
            }
            (Missing::BaseIsZero { year }, true) => format!("{year} 年基数为 0"),
            (Missing::BaseIsZero { year }, false) => format!("the base of {year} is zero"),
            (Missing::AboveWhole { part, whole }, true) => format!("数据矛盾：部分 {part} 大于全部 {whole}"),
            (Missing::AboveWhole { part, whole }, false) => format!("the facts contradict each other: {part} of {whole}"),
            (Missing::Digits, true) => "数字位数过多".into(),
            (Missing::Digits, false) => "too many digits".into(),
        },
    }
}

/// Figure, direction and goal in one cell, the figure with the places of its definition.
fn against(status: &TargetStatus<'_>) -> String {
    let figure = status.figure.as_ref().map_or_else(|| "–".to_owned(), |figure| figure.shown.to_string());
    match status.goal_value {
        Some(goal) => format!("{figure} {} {}", status.target.direction.as_str().replace("<=", "≤").replace(">=", "≥"), goal.normalize()),
        None => figure,
    }
}

fn unit(status: &TargetStatus<'_>, zh: bool) -> String {
    let indicator = status.target.indicator.as_ref().and_then(|id| built_in().get(id));
    indicator.map_or_else(String::new, |i| if zh { i.unit_zh.clone() } else { i.unit.clone() })
}

fn table(plan: &Plan, statuses: &[TargetStatus<'_>], as_of: Date, zh: bool) -> Vec<String> {
    let mut lines = vec![
        if zh { format!("{}　截至 {as_of}", plan.name) } else { format!("{}, as of {as_of}", plan.name_en) },
        if zh {
            "演示数据，除规划自己公布的数字外均为虚构".to_owned()
        } else {
            "demonstration: invented but for what the plan itself prints".to_owned()
        },
    ];
    let names: Vec<String> = State::ALL
        .into_iter()
        .map(|state| format!("{} {}", state_name(state, zh), statuses.iter().filter(|s| s.state == state).count()))
        .collect();
    lines.push(names.join(if zh { "，" } else { ", " }));
    let mut node = "";
    for status in statuses {
        let target = status.target;
        if target.node != node {
            node = &target.node;
            let title = plan.nodes.iter().find(|n| n.id == target.node).map_or("", |n| n.title.as_str());
            lines.push(String::new());
            lines.push(format!("{node} {title}"));
        }
        let name = if zh { &target.name } else { &target.name_en };
        let mut line = format!(
            "  {} {} {} {} {name}",
            target.id,
            padded(state_name(status.state, zh), if zh { 8 } else { 18 }),
            padded(&against(status), 20),
            padded(&unit(status, zh), if zh { 10 } else { 20 }),
        );
        line += &if zh {
            format!("（{}；期限 {}）", sentence(&status.reason, zh), status.goal.deadline)
        } else {
            format!(" ({}; by {})", sentence(&status.reason, zh), status.goal.deadline)
        };
        if let Some((on, value)) = status.said_before.first() {
            line += &if zh { format!("［{on} 曾为 {value}］") } else { format!(" [{value} on {on}]") };
        }
        if status.figure.as_ref().is_some_and(|figure| figure.is_small) {
            line += if zh { "［例数少］" } else { " [few events]" };
        }
        lines.push(line);
    }
    let small = built_in().small_count();
    lines.push(String::new());
    lines.push(if zh {
        format!("例数少：少于 {} 例，率的波动大（{}，{}）", small.below, small.source.standard, small.source.confidence)
    } else {
        format!("few events: fewer than {}, so the rate says little ({}, {})", small.below, small.source.standard, small.source.confidence)
    });
    for shortfall in plan.shortfalls(built_in(), as_of) {
        lines.push(if zh { format!("分解不足：{shortfall}") } else { format!("the parts fall short: {shortfall}") });
    }
    lines
}

fn row_line(row: &Fact) -> String {
    let known = if row.known_on == row.on { String::new() } else { format!(" ({})", row.known_on) };
    let sector = if row.sector.is_empty() { "" } else { "/" };
    format!("    {} {}{known} {}{sector}{} {} = {} {}", row.id, row.on, row.region, row.sector, row.source, row.value, row.mark.as_str())
}

fn figure_lines(figure: &Figure<'_>, zh: bool) -> Vec<String> {
    let (from, to) = figure.of;
    let mut lines = vec![if zh {
        format!("  {} 至 {}：{} × {} ÷ {} = {}", from, to, figure.numerator, figure.factor, figure.denominator, figure.shown)
    } else {
        format!("  {from} to {to}: {} × {} ÷ {} = {}", figure.numerator, figure.factor, figure.denominator, figure.shown)
    }];
    for (rows, name, name_en) in [
        (&figure.rows, "分子", "above the line"),
        (&figure.rows_below, "分母", "below the line"),
        (&figure.revised, "被更正的", "revised since"),
    ] {
        if !rows.is_empty() {
            lines.push(if zh { format!("  {name} {} 行：", rows.len()) } else { format!("  {name_en}, {} rows:", rows.len()) });
            lines.extend(rows.iter().map(|row| row_line(row)));
        }
    }
    lines
}

fn explain_lines(plan: &Plan, facts: &Facts, status: &TargetStatus<'_>, as_of: Date, zh: bool) -> Vec<String> {
    let target = status.target;
    let mut lines = vec![format!("{} {}", target.id, if zh { &target.name } else { &target.name_en })];
    lines.push(if zh {
        format!("  规划原文（{}）：{}", target.node, target.quote)
    } else {
        format!("  the plan ({}): {}", target.node, target.quote)
    });
    lines.push(if zh {
        format!("  责任单位：{}；期限：{}；{}", target.owner, status.goal.deadline, target.confidence)
    } else {
        format!("  owner: {}; deadline: {}; {}", target.owner, status.goal.deadline, target.confidence)
    });
    if !target.note.is_empty() {
        lines.push(format!("  {}", target.note));
    }
    let state = state_name(status.state, zh);
    lines.push(format!("  {as_of} {state}: {} {} ({})", against(status), unit(status, zh), sentence(&status.reason, zh)));
    for (goal, adjustment) in &status.former {
        let was = goal.value.or(goal.drop_percent).map_or_else(String::new, |value| value.to_string());
        lines.push(if zh {
            format!("  {} 调整前：{was}，期限 {}（{}，{}）", adjustment.decided_on, goal.deadline, adjustment.by, adjustment.reason)
        } else {
            format!("  before {}: {was}, by {} ({}, {})", adjustment.decided_on, goal.deadline, adjustment.by, adjustment.reason)
        });
    }
    for (on, value) in &status.said_before {
        lines.push(if zh { format!("  {on} 曾为 {value}") } else { format!("  {value} as of {on}") });
    }
    lines.extend(status.figure.iter().flat_map(|figure| figure_lines(figure, zh)));
    let parts = plan.part_figures(target, built_in(), facts, as_of);
    if !parts.is_empty() {
        lines.push(if zh { "  分解：".to_owned() } else { "  parts:".to_owned() });
        for (region, asked, figure) in parts {
            let figure = match figure {
                Ok(figure) => figure.shown.to_string(),
                Err(missing) => sentence(&Reason::Missing(missing), zh),
            };
            let of = if zh { "应为" } else { "asked:" };
            lines.push(format!("    {region} {of} {} | {figure}", asked.normalize()));
        }
    }
    lines
}

fn history(plan: &Plan, facts: &Facts, json: bool, zh: bool) -> anyhow::Result<ExitCode> {
    let reckoned = |id: &str, year: i16| -> Option<Decimal> {
        let (_, on) = year_of(year);
        let query = Query { region: plan.region.clone(), sectors: Vec::new(), on, since: plan.start, known_on: plan.end, base_year: None };
        Some(built_in().evaluate(built_in().get(id)?, facts, &query).ok()?.shown)
    };
    let mut is_same = true;
    let (mut figures, mut drops) = (Vec::new(), Vec::new());
    for printed in &plan.published {
        let value = reckoned(&printed.indicator, printed.year);
        is_same &= value == Some(printed.value);
        figures.push((printed, value));
    }
    for printed in &plan.published_drops {
        let value = reckoned(&printed.indicator, printed.from).zip(reckoned(&printed.indicator, printed.to));
        let percent = value.and_then(|(from, to)| drop_percent(from, to, printed.percent.scale()));
        is_same &= percent == Some(printed.percent);
        drops.push((printed, percent));
    }
    if json {
        let figures: Vec<Value> = figures
            .iter()
            .map(|(p, value)| json!({"indicator": p.indicator, "year": p.year, "published": to_json(p.value), "value": number(*value), "clause": p.clause}))
            .collect();
        let drops: Vec<Value> = drops
            .iter()
            .map(|(p, value)| {
                json!({"indicator": p.indicator, "from": p.from, "to": p.to, "published": to_json(p.percent), "drop_percent": number(*value), "clause": p.clause})
            })
            .collect();
        print(format!("{:#}", json!({"figures": figures, "drops": drops, "same": is_same})))?;
    } else {
        let name = |id: &str| built_in().get(id).map_or_else(|| id.to_owned(), |i| if zh { i.name.clone() } else { i.name_en.clone() });
        let shown = |value: Option<Decimal>| value.map_or_else(|| "–".to_owned(), |value| value.to_string());
        let mut lines = vec![if zh {
            "规划公布的数字 | 由事实计算".to_owned()
        } else {
            "as the plan prints it | reckoned from the facts".to_owned()
        }];
        lines.extend(figures.iter().map(|(p, value)| format!("  {} {} | {} {}", p.year, p.value, shown(*value), name(&p.indicator))));
        lines.push(if zh { "下降率 %".to_owned() } else { "drop, %".to_owned() });
        lines.extend(
            drops.iter().map(|(p, value)| format!("  {}→{} {} | {} {}", p.from, p.to, p.percent, shown(*value), name(&p.indicator))),
        );
        print(lines.join("\n"))?;
    }
    Ok(if is_same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
