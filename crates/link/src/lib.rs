//! Between nodes: what a node sends its parent and its children, how both know what has arrived, and how they prove that they hold the same.
//!
//! No rule, no SQL, no HTTP here. Start at [`session`], one conversation without I/O; [`digest`] is the proof; [`identity`], [`pairing`] and
//! [`transport`] (feature `net`) are who speaks, how a node joins, and the way there; `nats` (feature `nats`) is another way.

pub mod agreement;
pub mod digest;
#[cfg(feature = "net")]
pub mod identity;
pub mod intervals;
pub mod message;
#[cfg(feature = "nats")]
pub mod nats;
#[cfg(feature = "net")]
pub mod pairing;
pub mod session;
#[cfg(feature = "net")]
pub mod transport;
