//! Files of terminals (多媒体): what came from which vehicle, when and why. The bytes are not here; `app::media` keeps them as files.
//!
//! A vehicle, the terminal's number and the SHA-256 name one; the same again is the same row. Start at [`Store::put_media`].

use std::collections::{BTreeMap, HashSet};

use anlan_model::{Scope, Timestamp, VehicleId};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::audit::Entry;
use crate::db::{PIECE, Row, sql};
use crate::vehicle::{OWNER, holder};
use crate::{Page, Paging, Store, StoreError};

/// Announcements that are kept of one vehicle; older ones give way.
const ANNOUNCED_MAX: i64 = 100;

/// What is known of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewMedia {
    /// Whose.
    pub vehicle: VehicleId,
    /// The terminal's number.
    pub media_id: u32,
    /// 0 image, 1 audio, 2 video.
    pub kind: u8,
    /// Coding as sent.
    pub format: u8,
    /// Why it was made, as sent.
    pub event: u8,
    /// Camera or microphone.
    pub channel: u8,
    /// When it was complete at this node.
    pub received_at: Timestamp,
    /// The terminal's time of it.
    pub taken_at: Option<Timestamp>,
    /// Longitude and latitude in 1e-6 degrees, if there was a fix.
    pub place_e6: Option<(i32, i32)>,
    /// Hexadecimal; empty = announced.
    pub sha256: String,
    /// Length.
    pub bytes: u64,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaRow {
    /// In order of coming.
    pub id: i64,
    /// The rest.
    pub media: NewMedia,
}

const SELECT: &str =
    "SELECT m.id, m.vehicle_id, m.media_id, m.kind, m.format, m.event, m.channel, m.received_at_us, m.taken_at_us, m.lon_e6,
  m.lat_e6, m.sha256, m.bytes
FROM media AS m
INNER JOIN vehicle AS v ON v.id = m.vehicle_id
LEFT JOIN enterprise AS e ON e.id = v.enterprise_id";

impl Store {
    /// Takes down a file whose bytes are durable already, or an announcement; `false` = it was known.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn put_media(&self, new: &NewMedia) -> Result<bool, StoreError> {
        let mut tx = self.db.begin().await?;
        let place = new.place_e6.unzip();
        let insert = sql("INSERT INTO media (vehicle_id, media_id, kind, format, event, channel, received_at_us, taken_at_us, lon_e6, lat_e6, sha256, bytes)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (vehicle_id, media_id, sha256) DO NOTHING
RETURNING id");
        let insert = insert.bind(new.vehicle).bind(i64::from(new.media_id)).bind(i64::from(new.kind)).bind(i64::from(new.format));
        let insert = insert.bind(i64::from(new.event)).bind(i64::from(new.channel)).bind(new.received_at).bind(new.taken_at);
        let insert = insert.bind(place.0.map(i64::from)).bind(place.1.map(i64::from)).bind(new.sha256.as_str());
        let made = tx.row(insert.bind(i64::try_from(new.bytes).unwrap_or(i64::MAX))).await?;
        if new.sha256.is_empty() {
            let prune = sql("DELETE FROM media WHERE vehicle_id = $1 AND sha256 = '' AND id NOT IN
  (SELECT a.id FROM media AS a WHERE a.vehicle_id = $1 AND a.sha256 = '' ORDER BY a.id DESC LIMIT $2)");
            tx.run(prune.bind(new.vehicle).bind(ANNOUNCED_MAX)).await?;
        } else {
            // What was announced has come.
            let came = sql("DELETE FROM media WHERE vehicle_id = $1 AND media_id = $2 AND sha256 = ''");
            tx.run(came.bind(new.vehicle).bind(i64::from(new.media_id))).await?;
        }
        tx.commit().await?;
        Ok(made.is_some())
    }

    /// Whether this very file is here.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn has_media(&self, vehicle: VehicleId, media_id: u32, sha256: &str) -> Result<bool, StoreError> {
        let q = sql("SELECT m.id FROM media AS m WHERE m.vehicle_id = $1 AND m.media_id = $2 AND m.sha256 = $3");
        Ok(self.db.row(q.bind(vehicle).bind(i64::from(media_id)).bind(sha256)).await?.is_some())
    }

