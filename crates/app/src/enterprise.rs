//! Enterprises (生产经营单位): the register, and how many of their points are heard.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anlan_documents::{Cell, ColumnKind, NewSheet, Tab};
use anlan_domain::credit_code;
use anlan_domain::division::Divisions;
use anlan_domain::register::Kind;
use anlan_domain::register::flag::Flagging;
use anlan_model::noun::Enterprise;
use anlan_model::{Clock as _, EnterpriseId, Permission, RecordId, Scope, Wgs84};
use anlan_store::ImportedEnterprise;
pub use anlan_store::{EnterpriseChange, EnterpriseFilter, EnterpriseRow, NewEnterprise};
pub use anlan_store::{MergeConflict, MergeWish, Merged};
use jiff::civil::Date;

use crate::error::{AppError, Faults, Problem};
use crate::record::PORTION;
use crate::registry::Touched;
use crate::sheet::{self, Imported, Language};
use crate::validate::{self, Page, Paging};
use crate::{App, point};

/// An enterprise with its figures.
#[derive(Clone, Debug)]
pub struct EnterpriseView {
    /// The row.
    pub row: EnterpriseRow,
    /// Points that are not silent.
    pub points_online: u64,
    /// What its records say of it.
    pub flags: Vec<EnterpriseFlag>,
}

/// What a register says of an enterprise, by one of its records.
#[derive(Clone, Debug)]
pub struct EnterpriseFlag {
    /// The register.
    pub kind: Arc<Kind>,
    /// The record.
    pub record: RecordId,
    /// Its title.
    pub title: String,
}

/// The flags of these enterprises, by the records that the asker sees.
async fn flags(app: &App, scope: &Scope, enterprises: &[EnterpriseId]) -> Result<HashMap<EnterpriseId, Vec<EnterpriseFlag>>, AppError> {
    let mut flags: HashMap<EnterpriseId, Vec<EnterpriseFlag>> = HashMap::new();
    let registers = app.registers.load_full();
    let today = app.today();
    for kind in registers.kinds.values().map(|(kind, _)| kind) {
        let Some(flag) = &kind.flag else { continue };
        let rows = app.store.records_flagging(scope, &kind.id, &flag.states(), &flag.per, enterprises).await?;
        let mut of: BTreeMap<EnterpriseId, Vec<Flagging<RecordId>>> = BTreeMap::new();
        for row in &rows {
            let due_on = row.due_on.as_ref().and_then(|day| day.parse().ok());
            let flagging = Flagging { id: row.id, sort: row.sort.clone(), state: row.state.clone(), due_on };
            of.entry(row.enterprise).or_default().push(flagging);
        }
        for (enterprise, records) in of {
            for id in flag.raised(&records, today) {
                let title = rows.iter().find(|row| row.id == id).map(|row| row.title.clone()).unwrap_or_default();
                flags.entry(enterprise).or_default().push(EnterpriseFlag { kind: Arc::clone(kind), record: id, title });
            }
        }
    }
    Ok(flags)
}

async fn views(app: &App, scope: &Scope, rows: Vec<EnterpriseRow>) -> Result<Vec<EnterpriseView>, AppError> {
    let ids: Vec<EnterpriseId> = rows.iter().map(|row| row.enterprise.id).collect();
    let mut flags = flags(app, scope, &ids).await?;
    Ok(rows
        .into_iter()
        .map(|row| EnterpriseView { flags: flags.remove(&row.enterprise.id).unwrap_or_default(), ..view(app, row) })
        .collect())
}

fn view(app: &App, row: EnterpriseRow) -> EnterpriseView {
    let known = app.registry.get();
    let points = known.points_of.get(&row.enterprise.id).map(Vec::as_slice).unwrap_or_default();
    // The row came through the scope, and its points have no other owner.
    let points_online = points.iter().filter_map(|id| known.points.get(id)).filter(|p| point::is_online(app, p)).count() as u64;
    EnterpriseView { row, points_online, flags: Vec::new() }
}

