//! MQTT 3.1, 3.1.1 and 5: the packets, the server's side of a device connection, and the field analyser.
//!
//! Never opens a socket, reads a clock or looks into a payload ([`crate::telemetry`] and [`crate::line`] do).
//! Start at [`server::Session`] for the server, [`codec`] for packets, [`decode_human`] for people. Gaps: `protocol.toml`.

pub mod codec;
mod json;
pub mod server;
#[cfg(test)]
mod server_tests;

pub use json::{decode_human, decode_jsonl_line};
