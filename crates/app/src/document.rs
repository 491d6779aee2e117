//! Official documents (公文): composed from facts, frozen, issued under a number by somebody else, checked by their code, withdrawn with a reason.
//!
//! A document is a record of the register `official_document`; what stands in it lies beside the record, written once with it. Who composes chooses the
//! sort, what it is about, which parts it has, and may add words of their own; every number comes from the rows that they may see. Issuing takes the
//! next number of the year and signs a certificate; the file is made once after that and kept. Start at [`compose`] and [`issue`].

pub mod evaluation;
mod month;
mod record;
pub mod words;

use anlan_documents::{Block, Document, Imprint, TableColumn, TableKind, Typeset, TypesetError};
use anlan_model::{Clock as _, Permission, RecordId, RegionCode, Scope};
pub use anlan_store::DocumentRow;
use anlan_store::RecordRow;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::{AppError, Kind as Refusal};
use crate::point::off_thread;
use crate::record::NewRecord;
use crate::{App, certificate, clock, plan, validate};

/// The register of documents.
pub const KIND: &str = "official_document";
/// Said in every document with invented rows.
pub const DEMONSTRATION: &str = "演示数据：其中有虚构的数字，不得当作统计使用。";
/// Characters of a text of one's own.
pub const TEXT_CHARS: usize = 20_000;
/// Characters of a title: what a certificate has room for.
pub const TITLE_CHARS: usize = 100;
/// How sections are counted.
const COUNT: [&str; 20] = [
    "一", "二", "三", "四", "五", "六", "七", "八", "九", "十", "十一", "十二", "十三", "十四", "十五", "十六", "十七", "十八", "十九",
    "二十",
];

/// What a document may be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// A plan and a day.
    Plan,
    /// A record of this register.
    Record(&'static str),
    /// A division and a month.
    Month,
    /// A division and words.
    Text,
}

/// The sorts there are: words of the register's field `sort`.
pub const SORTS: [(&str, Needs); 6] = [
    ("plan_evaluation", Needs::Plan),
    ("accident_report", Needs::Record("accident")),
    ("listed_notice", Needs::Record("listed_supervision")),
    ("alarm_month", Needs::Month),
    ("hidden_danger_month", Needs::Month),
    ("circular", Needs::Text),
];

/// What to compose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// Word of [`SORTS`].
    pub sort: String,
    /// Code of the division; of a plan or record it is theirs.
    pub region: String,
    /// Word of the plan.
    pub plan: String,
    /// ISO day.
    pub as_of: String,
    /// Id of the record.
    pub record: String,
    /// `2026-11`.
    pub month: String,
    /// Title, where it is not the sort's own; needed of a circular.
    pub title: String,
    /// Who issues it; empty = as configured.
    pub issuer: String,
    /// To whom it is sent.
    pub addressee: String,
    /// Words of one's own: of a circular all of it, else a part at the end.
    pub text: String,
    /// Parts that stand in it, by their words; empty = all.
    pub sections: Vec<String>,
}

impl Asked {
    /// What its sort looks at; the rest is nobody's to keep.
    fn used(&self) -> Self {
        let needs = SORTS.iter().find(|(sort, _)| *sort == self.sort).map(|(_, needs)| *needs);
        let only = |text: &String, is_used: bool| if is_used { text.clone() } else { String::new() };
        let mut sections = self.sections.clone();
        sections.sort();
        sections.dedup();
        Self {
            region: only(&self.region, matches!(needs, Some(Needs::Month | Needs::Text))),
            plan: only(&self.plan, needs == Some(Needs::Plan)),
            as_of: only(&self.as_of, needs == Some(Needs::Plan)),
            record: only(&self.record, matches!(needs, Some(Needs::Record(_)))),
            month: only(&self.month, needs == Some(Needs::Month)),
            sections,
            ..self.clone()
        }
    }
}

/// A part of a document that may be left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Word.
    pub id: String,
    /// Heading; empty = none.
    pub name: String,
    /// What stands in it.
    pub blocks: Vec<Block>,
}

impl Section {
    fn new(id: &str, name: &str, blocks: Vec<Block>) -> Self {
        Self { id: id.to_owned(), name: name.to_owned(), blocks }
    }
}

