//! Changes on a store that takes no writes any more, and of which nothing can be read either.

use super::*;
use keygate_protocol::admin::{
    KeyCreate, KeyDelete, KeyRestore, KeyReview, KeyRotate, TenantCreate, TenantDelete, TenantRef,
    TenantSetStatus, TenantUpdate,
};

use crate::store::MEND;

#[tokio::test]
async fn whatever_is_to_be_changed_is_told_that_and_why_the_store_takes_no_writes() {
    let store = Arc::new(MemoryStore::new());
    let admin = admin_over(Arc::clone(&store), Arc::new(ManualClock::new(START_US)));
    let create = |request_id: &str| KeyCreate {
        record: json!({"name": "n", "tenant_id": "a"}),
        request_id: Some(request_id.to_owned()),
    };
    let made = admin.create(&ALL, create("r")).await.expect("made");
    let id = made.key["id"].as_str().expect("an id").to_owned();
    store.fail_reads_with_writes();
    store.fail_sync(1, std::io::ErrorKind::StorageFull);
    let error = admin.create(&ALL, create("first")).await.err().expect("the disk is full");
    assert_eq!(error.code, ErrorCode::Storage);
    for words in ["sync memory", "known after a restart", "takes no writes from here on", MEND] {
        assert!(error.message.contains(words), "{words}: {error}");
    }
    let status = |status: &str| KeySetStatus {
        id: id.clone(),
        status: status.to_owned(),
        reason: None,
        reason_code: None,
    };
    let of_id = || id.clone();
    let tenant = || "a".to_owned();
    let set = json!({"name": "m"});
    let update = KeyUpdate {
        id: of_id(),
        set: set.clone(),
        mask: None,
        expected_revision: None,
        spent: None,
    };
    let rotate = KeyRotate { id: of_id(), grace_ms: None, reason: None };
    let delete = |purge| KeyDelete { id: of_id(), purge };
    let update_tenant =
        TenantUpdate { id: tenant(), set: set.clone(), expected_revision: None, spent: None };
    let suspend = TenantSetStatus { id: tenant(), status: "SUSPENDED".to_owned(), reason: None };
    let delete_tenant = |purge| TenantDelete { id: tenant(), purge };
    let outcomes = [
        ("create", admin.create(&ALL, create("second")).await.err()),
        ("create again", admin.create(&ALL, create("r")).await.err()),
        ("update", admin.update(&ALL, update).await.err()),
        ("revoke", admin.set_status(&ALL, status("STATUS_REVOKED")).await.err()),
        ("rotate", admin.rotate(&ALL, rotate).await.err()),
        ("review", admin.review(&ALL, KeyReview { id: of_id() }).await.err()),
        ("delete", admin.delete(&ALL, delete(false)).await.err()),
        ("purge", admin.delete(&ALL, delete(true)).await.err()),
        ("restore", admin.restore(&ALL, KeyRestore { id: of_id() }).await.err()),
        (
            "tenant create",
            admin.create_tenant(&ALL, TenantCreate { tenant: json!({"id": "b"}) }).await.err(),
        ),
        ("tenant update", admin.update_tenant(&ALL, update_tenant).await.err()),
        ("tenant suspend", admin.set_tenant_status(&ALL, suspend).await.err()),
        ("tenant delete", admin.delete_tenant(&ALL, delete_tenant(false)).await.err()),
        ("tenant purge", admin.delete_tenant(&ALL, delete_tenant(true)).await.err()),
        ("tenant restore", admin.restore_tenant(&ALL, TenantRef { id: tenant() }).await.err()),
        ("import", Import::begin(Arc::clone(&admin), ALL, false).await.err()),
    ];
    for (what, error) in outcomes {
        let error = error.unwrap_or_else(|| panic!("{what} was taken"));
        assert_eq!(error.code, ErrorCode::ReadOnly, "{what}: {error}");
        for words in ["nothing was changed", "the store refuses writes since one failed", MEND] {
            assert!(error.message.contains(words), "{what}, {words}: {error}");
        }
    }
}
