//! Monthly reports (月报): alarms, and hidden dangers, of a month and a territory, under the scope of who composes them.

use std::collections::{BTreeMap, BTreeSet};

use anlan_documents::TableKind;
use anlan_domain::register::Value;
use anlan_model::{AlarmState, Level, Permission, RegionCode, Scope, Timestamp};
use anlan_store::{AlarmFilter, AlarmGroup, RecordFilter};
use jiff::ToSpan as _;
use jiff::civil::Date;

use super::{Section, column, day_zh, paragraph, table};
use crate::error::AppError;
use crate::point::off_thread;
use crate::validate::Paging;
use crate::{App, clock, record};

/// Enterprises and records that are named.
const NAMED: u32 = 20;
/// The register of hidden dangers.
const DANGER: &str = "hidden_danger";
/// Records that are looked at for one report.
const RECORDS_MAX: usize = 200_000;

/// A calendar month, Beijing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Month {
    /// Its first day.
    pub first: Date,
    /// Its last day.
    pub last: Date,
}

impl Month {
    /// Reads `2026-11`.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 7 {
            return None;
        }
        let first: Date = format!("{text}-01").parse().ok()?;
        Some(Self { first, last: first.last_of_month() })
    }

    /// 2026年11月.
    pub fn name(self) -> String {
        format!("{}年{}月", self.first.year(), self.first.month())
    }

    fn span(self) -> (Timestamp, Timestamp) {
        (clock::day_bounds(clock::number_of(self.first)).0, clock::day_bounds(clock::number_of(self.last)).1)
    }
}

/// Names of the divisions that rows fall into: the county of each, or the division itself where it is no deeper.
fn county_of(region: Option<&RegionCode>, whole: &RegionCode) -> String {
    let Some(region) = region else { return String::new() };
    // Province 2, city 4, county 6, township 9, village 12 digits.
    let depth = [4, 6, 9, 12].into_iter().find(|depth| *depth > whole.as_str().len()).unwrap_or(12).min(region.as_str().len());
    region.as_str().get(..depth).unwrap_or(region.as_str()).to_owned()
}

fn name_of(app: &App, code: &str) -> String {
    if code.is_empty() {
        return "未登记区划".to_owned();
    }
    RegionCode::new(code).map_or_else(|| code.to_owned(), |code| super::name_of(app, &code))
}

/// Alarms raised in the month.
///
/// # Errors
/// No permission, the store's.
pub async fn alarms(app: &App, scope: &Scope, region: &RegionCode, month: Month) -> Result<(String, Vec<Section>), AppError> {
    let view = scope.with(Permission::View)?;
    let (from, to) = month.span();
    let filter = AlarmFilter { region: Some(region.clone()), from: Some(from), to: Some(to), ..AlarmFilter::default() };
    let groups = app.store.alarm_groups(&view, &filter).await?;
    let enterprises = app.store.alarms_by_enterprise(&view, &filter, NAMED).await?;
    let before = month.first.checked_sub(1.day()).unwrap_or(month.first);
    let before = Month { first: before.first_of_month(), last: before };
    let (from, to) = before.span();
    let last = AlarmFilter { from: Some(from), to: Some(to), ..filter.clone() };
    let earlier: i64 = live(&app.store.alarm_groups(&view, &last).await?).map(|group| group.n).sum();
    let title = format!("{}{}监测预警报警月报", name_of(app, region.as_str()), month.name());
    Ok((title, alarm_sections(app, region, month, &groups, earlier, &enterprises)))
}

fn live(groups: &[AlarmGroup]) -> impl Iterator<Item = &AlarmGroup> {
    groups.iter().filter(|group| !group.historic)
}

