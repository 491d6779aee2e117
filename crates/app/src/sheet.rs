//! Registers as sheets (XLSX): what a list shows as a file, and a file as many records.
//!
//! A row that is imported goes the way of one that is typed in: the same transition, the same guards, the same audit. Rows are kept in portions, each
//! whole or not at all, so that people and alarms get their turn between them; a file that broke off is given again, and what is there already is
//! counted as repeated if the register has a key. Files are read as hostile ([`anlan_documents`]). Start at [`import`] and [`export`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use anlan_documents::{Cell, Column, ColumnKind, NewSheet, Row, Sheet, SheetError, SheetLimits, Tab, read_sheet, write_sheet};
use anlan_domain::register::{Field, FieldType, Kind, Owner, Value, minute_of, parse_minute};
use anlan_model::{Clock as _, EnterpriseId, Permission, RegionCode, Scope};
use anlan_store::{RecordChange, RecordOwner};
use serde::{Deserialize, Serialize};

use crate::App;
use crate::error::{AppError, Kind as Refusal, Problem};
use crate::point::off_thread;
use crate::record::{self, Doing, PORTION, RecordFilter, RecordRow};
use crate::validate::{self, Paging};

/// Rows of an exported file; more are asked for in parts.
pub const ROWS_MAX: usize = 50_000;
/// Rows that are read at once.
const PAGE: usize = 2_000;
/// Lines of one table of all exported records together; Excel itself ends at 1,048,576.
const LINES_MAX: usize = 200_000;
/// Width of a column in characters.
const WIDTH: f64 = 18.0;

/// The languages of a sheet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// 中文.
    Chinese,
    /// English.
    English,
}

impl Language {
    fn say<'a>(self, chinese: &'a str, english: &'a str) -> &'a str {
        match self {
            Self::Chinese => chinese,
            Self::English => english,
        }
    }
}

/// Why a row was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowFault {
    /// Row as Excel shows it.
    pub row: u32,
    /// Header of the column; empty = the row as a whole.
    pub column: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What became of a file.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    /// Rows with something in them.
    pub rows: usize,
    /// Made, or that would be.
    pub made: usize,
    /// There already, and changed by the file.
    pub merged: usize,
    /// There already.
    pub repeated: usize,
    /// Rows that were not taken.
    pub refused: usize,
    /// Why, in order of rows.
    pub faults: Vec<RowFault>,
    /// The file, for [`refused_sheet`].
    pub sheet: Option<Sheet>,
}

impl Imported {
    pub(crate) fn fault(&mut self, row: u32, column: &str, problem: Problem) {
        self.faults.push(RowFault { row, column: column.to_owned(), problem });
    }
    /// Counts the rows with faults, in the end.
    pub(crate) fn done(mut self) -> Self {
        self.faults.sort_by_key(|fault| fault.row);
        self.refused = self.faults.iter().map(|fault| fault.row).collect::<BTreeSet<_>>().len();
        self
    }
}

pub(crate) fn problem(code: &'static str) -> Problem {
    Problem { code, field: None, params: BTreeMap::new() }
}

/// A file as a sheet.
///
/// # Errors
/// Whatever [`read_sheet`] says against it, as `sheet.…`.
pub(crate) async fn read(app: &App, bytes: Vec<u8>) -> Result<Sheet, AppError> {
    // A hostile file takes seconds of a core: one at a time.
    let _turn = app.sheets.acquire().await.map_err(|_| AppError::new(Refusal::Unavailable, "server.busy"))?;
    off_thread(move || read_sheet(&bytes, &SheetLimits::default())).await?.map_err(refused_file)
}

