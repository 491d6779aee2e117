//! Documents about one record: the accident report and the notice of listed supervision. What the register prints of a record is what stands in them.

use std::collections::HashMap;

use anlan_documents::{Block, TableKind};
use anlan_domain::register::{self, Field, FieldType, Kind, Record, Value};
use anlan_model::noun::Grant;
use anlan_model::{Permission, RecordId, Scope};
use anlan_store::RecordRow;
use jiff::civil::Date;

use super::{Section, column, day_zh, paragraph, table};
use crate::error::AppError;
use crate::sheet::{self, Language, Names};
use crate::{App, record};

/// A record with what is needed to say it in words.
pub struct Told {
    /// Its register.
    pub kind: std::sync::Arc<Kind>,
    /// The row.
    pub row: RecordRow,
    record: Record,
    names: Names,
}

/// A record as the asker sees it.
///
/// # Errors
/// No such register, a record that is not there or not visible.
pub async fn told(app: &App, scope: &Scope, kind: &str, id: RecordId) -> Result<Told, AppError> {
    let view = scope.with(Permission::View)?;
    let kind = app.registers.load().kind(kind)?;
    let row = app.store.record(&view, &kind.id, id).await?;
    let record = record::read(&kind, &row)?;
    // Who reads the document sees its division; what its composer may see beside that is not for them.
    let here =
        Scope { grants: scope.grants.iter().map(|grant| Grant { region: row.region.clone(), ..grant.clone() }).collect(), ..scope.clone() };
    let names = if row.home.is_some() { Names::default() } else { sheet::names(app, &here, &kind.id, std::slice::from_ref(&row)).await? };
    Ok(Told { kind, row, record, names })
}

impl Told {
    /// What a field says; empty where nothing stands in it.
    pub fn text(&self, id: &str) -> String {
        self.kind.field(id).map_or_else(String::new, |field| self.shown(field, self.record.fields.get(id)))
    }

    /// The day in a field.
    pub fn date(&self, id: &str) -> Option<Date> {
        match self.record.fields.get(id) {
            Some(Value::Date(date)) => Some(*date),
            _ => None,
        }
    }

    fn shown(&self, field: &Field, value: Option<&Value>) -> String {
        let text = sheet::text_of(field, value, &self.names, Language::Chinese);
        match &field.of {
            FieldType::Number { unit, .. } if !unit.is_empty() && !text.is_empty() => format!("{text} {unit}"),
            _ => text,
        }
    }

    /// What the register prints of a record, part by part; empty fields and tables are left out, and so are the steps.
    pub fn parts(&self) -> Vec<Section> {
        let mut parts: Vec<Section> = Vec::new();
        for block in &self.kind.print {
            match block {
                register::Block::Heading(words) => {
                    let id = format!("part_{}", parts.len() + 1);
                    parts.push(Section::new(&id, &words.name, Vec::new()));
                }
                block => {
                    let Some(made) = self.block(block) else { continue };
                    if parts.is_empty() {
                        parts.push(Section::new("part_1", "基本情况", Vec::new()));
                    }
                    parts.extend_last(made);
                }
            }
        }
        parts.retain(|part| !part.blocks.is_empty());
        parts
    }

    fn block(&self, block: &register::Block) -> Option<Block> {
        match block {
            register::Block::Text(words) => Some(paragraph(words.name.clone())),
            register::Block::Fields(ids) => {
                let rows: Vec<(String, String)> = ids
                    .iter()
                    .filter_map(|id| self.kind.field(id))
                    .map(|field| (field.name.clone(), self.shown(field, self.record.fields.get(&field.id))))
                    .filter(|(_, text)| !text.is_empty())
                    .collect();
                (!rows.is_empty()).then_some(Block::Fields { rows })
            }
            register::Block::Table(id) => self.rows(id),
            _ => None,
        }
    }

