//! JT/T 809: one platform of road transport and the next, editions 2011 and 2019.
//!
//! Bytes in, values out, and back. No socket, no clock; hostile bytes give errors and defects, never a panic, and whatever is
//! decoded encodes to the same bytes: what has no known layout, or does not fit it, is kept raw with its ids. The edition is
//! agreed per link and nowhere in the frame; [`edition_of`] finds the one that fits. What is covered: `protocol.toml`.
//!
//! Start at [`Frames`] (stream to frames), then [`Frame::decode`]; the other way round [`body()`] and [`encode_frame`].

mod frame;
mod json;
mod message;
mod position;
pub mod session;
mod tables;

pub use frame::{
    Cipher, ESCAPED_MAX, Edition, EncodeError, Frame, FrameError, Frames, Header, crc16, edition_of, encode_frame, escape, read_frame,
    unescape,
};
pub use json::{decode_human, decode_jsonl_line, message_json, message_name};
pub use message::{Content, Message, Part, Vehicle, body, decode, decode_sub};
pub use position::{Placed, position_record, positions, timed};
