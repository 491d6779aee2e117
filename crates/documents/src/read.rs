//! The first worksheet of a workbook as cells (ECMA-376 part 1, 18.2 to 18.8: only what carries values).
//!
//! Read as a stream: what is held is the table of texts and the cells, both limited. Elements are known by their name without prefix, so that
//! strict and transitional files and the prefixes of other writers are the same here.

use std::collections::HashMap;
use std::io::Read;

use jiff::civil::{Date, DateTime};

use crate::package::{Package, Relation};
use crate::serial::{Shown, date_of, date_time_of, shown_by, shown_by_id};
use crate::text::{clean, unescape};
use crate::xml::{Element, Node, Xml};
use crate::{Cell, Row, Sheet, SheetError, SheetLimits, cell_name};

/// Rows and columns Excel has.
const EXCEL_ROWS: u32 = 1_048_576;
const EXCEL_COLUMNS: usize = 16_384;
/// Formats of cells a workbook may have; Excel has 65,490.
const FORMATS_MAX: usize = 70_000;
/// Formulas over several cells; each is asked for every cell.
const AREAS_MAX: usize = 256;

/// Reads the first worksheet a person sees.
///
/// The header is the first row that is not blank; blank rows are left out, the numbers of the others tell where they were. Rows and columns that
/// are hidden or filtered out are read, of merged cells the first has the value. Memory: the file, its table of texts and the cells.
///
/// # Errors
/// [`SheetError`] for everything that is no XLSX workbook, must not be read, or is beyond `limits`; never a panic, whatever the bytes.
pub fn read_sheet(bytes: &[u8], limits: &SheetLimits) -> Result<Sheet, SheetError> {
    let mut package = Package::open(bytes, limits)?;
    let Some(workbook) = package.relations("")?.into_iter().find(|relation| relation.kind == "officeDocument") else {
        return Err(SheetError::NotXlsx { looks_like: "zip" });
    };
    let relations = package.relations(&workbook.target)?;
    let of_kind = |kind: &str| relations.iter().find(|relation| relation.kind == kind);
    let book = read_workbook(&mut package, &workbook.target, &relations)?;
    let texts = match of_kind("sharedStrings") {
        Some(part) => Texts::read(&mut package, &part.target, limits)?,
        None => Texts::default(),
    };
    let formats = match of_kind("styles") {
        Some(part) => read_formats(&mut package, &part.target)?,
        None => Vec::new(),
    };
    let Some(xml) = package.part(&book.target)? else {
        return Err(SheetError::Damaged { part: book.target, reason: "it is missing".to_owned() });
    };
    let reader = SheetReader {
        xml,
        limits,
        texts,
        formats,
        is_1904: book.is_1904,
        rows: Vec::new(),
        next_column: 0,
        n_cells: 0,
        n_text_bytes: 0,
        n_data_rows: 0,
        areas: Vec::new(),
    };
    let rows = reader.read()?;
    with_header(book.name, rows)
}

/// What the workbook says.
struct Book {
    name: String,
    /// Part of the worksheet.
    target: String,
    is_1904: bool,
}

fn read_workbook(package: &mut Package<'_>, part: &str, relations: &[Relation]) -> Result<Book, SheetError> {
    let Some(mut xml) = package.part(part)? else { return Err(SheetError::NotXlsx { looks_like: "zip" }) };
    let (mut is_1904, mut found, mut has_root) = (false, None, false);
    loop {
        match xml.next()? {
            Node::Open(element) if !has_root => {
                if element.name() != "workbook" {
                    return Err(SheetError::NotXlsx { looks_like: "xml" });
                }
                has_root = true;
            }
            Node::Open(element) => {
                let attribute = |name| element.attribute(name).map_err(|reason| SheetError::Damaged { part: part.to_owned(), reason });
                match element.name() {
                    "workbookPr" => is_1904 = attribute("date1904")?.is_some_and(|word| matches!(word.trim(), "1" | "true")),
                    "sheet" if found.is_none() && attribute("state")?.is_none_or(|state| state == "visible") => {
                        let id = attribute("id")?.unwrap_or_default();
                        let relation = relations.iter().find(|relation| relation.id == id && relation.kind == "worksheet");
                        if let Some(relation) = relation {
                            found = Some((attribute("name")?.unwrap_or_default(), relation.target.clone()));
                        }
                    }
                    _ => {}
                }
            }
            Node::End => break,
            _ => {}
        }
    }
    let (name, target) = found.ok_or(SheetError::NoWorksheet)?;
    Ok(Book { name: clean(&unescape(&name)).into_owned(), target, is_1904 })
}

