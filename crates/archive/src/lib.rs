//! Parquet archive of sealed days, and one view across hot and archived.
//!
//! A day that is over for long enough is written as Parquet files, `readings/day=2026-11-22/region=530403/part-….parquet`, that DuckDB,
//! ClickHouse and Spark read as they are; what comes late becomes further parts, and parts are merged. Each (point, event_at, revision)
//! stands in exactly one visible file. Nothing here knows rules, SQL or sockets, reads a clock, or decides when a day is due.
//!
//! Files and manifests are versioned; `testdata/v1` holds an example that must be readable for ever.
//!
//! Start at [`Archive`] (writing), [`Whole`] (reading), `table.rs` (the files). What outsiders may rely on: `docs/reference/archive.md`.

mod archive;
#[cfg(feature = "s3")]
mod bucket;
mod day;
mod error;
mod late;
mod run;
mod table;
mod target;
mod whole;

#[cfg(test)]
mod tests;

pub use archive::{Archive, DayReport, Describe, Description, Hot, Outcome, Report, Status, Touched, released_to};
pub use day::{Day, PartMeta};
pub use error::ArchiveError;
pub use run::{Round, due, run};
pub use table::{Cells, Digest, Key, Kind, Labels, Table};
pub use target::Place;
pub use whole::Whole;
