//! OGC SensorThings API 1.1 (OGC 18-088), reading side: what an address asks for, and whether an entity fits its filter.
//!
//! Text in, values out: [`Path`] and [`Query`] are what was asked, [`Expr`] is a filter with every name checked against the model, [`eval`] decides
//! it over whatever implements [`Subject`]. Knows neither rows nor JSON, never panics, and bounds length, depth and work; what it does not
//! support is a [`Refusal`] with words, never a filter that quietly means something else. Nothing here creates or changes an entity. Start at
//! [`Path::parse`] and [`Query::read`]; what is covered and what is not: `protocol.toml`.

pub mod eval;
mod expr;
mod model;
mod path;
mod query;
mod value;

pub use eval::{Eval, Subject, sorted};
pub use expr::{Expr, Route};
pub use model::{Entity, Link};
pub use path::{Hop, Id, Part, Path, Tail};
pub use query::{Expand, Order, Query, Selected};
pub use value::{Shape, Value};

/// What the folder covers, for people.
pub const DESCRIPTION: &str = include_str!("protocol.toml");

/// Longest path or option, in bytes.
pub const TEXT_MAX: usize = 8_192;
/// Deepest brackets of a filter, and levels of `$expand`.
pub const DEPTH_MAX: usize = 16;
/// Most terms of a filter: literals, names, operators and calls together.
pub const TERMS_MAX: usize = 200;
/// Most hops of a path.
pub const HOPS_MAX: usize = 16;
/// Most parts of `$orderby`, `$select` or one level of `$expand`.
pub const LIST_MAX: usize = 32;
/// Most entities of one answer.
pub const TOP_MAX: u64 = 1_000;
/// Entities of an answer when the asker does not say.
pub const TOP_DEFAULT: u64 = 100;

/// Why something is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not in the grammar.
    #[error("at character {at}: expected {expected}")]
    Syntax {
        /// Byte of the text.
        at: usize,
        /// What would have fitted.
        expected: &'static str,
    },
    /// The model has no such name there.
    #[error("{entity} has nothing called {name}")]
    Unknown {
        /// Where.
        entity: &'static str,
        /// What was asked for, shortened.
        name: String,
    },
    /// In the standard or an extension of it, and not here.
    #[error("{what} is not supported")]
    Unsupported {
        /// What.
        what: String,
    },
    /// Longer, deeper or more than is looked at.
    #[error("{what}: at most {most}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// The limit.
        most: u64,
    },
    /// Two things that cannot be put together.
    #[error("{function} does not take {given}")]
    Type {
        /// Operator or function.
        function: &'static str,
        /// Kinds of values.
        given: String,
    },
    /// An option was given twice.
    #[error("{option} is given twice")]
    Twice {
        /// Which.
        option: String,
    },
}

impl Refusal {
    fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported { what: short(&what.into()) }
    }
    fn unknown(entity: &'static str, name: &str) -> Self {
        Self::Unknown { entity, name: short(name) }
    }
}

/// What people sent comes back shortened.
fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests;