/// The texts cells share, one after the other.
#[derive(Default)]
struct Texts {
    all: String,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Texts {
    fn read(package: &mut Package<'_>, part: &str, limits: &SheetLimits) -> Result<Self, SheetError> {
        let mut texts = Self::default();
        let Some(mut xml) = package.part(part)? else { return Ok(texts) };
        let too_much = SheetError::TooMuchText { max: limits.text_bytes_max };
        let mut run = TextRun::default();
        loop {
            match xml.next()? {
                Node::Open(element) if element.name() == "si" => run = TextRun::default(),
                Node::Open(element) => run.open(element.name()),
                Node::Text(text) => {
                    run.push(&text);
                    if run.text.len() + texts.all.len() > limits.text_bytes_max {
                        return Err(too_much);
                    }
                }
                Node::Close(closing) if closing.name() == "si" => {
                    texts.all.push_str(&clean(&unescape(&run.text)));
                    texts.ends.push(texts.all.len());
                    // An empty text costs a place of its own, which must not be free either.
                    if texts.ends.len() > limits.cells_max {
                        return Err(SheetError::TooManyCells { max: limits.cells_max });
                    }
                }
                Node::Close(closing) => run.close(closing.name()),
                Node::Other => {}
                Node::End => return Ok(texts),
            }
        }
    }

    fn get(&self, i: usize) -> Option<&str> {
        let start = if i == 0 { 0 } else { *self.ends.get(i - 1)? };
        self.all.get(start..*self.ends.get(i)?)
    }
}

/// Gathers the `t` of a text with or without runs, leaving out how it is pronounced.
#[derive(Default)]
struct TextRun {
    text: String,
    is_t: bool,
    is_phonetic: bool,
}

impl TextRun {
    fn open(&mut self, name: &str) {
        match name {
            "t" => self.is_t = true,
            "rPh" => self.is_phonetic = true,
            _ => {}
        }
    }

    fn close(&mut self, name: &str) {
        match name {
            "t" => self.is_t = false,
            "rPh" => self.is_phonetic = false,
            _ => {}
        }
    }

    fn push(&mut self, text: &str) {
        if self.is_t && !self.is_phonetic {
            self.text.push_str(text);
        }
    }
}

/// What each format of cells shows.
fn read_formats(package: &mut Package<'_>, part: &str) -> Result<Vec<Shown>, SheetError> {
    let (mut formats, mut codes) = (Vec::new(), HashMap::new());
    let Some(mut xml) = package.part(part)? else { return Ok(formats) };
    let (mut is_in_codes, mut is_in_cells) = (false, false);
    loop {
        match xml.next()? {
            Node::Open(element) => {
                let attribute = |name| element.attribute(name).map_err(|reason| SheetError::Damaged { part: part.to_owned(), reason });
                let id = || Ok(attribute("numFmtId")?.and_then(|id| id.trim().parse::<u32>().ok()));
                match element.name() {
                    "numFmts" => is_in_codes = true,
                    "cellXfs" => is_in_cells = true,
                    "numFmt" if is_in_codes => {
                        if let Some(id) = id()? {
                            codes.insert(id, shown_by(&attribute("formatCode")?.unwrap_or_default()));
                        }
                    }
                    "xf" if is_in_cells => {
                        let id = id()?.unwrap_or_default();
                        formats.push(codes.get(&id).copied().unwrap_or_else(|| shown_by_id(id)));
                    }
                    _ => {}
                }
            }
            Node::Close(closing) => match closing.name() {
                "numFmts" => is_in_codes = false,
                "cellXfs" => is_in_cells = false,
                _ => {}
            },
            Node::End => return Ok(formats),
            _ => {}
        }
        if formats.len().max(codes.len()) > FORMATS_MAX {
            return Err(xml.damaged("it has too many formats"));
        }
    }
}

/// Cells `(first column, first row, last column, last row)`, columns from 0.
type Area = (usize, u32, usize, u32);

struct SheetReader<'a, R> {
    xml: Xml<R>,
    limits: &'a SheetLimits,
    texts: Texts,
    formats: Vec<Shown>,
    is_1904: bool,
    rows: Vec<Row>,
    /// Where a cell without an address stands.
    next_column: usize,
    n_cells: usize,
    n_text_bytes: usize,
    n_data_rows: usize,
    /// Where one formula fills several cells: the others have a value only.
    areas: Vec<Area>,
}

