//! A child that sends a part, and a parent that finds the same part of what it holds.

use anlan_model::{PointId, Timestamp};

use super::*;
use crate::ledger::tests::{Bench, CHILD, PARENT, SHIFT, at, child, every_day, parent_knows};
use crate::telemetry::piece::{self, LogPieces};

const LATER: i32 = i32::MAX;

/// What the child sends of its log under an agreement.
fn sent(a: &Bench, agreed: &Agreed) -> Vec<Vec<u8>> {
    let mut log = LogPieces::new(a.whole.clone());
    log.agree(agreed.clone(), Timestamp::MAX);
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
fn sent_again(a: &Bench, agreed: &Agreed, day: i32) -> Vec<Vec<u8>> {
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
        let stored: u32 = sent(&a, &Agreed::plain(agreed)).iter().map(|bytes| b.take(bytes).stored).sum();
        let held: u64 = a.ledger.claim(&every_day()).await.unwrap().days.iter().map(|d| d.digest.n).sum();
        assert!(u64::from(stored) < held / 2 + 303, "{agreed:?}: {stored} of {held} went");
        let mut part = a.ledger.claim_of(agreed, &every_day(), LATER).await.unwrap();
        assert!(part.left.is_empty() && part.claim.days.len() >= 3, "{part:?}");
        let n: u64 = part.claim.days.iter().map(|d| d.digest.n).sum();
        assert!(n <= u64::from(stored), "what goes live is no less than what is agreed");
        // Live in order it is all there; what was revised after its neighbours had gone may be not.
        if verdict(&b, agreed, &part.claim).await != part.claim.days {
            for day in &part.claim.days {
                sent_again(&a, &Agreed::plain(agreed), day.day).iter().for_each(|bytes| _ = b.take(bytes));
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
            sent_again(&a, &Agreed::plain(agreed), day.day).iter().for_each(|bytes| _ = b.take(bytes));
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

/// An alarm of the child's third point begins, and perhaps ends, at whoever knows of it.
async fn alarm(of: &Bench, n: u128, onset: i64, end: Option<i64>, position: u64) {
    let point = PointId::new(if of.own == CHILD { 3 } else { 3 + SHIFT });
    let id = anlan_model::AlarmId::new(n);
    let raised = anlan_model::RaisedAlarm {
        id,
        rule: "hh".into(),
        kind: anlan_model::RuleKind::Hh,
        subject: anlan_model::Subject::Point(point),
        level: anlan_model::Level::Red,
        value: Some(9.0),
        threshold: Some(8.0),
        unit: String::new(),
        source: String::new(),
        confidence: String::new(),
        onset_at: at(onset),
        raised_at: at(onset + 5),
        historic: false,
    };
    let mut effects = vec![anlan_model::Effect::Alarm(anlan_model::AlarmChange::Raised(raised))];
    effects.extend(end.map(|end| anlan_model::Effect::Alarm(anlan_model::AlarmChange::Returned { id, at: at(end) })));
    of.store.project(position, &effects).await.unwrap();
}

async fn around(of: &Bench) -> Agreed {
    Agreed::between(&of.store, Readings::Alarms, at(0), at(1_000_000)).await.unwrap()
}

/// Instants of the point that the parent holds, in seconds.
fn held(b: &Bench) -> Vec<i64> {
    let rows = b.whole.every_revision(PointId::new(3 + SHIFT), at(0), at(1_000_000)).unwrap();
    rows.iter().map(|r| (r.event_at.micros() - at(0).micros()) / 1_000_000).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn around_an_alarm_what_was_read_past_goes_with_it_and_days_are_compared_by_the_same_alarms() {
    let (a_dir, b_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (a, b) = (child(a_dir.path()).await, Bench::open(b_dir.path(), PARENT, parent_knows(3)).await);
    let mut log = LogPieces::new(a.whole.clone());
    let mut from = 0;
    let mut go = async |now: i64| {
        log.agree(around(&a).await, at(now));
        loop {
            let piece = log.read(&|p| Some(a.known.origin(a.own, p)), from, u64::MAX, 300, 1 << 20).unwrap();
            if piece.to == from {
                return;
            }
            from = piece.to;
            b.take(&piece.bytes);
        }
    };
    let hear = |from: i64, to: i64| a.hear(&(from / 10..to / 10).map(|n| (3, n * 10, n as f64)).collect::<Vec<_>>());
    let ten = |from: i64, to: i64| (from / 10..=to / 10).map(|n| n * 10).collect::<Vec<_>>();
    // Nothing is the matter, nothing goes. The days of the child's first readings lie behind.
    hear(100_000, 106_000);
    go(106_000).await;
    assert!(held(&b).is_empty());
    // It was raised after what raised it had been read past: half an hour before it goes with what follows, as much as a piece has room for.
    alarm(&a, 1, 106_000 - 10, None, 1).await;
    hear(106_000, 106_600);
    go(106_600).await;
    assert_eq!(held(&b), [ten(104_190, 105_680), ten(106_000, 106_590)].concat());
    // It stands, it ends, and half an hour later nothing goes any more.
    hear(106_600, 108_000);
    go(108_000).await;
    assert_eq!(held(&b), ten(104_190, 107_990));
    a.store
        .project(2, &[anlan_model::Effect::Alarm(anlan_model::AlarmChange::Returned { id: anlan_model::AlarmId::new(1), at: at(107_000) })])
        .await
        .unwrap();
    hear(108_000, 110_000);
    go(110_000).await;
    assert_eq!(held(&b), ten(104_190, 108_800));
    // The next one, hours later, while nobody asked: what was read past before its end is owed, and no more.
    hear(110_000, 130_000);
    go(130_000).await;
    alarm(&a, 2, 129_000, Some(129_100), 3).await;
    for end in [130_100, 130_200] {
        hear(end - 100, end);
        go(end).await;
    }
    let want = [ten(104_190, 108_800), ten(127_200, 130_190)].concat();
    assert_eq!(held(&b), want);

    // Both know the same alarms: the same part, with nothing sent again.
    alarm(&b, 1, 106_000 - 10, Some(107_000), 1).await;
    alarm(&b, 2, 129_000, Some(129_100), 2).await;
    let today = crate::clock::day_number(at(200_000));
    let claim = async |today| a.ledger.claim_of(Readings::Alarms, &every_day(), today).await.unwrap().claim;
    let first = claim(today).await;
    assert_eq!(verdict(&b, Readings::Alarms, &first).await, first.days);
    let n: u64 = first.days.iter().map(|d| d.digest.n).sum();
    assert_eq!(n, want.len() as u64);
    assert!(first.days.iter().filter(|d| d.digest.n == 0).count() > 0, "of a day without alarms nothing is agreed, and it is compared");
    // An alarm of a day that was compared: another part is agreed of the very same readings, here first and there once it is known.
    let before = around(&a).await;
    alarm(&a, 3, 101_000, Some(101_010), 4).await;
    let now = around(&a).await;
    let day = crate::clock::day_number(at(101_000));
    assert_eq!(now.changed(&before, &a.known, CHILD, at(200_000)), BTreeSet::from([Day { origin: CHILD, day }]));
    assert!(now.changed(&now.clone(), &a.known, CHILD, at(200_000)).is_empty());
    let second = claim(today).await;
    assert!(claim(today + crate::around::COMPARED_DAYS).await.days.is_empty(), "alarms of so long ago are not told to everybody");
    assert_ne!(second.days, first.days);
    alarm(&b, 3, 101_000, Some(101_010), 3).await;
    assert_ne!(verdict(&b, Readings::Alarms, &second).await, second.days);
    let agreed = Agreed::of_day(&a.store, Readings::Alarms, day).await.unwrap();
    sent_again(&a, &agreed, day).iter().for_each(|bytes| _ = b.take(bytes));
    assert_eq!(verdict(&b, Readings::Alarms, &second).await, second.days, "the day again mends it");
    for bench in [a, b] {
        bench.stop().await;
    }
}
