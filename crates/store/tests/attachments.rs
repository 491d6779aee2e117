//! What the store promises of files of records, each claim on SQLite and on PostgreSQL.

use anlan_model::noun::Grant;
use anlan_model::{AttachmentId, EnterpriseId, RecordId, RegionCode, Role, Scope, Timestamp, UserId};
use anlan_store::testing::{on_both, on_both_at, tamper};
use anlan_store::*;
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_secs(1_795_400_000);
const HERE: &str = "530402";
const ELSEWHERE: &str = "530423";

fn after(s: i64) -> Timestamp {
    NOW.plus_us(s * 1_000_000)
}

async fn enterprise(store: &Store, code: &str, county: &str) -> EnterpriseId {
    let new = NewEnterprise {
        code: code.into(),
        name: format!("{code}化工"),
        region: RegionCode::new(county).unwrap(),
        sector: "hazchem".into(),
        place: None,
    };
    store.create_enterprise(&Scope::node(), &new, NOW).await.unwrap().id
}

/// A person of a county, as who they ask.
async fn person(store: &Store, username: &str, county: &str) -> Scope {
    let grants = vec![Grant { role: Role::Inspector, region: RegionCode::new(county), sector: None, enterprise: None }];
    let new = NewUser { username: username.into(), name: username.into(), password: "x".into(), grants: grants.clone() };
    let id = store.create_user(&Scope::node(), &new, NOW).await.unwrap().id;
    Scope { user: Some(id), name: username.into(), grants }
}

async fn upload(store: &Store, by: UserId, at: Timestamp, sha256: &str, bytes: u64) -> AttachmentId {
    let new = NewAttachment { by, at, name: "阀门.jpg".into(), media_type: "image/jpeg".into(), bytes, sha256: sha256.into() };
    let row = store.put_attachment(&new).await.unwrap();
    assert_eq!((row.record, &row.file), (None, &new));
    row.id
}

/// Makes a record as somebody, by an act that names these files.
async fn make(store: &Store, asker: &Scope, enterprise: EnterpriseId, files: &[(AttachmentId, &str)]) -> Result<RecordId, StoreError> {
    let mut change = store.change_records(asker, NOW).await?;
    let owner = change.owner(enterprise).await?;
    let put = RecordPut { title: "隐患".into(), state: "found".into(), is_open: true, body: json!({}), ..RecordPut::default() };
    let vouched: serde_json::Map<String, Value> = files.iter().map(|(id, hash)| (id.to_string(), json!({"sha256": hash}))).collect();
    let id = change.create("hidden_danger", &owner, None, &put, json!({"transition": "report", "files": vouched})).await?;
    change.bind_attachments(id, &files.iter().map(|(id, _)| *id).collect::<Vec<_>>()).await?;
    assert_eq!(change.n_attachments(id).await?, files.len());
    change.commit().await?;
    Ok(id)
}

