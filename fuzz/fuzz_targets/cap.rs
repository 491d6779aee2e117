//! CAP 1.2: any bytes; what is read is written, and read again as the same.
#![no_main]

use anlan_protocols::cap::Alert;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(mut alert) = Alert::read(data) else { return };
    let written = alert.write().expect("what was read has no defects");
    alert.is_signed = false;
    assert_eq!(Alert::read(written.as_bytes()), Ok(alert));
});
