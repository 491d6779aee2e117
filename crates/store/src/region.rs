//! Administrative divisions, as the region pack lists them. Public facts: they need no scope.

use anlan_model::noun::Region;

use crate::db::sql;
use crate::{Store, StoreError};

impl Store {
    /// Sets names of divisions; known codes are renamed, none is removed.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn put_regions(&self, regions: &[Region]) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        for region in regions {
            let put = sql("INSERT INTO region (code, name, name_en) VALUES ($1, $2, $3)
ON CONFLICT (code) DO UPDATE SET name = excluded.name, name_en = excluded.name_en");
            tx.run(put.bind(&region.code).bind(region.name.as_str()).bind(region.name_en.as_str())).await?;
        }
        tx.commit().await
    }

    /// All divisions in order of their codes.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn regions(&self) -> Result<Vec<Region>, StoreError> {
        let rows = self.db.rows(sql("SELECT code, name, name_en FROM region ORDER BY code")).await?;
        rows.iter().map(|r| Ok(Region { code: r.get("code")?, name: r.get("name")?, name_en: r.get("name_en")? })).collect()
    }
}
