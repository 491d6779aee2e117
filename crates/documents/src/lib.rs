//! Office documents: the bytes of an XLSX file to cells, cells to the bytes of an XLSX file.
//!
//! The only room that names libraries for XLSX. No I/O but bytes in and out, no clock, no rule of any register. Files come from people's
//! computers and from anybody who can reach an import, so reading believes nothing: sizes are counted while inflating, XML has no entities,
//! formulas have no value, and every limit is a [`SheetLimits`]. Writing makes text that stays text.
//!
//! Official documents are values here ([`Document`]); how they look on paper is the room `typeset`, which alone names typst (ADR 0033).
//!
//! Start at [`read_sheet`], [`write_sheet`] and [`Document`]; `package` is the container, `xml` one part of it, `serial` the day numbers of Excel.

mod office;
mod official;
mod package;
mod read;
mod serial;
mod text;
mod write;
mod xml;

use jiff::civil::{Date, DateTime};

pub use office::{NotOffice, Office, office};
pub use official::{Block, Document, DocumentError, Imprint, TableColumn, TableKind, Typeset, TypesetError};
pub use read::read_sheet;
pub use write::{Column, ColumnKind, NewSheet, Tab, write_sheet};

/// How much of a file is read before it is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SheetLimits {
    /// Bytes of the file; 10 MiB.
    pub file_bytes_max: usize,
    /// Bytes of all parts once inflated, counted and not believed; 200 MiB.
    pub inflated_bytes_max: u64,
    /// Inflated to compressed size of one part, from 1 MiB inflated on; 150. Measured: 16 for a million equal cells, 1,000 for a bomb.
    pub ratio_max: u64,
    /// Parts in the container; 2,000.
    pub entries_max: usize,
    /// Rows below the header that are not blank; 50,000.
    pub rows_max: usize,
    /// Columns up to the last cell that is not empty; 200.
    pub columns_max: usize,
    /// Cells of all rows, gaps before the last cell of a row counted; 2,000,000. Rows × columns alone would be ten million.
    pub cells_max: usize,
    /// Characters of one cell; 20,000. Excel itself has 32,767.
    pub cell_chars_max: usize,
    /// Bytes of the text of all cells, a text used twice counted twice, and of the file's table of texts; 64 MiB each.
    pub text_bytes_max: usize,
}

impl Default for SheetLimits {
    fn default() -> Self {
        Self {
            file_bytes_max: 10 << 20,
            inflated_bytes_max: 200 << 20,
            ratio_max: 150,
            entries_max: 2_000,
            rows_max: 50_000,
            columns_max: 200,
            cells_max: 2_000_000,
            cell_chars_max: 20_000,
            text_bytes_max: 64 << 20,
        }
    }
}

/// What was read: the first worksheet a person sees.
#[derive(Clone, Debug, PartialEq)]
pub struct Sheet {
    /// Name of the worksheet.
    pub name: String,
    /// Number of the header's row, as Excel shows it.
    pub header_row: u32,
    /// The first row that is not blank, trimmed; an empty name for a column without one, none after the last that has one.
    pub header: Vec<String>,
    /// The rows below that are not blank, in order; their numbers tell where blank ones were.
    pub rows: Vec<Row>,
}

/// One row of a sheet.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// As Excel shows it, from 1.
    pub number: u32,
    /// From column A to the last cell that is not empty; may be shorter or longer than the header. Use [`Row::cell`].
    pub cells: Vec<Cell>,
}

impl Row {
    /// The cell of a column counted from 0; empty beyond the last.
    pub fn cell(&self, column: usize) -> &Cell {
        self.cells.get(column).unwrap_or(&Cell::Empty)
    }
}

/// One cell.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Cell {
    /// Nothing in it.
    #[default]
    Empty,
    /// Text, exactly as it stands; never empty when read. A date typed as text is text.
    Text(String),
    /// A finite number; also a time of day without a date, as part of a day.
    Number(f64),
    /// A number shown as a date.
    Date(Date),
    /// A number shown as a date with a time, to the second.
    DateTime(DateTime),
    /// True or false.
    Bool(bool),
    /// What Excel could not make a value of (`#N/A`), or a number that cannot be what it claims to be.
    Fault(String),
    /// A formula, as the file has it without `=`; empty where the file leaves it to a neighbour. The value that was stored with it is not
    /// looked at: whoever made the file chose it freely.
    Formula(String),
}

impl Cell {
    /// Empty, or nothing but white space.
    pub fn is_blank(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Text(text) => text.trim().is_empty(),
            _ => false,
        }
    }
}

/// Name of a cell such as `B7`, from a column counted from 0 and a row counted from 1.
pub fn cell_name(column: usize, row: u32) -> String {
    let (mut letters, mut n) = (Vec::new(), column + 1);
    while n > 0 {
        letters.push(char::from(b'A' + u8::try_from((n - 1) % 26).unwrap_or_default()));
        n = (n - 1) / 26;
    }
    letters.iter().rev().collect::<String>() + &row.to_string()
}