/// A document that was composed and is not written yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composed {
    /// What stands in it.
    pub document: Document,
    /// SHA-256 of that, hexadecimal.
    pub digest: String,
    /// Its division.
    pub region: RegionCode,
    /// What it was made from, in words.
    pub about: String,
    /// Facts are counted until this day.
    pub as_of: Option<Date>,
    /// The parts that there are: word and heading, and whether it stands in this one.
    pub sections: Vec<(String, String, bool)>,
    /// Characters that no font of this machine has; empty also where nothing typesets.
    pub uncovered: Vec<char>,
}

/// What composing and typesetting share; part of [`App`].
pub struct Documents {
    /// One at a time: each takes a core for a while, and some read many rows.
    turn: Semaphore,
}

impl Default for Documents {
    fn default() -> Self {
        Self { turn: Semaphore::new(1) }
    }
}

impl Documents {
    async fn turn(&self) -> Result<SemaphorePermit<'_>, AppError> {
        self.turn.acquire().await.map_err(|_| AppError::new(Refusal::Unavailable, "server.busy"))
    }
}

/// A document with its record.
#[derive(Clone, Debug)]
pub struct View {
    /// Its record.
    pub row: RecordRow,
    /// What stands in it.
    pub document: Document,
    /// As it was frozen.
    pub frozen: DocumentRow,
    /// This build makes files of documents.
    pub typesets: bool,
}

fn paragraph(text: String) -> Block {
    Block::Paragraph { text }
}

fn heading(level: u8, text: String) -> Block {
    Block::Heading { level, text }
}

fn column(name: &str, kind: TableKind, share: u8) -> TableColumn {
    TableColumn { name: name.to_owned(), kind, share }
}

fn table(caption: &str, columns: Vec<TableColumn>, rows: Vec<Vec<String>>) -> Block {
    Block::Table { caption: caption.to_owned(), columns, rows }
}

fn number(value: Option<anlan_domain::decimal::Decimal>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| value.to_string())
}

/// 2013年12月31日.
fn day_zh(day: Date) -> String {
    format!("{}年{}月{}日", day.year(), day.month(), day.day())
}

/// Parts under counted headings.
fn document(issuer: &str, title: String, addressee: Option<String>, sections: Vec<Section>, notes: Vec<String>) -> Document {
    let mut blocks = Vec::new();
    let mut counted = COUNT.into_iter();
    for section in sections {
        if !section.name.is_empty() {
            let count = counted.next().unwrap_or("又");
            blocks.push(heading(1, format!("{count}、{}", section.name)));
        }
        blocks.extend(section.blocks);
    }
    Document { issuer: issuer.to_owned(), title, addressee, blocks, notes }
}

/// Words of one's own: a line that begins with （一） or 1. is a heading of the second or third level, one with 一、 of the first.
fn text_blocks(text: &str) -> Vec<Block> {
    let is_count = |c: char| "一二三四五六七八九十".contains(c);
    let level = |line: &str| {
        let first = line.trim_start_matches(is_count);
        if first.len() < line.len() && first.starts_with('、') && line.chars().count() <= 40 {
            return Some(1);
        }
        let inner = line.strip_prefix('（')?.trim_start_matches(is_count);
        (inner.starts_with('）') && !line.starts_with("（）") && line.chars().count() <= 40).then_some(2)
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| level(line).map_or_else(|| paragraph(line.to_owned()), |level| heading(level, line.to_owned()))).collect()
}

fn digest_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn multiline(field: &str, value: &str) -> Result<String, AppError> {
    if value.chars().count() > TEXT_CHARS {
        return Err(AppError::invalid("text.too_long", field).with("max", TEXT_CHARS));
    }
    let lines: Vec<String> = value.lines().map(|line| line.chars().filter(|c| !c.is_control()).collect()).collect();
    Ok(lines.join("\n").trim().to_owned())
}

fn short(field: &str, value: &str, max: usize) -> Result<String, AppError> {
    let value = validate::optional(field, value)?;
    if value.chars().count() > max { Err(AppError::invalid("text.too_long", field).with("max", max)) } else { Ok(value) }
}

// ---- composing

