//! `anlan accident`: of which class an accident (生产安全事故) is by Order 493, and how later casualties move it. Nothing is kept.

use std::io::Write as _;
use std::process::ExitCode;

use anlan_domain::accident::{Accidents, Classified, Criterion, Harm, Judged, Nature, Report, built_in};
use anlan_domain::decimal;
use jiff::civil::Date;
use rust_decimal::Decimal;
use serde_json::{Value, json};

/// What to do with accidents.
#[derive(clap::Subcommand)]
pub enum AccidentCommand {
    /// Classify an accident by deaths, serious injuries and direct loss (生产安全事故报告和调查处理条例, art. 3): which class, by which number and clause.
    ///
    /// With `--happened-on` and `--later`, how the class went: casualties count within 30 days, of road traffic and fire within 7.
    Classify(ClassifyArgs),
}

/// Arguments of `classify`.
#[derive(clap::Args)]
pub struct ClassifyArgs {
    /// People who died.
    #[arg(long, default_value_t = 0)]
    deaths: u32,
    /// People seriously injured, acute industrial poisoning among them.
    #[arg(long, default_value_t = 0)]
    serious: u32,
    /// Direct loss in 万元 (10,000 yuan); left out = not known yet.
    #[arg(long, value_name = "WAN_YUAN", value_parser = loss)]
    loss_wan: Option<Decimal>,
    /// The day of the accident, Beijing.
    #[arg(long, value_name = "DATE")]
    happened_on: Option<Date>,
    /// Which window holds for later casualties: `general`, `road` or `fire`.
    #[arg(long, default_value = "general", value_parser = nature)]
    nature: Nature,
    /// Totals as they became on a later day, `DATE:DEATHS[:SERIOUS[:WAN_YUAN]]`; may stand several times. What is left out stays as last known.
    #[arg(long, value_name = "DATE:DEATHS[:SERIOUS[:WAN_YUAN]]", value_parser = later, requires = "happened_on")]
    later: Vec<Later>,
    /// One JSON object instead of lines.
    #[arg(long)]
    json: bool,
    /// Language of the lines: `zh` or `en`.
    #[arg(long, default_value = "zh", value_parser = ["zh", "en"])]
    lang: String,
}

/// What `--later` says; `None` = as last known.
#[derive(Clone, Copy)]
struct Later {
    on: Date,
    deaths: u32,
    serious_injuries: Option<u32>,
    direct_loss_wan_yuan: Option<Decimal>,
}

/// Digits of a loss in 万元 with its six places.
const LOSS_DIGITS_MAX: u32 = 16;

fn loss(text: &str) -> Result<Decimal, String> {
    decimal::parse(text, LOSS_DIGITS_MAX).ok_or_else(|| "is no amount such as 120 or 999.5".to_owned())
}

fn nature(text: &str) -> Result<Nature, String> {
    match text {
        "general" => Ok(Nature::General),
        "road" => Ok(Nature::Road),
        "fire" => Ok(Nature::Fire),
        _ => Err("is not general, road or fire".to_owned()),
    }
}

fn later(text: &str) -> Result<Later, String> {
    let mut parts = text.split(':');
    let on = parts.next().unwrap_or_default().parse().map_err(|_| "begins with no date such as 2026-03-05")?;
    let people = |text: &str| text.parse::<u32>().map_err(|_| format!("{text:?} is no number of people"));
    let deaths = people(parts.next().ok_or("names no deaths")?)?;
    // Empty between two colons is left out as well.
    let serious_injuries = parts.next().filter(|text| !text.is_empty()).map(people).transpose()?;
    let direct_loss_wan_yuan = parts.next().filter(|text| !text.is_empty()).map(loss).transpose()?;
    if parts.next().is_some() {
        return Err("has more than a day and three numbers".to_owned());
    }
    Ok(Later { on, deaths, serious_injuries, direct_loss_wan_yuan })
}

