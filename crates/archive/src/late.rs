//! What of the hot rows of a day the archive does not have yet: one rule for adding late data, for reading across both, and for
//! doing either again after a crash.
//!
//! Identity is that of the shard (same value again = a repeat, another value = the next revision), carried on where the shard could not
//! look: a day whose blocks are gone. Pure.

use std::collections::BTreeMap;

use crate::table::Table;

/// More microseconds than this are not tried for a position; the shard's own bound.
const TRIES_MAX: usize = 1_000;

/// Hot rows sorted out.
#[derive(Debug)]
pub(crate) struct Fresh<T> {
    /// To be added, in key order, under the revision (or microsecond) they get.
    pub(crate) rows: Vec<T>,
    /// A value that came again after its day was archived and released.
    pub(crate) repeats: u64,
    /// No place was left: 65,536 revisions of one instant, or 1,000 positions in one millisecond.
    pub(crate) refused: u64,
}

/// Sorts out one subject's `hot` rows against its `archived` ones, both in key order; rows stay below `to`.
pub(crate) fn fresh<T: Table>(archived: &[T], hot: Vec<T>, to: i64) -> Fresh<T> {
    let mut found = Fresh { rows: Vec::new(), repeats: 0, refused: 0 };
    if archived.is_empty() {
        found.rows = hot;
    } else if T::REVISED {
        revisions(archived, &hot, &mut found);
    } else {
        places(archived, hot, to, &mut found);
        found.rows.sort_by_key(Table::key);
    }
    found
}

/// Values of one instant are revisions of each other.
fn revisions<T: Table>(archived: &[T], hot: &[T], found: &mut Fresh<T>) {
    let mut archived = archived;
    for hot in hot.chunk_by(|a, b| a.key().1 == b.key().1) {
        let at = hot[0].key().1;
        archived = &archived[archived.partition_point(|k| k.key().1 < at)..];
        let kept = &archived[..archived.partition_point(|k| k.key().1 == at)];
        add_revisions(kept, hot, found);
    }
}

/// What of `hot` is not in `kept` yet, both of one instant and in the order in which they came.
///
/// `kept` is what stood there when the hot rows of the time were dropped, followed by what was added of `hot` before: the split is found by
/// adding `hot` again behind each possible base and comparing. The first that explains all of `kept` tells what is left to add; a base
/// of everything always does.
fn add_revisions<T: Table>(kept: &[T], hot: &[T], found: &mut Fresh<T>) {
    for base in 0..=kept.len() {
        let mut newest = base.checked_sub(1).map(|i| &kept[i]);
        let (mut added, mut repeats) = (Vec::new(), 0);
        for row in hot {
            if newest.is_some_and(|newest| newest.same_value(row)) {
                repeats += 1;
            } else {
                added.push(row);
                newest = Some(row);
            }
        }
        let before = &kept[base..];
        let explained = before.len() <= added.len()
            && before.iter().zip(&added).all(|(k, row)| k.same_value(row) && k.received_us() == row.received_us());
        if !explained {
            continue;
        }
        if base == kept.len() {
            found.repeats += repeats;
        }
        let mut last = kept.last().cloned();
        for row in added.split_off(before.len()) {
            let row = match &last {
                Some(last) if last.key().2 == u16::MAX => {
                    found.refused += 1;
                    continue;
                }
                Some(last) if last.key().2 >= row.key().2 => row.beside(last),
                _ => row.clone(),
            };
            last = Some(row.clone());
            found.rows.push(row);
        }
        return;
    }
}

