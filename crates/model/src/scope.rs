//! Authorization as a value: every read and write takes a [`Scope`] that ends up in the SQL.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::noun::Grant;
use crate::{EnterpriseId, RegionCode, UserId};

/// What a person is at a territory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// 系统管理员: users, devices, settings; handles no alarms.
    Administrator,
    /// 值班员: watches and handles alarms.
    DutyOfficer,
    /// 监管人员: watches, handles, sets limits of its territory.
    Supervisor,
    /// 执法检查人员: goes there, checks, writes down what is found.
    Inspector,
    /// 企业安全管理人员: its own enterprise.
    SafetyManager,
    /// 从业人员: works there; reports what is wrong and removes it.
    Worker,
    /// 领导: sees all of its territory.
    Leader,
    /// 大屏: a duty screen that only shows.
    Screen,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 8] = [
        Self::Administrator,
        Self::DutyOfficer,
        Self::Supervisor,
        Self::Inspector,
        Self::SafetyManager,
        Self::Worker,
        Self::Leader,
        Self::Screen,
    ];
    /// The word on the API and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::DutyOfficer => "duty_officer",
            Self::Supervisor => "supervisor",
            Self::Inspector => "inspector",
            Self::SafetyManager => "safety_manager",
            Self::Worker => "worker",
            Self::Leader => "leader",
            Self::Screen => "screen",
        }
    }
    /// The role named by `word`.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.as_str() == word)
    }
    /// What the role may do; the matrix is kept by a snapshot test.
    pub const fn permissions(self) -> &'static [Permission] {
        use Permission::*;
        match self {
            Self::Administrator => &[View, ManageDevices, ManageLimits, ManageUsers, ViewAudit, ManageSystem, SendCommand, ManageDuty],
            Self::DutyOfficer => &[View, HandleAlarm, SendCommand],
            Self::Supervisor => &[View, HandleAlarm, ManageDevices, ManageLimits, SendCommand, ManageDuty, ManagePlan],
            Self::SafetyManager => &[View, HandleAlarm, ManageLimits],
            Self::Leader => &[View, DecidePlan],
            Self::Inspector | Self::Worker | Self::Screen => &[View],
        }
    }
}

/// One thing that may be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// See enterprises, points, readings, vehicles, alarms.
    View,
    /// Acknowledge and close alarms.
    HandleAlarm,
    /// Register enterprises, devices, points, vehicles; issue credentials.
    ManageDevices,
    /// Set limits of points.
    ManageLimits,
    /// Create people and grant roles.
    ManageUsers,
    /// Read the audit.
    ViewAudit,
    /// Settings, quarantine, health.
    ManageSystem,
    /// Send text or questions to devices and terminals.
    SendCommand,
    /// Make and change duty rotas.
    ManageDuty,
    /// Record facts and findings of a plan, propose what is decided beside its document.
    ManagePlan,
    /// Approve that.
    DecidePlan,
}

impl Permission {
    /// All permissions.
    pub const ALL: [Self; 11] = [
        Self::View,
        Self::HandleAlarm,
        Self::ManageDevices,
        Self::ManageLimits,
        Self::ManageUsers,
        Self::ViewAudit,
        Self::ManageSystem,
        Self::SendCommand,
        Self::ManageDuty,
        Self::ManagePlan,
        Self::DecidePlan,
    ];
    /// The word on the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::HandleAlarm => "handle_alarm",
            Self::ManageDevices => "manage_devices",
            Self::ManageLimits => "manage_limits",
            Self::ManageUsers => "manage_users",
            Self::ViewAudit => "view_audit",
            Self::ManageSystem => "manage_system",
            Self::SendCommand => "send_command",
            Self::ManageDuty => "manage_duty",
            Self::ManagePlan => "manage_plan",
            Self::DecidePlan => "decide_plan",
        }
    }
}

/// Who asks, and what part of the world they may see and change.
///
/// A row is visible if **one** grant holds it: its region lies in the grant's region (or the grant is node-wide),
/// its sector and enterprise match where the grant names them. Rows without region or enterprise (an unowned device,
/// an open vehicle) are visible to node-wide grants only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Who; `None` = the node itself (projector, demo provisioning).
    pub user: Option<UserId>,
    /// Shown name for the audit.
    pub name: String,
    /// Grants; the permission asked for must come from the same grant that holds the row.
    pub grants: Vec<Grant>,
}

/// The permission is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this needs the permission {}", .0.as_str())]
pub struct Forbidden(pub Permission);

impl Scope {
    /// The node itself: everything, everywhere.
    pub fn node() -> Self {
        let grants = [Role::Administrator, Role::Supervisor].map(|role| Grant { role, region: None, sector: None, enterprise: None });
        Self { user: None, name: "system".to_owned(), grants: grants.to_vec() }
    }
    /// Permissions of all grants together.
    pub fn permissions(&self) -> BTreeSet<Permission> {
        self.grants.iter().flat_map(|g| g.role.permissions()).copied().collect()
    }
    /// The same asker with only the grants that carry `permission`; what remains ends up in the SQL.
    ///
    /// # Errors
    /// [`Forbidden`] if none does.
    pub fn with(&self, permission: Permission) -> Result<Self, Forbidden> {
        let grants: Vec<Grant> = self.grants.iter().filter(|g| g.role.permissions().contains(&permission)).cloned().collect();
        if grants.is_empty() {
            return Err(Forbidden(permission));
        }
        Ok(Self { user: self.user, name: self.name.clone(), grants })
    }
    /// Whether some grant is unbounded: sees rows that have no region and no enterprise.
    pub fn node_wide(&self) -> bool {
        self.grants.iter().any(|g| g.region.is_none() && g.sector.is_none() && g.enterprise.is_none())
    }
    /// Whether a row with this owner is inside.
    pub fn holds(&self, enterprise: Option<EnterpriseId>, region: Option<&RegionCode>, sector: Option<&str>) -> bool {
        self.grants.iter().any(|grant| grant.holds(enterprise, region, sector))
    }
    /// Words of the roles that the asker has over a row with this owner.
    pub fn roles_at(&self, enterprise: Option<EnterpriseId>, region: Option<&RegionCode>, sector: Option<&str>) -> Vec<&'static str> {
        self.grants.iter().filter(|grant| grant.holds(enterprise, region, sector)).map(|grant| grant.role.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(role: Role, region: Option<&str>) -> Grant {
        Grant { role, region: region.and_then(RegionCode::new), sector: None, enterprise: None }
    }

    #[test]
    fn a_permission_counts_only_where_it_was_granted() {
        let scope = Scope {
            user: Some(UserId::new(1)),
            name: "甲".into(),
            grants: vec![grant(Role::Leader, Some("5304")), grant(Role::DutyOfficer, Some("530402"))],
        };
        let (a, b) = (RegionCode::new("530402").unwrap(), RegionCode::new("530423").unwrap());
        let see = scope.with(Permission::View).unwrap();
        assert!(see.holds(None, Some(&a), None) && see.holds(None, Some(&b), None));
        let act = scope.with(Permission::HandleAlarm).unwrap();
        assert!(act.holds(None, Some(&a), None) && !act.holds(None, Some(&b), None));
        assert_eq!(scope.with(Permission::ManageUsers), Err(Forbidden(Permission::ManageUsers)));
        assert!(!scope.node_wide() && Scope::node().node_wide());
        assert!(!see.holds(None, None, None), "an unowned row needs a node-wide grant");
    }
}
