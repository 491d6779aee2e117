//! Who should be on the network, on both databases: the parts are the whole, a merged file is nobody, and whoever is elsewhere sees none.

use std::collections::BTreeSet;

use anlan_model::noun::Grant;
use anlan_model::{RegionCode, Role, Scope, Timestamp};
use anlan_store::testing::{on_both_at, tamper};
use anlan_store::*;

const NOW: Timestamp = Timestamp::from_secs(1_764_000_000);

fn region(code: &str) -> RegionCode {
    RegionCode::new(code).unwrap()
}

fn seer(of: Option<&str>, sector: Option<&str>) -> Scope {
    let grant = Grant { role: Role::Leader, region: of.map(region), sector: sector.map(str::to_owned), enterprise: None };
    Scope { grants: vec![grant], ..Scope::node() }
}

const PLACES: [(&str, &str, &str); 5] = [
    ("E1", "530402", "hazchem"),
    ("E2", "530402", "mine"),
    ("E3", "530402001", "mine"),
    ("E4", "530423", "hazchem"),
    ("E5", "530423", "gas"),
];

/// Enterprises in two counties; E1 has two devices, one of them from below, and two heartbeats; E4 one; E2 and E4 a record each.
async fn city(store: &Store, url: &str) {
    for (code, of, sector) in PLACES {
        let new =
            NewEnterprise { code: code.into(), name: format!("企业{code}"), region: region(of), sector: sector.into(), place: None };
        store.create_enterprise(&Scope::node(), &new, NOW).await.unwrap();
    }
    tamper(
        url,
        "INSERT INTO device (code, name, enterprise_id, protocol, secret_hash) SELECT 'D1', 'D1', id, 'mqtt', 'h' FROM enterprise WHERE code = 'E1';
INSERT INTO device (code, name, enterprise_id, protocol, secret_hash) SELECT 'aaaaaaaa:D2', 'D2', id, 'link', 'h' FROM enterprise WHERE code = 'E1';
INSERT INTO device (code, name, enterprise_id, protocol, secret_hash) SELECT 'node-bbbbbbbb', 'x', id, 'link', 'h' FROM enterprise WHERE code = 'E1';
INSERT INTO device (code, name, enterprise_id, protocol, secret_hash) SELECT 'aaaaaaaa:node-bbbbbbbb', 'x', id, 'link', 'h' FROM enterprise WHERE code = 'E1';
INSERT INTO device (code, name, enterprise_id, protocol, secret_hash) SELECT 'node-cccccccc', 'x', id, 'mqtt', 'h' FROM enterprise WHERE code = 'E4';
INSERT INTO device (code, name, protocol, secret_hash) VALUES ('D9', 'D9', 'mqtt', 'h');
INSERT INTO record (kind, number, title, enterprise_id, region, sector, state, is_open, escalated, own_text, search_text, body, created_at_us, updated_at_us, revision)
SELECT 'major_hazard', 'Z-1', 'x', id, region, sector, 'filed', 1, 0, '', '', '{}', 1, 1, 1 FROM enterprise WHERE code = 'E2';
INSERT INTO record (kind, number, title, enterprise_id, region, sector, state, is_open, escalated, own_text, search_text, body, created_at_us, updated_at_us, revision)
SELECT 'licence', 'Z-2', 'x', id, region, sector, 'valid', 1, 0, '', '', '{}', 1, 1, 1 FROM enterprise WHERE code IN ('E2', 'E4');
INSERT INTO enterprise (code, name, region, sector, merged_into) SELECT 'E6', 'gone', region, sector, id FROM enterprise WHERE code = 'E5';",
    )
    .await;
}

async fn seen(store: &Store, scope: &Scope, filter: &NetworkingFilter, registers: &[&str]) -> Vec<NetworkingRow> {
    let registers: BTreeSet<String> = registers.iter().map(|r| (*r).to_owned()).collect();
    store.networking(scope, filter, &registers).await.unwrap()
}

fn codes(rows: &[NetworkingRow]) -> Vec<&str> {
    rows.iter().map(|row| row.enterprise.code.as_str()).collect()
}

#[tokio::test]
async fn devices_and_records_are_counted_and_heartbeats_are_not() {
    on_both_at(async |store, url| {
        city(&store, &url).await;
        let all = seen(&store, &Scope::node(), &NetworkingFilter::default(), &["major_hazard"]).await;
        assert_eq!(codes(&all), ["E1", "E2", "E3", "E4", "E5"]);
        assert_eq!(
            all.iter().map(|row| row.devices).collect::<Vec<_>>(),
            [2, 0, 0, 1, 0],
            "a device may be called as it likes where it is none of a node"
        );
        let kept: Vec<usize> = all.iter().map(|row| row.records.len()).collect();
        assert_eq!(kept, [0, 1, 0, 0, 0], "only of registers that were asked for");
        assert!(all[1].records.contains(&("major_hazard".to_owned(), "filed".to_owned())));
        let none = seen(&store, &Scope::node(), &NetworkingFilter::default(), &[]).await;
        assert!(none.iter().all(|row| row.records.is_empty()));
    })
    .await;
}

#[tokio::test]
async fn the_parts_are_the_whole_and_an_outsider_sees_none() {
    on_both_at(async |store, url| {
        city(&store, &url).await;
        let whole = seen(&store, &Scope::node(), &NetworkingFilter::default(), &["licence"]).await;
        let sum = |rows: &[NetworkingRow]| {
            (rows.len(), rows.iter().map(|r| r.devices).sum::<i64>(), rows.iter().map(|r| r.records.len()).sum::<usize>())
        };
        let sectors = ["hazchem", "mine", "gas"];
        let counties = ["530402", "530423"];
        let mut parts = vec![Vec::new(); 4];
        for of in counties {
            let filter = NetworkingFilter { region: Some(region(of)), sector: None };
            parts[0].extend(seen(&store, &Scope::node(), &filter, &["licence"]).await);
            parts[1].extend(seen(&store, &seer(Some(of), None), &NetworkingFilter::default(), &["licence"]).await);
        }
        for sector in sectors {
            let filter = NetworkingFilter { region: None, sector: Some(sector.into()) };
            parts[2].extend(seen(&store, &Scope::node(), &filter, &["licence"]).await);
            parts[3].extend(seen(&store, &seer(None, Some(sector)), &NetworkingFilter::default(), &["licence"]).await);
        }
        for part in &parts {
            assert_eq!(sum(part), sum(&whole));
        }
        assert_eq!(sum(&whole), (5, 3, 2));
        // A filter never shows more than the scope does, and somebody else's county shows nothing.
        let filter = NetworkingFilter { region: Some(region("530402")), sector: None };
        assert_eq!(seen(&store, &seer(Some("530423"), None), &filter, &["licence"]).await, []);
        assert_eq!(seen(&store, &seer(Some("530424"), None), &NetworkingFilter::default(), &["licence"]).await, []);
        assert_eq!(seen(&store, &Scope { grants: vec![], ..Scope::node() }, &NetworkingFilter::default(), &[]).await, []);
    })
    .await;
}