/// What a value is to be taken for.
#[derive(Clone, Copy)]
enum Kind {
    Number,
    Shared,
    Inline,
    /// The text of a formula, or of a writer that knows no better.
    Str,
    Bool,
    Date,
    /// An error, or what is not known.
    Fault,
}

/// An opening `c`.
struct CellStart {
    address: Option<(usize, u32)>,
    kind: Kind,
    format: usize,
}

impl CellStart {
    fn of(element: &Element<'_>) -> Result<Self, String> {
        let [address, kind, format] = element.attributes(["r", "t", "s"])?;
        let address = address.map(|text| parse_address(&text).ok_or_else(|| format!("{text:?} is no cell"))).transpose()?;
        let kind = match kind.as_deref() {
            None | Some("" | "n") => Kind::Number,
            Some("s") => Kind::Shared,
            Some("inlineStr") => Kind::Inline,
            Some("str") => Kind::Str,
            Some("b") => Kind::Bool,
            Some("d") => Kind::Date,
            Some(_) => Kind::Fault,
        };
        // Without a format there is the first one.
        Ok(Self { address, kind, format: format.and_then(|text| text.trim().parse().ok()).unwrap_or_default() })
    }
}

/// A cell and what was gathered of it.
struct Raw {
    column: usize,
    kind: Kind,
    format: usize,
    value: String,
    inline: TextRun,
    formula: Option<String>,
}

