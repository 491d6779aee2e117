//! Statistics of accidents (事故统计) out of the records of their register, copies from below among them. Start at [`of_days`].

use anlan_domain::accident::statistics;
pub use anlan_domain::accident::statistics::{Row, Statistics};
use anlan_model::{Permission, RegionCode, Scope};
use anlan_store::RecordFilter;

use crate::App;
use crate::error::AppError;
use crate::record;
use crate::validate::{self, Paging};

/// The register.
const KIND: &str = "accident";

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
    let filter = record::of_kind(&kind, &RecordFilter { region, ..RecordFilter::default() });
    let mut paging = Paging::all();
    let mut read = Vec::new();
    loop {
        let page = app.store.records(&scope, &kind.id, &filter, &paging).await?;
        for row in &page.items {
            read.push((record::read(&kind, row)?, row.region.as_ref().map_or_else(String::new, |region| region.as_str().to_owned())));
        }
        let Some(next) = page.next else { break };
        paging.cursor = Some(next);
    }
    Ok(statistics::reckon(read.iter().map(|(record, region)| (record, region.as_str())), from, to))
}
