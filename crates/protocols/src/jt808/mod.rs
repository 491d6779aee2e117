//! JT/T 808: vehicle terminals and the platform, editions 2011, 2013 and 2019.
//!
//! Bytes in, values out, and back. No socket, no clock, no state beyond half a frame and unfinished sub-packets; hostile
//! bytes give errors and defects, never a panic. What is covered and what is not: `protocol.toml` beside this file.
//!
//! Start at [`Frames`] (stream to frames), then [`Reassembly`] (parts to whole messages), then [`decode()`] (bodies to
//! [`Message`]); the other way round it is [`encode::frames`]. For people: [`decode_human`] and [`decode_jsonl_line`].

pub mod encode;

mod decode;
mod dialects;
mod frame;
mod json;
pub mod layout;
pub mod media;
mod message;
pub mod parameters;
mod tables;

pub use decode::{Defect, decode};
pub use dialects::dialect_parameter;
pub use encode::{EncodeError, encode_frame, split};
pub use frame::{
    Assembled, BODY_MAX, ESCAPED_MAX, Frame, FrameError, Frames, Header, Missing, PartError, Reassembly, ReassemblyLimits, Version, Whole,
    read_frame, unescape,
};
pub use json::{decode_human, decode_jsonl_line, items_json, message_json, message_name};
pub use layout::{Layout, Record, Value};
pub use media::{Media, media_answer};
pub use message::{
    Answer, Authenticate, ConfirmAlarm, Driver, Item, Message, Parameter, ParametersAnswer, Position, PositionAnswer, PositionBatch,
    Register, RegisterAnswer, RegisterEdition, Resend, Text, TimeAnswer, Track, alarm_name, bcd_from_time, time_from_bcd,
};
