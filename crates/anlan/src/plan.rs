//! `anlan plan`: where a plan stands on a day, why, and from which rows. Of a folder of files, or the built-in plan of the region with its demonstration
//! facts; nothing is kept.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anlan_app::document::evaluation;
use anlan_app::document::words::{against, sentence, shortfall_line, state_name, unit};
use anlan_documents::Imprint;
use anlan_domain::decimal::to_json;
use anlan_domain::indicator::{Fact, Facts, Figure, Indicators, Mark, Missing, built_in};
use anlan_domain::plan::{Adjustment, Part, Plan, Reason, State, Supplement, TargetStatus};
use anyhow::Context as _;
use jiff::civil::Date;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::accident::{confidence_name, print};

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
        /// A folder with `plan.toml`, `plan_facts.csv` and perhaps `plan_supplement.toml` and `indicators.toml`; left out = the built-in plan and demonstration.
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
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
        /// A folder with `plan.toml`, `plan_facts.csv` and perhaps `plan_supplement.toml` and `indicators.toml`; left out = the built-in plan and demonstration.
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        /// One JSON object instead of lines.
        #[arg(long)]
        json: bool,
        /// Language of the lines: `zh` or `en`.
        #[arg(long, default_value = "zh", value_parser = ["zh", "en"])]
        lang: String,
    },
    /// The evaluation report as of a day, as a file: `.pdf` in a build with the feature `pdf`, `.xlsx`, or `.json`. Without number or certificate: a node
    /// issues those.
    Report {
        /// The day, Beijing; before the plan's last day it is the mid-term evaluation, from then on the final one.
        #[arg(long, value_name = "DATE")]
        as_of: Date,
        /// Where to write it; what is there is not written over.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Who makes it (发文机关).
        #[arg(long, default_value = "安全生产委员会办公室")]
        issuer: String,
        /// Folders of fonts that are looked for before the system's.
        #[arg(long, value_name = "DIR")]
        fonts: Vec<PathBuf>,
        /// A folder with `plan.toml`, `plan_facts.csv` and perhaps `plan_supplement.toml` and `indicators.toml`; left out = the built-in plan and demonstration.
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
    },
    /// The figures that the plan prints of the years before it, beside those reckoned from the facts. Exit code 1 if one differs.
    History {
        /// A folder with `plan.toml`, `plan_facts.csv` and perhaps `plan_supplement.toml` and `indicators.toml`; left out = the built-in plan and demonstration.
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        /// One JSON object instead of a table.
        #[arg(long)]
        json: bool,
        /// Language of the table: `zh` or `en`.
        #[arg(long, default_value = "zh", value_parser = ["zh", "en"])]
        lang: String,
    },
}

/// A plan with everything that it is reckoned from.
struct Data {
    indicators: Indicators,
    plan: Plan,
    facts: Facts,
    is_built_in: bool,
    /// Some of it is made up.
    is_demonstration: bool,
}

impl Data {
    fn parse(indicators: Indicators, plan: &str, facts: &str, supplement: Option<&str>) -> anyhow::Result<Self> {
        let mut plan = Plan::parse(plan, &indicators)?;
        let mut facts = Facts::parse(facts, &indicators)?;
        let mut is_demonstration = facts.iter().any(|row| row.mark == Mark::Invented);
        if let Some(text) = supplement {
            let supplement = Supplement::parse(text)?;
            is_demonstration |= supplement.has_invented();
            plan.join(&supplement, &mut facts, &indicators)?;
        }
        Ok(Self { indicators, plan, facts, is_built_in: false, is_demonstration })
    }

