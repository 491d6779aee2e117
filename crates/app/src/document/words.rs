//! How a plan stands, in words: for documents and the command line.

use anlan_domain::indicator::{Indicators, Missing};
use anlan_domain::plan::{Reason, Shortfall, State, TargetStatus};

/// The state as a person reads it.
pub fn state_name(state: State, zh: bool) -> &'static str {
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
pub fn sentence(indicators: &Indicators, reason: &Reason, zh: bool) -> String {
    let source = |id: &str| indicators.source(id).map_or_else(|| id.to_owned(), |s| if zh { s.name.clone() } else { s.name_en.clone() });
    let indicator = |id: &str| indicators.get(id).map_or_else(|| id.to_owned(), |i| if zh { i.name.clone() } else { i.name_en.clone() });
    match (reason, zh) {
        (Reason::Reached, true) => "达到目标".into(),
        (Reason::Reached, false) => "reaches the goal".into(),
        (Reason::ReachedSoFar, true) => "目前达到，以期限为准".into(),
        (Reason::ReachedSoFar, false) => "so far; the deadline decides".into(),
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
        (Reason::NotDue, true) => "未到期，尚无可比的年度目标或新数".into(),
        (Reason::NotDue, false) => "not due, and no path or newer figure to compare".into(),
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
            (Missing::DaysDiffer { source: id, on, below, below_on }, true) => {
                format!("分子分母不是同一天的：{} {on}，{} {below_on}", source(id), source(below))
            }
            (Missing::DaysDiffer { source: id, on, below, below_on }, false) => {
                format!("part and whole are of different days: {}, {on}; {}, {below_on}", source(id), source(below))
            }
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
pub fn against(status: &TargetStatus<'_>) -> String {
    let figure = status.figure.as_ref().map_or_else(|| "–".to_owned(), |figure| figure.shown.to_string());
    match status.goal_value {
        Some(goal) => format!("{figure} {} {}", status.target.direction.as_str().replace("<=", "≤").replace(">=", "≥"), goal.normalize()),
        None => figure,
    }
}

/// The unit of figure and goal.
pub fn unit(indicators: &Indicators, status: &TargetStatus<'_>, zh: bool) -> String {
    let indicator = status.target.indicator.as_ref().and_then(|id| indicators.get(id));
    indicator.map_or_else(String::new, |i| if zh { i.unit_zh.clone() } else { i.unit.clone() })
}

/// A decomposition that falls short, as a person reads it.
pub fn shortfall_line(shortfall: &Shortfall, zh: bool) -> String {
    match (shortfall, zh) {
        (_, false) => format!("the parts fall short: {shortfall}"),
        (Shortfall::Sum { target, parts, whole }, true) => format!("分解不足：{target} 各县（区）合计 {parts}，全市 {whole}"),
        (Shortfall::Weaker { target, region, part, whole }, true) => {
            format!("分解不足：{target} {region} 应为 {part}，低于全市要求的 {whole}")
        }
    }
}
