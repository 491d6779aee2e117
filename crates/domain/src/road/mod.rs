//! Supervision of road transport: what the positions of a vehicle say about how it was driven and how well it was heard.
//!
//! Pure. Positions in, findings out; every figure comes from the pack ([`rules`]). Two halves: [`drift`] decides, position by
//! position and before it is kept, whether a place can be true; [`walk`] goes through kept positions of any stretch of time
//! and finds trips, stops, speeding, driving without rest and driving in the forbidden hours. Start at [`walk::walk`].

pub mod drift;
pub mod rules;
pub mod walk;

pub use drift::Drift;
pub use rules::RoadRules;
pub use walk::{Finding, FindingKind, Stop, Trip, Walk, walk};
