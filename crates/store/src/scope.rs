//! A [`Scope`] as SQL: the condition that every read and write of people carries.

use anlan_model::Scope;

use crate::db::Sql;

/// Where a row's owner stands in the statement.
#[derive(Clone, Copy)]
pub(crate) struct Owner {
    /// Expression of the enterprise's id.
    pub(crate) enterprise: &'static str,
    /// Expression of the region code.
    pub(crate) region: &'static str,
    /// Expression of the sector word.
    pub(crate) sector: &'static str,
}

impl Owner {
    /// Of a statement that joins `enterprise AS e`.
    pub(crate) const ENTERPRISE: Self = Self { enterprise: "e.id", region: "e.region", sector: "e.sector" };
}

impl Sql {
    /// `AND (…)`: true for rows that one grant of `scope` holds. NULL compares to NULL, so a row without an owner
    /// passes only where a grant is unbounded.
    pub(crate) fn and_visible(&mut self, scope: &Scope, owner: Owner) {
        if scope.node_wide() {
            return;
        }
        self.push("\n  AND (1 = 0", &[]);
        for grant in &scope.grants {
            self.push("\n    OR (1 = 1", &[]);
            if let Some(region) = &grant.region {
                let (from, to) = region.range();
                self.push(&format!(" AND {0} >= {{}} AND {0} < {{}}", owner.region), &[&from, &to]);
            }
            if let Some(sector) = &grant.sector {
                self.push(&format!(" AND {} = {{}}", owner.sector), &[sector]);
            }
            if let Some(enterprise) = grant.enterprise {
                self.push(&format!(" AND {} = {{}}", owner.enterprise), &[&enterprise]);
            }
            self.push(")", &[]);
        }
        self.push(")", &[]);
    }
}
