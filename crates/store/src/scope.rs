//! A [`Scope`] as SQL: the condition that every read and write of people carries.

use anlan_model::Scope;
use anlan_model::noun::Grant;

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
        if scope.grants.is_empty() {
            self.push("\n  AND 1 = 0", &[]);
            return;
        }
        // A single grant is no OR: the planner then finds the index of its column.
        self.push("\n  AND (", &[]);
        for (i, grant) in scope.grants.iter().enumerate() {
            self.push(if i == 0 { "(" } else { "\n    OR (" }, &[]);
            self.grant(grant, owner);
            self.push(")", &[]);
        }
        self.push(")", &[]);
    }

    /// What one grant asks of a row's owner: conditions joined by AND, `1 = 1` for a grant without bounds.
    pub(crate) fn grant(&mut self, grant: &Grant, owner: Owner) {
        let mut and = "";
        if let Some(region) = &grant.region {
            let (from, to) = region.range();
            self.push(&format!("{0} >= {{}} AND {0} < {{}}", owner.region), &[&from, &to]);
            and = " AND ";
        }
        if let Some(sector) = &grant.sector {
            self.push(&format!("{and}{} = {{}}", owner.sector), &[sector]);
            and = " AND ";
        }
        if let Some(enterprise) = grant.enterprise {
            self.push(&format!("{and}{} = {{}}", owner.enterprise), &[&enterprise]);
            and = " AND ";
        }
        if and.is_empty() {
            self.push("1 = 1", &[]);
        }
    }
}