/// Composes a document without writing anything.
///
/// # Errors
/// A sort that is none, what it is about missing or not visible, a field that cannot be meant.
pub async fn preview(app: &App, scope: &Scope, asked: &Asked) -> Result<Composed, AppError> {
    scope.with(Permission::View)?;
    let needs = SORTS.iter().find(|(sort, _)| *sort == asked.sort).map(|(_, needs)| *needs);
    let needs = needs.ok_or_else(|| AppError::invalid("word.unknown", "sort").with("word", &asked.sort))?;
    let title = short("title", &asked.title, TITLE_CHARS)?;
    let addressee = short("addressee", &asked.addressee, 200)?;
    let text = multiline("text", &asked.text)?;
    let turn = app.documents.turn().await?;
    let made = match needs {
        Needs::Plan => of_plan(app, scope, asked).await?,
        Needs::Record(kind) => of_record(app, scope, asked, kind).await?,
        Needs::Month => of_month(app, scope, asked).await?,
        Needs::Text => {
            if title.is_empty() || text.is_empty() {
                return Err(AppError::invalid("text.empty", if title.is_empty() { "title" } else { "text" }));
            }
            let region = region(app, scope, asked)?;
            Made {
                region,
                title: String::new(),
                addressee: None,
                sections: Vec::new(),
                notes: Vec::new(),
                about: "自拟".to_owned(),
                as_of: None,
            }
        }
    };
    drop(turn);
    let known: Vec<(String, String)> = made.sections.iter().map(|section| (section.id.clone(), section.name.clone())).collect();
    if let Some(stranger) = asked.sections.iter().find(|id| !known.iter().any(|(known, _)| known == *id)) {
        return Err(AppError::invalid("document.section", "sections").with("section", stranger));
    }
    let stands = |id: &str| asked.sections.is_empty() || asked.sections.iter().any(|wanted| wanted == id);
    let mut sections: Vec<Section> = made.sections.into_iter().filter(|section| stands(&section.id)).collect();
    if !text.is_empty() {
        let name = if needs == Needs::Text { "" } else { "其他说明" };
        sections.push(Section::new("text", name, text_blocks(&text)));
    }
    let issuer = short("issuer", &asked.issuer, 60)?;
    let issuer = [issuer, app.settings.documents.issuer.clone()].into_iter().find(|name| !name.is_empty());
    let issuer = issuer.unwrap_or_else(|| format!("{}安全生产委员会办公室", name_of(app, &made.region)));
    let title = if title.is_empty() { made.title.chars().take(TITLE_CHARS).collect() } else { title };
    let addressee = [addressee, made.addressee.unwrap_or_default()].into_iter().find(|name| !name.is_empty());
    let mut notes = made.notes;
    if app.settings.demo {
        notes.retain(|note| note != DEMONSTRATION);
        notes.insert(0, DEMONSTRATION.to_owned());
    }
    let document = document(&issuer, title, addressee, sections, notes);
    document.check().map_err(|wrong| AppError::invalid("document.unfit", "sections").with("reason", wrong))?;
    let digest = digest_of(&document.canonical());
    // Without fonts a document is composed and read all the same; the file, and who issues it, are told.
    let uncovered = uncovered(app, &document, &[]).await.unwrap_or_default();
    let sections = known.into_iter().map(|(id, name)| (id.clone(), name, stands(&id))).collect();
    Ok(Composed { document, digest, region: made.region, about: made.about, as_of: made.as_of, sections, uncovered })
}

/// What was found for a document.
struct Made {
    region: RegionCode,
    title: String,
    addressee: Option<String>,
    sections: Vec<Section>,
    notes: Vec<String>,
    about: String,
    as_of: Option<Date>,
}

fn name_of(app: &App, region: &RegionCode) -> String {
    app.registry.get().regions.get(region).map_or_else(|| region.to_string(), |region| region.name.clone())
}

/// The division that is asked for, in the asker's sight.
fn region(app: &App, scope: &Scope, asked: &Asked) -> Result<RegionCode, AppError> {
    let region = validate::region("region", &asked.region, &app.registry.get().regions, app.today())?;
    if scope.with(Permission::View)?.holds(None, Some(&region), None) {
        Ok(region)
    } else {
        Err(AppError::forbidden("scope.outside").on("region"))
    }
}

