//! Bytes to messages and back, one folder per protocol. Sans-IO: no socket, no clock, never a panic.

pub mod jt808;
pub mod wire;