fn refused_file(error: SheetError) -> AppError {
    let refused = match &error {
        SheetError::NotXlsx { .. } => AppError::invalid("sheet.not_xlsx", "file"),
        SheetError::Encrypted => AppError::invalid("sheet.encrypted", "file"),
        SheetError::Macros { .. } => AppError::invalid("sheet.macros", "file"),
        SheetError::ExternalLink { .. } => AppError::invalid("sheet.external_link", "file"),
        SheetError::FileTooLarge { .. }
        | SheetError::TooManyEntries { .. }
        | SheetError::InflatesTooFar { .. }
        | SheetError::RatioTooHigh { .. } => AppError::invalid("sheet.bomb", "file"),
        SheetError::NoWorksheet | SheetError::Empty => AppError::invalid("sheet.empty", "file"),
        SheetError::Header { .. } | SheetError::DuplicateHeader { .. } => AppError::invalid("sheet.header", "file"),
        SheetError::TooManyRows { .. }
        | SheetError::TooManyColumns { .. }
        | SheetError::TooManyCells { .. }
        | SheetError::TextTooLong { .. }
        | SheetError::TooMuchText { .. } => AppError::invalid("sheet.too_much", "file"),
        _ => AppError::invalid("sheet.damaged", "file"),
    };
    refused.with("reason", &error)
}

/// The file of the sheet that `make` makes, off the threads that answer.
pub(crate) async fn write(app: &App, make: impl FnOnce() -> Result<NewSheet, AppError> + Send + 'static) -> Result<Vec<u8>, AppError> {
    let _turn = app.sheets.acquire().await.map_err(|_| AppError::new(Refusal::Unavailable, "server.busy"))?;
    let failed = |e: SheetError| AppError { source: Some(e.into()), ..AppError::new(Refusal::Internal, "internal") };
    off_thread(move || make().and_then(|sheet| write_sheet(&sheet).map_err(failed))).await?
}

pub(crate) fn column(header: &str, kind: ColumnKind) -> Column {
    Column { header: header.to_owned(), width: WIDTH, kind }
}

/// A sheet's name without the signs that Excel does not take.
fn tab_name(name: &str, taken: &[Tab]) -> String {
    let plain: String = name.chars().filter(|c| !"[]:*?/\\'".contains(*c)).take(28).collect();
    let is_taken = |name: &str| taken.iter().any(|tab| tab.name.eq_ignore_ascii_case(name));
    let names = (1..).map(|n| if n == 1 { plain.clone() } else { format!("{plain}{n}") });
    names.into_iter().find(|name| !name.is_empty() && !is_taken(name)).unwrap_or_default()
}

// ---- a table as it is

/// Rows of a table that is written as it is.
pub const TABLE_ROWS_MAX: usize = 5_000;
/// Its columns.
const TABLE_COLUMNS_MAX: usize = 60;

/// A table: names of columns with whether numbers stand in them, and texts.
pub struct TableOf {
    /// Name of the sheet.
    pub name: String,
    /// Name, and whether cells that are numbers stand as numbers.
    pub columns: Vec<(String, bool)>,
    /// Texts.
    pub rows: Vec<Vec<String>>,
}

/// The file of a table, cell by cell.
///
/// # Errors
/// Too many rows or columns, rows of another length, two columns of one name, what no XLSX file holds.
pub async fn table(app: &App, of: TableOf) -> Result<Vec<u8>, AppError> {
    let TableOf { name, columns, rows } = of;
    if columns.is_empty() || columns.len() > TABLE_COLUMNS_MAX {
        return Err(AppError::invalid("table.columns", "columns").with("max", TABLE_COLUMNS_MAX));
    }
    if rows.len() > TABLE_ROWS_MAX {
        return Err(AppError::invalid("table.rows", "rows").with("max", TABLE_ROWS_MAX));
    }
    if let Some(place) = rows.iter().position(|row| row.len() != columns.len()) {
        return Err(AppError::invalid("table.ragged", &format!("rows[{place}]")));
    }
    let mut heads: Vec<Column> = Vec::new();
    for (name, is_number) in &columns {
        let name = if heads.iter().any(|c| c.header == name.trim()) {
            format!("{} ({})", name.trim(), heads.len() + 1)
        } else {
            name.trim().to_owned()
        };
        let name = if name.is_empty() { format!("({})", heads.len() + 1) } else { name };
        heads.push(column(&name, if *is_number { ColumnKind::Number } else { ColumnKind::Text }));
    }
    let cell = |value: String, is_number: bool| {
        // What people write is text, whatever it begins with; only a plain number in a column of numbers is one.
        let number = if is_number { value.parse::<f64>().ok().filter(|n| n.is_finite()) } else { None };
        number.map_or_else(|| text(&value), Cell::Number)
    };
    let rows: Vec<Vec<Cell>> = rows
        .into_iter()
        .map(|row| row.into_iter().zip(&columns).map(|(value, (_, is_number))| cell(value, *is_number)).collect())
        .collect();
    let named = tab_name(&name, &[]);
    let name = if named.trim().is_empty() { "Sheet".to_owned() } else { named };
    let _turn = app.sheets.acquire().await.map_err(|_| AppError::new(Refusal::Unavailable, "server.busy"))?;
    let sheet = NewSheet { tabs: vec![Tab { name, columns: heads, rows }] };
    off_thread(move || write_sheet(&sheet)).await?.map_err(|wrong| AppError::invalid("table.unfit", "rows").with("reason", wrong))
}

