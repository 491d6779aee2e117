//! JT/T 809: any stream of bytes through framing and every body decoder, in both editions; what was read is written back as it was.
#![no_main]

use anlan_protocols::jt809::{Edition, Frames, body, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for mut frames in [Frames::new(Edition::V2011), Frames::new(Edition::V2019), Frames::guessing()] {
        for piece in data.chunks(61) {
            frames.push(piece);
            while let Some(next) = frames.next() {
                let Ok(frame) = next else { continue };
                let (message, _) = frame.decode(None);
                let _ = body(&message, frame.edition);
            }
        }
    }
    // Bodies without a frame: the first two bytes choose the message.
    if let Some((id, bytes)) = data.split_first_chunk::<2>() {
        for edition in [Edition::V2011, Edition::V2019] {
            let (message, _) = decode(edition, u16::from_be_bytes(*id), bytes);
            assert!(body(&message, edition).is_ok_and(|written| written == bytes));
        }
    }
});
