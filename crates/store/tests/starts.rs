//! Starts of a node, who told a neighbour what, and a feed that is numbered anew, on both databases.

use anlan_model::{NodeId, NodeLevel, RegionCode, Scope, Timestamp};
use anlan_store::testing::{number, on_both, on_both_at};
use anlan_store::*;

const NOW: Timestamp = Timestamp::from_secs(1_764_000_000);
const COUNTY: NodeId = NodeId::new(0xaaaa_aaaa_0000_0000_0000_0000_0000_0002);
const TOWN: NodeId = NodeId::new(0xbbbb_bbbb_0000_0000_0000_0000_0000_0003);
const CITY: NodeId = NodeId::new(0xc1);

fn region(code: &str) -> RegionCode {
    RegionCode::new(code).unwrap()
}

fn neighbour(id: NodeId, level: NodeLevel, of: &str) -> Neighbour {
    Neighbour { id, name: format!("{level:?}"), level, region: Some(region(of)), enterprise: None, fingerprint: "cd".into(), address: None }
}

#[tokio::test]
async fn a_node_remembers_its_newest_starts() {
    on_both(|store| async move {
        assert!(matches!(store.note_start(COUNTY, 1, 11).await, Err(StoreError::NotFound)));
        store.put_self(COUNTY, "县局", NodeLevel::County, Some(&region("530402")), NOW).await.unwrap();
        assert_eq!(store.note_start(COUNTY, 1, 11).await.unwrap(), [(1, 11)]);
        assert_eq!(store.note_start(COUNTY, 2, u64::MAX).await.unwrap(), [(1, 11), (2, u64::MAX)]);
        let own = store.node(&Scope::node(), COUNTY).await.unwrap();
        assert_eq!((own.starts, own.nonce), (2, Some(u64::MAX.to_string())));
        // One of a number: the last.
        assert_eq!(store.note_start(COUNTY, 2, 7).await.unwrap(), [(1, 11), (2, 7)]);
        assert_eq!(store.note_start(COUNTY, 10_001, 8).await.unwrap(), [(2, 7), (10_001, 8)]);
    })
    .await;
}

fn told(entries: &[FeedEntry]) -> Vec<(&str, &str, &str)> {
    entries.iter().map(|entry| (entry.kind.as_str(), entry.subject.as_str(), entry.body.as_str())).collect()
}

async fn device(store: &Store, code: &str) -> DeviceRow {
    let new = NewDevice {
        code: code.into(),
        name: format!("{code}网关"),
        enterprise: None,
        protocol: "mqtt".into(),
        gateway: false,
        may_backfill: false,
        secret_hash: [7; 32],
    };
    let id = store.create_device(&Scope::node(), &new, NOW).await.unwrap().id;
    store.device(&Scope::node(), id).await.unwrap()
}

async fn join(parent: &Store, child: NodeId) {
    let secret = [child.get() as u8; 16];
    let expires_at = NOW.plus_us(1_000_000);
    let new = NewInvitation {
        name: "镇".into(),
        level: NodeLevel::Township,
        region: Some(region("530402001")),
        enterprise: None,
        secret,
        expires_at,
    };
    let made = parent.invite(&Scope::node(), &new, NOW, NOW).await.unwrap();
    assert!(matches!(parent.claim_invitation(&secret, child, b"key", NOW, NOW).await.unwrap(), Claim::Held(_)));
    let admission = Admission { certificate: "PEM".into(), fingerprint: "ab".into(), serial: "01".into(), not_after: NOW.plus_us(1) };
    parent.confirm_invitation(&Scope::node(), made.id, &admission, NOW).await.unwrap();
}