// ---- export

/// The records of a list as a file: a tab of records, and one for each table in them.
///
/// # Errors
/// As the list; more rows than a file takes.
pub async fn export(app: &App, scope: &Scope, kind: &str, filter: &RecordFilter, language: Language) -> Result<Vec<u8>, AppError> {
    let part = part(app, scope, kind, filter, language, None, ROWS_MAX).await?;
    if part.next.is_some() {
        return Err(AppError::invalid("sheet.too_long", "").with("most", ROWS_MAX));
    }
    Ok(part.bytes)
}

/// The people and records that these rows name, as far as the asker sees them.
pub(crate) async fn names(app: &App, scope: &Scope, kind: &str, rows: &[RecordRow]) -> Result<Names, AppError> {
    let people = record::people_in(app, kind, rows).await?;
    let records = record::references_in(app, scope, kind, rows).await?;
    Ok(Names {
        people: people.into_iter().map(|(id, name)| (id.to_string(), name)).collect(),
        records: records.into_iter().map(|(id, row)| (id.to_string(), row.title)).collect(),
    })
}

/// What a field says, as text; empty where nothing stands in it.
pub(crate) fn text_of(field: &Field, value: Option<&Value>, names: &Names, language: Language) -> String {
    match cell_of(field, value, names, language) {
        Cell::Text(text) => text,
        Cell::Number(number) => number.to_string(),
        Cell::Date(date) => date.to_string(),
        _ => String::new(),
    }
}

/// A list as far as one file goes.
pub(crate) struct Part {
    pub(crate) bytes: Vec<u8>,
    pub(crate) rows: usize,
    /// Where the next one begins.
    pub(crate) next: Option<String>,
}

/// The next `rows_max` records of a list as a file.
pub(crate) async fn part(
    app: &App,
    scope: &Scope,
    kind: &str,
    filter: &RecordFilter,
    language: Language,
    cursor: Option<String>,
    rows_max: usize,
) -> Result<Part, AppError> {
    let view = scope.with(Permission::View)?;
    let kind = app.registers.load().kind(kind)?;
    let filter = &record::of_kind(&kind, filter);
    let (mut rows, mut next) = (Vec::new(), cursor);
    loop {
        let limit = u32::try_from((rows_max - rows.len()).min(PAGE)).unwrap_or(1);
        let page = app.store.records(&view, &kind.id, filter, &Paging { cursor: next.take(), limit }).await?;
        rows.extend(page.items);
        next = page.next;
        if next.is_none() || rows.len() >= rows_max {
            break;
        }
    }
    let names = names(app, scope, &kind.id, &rows).await?;
    let n = rows.len();
    let bytes = write(app, move || sheet_of(&kind, &rows, &names, language)).await?;
    Ok(Part { bytes, rows: n, next })
}

/// Names of people and titles of records, by ids.
#[derive(Default)]
pub(crate) struct Names {
    people: HashMap<String, String>,
    records: HashMap<String, String>,
}

