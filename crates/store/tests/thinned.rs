//! What gave way at a node is counted once, told upwards, believed from whom it is about, and shown beside what its holders have.

use anlan_model::{NodeId, NodeLevel, RegionCode, Scope, Timestamp};
use anlan_store::testing::on_both;
use anlan_store::*;
use serde_json::json;

const NOW: Timestamp = Timestamp::from_secs(1_764_000_000);
const CITY: NodeId = NodeId::new(0xc1);
const COUNTY: NodeId = NodeId::new(0xaaaa_aaaa_0000_0000_0000_0000_0000_0002);
const PLANT: NodeId = NodeId::new(0xbbbb_bbbb_0000_0000_0000_0000_0000_0003);
const DAY: &str = "2025-10-01";

async fn county(store: &Store) {
    let region = |code| RegionCode::new(code).unwrap();
    store.put_self(COUNTY, "县局", NodeLevel::County, Some(&region("530402")), NOW).await.unwrap();
    let above = Neighbour {
        id: CITY,
        name: "市局".into(),
        level: NodeLevel::City,
        region: Some(region("5304")),
        enterprise: None,
        fingerprint: "cd".into(),
        address: None,
    };
    store.put_parent(&Scope { name: "管理员".into(), ..Scope::node() }, &above, NOW).await.unwrap();
    let wish = NewInvitation {
        name: "甲镇".into(),
        level: NodeLevel::Township,
        region: Some(region("530402100")),
        enterprise: None,
        secret: [3; 16],
        expires_at: NOW.plus_us(3_600_000_000),
    };
    let admin = Scope { name: "管理员".into(), ..Scope::node() };
    let made = store.invite(&admin, &wish, NOW, NOW).await.unwrap();
    store.claim_invitation(&[3; 16], PLANT, b"key", NOW, NOW).await.unwrap();
    let admission = Admission { certificate: "PEM".into(), fingerprint: "ab".into(), serial: "01".into(), not_after: NOW.plus_us(1 << 50) };
    store.confirm_invitation(&admin, made.id, &admission, NOW).await.unwrap();
}

fn thinning(n: u64, sum: u128) -> Thinning {
    let part = ThinnedPart { origin: PLANT, day: DAY.into(), readings: Counted { n, sum }, hours: Counted { n: 1, sum: 5 } };
    Thinning { witness: json!({"seq": 7, "dir_off": 9}), why: "disk", free_mb: Some(3), parts: vec![part] }
}

async fn announce(store: &Store, n: u64, sum: u128) {
    let drop = RetentionDrop { day: Timestamp::EPOCH, readings: n, positions: 0, rollups: 0 };
    store.note_drop(&drop, Some(&thinning(n, sum)), NOW).await.unwrap();
}

