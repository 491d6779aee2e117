//! Rules and kinds of measurement of the active packs, with their sources.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::Answer;
use crate::extract::{AppRef, Caller};

/// One row of the rule book.
#[derive(Serialize, ToSchema)]
pub(crate) struct Rule {
    id: String,
    /// What it compares.
    kind: String,
    level: String,
    threshold: Option<f64>,
    unit: Option<String>,
    /// Kinds of measurement, `*` or `vehicle`, joined by commas.
    applies_to: String,
    /// Standard, or `product` for a choice of ours.
    standard: String,
    clause: String,
    /// In force since, ISO date; empty = not dated.
    effective: String,
    /// `verified`, `verified-secondary`, `product`, `unverified`.
    confidence: String,
    note: String,
}

/// The rule book.
#[derive(Serialize, ToSchema)]
pub(crate) struct RuleList {
    rules: Vec<Rule>,
    next: Option<String>,
}

/// A kind of measurement (监测量).
#[derive(Serialize, ToSchema)]
pub(crate) struct Kind {
    /// Word used on points.
    kind: String,
    name_zh: String,
    name_en: String,
    /// Usual unit.
    unit: String,
    range_low: Option<f64>,
    range_high: Option<f64>,
}

/// Kinds of measurement.
#[derive(Serialize, ToSchema)]
pub(crate) struct KindList {
    kinds: Vec<Kind>,
    next: Option<String>,
}

/// Rules of the active packs: the level table, then default limits of kinds.
#[utoipa::path(get, path = "/rules", tag = "rule", responses((status = 200, body = RuleList)))]
pub(crate) async fn list(AppRef(app): AppRef, _caller: Caller) -> Answer<RuleList> {
    let book = &app.rules;
    let level_of = |kind: &str| book.rules.iter().find(|r| r.kind == kind).map(|r| r.level.clone()).unwrap_or_default();
    let table = book.rules.iter().map(|r| Rule {
        id: r.id.clone(),
        kind: r.kind.clone(),
        level: r.level.clone(),
        threshold: r.threshold.or(r.factor).or(r.bit.map(f64::from)),
        // The unit of what stands in `threshold`: of a factor it is the point's own period, whatever unit the rule's alarm will have.
        unit: match (r.threshold, r.factor, r.bit) {
            (None, Some(_), _) => Some("×period".to_owned()),
            (None, None, Some(_)) => Some("bit".to_owned()),
            _ => r.unit.clone(),
        },
        applies_to: r.applies_to.join(","),
        standard: r.standard.clone(),
        clause: r.clause.clone(),
        effective: r.effective.clone(),
        confidence: r.confidence.clone(),
        note: r.note.clone(),
    });
    let limits = book.limits.iter().flat_map(|row| {
        let levels = [("hh", row.hh), ("h", row.h), ("l", row.l), ("ll", row.ll)];
        levels.into_iter().filter_map(move |(kind, value)| value.map(|v| (row, kind, v)))
    });
    let limits = limits.map(|(row, kind, value)| Rule {
        id: format!("{}.{kind}", row.kind),
        kind: kind.to_owned(),
        level: level_of(kind),
        threshold: Some(value),
        unit: Some(row.unit.clone()),
        applies_to: row.kind.clone(),
        standard: row.standard.clone(),
        clause: row.clause.clone(),
        effective: row.effective.clone(),
        confidence: row.confidence.clone(),
        note: row.note.clone(),
    });
    Ok(Json(RuleList { rules: table.chain(limits).collect(), next: None }))
}

/// Kinds of measurement of the base pack.
#[utoipa::path(get, path = "/kinds", tag = "rule", responses((status = 200, body = KindList)))]
pub(crate) async fn kinds(AppRef(app): AppRef, _caller: Caller) -> Answer<KindList> {
    let kinds = app.rules.kinds.iter().map(|k| Kind {
        kind: k.kind.clone(),
        name_zh: k.name_zh.clone(),
        name_en: k.name_en.clone(),
        unit: k.unit.clone(),
        range_low: k.range_low,
        range_high: k.range_high,
    });
    Ok(Json(KindList { kinds: kinds.collect(), next: None }))
}
