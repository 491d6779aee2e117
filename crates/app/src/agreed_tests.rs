//! A child that sends a part, and a parent that finds the same part of what it holds.

use anlan_model::PointId;

use super::*;
use crate::ledger::tests::{Bench, CHILD, PARENT, SHIFT, at, child, every_day, parent_knows};
use crate::telemetry::piece::{self, LogPieces};

const LATER: i32 = i32::MAX;

/// What the child sends of its log under an agreement.
fn sent(a: &Bench, agreed: Readings) -> Vec<Vec<u8>> {
    let mut log = LogPieces::new(a.node.reader.clone());
    log.agree(agreed);
    let (mut from, mut all) = (0, Vec::new());
    loop {
        let piece = log.read(&|p| Some(a.known.origin(a.own, p)), from, u64::MAX, 40, 1 << 20).unwrap();
        if piece.to == from {
            return all;
        }
        from = piece.to;
        all.push(piece.bytes);
    }
}

/// A day as the child sends it again.
fn sent_again(a: &Bench, agreed: Readings, day: i32) -> Vec<Vec<u8>> {
    let points = points_of(&a.known, a.own, CHILD);
    let (mut after, mut all) = (None, Vec::new());
    loop {
        let part = piece::read_day(&a.whole, &points, CHILD, day, agreed, after, 7).unwrap();
        all.push(part.bytes);
        after = part.next;
        if after.is_none() {
            return all;
        }
    }
}

async fn verdict(b: &Bench, agreed: Readings, claim: &Claim) -> Vec<DayDigest> {
    let days: Vec<Day> = claim.days.iter().map(|d| Day { origin: d.origin, day: d.day }).collect();
    b.ledger.verdict_of(agreed, &days).await.unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn both_find_the_same_part_of_a_day_that_is_over_however_late_its_readings() {
    for agreed in [Readings::Changes, Readings::Minutes] {
        let (a_dir, b_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (a, b) = (child(a_dir.path()).await, Bench::open(b_dir.path(), PARENT, parent_knows(3)).await);
        // A point that hardly moves, twice a second, in order.
        let still: Vec<_> = (0..600).map(|n| (3, 200_000 + n / 2 + n % 2, if n < 400 { 1.0 } else { 2.0 })).collect();
        a.hear(&still);
        let stored: u32 = sent(&a, agreed).iter().map(|bytes| b.take(bytes).stored).sum();
        let held: u64 = a.ledger.claim(&every_day()).await.unwrap().days.iter().map(|d| d.digest.n).sum();
        assert!(u64::from(stored) < held / 2 + 303, "{agreed:?}: {stored} of {held} went");
        let mut part = a.ledger.claim_of(agreed, &every_day(), LATER).await.unwrap();
        assert!(part.left.is_empty() && part.claim.days.len() >= 3, "{part:?}");
        let n: u64 = part.claim.days.iter().map(|d| d.digest.n).sum();
        assert!(n <= u64::from(stored), "what goes live is no less than what is agreed");
        // Live in order it is all there; what was revised after its neighbours had gone may be not.
        if verdict(&b, agreed, &part.claim).await != part.claim.days {
            for day in &part.claim.days {
                sent_again(&a, agreed, day.day).iter().for_each(|bytes| _ = b.take(bytes));
            }
        }
        assert_eq!(verdict(&b, agreed, &part.claim).await, part.claim.days, "{agreed:?}");

        // Late: a value before one that went because it differed from what was then the one before.
        let before = part.claim.clone();
        a.hear(&[(3, 200_050, 7.0), (1, 30, 55.0)]);
        part = a.ledger.claim_of(agreed, &every_day(), LATER).await.unwrap();
        assert_ne!(part.claim.days, before.days);
        assert_ne!(verdict(&b, agreed, &part.claim).await, part.claim.days);
        for day in &part.claim.days {
            sent_again(&a, agreed, day.day).iter().for_each(|bytes| _ = b.take(bytes));
        }
        assert_eq!(verdict(&b, agreed, &part.claim).await, part.claim.days, "{agreed:?}: the day again mends it");
        assert!(b.node.reader.points_in(at(0), at(900_000)).contains(&PointId::new(3 + SHIFT)));

        // A day that is not over is not claimed yet, and not forgotten.
        let today = part.claim.days[1].day;
        let early = a.ledger.claim_of(agreed, &every_day(), today).await.unwrap();
        assert_eq!((early.claim.days.len(), early.left.len()), (1, part.claim.days.len() - 1));
        // What was read is remembered while the ledger says the same.
        let known = a.store.agreed_day(CHILD, &date_of(today).to_string(), agreed.as_str()).await.unwrap().unwrap();
        assert_eq!(known.part.n, part.claim.days[1].digest.n);
        for bench in [a, b] {
            bench.stop().await;
        }
    }
}
