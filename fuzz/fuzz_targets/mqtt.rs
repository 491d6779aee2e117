//! MQTT: the packets of every version, and a server session driven by hostile bytes and arbitrary answers.
#![no_main]

use anlan_protocols::mqtt::codec::{Decoder, Qos, Version};
use anlan_protocols::mqtt::server::{ConnectRefusal, Event, Limits, PubResult, Session};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, bytes)) = data.split_first() else { return };
    for version in [None, Some(Version::V3_1), Some(Version::V3_1_1), Some(Version::V5)] {
        let mut decoder = Decoder::new(version, 64 * 1024);
        decoder.push(bytes);
        while let Some(Ok(packet)) = decoder.next() {
            // Whatever is read can be written, and reads back as the same packet.
            let version = decoder.version().unwrap_or(Version::V3_1_1);
            let mut out = Vec::new();
            packet.encode(version, &mut out).expect("a decoded packet fits");
            let mut again = Decoder::new(Some(version), usize::MAX);
            again.push(&out);
            assert_eq!(again.next(), Some(Ok(packet)));
        }
    }
    session(choice, bytes);
});

/// Feeds `bytes` in pieces; the answers follow the bits of `choice`.
fn session(choice: u8, bytes: &[u8]) {
    let limits = Limits { packet_max: 4096, inflight_max: 4, ..Limits::default() };
    let mut session = Session::new(limits, 0);
    let mut now_us = 0_u64;
    let mut held = Vec::new();
    for piece in bytes.chunks(usize::from(choice % 31) + 1) {
        now_us += u64::from(choice) * 10_000;
        session.input(piece, now_us);
        session.tick(now_us);
        while let Some(event) = session.next_event() {
            match event {
                Event::Connect { .. } if choice & 0x80 != 0 => session.refuse(ConnectRefusal::BadCredentials),
                Event::Connect { .. } => session.accept(),
                Event::Publish { token, topic, .. } => {
                    assert!(!topic.contains(['#', '+']));
                    held.push(token);
                }
                Event::Subscribe { packet_id, filters } => {
                    session.suback(packet_id, &vec![choice & 1 == 0; filters.len()]);
                    for filter in &filters {
                        let _ = session.publish(filter, b"x", Qos::AtLeastOnce);
                    }
                }
                Event::Closed(_) => assert!(session.is_closed()),
                Event::Unsubscribe { .. } | Event::Delivered { .. } => {}
            }
        }
        assert!(session.inflight() <= 4);
        if held.len() > usize::from(choice % 5) {
            let result = match choice % 7 {
                0 => PubResult::QuotaExceeded,
                1 => PubResult::PayloadInvalid,
                2 => PubResult::NotAuthorized,
                _ => PubResult::Ok,
            };
            // Newest first: the session has to put the answers back in order.
            while let Some(token) = held.pop() {
                session.ack(token, result);
            }
        }
        let _ = session.take_output();
    }
}
