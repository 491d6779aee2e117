//! JT/T 808: any stream of bytes through framing, sub-packets and every body decoder.
#![no_main]

use anlan_protocols::jt808::{Frames, Reassembly, ReassemblyLimits, decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut frames = Frames::new();
    let mut parts = Reassembly::new(ReassemblyLimits::default());
    let mut now_us = 0_i64;
    for piece in data.chunks(61) {
        frames.push(piece);
        while let Some(next) = frames.next() {
            let Ok(frame) = next else { continue };
            let (message, _) = frame.decode();
            // Whatever was read can be written, or the writer says why not.
            let _ = encode::body(&message, frame.header.version);
            now_us += 1_000_000;
            let _ = parts.add(frame, now_us);
            parts.expire(now_us);
        }
    }
    // Bodies without a frame: the first two bytes choose the message.
    if let Some((id, body)) = data.split_first_chunk::<2>() {
        for version in [anlan_protocols::jt808::Version::V2013, anlan_protocols::jt808::Version::V2019] {
            let (message, _) = decode(u16::from_be_bytes(*id), version, body);
            let _ = encode::body(&message, version);
        }
    }
});
