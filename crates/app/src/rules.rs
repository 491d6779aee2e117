//! The built-in packs: rule book, divisions and map of the region, compiled into the binary so that one file is enough to run.

use anlan_domain::division::{DivisionError, Divisions};
use anlan_domain::indicator;
use anlan_domain::networking::Networking;
use anlan_domain::pack::{PackError, RuleBook};
use anlan_domain::plan::Plan;
use anlan_domain::road::RoadRules;

/// Kinds and alarm rules of `packs/base`.
///
/// # Errors
/// [`PackError`] if the pack contradicts itself; a test keeps that from shipping.
pub fn built_in() -> Result<RuleBook, PackError> {
    RuleBook::parse(include_str!("../../../packs/base/kinds.toml"), include_str!("../../../packs/base/alarm_rules.toml"))
}

/// Figures of road transport supervision of `packs/base`.
///
/// # Errors
/// [`PackError`] if the pack contradicts itself; a test keeps that from shipping.
pub fn road() -> Result<RoadRules, PackError> {
    RoadRules::parse(include_str!("../../../packs/base/road.toml"))
}

/// What the region asks of the network, beside `packs/base`.
///
/// # Errors
/// [`PackError`] if the pack contradicts itself; a test keeps that from shipping.
pub fn networking() -> Result<Networking, PackError> {
    Networking::parse(include_str!("../../../packs/region-yuxi/networking.toml"))
}

/// The plan of the region.
///
/// # Errors
/// [`PackError`] if the pack contradicts itself; a test keeps that from shipping.
pub fn plan() -> Result<Plan, PackError> {
    Plan::parse(include_str!("../../../packs/region-yuxi/plan.toml"), indicator::built_in())
}

/// Counties of the region as GeoJSON, with its provenance block.
pub fn counties_geojson() -> &'static str {
    include_str!("../../../packs/region-yuxi/counties.geojson")
}

/// Divisions of the region, of today and of before.
///
/// # Errors
/// [`DivisionError`] if the list contradicts itself; a test keeps that from shipping.
pub fn divisions() -> Result<Divisions, DivisionError> {
    Divisions::parse(include_str!("../../../packs/region-yuxi/regions.csv"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_built_in_pack_is_consistent() {
        let book = super::built_in().unwrap();
        assert!(!book.kinds.is_empty() && !book.rules.is_empty() && !book.limits.is_empty());
    }
}
