//! Who has a responsibility letter (责任书) for a year and who has none: the divisions and enterprises in the asker's sight, each with its letter's state.
//!
//! Letters are records of the register `responsibility_letter`; who must have one is data of the built-in pack (`domain::responsibility`). Nothing is
//! kept: a letter that is signed, withdrawn or made shows at the next question. Start at [`coverage`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use anlan_domain::division::Standing;
use anlan_domain::pack::PackError;
use anlan_domain::register::Record;
pub use anlan_domain::responsibility::{Counts, Coverage, Finding, Letter, Level, Must, Parent, REGISTER, Rules, Stand, Takes, Unit};
use anlan_model::noun::Enterprise;
use anlan_model::{EnterpriseId, Permission, RecordId, RegionCode, Scope};
use anlan_store::{FieldIs, NetworkingFilter, RecordFilter, RecordRow, Relation};
use jiff::civil::Date;

use crate::App;
use crate::error::{AppError, Kind as Refusal};
use crate::record;
use crate::validate::Paging;

/// Years of which somebody may ask.
pub const YEARS: std::ops::RangeInclusive<i16> = 2000..=2100;

/// Who must have a letter, as the built-in pack says.
///
/// # Errors
/// [`PackError`] if the pack contradicts itself; a test keeps that from shipping.
pub fn rules() -> Result<&'static Rules, PackError> {
    static RULES: OnceLock<Rules> = OnceLock::new();
    if let Some(rules) = RULES.get() {
        return Ok(rules);
    }
    let rules = Rules::parse(include_str!("../../../packs/base/responsibility.toml"))?;
    Ok(RULES.get_or_init(|| rules))
}

/// What the letters of a year cover.
pub struct View {
    /// The year.
    pub year: i16,
    /// As of this day.
    pub today: Date,
    /// The division that was asked for.
    pub division: RegionCode,
    /// How everybody in sight stands.
    pub coverage: Coverage,
    /// The letters that count, by their records.
    pub letters: BTreeMap<RecordId, RecordRow>,
    /// The letters above them that the asker sees.
    pub parents: BTreeMap<RecordId, RecordRow>,
    /// Enterprises among those who must have one.
    pub enterprises: BTreeMap<EnterpriseId, Enterprise>,
}

impl View {
    /// The letter above the one of this record, if the asker sees it.
    pub fn parent_of(&self, letter: RecordId) -> Option<&RecordRow> {
        self.parents.get(&named_parent(self.letters.get(&letter)?)?)
    }
}

/// The division of a question that names none: this node's.
///
/// # Errors
/// The node stands for no division, or the store's.
pub async fn own_division(app: &App) -> Result<RegionCode, AppError> {
    let nodes = app.store.all_nodes().await?;
    let own = nodes.into_iter().find(|node| node.relation == Relation::Own).and_then(|node| node.region);
    own.or_else(|| RegionCode::new(&app.settings.region)).ok_or_else(|| AppError::invalid("region.malformed", "division"))
}

/// How everybody in `division` stands who must have a letter for `year` and is in the asker's sight.
///
/// # Errors
/// No permission to view, a year out of range, no register of letters, or the store's.
pub async fn coverage(app: &App, scope: &Scope, year: i16, division: RegionCode) -> Result<View, AppError> {
    let scope = scope.with(Permission::View)?;
    if !YEARS.contains(&year) {
        return Err(AppError::invalid("responsibility.year", "year").with("from", YEARS.start()).with("to", YEARS.end()));
    }
    let rules = rules().map_err(|e| AppError { source: Some(e.into()), ..AppError::new(Refusal::Internal, "internal") })?;
    let today = app.today();
    // Divisions of that year; of the one that runs, of today.
    let day = Date::new(year, 12, 31).map_or(today, |end| end.min(today));
    let (mut letters, mut by_id, mut named) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    let kind = app.registers.load().kind(REGISTER)?;
    let of_year = vec![("year".to_owned(), FieldIs::Number(f64::from(year)))];
    let filter = record::of_kind(&kind, &RecordFilter { region: Some(division.clone()), fields: of_year, ..RecordFilter::default() });
    let mut paging = Paging::all();
    loop {
        let page = app.store.records(&scope, &kind.id, &filter, &paging).await?;
        for row in page.items {
            let told = record::read(&kind, &row)?;
            if let Some(parent) = named_parent(&row) {
                named.insert(row.id, parent);
            }
            letters.push(letter(&row, &told));
            by_id.insert(row.id, row);
        }
        let Some(next) = page.next else { break };
        paging.cursor = Some(next);
    }
    let above: Vec<RecordId> = named.values().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let above = app.store.record_ids_visible(&scope, std::slice::from_ref(&kind.id), &above).await?;
    let parents: BTreeMap<RecordId, RecordRow> = above.into_iter().map(|row| (row.id, row)).collect();
    for letter in &mut letters {
        if let Some(parent) = named.get(&letter.id).and_then(|id| parents.get(id)) {
            letter.parent = Parent::In(parent.state.clone());
        }
    }
    let known = app.registry.get();
    let mut units = Vec::new();
    for region in known.regions.values().filter(|region| region.code.as_str().starts_with(division.as_str())) {
        if known.regions.standing(&region.code, day) == Some(Standing::InForce) && scope.holds(None, Some(&region.code), None) {
            units.extend(rules.of_division(&region.code));
        }
    }
    let within = NetworkingFilter { region: Some(division.clone()), sector: None };
    let mut enterprises = BTreeMap::new();
    for row in app.store.networking(&scope, &within, &rules.registers()).await? {
        let records = row.records.iter().map(|(kind, state)| (kind.as_str(), state.as_str()));
        if rules.hold(&row.enterprise.sector, records) {
            units.push(Unit::Enterprise(row.enterprise.region.clone(), row.enterprise.id));
            enterprises.insert(row.enterprise.id, row.enterprise);
        }
    }
    let coverage = anlan_domain::responsibility::cover(units, &letters, today);
    Ok(View { year, today, division, coverage, letters: by_id, parents, enterprises })
}

/// The record that a letter names above itself; a copy says its title instead.
fn named_parent(row: &RecordRow) -> Option<RecordId> {
    if row.home.is_some() {
        return None;
    }
    row.body.get("fields")?.get("parent_letter")?.as_str()?.parse().ok()
}

fn letter(row: &RecordRow, told: &Record) -> Letter {
    Letter {
        id: row.id,
        takes: told.text("takes").and_then(Takes::parse),
        enterprise: row.enterprise,
        region: row.region.clone(),
        taker: told.text("taker").unwrap_or_default().to_owned(),
        state: row.state.clone(),
        sign_by: told.date("sign_by"),
        signed_on: told.date("signed_on"),
        // What is named and not seen, until it is looked up.
        parent: if row.body.pointer("/fields/parent_letter").is_some() { Parent::Unseen } else { Parent::None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_name_registers_states_and_sectors_that_there_are() {
        let rules = rules().unwrap();
        let files = crate::pack::base_files();
        for register in rules.registers().iter().map(String::as_str).chain([REGISTER]) {
            assert!(files.contains_key(&format!("registers/{register}/register.toml")), "{register}");
        }
        let letter = anlan_domain::register::Kind::parse(&files[&format!("registers/{REGISTER}/register.toml")]).unwrap();
        for state in anlan_domain::responsibility::BINDING {
            assert!(letter.state(state).is_some(), "{state}");
        }
        let takes = letter.field("takes").unwrap();
        for word in Takes::ALL.map(Takes::as_str) {
            assert!(takes.check(&anlan_domain::register::Value::Text(word.into())).is_ok(), "{word}");
        }
    }
}
