//! What an operator can set, with units and defaults; read by figment in the binary, documented from here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anlan_model::modbus::Network;
use serde::{Deserialize, Serialize};

use crate::telemetry::shard::TimeBounds;

/// Settings of the node's use cases.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Invented data: every page, export and answer says 演示数据.
    pub demo: bool,
    /// The division this node serves, such as `5304`.
    pub region: String,
    /// Text drawn on the map: data source and 审图号.
    pub map_attribution: String,
    /// Create points that are unknown at first sight, as unconfirmed.
    pub points_create: bool,
    /// Points a device may bring in at first sight; further unknown codes are dropped and counted. Default 5,000.
    pub points_per_device_max: usize,
    /// Vehicles nobody has adopted that the node keeps; further ones are refused. Default 20,000.
    pub vehicles_open_max: usize,
    /// Which device times are believed.
    pub time: TimeBounds,
    /// Batches one shard may hold before it refuses. Default 20,000.
    pub shard_queue: usize,
    /// Readings all shards together may hold before they refuse. Default 4,000,000 (about 200 MB).
    pub queue_readings: usize,
    /// Points that the devices of one enterprise may bring in at first sight. Default 200,000.
    pub points_per_enterprise_max: usize,
    /// Megabytes free on the data disk below which back-fill is refused, at half of it telemetry, at a quarter everything. Default 512; 0 = no guard.
    pub disk_free_min_mb: u64,
    /// A vehicle without a position for this long is offline. Seconds, default 300.
    pub vehicle_offline_s: i64,
    /// A clock further off than this is told on every page. µs, default 1 s: device protocols carry whole seconds.
    pub clock_offset_max_us: i64,
    /// Networks that may be polled; empty = none.
    pub modbus_networks: Vec<Network>,
    /// Devices with a register map. Default 10,000.
    pub modbus_devices_max: usize,
    /// Files of the telemetry history.
    pub history: History,
    /// Folder of packs that an administrator may switch on; `None` = there are none. Default `packs` in the data directory.
    pub packs: Option<PathBuf>,
    /// Whose signatures of packs are believed; empty = packs need none.
    pub trusted_keys: Vec<crate::signing::PublicKey>,
    /// How long telemetry is kept.
    pub retention: Retention,
    /// Where submissions may go, checked.
    #[serde(skip)]
    pub submissions: Vec<crate::submission::Target>,
    /// Pictures, sounds and films of terminals.
    pub media: Media,
    /// Files of records.
    pub attachments: Attachments,
    /// What others may read by key.
    pub open_data: OpenData,
    /// Official documents.
    pub documents: Documents,
    /// Parquet archive of days that are over.
    pub archive: ArchiveSettings,
    /// People.
    pub access: Access,
}

/// Sizes and times of the telemetry history on disk; the defaults suit a node of any size (ADR 0002).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// A log segment is closed when it has grown past this. Bytes.
    pub segment_bytes: u64,
    /// Readings in memory that start a seal before its time.
    pub seal_after_readings: u64,
    /// Width of a block, in s; fixed when the data directory is made.
    pub seal_window_s: i64,
    /// Log segments younger than this stay even if nobody needs them, in s.
    pub keep_log_s: i64,
    /// Rule state is written at least this often, in ms of real time, and whenever some 2 million readings have come since. Sealing is
    /// looked at as often, but at least every second.
    pub checkpoint_ms: u64,
    /// Blocks to merge are looked for this often, in ms of real time.
    pub merge_look_ms: u64,
}

impl Default for History {
    fn default() -> Self {
        let engine = anlan_history::Options::default();
        Self {
            segment_bytes: engine.segment_bytes,
            seal_after_readings: engine.seal_after_readings,
            seal_window_s: engine.seal_window_us / 1_000_000,
            keep_log_s: engine.keep_log_us / 1_000_000,
            checkpoint_ms: 300_000,
            // A block waits minutes for its merge anyway.
            merge_look_ms: 20_000,
        }
    }
}

impl History {
    /// As the engine takes them.
    pub fn options(self) -> anlan_history::Options {
        anlan_history::Options {
            segment_bytes: self.segment_bytes,
            seal_after_readings: self.seal_after_readings,
            seal_window_us: self.seal_window_s.saturating_mul(1_000_000),
            keep_log_us: self.keep_log_s.saturating_mul(1_000_000),
            ..anlan_history::Options::default()
        }
    }
}

/// How many files of terminals are kept (`limits.media_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Media {
    /// Megabytes of one vehicle.
    pub vehicle_mb: u64,
    /// Megabytes of all together.
    pub total_mb: u64,
    /// Whole days; 0 = for ever.
    pub days: u32,
}

impl Default for Media {
    fn default() -> Self {
        Self { vehicle_mb: 200, total_mb: 20_000, days: 0 }
    }
}

/// How many files of records are kept (`attachments.*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Attachments {
    /// Megabytes of one file.
    pub file_mb: u64,
    /// Files of one record, over its whole life.
    pub record_files: usize,
    /// Megabytes that one person may have uploaded without naming them in a record.
    pub person_mb: u64,
    /// Megabytes of all together.
    pub total_mb: u64,
}

