//! The evaluation report of a plan (规划评估报告): mid-term before the plan's last day, final from then on. Every number is reckoned, none is typed in.

use anlan_documents::{Block, Document, TableColumn, TableKind};
use anlan_domain::indicator::{Facts, Indicators};
use anlan_domain::plan::{Plan, State, TargetStatus};
use jiff::civil::Date;

use super::{Section, column, number, paragraph, table};
use crate::document::words;

/// Title of the report.
pub fn title(plan: &Plan, as_of: Date) -> String {
    format!("{}{}评估报告", plan.name, if as_of < plan.end { "中期" } else { "终期" })
}

/// Everything that a report of the whole plan says, as of a day.
pub fn sections(plan: &Plan, indicators: &Indicators, facts: &Facts, as_of: Date) -> Vec<Section> {
    let statuses = plan.status(indicators, facts, as_of);
    let of = |states: &[State]| statuses.iter().filter(|status| states.contains(&status.state)).collect::<Vec<_>>();
    let count = |state: State| of(&[state]).len();
    let counts: Vec<String> = State::ALL.into_iter().map(|state| format!("{}{}项", state.name(), count(state))).collect();
    let mut sections = vec![Section::new(
        "whole",
        "总体情况",
        vec![
            paragraph(format!(
                "《{}》（以下简称《规划》）自{}起实施，至{}结束。截至{}，《规划》确定的{}项目标中，{}。",
                plan.name,
                day(plan.start),
                day(plan.end),
                day(as_of),
                statuses.len(),
                counts.join("，")
            )),
            table(
                "目标状态",
                State::ALL.into_iter().map(|state| column(state.name(), TableKind::Number, 2)).collect(),
                vec![State::ALL.into_iter().map(|state| count(state).to_string()).collect()],
            ),
        ],
    )];
    for (id, name, states) in [
        ("behind", "未达目标和偏离年度目标的", &[State::Missed, State::OffPath][..]),
        ("well", "已实现和按年度目标推进的", &[State::Met, State::OnPath]),
        ("unknown", "暂不能评估的", &[State::CannotBeComputed]),
    ] {
        let those = of(states);
        let blocks = if those.is_empty() { vec![paragraph("无。".to_owned())] } else { vec![targets(name, &those, indicators)] };
        sections.push(Section::new(id, &format!("{name}目标（{}项）", those.len()), blocks));
    }
    sections.extend(after(plan, indicators, facts, as_of, &statuses));
    sections
}

