//! Who should be on the network: enterprises under the asker's scope, with what rows say about them. Who is heard, telemetry says.

use std::collections::{BTreeMap, BTreeSet};

use anlan_model::noun::Enterprise;
use anlan_model::{EnterpriseId, RegionCode, Scope};

use crate::audit::and_equal;
use crate::db::{Sql, sql};
use crate::enterprise::{COLUMNS, read};
use crate::scope::Owner;
use crate::{Store, StoreError};

/// An enterprise that may be asked to be on the network.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkingRow {
    /// The row.
    pub enterprise: Enterprise,
    /// Name of its division, if the region pack knows the code.
    pub region_name: Option<String>,
    /// Its devices; heartbeats of nodes are none.
    pub devices: i64,
    /// Its records of the registers asked for: register and state, each once.
    pub records: BTreeSet<(String, String)>,
}

/// Which enterprises.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkingFilter {
    /// In this division.
    pub region: Option<RegionCode>,
    /// Of this sector.
    pub sector: Option<String>,
}

/// A device that is no heartbeat of a node, here or below: those are called `node-` and eight digits, behind the node's own sign where they are another's.
pub(crate) const NO_HEARTBEAT: &str = "NOT (d.protocol = 'link' AND (d.code LIKE 'node-________' OR d.code LIKE '________:node-________'))";

fn filtered(q: &mut Sql, scope: &Scope, filter: &NetworkingFilter) {
    q.push("\n  AND e.merged_into IS NULL", &[]).and_visible(scope, Owner::ENTERPRISE);
    if let Some(region) = &filter.region {
        let (from, to) = region.range();
        q.push("\n  AND e.region >= {} AND e.region < {}", &[&from, &to]);
    }
    and_equal(q, "e.sector", filter.sector.as_ref());
}

impl Store {
    /// Every enterprise under the scope that passes the filter, in order of ids, with its records of these registers.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn networking(
        &self,
        scope: &Scope,
        filter: &NetworkingFilter,
        registers: &BTreeSet<String>,
    ) -> Result<Vec<NetworkingRow>, StoreError> {
        let mut q = sql(&format!(
            "SELECT {COLUMNS}, r.name AS region_name FROM enterprise AS e LEFT JOIN region AS r ON r.code = e.region WHERE 1 = 1"
        ));
        filtered(&mut q, scope, filter);
        q.push("\nORDER BY e.id", &[]);
        let mut found = Vec::new();
        for row in self.db.rows(q).await? {
            let (enterprise, region_name) = (read(&row)?, row.get("region_name")?);
            found.push(NetworkingRow { enterprise, region_name, devices: 0, records: BTreeSet::new() });
        }
        let place: BTreeMap<EnterpriseId, usize> = found.iter().enumerate().map(|(i, row)| (row.enterprise.id, i)).collect();

        let mut q = sql(&format!(
            "SELECT e.id, COUNT(*) AS n FROM device AS d INNER JOIN enterprise AS e ON e.id = d.enterprise_id WHERE {NO_HEARTBEAT}"
        ));
        filtered(&mut q, scope, filter);
        q.push("\nGROUP BY e.id", &[]);
        for row in self.db.rows(q).await? {
            if let Some(i) = place.get(&row.get::<EnterpriseId>("id")?) {
                found[*i].devices = row.get("n")?;
            }
        }
        if registers.is_empty() {
            return Ok(found);
        }
        let mut q =
            sql("SELECT DISTINCT e.id, k.kind, k.state FROM record AS k INNER JOIN enterprise AS e ON e.id = k.enterprise_id WHERE 1 = 1");
        let kinds: Vec<&str> = registers.iter().map(String::as_str).collect();
        q.and_in("k.kind", &kinds);
        filtered(&mut q, scope, filter);
        for row in self.db.rows(q).await? {
            if let Some(i) = place.get(&row.get::<EnterpriseId>("id")?) {
                found[*i].records.insert((row.get("kind")?, row.get("state")?));
            }
        }
        Ok(found)
    }
}