impl Default for Attachments {
    fn default() -> Self {
        Self { file_mb: 20, record_files: 100, person_mb: 200, total_mb: 50_000 }
    }
}

/// What others may read by key (`open_data.*`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpenData {
    /// Terms under which data is given, as the catalogue says them; empty = those of the base pack.
    pub terms: String,
    /// Address of this node as others reach it, such as `https://anlan.example`; empty = as the request names it.
    pub base_url: String,
}

/// Official documents that the node issues (`documents.*`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Documents {
    /// Who issues them (发文机关); empty = the work-safety committee's office of the division.
    pub issuer: String,
    /// What numbers begin with (机关代字), such as `玉安办` in 玉安办〔2026〕1号; empty = nothing.
    pub mark: String,
    /// Folders with fonts that are looked for before the system's: an office's own licensed faces.
    pub fonts: Vec<std::path::PathBuf>,
}

/// Settings of the archive. Credentials of a bucket come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArchiveSettings {
    /// A directory or `s3://bucket/prefix`; absent = no archive.
    pub url: Option<String>,
    /// Address of an S3 service that is not Amazon's, such as `https://minio.example:9000`.
    pub endpoint: Option<String>,
    /// Region of the S3 service.
    pub region: Option<String>,
    /// A day is archived when it has been over for this many days. Default 7, the days the log is kept: by then what was late has come.
    pub after_days: u32,
    /// Parts of a partition that are merged into one. Default 4.
    pub compact_parts: usize,
    /// Whether a day is due, and what came late, is looked at this often, in ms of real time. Default 60,000: a day is due once a day.
    pub look_ms: u64,
}

impl Default for ArchiveSettings {
    fn default() -> Self {
        Self { url: None, endpoint: None, region: None, after_days: 7, compact_parts: 4, look_ms: 60_000 }
    }
}

/// How long telemetry is kept, in whole days after the end of a day (UTC). No time is over unless it is set; legal holds come first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Readings of every kind that `kinds` does not name.
    pub readings_days: Option<u32>,
    /// Readings by kind of measurement (the word of the pack, such as `methane`).
    pub kinds: BTreeMap<String, u32>,
    /// Positions of vehicles.
    pub positions_days: Option<u32>,
    /// Stored hourly statistics: they outlive the readings.
    pub rollups_days: Option<u32>,
    /// While the data disk has fewer megabytes free, the oldest readings give way to their hours. 0 = never. Default 1,024: twice the space at
    /// which back-fill is refused.
    pub thin_below_mb: u64,
    /// Whole days of which no reading gives way for that. Default 30; 8 at least.
    pub thin_keep_days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            readings_days: None,
            kinds: BTreeMap::new(),
            positions_days: None,
            rollups_days: None,
            thin_below_mb: 1_024,
            thin_keep_days: 30,
        }
    }
}

impl Retention {
    /// Whether the time of anything is ever over.
    pub fn is_set(&self) -> bool {
        let never = Self { thin_below_mb: self.thin_below_mb, thin_keep_days: self.thin_keep_days, ..Self::default() };
        *self != never
    }
}

/// Settings of sign-in and sessions.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// Acting asks for the password again after this long without an act. Seconds, default 900.
    pub idle_s: i64,
    /// A session ends after this long. Seconds, default 43,200 (a shift of 12 h).
    pub session_s: i64,
    /// A duty screen's read-only session ends after this long. Seconds, default 2,592,000.
    pub screen_session_s: i64,
    /// The setup link works this long. Seconds, default 3,600.
    pub setup_s: i64,
    /// argon2id memory in KiB. Default 19,456 (OWASP Password Storage Cheat Sheet, argon2id m=19 MiB t=2 p=1).
    pub argon2_memory_kib: u32,
    /// argon2id passes. Default 2.
    pub argon2_passes: u32,
}

impl Default for Access {
    fn default() -> Self {
        Self { idle_s: 900, session_s: 43_200, screen_session_s: 2_592_000, setup_s: 3_600, argon2_memory_kib: 19_456, argon2_passes: 2 }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            demo: false,
            region: "5304".to_owned(),
            map_attribution: String::new(),
            points_create: true,
            points_per_device_max: 5_000,
            vehicles_open_max: 20_000,
            time: TimeBounds::default(),
            shard_queue: 20_000,
            queue_readings: 4_000_000,
            points_per_enterprise_max: 200_000,
            disk_free_min_mb: 512,
            vehicle_offline_s: 300,
            clock_offset_max_us: 1_000_000,
            modbus_networks: Vec::new(),
            modbus_devices_max: 10_000,
            history: History::default(),
            packs: None,
            trusted_keys: Vec::new(),
            retention: Retention::default(),
            submissions: Vec::new(),
            media: Media::default(),
            attachments: Attachments::default(),
            open_data: OpenData::default(),
            documents: Documents::default(),
            archive: ArchiveSettings::default(),
            access: Access::default(),
        }
    }
}