fn alarm_sections(
    app: &App,
    region: &RegionCode,
    month: Month,
    groups: &[AlarmGroup],
    earlier: i64,
    enterprises: &[(String, i64, i64, i64)],
) -> Vec<Section> {
    let of = |test: &dyn Fn(&AlarmGroup) -> bool| -> i64 { live(groups).filter(|group| test(group)).map(|group| group.n).sum() };
    let all = of(&|_| true);
    let open = of(&|group| group.state != AlarmState::Closed);
    let unanswered = of(&|group| group.is_unanswered);
    let historic: i64 = groups.iter().filter(|group| group.historic).map(|group| group.n).sum();
    // A month that goes on is not compared with a whole one.
    let changed = match all - earlier {
        _ if month.last >= app.today() => "本月尚未结束，不与上月相比".to_owned(),
        0 => format!("与上月（{earlier}次）持平"),
        more if more > 0 => format!("比上月（{earlier}次）增加{more}次"),
        fewer => format!("比上月（{earlier}次）减少{}次", -fewer),
    };
    let mut whole = format!(
        "{}，共发生报警{all}次，{changed}。到成稿时，未关闭{open}次，其中无人确认{unanswered}次（以本级的处置为准；已自行恢复而无人确认的计入）。",
        month.name()
    );
    if historic > 0 {
        whole.push_str(&format!("另有补传数据形成的历史报警{historic}次，不计入上数。"));
    }
    let mut columns = vec![column("级别", TableKind::Text, 3)];
    columns.extend(["报警", "已关闭", "未关闭", "无人确认"].map(|name| column(name, TableKind::Number, 2)));
    let figures = |test: &dyn Fn(&AlarmGroup) -> bool| {
        let n = of(test);
        let closed = of(&|group| test(group) && group.state == AlarmState::Closed);
        let raised = of(&|group| test(group) && group.is_unanswered);
        [n, closed, n - closed, raised].map(|n| n.to_string())
    };
    let levels = Level::ALL.into_iter().map(|level| {
        let mut row = vec![level_name(level).to_owned()];
        row.extend(figures(&|group| group.level == level));
        row
    });
    let mut sections = vec![Section::new("whole", "总体情况", vec![paragraph(whole), table("按级别", columns.clone(), levels.collect())])];
    let counties: BTreeSet<String> = live(groups).map(|group| county_of(group.region.as_ref(), region)).collect();
    if !counties.is_empty() {
        columns[0] = column("区划", TableKind::Text, 3);
        let rows = counties.iter().map(|county| {
            let mut row = vec![name_of(app, county)];
            row.extend(figures(&|group| county_of(group.region.as_ref(), region) == *county));
            row
        });
        sections.push(Section::new("regions", "按区划", vec![table("按区划", columns, rows.collect())]));
    }
    if !enterprises.is_empty() {
        let columns = vec![
            column("企业", TableKind::Text, 6),
            column("报警", TableKind::Number, 2),
            column("其中红色、橙色", TableKind::Number, 3),
            column("未关闭", TableKind::Number, 2),
        ];
        let rows = enterprises.iter().map(|(name, n, upper, open)| vec![name.clone(), n.to_string(), upper.to_string(), open.to_string()]);
        let text = format!("报警最多的企业如下（至多列{NAMED}家，含补传的历史报警）。");
        sections.push(Section::new(
            "enterprises",
            "报警较多的企业",
            vec![paragraph(text), table("报警较多的企业", columns, rows.collect())],
        ));
    }
    sections
}

const fn level_name(level: Level) -> &'static str {
    match level {
        Level::Red => "红色（一级）",
        Level::Orange => "橙色（二级）",
        Level::Yellow => "黄色（三级）",
        Level::Blue => "蓝色（四级）",
    }
}

/// One hidden danger, as far as the report counts it.
struct Danger {
    county: String,
    is_major: bool,
    found_on: Date,
    closed_on: Option<Date>,
    due_on: Option<Date>,
    owner: String,
    /// Of major ones, which are named.
    number: String,
    title: String,
}

impl Danger {
    fn is_open_on(&self, day: Date) -> bool {
        self.found_on <= day && self.closed_on.is_none_or(|closed| closed > day)
    }

    fn is_overdue_on(&self, day: Date) -> bool {
        self.is_open_on(day) && self.due_on.is_some_and(|due| due < day)
    }

    fn is_closed_in(&self, month: Month) -> bool {
        self.closed_on.is_some_and(|on| (month.first..=month.last).contains(&on))
    }
}

/// Hidden dangers found, removed and overdue in the month.
///
/// # Errors
/// No permission, no such register, more records than are looked at, the store's.
pub async fn hidden_dangers(app: &App, scope: &Scope, region: &RegionCode, month: Month) -> Result<(String, Vec<Section>), AppError> {
    let view = scope.with(Permission::View)?;
    let kind = app.registers.load().kind(DANGER)?;
    let filter = record::of_kind(&kind, &RecordFilter { region: Some(region.clone()), ..RecordFilter::default() });
    let mut dangers = Vec::new();
    let mut paging = Paging { cursor: None, limit: 500 };
    loop {
        let page = app.store.records(&view, DANGER, &filter, &paging).await?;
        for row in page.items {
            let record = record::read(&kind, &row)?;
            let day = |field: &str| match record.fields.get(field) {
                Some(Value::Date(date)) => Some(*date),
                _ => None,
            };
            // What was found to be none counts nowhere: carried over, found and closed add up to what is open.
            if row.state == "dismissed" {
                continue;
            }
            let is_end = kind.state(&row.state).is_some_and(|state| state.is_end);
            let is_major = record.text("level") == Some("major");
            dangers.push(Danger {
                county: county_of(row.region.as_ref(), region),
                is_major,
                found_on: day("found_on").unwrap_or_else(|| clock::day_of(row.created_at)),
                closed_on: is_end.then_some(record.entered_on),
                // The day by which it is to be removed; the deadlines of single steps are another matter.
                due_on: day("due_on"),
                owner: row.enterprise_name.or(row.region_name).unwrap_or_default(),
                number: if is_major { row.number } else { String::new() },
                title: if is_major { row.title.chars().take(60).collect() } else { String::new() },
            });
        }
        if dangers.len() > RECORDS_MAX {
            return Err(AppError::invalid("document.too_many", "region").with("max", RECORDS_MAX));
        }
        let Some(next) = page.next else { break };
        paging.cursor = Some(next);
    }
    let title = format!("{}{}隐患排查治理月报", name_of(app, region.as_str()), month.name());
    let counties: BTreeSet<String> = dangers.iter().map(|danger| danger.county.clone()).collect();
    let names: BTreeMap<String, String> = counties.into_iter().map(|code| (code.clone(), name_of(app, &code))).collect();
    let today = app.today();
    let sections = off_thread(move || danger_sections(&names, today, month, &dangers)).await?;
    Ok((title, sections))
}