    /// The built-in plan with the facts of the demonstration, or those of a folder.
    fn load(dir: Option<&Path>) -> anyhow::Result<Self> {
        let Some(dir) = dir else {
            return Ok(Self { is_built_in: true, ..Self::parse(built_in().clone(), PLAN, FACTS, Some(SUPPLEMENT))? });
        };
        let read = |name: &str| match std::fs::read_to_string(dir.join(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| dir.join(name).display().to_string()),
        };
        let needed = |name: &str| read(name)?.with_context(|| format!("{} is missing", dir.join(name).display()));
        let (plan, facts) = (needed("plan.toml")?, needed("plan_facts.csv")?);
        let (supplement, indicators) = (read("plan_supplement.toml")?, read("indicators.toml")?);
        let parsed = indicators.map_or_else(|| Ok(built_in().clone()), |text| Indicators::parse(&text)).map_err(anyhow::Error::from);
        let data = parsed.and_then(|indicators| Self::parse(indicators, &plan, &facts, supplement.as_deref()));
        data.with_context(|| dir.display().to_string())
    }

    /// Whatever is printed of made up rows says so.
    fn demonstration(&self, zh: bool) -> Option<&'static str> {
        match (self.is_built_in, self.is_demonstration, zh) {
            (true, _, true) => Some("演示数据，除规划自己公布的数字外均为虚构"),
            (true, _, false) => Some("demonstration: invented but for what the plan itself prints"),
            (false, true, true) => Some("演示数据：其中有虚构的数字，不得当作统计使用"),
            (false, true, false) => Some("demonstration: some of it is invented, no statistics"),
            (false, false, _) => None,
        }
    }
}