/// What follows the targets.
fn after(plan: &Plan, indicators: &Indicators, facts: &Facts, as_of: Date, statuses: &[TargetStatus<'_>]) -> Vec<Section> {
    let mut sections = Vec::new();
    let revised: Vec<Vec<String>> = statuses
        .iter()
        .flat_map(|status| status.said_before.iter().map(move |said| (status, said)))
        .map(|(status, (on, value))| {
            let now = status.figure.as_ref().map_or_else(|| "–".to_owned(), |figure| figure.shown.to_string());
            vec![status.target.id.clone(), status.target.name.clone(), on.to_string(), value.to_string(), now]
        })
        .collect();
    if !revised.is_empty() {
        let columns = vec![
            column("目标", TableKind::Text, 2),
            column("名称", TableKind::Text, 6),
            column("原公布日期", TableKind::Date, 3),
            column("原数值", TableKind::Number, 2),
            column("更正后", TableKind::Number, 2),
        ];
        let text = "下列指标在公布之后因事实更正而改变，原数值一并列出。".to_owned();
        sections.push(Section::new("revised", "数据更正", vec![paragraph(text), table("数据更正", columns, revised)]));
    }
    let shortfalls = plan.shortfalls(indicators, as_of);
    if !shortfalls.is_empty() {
        let lines = shortfalls.iter().map(|shortfall| paragraph(format!("{}。", words::shortfall_line(shortfall, true)))).collect();
        sections.push(Section::new("shortfalls", "分解落实", lines));
    }
    let adjusted: Vec<Vec<String>> = statuses
        .iter()
        .flat_map(|status| status.former.iter().map(move |former| (status, former)))
        .map(|(status, (goal, adjustment))| {
            let was = goal.value.or(goal.drop_percent).map_or_else(|| "–".to_owned(), |value| value.normalize().to_string());
            vec![
                format!("{} {}", status.target.id, status.target.name),
                was,
                adjustment.decided_on.to_string(),
                adjustment.by.clone(),
                adjustment.document.clone(),
                adjustment.reason.clone(),
            ]
        })
        .collect();
    if !adjusted.is_empty() {
        let columns = vec![
            column("目标", TableKind::Text, 5),
            column("调整前", TableKind::Number, 2),
            column("调整日期", TableKind::Date, 3),
            column("批准机关", TableKind::Text, 3),
            column("文件", TableKind::Text, 3),
            column("理由", TableKind::Text, 4),
        ];
        sections.push(Section::new("adjusted", "目标调整", vec![table("目标调整", columns, adjusted)]));
    }
    sections.extend(history(plan, indicators, facts));
    sections
}

/// The figures that the plan itself prints, beside those reckoned from the facts.
fn history(plan: &Plan, indicators: &Indicators, facts: &Facts) -> Option<Section> {
    let history = plan.history(indicators, facts, plan.end);
    if history.figures.is_empty() && history.drops.is_empty() {
        return None;
    }
    let name = |id: &str| indicators.get(id).map_or_else(|| id.to_owned(), |i| format!("{}（{}）", i.name, i.unit_zh));
    let mut rows: Vec<Vec<String>> = history
        .figures
        .iter()
        .map(|(printed, value)| vec![name(&printed.indicator), printed.year.to_string(), printed.value.to_string(), number(*value)])
        .collect();
    rows.extend(history.drops.iter().map(|(printed, value)| {
        let name = indicators.get(&printed.indicator).map_or(printed.indicator.as_str(), |i| i.name.as_str());
        vec![format!("{name}降幅（%）"), format!("{}—{}", printed.from, printed.to), printed.percent.to_string(), number(*value)]
    }));
    let columns = vec![
        column("指标", TableKind::Text, 8),
        column("年度", TableKind::Text, 3),
        column("规划公布", TableKind::Number, 3),
        column("由事实计算", TableKind::Number, 3),
    ];
    let text = if history.is_same() {
        "《规划》公布的历史数字与由事实计算的结果逐项相同。"
    } else {
        "《规划》公布的历史数字与由事实计算的结果有出入，见下表。"
    };
    Some(Section::new("history", "规划公布的历史数字", vec![paragraph(text.to_owned()), table("历史数字核对", columns, rows)]))
}

fn targets(caption: &str, statuses: &[&TargetStatus<'_>], indicators: &Indicators) -> Block {
    let rows = statuses
        .iter()
        .map(|status| {
            let small = if status.figure.as_ref().is_some_and(|figure| figure.is_small) { "（例数少）" } else { "" };
            let figure = if status.target.indicator.is_some() {
                format!("{} {}{small}", words::against(status), words::unit(indicators, status, true))
            } else {
                "由人认定".to_owned()
            };
            vec![
                status.target.id.clone(),
                status.target.name.clone(),
                status.state.name().to_owned(),
                figure,
                words::sentence(indicators, &status.reason, true),
                status.target.owner.clone(),
                status.goal.deadline.to_string(),
            ]
        })
        .collect();
    let columns: Vec<TableColumn> = vec![
        column("编号", TableKind::Text, 2),
        column("目标", TableKind::Text, 6),
        column("状态", TableKind::Text, 3),
        column("数值和要求", TableKind::Text, 4),
        column("原因", TableKind::Text, 5),
        column("责任单位", TableKind::Text, 4),
        column("期限", TableKind::Date, 4),
    ];
    table(caption, columns, rows)
}

/// What the report says of how it was made.
pub fn notes(indicators: &Indicators, as_of: Date) -> Vec<String> {
    let small = indicators.small_count();
    vec![
        format!("注：各项数值均由登记的事实计算；{}之后才获知的不计。责任单位为推定的，以本级政府分工为准。", day(as_of)),
        format!("“例数少”：少于{}例，率的波动大（{}）。", small.below, small.source.standard),
    ]
}

fn day(day: Date) -> String {
    super::day_zh(day)
}

/// The report as a document.
pub fn document(plan: &Plan, indicators: &Indicators, facts: &Facts, as_of: Date, issuer: &str, is_demonstration: bool) -> Document {
    let mut notes = notes(indicators, as_of);
    if is_demonstration {
        notes.insert(0, super::DEMONSTRATION.to_owned());
    }
    super::document(issuer, title(plan, as_of), None, sections(plan, indicators, facts, as_of), notes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anlan_domain::decimal::Decimal;
    use anlan_domain::indicator::built_in;
    use anlan_domain::plan::Supplement;

    const PLAN: &str = include_str!("../../../../packs/region-yuxi/plan.toml");
    const FACTS: &str = include_str!("../../../../packs/demo/plan_facts.csv");
    const SUPPLEMENT: &str = include_str!("../../../../packs/demo/plan_supplement.toml");

    fn report(as_of: &str) -> Document {
        let indicators = built_in();
        let mut plan = Plan::parse(PLAN, indicators).unwrap();
        let mut facts = Facts::parse(FACTS, indicators).unwrap();
        plan.join(&Supplement::parse(SUPPLEMENT).unwrap(), &mut facts, indicators).unwrap();
        document(&plan, indicators, &facts, as_of.parse().unwrap(), "演示市安委会办公室", true)
    }

    fn rows<'a>(document: &'a Document, caption: &str) -> &'a [Vec<String>] {
        document.tables().find(|(name, ..)| *name == caption).map(|(.., rows)| rows).unwrap()
    }

    #[test]
    fn it_says_where_every_target_stands() {
        let middle = report("2013-12-31");
        assert!(middle.title.ends_with("中期评估报告"));
        assert_eq!(rows(&middle, "目标状态"), [["10", "24", "16", "2", "32"]]);
        let all: usize =
            ["未达目标和偏离年度目标的", "已实现和按年度目标推进的", "暂不能评估的"].iter().map(|c| rows(&middle, c).len()).sum();
        assert_eq!(all, 84);
        // The plan's own figures, number by number.
        let history = rows(&middle, "历史数字核对");
        let is_same = |row: &Vec<String>| row[2].parse::<Decimal>().unwrap() == row[3].parse::<Decimal>().unwrap();
        assert!(history.iter().all(is_same), "{history:?}");
        assert!(history.iter().any(|row| row[2] == "68.12"));
        assert_eq!(middle.check(), Ok(()));
        assert!(report("2015-12-31").title.ends_with("终期评估报告"));
    }
}