fn danger_sections(names: &BTreeMap<String, String>, today: Date, month: Month, dangers: &[Danger]) -> Vec<Section> {
    let end = month.last.min(today);
    let before = month.first.checked_sub(1.day()).unwrap_or(month.first);
    let count = |test: &dyn Fn(&Danger) -> bool| dangers.iter().filter(|danger| test(danger)).count();
    let figures = |test: &dyn Fn(&Danger) -> bool| -> Vec<String> {
        [
            count(&|d| test(d) && d.is_open_on(before)),
            count(&|d| test(d) && (month.first..=end).contains(&d.found_on)),
            count(&|d| test(d) && d.is_closed_in(month)),
            count(&|d| test(d) && d.is_open_on(end)),
            count(&|d| test(d) && d.is_overdue_on(end)),
        ]
        .map(|n| n.to_string())
        .to_vec()
    };
    let all = figures(&|_| true);
    let whole = format!(
        "{}，上月结转未销号隐患{}条，本月新排查{}条，销号{}条；月末未销号{}条，其中逾期{}条。",
        month.name(),
        all[0],
        all[1],
        all[2],
        all[3],
        all[4]
    );
    let heads = |first: &str| {
        let mut columns = vec![column(first, TableKind::Text, 3)];
        columns.extend(["上月结转", "本月排查", "本月销号", "月末未销号", "其中逾期"].map(|name| column(name, TableKind::Number, 2)));
        columns
    };
    let levels: Vec<Vec<String>> = [("重大事故隐患", true), ("一般事故隐患和待定级", false)]
        .into_iter()
        .map(|(name, is_major)| {
            let mut row = vec![name.to_owned()];
            row.extend(figures(&|danger| danger.is_major == is_major));
            row
        })
        .collect();
    let mut sections = vec![Section::new("whole", "总体情况", vec![paragraph(whole), table("按级别", heads("级别"), levels)])];
    if !names.is_empty() {
        let rows: Vec<Vec<String>> = names
            .iter()
            .map(|(county, name)| {
                let mut row = vec![name.clone()];
                row.extend(figures(&|danger| danger.county == *county));
                row
            })
            .collect();
        sections.push(Section::new("regions", "按区划", vec![table("按区划", heads("区划"), rows)]));
    }
    let mut major: Vec<&Danger> = dangers.iter().filter(|danger| danger.is_major && danger.is_open_on(end)).collect();
    major.sort_by_key(|danger| (danger.due_on.unwrap_or(Date::MAX), danger.number.clone()));
    let rows: Vec<Vec<String>> = major
        .iter()
        .map(|danger| {
            let over = danger.due_on.filter(|due| *due < end).and_then(|due| end.since(due).ok()).map_or(0, |span| span.get_days());
            vec![
                danger.number.clone(),
                danger.owner.clone(),
                danger.title.clone(),
                danger.due_on.map_or_else(String::new, |due| due.to_string()),
                over.to_string(),
            ]
        })
        .collect();
    let blocks = if rows.is_empty() {
        vec![paragraph(format!("到{}，没有未销号的重大事故隐患。", day_zh(end)))]
    } else {
        let columns = vec![
            column("编号", TableKind::Text, 4),
            column("单位", TableKind::Text, 5),
            column("隐患", TableKind::Text, 6),
            column("期限", TableKind::Date, 3),
            column("超期（天）", TableKind::Number, 2),
        ];
        vec![table("未销号的重大事故隐患", columns, rows)]
    };
    sections.push(Section::new("major", "未销号的重大事故隐患", blocks));
    let mut slow: BTreeMap<String, usize> = BTreeMap::new();
    for danger in dangers.iter().filter(|danger| danger.is_overdue_on(end)) {
        *slow.entry(danger.owner.clone()).or_default() += 1;
    }
    let mut slow: Vec<(String, usize)> = slow.into_iter().collect();
    slow.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    slow.truncate(usize::try_from(NAMED).unwrap_or(20));
    if !slow.is_empty() {
        let columns = vec![column("单位", TableKind::Text, 8), column("逾期未销号", TableKind::Number, 2)];
        let rows = slow.into_iter().map(|(name, n)| vec![name, n.to_string()]).collect();
        sections.push(Section::new("slow", "逾期较多的单位", vec![table("逾期较多的单位", columns, rows)]));
    }
    sections
}