impl<R: Read> SheetReader<'_, R> {
    fn read(mut self) -> Result<Vec<Row>, SheetError> {
        let mut is_in_data = false;
        let mut row: Option<Row> = None;
        let mut number = 0;
        loop {
            match self.xml.next()? {
                Node::Open(element) => match element.name() {
                    "sheetData" => is_in_data = true,
                    "row" if is_in_data => {
                        let given = element.attribute("r");
                        number = self.row_number(given, number)?;
                        row = Some(Row { number, cells: Vec::new() });
                        self.next_column = 0;
                    }
                    "c" if is_in_data => {
                        let start = CellStart::of(&element);
                        let Some(row) = &mut row else { return Err(self.xml.damaged("a cell stands outside of a row")) };
                        let start = start.map_err(|reason| self.xml.damaged(reason))?;
                        self.read_cell(row, start)?;
                    }
                    _ => {}
                },
                Node::Close(closing) => match closing.name() {
                    "row" if is_in_data => {
                        if let Some(row) = row.take() {
                            self.keep(row)?;
                        }
                    }
                    // What follows is how the sheet looks and what it refers to.
                    "sheetData" => return Ok(self.rows),
                    _ => {}
                },
                Node::End => return Err(self.xml.damaged("it has no cells")),
                Node::Text(_) | Node::Other => {}
            }
        }
    }

    fn row_number(&self, given: Result<Option<String>, String>, previous: u32) -> Result<u32, SheetError> {
        let number = match given.map_err(|reason| self.xml.damaged(reason))? {
            Some(text) => text.trim().parse().map_err(|_| self.xml.damaged(format!("{text:?} is no row")))?,
            None => previous + 1,
        };
        if number <= previous || number > EXCEL_ROWS {
            return Err(self.xml.damaged(format!("row {number} follows row {previous}")));
        }
        Ok(number)
    }

    fn read_cell(&mut self, row: &mut Row, start: CellStart) -> Result<(), SheetError> {
        let column = match start.address {
            None => self.next_column,
            Some((column, number)) if number == row.number => column,
            Some((column, number)) => return Err(self.xml.damaged(format!("{} stands in row {}", cell_name(column, number), row.number))),
        };
        if column < self.next_column {
            return Err(self.xml.damaged(format!("{} comes too late", cell_name(column, row.number))));
        }
        self.next_column = column + 1;
        let mut raw =
            Raw { column, kind: start.kind, format: start.format, value: String::new(), inline: TextRun::default(), formula: None };
        self.gather(&mut raw, row.number)?;
        let area = self.areas.iter().any(|(c1, r1, c2, r2)| (*c1..=*c2).contains(&column) && (*r1..=*r2).contains(&row.number));
        let cell = if area && raw.formula.is_none() { Cell::Formula(String::new()) } else { self.value(raw, row.number)? };
        if cell == Cell::Empty {
            return Ok(());
        }
        if column >= self.limits.columns_max || column >= EXCEL_COLUMNS {
            return Err(SheetError::TooManyColumns { cell: cell_name(column, row.number), max: self.limits.columns_max });
        }
        self.n_cells += column + 1 - row.cells.len();
        if self.n_cells > self.limits.cells_max {
            return Err(SheetError::TooManyCells { max: self.limits.cells_max });
        }
        row.cells.resize(column, Cell::Empty);
        row.cells.push(cell);
        Ok(())
    }

    /// Reads up to the end of the cell.
    fn gather(&mut self, raw: &mut Raw, row: u32) -> Result<(), SheetError> {
        #[derive(PartialEq)]
        enum In {
            Cell,
            Value,
            Inline,
            Formula,
        }
        let mut inside = In::Cell;
        // The longest form of a character: `_xD83D__xDE00_`.
        let bytes_max = self.limits.cell_chars_max.saturating_mul(14);
        loop {
            match self.xml.next()? {
                Node::Open(element) => match (element.name(), &inside) {
                    ("v", In::Cell) => inside = In::Value,
                    ("is", In::Cell) => inside = In::Inline,
                    ("f", In::Cell) => {
                        inside = In::Formula;
                        raw.formula.get_or_insert_default();
                        let area = (|| {
                            // Arrays and data tables fill their neighbours; the copies of a shared formula are formulas themselves.
                            let fills = matches!(element.attribute("t")?.as_deref(), Some("array" | "dataTable"));
                            element.attribute("ref").map(|area| area.filter(|_| fills))
                        })();
                        let area = area.map_err(|reason| self.xml.damaged(reason))?;
                        if let Some(area) = area.as_deref().and_then(parse_area) {
                            self.areas.retain(|(_, _, _, last)| *last >= row);
                            self.areas.push(area);
                            if self.areas.len() > AREAS_MAX {
                                return Err(self.xml.damaged("too many formulas fill several cells"));
                            }
                        }
                    }
                    (name, In::Inline) => raw.inline.open(name),
                    _ => {}
                },
                Node::Close(closing) => match (closing.name(), &inside) {
                    ("c", _) => return Ok(()),
                    ("v", In::Value) | ("is", In::Inline) | ("f", In::Formula) => inside = In::Cell,
                    (name, In::Inline) => raw.inline.close(name),
                    _ => {}
                },
                Node::Text(text) => {
                    match inside {
                        In::Value => raw.value.push_str(&text),
                        In::Inline => raw.inline.push(&text),
                        In::Formula => raw.formula.get_or_insert_default().push_str(&text),
                        In::Cell => {}
                    }
                    let formula = raw.formula.as_ref().map_or(0, String::len);
                    if raw.value.len().max(raw.inline.text.len()).max(formula) > bytes_max {
                        return Err(self.too_long(raw.column, row));
                    }
                }
                Node::Other => {}
                Node::End => return Err(self.xml.damaged("it ends in a cell")),
            }
        }
    }

    fn too_long(&self, column: usize, row: u32) -> SheetError {
        SheetError::TextTooLong { cell: cell_name(column, row), max: self.limits.cell_chars_max }
    }

    /// The text of a cell, counted.
    fn text(&mut self, text: &str, column: usize, row: u32) -> Result<String, SheetError> {
        if text.len() > self.limits.cell_chars_max && text.chars().count() > self.limits.cell_chars_max {
            return Err(self.too_long(column, row));
        }
        self.n_text_bytes += text.len();
        if self.n_text_bytes > self.limits.text_bytes_max {
            return Err(SheetError::TooMuchText { max: self.limits.text_bytes_max });
        }
        Ok(text.to_owned())
    }

    fn value(&mut self, raw: Raw, row: u32) -> Result<Cell, SheetError> {
        let Raw { column, kind, format, value, inline, formula } = raw;
        if let Some(formula) = formula {
            return Ok(Cell::Formula(self.text(&clean(&formula), column, row)?));
        }
        let as_text = |text: String| if text.is_empty() { Cell::Empty } else { Cell::Text(text) };
        let word = value.trim();
        if word.is_empty() && !matches!(kind, Kind::Inline | Kind::Str) {
            return Ok(Cell::Empty);
        }
        let cell = match kind {
            Kind::Inline => return Ok(as_text(self.text(&clean(&unescape(&inline.text)), column, row)?)),
            Kind::Str => return Ok(as_text(self.text(&clean(&unescape(&value)), column, row)?)),
            Kind::Shared => {
                let texts = std::mem::take(&mut self.texts);
                let text = word.parse().ok().and_then(|i| texts.get(i)).map(|text| self.text(text, column, row));
                self.texts = texts;
                let missing = || self.xml.damaged(format!("{} has no text {word:?}", cell_name(column, row)));
                return Ok(as_text(text.ok_or_else(missing)??));
            }
            Kind::Bool => match word {
                "1" | "true" => Some(Cell::Bool(true)),
                "0" | "false" => Some(Cell::Bool(false)),
                _ => None,
            },
            Kind::Date => match word.parse::<Date>() {
                Ok(date) if !word.contains(['T', ' ']) => Some(Cell::Date(date)),
                _ => word.parse::<DateTime>().ok().map(Cell::DateTime),
            },
            Kind::Number => {
                let number = word.parse::<f64>().ok().filter(|number| number.is_finite());
                number.and_then(|number| match self.formats.get(format).copied().unwrap_or(Shown::Number) {
                    Shown::Number => Some(Cell::Number(number)),
                    Shown::Date => date_of(number, self.is_1904).map(Cell::Date),
                    Shown::DateTime => date_time_of(number, self.is_1904).map(Cell::DateTime),
                })
            }
            Kind::Fault => None,
        };
        match cell {
            Some(cell) => Ok(cell),
            None => Ok(Cell::Fault(self.text(&clean(word), column, row)?)),
        }
    }

    fn keep(&mut self, row: Row) -> Result<(), SheetError> {
        if row.cells.iter().all(Cell::is_blank) {
            self.n_cells -= row.cells.len();
            return Ok(());
        }
        // The first is the header.
        self.n_data_rows += usize::from(!self.rows.is_empty());
        if self.n_data_rows > self.limits.rows_max {
            return Err(SheetError::TooManyRows { max: self.limits.rows_max });
        }
        self.rows.push(row);
        Ok(())
    }
}

