//! The snapshot of credentials that sockets believe.

use anlan_model::noun::Device;
use anlan_model::{Credentials, DeviceCredential, TerminalCredential, VehicleId};

use crate::db::{Row, sql};
use crate::{Store, StoreError};

const TERMINALS: &str = "SELECT id, phone, adopted, code_generation, enrol_until_us FROM vehicle WHERE 1 = 1";

/// What a device must prove.
pub fn of_device(d: &Device) -> DeviceCredential {
    DeviceCredential {
        device: d.id,
        secret_hash: d.secret_hash,
        enterprise: d.enterprise,
        gateway: d.gateway,
        may_backfill: d.may_backfill,
        disabled: d.disabled,
    }
}

impl Store {
    /// Credentials of every device and terminal. `terminal_key` is left zero: the caller owns that key
    /// (a setting that is made once, see [`Store::setting_or_put`]).
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn credentials(&self) -> Result<Credentials, StoreError> {
        let devices = self.all_devices().await?.into_iter().map(|d| (d.code.clone(), of_device(&d))).collect();
        let terminals = self.db.rows(sql(TERMINALS)).await?.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Credentials { devices, terminals, terminal_key: [0; 32] })
    }

    /// Phones and credentials of the terminals of these vehicles.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn terminals_among(&self, vehicles: &[VehicleId]) -> Result<Vec<(String, TerminalCredential)>, StoreError> {
        self.db.rows_among(TERMINALS, "id", vehicles).await?.iter().map(read).collect()
    }
}

fn read(row: &Row) -> Result<(String, TerminalCredential), StoreError> {
    let credential = TerminalCredential {
        vehicle: row.get("id")?,
        adopted: row.get("adopted")?,
        generation: row.get("code_generation")?,
        enrol_until: row.get("enrol_until_us")?,
    };
    Ok((row.get("phone")?, credential))
}
