//! The records that the demo begins with: invented people take the steps of `packs/demo/records.toml` one after another.
//!
//! Goes the way of everybody: what a register refuses, it refuses here too, and the demo does not start.

use std::collections::BTreeMap;

use anlan_app::clock::day_of;
use anlan_app::duty::{self, Pattern};
use anlan_app::error::AppError;
use anlan_app::record::{self, NewRecord};
use anlan_app::validate::Paging;
use anlan_app::{App, assessment, enterprise};
use anlan_domain::duty::{Desk, Part, time};
use anlan_domain::register::Owner;
use anlan_model::{Clock as _, EnterpriseId, RegionCode, Scope, UserId, Wgs84};
use anyhow::Context as _;
use serde::Deserialize;
use serde_json::{Map, Value};

const RECORDS: &str = include_str!("../../../packs/demo/records.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    enterprise: Sample,
    record: Vec<Record>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    code: String,
    name: String,
    region: String,
    sector: String,
    lon: f64,
    lat: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    kind: String,
    /// By which others name it.
    #[serde(default)]
    name: String,
    /// Of a division instead of the sample enterprise.
    #[serde(default)]
    region: Option<String>,
    acts: Vec<Act>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Act {
    #[serde(rename = "do")]
    transition: String,
    by: String,
    set: Map<String, Value>,
}

fn file() -> anyhow::Result<File> {
    toml::from_str(RECORDS).context("packs/demo/records.toml")
}

/// Makes the sample enterprise, or finds it from an earlier start; whether it is new.
pub async fn sample(app: &App) -> anyhow::Result<(EnterpriseId, bool)> {
    let Sample { code, name, region, sector, lon, lat } = file()?.enterprise;
    let everything = Scope::node();
    let filter = enterprise::EnterpriseFilter { q: Some(code.clone()), ..enterprise::EnterpriseFilter::default() };
    let found = enterprise::list(app, &everything, &filter, &Paging::all()).await?.items;
    if let Some(known) = found.into_iter().find(|view| view.row.enterprise.code == code) {
        return Ok((known.row.enterprise.id, false));
    }
    let region = RegionCode::new(&region).context("a division")?;
    let new = enterprise::NewEnterprise { code, name, region, sector, place: Wgs84::new(lon, lat) };
    Ok((enterprise::create(app, &everything, new).await?.id, true))
}

/// Takes every step, as the people of these scopes.
pub async fn play(app: &App, enterprise: EnterpriseId, people: &BTreeMap<String, Scope>) -> anyhow::Result<()> {
    let mut named: BTreeMap<String, String> = BTreeMap::new();
    for record in file()?.record {
        let region = record.region.as_deref().map(|code| RegionCode::new(code).context("a division")).transpose()?;
        let of = app.registers.load().kind(&record.kind).map_err(told)?.owner;
        let is_owned = region.is_none() && matches!(of, Owner::Enterprise | Owner::Either);
        let mut kept: Option<record::RecordRow> = None;
        for act in record.acts {
            let scope = people.get(&act.by).with_context(|| format!("nobody is called {}", act.by))?;
            let fields =
                act.set.into_iter().map(|(id, value)| Ok((id, filled(app, value, people, &named)?))).collect::<anyhow::Result<_>>()?;
            let taken = match &kept {
                None => {
                    let new = NewRecord {
                        enterprise: is_owned.then_some(enterprise),
                        region: region.clone(),
                        transition: act.transition.clone(),
                        fields,
                    };
                    record::create(app, scope, &record.kind, new).await
                }
                Some(row) => record::act(app, scope, &record.kind, row.id, &act.transition, row.revision, &fields).await,
            };
            kept = Some(taken.map_err(told).with_context(|| format!("{}: {}", record.kind, act.transition))?);
        }
        if let Some(row) = kept.filter(|_| !record.name.is_empty()) {
            named.insert(record.name, row.id.to_string());
        }
    }
    Ok(())
}

/// The invented facts and decisions behind the plan of the region, once.
pub async fn plan(app: &App) -> anyhow::Result<()> {
    let (facts, supplement) =
        (include_str!("../../../packs/demo/plan_facts.csv"), include_str!("../../../packs/demo/plan_supplement.toml"));
    anlan_app::plan::demonstrate(app, "yuxi-12th", facts, supplement).await.map_err(told)
}

/// Composes two documents: the plan's mid-term evaluation, issued, and a circular that waits to be.
pub async fn documents(app: &App, people: &BTreeMap<String, Scope>) -> anyhow::Result<()> {
    use anlan_app::document::{self, Asked};
    let who = |name: &str| people.get(name).with_context(|| format!("nobody is called {name}"));
    let (office, leader) = (who("legal")?, who("leader")?);
    let report = Asked {
        sort: "plan_evaluation".to_owned(),
        plan: "yuxi-12th".to_owned(),
        as_of: "2013-12-31".to_owned(),
        issuer: "演示市安全生产委员会办公室".to_owned(),
        ..Asked::default()
    };
    let circular = Asked {
        sort: "circular".to_owned(),
        region: "5304".to_owned(),
        title: "关于做好岁末年初安全防范工作的通报（演示）".to_owned(),
        addressee: "各县（市、区）安全生产委员会".to_owned(),
        issuer: "演示市安全生产委员会办公室".to_owned(),
        text: "本文为演示内容，单位、数字均为虚构。\n一、总体情况\n近期部分单位隐患整改进度偏慢。\n二、工作要求\n（一）压实责任\n各地对逾期未销号的重大事故隐患逐条核查，明确责任人和期限。\n（二）加强值守\n严格执行领导带班和二十四小时值班制度。".to_owned(),
        ..Asked::default()
    };
    for (asked, is_issued) in [(report, true), (circular, false)] {
        let composed = document::preview(app, office, &asked).await.map_err(told)?;
        let row = document::compose(app, office, &asked, &composed.digest).await.map_err(told)?;
        if is_issued {
            document::issue(app, leader, row.id, row.revision, &composed.digest).await.map_err(told)?;
        }
    }
    Ok(())
}

/// Units whose items were scored in the assessment that is still open.
const SCORED: usize = 3;

/// The invented assessments: of the year before, frozen by the leader; of this year, begun and scored in part.
pub async fn assessments(app: &App, people: &BTreeMap<String, Scope>) -> anyhow::Result<()> {
    let scope = |name: &str| people.get(name).with_context(|| format!("nobody is called {name}"));
    let (supervisor, leader) = (scope("legal")?, scope("leader")?);
    let letters =
        record::list(app, supervisor, "responsibility_letter", &record::RecordFilter::default(), &Paging::all()).await.map_err(told)?;
    let letter = letters.items.last().context("a letter")?.id;
    for year in [app.today().year() - 1, app.today().year()] {
        let is_over = year < app.today().year();
        let region = RegionCode::new("5304").context("a division")?;
        let id = assessment::begin(app, supervisor, year, region).await.map_err(told)?.id;
        let view = assessment::view(app, supervisor, &id).await.map_err(told)?;
        let (mut revision, n) = (view.row.revision, if is_over { usize::MAX } else { SCORED });
        for (place, unit) in view.snapshot.units.iter().enumerate().take(n) {
            for line in unit.lines.iter().filter(|line| line.points.is_none()) {
                let most: i64 = line.of.parse().with_context(|| format!("points of {}", line.item))?;
                let new = assessment::NewScore {
                    points: (most - i64::try_from(place % 4)?).to_string(),
                    reason: "演示数据（虚构）：查阅台账和会议记录".to_owned(),
                    evidence: vec![("responsibility_letter".to_owned(), letter)],
                };
                assessment::score(app, supervisor, &id, revision, &unit.region, &line.item, new).await.map_err(told)?;
                assessment::confirm(app, leader, &id, revision + 1, &unit.region, &line.item).await.map_err(told)?;
                revision += 2;
            }
        }
        if is_over {
            let digest = assessment::view(app, leader, &id).await.map_err(told)?.digest;
            assessment::freeze(app, leader, &id, revision, &digest).await.map_err(told)?;
        }
    }
    Ok(())
}

/// Days of the invented rota: fewer than are looked ahead, so that hours without anybody show too.
const ROTA_DAYS: i64 = 10;

/// Who is on duty where, in which turn, in which shifts of a day.
struct Rota {
    region: &'static str,
    desk: Desk,
    people: &'static [&'static str],
    parts: &'static [(&'static str, &'static str)],
}