async fn of_plan(app: &App, scope: &Scope, asked: &Asked) -> Result<Made, AppError> {
    let as_of = if asked.as_of.is_empty() { app.today() } else { validate::day("as_of", &asked.as_of)? };
    if as_of > app.today() {
        return Err(AppError::invalid("document.future", "as_of"));
    }
    let reckoning = plan::reckoning(app, scope, &asked.plan).await.map_err(|failure| failure.on("plan"))?;
    if !reckoning.sees_whole {
        return Err(AppError::forbidden("scope.outside").on("plan"));
    }
    let region =
        RegionCode::new(&reckoning.plan.region).ok_or_else(|| AppError::invalid("word.unknown", "plan").with("word", &asked.plan))?;
    // Some ten milliseconds of a core.
    off_thread(move || {
        let indicators = &reckoning.known.indicators;
        let mut notes = evaluation::notes(indicators, as_of);
        if reckoning.is_demonstration {
            notes.insert(0, DEMONSTRATION.to_owned());
        }
        Made {
            title: evaluation::title(&reckoning.plan, as_of),
            addressee: None,
            sections: evaluation::sections(&reckoning.plan, indicators, &reckoning.facts, as_of),
            notes,
            about: format!("{}，截至 {as_of}", reckoning.plan.name),
            as_of: Some(as_of),
            region,
        }
    })
    .await
}

async fn of_record(app: &App, scope: &Scope, asked: &Asked, kind: &'static str) -> Result<Made, AppError> {
    let id = asked.record.parse().map(RecordId::new).map_err(|_| AppError::invalid("reference.unknown", "record"))?;
    let told = record::told(app, scope, kind, id).await.map_err(|failure| failure.on("record"))?;
    let region = told.row.region.clone().ok_or_else(|| AppError::invalid("document.no_region", "record"))?;
    let about = format!("{} {}", told.kind.name, told.row.number);
    let as_of = Some(app.today());
    let (title, addressee, sections) = if kind == "accident" {
        let (title, sections) = record::accident(&told);
        (title, None, sections)
    } else {
        record::listed(&told)?
    };
    let notes = vec![format!("注：本文依据{}的记录（第{}次修改）生成。", told.row.number, told.row.revision)];
    Ok(Made { region, title, addressee, sections, notes, about, as_of })
}

async fn of_month(app: &App, scope: &Scope, asked: &Asked) -> Result<Made, AppError> {
    let month = month::Month::parse(&asked.month).ok_or_else(|| AppError::invalid("document.month", "month"))?;
    if month.first > app.today() {
        return Err(AppError::invalid("document.future", "month"));
    }
    let region = region(app, scope, asked)?;
    let is_alarms = asked.sort == "alarm_month";
    let (title, sections) = if is_alarms {
        month::alarms(app, scope, &region, month).await?
    } else {
        month::hidden_dangers(app, scope, &region, month).await?
    };
    // The day alone: what was read in the preview is the same a minute later, unless its rows have changed.
    let mut notes = vec![format!("注：各项数字由本系统截至{}的记录计算。", day_zh(app.today()))];
    if month.last >= app.today() {
        notes.push("本月尚未结束，数字不完整。".to_owned());
    }
    let about = format!("{} {}", name_of(app, &region), asked.month);
    Ok(Made { region, title, addressee: None, sections, notes, about, as_of: Some(month.last.min(app.today())) })
}

/// Characters of a document and of these words that no font shows; none where nothing typesets.
async fn uncovered(app: &App, document: &Document, words: &[String]) -> Result<Vec<char>, AppError> {
    let Some(typesetter) = app.typesetter.get().cloned() else { return Ok(Vec::new()) };
    let (document, words) = (document.clone(), words.to_vec());
    let _turn = app.documents.turn().await?;
    let looked = off_thread(move || {
        let imprint = Imprint { number: None, date: Date::constant(2000, 1, 1), check: &words, code: None, watermark: None };
        typesetter.uncovered(&document, &imprint)
    });
    looked.await?.map_err(refused)
}

