//! Core nouns that people manage: region, enterprise, device, point, vehicle, user.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::{
    CombinationId, DeviceId, EnterpriseId, Level, PointId, RegionCode, Role, RuleKind, Timestamp, Trust, UserId, VehicleId, Wgs84,
};

/// An administrative division (行政区划), for as long as its code is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// Code.
    pub code: RegionCode,
    /// Chinese name.
    pub name: String,
    /// English name.
    pub name_en: String,
    /// Word such as `city`, `county`, `town`, `village`; empty = not said.
    pub kind: String,
    /// First day on which the code is in force, in Beijing; `None` = as far back as the list knows.
    pub valid_from: Option<Date>,
    /// Last day on which it is; `None` = until further notice.
    pub valid_to: Option<Date>,
    /// The code that the same territory has since then.
    pub became: Option<RegionCode>,
    /// How sure the row is.
    pub confidence: String,
}

/// An enterprise (生产经营单位).
#[derive(Clone, Debug, PartialEq)]
pub struct Enterprise {
    /// Id.
    pub id: EnterpriseId,
    /// Code given at registration, unique (统一社会信用代码 in production).
    pub code: String,
    /// Name.
    pub name: String,
    /// Where it is.
    pub region: RegionCode,
    /// Sector word such as `hazchem`, `gas`, `mine`, `metallurgy`, `road_transport`.
    pub sector: String,
    /// Place of the gate, if known.
    pub place: Option<Wgs84>,
    /// Counts every change, for optimistic locking.
    pub revision: i64,
}

/// A device or gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Id.
    pub id: DeviceId,
    /// Code = MQTT user name, unique.
    pub code: String,
    /// Name.
    pub name: String,
    /// Owner; `None` = seen by node-wide roles only.
    pub enterprise: Option<EnterpriseId>,
    /// Usual protocol word: `mqtt`, `http`, `jt808`.
    pub protocol: String,
    /// Speaks for many devices: may name another device of the same enterprise in tags.
    pub gateway: bool,
    /// May mark data as back-fill.
    pub may_backfill: bool,
    /// Refused if set.
    pub disabled: bool,
    /// SHA-256 of the secret; never leaves the node.
    pub secret_hash: [u8; 32],
    /// Counts every change.
    pub revision: i64,
}

/// A measuring point and its limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Id.
    pub id: PointId,
    /// Device it comes from.
    pub device: DeviceId,
    /// Owner, copied from the device.
    pub enterprise: Option<EnterpriseId>,
    /// Unit of the plant (装置), free text, for the tree; empty = none.
    pub site: String,
    /// Code within the device.
    pub code: String,
    /// Name.
    pub name: String,
    /// Unit symbol, such as `%LEL`, `kPa`.
    pub unit: String,
    /// Kind of measurement, a word of the base pack such as `gas_combustible`; empty = unknown.
    pub kind: String,
    /// Expected seconds between readings; 0 = unknown (no stale rule).
    pub period_s: f64,
    /// Measuring range.
    pub range_low: Option<f64>,
    /// Measuring range.
    pub range_high: Option<f64>,
    /// Limits.
    pub limits: Limits,
    /// Who set the limits.
    pub limits_source: Option<LimitsSource>,
    /// `false` = created at first sight and not yet confirmed: kept, charted, no rule.
    pub confirmed: bool,
    /// Place, if it differs from the enterprise's.
    pub place: Option<Wgs84>,
    /// Counts every change.
    pub revision: i64,
}

/// Limits of a point, in its unit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// High-high.
    pub hh: Option<f64>,
    /// High.
    pub h: Option<f64>,
    /// Low.
    pub l: Option<f64>,
    /// Low-low.
    pub ll: Option<f64>,
    /// How far back inside the limit the value must come before the alarm returns; ≥ 0.
    pub deadband: f64,
    /// Seconds the condition must stand before it is raised; ≥ 0.
    pub on_delay_s: f64,
    /// Seconds it must be gone before it returns; ≥ 0.
    pub off_delay_s: f64,
    /// Greatest credible change per minute; either direction.
    pub rate_per_min: Option<f64>,
}

/// Where limits come from: a standard, or the enterprise's own design document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsSource {
    /// Standard or document.
    pub document: String,
    /// Clause or page.
    #[serde(default)]
    pub clause: String,
}