const HALVES: &[(&str, &str)] = &[("08:00", "20:00"), ("20:00", "08:00")];
const ROTAS: &[Rota] = &[
    Rota { region: "5304", desk: Desk::Watch, people: &["duty", "admin"], parts: HALVES },
    Rota { region: "5304", desk: Desk::Leader, people: &["leader"], parts: &[("08:00", "08:00")] },
    Rota { region: "530402", desk: Desk::Watch, people: &["hongta", "inspector"], parts: HALVES },
];

/// Makes the rotas, from yesterday on.
pub async fn rota(app: &App, people: &BTreeMap<String, Scope>) -> anyhow::Result<()> {
    let by = people.get("admin").context("nobody is called admin")?;
    let day = |days: i64| day_of(app.clock.now().plus_us(days * 86_400_000_000));
    for Rota { region, desk, people: names, parts } in ROTAS {
        let who = |name: &&str| {
            people.get(*name).and_then(|scope| scope.user).map(|id| (id, None)).with_context(|| format!("nobody is called {name}"))
        };
        let part = |(from, to): &(&str, &str)| Some(Part { from: time(from)?, to: time(to)? });
        let pattern = Pattern {
            region: RegionCode::new(region).context("a division")?,
            desk: *desk,
            people: names.iter().map(who).collect::<anyhow::Result<_>>()?,
            parts: parts.iter().filter_map(part).collect(),
            first: day(-1),
            last: day(ROTA_DAYS),
            phone: "0877-0000000".to_owned(),
            note: String::new(),
        };
        duty::repeat(app, by, pattern, "演示数据").await.map_err(told).with_context(|| format!("the rota of {region}"))?;
    }
    Ok(())
}

