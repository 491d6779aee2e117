//! Bytes to messages and back, one folder per protocol.
//!
//! Sans-IO: no socket, no clock, no log, never a panic; hostile bytes yield values. Nothing here judges a reading or keeps one.
//! Start at [`table::PROTOCOLS`], then the folder you care about; its `protocol.toml` says what is covered, what is missing and
//! by which source. [`wire`] holds what the binary ones share. A new protocol is a folder, a row in [`table`] and a fuzz target.

pub mod cap;
mod jsonl;
pub mod jt808;
pub mod jt809;
pub mod line;
pub mod modbus;
pub mod mqtt;
pub mod sensorthings;
pub mod table;
pub mod telemetry;
pub mod wire;
