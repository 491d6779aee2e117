//! What other standards and makers add to JT/T 808: items of 0x0200, messages and parameters, one file each.
//!
//! Data only. National and provincial standards come first; a maker's table is a guess by id and length, so what it says is
//! shown together with the raw bytes. Two dialects of one id are told apart by what fits exactly. Start at [`item`].

mod gps51;
mod jt1078;
mod subiao;
mod yuebiao;

use super::frame::Version;
use super::layout::{self, Layout, Record};
use super::tables::Row;

/// Tables of one dialect.
pub(crate) struct Dialect {
    /// Additional items of 0x0200.
    pub items: &'static [(u8, &'static Layout)],
    /// Messages of its own.
    pub messages: &'static [Row],
    /// Terminal parameters (0x8103, 0x0104).
    pub parameters: &'static [(u32, &'static Layout)],
    /// Of one maker only: its meaning of an id is not everybody's.
    pub is_guess: bool,
}

/// In the order of trying.
pub(crate) const DIALECTS: &[&Dialect] = &[&jt1078::DIALECT, &subiao::DIALECT, &yuebiao::DIALECT, &gps51::DIALECT];

/// The layout of an additional item and its values, if one of the tables fits its bytes exactly.
pub(crate) fn item(id: u8, value: &[u8]) -> Option<(&'static Layout, Record)> {
    exact(DIALECTS.iter().flat_map(|d| d.items).filter(|(i, _)| *i == id).map(|(_, layout)| *layout), value)
}

/// A parameter of another standard: its layout and values, if one of the tables fits its bytes exactly.
pub fn dialect_parameter(id: u32, value: &[u8]) -> Option<(&'static Layout, Record)> {
    exact(DIALECTS.iter().flat_map(|d| d.parameters).filter(|(i, _)| *i == id).map(|(_, layout)| *layout), value)
}

/// Whether a layout is of a maker's dialect.
pub(crate) fn is_guess(layout: &Layout) -> bool {
    DIALECTS.iter().any(|d| d.is_guess && d.items.iter().any(|(_, l)| std::ptr::eq(*l, layout)))
}

fn exact(layouts: impl Iterator<Item = &'static Layout>, value: &[u8]) -> Option<(&'static Layout, Record)> {
    // Items and parameters of these standards do not depend on the edition.
    let (layout, fits) = layout::best(layouts.map(|layout| (layout, Version::V2013)), value)?;
    fits.exactly.then_some((layout, fits.record))
}
