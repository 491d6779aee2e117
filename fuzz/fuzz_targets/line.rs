//! InfluxDB line protocol: any bytes, any precision.
#![no_main]

use anlan_protocols::line::{ERRORS_MAX, POINTS_MAX, Precision, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for precision in [Precision::Nanoseconds, Precision::Hours] {
        let parsed = parse(data, precision);
        assert!(parsed.points.len() <= POINTS_MAX && parsed.errors.len() <= ERRORS_MAX);
        for point in &parsed.points {
            assert!(point.value.is_finite() && !point.code.is_empty() && !point.code.contains(char::is_control));
        }
    }
});