#[tokio::test]
async fn a_way_that_is_numbered_anew_has_the_same_to_tell_in_the_same_order_behind_everything() {
    on_both(|store| async move {
        store.put_self(COUNTY, "县局", NodeLevel::County, Some(&region("530402")), NOW).await.unwrap();
        store.put_parent(&Scope::node(), &neighbour(CITY, NodeLevel::City, "5304"), NOW).await.unwrap();
        join(&store, TOWN).await;
        let first = device(&store, "D1").await;
        for code in ["D2", "D3", "D4"] {
            device(&store, code).await;
        }
        // Told again: it comes behind those that were made later.
        let change = DeviceChange { revision: first.device.revision, name: Some("改名".into()), ..DeviceChange::default() };
        store.update_device(&Scope::node(), first.device.id, &change, NOW).await.unwrap();
        let (before, end) = (store.feed(UP, 0, 100).await.unwrap(), store.feed_end(UP).await.unwrap());
        assert!(before.len() >= 4 && before.last().unwrap().body.contains("改名"), "{before:?}");
        let below = store.feed(&TOWN.to_string(), 0, 100).await.unwrap();
        assert!(!below.is_empty());
        let grown = store.feed_grown();

        let anew = store.number_anew(UP).await.unwrap();
        let after = store.feed(UP, 0, 100).await.unwrap();
        assert_eq!(told(&after), told(&before));
        let numbers: Vec<i64> = after.iter().map(|entry| entry.seq).collect();
        assert_eq!(numbers, Vec::from_iter(end + 1..=anew));
        assert_eq!((store.feed_end(UP).await.unwrap(), store.feed_end_known(UP)), (anew, anew));
        assert!(grown.has_changed().unwrap(), "conversations hear of it");
        // Whoever has it up to the former end has nothing of it.
        assert_eq!(store.feed(UP, end, 100).await.unwrap(), after);
        assert_eq!(store.feed(&TOWN.to_string(), 0, 100).await.unwrap(), below, "other ways stay as they are");
        device(&store, "D5").await;
        assert_eq!(store.feed(UP, anew, 100).await.unwrap().len(), 1, "what is put later comes behind it");

        // Also of a way on which there is nothing, and twice.
        let town = store.number_anew(&TOWN.to_string()).await.unwrap();
        assert!(store.number_anew(&TOWN.to_string()).await.unwrap() > town);
        assert_eq!(told(&store.feed(&TOWN.to_string(), town, 100).await.unwrap()), told(&below));
        let nothing = store.number_anew("nobody").await.unwrap();
        assert_eq!(store.feed_end("nobody").await.unwrap(), nothing);
    })
    .await;
}

/// A node that was put back, and started again before it met anybody, numbers from the place of this run also what was numbered by earlier ones.
#[tokio::test]
async fn a_later_run_numbers_anew_in_its_own_place() {
    on_both_at(|store, url| async move {
        store.put_self(COUNTY, "县局", NodeLevel::County, Some(&region("530402")), NOW).await.unwrap();
        join(&store, TOWN).await;
        for starts in 1..4 {
            store.note_start(COUNTY, starts, starts).await.unwrap();
        }
        let way = TOWN.to_string();
        let (before, end) = (store.feed(&way, 0, 100).await.unwrap(), store.feed_end(&way).await.unwrap());
        let later = Store::open(&url).await.unwrap();
        let anew = later.number_anew(&way).await.unwrap();
        let after = later.feed(&way, 0, 100).await.unwrap();
        assert_eq!(told(&after), told(&before));
        assert!(end < 2 << 40 && after[0].seq == (4 << 40) + 1 && anew < 5 << 40, "{end} {after:?} {anew}");
        later.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_receiver_says_which_start_told_it_last_and_not_which_greeted() {
    on_both(|store| async move {
        store.put_self(COUNTY, "县局", NodeLevel::County, Some(&region("530402")), NOW).await.unwrap();
        store.put_parent(&Scope::node(), &neighbour(CITY, NodeLevel::City, "5304"), NOW).await.unwrap();
        let peer = Peer { id: CITY, level: NodeLevel::City, region: Some(region("5304")), enterprise: None };
        let inbox = async || {
            let Inbox { feed, feed_of, .. } = store.inbox(CITY).await.unwrap();
            (feed, feed_of)
        };
        store.meet(CITY, 3, 33, i64::MAX).await.unwrap();
        store.apply_feed(&peer, 0, 10, &[], NOW).await.unwrap();
        assert_eq!(inbox().await, (10, "3:33".to_owned()));
        store.meet(CITY, 4, 44, 10).await.unwrap();
        store.put_inbox_log(CITY, "{}").await.unwrap();
        assert_eq!(inbox().await, (10, "3:33".to_owned()), "it has said nothing yet");
        // What does not follow on what is here is not applied, and tells nothing.
        assert!(!store.apply_feed(&peer, 9, 20, &[], NOW).await.unwrap().is_new);
        assert_eq!(inbox().await, (10, "3:33".to_owned()));
        store.apply_feed(&peer, 10, 20, &[], NOW).await.unwrap();
        assert_eq!(inbox().await, (20, "4:44".to_owned()));
        store.meet(CITY, 2, 22, 0).await.unwrap();
        assert_eq!(inbox().await.0, 0, "one that went back is read anew");
        assert_eq!(number(&store, "SELECT COUNT(*) AS n FROM node WHERE starts = 2 AND nonce = '22'").await, 1);
    })
    .await;
}