#[tokio::test]
async fn a_file_is_its_uploaders_until_an_act_binds_it_and_then_the_records() {
    on_both(|store| async move {
        let here = enterprise(&store, "E1", HERE).await;
        let (mine, other) = (person(&store, "mine", HERE).await, person(&store, "other", HERE).await);
        let outside = person(&store, "outside", ELSEWHERE).await;
        let me = mine.user.unwrap();
        let (first, second) = (upload(&store, me, NOW, "ab", 10).await, upload(&store, me, NOW, "ab", 10).await);
        let sees = async |scope: &Scope, id| store.attachment(scope, id).await.is_ok();
        assert!(
            sees(&mine, first).await && !sees(&other, first).await && !sees(&outside, first).await && !sees(&Scope::node(), first).await
        );
        assert!(matches!(make(&store, &other, here, &[(first, "ab")]).await, Err(StoreError::NotFound)), "only who uploaded it");
        let record = make(&store, &mine, here, &[(first, "ab")]).await.unwrap();
        assert!(sees(&mine, first).await && sees(&other, first).await && sees(&Scope::node(), first).await && !sees(&outside, first).await);
        assert!(matches!(make(&store, &mine, here, &[(first, "ab")]).await, Err(StoreError::NotFound)), "it is a record's already");
        assert!(matches!(store.forget_attachment(&mine, first).await, Err(StoreError::NotFound)));
        assert!(matches!(store.forget_attachment(&other, second).await, Err(StoreError::NotFound)));
        assert_eq!(store.attachments_of(record).await.unwrap().iter().map(|a| a.id).collect::<Vec<_>>(), [first]);
        // What goes elsewhere with its enterprise takes its files along.
        let row = store.enterprise(&Scope::node(), here).await.unwrap();
        let moved =
            EnterpriseChange { revision: row.enterprise.revision, region: RegionCode::new(ELSEWHERE), ..EnterpriseChange::default() };
        store.update_enterprise(&Scope::node(), here, &moved, NOW).await.unwrap();
        assert!(sees(&outside, first).await && !sees(&other, first).await && !sees(&mine, first).await, "also for who uploaded it");

        let usage = store.attachment_usage(me).await.unwrap();
        assert_eq!(usage, AttachmentUsage { waiting: 1, waiting_bytes: 10, all_bytes: 20 });
        assert_eq!(
            store.attachment_usage(other.user.unwrap()).await.unwrap(),
            AttachmentUsage { all_bytes: 20, ..AttachmentUsage::default() }
        );
        let late = upload(&store, me, after(100), "ac", 5).await;
        assert_eq!(store.attachment_hashes("ab").await.unwrap(), ["ab"]);
        assert_eq!(store.forget_waiting_attachments(after(50)).await.unwrap().len(), 1);
        assert!(!sees(&mine, second).await && sees(&mine, late).await && sees(&Scope::node(), first).await);
        assert_eq!(store.attachment_hashes("a").await.unwrap(), ["ab", "ac"]);
        store.forget_attachment(&mine, late).await.unwrap();
        assert_eq!(store.attachment_hashes("ac").await.unwrap(), Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn the_audit_vouches_for_the_files_that_acts_bound() {
    on_both_at(|store, url| async move {
        let here = enterprise(&store, "E1", HERE).await;
        let mine = person(&store, "mine", HERE).await;
        let me = mine.user.unwrap();
        let (a, b, c) =
            (upload(&store, me, NOW, "aa", 1).await, upload(&store, me, NOW, "bb", 1).await, upload(&store, me, NOW, "cc", 1).await);
        let first = make(&store, &mine, here, &[(a, "aa"), (b, "bb")]).await.unwrap();
        make(&store, &mine, here, &[]).await.unwrap();
        let file = |id, sha256: &str, has_row| VouchedFile { id, record: first, sha256: sha256.into(), has_row };
        let vouched = async || {
            let (mut files, strays) = store.vouched_attachments().await.unwrap();
            files.sort_by_key(|file| file.id);
            (files, strays)
        };
        assert_eq!(vouched().await, (vec![file(a, "aa", true), file(b, "bb", true)], vec![]));
        assert_eq!((a.get(), b.get(), c.get(), first.get()), (1, 2, 3, 1), "named below");
        for (spoil, mend, found, strays) in [
            ("UPDATE attachment SET sha256 = 'cc' WHERE id = 1", "UPDATE attachment SET sha256 = 'aa' WHERE id = 1", [false, true], vec![]),
            ("UPDATE attachment SET record_id = 2 WHERE id = 2", "UPDATE attachment SET record_id = 1 WHERE id = 2", [true, false], vec![]),
            (
                "UPDATE attachment SET record_id = NULL WHERE id = 2",
                "UPDATE attachment SET record_id = 1 WHERE id = 2",
                [true, false],
                vec![],
            ),
            (
                "UPDATE attachment SET record_id = 1 WHERE id = 3",
                "UPDATE attachment SET record_id = NULL WHERE id = 3",
                [true, true],
                vec![c],
            ),
        ] {
            tamper(&url, spoil).await;
            assert_eq!(vouched().await, (vec![file(a, "aa", found[0]), file(b, "bb", found[1])], strays), "{spoil}");
            tamper(&url, mend).await;
            assert_eq!(vouched().await, (vec![file(a, "aa", true), file(b, "bb", true)], vec![]), "{mend}");
        }
        tamper(&url, "DELETE FROM attachment WHERE id = 1").await;
        assert_eq!(vouched().await.0, [file(a, "aa", false), file(b, "bb", true)]);
        assert!(store.verify_audit(None).await.unwrap().complete);
    })
    .await;
}