#[tokio::test]
async fn what_gave_way_is_counted_once_told_and_shown() {
    on_both(|store| async move {
        county(&store).await;
        let ledger = LedgerRow { origin: PLANT, day: DAY.into(), n_readings: 9, sum: format!("{:032x}", 1) };
        store.put_ledger(40, std::slice::from_ref(&ledger), false).await.unwrap();
        // Stayed, then went in two steps; sums wrap as those of the ledger do.
        announce(&store, 9, 1).await;
        assert_eq!(store.thinning().await.unwrap(), Some(json!({"seq": 7, "dir_off": 9})));
        store.end_thinning(false, NOW).await.unwrap();
        assert_eq!((store.thinning().await.unwrap(), store.thinned_here(PLANT, DAY).await.unwrap()), (None, None));
        announce(&store, 4, u128::MAX).await;
        store.end_thinning(true, NOW).await.unwrap();
        assert!(!store.thinned_here(PLANT, DAY).await.unwrap().unwrap().is_whole());
        announce(&store, 5, 2).await;
        for _ in 0..2 {
            store.end_thinning(true, NOW).await.unwrap();
        }
        let row = store.thinned_here(PLANT, DAY).await.unwrap().unwrap();
        assert_eq!((row.readings, row.hours, row.held), (Counted { n: 9, sum: 1 }, Counted { n: 2, sum: 10 }, Some(Counted { n: 9, sum: 1 })));
        assert!(row.is_whole());
        assert_eq!(store.all_thinned_here().await.unwrap(), [(PLANT, DAY.to_owned(), row.readings)]);
        let (key, agreed) = ((PLANT, DAY.to_owned()), AgreedDay { of: row.readings, part: Counted { n: 2, sum: 8 } });
        store.put_agreed_day(PLANT, DAY, "changes", &agreed).await.unwrap();
        for (first, last, n) in [(DAY, DAY, 1), ("2025-09-01", "2025-11-01", 1), ("2025-10-02", "2025-11-01", 0), ("2025-09-01", "2025-09-30", 0)] {
            let thinned = store.days_thinned_here(first, last).await.unwrap();
            let read = store.agreed_days(first, last, "changes").await.unwrap();
            assert_eq!((thinned.contains(&key), read.get(&key)), (n == 1, Some(&agreed).filter(|_| n == 1)), "{first} to {last}");
            assert_eq!((thinned.len(), read.len()), (n, n));
            assert_eq!(store.agreed_days(first, last, "minutes").await.unwrap().len(), 0);
        }
        let told = store.feed(UP, 0, 1_000).await.unwrap();
        let told: Vec<_> = told.iter().filter(|e| e.kind == "thinned").collect();
        assert_eq!(told.len(), 1, "the newest state of it once");
        assert_eq!(told[0].subject, format!("{PLANT}/{DAY}/{COUNTY}"));

        // A node below tells of its own; of another's, or of what is no day, it is not believed.
        let peer = Peer { id: PLANT, level: NodeLevel::Township, region: RegionCode::new("530402100"), enterprise: None };
        let body = |holder: NodeId, day: &str| {
            json!({"origin": PLANT.to_string(), "day": day, "holder": holder.to_string(), "count": 9, "sum": format!("{:032x}", 1), "hours": 2,
                "hours_sum": format!("{:032x}", 10), "why": "age", "at": 1})
        };
        let entry = |seq, holder: NodeId, day: &str| FeedEntry {
            seq,
            kind: "thinned".into(),
            subject: format!("{PLANT}/{day}/{holder}"),
            body: body(holder, day).to_string(),
        };
        let entries = [entry(1, PLANT, DAY), entry(2, CITY, DAY), entry(3, PLANT, "yesterday!")];
        let applied = store.apply_feed(&peer, 0, 3, &entries, NOW).await.unwrap();
        assert_eq!(applied.refused.iter().map(|r| r.reason).collect::<Vec<_>>(), ["origin", "body"]);
        let page = store.thinned(&Scope::node(), None, &Paging { cursor: None, limit: 1 }).await.unwrap();
        let rest = store.thinned(&Scope::node(), Some(PLANT), &Paging { cursor: page.next.clone(), limit: 10 }).await.unwrap();
        let all: Vec<_> = page.items.iter().chain(&rest.items).map(|row| (row.holder, row.why.as_str())).collect();
        assert_eq!(all, [(COUNTY, "disk"), (PLANT, "age")]);

        // Beside what each holder has.
        let new = NewProof {
            origin: PLANT,
            day: DAY.into(),
            holder: PLANT,
            position: 9,
            count: 9,
            sum: format!("{:032x}", 1),
            ours: Some((9, format!("{:032x}", 1))),
            readings: Some("changes".into()),
            at: NOW,
        };
        store.put_proof(&new).await.unwrap();
        let day = store.proof(&Scope::node(), PLANT, DAY).await.unwrap();
        assert_eq!(day.equal, Some(true), "what was proven stays proven");
        let holders: Vec<_> = day.holders.iter().map(|h| (h.node, h.readings.as_deref(), h.thinned.as_ref().map(|t| t.why.as_str()))).collect();
        assert_eq!(holders, [(PLANT, Some("changes"), Some("age")), (COUNTY, Some("changes"), Some("disk"))]);

        // What the parent is known to hold, for as long as it is what is held here.
        assert_eq!(store.untold_days().await.unwrap(), [(PLANT, DAY.to_owned())]);
        store.put_told(&[(PLANT, DAY.into(), Counted { n: 9, sum: 1 })]).await.unwrap();
        assert_eq!(store.untold_days().await.unwrap(), []);
        store.put_ledger(41, &[LedgerRow { n_readings: 10, ..ledger }], false).await.unwrap();
        assert_eq!(store.untold_days().await.unwrap(), [(PLANT, DAY.to_owned())]);
    })
    .await;
}