fn sheet_of(kind: &Kind, rows: &[RecordRow], names: &Names, language: Language) -> Result<NewSheet, AppError> {
    let plain: Vec<&Field> = kind.fields.iter().filter(|f| !matches!(f.of, FieldType::Table { .. })).collect();
    let fixed = [
        ("编号", "Number"),
        ("企业", "Enterprise"),
        ("行政区划代码", "Division code"),
        ("行政区划", "Division"),
        ("状态", "State"),
        ("期限", "Due"),
        ("建立时间", "Made at"),
    ];
    let mut columns: Vec<Column> = fixed.iter().map(|(zh, en)| column(language.say(zh, en), ColumnKind::Text)).collect();
    for field in &plain {
        columns.push(column(&header_of(field, language, &columns), column_kind(&field.of)));
    }
    let mut tabs = vec![Tab { name: tab_name(language.say(&kind.name, &kind.name_en), &[]), columns, rows: Vec::new() }];
    let tables: Vec<&Field> = kind.fields.iter().filter(|f| matches!(f.of, FieldType::Table { .. })).collect();
    for field in &tables {
        let FieldType::Table { columns: cells, .. } = &field.of else { continue };
        let mut columns = vec![column(language.say("编号", "Number"), ColumnKind::Text)];
        for cell in cells {
            columns.push(column(&header_of(cell, language, &columns), column_kind(&cell.of)));
        }
        tabs.push(Tab { name: tab_name(language.say(&field.name, &field.name_en), &tabs), columns, rows: Vec::new() });
    }
    let of_copies = Names::default();
    for row in rows {
        // A copy says names and titles itself.
        let names = if row.home.is_some() { &of_copies } else { names };
        let record = record::read(kind, row)?;
        let state = kind.state(&row.state).map_or(row.state.as_str(), |s| language.say(&s.name, &s.name_en));
        let number = if row.number.is_empty() { row.id.to_string() } else { row.number.clone() };
        let mut cells = vec![
            Cell::Text(number.clone()),
            text(row.enterprise_name.as_deref().unwrap_or_default()),
            text(row.region.as_ref().map_or("", RegionCode::as_str)),
            text(row.region_name.as_deref().unwrap_or_default()),
            text(state),
            row.due_on.as_ref().and_then(|day| day.parse().ok()).map_or(Cell::Empty, Cell::Date),
            Cell::Text(row.created_at.to_string()),
        ];
        cells.extend(plain.iter().map(|field| cell_of(field, record.fields.get(&field.id), names, language)));
        tabs[0].rows.push(cells);
        for (tab, field) in tabs.iter_mut().skip(1).zip(&tables) {
            let (FieldType::Table { columns, .. }, Some(Value::Table(lines))) = (&field.of, record.fields.get(&field.id)) else { continue };
            if tab.rows.len() + lines.len() > LINES_MAX {
                return Err(AppError::invalid("sheet.too_long", "").with("most", LINES_MAX));
            }
            for line in lines {
                let mut cells = vec![Cell::Text(number.clone())];
                cells.extend(columns.iter().map(|column| cell_of(column, line.get(&column.id), names, language)));
                tab.rows.push(cells);
            }
        }
    }
    Ok(NewSheet { tabs })
}

fn text(text: &str) -> Cell {
    if text.is_empty() { Cell::Empty } else { Cell::Text(text.to_owned()) }
}

/// The name of a field with its unit, unlike the columns before it.
fn header_of(field: &Field, language: Language, before: &[Column]) -> String {
    let name = language.say(&field.name, &field.name_en);
    let name = match &field.of {
        FieldType::Number { unit, .. } if !unit.is_empty() => format!("{name} ({unit})"),
        _ => name.to_owned(),
    };
    if before.iter().any(|c| c.header == name) { format!("{name} [{}]", field.id) } else { name }
}

fn column_kind(of: &FieldType) -> ColumnKind {
    match of {
        // Of files a sheet shows how many there are.
        FieldType::Number { .. } | FieldType::File { .. } => ColumnKind::Number,
        FieldType::Date => ColumnKind::Date,
        _ => ColumnKind::Text,
    }
}

fn cell_of(field: &Field, value: Option<&Value>, names: &Names, language: Language) -> Cell {
    match (value, &field.of) {
        (None, _) => Cell::Empty,
        (Some(Value::Number(n)), _) => Cell::Number(*n),
        (Some(Value::Date(date)), _) => Cell::Date(*date),
        (Some(Value::DateTime(at)), _) => Cell::Text(minute_of(*at).replace('T', " ")),
        (Some(Value::Place(place)), _) => Cell::Text(format!("{},{}", place.lon, place.lat)),
        (Some(Value::Table(rows)), _) => Cell::Number(rows.len() as f64),
        (Some(Value::Files(ids)), _) => Cell::Number(ids.len() as f64),
        (Some(Value::Text(word)), FieldType::Choice { choices }) => {
            let name = choices.iter().find(|c| c.id == *word).map(|c| language.say(&c.name, &c.name_en));
            text(name.unwrap_or(word))
        }
        (Some(Value::Text(id)), FieldType::Person) => text(names.people.get(id).unwrap_or(id)),
        // What whoever exports does not see is no more than a number to them.
        (Some(Value::Text(id)), FieldType::Record { .. }) => text(names.records.get(id).unwrap_or(id)),
        (Some(Value::Text(words)), _) => text(words),
    }
}

