//! The snapshot of credentials that sockets believe.

use std::collections::HashMap;

use anlan_model::{Credentials, DeviceCredential, TerminalCredential};

use crate::db::sql;
use crate::{Store, StoreError};

impl Store {
    /// Credentials of every device and terminal. `terminal_key` is left zero: the caller owns that key
    /// (a setting that is made once, see [`Store::setting_or_put`]).
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn credentials(&self) -> Result<Credentials, StoreError> {
        let devices = self.all_devices().await?.into_iter().map(|d| {
            let credential = DeviceCredential {
                device: d.id,
                secret_hash: d.secret_hash,
                enterprise: d.enterprise,
                gateway: d.gateway,
                may_backfill: d.may_backfill,
                disabled: d.disabled,
            };
            (d.code, credential)
        });
        let devices = devices.collect();
        let mut terminals = HashMap::new();
        for row in self.db.rows(sql("SELECT id, phone, adopted, code_generation, enrol_until_us FROM vehicle ORDER BY id")).await? {
            let credential = TerminalCredential {
                vehicle: row.get("id")?,
                adopted: row.get("adopted")?,
                generation: row.get("code_generation")?,
                enrol_until: row.get("enrol_until_us")?,
            };
            terminals.insert(row.get("phone")?, credential);
        }
        Ok(Credentials { devices, terminals, terminal_key: [0; 32] })
    }
}