fn told(error: AppError) -> anyhow::Error {
    anyhow::anyhow!("refused: {:?}", error.problems)
}

/// A value with its day, person or record filled in.
fn filled(app: &App, value: Value, people: &BTreeMap<String, Scope>, named: &BTreeMap<String, String>) -> anyhow::Result<Value> {
    let text = match value {
        Value::String(text) => text,
        Value::Array(rows) => {
            return rows.into_iter().map(|row| filled(app, row, people, named)).collect::<anyhow::Result<_>>().map(Value::Array);
        }
        Value::Object(cells) => {
            let filled = cells.into_iter().map(|(id, cell)| Ok((id, filled(app, cell, people, named)?)));
            return filled.collect::<anyhow::Result<_>>().map(Value::Object);
        }
        other => return Ok(other),
    };
    if text == "this_year" {
        return Ok(Value::from(app.today().year()));
    }
    if let Some(name) = text.strip_prefix('@') {
        let id: Option<UserId> = people.get(name).and_then(|scope| scope.user);
        return Ok(Value::String(id.with_context(|| format!("nobody is called {name}"))?.to_string()));
    }
    if let Some(name) = text.strip_prefix('#') {
        return Ok(Value::String(named.get(name).with_context(|| format!("no record is called {name}"))?.clone()));
    }
    let Some(rest) = text.strip_prefix("today") else { return Ok(Value::String(text)) };
    let (rest, time) = rest.split_once('T').map_or((rest, String::new()), |(rest, time)| (rest, format!("T{time}")));
    let days: i64 = if rest.is_empty() { 0 } else { rest.parse().with_context(|| format!("{text}: no day"))? };
    Ok(Value::String(format!("{}{time}", day_of(app.clock.now().plus_us(days * 86_400_000_000)))))
}