/// A page of enterprises the asker may see.
///
/// # Errors
/// No permission to view, a foreign cursor, or the store's.
pub async fn list(app: &App, scope: &Scope, filter: &EnterpriseFilter, paging: &Paging) -> Result<Page<EnterpriseView>, AppError> {
    let scope = scope.with(Permission::View)?;
    let page = app.store.enterprises(&scope, filter, paging).await?;
    Ok(Page { items: views(app, &scope, page.items).await?, next: page.next })
}

/// One enterprise.
///
/// # Errors
/// Not there or not visible.
pub async fn get(app: &App, scope: &Scope, id: EnterpriseId) -> Result<EnterpriseView, AppError> {
    let scope = scope.with(Permission::View)?;
    let row = app.store.enterprise(&scope, id).await?;
    views(app, &scope, vec![row]).await?.pop().ok_or_else(AppError::not_found)
}

/// Registers an enterprise.
///
/// # Errors
/// No permission there, a field that cannot be accepted, a code that is taken.
pub async fn create(app: &App, scope: &Scope, new: NewEnterprise) -> Result<Enterprise, AppError> {
    let scope = scope.with(Permission::ManageDevices)?;
    let mut faults = Faults::default();
    let code = faults.note(validate::code("code", &new.code));
    let name = faults.note(validate::name("name", &new.name));
    let sector = faults.note(validate::word("sector", &new.sector, false));
    let place = faults.note(validate::place("place", new.place));
    faults.check()?;
    let (Some(code), Some(name), Some(sector), Some(place)) = (code, name, sector, place) else { return Err(AppError::not_found()) };
    let new = NewEnterprise { code, name, sector, place, region: new.region };
    let made = app.store.create_enterprise(&scope, &new, app.clock.now()).await?;
    app.registry.renew([Touched::Enterprise(made.id)]).await?;
    Ok(made)
}

/// Columns of a sheet of enterprises: Chinese, English, API name.
const COLUMNS: [(&str, &str, &str); 6] = [
    ("统一社会信用代码", "Unified social credit code", "code"),
    ("企业名称", "Name", "name"),
    ("行政区划代码", "Division code", "region"),
    ("行业", "Sector", "sector"),
    ("经度", "Longitude", "lon"),
    ("纬度", "Latitude", "lat"),
];
/// The first of these must be there.
const REQUIRED: usize = 4;

/// An empty sheet to be filled in.
///
/// # Errors
/// No permission.
pub async fn template(app: &App, scope: &Scope, language: Language) -> Result<Vec<u8>, AppError> {
    scope.with(Permission::ManageDevices)?;
    let header = |(zh, en, _): &(&'static str, &'static str, &str)| if language == Language::English { *en } else { *zh };
    let kind = |i: usize| if i < REQUIRED { ColumnKind::Text } else { ColumnKind::Number };
    let columns = COLUMNS.iter().enumerate().map(|(i, names)| sheet::column(header(names), kind(i))).collect();
    let tab = Tab { name: "enterprises".to_owned(), columns, rows: Vec::new() };
    sheet::write(app, move || Ok(NewSheet { tabs: vec![tab] })).await
}

