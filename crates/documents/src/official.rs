//! Official documents (公文): what stands in one, apart from how it looks.
//!
//! A [`Document`] is a value: composed from facts once, then frozen, read on screen, typeset as PDF by whoever can ([`Typeset`]), and its tables
//! written as a workbook. Its canonical bytes are what a digest is taken of. Words in it are text, never markup.

use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Cell, Column, ColumnKind, NewSheet, SheetError, Tab, write_sheet};

/// Blocks of one document.
pub const BLOCKS_MAX: usize = 2_000;
/// Rows of one table.
pub const ROWS_MAX: usize = 2_000;

/// A document as it is composed; frozen, it never changes again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Who issues it (发文机关).
    pub issuer: String,
    /// Title (标题).
    pub title: String,
    /// To whom it is sent (主送机关); a report has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addressee: Option<String>,
    /// What stands in it, in order.
    pub blocks: Vec<Block>,
    /// From what it was made, small at its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One part of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Block {
    /// A heading of level 1 to 3 with its number in the text: 一、 （一） 1.
    Heading {
        /// 1 to 3.
        level: u8,
        /// Its words.
        text: String,
    },
    /// A paragraph.
    Paragraph {
        /// Its words.
        text: String,
    },
    /// Names and values, side by side.
    Fields {
        /// Name and value.
        rows: Vec<(String, String)>,
    },
    /// A table.
    Table {
        /// Its title, unique in the document.
        caption: String,
        /// Its columns; at least one.
        columns: Vec<TableColumn>,
        /// Its rows, each with a text for each column.
        rows: Vec<Vec<String>>,
    },
    /// What follows begins a page.
    PageBreak,
}

/// One column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableColumn {
    /// Name, with the unit.
    pub name: String,
    /// What stands in it.
    #[serde(default)]
    pub kind: TableKind,
    /// Its share of the width; 1 to 20.
    pub share: u8,
}

/// What a column holds: how it is aligned, and what its cells are in a workbook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableKind {
    /// Text, to the left.
    #[default]
    Text,
    /// A number, to the right; a cell that is none stays text.
    Number,
    /// A day, `2013-12-31`.
    Date,
}

/// What a document gets when it is issued, or says that it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imprint<'a> {
    /// Number (发文字号), none of a draft.
    pub number: Option<&'a str>,
    /// Day of the document (成文日期).
    pub date: Date,
    /// Lines beside the code by which it can be checked.
    pub check: &'a [String],
    /// What the code says; none of a draft.
    pub code: Option<&'a str>,
    /// Written across each page: 演示 of a demo, 草稿 of a draft.
    pub watermark: Option<&'a str>,
}

/// Makes a PDF of a document.
pub trait Typeset: Send + Sync {
    /// Characters of these texts that no font in use has, each once, in order.
    ///
    /// # Errors
    /// [`TypesetError::Fonts`].
    fn uncovered(&self, document: &Document, imprint: &Imprint<'_>) -> Result<Vec<char>, TypesetError>;

    /// The file. The same document and imprint give the same bytes.
    ///
    /// # Errors
    /// [`TypesetError::Fonts`], [`TypesetError::Uncovered`], [`TypesetError::Failed`].
    fn pdf(&self, document: &Document, imprint: &Imprint<'_>) -> Result<Vec<u8>, TypesetError>;
}

/// Why there is no PDF.
#[derive(Debug, Error)]
pub enum TypesetError {
    /// A face that the layout needs is nowhere.
    #[error("no font for {face}: install one ({known}) or set documents.fonts")]
    Fonts {
        /// Which face.
        face: &'static str,
        /// Families that would do.
        known: String,
    },
    /// Characters that no font has: they would be printed as boxes.
    #[error("no font has {}", .0.iter().collect::<String>())]
    Uncovered(Vec<char>),
    /// The typesetter refused; a fault of the template.
    #[error("typesetting: {0}")]
    Failed(String),
}

/// What is wrong with a document.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DocumentError {
    /// Too many blocks, or rows of a table.
    #[error("more than {max} {what}")]
    TooMany {
        /// `blocks` or `rows`.
        what: &'static str,
        /// How many there may be.
        max: usize,
    },
    /// A table without columns, or a row that has more or fewer cells.
    #[error("table {0}: columns and cells differ")]
    Ragged(String),
    /// Two tables of one title.
    #[error("two tables are called {0}")]
    Twice(String),
    /// Nothing stands where something must.
    #[error("{0} is empty")]
    Empty(&'static str),
}

impl Document {
    /// Refuses what could not be typeset.
    ///
    /// # Errors
    /// [`DocumentError`], the first found.
    pub fn check(&self) -> Result<(), DocumentError> {
        for (text, what) in [(&self.issuer, "issuer"), (&self.title, "title")] {
            if text.trim().is_empty() {
                return Err(DocumentError::Empty(what));
            }
        }
        if self.blocks.is_empty() {
            return Err(DocumentError::Empty("blocks"));
        }
        if self.blocks.len() > BLOCKS_MAX {
            return Err(DocumentError::TooMany { what: "blocks", max: BLOCKS_MAX });
        }
        let mut captions: Vec<&str> = Vec::new();
        for (caption, columns, rows) in self.tables() {
            if rows.len() > ROWS_MAX {
                return Err(DocumentError::TooMany { what: "rows", max: ROWS_MAX });
            }
            if columns.is_empty() || rows.iter().any(|row| row.len() != columns.len()) {
                return Err(DocumentError::Ragged(caption.to_owned()));
            }
            if captions.contains(&caption) {
                return Err(DocumentError::Twice(caption.to_owned()));
            }
            captions.push(caption);
        }
        Ok(())
    }

    /// Its tables, in order.
    pub fn tables(&self) -> impl Iterator<Item = (&str, &[TableColumn], &[Vec<String>])> {
        self.blocks.iter().filter_map(|block| match block {
            Block::Table { caption, columns, rows } => Some((caption.as_str(), columns.as_slice(), rows.as_slice())),
            _ => None,
        })
    }

    /// Every text in it.
    pub fn texts(&self) -> Vec<&str> {
        let mut texts = vec![self.issuer.as_str(), self.title.as_str()];
        texts.extend(self.addressee.as_deref());
        for block in &self.blocks {
            match block {
                Block::Heading { text, .. } | Block::Paragraph { text } => texts.push(text),
                Block::Fields { rows } => texts.extend(rows.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()])),
                Block::Table { caption, columns, rows } => {
                    texts.push(caption);
                    texts.extend(columns.iter().map(|column| column.name.as_str()));
                    texts.extend(rows.iter().flatten().map(String::as_str));
                }
                Block::PageBreak => {}
            }
        }
        texts.extend(self.notes.iter().map(String::as_str));
        texts
    }