/// Composes a document and writes it, to be issued by somebody else. `digest` is what the asker has read: another one is refused.
///
/// # Errors
/// As [`preview`]; `document.changed` if it would be another one by now; no role over its division.
pub async fn compose(app: &App, scope: &Scope, asked: &Asked, digest: &str) -> Result<RecordRow, AppError> {
    let composed = preview(app, scope, asked).await?;
    if composed.digest != digest {
        return Err(AppError::conflict("document.changed").on("digest"));
    }
    let mut fields = Map::new();
    let document = &composed.document;
    fields.insert("sort".to_owned(), json!(asked.sort));
    fields.insert("title".to_owned(), json!(document.title));
    fields.insert("issuer".to_owned(), json!(document.issuer));
    fields.insert("about".to_owned(), json!(composed.about.chars().take(200).collect::<String>()));
    fields.insert("digest".to_owned(), json!(composed.digest));
    if let Some(addressee) = &document.addressee {
        fields.insert("addressee".to_owned(), json!(addressee));
    }
    if let Some(as_of) = composed.as_of {
        fields.insert("as_of".to_owned(), json!(as_of.to_string()));
    }
    let now = app.clock.now();
    let act = scope.with(Permission::View)?;
    let by = actor(scope)?;
    let content = String::from_utf8(document.canonical()).map_err(|_| AppError::new(Refusal::Internal, "internal"))?;
    let mut change = app.store.change_records(&act, now).await?;
    let new = NewRecord { enterprise: None, region: Some(composed.region), transition: "compose".to_owned(), fields };
    let row = crate::record::create_by_product(app, &mut change, scope, by, KIND, new, now).await?;
    change.put_document(row.id, &content, &composed.digest, &json!(asked.used())).await?;
    app.live.records_changed(&change.commit().await?);
    Ok(row)
}

fn actor(scope: &Scope) -> Result<String, AppError> {
    Ok(scope.user.ok_or_else(|| AppError::forbidden("scope.outside"))?.to_string())
}

// ---- issuing

/// Issues a document under the next number of the year. `digest` is what the asker has read.
///
/// # Errors
/// Not there or not visible, a stale revision, another content than was read, characters that no font has, what the register says against it.
pub async fn issue(app: &App, scope: &Scope, id: RecordId, revision: i64, digest: &str) -> Result<RecordRow, AppError> {
    let seen = view(app, scope, id).await?;
    if seen.frozen.digest != digest {
        return Err(AppError::conflict("document.changed").on("digest"));
    }
    // It is issued as a file that shows every character, where files are made at all.
    let mut words = check_lines(&seen.frozen.digest, true);
    words.push(format!("{}〔〕0123456789号演示", app.settings.documents.mark));
    let absent = uncovered(app, &seen.document, &words).await?;
    if !absent.is_empty() {
        return Err(AppError::conflict("document.uncovered").with("characters", absent.into_iter().collect::<String>()));
    }
    let now = app.clock.now();
    let today = app.today();
    let act = scope.with(Permission::View)?;
    let mut change = app.store.change_records(&act, now).await?;
    let mark = &app.settings.documents.mark;
    let n = change.count(&format!("document {mark} {}", today.year())).await?;
    let mut fields = Map::new();
    fields.insert("document_no".to_owned(), json!(format!("{mark}〔{}〕{n}号", today.year())));
    fields.insert("issued_on".to_owned(), json!(today.to_string()));
    let by = actor(scope)?;
    let row = crate::record::act_by_product(app, &mut change, scope, by, KIND, id, "issue", revision, &fields, now).await?;
    app.live.records_changed(&change.commit().await?);
    Ok(row)
}

/// A document with what stands in it.
///
/// # Errors
/// Not there or not visible.
pub async fn view(app: &App, scope: &Scope, id: RecordId) -> Result<View, AppError> {
    let row = app.store.record(&scope.with(Permission::View)?, KIND, id).await?;
    let frozen = app.store.document(id).await?;
    if digest_of(frozen.content.as_bytes()) != frozen.digest || text(&row, "digest").as_deref() != Some(frozen.digest.as_str()) {
        return Err(AppError::new(Refusal::Internal, "document.damaged"));
    }
    let document = serde_json::from_str(&frozen.content)
        .map_err(|e| AppError { source: Some(e.into()), ..AppError::new(Refusal::Internal, "document.damaged") })?;
    Ok(View { row, document, frozen, typesets: app.typesetter.get().is_some() })
}

fn text(row: &RecordRow, field: &str) -> Option<String> {
    row.body["fields"][field].as_str().map(str::to_owned)
}

