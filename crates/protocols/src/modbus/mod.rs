//! Modbus TCP as a client: frames, reads and their answers, the plan of reads for a register map, values.
//!
//! Sources: "MODBUS Application Protocol Specification V1.1b3" (2012) and "MODBUS Messaging on TCP/IP Implementation Guide V1.0b"
//! (2006), Modbus Organization. Never writes to a device. Start at [`codec`] for bytes, [`client`] for transactions, [`plan`] for
//! which registers go into one read; `protocol.toml` says what is covered.

pub mod client;
pub mod codec;
mod json;
pub mod plan;

pub use json::{decode_human, decode_jsonl_line};
