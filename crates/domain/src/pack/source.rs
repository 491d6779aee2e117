//! Where a row of a pack comes from, in rows that refuse unknown keys (a flattened struct cannot).

use jiff::civil::Date;
use serde::Serialize;

use super::{CONFIDENCES, PackError};

/// Where a row of a pack comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    /// Document, or `product` for a choice of ours.
    pub standard: String,
    /// Clause, table or page.
    pub clause: String,
    /// In force since, ISO date; empty if unknown.
    pub effective: String,
    /// `verified`, `verified-secondary`, `product`, `unverified`.
    pub confidence: String,
    /// Remark.
    pub note: String,
}

/// The five fields of a row's source.
macro_rules! source {
    ($row:expr) => {
        $crate::pack::source::Source {
            standard: $row.standard.clone(),
            clause: $row.clause.clone(),
            effective: $row.effective.clone(),
            confidence: $row.confidence.clone(),
            note: $row.note.clone(),
        }
    };
}
pub(crate) use source;

impl Source {
    /// Standard and clause in one line.
    pub fn line(&self) -> String {
        super::join(&self.standard, &self.clause)
    }

    /// Refuses a row without a source, or with a confidence or date that is none.
    pub(crate) fn check(&self, file: &'static str, row: &str) -> Result<(), PackError> {
        let wrong = |field, reason: &str| Err(PackError::Row { file, row: row.to_owned(), field, reason: reason.to_owned() });
        if !CONFIDENCES.contains(&self.confidence.as_str()) {
            return wrong("confidence", "is not verified, verified-secondary, product or unverified");
        }
        if self.standard.is_empty() {
            return wrong("standard", "is missing: no source, no row");
        }
        if !self.effective.is_empty() && self.effective.parse::<Date>().is_err() {
            return wrong("effective", "is no date such as 2007-06-01");
        }
        Ok(())
    }
}
