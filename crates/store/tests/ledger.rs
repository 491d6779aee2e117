//! The ledger and the mirror's devices, on both databases.

use anlan_model::{DeviceId, NodeId};
use anlan_store::LedgerRow;
use anlan_store::testing::{on_both_at, tamper};

fn row(origin: u128, day: &str, n: u64) -> LedgerRow {
    LedgerRow { origin: NodeId::new(origin), day: day.to_owned(), n_readings: n, sum: format!("{n:032x}") }
}

#[tokio::test]
async fn a_ledger_stands_at_its_position_and_what_it_does_not_name_stays() {
    on_both_at(|store, _| async move {
        assert_eq!(store.ledger_position().await.unwrap(), None);
        let many: Vec<_> = (0..450).map(|n| row(7, &format!("2025-{:02}-{:02}", n / 28 + 1, n % 28 + 1), n)).collect();
        store.put_ledger(12, &many, false).await.unwrap();
        assert_eq!(store.ledger_position().await.unwrap(), Some(12));
        assert_eq!(store.ledger().await.unwrap(), many);
        store.put_ledger(20, &[row(7, "2025-01-01", 9), row(3, "2025-01-01", 1)], false).await.unwrap();
        let now = store.ledger().await.unwrap();
        assert_eq!((now.len(), &now[0], now[1].n_readings), (451, &row(3, "2025-01-01", 1), 9));
        store.put_ledger(21, &[], false).await.unwrap();
        assert_eq!((store.ledger_position().await.unwrap(), store.ledger().await.unwrap()), (Some(21), now));
        store.put_ledger(5, &[row(7, "2025-01-01", 2)], true).await.unwrap();
        assert_eq!((store.ledger_position().await.unwrap(), store.ledger().await.unwrap()), (Some(5), vec![row(7, "2025-01-01", 2)]));
    })
    .await;
}

#[tokio::test]
async fn devices_of_other_nodes_are_found_by_what_they_are_called_here() {
    on_both_at(|store, url| async move {
        tamper(
            &url,
            "INSERT INTO mirror (node, kind, remote_id, local_id) VALUES
('0000000000000000000000000000000a', 'point', 5, 104),
('0000000000000000000000000000000a', 'device', 1, 105),
('0000000000000000000000000000000a', 'enterprise', 1, 106)",
        )
        .await;
        assert_eq!(store.all_mirrored_devices().await.unwrap(), [DeviceId::new(105)]);
        assert_eq!(store.mirrored_devices_among(&[DeviceId::new(104), DeviceId::new(105)]).await.unwrap(), [DeviceId::new(105)]);
    })
    .await;
}