/// Why a file is refused, or cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SheetError {
    /// More bytes than allowed.
    #[error("file has {bytes} bytes, at most {max} are read")]
    FileTooLarge {
        /// Bytes it has.
        bytes: usize,
        /// Bytes it may have.
        max: usize,
    },
    /// Another kind of file, whatever its name says.
    #[error("not an xlsx file: looks like {looks_like}")]
    NotXlsx {
        /// `empty`, `xls`, `xlsb`, `ods`, `docx`, `pptx`, `html`, `xml`, `pdf`, `text`, `zip` or `unknown`.
        looks_like: &'static str,
    },
    /// Protected by a password.
    #[error("file is encrypted, save it without a password")]
    Encrypted,
    /// Carries macros.
    #[error("file carries macros ({part}), save it as xlsx without them")]
    Macros {
        /// The part that shows it.
        part: String,
    },
    /// Refers to other files or servers (hyperlinks may).
    #[error("file refers to others ({part}), break its links and save it again")]
    ExternalLink {
        /// The part that shows it.
        part: String,
    },
    /// Too many parts.
    #[error("file has {entries} parts, at most {max} are read")]
    TooManyEntries {
        /// Parts it has.
        entries: usize,
        /// Parts it may have.
        max: usize,
    },
    /// Inflates to more than allowed, a bomb.
    #[error("file inflates to more than {max} bytes")]
    InflatesTooFar {
        /// Bytes it may have.
        max: u64,
    },
    /// One part inflates like a bomb.
    #[error("part {part} is more than {max} times its compressed size")]
    RatioTooHigh {
        /// Which part.
        part: String,
        /// Times it may be.
        max: u64,
    },
    /// The container or a part of it is broken.
    #[error("file is damaged at {part}: {reason}")]
    Damaged {
        /// Which part.
        part: String,
        /// How.
        reason: String,
    },
    /// A part declares a document type; entities are never expanded.
    #[error("part {part} declares a document type, which xlsx never does")]
    Entities {
        /// Which part.
        part: String,
    },
    /// There is no worksheet that is shown.
    #[error("file has no visible worksheet")]
    NoWorksheet,
    /// Not one cell with something in it.
    #[error("worksheet is empty")]
    Empty,
    /// A column's name cannot be one.
    #[error("header {cell} {reason}")]
    Header {
        /// Which cell.
        cell: String,
        /// What is wrong.
        reason: String,
    },
    /// Two columns of one name.
    #[error("header {name:?} stands in {first} and {second}")]
    DuplicateHeader {
        /// The name.
        name: String,
        /// Where it stands first.
        first: String,
        /// Where it stands again.
        second: String,
    },
    /// Too many rows.
    #[error("more than {max} rows")]
    TooManyRows {
        /// Rows it may have.
        max: usize,
    },
    /// Too many columns.
    #[error("cell {cell} is beyond the {max} columns that are read")]
    TooManyColumns {
        /// The first cell that is too far right.
        cell: String,
        /// Columns it may have.
        max: usize,
    },
    /// Too many cells.
    #[error("more than {max} cells")]
    TooManyCells {
        /// Cells it may have.
        max: usize,
    },
    /// A text is too long.
    #[error("cell {cell} has more than {max} characters")]
    TextTooLong {
        /// Which cell.
        cell: String,
        /// Characters it may have.
        max: usize,
    },
    /// All texts together are too long.
    #[error("texts have more than {max} bytes together")]
    TooMuchText {
        /// Bytes they may have.
        max: usize,
    },
    /// A worksheet to be written cannot have this name.
    #[error("worksheet cannot be called {name:?}: {reason}")]
    TabName {
        /// The name.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// A row to be written has more cells than there are columns.
    #[error("row {row} of worksheet {tab:?} has {cells} cells for {columns} columns")]
    RowTooWide {
        /// Name of the worksheet.
        tab: String,
        /// Row as Excel would show it.
        row: u32,
        /// Cells it has.
        cells: usize,
        /// Columns there are.
        columns: usize,
    },
    /// The writer failed otherwise.
    #[error("cannot write: {reason}")]
    Write {
        /// What it says.
        reason: String,
    },
}

impl SheetError {
    /// A word for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::FileTooLarge { .. } => "file_too_large",
            Self::NotXlsx { .. } => "not_xlsx",
            Self::Encrypted => "encrypted",
            Self::Macros { .. } => "macros",
            Self::ExternalLink { .. } => "external_link",
            Self::TooManyEntries { .. } => "too_many_entries",
            Self::InflatesTooFar { .. } => "inflates_too_far",
            Self::RatioTooHigh { .. } => "ratio_too_high",
            Self::Damaged { .. } => "damaged",
            Self::Entities { .. } => "entities",
            Self::NoWorksheet => "no_worksheet",
            Self::Empty => "empty",
            Self::Header { .. } => "header",
            Self::DuplicateHeader { .. } => "duplicate_header",
            Self::TooManyRows { .. } => "too_many_rows",
            Self::TooManyColumns { .. } => "too_many_columns",
            Self::TooManyCells { .. } => "too_many_cells",
            Self::TextTooLong { .. } => "text_too_long",
            Self::TooMuchText { .. } => "too_much_text",
            Self::TabName { .. } => "tab_name",
            Self::RowTooWide { .. } => "row_too_wide",
            Self::Write { .. } => "write",
        }
    }
}

#[cfg(test)]
mod tests;
