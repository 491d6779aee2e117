//! Statistics of accidents (事故统计) out of the records of their register, copies from below among them. Start at [`of_days`].

use std::collections::BTreeMap;

use anlan_domain::accident::statistics;
pub use anlan_domain::accident::statistics::{Row, Statistics};
use anlan_model::{Clock as _, Permission, RegionCode, Scope};
use anlan_store::{FieldIs, RecordFilter};

use crate::App;
use crate::error::AppError;
use crate::record;
use crate::validate::{self, Paging};

/// The register.
const KIND: &str = "accident";
/// Its days by which it is counted; it is filtered by each, so that an index has them.
const CHOSEN_BY: [&str; 3] = ["happened_on", "conclude_by", "approved_on"];

/// What the accidents that the asker sees, in `region` if one is named, say of the days from the first to the last.
///
/// # Errors
/// No permission to view, no such register, days that are none or the wrong way round, the store's.
pub async fn of_days(app: &App, scope: &Scope, region: Option<RegionCode>, from: &str, to: &str) -> Result<Statistics, AppError> {
    let scope = scope.with(Permission::View)?;
    let (from, to) = (validate::day("from", from)?, validate::day("to", to)?);
    if to < from {
        return Err(AppError::invalid("time.order", "to"));
    }
    let kind = app.registers.load().kind(KIND)?;
    let mut read = BTreeMap::new();
    // What happened, was to be concluded or was approved in these days: no other record is read.
    for field in CHOSEN_BY {
        let within = FieldIs::Texts(Some(from.to_string()), Some(to.to_string()));
        let asked = RecordFilter { region: region.clone(), fields: vec![(field.to_owned(), within)], ..RecordFilter::default() };
        let (filter, mut paging) = (record::of_kind(&kind, &asked), Paging::all());
        loop {
            let page = app.store.records(&scope, &kind.id, &filter, &paging).await?;
            for row in &page.items {
                let region = row.region.as_ref().map_or_else(String::new, |region| region.as_str().to_owned());
                read.insert(row.id, (record::read(&kind, row)?, region));
            }
            let Some(next) = page.next else { break };
            paging.cursor = Some(next);
        }
    }
    let now = crate::clock::civil(app.clock.now());
    Ok(statistics::reckon(read.values().map(|(record, region)| (record, region.as_str())), from, to, now))
}
