//! Everything an archive says of a few subjects, as JSON; shared by the maker of examples and the test that reads them.

use anlan_archive::Archive;
use anlan_model::{Position, Reading, Timestamp};
use serde_json::{Value, json};

fn reading(r: &Reading) -> Value {
    let device_at = r.device_at.map(Timestamp::micros);
    // Bits, because −0.0 equals 0.0 as a number.
    json!([
        r.point.get(),
        r.event_at.micros(),
        device_at,
        r.received_at.micros(),
        format!("{:016x}", r.value.to_bits()),
        r.quality.code(),
        r.flags.bits(),
        r.revision
    ])
}

fn position(p: &Position) -> Value {
    let device_at = p.device_at.map(Timestamp::micros);
    let times = json!([p.vehicle.get(), p.event_at.micros(), device_at, p.received_at.micros()]);
    let place = json!([p.lon_e6, p.lat_e6, p.altitude_m, p.speed_dkmh, p.direction_deg]);
    json!([times, place, p.alarm_bits, p.status_bits, p.body_crc, p.flags.bits(), p.items])
}

/// All of it.
pub fn answers(archive: &Archive) -> Value {
    let (mut readings, mut positions) = (Vec::new(), Vec::new());
    for day in archive.days() {
        for subject in 0..10 {
            let rows = archive.rows::<Reading>(day, subject, i64::MIN, i64::MAX).expect("reads");
            readings.extend(rows.iter().map(reading));
            let rows = archive.rows::<Position>(day, subject, i64::MIN, i64::MAX).expect("reads");
            positions.extend(rows.iter().map(position));
        }
    }
    json!({
        "status": archive.status(),
        "report": archive.verify(None).expect("verifies"),
        "readings": readings,
        "positions": positions,
    })
}