/// A combination rule (组合规则): conditions of several points of one enterprise that mean more together.
#[derive(Clone, Debug, PartialEq)]
pub struct Combination {
    /// Id.
    pub id: CombinationId,
    /// Whose points it names; never changes.
    pub enterprise: EnterpriseId,
    /// Name.
    pub name: String,
    /// Urgency of its alarm.
    pub level: Level,
    /// How many members must come together, at least 2.
    pub needed: u32,
    /// Within how many seconds; 0 = at the same time.
    pub within_s: f64,
    /// In a fixed order; the alarm stands at the point of the first.
    pub members: Vec<CombinationMember>,
    /// Who set it.
    pub source: LimitsSource,
    /// Counts every change.
    pub revision: i64,
}

/// One condition of a [`Combination`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CombinationMember {
    /// A point of the enterprise.
    pub point: PointId,
    /// Which of its rules.
    pub kind: RuleKind,
}

/// A vehicle (车辆).
#[derive(Clone, Debug, PartialEq)]
pub struct Vehicle {
    /// Id.
    pub id: VehicleId,
    /// Terminal phone number, digits without leading zeros; unique. Of another node: the first eight digits of its id, a colon, and the number there.
    pub phone: String,
    /// Licence plate; empty until known.
    pub plate: String,
    /// Kind word: `coach`, `hazmat`, `school_bus`, …; empty = unknown.
    pub kind: String,
    /// Operator.
    pub enterprise: Option<EnterpriseId>,
    /// Territory; of the operator if it has one.
    pub region: Option<RegionCode>,
    /// How its terminal is believed.
    pub trust: Trust,
    /// `false` = heard but not adopted (quarantined).
    pub adopted: bool,
    /// Speed limit of the vehicle, km/h, if set.
    pub speed_limit_kmh: Option<f64>,
    /// Counts every change.
    pub revision: i64,
}

impl Vehicle {
    /// Its terminal speaks to another node: where it is, is known there.
    pub fn is_elsewhere(&self) -> bool {
        self.phone.contains(':')
    }
    /// Its kind says that it carries dangerous goods (JT/T 617): its positions are shed last.
    pub fn carries_dangerous_goods(&self) -> bool {
        self.kind == "hazmat"
    }
}

/// A person who signs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Id.
    pub id: UserId,
    /// Sign-in name, unique.
    pub username: String,
    /// Shown name.
    pub name: String,
    /// What they may do and where.
    pub grants: Vec<Grant>,
    /// Refused if set.
    pub disabled: bool,
    /// Signing in takes a code beside the password.
    pub second_factor: bool,
    /// Created.
    pub created_at: Timestamp,
    /// Counts every change.
    pub revision: i64,
}

/// A role at a territory, optionally narrowed to a sector or one enterprise.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grant {
    /// Role.
    pub role: Role,
    /// Territory; `None` = the whole node.
    pub region: Option<RegionCode>,
    /// Sector; `None` = all.
    pub sector: Option<String>,
    /// One enterprise only.
    pub enterprise: Option<EnterpriseId>,
}

impl Grant {
    /// Whether a row with this owner lies inside its bounds.
    pub fn holds(&self, enterprise: Option<EnterpriseId>, region: Option<&RegionCode>, sector: Option<&str>) -> bool {
        self.region.as_ref().is_none_or(|r| region.is_some_and(|have| r.holds(have)))
            && self.sector.as_deref().is_none_or(|s| sector == Some(s))
            && self.enterprise.is_none_or(|e| enterprise == Some(e))
    }
}

/// Ids of points that a [`crate::Scope`] may see. Only `store` makes one; history, latest and live take it instead of bare ids,
/// so that no reader can forget to ask. Cheap to clone: `store` hands out the same one until a change could make it another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointSet(std::sync::Arc<[PointId]>);

impl Default for PointSet {
    fn default() -> Self {
        Self::granted_by_store([])
    }
}

impl PointSet {
    /// For `store` alone, after its SQL applied the scope.
    pub fn granted_by_store(ids: impl IntoIterator<Item = PointId>) -> Self {
        let mut ids: Vec<PointId> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        Self(ids.into())
    }
    /// Those of `ids` that may be seen.
    #[must_use]
    pub fn narrowed(&self, ids: &[PointId]) -> Self {
        Self::granted_by_store(ids.iter().copied().filter(|id| self.contains(*id)))
    }
    /// Whether the point may be seen.
    pub fn contains(&self, id: PointId) -> bool {
        self.0.binary_search(&id).is_ok()
    }
    /// In id order, each once.
    pub fn ids(&self) -> &[PointId] {
        &self.0
    }
    /// In id order.
    pub fn iter(&self) -> impl Iterator<Item = PointId> + '_ {
        self.0.iter().copied()
    }
    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// Whether nothing may be seen.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