    /// The bytes that a digest is taken of: JSON with the keys in the order of this type, without white space.
    pub fn canonical(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Its tables as a workbook, each on a worksheet; the first says what it is.
    ///
    /// # Errors
    /// [`SheetError`] of [`write_sheet`].
    pub fn workbook(&self, heads: &[(String, String)]) -> Result<Vec<u8>, SheetError> {
        let text = |name: &str, width| Column { header: name.to_owned(), width, kind: ColumnKind::Text };
        let mut rows: Vec<Vec<Cell>> =
            heads.iter().map(|(name, value)| vec![Cell::Text(name.clone()), Cell::Text(value.clone())]).collect();
        for block in &self.blocks {
            match block {
                Block::Heading { text, .. } => rows.push(vec![Cell::Text(text.clone())]),
                Block::Paragraph { text } => rows.push(vec![Cell::Empty, Cell::Text(text.clone())]),
                Block::Fields { rows: fields } => {
                    rows.extend(fields.iter().map(|(name, value)| vec![Cell::Text(name.clone()), Cell::Text(value.clone())]));
                }
                Block::Table { caption, .. } => rows.push(vec![Cell::Empty, Cell::Text(format!("（表）{caption}"))]),
                Block::PageBreak => {}
            }
        }
        rows.extend(self.notes.iter().map(|note| vec![Cell::Empty, Cell::Text(note.clone())]));
        let mut tabs = vec![Tab { name: "正文".to_owned(), columns: vec![text("项目", 28.0), text("内容", 100.0)], rows }];
        for (i, (caption, columns, rows)) in self.tables().enumerate() {
            tabs.push(Tab {
                name: tab_name(i + 1, caption),
                columns: columns
                    .iter()
                    .map(|column| Column { header: column.name.clone(), width: f64::from(column.share) * 6.0, kind: column.kind.into() })
                    .collect(),
                rows: rows.iter().map(|row| row.iter().zip(columns).map(|(text, column)| cell(text, column.kind)).collect()).collect(),
            });
        }
        write_sheet(&NewSheet { tabs })
    }
}

impl From<TableKind> for ColumnKind {
    fn from(kind: TableKind) -> Self {
        match kind {
            TableKind::Text => Self::Text,
            TableKind::Number => Self::Number,
            TableKind::Date => Self::Date,
        }
    }
}

/// A worksheet's name: 31 characters, none that Excel refuses, told apart by its number.
fn tab_name(number: usize, caption: &str) -> String {
    let words: String = caption.chars().filter(|c| !c.is_control() && !"[]:*?/\\'".contains(*c)).take(20).collect();
    format!("{number} {words}").trim_end().to_owned()
}

fn cell(text: &str, kind: TableKind) -> Cell {
    match kind {
        _ if text.is_empty() => Cell::Empty,
        // The sign of a figure that falls is a minus sign on paper.
        TableKind::Number => match text.replace('−', "-").parse::<Decimal>().ok().and_then(|n| f64::try_from(n).ok()) {
            Some(number) => Cell::Number(number),
            None => Cell::Text(text.to_owned()),
        },
        TableKind::Date => text.parse().map_or_else(|_| Cell::Text(text.to_owned()), Cell::Date),
        TableKind::Text => Cell::Text(text.to_owned()),
    }
}
