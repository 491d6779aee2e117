//! Between nodes: what a node sends its parent and its children, how both know what has arrived, and how they prove that they hold the same.
//!
//! No rule, no SQL, no HTTP here. Start at [`intervals`], what everything counts with.

pub mod digest;
pub mod intervals;
pub mod message;
