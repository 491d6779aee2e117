//! Anlan's JSON payload: any bytes.
#![no_main]

use anlan_protocols::telemetry::{VALUES_MAX, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(payload) = parse(data) else { return };
    let values = payload.messages.iter().flat_map(|m| &m.values);
    assert!(values.clone().count() <= VALUES_MAX);
    assert!(values.clone().all(|(code, value)| value.is_finite() && !code.is_empty()));
});