/// The file of a document: of an issued one the same bytes for ever, of any other one with a mark across it.
///
/// # Errors
/// Not there or not visible, a build that makes none, no fonts, a lost key of certificates.
pub async fn file(app: &App, scope: &Scope, id: RecordId) -> Result<Vec<u8>, AppError> {
    let seen = view(app, scope, id).await?;
    let is_numbered = text(&seen.row, "document_no").is_some();
    if is_numbered && let Some(file) = app.store.document_file(id).await? {
        // Withdrawn or not: what was issued stays as it was; the check of its code says where it stands.
        if seen.frozen.pdf_digest.as_deref() != Some(digest_of(&file).as_str()) {
            return Err(AppError::new(Refusal::Internal, "document.damaged"));
        }
        return Ok(file);
    }
    let typesetter = app.typesetter.get().cloned().ok_or_else(|| AppError::new(Refusal::Unavailable, "document.no_typesetter"))?;
    let is_issued = seen.row.state == "issued";
    // The code opens a page where the node's address is an origin; else it is the bare text.
    let base = app.settings.open_data.base_url.trim_end_matches('/');
    let page = certificate::is_origin(base).then_some(base);
    let made = Sheet {
        number: text(&seen.row, "document_no"),
        date: text(&seen.row, "issued_on").and_then(|day| day.parse().ok()).unwrap_or_else(|| clock::day_of(seen.row.created_at)),
        code: if is_issued { Some(certificate::issue(app, scope, KIND, id, page).await?.qr_text) } else { None },
        watermark: match (app.settings.demo, is_issued, is_numbered) {
            (true, true, _) => Some("演示"),
            (true, false, false) => Some("演示草稿"),
            (false, true, _) => None,
            (false, false, false) => Some("草稿"),
            // Withdrawn before anybody asked for its file: there is no certificate to print any more.
            (_, false, true) => Some("已撤回"),
        },
        digest: seen.frozen.digest.clone(),
        document: seen.document,
    };
    let turn = app.documents.turn().await?;
    let file = off_thread(move || made.typeset(&*typesetter)).await?.map_err(refused)?;
    drop(turn);
    if is_issued {
        app.store.keep_document_file(id, &file, &digest_of(&file), app.clock.now()).await?;
        // Another request may have been first: all get that one.
        return app.store.document_file(id).await?.ok_or_else(AppError::not_found);
    }
    Ok(file)
}

/// What stands beside the code.
fn check_lines(digest: &str, has_code: bool) -> Vec<String> {
    let mut lines = vec![format!("内容摘要（SHA-256）：{digest}")];
    if has_code {
        lines.push("扫描右侧二维码，在公开页面“证照核验”中查验本文的文号、摘要和效力。".to_owned());
    }
    lines
}

/// What a file is made of.
struct Sheet {
    document: Document,
    number: Option<String>,
    date: Date,
    code: Option<String>,
    watermark: Option<&'static str>,
    digest: String,
}

impl Sheet {
    fn typeset(&self, typesetter: &dyn Typeset) -> Result<Vec<u8>, TypesetError> {
        let check = check_lines(&self.digest, self.code.is_some());
        typesetter.pdf(
            &self.document,
            &Imprint {
                number: self.number.as_deref(),
                date: self.date,
                check: &check,
                code: self.code.as_deref(),
                watermark: self.watermark,
            },
        )
    }
}

fn refused(error: TypesetError) -> AppError {
    match &error {
        TypesetError::Fonts { face, known } => {
            AppError::new(Refusal::Unavailable, "document.no_font").with("face", face).with("known", known)
        }
        TypesetError::Uncovered(absent) => AppError::conflict("document.uncovered").with("characters", absent.iter().collect::<String>()),
        TypesetError::Failed(_) => AppError { source: Some(error.into()), ..AppError::new(Refusal::Internal, "internal") },
    }
}

/// The tables of a document as a workbook.
///
/// # Errors
/// Not there or not visible.
pub async fn workbook(app: &App, scope: &Scope, id: RecordId) -> Result<Vec<u8>, AppError> {
    let seen = view(app, scope, id).await?;
    let number = text(&seen.row, "document_no").unwrap_or_else(|| "（草稿，未编号）".to_owned());
    let heads = [("标题", seen.document.title.clone()), ("发文机关", seen.document.issuer.clone()), ("发文字号", number)];
    let mut heads: Vec<(String, String)> = heads.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    heads.push(("成文日期".to_owned(), text(&seen.row, "issued_on").unwrap_or_default()));
    heads.push(("内容摘要（SHA-256）".to_owned(), seen.frozen.digest.clone()));
    let _turn = app.documents.turn().await?;
    let failed = |e: anlan_documents::SheetError| AppError { source: Some(e.into()), ..AppError::new(Refusal::Internal, "internal") };
    off_thread(move || seen.document.workbook(&heads).map_err(failed)).await?
}
