//! What a reader says about an example directory, as JSON. Shared by `examples/make_testdata.rs` and `tests/formats.rs`.

use anlan_history::{Lsn, Reader};
use anlan_model::{PointId, Timestamp, VehicleId};
use serde_json::{Value, json};

/// 2026-11-23T00:00:00Z.
pub const DAY: i64 = 1_795_392_000_000_000;

/// Everything the examples hold, through every kind of question.
pub fn answers(reader: &Reader) -> Value {
    let all = |p| reader.readings(PointId::new(p), Timestamp::MIN, Timestamp::MAX, None, usize::MAX).expect("reads");
    let track = |v| reader.positions(VehicleId::new(v), Timestamp::MIN, Timestamp::MAX, None, usize::MAX).expect("reads");
    // As version 1 said it: what was added since is left out.
    let rollup = |step| -> Vec<Value> {
        let rows = reader.rollup(PointId::new(7), step, Timestamp::MIN, Timestamp::MAX).expect("rolls up");
        rows.iter().map(|r| json!({"at": r.at, "min": r.min, "max": r.max, "mean": r.mean, "count": r.count})).collect()
    };
    json!({
        "checkpoint": reader.last_checkpoint().expect("reads"),
        "records": reader.tail(Lsn::ZERO).map(|r| r.expect("follows")).collect::<Vec<_>>(),
        "readings": (7..10).map(all).collect::<Vec<_>>(),
        "revisions": reader.revisions(PointId::new(7), Timestamp::from_micros(DAY + 90_000_000)).expect("reads"),
        "minutes": rollup(60_000_000),
        "hours": rollup(3_600_000_000),
        "latest": (7..10).map(|p| reader.latest(PointId::new(p))).collect::<Vec<_>>(),
        "positions": (3..5).map(track).collect::<Vec<_>>(),
    })
}
