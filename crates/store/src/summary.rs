//! Numbers of the duty screen, under the asker's scope. What is online is for `app` to say: telemetry is not kept here.

use std::collections::BTreeMap;

use anlan_model::{Level, RegionCode, Scope, Timestamp};

use crate::alarm::{AlarmFilter, OWNER as ALARM_OWNER};
use crate::db::{Row, Sql, sql};
use crate::scope::Owner;
use crate::{AlarmCounts, Store, StoreError};

const HOUR_US: i64 = 3_600 * 1_000_000;
const HOURS: i64 = 24;

/// Alarms by level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelCounts {
    /// Level 1.
    pub red: i64,
    /// Level 2.
    pub orange: i64,
    /// Level 3.
    pub yellow: i64,
    /// Level 4.
    pub blue: i64,
}

impl LevelCounts {
    fn add(&mut self, level: Level, n: i64) {
        match level {
            Level::Red => self.red += n,
            Level::Orange => self.orange += n,
            Level::Yellow => self.yellow += n,
            Level::Blue => self.blue += n,
        }
    }
}

/// Numbers of one county.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionCounts {
    /// Its six digits; a shorter code for what belongs to no county.
    pub region: RegionCode,
    /// Enterprises.
    pub enterprises: i64,
    /// Points of their devices.
    pub points: i64,
    /// Vehicles.
    pub vehicles: i64,
    /// Standing alarms.
    pub standing: LevelCounts,
}

/// Alarms raised in one hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HourCounts {
    /// Start of the hour (UTC).
    pub at: Timestamp,
    /// By level.
    pub raised: LevelCounts,
}

/// The duty screen's numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Enterprises.
    pub enterprises: i64,
    /// Devices.
    pub devices: i64,
    /// Points.
    pub points: i64,
    /// Vehicles.
    pub vehicles: i64,
    /// Live alarms by state.
    pub alarms: AlarmCounts,
    /// Live alarms whose condition stands, by level.
    pub standing: LevelCounts,
    /// By county, in order of codes; counties with nothing in them are absent.
    pub regions: Vec<RegionCounts>,
    /// The last 24 hours, oldest first, the hour of `now` last.
    pub hours: Vec<HourCounts>,
}

impl Store {
    /// Counts everything under the scope.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn summary(&self, scope: &Scope, now: Timestamp) -> Result<Summary, StoreError> {
        let mut regions = BTreeMap::new();
        let enterprises = "SELECT SUBSTR(e.region, 1, 6) AS county, COUNT(*) AS n FROM enterprise AS e WHERE e.merged_into IS NULL";
        let enterprises = self.by_county(sql(enterprises), scope, Owner::ENTERPRISE, &mut regions, |r, n| r.enterprises += n).await?;
        let points = "SELECT SUBSTR(e.region, 1, 6) AS county, COUNT(*) AS n FROM point AS p
INNER JOIN device AS d ON d.id = p.device_id LEFT JOIN enterprise AS e ON e.id = d.enterprise_id WHERE 1 = 1";
        let points = self.by_county(sql(points), scope, Owner::ENTERPRISE, &mut regions, |r, n| r.points += n).await?;
        // Where vehicles of other nodes are, is known there.
        let vehicles = "SELECT SUBSTR(COALESCE(e.region, v.region), 1, 6) AS county, COUNT(*) AS n FROM vehicle AS v
LEFT JOIN enterprise AS e ON e.id = v.enterprise_id
WHERE NOT EXISTS (SELECT 1 FROM mirror AS m WHERE m.kind = 'vehicle' AND m.local_id = v.id)";
        let owner = Owner { enterprise: "e.id", region: "COALESCE(e.region, v.region)", sector: "e.sector" };
        let vehicles = self.by_county(sql(vehicles), scope, owner, &mut regions, |r, n| r.vehicles += n).await?;

        let mut q = sql("SELECT COUNT(*) AS n FROM device AS d LEFT JOIN enterprise AS e ON e.id = d.enterprise_id WHERE 1 = 1");
        q.and_visible(scope, Owner::ENTERPRISE);
        let devices = self.db.row(q).await?.ok_or(StoreError::NotFound)?.get("n")?;

        let mut standing = LevelCounts::default();
        let mut q = sql("SELECT SUBSTR(a.region, 1, 6) AS county, a.level, COUNT(*) AS n FROM alarm AS a
WHERE a.returned_at_us IS NULL AND a.historic = 0");
        q.and_visible(scope, ALARM_OWNER);
        q.push("\nGROUP BY SUBSTR(a.region, 1, 6), a.level", &[]);
        for row in self.db.rows(q).await? {
            let (level, n) = (row.word("level", Level::parse)?, row.get("n")?);
            standing.add(level, n);
            if let Some(county) = county(&row, &mut regions)? {
                county.standing.add(level, n);
            }
        }
        let live = AlarmFilter { historic: Some(false), ..AlarmFilter::default() };
        let alarms = self.alarm_counts(scope, &live).await?;
        let hours = self.hours(scope, now).await?;
        Ok(Summary { enterprises, devices, points, vehicles, alarms, standing, regions: regions.into_values().collect(), hours })
    }

    async fn by_county(
        &self,
        mut q: Sql,
        scope: &Scope,
        owner: Owner,
        regions: &mut BTreeMap<RegionCode, RegionCounts>,
        add: impl Fn(&mut RegionCounts, i64),
    ) -> Result<i64, StoreError> {
        q.and_visible(scope, owner);
        q.push(&format!("\nGROUP BY SUBSTR({}, 1, 6)", owner.region), &[]);
        let mut total = 0;
        for row in self.db.rows(q).await? {
            let n: i64 = row.get("n")?;
            total += n;
            if let Some(county) = county(&row, regions)? {
                add(county, n);
            }
        }
        Ok(total)
    }

    async fn hours(&self, scope: &Scope, now: Timestamp) -> Result<Vec<HourCounts>, StoreError> {
        let first = now.floor_us(HOUR_US).plus_us(-(HOURS - 1) * HOUR_US);
        // The hour's number as an expression of whole numbers: both databases divide them without a remainder.
        let mut q = sql("SELECT (a.raised_at_us - $1) / $2 AS hour, a.level, COUNT(*) AS n FROM alarm AS a
WHERE a.raised_at_us >= $1 AND a.raised_at_us < $3 AND a.historic = 0");
        q = q.bind(first).bind(HOUR_US).bind(first.plus_us(HOURS * HOUR_US));
        q.and_visible(scope, ALARM_OWNER);
        q.push("\nGROUP BY (a.raised_at_us - $1) / $2, a.level", &[]);
        let mut hours: Vec<HourCounts> =
            (0..HOURS).map(|h| HourCounts { at: first.plus_us(h * HOUR_US), raised: LevelCounts::default() }).collect();
        for row in self.db.rows(q).await? {
            let hour: i64 = row.get("hour")?;
            if let Some(hour) = usize::try_from(hour).ok().and_then(|h| hours.get_mut(h)) {
                hour.raised.add(row.word("level", Level::parse)?, row.get("n")?);
            }
        }
        Ok(hours)
    }
}

/// The county of a row with column `county`; `None` for rows without a region.
fn county<'a>(row: &Row, regions: &'a mut BTreeMap<RegionCode, RegionCounts>) -> Result<Option<&'a mut RegionCounts>, StoreError> {
    let Some(code) = row.get::<Option<RegionCode>>("county")? else { return Ok(None) };
    let fresh = RegionCounts { region: code.clone(), enterprises: 0, points: 0, vehicles: 0, standing: LevelCounts::default() };
    Ok(Some(regions.entry(code).or_insert(fresh)))
}