/// Imports a file of enterprises, or says what would become of it. A code that is there already is merged: what the file says differently is changed,
/// with audit; a code that stands in the file twice likewise, in order of rows.
///
/// # Errors
/// No permission, a file that cannot be read, a column that is missing or unknown. What is wrong with a row is in the answer.
pub async fn import(app: &App, scope: &Scope, bytes: Vec<u8>, dry_run: bool) -> Result<Imported, AppError> {
    let act = scope.with(Permission::ManageDevices)?;
    let file = sheet::read(app, bytes).await?;
    let mut at = [None; COLUMNS.len()];
    for (i, header) in file.header.iter().enumerate().filter(|(_, header)| !header.is_empty()) {
        let known = COLUMNS.iter().position(|(zh, en, word)| [*zh, *en, *word].contains(&header.as_str()));
        at[known.ok_or_else(|| AppError::invalid("sheet.column_unknown", "file").with("column", header))?] = Some(i);
    }
    if let Some(missing) = at.iter().take(REQUIRED).position(Option::is_none) {
        return Err(AppError::invalid("sheet.column_missing", "file").with("column", COLUMNS[missing].0));
    }
    let (known, today) = (app.registry.get(), app.today());
    let mut report = Imported { rows: file.rows.len(), ..Imported::default() };
    let mut seen: HashMap<String, NewEnterprise> = HashMap::new();
    for portion in file.rows.chunks(PORTION as usize) {
        let mut good = Vec::new();
        for row in portion {
            let cell = |i: usize| at[i].map_or(&Cell::Empty, |column| row.cell(column));
            match of_row(cell, &known.regions, today) {
                Ok(new) => good.push((row.number, new)),
                Err(faults) => {
                    for problem in faults {
                        let named = COLUMNS.iter().position(|(_, _, word)| problem.field.as_deref() == Some(*word));
                        let column = named.and_then(|i| at[i]).and_then(|i| file.header.get(i)).cloned().unwrap_or_default();
                        report.fault(row.number, &column, problem);
                    }
                }
            }
        }
        let rows: Vec<NewEnterprise> = good.iter().map(|(_, new)| new.clone()).collect();
        let answers = app.store.import_enterprises(&act, &rows, dry_run, app.clock.now()).await?;
        let mut touched = Vec::new();
        for ((row, new), answer) in good.into_iter().zip(answers) {
            match answer {
                // A dry run keeps nothing: what stands in the file twice, in two portions, it would make twice.
                ImportedEnterprise::Made(_) if dry_run && seen.contains_key(&new.code) => {
                    let is_same = seen.get(&new.code).is_some_and(|before| *before == new);
                    report.repeated += usize::from(is_same);
                    report.merged += usize::from(!is_same);
                }
                ImportedEnterprise::Made(id) => {
                    report.made += 1;
                    touched.push(Touched::Enterprise(id));
                }
                ImportedEnterprise::Merged(id) => {
                    report.merged += 1;
                    touched.push(Touched::Enterprise(id));
                }
                ImportedEnterprise::Same => report.repeated += 1,
                ImportedEnterprise::OutOfScope => report.fault(row, "", sheet::problem("scope.outside")),
                ImportedEnterprise::Gone => report.fault(row, "", sheet::problem("enterprise.merged")),
                ImportedEnterprise::Elsewhere => report.fault(row, "", sheet::problem("enterprise.kept_elsewhere")),
            }
            seen.insert(new.code.clone(), new);
        }
        if !dry_run {
            app.registry.renew(touched).await?;
        }
    }
    report.sheet = Some(file);
    Ok(report.done())
}