/// Values of one instant stand in neighbouring microseconds.
fn places<T: Table>(archived: &[T], hot: Vec<T>, to: i64, found: &mut Fresh<T>) {
    let mut kept: BTreeMap<i64, T> = archived.iter().map(|row| (row.key().1, row.clone())).collect();
    for mut row in hot {
        for tries in 0.. {
            if row.key().1 >= to || tries > TRIES_MAX {
                found.refused += 1;
                break;
            }
            match kept.get(&row.key().1) {
                None => {
                    kept.insert(row.key().1, row.clone());
                    found.rows.push(row);
                    break;
                }
                Some(there) if there.same_value(&row) => {
                    found.repeats += u64::from(there.received_us() != row.received_us());
                    break;
                }
                Some(there) => row = row.beside(there),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use anlan_model::{Flags, PointId, Position, Quality, Reading, Timestamp, VehicleId};

    use super::*;

    fn reading(at: i64, revision: u16, value: f64, received: i64) -> Reading {
        let event_at = Timestamp::from_micros(at);
        Reading {
            point: PointId::new(1),
            event_at,
            device_at: Some(event_at),
            received_at: Timestamp::from_micros(received),
            value,
            quality: Quality::Good,
            flags: Flags::empty(),
            revision,
        }
    }

    fn position(at: i64, crc: u32) -> Position {
        let event_at = Timestamp::from_micros(at);
        Position {
            vehicle: VehicleId::new(1),
            event_at,
            device_at: Some(event_at),
            received_at: Timestamp::from_micros(at + 5),
            lon_e6: 0,
            lat_e6: 0,
            altitude_m: 0,
            speed_dkmh: 0,
            direction_deg: 0,
            alarm_bits: 0,
            status_bits: 0,
            body_crc: crc,
            flags: Flags::empty(),
            items: Vec::new(),
        }
    }

    fn check(archived: &[Reading], hot: &[Reading], added: &[(i64, u16, f64)], repeats: u64) {
        let found = fresh(archived, hot.to_vec(), i64::MAX);
        let rows: Vec<_> = found.rows.iter().map(|r| (r.event_at.micros(), r.revision, r.value)).collect();
        assert_eq!((rows.as_slice(), found.repeats), (added, repeats));
        // Whatever was added once is not added again.
        let mut all = [archived, &found.rows].concat();
        all.sort_by_key(Table::key);
        assert!(fresh(&all, hot.to_vec(), i64::MAX).rows.is_empty());
    }

    #[test]
    fn what_is_there_is_not_added_again_and_what_is_new_is() {
        check(&[], &[reading(1, 0, 1.0, 9)], &[(1, 0, 1.0)], 0);
        check(&[reading(1, 0, 1.0, 9)], &[reading(1, 0, 1.0, 9)], &[], 0);
        check(
            &[reading(1, 0, 1.0, 9)],
            &[reading(1, 0, 1.0, 9), reading(1, 1, 2.0, 10), reading(2, 0, 5.0, 10)],
            &[(1, 1, 2.0), (2, 0, 5.0)],
            0,
        );
    }

    #[test]
    fn a_value_the_shard_could_not_compare_becomes_the_next_revision() {
        // The day's blocks were gone, so the shard numbered from 0.
        check(&[reading(1, 0, 1.0, 9)], &[reading(1, 0, 2.0, 50)], &[(1, 1, 2.0)], 0);
        check(
            &[reading(1, 0, 1.0, 9), reading(1, 1, 2.0, 10)],
            &[reading(1, 0, 1.0, 50), reading(1, 1, 3.0, 51)],
            &[(1, 2, 1.0), (1, 3, 3.0)],
            0,
        );
    }

    #[test]
    fn the_same_value_again_is_a_repeat() {
        check(&[reading(1, 0, 1.0, 9)], &[reading(1, 0, 1.0, 50)], &[], 1);
    }

    #[test]
    fn a_repeat_that_was_dropped_once_stays_dropped() {
        // Archived, released; the same value again, then another: only the other one was added, and the second look knows.
        let archived = [reading(1, 0, 1.0, 9), reading(1, 1, 2.0, 51)];
        check(&archived, &[reading(1, 0, 1.0, 50), reading(1, 1, 2.0, 51)], &[], 0);
        // All in one microsecond of a frozen clock: the order of revisions tells a repeat from a return.
        check(&[reading(1, 0, 1.0, 9)], &[reading(1, 0, 2.0, 9), reading(1, 1, 1.0, 9)], &[(1, 1, 2.0), (1, 2, 1.0)], 0);
        check(&[reading(1, 0, 1.0, 9), reading(1, 1, 2.0, 9)], &[reading(1, 0, 1.0, 9), reading(1, 1, 2.0, 9)], &[], 0);
    }

    #[test]
    fn there_and_back_within_a_microsecond_is_three_revisions() {
        check(
            &[reading(1, 0, 1.0, 9)],
            &[reading(1, 0, 1.0, 9), reading(1, 1, 2.0, 9), reading(1, 2, 1.0, 9)],
            &[(1, 1, 2.0), (1, 2, 1.0)],
            0,
        );
    }

    #[test]
    fn another_body_of_the_same_second_moves_to_the_next_free_microsecond() {
        let archived = [position(10, 1), position(11, 2)];
        let found = fresh(&archived, vec![position(10, 3), position(10, 2)], i64::MAX);
        assert_eq!(found.rows.iter().map(|p| (p.event_at.micros(), p.body_crc)).collect::<Vec<_>>(), [(12, 3)]);
    }
}