/// What was told, in order of its days; serious injuries that a later report leaves out are those last told. A loss left out stays by [`Accidents::trace`].
fn reports(happened_on: Date, first: Harm, later: &[Later]) -> anyhow::Result<Vec<Report>> {
    let mut later = later.to_vec();
    later.sort_by_key(|later| later.on);
    let mut reports = vec![Report { on: happened_on, told_on: None, harm: first }];
    let mut serious_injuries = first.serious_injuries;
    for Later { on, deaths, serious_injuries: told, direct_loss_wan_yuan } in later {
        anyhow::ensure!(on >= happened_on, "`--later` {on} is before `--happened-on` {happened_on}");
        serious_injuries = told.unwrap_or(serious_injuries);
        reports.push(Report { on, told_on: None, harm: Harm { deaths, serious_injuries, direct_loss_wan_yuan } });
    }
    Ok(reports)
}

/// Runs `accident`; exit code 1 for numbers that cannot be meant.
pub fn run(command: AccidentCommand) -> anyhow::Result<ExitCode> {
    let AccidentCommand::Classify(args) = command;
    let rows = built_in();
    let harm = Harm { deaths: args.deaths, serious_injuries: args.serious, direct_loss_wan_yuan: args.loss_wan };
    let steps = match args.happened_on {
        Some(day) => {
            let reports = reports(day, harm, &args.later)?;
            rows.trace(day, args.nature, &reports).map_err(|(i, error)| anyhow::anyhow!("report of {}: {error}", reports[i].on))?
        }
        None => Vec::new(),
    };
    // As it stands after the last report.
    let classified = match steps.last() {
        Some(step) => step.classified.clone(),
        None => rows.classify(&harm)?,
    };
    if args.json {
        let mut answer = told(&classified);
        if let Some(day) = args.happened_on {
            let days = rows.deadlines(day, args.nature);
            answer["casualties_until"] = json!(days.casualties_until.to_string());
            answer["window"] = json!(rows.window_source());
            answer["investigation_until"] = json!(days.investigation_until.to_string());
            answer["trace"] = steps
                .iter()
                .map(|step| {
                    let mut told = told(&step.classified);
                    told["on"] = json!(step.on.to_string());
                    told["told"] = of_harm(&step.told);
                    told["counted"] = of_harm(&step.counted);
                    told["is_behind_window"] = json!(step.is_behind_window);
                    told["was"] = json!(step.was.map(|class| &class.id));
                    told
                })
                .collect();
        }
        print(format!("{answer:#}"))?;
    } else {
        let zh = args.lang == "zh";
        let mut told = lines(&classified, zh);
        if let Some(day) = args.happened_on {
            told.extend(trace_lines(rows, day, args.nature, &steps, zh));
        }
        print(told.join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints to the end, or as far as somebody reads.
pub(crate) fn print(mut text: String) -> anyhow::Result<()> {
    text.push('\n');
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
}

fn of_harm(harm: &Harm) -> Value {
    json!({
        "deaths": harm.deaths, "serious_injuries": harm.serious_injuries,
        "direct_loss_wan_yuan": harm.direct_loss_wan_yuan.map(decimal::to_json),
    })
}

fn told(classified: &Classified<'_>) -> Value {
    let class = classified.class;
    json!({
        "class": {"level": class.level, "id": class.id, "name": class.name, "name_en": class.name_en},
        "by": classified.by,
        "criteria": classified.criteria,
        "report_up_to": class.report_up_to,
        "investigated_by": class.investigated_by,
        "reply_days": class.reply_days,
        "standard": class.source.standard,
        "clause": class.source.clause,
        "effective": class.source.effective,
        "confidence": class.source.confidence,
    })
}

/// How sure a source is, as a person reads it.
pub(crate) fn confidence_name(word: &str, zh: bool) -> &str {
    match word {
        "verified" if zh => "已核",
        "verified-secondary" if zh => "已核（转引）",
        "product" if zh => "本产品默认设定",
        "unverified" if zh => "待核",
        _ => word,
    }
}

/// The band of a number in words of the regulation.
fn band(judged: &Judged, zh: bool) -> String {
    let unit = match (judged.criterion, zh) {
        (Criterion::DirectLoss, true) => " 万元",
        (Criterion::DirectLoss, false) => " 万元 (10,000 yuan)",
        (_, true) => " 人",
        (_, false) => "",
    };
    let from = judged.from.filter(|from| !from.is_zero());
    match (from, judged.below, zh) {
        (Some(from), Some(below), true) => format!("{from}{unit}以上 {below}{unit}以下"),
        (Some(from), None, true) => format!("{from}{unit}以上"),
        (None, Some(below), true) => format!("{below}{unit}以下"),
        (Some(from), Some(below), false) => format!("from {from} and below {below}{unit}"),
        (Some(from), None, false) => format!("from {from}{unit}"),
        (None, Some(below), false) => format!("below {below}{unit}"),
        (None, None, _) => String::new(),
    }
}

fn lines(classified: &Classified<'_>, zh: bool) -> Vec<String> {
    let class = classified.class;
    let mut lines = vec![if zh {
        format!("{}（{} 级）", class.name, class.level)
    } else {
        format!("{} {} (level {})", class.name_en, class.name, class.level)
    }];
    for judged in &classified.criteria {
        let name = if zh { judged.criterion.name() } else { judged.criterion.name_en() };
        let mark = if classified.by.contains(&judged.criterion) { "*" } else { " " };
        lines.push(match judged.value {
            Some(value) => format!("{mark} {name} {value}: {}", band(judged, zh)),
            None if zh => format!("{mark} {name}: 未知，不参与定级"),
            None => format!("{mark} {name}: not known, makes no class"),
        });
    }
    let (standard, clause) = (&class.source.standard, &class.source.clause);
    let (up_to, by) = (class.report_up_to, class.investigated_by);
    if zh {
        lines.push("  * 为定级所依；“以上”含本数，“以下”不含本数".to_owned());
        let confidence = confidence_name(&class.source.confidence, zh);
        lines.push(format!("  依据：{standard}{clause}，{} 起施行，{confidence}", class.source.effective));
        lines.push(format!("  逐级上报至：{up_to}；负责调查：{by}人民政府"));
    } else {
        lines.push("  * made the class; a band includes its first number and not its last".to_owned());
        lines.push(format!("  by {standard}{clause}, in force {}, {}", class.source.effective, class.source.confidence));
        lines.push(format!("  reported up to: {}; investigated by: {}", up_to.as_str(), by.as_str()));
    }
    lines
}

fn trace_lines(rows: &Accidents, day: Date, nature: Nature, steps: &[anlan_domain::accident::Step<'_>], zh: bool) -> Vec<String> {
    let days = rows.deadlines(day, nature);
    let (until, investigation) = (days.casualties_until, days.investigation_until);
    let window = rows.window_source();
    let confidence = confidence_name(&window.confidence, zh);
    let mut lines = Vec::new();
    if zh {
        lines.push(format!("事故调查报告提交期限：{investigation}"));
        lines.push(format!("伤亡人数计至：{until}（{}，{confidence}）", window.line()));
    } else {
        lines.push(format!("report of the investigation until {investigation}"));
        lines.push(format!("casualties count until {until} ({}, {confidence})", window.line()));
    }
    if !window.note.is_empty() {
        lines.push(format!("  {}", window.note));
    }
    lines.push(if zh { "等级变化：".to_owned() } else { "how it went:".to_owned() });
    for step in steps {
        let name = |class: &anlan_domain::accident::Class| if zh { class.name.clone() } else { class.name_en.clone() };
        let by: Vec<_> = step.classified.by.iter().map(|c| if zh { c.name() } else { c.name_en() }).collect();
        let by = by.join(if zh { "、" } else { ", " });
        let mut line = format!("  {} {}", step.on, name(step.classified.class));
        if let Some(was) = step.was {
            line += &if zh { format!("（原为{}；{by}）", name(was)) } else { format!(" (was {}; {by})", name(was)) };
        }
        if step.is_behind_window {
            line += if zh { "，超出期限的伤亡人数不计" } else { ", casualties behind the window do not count" };
        }
        lines.push(line);
    }
    lines
}
