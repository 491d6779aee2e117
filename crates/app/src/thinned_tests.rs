//! A child and its parent let days give way: what was proven stays proven, nothing is counted twice, and a kill in any phase leaves one or the other.

use std::path::Path;
use std::time::Duration;

use anlan_history::Haste;
use anlan_model::{NodeLevel, RegionCode};
use anlan_store::RetentionDrop;

use super::*;
use crate::ledger::tests::{Bench, CHILD, PARENT, SHIFT, at, child, child_knows, days_of, parent_knows};

/// Long after all that is said here.
fn now() -> Timestamp {
    at(86_400 * 60)
}

async fn named(bench: &Bench) {
    let region = RegionCode::new("530402").unwrap();
    bench.store.put_self(bench.own, "node", NodeLevel::County, Some(&region), now()).await.unwrap();
}

/// Waits until all but what is newest lies in blocks, and merges those.
async fn merged(bench: &mut Bench) {
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    while bench.node.reader.stats().head_readings >= 100 {
        assert!(tokio::time::Instant::now() < until, "nothing is sealed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    while bench.node.keeper.step(now(), Haste::Eager).unwrap().is_some() {}
}

/// What happens to a step.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Done,
    /// Killed when it was taken down and before it went.
    KilledBefore,
    /// Killed when it went and before it was counted.
    KilledAfter,
}

/// As [`retention::drop_next`] does, of everything older than two days; how many readings went.
async fn give_way(bench: &mut Bench, fate: Fate) -> u64 {
    // The ledger's rows are read when it is counted.
    bench.ledger.catch_up().await.unwrap();
    bench.ledger.write_now().await;
    let account = Arc::new(Account::new(bench.own, bench.known.clone()));
    let (sees, store, runtime) = (account.clone(), bench.store.clone(), Handle::current());
    let watch: anlan_history::Watch = Arc::new(move |going| sees.see(&going));
    let announce: anlan_history::Announce = Arc::new(move |dropping| {
        let thinning = account.thinning(dropping.witness, Why::Disk { free_mb: 5 }).unwrap();
        let drop = RetentionDrop { day: dropping.day, readings: dropping.readings, positions: 0, rollups: 0 };
        tokio::task::block_in_place(|| runtime.block_on(store.note_drop(&drop, Some(&thinning), now()))).unwrap();
        fate != Fate::KilledBefore
    });
    let policy = Policy { default_days: Some(57), watch: Some(watch), announce: Some(announce), version: 7, ..Policy::default() };
    let done = tokio::task::block_in_place(|| bench.node.keeper.thin(now(), &policy)).unwrap();
    if fate == Fate::Done {
        settle(&bench.store, &bench.node.reader, now()).await.unwrap();
        assert_eq!(bench.store.thinning().await.unwrap(), None);
    }
    done.map_or(0, |done| done.readings)
}

/// What gave way here of the child's days: readings and hours by day.
async fn gone(bench: &Bench) -> Vec<(String, Counted, Counted)> {
    let page = bench.store.thinned(&Scope::node(), Some(CHILD), &Paging::all()).await.unwrap();
    page.items.into_iter().rev().map(|row| (row.day, row.readings, row.hours)).collect()
}

/// A child that has said enough of a later day for the first to lie in blocks.
async fn busy_child(dir: &Path) -> Bench {
    let bench = child(dir).await;
    let later: Vec<_> = (0..120).map(|n| (n % 3 + 1, 400_000 + n, 1.0)).collect();
    bench.hear(&later);
    named(&bench).await;
    bench
}

fn left(bench: &Bench, point: i64) -> Vec<(i64, u16, f64)> {
    let rows = bench.node.reader.every_revision(PointId::new(point), at(-1), at(99_999)).unwrap();
    rows.iter().map(|r| ((r.event_at.since_us(at(0))) / 1_000_000, r.revision, r.value)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_proven_of_a_day_stays_so_whoever_lets_it_give_way() {
    let (a_dir, b_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut a = busy_child(a_dir.path()).await;
    let mut b = Bench::open(b_dir.path(), PARENT, parent_knows(3)).await;
    named(&b).await;
    let pieces = a.pieces(1_000);
    pieces.iter().for_each(|p| _ = b.take(&p.bytes));
    let ours = days_of(&a.days().await, CHILD);
    assert_eq!(days_of(&b.days().await, CHILD), ours);
    let day_pieces: Vec<_> = ours[..2].iter().flat_map(|(day, _)| a.day_pieces(CHILD, *day)).collect();

    // At the parent: what gave way is what the ledger says, and the ledger stays.
    merged(&mut b).await;
    assert_eq!(give_way(&mut b, Fate::Done).await, 303);
    assert!(left(&b, 1 + SHIFT).is_empty());
    let above = gone(&b).await;
    let counted = |(day, digest): &(i32, Digest)| (date_of(*day).to_string(), Counted { n: digest.n, sum: digest.sum });
    let want: Vec<_> = ours[..2].iter().map(counted).collect();
    assert_eq!(above.iter().map(|(day, readings, _)| (day.clone(), *readings)).collect::<Vec<_>>(), want);
    assert!(b.store.thinned_here(CHILD, &want[0].0).await.unwrap().unwrap().is_whole());
    assert_eq!(days_of(&b.days().await, CHILD), ours);
    let all = b.ledger.claim(&crate::ledger::tests::every_day()).await.unwrap();
    assert_eq!(super::gone(&b.store, all.days).await.len(), 2);

    // Everything again, from the log and by day: nothing is taken for new.
    let again: u32 = pieces.iter().map(|p| &p.bytes).chain(&day_pieces).map(|bytes| b.take(bytes).stored).sum();
    assert_eq!((again, days_of(&b.days().await, CHILD)), (0, ours.clone()));

    // At the child: the hours that stand for it are the same.
    merged(&mut a).await;
    assert_eq!(give_way(&mut a, Fate::Done).await, 303);
    assert_eq!(gone(&a).await, above);
    assert_eq!(days_of(&a.days().await, CHILD), ours);
    assert!(a.day_pieces(CHILD, ours[0].0).iter().all(|bytes| b.take(bytes).stored == 0), "it has nothing left to send");

    // What a device says of an instant that gave way passes for nothing that was said; said twice it is kept once.
    a.hear(&[(1, 0, 99.5), (1, 0, 99.5), (2, 30, 7.0)]);
    assert_eq!((left(&a, 1), left(&a, 2)), (vec![(0, LATE_REVISION, 99.5)], vec![(30, LATE_REVISION, 7.0)]));
    let late = days_of(&a.days().await, CHILD);
    assert_eq!((late[0].1.n, &late[1..]), (ours[0].1.n + 2, &ours[1..]));
    // Where the day gave way it cannot be told from a repeat and is not taken; where it did not, it is.
    let said = a.pieces(1_000).pop().unwrap();
    assert_eq!((b.take(&said.bytes).stored, days_of(&b.days().await, CHILD)), (0, ours.clone()));
    let c_dir = tempfile::tempdir().unwrap();
    let c = Bench::open(c_dir.path(), PARENT, parent_knows(3)).await;
    pieces.iter().chain([&said]).for_each(|p| _ = c.take(&p.bytes));
    assert_eq!(days_of(&c.days().await, CHILD), late);

    // A ledger that is made anew knows of it.
    for bench in [&a, &b] {
        let want = bench.ledger.claim(&crate::ledger::tests::every_day()).await.unwrap().days;
        assert_eq!(bench.made_anew().await, want);
    }
    for bench in [a, b, c] {
        bench.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_any_phase_either_the_day_stands_or_its_entry_does() {
    let dir = tempfile::tempdir().unwrap();
    let mut a = busy_child(dir.path()).await;
    let ours = days_of(&a.days().await, CHILD);
    merged(&mut a).await;
    for fate in [Fate::KilledBefore, Fate::KilledAfter] {
        let went = give_way(&mut a, fate).await;
        assert!(a.store.thinning().await.unwrap().is_some(), "it is open");
        a.stop().await;
        a = Bench::open(dir.path(), CHILD, child_knows(3)).await;
        // Twice: the second finds nothing to do.
        for _ in 0..2 {
            settle(&a.store, &a.node.reader, now()).await.unwrap();
        }
        assert_eq!(a.store.thinning().await.unwrap(), None);
        let gave: u64 = gone(&a).await.iter().map(|(_, readings, _)| readings.n).sum();
        let there: usize = (1..=3).map(|p| left(&a, p).len()).sum();
        match fate {
            Fate::KilledBefore => assert_eq!((went, gave, there), (0, 0, 303), "the day stands"),
            _ => assert_eq!((went, gave, there), (303, 303, 0), "its entry does"),
        }
        assert_eq!(days_of(&a.days().await, CHILD), ours);
    }
    let counted = gone(&a).await;
    assert_eq!(
        counted.iter().map(|(_, r, _)| (r.n, r.sum)).collect::<Vec<_>>(),
        ours[..2].iter().map(|(_, d)| (d.n, d.sum)).collect::<Vec<_>>()
    );
    let events = a.store.events(&Scope::node(), Some("thinned"), &Paging::all()).await.unwrap().items;
    assert_eq!((events.len(), &events[0].detail["readings"]), (1, &serde_json::json!(303)));
    a.stop().await;
}

#[test]
fn a_part_that_is_equal_tells_nothing_of_what_is_held_beside_it() {
    let digest = |n: u64| Digest { n, sum: u128::from(n) };
    let held = |day: i32, n: u64| DayDigest { origin: CHILD, day, digest: digest(n) };
    let claim = Claim { at: 7, days: vec![held(1, 5), held(2, 6), held(3, 7), held(4, 8)] };
    let theirs = [held(1, 5), held(2, 1), held(3, 7), held(4, 8)];
    let days = |whole: Option<&BTreeMap<Day, Digest>>| told(&claim, &theirs, whole, 4).map(|d| d.day).collect::<Vec<_>>();
    assert_eq!(days(None), [1, 3], "neither what differs nor today");
    // Of the first there is more here, the third is all there is.
    let whole = [(1, 9), (2, 6), (3, 7)].map(|(day, n)| (Day { origin: CHILD, day }, digest(n)));
    assert_eq!(days(Some(&BTreeMap::from(whole))), [3]);
    assert_eq!(days(Some(&BTreeMap::new())), [0; 0], "what is not known is not told");
}

/// `hashlib.sha256(struct.pack(">qqIIdddd", 7, 1764460800000000, 2, 1, 1.5, 2.5, 1.5, 2.5)).hexdigest()[:32]`.
#[test]
fn strangers_can_recompute_the_hours() {
    let hour = HourSum { at: Timestamp::from_micros(1_764_460_800_000_000), count: 2, bad: 1, stats: [1.5, 2.5, 1.5, 2.5, 4.0] };
    assert_eq!(hour_digest(PointId::new(7), &hour).to_string(), "17b7c5110f9c3d8da000471cad856da0");
}