// ---- import

/// Name of the column that says whose a row is; `None` = everybody's.
fn owner_header(kind: &Kind, language: Language) -> Option<&'static str> {
    match kind.owner {
        Owner::Enterprise => Some(language.say("统一社会信用代码（企业编码）", "Enterprise code")),
        Owner::Region => Some(language.say("行政区划代码", "Division code")),
        Owner::Either => Some(language.say("企业编码或行政区划代码", "Enterprise or division code")),
        Owner::Everyone => None,
    }
}

/// An empty sheet to be filled in, with a second tab that says what may stand where.
///
/// # Errors
/// A register that nothing is imported into.
pub async fn template(app: &App, scope: &Scope, kind: &str, language: Language) -> Result<Vec<u8>, AppError> {
    scope.with(Permission::View)?;
    let kind = app.registers.load().kind(kind)?;
    let fields = import_fields(&kind)?;
    let owner = owner_header(&kind, language);
    let mut columns: Vec<Column> = owner.iter().map(|header| column(header, ColumnKind::Text)).collect();
    let required = kind.import_by.as_ref().and_then(|id| kind.transition(id)).map(|t| t.require.clone()).unwrap_or_default();
    let say = |zh: &str, en: &str| language.say(zh, en).to_owned();
    let note = |header: &&str| vec![Cell::Text((*header).to_owned()), Cell::Text(say("必填", "required")), Cell::Empty];
    let mut notes: Vec<Vec<Cell>> = owner.iter().map(note).collect();
    for field in fields {
        let header = header_of(field, language, &columns);
        let must = if required.contains(&field.id) { Cell::Text(say("必填", "required")) } else { Cell::Empty };
        let allowed = record::allowed(field, language == Language::English);
        notes.push(vec![Cell::Text(header.clone()), must, Cell::Text(allowed)]);
        columns.push(column(&header, column_kind(&field.of)));
    }
    let rows = Tab { name: tab_name(language.say(&kind.name, &kind.name_en), &[]), columns, rows: Vec::new() };
    let headers = [say("列", "Column"), say("必填", "Required"), say("内容", "What may stand in it")];
    let columns = headers.iter().map(|header| column(header, ColumnKind::Text)).collect();
    let notes = Tab { name: tab_name(language.say("填写说明", "Notes"), std::slice::from_ref(&rows)), columns, rows: notes };
    write(app, move || Ok(NewSheet { tabs: vec![rows, notes] })).await
}

fn import_fields(kind: &Kind) -> Result<Vec<&Field>, AppError> {
    let fields: Vec<&Field> = kind.import.iter().filter_map(|id| kind.field(id)).collect();
    if fields.is_empty() { Err(AppError::conflict("sheet.no_import")) } else { Ok(fields) }
}

/// Which column of the file holds what.
struct Columns<'a> {
    /// `None` = the register's records are everybody's.
    owner: Option<usize>,
    fields: Vec<(usize, &'a Field)>,
}

