//! Section `records`: a register of 100,000 records on both databases, asked over HTTP by people who see all of it, a city, a county or one
//! enterprise; and a start with thirty packs.
//!
//! The records are written through the store, a thousand to a commit: what is measured is how they are found. Words, levels, people and owners are
//! spread unevenly on purpose: a search for what a third of the records say and one for what twenty say are different work.

use std::path::Path;
use std::time::Instant;

use anlan_domain::register::IndexEntry;
use anlan_model::{EnterpriseId, Scope, Timestamp, UserId};
use anlan_sim::rng::Rng;
use anlan_sim::workload::COUNTIES;
use anlan_store::testing::{Database, postgres_server};
use anlan_store::{RecordPut, Store};
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::node::{Node, PASSWORD};
use crate::report::{Goal, Line};
use crate::{Options, fresh_dir};

const ENTERPRISES: usize = 900;
/// Who is named as responsible.
const RESPONSIBLE: usize = 300;
/// Records of one commit.
const COMMIT: usize = 1_000;
/// How often every question is asked.
const REPEATS: usize = 8;
const GOAL_MS: f64 = 200.0;
const PACKS: usize = 30;
const PACKS_GOAL_S: f64 = 2.0;
const KIND: &str = "hidden_danger";

const WHERE: [&str; 12] =
    ["罐区", "二车间", "配电室", "锅炉房", "原料仓库", "装卸台", "循环水站", "中控室", "污水池", "成品库", "空压站", "化验室"];
const WHAT: [&str; 16] = [
    "压力表",
    "安全阀",
    "可燃气体探测器",
    "灭火器",
    "应急照明",
    "配电箱",
    "防护栏",
    "静电接地",
    "呼吸阀",
    "联锁系统",
    "消防通道",
    "警示标志",
    "洗眼器",
    "防爆灯具",
    "液位计",
    "电缆桥架",
];
const FAULT: [&str; 12] =
    ["超期未检", "缺失", "损坏", "未投用", "被堵塞", "锈蚀严重", "接线松动", "泄漏", "未接地", "参数设置错误", "标识不清", "无操作规程"];

/// Of `n`, the first far more often than the last.
fn skewed(random: &mut Rng, n: usize) -> usize {
    (random.unit().powi(3) * n as f64) as usize
}

fn day(days: i64) -> String {
    // 2023-12-31 and so many days; in bounds for any register.
    Timestamp::from_secs(1_703_980_800 + days * 86_400).to_string()[..10].to_owned()
}

