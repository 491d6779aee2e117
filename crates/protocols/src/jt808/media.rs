//! Pictures, sounds and films of a terminal: 0x0800 and 0x0801 as one value, and their answer 0x8800.
//!
//! The fields stand in [`super::tables`]; this reads them out of a decoded message. Start at [`Media::of`].

use super::layout::Value;
use super::message::{Message, Position};

/// A file as announced (0x0800) or sent (0x0801).
#[derive(Clone, Debug, PartialEq)]
pub struct Media {
    /// The terminal's number for it; counts up from 1 and begins anew when the terminal forgets.
    pub id: u32,
    /// 0 image, 1 audio, 2 video.
    pub kind: u8,
    /// 0 JPEG, 1 TIF, 2 MP3, 3 WAV, 4 WMV; the bytes decide.
    pub format: u8,
    /// 0 ordered by the platform, 1 timer, 2 robbery, 3 collision or rollover, further ones since 2019.
    pub event: u8,
    /// Camera or microphone.
    pub channel: u8,
    /// Where and when it was taken; 0x0801 since 2013.
    pub position: Option<Position>,
    /// The file; `None` = announced.
    pub data: Option<Vec<u8>>,
}

impl Media {
    /// The file of a 0x0800 or 0x0801; `None` for any other message.
    ///
    /// Source: JT/T 808-2013, tables 80 and 81.
    pub fn of(message: Message) -> Option<Self> {
        let Message::Table { message_id: message_id @ (0x0800 | 0x0801), record, .. } = message else { return None };
        let number = |name: &str| record.number(name);
        let byte = |name: &str| number(name).and_then(|n| u8::try_from(n).ok());
        let mut media = Self {
            id: u32::try_from(number("media_id")?).ok()?,
            kind: byte("kind")?,
            format: byte("format")?,
            event: byte("event")?,
            channel: byte("channel")?,
            position: None,
            data: (message_id == 0x0801).then(Vec::new),
        };
        for (name, value) in record.0 {
            match value {
                Value::Position(position) => media.position = Some(*position),
                Value::Bytes(bytes) if name == "data" => media.data = Some(bytes),
                _ => {}
            }
        }
        Some(media)
    }

    /// A 0x0801 body, as a terminal writes it.
    pub fn message(&self) -> Message {
        let mut body = self.id.to_be_bytes().to_vec();
        body.extend([self.kind, self.format, self.event, self.channel]);
        body.extend(self.position.iter().flat_map(super::encode::position_fixed));
        body.extend(self.data.iter().flatten());
        Message::Raw { message_id: if self.data.is_some() { 0x0801 } else { 0x0800 }, body }
    }
}

/// 0x8800: the parts `missing` of that file (from 1, at most 255 of them) are to be sent again; none = it is whole and kept.
///
/// Source: JT/T 808-2013, table 82.
pub fn media_answer(media_id: u32, missing: &[u16]) -> Message {
    let mut body = media_id.to_be_bytes().to_vec();
    let missing = &missing[..missing.len().min(usize::from(u8::MAX))];
    if !missing.is_empty() {
        body.push(missing.len() as u8);
        body.extend(missing.iter().flat_map(|index| index.to_be_bytes()));
    }
    Message::Raw { message_id: 0x8800, body }
}

#[cfg(test)]
mod tests {
    use anlan_model::Timestamp;

    use super::super::{Version, decode, encode};
    use super::*;

    fn reread(message: &Message) -> Message {
        let frames = encode::frames("13900000001", Version::V2013, 0, message).unwrap();
        let mut cutter = super::super::Frames::new();
        cutter.push(&frames.concat());
        let body: Vec<u8> = cutter.flat_map(|f| f.unwrap().body).collect();
        decode(message.id(), Version::V2013, &body).0
    }

    #[test]
    fn a_file_is_read_as_it_was_written_with_and_without_a_position() {
        let position = Position::at(24_351_234, 102_545_678, Timestamp::parse("2026-03-01T08:00:00Z").unwrap());
        let data: Vec<u8> = [0xff, 0xd8, 0xff].into_iter().chain((0..5_000).map(|i| (i % 251) as u8)).collect();
        let media = Media { id: 7, kind: 0, format: 0, event: 3, channel: 2, position: Some(position), data: Some(data) };
        for media in [media.clone(), Media { position: None, ..media.clone() }, Media { position: None, data: None, ..media }] {
            assert_eq!(Media::of(reread(&media.message())), Some(media));
        }
        assert_eq!(Media::of(Message::Heartbeat), None);
    }

    #[test]
    fn the_answer_names_what_is_missing_or_nothing() {
        let body = |missing: &[u16]| match media_answer(0x0102_0304, missing) {
            Message::Raw { message_id: 0x8800, body } => body,
            other => panic!("{other:?}"),
        };
        assert_eq!(body(&[]), [1, 2, 3, 4]);
        assert_eq!(body(&[2, 300]), [1, 2, 3, 4, 2, 0, 2, 1, 44]);
        assert_eq!(body(&[9; 300]).len(), 5 + 2 * 255);
        assert!(matches!(reread(&media_answer(9, &[2])), Message::Table { message_id: 0x8800, .. }));
    }
}