    fn rows(&self, id: &str) -> Option<Block> {
        let field = self.kind.field(id)?;
        let (FieldType::Table { columns, .. }, Some(Value::Table(rows))) = (&field.of, self.record.fields.get(id)) else { return None };
        if rows.is_empty() {
            return None;
        }
        // Files and columns in which nothing stands take room and say nothing.
        let said: Vec<&Field> =
            columns.iter().filter(|c| !matches!(c.of, FieldType::File { .. }) && rows.iter().any(|row| row.contains_key(&c.id))).collect();
        let mut names: HashMap<String, usize> = HashMap::new();
        let heads = said
            .iter()
            .map(|c| {
                let n = names.entry(c.name.clone()).or_default();
                *n += 1;
                let name = if *n == 1 { c.name.clone() } else { format!("{}（{n}）", c.name) };
                match &c.of {
                    FieldType::Number { unit, .. } if !unit.is_empty() => column(&format!("{name}（{unit}）"), TableKind::Number, 2),
                    FieldType::Number { .. } => column(&name, TableKind::Number, 2),
                    FieldType::Date => column(&name, TableKind::Date, 3),
                    _ => column(&name, TableKind::Text, 4),
                }
            })
            .collect();
        let cells = rows
            .iter()
            .map(|row| said.iter().map(|c| sheet::text_of(c, row.get(&c.id), &self.names, Language::Chinese)).collect())
            .collect();
        Some(table(&field.name, heads, cells))
    }
}

trait Last {
    fn extend_last(&mut self, block: Block);
}

impl Last for Vec<Section> {
    fn extend_last(&mut self, block: Block) {
        if let Some(last) = self.last_mut() {
            last.blocks.push(block);
        }
    }
}

/// The report about an accident: what its record says, part by part.
pub fn accident(told: &Told) -> (String, Vec<Section>) {
    let name = if told.row.title.is_empty() { told.row.number.clone() } else { told.row.title.clone() };
    let is_concluded = told.date("approved_on").is_some();
    let title = format!("关于{name}的{}报告", if is_concluded { "调查" } else { "情况" });
    let mut opening = format!("现将{name}（编号 {}）的有关情况报告如下。", told.row.number);
    let class = told.text("class");
    if !class.is_empty() {
        opening = format!("{opening}按现有伤亡和损失，事故等级为{class}。");
    }
    let mut sections = vec![Section::new("opening", "", vec![paragraph(opening)])];
    sections.extend(told.parts());
    (title, sections)
}

/// The notice to who has to remove a listed hazard.
///
/// # Errors
/// `document.not_listed` before it is listed.
pub fn listed(told: &Told) -> Result<(String, Option<String>, Vec<Section>), AppError> {
    if ["draft", "proposed", "refused", "delisted"].contains(&told.row.state.as_str()) {
        return Err(AppError::conflict("document.not_listed").on("record"));
    }
    let level = told.text("listing_level");
    let due = told.date("due_on").map_or_else(|| "规定期限".to_owned(), day_zh);
    let addressee = told.row.enterprise_name.clone().or_else(|| told.row.region_name.clone());
    let body = told.text("supervising_body");
    let mut letter = vec![
        paragraph(format!("经查，你单位存在下列重大事故隐患：{}。", told.text("subject").trim_end_matches('。'))),
        paragraph(format!(
            "经研究，决定对该隐患实行{level}挂牌督办{}。",
            told.text("reason")
                .is_empty()
                .then(String::new)
                .unwrap_or_else(|| format!("，理由为：{}", told.text("reason").trim_end_matches('。')))
        )),
        paragraph(format!(
            "请你单位于{due}前完成治理，按月报告治理进展，落实责任、措施、资金、时限和预案；治理完成后申请验收，经验收合格方可摘牌。"
        )),
    ];
    if !body.is_empty() {
        letter.push(paragraph(format!("本隐患由{body}负责督办。")));
    }
    let mut sections = vec![Section::new("letter", "", letter)];
    let facts = ["goal", "measures", "funds_yuan", "due_on", "interim_measures", "responsible"];
    let rows: Vec<(String, String)> = facts
        .iter()
        .filter_map(|id| told.kind.field(id))
        .map(|f| (f.name.clone(), told.text(&f.id)))
        .filter(|(_, text)| !text.is_empty())
        .collect();
    if !rows.is_empty() {
        sections.push(Section::new("asked", "治理要求", vec![Block::Fields { rows }]));
    }
    Ok((format!("{level}重大事故隐患挂牌督办通知书"), addressee, sections))
}