/// `B7` as column from 0 and row from 1.
fn parse_address(text: &str) -> Option<(usize, u32)> {
    let text = text.trim();
    let letters = text.find(|c: char| !c.is_ascii_alphabetic())?;
    let (column, row) = text.split_at(letters);
    if column.is_empty() || column.len() > 3 || !row.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let column = column.bytes().fold(0, |n, b| n * 26 + usize::from(b.to_ascii_uppercase() - b'A') + 1);
    Some((column - 1, row.parse().ok().filter(|row| (1..=EXCEL_ROWS).contains(row))?))
}

/// `A1:B7`, if it is more than one cell.
fn parse_area(text: &str) -> Option<Area> {
    let (first, last) = text.split_once(':')?;
    let ((c1, r1), (c2, r2)) = (parse_address(first)?, parse_address(last)?);
    Some((c1, r1, c2, r2))
}

/// Takes the first row as the header.
fn with_header(name: String, rows: Vec<Row>) -> Result<Sheet, SheetError> {
    let mut rows = rows.into_iter();
    let Some(first) = rows.next() else { return Err(SheetError::Empty) };
    let (mut header, mut seen) = (Vec::new(), HashMap::new());
    for (cell, column) in first.cells.iter().zip(0..) {
        let at = || cell_name(column, first.number);
        let title = match cell {
            Cell::Empty => String::new(),
            Cell::Text(text) => text.trim().to_owned(),
            Cell::Number(number) => number.to_string(),
            Cell::Date(date) => date.to_string(),
            Cell::DateTime(at) => at.to_string(),
            Cell::Bool(_) | Cell::Fault(_) | Cell::Formula(_) => {
                return Err(SheetError::Header { cell: at(), reason: "is no text".to_owned() });
            }
        };
        if !title.is_empty()
            && let Some(before) = seen.insert(title.clone(), column)
        {
            return Err(SheetError::DuplicateHeader { name: title, first: cell_name(before, first.number), second: at() });
        }
        header.push(title);
    }
    while header.last().is_some_and(String::is_empty) {
        header.pop();
    }
    Ok(Sheet { name, header_row: first.number, header, rows: rows.collect() })
}