/// An enterprise of a row's cells, or everything that is wrong with them.
fn of_row<'a>(cell: impl Fn(usize) -> &'a Cell, known: &Divisions, today: Date) -> Result<NewEnterprise, Vec<Problem>> {
    let mut faults = Vec::new();
    let note = |error: AppError, faults: &mut Vec<Problem>| faults.extend(error.problems);
    let mut text = |i: usize| {
        let at = COLUMNS[i].2;
        match cell(i) {
            Cell::Formula(_) => note(AppError::invalid("sheet.formula", at), &mut faults),
            cell => match sheet::word(cell) {
                Some(word) => return Some(word),
                None => note(AppError::invalid("field.missing", at), &mut faults),
            },
        }
        None
    };
    let (code, name, region, sector) = (text(0), text(1), text(2), text(3));
    let mut check = |result: Result<(), AppError>| {
        if let Err(error) = result {
            faults.extend(error.problems);
        }
    };
    if let Some(code) = &code {
        check(credit_code::check(code).map_err(|fault| {
            AppError::invalid(
                match fault {
                    credit_code::Fault::Length => "enterprise.code_length",
                    credit_code::Fault::Character => "enterprise.code_character",
                    credit_code::Fault::CheckDigit => "enterprise.code_check_digit",
                },
                "code",
            )
        }));
    }
    let mut kept = (None, None, None);
    if let Some(name) = &name {
        check(validate::name("name", name).map(|name| kept.0 = Some(name)));
    }
    if let Some(region) = &region {
        check(validate::region("region", region, known, today).map(|region| kept.1 = Some(region)));
    }
    if let Some(sector) = &sector {
        check(validate::word("sector", sector, false).map(|sector| kept.2 = Some(sector)));
    }
    let place = match (cell(4), cell(5)) {
        (Cell::Empty, Cell::Empty) => None,
        (Cell::Number(lon), Cell::Number(lat)) => {
            let place = Wgs84::new(*lon, *lat);
            check(place.map(drop).ok_or_else(|| AppError::invalid("place.off_globe", "lon")));
            place
        }
        _ => {
            check(Err(AppError::invalid("sheet.place", "lon")));
            None
        }
    };
    match (code, kept) {
        (Some(code), (Some(name), Some(region), Some(sector))) if faults.is_empty() => {
            Ok(NewEnterprise { code, name, region, sector, place })
        }
        _ => Err(faults),
    }
}

/// Changes an enterprise.
///
/// # Errors
/// No permission there, a stale revision, a field that cannot be accepted, a code that is taken.
pub async fn update(app: &App, scope: &Scope, id: EnterpriseId, change: EnterpriseChange) -> Result<EnterpriseView, AppError> {
    let act = scope.with(Permission::ManageDevices)?;
    let mut faults = Faults::default();
    let change = EnterpriseChange {
        revision: change.revision,
        code: change.code.and_then(|v| faults.note(validate::code("code", &v))),
        name: change.name.and_then(|v| faults.note(validate::name("name", &v))),
        sector: change.sector.and_then(|v| faults.note(validate::word("sector", &v, false))),
        place: change.place.and_then(|v| faults.note(validate::place("place", v))),
        region: change.region,
    };
    faults.check()?;
    app.store.update_enterprise(&act, id, &change, app.clock.now()).await?;
    app.registry.renew([Touched::Enterprise(id)]).await?;
    get(app, scope, id).await
}

/// Merges one enterprise into another, or says what would move. What moves stands in the registry and on the screens when this answers.
///
/// # Errors
/// No permission over the territory of both, one that is not there, a stale revision; `enterprise.merge_conflict` for each pair of records that would
/// have one key.
pub async fn merge(app: &App, scope: &Scope, wish: &MergeWish, dry_run: bool) -> Result<Merged, AppError> {
    let act = scope.with(Permission::ManageDevices)?;
    let merged = app.store.merge_enterprises(&act, wish, dry_run, app.clock.now()).await?;
    if dry_run {
        return Ok(merged);
    }
    let mut faults = Faults::default();
    for conflict in &merged.conflicts {
        let named =
            |(id, number, title): &(RecordId, String, String)| if number.is_empty() { format!("{title} #{id}") } else { number.clone() };
        let fault = AppError::conflict("enterprise.merge_conflict").on("into").with("key", &conflict.key);
        faults.note::<()>(Err(fault.with("one", named(&conflict.from)).with("other", named(&conflict.into))));
    }
    faults.check().map_err(|error| AppError { kind: crate::error::Kind::Conflict, ..error })?;
    let enterprises = [wish.from, wish.into].map(Touched::Enterprise);
    let devices = merged.devices.iter().map(|id| Touched::Device(*id));
    let vehicles = merged.vehicles.iter().map(|id| Touched::Vehicle(*id));
    let combinations = merged.combinations.iter().flat_map(|id| [wish.from, wish.into].map(|of| Touched::Combination(of, *id)));
    app.registry.renew(enterprises.into_iter().chain(devices).chain(vehicles).chain(combinations)).await?;
    app.live.records_changed(&merged.changed);
    app.live.alarms_changed(&merged.standing);
    Ok(merged)
}