impl<'a> Columns<'a> {
    /// # Errors
    /// A column that is missing or that nobody knows.
    fn find(kind: &'a Kind, sheet: &Sheet) -> Result<Self, AppError> {
        let fields = import_fields(kind)?;
        let languages = [Language::Chinese, Language::English];
        let mut used = BTreeSet::new();
        let mut at = |names: &[String]| {
            let found = sheet.header.iter().position(|header| names.iter().any(|name| name == header));
            used.extend(found);
            found
        };
        let missing = |name: &str| AppError::invalid("sheet.column_missing", "file").with("column", name);
        let owner: Vec<String> = languages.into_iter().filter_map(|l| owner_header(kind, l)).map(str::to_owned).collect();
        let owner = match owner.first() {
            None => None,
            Some(first) => Some(at(&owner).ok_or_else(|| missing(first))?),
        };
        let required = kind.import_by.as_ref().and_then(|id| kind.transition(id)).map(|t| t.require.as_slice()).unwrap_or_default();
        let mut found = Vec::new();
        for field in fields {
            let names = [header_of(field, languages[0], &[]), header_of(field, languages[1], &[]), field.name.clone(), field.id.clone()];
            match at(&names) {
                Some(column) => found.push((column, field)),
                None if required.contains(&field.id) => return Err(missing(&names[0])),
                None => {}
            }
        }
        // A column that is not taken over would be lost without a word.
        let unknown = sheet.header.iter().enumerate().find(|(i, header)| !header.is_empty() && !used.contains(i));
        match unknown {
            Some((_, header)) => Err(AppError::invalid("sheet.column_unknown", "file").with("column", header)),
            None => Ok(Self { owner, fields: found }),
        }
    }
}

/// Imports a file, or says what would become of it.
///
/// # Errors
/// A register that nothing is imported into, a file that cannot be read, a column that is missing or unknown. What is wrong with a row is in the answer.
pub async fn import(app: &Arc<App>, scope: &Scope, kind: &str, bytes: Vec<u8>, dry_run: bool) -> Result<Imported, AppError> {
    let act = scope.with(Permission::View)?;
    let kind = app.registers.load().kind(kind)?;
    import_fields(&kind)?;
    let sheet = read(app, bytes).await?;
    Columns::find(&kind, &sheet)?;
    let mut report = Imported { rows: sheet.rows.len(), ..Imported::default() };
    let mut keys: HashMap<String, Option<EnterpriseId>> = HashMap::new();
    for portion in sheet.rows.chunks(PORTION as usize) {
        let mut change = app.store.change_records(&act, app.clock.now()).await?;
        // Behind the line, where nothing moves: enterprises as they are now, the register as it is now.
        let kind = app.registers.load().kind(&kind.id)?;
        let columns = Columns::find(&kind, &sheet)?;
        let owners = owners(&mut change, app, &act, &kind, portion, &columns).await?;
        for row in portion {
            let Some(parsed) = parse(&kind, &sheet, &columns, row, &owners, &mut report) else { continue };
            let (owner, set) = parsed;
            let mut doing = Doing::new(app, scope, owner, Vec::new(), app.clock.now())?;
            let by = kind.import_by.as_deref().unwrap_or_default();
            let decided = match doing.begin(&kind, by, set.clone()) {
                Ok(decided) => decided,
                Err(refused) => {
                    tell(&kind, &sheet, &columns, row.number, refused, &mut report);
                    continue;
                }
            };
            if let Some(key) = kind.key_of(&decided.fields) {
                let holder = match keys.get(&key) {
                    Some(holder) => Some(*holder),
                    None => change.key_holder(&kind.id, &key).await?,
                };
                match holder {
                    // What is another's is not there for this one.
                    Some(holder) if holder != owner.enterprise => {
                        let column = columns.fields.iter().find(|(_, field)| kind.key.contains(&field.id)).map(|(column, _)| *column);
                        let header = column.and_then(|column| sheet.header.get(column)).cloned().unwrap_or_default();
                        report.fault(row.number, &header, problem("register.key_taken"));
                        continue;
                    }
                    Some(_) => {
                        report.repeated += 1;
                        continue;
                    }
                    None => drop(keys.insert(key, owner.enterprise)),
                }
            }
            if !dry_run {
                doing.create(&mut change, &kind, None, by, set, 0).await?;
            }
            report.made += 1;
        }
        if !dry_run {
            app.live.records_changed(&change.commit().await?);
        }
    }
    report.sheet = Some(sheet);
    Ok(report.done())
}

/// What names everybody as owner, where no cell does.
const EVERYONE: &str = "";

/// Owners by what a cell names them by, or why one is none.
type Owners = HashMap<String, Result<RecordOwner, Problem>>;
type Values = BTreeMap<String, Option<Value>>;