/// Runs `plan`.
pub fn run(command: PlanCommand) -> anyhow::Result<ExitCode> {
    match command {
        PlanCommand::Status { as_of, data, json, lang } => {
            let data = Data::load(data.as_deref())?;
            let statuses = data.plan.status(&data.indicators, &data.facts, as_of);
            if json {
                print(format!("{:#}", status_json(&statuses, as_of)))?;
            } else {
                print(table(&data, &statuses, as_of, lang == "zh").join("\n"))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        PlanCommand::Explain { target, as_of, data, json, lang } => {
            let data = Data::load(data.as_deref())?;
            let targets = &data.plan.targets;
            let target = targets.iter().find(|t| t.id.eq_ignore_ascii_case(&target)).with_context(|| {
                let id = |target: Option<&anlan_domain::plan::Target>| target.map(|target| target.id.clone()).unwrap_or_default();
                let (first, last) = (id(targets.first()), id(targets.last()));
                format!("the plan has no such target: {first} to {last}, see `anlan plan status --as-of {as_of}`")
            })?;
            let status = data.plan.status_of(target, &data.indicators, &data.facts, as_of);
            if json {
                print(format!("{:#}", explain_json(&data, &status, as_of)))?;
            } else {
                print(explain_lines(&data, &status, as_of, lang == "zh").join("\n"))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        PlanCommand::Report { as_of, out, issuer, fonts, data } => report(&Data::load(data.as_deref())?, as_of, &out, &issuer, fonts),
        PlanCommand::History { data, json, lang } => history(&Data::load(data.as_deref())?, json, lang == "zh"),
    }
}

fn report(data: &Data, as_of: Date, out: &Path, issuer: &str, fonts: Vec<PathBuf>) -> anyhow::Result<ExitCode> {
    let is_invented = data.is_built_in || data.is_demonstration;
    let document = evaluation::document(&data.plan, &data.indicators, &data.facts, as_of, issuer, is_invented);
    let bytes = match out.extension().and_then(|e| e.to_str()) {
        Some("pdf") => {
            let typesetter =
                anlan_typeset::typesetter(fonts).context("this build makes no PDF: build it with `--features pdf`, or ask for .xlsx")?;
            let imprint = Imprint { number: None, date: as_of, check: &[], code: None, watermark: is_invented.then_some("演示") };
            typesetter.pdf(&document, &imprint)?
        }
        Some("xlsx") => document.workbook(&[("标题".to_owned(), document.title.clone())])?,
        Some("json") => document.canonical(),
        _ => anyhow::bail!("--out: {} ends in none of .pdf, .xlsx, .json", out.display()),
    };
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(out);
    file.and_then(|mut file| file.write_all(&bytes)).with_context(|| out.display().to_string())?;
    print(format!("{} ({} bytes)", out.display(), bytes.len()))?;
    Ok(ExitCode::SUCCESS)
}

/// Codes that a division had before, where the built-in list knows it.
fn codes_before(code: &str) -> Vec<String> {
    let (Ok(known), Some(code)) = (anlan_app::rules::divisions(), anlan_model::RegionCode::new(code)) else { return Vec::new() };
    known.before(&code).iter().map(|code| code.as_str().to_owned()).collect()
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

fn explain_json(data: &Data, status: &TargetStatus<'_>, as_of: Date) -> Value {
    let target = status.target;
    let mut told = target_json(status);
    told["as_of"] = json!(as_of.to_string());
    told["demonstration"] = json!(data.is_demonstration);
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
    told["finding"] = json!(status.finding);
    told["path"] = json!(data.plan.path_points(target, as_of));
    let part_json = |(part, figure): (&Part, Result<Figure<'_>, Missing>)| {
        let mut told = json!(part);
        told["figure"] = number(figure.as_ref().ok().map(|figure| figure.shown));
        told["reason"] = json!(figure.err().map(|missing| Reason::Missing(missing).to_string()));
        told
    };
    told["parts"] =
        data.plan.part_figures(target, &data.indicators, &data.facts, as_of, &codes_before).into_iter().map(part_json).collect();
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

fn table(data: &Data, statuses: &[TargetStatus<'_>], as_of: Date, zh: bool) -> Vec<String> {
    let Data { indicators, plan, .. } = data;
    let mut lines = vec![if zh { format!("{}　截至 {as_of}", plan.name) } else { format!("{}, as of {as_of}", plan.name_en) }];
    lines.extend(data.demonstration(zh).map(str::to_owned));
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
            padded(&unit(indicators, status, zh), if zh { 10 } else { 20 }),
        );
        line += &if zh {
            format!("（{}；期限 {}）", sentence(indicators, &status.reason, zh), status.goal.deadline)
        } else {
            format!(" ({}; by {})", sentence(indicators, &status.reason, zh), status.goal.deadline)
        };
        if let Some((on, value)) = status.said_before.first() {
            line += &if zh { format!("［{on} 曾为 {value}］") } else { format!(" [{value} on {on}]") };
        }
        if status.figure.as_ref().is_some_and(|figure| figure.is_small) {
            line += if zh { "［例数少］" } else { " [few events]" };
        }
        lines.push(line);
    }
    let small = indicators.small_count();
    let confidence = confidence_name(&small.source.confidence, zh);
    lines.push(String::new());
    lines.push(if zh {
        format!("例数少：少于 {} 例，率的波动大（{}，{confidence}）", small.below, small.source.standard)
    } else {
        format!("few events: fewer than {}, so the rate says little ({}, {confidence})", small.below, small.source.standard)
    });
    lines.extend(plan.shortfalls(indicators, as_of).iter().map(|shortfall| shortfall_line(shortfall, zh)));
    lines
}

fn mark_name(mark: Mark, zh: bool) -> &'static str {
    if zh { mark.name() } else { mark.as_str() }
}

fn row_line(row: &Fact, zh: bool) -> String {
    let known = if row.known_on == row.on { String::new() } else { format!(" ({})", row.known_on) };
    let sector = if row.sector.is_empty() { "" } else { "/" };
    let mark = mark_name(row.mark, zh);
    format!("    {} {}{known} {}{sector}{} {} = {} {mark}", row.id, row.on, row.region, row.sector, row.source, row.value)
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
            lines.extend(rows.iter().map(|row| row_line(row, zh)));
        }
    }
    lines
}

fn explain_lines(data: &Data, status: &TargetStatus<'_>, as_of: Date, zh: bool) -> Vec<String> {
    let Data { indicators, plan, facts, .. } = data;
    let target = status.target;
    let mut lines = vec![format!("{} {}", target.id, if zh { &target.name } else { &target.name_en })];
    lines.extend(data.demonstration(zh).map(str::to_owned));
    lines.push(if zh {
        format!("  规划原文（{}）：{}", target.node, target.quote)
    } else {
        format!("  the plan ({}): {}", target.node, target.quote)
    });
    let confidence = confidence_name(&target.confidence, zh);
    lines.push(if zh {
        format!("  责任单位：{}；期限：{}；{confidence}", target.owner, status.goal.deadline)
    } else {
        format!("  owner: {}; deadline: {}; {confidence}", target.owner, status.goal.deadline)
    });
    if !target.note.is_empty() {
        lines.push(format!("  {}", target.note));
    }
    let state = state_name(status.state, zh);
    let (unit, why) = (unit(indicators, status, zh), sentence(indicators, &status.reason, zh));
    lines.push(if zh {
        format!("  {as_of} {state}：{} {unit}（{why}）", against(status))
    } else {
        format!("  {as_of} {state}: {} {unit} ({why})", against(status))
    });
    if let Some(row) = status.finding {
        lines.push(if zh { "  认定：".to_owned() } else { "  found:".to_owned() });
        lines.push(row_line(row, zh));
    }
    for (goal, adjustment) in &status.former {
        let was = goal.value.or(goal.drop_percent).map_or_else(String::new, |value| value.to_string());
        let Adjustment { decided_on, by, reason, .. } = adjustment;
        let mark = mark_name(adjustment.mark, zh);
        lines.push(if zh {
            format!("  {decided_on} 调整前：{was}，期限 {}（{by}，{reason}） {mark}", goal.deadline)
        } else {
            format!("  before {decided_on}: {was}, by {} ({by}, {reason}) {mark}", goal.deadline)
        });
    }
    for (on, value) in &status.said_before {
        lines.push(if zh { format!("  {on} 曾为 {value}") } else { format!("  {value} as of {on}") });
    }
    lines.extend(status.figure.iter().flat_map(|figure| figure_lines(figure, zh)));
    let points = plan.path_points(target, as_of);
    if !points.is_empty() {
        lines.push(if zh { "  年度目标：".to_owned() } else { "  path:".to_owned() });
        lines.extend(points.iter().map(|point| format!("    {} {} {}", point.on, point.value.normalize(), mark_name(point.mark, zh))));
    }
    let parts = plan.part_figures(target, indicators, facts, as_of, &codes_before);
    if !parts.is_empty() {
        lines.push(if zh { "  分解：".to_owned() } else { "  parts:".to_owned() });
        for (part, figure) in parts {
            let figure = match figure {
                Ok(figure) => figure.shown.to_string(),
                Err(missing) => sentence(indicators, &Reason::Missing(missing), zh),
            };
            let of = if zh { "应为" } else { "asked:" };
            lines.push(format!("    {} {of} {} {} | {figure}", part.region, part.value.normalize(), mark_name(part.mark, zh)));
        }
    }
    lines
}

fn history(data: &Data, json: bool, zh: bool) -> anyhow::Result<ExitCode> {
    let Data { indicators, plan, facts, .. } = data;
    let history = plan.history(indicators, facts, plan.end);
    let is_same = history.is_same();
    let anlan_domain::plan::History { figures, drops } = history;
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
        print(format!("{:#}", json!({"demonstration": data.is_demonstration, "figures": figures, "drops": drops, "same": is_same})))?;
    } else {
        let name = |id: &str| indicators.get(id).map_or_else(|| id.to_owned(), |i| if zh { i.name.clone() } else { i.name_en.clone() });
        let shown = |value: Option<Decimal>| value.map_or_else(|| "–".to_owned(), |value| value.to_string());
        let mut lines: Vec<String> = data.demonstration(zh).map(str::to_owned).into_iter().collect();
        lines.push(if zh {
            "规划公布的数字 | 由事实计算".to_owned()
        } else {
            "as the plan prints it | reckoned from the facts".to_owned()
        });
        lines.extend(figures.iter().map(|(p, value)| format!("  {} {} | {} {}", p.year, p.value, shown(*value), name(&p.indicator))));
        lines.push(if zh { "下降率 %".to_owned() } else { "drop, %".to_owned() });
        lines.extend(
            drops.iter().map(|(p, value)| format!("  {}→{} {} | {} {}", p.from, p.to, p.percent, shown(*value), name(&p.indicator))),
        );
        print(lines.join("\n"))?;
    }
    Ok(if is_same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