fn record(n: usize, of: usize, random: &mut Rng) -> RecordPut {
    let age = n as f64 / of as f64;
    let found = (age * 1_000.0) as i64;
    let due = found + 5 + random.below(60) as i64;
    let pick = |words: &[&'static str], random: &mut Rng| words[skewed(random, words.len())];
    let (place, what, fault) = (pick(&WHERE, random), pick(&WHAT, random), pick(&FAULT, random));
    let rare = if random.below(5_000) == 0 { "氟化氢" } else { "" };
    let description = format!("{place}{what}{rare}{fault}，编号{:04}", random.below(10_000));
    // Nine of ten are closed; what is young is open.
    let is_open = age > 0.9;
    let state = if !is_open { "closed" } else { ["found", "rated", "treating", "submitted"][random.below(4)] };
    let level = if random.below(20) == 0 { "major" } else { "general" };
    let responsible = skewed(random, RESPONSIBLE) + 1_000;
    let text = |field: &str, text: String| IndexEntry { field: field.to_owned(), text: Some(text), number: None };
    let fields = json!({
        "description": description, "place": place, "found_on": day(found), "source": "condition", "found_by": "self", "level": level,
        "responsible": responsible.to_string(), "due_on": day(due), "measures": format!("由设备部门更换{what}，完成前派人值守，每班检查一次并记录"),
        "basis": "GB 50160-2008 4.2.12",
    });
    let acts: Vec<Value> = ["report", "rate", "assign"].iter().map(|t| json!({"transition": t, "by": "1", "on": day(found)})).collect();
    RecordPut {
        number: format!("YH-530402-2026-{n:06}"),
        title: description.clone(),
        state: state.to_owned(),
        is_open,
        due_on: (state == "treating").then(|| day(due)),
        remind_on: None,
        escalated: 0,
        key: None,
        tasks: if is_open { vec!["safety_manager".to_owned(), "supervisor".to_owned()] } else { Vec::new() },
        task_on: None,
        task_user: (state == "treating").then(|| UserId::new(responsible as i64)),
        texts: vec![format!("YH-530402-2026-{n:06}"), description, place.to_owned()],
        index: vec![
            text("level", level.to_owned()),
            text("source", "condition".to_owned()),
            text("found_by", "self".to_owned()),
            text("found_on", day(found)),
            text("due_on", day(due)),
            text("responsible", responsible.to_string()),
        ],
        body: json!({"acts": acts, "entered_on": day(found), "fields": fields}),
    }
}

/// Writes `n` records behind the node's back, as it would itself.
async fn fill(url: &str, enterprises: &[EnterpriseId], n: usize, seed: u64) -> anyhow::Result<()> {
    let (store, node, mut random) = (Store::open(url).await?, Scope::node(), Rng::named(seed, "records"));
    let mut owners = Vec::with_capacity(enterprises.len());
    for id in enterprises {
        owners.push(store.record_owner(&node, *id).await?);
    }
    for first in (0..n).step_by(COMMIT) {
        let mut change = store.change_records(&node, Timestamp::from_secs(1_795_400_000)).await?;
        for i in first..(first + COMMIT).min(n) {
            let owner = &owners[skewed(&mut random, owners.len())];
            change.create(KIND, owner, None, &record(i, n, &mut random), json!({"transition": "report"})).await?;
        }
        change.commit().await?;
    }
    store.close().await;
    Ok(())
}

/// Somebody who asks.
struct Asker {
    name: &'static str,
    token: String,
}

/// A question: what it is a sample of, and its query string.
const QUESTIONS: [(&str, &str); 31] = [
    ("list", ""),
    ("list", "limit=50"),
    ("list", "state=treating"),
    ("list", "open=true"),
    ("list", "open=false"),
    ("list", "overdue=true"),
    ("list", "region=530402"),
    ("list", "region=530481"),
    ("list", "mine=true"),
    ("filter", "f.level=major"),
    ("filter", "f.level=general"),
    ("filter", "f.level=major&state=submitted"),
    ("filter", "f.responsible=1001"),
    ("filter", "f.responsible=1299"),
    ("filter", "f.responsible=77"),
    ("filter", "f.found_on.from=2024-02-01&f.found_on.to=2024-02-03"),
    ("filter", "f.due_on.from=2024-01-01&f.level=major"),
    ("filter", "f.found_by=complaint"),
    // Two characters: in a third of the records, in some, in twenty, in none; of the enterprise's name; two words.
    ("search", "q=罐区"),
    ("search", "q=液位"),
    ("search", "q=电缆"),
    ("search", "q=氟化"),
    ("search", "q=龙凤"),
    ("search", "q=有限"),
    ("search", "q=罐区 泄漏"),
    ("search", "q=氟化 泄漏"),
    ("search", "q=泄漏&f.level=major"),
    // And one, three and more.
    ("search", "q=氟"),
    ("search", "q=锅炉房"),
    ("search", "q=罐区压力表氟化氢"),
    ("search", "q=第088化工"),
];

/// A query string as it is sent.
fn encoded(query: &str) -> String {
    let part = |b: u8| if b.is_ascii() && b != b' ' { char::from(b).to_string() } else { format!("%{b:02X}") };
    query.bytes().map(part).collect()
}

/// Nearest rank.
fn p95(mut ms: Vec<f64>) -> f64 {
    ms.sort_by(f64::total_cmp);
    ms.get((ms.len() as f64 * 0.95).ceil() as usize - 1).copied().unwrap_or_default()
}

fn people(node: &Node, enterprise: &str) -> anyhow::Result<Vec<Asker>> {
    let api = node.api()?;
    let grants = [
        ("node", json!({"role": "supervisor"})),
        ("city", json!({"role": "supervisor", "region": "5304"})),
        ("county", json!({"role": "supervisor", "region": COUNTIES[0]})),
        ("small_county", json!({"role": "supervisor", "region": COUNTIES[8]})),
        ("enterprise", json!({"role": "safety_manager", "enterprise": enterprise})),
    ];
    grants
        .into_iter()
        .map(|(name, grant)| {
            let person = json!({"username": name, "name": name, "password": PASSWORD, "grants": [grant]});
            api.post("/api/v1/users", &person)?;
            let session = api.post("/api/v1/session", &json!({"username": name, "password": PASSWORD}))?;
            Ok(Asker { name, token: session["token"].as_str().context("a session token")?.to_owned() })
        })
        .collect()
}

fn on(options: &Options, database: &str, url: Option<&str>, emit: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let dir = fresh_dir()?;
    let settings: Vec<(&str, &str)> = url.map(|url| ("ANLAN_STORE__URL", url)).into_iter().collect();
    let node = Node::start(&options.anlan, dir.path(), &settings)?;
    let api = node.api()?;
    let mut enterprises = Vec::new();
    for i in 0..ENTERPRISES {
        // The first owner has most records, the last county the fewest.
        let county = COUNTIES[(i * COUNTIES.len() / ENTERPRISES + usize::from(i % 7 == 6)).min(COUNTIES.len() - 1)];
        let new = json!({"code": format!("Q{i:03}"), "name": format!("第{i:03}化工有限公司"), "region": county, "sector": "hazchem"});
        let id = api.post("/api/v1/enterprises", &new)?["id"].as_str().and_then(|id| id.parse().ok()).context("an id")?;
        enterprises.push(EnterpriseId::new(id));
    }
    let askers = people(&node, &enterprises[0].to_string())?;
    node.process.stop()?;

    let file = format!("sqlite:{}", dir.path().join("anlan.sqlite").display());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let begun = Instant::now();
    runtime.block_on(fill(url.unwrap_or(&file), &enterprises, options.records, options.seed))?;
    let filled = begun.elapsed().as_secs_f64();

    let node = Node::start(&options.anlan, dir.path(), &settings)?;
    let agent = ureq::agent();
    let ask = |asker: &Asker, path: &str| -> anyhow::Result<(Value, f64)> {
        let begun = Instant::now();
        let authorization = format!("Bearer {}", asker.token);
        let mut answer = agent
            .get(format!("{}{path}", node.http))
            .header("authorization", authorization)
            .call()
            .with_context(|| format!("GET {path}"))?;
        let body = answer.body_mut().with_config().limit(1 << 30).read_to_vec()?;
        let ms = begun.elapsed().as_secs_f64() * 1e3;
        Ok((serde_json::from_slice(&body)?, ms))
    };
    for kind in ["list", "filter", "search"] {
        let (mut worst, mut note) = (0_f64, Vec::new());
        for asker in &askers {
            let (mut ms, mut slowest) = (Vec::new(), (0_f64, ""));
            for (_, query) in QUESTIONS.iter().filter(|(of, _)| *of == kind) {
                let mut cursor = String::new();
                let mut own = Vec::new();
                for _ in 0..REPEATS {
                    let path = format!("/api/v1/registers/{KIND}/records?{}{cursor}", encoded(query));
                    let (page, took) = ask(asker, &path)?;
                    own.push(took);
                    // On to the next page, and from the start again behind the last.
                    cursor = page["next"].as_str().map(|next| format!("&cursor={}", encoded(next))).unwrap_or_default();
                }
                let typical = p95(own.clone());
                if typical > slowest.0 {
                    slowest = (typical, query);
                }
                ms.extend(own);
            }
            let figure = p95(ms);
            worst = worst.max(figure);
            note.push(format!("{} {figure:.0} (slowest {:.0}: {})", asker.name, slowest.0, slowest.1));
        }
        emit(
            Line::new(&format!("records.{database}.{kind}_p95"), worst, "ms")
                .goal(Goal::AtMost(GOAL_MS))
                .note(format!("the slowest of these p95 over HTTP, pages of 200, {REPEATS} pages of each question: {}", note.join("; "))),
        );
    }
    // What everybody's home page asks; no goal of its own.
    let (mut worst, mut note) = (0_f64, Vec::new());
    for path in ["/api/v1/registers", "/api/v1/tasks"] {
        for asker in &askers {
            let ms = (0..REPEATS).map(|_| Ok(ask(asker, path)?.1)).collect::<anyhow::Result<Vec<_>>>()?;
            let figure = p95(ms);
            worst = worst.max(figure);
            note.push(format!("{} {path} {figure:.0}", asker.name));
        }
    }
    emit(Line::new(&format!("records.{database}.home_p95"), worst, "ms").note(format!(
        "{}; {} records written in {filled:.0} s",
        note.join(", "),
        options.records
    )));
    Ok(())
}

/// A register of a pack of its own.
fn write_pack(folder: &Path, n: usize) -> anyhow::Result<()> {
    let id = format!("pack{n:02}");
    let register = folder.join(&id).join("registers").join(format!("register{n:02}"));
    std::fs::create_dir_all(&register)?;
    let meta = format!("id = \"{id}\"\nname = \"第{n}包\"\nname_en = \"Pack {n}\"\nversion = \"1\"\npublisher = \"bench\"\n");
    std::fs::write(folder.join(&id).join("pack.toml"), meta)?;
    // A kind of the built-in pack under another name; it opens records of a third.
    let base = anlan_app::pack::base_files();
    for file in ["register.toml", "cases.toml"] {
        let text = base.get(&format!("registers/special_equipment/{file}")).context("the built-in register")?;
        let text = text.replace("kind = \"special_equipment\"", &format!("kind = \"register{n:02}\""));
        std::fs::write(register.join(file), text)?;
    }
    Ok(())
}

fn packs(options: &Options, emit: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let dir = fresh_dir()?;
    let (data, folder) = (dir.path().join("data"), dir.path().join("packs"));
    for n in 0..PACKS {
        write_pack(&folder, n)?;
    }
    let place = folder.display().to_string();
    let settings = [("ANLAN_PACKS__DIR", place.as_str())];
    let node = Node::start(&options.anlan, &data, &settings)?;
    let api = node.api()?;
    let list = api.get("/api/v1/packs")?;
    for pack in
        list["packs"].as_array().context("packs")?.iter().filter(|pack| pack["id"].as_str().is_some_and(|id| id.starts_with("pack")))
    {
        let id = pack["id"].as_str().context("an id")?;
        ensure!(pack["state"] == "available", "{pack}");
        api.post(&format!("/api/v1/packs/{id}/enable"), &json!({"hash": pack["hash"]}))?;
    }
    node.process.stop()?;
    let begun = Instant::now();
    let node = Node::start(&options.anlan, &data, &settings)?;
    let took = begun.elapsed().as_secs_f64();
    let registers = node.api()?.get("/api/v1/registers")?;
    let n = registers["registers"].as_array().map_or(0, Vec::len);
    ensure!(n >= PACKS, "{n} registers are on");
    emit(
        Line::new("records.start_30_packs", took, "s")
            .goal(Goal::AtMost(PACKS_GOAL_S))
            .note(format!("to the ready line and signed in, {n} registers; every pack is checked with its cases")),
    );
    Ok(())
}

/// Measures on both databases.
pub fn run(options: &Options, emit: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    packs(options, emit)?;
    on(options, "sqlite", None, emit)?;
    let Some(server) = postgres_server() else {
        emit(Line { name: "records.postgres".to_owned(), skipped: Some("no PostgreSQL on this machine".to_owned()), ..Line::default() });
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let database = runtime.block_on(Database::create(server));
    let outcome = on(options, "postgres", Some(&database.url), emit);
    runtime.block_on(database.remove());
    outcome
}