    /// Bytes kept, by vehicle.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn media_bytes(&self) -> Result<BTreeMap<VehicleId, u64>, StoreError> {
        // A sum over BIGINT is NUMERIC on PostgreSQL.
        let rows =
            self.db.rows(sql("SELECT m.vehicle_id, CAST(SUM(m.bytes) AS BIGINT) AS n FROM media AS m GROUP BY m.vehicle_id")).await?;
        rows.iter().map(|row| Ok((row.get("vehicle_id")?, u64::try_from(row.get::<i64>("n")?).unwrap_or(0)))).collect()
    }

    /// Every file by vehicle, number and SHA-256, announcements left out: to compare with what lies on the disk.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn all_media(&self) -> Result<HashSet<(VehicleId, u32, String)>, StoreError> {
        let rows =
            self.db.rows(sql("SELECT m.vehicle_id, m.media_id, m.sha256 FROM media AS m WHERE m.sha256 <> '' ORDER BY m.id")).await?;
        rows.iter().map(|row| Ok((row.get("vehicle_id")?, small(row, "media_id")?, row.get("sha256")?))).collect()
    }

    /// A page of a vehicle's files and announcements, newest first.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`].
    pub async fn media(&self, scope: &Scope, vehicle: VehicleId, paging: &Paging) -> Result<Page<MediaRow>, StoreError> {
        let mut q = sql(&format!("{SELECT}\nWHERE m.vehicle_id = $1")).bind(vehicle);
        q.and_visible(scope, OWNER);
        if let Some(id) = paging.after_id()? {
            q.push("\n  AND m.id < {}", &[&id]);
        }
        q.push("\nORDER BY m.id DESC\nLIMIT {}", &[&paging.fetch()]);
        paging.page_by_id(self.db.rows(q).await?, read)
    }

    /// One file of a vehicle.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn one_media(&self, scope: &Scope, vehicle: VehicleId, id: i64) -> Result<MediaRow, StoreError> {
        let mut q = sql(&format!("{SELECT}\nWHERE m.vehicle_id = $1 AND m.id = $2")).bind(vehicle).bind(id);
        q.and_visible(scope, OWNER);
        read(&self.db.row(q).await?.ok_or(StoreError::NotFound)?)
    }

    /// Notes in the audit that somebody looked at a file.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the vehicle, [`StoreError::Database`].
    pub async fn note_media_read(&self, scope: &Scope, row: &MediaRow, now: Timestamp) -> Result<(), StoreError> {
        let vehicle = self.vehicle(scope, row.media.vehicle).await?;
        let mut change = self.change(scope, now).await?;
        let holder = holder(&mut change, &vehicle.vehicle).await?;
        let detail = json!({"vehicle": row.media.vehicle, "media_id": row.media.media_id, "sha256": row.media.sha256});
        let entry = Entry { action: "read", noun: "media", subject: row.id.to_string(), detail: detail.clone(), row: detail, holder };
        change.record(entry).await?;
        change.commit().await
    }

    /// Files and announcements received before `until`, oldest first, at most `n`, beginning behind the id `after`: what retention looks at.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn media_before(&self, until: Timestamp, after: i64, n: i64) -> Result<Vec<MediaRow>, StoreError> {
        let q = sql(&format!("{SELECT}\nWHERE m.received_at_us < $1 AND m.id > $2\nORDER BY m.id\nLIMIT $3"));
        self.db.rows(q.bind(until).bind(after).bind(n)).await?.iter().map(read).collect()
    }

    /// Forgets rows whose files are gone.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn forget_media(&self, ids: &[i64]) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        for piece in ids.chunks(PIECE) {
            let mut q = sql("DELETE FROM media WHERE 1 = 1");
            q.and_in("id", piece);
            tx.run(q).await?;
        }
        tx.commit().await
    }
}

fn small<T: TryFrom<i64>>(row: &Row, column: &str) -> Result<T, StoreError> {
    let value: i64 = row.get(column)?;
    T::try_from(value).map_err(|_| StoreError::Corrupt(format!("media.{column} is {value}")))
}

fn read(row: &Row) -> Result<MediaRow, StoreError> {
    let coordinate =
        |column: &str| -> Result<Option<i32>, StoreError> { Ok(row.get::<Option<i64>>(column)?.and_then(|v| i32::try_from(v).ok())) };
    let media = NewMedia {
        vehicle: row.get("vehicle_id")?,
        media_id: small(row, "media_id")?,
        kind: small(row, "kind")?,
        format: small(row, "format")?,
        event: small(row, "event")?,
        channel: small(row, "channel")?,
        received_at: row.get("received_at_us")?,
        taken_at: row.get("taken_at_us")?,
        place_e6: coordinate("lon_e6")?.zip(coordinate("lat_e6")?),
        sha256: row.get("sha256")?,
        bytes: small(row, "bytes")?,
    };
    Ok(MediaRow { id: row.get("id")?, media })
}