/// A row's owner and values, or its faults in the report.
fn parse<'a>(
    kind: &Kind,
    sheet: &Sheet,
    columns: &Columns<'_>,
    row: &Row,
    owners: &'a Owners,
    report: &mut Imported,
) -> Option<(&'a RecordOwner, Values)> {
    let header = |column: usize| sheet.header.get(column).map(String::as_str).unwrap_or_default();
    let before = report.faults.len();
    let code = match columns.owner {
        Some(column) => word(row.cell(column)),
        None => Some(EVERYONE.to_owned()),
    };
    let at = columns.owner.map(header).unwrap_or_default();
    let owner = match code.as_ref().and_then(|code| owners.get(code)) {
        Some(Ok(owner)) => Some(owner),
        Some(Err(why)) => {
            report.fault(row.number, at, why.clone());
            None
        }
        None => {
            let code = match (&code, kind.owner) {
                (None, _) => "field.missing",
                (Some(_), Owner::Enterprise | Owner::Either) => "sheet.enterprise_unknown",
                (Some(_), Owner::Region | Owner::Everyone) => "scope.outside",
            };
            report.fault(row.number, at, problem(code));
            None
        }
    };
    let mut set = Values::new();
    for (column, field) in &columns.fields {
        match value(field, row.cell(*column)) {
            Ok(None) => {}
            Ok(Some(value)) => drop(set.insert(field.id.clone(), Some(value))),
            Err(mut wrong) => {
                wrong.params.insert("allowed", record::allowed(field, false));
                wrong.params.insert("allowed_en", record::allowed(field, true));
                report.fault(row.number, header(*column), wrong);
            }
        }
    }
    owner.filter(|_| report.faults.len() == before).map(|owner| (owner, set))
}

/// What a cell says, as a code or word.
pub(crate) fn word(cell: &Cell) -> Option<String> {
    match cell {
        Cell::Text(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        // A code typed as a number; beyond 2^53 Excel has lost digits already.
        Cell::Number(n) if n.fract() == 0.0 && n.abs() < 9.0e15 => Some(format!("{n:.0}")),
        _ => None,
    }
}

fn value(field: &Field, cell: &Cell) -> Result<Option<Value>, Problem> {
    if cell.is_blank() {
        return Ok(None);
    }
    let wrong = || problem("register.field_type");
    match cell {
        Cell::Formula(_) => return Err(problem("sheet.formula")),
        Cell::Fault(_) | Cell::Bool(_) => return Err(wrong()),
        _ => {}
    }
    let value = match (&field.of, cell) {
        (FieldType::Text { .. }, Cell::Text(text)) => Value::Text(text.trim().to_owned()),
        (FieldType::Text { .. }, Cell::Date(date)) => Value::Text(date.to_string()),
        (FieldType::Text { .. }, Cell::DateTime(at)) => Value::Text(at.to_string()),
        (FieldType::Text { .. }, Cell::Number(n)) => Value::Text(word(cell).unwrap_or_else(|| n.to_string())),
        (FieldType::Number { .. }, Cell::Number(n)) => Value::Number(*n),
        (FieldType::Number { .. }, Cell::Text(text)) => Value::Number(text.trim().parse().map_err(|_| wrong())?),
        (FieldType::Date, Cell::Date(date)) => Value::Date(*date),
        (FieldType::Date, Cell::Text(text)) => Value::Date(crate::validate::day("", text.trim()).map_err(|_| wrong())?),
        (FieldType::DateTime, Cell::DateTime(at)) => Value::DateTime(parse_minute(&minute_of(*at)).ok_or_else(wrong)?),
        (FieldType::DateTime, Cell::Text(text)) => Value::DateTime(parse_minute(&text.trim().replace(' ', "T")).ok_or_else(wrong)?),
        (FieldType::Choice { choices }, Cell::Text(text)) => {
            let text = text.trim();
            let is = |c: &&anlan_domain::register::Choice| c.id == text || c.name == text || c.name_en.eq_ignore_ascii_case(text);
            Value::Text(choices.iter().find(is).map(|c| c.id.clone()).ok_or_else(|| problem("register.field_range"))?)
        }
        _ => return Err(wrong()),
    };
    Ok(Some(value))
}

/// The faults that the register has with a row, each at its column.
fn tell(kind: &Kind, sheet: &Sheet, columns: &Columns<'_>, row: u32, refused: AppError, report: &mut Imported) {
    for problem in refused.problems {
        let id = problem.field.as_deref().and_then(|path| path.strip_prefix("fields.")).unwrap_or_default();
        let column = columns.fields.iter().find(|(_, field)| field.id == id).and_then(|(column, _)| sheet.header.get(*column));
        let column = column.cloned().or_else(|| kind.field(id).map(|f| f.name.clone())).unwrap_or_default();
        report.fault(row, &column, problem);
    }
}

/// Owners of these rows by code, as far as they are visible.
async fn owners(
    change: &mut RecordChange<'_>,
    app: &App,
    scope: &Scope,
    kind: &Kind,
    rows: &[Row],
    columns: &Columns<'_>,
) -> Result<Owners, AppError> {
    let codes: BTreeSet<String> = rows.iter().filter_map(|row| word(row.cell(columns.owner?))).collect();
    let codes: Vec<String> = codes.into_iter().collect();
    match kind.owner {
        Owner::Enterprise => Ok(change.owners(&codes).await?.into_iter().map(|(code, owner)| (code, Ok(owner))).collect()),
        Owner::Everyone => {
            let holds = scope.holds(None, None, None);
            Ok(holds.then(|| (EVERYONE.to_owned(), Ok(record::of_everyone()))).into_iter().collect())
        }
        Owner::Either => {
            let mut of = change.owners(&codes).await?.into_iter().map(|(code, owner)| (code, Ok(owner))).collect::<Owners>();
            of.extend(regions(app, scope, codes.into_iter().filter(|code| !of.contains_key(code)).collect()));
            Ok(of)
        }
        Owner::Region => Ok(regions(app, scope, codes)),
    }
}

/// Divisions of these codes, as far as the asker's grants hold them.
fn regions(app: &App, scope: &Scope, codes: Vec<String>) -> Owners {
    let (known, today) = (app.registry.get(), app.today());
    let of = |code: String| match validate::region("", &code, &known.regions, today) {
        Ok(region) => scope.holds(None, Some(&region), None).then(|| (code, Ok(record::of_region(region)))),
        Err(mut why) => why.problems.pop().map(|why| (code, Err(why))),
    };
    codes.into_iter().filter_map(of).collect()
}

/// The rows that were not taken, as they were, with what is wrong in a column of its own; `say` makes the sentence of a fault.
///
/// # Errors
/// A file that cannot be made.
pub async fn refused_sheet(
    app: &App,
    imported: &Imported,
    language: Language,
    say: impl Fn(&RowFault) -> String,
) -> Result<Vec<u8>, AppError> {
    let Some(sheet) = &imported.sheet else { return Err(AppError::not_found()) };
    let mut said: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for fault in &imported.faults {
        let sentence = say(fault);
        said.entry(fault.row).or_default().push(if fault.column.is_empty() { sentence } else { format!("{}：{sentence}", fault.column) });
    }
    let mut columns: Vec<Column> = Vec::new();
    for (i, header) in sheet.header.iter().enumerate() {
        let header = if header.is_empty() { format!("({})", i + 1) } else { header.clone() };
        columns.push(column(&header, ColumnKind::Text));
    }
    let n = columns.len();
    let wrong = language.say("错误", "What is wrong");
    columns.push(column(if columns.iter().any(|c| c.header == wrong) { "!" } else { wrong }, ColumnKind::Text));
    columns.push(column(language.say("原行号", "Row in the file"), ColumnKind::Number));
    let line = |row: &Row| {
        let words = said.get(&row.number)?;
        let mut cells: Vec<Cell> = (0..n).map(|i| inert(row.cell(i))).collect();
        cells.push(Cell::Text(words.join("\n")));
        cells.push(Cell::Number(f64::from(row.number)));
        Some(cells)
    };
    let rows = sheet.rows.iter().filter_map(line).collect();
    let tab = Tab { name: tab_name(wrong, &[]), columns, rows };
    write(app, move || Ok(NewSheet { tabs: vec![tab] })).await
}

/// A cell as it may be given back: a formula as the text it is.
fn inert(cell: &Cell) -> Cell {
    match cell {
        Cell::Formula(formula) => Cell::Text(format!("={formula}")),
        Cell::Fault(fault) => text(fault),
        other => other.clone(),
    }
}
